//! What to do next for one Pod: a pure step from a state, the Pod, and what is seen of it, to the next state and effects.
//!
//! ```text
//!   Starting ──► Initializing ──► Running
//!      │  ▲            │             │        a lost sandbox leads back to Starting
//!      └──┴────────────┴─────────────┴──► Terminating ──► Terminated ──► Gone
//! ```
//!
//! The step is level-driven: it looks at what the runtime shows, never at what it did before, so after a restart of the kubelet any
//! state may be begun with and the same effects follow. Running effects, and telling the API, is `pod_task`'s work; `busy` and
//! `holds` say what is in flight and what must not be tried again yet.

mod init;
#[cfg(test)]
mod tests;

use crate::backoff::Backoffs;
use crate::pod::{self, Role};
use crate::view::{self, Container, NoSandbox, Phase, RuntimeView};
use k8s_openapi::api::core::v1::{Container as Spec, Pod};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

/// A container that must end gets at least this, sidecars that outlive the others included.
pub const GRACE_SECONDS_MIN: i64 = 2;
/// A Pod that the API server has dropped already gets at least this.
const GONE_GRACE_SECONDS_MIN: i64 = 1;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Folders, volumes, the cgroup and the sandbox are being made.
    Starting,
    /// Init containers run.
    Initializing,
    Running,
    /// Containers are being ended; what still runs at `deadline` is killed.
    Terminating {
        cause: Cause,
        deadline: Timestamp,
    },
    /// Nothing runs any more.
    Terminated {
        cause: Cause,
    },
    /// Neither the API nor this node knows the Pod any more.
    Gone,
}

/// Why a Pod ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its deletion was asked for, or it is gone from the API.
    Deleted,
    /// Its containers have ended and none restarts.
    Finished,
    /// The kubelet ends it, or never let it start: its phase is Failed, with this reason.
    Failed { reason: String, message: String, grace_seconds: Option<i64> },
}

/// One thing to do. What an effect is about is its [`Work`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Make the Pod's folders and cgroup and mount its volumes.
    Prepare,
    /// Stop what is left of earlier sandboxes and run a new one.
    RunSandbox {
        attempt: u32,
        stop: Vec<String>,
    },
    StopSandbox {
        id: String,
    },
    /// Pull, create, start and call the post-start hook.
    Start {
        name: String,
        role: Role,
        attempt: u32,
        sandbox: String,
    },
    /// Call the pre-stop hook and end the container by `deadline`.
    Kill {
        id: String,
        name: String,
        deadline: Timestamp,
        why: Kill,
    },
    /// Unmount the volumes and remove the cgroup.
    TearDown,
    /// Tell the API server that the Pod may go.
    Delete,
    /// Remove sandboxes, containers, folders and logs.
    Forget,
}

/// Why one container is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kill {
    /// With its Pod.
    Pod,
    Changed,
    Liveness,
    Startup,
    /// The runtime does not know how it is.
    Unknown,
    SandboxLost,
}

/// The subject of an effect: at most one effect per subject is in flight (but a kill may be hastened).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    Prepare,
    RunSandbox,
    StopSandbox(String),
    Start(String),
    Kill(String),
    TearDown,
    Delete,
    Forget,
}

impl Effect {
    pub fn work(&self) -> Work {
        match self {
            Self::Prepare => Work::Prepare,
            Self::RunSandbox { .. } => Work::RunSandbox,
            Self::StopSandbox { id } => Work::StopSandbox(id.clone()),
            Self::Start { name, .. } => Work::Start(name.clone()),
            Self::Kill { id, .. } => Work::Kill(id.clone()),
            Self::TearDown => Work::TearDown,
            Self::Delete => Work::Delete,
            Self::Forget => Work::Forget,
        }
    }
}

/// What probes say of a running container; `None` is "not known yet".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    pub startup: Option<bool>,
    pub liveness: Option<bool>,
}

