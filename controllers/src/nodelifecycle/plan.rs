//! Conditions, taints and labels that a node should have.

use super::health::condition;
use super::{NODES, Observed, PODS};
use crate::pod;
use apiserver_client::EventType;
use apiserver_client::time::{rfc3339, to_time};
use controllers_runtime::plan::PatchKind;
use controllers_runtime::{Action, Plan};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Taint};
use serde_json::json;

pub(super) const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub(super) const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Condition, its status, and the taint that it brings.
const CONDITION_TAINTS: &[(&str, &str, &str)] = &[
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
];
/// What a silent node is no longer believed about.
const REPORTED: &[&str] = &["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];
/// The old names of labels, kept equal to the new ones.
const OLD_LABELS: &[(&str, &str)] = &[("kubernetes.io/os", "beta.kubernetes.io/os"), ("kubernetes.io/arch", "beta.kubernetes.io/arch")];

pub(super) fn plan(observed: &Observed, now: Timestamp) -> Plan {
    let mut plan = Plan::nothing();
    let silent = now >= observed.health.silent_at;
    if silent {
        silence(observed, now, &mut plan);
    } else {
        plan.again(observed.health.silent_at);
    }
    // What was just found out is tainted for on the next look, which the write brings about.
    let node = &*observed.node;
    if let Some(taints) = taints(observed, now) {
        // The list is replaced whole, so it must be the one that was seen.
        let patch = json!({"metadata": {"resourceVersion": node.metadata.resource_version}, "spec": {"taints": taints}});
        plan.actions.insert(0, Action::merge(NODES.target_of(node), patch));
    }
    if let Some(labels) = labels(node) {
        plan.actions.push(Action::merge(NODES.target_of(node), json!({"metadata": {"labels": labels}})));
    }
    plan
}

/// The node is no longer believed: its conditions become Unknown, and its Pods not ready.
fn silence(observed: &Observed, now: Timestamp, plan: &mut Plan) {
    let node = &*observed.node;
    let mut unknown = Vec::new();
    for kind in REPORTED {
        let (reason, message) = match condition(node, kind) {
            Some(known) if known.status == "Unknown" => continue,
            Some(_) => ("NodeStatusUnknown", "Kubelet stopped posting node status."),
            None => ("NodeStatusNeverUpdated", "Kubelet never posted node status."),
        };
        unknown.push(NodeCondition {
            type_: (*kind).into(),
            status: "Unknown".into(),
            reason: Some(reason.into()),
            message: Some(message.into()),
            last_heartbeat_time: condition(node, kind)
                .map_or_else(|| node.metadata.creation_timestamp.clone(), |known| known.last_heartbeat_time.clone()),
            last_transition_time: Some(to_time(now)),
        });
    }
    if unknown.is_empty() {
        return;
    }
    let was_ready = super::health::is_ready(node);
    let patch = json!({"status": {"conditions": unknown}});
    plan.actions.push(Action::Patch { target: NODES.target_of(node), subresource: Some("status"), kind: PatchKind::Strategic, patch });
    if !was_ready {
        return;
    }
    let name = node.metadata.name.as_deref().unwrap_or_default();
    plan.event(&NODES.reference(&node.metadata), EventType::Normal, "NodeNotReady", format!("Node {name} status is now: NodeNotReady"));
    let mut not_ready = Vec::new();
    for pod in observed.pods.iter().filter(|pod| pod::is_ready(pod)) {
        let condition =
            json!({"type": "Ready", "status": "False", "lastTransitionTime": rfc3339(now), "observedGeneration": pod.metadata.generation});
        let patch = json!({"status": {"conditions": [condition]}});
        not_ready.push(Action::Patch { target: PODS.target_of(&**pod), subresource: Some("status"), kind: PatchKind::Strategic, patch });
        plan.event(&PODS.reference(&pod.metadata), EventType::Warning, "NodeNotReady", "Node is not ready");
    }
    plan.actions.push(Action::All(not_ready));
}

/// The taints that the node should have; None where it has them.
fn taints(observed: &Observed, now: Timestamp) -> Option<Vec<Taint>> {
    let node = &*observed.node;
    let before: Vec<Taint> = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten().cloned()).collect();
    let holds = |kind: &str, status: &str| condition(node, kind).is_some_and(|condition| condition.status == status);
    let mut wanted: Vec<(&str, &str)> =
        CONDITION_TAINTS.iter().filter(|(kind, status, _)| holds(kind, status)).map(|(_, _, key)| (*key, "NoSchedule")).collect();
    if node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true) {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    let executing = |key: &str| before.iter().any(|taint| taint.key == key && taint.effect == "NoExecute");
    let evicted = executing(NOT_READY) || executing(UNREACHABLE);
    if !observed.all_down && (evicted || observed.may_evict) {
        let executed = CONDITION_TAINTS.iter().filter(|(kind, status, _)| *kind == "Ready" && holds(kind, status));
        wanted.extend(executed.map(|(_, _, key)| (*key, "NoExecute")));
    }
    let ours = |taint: &Taint| match taint.effect.as_str() {
        "NoSchedule" => taint.key == UNSCHEDULABLE || CONDITION_TAINTS.iter().any(|(_, _, key)| *key == taint.key),
        "NoExecute" => taint.key == NOT_READY || taint.key == UNREACHABLE,
        _ => false,
    };
    let is_wanted = |taint: &Taint| wanted.iter().any(|(key, effect)| *key == taint.key && *effect == taint.effect);
    let mut after: Vec<Taint> = before.iter().filter(|taint| !ours(taint) || is_wanted(taint)).cloned().collect();
    for (key, effect) in wanted {
        if !after.iter().any(|taint| taint.key == key && taint.effect == effect) {
            after.push(Taint { key: key.into(), effect: effect.into(), value: None, time_added: Some(to_time(now)) });
        }
    }
    (after != before).then_some(after)
}

fn labels(node: &Node) -> Option<serde_json::Value> {
    let labels = node.metadata.labels.as_ref()?;
    let mut changed = serde_json::Map::new();
    for (new, old) in OLD_LABELS {
        if let Some(value) = labels.get(*new)
            && labels.get(*old) != Some(value)
        {
            changed.insert((*old).into(), value.as_str().into());
        }
    }
    (!changed.is_empty()).then_some(serde_json::Value::Object(changed))
}
