//! The schema of a custom resource: what a CustomResourceDefinition's version gives, in the form that built-in kinds have.
//!
//! With it the codecs prune and report unknown fields, and server-side apply finds list and map types. What goes beyond types hangs on the
//! schema as a [`Definition`]: [`crate::defaults`] and [`crate::validate`] work from it.

use crate::Str;
use crate::builtin;
use crate::defaults::Defaults;
use crate::field::{Error, Path};
use crate::json;
use crate::schema::{Field, Kind, ListMerge, ListOf, MapKey, MapOf, Schema, Shape, StructType, TypeId};
use crate::structural::{Additional, Structural};
use crate::tree::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Names that belong to every resource, whole or embedded.
const RESOURCE_FIELDS: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// What a definition's version says of values beyond their types.
#[derive(Debug)]
pub struct Definition {
    pub structural: Structural,
    pub defaults: Defaults,
}

/// The shape of a kind's objects, from its `openAPIV3Schema`. Without one everything is kept, or, if unknown fields are not preserved, nothing
/// beyond apiVersion, kind and metadata. The errors are those of a schema that is not structural.
pub fn shape(open_api: Option<&serde_json::Value>, preserve_unknown_fields: bool) -> Result<Shape, Vec<Error>> {
    let at = Path::new("openAPIV3Schema");
    let unreadable = |why: String| vec![Error::invalid(&at, "", why)];
    let mut structural = match open_api {
        Some(schema) => {
            let schema = json::to_any(schema.to_string().as_bytes()).map_err(|error| unreadable(error.to_string()))?;
            Structural::read(&schema).map_err(unreadable)?
        }
        None => Structural::object(),
    };
    let errors = if open_api.is_some() { structural.problems(&at) } else { Vec::new() };
    if !errors.is_empty() {
        return Err(errors);
    }
    structural.preserve_unknown_fields |= preserve_unknown_fields;
    Ok(of(structural))
}

/// The shape of a kind's objects, from a schema that is structural.
pub fn of(structural: Structural) -> Shape {
    let mut builder = Builder::default();
    let root = builder.object("", &structural, true, false);
    let mut schema = builder.schema;
    let defaults = Defaults::of(&schema);
    schema.custom = Some(Box::new(Definition { structural, defaults }));
    Shape::new(&Arc::new(schema), root)
}

#[derive(Default)]
struct Builder {
    schema: Schema,
}

impl Builder {
    fn add(&mut self, ty: StructType) -> TypeId {
        let id = TypeId(self.schema.types.len() as u32);
        self.schema.by_name.insert(ty.name.clone(), id);
        self.schema.types.push(ty);
        id
    }

    fn metadata(&mut self) -> Kind {
        let built_in = builtin::schema();
        match built_in.named("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta") {
            Some(ty) => Kind::Struct(self.schema.import(built_in, ty)),
            None => Kind::Any,
        }
    }

    /// A struct; `keeps` is set where what is around it preserves unknown fields and hands that on.
    fn object(&mut self, name: &str, node: &Structural, is_root: bool, keeps: bool) -> TypeId {
        let whole = is_root || node.embedded_resource;
        let mut fields: BTreeMap<Str, Field> = BTreeMap::new();
        for (property, child) in &node.properties {
            // Metadata is what it always is; a definition may only restrict names.
            if whole && RESOURCE_FIELDS.contains(&property.as_str()) {
                continue;
            }
            let kind = self.kind(&format!("{name}.{property}"), child, false);
            let mut field = Field::new(property.clone(), kind);
            field.required = node.required.contains(property);
            field.nullable = child.nullable;
            field.default = child.default.as_ref().map(json_text);
            fields.insert(property.clone(), field);
        }
        if whole {
            let metadata = self.metadata();
            for (name, kind) in [("apiVersion", Kind::String), ("kind", Kind::String), ("metadata", metadata)] {
                fields.insert(name.into(), Field::new(name, kind));
            }
        }
        let mut ty = StructType::new(name, fields.into_values().collect());
        ty.dynamic = true;
        ty.preserve_unknown = node.preserve_unknown_fields || keeps;
        ty.embedded = node.embedded_resource;
        ty.atomic = node.map_type.as_deref() == Some("atomic");
        ty.rest = match &node.additional {
            Some(Additional::Schema(schema)) => Some(self.kind(&format!("{name}.*"), schema, false)),
            Some(Additional::Allowed(true)) => Some(self.nothing(&format!("{name}.*"))),
            _ => None,
        };
        self.add(ty)
    }

    /// Values of which no field is declared: objects lose all they have.
    fn nothing(&mut self, name: &str) -> Kind {
        let mut ty = StructType::new(name, Vec::new());
        ty.dynamic = true;
        Kind::Struct(self.add(ty))
    }

    fn kind(&mut self, name: &str, node: &Structural, keeps: bool) -> Kind {
        if node.int_or_string {
            return Kind::IntOrString;
        }
        match node.ty.as_str() {
            "string" => Kind::String,
            "integer" => Kind::Int64,
            "number" => Kind::Double,
            "boolean" => Kind::Bool,
            "array" => self.list(name, node),
            _ => self.object_kind(name, node, keeps),
        }
    }

    fn object_kind(&mut self, name: &str, node: &Structural, keeps: bool) -> Kind {
        let plain_map = node.properties.is_empty() && !node.preserve_unknown_fields && !node.embedded_resource && !keeps;
        match &node.additional {
            Some(additional) if plain_map && !matches!(additional, Additional::Allowed(false)) => {
                let inner = format!("{name}.*");
                let value = match additional.schema() {
                    Some(schema) => self.kind(&inner, schema, false),
                    None => self.nothing(&inner),
                };
                let nullable = additional.schema().is_some_and(|schema| schema.nullable);
                Kind::Map(Arc::new(MapOf { value, atomic: node.map_type.as_deref() == Some("atomic"), nullable, checks: None }))
            }
            // No type and no fields: any value at all.
            None if node.ty.is_empty() && node.preserve_unknown_fields && node.properties.is_empty() && !node.embedded_resource => Kind::Any,
            _ => Kind::Struct(self.object(name, node, false, keeps)),
        }
    }

    fn list(&mut self, name: &str, node: &Structural) -> Kind {
        let (item, nullable) = match &node.items {
            Some(items) => (self.kind(&format!("{name}[]"), items, node.preserve_unknown_fields), items.nullable),
            None => (Kind::Any, false),
        };
        let merge = match node.list_type.as_deref() {
            Some("set") => ListMerge::Set,
            Some("map") => {
                let default = |key: &Str| node.items.as_ref()?.properties.get(key)?.default.as_ref().map(json_text);
                ListMerge::Map(node.list_map_keys.iter().map(|key| MapKey { name: key.clone(), default: default(key) }).collect())
            }
            _ => ListMerge::Atomic,
        };
        Kind::List(Arc::new(ListOf { item, merge, wrapped: false, nullable, checks: None }))
    }
}

fn json_text(value: &Value) -> Str {
    String::from_utf8_lossy(&json::from_any(value)).into()
}

#[cfg(test)]
mod tests;