/// Everything that a step may look at besides the Pod.
#[derive(Clone, Debug)]
pub struct Seen<'a> {
    pub runtime: &'a RuntimeView,
    /// Folders, cgroup and volumes are there.
    pub prepared: bool,
    /// Volumes and cgroup are gone again.
    pub torn_down: bool,
    /// The API server has the Pod's final status.
    pub reported: bool,
    /// The API server does not have the Pod any more.
    pub gone: bool,
    /// Nothing of the Pod is left on the node.
    pub forgotten: bool,
    pub started_at: Option<Timestamp>,
    /// The kubelet wants it ended: reason and message.
    pub evicted: Option<&'a (String, String)>,
    /// In flight; for a kill, its deadline.
    pub busy: &'a BTreeMap<Work, Timestamp>,
    /// Failed lately: not to be tried before.
    pub holds: &'a BTreeMap<Work, Timestamp>,
    pub backoffs: &'a Backoffs,
    /// By container id.
    pub health: &'a BTreeMap<String, Health>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub state: State,
    pub effects: Vec<Effect>,
    /// Containers that wait out a back-off, and how long it is.
    pub crash_loops: BTreeMap<String, SignedDuration>,
    /// Time alone changes the outcome at this moment.
    pub again: Option<Timestamp>,
}

/// The next state and what to do for it.
pub fn step(state: &State, pod: &Pod, seen: &Seen<'_>, now: Timestamp) -> Step {
    let mut plan = Plan { pod, seen, now, effects: Vec::new(), crash_loops: BTreeMap::new(), again: None };
    let state = plan.advance(state);
    Step { state, effects: plan.effects, crash_loops: plan.crash_loops, again: plan.again }
}

struct Plan<'a> {
    pod: &'a Pod,
    seen: &'a Seen<'a>,
    now: Timestamp,
    effects: Vec<Effect>,
    crash_loops: BTreeMap<String, SignedDuration>,
    again: Option<Timestamp>,
}

