//! Merging an applied configuration into the live object: what is applied wins, lists by keys are merged in the order of both.
//!
//! Both are decoded JSON of one type.

use super::set::Element;
use super::view::{Atom, Typed, Types, View};
use crate::schema::ListOf;
use crate::tree::{Map, Value};
use std::collections::BTreeMap;

pub(super) fn merge<'a>(types: Types<'a>, live: &'a Value, applied: &'a Value, ty: Typed<'a>) -> Result<Option<Value>, String> {
    let live_atom = types.atom(ty, Some(View::Value(live)));
    let applied_atom = types.atom(ty, Some(View::Value(applied)));
    let same_sort = std::mem::discriminant(&live_atom) == std::mem::discriminant(&applied_atom);
    if !same_sort {
        return Ok(Some(applied.clone()));
    }
    let empty = |value| types.is_empty(View::Value(value));
    if empty(live) && empty(applied) {
        return Ok(Some(applied.clone()));
    }
    match applied_atom {
        Atom::Leaf => Ok(Some(applied.clone())),
        Atom::Struct(declared) => maps(types, live, applied, |name| types.field(declared, name).map(|(ty, _)| ty)),
        Atom::Map(ty) => maps(types, live, applied, |_| Some(ty)),
        Atom::List(list) => lists(types, list, items(live), items(applied)),
    }
}

fn items(value: &Value) -> &[Value] {
    value.as_list().unwrap_or_default()
}

fn maps<'a>(types: Types<'a>, live: &'a Value, applied: &'a Value, ty: impl Fn(&str) -> Option<Typed<'a>>) -> Result<Option<Value>, String> {
    let mut merged: Map = live.as_map().cloned().unwrap_or_default();
    for (name, applied) in applied.as_map().into_iter().flat_map(Map::iter) {
        let old = live.as_map().and_then(|live| live.get(name));
        let value = match (old, ty(name)) {
            (Some(old), Some(ty)) => merge(types, old, applied, ty)?,
            _ => Some(applied.clone()),
        };
        match value {
            Some(value) => drop(merged.insert(name, value)),
            None => drop(merged.remove(name)),
        }
    }
    Ok((!merged.is_empty()).then_some(Value::Map(merged)))
}

/// Elements with the place of their item; `None` where the list has several.
type Observed<'v> = BTreeMap<Element, Option<&'v Value>>;

fn observe<'v>(types: Types<'_>, list: &ListOf, values: &'v [Value], duplicates: bool) -> Result<(Vec<Element>, Observed<'v>), String> {
    let mut observed = Observed::new();
    let mut elements = Vec::with_capacity(values.len());
    for (at, value) in values.iter().enumerate() {
        let element = types.item(list, View::Value(value)).map_err(|error| format!("element {at}: {error}"))?;
        match observed.get_mut(&element) {
            Some(_) if !duplicates => return Err(format!("duplicate entries for key {element}")),
            Some(several) => *several = None,
            None => drop(observed.insert(element.clone(), Some(value))),
        }
        elements.push(element);
    }
    Ok((elements, observed))
}

/// Items that only the live list has keep their place among those that both have; the order of those is the applied one.
fn lists<'a>(types: Types<'a>, list: &'a ListOf, live: &'a [Value], applied: &'a [Value]) -> Result<Option<Value>, String> {
    let (applied_elements, observed_applied) = observe(types, list, applied, false)?;
    let (live_elements, observed_live) = observe(types, list, live, true)?;
    let mut shared = applied_elements.iter().filter(|element| observed_live.contains_key(element)).peekable();
    let mut merged_elements = std::collections::BTreeSet::new();
    let mut out = Vec::with_capacity(live.len().max(applied.len()));
    let ty = Typed::of(&list.item);
    let item = |element: &Element| match (observed_live.get(element).copied().flatten(), observed_applied.get(element).copied().flatten()) {
        (Some(live), Some(applied)) => merge(types, live, applied, ty),
        (one, other) => Ok(one.or(other).cloned()),
    };
    let (mut at_live, mut at_applied) = (0, 0);
    while at_live < live_elements.len() || at_applied < applied_elements.len() {
        if let (Some(element), Some(next)) = (live_elements.get(at_live), applied_elements.get(at_applied)) {
            if element == next {
                merged_elements.insert(element);
                out.extend(item(element)?);
                at_live += 1;
                at_applied += 1;
                shared.next();
                continue;
            }
            if observed_applied.contains_key(element) && shared.peek().is_some_and(|next| *next != element) {
                at_live += 1;
                continue;
            }
        }
        if let Some(element) = live_elements.get(at_live) {
            if !observed_applied.contains_key(element) {
                out.push(live[at_live].clone());
                at_live += 1;
                continue;
            }
            if merged_elements.contains(element) {
                at_live += 1;
            }
        }
        if let Some(element) = applied_elements.get(at_applied) {
            merged_elements.insert(element);
            out.extend(item(element)?);
            at_applied += 1;
            shared.next_if(|next| *next == element);
        }
    }
    Ok((!out.is_empty()).then_some(Value::List(out)))
}
