//! Ingresses, NetworkPolicies, and the objects that hold Service addresses.

use super::validation::{Errors, container, immutable, ip, messages, metadata, required, selector, value};
use super::{Context, Object, Rules, rules, service};
use apiserver_machinery::field::{Error, Path};
use apiserver_machinery::names;
use apiserver_machinery::tree::Value;
use std::net::IpAddr;

pub static INGRESS: Rules = Rules { validate: validate_ingress, warnings: ingress_warnings, generation: true, ..Rules::PLAIN };
pub static INGRESS_CLASS: Rules = Rules { validate: validate_class, generation: true, ..Rules::PLAIN };
pub static NETWORK_POLICY: Rules = Rules { validate: validate_policy, generation: true, ..Rules::PLAIN };
pub static IP_ADDRESS: Rules = Rules {
    validate: validate_address,
    selectable: &[super::Selectable {
        label: "spec.parentRef",
        value: |address| {
            let part = |field: &str| address.text(&format!("spec.parentRef.{field}")).to_owned();
            compact_str::format_compact!("{}/{}/{}/{}", part("group"), part("resource"), part("namespace"), part("name"))
        },
    }],
    ..Rules::PLAIN
};
pub static SERVICE_CIDR: Rules = Rules { update: rules::update, validate: validate_cidr, ..Rules::PLAIN };

const CONTROLLER_BYTES_MAX: usize = 250;
const INGRESS_CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

fn validate_ingress(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    if context.subresource == "status" {
        service::load_balancer_status(new, &Path::new("status.loadBalancer"), true, errors);
        return;
    }
    let at = Path::new("spec");
    let Some(spec) = new.child("spec") else {
        errors.push(Error::invalid(&at, value::shown(new, "spec.rules"), "either `defaultBackend` or `rules` must be specified"));
        return;
    };
    if spec.list("rules").is_empty() && !spec.has("defaultBackend") {
        errors.push(Error::invalid(&at, value::shown(spec, "rules"), "either `defaultBackend` or `rules` must be specified"));
    }
    if let Some(backend) = spec.child("defaultBackend") {
        ingress_backend(backend, &at.child("defaultBackend"), errors);
    }
    for (index, rule) in spec.items("rules").enumerate() {
        let at = at.child("rules");
        ingress_rule(rule, &at.index(index), errors);
    }
    for (index, tls) in spec.items("tls").enumerate() {
        let at = at.child("tls");
        let at = at.index(index);
        for (index, host) in tls.texts("hosts").enumerate() {
            let at = at.child("hosts");
            host_name(host, &at.index(index), errors);
        }
        let secret = tls.text("secretName");
        if !secret.is_empty() && old.is_none_or(|old| old.get("spec.tls") != new.get("spec.tls")) {
            messages(names::dns1123_subdomain(secret), secret, &at.child("secretName"), errors);
        }
    }
    if let Some(class) = spec.text_opt("ingressClassName") {
        messages(names::dns1123_subdomain(class), class, &at.child("ingressClassName"), errors);
        if let Some(annotated) = new.annotation(INGRESS_CLASS_ANNOTATION)
            && old.is_none()
            && annotated != class
        {
            let at = Path::new("annotations");
            let detail = "must match `ingressClassName` when both are specified";
            errors.push(Error::invalid(&at.child(INGRESS_CLASS_ANNOTATION), annotated, detail));
        }
    }
}

fn ingress_warnings(new: Object<'_>, old: Option<Object<'_>>, _: &Context<'_>) -> Vec<String> {
    if old.is_none() && new.annotation(INGRESS_CLASS_ANNOTATION).is_some() {
        return vec![format!("annotation {INGRESS_CLASS_ANNOTATION:?} is deprecated, please use 'spec.ingressClassName' instead")];
    }
    Vec::new()
}

fn host_name(host: &str, at: &Path<'_>, errors: &mut Errors) {
    let found: Vec<String> = if host.contains('*') { names::wildcard_dns1123_subdomain(host) } else { names::dns1123_subdomain(host) };
    messages(found, host, at, errors);
}