impl Plan<'_> {
    fn advance(&mut self, state: &State) -> State {
        match state {
            State::Gone => State::Gone,
            State::Terminated { cause } => self.terminated(cause.clone()),
            State::Terminating { cause, deadline } => {
                let deadline = (*deadline).min(self.deadline(cause));
                self.terminate(cause.clone(), deadline)
            }
            State::Starting | State::Initializing | State::Running => match self.must_end() {
                Some(cause) => {
                    let deadline = self.deadline(&cause);
                    self.terminate(cause, deadline)
                }
                None => self.run(),
            },
        }
    }

    /// Why the Pod must end although its containers could go on.
    fn must_end(&mut self) -> Option<Cause> {
        if self.seen.gone || self.pod.metadata.deletion_timestamp.is_some() {
            return Some(Cause::Deleted);
        }
        if let Some((reason, message)) = self.seen.evicted {
            return Some(Cause::Failed { reason: reason.clone(), message: message.clone(), grace_seconds: None });
        }
        let status = pod::status(self.pod);
        if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
            return Some(Cause::Finished);
        }
        let limit = SignedDuration::from_secs(pod::spec(self.pod).active_deadline_seconds?);
        let end = self.seen.started_at?.saturating_add(limit).unwrap_or(Timestamp::MAX);
        if self.now < end {
            self.look_again(end);
            return None;
        }
        let message = "Pod was active on the node longer than the specified deadline".to_owned();
        Some(Cause::Failed { reason: "DeadlineExceeded".to_owned(), message, grace_seconds: None })
    }

    /// When containers that end for this cause from now on must have ended.
    fn deadline(&self, cause: &Cause) -> Timestamp {
        let asked = self.pod.metadata.deletion_grace_period_seconds;
        let seconds = match cause {
            Cause::Failed { grace_seconds: Some(seconds), .. } => *seconds,
            _ => asked.unwrap_or_else(|| pod::grace_seconds(self.pod)),
        };
        let floor = if self.seen.gone || asked == Some(0) { GONE_GRACE_SECONDS_MIN } else { 0 };
        self.after(seconds.max(floor))
    }

    fn after(&self, seconds: i64) -> Timestamp {
        self.now.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
    }

    fn look_again(&mut self, at: Timestamp) {
        self.again = Some(self.again.map_or(at, |other| other.min(at)));
    }

    fn busy(&self, work: &Work) -> bool {
        self.seen.busy.contains_key(work)
    }

    fn busy_with(&self, of: impl Fn(&Work) -> bool) -> bool {
        self.seen.busy.keys().any(of)
    }

    /// Asks for an effect, unless it is in flight or held back.
    fn want(&mut self, effect: Effect) {
        let work = effect.work();
        if self.busy(&work) {
            return;
        }
        match self.seen.holds.get(&work) {
            Some(&until) if self.now < until => self.look_again(until),
            _ => self.effects.push(effect),
        }
    }

    fn kill(&mut self, container: &Container, deadline: Timestamp, why: Kill) {
        let work = Work::Kill(container.id.clone());
        // One in flight is only replaced by a hastier one.
        if self.seen.busy.get(&work).is_some_and(|flying| *flying <= deadline) {
            return;
        }
        if let Some(&until) = self.seen.holds.get(&work).filter(|until| self.now < **until) {
            return self.look_again(until);
        }
        self.effects.push(Effect::Kill { id: container.id.clone(), name: container.name.clone(), deadline, why });
    }

    // Ending

    fn terminate(&mut self, cause: Cause, deadline: Timestamp) -> State {
        let running: Vec<&Container> = self.seen.runtime.containers.iter().filter(|c| matches!(c.phase, Phase::Running | Phase::Unknown)).collect();
        if running.is_empty() {
            let pending = self.busy_with(|work| matches!(work, Work::Kill(_) | Work::Start(_) | Work::RunSandbox | Work::Prepare));
            let ready: Vec<String> = self.seen.runtime.sandboxes.iter().filter(|s| s.ready).map(|s| s.id.clone()).collect();
            if !pending && ready.is_empty() && !self.busy_with(|work| matches!(work, Work::StopSandbox(_))) {
                return self.terminated(cause);
            }
            if !pending {
                ready.into_iter().for_each(|id| self.want(Effect::StopSandbox { id }));
            }
            return State::Terminating { cause, deadline };
        }
        for container in next_to_end(self.pod, &running) {
            let floor = if self.rank(container) == 0 { deadline } else { deadline.max(self.after(GRACE_SECONDS_MIN)) };
            let flying = self.seen.busy.get(&Work::Kill(container.id.clone())).copied();
            // A sidecar's floor moves with time: what flies already stays, unless the Pod's own deadline was brought forward.
            if flying.is_none_or(|flying| deadline < flying && floor < flying) {
                self.kill(container, floor, Kill::Pod);
            }
        }
        State::Terminating { cause, deadline }
    }

    /// 0 for a container that ends first; sidecars follow from the last to the first.
    fn rank(&self, container: &Container) -> usize {
        ending_rank(self.pod, &container.name)
    }

    fn terminated(&mut self, cause: Cause) -> State {
        let runtime = self.seen.runtime;
        // Something that was being started when the Pod ended may show up late.
        if runtime.running().next().is_some() || runtime.sandboxes.iter().any(|sandbox| sandbox.ready) {
            let deadline = self.deadline(&cause);
            return self.terminate(cause, deadline);
        }
        if self.seen.forgotten && self.seen.gone {
            return State::Gone;
        }
        if !self.seen.torn_down {
            self.want(Effect::TearDown);
        } else if self.seen.gone {
            self.want(Effect::Forget);
        } else if self.pod.metadata.deletion_timestamp.is_some() && self.seen.reported {
            self.want(Effect::Delete);
        }
        State::Terminated { cause }
    }

    fn finish(&mut self) -> State {
        let deadline = self.deadline(&Cause::Finished);
        self.terminate(Cause::Finished, deadline)
    }

    // Running

    fn run(&mut self) -> State {
        if !self.seen.prepared {
            self.want(Effect::Prepare);
            return State::Starting;
        }
        let sandbox = match self.seen.runtime.usable_sandbox(pod::uses_host_network(self.pod)) {
            Ok(sandbox) => sandbox.id.clone(),
            Err(why) => return self.renew_sandbox(why),
        };
        self.start_ephemeral(&sandbox);
        match self.initialize(&sandbox) {
            init::Progress::Failed => self.finish(),
            init::Progress::Going { start, .. } => {
                start.into_iter().for_each(|(index, role)| self.start(&pod::init_containers(self.pod)[index], role, &sandbox));
                State::Initializing
            }
            init::Progress::Done { start } => self.keep_running(&sandbox, &start),
        }
    }

    fn renew_sandbox(&mut self, why: NoSandbox) -> State {
        if self.busy(&Work::RunSandbox) {
            return State::Starting;
        }
        let runtime = self.seen.runtime;
        if why != NoSandbox::None && self.nothing_left_to_run() {
            return self.finish();
        }
        // Containers of a lost sandbox may live on; they end before the new one is made.
        let deadline = self.after(pod::grace_seconds(self.pod));
        let running: Vec<&Container> = runtime.running().collect();
        if !running.is_empty() {
            running.into_iter().for_each(|container| self.kill_once(container, deadline, Kill::SandboxLost));
            return State::Starting;
        }
        let stop = runtime.sandboxes.iter().map(|sandbox| sandbox.id.clone()).collect();
        self.want(Effect::RunSandbox { attempt: runtime.next_attempt(), stop });
        State::Starting
    }

    /// A lost sandbox is not made again for containers that have done their work.
    fn nothing_left_to_run(&self) -> bool {
        let runtime = self.seen.runtime;
        if pod::restart_policy(self.pod) == "Never" && !runtime.containers.is_empty() {
            return true;
        }
        let remains = pod::containers(self.pod).iter().any(|container| {
            let policy = container.restart_policy.as_deref().unwrap_or_else(|| pod::restart_policy(self.pod));
            let succeeded = runtime.latest(&container.name).is_some_and(|seen| seen.exited() && seen.exit_code == 0);
            policy != "OnFailure" || !succeeded
        });
        let created = pod::containers(self.pod).iter().any(|container| runtime.latest(&container.name).is_some());
        !remains && created
    }

    fn start_ephemeral(&mut self, sandbox: &str) {
        for ephemeral in pod::ephemeral_containers(self.pod) {
            if self.seen.runtime.latest(&ephemeral.name).is_none() {
                self.start(&pod::ephemeral_as_container(ephemeral), Role::Ephemeral, sandbox);
            }
        }
    }

    /// The Pod is initialized: keep its containers as its restart policy says. `sidecars` are init containers to start (again).
    fn keep_running(&mut self, sandbox: &str, sidecars: &[(usize, Role)]) -> State {
        let (mut kept, mut start) = (0, Vec::new());
        for container in pod::containers(self.pod) {
            match self.fate(container) {
                Fate::Keep => kept += 1,
                Fate::Leave => {}
                Fate::Start => start.push(container),
                Fate::Kill { why, restart } => {
                    if let Some(seen) = self.seen.runtime.latest(&container.name) {
                        let deadline = self.after(kill_grace_seconds(self.pod, container, why));
                        self.kill_once(seen, deadline, why);
                    }
                    if restart {
                        start.push(container);
                    }
                }
            }
        }
        if kept == 0 && start.is_empty() {
            return self.finish();
        }
        sidecars.iter().for_each(|&(index, role)| self.start(&pod::init_containers(self.pod)[index], role, sandbox));
        start.into_iter().for_each(|container| self.start(container, Role::Main, sandbox));
        State::Running
    }

    fn kill_once(&mut self, container: &Container, deadline: Timestamp, why: Kill) {
        if !self.busy(&Work::Kill(container.id.clone())) {
            self.kill(container, deadline, why);
        }
    }

    fn fate(&self, container: &Spec) -> Fate {
        let Some(seen) = self.seen.runtime.latest(&container.name) else { return Fate::Start };
        match seen.phase {
            Phase::Created => Fate::Start,
            Phase::Unknown => Fate::Kill { why: Kill::Unknown, restart: true },
            Phase::Exited if pod::restarts_after(self.pod, container, seen.exit_code) => Fate::Start,
            Phase::Exited => Fate::Leave,
            Phase::Running => match self.ailment(container, seen) {
                None => Fate::Keep,
                Some(Kill::Changed) => Fate::Kill { why: Kill::Changed, restart: true },
                Some(why) => {
                    let policy = container.restart_policy.as_deref().unwrap_or_else(|| pod::restart_policy(self.pod));
                    Fate::Kill { why, restart: policy != "Never" }
                }
            },
        }
    }

    /// Why a running container should not go on.
    fn ailment(&self, container: &Spec, seen: &Container) -> Option<Kill> {
        let health = self.seen.health.get(&seen.id).copied().unwrap_or_default();
        if !seen.hash.is_empty() && seen.hash != pod::fingerprint(container) {
            return Some(Kill::Changed);
        }
        if health.liveness == Some(false) {
            return Some(Kill::Liveness);
        }
        (health.startup == Some(false)).then_some(Kill::Startup)
    }

    /// Starts a container, unless something else of the Pod is being started (they start one by one, in order), the old one still
    /// runs, or it must wait.
    fn start(&mut self, container: &Spec, role: Role, sandbox: &str) {
        let name = &container.name;
        // The back-off that its start counts is for the next one.
        if self.busy(&Work::Start(name.clone())) {
            return;
        }
        if let Some(seen) = self.seen.runtime.latest(name) {
            if matches!(seen.phase, Phase::Running | Phase::Unknown) || self.busy(&Work::Kill(seen.id.clone())) {
                return;
            }
            let ended = view::time(seen.finished).filter(|_| seen.exited());
            if let Some((delay, until)) = ended.and_then(|ended| self.seen.backoffs.waits(name, ended, self.now)) {
                self.crash_loops.insert(name.clone(), delay);
                return self.look_again(until);
            }
        }
        let starting = self.busy_with(|work| matches!(work, Work::Start(_)));
        let planned = self.effects.iter().any(|effect| matches!(effect, Effect::Start { .. }));
        if starting || planned {
            return;
        }
        let attempt = self.next_attempt(name, role);
        self.want(Effect::Start { name: name.clone(), role, attempt, sandbox: sandbox.to_owned() });
    }

    /// How many times the container was restarted before, were it started now.
    fn next_attempt(&self, name: &str, role: Role) -> u32 {
        let shown = self.seen.runtime.latest(name).map(|seen| seen.restarts.saturating_add(1));
        // The runtime may have lost what it once ran; the API server remembers.
        let status = pod::status(self.pod);
        let list = match role {
            Role::Main => &status.container_statuses,
            Role::Init | Role::Sidecar => &status.init_container_statuses,
            Role::Ephemeral => &status.ephemeral_container_statuses,
        };
        let told = list.iter().flatten().find(|status| status.name == name && status.container_id.is_some());
        let told = told.and_then(|status| u32::try_from(status.restart_count).ok()).map(|count| count.saturating_add(1));
        shown.or(told).unwrap_or_default()
    }
}

