//! What can go wrong, by the step that failed.

use crate::engine::{BatchId, EngineError, Epoch};
use crate::key::Key;
use crate::row::{Lease, Revision, Row};
use std::sync::Arc;

/// Opening the store, or a read that needs the database.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("taking the next epoch: {0}")]
    Acquire(#[source] EngineError),
    #[error("loading the keyspace: {0}")]
    Load(#[source] EngineError),
    /// Part of what was acknowledged is missing.
    #[error("the log is damaged: after revision {after} comes {found}")]
    Gap { after: Revision, found: Revision },
    #[error("reading the head: {0}")]
    ConsistentHead(#[source] Arc<EngineError>),
    #[error("another server has taken over (epoch {})", by.0)]
    Fenced { by: Epoch },
    #[error("the store is closed")]
    Closed,
}

/// Why a transaction was not, or may not have been, committed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A compare failed and the transaction has no `otherwise`. `current` is the row that the compare met.
    #[error("compare {compare} does not hold")]
    Conflict { compare: usize, current: Option<Arc<Row>> },
    #[error("op {op} has an empty key")]
    EmptyKey { op: usize },
    #[error("op {op} touches a key that an earlier op of the transaction puts")]
    DuplicateKey { op: usize },
    #[error("op {op} puts an object whose offsets do not fit its bytes")]
    Malformed { op: usize },
    #[error("op {op} names lease {} which does not exist", lease.0)]
    NoLease { op: usize, lease: Lease },
    #[error("key of {bytes} bytes, the limit is {limit}")]
    KeyTooLarge { bytes: usize, limit: usize },
    #[error("value of {bytes} bytes, the limit is {limit}")]
    ValueTooLarge { key: Key, bytes: usize, limit: usize },
    #[error("transaction of {bytes} bytes, the limit is {limit}")]
    TxnTooLarge { bytes: usize, limit: usize },
    #[error("transaction of {ops} operations, the limit is {limit}")]
    TooManyOps { ops: usize, limit: usize },
    /// The keyspace, or the disk, is full; deletes are still taken.
    #[error("database space exceeded")]
    Full,
    /// Certainly not applied.
    #[error("writing to the database: {0}")]
    Append(#[source] Arc<EngineError>),
    /// Certainly not applied: another server leads.
    #[error("another server has taken over (epoch {})", by.0)]
    Fenced { by: Epoch },
    /// It may or may not have been applied, and nobody can tell any more. Never to be retried blindly.
    #[error("the outcome of the write is unknown")]
    Unknown { batch: BatchId },
    /// The store was shut down; when a transaction was waiting, its outcome is not known to the caller.
    #[error("the store is closed")]
    Closed,
}

#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    #[error("lease {} does not exist", .0.0)]
    NotFound(Lease),
    #[error("lease {} exists already", .0.0)]
    Exists(Lease),
    #[error("a lease of {ttl_s} s, the limit is {limit_s}")]
    TooLong { ttl_s: i64, limit_s: i64 },
    #[error("{limit} leases exist, which is the limit")]
    TooMany { limit: usize },
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// The revision asked for can no longer be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("revision has been compacted (the floor is {floor})")]
pub struct Compacted {
    pub floor: Revision,
}

/// A watch that was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    #[error(transparent)]
    Compacted(#[from] Compacted),
    #[error("{limit} watches are open, which is the limit")]
    TooMany { limit: usize },
    #[error("the store is closed")]
    Closed,
}

/// Why [`crate::Store::at`] gave no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum AtError {
    #[error(transparent)]
    Compacted(#[from] Compacted),
    #[error("revision {asked} is in the future (the current one is {current})")]
    Future { asked: Revision, current: Revision },
    #[error("reading the past: {0}")]
    Engine(#[source] EngineError),
    #[error("the store is closed")]
    Closed,
}

/// [`crate::Store::wait_for`] ended before the revision came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WaitError {
    #[error("revision {asked} is still in the future (the current one is {current})")]
    TimedOut { asked: Revision, current: Revision },
    #[error("the store is closed")]
    Closed,
}

/// Why [`crate::Store::compact`] did nothing.
#[derive(Debug, thiserror::Error)]
pub enum CompactError {
    #[error(transparent)]
    Compacted(#[from] Compacted),
    #[error("revision {asked} is in the future (the current one is {current})")]
    Future { asked: Revision, current: Revision },
    #[error("raising the floor: {0}")]
    Engine(#[source] EngineError),
    #[error("another server has taken over (epoch {})", by.0)]
    Fenced { by: Epoch },
    #[error("the store is closed")]
    Closed,
}
