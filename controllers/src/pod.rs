//! What controllers ask about Pods.

use apiserver_client::time::from_time;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

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

/// 0 is left out of an object, as `omitempty` does.
pub(crate) fn nonzero(number: i32) -> Option<i32> {
    (number != 0).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(status: Value, min_ready: i32, expect_ready: bool, expect_available: bool) {
        let pod: Pod = serde_json::from_value(json!({"metadata": {}, "status": status})).unwrap();
        let now = "2026-01-01T00:00:30Z".parse().unwrap();
        assert_eq!((is_ready(&pod), is_available(&pod, min_ready, now)), (expect_ready, expect_available), "{status} {min_ready}");
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
