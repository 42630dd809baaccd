//! From what a client wants to what the object would become: patches and merges, defaults, managedFields, deletion marks.

use crate::api::Api;
use crate::convert;
use crate::media::PatchType;
use crate::options::FieldValidation;
use crate::read;
use crate::resource::{Resource, rules};
use crate::stage::{Extra, decode, delete, owners, prepare};
use crate::write::{Action, Intent, Old, Outcome, Proposed, ScaleChange};
use crate::{Error, scale};
use apiserver_machinery::Str;
use apiserver_machinery::patch;
use apiserver_machinery::schema::Schema;
use apiserver_machinery::tree::{Struct, Value};
use apiserver_store::{Key, Snapshot};
use std::sync::Arc;

pub async fn propose(api: &Arc<Api>, intent: &Intent) -> Result<Proposed, Error> {
    let resource = &intent.found.resource;
    let snapshot = api.store.snapshot();
    if let Action::Create(tree) = &intent.action {
        return create_new(intent, tree.clone(), snapshot);
    }
    let key = Key::from(resource.key(&intent.target.namespace, &intent.target.name));
    let old = match snapshot.get(&key) {
        Some(row) => Some(Old { tree: convert::stored(resource, row)?, row: row.clone() }),
        None => None,
    };
    let mut warnings = Vec::new();
    let mut extra = Extra::default();
    let outcome = match (&intent.action, &old) {
        (Action::Update(tree), None) if resource.rules.create_on_update => create(intent, tree.clone())?,
        (Action::Update(tree), Some(old)) => update(intent, old, tree.clone())?,
        (Action::Patch { kind, body }, Some(old)) => patched(intent, old, *kind, body, &mut warnings)?,
        (Action::Apply(patch), old) if old.is_some() || intent.target.subresource.is_empty() => applied(intent, old.as_ref(), patch)?,
        (Action::Scale(change), Some(old)) => scaled(intent, old, change)?,
        (Action::Bind(binding), Some(old)) => bound(intent, old, binding)?,
        (Action::Delete(options), Some(old)) => delete::delete(resource, old, options, intent.now)?,
        (Action::Evict(options), Some(old)) => delete::evict(api, intent, old, options, &snapshot, &mut extra)?,
        _ => return Err(read::not_found(resource, &intent.target.name)),
    };
    Ok(Proposed { snapshot, key, name: intent.target.name.clone(), old, outcome, warnings, extra })
}

pub fn already_exists(resource: &Resource, name: &str) -> Error {
    Error::AlreadyExists { group: resource.group.clone(), resource: resource.plural.clone(), name: name.into() }
}

fn defaulted(resource: &Resource, tree: &mut Struct) {
    (resource.rules.defaults)(tree, &resource.storage.shape);
}

/// A POST: the name is the client's, or made from its prefix anew at each try.
fn create_new(intent: &Intent, mut tree: Struct, snapshot: Snapshot) -> Result<Proposed, Error> {
    let resource = &intent.found.resource;
    let schema = &intent.found.served().shape.schema;
    let generated = prepare::generate_name(&mut tree, schema);
    let name = Str::from(tree.str_at(schema, "metadata.name").unwrap_or_default());
    let key = Key::from(resource.key(&intent.target.namespace, &name));
    let outcome = create(intent, tree)?;
    if !generated && !name.is_empty() && snapshot.get(&key).is_some() {
        return Err(already_exists(resource, &name));
    }
    Ok(Proposed { snapshot, key, name, old: None, outcome, warnings: Vec::new(), extra: Extra::default() })
}

fn create(intent: &Intent, tree: Struct) -> Result<Outcome, Error> {
    let resource = &intent.found.resource;
    let schema = &intent.found.served().shape.schema;
    if tree.str_at(schema, "metadata.resourceVersion").is_some_and(|version| !version.is_empty()) {
        return match intent.action {
            // A PUT that names a revision of an object that is not there.
            Action::Update(_) => Err(read::not_found(resource, &intent.target.name)),
            _ => Err(Error::Unclassified("resourceVersion should not be set on objects to be created".into())),
        };
    }
    let mut tree = intent.found.to_storage(tree)?;
    defaulted(resource, &mut tree);
    owners::update(intent, None, &mut tree)?;
    Ok(Outcome::Put(tree))
}

fn update(intent: &Intent, old: &Old, tree: Struct) -> Result<Outcome, Error> {
    let tree = intent.found.to_storage(tree)?;
    check_precondition(intent, old, &tree)?;
    finish_update(intent, old, tree)
}

/// Defaults and managedFields of an update or patch.
fn finish_update(intent: &Intent, old: &Old, mut tree: Struct) -> Result<Outcome, Error> {
    defaulted(&intent.found.resource, &mut tree);
    owners::update(intent, Some(&old.tree), &mut tree)?;
    Ok(Outcome::Put(tree))
}

