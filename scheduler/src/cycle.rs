//! One Pod against the snapshot: which nodes fit, and which of them is best. Pure; nothing here waits or writes.
//!
//! A large cluster is not searched whole: the search starts where the last one stopped and ends when enough nodes fit. Buffers are
//! kept from Pod to Pod.

use crate::framework::{Diagnosis, FilterStates, ScoreError, ScoreStates, run_pre_filter_plugins};
use crate::node_info::NodeIndex;
use crate::pod_info::PodInfo;
use crate::snapshot::Snapshot;

/// With fewer nodes all are searched, and with more at least so many must fit before the search ends.
const FEASIBLE_NODES_MIN: usize = 100;
/// What the adaptive share of nodes to find never falls below.
const PERCENTAGE_MIN: usize = 5;

#[derive(Debug)]
pub struct Cycle {
    /// How many percent of all nodes must fit before the search ends; 0 adapts to the size of the cluster.
    percentage: usize,
    start: usize,
    random: Random,
    feasible: Vec<NodeIndex>,
    scores: Vec<i64>,
    totals: Vec<i64>,
}

/// Where the Pod goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    pub node: NodeIndex,
    pub evaluated: usize,
    pub feasible: usize,
}

#[derive(Debug)]
pub enum Unscheduled {
    NoNodes,
    NoFit(Diagnosis),
    Failed(ScoreError),
}

impl Cycle {
    pub fn new(percentage: usize, seed: u64) -> Self {
        Self { percentage, start: 0, random: Random(seed), feasible: Vec::new(), scores: Vec::new(), totals: Vec::new() }
    }

    pub fn schedule(&mut self, pod: &PodInfo, snapshot: &Snapshot) -> Result<Chosen, Unscheduled> {
        let all = snapshot.order();
        if all.is_empty() {
            return Err(Unscheduled::NoNodes);
        }
        let mut diagnosis = Diagnosis { nodes: all.len(), ..Diagnosis::default() };
        let candidates = match run_pre_filter_plugins(pod, snapshot) {
            Ok(candidates) => candidates,
            Err((plugins, rejection)) => {
                diagnosis.plugins = plugins;
                diagnosis.pre_filter = Some(rejection.reasons.join(", "));
                return Err(Unscheduled::NoFit(diagnosis));
            }
        };
        diagnosis.absent = candidates.absent();
        if !self.find_nominated(pod, snapshot, &candidates.filters) {
            let nodes = candidates.only.as_deref().unwrap_or(all);
            self.find_feasible(nodes, snapshot, &candidates.filters, &mut diagnosis);
            self.start = (self.start + self.feasible.len() + diagnosis.rejected) % all.len();
        }
        let evaluated = self.feasible.len() + diagnosis.rejected;
        let node = match self.feasible.as_slice() {
            [] => {
                diagnosis.plugins = candidates.narrowed_by.iter().chain(diagnosis.plugins.iter()).collect();
                return Err(Unscheduled::NoFit(diagnosis));
            }
            [one] => *one,
            _ => self.best(pod, snapshot).map_err(Unscheduled::Failed)?,
        };
        Ok(Chosen { node, evaluated, feasible: self.feasible.len() })
    }

    /// A node that the Pod was promised is taken without looking further, if it still fits.
    fn find_nominated(&mut self, pod: &PodInfo, snapshot: &Snapshot, filters: &FilterStates<'_>) -> bool {
        self.feasible.clear();
        let nominated = pod.pod.status.as_ref().and_then(|status| status.nominated_node_name.as_deref()).filter(|name| !name.is_empty());
        let Some(index) = nominated.and_then(|name| snapshot.find(name)) else { return false };
        let fits = filters.run(snapshot.node(index)).is_ok();
        self.feasible.extend(fits.then_some(index));
        fits
    }

    fn find_feasible(&mut self, nodes: &[NodeIndex], snapshot: &Snapshot, filters: &FilterStates<'_>, diagnosis: &mut Diagnosis) {
        let wanted = feasible_to_find(self.percentage, nodes.len());
        let (before, after) = nodes.split_at(self.start.checked_rem(nodes.len()).unwrap_or_default());
        for index in after.iter().chain(before) {
            match filters.run(snapshot.node(*index)) {
                Ok(()) => {
                    self.feasible.push(*index);
                    if self.feasible.len() == wanted {
                        return;
                    }
                }
                Err((plugin, rejection)) => diagnosis.add(plugin, rejection),
            }
        }
    }

    /// The node with the highest score; among equals any, each as likely.
    fn best(&mut self, pod: &PodInfo, snapshot: &Snapshot) -> Result<NodeIndex, ScoreError> {
        let states = ScoreStates::prepare(pod, snapshot)?;
        self.totals.clear();
        self.totals.resize(self.feasible.len(), 0);
        states.run(snapshot, &self.feasible, &mut self.scores, &mut self.totals);
        let (mut best, mut best_total, mut ties) = (self.feasible[0], i64::MIN, 0);
        for (node, total) in self.feasible.iter().zip(&self.totals) {
            if *total > best_total {
                (best, best_total, ties) = (*node, *total, 1);
            } else if *total == best_total {
                ties += 1;
                if self.random.below(ties) == 0 {
                    best = *node;
                }
            }
        }
        Ok(best)
    }
}

