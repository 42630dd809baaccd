//! A small store in memory for tests of what reads it.

use apiserver_component::{Shutdown, Tasks};
use apiserver_store::{Config, Draft, Facts, Key, Lease, Memory, Op, ServerId, Store, Txn};
use bytes::Bytes;
use serde_json::Value;

/// Keys and the JSON of objects.
pub type Rows = Vec<(&'static str, &'static str)>;

pub async fn store(rows: &[(&str, &str)]) -> Store {
    let tasks = Tasks::new(Shutdown::new());
    let store = Store::open(Memory::default(), Config::new(ServerId("test".into())), &tasks).await.unwrap();
    // Tests end before the writer needs to.
    std::mem::forget(tasks);
    for (key, json) in rows {
        put(&store, key, json).await;
    }
    store
}

pub async fn put(store: &Store, key: &str, json: &str) {
    let object: Value = serde_json::from_str(json).unwrap();
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default().into();
    let labels = object.pointer("/metadata/labels").and_then(Value::as_object).into_iter().flatten();
    let facts = Facts {
        labels: labels.map(|(key, value)| (key.as_str().into(), value.as_str().unwrap_or_default().into())).collect(),
        fields: vec![("metadata.name".into(), text("/metadata/name")), ("spec.nodeName".into(), text("/spec/nodeName"))].into(),
        namespace: text("/metadata/namespace"),
        deleting: object.pointer("/metadata/deletionTimestamp").is_some(),
        ..Facts::default()
    };
    let op = Op::Put { key: Key::from(key), value: Draft::Opaque(Bytes::from(json.to_owned())), facts, lease: Lease::NONE };
    store.commit(Txn::new(Vec::new(), vec![op])).await.unwrap();
}

pub async fn delete(store: &Store, key: &str) {
    store.commit(Txn::new(Vec::new(), vec![Op::Delete { key: Key::from(key) }])).await.unwrap();
}

/// Waits a little for something that another task does.
pub async fn until(condition: impl Fn() -> bool) {
    for _ in 0..1000 {
        if condition() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("it did not happen");
}
