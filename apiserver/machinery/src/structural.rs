//! A CustomResourceDefinition's `openAPIV3Schema`: read into nodes, and checked for being structural.
//!
//! The nodes are what [`crate::custom`] builds a schema from and what [`crate::validate`] validates values against. Rules about the
//! CustomResourceDefinition as an object (names, versions, CEL rules, which defaults are allowed) are not here.

use crate::Str;
use crate::field::{Error, Path};
use crate::tree::{Map, Value};
use crate::validate::Pattern;
use std::collections::BTreeMap;

/// One node, with all that upstream's JSONSchemaProps may say of a value.
#[derive(Debug, Default)]
pub struct Structural {
    /// `object`, `array`, `string`, `integer`, `number`, `boolean`, or empty.
    pub ty: Str,
    pub format: Str,
    pub nullable: bool,
    pub default: Option<Value>,
    pub has_title: bool,
    pub has_description: bool,

    pub properties: BTreeMap<Str, Structural>,
    pub additional: Option<Additional>,
    pub items: Option<Box<Structural>>,

    pub maximum: Option<f64>,
    pub exclusive_maximum: bool,
    pub minimum: Option<f64>,
    pub exclusive_minimum: bool,
    pub multiple_of: Option<f64>,
    pub max_length: Option<i64>,
    pub min_length: Option<i64>,
    pub pattern: Option<Pattern>,
    pub max_items: Option<i64>,
    pub min_items: Option<i64>,
    pub unique_items: bool,
    pub max_properties: Option<i64>,
    pub min_properties: Option<i64>,
    pub required: Vec<Str>,
    pub values: Vec<Value>,

    pub all_of: Vec<Structural>,
    pub any_of: Vec<Structural>,
    pub one_of: Vec<Structural>,
    pub not: Option<Box<Structural>>,

    pub preserve_unknown_fields: bool,
    pub embedded_resource: bool,
    pub int_or_string: bool,
    pub list_type: Option<Str>,
    pub list_map_keys: Vec<Str>,
    pub map_type: Option<Str>,
    /// `x-kubernetes-validations`, as they came.
    pub rules: Vec<Value>,

    /// The names that the node gives, in order.
    names: Vec<Str>,
}

/// `additionalProperties`.
#[derive(Debug)]
pub enum Additional {
    Allowed(bool),
    Schema(Box<Structural>),
}

impl Additional {
    pub fn schema(&self) -> Option<&Structural> {
        match self {
            Additional::Schema(schema) => Some(schema),
            Additional::Allowed(_) => None,
        }
    }
}

/// What no structural schema may use; the text is upstream's.
const UNSUPPORTED: [&str; 7] = ["id", "$schema", "$ref", "patternProperties", "dependencies", "additionalItems", "definitions"];

impl Structural {
    /// Reads a JSONSchemaProps, as decoded JSON. The error is why it is not even close to structural.
    pub fn read(schema: &Value) -> Result<Self, String> {
        let Some(map) = schema.as_map() else { return Ok(Self::default()) };
        for name in UNSUPPORTED {
            let given = match map.get(name) {
                None | Some(Value::Null) => false,
                Some(Value::String(text)) => !text.is_empty(),
                Some(Value::Map(inner)) => !inner.is_empty() || name == "additionalItems",
                Some(_) => true,
            };
            if given {
                return Err(format!("OpenAPIV3Schema '{}' is not supported", name.trim_start_matches("$s").replace("chema", "schema")));
            }
        }
        let read = Read { map };
        let mut node = read.scalars();
        node.preserve_unknown_fields = match map.get("x-kubernetes-preserve-unknown-fields") {
            Some(Value::Bool(false)) => return Err("internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined".to_owned()),
            given => given.is_some_and(|given| *given != Value::Null),
        };
        match map.get("items") {
            Some(Value::List(items)) if !items.is_empty() => return Err("OpenAPIV3Schema 'items' must be a schema, but is an array".to_owned()),
            Some(items @ Value::Map(_)) => node.items = Some(Box::new(Self::read(items)?)),
            _ => {}
        }
        for (name, property) in map.get("properties").and_then(Value::as_map).into_iter().flat_map(Map::iter) {
            node.properties.insert(name.into(), Self::read(property)?);
        }
        node.additional = match map.get("additionalProperties") {
            Some(Value::Bool(allowed)) => Some(Additional::Allowed(*allowed)),
            Some(schema @ Value::Map(_)) => Some(Additional::Schema(Box::new(Self::read(schema)?))),
            _ => None,
        };
        node.all_of = read.nodes("allOf")?;
        node.any_of = read.nodes("anyOf")?;
        node.one_of = read.nodes("oneOf")?;
        node.not = match map.get("not") {
            Some(not @ Value::Map(_)) => Some(Box::new(Self::read(not)?)),
            _ => None,
        };
        Ok(node)
    }

