//! Transactions: what must hold, what is then done, and what came of it.

use crate::key::{Key, Range};
use crate::row::{Draft, Facts, Lease, Revision, Row};
use bytes::Bytes;
use std::cmp::Ordering;
use std::sync::Arc;

/// If every compare holds, all of `ops` is done at one revision; else all of `otherwise`, or nothing and [`crate::CommitError::Conflict`].
#[derive(Clone, Debug, Default)]
pub struct Txn {
    pub compares: Vec<Compare>,
    pub ops: Vec<Op>,
    /// What an etcd transaction does in its `else`. None, as everywhere in the API server: a compare that fails is a conflict.
    pub otherwise: Option<Vec<Op>>,
}

impl Txn {
    pub fn new(compares: Vec<Compare>, ops: Vec<Op>) -> Self {
        Self { compares, ops, otherwise: None }
    }
}

#[derive(Clone, Debug)]
pub enum Compare {
    Absent(Key),
    Exists(Key),
    /// The key was last written at this revision.
    Modified {
        key: Key,
        is: Revision,
    },
    /// etcd's compare: it holds for every key of the range. A key that is absent has revisions, version and lease 0, and no value, which
    /// nothing equals.
    Each {
        range: Range,
        field: Field,
        order: Order,
    },
}

/// What etcd compares, and with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    Version(u64),
    Create(Revision),
    Modified(Revision),
    Lease(Lease),
    Value(Bytes),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Equal,
    NotEqual,
    Less,
    Greater,
}

impl Order {
    pub(crate) fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::NotEqual => ordering.is_ne(),
            Self::Less => ordering.is_lt(),
            Self::Greater => ordering.is_gt(),
        }
    }
}

#[derive(Clone, Debug)]
pub enum Op {
    Put {
        key: Key,
        value: Draft,
        facts: Facts,
        lease: Lease,
    },
    /// Deleting what is not there is not an error and takes no revision.
    Delete {
        key: Key,
    },
    DeleteRange {
        range: Range,
    },
    /// Sees what the ops before it did. At most `limit` rows; 0 is all.
    Range {
        range: Range,
        limit: usize,
    },
}

/// What a committed transaction did.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The transaction's own revision; the store's current one when it changed nothing.
    pub revision: Revision,
    /// Whether `ops` was done rather than `otherwise`.
    pub succeeded: bool,
    /// One for each op.
    pub outcomes: Vec<Outcome>,
}

#[derive(Clone, Debug)]
pub enum Outcome {
    /// The row as it is now, and as it was. A put that changed nothing gives the old row twice.
    Put {
        row: Arc<Row>,
        old: Option<Arc<Row>>,
    },
    Deleted {
        old: Option<Arc<Row>>,
    },
    DeletedRange {
        rows: Vec<(Key, Arc<Row>)>,
    },
    /// `count` is of all the range, whatever the limit.
    Range {
        rows: Vec<(Key, Arc<Row>)>,
        count: usize,
    },
}

impl Outcome {
    /// The row that was put, or the one that was deleted.
    pub fn row(&self) -> Option<&Arc<Row>> {
        match self {
            Self::Put { row, .. } => Some(row),
            Self::Deleted { old } => old.as_ref(),
            Self::DeletedRange { .. } | Self::Range { .. } => None,
        }
    }
}
