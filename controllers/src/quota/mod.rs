//! Recalculates what ResourceQuotas say is used.
//!
//! Admission adds to `status.used` as things are made; this gives back what was deleted, and takes a new or changed quota into account. So it looks
//! when something is deleted or finished, when a quota changes, and now and then; not when things are made, since a cache that lags would undo what
//! admission has just added.

mod plan;
#[cfg(test)]
mod tests;
mod usage;

use crate::discovery::{self, Resource};
use crate::pod;
use crate::registry::{Row, Setup};
use apiserver_client::{Client, Event, Informer, Informers, ObjectKey};
use apiserver_component::{Shutdown, Tasks};
use controllers_runtime::{Kind, Plan, Queue, Rule};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, Service};
use kube::core::PartialObjectMeta;
use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

pub(crate) const ROW: Row = Row { name: "resourcequota-controller", start };

const WORKERS: usize = 5;
const QUOTAS: Kind = Kind::of::<ResourceQuota>();
/// The list of resources that can be counted is asked for again so often.
const DISCOVERY_PERIOD: Duration = Duration::from_secs(30);

/// Metadata of everything that can be counted, by `resource.group`, or `resource` for the core group.
type Counted = Arc<RwLock<HashMap<String, Followed>>>;

/// A resource that is counted; dropping it ends its watch.
struct Followed {
    informer: Informer<PartialObjectMeta>,
    stop: Shutdown,
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.stop.fire();
    }
}

fn start(setup: &Setup) {
    let informers = &setup.informers;
    let (quotas, pods) = (informers.of::<ResourceQuota>(), informers.of::<Pod>());
    let (services, claims) = (informers.of::<Service>(), informers.of::<PersistentVolumeClaim>());
    let counted = Counted::default();
    let rule = Quotas { quotas: quotas.clone(), pods: pods.clone(), services: services.clone(), claims: claims.clone(), counted: counted.clone() };
    let context = setup.context(ROW.name, "resource-quota-controller");
    let (client, resync) = (context.client.clone(), setup.config.quota_resync);
    context.start(ROW.name, WORKERS, rule, |routes| {
        routes.watches(ROW.name, &quotas, |event| match event {
            Event::Added(quota) => vec![ObjectKey::of(&**quota)],
            Event::Updated { old, new } if old.spec != new.spec || plan::is_new(new) => vec![ObjectKey::of(&**new)],
            _ => Vec::new(),
        });
        let of_namespace = |quotas: &Informer<ResourceQuota>, namespace: Option<&str>| -> Vec<ObjectKey> {
            quotas.list_in(namespace.unwrap_or_default()).iter().map(|quota| ObjectKey::of(&**quota)).collect()
        };
        let by_pod = quotas.clone();
        routes.watches(ROW.name, &pods, move |event| match event {
            Event::Deleted(pod) => of_namespace(&by_pod, pod.metadata.namespace.as_deref()),
            Event::Updated { old, new } if !pod::is_terminal(old) && pod::is_terminal(new) => {
                of_namespace(&by_pod, new.metadata.namespace.as_deref())
            }
            _ => Vec::new(),
        });
        let by_service = quotas.clone();
        routes.watches(ROW.name, &services, move |event| match event {
            Event::Updated { old, new } if usage::of_service(old) != usage::of_service(new) => {
                of_namespace(&by_service, new.metadata.namespace.as_deref())
            }
            _ => Vec::new(),
        });
        routes.reads(&claims);
        let resynced = quotas.clone();
        routes.every(ROW.name, resync, move || resynced.list().iter().map(|quota| ObjectKey::of(&**quota)).collect());
        let queue = routes.queue().clone();
        let follow = follow_resources(client, setup.informers.clone(), setup.tasks.clone(), quotas.clone(), counted, queue);
        setup.tasks.spawn(ROW.name, follow);
    });
}

/// Keeps a metadata cache per countable resource; deletions there look at the quotas of their namespace.
async fn follow_resources(
    client: Client,
    informers: Informers,
    tasks: Tasks,
    quotas: Informer<ResourceQuota>,
    counted: Counted,
    queue: Queue<ObjectKey>,
) {
    loop {
        match discovery::discover(&client).await {
            Err(error) => tracing::warn!(%error, "discovering resources to count"),
            Ok(discovered) => {
                let countable = |resource: &Resource| resource.namespaced && ["create", "list", "watch"].iter().all(|verb| resource.can(verb));
                let mut known = counted.write().unwrap_or_else(|poisoned| poisoned.into_inner());
                let mut fresh = Vec::new();
                let served: HashMap<String, Resource> =
                    discovered.resources.into_iter().filter(countable).map(|resource| (resource.kind.to_string(), resource)).collect();
                if discovered.failed.is_empty() {
                    known.retain(|name, _| served.contains_key(name));
                }
                for (name, resource) in served {
                    known.entry(name).or_insert_with(|| {
                        let (informer, stop) = (informers.metadata(&resource.api_resource()), tasks.shutdown().child());
                        fresh.push((informer.clone(), stop.clone()));
                        Followed { informer, stop }
                    });
                }
                drop(known);
                for (informer, stop) in fresh {
                    let (quotas, queue) = (quotas.clone(), queue.clone());
                    tasks.spawn(ROW.name, async move {
                        stop.run_until(replenish(informer, quotas, queue)).await;
                    });
                }
            }
        }
        tokio::time::sleep(DISCOVERY_PERIOD).await;
    }
}

async fn replenish(informer: Informer<PartialObjectMeta>, quotas: Informer<ResourceQuota>, queue: Queue<ObjectKey>) {
    let mut events = informer.subscribe();
    drop(informer);
    while let Some(event) = events.next().await {
        match event {
            Event::Deleted(object) => {
                let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
                quotas.list_in(namespace).iter().for_each(|quota| queue.add(ObjectKey::of(&**quota)));
            }
            // A resource that could not be counted before can be now.
            Event::Synced => quotas.list().iter().for_each(|quota| queue.add(ObjectKey::of(&**quota))),
            Event::Added(_) | Event::Updated { .. } => {}
        }
    }
}

struct Quotas {
    quotas: Informer<ResourceQuota>,
    pods: Informer<Pod>,
    services: Informer<Service>,
    claims: Informer<PersistentVolumeClaim>,
    counted: Counted,
}

struct Observed {
    quota: Arc<ResourceQuota>,
    pods: Vec<Arc<Pod>>,
    services: Vec<Arc<Service>>,
    claims: Vec<Arc<PersistentVolumeClaim>>,
    /// How many there are in the namespace, by `resource.group`; only those that the quota names and that could be listed.
    counts: HashMap<String, usize>,
}

impl Rule for Quotas {
    type Observed = Observed;

    fn observe(&self, key: &ObjectKey) -> Option<Observed> {
        let quota = self.quotas.get(&key.namespace, &key.name)?;
        let counted = self.counted.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        let count = |resource: &str| {
            let informer = &counted.get(resource).filter(|followed| followed.informer.is_synced())?.informer;
            Some((resource.to_string(), informer.list_in(&key.namespace).len()))
        };
        let counts = plan::hard(&quota).keys().filter_map(|name| count(usage::counted_resource(name)?)).collect();
        Some(Observed {
            pods: self.pods.list_in(&key.namespace),
            services: self.services.list_in(&key.namespace),
            claims: self.claims.list_in(&key.namespace),
            counts,
            quota,
        })
    }

    fn plan(&self, observed: &Observed, now: Timestamp) -> Plan {
        plan::plan(observed, now)
    }
}
