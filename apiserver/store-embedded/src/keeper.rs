//! The thread that owns all writing: it keeps the head, and fences by it.

use crate::place::{LogKey, Place, StateKey, Tables, error_of, log_key};
use apiserver_store::{AppendError, Batch, BatchId, EngineError, Epoch, Folding, Head, Item, Revision, Settled};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

pub(crate) enum Command {
    Acquire { reply: oneshot::Sender<Result<Head, EngineError>> },
    Append { epoch: Epoch, record: Record, reply: oneshot::Sender<Result<(), AppendError>> },
    Settle { epoch: Epoch, batch: BatchId, reply: oneshot::Sender<Result<Settled, EngineError>> },
    RaiseFloor { epoch: Epoch, floor: Revision, reply: oneshot::Sender<Result<(), AppendError>> },
    Fold { epoch: Epoch, reply: oneshot::Sender<Result<Folding, AppendError>> },
}

/// A batch as it is written.
pub(crate) struct Record {
    pub(crate) id: BatchId,
    pub(crate) revision: Revision,
    pub(crate) bytes: Vec<u8>,
    /// It puts nothing, so that it is taken also when the disk is nearly full.
    pub(crate) shrinks: bool,
}

/// Free space below which nothing is put any more, so that deletes and compaction still find room.
const DISK_RESERVE_BYTES: u64 = 64 << 20;
/// Free space below which nothing at all is written.
const DISK_RESERVE_LAST_BYTES: u64 = 16 << 20;
/// Batches that one step of folding reads at most, and about how many bytes of them.
const FOLD_BATCHES_MAX: usize = 64;
const FOLD_BYTES: usize = 1 << 20;

pub(crate) struct Keeper {
    place: Arc<Place>,
    /// None after the database could not be opened again.
    tables: Option<Tables>,
    head: Head,
    /// The last record that was given to fjall, for as long as it may have to be written again.
    last: Option<(LogKey, Record)>,
    #[cfg(test)]
    pub(crate) faults: Arc<crate::tests::Faults>,
}

impl Keeper {
    pub(crate) fn open(folder: &Path) -> Result<Self, EngineError> {
        let place = Place::open(folder)?;
        let tables = place.tables()?;
        let head = tables.read_head(&tables.database.snapshot(), &place)?;
        Ok(Self {
            #[cfg(test)]
            faults: crate::tests::Faults::of(folder),
            place,
            tables: Some(tables),
            head,
            last: None,
        })
    }

    pub(crate) fn place(&self) -> Arc<Place> {
        self.place.clone()
    }

    pub(crate) fn run(mut self, mut queue: mpsc::Receiver<Command>) {
        while let Some(command) = queue.blocking_recv() {
            match command {
                Command::Acquire { reply } => drop(reply.send(self.acquire())),
                Command::Append { epoch, record, reply } => drop(reply.send(self.append(epoch, record))),
                Command::Settle { epoch, batch, reply } => drop(reply.send(self.settle(epoch, batch))),
                Command::RaiseFloor { epoch, floor, reply } => drop(reply.send(self.raise_floor(epoch, floor))),
                Command::Fold { epoch, reply } => drop(reply.send(self.fold(epoch))),
            }
        }
        self.tables = None;
        self.place.end();
    }

    fn acquire(&mut self) -> Result<Head, EngineError> {
        let head = Head { epoch: Epoch(self.head.epoch.0 + 1), ..self.head };
        self.write_head(head)?;
        Ok(head)
    }

    fn fence(&self, epoch: Epoch) -> Result<(), AppendError> {
        let by = self.head.epoch;
        if by == epoch { Ok(()) } else { Err(AppendError::Fenced { by }) }
    }

    fn append(&mut self, epoch: Epoch, record: Record) -> Result<(), AppendError> {
        self.fence(epoch)?;
        self.check_room(record.shrinks)?;
        let id = record.id;
        let head = Head { revision: record.revision, batch: id, ..self.head };
        let key = log_key(record.revision, id);
        let (_, record) = self.last.insert((key, record));
        #[cfg(test)]
        if self.faults.loses_write() {
            return Err(AppendError::Unknown { batch: id });
        }
        if let Err(error) = open(&self.tables)?.write(&head, Some((key, &record.bytes))) {
            tracing::error!(%error, batch = id.0, "an append may or may not have landed");
            return Err(AppendError::Unknown { batch: id });
        }
        #[cfg(test)]
        if self.faults.loses_answer() {
            return Err(AppendError::Unknown { batch: id });
        }
        self.head = head;
        self.last = None;
        Ok(())
    }

