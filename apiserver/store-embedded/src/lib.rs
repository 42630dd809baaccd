//! The engine of a store on one machine: fjall, one fsync a batch.
//!
//! Three keyspaces in one database: `state` (rows and leases at the folded revision), `log` (one value a batch, by revision) and `head`
//! (one row). An append is one atomic fjall batch of a log value and the head, synced before it is acknowledged. Folding moves log values
//! into the state in small batches of its own, which need no sync: what is lost of them is folded again.
//!
//! One thread owns all writing and the lock on the folder; reads run on snapshots beside it. It keeps nothing in memory that the store has
//! already: caches and memtables are small.

mod keeper;
mod place;
mod read;
#[cfg(test)]
mod tests;

use crate::keeper::{Command, Keeper};
use crate::place::Place;
pub use crate::read::{EmbeddedLog, EmbeddedReader};
use apiserver_store::{AppendError, Batch, BatchId, Engine, EngineError, Epoch, Folding, Head, Revision, ServerId, Settled, Writer};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// An open database. The folder is free again once this, its writer and every read in flight are gone.
pub struct Embedded {
    place: Arc<Place>,
    commands: mpsc::Sender<Command>,
}

/// Commands that wait for the thread: the writer sends one at a time.
const QUEUE_COMMANDS_MAX: usize = 4;

impl Embedded {
    /// Opens the database in `folder`, which is made if need be. [`EngineError::InUse`] when another process has it.
    pub async fn open(folder: impl AsRef<Path>) -> Result<Self, EngineError> {
        let folder = folder.as_ref().to_owned();
        let (commands, queue) = mpsc::channel(QUEUE_COMMANDS_MAX);
        let (reply, opened) = oneshot::channel();
        let thread = move || match Keeper::open(&folder) {
            Err(error) => drop(reply.send(Err(error))),
            Ok(keeper) => {
                if reply.send(Ok(keeper.place())).is_ok() {
                    keeper.run(queue);
                }
            }
        };
        let named = std::thread::Builder::new().name("store-embedded".to_owned());
        named.spawn(thread).map_err(|error| EngineError::io("starting the writer's thread", error))?;
        let place = opened.await.map_err(|_| EngineError::Closed)??;
        Ok(Self { place, commands })
    }
}

impl Engine for Embedded {
    type Reader = EmbeddedReader;
    type Writer = EmbeddedWriter;

    fn reader(&self) -> Self::Reader {
        EmbeddedReader::new(self.place.clone())
    }

    async fn acquire(&self, me: &ServerId) -> Result<(Self::Writer, Head), EngineError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Acquire { reply }).await.map_err(|_| EngineError::Closed)?;
        let head = answer.await.map_err(|_| EngineError::Closed)??;
        tracing::info!(server = %me.0, epoch = head.epoch.0, revision = %head.revision, "the embedded store is ours");
        Ok((EmbeddedWriter { commands: self.commands.clone(), epoch: head.epoch }, head))
    }
}

/// Sends what it is asked to the thread, and waits.
pub struct EmbeddedWriter {
    commands: mpsc::Sender<Command>,
    epoch: Epoch,
}

impl EmbeddedWriter {
    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, EngineError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| EngineError::Closed)?;
        answer.await.map_err(|_| EngineError::Closed)
    }
}

impl Writer for EmbeddedWriter {
    async fn append(&mut self, batch: &Batch) -> Result<(), AppendError> {
        let shrinks = batch.items.iter().all(|item| !matches!(item, apiserver_store::Item::Row { .. }));
        let record = keeper::Record { id: batch.id, revision: batch.revision, bytes: batch.encode(), shrinks };
        let epoch = self.epoch;
        match self.ask(|reply| Command::Append { epoch, record, reply }).await {
            Ok(result) => result,
            // The thread is gone; whether it wrote before is known only to who opens the folder next.
            Err(_) => Err(AppendError::Unknown { batch: batch.id }),
        }
    }

    async fn settle(&mut self, batch: BatchId) -> Result<Settled, EngineError> {
        let epoch = self.epoch;
        self.ask(|reply| Command::Settle { epoch, batch, reply }).await?
    }

    async fn raise_floor(&mut self, floor: Revision) -> Result<(), AppendError> {
        let epoch = self.epoch;
        self.ask(|reply| Command::RaiseFloor { epoch, floor, reply }).await?
    }

    async fn fold(&mut self) -> Result<Folding, AppendError> {
        let epoch = self.epoch;
        self.ask(|reply| Command::Fold { epoch, reply }).await?
    }
}
