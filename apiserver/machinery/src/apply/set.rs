//! Sets of field paths: what a manager owns.
//!
//! A set is a tree. A path in it is a *member*; paths above a member need not be. `spec` and `spec.replicas` are two paths:
//!
//! ```text
//! {"f:spec":{"f:replicas":{}}}            spec.replicas
//! {"f:spec":{".":{},"f:replicas":{}}}     spec, spec.replicas
//! ```

use crate::Str;
use crate::schema::{Kind, Schema};
use crate::text::{float, quote};
use crate::tree::{Map, Value};
use std::cmp::Ordering;
use std::fmt;

/// One step of a path.
#[derive(Clone, Debug, PartialEq)]
pub enum Element {
    /// A field of a struct, or a key of a map: `f:name`.
    Field(Str),
    /// An item of a list by its keys, in order of their names: `k:{"name":"web"}`.
    Key(Box<[(Str, Value)]>),
    /// An item of a set: `v:"x"`.
    Value(Value),
    /// An item by its place: `i:0`. Nothing makes these, but stored sets may hold them.
    Index(i64),
}

impl Eq for Element {}

impl PartialOrd for Element {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Element {
    fn cmp(&self, other: &Self) -> Ordering {
        let rank = |element: &Element| match element {
            Element::Field(_) => 0,
            Element::Key(_) => 1,
            Element::Value(_) => 2,
            Element::Index(_) => 3,
        };
        match (self, other) {
            (Element::Field(a), Element::Field(b)) => a.cmp(b),
            (Element::Key(a), Element::Key(b)) => {
                let pairs = a.iter().zip(b.iter()).map(|((a_name, a), (b_name, b))| a_name.cmp(b_name).then_with(|| cmp_values(a, b)));
                pairs.into_iter().find(|order| order.is_ne()).unwrap_or_else(|| a.len().cmp(&b.len()))
            }
            (Element::Value(a), Element::Value(b)) => cmp_values(a, b),
            (Element::Index(a), Element::Index(b)) => a.cmp(b),
            _ => rank(self).cmp(&rank(other)),
        }
    }
}

/// Numbers, then strings, truth values, lists, maps, null.
fn cmp_values(a: &Value, b: &Value) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Int(_) | Value::Double(_) => 0,
        Value::String(_) | Value::Bytes(_) | Value::Raw(_) => 1,
        Value::Bool(_) => 2,
        Value::List(_) => 3,
        Value::Map(_) | Value::Struct(_) => 4,
        Value::Null => 5,
    };
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Int(a), Value::Double(b)) => (*a as f64).total_cmp(b),
        (Value::Double(a), Value::Int(b)) => a.total_cmp(&(*b as f64)),
        (Value::Double(a), Value::Double(b)) => a.total_cmp(b),
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::List(a), Value::List(b)) => {
            let pairs = a.iter().zip(b).map(|(a, b)| cmp_values(a, b));
            pairs.into_iter().find(|order| order.is_ne()).unwrap_or_else(|| a.len().cmp(&b.len()))
        }
        (Value::Map(a), Value::Map(b)) => {
            let pairs = a.iter().zip(b.iter()).map(|((a_key, a), (b_key, b))| a_key.cmp(b_key).then_with(|| cmp_values(a, b)));
            pairs.into_iter().find(|order| order.is_ne()).unwrap_or_else(|| a.len().cmp(&b.len()))
        }
        _ => rank(a).cmp(&rank(b)),
    }
}

impl fmt::Display for Element {
    /// As messages show paths: `.spec`, `[name="web"]`, `[="x"]`, `[0]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Element::Field(name) => write!(f, ".{name}"),
            Element::Key(keys) => {
                let keys: Vec<_> = keys.iter().map(|(name, value)| format!("{name}={}", shown(value))).collect();
                write!(f, "[{}]", keys.join(","))
            }
            Element::Value(value) => write!(f, "[={}]", shown(value)),
            Element::Index(index) => write!(f, "[{index}]"),
        }
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Double(number) => float(*number),
        Value::String(text) => quote(text),
        Value::List(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(",")),
        Value::Map(map) => map.iter().map(|(key, value)| format!("{key}={}", shown(value))).collect(),
        Value::Bytes(_) | Value::Raw(_) | Value::Struct(_) => "{{undefined}}".to_owned(),
    }
}

/// A set of paths. No entry is empty: each is a member or has members below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub element: Element,
    pub member: bool,
    pub below: Set,
}

