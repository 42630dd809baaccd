//! What a store is told when it is opened, and its limits, each named with its unit.

use crate::engine::ServerId;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Config {
    /// Who takes the epoch.
    pub server: ServerId,
    pub limits: Limits,
    /// How often the store compacts by itself, each time up to the revision that was current the time before. None: only when asked.
    pub compaction_interval: Option<Duration>,
}

impl Config {
    pub fn new(server: ServerId) -> Self {
        Self { server, limits: Limits::default(), compaction_interval: Some(COMPACTION_INTERVAL) }
    }
}

pub const COMPACTION_INTERVAL: Duration = Duration::from_secs(5 * 60);

#[derive(Clone, Debug)]
pub struct Limits {
    /// Requests that wait for the writer; one more waits until there is room.
    pub queue_requests_max: usize,
    pub txn_ops_max: usize,
    pub txn_bytes_max: usize,
    pub key_bytes_max: usize,
    pub value_bytes_max: usize,
    /// A batch is closed once it holds this much, so it can be larger by one transaction.
    pub batch_bytes_max: usize,
    /// What the rows of the keyspace may weigh together; beyond it only transactions that make it smaller are taken.
    pub keyspace_bytes_max: u64,
    /// What the changes in memory may weigh together. Older ones are read back from the engine.
    pub history_bytes_max: u64,
    /// What protobuf forms may take together, beside the JSON that is always kept; enforced every few seconds.
    pub protobuf_bytes_max: u64,
    pub watches_max: usize,
    /// Changes that wait for one watcher; with one more the watch is closed, to be resumed.
    pub watch_queue_events_max: usize,
    pub leases_max: usize,
}

const MIB: usize = 1 << 20;

impl Default for Limits {
    fn default() -> Self {
        Self {
            queue_requests_max: 4_096,
            txn_ops_max: 1_024,
            txn_bytes_max: 8 * MIB,
            key_bytes_max: 4_096,
            value_bytes_max: 4 * MIB,
            batch_bytes_max: 2 * MIB,
            keyspace_bytes_max: 8 << 30,
            history_bytes_max: (24 * MIB) as u64,
            protobuf_bytes_max: (24 * MIB) as u64,
            watches_max: 100_000,
            watch_queue_events_max: 8_192,
            leases_max: 1_000_000,
        }
    }
}
