//! What the store holds under a key, and how an object's bytes are kept: encoded once, with its resourceVersion filled in by the writer.

use crate::protobuf::{Protobuf, ProtobufDraft};
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use compact_str::CompactString;
use std::fmt;
use std::sync::Arc;

/// A short string: up to 24 bytes lie in place.
pub type Str = CompactString;

/// The store's one counter. Every committed transaction that changes something takes the next; none is skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl Revision {
    pub const ZERO: Self = Self(0);

    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    pub fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The lease that a key lives by; [`Lease::NONE`] is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lease(pub i64);

impl Lease {
    pub const NONE: Self = Self(0);

    pub fn is_some(self) -> bool {
        self != Self::NONE
    }
}

/// Which edition of a kind's schema wrote an object; equal bytes of different generations are different objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

/// One key's current (or, in history, former) content.
#[derive(Debug)]
pub struct Row {
    pub value: Value,
    pub facts: Facts,
    /// The revision that made the key.
    pub create: Revision,
    /// The revision that wrote this row: the object's resourceVersion.
    pub modified: Revision,
    /// How many times the key was written since it was made; 1 at first.
    pub version: u64,
    pub lease: Lease,
}

impl Row {
    /// The object, unless an etcd client put bytes of its own.
    pub fn object(&self) -> Option<&Encoded> {
        match &self.value {
            Value::Object(encoded) => Some(encoded),
            Value::Opaque(_) => None,
        }
    }

    /// The stored bytes: an object's JSON with its resourceVersion, or what an etcd client put.
    pub fn bytes(&self) -> &Bytes {
        match &self.value {
            Value::Object(encoded) => &encoded.json,
            Value::Opaque(bytes) => bytes,
        }
    }

    /// About what the row holds in memory, in bytes; what the limits count.
    pub fn weight(&self) -> u64 {
        weight(self.bytes().len(), &self.facts)
    }
}

fn weight(value_bytes: usize, facts: &Facts) -> u64 {
    let pairs = facts.labels.len() + facts.fields.len();
    (value_bytes + ROW_BYTES + pairs * PAIR_BYTES + facts.owner_uids.len() * UID_BYTES) as u64
}

/// What a row costs beside its value, in bytes: itself, its key and its share of the map.
const ROW_BYTES: usize = 384;
const PAIR_BYTES: usize = 2 * size_of::<Str>();
const UID_BYTES: usize = 64;

#[derive(Debug)]
pub enum Value {
    Object(Encoded),
    /// What an etcd client put.
    Opaque(Bytes),
}

/// What selectors, garbage collection and deletion need to know of an object, from the one decode at write time. Kept durably with the row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub labels: Box<[(Str, Str)]>,
    /// The kind's selectable fields, `metadata.name` included.
    pub fields: Box<[(Str, Str)]>,
    pub namespace: Str,
    pub owner_uids: Box<[Str]>,
    /// Whether deletionTimestamp is set.
    pub deleting: bool,
}

impl Facts {
    pub fn label(&self, name: &str) -> Option<&str> {
        find(&self.labels, name)
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        find(&self.fields, name)
    }
}

