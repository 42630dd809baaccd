//! Validation errors of single fields: paths, the kinds of error, and the texts that clients see.
//!
//! One list of [`Error`] becomes one `Invalid` status: [`Error::body`] and [`ErrorType::reason`] are a cause's message and
//! reason, [`invalid_message`] is the status message. Turning them into HTTP is not done here.

use crate::text;
use crate::tree::Value;
use std::collections::HashSet;
use std::fmt;

/// The way to a field, for messages. It borrows its parent, so that a path costs nothing until an error needs its text.
///
/// ```
/// use apiserver_machinery::field::Path;
/// let spec = Path::new("spec");
/// let containers = spec.child("template.spec.containers");
/// assert_eq!(containers.index(2).child("ports").to_string(), "spec.template.spec.containers[2].ports");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    /// No path at all: what Go prints for a nil pointer. A child of it is a root.
    Nil,
    Name(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> Path<'a> {
    pub const NIL: Path<'static> = Path { parent: None, step: Step::Nil };

    /// A root. It may hold several names: `metadata.labels`.
    pub const fn new(name: &'a str) -> Self {
        Self { parent: None, step: Step::Name(name) }
    }

    /// A field below this one, or several names joined by dots.
    pub fn child<'b>(&'b self, name: &'b str) -> Path<'b> {
        Path { parent: Some(self), step: Step::Name(name) }
    }

    pub fn index(&self, index: usize) -> Path<'_> {
        Path { parent: Some(self), step: Step::Index(index) }
    }

    pub fn key<'b>(&'b self, key: &'b str) -> Path<'b> {
        Path { parent: Some(self), step: Step::Key(key) }
    }

    /// Returns whether anything was written.
    fn write(&self, f: &mut fmt::Formatter<'_>) -> Result<bool, fmt::Error> {
        let below = match self.parent {
            Some(parent) => parent.write(f)?,
            None => false,
        };
        match self.step {
            Step::Nil => return Ok(false),
            Step::Name(name) if !name.is_empty() => {
                if below {
                    f.write_str(".")?;
                }
                f.write_str(name)?;
            }
            // Go holds an index as a path without a name, so an empty name prints as one.
            Step::Name(_) => f.write_str("[]")?,
            Step::Index(index) => write!(f, "[{index}]")?,
            Step::Key(key) => write!(f, "[{key}]")?,
        }
        Ok(true)
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.write(f)? {
            f.write_str("<nil>")?;
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorType {
    NotFound,
    Required,
    Duplicate,
    Invalid,
    NotSupported,
    Forbidden,
    TooLong,
    TooShort,
    TooMany,
    TooFew,
    TypeInvalid,
    Internal,
}

impl ErrorType {
    /// The reason of a StatusCause.
    pub fn reason(self) -> &'static str {
        match self {
            ErrorType::NotFound => "FieldValueNotFound",
            ErrorType::Required => "FieldValueRequired",
            ErrorType::Duplicate => "FieldValueDuplicate",
            ErrorType::Invalid => "FieldValueInvalid",
            ErrorType::NotSupported => "FieldValueNotSupported",
            ErrorType::Forbidden => "FieldValueForbidden",
            ErrorType::TooLong => "FieldValueTooLong",
            ErrorType::TooShort => "FieldValueTooShort",
            ErrorType::TooMany => "FieldValueTooMany",
            ErrorType::TooFew => "FieldValueTooFew",
            ErrorType::TypeInvalid => "FieldValueTypeInvalid",
            ErrorType::Internal => "InternalError",
        }
    }
}

impl fmt::Display for ErrorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ErrorType::NotFound => "Not found",
            ErrorType::Required => "Required value",
            ErrorType::Duplicate => "Duplicate value",
            ErrorType::Invalid | ErrorType::TypeInvalid => "Invalid value",
            ErrorType::NotSupported => "Unsupported value",
            ErrorType::Forbidden => "Forbidden",
            ErrorType::TooLong => "Too long",
            ErrorType::TooShort => "Too short",
            ErrorType::TooMany => "Too many",
            ErrorType::TooFew => "Too few",
            ErrorType::Internal => "Internal error",
        })
    }
}

