//! The loop: takes what happened, tries one Pod at a time, and starts what must be written.

use crate::api::ApiServer;
use crate::framework::{Bind, Plugin};
use crate::metrics::{Metrics, Outcome};
use crate::plugins::DefaultBinder;
use crate::report::{Reason, status_patch};
use crate::scheduler::{Attempt, Report, Scheduler};
use apiserver_client::{Event, EventType, Events};
use apiserver_component::{Clock, Tasks};
use k8s_openapi::api::core::v1::{Node, Pod};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};

/// Bindings and status patches under way at once. No Pod is tried while there are so many: the API server sets the pace.
pub const WRITES_IN_FLIGHT_MAX: usize = 200;
const BACKOFF_FLUSH: Duration = Duration::from_secs(1);
const UNSCHEDULABLE_FLUSH: Duration = Duration::from_secs(30);

/// Everything that can wake the loop.
enum Wake {
    Pod(Event<Pod>),
    Node(Event<Node>),
    Written(Written),
    FlushBackoff,
    FlushUnschedulable,
    /// Nothing else: try a Pod.
    Idle,
    Leading,
    Closed,
}

/// A write has ended.
enum Written {
    Bound { uid: Arc<str>, started: Instant },
    NotBound { uid: Arc<str>, started: Instant, message: String },
    Reported,
}

pub struct Process<A> {
    pub scheduler: Scheduler,
    pub api: A,
    pub tasks: Tasks,
    pub metrics: Metrics,
    written: (mpsc::Sender<Written>, mpsc::Receiver<Written>),
    writing: usize,
}

impl<A: ApiServer> Process<A> {
    pub fn new(scheduler: Scheduler, api: A, tasks: Tasks, metrics: Metrics) -> Self {
        // One place per write under way, so that a write that has ended never waits.
        Self { scheduler, api, tasks, metrics, written: mpsc::channel(WRITES_IN_FLIGHT_MAX), writing: 0 }
    }

    /// Follows the cluster, and schedules while `leading`. Ends when the watches close.
    pub async fn run(mut self, mut pods: Events<Pod>, mut nodes: Events<Node>, mut leading: watch::Receiver<bool>) {
        let mut backoff = tokio::time::interval(BACKOFF_FLUSH);
        let mut unschedulable = tokio::time::interval(UNSCHEDULABLE_FLUSH);
        backoff.set_missed_tick_behavior(MissedTickBehavior::Delay);
        unschedulable.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut pods_synced, mut nodes_synced) = (false, false);
        loop {
            let leads = *leading.borrow_and_update();
            let ready = pods_synced && nodes_synced && leads && self.writing < WRITES_IN_FLIGHT_MAX && self.scheduler.queue.has_next();
            // What has happened comes before what to do next, so that a Pod is tried against all that is known.
            let wake = tokio::select! {
                biased;
                event = pods.next() => event.map_or(Wake::Closed, Wake::Pod),
                event = nodes.next() => event.map_or(Wake::Closed, Wake::Node),
                Some(written) = self.written.1.recv() => Wake::Written(written),
                _ = backoff.tick() => Wake::FlushBackoff,
                _ = unschedulable.tick() => Wake::FlushUnschedulable,
                () = tokio::task::yield_now(), if ready => Wake::Idle,
                // Without an election there is no sender any more, and nothing to wait for.
                Ok(()) = leading.changed(), if !leads => Wake::Leading,
            };
            let now = Instant::now();
            match wake {
                Wake::Pod(Event::Synced) => pods_synced = true,
                Wake::Pod(event) => self.scheduler.pod(&event, now),
                Wake::Node(Event::Synced) => nodes_synced = true,
                Wake::Node(event) => self.scheduler.node(&event, now),
                Wake::Written(written) => self.take(written),
                Wake::FlushBackoff => {
                    self.scheduler.queue.flush_backoff(now);
                    self.metrics.observe(&mut self.scheduler.queue, &self.scheduler.snapshot, self.writing);
                }
                Wake::FlushUnschedulable => self.scheduler.queue.flush_unschedulable(now),
                Wake::Idle => self.try_one(now),
                Wake::Leading => {}
                Wake::Closed => return,
            }
        }
    }

    fn try_one(&mut self, started: Instant) {
        let Some(attempt) = self.scheduler.schedule_one(started) else { return };
        self.metrics.searched(started.elapsed());
        match attempt {
            Attempt::Deleting(pod) => {
                let message = format!("skip schedule deleting pod: {}/{}", namespace(&pod), name(&pod));
                self.api.event(&pod, EventType::Warning, "FailedScheduling", "Scheduling", &message);
            }
            Attempt::Report(report) => {
                let outcome = if report.reason == Reason::Unschedulable { Outcome::Unschedulable } else { Outcome::Error };
                self.metrics.attempted(outcome, started.elapsed());
                self.report(report);
            }
            Attempt::Bind { pod, node } => {
                let (api, done) = (self.api.clone(), self.written.0.clone());
                self.writing += 1;
                self.tasks.spawn("bind", async move {
                    let uid = pod.uid.clone();
                    let written = match DefaultBinder.bind(&pod, &node, &api).await {
                        Ok(()) => {
                            let message = format!("Successfully assigned {}/{} to {node}", pod.namespace(), pod.name());
                            api.event(&pod.pod, EventType::Normal, "Scheduled", "Binding", &message);
                            Written::Bound { uid, started }
                        }
                        Err(error) => Written::NotBound { uid, started, message: format!("running Bind plugin {:?}: {error}", Plugin::DefaultBinder.name()) },
                    };
                    // The loop has ended, and with it whoever wants to know.
                    let _ = done.send(written).await;
                });
            }
        }
    }

    fn take(&mut self, written: Written) {
        self.writing -= 1;
        let now = Instant::now();
        match written {
            Written::Reported => {}
            Written::Bound { uid, started } => {
                self.metrics.attempted(Outcome::Scheduled, now.saturating_duration_since(started));
                if let Some(queued) = self.scheduler.bound(&uid) {
                    self.metrics.bound(&queued, now);
                }
            }
            Written::NotBound { uid, started, message } => {
                self.metrics.attempted(Outcome::Error, now.saturating_duration_since(started));
                if let Some(report) = self.scheduler.bind_failed(&uid, message, now) {
                    tracing::warn!(pod = name(&report.pod), namespace = namespace(&report.pod), error = report.message, "binding failed");
                    self.report(report);
                }
            }
        }
    }

    /// Says why the Pod waits: an Event each time, its status when that is news.
    fn report(&mut self, Report { pod, reason, message }: Report) {
        self.api.event(&pod, EventType::Warning, "FailedScheduling", "Scheduling", &message);
        let Some(patch) = status_patch(&pod, reason, &message, Clock.now()) else { return };
        let (api, done) = (self.api.clone(), self.written.0.clone());
        self.writing += 1;
        self.tasks.spawn("report", async move {
            if let Err(error) = api.patch_status(&pod, &patch).await {
                tracing::warn!(pod = name(&pod), namespace = namespace(&pod), %error, "pod status not written");
            }
            let _ = done.send(Written::Reported).await;
        });
    }
}

fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or_default()
}

fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}
