//! One look at a Deployment, as a working copy: ReplicaSets are changed in memory, and what differs at the end is the plan.

use super::revision::{self, Annotations, HASH_LABEL, REVISION};
use super::status::{self, PROGRESSING};
use super::{DEPLOYMENTS, REPLICA_SETS, size};
use apiserver_client::EventType;
use controllers_runtime::plan::{Announce, merge_patch};
use controllers_runtime::{Action, Plan, owner};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use std::cmp::Reverse;
use std::sync::Arc;

pub(super) struct Rollout {
    pub deployment: Deployment,
    /// As the server has it.
    original: Arc<Deployment>,
    pub new: Option<Working>,
    /// By age, oldest first.
    pub old: Vec<Working>,
    pub plan: Plan,
    pub now: Timestamp,
}

/// A ReplicaSet as it is to be, and as it is.
pub(super) struct Working {
    pub set: ReplicaSet,
    original: Option<Arc<ReplicaSet>>,
}

impl Working {
    fn of(set: Arc<ReplicaSet>) -> Self {
        Self { set: (*set).clone(), original: Some(set) }
    }

    fn annotations(&mut self) -> &mut Annotations {
        self.set.metadata.annotations.get_or_insert_default()
    }
}

impl Rollout {
    /// `sets` are the Deployment's own.
    pub fn new(deployment: Arc<Deployment>, mut sets: Vec<Arc<ReplicaSet>>, plan: Plan, now: Timestamp) -> Self {
        sets.sort_by(|a, b| (&a.metadata.creation_timestamp, &a.metadata.name).cmp(&(&b.metadata.creation_timestamp, &b.metadata.name)));
        let position = sets.iter().position(|set| revision::is_of_template(set, &deployment));
        let new = position.map(|position| Working::of(sets.remove(position)));
        let old = sets.into_iter().map(Working::of).collect();
        Self { deployment: (*deployment).clone(), original: deployment, new, old, plan, now }
    }

    pub fn all(&self) -> Vec<&ReplicaSet> {
        self.old.iter().chain(&self.new).map(|working| &working.set).collect()
    }

    fn status(&mut self) -> &mut DeploymentStatus {
        self.deployment.status.get_or_insert_default()
    }

    fn set_progressing(&mut self, state: &str, reason: &str, message: String) {
        let condition = status::new_condition(PROGRESSING, state, reason, message, self.now);
        status::set_condition(self.status(), condition);
    }

    /// A pause is no lack of progress: it is noted, and so is its end.
    pub fn note_pause(&mut self, paused: bool) {
        if status::progress_deadline(&self.deployment).is_none() {
            return;
        }
        let reason = status::reason_of(self.status(), PROGRESSING).map(str::to_string);
        match reason.as_deref() {
            Some(status::TIMED_OUT) => {}
            Some("DeploymentPaused") if !paused => self.set_progressing("Unknown", "DeploymentResumed", "Deployment is resumed".into()),
            Some("DeploymentPaused") => {}
            _ if paused => self.set_progressing("Unknown", "DeploymentPaused", "Deployment is paused".into()),
            _ => {}
        }
    }

    fn next_revision(&self) -> i64 {
        revision::max_revision(self.old.iter().map(|working| &working.set)) + 1
    }

    /// Brings the current ReplicaSet's annotations and the Deployment's revision up to date.
    pub fn sync_revision(&mut self) {
        let (next, min_ready) = (self.next_revision(), self.deployment.spec.min_ready_seconds);
        let Some(new) = &mut self.new else { return };
        let wanted = revision::annotations(&self.deployment, new.set.metadata.annotations.as_ref().unwrap_or(&Annotations::new()), next);
        *new.annotations() = wanted;
        new.set.spec.min_ready_seconds = min_ready;
        let name = new.set.metadata.name.clone().unwrap_or_default();
        if let Some(revision) = new.annotations().get(REVISION).cloned() {
            self.deployment.metadata.annotations.get_or_insert_default().insert(REVISION.into(), revision);
        }
        if status::progress_deadline(&self.deployment).is_some() && status::condition(self.status(), PROGRESSING).is_none() {
            self.set_progressing("True", "FoundNewReplicaSet", format!("Found new replica set {name:?}"));
        }
    }

