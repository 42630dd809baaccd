//! Spreads endpoints over slices with as few writes as possible.
//!
//! 1. Slices lose what is no longer wanted, and take over what changed. One that becomes empty goes.
//! 2. What is left goes into slices that are written anyway, the fullest first.
//! 3. Then into the one untouched slice in which it fits best, or else into new slices.

use crate::slices::{self, Changes, Endpoints};
use k8s_openapi::api::discovery::v1::{EndpointPort, EndpointSlice};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) const ENDPOINTS_PER_SLICE_MAX: usize = 100;

/// Endpoints with the same ports, and the slices that have those ports.
pub(super) struct Group {
    pub ports: Vec<EndpointPort>,
    pub endpoints: Endpoints,
    pub slices: Vec<Arc<EndpointSlice>>,
}

type Labels = BTreeMap<String, String>;

pub(super) fn reconcile(group: Group, labels: impl Fn(&EndpointSlice) -> (Labels, bool), new: impl Fn() -> EndpointSlice) -> Changes {
    let Group { mut endpoints, slices: existing, .. } = group;
    let mut changes = Changes::default();
    let mut unchanged = Vec::new();
    for old in existing {
        let mut changed = false;
        let mut kept = Vec::with_capacity(slices::endpoints_of(&old).len());
        for endpoint in slices::endpoints_of(&old) {
            if let Some(wanted) = endpoints.remove(&slices::key(endpoint)) {
                changed |= !slices::is_same(&wanted, endpoint);
                kept.push(wanted);
            }
        }
        let (labels, labels_differ) = labels(&old);
        if changed || kept.len() != slices::endpoints_of(&old).len() {
            if kept.is_empty() {
                changes.delete.push(old);
                continue;
            }
            let mut slice = (*old).clone();
            slice.endpoints = Some(kept);
            slice.metadata.labels = Some(labels);
            changes.update.push((old, slice));
        } else if labels_differ {
            let mut slice = (*old).clone();
            slice.metadata.labels = Some(labels);
            changes.update.push((old, slice));
        } else {
            unchanged.push(old);
        }
    }
    changes.update.sort_by_key(|(_, slice)| std::cmp::Reverse(slices::endpoints_of(slice).len()));
    for (_, slice) in &mut changes.update {
        fill(slice, &mut endpoints);
    }
    while !endpoints.is_empty() {
        match best_fit(&unchanged, endpoints.len()) {
            Some(position) => {
                let old = unchanged.remove(position);
                let mut slice = (*old).clone();
                fill(&mut slice, &mut endpoints);
                changes.update.push((old, slice));
            }
            None => {
                let mut slice = new();
                fill(&mut slice, &mut endpoints);
                changes.create.push(slice);
            }
        }
    }
    changes
}

fn fill(slice: &mut EndpointSlice, endpoints: &mut Endpoints) {
    let list = slice.endpoints.get_or_insert_default();
    while list.len() < ENDPOINTS_PER_SLICE_MAX
        && let Some((_, endpoint)) = endpoints.pop_first()
    {
        list.push(endpoint);
    }
}

/// The slice that is fullest once `number` more are in it; none where they do not fit.
fn best_fit(slices: &[Arc<EndpointSlice>], number: usize) -> Option<usize> {
    let room = |slice: &EndpointSlice| ENDPOINTS_PER_SLICE_MAX.checked_sub(number + slices::endpoints_of(slice).len());
    let fitting = slices.iter().enumerate().filter_map(|(position, slice)| Some((room(slice)?, position)));
    fitting.filter(|_| number < ENDPOINTS_PER_SLICE_MAX).min().map(|(_, position)| position)
}
