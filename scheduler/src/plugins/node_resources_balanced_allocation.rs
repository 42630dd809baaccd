//! Nodes whose cpu and memory would be used more evenly with the Pod than without it are better.

use crate::framework::{NODE_SCORE_MAX, Plugin, Score, ScoreError};
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;
use crate::resources::Resources;
use crate::snapshot::Snapshot;

pub struct NodeResourcesBalancedAllocation;

impl Score for NodeResourcesBalancedAllocation {
    const PLUGIN: Plugin = Plugin::NodeResourcesBalancedAllocation;
    const WEIGHT: i64 = 1;
    type State<'p> = &'p Resources;

    /// Pods without requests are skipped: they would all go to the one node that is balanced best.
    fn pre_score<'p>(&self, pod: &'p PodInfo, _: &'p Snapshot) -> Result<Option<Self::State<'p>>, ScoreError> {
        Ok((pod.requests.cpu != 0 || pod.requests.memory != 0).then_some(&pod.requests))
    }

    /// 75 when nothing changes, towards 100 as the balance improves, towards 50 as it gets worse.
    #[inline]
    fn score(&self, pod: &&Resources, node: &NodeInfo) -> i64 {
        let used = &node.requested;
        let with = balance(used.cpu.saturating_add(pod.cpu), used.memory.saturating_add(pod.memory), &node.allocatable);
        let without = balance(used.cpu, used.memory, &node.allocatable);
        NODE_SCORE_MAX / 2 + (NODE_SCORE_MAX / 2 + with - without) / 2
    }
}

/// 100 minus the standard deviation of the used fractions in percent. With fewer than two resources there is nothing to balance.
#[inline]
fn balance(cpu: i64, memory: i64, has: &Resources) -> i64 {
    if has.cpu == 0 || has.memory == 0 {
        return NODE_SCORE_MAX;
    }
    let fraction = |used: i64, has: i64| (used as f64 / has as f64).min(1.0);
    let deviation = (fraction(cpu, has.cpu) - fraction(memory, has.memory)).abs() / 2.0;
    ((1.0 - deviation) * NODE_SCORE_MAX as f64) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{asking, first, node, pod, snapshot};
    use serde_json::{Value, json};

    #[track_caller]
    fn check(wanted: Value, used: Value, expect: Option<i64>) {
        let mut snapshot = snapshot(&[node("n", json!({"status": {"allocatable": {"cpu": "10", "memory": "10G"}}}))]);
        snapshot.set_pod(&pod("u", json!({"nodeName": "n", "containers": [{"name": "c", "resources": {"requests": used}}]})));
        let pod = PodInfo::new(asking("p", wanted.clone()));
        let state = NodeResourcesBalancedAllocation.pre_score(&pod, &snapshot).unwrap();
        assert_eq!(state.map(|state| NodeResourcesBalancedAllocation.score(&state, first(&snapshot))), expect, "{wanted} {used}");
    }

    #[test]
    fn evening_out_scores_above_75_and_tilting_below() {
        check(json!({}), json!({}), None);
        check(json!({"cpu": "2", "memory": "2G"}), json!({}), Some(75));
        check(json!({"cpu": "4"}), json!({}), Some(65));
        check(json!({"cpu": "4"}), json!({"memory": "4G"}), Some(85));
        check(json!({"cpu": "10"}), json!({}), Some(50));
        check(json!({"cpu": "10"}), json!({"memory": "10G"}), Some(100));
    }
}
