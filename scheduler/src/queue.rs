//! The Pods that wait for a node, and when each is tried.
//!
//! ```text
//!              add                      pop
//!   new ──────────────► active ────────────────────► (cycle) ──► bound
//!    │ gated              ▲   ▲                         │ turned down, or failed
//!    ▼                    │   │ back-off over           ▼
//!   unschedulable ────────┘   └───────── backoff ◄──────┤
//!         │ an event that may help; 5 minutes   ▲       │ nothing happened that helps
//!         └─────────────────────────────────────┘       ▼
//!                                                  unschedulable
//! ```
//!
//! Time is handed in, so a test sets it. A cycle is synchronous: nothing happens while a Pod is tried, so there is no record of
//! events in flight. When nothing is active, Pods that were turned down are tried before their back-off is over; those that failed
//! with an error are not, as their back-off protects the API server.

use crate::events::{ClusterEvent, pod_changes};
use crate::framework::{Plugin, Plugins, PreEnqueue, QueueSort, is_schedulable_after};
use crate::plugins::{PrioritySort, SchedulingGates};
use crate::pod_info::{PodInfo, uid};
use k8s_openapi::api::core::v1::Pod;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Back-off ends are rounded down to this, so that Pods of one window leave it in order of priority.
const ORDERING_WINDOW: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub backoff_initial: Duration,
    pub backoff_max: Duration,
    pub unschedulable_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { backoff_initial: Duration::from_secs(1), backoff_max: Duration::from_secs(10), unschedulable_max: Duration::from_secs(5 * 60) }
    }
}

/// A Pod in the queue, or popped from it.
#[derive(Debug)]
pub struct QueuedPod {
    pub info: Arc<PodInfo>,
    /// How often it was popped.
    pub attempts: u32,
    /// When it could first be tried.
    pub first_attempt: Option<Instant>,
    /// The plugins that turned it down last, or gate it.
    pub rejected_by: Plugins,
    /// It was tried because it had waited for too long, without an event.
    pub flushed: bool,
    gated_by: Option<Plugin>,
    since: Instant,
    flushed_at: Option<Instant>,
    times_rejected: u32,
    errors_in_a_row: u32,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Not in the queue: being tried, or about to be placed.
    Out,
    Active(Key),
    Backoff(Instant, Key),
    ErrorBackoff(Instant),
    Unschedulable,
}

type Key = <PrioritySort as QueueSort>::Key;
/// Pods are numbered as they are first queued: among equals, who came first.
type Number = u64;

/// How many Pods are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lengths {
    pub active: usize,
    pub backoff: usize,
    pub unschedulable: usize,
    pub gated: usize,
}

/// Where a Pod went and why, for the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    pub queue: &'static str,
    pub event: &'static str,
}

#[derive(Debug)]
pub struct Queue {
    limits: Limits,
    start: Instant,
    next: Number,
    numbers: HashMap<Arc<str>, Number>,
    pods: HashMap<Number, QueuedPod>,
    active: BTreeSet<(Key, Number)>,
    backoff: BTreeSet<(Instant, Key, Number)>,
    error_backoff: BTreeSet<(Instant, Number)>,
    unschedulable: BTreeSet<Number>,
    gated: usize,
    /// Pods in `unschedulable` by the plugin that turned them down: an event that interests none of them costs nothing.
    rejections: BTreeMap<Plugin, usize>,
    moves: Vec<Move>,
}

impl Queue {
    pub fn new(limits: Limits, now: Instant) -> Self {
        Self {
            limits,
            start: now,
            next: 0,
            numbers: HashMap::new(),
            pods: HashMap::new(),
            active: BTreeSet::new(),
            backoff: BTreeSet::new(),
            error_backoff: BTreeSet::new(),
            unschedulable: BTreeSet::new(),
            gated: 0,
            rejections: BTreeMap::new(),
            moves: Vec::new(),
        }
    }

