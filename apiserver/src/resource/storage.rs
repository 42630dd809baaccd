//! The storage group.

use super::rules::{keep_metadata, raise_generation};
use super::validation::{Errors, fixed, immutable, messages, metadata, one_of, required, resources, selector, volume};
use super::{Context, Object, Rules, rules};
use apiserver_machinery::field::{Error, Path};
use apiserver_machinery::names;
use apiserver_machinery::tree::Struct;

pub static CLASS: Rules = Rules { validate: validate_class, ..Rules::PLAIN };
pub static DRIVER: Rules = Rules { update: update_driver, validate: validate_driver, unconditional_update: false, ..Rules::PLAIN };
pub static CSI_NODE: Rules = Rules { update: rules::update_status_only, validate: validate_csi_node, unconditional_update: false, ..Rules::PLAIN };
pub static CAPACITY: Rules = Rules { validate: validate_capacity, unconditional_update: false, ..Rules::PLAIN };
pub static ATTACHMENT: Rules = Rules { update: update_attachment, validate: validate_attachment, unconditional_update: false, ..Rules::PLAIN };
pub static ATTRIBUTES_CLASS: Rules = Rules { validate: validate_attributes_class, ..Rules::PLAIN };

const PARAMETERS_MAX: usize = 512;
const PARAMETERS_BYTES_MAX: usize = 256 << 10;
const ATTACHMENT_METADATA_BYTES_MAX: usize = 256 << 10;
const ERROR_BYTES_MAX: usize = 1024;
const NODE_ID_CHARACTERS_MAX: usize = 256;
const TOKEN_SECONDS_MIN: i64 = 600;
const TOKEN_SECONDS_MAX: i64 = 1 << 32;

fn validate_class(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    if let Some(old) = old {
        for field in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
            fixed(new, old, field, &Path::new(field), errors);
        }
    }
    if required(new, "provisioner", &Path::NIL, "", errors) {
        let name = new.text("provisioner");
        messages(names::qualified_name(&name.to_lowercase()), name, &Path::new("provisioner"), errors);
    }
    parameters(new, true, errors);
    if !new.text("reclaimPolicy").is_empty() {
        one_of(new, "reclaimPolicy", &["Delete", "Retain"], &Path::NIL, errors);
    }
    if required(new, "volumeBindingMode", &Path::NIL, "", errors) {
        one_of(new, "volumeBindingMode", &["Immediate", "WaitForFirstConsumer"], &Path::NIL, errors);
    }
    for (index, term) in new.items("allowedTopologies").enumerate() {
        let at = Path::new("allowedTopologies");
        let at = at.index(index);
        let mut keys: Vec<&str> = Vec::new();
        for (index, expression) in term.items("matchLabelExpressions").enumerate() {
            let at = at.child("matchLabelExpressions");
            let at = at.index(index);
            required(expression, "values", &at, "", errors);
            let values: Vec<&str> = expression.texts("values").collect();
            for (index, text) in values.iter().enumerate().filter(|(index, text)| values[..*index].contains(text)) {
                errors.push(Error::duplicate(&at.child("values").index(index), *text));
            }
            let key = expression.text("key");
            messages(names::qualified_name(key), key, &at.child("key"), errors);
            if keys.contains(&key) {
                errors.push(Error::duplicate(&at.child("key"), key));
            }
            keys.push(key);
        }
    }
}

fn parameters(object: Object<'_>, may_be_empty: bool, errors: &mut Errors) {
    let at = Path::new("parameters");
    let count = object.pairs("parameters").count();
    if count > PARAMETERS_MAX {
        errors.push(Error::too_long(&at, PARAMETERS_MAX));
        return;
    }
    let mut bytes = 0;
    for (key, text) in object.pairs("parameters") {
        if key.is_empty() {
            errors.push(Error::invalid(&at, key, "field can not be empty."));
        }
        bytes += key.len() + text.len();
    }
    if bytes > PARAMETERS_BYTES_MAX {
        errors.push(Error::too_long(&at, PARAMETERS_BYTES_MAX));
    }
    if !may_be_empty && count == 0 {
        errors.push(Error::required(&at, "must contain at least one key/value pair"));
    }
}