/// The revision and uid that the new object names must be the old one's.
fn check_precondition(intent: &Intent, old: &Old, tree: &Struct) -> Result<(), Error> {
    let resource = &intent.found.resource;
    let schema = &resource.storage.shape.schema;
    match tree.str_at(schema, "metadata.resourceVersion").unwrap_or_default() {
        "" | "0" if !resource.rules.unconditional_update => {
            return Err(crate::status::invalid(
                resource,
                &intent.target.name,
                vec![apiserver_machinery::field::Error::invalid(
                    &apiserver_machinery::field::Path::new("metadata").child("resourceVersion"),
                    0_i64,
                    "must be specified for an update",
                )],
            ));
        }
        "" | "0" => {}
        version => {
            let wanted: u64 = version.parse().map_err(|_| Error::Unclassified(format!("strconv.ParseUint: parsing {version:?}: invalid syntax")))?;
            if wanted != old.row.modified.0 {
                return Err(crate::write::conflict(resource, &intent.target.name));
            }
        }
    }
    let (new_uid, old_uid) = (tree.str_at(schema, "metadata.uid").unwrap_or_default(), old.tree.str_at(schema, "metadata.uid").unwrap_or_default());
    if !new_uid.is_empty() && new_uid != old_uid {
        return Err(Error::Conflict {
            group: resource.group.clone(),
            resource: resource.plural.clone(),
            name: intent.target.name.clone(),
            message: format!(
                "StorageError: invalid object, Code: 4, Key: {}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {new_uid}, UID in object meta: {old_uid}",
                resource.key(&intent.target.namespace, &intent.target.name)
            )
            .into(),
            causes: Vec::new(),
        });
    }
    Ok(())
}

fn patched(intent: &Intent, old: &Old, kind: PatchType, body: &[u8], warnings: &mut Vec<String>) -> Result<Outcome, Error> {
    let found = &intent.found;
    let shape = &found.served().shape;
    let current = found.from_storage(old.tree.clone())?;
    let patched = run_patch(shape, &current, kind, body, intent.options.field_validation).map_err(patch_error)?;
    warnings.extend(patched.warnings);
    let tree = found.to_storage(patched.object)?;
    let schema = &found.resource.storage.shape.schema;
    if tree.str_at(schema, "metadata.name").unwrap_or_default() != intent.target.name {
        let own = tree.str_at(schema, "metadata.name").unwrap_or_default();
        return Err(Error::BadRequest(format!("the name of the object ({own}) does not match the name on the URL ({})", intent.target.name).into()));
    }
    check_precondition(intent, old, &tree)?;
    finish_update(intent, old, tree)
}

fn run_patch(
    shape: &apiserver_machinery::schema::Shape,
    current: &Struct,
    kind: PatchType,
    body: &[u8],
    validation: FieldValidation,
) -> Result<patch::Patched, patch::Error> {
    match kind {
        PatchType::Json => patch::json_patch(shape, current, body, validation),
        PatchType::Strategic => patch::strategic_merge_patch(shape, current, body, validation),
        PatchType::Merge | PatchType::Apply => patch::merge_patch(shape, current, body, validation),
    }
}

fn patch_error(error: patch::Error) -> Error {
    match error {
        patch::Error::BadRequest(message) => Error::BadRequest(message.into()),
        patch::Error::TooLarge(message) => Error::TooLarge(message.into()),
        patch::Error::Unprocessable(_) => Error::Unprocessable,
        patch::Error::Invalid(error) => crate::status::invalid_as("", "", "", vec![error]),
        patch::Error::Internal(message) => Error::Unclassified(message),
    }
}

fn applied(intent: &Intent, old: Option<&Old>, patch: &Value) -> Result<Outcome, Error> {
    let resource = &intent.found.resource;
    let version =
        patch.as_map().and_then(|map| map.get("metadata")).and_then(Value::as_map).and_then(|map| map.get("resourceVersion")).and_then(Value::as_str);
    if let Some(old) = old
        && let Some(version) = version.filter(|version| !version.is_empty())
        && version.parse() != Ok(old.row.modified.0)
    {
        return Err(crate::write::conflict(resource, &intent.target.name));
    }
    let mut tree = owners::apply(intent, old.map(|old| &old.tree), patch)?;
    let schema = &resource.storage.shape.schema;
    if tree.at(schema, "metadata.name").is_none() {
        tree.put(schema, "metadata.name", intent.target.name.clone());
    }
    if resource.namespaced {
        tree.put(schema, "metadata.namespace", intent.target.namespace.clone());
    }
    defaulted(resource, &mut tree);
    Ok(Outcome::Put(tree))
}

