//! The normal form of subsets: addresses with the same ports are one subset, ports with the same addresses too.

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset};
use std::collections::BTreeMap;

type AddressKey = (String, Option<String>);
/// Name, protocol, number, application protocol; no port at all is one of its own.
type PortKey = Option<(i32, String, String, Option<String>)>;

/// Groups anew, so that equal endpoints have equal subsets. An address that is not ready somewhere on a port is not ready on that port.
///
/// `[a:80] [b:80] [a:81] [b:81]` is `[a b: 80 81]`.
pub(crate) fn repack(subsets: &[EndpointSubset]) -> Vec<EndpointSubset> {
    let mut addresses: BTreeMap<AddressKey, EndpointAddress> = BTreeMap::new();
    let mut by_port: BTreeMap<PortKey, (Option<EndpointPort>, BTreeMap<AddressKey, bool>)> = BTreeMap::new();
    for subset in subsets {
        let ready = subset.addresses.iter().flatten().map(|address| (address, true));
        let all: Vec<_> = ready.chain(subset.not_ready_addresses.iter().flatten().map(|address| (address, false))).collect();
        let ports = subset.ports.iter().flatten().map(Some).collect::<Vec<_>>();
        for port in if ports.is_empty() { vec![None] } else { ports } {
            let (_, members) = by_port.entry(port.map(port_key)).or_insert_with(|| (port.cloned(), BTreeMap::new()));
            for (address, ready) in &all {
                let key = address_key(address);
                addresses.entry(key.clone()).or_insert_with(|| (*address).clone());
                members.entry(key).and_modify(|before| *before &= ready).or_insert(*ready);
            }
        }
    }
    let mut by_members: BTreeMap<BTreeMap<AddressKey, bool>, Vec<EndpointPort>> = BTreeMap::new();
    for (port, members) in by_port.into_values() {
        by_members.entry(members).or_default().extend(port);
    }
    let subset = |(members, ports): (BTreeMap<AddressKey, bool>, Vec<EndpointPort>)| {
        let of = |ready: bool| -> Vec<EndpointAddress> {
            members.iter().filter(|(_, is)| **is == ready).filter_map(|(key, _)| addresses.get(key).cloned()).collect()
        };
        EndpointSubset { addresses: nonempty(of(true)), not_ready_addresses: nonempty(of(false)), ports: nonempty(ports) }
    };
    by_members.into_iter().map(subset).collect()
}

fn address_key(address: &EndpointAddress) -> AddressKey {
    (address.ip.clone(), address.target_ref.as_ref().and_then(|target| target.uid.clone()))
}

fn port_key(port: &EndpointPort) -> (i32, String, String, Option<String>) {
    (port.port, port.name.clone().unwrap_or_default(), port.protocol.clone().unwrap_or_default(), port.app_protocol.clone())
}

pub(super) fn nonempty<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}
