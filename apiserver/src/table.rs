//! `as=Table`: objects as rows of cells, which `kubectl get` prints.

use crate::resource::{Cell, CellContext, Column, Columns, Object, Value};
use apiserver_machinery::{builtin, json};
use std::sync::{Arc, LazyLock};

mod path;

#[cfg(test)]
mod tests;

/// What of its object a row carries beside the cells (`includeObject`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Include {
    Nothing,
    #[default]
    Metadata,
    Object,
}

impl Include {
    pub fn parse(text: &str) -> Self {
        match text {
            "None" => Self::Nothing,
            "Object" => Self::Object,
            _ => Self::Metadata,
        }
    }
}

/// The metadata of a table of one object.
#[derive(Clone, Copy, Debug, Default)]
pub struct ListMeta<'a> {
    pub resource_version: &'a str,
}

impl<'a> ListMeta<'a> {
    pub fn of(object: Object<'a>) -> Self {
        Self { resource_version: object.text("metadata.resourceVersion") }
    }
}

/// A whole table. Without column definitions the cells are the same: later events of a watch leave them out.
pub fn document(
    columns: &Columns,
    objects: &[Object<'_>],
    include: Include,
    version: &str,
    meta: &ListMeta<'_>,
    cells: CellContext,
    out: &mut Vec<u8>,
) {
    head(version, meta, out);
    definitions(columns, out);
    rows(columns, objects, include, version, cells, out);
}

/// A table whose column definitions the client has already: later events of a watch.
pub fn document_without_definitions(
    columns: &Columns,
    objects: &[Object<'_>],
    include: Include,
    version: &str,
    meta: &ListMeta<'_>,
    cells: CellContext,
    out: &mut Vec<u8>,
) {
    head(version, meta, out);
    out.extend_from_slice(b",\"columnDefinitions\":null");
    rows(columns, objects, include, version, cells, out);
}

fn head(version: &str, meta: &ListMeta<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/");
    out.extend_from_slice(version.as_bytes());
    out.extend_from_slice(b"\",\"metadata\":{");
    if !meta.resource_version.is_empty() {
        out.extend_from_slice(b"\"resourceVersion\":");
        json::write_string(meta.resource_version, out);
    }
    out.push(b'}');
}

fn rows(columns: &Columns, objects: &[Object<'_>], include: Include, version: &str, cells: CellContext, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"rows\":[");
    for (at, object) in objects.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        row(columns, *object, include, version, cells, out);
    }
    out.extend_from_slice(b"]}\n");
}

/// The member `columnDefinitions`, with the comma before it.
pub fn definitions(columns: &Columns, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"columnDefinitions\":");
    if columns.0.is_empty() {
        out.extend_from_slice(b"null");
        return;
    }
    for (at, column) in columns.0.iter().enumerate() {
        out.push(if at == 0 { b'[' } else { b',' });
        for (key, text) in
            [("{\"name\":", &column.name), (",\"type\":", &column.ty), (",\"format\":", &column.format), (",\"description\":", &column.description)]
        {
            out.extend_from_slice(key.as_bytes());
            json::write_string(text, out);
        }
        out.extend_from_slice(format!(",\"priority\":{}}}", column.priority).as_bytes());
    }
    out.push(b']');
}

/// One row: cells, conditions of objects that are done, and of the object what the client wants.
pub fn row(columns: &Columns, object: Object<'_>, include: Include, version: &str, context: CellContext, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"cells\":[");
    for (at, column) in columns.0.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        json::encode_value(object.schema, &cell(column, object, context), out);
    }
    out.push(b']');
    if let Some(conditions) = conditions(object) {
        out.extend_from_slice(b",\"conditions\":[");
        out.extend_from_slice(conditions.as_bytes());
        out.push(b']');
    }
    out.extend_from_slice(b",\"object\":");
    match include {
        Include::Nothing => out.extend_from_slice(b"null"),
        Include::Metadata => metadata_json(object, Some(version), out),
        Include::Object => json::encode(object.schema, object.tree, out),
    }
    out.push(b'}');
}

fn cell(column: &Column, object: Object<'_>, context: CellContext) -> Value {
    match &column.cell {
        Cell::Function(function) => function(object, context),
        Cell::Path(path) => path::cell(object, path, &column.ty, context),
    }
}

/// PartialObjectMetadata of an object, of this version of meta.k8s.io; or the bare member where the surroundings say the type.
pub fn metadata_json(object: Object<'_>, version: Option<&str>, out: &mut Vec<u8>) {
    out.push(b'{');
    if let Some(version) = version {
        out.extend_from_slice(b"\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/");
        out.extend_from_slice(version.as_bytes());
        out.extend_from_slice(b"\",");
    }
    out.extend_from_slice(b"\"metadata\":");
    match object.get("metadata") {
        Some(metadata) => json::encode_value(object.schema, metadata, out),
        None => out.extend_from_slice(b"{}"),
    }
    out.push(b'}');
}

/// Pods that are done say so, and `kubectl get` can leave them out.
fn conditions(object: Object<'_>) -> Option<&'static str> {
    static POD: LazyLock<Option<apiserver_machinery::schema::TypeId>> = LazyLock::new(|| builtin::gvk("", "v1", "Pod"));
    if Some(object.tree.ty) != *POD || !std::ptr::eq(object.schema, Arc::as_ptr(builtin::schema())) {
        return None;
    }
    match object.text("status.phase") {
        "Succeeded" => Some(r#"{"type":"Completed","status":"True","reason":"Succeeded","message":"The pod has completed successfully."}"#),
        "Failed" => Some(r#"{"type":"Completed","status":"True","reason":"Failed","message":"The pod failed."}"#),
        _ => None,
    }
}