/// The value that a message shows, already as text. Strings are quoted, numbers and truth values plain, all else JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadValue(Option<String>);

impl BadValue {
    /// The message shows no value.
    pub const OMITTED: BadValue = BadValue(None);

    /// A value whose JSON is at hand.
    pub fn json(text: impl Into<String>) -> Self {
        BadValue(Some(text.into()))
    }
}

macro_rules! plain_bad_values {
    ($($number:ty),*) => {
        $(impl From<$number> for BadValue {
            fn from(number: $number) -> Self {
                BadValue(Some(number.to_string()))
            }
        })*
    };
}

plain_bad_values!(i32, i64, u16, u32, u64, usize, bool);

impl From<f64> for BadValue {
    fn from(number: f64) -> Self {
        BadValue(Some(text::float(number)))
    }
}

impl From<&str> for BadValue {
    fn from(value: &str) -> Self {
        BadValue(Some(text::quote(value)))
    }
}

impl From<&String> for BadValue {
    fn from(value: &String) -> Self {
        value.as_str().into()
    }
}

impl From<&crate::Str> for BadValue {
    fn from(value: &crate::Str) -> Self {
        value.as_str().into()
    }
}

impl From<&[&str]> for BadValue {
    fn from(values: &[&str]) -> Self {
        let quoted: Vec<_> = values.iter().map(|value| text::quote(value)).collect();
        BadValue(Some(format!("[{}]", quoted.join(","))))
    }
}

impl From<&Value> for BadValue {
    /// Scalars, and what has no schema. A struct's JSON needs its schema: see [`BadValue::json`].
    fn from(value: &Value) -> Self {
        match value {
            Value::Null => BadValue(Some("null".to_owned())),
            Value::Bool(truth) => (*truth).into(),
            Value::Int(number) => (*number).into(),
            Value::Double(number) => (*number).into(),
            Value::String(text) => text.into(),
            Value::Bytes(_) | Value::Raw(_) | Value::Struct(_) => BadValue::OMITTED,
            Value::Map(_) | Value::List(_) => {
                let mut out = String::new();
                write_json(value, &mut out);
                BadValue(Some(out))
            }
        }
    }
}

/// JSON of a value without structs, for messages.
fn write_json(value: &Value, out: &mut String) {
    match value {
        Value::Map(map) => {
            out.push('{');
            for (at, (key, value)) in map.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                out.push_str(&serde_json::Value::from(key).to_string());
                out.push(':');
                write_json(value, out);
            }
            out.push('}');
        }
        Value::List(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_json(item, out);
            }
            out.push(']');
        }
        Value::String(text) => out.push_str(&serde_json::Value::from(text.as_str()).to_string()),
        Value::Double(number) => out.push_str(&text::json_float(*number)),
        Value::Int(number) => out.push_str(&number.to_string()),
        Value::Bool(truth) => out.push_str(if *truth { "true" } else { "false" }),
        Value::Null | Value::Bytes(_) | Value::Raw(_) | Value::Struct(_) => out.push_str("null"),
    }
}

/// One field that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub kind: ErrorType,
    pub field: String,
    pub value: BadValue,
    pub detail: String,
}

impl Error {
    fn new(kind: ErrorType, at: &Path<'_>, value: BadValue, detail: impl Into<String>) -> Self {
        Self { kind, field: at.to_string(), value, detail: detail.into() }
    }

    pub fn invalid(at: &Path<'_>, value: impl Into<BadValue>, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::Invalid, at, value.into(), detail)
    }

    pub fn type_invalid(at: &Path<'_>, value: impl Into<BadValue>, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::TypeInvalid, at, value.into(), detail)
    }

