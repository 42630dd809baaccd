//! The three patches: JSON patch (RFC 6902), JSON merge patch (RFC 7386) and strategic merge patch.
//!
//! Each takes an object and a patch in the version that the request used, and works on the object's JSON, since a patch speaks of what JSON
//! shows: whether a zero is there, null, fields that no type has. The result is decoded by the schema, so `fieldValidation` holds for it as it
//! does for a whole object. Server-side apply is not here: see [`crate::apply`].

mod json_patch;
mod merge;
mod strategic;
mod unstructured;

use crate::codec::{DecodeError, Report};
use crate::field;
use crate::json;
use crate::schema::{Field, Kind, ListMerge, ListOf, Schema, Shape, StructType, TypeId};
use crate::text;
use crate::tree::{Map, Struct, Value};
use std::sync::{Arc, LazyLock};

/// Operations in one JSON patch.
pub const JSON_PATCH_OPERATIONS_MAX: usize = 10_000;
/// What the copy operations of one JSON patch may add together.
pub const JSON_PATCH_COPY_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Why there is no patched object. The variants are the answers that upstream gives.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// 400: the body is no such patch.
    #[error("{0}")]
    BadRequest(String),
    /// 413.
    #[error("{0}")]
    TooLarge(String),
    /// 422 without causes: the patch does not apply to this object.
    #[error("{0}")]
    Unprocessable(String),
    /// 422 Invalid: the result is no object of this kind.
    #[error("{0}")]
    Invalid(field::Error),
    /// 500: what upstream has no class for.
    #[error("{0}")]
    Internal(String),
}

/// The `fieldValidation` parameter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    Ignore,
    #[default]
    Warn,
    Strict,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Patched {
    pub object: Struct,
    /// With [`FieldValidation::Warn`]: unknown and duplicate fields, in upstream's words.
    pub warnings: Vec<String>,
}

pub fn json_patch(shape: &Shape, object: &Struct, patch: &[u8], validation: FieldValidation) -> Result<Patched, Error> {
    let (operations, problems) = read_operations(patch, validation)?;
    if operations.len() > JSON_PATCH_OPERATIONS_MAX {
        let got = operations.len();
        return Err(Error::TooLarge(format!("The allowed maximum operations in a JSON patch is {JSON_PATCH_OPERATIONS_MAX}, got {got}")));
    }
    let patched = json_patch::apply(untyped(shape, object)?, &operations)?;
    finish_json(shape, &patched, problems, validation)
}

pub fn merge_patch(shape: &Shape, object: &Struct, patch: &[u8], validation: FieldValidation) -> Result<Patched, Error> {
    let value = parse(patch)?;
    let mut problems = Vec::new();
    if validation != FieldValidation::Ignore {
        problems = read_object(patch, &value).map_err(|message| Error::BadRequest(format!("error decoding patch: {message}")))?;
    }
    let patched = match value {
        Value::Map(patch) => merge::merge(untyped(shape, object)?, patch),
        Value::List(items) => Value::List(items.into_iter().map(merge::without_nulls).collect()),
        _ => return Err(Error::BadRequest("Invalid JSON Patch".to_owned())),
    };
    finish_json(shape, &patched, problems, validation)
}

pub fn strategic_merge_patch(shape: &Shape, object: &Struct, patch: &[u8], validation: FieldValidation) -> Result<Patched, Error> {
    let value = parse(patch)?;
    let problems = read_object(patch, &value).map_err(Error::BadRequest)?;
    let shown = text::go_value(&value);
    let patch = match value {
        Value::Map(map) => map,
        _ => Map::default(),
    };
    let original = match untyped(shape, object)? {
        Value::Map(map) => map,
        _ => Map::default(),
    };
    let kind = Kind::Struct(shape.root);
    let patched = Value::Map(strategic::merge(&shape.schema, &kind, original, patch)?);
    let mut report = Report::new();
    let object = json::decode(shape, &json::from_any(&patched), &mut report).map_err(|error| {
        let complaint = unstructured::complaint(&shape.schema, &kind, &patched).unwrap_or_else(|| error.to_string());
        invalid(&shown, complaint)
    })?;
    let mut unknown = report.problems().to_vec();
    unknown.sort_unstable();
    settle(object, [problems, unknown].concat(), validation, || shown)
}

/// The JSON of an object, as a value.
fn untyped(shape: &Shape, object: &Struct) -> Result<Value, Error> {
    let mut bytes = Vec::new();
    json::encode(&shape.schema, object, &mut bytes);
    json::to_any(&bytes).map_err(|error| Error::Internal(error.to_string()))
}

fn parse(patch: &[u8]) -> Result<Value, Error> {
    json::to_any(patch).map_err(|error| match error {
        DecodeError::Syntax(_) => Error::BadRequest("invalid JSON patch".to_owned()),
        other => Error::BadRequest(format!("error decoding patch: {other}")),
    })
}

