//! Validating custom resources against the OpenAPI v3 schema of their CustomResourceDefinition, in upstream's words.
//!
//! Upstream's validator decides the messages and their order: each node asks the value's type, then `allOf` and the like, text, number and list
//! checks, `enum`, and last the object's fields. On update a value that did not change may stay wrong ("ratcheting"). CEL rules are not here.

mod embedded;
mod formats;
mod go_syntax;
mod lists;
mod pattern;

pub use pattern::Pattern;

use crate::field::{BadValue, Error, Path};
use crate::json;
use crate::schema::Schema;
use crate::structural::{Additional, Structural};
use crate::text::{float, go_value, quote};
use crate::tree::{Struct, Value};
use std::collections::HashMap;

/// Validates an object that is created against the definition that its schema comes from. Schemas of built-in kinds have none.
pub fn openapi(schema: &Schema, object: &Struct, errors: &mut Vec<Error>) {
    if let Some(definition) = &schema.custom {
        errors.extend(against(&definition.structural, schema, object, None));
        errors.extend(embedded::problems(schema, object));
        errors.extend(lists::duplicates(schema, object));
    }
}

/// Validates an object that replaces an old one: what did not change may stay wrong.
pub fn openapi_update(schema: &Schema, object: &Struct, old: &Struct, errors: &mut Vec<Error>) {
    if let Some(definition) = &schema.custom {
        errors.extend(against(&definition.structural, schema, object, Some(old)));
        errors.extend(embedded::problems(schema, object));
        if lists::duplicates(schema, old).is_empty() {
            errors.extend(lists::duplicates(schema, object));
        }
    }
}

/// Validates an object against a node, by OpenAPI's rules alone.
pub fn against(structural: &Structural, schema: &Schema, object: &Struct, old: Option<&Struct>) -> Vec<Error> {
    let validator = Validator { schema };
    let outcome = validator.ratcheted(structural, View::Object(object), old.map(View::Object), "");
    outcome.problems.into_iter().map(|problem| problem.error).collect()
}

/// A value, or the object that is validated.
#[derive(Clone, Copy)]
enum View<'v> {
    Object(&'v Struct),
    Value(&'v Value),
}

/// What is wrong, once for each text that upstream has for it.
struct Problem {
    message: String,
    error: Error,
}

/// What a node says of a value. Of the branches of `anyOf` the one with the most matches tells what is wrong.
#[derive(Default)]
struct Outcome {
    problems: Vec<Problem>,
    matches: usize,
}

impl Outcome {
    fn is_valid(&self) -> bool {
        self.problems.is_empty()
    }

    fn add(&mut self, problem: Problem) {
        if !self.problems.iter().any(|own| own.message == problem.message) {
            self.problems.push(problem);
        }
    }

    fn merge(&mut self, other: Outcome) {
        self.matches += other.matches;
        other.problems.into_iter().for_each(|problem| self.add(problem));
    }

    fn failed(problem: Problem) -> Self {
        Self { problems: vec![problem], matches: 0 }
    }
}

struct Validator<'a> {
    schema: &'a Schema,
}

