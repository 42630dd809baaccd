//! The status of a Pod, computed from what is seen of it, and the patch that brings the API's copy up to date. Pure: writing the
//! patch is the pod task's.

mod conditions;
mod containers;
mod phase;
#[cfg(test)]
mod tests;

use crate::pod;
use crate::pod_worker::Cause;
use crate::view::RuntimeView;
use apiserver_placement::qos::Qos;
use k8s_openapi::api::core::v1::{ContainerStatus, HostIP, Pod, PodIP, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Why a container that should run does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub reason: String,
    pub message: String,
}

/// What probes make of a running container. Without probes it is started and ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fitness {
    pub started: bool,
    pub ready: bool,
}

/// Everything that a status is made from.
#[derive(Clone, Debug)]
pub struct Inputs<'a> {
    pub pod: &'a Pod,
    /// What was said last: by us, or else what the API has.
    pub old: &'a PodStatus,
    pub runtime: &'a RuntimeView,
    /// The Pod was refused: it never had containers.
    pub rejected: bool,
    /// It is ending, or has ended, for this cause.
    pub cause: Option<&'a Cause>,
    /// Nothing of it runs any more, or will.
    pub terminal: bool,
    /// By container name.
    pub waiting: &'a BTreeMap<String, Waiting>,
    /// By container id, for containers that have probes.
    pub fitness: &'a BTreeMap<String, Fitness>,
    pub host_ips: &'a [String],
    /// `containerd`, the scheme of container ids.
    pub runtime_name: &'a str,
    pub now: Timestamp,
}

pub fn pod_status(inputs: &Inputs<'_>) -> PodStatus {
    let mut status = base(inputs);
    if inputs.rejected {
        status.phase = Some("Failed".to_owned());
        explain_failure(inputs, &mut status);
        return status;
    }
    containers::fill(inputs, &mut status);
    containers::set_fitness(inputs, &mut status);
    let active = phase::regular_container_was_active(inputs);
    status.phase = Some(phase::phase(inputs.pod, &status, inputs.terminal, active).to_owned());
    keep_terminal_phase(inputs, &mut status);
    explain_failure(inputs, &mut status);
    if inputs.terminal {
        containers::close(inputs.pod, &mut status);
        if !is_terminal(&status) {
            status.phase = Some("Failed".to_owned());
        }
    }
    containers::set_fitness(inputs, &mut status);
    addresses(inputs, &mut status);
    status.conditions = Some(conditions::conditions(inputs, &status));
    status
}

fn is_terminal(status: &PodStatus) -> bool {
    matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"))
}

fn base(inputs: &Inputs<'_>) -> PodStatus {
    let start_time = inputs.old.start_time.clone().or_else(|| pod::status(inputs.pod).start_time.clone());
    PodStatus {
        start_time: Some(start_time.unwrap_or(Time(whole_second(inputs.now)))),
        qos_class: Some(Qos::of(inputs.pod).as_str().to_owned()),
        observed_generation: inputs.pod.metadata.generation,
        ..Default::default()
    }
}

