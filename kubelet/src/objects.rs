//! The ConfigMaps and Secrets that Pods of this node use: each is watched by itself, as long as a Pod uses it.
//!
//! The node's identity may not list them, only follow the ones that its Pods name.

use apiserver_client::{Event, Informer, Informers};
use apiserver_component::{Shutdown, Tasks};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Resource;
use serde::de::DeserializeOwned;
use std::any::Any;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::mpsc;

/// How long a Pod waits for the first answer about an object before it is tried anew.
const SYNC_TIMEOUT: Duration = Duration::from_secs(10);
/// Changes that wait to be looked at; when full, the Pods' periodic refresh sees to it.
pub const CHANGES_MAX: usize = 1024;

#[derive(Debug, thiserror::Error)]
#[error("failed to sync {kind} cache: timed out waiting for {namespace}/{name}")]
pub struct NotSynced {
    kind: &'static str,
    namespace: String,
    name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    ConfigMap,
    Secret,
}

type Key = (Kind, String, String);

struct Held {
    informer: Box<dyn Any + Send + Sync>,
    users: BTreeSet<String>,
    stop: Shutdown,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.stop.fire();
    }
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Objects {
    informers: Informers,
    tasks: Tasks,
    held: Arc<Mutex<HashMap<Key, Held>>>,
    changes: mpsc::Sender<Vec<String>>,
}

impl Objects {
    /// `changes` gets the uids of the Pods that use an object that changed.
    pub fn new(informers: Informers, tasks: Tasks, changes: mpsc::Sender<Vec<String>>) -> Self {
        Self { informers, tasks, held: Arc::default(), changes }
    }

    pub async fn config_map(&self, user: &str, namespace: &str, name: &str) -> Result<Option<Arc<ConfigMap>>, NotSynced> {
        self.get(Kind::ConfigMap, "configmap", user, namespace, name).await
    }

    pub async fn secret(&self, user: &str, namespace: &str, name: &str) -> Result<Option<Arc<Secret>>, NotSynced> {
        self.get(Kind::Secret, "secret", user, namespace, name).await
    }

    /// The Pod is gone: what nobody else uses is no longer watched.
    pub fn release(&self, user: &str) {
        self.lock().retain(|_, held| {
            held.users.remove(user);
            !held.users.is_empty()
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Held>> {
        self.held.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    async fn get<K>(&self, kind: Kind, word: &'static str, user: &str, namespace: &str, name: &str) -> Result<Option<Arc<K>>, NotSynced>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned + Send + Sync + 'static,
    {
        let informer = self.hold::<K>(kind, user, namespace, name);
        let synced = match informer {
            Some(informer) => tokio::time::timeout(SYNC_TIMEOUT, informer.synced()).await.ok().map(|()| informer),
            None => None,
        };
        let informer = synced.ok_or_else(|| NotSynced { kind: word, namespace: namespace.to_owned(), name: name.to_owned() })?;
        Ok(informer.get(namespace, name))
    }

    fn hold<K>(&self, kind: Kind, user: &str, namespace: &str, name: &str) -> Option<Informer<K>>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned + Send + Sync + 'static,
    {
        let key = (kind, namespace.to_owned(), name.to_owned());
        let mut held = self.lock();
        if let Some(found) = held.get_mut(&key) {
            found.users.insert(user.to_owned());
            return found.informer.downcast_ref::<Informer<K>>().cloned();
        }
        let informer = self.informers.in_namespace::<K>(namespace, &format!("metadata.name={name}"), "");
        let stop = self.tasks.shutdown().child();
        self.follow(key.clone(), informer.clone(), stop.clone());
        held.insert(key, Held { informer: Box::new(informer.clone()), users: BTreeSet::from([user.to_owned()]), stop });
        Some(informer)
    }

    fn follow<K: Send + Sync + 'static>(&self, key: Key, informer: Informer<K>, stop: Shutdown) {
        let mut events = informer.subscribe();
        let (held, changes) = (self.held.clone(), self.changes.clone());
        self.tasks.spawn("object-watch", async move {
            let work = async {
                let mut synced = false;
                while let Some(event) = events.next().await {
                    match event {
                        Event::Synced => synced = true,
                        // Whoever asks for an object waits for it by itself.
                        _ if !synced => {}
                        Event::Added(_) | Event::Updated { .. } | Event::Deleted(_) => {
                            let users = held.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get(&key).map(|held| held.users.clone());
                            let _ = changes.try_send(users.into_iter().flatten().collect());
                        }
                    }
                }
            };
            stop.run_until(work).await;
        });
    }
}