    pub fn lengths(&self) -> Lengths {
        Lengths {
            active: self.active.len(),
            backoff: self.backoff.len() + self.error_backoff.len(),
            unschedulable: self.unschedulable.len() - self.gated,
            gated: self.gated,
        }
    }

    /// How many waiting Pods each plugin turned down.
    pub fn rejections(&self) -> &BTreeMap<Plugin, usize> {
        &self.rejections
    }

    /// The moves since the last call.
    pub fn take_moves(&mut self) -> std::vec::Drain<'_, Move> {
        self.moves.drain(..)
    }

    /// [`Queue::pop`] would give a Pod.
    pub fn has_next(&self) -> bool {
        !self.active.is_empty() || !self.backoff.is_empty()
    }

    /// Some Pod waits for an event.
    pub fn awaits_events(&self) -> bool {
        !self.unschedulable.is_empty()
    }

    /// A new Pod, or one that changed: it is queued, updated where it is, and tried again where the change may have helped.
    pub fn update(&mut self, pod: &Arc<Pod>, now: Instant) {
        let Some(number) = self.numbers.get(uid(pod)).copied() else {
            return self.add(QueuedPod::new(PodInfo::new(pod.clone()), now), "UnscheduledPodAdd", now);
        };
        let Some(mut queued) = self.take(number) else { return };
        let old = std::mem::replace(&mut queued.info, Arc::new(PodInfo::new(pod.clone())));
        match queued.place {
            Place::Unschedulable => {
                let changes = pod_changes(&old.pod, pod);
                let helped = changes
                    .into_iter()
                    .map(|change| ClusterEvent::TargetPodUpdate { change, new: pod })
                    .find(|event| queued.is_worth_retrying(event));
                match helped {
                    Some(event) => self.retry(number, queued, event.label(), now),
                    None => self.put_unschedulable(number, queued, None),
                }
            }
            Place::Backoff(..) | Place::ErrorBackoff(_) => self.put_backoff(number, queued, None),
            Place::Active(_) | Place::Out => self.put_active(number, queued, None, now),
        }
    }

    /// The Pod is gone, or has a node.
    pub fn remove(&mut self, uid: &str) {
        if let Some(number) = self.numbers.remove(uid) {
            self.take(number);
        }
    }

    /// The next Pod to try. It is out of the queue until it is given back.
    pub fn pop(&mut self) -> Option<QueuedPod> {
        let number = self.active.first().map(|(_, number)| *number).or_else(|| self.backoff.first().map(|(_, _, number)| *number))?;
        let mut queued = self.take(number)?;
        self.numbers.remove(&queued.info.uid);
        queued.attempts = queued.attempts.saturating_add(1);
        queued.place = Place::Out;
        Some(queued)
    }

    /// Gives a popped Pod back that plugins turned down. It waits for an event.
    pub fn reject(&mut self, mut queued: QueuedPod, by: Plugins, now: Instant) {
        queued.returned(now);
        queued.rejected_by = by;
        queued.times_rejected = queued.times_rejected.saturating_add(1);
        queued.errors_in_a_row = 0;
        if let Some(number) = self.number(&queued) {
            self.put_unschedulable(number, queued, Some("ScheduleAttemptFailure"));
        }
    }

    /// Gives a popped Pod back that could not be tried or bound. It is tried again after its back-off.
    pub fn fail(&mut self, mut queued: QueuedPod, now: Instant) {
        queued.returned(now);
        queued.rejected_by = Plugins::NONE;
        queued.errors_in_a_row = queued.errors_in_a_row.saturating_add(1);
        if let Some(number) = self.number(&queued) {
            self.retry(number, queued, "ScheduleAttemptFailure", now);
        }
    }

    /// Something happened: Pods that it may have helped are tried again.
    pub fn move_all(&mut self, event: &ClusterEvent<'_>, now: Instant) {
        let helped: Vec<Number> =
            self.unschedulable.iter().copied().filter(|number| self.pods.get(number).is_some_and(|queued| queued.is_worth_retrying(event))).collect();
        for number in helped {
            if let Some(queued) = self.take(number) {
                self.retry(number, queued, event.label(), now);
            }
        }
    }

    /// Pods whose back-off is over become active.
    pub fn flush_backoff(&mut self, now: Instant) {
        let window = self.window(now);
        let over = |end: &Instant| *end < window;
        let mut done: Vec<Number> = self.backoff.iter().take_while(|(end, ..)| over(end)).map(|(.., number)| *number).collect();
        done.extend(self.error_backoff.iter().take_while(|(end, _)| over(end)).map(|(_, number)| *number));
        for number in done {
            if let Some(queued) = self.take(number) {
                self.put_active(number, queued, Some("BackoffComplete"), now);
            }
        }
    }

    /// Pods that have waited for too long without an event are tried all the same, lest a hint that is wrong strand them.
    pub fn flush_unschedulable(&mut self, now: Instant) {
        let waited = |queued: &QueuedPod| now.saturating_duration_since(queued.flushed_at.map_or(queued.since, |flushed| flushed.max(queued.since)));
        let max = self.limits.unschedulable_max;
        let leftover: Vec<Number> =
            self.unschedulable.iter().copied().filter(|number| self.pods.get(number).is_some_and(|queued| waited(queued) > max)).collect();
        for number in leftover {
            if let Some(mut queued) = self.take(number) {
                queued.flushed = true;
                queued.flushed_at = Some(now);
                self.retry(number, queued, ClusterEvent::UnschedulableTimeout.label(), now);
            }
        }
    }

    fn add(&mut self, queued: QueuedPod, event: &'static str, now: Instant) {
        if let Some(number) = self.number(&queued) {
            self.put_active(number, queued, Some(event), now);
        }
    }

    /// A number for a Pod that is not queued; `None` when it is, and then what is queued is newer.
    fn number(&mut self, queued: &QueuedPod) -> Option<Number> {
        if self.numbers.contains_key(&queued.info.uid) {
            return None;
        }
        let number = self.next;
        self.next += 1;
        self.numbers.insert(queued.info.uid.clone(), number);
        Some(number)
    }

    /// To active, or to back-off while that lasts.
    fn retry(&mut self, number: Number, mut queued: QueuedPod, event: &'static str, now: Instant) {
        if self.backoff_end(&mut queued).is_some_and(|end| end >= self.window(now)) {
            self.put_backoff(number, queued, Some(event));
        } else {
            self.put_active(number, queued, Some(event), now);
        }
    }

    fn put_active(&mut self, number: Number, mut queued: QueuedPod, event: Option<&'static str>, now: Instant) {
        if queued.is_gated() {
            return self.put_unschedulable(number, queued, event);
        }
        queued.first_attempt.get_or_insert(now);
        let key = PrioritySort.key(&queued.info, queued.since);
        self.active.insert((key, number));
        queued.place = Place::Active(key);
        self.put(number, queued, "active", event);
    }

    fn put_backoff(&mut self, number: Number, mut queued: QueuedPod, event: Option<&'static str>) {
        if queued.is_gated() {
            return self.put_unschedulable(number, queued, event);
        }
        let end = self.backoff_end(&mut queued).unwrap_or(self.start);
        if queued.rejected_by.is_empty() {
            self.error_backoff.insert((end, number));
            queued.place = Place::ErrorBackoff(end);
        } else {
            let key = PrioritySort.key(&queued.info, queued.since);
            self.backoff.insert((end, key, number));
            queued.place = Place::Backoff(end, key);
        }
        self.put(number, queued, "backoff", event);
    }

    fn put_unschedulable(&mut self, number: Number, mut queued: QueuedPod, event: Option<&'static str>) {
        self.unschedulable.insert(number);
        self.gated += usize::from(queued.gated_by.is_some());
        for plugin in queued.rejected_by.iter() {
            *self.rejections.entry(plugin).or_default() += 1;
        }
        queued.place = Place::Unschedulable;
        let queue = if queued.gated_by.is_some() { "gated" } else { "unschedulable" };
        self.put(number, queued, queue, event);
    }

    fn put(&mut self, number: Number, queued: QueuedPod, queue: &'static str, event: Option<&'static str>) {
        self.moves.extend(event.map(|event| Move { queue, event }));
        self.pods.insert(number, queued);
    }

    /// Takes a Pod out of wherever it is, and leaves its `place` to tell where that was.
    fn take(&mut self, number: Number) -> Option<QueuedPod> {
        let queued = self.pods.remove(&number)?;
        match queued.place {
            Place::Out => {}
            Place::Active(key) => {
                self.active.remove(&(key, number));
            }
            Place::Backoff(end, key) => {
                self.backoff.remove(&(end, key, number));
            }
            Place::ErrorBackoff(end) => {
                self.error_backoff.remove(&(end, number));
            }
            Place::Unschedulable => {
                self.unschedulable.remove(&number);
                self.gated -= usize::from(queued.gated_by.is_some());
                for plugin in queued.rejected_by.iter() {
                    if let Some(count) = self.rejections.get_mut(&plugin) {
                        *count -= 1;
                    }
                }
            }
        }
        Some(queued)
    }

    /// When the back-off ends: 1 s after the first failure, doubling to 10 s. `None` for a Pod that never failed.
    fn backoff_end(&self, queued: &mut QueuedPod) -> Option<Instant> {
        let count = if queued.errors_in_a_row > 0 { queued.errors_in_a_row } else { queued.times_rejected };
        let doublings = count.checked_sub(1)?;
        let backoff = self.limits.backoff_initial.saturating_mul(2u32.saturating_pow(doublings)).min(self.limits.backoff_max);
        Some(self.window(queued.since + backoff))
    }

    fn window(&self, time: Instant) -> Instant {
        let elapsed = time.saturating_duration_since(self.start);
        self.start + ORDERING_WINDOW * u32::try_from(elapsed.as_secs() / ORDERING_WINDOW.as_secs()).unwrap_or(u32::MAX)
    }
}

