//! Manifests of `testdata/stored/` are created as the write path does it, and must become what Kubernetes makes of them.

use super::catalog::Catalog;
use super::{Context, Convert, Resource};
use crate::request::User;
use apiserver_machinery::codec::Report;
use apiserver_machinery::tree::Struct;
use apiserver_machinery::{json, yaml};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const UID: &str = "00000000-0000-0000-0000-000000000000";
const NOW: &str = "2026-01-01T00:00:00Z";

fn manifests() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/stored");
    let mut all: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    all.sort();
    all
}

/// Who recorded the answers.
pub(super) fn admin() -> User {
    let credential = "X509SHA256=50bdca40aa4fb8ac01de9397ff021cce49b8efb5dccc2a97b167cb9aa04b5658";
    User {
        name: "admin".into(),
        groups: vec!["system:masters".into(), "system:authenticated".into()],
        extra: vec![("authentication.kubernetes.io/credential-id".into(), vec![credential.into()])],
        ..User::default()
    }
}

pub(super) fn now() -> jiff::Timestamp {
    NOW.parse().unwrap()
}

/// What becomes of a manifest before it is validated, in the storage version; and which served version the manifest is of.
pub(super) fn created(catalog: &Catalog, manifest: &str) -> Result<(Arc<Resource>, usize, Struct), String> {
    let any = yaml::to_any(manifest.as_bytes(), &mut Report::ignore()).map_err(|error| error.to_string())?;
    let field = |name: &str| any.as_map().and_then(|map| map.get(name)?.as_str()).unwrap_or_default();
    let (group, version) = field("apiVersion").split_once('/').unwrap_or(("", field("apiVersion")));
    let (resource, served) = catalog.kind(group, version, field("kind")).ok_or("no such kind")?;
    let storage = &resource.storage.shape;
    let schema = &*storage.schema;
    let mut tree = yaml::decode(&resource.versions[served].shape, manifest.as_bytes(), &mut Report::ignore()).map_err(|error| error.to_string())?;
    if let Convert::Functions { to_storage, .. } = resource.versions[served].convert {
        tree = to_storage(&tree, storage).map_err(|error| error.to_string())?;
    }
    (resource.rules.defaults)(&mut tree, storage);
    if resource.namespaced {
        tree.put(schema, "metadata.namespace", "default");
    }
    tree.put(schema, "metadata.uid", UID);
    tree.put(schema, "metadata.creationTimestamp", NOW);
    if resource.rules.generation {
        tree.put(schema, "metadata.generation", 1_i64);
    }
    let user = admin();
    let context = Context { user: &user, now: now(), schema, subresource: "", resource };
    (resource.rules.create)(&mut tree, &context);
    Ok((Arc::clone(resource), served, tree))
}

/// What is stored of a manifest, in its own version and without what differs from time to time.
fn stored(catalog: &Catalog, manifest: &str) -> Result<Value, String> {
    let (resource, served, mut tree) = created(catalog, manifest)?;
    let served = &resource.versions[served];
    let mut errors = Vec::new();
    let user = admin();
    let schema = &*resource.storage.shape.schema;
    let context = Context { user: &user, now: now(), schema, subresource: "", resource: &resource };
    (resource.rules.validate)(super::Object { schema, tree: &tree }, None, &context, &mut errors);
    if !errors.is_empty() {
        return Err(apiserver_machinery::field::aggregate(&errors));
    }
    if let Convert::Functions { from_storage, .. } = served.convert {
        tree = from_storage(&tree, &served.shape).map_err(|error| error.to_string())?;
    }
    let schema = &*served.shape.schema;
    for field in ["uid", "creationTimestamp"] {
        tree.take(schema, &format!("metadata.{field}"));
    }
    tree.put(schema, "apiVersion", super::table::api_version(&resource.group, &served.version));
    tree.put(schema, "kind", resource.kind.as_str());
    let mut out = Vec::new();
    json::encode(schema, &tree, &mut out);
    serde_json::from_slice(&out).map_err(|error| error.to_string())
}

/// Where two documents differ.
fn differences(at: &str, ours: &Value, theirs: &Value, out: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
                differences(&format!("{at}.{key}"), &a.get(key).cloned().unwrap_or_default(), &b.get(key).cloned().unwrap_or_default(), out);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                differences(&format!("{at}[{index}]"), a, b, out);
            }
        }
        (a, b) if a == b => {}
        (a, b) => out.push(format!("{at}: ours {a}, theirs {b}")),
    }
}

#[test]
fn manifests_become_what_upstream_makes_of_them() {
    let catalog = Catalog::builtin();
    let mut faults = Vec::new();
    for path in manifests() {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let theirs: Value = serde_json::from_slice(&std::fs::read(path.with_extension("json")).unwrap()).unwrap();
        match stored(&catalog, &std::fs::read_to_string(&path).unwrap()) {
            Ok(ours) => differences(&name, &ours, &theirs, &mut faults),
            Err(error) => faults.push(format!("{name}: {error}")),
        }
    }
    assert!(faults.is_empty(), "{} differences:\n{}", faults.len(), faults.join("\n"));
}
