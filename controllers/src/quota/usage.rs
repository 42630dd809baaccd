//! What single objects use, by quota resource name.

use apiserver_client::time::from_time;
use apiserver_placement::resources::{CPU, EPHEMERAL_STORAGE, HUGE_PAGES_PREFIX, MEMORY};
use apiserver_placement::{Amount, Counted, pod_limits, pod_requests};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use std::collections::BTreeMap;

pub(super) type Usage = BTreeMap<String, Amount>;

const ONE: Amount = Amount::from_units(1);

pub(super) fn add(into: &mut Usage, more: Usage) {
    for (name, amount) in more {
        *into.entry(name).or_default() += amount;
    }
}

/// The resource that a quota name counts: `count/deployments.apps`, or one of the old names without `count/`.
pub(super) fn counted_resource(name: &str) -> Option<&str> {
    match name {
        "configmaps" | "secrets" | "replicationcontrollers" | "resourcequotas" => Some(name),
        _ => name.strip_prefix("count/"),
    }
}

/// A Pod that is over uses nothing, nor does one whose time to end has passed.
pub(super) fn of_pod(pod: &Pod, now: Timestamp) -> Usage {
    let mut usage = Usage::new();
    let overdue = pod
        .metadata
        .deletion_timestamp
        .as_ref()
        .zip(pod.metadata.deletion_grace_period_seconds)
        .is_some_and(|(deleted, grace)| from_time(deleted).checked_add(SignedDuration::from_secs(grace)).is_ok_and(|end| now > end));
    if crate::pod::is_terminal(pod) || overdue {
        return usage;
    }
    usage.insert("pods".into(), ONE);
    for (name, amount) in pod_requests(pod, &Counted::ON_NODE).iter() {
        if matches!(name, CPU | MEMORY | EPHEMERAL_STORAGE) || name.starts_with(HUGE_PAGES_PREFIX) {
            usage.insert(name.into(), amount);
        }
        usage.insert(format!("requests.{name}"), amount);
    }
    for (name, amount) in pod_limits(pod, &Counted::ON_NODE).iter() {
        if matches!(name, CPU | MEMORY | EPHEMERAL_STORAGE) {
            usage.insert(format!("limits.{name}"), amount);
        }
    }
    usage
}

pub(super) fn of_service(service: &Service) -> Usage {
    let mut usage = Usage::from([("services".to_string(), ONE)]);
    let Some(spec) = &service.spec else { return usage };
    let ports = spec.ports.as_deref().unwrap_or_default();
    let every = i64::try_from(ports.len()).unwrap_or(i64::MAX);
    let with_node_port = ports.iter().filter(|port| port.node_port.unwrap_or(0) != 0).count();
    match spec.type_.as_deref() {
        Some("NodePort") => {
            usage.insert("services.nodeports".into(), Amount::from_units(every));
        }
        Some("LoadBalancer") => {
            let count = if spec.allocate_load_balancer_node_ports == Some(false) { i64::try_from(with_node_port).unwrap_or(i64::MAX) } else { every };
            usage.insert("services.nodeports".into(), Amount::from_units(count));
            usage.insert("services.loadbalancers".into(), ONE);
        }
        _ => {}
    }
    usage
}

pub(super) fn of_claim(claim: &PersistentVolumeClaim) -> Usage {
    let mut usage = Usage::from([("persistentvolumeclaims".to_string(), ONE)]);
    let requested = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref()?.requests.as_ref()?.get("storage"));
    // While a claim is resized, what it has and what it asks for are both spoken for: the larger counts.
    let allocated = claim.status.as_ref().and_then(|status| status.allocated_resources.as_ref()?.get("storage"));
    let storage = requested.into_iter().chain(allocated).filter_map(|quantity| Amount::parse(&quantity.0)).max();
    let old_annotation = claim.metadata.annotations.as_ref().and_then(|annotations| annotations.get("volume.beta.kubernetes.io/storage-class"));
    let class = old_annotation.or(claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_ref())).filter(|class| !class.is_empty());
    if let Some(storage) = storage {
        usage.insert("requests.storage".into(), storage);
    }
    if let Some(class) = class {
        usage.insert(format!("{class}.storageclass.storage.k8s.io/persistentvolumeclaims"), ONE);
        if let Some(storage) = storage {
            usage.insert(format!("{class}.storageclass.storage.k8s.io/requests.storage"), storage);
        }
    }
    usage
}
