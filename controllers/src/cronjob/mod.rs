//! Makes Jobs at the times of a schedule.

mod plan;
mod schedule;
#[cfg(test)]
mod tests;

use crate::registry::{Row, Setup};
use crate::routes::owners;
use apiserver_client::{Event, Index, Informer, ObjectKey};
use apiserver_component::Clock;
use controllers_runtime::{Kind, Plan, Rule, owner};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

pub(crate) const ROW: Row = Row { name: "cronjob-controller", start };

const WORKERS: usize = 5;
const CRON_JOBS: Kind = Kind::of::<CronJob>();
const JOBS: Kind = Kind::of::<Job>();

fn start(setup: &Setup) {
    let (crons, jobs) = (setup.informers.of::<CronJob>(), setup.informers.of::<Job>());
    let rule = Crons { crons: crons.clone(), jobs: jobs.clone(), children: jobs.index("controller", |job| owner::index_key(&job.metadata)) };
    setup.context(ROW.name, "cronjob-controller").start(ROW.name, WORKERS, rule, |routes| {
        routes.watches_with(ROW.name, &crons, |event, queue| match event {
            // A new schedule counts from now on: a time of it that has passed is no missed one.
            Event::Updated { old, new } if plan::schedule_text(old) != plan::schedule_text(new) => {
                let now = Clock.now();
                let wait = plan::next_look(new, now).map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default());
                queue.add_after(ObjectKey::of(&**new), wait.unwrap_or_default());
            }
            Event::Added(cron) | Event::Updated { new: cron, .. } | Event::Deleted(cron) => queue.add(ObjectKey::of(&**cron)),
            Event::Synced => {}
        });
        routes.watches(ROW.name, &jobs, |event| owners(event, &CRON_JOBS));
    });
}

struct Crons {
    crons: Informer<CronJob>,
    jobs: Informer<Job>,
    children: Index<Job>,
}

struct Observed {
    cron: Arc<CronJob>,
    /// Those that the CronJob controls.
    jobs: Vec<Arc<Job>>,
    /// Uids of Jobs in `status.active` that exist no more.
    missing: BTreeSet<String>,
}

impl Rule for Crons {
    type Observed = Observed;

    fn observe(&self, key: &ObjectKey) -> Option<Observed> {
        let cron = self.crons.get(&key.namespace, &key.name)?;
        let mut jobs = self.children.get(cron.metadata.uid.as_deref().unwrap_or_default());
        jobs.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        let active = cron.status.iter().flat_map(|status| status.active.iter().flatten());
        let is_missing =
            |name: &str, uid: &str| !jobs.iter().any(|job| job.metadata.uid.as_deref() == Some(uid)) && self.jobs.get(&key.namespace, name).is_none();
        let missing = active.filter_map(|reference| Some((reference.name.as_deref()?, reference.uid.clone()?)));
        let missing = missing.filter(|(name, uid)| is_missing(name, uid)).map(|(_, uid)| uid).collect();
        Some(Observed { cron, jobs, missing })
    }

    fn plan(&self, observed: &Observed, now: Timestamp) -> Plan {
        plan::plan(observed, now)
    }
}
