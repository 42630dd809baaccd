//! Gives every node a part of the cluster's Pod addresses: `spec.podCIDR`.
//!
//! What is given is what the Nodes say, so nothing has to be remembered: a restart reads it from them, and a deleted node's part is free again.

use crate::Error;
use crate::registry::{Row, Setup};
use apiserver_client::{EventType, Informer, ObjectKey};
use controllers_runtime::{Action, Kind, Plan, Rule};
use ipnet::IpNet;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;

pub(crate) const ROW: Row = Row { name: "node-ipam-controller", start };

const NODES: Kind = Kind::of::<Node>();
/// A part of an IPv6 network has this size, as upstream gives it.
const MASK_IPV6: u8 = 64;

/// The networks of `--cluster-cidr`: one, or one of each family.
pub(crate) fn parse(cidrs: &str) -> Result<Vec<IpNet>, Error> {
    let failed = |reason: String| Error::ClusterCidr { cidr: cidrs.into(), reason };
    cidrs.split(',').map(|cidr| cidr.trim().parse::<IpNet>().map(|net| net.trunc()).map_err(|error| failed(error.to_string()))).collect()
}

fn start(setup: &Setup) {
    let Some(networks) = setup.config.cluster_cidr.as_deref().and_then(|cidrs| parse(cidrs).ok()) else { return };
    let nodes = setup.informers.of::<Node>();
    let rule = Allocator { networks, mask: setup.config.node_cidr_mask, nodes: nodes.clone() };
    // One worker: two nodes must not be given the same part.
    setup.context(ROW.name, "cidrAllocator").start(ROW.name, 1, rule, |routes| routes.watches_own(ROW.name, &nodes));
}

struct Allocator {
    networks: Vec<IpNet>,
    mask: u8,
    nodes: Informer<Node>,
}

struct Observed {
    networks: Vec<IpNet>,
    mask: u8,
    node: Arc<Node>,
    taken: BTreeSet<IpNet>,
}

impl Rule for Allocator {
    type Observed = Observed;

    fn observe(&self, key: &ObjectKey) -> Option<Observed> {
        let node = self.nodes.get("", &key.name).filter(|node| cidrs(node).is_empty())?;
        let taken = self.nodes.list().iter().flat_map(|node| cidrs(node)).collect();
        Some(Observed { networks: self.networks.clone(), mask: self.mask, node, taken })
    }

    fn plan(&self, observed: &Observed, _: Timestamp) -> Plan {
        plan(observed)
    }
}

fn cidrs(node: &Node) -> Vec<IpNet> {
    let Some(spec) = &node.spec else { return Vec::new() };
    spec.pod_cidr.iter().chain(spec.pod_cidrs.iter().flatten()).filter_map(|cidr| cidr.parse().ok()).collect()
}

fn plan(observed: &Observed) -> Plan {
    let free = |network: &IpNet| {
        let mask = if matches!(network, IpNet::V4(_)) { observed.mask } else { MASK_IPV6 };
        let overlaps = |part: &IpNet| observed.taken.iter().any(|taken| taken.contains(part) || part.contains(taken));
        network.subnets(mask.max(network.prefix_len())).ok()?.find(|part| !overlaps(part))
    };
    let parts: Option<Vec<String>> = observed.networks.iter().map(|network| free(network).map(|part| part.to_string())).collect();
    match parts {
        Some(parts) if !parts.is_empty() => {
            let patch = json!({"spec": {"podCIDR": parts[0], "podCIDRs": parts}});
            Plan::act(Action::strategic(NODES.target_of(&*observed.node), patch))
        }
        _ => {
            let mut plan = Plan::nothing();
            let name = observed.node.metadata.name.as_deref().unwrap_or_default();
            plan.event(
                &NODES.reference(&observed.node.metadata),
                EventType::Normal,
                "CIDRNotAvailable",
                format!("Node {name} status is now: CIDRNotAvailable"),
            );
            plan
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(networks: &str, mask: u8, taken: &[&str], expect: Option<&str>) {
        let node = Arc::new(serde_json::from_value(json!({"metadata": {"name": "n"}})).unwrap());
        let taken = taken.iter().map(|cidr| cidr.parse().unwrap()).collect();
        let plan = plan(&Observed { networks: parse(networks).unwrap(), mask, node, taken });
        let expect: Vec<String> = expect.iter().map(|parts| format!("patch nodes n {parts}")).collect();
        assert_eq!((plan.describe(), plan.events.len()), (expect.clone(), usize::from(expect.is_empty())));
    }

    #[test]
    fn a_node_gets_the_first_free_part_of_each_network() {
        check("10.244.0.0/16", 24, &[], Some(r#"{"spec":{"podCIDR":"10.244.0.0/24","podCIDRs":["10.244.0.0/24"]}}"#));
        check("10.244.0.0/16", 24, &["10.244.0.0/24", "10.244.2.0/24"], Some(r#"{"spec":{"podCIDR":"10.244.1.0/24","podCIDRs":["10.244.1.0/24"]}}"#));
        check("10.244.0.0/23", 24, &["10.244.0.0/24", "10.244.1.0/25"], None);
        check("10.244.0.0/16,fd00::/48", 24, &[], Some(r#"{"spec":{"podCIDR":"10.244.0.0/24","podCIDRs":["10.244.0.0/24","fd00::/64"]}}"#));
    }

    #[test]
    fn a_network_that_is_none_is_refused() {
        assert!(parse("10.244.0.0/16,nonsense").is_err());
    }
}
