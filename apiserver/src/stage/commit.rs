//! The one place that writes: a change that passed every check, with all that it takes along, in one transaction.

use crate::Error;
use crate::allocate;
use crate::api::Api;
use crate::resource::{Object, Resource};
use crate::stage::prepare;
use crate::write::{self, Admitted, Intent, Outcome, Written};
use apiserver_machinery::json;
use apiserver_machinery::schema::Schema;
use apiserver_machinery::tree::{Struct, Value};
use apiserver_machinery::{Str, protobuf};
use apiserver_store::{CommitError, Compare, Draft, Facts, Key, Lease, Op, ProtobufDraft, Txn};
use bytes::BytesMut;
use std::time::Duration;

/// Events are kept this long (upstream's `--event-ttl`).
const EVENT_TTL: Duration = Duration::from_secs(3600);

pub enum Failure {
    /// What the change was based on has changed.
    Raced,
    Error(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Error(error)
    }
}

pub async fn commit(api: &Api, intent: &Intent, Admitted(proposed): Admitted) -> Result<Written, Failure> {
    let resource = &*intent.found.resource;
    let created = proposed.old.is_none();
    let warnings = proposed.warnings;
    let (op, removes) = match proposed.outcome {
        Outcome::Unchanged => {
            let row = proposed.old.ok_or_else(|| Error::Internal("nothing to leave unchanged".into()))?.row;
            return Ok(Written { object: write::Object::Row(row), created: false, removed: false, warnings });
        }
        Outcome::Remove => (Op::Delete { key: proposed.key.clone() }, None),
        Outcome::Put(tree) if !created && prepare::finishes_deletion(intent, &tree) => (Op::Delete { key: proposed.key.clone() }, Some(tree)),
        Outcome::Put(mut tree) if intent.dry_run() => {
            if let Some(old) = &proposed.old {
                tree.put(&resource.storage.shape.schema, "metadata.resourceVersion", old.row.modified.to_string());
            }
            return Ok(Written { object: write::Object::Tree(tree), created, removed: false, warnings });
        }
        Outcome::Put(tree) => {
            let lease = lease(api, resource).await?;
            (put_leased(resource, proposed.key.clone(), tree, lease), None)
        }
    };
    let removed = matches!(op, Op::Delete { .. });
    let compare = match &proposed.old {
        None => Compare::Absent(proposed.key),
        Some(old) => Compare::Modified { key: proposed.key, is: old.row.modified },
    };
    if removed && intent.dry_run() {
        let row = proposed.old.ok_or_else(|| Error::Internal("nothing to remove".into()))?.row;
        return Ok(Written { object: write::Object::Row(row), created: false, removed: true, warnings });
    }
    let mut compares = proposed.extra.compares;
    compares.push(compare);
    let mut ops = vec![op];
    ops.extend(proposed.extra.ops);
    if let Some(old) = proposed.old.as_ref().filter(|_| removed) {
        ops.extend(allocate::release(resource, Object { schema: &resource.storage.shape.schema, tree: &old.tree }));
    }
    let committed = match api.store.commit(Txn::new(compares, ops)).await {
        Ok(committed) => committed,
        Err(CommitError::Conflict { .. }) => return Err(Failure::Raced),
        Err(error) => return Err(Failure::Error(error.into())),
    };
    let row = committed.outcomes.into_iter().next().and_then(|outcome| outcome.row().cloned());
    let row = row.ok_or_else(|| Error::Internal("the transaction did not say what it wrote".into()))?;
    let object = match removes {
        // An update that ended a deletion answers with what it wrote.
        Some(tree) => write::Object::Tree(tree),
        None if removed => write::Object::Gone(row, committed.revision),
        None => write::Object::Row(row),
    };
    Ok(Written { object, created, removed, warnings })
}

/// Events live by a lease.
async fn lease(api: &Api, resource: &Resource) -> Result<Lease, Error> {
    if resource.prefix != "/registry/events/" {
        return Ok(Lease::NONE);
    }
    api.store.share_lease(EVENT_TTL).await.map_err(|error| Error::Unavailable(format!("no lease for an object that expires: {error}").into()))
}

/// The write of an object, in the storage version.
pub fn put(resource: &Resource, key: Key, tree: Struct) -> Op {
    put_leased(resource, key, tree, Lease::NONE)
}

fn put_leased(resource: &Resource, key: Key, mut tree: Struct, lease: Lease) -> Op {
    let schema = &*resource.storage.shape.schema;
    tree.take(schema, "metadata.resourceVersion");
    let facts = facts(resource, &tree);
    let json = json::encode_draft(schema, &tree);
    let protobuf = if resource.read_as_protobuf() { protobuf_draft(schema, &tree) } else { None };
    let gap = u32::try_from(json.gap).unwrap_or(u32::MAX);
    Op::Put { key, value: Draft::Object { json: json.bytes, gap, protobuf, schema: resource.storage.generation }, facts, lease }
}

/// A scalar as a field selector compares it.
fn plain_text(value: Option<&Value>) -> Str {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Int(number)) => Str::from(number.to_string()),
        Some(Value::Bool(truth)) => Str::from(truth.to_string()),
        _ => Str::default(),
    }
}

/// The raw message of a tree without resourceVersion; `None` where the kind has no protobuf form.
pub fn protobuf_draft(schema: &Schema, tree: &Struct) -> Option<ProtobufDraft> {
    let draft = protobuf::encode_draft(schema, tree)?;
    let mut length = BytesMut::new();
    crate::present::varint(draft.length as u64, &mut length);
    let mut bytes = draft.bytes;
    bytes.splice(draft.length_at..draft.length_at, length.iter().copied());
    let offset = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    Some(ProtobufDraft {
        bytes,
        metadata_start: offset(draft.length_at + length.len()),
        metadata_len: offset(draft.length),
        insert_at: offset(draft.gap + length.len()),
    })
}

/// What selectors, garbage collection and deletion need to know of an object.
pub fn facts(resource: &Resource, tree: &Struct) -> Facts {
    let schema = &*resource.storage.shape.schema;
    let text = |path: &str| Str::from(tree.str_at(schema, path).unwrap_or_default());
    let labels = match tree.at(schema, "metadata.labels") {
        Some(Value::Map(map)) => map.iter().map(|(key, value)| (Str::from(key), Str::from(value.as_str().unwrap_or_default()))).collect(),
        _ => Box::default(),
    };
    let object = Object { schema, tree };
    let mut fields = vec![(Str::const_new("metadata.name"), text("metadata.name"))];
    if resource.namespaced {
        fields.push((Str::const_new("metadata.namespace"), text("metadata.namespace")));
    }
    fields.extend(resource.rules.selectable.iter().map(|field| (Str::const_new(field.label), (field.value)(object))));
    fields.extend(resource.selectable_paths.iter().map(|path| (path.clone(), plain_text(object.get(path)))));
    let owner_uids = tree
        .list_at(schema, "metadata.ownerReferences")
        .iter()
        .filter_map(|owner| owner.at(schema, "uid").and_then(Value::as_str).map(Str::from))
        .collect();
    Facts {
        labels,
        fields: fields.into_boxed_slice(),
        namespace: text("metadata.namespace"),
        owner_uids,
        deleting: tree.at(schema, "metadata.deletionTimestamp").is_some(),
    }
}