    /// An object of which nothing is declared.
    pub fn object() -> Self {
        Self { ty: "object".into(), ..Self::default() }
    }

    fn has_only_type(&self, ty: &str) -> bool {
        self.names == ["type"] && self.ty == ty
    }

    /// `anyOf: [{type: integer}, {type: string}]`, the one place where a nested type is structural.
    fn is_int_or_string(nodes: &[Structural]) -> bool {
        matches!(nodes, [integer, string] if integer.has_only_type("integer") && string.has_only_type("string"))
    }

    /// What keeps the schema from being structural, in order of the texts.
    pub fn problems(&self, at: &Path<'_>) -> Vec<Error> {
        let mut errors = Vec::new();
        self.invariants(Level::Root, at, &mut errors);
        value_completeness(self, Some(self), at, at, &mut errors);
        errors.sort_by_cached_key(Error::to_string);
        errors
    }

    fn invariants(&self, level: Level, at: &Path<'_>, errors: &mut Vec<Error>) {
        if self.ty == "array" && self.items.is_none() {
            errors.push(Error::required(&at.child("items"), "must be specified"));
        }
        if let Some(items) = &self.items {
            items.invariants(Level::Item, &at.child("items"), errors);
        }
        for (name, property) in &self.properties {
            property.invariants(Level::Field, &at.child("properties").key(name), errors);
        }
        if let Some(additional) = &self.additional {
            if level == Level::Root {
                errors.push(Error::forbidden(&at.child("additionalProperties"), "must not be used at the root"));
            }
            if let Some(schema) = additional.schema() {
                schema.invariants(Level::Field, &at.child("additionalProperties"), errors);
            }
        }
        if self.int_or_string {
            let must = "must be false if x-kubernetes-int-or-string is true";
            if self.preserve_unknown_fields {
                errors.push(Error::invalid(&at.child("x-kubernetes-preserve-unknown-fields"), true, must));
            }
            if self.embedded_resource {
                errors.push(Error::invalid(&at.child("x-kubernetes-embedded-resource"), true, must));
            }
        }
        let first_all_of = self.all_of.first().is_some_and(|first| Self::is_int_or_string(&first.any_of));
        self.value_invariants(Self::is_int_or_string(&self.any_of), first_all_of, at, errors);
        self.type_invariants(level, at, errors);
        self.object_invariants(level, at, errors);
    }

    fn type_invariants(&self, level: Level, at: &Path<'_>, errors: &mut Vec<Error>) {
        let ty = at.child("type");
        if self.embedded_resource && self.ty != "object" {
            let must = "must be object if x-kubernetes-embedded-resource is true";
            errors.push(if self.ty.is_empty() { Error::required(&ty, must) } else { Error::invalid(&ty, &self.ty, must) });
        } else if self.ty.is_empty() && !self.int_or_string && !self.preserve_unknown_fields {
            errors.push(Error::required(
                &ty,
                match level {
                    Level::Root => "must not be empty at the root",
                    Level::Item => "must not be empty for specified array items",
                    Level::Field => "must not be empty for specified object fields",
                },
            ));
        }
        if level == Level::Root && !self.ty.is_empty() && self.ty != "object" {
            errors.push(Error::invalid(&ty, &self.ty, "must be object at the root"));
        }
    }

