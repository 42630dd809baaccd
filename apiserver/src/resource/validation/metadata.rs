//! ObjectMeta: names by kind, labels, annotations, owners, finalizers, and what never changes.

use super::{Errors, IMMUTABLE, NOT_NEGATIVE, messages, value};
use crate::resource::{Context, Object, Resource};
use apiserver_machinery::field::{BadValue, Error, Path};
use apiserver_machinery::names::{self, NameRule};
use apiserver_machinery::{labels, text};

/// All annotations of an object together, keys and values.
const ANNOTATIONS_BYTES_MAX: usize = 256 << 10;

/// The metadata of a whole object.
pub fn validate(object: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    let at = Path::new("metadata");
    match old {
        None => {
            let meta = object.child("metadata").unwrap_or(object);
            create(meta, context.resource.namespaced, name_rule(context.resource), &at, errors);
        }
        Some(old) => {
            let (Some(new), Some(old)) = (object.child("metadata"), old.child("metadata")) else { return };
            update(new, old, &at, errors);
        }
    }
    if !context.resource.custom
        && let Some(meta) = object.child("metadata")
    {
        let at = at.child("finalizers");
        for (index, name) in meta.texts("finalizers").enumerate() {
            if !name.contains('/') && !matches!(name, "kubernetes" | "orphan" | "foregroundDeletion") {
                errors.push(Error::invalid(&at.index(index), name, "name is neither a standard finalizer name nor is it fully qualified"));
            }
        }
    }
}

/// The syntax of a kind's names.
pub fn name_rule(resource: &Resource) -> NameRule {
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "namespaces") => NameRule::Dns1123Label,
        // Roles and bindings may be named after users and paths of an organisation: `system:node`.
        ("rbac.authorization.k8s.io", _) => NameRule::PathSegment,
        // Checked by the kind's own rules.
        ("certificates.k8s.io", "clustertrustbundles") | ("networking.k8s.io", "ipaddresses") | ("apiregistration.k8s.io", "apiservices") => {
            NameRule::PathSegment
        }
        // Relaxed Service names are labels that may begin with a digit.
        ("", "services") => NameRule::Dns1123Label,
        _ => NameRule::Dns1123Subdomain,
    }
}

/// On a create. `meta` is the ObjectMeta itself.
pub fn create(meta: Object<'_>, namespaced: bool, rule: NameRule, at: &Path<'_>, errors: &mut Errors) {
    let prefix = meta.text("generateName");
    if !prefix.is_empty() {
        messages(rule.prefix(prefix), prefix, &at.child("generateName"), errors);
    }
    let name = meta.text("name");
    if name.is_empty() {
        errors.push(Error::required(&at.child("name"), "name or generateName is required"));
    } else {
        messages(rule.name(name), name, &at.child("name"), errors);
    }
    let namespace = meta.text("namespace");
    match (namespaced, namespace.is_empty()) {
        (true, true) => errors.push(Error::required(&at.child("namespace"), "")),
        (true, false) => messages(names::dns1123_label(namespace), namespace, &at.child("namespace"), errors),
        (false, false) => errors.push(Error::forbidden(&at.child("namespace"), "not allowed on this type")),
        (false, true) => {}
    }
    if let Some(generation) = meta.int("generation")
        && generation < 0
    {
        errors.push(Error::invalid(&at.child("generation"), generation, NOT_NEGATIVE));
    }
    common(meta, at, errors);
    finalizers(meta, at, errors);
}

/// On an update. What the server decides has been put back before, so that only a wrong value of the client's own is left to refuse.
pub fn update(new: Object<'_>, old: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    if old.has("deletionTimestamp") {
        let mut added: Vec<&str> = new.texts("finalizers").filter(|name| !old.texts("finalizers").any(|own| own == *name)).collect();
        added.sort_unstable();
        added.dedup();
        if !added.is_empty() {
            let quoted: Vec<_> = added.iter().map(|name| text::quote(name)).collect();
            errors.push(Error::forbidden(
                &at.child("finalizers"),
                format!("no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}", quoted.join(", ")),
            ));
        }
    }
    if new.number("generation") < old.number("generation") {
        errors.push(Error::invalid(&at.child("generation"), new.number("generation"), "must not be decremented"));
    }
    for field in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        if new.get(field) != old.get(field) {
            errors.push(Error::invalid(&at.child(field), value::shown(new, field), IMMUTABLE));
        }
    }
    common(new, at, errors);
}

fn common(meta: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    errors.extend(labels::validate(meta.pairs("labels"), &at.child("labels")));
    annotations(meta, at, errors);
    owners(meta, &at.child("ownerReferences"), errors);
}

/// Also of the annotations of a Pod template.
pub fn annotations(meta: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    let at = at.child("annotations");
    let mut bytes = 0;
    for (key, value) in meta.pairs("annotations") {
        bytes += key.len() + value.len();
        messages(names::qualified_name(&key.to_lowercase()), key, &at, errors);
    }
    if bytes > ANNOTATIONS_BYTES_MAX {
        errors.push(Error::too_long(&at, ANNOTATIONS_BYTES_MAX));
    }
}

fn owners(meta: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    let mut controller: Option<String> = None;
    for (index, owner) in meta.items("ownerReferences").enumerate() {
        let at_owner = at.index(index);
        let api_version = owner.text("apiVersion");
        let well_formed = match api_version.split_once('/') {
            Some((group, version)) => !group.is_empty() && !version.is_empty() && !version.contains('/'),
            None => true,
        };
        if api_version.is_empty() {
            errors.push(Error::required(&at_owner.child("apiVersion"), "must not be empty"));
        } else if !well_formed {
            errors.push(Error::invalid(&at_owner.child("apiVersion"), api_version, "must be <group>/<version> or <version>"));
        }
        for field in ["kind", "name", "uid"] {
            super::required(owner, field, &at_owner, "must not be empty", errors);
        }
        if api_version == "v1" && owner.text("kind") == "Event" {
            errors.push(Error::invalid(&at_owner, value_of(owner), "/v1, Kind=Event is disallowed from being an owner"));
        }
        if owner.flag("controller") {
            let this = format!("{}/{}", owner.text("kind"), owner.text("name"));
            match &controller {
                Some(first) => errors.push(Error::invalid(
                    at,
                    value::shown(meta, "ownerReferences"),
                    format!("Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"),
                )),
                None => controller = Some(this),
            }
        }
    }
}

fn value_of(object: Object<'_>) -> BadValue {
    value::of(object, &object.tree.clone().into())
}

fn finalizers(meta: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    let at = at.child("finalizers");
    for name in meta.texts("finalizers") {
        messages(names::qualified_name(name), name, &at, errors);
    }
    let has = |wanted: &str| meta.texts("finalizers").any(|name| name == wanted);
    if has("orphan") && has("foregroundDeletion") {
        errors.push(Error::invalid(&at, value::shown(meta, "finalizers"), "finalizer orphan and foregroundDeletion cannot be both set"));
    }
}
