//! The cluster as the scheduler sees it: nodes, and the Pods on them, bound or assumed.
//!
//! One owner changes it, event by event, and schedules from it between events, so that there is one copy, never rebuilt and never
//! locked. A Pod is kept as what it takes from its node; the object itself stays in the informer.
//!
//! ```text
//!              assume                 the watch shows it bound
//!   waiting ───────────► assumed ───────────────────────────────► bound
//!      ▲                    │                                        │
//!      └──── forget ────────┘ (binding failed)        remove ◄───────┘ (deleted or ended)
//! ```
//!
//! An assumed Pod does not expire by time: it is confirmed, forgotten when its binding fails, or removed when the watch says that it is gone,
//! and a lagging watch must never free what is taken.

use crate::images::Images;
use crate::node_info::{NodeIndex, NodeInfo};
use crate::pod_info::{Held, PodInfo, uid};
use crate::taints::{TaintSetId, TaintSets};
use apiserver_placement::pod::node_name;
use apiserver_placement::selector::labels_of;
use k8s_openapi::api::core::v1::{ContainerImage, Node, Pod, Taint};
use std::collections::HashMap;
use std::sync::Arc;

#[derive(Debug, Default)]
pub struct Snapshot {
    nodes: Vec<NodeInfo>,
    by_name: HashMap<Arc<str>, NodeIndex>,
    free: Vec<NodeIndex>,
    zones: Zones,
    pods: HashMap<Arc<str>, Placed>,
    assumed: usize,
    pub taints: TaintSets,
    pub images: Images,
}

#[derive(Debug)]
struct Placed {
    node: NodeIndex,
    held: Held,
    assumed: bool,
}

impl Snapshot {
    /// The nodes that exist, round robin over zones, so that a search that stops early has looked into all of them.
    ///
    /// Made anew after a node or its zone changed, which [`Snapshot::refresh`] does.
    pub fn order(&self) -> &[NodeIndex] {
        &self.zones.order
    }

    /// To be called before a cycle; costs something only after nodes came or went.
    pub fn refresh(&mut self) {
        self.zones.refresh();
    }

    pub fn node(&self, index: NodeIndex) -> &NodeInfo {
        &self.nodes[index.position()]
    }

    pub fn find(&self, name: &str) -> Option<NodeIndex> {
        self.by_name.get(name).copied().filter(|index| self.node(*index).node.is_some())
    }

    pub fn pods(&self) -> usize {
        self.pods.len()
    }

    pub fn assumed(&self) -> usize {
        self.assumed
    }

    pub fn is_assumed(&self, uid: &str) -> bool {
        self.pods.get(uid).is_some_and(|placed| placed.assumed)
    }

    /// A node came or changed.
    pub fn set_node(&mut self, node: &Arc<Node>) {
        let index = self.slot(node.metadata.name.as_deref().unwrap_or_default());
        let info = &mut self.nodes[index.position()];
        let old = info.node.clone();
        info.set_node(Some(node.clone()));
        if old.as_deref().map(taints_of) != Some(taints_of(node)) {
            let taints = self.taints.acquire(taints_of(node));
            self.taints.release(std::mem::replace(&mut info.taints, taints));
        }
        let old_images = old.as_deref().map(images_of).unwrap_or_default();
        if old_images != images_of(node) {
            self.images.remove(index, old_images);
            self.images.add(index, images_of(node));
        }
        match old.as_deref().map(zone_of) {
            Some(zone) if zone == zone_of(node) => {}
            old => {
                if let Some(old) = old {
                    self.zones.remove(&old, index);
                }
                self.zones.add(zone_of(node), index);
            }
        }
    }

    /// A node is gone. Its Pods may still be there, as the two watches are not ordered.
    pub fn remove_node(&mut self, name: &str) {
        let Some(index) = self.find(name) else { return };
        let info = &mut self.nodes[index.position()];
        self.taints.release(std::mem::replace(&mut info.taints, TaintSetId::NONE));
        if let Some(node) = info.node.take() {
            self.images.remove(index, images_of(&node));
            self.zones.remove(&zone_of(&node), index);
        }
        info.set_node(None);
        self.drop_if_unused(index);
    }

    /// The Pod is taken to run on the node from now on, before it is bound.
    pub fn assume(&mut self, pod: &PodInfo, node: NodeIndex) {
        self.place(pod.uid.clone(), node, Held::of(&pod.pod), true);
    }

    /// Takes an assumption back. `false` when the Pod was not assumed any more.
    pub fn forget(&mut self, uid: &str) -> bool {
        let assumed = self.is_assumed(uid);
        if assumed {
            self.remove_pod(uid);
        }
        assumed
    }

