//! Keeps the EndpointSlices of Services that select Pods.
//!
//! Endpoints go where there is room, so that a change of one Pod rewrites one slice. Topology hints are not given: traffic goes to all zones alike.

mod plan;
mod reconcile;
#[cfg(test)]
mod tests;

use crate::registry::{Row, Setup};
use crate::routes::states;
use crate::service::{self, TriggerTimes};
use crate::slices::{self, MANAGED_BY, SERVICE_NAME};
use apiserver_client::{Event, Index, Informer, ObjectKey};
use controllers_runtime::{Plan, Rule};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

pub(crate) const ROW: Row = Row { name: "endpointslice-controller", start };

const WORKERS: usize = 5;
/// The value of the label that marks our slices.
const NAME: &str = "endpointslice-controller.k8s.io";
/// Changes of a slice by others are looked at after a moment: they come in groups.
const SLICE_CHANGE_WAIT: Duration = Duration::from_secs(1);

fn start(setup: &Setup) {
    let (services, pods) = (setup.informers.of::<Service>(), setup.informers.of::<Pod>());
    let (nodes, slices) = (setup.informers.of::<Node>(), setup.informers.of::<EndpointSlice>());
    let by_node = pods.index("node", |pod| vec![crate::pod::node_name(pod).to_string()]);
    let rule = Rules {
        services: services.clone(),
        pods: pods.clone(),
        nodes: nodes.clone(),
        slices: slices.index("service", slices::index_key),
        triggers: TriggerTimes::default(),
    };
    setup.context(ROW.name, "endpoint-slice-controller").start(ROW.name, WORKERS, rule, |routes| {
        routes.watches_own(ROW.name, &services);
        let all = services.clone();
        routes.watches(ROW.name, &pods, move |event| service::of_pod(event, &all));
        // Endpoints wait for the Node of their Pod to be known.
        routes.watches(ROW.name, &nodes, move |event| match event {
            Event::Added(node) => {
                let on_node = by_node.get(node.metadata.name.as_deref().unwrap_or_default());
                on_node.into_iter().flat_map(|pod| service::of_pod(&Event::Added(pod), &services)).collect()
            }
            _ => Vec::new(),
        });
        routes.watches_with(ROW.name, &slices, |event, queue| {
            for slice in states(event).filter(|slice| slices::label(slice, MANAGED_BY) == NAME) {
                let service = slices::label(slice, SERVICE_NAME);
                if !service.is_empty() {
                    queue.add_after(ObjectKey::new(slice.metadata.namespace.as_deref().unwrap_or_default(), service), SLICE_CHANGE_WAIT);
                }
            }
        });
    });
}

struct Rules {
    services: Informer<Service>,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    slices: Index<EndpointSlice>,
    triggers: TriggerTimes,
}

struct Observed {
    service: Arc<Service>,
    /// Those that the Service selects, by name.
    pods: Vec<Arc<Pod>>,
    /// The Pods' nodes.
    nodes: HashMap<String, Arc<Node>>,
    /// Ours, those that are being deleted left out.
    slices: Vec<Arc<EndpointSlice>>,
    triggered: Option<Timestamp>,
}

impl Rule for Rules {
    type Observed = Observed;

    fn observe(&self, key: &ObjectKey) -> Option<Observed> {
        let Some(service) = self.services.get(&key.namespace, &key.name) else {
            // Its slices have it as their owner: the garbage collector takes them.
            self.triggers.forget(key);
            return None;
        };
        let selector = service::selector(&service)?;
        let mut pods = self.pods.list_in(&key.namespace);
        pods.retain(|pod| selector.matches(pod.metadata.labels.as_ref()));
        pods.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        let mut slices = self.slices.get(&slices::index_value(&key.namespace, &key.name));
        slices.retain(|slice| slices::label(slice, MANAGED_BY) == NAME && slice.metadata.deletion_timestamp.is_none());
        slices.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        let node = |pod: &Arc<Pod>| Some((crate::pod::node_name(pod).to_string(), self.nodes.get("", crate::pod::node_name(pod))?));
        let nodes = pods.iter().filter_map(node).collect();
        let triggered = self.triggers.next(key, &service, &pods);
        Some(Observed { service, pods, nodes, slices, triggered })
    }

    fn plan(&self, observed: &Observed, _: Timestamp) -> Plan {
        plan::plan(observed)
    }
}
