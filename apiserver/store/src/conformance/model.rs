//! Random work through a whole store, compared at every revision with a model that is too simple to be wrong.

use super::Subject;
use crate::{
    AtError, CommitError, Compare, Config, Draft, Facts, Generation, Key, Lease, Limits, Op, Range, Revision, ServerId, Snapshot, Store, Str, Txn,
};
use apiserver_component::{Shutdown, Tasks};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};
use std::collections::BTreeMap;
use std::time::Duration;

/// In key order, as a revocation deletes them.
const KEYS: [&str; 6] = ["/r/nodes/a", "/r/pods/a", "/r/pods/b", "/r/pods/b/c", "/x", "opaque"];
const TEXTS: u8 = 3;

#[derive(Clone, Debug)]
enum Step {
    Txn {
        compares: Vec<(usize, Holds)>,
        puts: Vec<Put>,
    },
    /// Compacts up to this share, in percent, of what is not compacted.
    Compact(u8),
    Reopen,
    /// Every revision is read, in this order of residues, and watched from.
    ReadAll,
    Grant,
    /// Puts a key with the newest lease, if there is one.
    Attach(usize),
    Revoke,
    /// The next append's answer is lost.
    Lose {
        landed: bool,
    },
}

/// What a compare claims of its key.
#[derive(Clone, Copy, Debug)]
enum Holds {
    Absent,
    Exists,
    /// Modified at its true revision, or at another.
    Modified(bool),
}

/// A key and the text to put there; none deletes it.
type Put = (usize, Option<u8>);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let holds = prop_oneof![Just(Holds::Absent), Just(Holds::Exists), any::<bool>().prop_map(Holds::Modified)];
    let put = (0..KEYS.len(), prop::option::weighted(0.7, 0..TEXTS));
    let txn = (vec((0..KEYS.len(), holds), 0..2), vec(put, 1..4)).prop_map(|(compares, puts)| Step::Txn { compares, puts });
    let step = prop_oneof![
        30 => txn,
        2 => (0..=100u8).prop_map(Step::Compact),
        2 => Just(Step::Reopen),
        2 => Just(Step::ReadAll),
        1 => Just(Step::Grant),
        2 => (0..KEYS.len()).prop_map(Step::Attach),
        1 => Just(Step::Revoke),
        1 => any::<bool>().prop_map(|landed| Step::Lose { landed }),
    ];
    vec(step, 1..60)
}

/// Runs the property `cases` times, each on a subject of its own.
#[expect(clippy::panic, reason = "it is a test")]
pub fn run<S: Subject>(subject: impl Fn() -> S, cases: u32) {
    let mut runner = TestRunner::new(Cases { cases, failure_persistence: None, ..Cases::default() });
    let input = (steps(), prop_oneof![Just(0u64), Just(2_000), Just(1 << 20)]);
    let outcome = runner.run(&input, |(steps, history_bytes_max)| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let limits = Limits { history_bytes_max, ..Limits::default() };
            let mut world = World::new(subject(), limits).await;
            for step in steps {
                world.step(step).await;
            }
            world.step(Step::ReadAll).await;
            world.step(Step::Reopen).await;
            world.step(Step::ReadAll).await;
        });
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

/// A row as the model knows it: text, revisions of creation and change, version, lease.
type Cell = (String, u64, u64, u64, i64);
type State = BTreeMap<String, Cell>;

#[derive(Clone, Debug, Default)]
struct Model {
    /// By revision; the last is current.
    states: Vec<State>,
    /// Key, what it was modified at before, whether it was deleted, at which revision.
    events: Vec<(String, Option<u64>, bool, u64)>,
    floor: u64,
    leases: Vec<i64>,
}

impl Model {
    fn revision(&self) -> u64 {
        self.states.len() as u64 - 1
    }

    fn current(&self) -> &State {
        &self.states[self.states.len() - 1]
    }

    /// At one revision, unless nothing changes.
    fn apply(&mut self, puts: &[(usize, Option<u8>, i64)]) {
        let (mut state, at) = (self.current().clone(), self.revision() + 1);
        let mut events = Vec::new();
        for (index, text, lease) in puts {
            let key = KEYS[*index].to_owned();
            let old = state.get(&key).cloned();
            let before = old.as_ref().map(|cell| cell.2);
            match text {
                None => {
                    if state.remove(&key).is_some() {
                        events.push((key, before, true, at));
                    }
                }
                Some(text) => {
                    let text = stored(&key, *text, at);
                    let unchanged = old.as_ref().is_some_and(|old| old.4 == *lease && key != "opaque" && strip(&old.0, old.2) == strip(&text, at));
                    if !unchanged {
                        let (create, version) = old.map_or((at, 1), |old| (old.1, old.3 + 1));
                        state.insert(key.clone(), (text, create, at, version, *lease));
                        events.push((key, before, false, at));
                    }
                }
            }
        }
        if !events.is_empty() {
            self.states.push(state);
            self.events.extend(events);
        }
    }

