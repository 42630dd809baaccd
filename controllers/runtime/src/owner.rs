//! Who controls what: owner references, adoption of matching orphans and release of what no longer matches.

use crate::kind::{Kind, Target};
use crate::plan::Action;
use crate::selector::Selector;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;
use kube::core::ObjectMeta;
use serde_json::json;
use std::sync::Arc;

/// The one owner reference with `controller: true`.
pub fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

pub fn is_controlled_by(meta: &ObjectMeta, owner_uid: &str) -> bool {
    controller_of(meta).is_some_and(|owner| owner.uid == owner_uid)
}

/// Of a controller to what it makes.
pub fn reference(kind: &Kind, meta: &ObjectMeta) -> OwnerReference {
    OwnerReference {
        api_version: kind.api_version(),
        kind: kind.kind.to_string(),
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// The uid of an object's controller, or `orphans NAMESPACE`: an index from which a controller finds what it owns and what it may adopt.
pub fn index_key(meta: &ObjectMeta) -> Vec<String> {
    match controller_of(meta) {
        Some(owner) => vec![owner.uid.clone()],
        None => vec![orphans_key(meta.namespace.as_deref().unwrap_or_default())],
    }
}

pub fn orphans_key(namespace: &str) -> String {
    format!("orphans {namespace}")
}

/// What a controller has, and what must be done so that the server agrees.
pub struct Claimed<K> {
    pub objects: Vec<Arc<K>>,
    /// To be done before anything else; a failure ends the plan.
    pub actions: Vec<Action>,
}

/// The objects that `owner` controls or adopts.
///
/// * Controlled by another: not ours.
/// * Ours and matching: kept. Ours and not matching: released, unless the owner is being deleted.
/// * An orphan that matches and is not being deleted: adopted, unless the owner is being deleted.
pub fn claim<K: Resource>(
    owner_kind: &Kind,
    owner: &ObjectMeta,
    child_kind: &Kind,
    selector: &Selector,
    candidates: impl IntoIterator<Item = Arc<K>>,
) -> Claimed<K> {
    let owner_uid = owner.uid.as_deref().unwrap_or_default();
    let deleting = owner.deletion_timestamp.is_some();
    let (mut objects, mut adopt, mut release) = (Vec::new(), Vec::new(), Vec::new());
    for object in candidates {
        let meta = object.meta();
        let matches = selector.matches(meta.labels.as_ref());
        match controller_of(meta) {
            Some(controller) if controller.uid != owner_uid => {}
            Some(_) if matches => objects.push(object),
            Some(_) => {
                if !deleting {
                    let patch = json!({"metadata": {"uid": meta.uid, "ownerReferences": [{"$patch": "delete", "uid": owner_uid}]}});
                    release.push(Action::strategic(child_kind.target_of(&*object), patch));
                }
            }
            None => {
                if matches && !deleting && meta.deletion_timestamp.is_none() && meta.namespace == owner.namespace {
                    let patch = json!({"metadata": {"uid": meta.uid, "ownerReferences": [reference(owner_kind, owner)]}});
                    adopt.push(Action::strategic(child_kind.target_of(&*object), patch));
                    objects.push(object);
                }
            }
        }
    }
    let mut actions = Vec::new();
    if !adopt.is_empty() {
        let key = apiserver_client::ObjectKey::new(owner.namespace.as_deref().unwrap_or_default(), owner.name.as_deref().unwrap_or_default());
        actions.push(Action::Verify(Target { kind: owner_kind.clone(), key, uid: owner.uid.clone() }));
    }
    if !adopt.is_empty() || !release.is_empty() {
        adopt.extend(release);
        actions.push(Action::All(adopt));
    }
    Claimed { objects, actions }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::apps::v1::ReplicaSet;
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::Value;

    fn check(owner_deleting: bool, pod: Value, expect_objects: usize, expect_actions: &[&str]) {
        let mut owner: ObjectMeta = serde_json::from_value(json!({"namespace": "a", "name": "rs", "uid": "me"})).unwrap();
        if owner_deleting {
            owner.deletion_timestamp = Some(apiserver_client::time::to_time(jiff::Timestamp::UNIX_EPOCH));
        }
        let mut meta = json!({"namespace": "a", "name": "p", "uid": "p1"});
        meta.as_object_mut().unwrap().extend(pod.as_object().unwrap().clone());
        let pod: Pod = serde_json::from_value(json!({"metadata": meta})).unwrap();
        let labels = [("app".to_string(), "x".to_string())];
        let selector = Selector::from_map(labels.iter().map(|(key, value)| (key, value)));
        let claimed = claim(&Kind::of::<ReplicaSet>(), &owner, &Kind::of::<Pod>(), &selector, [Arc::new(pod)]);
        let actions: Vec<String> = claimed.actions.iter().map(ToString::to_string).collect();
        assert_eq!((claimed.objects.len(), actions.len()), (expect_objects, expect_actions.len()), "{actions:?}");
        for (action, expect) in actions.iter().zip(expect_actions) {
            assert!(action.contains(expect), "{action} has no {expect}");
        }
    }

    fn owned_by(uid: &str) -> Value {
        json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": uid, "controller": true}])
    }

    #[test]
    fn only_what_matches_and_is_free_is_adopted() {
        check(false, json!({"labels": {"app": "x"}}), 1, &["verify replicasets.apps a/rs", "\"uid\":\"me\""]);
        check(true, json!({"labels": {"app": "x"}}), 0, &[]);
        check(false, json!({"labels": {"app": "y"}}), 0, &[]);
        check(false, json!({"labels": {"app": "x"}, "deletionTimestamp": "2026-01-01T00:00:00Z"}), 0, &[]);
        check(false, json!({"labels": {"app": "x"}, "ownerReferences": owned_by("other")}), 0, &[]);
        check(false, json!({"labels": {"app": "x"}, "ownerReferences": owned_by("me")}), 1, &[]);
    }

    #[test]
    fn what_no_longer_matches_is_released() {
        check(false, json!({"labels": {"app": "y"}, "ownerReferences": owned_by("me")}), 0, &["\"$patch\":\"delete\""]);
        check(true, json!({"labels": {"app": "y"}, "ownerReferences": owned_by("me")}), 0, &[]);
    }
}
