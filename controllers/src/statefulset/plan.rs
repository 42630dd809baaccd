//! One look at a set.

use super::{Observed, PODS, SETS, claims, pods, revision_of, selector};
use crate::history::{self, History, REVISIONS};
use crate::pod;
use apiserver_client::EventType;
use controllers_runtime::plan::{Announce, DeleteOptions, Failure};
use controllers_runtime::{Action, Plan, owner};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolumeClaim, Pod, PodTemplateSpec};
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// What the server sets where none is given.
const HISTORY_LIMIT: i32 = 10;
/// When to look again at a Pod whose claim is in the way: nobody tells when it is gone.
const CLAIM_WAIT: SignedDuration = SignedDuration::from_secs(1);

pub(super) struct Look<'a> {
    pub set: &'a StatefulSet,
    pub now: Timestamp,
    /// By number.
    pub pods: Vec<Arc<Pod>>,
    /// Those that are wanted, lowest number first; None is to be made.
    pub replicas: Vec<Option<Arc<Pod>>>,
    /// Those that are not, highest number first.
    condemned: Vec<Arc<Pod>>,
    claims: &'a HashMap<String, Arc<PersistentVolumeClaim>>,
    pub current: &'a ControllerRevision,
    pub update: &'a ControllerRevision,
    about: ObjectReference,
    plan: Plan,
    creations: Vec<Action>,
    deletions: Vec<Action>,
}

pub(super) fn plan(observed: &Observed, now: Timestamp) -> Plan {
    let set = &*observed.set;
    let Some(selector) = selector(set) else { return Plan::nothing() };
    let pods = owner::claim(&SETS, &set.metadata, &PODS, &selector, observed.pods.iter().cloned());
    let revisions = owner::claim(&SETS, &set.metadata, &REVISIONS, &selector, observed.revisions.iter().cloned());
    let actions: Vec<Action> = pods.actions.into_iter().chain(revisions.actions).collect();
    let all = revisions.objects.clone();
    let history = History::new(revisions.objects, &set.spec.template);
    let Some(update) = history.current.clone() else {
        return make_revision(set, &history, actions);
    };
    let current_name = set.status.as_ref().and_then(|status| status.current_revision.as_deref());
    let current = all.iter().find(|revision| Some(revision_of(revision)) == current_name).cloned().unwrap_or_else(|| update.clone());
    let mut look = Look::new(set, pods.objects, &observed.claims, &current, &update, now);
    look.plan.actions = actions;
    look.plan.actions.extend(history.renumber());
    let dropped = look.act();
    look.finish(dropped, &all)
}

/// The revision comes first: Pods are named after it. Where its name is taken by another template, the next try has another name.
fn make_revision(set: &StatefulSet, history: &History, mut actions: Vec<Action>) -> Plan {
    let old = set.status.clone().unwrap_or_default();
    let before = actions.len();
    actions.push(history::create(&SETS, &set.metadata, &set.spec.template, old.collision_count, history.next_revision()));
    let (target, version) = (SETS.target_of(set), set.metadata.resource_version.clone());
    let collided = move |failure: &Failure| {
        let is_taken = failure.action == before && failure.code == Some(409);
        let new = StatefulSetStatus { collision_count: Some(old.collision_count.unwrap_or(0) + 1), ..old.clone() };
        is_taken.then(|| Action::status_change(target.clone(), version.as_deref(), &old, &new)).flatten()
    };
    Plan { actions, status_after_failure: Some(Box::new(collided)), ..Plan::default() }
}

fn template(revision: &ControllerRevision) -> PodTemplateSpec {
    let mut template: Value = revision.data.0["spec"]["template"].clone();
    if let Some(fields) = template.as_object_mut() {
        fields.remove("$patch");
    }
    serde_json::from_value(template).unwrap_or_default()
}

/// Whether the rest has to wait for this one.
#[derive(PartialEq, Eq)]
enum Step {
    Wait,
    Next,
}

impl<'a> Look<'a> {
    fn new(
        set: &'a StatefulSet,
        mut all: Vec<Arc<Pod>>,
        claims: &'a HashMap<String, Arc<PersistentVolumeClaim>>,
        current: &'a ControllerRevision,
        update: &'a ControllerRevision,
        now: Timestamp,
    ) -> Self {
        all.sort_by_key(|pod| pods::ordinal(pod));
        let at = |ordinal: i32| all.iter().find(|pod| pods::ordinal(pod) == Some(ordinal)).cloned();
        let replicas = pods::ordinals(set).map(at).collect();
        let is_wanted = |pod: &&Arc<Pod>| pods::ordinal(pod).is_some_and(|ordinal| pods::ordinals(set).contains(&ordinal));
        let condemned = all.iter().rev().filter(|pod| !is_wanted(pod)).cloned().collect();
        let about = SETS.reference(&set.metadata);
        let (plan, creations, deletions) = (Plan::default(), Vec::new(), Vec::new());
        Self { set, now, replicas, condemned, pods: all, claims, current, update, about, plan, creations, deletions }
    }

