//! What upstream says of a strategic merge patch's result that does not fit its type.
//!
//! Upstream turns that result into Go values without going through JSON, and so has other words than the decoder. Only the words are made
//! here, when decoding has failed.

use crate::schema::{Kind, Schema};
use crate::tree::Value;

pub(super) fn complaint(schema: &Schema, kind: &Kind, value: &Value) -> Option<String> {
    if *value == Value::Null {
        return None;
    }
    let (sort, go) = match value {
        Value::Bool(_) => ("bool", "bool"),
        Value::Int(_) => ("int64", "int64"),
        Value::Double(_) => ("float64", "float64"),
        Value::List(_) => ("slice", "[]interface {}"),
        Value::Map(_) | Value::Struct(_) => ("map", "map[string]interface {}"),
        Value::Null | Value::String(_) | Value::Bytes(_) | Value::Raw(_) => ("string", "string"),
    };
    let scalar = |name: &str, fits: bool, converts: bool| match (fits, converts) {
        (true, _) => None,
        (false, true) => Some(format!("cannot convert {go} to {name}")),
        (false, false) => Some(format!("unrecognized type: {name}")),
    };
    let whole = match value {
        Value::Double(number) => number.fract() == 0.0,
        Value::Int(_) => true,
        _ => false,
    };
    let number = matches!(value, Value::Int(_) | Value::Double(_));
    match kind {
        Kind::String => scalar("string", sort == "string", sort == "int64"),
        Kind::Bool => scalar("bool", sort == "bool", false),
        Kind::Int32 => scalar("int32", whole, number),
        Kind::Int64 => scalar("int64", whole, number),
        Kind::Uint32 => scalar("uint32", whole, number),
        Kind::Double => scalar("float64", number, false),
        Kind::Struct(ty) => match value {
            Value::Map(map) => schema.get(*ty).fields.iter().find_map(|field| complaint(schema, &field.kind, map.get(&field.name)?)),
            _ => Some(format!("cannot restore struct from: {sort}")),
        },
        Kind::Map(of) => match value {
            Value::Map(map) => map.iter().find_map(|(_, value)| complaint(schema, &of.value, value)),
            _ => Some(format!("cannot restore map from {sort}")),
        },
        Kind::List(of) => match value {
            Value::List(items) => items.iter().find_map(|item| complaint(schema, &of.item, item)),
            _ => Some(format!("cannot restore slice from {sort}")),
        },
        Kind::Bytes if !matches!(value, Value::String(_) | Value::List(_)) => Some(format!("cannot restore slice from {sort}")),
        // These decode themselves, in the same words either way.
        _ => None,
    }
}
