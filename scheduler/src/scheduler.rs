//! What the scheduler knows, and what it makes of each event. Pure but for the Pod objects that it is handed: no clock, no client, no task.
//!
//! ```text
//!   watch events ──► snapshot, queue          schedule_one ──► Attempt::Bind ──────► (binding task) ──► bound / bind_failed
//!                                                         └──► Attempt::Report ───► (status, Event)
//! ```
//!
//! Binding is the only thing that takes time. Meanwhile the Pod is assumed to run on its node, and what happens to it is kept beside
//! it, so that a binding that fails gives back the Pod as it is now.

use crate::cycle::{Cycle, Unscheduled};
use crate::events::{ClusterEvent, node_changes, pod_changes};
use crate::pod_info::{PodInfo, uid};
use crate::queue::{Limits, Queue, QueuedPod};
use crate::report::Reason;
use crate::snapshot::Snapshot;
use apiserver_client::Event;
use apiserver_placement::pod::{is_terminating, node_name};
use k8s_openapi::api::core::v1::{Node, Pod};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::time::Instant;

pub struct Scheduler {
    /// Pods that ask for another scheduler are none of its business, until they are on a node.
    name: String,
    pub(crate) snapshot: Snapshot,
    pub(crate) queue: Queue,
    cycle: Cycle,
    binding: HashMap<Arc<str>, InBinding>,
}

struct InBinding {
    queued: QueuedPod,
    /// As the watch last showed it; `None` once it has a node or is gone.
    latest: Option<Arc<Pod>>,
}

/// What came of trying one Pod.
#[derive(Debug)]
pub enum Attempt {
    /// A node was found and the Pod is assumed to run there: bind it.
    Bind { pod: Arc<PodInfo>, node: Arc<str> },
    /// None was: say so.
    Report(Report),
    /// It is being deleted.
    Deleting(Arc<Pod>),
}

#[derive(Debug)]
pub struct Report {
    pub pod: Arc<Pod>,
    pub reason: Reason,
    pub message: String,
}

impl Scheduler {
    pub fn new(name: &str, percentage: usize, limits: Limits, seed: u64, now: Instant) -> Self {
        Self {
            name: name.to_owned(),
            snapshot: Snapshot::default(),
            queue: Queue::new(limits, now),
            cycle: Cycle::new(percentage, seed),
            binding: HashMap::new(),
        }
    }

    pub fn node(&mut self, event: &Event<Node>, now: Instant) {
        match event {
            Event::Added(node) => {
                self.snapshot.set_node(node);
                self.queue.move_all(&ClusterEvent::NodeAdd(node), now);
            }
            Event::Updated { old, new } => {
                self.snapshot.set_node(new);
                if self.queue.awaits_events() {
                    for change in node_changes(old, new) {
                        self.queue.move_all(&ClusterEvent::NodeUpdate { change, old, new }, now);
                    }
                }
            }
            Event::Deleted(node) => {
                self.queue.move_all(&ClusterEvent::NodeDelete, now);
                self.snapshot.remove_node(node.metadata.name.as_deref().unwrap_or_default());
            }
            Event::Synced => {}
        }
    }

    pub fn pod(&mut self, event: &Event<Pod>, now: Instant) {
        match event {
            Event::Added(pod) if node_name(pod).is_some() => self.assigned(pod, now),
            Event::Added(pod) => self.waiting(pod, now),
            Event::Updated { old, new } if node_name(old).is_some() => {
                self.snapshot.set_pod(new);
                if self.queue.awaits_events() {
                    for change in pod_changes(old, new) {
                        self.queue.move_all(&ClusterEvent::AssignedPodUpdate { change, old, new }, now);
                    }
                }
            }
            Event::Updated { new, .. } if node_name(new).is_some() => self.assigned(new, now),
            Event::Updated { old, new } if old.metadata.resource_version == new.metadata.resource_version => {}
            Event::Updated { old, new } if self.snapshot.is_assumed(uid(new)) => {
                if let Some(binding) = self.binding.get_mut(uid(new)) {
                    binding.latest = Some(new.clone());
                }
                // Its binding will fail; what it takes is free from now on.
                if is_terminating(new) && !is_terminating(old) {
                    self.forget(new, now);
                }
            }
            Event::Updated { new, .. } => self.waiting(new, now),
            Event::Deleted(pod) => {
                self.queue.remove(uid(pod));
                if let Some(binding) = self.binding.get_mut(uid(pod)) {
                    binding.latest = None;
                }
                if self.snapshot.remove_pod(uid(pod)) {
                    self.queue.move_all(&ClusterEvent::AssignedPodDelete(pod), now);
                }
            }
            Event::Synced => {}
        }
    }

    fn assigned(&mut self, pod: &Arc<Pod>, now: Instant) {
        self.snapshot.set_pod(pod);
        self.queue.remove(uid(pod));
        if let Some(binding) = self.binding.get_mut(uid(pod)) {
            binding.latest = None;
        }
        self.queue.move_all(&ClusterEvent::AssignedPodAdd, now);
    }

