//! How many Pods a Job should have now, and which to make or delete.

use super::indexes::Indexes;
use super::plan::Sync;
use super::policy::{self, Verdict};
use super::{JOBS, PODS, backoff, pods};
use crate::pod;
use controllers_runtime::plan::{Announce, DeleteOptions};
use controllers_runtime::{Action, owner};
use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource, ObjectFieldSelector, Pod};
use kube::core::ObjectMeta;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Pods that one look makes or deletes at most.
const BURST_PODS: usize = 500;
const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";
/// What the server leaves of a name's beginning; it adds five characters.
const NAME_PREFIX_CHARACTERS_MAX: usize = 58;
const NAME_CHARACTERS_MAX: usize = 253;

/// How the numbers of Pods change by what was planned.
#[derive(Default)]
pub(super) struct Change {
    pub created: usize,
    pub deleted: usize,
    pub deleted_ready: usize,
}

impl Sync<'_> {
    /// Deletes all that are active, but keeps them tracked: they are to be counted.
    pub(super) fn delete_active(&mut self) -> Change {
        let active = self.active.clone();
        self.delete(&active)
    }

    /// Makes or deletes Pods, never both.
    pub(super) fn manage(&mut self) -> Change {
        let active = self.active.len();
        if self.is_suspended() {
            return self.drop_surplus(active);
        }
        let wanted = self.wanted();
        if active > wanted {
            return self.drop_surplus(active - wanted);
        }
        let duplicates = self.removal(0);
        if !duplicates.is_empty() {
            return self.drop_surplus(0);
        }
        let leaving = if pods::replaces_failed_only(self.spec) { self.terminating } else { 0 };
        let missing = wanted.saturating_sub(leaving + active);
        if missing == 0 { Change::default() } else { self.create(missing.min(BURST_PODS)) }
    }

    fn wanted(&self) -> usize {
        let parallelism = usize::try_from(self.spec.parallelism.unwrap_or(1)).unwrap_or(0);
        match self.spec.completions {
            // Once one has succeeded, the others end as they like and none is added.
            None if self.succeeded > 0 => self.active.len(),
            None => parallelism,
            Some(completions) => usize::try_from(completions.saturating_sub(self.succeeded)).unwrap_or(0).min(parallelism),
        }
    }

    fn drop_surplus(&mut self, surplus: usize) -> Change {
        let mut surplus = self.removal(surplus);
        surplus.truncate(BURST_PODS);
        // Not wanted any more, so not counted either.
        self.plan.actions.extend(pods::untrack(&surplus));
        self.delete(&surplus)
    }

    fn delete(&mut self, unwanted: &[Arc<Pod>]) -> Change {
        let announce = Announce {
            about: JOBS.reference(&self.job.metadata),
            success: Some(("SuccessfulDelete", "Deleted pod: ".into())),
            failure: ("FailedDelete", "Error deleting: ".into()),
        };
        let options = DeleteOptions { grace_seconds: None, propagation: None, resource_version: None };
        let delete = |pod: &Arc<Pod>| Action::Delete { target: PODS.target_of(&**pod), options: options.clone(), announce: Some(announce.clone()) };
        if !unwanted.is_empty() {
            self.plan.actions.push(Action::All(unwanted.iter().map(delete).collect()));
        }
        Change { created: 0, deleted: unwanted.len(), deleted_ready: unwanted.iter().filter(|pod| pod::is_ready(pod)).count() }
    }

    /// At least `number` of the active Pods, least use first; for indexed Jobs all that have no index of the Job's, or one that another has too.
    fn removal(&self, number: usize) -> Vec<Arc<Pod>> {
        let mut left = self.active.clone();
        left.sort_by(|a, b| pods::by_use(a, b));
        let mut remove = Vec::new();
        if self.indexed.is_some() {
            let completions = self.completions();
            let mut kept: BTreeMap<u32, Arc<Pod>> = BTreeMap::new();
            for pod in &left {
                match pods::index(pod).filter(|index| *index < completions) {
                    None => remove.push(pod.clone()),
                    // The last in the order is of most use.
                    Some(index) => remove.extend(kept.insert(index, pod.clone())),
                }
            }
            left.retain(|pod| kept.values().any(|kept| Arc::ptr_eq(kept, pod)));
        }
        let more = number.saturating_sub(remove.len());
        remove.extend(left.into_iter().take(more));
        remove
    }

    fn create(&mut self, missing: usize) -> Change {
        let per_index = self.spec.backoff_limit_per_index.is_some();
        if !per_index && let Some(at) = backoff::until(self.spec, &self.pods).filter(|at| *at > self.now) {
            self.plan.again(at);
            return Change::default();
        }
        let mut indexes: Vec<Option<u32>> = vec![None; missing];
        if self.indexed.is_some() {
            let mut pending = self.pending_indexes(missing);
            if per_index {
                let later = |index: &u32| self.delayed.get(index).and_then(|last| backoff::until_index(last)).filter(|at| *at > self.now);
                let (wait, now): (Vec<u32>, Vec<u32>) = pending.into_iter().partition(|index| later(index).is_some());
                if now.is_empty()
                    && let Some(at) = wait.iter().filter_map(later).min()
                {
                    self.plan.again(at);
                    return Change::default();
                }
                pending = now;
            }
            indexes = pending.into_iter().map(Some).collect();
        }
        let announce = Announce {
            about: JOBS.reference(&self.job.metadata),
            success: Some(("SuccessfulCreate", "Created pod: ".into())),
            failure: ("FailedCreate", "Error creating: ".into()),
        };
        let namespace = self.job.metadata.namespace.clone().unwrap_or_default();
        let create = |index: &Option<u32>| Action::Create {
            kind: PODS,
            namespace: namespace.clone(),
            object: self.new_pod(*index),
            exists_ok: false,
            announce: Some(announce.clone()),
        };
        let creations: Vec<Action> = indexes.iter().map(create).collect();
        if !creations.is_empty() {
            self.plan.actions.push(Action::SlowStart(creations));
        }
        Change { created: indexes.len(), ..Change::default() }
    }

    /// The lowest indexes that have neither succeeded nor failed nor a Pod.
    fn pending_indexes(&self, number: usize) -> Vec<u32> {
        let Some(indexed) = &self.indexed else { return Vec::new() };
        let of = |pods: &[Arc<Pod>]| Indexes::of(pods.iter().filter_map(|pod| pods::index(pod)));
        let mut taken = indexed.succeeded.union(&of(&self.active));
        if pods::replaces_failed_only(self.spec) {
            let leaving: Vec<Arc<Pod>> = self.pods.iter().filter(|pod| pod::is_terminating(pod)).cloned().collect();
            taken = taken.union(&of(&leaving));
        }
        if let Some(failed) = &indexed.failed {
            taken = taken.union(failed);
        }
        taken.missing(self.completions(), number)
    }

    fn new_pod(&self, index: Option<u32>) -> serde_json::Value {
        let from = self.spec.template.metadata.clone().unwrap_or_default();
        let mut spec = self.spec.template.spec.clone().unwrap_or_default();
        let name = self.job.metadata.name.clone().unwrap_or_default();
        let mut labels = from.labels.unwrap_or_default();
        let mut annotations = from.annotations.unwrap_or_default();
        let mut finalizers = from.finalizers.unwrap_or_default();
        if !finalizers.iter().any(|finalizer| finalizer == pods::FINALIZER) {
            finalizers.push(pods::FINALIZER.into());
        }
        let prefix = match index {
            None if name.len() < NAME_CHARACTERS_MAX => format!("{name}-"),
            None => name,
            Some(index) => {
                spec.init_containers.iter_mut().flatten().chain(&mut spec.containers).for_each(give_index);
                labels.insert(pods::INDEX.into(), index.to_string());
                annotations.insert(pods::INDEX.into(), index.to_string());
                if self.spec.backoff_limit_per_index.is_some() {
                    self.note_failures(self.delayed.get(&index).map(|last| &**last), &mut annotations);
                }
                spec.hostname = Some(format!("{name}-{index}"));
                let end = format!("-{index}-");
                let room = NAME_PREFIX_CHARACTERS_MAX.saturating_sub(end.len());
                if name.len() > room { format!("{}{end}", name.get(..room).unwrap_or(&name)) } else { format!("{name}{end}") }
            }
        };
        let metadata = ObjectMeta {
            generate_name: Some(prefix),
            namespace: self.job.metadata.namespace.clone(),
            labels: Some(labels).filter(|labels| !labels.is_empty()),
            annotations: Some(annotations).filter(|annotations| !annotations.is_empty()),
            finalizers: Some(finalizers),
            owner_references: Some(vec![owner::reference(&JOBS, &self.job.metadata)]),
            ..ObjectMeta::default()
        };
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    }

    /// How often the index failed so far, the Pod that is replaced included.
    fn note_failures(&self, replaced: Option<&Pod>, annotations: &mut BTreeMap<String, String>) {
        let (mut failures, mut ignored) = replaced.map_or((0, 0), |last| (pods::index_failures(last), pods::index_ignored_failures(last)));
        if let Some(last) = replaced {
            match policy::judge(self.spec.pod_failure_policy.as_ref(), last) {
                Verdict::Ignore => ignored += 1,
                _ => failures += 1,
            }
        }
        annotations.insert(pods::INDEX_FAILURES.into(), failures.to_string());
        if ignored > 0 {
            annotations.insert(pods::INDEX_IGNORED_FAILURES.into(), ignored.to_string());
        }
    }
}

fn give_index(container: &mut Container) {
    let variables = container.env.get_or_insert_default();
    if variables.iter().any(|variable| variable.name == INDEX_VARIABLE) {
        return;
    }
    let field = ObjectFieldSelector { field_path: format!("metadata.labels['{}']", pods::INDEX), ..ObjectFieldSelector::default() };
    variables.push(EnvVar {
        name: INDEX_VARIABLE.into(),
        value_from: Some(EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() }),
        ..EnvVar::default()
    });
}
