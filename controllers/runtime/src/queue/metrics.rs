//! `workqueue_*`, under upstream's names, so that its dashboards show these queues too.

use apiserver_component::metrics::prometheus::{
    self, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
};
use apiserver_component::metrics::register;
use std::sync::OnceLock;
use std::time::Duration;

struct All {
    depth: IntGaugeVec,
    adds: IntCounterVec,
    retries: IntCounterVec,
    waited: HistogramVec,
    worked: HistogramVec,
}

impl All {
    fn new() -> prometheus::Result<Self> {
        let buckets = prometheus::exponential_buckets(1e-8, 10.0, 12)?;
        let histogram = |name: &str, help: &str| HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.clone()), &["name"]);
        Ok(Self {
            depth: IntGaugeVec::new(Opts::new("workqueue_depth", "Current depth of workqueue"), &["name"])?,
            adds: IntCounterVec::new(Opts::new("workqueue_adds_total", "Total number of adds handled by workqueue"), &["name"])?,
            retries: IntCounterVec::new(Opts::new("workqueue_retries_total", "Total number of retries handled by workqueue"), &["name"])?,
            waited: histogram("workqueue_queue_duration_seconds", "How long in seconds an item stays in workqueue before being requested.")?,
            worked: histogram("workqueue_work_duration_seconds", "How long in seconds processing an item from workqueue takes.")?,
        })
    }
}

/// None where a metric's own name or labels are refused, which would show in the test below.
fn all() -> Option<&'static All> {
    static ALL: OnceLock<Option<All>> = OnceLock::new();
    let made = ALL.get_or_init(|| {
        let all = All::new().ok()?;
        Some(All {
            depth: register(all.depth),
            adds: register(all.adds),
            retries: register(all.retries),
            waited: register(all.waited),
            worked: register(all.worked),
        })
    });
    made.as_ref()
}

/// The metrics of one queue.
pub(super) struct Metrics(Option<Of>);

struct Of {
    depth: IntGauge,
    adds: IntCounter,
    retries: IntCounter,
    waited: Histogram,
    worked: Histogram,
}

impl Metrics {
    pub fn new(name: &str) -> Self {
        Self(all().map(|all| Of {
            depth: all.depth.with_label_values(&[name]),
            adds: all.adds.with_label_values(&[name]),
            retries: all.retries.with_label_values(&[name]),
            waited: all.waited.with_label_values(&[name]),
            worked: all.worked.with_label_values(&[name]),
        }))
    }

    fn depth(&self, length: usize) {
        if let Some(of) = &self.0 {
            of.depth.set(i64::try_from(length).unwrap_or(i64::MAX));
        }
    }

    pub fn added(&self, length: usize) {
        self.depth(length);
        if let Some(of) = &self.0 {
            of.adds.inc();
        }
    }

    pub fn retried(&self) {
        if let Some(of) = &self.0 {
            of.retries.inc();
        }
    }

    pub fn taken(&self, waited: Option<Duration>, length: usize) {
        self.depth(length);
        if let (Some(of), Some(waited)) = (&self.0, waited) {
            of.waited.observe(waited.as_secs_f64());
        }
    }

    pub fn done(&self, worked: Duration, length: usize) {
        self.depth(length);
        if let Some(of) = &self.0 {
            of.worked.observe(worked.as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::Queue;

    #[tokio::test]
    async fn a_named_queue_counts_what_goes_through_it() {
        let queue = Queue::named("test_queue");
        queue.add("a");
        queue.add("a");
        drop(queue.next().await);
        queue.add_after_failure("b");
        let text = String::from_utf8(apiserver_component::metrics::exposition()).unwrap();
        for line in [
            r#"workqueue_adds_total{name="test_queue"} 1"#,
            r#"workqueue_depth{name="test_queue"} 0"#,
            r#"workqueue_retries_total{name="test_queue"} 1"#,
            r#"workqueue_queue_duration_seconds_count{name="test_queue"} 1"#,
            r#"workqueue_work_duration_seconds_count{name="test_queue"} 1"#,
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
