//! Which Job is due, which are over, and which are old.
//!
//! A Job that was made is found by its owner and by the time in its annotation: the next look notes it in the status. So a Job is made once for each
//! time, whenever the controller dies.

use super::schedule::{self, Schedule};
use super::{CRON_JOBS, JOBS, Observed};
use apiserver_client::EventType;
use apiserver_client::time::{from_time, to_time};
use controllers_runtime::plan::{Announce, DeleteOptions, Propagation};
use controllers_runtime::{Action, Plan, owner};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{CronJob, CronJobStatus, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::core::ObjectMeta;
use serde_json::json;

const SCHEDULED_AT: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// A look comes a little after the time, so that clocks that differ agree that it has passed.
const LOOK_DELAY: SignedDuration = SignedDuration::from_millis(100);
/// More missed times than this are reported.
const MISSED_MAX: i64 = 100;

pub(super) fn schedule_text(cron: &CronJob) -> (&str, Option<&str>) {
    (cron.spec.schedule.as_str(), cron.spec.time_zone.as_deref())
}

struct Sync<'a> {
    cron: &'a CronJob,
    now: Timestamp,
    about: ObjectReference,
    status: CronJobStatus,
    plan: Plan,
}

pub(super) fn plan(observed: &Observed, now: Timestamp) -> Plan {
    let cron = &observed.cron;
    let about = CRON_JOBS.reference(&cron.metadata);
    let mut sync = Sync { cron, now, about, status: cron.status.clone().unwrap_or_default(), plan: Plan::default() };
    sync.note_jobs(observed);
    sync.clean_up(observed);
    if cron.metadata.deletion_timestamp.is_none() {
        sync.make_due(observed);
    }
    sync.finish()
}

/// When to look at a CronJob again.
pub(super) fn next_look(cron: &CronJob, now: Timestamp) -> Option<Timestamp> {
    let schedule = parse(cron).ok()?;
    look_after(cron, &schedule, now)
}

fn parse(cron: &CronJob) -> Result<Schedule, schedule::Error> {
    let (text, zone) = schedule_text(cron);
    Schedule::parse(text, zone.and_then(schedule::zone).unwrap_or(TimeZone::UTC))
}

struct Recent {
    /// Since when times count.
    earliest: Timestamp,
    /// The last time that has passed since then.
    last: Option<Timestamp>,
    missed: i64,
}

/// The times that passed since the last Job. Without a regular period between times the number is an estimate.
fn recent(cron: &CronJob, schedule: &Schedule, now: Timestamp, with_deadline: bool) -> Recent {
    let created = cron.metadata.creation_timestamp.as_ref().map(from_time).unwrap_or_default();
    let mut earliest = cron.status.as_ref().and_then(|status| status.last_schedule_time.as_ref()).map_or(created, from_time);
    let deadline = cron.spec.starting_deadline_seconds.filter(|_| with_deadline);
    if let Some(from) = deadline.and_then(|seconds| now.checked_sub(SignedDuration::from_secs(seconds)).ok()) {
        earliest = earliest.max(from);
    }
    let Some(first) = schedule.next(earliest).filter(|first| *first <= now) else {
        return Recent { earliest, last: None, missed: 0 };
    };
    let Some(second) = schedule.next(first).filter(|second| *second <= now) else {
        return Recent { earliest, last: Some(first), missed: 0 };
    };
    let period = second.duration_since(first).as_secs().max(1);
    let missed = now.duration_since(first).as_secs() / period + 1;
    // From shortly before the last, found by counting periods; the rest is walked.
    let from = first.checked_add(SignedDuration::from_secs((missed - 2).saturating_mul(period))).unwrap_or(first);
    let walk = std::iter::successors(schedule.next(from), |at| schedule.next(*at)).take_while(|at| *at <= now);
    Recent { earliest, last: walk.last(), missed }
}

fn look_after(cron: &CronJob, schedule: &Schedule, now: Timestamp) -> Option<Timestamp> {
    let recent = recent(cron, schedule, now, false);
    let from = recent.last.unwrap_or(if recent.missed == 0 { recent.earliest } else { now });
    schedule.next(from)?.checked_add(LOOK_DELAY).ok()
}

fn job_name(cron: &CronJob, at: Timestamp) -> String {
    format!("{}-{}", cron.metadata.name.as_deref().unwrap_or_default(), at.as_second() / 60)
}

