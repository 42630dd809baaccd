//! Discovery: which groups, versions and resources there are. The documents of old (`/api`, `/apis`, `/apis/GROUP`, `/apis/GROUP/VERSION`) and the
//! aggregated ones (`apidiscovery.k8s.io`) that say all at once. Pure functions of a [`Catalog`], encoded once for each of its generations.

use crate::request::Verb;
use crate::resource::catalog::{Catalog, Group};
use crate::resource::{Resource, Served, Subresource};
use crate::stage::decode::builtin_shape;
use crate::{media, meta};
use apiserver_machinery::codec::Report;
use apiserver_machinery::{json, protobuf};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// An answer that depends on the catalog alone.
#[derive(Clone)]
pub struct Document {
    pub bytes: Bytes,
    pub content_type: String,
    pub etag: Option<String>,
}

/// The documents of one generation of the catalog.
#[derive(Default)]
pub struct Cache(Mutex<(u64, Documents)>);

type Documents = HashMap<(String, Form), Document>;

/// Paths that one generation keeps encoded: every group and version, in every form, and some room.
const DOCUMENTS_MAX: usize = 1_024;
/// Bytes of the hash that tells storage versions apart.
const STORAGE_VERSION_HASH_BYTES: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Form {
    Json,
    Protobuf,
    /// The aggregated document of this version of apidiscovery.k8s.io.
    Aggregated(&'static str),
}

impl Cache {
    /// The document at a path, in the form that the Accept header prefers; `None` where the path is none of discovery's.
    pub fn document(&self, catalog: &Catalog, path: &str, accept: &str) -> Option<Document> {
        let path = path.trim_end_matches('/');
        let form = form(accept, matches!(path, "/api" | "/apis"));
        let key = (path.to_owned(), form);
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cached.0 != catalog.generation() || cached.1.len() >= DOCUMENTS_MAX {
            *cached = (catalog.generation(), HashMap::new());
        }
        if let Some(document) = cached.1.get(&key) {
            return Some(document.clone());
        }
        let document = encode(path, form, render(catalog, path, form)?);
        cached.1.insert(key, document.clone());
        Some(document)
    }
}

/// The first clause of an Accept header that can be served.
fn form(accept: &str, aggregates: bool) -> Form {
    for clause in accept.split(',') {
        let mut parts = clause.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default();
        let parameters: HashMap<&str, &str> = parts.filter_map(|part| part.split_once('=')).collect();
        let aggregated = parameters.get("as") == Some(&"APIGroupDiscoveryList") && parameters.get("g") == Some(&"apidiscovery.k8s.io");
        match (media_type, parameters.contains_key("as")) {
            (media::JSON, true) if aggregated && aggregates => match parameters.get("v").copied() {
                Some("v2") => return Form::Aggregated("v2"),
                Some("v2beta1") => return Form::Aggregated("v2beta1"),
                _ => {}
            },
            (media::JSON | "*/*" | "application/*", false) => return Form::Json,
            (media::PROTOBUF, false) => return Form::Protobuf,
            _ => {}
        }
    }
    Form::Json
}

fn render(catalog: &Catalog, path: &str, form: Form) -> Option<Value> {
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match (parts.as_slice(), form) {
        (["api"], Form::Aggregated(version)) => Some(aggregated(catalog, version, &[core()])),
        (["apis"], Form::Aggregated(version)) => Some(aggregated(catalog, version, catalog.groups())),
        (["api"], _) => Some(json!({ "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [] })),
        (["apis"], _) => {
            let groups: Vec<Value> = catalog.groups().iter().map(group).collect();
            Some(json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups }))
        }
        (["api", version], _) => resources(catalog, "", version),
        (["apis", name], _) => {
            let mut document = group(catalog.group(name)?);
            document["kind"] = json!("APIGroup");
            document["apiVersion"] = json!("v1");
            Some(document)
        }
        (["apis", group, version], _) => resources(catalog, group, version),
        _ if path.is_empty() => Some(json!({ "paths": paths(catalog) })),
        _ => None,
    }
}

/// The core group, as aggregated discovery shows it.
fn core() -> Group {
    Group { name: "".into(), versions: vec!["v1".into()], priority: 0 }
}

fn paths(catalog: &Catalog) -> Vec<String> {
    let mut paths = vec!["/api".to_owned(), "/api/v1".into(), "/apis".into()];
    for group in catalog.groups() {
        paths.push(format!("/apis/{}", group.name));
        paths.extend(group.versions.iter().map(|version| format!("/apis/{}/{version}", group.name)));
    }
    paths.extend(["/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/readyz", "/version"].map(str::to_owned));
    paths
}

fn group(group: &Group) -> Value {
    let version = |version: &str| json!({ "groupVersion": format!("{}/{version}", group.name), "version": version });
    let versions: Vec<Value> = group.versions.iter().map(|own| version(own)).collect();
    json!({ "name": group.name, "versions": versions, "preferredVersion": versions.first() })
}

fn verbs(verbs: &[Verb]) -> Vec<&'static str> {
    let mut names: Vec<&str> = verbs.iter().map(|verb| verb.as_str()).collect();
    names.sort_unstable();
    names
}

/// As Go's encoder writes them: empty lists and texts are left out.
fn put_unless_empty(object: &mut Value, name: &str, value: Value) {
    let empty = match &value {
        Value::Array(items) => items.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    };
    if !empty {
        object[name] = value;
    }
}

fn resources(catalog: &Catalog, group: &str, version: &str) -> Option<Value> {
    if !catalog.serves(group, version) {
        return None;
    }
    let mut entries: Vec<Value> = Vec::new();
    let mut served: Vec<_> = catalog.resources_of(group, version).collect();
    served.sort_by(|a, b| a.0.plural.cmp(&b.0.plural));
    for (resource, _) in served {
        entries.push(entry(resource));
        let mut subresources: Vec<&Subresource> = resource.subresources.iter().collect();
        subresources.sort_by(|a, b| a.name.cmp(&b.name));
        entries.extend(subresources.into_iter().map(|subresource| subentry(resource, subresource)));
    }
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let mut document = json!({ "kind": "APIResourceList", "groupVersion": group_version, "resources": entries });
    if !group.is_empty() {
        document["apiVersion"] = json!("v1");
    }
    Some(document)
}

fn entry(resource: &Resource) -> Value {
    let mut entry = json!({
        "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced, "kind": resource.kind,
        "verbs": verbs(&resource.verbs),
    });
    put_unless_empty(&mut entry, "shortNames", json!(resource.short_names));
    put_unless_empty(&mut entry, "categories", json!(resource.categories));
    // What can be watched is stored.
    if resource.verbs.contains(&Verb::Watch) {
        entry["storageVersionHash"] = json!(storage_version_hash(resource));
    }
    entry
}

fn subentry(resource: &Resource, subresource: &Subresource) -> Value {
    let mut entry = json!({
        "name": format!("{}/{}", resource.plural, subresource.name), "singularName": "", "namespaced": resource.namespaced,
        "kind": kind(resource, subresource), "verbs": verbs(&subresource.verbs),
    });
    put_unless_empty(&mut entry, "group", json!(subresource.group));
    put_unless_empty(&mut entry, "version", json!(subresource.version));
    entry
}

fn kind<'a>(resource: &'a Resource, subresource: &'a Subresource) -> &'a str {
    if subresource.kind.is_empty() { &resource.kind } else { &subresource.kind }
}

fn storage_version_hash(resource: &Resource) -> String {
    let (group, version) = resource.storage.api_version.split_once('/').unwrap_or(("", &resource.storage.api_version));
    let digest = Sha256::digest(format!("{group}/{version}/{}", resource.storage.kind));
    BASE64_STANDARD.encode(&digest[..STORAGE_VERSION_HASH_BYTES])
}

fn aggregated(catalog: &Catalog, discovery_version: &str, groups: &[Group]) -> Value {
    let items: Vec<Value> = groups
        .iter()
        .map(|group| {
            let versions: Vec<Value> = group
                .versions
                .iter()
                .map(|version| {
                    let resources: Vec<Value> =
                        catalog.resources_of(&group.name, version).map(|(resource, served)| aggregated_entry(resource, served)).collect();
                    json!({ "version": version, "resources": resources, "freshness": "Current" })
                })
                .collect();
            let mut metadata = json!({ "creationTimestamp": null });
            put_unless_empty(&mut metadata, "name", json!(group.name));
            json!({ "metadata": metadata, "versions": versions })
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{discovery_version}"), "metadata": {}, "items": items,
    })
}

fn aggregated_entry(resource: &Resource, served: &Served) -> Value {
    // Of built-in kinds upstream leaves out the group and version that are those of the list; clients fill them in.
    let (own_group, own_version) = if resource.custom { (&*resource.group, &*served.version) } else { ("", "") };
    let own = json!({ "group": own_group, "version": own_version, "kind": resource.kind });
    let subresources: Vec<Value> = resource
        .subresources
        .iter()
        .map(|subresource| {
            let (group, version) = match (&*subresource.group, &*subresource.version) {
                ("", "") => (own_group, own_version),
                (group, version) => (group, version),
            };
            json!({
                "subresource": subresource.name,
                "responseKind": { "group": group, "version": version, "kind": kind(resource, subresource) },
                "verbs": verbs(&subresource.verbs),
            })
        })
        .collect();
    let mut entry = json!({
        "resource": resource.plural, "responseKind": own, "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular, "verbs": verbs(&resource.verbs),
    });
    put_unless_empty(&mut entry, "shortNames", json!(resource.short_names));
    put_unless_empty(&mut entry, "categories", json!(resource.categories));
    put_unless_empty(&mut entry, "subresources", json!(subresources));
    entry
}

fn encode(path: &str, form: Form, document: Value) -> Document {
    let text = document.to_string().into_bytes();
    match form {
        Form::Aggregated(version) => {
            let etag = meta::hash_text(&text);
            let content_type = format!("{};g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList", media::JSON);
            Document { bytes: text.into(), content_type, etag: Some(format!("\"{etag}\"")) }
        }
        Form::Protobuf => match as_protobuf(&document, &text) {
            Some(bytes) => Document { bytes: bytes.into(), content_type: media::PROTOBUF.into(), etag: None },
            None => {
                tracing::debug!(path, "discovery has no protobuf form");
                Document { bytes: text.into(), content_type: media::JSON.into(), etag: None }
            }
        },
        Form::Json => Document { bytes: text.into(), content_type: media::JSON.into(), etag: None },
    }
}

fn as_protobuf(document: &Value, text: &[u8]) -> Option<Vec<u8>> {
    let kind = document["kind"].as_str()?;
    let shape = builtin_shape("", "v1", kind).ok()?;
    let tree = json::decode(&shape, text, &mut Report::ignore()).ok()?;
    let (mut raw, mut out) = (Vec::new(), Vec::new());
    protobuf::encode(&shape.schema, &tree, &mut raw);
    protobuf::envelope::write("v1", kind, &raw, &mut out);
    Some(out)
}

#[cfg(test)]
mod recorded;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(accept: &str, expect: Form) {
        assert_eq!(form(accept, true), expect, "{accept}");
    }

    #[test]
    fn the_first_form_that_can_be_served_wins() {
        let aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        check(&format!("{aggregated},application/json"), Form::Aggregated("v2"));
        check(&aggregated.replace("v=v2", "v=v2beta1"), Form::Aggregated("v2beta1"));
        check(&format!("{},application/json", aggregated.replace("v=v2", "v=v9")), Form::Json);
        check("application/vnd.kubernetes.protobuf,application/json", Form::Protobuf);
        check("", Form::Json);
    }

    #[test]
    fn every_group_and_version_has_its_document() {
        let catalog = Catalog::builtin();
        let cache = Cache::default();
        for group in catalog.groups() {
            for version in &group.versions {
                let document = cache.document(&catalog, &format!("/apis/{}/{version}", group.name), "").expect("it is served");
                let document: Value = serde_json::from_slice(&document.bytes).unwrap();
                assert!(!document["resources"].as_array().unwrap().is_empty(), "{} {version}", group.name);
            }
        }
        assert!(cache.document(&catalog, "/apis/nobody", "").is_none());
    }

    #[test]
    fn deployments_are_found_with_their_subresources() {
        let catalog = Catalog::builtin();
        let document = render(&catalog, "/apis/apps/v1", Form::Json).unwrap();
        let names: Vec<&str> = document["resources"].as_array().unwrap().iter().filter_map(|entry| entry["name"].as_str()).collect();
        assert!(names.contains(&"deployments/scale") && names.contains(&"deployments/status"), "{names:?}");
    }
}
