//! CustomResourceDefinitions: the parts of their rules that need no knowledge of schemas. Those are `custom`'s.

use super::rules::keep_all_but;
use super::validation::{Errors, messages, metadata, required};
use super::{Context, Object, Rules, rules};
use apiserver_machinery::field::{BadValue, Error, Path};
use apiserver_machinery::names;
use apiserver_machinery::tree::{Struct, Value};

pub static RULES: Rules = Rules { create, update, validate, generation: true, unconditional_update: false, ..Rules::PLAIN };

fn create(definition: &mut Struct, context: &Context<'_>) {
    rules::create(definition, context);
    stored_version(definition, context);
}

/// The version that is stored is one that ever was.
fn stored_version(definition: &mut Struct, context: &Context<'_>) {
    let schema = context.schema;
    let object = Object { schema, tree: definition };
    let Some(version) = object.items("spec.versions").find(|version| version.flag("storage")) else { return };
    let name = version.text("name").to_owned();
    let mut stored = definition.list_at(schema, "status.storedVersions").to_vec();
    if !stored.iter().any(|own| own.as_str() == Some(name.as_str())) {
        stored.push(Value::from(name));
        definition.put(schema, "status.storedVersions", Value::List(stored));
    }
}

fn update(old: &Struct, new: &mut Struct, context: &Context<'_>) {
    if context.subresource == "status" {
        keep_all_but(old, new, context.schema, &["metadata", "status"]);
    } else {
        rules::update(old, new, context);
        stored_version(new, context);
    }
}

fn validate(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    if context.subresource == "status" {
        return;
    }
    let at = Path::new("spec");
    let (group, plural) = (new.text("spec.group"), new.text("spec.names.plural"));
    let expected = format!("{plural}.{group}");
    if new.name() != expected {
        let detail = "must be spec.names.plural+\".\"+spec.group";
        errors.push(Error::invalid(&Path::new("metadata.name"), new.name(), detail));
    }
    if group.is_empty() {
        errors.push(Error::required(&at.child("group"), ""));
    } else if !group.contains('.') {
        messages(names::dns1123_subdomain(group), group, &at.child("group"), errors);
        errors.push(Error::invalid(&at.child("group"), group, "should be a domain with at least one dot"));
    } else {
        messages(names::dns1123_subdomain(group), group, &at.child("group"), errors);
    }
    match new.text("spec.scope") {
        "Cluster" | "Namespaced" => {}
        "" => errors.push(Error::required(&at.child("scope"), "")),
        other => errors.push(Error::not_supported(&at.child("scope"), other, &["Cluster", "Namespaced"])),
    }
    definition_names(new, &at.child("names"), errors);
    versions(new, &at.child("versions"), errors);
    if let Some(old) = old
        && established(old)
    {
        for field in ["scope", "names.kind"] {
            super::validation::immutable(new, old, &format!("spec.{field}"), &at.child(field), errors);
        }
    }
    if let Some(old) = old {
        super::validation::immutable(new, old, "spec.group", &at.child("group"), errors);
        super::validation::immutable(new, old, "spec.names.plural", &at.child("names.plural"), errors);
    }
}

fn established(definition: Object<'_>) -> bool {
    definition.items("status.conditions").any(|own| own.text("type") == "Established" && own.text("status") == "True")
}

fn definition_names(definition: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    let Some(names_of) = definition.child("spec.names") else {
        errors.push(Error::required(&at.child("plural"), ""));
        return;
    };
    for field in ["plural", "singular", "kind", "listKind"] {
        if !required(names_of, field, at, "", errors) {
            continue;
        }
        let text = names_of.text(field);
        let checked = if matches!(field, "kind" | "listKind") { text.to_lowercase() } else { text.to_owned() };
        let found: Vec<String> = names::dns1035_label(&checked);
        let found = found.into_iter().map(|message| match field {
            "kind" | "listKind" => format!("may have mixed case, but should otherwise match: {message}"),
            _ => message,
        });
        messages(found, text, &at.child(field), errors);
    }
    for list in ["shortNames", "categories"] {
        for (index, text) in names_of.texts(list).enumerate() {
            messages(names::dns1035_label(text), text, &at.child(list).index(index), errors);
        }
    }
    let kind = names_of.text("kind");
    if !kind.is_empty() && kind == names_of.text("listKind") {
        errors.push(Error::invalid(&at.child("listKind"), kind, "kind and listKind may not be the same"));
    }
}

fn versions(definition: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    let all: Vec<Object<'_>> = definition.items("spec.versions").collect();
    let mut seen: Vec<&str> = Vec::new();
    let mut duplicate = false;
    for (index, version) in all.iter().enumerate() {
        let name = version.text("name");
        duplicate |= seen.contains(&name);
        seen.push(name);
        messages(names::dns1035_label(name), name, &at.index(index).child("name"), errors);
        if !version.has("schema.openAPIV3Schema") {
            errors.push(Error::required(&at.index(index).child("schema.openAPIV3Schema"), "schemas are required"));
        }
    }
    if duplicate {
        errors.push(Error::invalid(at, super::validation::value::shown(definition, "spec.versions"), "must contain unique version names"));
    }
    if all.is_empty() || all.iter().filter(|version| version.flag("storage")).count() != 1 {
        let shown = if all.is_empty() { BadValue::json("[]") } else { super::validation::value::shown(definition, "spec.versions") };
        errors.push(Error::invalid(at, shown, "must have exactly one version marked as storage version"));
    }
    if definition.list("status.storedVersions").is_empty() {
        errors.push(Error::invalid(&Path::new("status.storedVersions"), BadValue::json("null"), "must have at least one stored version"));
    }
}
