//! Notices nodes that have fallen silent, and keeps taints in step with what nodes say of themselves.
//!
//! ```text
//!   lease or status heard ──► probe time of the node (this process' own clock)
//!   silent for the grace ──► conditions Unknown ──► NoSchedule taints, and NoExecute taints at a bounded rate per zone
//! ```
//! It deletes no Pods: the taint eviction controller does, as their tolerations say.

mod health;
mod plan;
#[cfg(test)]
mod tests;

use crate::config::Config;
use crate::pod;
use crate::registry::{Row, Setup};
use apiserver_client::{Index, Informer, ObjectKey};
use apiserver_component::Clock;
use controllers_runtime::{Kind, Plan, Rule};
use health::{Health, Memory};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use std::sync::{Arc, Mutex};

pub(crate) const ROW: Row = Row { name: "node-lifecycle-controller", start };

const WORKERS: usize = 8;
const NODES: Kind = Kind::of::<Node>();
const PODS: Kind = Kind::of::<Pod>();
const LEASE_NAMESPACE: &str = "kube-node-lease";

fn start(setup: &Setup) {
    let (nodes, pods) = (setup.informers.of::<Node>(), setup.informers.of::<Pod>());
    let leases = setup.informers.in_namespace::<Lease>(LEASE_NAMESPACE, "", "");
    let rule = Lifecycle {
        config: setup.config.clone(),
        nodes: nodes.clone(),
        leases: leases.clone(),
        pods: pods.index("node", |pod| vec![pod::node_name(pod).to_string()]),
        memory: Mutex::default(),
    };
    let period = setup.config.node_monitor_period;
    setup.context(ROW.name, "node-controller").start(ROW.name, WORKERS, rule, |routes| {
        routes.watches_own(ROW.name, &nodes);
        routes.reads(&pods);
        routes.reads(&leases);
        let all = nodes.clone();
        routes.every(ROW.name, period, move || all.list().iter().map(|node| ObjectKey::of(&**node)).collect());
    });
}

struct Lifecycle {
    config: Arc<Config>,
    nodes: Informer<Node>,
    leases: Informer<Lease>,
    pods: Index<Pod>,
    memory: Mutex<Memory>,
}

struct Observed {
    node: Arc<Node>,
    pods: Vec<Arc<Pod>>,
    health: Health,
    /// Whether this node may be given a NoExecute taint now.
    may_evict: bool,
    /// No node of the cluster is ready: the fault is rather here, so nobody is evicted.
    all_down: bool,
}

impl Rule for Lifecycle {
    type Observed = Observed;

    fn observe(&self, key: &ObjectKey) -> Option<Observed> {
        let mut memory = self.memory.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let Some(node) = self.nodes.get("", &key.name) else {
            memory.forget(&key.name);
            return None;
        };
        let lease = self.leases.get(LEASE_NAMESPACE, &key.name);
        let now = Clock.now();
        let health = memory.heard(&node, lease.as_deref(), now, &self.config);
        // Only a node that is not ready makes a difference to others, so a healthy cluster is not walked once per node.
        let nodes = if health::is_ready(&node) { Vec::new() } else { self.nodes.list() };
        let all_down = !nodes.is_empty() && nodes.iter().all(|node| !health::is_ready(node));
        let may_evict = health::wants_eviction(&node) && !all_down && memory.may_evict(&node, &nodes, now, &self.config);
        Some(Observed { pods: self.pods.get(&key.name), node, health, may_evict, all_down })
    }

    fn plan(&self, observed: &Observed, now: Timestamp) -> Plan {
        plan::plan(observed, now)
    }
}
