//! Caches of API objects that follow the API server, shared by everything in a process.
//!
//! One watch runs per kind and selector, however many ask for it, and ends when the last [`Informer`] and [`Events`] of it are dropped. Reads clone
//! `Arc`s out of memory and never wait. `metadata.managedFields` is dropped on the way in: no component reads it.
//!
//! Objects in a cache are as old as the last event; a component that has written something waits with [`Informer::reached`] for its own write.

mod cache;
mod events;
mod reflector;
#[cfg(test)]
mod tests;

pub use events::{Event, Events};

use crate::Client;
use apiserver_component::{Shutdown, Tasks};
use cache::Cache;
use kube::Resource;
use kube::api::{ApiResource, DynamicObject};
use kube::core::PartialObjectMeta;
use reflector::{Decode, Source};
use serde::de::DeserializeOwned;
use std::any::TypeId;
use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, Weak};

/// A namespace (empty for cluster-scoped objects) and a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl ObjectKey {
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    pub fn of<K: Resource>(object: &K) -> Self {
        let meta = object.meta();
        Self::new(meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() { f.write_str(&self.name) } else { write!(f, "{}/{}", self.namespace, self.name) }
    }
}

/// The informers of one process. Cheap to clone.
#[derive(Clone)]
pub struct Informers(Arc<Inner>);

struct Inner {
    client: Client,
    tasks: Tasks,
    running: Mutex<HashMap<Which, Weak<Running>>>,
}

/// What tells two watches apart.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Which {
    kind: TypeId,
    path: String,
    fields: String,
    labels: String,
}

/// A watch under way; dropping it ends the watch.
struct Running {
    cache: Arc<Cache>,
    stop: Shutdown,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.fire();
    }
}

impl Informers {
    pub fn new(client: Client, tasks: Tasks) -> Self {
        Self(Arc::new(Inner { client, tasks, running: Mutex::default() }))
    }

    pub fn client(&self) -> &Client {
        &self.0.client
    }

    /// All objects of a kind.
    pub fn of<K: Resource<DynamicType = ()> + DeserializeOwned + Send + Sync + 'static>(&self) -> Informer<K> {
        self.select("", "")
    }

    /// Objects of a kind that match a field selector (`spec.nodeName=n1`) and a label selector; either may be empty.
    pub fn select<K: Resource<DynamicType = ()> + DeserializeOwned + Send + Sync + 'static>(&self, fields: &str, labels: &str) -> Informer<K> {
        self.start(K::url_path(&(), None), fields, labels, reflector::ACCEPT_JSON, reflector::decode::<K>)
    }

    /// Objects of a kind in one namespace, with selectors as in [`Informers::select`].
    pub fn in_namespace<K: Resource<DynamicType = ()> + DeserializeOwned + Send + Sync + 'static>(
        &self,
        namespace: &str,
        fields: &str,
        labels: &str,
    ) -> Informer<K> {
        self.start(K::url_path(&(), Some(namespace)), fields, labels, reflector::ACCEPT_JSON, reflector::decode::<K>)
    }

    /// All objects of a resource known only at run time.
    pub fn dynamic(&self, resource: &ApiResource) -> Informer<DynamicObject> {
        self.start(DynamicObject::url_path(resource, None), "", "", reflector::ACCEPT_JSON, reflector::decode::<DynamicObject>)
    }

    /// The metadata of all objects of a resource.
    pub fn metadata(&self, resource: &ApiResource) -> Informer<PartialObjectMeta> {
        self.start(DynamicObject::url_path(resource, None), "", "", reflector::ACCEPT_METADATA, reflector::decode::<PartialObjectMeta>)
    }

    fn start<K: Send + Sync + 'static>(&self, path: String, fields: &str, labels: &str, accept: &'static str, decode: Decode) -> Informer<K> {
        let which = Which { kind: TypeId::of::<K>(), path: path.clone(), fields: fields.into(), labels: labels.into() };
        let mut running = self.0.running.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(found) = running.get(&which).and_then(Weak::upgrade) {
            return Informer { running: found, kind: PhantomData };
        }
        running.retain(|_, watch| watch.strong_count() > 0);
        let started = Arc::new(Running { cache: Arc::new(Cache::new()), stop: self.0.tasks.shutdown().child() });
        running.insert(which, Arc::downgrade(&started));
        let source = Source { client: self.0.client.clone(), path, fields: fields.into(), labels: labels.into(), accept, decode };
        let (cache, stop) = (started.cache.clone(), started.stop.clone());
        // Made outside of the task, which is dropped without having run when shutdown fires first.
        let closed_at_the_end = cache.closer();
        self.0.tasks.spawn("informer", async move {
            let _closed_at_the_end = closed_at_the_end;
            stop.run_until(reflector::follow(&source, &cache)).await;
        });
        Informer { running: started, kind: PhantomData }
    }

    /// Completes when every informer that has been asked for by now holds what the server had.
    pub async fn synced(&self) {
        let caches: Vec<Arc<Running>> = {
            let running = self.0.running.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            running.values().filter_map(Weak::upgrade).collect()
        };
        for running in caches {
            running.cache.synced().await;
        }
    }
}