    /// Plans the ReplicaSet for the present template. False where its name is taken by another: then the collision is counted, and the next look
    /// finds another name.
    pub fn create_new(&mut self, namesake: Option<&ReplicaSet>) -> bool {
        if namesake.is_some() {
            let status = self.status();
            status.collision_count = Some(status.collision_count.unwrap_or(0).saturating_add(1));
            return false;
        }
        let (deployment, hash) = (&self.deployment, revision::template_hash(&self.deployment));
        let spec = deployment.spec.clone();
        let (mut template, mut selector) = (spec.template, spec.selector);
        template.metadata.get_or_insert_default().labels.get_or_insert_default().insert(HASH_LABEL.into(), hash.clone());
        selector.match_labels.get_or_insert_default().insert(HASH_LABEL.into(), hash);
        let total = self.all().iter().map(|set| size::replicas(set)).sum();
        let replicas = size::for_new(deployment, total, 0);
        let mut annotations = revision::annotations(deployment, &Annotations::new(), self.next_revision());
        annotations.extend(self.size_annotations());
        let set = ReplicaSet {
            metadata: kube::core::ObjectMeta {
                name: Some(revision::set_name(deployment)),
                namespace: deployment.metadata.namespace.clone(),
                owner_references: Some(vec![owner::reference(&DEPLOYMENTS, &deployment.metadata)]),
                labels: template.metadata.as_ref().and_then(|meta| meta.labels.clone()),
                annotations: Some(annotations),
                ..Default::default()
            },
            spec: ReplicaSetSpec { replicas: Some(replicas), min_ready_seconds: spec.min_ready_seconds, selector, template: Some(template) },
            status: None,
        };
        let name = set.metadata.name.clone().unwrap_or_default();
        if replicas > 0 {
            self.say(format!("Scaled up replica set {name} from 0 to {replicas}"));
        }
        let revision = self.next_revision().to_string();
        self.deployment.metadata.annotations.get_or_insert_default().insert(REVISION.into(), revision);
        if status::progress_deadline(&self.deployment).is_some() {
            self.set_progressing("True", "NewReplicaSetCreated", format!("Created new replica set {name:?}"));
        }
        self.new = Some(Working { set, original: None });
        true
    }

    fn size_annotations(&self) -> [(String, String); 2] {
        let wanted = size::wanted(&self.deployment);
        let max = wanted + size::max_surge(&self.deployment);
        [(size::DESIRED.into(), wanted.to_string()), (size::MAX.into(), max.to_string())]
    }

    fn say(&mut self, message: String) {
        let about = DEPLOYMENTS.reference(&self.original.metadata);
        self.plan.event(&about, EventType::Normal, "ScalingReplicaSet", message);
    }

    /// Gives the set another size. Where it has it already nothing happens, unless `annotate`: then its annotations are brought up to date.
    fn scale(&mut self, which: Which, size: i32, annotate: bool) -> bool {
        let annotations = self.size_annotations();
        let Some(working) = (match which {
            Which::New => self.new.as_mut(),
            Which::Old(position) => self.old.get_mut(position),
        }) else {
            return false;
        };
        let before = size::replicas(&working.set);
        if before == size && !annotate {
            return false;
        }
        working.annotations().extend(annotations);
        if before == size {
            return false;
        }
        working.set.spec.replicas = Some(size);
        let name = working.set.metadata.name.clone().unwrap_or_default();
        let direction = if before < size { "up" } else { "down" };
        self.say(format!("Scaled {direction} replica set {name} from {before} to {size}"));
        true
    }

    /// Whether the size that was last rolled out for differs from the one wanted now.
    pub fn is_scaling_event(&self) -> bool {
        let wanted = size::wanted(&self.deployment);
        self.all()
            .iter()
            .filter(|set| size::replicas(set) > 0)
            .any(|set| size::annotated(set, size::DESIRED).is_some_and(|desired| desired != wanted))
    }

    /// Scales outside of a rollout step: the one active set, or all in proportion.
    pub fn scale_all(&mut self) {
        let wanted = size::wanted(&self.deployment);
        let active = self.active();
        let only = match active.as_slice() {
            [] if self.new.is_some() => Some(Which::New),
            [] if !self.old.is_empty() => Some(Which::Old(self.old.len() - 1)),
            [] => return,
            [one] => Some(*one),
            _ => None,
        };
        if let Some(only) = only {
            self.scale(only, wanted, false);
            return;
        }
        if self.new.as_ref().is_some_and(|new| is_saturated(&self.deployment, &new.set)) {
            for which in active.into_iter().filter(|which| *which != Which::New) {
                self.scale(which, 0, false);
            }
            return;
        }
        if size::is_rolling(&self.deployment) {
            self.scale_in_proportion(active);
        }
    }

