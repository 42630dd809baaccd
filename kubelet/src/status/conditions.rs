//! The conditions that the kubelet sets on a Pod.

use super::{Inputs, is_terminal, statuses};
use crate::pod;
use crate::view::NoSandbox;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

const OWNED: [&str; 5] = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];

struct Verdict {
    good: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

const GOOD: Verdict = Verdict { good: true, reason: None, message: None };

fn bad(reason: &'static str, message: String) -> Verdict {
    Verdict { good: false, reason: Some(reason), message: (!message.is_empty()).then_some(message) }
}

pub(super) fn conditions(inputs: &Inputs<'_>, status: &PodStatus) -> Vec<PodCondition> {
    // What others have set stays.
    let api = pod::status(inputs.pod).conditions.iter().flatten();
    let mut all: Vec<PodCondition> = api.filter(|condition| !OWNED.contains(&condition.type_.as_str())).cloned().collect();
    if let Some(disruption) = inputs.old.conditions.iter().flatten().find(|condition| condition.type_ == "DisruptionTarget")
        && !all.iter().any(|condition| condition.type_ == "DisruptionTarget")
    {
        all.push(disruption.clone());
    }
    let ready = containers_ready(inputs, status);
    let gates = readiness(inputs, &ready, &all);
    for (kind, verdict) in [
        ("PodReadyToStartContainers", ready_to_start(inputs)),
        ("Initialized", initialized(inputs, status)),
        ("Ready", gates),
        ("ContainersReady", ready),
        ("PodScheduled", GOOD),
    ] {
        all.push(condition(inputs, kind, verdict));
    }
    all
}

/// A condition with its transition time: the old one's, unless its status changed.
fn condition(inputs: &Inputs<'_>, kind: &str, verdict: Verdict) -> PodCondition {
    let status = if verdict.good { "True" } else { "False" };
    let known = inputs.old.conditions.iter().flatten().chain(pod::status(inputs.pod).conditions.iter().flatten());
    let same = known.into_iter().find(|old| old.type_ == kind).filter(|old| old.status == status);
    let since = same.and_then(|old| old.last_transition_time.clone());
    PodCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: verdict.reason.map(str::to_owned),
        message: verdict.message,
        observed_generation: inputs.pod.metadata.generation,
        last_transition_time: Some(since.unwrap_or(Time(super::whole_second(inputs.now)))),
        last_probe_time: None,
    }
}

fn ready_to_start(inputs: &Inputs<'_>) -> Verdict {
    let message = match inputs.runtime.usable_sandbox(pod::uses_host_network(inputs.pod)) {
        Ok(_) => return GOOD,
        Err(NoSandbox::None) => "no sandbox found in pod status",
        Err(NoSandbox::Several) => "multiple sandboxes are ready",
        Err(NoSandbox::NotReady) => "latest sandbox is not ready",
        Err(NoSandbox::OtherNetwork) => "sandbox network namespace does not match the pod's network mode",
        Err(NoSandbox::NoAddress) => "the sandbox IP address is missing",
    };
    bad("PodSandboxNotReady", message.to_owned())
}

fn find<'a>(list: &'a [ContainerStatus], name: &str) -> Option<&'a ContainerStatus> {
    list.iter().find(|status| status.name == name)
}

/// Names of containers with no status, and of those whose status does not satisfy.
fn lacking<'a>(
    containers: impl Iterator<Item = &'a Container>,
    list: &[ContainerStatus],
    satisfies: impl Fn(&Container, &ContainerStatus) -> bool,
) -> (Vec<&'a str>, Vec<&'a str>) {
    let (mut unknown, mut lacking) = (Vec::new(), Vec::new());
    for container in containers {
        match find(list, &container.name) {
            None => unknown.push(container.name.as_str()),
            Some(status) if !satisfies(container, status) => lacking.push(container.name.as_str()),
            Some(_) => {}
        }
    }
    (unknown, lacking)
}

/// `containers with unknown status: [a], containers with unready status: [b c]`
fn complaint(unknown: &[&str], lacking: &[&str], word: &str) -> String {
    let part = |names: &[&str], word: &str| (!names.is_empty()).then(|| format!("containers with {word} status: [{}]", names.join(" ")));
    part(unknown, "unknown").into_iter().chain(part(lacking, word)).collect::<Vec<_>>().join(", ")
}

fn containers_ready(inputs: &Inputs<'_>, status: &PodStatus) -> Verdict {
    let list: Vec<ContainerStatus> = [statuses(&status.init_container_statuses), statuses(&status.container_statuses)].concat();
    let sidecars = pod::init_containers(inputs.pod).iter().filter(|container| pod::is_sidecar(container));
    let (unknown, unready) = lacking(sidecars.chain(pod::containers(inputs.pod)), &list, |_, status| status.ready);
    match status.phase.as_deref() {
        Some("Failed") => return bad("PodFailed", String::new()),
        Some("Succeeded") if unknown.is_empty() => return bad("PodCompleted", String::new()),
        _ => {}
    }
    let message = complaint(&unknown, &unready, "unready");
    if message.is_empty() { GOOD } else { bad("ContainersNotReady", message) }
}

fn readiness(inputs: &Inputs<'_>, ready: &Verdict, known: &[PodCondition]) -> Verdict {
    if !ready.good {
        return Verdict { good: false, reason: ready.reason, message: ready.message.clone() };
    }
    let gates = pod::spec(inputs.pod).readiness_gates.iter().flatten();
    let complaints: Vec<String> = gates
        .filter_map(|gate| {
            let kind = &gate.condition_type;
            match known.iter().find(|condition| &condition.type_ == kind) {
                None => Some(format!("corresponding condition of pod readiness gate \"{kind}\" does not exist.")),
                Some(condition) if condition.status != "True" => {
                    Some(format!("the status of pod readiness gate \"{kind}\" is not \"True\", but {}", condition.status))
                }
                Some(_) => None,
            }
        })
        .collect();
    if complaints.is_empty() { GOOD } else { bad("ReadinessGatesNotReady", complaints.join(", ")) }
}

fn initialized(inputs: &Inputs<'_>, status: &PodStatus) -> Verdict {
    let list = statuses(&status.init_container_statuses);
    let satisfied = |container: &Container, status: &ContainerStatus| {
        if pod::is_sidecar(container) { status.started.unwrap_or_default() } else { status.ready }
    };
    let (unknown, incomplete) = lacking(pod::init_containers(inputs.pod).iter(), list, satisfied);
    if is_terminal(status) && status.phase.as_deref() == Some("Succeeded") && unknown.is_empty() {
        return Verdict { good: true, reason: Some("PodCompleted"), message: None };
    }
    let message = complaint(&unknown, &incomplete, "incomplete");
    if message.is_empty() || regular_has_started(status) || was_initialized(inputs) {
        return GOOD;
    }
    bad("ContainersNotInitialized", message)
}

fn regular_has_started(status: &PodStatus) -> bool {
    statuses(&status.container_statuses).iter().any(|status| {
        let ran = |state: &Option<k8s_openapi::api::core::v1::ContainerState>| {
            state.as_ref().is_some_and(|state| state.running.is_some() || state.terminated.is_some())
        };
        ran(&status.state) || status.last_state.as_ref().is_some_and(|state| state.terminated.is_some())
    })
}

/// Once initialized, always initialized.
fn was_initialized(inputs: &Inputs<'_>) -> bool {
    inputs.old.conditions.iter().flatten().any(|condition| condition.type_ == "Initialized" && condition.status == "True")
}