    /// The watch shows the Pod on a node. Confirms an assumption, and corrects it when something else bound the Pod elsewhere.
    pub fn set_pod(&mut self, pod: &Pod) {
        let (Some(name), uid) = (node_name(pod), uid(pod)) else { return };
        let held = Held::of(pod);
        if let Some(placed) = self.pods.get_mut(uid)
            && placed.held == held
            && *self.nodes[placed.node.position()].name == *name
        {
            self.assumed -= usize::from(std::mem::take(&mut placed.assumed));
            return;
        }
        self.remove_pod(uid);
        let node = self.slot(name);
        self.place(uid.into(), node, held, false);
    }

    /// `false` when the Pod was not known.
    pub fn remove_pod(&mut self, uid: &str) -> bool {
        let Some(placed) = self.pods.remove(uid) else { return false };
        self.assumed -= usize::from(placed.assumed);
        self.nodes[placed.node.position()].subtract(&placed.held);
        self.drop_if_unused(placed.node);
        true
    }

    fn place(&mut self, uid: Arc<str>, node: NodeIndex, held: Held, assumed: bool) {
        self.nodes[node.position()].add(&held);
        self.assumed += usize::from(assumed);
        self.pods.insert(uid, Placed { node, held, assumed });
    }

    fn slot(&mut self, name: &str) -> NodeIndex {
        if let Some(index) = self.by_name.get(name) {
            return *index;
        }
        let name: Arc<str> = name.into();
        let index = self.free.pop().unwrap_or(NodeIndex::of(self.nodes.len()));
        let info = NodeInfo::new(index, name.clone());
        match self.nodes.get_mut(index.position()) {
            Some(slot) => *slot = info,
            None => self.nodes.push(info),
        }
        self.by_name.insert(name, index);
        index
    }

    fn drop_if_unused(&mut self, index: NodeIndex) {
        let info = &self.nodes[index.position()];
        if info.node.is_none() && info.pods == 0 {
            self.by_name.remove(&info.name);
            self.free.push(index);
        }
    }
}

fn taints_of(node: &Node) -> &[Taint] {
    node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default()
}

fn images_of(node: &Node) -> &[ContainerImage] {
    node.status.as_ref().and_then(|status| status.images.as_deref()).unwrap_or_default()
}

type Zone = (String, String);

