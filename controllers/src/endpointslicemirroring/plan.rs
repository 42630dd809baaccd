//! Slices that say what the Endpoints say: one for each family and list of ports.

use super::{NAME, Observed};
use crate::endpoints::{ENDPOINTS, repack};
use crate::service::TRIGGER_TIME;
use crate::slices::{self, Changes, MANAGED_BY, PortsKey, SERVICE_NAME};
use apiserver_client::EventType;
use controllers_runtime::{Plan, owner};
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointSubset, Endpoints};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use kube::core::ObjectMeta;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Addresses of one subset that are mirrored at most.
const ADDRESSES_PER_SUBSET_MAX: usize = 1000;
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

type Labels = BTreeMap<String, String>;

/// What one slice shall hold.
struct Wanted {
    ports: Vec<EndpointPort>,
    endpoints: slices::Endpoints,
}

#[derive(Default)]
struct Skipped {
    invalid: usize,
    all: usize,
}

pub(super) fn plan(observed: &Observed) -> Plan {
    let mut changes = Changes::default();
    let Some(endpoints) = &observed.endpoints else {
        changes.delete = observed.slices.clone();
        return Plan { actions: changes.into_actions(), ..Plan::default() };
    };
    let mut wanted: BTreeMap<(&'static str, PortsKey), Wanted> = BTreeMap::new();
    let mut skipped = Skipped::default();
    for subset in repack(endpoints.subsets.as_deref().unwrap_or_default()) {
        want(&mut wanted, &mut skipped, &subset);
    }
    let mut existing: BTreeMap<(&str, PortsKey), Vec<Arc<EndpointSlice>>> = BTreeMap::new();
    for slice in &observed.slices {
        let family = if slice.address_type == "IPv6" { "IPv6" } else { "IPv4" };
        existing.entry((family, slices::ports_key(slices::ports_of(slice)))).or_default().push(slice.clone());
    }
    for ((family, ports), wanted) in wanted {
        let old = existing.remove(&(family, ports)).unwrap_or_default();
        changes.append(reconcile(endpoints, family, wanted, old));
    }
    changes.delete.extend(existing.into_values().flatten());
    changes.reuse(|_| true);
    if endpoints.metadata.deletion_timestamp.is_some() {
        changes.create.clear();
    }
    let mut plan = Plan { actions: changes.into_actions(), ..Plan::default() };
    report(&mut plan, endpoints, &skipped);
    plan
}

fn report(plan: &mut Plan, endpoints: &Endpoints, skipped: &Skipped) {
    let about = ENDPOINTS.reference(&endpoints.metadata);
    if skipped.invalid > 0 {
        let message = format!("Skipped {} invalid IP addresses when mirroring to EndpointSlices", skipped.invalid);
        plan.event(&about, EventType::Warning, "InvalidIPAddress", message);
    }
    if skipped.all > skipped.invalid {
        let message = format!(
            "A max of {ADDRESSES_PER_SUBSET_MAX} addresses can be mirrored to EndpointSlices per Endpoints subset. {} addresses were skipped",
            skipped.all
        );
        plan.event(&about, EventType::Warning, "TooManyAddressesToMirror", message);
    }
}

fn want(wanted: &mut BTreeMap<(&'static str, PortsKey), Wanted>, skipped: &mut Skipped, subset: &EndpointSubset) {
    let port = |port: &k8s_openapi::api::core::v1::EndpointPort| EndpointPort {
        name: Some(port.name.clone().unwrap_or_default()),
        port: Some(port.port),
        protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".into())),
        app_protocol: port.app_protocol.clone(),
    };
    let ports: Vec<EndpointPort> = subset.ports.iter().flatten().map(port).collect();
    let key = slices::ports_key(&ports);
    let ready = subset.addresses.iter().flatten().map(|address| (address, true));
    let mut added = 0;
    for (address, ready) in ready.chain(subset.not_ready_addresses.iter().flatten().map(|address| (address, false))) {
        if added >= ADDRESSES_PER_SUBSET_MAX {
            skipped.all += 1;
            continue;
        }
        let Some((family, endpoint)) = endpoint(address, ready) else {
            skipped.invalid += 1;
            skipped.all += 1;
            continue;
        };
        added += 1;
        let group = wanted.entry((family, key.clone())).or_insert_with(|| Wanted { ports: ports.clone(), endpoints: BTreeMap::new() });
        group.endpoints.insert(slices::key(&endpoint), endpoint);
    }
}

fn endpoint(address: &EndpointAddress, ready: bool) -> Option<(&'static str, Endpoint)> {
    let ip: IpAddr = address.ip.parse().ok()?;
    let endpoint = Endpoint {
        addresses: vec![ip.to_string()],
        conditions: Some(EndpointConditions { ready: Some(ready), ..EndpointConditions::default() }),
        target_ref: address.target_ref.clone(),
        node_name: address.node_name.clone(),
        hostname: address.hostname.clone().filter(|hostname| !hostname.is_empty()),
        ..Endpoint::default()
    };
    Some((if ip.is_ipv6() { "IPv6" } else { "IPv4" }, endpoint))
}

/// The first slice is rewritten if it differs; others are one too many.
fn reconcile(source: &Endpoints, family: &str, wanted: Wanted, old: Vec<Arc<EndpointSlice>>) -> Changes {
    let mut changes = Changes::default();
    let mut old = old.into_iter();
    let first = old.next();
    changes.delete.extend(old);
    if first.as_ref().is_some_and(|slice| is_as_wanted(source, &wanted, slice)) {
        return changes;
    }
    let new = slice(source, family, wanted);
    match first {
        None => changes.create.push(new),
        Some(old) => {
            let mut slice = new;
            let made = std::mem::replace(&mut slice.metadata, old.metadata.clone());
            slice.metadata.labels = made.labels;
            slice.metadata.annotations = made.annotations;
            slice.metadata.owner_references = made.owner_references;
            changes.update.push((old, slice));
        }
    }
    changes
}

fn is_as_wanted(source: &Endpoints, wanted: &Wanted, slice: &EndpointSlice) -> bool {
    let same_endpoint = |endpoint: &Endpoint| wanted.endpoints.get(&slices::key(endpoint)).is_some_and(|wanted| slices::is_same(wanted, endpoint));
    let expect = meta(source);
    let names_another = slice.metadata.owner_references.iter().flatten().any(|owner| {
        owner.kind == "Endpoints" && Some(&owner.name) == source.metadata.name.as_ref() && Some(&owner.uid) != source.metadata.uid.as_ref()
    });
    slices::endpoints_of(slice).len() == wanted.endpoints.len()
        && slices::endpoints_of(slice).iter().all(same_endpoint)
        && slice.metadata.labels == expect.labels
        && slice.metadata.annotations.clone().unwrap_or_default() == expect.annotations.unwrap_or_default()
        && !names_another
}

fn meta(source: &Endpoints) -> ObjectMeta {
    let mut labels: Labels = source.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME.into(), source.metadata.name.clone().unwrap_or_default());
    labels.insert(MANAGED_BY.into(), NAME.into());
    let mut annotations: Labels = source.metadata.annotations.clone().unwrap_or_default();
    annotations.retain(|key, _| key != TRIGGER_TIME && key != LAST_APPLIED);
    ObjectMeta {
        generate_name: Some(slices::name_prefix(source.metadata.name.as_deref().unwrap_or_default())),
        namespace: source.metadata.namespace.clone(),
        labels: Some(labels),
        annotations: Some(annotations).filter(|annotations| !annotations.is_empty()),
        owner_references: Some(vec![owner::reference(&ENDPOINTS, &source.metadata)]),
        ..ObjectMeta::default()
    }
}

fn slice(source: &Endpoints, family: &str, wanted: Wanted) -> EndpointSlice {
    let endpoints = wanted.endpoints.into_values().take(ADDRESSES_PER_SUBSET_MAX).collect::<Vec<_>>();
    EndpointSlice { metadata: meta(source), address_type: family.into(), endpoints: Some(endpoints), ports: Some(wanted.ports) }
}
