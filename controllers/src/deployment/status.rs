//! What a Deployment says about itself.

use super::size;
use crate::pod::nonzero;
use apiserver_client::time::{from_time, to_time};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};

pub(super) const AVAILABLE: &str = "Available";
pub(super) const PROGRESSING: &str = "Progressing";
pub(super) const REPLICA_FAILURE: &str = "ReplicaFailure";
pub(super) const TIMED_OUT: &str = "ProgressDeadlineExceeded";
pub(super) const NEW_SET_AVAILABLE: &str = "NewReplicaSetAvailable";

/// None where no deadline was asked for.
pub(super) fn progress_deadline(deployment: &Deployment) -> Option<SignedDuration> {
    let seconds = deployment.spec.progress_deadline_seconds.filter(|seconds| *seconds != i32::MAX)?;
    Some(SignedDuration::from_secs(seconds.into()))
}

pub(super) fn condition<'a>(status: &'a DeploymentStatus, kind: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_.as_deref() == Some(kind))
}

pub(super) fn reason_of<'a>(status: &'a DeploymentStatus, kind: &str) -> Option<&'a str> {
    condition(status, kind)?.reason.as_deref()
}

pub(super) fn new_condition(kind: &str, status: &str, reason: &str, message: impl Into<String>, now: Timestamp) -> DeploymentCondition {
    DeploymentCondition {
        type_: Some(kind.into()),
        status: Some(status.into()),
        reason: Some(reason.into()),
        message: Some(message.into()),
        last_update_time: Some(to_time(now)),
        last_transition_time: Some(to_time(now)),
    }
}

/// Same status and reason: nothing changes. Same status: the transition time stays.
pub(super) fn set_condition(status: &mut DeploymentStatus, mut condition: DeploymentCondition) {
    let conditions = status.conditions.get_or_insert_default();
    if let Some(old) = conditions.iter().find(|old| old.type_ == condition.type_)
        && old.status == condition.status
    {
        if old.reason == condition.reason {
            return;
        }
        condition.last_transition_time.clone_from(&old.last_transition_time);
    }
    conditions.retain(|old| old.type_ != condition.type_);
    conditions.push(condition);
}

pub(super) fn remove_condition(status: &mut DeploymentStatus, kind: &str) {
    if let Some(conditions) = &mut status.conditions {
        conditions.retain(|condition| condition.type_.as_deref() != Some(kind));
        if conditions.is_empty() {
            status.conditions = None;
        }
    }
}

/// Counts and availability, with the conditions that `deployment` has.
pub(super) fn counted(deployment: &Deployment, new: Option<&ReplicaSet>, all: &[&ReplicaSet], now: Timestamp) -> DeploymentStatus {
    let status_of = |set: &ReplicaSet| set.status.clone().unwrap_or_default();
    let actual = |set: &ReplicaSet| status_of(set).replicas;
    let available: i32 = all.iter().map(|set| size::available(set)).sum();
    let total: i32 = all.iter().map(|set| size::replicas(set)).sum();
    let old = deployment.status.clone().unwrap_or_default();
    let mut status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: nonzero(all.iter().map(|set| actual(set)).sum()),
        updated_replicas: nonzero(new.map_or(0, actual)),
        ready_replicas: nonzero(all.iter().map(|set| status_of(set).ready_replicas.unwrap_or(0)).sum()),
        available_replicas: nonzero(available),
        unavailable_replicas: nonzero((total - available).max(0)),
        terminating_replicas: terminating(all),
        collision_count: old.collision_count,
        conditions: old.conditions,
    };
    let enough = available >= size::wanted(deployment) - size::max_unavailable(deployment);
    set_condition(
        &mut status,
        if enough {
            new_condition(AVAILABLE, "True", "MinimumReplicasAvailable", "Deployment has minimum availability.", now)
        } else {
            new_condition(AVAILABLE, "False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.", now)
        },
    );
    status
}

/// None where one of the sets does not say.
fn terminating(all: &[&ReplicaSet]) -> Option<i32> {
    let mut sum = 0;
    for status in all.iter().map(|set| set.status.clone().unwrap_or_default()) {
        match status.terminating_replicas {
            Some(count) => sum += count,
            // Its controller has not looked at it yet.
            None if status.observed_generation.unwrap_or(0) == 0 => {}
            None => return None,
        }
    }
    Some(sum)
}

pub(super) fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = size::wanted(deployment);
    status.updated_replicas.unwrap_or(0) == wanted
        && status.replicas.unwrap_or(0) == wanted
        && status.available_replicas.unwrap_or(0) == wanted
        && status.observed_generation >= deployment.metadata.generation
}