    fn holds(&self, index: usize, holds: Holds) -> bool {
        let cell = self.current().get(KEYS[index]);
        match holds {
            Holds::Absent => cell.is_none(),
            Holds::Exists => cell.is_some(),
            Holds::Modified(truly) => truly && cell.is_some(),
        }
    }
}

/// What is stored at `revision` for a text.
fn stored(key: &str, text: u8, revision: u64) -> String {
    if key == "opaque" { text.to_string() } else { format!(r#"{{"metadata":{{"name":"a","resourceVersion":"{revision}"}},"t":{text}}}"#) }
}

fn strip(stored: &str, revision: u64) -> String {
    stored.replace(&format!(r#","resourceVersion":"{revision}""#), "")
}

fn draft(key: &str, text: u8) -> Draft {
    match key {
        "opaque" => Draft::Opaque(Bytes::from(text.to_string())),
        _ => {
            let json = format!(r#"{{"metadata":{{"name":"a"}},"t":{text}}}"#).into_bytes();
            Draft::Object { json, gap: 23, protobuf: None, schema: Generation(1) }
        }
    }
}

fn put_op(index: usize, text: u8, lease: Lease) -> Op {
    let facts = Facts { labels: Box::from([(Str::from("text"), Str::from(text.to_string()))]), ..Facts::default() };
    Op::Put { key: Key::from(KEYS[index]), value: draft(KEYS[index], text), facts, lease }
}

struct World<S: Subject> {
    subject: S,
    limits: Limits,
    store: Store,
    tasks: Tasks,
    model: Model,
    /// What the next commit that appends does.
    lost: Option<bool>,
}

impl<S: Subject> World<S> {
    async fn new(subject: S, limits: Limits) -> Self {
        let (store, tasks) = open(&subject, &limits).await;
        Self { subject, limits, store, tasks, model: Model { states: vec![State::new()], ..Model::default() }, lost: None }
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Txn { compares, puts } => self.txn(&compares, puts).await,
            Step::Compact(percent) => self.compact(percent).await,
            Step::Reopen => self.reopen().await,
            Step::ReadAll => self.read_all().await,
            Step::Grant if self.lost.is_none() => {
                let lease = self.store.grant(None, Duration::from_secs(3_600)).await.expect("a lease");
                self.model.leases.push(lease.0);
            }
            Step::Attach(index) if self.lost.is_none() => {
                if let Some(lease) = self.model.leases.last().copied() {
                    let txn = Txn::new(vec![], vec![put_op(index, 0, Lease(lease))]);
                    self.model.apply(&[(index, Some(0), lease)]);
                    self.store.commit(txn).await.expect("committed");
                }
            }
            Step::Revoke if self.lost.is_none() => {
                if let Some(lease) = self.model.leases.pop() {
                    let held = (0..KEYS.len()).filter(|index| self.model.current().get(KEYS[*index]).is_some_and(|cell| cell.4 == lease));
                    let deletes: Vec<_> = held.map(|index| (index, None, 0)).collect();
                    self.model.apply(&deletes);
                    self.store.revoke(Lease(lease)).await.expect("revoked");
                }
            }
            Step::Grant | Step::Attach(_) | Step::Revoke => {}
            Step::Lose { landed } => {
                if self.lost.is_none() {
                    self.subject.lose_answer(landed);
                    self.lost = Some(landed);
                }
            }
        }
        assert_eq!(self.store.revision().0, self.model.revision());
        self.compare(&self.store.snapshot());
    }

    async fn txn(&mut self, compares: &[(usize, Holds)], puts: Vec<Put>) {
        let mut seen = std::collections::HashSet::new();
        let puts: Vec<Put> = puts.into_iter().filter(|(index, _)| seen.insert(*index)).collect();
        let claims = compares.iter().map(|(index, holds)| {
            let key = Key::from(KEYS[*index]);
            match holds {
                Holds::Absent => Compare::Absent(key),
                Holds::Exists => Compare::Exists(key),
                Holds::Modified(truly) => {
                    let modified = self.model.current().get(KEYS[*index]).map_or(0, |cell| cell.2);
                    Compare::Modified { key, is: Revision(if *truly { modified } else { modified + 1 }) }
                }
            }
        });
        let ops = puts.iter().map(|(index, text)| match text {
            Some(text) => put_op(*index, *text, Lease::NONE),
            None => Op::Delete { key: Key::from(KEYS[*index]) },
        });
        let result = self.store.commit(Txn::new(claims.collect(), ops.collect())).await;
        let failing = compares.iter().position(|(index, holds)| !self.model.holds(*index, *holds));
        let mut after = self.model.clone();
        after.apply(&puts.iter().map(|(index, text)| (*index, *text, 0)).collect::<Vec<_>>());
        let appends = failing.is_none() && after.revision() > self.model.revision();
        let lost = if appends { self.lost.take() } else { None };
        match (failing, lost) {
            (Some(failing), _) => assert!(matches!(result, Err(CommitError::Conflict { compare, .. }) if compare == failing), "{result:?}"),
            (None, Some(false)) => assert!(matches!(result, Err(CommitError::Append(_))), "{result:?}"),
            (None, _) => {
                self.model = after;
                assert_eq!(result.expect("committed").revision.0, self.model.revision());
            }
        }
    }

    async fn compact(&mut self, percent: u8) {
        let floor = self.model.floor + (self.model.revision() - self.model.floor) * u64::from(percent) / 100;
        let compacted = self.store.compact(Revision(floor)).await;
        assert_eq!(compacted.is_ok(), floor > self.model.floor);
        self.model.floor = floor;
    }

    async fn reopen(&mut self) {
        self.tasks.shutdown().fire();
        self.tasks.join().await;
        (self.store, self.tasks) = open(&self.subject, &self.limits).await;
        assert_eq!(self.store.floor().0, self.model.floor);
        let mut leases = self.model.leases.clone();
        leases.sort_unstable();
        assert_eq!(self.store.leases().await.expect("open"), leases.into_iter().map(Lease).collect::<Vec<_>>());
    }

    async fn read_all(&self) {
        for revision in 0..=self.model.revision() + 1 {
            let read = self.store.at(Revision(revision)).await;
            if revision < self.model.floor {
                assert!(matches!(read, Err(AtError::Compacted(_))));
                assert!(self.store.watch(Range::all(), Revision(revision)).is_err());
            } else if revision > self.model.revision() {
                assert!(matches!(read, Err(AtError::Future { .. })));
            } else {
                self.compare(&read.expect("it can be read"));
                for prefix in ["", "/r/pods/", "/r/", "/x", "o"] {
                    self.watch_from(prefix, revision).await;
                }
            }
        }
    }

    async fn watch_from(&self, prefix: &str, after: u64) {
        let mut watch = self.store.watch(Range::prefix(prefix), Revision(after)).expect("a watch");
        for (key, was, deleted, at) in self.model.events.iter().filter(|(key, _, _, at)| *at > after && key.starts_with(prefix)) {
            let change = watch.next().await.expect("a change");
            let got = (change.key.to_string(), change.old.as_ref().map(|row| row.modified.0), change.new.is_none(), change.revision.0);
            assert_eq!(got, (key.clone(), *was, *deleted, *at), "{prefix:?} after {after}");
        }
        // What comes from the engine says that it has ended only when it is asked again.
        while watch.progress().0 < self.model.revision() {
            assert!(watch.try_next().is_none(), "more than the model has");
            tokio::task::yield_now().await;
        }
    }

    fn compare(&self, snapshot: &Snapshot) {
        let rows = snapshot.range(&Range::all()).map(|(key, row)| {
            let text = String::from_utf8_lossy(row.bytes()).into_owned();
            (key.to_string(), (text, row.create.0, row.modified.0, row.version, row.lease.0))
        });
        assert_eq!(rows.collect::<State>(), self.model.states[snapshot.revision().0 as usize], "at {}", snapshot.revision());
        let weight: u64 = snapshot.range(&Range::all()).map(|(_, row)| row.weight()).sum();
        assert_eq!(snapshot.weight(), weight);
    }
}

async fn open<S: Subject>(subject: &S, limits: &Limits) -> (Store, Tasks) {
    let tasks = Tasks::new(Shutdown::new());
    let config = Config { limits: limits.clone(), ..Config::new(ServerId(Str::from("model"))) };
    let store = Store::open(subject.open().await, config, &tasks).await.expect("it opens");
    (store, tasks)
}
