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
    scheduler: Scheduler,
    api: A,
    tasks: Tasks,
    metrics: Metrics,
    written: (mpsc::Sender<Written>, mpsc::Receiver<Written>),
    writing: usize,
    pods_synced: bool,
    nodes_synced: bool,
    open: bool,
}

impl<A: ApiServer> Process<A> {
    pub fn new(scheduler: Scheduler, api: A, tasks: Tasks, metrics: Metrics) -> Self {
        // One place per write under way, so that a write that has ended never waits.
        let written = mpsc::channel(WRITES_IN_FLIGHT_MAX);
        Self { scheduler, api, tasks, metrics, written, writing: 0, pods_synced: false, nodes_synced: false, open: true }
    }

    /// Follows the cluster, and schedules while `leading`. Ends when the watches close.
    pub async fn run(mut self, mut pods: Events<Pod>, mut nodes: Events<Node>, mut leading: watch::Receiver<bool>) {
        let mut backoff = tokio::time::interval(BACKOFF_FLUSH);
        let mut unschedulable = tokio::time::interval(UNSCHEDULABLE_FLUSH);
        backoff.set_missed_tick_behavior(MissedTickBehavior::Delay);
        unschedulable.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.open {
            let leads = *leading.borrow_and_update();
            // What has happened comes before what to do next, so that a Pod is tried against all that is known.
            let wake = tokio::select! {
                biased;
                event = pods.next() => event.map_or(Wake::Closed, Wake::Pod),
                event = nodes.next() => event.map_or(Wake::Closed, Wake::Node),
                Some(written) = self.written.1.recv() => Wake::Written(written),
                _ = backoff.tick() => Wake::FlushBackoff,
                _ = unschedulable.tick() => Wake::FlushUnschedulable,
                () = tokio::task::yield_now(), if leads && self.is_ready() => Wake::Idle,
                // Without an election there is no sender any more, and nothing to wait for.
                Ok(()) = leading.changed(), if !leads => Wake::Leading,
            };
            self.handle(wake, Instant::now());
        }
    }

    /// Whether to try a Pod when nothing else is to be done.
    fn is_ready(&self) -> bool {
        self.pods_synced && self.nodes_synced && self.writing < WRITES_IN_FLIGHT_MAX && self.scheduler.queue.has_next()
    }

