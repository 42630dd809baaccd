//! The schema of every built-in type, from the extracted table (`builtin/table.txt`, which `extract/` writes).
//!
//! The table is read once, when it is first asked for.

use crate::Str;
use crate::schema::{
    Checks, Choice, Field, Kind, ListMerge, ListOf, MapKey, MapOf, NameMap, PatchStrategy, Presence, Schema, Shape, StructType, TypeId,
};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

const TABLE: &str = include_str!("builtin/table.txt");

/// What every group version has, but the table lists under `meta.k8s.io/v1` alone.
const EVERYWHERE: [&str; 7] = ["CreateOptions", "DeleteOptions", "GetOptions", "ListOptions", "PatchOptions", "UpdateOptions", "WatchEvent"];

struct Builtin {
    schema: Arc<Schema>,
    kinds: HashMap<(&'static str, &'static str, &'static str), TypeId>,
}

static BUILTIN: LazyLock<Builtin> = LazyLock::new(|| read(TABLE).expect("the table in this crate is well-formed: a test reads it"));

/// All built-in types.
pub fn schema() -> &'static Arc<Schema> {
    &BUILTIN.schema
}

/// The type of a kind; the core group is "". List kinds are there too; the types of meta/v1 are in the group `meta.k8s.io`, and those that go
/// with every group (DeleteOptions, WatchEvent, …) are found in any.
pub fn gvk(group: &str, version: &str, kind: &str) -> Option<TypeId> {
    let kinds: &HashMap<(&str, &str, &str), TypeId> = &BUILTIN.kinds;
    kinds.get(&(group, version, kind)).copied().or_else(|| {
        let everywhere = EVERYWHERE.contains(&kind);
        everywhere.then(|| kinds.get(&("meta.k8s.io", "v1", kind)).copied())?
    })
}

/// The shape of a kind; see [`gvk`].
pub fn shape(group: &str, version: &str, kind: &str) -> Option<Shape> {
    gvk(group, version, kind).map(|root| Shape::new(schema(), root))
}

/// Every kind of the table: group, version, kind and type, in no order.
pub fn kinds() -> impl Iterator<Item = (&'static str, &'static str, &'static str, TypeId)> {
    BUILTIN.kinds.iter().map(|(&(group, version, kind), &ty)| (group, version, kind, ty))
}

/// See `writeTable` in `extract/table.go` for the format.
fn read(table: &'static str) -> Option<Builtin> {
    let mut by_name: NameMap<TypeId> = NameMap::default();
    for (line, number) in table.lines().filter(|line| line.starts_with("type\t")).zip(0..) {
        by_name.insert(line.split('\t').nth(1)?.into(), TypeId(number));
    }
    let mut schema = Schema { types: Vec::with_capacity(by_name.len()), by_name, custom: None };
    let mut kinds = HashMap::new();
    let mut lines = table.lines().peekable();
    while let Some(line) = lines.next() {
        let mut columns = line.split('\t');
        match columns.next()? {
            "kind" => {
                let group = columns.next().map(|group| if group == "-" { "" } else { group })?;
                let key = (group, columns.next()?, columns.next()?);
                kinds.insert(key, schema.named(columns.next()?)?);
            }
            "type" => {
                let mut fields = Vec::new();
                while let Some(line) = lines.next_if(|line| line.starts_with('\t')) {
                    fields.push(field(&schema, &line[1..])?);
                }
                let mut ty = StructType::new(columns.next()?, fields);
                ty.go = columns.next()?.into();
                for attribute in columns {
                    match attribute.split_once('=') {
                        None if attribute == "atomic" => ty.atomic = true,
                        Some(("union", json)) => ty.unions = Some(json.into()),
                        _ => return None,
                    }
                }
                schema.types.push(ty);
            }
            _ => return None,
        }
    }
    give_keys_their_defaults(&mut schema);
    Some(Builtin { schema: Arc::new(schema), kinds })
}

#[derive(Default)]
struct ListFacts<'a> {
    set: bool,
    keys: Option<&'a str>,
    atomic_map: bool,
    values: Box<[Str]>,
}

fn field(schema: &Schema, line: &'static str) -> Option<Field> {
    let mut columns = line.split('\t');
    let name = columns.next()?;
    let kind = columns.next()?;
    let mut field = Field::new(name, Kind::Bool);
    field.presence = Presence::default();
    let mut list = ListFacts::default();
    for column in columns {
        let (attribute, value) = column.split_once('=').unwrap_or((column, ""));
        match attribute {
            "ptr" => field.presence.pointer = true,
            "oe" => field.presence.omitempty = true,
            "oz" => field.presence.omitzero = true,
            "req" => field.required = true,
            "pb" => field.proto = value.split('.').map(|number| number.parse().ok()).collect::<Option<_>>()?,
            "go" => field.go = Str::const_new(value),
            "via" => field.via = Str::const_new(value),
            "def" => field.default = Some(Str::const_new(value)),
            "ps" => field.patch = strategy(value, field.patch.merge_key.take()),
            "pk" => field.patch.merge_key = Some(Str::const_new(value)),
            "lt" => list.set = value == "set",
            "lk" => list.keys = Some(value),
            "mt" if value == "granular" => field.granular = true,
            "mt" => list.atomic_map = true,
            "enum" => list.values = value.split('|').map(|text| Str::from(format!("{text:?}"))).collect(),
            "format" => field.checks = Some(Box::new(Checks { format: Some(Str::const_new(value)), ..Checks::default() })),
            _ => return None,
        }
    }
    field.kind = parse_kind(schema, kind, &list)?;
    if !list.values.is_empty() && !kind.starts_with(['[', '{']) {
        field.checks.get_or_insert_default().values = list.values;
    }
    Some(field)
}

