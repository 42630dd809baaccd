//! CustomResourceDefinitions, from their creation to the last of their objects.

use super::Server;
use serde_json::{Value, json};
use std::time::Duration;

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const FOOS: &str = "/apis/example.org/v1/namespaces/default/foos";

fn definition() -> Value {
    json!({
        "metadata": { "name": "foos.example.org" },
        "spec": {
            "group": "example.org", "scope": "Namespaced",
            "names": { "plural": "foos", "singular": "foo", "kind": "Foo", "listKind": "FooList", "shortNames": ["fo"] },
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": { "status": {} },
                "additionalPrinterColumns": [{ "name": "Size", "type": "integer", "jsonPath": ".spec.size" }],
                "schema": { "openAPIV3Schema": { "type": "object", "properties": {
                    "spec": { "type": "object", "properties": {
                        "size": { "type": "integer", "default": 3 }, "color": { "type": "string", "enum": ["red", "blue"] } } },
                    "status": { "type": "object", "properties": { "ready": { "type": "boolean" } } } } } }
            }],
        },
    })
}

/// Asks until the answer has this code.
async fn until(server: &Server, path: &str, code: u16) -> Value {
    for _ in 0..200 {
        let reply = server.get(path).await;
        if reply.code == code {
            return reply.json();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{path} never answered {code}");
}

async fn with_foos() -> Server {
    let server = Server::new().await;
    server.post(DEFINITIONS, &definition()).await.expect(201);
    until(&server, FOOS, 200).await;
    server
}

#[tokio::test]
async fn a_definition_is_established_and_its_objects_are_served() {
    let server = with_foos().await;
    let stored = server.get(&format!("{DEFINITIONS}/foos.example.org")).await.expect(200);
    let conditions = stored["status"]["conditions"].as_array().unwrap();
    let is = |ty: &str| conditions.iter().any(|own| own["type"] == ty && own["status"] == "True");
    assert!(is("NamesAccepted") && is("Established"), "{conditions:?}");
    assert_eq!(stored["status"]["storedVersions"], json!(["v1"]));
    let discovery = server.get("/apis/example.org/v1").await.expect(200);
    assert_eq!(discovery["resources"][0]["name"], "foos");
    let created = server
        .post(FOOS, &json!({ "apiVersion": "example.org/v1", "kind": "Foo", "metadata": { "name": "a" }, "spec": { "color": "red", "junk": 1 } }))
        .await
        .expect(201);
    assert_eq!(created["spec"], json!({ "color": "red", "size": 3 }));
    assert_eq!(created["metadata"]["generation"], 1);
    let table = server.send("GET", FOOS, &[("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")], b"").await.expect(200);
    assert_eq!(table["rows"][0]["cells"], json!(["a", 3]));
}

#[tokio::test]
async fn objects_are_held_to_the_schema() {
    let server = with_foos().await;
    let foo = |spec: Value| json!({ "apiVersion": "example.org/v1", "kind": "Foo", "metadata": { "name": "a" }, "spec": spec });
    let refused = server.post(FOOS, &foo(json!({ "color": "green" }))).await.expect(422);
    assert_eq!(refused["message"], "Foo.example.org \"a\" is invalid: spec.color: Unsupported value: \"green\": supported values: \"red\", \"blue\"");
    let strict = server.post(&format!("{FOOS}?fieldValidation=Strict"), &foo(json!({ "junk": 1 }))).await.expect(400);
    assert!(strict["message"].as_str().unwrap().contains("unknown field \"spec.junk\""), "{strict}");
    server.post(FOOS, &foo(json!({}))).await.expect(201);
    // Status has an endpoint of its own.
    let patched = server.merge(&format!("{FOOS}/a"), &json!({ "status": { "ready": true } })).await.expect(200);
    assert!(patched.get("status").is_none());
    let patched = server.merge(&format!("{FOOS}/a/status"), &json!({ "status": { "ready": true } })).await.expect(200);
    assert_eq!(patched["status"]["ready"], true);
}

#[tokio::test]
async fn a_definition_takes_its_objects_along() {
    let server = with_foos().await;
    let foo = json!({ "apiVersion": "example.org/v1", "kind": "Foo", "metadata": { "name": "a" } });
    server.post(FOOS, &foo).await.expect(201);
    server.delete(&format!("{DEFINITIONS}/foos.example.org")).await.expect(200);
    until(&server, &format!("{DEFINITIONS}/foos.example.org"), 404).await;
    until(&server, FOOS, 404).await;
    assert!(server.api.store.snapshot().range(&apiserver_store::Range::prefix("/registry/example.org/")).next().is_none());
}
