//! Columns of the kinds of dynamic resource allocation.

use super::human::since;
use super::{AGE, ColumnRow, NAME, text};
use crate::resource::{CellContext, Object, Value};

pub const TAINT_RULE: &[ColumnRow] = &[
    NAME,
    text("Key", "The taint's key.", |object, _| object.text("spec.taint.key").into()),
    text("Value", "The taint's value.", |object, _| object.text("spec.taint.value").into()),
    text("Effect", "What the taint does.", |object, _| object.text("spec.taint.effect").into()),
    text("TimeAdded", "How long ago the taint was added.", |object, context| {
        object.text_opt("spec.taint.timeAdded").map_or_else(|| "".into(), |time| since(time, context).into())
    }),
    AGE,
];

pub const CLAIM: &[ColumnRow] = &[NAME, text("State", "Whether devices are allocated and reserved.", state), AGE];

fn state(object: Object<'_>, _: CellContext) -> Value {
    let deleted = object.has("metadata.deletionTimestamp");
    let allocated = object.has("status.allocation");
    let reserved = allocated && !object.list("status.reservedFor").is_empty();
    let states = [(deleted, "deleted"), (!allocated && !deleted, "pending"), (allocated, "allocated"), (reserved, "reserved")];
    states.iter().filter(|(holds, _)| *holds).map(|(_, name)| *name).collect::<Vec<_>>().join(",").into()
}

pub const SLICE: &[ColumnRow] = &[
    NAME,
    text("Node", "The node that has the devices.", |object, _| object.text("spec.nodeName").into()),
    text("Driver", "The driver of the devices.", |object, _| object.text("spec.driver").into()),
    text("Pool", "The pool that the devices belong to.", |object, _| object.text("spec.pool.name").into()),
    AGE,
];
