//! The handle by which everybody uses the store.

use crate::config::{Config, Limits};
use crate::encodings;
use crate::engine::{Batch, Engine, Head, Item, LogStream, Reader};
use crate::error::{AtError, CommitError, CompactError, Compacted, LeaseError, StoreError, WaitError, WatchError};
use crate::history::{Change, History};
use crate::key::Range;
use crate::lease::{LeaseInfo, LeaseTable};
use crate::metrics::Metrics;
use crate::past::{Loaded, PastOf};
use crate::row::{Lease, Revision};
use crate::shared::Shared;
use crate::snapshot::{Published, Snapshot};
use crate::txn::{Committed, Txn};
use crate::watch::Watch;
use crate::writer::{Request, Writer};
use apiserver_component::Tasks;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

/// Cheap to clone. The writer ends when the last handle is dropped or shutdown fires, and closes every watch.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    requests: mpsc::Sender<Request>,
}

impl Store {
    /// Takes the next epoch, loads the keyspace and what the log still holds of the past, and starts the writer.
    pub async fn open<E: Engine>(engine: E, config: Config, tasks: &Tasks) -> Result<Self, StoreError> {
        let (writer, head) = engine.acquire(&config.server).await.map_err(StoreError::Acquire)?;
        let reader = engine.reader();
        let (published, history, leases) = load(&reader, head, &config.limits).await?;
        let past = PastOf::new(reader.clone(), tasks.clone());
        let (requests, queue) = mpsc::channel(config.limits.queue_requests_max);
        let shared = Arc::new(Shared::new(config.limits.clone(), head.epoch, published, history, head.floor, Box::new(past)));
        let writer = Writer::new(shared.clone(), reader, writer, head, leases, queue, &config, tasks.shutdown().clone());
        // The batch in hand is finished when shutdown fires; the engine lives as long as its writer.
        tasks.spawn_graceful("store-writer", async move {
            writer.run().await;
            drop(engine);
        });
        tasks.spawn("store-encodings", encodings::keep_within_budget(Arc::downgrade(&shared)));
        Ok(Self { shared, requests })
    }

    /// The current state, at once: it never waits for anybody.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.snapshot()
    }

    /// The current revision.
    pub fn revision(&self) -> Revision {
        self.shared.snapshot().revision()
    }

    /// Revisions below it can no longer be read, nor watched from.
    pub fn floor(&self) -> Revision {
        self.shared.floor()
    }

    pub fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// A state at least as new as any write that any server acknowledged before the call.
    pub async fn consistent(&self) -> Result<Snapshot, StoreError> {
        let Some(read) = self.shared.past.head() else { return Ok(self.snapshot()) };
        let head = read.await.map_err(|_| StoreError::Closed)?.map_err(StoreError::ConsistentHead)?;
        if head.epoch != self.shared.epoch {
            return Err(StoreError::Fenced { by: head.epoch });
        }
        let mut current = self.shared.current();
        current.wait_for(|current| *current >= head.revision).await.map_err(|_| StoreError::Closed)?;
        Ok(self.snapshot())
    }

    /// The state at exactly this revision: from memory where it is there, else from the engine.
    pub async fn at(&self, revision: Revision) -> Result<Snapshot, AtError> {
        let current = self.snapshot();
        if revision == current.revision() {
            return Ok(current);
        }
        if revision > current.revision() {
            return Err(AtError::Future { asked: revision, current: current.revision() });
        }
        self.shared.check_floor(revision)?;
        if let Some(snapshot) = self.shared.roll_back(revision) {
            return Ok(snapshot);
        }
        match self.shared.past.state(revision, current).await.map_err(|_| AtError::Closed)? {
            Ok(state) => Ok(self.shared.keep_former(state)),
            Err(crate::EngineError::Compacted { floor }) => Err(Compacted { floor }.into()),
            Err(error) => Err(AtError::Engine(error)),
        }
    }

    /// Waits until the store has reached `revision`, at most `patience`, and gives a state at least so new.
    pub async fn wait_for(&self, revision: Revision, patience: Duration) -> Result<Snapshot, WaitError> {
        let snapshot = self.snapshot();
        if snapshot.revision() >= revision {
            return Ok(snapshot);
        }
        let mut current = self.shared.current();
        match timeout(patience, current.wait_for(|current| *current >= revision)).await {
            Ok(Ok(_)) => Ok(self.snapshot()),
            Ok(Err(_)) => Err(WaitError::Closed),
            Err(_) => Err(WaitError::TimedOut { asked: revision, current: self.revision() }),
        }
    }

    /// Returns when the transaction is durable and visible. Dropping the future after it was queued does not take it back.
    pub async fn commit(&self, txn: Txn) -> Result<Committed, CommitError> {
        self.ask(|reply| Request::Commit { txn, reply }).await.unwrap_or(Err(CommitError::Closed))
    }

    /// The range's changes after `after`, which may lie in the future: then it waits.
    pub fn watch(&self, range: Range, after: Revision) -> Result<Watch, WatchError> {
        self.shared.check_floor(after)?;
        if self.requests.is_closed() {
            return Err(WatchError::Closed);
        }
        let limit = self.shared.limits.watches_max;
        if self.shared.watches.fetch_add(1, Ordering::Relaxed) >= limit {
            self.shared.watches.fetch_sub(1, Ordering::Relaxed);
            return Err(WatchError::TooMany { limit });
        }
        self.shared.metrics.watches.inc();
        Ok(Watch::new(self.shared.clone(), range, after))
    }

    /// Makes revisions below `floor` unreadable and lets what only they need go.
    pub async fn compact(&self, floor: Revision) -> Result<(), CompactError> {
        self.ask(|reply| Request::Compact { floor, reply }).await.unwrap_or(Err(CompactError::Closed))
    }

    /// Grants a lease, durably; with an id of the caller's if it names one.
    pub async fn grant(&self, lease: Option<Lease>, ttl: Duration) -> Result<Lease, LeaseError> {
        self.ask(|reply| Request::Grant { lease, ttl, reply }).await.unwrap_or_else(closed)
    }

    /// A lease of at least `ttl`, and at most a twentieth (or a minute) more, that others may share: what a stream of short-lived objects is
    /// put with, so that not each of them costs a lease.
    pub async fn share_lease(&self, ttl: Duration) -> Result<Lease, LeaseError> {
        self.ask(|reply| Request::Share { ttl, reply }).await.unwrap_or_else(closed)
    }

    /// Ends a lease and deletes its keys, at one revision.
    pub async fn revoke(&self, lease: Lease) -> Result<Revision, LeaseError> {
        self.ask(|reply| Request::Revoke { lease, reply }).await.unwrap_or_else(closed)
    }

    /// Starts a lease's time anew, and says how long it is.
    pub async fn keep_alive(&self, lease: Lease) -> Result<Duration, LeaseError> {
        self.ask(|reply| Request::KeepAlive { lease, reply }).await.unwrap_or_else(closed)
    }

    pub async fn lease_info(&self, lease: Lease, with_keys: bool) -> Result<LeaseInfo, LeaseError> {
        self.ask(|reply| Request::LeaseInfo { lease, with_keys, reply }).await.unwrap_or_else(closed)
    }

    /// All leases alive, in order of id.
    pub async fn leases(&self) -> Result<Vec<Lease>, LeaseError> {
        self.ask(|reply| Request::Leases { reply }).await.ok_or(LeaseError::Commit(CommitError::Closed))
    }

    /// Completes when the writer has ended: the store was shut down, or another server has taken over.
    pub async fn closed(&self) {
        self.requests.closed().await;
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.ok()?;
        answer.await.ok()
    }
}

