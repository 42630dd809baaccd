//! The one thing the store knows of protobuf: how a message takes its resourceVersion.
//!
//! metadata is field 1 of every object and resourceVersion is field 6 of ObjectMeta. Filling it in makes metadata longer, so the length
//! before metadata is written anew. It neither parses nor checks the rest of the message.

use crate::row::{Revision, digits};
use bytes::Bytes;
use std::sync::atomic::{AtomicBool, Ordering};

/// Field 6, length-delimited.
const RESOURCE_VERSION_TAG: u8 = 0x32;

/// A raw message (no envelope) without its resourceVersion, and where things lie in it.
///
/// ```text
/// 0a 05 | 0a 01 61 | 2a 00 | 12 …
///  |  |    name        uid    spec
///  |  metadata_len = 5, written as a minimal varint just before metadata_start = 2
///  field 1           ^ insert_at = 5: before the first field of metadata above 6, or at metadata's end
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtobufDraft {
    pub bytes: Vec<u8>,
    /// Where metadata's content begins, after its length.
    pub metadata_start: u32,
    pub metadata_len: u32,
    /// Where `32 len digits` goes, counted from the start of `bytes`; within metadata or at its end.
    pub insert_at: u32,
}

impl ProtobufDraft {
    /// Whether the offsets fit the bytes.
    pub fn is_sound(&self) -> bool {
        let (start, len, at) = (self.metadata_start as usize, self.metadata_len as usize, self.insert_at as usize);
        let Some(length_at) = start.checked_sub(varint_len(len)) else { return false };
        let Some(end) = start.checked_add(len) else { return false };
        start <= at && at <= end && end <= self.bytes.len() && varint(len).bytes() == &self.bytes[length_at..start]
    }

    pub(crate) fn fill(self, revision: Revision) -> Option<Protobuf> {
        self.is_sound().then(|| {
            let whole = Parts {
                bytes: &self.bytes,
                metadata_start: self.metadata_start as usize,
                metadata_len: self.metadata_len as usize,
                insert_at: self.insert_at as usize,
                skip: 0,
            };
            whole.filled(revision)
        })
    }
}

/// A message with its resourceVersion, which remembers where that lies.
#[derive(Debug)]
pub(crate) struct Protobuf {
    bytes: Bytes,
    metadata_start: u32,
    metadata_len: u32,
    insert_at: u32,
    revision: Revision,
    /// Somebody has asked for it since [`Protobuf::is_idle`] did.
    used: AtomicBool,
}

impl Protobuf {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nobody has asked for it since this was last called.
    pub(crate) fn is_idle(&self) -> bool {
        !self.used.swap(false, Ordering::Relaxed)
    }

    pub(crate) fn at(&self, revision: Revision) -> Bytes {
        self.used.store(true, Ordering::Relaxed);
        if revision == self.revision {
            return self.bytes.clone();
        }
        let skip = digits(self.revision).text().len() + 2;
        let parts = Parts {
            bytes: &self.bytes,
            metadata_start: self.metadata_start as usize,
            metadata_len: self.metadata_len as usize - skip,
            insert_at: self.insert_at as usize,
            skip,
        };
        parts.filled(revision).bytes
    }
}

struct Parts<'a> {
    bytes: &'a [u8],
    metadata_start: usize,
    /// Without the field that is left out.
    metadata_len: usize,
    insert_at: usize,
    /// How many bytes at `insert_at` are left out: the field as it was filled before.
    skip: usize,
}

impl Parts<'_> {
    fn filled(&self, revision: Revision) -> Protobuf {
        let number = digits(revision);
        let number = number.text();
        let field_len = number.len() + 2;
        let length = varint(self.metadata_len + field_len);
        let length_at = self.metadata_start - varint_len(self.metadata_len + self.skip);
        let mut bytes = Vec::with_capacity(self.bytes.len() - self.skip + field_len + 1);
        bytes.extend_from_slice(&self.bytes[..length_at]);
        bytes.extend_from_slice(length.bytes());
        let metadata_start = bytes.len();
        bytes.extend_from_slice(&self.bytes[self.metadata_start..self.insert_at]);
        let insert_at = bytes.len();
        bytes.extend_from_slice(&[RESOURCE_VERSION_TAG, number.len() as u8]);
        bytes.extend_from_slice(number);
        bytes.extend_from_slice(&self.bytes[self.insert_at + self.skip..]);
        Protobuf {
            bytes: Bytes::from(bytes.into_boxed_slice()),
            metadata_start: metadata_start as u32,
            metadata_len: (self.metadata_len + field_len) as u32,
            insert_at: insert_at as u32,
            revision,
            used: AtomicBool::new(true),
        }
    }
}

