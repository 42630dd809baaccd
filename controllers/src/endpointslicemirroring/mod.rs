//! Copies Endpoints that users keep themselves into EndpointSlices, for Services without a selector.

mod plan;
#[cfg(test)]
mod tests;

use crate::registry::{Row, Setup};
use crate::routes::states;
use crate::service::LEADER_ANNOTATION;
use crate::slices::{self, MANAGED_BY, SERVICE_NAME};
use apiserver_client::{Event, Index, Informer, ObjectKey};
use controllers_runtime::{Plan, Rule};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Endpoints, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::sync::Arc;

pub(crate) const ROW: Row = Row { name: "endpointslice-mirroring-controller", start };

const WORKERS: usize = 5;
/// The value of the label that marks our slices.
const NAME: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP_LABEL: &str = "endpointslice.kubernetes.io/skip-mirror";

fn start(setup: &Setup) {
    let (endpoints, services, slices) = (setup.informers.of::<Endpoints>(), setup.informers.of::<Service>(), setup.informers.of::<EndpointSlice>());
    let rule = Mirrors { endpoints: endpoints.clone(), services: services.clone(), slices: slices.index("service", slices::index_key) };
    setup.context(ROW.name, "endpoint-slice-mirroring-controller").start(ROW.name, WORKERS, rule, |routes| {
        routes.watches(ROW.name, &endpoints, |event| if states(event).any(is_mirrored) { own_key(event) } else { Vec::new() });
        routes.watches(ROW.name, &services, |event| if states(event).any(|service| !selects(service)) { own_key(event) } else { Vec::new() });
        routes.watches(ROW.name, &slices, |event| {
            let ours = states(event).filter(|slice| slices::label(slice, MANAGED_BY) == NAME && !slices::label(slice, SERVICE_NAME).is_empty());
            ours.map(|slice| ObjectKey::new(slice.metadata.namespace.as_deref().unwrap_or_default(), slices::label(slice, SERVICE_NAME))).collect()
        });
    });
}

fn own_key<K: kube::Resource>(event: &Event<K>) -> Vec<ObjectKey> {
    states(event).take(1).map(ObjectKey::of).collect()
}

fn selects(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.selector.as_ref()).is_some_and(|selector| !selector.is_empty())
}

fn is_mirrored(endpoints: &Endpoints) -> bool {
    let meta = &endpoints.metadata;
    let skips = meta.labels.as_ref().and_then(|labels| labels.get(SKIP_LABEL)).is_some_and(|value| value == "true");
    let elects = meta.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(LEADER_ANNOTATION));
    !skips && !elects
}

struct Mirrors {
    endpoints: Informer<Endpoints>,
    services: Informer<Service>,
    slices: Index<EndpointSlice>,
}

struct Observed {
    /// None where nothing shall be mirrored.
    endpoints: Option<Arc<Endpoints>>,
    /// Ours.
    slices: Vec<Arc<EndpointSlice>>,
}

impl Rule for Mirrors {
    type Observed = Observed;

    fn observe(&self, key: &ObjectKey) -> Option<Observed> {
        let mut slices = self.slices.get(&slices::index_value(&key.namespace, &key.name));
        slices.retain(|slice| slices::label(slice, MANAGED_BY) == NAME);
        slices.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        let service = self.services.get(&key.namespace, &key.name).filter(|service| !selects(service));
        let endpoints = self.endpoints.get(&key.namespace, &key.name).filter(|endpoints| service.is_some() && is_mirrored(endpoints));
        Some(Observed { endpoints, slices })
    }

    fn plan(&self, observed: &Observed, _: Timestamp) -> Plan {
        plan::plan(observed)
    }
}
