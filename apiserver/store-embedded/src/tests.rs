//! The suite that every engine must pass, and what is particular to this one.

use crate::Embedded;
use apiserver_component::{Shutdown, Tasks};
use apiserver_store::conformance::Subject;
use apiserver_store::{CommitError, Config, Draft, Facts, Key, Lease, LogStream, Op, Range, ServerId, Store, Str, Txn};
use apiserver_store::{Engine, EngineError, Reader, Revision};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use tempfile::TempDir;

/// What a test tells the thread of one folder to do wrong.
#[derive(Default)]
pub(crate) struct Faults {
    lose_answer: AtomicBool,
    lose_write: AtomicBool,
    /// What the disk says it has left, in bytes; 0 is what it really has.
    free: AtomicU64,
}

static FAULTS: LazyLock<Mutex<HashMap<PathBuf, Arc<Faults>>>> = LazyLock::new(Mutex::default);

impl Faults {
    pub(crate) fn of(folder: &Path) -> Arc<Self> {
        FAULTS.lock().expect("no test panics here").entry(folder.to_owned()).or_default().clone()
    }

    pub(crate) fn loses_answer(&self) -> bool {
        self.lose_answer.swap(false, Ordering::SeqCst)
    }

    pub(crate) fn free(&self) -> Option<u64> {
        Some(self.free.load(Ordering::SeqCst)).filter(|free| *free > 0)
    }

    pub(crate) fn loses_write(&self) -> bool {
        self.lose_write.swap(false, Ordering::SeqCst)
    }
}

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }
}

impl Subject for Folder {
    type Engine = Embedded;

    /// The former engine's thread may still be closing the folder.
    async fn open(&self) -> Embedded {
        for _ in 0..500 {
            match Embedded::open(self.0.path()).await {
                Err(EngineError::InUse { .. }) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
                opened => return opened.expect("it opens"),
            }
        }
        panic!("the folder is never let go");
    }

    fn lose_answer(&self, landed: bool) {
        let faults = Faults::of(self.0.path());
        let fault = if landed { &faults.lose_answer } else { &faults.lose_write };
        fault.store(true, Ordering::SeqCst);
    }
}

apiserver_store::conformance_suite!(Folder::new(), model_cases: 24);

#[tokio::test]
async fn a_folder_in_use_is_refused_by_name() {
    let folder = Folder::new();
    let engine = folder.open().await;
    let error = Embedded::open(folder.0.path()).await.err().expect("it is refused");
    assert_eq!(error.to_string(), format!("{} is in use by another process", folder.0.path().display()));
    drop(engine);
    folder.open().await;
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_an_error_that_says_so() {
    let folder = Folder::new();
    let file = folder.0.path().join("file");
    std::fs::write(&file, b"").expect("written");
    let error = Embedded::open(file.join("data")).await.err().expect("it is refused");
    assert!(error.to_string().starts_with("making the data folder: "), "{error}");
}

#[tokio::test]
async fn reads_after_the_engine_has_ended_say_that_it_is_closed() {
    let folder = Folder::new();
    let engine = folder.open().await;
    let reader = engine.reader();
    drop(engine);
    for _ in 0..500 {
        match reader.load(Revision(0), |_| {}).await {
            Ok(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
            Err(error) => {
                assert!(matches!(error, EngineError::Closed), "{error}");
                return;
            }
        }
    }
    panic!("it never closes");
}

async fn store_in(folder: &Folder) -> (Store, Tasks) {
    let tasks = Tasks::new(Shutdown::new());
    (Store::open(folder.open().await, Config::new(ServerId(Str::from("test"))), &tasks).await.expect("it opens"), tasks)
}

fn put(key: &str, bytes: usize) -> Txn {
    let value = Draft::Opaque(vec![b'x'; bytes].into());
    Txn::new(vec![], vec![Op::Put { key: Key::from(key), value, facts: Facts::default(), lease: Lease::NONE }])
}

#[tokio::test]
async fn a_nearly_full_disk_refuses_puts_takes_deletes_and_goes_on_when_there_is_room() {
    let folder = Folder::new();
    let (store, _tasks) = store_in(&folder).await;
    store.commit(put("/a", 10)).await.expect("there is room");
    let free = |bytes| Faults::of(folder.0.path()).free.store(bytes, Ordering::SeqCst);
    free(60 << 20);
    let refused = store.commit(put("/b", 10)).await;
    assert!(matches!(refused, Err(CommitError::Full)), "{refused:?}");
    let delete = Txn::new(vec![], vec![Op::Delete { key: Key::from("/a") }]);
    assert_eq!(store.commit(delete).await.expect("a deletion is taken").revision, Revision(2));
    free(1);
    let nothing = Txn::new(vec![], vec![Op::DeleteRange { range: Range::all() }]);
    assert_eq!(store.commit(nothing).await.expect("it changes nothing").revision, Revision(2));
    free(0);
    assert_eq!(store.commit(put("/b", 10)).await.expect("there is room again").revision, Revision(3));
}

#[tokio::test]
async fn who_reads_the_log_slowly_does_not_keep_an_append_from_being_settled() {
    let folder = Folder::new();
    let engine = folder.open().await;
    let reader = engine.reader();
    let tasks = Tasks::new(Shutdown::new());
    let store = Store::open(engine, Config::new(ServerId(Str::from("test"))), &tasks).await.expect("it opens");
    for _ in 0..6 {
        store.commit(put("/a", 900_000)).await.expect("committed");
    }
    let mut log = reader.log(Revision(0), Revision(6)).await.expect("the log");
    assert!(log.next().await.expect("a batch").is_some());
    folder.lose_answer(true);
    assert_eq!(store.commit(put("/a", 10)).await.expect("settled").revision, Revision(7));
    let mut seen = 1;
    while let Some(batch) = log.next().await.expect("the log goes on") {
        seen += 1;
        assert_eq!(batch.revision, Revision(seen));
    }
    assert_eq!(seen, 6);
}