struct Varint {
    buffer: [u8; 10],
    len: usize,
}

impl Varint {
    fn bytes(&self) -> &[u8] {
        &self.buffer[..self.len]
    }
}

fn varint(value: usize) -> Varint {
    let mut out = Varint { buffer: [0; 10], len: 0 };
    let mut rest = value;
    while rest >= 0x80 {
        out.buffer[out.len] = (rest & 0x7f) as u8 | 0x80;
        out.len += 1;
        rest >>= 7;
    }
    out.buffer[out.len] = rest as u8;
    out.len += 1;
    out
}

fn varint_len(value: usize) -> usize {
    varint(value).len
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message whose metadata holds a name of `name_len` bytes, then a uid, then a spec.
    fn draft(name_len: usize) -> ProtobufDraft {
        let mut metadata = vec![0x0a];
        metadata.extend_from_slice(varint(name_len).bytes());
        metadata.extend(std::iter::repeat_n(b'n', name_len));
        let insert_at = metadata.len();
        metadata.extend_from_slice(b"\x2a\x03uid");
        let mut bytes = vec![0x0a];
        bytes.extend_from_slice(varint(metadata.len()).bytes());
        let start = bytes.len();
        bytes.extend_from_slice(&metadata);
        bytes.extend_from_slice(b"\x12\x02{}");
        ProtobufDraft { bytes, metadata_start: start as u32, metadata_len: metadata.len() as u32, insert_at: (start + insert_at) as u32 }
    }

    fn expected(name_len: usize, revision: u64) -> Vec<u8> {
        let mut metadata = vec![0x0a];
        metadata.extend_from_slice(varint(name_len).bytes());
        metadata.extend(std::iter::repeat_n(b'n', name_len));
        let digits = revision.to_string();
        metadata.extend_from_slice(&[0x32, digits.len() as u8]);
        metadata.extend_from_slice(digits.as_bytes());
        metadata.extend_from_slice(b"\x2a\x03uid");
        let mut bytes = vec![0x0a];
        bytes.extend_from_slice(varint(metadata.len()).bytes());
        bytes.extend_from_slice(&metadata);
        bytes.extend_from_slice(b"\x12\x02{}");
        bytes
    }

    #[test]
    fn the_length_of_metadata_follows_the_revision_also_over_a_varint_boundary() {
        for name_len in [1, 100, 110, 112, 114, 115, 116, 117, 118, 120, 16_360, 16_370, 16_380] {
            for (first, second) in [(1, 9), (7, 1_000_000), (u64::MAX, 3), (12_345_678, 87_654_321)] {
                let filled = draft(name_len).fill(Revision(first)).expect("sound");
                assert_eq!(filled.at(Revision(first)).as_ref(), expected(name_len, first), "{name_len} {first}");
                assert_eq!(filled.at(Revision(second)).as_ref(), expected(name_len, second), "{name_len} {first} {second}");
            }
        }
    }

    #[test]
    fn offsets_that_do_not_fit_are_refused() {
        let sound = draft(10);
        assert!(sound.is_sound());
        let wrong = [
            ProtobufDraft { metadata_start: 0, ..sound.clone() },
            ProtobufDraft { metadata_start: 3, ..sound.clone() },
            ProtobufDraft { metadata_len: 5, ..sound.clone() },
            ProtobufDraft { metadata_len: u32::MAX, ..sound.clone() },
            ProtobufDraft { insert_at: 1, ..sound.clone() },
            ProtobufDraft { insert_at: u32::MAX, ..sound.clone() },
            ProtobufDraft { bytes: Vec::new(), ..sound },
        ];
        for draft in wrong {
            assert!(draft.fill(Revision(1)).is_none());
        }
    }
}
