//! Strategic merge patch: lists merge by the keys that the schema's patch tags name, and directives (`$patch`,
//! `$deleteFromPrimitiveList/…`, `$setElementOrder/…`, `$retainKeys`) say what plain JSON cannot.
//!
//! It works on JSON values, since the directives are no fields of the type. Where upstream's result depends on the order in which Go walks
//! a map, this walks keys in order, directives first.

use super::Error;
use crate::Str;
use crate::schema::{Field, Kind, PatchStrategy, Schema};
use crate::text::{go_value, quote};
use crate::tree::{Map, Value};
use std::collections::{HashMap, HashSet};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList";
const ELEMENT_ORDER: &str = "$setElementOrder";

const BAD_PRIMITIVE_LIST: &str = "invalid patch format of primitive list";
const BAD_RETAIN_KEYS: &str = "invalid patch format of retainKeys";
const BAD_ELEMENT_ORDER: &str = "invalid patch format of setElementOrder list";

/// Applies `patch` to `original`, both JSON objects of `kind`.
pub(super) fn merge(schema: &Schema, kind: &Kind, original: Map, patch: Map) -> Result<Map, Error> {
    Merge { schema }.maps(original, patch, kind)
}

struct Merge<'a> {
    schema: &'a Schema,
}

impl<'a> Merge<'a> {
    /// The field that a key of an object of this kind names.
    fn field(&self, kind: &Kind, key: &str) -> Result<&'a Field, Error> {
        let missing = |go: &str| Error::Internal(format!("unable to find api field in struct {go} for the json field {}", quote(key)));
        match kind {
            Kind::Struct(ty) => {
                let ty = self.schema.get(*ty);
                let same = |field: &&Field| field.name.eq_ignore_ascii_case(key);
                ty.field(key).or_else(|| ty.fields.iter().find(same)).ok_or_else(|| missing(&ty.go))
            }
            Kind::Any => Err(missing("RawExtension")),
            other => {
                let go = match other {
                    Kind::Map(_) => "map",
                    Kind::List(_) | Kind::Bytes => "slice",
                    _ => "string",
                };
                Err(Error::Internal(format!("merging an object in json but data type is not struct, instead is: {go}")))
            }
        }
    }

    /// The same for a key that names a list, with the kind of its items.
    fn list_field(&self, kind: &Kind, key: &str) -> Result<(&'a Kind, &'a PatchStrategy), Error> {
        let field = self.field(kind, key)?;
        match &field.kind {
            Kind::List(list) if matches!(list.item, Kind::List(_) | Kind::Bytes) => Err(Error::Internal("unexpected slice of slice".to_owned())),
            Kind::List(list) => Ok((&list.item, &field.patch)),
            other if field.presence.pointer && !matches!(other, Kind::Any) => Ok((other, &field.patch)),
            _ => Err(Error::Internal("expected slice or array type, but got: struct".to_owned())),
        }
    }

    fn maps(&self, mut original: Map, mut patch: Map, kind: &Kind) -> Result<Map, Error> {
        if let Some(directive) = patch.remove(DIRECTIVE) {
            return match directive.as_str() {
                Some("replace") => Ok(patch),
                Some("delete") => Ok(Map::default()),
                _ => {
                    let shown = go_value(&directive);
                    patch.insert(DIRECTIVE, directive);
                    Err(Error::Internal(format!("unknown patch type: {shown} in map: {}", go_value(&Value::Map(patch)))))
                }
            };
        }
        retain_keys(&mut original, &mut patch)?;
        self.element_orders(&mut original, &mut patch, kind)?;
        for (key, value) in patch {
            let delete_list = key.starts_with(DELETE_FROM_LIST);
            let key = if delete_list { target(&key, DELETE_FROM_LIST, BAD_PRIMITIVE_LIST)? } else { key.as_str() };
            if value == Value::Null {
                original.remove(key);
                continue;
            }
            let merged = match (original.remove(key), value) {
                (None, _) if delete_list => continue,
                (Some(old), Value::Map(patch)) if matches!(old, Value::Map(_)) => {
                    let Value::Map(old) = old else { continue };
                    let field = self.field(kind, key)?;
                    let merged = if field.patch.replace { patch } else { self.maps(old, patch, &field.kind)? };
                    Some(Value::Map(merged))
                }
                (Some(old), Value::List(patch)) if matches!(old, Value::List(_)) => {
                    let Value::List(old) = old else { continue };
                    let (item, strategy) = self.list_field(kind, key)?;
                    let merged = if strategy.merge || delete_list { self.lists(old, patch, item, strategy, delete_list)? } else { patch };
                    Some(Value::List(merged))
                }
                // A list to delete from that is no list stays; scalars of one type are replaced whatever the directive.
                (Some(old), value) if delete_list && std::mem::discriminant(&old) != std::mem::discriminant(&value) => Some(old),
                (_, value) => without_directives(without_nulls(value)),
            };
            if let Some(merged) = merged {
                original.insert(key, merged);
            }
        }
        Ok(original)
    }

    /// Merges the lists that have a `$setElementOrder`, and takes both out of the patch.
    fn element_orders(&self, original: &mut Map, patch: &mut Map, kind: &Kind) -> Result<(), Error> {
        let directives: Vec<Str> = patch.iter().map(|(key, _)| key).filter(|key| key.starts_with(ELEMENT_ORDER)).map(Str::from).collect();
        for directive in directives {
            let Some(order) = patch.remove(&directive) else { continue };
            let order = list(order)?;
            let key = target(&directive, ELEMENT_ORDER, BAD_ELEMENT_ORDER)?;
            let old = original.get(key).cloned().map(list).transpose()?;
            let new = patch.get(key).cloned().map(list).transpose()?;
            let (item, strategy) = self.list_field(kind, key)?;
            let merge_key = strategy.merge_key.as_deref().unwrap_or_default();
            check_order(new.as_deref().unwrap_or_default(), &order, merge_key)?;
            let merged = match (old.clone(), new.clone()) {
                (None, None) => continue,
                (Some(old), None) => old,
                (None, Some(new)) => new.into_iter().filter_map(without_directives).collect(),
                (Some(old), Some(new)) if strategy.merge => self.lists(old, new, item, strategy, false)?,
                (Some(_), Some(new)) => new,
            };
            let (listed, server_only) = partition(merged, &order, merge_key)?;
            let old = old.unwrap_or_default();
            let kind = element_type(&[&old, new.as_deref().unwrap_or_default()])?;
            let both = in_order(listed, server_only, &order, &old, merge_key, kind)?;
            original.insert(key, Value::List(both));
            patch.remove(key);
        }
        Ok(())
    }

    fn lists(&self, original: Vec<Value>, patch: Vec<Value>, item: &Kind, strategy: &PatchStrategy, delete: bool) -> Result<Vec<Value>, Error> {
        if original.is_empty() && patch.is_empty() {
            return Ok(original);
        }
        let merge_key = strategy.merge_key.as_deref().unwrap_or_default();
        let kind = element_type(&[&original, &patch])?;
        if kind != Element::Map {
            let gone = Places::of(&patch, "");
            if delete {
                return Ok(original.into_iter().filter(|value| gone.place(value).is_none()).collect());
            }
            let mut seen = Places::default();
            let merged = original.iter().chain(&patch).filter(|value| seen.add(value)).cloned().collect();
            let (listed, server_only) = partition(merged, &patch, merge_key)?;
            return in_order(listed, server_only, &patch, &original, merge_key, kind);
        }
        if merge_key.is_empty() {
            return Err(Error::Internal("cannot merge lists without merge key for struct".to_owned()));
        }
        let (original, patch) = special_elements(original, patch, merge_key)?;
        let (merged, server) = self.elements(original, &patch, item, merge_key)?;
        let (listed, server_only) = partition(merged, &patch, merge_key)?;
        in_order(listed, server_only, &patch, &server, merge_key, kind)
    }

    /// Merges elements that have the same key, and appends the others. Returns the result, and the list whose order the server's own
    /// elements follow.
    fn elements(&self, original: Vec<Value>, patch: &[Value], item: &Kind, merge_key: &str) -> Result<(Vec<Value>, Vec<Value>), Error> {
        let mut merged = original;
        if let Some(at) = merged.iter().position(|value| value.as_map().is_none()) {
            return Err(Error::Internal(format!("value for key {at} is not a map")));
        }
        let server_length = merged.len();
        let mut places = Places::of(&merged, merge_key);
        for value in patch {
            let map = value.as_map().ok_or_else(|| wrong_type("map[string]interface {}", value))?;
            let key = map.get(merge_key).ok_or_else(|| no_merge_key(map, merge_key))?;
            match places.place(key) {
                Some(at) => {
                    let old = std::mem::replace(&mut merged[at], Value::Null);
                    let Value::Map(old) = old else { continue };
                    merged[at] = Value::Map(self.maps(old, map.clone(), item)?);
                }
                None => {
                    places.insert(key, merged.len());
                    merged.push(value.clone());
                }
            }
        }
        let server = merged[..server_length].to_vec();
        Ok((merged, server))
    }
}

