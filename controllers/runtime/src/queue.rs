//! Keys waiting to be looked at. A key is in the queue once however often it is added, and is worked on by one worker at a time.
//!
//! ```text
//!   add ──► ready ──► taken by a worker ──► done
//!             ▲            │ added meanwhile ──► ready again when done
//!   add_after ┘ (when due)
//! ```
//! It holds at most one entry per key, so it is bounded by the number of objects.

mod metrics;

use metrics::Metrics;
use rand::RngExt;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Wait after the first failure of a key; doubled with each further one.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(5);
pub const BACKOFF_MAX: Duration = Duration::from_secs(1000);

/// Cheap to clone; all clones are one queue.
pub struct Queue<K>(Arc<Inner<K>>);

impl<K> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

struct Inner<K> {
    state: Mutex<State<K>>,
    changed: Notify,
    metrics: Option<Metrics>,
}

struct State<K> {
    ready: VecDeque<K>,
    /// In `ready`, or to go there when done.
    dirty: HashMap<K, Instant>,
    working: HashSet<K>,
    due: HashMap<K, Instant>,
    timers: BinaryHeap<Reverse<(Instant, u64)>>,
    timer_keys: HashMap<u64, K>,
    timer_next: u64,
    failures: HashMap<K, u32>,
}

impl<K> Default for State<K> {
    fn default() -> Self {
        Self {
            ready: VecDeque::new(),
            dirty: HashMap::new(),
            working: HashSet::new(),
            due: HashMap::new(),
            timers: BinaryHeap::new(),
            timer_keys: HashMap::new(),
            timer_next: 0,
            failures: HashMap::new(),
        }
    }
}

impl<K: Clone + Eq + Hash> State<K> {
    /// Whether the key was not waiting already.
    fn add(&mut self, key: K) -> bool {
        if self.dirty.contains_key(&key) {
            return false;
        }
        self.dirty.insert(key.clone(), Instant::now());
        if !self.working.contains(&key) {
            self.ready.push_back(key);
        }
        true
    }

    /// Moves what is due to `ready`; gives when the next one is.
    fn ripen(&mut self, now: Instant) -> Option<Instant> {
        while let Some(Reverse((at, id))) = self.timers.peek().copied() {
            if at > now {
                return Some(at);
            }
            self.timers.pop();
            // A timer that a shorter one has overtaken is stale.
            if let Some(key) = self.timer_keys.remove(&id)
                && self.due.get(&key) == Some(&at)
            {
                self.due.remove(&key);
                self.add(key);
            }
        }
        None
    }
}

impl<K: Clone + Eq + Hash> Default for Queue<K> {
    fn default() -> Self {
        Self(Arc::new(Inner { state: Mutex::default(), changed: Notify::new(), metrics: None }))
    }
}

impl<K: Clone + Eq + Hash> Queue<K> {
    pub fn new() -> Self {
        Self::default()
    }

    /// A queue whose length and speed are reported under `name`.
    pub fn named(name: &str) -> Self {
        Self(Arc::new(Inner { state: Mutex::default(), changed: Notify::new(), metrics: Some(Metrics::new(name)) }))
    }