    pub fn required(at: &Path<'_>, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::Required, at, BadValue::OMITTED, detail)
    }

    pub fn forbidden(at: &Path<'_>, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::Forbidden, at, BadValue::OMITTED, detail)
    }

    pub fn duplicate(at: &Path<'_>, value: impl Into<BadValue>) -> Self {
        Self::new(ErrorType::Duplicate, at, value.into(), "")
    }

    pub fn not_found(at: &Path<'_>, value: impl Into<BadValue>) -> Self {
        Self::new(ErrorType::NotFound, at, value.into(), "")
    }

    pub fn not_supported(at: &Path<'_>, value: impl Into<BadValue>, supported: &[&str]) -> Self {
        let quoted: Vec<_> = supported.iter().map(|value| text::quote(value)).collect();
        let detail = if quoted.is_empty() { String::new() } else { format!("supported values: {}", quoted.join(", ")) };
        Self::new(ErrorType::NotSupported, at, value.into(), detail)
    }

    pub fn too_long(at: &Path<'_>, bytes_max: usize) -> Self {
        let unit = if bytes_max == 1 { "byte" } else { "bytes" };
        Self::new(ErrorType::TooLong, at, BadValue::OMITTED, format!("may not be more than {bytes_max} {unit}"))
    }

    pub fn too_long_characters(at: &Path<'_>, characters_max: usize) -> Self {
        let unit = if characters_max == 1 { "character" } else { "characters" };
        Self::new(ErrorType::TooLong, at, BadValue::OMITTED, format!("may not be more than {characters_max} {unit}"))
    }

    pub fn too_short(at: &Path<'_>, characters_min: usize) -> Self {
        let unit = if characters_min == 1 { "character" } else { "characters" };
        Self::new(ErrorType::TooShort, at, BadValue::OMITTED, format!("must be at least {characters_min} {unit}"))
    }

    pub fn too_many(at: &Path<'_>, items: usize, items_max: usize) -> Self {
        let unit = if items_max == 1 { "item" } else { "items" };
        Self::new(ErrorType::TooMany, at, items.into(), format!("must have at most {items_max} {unit}"))
    }

    pub fn too_few(at: &Path<'_>, items: usize, items_min: usize) -> Self {
        let unit = if items_min == 1 { "item" } else { "items" };
        Self::new(ErrorType::TooFew, at, items.into(), format!("must have at least {items_min} {unit}"))
    }

    pub fn internal(at: &Path<'_>, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::Internal, at, BadValue::OMITTED, detail)
    }