fn at<T>(path: &str, with: impl FnOnce(&Path<'_>) -> T) -> T {
    let name = path.strip_prefix('.').unwrap_or(path);
    if name.is_empty() { with(&Path::NIL) } else { with(&Path::new(name)) }
}

/// A check that failed: `spec.x in body should match '^a$'`.
fn wrong(path: &str, says: &str, value: BadValue) -> Problem {
    let message = format!("{path} in body {says}");
    let error = at(path, |path| Error::invalid(path, value, message.clone()));
    Problem { message, error }
}

/// What upstream does not tie to a field.
fn fieldless(message: String) -> Problem {
    Problem { error: Error::invalid(&Path::NIL, "", message.clone()), message }
}

fn wrong_type(path: &str, expected: &str, actual: &str) -> Problem {
    let message = format!("{path} in body must be of type {expected}: {}", quote(actual));
    let error = at(path, |path| Error::type_invalid(path, actual, message.clone()));
    Problem { message, error }
}

impl<'a> Validator<'a> {
    /// Forgives what did not change.
    fn ratcheted(&self, node: &Structural, value: View<'_>, old: Option<View<'_>>, path: &str) -> Outcome {
        let outcome = self.node(node, value, old, path);
        if !outcome.is_valid() && old.is_some_and(|old| self.unchanged(node, value, old)) {
            return Outcome { problems: Vec::new(), matches: outcome.matches };
        }
        outcome
    }

    fn node(&self, node: &Structural, value: View<'_>, old: Option<View<'_>>, path: &str) -> Outcome {
        let mut outcome = Outcome::default();
        let sort = sort(value);
        if sort == "null" {
            outcome.merge(self.type_check(node, value, path));
            outcome.merge(self.values(node, value, path));
            return outcome;
        }
        let mut ask = |asked: bool, check: &dyn Fn() -> Outcome| {
            if asked {
                outcome.merge(check());
                outcome.matches += 1;
            }
        };
        let text = match value {
            View::Value(Value::String(text)) => Some(text.as_str()),
            _ => None,
        };
        let types = types(node);
        let format = format_of(node, &types);
        ask(!types.is_empty() || !format.is_empty(), &|| self.type_check(node, value, path));
        ask(true, &|| self.logical(node, value, path));
        ask(text.is_some(), &|| text_checks(node, text.unwrap_or_default(), path));
        let known = text.and_then(|text| formats::check(format, text));
        ask(known.is_some(), &|| match (known, text) {
            (Some(false), Some(text)) => {
                let message = format!("{path} in body must be of type {format}: {}", quote(text));
                let error = at(path, |path| Error::type_invalid(path, text, message.clone()));
                Outcome::failed(Problem { message, error })
            }
            _ => Outcome::default(),
        });
        ask(matches!(sort, "integer" | "number"), &|| numbers(node, value, path));
        ask(sort == "array", &|| self.list(node, value, old, path));
        ask(true, &|| self.values(node, value, path));
        ask(sort == "object", &|| self.object(node, value, old, path));
        outcome.matches += 1;
        outcome
    }

    fn type_check(&self, node: &Structural, value: View<'_>, path: &str) -> Outcome {
        let types = types(node);
        let format = format_of(node, &types);
        let has = |ty: &str| types.contains(&ty);
        let actual = sort(value);
        if actual == "null" {
            if !types.is_empty() && !node.nullable {
                return Outcome::failed(wrong_type(path, &types.join(","), "null"));
            }
            return Outcome { matches: 1, ..Outcome::default() };
        }
        let whole = matches!(value, View::Value(Value::Double(number)) if is_whole(*number));
        let number_fits = (actual == "number" && whole && has("integer")) || (actual == "integer" && has("number"));
        let textual = matches!(actual, "string" | "array");
        let actual_format = match actual {
            "integer" => "int64",
            "number" => "float64",
            _ => "",
        };
        let fits = has(actual) || number_fits;
        if !format.is_empty() && textual {
            // The format is the judge of texts, unless the type is a number.
            if fits || !(has("number") || has("integer")) {
                return Outcome { matches: 1, ..Outcome::default() };
            }
        } else if !format.is_empty() && !fits && actual_format != format {
            return Outcome::failed(wrong_type(path, format, actual_format));
        }
        if !fits {
            return Outcome::failed(wrong_type(path, &types.join(","), actual));
        }
        Outcome { matches: 1, ..Outcome::default() }
    }

    fn logical(&self, node: &Structural, value: View<'_>, path: &str) -> Outcome {
        let mut outcome = Outcome::default();
        // Below a branch nothing is forgiven.
        let branch = |branch: &Structural| self.node(branch, value, None, path);
        if !node.any_of.is_empty() {
            let mut best: Option<Outcome> = None;
            let mut succeeded = false;
            for result in node.any_of.iter().map(branch) {
                if result.is_valid() {
                    succeeded = true;
                    best = Some(result);
                    break;
                }
                if best.as_ref().is_none_or(|best| result.matches > best.matches) {
                    best = Some(result);
                }
            }
            if !succeeded {
                outcome.add(fieldless(format!("{} must validate at least one schema (anyOf)", quote(path))));
            }
            best.into_iter().for_each(|best| outcome.merge(best));
        }
        if !node.one_of.is_empty() {
            outcome.merge(one_of(&node.one_of, branch, path));
        }
        if !node.all_of.is_empty() {
            let mut valid = 0;
            for result in node.all_of.iter().map(branch) {
                valid += usize::from(result.is_valid());
                outcome.merge(result);
            }
            if valid < node.all_of.len() {
                let none = if valid == 0 { ". None validated" } else { "" };
                outcome.add(fieldless(format!("{} must validate all the schemas (allOf){none}", quote(path))));
            }
        }
        if node.not.as_ref().is_some_and(|not| branch(not).is_valid()) {
            outcome.add(fieldless(format!("{} must not validate the schema (not)", quote(path))));
        }
        outcome.matches += 1;
        outcome
    }

    /// `enum`.
    fn values(&self, node: &Structural, value: View<'_>, path: &str) -> Outcome {
        let listed = |listed: &Value| match (listed, value) {
            (Value::Null, _) => false,
            (Value::Double(listed), View::Value(Value::Int(own))) => *listed == *own as f64,
            // Go converts the value to the type of what is listed, and so cuts off its fraction.
            (Value::Int(listed), View::Value(Value::Double(own))) => own.trunc() == *listed as f64,
            (listed, View::Value(own)) => listed == own,
            (_, View::Object(_)) => false,
        };
        if node.values.is_empty() || node.values.iter().any(listed) {
            return Outcome::default();
        }
        let shown: Vec<String> = node.values.iter().map(enum_text).collect();
        let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
        let error = at(path, |path| Error::not_supported(path, self.bad_value(value), &shown));
        let message = format!("{path} in body should be one of {}", go_value(&Value::List(node.values.clone())));
        Outcome::failed(Problem { message, error })
    }

    fn list(&self, node: &Structural, value: View<'_>, old: Option<View<'_>>, path: &str) -> Outcome {
        let mut outcome = Outcome::default();
        let View::Value(Value::List(items)) = value else { return outcome };
        if let Some(schema) = &node.items {
            let old_items = old.map(|old| self.by_keys(node, old)).unwrap_or_default();
            for (number, item) in items.iter().enumerate() {
                let keys = if old_items.is_empty() { None } else { self.keys(node, item) };
                let old = keys.and_then(|keys| old_items.get(&keys).copied());
                outcome.merge(self.ratcheted(schema, View::Value(item), old, &format!("{path}[{number}]")));
            }
        }
        let size = items.len() as i64;
        if let Some(min) = node.min_items.filter(|min| size < *min) {
            outcome.add(wrong(path, &format!("should have at least {min} items"), size.into()));
        }
        if let Some(max) = node.max_items.filter(|max| size > *max) {
            let error = at(path, |path| Error::too_many(path, items.len(), usize::try_from(max).unwrap_or_default()));
            outcome.add(Problem { message: format!("{path} in body should have at most {max} items"), error });
        }
        if node.unique_items && (1..items.len()).any(|number| items[..number].contains(&items[number])) {
            outcome.add(wrong(path, "shouldn't contain duplicates", "".into()));
        }
        outcome.matches += 1;
        outcome
    }

    fn object(&self, node: &Structural, value: View<'_>, old: Option<View<'_>>, path: &str) -> Outcome {
        let mut outcome = Outcome::default();
        let entries = self.entries(value);
        let size = entries.len() as i64;
        if let Some(min) = node.min_properties.filter(|min| size < *min) {
            outcome.add(wrong(path, &format!("should have at least {min} properties"), size.into()));
        }
        if let Some(max) = node.max_properties.filter(|max| size > *max) {
            let error = at(path, |path| Error::too_many(path, entries.len(), usize::try_from(max).unwrap_or_default()));
            outcome.add(Problem { message: format!("{path} in body should have at most {max} properties"), error });
        }
        let child = |schema: &Structural, name: &str, value, child_path: &str| {
            let ratchets = !(path.is_empty() && matches!(name, "kind" | "apiVersion"));
            let old = old.filter(|_| ratchets).and_then(|old| self.get(old, name));
            self.ratcheted(schema, value, old.map(View::Value), child_path)
        };
        for (name, value) in entries.iter().filter(|(name, _)| !node.properties.contains_key(*name)) {
            match &node.additional {
                Some(Additional::Schema(schema)) => outcome.merge(child(schema, name, View::Value(value), &format!("{path}.{name}"))),
                Some(Additional::Allowed(false)) => {
                    let message = format!("{path}.{name} in body is a forbidden property");
                    let error = at(path, |path| Error::invalid(path, *name, message.clone()));
                    outcome.add(Problem { message, error });
                }
                _ => {}
            }
        }
        for (name, schema) in &node.properties {
            if let Some(value) = self.get(value, name) {
                let child_path = if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
                outcome.merge(child(schema, name, View::Value(value), &child_path));
            }
        }
        for name in node.required.iter().filter(|name| self.get(value, name).is_none()) {
            let path = format!("{path}.{name}");
            let error = at(&path, |path| Error::required(path, ""));
            outcome.add(Problem { message: format!("{path} in body is required"), error });
        }
        outcome
    }

    /// The items of the old list by their keys. Only lists by keys have them.
    fn by_keys<'v>(&self, node: &Structural, old: View<'v>) -> HashMap<Vec<u8>, View<'v>> {
        let mut found = HashMap::new();
        if let (View::Value(Value::List(items)), Some("map")) = (old, node.list_type.as_deref()) {
            for item in items {
                if let Some(keys) = self.keys(node, item) {
                    found.entry(keys).or_insert(View::Value(item));
                }
            }
        }
        found
    }

    /// The keys of an item, as text; `None` where it has not all of them.
    fn keys(&self, node: &Structural, item: &Value) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        for name in &node.list_map_keys {
            match self.get(View::Value(item), name)? {
                Value::Null | Value::Map(_) | Value::List(_) | Value::Struct(_) => return None,
                scalar => json::encode_value(self.schema, scalar, &mut text),
            }
            text.push(0);
        }
        Some(text)
    }

    /// Whether a value is what it was, as far as the schema can tell: of objects, each field must be node.
    fn unchanged(&self, node: &Structural, new: View<'_>, old: View<'_>) -> bool {
        match (sort(new), sort(old)) {
            ("object", "object") => {
                let entries = self.entries(new);
                entries.len() == self.entries(old).len()
                    && entries.into_iter().all(|(name, value)| {
                        let own = node.properties.get(name).or(node.additional.as_ref().and_then(Additional::schema));
                        let old = self.get(old, name);
                        own.zip(old).is_some_and(|(own, old)| self.unchanged(own, View::Value(value), View::Value(old)))
                    })
            }
            ("array", "array") => {
                let (View::Value(Value::List(items)), View::Value(Value::List(old_items))) = (new, old) else { return false };
                if node.list_type.as_deref() != Some("map") {
                    return items == old_items;
                }
                let by_keys = self.by_keys(node, old);
                items.len() == old_items.len()
                    && items.iter().all(|item| {
                        let old = self.keys(node, item).and_then(|keys| by_keys.get(&keys).copied());
                        node.items.as_deref().zip(old).is_some_and(|(own, old)| self.unchanged(own, View::Value(item), old))
                    })
            }
            _ => matches!((new, old), (View::Value(new), View::Value(old)) if new == old),
        }
    }

    fn get<'v>(&self, value: View<'v>, name: &str) -> Option<&'v Value> {
        let object = match value {
            View::Object(object) => object,
            View::Value(Value::Struct(object)) => object,
            View::Value(Value::Map(map)) => return map.get(name),
            View::Value(_) => return None,
        };
        match self.schema.get(object.ty).number(name) {
            Some(number) => object.get(number),
            None => object.unknown.get(name),
        }
    }

    fn entries<'v>(&self, value: View<'v>) -> Vec<(&'v str, &'v Value)>
    where
        'a: 'v,
    {
        let object = match value {
            View::Object(object) => object,
            View::Value(Value::Struct(object)) => object,
            View::Value(Value::Map(map)) => return map.iter().collect(),
            View::Value(_) => return Vec::new(),
        };
        let schema: &'v Schema = self.schema;
        let ty = schema.get(object.ty);
        let known = object.fields().iter().map(|(number, value)| (ty.fields[usize::from(*number)].name.as_str(), value));
        let mut entries: Vec<_> = known.chain(object.unknown.iter()).collect();
        entries.sort_unstable_by_key(|(name, _)| *name);
        entries
    }

    fn bad_value(&self, value: View<'_>) -> BadValue {
        let mut out = Vec::new();
        match value {
            View::Object(object) => json::encode(self.schema, object, &mut out),
            View::Value(value @ (Value::Struct(_) | Value::Map(_) | Value::List(_))) => json::encode_value(self.schema, value, &mut out),
            View::Value(scalar) => return scalar.into(),
        }
        BadValue::json(String::from_utf8_lossy(&out))
    }
}