    pub(super) fn is_parallel(&self) -> bool {
        self.set.spec.pod_management_policy.as_deref() == Some("Parallel")
    }

    /// Gives how many Pods of the current revision were told to go for the update.
    fn act(&mut self) -> i32 {
        if self.set.metadata.deletion_timestamp.is_some() {
            return 0;
        }
        for number in 0..self.replicas.len() {
            if self.see_to(number) == Step::Wait && !self.is_parallel() {
                return 0;
            }
        }
        for pod in self.condemned.clone() {
            self.keep_claims(&pod);
        }
        let first_unavailable = self.first_unavailable();
        for pod in self.condemned.clone() {
            self.condemn(&pod, first_unavailable.as_ref());
            if !self.is_parallel() {
                return 0;
            }
        }
        self.roll()
    }

    fn first_unavailable(&self) -> Option<Arc<Pod>> {
        if self.replicas.iter().any(Option::is_none) {
            return None;
        }
        let all = self.replicas.iter().flatten().chain(self.condemned.iter().rev());
        all.into_iter().find(|pod| pods::is_unavailable(pod, self.set, self.now)).cloned()
    }

    fn see_to(&mut self, number: usize) -> Step {
        let Some(pod) = self.replicas[number].clone() else { return self.create(number) };
        if pod::is_terminal(&pod) {
            if !pods::is_leaving(&pod) {
                self.delete(&pod);
            }
            return Step::Wait;
        }
        if pod::phase(&pod) == "Pending" {
            let ordinal = pods::ordinal(&pod).unwrap_or_default();
            if self.make_claims(ordinal) == Step::Wait {
                return Step::Wait;
            }
            self.keep_claims(&pod);
        }
        if !self.is_parallel() && (!pods::is_running_and_ready(&pod) || pods::is_unavailable(&pod, self.set, self.now)) {
            return Step::Wait;
        }
        if let Some(patch) = pods::missing_identity(&pod) {
            self.plan.actions.push(Action::merge(PODS.target_of(&*pod), patch));
            self.say("SuccessfulUpdate", format!("Update Pod {} in StatefulSet {} successful", name(&pod), self.name()));
        }
        self.keep_claims(&pod);
        Step::Next
    }

    fn name(&self) -> String {
        self.set.metadata.name.clone().unwrap_or_default()
    }

    fn say(&mut self, reason: &'static str, message: String) {
        let about = self.about.clone();
        self.plan.event(&about, EventType::Normal, reason, message);
    }

    fn announce(&self, reason: &'static str, verb: &str, pod: &str) -> Announce {
        Announce {
            about: self.about.clone(),
            success: None,
            failure: (reason, format!("{verb} Pod {pod} in StatefulSet {} failed error: ", self.name())),
        }
    }

    fn create(&mut self, number: usize) -> Step {
        let ordinals = pods::ordinals(self.set);
        let ordinal = ordinals.start.saturating_add(i32::try_from(number).unwrap_or(i32::MAX));
        let pod_name = pods::name(self.set, ordinal);
        let claims = claims::names(self.set, ordinal);
        let existing = claims.iter().filter_map(|name| self.claims.get(name));
        if existing.into_iter().any(|claim| claims::is_of_former_pod(claim, self.set, &pod_name, None)) {
            self.plan.again(self.now.checked_add(CLAIM_WAIT).unwrap_or(self.now));
            return Step::Wait;
        }
        if self.make_claims(ordinal) == Step::Wait {
            return Step::Wait;
        }
        let revision = if self.belongs_to_current(ordinal) { self.current } else { self.update };
        let object = pods::new(self.set, &template(revision), revision_of(revision), ordinal);
        let announce = Some(self.announce("FailedCreate", "Create", &pod_name));
        let namespace = self.set.metadata.namespace.clone().unwrap_or_default();
        self.creations.push(Action::Create { kind: PODS, namespace, object, exists_ok: false, announce });
        self.say("SuccessfulCreate", format!("Create Pod {pod_name} in StatefulSet {} successful", self.name()));
        Step::Wait
    }

    /// Below the partition Pods come back as they were; without one, the lowest numbers that still are.
    fn belongs_to_current(&self, ordinal: i32) -> bool {
        let strategy = self.set.spec.update_strategy.as_ref();
        if strategy.and_then(|strategy| strategy.type_.as_deref()) != Some("RollingUpdate") {
            return false;
        }
        let kept = match strategy.and_then(|strategy| strategy.rolling_update.as_ref()) {
            Some(rolling) => rolling.partition.unwrap_or(0),
            None => self.set.status.as_ref().and_then(|status| status.current_replicas).unwrap_or(0),
        };
        ordinal < pods::ordinals(self.set).start.saturating_add(kept)
    }