fn scaled(intent: &Intent, old: &Old, change: &ScaleChange) -> Result<Outcome, Error> {
    let found = &intent.found;
    let scale = match change {
        ScaleChange::Update(scale) => scale.clone(),
        ScaleChange::Patch { kind, body } => {
            let current = scale::of_tree(found, &old.tree, &old.row)?;
            let shape = decode::builtin_shape("autoscaling", "v1", "Scale")?;
            run_patch(&shape, &current, *kind, body, FieldValidation::Ignore).map_err(patch_error)?.object
        }
    };
    let schema = apiserver_machinery::builtin::schema();
    let version = scale.str_at(schema, "metadata.resourceVersion").unwrap_or_default();
    if !version.is_empty() && version.parse() != Ok(old.row.modified.0) {
        return Err(crate::write::conflict(&found.resource, &intent.target.name));
    }
    let replicas = scale.int_at(schema, "spec.replicas").unwrap_or(0);
    if replicas < 0 {
        let at = apiserver_machinery::field::Path::new("spec");
        let error = apiserver_machinery::field::Error::invalid(&at.child("replicas"), replicas, "must be greater than or equal to 0");
        return Err(crate::status::invalid_as("autoscaling", "Scale", &intent.target.name, vec![error]));
    }
    let mut tree = old.tree.clone();
    scale::set(found, &mut tree, replicas)?;
    finish_update(intent, old, tree)
}

/// `pods/binding`: gives an unassigned Pod its node, once.
fn bound(intent: &Intent, old: &Old, binding: &Struct) -> Result<Outcome, Error> {
    let resource = &intent.found.resource;
    let schema = &resource.storage.shape.schema;
    let bindings = apiserver_machinery::builtin::schema();
    let mut tree = old.tree.clone();
    let fault = |message: String| Error::Conflict {
        group: resource.group.clone(),
        resource: "pods/binding".into(),
        name: intent.target.name.clone(),
        message: message.into(),
        causes: Vec::new(),
    };
    let node = binding.str_at(bindings, "target.name").unwrap_or_default();
    if node.is_empty() {
        let at = apiserver_machinery::field::Path::new("target");
        let error = apiserver_machinery::field::Error::required(&at.child("name"), "");
        return Err(Error::Unclassified(error.to_string()));
    }
    if tree.at(schema, "metadata.deletionTimestamp").is_some() {
        return Err(fault(format!("pod {} is being deleted, cannot be assigned to a host", intent.target.name)));
    }
    let uid = binding.str_at(bindings, "metadata.uid").unwrap_or_default();
    if !uid.is_empty() && Some(uid) != tree.str_at(schema, "metadata.uid") {
        let own = tree.str_at(schema, "metadata.uid").unwrap_or_default();
        return Err(fault(format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {own}")));
    }
    let assigned = tree.str_at(schema, "spec.nodeName").unwrap_or_default();
    if !assigned.is_empty() {
        return Err(fault(format!("pod {} is already assigned to node {assigned:?}", intent.target.name)));
    }
    if !tree.list_at(schema, "spec.schedulingGates").is_empty() {
        return Err(fault(format!("pod {} has non-empty .spec.schedulingGates", intent.target.name)));
    }
    tree.put(schema, "spec.nodeName", node);
    for field in ["annotations", "labels"] {
        if let Some(Value::Map(added)) = binding.at(bindings, &format!("metadata.{field}")) {
            for (key, value) in added.iter() {
                if let Some(map) = rules::map_at(&mut tree, schema, &format!("metadata.{field}")) {
                    map.insert(key, value.clone());
                }
            }
        }
    }
    set_scheduled(&mut tree, schema, intent.now);
    finish_update(intent, old, tree)
}

/// The condition that says that a Pod has its node.
fn set_scheduled(pod: &mut Struct, schema: &Schema, now: jiff::Timestamp) {
    let Some(ty) = schema.named("io.k8s.api.core.v1.PodCondition") else { return };
    let mut condition = Struct::new(ty);
    condition.put(schema, "type", "PodScheduled");
    condition.put(schema, "status", "True");
    condition.put(schema, "lastTransitionTime", crate::meta::time(now));
    if let Some(generation) = pod.int_at(schema, "metadata.generation").filter(|generation| *generation > 0) {
        condition.put(schema, "observedGeneration", generation);
    }
    let mut conditions = pod.list_at(schema, "status.conditions").to_vec();
    conditions.retain(|own| own.at(schema, "type").and_then(Value::as_str) != Some("PodScheduled"));
    conditions.push(condition.into());
    pod.put(schema, "status.conditions", Value::List(conditions));
}
