//! Validation of objects as Kubernetes does it: the same checks, field paths and messages, since clients show and compare them.
//!
//! Each kind's check takes the object and, on updates, what it was; errors are collected, never returned early, but where a later check
//! would only repeat an earlier one.

pub mod affinity;
pub mod container;
pub mod ip;
pub mod metadata;
pub mod pod_spec;
pub mod resources;
pub mod selector;
pub mod value;
pub mod volume;

use super::Object;
use apiserver_machinery::field::{BadValue, Error, Path};

/// Where the errors of one object are collected.
pub type Errors = Vec<Error>;

pub const IMMUTABLE: &str = "field is immutable";
pub const NOT_NEGATIVE: &str = "must be greater than or equal to 0";
pub const POSITIVE: &str = "must be greater than zero";

/// One of a closed set of strings; absent is `required` if it must be there.
pub fn one_of(object: Object<'_>, field: &str, allowed: &[&str], at: &Path<'_>, errors: &mut Errors) {
    if let Some(value) = object.text_opt(field)
        && !allowed.contains(&value)
    {
        errors.push(Error::not_supported(&at.child(field), value, allowed));
    }
}

pub fn required(object: Object<'_>, field: &str, at: &Path<'_>, detail: &str, errors: &mut Errors) -> bool {
    let missing = object.get(field).is_none_or(value::is_empty);
    if missing {
        errors.push(Error::required(&at.child(field), detail));
    }
    !missing
}

pub fn not_negative(object: Object<'_>, field: &str, at: &Path<'_>, errors: &mut Errors) {
    if let Some(number) = object.int(field)
        && number < 0
    {
        errors.push(Error::invalid(&at.child(field), number, NOT_NEGATIVE));
    }
}

/// Every message of a syntax check as an `Invalid value` error.
pub fn messages<M: Into<String>>(found: impl IntoIterator<Item = M>, value: &str, at: &Path<'_>, errors: &mut Errors) {
    errors.extend(found.into_iter().map(|message| Error::invalid(at, value, message)));
}

/// The same for fields that upstream's tags call immutable: the message shows no value.
pub fn fixed(new: Object<'_>, old: Object<'_>, path: &str, at: &Path<'_>, errors: &mut Errors) {
    if !super::rules::same(new, old, path) {
        errors.push(Error::invalid(at, BadValue::json("null"), IMMUTABLE));
    }
}

/// An object's field that may not change once it is there.
pub fn immutable(new: Object<'_>, old: Object<'_>, path: &str, at: &Path<'_>, errors: &mut Errors) {
    if !super::rules::same(new, old, path) {
        errors.push(Error::invalid(at, value::shown(new, path), IMMUTABLE));
    }
}
