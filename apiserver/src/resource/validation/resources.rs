//! Quantities of resources: names, amounts, requests against limits.

use super::{Errors, messages};
use crate::resource::Object;
use apiserver_machinery::field::{Error, Path};
use apiserver_machinery::names;
use apiserver_machinery::quantity::Quantity;
use apiserver_machinery::tree::Value;

/// What a Pod as a whole may ask for.
const POD_LEVEL: [&str; 2] = ["cpu", "memory"];
const HUGE_PAGES: &str = "hugepages-";

const STANDARD: &[&str] = &[
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.ephemeral-storage",
    "limits.ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "limits.cpu",
    "limits.memory",
    "pods",
    "services",
    "resourcequotas",
    "replicationcontrollers",
    "configmaps",
    "secrets",
    "persistentvolumeclaims",
    "requests.storage",
    "services.loadbalancers",
    "services.nodeports",
    "storage",
];

pub fn quantity(value: &Value) -> Quantity {
    value.as_str().and_then(|text| Quantity::parse(text).ok()).unwrap_or_else(Quantity::zero)
}

/// A quantity in a field.
pub fn at(object: Object<'_>, path: &str) -> Option<Quantity> {
    object.get(path).map(quantity)
}

pub fn is_huge_page(name: &str) -> bool {
    name.starts_with(HUGE_PAGES)
}

fn is_standard(name: &str) -> bool {
    STANDARD.contains(&name) || is_huge_page(name) || name.starts_with("requests.hugepages-")
}

fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

pub fn is_extended(name: &str) -> bool {
    !is_native(name) && !name.starts_with("requests.") && names::qualified_name(&format!("requests.{name}")).is_empty()
}

/// More may be promised than there is.
fn may_overcommit(name: &str) -> bool {
    is_native(name) && !is_huge_page(name)
}

/// Whether only whole amounts make sense.
fn is_whole(name: &str) -> bool {
    matches!(
        name,
        "pods"
            | "services"
            | "replicationcontrollers"
            | "resourcequotas"
            | "secrets"
            | "configmaps"
            | "persistentvolumeclaims"
            | "services.nodeports"
            | "services.loadbalancers"
    ) || is_extended(name)
}

/// Returns whether the name is well formed.
pub fn resource_name(name: &str, at: &Path<'_>, errors: &mut Errors) -> bool {
    let found: Vec<String> = names::qualified_name(name);
    if !found.is_empty() {
        messages(found, name, at, errors);
        return false;
    }
    if !name.contains('/') && !is_standard(name) {
        errors.push(Error::invalid(at, name, "must be a standard resource type or fully qualified"));
        return false;
    }
    true
}

fn container_resource_name(name: &str, at: &Path<'_>, errors: &mut Errors) {
    resource_name(name, at, errors);
    if !name.contains('/') {
        if !matches!(name, "cpu" | "memory" | "ephemeral-storage") && !is_huge_page(name) {
            errors.push(Error::invalid(at, name, "must be a standard resource for containers"));
        }
    } else if !is_native(name) && !is_extended(name) {
        errors.push(Error::invalid(at, name, "doesn't follow extended resource name standard"));
    }
}

fn pod_resource_name(name: &str, at: &Path<'_>, errors: &mut Errors) {
    if resource_name(name, at, errors) && !POD_LEVEL.contains(&name) && !is_huge_page(name) {
        errors.push(Error::not_supported(at, name, &["cpu", "hugepages-", "memory"]));
    }
}

/// An amount: not negative, whole where only whole amounts make sense.
pub fn amount(name: &str, value: &Quantity, at: &Path<'_>, errors: &mut Errors) {
    if value.sign() < 0 {
        errors.push(Error::invalid(at, value.to_string().as_str(), super::NOT_NEGATIVE));
    }
    if is_whole(name) && value.milli_value() % 1000 != 0 {
        errors.push(Error::invalid(at, value.to_string().as_str(), "must be an integer"));
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Container,
    Pod,
}

/// ResourceRequirements of a container, or of a Pod as a whole.
pub fn requirements(requirements: Object<'_>, scope: Scope, claims: &[&str], at: &Path<'_>, errors: &mut Errors) {
    let check_name = match scope {
        Scope::Container => container_resource_name,
        Scope::Pod => pod_resource_name,
    };
    let (limits_at, requests_at) = (at.child("limits"), at.child("requests"));
    let (mut has_compute, mut has_huge_pages) = (false, false);
    let mut note = |name: &str| {
        has_compute |= matches!(name, "cpu" | "memory");
        has_huge_pages |= is_huge_page(name);
    };
    for (name, value) in requirements.entries("limits") {
        let (value, at) = (quantity(value), limits_at.key(name));
        check_name(name, &at, errors);
        amount(name, &value, &at, errors);
        huge_page(name, &value, &at, errors);
        note(name);
    }
    for (name, value) in requirements.entries("requests") {
        let (value, at) = (quantity(value), requests_at.key(name));
        check_name(name, &at, errors);
        amount(name, &value, &at, errors);
        match requirements.map("limits").and_then(|limits| limits.get(name)).map(quantity) {
            Some(limit) => {
                if value != limit && !may_overcommit(name) {
                    errors.push(Error::invalid(&requests_at, value.to_string().as_str(), format!("must be equal to {name} limit of {limit}")));
                } else if value > limit {
                    let detail = format!("must be less than or equal to {name} limit of {limit}");
                    errors.push(Error::invalid(&requests_at, value.to_string().as_str(), detail));
                }
            }
            None if !may_overcommit(name) => {
                errors.push(Error::required(&limits_at, "Limit must be set for non overcommitable resources"));
            }
            None => {}
        }
        huge_page(name, &value, &at, errors);
        note(name);
    }
    if has_huge_pages && !has_compute {
        errors.push(Error::forbidden(at, "HugePages require cpu or memory"));
    }
    claim_names(requirements, claims, &at.child("claims"), errors);
}

fn huge_page(name: &str, value: &Quantity, at: &Path<'_>, errors: &mut Errors) {
    let Some(size) = name.strip_prefix(HUGE_PAGES).and_then(|size| Quantity::parse(size).ok()) else { return };
    if size.value() > 0 && (value.sign() < 0 || value.value() % size.value() != 0) {
        errors.push(Error::invalid(at, value.to_string().as_str(), format!("{value} is not positive integer multiple of {name}")));
    }
}

fn claim_names(requirements: Object<'_>, known: &[&str], at: &Path<'_>, errors: &mut Errors) {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (index, claim) in requirements.items("claims").enumerate() {
        let at = at.index(index);
        let (name, request) = (claim.text("name"), claim.text("request"));
        if name.is_empty() {
            errors.push(Error::required(&at, ""));
            continue;
        }
        if seen.contains(&(name, "")) || (request.is_empty() && seen.iter().any(|(own, _)| *own == name)) {
            errors.push(Error::duplicate(&at, name));
        } else {
            if !request.is_empty() {
                messages(names::dns1123_label(request), request, &at.child("request"), errors);
            }
            if seen.contains(&(name, request)) {
                errors.push(Error::duplicate(&at, format!("{name}/{request}").as_str()));
            }
            seen.push((name, request));
        }
        if !known.contains(&name) {
            let mut error = Error::not_found(&at, name);
            let mut sorted = known.to_vec();
            sorted.sort_unstable();
            error.detail = if sorted.is_empty() {
                "must be one of the names in pod.spec.resourceClaims which is empty".to_owned()
            } else {
                format!("must be one of the names in pod.spec.resourceClaims: {}", sorted.join(", "))
            };
            errors.push(error);
        }
    }
}
