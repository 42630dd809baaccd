//! A batch being made: transactions are checked and applied to a copy of the keyspace, one after the other, so that a later one sees the
//! earlier. Pure; nothing here is visible to anybody until the batch is durable.

use crate::config::Limits;
use crate::engine::Item;
use crate::error::CommitError;
use crate::history::Change;
use crate::key::{Key, Range};
use crate::lease::LeaseTable;
use crate::row::{Draft, Facts, Lease, Revision, Row, Value};
use crate::snapshot::{Keyspace, Published, rows};
use crate::txn::{Committed, Compare, Field, Op, Order, Outcome, Txn};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

pub(crate) struct Stage<'a> {
    limits: &'a Limits,
    leases: &'a LeaseTable,
    map: Keyspace,
    bytes: u64,
    revision: Revision,
    pub(crate) changes: Vec<Arc<Change>>,
    pub(crate) items: Vec<Item>,
    /// About what the items take when they are written.
    pub(crate) weight: usize,
    granted: HashSet<Lease>,
}

impl<'a> Stage<'a> {
    pub(crate) fn new(current: &Published, limits: &'a Limits, leases: &'a LeaseTable) -> Self {
        Self {
            limits,
            leases,
            map: current.map.clone(),
            bytes: current.bytes,
            revision: current.revision,
            changes: Vec::new(),
            items: Vec::new(),
            weight: 0,
            granted: HashSet::new(),
        }
    }

