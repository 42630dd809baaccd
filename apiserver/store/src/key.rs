//! Keys and ranges of them. Order is that of bytes; nothing here knows what a path means.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

/// A key: bytes, cheap to clone, ordered as bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<[u8]>);

impl Key {
    pub fn new(bytes: impl AsRef<[u8]>) -> Self {
        Self(Arc::from(bytes.as_ref()))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The smallest key above this one: `a` → `a\0`. What a page that ended at a key goes on from.
    pub fn successor(&self) -> Self {
        let mut bytes = Vec::with_capacity(self.len() + 1);
        bytes.extend_from_slice(&self.0);
        bytes.push(0);
        Self::from(bytes)
    }

    /// The smallest key above all that begin with this one: `a/` → `a0`. None when there is no such key (all bytes are 0xff).
    pub fn prefix_end(&self) -> Option<Self> {
        let last = self.0.iter().rposition(|byte| *byte != u8::MAX)?;
        let mut bytes = self.0[..=last].to_vec();
        bytes[last] += 1;
        Some(Self::from(bytes))
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Key {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Arc::from(bytes))
    }
}

impl From<String> for Key {
    fn from(text: String) -> Self {
        Self::from(text.into_bytes())
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<&[u8]> for Key {
    fn from(bytes: &[u8]) -> Self {
        Self::new(bytes)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// The keys that a read or a watch is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Range {
    One(Key),
    /// Every key that begins with these bytes; the empty prefix is every key.
    ///
    /// A prefix is bytes: that of a folder ends in `/`, or it takes in the sibling too (`/pods/foo` begins `/pods/foobar`).
    Prefix(Key),
    /// From this key, itself included, to the last.
    From(Key),
    /// From `start`, included, to `end`, excluded.
    Between {
        start: Key,
        end: Key,
    },
}

impl Range {
    pub fn all() -> Self {
        Self::Prefix(Key::new([]))
    }

    pub fn one(key: impl Into<Key>) -> Self {
        Self::One(key.into())
    }

    pub fn prefix(key: impl Into<Key>) -> Self {
        Self::Prefix(key.into())
    }

    pub fn contains(&self, key: &[u8]) -> bool {
        match self {
            Self::One(one) => one.as_bytes() == key,
            Self::Prefix(prefix) => key.starts_with(prefix.as_bytes()),
            Self::From(start) => start.as_bytes() <= key,
            Self::Between { start, end } => start.as_bytes() <= key && key < end.as_bytes(),
        }
    }

    /// The two ends. They never cross, so that they can be given to an ordered map, which would panic.
    pub(crate) fn bounds(&self) -> (Bound<Key>, Bound<Key>) {
        match self {
            Self::One(key) => (Bound::Included(key.clone()), Bound::Included(key.clone())),
            Self::Prefix(prefix) => {
                let end = if prefix.is_empty() { None } else { prefix.prefix_end() };
                (Bound::Included(prefix.clone()), end.map_or(Bound::Unbounded, Bound::Excluded))
            }
            Self::From(start) => (Bound::Included(start.clone()), Bound::Unbounded),
            Self::Between { start, end } => {
                let end = if end < start { start } else { end };
                (Bound::Included(start.clone()), Bound::Excluded(end.clone()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_contains_what_lies_between_its_bounds() {
        let keys: [&[u8]; 9] = [b"", b"/a", b"/a/", b"/a/1", b"/a/1\0", b"/a0", b"/b", b"\xff", b"\xff\xff"];
        let ranges = [
            Range::one("/a/1"),
            Range::prefix("/a/"),
            Range::prefix("/a"),
            Range::all(),
            Range::Prefix(Key::new([0xff])),
            Range::From(Key::from("/a/1")),
            Range::Between { start: Key::from("/a"), end: Key::from("/a/1") },
            Range::Between { start: Key::from("/b"), end: Key::from("/a") },
        ];
        for range in &ranges {
            let (low, high) = range.bounds();
            for key in keys {
                let above = match &low {
                    Bound::Included(low) => key >= low.as_bytes(),
                    Bound::Excluded(low) => key > low.as_bytes(),
                    Bound::Unbounded => true,
                };
                let below = match &high {
                    Bound::Included(high) => key <= high.as_bytes(),
                    Bound::Excluded(high) => key < high.as_bytes(),
                    Bound::Unbounded => true,
                };
                assert_eq!(range.contains(key), above && below, "{range:?} {key:?}");
            }
        }
    }

    #[test]
    fn a_folder_does_not_take_in_its_sibling() {
        assert!(Range::prefix("/pods/foo/").contains(b"/pods/foo/x"));
        assert!(!Range::prefix("/pods/foo/").contains(b"/pods/foobar"));
    }
}
