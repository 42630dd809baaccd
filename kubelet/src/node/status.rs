//! The status of the node: what it has, how it is, and which images are on it.

use super::machine::{ARCHITECTURE, Machine};
use crate::config::VERSION;
use crate::pleg::LastSeen;
use crate::shared::{Shared, now};
use apiserver_placement::Amount;
use k8s_openapi::api::core::v1::{ContainerImage, DaemonEndpoint, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeStatus, NodeSystemInfo};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kubelet_cri::v1;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Images that are listed, the largest first, and names of each.
const IMAGES_MAX: usize = 50;
const NAMES_MAX: usize = 5;
/// The runtime must have been listed at least this lately.
const LISTING_AGE_MAX_SECONDS: i64 = 180;

/// What the node cannot do just now; empty when it is ready.
pub async fn readiness(shared: &Shared, last_seen: &LastSeen) -> Result<(), String> {
    let mut problems = Vec::new();
    match shared.runtime.status().await {
        Ok(status) => {
            let conditions = status.status.map(|status| status.conditions).unwrap_or_default();
            for (kind, text) in [("RuntimeReady", "container runtime not ready"), ("NetworkReady", "container runtime network not ready")] {
                match conditions.iter().find(|condition| condition.r#type == kind) {
                    Some(condition) if condition.status => {}
                    Some(condition) => problems.push(format!("{text}: {kind}=false reason:{} message:{}", condition.reason, condition.message)),
                    None => problems.push(format!("{text}: {kind} is not reported")),
                }
            }
        }
        Err(error) => problems.push(format!("container runtime is down: {error}")),
    }
    match last_seen.age() {
        None => problems.push("PLEG is not healthy: pleg has yet to be successful".to_owned()),
        Some(age) if age > LISTING_AGE_MAX_SECONDS => {
            problems.push(format!("PLEG is not healthy: pleg was last seen active {age}s ago; threshold is 3m0s"));
        }
        Some(_) => {}
    }
    match problems.len() {
        0 => Ok(()),
        1 => Err(problems.remove(0)),
        _ => Err(format!("[{}]", problems.join(", "))),
    }
}

/// Amounts as quantities: memory in Ki, like upstream's; whole numbers plain, CPU with a fraction in m.
pub fn quantities(amounts: &BTreeMap<String, Amount>) -> BTreeMap<String, Quantity> {
    let text = |name: &str, amount: &Amount| {
        let (value, millis) = (amount.value(), amount.millis());
        if name == "memory" && value % 1024 == 0 {
            format!("{}Ki", value / 1024)
        } else if millis % 1000 != 0 {
            format!("{millis}m")
        } else {
            value.to_string()
        }
    };
    amounts.iter().map(|(name, amount)| (name.clone(), Quantity(text(name, amount)))).collect()
}

fn condition(kind: &str, status: &str, reason: &str, message: String, old: &NodeStatus, at: &Time) -> NodeCondition {
    let same = old.conditions.iter().flatten().find(|condition| condition.type_ == kind && condition.status == status);
    NodeCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_heartbeat_time: Some(at.clone()),
        last_transition_time: same.and_then(|condition| condition.last_transition_time.clone()).or_else(|| Some(at.clone())),
    }
}

