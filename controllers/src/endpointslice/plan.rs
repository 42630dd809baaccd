//! Which endpoints a Service has, and what its slices look like.

use super::reconcile::{Group, reconcile};
use super::{NAME, Observed};
use crate::pod;
use crate::service::{self, HEADLESS_LABEL, TRIGGER_TIME};
use crate::slices::{self, Changes, Endpoints, MANAGED_BY, PortsKey, SERVICE_NAME};
use apiserver_client::time::rfc3339;
use controllers_runtime::{Kind, Plan, owner};
use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use kube::core::ObjectMeta;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

const SERVICES: Kind = Kind::of::<Service>();
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    fn has(self, ip: IpAddr) -> bool {
        (self == Self::V6) == ip.is_ipv6()
    }
}

pub(super) fn plan(observed: &Observed) -> Plan {
    let families = families(&observed.service);
    let mut changes = Changes::default();
    for family in &families {
        changes.append(of_family(observed, *family));
    }
    let is_foreign = |slice: &&Arc<EndpointSlice>| !families.iter().any(|family| family.as_str() == slice.address_type);
    changes.delete.extend(observed.slices.iter().filter(is_foreign).cloned());
    changes.reuse(|slice| is_owned(slice, &observed.service));
    if observed.service.metadata.deletion_timestamp.is_some() {
        changes.create.clear();
    }
    for slice in changes.create.iter_mut().chain(changes.update.iter_mut().map(|(_, new)| new)) {
        let annotations = slice.metadata.annotations.get_or_insert_default();
        match observed.triggered {
            Some(at) => annotations.insert(TRIGGER_TIME.into(), rfc3339(at)),
            None => annotations.remove(TRIGGER_TIME),
        };
        if annotations.is_empty() {
            slice.metadata.annotations = None;
        }
    }
    Plan { actions: changes.into_actions(), ..Plan::default() }
}

/// Those that the Service names; else that of its address; else both.
fn families(service: &Service) -> Vec<Family> {
    let named = service.spec.as_ref().and_then(|spec| spec.ip_families.as_deref()).unwrap_or_default();
    let known: Vec<Family> = [Family::V4, Family::V6].into_iter().filter(|family| named.iter().any(|name| name == family.as_str())).collect();
    if !known.is_empty() {
        return known;
    }
    match service::cluster_ip(service).parse::<IpAddr>() {
        Ok(ip) if ip.is_ipv6() => vec![Family::V6],
        Ok(_) => vec![Family::V4],
        Err(_) => vec![Family::V4, Family::V6],
    }
}

fn of_family(observed: &Observed, family: Family) -> Changes {
    let service = &observed.service;
    let existing: Vec<_> = observed.slices.iter().filter(|slice| slice.address_type == family.as_str()).cloned().collect();
    let (mine, others): (Vec<_>, Vec<_>) = existing.iter().cloned().partition(|slice| is_owned(slice, service));
    let mut by_ports: BTreeMap<PortsKey, Group> = BTreeMap::new();
    for pod in observed.pods.iter().filter(|pod| service::belongs_in_endpoints(pod, true)) {
        let ports = ports_of(service, pod);
        let group = by_ports.entry(slices::ports_key(&ports)).or_insert_with(|| Group { ports, endpoints: Endpoints::new(), slices: Vec::new() });
        let node = observed.nodes.get(pod::node_name(pod));
        // Without the Node the zone is not known yet; the Node's arrival brings us back.
        if node.is_none() && !service::publishes_not_ready(service) {
            continue;
        }
        let endpoint = endpoint(pod, node.map(|node| &**node), service, family);
        if !endpoint.addresses.is_empty() {
            group.endpoints.insert(slices::key(&endpoint), endpoint);
        }
    }
    let mut changes = Changes { delete: others, ..Changes::default() };
    for slice in mine {
        match by_ports.get_mut(&slices::ports_key(slices::ports_of(&slice))) {
            Some(group) => group.slices.push(slice),
            None => changes.delete.push(slice),
        }
    }
    for group in by_ports.into_values() {
        let ports = group.ports.clone();
        changes.append(reconcile(group, |slice| labels(slice, service), || empty_slice(service, family, ports.clone())));
    }
    // A Service always has a slice, so that readers can tell "no endpoints" from "not looked at yet".
    if existing.len() == changes.delete.len() && changes.create.is_empty() {
        let placeholder = empty_slice(service, family, Vec::new());
        if changes.delete.len() == 1 && is_placeholder(&changes.delete[0], &placeholder) {
            changes.delete.clear();
        } else {
            changes.create.push(placeholder);
        }
    }
    changes
}

