//! Runs Pods until as many as wanted have succeeded.
//!
//! Nothing is counted twice and nothing is missed, also across restarts: each Pod has a finalizer, and goes through these steps.
//!
//! ```text
//!   over ──► its uid (or index) is in the Job's status ──► finalizer removed ──► counted, uid taken out of the status
//!            └────────────── one look ────────────────────────────────────┘     └────────── the next look ───────┘
//! ```

mod backoff;
mod indexes;
mod manage;
mod plan;
mod pods;
mod policy;
mod status;
#[cfg(test)]
mod tests;

use crate::registry::{Row, Setup};
use crate::routes::{adopters, owner_key, states};
use apiserver_client::{Event, Index, Informer, ObjectKey};
use controllers_runtime::{Kind, Plan, Rule, Selector, owner};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
pub(crate) use status::is_finished;
use std::sync::Arc;
use std::time::Duration;

pub(crate) const ROW: Row = Row { name: "job-controller", start };

const WORKERS: usize = 5;
/// Pods of a Job end together: their changes are looked at together.
const POD_CHANGES_WAIT: Duration = Duration::from_millis(100);
const JOBS: Kind = Kind::of::<Job>();
const PODS: Kind = Kind::of::<Pod>();
/// The value of `spec.managedBy` that means us.
const MANAGER: &str = "kubernetes.io/job-controller";

fn start(setup: &Setup) {
    let (jobs, pods) = (setup.informers.of::<Job>(), setup.informers.of::<Pod>());
    let rule = Jobs {
        jobs: jobs.clone(),
        pods: pods.index("controller", |pod| owner::index_key(&pod.metadata)),
        tracked: pods.index("tracked by job", tracked_key),
    };
    setup.context(ROW.name, "job-controller").start(ROW.name, WORKERS, rule, |routes| {
        routes.watches_own(ROW.name, &jobs);
        routes.watches_with(ROW.name, &pods, move |event, queue| {
            let mut keys: Vec<ObjectKey> = states(event).filter_map(|pod| owner_key(&pod.metadata, &JOBS)).collect();
            keys.extend(adopters(event, &jobs, |job| selector(job).filter(|selector| !selector.is_empty())));
            if let Event::Added(pod) | Event::Updated { new: pod, .. } = event
                && pods::is_tracked(pod)
                && owner::controller_of(&pod.metadata).is_none()
            {
                keys.push(ObjectKey::new(pod.metadata.namespace.as_deref().unwrap_or_default(), ""));
            }
            keys.into_iter().for_each(|key| queue.add_after(key, POD_CHANGES_WAIT));
        });
    });
}

fn selector(job: &Job) -> Option<Selector> {
    job.spec.as_ref()?.selector.as_ref().and_then(|selector| Selector::new(selector).ok())
}

/// Pods with the finalizer, by the name of the Job that controls them; by no name where nobody does.
fn tracked_key(pod: &Pod) -> Vec<String> {
    if !pods::is_tracked(pod) {
        return Vec::new();
    }
    match owner::controller_of(&pod.metadata) {
        None => vec![tracked_value(pod.metadata.namespace.as_deref().unwrap_or_default(), "")],
        Some(_) => owner_key(&pod.metadata, &JOBS).map(|key| tracked_value(&key.namespace, &key.name)).into_iter().collect(),
    }
}

fn tracked_value(namespace: &str, job: &str) -> String {
    format!("{namespace}/{job}")
}

struct Jobs {
    jobs: Informer<Job>,
    pods: Index<Pod>,
    tracked: Index<Pod>,
}

enum Observed {
    /// Pods that are tracked for a Job that is gone, over, or was never there.
    Untracked(Vec<Arc<Pod>>),
    Running(Running),
}

struct Running {
    job: Arc<Job>,
    /// Those that the Job controls, and orphans of its namespace.
    pods: Vec<Arc<Pod>>,
}

impl Rule for Jobs {
    type Observed = Observed;

    fn observe(&self, key: &ObjectKey) -> Option<Observed> {
        let job = self.jobs.get(&key.namespace, &key.name);
        if job.as_ref().is_some_and(|job| is_managed_by_others(job)) {
            return None;
        }
        match job.filter(|job| !is_finished(job)) {
            Some(job) => {
                let mut pods = self.pods.get(job.metadata.uid.as_deref().unwrap_or_default());
                pods.extend(self.pods.get(&owner::orphans_key(&key.namespace)));
                Some(Observed::Running(Running { job, pods }))
            }
            None => Some(Observed::Untracked(self.tracked.get(&tracked_value(&key.namespace, &key.name)))),
        }
    }

    fn plan(&self, observed: &Observed, now: Timestamp) -> Plan {
        match observed {
            Observed::Untracked(pods) => Plan { actions: pods::untrack(pods), ..Plan::default() },
            Observed::Running(running) => plan::plan(running, now),
        }
    }
}

fn is_managed_by_others(job: &Job) -> bool {
    job.spec.as_ref().and_then(|spec| spec.managed_by.as_deref()).is_some_and(|manager| manager != MANAGER)
}
