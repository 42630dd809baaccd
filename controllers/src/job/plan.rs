//! One look at a Job that is not over.

use super::indexes::Indexes;
use super::policy::{self, Verdict};
use super::{JOBS, PODS, Running, manage::Change, pods, selector, status};
use crate::pod;
use apiserver_client::EventType;
use apiserver_client::time::{from_time, to_time};
use controllers_runtime::plan::PatchKind;
use controllers_runtime::{Action, Plan, owner};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// Pods that are noted in the status at a time; the others wait for the next look.
const UNCOUNTED_PODS_MAX: usize = 500;
/// What the server sets where none is given.
const BACKOFF_LIMIT: i32 = 6;

/// What is known of an indexed Job.
pub(super) struct Indexed {
    /// With those that are not in the status yet.
    pub succeeded: Indexes,
    before: Indexes,
    /// Only where failures are limited per index.
    pub failed: Option<Indexes>,
}

pub(super) struct Sync<'a> {
    pub job: &'a Arc<Job>,
    pub spec: &'a JobSpec,
    pub now: Timestamp,
    pub pods: Vec<Arc<Pod>>,
    pub active: Vec<Arc<Pod>>,
    pub terminating: usize,
    ready: usize,
    pub succeeded: i32,
    failed: i32,
    pub indexed: Option<Indexed>,
    /// The last Pod of each index that failed and may be tried again: kept tracked until it is replaced, since it says how often.
    pub delayed: BTreeMap<u32, Arc<Pod>>,
    /// How the Job ends, once that is decided.
    finished: Option<JobCondition>,
    status: JobStatus,
    pub plan: Plan,
}

pub(super) fn plan(observed: &Running, now: Timestamp) -> Plan {
    let job = &observed.job;
    let (Some(spec), Some(selector)) = (&job.spec, selector(job)) else { return Plan::nothing() };
    if !matches!(spec.completion_mode.as_deref(), None | Some("NonIndexed" | "Indexed")) {
        let mut plan = Plan::nothing();
        plan.event(
            &JOBS.reference(&job.metadata),
            EventType::Warning,
            "UnknownCompletionMode",
            "Skipped Job sync because completion mode is unknown",
        );
        return plan;
    }
    let claimed = owner::claim(&JOBS, &job.metadata, &PODS, &selector, observed.pods.iter().cloned());
    if !claimed.actions.is_empty() {
        // Adopted Pods are tracked from then on: the next look has them.
        return Plan { actions: claimed.actions.into_iter().map(tracking).collect(), ..Plan::default() };
    }
    let mut sync = Sync::new(job, spec, claimed.objects, now);
    sync.decide();
    let change = sync.act();
    sync.finish(change)
}

