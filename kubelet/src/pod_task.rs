//! The task of one Pod: it keeps what is known of the Pod, asks [`pod_worker::step`] what to do, carries it out, and tells the API server.
//!
//! ```text
//!   Wake ──► pod, runtime view, probe results, outcomes ──► step ──► effects in flight ──► observation ──► …
//!                                                             └────► status ──► PATCH of what differs
//! ```
//!
//! An effect counts as in flight until the runtime has been observed after it ended: no step ever sees a world older than its own deeds.

mod api;

use crate::backoff::Backoffs;
use crate::garbage::{self, Garbage};
use crate::lifecycle::{self, Fault};
use crate::observe::observe;
use crate::pod;
use crate::pod_worker::{self, Cause, Effect, Seen, State, Work};
use crate::probe::run::Outcome;
use crate::probe::{self, Board, Due};
use crate::shared::{Shared, now};
use crate::status::{self, Inputs, Waiting};
use crate::view::{self, RuntimeView};
use crate::volume::MountedVolumes;
use apiserver_client::EventType;
use futures::future::{AbortHandle, Abortable, BoxFuture};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Messages that wait for one Pod; senders drop what does not fit, since each only says "look again".
pub const WAKES_MAX: usize = 64;
/// What failed is tried again after this, doubling up to the longest.
const RETRY_FIRST: SignedDuration = SignedDuration::from_secs(1);
const RETRY_LONGEST: SignedDuration = SignedDuration::from_secs(30);
/// Volumes made from objects are looked at this often even when nobody said that anything changed; tokens are renewed so.
const REFRESH: SignedDuration = SignedDuration::from_secs(60);
/// After a request to delete the Pod, how long to wait for it to go before asking again.
const DELETE_AGAIN: SignedDuration = SignedDuration::from_secs(10);
/// How long a failed start shows as failed before it shows as waiting.
const PULL_ERROR_SHOWN: SignedDuration = SignedDuration::from_secs(2);
const FOREVER: Duration = Duration::from_secs(3600);

/// What wakes a Pod's task.
#[derive(Clone, Debug)]
pub enum Wake {
    /// The API's copy.
    Pod(Arc<Pod>),
    /// The API does not have it any more.
    Gone,
    /// The runtime shows something new.
    Runtime,
    /// An object that it uses has changed.
    Objects,
    /// The kubelet wants it ended, and says why.
    Evict(String),
}

/// What ended.
enum Done {
    Observed(u64, Result<RuntimeView, kubelet_cri::Error>),
    Effect(Work, Result<Option<MountedVolumes>, Fault>),
    Aborted(Work),
    Probed(Due, Outcome),
    Refreshed(Result<MountedVolumes, Fault>),
    Written(Box<Result<Option<Pod>, kube::Error>>),
    Collected(Result<(), kubelet_cri::Error>),
}

/// How a task begins.
pub struct Beginning {
    pub pod: Arc<Pod>,
    /// The Pod was not admitted: why.
    pub rejected: Option<(String, String)>,
    /// The API does not have it: it is only cleaned up.
    pub gone: bool,
}

pub struct PodTask {
    shared: Arc<Shared>,
    inbox: mpsc::Receiver<Wake>,
    pod: Arc<Pod>,
    state: State,
    rejected: bool,
    gone: bool,
    forgotten: bool,
    evicted: Option<(String, String)>,
    runtime: RuntimeView,
    volumes: Option<MountedVolumes>,
    torn_down: bool,
    refreshed: Timestamp,
    refreshing: bool,
    collecting: bool,
    board: Board,
    backoffs: Backoffs,
    retries: Backoffs,
    busy: BTreeMap<Work, Timestamp>,
    aborts: BTreeMap<Work, AbortHandle>,
    /// Effects that ended, and the observation that will show what they did.
    settling: Vec<(Work, u64)>,
    holds: BTreeMap<Work, Timestamp>,
    faults: BTreeMap<String, (Waiting, Timestamp)>,
    told_backoff: BTreeSet<String>,
    observations: Observations,
    status: PodStatus,
    api: api::Copy,
    in_flight: FuturesUnordered<BoxFuture<'static, Done>>,
}

/// Observations are numbered, so that one begun before a deed is not taken for its result.
#[derive(Default)]
struct Observations {
    begun: u64,
    shown: u64,
    running: bool,
    wanted: bool,
}