fn ingress_rule(rule: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    let host = rule.text("host");
    if !host.is_empty() {
        if host.parse::<IpAddr>().is_ok() {
            errors.push(Error::invalid(&at.child("host"), host, "must be a DNS name, not an IP address"));
        }
        host_name(host, &at.child("host"), errors);
    }
    let Some(http) = rule.child("http") else { return };
    let at = at.child("http.paths");
    if http.list("paths").is_empty() {
        errors.push(Error::required(&at, ""));
    }
    for (index, path) in http.items("paths").enumerate() {
        let at = at.index(index);
        let text = path.text("path");
        let absolute = |errors: &mut Errors| {
            if !text.starts_with('/') {
                errors.push(Error::invalid(&at.child("path"), text, "must be an absolute path"));
            }
        };
        match path.text_opt("pathType") {
            None => {
                errors.push(Error::required(&at.child("pathType"), "pathType must be specified"));
                continue;
            }
            Some("Exact" | "Prefix") => {
                absolute(errors);
                for part in ["//", "/./", "/../", "%2f", "%2F"].iter().filter(|part| text.contains(**part)) {
                    errors.push(Error::invalid(&at.child("path"), text, format!("must not contain '{part}'")));
                }
                for end in ["/..", "/."].iter().filter(|end| text.ends_with(**end)) {
                    errors.push(Error::invalid(&at.child("path"), text, format!("cannot end with '{end}'")));
                }
            }
            Some("ImplementationSpecific") => {
                if !text.is_empty() {
                    absolute(errors);
                }
            }
            Some(other) => {
                errors.push(Error::not_supported(&at.child("pathType"), other, &["Exact", "ImplementationSpecific", "Prefix"]));
            }
        }
        match path.child("backend") {
            Some(backend) => ingress_backend(backend, &at.child("backend"), errors),
            None => errors.push(Error::invalid(&at.child("backend"), "", "resource or service backend is required")),
        }
    }
}

fn ingress_backend(backend: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    match (backend.child("resource"), backend.child("service")) {
        (Some(_), Some(_)) => errors.push(Error::invalid(at, "", "cannot set both resource and service backends")),
        (None, None) => errors.push(Error::invalid(at, "", "resource or service backend is required")),
        (Some(resource), None) => reference(resource, &at.child("resource"), errors),
        (None, Some(service)) => {
            let service_at = at.child("service");
            if required(service, "name", &service_at, "", errors) {
                let name = service.text("name");
                messages(names::dns1123_label(name), name, &service_at.child("name"), errors);
            }
            let (name, number) = (service.text("port.name"), service.number("port.number"));
            match (!name.is_empty(), number != 0) {
                (true, true) => errors.push(Error::invalid(at, "", "cannot set both port name & port number")),
                (true, false) => messages(names::port_name(name), name, &service_at.child("port.name"), errors),
                (false, true) => container::port_number(number, &service_at.child("port.number"), errors),
                (false, false) => errors.push(Error::required(at, "port name or number is required")),
            }
        }
    }
}

/// apiGroup, kind and name of an object that an ingress names.
fn reference(reference: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    if let Some(group) = reference.text_opt("apiGroup") {
        messages(names::dns1123_subdomain(group), group, &at.child("apiGroup"), errors);
    }
    for field in ["kind", "name"] {
        if required(reference, field, at, "", errors) {
            let text = reference.text(field);
            messages(names::path_segment(text), text, &at.child(field), errors);
        }
    }
}

fn validate_class(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    let at = Path::new("spec");
    if let Some(old) = old {
        immutable(new, old, "spec.controller", &at.child("controller"), errors);
    }
    let controller = new.text("spec.controller");
    let controller_at = at.child("controller");
    if controller.len() > CONTROLLER_BYTES_MAX {
        errors.push(Error::too_long(&controller_at, CONTROLLER_BYTES_MAX));
    }
    match controller.split_once('/') {
        _ if controller.is_empty() => errors.push(Error::required(&controller_at, "")),
        Some((domain, path)) if !domain.is_empty() && !path.is_empty() => {
            messages(names::dns1123_subdomain(domain), domain, &controller_at, errors);
        }
        _ => {
            let detail = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            errors.push(Error::invalid(&controller_at, controller, detail));
        }
    }
    let Some(parameters) = new.child("spec.parameters") else { return };
    let at = at.child("parameters");
    reference(parameters, &at, errors);
    match (parameters.text_opt("scope"), parameters.text_opt("namespace")) {
        (None, _) => errors.push(Error::required(&at.child("scope"), "")),
        (Some("Namespace"), None) => {
            errors.push(Error::required(&at.child("namespace"), "`parameters.scope` is set to 'Namespace'"));
        }
        (Some("Namespace"), Some(namespace)) => messages(names::dns1123_label(namespace), namespace, &at.child("namespace"), errors),
        (Some("Cluster"), Some(_)) => {
            errors.push(Error::forbidden(&at.child("namespace"), "`parameters.scope` is set to 'Cluster'"));
        }
        (Some("Cluster"), None) => {}
        (Some(other), _) => errors.push(Error::not_supported(&at.child("scope"), other, &["Cluster", "Namespace"])),
    }
}

fn validate_policy(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    let at = Path::new("spec");
    let Some(spec) = new.child("spec") else { return };
    selector::label_selector(spec, "podSelector", &at, errors);
    for (list, peers) in [("ingress", "from"), ("egress", "to")] {
        for (index, rule) in spec.items(list).enumerate() {
            let at = at.child(list);
            let at = at.index(index);
            for (index, port) in rule.items("ports").enumerate() {
                policy_port(port, &at.child("ports").index(index), errors);
            }
            for (index, peer) in rule.items(peers).enumerate() {
                policy_peer(peer, &at.child(peers).index(index), errors);
            }
        }
    }
    let types_at = at.child("policyTypes");
    if spec.list("policyTypes").len() > 2 {
        let shown = value::shown(spec, "policyTypes");
        errors.push(Error::invalid(&types_at, shown, "may not specify more than two policyTypes"));
        return;
    }
    for (index, ty) in spec.texts("policyTypes").enumerate() {
        if !matches!(ty, "Ingress" | "Egress") {
            errors.push(Error::not_supported(&types_at.index(index), ty, &["Ingress", "Egress"]));
        }
    }
}