fn one_of(branches: &[Structural], validate: impl Fn(&Structural) -> Outcome, path: &str) -> Outcome {
    let mut outcome = Outcome::default();
    let (mut valid, mut first, mut best): (usize, Option<Outcome>, Option<Outcome>) = (0, None, None);
    for result in branches.iter().map(validate) {
        if result.is_valid() {
            valid += 1;
            best = None;
            first = first.or(Some(result));
        } else if valid == 0 && best.as_ref().is_none_or(|best| result.matches > best.matches) {
            best = Some(result);
        }
    }
    if valid != 1 {
        let found = if valid == 0 { "Found none valid".to_owned() } else { format!("Found {valid} valid alternatives") };
        outcome.add(fieldless(format!("{} must validate one and only one schema (oneOf). {found}", quote(path))));
        best.into_iter().for_each(|best| outcome.merge(best));
    } else {
        first.into_iter().for_each(|first| outcome.merge(first));
    }
    outcome
}

/// OpenAPI's name of what a value is.
fn sort(value: View<'_>) -> &'static str {
    match value {
        View::Object(_) => "object",
        View::Value(value) => match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Int(_) => "integer",
            Value::Double(_) => "number",
            Value::String(_) | Value::Bytes(_) | Value::Raw(_) => "string",
            Value::List(_) => "array",
            Value::Map(_) | Value::Struct(_) => "object",
        },
    }
}

