//! Conditions of a Job, and what its status says about Pods that were not counted yet.

use apiserver_client::time::to_time;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobStatus};
use std::collections::HashSet;

pub(super) const COMPLETE: &str = "Complete";
pub(super) const FAILED: &str = "Failed";
pub(super) const FAILURE_TARGET: &str = "FailureTarget";
pub(super) const SUCCESS_CRITERIA_MET: &str = "SuccessCriteriaMet";
pub(super) const SUSPENDED: &str = "Suspended";

pub(crate) fn is_finished(job: &Job) -> bool {
    let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| matches!(condition.type_.as_str(), COMPLETE | FAILED) && condition.status == "True")
}

pub(super) fn holding<'a>(status: &'a JobStatus, kind: &str) -> Option<&'a JobCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == kind && condition.status == "True")
}

pub(super) fn condition(kind: &str, status: &str, reason: &str, message: &str, now: Timestamp) -> JobCondition {
    JobCondition {
        type_: kind.into(),
        status: status.into(),
        reason: Some(reason.into()),
        message: Some(message.into()),
        last_probe_time: Some(to_time(now)),
        last_transition_time: Some(to_time(now)),
    }
}

/// Whether that changed anything. A condition that was never true is not added to say that it is false.
pub(super) fn ensure(status: &mut JobStatus, wanted: JobCondition) -> bool {
    let conditions = status.conditions.get_or_insert_default();
    let changed = match conditions.iter_mut().find(|condition| condition.type_ == wanted.type_) {
        Some(old) if old.status == wanted.status && old.reason == wanted.reason && old.message == wanted.message => false,
        Some(old) => {
            *old = wanted;
            true
        }
        None if wanted.status == "False" => false,
        None => {
            conditions.push(wanted);
            true
        }
    };
    if conditions.is_empty() {
        status.conditions = None;
    }
    changed
}

/// Counts the Pods in the status that are no longer tracked.
pub(super) fn count_untracked(status: &mut JobStatus, tracked: &HashSet<&str>) {
    let uncounted = status.uncounted_terminated_pods.get_or_insert_default();
    let settle = |list: &mut Option<Vec<String>>, count: &mut Option<i32>| {
        let before = list.as_ref().map_or(0, Vec::len);
        if let Some(list) = list {
            list.retain(|uid| tracked.contains(uid.as_str()));
        }
        let counted = before - list.as_ref().map_or(0, Vec::len);
        if counted > 0 {
            *count = Some(count.unwrap_or(0).saturating_add(i32::try_from(counted).unwrap_or(i32::MAX)));
        }
        if list.as_ref().is_some_and(Vec::is_empty) {
            *list = None;
        }
    };
    settle(&mut uncounted.succeeded, &mut status.succeeded);
    settle(&mut uncounted.failed, &mut status.failed);
}

pub(super) fn uncounted(status: &JobStatus) -> usize {
    let len = |list: &Option<Vec<String>>| list.as_ref().map_or(0, Vec::len);
    status.uncounted_terminated_pods.as_ref().map_or(0, |uncounted| len(&uncounted.succeeded) + len(&uncounted.failed))
}
