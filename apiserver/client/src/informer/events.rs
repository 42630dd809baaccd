//! What one subscriber has not seen yet: at most one change per object, so that a slow subscriber costs memory for each object once, misses states
//! in between, and never the last one.

use super::cache::Object;
use super::{ObjectKey, Running, typed};
use std::collections::{HashMap, VecDeque};
use std::marker::PhantomData;
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

/// A change of one object, or the end of the first list.
#[derive(Debug, Clone)]
pub enum Event<K> {
    Added(Arc<K>),
    Updated {
        old: Arc<K>,
        new: Arc<K>,
    },
    Deleted(Arc<K>),
    /// What was there at the start has been delivered. Comes once.
    Synced,
}

/// The changes of one kind, from [`super::Informer::subscribe`].
pub struct Events<K> {
    _running: Arc<Running>,
    queue: Arc<Queue>,
    kind: PhantomData<fn() -> K>,
}

impl<K: Send + Sync + 'static> Events<K> {
    pub(super) fn new(running: Arc<Running>, queue: Arc<Queue>) -> Self {
        Self { _running: running, queue, kind: PhantomData }
    }

    /// The next change; None when the process shuts down. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Event<K>> {
        loop {
            let notified = self.queue.notify.notified();
            match self.queue.pop() {
                Popped::Change(change) => {
                    if let Some(event) = event(change) {
                        return Some(event);
                    }
                }
                Popped::Synced => return Some(Event::Synced),
                Popped::Closed => return None,
                Popped::Empty => notified.await,
            }
        }
    }
}

fn event<K: Send + Sync + 'static>(change: Change) -> Option<Event<K>> {
    match change {
        Change::Added(new) => typed(new).map(Event::Added),
        Change::Updated { old, new } => Some(Event::Updated { old: typed(old)?, new: typed(new)? }),
        Change::Deleted(last) => typed(last).map(Event::Deleted),
        Change::Nothing | Change::Replaced { .. } => None,
    }
}

#[derive(Default)]
pub(super) struct Queue {
    pending: Mutex<Pending>,
    notify: Notify,
}

#[derive(Default)]
struct Pending {
    /// Each key once.
    order: VecDeque<Slot>,
    changes: HashMap<ObjectKey, Change>,
    closed: bool,
}

enum Slot {
    Key(ObjectKey),
    Synced,
}

pub(super) enum Change {
    /// Added and deleted before anyone looked. Its place in the order is kept for what comes next.
    Nothing,
    Added(Object),
    Updated {
        old: Object,
        new: Object,
    },
    Deleted(Object),
    /// Deleted, then added anew under the same name.
    Replaced {
        old: Object,
        new: Object,
    },
}

pub(super) enum Popped {
    Change(Change),
    Synced,
    Empty,
    Closed,
}

impl Queue {
    pub fn added(&self, key: &ObjectKey, new: Object) {
        self.merge(key, |before| match before {
            None | Some(Change::Nothing) => Change::Added(new),
            Some(Change::Deleted(old)) => Change::Replaced { old, new },
            Some(Change::Added(_)) => Change::Added(new),
            Some(Change::Updated { old, .. }) => Change::Updated { old, new },
            Some(Change::Replaced { old, .. }) => Change::Replaced { old, new },
        });
    }

    pub fn updated(&self, key: &ObjectKey, old: Object, new: Object) {
        self.merge(key, |before| match before {
            None => Change::Updated { old, new },
            Some(Change::Nothing | Change::Added(_)) => Change::Added(new),
            Some(Change::Updated { old, .. }) => Change::Updated { old, new },
            Some(Change::Deleted(old) | Change::Replaced { old, .. }) => Change::Replaced { old, new },
        });
    }

    pub fn deleted(&self, key: &ObjectKey, last: Object) {
        self.merge(key, |before| match before {
            None | Some(Change::Updated { .. }) => Change::Deleted(last),
            Some(Change::Nothing | Change::Added(_)) => Change::Nothing,
            Some(Change::Deleted(old) | Change::Replaced { old, .. }) => Change::Deleted(old),
        });
    }

    pub fn synced(&self) {
        self.lock().order.push_back(Slot::Synced);
        self.notify.notify_one();
    }

    pub fn close(&self) {
        self.lock().closed = true;
        self.notify.notify_one();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn merge(&self, key: &ObjectKey, with: impl FnOnce(Option<Change>) -> Change) {
        let mut pending = self.lock();
        let before = pending.changes.remove(key);
        if before.is_none() {
            pending.order.push_back(Slot::Key(key.clone()));
        }
        pending.changes.insert(key.clone(), with(before));
        drop(pending);
        self.notify.notify_one();
    }

    pub fn pop(&self) -> Popped {
        let mut pending = self.lock();
        while let Some(slot) = pending.order.pop_front() {
            let key = match slot {
                Slot::Synced => return Popped::Synced,
                Slot::Key(key) => key,
            };
            match pending.changes.remove(&key) {
                None | Some(Change::Nothing) => {}
                Some(Change::Replaced { old, new }) => {
                    pending.changes.insert(key.clone(), Change::Added(new));
                    pending.order.push_front(Slot::Key(key));
                    return Popped::Change(Change::Deleted(old));
                }
                Some(change) => return Popped::Change(change),
            }
        }
        if pending.closed { Popped::Closed } else { Popped::Empty }
    }
}
