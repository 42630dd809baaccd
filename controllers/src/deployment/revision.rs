//! Which ReplicaSet is which: template hashes, names, revisions, annotations.

use super::size;
use crate::hash::hash;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::Value;
use std::collections::BTreeMap;

pub(super) const HASH_LABEL: &str = "pod-template-hash";
pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
const REVISION_HISTORY_CHARACTERS_MAX: usize = 2000;
const NAME_CHARACTERS_MAX: usize = 253;
/// Annotations of a Deployment that its ReplicaSets do not get.
const NOT_COPIED: &[&str] =
    &["kubectl.kubernetes.io/last-applied-configuration", REVISION, REVISION_HISTORY, size::DESIRED, size::MAX, "deprecated.deployment.rollback.to"];

pub(super) type Annotations = BTreeMap<String, String>;

pub(super) fn template_hash(deployment: &Deployment) -> String {
    hash(&deployment.spec.template, deployment.status.as_ref().and_then(|status| status.collision_count))
}

/// The name that the ReplicaSet for the present template gets.
pub(super) fn set_name(deployment: &Deployment) -> String {
    let hash = template_hash(deployment);
    let name = deployment.metadata.name.as_deref().unwrap_or_default();
    let room = NAME_CHARACTERS_MAX.saturating_sub(1 + hash.len());
    format!("{}-{hash}", name.get(..room).unwrap_or(name))
}

/// Whether the ReplicaSet runs the Deployment's template, the hash label aside.
pub(super) fn is_of_template(set: &ReplicaSet, deployment: &Deployment) -> bool {
    let bare = |template: Option<&PodTemplateSpec>| {
        let mut template = template.cloned().unwrap_or_default();
        if let Some(labels) = template.metadata.as_mut().and_then(|meta| meta.labels.as_mut()) {
            labels.remove(HASH_LABEL);
        }
        without_empty(serde_json::to_value(template).unwrap_or_default())
    };
    bare(set.spec.template.as_ref()) == bare(Some(&deployment.spec.template))
}

/// An empty map or list means the same as none.
fn without_empty(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.into_iter().map(|(key, value)| (key, without_empty(value)));
            Value::Object(
                kept.filter(|(_, value)| {
                    !matches!(value, Value::Object(fields) if fields.is_empty()) && !matches!(value, Value::Array(items) if items.is_empty())
                })
                .collect(),
            )
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_empty).collect()),
        other => other,
    }
}

pub(super) fn revision(set: &ReplicaSet) -> Option<i64> {
    match set.metadata.annotations.as_ref().and_then(|annotations| annotations.get(REVISION)) {
        None => Some(0),
        Some(text) => text.parse().ok(),
    }
}

pub(super) fn max_revision<'a>(sets: impl Iterator<Item = &'a ReplicaSet>) -> i64 {
    sets.filter_map(revision).max().unwrap_or(0)
}

/// What the annotations of the Deployment's current ReplicaSet should be, from what they are.
pub(super) fn annotations(deployment: &Deployment, current: &Annotations, new_revision: i64) -> Annotations {
    let mut annotations = current.clone();
    for (key, value) in deployment.metadata.annotations.iter().flatten() {
        if !NOT_COPIED.contains(&key.as_str()) {
            annotations.insert(key.clone(), value.clone());
        }
    }
    let old = annotations.get(REVISION).cloned();
    let old_number = match old.as_deref() {
        None | Some("") => 0,
        Some(text) => match text.parse::<i64>() {
            Ok(number) => number,
            // Somebody else's idea of a revision is left alone.
            Err(_) => return annotations,
        },
    };
    if old_number >= new_revision {
        return annotations;
    }
    annotations.insert(REVISION.into(), new_revision.to_string());
    if let Some(old) = old {
        let mut history: Vec<&str> =
            current.get(REVISION_HISTORY).map(|text| text.split(',').filter(|entry| !entry.is_empty()).collect()).unwrap_or_default();
        history.push(&old);
        while history.len() > 1 && history.iter().map(|entry| entry.len() + 1).sum::<usize>() - 1 > REVISION_HISTORY_CHARACTERS_MAX {
            history.remove(0);
        }
        annotations.insert(REVISION_HISTORY.into(), history.join(","));
    }
    annotations
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn deployment(template: Value, more: Value) -> Deployment {
        serde_json::from_value(json!({"metadata": more, "spec": {"selector": {}, "template": template}})).unwrap()
    }

    #[test]
    fn a_name_is_cut_so_that_the_hash_fits() {
        let long = deployment(json!({}), json!({"name": "x".repeat(253)}));
        assert_eq!(set_name(&long).len(), 253);
        assert!(set_name(&deployment(json!({}), json!({"name": "web"}))).starts_with("web-"));
    }

    #[test]
    fn a_set_is_of_the_template_but_for_the_hash_and_empty_values() {
        let check = |template: Value, expect: bool| {
            let set: ReplicaSet = serde_json::from_value(json!({"metadata": {}, "spec": {"selector": {}, "template": template}})).unwrap();
            let ours = deployment(
                json!({"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "i"}], "securityContext": {}}}),
                json!({}),
            );
            assert_eq!(is_of_template(&set, &ours), expect);
        };
        check(json!({"metadata": {"labels": {"app": "x", HASH_LABEL: "h"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}), true);
        check(json!({"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "j"}]}}), false);
    }

    #[test]
    fn annotations_are_copied_and_the_revision_goes_up_with_its_history() {
        let ours =
            deployment(json!({}), json!({"annotations": {"note": "n", REVISION: "9", "kubectl.kubernetes.io/last-applied-configuration": "{}"}}));
        let check = |current: Value, revision: i64, expect: Value| {
            let current: Annotations = serde_json::from_value(current).unwrap();
            assert_eq!(serde_json::to_value(annotations(&ours, &current, revision)).unwrap(), expect);
        };
        check(json!({}), 1, json!({"note": "n", REVISION: "1"}));
        check(json!({REVISION: "1"}), 3, json!({"note": "n", REVISION: "3", REVISION_HISTORY: "1"}));
        check(json!({REVISION: "3", REVISION_HISTORY: "1"}), 5, json!({"note": "n", REVISION: "5", REVISION_HISTORY: "1,3"}));
        check(json!({REVISION: "5"}), 3, json!({"note": "n", REVISION: "5"}));
        check(json!({REVISION: "five"}), 3, json!({"note": "n", REVISION: "five"}));
    }
}
