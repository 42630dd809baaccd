//! Label selectors and the like inside specs.

use super::{Errors, messages};
use crate::resource::Object;
use apiserver_machinery::field::{Error, Path};
use apiserver_machinery::{labels, names};

/// A metav1.LabelSelector in a field, if it is there.
pub fn label_selector(object: Object<'_>, field: &str, at: &Path<'_>, errors: &mut Errors) {
    if let Some(selector) = object.child(field) {
        errors.extend(labels::validate_selector(selector.schema, selector.tree, &at.child(field)));
    }
}

/// A selector of a workload: there, not empty, well formed. Returns it if it can be matched against: an absent one matches nothing.
pub fn workload_selector(spec: Object<'_>, at: &Path<'_>, kind: &str, errors: &mut Errors) -> Option<labels::Selector> {
    let at = at.child("selector");
    let Some(selector) = spec.child("selector") else {
        // A DaemonSet's is only missed when its template does not match it.
        if kind != "daemonset" {
            errors.push(Error::required(&at, ""));
        }
        return Some(labels::Selector::nothing());
    };
    errors.extend(labels::validate_selector(selector.schema, selector.tree, &at));
    if is_empty(selector) {
        errors.push(Error::invalid(&at, super::value::shown(spec, "selector"), format!("empty selector is invalid for {kind}")));
    }
    match labels::Selector::of_label_selector(selector.schema, Some(selector.tree)) {
        Ok(selector) => Some(selector),
        Err(_) => {
            // What upstream says of it depends on the kind.
            let detail = if kind == "statefulset" { "" } else { "invalid label selector" };
            if kind != "daemonset" {
                errors.push(Error::invalid(&at, super::value::shown(spec, "selector"), detail));
            }
            None
        }
    }
}

pub fn is_empty(selector: Object<'_>) -> bool {
    selector.map("matchLabels").is_none_or(|labels| labels.is_empty()) && selector.list("matchExpressions").is_empty()
}

/// Whether a selector matches the labels of a template.
pub fn matches(selector: &labels::Selector, template: Object<'_>) -> bool {
    let labels = template.map("metadata.labels");
    selector.matches(|key| labels.and_then(|labels| labels.get(key)).and_then(apiserver_machinery::tree::Value::as_str))
}

/// matchLabelKeys and mismatchLabelKeys beside a labelSelector.
pub fn label_keys(object: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    let selector = object.child("labelSelector");
    for field in ["matchLabelKeys", "mismatchLabelKeys"] {
        if object.list(field).is_empty() {
            continue;
        }
        let at = at.child(field);
        if selector.is_none() {
            errors.push(Error::forbidden(&at, "must not be specified when labelSelector is not set"));
            continue;
        }
        for (index, key) in object.texts(field).enumerate() {
            messages(names::qualified_name(key), key, &at.index(index), errors);
        }
    }
    if let Some(selector) = selector {
        let mut seen: Vec<&str> = selector.pairs("matchLabels").map(|(key, _)| key).collect();
        for expression in selector.items("matchExpressions") {
            let key = expression.text("key");
            // Only a key that the selector names twice is refused: the server itself adds each key once, from the Pod's labels.
            if let Some(index) = object.texts("matchLabelKeys").position(|own| own == key)
                && seen.contains(&key)
            {
                errors.push(Error::invalid(&at.index(index), key, "exists in both matchLabelKeys and labelSelector"));
            }
            seen.push(key);
        }
    }
    for (index, key) in object.texts("matchLabelKeys").enumerate() {
        if object.texts("mismatchLabelKeys").any(|other| other == key) {
            errors.push(Error::invalid(&at.child("matchLabelKeys").index(index), key, "exists in both matchLabelKeys and mismatchLabelKeys"));
        }
    }
}