    /// What holds of a whole resource: the root, and embedded ones.
    fn object_invariants(&self, level: Level, at: &Path<'_>, errors: &mut Vec<Error>) {
        if self.embedded_resource && self.additional.is_some() {
            errors.push(Error::forbidden(&at.child("additionalProperties"), "must not be used if x-kubernetes-embedded-resource is set"));
        }
        let whole = level == Level::Root || self.embedded_resource;
        let properties = at.child("properties");
        for name in ["kind", "apiVersion"] {
            if let Some(property) = self.properties.get(name).filter(|property| whole && property.ty != "string") {
                errors.push(Error::invalid(&properties.key(name).child("type"), &property.ty, "must be string"));
            }
        }
        if let Some(metadata) = self.properties.get("metadata") {
            let at = properties.key("metadata");
            if whole && metadata.ty != "object" {
                errors.push(Error::invalid(&at.child("type"), &metadata.ty, "must be object"));
            }
            if level == Level::Root && !metadata.says_only_names() {
                let must = "must not specify anything other than name and generateName, but metadata is implicitly specified";
                errors.push(Error::forbidden(&at, must));
            }
        }
        if self.embedded_resource && !self.preserve_unknown_fields && self.properties.is_empty() {
            let must = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
            errors.push(Error::required(&properties, must));
        }
    }

    fn says_only_names(&self) -> bool {
        let names_only = self.properties.keys().all(|name| name == "name" || name == "generateName");
        names_only && self.names.iter().all(|name| matches!(name.as_str(), "type" | "default" | "properties"))
    }

    fn value_invariants(&self, skip_any_of: bool, skip_first_all_of: bool, at: &Path<'_>, errors: &mut Vec<Error>) {
        let lists = [("anyOf", &self.any_of), ("allOf", &self.all_of), ("oneOf", &self.one_of)];
        for (name, nodes) in lists.into_iter().filter(|(name, _)| !(skip_any_of && *name == "anyOf")) {
            for (number, node) in nodes.iter().enumerate() {
                let skip = skip_first_all_of && name == "allOf" && number == 0;
                node.nested_invariants(skip, &at.child(name).index(number), errors);
            }
        }
        if let Some(not) = &self.not {
            not.nested_invariants(false, &at.child("not"), errors);
        }
        if let Some(pattern) = &self.pattern
            && let Some(error) = pattern.error()
        {
            let detail = format!("must be a valid regular expression, but isn't: {error}");
            errors.push(Error::invalid(&at.child("pattern"), pattern.source(), detail));
        }
    }

