//! What server-side apply sees of a value: its JSON form, and which of the schema's types it is.
//!
//! A value may be a tree (structs by number) or decoded JSON of the same type (maps by name). Both look the same from here, so one walk serves
//! the objects of every write, which are trees, and the bodies of apply requests, which may hold what no tree keeps: zeros, nulls, quantities
//! as they were written.

use super::set::Element;
use crate::Str;
use crate::builtin;
use crate::json;
use crate::schema::{Choice, Field, Kind, ListMerge, ListOf, MapKey, Schema, StructType, TypeId};
use crate::tree::{Map, Struct, Value};

/// A value that is there.
#[derive(Clone, Copy, Debug)]
pub(super) enum View<'a> {
    Value(&'a Value),
    /// The fields of an object.
    Object(&'a Struct),
    /// A struct that is absent from its tree, but that JSON shows.
    Empty(TypeId),
}

/// The type of a value, and whether apply goes into it although it is declared atomic.
#[derive(Clone, Copy, Debug)]
pub(super) struct Typed<'a> {
    pub kind: &'a Kind,
    pub granular: bool,
}

/// How a value is compared and merged.
#[derive(Clone, Copy, Debug)]
pub(super) enum Atom<'a> {
    /// One value: scalars, and lists and maps that are atomic.
    Leaf,
    /// A set or a list by keys.
    List(&'a ListOf),
    Struct(&'a StructType),
    /// A map with values of one type.
    Map(Typed<'a>),
}

/// The schema, and what goes with it.
#[derive(Clone, Copy)]
pub(super) struct Types<'a> {
    pub schema: &'a Schema,
    /// Values without a schema are one value in built-in kinds (RawExtension); in custom resources apply goes into their maps.
    any_is_atomic: bool,
}

static ANY: Kind = Kind::Any;
static NULL: Value = Value::Null;
static FALSE: Value = Value::Bool(false);
static ZERO: Value = Value::Int(0);
static EMPTY: Value = Value::String(Str::const_new(""));
static ZERO_QUANTITY: Value = Value::String(Str::const_new("0"));
static ZERO_DURATION: Value = Value::String(Str::const_new("0s"));

impl<'a> Typed<'a> {
    pub fn of(kind: &'a Kind) -> Self {
        Self { kind, granular: false }
    }

    pub fn field(field: &'a Field) -> Self {
        Self { kind: &field.kind, granular: field.granular }
    }
}

/// The type of fields that no type declares.
pub(super) fn deduced() -> Typed<'static> {
    Typed::of(&ANY)
}

impl<'a> Types<'a> {
    pub fn of(schema: &'a Schema) -> Self {
        Self { schema, any_is_atomic: std::ptr::eq(schema, &**builtin::schema()) }
    }

