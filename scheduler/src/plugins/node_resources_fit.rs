//! A node must have free what the Pod requests; the emptier it would be left, the better (`LeastAllocated`).

use crate::events::{ClusterEvent, NodeChange, PodChange};
use crate::framework::{EnqueueExtensions, Filter, NODE_SCORE_MAX, Plugin, PreFilter, Rejection, Score, ScoreError};
use crate::node_info::{NodeIndex, NodeInfo};
use crate::pod_info::{Held, NonZero, PodInfo};
use crate::resources::Resources;
use crate::snapshot::Snapshot;
use k8s_openapi::api::core::v1::Node;
use smallvec::SmallVec;
use std::sync::Arc;

pub struct NodeResourcesFit;

impl Filter for NodeResourcesFit {
    const PLUGIN: Plugin = Plugin::NodeResourcesFit;
    type State<'p> = &'p Resources;

    fn pre_filter<'p>(&self, pod: &'p PodInfo, _: &'p Snapshot) -> PreFilter<Self::State<'p>> {
        PreFilter::All(&pod.requests)
    }

    #[inline]
    fn filter(&self, wanted: &&Resources, node: &NodeInfo) -> Result<(), Rejection> {
        let (has, used) = (&node.allocatable, &node.requested);
        let fits = |wanted: i64, has: i64, used: i64| wanted <= 0 || wanted <= has.saturating_sub(used);
        if node.pods < node.allowed_pods
            && fits(wanted.cpu, has.cpu, used.cpu)
            && fits(wanted.memory, has.memory, used.memory)
            && fits(wanted.ephemeral_storage, has.ephemeral_storage, used.ephemeral_storage)
            && wanted.scalars.iter().all(|(name, amount)| fits(*amount, has.scalar(name), used.scalar(name)))
        {
            return Ok(());
        }
        Err(insufficient(wanted, node))
    }
}

/// All that is short, in upstream's order.
#[cold]
fn insufficient(wanted: &Resources, node: &NodeInfo) -> Rejection {
    let (has, used) = (&node.allocatable, &node.requested);
    let mut rejection = Rejection { unresolvable: false, reasons: SmallVec::new() };
    if node.pods >= node.allowed_pods {
        rejection.reasons.push("Too many pods".into());
    }
    let fixed = [
        ("Insufficient cpu", wanted.cpu, has.cpu, used.cpu),
        ("Insufficient memory", wanted.memory, has.memory, used.memory),
        ("Insufficient ephemeral-storage", wanted.ephemeral_storage, has.ephemeral_storage, used.ephemeral_storage),
    ];
    for (reason, wanted, has, used) in fixed {
        if wanted > 0 && wanted > has.saturating_sub(used) {
            rejection.reasons.push(reason.into());
            rejection.unresolvable |= wanted > has;
        }
    }
    for (name, wanted) in &wanted.scalars {
        if *wanted > 0 && *wanted > has.scalar(name).saturating_sub(used.scalar(name)) {
            rejection.reasons.push(format!("Insufficient {name}").into());
            rejection.unresolvable |= *wanted > has.scalar(name);
        }
    }
    rejection
}

impl Score for NodeResourcesFit {
    const PLUGIN: Plugin = Plugin::NodeResourcesFit;
    const WEIGHT: i64 = 1;
    type State<'p> = NonZero;

    fn pre_score<'p>(&self, pod: &'p PodInfo, _: &'p Snapshot) -> Result<Option<NonZero>, ScoreError> {
        Ok(Some(pod.scored))
    }

    /// The mean over cpu and memory of what would stay free, in percent; a resource that the node does not have is left out.
    #[inline]
    fn score(&self, pod: &NonZero, node: &NodeInfo) -> i64 {
        let cpu = least_requested(node.scored.cpu.saturating_add(pod.cpu), node.allocatable.cpu);
        let memory = least_requested(node.scored.memory.saturating_add(pod.memory), node.allocatable.memory);
        match (cpu, memory) {
            (Some(cpu), Some(memory)) => (cpu + memory) / 2,
            (one, other) => one.or(other).unwrap_or_default(),
        }
    }
}

#[inline]
fn least_requested(requested: i64, capacity: i64) -> Option<i64> {
    match capacity {
        0 => None,
        _ if requested > capacity => Some(0),
        // Capacity above 2^56 bytes would overflow; by then one percent is 700 TB, so dividing first loses nothing.
        _ if capacity > i64::MAX / NODE_SCORE_MAX => Some((capacity - requested) / (capacity / NODE_SCORE_MAX)),
        _ => Some((capacity - requested) * NODE_SCORE_MAX / capacity),
    }
}

impl EnqueueExtensions for NodeResourcesFit {
    const PLUGIN: Plugin = Plugin::NodeResourcesFit;

    fn is_schedulable_after(&self, pod: &PodInfo, event: &ClusterEvent<'_>) -> bool {
        match event {
            ClusterEvent::AssignedPodDelete(_) => true,
            ClusterEvent::AssignedPodUpdate { change: PodChange::ScaleDown, old, new } => {
                pod.requests.wants_what_shrank(&Held::of(old).requests, &Held::of(new).requests)
            }
            ClusterEvent::TargetPodUpdate { change: PodChange::ScaleDown, .. } => true,
            ClusterEvent::NodeAdd(node) => self.filter(&&pod.requests, &empty(node)).is_ok(),
            ClusterEvent::NodeUpdate { change: NodeChange::Allocatable, old, new } => {
                let (old, new) = (empty(old), empty(new));
                self.filter(&&pod.requests, &new).is_ok()
                    && (new.allowed_pods > old.allowed_pods || pod.requests.wants_what_shrank(&new.allocatable, &old.allocatable))
            }
            _ => false,
        }
    }
}

