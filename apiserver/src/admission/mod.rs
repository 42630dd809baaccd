//! The admission plugins that upstream enables by default, and NodeRestriction: one file each. `stage/mutate.rs` and `stage/validate.rs` say in
//! which order they run.
//!
//! A plugin is a function over the object's tree and an [`Admission`]. It reads other objects in the admission's snapshot, and what must not
//! change until the write is committed it adds to [`Extra`].

pub mod certificates;
pub mod default_toleration_seconds;
pub mod ingress_class;
pub mod limit_ranger;
pub mod namespace_lifecycle;
pub mod node_restriction;
pub mod pod_resize;
pub mod pod_security;
pub mod pod_topology_labels;
pub mod priority;
mod requests;
pub mod resource_quota;
pub mod runtime_class;
pub mod service_account;
pub mod storage;
pub mod taint_nodes;

use crate::Error;
use crate::auth::forbidden;
use crate::resource::Object;
use crate::stage::Admission;
use crate::status::Cause;
use apiserver_machinery::schema::{Schema, Shape};
use apiserver_machinery::tree::{Struct, Value};
use apiserver_machinery::{Str, builtin, json};
use apiserver_store::{Draft, Key, Lease, Op, Range, Row, Snapshot};
use std::sync::Arc;

#[cfg(test)]
mod end_to_end;
#[cfg(test)]
pub(crate) mod testing;

impl Admission<'_> {
    /// Whether the write is of this resource, or of this subresource of it.
    pub fn is(&self, group: &str, plural: &str, subresource: &str) -> bool {
        self.resource.plural == plural && self.resource.group == group && self.target.subresource == subresource
    }

    /// Whether the write is of a Pod as a whole.
    pub fn is_pod(&self) -> bool {
        self.is("", "pods", "")
    }

    /// The 403 of a plugin that refuses the write.
    pub fn refuse(&self, why: impl AsRef<str>) -> Error {
        let name = if self.name.is_empty() { self.target.name.as_str() } else { self.name };
        forbidden(&self.resource.group, &self.resource.plural, if name.is_empty() { "Unknown" } else { name }, why.as_ref())
    }

    /// As [`Admission::refuse`], with a cause that clients look for.
    pub fn refuse_because(&self, why: &str, cause: Cause) -> Error {
        let error = self.refuse(why);
        let mut status = error.status();
        if let Some(details) = &mut status.details {
            details.causes.push(cause);
        }
        Error::Status(Box::new(status))
    }

    pub fn namespace(&self) -> &str {
        &self.target.namespace
    }

    fn schema(&self) -> &Arc<Schema> {
        &self.resource.storage.shape.schema
    }
}

/// Several complaints as one text, as upstream joins errors.
fn joined(mut texts: Vec<String>) -> String {
    let mut seen = std::collections::HashSet::new();
    texts.retain(|text| seen.insert(text.clone()));
    if texts.len() == 1 { texts.swap_remove(0) } else { format!("[{}]", texts.join(", ")) }
}

/// Another object, as a plugin reads it.
pub struct Stored {
    pub key: Key,
    pub row: Arc<Row>,
    pub tree: Struct,
}

impl Stored {
    pub fn object(&self) -> Object<'_> {
        Object { schema: builtin::schema(), tree: &self.tree }
    }

    /// The write of this object after a change that selectors do not see.
    pub fn put(&self) -> Op {
        let draft = json::encode_draft(builtin::schema(), &self.tree);
        let value = Draft::Object {
            json: draft.bytes,
            gap: u32::try_from(draft.gap).unwrap_or(u32::MAX),
            protobuf: None,
            schema: self.row.object().map(|object| object.schema()).unwrap_or_default(),
        };
        Op::Put { key: self.key.clone(), value, facts: self.row.facts.clone(), lease: Lease::NONE }
    }
}

/// A built-in kind as it lies in the store.
#[derive(Clone, Copy)]
pub struct Kind {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    /// `/registry/limitranges/`
    pub prefix: &'static str,
}

impl Kind {
    const fn core(kind: &'static str, prefix: &'static str) -> Self {
        Self { group: "", version: "v1", kind, prefix }
    }

    fn decode(self, key: Key, row: &Arc<Row>) -> Result<Stored, Error> {
        let failed = |why: String| Error::Internal(format!("reading {key}: {why}"));
        let root = builtin::gvk(self.group, self.version, self.kind).ok_or_else(|| failed(format!("no schema of {}", self.kind)))?;
        let shape = Shape { schema: builtin::schema().clone(), root };
        let tree = json::decode(&shape, row.bytes(), &mut json::Report::ignore()).map_err(|error| failed(error.to_string()))?;
        Ok(Stored { key, row: row.clone(), tree })
    }

    /// The object with this name, `namespace/name` where the kind is namespaced.
    pub fn get(self, snapshot: &Snapshot, name: &str) -> Result<Option<Stored>, Error> {
        let key = Key::from(format!("{}{name}", self.prefix));
        snapshot.get(&key).map(|row| self.decode(key.clone(), row)).transpose()
    }

    /// All objects, of one namespace unless that is empty, whose rows are interesting.
    pub fn list(self, snapshot: &Snapshot, namespace: &str, interesting: impl Fn(&Row) -> bool) -> Result<Vec<Stored>, Error> {
        let slash = if namespace.is_empty() { "" } else { "/" };
        let range = Range::prefix(format!("{}{namespace}{slash}", self.prefix));
        snapshot.range(&range).filter(|(_, row)| interesting(row)).map(|(key, row)| self.decode(key.clone(), row)).collect()
    }
}

/// The name of the class that is marked as the default: of several the newest, and of those the first by name.
fn newest_default(kind: Kind, snapshot: &Snapshot, marks: &[&str]) -> Result<Option<Str>, Error> {
    let finder = memchr::memmem::Finder::new(b"is-default-class");
    let mut best: Option<(Str, Str)> = None;
    for class in kind.list(snapshot, "", |row| finder.find(row.bytes()).is_some())? {
        let class = class.object();
        if !marks.iter().any(|mark| class.annotation(mark) == Some("true")) {
            continue;
        }
        // Times of equal precision sort as text.
        let (created, name) = (class.text("metadata.creationTimestamp"), class.name());
        if best.as_ref().is_none_or(|(at, _)| created > at.as_str()) {
            best = Some((created.into(), name.into()));
        }
    }
    Ok(best.map(|(_, name)| name))
}

/// A value of a built-in type from its JSON.
fn literal(schema: &Arc<Schema>, type_name: &str, text: &str) -> Result<Struct, Error> {
    let failed = || Error::Internal(format!("no value of {type_name}"));
    let root = schema.named(type_name).ok_or_else(failed)?;
    json::decode(&Shape { schema: schema.clone(), root }, text.as_bytes(), &mut json::Report::ignore()).map_err(|_| failed())
}

/// The items of a list, which is made where it is absent.
fn items_mut<'a>(object: &'a mut Struct, schema: &Schema, path: &str) -> Result<&'a mut Vec<Value>, Error> {
    let failed = || Error::Internal(format!("the schema has no list {path}"));
    if !matches!(object.at(schema, path), Some(Value::List(_))) {
        object.put(schema, path, Value::List(Vec::new())).ok_or_else(failed)?;
    }
    object.at_mut(schema, path).and_then(Value::as_list_mut).ok_or_else(failed)
}

/// Puts a value where the schema is known to have it.
fn put(object: &mut Struct, schema: &Schema, path: &str, value: impl Into<Value>) -> Result<(), Error> {
    object.put(schema, path, value).ok_or_else(|| Error::Internal(format!("the schema has no {path}")))
}