    pub fn atom(&self, ty: Typed<'a>, value: Option<View<'a>>) -> Atom<'a> {
        match ty.kind {
            Kind::Struct(id) => {
                let declared = self.schema.get(*id);
                if declared.atomic && !ty.granular { Atom::Leaf } else { Atom::Struct(declared) }
            }
            Kind::Map(map) if map.atomic => Atom::Leaf,
            Kind::Map(map) => Atom::Map(Typed::of(&map.value)),
            Kind::List(list) if list.merge == ListMerge::Atomic => Atom::Leaf,
            Kind::List(list) => Atom::List(list),
            Kind::Any if self.any_is_atomic => Atom::Leaf,
            Kind::Any => match value {
                Some(View::Value(Value::Map(_) | Value::Null)) | None => Atom::Map(deduced()),
                _ => Atom::Leaf,
            },
            _ => Atom::Leaf,
        }
    }

    /// The type of a field of a struct, and whether the struct declares it. `None` where it may not have such a field.
    pub fn field(&self, ty: &'a StructType, name: &str) -> Option<(Typed<'a>, bool)> {
        match (ty.field(name), &ty.rest) {
            (Some(field), _) => Some((Typed::field(field), true)),
            (None, Some(rest)) => Some((Typed::of(rest), false)),
            (None, None) if ty.preserve_unknown || ty.fields.is_empty() => Some((deduced(), false)),
            (None, None) => None,
        }
    }

    /// What JSON shows of a field.
    fn shown(&self, ty: &'a StructType, number: u16, value: Option<&'a Value>) -> View<'a> {
        match value {
            Some(value) => View::Value(value),
            None => absent(&ty.fields[usize::from(number)]),
        }
    }

    /// The value of a field or key, where there is one.
    pub fn get(&self, value: View<'a>, name: &str) -> Option<View<'a>> {
        let object = match value {
            View::Value(Value::Map(map)) => return map.get(name).map(View::Value),
            View::Value(Value::Struct(object)) => object,
            View::Object(object) => object,
            View::Empty(ty) => {
                let ty = self.schema.get(ty);
                let number = ty.number(name)?;
                return ty.shown.contains(&number).then(|| absent(&ty.fields[usize::from(number)]));
            }
            View::Value(_) => return None,
        };
        let ty = self.schema.get(object.ty);
        match ty.number(name) {
            Some(number) => {
                let value = object.get(number);
                (value.is_some() || ty.shown.contains(&number)).then(|| self.shown(ty, number, value))
            }
            None => object.unknown.get(name).map(View::Value),
        }
    }

    /// All fields of a struct or keys of a map, in order of their names.
    pub fn entries(&self, value: View<'a>) -> Vec<(&'a str, View<'a>)> {
        let mut entries: Vec<(&str, View<'_>)> = match value {
            View::Value(Value::Map(map)) => return map.iter().map(|(key, value)| (key, View::Value(value))).collect(),
            View::Value(Value::Struct(object)) => self.object_entries(object),
            View::Object(object) => self.object_entries(object),
            View::Empty(ty) => {
                let ty = self.schema.get(ty);
                ty.shown.iter().map(|number| &ty.fields[usize::from(*number)]).map(|field| (field.name.as_str(), absent(field))).collect()
            }
            View::Value(_) => Vec::new(),
        };
        entries.sort_unstable_by_key(|(name, _)| *name);
        entries
    }

    fn object_entries(&self, object: &'a Struct) -> Vec<(&'a str, View<'a>)> {
        let ty = self.schema.get(object.ty);
        let known =
            Shown::of(ty, object.fields()).map(|(number, value)| (ty.fields[usize::from(number)].name.as_str(), self.shown(ty, number, value)));
        known.chain(object.unknown.iter().map(|(key, value)| (key, View::Value(value)))).collect()
    }

    /// Whether a list or a map has nothing in it. What is neither has nothing.
    pub fn is_empty(&self, value: View<'a>) -> bool {
        let object = match value {
            View::Value(Value::Map(map)) => return map.is_empty(),
            View::Value(Value::List(items)) => return items.is_empty(),
            View::Value(Value::Struct(object)) => object,
            View::Object(object) => object,
            View::Empty(ty) => return self.schema.get(ty).shown.is_empty(),
            View::Value(_) => return true,
        };
        object.is_empty() && self.schema.get(object.ty).shown.is_empty()
    }

    pub fn is_map(&self, value: View<'a>) -> bool {
        !matches!(value, View::Value(value) if !matches!(value, Value::Map(_) | Value::Struct(_)))
    }

    /// The step from a list to one of its items.
    pub fn item(&self, list: &'a ListOf, item: View<'a>) -> Result<Element, String> {
        let keys = match &list.merge {
            ListMerge::Map(keys) => keys,
            ListMerge::Set => return set_item(item),
            ListMerge::Atomic => return Err("invalid indexing of non-associative list".to_owned()),
        };
        if matches!(item, View::Value(Value::Null)) {
            return Err("associative list with keys may not have a null element".to_owned());
        }
        if !self.is_map(item) {
            return Err("associative list with keys may not have non-map elements".to_owned());
        }
        let mut found: Vec<(Str, Value)> = Vec::with_capacity(keys.len());
        for key in keys {
            let value = match self.get(item, &key.name) {
                Some(View::Value(value)) => Some(value.clone()),
                Some(_) => Some(Value::Map(Map::default())),
                None => key_default(key),
            };
            found.extend(value.map(|value| (key.name.clone(), value)));
        }
        if found.is_empty() && !keys.is_empty() {
            let names: Vec<_> = keys.iter().map(|key| crate::text::quote(&key.name)).collect();
            return Err(format!(
                "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
                names.join(" ")
            ));
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(Element::Key(found.into()))
    }

    /// Whether two items have the same keys, for sure.
    pub fn same_item(&self, list: &'a ListOf, a: View<'a>, b: View<'a>) -> bool {
        match &list.merge {
            ListMerge::Map(keys) => keys.iter().all(|key| match (self.get(a, &key.name), self.get(b, &key.name)) {
                (Some(a), Some(b)) => self.equal(a, b),
                (None, None) => true,
                _ => false,
            }),
            _ => self.equal(a, b),
        }
    }

    pub fn equal(&self, a: View<'a>, b: View<'a>) -> bool {
        match (a, b) {
            (View::Value(a), View::Value(b)) => equal_values(a, b),
            (View::Object(a), View::Object(b)) => a == b,
            (View::Empty(_), View::Empty(_)) => true,
            _ => {
                let (a, b) = (self.entries(a), self.entries(b));
                a.len() == b.len() && a.iter().zip(&b).all(|((a_name, a), (b_name, b))| a_name == b_name && self.equal(*a, *b))
            }
        }
    }
}

fn equal_values(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Int(a), Value::Double(b)) | (Value::Double(b), Value::Int(a)) => *a as f64 == *b,
        (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal_values(a, b)),
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len() && a.iter().zip(b.iter()).all(|((a_key, a), (b_key, b))| a_key == b_key && equal_values(a, b))
        }
        (a, b) => a == b,
    }
}