impl Set {
    /// Paths of field names, joined by dots.
    pub fn of_fields(paths: &[&str]) -> Self {
        let mut set = Self::default();
        for path in paths {
            let elements: Vec<_> = path.split('.').map(|name| Element::Field(name.into())).collect();
            set.insert(&elements);
        }
        set
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub fn get(&self, element: &Element) -> Option<&Entry> {
        self.place(element).ok().map(|at| &self.entries[at])
    }

    fn place(&self, element: &Element) -> Result<usize, usize> {
        self.entries.binary_search_by(|entry| entry.element.cmp(element))
    }

    pub fn has(&self, path: &[Element]) -> bool {
        match path {
            [] => false,
            [last] => self.get(last).is_some_and(|entry| entry.member),
            [first, rest @ ..] => self.get(first).is_some_and(|entry| entry.below.has(rest)),
        }
    }

    pub fn insert(&mut self, path: &[Element]) {
        let [first, rest @ ..] = path else { return };
        let at = self.place(first).unwrap_or_else(|at| {
            self.entries.insert(at, Entry { element: first.clone(), member: false, below: Set::default() });
            at
        });
        if rest.is_empty() {
            self.entries[at].member = true;
        } else {
            self.entries[at].below.insert(rest);
        }
    }

    /// Adds an entry in any order; [`Set::settle`] must follow. Empty ones are left out.
    pub(super) fn push(&mut self, element: Element, member: bool, below: Set) {
        if member || !below.is_empty() {
            self.entries.push(Entry { element, member, below });
        }
    }

    /// Sorts what was pushed, and joins entries of the same element.
    pub(super) fn settle(&mut self) {
        if self.entries.windows(2).all(|pair| pair[0].element < pair[1].element) {
            return;
        }
        self.entries.sort_by(|a, b| a.element.cmp(&b.element));
        let mut settled: Vec<Entry> = Vec::with_capacity(self.entries.len());
        for entry in self.entries.drain(..) {
            match settled.last_mut() {
                Some(last) if last.element == entry.element => {
                    last.member |= entry.member;
                    last.below = last.below.union(&entry.below);
                }
                _ => settled.push(entry),
            }
        }
        self.entries = settled;
    }

    /// Walks two sets side by side; what `join` makes of each pair is kept if it is not empty.
    fn zip(&self, other: &Set, mut join: impl FnMut(Option<&Entry>, Option<&Entry>) -> (bool, Set)) -> Set {
        let mut joined = Set::default();
        let (mut a, mut b) = (self.entries.iter().peekable(), other.entries.iter().peekable());
        loop {
            let order = match (a.peek(), b.peek()) {
                (None, None) => return joined,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(a), Some(b)) => a.element.cmp(&b.element),
            };
            let a = if order.is_le() { a.next() } else { None };
            let b = if order.is_ge() { b.next() } else { None };
            let (member, below) = join(a, b);
            if let Some(entry) = a.or(b) {
                joined.push(entry.element.clone(), member, below);
            }
        }
    }

    pub fn union(&self, other: &Set) -> Set {
        self.zip(other, |a, b| match (a, b) {
            (Some(a), Some(b)) => (a.member || b.member, a.below.union(&b.below)),
            (Some(one), None) | (None, Some(one)) => (one.member, one.below.clone()),
            (None, None) => (false, Set::default()),
        })
    }

    pub fn intersection(&self, other: &Set) -> Set {
        self.zip(other, |a, b| match (a, b) {
            (Some(a), Some(b)) => (a.member && b.member, a.below.intersection(&b.below)),
            _ => (false, Set::default()),
        })
    }

    /// Without the paths of `other`; what is below them stays.
    pub fn difference(&self, other: &Set) -> Set {
        self.zip(other, |a, b| match (a, b) {
            (Some(a), Some(b)) => (a.member && !b.member, a.below.difference(&b.below)),
            (Some(a), None) => (a.member, a.below.clone()),
            _ => (false, Set::default()),
        })
    }

    /// Without the paths of `other` and all below them.
    pub fn recursive_difference(&self, other: &Set) -> Set {
        self.zip(other, |a, b| match (a, b) {
            (Some(_), Some(b)) if b.member => (false, Set::default()),
            (Some(a), Some(b)) => (a.member, a.below.recursive_difference(&b.below)),
            (Some(a), None) => (a.member, a.below.clone()),
            _ => (false, Set::default()),
        })
    }

    /// Makes members of the struct fields above members: whoever owns `spec.replicas` has a `spec`.
    pub(super) fn with_named_fields(&self, schema: &Schema, kind: Option<&Kind>) -> Set {
        let mut set = Set::default();
        for entry in &self.entries {
            let (named, child) = match (&entry.element, kind) {
                (Element::Field(name), Some(Kind::Struct(ty))) => {
                    let ty = schema.get(*ty);
                    match ty.field(name) {
                        Some(field) => (true, Some(&field.kind)),
                        None => (false, ty.rest.as_ref()),
                    }
                }
                (Element::Field(_), Some(Kind::Map(map))) => (false, Some(&map.value)),
                (Element::Key(_), Some(Kind::List(list))) => (false, Some(&list.item)),
                _ => (false, None),
            };
            let member = entry.member || (named && !entry.below.is_empty());
            set.entries.push(Entry { element: entry.element.clone(), member, below: entry.below.with_named_fields(schema, child) });
        }
        set
    }

    /// Every path, those of one level before those below it.
    pub fn paths(&self) -> Vec<Vec<Element>> {
        let mut paths = Vec::new();
        self.collect(&mut Vec::new(), &mut paths);
        paths
    }

    fn collect(&self, prefix: &mut Vec<Element>, paths: &mut Vec<Vec<Element>>) {
        for entry in self.entries.iter().filter(|entry| entry.member) {
            paths.push(prefix.iter().chain([&entry.element]).cloned().collect());
        }
        for entry in &self.entries {
            prefix.push(entry.element.clone());
            entry.below.collect(prefix, paths);
            prefix.pop();
        }
    }
}

/// A path as messages show it: `.spec.containers[name="web"].image`.
pub fn path_text(path: &[Element]) -> String {
    path.iter().map(Element::to_string).collect()
}

/// The keys of a list's item, from decoded JSON.
pub(super) fn key_of_map(map: Map) -> Element {
    Element::Key(map.into_iter().collect())
}
