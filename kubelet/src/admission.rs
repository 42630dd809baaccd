//! Whether a Pod that was bound to this node can run on it: the last check, since the scheduler may have known an older node.

use crate::pod;
use apiserver_placement::resources::{CPU, EPHEMERAL_STORAGE, HUGE_PAGES_PREFIX, MEMORY};
use apiserver_placement::{Amount, Counted, RequiredNodeAffinity, pod_requests, taint};
use k8s_openapi::api::core::v1::{Node, Pod};
use std::collections::BTreeMap;

/// The reason and message of a Pod that is refused.
pub type Rejection = (String, String);

/// What of a node decides.
pub struct Room<'a> {
    pub node: Option<&'a Node>,
    pub node_name: &'a str,
    pub allocatable: &'a BTreeMap<String, Amount>,
    pub max_pods: usize,
}

/// Refuses the Pod, or lets it run beside `others`.
pub fn admit(candidate: &Pod, others: &[&Pod], room: &Room<'_>) -> Result<(), Rejection> {
    let refuse = |reason: &str, message: String| Err((reason.to_owned(), format!("Pod was rejected: {message}")));
    if let Some(os) = pod::spec(candidate).os.as_ref().filter(|os| os.name != "linux") {
        return refuse("PodOSNotSupported", format!("Failed to admit pod as the OS field doesn't match node OS: {}", os.name));
    }
    if let Some(name) = unsafe_sysctl(candidate) {
        return refuse("SysctlForbidden", format!("forbidden sysctl: {name:?} not allowlisted"));
    }
    if others.len() >= room.max_pods {
        let used = others.len();
        return refuse("OutOfpods", format!("Node didn't have enough resource: pods, requested: 1, used: {used}, capacity: {}", room.max_pods));
    }
    let wanted = pod_requests(candidate, &Counted::ON_NODE);
    for (name, amount) in wanted.iter().filter(|(name, amount)| !amount.is_zero() && is_counted(name)) {
        let used: Amount = others.iter().map(|other| pod_requests(other, &Counted::ON_NODE).get(name)).fold(Amount::ZERO, |sum, one| sum + one);
        let capacity = room.allocatable.get(name).copied().unwrap_or_default();
        if used + amount > capacity {
            let show = |amount: Amount| if name == CPU { amount.millis() } else { amount.value() };
            let message =
                format!("Node didn't have enough resource: {name}, requested: {}, used: {}, capacity: {}", show(amount), show(used), show(capacity));
            return refuse(&format!("OutOf{name}"), message);
        }
    }
    if let Some(port) = conflicting_port(candidate, others) {
        return refuse("NodePorts", format!("Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports: {port}"));
    }
    let Some(node) = room.node else { return Ok(()) };
    if pod::spec(candidate).node_name.as_deref().is_some_and(|name| name != room.node_name) {
        return refuse("NodeName", "Predicate NodeName failed".to_owned());
    }
    if !RequiredNodeAffinity::of(candidate).matches(node) {
        return refuse("NodeAffinity", "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector".to_owned());
    }
    let no_execute = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten()).filter(|taint| taint.effect == taint::NO_EXECUTE);
    let tolerations = pod::spec(candidate).tolerations.as_deref().unwrap_or_default();
    if no_execute.into_iter().any(|one| !taint::any_tolerates(tolerations, one)) {
        return refuse("TaintToleration", "Predicate TaintToleration failed".to_owned());
    }
    Ok(())
}

/// Settings of the kernel that are a namespace's own, and harm nobody else.
const SAFE_SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

/// A sysctl that a Pod may not set, by its dotted name.
fn unsafe_sysctl(pod: &Pod) -> Option<String> {
    let set = pod::spec(pod).security_context.iter().flat_map(|context| context.sysctls.iter().flatten());
    set.map(|sysctl| sysctl.name.replace('/', ".")).find(|name| {
        let on_host = pod::uses_host_network(pod) && name.starts_with("net.");
        on_host || !SAFE_SYSCTLS.contains(&name.as_str())
    })
}

