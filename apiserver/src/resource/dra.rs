//! Dynamic resource allocation: device classes, claims, slices, taints.

use super::rules::keep_metadata;
use super::validation::{Errors, affinity, immutable, messages, metadata, one_of, required, value};
use super::{Context, Object, Rules, Selectable, rules};
use apiserver_machinery::field::{Error, Path};
use apiserver_machinery::names;
use apiserver_machinery::tree::{Struct, Value};

pub static DEVICE_CLASS: Rules = Rules { validate: validate_class, generation: true, ..Rules::PLAIN };
pub static CLAIM: Rules = Rules { update: update_claim, validate: validate_claim, ..Rules::PLAIN };
pub static TEMPLATE: Rules = Rules { validate: validate_template, ..Rules::PLAIN };
pub static SLICE: Rules = Rules {
    create: create_slice,
    update: update_slice,
    validate: validate_slice,
    selectable: &[
        Selectable { label: "spec.nodeName", value: |slice| slice.text("spec.nodeName").into() },
        Selectable { label: "spec.driver", value: |slice| slice.text("spec.driver").into() },
    ],
    generation: true,
    ..Rules::PLAIN
};
pub static TAINT_RULE: Rules =
    Rules { create: create_taint_rule, update: update_taint_rule, validate: validate_taint_rule, generation: true, ..Rules::PLAIN };

const REQUESTS_MAX: usize = 32;
const FIRST_AVAILABLE_MAX: usize = 8;
const SELECTORS_MAX: usize = 32;
const CONSTRAINTS_MAX: usize = 32;
const CONFIG_MAX: usize = 32;
const DEVICES_MAX: usize = 128;

/// Since when a taint holds is the server's to say where the client does not.
fn date_taint(taint: &mut Struct, context: &Context<'_>) {
    if taint.at(context.schema, "timeAdded").is_none() {
        taint.put(context.schema, "timeAdded", crate::meta::time(context.now));
    }
}

fn date_device_taints(slice: &mut Struct, context: &Context<'_>) {
    let schema = context.schema;
    super::rules::each(slice, schema, "spec.devices", |device| {
        super::rules::each(device, schema, "taints", |taint| date_taint(taint, context));
    });
}

fn create_slice(slice: &mut Struct, context: &Context<'_>) {
    date_device_taints(slice, context);
}

fn update_slice(_: &Struct, new: &mut Struct, context: &Context<'_>) {
    date_device_taints(new, context);
}

fn create_taint_rule(rule: &mut Struct, context: &Context<'_>) {
    rules::create(rule, context);
    if let Some(Value::Struct(taint)) = rule.at_mut(context.schema, "spec.taint") {
        date_taint(taint, context);
    }
}

fn update_taint_rule(old: &Struct, new: &mut Struct, context: &Context<'_>) {
    let schema = context.schema;
    rules::update(old, new, context);
    if context.subresource == "status" {
        keep_metadata(old, new, schema);
        return;
    }
    let changed = |path: &str| old.at(schema, path) != new.at(schema, path);
    if changed("spec.taint.effect") && !changed("spec.taint.timeAdded") {
        new.put(schema, "spec.taint.timeAdded", crate::meta::time(context.now));
    }
    if let Some(Value::Struct(taint)) = new.at_mut(schema, "spec.taint") {
        date_taint(taint, context);
    }
}

fn update_claim(old: &Struct, new: &mut Struct, context: &Context<'_>) {
    rules::update(old, new, context);
    if context.subresource == "status" {
        keep_metadata(old, new, context.schema);
    }
}

fn selectors(object: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    let at = at.child("selectors");
    let count = object.list("selectors").len();
    if count > SELECTORS_MAX {
        errors.push(Error::too_many(&at, count, SELECTORS_MAX));
    }
    for (index, selector) in object.items("selectors").enumerate() {
        let at = at.index(index);
        match selector.child("cel") {
            None => errors.push(Error::required(&at.child("cel"), "")),
            Some(cel) => {
                required(cel, "expression", &at.child("cel"), "", errors);
            }
        }
    }
}

fn driver_name(name: &str, at: &Path<'_>, errors: &mut Errors) {
    super::validation::volume::csi_driver_name(name, at, errors);
}

fn validate_class(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    let at = Path::new("spec");
    let Some(spec) = new.child("spec") else { return };
    selectors(spec, &at, errors);
    configs(spec, &at, errors);
}

