//! The statuses of a Pod's containers.

use super::{Inputs, Waiting, statuses};
use crate::pod::{self, Role};
use crate::view::{self, Container as Seen, Phase};
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus, ContainerUser,
    LinuxContainerUser, Pod, PodStatus, VolumeMountStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

const SUCCEEDED_EXIT_CODE: i32 = 0;
/// What a process that was killed ends with; also said of containers whose end nobody saw.
const KILLED_EXIT_CODE: i32 = 137;
const STATUS_UNKNOWN: &str = "ContainerStatusUnknown";

pub(super) fn fill(inputs: &Inputs<'_>, status: &mut PodStatus) {
    let old = inputs.old;
    let api = pod::status(inputs.pod);
    let pick = |ours: &Option<Vec<ContainerStatus>>, apis: &Option<Vec<ContainerStatus>>| ours.clone().or_else(|| apis.clone()).unwrap_or_default();
    let main: Vec<&Container> = pod::containers(inputs.pod).iter().collect();
    let init: Vec<&Container> = pod::init_containers(inputs.pod).iter().collect();
    let ephemeral: Vec<Container> = pod::ephemeral_containers(inputs.pod).iter().map(pod::ephemeral_as_container).collect();

    let mut regular = list(inputs, &main, &pick(&old.container_statuses, &api.container_statuses), Role::Main);
    // Upstream sorts these by name; init containers keep the order of the spec.
    regular.sort_by(|a, b| a.name.cmp(&b.name));
    status.container_statuses = Some(regular);
    if !init.is_empty() {
        let told = pick(&old.init_container_statuses, &api.init_container_statuses);
        status.init_container_statuses = Some(list(inputs, &init, &told, Role::Init));
    }
    if !ephemeral.is_empty() {
        let told = pick(&old.ephemeral_container_statuses, &api.ephemeral_container_statuses);
        let mut made = list(inputs, &ephemeral.iter().collect::<Vec<_>>(), &told, Role::Ephemeral);
        made.sort_by(|a, b| a.name.cmp(&b.name));
        status.ephemeral_container_statuses = Some(made);
    }
}

fn list(inputs: &Inputs<'_>, containers: &[&Container], told: &[ContainerStatus], role: Role) -> Vec<ContainerStatus> {
    containers
        .iter()
        .map(|container| {
            let old = told.iter().find(|status| status.name == container.name);
            let mut status = one(inputs, container, old);
            apply_waiting(inputs, container, role, &mut status);
            status
        })
        .collect()
}

fn one(inputs: &Inputs<'_>, container: &Container, old: Option<&ContainerStatus>) -> ContainerStatus {
    let mut status = match inputs.runtime.latest(&container.name) {
        Some(seen) => seen_status(inputs, container, seen, old),
        None => unseen_status(inputs, container, old),
    };
    if let Some(previous) = inputs.runtime.previous(&container.name) {
        status.last_state = Some(state(inputs.runtime_name, previous));
    }
    status
}

fn id(runtime_name: &str, seen: &Seen) -> String {
    format!("{runtime_name}://{}", seen.id)
}

fn time(nanoseconds: i64) -> Option<Time> {
    view::time(nanoseconds).map(|at| Time(super::whole_second(at)))
}

