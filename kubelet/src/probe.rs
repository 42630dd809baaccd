//! Probes of a Pod's containers: when each is due, and what its results add up to. Pure but for [`run`], which asks the container.

pub mod run;

use crate::pod;
use crate::pod_worker::Health;
use crate::status::Fitness;
use crate::view::{self, Container as Seen, RuntimeView};
use k8s_openapi::api::core::v1::{Container, Pod, PodStatus, Probe};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Startup,
    Readiness,
    Liveness,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Startup, Self::Readiness, Self::Liveness];

    pub fn word(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Readiness => "Readiness",
            Self::Liveness => "Liveness",
        }
    }

    pub fn of(self, container: &Container) -> Option<&Probe> {
        match self {
            Self::Startup => container.startup_probe.as_ref(),
            Self::Readiness => container.readiness_probe.as_ref(),
            Self::Liveness => container.liveness_probe.as_ref(),
        }
    }
}

/// One probe of one run of a container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The runtime's id, so that a restarted container begins anew.
    pub id: String,
    pub kind: Kind,
}

/// A probe to run now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    pub key: Key,
    pub container: String,
}

#[derive(Clone, Debug)]
struct Entry {
    /// What the results add up to, once enough agree.
    verdict: Option<bool>,
    last: Option<bool>,
    /// How many results in a row were like the last.
    row: i32,
    due: Timestamp,
    running: bool,
    /// Its verdict is final for this run of the container.
    settled: bool,
}

/// The probes of one Pod.
#[derive(Clone, Debug, Default)]
pub struct Board {
    entries: BTreeMap<Key, Entry>,
    /// Probes that the spec has, for containers that run.
    has: BTreeSet<Key>,
}

fn seconds(value: Option<i32>, default: i32) -> SignedDuration {
    SignedDuration::from_secs(i64::from(value.filter(|value| *value > 0).unwrap_or(default)))
}

pub fn timeout(probe: &Probe) -> SignedDuration {
    seconds(probe.timeout_seconds, 1)
}

fn period(probe: &Probe) -> SignedDuration {
    seconds(probe.period_seconds, 10)
}

/// Containers that may have probes: the Pod's own and its sidecars.
fn probed(pod: &Pod) -> impl Iterator<Item = &Container> {
    pod::init_containers(pod).iter().filter(|container| pod::is_sidecar(container)).chain(pod::containers(pod))
}

impl Board {
    /// Follows what runs: new runs of containers get entries, ended ones lose theirs.
    ///
    /// `told` is what the API was told last: after a restart of the kubelet a container that was ready stays so until probes say otherwise.
    pub fn follow(&mut self, pod: &Pod, runtime: &RuntimeView, told: &PodStatus, now: Timestamp) {
        self.has.clear();
        for container in probed(pod) {
            let Some(seen) = runtime.latest(&container.name).filter(|seen| seen.running()) else { continue };
            for kind in Kind::ALL {
                let Some(probe) = kind.of(container) else { continue };
                let key = Key { id: seen.id.clone(), kind };
                self.has.insert(key.clone());
                self.entries.entry(key).or_insert_with(|| begin(kind, probe, seen, told, now));
            }
        }
        let has = &self.has;
        self.entries.retain(|key, _| has.contains(key));
    }

    fn verdict(&self, id: &str, kind: Kind) -> Option<bool> {
        self.entries.get(&Key { id: id.to_owned(), kind })?.verdict
    }

    fn started(&self, id: &str) -> bool {
        !self.has.contains(&Key { id: id.to_owned(), kind: Kind::Startup }) || self.verdict(id, Kind::Startup) == Some(true)
    }

    /// Whether a probe has anything to find out now.
    fn active(&self, pod: &Pod, key: &Key, entry: &Entry) -> bool {
        let ending = pod.metadata.deletion_timestamp.is_some();
        if entry.running || entry.settled || (ending && key.kind != Kind::Readiness) {
            return false;
        }
        (key.kind == Kind::Startup) != self.started(&key.id)
    }

