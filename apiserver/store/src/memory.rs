//! The engine that forgets: everything in memory, with faults that a test injects.
//!
//! Its log and head behave as a database's would: clones are other processes on the same data, so that fencing and reopening can be tested.

use crate::engine::{AppendError, Batch, BatchId, Engine, EngineError, Epoch, Folding, Head, Item, LogStream, Reader, ServerId, Settled, Writer};
use crate::key::Key;
use crate::row::{Lease, Revision, Row};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A database in memory. A clone is the same database.
#[derive(Clone, Default)]
pub struct Memory(Arc<Mutex<Database>>);

#[derive(Default)]
struct Database {
    head: Head,
    /// The state at `folded`.
    rows: BTreeMap<Key, Arc<Row>>,
    leases: BTreeMap<Lease, Duration>,
    folded: Revision,
    log: VecDeque<Batch>,
    faults: Faults,
}

#[derive(Default)]
struct Faults {
    append: VecDeque<Fault>,
    settle_failures: usize,
    shared: bool,
}

/// What becomes of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It lands, and the answer is lost.
    UnknownLanded,
    /// It is lost, and so is the answer.
    UnknownLost,
    /// It certainly fails.
    Failed,
    /// There is no room.
    Full,
    /// Nothing happens to it.
    None,
}

impl Memory {
    pub fn new() -> Self {
        Self::default()
    }

    /// What becomes of the appends to come, one each; those after them succeed.
    pub fn fail_appends(&self, faults: impl IntoIterator<Item = Fault>) {
        self.lock().faults.append.extend(faults);
    }

    /// The next so many calls of settle fail, and decide nothing.
    pub fn fail_settles(&self, times: usize) {
        self.lock().faults.settle_failures = times;
    }

    /// Others may write too: consistent reads ask for the head.
    pub fn share(&self) {
        self.lock().faults.shared = true;
    }

    /// Batches at or below the floor that are still to be folded.
    pub fn unfolded(&self) -> usize {
        let database = self.lock();
        database.log.iter().filter(|batch| batch.revision <= database.head.floor).count()
    }

    /// Another process takes the next epoch, and does nothing with it.
    pub fn depose(&self) -> Epoch {
        let mut database = self.lock();
        database.head.epoch.0 += 1;
        database.head.epoch
    }

    fn lock(&self) -> MutexGuard<'_, Database> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Database {
    fn fence(&self, epoch: Epoch) -> Result<(), AppendError> {
        let by = self.head.epoch;
        if by == epoch { Ok(()) } else { Err(AppendError::Fenced { by }) }
    }

    fn land(&mut self, batch: &Batch) {
        self.log.push_back(batch.clone());
        self.head.batch = batch.id;
        self.head.revision = batch.revision;
    }

    fn fold_oldest(&mut self) -> bool {
        let floor = self.head.floor;
        let Some(batch) = self.log.pop_front_if(|batch| batch.revision <= floor) else { return false };
        self.folded = batch.revision;
        for item in batch.items {
            match item {
                Item::Row { key, row } => drop(self.rows.insert(key, row)),
                Item::Deleted { key, .. } => drop(self.rows.remove(&key)),
                Item::Lease { lease, ttl } => drop(self.leases.insert(lease, ttl)),
                Item::Revoked { lease } => drop(self.leases.remove(&lease)),
            }
        }
        true
    }
}

impl Engine for Memory {
    type Reader = Memory;
    type Writer = MemoryWriter;

    fn reader(&self) -> Self::Reader {
        self.clone()
    }

    async fn acquire(&self, _: &ServerId) -> Result<(Self::Writer, Head), EngineError> {
        let mut database = self.lock();
        database.head.epoch.0 += 1;
        let head = database.head;
        drop(database);
        Ok((MemoryWriter { memory: self.clone(), epoch: head.epoch }, head))
    }
}

impl Reader for Memory {
    type Log = MemoryLog;

    async fn head(&self) -> Result<Head, EngineError> {
        Ok(self.lock().head)
    }

    fn is_shared(&self) -> bool {
        self.lock().faults.shared
    }

    async fn load(&self, at: Revision, mut each: impl FnMut(Item) + Send) -> Result<Head, EngineError> {
        let (head, rows, leases, log) = {
            let database = self.lock();
            if at < database.head.floor {
                return Err(EngineError::Compacted { floor: database.head.floor });
            }
            (database.head, database.rows.clone(), database.leases.clone(), database.log.clone())
        };
        rows.into_iter().for_each(|(key, row)| each(Item::Row { key, row }));
        leases.into_iter().for_each(|(lease, ttl)| each(Item::Lease { lease, ttl }));
        let items = log.into_iter().take_while(|batch| batch.after <= at).flat_map(|batch| batch.items);
        items.filter(|item| item.revision().is_none_or(|revision| revision <= at)).for_each(each);
        Ok(head)
    }

    async fn log(&self, after: Revision, to: Revision) -> Result<Self::Log, EngineError> {
        let database = self.lock();
        if after < database.head.floor {
            return Err(EngineError::Compacted { floor: database.head.floor });
        }
        let wanted = database.log.iter().filter(|batch| {
            if batch.revision > batch.after { batch.revision > after && batch.after < to } else { (after..=to).contains(&batch.revision) }
        });
        Ok(MemoryLog(wanted.cloned().collect()))
    }
}

/// The log as it was when it was asked for.
pub struct MemoryLog(VecDeque<Batch>);

impl LogStream for MemoryLog {
    async fn next(&mut self) -> Result<Option<Batch>, EngineError> {
        Ok(self.0.pop_front())
    }
}

pub struct MemoryWriter {
    memory: Memory,
    epoch: Epoch,
}

impl Writer for MemoryWriter {
    async fn append(&mut self, batch: &Batch) -> Result<(), AppendError> {
        let mut database = self.memory.lock();
        database.fence(self.epoch)?;
        match database.faults.append.pop_front().unwrap_or(Fault::None) {
            Fault::None => {
                database.land(batch);
                Ok(())
            }
            Fault::UnknownLanded => {
                database.land(batch);
                Err(AppendError::Unknown { batch: batch.id })
            }
            Fault::UnknownLost => Err(AppendError::Unknown { batch: batch.id }),
            Fault::Failed => Err(AppendError::Failed(EngineError::io("append", std::io::Error::other("told to fail")))),
            Fault::Full => Err(AppendError::Full),
        }
    }

    async fn settle(&mut self, batch: BatchId) -> Result<Settled, EngineError> {
        let mut database = self.memory.lock();
        if database.faults.settle_failures > 0 {
            database.faults.settle_failures -= 1;
            return Err(EngineError::io("settle", std::io::Error::other("told to fail")));
        }
        if let Err(AppendError::Fenced { by }) = database.fence(self.epoch) {
            return Ok(Settled::Fenced { by });
        }
        database.head.attempt += 1;
        let landed = database.log.iter().any(|found| found.id == batch && found.epoch == self.epoch);
        Ok(if landed { Settled::Landed } else { Settled::Absent })
    }

    async fn raise_floor(&mut self, floor: Revision) -> Result<(), AppendError> {
        let mut database = self.memory.lock();
        database.fence(self.epoch)?;
        database.head.floor = database.head.floor.max(floor);
        Ok(())
    }

    async fn fold(&mut self) -> Result<Folding, AppendError> {
        let mut database = self.memory.lock();
        database.fence(self.epoch)?;
        Ok(if database.fold_oldest() { Folding::More } else { Folding::Done })
    }
}
