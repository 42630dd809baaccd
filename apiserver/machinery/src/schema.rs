//! Structural schemas: what fields a kind has, and everything that the walks over a tree need to know of each.
//!
//! Built-in kinds come from the extracted table; a CustomResourceDefinition builds the same structures at run time, with
//! [`StructType::new`] and [`Field::new`].

use crate::Str;
use crate::wire::Wire;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

/// The place of a [`StructType`] in [`Schema::types`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(pub u32);

/// A closed set of struct types. One instance holds every built-in type; each version of a CustomResourceDefinition has its own.
#[derive(Debug, Default)]
pub struct Schema {
    pub types: Vec<StructType>,
    /// From a type's full name (`io.k8s.api.core.v1.Pod`) to its place.
    pub by_name: NameMap<TypeId>,
    /// Of a custom resource: what its definition says of values beyond their types.
    pub custom: Option<Box<crate::custom::Definition>>,
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
    /// The name of upstream's Go type, `PodSpec`, which messages about values of a wrong type show.
    pub go: Str,
    pub fields: Vec<Field>,
    /// Field number by JSON name.
    pub index: NameMap<u16>,
    /// The fields that are written even where they are absent (no `omitempty`, or a value that Go never leaves out).
    pub(crate) shown: Box<[u16]>,
    /// The same fields in the order and nesting of protobuf.
    pub(crate) wire: Wire,
    /// Belongs to a custom resource: a value is kept as it came, zero, null or of a wrong type, for validation and pruning to judge. Structs of
    /// built-in types decode as Go does: null and zero values mean absent, and a wrong type is an error.
    pub dynamic: bool,
    /// Unknown fields are kept (`x-kubernetes-preserve-unknown-fields`), and handled by [`StructType::rest`] if that is set.
    pub preserve_unknown: bool,
    /// The schema of fields without a name of their own (`additionalProperties` beside `properties`).
    pub rest: Option<Kind>,
    /// The whole struct is one value to server-side apply (`x-kubernetes-map-type: atomic`, structType atomic).
    pub atomic: bool,
    /// `x-kubernetes-unions` as JSON, for OpenAPI only.
    pub unions: Option<Str>,
    /// Holds a whole Kubernetes object: apiVersion, kind and metadata are checked (`x-kubernetes-embedded-resource`).
    pub embedded: bool,
    /// Checks that a CustomResourceDefinition's schema declares on this struct.
    pub checks: Option<Box<Checks>>,
}

/// One field of a struct. Made by [`Field::new`]; what differs from the usual is then set.
#[derive(Debug)]
pub struct Field {
    /// Its JSON name.
    pub name: Str,
    /// The name as the encoder writes it: quoted, escaped and with its colon.
    pub(crate) key: Str,
    pub kind: Kind,
    /// Upstream's Go type where messages show it: `v1.RestartPolicy`, `[]v1.Container`. Empty of custom resources.
    pub go: Str,
    /// Go's names of the inlined structs on the way to this field, joined by dots, which messages show too: `VolumeSource`.
    pub via: Str,
    pub presence: Presence,
    /// Protobuf field numbers from the struct's own message down: more than one where JSON flattens an inlined struct that protobuf nests.
    /// Empty where the type has no protobuf form.
    pub proto: Box<[u32]>,
    /// Strategic merge patch, from the struct tags `patchStrategy` and `patchMergeKey`.
    pub patch: PatchStrategy,
    /// Of a struct: server-side apply goes into it, although its type is [`StructType::atomic`].
    pub granular: bool,
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
    /// A struct or something shorter: three fields of apiextensions' JSONSchemaProps.
    Choice(Choice, TypeId),
}

/// What a [`Kind::Choice`] may be beside the struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// A list of the struct: `items`.
    List,
    /// A boolean: `additionalProperties`, `additionalItems`.
    Bool,
    /// A list of strings: `dependencies`.
    Strings,
}

