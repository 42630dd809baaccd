//! OpenAPI: `/openapi/v2`, the index `/openapi/v3`, and one v3 document for each group and version. `kubectl explain`, client-side validation and
//! generators read them. Rendered when asked for, from the schema and the catalog, and kept until the catalog changes.

mod descriptions;
mod paths;
mod schemas;

use crate::discovery::Document;
use crate::nonresource::KUBERNETES_VERSION;
use crate::resource::catalog::Catalog;
use crate::resource::{Resource, Served};
use crate::{media, meta};
use apiserver_machinery::builtin;
use apiserver_machinery::schema::TypeId;
use bytes::Bytes;
use descriptions::Descriptions;
use schemas::Renderer;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Which edition of OpenAPI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    V2,
    V3,
}

impl Dialect {
    fn reference(self, name: &str) -> Value {
        match self {
            Dialect::V2 => json!({ "$ref": format!("#/definitions/{name}") }),
            Dialect::V3 => json!({ "$ref": format!("#/components/schemas/{name}") }),
        }
    }
}

/// The documents of one generation of the catalog, by path, and their hashes.
#[derive(Default)]
pub struct Cache(Mutex<(u64, Documents)>);

type Documents = HashMap<String, (Bytes, String)>;

impl Cache {
    /// The document at a path, in JSON; `None` where there is none.
    pub fn document(&self, catalog: &Catalog, path: &str) -> Option<Document> {
        let (bytes, hash) = self.rendered(catalog, path.trim_end_matches('/'))?;
        Some(Document { bytes, content_type: media::JSON.into(), etag: Some(format!("\"{hash}\"")) })
    }

    fn rendered(&self, catalog: &Catalog, path: &str) -> Option<(Bytes, String)> {
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cached.0 != catalog.generation() {
            *cached = (catalog.generation(), HashMap::new());
        }
        if let Some(document) = cached.1.get(path) {
            return Some(document.clone());
        }
        let document = match path.strip_prefix("/openapi/")? {
            "v2" => v2(catalog),
            "v3" => index(catalog),
            rest => v3(catalog, rest.strip_prefix("v3/")?)?,
        };
        let bytes = Bytes::from(document.to_string().into_bytes());
        let hash = meta::hash_text(&bytes);
        cached.1.insert(path.to_owned(), (bytes.clone(), hash.clone()));
        Some((bytes, hash))
    }
}

fn info() -> Value {
    json!({ "title": "Kubernetes", "version": KUBERNETES_VERSION })
}

/// The groups and versions, each with an address that changes when the document does.
fn index(catalog: &Catalog) -> Value {
    let mut paths = Map::new();
    for (group, version) in group_versions(catalog) {
        let path = if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") };
        // What is served under a group and version decides its document.
        let parts = catalog.resources_of(&group, &version);
        let parts =
            parts.map(|(resource, served)| format!("{}{:?}{:?}{:?}", resource.plural, resource.verbs, resource.subresources, served.open_api));
        let hash = meta::hash_text(parts.collect::<String>().as_bytes());
        paths.insert(path.clone(), json!({ "serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}") }));
    }
    json!({ "paths": paths })
}

fn group_versions(catalog: &Catalog) -> Vec<(String, String)> {
    let mut out = vec![(String::new(), "v1".to_owned())];
    for group in catalog.groups() {
        out.extend(group.versions.iter().map(|version| (group.name.to_string(), version.to_string())));
    }
    out
}

fn v3(catalog: &Catalog, path: &str) -> Option<Value> {
    let (group, version) = match path.split('/').collect::<Vec<_>>().as_slice() {
        ["api", version] => ("", *version),
        ["apis", group, version] => (*group, *version),
        _ => return None,
    };
    if !catalog.serves(group, version) {
        return None;
    }
    let served: Vec<_> = catalog.resources_of(group, version).collect();
    let (paths, schemas) = render(served.into_iter().map(|(resource, served)| (&**resource, served)), Dialect::V3);
    Some(json!({ "openapi": "3.0.0", "info": info(), "paths": paths, "components": { "schemas": schemas } }))
}

fn v2(catalog: &Catalog) -> Value {
    let all = catalog.resources().iter().flat_map(|resource| resource.versions.iter().map(move |served| (&**resource, served)));
    let (paths, definitions) = render(all, Dialect::V2);
    json!({ "swagger": "2.0", "info": info(), "paths": paths, "definitions": definitions })
}

