//! How many Pods to make or delete, and what to say about it in the status.

use super::kinds::Owner;
use super::{Observed, rank};
use crate::pod;
use apiserver_client::time::to_time;
use controllers_runtime::plan::{Announce, DeleteOptions, Failure, merge_patch};
use controllers_runtime::{Action, Kind, Plan, Selector, owner};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use std::sync::Arc;

/// Pods that one look makes or deletes at most.
const BURST_PODS: usize = 500;
pub(super) const PODS: Kind = Kind::of::<Pod>();

pub(super) fn plan<O: Owner>(observed: &Observed<O>, now: Timestamp) -> Plan {
    let set = &observed.set;
    let Some(selector) = set.selector() else { return Plan::nothing() };
    let active = observed.pods.iter().filter(|pod| pod::is_active(pod)).cloned();
    let claimed = owner::claim(&O::OWNER, set.meta(), &PODS, &selector, active);
    let mine = claimed.objects;
    let uid = set.meta().uid.as_deref().unwrap_or_default();
    let terminating = O::counts_terminating().then(|| {
        let leaving = |pod: &&Arc<Pod>| {
            pod::is_terminating(pod) && owner::is_controlled_by(&pod.metadata, uid) && selector.matches(pod.metadata.labels.as_ref())
        };
        observed.pods.iter().filter(leaving).count()
    });

    let mut plan = Plan { actions: claimed.actions, ..Plan::default() };
    if set.meta().deletion_timestamp.is_none() {
        plan.actions.extend(manage(&**set, &mine, &observed.related, now));
    }
    let (owner, counted) = (set.clone(), mine.clone());
    let status = move |failure: Option<&Failure>| {
        let old = owner.status();
        let new = status_of(&*owner, &old, &counted, terminating, failure, now);
        let patch = merge_patch(&O::status_json(&old), &O::status_json(&new))?;
        Some(Action::status(O::OWNER.target_of(&*owner), owner.meta().resource_version.as_deref(), patch))
    };
    plan.status = status(None);
    plan.status_after_failure = Some(Box::new(move |failure| status(Some(failure))));
    let min_ready = set.min_ready_seconds();
    if let Some(at) = mine.iter().filter_map(|pod| pod::available_at(pod, min_ready)).filter(|at| *at > now).min() {
        plan.again(at);
    }
    plan
}

fn manage<O: Owner>(set: &O, mine: &[Arc<Pod>], related: &[Arc<Pod>], now: Timestamp) -> Option<Action> {
    let wanted = usize::try_from(set.replicas()).unwrap_or(0);
    let about = O::OWNER.reference(set.meta());
    if mine.len() < wanted {
        let pod = pod::from_template(&O::OWNER, set.meta(), set.template()?);
        let announce =
            Announce { about, success: Some(("SuccessfulCreate", "Created pod: ".into())), failure: ("FailedCreate", "Error creating: ".into()) };
        let namespace = set.meta().namespace.clone().unwrap_or_default();
        let create = Action::Create { kind: PODS, namespace, object: pod, exists_ok: false, announce: Some(announce) };
        return Some(Action::SlowStart(vec![create; (wanted - mine.len()).min(BURST_PODS)]));
    }
    if mine.len() == wanted {
        return None;
    }
    let delete = |pod: &Arc<Pod>| Action::Delete {
        target: PODS.target_of(&**pod),
        options: DeleteOptions { grace_seconds: None, propagation: None, resource_version: None },
        announce: Some(Announce {
            about: about.clone(),
            success: Some(("SuccessfulDelete", "Deleted pod: ".into())),
            failure: ("FailedDelete", "Error deleting: ".into()),
        }),
    };
    let surplus = (mine.len() - wanted).min(BURST_PODS);
    Some(Action::All(rank::first_to_delete(mine, related, now).iter().take(surplus).map(delete).collect()))
}

fn status_of<O: Owner>(
    set: &O,
    old: &ReplicaSetStatus,
    mine: &[Arc<Pod>],
    terminating: Option<usize>,
    failure: Option<&Failure>,
    now: Timestamp,
) -> ReplicaSetStatus {
    let count = |which: &dyn Fn(&Pod) -> bool| i32::try_from(mine.iter().filter(|pod| which(pod)).count()).unwrap_or(i32::MAX);
    let template_labels = set.template().and_then(|template| template.metadata.as_ref()?.labels.as_ref());
    let full = Selector::from_map(template_labels.into_iter().flatten());
    let mut conditions: Vec<ReplicaSetCondition> = old.conditions.clone().unwrap_or_default();
    let failing = conditions.iter().any(|condition| condition.type_.as_deref() == Some("ReplicaFailure"));
    match failure {
        Some(failure) if !failing => conditions.push(ReplicaSetCondition {
            type_: Some("ReplicaFailure".into()),
            status: Some("True".into()),
            reason: Some(if mine.len() < usize::try_from(set.replicas()).unwrap_or(0) { "FailedCreate" } else { "FailedDelete" }.into()),
            message: Some(failure.message.clone()),
            last_transition_time: Some(to_time(now)),
        }),
        Some(_) => {}
        None => conditions.retain(|condition| condition.type_.as_deref() != Some("ReplicaFailure")),
    }
    ReplicaSetStatus {
        replicas: count(&|_| true),
        fully_labeled_replicas: pod::nonzero(count(&|pod| full.matches(pod.metadata.labels.as_ref()))),
        ready_replicas: pod::nonzero(count(&pod::is_ready)),
        available_replicas: pod::nonzero(count(&|pod| pod::is_available(pod, set.min_ready_seconds(), now))),
        terminating_replicas: terminating.map(|count| i32::try_from(count).unwrap_or(i32::MAX)),
        observed_generation: set.meta().generation,
        conditions: Some(conditions).filter(|conditions| !conditions.is_empty()),
    }
}
