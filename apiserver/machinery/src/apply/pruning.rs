//! The apply itself: merge, prune what the manager no longer applies, and find whose fields changed.
//!
//! It works on decoded JSON, as upstream does: a quantity written another way, or an explicit zero, is a change here, and becomes none only
//! when the result is decoded.

use super::compare::{Comparison, compare};
use super::field_set::{field_set, reconciled, validate, without};
use super::managers::{Fields, Identity, Manager, Managers, Operation};
use super::merge::merge;
use super::set::Set;
use super::view::{Typed, Types, View};
use super::{Conflict, Error, Request, UNOWNED};
use crate::Str;
use crate::codec::Report;
use crate::json;
use crate::schema::{Kind, Shape};
use crate::tree::{Struct, Value};
use std::collections::HashMap;

pub(super) struct Merger<'a> {
    pub request: &'a Request<'a>,
    /// Without managedFields.
    pub live: &'a Struct,
    pub patch: &'a Value,
}

pub(super) struct Merged {
    /// `None` where the live object is as it should be.
    pub object: Option<Value>,
    pub managers: Managers,
}

/// An object as JSON, in one version.
#[derive(Clone)]
struct Versioned {
    version: Str,
    shape: Shape,
    value: Value,
}

impl Versioned {
    fn types(&self) -> Types<'_> {
        Types::of(&self.shape.schema)
    }

    fn kind(&self) -> Kind {
        Kind::Struct(self.shape.root)
    }

    fn paths(&self) -> Result<Set, String> {
        field_set(self.types(), View::Value(&self.value), Typed::of(&self.kind()))
    }

    fn without(&self, remove: &Set) -> Self {
        Self { value: without(self.types(), &self.value, remove, Typed::of(&self.kind())), ..self.clone() }
    }

    /// A set of this version, with the structs above its members.
    fn with_structs(&self, set: &Set) -> Set {
        set.with_named_fields(&self.shape.schema, Some(&self.kind()))
    }

    fn compare(&self, new: &Versioned) -> Result<Comparison, String> {
        compare(self.types(), View::Value(&self.value), View::Value(&new.value), Typed::of(&self.kind()))
    }
}

/// A set that a manager had, with the version it speaks of.
struct Versions {
    version: Str,
    set: Set,
}