    fn waiting(&mut self, pod: &Arc<Pod>, now: Instant) {
        let asked = pod.spec.as_ref().and_then(|spec| spec.scheduler_name.as_deref()).unwrap_or("default-scheduler");
        if asked == self.name {
            self.queue.update(pod, now);
        }
    }

    /// Tries the next Pod. `None` when none is ready.
    pub fn schedule_one(&mut self, now: Instant) -> Option<Attempt> {
        let queued = self.queue.pop()?;
        if is_terminating(&queued.info.pod) {
            return Some(Attempt::Deleting(queued.info.pod.clone()));
        }
        self.snapshot.refresh();
        let info = queued.info.clone();
        let report = |reason, message| Some(Attempt::Report(Report { pod: info.pod.clone(), reason, message }));
        match self.cycle.schedule(&info, &self.snapshot) {
            Ok(chosen) => {
                self.snapshot.assume(&info, chosen.node);
                let node = self.snapshot.node(chosen.node).name.clone();
                tracing::debug!(
                    pod = info.name(),
                    namespace = info.namespace(),
                    node = &*node,
                    evaluated = chosen.evaluated,
                    feasible = chosen.feasible,
                    "found a node"
                );
                self.binding.insert(info.uid.clone(), InBinding { queued, latest: Some(info.pod.clone()) });
                Some(Attempt::Bind { pod: info, node })
            }
            Err(Unscheduled::NoFit(diagnosis)) => {
                self.queue.reject(queued, diagnosis.plugins, now);
                report(Reason::Unschedulable, diagnosis.to_string())
            }
            Err(Unscheduled::NoNodes) => {
                self.queue.fail(queued, now);
                report(Reason::Unschedulable, "no nodes available to schedule pods".to_owned())
            }
            Err(Unscheduled::Failed(error)) => {
                self.queue.fail(queued, now);
                report(Reason::SchedulerError, error.to_string())
            }
        }
    }

    /// The Pod is bound. Gives it back for the records.
    pub fn bound(&mut self, uid: &str) -> Option<QueuedPod> {
        self.binding.remove(uid).map(|binding| binding.queued)
    }

    /// The Pod is not bound: what it took is free again, and it is tried again, unless it is gone or has a node all the same.
    pub fn bind_failed(&mut self, uid: &str, message: String, now: Instant) -> Option<Report> {
        let InBinding { mut queued, latest } = self.binding.remove(uid)?;
        let latest = latest?;
        self.forget(&latest, now);
        queued.info = Arc::new(PodInfo::new(latest.clone()));
        self.queue.fail(queued, now);
        Some(Report { pod: latest, reason: Reason::SchedulerError, message })
    }