/// The API keeps times to the second; ours must compare equal to what comes back.
pub(crate) fn whole_second(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// A Pod never leaves Succeeded or Failed, whoever said so.
fn keep_terminal_phase(inputs: &Inputs<'_>, status: &mut PodStatus) {
    let api = pod::status(inputs.pod);
    if is_terminal(api) {
        status.phase.clone_from(&api.phase);
    } else if is_terminal(inputs.old) {
        status.phase.clone_from(&inputs.old.phase);
    }
    if status.phase == inputs.old.phase {
        status.reason = inputs.old.reason.clone().or_else(|| api.reason.clone());
        status.message = inputs.old.message.clone().or_else(|| api.message.clone());
    }
}

/// What the kubelet ends has its reason, whatever its containers' exit codes were.
fn explain_failure(inputs: &Inputs<'_>, status: &mut PodStatus) {
    if let Some(Cause::Failed { reason, message, .. }) = inputs.cause {
        status.phase = Some("Failed".to_owned());
        status.reason = Some(reason.clone());
        status.message = Some(message.clone());
    }
}

fn addresses(inputs: &Inputs<'_>, status: &mut PodStatus) {
    let host = inputs.host_ips;
    status.host_ip = host.first().cloned();
    status.host_ips = (!host.is_empty()).then(|| host.iter().map(|ip| HostIP { ip: ip.clone() }).collect());
    let ips: Vec<String> = if pod::uses_host_network(inputs.pod) {
        host.to_vec()
    } else if inputs.runtime.is_empty() && inputs.terminal {
        // The sandbox is gone; what it had is history worth keeping.
        inputs.old.pod_ips.iter().flatten().map(|ip| ip.ip.clone()).collect()
    } else {
        inputs.runtime.sandboxes.first().map(|sandbox| sandbox.ips.clone()).unwrap_or_default()
    };
    let ips = if ips.is_empty() && inputs.terminal { inputs.old.pod_ips.iter().flatten().map(|ip| ip.ip.clone()).collect() } else { ips };
    status.pod_ip = ips.first().cloned();
    status.pod_ips = (!ips.is_empty()).then(|| ips.into_iter().map(|ip| PodIP { ip }).collect());
}

fn statuses(list: &Option<Vec<ContainerStatus>>) -> &[ContainerStatus] {
    list.as_deref().unwrap_or_default()
}

/// The fields of a status that the kubelet owns. Others (nominatedNodeName, resourceClaimStatuses, …) it never touches.
const OWNED: [&str; 14] = [
    "observedGeneration",
    "phase",
    "message",
    "reason",
    "hostIP",
    "hostIPs",
    "podIP",
    "podIPs",
    "startTime",
    "initContainerStatuses",
    "containerStatuses",
    "ephemeralContainerStatuses",
    "qosClass",
    "conditions",
];

/// The strategic merge patch that makes the API's `old` status ours; `None` when it is already.
///
/// Lists that merge by key get what changed, and a directive for what went.
pub fn patch(uid: &str, old: &PodStatus, new: &PodStatus) -> Option<Value> {
    let object = |status: &PodStatus| match serde_json::to_value(status) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    let (old, new) = (object(old), object(new));
    let mut changes = Map::new();
    for field in OWNED {
        let (before, after) = (old.get(field), new.get(field));
        if before == after {
            continue;
        }
        let change = match field {
            "conditions" => merge_list("type", before, after, false),
            "podIPs" | "hostIPs" => merge_list("ip", before, after, true),
            _ => Some(after.cloned().unwrap_or(Value::Null)),
        };
        if let Some(change) = change {
            changes.insert(field.to_owned(), change);
        }
    }
    (!changes.is_empty()).then(|| json!({"metadata": {"uid": uid}, "status": changes}))
}

/// An item that is merged into its old self keeps the old fields that it does not name, so those that went are named.
fn with_nulls(item: &Value, old: Option<&Value>) -> Value {
    let mut item = item.clone();
    if let (Some(fields), Some(old)) = (item.as_object_mut(), old.and_then(Value::as_object)) {
        for field in old.keys() {
            fields.entry(field.clone()).or_insert(Value::Null);
        }
    }
    item
}

fn merge_list(key: &str, before: Option<&Value>, after: Option<&Value>, prune: bool) -> Option<Value> {
    let items = |list: Option<&Value>| list.and_then(Value::as_array).cloned().unwrap_or_default();
    let (before, after) = (items(before), items(after));
    let changed = after.iter().filter(|item| !before.contains(item));
    let mut changes: Vec<Value> = changed.map(|item| with_nulls(item, before.iter().find(|old| old.get(key) == item.get(key)))).collect();
    if prune {
        let gone = before.iter().filter(|item| !after.iter().any(|kept| kept.get(key) == item.get(key)));
        changes.extend(gone.map(|item| json!({"$patch": "delete", key: item.get(key)})));
    }
    (!changes.is_empty()).then_some(Value::Array(changes))
}
