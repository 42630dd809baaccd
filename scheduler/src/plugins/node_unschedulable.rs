//! A cordoned node takes only Pods that tolerate `node.kubernetes.io/unschedulable`.

use crate::events::{ClusterEvent, NodeChange, PodChange};
use crate::framework::{EnqueueExtensions, Filter, Plugin, PreFilter, Rejection};
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;
use crate::snapshot::Snapshot;
use apiserver_placement::taint::{NO_SCHEDULE, any_tolerates};
use k8s_openapi::api::core::v1::{Node, Pod, Taint};

const REASON: &str = "node(s) were unschedulable";
const TAINT: &str = "node.kubernetes.io/unschedulable";

pub struct NodeUnschedulable;

impl Filter for NodeUnschedulable {
    const PLUGIN: Plugin = Plugin::NodeUnschedulable;
    type State<'p> = ();

    fn pre_filter<'p>(&self, pod: &'p PodInfo, _: &'p Snapshot) -> PreFilter<()> {
        if tolerates(&pod.pod) { PreFilter::Skip } else { PreFilter::All(()) }
    }

    fn filter(&self, (): &(), node: &NodeInfo) -> Result<(), Rejection> {
        if node.unschedulable { Err(Rejection::unresolvable(REASON)) } else { Ok(()) }
    }
}

impl EnqueueExtensions for NodeUnschedulable {
    const PLUGIN: Plugin = Plugin::NodeUnschedulable;

    fn is_schedulable_after(&self, _: &PodInfo, event: &ClusterEvent<'_>) -> bool {
        match event {
            ClusterEvent::NodeAdd(node) => !is_cordoned(node),
            ClusterEvent::NodeUpdate { change: NodeChange::Taint, old, new } => is_cordoned(old) && !is_cordoned(new),
            ClusterEvent::TargetPodUpdate { change: PodChange::Toleration, new, .. } => tolerates(new),
            _ => false,
        }
    }
}

fn is_cordoned(node: &Node) -> bool {
    node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or_default()
}

fn tolerates(pod: &Pod) -> bool {
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
    !tolerations.is_empty() && any_tolerates(tolerations, &Taint { key: TAINT.into(), effect: NO_SCHEDULE.into(), ..Taint::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{first, info, node, snapshot};
    use serde_json::{Value, json};

    #[track_caller]
    fn check(spec: Value, unschedulable: bool, expect: bool) {
        let snapshot = snapshot(&[node("n", json!({"spec": {"unschedulable": unschedulable}}))]);
        let fits = match NodeUnschedulable.pre_filter(&info(spec), &snapshot) {
            PreFilter::All(()) => NodeUnschedulable.filter(&(), first(&snapshot)).is_ok(),
            _ => true,
        };
        assert_eq!(fits, expect);
    }

    #[test]
    fn a_cordoned_node_takes_only_who_tolerates_it() {
        check(json!({}), false, true);
        check(json!({}), true, false);
        check(json!({"tolerations": [{"key": TAINT, "operator": "Exists"}]}), true, true);
        check(json!({"tolerations": [{"operator": "Exists"}]}), true, true);
        check(json!({"tolerations": [{"key": "other", "operator": "Exists"}]}), true, false);
        check(json!({"tolerations": [{"key": TAINT, "operator": "Exists", "effect": "NoExecute"}]}), true, false);
    }

    #[test]
    fn uncordoning_is_worth_a_retry() {
        let (cordoned, open) = (node("n", json!({"spec": {"unschedulable": true}})), node("n", json!({})));
        let update = |old, new| ClusterEvent::NodeUpdate { change: NodeChange::Taint, old, new };
        let pod = info(json!({}));
        assert!(NodeUnschedulable.is_schedulable_after(&pod, &update(&cordoned, &open)));
        assert!(!NodeUnschedulable.is_schedulable_after(&pod, &update(&open, &open)));
        assert!(NodeUnschedulable.is_schedulable_after(&pod, &ClusterEvent::NodeAdd(&open)));
        assert!(!NodeUnschedulable.is_schedulable_after(&pod, &ClusterEvent::NodeAdd(&cordoned)));
        assert!(!NodeUnschedulable.is_schedulable_after(&pod, &ClusterEvent::AssignedPodAdd));
    }
}
