//! Which daemons to make and which to delete.

use super::node::{self, Place};
use super::status;
use super::update::{self, Update};
use super::{DAEMON_SETS, Observed, PODS, selector};
use crate::history::{self, HASH_LABEL, History, REVISIONS};
use crate::pod;
use apiserver_client::EventType;
use controllers_runtime::plan::{Announce, DeleteOptions};
use controllers_runtime::{Action, Plan, owner};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Pods that one look makes or deletes at most.
const BURST_PODS: usize = 250;
const GENERATION_ANNOTATION: &str = "deprecated.daemonset.template.generation";
const GENERATION_LABEL: &str = "pod-template-generation";

/// A DaemonSet with what it has, by node.
pub(super) struct View<'a> {
    pub set: &'a DaemonSet,
    pub nodes: &'a [Arc<Node>],
    pub by_node: BTreeMap<String, Vec<Arc<Pod>>>,
    pub hash: String,
    pub now: Timestamp,
}

impl View<'_> {
    pub fn pods(&self, node: &Node) -> &[Arc<Pod>] {
        self.by_node.get(node.metadata.name.as_deref().unwrap_or_default()).map(Vec::as_slice).unwrap_or_default()
    }

    pub fn is_available(&self, pod: &Pod) -> bool {
        pod::is_available(pod, self.set.spec.min_ready_seconds.unwrap_or(0), self.now)
    }

    pub fn is_updated(&self, pod: &Pod) -> bool {
        let label = |key: &str| pod.metadata.labels.as_ref().and_then(|labels| labels.get(key));
        let generation = generation(self.set);
        label(HASH_LABEL) == Some(&self.hash) || (generation.is_some() && label(GENERATION_LABEL) == generation)
    }
}

fn generation(set: &DaemonSet) -> Option<&String> {
    set.metadata.annotations.as_ref()?.get(GENERATION_ANNOTATION)
}

/// What one look makes and deletes.
#[derive(Default, Debug)]
pub(super) struct Changes {
    pub create_on: Vec<String>,
    pub delete: Vec<Arc<Pod>>,
}

impl Changes {
    fn is_empty(&self) -> bool {
        self.create_on.is_empty() && self.delete.is_empty()
    }
}

pub(super) fn plan(observed: &Observed, now: Timestamp) -> Plan {
    let set = &observed.set;
    let Some(selector) = selector(set) else {
        let mut plan = Plan::nothing();
        let about = DAEMON_SETS.reference(&set.metadata);
        plan.event(&about, EventType::Warning, "SelectingAll", "This daemon set is selecting all pods. A non-empty selector is required.");
        return plan;
    };
    if set.metadata.deletion_timestamp.is_some() {
        return Plan::nothing();
    }
    let revisions = owner::claim(&DAEMON_SETS, &set.metadata, &REVISIONS, &selector, observed.revisions.iter().cloned());
    let pods = owner::claim(&DAEMON_SETS, &set.metadata, &PODS, &selector, observed.pods.iter().cloned());
    let mut plan = Plan { actions: revisions.actions, ..Plan::default() };
    plan.actions.extend(pods.actions);
    let history = History::new(revisions.objects, &set.spec.template);
    let Some(hash) = present(observed, &history, &pods.objects, &mut plan) else { return plan };

    let view = View { set, nodes: &observed.nodes, by_node: by_node(&pods.objects), hash, now };
    let mut changes = manage(&view, observed, &mut plan);
    if changes.is_empty() && update::strategy(set) == Update::Rolling {
        changes = update::step(&view);
    }
    plan.actions.extend(carry_out(&view, changes));
    let live = |hash: &str| {
        pods.objects.iter().any(|pod| pod.metadata.labels.as_ref().and_then(|labels| labels.get(HASH_LABEL)).is_some_and(|label| label == hash))
    };
    plan.actions.extend(history.clean_up(set.spec.revision_history_limit.unwrap_or(10), &live));
    status::say(&view, &mut plan);
    plan
}

/// The hash of the present template, whose revision is made where it is missing. None where its name is taken: the collision is counted.
fn present(observed: &Observed, history: &History, pods: &[Arc<Pod>], plan: &mut Plan) -> Option<String> {
    let set = &observed.set;
    let old_status = set.status.clone().unwrap_or_default();
    if let Some(current) = &history.current {
        let hash = history::hash_of(current).to_string();
        plan.actions.extend(history.renumber());
        // Pods of a duplicate run the same template: they are told apart no longer.
        for duplicate in &history.duplicates {
            let of_it = |pod: &&Arc<Pod>| {
                pod.metadata.labels.as_ref().and_then(|labels| labels.get(HASH_LABEL)).is_some_and(|label| label == history::hash_of(duplicate))
            };
            let relabel = |pod: &Arc<Pod>| Action::merge(PODS.target_of(&**pod), json!({"metadata": {"labels": {HASH_LABEL: hash}}}));
            plan.actions.extend(pods.iter().filter(of_it).map(relabel));
            plan.actions.push(Action::delete(REVISIONS.target_of(&**duplicate)));
        }
        return Some(hash);
    }
    if observed.namesake.is_some() {
        let mut status = old_status.clone();
        status.collision_count = Some(status.collision_count.unwrap_or(0).saturating_add(1));
        plan.status = Action::status_change(DAEMON_SETS.target_of(&**set), set.metadata.resource_version.as_deref(), &old_status, &status);
        return None;
    }
    let collisions = old_status.collision_count;
    plan.actions.push(history::create(&DAEMON_SETS, &set.metadata, &set.spec.template, collisions, history.next_revision()));
    Some(history::new_name(&set.metadata, &set.spec.template, collisions).0)
}

