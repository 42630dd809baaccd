//! The store on the memory engine.

mod conform;
mod faults;
mod leases;
mod past;
mod txns;
mod watches;

use crate::{
    CommitError, Committed, Compare, Config, Draft, Facts, Generation, Key, Lease, Limits, Memory, Op, Range, Revision, ServerId, Store, Str, Txn,
    Watch,
};
use apiserver_component::{Shutdown, Tasks};

/// A store of a test's own, which ends with it.
pub(crate) struct Running {
    pub(crate) store: Store,
    pub(crate) memory: Memory,
    tasks: Tasks,
}

impl Running {
    pub(crate) async fn new() -> Self {
        Self::on(Memory::new(), Limits::default()).await
    }

    pub(crate) async fn with(limits: Limits) -> Self {
        Self::on(Memory::new(), limits).await
    }

    pub(crate) async fn on(memory: Memory, limits: Limits) -> Self {
        let tasks = Tasks::new(Shutdown::new());
        let config = Config { limits, ..Config::new(ServerId(Str::from("test"))) };
        let store = Store::open(memory.clone(), config, &tasks).await.expect("memory opens");
        Self { store, memory, tasks }
    }

    /// Ends the store and opens another on the same data.
    pub(crate) async fn reopen(self) -> Self {
        let limits = self.store.limits().clone();
        let memory = self.memory.clone();
        self.tasks.shutdown().fire();
        self.tasks.join().await;
        Self::on(memory, limits).await
    }

    pub(crate) async fn stop(&self) {
        self.tasks.shutdown().fire();
        self.tasks.join().await;
    }

    pub(crate) async fn put(&self, key: &str, text: &str) -> Revision {
        self.commit(vec![], vec![put(key, text)]).await.expect("it is put").revision
    }

    pub(crate) async fn delete(&self, key: &str) -> Revision {
        self.commit(vec![], vec![Op::Delete { key: Key::from(key) }]).await.expect("it is deleted").revision
    }

    pub(crate) async fn commit(&self, compares: Vec<Compare>, ops: Vec<Op>) -> Result<Committed, CommitError> {
        self.store.commit(Txn::new(compares, ops)).await
    }

    pub(crate) fn watch(&self, range: Range, after: u64) -> Watch {
        self.store.watch(range, Revision(after)).expect("a watch")
    }
}

/// An object of that name and text; its key is not in it.
pub(crate) fn object(text: &str) -> Draft {
    let json = format!(r#"{{"metadata":{{"name":"a"}},"text":"{text}"}}"#);
    Draft::Object { json: json.into_bytes(), gap: 23, protobuf: None, schema: Generation(1) }
}

pub(crate) fn put(key: &str, text: &str) -> Op {
    put_with(key, text, Lease::NONE)
}

pub(crate) fn put_with(key: &str, text: &str, lease: Lease) -> Op {
    Op::Put { key: Key::from(key), value: object(text), facts: Facts::default(), lease }
}

/// `key@revision`, with `-` before a deletion, and what was there before in brackets.
pub(crate) fn describe(change: &crate::Change) -> String {
    let was = change.old.as_ref().map_or(String::new(), |row| format!("({})", row.modified));
    let sign = if change.new.is_some() { "" } else { "-" };
    format!("{sign}{}@{}{was}", change.key, change.revision)
}

/// All that is ready, described.
pub(crate) fn ready(watch: &mut Watch) -> Vec<String> {
    std::iter::from_fn(|| watch.try_next()).map_while(Result::ok).map(|change| describe(&change)).collect()
}

/// `key@modified` for every row of the range.
pub(crate) fn rows(snapshot: &crate::Snapshot, range: &Range) -> Vec<String> {
    snapshot.range(range).map(|(key, row)| format!("{key}@{}", row.modified)).collect()
}
