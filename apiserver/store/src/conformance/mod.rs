//! The suite that every engine must pass: an engine's crate gives a [`Subject`] and calls [`crate::conformance_suite!`].
//!
//! [`engine`] asks the engine directly for what the store relies on; [`model`] runs random work through a whole store and compares every
//! revision with a simple model.

pub mod engine;
pub mod model;

use crate::engine::{Batch, BatchId, Engine, Epoch, Head, Item, LogStream, Reader};
use crate::key::Key;
use crate::row::{Facts, Lease, Revision, Row, Str, Value};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

/// One database of a test's own, which can be opened again and again.
pub trait Subject {
    type Engine: Engine;

    fn open(&self) -> impl Future<Output = Self::Engine>;

    /// The next append's answer is lost, after the append has landed or instead of it.
    fn lose_answer(&self, landed: bool);
}

/// A test function for each case of the suite, on the subject that the expression makes.
#[macro_export]
macro_rules! conformance_suite {
    ($subject:expr, model_cases: $cases:expr) => {
        $crate::conformance_suite!(@cases $subject;
            an_empty_database_has_nothing
            what_is_appended_is_loaded_in_order
            a_log_is_read_whole_from_any_revision
            what_was_appended_is_there_after_reopening
            any_revision_above_the_floor_is_loaded_exactly
            what_lies_below_the_floor_is_compacted
            compaction_can_be_interrupted_at_every_step
            leases_outlive_compaction
            an_older_epoch_can_do_nothing
            an_unknown_append_is_settled
            a_load_is_of_one_moment_while_others_write
            large_and_strange_keys_and_values_are_kept
        );

        #[test]
        fn a_store_equals_its_model_at_every_revision() {
            $crate::conformance::model::run(|| $subject, $cases);
        }
    };
    (@cases $subject:expr; $($case:ident)*) => {
        $(
            #[tokio::test]
            async fn $case() {
                $crate::conformance::engine::$case($subject).await;
            }
        )*
    };
}

/// What an engine holds at one revision, as text: keys with where their rows come from, and leases.
type Content = BTreeMap<String, String>;

async fn content<R: Reader>(reader: &R, at: Revision) -> (Content, Head) {
    let mut content = Content::new();
    let apply = |item: Item| match item {
        Item::Row { key, row } => drop(content.insert(format!("{key:?}"), describe(&row))),
        Item::Deleted { key, .. } => drop(content.remove(&format!("{key:?}"))),
        Item::Lease { lease, ttl } => drop(content.insert(format!("lease {}", lease.0), format!("{ttl:?}"))),
        Item::Revoked { lease } => drop(content.remove(&format!("lease {}", lease.0))),
    };
    let head = reader.load(at, apply).await.expect("it is loaded");
    (content, head)
}

fn describe(row: &Row) -> String {
    format!("{:?}@{} of {} v{} {:?} {}", row.bytes(), row.modified, row.create, row.version, row.facts, row.lease.0)
}

async fn log<R: Reader>(reader: &R, after: Revision, to: Revision) -> Vec<Batch> {
    let mut stream = reader.log(after, to).await.expect("the log is there");
    let mut batches = Vec::new();
    while let Some(batch) = stream.next().await.expect("a batch") {
        batches.push(batch);
    }
    batches
}

fn row(key: &str, text: &str, modified: u64) -> Item {
    let facts = Facts { labels: Box::from([(Str::from("app"), Str::from(text))]), namespace: Str::from("default"), ..Facts::default() };
    let value = Value::Opaque(Bytes::copy_from_slice(text.as_bytes()));
    let (create, modified) = (Revision(modified), Revision(modified));
    Item::Row { key: Key::from(key), row: Arc::new(Row { value, facts, create, modified, version: 1, lease: Lease::NONE }) }
}

fn deleted(key: &str, revision: u64) -> Item {
    Item::Deleted { key: Key::from(key), revision: Revision(revision) }
}

/// Numbers batches as a writer does.
struct Chain {
    epoch: Epoch,
    last: BatchId,
    attempted: BatchId,
    revision: Revision,
}

impl Chain {
    fn after(head: Head) -> Self {
        Self { epoch: head.epoch, last: head.batch, attempted: head.batch, revision: head.revision }
    }

    fn batch(&mut self, items: Vec<Item>) -> Batch {
        self.attempted.0 += 1;
        let revision = items.iter().filter_map(Item::revision).max().unwrap_or(self.revision);
        Batch { id: self.attempted, epoch: self.epoch, previous: self.last, after: self.revision, revision, items }
    }

    fn landed(&mut self, batch: &Batch) {
        self.last = batch.id;
        self.revision = batch.revision;
    }
}