/// For which time the Job was made, if it was made for this CronJob.
fn made_for(cron: &CronJob, job: &Job) -> Option<Timestamp> {
    let at: Timestamp = job.metadata.annotations.as_ref()?.get(SCHEDULED_AT)?.parse().ok()?;
    (job.metadata.name.as_deref() == Some(job_name(cron, at).as_str())).then_some(at)
}

fn ended(job: &Job) -> Option<&str> {
    let conditions = job.status.as_ref()?.conditions.as_deref()?;
    let end = conditions.iter().find(|condition| matches!(condition.type_.as_str(), "Complete" | "Failed") && condition.status == "True");
    end.map(|condition| condition.type_.as_str())
}

fn name(job: &Job) -> &str {
    job.metadata.name.as_deref().unwrap_or_default()
}

impl Sync<'_> {
    fn is_active(&self, job: &Job) -> bool {
        self.status.active.iter().flatten().any(|reference| reference.uid == job.metadata.uid)
    }

    fn drop_active(&mut self, uid: Option<&str>) {
        if let Some(active) = &mut self.status.active {
            active.retain(|reference| reference.uid.as_deref() != uid);
        }
    }

    fn event(&mut self, kind: EventType, reason: &'static str, message: String) {
        let about = self.about.clone();
        self.plan.event(&about, kind, reason, message);
    }

    fn note_jobs(&mut self, observed: &Observed) {
        for job in &observed.jobs {
            let is_new = made_for(self.cron, job).filter(|at| self.last_scheduled().is_none_or(|last| *at > last));
            if let Some(at) = is_new {
                self.status.last_schedule_time = Some(to_time(at));
                self.status
                    .active
                    .get_or_insert_default()
                    .push(ObjectReference { resource_version: job.metadata.resource_version.clone(), ..JOBS.reference(&job.metadata) });
            }
            let is_active = self.is_active(job);
            match ended(job) {
                None if !is_active => {
                    let message = format!("Saw a job that the controller did not create or forgot: {}", name(job));
                    self.event(EventType::Warning, "UnexpectedJob", message);
                }
                None => {}
                Some(end) => {
                    if is_active {
                        self.drop_active(job.metadata.uid.as_deref());
                        self.event(EventType::Normal, "SawCompletedJob", format!("Saw completed job: {}, condition: {end}", name(job)));
                    }
                    let completed = job.status.as_ref().and_then(|status| status.completion_time.clone()).filter(|_| end == "Complete");
                    let last = self.status.last_successful_time.as_ref().map(from_time);
                    if completed.as_ref().is_some_and(|at| last.is_none_or(|last| from_time(at) > last)) {
                        self.status.last_successful_time = completed;
                    }
                }
            }
        }
        for reference in self.status.active.clone().into_iter().flatten() {
            if reference.uid.as_ref().is_some_and(|uid| observed.missing.contains(uid)) {
                self.event(EventType::Normal, "MissingJob", format!("Active job went missing: {}", reference.name.as_deref().unwrap_or_default()));
                self.drop_active(reference.uid.as_deref());
            }
        }
    }

    fn last_scheduled(&self) -> Option<Timestamp> {
        self.status.last_schedule_time.as_ref().map(from_time)
    }

    fn delete(&mut self, job: &Job) {
        let announce = Announce {
            about: self.about.clone(),
            success: Some(("SuccessfulDelete", "Deleted job ".into())),
            failure: ("FailedDelete", "Deleted job: ".into()),
        };
        let options = DeleteOptions { grace_seconds: None, propagation: Some(Propagation::Background), resource_version: None };
        self.plan.actions.push(Action::Delete { target: JOBS.target_of(job), options, announce: Some(announce) });
        self.drop_active(job.metadata.uid.as_deref());
    }

    /// Of Jobs that are over, the newest are kept.
    fn clean_up(&mut self, observed: &Observed) {
        let spec = &self.cron.spec;
        for (end, limit) in [("Complete", spec.successful_jobs_history_limit), ("Failed", spec.failed_jobs_history_limit)] {
            let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else { continue };
            let mut over: Vec<_> = observed.jobs.iter().filter(|job| ended(job) == Some(end)).collect();
            let started = |job: &Job| job.status.as_ref().and_then(|status| status.start_time.as_ref()).map(from_time);
            over.sort_by_key(|job| (started(job).is_none(), started(job), job.metadata.name.clone()));
            let surplus = over.len().saturating_sub(limit);
            for job in over.into_iter().take(surplus).filter(|job| job.metadata.deletion_timestamp.is_none()) {
                self.delete(job);
            }
        }
    }

    fn make_due(&mut self, observed: &Observed) {
        let cron = self.cron;
        let spec = &cron.spec;
        if let Some(zone) = spec.time_zone.as_deref().filter(|zone| schedule::zone(zone).is_none()) {
            return self.event(EventType::Warning, "UnknownTimeZone", format!("invalid timeZone: {zone:?}: unknown time zone {zone}"));
        }
        if spec.suspend.unwrap_or(false) {
            return;
        }
        if spec.schedule.contains("TZ") {
            let message = format!(
                "CRON_TZ or TZ used in schedule {:?} is not officially supported, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details",
                spec.schedule
            );
            self.event(EventType::Warning, "UnsupportedSchedule", message);
        }
        let schedule = match parse(cron) {
            Ok(schedule) => schedule,
            Err(error) => {
                return self.event(EventType::Warning, "UnparseableSchedule", format!("unparseable schedule: {:?} : {error}", spec.schedule));
            }
        };
        if let Some(at) = look_after(cron, &schedule, self.now) {
            self.plan.again(at);
        }
        let recent = recent(cron, &schedule, self.now, true);
        let Some(due) = recent.last else { return };
        if recent.missed > MISSED_MAX {
            let message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
            self.event(EventType::Warning, "TooManyMissedTimes", message.into());
        }
        let deadline = spec.starting_deadline_seconds.and_then(|seconds| due.checked_add(SignedDuration::from_secs(seconds)).ok());
        if deadline.is_some_and(|deadline| deadline < self.now) {
            let message = format!("Missed scheduled time to start a job: {}", due.strftime("%a, %d %b %Y %H:%M:%S +0000"));
            return self.event(EventType::Warning, "MissSchedule", message);
        }
        let wanted = job_name(cron, due);
        if observed.jobs.iter().any(|job| name(job) == wanted) || self.last_scheduled() == Some(due) {
            return;
        }
        let active: Vec<ObjectReference> = self.status.active.iter().flatten().cloned().collect();
        match spec.concurrency_policy.as_deref() {
            Some("Forbid") if !active.is_empty() => {
                let message = "Not starting job because prior execution is running and concurrency policy is Forbid";
                return self.event(EventType::Normal, "JobAlreadyActive", message.into());
            }
            Some("Replace") => {
                let running = observed.jobs.iter().filter(|job| active.iter().any(|reference| reference.uid == job.metadata.uid));
                running.for_each(|job| self.delete(job));
            }
            _ => {}
        }
        self.create(wanted, due);
    }

    fn create(&mut self, job_name: String, due: Timestamp) {
        let spec = &self.cron.spec;
        let template = spec.job_template.metadata.clone().unwrap_or_default();
        let mut annotations = template.annotations.unwrap_or_default();
        let zone = spec.time_zone.as_deref().and_then(schedule::zone).unwrap_or(TimeZone::UTC);
        let local = due.to_zoned_datetime(zone);
        let text = if local.offset().is_zero() { local.strftime("%Y-%m-%dT%H:%M:%SZ") } else { local.strftime("%Y-%m-%dT%H:%M:%S%:z") };
        annotations.insert(SCHEDULED_AT.into(), text.to_string());
        let metadata = ObjectMeta {
            name: Some(job_name),
            namespace: self.cron.metadata.namespace.clone(),
            labels: template.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![owner::reference(&CRON_JOBS, &self.cron.metadata)]),
            ..ObjectMeta::default()
        };
        let announce = Announce {
            about: self.about.clone(),
            success: Some(("SuccessfulCreate", "Created job ".into())),
            failure: ("FailedCreate", "Error creating job: ".into()),
        };
        self.plan.actions.push(Action::Create {
            kind: JOBS,
            namespace: self.cron.metadata.namespace.clone().unwrap_or_default(),
            object: json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec.job_template.spec}),
            exists_ok: true,
            announce: Some(announce),
        });
    }

    fn finish(mut self) -> Plan {
        if self.status.active.as_ref().is_some_and(Vec::is_empty) {
            self.status.active = None;
        }
        let old = self.cron.status.clone().unwrap_or_default();
        let version = self.cron.metadata.resource_version.as_deref();
        self.plan.status = Action::status_change(CRON_JOBS.target_of(self.cron), version, &old, &self.status);
        self.plan
    }
}
