//! Where Pods may be placed: affinity, tolerations, topology spread.

use super::{Errors, messages, one_of, selector};
use crate::resource::Object;
use apiserver_machinery::field::{Error, Path};
use apiserver_machinery::{names, text};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
const EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "PreferNoSchedule"];

pub fn affinity(affinity: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    if let Some(node) = affinity.child("nodeAffinity") {
        let at = at.child("nodeAffinity");
        if let Some(required) = node.child(REQUIRED) {
            node_selector(required, &at.child(REQUIRED), true, errors);
        }
        for (index, term) in node.items(PREFERRED).enumerate() {
            let at = at.child(PREFERRED);
            let at = at.index(index);
            weight(term, &at, errors);
            if let Some(preference) = term.child("preference") {
                node_selector_term(preference, &at.child("preference"), false, errors);
            }
        }
    }
    for field in ["podAffinity", "podAntiAffinity"] {
        let Some(pods) = affinity.child(field) else { continue };
        let at = at.child(field);
        for (index, term) in pods.items(REQUIRED).enumerate() {
            pod_affinity_term(term, &at.child(REQUIRED).index(index), errors);
        }
        for (index, weighted) in pods.items(PREFERRED).enumerate() {
            let at = at.child(PREFERRED);
            let at = at.index(index);
            weight(weighted, &at, errors);
            if let Some(term) = weighted.child("podAffinityTerm") {
                pod_affinity_term(term, &at.child("podAffinityTerm"), errors);
            }
        }
    }
}

fn weight(term: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    let weight = term.number("weight");
    if !(1..=100).contains(&weight) {
        errors.push(Error::invalid(&at.child("weight"), weight, "must be in the range 1-100"));
    }
}

/// A NodeSelector. The values of preferences were never checked, so a selector says whether they are.
pub fn node_selector(selector: Object<'_>, at: &Path<'_>, check_values: bool, errors: &mut Errors) {
    let at = at.child("nodeSelectorTerms");
    if selector.list("nodeSelectorTerms").is_empty() {
        errors.push(Error::required(&at, "must have at least one node selector term"));
    }
    for (index, term) in selector.items("nodeSelectorTerms").enumerate() {
        node_selector_term(term, &at.index(index), check_values, errors);
    }
}

