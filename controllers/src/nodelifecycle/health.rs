//! When each node was last heard of, and how fast a zone may lose its Pods.

use crate::config::Config;
use apiserver_client::time::from_time;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, NodeCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use std::collections::HashMap;
use std::sync::Arc;

/// A node that has never said how it is gets so long for its start.
const STARTUP_GRACE: SignedDuration = SignedDuration::from_secs(60);
/// From this share of nodes that are not ready on, a zone counts as disrupted.
const DISRUPTED_SHARE: f64 = 0.55;
const DISRUPTED_NODES_MIN: usize = 3;
/// In a disrupted zone that is not larger, nobody is evicted.
const LARGE_ZONE_NODES: usize = 50;
const EXCLUDED_LABEL: &str = "node.kubernetes.io/exclude-disruption";

/// What a node's silence means now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Health {
    /// Silent from then on, unless it is heard of before.
    pub silent_at: Timestamp,
}

#[derive(Default)]
pub(super) struct Memory {
    nodes: HashMap<String, Heard>,
    /// When each zone may evict next.
    zones: HashMap<String, Timestamp>,
}

struct Heard {
    probe: Timestamp,
    renewed: Option<MicroTime>,
    heartbeat: Option<Option<Time>>,
}

impl Memory {
    pub fn forget(&mut self, name: &str) {
        self.nodes.remove(name);
    }

    /// Takes in what the caches show. Times in objects are only compared with each other: a node's clock may be wrong.
    pub fn heard(&mut self, node: &Node, lease: Option<&Lease>, now: Timestamp, config: &Config) -> Health {
        let renewed = lease.and_then(|lease| lease.spec.as_ref()?.renew_time.clone());
        let ready = condition(node, "Ready");
        // The controller's own "Unknown" is no word from the node.
        let heartbeat = ready.filter(|ready| ready.status != "Unknown").map(|ready| ready.last_heartbeat_time.clone());
        let name = node.metadata.name.clone().unwrap_or_default();
        let first = match ready {
            None => node.metadata.creation_timestamp.as_ref().map_or(now, from_time),
            Some(_) => now,
        };
        let heard = self.nodes.entry(name).or_insert_with(|| Heard { probe: first, renewed: renewed.clone(), heartbeat: heartbeat.clone() });
        if renewed > heard.renewed {
            heard.renewed = renewed;
            heard.probe = now;
        }
        if heartbeat.is_some() && heartbeat != heard.heartbeat {
            heard.heartbeat = heartbeat;
            heard.probe = now;
        }
        let grace = if ready.is_none() { STARTUP_GRACE } else { SignedDuration::try_from(config.node_monitor_grace).unwrap_or(SignedDuration::MAX) };
        Health { silent_at: heard.probe.checked_add(grace).unwrap_or(Timestamp::MAX) }
    }

    /// Whether the node's zone may evict now; counts it as done.
    pub fn may_evict(&mut self, node: &Node, nodes: &[Arc<Node>], now: Timestamp, config: &Config) -> bool {
        let zone = zone(node);
        let counted = nodes
            .iter()
            .filter(|other| self::zone(other) == zone && !other.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(EXCLUDED_LABEL)));
        let (mut total, mut down) = (0_usize, 0_usize);
        for node in counted {
            total += 1;
            down += usize::from(!is_ready(node));
        }
        let disrupted = down < total && down >= DISRUPTED_NODES_MIN && down as f64 / total as f64 >= DISRUPTED_SHARE;
        let rate = match (disrupted, total > LARGE_ZONE_NODES) {
            (false, _) => config.eviction_rate,
            (true, true) => config.eviction_rate_secondary,
            (true, false) => 0.0,
        };
        if rate <= 0.0 || self.zones.get(&zone).is_some_and(|next| now < *next) {
            return false;
        }
        let wait = SignedDuration::try_from_secs_f64(1.0 / rate).unwrap_or(SignedDuration::MAX);
        self.zones.insert(zone, now.checked_add(wait).unwrap_or(Timestamp::MAX));
        true
    }
}

pub(super) fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    node.status.as_ref()?.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

pub(super) fn is_ready(node: &Node) -> bool {
    condition(node, "Ready").is_some_and(|ready| ready.status == "True")
}

/// Not ready, and not tainted for it yet.
pub(super) fn wants_eviction(node: &Node) -> bool {
    let tainted = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let mut tainted = tainted.filter(|taint| taint.effect == "NoExecute").map(|taint| taint.key.as_str());
    condition(node, "Ready").is_some_and(|ready| ready.status != "True")
        && !tainted.any(|key| key == super::plan::NOT_READY || key == super::plan::UNREACHABLE)
}

fn zone(node: &Node) -> String {
    let label = |key: &str| node.metadata.labels.as_ref().and_then(|labels| labels.get(key)).cloned().unwrap_or_default();
    format!("{}/{}", label("topology.kubernetes.io/region"), label("topology.kubernetes.io/zone"))
}
