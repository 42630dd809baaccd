//! The rules of a Pod's phase.

use super::{Inputs, statuses};
use crate::pod;
use crate::view::Phase as ContainerPhase;
use k8s_openapi::api::core::v1::{Container, ContainerState, ContainerStatus, Pod, PodStatus};

/// A container of the Pod proper has run in the newest sandbox: initialization was through once.
pub(super) fn regular_container_was_active(inputs: &Inputs<'_>) -> bool {
    let Some(sandbox) = inputs.runtime.sandboxes.first() else { return false };
    pod::containers(inputs.pod).iter().any(|container| {
        let seen = inputs.runtime.latest_in(&sandbox.id, &container.name);
        seen.is_some_and(|seen| matches!(seen.phase, ContainerPhase::Running | ContainerPhase::Exited))
    })
}

#[derive(Default)]
struct Tally {
    pending_init: u32,
    pending_sidecars: u32,
    failed_init: u32,
    unknown: u32,
    running: u32,
    waiting: u32,
    stopped: u32,
    /// Stopped, and not to be restarted.
    stopped_for_good: u32,
    succeeded: u32,
}

/// Where a container stands, from its status: what it does now, or how it last ended.
enum Stand {
    Running { started: bool },
    Ended { code: i32, waits: bool },
    Waiting,
    Unknown,
}

fn stand(status: Option<&ContainerStatus>) -> Stand {
    let Some(status) = status else { return Stand::Unknown };
    let ended = |state: &Option<ContainerState>| state.as_ref().and_then(|state| state.terminated.as_ref()).map(|ended| ended.exit_code);
    match &status.state {
        Some(state) if state.running.is_some() => Stand::Running { started: status.started.unwrap_or_default() },
        Some(state) if state.terminated.is_some() => {
            let code = ended(&status.state).unwrap_or_default();
            Stand::Ended { code, waits: false }
        }
        Some(state) if state.waiting.is_some() => match ended(&status.last_state) {
            Some(code) => Stand::Ended { code, waits: true },
            None => Stand::Waiting,
        },
        _ => Stand::Unknown,
    }
}

impl Tally {
    fn init(&mut self, pod: &Pod, container: &Container, stand: &Stand) {
        match stand {
            Stand::Ended { code: 0, .. } => {}
            Stand::Ended { code, .. } if pod::restarts_after(pod, container, *code) => {}
            Stand::Ended { .. } => self.failed_init += 1,
            Stand::Running { .. } | Stand::Waiting | Stand::Unknown => self.pending_init += 1,
        }
    }

    /// An ended sidecar says nothing about the Pod.
    fn sidecar(&mut self, stand: &Stand, known: bool) {
        match stand {
            Stand::Running { started } => {
                self.running += 1;
                self.pending_sidecars += u32::from(!started);
            }
            Stand::Ended { .. } => {}
            Stand::Waiting => {
                self.pending_sidecars += 1;
                self.waiting += 1;
            }
            Stand::Unknown => {
                self.unknown += 1;
                self.pending_sidecars += u32::from(known);
            }
        }
    }

    fn regular(&mut self, pod: &Pod, container: &Container, stand: &Stand) {
        match stand {
            Stand::Running { .. } => self.running += 1,
            Stand::Ended { code, waits } => {
                self.stopped += 1;
                self.stopped_for_good += u32::from(!pod::restarts_after(pod, container, *code));
                self.succeeded += u32::from(*code == 0 && !waits);
            }
            Stand::Waiting => self.waiting += 1,
            Stand::Unknown => self.unknown += 1,
        }
    }
}

/// The phase of a Pod with these container statuses. `terminal`: nothing of it runs or restarts, whatever its policy.
/// `was_active`: its own containers have run, so init containers and sidecars no longer make it Pending.
pub(super) fn phase(pod: &Pod, status: &PodStatus, terminal: bool, was_active: bool) -> &'static str {
    let mut tally = Tally::default();
    let find = |list: &Option<Vec<ContainerStatus>>, name: &str| statuses(list).iter().find(|status| status.name == name).cloned();
    for container in pod::init_containers(pod) {
        let told = find(&status.init_container_statuses, &container.name);
        if pod::is_sidecar(container) {
            tally.sidecar(&stand(told.as_ref()), told.is_some());
        } else {
            tally.init(pod, container, &stand(told.as_ref()));
        }
    }
    for container in pod::containers(pod) {
        let told = find(&status.container_statuses, &container.name);
        tally.regular(pod, container, &stand(told.as_ref()));
    }
    if tally.failed_init > 0 {
        return "Failed";
    }
    if tally.pending_init > 0 || (tally.pending_sidecars > 0 && !was_active) || tally.waiting > 0 {
        return "Pending";
    }
    if tally.running > 0 && tally.unknown == 0 {
        return "Running";
    }
    if tally.running > 0 || tally.stopped == 0 || tally.unknown > 0 {
        return "Pending";
    }
    if !terminal && tally.stopped != tally.stopped_for_good {
        return "Running";
    }
    if tally.stopped == tally.succeeded { "Succeeded" } else { "Failed" }
}
