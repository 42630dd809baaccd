//! From a changed object to the keys of those whom it concerns.

use apiserver_client::{Event, Informer, ObjectKey};
use controllers_runtime::{Kind, Selector, owner};
use kube::Resource;
use kube::core::ObjectMeta;

/// The controllers of the given kind that control the object, or did before the change.
pub(crate) fn owners<K: Resource>(event: &Event<K>, kind: &Kind) -> Vec<ObjectKey> {
    let mut keys: Vec<ObjectKey> = states(event).filter_map(|object| owner_key(object.meta(), kind)).collect();
    keys.dedup();
    keys
}

pub(crate) fn owner_key(meta: &ObjectMeta, kind: &Kind) -> Option<ObjectKey> {
    let owner = owner::controller_of(meta)?;
    let group = owner.api_version.rsplit_once('/').map_or("", |(group, _)| group);
    (owner.kind == kind.kind && group == kind.group).then(|| ObjectKey::new(meta.namespace.as_deref().unwrap_or_default(), &owner.name))
}

/// Who might adopt the object, if nobody controls it now: owners in its namespace whose selector it matches.
pub(crate) fn adopters<K: Resource, O: Resource + Send + Sync + 'static>(
    event: &Event<K>,
    owners: &Informer<O>,
    selector: fn(&O) -> Option<Selector>,
) -> Vec<ObjectKey> {
    let object = match event {
        Event::Added(object) | Event::Updated { new: object, .. } => object,
        Event::Deleted(_) | Event::Synced => return Vec::new(),
    };
    let meta = object.meta();
    if owner::controller_of(meta).is_some() || meta.labels.as_ref().is_none_or(|labels| labels.is_empty()) {
        return Vec::new();
    }
    let candidates = owners.list_in(meta.namespace.as_deref().unwrap_or_default());
    let matching = candidates.iter().filter(|owner| selector(owner).is_some_and(|selector| selector.matches(meta.labels.as_ref())));
    matching.map(|owner| ObjectKey::of(&**owner)).collect()
}

/// The object after and, for an update, before the change.
pub(crate) fn states<K>(event: &Event<K>) -> impl Iterator<Item = &K> {
    let (new, old) = match event {
        Event::Added(object) | Event::Deleted(object) => (Some(object), None),
        Event::Updated { old, new } => (Some(new), Some(old)),
        Event::Synced => (None, None),
    };
    new.into_iter().chain(old).map(|object| &**object)
}
