//! One step of a rolling update: how many nodes may be without a daemon, or with two, at a time.

use super::node::{self, Place};
use super::plan::{Changes, View};
use crate::deployment::scaled;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Pod;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Update {
    Rolling,
    OnDelete,
}

pub(super) fn strategy(set: &DaemonSet) -> Update {
    let kind = set.spec.update_strategy.as_ref().and_then(|strategy| strategy.type_.as_deref());
    if kind == Some("OnDelete") { Update::OnDelete } else { Update::Rolling }
}

pub(super) fn allows_surge(set: &DaemonSet) -> bool {
    surge(set, 1) > 0
}

fn surge(set: &DaemonSet, nodes: i32) -> i32 {
    let rolling =
        set.spec.update_strategy.as_ref().filter(|_| strategy(set) == Update::Rolling).and_then(|strategy| strategy.rolling_update.as_ref());
    scaled(rolling.and_then(|rolling| rolling.max_surge.as_ref()), nodes, true)
}

fn unavailable(set: &DaemonSet, nodes: i32) -> i32 {
    let rolling = set.spec.update_strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
    scaled(rolling.and_then(|rolling| rolling.max_unavailable.as_ref()), nodes, true)
}

/// The new and the old Pod of a node; None where there are more, which are sorted out first.
type Pair = Option<(Option<Arc<Pod>>, Option<Arc<Pod>>)>;

fn pair(view: &View, pods: &[Arc<Pod>]) -> Pair {
    let (mut new, mut old) = (None, None);
    for pod in pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
        let slot = if view.is_updated(pod) { &mut new } else { &mut old };
        if slot.replace(pod.clone()).is_some() {
            return None;
        }
    }
    Some((new, old))
}

pub(super) fn step(view: &View) -> Changes {
    let wanted: Vec<&str> =
        view.nodes.iter().filter(|node| node::place(view.set, node) == Place::Yes).filter_map(|node| node.metadata.name.as_deref()).collect();
    let desired = i32::try_from(wanted.len()).unwrap_or(i32::MAX);
    let (max_surge, mut max_unavailable) = (surge(view.set, desired), unavailable(view.set, desired));
    if desired > 0 && max_surge == 0 && max_unavailable == 0 {
        max_unavailable = 1;
    }
    // Nodes that should have a daemon and have none count as well.
    let bare = wanted.iter().filter(|node| !view.by_node.contains_key(**node)).count();
    if max_surge == 0 { replace(view, bare, max_unavailable) } else { surge_step(view, &wanted, max_surge) }
}

/// Deletes old Pods: unavailable ones at once, others as far as `max_unavailable` allows.
fn replace(view: &View, bare: usize, max_unavailable: i32) -> Changes {
    let mut down = i32::try_from(bare).unwrap_or(i32::MAX);
    let (mut at_once, mut candidates) = (Vec::new(), Vec::new());
    for pods in view.by_node.values() {
        match pair(view, pods) {
            None | Some((None, None) | (Some(_), Some(_))) => down += 1,
            Some((Some(new), None)) => down += i32::from(!view.is_available(&new)),
            Some((None, Some(old))) if !view.is_available(&old) => {
                at_once.push(old);
                down += 1;
            }
            Some((None, Some(old))) => candidates.push(old),
        }
    }
    let room = usize::try_from(max_unavailable - down).unwrap_or(0);
    at_once.extend(candidates.into_iter().take(room));
    Changes { create_on: Vec::new(), delete: at_once }
}

/// Makes new Pods beside old ones, as far as `max_surge` allows, and deletes old ones whose successor is available.
fn surge_step(view: &View, wanted: &[&str], max_surge: i32) -> Changes {
    let mut changes = Changes::default();
    let (mut surging, mut available) = (0, 0_usize);
    let (mut candidates, mut misplaced) = (Vec::new(), Vec::new());
    for (node, pods) in &view.by_node {
        let Some((new, old)) = pair(view, pods) else {
            surging += 1;
            continue;
        };
        available += usize::from(old.as_ref().or(new.as_ref()).is_some_and(|pod| view.is_available(pod)));
        let belongs = wanted.contains(&node.as_str());
        match (new, old) {
            (_, None) => {}
            (None, Some(old)) => match (view.is_available(&old), belongs) {
                (false, false) => changes.delete.push(old),
                (false, true) => changes.create_on.push(node.clone()),
                (true, false) => misplaced.push(old),
                (true, true) => candidates.push(node.clone()),
            },
            (Some(new), Some(old)) => {
                if view.is_available(&new) {
                    changes.delete.push(old);
                } else {
                    surging += 1;
                }
            }
        }
    }
    changes.delete.extend(misplaced.into_iter().take(available.saturating_sub(wanted.len())));
    changes.create_on.extend(candidates.into_iter().take(usize::try_from(max_surge - surging).unwrap_or(0)));
    changes
}
