//! Owners of replicas, between an object and its `scale` subresource: who owns `spec.replicas` of a Scale owns the replicas of its parent.

use super::managers::{Fields, Identity, Layout, Manager, Managers};
use super::set::{Element, Set};
use crate::schema::Shape;
use crate::tree::Struct;

const SCALE_VERSION: &str = "autoscaling/v1";

/// Where a version of the parent keeps its replicas; `None` where it has none.
#[derive(Clone, Copy, Debug)]
pub struct Replicas<'a> {
    pub api_version: &'a str,
    /// Field names joined by dots.
    pub path: Option<&'a str>,
}

fn path_in(replicas: &[Replicas<'_>], api_version: &str) -> Option<Option<Vec<Element>>> {
    let found = replicas.iter().find(|replicas| replicas.api_version == api_version)?;
    Some(found.path.map(|path| path.split('.').map(|name| Element::Field(name.into())).collect()))
}

fn one(path: &[Element]) -> Fields {
    let mut set = Set::default();
    set.insert(path);
    Fields::Set(set)
}

fn scale_path() -> Vec<Element> {
    vec![Element::Field("spec".into()), Element::Field("replicas".into())]
}

/// Gives a Scale the owners that its parent's replicas have. A parent whose managedFields say nothing gives none.
pub fn to_scale(parent: (&Shape, &Struct), scale: (&Shape, &mut Struct), replicas: &[Replicas<'_>]) {
    let (Some(parent_layout), Some(scale_layout)) = (Layout::of(parent.0), Layout::of(scale.0)) else { return };
    let mut owners = Managers::default();
    for manager in parent_layout.decode(parent_layout.get(parent.1)).unwrap_or_default().list {
        let Some(Some(path)) = path_in(replicas, &manager.api_version) else { continue };
        if manager.set().is_ok_and(|set| set.has(&path)) {
            owners.put(Manager { api_version: SCALE_VERSION.into(), fields: one(&scale_path()), ..manager });
        }
    }
    scale_layout.set(scale.1, scale_layout.encode(&owners));
}

/// Brings the owners of a written Scale back to its parent, whose managedFields are still those before the write. `api_version` is the parent's.
pub fn from_scale(scale: (&Shape, &Struct), parent: (&Shape, &mut Struct), api_version: &str, replicas: &[Replicas<'_>]) {
    let (Some(scale_layout), Some(parent_layout)) = (Layout::of(scale.0), Layout::of(parent.0)) else { return };
    let before = parent_layout.decode(parent_layout.get(parent.1)).unwrap_or_default();
    let mut owners = scale_layout.decode(scale_layout.get(scale.1)).unwrap_or_default();
    let mut after = Managers::default();
    for manager in before.list.iter().cloned() {
        let Some(path) = path_in(replicas, &manager.api_version) else { continue };
        let Some((path, set)) = path.zip(manager.set().ok()).filter(|(path, set)| set.has(path)) else {
            after.put(manager);
            continue;
        };
        if owners.remove(&manager.identity).is_some() {
            after.put(manager);
            continue;
        }
        let mut taken = Set::default();
        taken.insert(&path);
        let left = set.difference(&taken);
        if !left.is_empty() {
            after.put(Manager { fields: Fields::Set(left), ..manager });
        }
    }
    let Some(Some(path)) = path_in(replicas, api_version) else { return };
    let time = |identity: &Identity| before.get(identity).and_then(|manager| manager.time.clone());
    for owner in owners.list {
        if owner.set().is_ok_and(|set| set.has(&scale_path())) {
            let time = time(&owner.identity);
            after.put(Manager { api_version: api_version.into(), fields: one(&path), time, ..owner });
        }
    }
    parent_layout.set(parent.1, parent_layout.encode(&after));
}
