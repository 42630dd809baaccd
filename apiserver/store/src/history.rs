//! The changes that are still in memory: what a watch that resumes reads, and what an older snapshot is made from.
//!
//! It is bounded in bytes, and knows how far back it goes. What has left it is in the engine's log until that is compacted.

use crate::key::{Key, Range};
use crate::row::{Revision, Row};
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// One key's change at one revision, shared by all who watch it.
pub struct Change {
    pub key: Key,
    /// None when the key is new.
    pub old: Option<Arc<Row>>,
    /// None when the key was deleted.
    pub new: Option<Arc<Row>>,
    pub revision: Revision,
    frames: Mutex<Vec<(u32, Bytes)>>,
}

/// How many forms of one change are kept framed.
const FRAMES_MAX: usize = 8;

impl Change {
    pub fn new(key: Key, old: Option<Arc<Row>>, new: Option<Arc<Row>>, revision: Revision) -> Self {
        Self { key, old, new, revision, frames: Mutex::new(Vec::new()) }
    }

    /// The change as it goes over the wire in one form, made by the first watcher that needs it and shared by the others. Forms are numbered
    /// by the caller; the frames of changes that are no longer new are forgotten, and made again for a late watcher.
    pub fn frame(&self, form: u32, make: impl FnOnce() -> Bytes) -> Bytes {
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, bytes)) = frames.iter().find(|(known, _)| *known == form) {
            return bytes.clone();
        }
        let bytes = make();
        if frames.len() < FRAMES_MAX {
            frames.push((form, bytes.clone()));
        }
        bytes
    }

    fn forget_frames(&self) {
        *self.frames.lock().unwrap_or_else(PoisonError::into_inner) = Vec::new();
    }

    /// What the change alone keeps in memory: the old row. The new one counts when it has become an old one in its turn.
    fn weight(&self) -> u64 {
        CHANGE_BYTES + self.old.as_ref().map_or(0, |row| row.weight())
    }
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let was = self.old.as_ref().map(|row| row.modified);
        f.debug_struct("Change")
            .field("key", &self.key)
            .field("revision", &self.revision)
            .field("was", &was)
            .field("deleted", &self.new.is_none())
            .finish()
    }
}

/// A change itself and its places in the log.
const CHANGE_BYTES: u64 = 192;
/// Changes younger than this many keep their frames.
const FRAMED_CHANGES_MAX: usize = 512;

pub(crate) struct History {
    all: VecDeque<Arc<Change>>,
    /// The same by stem, so that a watcher of one resource need not walk the others' changes.
    by_stem: HashMap<Key, VecDeque<Arc<Change>>>,
    /// Every change above it is here.
    floor: Revision,
    /// The last revision that is in here, or was skipped over by an empty history.
    revision: Revision,
    bytes: u64,
    bytes_max: u64,
}

/// How far [`History::collect`] came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Collected {
    /// All there is, up to the last revision.
    All,
    /// Up to this revision; there may be more.
    UpTo(Revision),
    /// The history does not go back so far.
    Gone,
}

impl History {
    pub(crate) fn new(revision: Revision, bytes_max: u64) -> Self {
        Self { all: VecDeque::new(), by_stem: HashMap::new(), floor: revision, revision, bytes: 0, bytes_max }
    }

    pub(crate) fn floor(&self) -> Revision {
        self.floor
    }

    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn push(&mut self, change: Arc<Change>) {
        self.revision = change.revision;
        self.bytes += change.weight();
        let stem = stem(change.key.as_bytes());
        match self.by_stem.get_mut(stem) {
            Some(changes) => changes.push_back(change.clone()),
            None => {
                self.by_stem.insert(Key::new(stem), VecDeque::from([change.clone()]));
            }
        }
        self.all.push_back(change);
        if let Some(index) = self.all.len().checked_sub(FRAMED_CHANGES_MAX + 1) {
            self.all[index].forget_frames();
        }
    }

    /// Lets the oldest go until the limit is kept; whole revisions only.
    pub(crate) fn trim(&mut self) {
        while self.bytes > self.bytes_max
            && let Some(oldest) = self.all.front()
        {
            self.forget_through(oldest.revision);
        }
    }

    /// Lets go of every change up to `floor`, itself included.
    pub(crate) fn forget_through(&mut self, floor: Revision) {
        while let Some(change) = self.all.pop_front_if(|change| change.revision <= floor) {
            self.bytes -= change.weight();
            let stem = stem(change.key.as_bytes());
            if let Some(changes) = self.by_stem.get_mut(stem) {
                changes.pop_front();
                if changes.is_empty() {
                    self.by_stem.remove(stem);
                }
            }
        }
        self.floor = self.floor.max(floor);
    }

    /// Appends the range's changes after `after` to `out`: about `max` of them, and whole revisions only.
    pub(crate) fn collect(&self, range: &Range, after: Revision, max: usize, out: &mut VecDeque<Arc<Change>>) -> Collected {
        if after < self.floor {
            return Collected::Gone;
        }
        let log = match range_stem(range) {
            None => &self.all,
            Some(stem) => match self.by_stem.get(stem) {
                None => return Collected::All,
                Some(log) => log,
            },
        };
        let start = log.partition_point(|change| change.revision <= after);
        let mut taken = 0;
        let mut last = after;
        for change in log.range(start..) {
            if taken >= max && change.revision != last {
                return Collected::UpTo(last);
            }
            if range.contains(change.key.as_bytes()) {
                taken += 1;
                out.push_back(change.clone());
            }
            last = change.revision;
        }
        Collected::All
    }

