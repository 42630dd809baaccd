//! What the controllers of endpoints ask about Services and their Pods.

use crate::pod;
use apiserver_client::time::from_time;
use apiserver_client::{Event, Informer, ObjectKey};
use controllers_runtime::Selector;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

pub(crate) const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";
pub(crate) const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";
/// Who holds it is written there by clients that elect leaders through Endpoints.
pub(crate) const LEADER_ANNOTATION: &str = "control-plane.alpha.kubernetes.io/leader";
const HEADLESS: &str = "None";

/// None for a Service whose endpoints are not made from Pods.
pub(crate) fn selector(service: &Service) -> Option<Selector> {
    let spec = service.spec.as_ref()?;
    if spec.type_.as_deref() == Some("ExternalName") {
        return None;
    }
    spec.selector.as_ref().filter(|selector| !selector.is_empty()).map(Selector::from_map)
}

pub(crate) fn cluster_ip(service: &Service) -> &str {
    service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()).unwrap_or_default()
}

/// Said `None`: no address of its own, on purpose.
pub(crate) fn is_headless(service: &Service) -> bool {
    cluster_ip(service) == HEADLESS
}

pub(crate) fn has_cluster_ip(service: &Service) -> bool {
    !matches!(cluster_ip(service), "" | HEADLESS)
}

pub(crate) fn publishes_not_ready(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses).unwrap_or(false)
}

pub(crate) fn ports(service: &Service) -> &[ServicePort] {
    service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default()
}

pub(crate) fn protocol(port: &ServicePort) -> &str {
    port.protocol.as_deref().unwrap_or("TCP")
}

/// The addresses of a Pod, of both families.
pub(crate) fn pod_ips(pod: &Pod) -> impl Iterator<Item = IpAddr> {
    pod.status.iter().flat_map(|status| status.pod_ips.iter().flatten()).filter_map(|ip| ip.ip.parse().ok())
}

/// Whether a Pod has, or soon had, somebody who answers.
pub(crate) fn belongs_in_endpoints(pod: &Pod, with_terminating: bool) -> bool {
    let has_ip = pod.status.as_ref().is_some_and(|status| {
        status.pod_ip.as_deref().is_some_and(|ip| !ip.is_empty()) || status.pod_ips.as_ref().is_some_and(|ips| !ips.is_empty())
    });
    !pod::is_terminal(pod) && has_ip && (with_terminating || pod.metadata.deletion_timestamp.is_none())
}

/// The Pod's own host name, where the Service is the one that its DNS name goes through.
pub(crate) fn hostname(pod: &Pod, service: &Service) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let within = spec.subdomain.is_some() && spec.subdomain == service.metadata.name && pod.metadata.namespace == service.metadata.namespace;
    spec.hostname.clone().filter(|hostname| within && !hostname.is_empty())
}

/// The number of the port of the Pod that a Service's port leads to: given by number, or by the name that a container or a sidecar gives it.
pub(crate) fn target_port(pod: &Pod, port: &ServicePort) -> Option<i32> {
    let name = match &port.target_port {
        None | Some(IntOrString::Int(0)) => return Some(port.port),
        Some(IntOrString::Int(number)) => return Some(*number),
        Some(IntOrString::String(name)) => name,
    };
    let spec = pod.spec.as_ref()?;
    let sidecars = spec.init_containers.iter().flatten().filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let named = |candidate: &&k8s_openapi::api::core::v1::ContainerPort| {
        candidate.name.as_ref() == Some(name) && candidate.protocol.as_deref().unwrap_or("TCP") == protocol(port)
    };
    let mut all = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    all.find(named).map(|port| port.container_port)
}

/// The Services whose endpoints a change of a Pod may alter.
pub(crate) fn of_pod(event: &Event<Pod>, services: &Informer<Service>) -> Vec<ObjectKey> {
    let of = |pod: &Pod| -> BTreeSet<ObjectKey> {
        let in_namespace = services.list_in(pod.metadata.namespace.as_deref().unwrap_or_default());
        let matching = in_namespace.iter().filter(|service| selector(service).is_some_and(|selector| selector.matches(pod.metadata.labels.as_ref())));
        matching.map(|service| ObjectKey::of(&**service)).collect()
    };
    match event {
        Event::Synced => Vec::new(),
        Event::Added(pod) | Event::Deleted(pod) => of(pod).into_iter().collect(),
        Event::Updated { old, new } => {
            let changed = is_endpoint_changed(old, new);
            let named = |pod: &Pod| pod.spec.as_ref().map(|spec| (spec.hostname.clone(), spec.subdomain.clone()));
            let renamed = old.metadata.labels != new.metadata.labels || named(old) != named(new);
            match (changed, renamed) {
                (false, false) => Vec::new(),
                (true, false) => of(new).into_iter().collect(),
                (true, true) => of(new).union(&of(old)).cloned().collect(),
                // Whoever selected the Pod before and does still has nothing new, unless its name is part of the endpoint.
                (false, true) if named(old) == named(new) => of(new).symmetric_difference(&of(old)).cloned().collect(),
                (false, true) => of(new).union(&of(old)).cloned().collect(),
            }
        }
    }
}