/// Adaptive: half of the nodes of a small cluster, 5 % of one with 5,625 or more.
fn feasible_to_find(percentage: usize, nodes: usize) -> usize {
    if nodes < FEASIBLE_NODES_MIN {
        return nodes;
    }
    let percentage = if percentage == 0 { 50usize.saturating_sub(nodes / 125).max(PERCENTAGE_MIN) } else { percentage };
    (nodes * percentage / 100).max(FEASIBLE_NODES_MIN)
}

/// SplitMix64: the choice among equals needs no better chance, and a seed makes it repeatable.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{asking, info, node, pod, snapshot};
    use serde_json::{Value, json};
    use std::collections::HashMap;
    use std::sync::Arc;

    #[track_caller]
    fn refused(pod: &PodInfo, snapshot: &Snapshot, expect: &str) {
        let message = match Cycle::new(0, 1).schedule(pod, snapshot) {
            Err(Unscheduled::NoFit(diagnosis)) => diagnosis.to_string(),
            Err(Unscheduled::NoNodes) => "no nodes".to_owned(),
            other => panic!("{other:?}"),
        };
        assert_eq!(message, expect);
    }

    #[test]
    fn a_refusal_says_why_node_by_node() {
        let tainted = node("a", json!({"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}}));
        let three = snapshot(&[tainted, node("b", json!({})), node("c", json!({}))]);
        refused(
            &PodInfo::new(asking("p", json!({"cpu": "5"}))),
            &three,
            "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu.",
        );
        refused(
            &info(json!({"nodeSelector": {"a": "b"}})),
            &three,
            "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 node(s) didn't match Pod's node affinity/selector.",
        );
        refused(&info(json!({})), &snapshot(&[]), "no nodes");
    }

    #[test]
    fn a_pod_bound_to_a_name_looks_only_there() {
        let named = |names: &[&str]| {
            let terms: Value =
                names.iter().map(|name| json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]})).collect();
            info(json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}}))
        };
        let two = snapshot(&[node("a", json!({"spec": {"unschedulable": true}})), node("b", json!({}))]);
        refused(&named(&["a"]), &two, "0/2 nodes are available: 1 node(s) didn't satisfy plugin(s) [NodeAffinity], 1 node(s) were unschedulable.");
        refused(&named(&["c"]), &two, "0/2 nodes are available: 2 node(s) didn't satisfy plugin(s) [NodeAffinity].");
        let chosen = Cycle::new(0, 1).schedule(&named(&["b", "c"]), &two).unwrap();
        assert_eq!((&*two.node(chosen.node).name, chosen.evaluated), ("b", 1));
    }

    #[test]
    fn the_best_node_wins_and_equals_share() {
        let mut four = snapshot(&[node("a", json!({})), node("b", json!({})), node("c", json!({})), node("d", json!({}))]);
        four.set_pod(&pod("x", json!({"nodeName": "d", "containers": [{"name": "c", "resources": {"requests": {"cpu": "1", "memory": "2Gi"}}}]})));
        let waiting = PodInfo::new(asking("p", json!({"cpu": "1", "memory": "2Gi"})));
        let mut cycle = Cycle::new(0, 7);
        let mut chosen: HashMap<Arc<str>, usize> = HashMap::new();
        for _ in 0..300 {
            *chosen.entry(four.node(cycle.schedule(&waiting, &four).unwrap().node).name.clone()).or_default() += 1;
        }
        assert!(!chosen.contains_key("d"), "{chosen:?}");
        assert!(["a", "b", "c"].iter().all(|name| chosen[*name] > 60), "{chosen:?}");
    }

    #[test]
    fn a_nominated_node_is_taken_if_it_fits() {
        let two = snapshot(&[node("a", json!({})), node("b", json!({"status": {"allocatable": {"cpu": "1"}}}))]);
        let nominated = |cpu: &str| {
            let mut pod = (*asking("p", json!({"cpu": cpu}))).clone();
            pod.status.get_or_insert_default().nominated_node_name = Some("b".into());
            PodInfo::new(Arc::new(pod))
        };
        let choose = |pod: PodInfo| two.node(Cycle::new(0, 1).schedule(&pod, &two).unwrap().node).name.to_string();
        assert_eq!(choose(nominated("1")), "b");
        assert_eq!(choose(nominated("2")), "a");
    }

    #[test]
    fn the_share_of_nodes_searched_shrinks_with_the_cluster() {
        for (percentage, nodes, expect) in [
            (0, 10, 10),
            (0, 99, 99),
            (0, 100, 100),
            (0, 1000, 420),
            (0, 5000, 500),
            (0, 6000, 300),
            (0, 20_000, 1000),
            (40, 1000, 400),
            (1, 1000, 100),
            (100, 1000, 1000),
        ] {
            assert_eq!(feasible_to_find(percentage, nodes), expect, "{percentage} {nodes}");
        }
    }

    #[test]
    fn each_search_goes_on_where_the_last_one_stopped() {
        let nodes: Vec<_> = (0..200).map(|number| node(&format!("n{number}"), json!({}))).collect();
        let many = snapshot(&nodes);
        let mut cycle = Cycle::new(50, 1);
        let pod = info(json!({}));
        for expect in [100, 0, 100] {
            assert_eq!(cycle.schedule(&pod, &many).unwrap().evaluated, 100);
            assert_eq!(cycle.start, expect);
        }
    }
}