    fn measure(&self, what: impl FnOnce(&Metrics)) {
        if let Some(metrics) = &self.0.metrics {
            what(metrics);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.0.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn add(&self, key: K) {
        let (added, length) = {
            let mut state = self.lock();
            (state.add(key), state.ready.len())
        };
        if added {
            self.measure(|metrics| metrics.added(length));
        }
        self.0.changed.notify_one();
    }

    /// Of two waits for one key the shorter counts.
    pub fn add_after(&self, key: K, wait: Duration) {
        if wait.is_zero() {
            return self.add(key);
        }
        let at = Instant::now() + wait;
        let mut state = self.lock();
        if state.due.get(&key).is_some_and(|before| *before <= at) {
            return;
        }
        state.due.insert(key.clone(), at);
        let id = state.timer_next;
        state.timer_next += 1;
        state.timer_keys.insert(id, key);
        state.timers.push(Reverse((at, id)));
        drop(state);
        self.0.changed.notify_one();
    }

    /// After a failure: later each time, until [`Queue::forget`]. Gives the wait.
    pub fn add_after_failure(&self, key: K) -> Duration {
        let failures = {
            let mut state = self.lock();
            let failures = state.failures.entry(key.clone()).or_default();
            *failures += 1;
            *failures
        };
        self.measure(Metrics::retried);
        let wait = BACKOFF_FIRST.saturating_mul(1 << (failures - 1).min(20)).min(BACKOFF_MAX);
        let wait = wait.mul_f64(rand::rng().random_range(1.0..1.1));
        self.add_after(key, wait);
        wait
    }

    /// The key went well.
    pub fn forget(&self, key: &K) {
        self.lock().failures.remove(key);
    }

    /// How often the key has failed since it last went well.
    pub fn failures(&self, key: &K) -> u32 {
        self.lock().failures.get(key).copied().unwrap_or(0)
    }

    pub fn len(&self) -> usize {
        self.lock().ready.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits for a key; it is this worker's until the ticket is dropped.
    pub async fn next(&self) -> Ticket<K> {
        loop {
            let changed = self.0.changed.notified();
            let (key, due) = {
                let mut state = self.lock();
                let due = state.ripen(Instant::now());
                let key = state.ready.pop_front();
                if let Some(key) = &key {
                    let since = state.dirty.remove(key);
                    state.working.insert(key.clone());
                    self.measure(|metrics| metrics.taken(since.map(|since| since.elapsed()), state.ready.len()));
                    if !state.ready.is_empty() {
                        // Another worker may sleep through what was added together.
                        self.0.changed.notify_one();
                    }
                }
                (key, due)
            };
            match (key, due) {
                (Some(key), _) => return Ticket { queue: self.clone(), key, since: Instant::now() },
                (None, None) => changed.await,
                (None, Some(at)) => {
                    tokio::select! {
                        () = changed => {}
                        () = tokio::time::sleep_until(at) => {}
                    }
                }
            }
        }
    }
}

/// A key that a worker has.
pub struct Ticket<K: Clone + Eq + Hash> {
    queue: Queue<K>,
    key: K,
    since: Instant,
}

impl<K: Clone + Eq + Hash> std::ops::Deref for Ticket<K> {
    type Target = K;

    fn deref(&self) -> &K {
        &self.key
    }
}

impl<K: Clone + Eq + Hash> Drop for Ticket<K> {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.working.remove(&self.key);
        if state.dirty.contains_key(&self.key) {
            state.ready.push_back(self.key.clone());
        }
        let length = state.ready.len();
        drop(state);
        self.queue.measure(|metrics| metrics.done(self.since.elapsed(), length));
        self.queue.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn taken(queue: &Queue<&'static str>) -> Option<Ticket<&'static str>> {
        tokio::time::timeout(Duration::from_nanos(1), queue.next()).await.ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_in_the_queue_once_and_with_one_worker() {
        let queue = Queue::new();
        queue.add("a");
        queue.add("a");
        queue.add("b");
        let a = taken(&queue).await.unwrap();
        let b = taken(&queue).await.unwrap();
        assert_eq!((*a, *b), ("a", "b"));
        queue.add("a");
        assert!(taken(&queue).await.is_none(), "a is being worked on");
        drop(a);
        assert_eq!(*taken(&queue).await.unwrap(), "a");
        assert!(taken(&queue).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_waits_the_shorter_counts_and_the_key_comes_once() {
        let queue = Queue::new();
        let start = Instant::now();
        queue.add_after("a", Duration::from_secs(9));
        queue.add_after("a", Duration::from_secs(3));
        queue.add_after("a", Duration::from_secs(5));
        assert_eq!(*queue.next().await, "a");
        assert_eq!(start.elapsed().as_secs(), 3);
        assert!(tokio::time::timeout(Duration::from_secs(60), queue.next()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_wait_longer_each_time_and_are_forgotten() {
        let queue = Queue::new();
        let waits: Vec<Duration> = (0..24).map(|_| queue.add_after_failure("a")).collect();
        assert!(waits[0] < Duration::from_millis(6) && waits[1] >= Duration::from_millis(10), "{waits:?}");
        assert!(waits[23] >= BACKOFF_MAX && waits[23] <= BACKOFF_MAX.mul_f64(1.1));
        queue.forget(&"a");
        assert!(queue.add_after_failure("a") < Duration::from_millis(6));
    }

    #[tokio::test(start_paused = true)]
    async fn all_workers_wake_for_keys_added_together() {
        let queue = Queue::new();
        let workers: Vec<_> = (0..3).map(|_| queue.clone()).collect();
        let all = futures::future::join_all(workers.iter().map(|queue| async { *queue.next().await }));
        let add = async {
            tokio::task::yield_now().await;
            ["a", "b", "c"].into_iter().for_each(|key| queue.add(key));
            std::future::pending::<()>().await;
        };
        tokio::select! {
            mut keys = all => { keys.sort(); assert_eq!(keys, ["a", "b", "c"]); }
            () = add => {}
        }
    }
}