    fn scale_in_proportion(&mut self, mut active: Vec<Which>) {
        let wanted = size::wanted(&self.deployment);
        let allowed = if wanted > 0 { wanted + size::max_surge(&self.deployment) } else { 0 };
        let total: i32 = active.iter().filter_map(|which| self.get(*which)).map(size::replicas).sum();
        let to_add = allowed - total;
        // Larger sets first; of equals the newer first to grow, the older first to shrink.
        let age = |which: &Which| match which {
            Which::New => usize::MAX,
            Which::Old(position) => *position,
        };
        let size_of = |which: &Which| self.get(*which).map_or(0, size::replicas);
        if to_add > 0 {
            active.sort_by_key(|which| Reverse((size_of(which), age(which))));
        } else if to_add < 0 {
            active.sort_by_key(|which| (Reverse(size_of(which)), age(which)));
        }
        let sets: Vec<&ReplicaSet> = active.iter().filter_map(|which| self.get(*which)).collect();
        let sizes = size::proportional(&self.deployment, &sets, to_add);
        for (which, size) in active.into_iter().zip(sizes) {
            self.scale(which, size, true);
        }
    }

    fn get(&self, which: Which) -> Option<&ReplicaSet> {
        match which {
            Which::New => self.new.as_ref(),
            Which::Old(position) => self.old.get(position),
        }
        .map(|working| &working.set)
    }

    fn active(&self) -> Vec<Which> {
        let old = (0..self.old.len()).map(Which::Old);
        old.chain(self.new.is_some().then_some(Which::New)).filter(|which| self.get(*which).is_some_and(|set| size::replicas(set) > 0)).collect()
    }

    /// One step of a rolling update: grow the new set, or else shrink the old ones.
    pub fn roll(&mut self) {
        let Some(new) = &self.new else { return };
        let (wanted, current) = (size::wanted(&self.deployment), size::replicas(&new.set));
        let total: i32 = self.all().iter().map(|set| size::replicas(set)).sum();
        let target = if current > wanted { wanted } else { size::for_new(&self.deployment, total, current) };
        if self.scale(Which::New, target, false) {
            return;
        }
        if !self.shrink_old(total) {
            self.clean_up_if_complete();
        }
    }

    /// Old Pods may go as far as enough stay available, counting those of the new set that are not yet as missing; unavailable ones go first.
    fn shrink_old(&mut self, total: i32) -> bool {
        let min_available = size::wanted(&self.deployment) - size::max_unavailable(&self.deployment);
        let new_unavailable = self.new.as_ref().map_or(0, |new| size::replicas(&new.set) - size::available(&new.set));
        let may_go = total - min_available - new_unavailable;
        if may_go <= 0 {
            return false;
        }
        let mut gone = 0;
        for position in 0..self.old.len() {
            let set = &self.old[position].set;
            let (size, unavailable) = (size::replicas(set), size::replicas(set) - size::available(set));
            let share = unavailable.min(may_go - gone).min(size);
            if share > 0 {
                self.scale(Which::Old(position), size - share, false);
                gone += share;
            }
        }
        let available: i32 = self.all().iter().map(|set| size::available(set)).sum();
        let mut more = 0;
        for position in 0..self.old.len() {
            let size = size::replicas(&self.old[position].set);
            let share = size.min(available - min_available - more);
            if share > 0 {
                self.scale(Which::Old(position), size - share, false);
                more += share;
            }
        }
        gone + more > 0
    }

    /// Recreate: all old Pods leave, then the new ones come.
    pub fn recreate(&mut self, pods: &[Arc<Pod>], namesake: Option<&ReplicaSet>) {
        let mut scaled = false;
        for position in 0..self.old.len() {
            scaled |= self.scale(Which::Old(position), 0, false);
        }
        if scaled || self.old_pods_run(pods) {
            return;
        }
        if self.new.is_none() && !self.create_new(namesake) {
            return;
        }
        self.scale(Which::New, size::wanted(&self.deployment), false);
        self.clean_up_if_complete();
    }

    fn old_pods_run(&self, pods: &[Arc<Pod>]) -> bool {
        let new_uid = self.new.as_ref().and_then(|new| new.set.metadata.uid.as_deref());
        self.old.iter().any(|working| working.set.status.as_ref().is_some_and(|status| status.replicas > 0))
            || pods.iter().any(|pod| {
                let owner = owner::controller_of(&pod.metadata).map(|owner| owner.uid.as_str());
                owner != new_uid && !crate::pod::is_terminal(pod)
            })
    }

    fn clean_up_if_complete(&mut self) {
        if status::is_complete(&self.deployment, &self.deployment.status.clone().unwrap_or_default()) {
            self.clean_up();
        }
    }

