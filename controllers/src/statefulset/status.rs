//! What a set says about itself.

use super::plan::Look;
use super::{pods, revision_of};
use crate::pod;
use k8s_openapi::api::apps::v1::StatefulSetStatus;
use k8s_openapi::api::core::v1::Pod;

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

impl Look<'_> {
    /// `dropped` Pods of the current revision are being deleted for the update.
    pub(super) fn status(&self, dropped: i32) -> StatefulSetStatus {
        let (set, all) = (self.set, &self.pods);
        let min_ready = set.spec.min_ready_seconds.unwrap_or(0);
        let count = |which: &dyn Fn(&Pod) -> bool| number(all.iter().filter(|pod| which(pod)).count());
        let of = |name: &str| count(&|pod| !pod::phase(pod).is_empty() && !pods::is_leaving(pod) && pods::revision(pod) == name);
        let (current, update) = (revision_of(self.current), revision_of(self.update));
        let created = count(&|pod| !pod::phase(pod).is_empty());
        let ready = count(&pods::is_running_and_ready);
        let available = count(&|pod| pods::is_running_and_ready(pod) && pod::is_available(pod, min_ready, self.now));
        let old = set.status.clone().unwrap_or_default();
        let updated = of(update);
        let wanted = pods::replicas(set);
        let (mut current, mut current_replicas) = (current, of(current) - dropped);
        if [updated, ready, created].iter().all(|count| *count == wanted) {
            (current, current_replicas) = (update, updated);
        }
        StatefulSetStatus {
            replicas: created,
            ready_replicas: pod::nonzero(ready),
            available_replicas: Some(available),
            current_replicas: pod::nonzero(current_replicas),
            updated_replicas: pod::nonzero(updated),
            current_revision: Some(current.into()),
            update_revision: Some(update.into()),
            observed_generation: set.metadata.generation,
            collision_count: Some(old.collision_count.unwrap_or(0)),
            conditions: old.conditions,
        }
    }
}
