//! The suite that every engine must pass, and what is particular to this one.

use crate::Embedded;
use apiserver_store::conformance::Subject;
use apiserver_store::{Engine, EngineError, Reader, Revision};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use tempfile::TempDir;

/// What a test tells the thread of one folder to do wrong.
#[derive(Default)]
pub(crate) struct Faults {
    lose_answer: AtomicBool,
    lose_write: AtomicBool,
}

static FAULTS: LazyLock<Mutex<HashMap<PathBuf, Arc<Faults>>>> = LazyLock::new(Mutex::default);

impl Faults {
    pub(crate) fn of(folder: &Path) -> Arc<Self> {
        FAULTS.lock().expect("no test panics here").entry(folder.to_owned()).or_default().clone()
    }

    pub(crate) fn loses_answer(&self) -> bool {
        self.lose_answer.swap(false, Ordering::SeqCst)
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
