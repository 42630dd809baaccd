//! How batches, rows and heads are written: a version, fields as varints and counted bytes, and a checksum over all of it.
//!
//! What is read back is either what was written or an error, whatever the bytes are; it never panics, and never allocates more than the
//! bytes could hold.

use crate::engine::{Batch, BatchId, Epoch, Head, Item};
use crate::key::Key;
use crate::row::{Encoded, Facts, Generation, Lease, Revision, Row, Str, Value};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_64;

/// Why bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("the checksum does not match")]
    Checksum,
    #[error("it ends too early")]
    Short,
    #[error("it goes on after its end")]
    Long,
    #[error("version {0} is not known")]
    Version(u8),
    #[error("{0} is not valid")]
    Invalid(&'static str),
}

const VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 8;

const TAG_ROW: u8 = 0;
const TAG_DELETED: u8 = 1;
const TAG_LEASE: u8 = 2;
const TAG_REVOKED: u8 = 3;

const FLAG_OBJECT: u8 = 1;
const FLAG_FACTS: u8 = 2;
const FLAG_DELETING: u8 = 4;

impl Batch {
    pub fn encode(&self) -> Vec<u8> {
        let size = self.items.iter().map(item_bytes).sum::<usize>();
        let mut out = Out::new(size + 64);
        for number in [self.id.0, self.epoch.0, self.previous.0, self.after.0, self.revision.0, self.items.len() as u64] {
            out.number(number);
        }
        self.items.iter().for_each(|item| out.item(item));
        out.finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut body = In::open(bytes)?;
        let batch = Self {
            id: BatchId(body.number()?),
            epoch: Epoch(body.number()?),
            previous: BatchId(body.number()?),
            after: Revision(body.number()?),
            revision: Revision(body.number()?),
            items: body.list(In::item)?,
        };
        body.finish()?;
        Ok(batch)
    }
}

impl Row {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Out::new(row_bytes(self));
        out.row(self);
        out.finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut body = In::open(bytes)?;
        let row = body.row()?;
        body.finish()?;
        Ok(row)
    }
}

impl Head {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Out::new(64);
        for number in [self.epoch.0, self.revision.0, self.floor.0, self.batch.0, self.attempt] {
            out.number(number);
        }
        out.finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut body = In::open(bytes)?;
        let head = Self {
            epoch: Epoch(body.number()?),
            revision: Revision(body.number()?),
            floor: Revision(body.number()?),
            batch: BatchId(body.number()?),
            attempt: body.number()?,
        };
        body.finish()?;
        Ok(head)
    }
}

/// About how many bytes an item takes, so that a buffer need not grow.
fn item_bytes(item: &Item) -> usize {
    match item {
        Item::Row { key, row } => key.len() + row_bytes(row),
        Item::Deleted { key, .. } => key.len() + 24,
        Item::Lease { .. } | Item::Revoked { .. } => 32,
    }
}

fn row_bytes(row: &Row) -> usize {
    let facts = &row.facts;
    let pairs = facts.labels.iter().chain(&facts.fields).map(|(name, value)| name.len() + value.len() + 4).sum::<usize>();
    row.bytes().len() + pairs + facts.namespace.len() + facts.owner_uids.iter().map(|uid| uid.len() + 2).sum::<usize>() + 96
}

struct Out(Vec<u8>);

impl Out {
    fn new(size: usize) -> Self {
        let mut out = Vec::with_capacity(size + CHECKSUM_BYTES);
        out.push(VERSION);
        Self(out)
    }

    fn finish(mut self) -> Vec<u8> {
        let sum = xxh3_64(&self.0);
        self.0.extend_from_slice(&sum.to_le_bytes());
        self.0
    }

