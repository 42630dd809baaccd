//! What becomes of an object, given the state of its owners as the server has it.

use super::graph::{FOREGROUND, ORPHAN};
use controllers_runtime::plan::Propagation;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::core::ObjectMeta;

/// An owner, as the server has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// There, or impossible to say.
    Solid,
    /// Gone, or another object has its name.
    Gone,
    /// Being deleted in the foreground: waits for this object to go.
    Waiting,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Keep,
    /// Kept by one owner; the references with these uids are taken out.
    Release {
        uids: Vec<String>,
    },
    /// `unblock` first lets owners go without waiting for this object: else a circle would wait for itself.
    Delete {
        propagation: Propagation,
        unblock: bool,
    },
}

/// `dependent_waits` says whether one of the object's own dependents waits for others to go; None where it has none.
pub(super) fn verdict(latest: &ObjectMeta, owners: &[(OwnerReference, Owner)], dependent_waits: Option<bool>) -> Verdict {
    let with = |state: Owner| owners.iter().filter(move |(_, owner)| *owner == state).map(|(reference, _)| reference);
    if owners.is_empty() {
        return Verdict::Keep;
    }
    if with(Owner::Solid).next().is_some() {
        let uids: Vec<String> = with(Owner::Gone).chain(with(Owner::Waiting)).map(|reference| reference.uid.clone()).collect();
        return if uids.is_empty() { Verdict::Keep } else { Verdict::Release { uids } };
    }
    if with(Owner::Waiting).next().is_some()
        && let Some(waits) = dependent_waits
    {
        return Verdict::Delete { propagation: Propagation::Foreground, unblock: waits };
    }
    // The finalizers say how whoever began the deletion wanted it.
    let has = |finalizer: &str| latest.finalizers.iter().flatten().any(|known| known == finalizer);
    let propagation = match (has(ORPHAN), has(FOREGROUND)) {
        (true, _) => Propagation::Orphan,
        (_, true) => Propagation::Foreground,
        _ => Propagation::Background,
    };
    Verdict::Delete { propagation, unblock: false }
}