fn configs(object: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    let at = at.child("config");
    let count = object.list("config").len();
    if count > CONFIG_MAX {
        errors.push(Error::too_many(&at, count, CONFIG_MAX));
    }
    for (index, config) in object.items("config").enumerate() {
        let at = at.index(index);
        match config.child("opaque") {
            None => errors.push(Error::required(&at, "exactly one config field must be set")),
            Some(opaque) => {
                let at = at.child("opaque");
                driver_name(opaque.text("driver"), &at.child("driver"), errors);
                if !opaque.has("parameters") {
                    errors.push(Error::required(&at.child("parameters"), ""));
                }
            }
        }
    }
}

fn claim_spec(spec: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    let Some(devices) = spec.child("devices") else { return };
    let at = at.child("devices");
    let requests_at = at.child("requests");
    let count = devices.list("requests").len();
    if count > REQUESTS_MAX {
        errors.push(Error::too_many(&requests_at, count, REQUESTS_MAX));
    }
    let mut seen: Vec<String> = Vec::new();
    for (index, request) in devices.items("requests").enumerate() {
        let at = requests_at.index(index);
        let name = request.text("name");
        request_name(name, &at, errors);
        if seen.iter().any(|own| own == name) {
            errors.push(Error::duplicate(&at.child("name"), name));
        }
        seen.push(name.to_owned());
        match (request.child("exactly"), request.list("firstAvailable").len()) {
            (Some(_), count) if count > 0 => {
                let shown = value::of(request, &request.tree.clone().into());
                errors.push(Error::invalid(&at, shown, "exactly one of `exactly` or `firstAvailable` is required"));
            }
            (None, 0) => errors.push(Error::required(&at, "exactly one of `exactly` or `firstAvailable` is required")),
            (Some(exactly), _) => device_request(exactly, &at.child("exactly"), errors),
            (None, count) => {
                let at = at.child("firstAvailable");
                if count > FIRST_AVAILABLE_MAX {
                    errors.push(Error::too_many(&at, count, FIRST_AVAILABLE_MAX));
                }
                let mut inner: Vec<&str> = Vec::new();
                for (index, sub) in request.items("firstAvailable").enumerate() {
                    let at = at.index(index);
                    request_name(sub.text("name"), &at, errors);
                    if inner.contains(&sub.text("name")) {
                        errors.push(Error::duplicate(&at.child("name"), sub.text("name")));
                    }
                    inner.push(sub.text("name"));
                    seen.push(format!("{name}/{}", sub.text("name")));
                    device_request(sub, &at, errors);
                }
            }
        }
    }
    let constraints = devices.list("constraints").len();
    if constraints > CONSTRAINTS_MAX {
        errors.push(Error::too_many(&at.child("constraints"), constraints, CONSTRAINTS_MAX));
    }
    for (list, field) in [("constraints", "requests"), ("config", "requests")] {
        for (index, item) in devices.items(list).enumerate() {
            let at = at.child(list);
            let at = at.index(index);
            for (index, name) in item.texts(field).enumerate().filter(|(_, name)| !seen.iter().any(|own| own == name)) {
                let detail = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
                errors.push(Error::invalid(&at.child(field).index(index), name, detail));
            }
        }
    }
    configs(devices, &at, errors);
}

fn request_name(name: &str, at: &Path<'_>, errors: &mut Errors) {
    if name.is_empty() {
        errors.push(Error::required(&at.child("name"), ""));
    } else {
        messages(names::dns1123_label(name), name, &at.child("name"), errors);
    }
}

fn device_request(request: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    if required(request, "deviceClassName", at, "", errors) {
        let name = request.text("deviceClassName");
        messages(names::dns1123_subdomain(name), name, &at.child("deviceClassName"), errors);
    }
    selectors(request, at, errors);
    let count = request.number("count");
    match request.text("allocationMode") {
        "All" => {
            if count != 0 {
                errors.push(Error::invalid(&at.child("count"), count, "must not be specified when allocationMode is 'All'"));
            }
        }
        "ExactCount" => {
            if count <= 0 {
                errors.push(Error::invalid(&at.child("count"), count, super::validation::POSITIVE));
            }
        }
        other => errors.push(Error::not_supported(&at.child("allocationMode"), other, &["All", "ExactCount"])),
    }
    affinity::tolerations(request, at, errors);
}