fn key_default(key: &MapKey) -> Option<Value> {
    json::to_any(key.default.as_ref()?.as_bytes()).ok()
}

fn set_item<'a>(item: View<'a>) -> Result<Element, String> {
    match item {
        View::Value(Value::Map(_) | Value::Struct(_)) | View::Object(_) | View::Empty(_) => {
            Err("associative list without keys has an element that's a map type".to_owned())
        }
        View::Value(Value::List(_)) => Err("not supported: associative list with lists as elements".to_owned()),
        View::Value(Value::Null) => Err("associative list without keys has an element that's an explicit null".to_owned()),
        View::Value(value) => Ok(Element::Value(value.clone())),
    }
}

/// What JSON shows of a field that is absent.
fn absent(field: &Field) -> View<'_> {
    if field.presence.pointer {
        return View::Value(&NULL);
    }
    View::Value(match &field.kind {
        Kind::Struct(ty) => return View::Empty(*ty),
        Kind::Bool | Kind::Choice(Choice::Bool, _) => &FALSE,
        Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Double | Kind::IntOrString => &ZERO,
        Kind::String => &EMPTY,
        Kind::Quantity => &ZERO_QUANTITY,
        Kind::Duration => &ZERO_DURATION,
        _ => &NULL,
    })
}

/// The fields of a struct that JSON shows, by number: those that are present, and those that are always shown.
pub(super) struct Shown<'a> {
    fields: &'a [(u16, Value)],
    shown: &'a [u16],
}

impl<'a> Shown<'a> {
    pub fn of(ty: &'a StructType, fields: &'a [(u16, Value)]) -> Self {
        Self { fields, shown: &ty.shown }
    }

    pub fn peek(&self) -> Option<u16> {
        let present = self.fields.first().map(|(number, _)| *number);
        present.into_iter().chain(self.shown.first().copied()).min()
    }
}

impl<'a> Iterator for Shown<'a> {
    type Item = (u16, Option<&'a Value>);

    fn next(&mut self) -> Option<Self::Item> {
        let number = self.peek()?;
        if self.shown.first() == Some(&number) {
            self.shown = &self.shown[1..];
        }
        match self.fields.split_first() {
            Some(((present, value), rest)) if *present == number => {
                self.fields = rest;
                Some((number, Some(value)))
            }
            _ => Some((number, None)),
        }
    }
}

/// The view of a numbered field as [`Shown`] gives it.
pub(super) fn view_of<'a>(field: &'a Field, value: Option<&'a Value>) -> View<'a> {
    value.map_or_else(|| absent(field), View::Value)
}
