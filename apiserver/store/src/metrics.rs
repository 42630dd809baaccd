//! What the store counts.

use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge, Registry};

/// Cheap to clone; every clone counts the same.
#[derive(Clone)]
pub struct Metrics {
    /// The revision that readers see.
    pub revision: IntGauge,
    pub keyspace_bytes: IntGauge,
    pub history_bytes: IntGauge,
    pub protobuf_bytes: IntGauge,
    /// Requests that wait for the writer.
    pub queue_requests: IntGauge,
    pub batches: IntCounter,
    pub txns: IntCounter,
    pub conflicts: IntCounter,
    /// How long one durable append takes, in seconds.
    pub append_seconds: Histogram,
    /// Appends whose outcome had to be settled.
    pub unknown_appends: IntCounter,
    pub watches: IntGauge,
    /// Watches that were closed since they did not read fast enough.
    pub slow_watches: IntCounter,
    pub leases: IntGauge,
    pub compactions: IntCounter,
}

const APPEND_SECONDS: [f64; 12] = [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5];

impl Default for Metrics {
    #[expect(clippy::expect_used, reason = "the names are constants and valid, which the test below shows")]
    fn default() -> Self {
        let gauge = |name: &str, help: &str| IntGauge::new(name, help).expect("a valid name");
        let counter = |name: &str, help: &str| IntCounter::new(name, help).expect("a valid name");
        let append = HistogramOpts::new("corten_store_append_duration_seconds", "Time of one durable append.").buckets(APPEND_SECONDS.to_vec());
        Self {
            revision: gauge("corten_store_revision", "The current revision."),
            keyspace_bytes: gauge("corten_store_keyspace_bytes", "Weight of all rows."),
            protobuf_bytes: gauge("corten_store_protobuf_bytes", "Protobuf forms kept beside the JSON."),
            history_bytes: gauge("corten_store_history_bytes", "Weight of the changes in memory."),
            queue_requests: gauge("corten_store_queue_requests", "Requests waiting for the writer."),
            batches: counter("corten_store_batches_total", "Batches appended."),
            txns: counter("corten_store_transactions_total", "Transactions committed."),
            conflicts: counter("corten_store_conflicts_total", "Transactions refused by a compare."),
            append_seconds: Histogram::with_opts(append).expect("valid buckets"),
            unknown_appends: counter("corten_store_unknown_appends_total", "Appends whose outcome had to be settled."),
            watches: gauge("corten_store_watches", "Open watches."),
            slow_watches: counter("corten_store_slow_watches_total", "Watches closed for being slow."),
            leases: gauge("corten_store_leases", "Leases alive."),
            compactions: counter("corten_store_compactions_total", "Times the floor was raised."),
        }
    }
}

impl Metrics {
    pub fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        let all: [Box<dyn Collector>; 14] = [
            Box::new(self.revision.clone()),
            Box::new(self.keyspace_bytes.clone()),
            Box::new(self.history_bytes.clone()),
            Box::new(self.protobuf_bytes.clone()),
            Box::new(self.queue_requests.clone()),
            Box::new(self.batches.clone()),
            Box::new(self.txns.clone()),
            Box::new(self.conflicts.clone()),
            Box::new(self.append_seconds.clone()),
            Box::new(self.unknown_appends.clone()),
            Box::new(self.watches.clone()),
            Box::new(self.slow_watches.clone()),
            Box::new(self.leases.clone()),
            Box::new(self.compactions.clone()),
        ];
        all.into_iter().try_for_each(|collector| registry.register(collector))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_a_valid_name_of_its_own() {
        let registry = Registry::new();
        Metrics::default().register(&registry).expect("no name is used twice");
        assert_eq!(registry.gather().len(), 14);
    }
}