enum Fate {
    Keep,
    /// Ended, and stays so.
    Leave,
    Start,
    Kill {
        why: Kill,
        restart: bool,
    },
}

/// A failed probe may bring its own grace period.
pub fn kill_grace_seconds(pod: &Pod, container: &Spec, why: Kill) -> i64 {
    let probe = match why {
        Kill::Liveness => container.liveness_probe.as_ref(),
        Kill::Startup => container.startup_probe.as_ref(),
        _ => None,
    };
    probe.and_then(|probe| probe.termination_grace_period_seconds).unwrap_or_else(|| pod::grace_seconds(pod))
}

/// 0 for containers that end first; sidecars come after them, the last of the spec before the first.
fn ending_rank(pod: &Pod, name: &str) -> usize {
    let init = pod::init_containers(pod);
    let place = init.iter().position(|container| container.name == name && pod::is_sidecar(container));
    place.map_or(0, |place| init.len() - place)
}

/// Of the running containers, those whose turn it is to end.
fn next_to_end<'a>(pod: &Pod, running: &[&'a Container]) -> Vec<&'a Container> {
    let first = running.iter().map(|container| ending_rank(pod, &container.name)).min();
    running.iter().copied().filter(|container| Some(ending_rank(pod, &container.name)) == first).collect()
}