fn is_endpoint_changed(old: &Pod, new: &Pod) -> bool {
    let ips = |pod: &Pod| pod_ips(pod).collect::<Vec<_>>();
    old.metadata.deletion_timestamp != new.metadata.deletion_timestamp
        || pod::is_ready(old) != pod::is_ready(new)
        || pod::is_terminal(old) != pod::is_terminal(new)
        || ips(old) != ips(new)
}

/// Since when endpoints could have been as they are now: what an annotation says, so that the delay of programming the network can be measured.
#[derive(Default)]
pub(crate) struct TriggerTimes(Mutex<HashMap<ObjectKey, Seen>>);

#[derive(Default)]
struct Seen {
    service: Option<Timestamp>,
    pods: HashMap<String, Timestamp>,
}

impl TriggerTimes {
    /// The earliest of the changes that were not seen before: of a Pod, when its readiness changed; of a Service, when it was made.
    pub fn next(&self, key: &ObjectKey, service: &Service, pods: &[Arc<Pod>]) -> Option<Timestamp> {
        let created = service.metadata.creation_timestamp.as_ref().map(from_time);
        let turned = |pod: &Pod| pod::condition(pod, "Ready").and_then(|ready| ready.last_transition_time.as_ref()).map(from_time);
        let turns: HashMap<String, Timestamp> = pods.iter().filter_map(|pod| Some((pod.metadata.name.clone()?, turned(pod)?))).collect();
        let mut all = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let Some(seen) = all.get(key) else {
            all.insert(key.clone(), Seen { service: created, pods: turns });
            return created;
        };
        let new_turns = turns.iter().filter(|(name, at)| seen.pods.get(*name).is_none_or(|before| *at > before)).map(|(_, at)| *at);
        let next = new_turns.chain(created.filter(|at| seen.service.is_none_or(|before| *at > before))).min();
        all.insert(key.clone(), Seen { service: created, pods: turns });
        next
    }

    pub fn forget(&self, key: &ObjectKey) {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_port_is_found_by_number_or_by_its_name_in_a_container_or_a_sidecar() {
        let check = |port: Value, expect: Option<i32>| {
            let pod: Pod = serde_json::from_value(json!({"metadata": {}, "spec": {
                "containers": [{"name": "a", "ports": [{"name": "web", "containerPort": 8080}, {"name": "dns", "containerPort": 53, "protocol": "UDP"}]}],
                "initContainers": [{"name": "once", "ports": [{"name": "once", "containerPort": 1}]},
                                   {"name": "side", "restartPolicy": "Always", "ports": [{"name": "side", "containerPort": 9}]}]}}))
            .unwrap();
            assert_eq!(target_port(&pod, &serde_json::from_value(port.clone()).unwrap()), expect, "{port}");
        };
        check(json!({"port": 80, "targetPort": 8000}), Some(8000));
        check(json!({"port": 80, "targetPort": "web"}), Some(8080));
        check(json!({"port": 80, "targetPort": "dns"}), None);
        check(json!({"port": 80, "targetPort": "dns", "protocol": "UDP"}), Some(53));
        check(json!({"port": 80, "targetPort": "side"}), Some(9));
        check(json!({"port": 80, "targetPort": "once"}), None);
        check(json!({"port": 80}), Some(80));
    }

    #[test]
    fn a_trigger_time_is_the_earliest_that_was_not_seen_before() {
        let service: Service = serde_json::from_value(json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}})).unwrap();
        let pod = |name: &str, at: &str| -> Arc<Pod> {
            let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": at});
            Arc::new(serde_json::from_value(json!({"metadata": {"name": name}, "status": {"conditions": [ready]}})).unwrap())
        };
        let times = TriggerTimes::default();
        let check = |pods: &[Arc<Pod>], expect: Option<&str>| {
            let next = times.next(&ObjectKey::new("a", "web"), &service, pods);
            assert_eq!(next, expect.map(|at| at.parse().unwrap()));
        };
        check(&[pod("a", "2026-01-01T00:00:05Z")], Some("2026-01-01T00:00:00Z"));
        check(&[pod("a", "2026-01-01T00:00:05Z")], None);
        check(&[pod("a", "2026-01-01T00:00:07Z"), pod("b", "2026-01-01T00:00:06Z")], Some("2026-01-01T00:00:06Z"));
        times.forget(&ObjectKey::new("a", "web"));
        check(&[], Some("2026-01-01T00:00:00Z"));
    }
}
