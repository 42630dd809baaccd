//! Deletes what nobody owns any more, and carries out foreground and orphaning deletions.
//!
//! ```text
//!   discovery ──► a metadata watch per deletable resource ──► Graph (who owns whom) ──► uids to look at
//!                                                                                           │
//!            owners asked for at the server itself ◄── delete.rs: decide (pure) ◄───────────┘
//! ```
//! The graph only says where to look. Whether an owner is gone is always asked of the server before anything is deleted.

mod decide;
mod delete;
mod graph;
#[cfg(test)]
mod tests;

use crate::discovery::{self, Resource};
use crate::registry::{Row, Setup};
use apiserver_client::{Client, Event, Events, Informers};
use apiserver_component::{Shutdown, Tasks};
use controllers_runtime::{Kind, Queue};
use graph::{Graph, Look};
use kube::core::PartialObjectMeta;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Notify;

pub(crate) const ROW: Row = Row { name: "garbage-collector-controller", start };

const WORKERS: usize = 20;
/// The list of resources is asked for again so often, and when a CustomResourceDefinition changes.
const DISCOVERY_PERIOD: Duration = Duration::from_secs(30);
/// A burst of CustomResourceDefinitions is waited out.
const DISCOVERY_DELAY: Duration = Duration::from_millis(500);
/// Longest wait for the first watches before work begins without those that cannot be read.
const FIRST_SYNC_TIMEOUT: Duration = Duration::from_secs(30);
/// Events own nothing and come in masses.
const IGNORED: &[(&str, &str)] = &[("", "events"), ("events.k8s.io", "events")];

type Uid = Arc<str>;

/// What all tasks of the collector share.
struct Collector {
    client: Client,
    informers: Informers,
    tasks: Tasks,
    graph: Mutex<Graph>,
    /// By group and kind, as owner references name resources.
    resources: Mutex<HashMap<(String, String), Resource>>,
    to_delete: Queue<Uid>,
    to_orphan: Queue<Uid>,
    rediscover: Notify,
}

impl Collector {
    fn graph(&self) -> MutexGuard<'_, Graph> {
        self.graph.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn resource(&self, api_version: &str, kind: &str) -> Option<Resource> {
        let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
        let resources = self.resources.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        resources.get(&(group.to_string(), kind.to_string())).cloned()
    }

    fn look(&self, looks: Vec<Look>) {
        for look in looks {
            match look {
                Look::Delete(uid) => self.to_delete.add(uid),
                Look::Orphan(uid) => self.to_orphan.add(uid),
            }
        }
    }
}

fn start(setup: &Setup) {
    let collector = Arc::new(Collector {
        client: setup.context(ROW.name, "garbage-collector-controller").client,
        informers: setup.informers.clone(),
        tasks: setup.tasks.clone(),
        graph: Mutex::default(),
        resources: Mutex::default(),
        to_delete: Queue::named("garbage_collector_attempt_to_delete"),
        to_orphan: Queue::named("garbage_collector_attempt_to_orphan"),
        rediscover: Notify::new(),
    });
    setup.tasks.spawn(ROW.name, follow_resources(collector));
}

/// Keeps one watch per resource that can be listed, watched and deleted.
async fn follow_resources(collector: Arc<Collector>) {
    let mut watched: HashMap<Kind, Shutdown> = HashMap::new();
    let mut working = false;
    loop {
        match discovery::discover(&collector.client).await {
            Err(error) => tracing::warn!(%error, "discovering resources"),
            Ok(discovered) => {
                let useful = |resource: &&Resource| {
                    ["list", "watch", "delete"].iter().all(|verb| resource.can(verb))
                        && !IGNORED.contains(&(&*resource.kind.group, &*resource.kind.plural))
                };
                let wanted: HashMap<Kind, Resource> =
                    discovered.resources.iter().filter(useful).map(|resource| (resource.kind.clone(), resource.clone())).collect();
                let all =
                    discovered.resources.into_iter().map(|resource| ((resource.kind.group.to_string(), resource.kind.kind.to_string()), resource));
                *collector.resources.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = all.collect();
                // A group whose server is silent for a moment keeps its watches.
                watched.retain(|kind, stop| {
                    let keep = wanted.contains_key(kind) || !discovered.failed.is_empty();
                    if !keep {
                        stop.fire();
                        let looks = collector.graph().forget_kind(kind);
                        collector.look(looks);
                    }
                    keep
                });
                let mut first_lists = Vec::new();
                for resource in wanted.into_values().filter(|resource| !watched.contains_key(&resource.kind)).collect::<Vec<_>>() {
                    let stop = collector.tasks.shutdown().child();
                    watched.insert(resource.kind.clone(), stop.clone());
                    let informer = collector.informers.metadata(&resource.api_resource());
                    let (events, watcher) = (informer.subscribe(), collector.clone());
                    collector.tasks.spawn(ROW.name, async move {
                        stop.run_until(watch(watcher, resource, events)).await;
                    });
                    first_lists.push(informer);
                }
                if !working {
                    let synced = futures::future::join_all(first_lists.iter().map(|informer| informer.synced()));
                    if tokio::time::timeout(FIRST_SYNC_TIMEOUT, synced).await.is_err() {
                        tracing::warn!("not all resources could be listed; beginning without them");
                    }
                    start_workers(&collector);
                    working = true;
                }
            }
        }
        let _ = tokio::time::timeout(DISCOVERY_PERIOD, collector.rediscover.notified()).await;
        tokio::time::sleep(DISCOVERY_DELAY).await;
    }
}

fn start_workers(collector: &Arc<Collector>) {
    tracing::info!(controller = ROW.name, "started");
    for _ in 0..WORKERS {
        collector.tasks.spawn(ROW.name, delete::work(collector.clone()));
    }
    collector.tasks.spawn(ROW.name, delete::work_orphans(collector.clone()));
}

async fn watch(collector: Arc<Collector>, resource: Resource, mut events: Events<PartialObjectMeta>) {
    let is_definition = resource.kind.group == "apiextensions.k8s.io";
    while let Some(event) = events.next().await {
        let looks = match &event {
            Event::Added(object) | Event::Updated { new: object, .. } => collector.graph().put(&resource, &object.metadata),
            Event::Deleted(object) => collector.graph().remove(object.metadata.uid.as_deref().unwrap_or_default()),
            Event::Synced => continue,
        };
        if is_definition {
            collector.rediscover.notify_one();
        }
        collector.look(looks);
    }
}