    /// The keyspace as the batch makes it.
    pub(crate) fn finish(self) -> (Published, Vec<Arc<Change>>, Vec<Item>) {
        (Published { revision: self.revision, map: self.map, bytes: self.bytes }, self.changes, self.items)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(crate) fn knows_lease(&self, lease: Lease) -> bool {
        self.leases.contains(lease) || self.granted.contains(&lease)
    }

    pub(crate) fn leases_len(&self) -> usize {
        self.leases.len() + self.granted.len()
    }

    pub(crate) fn grant(&mut self, lease: Lease, ttl: Duration) {
        self.granted.insert(lease);
        self.items.push(Item::Lease { lease, ttl });
    }

    /// Deletes the lease and, at one revision, all keys that live by it. The batch holds nothing before that could have attached another.
    pub(crate) fn revoke(&mut self, lease: Lease) -> Revision {
        let keys = self.leases.keys(lease);
        let at = self.revision.next();
        let mut deleted = false;
        for key in keys {
            if self.map.get(&key).is_some_and(|row| row.lease == lease) {
                deleted |= self.delete(key, at).is_some();
            }
        }
        if deleted {
            self.revision = at;
        }
        self.items.push(Item::Revoked { lease });
        self.revision
    }

    /// Checks the whole transaction before it does any of it, so that it is done whole or not at all.
    pub(crate) fn commit(&mut self, txn: Txn) -> Result<Committed, CommitError> {
        let Txn { compares, ops, otherwise } = txn;
        self.check_size(&compares, &ops, otherwise.as_deref())?;
        let failed = compares.iter().enumerate().find_map(|(index, compare)| Some((index, self.failing(compare)?)));
        let (succeeded, ops) = match (failed, otherwise) {
            (None, _) => (true, ops),
            (Some(_), Some(otherwise)) => (false, otherwise),
            (Some((compare, current)), None) => return Err(CommitError::Conflict { compare, current }),
        };
        self.check_ops(&ops)?;
        let at = self.revision.next();
        let before = self.changes.len();
        let outcomes = ops.into_iter().enumerate().map(|(index, op)| self.apply(index, op, at)).collect::<Result<_, _>>()?;
        if self.changes.len() > before {
            self.revision = at;
        }
        Ok(Committed { revision: self.revision, succeeded, outcomes })
    }

    fn check_size(&self, compares: &[Compare], ops: &[Op], otherwise: Option<&[Op]>) -> Result<(), CommitError> {
        let limit = self.limits.txn_ops_max;
        for ops in [compares.len(), ops.len(), otherwise.map_or(0, <[Op]>::len)] {
            if ops > limit {
                return Err(CommitError::TooManyOps { ops, limit });
            }
        }
        for ops in [ops, otherwise.unwrap_or_default()] {
            let mut total = 0;
            for op in ops {
                if let Op::Put { key, value, facts, .. } = op {
                    let (bytes, limit) = (key.len(), self.limits.key_bytes_max);
                    if bytes > limit {
                        return Err(CommitError::KeyTooLarge { bytes, limit });
                    }
                    let (bytes, limit) = (value.len(), self.limits.value_bytes_max);
                    if bytes > limit {
                        return Err(CommitError::ValueTooLarge { key: key.clone(), bytes, limit });
                    }
                    total += put_bytes(key, value, facts);
                }
            }
            let limit = self.limits.txn_bytes_max;
            if total > limit {
                return Err(CommitError::TxnTooLarge { bytes: total, limit });
            }
        }
        Ok(())
    }

    /// The row that the compare met, when it does not hold.
    fn failing(&self, compare: &Compare) -> Option<Option<Arc<Row>>> {
        let get = |key: &Key| self.map.get(key).cloned();
        match compare {
            Compare::Absent(key) => get(key).map(Some),
            Compare::Exists(key) => get(key).is_none().then_some(None),
            Compare::Modified { key, is } => {
                let current = get(key);
                let holds = current.as_ref().is_some_and(|row| row.modified == *is);
                (!holds).then_some(current)
            }
            Compare::Each { range: Range::One(key), field, order } => {
                let current = get(key);
                let holds = holds(current.as_deref(), field, *order);
                (!holds).then_some(current)
            }
            Compare::Each { range, field, order } => {
                let mut found = rows(&self.map, range.bounds()).map(|(_, row)| row).peekable();
                if found.peek().is_none() {
                    return (!holds(None, field, *order)).then_some(None);
                }
                found.find(|row| !holds(Some(row), field, *order)).cloned().map(Some)
            }
        }
    }

    fn check_ops(&self, ops: &[Op]) -> Result<(), CommitError> {
        let mut grows: u64 = 0;
        let mut shrinks: u64 = 0;
        for (index, op) in ops.iter().enumerate() {
            match op {
                Op::Put { key, value, facts, lease } => {
                    if key.is_empty() {
                        return Err(CommitError::EmptyKey { op: index });
                    }
                    if !value.is_sound() {
                        return Err(CommitError::Malformed { op: index });
                    }
                    if lease.is_some() && !self.knows_lease(*lease) {
                        return Err(CommitError::NoLease { op: index, lease: *lease });
                    }
                    grows += value.weight(facts, self.revision.next());
                    shrinks += self.map.get(key).map_or(0, |row| row.weight());
                }
                Op::Delete { key } => shrinks += self.map.get(key).map_or(0, |row| row.weight()),
                Op::DeleteRange { range } => shrinks += rows(&self.map, range.bounds()).map(|(_, row)| row.weight()).sum::<u64>(),
                Op::Range { .. } => {}
            }
        }
        check_duplicates(ops)?;
        let growth = grows.saturating_sub(shrinks);
        if growth > 0 && self.bytes + growth > self.limits.keyspace_bytes_max {
            return Err(CommitError::Full);
        }
        Ok(())
    }

    fn apply(&mut self, index: usize, op: Op, at: Revision) -> Result<Outcome, CommitError> {
        Ok(match op {
            Op::Put { key, value, facts, lease } => {
                let old = self.map.get(&key).cloned();
                if let Some(row) = old.as_ref().filter(|row| row.lease == lease && value.same_as(row)) {
                    return Ok(Outcome::Put { row: row.clone(), old });
                }
                // Soundness was checked, so nothing has been done when this fails.
                let value = value.fill(at).ok_or(CommitError::Malformed { op: index })?;
                let row = self.put(key, value, facts, lease, old.clone(), at);
                Outcome::Put { row, old }
            }
            Op::Delete { key } => Outcome::Deleted { old: self.delete(key, at) },
            Op::DeleteRange { range } => {
                let keys: Vec<Key> = rows(&self.map, range.bounds()).map(|(key, _)| key.clone()).collect();
                let deleted = keys.into_iter().filter_map(|key| Some((key.clone(), self.delete(key, at)?)));
                Outcome::DeletedRange { rows: deleted.collect() }
            }
            Op::Range { range, limit } => {
                let limit = if limit == 0 { usize::MAX } else { limit };
                let mut found = rows(&self.map, range.bounds());
                let taken: Vec<_> = found.by_ref().take(limit).map(|(key, row)| (key.clone(), row.clone())).collect();
                let count = taken.len() + found.count();
                Outcome::Range { rows: taken, count }
            }
        })
    }

    fn put(&mut self, key: Key, value: Value, facts: Facts, lease: Lease, old: Option<Arc<Row>>, at: Revision) -> Arc<Row> {
        let (create, version) = old.as_ref().map_or((at, 1), |old| (old.create, old.version + 1));
        let row = Arc::new(Row { value, facts, create, modified: at, version, lease });
        self.bytes = (self.bytes + row.weight()).saturating_sub(old.as_ref().map_or(0, |old| old.weight()));
        self.weight += key.len() + row.weight() as usize;
        self.map.insert(key.clone(), row.clone());
        self.items.push(Item::Row { key: key.clone(), row: row.clone() });
        self.changes.push(Arc::new(Change::new(key, old, Some(row.clone()), at)));
        row
    }

    fn delete(&mut self, key: Key, at: Revision) -> Option<Arc<Row>> {
        let old = self.map.remove(&key)?;
        self.bytes = self.bytes.saturating_sub(old.weight());
        self.weight += key.len() + DELETE_BYTES;
        self.items.push(Item::Deleted { key: key.clone(), revision: at });
        self.changes.push(Arc::new(Change::new(key, Some(old.clone()), None, at)));
        Some(old)
    }
}

/// What a deletion takes in the log beside its key, at most.
const DELETE_BYTES: usize = 16;
/// What a put takes beside its key, value and facts, at most.
const PUT_BYTES: usize = 384;

fn put_bytes(key: &Key, value: &Draft, facts: &Facts) -> usize {
    let pairs = facts.labels.iter().chain(&facts.fields).map(|(name, value)| name.len() + value.len());
    key.len() + value.len() + PUT_BYTES + pairs.sum::<usize>()
}

fn holds(row: Option<&Row>, field: &Field, order: Order) -> bool {
    let ordering = match field {
        Field::Version(version) => row.map_or(0, |row| row.version).cmp(version),
        Field::Create(revision) => row.map_or(Revision::ZERO, |row| row.create).cmp(revision),
        Field::Modified(revision) => row.map_or(Revision::ZERO, |row| row.modified).cmp(revision),
        Field::Lease(lease) => row.map_or(Lease::NONE, |row| row.lease).cmp(lease),
        Field::Value(value) => match row {
            Some(row) => row.bytes().cmp(value),
            None => return false,
        },
    };
    order.holds(ordering)
}

/// One transaction has one revision, at which a key can change once only.
fn check_duplicates(ops: &[Op]) -> Result<(), CommitError> {
    if ops.len() < 2 {
        return Ok(());
    }
    let mut put = HashSet::new();
    for (index, op) in ops.iter().enumerate() {
        if let Op::Put { key, .. } = op
            && !put.insert(key)
        {
            return Err(CommitError::DuplicateKey { op: index });
        }
    }
    for (index, op) in ops.iter().enumerate() {
        let overlaps = match op {
            Op::Delete { key } => put.contains(key),
            Op::DeleteRange { range } => put.iter().any(|key| range.contains(key.as_bytes())),
            Op::Put { .. } | Op::Range { .. } => false,
        };
        if overlaps {
            return Err(CommitError::DuplicateKey { op: index });
        }
    }
    Ok(())
}
