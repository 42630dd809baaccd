//! Keeps the Endpoints of Services that select Pods.
//!
//! Endpoints are what older clients read; EndpointSlices have a controller of their own. Endpoints of Services without a selector are their users'.

mod plan;
mod subsets;
#[cfg(test)]
mod tests;

use crate::registry::{Row, Setup};
use crate::service::{self, LEADER_ANNOTATION, TriggerTimes};
use apiserver_client::{Event, Informer, ObjectKey};
use controllers_runtime::{Kind, Plan, Rule};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Endpoints, Pod, Service};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
pub(crate) use subsets::repack;

pub(crate) const ROW: Row = Row { name: "endpoints-controller", start };

const WORKERS: usize = 5;
pub(crate) const ENDPOINTS: Kind = Kind::of::<Endpoints>();

fn start(setup: &Setup) {
    let (services, pods, endpoints) = (setup.informers.of::<Service>(), setup.informers.of::<Pod>(), setup.informers.of::<Endpoints>());
    let rule = Rules { services: services.clone(), pods: pods.clone(), endpoints: endpoints.clone(), triggers: TriggerTimes::default() };
    setup.context(ROW.name, "endpoint-controller").start(ROW.name, WORKERS, rule, |routes| {
        routes.watches_own(ROW.name, &services);
        routes.watches(ROW.name, &pods, move |event| service::of_pod(event, &services));
        // What was there at the start is looked at once: its Service may have gone while nobody watched.
        let synced = AtomicBool::new(false);
        routes.watches(ROW.name, &endpoints, move |event| match event {
            Event::Synced => {
                synced.store(true, Ordering::Relaxed);
                Vec::new()
            }
            Event::Added(old) if !synced.load(Ordering::Relaxed) => {
                let elects = old.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(LEADER_ANNOTATION));
                if elects { Vec::new() } else { vec![ObjectKey::of(&**old)] }
            }
            Event::Deleted(gone) => vec![ObjectKey::of(&**gone)],
            Event::Added(_) | Event::Updated { .. } => Vec::new(),
        });
    });
}

struct Rules {
    services: Informer<Service>,
    pods: Informer<Pod>,
    endpoints: Informer<Endpoints>,
    triggers: TriggerTimes,
}

enum Observed {
    /// The Service is gone, its Endpoints are not.
    Leftover(Arc<Endpoints>),
    Selecting(Selecting),
}

struct Selecting {
    service: Arc<Service>,
    /// Those that the Service selects, by name.
    pods: Vec<Arc<Pod>>,
    current: Option<Arc<Endpoints>>,
    triggered: Option<Timestamp>,
}

impl Rule for Rules {
    type Observed = Observed;

    fn observe(&self, key: &ObjectKey) -> Option<Observed> {
        let current = self.endpoints.get(&key.namespace, &key.name);
        let Some(service) = self.services.get(&key.namespace, &key.name) else {
            self.triggers.forget(key);
            return current.map(Observed::Leftover);
        };
        let selector = service::selector(&service)?;
        let mut pods = self.pods.list_in(&key.namespace);
        pods.retain(|pod| selector.matches(pod.metadata.labels.as_ref()));
        pods.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        let triggered = self.triggers.next(key, &service, &pods);
        Some(Observed::Selecting(Selecting { service, pods, current, triggered }))
    }

    fn plan(&self, observed: &Observed, _: Timestamp) -> Plan {
        match observed {
            Observed::Leftover(endpoints) => Plan::act(controllers_runtime::Action::delete(ENDPOINTS.target_of(&**endpoints))),
            Observed::Selecting(selecting) => plan::plan(selecting),
        }
    }
}