    fn number(&mut self, value: u64) {
        let mut rest = value;
        while rest >= 0x80 {
            self.0.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.0.push(rest as u8);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn pairs(&mut self, pairs: &[(Str, Str)]) {
        self.number(pairs.len() as u64);
        for (name, value) in pairs {
            self.bytes(name.as_bytes());
            self.bytes(value.as_bytes());
        }
    }

    fn item(&mut self, item: &Item) {
        match item {
            Item::Row { key, row } => {
                self.0.push(TAG_ROW);
                self.bytes(key.as_bytes());
                self.row(row);
            }
            Item::Deleted { key, revision } => {
                self.0.push(TAG_DELETED);
                self.bytes(key.as_bytes());
                self.number(revision.0);
            }
            Item::Lease { lease, ttl } => {
                self.0.push(TAG_LEASE);
                self.number(lease.0 as u64);
                self.number(ttl.as_secs());
                self.number(u64::from(ttl.subsec_nanos()));
            }
            Item::Revoked { lease } => {
                self.0.push(TAG_REVOKED);
                self.number(lease.0 as u64);
            }
        }
    }

    fn row(&mut self, row: &Row) {
        let facts = &row.facts;
        let object = row.object();
        let has_facts = *facts != Facts::default();
        let flags = [(object.is_some(), FLAG_OBJECT), (has_facts, FLAG_FACTS), (facts.deleting, FLAG_DELETING)];
        self.0.push(flags.iter().filter(|(set, _)| *set).map(|(_, flag)| flag).sum());
        for number in [row.create.0, row.modified.0, row.version, row.lease.0 as u64] {
            self.number(number);
        }
        if let Some(object) = object {
            self.number(u64::from(object.gap()));
            self.number(object.schema().0);
        }
        if has_facts {
            self.bytes(facts.namespace.as_bytes());
            self.pairs(&facts.labels);
            self.pairs(&facts.fields);
            self.number(facts.owner_uids.len() as u64);
            facts.owner_uids.iter().for_each(|uid| self.bytes(uid.as_bytes()));
        }
        self.bytes(row.bytes());
    }
}

struct In<'a>(&'a [u8]);

impl<'a> In<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self, WireError> {
        let (body, sum) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(WireError::Short)?;
        if xxh3_64(body) != u64::from_le_bytes(*sum) {
            return Err(WireError::Checksum);
        }
        match body.split_first() {
            Some((&VERSION, body)) => Ok(Self(body)),
            Some((version, _)) => Err(WireError::Version(*version)),
            None => Err(WireError::Short),
        }
    }

    fn finish(self) -> Result<(), WireError> {
        if self.0.is_empty() { Ok(()) } else { Err(WireError::Long) }
    }

    fn byte(&mut self) -> Result<u8, WireError> {
        let (first, rest) = self.0.split_first().ok_or(WireError::Short)?;
        self.0 = rest;
        Ok(*first)
    }

    fn number(&mut self) -> Result<u64, WireError> {
        let mut value = 0u64;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(WireError::Invalid("a number"));
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(WireError::Invalid("a number"))
    }

    fn bytes(&mut self) -> Result<&'a [u8], WireError> {
        let len = usize::try_from(self.number()?).map_err(|_| WireError::Short)?;
        let (taken, rest) = self.0.split_at_checked(len).ok_or(WireError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn string(&mut self) -> Result<Str, WireError> {
        Str::from_utf8(self.bytes()?).map_err(|_| WireError::Invalid("a string"))
    }

    fn pair(&mut self) -> Result<(Str, Str), WireError> {
        Ok((self.string()?, self.string()?))
    }

    fn list<T>(&mut self, mut each: impl FnMut(&mut Self) -> Result<T, WireError>) -> Result<Vec<T>, WireError> {
        let len = usize::try_from(self.number()?).map_err(|_| WireError::Short)?;
        // Everything takes at least a byte, so that a count beyond what is left is wrong.
        if len > self.0.len() {
            return Err(WireError::Short);
        }
        let mut list = Vec::with_capacity(len);
        for _ in 0..len {
            list.push(each(self)?);
        }
        Ok(list)
    }

    fn item(&mut self) -> Result<Item, WireError> {
        Ok(match self.byte()? {
            TAG_ROW => Item::Row { key: Key::new(self.bytes()?), row: Arc::new(self.row()?) },
            TAG_DELETED => Item::Deleted { key: Key::new(self.bytes()?), revision: Revision(self.number()?) },
            TAG_LEASE => {
                let lease = Lease(self.number()? as i64);
                let (seconds, nanos) = (self.number()?, self.number()?);
                let nanos = u32::try_from(nanos).ok().filter(|nanos| *nanos < 1_000_000_000).ok_or(WireError::Invalid("a time"))?;
                Item::Lease { lease, ttl: Duration::new(seconds, nanos) }
            }
            TAG_REVOKED => Item::Revoked { lease: Lease(self.number()? as i64) },
            _ => return Err(WireError::Invalid("an item's tag")),
        })
    }

    fn row(&mut self) -> Result<Row, WireError> {
        let flags = self.byte()?;
        let (create, modified) = (Revision(self.number()?), Revision(self.number()?));
        let (version, lease) = (self.number()?, Lease(self.number()? as i64));
        let object = if flags & FLAG_OBJECT == 0 {
            None
        } else {
            let gap = u32::try_from(self.number()?).map_err(|_| WireError::Invalid("a gap"))?;
            Some((gap, Generation(self.number()?)))
        };
        let facts = if flags & FLAG_FACTS == 0 { Facts::default() } else { self.facts(flags & FLAG_DELETING != 0)? };
        let bytes = Bytes::copy_from_slice(self.bytes()?);
        let value = match object {
            None => Value::Opaque(bytes),
            Some((gap, schema)) => Value::Object(Encoded::from_parts(bytes, gap, schema, modified).ok_or(WireError::Invalid("an object's gap"))?),
        };
        Ok(Row { value, facts, create, modified, version, lease })
    }

    fn facts(&mut self, deleting: bool) -> Result<Facts, WireError> {
        let namespace = self.string()?;
        let labels = self.list(Self::pair)?.into_boxed_slice();
        let fields = self.list(Self::pair)?.into_boxed_slice();
        let owner_uids = self.list(Self::string)?.into_boxed_slice();
        Ok(Facts { labels, fields, namespace, owner_uids, deleting })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn pairs() -> impl Strategy<Value = Box<[(Str, Str)]>> {
        vec(("[a-z./]{0,30}", "\\PC{0,8}"), 0..4)
            .prop_map(|pairs| pairs.into_iter().map(|(name, value)| (Str::from(name), Str::from(value))).collect())
    }

    fn facts() -> impl Strategy<Value = Facts> {
        let uids = vec("[0-9a-f-]{36}", 0..3).prop_map(|uids| uids.into_iter().map(Str::from).collect());
        (pairs(), pairs(), "[a-z]{0,10}", uids, any::<bool>()).prop_map(|(labels, fields, namespace, owner_uids, deleting)| Facts {
            labels,
            fields,
            namespace: Str::from(namespace),
            owner_uids,
            deleting,
        })
    }

    fn row() -> impl Strategy<Value = Row> {
        let value = (any::<bool>(), vec(any::<u8>(), 0..60), any::<prop::sample::Index>(), any::<u64>());
        (value, facts(), any::<u64>(), any::<u64>(), any::<u64>(), any::<i64>()).prop_map(|(value, facts, create, modified, version, lease)| {
            let (object, bytes, gap, schema) = value;
            let modified = Revision(modified);
            let value = if object {
                let gap = gap.index(bytes.len() + 1) as u32;
                Value::Object(Encoded::fill(&bytes, gap, Generation(schema), modified).expect("the gap fits"))
            } else {
                Value::Opaque(Bytes::from(bytes))
            };
            Row { value, facts, create: Revision(create), modified, version, lease: Lease(lease) }
        })
    }

    fn item() -> impl Strategy<Value = Item> {
        let key = || vec(any::<u8>(), 0..40).prop_map(Key::from);
        prop_oneof![
            (key(), row()).prop_map(|(key, row)| Item::Row { key, row: Arc::new(row) }),
            (key(), any::<u64>()).prop_map(|(key, revision)| Item::Deleted { key, revision: Revision(revision) }),
            (any::<i64>(), any::<Duration>()).prop_map(|(lease, ttl)| Item::Lease { lease: Lease(lease), ttl }),
            any::<i64>().prop_map(|lease| Item::Revoked { lease: Lease(lease) }),
        ]
    }

    fn batch() -> impl Strategy<Value = Batch> {
        (any::<[u64; 5]>(), vec(item(), 0..6)).prop_map(|([id, epoch, previous, after, revision], items)| Batch {
            id: BatchId(id),
            epoch: Epoch(epoch),
            previous: BatchId(previous),
            after: Revision(after),
            revision: Revision(revision),
            items,
        })
    }

    proptest! {
        #[test]
        fn a_batch_comes_back_as_it_was_written(batch in batch()) {
            let again = Batch::decode(&batch.encode());
            prop_assert_eq!(format!("{again:?}"), format!("{:?}", Ok::<_, WireError>(&batch)));
        }

        #[test]
        fn a_row_and_a_head_come_back_as_they_were_written(row in row(), [epoch, revision, floor, batch, attempt] in any::<[u64; 5]>()) {
            let again = Row::decode(&row.encode());
            prop_assert_eq!(format!("{again:?}"), format!("{:?}", Ok::<_, WireError>(&row)));
            let head = Head { epoch: Epoch(epoch), revision: Revision(revision), floor: Revision(floor), batch: BatchId(batch), attempt };
            prop_assert_eq!(Head::decode(&head.encode()), Ok(head));
        }

        #[test]
        fn a_changed_byte_or_a_cut_is_an_error(batch in batch(), at in any::<prop::sample::Index>(), flip in 1..=u8::MAX) {
            let whole = batch.encode();
            let at = at.index(whole.len());
            prop_assert!(Batch::decode(&whole[..at]).is_err());
            let mut flipped = whole;
            flipped[at] ^= flip;
            prop_assert!(Batch::decode(&flipped).is_err());
        }

        #[test]
        fn bytes_with_a_right_checksum_never_panic(body in vec(any::<u8>(), 0..80)) {
            let mut bytes = vec![VERSION];
            bytes.extend(body);
            let sum = xxh3_64(&bytes);
            bytes.extend(sum.to_le_bytes());
            let _ = (Batch::decode(&bytes), Row::decode(&bytes), Head::decode(&bytes));
        }
    }

    #[test]
    fn a_later_version_is_named() {
        let mut bytes = vec![VERSION + 1];
        let sum = xxh3_64(&bytes);
        bytes.extend(sum.to_le_bytes());
        assert_eq!(Row::decode(&bytes).expect_err("unknown"), WireError::Version(VERSION + 1));
    }
}
