//! PersistentVolumes.

use super::validation::{Errors, affinity, messages, metadata, one_of, required, resources, value, volume};
use super::{Context, Object, Rules, Selectable, claim, rules};
use apiserver_machinery::field::{Error, Path};
use apiserver_machinery::names;
use apiserver_machinery::tree::Struct;

pub static RULES: Rules =
    Rules { create, update, validate, selectable: &[Selectable { label: "name", value: |volume| volume.name().into() }], ..Rules::PLAIN };

/// Where a volume may come from.
const SOURCES: [&str; 22] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
];

fn create(volume: &mut Struct, context: &Context<'_>) {
    rules::create(volume, context);
    volume.put(context.schema, "status.phase", "Pending");
    volume.put(context.schema, "status.lastPhaseTransitionTime", crate::meta::time(context.now));
}

/// When a phase changes, the server says since when, unless the client does.
fn update(old: &Struct, new: &mut Struct, context: &Context<'_>) {
    rules::update(old, new, context);
    let schema = context.schema;
    if context.subresource != "status" {
        return;
    }
    let since = "status.lastPhaseTransitionTime";
    let unchanged = old.str_at(schema, since) == new.str_at(schema, since);
    if old.str_at(schema, "status.phase") != new.str_at(schema, "status.phase") && (unchanged || new.at(schema, since).is_none()) {
        new.put(schema, since, crate::meta::time(context.now));
    }
}

fn validate(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    if context.subresource == "status" {
        return;
    }
    let at = Path::new("spec");
    match new.child("spec") {
        Some(wanted) => spec(wanted, &at, errors),
        None => errors.push(Error::required(&at.child("accessModes"), "")),
    }
    let Some(old) = old else { return };
    let changed = SOURCES.iter().any(|source| {
        let path = format!("spec.{source}");
        let expands = *source == "csi" && !old.has("spec.csi.controllerExpandSecretRef");
        if expands && let (Some(now), Some(was)) = (new.child(&path), old.child(&path)) {
            let mut now = now.tree.clone();
            now.take(new.schema, "controllerExpandSecretRef");
            return now != *was.tree;
        }
        new.get(&path) != old.get(&path)
    });
    if changed {
        let detail = "spec.persistentvolumesource is immutable after creation\n";
        errors.push(Error::forbidden(&Path::new("spec.persistentvolumesource"), detail));
    }
    if new.get("spec.volumeMode") != old.get("spec.volumeMode") {
        let shown = value::shown(new, "spec.volumeMode");
        errors.push(Error::invalid(&Path::new("volumeMode"), shown, super::validation::IMMUTABLE));
    }
    if old.has("spec.volumeAttributesClassName") && !new.has("spec.volumeAttributesClassName") {
        let at = at.child("volumeAttributesClassName");
        errors.push(Error::forbidden(&at, "update from non-nil value to nil is forbidden"));
    }
}

fn spec(spec: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    if spec.list("accessModes").is_empty() {
        errors.push(Error::required(&at.child("accessModes"), ""));
    }
    claim::access_modes(spec, at, errors);
    let capacity_at = at.child("capacity");
    let capacity = spec.map("capacity").map(|map| map.len()).unwrap_or_default();
    if capacity == 0 {
        errors.push(Error::required(&capacity_at, ""));
    }
    if capacity > 1 || !spec.has("capacity.storage") {
        errors.push(Error::not_supported(&capacity_at, value::shown(spec, "capacity"), &["storage"]));
    }
    for (name, amount) in spec.entries("capacity") {
        let amount = resources::quantity(amount);
        if amount.sign() < 0 {
            errors.push(Error::invalid(&capacity_at.key(name), amount.value(), "must be a valid resource quantity"));
        }
        if amount.sign() <= 0 {
            errors.push(Error::invalid(&capacity_at.key(name), amount.to_string().as_str(), super::validation::POSITIVE));
        }
    }
    one_of(spec, "persistentVolumeReclaimPolicy", &["Delete", "Recycle", "Retain"], at, errors);
    if let Some(selector) = spec.child("nodeAffinity") {
        let at = at.child("nodeAffinity");
        match selector.child("required") {
            Some(wanted) => affinity::node_selector(wanted, &at.child("required"), true, errors),
            None => errors.push(Error::required(&at.child("required"), "must specify required node constraints")),
        }
    }
    source(spec, at, errors);
    let class = spec.text("storageClassName");
    if !class.is_empty() {
        messages(names::dns1123_subdomain(class), class, &at.child("storageClassName"), errors);
    }
    claim::volume_mode(spec, at, errors);
    if let Some(name) = spec.text_opt("volumeAttributesClassName") {
        let class_at = at.child("volumeAttributesClassName");
        if name.is_empty() {
            errors.push(Error::required(&class_at, "an empty string is disallowed"));
        } else {
            messages(names::dns1123_subdomain(name), name, &class_at, errors);
        }
        if !spec.has("csi") {
            errors.push(Error::required(&at.child("csi"), "has to be specified when using volumeAttributesClassName"));
        }
    }
}

fn source(spec: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    let mut sources = 0;
    for field in SOURCES {
        let Some(source) = spec.child(field) else { continue };
        let at = at.child(field);
        if sources > 0 {
            errors.push(Error::forbidden(&at, "may not specify more than 1 volume type"));
            continue;
        }
        sources += 1;
        match field {
            "hostPath" | "local" => {
                if required(source, "path", &at, "", errors) {
                    volume::no_backsteps(source.text("path"), &at.child("path"), errors);
                }
                if field == "local" && !spec.has("nodeAffinity") {
                    let at = Path::new("spec.nodeAffinity");
                    errors.push(Error::required(&at, "Local volume requires node affinity"));
                }
            }
            "nfs" => volume::nfs(source, &at, errors),
            "csi" => {
                volume::csi_driver_name(source.text("driver"), &at.child("driver"), errors);
                required(source, "volumeHandle", &at, "", errors);
            }
            "iscsi" => {
                for name in ["targetPortal", "iqn"] {
                    required(source, name, &at, "", errors);
                }
            }
            other => {
                for name in volume::required_fields(other) {
                    required(source, name, &at, "", errors);
                }
            }
        }
    }
    if sources == 0 {
        errors.push(Error::required(at, "must specify a volume type"));
    }
    if spec.text("hostPath.path").trim_end_matches('/').is_empty() && spec.has("hostPath") && spec.text("persistentVolumeReclaimPolicy") == "Recycle"
    {
        let detail = "may not be 'recycle' for a hostPath mount of '/'";
        errors.push(Error::forbidden(&at.child("persistentVolumeReclaimPolicy"), detail));
    }
}