fn retain_keys(original: &mut Map, patch: &mut Map) -> Result<(), Error> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let bad = || Error::BadRequest(BAD_RETAIN_KEYS.to_owned());
    let Value::List(keys) = keys else { return Err(bad()) };
    let keys: HashSet<&str> = keys.iter().filter_map(Value::as_str).collect();
    let kept = |key: &str| keys.contains(key);
    for (key, value) in patch.iter() {
        let directive = key.starts_with(DELETE_FROM_LIST) || key.starts_with(ELEMENT_ORDER);
        if *value != Value::Null && !directive && !kept(key) {
            return Err(bad());
        }
    }
    original.retain(|key, _| kept(key));
    Ok(())
}

/// Applies the elements of a patch that are directives, and returns the lists that are left.
fn special_elements(mut original: Vec<Value>, patch: Vec<Value>, merge_key: &str) -> Result<(Vec<Value>, Vec<Value>), Error> {
    let mut plain = Vec::with_capacity(patch.len());
    let mut replace = false;
    let mut deleted = Places::default();
    for value in patch {
        let Some(map) = value.as_map() else { continue };
        let Some(directive) = map.get(DIRECTIVE) else {
            plain.push(value);
            continue;
        };
        match directive.as_str() {
            Some("delete") => {
                let key = map.get(merge_key).ok_or_else(|| no_merge_key(map, merge_key))?;
                deleted.insert(key, 0);
            }
            Some("replace") => replace = true,
            Some("merge") => return Err(Error::Internal("merging lists cannot yet be specified in the patch".to_owned())),
            _ => return Err(Error::Internal(format!("unknown patch type: {} in map: {}", go_value(directive), go_value(&value)))),
        }
    }
    original.retain(|item| key_of(item, merge_key).and_then(|key| deleted.place(key)).is_none());
    Ok(if replace { (plain, Vec::new()) } else { (original, plain) })
}

