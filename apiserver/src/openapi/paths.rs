//! The paths of OpenAPI: what can be done where, to which kind, with which parameters.

use super::Dialect;
use crate::media;
use crate::request::Verb;
use crate::resource::{Resource, Served, Subresource};
use serde_json::{Map, Value, json};

/// What an operation is called, and which parameters it takes.
struct Operation {
    method: &'static str,
    action: &'static str,
    parameters: &'static [(&'static str, &'static str)],
    body: bool,
}

const WRITE: &[(&str, &str)] = &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];
const PATCH: &[(&str, &str)] = &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string"), ("force", "boolean")];
const DELETE: &[(&str, &str)] =
    &[("dryRun", "string"), ("gracePeriodSeconds", "integer"), ("orphanDependents", "boolean"), ("propagationPolicy", "string")];
const LIST: &[(&str, &str)] = &[
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];

fn operation(verb: Verb) -> Option<Operation> {
    let (method, action, parameters, body) = match verb {
        Verb::Get => ("get", "get", &[][..], false),
        Verb::List => ("get", "list", LIST, false),
        Verb::Create => ("post", "post", WRITE, true),
        Verb::Update => ("put", "put", WRITE, true),
        Verb::Patch => ("patch", "patch", PATCH, true),
        Verb::Delete => ("delete", "delete", DELETE, true),
        Verb::DeleteCollection => ("delete", "deletecollection", LIST, true),
        Verb::Watch | Verb::Method(_) => return None,
    };
    Some(Operation { method, action, parameters, body })
}

/// All paths of a resource in one of its versions.
pub fn of(resource: &Resource, served: &Served, dialect: Dialect, out: &mut Map<String, Value>) {
    let root = if resource.group.is_empty() { format!("/api/{}", served.version) } else { format!("/apis/{}/{}", resource.group, served.version) };
    let scope = if resource.namespaced { "/namespaces/{namespace}" } else { "" };
    let collection = format!("{root}{scope}/{}", resource.plural);
    let own = Kind { group: &resource.group, version: &served.version, kind: &resource.kind };
    let at = |path: &str, verbs: &[Verb], kind: Kind<'_>, out: &mut Map<String, Value>| {
        for verb in verbs {
            let Some(operation) = operation(*verb) else { continue };
            let item = out.entry(path.to_owned()).or_insert_with(|| json!({ "parameters": path_parameters(path, dialect) }));
            item[operation.method] = render(&operation, path, kind, resource, served, dialect);
        }
    };
    let on_collection: Vec<Verb> =
        resource.verbs.iter().copied().filter(|verb| matches!(verb, Verb::List | Verb::Create | Verb::DeleteCollection)).collect();
    at(&collection, &on_collection, own, out);
    if resource.namespaced && resource.verbs.contains(&Verb::List) {
        at(&format!("{root}/{}", resource.plural), &[Verb::List], own, out);
    }
    let on_object: Vec<Verb> =
        resource.verbs.iter().copied().filter(|verb| matches!(verb, Verb::Get | Verb::Update | Verb::Patch | Verb::Delete)).collect();
    at(&format!("{collection}/{{name}}"), &on_object, own, out);
    for subresource in &resource.subresources {
        at(&format!("{collection}/{{name}}/{}", subresource.name), &subresource.verbs, Kind::of(resource, served, subresource), out);
    }
}

#[derive(Clone, Copy)]
struct Kind<'a> {
    group: &'a str,
    version: &'a str,
    kind: &'a str,
}

impl<'a> Kind<'a> {
    fn of(resource: &'a Resource, served: &'a Served, subresource: &'a Subresource) -> Self {
        let (group, version) = match (&*subresource.group, &*subresource.version) {
            ("", "") => (&*resource.group, &*served.version),
            (group, version) => (group, version),
        };
        let kind = if subresource.kind.is_empty() { &*resource.kind } else { &*subresource.kind };
        Self { group, version, kind }
    }
}

fn path_parameters(path: &str, dialect: Dialect) -> Vec<Value> {
    let mut out = Vec::new();
    for (name, text) in [("name", "name of the object"), ("namespace", "object name and auth scope, such as for teams and projects")] {
        if path.contains(&format!("{{{name}}}")) {
            out.push(parameter(name, "path", "string", Some(text), dialect));
        }
    }
    out.push(parameter("pretty", "query", "string", Some("If 'true', then the output is pretty printed."), dialect));
    out
}

fn parameter(name: &str, place: &str, ty: &str, text: Option<&str>, dialect: Dialect) -> Value {
    let mut out = json!({ "name": name, "in": place, "uniqueItems": true });
    if let Some(text) = text {
        out["description"] = json!(text);
    }
    if place == "path" {
        out["required"] = json!(true);
    }
    match dialect {
        Dialect::V2 => out["type"] = json!(ty),
        Dialect::V3 => {
            out["schema"] = json!({ "type": ty, "uniqueItems": true });
            if let Value::Object(members) = &mut out {
                members.remove("uniqueItems");
            }
        }
    }
    out
}

fn render(operation: &Operation, path: &str, kind: Kind<'_>, resource: &Resource, served: &Served, dialect: Dialect) -> Value {
    let id = format!("{}{}{}", operation.action, kind.kind, path.replace(['/', '{', '}', '.', '-'], "_"));
    let mut out = json!({
        "operationId": id,
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": { "group": kind.group, "version": kind.version, "kind": kind.kind },
        "responses": { "200": { "description": "OK" }, "401": { "description": "Unauthorized" } },
    });
    let mut parameters: Vec<Value> = operation.parameters.iter().map(|(name, ty)| parameter(name, "query", ty, None, dialect)).collect();
    // Only what the path's own resource is refers to a definition: subresources of other kinds are described there.
    let own = kind.kind == resource.kind && kind.version == served.version;
    let schema = if own { dialect.reference(&super::definition_name(resource, served)) } else { json!({ "type": "object" }) };
    let types = if operation.method == "patch" {
        json!([
            "application/apply-patch+yaml",
            "application/json-patch+json",
            "application/merge-patch+json",
            "application/strategic-merge-patch+json"
        ])
    } else {
        json!([media::JSON, media::YAML, media::PROTOBUF])
    };
    match dialect {
        Dialect::V2 => {
            out["consumes"] = if operation.method == "patch" { types } else { json!(["*/*"]) };
            out["produces"] = json!([media::JSON, media::YAML, media::PROTOBUF]);
            out["schemes"] = json!(["https"]);
            if operation.body && operation.method != "delete" {
                let schema = if operation.method == "patch" { json!({ "type": "object" }) } else { schema.clone() };
                parameters.push(json!({ "name": "body", "in": "body", "required": true, "schema": schema }));
            }
            if operation.method != "delete" && operation.action != "list" {
                out["responses"]["200"]["schema"] = schema;
            }
        }
        Dialect::V3 => {
            if operation.body && operation.method != "delete" {
                let schema = if operation.method == "patch" { json!({ "type": "object" }) } else { schema.clone() };
                let content: Map<String, Value> = types
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(|ty| ty.as_str())
                    .map(|ty| (ty.to_owned(), json!({ "schema": schema.clone() })))
                    .collect();
                out["requestBody"] = json!({ "content": content, "required": true });
            }
            if operation.method != "delete" && operation.action != "list" {
                out["responses"]["200"]["content"] = json!({ media::JSON: { "schema": schema } });
            }
        }
    }
    if !parameters.is_empty() {
        out["parameters"] = json!(parameters);
    }
    out
}