fn node_selector_term(term: Object<'_>, at: &Path<'_>, check_values: bool, errors: &mut Errors) {
    for (index, requirement) in term.items("matchExpressions").enumerate() {
        let at = at.child("matchExpressions");
        let at = at.index(index);
        let values = requirement.list("values").len();
        match requirement.text("operator") {
            "In" | "NotIn" if values == 0 => {
                errors.push(Error::required(&at.child("values"), "must be specified when `operator` is 'In' or 'NotIn'"));
            }
            "Exists" | "DoesNotExist" if values > 0 => {
                errors.push(Error::forbidden(&at.child("values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"));
            }
            "Gt" | "Lt" if values != 1 => {
                errors.push(Error::required(&at.child("values"), "must be specified single value when `operator` is 'Lt' or 'Gt'"));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            other => errors.push(Error::invalid(&at.child("operator"), other, "not a valid selector operator")),
        }
        let key = requirement.text("key");
        messages(names::qualified_name(key), key, &at.child("key"), errors);
        if check_values {
            for (index, value) in requirement.texts("values").enumerate() {
                messages(names::label_value(value), value, &at.child("values").index(index), errors);
            }
        }
    }
    for (index, requirement) in term.items("matchFields").enumerate() {
        let at = at.child("matchFields");
        let at = at.index(index);
        match requirement.text("operator") {
            "In" | "NotIn" if requirement.list("values").len() != 1 => {
                errors.push(Error::required(&at.child("values"), "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"))
            }
            "In" | "NotIn" => {}
            other => errors.push(Error::invalid(&at.child("operator"), other, "not a valid selector operator")),
        }
        if requirement.text("key") == "metadata.name" {
            for (index, value) in requirement.texts("values").enumerate() {
                messages(names::dns1123_subdomain(value), value, &at.child("values").index(index), errors);
            }
        } else {
            errors.push(Error::invalid(&at.child("key"), requirement.text("key"), "not a valid field selector key"));
        }
    }
}

fn pod_affinity_term(term: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    selector::label_selector(term, "labelSelector", at, errors);
    selector::label_selector(term, "namespaceSelector", at, errors);
    for name in term.texts("namespaces") {
        messages(names::dns1123_label(name), name, &at.child("namespace"), errors);
    }
    selector::label_keys(term, at, errors);
    let key = term.text("topologyKey");
    if key.is_empty() {
        errors.push(Error::required(&at.child("topologyKey"), "can not be empty"));
    }
    messages(names::qualified_name(key), key, &at.child("topologyKey"), errors);
}

pub fn taint_effect(effect: &str, at: &Path<'_>, errors: &mut Errors) {
    if !EFFECTS.contains(&effect) {
        errors.push(Error::not_supported(at, effect, &["NoSchedule", "PreferNoSchedule", "NoExecute"]));
    }
}

pub fn tolerations(spec: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    for (index, toleration) in spec.items("tolerations").enumerate() {
        let at = at.child("tolerations");
        let at = at.index(index);
        let (key, operator, value) = (toleration.text("key"), toleration.text("operator"), toleration.text("value"));
        let effect = toleration.text("effect");
        if !key.is_empty() {
            messages(names::qualified_name(key), key, &at.child("key"), errors);
        } else if operator != "Exists" {
            errors.push(Error::invalid(
                &at.child("operator"),
                operator,
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
            ));
        }
        if toleration.has("tolerationSeconds") && effect != "NoExecute" {
            errors.push(Error::invalid(&at.child("effect"), effect, "effect must be 'NoExecute' when `tolerationSeconds` is set"));
        }
        match operator {
            "Equal" | "" => {
                let found: Vec<String> = names::label_value(value);
                if !found.is_empty() {
                    errors.push(Error::invalid(&at.child("operator"), value, found.join(";")));
                }
            }
            "Exists" if !value.is_empty() => {
                errors.push(Error::invalid(&at.child("operator"), value, "value must be empty when `operator` is 'Exists'"));
            }
            "Exists" => {}
            // Behind a gate that is off.
            "Lt" | "Gt" => errors.push(Error::not_supported(&at.child("operator"), operator, &["Equal", "Exists", "Lt", "Gt"])),
            _ => errors.push(Error::not_supported(&at.child("operator"), operator, &["Equal", "Exists"])),
        }
        if !effect.is_empty() {
            taint_effect(effect, &at.child("effect"), errors);
        }
    }
}

pub fn topology_spread(spec: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    let at = at.child("topologySpreadConstraints");
    let constraints: Vec<_> = spec.items("topologySpreadConstraints").collect();
    for (index, constraint) in constraints.iter().copied().enumerate() {
        let at = at.index(index);
        let skew = constraint.number("maxSkew");
        if skew <= 0 {
            errors.push(Error::invalid(&at.child("maxSkew"), skew, super::POSITIVE));
        }
        let (key, action) = (constraint.text("topologyKey"), constraint.text("whenUnsatisfiable"));
        if key.is_empty() {
            errors.push(Error::required(&at.child("topologyKey"), "can not be empty"));
        }
        if !matches!(action, "DoNotSchedule" | "ScheduleAnyway") {
            errors.push(Error::not_supported(&at.child("whenUnsatisfiable"), action, &["DoNotSchedule", "ScheduleAnyway"]));
        }
        let again = |other: &Object<'_>| other.text("topologyKey") == key && other.text("whenUnsatisfiable") == action;
        if constraints[index + 1..].iter().any(again) {
            let pair = text::quote(&format!("{{{key}, {action}}}"));
            errors.push(Error::duplicate(&at.child("{topologyKey, whenUnsatisfiable}"), apiserver_machinery::field::BadValue::json(pair)));
        }
        if let Some(domains) = constraint.int("minDomains") {
            if domains <= 0 {
                errors.push(Error::invalid(&at.child("minDomains"), domains, super::POSITIVE));
            }
            if action != "DoNotSchedule" {
                let detail = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
                errors.push(Error::invalid(&at.child("minDomains"), domains, detail));
            }
        }
        for policy in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            one_of(constraint, policy, &["Honor", "Ignore"], &at, errors);
        }
        selector::label_keys(constraint, &at, errors);
        selector::label_selector(constraint, "labelSelector", &at, errors);
    }
}