/// The key that a directive with a slash is for.
fn target<'k>(key: &'k str, prefix: &str, bad: &str) -> Result<&'k str, Error> {
    match key.split_once('/') {
        Some((found, target)) if found == prefix => Ok(target),
        _ => Err(Error::BadRequest(bad.to_owned())),
    }
}

fn list(value: Value) -> Result<Vec<Value>, Error> {
    match value {
        Value::List(items) => Ok(items),
        other => Err(wrong_type("[]interface {}", &other)),
    }
}

fn wrong_type(expected: &str, actual: &Value) -> Error {
    Error::Internal(format!("expected a {expected}, but received a {}", go_type(actual)))
}

fn no_merge_key(map: &Map, merge_key: &str) -> Error {
    Error::Internal(format!("map: {} does not contain declared merge key: {merge_key}", go_value(&Value::Map(map.clone()))))
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "%!s(<nil>)",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int64",
        Value::Double(_) => "float64",
        Value::Map(_) | Value::Struct(_) => "map[string]interface {}",
        Value::List(_) => "[]interface {}",
        Value::String(_) | Value::Bytes(_) | Value::Raw(_) => "string",
    }
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Map(map) => {
            let kept = map.into_iter().filter(|(_, value)| *value != Value::Null);
            Value::Map(kept.map(|(key, value)| (key, without_nulls(value))).collect())
        }
        Value::List(items) => Value::List(items.into_iter().map(without_nulls).collect()),
        scalar => scalar,
    }
}

