//! `nodeSelector` and node affinity, required and preferred.

use crate::events::{ClusterEvent, NodeChange};
use crate::framework::{EnqueueExtensions, Filter, Plugin, PreFilter, Rejection, Score, ScoreError, default_normalize_score};
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;
use crate::snapshot::Snapshot;
use apiserver_placement::{PreferredNodeAffinity, RequiredNodeAffinity};

const REASON: &str = "node(s) didn't match Pod's node affinity/selector";
const REASON_CONFLICT: &str = "pod affinity terms conflict";

pub struct NodeAffinity;

impl Filter for NodeAffinity {
    const PLUGIN: Plugin = Plugin::NodeAffinity;
    type State<'p> = RequiredNodeAffinity<'p>;

    fn pre_filter<'p>(&self, pod: &'p PodInfo, snapshot: &'p Snapshot) -> PreFilter<Self::State<'p>> {
        let required = RequiredNodeAffinity::of(&pod.pod);
        if required.is_any() {
            return PreFilter::Skip;
        }
        match required.node_names() {
            None => PreFilter::All(required),
            Some(names) if names.is_empty() => PreFilter::Reject(Rejection::unresolvable(REASON_CONFLICT)),
            Some(names) => PreFilter::Only(required, names.into_iter().filter_map(|name| snapshot.find(name)).collect()),
        }
    }

    fn filter(&self, required: &RequiredNodeAffinity<'_>, node: &NodeInfo) -> Result<(), Rejection> {
        if node.node.as_ref().is_some_and(|node| required.matches(node)) { Ok(()) } else { Err(Rejection::unresolvable(REASON)) }
    }
}

impl Score for NodeAffinity {
    const PLUGIN: Plugin = Plugin::NodeAffinity;
    const WEIGHT: i64 = 2;
    type State<'p> = PreferredNodeAffinity<'p>;

    fn pre_score<'p>(&self, pod: &'p PodInfo, _: &'p Snapshot) -> Result<Option<Self::State<'p>>, ScoreError> {
        let preferred = PreferredNodeAffinity::of(&pod.pod).map_err(|source| ScoreError { plugin: Plugin::NodeAffinity, source })?;
        Ok((!preferred.is_empty()).then_some(preferred))
    }

    fn score(&self, preferred: &PreferredNodeAffinity<'_>, node: &NodeInfo) -> i64 {
        node.node.as_ref().map_or(0, |node| preferred.score(node))
    }

    fn normalize_score(&self, scores: &mut [i64]) {
        default_normalize_score(scores, false);
    }
}

impl EnqueueExtensions for NodeAffinity {
    const PLUGIN: Plugin = Plugin::NodeAffinity;

    fn is_schedulable_after(&self, pod: &PodInfo, event: &ClusterEvent<'_>) -> bool {
        let required = RequiredNodeAffinity::of(&pod.pod);
        match event {
            ClusterEvent::NodeAdd(node) => required.matches(node),
            ClusterEvent::NodeUpdate { change: NodeChange::Label, old, new } => !required.matches(old) && required.matches(new),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{info, node, snapshot};
    use serde_json::{Value, json};

    fn zone(name: &str, zone: &str) -> std::sync::Arc<k8s_openapi::api::core::v1::Node> {
        node(name, json!({"metadata": {"labels": {"zone": zone}}}))
    }

    fn required(terms: Value) -> Value {
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}})
    }

    fn named(name: &str) -> Value {
        json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]})
    }

    /// The nodes that fit, as `pre_filter` and `filter` find them.
    #[track_caller]
    fn check(spec: Value, expect: &str) {
        let snapshot = snapshot(&[zone("n1", "a"), zone("n2", "b")]);
        let pod = info(spec.clone());
        let (state, nodes) = match NodeAffinity.pre_filter(&pod, &snapshot) {
            PreFilter::Skip => return assert_eq!("skip", expect, "{spec}"),
            PreFilter::Reject(rejection) => return assert_eq!(rejection.reasons[0], expect, "{spec}"),
            PreFilter::All(state) => (state, snapshot.order().to_vec()),
            PreFilter::Only(state, nodes) => (state, nodes),
        };
        let fits: Vec<_> = nodes
            .into_iter()
            .map(|index| snapshot.node(index))
            .filter(|node| NodeAffinity.filter(&state, node).is_ok())
            .map(|node| &*node.name)
            .collect();
        assert_eq!(fits.join(" "), expect, "{spec}");
    }

    #[test]
    fn required_affinity_and_selectors_filter() {
        check(json!({}), "skip");
        check(json!({"nodeSelector": {"zone": "b"}}), "n2");
        check(json!({"nodeSelector": {"zone": "c"}}), "");
        check(required(json!([{"matchExpressions": [{"key": "zone", "operator": "NotIn", "values": ["b"]}]}])), "n1");
        check(required(json!([named("n2"), named("n9")])), "n2");
        check(required(json!([named("n9")])), "");
        check(required(json!([{"matchFields": [named("n1")["matchFields"][0], named("n2")["matchFields"][0]]}])), REASON_CONFLICT);
    }

    #[test]
    fn preferred_affinity_scores() {
        let snapshot = snapshot(&[zone("n1", "a"), zone("n2", "b"), zone("n3", "c")]);
        let prefer =
            |weight, zone| json!({"weight": weight, "preference": {"matchExpressions": [{"key": "zone", "operator": "In", "values": [zone]}]}});
        let pod = info(json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [prefer(1, "a"), prefer(4, "b")]}}}));
        let state = NodeAffinity.pre_score(&pod, &snapshot).unwrap().unwrap();
        let mut scores: Vec<_> = snapshot.order().iter().map(|index| NodeAffinity.score(&state, snapshot.node(*index))).collect();
        NodeAffinity.normalize_score(&mut scores);
        assert_eq!(scores, [25, 100, 0]);
        assert!(NodeAffinity.pre_score(&info(json!({})), &snapshot).unwrap().is_none());
    }

    #[test]
    fn a_label_that_makes_a_node_match_is_worth_a_retry() {
        let pod = info(json!({"nodeSelector": {"zone": "b"}}));
        let (a, b) = (zone("n", "a"), zone("n", "b"));
        let update = |old, new| ClusterEvent::NodeUpdate { change: NodeChange::Label, old, new };
        assert!(NodeAffinity.is_schedulable_after(&pod, &update(&a, &b)));
        assert!(!NodeAffinity.is_schedulable_after(&pod, &update(&b, &b)));
        assert!(!NodeAffinity.is_schedulable_after(&pod, &update(&b, &a)));
        assert!(NodeAffinity.is_schedulable_after(&pod, &ClusterEvent::NodeAdd(&b)));
        assert!(!NodeAffinity.is_schedulable_after(&pod, &ClusterEvent::NodeAdd(&a)));
    }
}
