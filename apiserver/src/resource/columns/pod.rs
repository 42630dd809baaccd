//! Columns of Pods: how far a Pod is, read from its containers' states.

use super::human::since;
use super::{AGE, ColumnRow, NAME, condition, or, text};
use crate::resource::{CellContext, Object, Value};

pub const POD: &[ColumnRow] = &[
    NAME,
    text("Ready", "Ready containers of all containers.", |object, _| Progress::of(object).ready().into()),
    text("Status", "How far the Pod is, or what keeps it.", |object, _| status(object).into()),
    text("Restarts", "How often containers were restarted, and when last.", |object, context| Progress::of(object).restarts(context).into()),
    AGE,
    text("IP", "The Pod's address.", |object, _| or(object.items("status.podIPs").next().map_or("", |ip| ip.text("ip")), NONE).into()).wide(),
    text("Node", "Where the Pod runs.", |object, _| or(object.text("spec.nodeName"), NONE).into()).wide(),
    text("Nominated Node", "Where the Pod waits for others to make room.", |object, _| or(object.text("status.nominatedNodeName"), NONE).into())
        .wide(),
    text("Readiness Gates", "Conditions met of those that the Pod's readiness waits for.", gates).wide(),
];

const NONE: &str = "<none>";

/// What a walk over a Pod's containers finds.
struct Progress {
    /// The reason that the walk ends with.
    reason: String,
    ready: usize,
    total: usize,
    restarts: i64,
    last_restart: String,
}

/// Restarts and the time of the latest of them.
#[derive(Clone, Default)]
struct Restarts {
    count: i64,
    last: String,
}

impl Restarts {
    fn add(&mut self, status: Object<'_>) {
        self.count += status.number("restartCount");
        // Times are RFC 3339 in UTC, to the second: they sort as text.
        let finished = status.text("lastState.terminated.finishedAt");
        if finished > self.last.as_str() {
            finished.clone_into(&mut self.last);
        }
    }
}

impl Progress {
    fn of(pod: Object<'_>) -> Self {
        let mut reason = or(pod.text("status.reason"), pod.text("status.phase")).to_owned();
        let gated = |condition: &Object<'_>| condition.text("type") == "PodScheduled" && condition.text("reason") == "SchedulingGated";
        if pod.items("status.conditions").any(|condition| gated(&condition)) {
            "SchedulingGated".clone_into(&mut reason);
        }
        let sidecars = pod.items("spec.initContainers").filter(|container| is_sidecar(*container)).count();
        let total = pod.items("spec.containers").count() + sidecars;
        let mut ready = 0;
        let mut restarts = Restarts::default();
        let mut sidecar_restarts = Restarts::default();
        let initializing = initializing(pod, &mut ready, &mut restarts, &mut sidecar_restarts);
        if let Some(what) = &initializing {
            reason.clone_from(what);
        }
        if initializing.is_none() || condition(pod, "status.conditions", "Initialized") == "True" {
            restarts = sidecar_restarts;
            reason = running(pod, reason, &mut ready, &mut restarts);
        }
        Self { reason, ready, total, restarts: restarts.count, last_restart: restarts.last }
    }

    fn ready(&self) -> String {
        format!("{}/{}", self.ready, self.total)
    }

    fn restarts(&self, context: CellContext) -> String {
        if self.restarts == 0 || self.last_restart.is_empty() {
            return self.restarts.to_string();
        }
        format!("{} ({} ago)", self.restarts, since(&self.last_restart, context))
    }
}

fn is_sidecar(container: Object<'_>) -> bool {
    container.text("restartPolicy") == "Always"
}

/// Walks the init containers up to the one that is not done: what that one is up to.
fn initializing(pod: Object<'_>, ready: &mut usize, restarts: &mut Restarts, sidecar_restarts: &mut Restarts) -> Option<String> {
    for (at, status) in pod.items("status.initContainerStatuses").enumerate() {
        restarts.add(status);
        let name = status.text("name");
        let sidecar = pod.items("spec.initContainers").find(|container| container.text("name") == name).is_some_and(is_sidecar);
        if sidecar {
            sidecar_restarts.add(status);
        }
        let terminated = status.child("state.terminated");
        if terminated.is_some_and(|terminated| terminated.number("exitCode") == 0) {
            continue;
        }
        if sidecar && status.flag("started") {
            *ready += usize::from(status.flag("ready"));
            continue;
        }
        if let Some(terminated) = terminated {
            return Some(format!("Init:{}", end(terminated)));
        }
        return Some(match status.text("state.waiting.reason") {
            "" | "PodInitializing" => format!("Init:{at}/{}", pod.list("spec.initContainers").len()),
            waiting => format!("Init:{waiting}"),
        });
    }
    None
}

/// Why a container ended.
fn end(terminated: Object<'_>) -> String {
    match (terminated.text("reason"), terminated.number("signal")) {
        ("", 0) => format!("ExitCode:{}", terminated.number("exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

/// Walks the containers from the last to the first: the first one that has something to say has the last word.
fn running(pod: Object<'_>, mut reason: String, ready: &mut usize, restarts: &mut Restarts) -> String {
    let mut has_running = false;
    let mut failure = String::new();
    for status in pod.items("status.containerStatuses").rev() {
        restarts.add(status);
        let waiting = status.text("state.waiting.reason");
        if !waiting.is_empty() {
            waiting.clone_into(&mut reason);
        } else if let Some(terminated) = status.child("state.terminated") {
            reason = end(terminated);
            if terminated.number("exitCode") != 0 {
                failure.clone_from(&reason);
            }
        } else if status.flag("ready") && status.has("state.running") {
            has_running = true;
            *ready += 1;
        }
    }
    if reason != "Completed" {
        return reason;
    }
    match () {
        () if has_running && condition(pod, "status.conditions", "Ready") == "True" => "Running".to_owned(),
        () if !failure.is_empty() => failure,
        () if has_running => "NotReady".to_owned(),
        () => reason,
    }
}

fn status(pod: Object<'_>) -> String {
    if pod.has("metadata.deletionTimestamp") {
        if pod.text("status.reason") == "NodeLost" {
            return "Unknown".to_owned();
        }
        if !matches!(pod.text("status.phase"), "Succeeded" | "Failed") {
            return "Terminating".to_owned();
        }
    }
    Progress::of(pod).reason
}

fn gates(pod: Object<'_>, _: CellContext) -> Value {
    let all = pod.list("spec.readinessGates").len();
    if all == 0 {
        return NONE.into();
    }
    let met = pod.items("spec.readinessGates").filter(|gate| condition(pod, "status.conditions", gate.text("conditionType")) == "True").count();
    format!("{met}/{all}").into()
}