/// Nothing said: an empty text is no text.
fn said(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn state(runtime_name: &str, seen: &Seen) -> ContainerState {
    match seen.phase {
        Phase::Running => ContainerState { running: Some(ContainerStateRunning { started_at: time(seen.started) }), ..Default::default() },
        Phase::Exited => ContainerState {
            terminated: Some(ContainerStateTerminated {
                exit_code: seen.exit_code,
                reason: said(&seen.reason),
                message: said(&seen.message),
                // One that could not be started has no times; the API has the epoch for that.
                started_at: time(seen.started).or(Some(Time(Timestamp::UNIX_EPOCH))),
                finished_at: time(seen.finished).or(Some(Time(Timestamp::UNIX_EPOCH))),
                container_id: Some(id(runtime_name, seen)),
                signal: None,
            }),
            ..Default::default()
        },
        Phase::Created | Phase::Unknown => ContainerState { waiting: Some(ContainerStateWaiting::default()), ..Default::default() },
    }
}

fn terminated(reason: &str, message: &str, exit_code: i32) -> ContainerState {
    let ended = ContainerStateTerminated { reason: Some(reason.to_owned()), message: Some(message.to_owned()), exit_code, ..Default::default() };
    ContainerState { terminated: Some(ended), ..Default::default() }
}

fn seen_status(inputs: &Inputs<'_>, container: &Container, seen: &Seen, old: Option<&ContainerStatus>) -> ContainerStatus {
    let container_id = id(inputs.runtime_name, seen);
    let restarts = i32::try_from(seen.restarts).unwrap_or(i32::MAX);
    let told = old.and_then(|old| old.state.clone()).filter(|state| state.terminated.is_some());
    // The runtime may have lost the container before this one; what was said of its end stands.
    let last = match old {
        Some(old) if old.container_id.as_ref() != Some(&container_id) && told.is_some() => told,
        Some(old) => old.last_state.clone(),
        None => None,
    };
    let ran = old.and_then(|old| old.state.as_ref()).is_some_and(|state| state.running.is_some());
    let now = if seen.phase == Phase::Unknown && ran {
        terminated(STATUS_UNKNOWN, "The container could not be located when the pod was terminated", KILLED_EXIT_CODE)
    } else {
        state(inputs.runtime_name, seen)
    };
    ContainerStatus {
        name: container.name.clone(),
        restart_count: old.map_or(restarts, |old| old.restart_count.max(restarts)),
        image: if seen.image.is_empty() { container.image.clone().unwrap_or_default() } else { seen.image.clone() },
        image_id: seen.image_ref.clone(),
        container_id: Some(container_id),
        state: Some(now),
        last_state: last.or(Some(ContainerState::default())),
        resources: Some(container.resources.clone().unwrap_or_default()),
        allocated_resources: container.resources.as_ref().and_then(|resources| resources.requests.clone()),
        user: seen.user.as_ref().map(|user| ContainerUser {
            linux: Some(LinuxContainerUser {
                uid: user.uid,
                gid: user.gid,
                supplemental_groups: (!user.supplemental_groups.is_empty()).then(|| user.supplemental_groups.clone()),
            }),
        }),
        volume_mounts: volume_mounts(container),
        ..Default::default()
    }
}

fn volume_mounts(container: &Container) -> Option<Vec<VolumeMountStatus>> {
    let mounts = container.volume_mounts.as_deref().unwrap_or_default().iter().map(|mount| {
        let read_only = mount.read_only.unwrap_or_default();
        VolumeMountStatus {
            name: mount.name.clone(),
            mount_path: mount.mount_path.clone(),
            read_only: read_only.then_some(true),
            recursive_read_only: read_only.then(|| "Disabled".to_owned()),
            volume_status: None,
        }
    });
    let mounts: Vec<_> = mounts.collect();
    (!mounts.is_empty()).then_some(mounts)
}

/// The runtime knows no container of this name: it has not been made yet, or it was lost.
fn unseen_status(inputs: &Inputs<'_>, container: &Container, old: Option<&ContainerStatus>) -> ContainerStatus {
    let reason = if pod::init_containers(inputs.pod).is_empty() { "ContainerCreating" } else { "PodInitializing" };
    let waiting = ContainerStateWaiting { reason: Some(reason.to_owned()), message: None };
    let mut status = ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        state: Some(ContainerState { waiting: Some(waiting), ..Default::default() }),
        last_state: Some(ContainerState::default()),
        volume_mounts: volume_mounts(container),
        ..Default::default()
    };
    let Some(old) = old else { return status };
    let was = old.state.as_ref();
    if was.is_some_and(|state| state.terminated.is_some()) {
        return old.clone();
    }
    status.restart_count = old.restart_count;
    status.last_state.clone_from(&old.last_state);
    let ended_before = old.last_state.as_ref().is_some_and(|state| state.terminated.is_some());
    if was.is_some_and(|state| state.running.is_some()) && !ended_before {
        let message = "The container could not be located when the pod was deleted.  The container used to be Running";
        status.last_state = Some(terminated(STATUS_UNKNOWN, message, KILLED_EXIT_CODE));
        if inputs.pod.metadata.deletion_timestamp.is_none() {
            status.restart_count = status.restart_count.saturating_add(1);
        }
    }
    status
}

