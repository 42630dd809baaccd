//! What a Pod's status and Events say about its scheduling.

use apiserver_client::time::rfc3339;
use apiserver_placement::pod::condition;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Map, Value, json};

/// Kubernetes' limit for the text of an Event, in bytes.
const NOTE_BYTES_MAX: usize = 1024;
const ELLIPSIS: &str = " ...";

/// Why a Pod has no node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Unschedulable,
    SchedulerError,
}

impl Reason {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unschedulable => "Unschedulable",
            Self::SchedulerError => "SchedulerError",
        }
    }
}

/// The strategic merge patch of the Pod's status that says so; `None` when it says so already.
///
/// A promise of a node that was made earlier is taken back: the Pod would hold the node's room without need.
pub fn status_patch(pod: &Pod, reason: Reason, message: &str, now: Timestamp) -> Option<Value> {
    let mut status = Map::new();
    let old = condition(pod, "PodScheduled");
    let generation = pod.metadata.generation;
    let unchanged = old.is_some_and(|old| {
        old.status == "False"
            && old.reason.as_deref() == Some(reason.as_str())
            && old.message.as_deref().unwrap_or_default() == message
            && old.observed_generation == generation
    });
    if !unchanged {
        let mut condition = json!({"type": "PodScheduled", "status": "False", "reason": reason.as_str(), "message": message, "lastProbeTime": null});
        if old.is_none_or(|old| old.status != "False") {
            condition["lastTransitionTime"] = rfc3339(now).into();
        }
        if let Some(generation) = generation {
            condition["observedGeneration"] = generation.into();
        }
        status.insert("conditions".to_owned(), json!([condition]));
    }
    let nominated = pod.status.as_ref().and_then(|status| status.nominated_node_name.as_deref()).unwrap_or_default();
    if !nominated.is_empty() {
        status.insert("nominatedNodeName".to_owned(), Value::Null);
    }
    // The uid makes the server refuse when the Pod was deleted and made again under the same name.
    (!status.is_empty()).then(|| json!({"metadata": {"uid": pod.metadata.uid}, "status": status}))
}

/// Cuts a message to what an Event may hold.
pub fn note(message: &str) -> String {
    if message.len() <= NOTE_BYTES_MAX {
        return message.to_owned();
    }
    let end = (0..=NOTE_BYTES_MAX - ELLIPSIS.len()).rev().find(|end| message.is_char_boundary(*end)).unwrap_or_default();
    format!("{}{ELLIPSIS}", &message[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{merge, pod};

    fn now() -> Timestamp {
        "2026-01-02T03:04:05Z".parse().unwrap()
    }

    fn with(metadata: Value, status: Value) -> Pod {
        let mut value = serde_json::to_value(&*pod("p", json!({}))).unwrap();
        merge(&mut value, json!({"metadata": metadata, "status": status}));
        serde_json::from_value(value).unwrap()
    }

    #[track_caller]
    fn check(metadata: Value, status: Value, expect: Option<Value>) {
        let patch = status_patch(&with(metadata, status), Reason::Unschedulable, "no room", now());
        assert_eq!(patch, expect.map(|status| json!({"metadata": {"uid": "p"}, "status": status})));
    }

    #[test]
    fn the_condition_is_written_when_it_is_news() {
        let said = |extra: Value| {
            let mut condition =
                json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no room", "lastProbeTime": null});
            merge(&mut condition, extra);
            condition
        };
        let fresh = said(json!({"lastTransitionTime": "2026-01-02T03:04:05Z"}));
        check(json!({}), json!({}), Some(json!({"conditions": [fresh]})));
        check(json!({}), json!({"conditions": [said(json!({"lastTransitionTime": "2025-01-01T00:00:00Z"}))]}), None);
        check(json!({}), json!({"conditions": [said(json!({"message": "other"}))]}), Some(json!({"conditions": [said(json!({}))]})));
        check(json!({}), json!({"conditions": [said(json!({"status": "True"}))]}), Some(json!({"conditions": [fresh]})));
        check(
            json!({"generation": 2}),
            json!({"conditions": [said(json!({"observedGeneration": 1}))]}),
            Some(json!({"conditions": [said(json!({"observedGeneration": 2}))]})),
        );
        check(json!({"generation": 2}), json!({"conditions": [said(json!({"observedGeneration": 2}))]}), None);
    }

    #[test]
    fn a_nomination_is_taken_back() {
        let condition = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no room"});
        check(json!({}), json!({"nominatedNodeName": "n", "conditions": [condition]}), Some(json!({"nominatedNodeName": null})));
    }

    #[test]
    fn long_notes_are_cut_between_characters() {
        assert_eq!(note("short"), "short");
        let cut = note(&"é".repeat(600));
        assert!(cut.len() <= NOTE_BYTES_MAX && cut.ends_with("é ..."), "{}", cut.len());
    }
}
