//! What the handles, the watches and the writer have in common. Only the writer changes it.

use crate::config::Limits;
use crate::error::Compacted;
use crate::history::{Change, History};
use crate::key::Range;
use crate::metrics::Metrics;
use crate::past::{Past, PastChanges};
use crate::row::Revision;
use crate::snapshot::{Published, Snapshot};
use crate::watch::Hub;
use crate::{engine::Epoch, failpoint};
use arc_swap::ArcSwap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

pub(crate) struct Shared {
    pub(crate) limits: Limits,
    pub(crate) epoch: Epoch,
    published: ArcSwap<Published>,
    /// The same revision, for those who wait for it. Set when watchers have been told.
    current: watch::Sender<Revision>,
    hub: Mutex<Hub>,
    /// What all watchers have been told of.
    delivered: AtomicU64,
    floor: AtomicU64,
    pub(crate) past: Box<dyn Past>,
    /// Former states that were asked for lately, since who reads one page of a list reads the next. Most recently used last.
    former: Mutex<Vec<Snapshot>>,
    pub(crate) watches: AtomicUsize,
    pub(crate) metrics: Metrics,
}

const FORMER_STATES_MAX: usize = 8;

impl Shared {
    pub(crate) fn new(limits: Limits, epoch: Epoch, published: Published, history: History, floor: Revision, past: Box<dyn Past>) -> Self {
        let revision = published.revision;
        Self {
            limits,
            epoch,
            published: ArcSwap::from_pointee(published),
            current: watch::Sender::new(revision),
            hub: Mutex::new(Hub::new(history)),
            delivered: AtomicU64::new(revision.0),
            floor: AtomicU64::new(floor.0),
            past,
            former: Mutex::default(),
            watches: AtomicUsize::new(0),
            metrics: Metrics::default(),
        }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.published.load_full())
    }

    pub(crate) fn hub(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn current(&self) -> watch::Receiver<Revision> {
        self.current.subscribe()
    }

    pub(crate) fn delivered(&self) -> Revision {
        Revision(self.delivered.load(Ordering::Acquire))
    }

    pub(crate) fn floor(&self) -> Revision {
        Revision(self.floor.load(Ordering::Acquire))
    }

    pub(crate) fn check_floor(&self, revision: Revision) -> Result<(), Compacted> {
        let floor = self.floor();
        if revision < floor { Err(Compacted { floor }) } else { Ok(()) }
    }

    /// Makes a durable batch visible. Readers come first, so that who is told of a change can read it; all of it happens under the lock that
    /// a watch takes to begin, so that none falls between.
    pub(crate) fn apply(&self, published: Published, changes: &[Arc<Change>]) {
        let revision = published.revision;
        let weight = published.bytes;
        let mut hub = self.hub();
        self.published.store(Arc::new(published));
        failpoint::hit(failpoint::AFTER_APPLY_BEFORE_NOTIFY);
        let slow = hub.push(changes, self.limits.watch_queue_events_max);
        self.delivered.store(revision.0, Ordering::Release);
        let history_bytes = hub.history.bytes();
        drop(hub);
        self.current.send_if_modified(|current| std::mem::replace(current, revision) != revision);
        self.metrics.slow_watches.inc_by(slow as u64);
        self.metrics.keyspace_bytes.set(weight as i64);
        self.metrics.history_bytes.set(history_bytes as i64);
        self.metrics.revision.set(revision.0 as i64);
    }

    pub(crate) fn raise_floor(&self, floor: Revision) {
        self.floor.fetch_max(floor.0, Ordering::AcqRel);
        self.hub().history.forget_through(floor);
        self.former().retain(|snapshot| snapshot.revision() >= floor);
    }

    /// No watcher is told anything any more.
    pub(crate) fn close(&self) {
        self.hub().close();
    }

    fn former(&self) -> MutexGuard<'_, Vec<Snapshot>> {
        self.former.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A former state from memory: the nearest newer one that is there, rolled back. None when the history does not go back so far.
    pub(crate) fn roll_back(&self, at: Revision) -> Option<Snapshot> {
        let base = {
            let mut former = self.former();
            let nearest = (0..former.len()).filter(|index| former[*index].revision() >= at).min_by_key(|index| former[*index].revision());
            match nearest {
                None => self.snapshot(),
                Some(index) => {
                    let base = former.remove(index);
                    former.push(base.clone());
                    base
                }
            }
        };
        if base.revision() == at {
            return Some(base);
        }
        let changes = self.hub().history.between(at, base.revision())?;
        let (mut map, mut bytes) = (base.map().clone(), base.weight());
        for change in changes.iter().rev() {
            let undone = match &change.old {
                Some(old) => {
                    bytes += old.weight();
                    map.insert(change.key.clone(), old.clone())
                }
                None => map.remove(&change.key),
            };
            bytes = bytes.saturating_sub(undone.map_or(0, |row| row.weight()));
        }
        Some(self.keep_former(Published { revision: at, map, bytes }))
    }

    pub(crate) fn keep_former(&self, state: Published) -> Snapshot {
        let snapshot = Snapshot::new(Arc::new(state));
        let mut former = self.former();
        if former.len() >= FORMER_STATES_MAX {
            former.remove(0);
        }
        former.push(snapshot.clone());
        snapshot
    }

    pub(crate) fn past_changes(&self, range: Range, after: Revision) -> PastChanges {
        let to = self.hub().history.floor();
        self.past.changes(range, after, to, self.snapshot())
    }
}
