//! Services and what lists their backends: Endpoints and EndpointSlices.
//!
//! Cluster addresses and node ports are given out by admission, within the transaction that writes the Service; here their fields are
//! brought into one form and checked.

use super::rules::{each, keep, raise_generation};
use super::validation::{Errors, container, fixed, ip, messages, metadata, one_of, required, value};
use super::{Context, Object, Rules, Selectable, rules};
use apiserver_machinery::Str;
use apiserver_machinery::field::{BadValue, Error, Path};
use apiserver_machinery::names;
use apiserver_machinery::schema::Schema;
use apiserver_machinery::tree::{Struct, Value};
use std::net::IpAddr;

pub static RULES: Rules = Rules {
    create,
    update,
    validate,
    selectable: &[
        Selectable { label: "spec.clusterIP", value: |service| service.text("spec.clusterIP").into() },
        Selectable { label: "spec.type", value: |service| service.text("spec.type").into() },
    ],
    create_on_update: true,
    returns_deleted: true,
    ..Rules::PLAIN
};

pub static ENDPOINTS: Rules = Rules { validate: validate_endpoints, warnings: endpoints_warnings, create_on_update: true, ..Rules::PLAIN };

pub static ENDPOINT_SLICE: Rules = Rules { update: update_slice, validate: validate_slice, generation: true, ..Rules::PLAIN };

const NONE: &str = "None";
const AFFINITY_SECONDS_MAX: i64 = 86_400;

fn create(service: &mut Struct, context: &Context<'_>) {
    rules::create(service, context);
    let schema = context.schema;
    let address = service.str_at(schema, "spec.clusterIP").unwrap_or_default();
    if !address.is_empty() && service.list_at(schema, "spec.clusterIPs").is_empty() {
        let address = Value::from(address);
        service.put(schema, "spec.clusterIPs", Value::List(vec![address]));
    }
    families(service, None, schema);
}

/// Which address families a Service has: what it says, what its addresses are, else IPv4 alone. A headless one without a selector has both,
/// since its backends are not the cluster's to know.
fn families(service: &mut Struct, old: Option<&Struct>, schema: &Schema) {
    if service.str_at(schema, "spec.type") == Some("ExternalName") {
        return;
    }
    let headless = service.str_at(schema, "spec.clusterIP") == Some(NONE);
    let selectorless = service.at(schema, "spec.selector").and_then(Value::as_map).is_none_or(|selector| selector.is_empty());
    if service.at(schema, "spec.ipFamilyPolicy").is_none() {
        let before = old.and_then(|old| old.at(schema, "spec.ipFamilyPolicy")).cloned();
        let policy = before.unwrap_or_else(|| Value::from(if headless && selectorless { "RequireDualStack" } else { "SingleStack" }));
        service.put(schema, "spec.ipFamilyPolicy", policy);
    }
    let mut families: Vec<Str> = service.list_at(schema, "spec.ipFamilies").iter().filter_map(Value::as_str).map(Str::from).collect();
    for address in service.list_at(schema, "spec.clusterIPs").iter().skip(families.len()).filter_map(Value::as_str) {
        match address.parse::<IpAddr>() {
            Ok(IpAddr::V4(_)) => families.push("IPv4".into()),
            Ok(IpAddr::V6(_)) => families.push("IPv6".into()),
            Err(_) => break,
        }
    }
    if families.is_empty() {
        families.push("IPv4".into());
    }
    if headless && selectorless && families.len() == 1 && service.str_at(schema, "spec.ipFamilyPolicy") != Some("SingleStack") {
        let other = if families[0] == "IPv4" { "IPv6" } else { "IPv4" };
        families.push(other.into());
    }
    service.put(schema, "spec.ipFamilies", Value::List(families.into_iter().map(Value::String).collect()));
}

fn update(old: &Struct, new: &mut Struct, context: &Context<'_>) {
    let schema = context.schema;
    if context.subresource == "status" {
        rules::update(old, new, context);
        return;
    }
    keep(old, new, schema, "status");
    cluster_addresses(old, new, schema);
    keep_allocated(old, new, schema);
    drop_by_type(old, new, schema);
    families(new, Some(old), schema);
}

