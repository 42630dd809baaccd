//! Which Pods go first when there are too many: those that are least use.

use crate::pod;
use apiserver_client::time::from_time;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// `pods`, the first to delete first.
///
/// In order: not assigned to a node; Pending, then Unknown; not ready; cheaper by annotation; on a node with more Pods of the same owner; ready for a
/// shorter time; restarted more often; younger. Times are compared by their binary logarithm, ties by uid, so that equals go in no particular order.
pub(super) fn first_to_delete(pods: &[Arc<Pod>], related: &[Arc<Pod>], now: Timestamp) -> Vec<Arc<Pod>> {
    let mut crowd: HashMap<&str, usize> = HashMap::new();
    for pod in related.iter().filter(|pod| pod::is_active(pod)) {
        *crowd.entry(pod::node_name(pod)).or_default() += 1;
    }
    let crowd_of = |pod: &Pod| crowd.get(pod::node_name(pod)).copied().unwrap_or(0);
    let mut ranked = pods.to_vec();
    ranked.sort_by(|a, b| {
        let assigned = |pod: &Pod| !pod::node_name(pod).is_empty();
        assigned(a)
            .cmp(&assigned(b))
            .then_with(|| phase_rank(a).cmp(&phase_rank(b)))
            .then_with(|| pod::is_ready(a).cmp(&pod::is_ready(b)))
            .then_with(|| cost(a).cmp(&cost(b)))
            .then_with(|| crowd_of(b).cmp(&crowd_of(a)))
            .then_with(|| younger_first(a, b, pod::ready_since(a), pod::ready_since(b), now))
            .then_with(|| restarts(b).cmp(&restarts(a)))
            .then_with(|| younger_first(a, b, a.metadata.creation_timestamp.as_ref(), b.metadata.creation_timestamp.as_ref(), now))
    });
    ranked
}

fn phase_rank(pod: &Pod) -> u8 {
    match pod::phase(pod) {
        "Unknown" => 1,
        "Running" => 2,
        _ => 0,
    }
}

fn cost(pod: &Pod) -> i32 {
    pod.metadata.annotations.as_ref().and_then(|annotations| annotations.get(DELETION_COST)?.parse().ok()).unwrap_or(0)
}

/// Without a time counts as youngest.
fn younger_first(a: &Pod, b: &Pod, a_time: Option<&Time>, b_time: Option<&Time>, now: Timestamp) -> Ordering {
    match (a_time, b_time) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (Some(a_time), Some(b_time)) if a_time == b_time => Ordering::Equal,
        (Some(a_time), Some(b_time)) => {
            let magnitude = |time: &Time| {
                let age = now.duration_since(from_time(time)).as_nanos();
                if age > 0 { i64::from(age.ilog2()) } else { -1 }
            };
            magnitude(a_time).cmp(&magnitude(b_time)).then_with(|| a.metadata.uid.cmp(&b.metadata.uid))
        }
    }
}

/// The most restarts of any container, then of any sidecar.
fn restarts(pod: &Pod) -> (i32, i32) {
    let Some(status) = &pod.status else { return (0, 0) };
    let regular = status.container_statuses.iter().flatten().map(|container| container.restart_count).max().unwrap_or(0);
    let init = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    let sidecars: Vec<&str> =
        init.filter(|container| container.restart_policy.as_deref() == Some("Always")).map(|container| container.name.as_str()).collect();
    let statuses = status.init_container_statuses.iter().flatten();
    let sidecar = statuses.filter(|status| sidecars.contains(&status.name.as_str())).map(|status| status.restart_count).max().unwrap_or(0);
    (regular, sidecar)
}
