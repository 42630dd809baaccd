//! Reads, on snapshots of the database, beside whatever is written.

use crate::place::{LogKey, Place, StateKey, Tables, error_of, log_key};
use apiserver_store::{Batch, BatchId, EngineError, Head, Item, Key, LogStream, Reader, Revision, Row};
use fjall::{Readable, Snapshot};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

/// Items that go from the reading thread to the store at once, and how many such chunks may wait.
const CHUNK_ITEMS: usize = 256;
const CHUNKS_MAX: usize = 4;
/// A page of the log is closed once it holds this much.
const PAGE_BYTES: usize = 1 << 20;

#[derive(Clone)]
pub struct EmbeddedReader {
    place: Arc<Place>,
}

impl EmbeddedReader {
    pub(crate) fn new(place: Arc<Place>) -> Self {
        Self { place }
    }
}

/// The database at one moment, and its head.
struct Moment {
    place: Arc<Place>,
    tables: Tables,
    snapshot: Snapshot,
    head: Head,
}

impl Moment {
    /// Fails when the floor is above `wanted`.
    fn now(place: Arc<Place>, wanted: Revision) -> Result<Self, EngineError> {
        let tables = place.tables()?;
        let snapshot = tables.database.snapshot();
        let head = tables.read_head(&snapshot, &place)?;
        if wanted < head.floor {
            return Err(EngineError::Compacted { floor: head.floor });
        }
        Ok(Self { place, tables, snapshot, head })
    }

    fn state(&self, mut each: impl FnMut(Item) -> bool) -> Result<(), EngineError> {
        for entry in self.snapshot.iter(&self.tables.state) {
            let (key, value) = entry.into_inner().map_err(|error| error_of("reading the state", error))?;
            let item = self.state_item(&key, &value)?;
            if !each(item) {
                break;
            }
        }
        Ok(())
    }

    fn state_item(&self, key: &[u8], value: &[u8]) -> Result<Item, EngineError> {
        match StateKey::decode(key) {
            Some(StateKey::Row(key)) => {
                let key = Key::new(key);
                let row = Row::decode(value).map_err(|error| self.place.corrupt(format!("row {key}: {error}")))?;
                Ok(Item::Row { key, row: Arc::new(row) })
            }
            Some(StateKey::Lease(lease)) => {
                let millis = value.try_into().map(u64::from_be_bytes).map_err(|_| self.place.corrupt(format!("lease {}", lease.0)))?;
                Ok(Item::Lease { lease, ttl: Duration::from_millis(millis) })
            }
            None => Err(self.place.corrupt("a key of the state")),
        }
    }

    /// The batches with revisions up to `at`, from the start of the log.
    fn log_to(&self, at: Revision, mut each: impl FnMut(Batch) -> bool) -> Result<(), EngineError> {
        for entry in self.snapshot.iter(&self.tables.log) {
            let value = entry.value().map_err(|error| error_of("reading the log", error))?;
            let batch = self.batch(&value)?;
            if batch.after > at || !each(batch) {
                break;
            }
        }
        Ok(())
    }

    fn batch(&self, value: &[u8]) -> Result<Batch, EngineError> {
        Batch::decode(value).map_err(|error| self.place.corrupt(format!("a batch in the log: {error}")))
    }
}

impl Reader for EmbeddedReader {
    type Log = EmbeddedLog;

    async fn head(&self) -> Result<Head, EngineError> {
        let place = self.place.clone();
        in_background(move || Ok(Moment::now(place, Revision(u64::MAX))?.head)).await
    }

    fn is_shared(&self) -> bool {
        false
    }

    async fn load(&self, at: Revision, mut each: impl FnMut(Item) + Send) -> Result<Head, EngineError> {
        let place = self.place.clone();
        let (chunks, mut received) = mpsc::channel(CHUNKS_MAX);
        let reading = in_background(move || {
            let moment = Moment::now(place, at)?;
            let mut sender = ItemSender { chunk: Vec::with_capacity(CHUNK_ITEMS), chunks };
            moment.state(|item| sender.send(item))?;
            moment.log_to(at, |batch| {
                batch.items.into_iter().filter(|item| item.revision().is_none_or(|revision| revision <= at)).all(|item| sender.send(item))
            })?;
            sender.flush();
            Ok(moment.head)
        });
        let receiving = async {
            while let Some(chunk) = received.recv().await {
                Vec::into_iter(chunk).for_each(&mut each);
            }
        };
        tokio::join!(reading, receiving).0
    }

    async fn log(&self, after: Revision, to: Revision) -> Result<Self::Log, EngineError> {
        let place = self.place.clone();
        let log = EmbeddedLog { place, to, through: after, from: log_key(after, BatchId(0)), page: VecDeque::new(), ended: false };
        log.read_page().await
    }
}

/// Gathers items into chunks; says false once nobody listens.
struct ItemSender {
    chunk: Vec<Item>,
    chunks: mpsc::Sender<Vec<Item>>,
}

impl ItemSender {
    fn send(&mut self, item: Item) -> bool {
        self.chunk.push(item);
        self.chunk.len() < CHUNK_ITEMS || self.flush()
    }

    fn flush(&mut self) -> bool {
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK_ITEMS));
        self.chunks.blocking_send(chunk).is_ok()
    }
}

async fn in_background<T: Send + 'static>(work: impl FnOnce() -> Result<T, EngineError> + Send + 'static) -> Result<T, EngineError> {
    spawn_blocking(work).await.map_err(|error| EngineError::io("reading in the background", error))?
}

/// The log, read in pages, each at a moment of its own: who reads slowly holds nothing open.
pub struct EmbeddedLog {
    place: Arc<Place>,
    to: Revision,
    /// What has been given reaches to here; the floor must not pass it.
    through: Revision,
    from: LogKey,
    page: VecDeque<Batch>,
    ended: bool,
}

impl EmbeddedLog {
    async fn read_page(mut self) -> Result<Self, EngineError> {
        in_background(move || {
            let moment = Moment::now(self.place.clone(), self.through)?;
            let mut bytes = 0;
            self.ended = true;
            for entry in moment.snapshot.range(&moment.tables.log, self.from..) {
                let (key, value) = entry.into_inner().map_err(|error| error_of("reading the log", error))?;
                if bytes >= PAGE_BYTES {
                    self.from.copy_from_slice(&key);
                    self.ended = false;
                    break;
                }
                let batch = moment.batch(&value)?;
                let has_revisions = batch.revision > batch.after;
                let beyond = if has_revisions { batch.after >= self.to } else { batch.after > self.to };
                if beyond {
                    break;
                }
                if !has_revisions || batch.revision > self.through {
                    self.through = batch.revision;
                    bytes += value.len();
                    self.page.push_back(batch);
                }
            }
            Ok(self)
        })
        .await
    }
}

impl LogStream for EmbeddedLog {
    async fn next(&mut self) -> Result<Option<Batch>, EngineError> {
        if self.page.is_empty() && !self.ended {
            let page = VecDeque::new();
            let rest = Self { place: self.place.clone(), to: self.to, through: self.through, from: self.from, page, ended: false };
            *self = rest.read_page().await?;
        }
        Ok(self.page.pop_front())
    }
}
