//! The past that has left memory, read back from the engine: changes for a watcher that lags, and whole states for reads at a revision.
//!
//! The log holds what a key became, not what it was, so both begin with the state at the revision asked for and roll forward.

use crate::engine::{EngineError, Head, Item, LogStream, Reader};
use crate::error::Compacted;
use crate::history::Change;
use crate::key::{Key, Range};
use crate::row::{Revision, Row};
use crate::snapshot::{Keyspace, Published, Snapshot};
use crate::watch::Ending;
use apiserver_component::Tasks;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

/// What the rest of the store asks of the engine's reader, whatever its type.
pub(crate) trait Past: Send + Sync {
    /// The range's changes in `after + 1 ..= to`. `near` is any newer snapshot, whose rows are shared where they are the same.
    fn changes(&self, range: Range, after: Revision, to: Revision, near: Snapshot) -> PastChanges;

    fn state(&self, at: Revision, near: Snapshot) -> oneshot::Receiver<Result<Published, EngineError>>;

    /// The head, from a read that starts after this call. None when nobody else can have moved it.
    fn head(&self) -> Option<oneshot::Receiver<Result<Head, Arc<EngineError>>>>;
}

/// Reads of the past that run at once; each may hold a whole state.
const READS_MAX: usize = 2;
/// How long a read of the past waits for its watcher to take a chunk.
const WATCHER_PATIENCE: Duration = Duration::from_secs(5);
/// Consistent reads that may wait for one read of the head; those beyond are told that the engine is closed.
const HEAD_WAITERS_MAX: usize = 65_536;

pub(crate) struct PastOf<R> {
    reader: R,
    tasks: Tasks,
    permits: Arc<Semaphore>,
    heads: Option<mpsc::Sender<HeadReply>>,
}

type HeadReply = oneshot::Sender<Result<Head, Arc<EngineError>>>;

impl<R: Reader> PastOf<R> {
    pub(crate) fn new(reader: R, tasks: Tasks) -> Self {
        let heads = reader.is_shared().then(|| {
            let (heads, waiting) = mpsc::channel(HEAD_WAITERS_MAX);
            tasks.spawn("store-head", read_heads(reader.clone(), waiting));
            heads
        });
        Self { reader, tasks, permits: Arc::new(Semaphore::new(READS_MAX)), heads }
    }
}

/// One read for all who wait when it starts; who comes later waits for the next.
async fn read_heads<R: Reader>(reader: R, mut waiting: mpsc::Receiver<HeadReply>) {
    let mut replies = Vec::new();
    while waiting.recv_many(&mut replies, HEAD_WAITERS_MAX).await > 0 {
        let head = reader.head().await.map_err(Arc::new);
        for reply in replies.drain(..) {
            let _ = reply.send(head.clone());
        }
    }
}

impl<R: Reader> Past for PastOf<R> {
    fn changes(&self, range: Range, after: Revision, to: Revision, near: Snapshot) -> PastChanges {
        let (chunks, received) = mpsc::channel(1);
        let (reader, permits) = (self.reader.clone(), self.permits.clone());
        self.tasks.spawn("store-past-changes", async move {
            let Ok(_permit) = permits.acquire().await else { return };
            if let Err(error) = roll_forward(&reader, &range, after, to, &near, &chunks).await {
                let ending = match error {
                    EngineError::Compacted { floor } => Ending::Compacted(Compacted { floor }),
                    error => {
                        tracing::error!(%error, %after, "reading past changes from the engine");
                        Ending::Unreadable
                    }
                };
                let _ = chunks.send(Err(ending)).await;
            }
        });
        PastChanges { chunks: received, position: after }
    }

    fn state(&self, at: Revision, near: Snapshot) -> oneshot::Receiver<Result<Published, EngineError>> {
        let (reply, received) = oneshot::channel();
        let (reader, permits) = (self.reader.clone(), self.permits.clone());
        self.tasks.spawn("store-past-state", async move {
            let Ok(_permit) = permits.acquire().await else { return };
            let mut state = Loaded::new(at);
            let loaded = reader.load(at, |item| state.apply(shared_with(&near, item))).await;
            let _ = reply.send(loaded.map(|_| state.finish()));
        });
        received
    }

    fn head(&self) -> Option<oneshot::Receiver<Result<Head, Arc<EngineError>>>> {
        let heads = self.heads.as_ref()?;
        let (reply, received) = oneshot::channel();
        // When the queue is full the reply is dropped, which the waiter sees.
        let _ = heads.try_send(reply);
        Some(received)
    }
}

