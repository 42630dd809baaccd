//! What a Service's Endpoints should be.

use super::subsets::{nonempty, repack};
use super::{ENDPOINTS, Selecting};
use crate::pod;
use crate::service::{self, HEADLESS_LABEL, TRIGGER_TIME};
use apiserver_client::time::rfc3339;
use controllers_runtime::plan::{Announce, merge_patch};
use controllers_runtime::{Action, Plan};
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, ObjectReference, Pod, Service};
use kube::core::ObjectMeta;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Addresses that one object holds at most; the rest is in EndpointSlices only.
const ADDRESSES_MAX: usize = 1000;
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const NAME: &str = "endpoint-controller";

pub(super) fn plan(observed: &Selecting) -> Plan {
    let service = &observed.service;
    let subsets = repack(&observed.pods.iter().flat_map(|pod| subsets_of(service, pod)).collect::<Vec<_>>());
    let labels = labels_of(service);
    if let Some(current) = &observed.current
        && repack(current.subsets.as_deref().unwrap_or_default()) == subsets
        && current.metadata.labels.as_ref() == Some(&labels)
        && is_capacity_as_said(current)
    {
        return Plan::nothing();
    }
    let wanted = wanted(observed, subsets, labels);
    let Ok(object) = serde_json::to_value(&wanted) else { return Plan::nothing() };
    match observed.current.as_deref() {
        None => {
            let (namespace, name) = (wanted.metadata.namespace.clone().unwrap_or_default(), wanted.metadata.name.clone().unwrap_or_default());
            let announce = Announce {
                about: ENDPOINTS.reference(&wanted.metadata),
                success: None,
                failure: ("FailedToCreateEndpoint", format!("Failed to create endpoint for service {namespace}/{name}: ")),
            };
            Plan::act(Action::Create { kind: ENDPOINTS, namespace, object, exists_ok: false, announce: Some(announce) })
        }
        Some(current) => {
            let patch = serde_json::to_value(current).ok().and_then(|current| merge_patch(&current, &object));
            let Some(mut patch) = patch else { return Plan::nothing() };
            patch["metadata"]["resourceVersion"] = current.metadata.resource_version.clone().into();
            Plan::act(Action::merge(ENDPOINTS.target_of(current), patch))
        }
    }
}

/// One subset for each port that the Pod has of the Service's.
fn subsets_of(service: &Service, pod: &Pod) -> Vec<EndpointSubset> {
    let publishes_not_ready = service::publishes_not_ready(service);
    if !service::belongs_in_endpoints(pod, publishes_not_ready) {
        return Vec::new();
    }
    let Some(ip) = address_for(service, pod) else { return Vec::new() };
    let address = EndpointAddress {
        ip: ip.to_string(),
        hostname: service::hostname(pod, service),
        node_name: Some(pod::node_name(pod).to_string()),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".into()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
    };
    let is_ready = publishes_not_ready || pod::is_ready(pod);
    let subset = |port: Option<EndpointPort>| {
        let (ready, not_ready) = if is_ready { (vec![address.clone()], vec![]) } else { (vec![], vec![address.clone()]) };
        EndpointSubset { addresses: nonempty(ready), not_ready_addresses: nonempty(not_ready), ports: port.map(|port| vec![port]) }
    };
    let ports = service::ports(service);
    if ports.is_empty() {
        return if service::is_headless(service) { vec![subset(None)] } else { Vec::new() };
    }
    let port = |port: &k8s_openapi::api::core::v1::ServicePort| {
        Some(EndpointPort {
            name: port.name.clone().filter(|name| !name.is_empty()),
            port: service::target_port(pod, port)?,
            protocol: Some(service::protocol(port).into()),
            app_protocol: port.app_protocol.clone(),
        })
    };
    ports.iter().filter_map(port).map(|port| subset(Some(port))).collect()
}

/// The Pod's first address of the Service's first family.
fn address_for(service: &Service, pod: &Pod) -> Option<IpAddr> {
    let families = service.spec.as_ref().and_then(|spec| spec.ip_families.as_deref()).unwrap_or_default();
    let is_v6 = |text: &str| text.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6());
    let wants_v6 = match families.first() {
        Some(family) => family == "IPv6",
        None if service::has_cluster_ip(service) => is_v6(service::cluster_ip(service)),
        None => pod.status.as_ref().and_then(|status| status.pod_ip.as_deref()).is_some_and(is_v6),
    };
    service::pod_ips(pod).find(|ip| ip.is_ipv6() == wants_v6)
}

fn labels_of(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    if service::has_cluster_ip(service) {
        labels.remove(HEADLESS_LABEL);
    } else {
        labels.insert(HEADLESS_LABEL.into(), String::new());
    }
    labels.insert(MANAGED_BY.into(), NAME.into());
    labels
}

/// Whether the annotation is absent, and no reason is there for it.
fn is_capacity_as_said(current: &Endpoints) -> bool {
    let said = current.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(OVER_CAPACITY));
    !said && count(current.subsets.as_deref().unwrap_or_default()) <= ADDRESSES_MAX
}

fn len<T>(list: &Option<Vec<T>>) -> usize {
    list.as_ref().map_or(0, Vec::len)
}

fn count(subsets: &[EndpointSubset]) -> usize {
    subsets.iter().map(|subset| len(&subset.addresses) + len(&subset.not_ready_addresses)).sum()
}

fn wanted(observed: &Selecting, mut subsets: Vec<EndpointSubset>, labels: BTreeMap<String, String>) -> Endpoints {
    let service = &observed.service;
    let mut metadata = match observed.current.as_deref() {
        Some(current) => current.metadata.clone(),
        None => ObjectMeta { name: service.metadata.name.clone(), namespace: service.metadata.namespace.clone(), ..ObjectMeta::default() },
    };
    metadata.labels = Some(labels);
    let annotations = metadata.annotations.get_or_insert_default();
    match observed.triggered {
        Some(at) => annotations.insert(TRIGGER_TIME.into(), rfc3339(at)),
        None => annotations.remove(TRIGGER_TIME),
    };
    if truncate(&mut subsets) {
        annotations.insert(OVER_CAPACITY.into(), "truncated".into());
    } else {
        annotations.remove(OVER_CAPACITY);
    }
    if annotations.is_empty() {
        metadata.annotations = None;
    }
    Endpoints { metadata, subsets: nonempty(subsets) }
}

/// Leaves out what is too much, the same share of every subset; ready addresses are kept before others.
fn truncate(subsets: &mut [EndpointSubset]) -> bool {
    let ready: usize = subsets.iter().map(|subset| len(&subset.addresses)).sum();
    let not_ready: usize = subsets.iter().map(|subset| len(&subset.not_ready_addresses)).sum();
    if ready + not_ready <= ADDRESSES_MAX {
        return false;
    }
    let cuts_ready = ready > ADDRESSES_MAX;
    let (room, total) = if cuts_ready { (ADDRESSES_MAX, ready) } else { (ADDRESSES_MAX - ready, not_ready) };
    let mut left = room;
    for subset in subsets {
        let list = if cuts_ready { &mut subset.addresses } else { &mut subset.not_ready_addresses };
        let share = (len(list) * room).div_ceil(total).min(left);
        if let Some(list) = list {
            list.truncate(share);
        }
        left -= len(list);
        if list.as_ref().is_some_and(Vec::is_empty) {
            *list = None;
        }
        if cuts_ready {
            subset.not_ready_addresses = None;
        }
    }
    true
}
