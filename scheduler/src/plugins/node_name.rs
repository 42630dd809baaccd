//! A Pod that names its node fits only there.

use crate::events::ClusterEvent;
use crate::framework::{EnqueueExtensions, Filter, Plugin, PreFilter, Rejection};
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;
use crate::snapshot::Snapshot;
use apiserver_placement::pod::node_name;

const REASON: &str = "node(s) didn't match the requested node name";

pub struct NodeName;

impl Filter for NodeName {
    const PLUGIN: Plugin = Plugin::NodeName;
    type State<'p> = &'p str;

    fn pre_filter<'p>(&self, pod: &'p PodInfo, snapshot: &'p Snapshot) -> PreFilter<Self::State<'p>> {
        match node_name(&pod.pod) {
            None => PreFilter::Skip,
            Some(name) => PreFilter::Only(name, snapshot.find(name).into_iter().collect()),
        }
    }

    fn filter(&self, name: &&str, node: &NodeInfo) -> Result<(), Rejection> {
        if **name == *node.name { Ok(()) } else { Err(Rejection::unresolvable(REASON)) }
    }
}

impl EnqueueExtensions for NodeName {
    const PLUGIN: Plugin = Plugin::NodeName;

    fn is_schedulable_after(&self, _: &PodInfo, event: &ClusterEvent<'_>) -> bool {
        matches!(event, ClusterEvent::NodeAdd(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{first, info, node, snapshot};
    use serde_json::{Value, json};

    #[track_caller]
    fn check(spec: Value, expect: &str) {
        let snapshot = snapshot(&[node("n", json!({}))]);
        let pod = info(spec);
        let found = match NodeName.pre_filter(&pod, &snapshot) {
            PreFilter::Only(state, nodes) => format!("{} {}", nodes.len(), NodeName.filter(&state, first(&snapshot)).is_ok()),
            _ => "skip".to_owned(),
        };
        assert_eq!(found, expect);
    }

    #[test]
    fn only_the_named_node_fits() {
        check(json!({}), "skip");
        check(json!({"nodeName": ""}), "skip");
        check(json!({"nodeName": "n"}), "1 true");
        check(json!({"nodeName": "m"}), "0 false");
    }
}
