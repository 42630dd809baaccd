//! A multi-version key-value store with etcd's semantics, read in memory, durable by group commit.
//!
//! One writer task takes queued transactions, checks their compares, gives each a revision of one gapless counter, makes the whole batch
//! durable with one append to the [`Engine`], then applies it to the keyspace and hands the changes to watchers: commit and notify are one
//! act, and nothing is visible before it is durable. Readers take snapshots and never wait.
//!
//! It knows no database (an engine does) and no kinds of objects: an object is JSON with a gap for its resourceVersion, and the [`Facts`]
//! that its writer gave.

#[cfg(test)]
mod tests;

mod config;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod encodings;
mod engine;
mod error;
pub mod failpoint;
mod history;
mod key;
mod lease;
pub mod memory;
mod metrics;
mod past;
mod protobuf;
mod row;
mod shared;
mod snapshot;
mod stage;
mod store;
mod txn;
mod watch;
mod wire;
mod writer;

pub use config::{COMPACTION_INTERVAL, Config, Limits};
pub use engine::{AppendError, Batch, BatchId, Engine, EngineError, Epoch, Folding, Head, Item, LogStream, Reader, ServerId, Settled, Writer};
pub use error::{AtError, CommitError, CompactError, Compacted, LeaseError, StoreError, WaitError, WatchError};
pub use history::Change;
pub use key::{Key, Range};
pub use lease::LeaseInfo;
pub use memory::Memory;
pub use metrics::Metrics;
pub use protobuf::ProtobufDraft;
pub use row::{Draft, Encoded, Facts, Generation, Lease, Revision, Row, Str, Value};
pub use snapshot::Snapshot;
pub use store::Store;
pub use txn::{Committed, Compare, Field, Op, Order, Outcome, Txn};
pub use watch::{Closed, Ending, Watch};
pub use wire::WireError;