/// Whether `new` shows more updated, fewer old, or more ready or available Pods than `old`.
fn progressed(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let number = |field: Option<i32>| field.unwrap_or(0);
    let outdated = |status: &DeploymentStatus| number(status.replicas) - number(status.updated_replicas);
    number(new.updated_replicas) > number(old.updated_replicas)
        || outdated(new) < outdated(old)
        || number(new.ready_replicas) > number(old.ready_replicas)
        || number(new.available_replicas) > number(old.available_replicas)
}

fn has_timed_out(deployment: &Deployment, status: &DeploymentStatus, now: Timestamp) -> bool {
    let (Some(deadline), Some(condition)) = (progress_deadline(deployment), condition(status, PROGRESSING)) else { return false };
    match condition.reason.as_deref() {
        Some(NEW_SET_AVAILABLE) => false,
        Some(TIMED_OUT) => true,
        _ => condition.last_update_time.as_ref().is_some_and(|since| from_time(since).checked_add(deadline).is_ok_and(|end| end < now)),
    }
}

/// The status during a rollout: counted, and judged for progress.
///
/// `deployment` is as the plan has changed it so far.
pub(super) fn during_rollout(deployment: &Deployment, new: Option<&ReplicaSet>, all: &[&ReplicaSet], now: Timestamp) -> DeploymentStatus {
    let mut status = counted(deployment, new, all, now);
    let before = deployment.status.clone().unwrap_or_default();
    let about = |what: &str| match new {
        Some(set) => format!("ReplicaSet {:?} {what}", set.metadata.name.as_deref().unwrap_or_default()),
        None => format!("Deployment {:?} {what}", deployment.metadata.name.as_deref().unwrap_or_default()),
    };
    if progress_deadline(deployment).is_none() {
        remove_condition(&mut status, PROGRESSING);
    } else {
        let settled = status.replicas == status.updated_replicas && reason_of(&before, PROGRESSING) == Some(NEW_SET_AVAILABLE);
        if !settled {
            judge(deployment, &before, &mut status, about, now);
        }
    }
    match failure_of(new, all) {
        Some(failure) => set_condition(&mut status, failure),
        None => remove_condition(&mut status, REPLICA_FAILURE),
    }
    status
}

fn judge(deployment: &Deployment, before: &DeploymentStatus, status: &mut DeploymentStatus, about: impl Fn(&str) -> String, now: Timestamp) {
    if is_complete(deployment, status) {
        set_condition(status, new_condition(PROGRESSING, "True", NEW_SET_AVAILABLE, about("has successfully progressed."), now));
    } else if progressed(before, status) {
        let mut condition = new_condition(PROGRESSING, "True", "ReplicaSetUpdated", about("is progressing."), now);
        if let Some(current) = self::condition(before, PROGRESSING).filter(|current| current.status.as_deref() == Some("True")) {
            condition.last_transition_time.clone_from(&current.last_transition_time);
        }
        // Removed first, so that the time of the last update moves even where the reason stays.
        remove_condition(status, PROGRESSING);
        set_condition(status, condition);
    } else if has_timed_out(deployment, status, now) {
        set_condition(status, new_condition(PROGRESSING, "False", TIMED_OUT, about("has timed out progressing."), now));
    }
}

/// The new set's failure before that of another.
fn failure_of(new: Option<&ReplicaSet>, all: &[&ReplicaSet]) -> Option<DeploymentCondition> {
    let failing = |set: &ReplicaSet| {
        set.status.as_ref()?.conditions.iter().flatten().find(|condition| condition.type_.as_deref() == Some(REPLICA_FAILURE)).cloned()
    };
    let condition = new.and_then(failing).or_else(|| all.iter().find_map(|set| failing(set)))?;
    Some(DeploymentCondition {
        type_: condition.type_,
        status: condition.status,
        reason: condition.reason,
        message: condition.message,
        last_update_time: condition.last_transition_time.clone(),
        last_transition_time: condition.last_transition_time,
    })
}

/// When an unfinished rollout has to be judged again although nothing happens.
pub(super) fn check_again_at(deployment: &Deployment, status: &DeploymentStatus) -> Option<Timestamp> {
    let deadline = progress_deadline(deployment)?;
    let condition = condition(status, PROGRESSING)?;
    if is_complete(deployment, status) || condition.reason.as_deref() == Some(TIMED_OUT) {
        return None;
    }
    let end = from_time(condition.last_update_time.as_ref()?).checked_add(deadline).ok()?;
    end.checked_add(SignedDuration::from_secs(1)).ok()
}