impl PodTask {
    pub fn new(shared: Arc<Shared>, inbox: mpsc::Receiver<Wake>, beginning: Beginning) -> Self {
        let status = pod::status(&beginning.pod).clone();
        let rejected = beginning.rejected.is_some();
        let state = match beginning.rejected {
            Some((reason, message)) => State::Terminating { cause: Cause::Failed { reason, message, grace_seconds: None }, deadline: now() },
            None => State::Starting,
        };
        let observations = Observations { wanted: true, ..Default::default() };
        Self {
            api: api::Copy::of(&beginning.pod),
            shared,
            inbox,
            pod: beginning.pod,
            state,
            rejected,
            gone: beginning.gone,
            forgotten: false,
            evicted: None,
            runtime: RuntimeView::default(),
            volumes: None,
            torn_down: false,
            refreshed: now(),
            refreshing: false,
            collecting: false,
            board: Board::default(),
            backoffs: Backoffs::default(),
            retries: Backoffs::new(RETRY_FIRST, RETRY_LONGEST),
            busy: BTreeMap::new(),
            aborts: BTreeMap::new(),
            settling: Vec::new(),
            holds: BTreeMap::new(),
            faults: BTreeMap::new(),
            told_backoff: BTreeSet::new(),
            observations,
            status,
            in_flight: FuturesUnordered::new(),
        }
    }