fn text<'a>(service: &'a Struct, schema: &Schema, path: &str) -> &'a str {
    service.str_at(schema, path).unwrap_or_default()
}

/// clusterIP and clusterIPs say the same: a client that knows only the first changes both.
fn cluster_addresses(old: &Struct, new: &mut Struct, schema: &Schema) {
    let (one, all) = ("spec.clusterIP", "spec.clusterIPs");
    let same_all = old.list_at(schema, all) == new.list_at(schema, all);
    let (was, is) = (text(old, schema, one).to_owned(), text(new, schema, one).to_owned());
    if new.list_at(schema, all).is_empty() && was == is {
        keep(old, new, schema, all);
    } else if was != is && same_all {
        if is.is_empty() {
            new.take(schema, all);
        } else {
            new.put(schema, all, Value::List(vec![Value::from(is)]));
        }
    }
}

fn needs_address(ty: &str) -> bool {
    ty != "ExternalName"
}

fn needs_ports(ty: &str) -> bool {
    matches!(ty, "NodePort" | "LoadBalancer")
}

fn needs_health_port(service: &Struct, schema: &Schema) -> bool {
    text(service, schema, "spec.type") == "LoadBalancer" && text(service, schema, "spec.externalTrafficPolicy") == "Local"
}

fn ports_of(service: &Struct, schema: &Schema) -> Vec<(Str, i64)> {
    let ports = service.list_at(schema, "spec.ports").iter().filter_map(Value::as_struct);
    ports.map(|port| (text(port, schema, "name").into(), port.int_at(schema, "nodePort").unwrap_or_default())).collect()
}

/// What was given out before is kept where the client leaves it out.
fn keep_allocated(old: &Struct, new: &mut Struct, schema: &Schema) {
    let (was, is) = (text(old, schema, "spec.type").to_owned(), text(new, schema, "spec.type").to_owned());
    if needs_address(&was) && needs_address(&is) {
        if text(new, schema, "spec.clusterIP").is_empty() {
            keep(old, new, schema, "spec.clusterIP");
        }
        if new.list_at(schema, "spec.clusterIPs").is_empty() {
            keep(old, new, schema, "spec.clusterIPs");
        }
    }
    if needs_ports(&was) && needs_ports(&is) {
        let (before, now) = (ports_of(old, schema), ports_of(new, schema));
        let used: Vec<i64> = before.iter().map(|port| port.1).filter(|port| now.iter().any(|own| own.1 == *port)).collect();
        each(new, schema, "spec.ports", |port| {
            if port.int_at(schema, "nodePort").unwrap_or_default() != 0 {
                return;
            }
            let name = text(port, schema, "name");
            let kept = before.iter().find(|own| own.0 == name).map(|own| own.1).filter(|kept| *kept != 0 && !used.contains(kept));
            if let Some(kept) = kept {
                port.put(schema, "nodePort", kept);
            }
        });
    }
    if needs_health_port(old, schema) && needs_health_port(new, schema) && new.int_at(schema, "spec.healthCheckNodePort").unwrap_or_default() == 0 {
        keep(old, new, schema, "spec.healthCheckNodePort");
    }
}

/// Fields that the old type needed and the new one does not go away, unless the client changed them.
fn drop_by_type(old: &Struct, new: &mut Struct, schema: &Schema) {
    let (was, is) = (text(old, schema, "spec.type").to_owned(), text(new, schema, "spec.type").to_owned());
    let same = |new: &Struct, path: &str| old.at(schema, path) == new.at(schema, path);
    if needs_address(&was) && !needs_address(&is) {
        if same(new, "spec.clusterIP") && same(new, "spec.clusterIPs") {
            new.take(schema, "spec.clusterIP");
            new.take(schema, "spec.clusterIPs");
        }
        for path in ["spec.ipFamilies", "spec.ipFamilyPolicy"] {
            if same(new, path) {
                new.take(schema, path);
            }
        }
    }
    if needs_ports(&was) && !needs_ports(&is) {
        let before = ports_of(old, schema);
        let superset = ports_of(new, schema).iter().all(|port| port.1 == 0 || before.iter().any(|own| own.1 == port.1));
        if superset {
            each(new, schema, "spec.ports", |port| {
                port.take(schema, "nodePort");
            });
        }
    }
    if needs_health_port(old, schema) && !needs_health_port(new, schema) && same(new, "spec.healthCheckNodePort") {
        new.take(schema, "spec.healthCheckNodePort");
    }
    if was == "LoadBalancer" && is != "LoadBalancer" {
        for path in ["spec.allocateLoadBalancerNodePorts", "spec.loadBalancerClass"] {
            if same(new, path) {
                new.take(schema, path);
            }
        }
    }
    if is_external(old, schema) && !is_external(new, schema) && same(new, "spec.externalTrafficPolicy") {
        new.take(schema, "spec.externalTrafficPolicy");
    }
    if is != "LoadBalancer" {
        new.take(schema, "status.loadBalancer");
    }
}

