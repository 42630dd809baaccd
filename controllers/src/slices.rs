//! What controllers of EndpointSlices share: when two endpoints or lists of ports are the same, and how slices are written.

use controllers_runtime::plan::merge_patch;
use controllers_runtime::{Action, Kind};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) const SLICES: Kind = Kind::of::<EndpointSlice>();
pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";
pub(crate) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Longest prefix that, with what the server adds, is a name.
const PREFIX_CHARACTERS_MAX: usize = 253;

/// What makes an endpoint the same although its conditions or its place change: addresses, host name, and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EndpointKey {
    addresses: Vec<String>,
    hostname: Option<String>,
    target: Option<(Option<String>, Option<String>)>,
}

pub(crate) type Endpoints = BTreeMap<EndpointKey, Endpoint>;

pub(crate) fn key(endpoint: &Endpoint) -> EndpointKey {
    let mut addresses = endpoint.addresses.clone();
    addresses.sort();
    let target = endpoint.target_ref.as_ref().map(|target| (target.namespace.clone(), target.name.clone()));
    EndpointKey { addresses, hostname: endpoint.hostname.clone(), target }
}

/// Whether endpoints with the same key are the same in all that this controller writes.
pub(crate) fn is_same(a: &Endpoint, b: &Endpoint) -> bool {
    let target = |endpoint: &Endpoint| {
        let mut target = endpoint.target_ref.clone();
        target.iter_mut().for_each(|target| target.resource_version = None);
        target
    };
    let conditions = |endpoint: &Endpoint| endpoint.conditions.clone().unwrap_or_default();
    a.node_name == b.node_name && a.zone == b.zone && conditions(a) == conditions(b) && target(a) == target(b)
}

/// Name, number, protocol and application protocol of each port, in order.
pub(crate) type PortsKey = Vec<(String, Option<i32>, String, Option<String>)>;

/// Lists of ports are the same in whatever order.
pub(crate) fn ports_key(ports: &[EndpointPort]) -> PortsKey {
    let one = |port: &EndpointPort| {
        (port.name.clone().unwrap_or_default(), port.port, port.protocol.clone().unwrap_or_default(), port.app_protocol.clone())
    };
    let mut key: PortsKey = ports.iter().map(one).collect();
    key.sort();
    key
}

pub(crate) fn ports_of(slice: &EndpointSlice) -> &[EndpointPort] {
    slice.ports.as_deref().unwrap_or_default()
}

pub(crate) fn endpoints_of(slice: &EndpointSlice) -> &[Endpoint] {
    slice.endpoints.as_deref().unwrap_or_default()
}

pub(crate) fn name_prefix(service: &str) -> String {
    if service.len() < PREFIX_CHARACTERS_MAX { format!("{service}-") } else { service.into() }
}

pub(crate) fn label<'a>(slice: &'a EndpointSlice, name: &str) -> &'a str {
    slice.metadata.labels.as_ref().and_then(|labels| labels.get(name)).map(String::as_str).unwrap_or_default()
}

/// Of one namespace and Service.
pub(crate) fn index_key(slice: &EndpointSlice) -> Vec<String> {
    vec![index_value(slice.metadata.namespace.as_deref().unwrap_or_default(), label(slice, SERVICE_NAME))]
}

pub(crate) fn index_value(namespace: &str, service: &str) -> String {
    format!("{namespace}/{service}")
}

/// What shall become of the slices of one Service.
#[derive(Default)]
pub(crate) struct Changes {
    pub create: Vec<EndpointSlice>,
    /// What it was, and what it shall be.
    pub update: Vec<(Arc<EndpointSlice>, EndpointSlice)>,
    pub delete: Vec<Arc<EndpointSlice>>,
}

impl Changes {
    pub fn append(&mut self, mut more: Self) {
        self.create.append(&mut more.create);
        self.update.append(&mut more.update);
        self.delete.append(&mut more.delete);
    }

    /// A slice to make takes the place of one to delete, of those that `may_reuse` allows: one write instead of two, and no moment without.
    pub fn reuse(&mut self, may_reuse: impl Fn(&EndpointSlice) -> bool) {
        let mut kept = Vec::new();
        for old in std::mem::take(&mut self.delete) {
            let fitting = self.create.iter().rposition(|new| new.address_type == old.address_type).filter(|_| may_reuse(&old));
            match fitting {
                Some(position) => {
                    let mut new = self.create.remove(position);
                    let wanted = std::mem::replace(&mut new.metadata, old.metadata.clone());
                    new.metadata.labels = wanted.labels;
                    new.metadata.annotations = wanted.annotations;
                    new.metadata.owner_references = wanted.owner_references;
                    self.update.push((old, new));
                }
                None => kept.push(old),
            }
        }
        self.delete = kept;
    }

    /// Creations first, so that at no time an endpoint is missing.
    pub fn into_actions(self) -> Vec<Action> {
        let namespace = |slice: &EndpointSlice| slice.metadata.namespace.clone().unwrap_or_default();
        let create = |slice: &EndpointSlice| Some(Action::create(&SLICES, &namespace(slice), serde_json::to_value(slice).ok()?));
        let update = |(old, new): &(Arc<EndpointSlice>, EndpointSlice)| {
            let mut patch = merge_patch(&serde_json::to_value(&**old).ok()?, &serde_json::to_value(new).ok()?)?;
            patch["metadata"]["resourceVersion"] = old.metadata.resource_version.clone().into();
            Some(Action::merge(SLICES.target_of(&**old), patch))
        };
        let groups = [
            self.create.iter().filter_map(create).collect::<Vec<_>>(),
            self.update.iter().filter_map(update).collect(),
            self.delete.iter().map(|slice| Action::delete(SLICES.target_of(&**slice))).collect(),
        ];
        groups.into_iter().filter(|group| !group.is_empty()).map(Action::All).collect()
    }
}