    /// Runs until nothing is left of the Pod, here and in the API.
    pub async fn run(mut self) {
        loop {
            let wake_at = self.turn();
            if self.state == State::Gone && self.in_flight.is_empty() {
                return;
            }
            let wait = wake_at.map_or(FOREVER, |at| Duration::try_from(at.duration_since(now())).unwrap_or_default());
            tokio::select! {
                wake = self.inbox.recv() => match wake {
                    Some(wake) => self.wake(wake),
                    None => return,
                },
                Some(done) = self.in_flight.next(), if !self.in_flight.is_empty() => self.done(done),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// One look at everything: step, effects, status. Gives the time of the next look if nothing happens before.
    fn turn(&mut self) -> Option<Timestamp> {
        let now = now();
        if self.observations.wanted && !self.observations.running {
            self.begin_observation();
        }
        if self.observations.shown == 0 {
            // Without having looked once, nothing is known; the only thing to wait for is the observation.
            return self.holds.values().min().copied();
        }
        self.board.follow(&self.pod, &self.runtime, &self.status, now);
        let health = self.board.health();
        let seen = Seen {
            runtime: &self.runtime,
            prepared: self.volumes.is_some(),
            torn_down: self.torn_down,
            reported: self.is_reported(),
            gone: self.gone,
            forgotten: self.forgotten,
            started_at: self.status.start_time.as_ref().map(|time| time.0),
            evicted: self.evicted.as_ref(),
            busy: &self.busy,
            holds: &self.holds,
            backoffs: &self.backoffs,
            health: &health,
        };
        let step = pod_worker::step(&self.state, &self.pod, &seen, now);
        if step.state != self.state {
            tracing::debug!(pod = pod::describe(&self.pod), from = ?self.state, to = ?step.state, "a Pod's state changed");
        }
        self.state = step.state;
        self.drop_starts_of_an_ending_pod();
        self.note_crash_loops(&step.crash_loops);
        step.effects.into_iter().for_each(|effect| self.begin(effect, now));
        let refresh = self.refresh_when_due(now);
        self.collect_garbage();
        self.run_probes(now);
        let write = self.report(now);
        let relabel = self.faults.values().map(|(_, shown_until)| *shown_until).filter(|at| *at > now).min();
        [step.again, self.board.next_due(&self.pod), refresh, write, relabel].into_iter().flatten().min()
    }

    fn wake(&mut self, wake: Wake) {
        match wake {
            Wake::Pod(pod) => {
                if pod.metadata.annotations != self.pod.metadata.annotations || pod.metadata.labels != self.pod.metadata.labels {
                    // Files of the downward API show them.
                    self.refreshed = Timestamp::UNIX_EPOCH;
                }
                if pod.spec != self.pod.spec || pod.metadata.annotations != self.pod.metadata.annotations {
                    // What could not start may start now.
                    self.holds.retain(|work, _| !matches!(work, Work::Start(_)));
                }
                self.api.heard(&pod);
                self.pod = pod;
            }
            Wake::Gone => self.gone = true,
            Wake::Runtime => self.observations.wanted = true,
            Wake::Objects => {
                self.refreshed = Timestamp::UNIX_EPOCH;
                self.holds.remove(&Work::Prepare);
                self.holds.retain(|work, _| !matches!(work, Work::Start(_)));
            }
            Wake::Evict(message) => self.evicted = Some(("Evicted".to_owned(), message)),
        }
    }

    // Observing

    fn begin_observation(&mut self) {
        self.observations.begun += 1;
        self.observations.running = true;
        self.observations.wanted = false;
        let (shared, known, number) = (self.shared.clone(), self.runtime.clone(), self.observations.begun);
        let uid = pod::uid(&self.pod).to_owned();
        self.in_flight.push(async move { Done::Observed(number, observe(&shared, &uid, &known).await) }.boxed());
    }

    fn observed(&mut self, number: u64, result: Result<RuntimeView, kubelet_cri::Error>) {
        self.observations.running = false;
        match result {
            Ok(view) => {
                self.runtime = view;
                self.observations.shown = number;
                let (settled, settling): (Vec<_>, Vec<_>) = std::mem::take(&mut self.settling).into_iter().partition(|(_, after)| *after <= number);
                self.settling = settling;
                for (work, _) in settled {
                    self.busy.remove(&work);
                }
                // A container that runs is not waiting for anything.
                let runtime = &self.runtime;
                self.faults.retain(|name, _| runtime.latest(name).is_none_or(|seen| !seen.running()));
            }
            Err(error) => {
                tracing::warn!(pod = pod::describe(&self.pod), %error, "the runtime could not be asked about a Pod");
                self.observe_later();
            }
        }
    }

    /// The runtime is away; a moment later it may be back.
    fn observe_later(&mut self) {
        self.observations.begun += 1;
        self.observations.running = true;
        let (shared, known, number) = (self.shared.clone(), self.runtime.clone(), self.observations.begun);
        let uid = pod::uid(&self.pod).to_owned();
        let work = async move {
            tokio::time::sleep(RETRY_FIRST.unsigned_abs()).await;
            Done::Observed(number, observe(&shared, &uid, &known).await)
        };
        self.in_flight.push(work.boxed());
    }

    // Effects

    fn begin(&mut self, effect: Effect, now: Timestamp) {
        let work = effect.work();
        tracing::debug!(pod = pod::describe(&self.pod), ?effect, "a Pod's next effect");
        let until = if let Effect::Kill { deadline, .. } = &effect { *deadline } else { Timestamp::MAX };
        self.busy.insert(work.clone(), until);
        let (abort, registration) = AbortHandle::new_pair();
        self.aborts.insert(work.clone(), abort);
        let running = self.effect(effect, now);
        let future = Abortable::new(running, registration).map(move |result| match result {
            Ok(result) => Done::Effect(work, result),
            Err(_) => Done::Aborted(work),
        });
        self.in_flight.push(future.boxed());
    }

    fn effect(&mut self, effect: Effect, now: Timestamp) -> BoxFuture<'static, Result<Option<MountedVolumes>, Fault>> {
        let (shared, pod) = (self.shared.clone(), self.pod.clone());
        match effect {
            Effect::Prepare => async move { lifecycle::prepare(&shared, &pod).await.map(Some) }.boxed(),
            Effect::RunSandbox { attempt, stop } => async move { lifecycle::run_sandbox(&shared, &pod, attempt, stop).await.map(|()| None) }.boxed(),
            Effect::StopSandbox { id } => async move { lifecycle::stop_sandbox(&shared, &pod, id).await.map(|()| None) }.boxed(),
            Effect::Start { name, attempt, sandbox, .. } => {
                let ended = self.runtime.latest(&name).filter(|seen| seen.exited()).and_then(|seen| view::time(seen.finished));
                if let Some(ended) = ended {
                    self.backoffs.next(&name, ended, now);
                }
                let (seen, volumes) = (self.runtime.clone(), self.volumes.clone().unwrap_or_default());
                let start = lifecycle::Start { name, attempt, sandbox, seen, volumes };
                async move { lifecycle::start(&shared, &pod, start).await.map(|()| None) }.boxed()
            }
            Effect::Kill { id, name, deadline, why } => {
                async move { lifecycle::kill(&shared, &pod, &id, &name, deadline, why).await.map(|()| None) }.boxed()
            }
            Effect::TearDown => async move { lifecycle::tear_down(&shared, pod::uid(&pod)).await.map(|()| None) }.boxed(),
            Effect::Delete => async move { api::delete(&shared, &pod).await.map(|()| None) }.boxed(),
            Effect::Forget => {
                let seen = self.runtime.clone();
                async move { lifecycle::forget(&shared, pod::uid(&pod), &seen).await.map(|()| None) }.boxed()
            }
        }
    }

    /// A pull that may take minutes must not hold up a Pod that ends.
    fn drop_starts_of_an_ending_pod(&mut self) {
        if !matches!(self.state, State::Terminating { .. } | State::Terminated { .. }) {
            return;
        }
        for (work, abort) in &self.aborts {
            if matches!(work, Work::Start(_) | Work::Prepare) {
                abort.abort();
            }
        }
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Observed(number, result) => self.observed(number, result),
            Done::Effect(work, result) => self.effect_done(work, result),
            Done::Aborted(work) => self.settle(work),
            Done::Probed(due, outcome) => self.probed(&due, outcome),
            Done::Refreshed(result) => {
                self.refreshing = false;
                match result {
                    Ok(volumes) => self.volumes = Some(volumes),
                    Err(fault) => tracing::warn!(pod = pod::describe(&self.pod), message = fault.waiting.message, "volumes could not be renewed"),
                }
            }
            Done::Written(result) => self.api.written(&self.pod, *result, now()),
            Done::Collected(result) => {
                self.collecting = false;
                match result {
                    Ok(()) => self.observations.wanted = true,
                    Err(error) => tracing::warn!(pod = pod::describe(&self.pod), %error, "old runs could not be removed"),
                }
            }
        }
    }

    /// The effect has ended; it is over once the runtime has been seen after it.
    fn settle(&mut self, work: Work) {
        self.aborts.remove(&work);
        self.settling.push((work, self.observations.begun + 1));
        self.observations.wanted = true;
    }

    fn effect_done(&mut self, work: Work, result: Result<Option<MountedVolumes>, Fault>) {
        let now = now();
        let key = format!("{work:?}");
        match result {
            Ok(volumes) => {
                self.retries.forget(&key);
                self.holds.remove(&work);
                match &work {
                    Work::Prepare => (self.volumes, self.refreshed) = (volumes, now),
                    Work::Start(name) => drop(self.faults.remove(name)),
                    Work::TearDown => (self.torn_down, self.volumes) = (true, None),
                    Work::Forget => self.forgotten = true,
                    Work::Delete => drop(self.holds.insert(work.clone(), now.saturating_add(DELETE_AGAIN).unwrap_or(Timestamp::MAX))),
                    Work::RunSandbox | Work::StopSandbox(_) | Work::Kill(_) => {}
                }
            }
            Err(fault) => {
                tracing::info!(
                    pod = pod::describe(&self.pod),
                    ?work,
                    reason = fault.waiting.reason,
                    message = fault.waiting.message,
                    "an effect failed"
                );
                self.retries.next(&key, now, now);
                let usual = self.retries.waits(&key, now, now).map_or(now, |(_, until)| until);
                self.holds.insert(work.clone(), fault.until.unwrap_or(usual));
                if let Work::Start(name) = &work {
                    let shown_until = now.saturating_add(PULL_ERROR_SHOWN).unwrap_or(Timestamp::MAX);
                    self.faults.insert(name.clone(), (fault.waiting, shown_until));
                }
            }
        }
        self.settle(work);
    }

    fn collect_garbage(&mut self) {
        let garbage: Garbage = garbage::of(&self.runtime);
        if self.collecting || garbage.is_empty() || !matches!(self.state, State::Initializing | State::Running) {
            return;
        }
        self.collecting = true;
        let (shared, pod) = (self.shared.clone(), self.pod.clone());
        self.in_flight.push(async move { Done::Collected(garbage::collect(shared, pod, garbage).await) }.boxed());
    }

    // Volumes

    /// Files made from objects are kept current while the Pod runs. Gives the next time to look.
    fn refresh_when_due(&mut self, now: Timestamp) -> Option<Timestamp> {
        let runs = matches!(self.state, State::Initializing | State::Running);
        if !runs || self.volumes.is_none() || self.refreshing {
            return None;
        }
        let due = self.refreshed.saturating_add(REFRESH).unwrap_or(Timestamp::MAX);
        if now < due {
            return Some(due);
        }
        self.refreshing = true;
        self.refreshed = now;
        let (shared, pod) = (self.shared.clone(), self.pod.clone());
        let ips = self.runtime.sandboxes.first().map(|sandbox| sandbox.ips.clone()).unwrap_or_default();
        self.in_flight.push(async move { Done::Refreshed(lifecycle::mount_volumes(&shared, &pod, &ips).await) }.boxed());
        None
    }

    // Probes

    fn run_probes(&mut self, now: Timestamp) {
        for due in self.board.take_due(&self.pod, &self.runtime, now) {
            let Some((_, container)) = pod::find(&self.pod, &due.container) else { continue };
            let Some(probe) = due.key.kind.of(&container).cloned() else { continue };
            let (shared, container) = (self.shared.clone(), container.into_owned());
            let ip = self.status.pod_ip.clone().unwrap_or_default();
            let work = async move {
                let outcome = probe::run::run(&*shared.runtime, &probe, &container, &due.key.id, &ip).await;
                Done::Probed(due, outcome)
            };
            self.in_flight.push(work.boxed());
        }
    }

    fn probed(&mut self, due: &Due, outcome: Outcome) {
        let Some((_, container)) = pod::find(&self.pod, &due.container) else { return };
        let Some(probe) = due.key.kind.of(&container) else { return };
        let word = due.key.kind.word();
        let event = |message: String| self.shared.container_event(&self.pod, &due.container, EventType::Warning, "Unhealthy", message);
        let result = match outcome {
            Outcome::Success => Some(true),
            Outcome::Failure(output) => {
                event(format!("{word} probe failed: {output}"));
                Some(false)
            }
            Outcome::Error(error) => {
                event(format!("{word} probe errored and resulted in unknown state: {error}"));
                None
            }
        };
        self.board.record(&due.key, probe, result, now());
    }

    // Telling

    fn note_crash_loops(&mut self, loops: &BTreeMap<String, SignedDuration>) {
        for (name, delay) in loops {
            let describe = pod::describe(&self.pod);
            let message = format!("back-off {} restarting failed container={name} pod={describe}", lifecycle::go_duration(*delay));
            self.faults.insert(name.clone(), (Waiting { reason: "CrashLoopBackOff".to_owned(), message }, Timestamp::UNIX_EPOCH));
            let run = self.runtime.latest(name).map(|seen| seen.id.clone()).unwrap_or_default();
            if self.told_backoff.insert(run) {
                let message = format!("Back-off restarting failed container {name} in pod {describe}");
                self.shared.container_event(&self.pod, name, EventType::Warning, "BackOff", message);
            }
        }
        // One run of each container is enough to remember.
        let runtime = &self.runtime;
        self.told_backoff.retain(|id| runtime.containers.iter().any(|seen| &seen.id == id));
    }

    /// Why containers wait, as the status shows it: a pull that failed shows so for a moment, and then that it waits.
    fn waiting(&self, now: Timestamp) -> BTreeMap<String, Waiting> {
        let shown = |name: &String, waiting: &Waiting, until: Timestamp| {
            if waiting.reason != "ErrImagePull" || now < until {
                return waiting.clone();
            }
            let image = pod::find(&self.pod, name).and_then(|(_, container)| container.image.clone()).unwrap_or_default();
            let message = format!("Back-off pulling image \"{image}\": ErrImagePull: {}", waiting.message);
            Waiting { reason: "ImagePullBackOff".to_owned(), message }
        };
        self.faults.iter().map(|(name, (waiting, until))| (name.clone(), shown(name, waiting, *until))).collect()
    }

    fn cause(&self) -> Option<&Cause> {
        match &self.state {
            State::Terminating { cause, .. } | State::Terminated { cause } => Some(cause),
            _ => None,
        }
    }

    fn is_ended(&self) -> bool {
        matches!(self.state, State::Terminated { .. } | State::Gone)
    }

    /// Computes the status, and writes what of it the API does not have. Gives when to try again.
    fn report(&mut self, now: Timestamp) -> Option<Timestamp> {
        if self.gone {
            return None;
        }
        let (waiting, fitness) = (self.waiting(now), self.board.fitness());
        self.status = status::pod_status(&Inputs {
            pod: &self.pod,
            old: &self.status,
            runtime: &self.runtime,
            rejected: self.rejected,
            cause: self.cause(),
            terminal: self.is_ended(),
            waiting: &waiting,
            fitness: &fitness,
            host_ips: &self.shared.host_ips,
            runtime_name: &self.shared.runtime_name,
            now,
        });
        let patch = status::patch(pod::uid(&self.pod), self.api.status(), &self.status)?;
        match self.api.may_write(now) {
            api::Turn::Now => {
                let (shared, pod, status) = (self.shared.clone(), self.pod.clone(), self.status.clone());
                self.api.began(status);
                self.in_flight.push(async move { Done::Written(Box::new(api::write(&shared, &pod, patch).await)) }.boxed());
                None
            }
            api::Turn::Busy => None,
            api::Turn::After(at) => Some(at),
        }
    }

    /// The API has the Pod's final status.
    fn is_reported(&self) -> bool {
        let terminal = matches!(self.api.status().phase.as_deref(), Some("Succeeded" | "Failed"));
        let told = || self.api.was_told(&self.status) || status::patch(pod::uid(&self.pod), self.api.status(), &self.status).is_none();
        self.is_ended() && terminal && told()
    }
}
