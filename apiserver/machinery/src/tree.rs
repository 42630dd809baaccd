//! Object trees: what an object is between being decoded and being encoded.
//!
//! A struct node holds its type and the fields that are present, by number and in schema order, so that comparing, merging and encoding
//! walk two sorted vectors side by side and hash nothing. Presence means what it means in Go: a field that is absent is nil or zero.
//!
//! A tree does not know its [`Schema`]; every walk carries it.

use crate::Str;
use crate::schema::{Schema, TypeId};
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Only inside [`crate::schema::Kind::Any`], nullable fields of custom resources, and patches.
    Null,
    Bool(bool),
    Int(i64),
    /// An integer above `i64::MAX` or a number with a fraction.
    Double(f64),
    /// Strings, and every scalar whose JSON form is a string: quantities (canonical), times, durations.
    String(Str),
    Bytes(Arc<[u8]>),
    /// JSON text kept as it came, compact: [`crate::schema::Kind::Fields`].
    Raw(Arc<[u8]>),
    Struct(Box<Struct>),
    Map(Map),
    List(Vec<Value>),
}

/// The fields of a struct that are present.
#[derive(Clone, Debug, PartialEq)]
pub struct Struct {
    pub ty: TypeId,
    /// Sorted by field number; each number at most once.
    fields: Vec<(u16, Value)>,
    /// Preserved unknown fields, where the schema keeps them.
    pub unknown: Map,
}

/// String keys, sorted, each at most once: maps, and objects without a schema.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Map(Vec<(Str, Value)>);

impl Struct {
    pub fn new(ty: TypeId) -> Self {
        Self { ty, fields: Vec::new(), unknown: Map::default() }
    }

    pub fn with_capacity(ty: TypeId, fields: usize) -> Self {
        Self { ty, fields: Vec::with_capacity(fields), unknown: Map::default() }
    }

    pub fn fields(&self) -> &[(u16, Value)] {
        &self.fields
    }

    pub fn fields_mut(&mut self) -> impl Iterator<Item = (u16, &mut Value)> {
        self.fields.iter_mut().map(|(number, value)| (*number, value))
    }

    pub fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.unknown.is_empty()
    }

    pub fn get(&self, number: u16) -> Option<&Value> {
        self.position(number).ok().map(|at| &self.fields[at].1)
    }

    pub fn get_mut(&mut self, number: u16) -> Option<&mut Value> {
        self.position(number).ok().map(|at| &mut self.fields[at].1)
    }

    /// Puts a value, which mostly comes after all others: what decoders do.
    #[inline]
    pub(crate) fn add(&mut self, number: u16, value: Value) {
        if self.fields.last().is_none_or(|(last, _)| *last < number) {
            self.fields.push((number, value));
        } else {
            self.set(number, value);
        }
    }

    /// Puts a value and returns what was there.
    pub fn set(&mut self, number: u16, value: Value) -> Option<Value> {
        match self.fields.last() {
            Some((last, _)) if *last >= number => match self.position(number) {
                Ok(at) => Some(std::mem::replace(&mut self.fields[at].1, value)),
                Err(at) => {
                    self.fields.insert(at, (number, value));
                    None
                }
            },
            _ => {
                self.fields.push((number, value));
                None
            }
        }
    }

    pub fn remove(&mut self, number: u16) -> Option<Value> {
        self.position(number).ok().map(|at| self.fields.remove(at).1)
    }

    pub fn retain(&mut self, mut keep: impl FnMut(u16, &mut Value) -> bool) {
        self.fields.retain_mut(|(number, value)| keep(*number, value));
    }

    fn position(&self, number: u16) -> Result<usize, usize> {
        self.fields.binary_search_by_key(&number, |(own, _)| *own)
    }
}

impl Map {
    /// Of entries sorted by key; of equal keys the last wins.
    pub(crate) fn from_sorted(mut entries: Vec<(Str, Value)>) -> Self {
        entries.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                std::mem::swap(later, earlier);
            }
            same
        });
        Self(entries)
    }

    pub(crate) fn entries(&self) -> &[(Str, Value)] {
        &self.0
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    pub fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = (&str, &mut Value)> {
        self.0.iter_mut().map(|(key, value)| (key.as_str(), value))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn get(&self, key: &str) -> Option<&Value> {
        self.position(key).ok().map(|at| &self.0[at].1)
    }

    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.position(key).ok().map(|at| &mut self.0[at].1)
    }

    /// Puts a value and returns what was there.
    pub fn insert(&mut self, key: impl Into<Str>, value: Value) -> Option<Value> {
        let key = key.into();
        match self.position(&key) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at].1, value)),
            Err(at) => {
                self.0.insert(at, (key, value));
                None
            }
        }
    }

    pub fn remove(&mut self, key: &str) -> Option<Value> {
        self.position(key).ok().map(|at| self.0.remove(at).1)
    }

    pub fn retain(&mut self, mut keep: impl FnMut(&str, &mut Value) -> bool) {
        self.0.retain_mut(|(key, value)| keep(key, value));
    }

    fn position(&self, key: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(own, _)| own.as_str().cmp(key))
    }
}

impl FromIterator<(Str, Value)> for Map {
    /// Of equal keys the last wins.
    fn from_iter<I: IntoIterator<Item = (Str, Value)>>(entries: I) -> Self {
        let mut entries: Vec<_> = entries.into_iter().collect();
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        Self::from_sorted(entries)
    }
}

