//! What controllers ask about Pods.

use apiserver_client::time::from_time;
use controllers_runtime::{Kind, owner};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::core::ObjectMeta;
use serde_json::{Value, json};

pub(crate) use apiserver_placement::pod::{condition, is_active, is_ready, is_terminal, phase};

/// Empty for a Pod without a node.
pub(crate) fn node_name(pod: &Pod) -> &str {
    apiserver_placement::pod::node_name(pod).unwrap_or_default()
}

/// Being deleted, and not over yet.
pub(crate) fn is_terminating(pod: &Pod) -> bool {
    !is_terminal(pod) && pod.metadata.deletion_timestamp.is_some()
}

/// Since when the Pod has been ready.
pub(crate) fn ready_since(pod: &Pod) -> Option<&Time> {
    condition(pod, "Ready").filter(|condition| condition.status == "True")?.last_transition_time.as_ref()
}

/// When a ready Pod counts as available; None for one that is not ready.
pub(crate) fn available_at(pod: &Pod, min_ready_seconds: i32) -> Option<Timestamp> {
    if !is_ready(pod) {
        return None;
    }
    if min_ready_seconds <= 0 {
        return Some(Timestamp::MIN);
    }
    let since = from_time(ready_since(pod)?);
    since.checked_add(SignedDuration::from_secs(min_ready_seconds.into())).ok()
}

pub(crate) fn is_available(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> bool {
    available_at(pod, min_ready_seconds).is_some_and(|at| at <= now)
}

/// A name of 253 characters and the dash would be too long.
const NAME_CHARACTERS_MAX: usize = 253;

/// A Pod of `owner` from its template; the server finds the end of its name.
pub(crate) fn from_template(kind: &Kind, owner: &ObjectMeta, template: &PodTemplateSpec) -> Value {
    let from = template.metadata.clone().unwrap_or_default();
    let name = owner.name.clone().unwrap_or_default();
    let prefix = if name.len() < NAME_CHARACTERS_MAX { format!("{name}-") } else { name };
    let metadata = ObjectMeta {
        generate_name: Some(prefix),
        namespace: owner.namespace.clone(),
        labels: from.labels,
        annotations: from.annotations,
        finalizers: from.finalizers,
        owner_references: Some(vec![owner::reference(kind, owner)]),
        ..Default::default()
    };
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template.spec})
}

/// 0 is left out of an object, as `omitempty` does.
pub(crate) fn nonzero(number: i32) -> Option<i32> {
    (number != 0).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: Value, min_ready: i32, expect_ready: bool, expect_available: bool) {
        let pod: Pod = serde_json::from_value(json!({"metadata": {}, "status": status})).unwrap();
        let now = "2026-01-01T00:00:30Z".parse().unwrap();
        assert_eq!((is_ready(&pod), is_available(&pod, min_ready, now)), (expect_ready, expect_available), "{status} {min_ready}");
    }

    #[test]
    fn a_pod_has_its_templates_metadata_and_its_owner() {
        let owner: ObjectMeta = serde_json::from_value(json!({"namespace": "a", "name": "web", "uid": "set"})).unwrap();
        let template = json!({"metadata": {"labels": {"app": "web"}, "annotations": {"x": "y"}}, "spec": {"containers": [{"name": "c"}]}});
        let pod = from_template(&Kind::of::<k8s_openapi::api::apps::v1::ReplicaSet>(), &owner, &serde_json::from_value(template.clone()).unwrap());
        let reference =
            json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "set", "controller": true, "blockOwnerDeletion": true});
        let metadata =
            json!({"generateName": "web-", "namespace": "a", "labels": {"app": "web"}, "annotations": {"x": "y"}, "ownerReferences": [reference]});
        assert_eq!((&pod["metadata"], &pod["spec"]), (&metadata, &template["spec"]));
    }

    #[test]
    fn a_pod_is_available_once_it_was_ready_for_long_enough() {
        let ready = |status: &str, since: &str| json!({"conditions": [{"type": "Ready", "status": status, "lastTransitionTime": since}]});
        check(json!({}), 0, false, false);
        check(ready("False", "2026-01-01T00:00:00Z"), 0, false, false);
        check(ready("True", "2026-01-01T00:00:30Z"), 0, true, true);
        check(ready("True", "2026-01-01T00:00:00Z"), 30, true, true);
        check(ready("True", "2026-01-01T00:00:01Z"), 30, true, false);
        check(json!({"conditions": [{"type": "Ready", "status": "True"}]}), 30, true, false);
    }
}