/// Adoption adds the finalizer, and release takes it away.
fn tracking(action: Action) -> Action {
    match action {
        Action::All(actions) => Action::All(actions.into_iter().map(tracking).collect()),
        Action::Patch { target, subresource, kind: PatchKind::Strategic, mut patch } => {
            let releases = !patch["metadata"]["ownerReferences"][0]["$patch"].is_null();
            let field = if releases { "$deleteFromPrimitiveList/finalizers" } else { "finalizers" };
            patch["metadata"][field] = json!([pods::FINALIZER]);
            Action::Patch { target, subresource, kind: PatchKind::Strategic, patch }
        }
        other => other,
    }
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

impl<'a> Sync<'a> {
    fn new(job: &'a Arc<Job>, spec: &'a JobSpec, mut pods: Vec<Arc<Pod>>, now: Timestamp) -> Self {
        pods.sort_by(|a, b| (pods::index(a), &a.metadata.name).cmp(&(pods::index(b), &b.metadata.name)));
        let mut status = job.status.clone().unwrap_or_default();
        status.uncounted_terminated_pods.get_or_insert_default();
        let active: Vec<Arc<Pod>> = pods.iter().filter(|pod| pod::is_active(pod)).cloned().collect();
        let mut sync = Self {
            job,
            spec,
            now,
            terminating: pods.iter().filter(|pod| pod::is_terminating(pod)).count(),
            ready: active.iter().filter(|pod| pod::is_ready(pod)).count(),
            active,
            succeeded: 0,
            failed: 0,
            indexed: None,
            delayed: BTreeMap::new(),
            finished: None,
            status,
            pods,
            plan: Plan::default(),
        };
        sync.count();
        if sync.status.start_time.is_none() && !sync.is_suspended() {
            sync.status.start_time = Some(to_time(now));
        }
        sync
    }

    pub fn is_suspended(&self) -> bool {
        self.spec.suspend.unwrap_or(false)
    }

    pub fn completions(&self) -> u32 {
        self.spec.completions.and_then(|completions| u32::try_from(completions).ok()).unwrap_or(0)
    }

    fn is_indexed(&self) -> bool {
        self.spec.completion_mode.as_deref() == Some("Indexed")
    }

    /// Of an indexed Job, only Pods with an index of its count.
    fn has_valid_index(&self, pod: &Pod) -> bool {
        !self.is_indexed() || pods::index(pod).is_some_and(|index| index < self.completions())
    }

    fn uncounted(&self, failed: bool) -> HashSet<&'a str> {
        let uncounted = self.job.status.as_ref().and_then(|status| status.uncounted_terminated_pods.as_ref());
        let list = uncounted.and_then(|uncounted| if failed { uncounted.failed.as_ref() } else { uncounted.succeeded.as_ref() });
        list.into_iter().flatten().map(String::as_str).collect()
    }

    fn judge(&self, pod: &Pod) -> Verdict {
        policy::judge(self.spec.pod_failure_policy.as_ref(), pod)
    }

    fn count(&mut self) {
        let (known_succeeded, known_failed) = (self.uncounted(false), self.uncounted(true));
        let valid = |pod: &&Arc<Pod>| pods::is_tracked(pod) && self.has_valid_index(pod);
        let succeeded = self.pods.iter().filter(valid).filter(|pod| !known_succeeded.contains(pods::uid(pod)) && pods::is_succeeded(pod)).count();
        let failed = self
            .pods
            .iter()
            .filter(valid)
            .filter(|pod| !known_failed.contains(pods::uid(pod)) && pods::is_failed(pod, self.spec) && self.judge(pod) != Verdict::Ignore);
        let failed = failed.count();
        let (succeeded, failed) = (number(succeeded + known_succeeded.len()), number(failed + known_failed.len()));
        self.succeeded = self.status.succeeded.unwrap_or(0).saturating_add(succeeded);
        self.failed = self.status.failed.unwrap_or(0).saturating_add(failed);
    }

    fn failure(&self, reason: &str, message: &str) -> JobCondition {
        status::condition(status::FAILURE_TARGET, "True", reason, message, self.now)
    }

    /// Whether the Job has come to an end, and why.
    fn decide(&mut self) {
        self.finished = status::holding(&self.status, status::SUCCESS_CRITERIA_MET).cloned().or_else(|| self.decided_failure());
        if self.finished.is_none() {
            self.finished = self.limit_passed();
        }
        if self.is_indexed() {
            self.decide_indexes();
        }
    }

    fn decided_failure(&self) -> Option<JobCondition> {
        if let Some(target) = status::holding(&self.status, status::FAILURE_TARGET) {
            let (reason, message) = (target.reason.as_deref().unwrap_or_default(), target.message.as_deref().unwrap_or_default());
            return Some(status::condition(status::FAILED, "True", reason, message, self.now));
        }
        self.pods.iter().filter(|pod| pods::is_failed(pod, self.spec)).find_map(|pod| match self.judge(pod) {
            Verdict::FailJob(message) => Some(self.failure("PodFailurePolicy", &message)),
            _ => None,
        })
    }

    fn limit_passed(&mut self) -> Option<JobCondition> {
        if self.failed > self.spec.backoff_limit.unwrap_or(BACKOFF_LIMIT) || self.restarted_too_often() {
            return Some(self.failure("BackoffLimitExceeded", "Job has reached the specified backoff limit"));
        }
        let (seconds, started) = (self.spec.active_deadline_seconds?, self.status.start_time.as_ref()?);
        if self.is_suspended() {
            return None;
        }
        let deadline = from_time(started).checked_add(SignedDuration::from_secs(seconds)).ok()?;
        if deadline <= self.now {
            return Some(self.failure("DeadlineExceeded", "Job was active longer than specified deadline"));
        }
        self.plan.again(deadline);
        None
    }

    /// Containers that restart in place count as failed Pods would.
    fn restarted_too_often(&self) -> bool {
        if self.spec.template.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()) != Some("OnFailure") {
            return false;
        }
        let statuses = |pod: &Arc<Pod>| {
            let status = pod.status.clone().unwrap_or_default();
            status
                .init_container_statuses
                .into_iter()
                .chain(status.container_statuses)
                .flatten()
                .map(|status| i64::from(status.restart_count))
                .sum::<i64>()
        };
        let restarts: i64 = self.pods.iter().filter(|pod| matches!(pod::phase(pod), "Running" | "Pending")).map(statuses).sum();
        match i64::from(self.spec.backoff_limit.unwrap_or(BACKOFF_LIMIT)) {
            0 => restarts > 0,
            limit => restarts >= limit,
        }
    }

    fn decide_indexes(&mut self) {
        let completions = self.completions();
        let tracked = |pod: &&Arc<Pod>| pods::is_tracked(pod) && self.has_valid_index(pod);
        let before = Indexes::parse(self.status.completed_indexes.as_deref().unwrap_or_default(), completions);
        let new = Indexes::of(self.pods.iter().filter(tracked).filter(|pod| pods::is_succeeded(pod)).filter_map(|pod| pods::index(pod)));
        let succeeded = before.union(&new);
        let failed = self.spec.backoff_limit_per_index.map(|limit| {
            let before = Indexes::parse(self.status.failed_indexes.as_deref().unwrap_or_default(), completions);
            let is_failed = |pod: &&Arc<Pod>| {
                pods::is_failed(pod, self.spec)
                    && match self.judge(pod) {
                        Verdict::FailIndex => true,
                        Verdict::Ignore => false,
                        Verdict::Count | Verdict::FailJob(_) => pods::index_failures(pod) >= limit,
                    }
            };
            before.union(&Indexes::of(self.pods.iter().filter(tracked).filter(is_failed).filter_map(|pod| pods::index(pod))))
        });
        self.succeeded = number(succeeded.len());
        if let (Some(failed), None) = (&failed, &self.finished) {
            let max = self.spec.max_failed_indexes.and_then(|max| usize::try_from(max).ok());
            if max.is_some_and(|max| failed.len() > max) {
                self.finished = Some(self.failure("MaxFailedIndexesExceeded", "Job has exceeded the specified maximal number of failed indexes"));
            } else if !failed.is_empty() && failed.len() + succeeded.len() >= completions as usize {
                self.finished = Some(self.failure("FailedIndexes", "Job has failed indexes"));
            }
        }
        if self.finished.is_none() {
            let message = policy::success(self.spec.success_policy.as_ref(), completions, &succeeded);
            self.finished = message.map(|message| status::condition(status::SUCCESS_CRITERIA_MET, "True", "SuccessPolicy", &message, self.now));
        }
        self.indexed = Some(Indexed { succeeded, before, failed });
        self.delayed = self.delayed_pods();
    }

    fn delayed_pods(&self) -> BTreeMap<u32, Arc<Pod>> {
        let mut last: BTreeMap<u32, Arc<Pod>> = BTreeMap::new();
        let Some(Indexed { succeeded, failed: Some(failed), .. }) = &self.indexed else { return last };
        let active: HashSet<u32> = self.active.iter().filter_map(|pod| pods::index(pod)).collect();
        let candidates = self.pods.iter().filter(|pod| pods::is_tracked(pod) && self.has_valid_index(pod) && pods::is_failed(pod, self.spec));
        let rank = |pod: &Pod| (pods::index_failures(pod).saturating_add(pods::index_ignored_failures(pod)), pods::finished_at(pod));
        for pod in candidates {
            let Some(index) = pods::index(pod).filter(|index| !succeeded.contains(*index) && !failed.contains(*index) && !active.contains(index))
            else {
                continue;
            };
            if last.get(&index).is_none_or(|before| rank(before) <= rank(pod)) {
                last.insert(index, pod.clone());
            }
        }
        last
    }

    /// Makes and deletes Pods; says in the status that the Job is suspended or goes on.
    fn act(&mut self) -> Change {
        if self.finished.is_some() {
            return self.delete_active();
        }
        let is_leaving = self.job.metadata.deletion_timestamp.is_some();
        let change = if is_leaving { Change::default() } else { self.manage() };
        let active = self.active.len() + change.created - change.deleted;
        let complete = match self.spec.completions {
            None => self.succeeded > 0,
            Some(completions) => self.succeeded >= completions,
        };
        if complete && active == 0 {
            let message = "Reached expected number of succeeded pods";
            self.finished = Some(status::condition(status::SUCCESS_CRITERIA_MET, "True", "CompletionsReached", message, self.now));
        } else if !is_leaving {
            self.note_suspension();
        }
        change
    }

    fn note_suspension(&mut self) {
        let about = JOBS.reference(&self.job.metadata);
        if self.is_suspended() {
            if status::ensure(&mut self.status, status::condition(status::SUSPENDED, "True", "JobSuspended", "Job suspended", self.now)) {
                self.status.start_time = None;
                self.plan.event(&about, EventType::Normal, "Suspended", "Job suspended");
            }
        } else if status::ensure(&mut self.status, status::condition(status::SUSPENDED, "False", "JobResumed", "Job resumed", self.now)) {
            self.status.start_time = Some(to_time(self.now));
            self.plan.event(&about, EventType::Normal, "Resumed", "Job resumed");
        }
    }

    /// Notes in the status what is over, then lets it go; ends the Job once nothing is left to count.
    fn finish(mut self, change: Change) -> Plan {
        let fallback = self.status_if_acting_fails();
        let active = self.active.len() + change.created - change.deleted;
        let terminating = self.terminating + change.deleted;
        self.status.active = pod::nonzero(number(active));
        self.status.ready = Some(number(self.ready - change.deleted_ready));
        self.status.terminating = Some(number(terminating));
        let (over, all_noted) = self.note_finished();
        self.note_indexes();
        self.note_end(terminating, all_noted && over.is_empty());
        let version = self.job.metadata.resource_version.clone();
        let old = self.job.status.clone().unwrap_or_default();
        let status = Action::status_change(JOBS.target_of(&**self.job), version.as_deref(), &old, &self.status);
        let mut plan = self.plan;
        let acted = plan.actions.len();
        // In this order: what is let go has been noted before, durably.
        plan.actions.extend(status);
        plan.actions.extend(pods::untrack(&over));
        plan.status_after_failure = Some(Box::new(move |failure| if failure.action < acted { fallback.clone() } else { None }));
        plan
    }

    /// What is true whether or not Pods could be made or deleted.
    fn status_if_acting_fails(&self) -> Option<Action> {
        let mut status = self.status.clone();
        status.active = pod::nonzero(number(self.active.len()));
        status.ready = Some(number(self.ready));
        status.terminating = Some(number(self.terminating));
        let old = self.job.status.clone().unwrap_or_default();
        Action::status_change(JOBS.target_of(&**self.job), self.job.metadata.resource_version.as_deref(), &old, &status)
    }

    /// Pods to let go; and whether these are all that are over.
    fn note_finished(&mut self) -> (Vec<Arc<Pod>>, bool) {
        let tracked: HashSet<&str> = self.pods.iter().filter(|pod| pods::is_tracked(pod)).map(|pod| pods::uid(pod)).collect();
        status::count_untracked(&mut self.status, &tracked);
        let (known_succeeded, known_failed) = (self.uncounted(false), self.uncounted(true));
        let ends_badly = self.finished.as_ref().is_some_and(|finished| finished.type_ != status::SUCCESS_CRITERIA_MET);
        let (mut succeeded, mut failed, mut indexes) = (Vec::new(), Vec::new(), 0);
        let (mut over, mut all_noted) = (Vec::new(), true);
        let noted_before = status::uncounted(&self.status);
        for pod in self.pods.iter().filter(|pod| pods::is_tracked(pod)) {
            let is_failed = pods::is_failed(pod, self.spec);
            if !self.may_let_go(pod, is_failed) {
                continue;
            }
            if noted_before + succeeded.len() + failed.len() + indexes >= UNCOUNTED_PODS_MAX {
                all_noted = false;
                break;
            }
            over.push(pod.clone());
            let uid = pods::uid(pod);
            if pods::is_succeeded(pod) && !known_failed.contains(uid) {
                match &self.indexed {
                    Some(indexed) => {
                        let is_new = |index: u32| index < self.completions() && !indexed.before.contains(index);
                        indexes += usize::from(pods::index(pod).is_some_and(is_new));
                    }
                    None if !known_succeeded.contains(uid) => succeeded.push(uid.to_string()),
                    None => {}
                }
            } else if (is_failed || ends_badly) && !known_failed.contains(uid) && self.has_valid_index(pod) && self.judge(pod) != Verdict::Ignore {
                failed.push(uid.to_string());
            }
        }
        let uncounted = self.status.uncounted_terminated_pods.get_or_insert_default();
        if !succeeded.is_empty() {
            uncounted.succeeded.get_or_insert_default().extend(succeeded);
        }
        if !failed.is_empty() {
            uncounted.failed.get_or_insert_default().extend(failed);
        }
        (over, all_noted)
    }

    fn may_let_go(&self, pod: &Pod, is_failed: bool) -> bool {
        if self.job.metadata.deletion_timestamp.is_some() || self.finished.is_some() || pods::is_succeeded(pod) {
            return true;
        }
        let is_delayed = || pods::index(pod).and_then(|index| self.delayed.get(&index)).is_some_and(|last| pods::uid(last) == pods::uid(pod));
        is_failed && !is_delayed()
    }

    fn note_indexes(&mut self) {
        let Some(indexed) = &self.indexed else { return };
        self.status.succeeded = pod::nonzero(number(indexed.succeeded.len()));
        self.status.completed_indexes = Some(indexed.succeeded.to_string()).filter(|text| !text.is_empty());
        self.status.failed_indexes = indexed.failed.as_ref().map(ToString::to_string);
    }

    fn note_end(&mut self, terminating: usize, nothing_left: bool) {
        let Some(decided) = self.finished.clone() else { return };
        let (reason, message) = (decided.reason.clone().unwrap_or_default(), decided.message.clone().unwrap_or_default());
        let end = match decided.type_.as_str() {
            status::SUCCESS_CRITERIA_MET => status::COMPLETE,
            _ => status::FAILED,
        };
        if matches!(decided.type_.as_str(), status::SUCCESS_CRITERIA_MET | status::FAILURE_TARGET)
            && status::holding(&self.status, &decided.type_).is_none()
        {
            self.status.conditions.get_or_insert_default().push(decided);
        }
        if !nothing_left || status::uncounted(&self.status) > 0 || terminating > 0 {
            return;
        }
        status::ensure(&mut self.status, status::condition(end, "True", &reason, &message, self.now));
        let about = JOBS.reference(&self.job.metadata);
        if end == status::FAILED {
            let reason = failure_reason(&reason);
            return self.plan.event(&about, EventType::Warning, reason, message);
        }
        self.status.completion_time = Some(to_time(self.now));
        if self.spec.completions.is_some_and(|completions| self.status.succeeded.unwrap_or(0) > completions) {
            self.plan.event(&about, EventType::Warning, "TooManySucceededPods", "Too many succeeded pods running after completion count reached");
        }
        self.plan.event(&about, EventType::Normal, "Completed", "Job completed");
    }
}

/// Reasons of Events are a closed list.
fn failure_reason(reason: &str) -> &'static str {
    match reason {
        "PodFailurePolicy" => "PodFailurePolicy",
        "BackoffLimitExceeded" => "BackoffLimitExceeded",
        "DeadlineExceeded" => "DeadlineExceeded",
        "MaxFailedIndexesExceeded" => "MaxFailedIndexesExceeded",
        "FailedIndexes" => "FailedIndexes",
        _ => "Failed",
    }
}