fn types(node: &Structural) -> Vec<&str> {
    match (node.int_or_string, node.ty.as_str()) {
        (true, _) => vec!["integer", "string"],
        (false, "") => Vec::new(),
        (false, ty) => vec![ty],
    }
}

/// The format, where upstream knows it for the type.
fn format_of<'n>(node: &'n Structural, types: &[&str]) -> &'n str {
    let format = node.format.as_str();
    let known = match types {
        [] | ["string"] => formats::check(format, "").is_some(),
        // More than one type counts as none.
        [_, _] => formats::check(format, "").is_some(),
        ["integer"] => matches!(format, "int32" | "int64"),
        ["number"] => matches!(format, "float" | "double"),
        _ => false,
    };
    if known { format } else { "" }
}

fn enum_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.to_string(),
        other => String::from_utf8_lossy(&json::from_any(other)).into_owned(),
    }
}

fn text_checks(node: &Structural, text: &str, path: &str) -> Outcome {
    let length = text.chars().count() as i64;
    if let Some(max) = node.max_length.filter(|max| length > *max) {
        let error = at(path, |path| Error::too_long(path, usize::try_from(max).unwrap_or_default()));
        return Outcome::failed(Problem { message: format!("{path} in body should be at most {max} chars long"), error });
    }
    if let Some(min) = node.min_length.filter(|min| length < *min) {
        return Outcome::failed(wrong(path, &format!("should be at least {min} chars long"), text.into()));
    }
    if let Some(pattern) = node.pattern.as_ref().filter(|pattern| !pattern.matches(text)) {
        let why = pattern.error().map(|error| format!(", but pattern is invalid: {error}")).unwrap_or_default();
        return Outcome::failed(wrong(path, &format!("should match '{}{why}'", pattern.source()), text.into()));
    }
    Outcome::default()
}