fn is_external(service: &Struct, schema: &Schema) -> bool {
    match text(service, schema, "spec.type") {
        "LoadBalancer" | "NodePort" => true,
        "ClusterIP" => !service.list_at(schema, "spec.externalIPs").is_empty(),
        _ => false,
    }
}

fn validate(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    if context.subresource == "status" {
        load_balancer_status(new, &Path::new("status.loadBalancer"), new.text("spec.type") == "LoadBalancer", errors);
        return;
    }
    let at = Path::new("spec");
    let Some(spec) = new.child("spec") else {
        errors.push(Error::required(&at.child("ports"), ""));
        return;
    };
    if let Some(old) = old {
        changed(new, old, errors);
    }
    let headless = spec.list("clusterIPs").len() == 1 && spec.texts("clusterIPs").next() == Some(NONE);
    let ty = spec.text("type");
    if spec.list("ports").is_empty() && !headless && ty != "ExternalName" {
        errors.push(Error::required(&at.child("ports"), ""));
    }
    by_type(spec, headless, &at, errors);
    ports(spec, &at.child("ports"), errors);
    errors.extend(apiserver_machinery::labels::validate(spec.pairs("selector"), &at.child("selector")));
    affinity(spec, &at, errors);
    cluster_ip_fields(spec, headless, &at, errors);
    for (index, address) in spec.texts("externalIPs").enumerate() {
        let at = at.child("externalIPs");
        let at = at.index(index);
        if let Some(address) = ip::address(address, &at, errors) {
            endpoint_address(address, &at, errors);
        }
    }
    if required(spec, "type", &at, "", errors) {
        one_of(spec, "type", &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"], &at, errors);
    }
    traffic(new, spec, &at, errors);
}

fn by_type(spec: Object<'_>, headless: bool, at: &Path<'_>, errors: &mut Errors) {
    match spec.text("type") {
        ty @ ("LoadBalancer" | "NodePort") if headless => {
            let detail = format!("may not be set to 'None' for {ty} services");
            errors.push(Error::invalid(&at.child("clusterIPs").index(0), NONE, detail));
        }
        "ExternalName" => {
            for field in ["clusterIPs", "ipFamilies"] {
                if !spec.list(field).is_empty() {
                    errors.push(Error::forbidden(&at.child(field), "may not be set for ExternalName services"));
                }
            }
            if spec.has("ipFamilyPolicy") {
                errors.push(Error::forbidden(&at.child("ipFamilyPolicy"), "may not be set for ExternalName services"));
            }
            let name = spec.text("externalName");
            let name = name.strip_suffix('.').unwrap_or(name);
            if name.is_empty() {
                errors.push(Error::required(&at.child("externalName"), ""));
            } else {
                messages(names::dns1123_subdomain(name), name, &at.child("externalName"), errors);
            }
        }
        _ => {}
    }
}

fn ports(spec: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    let needs_name = spec.list("ports").len() > 1;
    let mut names_seen: Vec<&str> = Vec::new();
    let mut node_ports: Vec<(&str, i64)> = Vec::new();
    let mut numbers: Vec<(&str, i64)> = Vec::new();
    for (index, port) in spec.items("ports").enumerate() {
        let at = at.index(index);
        let name = port.text("name");
        if name.is_empty() {
            if needs_name {
                errors.push(Error::required(&at.child("name"), ""));
            }
        } else {
            messages(names::dns1123_label(name), name, &at.child("name"), errors);
            if names_seen.contains(&name) {
                errors.push(Error::duplicate(&at.child("name"), name));
            } else {
                names_seen.push(name);
            }
        }
        container::port_number(port.number("port"), &at.child("port"), errors);
        if required(port, "protocol", &at, "", errors) {
            one_of(port, "protocol", &["SCTP", "TCP", "UDP"], &at, errors);
        }
        container::port_or_name(port, "targetPort", &at, errors);
        if let Some(protocol) = port.text_opt("appProtocol") {
            messages(names::qualified_name(protocol), protocol, &at.child("appProtocol"), errors);
        }
        let node_port = (port.text("protocol"), port.number("nodePort"));
        if node_port.1 != 0 {
            if spec.text("type") == "ClusterIP" {
                errors.push(Error::forbidden(&at.child("nodePort"), "may not be used when `type` is 'ClusterIP'"));
            }
            if node_ports.contains(&node_port) {
                errors.push(Error::duplicate(&at.child("nodePort"), node_port.1));
            }
            node_ports.push(node_port);
        }
        let number = (port.text("protocol"), port.number("port"));
        if numbers.contains(&number) {
            let shown =
                format!("{{\"Name\":\"\",\"Protocol\":\"{}\",\"AppProtocol\":null,\"Port\":{},\"TargetPort\":0,\"NodePort\":0}}", number.0, number.1);
            errors.push(Error::duplicate(&at, BadValue::json(shown)));
        }
        numbers.push(number);
    }
}

fn affinity(spec: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    if required(spec, "sessionAffinity", at, "", errors) {
        one_of(spec, "sessionAffinity", &["ClientIP", "None"], at, errors);
    }
    let config_at = at.child("sessionAffinityConfig");
    match spec.text("sessionAffinity") {
        "ClientIP" => {
            let detail = "when session affinity type is ClientIP";
            match (spec.child("sessionAffinityConfig"), spec.child("sessionAffinityConfig.clientIP")) {
                (None, _) => errors.push(Error::required(&config_at, detail)),
                (_, None) => errors.push(Error::required(&config_at.child("clientIP"), detail)),
                (_, Some(client)) => match client.int("timeoutSeconds") {
                    None => errors.push(Error::required(&config_at.child("clientIP.timeoutSeconds"), detail)),
                    Some(seconds) if seconds <= 0 || seconds > AFFINITY_SECONDS_MAX => {
                        let detail = format!("must be greater than 0 and less than {AFFINITY_SECONDS_MAX}");
                        errors.push(Error::invalid(&config_at.child("clientIP.timeoutSeconds"), seconds, detail));
                    }
                    Some(_) => {}
                },
            }
        }
        "None" if spec.has("sessionAffinityConfig") => {
            errors.push(Error::forbidden(&config_at, "must not be set when session affinity is None"));
        }
        _ => {}
    }
}

fn cluster_ip_fields(spec: Object<'_>, headless: bool, at: &Path<'_>, errors: &mut Errors) {
    if spec.text("type") == "ExternalName" {
        return;
    }
    let all_at = at.child("clusterIPs");
    let shown = || value::shown(spec, "clusterIPs");
    let all: Vec<&str> = spec.texts("clusterIPs").collect();
    match (spec.text("clusterIP"), all.first()) {
        ("", Some(_)) => errors.push(Error::invalid(&all_at, shown(), "must be empty when `clusterIP` is not specified")),
        ("", None) => {}
        (_, None) => errors.push(Error::required(&all_at, "")),
        (one, Some(first)) if one != *first => errors.push(Error::invalid(&all_at, shown(), "first value must match `clusterIP`")),
        _ => {}
    }
    let families: Vec<&str> = spec.texts("ipFamilies").collect();
    for (index, family) in families.iter().enumerate() {
        let at = at.child("ipFamilies");
        if !matches!(*family, "IPv4" | "IPv6") {
            errors.push(Error::not_supported(&at.index(index), *family, &["IPv4", "IPv6"]));
        }
        if families[..index].contains(family) {
            errors.push(Error::duplicate(&at.index(index), *family));
        }
    }
    one_of(spec, "ipFamilyPolicy", &["PreferDualStack", "RequireDualStack", "SingleStack"], at, errors);
    let policy = spec.text("ipFamilyPolicy");
    let selectorless_headless = headless && spec.map("selector").is_none_or(|selector| selector.is_empty());
    if policy == "RequireDualStack" && !selectorless_headless {
        let detail = "this cluster is not configured for dual-stack services";
        errors.push(Error::invalid(&at.child("ipFamilyPolicy"), policy, detail));
    }
    if !selectorless_headless {
        for (index, family) in families.iter().enumerate().filter(|(_, family)| **family == "IPv6") {
            errors.push(Error::invalid(&at.child("ipFamilies").index(index), *family, "not configured on this cluster"));
        }
    }
    let faults = errors.len();
    for (index, address) in all.iter().enumerate() {
        if index == 0 && *address == NONE {
            if all.len() > 1 {
                errors.push(Error::invalid(&all_at, shown(), "'None' must be the first and only value"));
            }
            continue;
        }
        ip::address(address, &all_at.index(index), errors);
    }
    if all.len() > 2 {
        errors.push(Error::invalid(&all_at, shown(), "may only hold up to 2 values"));
    }
    if errors.len() > faults {
        return;
    }
    if all.len() == 2 && all[0].contains(':') == all[1].contains(':') {
        errors.push(Error::invalid(&all_at, shown(), "may specify no more than one IP for each IP family"));
    }
    for (index, (address, family)) in all.iter().zip(&families).enumerate().filter(|_| !headless) {
        if (*family == "IPv4") == address.contains(':') {
            let article = if *family == "IPv4" { "IPv4" } else { "IPv6" };
            let detail = format!("expected an {article} value as indicated by `ipFamilies[{index}]`");
            errors.push(Error::invalid(&all_at.index(index), *address, detail));
        }
    }
}

fn traffic(service: Object<'_>, spec: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    let balancer = spec.text("type") == "LoadBalancer";
    if !spec.list("loadBalancerSourceRanges").is_empty() {
        let at = at.child("LoadBalancerSourceRanges");
        if !balancer {
            errors.push(Error::forbidden(&at, "may only be used when `type` is 'LoadBalancer'"));
        }
        for (index, range) in spec.texts("loadBalancerSourceRanges").enumerate() {
            ip::network(range.trim(), &at.index(index), errors);
        }
    }
    if spec.has("allocateLoadBalancerNodePorts") && !balancer {
        let at = at.child("allocateLoadBalancerNodePorts");
        errors.push(Error::forbidden(&at, "may only be used when `type` is 'LoadBalancer'"));
    }
    if let Some(class) = spec.text_opt("loadBalancerClass") {
        let at = at.child("loadBalancerClass");
        if balancer {
            messages(names::qualified_name(class), class, &at, errors);
        } else {
            errors.push(Error::forbidden(&at, "may only be used when `type` is 'LoadBalancer'"));
        }
    }
    let policy = spec.text("externalTrafficPolicy");
    let policy_at = at.child("externalTrafficPolicy");
    match (is_external(service.tree, service.schema), policy) {
        (false, "") | (true, "Cluster" | "Local") => {}
        (false, _) => errors.push(Error::invalid(&policy_at, policy, "may only be set for externally-accessible services")),
        (true, "") => errors.push(Error::required(&policy_at, "")),
        (true, _) => errors.push(Error::not_supported(&policy_at, policy, &["Cluster", "Local"])),
    }
    let health_port = spec.number("healthCheckNodePort");
    let health_at = at.child("healthCheckNodePort");
    if health_port != 0 {
        if needs_health_port(service.tree, service.schema) {
            container::port_number(health_port, &health_at, errors);
        } else {
            let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            errors.push(Error::invalid(&health_at, health_port, detail));
        }
    }
    if spec.has("internalTrafficPolicy") {
        one_of(spec, "internalTrafficPolicy", &["Cluster", "Local"], at, errors);
    } else if matches!(spec.text("type"), "ClusterIP" | "NodePort" | "LoadBalancer") {
        errors.push(Error::required(&at.child("internalTrafficPolicy"), ""));
    }
    if let Some(distribution) = spec.text_opt("trafficDistribution") {
        let allowed = ["PreferClose", "PreferSameZone", "PreferSameNode"];
        if !allowed.contains(&distribution) {
            errors.push(Error::not_supported(&at.child("trafficDistribution"), distribution, &allowed));
        }
    }
}

fn changed(new: Object<'_>, old: Object<'_>, errors: &mut Errors) {
    let at = Path::new("spec");
    if new.text("spec.type") != "ExternalName" && old.text("spec.type") != "ExternalName" {
        let headless = |service: Object<'_>| service.text("spec.clusterIP") == NONE;
        let all_at = at.child("clusterIPs");
        let shown = || value::shown(new, "spec.clusterIPs");
        let (now, was): (Vec<&str>, Vec<&str>) = (new.texts("spec.clusterIPs").collect(), old.texts("spec.clusterIPs").collect());
        if !(headless(new) && headless(old)) {
            if now.len() == was.len() {
                for (index, _) in now.iter().zip(&was).enumerate().filter(|(_, (now, was))| now != was) {
                    errors.push(Error::invalid(&all_at.index(index), shown(), "may not change once set"));
                }
            } else if now.is_empty() {
                errors.push(Error::invalid(&all_at.index(0), shown(), "primary clusterIP can not be unset"));
            } else if was.first().is_some_and(|first| *first != now[0]) {
                errors.push(Error::invalid(&all_at.index(0), shown(), "may not change once set"));
            }
        }
        let (now, was): (Vec<&str>, Vec<&str>) = (new.texts("spec.ipFamilies").collect(), old.texts("spec.ipFamilies").collect());
        if !headless(new) && !headless(old) && !was.is_empty() && now.first() != was.first() {
            let shown = value::shown(new, "spec.ipFamilies");
            errors.push(Error::invalid(&at.child("ipFamilies").index(0), shown, "may not change once set"));
        }
    }
    if new.text("spec.type") == "LoadBalancer"
        && old.text("spec.type") == "LoadBalancer"
        && new.get("spec.loadBalancerClass") != old.get("spec.loadBalancerClass")
    {
        let shown = value::shown(new, "spec.loadBalancerClass");
        errors.push(Error::invalid(&at.child("loadBalancerClass"), shown, "may not change once set"));
    }
    if needs_health_port(old.tree, old.schema)
        && needs_health_port(new.tree, new.schema)
        && new.number("spec.healthCheckNodePort") != old.number("spec.healthCheckNodePort")
    {
        errors.push(Error::forbidden(&at.child("healthCheckNodePort"), super::validation::IMMUTABLE));
    }
}

/// The addresses of a load balancer, of a Service or an Ingress.
pub(super) fn load_balancer_status(object: Object<'_>, at: &Path<'_>, allowed: bool, errors: &mut Errors) {
    let at = at.child("ingress");
    if !allowed && !object.list("status.loadBalancer.ingress").is_empty() {
        errors.push(Error::forbidden(&at, "may only be used when `spec.type` is 'LoadBalancer'"));
        return;
    }
    for (index, ingress) in object.items("status.loadBalancer.ingress").enumerate() {
        let at = at.index(index);
        let address = ingress.text("ip");
        if !address.is_empty() {
            ip::address(address, &at.child("ip"), errors);
        }
        if ingress.ty().field("ipMode").is_some() {
            match (ingress.text_opt("ipMode"), address.is_empty()) {
                (None, false) => errors.push(Error::required(&at.child("ipMode"), "must be specified when `ip` is set")),
                (Some(_), true) => errors.push(Error::forbidden(&at.child("ipMode"), "may not be specified when `ip` is not set")),
                (Some(mode), false) if !matches!(mode, "VIP" | "Proxy") => {
                    errors.push(Error::not_supported(&at.child("ipMode"), mode, &["Proxy", "VIP"]));
                }
                _ => {}
            }
        }
        let hostname = ingress.text("hostname");
        if !hostname.is_empty() {
            messages(names::dns1123_subdomain(hostname), hostname, &at.child("hostname"), errors);
            if hostname.parse::<IpAddr>().is_ok() {
                errors.push(Error::invalid(&at.child("hostname"), hostname, "must be a DNS name, not an IP address"));
            }
        }
    }
}

/// Addresses that no backend can have.
fn endpoint_address(address: IpAddr, at: &Path<'_>, errors: &mut Errors) {
    let text = address.to_string();
    let (link_local, multicast) = match address {
        IpAddr::V4(address) => (address.is_link_local(), address.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(address) => (address.is_unicast_link_local(), address.segments()[0] & 0xff0f == 0xff02),
    };
    if address.is_unspecified() {
        errors.push(Error::invalid(at, text.as_str(), format!("may not be unspecified ({text})")));
    }
    if address.is_loopback() {
        errors.push(Error::invalid(at, text.as_str(), "may not be in the loopback range (127.0.0.0/8, ::1/128)"));
    }
    if link_local {
        errors.push(Error::invalid(at, text.as_str(), "may not be in the link-local range (169.254.0.0/16, fe80::/10)"));
    }
    if multicast {
        errors.push(Error::invalid(at, text.as_str(), "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"));
    }
}

fn endpoints_warnings(_: Object<'_>, _: Option<Object<'_>>, _: &Context<'_>) -> Vec<String> {
    vec!["v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice".to_owned()]
}

fn validate_endpoints(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    if old.is_some_and(|old| old.get("subsets") == new.get("subsets")) {
        return;
    }
    for (index, subset) in new.items("subsets").enumerate() {
        let at = Path::new("subsets");
        let at = at.index(index);
        if subset.list("addresses").is_empty() && subset.list("notReadyAddresses").is_empty() {
            errors.push(Error::required(&at, "must specify `addresses` or `notReadyAddresses`"));
        }
        for list in ["addresses", "notReadyAddresses"] {
            for (index, address) in subset.items(list).enumerate() {
                let at = at.child(list);
                let at = at.index(index);
                let text = address.text("ip");
                let parsed = ip::address(text, &at.child("ip"), errors);
                let hostname = address.text("hostname");
                if !hostname.is_empty() {
                    messages(names::dns1123_label(hostname), hostname, &at.child("hostname"), errors);
                }
                if let Some(node) = address.text_opt("nodeName") {
                    messages(names::dns1123_subdomain(node), node, &at.child("nodeName"), errors);
                }
                match parsed {
                    Some(parsed) => endpoint_address(parsed, &at.child("ip"), errors),
                    None => errors.push(Error::invalid(&at.child("ip"), text, "must be a valid IP address")),
                }
            }
        }
        let needs_name = subset.list("ports").len() > 1;
        for (index, port) in subset.items("ports").enumerate() {
            let at = at.child("ports");
            let at = at.index(index);
            let name = port.text("name");
            if name.is_empty() {
                if needs_name {
                    errors.push(Error::required(&at.child("name"), ""));
                }
            } else {
                messages(names::dns1123_label(name), name, &at.child("name"), errors);
            }
            container::port_number(port.number("port"), &at.child("port"), errors);
            if required(port, "protocol", &at, "", errors) {
                one_of(port, "protocol", &["SCTP", "TCP", "UDP"], &at, errors);
            }
            if let Some(protocol) = port.text_opt("appProtocol") {
                messages(names::qualified_name(protocol), protocol, &at.child("appProtocol"), errors);
            }
        }
    }
}

/// Labels are part of what a slice says.
fn update_slice(old: &Struct, new: &mut Struct, context: &Context<'_>) {
    if old.at(context.schema, "metadata.labels") != new.at(context.schema, "metadata.labels") {
        raise_generation(old, new, context.schema);
    }
}

const ENDPOINTS_MAX: usize = 1000;
const SLICE_ADDRESSES_MAX: usize = 100;
const SLICE_PORTS_MAX: usize = 20_000;
const HINTS_MAX: usize = 8;

fn validate_slice(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    let family = new.text("addressType");
    let at = Path::new("addressType");
    if family.is_empty() {
        errors.push(Error::required(&at, ""));
    } else if !matches!(family, "IPv4" | "IPv6" | "FQDN") {
        errors.push(Error::not_supported(&at, family, &["FQDN", "IPv4", "IPv6"]));
    }
    slice_endpoints(new, old, family, errors);
    slice_ports(new, errors);
    if let Some(old) = old {
        fixed(new, old, "addressType", &at, errors);
    }
}

fn slice_endpoints(slice: Object<'_>, old: Option<Object<'_>>, family: &str, errors: &mut Errors) {
    let at = Path::new("endpoints");
    let count = slice.list("endpoints").len();
    if count > ENDPOINTS_MAX {
        errors.push(Error::too_many(&at, count, ENDPOINTS_MAX));
        return;
    }
    let unchanged = old.is_some_and(|old| old.get("endpoints") == slice.get("endpoints"));
    for (index, endpoint) in slice.items("endpoints").enumerate() {
        let at = at.index(index);
        let addresses = endpoint.list("addresses").len();
        let addresses_at = at.child("addresses");
        if addresses == 0 {
            errors.push(Error::required(&addresses_at, ""));
        } else if addresses > SLICE_ADDRESSES_MAX {
            errors.push(Error::too_many(&addresses_at, addresses, SLICE_ADDRESSES_MAX));
        }
        for (index, address) in endpoint.texts("addresses").enumerate().filter(|_| !unchanged) {
            let at = addresses_at.index(index);
            match family {
                "IPv4" | "IPv6" => {
                    let parsed = ip::address(address, &at, errors);
                    if let Some(parsed) = parsed {
                        if parsed.is_ipv4() != (family == "IPv4") {
                            errors.push(Error::invalid(&addresses_at, address, format!("must be an {family} address")));
                        }
                        endpoint_address(parsed, &at, errors);
                    }
                }
                "FQDN" => messages(names::dns1123_subdomain(address), address, &at, errors),
                _ => {}
            }
        }
        if let Some(node) = endpoint.text_opt("nodeName") {
            messages(names::dns1123_subdomain(node), node, &at.child("nodeName"), errors);
        }
        if let Some(hostname) = endpoint.text_opt("hostname") {
            messages(names::dns1123_label(hostname), hostname, &at.child("hostname"), errors);
        }
        for (list, inner) in [("forZones", "zone"), ("forNodes", "node")] {
            let path = format!("hints.{list}");
            let hints_at = at.child(&path);
            let hints = endpoint.list(&path).len();
            if hints > HINTS_MAX {
                errors.push(Error::too_many(&hints_at, hints, HINTS_MAX));
                continue;
            }
            let mut seen: Vec<&str> = Vec::new();
            for (index, hint) in endpoint.items(&path).enumerate() {
                let name = hint.text("name");
                let at = hints_at.index(index);
                if seen.contains(&name) {
                    errors.push(Error::duplicate(&at.child("name"), name));
                }
                seen.push(name);
                let found: Vec<String> = if inner == "zone" { names::label_value(name) } else { names::dns1123_subdomain(name) };
                messages(found, name, &at.child("name"), errors);
            }
        }
    }
}

fn slice_ports(slice: Object<'_>, errors: &mut Errors) {
    let at = Path::new("ports");
    let count = slice.list("ports").len();
    if count > SLICE_PORTS_MAX {
        errors.push(Error::too_many(&at, count, SLICE_PORTS_MAX));
        return;
    }
    let mut seen: Vec<&str> = Vec::new();
    for (index, port) in slice.items("ports").enumerate() {
        let at = at.index(index);
        let name = port.text("name");
        if !name.is_empty() {
            messages(names::dns1123_label(name), name, &at.child("name"), errors);
        }
        if seen.contains(&name) {
            errors.push(Error::duplicate(&at.child("name"), name));
        }
        seen.push(name);
        if required(port, "protocol", &at, "", errors) {
            one_of(port, "protocol", &["SCTP", "TCP", "UDP"], &at, errors);
        }
        if let Some(protocol) = port.text_opt("appProtocol") {
            messages(names::qualified_name(protocol), protocol, &at.child("appProtocol"), errors);
        }
    }
}
