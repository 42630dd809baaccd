//! The objects of one watch, their indexes and who listens. It knows no types: one copy of this code serves all kinds.

use super::ObjectKey;
use super::events::Queue;
use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, RwLock, Weak};
use tokio::sync::watch;

pub(super) type Object = Arc<dyn Any + Send + Sync>;
type IndexBy = Box<dyn Fn(&Object) -> Vec<String> + Send + Sync>;

/// An object as it came from the server.
pub(super) struct Decoded {
    pub key: ObjectKey,
    pub uid: String,
    pub revision: u64,
    pub object: Object,
}

#[derive(Clone, Copy, Default)]
pub(super) struct Progress {
    pub synced: bool,
    pub revision: u64,
}

pub(super) struct Cache {
    state: RwLock<State>,
    progress: watch::Sender<Progress>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Entry>>,
    count: usize,
    indexes: Vec<IndexState>,
    subscribers: Vec<Weak<Queue>>,
    synced: bool,
    closed: bool,
}

struct Entry {
    object: Object,
    uid: String,
    revision: u64,
}

struct IndexState {
    name: &'static str,
    by: IndexBy,
    entries: HashMap<String, BTreeMap<ObjectKey, Object>>,
}

impl IndexState {
    fn insert(&mut self, key: &ObjectKey, object: &Object) {
        for value in (self.by)(object) {
            self.entries.entry(value).or_default().insert(key.clone(), object.clone());
        }
    }

    fn remove(&mut self, key: &ObjectKey, object: &Object) {
        for value in (self.by)(object) {
            if let Some(bucket) = self.entries.get_mut(&value) {
                bucket.remove(key);
                if bucket.is_empty() {
                    self.entries.remove(&value);
                }
            }
        }
    }
}

impl State {
    fn tell(&mut self, each: impl Fn(&Queue)) {
        self.subscribers.retain(|subscriber| match subscriber.upgrade() {
            Some(queue) => {
                each(&queue);
                true
            }
            None => false,
        });
    }

    fn put(&mut self, new: Decoded) {
        let Decoded { key, uid, revision, object } = new;
        let entry = Entry { object: object.clone(), uid, revision };
        let bucket = self.objects.entry(key.namespace.clone()).or_default();
        match bucket.get_mut(&key.name) {
            Some(old) if old.revision == entry.revision && old.uid == entry.uid => {}
            Some(old) => {
                let old = std::mem::replace(old, entry);
                let replaced = old.uid != bucket[&key.name].uid;
                for index in &mut self.indexes {
                    index.remove(&key, &old.object);
                    index.insert(&key, &object);
                }
                self.tell(|queue| {
                    if replaced {
                        queue.deleted(&key, old.object.clone());
                        queue.added(&key, object.clone());
                    } else {
                        queue.updated(&key, old.object.clone(), object.clone());
                    }
                });
            }
            None => {
                bucket.insert(key.name.clone(), entry);
                self.count += 1;
                for index in &mut self.indexes {
                    index.insert(&key, &object);
                }
                self.tell(|queue| queue.added(&key, object.clone()));
            }
        }
    }

    /// `last` is the object's final state, where the server sent it.
    fn take(&mut self, key: &ObjectKey, last: Option<Object>) {
        let Some(bucket) = self.objects.get_mut(&key.namespace) else { return };
        let Some(old) = bucket.remove(&key.name) else { return };
        if bucket.is_empty() {
            self.objects.remove(&key.namespace);
        }
        self.count -= 1;
        for index in &mut self.indexes {
            index.remove(key, &old.object);
        }
        let last = last.unwrap_or(old.object);
        self.tell(|queue| queue.deleted(key, last.clone()));
    }
}

impl Cache {
    pub fn new() -> Self {
        Self { state: RwLock::default(), progress: watch::Sender::new(Progress::default()) }
    }

