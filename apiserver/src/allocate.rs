//! Addresses and ports of Services: which ones a Service gets, and the rows that make sure that no other has them.
//!
//! Every allocated address is an IPAddress object, every allocated port a small row of its own. They are written and deleted in the transaction that
//! writes the Service, so there is nothing to repair afterwards: [`assign`] chooses values on the object before it is validated, [`claim`] adds
//! to the transaction what the validated object has more or less than the stored one, and [`release`] all that a removed one had.
//!
//! Of each range the lower part is left to those who ask for certain values, as long as the upper one is not full.

use crate::Error;
use crate::resource::{Object, Resource};
use crate::stage::{Admission, Extra, Operation};
use crate::status;
use apiserver_machinery::field::{self, BadValue, Path};
use apiserver_machinery::schema::{Schema, Shape};
use apiserver_machinery::tree::{Struct, Value};
use apiserver_machinery::{Str, builtin, json};
use apiserver_store::{Compare, Draft, Facts, Generation, Key, Lease, Op, Range, Snapshot};
use bytes::Bytes;
use ipnet::IpNet;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;

const ADDRESSES: &str = "/registry/ipaddresses/";
const PORTS: &str = "/registry/ranges/servicenodeports/";
const NONE: &str = "None";

fn is_service(admission: &Admission<'_>) -> bool {
    admission.is("", "services", "") && matches!(admission.operation, Operation::Create | Operation::Update)
}

/// Fills in what the server chooses for a Service: families, addresses, ports.
pub fn assign(service: &mut Struct, admission: &Admission<'_>) -> Result<(), Error> {
    if !is_service(admission) {
        return Ok(());
    }
    let schema = &*admission.resource.storage.shape.schema;
    let ranges = Ranges::read(admission.snapshot)?;
    if let Some(old) = admission.old {
        adopt(service, schema, old)?;
    }
    normalize(service, schema, admission.old)?;
    let invalid = |errors| status::invalid(admission.resource, admission.name, errors);
    families(service, schema, admission.old, &ranges).map_err(invalid)?;
    assign_addresses(service, admission, &ranges)?;
    assign_ports(service, admission)
}

fn is_external(service: Object<'_>) -> bool {
    service.text("spec.type") == "ExternalName"
}

fn is_headless(service: Object<'_>) -> bool {
    service.texts("spec.clusterIPs").next() == Some(NONE)
}

fn needs_node_ports(service: Object<'_>) -> bool {
    match service.text("spec.type") {
        "NodePort" => true,
        "LoadBalancer" => service.flag_opt("spec.allocateLoadBalancerNodePorts").unwrap_or(true),
        _ => false,
    }
}

fn needs_health_check_port(service: Object<'_>) -> bool {
    service.text("spec.type") == "LoadBalancer" && service.text("spec.externalTrafficPolicy") == "Local"
}

fn put(tree: &mut Struct, schema: &Schema, path: &str, value: impl Into<Value>) -> Result<(), Error> {
    tree.put(schema, path, value).ok_or_else(|| Error::Internal(format!("the schema has no {path}")))
}

/// What clients leave out of an update stays as it was allocated, so that the manifest that made a Service can be put again.
fn adopt(service: &mut Struct, schema: &Schema, old: Object<'_>) -> Result<(), Error> {
    let new = Object::new(schema, service);
    let addresses = !is_external(old) && !is_external(new);
    let ports = needs_node_ports(old) && needs_node_ports(new);
    let health = needs_health_check_port(old) && needs_health_check_port(new);
    let mut kept: Vec<(&str, Value)> = Vec::new();
    if addresses {
        for path in ["spec.clusterIP", "spec.clusterIPs"] {
            let absent = if path == "spec.clusterIP" { new.text(path).is_empty() } else { new.list(path).is_empty() };
            kept.extend(old.get(path).filter(|_| absent).map(|value| (path, value.clone())));
        }
    }
    if health && new.number("spec.healthCheckNodePort") == 0 {
        kept.extend(old.get("spec.healthCheckNodePort").map(|value| ("spec.healthCheckNodePort", value.clone())));
    }
    let node_ports =
        |service: Object<'_>| service.items("spec.ports").map(|port| port.number("nodePort")).filter(|port| *port != 0).collect::<BTreeSet<_>>();
    let used: BTreeSet<i64> = node_ports(old).intersection(&node_ports(new)).copied().collect();
    for (path, value) in kept {
        put(service, schema, path, value)?;
    }
    if !ports {
        return Ok(());
    }
    for port in service.at_mut(schema, "spec.ports").and_then(Value::as_list_mut).into_iter().flatten().filter_map(Value::as_struct_mut) {
        let read = Object::new(schema, port);
        if read.number("nodePort") != 0 {
            continue;
        }
        let before = old.items("spec.ports").rfind(|port| port.text("name") == read.text("name")).map_or(0, |port| port.number("nodePort"));
        if before != 0 && !used.contains(&before) {
            put(port, schema, "nodePort", before)?;
        }
    }
    Ok(())
}

