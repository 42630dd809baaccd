//! What to do with a Deployment now.

use super::rollout::Rollout;
use super::{DEPLOYMENTS, Observed, REPLICA_SETS, selector, status};
use apiserver_client::EventType;
use controllers_runtime::{Action, Plan, owner};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use std::sync::Arc;

pub(super) fn is_recreate(deployment: &Deployment) -> bool {
    deployment.spec.strategy.as_ref().is_some_and(|strategy| strategy.type_.as_deref() == Some("Recreate"))
}

pub(super) fn plan(observed: &Observed, now: Timestamp) -> Plan {
    let deployment = &observed.deployment;
    let Some(selector) = selector(deployment) else { return Plan::nothing() };
    if selector.is_empty() {
        return selects_all(deployment);
    }
    let claimed = owner::claim(&DEPLOYMENTS, &deployment.metadata, &REPLICA_SETS, &selector, observed.sets.iter().cloned());
    let plan = Plan { actions: claimed.actions, ..Plan::default() };
    let paused = deployment.spec.paused.unwrap_or(false);
    let mut rollout = Rollout::new(deployment.clone(), claimed.objects, plan, now);
    if deployment.metadata.deletion_timestamp.is_some() {
        return counted(rollout);
    }
    rollout.note_pause(paused);
    rollout.sync_revision();
    if paused || rollout.is_scaling_event() {
        rollout.scale_all();
        if paused {
            rollout.clean_up();
        }
        return counted(rollout);
    }
    let namesake = observed.namesake.as_deref();
    if is_recreate(deployment) {
        rollout.recreate(&observed.pods, namesake);
    } else if rollout.new.is_some() || rollout.create_new(namesake) {
        rollout.roll();
    }
    let new = rollout.new.as_ref().map(|new| &new.set);
    let new_status = status::during_rollout(&rollout.deployment, new, &rollout.all(), now);
    let check_again = status::check_again_at(deployment, &new_status);
    let mut plan = rollout.finish(new_status);
    if let Some(at) = check_again {
        plan.again(at);
    }
    plan
}

/// Counts only: progress is not judged while a Deployment is paused, scaled or deleted.
fn counted(rollout: Rollout) -> Plan {
    let new = rollout.new.as_ref().map(|new| &new.set);
    let status = status::counted(&rollout.deployment, new, &rollout.all(), rollout.now);
    rollout.finish(status)
}

fn selects_all(deployment: &Arc<Deployment>) -> Plan {
    let mut plan = Plan::nothing();
    let about = DEPLOYMENTS.reference(&deployment.metadata);
    plan.event(&about, EventType::Warning, "SelectingAll", "This deployment is selecting all pods. A non-empty selector is required.");
    let old = deployment.status.clone().unwrap_or_default();
    let mut new = old.clone();
    new.observed_generation = deployment.metadata.generation;
    plan.status = Action::status_change(DEPLOYMENTS.target_of(&**deployment), deployment.metadata.resource_version.as_deref(), &old, &new);
    plan
}
