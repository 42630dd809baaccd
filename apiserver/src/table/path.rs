//! Cells of custom resources: the JSONPaths that CustomResourceDefinitions use for printer columns.
//!
//! A path is walked as it is read: `.spec.replicas`, `.metadata.labels.app\.kubernetes\.io/name`, `['a.b']`, `[0]`, `[-1]`, `[*]`, and
//! `[?(@.type=="Ready")]`. Where several values are found, the first one is shown, as upstream does.

use crate::resource::columns::human::since;
use crate::resource::{CellContext, Object, Value};
use apiserver_machinery::schema::Schema;
use apiserver_machinery::{Str, json};
use std::borrow::Cow;

/// The value at a path, as a cell of a column's type. Null where there is none, or none of the type.
pub fn cell(object: Object<'_>, path: &str, ty: &str, context: CellContext) -> Value {
    let Some(value) = object_member(object, path) else { return Value::Null };
    match (ty, value) {
        (_, Value::Null) => Value::Null,
        ("string", value) => text(object.schema, value),
        ("integer", Value::Int(number)) => (*number).into(),
        ("integer", Value::Double(number)) => Value::Int(truncated(*number)),
        ("number", Value::Int(_) | Value::Double(_)) | ("boolean", Value::Bool(_)) => value.clone(),
        ("date", Value::String(time)) if time.parse::<jiff::Timestamp>().is_err() => "<invalid>".into(),
        ("date", Value::String(time)) => since(time, context).into(),
        _ => Value::Null,
    }
}

#[allow(clippy::cast_possible_truncation, reason = "as Go converts")]
fn truncated(number: f64) -> i64 {
    number as i64
}

/// A value as Go prints it in a template.
fn text(schema: &Schema, value: &Value) -> Value {
    match value {
        Value::String(_) => value.clone(),
        Value::Int(number) => number.to_string().into(),
        Value::Bool(flag) => flag.to_string().into(),
        other => {
            let mut out = Vec::new();
            json::encode_value(schema, other, &mut out);
            let text = String::from_utf8_lossy(&out);
            // Bytes and such are strings in JSON.
            Str::from(text.trim_matches('"')).into()
        }
    }
}

/// One step of a path.
#[derive(Debug, PartialEq)]
enum Step<'a> {
    Name(Cow<'a, str>),
    Index(i64),
    All,
    /// `[?(@.path=="value")]`
    Filter {
        path: &'a str,
        equal: bool,
        value: &'a str,
    },
}

/// The first value at a path below an object.
pub fn object_member<'a>(object: Object<'a>, path: &str) -> Option<&'a Value> {
    let (step, rest) = next(path)?;
    let Step::Name(name) = step else { return None };
    let ty = object.schema.get(object.tree.ty);
    let value = match ty.number(&name) {
        Some(number) => object.tree.get(number)?,
        None => object.tree.unknown.get(&name)?,
    };
    member(object.schema, value, rest)
}

fn member<'a>(schema: &'a Schema, value: &'a Value, path: &str) -> Option<&'a Value> {
    if path.is_empty() {
        return Some(value);
    }
    let (step, rest) = next(path)?;
    match (step, value) {
        (Step::Name(_), Value::Struct(inner)) => object_member(Object::new(schema, inner), path),
        (Step::Name(name), Value::Map(map)) => member(schema, map.get(&name)?, rest),
        (Step::Index(index), Value::List(list)) => {
            let at = if index < 0 { list.len().checked_sub(usize::try_from(-index).ok()?)? } else { usize::try_from(index).ok()? };
            member(schema, list.get(at)?, rest)
        }
        (Step::All, Value::List(list)) => list.iter().find_map(|item| member(schema, item, rest)),
        (Step::All, Value::Map(map)) => map.iter().find_map(|(_, item)| member(schema, item, rest)),
        (Step::Filter { path, equal, value: wanted }, Value::List(list)) => {
            let is = |item: &Value| member(schema, item, path).is_some_and(|found| matches(schema, found, wanted) == equal);
            list.iter().filter(|item| is(item)).find_map(|item| member(schema, item, rest))
        }
        _ => None,
    }
}

fn matches(schema: &Schema, found: &Value, wanted: &str) -> bool {
    text(schema, found).as_str().is_some_and(|text| text == wanted.trim_matches(['"', '\'']))
}

/// The first step of a path and what follows it; `None` at its end and where it is none that we know.
fn next(path: &str) -> Option<(Step<'_>, &str)> {
    if let Some(inside) = path.strip_prefix("[?(@") {
        let (filter, rest) = inside.split_once(")]")?;
        let (at, equal) = filter.find("==").map(|at| (at, true)).or_else(|| filter.find("!=").map(|at| (at, false)))?;
        let (path, value) = (filter[..at].trim(), filter[at + 2..].trim());
        return Some((Step::Filter { path, equal, value }, rest));
    }
    if let Some(inside) = path.strip_prefix("['").or_else(|| path.strip_prefix("[\"")) {
        let quote = &path[1..2];
        let (name, rest) = inside.split_once(&format!("{quote}]"))?;
        return Some((Step::Name(unescaped(name)), rest));
    }
    if let Some(inside) = path.strip_prefix('[') {
        let (index, rest) = inside.split_once(']')?;
        let step = if index == "*" { Step::All } else { Step::Index(index.trim().parse().ok()?) };
        return Some((step, rest));
    }
    let name = path.strip_prefix('.').unwrap_or(path);
    let mut escaped = false;
    let end = name.find(|letter| {
        let ends = !escaped && matches!(letter, '.' | '[');
        escaped = !escaped && letter == '\\';
        ends
    });
    let (name, rest) = name.split_at(end.unwrap_or(name.len()));
    match name {
        "" => None,
        "*" => Some((Step::All, rest)),
        name => Some((Step::Name(unescaped(name)), rest)),
    }
}

fn unescaped(name: &str) -> Cow<'_, str> {
    if name.contains('\\') { Cow::Owned(name.replace('\\', "")) } else { Cow::Borrowed(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, steps: &[&str]) {
        let mut rest = path;
        let mut found = Vec::new();
        while let Some((step, after)) = next(rest) {
            found.push(format!("{step:?}"));
            rest = after;
        }
        assert_eq!(found, steps, "{path}");
    }

    #[test]
    fn a_path_is_read_step_by_step() {
        check(".spec.replicas", &["Name(\"spec\")", "Name(\"replicas\")"]);
        check("spec.list[0].x", &["Name(\"spec\")", "Name(\"list\")", "Index(0)", "Name(\"x\")"]);
        check(".metadata.labels.app\\.kubernetes\\.io/name", &["Name(\"metadata\")", "Name(\"labels\")", "Name(\"app.kubernetes.io/name\")"]);
        check(".a['b.c'][*]", &["Name(\"a\")", "Name(\"b.c\")", "All"]);
        check(
            ".status.conditions[?(@.type==\"Ready\")].status",
            &["Name(\"status\")", "Name(\"conditions\")", "Filter { path: \".type\", equal: true, value: \"\\\"Ready\\\"\" }", "Name(\"status\")"],
        );
    }
}
