//! A Pod with everything that scheduling asks of it more than once, computed once.

use crate::resources::{DEFAULT_CPU_MILLIS, DEFAULT_MEMORY_BYTES, Resources};
use apiserver_placement::resources::{self as placement, CPU, Counted, MEMORY};
use apiserver_placement::{Amount, pod, pod_requests};
use k8s_openapi::api::core::v1::{ContainerPort, Pod};
use std::sync::Arc;

const MISSING: &[(&str, Amount)] = &[(CPU, Amount::from_millis(DEFAULT_CPU_MILLIS)), (MEMORY, Amount::from_units(DEFAULT_MEMORY_BYTES))];

/// cpu in millicores and memory in bytes, with defaults where containers ask for none: what nodes are scored by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NonZero {
    pub cpu: i64,
    pub memory: i64,
}

/// A Pod that waits for a node.
#[derive(Debug)]
pub struct PodInfo {
    pub pod: Arc<Pod>,
    pub uid: Arc<str>,
    pub priority: i32,
    /// What its node must have free.
    pub requests: Resources,
    pub scored: NonZero,
    pub host_ports: Vec<HostPort>,
}

impl PodInfo {
    pub fn new(pod: Arc<Pod>) -> Self {
        let scored = pod_requests(&pod, &Counted { without_pod_level: true, missing_requests: MISSING, ..Counted::default() });
        Self {
            uid: uid(&pod).into(),
            priority: pod::priority(&pod),
            requests: Resources::from(&pod_requests(&pod, &Counted::default())),
            scored: NonZero { cpu: scored.get(CPU).millis(), memory: scored.get(MEMORY).value() },
            host_ports: host_ports(&pod),
            pod,
        }
    }

    pub fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or_default()
    }

    pub fn name(&self) -> &str {
        self.pod.metadata.name.as_deref().unwrap_or_default()
    }
}

/// What a Pod takes from the node that it is on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    pub requests: Resources,
    pub scored: NonZero,
    pub host_ports: Vec<HostPort>,
}

impl Held {
    pub fn of(pod: &Pod) -> Self {
        let requests = pod_requests(pod, &Counted::ON_NODE);
        let pod_level = pod.spec.as_ref().is_some_and(placement::has_pod_level);
        // With Pod-level requests a default stands in only for what neither the Pod nor a container asks for.
        let missing: &'static [(&str, Amount)] = match (pod_level, requests.find(CPU).is_some(), requests.find(MEMORY).is_some()) {
            (false, _, _) | (true, false, false) => MISSING,
            (true, false, true) => &MISSING[..1],
            (true, true, false) => &MISSING[1..],
            (true, true, true) => &[],
        };
        let scored = pod_requests(pod, &Counted { missing_requests: missing, ..Counted::ON_NODE });
        let scored = NonZero { cpu: scored.get(CPU).millis(), memory: scored.get(MEMORY).value() };
        Self { requests: Resources::from(&requests), scored, host_ports: host_ports(pod) }
    }
}

pub fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

/// A port of the node that a Pod takes. No address means all addresses of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    address: Option<Box<str>>,
    protocol: Box<str>,
    port: i32,
}

impl HostPort {
    fn new(port: &ContainerPort) -> Option<Self> {
        let number = port.host_port.filter(|number| *number > 0)?;
        let address = port.host_ip.as_deref().filter(|address| !address.is_empty() && *address != "0.0.0.0");
        let protocol = port.protocol.as_deref().filter(|protocol| !protocol.is_empty()).unwrap_or("TCP");
        Some(Self { address: address.map(Into::into), protocol: protocol.into(), port: number })
    }

    /// The same port of an address that both would take.
    pub fn conflicts_with(&self, other: &HostPort) -> bool {
        self.port == other.port
            && self.protocol == other.protocol
            && (self.address == other.address || self.address.is_none() || other.address.is_none())
    }
}

/// Of containers and sidecars: init containers are over before anything could meet them.
fn host_ports(pod: &Pod) -> Vec<HostPort> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let sidecars = spec.init_containers.iter().flatten().filter(|container| placement::is_sidecar(container));
    sidecars.chain(&spec.containers).flat_map(|container| container.ports.iter().flatten()).filter_map(HostPort::new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(spec: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"uid": "u"}, "spec": spec})).unwrap()
    }

    #[test]
    fn containers_without_requests_are_scored_with_defaults() {
        let spec = json!({"containers": [{"name": "a"}, {"name": "b", "resources": {"requests": {"cpu": "1"}}}]});
        let info = PodInfo::new(Arc::new(pod(spec.clone())));
        assert_eq!(info.requests, Resources { cpu: 1000, ..Resources::default() });
        assert_eq!(info.scored, NonZero { cpu: 1100, memory: 2 * DEFAULT_MEMORY_BYTES });
        assert_eq!(Held::of(&pod(spec)).scored, info.scored);
    }

    #[test]
    fn pod_level_requests_leave_defaults_only_for_what_is_missing() {
        let held = Held::of(&pod(json!({"resources": {"requests": {"cpu": "2"}}, "containers": [{"name": "a"}]})));
        assert_eq!(held.requests.cpu, 2000);
        assert_eq!(held.scored, NonZero { cpu: 2000, memory: DEFAULT_MEMORY_BYTES });
    }

    #[test]
    fn ports_meet_on_the_same_address_or_on_all() {
        let ports = host_ports(&pod(json!({
            "containers": [{"name": "a", "ports": [{"containerPort": 1, "hostPort": 80}, {"containerPort": 2}, {"containerPort": 3, "hostPort": 80, "hostIP": "10.0.0.1"},
                                                   {"containerPort": 4, "hostPort": 80, "protocol": "UDP"}, {"containerPort": 4, "hostPort": 80, "hostIP": "10.0.0.2"}]}],
            "initContainers": [{"name": "i", "ports": [{"containerPort": 1, "hostPort": 81}]},
                               {"name": "s", "restartPolicy": "Always", "ports": [{"containerPort": 1, "hostPort": 82, "hostIP": "0.0.0.0"}]}]})));
        let [side, all, one, udp, two] = &ports[..] else { panic!("{ports:?}") };
        assert_eq!((side.port, &side.address), (82, &None));
        assert!(all.conflicts_with(one) && one.conflicts_with(all) && one.conflicts_with(one));
        assert!(!all.conflicts_with(udp) && !one.conflicts_with(two));
    }
}
