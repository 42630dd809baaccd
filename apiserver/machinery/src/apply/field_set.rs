//! Walks over one value and its type: which paths it has, whether it fits the type, and what is left without some of its paths.
//!
//! All but the schema check of stored sets work on decoded JSON.

use super::set::{Element, Set};
use super::view::{Atom, Typed, Types, View};
use crate::schema::{Kind, ListMerge};
use crate::text::{go_value, json_float, quote};
use crate::tree::{Map, Value};

/// Every path that a value has.
pub(super) fn field_set<'a>(types: Types<'a>, value: View<'a>, ty: Typed<'a>) -> Result<Set, String> {
    paths(types, value, ty).map(|(set, _)| set)
}

/// The paths below a value, and whether its own path is one.
fn paths<'a>(types: Types<'a>, value: View<'a>, ty: Typed<'a>) -> Result<(Set, bool), String> {
    let mut set = Set::default();
    match types.atom(ty, Some(value)) {
        Atom::Leaf => return Ok((set, true)),
        Atom::List(list) => {
            let View::Value(Value::List(items)) = value else { return Ok((set, false)) };
            let mut elements: Vec<(Element, &Value)> = Vec::with_capacity(items.len());
            for item in items {
                elements.push((types.item(list, View::Value(item))?, item));
            }
            elements.sort_by(|(a, _), (b, _)| a.cmp(b));
            for group in elements.chunk_by(|(a, _), (b, _)| a == b) {
                match group {
                    [(element, item)] => {
                        let (below, _) = paths(types, View::Value(item), Typed::of(&list.item))?;
                        set.push(element.clone(), true, below);
                    }
                    [(element, _), ..] => set.push(element.clone(), true, Set::default()),
                    [] => {}
                }
            }
        }
        Atom::Struct(declared) => {
            for (name, value) in types.entries(value) {
                let Some((ty, named)) = types.field(declared, name) else { continue };
                push_entry(types, &mut set, name, value, ty, named)?;
            }
        }
        Atom::Map(ty) => {
            for (name, value) in types.entries(value) {
                push_entry(types, &mut set, name, value, ty, false)?;
            }
        }
    }
    set.settle();
    Ok((set, false))
}

fn push_entry<'a>(types: Types<'a>, set: &mut Set, name: &str, value: View<'a>, ty: Typed<'a>, named: bool) -> Result<(), String> {
    let (below, own) = paths(types, value, ty)?;
    let nothing = matches!(value, View::Value(Value::Null)) || (types.is_map(value) && types.is_empty(value));
    set.push(Element::Field(name.into()), own || nothing || !named, below);
    Ok(())
}

/// What does not fit the type, in upstream's words; none if all does.
pub(super) fn validate(types: Types<'_>, value: &Value, ty: Typed<'_>, duplicates: bool) -> Option<String> {
    let mut problems = Vec::new();
    Validate { types, duplicates, problems: &mut problems }.value(value, ty, &mut String::new());
    match problems.len() {
        0 => None,
        1 => problems.pop(),
        _ => Some(format!("errors:\n  {}", problems.join("\n  "))),
    }
}

struct Validate<'a, 'p> {
    types: Types<'a>,
    duplicates: bool,
    problems: &'p mut Vec<String>,
}

impl Validate<'_, '_> {
    fn problem(&mut self, path: &str, message: String) {
        self.problems.push(if path.is_empty() { message } else { format!("{path}: {message}") });
    }

    fn value(&mut self, value: &Value, ty: Typed<'_>, path: &mut String) {
        let scalar = matches!(value, Value::Bool(_) | Value::Int(_) | Value::Double(_) | Value::String(_));
        match (ty.kind, value) {
            (_, Value::Null) | (Kind::Any | Kind::Fields | Kind::Choice(..), _) => {}
            (Kind::Struct(_) | Kind::Map(_), Value::Map(map)) => self.map(map, ty, path),
            (Kind::Struct(_) | Kind::Map(_), other) => self.problem(path, format!("expected map, got &{{{}}}", go_value(other))),
            (Kind::List(list), Value::List(items)) => self.list(items, list, path),
            (Kind::List(_), other) => self.problem(path, format!("expected list, got &{{{}}}", go_value(other))),
            (Kind::Bool, Value::Bool(_)) => {}
            (Kind::Bool, other) => self.problem(path, format!("expected boolean, got &{{{}}}", go_value(other))),
            (Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Double, Value::Int(_) | Value::Double(_)) => {}
            (Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Double, other) => {
                self.problem(path, format!("expected numeric (int or float), got {}", go_type(other)));
            }
            (Kind::String | Kind::Bytes | Kind::Duration, Value::String(_)) => {}
            (Kind::String | Kind::Bytes | Kind::Duration, other) => {
                self.problem(path, format!("expected string, got &value.valueUnstructured{{Value:{}}}", go_syntax(other)));
            }
            (Kind::Quantity | Kind::IntOrString | Kind::Time | Kind::MicroTime, _) if scalar => {}
            (Kind::Quantity | Kind::IntOrString | Kind::Time | Kind::MicroTime, other) => {
                self.problem(path, format!("expected any scalar, got &{{{}}}", go_value(other)));
            }
        }
    }

    fn map(&mut self, map: &Map, ty: Typed<'_>, path: &mut String) {
        for (name, value) in map.iter() {
            let field = match ty.kind {
                Kind::Struct(id) => self.types.field(self.types.schema.get(*id), name).map(|(ty, _)| ty),
                Kind::Map(map) => Some(Typed::of(&map.value)),
                _ => None,
            };
            let length = path.len();
            path.push('.');
            path.push_str(name);
            match field {
                Some(field) => self.value(value, field, path),
                None => self.problem(path, "field not declared in schema".to_owned()),
            }
            path.truncate(length);
            if field.is_none() {
                return;
            }
        }
    }

