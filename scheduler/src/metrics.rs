//! Metrics, under upstream's names.

use crate::framework::Plugin;
use crate::queue::{Queue, QueuedPod};
use crate::snapshot::Snapshot;
use apiserver_component::metrics::register;
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts};
use std::time::Duration;
use tokio::time::Instant;

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Scheduled,
    Unschedulable,
    Error,
}

impl Outcome {
    fn label(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Unschedulable => "unschedulable",
            Self::Error => "error",
        }
    }
}

#[derive(Clone)]
pub struct Metrics {
    profile: String,
    attempts: IntCounterVec,
    attempt_seconds: HistogramVec,
    algorithm_seconds: Histogram,
    pending: [IntGauge; 4],
    incoming: IntCounterVec,
    sli_seconds: HistogramVec,
    attempts_per_pod: Histogram,
    after_flush: IntCounter,
    unschedulable: IntGaugeVec,
    cache: [IntGauge; 3],
    goroutines: IntGauge,
}

impl Metrics {
    pub fn new(profile: &str) -> prometheus::Result<Self> {
        let pending = gauges("scheduler_pending_pods", "Number of pending pods, by the queue type.", "queue")?;
        let cache = gauges("scheduler_cache_size", "Number of nodes, pods, and assumed (bound) pods in the scheduler cache.", "type")?;
        let goroutines = gauges("scheduler_goroutines", "Number of running tasks split by the work they do such as binding.", "operation")?;
        Ok(Self {
            profile: profile.to_owned(),
            attempts: counters("scheduler_schedule_attempts_total", "Number of attempts to schedule pods, by the result.", &["result", "profile"])?,
            attempt_seconds: histograms(
                "scheduler_scheduling_attempt_duration_seconds",
                "Scheduling attempt latency in seconds (scheduling algorithm + binding)",
                (0.001, 2.0, 15),
                &["result", "profile"],
            )?,
            algorithm_seconds: histogram(
                "scheduler_scheduling_algorithm_duration_seconds",
                "Scheduling algorithm latency in seconds",
                (0.001, 2.0, 15),
            )?,
            pending: ["active", "backoff", "unschedulable", "gated"].map(|queue| pending.with_label_values(&[queue])),
            incoming: counters(
                "scheduler_queue_incoming_pods_total",
                "Number of pods added to scheduling queues by event and queue type.",
                &["queue", "event"],
            )?,
            sli_seconds: histograms(
                "scheduler_pod_scheduling_sli_duration_seconds",
                "E2e latency for a pod being scheduled, from the time the pod enters the scheduling queue and might involve multiple scheduling attempts.",
                (0.01, 2.0, 20),
                &["attempts"],
            )?,
            attempts_per_pod: histogram("scheduler_pod_scheduling_attempts", "Number of attempts to successfully schedule a pod.", (1.0, 2.0, 5))?,
            after_flush: register(IntCounter::new(
                "scheduler_pod_scheduled_after_flush_total",
                "Number of pods that were successfully scheduled after being flushed from the unschedulable pods due to timeout.",
            )?),
            unschedulable: register(IntGaugeVec::new(
                Opts::new("scheduler_unschedulable_pods", "The number of unschedulable pods broken down by plugin name."),
                &["plugin", "profile"],
            )?),
            cache: ["nodes", "pods", "assumed_pods"].map(|kind| cache.with_label_values(&[kind])),
            goroutines: goroutines.with_label_values(&["binding"]),
        })
    }

    pub fn attempted(&self, outcome: Outcome, spent: Duration) {
        let labels = [outcome.label(), self.profile.as_str()];
        self.attempts.with_label_values(&labels).inc();
        self.attempt_seconds.with_label_values(&labels).observe(spent.as_secs_f64());
    }

    pub fn searched(&self, spent: Duration) {
        self.algorithm_seconds.observe(spent.as_secs_f64());
    }

    pub fn bound(&self, pod: &QueuedPod, now: Instant) {
        self.attempts_per_pod.observe(f64::from(pod.attempts));
        if let Some(first) = pod.first_attempt {
            let attempts = if pod.attempts >= 15 { "15+".to_owned() } else { pod.attempts.to_string() };
            self.sli_seconds.with_label_values(&[attempts.as_str()]).observe(now.saturating_duration_since(first).as_secs_f64());
        }
        if pod.flushed {
            self.after_flush.inc();
        }
    }

    /// Takes over how long the queues are and what is cached.
    pub fn observe(&self, queue: &mut Queue, snapshot: &Snapshot, writing: usize) {
        let lengths = queue.lengths();
        for (gauge, length) in self.pending.iter().zip([lengths.active, lengths.backoff, lengths.unschedulable, lengths.gated]) {
            gauge.set(count(length));
        }
        for (gauge, length) in self.cache.iter().zip([snapshot.order().len(), snapshot.pods(), snapshot.assumed()]) {
            gauge.set(count(length));
        }
        self.goroutines.set(count(writing));
        for moved in queue.take_moves() {
            self.incoming.with_label_values(&[moved.queue, moved.event]).inc();
        }
        for (plugin, pods) in queue.rejections() {
            self.unschedulable.with_label_values(&[Plugin::name(*plugin), self.profile.as_str()]).set(count(*pods));
        }
    }
}

fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

fn gauges(name: &str, help: &str, label: &str) -> prometheus::Result<IntGaugeVec> {
    Ok(register(IntGaugeVec::new(Opts::new(name, help), &[label])?))
}

fn counters(name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
    Ok(register(IntCounterVec::new(Opts::new(name, help), labels)?))
}

/// Buckets: the first, the factor from one to the next, how many.
type Buckets = (f64, f64, usize);

fn histogram(name: &str, help: &str, buckets: Buckets) -> prometheus::Result<Histogram> {
    Ok(register(Histogram::with_opts(options(name, help, buckets)?)?))
}

fn histograms(name: &str, help: &str, buckets: Buckets, labels: &[&str]) -> prometheus::Result<HistogramVec> {
    Ok(register(HistogramVec::new(options(name, help, buckets)?, labels)?))
}

fn options(name: &str, help: &str, (first, factor, number): Buckets) -> prometheus::Result<HistogramOpts> {
    Ok(HistogramOpts::new(name, help).buckets(prometheus::exponential_buckets(first, factor, number)?))
}
