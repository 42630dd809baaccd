//! Nodes with taints that the Pod does not tolerate are out; those it would rather avoid come last.

use crate::events::{ClusterEvent, NodeChange, PodChange};
use crate::framework::{EnqueueExtensions, Filter, Plugin, PreFilter, Rejection, Score, ScoreError, default_normalize_score};
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;
use crate::snapshot::Snapshot;
use crate::taints::{TaintSet, TaintSetId, TaintSets};
use apiserver_placement::taint::{PREFER_NO_SCHEDULE, any_tolerates, first_untolerated, tolerates};
use k8s_openapi::api::core::v1::{Node, Taint, Toleration};
use std::cell::Cell;

const REASON: &str = "node(s) had untolerated taint(s)";

pub struct TaintToleration;

/// The Pod's tolerations and what was found of each taint set so far.
pub struct Tolerations<'p> {
    tolerations: &'p [Toleration],
    sets: &'p TaintSets,
    known: Vec<Cell<Option<i64>>>,
}

impl<'p> Tolerations<'p> {
    fn new(pod: &'p PodInfo, snapshot: &'p Snapshot) -> Self {
        Self { tolerations: tolerations(pod), sets: &snapshot.taints, known: vec![Cell::new(None); snapshot.taints.len()] }
    }

    #[inline]
    fn of(&self, id: TaintSetId, find: impl FnOnce(&TaintSet) -> i64) -> i64 {
        let known = &self.known[id.position()];
        known.get().unwrap_or_else(|| {
            let found = find(self.sets.get(id));
            known.set(Some(found));
            found
        })
    }
}

impl Filter for TaintToleration {
    const PLUGIN: Plugin = Plugin::TaintToleration;
    type State<'p> = Tolerations<'p>;

    fn pre_filter<'p>(&self, pod: &'p PodInfo, snapshot: &'p Snapshot) -> PreFilter<Self::State<'p>> {
        if snapshot.taints.is_empty() { PreFilter::Skip } else { PreFilter::All(Tolerations::new(pod, snapshot)) }
    }

    fn filter(&self, state: &Tolerations<'_>, node: &NodeInfo) -> Result<(), Rejection> {
        if node.taints == TaintSetId::NONE {
            return Ok(());
        }
        let untolerated = state.of(node.taints, |set| i64::from(set.forbidding.iter().any(|taint| !any_tolerates(state.tolerations, taint))));
        if untolerated == 0 { Ok(()) } else { Err(Rejection::unresolvable(REASON)) }
    }
}

impl Score for TaintToleration {
    const PLUGIN: Plugin = Plugin::TaintToleration;
    const WEIGHT: i64 = 3;
    type State<'p> = Tolerations<'p>;

    fn pre_score<'p>(&self, pod: &'p PodInfo, snapshot: &'p Snapshot) -> Result<Option<Self::State<'p>>, ScoreError> {
        Ok(snapshot.taints.any_discouraging().then(|| Tolerations::new(pod, snapshot)))
    }

    /// How many taints with effect PreferNoSchedule are not tolerated.
    fn score(&self, state: &Tolerations<'_>, node: &NodeInfo) -> i64 {
        let tolerated =
            |taint: &Taint| state.tolerations.iter().filter(|toleration| effect_covers(toleration)).any(|toleration| tolerates(toleration, taint));
        state.of(node.taints, |set| i64::try_from(set.discouraging.iter().filter(|taint| !tolerated(taint)).count()).unwrap_or(i64::MAX))
    }

    fn normalize_score(&self, scores: &mut [i64]) {
        default_normalize_score(scores, true);
    }
}

impl EnqueueExtensions for TaintToleration {
    const PLUGIN: Plugin = Plugin::TaintToleration;

    fn is_schedulable_after(&self, pod: &PodInfo, event: &ClusterEvent<'_>) -> bool {
        let tolerated = |node: &Node| {
            let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
            first_untolerated(taints, tolerations(pod)).is_none()
        };
        match event {
            ClusterEvent::NodeAdd(node) => tolerated(node),
            ClusterEvent::NodeUpdate { change: NodeChange::Taint, old, new } => !tolerated(old) && tolerated(new),
            ClusterEvent::TargetPodUpdate { change: PodChange::Toleration, .. } => true,
            _ => false,
        }
    }
}

