//! Taint sets, kept once however many nodes have them.
//!
//! Most clusters have a handful of distinct sets on thousands of nodes, so a Pod's tolerations are held against each set once per
//! cycle, and per node only a number is looked up.

use apiserver_placement::taint::{PREFER_NO_SCHEDULE, forbids_scheduling};
use k8s_openapi::api::core::v1::Taint;
use std::collections::HashMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaintSetId(u32);

impl TaintSetId {
    /// No taints.
    pub const NONE: Self = Self(0);

    pub fn position(self) -> usize {
        self.0 as usize
    }
}

#[derive(Debug, Default)]
pub struct TaintSet {
    /// NoSchedule and NoExecute.
    pub forbidding: Vec<Taint>,
    /// PreferNoSchedule.
    pub discouraging: Vec<Taint>,
    key: Key,
    nodes: usize,
}

/// Key, value and effect of each taint: when it was added changes nothing.
type Key = Vec<(String, String, String)>;

#[derive(Debug)]
pub struct TaintSets {
    sets: Vec<TaintSet>,
    by_key: HashMap<Key, TaintSetId>,
    free: Vec<TaintSetId>,
    discouraging: usize,
}

impl Default for TaintSets {
    fn default() -> Self {
        Self { sets: vec![TaintSet::default()], by_key: HashMap::from([(Key::new(), TaintSetId::NONE)]), free: Vec::new(), discouraging: 0 }
    }
}

impl TaintSets {
    /// One more than the largest id in use.
    pub fn len(&self) -> usize {
        self.sets.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() <= 1
    }

    pub fn get(&self, id: TaintSetId) -> &TaintSet {
        &self.sets[id.position()]
    }

    /// Some node has a taint with effect PreferNoSchedule.
    pub fn any_discouraging(&self) -> bool {
        self.discouraging > 0
    }

    pub(crate) fn acquire(&mut self, taints: &[Taint]) -> TaintSetId {
        if taints.is_empty() {
            return TaintSetId::NONE;
        }
        let key: Key = taints.iter().map(|taint| (taint.key.clone(), taint.value.clone().unwrap_or_default(), taint.effect.clone())).collect();
        if let Some(id) = self.by_key.get(&key) {
            self.sets[id.position()].nodes += 1;
            return *id;
        }
        let set = TaintSet {
            forbidding: taints.iter().filter(|taint| forbids_scheduling(taint)).cloned().collect(),
            discouraging: taints.iter().filter(|taint| taint.effect == PREFER_NO_SCHEDULE).cloned().collect(),
            key: key.clone(),
            nodes: 1,
        };
        self.discouraging += usize::from(!set.discouraging.is_empty());
        let id = match self.free.pop() {
            Some(id) => {
                self.sets[id.position()] = set;
                id
            }
            None => {
                self.sets.push(set);
                TaintSetId(u32::try_from(self.sets.len() - 1).unwrap_or(u32::MAX))
            }
        };
        self.by_key.insert(key, id);
        id
    }

    pub(crate) fn release(&mut self, id: TaintSetId) {
        if id == TaintSetId::NONE {
            return;
        }
        let set = &mut self.sets[id.position()];
        set.nodes -= 1;
        if set.nodes == 0 {
            let set = std::mem::take(set);
            self.discouraging -= usize::from(!set.discouraging.is_empty());
            self.by_key.remove(&set.key);
            self.free.push(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taint(key: &str, effect: &str) -> Taint {
        Taint { key: key.into(), effect: effect.into(), ..Taint::default() }
    }

    #[test]
    fn equal_taints_share_a_set_until_the_last_node_lets_go() {
        let mut sets = TaintSets::default();
        let (a, b) = (vec![taint("a", "NoSchedule")], vec![taint("b", "PreferNoSchedule")]);
        let first = sets.acquire(&a);
        assert_eq!(sets.acquire(&a), first);
        assert_eq!(sets.acquire(&[]), TaintSetId::NONE);
        let other = sets.acquire(&b);
        assert_ne!(other, first);
        assert!(sets.any_discouraging());
        assert_eq!((sets.get(first).forbidding.len(), sets.get(other).discouraging.len()), (1, 1));
        sets.release(first);
        assert_eq!(sets.acquire(&a), first);
        sets.release(other);
        assert!(!sets.any_discouraging());
        assert_eq!(sets.acquire(&[taint("c", "NoExecute")]), other);
        assert_eq!(sets.len(), 3);
    }
}