fn strategy(text: &str, merge_key: Option<Str>) -> PatchStrategy {
    let has = |word| text.split(',').any(|part| part == word);
    PatchStrategy { merge: has("merge"), replace: has("replace"), retain_keys: has("retainKeys"), merge_key }
}

fn parse_kind(schema: &Schema, text: &str, facts: &ListFacts) -> Option<Kind> {
    let scalar = match text {
        "bool" => Kind::Bool,
        "i32" => Kind::Int32,
        "i64" => Kind::Int64,
        "f64" => Kind::Double,
        "str" => Kind::String,
        "bytes" => Kind::Bytes,
        "quantity" => Kind::Quantity,
        "intorstring" => Kind::IntOrString,
        "time" => Kind::Time,
        "microtime" => Kind::MicroTime,
        "duration" => Kind::Duration,
        "fields" => Kind::Fields,
        "any" => Kind::Any,
        _ => return parse_compound(schema, text, facts),
    };
    Some(scalar)
}

fn parse_compound(schema: &Schema, text: &str, facts: &ListFacts) -> Option<Kind> {
    let inner = ListFacts::default();
    let checks = (!facts.values.is_empty()).then(|| Box::new(Checks { values: facts.values.clone(), ..Checks::default() }));
    if let Some(item) = text.strip_prefix('[') {
        let (wrapped, item) = item.strip_prefix('=').map_or((false, item), |item| (true, item));
        let merge = match facts.keys {
            Some(keys) => ListMerge::Map(keys.split(',').map(|name| MapKey { name: name.into(), default: None }).collect()),
            None if facts.set => ListMerge::Set,
            None => ListMerge::Atomic,
        };
        let item = parse_kind(schema, item, &inner)?;
        return Some(Kind::List(Arc::new(ListOf { item, merge, wrapped, nullable: false, checks })));
    }
    if let Some(value) = text.strip_prefix('{') {
        let value = parse_kind(schema, value, &inner)?;
        return Some(Kind::Map(Arc::new(MapOf { value, atomic: facts.atomic_map, nullable: false, checks })));
    }
    let (word, ty) = text.split_once('@')?;
    let ty = schema.named(ty)?;
    match word {
        "" => Some(Kind::Struct(ty)),
        "orlist" => Some(Kind::Choice(Choice::List, ty)),
        "orbool" => Some(Kind::Choice(Choice::Bool, ty)),
        "orstrings" => Some(Kind::Choice(Choice::Strings, ty)),
        _ => None,
    }
}

/// A key of a list may have a default (`protocol: TCP`), which its item's type declares.
fn give_keys_their_defaults(schema: &mut Schema) {
    let default = |schema: &Schema, item: &Kind, name: &str| match item {
        Kind::Struct(ty) => schema.get(*ty).field(name)?.default.clone(),
        _ => None,
    };
    for at in 0..schema.types.len() {
        for number in 0..schema.types[at].fields.len() {
            let Kind::List(list) = &schema.types[at].fields[number].kind else { continue };
            let ListMerge::Map(keys) = &list.merge else { continue };
            let keys = keys.iter().map(|key| MapKey { name: key.name.clone(), default: default(schema, &list.item, &key.name) }).collect();
            let list =
                ListOf { item: list.item.clone(), merge: ListMerge::Map(keys), wrapped: list.wrapped, nullable: false, checks: list.checks.clone() };
            schema.types[at].fields[number].kind = Kind::List(Arc::new(list));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field_of(ty: &str, name: &str) -> &'static Field {
        let schema = schema();
        schema.get(schema.named(ty).expect(ty)).field(name).expect(name)
    }

    #[test]
    fn the_table_holds_every_kind_and_its_types() {
        for (group, version, kind) in [
            ("", "v1", "Pod"),
            ("", "v1", "PodList"),
            ("", "v1", "Status"),
            ("apps", "v1", "Deployment"),
            ("apps", "v1", "DeleteOptions"),
            ("autoscaling", "v1", "Scale"),
            ("policy", "v1", "Eviction"),
            ("authentication.k8s.io", "v1", "TokenRequest"),
            ("apiextensions.k8s.io", "v1", "CustomResourceDefinition"),
            ("apiregistration.k8s.io", "v1", "APIService"),
            ("meta.k8s.io", "v1", "PartialObjectMetadata"),
        ] {
            assert!(gvk(group, version, kind).is_some(), "{group}/{version} {kind}");
        }
        assert_eq!(gvk("", "v1", "pod"), None);
        assert_eq!(gvk("example.com", "v1", "Pod"), None);
    }

    #[test]
    fn fields_know_how_they_are_patched_and_applied() {
        let ports = field_of("io.k8s.api.core.v1.Container", "ports");
        assert!(ports.patch.merge);
        assert_eq!(ports.patch.merge_key.as_deref(), Some("containerPort"));
        let Kind::List(list) = &ports.kind else { panic!("{:?}", ports.kind) };
        let ListMerge::Map(keys) = &list.merge else { panic!("{:?}", list.merge) };
        assert_eq!(keys[0], MapKey { name: "containerPort".into(), default: Some("0".into()) });
        assert_eq!(keys[1], MapKey { name: "protocol".into(), default: Some("\"TCP\"".into()) });
        assert!(field_of("io.k8s.api.core.v1.PodSpec", "volumes").patch.retain_keys);
        assert!(field_of("io.k8s.api.core.v1.PersistentVolumeSpec", "claimRef").granular);
    }

    #[test]
    fn inlined_structs_are_flat_in_json_and_nested_in_protobuf() {
        let field = field_of("io.k8s.api.core.v1.Volume", "emptyDir");
        assert_eq!(&*field.proto, &[2, 2]);
        assert_eq!(field.via, "VolumeSource");
    }
}