/// The status as it should be. `old` is what the API server has.
pub fn node_status(shared: &Shared, machine: &Machine, ready: &Result<(), String>, images: Vec<v1::Image>, old: &NodeStatus) -> NodeStatus {
    let at = Time(crate::status::whole_second(now()));
    let calm = |kind: &str, reason: &str, message: &str| condition(kind, "False", reason, message.to_owned(), old, &at);
    let ready = match ready {
        Ok(()) => condition("Ready", "True", "KubeletReady", "kubelet is posting ready status".to_owned(), old, &at),
        Err(problem) => condition("Ready", "False", "KubeletNotReady", problem.clone(), old, &at),
    };
    let addresses = shared.host_ips.iter().map(|ip| ("InternalIP", ip)).chain([("Hostname", &shared.config.node_name)]);
    NodeStatus {
        addresses: Some(addresses.map(|(kind, address)| NodeAddress { type_: kind.to_owned(), address: address.clone() }).collect()),
        capacity: Some(quantities(&machine.capacity)),
        allocatable: Some(quantities(&machine.allocatable)),
        conditions: Some(vec![
            calm("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            calm("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            calm("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            ready,
        ]),
        daemon_endpoints: Some(NodeDaemonEndpoints { kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(shared.config.port) }) }),
        images: Some(listed(images)),
        node_info: Some(NodeSystemInfo {
            architecture: ARCHITECTURE.to_owned(),
            operating_system: "linux".to_owned(),
            kubelet_version: VERSION.to_owned(),
            container_runtime_version: shared.runtime_version.clone(),
            kernel_version: machine.kernel_version.clone(),
            machine_id: machine.machine_id.clone(),
            system_uuid: machine.system_uuid.clone(),
            boot_id: machine.boot_id.clone(),
            os_image: machine.os_image.clone(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn listed(mut images: Vec<v1::Image>) -> Vec<ContainerImage> {
    images.sort_by(|a, b| (b.size, &a.id).cmp(&(a.size, &b.id)));
    let names = |image: &v1::Image| {
        let all = image.repo_digests.iter().chain(&image.repo_tags).filter(|name| !name.starts_with("<none>"));
        all.take(NAMES_MAX).cloned().collect::<Vec<_>>()
    };
    let shown = images.iter().map(|image| (names(image), i64::try_from(image.size).ok())).filter(|(names, _)| !names.is_empty());
    shown.take(IMAGES_MAX).map(|(names, size_bytes)| ContainerImage { names: Some(names), size_bytes }).collect()
}

/// What of the status must be written; `None` when nothing but heartbeats differ and none is due.
///
/// Only our own entries of maps are named: resources that others have added stay.
pub fn patch(old: &NodeStatus, new: &NodeStatus, due: bool) -> Option<Value> {
    let mut changes = Map::new();
    let object = |status: &NodeStatus| serde_json::to_value(status).unwrap_or_default();
    let (before, after) = (object(old), object(new));
    for field in ["capacity", "allocatable", "daemonEndpoints", "nodeInfo", "images"] {
        let wanted = &after[field];
        let differs = match (before[field].as_object(), wanted.as_object()) {
            (Some(before), Some(wanted)) => wanted.iter().any(|(key, value)| before.get(key) != Some(value)),
            _ => before[field] != *wanted,
        };
        if differs {
            changes.insert(field.to_owned(), wanted.clone());
        }
    }
    if before["addresses"] != after["addresses"] {
        // Two addresses of one type would be merged into one.
        let replace = std::iter::once(json!({"$patch": "replace"}));
        changes.insert("addresses".to_owned(), replace.chain(after["addresses"].as_array().into_iter().flatten().cloned()).collect());
    }
    let essence =
        |condition: &NodeCondition| (condition.type_.clone(), condition.status.clone(), condition.reason.clone(), condition.message.clone());
    let known: Vec<_> = old.conditions.iter().flatten().map(essence).collect();
    let news = new.conditions.iter().flatten().any(|condition| !known.contains(&essence(condition)));
    if news || due || !changes.is_empty() {
        changes.insert("conditions".to_owned(), after["conditions"].clone());
    }
    (!changes.is_empty()).then(|| json!({"status": changes}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_as_upstreams() {
        let check = |name: &str, amount, expect: &str| assert_eq!(quantities(&BTreeMap::from([(name.to_owned(), amount)]))[name].0, expect);
        check("memory", Amount::from_units(24_635_348 << 10), "24635348Ki");
        check("cpu", Amount::from_units(2), "2");
        check("cpu", Amount::from_millis(1500), "1500m");
        check("pods", Amount::from_units(110), "110");
    }

    fn status(capacity: &str, ready: &str, beat: &str) -> NodeStatus {
        serde_json::from_value(json!({"capacity": {"cpu": capacity},
            "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
            "conditions": [{"type": "Ready", "status": ready, "lastHeartbeatTime": beat}]}))
        .expect("a status")
    }

    #[test]
    fn only_what_matters_is_written() {
        let old = status("2", "True", "2024-01-01T00:00:00Z");
        let beat = status("2", "True", "2024-01-01T00:00:10Z");
        assert_eq!(patch(&old, &beat, false), None);
        assert!(patch(&old, &beat, true).is_some_and(|patch| patch["status"]["conditions"][0]["lastHeartbeatTime"] == "2024-01-01T00:00:10Z"));
        let sick = patch(&old, &status("2", "False", "2024-01-01T00:00:10Z"), false).expect("a patch");
        assert_eq!(sick["status"]["conditions"][0]["status"], "False");
        let grown = patch(&old, &status("4", "True", "2024-01-01T00:00:10Z"), false).expect("a patch");
        assert_eq!(grown["status"]["capacity"], json!({"cpu": "4"}));
        assert!(grown["status"].get("addresses").is_none());
    }

    #[test]
    fn resources_of_others_are_left_alone() {
        let mut old = status("2", "True", "2024-01-01T00:00:00Z");
        old.capacity.as_mut().expect("there").insert("example.com/gpu".to_owned(), Quantity("3".to_owned()));
        assert_eq!(patch(&old, &status("2", "True", "2024-01-01T00:00:00Z"), false), None);
    }

    #[test]
    fn images_are_listed_by_size_with_their_names() {
        let image = |id: &str, size, tags: &[&str]| v1::Image {
            id: id.to_owned(),
            size,
            repo_tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
            ..Default::default()
        };
        let shown = listed(vec![image("a", 1, &["small:1"]), image("b", 9, &["large:1", "large:2"]), image("c", 5, &[])]);
        assert_eq!(
            shown.iter().map(|image| image.names.clone().unwrap_or_default()).collect::<Vec<_>>(),
            [vec!["large:1", "large:2"], vec!["small:1"]]
        );
    }
}
