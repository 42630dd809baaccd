//! APIServices.

use super::rules::keep;
use super::validation::{Errors, container, messages, metadata, required};
use super::{Context, Object, Rules, rules};
use apiserver_machinery::field::{Error, Path};
use apiserver_machinery::names;
use apiserver_machinery::tree::{Struct, Value};

pub static RULES: Rules = Rules { create, update, validate, unconditional_update: false, ..Rules::PLAIN };

const GROUP_PRIORITY_MAX: i64 = 20_000;
const VERSION_PRIORITY_MAX: i64 = 1000;

/// What this server serves itself is available from the start.
fn create(service: &mut Struct, context: &Context<'_>) {
    rules::create(service, context);
    let schema = context.schema;
    if service.at(schema, "spec.service").is_some() {
        return;
    }
    let Some(ty) = schema.named("io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIServiceCondition") else { return };
    let mut condition = Struct::new(ty);
    condition.put(schema, "type", "Available");
    condition.put(schema, "status", "True");
    condition.put(schema, "reason", "Local");
    condition.put(schema, "message", "Local APIServices are always available");
    condition.put(schema, "lastTransitionTime", crate::meta::time(context.now));
    service.put(schema, "status.conditions", Value::List(vec![condition.into()]));
}

fn update(old: &Struct, new: &mut Struct, context: &Context<'_>) {
    rules::update(old, new, context);
    if context.subresource == "status" {
        for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
            keep(old, new, context.schema, &format!("metadata.{field}"));
        }
    }
}

fn validate(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    let at = Path::new("spec");
    let (group, version) = (new.text("spec.group"), new.text("spec.version"));
    let expected = format!("{version}.{group}");
    if new.name() != expected {
        let detail = "must be `spec.version+\".\"+spec.group`: ".to_owned() + &format!("{expected:?}");
        errors.push(Error::invalid(&Path::new("metadata.name"), new.name(), detail));
    }
    if !group.is_empty() {
        messages(names::dns1123_subdomain(group), group, &at.child("group"), errors);
    } else if version != "v1" {
        errors.push(Error::required(&at.child("group"), "only v1 may have an empty group and it better be legacy kube"));
    }
    messages(names::dns1035_label(version), version, &at.child("version"), errors);
    for (field, most) in [("groupPriorityMinimum", GROUP_PRIORITY_MAX), ("versionPriority", VERSION_PRIORITY_MAX)] {
        let number = new.number(&format!("spec.{field}"));
        if number <= 0 || number > most {
            let detail = format!("must be positive and less than {most}");
            errors.push(Error::invalid(&at.child(field), number, detail));
        }
    }
    let insecure = new.flag("spec.insecureSkipTLSVerify");
    let bundled = new.has("spec.caBundle");
    match new.child("spec.service") {
        None => {
            if bundled {
                let detail = "local APIServices may not have a caBundle";
                errors.push(Error::invalid(&at.child("caBundle"), apiserver_machinery::field::BadValue::OMITTED, detail));
            }
            if insecure {
                let detail = "local APIServices may not have insecureSkipTLSVerify";
                errors.push(Error::invalid(&at.child("insecureSkipTLSVerify"), true, detail));
            }
        }
        Some(service) => {
            let service_at = at.child("service");
            required(service, "namespace", &service_at, "", errors);
            required(service, "name", &service_at, "", errors);
            if let Some(port) = service.int("port") {
                container::port_number(port, &service_at.child("port"), errors);
            }
            if insecure && bundled {
                let detail = "may not be true if caBundle is present";
                errors.push(Error::invalid(&at.child("insecureSkipTLSVerify"), true, detail));
            }
        }
    }
}
