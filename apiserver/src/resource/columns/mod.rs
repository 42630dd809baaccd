//! The columns of built-in kinds, as upstream's printers show them: what `kubectl get` prints.

pub mod autoscaling;
pub mod certificates;
pub mod core;
pub mod dra;
pub mod event;
pub mod extension;
pub mod human;
pub mod node;
pub mod pod;
pub mod policy;
pub mod service;
pub mod storage;
pub mod workload;

#[cfg(test)]
mod tests;

use super::{Cell, CellContext, Column, Object, Value};
use human::since;

/// One column in the table of kinds.
pub struct ColumnRow {
    name: &'static str,
    ty: &'static str,
    format: &'static str,
    priority: i32,
    description: &'static str,
    cell: fn(Object<'_>, CellContext) -> Value,
}

impl ColumnRow {
    /// Only with `-o wide`.
    const fn wide(mut self) -> Self {
        self.priority = 1;
        self
    }

    const fn format(mut self, format: &'static str) -> Self {
        self.format = format;
        self
    }

    pub fn build(&self) -> Column {
        Column {
            name: self.name.into(),
            ty: self.ty.into(),
            format: self.format.into(),
            description: self.description.into(),
            priority: self.priority,
            cell: Cell::Function(self.cell),
        }
    }
}

const fn column(name: &'static str, ty: &'static str, description: &'static str, cell: fn(Object<'_>, CellContext) -> Value) -> ColumnRow {
    ColumnRow { name, ty, format: "", priority: 0, description, cell }
}

const fn text(name: &'static str, description: &'static str, cell: fn(Object<'_>, CellContext) -> Value) -> ColumnRow {
    column(name, "string", description, cell)
}

const fn integer(name: &'static str, description: &'static str, cell: fn(Object<'_>, CellContext) -> Value) -> ColumnRow {
    column(name, "integer", description, cell)
}

const fn boolean(name: &'static str, description: &'static str, cell: fn(Object<'_>, CellContext) -> Value) -> ColumnRow {
    column(name, "boolean", description, cell)
}

const NAME_DESCRIPTION: &str = "The name of the object, unique among objects of its kind, in its namespace if it has one.";
const CREATED_DESCRIPTION: &str = "When the object was created, by the server's clock.";

const NAME: ColumnRow = text("Name", NAME_DESCRIPTION, |object, _| object.name().into()).format("name");
const AGE: ColumnRow = text("Age", CREATED_DESCRIPTION, age);
const CREATION: ColumnRow = column("Created At", "date", CREATED_DESCRIPTION, created);
const CONTAINERS: ColumnRow = text("Containers", "Names of the containers of the Pod template.", |object, _| template_texts(object, "name")).wide();
const IMAGES: ColumnRow = text("Images", "Images that the containers of the Pod template name.", |object, _| template_texts(object, "image")).wide();

/// What kinds get that say nothing.
pub const NAME_AND_AGE: &[ColumnRow] = &[NAME, AGE];

/// Of kinds without a printer of their own.
pub const CREATED_AT: &[ColumnRow] = &[NAME, CREATION];

fn age(object: Object<'_>, context: CellContext) -> Value {
    since(object.text("metadata.creationTimestamp"), context).into()
}

fn created(object: Object<'_>, _: CellContext) -> Value {
    // Go's zero time, where an object has none.
    object.text_opt("metadata.creationTimestamp").unwrap_or("0001-01-01T00:00:00Z").into()
}

/// The text itself, or what stands for none.
fn or<'a>(text: &'a str, none: &'a str) -> &'a str {
    if text.is_empty() { none } else { text }
}

fn join<'a>(texts: impl Iterator<Item = &'a str>, separator: &str) -> String {
    texts.collect::<Vec<_>>().join(separator)
}

/// A field of the containers below a Pod template, joined by commas.
fn template_texts(object: Object<'_>, field: &str) -> Value {
    container_texts(object, "spec.template.spec.containers", field)
}

fn container_texts(object: Object<'_>, containers: &str, field: &str) -> Value {
    join(object.items(containers).map(|container| container.text(field)), ",").into()
}

/// Labels, as `a=b,c=d`.
fn labels(object: Object<'_>, path: &str) -> String {
    let mut pairs: Vec<_> = object.pairs(path).collect();
    pairs.sort_unstable();
    let text = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",");
    if text.is_empty() { "<none>".to_owned() } else { text }
}

/// A label selector's text; `none` where it selects everything or is absent.
fn selector(object: Object<'_>, path: &str, none: &str) -> String {
    let selector = object.child(path).map(|child| child.tree);
    match apiserver_machinery::labels::Selector::of_label_selector(object.schema, selector) {
        // An absent selector selects nothing, which prints like one that selects everything.
        Ok(selector) if selector.is_empty() || selector.is_nothing() => none.to_owned(),
        Ok(selector) => selector.to_string(),
        Err(_) => "<error>".to_owned(),
    }
}

/// The status of a condition; empty where there is none of the type.
fn condition<'a>(object: Object<'a>, path: &str, ty: &str) -> &'a str {
    object.items(path).find(|condition| condition.text("type") == ty).map_or("", |condition| condition.text("status"))
}

/// The first few texts, and how many more there are. `count` counts all of them.
fn first_few(texts: &[String], most: usize, separator: &str, count: usize) -> String {
    let shown = texts.iter().take(most).map(String::as_str).collect::<Vec<_>>().join(separator);
    if count > most { format!("{shown} + {} more...", count - most) } else { shown }
}