/// Brings `clusterIPs` in line with `clusterIP`, which older clients know alone.
fn normalize(service: &mut Struct, schema: &Schema, old: Option<Object<'_>>) -> Result<(), Error> {
    let new = Object::new(schema, service);
    let (address, addresses) = (Str::from(new.text("spec.clusterIP")), new.list("spec.clusterIPs"));
    let single = |address: &Str| Value::List(vec![address.clone().into()]);
    let Some(old) = old else {
        return if !address.is_empty() && addresses.is_empty() { put(service, schema, "spec.clusterIPs", single(&address)) } else { Ok(()) };
    };
    let (old_address, old_addresses) = (old.text("spec.clusterIP"), old.list("spec.clusterIPs"));
    let same = addresses == old_addresses;
    if address == old_address {
        if addresses.is_empty() && !old_addresses.is_empty() {
            return put(service, schema, "spec.clusterIPs", Value::List(old_addresses.to_vec()));
        }
        return Ok(());
    }
    if !same {
        return Ok(());
    }
    if address.is_empty() {
        service.take(schema, "spec.clusterIPs");
        return Ok(());
    }
    put(service, schema, "spec.clusterIPs", single(&address))
}

fn family(address: &str) -> &'static str {
    if address.contains(':') { "IPv6" } else { "IPv4" }
}

