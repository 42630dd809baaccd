//! Deletes Jobs that have been over for as long as they asked to be kept.

use crate::job;
use crate::registry::{Row, Setup};
use apiserver_client::time::from_time;
use apiserver_client::{Informer, ObjectKey};
use controllers_runtime::plan::{DeleteOptions, Propagation};
use controllers_runtime::{Action, Kind, Plan, Rule};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use std::sync::Arc;

pub(crate) const ROW: Row = Row { name: "ttl-after-finished-controller", start };

const WORKERS: usize = 5;
const JOBS: Kind = Kind::of::<Job>();

fn start(setup: &Setup) {
    let jobs = setup.informers.of::<Job>();
    let rule = Expiry { jobs: jobs.clone() };
    setup.context(ROW.name, "ttl-after-finished-controller").start(ROW.name, WORKERS, rule, |routes| routes.watches_own(ROW.name, &jobs));
}

struct Expiry {
    jobs: Informer<Job>,
}

impl Rule for Expiry {
    type Observed = Arc<Job>;

    fn observe(&self, key: &ObjectKey) -> Option<Arc<Job>> {
        self.jobs.get(&key.namespace, &key.name)
    }

    fn plan(&self, job: &Arc<Job>, now: Timestamp) -> Plan {
        plan(job, now)
    }
}

fn plan(job: &Job, now: Timestamp) -> Plan {
    let Some(expires) = expires_at(job) else { return Plan::nothing() };
    let mut plan = Plan::nothing();
    if expires > now {
        plan.again(expires);
    } else {
        // Only as it was seen: somebody may just have asked to keep it longer.
        let options = DeleteOptions {
            grace_seconds: None,
            propagation: Some(Propagation::Foreground),
            resource_version: job.metadata.resource_version.clone(),
        };
        plan.actions.push(Action::Delete { target: JOBS.target_of(job), options, announce: None });
    }
    plan
}

fn expires_at(job: &Job) -> Option<Timestamp> {
    let seconds = job.spec.as_ref()?.ttl_seconds_after_finished?;
    if job.metadata.deletion_timestamp.is_some() || !job::is_finished(job) {
        return None;
    }
    let conditions = job.status.as_ref()?.conditions.as_deref()?;
    let end = conditions.iter().find(|condition| matches!(condition.type_.as_str(), "Complete" | "Failed") && condition.status == "True")?;
    from_time(end.last_transition_time.as_ref()?).checked_add(SignedDuration::from_secs(seconds.into())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_job_goes_when_its_time_is_over() {
        let check = |ttl: Value, condition: Value, expect: &[&str], again: Option<&str>| {
            let job = json!({"metadata": {"namespace": "a", "name": "j", "uid": "u", "resourceVersion": "7"},
                             "spec": {"ttlSecondsAfterFinished": ttl, "template": {}}, "status": {"conditions": [condition]}});
            let plan = plan(&serde_json::from_value(job).unwrap(), "2026-01-01T00:01:00Z".parse().unwrap());
            assert_eq!((plan.describe(), plan.again_at), (expect.iter().map(ToString::to_string).collect(), again.map(|at| at.parse().unwrap())));
        };
        let ended = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        check(json!(60), ended("Complete"), &["delete jobs.batch a/j Foreground"], None);
        check(json!(0), ended("Failed"), &["delete jobs.batch a/j Foreground"], None);
        check(json!(61), ended("Complete"), &[], Some("2026-01-01T00:01:01Z"));
        check(json!(null), ended("Complete"), &[], None);
        check(json!(0), ended("Suspended"), &[], None);
    }
}
