//! Who owns whom, as the watches tell it.
//!
//! An owner that is not in the graph may be gone, or not seen yet: its dependents are to be looked at, and looking asks the server.

use super::Uid;
use crate::discovery::Resource;
use controllers_runtime::Kind;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::core::ObjectMeta;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

pub(super) const FOREGROUND: &str = "foregroundDeletion";
pub(super) const ORPHAN: &str = "orphan";

/// What a change makes necessary.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// See whether the object has to go.
    Delete(Uid),
    /// Take the owner's references out of its dependents.
    Orphan(Uid),
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub kind: Kind,
    pub namespace: String,
    pub name: String,
    pub owners: Vec<OwnerReference>,
    pub deleting: bool,
    /// Being deleted, and waiting for its dependents to go first.
    pub foreground: bool,
    orphaning: bool,
}

#[derive(Default)]
pub(super) struct Graph {
    nodes: HashMap<Uid, Node>,
    /// By owner, whether the owner is known or not.
    dependents: HashMap<Uid, BTreeSet<Uid>>,
}

impl Graph {
    pub fn get(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }

    pub fn dependents(&self, uid: &str) -> Vec<(Uid, Node)> {
        let uids = self.dependents.get(uid).into_iter().flatten();
        uids.filter_map(|uid| Some((uid.clone(), self.nodes.get(uid)?.clone()))).collect()
    }

    /// Whether all owners of the object are in the graph.
    pub fn knows_owners(&self, uid: &str) -> bool {
        self.nodes.get(uid).is_none_or(|node| node.owners.iter().all(|owner| self.nodes.contains_key(owner.uid.as_str())))
    }

    /// An object appeared or changed.
    pub fn put(&mut self, resource: &Resource, meta: &ObjectMeta) -> Vec<Look> {
        let uid: Uid = Arc::from(meta.uid.as_deref().unwrap_or_default());
        let deleting = meta.deletion_timestamp.is_some();
        let has = |finalizer: &str| meta.finalizers.iter().flatten().any(|known| known == finalizer);
        let new = Node {
            kind: resource.kind.clone(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            owners: meta.owner_references.clone().unwrap_or_default(),
            deleting,
            foreground: deleting && has(FOREGROUND),
            orphaning: deleting && has(ORPHAN),
        };
        let old = self.nodes.insert(uid.clone(), new.clone());
        let mut looks = Vec::new();

        let old_owners = old.as_ref().map(|node| node.owners.as_slice()).unwrap_or_default();
        for owner in old_owners {
            let now = new.owners.iter().find(|now| now.uid == owner.uid);
            if now.is_none() {
                self.unlink(&owner.uid, &uid);
            }
            // An owner that waits for its dependents may go now.
            let unblocked = owner.block_owner_deletion == Some(true) && now.is_none_or(|now| now.block_owner_deletion != Some(true));
            if unblocked && self.nodes.get(owner.uid.as_str()).is_some_and(|owner| owner.foreground) {
                looks.push(Look::Delete(owner.uid.as_str().into()));
            }
        }
        let mut unsure = false;
        for owner in &new.owners {
            self.dependents.entry(owner.uid.as_str().into()).or_default().insert(uid.clone());
            if !old_owners.iter().any(|old| old.uid == owner.uid) {
                // Also where the owner waits for its dependents already: then this one has to go with it.
                unsure |= self.nodes.get(owner.uid.as_str()).is_none_or(|owner| owner.foreground);
            }
        }
        if unsure {
            looks.push(Look::Delete(uid.clone()));
        }
        if new.orphaning && !old.as_ref().is_some_and(|old| old.orphaning) {
            looks.push(Look::Orphan(uid.clone()));
        }
        if new.foreground && !old.as_ref().is_some_and(|old| old.foreground) {
            looks.extend(self.dependents.get(&uid).into_iter().flatten().cloned().map(Look::Delete));
            looks.push(Look::Delete(uid));
        }
        looks
    }

    /// An object is gone.
    pub fn remove(&mut self, uid: &str) -> Vec<Look> {
        let Some(node) = self.nodes.remove(uid) else { return Vec::new() };
        let mut looks: Vec<Look> = self.dependents.get(uid).into_iter().flatten().cloned().map(Look::Delete).collect();
        for owner in &node.owners {
            self.unlink(&owner.uid, uid);
            if self.nodes.get(owner.uid.as_str()).is_some_and(|owner| owner.foreground) {
                looks.push(Look::Delete(owner.uid.as_str().into()));
            }
        }
        looks
    }

    /// A resource is no longer served.
    pub fn forget_kind(&mut self, kind: &Kind) -> Vec<Look> {
        let gone: Vec<Uid> = self.nodes.iter().filter(|(_, node)| node.kind == *kind).map(|(uid, _)| uid.clone()).collect();
        gone.iter().flat_map(|uid| self.remove(uid)).collect()
    }

    fn unlink(&mut self, owner: &str, dependent: &str) {
        if let Some(dependents) = self.dependents.get_mut(owner) {
            dependents.remove(dependent);
            if dependents.is_empty() {
                self.dependents.remove(owner);
            }
        }
    }
}