fn is_placeholder(slice: &EndpointSlice, placeholder: &EndpointSlice) -> bool {
    slices::endpoints_of(slice).is_empty() && slices::ports_of(slice).is_empty() && slice.metadata.labels == placeholder.metadata.labels
}

fn is_owned(slice: &EndpointSlice, service: &Service) -> bool {
    let is = |owner: &k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference| {
        Some(&owner.uid) == service.metadata.uid.as_ref() && owner.kind == "Service" && owner.api_version == "v1"
    };
    slice.metadata.owner_references.iter().flatten().any(is)
}

fn ports_of(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let port = |port: &k8s_openapi::api::core::v1::ServicePort| {
        Some(EndpointPort {
            name: Some(port.name.clone().unwrap_or_default()),
            port: Some(service::target_port(pod, port)?),
            protocol: Some(service::protocol(port).into()),
            app_protocol: port.app_protocol.clone(),
        })
    };
    service::ports(service).iter().filter_map(port).collect()
}

fn endpoint(pod: &Pod, node: Option<&Node>, service: &Service, family: Family) -> Endpoint {
    let serving = pod::is_ready(pod);
    let terminating = pod.metadata.deletion_timestamp.is_some();
    let ready = service::publishes_not_ready(service) || (serving && !terminating);
    let zone = node.and_then(|node| node.metadata.labels.as_ref()?.get(ZONE_LABEL)).filter(|zone| !zone.is_empty());
    Endpoint {
        addresses: service::pod_ips(pod).filter(|ip| family.has(*ip)).map(|ip| ip.to_string()).collect(),
        conditions: Some(EndpointConditions { ready: Some(ready), serving: Some(serving), terminating: Some(terminating) }),
        hostname: service::hostname(pod, service),
        node_name: Some(pod::node_name(pod).to_string()).filter(|name| !name.is_empty()),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".into()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
        zone: zone.cloned(),
        ..Endpoint::default()
    }
}

fn empty_slice(service: &Service, family: Family, ports: Vec<EndpointPort>) -> EndpointSlice {
    let mut slice = EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(slices::name_prefix(service.metadata.name.as_deref().unwrap_or_default())),
            namespace: service.metadata.namespace.clone(),
            owner_references: Some(vec![owner::reference(&SERVICES, &service.metadata)]),
            ..ObjectMeta::default()
        },
        address_type: family.as_str().into(),
        endpoints: Some(Vec::new()),
        ports: Some(ports),
    };
    slice.metadata.labels = Some(labels(&slice, service).0);
    slice
}

/// What a slice's labels should be: the Service's and our own. And whether they differ from what they are, our own aside.
fn labels(slice: &EndpointSlice, service: &Service) -> (BTreeMap<String, String>, bool) {
    let own = |key: &str| matches!(key, SERVICE_NAME | MANAGED_BY | HEADLESS_LABEL);
    let others = |meta: &ObjectMeta| -> BTreeMap<String, String> {
        meta.labels.iter().flatten().filter(|(key, _)| !own(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    let mut labels = others(&service.metadata);
    let differ = others(&slice.metadata) != labels;
    if !service::has_cluster_ip(service) {
        labels.insert(HEADLESS_LABEL.into(), String::new());
    }
    labels.insert(SERVICE_NAME.into(), service.metadata.name.clone().unwrap_or_default());
    labels.insert(MANAGED_BY.into(), NAME.into());
    (labels, differ)
}