    fn list(&mut self, items: &[Value], list: &crate::schema::ListOf, path: &mut String) {
        let mut seen: Vec<Element> = Vec::new();
        for (at, item) in items.iter().enumerate() {
            let element = if list.merge == ListMerge::Atomic { Ok(Element::Index(at as i64)) } else { self.types.item(list, View::Value(item)) };
            let element = match element {
                Ok(element) => element,
                Err(error) => return self.problem(path, format!("element {at}: {error}")),
            };
            let length = path.len();
            if list.merge != ListMerge::Atomic {
                match seen.binary_search(&element) {
                    Ok(_) if !self.duplicates => self.problem(path, format!("duplicate entries for key {element}")),
                    Ok(_) => {}
                    Err(place) => seen.insert(place, element.clone()),
                }
            }
            path.push_str(&element.to_string());
            self.value(item, Typed::of(&list.item), path);
            path.truncate(length);
        }
    }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int64",
        Value::Double(_) => "float64",
        Value::List(_) => "[]interface {}",
        Value::Map(_) | Value::Struct(_) => "map[string]interface {}",
        Value::String(_) | Value::Bytes(_) | Value::Raw(_) => "string",
    }
}

/// Go's `%#v` of decoded JSON.
fn go_syntax(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Double(number) => json_float(*number),
        Value::String(text) => quote(text),
        Value::List(items) => format!("[]interface {{}}{{{}}}", items.iter().map(go_syntax).collect::<Vec<_>>().join(", ")),
        Value::Map(map) => {
            let entries: Vec<_> = map.iter().map(|(key, value)| format!("{}:{}", quote(key), go_syntax(value))).collect();
            format!("map[string]interface {{}}{{{}}}", entries.join(", "))
        }
        Value::Bytes(_) | Value::Raw(_) | Value::Struct(_) => String::new(),
    }
}

/// The value without the paths of a set, and all below them. A list or map that loses everything becomes null.
pub(super) fn without(types: Types<'_>, value: &Value, remove: &Set, ty: Typed<'_>) -> Value {
    match (types.atom(ty, Some(View::Value(value))), value) {
        (Atom::List(list), Value::List(items)) => {
            let mut kept = Vec::with_capacity(items.len());
            for item in items {
                let entry = types.item(list, View::Value(item)).ok().and_then(|element| remove.get(&element));
                match entry {
                    Some(entry) if entry.member => {}
                    Some(entry) => kept.push(without(types, item, &entry.below, Typed::of(&list.item))),
                    None => kept.push(item.clone()),
                }
            }
            if kept.is_empty() { Value::Null } else { Value::List(kept) }
        }
        (Atom::Struct(declared), Value::Map(map)) => entries_without(types, map, remove, |name| types.field(declared, name).map(|(ty, _)| ty)),
        (Atom::Map(ty), Value::Map(map)) => entries_without(types, map, remove, |_| Some(ty)),
        (Atom::Leaf, Value::List(_) | Value::Map(_)) => Value::Null,
        (Atom::Leaf, value) => value.clone(),
        _ => Value::Null,
    }
}

fn entries_without<'t>(types: Types<'t>, map: &Map, remove: &Set, ty: impl Fn(&str) -> Option<Typed<'t>>) -> Value {
    let mut kept = Vec::with_capacity(map.len());
    for (name, value) in map.iter() {
        match (remove.get(&Element::Field(name.into())), ty(name)) {
            (Some(entry), _) if entry.member => {}
            (Some(entry), Some(ty)) => kept.push((name.into(), without(types, value, &entry.below, ty))),
            _ => kept.push((name.into(), value.clone())),
        }
    }
    if kept.is_empty() { Value::Null } else { Value::Map(kept.into_iter().collect()) }
}

/// Brings a stored set up to a schema in which something has become atomic since: the whole is owned by who owned a part.
pub(super) fn reconciled<'a>(types: Types<'a>, set: &Set, ty: Typed<'a>) -> Option<Set> {
    let mut changed = false;
    let mut reconciled = Set::default();
    let atom = types.atom(ty, None);
    for entry in set.entries() {
        let child = match (atom, &entry.element) {
            (Atom::Struct(declared), Element::Field(name)) => types.field(declared, name).map(|(ty, _)| ty),
            // What is below a value without a schema is as it was found.
            (Atom::Map(ty), _) if !matches!(ty.kind, Kind::Any) => Some(ty),
            (Atom::List(list), _) => Some(Typed::of(&list.item)),
            _ => None,
        };
        let Some(child) = child.filter(|_| !entry.below.is_empty()) else {
            reconciled.push(entry.element.clone(), entry.member, entry.below.clone());
            continue;
        };
        if matches!(types.atom(child, None), Atom::Leaf) && matches!(child.kind, Kind::Struct(_) | Kind::Map(_) | Kind::List(_) | Kind::Any) {
            changed = true;
            reconciled.push(entry.element.clone(), true, Set::default());
            continue;
        }
        let below = super::field_set::reconciled(types, &entry.below, child);
        changed |= below.is_some();
        reconciled.push(entry.element.clone(), entry.member, below.unwrap_or_else(|| entry.below.clone()));
    }
    changed.then_some(reconciled)
}
