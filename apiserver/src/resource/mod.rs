//! What the API server serves: one [`Resource`] per kind, built in or custom, and the rules particular to it.

mod admissionregistration;
mod apiextensions;
mod apiregistration;
mod apps;
mod autoscaling;
mod batch;
pub mod catalog;
mod certificates;
mod claim;
pub mod columns;
pub mod conditions;
mod configuration;
mod convert;
mod coordination;
mod cron;
mod defaults;
mod dra;
mod event;
mod flowcontrol;
mod namespace;
mod networking;
mod node;
mod nodeclass;
pub mod object;
mod pod;
mod pod_resources;
mod policy;
mod quota;
mod rbac;
mod review;
pub mod rules;
mod scheduling;
mod service;
mod storage;
mod storagemigration;
mod table;
pub mod validation;
mod volume;

#[cfg(test)]
mod refused;
#[cfg(test)]
mod tests;

use crate::Error;
use crate::request::{User, Verb};
use apiserver_machinery::Str;
use apiserver_machinery::field;
use apiserver_machinery::schema::{Schema, Shape};
use apiserver_machinery::tree::Struct;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One kind of object, as the API server stores and serves it.
#[derive(Debug)]
pub struct Resource {
    /// Empty for the core group.
    pub group: Str,
    pub kind: Str,
    pub list_kind: Str,
    pub plural: Str,
    pub singular: Str,
    pub short_names: Vec<Str>,
    pub categories: Vec<Str>,
    pub namespaced: bool,
    /// Allowed on the resource itself, in discovery's order.
    pub verbs: Vec<Verb>,
    pub subresources: Vec<Subresource>,
    /// The served versions, preferred first.
    pub versions: Vec<Served>,
    /// What is written to the store.
    pub storage: Stored,
    /// `/registry/pods/`: where the objects lie in the store. Two resources may share one (events).
    pub prefix: Str,
    pub rules: &'static Rules,
    /// Built from a CustomResourceDefinition.
    pub custom: bool,
    /// Of custom resources: fields that field selectors may name, as paths (`spec.color`).
    pub selectable_paths: Vec<Str>,
    /// Whether somebody has read objects of this kind as protobuf; then writes encode that form too.
    pub protobuf_readers: AtomicBool,
}

/// A version that clients may ask for.
#[derive(Debug)]
pub struct Served {
    pub version: Str,
    pub shape: Shape,
    pub convert: Convert,
    pub columns: Columns,
    /// A Warning header for each use.
    pub deprecated: Option<Str>,
    /// Of custom resources: the declared openAPIV3Schema, for publishing.
    pub open_api: Option<Arc<serde_json::Value>>,
}

#[derive(Debug)]
pub struct Stored {
    /// `apps/v1`, as objects at rest say.
    pub api_version: Str,
    pub kind: Str,
    pub shape: Shape,
    /// Rows of another generation are decoded, pruned and defaulted anew before they are shown. Zero for built-in kinds.
    pub generation: apiserver_store::Generation,
}

/// How an object at rest becomes one of a served version and back.
#[derive(Clone, Copy, Debug)]
pub enum Convert {
    /// Version and shape are those at rest: bytes are served as they lie.
    Same,
    /// Only apiVersion differs: the fields are matched by name (versions of a CustomResourceDefinition without a webhook).
    Rename,
    Functions {
        to_storage: fn(&Struct, &Shape) -> Result<Struct, Error>,
        from_storage: fn(&Struct, &Shape) -> Result<Struct, Error>,
    },
}

#[derive(Debug)]
pub struct Subresource {
    /// `status`, `scale`, `log`.
    pub name: Str,
    /// Group, version and kind that discovery shows: `("autoscaling", "v1", "Scale")`; empty group and version mean the resource's own.
    pub group: Str,
    pub version: Str,
    pub kind: Str,
    pub verbs: Vec<Verb>,
    /// For `scale`: paths of spec replicas, status replicas and label selector (`.spec.replicas`), as in a CustomResourceDefinition.
    pub scale: Option<Scale>,
}

#[derive(Clone, Debug)]
pub struct Scale {
    pub spec_replicas: Str,
    pub status_replicas: Str,
    pub selector: Option<Str>,
}

/// The columns of `as=Table`.
#[derive(Clone, Debug, Default)]
pub struct Columns(pub Arc<[Column]>);

#[derive(Clone, Debug)]
pub struct Column {
    pub name: Str,
    /// `string`, `integer`, `date`, `boolean`, `number`.
    pub ty: Str,
    pub format: Str,
    pub description: Str,
    /// Above zero: only with `-o wide`.
    pub priority: i32,
    pub cell: Cell,
}