/// A container that will be started again waits, and says for what.
fn apply_waiting(inputs: &Inputs<'_>, container: &Container, role: Role, status: &mut ContainerStatus) {
    let seen = inputs.runtime.latest(&container.name);
    let done = role == Role::Init && seen.is_some_and(|seen| seen.exited() && seen.exit_code == SUCCEEDED_EXIT_CODE) && !pod::is_sidecar(container);
    if done {
        return;
    }
    if role == Role::Init && seen.is_none() && !pod::is_sidecar(container) && regular_exists(inputs) {
        if status.state.as_ref().is_some_and(|state| state.waiting.is_some()) {
            let message = "Unable to get init container status from container runtime and pod has been initialized, treat it as exited normally";
            status.state = Some(terminated("Completed", message, SUCCEEDED_EXIT_CODE));
        }
        return;
    }
    let restarts = inputs.pod.metadata.deletion_timestamp.is_none()
        && match seen.map(|seen| (seen.phase, seen.exit_code)) {
            None | Some((Phase::Created | Phase::Unknown, _)) => true,
            Some((Phase::Running, _)) => false,
            Some((Phase::Exited, code)) => role != Role::Ephemeral && pod::restarts_after(inputs.pod, container, code),
        };
    let Some(Waiting { reason, message }) = inputs.waiting.get(&container.name).filter(|_| restarts) else { return };
    if status.state.as_ref().is_some_and(|state| state.terminated.is_some()) {
        status.last_state = status.state.take();
    }
    let waiting = ContainerStateWaiting { reason: Some(reason.clone()), message: said(message) };
    status.state = Some(ContainerState { waiting: Some(waiting), ..Default::default() });
}

fn regular_exists(inputs: &Inputs<'_>) -> bool {
    pod::containers(inputs.pod).iter().any(|container| inputs.runtime.latest(&container.name).is_some())
}

/// `started` and `ready` of every container, by its probes.
pub(super) fn set_fitness(inputs: &Inputs<'_>, status: &mut PodStatus) {
    let fitness = |status: &ContainerStatus| {
        let running = status.state.as_ref().is_some_and(|state| state.running.is_some());
        let id = status.container_id.as_deref().and_then(|id| id.split_once("://")).map(|(_, id)| id);
        let told = id.and_then(|id| inputs.fitness.get(id).copied());
        let told = told.unwrap_or(super::Fitness { started: true, ready: true });
        (running && told.started, running && told.started && told.ready)
    };
    for status in status.container_statuses.iter_mut().flatten() {
        let (started, ready) = fitness(status);
        (status.started, status.ready) = (Some(started), ready);
    }
    for status in status.init_container_statuses.iter_mut().flatten() {
        let (started, ready) = fitness(status);
        status.started = Some(started);
        let sidecar = pod::init_containers(inputs.pod).iter().any(|container| container.name == status.name && pod::is_sidecar(container));
        let ended_well =
            status.state.as_ref().and_then(|state| state.terminated.as_ref()).is_some_and(|ended| ended.exit_code == SUCCEEDED_EXIT_CODE);
        status.ready = if sidecar { ready } else { ended_well };
    }
}

/// A Pod that has ended leaves no container waiting or running: what was not seen to end is said to have failed.
pub(super) fn close(pod: &Pod, status: &mut PodStatus) {
    let unknown = || terminated(STATUS_UNKNOWN, "The container could not be located when the pod was terminated", KILLED_EXIT_CODE);
    let is_open = |status: &ContainerStatus| status.state.as_ref().is_none_or(|state| state.terminated.is_none());
    if was_initialized(pod, status) {
        status.container_statuses.iter_mut().flatten().filter(|status| is_open(status)).for_each(|status| status.state = Some(unknown()));
    }
    let init = status.init_container_statuses.iter_mut().flatten();
    let moved = |status: &ContainerStatus| {
        status.state.as_ref().is_none_or(|state| state.waiting.is_none())
            || status.last_state.as_ref().is_some_and(|state| state.terminated.is_some())
    };
    // Those after the last one that ever moved were never reached: they stay waiting.
    let mut init: Vec<&mut ContainerStatus> = init.collect();
    let reached = init.iter().rposition(|status| moved(status)).map_or(usize::from(!init.is_empty()), |last| last + 1);
    init.iter_mut().take(reached).filter(|status| is_open(status)).for_each(|status| status.state = Some(unknown()));
}

fn was_initialized(pod: &Pod, status: &PodStatus) -> bool {
    let init = pod::init_containers(pod);
    if init.is_empty() {
        return true;
    }
    let has_moved = statuses(&status.container_statuses).iter().any(|status| {
        status.last_state.as_ref().is_some_and(|state| state.terminated.is_some())
            || status.state.as_ref().is_none_or(|state| state.waiting.is_none())
    });
    let last_done = init.last().zip(statuses(&status.init_container_statuses).last()).is_some_and(|(container, status)| {
        if pod::is_sidecar(container) {
            return status.started.unwrap_or_default() && status.state.as_ref().is_some_and(|state| state.running.is_some());
        }
        [&status.state, &status.last_state]
            .into_iter()
            .flatten()
            .any(|state| state.terminated.as_ref().is_some_and(|ended| ended.exit_code == SUCCEEDED_EXIT_CODE))
    });
    has_moved || last_done
}
