//! JSON merge patch (RFC 7386): objects merge, null removes, everything else replaces.

use crate::tree::{Map, Value};

pub(super) fn merge(original: Value, patch: Map) -> Value {
    let Value::Map(mut merged) = original else { return without_nulls(Value::Map(patch)) };
    for (key, value) in patch {
        if value == Value::Null {
            merged.remove(&key);
            continue;
        }
        let value = match (merged.remove(&key), value) {
            (Some(old @ Value::Map(_)), Value::Map(patch)) => merge(old, patch),
            // A list that replaces an object keeps its nulls, as upstream has it.
            (Some(Value::Map(_)), value) => value,
            (_, value) => without_nulls(value),
        };
        merged.insert(key, value);
    }
    Value::Map(merged)
}

/// Nulls are removed from objects; a list keeps its own.
pub(super) fn without_nulls(value: Value) -> Value {
    match value {
        Value::Map(map) => {
            let kept = map.into_iter().filter(|(_, value)| *value != Value::Null);
            Value::Map(kept.map(|(key, value)| (key, without_nulls(value))).collect())
        }
        Value::List(items) => Value::List(items.into_iter().map(without_nulls).collect()),
        scalar => scalar,
    }
}