fn by_node(pods: &[Arc<Pod>]) -> BTreeMap<String, Vec<Arc<Pod>>> {
    let mut by_node: BTreeMap<String, Vec<Arc<Pod>>> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| !(pod::is_terminal(pod) && pod.metadata.deletion_timestamp.is_some())) {
        if let Some(node) = node::of_pod(pod) {
            by_node.entry(node.to_string()).or_default().push(pod.clone());
        }
    }
    for pods in by_node.values_mut() {
        // Those on the node before those still on their way, the oldest first.
        pods.sort_by_key(|pod| (pod::node_name(pod).is_empty(), pod.metadata.creation_timestamp.clone(), pod.metadata.name.clone()));
    }
    by_node
}

fn manage(view: &View, observed: &Observed, plan: &mut Plan) -> Changes {
    let mut changes = Changes::default();
    for node in view.nodes {
        let place = node::place(view.set, node);
        let (name, pods) = (node.metadata.name.clone().unwrap_or_default(), view.pods(node));
        match place {
            Place::Yes if pods.is_empty() => changes.create_on.push(name),
            Place::No => changes.delete.extend(pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).cloned()),
            Place::Yes | Place::Stay => {
                let running = replace_finished(view, observed, &name, pods, &mut changes, plan);
                keep_one(view, place, name, running, &mut changes);
            }
        }
    }
    // Meant for a node that is gone before it got there.
    let known: Vec<&str> = view.nodes.iter().filter_map(|node| node.metadata.name.as_deref()).collect();
    let lost = view.by_node.iter().filter(|(node, _)| !known.contains(&node.as_str())).flat_map(|(_, pods)| pods);
    changes.delete.extend(lost.filter(|pod| pod::node_name(pod).is_empty() && pod.metadata.deletion_timestamp.is_none()).cloned());
    changes
}

/// Deletes Pods that have ended, failed ones no faster than their backoff allows; gives the others.
fn replace_finished(view: &View, observed: &Observed, node: &str, pods: &[Arc<Pod>], changes: &mut Changes, plan: &mut Plan) -> Vec<Arc<Pod>> {
    let about = DAEMON_SETS.reference(&view.set.metadata);
    let mut running = Vec::new();
    for pod in pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
        let name = || format!("{}/{}", pod.metadata.namespace.as_deref().unwrap_or_default(), pod.metadata.name.as_deref().unwrap_or_default());
        match pod::phase(pod) {
            "Failed" => match observed.backing_off.get(node) {
                Some(until) => plan.again(*until),
                None => {
                    plan.event(
                        &about,
                        EventType::Warning,
                        "FailedDaemonPod",
                        format!("Found failed daemon pod {} on node {node}, will try to kill it", name()),
                    );
                    changes.delete.push(pod.clone());
                }
            },
            "Succeeded" => {
                plan.event(
                    &about,
                    EventType::Normal,
                    "SucceededDaemonPod",
                    format!("Found succeeded daemon pod {} on node {node}, will try to delete it", name()),
                );
                changes.delete.push(pod.clone());
            }
            _ => running.push(pod.clone()),
        }
    }
    running
}

/// One Pod a node; two while a surge replaces the old by the new.
fn keep_one(view: &View, place: Place, node: String, running: Vec<Arc<Pod>>, changes: &mut Changes) {
    if !update::allows_surge(view.set) {
        changes.delete.extend(running.into_iter().skip(1));
        return;
    }
    if running.is_empty() && place == Place::Yes {
        changes.create_on.push(node);
        return;
    }
    let (mut new, mut old) = (None, None);
    for pod in running {
        let slot = if view.is_updated(&pod) { &mut new } else { &mut old };
        if slot.is_none() {
            *slot = Some(pod);
        } else {
            changes.delete.push(pod);
        }
    }
    if let (Some(new), Some(old)) = (new, old)
        && (!pod::is_ready(&old) || view.is_available(&new))
    {
        changes.delete.push(old);
    }
}

fn carry_out(view: &View, changes: Changes) -> Vec<Action> {
    let about = DAEMON_SETS.reference(&view.set.metadata);
    let creates: Vec<Action> = changes.create_on.iter().take(BURST_PODS).map(|node| create(view, node)).collect();
    let delete = |pod: &Arc<Pod>| Action::Delete {
        target: PODS.target_of(&**pod),
        options: DeleteOptions { grace_seconds: None, propagation: None, resource_version: None },
        announce: Some(Announce {
            about: about.clone(),
            success: Some(("SuccessfulDelete", "Deleted pod: ".into())),
            failure: ("FailedDelete", "Error deleting: ".into()),
        }),
    };
    let deletes: Vec<Action> = changes.delete.iter().take(BURST_PODS).map(delete).collect();
    let creates = (!creates.is_empty()).then_some(Action::SlowStart(creates));
    creates.into_iter().chain((!deletes.is_empty()).then_some(Action::All(deletes))).collect()
}

pub(super) fn create(view: &View, node: &str) -> Action {
    let mut template = view.set.spec.template.clone();
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(HASH_LABEL.into(), view.hash.clone());
    if let Some(generation) = generation(view.set) {
        labels.insert(GENERATION_LABEL.into(), generation.clone());
    }
    template.spec = template.spec.as_ref().map(|spec| node::bind(spec, node));
    let announce = Announce {
        about: DAEMON_SETS.reference(&view.set.metadata),
        success: Some(("SuccessfulCreate", "Created pod: ".into())),
        failure: ("FailedCreate", "Error creating: ".into()),
    };
    let namespace = view.set.metadata.namespace.clone().unwrap_or_default();
    let object = pod::from_template(&DAEMON_SETS, &view.set.metadata, &template);
    Action::Create { kind: PODS, namespace, object, exists_ok: false, announce: Some(announce) }
}
