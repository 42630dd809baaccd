//! Types as JSON Schema: the definitions of OpenAPI v2 and the component schemas of v3.

use super::Dialect;
use super::descriptions::Descriptions;
use apiserver_machinery::schema::{Choice, Field, Kind, ListMerge, Schema, StructType, TypeId};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// Renders struct types and notes which others they refer to.
pub struct Renderer<'a> {
    pub schema: &'a Schema,
    pub descriptions: &'a Descriptions,
    pub dialect: Dialect,
}

/// Types that are not structs, under the names that clients know.
const SCALARS: &[(&str, &str, &str)] = &[
    ("io.k8s.apimachinery.pkg.api.resource.Quantity", "string", ""),
    ("io.k8s.apimachinery.pkg.util.intstr.IntOrString", "string", "int-or-string"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.Time", "string", "date-time"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime", "string", "date-time"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.Duration", "string", ""),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1", "object", ""),
    ("io.k8s.apimachinery.pkg.runtime.RawExtension", "object", ""),
];

fn scalar(kind: &Kind) -> Option<&'static str> {
    let name = match kind {
        Kind::Quantity => "io.k8s.apimachinery.pkg.api.resource.Quantity",
        Kind::IntOrString => "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
        Kind::Time => "io.k8s.apimachinery.pkg.apis.meta.v1.Time",
        Kind::MicroTime => "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime",
        Kind::Duration => "io.k8s.apimachinery.pkg.apis.meta.v1.Duration",
        Kind::Fields => "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1",
        Kind::Any => "io.k8s.apimachinery.pkg.runtime.RawExtension",
        _ => return None,
    };
    Some(name)
}

impl Renderer<'_> {
    /// These types and all that they refer to, by full name.
    pub fn closure(&self, roots: impl IntoIterator<Item = TypeId>) -> Map<String, Value> {
        let mut out = Map::new();
        let mut seen: BTreeSet<TypeId> = BTreeSet::new();
        let mut scalars: BTreeSet<&'static str> = BTreeSet::new();
        let mut left: Vec<TypeId> = roots.into_iter().collect();
        while let Some(id) = left.pop() {
            if !seen.insert(id) {
                continue;
            }
            let ty = self.schema.get(id);
            for field in &ty.fields {
                refers(&field.kind, &mut left, &mut scalars);
            }
            out.insert(ty.name.to_string(), self.definition(ty));
        }
        for (name, ty, format) in SCALARS.iter().filter(|(name, ..)| scalars.contains(name)) {
            let mut schema = json!({ "type": ty });
            if !format.is_empty() {
                schema["format"] = json!(format);
            }
            if *name == "io.k8s.apimachinery.pkg.api.resource.Quantity" && self.dialect == Dialect::V3 {
                schema = json!({ "oneOf": [{ "type": "string" }, { "type": "number" }] });
            }
            if *name == "io.k8s.apimachinery.pkg.util.intstr.IntOrString" && self.dialect == Dialect::V3 {
                schema = json!({ "format": format, "oneOf": [{ "type": "integer" }, { "type": "string" }] });
            }
            if let Some(text) = self.descriptions.of_type(name) {
                schema["description"] = json!(text);
            }
            out.insert((*name).to_owned(), schema);
        }
        out
    }

    fn definition(&self, ty: &StructType) -> Value {
        let mut properties = Map::new();
        let mut required = Vec::new();
        for field in &ty.fields {
            properties.insert(field.name.to_string(), self.property(ty, field));
            if field.required {
                required.push(field.name.as_str());
            }
        }
        let mut out = json!({ "type": "object" });
        if let Some(text) = self.descriptions.of_type(&ty.name) {
            out["description"] = json!(text);
        }
        if !properties.is_empty() {
            out["properties"] = Value::Object(properties);
        }
        if !required.is_empty() {
            out["required"] = json!(required);
        }
        if ty.atomic {
            out["x-kubernetes-map-type"] = json!("atomic");
        }
        if let Some(unions) = ty.unions.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok()) {
            out["x-kubernetes-unions"] = unions;
        }
        out
    }

    fn property(&self, ty: &StructType, field: &Field) -> Value {
        let mut out = self.value(&field.kind);
        let description = self.descriptions.of_field(&ty.name, &field.name);
        let default = field.default.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
        if out.get("$ref").is_some() && self.dialect == Dialect::V3 && (description.is_some() || default.is_some()) {
            // In v3 nothing may stand beside a reference.
            out = json!({ "allOf": [out] });
        }
        if let Some(text) = description {
            out["description"] = json!(text);
        }
        if let Some(default) = default {
            out["default"] = default;
        }
        if let Some(checks) = &field.checks {
            let values: Vec<Value> = checks.values.iter().filter_map(|text| serde_json::from_str(text).ok()).collect();
            if !values.is_empty() {
                out["enum"] = json!(values);
            }
            if let Some(format) = &checks.format {
                out["format"] = json!(format);
            }
        }
        if let Kind::List(list) = &field.kind {
            match &list.merge {
                ListMerge::Atomic => out["x-kubernetes-list-type"] = json!("atomic"),
                ListMerge::Set => out["x-kubernetes-list-type"] = json!("set"),
                ListMerge::Map(keys) => {
                    out["x-kubernetes-list-type"] = json!("map");
                    out["x-kubernetes-list-map-keys"] = json!(keys.iter().map(|key| key.name.as_str()).collect::<Vec<_>>());
                }
            }
        }
        if let Some(key) = &field.patch.merge_key {
            out["x-kubernetes-patch-merge-key"] = json!(key);
        }
        let strategies: Vec<&str> = [(field.patch.merge, "merge"), (field.patch.replace, "replace"), (field.patch.retain_keys, "retainKeys")]
            .into_iter()
            .filter_map(|(on, name)| on.then_some(name))
            .collect();
        if !strategies.is_empty() {
            out["x-kubernetes-patch-strategy"] = json!(strategies.join(","));
        }
        out
    }

    fn value(&self, kind: &Kind) -> Value {
        if let Some(name) = scalar(kind) {
            return self.dialect.reference(name);
        }
        match kind {
            Kind::Bool => json!({ "type": "boolean" }),
            Kind::Int32 | Kind::Uint32 => json!({ "type": "integer", "format": "int32" }),
            Kind::Int64 => json!({ "type": "integer", "format": "int64" }),
            Kind::Double => json!({ "type": "number", "format": "double" }),
            Kind::Bytes => json!({ "type": "string", "format": "byte" }),
            Kind::Struct(id) => self.dialect.reference(&self.schema.get(*id).name),
            Kind::List(list) => json!({ "type": "array", "items": self.value(&list.item) }),
            Kind::Map(map) => json!({ "type": "object", "additionalProperties": self.value(&map.value) }),
            // Either of two forms: anything.
            Kind::Choice(Choice::List | Choice::Bool | Choice::Strings, _) => json!({}),
            _ => json!({ "type": "string" }),
        }
    }
}

