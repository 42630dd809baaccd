//! What a Job asks about its Pods.

use super::PODS;
use crate::pod;
use apiserver_client::time::from_time;
use controllers_runtime::Action;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::JobSpec;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use serde_json::json;
use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

pub(super) const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
pub(super) const INDEX: &str = "batch.kubernetes.io/job-completion-index";
pub(super) const INDEX_FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
pub(super) const INDEX_IGNORED_FAILURES: &str = "batch.kubernetes.io/job-index-ignored-failure-count";

pub(super) fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

pub(super) fn is_tracked(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER)
}

/// Lets go of Pods that have been counted, or need not be.
pub(super) fn untrack(pods: &[Arc<Pod>]) -> Vec<Action> {
    let patch = |pod: &Arc<Pod>| Action::strategic(PODS.target_of(&**pod), json!({"metadata": {"$deleteFromPrimitiveList/finalizers": [FINALIZER]}}));
    let patches: Vec<Action> = pods.iter().filter(|pod| is_tracked(pod)).map(patch).collect();
    if patches.is_empty() { Vec::new() } else { vec![Action::All(patches)] }
}

pub(super) fn replaces_failed_only(spec: &JobSpec) -> bool {
    spec.pod_replacement_policy.as_deref() == Some("Failed")
}

pub(super) fn is_succeeded(pod: &Pod) -> bool {
    pod::phase(pod) == "Succeeded"
}

/// Failed; or on its way out, where the Job does not wait to see how it ends.
pub(super) fn is_failed(pod: &Pod, spec: &JobSpec) -> bool {
    match pod::phase(pod) {
        "Failed" => true,
        "Succeeded" => false,
        _ => pod.metadata.deletion_timestamp.is_some() && !replaces_failed_only(spec),
    }
}

fn annotation<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

pub(super) fn index(pod: &Pod) -> Option<u32> {
    annotation(pod, INDEX)?.parse::<i32>().ok().and_then(|index| u32::try_from(index).ok())
}

fn count(pod: &Pod, name: &str) -> i32 {
    annotation(pod, name).and_then(|text| text.parse::<i32>().ok()).filter(|count| *count >= 0).unwrap_or(0)
}

/// How often the Pod's index failed before the Pod was made.
pub(super) fn index_failures(pod: &Pod) -> i32 {
    count(pod, INDEX_FAILURES)
}

pub(super) fn index_ignored_failures(pod: &Pod) -> i32 {
    count(pod, INDEX_IGNORED_FAILURES)
}

/// When the last container ended; else when the Pod was no longer ready; else when it was told to go; else when it was made.
pub(super) fn finished_at(pod: &Pod) -> Timestamp {
    let unready = || {
        let ready = pod::condition(pod, "Ready").filter(|condition| condition.status == "False")?;
        ready.last_transition_time.as_ref().map(from_time)
    };
    let told = || {
        let deadline = from_time(pod.metadata.deletion_timestamp.as_ref()?);
        let grace = SignedDuration::from_secs(pod.metadata.deletion_grace_period_seconds.unwrap_or(0));
        deadline.checked_sub(grace).ok()
    };
    let made = || pod.metadata.creation_timestamp.as_ref().map(from_time);
    containers_finished_at(pod).or_else(unready).or_else(told).or_else(made).unwrap_or_default()
}

/// None while one still runs.
fn containers_finished_at(pod: &Pod) -> Option<Timestamp> {
    let status = pod.status.as_ref()?;
    let init = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    let sidecars: HashSet<&str> =
        init.filter(|container| container.restart_policy.as_deref() == Some("Always")).map(|container| container.name.as_str()).collect();
    let finished = |status: &ContainerStatus| Some(from_time(status.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref()?));
    let ends = |list: &Option<Vec<ContainerStatus>>, which: &dyn Fn(&ContainerStatus) -> bool| -> Option<Vec<Timestamp>> {
        list.iter().flatten().filter(|status| which(status)).map(finished).collect()
    };
    let main = ends(&status.container_statuses, &|_| true).unwrap_or_default();
    let side = ends(&status.init_container_statuses, &|status| sidecars.contains(status.name.as_str()))?;
    main.into_iter().chain(side).max()
}

/// Least use first: not assigned, Pending, Unknown, not ready, ready for a shorter time, restarted more often, younger.
pub(super) fn by_use(a: &Pod, b: &Pod) -> Ordering {
    let phase = |pod: &Pod| match pod::phase(pod) {
        "Pending" => 0,
        "Unknown" => 1,
        _ => 2,
    };
    let restarts = |pod: &Pod| {
        pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten()).map(|status| status.restart_count).max().unwrap_or(0)
    };
    let ready_since = |pod: &Pod| pod::ready_since(pod).map(from_time);
    let made = |pod: &Pod| pod.metadata.creation_timestamp.as_ref().map(from_time);
    // None, which is least, is a time that is not known: such a Pod goes first.
    let later_first = |a: Option<Timestamp>, b: Option<Timestamp>| match (a, b) {
        (Some(a), Some(b)) => b.cmp(&a),
        (a, b) => a.is_some().cmp(&b.is_some()),
    };
    (!pod::node_name(a).is_empty())
        .cmp(&!pod::node_name(b).is_empty())
        .then_with(|| phase(a).cmp(&phase(b)))
        .then_with(|| pod::is_ready(a).cmp(&pod::is_ready(b)))
        .then_with(|| later_first(ready_since(a), ready_since(b)))
        .then_with(|| restarts(b).cmp(&restarts(a)))
        .then_with(|| later_first(made(a), made(b)))
        .then_with(|| a.metadata.name.cmp(&b.metadata.name))
}