/// Other resources are other components' business, and may appear on the node while the Pod waits.
fn is_counted(name: &str) -> bool {
    matches!(name, CPU | MEMORY | EPHEMERAL_STORAGE) || name.starts_with(HUGE_PAGES_PREFIX)
}

fn host_ports(pod: &Pod) -> impl Iterator<Item = (&str, &str, i32)> {
    let sidecars = pod::init_containers(pod).iter().filter(|container| pod::is_sidecar(container));
    let ports = sidecars.chain(pod::containers(pod)).flat_map(|container| container.ports.iter().flatten());
    ports.filter_map(|port| {
        let number = port.host_port.filter(|number| *number > 0)?;
        Some((port.host_ip.as_deref().filter(|ip| !ip.is_empty()).unwrap_or("0.0.0.0"), port.protocol.as_deref().unwrap_or("TCP"), number))
    })
}

fn conflicting_port(candidate: &Pod, others: &[&Pod]) -> Option<i32> {
    let overlap = |a: &str, b: &str| a == b || a == "0.0.0.0" || b == "0.0.0.0";
    host_ports(candidate).find_map(|(ip, protocol, number)| {
        let taken = others.iter().flat_map(|other| host_ports(other)).any(|other| other.1 == protocol && other.2 == number && overlap(other.0, ip));
        taken.then_some(number)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(spec: Value) -> Pod {
        let mut spec = spec;
        if spec.get("containers").is_none() {
            spec["containers"] = json!([{"name": "c"}]);
        }
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).expect("a pod")
    }

    fn requests(cpu: &str) -> Value {
        json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu, "example.com/gpu": "1"}}}]})
    }

    fn port(ip: &str) -> Value {
        json!({"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80, "hostIP": ip}]}]})
    }

    fn check(candidate: Value, others: &[Value], expect: Result<(), &str>) {
        let node: Node = serde_json::from_value(json!({"metadata": {"name": "n1", "labels": {"disk": "ssd"}},
            "spec": {"taints": [{"key": "gone", "effect": "NoExecute"}]}}))
        .expect("a node");
        let others: Vec<Pod> = others.iter().map(|spec| pod(spec.clone())).collect();
        let allocatable = BTreeMap::from([("cpu".to_owned(), Amount::from_units(2))]);
        let room = Room { node: Some(&node), node_name: "n1", allocatable: &allocatable, max_pods: 3 };
        let mut candidate = candidate;
        if candidate.get("tolerations").is_none() {
            candidate["tolerations"] = json!([{"operator": "Exists"}]);
        }
        let verdict = admit(&pod(candidate.clone()), &others.iter().collect::<Vec<_>>(), &room).map_err(|(reason, _)| reason);
        assert_eq!(verdict, expect.map_err(str::to_owned), "{candidate}");
    }

    #[test]
    fn a_pod_must_fit() {
        check(requests("2"), &[], Ok(()));
        check(requests("1"), &[requests("1")], Ok(()));
        check(requests("1500m"), &[requests("1")], Err("OutOfcpu"));
        check(json!({}), &[json!({}), json!({}), json!({})], Err("OutOfpods"));
        check(port(""), &[port("10.0.0.1")], Err("NodePorts"));
        check(port("10.0.0.2"), &[port("10.0.0.1")], Ok(()));
    }

    #[test]
    fn a_pod_must_want_this_node() {
        check(json!({"nodeSelector": {"disk": "ssd"}}), &[], Ok(()));
        check(json!({"nodeSelector": {"disk": "hdd"}}), &[], Err("NodeAffinity"));
        check(json!({"nodeName": "n2"}), &[], Err("NodeName"));
        check(json!({"tolerations": []}), &[], Err("TaintToleration"));
        check(json!({"os": {"name": "windows"}}), &[], Err("PodOSNotSupported"));
    }

    #[test]
    fn only_safe_sysctls_may_be_set() {
        let set = |name: &str| json!({"securityContext": {"sysctls": [{"name": name, "value": "1"}]}});
        check(set("kernel.shm_rmid_forced"), &[], Ok(()));
        check(set("kernel/shm_rmid_forced"), &[], Ok(()));
        check(set("kernel.msgmax"), &[], Err("SysctlForbidden"));
    }
}
