//! The `scale` subresource: one autoscaling/v1 Scale over the replicas of any kind that has them.

use crate::Error;
use crate::convert;
use crate::resource::{Object, Scale};
use crate::serve::Found;
use crate::stage::decode;
use apiserver_machinery::labels;
use apiserver_machinery::tree::{Struct, Value};
use apiserver_store::Row;

/// Parts of metadata that a Scale shows of its object.
const SHOWN: [&str; 6] = ["name", "namespace", "uid", "resourceVersion", "creationTimestamp", "deletionTimestamp"];

/// The Scale of a row.
pub fn of(found: &Found, row: &Row) -> Result<Struct, Error> {
    of_storage_tree(found, &convert::stored(&found.resource, row)?)
}

/// The Scale of an object that was read with its row.
pub fn of_tree(found: &Found, tree: &Struct, row: &Row) -> Result<Struct, Error> {
    let mut scale = of_storage_tree(found, tree)?;
    scale.put(apiserver_machinery::builtin::schema(), "metadata.resourceVersion", row.modified.to_string());
    Ok(scale)
}

pub fn of_storage_tree(found: &Found, tree: &Struct) -> Result<Struct, Error> {
    let paths = paths(found)?;
    let schema = &*found.resource.storage.shape.schema;
    let object = Object { schema, tree };
    let shape = decode::builtin_shape("autoscaling", "v1", "Scale")?;
    let mut scale = Struct::new(shape.root);
    let builtin = &*shape.schema;
    scale.put(builtin, "kind", "Scale");
    scale.put(builtin, "apiVersion", "autoscaling/v1");
    for name in SHOWN {
        let path = format!("metadata.{name}");
        if let Some(value) = object.get(&path) {
            scale.put(builtin, &path, value.clone());
        }
    }
    let number = |path: &str| object.get(path.trim_start_matches('.')).and_then(Value::as_int).unwrap_or(0);
    scale.put(builtin, "spec.replicas", number(&paths.spec_replicas));
    scale.put(builtin, "status.replicas", number(&paths.status_replicas));
    if let Some(path) = &paths.selector {
        let text = match object.get(path.trim_start_matches('.')) {
            Some(Value::String(text)) => text.to_string(),
            Some(Value::Struct(selector)) => {
                labels::Selector::of_label_selector(schema, Some(selector)).map(|selector| selector.to_string()).unwrap_or_default()
            }
            // A ReplicationController's selector is a plain map.
            Some(Value::Map(map)) => {
                map.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect::<Vec<_>>().join(",")
            }
            _ => String::new(),
        };
        if !text.is_empty() {
            scale.put(builtin, "status.selector", text);
        }
    }
    Ok(scale)
}

/// Sets the replicas that a Scale asks for.
pub fn set(found: &Found, tree: &mut Struct, replicas: i64) -> Result<(), Error> {
    let paths = paths(found)?;
    let schema = found.resource.storage.shape.schema.clone();
    let path = paths.spec_replicas.trim_start_matches('.').to_owned();
    tree.put(&schema, &path, replicas).ok_or_else(|| Error::Internal(format!("{} has no {path}", found.resource.kind)))
}

fn paths(found: &Found) -> Result<&Scale, Error> {
    found.resource.subresource("scale").and_then(|subresource| subresource.scale.as_ref()).ok_or(Error::NoSuchPath)
}