    /// What to run now. Those are marked as running until [`Board::record`].
    pub fn take_due(&mut self, pod: &Pod, runtime: &RuntimeView, now: Timestamp) -> Vec<Due> {
        let due: Vec<Key> =
            self.entries.iter().filter(|(key, entry)| entry.due <= now && self.active(pod, key, entry)).map(|(key, _)| key.clone()).collect();
        let mut taken = Vec::new();
        for key in due {
            let Some(container) = runtime.containers.iter().find(|seen| seen.id == key.id).map(|seen| seen.name.clone()) else { continue };
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.running = true;
            }
            taken.push(Due { key, container });
        }
        taken
    }

    /// When the next one is due.
    pub fn next_due(&self, pod: &Pod) -> Option<Timestamp> {
        self.entries.iter().filter(|(key, entry)| self.active(pod, key, entry)).map(|(_, entry)| entry.due).min()
    }

    /// A result; `None` when the probe could not be made, which counts for nothing. Says whether the verdict changed.
    pub fn record(&mut self, key: &Key, probe: &Probe, result: Option<bool>, now: Timestamp) -> bool {
        let was_started = self.started(&key.id);
        let Some(entry) = self.entries.get_mut(key) else { return false };
        entry.running = false;
        // Steady beats: the next one a period after this one was due, not after it was done.
        let next = entry.due.saturating_add(period(probe)).unwrap_or(Timestamp::MAX);
        entry.due = next.max(now);
        let Some(result) = result else { return false };
        entry.row = if entry.last == Some(result) { entry.row.saturating_add(1) } else { 1 };
        entry.last = Some(result);
        let enough = if result { probe.success_threshold.unwrap_or(1) } else { probe.failure_threshold.unwrap_or(3) };
        if entry.row < enough {
            return false;
        }
        let changed = entry.verdict != Some(result);
        entry.verdict = Some(result);
        // A container about to be restarted is left alone, and one that has started is started.
        entry.settled = key.kind == Kind::Startup || (key.kind == Kind::Liveness && !result);
        if !was_started && self.started(&key.id) {
            // Others waited for this; they begin at once.
            for (other, entry) in &mut self.entries {
                if other.id == key.id {
                    entry.due = entry.due.min(now);
                }
            }
        }
        changed
    }

    /// What the step must know.
    pub fn health(&self) -> BTreeMap<String, Health> {
        let mut all: BTreeMap<String, Health> = BTreeMap::new();
        for (key, entry) in &self.entries {
            let health = all.entry(key.id.clone()).or_default();
            match key.kind {
                Kind::Startup => health.startup = entry.verdict,
                Kind::Liveness => health.liveness = entry.verdict,
                Kind::Readiness => {}
            }
        }
        all
    }

    /// What the status must know, of containers that have probes.
    pub fn fitness(&self) -> BTreeMap<String, Fitness> {
        let ready =
            |id: &str| !self.has.contains(&Key { id: id.to_owned(), kind: Kind::Readiness }) || self.verdict(id, Kind::Readiness) == Some(true);
        self.has.iter().map(|key| (key.id.clone(), Fitness { started: self.started(&key.id), ready: ready(&key.id) })).collect()
    }
}