fn finish_json(shape: &Shape, patched: &Value, problems: Vec<String>, validation: FieldValidation) -> Result<Patched, Error> {
    let bytes = json::from_any(patched);
    let shown = || String::from_utf8_lossy(&bytes).into_owned();
    let mut report = Report::new();
    let object = json::decode(shape, &bytes, &mut report).map_err(|error| invalid(&shown(), error.to_string()))?;
    settle(object, [problems, report.problems().to_vec()].concat(), validation, shown)
}

/// Warns of unknown and duplicate fields, or refuses them.
fn settle(object: Struct, problems: Vec<String>, validation: FieldValidation, shown: impl FnOnce() -> String) -> Result<Patched, Error> {
    match validation {
        FieldValidation::Ignore => Ok(Patched { object, warnings: Vec::new() }),
        FieldValidation::Warn => Ok(Patched { object, warnings: problems }),
        FieldValidation::Strict if problems.is_empty() => Ok(Patched { object, warnings: problems }),
        FieldValidation::Strict => Err(invalid(&shown(), format!("strict decoding error: {}", problems.join(", ")))),
    }
}

fn invalid(shown: &str, detail: String) -> Error {
    Error::Invalid(field::Error::invalid(&field::Path::new("patch"), shown, detail))
}

/// An object that may hold anything: reading one tells of the fields that come twice.
static ANY_OBJECT: LazyLock<Shape> = LazyLock::new(|| {
    let mut ty = StructType::new("object", Vec::new());
    ty.preserve_unknown = true;
    shape_of(vec![ty])
});

/// Upstream decodes a JSON patch into a list of these when it looks for unknown fields. The root holds the list under an empty name, so that
/// paths begin with an index.
static OPERATIONS: LazyLock<Shape> = LazyLock::new(|| {
    let names = [("op", Kind::String), ("path", Kind::String), ("from", Kind::String), ("value", Kind::Any)];
    let mut operation = StructType::new("jsonPatchOp", names.into_iter().map(|(name, kind)| Field::new(name, kind)).collect());
    operation.go = "jsonPatchOp".into();
    let item = Kind::Struct(TypeId(1));
    let list = ListOf { item, merge: ListMerge::Atomic, nullable: false, wrapped: false, checks: None };
    let root = StructType::new("patch", vec![Field::new("", Kind::List(Arc::new(list)))]);
    shape_of(vec![root, operation])
});

fn shape_of(types: Vec<StructType>) -> Shape {
    Shape::new(&Arc::new(Schema { types, ..Schema::default() }), TypeId(0))
}

/// The duplicate fields of a patch that is an object; the error is upstream's where it is none.
fn read_object(patch: &[u8], value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::Map(_) => {
            let mut report = Report::new();
            json::decode(&ANY_OBJECT, patch, &mut report).map_err(|error| error.to_string())?;
            Ok(report.problems().to_vec())
        }
        Value::Null => Ok(Vec::new()),
        other => Err(format!("json: cannot unmarshal {} into Go value of type map[string]interface {{}}", sort(other))),
    }
}

fn read_operations(patch: &[u8], validation: FieldValidation) -> Result<(Vec<Map>, Vec<String>), Error> {
    let strict = validation != FieldValidation::Ignore;
    let (list, item) = if strict { ("[]handlers.jsonPatchOp", "handlers.jsonPatchOp") } else { ("jsonpatch.Patch", "jsonpatch.Operation") };
    let bad = |message: String| Error::BadRequest(if strict { format!("error decoding patch: {message}") } else { message });
    let items = match parse(patch)? {
        Value::List(items) => items,
        Value::Null => Vec::new(),
        other => return Err(bad(format!("json: cannot unmarshal {} into Go value of type {list}", sort(&other)))),
    };
    let mut operations = Vec::with_capacity(items.len());
    for value in items {
        match value {
            Value::Map(operation) => operations.push(operation),
            Value::Null => operations.push(Map::default()),
            other => return Err(bad(format!("json: cannot unmarshal {} into Go value of type {item}", sort(&other)))),
        }
    }
    let mut problems = Vec::new();
    if strict {
        for (name, value) in operations.iter().flat_map(Map::iter) {
            if matches!(name, "op" | "path" | "from") && !matches!(value, Value::String(_) | Value::Null) {
                return Err(bad(format!("json: cannot unmarshal {} into Go struct field jsonPatchOp.{name} of type string", sort(value))));
            }
        }
        let wrapped = [br#"{"":"#, patch, b"}"].concat();
        let mut report = Report::new();
        json::decode(&OPERATIONS, &wrapped, &mut report).map_err(|error| bad(error.to_string()))?;
        problems = report.problems().iter().map(|problem| format!("json patch {problem}")).collect();
    }
    Ok((operations, problems))
}

fn sort(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Int(_) | Value::Double(_) => "number",
        Value::String(_) | Value::Bytes(_) | Value::Raw(_) => "string",
        Value::List(_) => "array",
        Value::Map(_) | Value::Struct(_) => "object",
    }
}

#[cfg(test)]
mod tests;
