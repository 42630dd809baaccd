//! The keyspace at one revision: consistent, immutable, taken in no time, and held as long as the reader likes.

use crate::key::{Key, Range};
use crate::row::{Revision, Row};
use imbl::OrdMap;
use std::ops::Bound;
use std::sync::Arc;

pub(crate) type Keyspace = OrdMap<Key, Arc<Row>>;

/// Cheap to clone. What it holds of the past costs memory for as long as it is kept.
#[derive(Clone)]
pub struct Snapshot(Arc<Published>);

pub(crate) struct Published {
    pub(crate) revision: Revision,
    pub(crate) map: Keyspace,
    /// What the rows weigh together.
    pub(crate) bytes: u64,
}

impl Snapshot {
    pub(crate) fn new(published: Arc<Published>) -> Self {
        Self(published)
    }

    pub(crate) fn published(&self) -> &Published {
        &self.0
    }

    pub(crate) fn map(&self) -> &Keyspace {
        &self.0.map
    }

    pub fn revision(&self) -> Revision {
        self.0.revision
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.0.map.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.map.is_empty()
    }

    /// What the rows weigh together, in bytes.
    pub fn weight(&self) -> u64 {
        self.0.bytes
    }

    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<&Arc<Row>> {
        self.0.map.get(key.as_ref())
    }

    /// The rows of the range, in key order from either end.
    pub fn range(&self, range: &Range) -> impl DoubleEndedIterator<Item = (&Key, &Arc<Row>)> + use<'_> {
        rows(&self.0.map, range.bounds())
    }

    /// The rows of the range from `start` on, itself included: what a continued list reads.
    pub fn range_from(&self, range: &Range, start: &Key) -> impl DoubleEndedIterator<Item = (&Key, &Arc<Row>)> + use<'_> {
        let (low, high) = range.bounds();
        let low = match low {
            Bound::Included(low) if low >= *start => low,
            _ => start.clone(),
        };
        let empty = match &high {
            Bound::Included(high) => low > *high,
            Bound::Excluded(high) => low >= *high,
            Bound::Unbounded => false,
        };
        let high = if empty { Bound::Excluded(low.clone()) } else { high };
        rows(&self.0.map, (Bound::Included(low), high))
    }

    /// How many keys the range holds; it walks them.
    pub fn count(&self, range: &Range) -> usize {
        match range {
            Range::One(key) => usize::from(self.0.map.contains_key(key)),
            Range::Prefix(prefix) if prefix.is_empty() => self.len(),
            _ => self.range(range).count(),
        }
    }
}

/// The rows of a map within bounds that do not cross.
pub(crate) fn rows(map: &Keyspace, bounds: (Bound<Key>, Bound<Key>)) -> impl DoubleEndedIterator<Item = (&Key, &Arc<Row>)> + use<'_> {
    map.range::<_, Key>(bounds)
}
