//! Watches: who is told of a change, and what one watcher sees.
//!
//! ```text
//!            history reaches back to where it stands            end of history, under the lock
//!   Catching ────────────────────────────────────── chunk by chunk ───────────────────────────► Live
//!      │ ▲                                                                                        │ queue full
//!      ▼ │ memory reached                                                                         ▼
//!     Past (changes from the engine's log)  ── compacted ──────────────────────────────────►   Closed
//! ```
//! A watcher that is live has a queue of its own, which the writer fills; one that catches up reads the history itself, and costs the writer
//! nothing. Nothing is lost in between, since going live happens under the lock under which the writer appends to the history.

use crate::error::Compacted;
use crate::history::{Change, Collected, History};
use crate::key::{Key, Range};
use crate::past::PastChanges;
use crate::row::Revision;
use crate::shared::Shared;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// A watch has ended. What was returned before is all there was up to `resume_after`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("watch closed: {why}")]
pub struct Closed {
    /// Another watch may begin after this revision, and misses nothing.
    pub resume_after: Revision,
    pub why: Ending,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ending {
    /// It did not read as fast as its range changed.
    #[error("too slow")]
    Slow,
    /// What it had still to read was compacted.
    #[error(transparent)]
    Compacted(#[from] Compacted),
    /// The past could not be read from the engine.
    #[error("the past cannot be read")]
    Unreadable,
    /// The store was shut down, or does not lead any more.
    #[error("the store is closed")]
    StoreClosed,
}

/// What the writer and watchers share, under one lock.
pub(crate) struct Hub {
    pub(crate) history: History,
    live: Live,
    pub(crate) closed: bool,
}

impl Hub {
    pub(crate) fn new(history: History) -> Self {
        Self { history, live: Live::default(), closed: false }
    }

    /// Hands the changes to the history and to everybody who watches their keys.
    pub(crate) fn push(&mut self, changes: &[Arc<Change>], queue_events_max: usize) -> usize {
        let mut slow = 0;
        for change in changes {
            self.history.push(change.clone());
            self.live.each(change.key.as_bytes(), |slot| slow += usize::from(slot.push(change, queue_events_max)));
        }
        self.history.trim();
        slow
    }

    pub(crate) fn close(&mut self) {
        self.closed = true;
        self.live.all(|slot| slot.close(Ending::StoreClosed));
    }
}

/// The live watchers, found by key: a change visits those whose range holds it, and nobody else.
#[derive(Default)]
struct Live {
    ones: HashMap<Key, Vec<Arc<Slot>>>,
    prefixes: HashMap<Key, Vec<Arc<Slot>>>,
    /// How many prefixes there are of each length, so that a key is looked up once for each length.
    prefix_lengths: BTreeMap<usize, usize>,
    spans: Vec<(Range, Arc<Slot>)>,
}

impl Live {
    fn each(&self, key: &[u8], mut visit: impl FnMut(&Arc<Slot>)) {
        if let Some(slots) = self.ones.get(key) {
            slots.iter().for_each(&mut visit);
        }
        for length in self.prefix_lengths.keys().take_while(|length| **length <= key.len()) {
            if let Some(slots) = self.prefixes.get(&key[..*length]) {
                slots.iter().for_each(&mut visit);
            }
        }
        self.spans.iter().filter(|(range, _)| range.contains(key)).for_each(|(_, slot)| visit(slot));
    }

    fn all(&self, mut visit: impl FnMut(&Arc<Slot>)) {
        self.ones.values().chain(self.prefixes.values()).flatten().for_each(&mut visit);
        self.spans.iter().for_each(|(_, slot)| visit(slot));
    }

    fn add(&mut self, range: &Range, slot: Arc<Slot>) {
        match range {
            Range::One(key) => self.ones.entry(key.clone()).or_default().push(slot),
            Range::Prefix(prefix) => {
                let slots = self.prefixes.entry(prefix.clone()).or_default();
                if slots.is_empty() {
                    *self.prefix_lengths.entry(prefix.len()).or_default() += 1;
                }
                slots.push(slot);
            }
            Range::From(_) | Range::Between { .. } => self.spans.push((range.clone(), slot)),
        }
    }

    fn remove(&mut self, range: &Range, slot: &Arc<Slot>) {
        match range {
            Range::One(key) => {
                take_out(&mut self.ones, key, slot);
            }
            Range::Prefix(prefix) => {
                if take_out(&mut self.prefixes, prefix, slot)
                    && let Some(count) = self.prefix_lengths.get_mut(&prefix.len())
                {
                    *count -= 1;
                    if *count == 0 {
                        self.prefix_lengths.remove(&prefix.len());
                    }
                }
            }
            Range::From(_) | Range::Between { .. } => self.spans.retain(|(_, other)| !Arc::ptr_eq(other, slot)),
        }
    }
}

/// Takes a slot out of a group, and says whether that was the last of it.
fn take_out(groups: &mut HashMap<Key, Vec<Arc<Slot>>>, key: &Key, slot: &Arc<Slot>) -> bool {
    let Some(slots) = groups.get_mut(key) else { return false };
    if let Some(index) = slots.iter().position(|other| Arc::ptr_eq(other, slot)) {
        slots.swap_remove(index);
    }
    let empty = slots.is_empty();
    if empty {
        groups.remove(key);
    }
    empty
}

/// A live watcher's queue.
struct Slot(Mutex<Queue>);

struct Queue {
    changes: VecDeque<Arc<Change>>,
    /// Only what comes after it is wanted.
    after: Revision,
    /// The last revision that was put in; everything of the range up to it was.
    through: Revision,
    ending: Option<Ending>,
    waker: Option<Waker>,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says whether this closed the watch. A revision that has begun is finished, so that the watch can be resumed after it.
    fn push(&self, change: &Arc<Change>, events_max: usize) -> bool {
        let mut queue = self.lock();
        if queue.ending.is_some() || change.revision <= queue.after {
            return false;
        }
        let slow = queue.changes.len() >= events_max && change.revision != queue.through;
        if slow {
            queue.ending = Some(Ending::Slow);
        } else {
            queue.through = change.revision;
            queue.changes.push_back(change.clone());
        }
        if let Some(waker) = queue.waker.take() {
            waker.wake();
        }
        slow
    }

    fn close(&self, ending: Ending) {
        let mut queue = self.lock();
        queue.ending.get_or_insert(ending);
        if let Some(waker) = queue.waker.take() {
            waker.wake();
        }
    }
}

/// A watch of a range. It does nothing by itself: who holds it calls [`Watch::next`].
pub struct Watch {
    shared: Arc<Shared>,
    range: Range,
    phase: Phase,
    /// Taken from the queue or the history, not yet returned.
    ready: VecDeque<Arc<Change>>,
    /// Where the watch began.
    after: Revision,
}

enum Phase {
    /// Everything up to this revision has been taken.
    Catching(Revision),
    Past(PastChanges),
    Live(Arc<Slot>),
    Closed(Closed),
}

/// Changes that a watcher takes out of the history under one lock.
const CHUNK_EVENTS: usize = 512;
/// A buffer that has grown beyond this is given back once it is empty.
const IDLE_EVENTS: usize = 32;

impl Watch {
    pub(crate) fn new(shared: Arc<Shared>, range: Range, after: Revision) -> Self {
        Self { shared, range, phase: Phase::Catching(after), ready: VecDeque::new(), after }
    }

    pub fn range(&self) -> &Range {
        &self.range
    }

    /// The next change of the range, in order of revision. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Arc<Change>, Closed> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// What is there already, without waiting.
    pub fn try_next(&mut self) -> Option<Result<Arc<Change>, Closed>> {
        match self.poll_next(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(next) => Some(next),
            Poll::Pending => None,
        }
    }

    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Arc<Change>, Closed>> {
        loop {
            if let Some(change) = self.ready.pop_front() {
                return Poll::Ready(Ok(change));
            }
            match &mut self.phase {
                Phase::Closed(closed) => return Poll::Ready(Err(*closed)),
                Phase::Catching(position) => {
                    let position = *position;
                    self.catch_up(position);
                }
                Phase::Past(past) => match past.poll_chunk(cx, &mut self.ready) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(position)) => {
                        if let Some(position) = position {
                            self.phase = Phase::Catching(position);
                        }
                    }
                    Poll::Ready(Err(why)) => {
                        let resume_after = past.position();
                        self.phase = Phase::Closed(Closed { resume_after, why });
                    }
                },
                Phase::Live(slot) => {
                    let mut queue = slot.lock();
                    if queue.changes.is_empty() {
                        if let Some(why) = queue.ending {
                            let resume_after = queue.through;
                            drop(queue);
                            self.end(Closed { resume_after, why });
                            continue;
                        }
                        if !queue.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                            queue.waker = Some(cx.waker().clone());
                        }
                        return Poll::Pending;
                    }
                    std::mem::swap(&mut queue.changes, &mut self.ready);
                    if queue.changes.capacity() > IDLE_EVENTS {
                        queue.changes = VecDeque::new();
                    }
                }
            }
        }
    }

    /// Takes a chunk out of the history; at its end the watch goes live.
    fn catch_up(&mut self, position: Revision) {
        let shared = self.shared.clone();
        let mut hub = shared.hub();
        if hub.closed {
            self.phase = Phase::Closed(Closed { resume_after: position, why: Ending::StoreClosed });
            return;
        }
        self.phase = match hub.history.collect(&self.range, position, CHUNK_EVENTS, &mut self.ready) {
            Collected::UpTo(position) => Phase::Catching(position),
            Collected::Gone => {
                drop(hub);
                match shared.check_floor(position) {
                    Ok(()) => Phase::Past(shared.past_changes(self.range.clone(), position)),
                    Err(compacted) => Phase::Closed(Closed { resume_after: position, why: compacted.into() }),
                }
            }
            Collected::All => {
                let after = position.max(hub.history.revision());
                let queue = Queue { changes: VecDeque::new(), after, through: after, ending: None, waker: None };
                let slot = Arc::new(Slot(Mutex::new(queue)));
                hub.live.add(&self.range, slot.clone());
                Phase::Live(slot)
            }
        };
    }

    fn end(&mut self, closed: Closed) {
        self.leave();
        self.phase = Phase::Closed(closed);
    }

    fn leave(&mut self) {
        if let Phase::Live(slot) = &self.phase {
            self.shared.hub().live.remove(&self.range, slot);
        }
    }

    /// Every change of the range up to this revision has been returned by [`Watch::next`]: what a bookmark may say. It advances with writes
    /// elsewhere, and reading it costs nothing to anybody.
    pub fn progress(&self) -> Revision {
        // Read before the queue: what is delivered by then is in the queue, or was taken from it.
        let delivered = self.shared.delivered();
        let done = match self.ready.front() {
            Some(change) => change.revision.before(),
            None => match &self.phase {
                Phase::Catching(position) => *position,
                Phase::Past(past) => past.position(),
                Phase::Closed(closed) => closed.resume_after,
                Phase::Live(slot) => {
                    let queue = slot.lock();
                    match (queue.changes.front(), queue.ending) {
                        (Some(change), _) => change.revision.before(),
                        (None, Some(_)) => queue.through,
                        (None, None) => delivered,
                    }
                }
            },
        };
        done.max(self.after)
    }

    /// Waits until the store has reached `revision` and everything of the range up to it waits here or was returned. With nothing ready,
    /// [`Watch::progress`] is then at least `revision`.
    pub async fn reached(&self, revision: Revision) -> Result<(), Closed> {
        let mut current = self.shared.current();
        let reached = current.wait_for(|current| *current >= revision).await.is_ok();
        if reached { Ok(()) } else { Err(Closed { resume_after: self.progress(), why: Ending::StoreClosed }) }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.leave();
        self.shared.watches.fetch_sub(1, Ordering::Relaxed);
        self.shared.metrics.watches.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With its share of the index and of an empty queue, an idle watch stays far below 4 KiB.
    #[test]
    fn an_idle_watch_is_small() {
        assert!(size_of::<Watch>() + size_of::<Slot>() + size_of::<Range>() < 512);
    }

    #[test]
    fn a_key_visits_only_the_watchers_of_its_ranges() {
        let mut live = Live::default();
        let slot = || {
            let queue = Queue { changes: VecDeque::new(), after: Revision::ZERO, through: Revision::ZERO, ending: None, waker: None };
            Arc::new(Slot(Mutex::new(queue)))
        };
        let ranges = [Range::one("/a/b"), Range::prefix("/a/"), Range::prefix("/b/"), Range::prefix(""), Range::From(Key::from("/a/c"))];
        let slots: Vec<_> = ranges.iter().map(|_| slot()).collect();
        for (range, slot) in ranges.iter().zip(&slots) {
            live.add(range, slot.clone());
        }
        let visited = |live: &Live, key: &str| {
            let mut indexes = Vec::new();
            live.each(key.as_bytes(), |slot| indexes.extend(slots.iter().position(|other| Arc::ptr_eq(other, slot))));
            indexes.sort_unstable();
            indexes
        };
        assert_eq!(visited(&live, "/a/b"), [0, 1, 3]);
        assert_eq!(visited(&live, "/a/bc"), [1, 3]);
        assert_eq!(visited(&live, "/b/a"), [2, 3, 4]);
        assert_eq!(visited(&live, "/"), [3]);
        for (range, slot) in ranges.iter().zip(&slots) {
            live.remove(range, slot);
        }
        assert!(live.ones.is_empty() && live.prefixes.is_empty() && live.prefix_lengths.is_empty() && live.spans.is_empty());
    }
}