    /// Every change after `after` up to `to`, oldest first. None when the history does not go back so far.
    pub(crate) fn between(&self, after: Revision, to: Revision) -> Option<Vec<Arc<Change>>> {
        (after >= self.floor).then(|| {
            let start = self.all.partition_point(|change| change.revision <= after);
            let end = self.all.partition_point(|change| change.revision <= to);
            self.all.range(start..end.max(start)).cloned().collect()
        })
    }
}

const STEM_SLASHES: usize = 3;

/// The key up to its third slash, which is a resource: `/registry/pods/default/web` → `/registry/pods/`.
fn stem(key: &[u8]) -> &[u8] {
    folder(key).unwrap_or(key)
}

fn folder(key: &[u8]) -> Option<&[u8]> {
    let slashes = key.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    let (end, _) = slashes.take(STEM_SLASHES).nth(STEM_SLASHES - 1)?;
    Some(&key[..=end])
}

/// The one stem that all of the range's keys have, if there is one.
fn range_stem(range: &Range) -> Option<&[u8]> {
    match range {
        Range::One(key) => Some(stem(key.as_bytes())),
        Range::Prefix(prefix) => folder(prefix.as_bytes()),
        Range::From(_) | Range::Between { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(key: &str, revision: u64) -> Arc<Change> {
        Arc::new(Change::new(Key::from(key), None, None, Revision(revision)))
    }

    fn history(changes: &[(&str, u64)], keep: u64) -> History {
        let mut history = History::new(Revision(10), keep * CHANGE_BYTES);
        for (key, revision) in changes {
            history.push(change(key, *revision));
        }
        history.trim();
        history
    }

    #[track_caller]
    fn check(history: &History, range: Range, after: u64, max: usize, expect: &[(&str, u64)], how: Collected) {
        let mut out = VecDeque::new();
        assert_eq!(history.collect(&range, Revision(after), max, &mut out), how);
        let got: Vec<(String, u64)> = out.iter().map(|change| (change.key.to_string(), change.revision.0)).collect();
        let expect: Vec<(String, u64)> = expect.iter().map(|(key, revision)| ((*key).to_owned(), *revision)).collect();
        assert_eq!(got, expect);
    }

    const LOG: [(&str, u64); 6] = [("/r/pods/a", 11), ("/r/nodes/n", 12), ("/r/pods/b", 13), ("/r/pods/c", 13), ("/r/pods/d", 14), ("/x", 15)];

    #[test]
    fn a_range_gets_its_own_changes_in_order() {
        let history = history(&LOG, 100);
        check(&history, Range::all(), 10, 100, &LOG, Collected::All);
        check(&history, Range::prefix("/r/"), 12, 100, &LOG[2..5], Collected::All);
        check(&history, Range::prefix("/r/pods/"), 11, 100, &LOG[2..5], Collected::All);
        check(&history, Range::prefix("/r/pods/b"), 10, 100, &LOG[2..3], Collected::All);
        check(&history, Range::one("/r/nodes/n"), 10, 100, &LOG[1..2], Collected::All);
        check(&history, Range::one("/x"), 10, 100, &LOG[5..6], Collected::All);
        check(&history, Range::prefix("/r/secrets/"), 10, 100, &[], Collected::All);
        check(&history, Range::From(Key::from("/r/pods/d")), 10, 100, &LOG[4..6], Collected::All);
        check(&history, Range::all(), 15, 100, &[], Collected::All);
    }

    #[test]
    fn a_revision_is_never_cut_in_two() {
        let history = history(&LOG, 100);
        check(&history, Range::prefix("/r/pods/"), 11, 1, &LOG[2..4], Collected::UpTo(Revision(13)));
        check(&history, Range::prefix("/r/pods/"), 13, 1, &LOG[4..5], Collected::All);
    }

    #[test]
    fn the_oldest_revisions_go_first_and_the_floor_says_so() {
        let history = history(&LOG, 3);
        assert_eq!(history.floor(), Revision(13));
        assert_eq!(history.by_stem.len(), 2);
        check(&history, Range::all(), 12, 100, &[], Collected::Gone);
        check(&history, Range::all(), 13, 100, &LOG[4..6], Collected::All);
        assert_eq!(history.bytes(), 2 * CHANGE_BYTES);
    }

    #[test]
    fn a_frame_is_made_once_for_all_watchers_of_a_form() {
        let change = change("/a", 1);
        assert_eq!(change.frame(1, || Bytes::from_static(b"json")), "json");
        assert_eq!(change.frame(1, || Bytes::from_static(b"again")), "json");
        assert_eq!(change.frame(2, || Bytes::from_static(b"protobuf")), "protobuf");
        change.forget_frames();
        assert_eq!(change.frame(1, || Bytes::from_static(b"again")), "again");
    }
}