/// A value to be added, without the objects in it that are directives for what is not there.
fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Map(map) if map.get(DIRECTIVE).is_some() => None,
        Value::Map(map) => {
            let kept = map.into_iter().filter_map(|(key, value)| without_directives(value).map(|value| (key, value)));
            Some(Value::Map(kept.collect()))
        }
        Value::List(items) => Some(Value::List(items.into_iter().filter_map(without_directives).collect())),
        scalar => Some(scalar),
    }
}

/// What all elements of the lists are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Element {
    Map,
    Scalar(&'static str),
}

fn element_type(lists: &[&[Value]]) -> Result<Element, Error> {
    let mut first = None;
    for value in lists.iter().copied().flatten() {
        let element = match value {
            Value::Map(_) => Element::Map,
            other => Element::Scalar(go_type(other)),
        };
        match first {
            None if matches!(value, Value::List(_)) => return Err(Error::Unprocessable("lists of lists are not supported".to_owned())),
            None => first = Some(element),
            Some(first) if first != element => {
                let shown: Vec<_> = lists.iter().map(|list| go_value(&Value::List(list.to_vec()))).collect();
                return Err(Error::Internal(format!("list element types are not identical: [{}]", shown.join(" "))));
            }
            Some(_) => {}
        }
    }
    first.ok_or_else(|| Error::Internal("no elements in any of the given slices".to_owned()))
}

/// Where the elements of a list are, by merge key or by value.
#[derive(Default)]
struct Places {
    by_scalar: HashMap<Scalar, usize>,
}

#[derive(PartialEq, Eq, Hash)]
enum Scalar {
    Null,
    Bool(bool),
    Int(i64),
    Double(u64),
    String(Str),
}

fn scalar(value: &Value) -> Option<Scalar> {
    Some(match value {
        Value::Null => Scalar::Null,
        Value::Bool(truth) => Scalar::Bool(*truth),
        Value::Int(number) => Scalar::Int(*number),
        Value::Double(number) => Scalar::Double(number.to_bits()),
        Value::String(text) => Scalar::String(text.clone()),
        _ => return None,
    })
}

impl Places {
    fn of(list: &[Value], merge_key: &str) -> Self {
        let mut places = Self::default();
        for (at, value) in list.iter().enumerate() {
            if let Some(key) = key_of(value, merge_key) {
                places.insert(key, at);
            }
        }
        places
    }

    /// Of equal values the first place counts.
    fn insert(&mut self, value: &Value, at: usize) {
        if let Some(scalar) = scalar(value) {
            self.by_scalar.entry(scalar).or_insert(at);
        }
    }

    fn place(&self, value: &Value) -> Option<usize> {
        scalar(value).and_then(|scalar| self.by_scalar.get(&scalar).copied())
    }

    /// Returns whether the value was new.
    fn add(&mut self, value: &Value) -> bool {
        let at = self.by_scalar.len();
        scalar(value).is_none_or(|scalar| {
            let new = !self.by_scalar.contains_key(&scalar);
            self.by_scalar.entry(scalar).or_insert(at);
            new
        })
    }
}

fn key_of<'v>(value: &'v Value, merge_key: &str) -> Option<&'v Value> {
    match value {
        Value::Map(map) => map.get(merge_key),
        scalar => Some(scalar),
    }
}

/// Splits a list into what `by` lists, and what only the server has.
fn partition(list: Vec<Value>, by: &[Value], merge_key: &str) -> Result<(Vec<Value>, Vec<Value>), Error> {
    let places = Places::of(by, merge_key);
    let (mut listed, mut server_only) = (Vec::new(), Vec::new());
    for value in list {
        let key = if merge_key.is_empty() {
            &value
        } else {
            let map = value.as_map().ok_or_else(|| wrong_type("map[string]interface {}", &value))?;
            map.get(merge_key).ok_or_else(|| no_merge_key(map, merge_key))?
        };
        if places.place(key).is_some() { listed.push(value) } else { server_only.push(value) }
    }
    Ok((listed, server_only))
}

