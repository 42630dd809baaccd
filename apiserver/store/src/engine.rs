//! All of what a database must give, and the records that the store gives it.
//!
//! In the engine lie a *state* at some revision, a *log* of batches from there, and a *head* that says how far the log counts. An append
//! writes one batch and the head in one durable, fenced step. A revision at or above the floor can be read: state, then log up to it.
//!
//! ```text
//!   state ──┬── log ─────────────────────────────┐
//!           folded ≤ floor           revisions   head
//! ```

use crate::key::Key;
use crate::row::{Lease, Revision, Row, Str};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// Who a server is, for the head's record and for logs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerId(pub Str);

/// Who may write: each writer takes the next, and from then on those before it cannot append.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// Batches are numbered in one chain, which skips those that did not land. With its epoch a number is never used twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub u64);

/// How far the log counts. What lies beyond it was never acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    pub epoch: Epoch,
    /// Of the last batch that landed.
    pub revision: Revision,
    /// Revisions below it cannot be read any more, nor watched from.
    pub floor: Revision,
    /// The last batch that landed.
    pub batch: BatchId,
    /// Raised by each [`Writer::settle`], so that nothing that was in flight can still land.
    pub attempt: u64,
}

/// What one append makes durable: whole transactions, in order.
#[derive(Clone, Debug)]
pub struct Batch {
    pub id: BatchId,
    pub epoch: Epoch,
    /// The batch that it follows.
    pub previous: BatchId,
    /// The revision before the batch; its own are `after + 1 ..= revision`, or none when it holds only leases.
    pub after: Revision,
    pub revision: Revision,
    pub items: Vec<Item>,
}

/// One durable fact. Applied in order, a later one replaces an earlier; applying one twice does no harm.
#[derive(Clone, Debug)]
pub enum Item {
    /// The key holds this row from `row.modified` on.
    Row {
        key: Key,
        row: Arc<Row>,
    },
    Deleted {
        key: Key,
        revision: Revision,
    },
    /// The lease was granted; its deadline is not durable and begins anew with each leader.
    Lease {
        lease: Lease,
        ttl: Duration,
    },
    Revoked {
        lease: Lease,
    },
}

impl Item {
    /// The revision that it came with; leases come with none.
    pub fn revision(&self) -> Option<Revision> {
        match self {
            Self::Row { row, .. } => Some(row.modified),
            Self::Deleted { revision, .. } => Some(*revision),
            Self::Lease { .. } | Self::Revoked { .. } => None,
        }
    }
}

/// A database. Engines are chosen by an enum that implements this over its variants, not by trait objects.
pub trait Engine: Send + 'static {
    type Reader: Reader;
    type Writer: Writer;

    fn reader(&self) -> Self::Reader;

    /// Takes the next epoch: from now on older ones cannot append. Nothing of an older epoch lands after this returns.
    fn acquire(&self, me: &ServerId) -> impl Future<Output = Result<(Self::Writer, Head), EngineError>> + Send;
}

/// Reads, which work while an append runs.
pub trait Reader: Clone + Send + Sync + 'static {
    type Log: LogStream;

    fn head(&self) -> impl Future<Output = Result<Head, EngineError>> + Send;

    /// Whether another process can write too, so that a consistent read has to ask for the head.
    fn is_shared(&self) -> bool;

    /// The state at exactly `at`, given as items to apply in order: state rows first, then what the log adds. [`EngineError::Compacted`] when
    /// the floor has passed it, also half way: what was given is then to be thrown away.
    fn load(&self, at: Revision, each: impl FnMut(Item) + Send) -> impl Future<Output = Result<Head, EngineError>> + Send;

    /// The batches with revisions in `after + 1 ..= to`, whole and in order, and those among them and just behind `after` that hold only
    /// leases. [`EngineError::Compacted`] when the floor passes `after`, here or from [`LogStream::next`].
    fn log(&self, after: Revision, to: Revision) -> impl Future<Output = Result<Self::Log, EngineError>> + Send;
}

pub trait LogStream: Send + 'static {
    fn next(&mut self) -> impl Future<Output = Result<Option<Batch>, EngineError>> + Send;
}

/// The one that may write. Its calls are never cancelled half way.
pub trait Writer: Send + 'static {
    /// Makes the batch durable, with the head, in one step that fails when another epoch was taken.
    fn append(&mut self, batch: &Batch) -> impl Future<Output = Result<(), AppendError>> + Send;

    /// Decides what became of a batch whose append was [`AppendError::Unknown`]: first writes the head with the next attempt number, so that
    /// it cannot land any more, and then looks for it.
    fn settle(&mut self, batch: BatchId) -> impl Future<Output = Result<Settled, EngineError>> + Send;

    /// Raises the floor, durably. Cheap: what lies below is folded by [`Writer::fold`].
    fn raise_floor(&mut self, floor: Revision) -> impl Future<Output = Result<(), AppendError>> + Send;

    /// Folds a little of the log below the floor into the state, in one step that either happened or did not.
    fn fold(&mut self) -> impl Future<Output = Result<Folding, AppendError>> + Send;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folding {
    /// There is more below the floor.
    More,
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It is in the log, and counts.
    Landed,
    /// It is not, and never will be.
    Absent,
    /// Another epoch was taken meanwhile; its log decides.
    Fenced { by: Epoch },
}

#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    #[error("fenced by epoch {}", by.0)]
    Fenced { by: Epoch },
    /// No room; not applied.
    #[error("no space left")]
    Full,
    /// Larger than the database takes; not applied.
    #[error("batch too large")]
    TooLarge,
    /// It may or may not have landed: [`Writer::settle`] decides.
    #[error("the outcome of batch {} is unknown", batch.0)]
    Unknown { batch: BatchId },
    /// Certainly not applied.
    #[error(transparent)]
    Failed(#[from] EngineError),
}

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("revision has been compacted (the floor is {floor})")]
    Compacted { floor: Revision },
    /// Another process holds the database.
    #[error("{place} is in use by another process")]
    InUse { place: String },
    #[error("no space left")]
    Full,
    /// What was read back is not what was written.
    #[error("{place} is damaged: {what}")]
    Corrupt { place: String, what: String },
    #[error("{step}: {source}")]
    Io {
        step: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// For good: no later call can succeed.
    #[error("the engine is closed")]
    Closed,
}

impl EngineError {
    pub fn io(step: &'static str, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Io { step, source: Box::new(source) }
    }
}