fn validate_attributes_class(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    if required(new, "driverName", &Path::NIL, "", errors) {
        let name = new.text("driverName");
        messages(names::qualified_name(&name.to_lowercase()), name, &Path::new("driverName"), errors);
    }
    parameters(new, false, errors);
    if let Some(old) = old {
        for field in ["driverName", "parameters"] {
            immutable(new, old, field, &Path::new(field), errors);
        }
    }
}

/// A driver has no generation until its spec changes.
fn update_driver(old: &Struct, new: &mut Struct, context: &Context<'_>) {
    if old.at(context.schema, "spec") != new.at(context.schema, "spec") {
        raise_generation(old, new, context.schema);
    }
}

fn validate_driver(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    let at = Path::new("spec");
    let Some(spec) = new.child("spec") else { return };
    for (field, shown) in [("attachRequired", "attachedRequired"), ("podInfoOnMount", "podInfoOnMount"), ("storageCapacity", "storageCapacity")] {
        if !spec.has(field) {
            errors.push(Error::required(&at.child(shown), ""));
        }
    }
    one_of(spec, "fsGroupPolicy", &["File", "None", "ReadWriteOnceWithFSType"], &at, errors);
    let mut audiences: Vec<&str> = Vec::new();
    for (index, request) in spec.items("tokenRequests").enumerate() {
        let at = at.child("tokenRequests");
        let at = at.index(index);
        let audience = request.text("audience");
        if audiences.contains(&audience) {
            errors.push(Error::duplicate(&at.child("audience"), audience));
            continue;
        }
        audiences.push(audience);
        match request.int("expirationSeconds") {
            Some(seconds) if seconds < TOKEN_SECONDS_MIN => {
                errors.push(Error::invalid(&at.child("expirationSeconds"), seconds, "may not specify a duration less than 10 minutes"));
            }
            Some(seconds) if seconds > TOKEN_SECONDS_MAX => {
                let detail = "may not specify a duration larger than 2^32 seconds";
                errors.push(Error::invalid(&at.child("expirationSeconds"), seconds, detail));
            }
            _ => {}
        }
    }
    for mode in spec.texts("volumeLifecycleModes").filter(|mode| !matches!(*mode, "Persistent" | "Ephemeral")) {
        errors.push(Error::not_supported(&at.child("volumeLifecycleModes"), mode, &["Persistent", "Ephemeral"]));
    }
    if let Some(seconds) = spec.int("nodeAllocatableUpdatePeriodSeconds")
        && seconds < 10
    {
        let at = at.child("nodeAllocatableUpdatePeriodSeconds");
        errors.push(Error::invalid(&at, seconds, "must be greater than or equal to 10 seconds"));
    }
    if let Some(truth) = spec.flag_opt("serviceAccountTokenInSecrets")
        && spec.list("tokenRequests").is_empty()
    {
        let detail = "serviceAccountTokenInSecrets is set but no tokenRequests are specified";
        errors.push(Error::invalid(&at.child("serviceAccountTokenInSecrets"), truth, detail));
    }
    if let Some(old) = old {
        immutable(new, old, "spec.attachRequired", &at.child("attachedRequired"), errors);
        immutable(new, old, "spec.volumeLifecycleModes", &at.child("volumeLifecycleModes"), errors);
    }
}

