//! What happened in the cluster, as far as it can make a waiting Pod schedulable.

use crate::pod_info::Held;
use apiserver_placement::selector::labels_of;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod};

#[derive(Clone, Copy, Debug)]
pub enum ClusterEvent<'a> {
    NodeAdd(&'a Node),
    NodeUpdate {
        change: NodeChange,
        old: &'a Node,
        new: &'a Node,
    },
    NodeDelete,
    AssignedPodAdd,
    AssignedPodUpdate {
        change: PodChange,
        old: &'a Pod,
        new: &'a Pod,
    },
    /// Deleted, ended, or its binding was given up.
    AssignedPodDelete(&'a Pod),
    /// The waiting Pod itself changed.
    TargetPodUpdate {
        change: PodChange,
        new: &'a Pod,
    },
    /// It has waited for so long that it is tried without cause.
    UnschedulableTimeout,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeChange {
    Allocatable,
    Label,
    Taint,
    Condition,
    Annotation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodChange {
    Label,
    ScaleDown,
    ScaleUp,
    SchedulingGatesEliminated,
    Toleration,
    /// Something else.
    Other,
}

impl ClusterEvent<'_> {
    /// As upstream's metrics name it.
    pub fn label(&self) -> &'static str {
        match self {
            Self::NodeAdd(_) => "NodeAdd",
            Self::NodeDelete => "NodeDelete",
            Self::NodeUpdate { change, .. } => match change {
                NodeChange::Allocatable => "NodeUpdateNodeAllocatable",
                NodeChange::Label => "NodeUpdateNodeLabel",
                NodeChange::Taint => "NodeUpdateNodeTaint",
                NodeChange::Condition => "NodeUpdateNodeCondition",
                NodeChange::Annotation => "NodeUpdateNodeAnnotation",
            },
            Self::AssignedPodAdd => "AssignedPodAdd",
            Self::AssignedPodUpdate { change, .. } => match change {
                PodChange::Label => "AssignedPodUpdatePodLabel",
                PodChange::ScaleDown => "AssignedPodUpdatePodScaleDown",
                PodChange::ScaleUp => "AssignedPodUpdatePodScaleUp",
                PodChange::SchedulingGatesEliminated => "AssignedPodUpdatePodSchedulingGatesEliminated",
                PodChange::Toleration => "AssignedPodUpdatePodToleration",
                PodChange::Other => "AssignedPodUpdate",
            },
            Self::AssignedPodDelete(_) => "AssignedPodDelete",
            Self::TargetPodUpdate { change, .. } => match change {
                PodChange::Label => "TargetPodUpdatePodLabel",
                PodChange::ScaleDown => "TargetPodUpdatePodScaleDown",
                PodChange::ScaleUp => "TargetPodUpdatePodScaleUp",
                PodChange::SchedulingGatesEliminated => "TargetPodUpdatePodSchedulingGatesEliminated",
                PodChange::Toleration => "TargetPodUpdatePodToleration",
                PodChange::Other => "TargetPodUpdate",
            },
            Self::UnschedulableTimeout => "UnschedulableTimeout",
        }
    }
}

/// How the node changed for scheduling. Heartbeats change nothing.
pub fn node_changes(old: &Node, new: &Node) -> Vec<NodeChange> {
    let (old_spec, new_spec) = (old.spec.as_ref(), new.spec.as_ref());
    let unschedulable = |node: &Node| node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or_default();
    let allocatable = |node: &Node| node.status.as_ref().and_then(|status| status.allocatable.clone()).unwrap_or_default();
    let became_schedulable = unschedulable(old) && !unschedulable(new);
    let taints =
        old_spec.and_then(|spec| spec.taints.as_deref()).unwrap_or_default() != new_spec.and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    let annotations = old.metadata.annotations.iter().flatten().ne(new.metadata.annotations.iter().flatten());
    let all = [
        (became_schedulable || taints, NodeChange::Taint),
        (allocatable(old) != allocatable(new), NodeChange::Allocatable),
        (labels_of(&old.metadata) != labels_of(&new.metadata), NodeChange::Label),
        (conditions(old).ne(conditions(new)), NodeChange::Condition),
        (annotations, NodeChange::Annotation),
    ];
    all.into_iter().filter(|(changed, _)| *changed).map(|(_, change)| change).collect()
}

fn conditions(node: &Node) -> impl Iterator<Item = (&str, &str)> {
    let all = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    all.map(|NodeCondition { type_, status, .. }| (type_.as_str(), status.as_str()))
}

/// How the Pod changed for scheduling; [`PodChange::Other`] when in no way that has a name.
pub fn pod_changes(old: &Pod, new: &Pod) -> Vec<PodChange> {
    let gates = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.scheduling_gates.as_ref()).map_or(0, Vec::len);
    let tolerations = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.tolerations.as_ref()).map_or(0, Vec::len);
    let (before, after) = (Held::of(old).requests, Held::of(new).requests);
    let less = |one: &crate::resources::Resources, other: &crate::resources::Resources| {
        one.cpu < other.cpu
            || one.memory < other.memory
            || one.ephemeral_storage < other.ephemeral_storage
            || other.scalars.iter().any(|(name, amount)| one.scalar(name) < *amount)
    };
    let all = [
        (labels_of(&old.metadata) != labels_of(&new.metadata), PodChange::Label),
        (less(&after, &before), PodChange::ScaleDown),
        (less(&before, &after), PodChange::ScaleUp),
        (gates(old) > 0 && gates(new) == 0, PodChange::SchedulingGatesEliminated),
        (tolerations(old) != tolerations(new), PodChange::Toleration),
    ];
    let changes: Vec<_> = all.into_iter().filter(|(changed, _)| *changed).map(|(_, change)| change).collect();
    if changes.is_empty() { vec![PodChange::Other] } else { changes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{asking, node, pod};
    use serde_json::{Value, json};

    #[track_caller]
    fn check(old: Value, new: Value, expect: &[NodeChange]) {
        assert_eq!(node_changes(&node("n", old), &node("n", new)), expect);
    }

    #[test]
    fn node_updates_are_told_apart() {
        let ready = |status: &str, beat: &str| json!({"status": {"conditions": [{"type": "Ready", "status": status, "lastHeartbeatTime": beat}]}});
        check(ready("True", "2026-01-01T00:00:00Z"), ready("True", "2026-01-01T00:01:00Z"), &[]);
        check(ready("False", "2026-01-01T00:00:00Z"), ready("True", "2026-01-01T00:01:00Z"), &[NodeChange::Condition]);
        check(json!({"spec": {"unschedulable": true}}), json!({}), &[NodeChange::Taint]);
        check(json!({}), json!({"spec": {"unschedulable": true}}), &[]);
        check(json!({}), json!({"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}), &[NodeChange::Taint]);
        check(
            json!({}),
            json!({"status": {"allocatable": {"cpu": "5"}}, "metadata": {"labels": {"a": "b"}}}),
            &[NodeChange::Allocatable, NodeChange::Label],
        );
        check(json!({"metadata": {"annotations": {}}}), json!({}), &[]);
        check(json!({}), json!({"metadata": {"annotations": {"a": "b"}}}), &[NodeChange::Annotation]);
    }

    #[test]
    fn pod_updates_are_told_apart() {
        assert_eq!(
            pod_changes(&asking("p", json!({"cpu": "2"})), &asking("p", json!({"cpu": "1", "memory": "1"}))),
            [PodChange::ScaleDown, PodChange::ScaleUp]
        );
        assert_eq!(pod_changes(&pod("p", json!({"schedulingGates": [{"name": "g"}]})), &pod("p", json!({}))), [PodChange::SchedulingGatesEliminated]);
        assert_eq!(pod_changes(&pod("p", json!({})), &pod("p", json!({"tolerations": [{"operator": "Exists"}]}))), [PodChange::Toleration]);
        assert_eq!(pod_changes(&pod("p", json!({})), &pod("p", json!({}))), [PodChange::Other]);
    }
}