/// Paths and schemas of some resources.
fn render<'a>(resources: impl Iterator<Item = (&'a Resource, &'a Served)>, dialect: Dialect) -> (Map<String, Value>, Map<String, Value>) {
    let descriptions = Descriptions::load();
    let schema = builtin::schema();
    let renderer = Renderer { schema, descriptions: &descriptions, dialect };
    let mut paths = Map::new();
    let mut roots: Vec<TypeId> = Vec::new();
    let mut customs = Map::new();
    let mut kinds: Vec<(String, Value)> = Vec::new();
    for (resource, served) in resources {
        paths::of(resource, served, dialect, &mut paths);
        let name = definition_name(resource, served);
        let gvk = json!({ "group": resource.group, "version": served.version, "kind": resource.kind });
        kinds.push((name.clone(), gvk));
        if resource.custom {
            customs.insert(name.clone(), schemas::custom(served.open_api.as_deref(), dialect));
            let list_gvk = json!({ "group": resource.group, "version": served.version, "kind": resource.list_kind });
            let list_name = format!("{}List", name);
            customs.insert(list_name.clone(), custom_list(&name, dialect));
            kinds.push((list_name, list_gvk));
            roots.extend(["ObjectMeta", "ListMeta"].iter().filter_map(|own| schema.named(&format!("io.k8s.apimachinery.pkg.apis.meta.v1.{own}"))));
            continue;
        }
        roots.push(served.shape.root);
        let others = [(&*resource.list_kind, &*resource.group, &*served.version)].into_iter().chain(
            resource.subresources.iter().filter(|own| !own.kind.is_empty()).map(|own| match (&*own.group, &*own.version) {
                ("", "") => (&*own.kind, &*resource.group, &*served.version),
                (group, version) => (&*own.kind, group, version),
            }),
        );
        for (kind, group, version) in others {
            if let Some(id) = builtin::gvk(group, version, kind) {
                roots.push(id);
                kinds.push((schema.get(id).name.to_string(), json!({ "group": group, "version": version, "kind": kind })));
            }
        }
    }
    roots.extend(["DeleteOptions", "Status"].iter().filter_map(|kind| builtin::gvk("", "v1", kind)));
    let mut definitions = renderer.closure(roots);
    definitions.extend(customs);
    for (name, gvk) in kinds {
        if let Some(definition) = definitions.get_mut(&name) {
            let list = definition.as_object_mut().map(|members| members.entry("x-kubernetes-group-version-kind").or_insert_with(|| json!([])));
            if let Some(Value::Array(list)) = list
                && !list.contains(&gvk)
            {
                list.push(gvk);
            }
        }
    }
    (paths, definitions)
}

fn custom_list(item: &str, dialect: Dialect) -> Value {
    let mut metadata = dialect.reference("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta");
    if dialect == Dialect::V3 {
        metadata = json!({ "allOf": [metadata] });
    }
    json!({
        "type": "object", "required": ["items"],
        "properties": {
            "apiVersion": { "type": "string" }, "kind": { "type": "string" }, "metadata": metadata,
            "items": { "type": "array", "items": dialect.reference(item) },
        },
    })
}

/// `io.k8s.api.apps.v1.Deployment`; of a custom resource the group reversed: `com.example.v1.Foo`.
pub fn definition_name(resource: &Resource, served: &Served) -> String {
    if !resource.custom {
        return served.shape.root().name.to_string();
    }
    let mut parts: Vec<&str> = resource.group.split('.').collect();
    parts.reverse();
    format!("{}.{}.{}", parts.join("."), served.version, resource.kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_described() {
        let document = v3(&Catalog::builtin(), "api/v1").unwrap();
        let pod = &document["components"]["schemas"]["io.k8s.api.core.v1.Pod"];
        assert_eq!(pod["x-kubernetes-group-version-kind"][0]["kind"], "Pod");
        assert!(pod["properties"]["spec"]["description"].is_string());
        let get = &document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["get"];
        assert_eq!(get["x-kubernetes-group-version-kind"]["kind"], "Pod");
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = v2(&Catalog::builtin());
        let definitions = document["definitions"].as_object().unwrap();
        fn walk(value: &Value, seen: &mut Vec<String>) {
            match value {
                Value::Object(members) => {
                    if let Some(Value::String(reference)) = members.get("$ref") {
                        seen.push(reference.clone());
                    }
                    members.values().for_each(|inner| walk(inner, seen));
                }
                Value::Array(items) => items.iter().for_each(|inner| walk(inner, seen)),
                _ => {}
            }
        }
        let mut seen = Vec::new();
        walk(&document, &mut seen);
        assert!(seen.len() > 1000);
        for reference in seen {
            assert!(definitions.contains_key(reference.trim_start_matches("#/definitions/")), "{reference}");
        }
    }
}
