//! Columns of events, in both of their shapes: the core group's, and the one of events.k8s.io, which calls its fields otherwise.

use super::human::since;
use super::{ColumnRow, NAME, text};
use crate::resource::{CellContext, Object, Value};

pub const EVENT: &[ColumnRow] = &[
    text("Last Seen", "How long ago it was last observed.", last_seen),
    text("Type", "Normal or Warning.", |object, _| object.text("type").into()),
    text("Reason", "Why it was reported, in a word.", |object, _| object.text("reason").into()),
    text("Object", "What it is about.", target),
    text("Subobject", "The part of the object that it is about.", |object, _| about(object, "fieldPath").into()).wide(),
    text("Source", "Who reported it.", source).wide(),
    text("Message", "What happened.", |object, _| first(object, &["message", "note"]).trim().into()),
    text("First Seen", "How long ago it was first observed.", |object, context| first_seen(object, context).into()).wide(),
    text("Count", "How often it was observed.", count).wide(),
    NAME.wide(),
];

/// The first text of some paths that is not empty: one of each shape's names for a thing.
fn first<'a>(object: Object<'a>, paths: &[&str]) -> &'a str {
    paths.iter().map(|path| object.text(path)).find(|text| !text.is_empty()).unwrap_or_default()
}

fn about<'a>(object: Object<'a>, field: &str) -> &'a str {
    let object = object.child("involvedObject").or_else(|| object.child("regarding"));
    object.map_or("", |object| object.text(field))
}

fn target(object: Object<'_>, _: CellContext) -> Value {
    let (kind, name) = (about(object, "kind").to_lowercase(), about(object, "name"));
    if name.is_empty() { kind.into() } else { format!("{kind}/{name}").into() }
}

fn source(object: Object<'_>, _: CellContext) -> Value {
    let component = first(object, &["source.component", "deprecatedSource.component", "reportingComponent", "reportingController"]);
    let instance = first(object, &["source.host", "deprecatedSource.host", "reportingInstance"]);
    if instance.is_empty() { component.into() } else { format!("{component}, {instance}").into() }
}

fn first_seen(object: Object<'_>, context: CellContext) -> String {
    since(first(object, &["firstTimestamp", "deprecatedFirstTimestamp", "eventTime"]), context)
}

fn last_seen(object: Object<'_>, context: CellContext) -> Value {
    if object.has("series") {
        return since(object.text("series.lastObservedTime"), context).into();
    }
    match first(object, &["lastTimestamp", "deprecatedLastTimestamp"]) {
        "" => first_seen(object, context).into(),
        time => since(time, context).into(),
    }
}

fn count(object: Object<'_>, _: CellContext) -> Value {
    if object.has("series") {
        return object.number("series.count").into();
    }
    object.int("count").or_else(|| object.int("deprecatedCount")).unwrap_or_default().max(1).into()
}