/// The node as it would be without Pods.
fn empty(node: &Node) -> NodeInfo {
    let mut info = NodeInfo::new(NodeIndex::of(0), "".into());
    info.set_node(Some(Arc::new(Node { status: node.status.clone(), ..Node::default() })));
    info
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{asking, first, node, pod, snapshot};
    use serde_json::{Value, json};

    /// A Pod asking for `wanted` on a node of 4 cores, 8 GiB, one gpu and room for two Pods, where `used` is taken.
    #[track_caller]
    fn check(wanted: Value, used: &[Value], expect: &[&str], unresolvable: bool) {
        let mut snapshot =
            snapshot(&[node("n", json!({"status": {"allocatable": {"pods": "2", "example.org/gpu": "1", "ephemeral-storage": "10"}}}))]);
        for (number, used) in used.iter().enumerate() {
            snapshot.set_pod(&pod(&format!("u{number}"), json!({"nodeName": "n", "containers": [{"name": "c", "resources": {"requests": used}}]})));
        }
        let pod = PodInfo::new(asking("p", wanted.clone()));
        let PreFilter::All(state) = NodeResourcesFit.pre_filter(&pod, &snapshot) else { panic!("every Pod is filtered") };
        let found = NodeResourcesFit.filter(&state, first(&snapshot)).err();
        let reasons: Vec<_> = found.iter().flat_map(|rejection| rejection.reasons.iter().map(|reason| reason.as_ref())).collect();
        assert_eq!((reasons.as_slice(), found.as_ref().is_some_and(|rejection| rejection.unresolvable)), (expect, unresolvable), "{wanted}");
    }

    #[test]
    fn what_is_short_is_named() {
        let half = json!({"cpu": "2", "memory": "4Gi", "example.org/gpu": "1"});
        check(json!({}), &[], &[], false);
        check(json!({"cpu": "4", "memory": "8Gi", "example.org/gpu": "1", "ephemeral-storage": "10"}), &[], &[], false);
        check(json!({"cpu": "3"}), std::slice::from_ref(&half), &["Insufficient cpu"], false);
        check(json!({"cpu": "2001m", "memory": "4097Mi"}), std::slice::from_ref(&half), &["Insufficient cpu", "Insufficient memory"], false);
        check(json!({"cpu": "5"}), &[], &["Insufficient cpu"], true);
        check(json!({"example.org/gpu": "1"}), std::slice::from_ref(&half), &["Insufficient example.org/gpu"], false);
        check(json!({"example.org/tpu": "1"}), &[], &["Insufficient example.org/tpu"], true);
        check(json!({"example.org/tpu": "0"}), &[], &[], false);
        check(json!({"ephemeral-storage": "11"}), &[], &["Insufficient ephemeral-storage"], true);
        check(json!({}), &[half.clone(), json!({})], &["Too many pods"], false);
        check(json!({"cpu": "3"}), &[half, json!({})], &["Too many pods", "Insufficient cpu"], false);
    }

    #[test]
    fn the_emptier_node_scores_higher() {
        #[track_caller]
        fn check(requests: Value, allocatable: Value, expect: i64) {
            let snapshot = snapshot(&[node("n", json!({"status": {"allocatable": allocatable}}))]);
            let pod = PodInfo::new(asking("p", requests));
            let state = NodeResourcesFit.pre_score(&pod, &snapshot).unwrap().unwrap();
            assert_eq!(NodeResourcesFit.score(&state, first(&snapshot)), expect);
        }
        check(json!({"cpu": "1", "memory": "2Gi"}), json!({}), 75);
        check(json!({"cpu": "3", "memory": "5Gi"}), json!({"cpu": "4", "memory": "10Gi"}), 37);
        check(json!({"cpu": "5", "memory": "2Gi"}), json!({}), 37);
        check(json!({"cpu": "1", "memory": "2Gi"}), json!({"cpu": "0"}), 75);
        check(json!({}), json!({"cpu": "0", "memory": "0"}), 0);
        check(json!({"cpu": "0", "memory": "0"}), json!({}), 100);
        check(json!({"cpu": "4", "memory": "0"}), json!({"memory": "4Ei"}), 50);
    }

    #[test]
    fn events_that_free_what_is_wanted_are_worth_a_retry() {
        let waiting = PodInfo::new(asking("p", json!({"cpu": "3"})));
        let worth = |event: ClusterEvent<'_>| NodeResourcesFit.is_schedulable_after(&waiting, &event);
        let size = |cpu: &str, pods: &str| node("n", json!({"status": {"allocatable": {"cpu": cpu, "pods": pods}}}));
        assert!(worth(ClusterEvent::NodeAdd(&size("3", "1"))));
        assert!(!worth(ClusterEvent::NodeAdd(&size("2", "1"))));
        for (old, new, expect) in
            [(("3", "1"), ("4", "1"), true), (("4", "1"), ("4", "2"), true), (("4", "1"), ("3", "1"), false), (("1", "1"), ("2", "1"), false)]
        {
            let (old, new) = (size(old.0, old.1), size(new.0, new.1));
            assert_eq!(worth(ClusterEvent::NodeUpdate { change: NodeChange::Allocatable, old: &old, new: &new }), expect, "{new:?}");
        }
        let other =
            |cpu: &str| pod("o", json!({"nodeName": "n", "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu, "memory": cpu}}}]}));
        assert!(worth(ClusterEvent::AssignedPodDelete(&other("1"))));
        assert!(worth(ClusterEvent::AssignedPodUpdate { change: PodChange::ScaleDown, old: &other("2"), new: &other("1") }));
        assert!(!worth(ClusterEvent::AssignedPodUpdate { change: PodChange::ScaleDown, old: &other("1"), new: &other("1") }));
        assert!(!worth(ClusterEvent::AssignedPodAdd));
    }
}
