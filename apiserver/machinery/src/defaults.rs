//! Defaults that a schema declares: those of custom resources. Defaults of built-in kinds are rows beside the kinds.
//!
//! A default is given where its field is absent, or null without being nullable; it may hold objects, which get defaults of their own. A field
//! that is absent with everything around it gets none. Nulls of fields that are neither nullable nor have a default are dropped first.

use crate::json;
use crate::schema::{Kind, Schema, Shape, StructType};
use crate::structural::{Additional, Structural};
use crate::tree::{Map, Struct, Value};

/// Gives an object the defaults of its schema.
pub fn apply(shape: &Shape, object: &mut Struct) {
    if let Some(definition) = &shape.schema.custom {
        definition.defaults.apply(&shape.schema, &definition.structural, object);
    }
}

/// The defaults of a schema's fields, in the form of the tree.
#[derive(Debug)]
pub struct Defaults {
    types: Vec<Vec<(u16, Value)>>,
}

impl Defaults {
    /// What a default has that its own schema does not is pruned, as it is from objects.
    pub fn of(schema: &Schema) -> Self {
        let of_type = |ty: &StructType| {
            let given = (0..).zip(&ty.fields).filter(|_| ty.dynamic);
            given.filter_map(|(number, field)| Some((number, parsed(schema, &field.kind, field.default.as_ref()?)?))).collect()
        };
        Self { types: schema.types.iter().map(of_type).collect() }
    }

    fn apply(&self, schema: &Schema, node: &Structural, object: &mut Struct) {
        let ty = schema.get(object.ty);
        if !ty.dynamic {
            return;
        }
        drop_nulls(ty, object);
        for (number, default) in &self.types[object.ty.0 as usize] {
            let field = &ty.fields[usize::from(*number)];
            let missing = match object.get(*number) {
                None => true,
                Some(value) => *value == Value::Null && !field.nullable,
            };
            if missing {
                object.set(*number, default.clone());
            }
        }
        for (number, value) in object.fields_mut() {
            let field = &ty.fields[usize::from(number)];
            if let Some(node) = node.properties.get(&field.name) {
                self.value(schema, node, &field.kind, value);
            }
        }
        if let (Some(rest), Some(node)) = (&ty.rest, node.additional.as_ref().and_then(Additional::schema)) {
            object.unknown.retain(|_, value| kept(node, value));
            object.unknown.iter_mut().for_each(|(_, value)| self.item(schema, node, rest, value));
        }
    }

    fn value(&self, schema: &Schema, node: &Structural, kind: &Kind, value: &mut Value) {
        match (kind, value) {
            (Kind::Struct(_), Value::Struct(object)) => self.apply(schema, node, object),
            (Kind::List(list), Value::List(items)) => {
                if let Some(node) = &node.items {
                    items.iter_mut().for_each(|item| self.item(schema, node, &list.item, item));
                }
            }
            (Kind::Map(map), Value::Map(entries)) => {
                if let Some(node) = node.additional.as_ref().and_then(Additional::schema) {
                    entries.retain(|_, value| kept(node, value));
                    entries.iter_mut().for_each(|(_, value)| self.item(schema, node, &map.value, value));
                }
            }
            (Kind::Any, _) => {}
            (_, value) => hollow(value),
        }
    }

    /// A value of a list or a map, whose null its node's default replaces.
    fn item(&self, schema: &Schema, node: &Structural, kind: &Kind, value: &mut Value) {
        if let (Value::Null, false, Some(default)) = (&*value, node.nullable, &node.default) {
            *value = typed(schema, kind, default);
        }
        self.value(schema, node, kind, value);
    }
}

/// Whether an entry of a map stays: a null needs to be allowed, or to be replaced.
fn kept(node: &Structural, value: &Value) -> bool {
    *value != Value::Null || node.nullable || node.default.is_some()
}

/// What is in a value of a wrong type has no schema, and so is pruned: objects lose all they have.
fn hollow(value: &mut Value) {
    match value {
        Value::Map(map) => *map = Map::default(),
        Value::List(items) => items.iter_mut().for_each(hollow),
        _ => {}
    }
}

fn parsed(schema: &Schema, kind: &Kind, text: &str) -> Option<Value> {
    json::to_any(text.as_bytes()).ok().map(|value| typed(schema, kind, &value))
}

/// Decoded JSON in the form of the tree, without what the schema does not have.
fn typed(schema: &Schema, kind: &Kind, value: &Value) -> Value {
    match (kind, value) {
        (Kind::Struct(id), Value::Map(map)) => {
            let ty = schema.get(*id);
            let mut object = Struct::new(*id);
            for (name, value) in map.iter() {
                match (ty.number(name), &ty.rest) {
                    (Some(number), _) => drop(object.set(number, typed(schema, &ty.fields[usize::from(number)].kind, value))),
                    (None, Some(rest)) => drop(object.unknown.insert(name, typed(schema, rest, value))),
                    (None, None) if ty.preserve_unknown => drop(object.unknown.insert(name, value.clone())),
                    (None, None) => {}
                }
            }
            object.into()
        }
        (Kind::List(list), Value::List(items)) => Value::List(items.iter().map(|item| typed(schema, &list.item, item)).collect()),
        (Kind::Map(map), Value::Map(entries)) => {
            Value::Map(entries.iter().map(|(key, value)| (key.into(), typed(schema, &map.value, value))).collect())
        }
        (_, value) => value.clone(),
    }
}

fn drop_nulls(ty: &StructType, object: &mut Struct) {
    object.retain(|number, value| {
        let field = &ty.fields[usize::from(number)];
        *value != Value::Null || field.nullable || field.default.is_some()
    });
}

#[cfg(test)]
#[path = "defaults_tests.rs"]
mod tests;