#[derive(Debug)]
pub struct ListOf {
    pub item: Kind,
    pub merge: ListMerge,
    /// Protobuf wraps the list in a message of its own, whose field 1 the items are (`ExtraValue`).
    pub wrapped: bool,
    /// A null item is allowed (custom resources only).
    pub nullable: bool,
    /// Of each item. The list's own are its field's.
    pub checks: Option<Box<Checks>>,
}

#[derive(Debug)]
pub struct MapOf {
    pub value: Kind,
    /// One value to server-side apply.
    pub atomic: bool,
    /// A null value is allowed (custom resources only).
    pub nullable: bool,
    /// Of each value. The map's own are its field's.
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

impl Schema {
    /// Copies a type and all that it refers to from another schema, with fields in the order of their names, as upstream shows custom resources:
    /// the metadata of a CustomResourceDefinition's schema is `schema.import(builtin::schema(), object_meta)`. Ends in the copy's number.
    pub fn import(&mut self, from: &Schema, root: TypeId) -> TypeId {
        let source = from.get(root);
        if let Some(known) = self.named(&source.name) {
            return known;
        }
        let id = TypeId(self.types.len() as u32);
        self.by_name.insert(source.name.clone(), id);
        // Its place is taken first, since its fields may refer to it.
        self.types.push(StructType::default());
        let mut fields: Vec<Field> = source.fields.iter().map(|field| self.import_field(from, field)).collect();
        fields.sort_by(|a, b| a.name.cmp(&b.name));
        let mut ty = StructType::new(source.name.clone(), fields);
        ty.go = source.go.clone();
        ty.atomic = source.atomic;
        self.types[id.0 as usize] = ty;
        id
    }

    fn import_field(&mut self, from: &Schema, field: &Field) -> Field {
        Field {
            name: field.name.clone(),
            key: field.key.clone(),
            kind: self.import_kind(from, &field.kind),
            go: field.go.clone(),
            via: field.via.clone(),
            presence: field.presence,
            proto: field.proto.clone(),
            patch: field.patch.clone(),
            granular: field.granular,
            required: field.required,
            nullable: field.nullable,
            default: field.default.clone(),
            checks: field.checks.clone(),
        }
    }

    fn import_kind(&mut self, from: &Schema, kind: &Kind) -> Kind {
        match kind {
            Kind::Struct(ty) => Kind::Struct(self.import(from, *ty)),
            Kind::Choice(choice, ty) => Kind::Choice(*choice, self.import(from, *ty)),
            Kind::List(list) => Kind::List(Arc::new(ListOf {
                item: self.import_kind(from, &list.item),
                merge: list.merge.clone(),
                wrapped: list.wrapped,
                nullable: list.nullable,
                checks: list.checks.clone(),
            })),
            Kind::Map(map) => Kind::Map(Arc::new(MapOf {
                value: self.import_kind(from, &map.value),
                atomic: map.atomic,
                nullable: map.nullable,
                checks: map.checks.clone(),
            })),
            scalar => scalar.clone(),
        }
    }

    /// Go's name of a kind's type, as upstream's messages show it: `int32`, `[]v1.Container`, `map[string]resource.Quantity`.
    pub(crate) fn go_type(&self, kind: &Kind) -> String {
        let name = match kind {
            Kind::Bool => "bool",
            Kind::Int32 => "int32",
            Kind::Int64 => "int64",
            Kind::Uint32 => "uint32",
            Kind::Double => "float64",
            Kind::String => "string",
            Kind::Bytes => "[]uint8",
            Kind::Quantity => "resource.Quantity",
            Kind::IntOrString => "intstr.IntOrString",
            Kind::Time => "v1.Time",
            Kind::MicroTime => "v1.MicroTime",
            Kind::Duration => "v1.Duration",
            Kind::Fields => "v1.FieldsV1",
            Kind::Any => "runtime.RawExtension",
            Kind::Choice(Choice::List, _) => "v1.JSONSchemaPropsOrArray",
            Kind::Choice(Choice::Bool, _) => "v1.JSONSchemaPropsOrBool",
            Kind::Choice(Choice::Strings, _) => "v1.JSONSchemaPropsOrStringArray",
            Kind::Struct(ty) => return self.get(*ty).go_type(),
            Kind::List(list) => return format!("[]{}", self.go_type(&list.item)),
            Kind::Map(map) => return format!("map[string]{}", self.go_type(&map.value)),
        };
        name.to_owned()
    }
}

impl Shape {
    pub fn new(schema: &Arc<Schema>, root: TypeId) -> Self {
        Self { schema: schema.clone(), root }
    }

