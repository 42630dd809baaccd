//! The life of single objects.

use super::Server;
use crate::local::Local;
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";

async fn pod(server: &Server, name: &str) -> Value {
    let account = json!({ "metadata": { "name": "default" } });
    server.post("/api/v1/namespaces/default/serviceaccounts", &account).await;
    let pod = json!({ "metadata": { "name": name }, "spec": { "containers": [{ "name": "c", "image": "i" }] } });
    server.post(PODS, &pod).await.expect(201)
}

fn revision(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn an_object_is_created_read_changed_and_deleted() {
    let server = Server::new().await;
    let created = server.post(MAPS, &json!({ "metadata": { "name": "a" }, "data": { "x": "1" } })).await.expect(201);
    assert_eq!(created["kind"], "ConfigMap");
    assert_eq!(server.get(&format!("{MAPS}/a")).await.expect(200), created);
    let mut changed = created.clone();
    changed["data"]["x"] = json!("2");
    let updated = server.put(&format!("{MAPS}/a"), &changed).await.expect(200);
    assert!(revision(&updated) > revision(&created));
    assert_eq!(updated["metadata"]["uid"], created["metadata"]["uid"]);
    let gone = server.delete(&format!("{MAPS}/a")).await.expect(200);
    assert_eq!((&gone["status"], &gone["details"]["uid"]), (&json!("Success"), &created["metadata"]["uid"]));
    assert_eq!(server.get(&format!("{MAPS}/a")).await.code, 404);
}

#[tokio::test]
async fn a_write_that_changes_nothing_keeps_the_revision() {
    let server = Server::new().await;
    let created = server.post(MAPS, &json!({ "metadata": { "name": "a" }, "data": { "x": "1" } })).await.expect(201);
    let again = server.put(&format!("{MAPS}/a"), &created).await.expect(200);
    assert_eq!(again["metadata"]["resourceVersion"], created["metadata"]["resourceVersion"]);
    let patched = server.merge(&format!("{MAPS}/a"), &json!({ "data": { "x": "1" } })).await.expect(200);
    assert_eq!(patched["metadata"]["resourceVersion"], created["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn a_generated_name_begins_with_its_prefix() {
    let server = Server::new().await;
    let first = server.post(MAPS, &json!({ "metadata": { "generateName": "map-" } })).await.expect(201);
    let second = server.post(MAPS, &json!({ "metadata": { "generateName": "map-" } })).await.expect(201);
    let name = first["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("map-") && name.len() == "map-".len() + 5, "{name}");
    assert_ne!(first["metadata"]["name"], second["metadata"]["name"]);
}

#[tokio::test]
async fn a_dry_run_stores_nothing() {
    let server = Server::new().await;
    let seen = server.post(&format!("{MAPS}?dryRun=All"), &json!({ "metadata": { "name": "a" } })).await.expect(201);
    assert!(seen["metadata"]["uid"].is_string());
    assert_eq!(server.get(&format!("{MAPS}/a")).await.code, 404);
}

#[tokio::test]
async fn a_finalizer_keeps_a_deleted_object_until_it_is_removed() {
    let server = Server::new().await;
    server.post(MAPS, &json!({ "metadata": { "name": "a", "finalizers": ["example.org/hold"] } })).await.expect(201);
    server.delete(&format!("{MAPS}/a")).await.expect(200);
    let held = server.get(&format!("{MAPS}/a")).await.expect(200);
    assert!(held["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(held["metadata"]["deletionGracePeriodSeconds"], 0);
    server.merge(&format!("{MAPS}/a"), &json!({ "metadata": { "finalizers": null } })).await.expect(200);
    assert_eq!(server.get(&format!("{MAPS}/a")).await.code, 404);
}

#[tokio::test]
async fn a_pod_that_runs_is_deleted_gracefully_and_one_that_waits_at_once() {
    let server = Server::new().await;
    pod(&server, "waiting").await;
    server.delete(&format!("{PODS}/waiting")).await.expect(200);
    assert_eq!(server.get(&format!("{PODS}/waiting")).await.code, 404);
    pod(&server, "bound").await;
    let binding = json!({ "metadata": { "name": "bound" }, "target": { "kind": "Node", "name": "n1" } });
    server.post(&format!("{PODS}/bound/binding"), &binding).await.expect(201);
    let going = server.delete(&format!("{PODS}/bound")).await.expect(200);
    assert_eq!(going["metadata"]["deletionGracePeriodSeconds"], 30);
    assert_eq!(going["spec"]["nodeName"], "n1");
    server.delete(&format!("{PODS}/bound?gracePeriodSeconds=0")).await.expect(200);
    assert_eq!(server.get(&format!("{PODS}/bound")).await.code, 404);
}

#[tokio::test]
async fn status_and_spec_change_through_their_own_endpoints_only() {
    let server = Server::new().await;
    pod(&server, "p").await;
    let patch = json!({ "status": { "phase": "Running" }, "metadata": { "labels": { "a": "b" } } });
    let main = server.merge(&format!("{PODS}/p"), &patch).await.expect(200);
    assert_eq!((&main["status"]["phase"], &main["metadata"]["labels"]["a"]), (&json!("Pending"), &json!("b")));
    let status = server.merge(&format!("{PODS}/p/status"), &json!({ "status": { "phase": "Running" } })).await.expect(200);
    assert_eq!(status["status"]["phase"], "Running");
}

#[tokio::test]
async fn the_scale_of_a_deployment_is_read_and_set() {
    let server = Server::new().await;
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let spec = json!({ "replicas": 2, "selector": { "matchLabels": { "a": "b" } },
        "template": { "metadata": { "labels": { "a": "b" } }, "spec": { "containers": [{ "name": "c", "image": "i" }] } } });
    let created = server.post(deployments, &json!({ "metadata": { "name": "d" }, "spec": spec })).await.expect(201);
    assert_eq!(created["metadata"]["generation"], 1);
    let scale = server.get(&format!("{deployments}/d/scale")).await.expect(200);
    assert_eq!((&scale["kind"], &scale["spec"]["replicas"], &scale["status"]["selector"]), (&json!("Scale"), &json!(2), &json!("a=b")));
    let scaled = server.merge(&format!("{deployments}/d/scale"), &json!({ "spec": { "replicas": 5 } })).await.expect(200);
    assert_eq!(scaled["spec"]["replicas"], 5);
    let deployment = server.get(&format!("{deployments}/d")).await.expect(200);
    assert_eq!((&deployment["spec"]["replicas"], &deployment["metadata"]["generation"]), (&json!(5), &json!(2)));
}

#[tokio::test]
async fn one_applied_field_conflicts_until_it_is_forced() {
    let server = Server::new().await;
    let apply = |manager: &'static str, value: &'static str, force: bool| {
        let server = &server;
        async move {
            let body = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a" }, "data": { "x": value } }).to_string();
            let path = format!("{MAPS}/a?fieldManager={manager}&force={force}");
            server.send("PATCH", &path, &[("content-type", "application/apply-patch+yaml")], body.as_bytes()).await
        }
    };
    apply("one", "1", false).await.expect(201);
    let conflict = apply("two", "2", false).await.expect(409);
    assert_eq!(conflict["message"], "Apply failed with 1 conflict: conflict with \"one\": .data.x");
    assert_eq!(apply("two", "2", true).await.expect(200)["data"]["x"], "2");
}

#[tokio::test]
async fn protobuf_and_yaml_say_what_json_says() {
    let server = Server::new().await;
    let created = pod(&server, "p").await;
    let protobuf = "application/vnd.kubernetes.protobuf";
    let bytes = server.send("GET", &format!("{PODS}/p"), &[("accept", protobuf)], b"").await.bytes;
    assert_eq!(&bytes[..4], b"k8s\0");
    // Sent back as it came, it changes nothing.
    let again = server.send("PUT", &format!("{PODS}/p"), &[("content-type", protobuf)], &bytes).await.expect(200);
    assert_eq!(again, created);
    let yaml = server.send("GET", &format!("{PODS}/p"), &[("accept", "application/yaml")], b"").await.bytes;
    let again = server.send("PUT", &format!("{PODS}/p"), &[("content-type", "application/yaml")], &yaml).await.expect(200);
    assert_eq!(again, created);
}

#[tokio::test]
async fn anonymous_callers_get_health_and_version_and_nothing_else() {
    let server = Server::new().await;
    let anonymous = Local::anonymous(server.api.clone());
    for path in ["/healthz", "/livez", "/readyz", "/version"] {
        assert_eq!(server.send_as(&anonymous, "GET", path, &[], b"").await.code, 200, "{path}");
    }
    for path in ["/", "/api", "/apis", "/api/v1", "/apis/apps/v1", "/openapi/v2", "/openapi/v3", "/metrics", PODS, "/openid/v1/jwks"] {
        assert_eq!(server.send_as(&anonymous, "GET", path, &[], b"").await.code, 403, "{path}");
    }
}