fn validate_claim(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    let at = Path::new("spec");
    if context.subresource == "status" {
        if let Some(old) = old
            && old.has("status.allocation")
            && new.has("status.allocation")
        {
            immutable(new, old, "status.allocation", &Path::new("status.allocation"), errors);
        }
        if !new.list("status.reservedFor").is_empty() && !new.has("status.allocation") {
            let detail = "may not be specified when `allocated` is not set";
            errors.push(Error::forbidden(&Path::new("status.reservedFor"), detail));
        }
        return;
    }
    match old {
        Some(old) => immutable(new, old, "spec", &at, errors),
        None => {
            if let Some(spec) = new.child("spec") {
                claim_spec(spec, &at, errors);
            }
        }
    }
}

fn validate_template(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    let at = Path::new("spec");
    if let Some(meta) = new.child("spec.metadata") {
        super::validation::volume::template_metadata(meta, &at.child("metadata"), errors);
    }
    match old {
        Some(old) => immutable(new, old, "spec", &at, errors),
        None => {
            if let Some(spec) = new.child("spec.spec") {
                claim_spec(spec, &at.child("spec"), errors);
            }
        }
    }
}

fn validate_slice(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    let at = Path::new("spec");
    let Some(spec) = new.child("spec") else { return };
    driver_name(spec.text("driver"), &at.child("driver"), errors);
    let pool_at = at.child("pool");
    match spec.child("pool") {
        None => errors.push(Error::required(&pool_at.child("name"), "")),
        Some(pool) => {
            required(pool, "name", &pool_at, "", errors);
            if pool.number("resourceSliceCount") <= 0 {
                let count = pool.number("resourceSliceCount");
                errors.push(Error::invalid(&pool_at.child("resourceSliceCount"), count, super::validation::POSITIVE));
            }
            super::validation::not_negative(pool, "generation", &pool_at, errors);
        }
    }
    let places = usize::from(!spec.text("nodeName").is_empty())
        + usize::from(spec.has("nodeSelector"))
        + usize::from(spec.flag("allNodes"))
        + usize::from(spec.flag("perDeviceNodeSelection"));
    if places == 0 {
        let detail = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
        errors.push(Error::required(&at, detail));
    } else if places > 1 {
        let detail = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required, but multiple fields are set";
        errors.push(Error::invalid(&at, value::shown(new, "spec.nodeName"), detail));
    }
    let devices_at = at.child("devices");
    let count = spec.list("devices").len();
    if count > DEVICES_MAX {
        errors.push(Error::too_many(&devices_at, count, DEVICES_MAX));
    }
    let mut seen: Vec<&str> = Vec::new();
    for (index, device) in spec.items("devices").enumerate() {
        let at = devices_at.index(index);
        let name = device.text("name");
        request_name(name, &at, errors);
        if seen.contains(&name) {
            errors.push(Error::duplicate(&at.child("name"), name));
        }
        seen.push(name);
        for (key, attribute) in device.entries("attributes") {
            let at = at.child("attributes");
            let set = attribute.as_struct().map_or(0, |attribute| attribute.fields().len());
            if set != 1 {
                let detail = "exactly one value must be specified";
                errors.push(if set == 0 {
                    Error::required(&at.key(key), detail)
                } else {
                    Error::invalid(&at.key(key), value::of(device, attribute), detail)
                });
            }
        }
    }
    if let Some(old) = old {
        for field in ["nodeName", "driver", "pool.name", "nodeSelector", "allNodes"] {
            immutable(new, old, &format!("spec.{field}"), &at.child(field), errors);
        }
    }
}

fn validate_taint_rule(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    if context.subresource == "status" {
        return;
    }
    let at = Path::new("spec.taint");
    let Some(taint) = new.child("spec.taint") else {
        errors.push(Error::required(&at.child("effect"), ""));
        return;
    };
    let key = taint.text("key");
    messages(names::qualified_name(key), key, &at.child("key"), errors);
    let text = taint.text("value");
    if !text.is_empty() {
        messages(names::label_value(text), text, &at.child("value"), errors);
    }
    if required(taint, "effect", &at, "", errors) {
        one_of(taint, "effect", &["NoExecute", "NoSchedule", "None"], &at, errors);
    }
}
