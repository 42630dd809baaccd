//! Nodes.

use super::pod::boolean;
use super::rules::keep;
use super::validation::{Errors, affinity, ip, messages, metadata, resources, value};
use super::{Context, Object, Rules, Selectable, rules};
use apiserver_machinery::field::{BadValue, Error, Path};
use apiserver_machinery::names;
use apiserver_machinery::tree::{Struct, Value};

pub static RULES: Rules = Rules {
    create,
    update,
    validate,
    warnings,
    selectable: &[Selectable { label: "spec.unschedulable", value: |node| boolean(node.flag("spec.unschedulable")) }],
    ..Rules::PLAIN
};

/// A node brings its own status; the configuration source is a feature that is gone.
fn create(node: &mut Struct, context: &Context<'_>) {
    let schema = context.schema;
    node.take(schema, "spec.configSource");
    node.take(schema, "status.config");
    networks(node, context);
}

/// podCIDR and podCIDRs say the same.
fn networks(node: &mut Struct, context: &Context<'_>) {
    let schema = context.schema;
    let one = node.str_at(schema, "spec.podCIDR").unwrap_or_default().to_owned();
    let first = node.list_at(schema, "spec.podCIDRs").first().and_then(Value::as_str).map(str::to_owned);
    match (one.is_empty(), first) {
        (true, Some(first)) => {
            node.put(schema, "spec.podCIDR", first);
        }
        (false, first) if first.as_deref() != Some(one.as_str()) => {
            node.put(schema, "spec.podCIDRs", Value::List(vec![Value::from(one)]));
        }
        _ => {}
    }
}

fn update(old: &Struct, new: &mut Struct, context: &Context<'_>) {
    rules::update(old, new, context);
    if old.at(context.schema, "spec.configSource").is_none() {
        keep(old, new, context.schema, "spec.configSource");
    }
    networks(new, context);
}

fn validate(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    taints(new, errors);
    for list in ["capacity", "allocatable"] {
        for (name, amount) in new.entries(&format!("status.{list}")) {
            let at = Path::new("status");
            let at = at.child(list);
            resources::amount(name, &resources::quantity(amount), &at.child(name), errors);
        }
    }
    if context.subresource != "status" {
        pod_networks(new, errors);
    }
    if let Some(old) = old {
        changed(new, old, errors);
    }
}

fn taints(node: Object<'_>, errors: &mut Errors) {
    let at = Path::new("metadata.taints");
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (index, taint) in node.items("spec.taints").enumerate() {
        let at = at.index(index);
        let (key, text, effect) = (taint.text("key"), taint.text("value"), taint.text("effect"));
        messages(names::qualified_name(key), key, &at.child("key"), errors);
        let faults: Vec<String> = names::label_value(text);
        if !faults.is_empty() {
            errors.push(Error::invalid(&at.child("value"), text, faults.join(";")));
        }
        if effect.is_empty() {
            errors.push(Error::required(&at.child("effect"), ""));
        } else {
            affinity::taint_effect(effect, &at.child("effect"), errors);
        }
        if seen.contains(&(key, effect)) {
            let mut error = Error::duplicate(&at, value::of(taint, &taint.tree.clone().into()));
            error.detail = "taints must be unique by key and effect pair".to_owned();
            errors.push(error);
        }
        seen.push((key, effect));
    }
}

fn pod_networks(node: Object<'_>, errors: &mut Errors) {
    let at = Path::new("spec.podCIDRs");
    let all: Vec<&str> = node.texts("spec.podCIDRs").collect();
    for (index, network) in all.iter().enumerate() {
        ip::network(network, &at.index(index), errors);
    }
    if all.len() > 2 || all.len() == 2 && all[0].contains(':') == all[1].contains(':') {
        let shown = value::shown(node, "spec.podCIDRs");
        errors.push(Error::invalid(&at, shown, "may specify no more than one CIDR for each IP family"));
    }
}

fn changed(new: Object<'_>, old: Object<'_>, errors: &mut Errors) {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (index, address) in new.items("status.addresses").enumerate() {
        let pair = (address.text("type"), address.text("address"));
        if seen.contains(&pair) {
            let shown = value::of(address, &address.tree.clone().into());
            errors.push(Error::duplicate(&Path::new("status.addresses").index(index), shown));
        }
        seen.push(pair);
    }
    if !old.list("spec.podCIDRs").is_empty() && old.list("spec.podCIDRs") != new.list("spec.podCIDRs") {
        let detail = "node updates may not change podCIDR except from \"\" to valid";
        errors.push(Error::forbidden(&Path::new("spec.podCIDRs"), detail));
    }
    let (was, now) = (old.text("spec.providerID"), new.text("spec.providerID"));
    if !was.is_empty() && was != now {
        let detail = if now.is_empty() { "field cannot be cleared once set" } else { "field cannot be modified once set" };
        errors.push(Error::invalid(&Path::new("spec.providerID"), BadValue::json("null"), detail));
    }
    if new.text("spec.externalID") != old.text("spec.externalID") {
        errors.push(Error::forbidden(&Path::new("spec.externalID"), "may not be updated"));
    }
}

fn warnings(node: Object<'_>, _: Option<Object<'_>>, context: &Context<'_>) -> Vec<String> {
    let mut found = Vec::new();
    if context.subresource.is_empty() {
        if node.has("spec.configSource") {
            found.push("spec.configSource: the feature is removed".to_owned());
        }
        if !node.text("spec.externalID").is_empty() {
            found.push("spec.externalID: this field is deprecated, and is unused by Kubernetes".to_owned());
        }
    }
    found
}