    fn read<T>(&self, what: impl FnOnce(&State) -> T) -> T {
        what(&self.state.read().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    fn write<T>(&self, what: impl FnOnce(&mut State) -> T) -> T {
        what(&mut self.state.write().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    pub fn get(&self, namespace: &str, name: &str) -> Option<Object> {
        self.read(|state| Some(state.objects.get(namespace)?.get(name)?.object.clone()))
    }

    pub fn list(&self, namespace: Option<&str>) -> Vec<Object> {
        let objects = |bucket: &BTreeMap<Arc<str>, Entry>| bucket.values().map(|entry| entry.object.clone()).collect::<Vec<_>>();
        self.read(|state| match namespace {
            Some(namespace) => state.objects.get(namespace).map(objects).unwrap_or_default(),
            None => state.objects.values().flat_map(objects).collect(),
        })
    }

    pub fn len(&self) -> usize {
        self.read(|state| state.count)
    }

    pub fn index(&self, name: &'static str, by: IndexBy) -> usize {
        self.write(|state| {
            if let Some(position) = state.indexes.iter().position(|index| index.name == name) {
                return position;
            }
            let mut index = IndexState { name, by, entries: HashMap::new() };
            for (namespace, bucket) in &state.objects {
                for (name, entry) in bucket {
                    index.insert(&ObjectKey { namespace: namespace.clone(), name: name.clone() }, &entry.object);
                }
            }
            state.indexes.push(index);
            state.indexes.len() - 1
        })
    }

    pub fn indexed(&self, position: usize, value: &str) -> Vec<Object> {
        self.read(|state| {
            let bucket = state.indexes.get(position).and_then(|index| index.entries.get(value));
            bucket.map(|bucket| bucket.values().cloned().collect()).unwrap_or_default()
        })
    }

    pub fn subscribe(&self) -> Arc<Queue> {
        let queue = Arc::new(Queue::default());
        self.write(|state| {
            for (namespace, bucket) in &state.objects {
                for (name, entry) in bucket {
                    queue.added(&ObjectKey { namespace: namespace.clone(), name: name.clone() }, entry.object.clone());
                }
            }
            if state.synced {
                queue.synced();
            }
            if state.closed {
                queue.close();
            }
            state.subscribers.push(Arc::downgrade(&queue));
        });
        queue
    }

    pub fn put(&self, new: Decoded) {
        let revision = new.revision;
        self.write(|state| state.put(new));
        self.advance(revision);
    }

    pub fn take(&self, key: &ObjectKey, last: Object, revision: u64) {
        self.write(|state| state.take(key, Some(last)));
        self.advance(revision);
    }

    /// The whole content is now `all`.
    pub fn replace(&self, all: Vec<Decoded>, revision: u64) {
        self.write(|state| {
            let kept: std::collections::HashSet<ObjectKey> = all.iter().map(|new| new.key.clone()).collect();
            let gone: Vec<ObjectKey> = state
                .objects
                .iter()
                .flat_map(|(namespace, bucket)| bucket.keys().map(|name| ObjectKey { namespace: namespace.clone(), name: name.clone() }))
                .filter(|key| !kept.contains(key))
                .collect();
            for key in gone {
                state.take(&key, None);
            }
            for new in all {
                state.put(new);
            }
            if !std::mem::replace(&mut state.synced, true) {
                state.tell(Queue::synced);
            }
        });
        // A store that was restored from a backup starts lower: what it says now counts.
        self.progress.send_replace(Progress { synced: true, revision });
    }

    pub fn advance(&self, revision: u64) {
        self.progress.send_if_modified(|progress| {
            let newer = revision > progress.revision;
            progress.revision = progress.revision.max(revision);
            newer
        });
    }

    pub fn progress(&self) -> Progress {
        *self.progress.borrow()
    }

    pub async fn synced(&self) {
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.progress.subscribe().wait_for(|progress| progress.synced).await;
    }

    pub async fn reached(&self, revision: u64) {
        let _ = self.progress.subscribe().wait_for(|progress| progress.synced && progress.revision >= revision).await;
    }

    /// Ends every subscription when it is dropped.
    pub fn closer(self: &Arc<Self>) -> Closer {
        Closer(self.clone())
    }
}

pub(super) struct Closer(Arc<Cache>);

impl Drop for Closer {
    fn drop(&mut self) {
        self.0.write(|state| {
            state.closed = true;
            state.tell(Queue::close);
        });
    }
}