    fn check_room(&self, shrinks: bool) -> Result<(), AppendError> {
        let reserve = if shrinks { DISK_RESERVE_LAST_BYTES } else { DISK_RESERVE_BYTES };
        if self.free_bytes()? < reserve { Err(AppendError::Full) } else { Ok(()) }
    }

    fn free_bytes(&self) -> Result<u64, EngineError> {
        #[cfg(test)]
        if let Some(free) = self.faults.free() {
            return Ok(free);
        }
        let space = rustix::fs::statvfs(&self.place.folder).map_err(|error| EngineError::io("asking for free space", error))?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }

    /// After a failed write fjall writes no more, and what a failed fsync left is only in memory: the database is opened anew, and a batch
    /// that is found is written once more, with the head, so that it is on disk for certain.
    fn settle(&mut self, epoch: Epoch, batch: BatchId) -> Result<Settled, EngineError> {
        if let Err(AppendError::Fenced { by }) = self.fence(epoch) {
            return Ok(Settled::Fenced { by });
        }
        // The thread's own handles must go before the database can be opened again.
        self.tables = None;
        let tables = self.tables.insert(self.place.reopen()?);
        let found = tables.read_head(&tables.database.snapshot(), &self.place)?;
        let landed = found.batch == batch && found.epoch == epoch;
        let head = Head { attempt: found.attempt + 1, ..found };
        let again = self.last.as_ref().filter(|(_, record)| landed && record.id == batch);
        tables.write(&head, again.map(|(key, record)| (*key, record.bytes.as_slice())))?;
        self.head = head;
        self.last = None;
        Ok(if landed { Settled::Landed } else { Settled::Absent })
    }

    fn raise_floor(&mut self, epoch: Epoch, floor: Revision) -> Result<(), AppendError> {
        self.fence(epoch)?;
        if floor <= self.head.floor {
            return Ok(());
        }
        self.write_head(Head { floor, ..self.head })?;
        Ok(())
    }

    fn write_head(&mut self, head: Head) -> Result<(), EngineError> {
        open(&self.tables)?.write(&head, None)?;
        self.head = head;
        Ok(())
    }

    /// Moves the oldest batches below the floor from the log into the state, in one atomic batch.
    fn fold(&mut self, epoch: Epoch) -> Result<Folding, AppendError> {
        self.fence(epoch)?;
        let tables = open(&self.tables)?;
        let mut write = tables.database.batch();
        let (mut batches, mut bytes) = (0, 0);
        let mut folding = Folding::Done;
        for entry in tables.log.iter() {
            let (key, value) = entry.into_inner().map_err(|error| error_of("reading the log", error))?;
            let batch = Batch::decode(&value).map_err(|error| self.place.corrupt(format!("a batch in the log: {error}")))?;
            if batch.revision > self.head.floor {
                break;
            }
            if batches >= FOLD_BATCHES_MAX || bytes >= FOLD_BYTES {
                folding = Folding::More;
                break;
            }
            for item in &batch.items {
                match item {
                    Item::Row { key, row } => write.insert(&tables.state, StateKey::Row(key.as_bytes()).encode(), row.encode()),
                    Item::Deleted { key, .. } => write.remove(&tables.state, StateKey::Row(key.as_bytes()).encode()),
                    Item::Lease { lease, ttl } => {
                        let millis = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
                        write.insert(&tables.state, StateKey::Lease(*lease).encode(), millis.to_be_bytes());
                    }
                    Item::Revoked { lease } => write.remove(&tables.state, StateKey::Lease(*lease).encode()),
                }
            }
            write.remove(&tables.log, key);
            batches += 1;
            bytes += value.len();
        }
        write.commit().map_err(|error| error_of("folding the log", error))?;
        Ok(folding)
    }
}

fn open(tables: &Option<Tables>) -> Result<&Tables, EngineError> {
    tables.as_ref().ok_or_else(|| EngineError::io("using the database", std::io::Error::other("it could not be opened again")))
}