impl Merger<'_> {
    pub fn apply(&self, managers: Managers, force: bool) -> Result<Merged, Error> {
        self.merged(managers, force).map_err(|failure| match failure {
            Failure::Conflict(conflicts) => Error::Conflict(conflicts),
            Failure::Other(error) => Error::Internal(error),
        })
    }

    fn live_value(&self) -> Result<Versioned, String> {
        let request = self.request;
        Ok(Versioned { version: request.api_version.into(), shape: request.shape.clone(), value: untyped(request.shape, self.live)? })
    }

    fn convert(&self, object: &Versioned, version: &str) -> Result<Option<Versioned>, String> {
        if object.version == version {
            return Ok(Some(object.clone()));
        }
        let decoded = json::decode(&object.shape, &json::from_any(&object.value), &mut Report::ignore()).map_err(|error| error.to_string())?;
        let Some(converted) = (self.request.convert)(&decoded, &object.version, version)? else { return Ok(None) };
        let value = untyped(&converted.shape, &converted.object)?;
        Ok(Some(Versioned { version: version.into(), shape: converted.shape, value }))
    }

    fn merged(&self, managers: Managers, force: bool) -> Result<Merged, Failure> {
        let request = self.request;
        let live = self.live_value()?;
        let mut managers = self.reconciled(&live, managers)?;
        let merged =
            merge(live.types(), &live.value, self.patch, Typed::of(&live.kind())).map_err(|error| format!("failed to merge config: {error}"))?;
        let merged = Versioned { value: merged.unwrap_or(Value::Null), ..live.clone() };
        let own = request.identity(Operation::Apply);
        let last = managers
            .get(&own)
            .map(|manager| Ok::<_, String>(Versions { version: manager.api_version.clone(), set: set_of(manager)? }))
            .transpose()?;
        let applied = field_set(request.types(), View::Value(self.patch), Typed::of(&live.kind()));
        let applied = applied.map_err(|error| format!("failed to get field set: {error}"))?.recursive_difference(request.reset);
        let time = managers.get(&own).and_then(|manager| manager.time.clone());
        managers.put(Manager { identity: own.clone(), api_version: request.api_version.into(), time, fields: Fields::Set(applied) });
        let new = self.pruned(merged, &managers, last).map_err(|error| format!("failed to prune fields: {error}"))?;
        self.take_from_others(&live, &new, &mut managers, &own, force)?;
        let changed = !live.types().equal(View::Value(&live.value), View::Value(&new.value));
        if changed && let Some(manager) = managers.get_mut(&own) {
            manager.time = Some(request.now.into());
        }
        strip(&mut managers, &own)?;
        Ok(Merged { object: changed.then_some(new.value), managers })
    }

    /// Brings the managers' sets up to today's schema, and forgets those of versions that are gone.
    fn reconciled(&self, live: &Versioned, managers: Managers) -> Result<Managers, String> {
        let mut kept = Managers::default();
        for mut manager in managers.list {
            let Some(live) = self.convert(live, &manager.api_version)? else { continue };
            let set = set_of(&manager)?;
            if let Some(set) = reconciled(live.types(), &set, Typed::of(&live.kind())) {
                manager.fields = Fields::Set(set);
            }
            kept.list.push(manager);
        }
        Ok(kept)
    }

    /// Removes what the manager applied last time and does not apply any more, unless someone else owns it.
    fn pruned(&self, merged: Versioned, managers: &Managers, last: Option<Versions>) -> Result<Versioned, String> {
        let Some(last) = last.filter(|last| !last.set.is_empty()) else { return Ok(merged) };
        let version = merged.version.clone();
        let Some(merged_then) = self.convert(&merged, &last.version)? else { return Ok(merged) };
        let pruned = merged_then.without(&merged_then.with_structs(&last.set));
        let pruned = self.with_owned(&merged_then, pruned, managers)?;
        let Some(pruned) = self.convert(&pruned, &last.version)? else { return Ok(merged) };
        let pruned_paths = merged_then.with_structs(&pruned.paths()?);
        let merged_paths = merged_then.with_structs(&merged_then.paths()?);
        let last_paths = merged_then.with_structs(&last.set);
        let gone = merged_paths.difference(&pruned_paths).intersection(&last_paths);
        let result = merged_then.without(&gone);
        self.convert(&result, &version)?.ok_or_else(|| format!("no version {version}"))
    }

    /// Puts back what any manager still owns.
    fn with_owned(&self, merged: &Versioned, mut pruned: Versioned, managers: &Managers) -> Result<Versioned, String> {
        let mut owned: Vec<Versions> = Vec::new();
        for manager in &managers.list {
            let set = set_of(manager)?;
            match owned.iter_mut().find(|versions| versions.version == manager.api_version) {
                Some(versions) => versions.set = versions.set.union(&set),
                None => owned.push(Versions { version: manager.api_version.clone(), set }),
            }
        }
        // The version at hand first, which needs no conversion.
        owned.sort_by_key(|versions| versions.version != pruned.version);
        let mut merged = merged.clone();
        for Versions { version, set } in owned {
            let (Some(merged_then), Some(pruned_then)) = (self.convert(&merged, &version)?, self.convert(&pruned, &version)?) else { continue };
            let all = merged_then.with_structs(&merged_then.paths()?);
            let kept = merged_then.with_structs(&pruned_then.paths()?).union(&merged_then.with_structs(&set));
            pruned = merged_then.without(&all.difference(&kept));
            merged = merged_then;
        }
        Ok(pruned)
    }

    /// Takes changed and removed fields from all other managers; without force, taking one is a conflict.
    fn take_from_others(&self, live: &Versioned, new: &Versioned, managers: &mut Managers, own: &Identity, force: bool) -> Result<(), Failure> {
        let mut changes: HashMap<Str, Option<Comparison>> = HashMap::new();
        let mut conflicts: Vec<(Identity, Set)> = Vec::new();
        let mut left = Managers::default();
        for mut manager in std::mem::take(&mut managers.list) {
            if manager.identity == *own {
                left.list.push(manager);
                continue;
            }
            if !changes.contains_key(&manager.api_version) {
                let both = self.convert(live, &manager.api_version)?.zip(self.convert(new, &manager.api_version)?);
                let change = both.map(|(live, new)| live.compare(&new)).transpose().map_err(|error| format!("failed to compare objects: {error}"))?;
                changes.insert(manager.api_version.clone(), change.map(|change| change.without(self.request.reset)));
            }
            let change = changes.get(&manager.api_version).and_then(Option::as_ref);
            let Some(change) = change else { continue };
            let set = set_of(&manager)?;
            let taken = set.intersection(&change.set());
            manager.fields = Fields::Set(set.difference(&taken).difference(&change.removed));
            if !taken.is_empty() {
                conflicts.push((manager.identity.clone(), taken));
            }
            left.list.push(manager);
        }
        if !force && !conflicts.is_empty() {
            conflicts.sort_by(|(a, _), (b, _)| a.cmp(b));
            let all = conflicts.iter().flat_map(|(manager, set)| set.paths().into_iter().map(|path| Conflict { manager: manager.clone(), path }));
            return Err(Failure::Conflict(all.collect()));
        }
        left.list.retain(|manager| !matches!(&manager.fields, Fields::Set(set) if set.is_empty()));
        *managers = left;
        Ok(())
    }

    /// What kubectl may take over from its client-side past: what it last applied and nobody changed since.
    pub fn allowed_by_last_applied(&self, annotation: &str) -> Option<Set> {
        let schema = &self.request.shape.schema;
        let text = self.live.at(schema, "metadata.annotations")?.as_map()?.get(annotation)?.as_str()?;
        let live = self.live_value().ok()?;
        let kind = live.kind();
        let last = json::to_any(text.as_bytes()).ok()?;
        if last.as_map()?.get("apiVersion")?.as_str()? != self.request.api_version {
            return None;
        }
        let fits = |value: &Value| validate(live.types(), value, Typed::of(&kind), false).is_none();
        if !fits(&live.value) || !fits(&last) {
            return None;
        }
        let last = Versioned { value: last, ..live.clone() };
        let change = last.compare(&live).ok()?;
        Some(last.paths().ok()?.difference(&change.modified).difference(&change.added).difference(&change.removed))
    }
}

enum Failure {
    Conflict(Vec<Conflict>),
    Other(String),
}

impl From<String> for Failure {
    fn from(error: String) -> Self {
        Failure::Other(error)
    }
}

fn set_of(manager: &Manager) -> Result<Set, String> {
    manager.set().map_err(|error| error.to_string())
}

fn untyped(shape: &Shape, object: &Struct) -> Result<Value, String> {
    let mut bytes = Vec::new();
    json::encode(&shape.schema, object, &mut bytes);
    json::to_any(&bytes).map_err(|error| error.to_string())
}

/// Takes from the manager what nobody owns; a manager of nothing is forgotten.
fn strip(managers: &mut Managers, own: &Identity) -> Result<(), String> {
    let Some(manager) = managers.get_mut(own) else { return Ok(()) };
    let set = set_of(manager)?.difference(&UNOWNED);
    if set.is_empty() {
        managers.remove(own);
    } else {
        manager.fields = Fields::Set(set);
    }
    Ok(())
}