    fn make_claims(&mut self, ordinal: i32) -> Step {
        let set = self.set;
        let pod_name = pods::name(set, ordinal);
        for template in claims::templates(set) {
            let name = claims::name(set, template, ordinal);
            match self.claims.get(&name) {
                None => {
                    self.plan.actions.push(claims::create(set, template, ordinal));
                    self.say("SuccessfulCreate", format!("Create Claim {name} Pod {pod_name} in StatefulSet {} success", self.name()));
                }
                Some(claim) if claim.metadata.deletion_timestamp.is_some() => {
                    let message = format!("Create Pod {pod_name} in StatefulSet {} failed error: pvc {name} is being deleted", self.name());
                    let about = self.about.clone();
                    self.plan.event(&about, EventType::Warning, "FailedCreate", message);
                    self.plan.again(self.now.checked_add(CLAIM_WAIT).unwrap_or(self.now));
                    return Step::Wait;
                }
                Some(_) => {}
            }
        }
        Step::Next
    }

    /// Sees to it that the Pod's claims are deleted when the policy says so.
    fn keep_claims(&mut self, pod: &Pod) {
        let Some(ordinal) = pods::ordinal(pod) else { return };
        for name in claims::names(self.set, ordinal) {
            let Some(claim) = self.claims.get(&name) else { continue };
            match claims::owners(claim, self.set, pod) {
                claims::Owners::UpToDate => {}
                claims::Owners::Wanted(owners) => {
                    let action = claims::set_owners(claim, &owners);
                    if !self.plan.actions.contains(&action) {
                        self.plan.actions.push(action);
                    }
                }
                claims::Owners::Conflicting => {
                    let message = format!(
                        "PersistentVolumeClaim {name} has a conflicting OwnerReference that acts as a manging controller, the retention policy is ignored for this claim"
                    );
                    let about = self.about.clone();
                    self.plan.event(&about, EventType::Warning, "ConflictingController", message);
                }
            }
        }
    }

    /// In order, one goes after the other has gone, and only while the rest is well; the first that is not well may go itself.
    fn condemn(&mut self, pod: &Arc<Pod>, first_unavailable: Option<&Arc<Pod>>) {
        if pods::is_leaving(pod) {
            return;
        }
        let is_well = pods::is_running_and_ready(pod) && !pods::is_unavailable(pod, self.set, self.now);
        let is_first = first_unavailable.is_some_and(|first| Arc::ptr_eq(first, pod));
        if self.is_parallel() || is_well || is_first {
            self.delete(pod);
        }
    }

    pub(super) fn delete(&mut self, pod: &Pod) {
        let announce = Some(self.announce("FailedDelete", "Delete", name(pod)));
        let options = DeleteOptions { grace_seconds: None, propagation: None, resource_version: None };
        self.deletions.push(Action::Delete { target: PODS.target_of(pod), options, announce });
        self.say("SuccessfulDelete", format!("Delete Pod {} in StatefulSet {} successful", name(pod), self.name()));
    }

    fn finish(mut self, dropped: i32, revisions: &[Arc<ControllerRevision>]) -> Plan {
        if !self.creations.is_empty() {
            self.plan.actions.push(Action::SlowStart(std::mem::take(&mut self.creations)));
        }
        if !self.deletions.is_empty() {
            self.plan.actions.push(Action::All(std::mem::take(&mut self.deletions)));
        }
        let surplus = self.surplus_revisions(revisions);
        if !surplus.is_empty() {
            self.plan.actions.push(Action::All(surplus));
        }
        let old = self.set.status.clone().unwrap_or_default();
        let write = |dropped: i32| {
            Action::status_change(SETS.target_of(self.set), self.set.metadata.resource_version.as_deref(), &old, &self.status(dropped))
        };
        let (status, after_failure) = (write(dropped), write(0));
        let min_ready = self.set.spec.min_ready_seconds.unwrap_or(0);
        let later = self.pods.iter().filter_map(|pod| pod::available_at(pod, min_ready)).filter(|at| *at > self.now).min();
        let mut plan = self.plan;
        plan.status = status;
        plan.status_after_failure = Some(Box::new(move |_| after_failure.clone()));
        if let Some(at) = later {
            plan.again(at);
        }
        plan
    }

    /// The oldest revisions beyond the limit that nobody runs.
    fn surplus_revisions(&self, revisions: &[Arc<ControllerRevision>]) -> Vec<Action> {
        let mut live: HashSet<&str> = self.pods.iter().map(|pod| pods::revision(pod)).collect();
        live.extend([revision_of(self.current), revision_of(self.update)]);
        let mut dead: Vec<_> = revisions.iter().filter(|revision| !live.contains(revision_of(revision))).collect();
        dead.sort_by_key(|revision| revision.revision);
        let limit = usize::try_from(self.set.spec.revision_history_limit.unwrap_or(HISTORY_LIMIT)).unwrap_or(usize::MAX);
        let surplus = dead.len().saturating_sub(limit);
        dead.into_iter().take(surplus).map(|revision| Action::delete(REVISIONS.target_of(&**revision))).collect()
    }
}

fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}
