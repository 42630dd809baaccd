//! A node as Filter and Score see it: its object, what it offers, and the sums over the Pods on it.

use crate::pod_info::{Held, HostPort, NonZero};
use crate::resources::Resources;
use crate::taints::TaintSetId;
use apiserver_placement::ResourceList;
use apiserver_placement::resources::PODS;
use k8s_openapi::api::core::v1::Node;
use std::sync::Arc;

/// Where a node lies in the snapshot. Stable while the node exists; used again after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeIndex(pub(crate) u32);

impl NodeIndex {
    pub(crate) fn of(position: usize) -> Self {
        // A cluster with more than 2^32 nodes does not fit in memory.
        Self(u32::try_from(position).unwrap_or(u32::MAX))
    }

    pub(crate) fn position(self) -> usize {
        self.0 as usize
    }
}

#[derive(Debug)]
pub struct NodeInfo {
    pub index: NodeIndex,
    pub name: Arc<str>,
    /// `None` while only Pods that name it are known: the two watches are not ordered against each other.
    pub node: Option<Arc<Node>>,
    pub allocatable: Resources,
    pub allowed_pods: i64,
    pub requested: Resources,
    pub scored: NonZero,
    pub pods: i64,
    pub host_ports: Vec<HostPort>,
    pub taints: TaintSetId,
    pub unschedulable: bool,
}

impl NodeInfo {
    pub(crate) fn new(index: NodeIndex, name: Arc<str>) -> Self {
        Self {
            index,
            name,
            node: None,
            allocatable: Resources::default(),
            allowed_pods: 0,
            requested: Resources::default(),
            scored: NonZero::default(),
            pods: 0,
            host_ports: Vec::new(),
            taints: TaintSetId::NONE,
            unschedulable: false,
        }
    }

    /// Takes over what the object says; the taint set is the snapshot's to set.
    pub(crate) fn set_node(&mut self, node: Option<Arc<Node>>) {
        let allocatable = node.as_ref().and_then(|node| node.status.as_ref()).and_then(|status| status.allocatable.as_ref());
        let allocatable = ResourceList::from(allocatable);
        self.allocatable = Resources::from(&allocatable);
        self.allowed_pods = allocatable.get(PODS).value();
        self.unschedulable = node.as_ref().and_then(|node| node.spec.as_ref()).and_then(|spec| spec.unschedulable).unwrap_or_default();
        self.node = node;
    }

    pub(crate) fn add(&mut self, held: &Held) {
        self.pods += 1;
        self.requested.add(&held.requests);
        self.scored.cpu = self.scored.cpu.saturating_add(held.scored.cpu);
        self.scored.memory = self.scored.memory.saturating_add(held.scored.memory);
        self.host_ports.extend(held.host_ports.iter().cloned());
    }

    pub(crate) fn subtract(&mut self, held: &Held) {
        self.pods -= 1;
        self.requested.subtract(&held.requests);
        self.scored.cpu = self.scored.cpu.saturating_sub(held.scored.cpu);
        self.scored.memory = self.scored.memory.saturating_sub(held.scored.memory);
        for port in &held.host_ports {
            if let Some(index) = self.host_ports.iter().position(|known| known == port) {
                self.host_ports.swap_remove(index);
            }
        }
    }
}