fn closed<T>() -> Result<T, LeaseError> {
    Err(LeaseError::Commit(CommitError::Closed))
}

/// The keyspace at the head; the history from the floor, so that watches of before a restart go on; the leases.
async fn load<R: Reader>(reader: &R, head: Head, limits: &Limits) -> Result<(Published, History, LeaseTable), StoreError> {
    let now = Instant::now();
    let mut state = Loaded::new(head.floor);
    let mut leases = LeaseTable::default();
    let each = |item: Item| {
        load_lease(&mut leases, &item, now);
        state.apply(item);
    };
    reader.load(head.floor, each).await.map_err(StoreError::Load)?;
    let mut history = History::new(head.floor, limits.history_bytes_max);
    let mut log = reader.log(head.floor, head.revision).await.map_err(StoreError::Load)?;
    let mut reached = head.floor;
    while let Some(batch) = log.next().await.map_err(StoreError::Load)? {
        // The first may begin at or below the floor; from there on none is missing.
        let follows = batch.after == reached || (reached == head.floor && batch.after < reached);
        if !follows || batch.revision > head.revision {
            return Err(StoreError::Gap { after: reached, found: batch.after });
        }
        reached = batch.revision;
        replay(batch, &mut state, &mut history, &mut leases, now);
        history.trim();
    }
    if reached != head.revision {
        return Err(StoreError::Gap { after: reached, found: head.revision });
    }
    state.advance(head.revision);
    let published = state.finish();
    for (key, row) in published.map.iter().filter(|(_, row)| row.lease.is_some()) {
        leases.attach(row.lease, key);
    }
    Ok((published, history, leases))
}

/// A batch that begins below the floor is replayed only from there: the rest is in the state.
fn replay(batch: Batch, state: &mut Loaded, history: &mut History, leases: &mut LeaseTable, now: Instant) {
    let floor = history.floor();
    for item in batch.items {
        load_lease(leases, &item, now);
        if item.revision().is_none_or(|revision| revision <= floor) {
            continue;
        }
        let change = match &item {
            Item::Row { key, row } => Some(Change::new(key.clone(), state.get(key).cloned(), Some(row.clone()), row.modified)),
            Item::Deleted { key, revision } => state.get(key).map(|old| Change::new(key.clone(), Some(old.clone()), None, *revision)),
            Item::Lease { .. } | Item::Revoked { .. } => None,
        };
        if let Some(change) = change {
            history.push(Arc::new(change));
        }
        state.apply(item);
    }
}

fn load_lease(leases: &mut LeaseTable, item: &Item, now: Instant) {
    match item {
        Item::Lease { lease, ttl } => leases.grant(*lease, *ttl, now),
        Item::Revoked { lease } => leases.remove(*lease),
        Item::Row { .. } | Item::Deleted { .. } => {}
    }
}
