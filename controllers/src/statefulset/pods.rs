//! Who a Pod of a set is: its number, name, host name and volumes.

use super::{SETS, claims};
use crate::history::HASH_LABEL;
use crate::pod;
use controllers_runtime::owner;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume};
use kube::core::ObjectMeta;
use serde_json::{Value, json};

const NAME_LABEL: &str = "statefulset.kubernetes.io/pod-name";
const INDEX_LABEL: &str = "apps.kubernetes.io/pod-index";

pub(super) fn name(set: &StatefulSet, ordinal: i32) -> String {
    format!("{}-{ordinal}", set.metadata.name.as_deref().unwrap_or_default())
}

/// The number at the end of the name.
pub(super) fn ordinal(pod: &Pod) -> Option<i32> {
    let (_, digits) = pod.metadata.name.as_deref()?.rsplit_once('-')?;
    digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()))
}

pub(super) fn replicas(set: &StatefulSet) -> i32 {
    set.spec.replicas.unwrap_or(1).max(0)
}

/// The numbers that the set wants Pods for.
pub(super) fn ordinals(set: &StatefulSet) -> std::ops::Range<i32> {
    let start = set.spec.ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or(0);
    start..start.saturating_add(replicas(set))
}

pub(super) fn revision(pod: &Pod) -> &str {
    pod.metadata.labels.as_ref().and_then(|labels| labels.get(HASH_LABEL)).map(String::as_str).unwrap_or_default()
}

pub(super) fn is_leaving(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

pub(super) fn is_running_and_ready(pod: &Pod) -> bool {
    pod::phase(pod) == "Running" && pod::is_ready(pod)
}

pub(super) fn is_unavailable(pod: &Pod, set: &StatefulSet, now: Timestamp) -> bool {
    is_leaving(pod) || !pod::is_available(pod, set.spec.min_ready_seconds.unwrap_or(0), now)
}

fn identity(name: &str, ordinal: i32) -> [(String, String); 2] {
    [(NAME_LABEL.into(), name.into()), (INDEX_LABEL.into(), ordinal.to_string())]
}

/// The labels that the Pod lacks of its identity.
pub(super) fn missing_identity(pod: &Pod) -> Option<Value> {
    let (name, ordinal) = (pod.metadata.name.as_deref()?, ordinal(pod)?);
    let has_name = pod.metadata.labels.as_ref().and_then(|labels| labels.get(NAME_LABEL)).is_some_and(|label| label == name);
    (!has_name).then(|| json!({"metadata": {"labels": identity(name, ordinal).into_iter().collect::<std::collections::BTreeMap<_, _>>()}}))
}

/// A Pod from the template of a revision.
pub(super) fn new(set: &StatefulSet, template: &PodTemplateSpec, revision: &str, ordinal: i32) -> Value {
    let from = template.metadata.clone().unwrap_or_default();
    let mut spec = template.spec.clone().unwrap_or_default();
    let name = name(set, ordinal);
    let mut labels = from.labels.unwrap_or_default();
    labels.extend(identity(&name, ordinal));
    labels.insert(HASH_LABEL.into(), revision.into());
    spec.hostname = Some(name.clone());
    spec.subdomain = set.spec.service_name.clone().filter(|service| !service.is_empty());
    let claimed: Vec<Volume> = claims::templates(set).iter().map(|template| claimed(set, template, ordinal)).collect();
    if !claimed.is_empty() {
        let others = spec.volumes.take().unwrap_or_default();
        let others = others.into_iter().filter(|volume| !claimed.iter().any(|claimed| claimed.name == volume.name));
        spec.volumes = Some(claimed.iter().cloned().chain(others).collect());
    }
    let metadata = ObjectMeta {
        name: Some(name),
        namespace: set.metadata.namespace.clone(),
        labels: Some(labels),
        annotations: from.annotations,
        finalizers: from.finalizers,
        owner_references: Some(vec![owner::reference(&SETS, &set.metadata)]),
        ..ObjectMeta::default()
    };
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
}

fn claimed(set: &StatefulSet, template: &k8s_openapi::api::core::v1::PersistentVolumeClaim, ordinal: i32) -> Volume {
    Volume {
        name: template.metadata.name.clone().unwrap_or_default(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource { claim_name: claims::name(set, template, ordinal), read_only: None }),
        ..Volume::default()
    }
}
