//! ResourceQuotas and LimitRanges.

use super::validation::{Errors, messages, metadata, resources, value};
use super::{Context, Object, Rules, rules};
use apiserver_machinery::field::{Error, Path};
use apiserver_machinery::names;
use apiserver_machinery::quantity::Quantity;

pub static RESOURCE_QUOTA: Rules = Rules { validate: validate_quota, warnings: quota_warnings, returns_deleted: true, ..Rules::PLAIN };

pub static LIMIT_RANGE: Rules = Rules { create: rules::create, validate: validate_limit_range, create_on_update: true, ..Rules::PLAIN };

const SCOPES: [&str; 7] =
    ["Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "PriorityClass", "CrossNamespacePodAffinity", "VolumeAttributesClass"];
const POD_RESOURCES: [&str; 8] =
    ["cpu", "memory", "ephemeral-storage", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory", "requests.ephemeral-storage"];
const STANDARD_QUOTAS: [&str; 11] = [
    "requests.storage",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "services.nodeports",
    "services.loadbalancers",
];

fn validate_quota(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    let lists: &[&str] = if context.subresource == "status" { &["status.hard", "status.used"] } else { &["spec.hard"] };
    for list in lists {
        let at = Path::new(list);
        for (name, amount) in new.entries(list) {
            resources::resource_name(name, &at.key(name), errors);
            if !name.contains('/') && !is_standard_quota(name) {
                errors.push(Error::invalid(&at.key(name), name, "must be a standard resource for quota"));
            }
            resources::amount(name, &resources::quantity(amount), &at.key(name), errors);
        }
    }
    if context.subresource == "status" {
        return;
    }
    scopes(new, errors);
    scope_selector(new, errors);
    if let Some(old) = old {
        let sorted = |quota: Object<'_>| {
            let mut scopes: Vec<String> = quota.texts("spec.scopes").map(str::to_owned).collect();
            scopes.sort();
            scopes.dedup();
            scopes
        };
        if sorted(new) != sorted(old) {
            let shown = value::shown(new, "spec.scopes");
            errors.push(Error::invalid(&Path::new("spec.scopes"), shown, super::validation::IMMUTABLE));
        }
    }
}

/// Whether quota of a resource can be limited to a scope.
fn applies(scope: &str, resource: &str) -> bool {
    match scope {
        "BestEffort" => resource == "pods",
        "Terminating" | "NotTerminating" | "NotBestEffort" | "PriorityClass" | "CrossNamespacePodAffinity" => {
            resource == "pods"
                || resource == "limits.ephemeral-storage"
                || POD_RESOURCES.contains(&resource)
                || resources::is_huge_page(resource)
                || resource.starts_with("requests.hugepages-")
        }
        "VolumeAttributesClass" => resource == "persistentvolumeclaims" || resource == "requests.storage",
        _ => true,
    }
}

fn is_standard_quota(resource: &str) -> bool {
    POD_RESOURCES.contains(&resource)
        || STANDARD_QUOTAS.contains(&resource)
        || resources::is_huge_page(resource)
        || resource.starts_with("requests.hugepages-")
}

fn scopes(quota: Object<'_>, errors: &mut Errors) {
    let at = Path::new("spec.scopes");
    let shown = || value::shown(quota, "spec.scopes");
    for scope in quota.texts("spec.scopes") {
        if !SCOPES.contains(&scope) {
            errors.push(Error::invalid(&at, shown(), "unsupported scope"));
        }
        for (resource, _) in quota.entries("spec.hard") {
            if is_standard_quota(resource) && !applies(scope, resource) {
                errors.push(Error::invalid(&at, shown(), "unsupported scope applied to resource"));
            }
        }
    }
    conflicts(&quota.texts("spec.scopes").collect::<Vec<_>>(), quota, &at, errors);
}

fn conflicts(scopes: &[&str], quota: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    for (one, other) in [("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")] {
        if scopes.contains(&one) && scopes.contains(&other) {
            errors.push(Error::invalid(at, value::shown(quota, "spec.scopes"), "conflicting scopes"));
        }
    }
}

fn scope_selector(quota: Object<'_>, errors: &mut Errors) {
    let at = Path::new("spec.scopeSelector.matchExpressions");
    let mut names_seen: Vec<&str> = Vec::new();
    for requirement in quota.items("spec.scopeSelector.matchExpressions") {
        let (scope, operator) = (requirement.text("scopeName"), requirement.text("operator"));
        if !SCOPES.contains(&scope) {
            errors.push(Error::invalid(&at.child("scopeName"), scope, "unsupported scope"));
        }
        for (resource, _) in quota.entries("spec.hard") {
            if is_standard_quota(resource) && !applies(scope, resource) {
                let shown = value::shown(quota, "spec.scopeSelector");
                errors.push(Error::invalid(&at, shown, "unsupported scope applied to resource"));
            }
        }
        if !matches!(scope, "PriorityClass" | "VolumeAttributesClass") && SCOPES.contains(&scope) && operator != "Exists" {
            let detail = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, \
                          ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            errors.push(Error::invalid(&at.child("operator"), operator, detail));
        }
        let values = requirement.list("values").len();
        match operator {
            "In" | "NotIn" if values == 0 => {
                let detail = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                errors.push(Error::required(&at.child("values"), detail));
            }
            "Exists" | "DoesNotExist" if values != 0 => {
                let detail = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                errors.push(Error::invalid(&at.child("values"), value::shown(requirement, "values"), detail));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.push(Error::invalid(&at.child("operator"), other, "not a valid selector operator")),
        }
        names_seen.push(scope);
    }
    conflicts(&names_seen, quota, &at, errors);
}

fn quota_warnings(quota: Object<'_>, old: Option<Object<'_>>, _: &Context<'_>) -> Vec<String> {
    if old.is_some() {
        return Vec::new();
    }
    let hard = |name: &str| quota.map("spec.hard").and_then(|hard| hard.get(name)).map(resources::quantity);
    let mut found = Vec::new();
    for name in ["cpu", "memory", "storage", "ephemeral-storage"] {
        let mut request = (format!("requests.{name}"), hard(&format!("requests.{name}")));
        if request.1.is_none() && matches!(name, "cpu" | "memory") {
            request = (name.to_owned(), hard(name));
        }
        let limit = (format!("limits.{name}"), hard(&format!("limits.{name}")));
        if let ((asked, Some(request)), (bound, Some(limit))) = (request, limit)
            && request > limit
        {
            found.push(format!("ResourceQuota {asked} ({request}) should be less than {bound} ({limit})"));
        }
    }
    found
}

fn validate_limit_range(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    let mut seen: Vec<&str> = Vec::new();
    for (index, limit) in new.items("spec.limits").enumerate() {
        let at = Path::new("spec.limits");
        let at = at.index(index);
        let ty = limit.text("type");
        let faults: Vec<String> = names::qualified_name(ty);
        if !faults.is_empty() {
            messages(faults, ty, &at.child("type"), errors);
        } else if !ty.contains('/') && !matches!(ty, "Pod" | "Container" | "PersistentVolumeClaim") {
            errors.push(Error::invalid(&at.child("type"), ty, "must be a standard limit type or fully qualified"));
        }
        if seen.contains(&ty) {
            errors.push(Error::duplicate(&at.child("type"), ty));
        }
        seen.push(ty);
        if ty == "Pod" {
            for field in ["default", "defaultRequest"] {
                if limit.map(field).is_some_and(|map| !map.is_empty()) {
                    errors.push(Error::forbidden(&at.child(field), "may not be specified when `type` is 'Pod'"));
                }
            }
        }
        if ty == "PersistentVolumeClaim" && !["min", "max"].iter().any(|field| limit.map(field).is_some_and(|map| map.get("storage").is_some())) {
            let detail = "either minimum or maximum storage value is required, but neither was provided";
            errors.push(Error::required(&at.child("limits"), detail));
        }
        limits(limit, ty, &at, errors);
    }
}

fn limits(limit: Object<'_>, ty: &str, at: &Path<'_>, errors: &mut Errors) {
    let lists: &[&str] =
        if ty == "Pod" { &["max", "min", "maxLimitRequestRatio"] } else { &["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] };
    let mut keys: Vec<&str> = Vec::new();
    for list in lists {
        for (name, _) in limit.entries(list) {
            resources::resource_name(name, &at.child(list).key(name), errors);
            keys.push(name);
        }
    }
    keys.sort_unstable();
    keys.dedup();
    for key in keys {
        let amount = |list: &str| -> Option<Quantity> {
            if !lists.contains(&list) {
                return None;
            }
            limit.map(list).and_then(|map| map.get(key)).map(resources::quantity)
        };
        let (min, max, default, request) = (amount("min"), amount("max"), amount("default"), amount("defaultRequest"));
        let mut ordered = |low: (&Option<Quantity>, &str), high: (&Option<Quantity>, &str), field: &str, shown: &Option<Quantity>| {
            if let (Some(a), Some(b), Some(shown)) = (low.0, high.0, shown)
                && a > b
            {
                let detail = format!("{} value {a} is greater than {} value {b}", low.1, high.1);
                errors.push(Error::invalid(&at.child(field).key(key), shown.to_string().as_str(), detail));
            }
        };
        ordered((&min, "min"), (&max, "max"), "min", &min);
        ordered((&min, "min"), (&request, "default request"), "defaultRequest", &request);
        ordered((&request, "default request"), (&max, "max"), "defaultRequest", &request);
        ordered((&request, "default request"), (&default, "default limit"), "defaultRequest", &request);
        ordered((&min, "min"), (&default, "default"), "default", &min);
        ordered((&default, "default"), (&max, "max"), "default", &max);
        if let Some(ratio) = amount("maxLimitRequestRatio") {
            let at = at.child("maxLimitRequestRatio");
            if ratio.milli_value() < 1000 {
                errors.push(Error::invalid(&at.key(key), ratio.to_string().as_str(), format!("ratio {ratio} is less than 1")));
            }
            if let (Some(min), Some(max)) = (&min, &max) {
                let most = max.approximate() / min.approximate();
                if ratio.approximate() > most {
                    let detail = format!("ratio {ratio} is greater than max/min = {most:.6}");
                    errors.push(Error::invalid(&at.key(key), ratio.to_string().as_str(), detail));
                }
            }
        }
    }
}
