//! What a Pod asks for as a whole: sums over its containers, defaults of Pod-level resources, and the quality of service that follows.

use super::Object;
use super::rules::map_at;
use super::validation::resources::{is_huge_page, quantity};
use apiserver_machinery::quantity::Quantity;
use apiserver_machinery::schema::Schema;
use apiserver_machinery::tree::{Struct, Value};

/// What the containers of a Pod need together (`requests` or `limits`): containers and sidecars at once, init containers one at a time,
/// each beside the sidecars that started before it.
pub fn aggregate<'a>(spec: Object<'a>, list: &str) -> Vec<(&'a str, Quantity)> {
    let path = format!("resources.{list}");
    let mut sum: Vec<(&str, Quantity)> = Vec::new();
    for container in spec.items("containers") {
        for (name, value) in container.entries(&path) {
            add(&mut sum, name, &quantity(value));
        }
    }
    let mut sidecars: Vec<(&str, Quantity)> = Vec::new();
    let mut most: Vec<(&str, Quantity)> = Vec::new();
    for container in spec.items("initContainers") {
        if container.text("restartPolicy") == "Always" {
            for (name, value) in container.entries(&path) {
                add(&mut sum, name, &quantity(value));
                add(&mut sidecars, name, &quantity(value));
            }
            raise(&mut most, &sidecars);
        } else {
            let mut this = sidecars.clone();
            for (name, value) in container.entries(&path) {
                add(&mut this, name, &quantity(value));
            }
            raise(&mut most, &this);
        }
    }
    raise(&mut sum, &most);
    sum
}

fn add<'a>(sum: &mut Vec<(&'a str, Quantity)>, name: &'a str, value: &Quantity) {
    match sum.iter_mut().find(|(own, _)| *own == name) {
        Some((_, own)) => own.add(value),
        None => sum.push((name, value.clone())),
    }
}

fn raise<'a>(most: &mut Vec<(&'a str, Quantity)>, to: &[(&'a str, Quantity)]) {
    for (name, value) in to {
        match most.iter_mut().find(|(own, _)| own == name) {
            Some((_, own)) if *own < *value => *own = value.clone(),
            Some(_) => {}
            None => most.push((name, value.clone())),
        }
    }
}

fn is_pod_level(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || is_huge_page(name)
}

/// A Pod that says in part what it needs as a whole gets the rest: requests from its containers, else from its limits; limits of huge
/// pages from its containers; and, where every container has a limit, limits from those.
pub fn default_pod_level(pod: &mut Struct, schema: &Schema) {
    let whole = Object { schema, tree: pod };
    let Some(spec) = whole.child("spec") else { return };
    let Some(wanted) = spec.child("resources") else { return };
    let has = |list: &str, name: &str| wanted.map(list).is_some_and(|map| map.get(name).is_some());
    if wanted.map("requests").is_none_or(|map| map.is_empty()) && wanted.map("limits").is_none_or(|map| map.is_empty()) {
        return;
    }
    let mut limits: Vec<(String, Value)> = Vec::new();
    for (name, sum) in aggregate(spec, "limits") {
        if is_huge_page(name) && !has("requests", name) && !has("limits", name) {
            limits.push((name.to_owned(), Value::String(sum.canonical())));
        }
    }
    let mut requests: Vec<(String, Value)> = Vec::new();
    for (name, sum) in aggregate(spec, "requests") {
        if !has("requests", name) && matches!(name, "cpu" | "memory") {
            requests.push((name.to_owned(), Value::String(sum.canonical())));
        }
    }
    let own_limits = wanted.entries("limits").map(|(name, value)| (name.to_owned(), value.clone()));
    for (name, limit) in own_limits.chain(limits.iter().cloned()).collect::<Vec<_>>() {
        if is_pod_level(&name) && !has("requests", &name) && !requests.iter().any(|(own, _)| *own == name) {
            requests.push((name, limit));
        }
    }
    put_all(pod, schema, "spec.resources.limits", limits);
    put_all(pod, schema, "spec.resources.requests", requests);
    default_limits(pod, schema);
}

fn default_limits(pod: &mut Struct, schema: &Schema) {
    let whole = Object { schema, tree: pod };
    let Some(spec) = whole.child("spec") else { return };
    let sums = aggregate(spec, "limits");
    let all_have = |name: &str| {
        let has = |container: Object<'_>| container.map("resources.limits").is_some_and(|map| map.get(name).is_some());
        spec.items("containers").all(has) && spec.items("initContainers").all(has)
    };
    let mut limits: Vec<(String, Value)> = Vec::new();
    for (name, request) in spec.entries("resources.requests") {
        let has = spec.map("resources.limits").is_some_and(|map| map.get(name).is_some());
        if has || !is_pod_level(name) || !all_have(name) {
            continue;
        }
        if let Some((_, sum)) = sums.iter().find(|(own, _)| *own == name) {
            let request = quantity(request);
            limits.push((name.to_owned(), Value::String(if request > *sum { request.canonical() } else { sum.canonical() })));
        }
    }
    put_all(pod, schema, "spec.resources.limits", limits);
}

fn put_all(pod: &mut Struct, schema: &Schema, path: &str, entries: Vec<(String, Value)>) {
    if entries.is_empty() {
        return;
    }
    if let Some(map) = map_at(pod, schema, path) {
        for (name, value) in entries {
            map.insert(name, value);
        }
    }
}

/// `Guaranteed`, `Burstable` or `BestEffort`.
pub fn qos(pod: Object<'_>) -> &'static str {
    let Some(spec) = pod.child("spec") else { return BEST_EFFORT };
    let set = |list: &str| spec.map(list).is_some_and(|map| !map.is_empty());
    if set("resources.requests") || set("resources.limits") {
        return requirements_qos(spec.child("resources"));
    }
    let mut whole: Option<&'static str> = None;
    for container in spec.items("initContainers").chain(spec.items("containers")) {
        let own = requirements_qos(container.child("resources"));
        match whole {
            _ if own == BURSTABLE => return BURSTABLE,
            None => whole = Some(own),
            Some(whole) if whole != own => return BURSTABLE,
            Some(_) => {}
        }
    }
    whole.unwrap_or(BEST_EFFORT)
}

const GUARANTEED: &str = "Guaranteed";
const BURSTABLE: &str = "Burstable";
const BEST_EFFORT: &str = "BestEffort";

fn requirements_qos(requirements: Option<Object<'_>>) -> &'static str {
    let Some(requirements) = requirements else { return BEST_EFFORT };
    let amount = |list: &str, name: &str| requirements.map(list).and_then(|map| map.get(name)).map(quantity).filter(|amount| !amount.is_zero());
    let mut any = false;
    let mut guaranteed = true;
    for name in ["cpu", "memory"] {
        let (request, limit) = (amount("requests", name), amount("limits", name));
        any |= request.is_some() || limit.is_some();
        guaranteed &= limit.is_some() && request == limit;
    }
    match (any, guaranteed) {
        (false, _) => BEST_EFFORT,
        (true, true) => GUARANTEED,
        (true, false) => BURSTABLE,
    }
}