fn is_whole(number: f64) -> bool {
    number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_991.0
}

fn numbers(node: &Structural, value: View<'_>, path: &str) -> Outcome {
    let (integer, number, shown): (Option<i64>, f64, BadValue) = match value {
        View::Value(Value::Int(number)) => (Some(*number), *number as f64, (*number).into()),
        View::Value(Value::Double(number)) => (None, *number, (*number).into()),
        _ => return Outcome::default(),
    };
    let mut outcome = Outcome::default();
    let range = |what: &str, number: f64, integer: Option<i64>| out_of_range(node, what, number, integer, path);
    range("Checked", number, integer).into_iter().for_each(|problem| outcome.add(fieldless(problem)));
    // A bound that its own type cannot hold is complained of, and compared as a fraction.
    let bounds = [("MultipleOf", node.multiple_of), ("Minimum boundary", node.minimum), ("Maximum boundary", node.maximum)];
    for (what, bound) in bounds {
        let Some(bound) = bound else { continue };
        let complaint = range(what, bound, None);
        let whole = integer.filter(|_| complaint.is_none());
        complaint.into_iter().for_each(|problem| outcome.add(fieldless(problem)));
        let shown_bound = if whole.is_some() { (bound as i64).to_string() } else { float(bound) };
        let compare = |exclusive: bool| match whole {
            Some(integer) => (integer.cmp(&(bound as i64)), exclusive),
            None => (number.partial_cmp(&bound).unwrap_or(std::cmp::Ordering::Equal), exclusive),
        };
        let says = match what {
            "MultipleOf" => match multiple(whole, number, bound) {
                None => {
                    let message = format!("factor MultipleOf declared for {path} must be positive: {shown_bound}");
                    let error = at(path, |path| Error::invalid(path, BadValue::json(&*shown_bound), message.clone()));
                    outcome.add(Problem { message, error });
                    continue;
                }
                Some(true) => continue,
                Some(false) => format!("should be a multiple of {shown_bound}"),
            },
            "Minimum boundary" => match compare(node.exclusive_minimum) {
                (order, false) if order.is_lt() => format!("should be greater than or equal to {shown_bound}"),
                (order, true) if order.is_le() => format!("should be greater than {shown_bound}"),
                _ => continue,
            },
            _ => match compare(node.exclusive_maximum) {
                (order, false) if order.is_gt() => format!("should be less than or equal to {shown_bound}"),
                (order, true) if order.is_ge() => format!("should be less than {shown_bound}"),
                _ => continue,
            },
        };
        outcome.add(wrong(path, &says, shown.clone()));
    }
    outcome.matches += 1;
    outcome
}