    /// Deletes old empty sets beyond the history limit, lowest revision first.
    pub fn clean_up(&mut self) {
        let limit = self.deployment.spec.revision_history_limit.filter(|limit| *limit != i32::MAX);
        let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else { return };
        let mut alive: Vec<&ReplicaSet> =
            self.old.iter().map(|working| &working.set).filter(|set| set.metadata.deletion_timestamp.is_none()).collect();
        let surplus = alive.len().saturating_sub(limit);
        alive.sort_by_key(|set| revision::revision(set).unwrap_or(0));
        let idle = |set: &&&ReplicaSet| {
            let status = set.status.clone().unwrap_or_default();
            status.replicas == 0 && size::replicas(set) == 0 && set.metadata.generation <= status.observed_generation
        };
        let deletes: Vec<Action> = alive.iter().take(surplus).filter(idle).map(|set| Action::delete(REPLICA_SETS.target_of(*set))).collect();
        self.plan.actions.extend(deletes);
    }

    /// Writes down what differs from what the server has.
    pub fn finish(mut self, new_status: DeploymentStatus) -> Plan {
        let mut plan = std::mem::take(&mut self.plan);
        let mut writes: Vec<Action> = Vec::new();
        let created = self.new.as_ref().filter(|new| new.original.is_none()).map(|new| self.creation(&new.set));
        writes.extend(created);
        writes.extend(self.new.iter().chain(&self.old).filter_map(patch_of));
        let target = DEPLOYMENTS.target_of(&*self.original);
        let revision = self.deployment.metadata.annotations.as_ref().and_then(|annotations| annotations.get(REVISION));
        let annotate = revision
            .filter(|revision| self.original.metadata.annotations.as_ref().and_then(|annotations| annotations.get(REVISION)) != Some(revision));
        writes.extend(annotate.map(|revision| Action::merge(target.clone(), json!({"metadata": {"annotations": {REVISION: revision}}}))));
        // The annotation moves the resourceVersion, so the status cannot insist on the one that was seen.
        let version = if annotate.is_some() { None } else { self.original.metadata.resource_version.clone() };
        let old_status = self.original.status.clone().unwrap_or_default();
        plan.status = Action::status_change(target.clone(), version.as_deref(), &old_status, &new_status);
        if let Some(name) = self.new.as_ref().filter(|new| new.original.is_none()).and_then(|new| new.set.metadata.name.clone()) {
            let creation = plan.actions.len();
            let (deadline, now, base) = (status::progress_deadline(&self.deployment).is_some(), self.now, old_status);
            plan.status_after_failure = Some(Box::new(move |failure| {
                if failure.action != creation || failure.code == Some(409) || !deadline {
                    return None;
                }
                let mut status = base.clone();
                let message = format!("Failed to create new replica set {name:?}: {}", failure.message);
                status::set_condition(&mut status, status::new_condition(PROGRESSING, "False", "ReplicaSetCreateError", message, now));
                Action::status_change(target.clone(), None, &base, &status)
            }));
        }
        // Before the deletes, as upstream scales before it cleans up.
        let claims = plan.actions.iter().take_while(|action| !matches!(action, Action::Delete { .. })).count();
        plan.actions.splice(claims..claims, writes);
        plan
    }

    fn creation(&self, set: &ReplicaSet) -> Action {
        let name = set.metadata.name.as_deref().unwrap_or_default();
        let announce = Announce {
            about: DEPLOYMENTS.reference(&self.original.metadata),
            success: None,
            failure: ("ReplicaSetCreateError", format!("Failed to create new replica set {name:?}: ")),
        };
        let namespace = set.metadata.namespace.clone().unwrap_or_default();
        let object = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": set.metadata, "spec": set.spec});
        Action::Create { kind: REPLICA_SETS, namespace, object, exists_ok: false, announce: Some(announce) }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    New,
    Old(usize),
}

fn is_saturated(deployment: &Deployment, set: &ReplicaSet) -> bool {
    let wanted = size::wanted(deployment);
    size::replicas(set) == wanted && size::annotated(set, size::DESIRED) == Some(wanted) && size::available(set) == wanted
}

/// Only what this controller owns of a ReplicaSet: size, minReadySeconds, annotations.
fn patch_of(working: &Working) -> Option<Action> {
    let original = working.original.as_ref()?;
    let owned = |set: &ReplicaSet| {
        json!({
            "metadata": {"annotations": set.metadata.annotations.clone().unwrap_or_default()},
            "spec": {"replicas": set.spec.replicas, "minReadySeconds": set.spec.min_ready_seconds.unwrap_or(0)},
        })
    };
    let patch = merge_patch(&owned(original), &owned(&working.set))?;
    Some(Action::merge(REPLICA_SETS.target_of(&**original), patch))
}
