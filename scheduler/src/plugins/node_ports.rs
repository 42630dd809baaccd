//! Host ports that are taken on a node are not taken again.

use crate::events::ClusterEvent;
use crate::framework::{EnqueueExtensions, Filter, Plugin, PreFilter, Rejection};
use crate::node_info::NodeInfo;
use crate::pod_info::{Held, HostPort, PodInfo};
use crate::snapshot::Snapshot;

const REASON: &str = "node(s) didn't have free ports for the requested pod ports";

pub struct NodePorts;

impl Filter for NodePorts {
    const PLUGIN: Plugin = Plugin::NodePorts;
    type State<'p> = &'p [HostPort];

    fn pre_filter<'p>(&self, pod: &'p PodInfo, _: &'p Snapshot) -> PreFilter<Self::State<'p>> {
        if pod.host_ports.is_empty() { PreFilter::Skip } else { PreFilter::All(&pod.host_ports) }
    }

    fn filter(&self, wanted: &&[HostPort], node: &NodeInfo) -> Result<(), Rejection> {
        if conflict(wanted, &node.host_ports) { Err(Rejection::unschedulable(REASON)) } else { Ok(()) }
    }
}

impl EnqueueExtensions for NodePorts {
    const PLUGIN: Plugin = Plugin::NodePorts;

    fn is_schedulable_after(&self, pod: &PodInfo, event: &ClusterEvent<'_>) -> bool {
        match event {
            ClusterEvent::NodeAdd(_) => true,
            ClusterEvent::AssignedPodDelete(deleted) => conflict(&pod.host_ports, &Held::of(deleted).host_ports),
            _ => false,
        }
    }
}

fn conflict(wanted: &[HostPort], taken: &[HostPort]) -> bool {
    wanted.iter().any(|wanted| taken.iter().any(|taken| wanted.conflicts_with(taken)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{first, info, node, pod, snapshot};
    use serde_json::{Value, json};

    fn ports(ports: Value) -> Value {
        json!({"nodeName": "n", "containers": [{"name": "c", "ports": ports}]})
    }

    fn port(number: u16) -> Value {
        json!({"containerPort": 1, "hostPort": number})
    }

    #[track_caller]
    fn check(wanted: Value, taken: Value, expect: bool) {
        let mut snapshot = snapshot(&[node("n", json!({}))]);
        snapshot.set_pod(&pod("other", ports(taken)));
        let pod = info(ports(wanted));
        let fits = match NodePorts.pre_filter(&pod, &snapshot) {
            PreFilter::All(state) => NodePorts.filter(&state, first(&snapshot)).is_ok(),
            _ => true,
        };
        assert_eq!(fits, expect);
    }

    #[test]
    fn a_taken_port_is_not_taken_again() {
        let at = |address: &str| json!({"containerPort": 1, "hostPort": 80, "hostIP": address});
        check(json!([]), json!([port(80)]), true);
        check(json!([port(80)]), json!([port(81)]), true);
        check(json!([port(80)]), json!([port(80)]), false);
        check(json!([port(80), port(81)]), json!([port(81)]), false);
        check(json!([at("10.0.0.1")]), json!([at("10.0.0.2")]), true);
        check(json!([at("10.0.0.1")]), json!([at("0.0.0.0")]), false);
        check(json!([{"containerPort": 1, "hostPort": 80, "protocol": "UDP"}]), json!([port(80)]), true);
    }

    #[test]
    fn a_deleted_pod_with_the_same_port_is_worth_a_retry() {
        let waiting = info(ports(json!([port(80)])));
        let deleted = |number| pod("other", ports(json!([port(number)])));
        assert!(NodePorts.is_schedulable_after(&waiting, &ClusterEvent::AssignedPodDelete(&deleted(80))));
        assert!(!NodePorts.is_schedulable_after(&waiting, &ClusterEvent::AssignedPodDelete(&deleted(81))));
    }
}