/// The same item, with the row of `near` where that is the same one: it is in memory already.
fn shared_with(near: &Snapshot, item: Item) -> Item {
    match item {
        Item::Row { key, row } => {
            let known = near.map().get_key_value(&key).filter(|(_, known)| known.modified == row.modified);
            match known {
                Some((key, row)) => Item::Row { key: key.clone(), row: row.clone() },
                None => Item::Row { key, row },
            }
        }
        other => other,
    }
}

/// A keyspace made from loaded items.
pub(crate) struct Loaded {
    map: Keyspace,
    bytes: u64,
    at: Revision,
}

impl Loaded {
    pub(crate) fn new(at: Revision) -> Self {
        Self { map: Keyspace::new(), bytes: 0, at }
    }

    /// Leases are no part of the keyspace.
    pub(crate) fn apply(&mut self, item: Item) {
        let old = match item {
            Item::Row { key, row } => {
                self.bytes += row.weight();
                self.map.insert(key, row)
            }
            Item::Deleted { key, .. } => self.map.remove(&key),
            Item::Lease { .. } | Item::Revoked { .. } => None,
        };
        self.bytes = self.bytes.saturating_sub(old.map_or(0, |row| row.weight()));
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Arc<Row>> {
        self.map.get(key)
    }

    pub(crate) fn advance(&mut self, to: Revision) {
        self.at = to;
    }

    pub(crate) fn finish(self) -> Published {
        Published { revision: self.at, map: self.map, bytes: self.bytes }
    }
}

type Chunk = Result<(Vec<Arc<Change>>, Revision), Ending>;

async fn roll_forward<R: Reader>(
    reader: &R,
    range: &Range,
    after: Revision,
    to: Revision,
    near: &Snapshot,
    chunks: &mpsc::Sender<Chunk>,
) -> Result<(), EngineError> {
    let mut state: HashMap<Key, Arc<Row>> = HashMap::new();
    let load = |item| match shared_with(near, item) {
        Item::Row { key, row } if range.contains(key.as_bytes()) => {
            state.insert(key, row);
        }
        Item::Deleted { key, .. } => {
            state.remove(&key);
        }
        _ => {}
    };
    reader.load(after, load).await?;
    let mut log = reader.log(after, to).await?;
    while let Some(batch) = log.next().await? {
        let mut changes = Vec::new();
        for item in batch.items {
            let Some(revision) = item.revision().filter(|revision| *revision > after && *revision <= to) else { continue };
            match shared_with(near, item) {
                Item::Row { key, row } if range.contains(key.as_bytes()) => {
                    let old = state.insert(key.clone(), row.clone());
                    changes.push(Arc::new(Change::new(key, old, Some(row), revision)));
                }
                Item::Deleted { key, .. } if range.contains(key.as_bytes()) => {
                    if let Some(old) = state.remove(&key) {
                        changes.push(Arc::new(Change::new(key, Some(old), None, revision)));
                    }
                }
                _ => {}
            }
        }
        let through = batch.revision.min(to);
        // A watcher that does not take its changes must not keep others from theirs: it asks again from where it stands.
        if !matches!(timeout(WATCHER_PATIENCE, chunks.send(Ok((changes, through)))).await, Ok(Ok(()))) {
            return Ok(());
        }
    }
    let _ = timeout(WATCHER_PATIENCE, chunks.send(Ok((Vec::new(), to)))).await;
    Ok(())
}

/// Changes on their way from the engine to one watcher.
pub(crate) struct PastChanges {
    chunks: mpsc::Receiver<Chunk>,
    position: Revision,
}

impl PastChanges {
    /// Everything up to it has been taken.
    pub(crate) fn position(&self) -> Revision {
        self.position
    }

    /// Some(position) when there is no more and memory goes on from there.
    pub(crate) fn poll_chunk(&mut self, cx: &mut Context<'_>, ready: &mut VecDeque<Arc<Change>>) -> Poll<Result<Option<Revision>, Ending>> {
        match ready!(self.chunks.poll_recv(cx)) {
            None => Poll::Ready(Ok(Some(self.position))),
            Some(Err(ending)) => Poll::Ready(Err(ending)),
            Some(Ok((changes, through))) => {
                ready.extend(changes);
                self.position = through;
                Poll::Ready(Ok(None))
            }
        }
    }
}