    /// The message without the field: what a StatusCause shows.
    pub fn body(&self) -> String {
        let mut out = self.kind.to_string();
        if let BadValue(Some(value)) = &self.value {
            out.push_str(": ");
            out.push_str(value);
        }
        if !self.detail.is_empty() {
            out.push_str(": ");
            out.push_str(&self.detail);
        }
        out
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

impl std::error::Error for Error {}

/// All errors in one line: one as it is, more in brackets, each text once.
pub fn aggregate(errors: &[Error]) -> String {
    let mut seen = HashSet::new();
    let mut texts: Vec<String> = Vec::with_capacity(errors.len());
    for error in errors {
        let text = error.to_string();
        if seen.insert(text.clone()) {
            texts.push(text);
        }
    }
    match texts.len() {
        0 => String::new(),
        1 => texts.remove(0),
        _ => format!("[{}]", texts.join(", ")),
    }
}

/// The message of an `Invalid` status: `Deployment.apps "web" is invalid: spec.replicas: …`.
pub fn invalid_message(group: &str, kind: &str, name: &str, errors: &[Error]) -> String {
    let dot = if group.is_empty() { "" } else { "." };
    let name = text::quote(name);
    if errors.is_empty() {
        return format!("{kind}{dot}{group} {name} is invalid");
    }
    format!("{kind}{dot}{group} {name} is invalid: {}", aggregate(errors))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_print_as_upstream_prints_them() {
        let root = Path::new("spec");
        let list = root.child("containers");
        let item = list.index(3);
        assert_eq!(item.child("env").index(0).child("name").to_string(), "spec.containers[3].env[0].name");
        assert_eq!(root.child("nodeSelector").key("a/b").to_string(), "spec.nodeSelector[a/b]");
        assert_eq!(Path::NIL.to_string(), "<nil>");
        assert_eq!(Path::NIL.child("key").to_string(), "key");
        assert_eq!(Path::NIL.child("values").index(0).key("x").to_string(), "values[0][x]");
    }

    #[test]
    fn every_kind_of_error_has_upstreams_text_and_reason() {
        let check = |error: Error, text: &str, reason: &str| {
            assert_eq!(error.to_string(), text);
            assert_eq!(error.kind.reason(), reason);
        };
        let at = &Path::new("f");
        check(
            Error::invalid(at, -1i64, "must be greater than or equal to 0"),
            "f: Invalid value: -1: must be greater than or equal to 0",
            "FieldValueInvalid",
        );
        check(Error::invalid(at, "a\"b", ""), r#"f: Invalid value: "a\"b""#, "FieldValueInvalid");
        check(Error::invalid(at, 1.5, "x"), "f: Invalid value: 1.5: x", "FieldValueInvalid");
        check(Error::required(at, ""), "f: Required value", "FieldValueRequired");
        check(Error::required(at, "why"), "f: Required value: why", "FieldValueRequired");
        check(Error::duplicate(at, "n"), r#"f: Duplicate value: "n""#, "FieldValueDuplicate");
        check(Error::not_found(at, "n"), r#"f: Not found: "n""#, "FieldValueNotFound");
        check(Error::not_supported(at, "x", &["a", "b"]), r#"f: Unsupported value: "x": supported values: "a", "b""#, "FieldValueNotSupported");
        check(Error::forbidden(at, "no"), "f: Forbidden: no", "FieldValueForbidden");
        check(Error::too_long(at, 63), "f: Too long: may not be more than 63 bytes", "FieldValueTooLong");
        check(Error::too_long(at, 1), "f: Too long: may not be more than 1 byte", "FieldValueTooLong");
        check(Error::too_long_characters(at, 9), "f: Too long: may not be more than 9 characters", "FieldValueTooLong");
        check(Error::too_short(at, 2), "f: Too short: must be at least 2 characters", "FieldValueTooShort");
        check(Error::too_many(at, 5, 4), "f: Too many: 5: must have at most 4 items", "FieldValueTooMany");
        check(Error::too_few(at, 0, 1), "f: Too few: 0: must have at least 1 item", "FieldValueTooFew");
        check(Error::type_invalid(at, 3i64, "t"), "f: Invalid value: 3: t", "FieldValueTypeInvalid");
        check(Error::internal(at, "boom"), "f: Internal error: boom", "InternalError");
    }

    #[test]
    fn equal_texts_are_aggregated_once() {
        let at = Path::new("a");
        let one = Error::required(&at, "");
        let two = Error::forbidden(&at, "x");
        assert_eq!(aggregate(&[]), "");
        assert_eq!(aggregate(&[one.clone(), one.clone()]), "a: Required value");
        assert_eq!(aggregate(&[one.clone(), two, one]), "[a: Required value, a: Forbidden: x]");
    }

    #[test]
    fn an_invalid_message_names_group_kind_and_object() {
        let errors = [Error::required(&Path::new("spec.selector"), "")];
        assert_eq!(invalid_message("apps", "Deployment", "web", &errors), r#"Deployment.apps "web" is invalid: spec.selector: Required value"#);
        assert_eq!(invalid_message("", "Pod", "p", &[]), r#"Pod "p" is invalid"#);
    }
}