/// A cache of one kind. Cheap to clone; while one is held its watch runs.
pub struct Informer<K> {
    running: Arc<Running>,
    kind: PhantomData<fn() -> K>,
}

impl<K> Clone for Informer<K> {
    fn clone(&self) -> Self {
        Self { running: self.running.clone(), kind: PhantomData }
    }
}

impl<K: Send + Sync + 'static> Informer<K> {
    /// `namespace` is empty for cluster-scoped kinds.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.running.cache.get(namespace, name).and_then(typed)
    }

    pub fn list(&self) -> Vec<Arc<K>> {
        self.running.cache.list(None).into_iter().filter_map(typed).collect()
    }

    pub fn list_in(&self, namespace: &str) -> Vec<Arc<K>> {
        self.running.cache.list(Some(namespace)).into_iter().filter_map(typed).collect()
    }

    pub fn len(&self) -> usize {
        self.running.cache.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What changes from now on, after what is there as `Added` and then `Synced`.
    pub fn subscribe(&self) -> Events<K> {
        Events::new(self.running.clone(), self.running.cache.subscribe())
    }

    /// Objects by a value computed from each, kept up to date. A second call with the same `name` gives the same index.
    pub fn index(&self, name: &'static str, by: fn(&K) -> Vec<String>) -> Index<K> {
        let by = move |object: &cache::Object| object.downcast_ref::<K>().map(by).unwrap_or_default();
        let position = self.running.cache.index(name, Box::new(by));
        Index { informer: self.clone(), position }
    }

    /// Completes when the cache holds what the server had when it was first asked.
    pub async fn synced(&self) {
        self.running.cache.synced().await;
    }

    pub fn is_synced(&self) -> bool {
        self.running.cache.progress().synced
    }

    /// The newest resourceVersion that this cache reflects.
    pub fn revision(&self) -> u64 {
        self.running.cache.progress().revision
    }

    /// Completes when the cache reflects `revision`, which a write to an object of this kind and selection returned.
    pub async fn reached(&self, revision: u64) {
        self.running.cache.reached(revision).await;
    }
}

/// An index over an informer, from [`Informer::index`].
pub struct Index<K> {
    informer: Informer<K>,
    position: usize,
}

impl<K> Clone for Index<K> {
    fn clone(&self) -> Self {
        Self { informer: self.informer.clone(), position: self.position }
    }
}

impl<K: Send + Sync + 'static> Index<K> {
    pub fn get(&self, value: &str) -> Vec<Arc<K>> {
        self.informer.running.cache.indexed(self.position, value).into_iter().filter_map(typed).collect()
    }
}

fn typed<K: Send + Sync + 'static>(object: cache::Object) -> Option<Arc<K>> {
    object.downcast::<K>().ok()
}
