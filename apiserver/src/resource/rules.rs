//! What most kinds need of [`Rules`]: status and spec kept apart, metadata checked, nothing particular.
//!
//! A kind with rules of its own starts from [`Rules::PLAIN`] and replaces single functions, which may call the ones here.

use super::{Context, Object, Rules, defaults, validation};
use apiserver_machinery::field;
use apiserver_machinery::schema::{Schema, Shape};
use apiserver_machinery::tree::{Map, Struct, Value};

impl Rules {
    pub const PLAIN: Rules = Rules {
        defaults,
        create,
        update,
        validate: plain,
        warnings: no_warnings,
        selectable: &[],
        generation: false,
        create_on_update: false,
        unconditional_update: true,
        nameless: false,
        grace_seconds: None,
        returns_deleted: false,
    };
}

pub fn defaults(object: &mut Struct, shape: &Shape) {
    defaults::apply(object, &shape.schema);
}

/// A client cannot create an object with a status where status is a subresource.
pub fn create(object: &mut Struct, context: &Context<'_>) {
    if context.resource.subresource("status").is_some() {
        object.take(context.schema, "status");
    }
}

/// The resource keeps its status, the status subresource changes nothing else but metadata.
pub fn update(old: &Struct, new: &mut Struct, context: &Context<'_>) {
    match context.subresource {
        "" | "scale" if context.resource.subresource("status").is_some() => keep(old, new, context.schema, "status"),
        "status" => keep_all_but(old, new, context.schema, &["metadata", "status"]),
        _ => {}
    }
}

/// As [`update`], where the status subresource changes no metadata either.
pub fn update_status_only(old: &Struct, new: &mut Struct, context: &Context<'_>) {
    update(old, new, context);
    if context.subresource == "status" {
        keep_metadata(old, new, context.schema);
    }
}

fn plain(object: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Vec<field::Error>) {
    validation::metadata::validate(object, old, context, errors);
}

pub fn no_warnings(_: Object<'_>, _: Option<Object<'_>>, _: &Context<'_>) -> Vec<String> {
    Vec::new()
}

/// Puts what `old` has at a path into `new`, or takes it away.
pub fn keep(old: &Struct, new: &mut Struct, schema: &Schema, path: &str) {
    match old.at(schema, path) {
        Some(value) => {
            new.put(schema, path, value.clone());
        }
        None => {
            new.take(schema, path);
        }
    }
}

/// Puts every field of `old` into `new` but for a few, and apiVersion and kind.
pub fn keep_all_but(old: &Struct, new: &mut Struct, schema: &Schema, changing: &[&str]) {
    let ty = schema.get(new.ty);
    for (field, number) in ty.fields.iter().zip(0u16..) {
        if changing.contains(&field.name.as_str()) || matches!(field.name.as_str(), "apiVersion" | "kind") {
            continue;
        }
        match old.get(number) {
            Some(value) => {
                new.set(number, value.clone());
            }
            None => {
                new.remove(number);
            }
        }
    }
}

/// Metadata that a status update leaves alone, in kinds that say so.
pub fn keep_metadata(old: &Struct, new: &mut Struct, schema: &Schema) {
    for field in ["deletionTimestamp", "generation", "labels", "annotations", "finalizers", "ownerReferences"] {
        keep(old, new, schema, &format!("metadata.{field}"));
    }
}

/// One more than the old generation.
pub fn raise_generation(old: &Struct, new: &mut Struct, schema: &Schema) {
    let generation = old.int_at(schema, "metadata.generation").unwrap_or_default();
    new.put(schema, "metadata.generation", generation + 1);
}

/// The map at a path, made if it is absent.
pub fn map_at<'a>(object: &'a mut Struct, schema: &Schema, path: &str) -> Option<&'a mut Map> {
    if object.at(schema, path).and_then(Value::as_map).is_none() {
        object.put(schema, path, Value::Map(Map::default()))?;
    }
    object.at_mut(schema, path)?.as_map_mut()
}

/// Each struct in the list at a path.
pub fn each(object: &mut Struct, schema: &Schema, path: &str, run: impl FnMut(&mut Struct)) {
    if let Some(Value::List(items)) = object.at_mut(schema, path) {
        items.iter_mut().filter_map(Value::as_struct_mut).for_each(run);
    }
}

/// Whether two trees agree at a path. Absent and empty are the same there, as in Go.
pub fn same(a: Object<'_>, b: Object<'_>, path: &str) -> bool {
    match (a.get(path), b.get(path)) {
        (Some(a), Some(b)) => a == b,
        (None, None) => true,
        (Some(value), None) | (None, Some(value)) => match value {
            Value::List(items) => items.is_empty(),
            Value::Map(map) => map.is_empty(),
            _ => false,
        },
    }
}