impl IntoIterator for Map {
    type Item = (Str, Value);
    type IntoIter = std::vec::IntoIter<(Str, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl Value {
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_int(&self) -> Option<i64> {
        match self {
            Value::Int(number) => Some(*number),
            _ => None,
        }
    }

    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(truth) => Some(*truth),
            _ => None,
        }
    }

    pub fn as_struct(&self) -> Option<&Struct> {
        match self {
            Value::Struct(inner) => Some(inner),
            _ => None,
        }
    }

    pub fn as_struct_mut(&mut self) -> Option<&mut Struct> {
        match self {
            Value::Struct(inner) => Some(inner),
            _ => None,
        }
    }

    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    pub fn as_list_mut(&mut self) -> Option<&mut Vec<Value>> {
        match self {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    pub fn as_map(&self) -> Option<&Map> {
        match self {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    pub fn as_map_mut(&mut self) -> Option<&mut Map> {
        match self {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::String(text.into())
    }
}

impl From<Str> for Value {
    fn from(text: Str) -> Self {
        Value::String(text)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::String(text.into())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Value::Int(number)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Value::Bool(truth)
    }
}

impl From<Struct> for Value {
    fn from(inner: Struct) -> Self {
        Value::Struct(Box::new(inner))
    }
}

/// Reading and writing by JSON names. Rules of single kinds use these; the walks use numbers.
///
/// A path is names joined by dots (`spec.template.metadata`), through structs, maps and preserved unknown fields; it does not enter lists.
impl Struct {
    pub fn at<'a>(&'a self, schema: &Schema, path: &str) -> Option<&'a Value> {
        let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
        let value = match schema.get(self.ty).number(name) {
            Some(number) => self.get(number)?,
            None => self.unknown.get(name)?,
        };
        match rest {
            None => Some(value),
            Some(rest) => value.at(schema, rest),
        }
    }

    pub fn at_mut<'a>(&'a mut self, schema: &Schema, path: &str) -> Option<&'a mut Value> {
        let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
        let value = match schema.get(self.ty).number(name) {
            Some(number) => self.get_mut(number)?,
            None => self.unknown.get_mut(name)?,
        };
        match rest {
            None => Some(value),
            Some(rest) => value.at_mut(schema, rest),
        }
    }

    pub fn str_at<'a>(&'a self, schema: &Schema, path: &str) -> Option<&'a str> {
        self.at(schema, path)?.as_str()
    }

    pub fn int_at(&self, schema: &Schema, path: &str) -> Option<i64> {
        self.at(schema, path)?.as_int()
    }

    pub fn bool_at(&self, schema: &Schema, path: &str) -> Option<bool> {
        self.at(schema, path)?.as_bool()
    }

    /// The items of a list; none where it is absent.
    pub fn list_at<'a>(&'a self, schema: &Schema, path: &str) -> &'a [Value] {
        self.at(schema, path).and_then(Value::as_list).unwrap_or_default()
    }

    /// Puts a value at a path, making the structs and maps on the way. `None` where the schema has no such path.
    pub fn put(&mut self, schema: &Schema, path: &str, value: impl Into<Value>) -> Option<()> {
        let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
        let ty = schema.get(self.ty);
        let Some(number) = ty.number(name) else {
            if !ty.preserve_unknown || rest.is_some() {
                return None;
            }
            self.unknown.insert(name, value.into());
            return Some(());
        };
        let Some(rest) = rest else {
            self.set(number, value.into());
            return Some(());
        };
        if self.get(number).is_none() {
            self.set(number, Value::empty(&ty.fields[usize::from(number)].kind)?);
        }
        match self.get_mut(number)? {
            Value::Struct(inner) => inner.put(schema, rest, value),
            Value::Map(map) => {
                map.insert(rest, value.into());
                Some(())
            }
            _ => None,
        }
    }

    /// Removes what is at a path.
    pub fn take(&mut self, schema: &Schema, path: &str) -> Option<Value> {
        match path.rsplit_once('.') {
            None => match schema.get(self.ty).number(path) {
                Some(number) => self.remove(number),
                None => self.unknown.remove(path),
            },
            Some((parent, name)) => match self.at_mut(schema, parent)? {
                Value::Struct(inner) => inner.take(schema, name),
                Value::Map(map) => map.remove(name),
                _ => None,
            },
        }
    }
}

impl Value {
    /// See [`Struct::at`].
    pub fn at<'a>(&'a self, schema: &Schema, path: &str) -> Option<&'a Value> {
        match self {
            Value::Struct(inner) => inner.at(schema, path),
            Value::Map(map) => match map.get(path) {
                Some(value) => Some(value),
                None => {
                    let (name, rest) = path.split_once('.')?;
                    map.get(name)?.at(schema, rest)
                }
            },
            _ => None,
        }
    }

    pub fn at_mut<'a>(&'a mut self, schema: &Schema, path: &str) -> Option<&'a mut Value> {
        match self {
            Value::Struct(inner) => inner.at_mut(schema, path),
            Value::Map(map) => {
                if map.get(path).is_some() {
                    return map.get_mut(path);
                }
                let (name, rest) = path.split_once('.')?;
                map.get_mut(name)?.at_mut(schema, rest)
            }
            _ => None,
        }
    }

    /// An empty struct, map or list of a kind; `None` for scalars.
    pub fn empty(kind: &crate::schema::Kind) -> Option<Value> {
        use crate::schema::Kind;
        match kind {
            Kind::Struct(ty) => Some(Value::Struct(Box::new(Struct::new(*ty)))),
            Kind::Map(_) | Kind::Any => Some(Value::Map(Map::default())),
            Kind::List(_) => Some(Value::List(Vec::new())),
            _ => None,
        }
    }
}