fn policy_port(port: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    super::validation::one_of(port, "protocol", &["TCP", "UDP", "SCTP"], at, errors);
    let end = port.int("endPort");
    let fault = |detail: &str, errors: &mut Errors| {
        if let Some(end) = end {
            errors.push(Error::invalid(&at.child("endPort"), end, detail));
        }
    };
    match port.get("port") {
        None => fault("may not be specified when `port` is not specified", errors),
        Some(Value::String(name)) => {
            fault("may not be specified when `port` is non-numeric", errors);
            messages(names::port_name(name), name, &at.child("port"), errors);
        }
        Some(other) => {
            let number = other.as_int().unwrap_or_default();
            container::port_number(number, &at.child("port"), errors);
            if let Some(end) = end {
                if end < number {
                    fault("must be greater than or equal to `port`", errors);
                }
                container::port_number(end, &at.child("endPort"), errors);
            }
        }
    }
}

fn policy_peer(peer: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    let mut peers = 0;
    for field in ["podSelector", "namespaceSelector"] {
        peers += i32::from(peer.has(field));
        selector::label_selector(peer, field, at, errors);
    }
    if let Some(block) = peer.child("ipBlock") {
        if peers > 0 {
            errors.push(Error::forbidden(at, "may not specify both ipBlock and another peer"));
        }
        let at = at.child("ipBlock");
        if required(block, "cidr", &at, "", errors)
            && let Some(net) = ip::network(block.text("cidr"), &at.child("cidr"), errors)
        {
            for (index, text) in block.texts("except").enumerate() {
                let at = at.child("except");
                let at = at.index(index);
                if let Some(except) = ip::network(text, &at, errors)
                    && (!net.contains(&except.network()) || net.prefix_len() >= except.prefix_len())
                {
                    errors.push(Error::invalid(&at, text, "must be a strict subset of `cidr`"));
                }
            }
        }
    } else if peers == 0 {
        errors.push(Error::required(at, "must specify a peer"));
    }
}

fn validate_address(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    if old.is_none() {
        ip::canonical_address(new.name(), &Path::new("metadata.name"), errors);
    }
    let at = Path::new("spec.parentRef");
    match new.child("spec.parentRef") {
        None => errors.push(Error::required(&at, "")),
        Some(parent) => {
            for field in ["resource", "name"] {
                if required(parent, field, &at, "", errors) {
                    messages(names::path_segment(parent.text(field)), parent.text(field), &at.child(field), errors);
                }
            }
            let namespace = parent.text("namespace");
            if !namespace.is_empty() {
                messages(names::path_segment(namespace), namespace, &at.child("namespace"), errors);
            }
            let group = parent.text("group");
            if !group.is_empty() {
                messages(names::dns1123_subdomain(group), group, &at.child("group"), errors);
            }
        }
    }
    if let Some(old) = old {
        immutable(new, old, "spec.parentRef", &at, errors);
    }
}

fn validate_cidr(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    if context.subresource == "status" {
        return;
    }
    let at = Path::new("spec.cidrs");
    let cidrs: Vec<&str> = new.texts("spec.cidrs").collect();
    if let Some(old) = old {
        let was: Vec<&str> = old.texts("spec.cidrs").collect();
        if was.len() == 1 && cidrs.len() == 2 && was[0] != cidrs[0] {
            errors.push(Error::invalid(&at.index(0), cidrs[0], super::validation::IMMUTABLE));
        } else if !(was.len() == 1 && cidrs.len() == 2) && was != cidrs {
            errors.push(Error::invalid(&at, value::shown(new, "spec.cidrs"), super::validation::IMMUTABLE));
        }
        return;
    }
    if cidrs.is_empty() {
        errors.push(Error::required(&at, "at least one CIDR required"));
        return;
    }
    if cidrs.len() > 2 {
        errors.push(Error::invalid(&at, value::shown(new, "spec"), "may only hold up to 2 values"));
        return;
    }
    for (index, cidr) in cidrs.iter().enumerate() {
        ip::canonical_network(cidr, &at.index(index), errors);
    }
    let families: Vec<bool> = cidrs.iter().filter_map(|cidr| cidr.parse::<ipnet::IpNet>().ok()).map(|net| net.addr().is_ipv4()).collect();
    if families.len() == 2 && families[0] == families[1] {
        let detail = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        errors.push(Error::invalid(&at, value::shown(new, "spec.cidrs"), detail));
    }
}