/// What the patch lists in the patch's order and what the server has in the server's, merged so that neither order changes.
fn in_order(
    listed: Vec<Value>,
    server_only: Vec<Value>,
    order: &[Value],
    server: &[Value],
    merge_key: &str,
    kind: Element,
) -> Result<Vec<Value>, Error> {
    let listed = sorted(listed, order, merge_key, kind)?;
    let server_only = sorted(server_only, server, merge_key, kind)?;
    let places = Places::of(server, merge_key);
    let place = |value: &Value| key_of(value, merge_key).and_then(|key| places.place(key));
    let mut merged = Vec::with_capacity(listed.len() + server_only.len());
    let (mut listed, mut server_only) = (listed.into_iter().peekable(), server_only.into_iter().peekable());
    loop {
        let server_first = match (server_only.peek(), listed.peek()) {
            (None, None) => return Ok(merged),
            (None, Some(_)) => false,
            (Some(_), None) => true,
            (Some(server), Some(listed)) => matches!((place(server), place(listed)), (Some(server), Some(listed)) if server < listed),
        };
        merged.extend(if server_first { server_only.next() } else { listed.next() });
    }
}

/// The list in the order of another; elements to delete come last, elements that the other does not have first.
fn sorted(list: Vec<Value>, order: &[Value], merge_key: &str, kind: Element) -> Result<Vec<Value>, Error> {
    let mut deleted = Vec::new();
    let mut kept = Vec::with_capacity(list.len());
    for value in list.iter().chain(order).filter(|_| kind == Element::Map) {
        let map = value.as_map().ok_or_else(|| wrong_type("map[string]interface {}", value))?;
        map.get(merge_key).ok_or_else(|| no_merge_key(map, merge_key))?;
    }
    for value in list {
        let delete = value.as_map().and_then(|map| map.get(DIRECTIVE)).and_then(Value::as_str) == Some("delete");
        if delete { deleted.push(value) } else { kept.push(value) }
    }
    let places = Places::of(order, merge_key);
    let place = |value: &Value| key_of(value, merge_key).and_then(|key| places.place(key));
    kept.sort_by_key(place);
    kept.append(&mut deleted);
    Ok(kept)
}

/// A patch's elements must come in the order that its `$setElementOrder` gives.
fn check_order(patch: &[Value], order: &[Value], merge_key: &str) -> Result<(), Error> {
    if patch.is_empty() || order.is_empty() {
        return Ok(());
    }
    let mut at = 0;
    let mut rest = order.iter();
    let deleted =
        |value: &Value| !merge_key.is_empty() && value.as_map().and_then(|map| map.get(DIRECTIVE)).and_then(Value::as_str) == Some("delete");
    let plain: Vec<&Value> = patch.iter().filter(|value| !deleted(value)).collect();
    while at < plain.len() {
        let Some(next) = rest.as_slice().first() else {
            let (patch, order) = (go_value(&Value::List(patch.to_vec())), go_value(&Value::List(order.to_vec())));
            return Err(Error::Internal(format!("The order in patch list:\n{patch}\n doesn't match {ELEMENT_ORDER} list:\n{order}\n")));
        };
        if plain[at].as_map().is_some_and(|map| map.get(DIRECTIVE).is_some()) {
            at += 1;
            continue;
        }
        rest.next();
        if same_key(plain[at], next, merge_key)? {
            at += 1;
        }
    }
    Ok(())
}

fn same_key(a: &Value, b: &Value, merge_key: &str) -> Result<bool, Error> {
    if merge_key.is_empty() {
        return Ok(a == b);
    }
    let key = |value: &Value| {
        let map = value.as_map().ok_or_else(|| wrong_type("map[string]interface {}", value))?;
        map.get(merge_key).cloned().ok_or_else(|| no_merge_key(map, merge_key))
    };
    Ok(key(a)? == key(b)?)
}
