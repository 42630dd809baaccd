//! Which Pods of an old revision make way for the new one, once all that are wanted exist.

use super::plan::Look;
use super::{pods, revision_of};
use crate::share::{self, Round};
use k8s_openapi::api::core::v1::Pod;
use std::sync::Arc;

impl Look<'_> {
    /// Highest numbers first, from the partition up; never more unavailable than allowed. Gives how many were told to go.
    pub(super) fn roll(&mut self) -> i32 {
        let strategy = self.set.spec.update_strategy.clone().unwrap_or_default();
        if strategy.type_.as_deref() == Some("OnDelete") {
            return 0;
        }
        let rolling = strategy.rolling_update.unwrap_or_default();
        let partition = rolling.partition.and_then(|partition| usize::try_from(partition).ok()).unwrap_or(0);
        let wanted = pods::replicas(self.set);
        let max = rolling.max_unavailable.as_ref().map_or(Some(1), |max| share::of(max, wanted, Round::Down)).unwrap_or(1);
        let max_unavailable = usize::try_from(max).unwrap_or(1).max(1);
        let update = revision_of(self.update).to_string();
        let is_old = |pod: &Pod| pods::revision(pod) != update && !pods::is_leaving(pod);
        let unavailable = self.replicas.iter().filter(|pod| pod.as_ref().is_none_or(|pod| pods::is_unavailable(pod, self.set, self.now))).count();
        let is_stuck = |pod: &&Arc<Pod>| self.is_parallel() && is_old(pod) && pods::is_unavailable(pod, self.set, self.now);
        if unavailable >= max_unavailable && self.replicas.iter().flatten().filter(is_stuck).count() == 0 {
            return 0;
        }
        let above = self.replicas.iter().enumerate().rev().filter(|(number, _)| *number >= partition).filter_map(|(_, pod)| pod.as_ref());
        let old: Vec<&Arc<Pod>> = above.filter(|pod| is_old(pod)).collect();
        let room = max_unavailable.saturating_sub(unavailable);
        let chosen: Vec<Arc<Pod>> = if self.is_parallel() {
            // What does not run anyway costs nothing.
            let (broken, well): (Vec<_>, Vec<_>) = old.into_iter().partition(|pod| pods::is_unavailable(pod, self.set, self.now));
            broken.into_iter().chain(well.into_iter().take(room)).cloned().collect()
        } else {
            old.into_iter().take(room).cloned().collect()
        };
        chosen.iter().for_each(|pod| self.delete(pod));
        i32::try_from(chosen.len()).unwrap_or(i32::MAX)
    }
}
