//! Columns of the kinds of the network.

use super::{AGE, ColumnRow, NAME, first_few, join, labels, or, selector, text};
use crate::resource::{CellContext, Object, Value};
use std::collections::BTreeSet;

const NONE: &str = "<none>";
/// How many addresses, ports or hosts a cell names.
const SHOWN_MAX: usize = 3;

pub const ENDPOINTS: &[ColumnRow] = &[NAME, text("Endpoints", "Addresses and ports of ready endpoints.", endpoints), AGE];

fn endpoints(object: Object<'_>, _: CellContext) -> Value {
    if object.list("subsets").is_empty() {
        return NONE.into();
    }
    let mut all = Vec::new();
    for subset in object.items("subsets") {
        let addresses = || subset.items("addresses").map(|address| address.text("ip"));
        if subset.list("ports").is_empty() {
            all.extend(addresses().map(str::to_owned));
        }
        for port in subset.items("ports") {
            all.extend(addresses().map(|address| host_and_port(address, port.number("port"))));
        }
    }
    first_few(&all, SHOWN_MAX, ",", all.len()).into()
}

fn host_and_port(host: &str, port: i64) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

pub const ENDPOINT_SLICE: &[ColumnRow] = &[
    NAME,
    text("AddressType", "What its addresses are.", |object, _| object.text("addressType").into()),
    text("Ports", "Ports of its endpoints.", |object, _| {
        let ports = object.items("ports").map(|port| match (port.int("port"), port.text_opt("name")) {
            (Some(number), _) => number.to_string(),
            (None, Some(name)) => name.to_owned(),
            (None, None) => "*".to_owned(),
        });
        few_or_unset(ports.collect())
    }),
    text("Endpoints", "Addresses of its endpoints.", |object, _| {
        few_or_unset(object.items("endpoints").flat_map(|endpoint| endpoint.texts("addresses").map(str::to_owned).collect::<Vec<_>>()).collect())
    }),
    AGE,
];

fn few_or_unset(texts: Vec<String>) -> Value {
    or(&first_few(&texts, SHOWN_MAX, ",", texts.len()), "<unset>").into()
}

pub const SERVICE: &[ColumnRow] = &[
    NAME,
    text("Type", "Where the service is reachable.", |object, _| object.text("spec.type").into()),
    text("Cluster-IP", "The address inside the cluster.", |object, _| object.texts("spec.clusterIPs").next().unwrap_or(NONE).into()),
    text("External-IP", "Addresses for the outside.", external),
    text("Port(s)", "Ports of the service, and those that nodes listen at for it.", |object, _| or(&ports(object), NONE).into()),
    AGE,
    text("Selector", "Which Pods it leads to.", |object, _| labels(object, "spec.selector").into()).wide(),
];

/// Addresses or names that a load balancer gave.
fn balanced(object: Object<'_>) -> String {
    let all: BTreeSet<&str> = object
        .items("status.loadBalancer.ingress")
        .map(|ingress| or(ingress.text("ip"), ingress.text("hostname")))
        .filter(|text| !text.is_empty())
        .collect();
    join(all.into_iter(), ",")
}

fn external(object: Object<'_>, _: CellContext) -> Value {
    let given = join(object.texts("spec.externalIPs"), ",");
    match object.text("spec.type") {
        "ClusterIP" | "NodePort" => or(&given, NONE).into(),
        "LoadBalancer" => {
            let all = balanced(object);
            let all = join([all.as_str(), given.as_str()].into_iter().filter(|text| !text.is_empty()), ",");
            or(&all, "<pending>").into()
        }
        "ExternalName" => object.text("spec.externalName").into(),
        _ => "<unknown>".into(),
    }
}

fn ports(object: Object<'_>) -> String {
    let port = |port: Object<'_>| {
        let (number, node_port, protocol) = (port.number("port"), port.number("nodePort"), port.text("protocol"));
        if node_port > 0 { format!("{number}:{node_port}/{protocol}") } else { format!("{number}/{protocol}") }
    };
    object.items("spec.ports").map(port).collect::<Vec<_>>().join(",")
}

pub const INGRESS: &[ColumnRow] = &[
    NAME,
    text("Class", "Who serves it.", |object, _| object.text_opt("spec.ingressClassName").unwrap_or(NONE).into()),
    text("Hosts", "Host names that it has rules for.", hosts),
    text("Address", "Where it is reachable.", |object, _| balanced(object).into()),
    text("Ports", "Ports that it listens at.", |object, _| if object.list("spec.tls").is_empty() { "80" } else { "80, 443" }.into()),
    AGE,
];

fn hosts(object: Object<'_>, _: CellContext) -> Value {
    let hosts: Vec<String> = object.items("spec.rules").map(|rule| rule.text("host")).filter(|host| !host.is_empty()).map(str::to_owned).collect();
    if hosts.is_empty() {
        return "*".into();
    }
    // Rules without a host count once there is more to show than room for it.
    let count = if hosts.len() > SHOWN_MAX { object.list("spec.rules").len() } else { hosts.len() };
    first_few(&hosts, SHOWN_MAX, ",", count).into()
}

pub const INGRESS_CLASS: &[ColumnRow] = &[
    text("Name", super::NAME_DESCRIPTION, |object, _| {
        let default = object.annotation("ingressclass.kubernetes.io/is-default-class") == Some("true");
        if default { format!("{} (default)", object.name()).into() } else { object.name().into() }
    })
    .format("name"),
    text("Controller", "Who serves ingresses of the class.", |object, _| object.text("spec.controller").into()),
    text("Parameters", "Where the controller's settings are.", parameters),
    AGE,
];

fn parameters(object: Object<'_>, _: CellContext) -> Value {
    let Some(parameters) = object.child("spec.parameters") else { return NONE.into() };
    let (kind, name) = (parameters.text("kind"), parameters.text("name"));
    match parameters.text_opt("apiGroup") {
        Some(group) => format!("{kind}.{group}/{name}").into(),
        None => format!("{kind}/{name}").into(),
    }
}

pub const IP_ADDRESS: &[ColumnRow] = &[NAME, text("ParentRef", "What the address belongs to.", parent)];

fn parent(object: Object<'_>, _: CellContext) -> Value {
    let Some(parent) = object.child("spec.parentRef") else { return NONE.into() };
    let mut out = parent.text("resource").to_lowercase();
    for (separator, text) in [('.', parent.text("group")), ('/', parent.text("namespace"))] {
        if !text.is_empty() {
            out.push(separator);
            out.push_str(text);
        }
    }
    format!("{out}/{}", parent.text("name")).into()
}

pub const NETWORK_POLICY: &[ColumnRow] =
    &[NAME, text("Pod-Selector", "Which Pods it holds for.", |object, _| selector(object, "spec.podSelector", NONE).into()), AGE];

pub const SERVICE_CIDR: &[ColumnRow] =
    &[NAME, text("CIDRs", "Ranges that services get addresses from.", |object, _| join(object.texts("spec.cidrs"), ",").into()), AGE];
