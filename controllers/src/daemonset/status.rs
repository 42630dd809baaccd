//! What a DaemonSet says about itself.

use super::DAEMON_SETS;
use super::node::{self, Place};
use super::plan::View;
use crate::pod::{self, nonzero};
use controllers_runtime::{Action, Plan};
use k8s_openapi::api::apps::v1::DaemonSetStatus;

pub(super) fn say(view: &View, plan: &mut Plan) {
    let set = view.set;
    let old = set.status.clone().unwrap_or_default();
    let mut new = DaemonSetStatus {
        observed_generation: set.metadata.generation,
        collision_count: old.collision_count,
        conditions: old.conditions.clone(),
        ..Default::default()
    };
    let (mut updated, mut available) = (0, 0);
    for node in view.nodes {
        let first = view.pods(node).first();
        if node::place(set, node) != Place::Yes {
            new.number_misscheduled += i32::from(first.is_some());
            continue;
        }
        new.desired_number_scheduled += 1;
        let Some(first) = first else { continue };
        new.current_number_scheduled += 1;
        new.number_ready += i32::from(pod::is_ready(first));
        available += i32::from(view.is_available(first));
        updated += i32::from(view.is_updated(first));
    }
    new.updated_number_scheduled = nonzero(updated);
    new.number_available = nonzero(available);
    new.number_unavailable = nonzero(new.desired_number_scheduled - available);
    let min_ready = set.spec.min_ready_seconds.unwrap_or(0);
    let later = view.by_node.values().flatten().filter_map(|pod| pod::available_at(pod, min_ready)).filter(|at| *at > view.now);
    if let Some(at) = later.min() {
        plan.again(at);
    }
    plan.status = Action::status_change(DAEMON_SETS.target_of(set), set.metadata.resource_version.as_deref(), &old, &new);
}