fn find<'a>(pairs: &'a [(Str, Str)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// An object's encodings. JSON is always there; protobuf is filled in by whoever needs it first, and may be forgotten again.
#[derive(Debug)]
pub struct Encoded {
    json: Bytes,
    /// Where `,"resourceVersion":"N"` lies in `json`.
    gap: u32,
    revision: Revision,
    schema: Generation,
    protobuf: ArcSwapOption<Protobuf>,
}

const GAP_OPEN: &[u8] = br#","resourceVersion":""#;
const GAP_CLOSE: u8 = b'"';

impl Encoded {
    /// `json` without resourceVersion, and where it goes. None when the gap lies outside.
    ///
    /// `{"metadata":{"name":"a"}}` with gap 23 at revision 7 → `{"metadata":{"name":"a","resourceVersion":"7"}}`.
    pub fn fill(json: &[u8], gap: u32, schema: Generation, revision: Revision) -> Option<Self> {
        let (before, after) = json.split_at_checked(gap as usize)?;
        Some(Self { json: filled(before, after, revision), gap, revision, schema, protobuf: ArcSwapOption::empty() })
    }

    /// What [`Encoded::json`] and [`Encoded::gap`] gave. None when the bytes do not hold that revision at the gap.
    pub(crate) fn from_parts(json: Bytes, gap: u32, schema: Generation, revision: Revision) -> Option<Self> {
        let rest = json.get(gap as usize..)?.strip_prefix(GAP_OPEN)?;
        let number = digits(revision);
        let rest = rest.strip_prefix(number.text())?;
        (rest.first() == Some(&GAP_CLOSE)).then_some(())?;
        Some(Self { json, gap, revision, schema, protobuf: ArcSwapOption::empty() })
    }

    /// The object as it is served: with its resourceVersion.
    pub fn json(&self) -> &Bytes {
        &self.json
    }

    pub fn gap(&self) -> u32 {
        self.gap
    }

    pub fn schema(&self) -> Generation {
        self.schema
    }

    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The object with another resourceVersion, as DELETED and selector-edge events show it.
    pub fn json_at(&self, revision: Revision) -> Bytes {
        if revision == self.revision {
            return self.json.clone();
        }
        let (before, after) = self.around();
        filled(before, after, revision)
    }

    /// The bytes before and after the gap.
    fn around(&self) -> (&[u8], &[u8]) {
        let gap = self.gap as usize;
        let end = gap + GAP_OPEN.len() + digits(self.revision).text().len() + 1;
        (&self.json[..gap], &self.json[end..])
    }

    /// Whether `json`, an object without resourceVersion, is this one.
    pub(crate) fn same(&self, json: &[u8], gap: u32, schema: Generation) -> bool {
        let (before, after) = self.around();
        self.gap == gap && self.schema == schema && json.len() == before.len() + after.len() && json.starts_with(before) && json.ends_with(after)
    }

    /// The raw protobuf message (no envelope) with this row's resourceVersion, while somebody has encoded it and it is still kept.
    pub fn protobuf(&self) -> Option<Bytes> {
        self.protobuf_at(self.revision)
    }

    /// The same with another resourceVersion.
    pub fn protobuf_at(&self, revision: Revision) -> Option<Bytes> {
        self.protobuf.load().as_ref().map(|protobuf| protobuf.at(revision))
    }

    /// Keeps the protobuf form for the readers after this one, with this row's resourceVersion filled in, and gives it. None when the draft's
    /// offsets do not fit its bytes.
    pub fn fill_protobuf(&self, draft: ProtobufDraft) -> Option<Bytes> {
        let filled = draft.fill(self.revision)?;
        let bytes = filled.at(self.revision);
        self.protobuf.store(Some(Arc::new(filled)));
        Some(bytes)
    }

    /// What the protobuf form takes, in bytes; 0 when there is none.
    pub(crate) fn protobuf_len(&self) -> usize {
        self.protobuf.load().as_ref().map_or(0, |protobuf| protobuf.len())
    }

    /// Whether nobody has asked for the protobuf form since this was last called.
    pub(crate) fn protobuf_is_idle(&self) -> bool {
        self.protobuf.load().as_ref().is_none_or(|protobuf| protobuf.is_idle())
    }

    /// Lets the protobuf form go; JSON stays.
    pub(crate) fn forget_protobuf(&self) {
        self.protobuf.store(None);
    }
}

fn filled(before: &[u8], after: &[u8], revision: Revision) -> Bytes {
    let number = digits(revision);
    let number = number.text();
    let mut json = Vec::with_capacity(before.len() + GAP_OPEN.len() + number.len() + 1 + after.len());
    json.extend_from_slice(before);
    json.extend_from_slice(GAP_OPEN);
    json.extend_from_slice(number);
    json.push(GAP_CLOSE);
    json.extend_from_slice(after);
    Bytes::from(json)
}

/// A revision in decimal, without an allocation.
pub(crate) struct Digits {
    buffer: [u8; DIGITS_MAX],
    start: usize,
}

/// u64::MAX has 20 digits.
pub(crate) const DIGITS_MAX: usize = 20;

pub(crate) fn digits(revision: Revision) -> Digits {
    let mut digits = Digits { buffer: [b'0'; DIGITS_MAX], start: DIGITS_MAX };
    let mut rest = revision.0;
    loop {
        digits.start -= 1;
        digits.buffer[digits.start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            return digits;
        }
    }
}

impl Digits {
    pub(crate) fn text(&self) -> &[u8] {
        &self.buffer[self.start..]
    }
}

/// What a transaction wants to put, before the writer gives it a revision.
#[derive(Clone, Debug)]
pub enum Draft {
    Object {
        /// The object without metadata.resourceVersion.
        json: Vec<u8>,
        /// Where `,"resourceVersion":"N"` goes: after the last member of metadata that stands before it, so never first in the braces.
        gap: u32,
        protobuf: Option<ProtobufDraft>,
        schema: Generation,
    },
    Opaque(Bytes),
}

impl Draft {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Object { json, .. } => json.len(),
            Self::Opaque(bytes) => bytes.len(),
        }
    }

    /// What the row that this becomes will weigh.
    pub(crate) fn weight(&self, facts: &Facts, revision: Revision) -> u64 {
        let gap_bytes = match self {
            Self::Object { .. } => GAP_OPEN.len() + digits(revision).text().len() + 1,
            Self::Opaque(_) => 0,
        };
        weight(self.len() + gap_bytes, facts)
    }

    /// Whether the offsets lie within the bytes.
    pub(crate) fn is_sound(&self) -> bool {
        match self {
            Self::Object { json, gap, protobuf, .. } => *gap as usize <= json.len() && protobuf.as_ref().is_none_or(ProtobufDraft::is_sound),
            Self::Opaque(_) => true,
        }
    }

    /// Whether putting this over `row` would change nothing. What an etcd client puts always changes something, as etcd has it.
    pub(crate) fn same_as(&self, row: &Row) -> bool {
        match (self, &row.value) {
            (Self::Object { json, gap, schema, .. }, Value::Object(encoded)) => encoded.same(json, *gap, *schema),
            _ => false,
        }
    }

    /// The value at its revision. None when the draft is not sound.
    pub(crate) fn fill(self, revision: Revision) -> Option<Value> {
        match self {
            Self::Opaque(bytes) => Some(Value::Opaque(bytes)),
            Self::Object { json, gap, protobuf, schema } => {
                let encoded = Encoded::fill(&json, gap, schema, revision)?;
                if let Some(draft) = protobuf {
                    encoded.fill_protobuf(draft)?;
                }
                Some(Value::Object(encoded))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &[u8] = br#"{"metadata":{"name":"a"},"spec":{}}"#;
    const GAP: u32 = 23;

    fn encoded(revision: u64) -> Encoded {
        Encoded::fill(JSON, GAP, Generation(1), Revision(revision)).expect("the gap fits")
    }

    #[test]
    fn the_gap_is_filled_with_the_revision() {
        assert_eq!(encoded(7).json().as_ref(), br#"{"metadata":{"name":"a","resourceVersion":"7"},"spec":{}}"#);
    }

    #[test]
    fn a_deletion_shows_the_object_at_its_own_revision() {
        let seven = encoded(7);
        assert_eq!(seven.json_at(Revision(1234)), encoded(1234).json());
        assert_eq!(seven.json_at(Revision(7)), seven.json());
    }

    #[test]
    fn an_object_equal_but_for_its_revision_is_the_same() {
        for revision in [1, 10, u64::MAX] {
            assert!(encoded(revision).same(JSON, GAP, Generation(1)));
            assert!(!encoded(revision).same(JSON, GAP, Generation(2)), "another schema wrote it");
            assert!(!encoded(revision).same(JSON, GAP - 1, Generation(1)));
            assert!(!encoded(revision).same(br#"{"metadata":{"name":"b"},"spec":{}}"#, GAP, Generation(1)));
            assert!(!encoded(revision).same(br#"{"metadata":{"name":"a"},"spec":{} }"#, GAP, Generation(1)));
        }
    }

    #[test]
    fn a_gap_outside_the_bytes_is_refused() {
        assert!(Encoded::fill(b"{}", 3, Generation(1), Revision(1)).is_none());
        assert!(Encoded::from_parts(Bytes::from_static(JSON), GAP, Generation(1), Revision(7)).is_none());
    }

    #[test]
    fn parts_make_the_same_object_again() {
        let seven = encoded(7);
        let again = Encoded::from_parts(seven.json().clone(), GAP, Generation(1), Revision(7)).expect("it is whole");
        assert_eq!(again.json_at(Revision(8)), encoded(8).json());
        assert!(Encoded::from_parts(seven.json().clone(), GAP, Generation(1), Revision(70)).is_none());
    }
}