fn begin(kind: Kind, probe: &Probe, seen: &Seen, told: &PodStatus, now: Timestamp) -> Entry {
    let lists = [&told.container_statuses, &told.init_container_statuses];
    let same = lists.into_iter().flatten().flatten().find(|status| status.container_id.as_deref().is_some_and(|id| id.ends_with(&seen.id)));
    let known = same.filter(|status| status.started == Some(true));
    let verdict = match kind {
        Kind::Startup => known.map(|_| true),
        Kind::Readiness => known.filter(|status| status.ready).map(|_| true),
        Kind::Liveness => None,
    };
    let started = view::time(seen.started).unwrap_or(now);
    let delay = SignedDuration::from_secs(i64::from(probe.initial_delay_seconds.unwrap_or_default()));
    let due = started.saturating_add(delay).unwrap_or(Timestamp::MAX).max(now);
    Entry { verdict, last: None, row: 0, due, running: false, settled: kind == Kind::Startup && verdict == Some(true) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::Phase;
    use serde_json::{Value, json};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn pod(container: Value) -> Pod {
        let mut container = container;
        container["name"] = json!("a");
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {"containers": [container]}})).expect("a pod")
    }

    fn runtime(id: &str) -> RuntimeView {
        let seen = Seen { id: id.to_owned(), name: "a".to_owned(), phase: Phase::Running, started: 100_000_000_000, ..Default::default() };
        RuntimeView::new(Vec::new(), vec![seen])
    }

    struct Bench {
        pod: Pod,
        board: Board,
    }

    impl Bench {
        fn new(container: Value) -> Self {
            let mut bench = Self { pod: pod(container), board: Board::default() };
            bench.board.follow(&bench.pod, &runtime("x"), &PodStatus::default(), at(100));
            bench
        }

        /// Runs what is due at this second, all with one result; gives the kinds that ran.
        fn run(&mut self, second: i64, result: Option<bool>) -> Vec<Kind> {
            let due = self.board.take_due(&self.pod, &runtime("x"), at(second));
            for due in &due {
                let container = &pod::containers(&self.pod)[0];
                let probe = due.key.kind.of(container).expect("a probe").clone();
                self.board.record(&due.key, &probe, result, at(second));
            }
            due.into_iter().map(|due| due.key.kind).collect()
        }

        fn fitness(&self) -> Option<(bool, bool)> {
            self.board.fitness().get("x").map(|fitness| (fitness.started, fitness.ready))
        }

        fn health(&self) -> Health {
            self.board.health().get("x").copied().unwrap_or_default()
        }
    }

    #[test]
    fn a_container_without_probes_is_not_on_the_board() {
        assert_eq!(Bench::new(json!({})).fitness(), None);
    }

    #[test]
    fn readiness_needs_its_thresholds_both_ways() {
        let mut bench = Bench::new(json!({"readinessProbe": {"successThreshold": 2, "failureThreshold": 2, "periodSeconds": 5}}));
        assert_eq!(bench.fitness(), Some((true, false)));
        bench.run(100, Some(true));
        assert_eq!(bench.fitness(), Some((true, false)));
        assert!(bench.run(104, Some(true)).is_empty(), "not due yet");
        bench.run(105, Some(true));
        assert_eq!(bench.fitness(), Some((true, true)));
        bench.run(110, Some(false));
        assert_eq!(bench.fitness(), Some((true, true)));
        bench.run(115, Some(false));
        assert_eq!(bench.fitness(), Some((true, false)));
    }

    #[test]
    fn the_initial_delay_counts_from_the_containers_start() {
        let mut bench = Bench::new(json!({"livenessProbe": {"initialDelaySeconds": 30}}));
        assert_eq!(bench.board.next_due(&bench.pod), Some(at(130)));
        assert!(bench.run(129, Some(false)).is_empty());
        assert_eq!(bench.run(130, Some(false)), [Kind::Liveness]);
    }

    #[test]
    fn liveness_fails_after_its_threshold_and_then_rests() {
        let mut bench = Bench::new(json!({"livenessProbe": {"failureThreshold": 2, "periodSeconds": 1}}));
        bench.run(100, Some(false));
        bench.run(101, Some(true));
        bench.run(102, Some(false));
        assert_eq!(bench.health().liveness, Some(true));
        bench.run(103, Some(false));
        assert_eq!(bench.health().liveness, Some(false));
        assert!(bench.run(104, Some(true)).is_empty());
    }

    #[test]
    fn other_probes_wait_for_startup_and_then_begin_at_once() {
        let mut bench = Bench::new(json!({"startupProbe": {"periodSeconds": 10}, "readinessProbe": {"periodSeconds": 10}}));
        assert_eq!(bench.fitness(), Some((false, false)));
        assert_eq!(bench.run(100, Some(false)), [Kind::Startup]);
        assert_eq!(bench.run(110, Some(true)), [Kind::Startup]);
        assert_eq!(bench.fitness(), Some((true, false)));
        assert_eq!(bench.run(110, Some(true)), [Kind::Readiness]);
        assert_eq!(bench.fitness(), Some((true, true)));
    }

    #[test]
    fn a_probe_that_could_not_be_made_counts_for_nothing() {
        let mut bench = Bench::new(json!({"livenessProbe": {"failureThreshold": 1, "periodSeconds": 1}}));
        bench.run(100, None);
        assert_eq!(bench.health().liveness, None);
    }

    #[test]
    fn a_restarted_kubelet_keeps_what_was_ready() {
        let pod = pod(json!({"startupProbe": {}, "readinessProbe": {}}));
        let told = json!({"containerStatuses": [{"name": "a", "image": "", "imageID": "", "containerID": "containerd://x", "ready": true, "started": true, "restartCount": 0}]});
        let told: PodStatus = serde_json::from_value(told).expect("a status");
        let mut board = Board::default();
        board.follow(&pod, &runtime("x"), &told, at(200));
        assert_eq!(board.fitness().get("x").map(|fitness| (fitness.started, fitness.ready)), Some((true, true)));
        board.follow(&pod, &runtime("y"), &told, at(300));
        assert_eq!(board.fitness().get("y").map(|fitness| (fitness.started, fitness.ready)), Some((false, false)));
        assert_eq!(board.fitness().len(), 1);
    }

    #[test]
    fn an_ending_pod_is_only_asked_whether_it_is_ready() {
        let mut bench = Bench::new(json!({"livenessProbe": {}, "readinessProbe": {}}));
        bench.pod.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(1)));
        assert_eq!(bench.run(100, Some(true)), [Kind::Readiness]);
    }
}