    fn forget(&mut self, pod: &Pod, now: Instant) {
        if self.snapshot.forget(uid(pod)) {
            self.queue.move_all(&ClusterEvent::AssignedPodDelete(pod), now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Lengths;
    use crate::testing::{asking, merge, node, pod};
    use serde_json::{Value, json};

    fn scheduler(nodes: &[&str]) -> (Scheduler, Instant) {
        let now = Instant::now();
        let mut scheduler = Scheduler::new("default-scheduler", 0, Limits::default(), 1, now);
        for name in nodes {
            scheduler.node(&Event::Added(node(name, json!({}))), now);
        }
        (scheduler, now)
    }

    fn changed(pod: &Pod, extra: Value) -> Arc<Pod> {
        let mut value = serde_json::to_value(pod).unwrap();
        merge(&mut value, json!({"metadata": {"resourceVersion": "2"}}));
        merge(&mut value, extra);
        Arc::new(serde_json::from_value(value).unwrap())
    }

    #[track_caller]
    fn bind(scheduler: &mut Scheduler, now: Instant) -> (String, String) {
        match scheduler.schedule_one(now) {
            Some(Attempt::Bind { pod, node }) => (pod.name().to_owned(), node.to_string()),
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn report(scheduler: &mut Scheduler, now: Instant) -> (Reason, String) {
        match scheduler.schedule_one(now) {
            Some(Attempt::Report(report)) => (report.reason, report.message),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn assumed_pods_take_their_room_before_they_are_bound() {
        let (mut scheduler, now) = scheduler(&["n"]);
        for name in ["a", "b"] {
            scheduler.pod(&Event::Added(asking(name, json!({"cpu": "3"}))), now);
        }
        assert_eq!(bind(&mut scheduler, now), ("a".into(), "n".into()));
        assert_eq!(report(&mut scheduler, now), (Reason::Unschedulable, "0/1 nodes are available: 1 Insufficient cpu.".into()));
        assert!(scheduler.schedule_one(now).is_none());
    }

    #[test]
    fn a_failed_binding_frees_the_room_and_tries_the_pod_again() {
        let (mut scheduler, now) = scheduler(&["n"]);
        for name in ["a", "b"] {
            scheduler.pod(&Event::Added(asking(name, json!({"cpu": "3"}))), now);
        }
        bind(&mut scheduler, now);
        report(&mut scheduler, now);
        let failed = scheduler.bind_failed("a", "refused".into(), now).unwrap();
        assert_eq!((failed.reason, failed.message.as_str()), (Reason::SchedulerError, "refused"));
        assert_eq!(scheduler.queue.lengths(), Lengths { active: 0, backoff: 2, ..Lengths::default() });
        assert_eq!(bind(&mut scheduler, now).0, "b");
        assert!(scheduler.bind_failed("a", "twice".into(), now).is_none());
    }

    #[test]
    fn a_pod_that_was_bound_or_deleted_meanwhile_does_not_come_back() {
        let (mut scheduler, now) = scheduler(&["n"]);
        let (a, b) = (asking("a", json!({"cpu": "1"})), asking("b", json!({"cpu": "1"})));
        scheduler.pod(&Event::Added(a.clone()), now);
        scheduler.pod(&Event::Added(b.clone()), now);
        bind(&mut scheduler, now);
        bind(&mut scheduler, now);
        scheduler.pod(&Event::Updated { old: a.clone(), new: changed(&a, json!({"spec": {"nodeName": "n"}})) }, now);
        scheduler.pod(&Event::Deleted(b), now);
        assert!(scheduler.bind_failed("a", "lost answer".into(), now).is_none());
        assert!(scheduler.bind_failed("b", "not found".into(), now).is_none());
        assert_eq!((scheduler.queue.lengths(), scheduler.snapshot.pods()), (Lengths::default(), 1));
    }

    #[test]
    fn a_pod_that_changed_while_it_was_bound_comes_back_changed() {
        let (mut scheduler, now) = scheduler(&["n"]);
        let a = asking("a", json!({"cpu": "1"}));
        scheduler.pod(&Event::Added(a.clone()), now);
        bind(&mut scheduler, now);
        scheduler.pod(&Event::Updated { old: a.clone(), new: changed(&a, json!({"spec": {"priority": 7}})) }, now);
        assert_eq!(scheduler.queue.lengths(), Lengths::default());
        scheduler.bind_failed("a", "refused".into(), now).unwrap();
        scheduler.queue.flush_backoff(now + std::time::Duration::from_secs(2));
        assert_eq!(scheduler.queue.pop().unwrap().info.priority, 7);
    }

    #[test]
    fn a_pod_deleted_while_it_is_bound_gives_its_room_back_at_once() {
        let (mut scheduler, now) = scheduler(&["n"]);
        let (a, b) = (asking("a", json!({"cpu": "3"})), asking("b", json!({"cpu": "3"})));
        scheduler.pod(&Event::Added(a.clone()), now);
        scheduler.pod(&Event::Added(b), now);
        bind(&mut scheduler, now);
        report(&mut scheduler, now);
        scheduler.pod(&Event::Updated { old: a.clone(), new: changed(&a, json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})) }, now);
        assert_eq!(bind(&mut scheduler, now).0, "b");
    }

    #[test]
    fn a_terminating_pod_is_not_tried() {
        let (mut scheduler, now) = scheduler(&["n"]);
        scheduler.pod(&Event::Added(changed(&pod("a", json!({})), json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}))), now);
        assert!(matches!(scheduler.schedule_one(now), Some(Attempt::Deleting(_))));
        assert!(scheduler.schedule_one(now).is_none());
    }

    #[test]
    fn pods_of_other_schedulers_only_take_room() {
        let (mut scheduler, now) = scheduler(&["n"]);
        scheduler.pod(&Event::Added(pod("a", json!({"schedulerName": "mine"}))), now);
        assert!(scheduler.schedule_one(now).is_none());
        scheduler.pod(&Event::Added(pod("b", json!({"schedulerName": "mine", "nodeName": "n"}))), now);
        assert_eq!(scheduler.snapshot.pods(), 1);
    }

    #[test]
    fn without_nodes_pods_are_tried_again_and_again() {
        let (mut scheduler, now) = scheduler(&[]);
        scheduler.pod(&Event::Added(pod("a", json!({}))), now);
        assert_eq!(report(&mut scheduler, now), (Reason::Unschedulable, "no nodes available to schedule pods".into()));
        assert_eq!(scheduler.queue.lengths(), Lengths { backoff: 1, ..Lengths::default() });
        scheduler.node(&Event::Added(node("n", json!({}))), now);
        scheduler.queue.flush_backoff(now + std::time::Duration::from_secs(2));
        assert_eq!(bind(&mut scheduler, now).1, "n");
    }

    #[test]
    fn a_deleted_pod_lets_a_waiting_one_in() {
        let (mut scheduler, now) = scheduler(&["n"]);
        let taken = pod("t", json!({"nodeName": "n", "containers": [{"name": "c", "resources": {"requests": {"cpu": "4"}}}]}));
        scheduler.pod(&Event::Added(taken.clone()), now);
        scheduler.pod(&Event::Added(asking("a", json!({"cpu": "1"}))), now);
        report(&mut scheduler, now);
        scheduler.pod(&Event::Deleted(taken), now);
        assert_eq!(bind(&mut scheduler, now).1, "n");
    }
}