/// Completes ipFamilyPolicy and ipFamilies.
fn families(service: &mut Struct, schema: &Schema, old: Option<Object<'_>>, ranges: &Ranges) -> Result<(), Vec<field::Error>> {
    let new = Object::new(schema, service);
    if is_external(new) || prefers_dual_stack_as_before(new, old) {
        return Ok(());
    }
    let headless_without_selector = new.text("spec.clusterIP") == NONE && new.map("spec.selector").is_none_or(|map| map.is_empty());
    let policy = Str::from(match (new.text_opt("spec.ipFamilyPolicy"), old.and_then(|old| old.text_opt("spec.ipFamilyPolicy"))) {
        (Some(own), _) => own,
        (None, Some(before)) => before,
        (None, None) if headless_without_selector => "RequireDualStack",
        (None, None) => "SingleStack",
    });
    let mut addresses: Vec<Str> = new.texts("spec.clusterIPs").map(Str::from).collect();
    let mut families: Vec<Str> = new.texts("spec.ipFamilies").map(Str::from).collect();
    let mut errors = Vec::new();
    let spec = Path::new("spec");
    let at = spec.child("ipFamilyPolicy");
    if let Some(old) = old {
        shrink(old, &policy, &mut addresses, &mut families, &at, &mut errors);
    }
    if policy == "SingleStack" {
        if addresses.len() == 2 {
            errors.push(field::Error::invalid(
                &at,
                &policy,
                "must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified",
            ));
        }
        if families.len() == 2 {
            errors.push(field::Error::invalid(
                &at,
                &policy,
                "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified",
            ));
        }
    }
    let at_addresses = spec.child("clusterIPs");
    for (index, address) in addresses.iter().enumerate().skip(families.len()) {
        if address == NONE {
            break;
        }
        if !ranges.has(family(address)) {
            errors.push(field::Error::invalid(
                &at_addresses.index(index),
                shown(&addresses),
                format!("{} is not configured on this cluster", family(address)),
            ));
        } else if !address.is_empty() {
            families.push(family(address).into());
        }
    }
    if errors.is_empty() {
        complete(&mut families, &policy, headless_without_selector, ranges, &mut errors);
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let list = |items: Vec<Str>| Value::List(items.into_iter().map(Value::String).collect());
    // The schema of a Service has these fields.
    service.put(schema, "spec.ipFamilyPolicy", policy);
    service.put(schema, "spec.ipFamilies", list(families));
    if !addresses.is_empty() {
        service.put(schema, "spec.clusterIPs", list(addresses));
    }
    Ok(())
}

/// A PreferDualStack Service is not changed by changes of the cluster.
fn prefers_dual_stack_as_before(new: Object<'_>, old: Option<Object<'_>>) -> bool {
    let Some(old) = old else { return false };
    let prefers = |service: Object<'_>| service.text("spec.ipFamilyPolicy") == "PreferDualStack";
    prefers(new) && prefers(old) && ["spec.type", "spec.clusterIPs", "spec.ipFamilies"].iter().all(|path| old.get(path) == new.get(path))
}

/// SingleStack gives the second address and family up; nothing else may.
fn shrink(old: Object<'_>, policy: &str, addresses: &mut Vec<Str>, families: &mut Vec<Str>, at: &Path<'_>, errors: &mut Vec<field::Error>) {
    let (old_addresses, old_families): (Vec<Str>, Vec<Str>) =
        (old.texts("spec.clusterIPs").map(Str::from).collect(), old.texts("spec.ipFamilies").map(Str::from).collect());
    if policy == "SingleStack" {
        if *addresses == old_addresses {
            addresses.truncate(1);
        }
        if *families == old_families {
            families.truncate(1);
        }
        return;
    }
    if !addresses.is_empty() && addresses.len() < old_addresses.len() {
        errors.push(field::Error::invalid(at, policy, "must be 'SingleStack' to release the secondary cluster IP"));
    }
    if !families.is_empty() && families.len() < old_families.len() {
        errors.push(field::Error::invalid(at, policy, "must be 'SingleStack' to release the secondary IP family"));
    }
}

fn complete(families: &mut Vec<Str>, policy: &str, headless_without_selector: bool, ranges: &Ranges, errors: &mut Vec<field::Error>) {
    let other = |family: &str| Str::from(if family == "IPv4" { "IPv6" } else { "IPv4" });
    let spec = Path::new("spec");
    if headless_without_selector {
        if families.is_empty() {
            families.push(ranges.default_family.clone());
        }
        if families.len() < 2 && policy != "SingleStack" {
            families.push(other(&families[0]));
        }
        return;
    }
    let dual = ranges.has("IPv4") && ranges.has("IPv6");
    if policy == "RequireDualStack" && !dual {
        errors.push(field::Error::invalid(&spec.child("ipFamilyPolicy"), policy, "this cluster is not configured for dual-stack services"));
    }
    let at = spec.child("ipFamilies");
    for (index, family) in families.iter().enumerate().filter(|(_, family)| !ranges.has(family)) {
        errors.push(field::Error::invalid(&at.index(index), family, "not configured on this cluster"));
    }
    if !errors.is_empty() {
        return;
    }
    if families.is_empty() {
        families.push(ranges.default_family.clone());
    }
    if policy != "SingleStack" && families.len() == 1 && dual {
        families.push(other(&families[0]));
    }
}

fn shown(addresses: &[Str]) -> BadValue {
    let list: Vec<&str> = addresses.iter().map(Str::as_str).collect();
    BadValue::from(&list[..])
}

/// The ranges that ServiceCIDR objects offer.
struct Ranges {
    cidrs: Vec<IpNet>,
    default_family: Str,
}

#[derive(Deserialize)]
struct ServiceCidr {
    metadata: CidrMeta,
    spec: CidrSpec,
    #[serde(default)]
    status: CidrStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CidrMeta {
    name: Str,
    deletion_timestamp: Option<Str>,
}

#[derive(Deserialize)]
struct CidrSpec {
    cidrs: Vec<Str>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct CidrStatus {
    conditions: Vec<CidrCondition>,
}

#[derive(Deserialize)]
struct CidrCondition {
    #[serde(rename = "type")]
    kind: Str,
    status: Str,
}

impl Ranges {
    fn read(snapshot: &Snapshot) -> Result<Self, Error> {
        let mut ranges = Self { cidrs: Vec::new(), default_family: Str::const_new("IPv4") };
        for (key, row) in snapshot.range(&Range::prefix("/registry/servicecidrs/")) {
            let object: ServiceCidr = serde_json::from_slice(row.bytes()).map_err(|error| Error::Internal(format!("reading {key}: {error}")))?;
            if object.metadata.name == "kubernetes"
                && let Some(first) = object.spec.cidrs.first()
            {
                ranges.default_family = family(first).into();
            }
            let unready = object.status.conditions.iter().any(|condition| condition.kind == "Ready" && condition.status == "False");
            if object.metadata.deletion_timestamp.is_none() && !unready {
                ranges.cidrs.extend(object.spec.cidrs.iter().filter_map(|cidr| cidr.parse::<IpNet>().ok()));
            }
        }
        Ok(ranges)
    }

    fn has(&self, wanted: &str) -> bool {
        self.cidrs.iter().any(|cidr| family(&cidr.addr().to_string()) == wanted)
    }

    /// Whether a Service may ask for this address.
    fn check(&self, address: IpAddr, snapshot: &Snapshot) -> Result<(), String> {
        let within = |cidr: &IpNet| {
            let (band, number) = (Band::of(cidr), number(address));
            cidr.contains(&address) && number >= band.first && number <= band.last
        };
        if !self.cidrs.iter().any(within) {
            return Err("the provided network does not match the current range".into());
        }
        if snapshot.get(format!("{ADDRESSES}{address}")).is_some() {
            return Err("provided IP is already allocated".into());
        }
        Ok(())
    }

    fn choose(&self, wanted: &str, snapshot: &Snapshot) -> Option<IpAddr> {
        let free = |address: &IpAddr| snapshot.get(format!("{ADDRESSES}{address}")).is_none();
        self.cidrs.iter().filter(|cidr| family(&cidr.addr().to_string()) == wanted).find_map(|cidr| {
            let band = Band::of(cidr);
            let is_v4 = cidr.addr().is_ipv4();
            band.candidates().map(|number| address(number, is_v4)).find(free)
        })
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

fn address(number: u128, is_v4: bool) -> IpAddr {
    if is_v4 { IpAddr::V4((number as u32).into()) } else { IpAddr::V6(number.into()) }
}

/// A range of numbers, of which those below `dynamic` are given out last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Band {
    first: u128,
    dynamic: u128,
    last: u128,
}

/// How many numbers are looked at before a range counts as full; no cluster has so many Services.
const CANDIDATES_MAX: u128 = 1 << 20;

impl Band {
    /// `10.96.0.0/16`: 10.96.0.1 to 10.96.255.254, dynamic from 10.96.1.1 on.
    fn of(cidr: &IpNet) -> Self {
        let size = 1u128.checked_shl(u32::from(cidr.max_prefix_len() - cidr.prefix_len())).unwrap_or(u128::MAX);
        let first = number(cidr.network()) + 1;
        // The broadcast address of IPv4 is not given out.
        let last = number(cidr.broadcast()) - u128::from(cidr.addr().is_ipv4());
        Self { first, dynamic: first + reserved(size, 16, 16, 256), last }
    }

    fn of_ports(ports: &RangeInclusive<u16>) -> Self {
        let (first, last) = (u128::from(*ports.start()), u128::from(*ports.end()));
        Self { first, dynamic: first + reserved(last - first + 1, 32, 16, 128), last }
    }

    /// All numbers, the upper part first, each part from a random place on.
    fn candidates(self) -> impl Iterator<Item = u128> {
        let ring = |from: u128, to: u128| {
            let size = (to + 1).saturating_sub(from);
            let start = if size == 0 { 0 } else { rand::random_range(0..size) };
            (0..size.min(CANDIDATES_MAX)).map(move |step| from + (start + step) % size)
        };
        ring(self.dynamic, self.last).chain(ring(self.first, self.dynamic - 1))
    }
}

/// min(max(least, size / step), most), and nothing of ranges so small that it would be all.
fn reserved(size: u128, step: u128, least: u128, most: u128) -> u128 {
    if size <= least { 0 } else { (size / step).clamp(least, most) }
}

fn assign_addresses(service: &mut Struct, admission: &Admission<'_>, ranges: &Ranges) -> Result<(), Error> {
    let schema = &*admission.resource.storage.shape.schema;
    let new = Object::new(schema, service);
    if is_external(new) || is_headless(new) || admission.old.is_some_and(is_headless) || prefers_dual_stack_as_before(new, admission.old) {
        return Ok(());
    }
    // Addresses that the Service had stay its own, unless it is an ExternalName that becomes something else.
    let before: Vec<&str> = admission.old.filter(|old| !is_external(*old)).map(|old| old.texts("spec.clusterIPs").collect()).unwrap_or_default();
    if !before.is_empty() && new.list("spec.ipFamilies").len() <= before.len() {
        return Ok(());
    }
    let mut addresses: Vec<Str> = new.texts("spec.clusterIPs").map(Str::from).collect();
    let families: Vec<Str> = new.texts("spec.ipFamilies").map(Str::from).collect();
    for (index, wanted) in families.iter().enumerate() {
        if addresses.len() <= index {
            addresses.push(Str::default());
        }
        if addresses[index].is_empty() {
            let Some(chosen) = ranges.choose(wanted, admission.snapshot) else {
                return Err(Error::Internal(format!("failed to allocate a serviceIP for Service {:?}: range is full", admission.name)));
            };
            addresses[index] = compact_str::format_compact!("{chosen}");
        } else if !before.contains(&addresses[index].as_str()) {
            check_address(&addresses, index, admission, ranges)?;
        }
    }
    if let Some(first) = addresses.first() {
        put(service, schema, "spec.clusterIP", first.clone())?;
    }
    put(service, schema, "spec.clusterIPs", Value::List(addresses.into_iter().map(Value::String).collect()))
}

fn check_address(addresses: &[Str], index: usize, admission: &Admission<'_>, ranges: &Ranges) -> Result<(), Error> {
    // What is no address is for validation to refuse.
    let Ok(address) = addresses[index].parse::<IpAddr>() else { return Ok(()) };
    ranges.check(address, admission.snapshot).map_err(|why| {
        let spec = Path::new("spec");
        let error = field::Error::invalid(&spec.child("clusterIPs"), shown(addresses), format!("failed to allocate IP {address}: {why}"));
        status::invalid(admission.resource, admission.name, vec![error])
    })
}

/// Chooses and checks node ports for one write.
struct Ports<'a> {
    snapshot: &'a Snapshot,
    range: &'a RangeInclusive<u16>,
    /// Those that the Service has already.
    own: BTreeSet<i64>,
    /// Those that this write has chosen or checked.
    now: BTreeSet<i64>,
}

impl Ports<'_> {
    fn taken(&self, port: i64) -> bool {
        self.now.contains(&port) || self.snapshot.get(format!("{PORTS}{port}")).is_some()
    }

    fn request(&mut self, port: i64) -> Result<(), String> {
        if !u16::try_from(port).is_ok_and(|port| self.range.contains(&port)) {
            return Err(format!("provided port is not in the valid range. The range of valid ports is {}-{}", self.range.start(), self.range.end()));
        }
        if self.taken(port) {
            return Err("provided port is already allocated".into());
        }
        self.now.insert(port);
        Ok(())
    }

    fn choose(&mut self) -> Result<i64, String> {
        let port = Band::of_ports(self.range).candidates().map(|port| port as i64).find(|port| !self.taken(*port) && !self.own.contains(port));
        let port = port.ok_or("range is full")?;
        self.now.insert(port);
        Ok(port)
    }
}

fn node_ports(service: Object<'_>) -> BTreeSet<i64> {
    let health = service.number("spec.healthCheckNodePort");
    service.items("spec.ports").map(|port| port.number("nodePort")).chain([health]).filter(|port| *port != 0).collect()
}

fn assign_ports(service: &mut Struct, admission: &Admission<'_>) -> Result<(), Error> {
    let schema = &*admission.resource.storage.shape.schema;
    let new = Object::new(schema, service);
    let may = matches!(new.text("spec.type"), "NodePort" | "LoadBalancer");
    let (allocates, health) = (needs_node_ports(new), needs_health_check_port(new).then(|| new.number("spec.healthCheckNodePort")));
    let own = admission.old.map(node_ports).unwrap_or_default();
    let mut ports = Ports { snapshot: admission.snapshot, range: admission.node_ports, own, now: BTreeSet::new() };
    if may {
        assign_node_ports(service, schema, admission, allocates, &mut ports)?;
    }
    match health {
        Some(0) => {
            let port = ports.choose().map_err(|why| Error::Internal(format!("failed to allocate a HealthCheck NodePort 0: {why}")))?;
            put(service, schema, "spec.healthCheckNodePort", port)
        }
        Some(port) if !ports.own.contains(&port) => {
            ports.request(port).map_err(|why| Error::Internal(format!("failed to allocate requested HealthCheck NodePort {port}: {why}")))
        }
        _ => Ok(()),
    }
}

fn assign_node_ports(service: &mut Struct, schema: &Schema, admission: &Admission<'_>, allocates: bool, ports: &mut Ports<'_>) -> Result<(), Error> {
    let creating = admission.old.is_none();
    // Ports of a new Service that differ by protocol only share a node port.
    let requested: Vec<(i64, i64)> =
        Object::new(schema, service).items("spec.ports").map(|port| (port.number("port"), port.number("nodePort"))).collect();
    let mut by_port: Vec<(i64, i64)> = Vec::new();
    let list = service.at_mut(schema, "spec.ports").and_then(Value::as_list_mut).into_iter().flatten().filter_map(Value::as_struct_mut);
    for (index, port) in list.enumerate() {
        let (number, wanted) = requested[index];
        if wanted == 0 && !allocates {
            continue;
        }
        let shared = by_port.iter().find(|(own, _)| creating && *own == number).map(|(_, node_port)| *node_port);
        let sibling = requested.iter().find(|(own, node_port)| creating && *own == number && *node_port != 0).map(|(_, node_port)| *node_port);
        let node_port = match (wanted, shared, sibling) {
            (0, Some(shared), _) => shared,
            (wanted, Some(shared), _) if wanted == shared => wanted,
            (0, None, None) => ports.choose().map_err(|why| Error::Internal(format!("failed to allocate a nodePort: {why}")))?,
            (wanted, _, sibling) => {
                let wanted = if wanted == 0 { sibling.unwrap_or(wanted) } else { wanted };
                let known = ports.own.contains(&wanted) || (!creating && ports.now.contains(&wanted));
                if !known {
                    ports.request(wanted).map_err(|why| {
                        let list = Path::new("spec.ports");
                        let error = field::Error::invalid(&list.index(index).child("nodePort"), wanted, why);
                        status::invalid(admission.resource, admission.name, vec![error])
                    })?;
                }
                wanted
            }
        };
        put(port, schema, "nodePort", node_port)?;
        by_port.push((number, node_port));
    }
    Ok(())
}

/// What a Service has for itself alone.
#[derive(Debug, Default, PartialEq, Eq)]
struct Held {
    addresses: BTreeSet<Str>,
    ports: BTreeSet<i64>,
}

impl Held {
    fn of(service: Object<'_>) -> Self {
        let addresses = service.texts("spec.clusterIPs").filter(|address| *address != NONE && address.parse::<IpAddr>().is_ok());
        let addresses = if is_external(service) { BTreeSet::new() } else { addresses.map(Str::from).collect() };
        Self { addresses, ports: node_ports(service) }
    }
}

/// Adds to the transaction what a Service takes and gives up by this write.
pub fn claim(service: Object<'_>, admission: &Admission<'_>, extra: &mut Extra) -> Result<(), Error> {
    if !is_service(admission) {
        return Ok(());
    }
    let (held, wanted) = (admission.old.map(Held::of).unwrap_or_default(), Held::of(service));
    for address in wanted.addresses.difference(&held.addresses) {
        let key = Key::from(format!("{ADDRESSES}{address}"));
        extra.compares.push(Compare::Absent(key.clone()));
        extra.ops.push(address_row(key, address, admission)?);
    }
    for port in wanted.ports.difference(&held.ports) {
        let key = Key::from(format!("{PORTS}{port}"));
        let owner = serde_json::json!({ "namespace": admission.namespace(), "name": admission.name }).to_string();
        extra.compares.push(Compare::Absent(key.clone()));
        extra.ops.push(Op::Put { key, value: Draft::Opaque(Bytes::from(owner)), facts: Facts::default(), lease: Lease::NONE });
    }
    extra.ops.extend(held.addresses.difference(&wanted.addresses).map(|address| Op::Delete { key: Key::from(format!("{ADDRESSES}{address}")) }));
    extra.ops.extend(held.ports.difference(&wanted.ports).map(|port| Op::Delete { key: Key::from(format!("{PORTS}{port}")) }));
    Ok(())
}

/// What has to be deleted together with an object: what a Service has for itself alone.
pub fn release(resource: &Resource, object: Object<'_>) -> Vec<Op> {
    if resource.plural != "services" || !resource.group.is_empty() {
        return Vec::new();
    }
    let held = Held::of(object);
    let addresses = held.addresses.iter().map(|address| format!("{ADDRESSES}{address}"));
    let ports = held.ports.iter().map(|port| format!("{PORTS}{port}"));
    addresses.chain(ports).map(|key| Op::Delete { key: Key::from(key) }).collect()
}

const FAMILY_LABEL: &str = "ipaddress.kubernetes.io/ip-family";
const MANAGED_BY_LABEL: &str = "ipaddress.kubernetes.io/managed-by";
const MANAGER: &str = "ipallocator.k8s.io";

/// The IPAddress object of an allocated address.
fn address_row(key: Key, address: &str, admission: &Admission<'_>) -> Result<Op, Error> {
    let object = serde_json::json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IPAddress",
        "metadata": {
            "name": address,
            "uid": uuid::Uuid::new_v4().to_string(),
            "creationTimestamp": crate::meta::time_text(admission.now).as_str(),
            "labels": { FAMILY_LABEL: family(address), MANAGED_BY_LABEL: MANAGER },
        },
        "spec": { "parentRef": { "resource": "services", "namespace": admission.namespace(), "name": admission.name } },
    });
    let facts = Facts {
        labels: [(Str::const_new(FAMILY_LABEL), family(address).into()), (Str::const_new(MANAGED_BY_LABEL), MANAGER.into())].into(),
        fields: [(Str::const_new("metadata.name"), address.into())].into(),
        ..Facts::default()
    };
    let failed = |why: String| Error::Internal(format!("writing IPAddress {address}: {why}"));
    let root = builtin::gvk("networking.k8s.io", "v1", "IPAddress").ok_or_else(|| failed("no schema".into()))?;
    let schema = builtin::schema();
    let shape = Shape { schema: schema.clone(), root };
    let tree = json::decode(&shape, object.to_string().as_bytes(), &mut json::Report::ignore()).map_err(|error| failed(error.to_string()))?;
    let draft = json::encode_draft(schema, &tree);
    let gap = u32::try_from(draft.gap).map_err(|error| failed(error.to_string()))?;
    let generation: Generation = admission.resource.storage.generation;
    Ok(Op::Put { key, value: Draft::Object { json: draft.bytes, gap, protobuf: None, schema: generation }, facts, lease: Lease::NONE })
}

#[cfg(test)]
mod tests;
