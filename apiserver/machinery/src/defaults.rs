//! Defaults that a schema declares: those of custom resources. Defaults of built-in kinds are rows beside the kinds.
//!
//! A default is given where its field is absent, or null without being nullable; it may hold objects, which get defaults of their own. A field
//! that is absent with everything around it gets none. Nulls of fields that are neither nullable nor have a default are dropped first.

use crate::codec::Report;
use crate::json;
use crate::schema::{Kind, Schema, Shape, StructType, TypeId};
use crate::tree::{Struct, Value};
use std::sync::Arc;

/// Gives an object the defaults of its schema.
pub fn apply(shape: &Shape, object: &mut Struct) {
    if let Some(definition) = &shape.schema.custom {
        definition.defaults.apply(&shape.schema, object);
    }
}

/// The defaults of a schema, in the form of the tree.
#[derive(Debug)]
pub struct Defaults {
    types: Vec<OfType>,
}

#[derive(Debug, Default)]
struct OfType {
    values: Vec<(u16, Value)>,
    /// Whether this type, or one below it, is of a custom resource, so that there is something to do.
    dynamic: bool,
}

impl Defaults {
    /// What a default has that its own schema does not is pruned, as it is from objects.
    pub fn of(schema: &mut Schema) -> Self {
        let shared = Arc::new(std::mem::take(schema));
        let types = shared.types.iter().zip(0..).map(|(ty, number)| OfType { values: values(&shared, TypeId(number), ty), dynamic: ty.dynamic });
        let types = types.collect();
        // Nobody else holds it by now.
        *schema = Arc::try_unwrap(shared).unwrap_or_default();
        Self { types }
    }

    /// Gives an object its defaults. Returns whether anything changed.
    pub fn apply(&self, schema: &Schema, object: &mut Struct) -> bool {
        let of = &self.types[object.ty.0 as usize];
        if !of.dynamic {
            return false;
        }
        let ty = schema.get(object.ty);
        let mut changed = drop_nulls(ty, object);
        for (number, default) in &of.values {
            let field = &ty.fields[usize::from(*number)];
            let missing = match object.get(*number) {
                None => true,
                Some(value) => *value == Value::Null && !field.nullable,
            };
            if missing {
                object.set(*number, default.clone());
                changed = true;
            }
        }
        for (number, value) in object.fields_mut() {
            changed |= self.value(schema, &ty.fields[usize::from(number)].kind, value);
        }
        if let Some(rest) = &ty.rest {
            for (_, value) in object.unknown.iter_mut() {
                changed |= self.value(schema, rest, value);
            }
        }
        changed
    }

    fn value(&self, schema: &Schema, kind: &Kind, value: &mut Value) -> bool {
        match (kind, value) {
            (_, Value::Struct(object)) => self.apply(schema, object),
            (Kind::List(list), Value::List(items)) => items.iter_mut().fold(false, |changed, item| self.value(schema, &list.item, item) || changed),
            (Kind::Map(map), Value::Map(entries)) => {
                let before = entries.len();
                entries.retain(|_, value| *value != Value::Null || map.nullable);
                let changed = entries.len() != before;
                entries.iter_mut().fold(changed, |changed, (_, value)| self.value(schema, &map.value, value) || changed)
            }
            _ => false,
        }
    }
}

/// The default of each field that has one. Decoding it as a part of its struct prunes it and gives it the struct's types.
fn values(schema: &Arc<Schema>, id: TypeId, ty: &StructType) -> Vec<(u16, Value)> {
    let owner = Shape::new(schema, id);
    let mut values = Vec::new();
    for (number, field) in (0..).zip(&ty.fields) {
        let Some(default) = field.default.as_ref().filter(|_| ty.dynamic) else { continue };
        let mut text = Vec::with_capacity(field.name.len() + default.len() + 5);
        text.push(b'{');
        json::write_string(&field.name, &mut text);
        text.push(b':');
        text.extend_from_slice(default.as_bytes());
        text.push(b'}');
        let decoded = json::decode(&owner, &text, &mut Report::ignore());
        values.extend(decoded.ok().and_then(|mut object| object.remove(number)).map(|value| (number, value)));
    }
    values
}

fn drop_nulls(ty: &StructType, object: &mut Struct) -> bool {
    let mut changed = false;
    object.retain(|number, value| {
        let field = &ty.fields[usize::from(number)];
        let dropped = *value == Value::Null && !field.nullable && field.default.is_none();
        changed |= dropped;
        !dropped
    });
    changed
}

#[cfg(test)]
#[path = "defaults_tests.rs"]
mod tests;
