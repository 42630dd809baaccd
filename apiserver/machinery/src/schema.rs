//! Structural schemas: what fields a kind has, and everything that the walks over a tree need to know of each.
//!
//! Built-in kinds come from the extracted table; a CustomResourceDefinition builds the same structures at run time.

use crate::Str;
use std::collections::HashMap;
use std::sync::Arc;

/// The place of a [`StructType`] in [`Schema::types`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(pub u32);

/// A closed set of struct types. One instance holds every built-in type; each version of a CustomResourceDefinition has its own.
#[derive(Debug, Default)]
pub struct Schema {
    pub types: Vec<StructType>,
    /// From a type's full name (`io.k8s.api.core.v1.Pod`) to its place.
    pub by_name: HashMap<Str, TypeId>,
}

/// A schema and one of its types: what a whole object is.
#[derive(Clone, Debug)]
pub struct Shape {
    pub schema: Arc<Schema>,
    pub root: TypeId,
}

/// One struct: its fields in the order in which they are encoded.
#[derive(Debug, Default)]
pub struct StructType {
    /// As in OpenAPI: `io.k8s.api.core.v1.PodSpec`. Of a custom resource's inner structs: the path, for messages only.
    pub name: Str,
    pub fields: Vec<Field>,
    /// Field number by JSON name.
    pub index: HashMap<Str, u16>,
    /// Unknown fields are kept (`x-kubernetes-preserve-unknown-fields`), and handled by [`StructType::rest`] if that is set.
    pub preserve_unknown: bool,
    /// The schema of fields without a name of their own (`additionalProperties` beside `properties`).
    pub rest: Option<Kind>,
    /// The whole struct is one value to server-side apply (`x-kubernetes-map-type: atomic`, structType atomic).
    pub atomic: bool,
    /// Holds a whole Kubernetes object: apiVersion, kind and metadata are checked (`x-kubernetes-embedded-resource`).
    pub embedded: bool,
    /// Checks that a CustomResourceDefinition's schema declares on this struct.
    pub checks: Option<Box<Checks>>,
}

/// One field of a struct.
#[derive(Debug)]
pub struct Field {
    /// Its JSON name.
    pub name: Str,
    pub kind: Kind,
    pub presence: Presence,
    /// Protobuf field numbers from the struct's own message down: more than one where JSON flattens an inlined struct that protobuf nests.
    /// Empty where the type has no protobuf form.
    pub proto: Box<[u32]>,
    /// Strategic merge patch, from the struct tags `patchStrategy` and `patchMergeKey`.
    pub patch: PatchStrategy,
    pub required: bool,
    pub nullable: bool,
    /// A default published in OpenAPI (also how a CustomResourceDefinition gives one), as JSON.
    pub default: Option<Str>,
    pub checks: Option<Box<Checks>>,
}

/// How Go's encoder decides whether a field is written, which clients see: `replicas: 0` is shown, an empty `labels` is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Presence {
    /// A Go pointer: absent and zero differ. Maps, slices and interfaces are nil-able too, but their zero is "empty".
    pub pointer: bool,
    pub omitempty: bool,
    /// Also leaves out a zero struct.
    pub omitzero: bool,
}

/// What a value is.
#[derive(Clone, Debug)]
pub enum Kind {
    Bool,
    Int32,
    Int64,
    /// Unsigned integers, which a few types have.
    Uint32,
    Double,
    String,
    /// Base64 in JSON.
    Bytes,
    /// resource.Quantity; a tree holds its canonical form.
    Quantity,
    /// A tree holds an integer or a string.
    IntOrString,
    /// metav1.Time: RFC 3339 in UTC, seconds.
    Time,
    /// metav1.MicroTime: RFC 3339 in UTC, microseconds.
    MicroTime,
    /// metav1.Duration: Go's notation, `1h0m0s`.
    Duration,
    /// metav1.FieldsV1: raw JSON, kept as text.
    Fields,
    /// runtime.RawExtension, apiextensions' JSON and schema-less values: any JSON.
    Any,
    Struct(TypeId),
    List(Arc<ListOf>),
    Map(Arc<MapOf>),
}

#[derive(Debug)]
pub struct ListOf {
    pub item: Kind,
    pub merge: ListMerge,
    /// A null item is allowed (custom resources only).
    pub nullable: bool,
    pub checks: Option<Box<Checks>>,
}

#[derive(Debug)]
pub struct MapOf {
    pub value: Kind,
    /// One value to server-side apply.
    pub atomic: bool,
    /// A null value is allowed (custom resources only).
    pub nullable: bool,
    pub checks: Option<Box<Checks>>,
}

/// `x-kubernetes-list-type`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum ListMerge {
    #[default]
    Atomic,
    Set,
    /// Merged by these keys; a key with a default (`protocol: TCP`) may be absent.
    Map(Box<[MapKey]>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapKey {
    pub name: Str,
    /// As JSON.
    pub default: Option<Str>,
}

/// Struct tags of strategic merge patch.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct PatchStrategy {
    /// Merge a list by key (or as a set of scalars) instead of replacing it.
    pub merge: bool,
    pub replace: bool,
    pub retain_keys: bool,
    pub merge_key: Option<Str>,
}

/// Value checks of OpenAPI v3, in the subset that structural schemas allow.
#[derive(Clone, Debug, Default)]
pub struct Checks {
    /// As JSON.
    pub values: Box<[Str]>,
    pub format: Option<Str>,
    pub minimum: Option<f64>,
    pub maximum: Option<f64>,
    pub exclusive_minimum: bool,
    pub exclusive_maximum: bool,
    pub multiple_of: Option<f64>,
    pub min_length: Option<u64>,
    pub max_length: Option<u64>,
    pub pattern: Option<Str>,
    pub min_items: Option<u64>,
    pub max_items: Option<u64>,
    pub unique_items: bool,
    pub min_properties: Option<u64>,
    pub max_properties: Option<u64>,
    /// `anyOf`, `oneOf`, `allOf`, `not`, as the JSON of the declaring node: value validation only.
    pub logical: Option<Str>,
}

impl Schema {
    pub fn get(&self, id: TypeId) -> &StructType {
        &self.types[id.0 as usize]
    }

    /// The type of this full name, as `io.k8s.api.core.v1.Pod`.
    pub fn named(&self, name: &str) -> Option<TypeId> {
        self.by_name.get(name).copied()
    }
}

impl Shape {
    pub fn root(&self) -> &StructType {
        self.schema.get(self.root)
    }
}

impl StructType {
    /// The number of the field with this JSON name.
    pub fn number(&self, name: &str) -> Option<u16> {
        self.index.get(name).copied()
    }

    pub fn field(&self, name: &str) -> Option<&Field> {
        self.number(name).map(|number| &self.fields[usize::from(number)])
    }
}