/// Where a cell's value comes from.
#[derive(Clone, Debug)]
pub enum Cell {
    /// A JSONPath of a CustomResourceDefinition's printer column (`.spec.replicas`).
    Path(Str),
    /// Written by hand for a built-in kind.
    Function(fn(Object<'_>, CellContext) -> Value),
}

pub use apiserver_machinery::tree::Value;

/// What cells may depend on beside the object.
#[derive(Clone, Copy, Debug)]
pub struct CellContext {
    pub now: jiff::Timestamp,
}

/// An object with the schema that describes it: what rules read.
#[derive(Clone, Copy, Debug)]
pub struct Object<'a> {
    pub schema: &'a Schema,
    pub tree: &'a Struct,
}

/// What rules of a kind may know of the request.
pub struct Context<'a> {
    pub user: &'a User,
    pub now: jiff::Timestamp,
    pub schema: &'a Schema,
    /// Empty on the main resource.
    pub subresource: &'a str,
    pub resource: &'a Resource,
}

/// The rules particular to a kind, on its storage version. Every function has a default that does what most kinds need.
#[derive(Debug)]
pub struct Rules {
    /// Defaults, as upstream's SetDefaults functions; runs after decoding, after each patch and after mutating admission, on the storage version.
    pub defaults: fn(&mut Struct, &Shape),
    /// Before a create is validated: clears what clients may not set, sets what the server decides (PrepareForCreate).
    pub create: fn(&mut Struct, &Context<'_>),
    /// Before an update of the resource or of a subresource is validated (PrepareForUpdate): keeps or resets what this endpoint may not change.
    pub update: fn(&Struct, &mut Struct, &Context<'_>),
    /// Cross-field validation; `old` on updates.
    pub validate: fn(Object<'_>, Option<Object<'_>>, &Context<'_>, &mut Vec<field::Error>),
    /// Warnings for the client, as `Warning: 299` headers.
    pub warnings: fn(Object<'_>, Option<Object<'_>>, &Context<'_>) -> Vec<String>,
    /// Fields for field selectors beside metadata.name and metadata.namespace: label and path or function.
    pub selectable: &'static [Selectable],
    /// metadata.generation goes up when spec (all but metadata and status) changes.
    pub generation: bool,
    /// A PUT or an apply to a name that does not exist creates it.
    pub create_on_update: bool,
    /// An update without a resourceVersion is taken.
    pub unconditional_update: bool,
    /// A create may give no name (reviews).
    pub nameless: bool,
    /// Seconds of grace that a delete gets, from what it asks for (`gracePeriodSeconds`); `None`: this kind is never deleted gracefully.
    /// Zero deletes at once.
    pub grace_seconds: Option<fn(Object<'_>, Option<i64>) -> i64>,
    /// A delete answers with the object instead of a Status.
    pub returns_deleted: bool,
}

#[derive(Debug)]
pub struct Selectable {
    pub label: &'static str,
    pub value: fn(Object<'_>) -> Str,
}

impl Resource {
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|subresource| subresource.name == name)
    }

    /// `deployments.apps`, or `pods`: how messages name the resource.
    pub fn group_resource(&self) -> Str {
        if self.group.is_empty() { self.plural.clone() } else { compact_str::format_compact!("{}.{}", self.plural, self.group) }
    }

    /// `/v1, Resource=pods`: how Go prints it, and some messages with it.
    pub fn group_version_resource(&self) -> String {
        let version = self.versions.first().map(|served| served.version.as_str()).unwrap_or_default();
        format!("{}/{version}, Resource={}", self.group, self.plural)
    }

    /// Whether a field selector may name this field, beside name and namespace.
    pub fn is_selectable(&self, field: &str) -> bool {
        self.rules.selectable.iter().any(|own| own.label == field) || self.selectable_paths.iter().any(|own| own == field)
    }

    pub fn note_protobuf(&self) {
        if !self.protobuf_readers.load(Ordering::Relaxed) {
            self.protobuf_readers.store(true, Ordering::Relaxed);
        }
    }

    pub fn read_as_protobuf(&self) -> bool {
        !self.custom && self.protobuf_readers.load(Ordering::Relaxed)
    }

    /// Where an object lies in the store: the prefix, the namespace if it has one, the name.
    pub fn key(&self, namespace: &str, name: &str) -> String {
        if self.namespaced { format!("{}{namespace}/{name}", self.prefix) } else { format!("{}{name}", self.prefix) }
    }
}