    fn handle(&mut self, wake: Wake, now: Instant) {
        match wake {
            Wake::Pod(Event::Synced) => self.pods_synced = true,
            Wake::Pod(event) => self.scheduler.pod(&event, now),
            Wake::Node(Event::Synced) => self.nodes_synced = true,
            Wake::Node(event) => self.scheduler.node(&event, now),
            Wake::Written(written) => self.take(written),
            Wake::FlushBackoff => {
                self.scheduler.queue.flush_backoff(now);
                self.metrics.observe(&mut self.scheduler.queue, &self.scheduler.snapshot, self.writing);
            }
            Wake::FlushUnschedulable => self.scheduler.queue.flush_unschedulable(now),
            Wake::Idle => self.try_one(now),
            Wake::Leading => {}
            Wake::Closed => self.open = false,
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
                        Err(error) => {
                            Written::NotBound { uid, started, message: format!("running Bind plugin {:?}: {error}", Plugin::DefaultBinder.name()) }
                        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use crate::queue::Limits;
    use crate::testing::{asking, merge, node, pod};
    use apiserver_component::Shutdown;
    use k8s_openapi::api::core::v1::Binding;
    use serde_json::{Value, json};
    use std::sync::Mutex;

    /// What was written, one line each; bindings of Pods named `refused-…` fail.
    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<String>>>);

    impl Memory {
        fn push(&self, line: String) {
            self.0.lock().unwrap().push(line);
        }

        fn take(&self) -> Vec<String> {
            let mut lines = std::mem::take(&mut *self.0.lock().unwrap());
            lines.sort();
            lines
        }
    }

    impl ApiServer for Memory {
        async fn bind(&self, binding: &Binding) -> Result<(), Error> {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let name = binding.metadata.name.as_deref().unwrap();
            if name.starts_with("refused") {
                return Err(Error::Bind(Box::new(kube::Error::Api(kube::core::Status::failure("not today", "Conflict").with_code(409).boxed()))));
            }
            self.push(format!("bind {name} {} {}", binding.target.name.as_deref().unwrap(), binding.metadata.uid.as_deref().unwrap()));
            Ok(())
        }

        async fn patch_status(&self, pod: &Pod, patch: &Value) -> Result<(), Error> {
            let condition = &patch["status"]["conditions"][0];
            self.push(format!("status {} {} {}", name(pod), condition["reason"].as_str().unwrap(), condition["message"].as_str().unwrap()));
            Ok(())
        }

        fn event(&self, pod: &Pod, kind: EventType, reason: &str, action: &str, message: &str) {
            self.push(format!("event {} {} {reason} {action} {message}", name(pod), kind.as_str()));
        }
    }

    struct Bench {
        process: Process<Memory>,
        api: Memory,
    }

    impl Bench {
        fn new(nodes: usize) -> Self {
            let api = Memory::default();
            let scheduler = Scheduler::new("default-scheduler", 0, Limits::default(), 1, Instant::now());
            let mut process = Process::new(scheduler, api.clone(), Tasks::new(Shutdown::new()), Metrics::new("default-scheduler").unwrap());
            process.handle(Wake::Pod(Event::Synced), Instant::now());
            for number in 0..nodes {
                process.handle(Wake::Node(Event::Added(node(&format!("n{number}"), json!({})))), Instant::now());
            }
            process.handle(Wake::Node(Event::Synced), Instant::now());
            Self { process, api }
        }

        fn add(&mut self, pod: Arc<Pod>) {
            self.process.handle(Wake::Pod(Event::Added(pod)), Instant::now());
        }

        /// Tries Pods and waits for writes until there is nothing to do.
        async fn settle(&mut self) -> Vec<String> {
            loop {
                while self.process.is_ready() {
                    self.process.handle(Wake::Idle, Instant::now());
                }
                if self.process.writing == 0 {
                    return self.api.take();
                }
                let written = self.process.written.1.recv().await.unwrap();
                self.process.handle(Wake::Written(written), Instant::now());
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_that_fits_is_bound_and_says_so() {
        let mut bench = Bench::new(1);
        bench.add(asking("a", json!({"cpu": "1"})));
        assert_eq!(bench.settle().await, ["bind a n0 a", "event a Normal Scheduled Binding Successfully assigned default/a to n0"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_that_does_not_fit_says_why() {
        let mut bench = Bench::new(3);
        bench.add(asking("a", json!({"cpu": "5"})));
        let message = "0/3 nodes are available: 3 Insufficient cpu.";
        assert_eq!(
            bench.settle().await,
            [format!("event a Warning FailedScheduling Scheduling {message}"), format!("status a Unschedulable {message}")]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_binding_is_reported_and_tried_again_after_its_back_off() {
        let mut bench = Bench::new(1);
        bench.add(asking("refused", json!({"cpu": "3"})));
        let message = "running Bind plugin \"DefaultBinder\": not today";
        let expect = [format!("event refused Warning FailedScheduling Scheduling {message}"), format!("status refused SchedulerError {message}")];
        assert_eq!(bench.settle().await, expect);
        bench.add(asking("b", json!({"cpu": "3"})));
        assert_eq!(bench.settle().await.len(), 2, "the room is free again");
        bench.process.handle(Wake::Pod(Event::Deleted(asking("b", json!({})))), Instant::now());
        assert_eq!(bench.settle().await, [""; 0], "the back-off is not over");
        tokio::time::advance(Duration::from_secs(2)).await;
        bench.process.handle(Wake::FlushBackoff, Instant::now());
        assert_eq!(bench.settle().await, expect);
    }

    #[tokio::test(start_paused = true)]
    async fn a_terminating_pod_is_skipped_with_an_event() {
        let mut bench = Bench::new(1);
        let mut value = serde_json::to_value(&*pod("a", json!({}))).unwrap();
        merge(&mut value, json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}));
        bench.add(Arc::new(serde_json::from_value(value).unwrap()));
        assert_eq!(bench.settle().await, ["event a Warning FailedScheduling Scheduling skip schedule deleting pod: default/a"]);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_writes_are_under_way_than_allowed() {
        let mut bench = Bench::new(10);
        for number in 0..WRITES_IN_FLIGHT_MAX + 50 {
            bench.add(asking(&format!("p{number}"), json!({})));
        }
        while bench.process.is_ready() {
            bench.process.handle(Wake::Idle, Instant::now());
        }
        assert_eq!((bench.process.writing, bench.process.scheduler.queue.lengths().active), (WRITES_IN_FLIGHT_MAX, 50));
        let lines = bench.settle().await;
        assert_eq!(lines.iter().filter(|line| line.starts_with("bind")).count(), WRITES_IN_FLIGHT_MAX + 50);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_tried_before_all_is_known() {
        let mut bench = Bench::new(1);
        bench.process.nodes_synced = false;
        bench.add(asking("a", json!({})));
        assert_eq!(bench.settle().await, [""; 0]);
        bench.process.handle(Wake::Node(Event::Synced), Instant::now());
        assert_eq!(bench.settle().await.len(), 2);
    }
}