/// The types and scalars that a kind refers to.
fn refers(kind: &Kind, types: &mut Vec<TypeId>, scalars: &mut BTreeSet<&'static str>) {
    if let Some(name) = scalar(kind) {
        scalars.insert(name);
    }
    match kind {
        Kind::Struct(id) | Kind::Choice(_, id) => types.push(*id),
        Kind::List(list) => refers(&list.item, types, scalars),
        Kind::Map(map) => refers(&map.value, types, scalars),
        _ => {}
    }
}

/// A custom resource's declared schema, with what every object has beside it.
pub fn custom(declared: Option<&Value>, dialect: Dialect) -> Value {
    let mut out = declared.cloned().unwrap_or_else(|| json!({ "type": "object" }));
    if dialect == Dialect::V2 {
        without_v3(&mut out);
    }
    if !out.is_object() {
        out = json!({ "type": "object" });
    }
    // A schema that keeps unknown fields at its root says nothing to clients, so that they keep them too.
    let open = out["x-kubernetes-preserve-unknown-fields"] == json!(true) && out.get("properties").is_none();
    if declared.is_none() || (open && dialect == Dialect::V2) {
        out = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
        if declared.is_none() {
            out = json!({ "type": "object" });
        }
        return out;
    }
    let texts = [
        ("apiVersion", "APIVersion defines the versioned schema of this representation of an object."),
        ("kind", "Kind is a string value representing the REST resource this object represents."),
    ];
    for (name, text) in texts {
        out["properties"][name] = json!({ "type": "string", "description": text });
    }
    let mut metadata = dialect.reference(&format!("{META}.ObjectMeta"));
    if dialect == Dialect::V3 {
        metadata = json!({ "allOf": [metadata] });
    }
    metadata["description"] = json!("Standard object's metadata.");
    out["properties"]["metadata"] = metadata;
    out
}

/// OpenAPI v2 has no words for these.
fn without_v3(schema: &mut Value) {
    let Value::Object(members) = schema else { return };
    for name in ["oneOf", "anyOf", "allOf", "not", "nullable", "x-kubernetes-validations"] {
        members.remove(name);
    }
    if members.get("x-kubernetes-int-or-string") == Some(&json!(true)) {
        members.remove("type");
    }
    // Unknown fields are kept below here: what is declared would make clients drop the rest.
    if members.get("x-kubernetes-preserve-unknown-fields") == Some(&json!(true)) {
        members.remove("properties");
        members.remove("items");
    }
    if let Some(Value::Object(properties)) = members.get_mut("properties") {
        properties.values_mut().for_each(without_v3);
    }
    for name in ["items", "additionalProperties"] {
        if let Some(inner) = members.get_mut(name) {
            without_v3(inner);
        }
    }
}
