//! The folder and what lies in it: the lock, the three keyspaces, their keys.

use apiserver_store::{BatchId, EngineError, Head, Lease, Revision};
use fjall::config::CompressionPolicy;
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

/// Held for as long as the engine lives, also while the database is closed and opened again in place.
const LOCK_FILE: &str = "corten.lock";
const LOCK_TRIES_MAX: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(20);
const DATABASE_FOLDER: &str = "fjall";

/// The keyspace is in memory already: reads come only when a store opens or looks far back.
const CACHE_BYTES: u64 = 1 << 20;
const LOG_MEMTABLE_BYTES: u64 = 8 << 20;
const STATE_MEMTABLE_BYTES: u64 = 4 << 20;
const HEAD_MEMTABLE_BYTES: u64 = 1 << 20;
/// The least that fjall takes.
const JOURNALS_BYTES: u64 = 64 << 20;
const OPEN_FILES_MAX: usize = 64;

const HEAD_KEY: &[u8] = b"head";
const ROW_PREFIX: u8 = b'r';
const LEASE_PREFIX: u8 = b'l';

pub(crate) struct Place {
    pub(crate) folder: PathBuf,
    lock: Mutex<Option<File>>,
    /// None while the database is being opened again, and once the engine has ended.
    tables: RwLock<Option<Tables>>,
}

/// Cheap to clone; a clone keeps the database open.
#[derive(Clone)]
pub(crate) struct Tables {
    pub(crate) database: Database,
    pub(crate) state: Keyspace,
    pub(crate) log: Keyspace,
    pub(crate) head: Keyspace,
}

impl Place {
    pub(crate) fn open(folder: &Path) -> Result<Arc<Self>, EngineError> {
        std::fs::create_dir_all(folder).map_err(|error| EngineError::io("making the data folder", error))?;
        let path = folder.join(LOCK_FILE);
        let lock = File::options().create(true).truncate(false).write(true).open(path);
        let lock = lock.map_err(|error| EngineError::io("opening the lock file", error))?;
        take(&lock, folder)?;
        let tables = Tables::open(folder)?;
        Ok(Arc::new(Self { folder: folder.to_owned(), lock: Mutex::new(Some(lock)), tables: RwLock::new(Some(tables)) }))
    }

    pub(crate) fn tables(&self) -> Result<Tables, EngineError> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or(EngineError::Closed)
    }

    /// Lets the database and the folder go; reads in flight end on what they have, and keep the database until then.
    pub(crate) fn end(&self) {
        self.close();
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn close(&self) {
        self.tables.write().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Opens the database again, after fjall has refused to go on. It fails while a read in flight still holds the old one.
    pub(crate) fn reopen(&self) -> Result<Tables, EngineError> {
        self.close();
        let tables = Tables::open(&self.folder)?;
        *self.tables.write().unwrap_or_else(PoisonError::into_inner) = Some(tables.clone());
        Ok(tables)
    }

    pub(crate) fn corrupt(&self, what: impl ToString) -> EngineError {
        EngineError::Corrupt { place: self.folder.display().to_string(), what: what.to_string() }
    }
}

/// Tries for a while: who held the folder may be about to let it go.
fn take(lock: &File, folder: &Path) -> Result<(), EngineError> {
    for attempt in 0..LOCK_TRIES_MAX {
        if attempt > 0 {
            std::thread::sleep(LOCK_PAUSE);
        }
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(EngineError::io("locking the data folder", error)),
        }
    }
    Err(EngineError::InUse { place: folder.display().to_string() })
}

impl Tables {
    fn open(folder: &Path) -> Result<Self, EngineError> {
        let database = Database::builder(folder.join(DATABASE_FOLDER))
            .cache_size(CACHE_BYTES)
            .worker_threads(1)
            .max_cached_files(Some(OPEN_FILES_MAX))
            .max_journaling_size(JOURNALS_BYTES)
            .journal_compression(CompressionType::None)
            .open()
            .map_err(|error| match error {
                fjall::Error::Locked => EngineError::InUse { place: folder.display().to_string() },
                error => error_of("opening the database", error),
            })?;
        let keyspace = |name, memtable| {
            let options = || {
                let compression = CompressionPolicy::all(CompressionType::Lz4);
                KeyspaceCreateOptions::default().max_memtable_size(memtable).data_block_compression_policy(compression)
            };
            database.keyspace(name, options).map_err(|error| error_of("opening a keyspace", error))
        };
        Ok(Self {
            state: keyspace("state", STATE_MEMTABLE_BYTES)?,
            log: keyspace("log", LOG_MEMTABLE_BYTES)?,
            head: keyspace("head", HEAD_MEMTABLE_BYTES)?,
            database,
        })
    }

    pub(crate) fn read_head(&self, from: &impl Readable, place: &Place) -> Result<Head, EngineError> {
        match from.get(&self.head, HEAD_KEY).map_err(|error| error_of("reading the head", error))? {
            None => Ok(Head::default()),
            Some(bytes) => Head::decode(&bytes).map_err(|error| place.corrupt(format!("the head: {error}"))),
        }
    }

    /// One atomic step that is on disk when this returns: the head, and a batch if there is one.
    pub(crate) fn write(&self, head: &Head, batch: Option<(LogKey, &[u8])>) -> Result<(), EngineError> {
        let mut write = self.database.batch().durability(Some(PersistMode::SyncAll));
        if let Some((key, bytes)) = batch {
            write.insert(&self.log, key.as_slice(), bytes);
        }
        write.insert(&self.head, HEAD_KEY, head.encode());
        write.commit().map_err(|error| error_of("writing a batch", error))
    }
}

/// Where a batch lies in the log: its revision, then its number, so that batches that hold only leases come behind.
pub(crate) type LogKey = [u8; 16];

pub(crate) fn log_key(revision: Revision, batch: BatchId) -> LogKey {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&revision.0.to_be_bytes());
    key[8..].copy_from_slice(&batch.0.to_be_bytes());
    key
}

/// A key of the state.
pub(crate) enum StateKey<'a> {
    Row(&'a [u8]),
    Lease(Lease),
}

impl<'a> StateKey<'a> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Row(key) => [&[ROW_PREFIX], *key].concat(),
            Self::Lease(lease) => [&[LEASE_PREFIX], lease.0.to_be_bytes().as_slice()].concat(),
        }
    }

    pub(crate) fn decode(bytes: &'a [u8]) -> Option<Self> {
        match bytes.split_first()? {
            (&ROW_PREFIX, key) => Some(Self::Row(key)),
            (&LEASE_PREFIX, id) => Some(Self::Lease(Lease(i64::from_be_bytes(id.try_into().ok()?)))),
            _ => None,
        }
    }
}

pub(crate) fn error_of(step: &'static str, error: fjall::Error) -> EngineError {
    match error {
        fjall::Error::Io(error) if error.kind() == std::io::ErrorKind::StorageFull => EngineError::Full,
        error => EngineError::io(step, error),
    }
}