impl QueuedPod {
    pub fn new(info: PodInfo, now: Instant) -> Self {
        Self {
            info: Arc::new(info),
            attempts: 0,
            first_attempt: None,
            rejected_by: Plugins::NONE,
            flushed: false,
            gated_by: None,
            since: now,
            flushed_at: None,
            times_rejected: 0,
            errors_in_a_row: 0,
            place: Place::Out,
        }
    }

    fn returned(&mut self, now: Instant) {
        self.since = now;
        self.flushed = false;
        self.flushed_at = None;
    }

    /// Asks the PreEnqueue plugins anew.
    fn is_gated(&mut self) -> bool {
        self.gated_by = SchedulingGates.pre_enqueue(&self.info).is_err().then_some(<SchedulingGates as PreEnqueue>::PLUGIN);
        if let Some(plugin) = self.gated_by {
            self.flushed = false;
            self.rejected_by.insert(plugin);
        }
        self.gated_by.is_some()
    }

    fn is_worth_retrying(&self, event: &ClusterEvent<'_>) -> bool {
        let worth = |plugin| is_schedulable_after(plugin, &self.info, event);
        match self.gated_by {
            Some(gate) => worth(gate),
            None => self.rejected_by.is_empty() || self.rejected_by.iter().any(worth),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{node, pod};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    #[derive(Clone, Copy, Debug)]
    enum Op {
        Update { pod: u8, priority: u8, gated: bool },
        Remove(u8),
        Pop,
        Reject,
        Fail,
        Bind,
        NodeAdd,
        Wait(u16),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            3 => (0..6u8, 0..3u8, any::<bool>()).prop_map(|(pod, priority, gated)| Op::Update { pod, priority, gated }),
            1 => (0..6u8).prop_map(Op::Remove),
            3 => Just(Op::Pop),
            2 => Just(Op::Reject),
            1 => Just(Op::Fail),
            1 => Just(Op::Bind),
            1 => Just(Op::NodeAdd),
            1 => (1..400u16).prop_map(Op::Wait),
        ]
    }

    proptest! {
        /// Whatever happens, a Pod that was not removed or bound is in exactly one place, and the best active one is next.
        #[test]
        fn no_pod_is_lost_or_doubled(ops in proptest::collection::vec(op(), 0..80)) {
            let mut bench = Bench::new();
            let mut seconds = 0.0;
            let mut known: BTreeMap<String, bool> = BTreeMap::new();
            let mut popped: Option<QueuedPod> = None;
            let large = node("n", json!({}));
            for op in ops {
                let now = bench.start + Duration::from_secs_f64(seconds);
                match op {
                    Op::Update { pod, priority, gated } => {
                        let name = format!("p{pod}");
                        if popped.as_ref().is_none_or(|popped| popped.info.name() != name) {
                            let gates = if gated { json!([{"name": "g"}]) } else { json!([]) };
                            bench.add(seconds, &name, json!({"priority": priority, "schedulingGates": gates}));
                            known.insert(name, gated);
                        }
                    }
                    Op::Remove(pod) => {
                        let name = format!("p{pod}");
                        bench.queue.remove(&name);
                        if popped.as_ref().is_none_or(|popped| popped.info.name() != name) {
                            known.remove(&name);
                        }
                    }
                    Op::Pop if popped.is_none() => {
                        let best = bench.queue.active.iter().map(|(_, number)| bench.queue.pods[number].info.priority).max();
                        popped = bench.queue.pop();
                        prop_assert!(best.is_none_or(|best| popped.as_ref().is_some_and(|popped| popped.info.priority == best)));
                        if let Some(popped) = &popped {
                            prop_assert!(!known[popped.info.name()], "a gated Pod was tried");
                        }
                    }
                    Op::Pop => {}
                    Op::Reject => if let Some(popped) = popped.take() {
                        bench.queue.reject(popped, Plugins::from_iter([Plugin::NodeResourcesFit]), now);
                    },
                    Op::Fail => if let Some(popped) = popped.take() {
                        bench.queue.fail(popped, now);
                    },
                    Op::Bind => if let Some(popped) = popped.take() {
                        known.remove(popped.info.name());
                    },
                    Op::NodeAdd => bench.queue.move_all(&ClusterEvent::NodeAdd(&large), now),
                    Op::Wait(more) => {
                        seconds += f64::from(more);
                        let now = bench.start + Duration::from_secs_f64(seconds);
                        bench.queue.flush_backoff(now);
                        bench.queue.flush_unschedulable(now);
                    }
                }
                let Lengths { active, backoff, unschedulable, gated } = bench.queue.lengths();
                prop_assert_eq!(active + backoff + unschedulable + gated + usize::from(popped.is_some()), known.len());
                prop_assert_eq!((bench.queue.pods.len(), bench.queue.numbers.len()), (known.len() - usize::from(popped.is_some()), bench.queue.pods.len()));
                let rejected: usize = bench.queue.rejections().values().sum();
                prop_assert_eq!(rejected == 0, bench.queue.unschedulable.is_empty());
            }
            // Nothing that could run waits for ever.
            if let Some(popped) = popped.take() {
                bench.queue.fail(popped, bench.start + Duration::from_secs_f64(seconds));
            }
            let end = bench.start + Duration::from_secs_f64(seconds + 1000.0);
            bench.queue.flush_unschedulable(end);
            bench.queue.flush_backoff(end + Duration::from_secs(20));
            prop_assert_eq!(std::iter::from_fn(|| bench.queue.pop()).count(), known.values().filter(|gated| !**gated).count());
        }
    }

    struct Bench {
        queue: Queue,
        start: Instant,
        now: Instant,
    }

    impl Bench {
        fn new() -> Self {
            let start = Instant::now();
            Self { queue: Queue::new(Limits::default(), start), start, now: start }
        }

        fn at(&mut self, seconds: f64) -> &mut Queue {
            self.now = self.start + Duration::from_secs_f64(seconds);
            &mut self.queue
        }

        fn add(&mut self, seconds: f64, name: &str, spec: Value) {
            self.at(seconds);
            self.queue.update(&pod(name, spec), self.now);
        }

        fn pop(&mut self) -> QueuedPod {
            self.queue.pop().expect("a Pod is ready")
        }

        fn reject(&mut self, queued: QueuedPod, by: Plugin) {
            self.queue.reject(queued, Plugins::from_iter([by]), self.now);
        }

        fn names(&mut self) -> String {
            std::iter::from_fn(|| self.queue.pop()).map(|queued| queued.info.name().to_owned()).collect::<Vec<_>>().join(" ")
        }

        #[track_caller]
        fn expect(&self, active: usize, backoff: usize, unschedulable: usize, gated: usize) {
            assert_eq!(self.queue.lengths(), Lengths { active, backoff, unschedulable, gated });
        }
    }

    #[test]
    fn pods_leave_by_priority_then_by_age() {
        let mut bench = Bench::new();
        bench.add(0.0, "old", json!({}));
        bench.add(1.0, "high", json!({"priority": 5}));
        bench.add(1.0, "young", json!({}));
        bench.add(1.0, "younger", json!({}));
        assert_eq!(bench.names(), "high old young younger");
    }

    #[test]
    fn a_rejected_pod_waits_for_an_event_that_its_plugins_care_for() {
        let mut bench = Bench::new();
        bench.add(0.0, "p", json!({}));
        let popped = bench.pop();
        bench.reject(popped, Plugin::NodeResourcesFit);
        bench.expect(0, 0, 1, 0);
        let large = node("n", json!({}));
        let now = bench.now;
        bench.queue.move_all(&ClusterEvent::AssignedPodAdd, now);
        bench.expect(0, 0, 1, 0);
        bench.queue.move_all(&ClusterEvent::NodeAdd(&large), now);
        bench.expect(0, 1, 0, 0);
        bench.at(2.0).flush_backoff(now + Duration::from_secs(2));
        bench.expect(1, 0, 0, 0);
    }

    #[test]
    fn rejected_pods_are_popped_from_back_off_when_nothing_is_active() {
        let mut bench = Bench::new();
        bench.add(0.0, "p", json!({}));
        let popped = bench.pop();
        bench.reject(popped, Plugin::NodeName);
        let (large, now) = (node("n", json!({})), bench.now);
        bench.queue.move_all(&ClusterEvent::NodeAdd(&large), now);
        bench.expect(0, 1, 0, 0);
        assert_eq!(bench.pop().attempts, 2);
    }

    #[test]
    fn failed_pods_sit_their_back_off_out() {
        let mut bench = Bench::new();
        bench.add(0.0, "p", json!({}));
        for (start, wait) in [(0.0, 1.0), (10.0, 2.0), (20.0, 4.0), (30.0, 8.0), (50.0, 10.0), (70.0, 10.0)] {
            let popped = bench.pop();
            let queue = bench.at(start);
            let now = queue.start + Duration::from_secs_f64(start);
            queue.fail(popped, now);
            assert!(!queue.has_next(), "{start}");
            queue.flush_backoff(now + Duration::from_secs_f64(wait));
            assert!(!queue.has_next(), "{start} is over too early");
            queue.flush_backoff(now + Duration::from_secs_f64(wait + 1.0));
            assert!(queue.has_next(), "{start} is over too late");
        }
    }

    #[test]
    fn gated_pods_wait_until_the_last_gate_is_gone() {
        let mut bench = Bench::new();
        bench.add(0.0, "p", json!({"schedulingGates": [{"name": "a"}, {"name": "b"}]}));
        bench.expect(0, 0, 0, 1);
        bench.add(1.0, "p", json!({"schedulingGates": [{"name": "b"}]}));
        bench.expect(0, 0, 0, 1);
        let (large, now) = (node("n", json!({})), bench.now);
        bench.queue.move_all(&ClusterEvent::NodeAdd(&large), now);
        bench.expect(0, 0, 0, 1);
        bench.queue.flush_unschedulable(now + Duration::from_secs(600));
        bench.expect(0, 0, 0, 1);
        bench.add(2.0, "p", json!({}));
        bench.expect(1, 0, 0, 0);
        assert_eq!(bench.queue.rejections()[&Plugin::SchedulingGates], 0);
    }

    #[test]
    fn an_update_that_helps_brings_a_pod_back() {
        let mut bench = Bench::new();
        bench.add(0.0, "p", json!({}));
        let popped = bench.pop();
        bench.reject(popped, Plugin::TaintToleration);
        bench.add(0.5, "p", json!({"nodeSelector": {"a": "b"}}));
        bench.expect(0, 0, 1, 0);
        bench.add(5.0, "p", json!({"tolerations": [{"operator": "Exists"}]}));
        bench.expect(1, 0, 0, 0);
        assert!(bench.pop().info.pod.spec.as_ref().unwrap().tolerations.is_some());
    }

    #[test]
    fn an_update_keeps_the_place_of_an_active_pod_but_for_its_priority() {
        let mut bench = Bench::new();
        bench.add(0.0, "a", json!({}));
        bench.add(1.0, "b", json!({}));
        bench.add(2.0, "a", json!({"nodeSelector": {"x": "y"}}));
        bench.add(2.0, "c", json!({}));
        bench.add(3.0, "c", json!({"priority": 1}));
        assert_eq!(bench.names(), "c a b");
    }

    #[test]
    fn waiting_too_long_is_cause_enough() {
        let mut bench = Bench::new();
        bench.add(0.0, "p", json!({}));
        let popped = bench.pop();
        bench.reject(popped, Plugin::NodeResourcesFit);
        let start = bench.start;
        bench.queue.flush_unschedulable(start + Duration::from_secs(300));
        bench.expect(0, 0, 1, 0);
        bench.queue.flush_unschedulable(start + Duration::from_secs(301));
        bench.expect(1, 0, 0, 0);
        assert!(bench.pop().flushed);
    }

    #[test]
    fn a_removed_pod_is_nowhere() {
        let mut bench = Bench::new();
        for (name, spec) in [
            ("active", json!({})),
            ("gated", json!({"schedulingGates": [{"name": "a"}]})),
            ("rejected", json!({"priority": 9})),
            ("failed", json!({"priority": 8})),
        ] {
            bench.add(0.0, name, spec);
        }
        let rejected = bench.pop();
        bench.reject(rejected, Plugin::NodeName);
        let failed = bench.pop();
        let now = bench.now;
        bench.queue.fail(failed, now);
        bench.expect(1, 1, 1, 1);
        for name in ["active", "gated", "rejected", "failed", "never"] {
            bench.queue.remove(name);
        }
        bench.expect(0, 0, 0, 0);
        assert!(bench.queue.pods.is_empty() && bench.queue.numbers.is_empty());
    }

    #[test]
    fn a_pod_that_was_queued_anew_meanwhile_is_not_queued_twice() {
        let mut bench = Bench::new();
        bench.add(0.0, "p", json!({}));
        let popped = bench.pop();
        bench.add(0.0, "p", json!({"priority": 3}));
        let now = bench.now;
        bench.queue.fail(popped, now);
        bench.expect(1, 0, 0, 0);
        assert_eq!(bench.pop().info.priority, 3);
    }
}
