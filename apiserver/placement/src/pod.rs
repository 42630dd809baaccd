//! Questions that everybody asks of a Pod.

use k8s_openapi::api::core::v1::{Pod, PodCondition};

/// Succeeded or Failed: it will never run again and holds no resources.
pub fn is_terminal(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// The phase; empty before anything was written.
pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// Deletion was asked for.
pub fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// The node that it is bound to.
pub fn node_name(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).filter(|name| !name.is_empty())
}

pub fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

/// Its Ready condition is True.
pub fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|condition| condition.status == "True")
}

/// Running, ready or not, or on its way: neither terminal nor being deleted.
pub fn is_active(pod: &Pod) -> bool {
    !is_terminal(pod) && !is_terminating(pod)
}

/// A Pod from before there were priorities has the default, zero.
pub fn priority(pod: &Pod) -> i32 {
    pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(value: Value) -> Pod {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn an_ended_pod_is_terminal_and_inactive() {
        for (phase, terminal) in [("Pending", false), ("Running", false), ("Succeeded", true), ("Failed", true), ("Unknown", false)] {
            let pod = pod(json!({"status": {"phase": phase}}));
            assert_eq!((is_terminal(&pod), is_active(&pod)), (terminal, !terminal), "{phase}");
        }
        assert!(!is_active(&pod(json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}))));
    }

    #[test]
    fn ready_is_the_condition_not_the_phase() {
        assert!(is_ready(&pod(json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}}))));
        assert!(!is_ready(&pod(json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]}}))));
        assert!(!is_ready(&pod(json!({}))));
    }

    #[test]
    fn an_empty_node_name_is_none() {
        assert_eq!(node_name(&pod(json!({"spec": {"containers": [], "nodeName": ""}}))), None);
        assert_eq!(node_name(&pod(json!({"spec": {"containers": [], "nodeName": "n"}}))), Some("n"));
        assert_eq!(priority(&pod(json!({"spec": {"containers": []}}))), 0);
    }
}