    pub fn root(&self) -> &StructType {
        self.schema.get(self.root)
    }
}

impl StructType {
    pub fn new(name: impl Into<Str>, fields: Vec<Field>) -> Self {
        let name = name.into();
        let index = fields.iter().zip(0..).map(|(field, number)| (field.name.clone(), number)).collect();
        let shown = fields.iter().zip(0..).filter(|(field, _)| field.is_always_shown()).map(|(_, number)| number).collect();
        let wire = Wire::of(&fields);
        Self { go: name.rsplit('.').next().unwrap_or_default().into(), name, fields, index, shown, wire, ..Self::default() }
    }

    /// The number of the field with this JSON name.
    pub fn number(&self, name: &str) -> Option<u16> {
        self.index.get(name).copied()
    }

    /// Go's name of this type with its package: `v1.PodSpec`.
    pub(crate) fn go_type(&self) -> String {
        let package = self.name.rsplit('.').nth(1).unwrap_or_default();
        format!("{package}.{}", self.go)
    }

    pub fn field(&self, name: &str) -> Option<&Field> {
        self.number(name).map(|number| &self.fields[usize::from(number)])
    }
}

impl Field {
    /// An optional field whose absence and zero differ: what every field of a custom resource is.
    pub fn new(name: impl Into<Str>, kind: Kind) -> Self {
        let name = name.into();
        let mut key = Vec::with_capacity(name.len() + 3);
        crate::json::write_string(&name, &mut key);
        key.push(b':');
        Self {
            key: Str::from_utf8_lossy(&key),
            name,
            kind,
            go: Str::default(),
            via: Str::default(),
            presence: Presence { pointer: true, omitempty: true, omitzero: false },
            proto: Box::default(),
            patch: PatchStrategy::default(),
            granular: false,
            required: false,
            nullable: false,
            default: None,
            checks: None,
        }
    }

    fn is_always_shown(&self) -> bool {
        if self.presence.pointer || self.presence.omitzero {
            return !self.presence.omitempty && !self.presence.omitzero;
        }
        !self.presence.omitempty || self.kind.is_go_struct()
    }
}

impl Kind {
    /// Go's `omitempty` never leaves out a struct that is not a pointer, whatever its JSON form.
    pub fn is_go_struct(&self) -> bool {
        match self {
            Kind::Quantity | Kind::IntOrString | Kind::Time | Kind::MicroTime | Kind::Duration | Kind::Fields | Kind::Any => true,
            Kind::Struct(_) | Kind::Choice(..) => true,
            Kind::Bool | Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Double | Kind::String | Kind::Bytes => false,
            Kind::List(_) | Kind::Map(_) => false,
        }
    }
}

/// A map by name. Names come from schemas, never from requests, so a fast hash without a secret will do.
pub type NameMap<T> = HashMap<Str, T, BuildHasherDefault<NameHasher>>;

/// Multiplies and rotates eight bytes at a time.
#[derive(Default)]
pub struct NameHasher(u64);

impl NameHasher {
    const FACTOR: u64 = 0x517c_c1b7_2722_0a95;

    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(Self::FACTOR);
    }
}

impl Hasher for NameHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.add(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.add(u64::from_le_bytes(last) ^ (bytes.len() as u64) << 56);
    }

    fn write_u8(&mut self, byte: u8) {
        self.add(u64::from(byte));
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}
