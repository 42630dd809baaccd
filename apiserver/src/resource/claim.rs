//! PersistentVolumeClaims.

use super::rules::keep;
use super::validation::{Errors, messages, metadata, resources, selector, value};
use super::{Context, Object, Rules, Selectable, rules};
use apiserver_machinery::field::{BadValue, Error, Path};
use apiserver_machinery::names;
use apiserver_machinery::schema::Schema;
use apiserver_machinery::tree::{Struct, Value};

pub static RULES: Rules =
    Rules { create, update, validate, selectable: &[Selectable { label: "name", value: |claim| claim.name().into() }], ..Rules::PLAIN };

pub(super) const ACCESS_MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

fn create(claim: &mut Struct, context: &Context<'_>) {
    rules::create(claim, context);
    claim.put(context.schema, "status.phase", "Pending");
    data_sources(claim, context.schema);
}

/// dataSource and dataSourceRef say the same, unless the second names another namespace.
fn data_sources(claim: &mut Struct, schema: &Schema) {
    let (one, other) = ("spec.dataSource", "spec.dataSourceRef");
    let fields = ["apiGroup", "kind", "name"];
    let copy = |claim: &mut Struct, from: &str, to: &str| {
        for field in fields {
            if let Some(value) = claim.at(schema, &format!("{from}.{field}")).cloned() {
                claim.put(schema, &format!("{to}.{field}"), value);
            }
        }
    };
    match (claim.at(schema, one).is_some(), claim.at(schema, other).is_some()) {
        (true, false) => copy(claim, one, other),
        (false, true) => {
            let foreign = claim.str_at(schema, "spec.dataSourceRef.namespace").is_some_and(|namespace| !namespace.is_empty());
            let group = claim.str_at(schema, "spec.dataSourceRef.apiGroup").unwrap_or_default();
            let kind = claim.str_at(schema, "spec.dataSourceRef.kind").unwrap_or_default();
            let known = matches!((group, kind), ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot"));
            if !foreign && known {
                copy(claim, other, one);
            }
        }
        _ => {}
    }
    // Across namespaces is behind a gate that is off.
    claim.take(schema, "spec.dataSourceRef.namespace");
    // Only claims and snapshots may be a dataSource.
    let group = claim.str_at(schema, "spec.dataSource.apiGroup").unwrap_or_default();
    let kind = claim.str_at(schema, "spec.dataSource.kind").unwrap_or_default();
    if claim.at(schema, one).is_some() && !matches!((group, kind), ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot")) {
        claim.take(schema, one);
    }
}

fn update(old: &Struct, new: &mut Struct, context: &Context<'_>) {
    rules::update(old, new, context);
    if context.subresource.is_empty() {
        data_sources(new, context.schema);
    }
}

/// The spec of a claim, or of a template that becomes one.
pub fn spec(spec: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    if spec.list("accessModes").is_empty() {
        errors.push(Error::required(&at.child("accessModes"), "at least 1 access mode is required"));
    }
    selector::label_selector(spec, "selector", at, errors);
    access_modes(spec, at, errors);
    let at_storage = at.child("resources");
    let at_storage = at_storage.key("storage");
    match resources::at(spec, "resources.requests.storage") {
        None => errors.push(Error::required(&at_storage, "")),
        Some(size) if size.sign() <= 0 => {
            errors.push(Error::invalid(&at_storage, size.to_string().as_str(), super::validation::POSITIVE));
        }
        Some(_) => {}
    }
    for field in ["storageClassName", "volumeAttributesClassName"] {
        let name = spec.text(field);
        if !name.is_empty() {
            messages(names::dns1123_subdomain(name), name, &at.child(field), errors);
        }
    }
    volume_mode(spec, at, errors);
    for field in ["dataSource", "dataSourceRef"] {
        if let Some(source) = spec.child(field) {
            data_source(source, &at.child(field), errors);
        }
    }
    if let (Some(one), Some(other)) = (spec.child("dataSource"), spec.child("dataSourceRef"))
        && ["apiGroup", "kind", "name"].iter().any(|field| one.text(field) != other.text(field))
    {
        errors.push(Error::invalid(at, BadValue::json("{}"), "must match dataSourceRef"));
    }
}

pub(super) fn access_modes(spec: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    let at = at.child("accessModes");
    let modes: Vec<&str> = spec.texts("accessModes").collect();
    for mode in modes.iter().filter(|mode| !ACCESS_MODES.contains(mode)) {
        errors.push(Error::not_supported(&at, *mode, &ACCESS_MODES));
    }
    let others = modes.iter().any(|mode| ACCESS_MODES.contains(mode) && *mode != "ReadWriteOncePod");
    if modes.contains(&"ReadWriteOncePod") && others {
        errors.push(Error::forbidden(&at, "may not use ReadWriteOncePod with other access modes"));
    }
}

pub(super) fn volume_mode(spec: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    super::validation::one_of(spec, "volumeMode", &["Block", "Filesystem"], at, errors);
}

fn data_source(source: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    for field in ["name", "kind"] {
        super::validation::required(source, field, at, "", errors);
    }
    let group = source.text("apiGroup");
    if group.is_empty() && source.text("kind") != "PersistentVolumeClaim" {
        let detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        errors.push(Error::invalid(at, source.text("kind"), detail));
    }
    if !group.is_empty() {
        messages(names::dns1123_subdomain(group), group, &at.child("apiGroup"), errors);
    }
}

fn validate(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    let at = Path::new("spec");
    if context.subresource == "status" {
        for (name, amount) in new.entries("status.capacity") {
            let size = resources::quantity(amount).value();
            if size < 0 {
                errors.push(Error::invalid(&Path::new("status.capacity").key(name), size, "must be a valid resource quantity"));
            }
        }
        return;
    }
    match new.child("spec") {
        Some(wanted) => spec(wanted, &at, errors),
        None => errors.push(Error::required(&at.child("accessModes"), "at least 1 access mode is required")),
    }
    if let Some(old) = old {
        changed(new, old, &at, errors);
    }
}

/// A claim may be bound to a volume, given a class, and once bound grow or change its attributes; nothing else.
fn changed(new: Object<'_>, old: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
    let schema = new.schema;
    let mut was = old.tree.clone();
    if old.text("spec.volumeName").is_empty() {
        keep(new.tree, &mut was, schema, "spec.volumeName");
    }
    let annotated = old.annotation(BETA_CLASS);
    if annotated != new.annotation(BETA_CLASS) && !(new.annotation(BETA_CLASS).is_none() && new.text_opt("spec.storageClassName") == annotated) {
        let shown = new.annotation(BETA_CLASS).unwrap_or_default();
        let at = Path::new("metadata.annotations");
        errors.push(Error::invalid(&at.key(BETA_CLASS), shown, super::validation::IMMUTABLE));
    }
    let class = new.text_opt("spec.storageClassName");
    if !old.has("spec.storageClassName") && class.is_some() && annotated.is_none_or(|annotated| class == Some(annotated)) {
        keep(new.tree, &mut was, schema, "spec.storageClassName");
    }
    if new.text("status.phase") == "Bound" {
        for path in ["spec.resources.requests.storage", "spec.volumeAttributesClassName"] {
            keep(new.tree, &mut was, schema, path);
        }
    }
    let allowed = Object { schema, tree: &was };
    if allowed.get("spec") != new.get("spec") {
        let detail = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n";
        errors.push(Error::forbidden(at, detail));
    }
    let size = |claim: Object<'_>, path: &str| resources::at(claim, path);
    if let (Some(now), Some(before)) = (size(new, "spec.resources.requests.storage"), size(old, "spec.resources.requests.storage"))
        && now < before
        && size(old, "status.capacity.storage").is_none_or(|held| now <= held)
    {
        let at = at.child("resources.requests.storage");
        errors.push(Error::forbidden(&at, "field can not be less than status.capacity"));
    }
    if new.get("spec.volumeMode") != old.get("spec.volumeMode") {
        let shown = value::shown(new, "spec.volumeMode");
        errors.push(Error::invalid(&Path::new("volumeMode"), shown, super::validation::IMMUTABLE));
    }
    if old.has("status.currentVolumeAttributesClassName") && new.get("spec.volumeAttributesClassName") != old.get("spec.volumeAttributesClassName") {
        let at = at.child("volumeAttributesClassName");
        match new.get("spec.volumeAttributesClassName").and_then(Value::as_str) {
            None => {
                let detail = "update to nil is forbidden when status.currentVolumeAttributesClassName is not nil";
                errors.push(Error::forbidden(&at, detail));
            }
            Some("") => {
                let detail = "update to empty string is forbidden when status.currentVolumeAttributesClassName is not nil";
                errors.push(Error::forbidden(&at, detail));
            }
            Some(_) => {}
        }
    }
}
