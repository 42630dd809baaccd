//! The order of init containers. Only what runs in the current sandbox counts: a new sandbox initializes anew.

use super::{Kill, Plan, Work};
use crate::pod::{self, Role};
use crate::view::{Container, Phase};
use k8s_openapi::api::core::v1::Container as Spec;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// One has failed for good.
    Failed,
    /// Not yet initialized; these are to be started.
    Going { start: Vec<(usize, Role)> },
    /// Initialized; these sidecars are to be started again.
    Done { start: Vec<(usize, Role)> },
}

fn role(container: &Spec) -> Role {
    if pod::is_sidecar(container) { Role::Sidecar } else { Role::Init }
}

impl Plan<'_> {
    /// How far initialization is.
    ///
    /// It walks from the last init container back, since earlier ones may have been removed from the runtime after they had ended:
    /// the last one that is known tells how far things are.
    pub(super) fn initialize(&mut self, sandbox: &str) -> Progress {
        let containers = pod::init_containers(self.pod);
        let mut done = containers.is_empty() || self.regular_was_started(sandbox);
        // A later one is known, so the one being looked at was initialized once.
        let mut passed = done;
        let mut start = Vec::new();
        for (index, container) in containers.iter().enumerate().rev() {
            let is_last = index + 1 == containers.len();
            let Some(seen) = self.seen.runtime.latest_in(sandbox, &container.name).cloned() else {
                if passed && pod::is_sidecar(container) {
                    start.push((index, Role::Sidecar));
                }
                continue;
            };
            if passed && !pod::is_sidecar(container) {
                continue;
            }
            let ready = match self.examine(container, &seen) {
                Verdict::Failed => return Progress::Failed,
                Verdict::Wait => false,
                Verdict::Start => {
                    start.push((index, role(container)));
                    false
                }
                Verdict::Ready { restart } => {
                    if restart {
                        start.push((index, Role::Sidecar));
                    }
                    true
                }
            };
            if ready && is_last {
                done = true;
            } else if ready && !passed {
                start.push((index + 1, role(&containers[index + 1])));
            }
            passed = true;
        }
        if !passed {
            start.push((0, role(&containers[0])));
        }
        start.reverse();
        if done { Progress::Done { start } } else { Progress::Going { start } }
    }

    /// A container of the Pod proper has run in this sandbox, so all init containers were through.
    fn regular_was_started(&self, sandbox: &str) -> bool {
        pod::containers(self.pod).iter().any(|container| {
            let seen = self.seen.runtime.latest_in(sandbox, &container.name);
            seen.is_some_and(|seen| matches!(seen.phase, Phase::Running | Phase::Exited))
        })
    }

    fn examine(&mut self, container: &Spec, seen: &Container) -> Verdict {
        let sidecar = pod::is_sidecar(container);
        match seen.phase {
            Phase::Created => Verdict::Start,
            Phase::Running if sidecar => self.examine_sidecar(container, seen),
            Phase::Running => Verdict::Wait,
            Phase::Exited if sidecar => Verdict::Start,
            Phase::Exited if !seen.failed() => Verdict::Ready { restart: false },
            Phase::Exited if pod::restarts_after(self.pod, container, seen.exit_code) => Verdict::Start,
            Phase::Exited => Verdict::Failed,
            Phase::Unknown => {
                let policy = container.restart_policy.as_deref().unwrap_or_else(|| pod::restart_policy(self.pod));
                if policy == "Never" {
                    return Verdict::Failed;
                }
                self.end(container, seen, Kill::Unknown);
                Verdict::Start
            }
        }
    }

    fn examine_sidecar(&mut self, container: &Spec, seen: &Container) -> Verdict {
        let health = self.seen.health.get(&seen.id).copied().unwrap_or_default();
        if container.startup_probe.is_some() {
            match health.startup {
                None => return Verdict::Wait,
                Some(true) => {}
                Some(false) => {
                    self.end(container, seen, Kill::Startup);
                    return Verdict::Start;
                }
            }
        }
        let why = match self.ailment(container, seen) {
            Some(why @ (Kill::Changed | Kill::Liveness)) => why,
            _ => return Verdict::Ready { restart: false },
        };
        self.end(container, seen, why);
        Verdict::Ready { restart: true }
    }

    fn end(&mut self, container: &Spec, seen: &Container, why: Kill) {
        if !self.busy(&Work::Kill(seen.id.clone())) {
            let deadline = self.after(super::kill_grace_seconds(self.pod, container, why));
            self.kill(seen, deadline, why);
        }
    }
}

enum Verdict {
    Failed,
    Wait,
    Start,
    /// It has done its part, so the next may start; a sidecar may need to be started again beside.
    Ready {
        restart: bool,
    },
}
