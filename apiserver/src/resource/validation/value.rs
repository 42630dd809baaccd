//! Values as messages show them.

use crate::resource::Object;
use apiserver_machinery::field::BadValue;
use apiserver_machinery::json;
use apiserver_machinery::tree::Value;

/// A field's value in a message: strings quoted, numbers plain, all else as JSON; an absent one as `null`.
pub fn shown(object: Object<'_>, path: &str) -> BadValue {
    match object.get(path) {
        Some(value) => of(object, value),
        None => BadValue::json("null"),
    }
}

pub fn of(object: Object<'_>, value: &Value) -> BadValue {
    match value {
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Double(_) | Value::String(_) => value.into(),
        _ => {
            let mut out = Vec::new();
            json::encode_value(object.schema, value, &mut out);
            BadValue::json(String::from_utf8_lossy(&out))
        }
    }
}

/// Go's zero value, or an empty list or map.
pub fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(truth) => !truth,
        Value::Int(number) => *number == 0,
        Value::Double(number) => *number == 0.0,
        Value::String(text) => text.is_empty(),
        Value::Bytes(bytes) | Value::Raw(bytes) => bytes.is_empty(),
        Value::Struct(inner) => inner.is_empty(),
        Value::Map(map) => map.is_empty(),
        Value::List(items) => items.is_empty(),
    }
}