/// Region and zone; the labels from before they were stable win, as upstream has it.
fn zone_of(node: &Node) -> Zone {
    let labels = labels_of(&node.metadata);
    let either = |beta: &str, stable: &str| labels.get(beta).or_else(|| labels.get(stable)).cloned().unwrap_or_default();
    (
        either("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
        either("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    )
}

/// Nodes by zone, and the order that takes one node of each zone in turn.
#[derive(Debug, Default)]
struct Zones {
    zones: Vec<Zone>,
    nodes: HashMap<Zone, Vec<NodeIndex>>,
    order: Vec<NodeIndex>,
    stale: bool,
}

impl Zones {
    fn add(&mut self, zone: Zone, node: NodeIndex) {
        self.stale = true;
        self.nodes
            .entry(zone)
            .or_insert_with_key(|zone| {
                self.zones.push(zone.clone());
                Vec::new()
            })
            .push(node);
    }

    fn remove(&mut self, zone: &Zone, node: NodeIndex) {
        self.stale = true;
        let Some(nodes) = self.nodes.get_mut(zone) else { return };
        nodes.retain(|known| *known != node);
        if nodes.is_empty() {
            self.nodes.remove(zone);
            self.zones.retain(|known| known != zone);
        }
    }

    fn refresh(&mut self) {
        if !std::mem::take(&mut self.stale) {
            return;
        }
        self.order.clear();
        let mut lists: Vec<&[NodeIndex]> = self.zones.iter().filter_map(|zone| self.nodes.get(zone)).map(Vec::as_slice).collect();
        while !lists.is_empty() {
            for list in &mut lists {
                if let Some((first, rest)) = list.split_first() {
                    self.order.push(*first);
                    *list = rest;
                }
            }
            lists.retain(|list| !list.is_empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::Resources;
    use crate::testing::{node, pod};
    use proptest::prelude::*;
    use serde_json::json;

    #[derive(Clone, Copy, Debug)]
    enum Op {
        SetNode(u8),
        RemoveNode(u8),
        Assume(u8, u8),
        Forget(u8),
        SetPod(u8, u8, u8),
        RemovePod(u8),
    }

    fn op() -> impl Strategy<Value = Op> {
        let (node, pod) = (0..3u8, 0..5u8);
        prop_oneof![
            node.clone().prop_map(Op::SetNode),
            node.clone().prop_map(Op::RemoveNode),
            (pod.clone(), node.clone()).prop_map(|(pod, node)| Op::Assume(pod, node)),
            pod.clone().prop_map(Op::Forget),
            (pod.clone(), node, 1..4u8).prop_map(|(pod, node, cpu)| Op::SetPod(pod, node, cpu)),
            pod.prop_map(Op::RemovePod),
        ]
    }

    fn on(name: &str, node: Option<&str>, cpu: u8) -> Arc<Pod> {
        pod(
            name,
            json!({"nodeName": node, "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu.to_string(), "example.org/gpu": "1"}}}]}),
        )
    }

    proptest! {
        /// Whatever happens in whatever order, a node holds the sum over its Pods, and what is not needed any more is forgotten.
        #[test]
        fn nodes_hold_the_sum_of_their_pods(ops in proptest::collection::vec(op(), 0..60)) {
            let mut snapshot = Snapshot::default();
            let mut pods: HashMap<String, (String, u8, bool)> = HashMap::new();
            let mut nodes: std::collections::BTreeSet<String> = std::collections::BTreeSet::new();
            for op in ops {
                let name = |number: u8| format!("n{number}");
                match op {
                    Op::SetNode(number) => {
                        snapshot.set_node(&node(&name(number), json!({})));
                        nodes.insert(name(number));
                    }
                    Op::RemoveNode(number) => {
                        snapshot.remove_node(&name(number));
                        nodes.remove(&name(number));
                    }
                    Op::Assume(pod, number) => {
                        // The cycle assumes only Pods that wait, on nodes that exist.
                        let key = format!("p{pod}");
                        if let (Some(index), false) = (snapshot.find(&name(number)), pods.contains_key(&key)) {
                            snapshot.assume(&PodInfo::new(on(&key, None, 2)), index);
                            pods.insert(key, (name(number), 2, true));
                        }
                    }
                    Op::Forget(pod) => {
                        let key = format!("p{pod}");
                        let assumed = pods.get(&key).is_some_and(|(.., assumed)| *assumed);
                        prop_assert_eq!(snapshot.forget(&key), assumed);
                        if assumed {
                            pods.remove(&key);
                        }
                    }
                    Op::SetPod(pod, number, cpu) => {
                        let key = format!("p{pod}");
                        snapshot.set_pod(&on(&key, Some(&name(number)), cpu));
                        pods.insert(key, (name(number), cpu, false));
                    }
                    Op::RemovePod(pod) => {
                        let key = format!("p{pod}");
                        prop_assert_eq!(snapshot.remove_pod(&key), pods.remove(&key).is_some());
                    }
                }
                snapshot.refresh();
                prop_assert_eq!(snapshot.order().len(), nodes.len());
                prop_assert_eq!(snapshot.assumed(), pods.values().filter(|(.., assumed)| *assumed).count());
                for (name, index) in &snapshot.by_name {
                    let here: Vec<_> = pods.values().filter(|(node, ..)| **node == **name).collect();
                    let info = snapshot.node(*index);
                    let expect = Resources {
                        cpu: here.iter().map(|(_, cpu, _)| i64::from(*cpu) * 1000).sum(),
                        scalars: if here.is_empty() { vec![] } else { vec![("example.org/gpu".into(), here.len() as i64)] },
                        ..Resources::default()
                    };
                    prop_assert_eq!((info.pods, &info.requested), (here.len() as i64, &expect));
                    prop_assert!(nodes.contains(&**name) || !here.is_empty());
                }
            }
        }
    }

    fn requested(snapshot: &Snapshot, name: &str) -> (i64, i64) {
        let info = snapshot.node(snapshot.by_name[name]);
        (info.pods, info.requested.cpu)
    }

    #[test]
    fn an_assumed_pod_counts_once_through_binding_and_deletion() {
        let mut snapshot = Snapshot::default();
        snapshot.set_node(&node("n", json!({})));
        let info = PodInfo::new(pod("p", json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "2"}}}]})));
        snapshot.assume(&info, snapshot.find("n").unwrap());
        assert_eq!((requested(&snapshot, "n"), snapshot.assumed(), snapshot.is_assumed("p")), ((1, 2000), 1, true));
        let bound = pod("p", json!({"nodeName": "n", "containers": [{"name": "c", "resources": {"requests": {"cpu": "2"}}}]}));
        snapshot.set_pod(&bound);
        snapshot.set_pod(&bound);
        assert_eq!((requested(&snapshot, "n"), snapshot.assumed(), snapshot.is_assumed("p")), ((1, 2000), 0, false));
        assert!(!snapshot.forget("p"));
        assert!(snapshot.remove_pod("p"));
        assert!(!snapshot.remove_pod("p"));
        assert_eq!(requested(&snapshot, "n"), (0, 0));
    }

    #[test]
    fn forgetting_gives_back_what_was_assumed() {
        let mut snapshot = Snapshot::default();
        snapshot.set_node(&node("n", json!({})));
        snapshot.assume(
            &PodInfo::new(pod("p", json!({"containers": [{"name": "c", "ports": [{"containerPort": 1, "hostPort": 80}]}]}))),
            snapshot.find("n").unwrap(),
        );
        assert_eq!(snapshot.node(snapshot.find("n").unwrap()).host_ports.len(), 1);
        assert!(snapshot.forget("p"));
        let info = snapshot.node(snapshot.find("n").unwrap());
        assert_eq!((info.pods, info.host_ports.len(), info.scored.cpu), (0, 0, 0));
    }

    #[test]
    fn a_pod_bound_elsewhere_moves_there() {
        let mut snapshot = Snapshot::default();
        snapshot.set_node(&node("a", json!({})));
        snapshot.set_node(&node("b", json!({})));
        snapshot.assume(&PodInfo::new(pod("p", json!({"containers": []}))), snapshot.find("a").unwrap());
        snapshot.set_pod(&pod("p", json!({"nodeName": "b", "containers": []})));
        assert_eq!((requested(&snapshot, "a").0, requested(&snapshot, "b").0, snapshot.assumed()), (0, 1, 0));
    }

    #[test]
    fn pods_and_nodes_may_come_and_go_in_any_order() {
        let mut snapshot = Snapshot::default();
        snapshot.set_pod(&pod("p", json!({"nodeName": "n", "containers": []})));
        assert_eq!(snapshot.find("n"), None);
        snapshot.set_node(&node("n", json!({"status": {"allocatable": {"cpu": "4", "pods": "10"}}})));
        let info = snapshot.node(snapshot.find("n").unwrap());
        assert_eq!((info.pods, info.allowed_pods, info.allocatable.cpu), (1, 10, 4000));
        snapshot.remove_node("n");
        snapshot.refresh();
        assert_eq!((snapshot.find("n"), snapshot.order().len(), snapshot.by_name.len()), (None, 0, 1));
        snapshot.remove_pod("p");
        assert_eq!((snapshot.by_name.len(), snapshot.free.len()), (0, 1));
        snapshot.set_node(&node("m", json!({})));
        assert_eq!(snapshot.node(snapshot.find("m").unwrap()).requested, Resources::default());
    }

    #[test]
    fn order_takes_zones_in_turn() {
        let mut snapshot = Snapshot::default();
        for (name, zone) in [("a1", "a"), ("a2", "a"), ("a3", "a"), ("b1", "b"), ("c1", "c"), ("c2", "c")] {
            snapshot.set_node(&node(name, json!({"metadata": {"labels": {"topology.kubernetes.io/zone": zone}}})));
        }
        let names = |snapshot: &mut Snapshot| {
            snapshot.refresh();
            snapshot.order().iter().map(|index| snapshot.node(*index).name.to_string()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(&mut snapshot), "a1 b1 c1 a2 c2 a3");
        snapshot.remove_node("b1");
        snapshot.set_node(&node("a2", json!({"metadata": {"labels": {"topology.kubernetes.io/zone": "c"}}})));
        assert_eq!(names(&mut snapshot), "a1 c1 a3 c2 a2");
    }

    #[test]
    fn taints_and_images_follow_the_node() {
        let mut snapshot = Snapshot::default();
        let taint = |key: &str| json!({"spec": {"taints": [{"key": key, "effect": "NoSchedule"}]}, "status": {"images": [{"names": [format!("{key}:1")], "sizeBytes": 5}]}});
        snapshot.set_node(&node("n", taint("x")));
        snapshot.set_node(&node("n", taint("y")));
        let set = snapshot.node(snapshot.find("n").unwrap()).taints;
        assert_eq!(snapshot.taints.get(set).forbidding[0].key, "y");
        assert!(snapshot.images.get("x:1").is_none() && snapshot.images.get("y:1").is_some());
        snapshot.remove_node("n");
        assert!(snapshot.images.get("y:1").is_none());
    }
}
