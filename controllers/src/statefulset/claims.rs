//! The claims of a set's Pods: made from templates, kept or deleted with the set or with Pods that are scaled away.

use super::{CLAIMS, PODS, SETS, pods};
use controllers_runtime::{Action, Kind, owner};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::core::ObjectMeta;
use serde_json::json;

pub(super) fn templates(set: &StatefulSet) -> &[PersistentVolumeClaim] {
    set.spec.volume_claim_templates.as_deref().unwrap_or_default()
}

pub(super) fn name(set: &StatefulSet, template: &PersistentVolumeClaim, ordinal: i32) -> String {
    format!("{}-{}", template.metadata.name.as_deref().unwrap_or_default(), pods::name(set, ordinal))
}

pub(super) fn names(set: &StatefulSet, ordinal: i32) -> Vec<String> {
    templates(set).iter().map(|template| name(set, template, ordinal)).collect()
}

pub(super) fn create(set: &StatefulSet, template: &PersistentVolumeClaim, ordinal: i32) -> Action {
    let mut labels = template.metadata.labels.clone().unwrap_or_default();
    labels.extend(set.spec.selector.match_labels.clone().unwrap_or_default());
    let metadata = ObjectMeta {
        name: Some(name(set, template, ordinal)),
        namespace: set.metadata.namespace.clone(),
        labels: Some(labels).filter(|labels| !labels.is_empty()),
        annotations: template.metadata.annotations.clone(),
        finalizers: template.metadata.finalizers.clone(),
        ..ObjectMeta::default()
    };
    let object = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": template.spec});
    let namespace = set.metadata.namespace.clone().unwrap_or_default();
    Action::Create { kind: CLAIMS, namespace, object, exists_ok: true, announce: None }
}

struct Retention {
    deletes_with_set: bool,
    deletes_with_pod: bool,
}

fn retention(set: &StatefulSet) -> Retention {
    let policy = set.spec.persistent_volume_claim_retention_policy.as_ref();
    let deletes = |when: Option<&String>| when.is_some_and(|what| what == "Delete");
    Retention {
        deletes_with_set: deletes(policy.and_then(|policy| policy.when_deleted.as_ref())),
        deletes_with_pod: deletes(policy.and_then(|policy| policy.when_scaled.as_ref())),
    }
}

fn names_it(owner: &OwnerReference, kind: &Kind, meta: &ObjectMeta) -> bool {
    owner.api_version == kind.api_version() && owner.kind == kind.kind && Some(&owner.name) == meta.name.as_ref()
}

fn is_of(owner: &OwnerReference, meta: &ObjectMeta) -> bool {
    Some(&owner.uid) == meta.uid.as_ref()
}

/// Whether the claim waits for the garbage collector: it belongs to a Pod of the same name that is gone.
pub(super) fn is_of_former_pod(claim: &PersistentVolumeClaim, set: &StatefulSet, pod_name: &str, pod: Option<&Pod>) -> bool {
    let named = |owner: &&OwnerReference| owner.kind == "Pod" && owner.api_version == "v1" && owner.name == pod_name;
    let former = claim.metadata.owner_references.iter().flatten().find(named);
    retention(set).deletes_with_pod && former.is_some_and(|owner| pod.is_none_or(|pod| !is_of(owner, &pod.metadata)))
}

pub(super) enum Owners {
    UpToDate,
    /// Somebody else controls the claim: the policy cannot be kept.
    Conflicting,
    Wanted(Vec<OwnerReference>),
}

/// Who shall own the claim, so that the garbage collector deletes it in time.
///
/// ```text
/// whenDeleted  whenScaled   Pod is wanted   Pod is scaled away
/// Retain       Retain       -               -
/// Delete       Retain       set             set
/// Retain       Delete       -               Pod
/// Delete       Delete       set             Pod
/// ```
pub(super) fn owners(claim: &PersistentVolumeClaim, set: &StatefulSet, pod: &Pod) -> Owners {
    let refs = claim.metadata.owner_references.clone().unwrap_or_default();
    let pairs = [(&SETS, &set.metadata), (&PODS, &pod.metadata)];
    let names_us = |owner: &OwnerReference| pairs.iter().any(|(kind, meta)| names_it(owner, kind, meta));
    let is_ours = |owner: &OwnerReference| pairs.iter().any(|(_, meta)| is_of(owner, meta));
    // A namesake that is gone: its claim is about to go.
    if refs.iter().any(|owner| names_us(owner) && !is_ours(owner)) {
        return Owners::UpToDate;
    }
    let others: Vec<OwnerReference> = refs.iter().filter(|owner| !names_us(owner)).cloned().collect();
    let policy = retention(set);
    let applies = policy.deletes_with_set || policy.deletes_with_pod;
    if applies && others.iter().any(|owner| owner.controller == Some(true) && !is_ours(owner)) {
        return if refs.iter().any(is_ours) { Owners::Wanted(others) } else { Owners::Conflicting };
    }
    let is_wanted = pods::ordinal(pod).is_some_and(|ordinal| pods::ordinals(set).contains(&ordinal));
    let wants_set = policy.deletes_with_set && (is_wanted || !policy.deletes_with_pod);
    let wants_pod = policy.deletes_with_pod && !is_wanted;
    let has = |meta: &ObjectMeta| refs.iter().any(|owner| is_of(owner, meta));
    let all_control = refs.iter().filter(|owner| is_ours(owner)).all(|owner| owner.controller == Some(true));
    if has(&set.metadata) == wants_set && has(&pod.metadata) == wants_pod && all_control {
        return Owners::UpToDate;
    }
    let mut wanted = others;
    if wants_set {
        wanted.push(owner::reference(&SETS, &set.metadata));
    }
    if wants_pod {
        wanted.push(owner::reference(&PODS, &pod.metadata));
    }
    Owners::Wanted(wanted)
}

pub(super) fn set_owners(claim: &PersistentVolumeClaim, owners: &[OwnerReference]) -> Action {
    Action::merge(CLAIMS.target_of(claim), json!({"metadata": {"resourceVersion": claim.metadata.resource_version, "ownerReferences": owners}}))
}