    /// A node below `anyOf` and the like may only check values.
    fn nested_invariants(&self, skip_any_of: bool, at: &Path<'_>, errors: &mut Vec<Error>) {
        self.value_invariants(skip_any_of, false, at, errors);
        if let Some(items) = &self.items {
            items.nested_invariants(false, &at.child("items"), errors);
        }
        for (name, property) in &self.properties {
            property.nested_invariants(false, &at.child("properties").key(name), errors);
        }
        let checks = [
            (!self.ty.is_empty(), "type", "must be empty to be structural"),
            (!matches!(self.additional, None | Some(Additional::Allowed(false))), "additionalProperties", "must be undefined to be structural"),
            (self.default.is_some(), "default", "must be undefined to be structural"),
            (self.has_title, "title", "must be empty to be structural"),
            (self.has_description, "description", "must be empty to be structural"),
            (self.nullable, "nullable", "must be false to be structural"),
            (self.preserve_unknown_fields, "x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
            (self.embedded_resource, "x-kubernetes-embedded-resource", "must be false to be structural"),
            (self.int_or_string, "x-kubernetes-int-or-string", "must be false to be structural"),
            (!self.list_map_keys.is_empty(), "x-kubernetes-list-map-keys", "must be empty to be structural"),
            (self.list_type.is_some(), "x-kubernetes-list-type", "must be undefined to be structural"),
            (self.map_type.is_some(), "x-kubernetes-map-type", "must be undefined to be structural"),
            (!self.rules.is_empty(), "x-kubernetes-validations", "must be empty to be structural"),
        ];
        for (_, name, must) in checks.into_iter().filter(|(wrong, _, _)| *wrong) {
            errors.push(Error::forbidden(&at.child(name), must));
        }
        if self.properties.contains_key("metadata") {
            errors.push(Error::forbidden(&at.child("properties").key("metadata"), "must not be specified in a nested context"));
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// Whatever a value check speaks of must be declared by the structure. `declared` is the node of the structure, `check` the one that checks.
fn value_completeness(check: &Structural, declared: Option<&Structural>, at: &Path<'_>, check_at: &Path<'_>, errors: &mut Vec<Error>) {
    if let Some(not) = &check.not {
        completeness(not, declared, at, &check_at.child("not"), errors);
    }
    for (name, nodes) in [("allOf", &check.all_of), ("anyOf", &check.any_of), ("oneOf", &check.one_of)] {
        for (number, node) in nodes.iter().enumerate() {
            completeness(node, declared, at, &check_at.child(name).index(number), errors);
        }
    }
}

fn completeness(check: &Structural, declared: Option<&Structural>, at: &Path<'_>, check_at: &Path<'_>, errors: &mut Vec<Error>) {
    let because = |at: &Path<'_>| format!("because it is defined in {at}");
    let Some(declared) = declared else {
        errors.push(Error::required(at, because(check_at)));
        return;
    };
    value_completeness(check, Some(declared), at, check_at, errors);
    if let Some(items) = &check.items {
        completeness(items, declared.items.as_deref(), &at.child("items"), &check_at.child("items"), errors);
    }
    for (name, property) in &check.properties {
        let (at, check_at) = (at.child("properties"), check_at.child("properties"));
        let (at, check_at) = (at.key(name), check_at.key(name));
        match declared.properties.get(name) {
            Some(declared) => completeness(property, Some(declared), &at, &check_at, errors),
            None => errors.push(Error::required(&at, because(&check_at))),
        }
    }
}

struct Read<'m> {
    map: &'m Map,
}

impl Read<'_> {
    fn text(&self, name: &str) -> Str {
        self.map.get(name).and_then(Value::as_str).unwrap_or_default().into()
    }

    fn truth(&self, name: &str) -> bool {
        self.map.get(name).and_then(Value::as_bool).unwrap_or_default()
    }

    fn count(&self, name: &str) -> Option<i64> {
        self.map.get(name).and_then(Value::as_int)
    }

    fn number(&self, name: &str) -> Option<f64> {
        match self.map.get(name)? {
            Value::Int(number) => Some(*number as f64),
            Value::Double(number) => Some(*number),
            _ => None,
        }
    }

    fn texts(&self, name: &str) -> Vec<Str> {
        self.list(name).iter().filter_map(|item| item.as_str().map(Str::from)).collect()
    }

    fn list(&self, name: &str) -> &[Value] {
        self.map.get(name).and_then(Value::as_list).unwrap_or_default()
    }

    fn nodes(&self, name: &str) -> Result<Vec<Structural>, String> {
        self.list(name).iter().map(Structural::read).collect()
    }

    /// All but what holds nodes.
    fn scalars(&self) -> Structural {
        let optional = |name: &str| Some(self.text(name)).filter(|text| !text.is_empty());
        Structural {
            ty: self.text("type"),
            format: self.text("format"),
            nullable: self.truth("nullable"),
            default: self.map.get("default").filter(|value| **value != Value::Null).cloned(),
            has_title: !self.text("title").is_empty(),
            has_description: !self.text("description").is_empty(),
            maximum: self.number("maximum"),
            exclusive_maximum: self.truth("exclusiveMaximum"),
            minimum: self.number("minimum"),
            exclusive_minimum: self.truth("exclusiveMinimum"),
            multiple_of: self.number("multipleOf"),
            max_length: self.count("maxLength"),
            min_length: self.count("minLength"),
            pattern: optional("pattern").map(|pattern| Pattern::new(&pattern)),
            max_items: self.count("maxItems"),
            min_items: self.count("minItems"),
            unique_items: self.truth("uniqueItems"),
            max_properties: self.count("maxProperties"),
            min_properties: self.count("minProperties"),
            required: self.texts("required"),
            values: self.list("enum").to_vec(),
            embedded_resource: self.truth("x-kubernetes-embedded-resource"),
            int_or_string: self.truth("x-kubernetes-int-or-string"),
            list_type: optional("x-kubernetes-list-type"),
            list_map_keys: self.texts("x-kubernetes-list-map-keys"),
            map_type: optional("x-kubernetes-map-type"),
            rules: self.list("x-kubernetes-validations").to_vec(),
            names: self.map.iter().map(|(name, _)| name.into()).collect(),
            ..Structural::default()
        }
    }
}

#[cfg(test)]
#[path = "structural_tests.rs"]
mod tests;
