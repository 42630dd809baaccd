//! The stages of a request, in the order in which they run. Each takes what the one before it proved.

pub mod admit;
pub mod authenticate;
pub mod authorize;
pub mod commit;
pub mod decode;
pub mod delete;
pub mod mutate;
pub mod owners;
pub mod prepare;
pub mod propose;
pub mod respond;
pub mod throttle;
pub mod validate;
use crate::auth::Auth;
use crate::request::{Target, User};
use crate::resource::{Object, Resource};
use apiserver_store::{Compare, Op, Snapshot};
use std::ops::RangeInclusive;

/// What admission plugins know of a write. Objects are in the storage version.
pub struct Admission<'a> {
    pub user: &'a User,
    pub target: &'a Target,
    /// The object's name, also where the server made it up.
    pub name: &'a str,
    pub operation: Operation,
    pub resource: &'a Resource,
    /// Before the write; of updates and deletes.
    pub old: Option<Object<'a>>,
    pub dry_run: bool,
    pub now: jiff::Timestamp,
    /// What the whole decision reads: namespaces, quotas, priority classes.
    pub snapshot: &'a Snapshot,
    /// For plugins that ask what the user may do beside the write itself.
    pub auth: &'a Auth,
    /// `--service-node-port-range`
    pub node_ports: &'a RangeInclusive<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    /// exec, attach, portforward, proxy.
    Connect,
}

/// What a write takes along beside its object: quota, allocated addresses and ports and disruption budgets, which are committed with it; warnings.
#[derive(Default)]
pub struct Extra {
    pub compares: Vec<Compare>,
    pub ops: Vec<Op>,
    /// For the client, as `Warning: 299` headers.
    pub warnings: Vec<String>,
}