fn validate_csi_node(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    let at = Path::new("spec.drivers");
    let mut seen: Vec<&str> = Vec::new();
    for (index, driver) in new.items("spec.drivers").enumerate() {
        let at = at.index(index);
        let name = driver.text("name");
        volume::csi_driver_name(name, &at.child("name"), errors);
        let id = driver.text("nodeID");
        if id.is_empty() {
            errors.push(Error::required(&at.child("nodeID"), ""));
        }
        if id.len() > NODE_ID_CHARACTERS_MAX {
            let detail = format!("must be {NODE_ID_CHARACTERS_MAX} characters or less");
            errors.push(Error::invalid(&at.child("nodeID"), id, detail));
        }
        if let Some(count) = driver.int("allocatable.count")
            && count < 0
        {
            errors.push(Error::invalid(&at.child("allocatable.count"), count, super::validation::NOT_NEGATIVE));
        }
        if seen.contains(&name) {
            errors.push(Error::duplicate(&at.child("name"), name));
        }
        seen.push(name);
        let keys: Vec<&str> = driver.texts("topologyKeys").collect();
        for (index, key) in keys.iter().enumerate() {
            if key.is_empty() {
                errors.push(Error::required(&at, ""));
            }
            if keys[..index].contains(key) {
                errors.push(Error::duplicate(&at, *key));
            }
            messages(names::qualified_name(key), key, &at, errors);
        }
    }
    let Some(old) = old else { return };
    for was in old.items("spec.drivers") {
        if let Some(now) = new.items("spec.drivers").find(|now| now.text("name") == was.text("name")) {
            let bare = |driver: Object<'_>| {
                let mut driver_tree = driver.tree.clone();
                driver_tree.take(driver.schema, "allocatable");
                driver_tree
            };
            if bare(now) != bare(was) {
                let shown = super::validation::value::of(now, &now.tree.clone().into());
                errors.push(Error::invalid(&at, shown, super::validation::IMMUTABLE));
            }
        }
    }
}

fn validate_capacity(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    selector::label_selector(new, "nodeTopology", &Path::NIL, errors);
    let class = new.text("storageClassName");
    messages(names::dns1123_subdomain(class), class, &Path::new("storageClassName"), errors);
    if let Some(capacity) = resources::at(new, "capacity")
        && capacity.sign() < 0
    {
        errors.push(Error::invalid(&Path::new("capacity"), capacity.to_string().as_str(), super::validation::NOT_NEGATIVE));
    }
    if let Some(old) = old {
        for field in ["nodeTopology", "storageClassName"] {
            immutable(new, old, field, &Path::new(field), errors);
        }
    }
}

fn update_attachment(old: &Struct, new: &mut Struct, context: &Context<'_>) {
    rules::update(old, new, context);
    if context.subresource == "status" {
        keep_metadata(old, new, context.schema);
    }
}

fn validate_attachment(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    let at = Path::new("spec");
    volume::csi_driver_name(new.text("spec.attacher"), &at.child("attacher"), errors);
    let source_at = at.child("source");
    let one = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (new.has("spec.source.inlineVolumeSpec"), new.text_opt("spec.source.persistentVolumeName")) {
        (false, None) => errors.push(Error::required(&source_at, one)),
        (true, Some(_)) => errors.push(Error::forbidden(&source_at, one)),
        (_, Some("")) => {
            let detail = "must specify non empty persistentVolumeName";
            errors.push(Error::required(&source_at.child("persistentVolumeName"), detail));
        }
        (_, Some(name)) => {
            messages(names::dns1123_subdomain(name), name, &Path::new("spec.source.persistentVolumeName"), errors);
        }
        (true, None) => {}
    }
    let node = new.text("spec.nodeName");
    messages(names::dns1123_subdomain(node), node, &at.child("nodeName"), errors);
    let status_at = Path::new("status");
    let bytes: usize = new.pairs("status.attachmentMetadata").map(|(key, text)| key.len() + text.len()).sum();
    if bytes > ATTACHMENT_METADATA_BYTES_MAX {
        errors.push(Error::too_long(&status_at.child("attachmentMetadata"), ATTACHMENT_METADATA_BYTES_MAX));
    }
    for field in ["attachError", "detachError"] {
        if new.text(&format!("status.{field}.message")).len() > ERROR_BYTES_MAX {
            errors.push(Error::too_long(&status_at.child(field).child("message"), ERROR_BYTES_MAX));
        }
    }
    if let Some(old) = old {
        fixed(new, old, "spec", &at, errors);
    }
}
