//! Keeps PersistentVolumeClaims that Pods use and PersistentVolumes that are bound, by finalizers that it puts on and takes off.
//!
//! It says of a bound claim too whether any Pod refers to it.

mod claim;
mod volume;

use crate::registry::Row;
use kube::core::ObjectMeta;

pub(crate) const CLAIM_ROW: Row = Row { name: "persistentvolumeclaim-protection-controller", start: claim::start };
pub(crate) const VOLUME_ROW: Row = Row { name: "persistentvolume-protection-controller", start: volume::start };

fn with(meta: &ObjectMeta, finalizer: &str) -> Vec<String> {
    meta.finalizers.iter().flatten().cloned().chain([finalizer.to_string()]).collect()
}

fn without(meta: &ObjectMeta, finalizer: &str) -> Vec<String> {
    meta.finalizers.iter().flatten().filter(|other| *other != finalizer).cloned().collect()
}