fn tolerations(pod: &PodInfo) -> &[Toleration] {
    pod.pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default()
}

fn effect_covers(toleration: &Toleration) -> bool {
    toleration.effect.as_deref().is_none_or(|effect| effect.is_empty() || effect == PREFER_NO_SCHEDULE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{info, node, snapshot};
    use serde_json::{Value, json};

    fn tainted(name: &str, taints: Value) -> std::sync::Arc<Node> {
        node(name, json!({"spec": {"taints": taints}}))
    }

    #[track_caller]
    fn check(taints: Value, tolerations: Value, expect: bool) {
        let snapshot = snapshot(&[tainted("a", taints.clone()), tainted("b", taints), node("c", json!({}))]);
        let pod = info(json!({"tolerations": tolerations}));
        let PreFilter::All(state) = TaintToleration.pre_filter(&pod, &snapshot) else { panic!("there are taints") };
        let fits: Vec<_> = snapshot.order().iter().map(|index| TaintToleration.filter(&state, snapshot.node(*index)).is_ok()).collect();
        assert_eq!(fits, [expect, expect, true]);
    }

    #[test]
    fn forbidding_taints_must_be_tolerated() {
        check(json!([{"key": "k", "value": "v", "effect": "NoSchedule"}]), json!([]), false);
        check(json!([{"key": "k", "value": "v", "effect": "NoExecute"}]), json!([{"key": "k", "value": "v"}]), true);
        check(json!([{"key": "k", "value": "v", "effect": "NoSchedule"}]), json!([{"key": "k", "operator": "Exists"}]), true);
        check(
            json!([{"key": "k", "effect": "NoSchedule"}, {"key": "j", "effect": "NoSchedule"}]),
            json!([{"key": "k", "operator": "Exists"}]),
            false,
        );
        check(json!([{"key": "k", "effect": "PreferNoSchedule"}]), json!([]), true);
    }

    #[test]
    fn discouraging_taints_lower_the_score() {
        let prefer = |key: &str| json!({"key": key, "effect": "PreferNoSchedule"});
        let snapshot = snapshot(&[tainted("a", json!([prefer("x"), prefer("y")])), tainted("b", json!([prefer("x")])), node("c", json!({}))]);
        #[track_caller]
        fn check(snapshot: &Snapshot, tolerations: Value, expect: [i64; 3]) {
            let pod = info(json!({"tolerations": tolerations}));
            let state = TaintToleration.pre_score(&pod, snapshot).unwrap().unwrap();
            let mut scores: Vec<_> = snapshot.order().iter().map(|index| TaintToleration.score(&state, snapshot.node(*index))).collect();
            TaintToleration.normalize_score(&mut scores);
            assert_eq!(scores, expect);
        }
        check(&snapshot, json!([]), [0, 50, 100]);
        check(&snapshot, json!([{"key": "x", "operator": "Exists"}]), [0, 100, 100]);
        check(&snapshot, json!([{"operator": "Exists"}]), [100, 100, 100]);
        check(&snapshot, json!([{"operator": "Exists", "effect": "NoSchedule"}]), [0, 50, 100]);
    }

    #[test]
    fn without_preferences_there_is_nothing_to_score() {
        let snapshot = snapshot(&[tainted("a", json!([{"key": "k", "effect": "NoSchedule"}]))]);
        assert!(TaintToleration.pre_score(&info(json!({})), &snapshot).unwrap().is_none());
    }

    #[test]
    fn a_taint_that_goes_away_is_worth_a_retry() {
        let (with, without) = (tainted("n", json!([{"key": "k", "effect": "NoSchedule"}])), node("n", json!({})));
        let update = |old, new| ClusterEvent::NodeUpdate { change: NodeChange::Taint, old, new };
        let pod = info(json!({}));
        assert!(TaintToleration.is_schedulable_after(&pod, &update(&with, &without)));
        assert!(!TaintToleration.is_schedulable_after(&pod, &update(&without, &with)));
        assert!(!TaintToleration.is_schedulable_after(&pod, &update(&without, &without)));
        assert!(TaintToleration.is_schedulable_after(&pod, &ClusterEvent::NodeAdd(&without)));
        assert!(!TaintToleration.is_schedulable_after(&pod, &ClusterEvent::NodeAdd(&with)));
    }
}