/// Whether a number is a multiple; `None` where the factor is not positive.
fn multiple(integer: Option<i64>, number: f64, factor: f64) -> Option<bool> {
    match integer {
        Some(integer) => (factor as i64 > 0).then(|| integer % (factor as i64) == 0),
        None if factor <= 0.0 => None,
        None if factor < 1.0 => Some(is_whole(1.0 / factor * number)),
        None => Some(is_whole(number / factor)),
    }
}

/// A number, or a bound, that the node's type and format cannot hold.
fn out_of_range(node: &Structural, what: &str, number: f64, integer: Option<i64>, path: &str) -> Option<String> {
    let (ty, format) = (node.ty.as_str(), node.format.as_str());
    let fits = match (ty, format) {
        _ if node.int_or_string => true,
        ("integer", "int32") => integer.map_or(number.fract() == 0.0 && (number as i32) as f64 == number, |integer| i32::try_from(integer).is_ok()),
        ("integer", _) => integer.is_some() || (number.fract() == 0.0 && (-9.3e18..9.3e18).contains(&number)),
        ("number", "float") => number.abs() <= f64::from(f32::MAX),
        _ => true,
    };
    if fits {
        return None;
    }
    let known = matches!((ty, format), ("integer", "int32" | "int64") | ("number", "float" | "double"));
    let format = if known { format!("with format {format}") } else { "(default format)".to_owned() };
    Some(format!("{what} value must be of type {ty} {format} in {path}"))
}

#[cfg(test)]
mod tests;
