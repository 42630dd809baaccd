//! The plugins within the whole server: what they refuse, what they write beside the object, and what happens to that.

use crate::local::Local;
use crate::tests::Server;
use serde_json::{Value, json};

async fn account(server: &Server, namespace: &str) {
    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
    server.post(&path, &json!({ "metadata": { "name": "default" } })).await.expect(201);
}

fn pod(name: &str) -> Value {
    json!({ "metadata": { "name": name }, "spec": { "containers": [{ "name": "c", "image": "i" }] } })
}

const SERVICES: &str = "/api/v1/namespaces/default/services";
const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";

#[tokio::test]
async fn a_service_holds_its_address_and_port_until_it_is_gone() {
    let server = Server::new().await;
    let service = json!({ "metadata": { "name": "a" }, "spec": { "type": "NodePort", "ports": [{ "port": 80, "nodePort": 30_080 }] } });
    let created = server.post(SERVICES, &service).await.expect(201);
    let address = created["spec"]["clusterIP"].as_str().unwrap().to_owned();
    let held = server.get(&format!("{ADDRESSES}/{address}")).await.expect(200);
    assert_eq!(held["spec"]["parentRef"], json!({ "resource": "services", "namespace": "default", "name": "a" }));

    let mut other = service.clone();
    other["metadata"]["name"] = json!("b");
    assert!(server.post(SERVICES, &other).await.expect(422)["message"].as_str().unwrap().ends_with("provided port is already allocated"));
    other["spec"] = json!({ "clusterIP": address, "ports": [{ "port": 80 }] });
    assert!(server.post(SERVICES, &other).await.expect(422)["message"].as_str().unwrap().ends_with("provided IP is already allocated"));

    // The same manifest again keeps what was allocated.
    let again = server.merge(&format!("{SERVICES}/a"), &json!({ "spec": { "ports": [{ "port": 81 }] } })).await.expect(200);
    assert_eq!((&again["spec"]["clusterIP"], &again["spec"]["ports"][0]["nodePort"]), (&json!(address), &json!(30_080)));

    let internal = server.merge(&format!("{SERVICES}/a"), &json!({ "spec": { "type": "ClusterIP", "ports": [{ "port": 80 }] } })).await.expect(200);
    assert_eq!(internal["spec"]["ports"][0]["nodePort"], Value::Null);
    assert!(server.api.store.snapshot().get("/registry/ranges/servicenodeports/30080").is_none());

    server.merge(&format!("{SERVICES}/a"), &json!({ "metadata": { "finalizers": ["a.b/c"] } })).await.expect(200);
    server.delete(&format!("{SERVICES}/a")).await.expect(200);
    assert_eq!(server.get(&format!("{ADDRESSES}/{address}")).await.code, 200, "the Service is still there");
    server.merge(&format!("{SERVICES}/a"), &json!({ "metadata": { "finalizers": null } })).await.expect(200);
    assert_eq!(server.get(&format!("{ADDRESSES}/{address}")).await.code, 404);
}

#[tokio::test]
async fn a_refused_or_dry_service_takes_nothing() {
    let server = Server::new().await;
    let before = server.api.store.snapshot().count(&apiserver_store::Range::prefix("/registry/ipaddresses/"));
    let service = json!({ "metadata": { "name": "a" }, "spec": { "ports": [{ "port": 80 }] } });
    server.post(&format!("{SERVICES}?dryRun=All"), &service).await.expect(201);
    server.post(SERVICES, &json!({ "metadata": { "name": "b" }, "spec": { "ports": [{ "port": 0 }] } })).await.expect(422);
    assert_eq!(server.api.store.snapshot().count(&apiserver_store::Range::prefix("/registry/ipaddresses/")), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_lets_in_exactly_what_it_has_room_for() {
    const ROOM: usize = 10;
    const TRIED: usize = 40;
    let server = Server::new().await;
    let quota = json!({ "metadata": { "name": "q" }, "spec": { "hard": { "count/secrets": ROOM.to_string() } } });
    let path = "/api/v1/namespaces/default/resourcequotas";
    let mut quota = server.post(path, &quota).await.expect(201);
    quota["status"] = json!({ "hard": { "count/secrets": ROOM.to_string() }, "used": { "count/secrets": "0" } });
    server.put(&format!("{path}/q/status"), &quota).await.expect(200);

    let creates = (0..TRIED).map(|number| {
        let server = &server;
        async move { server.post("/api/v1/namespaces/default/secrets", &json!({ "metadata": { "name": format!("s{number}") } })).await.code }
    });
    let codes = futures::future::join_all(creates).await;
    assert_eq!(codes.iter().filter(|code| **code == 201).count(), ROOM, "{codes:?}");
    assert!(codes.iter().all(|code| matches!(code, 201 | 403)), "{codes:?}");
    let seen = server.get(&format!("{path}/q")).await.expect(200);
    assert_eq!(seen["status"]["used"]["count/secrets"], ROOM.to_string());
}

#[tokio::test]
async fn a_pod_is_completed_and_its_namespace_guards_it() {
    let server = Server::new().await;
    account(&server, "default").await;
    let created = server.post("/api/v1/namespaces/default/pods", &pod("p")).await.expect(201);
    let spec = &created["spec"];
    assert_eq!((&spec["serviceAccountName"], &spec["priority"]), (&json!("default"), &json!(0)));
    assert_eq!(spec["tolerations"].as_array().unwrap().len(), 2);
    assert!(spec["volumes"][0]["name"].as_str().unwrap().starts_with("kube-api-access-"));

    server.post("/api/v1/namespaces", &json!({ "metadata": { "name": "old", "finalizers": ["a.b/c"] } })).await.expect(201);
    server.delete("/api/v1/namespaces/old").await;
    let refused = server.post("/api/v1/namespaces/old/configmaps", &json!({ "metadata": { "name": "m" } })).await.expect(403);
    let text = r#"configmaps "m" is forbidden: unable to create new content in namespace old because it is being terminated"#;
    assert_eq!((&refused["message"], &refused["details"]["causes"][0]["reason"]), (&json!(text), &json!("NamespaceTerminating")));
    assert_eq!(server.post("/api/v1/namespaces/none/configmaps", &json!({ "metadata": { "name": "m" } })).await.code, 404);
    assert_eq!(server.delete("/api/v1/namespaces/default").await.code, 403);
}

#[tokio::test]
async fn a_restricted_namespace_warns_and_refuses() {
    let server = Server::new().await;
    let labels = json!({ "pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/warn": "restricted" });
    server.post("/api/v1/namespaces", &json!({ "metadata": { "name": "ns", "labels": labels } })).await.expect(201);
    account(&server, "ns").await;
    let reply = server.send("POST", "/api/v1/namespaces/ns/pods", &[("content-type", "application/json")], pod("p").to_string().as_bytes()).await;
    assert_eq!(reply.code, 201);
    let warning = reply.headers.get("warning").unwrap().to_str().unwrap();
    assert!(warning.starts_with(r#"299 - "would violate PodSecurity \"restricted:latest\""#), "{warning}");
    let mut bad = pod("bad");
    bad["spec"]["hostNetwork"] = json!(true);
    let refused = server.post("/api/v1/namespaces/ns/pods", &bad).await.expect(403);
    assert_eq!(refused["message"], r#"pods "bad" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true)"#);
}

#[tokio::test]
async fn a_user_may_do_what_a_new_binding_says() {
    let server = Server::new().await;
    let jane = Local::new(server.api.clone(), "jane", &["system:authenticated"]);
    let list = async || server.send_as(&jane, "GET", "/api/v1/namespaces/default/configmaps", &[], b"").await;
    let refused = list().await.expect(403);
    assert_eq!(
        refused["message"],
        r#"configmaps is forbidden: User "jane" cannot list resource "configmaps" in API group "" in the namespace "default""#
    );
    let bindings = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
    let role = json!({ "metadata": { "name": "r" }, "rules": [{ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"] }] });
    server.post("/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles", &role).await.expect(201);
    let group = "rbac.authorization.k8s.io";
    let binding = json!({
        "metadata": { "name": "b" }, "roleRef": { "apiGroup": group, "kind": "Role", "name": "r" },
        "subjects": [{ "apiGroup": group, "kind": "User", "name": "jane" }],
    });
    server.post(bindings, &binding).await.expect(201);
    for _ in 0..100 {
        if list().await.code == 200 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the binding has no effect");
}

#[tokio::test]
async fn a_token_works_while_its_pod_lives() {
    let server = Server::new().await;
    account(&server, "default").await;
    let mut bound = pod("p");
    bound["spec"]["nodeName"] = json!("n1");
    let created = server.post("/api/v1/namespaces/default/pods", &bound).await.expect(201);
    let tokens = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let request = json!({ "spec": { "boundObjectRef": { "apiVersion": "v1", "kind": "Pod", "name": "p", "uid": created["metadata"]["uid"] } } });
    let answer = server.post(tokens, &request).await.expect(201);
    let token = answer["status"]["token"].as_str().unwrap().to_owned();
    let review = json!({ "spec": { "token": token } });
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    let seen = server.post(reviews, &review).await.expect(201);
    assert_eq!(seen["status"]["user"]["username"], "system:serviceaccount:default:default");
    assert_eq!(seen["status"]["user"]["extra"]["authentication.kubernetes.io/pod-name"], json!(["p"]));

    // A node gets tokens for Pods of its own only.
    let node = Local::new(server.api.clone(), "system:node:n1", &["system:nodes", "system:authenticated"]);
    let ask = async |user: &Local, request: &Value| {
        server.send_as(user, "POST", tokens, &[("content-type", "application/json")], request.to_string().as_bytes()).await.code
    };
    let mut projected = request.clone();
    projected["spec"]["audiences"] = json!([]);
    assert_eq!(ask(&node, &projected).await, 201);
    assert_eq!(ask(&node, &json!({ "spec": {} })).await, 403);
    let other = Local::new(server.api.clone(), "system:node:n2", &["system:nodes", "system:authenticated"]);
    assert_eq!(ask(&other, &projected).await, 403);

    server.delete("/api/v1/namespaces/default/pods/p?gracePeriodSeconds=0").await.expect(200);
    let seen = server.post(reviews, &review).await.expect(201);
    assert_eq!(seen["status"]["error"], "[invalid bearer token, service account token has been invalidated]");
}

#[tokio::test]
async fn a_kubelet_does_its_work_and_no_more() {
    let server = Server::new().await;
    account(&server, "default").await;
    let node = Local::new(server.api.clone(), "system:node:n1", &["system:nodes", "system:authenticated"]);
    let send = async |method: &str, path: &str, body: &Value| {
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        server.send_as(&node, method, path, &[("content-type", kind)], body.to_string().as_bytes()).await
    };
    let created =
        send("POST", "/api/v1/nodes", &json!({ "metadata": { "name": "n1", "labels": { "kubernetes.io/hostname": "n1" } } })).await.expect(201);
    assert_eq!(created["spec"]["taints"][0]["key"], "node.kubernetes.io/not-ready");
    assert_eq!(send("POST", "/api/v1/nodes", &json!({ "metadata": { "name": "n2" } })).await.code, 403);
    assert_eq!(send("GET", "/api/v1/nodes/n1", &Value::Null).await.code, 200);
    assert_eq!(send("GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1", &Value::Null).await.code, 200);
    assert_eq!(send("GET", "/api/v1/pods", &Value::Null).await.code, 403);

    let mut bound = pod("p");
    bound["spec"]["nodeName"] = json!("n1");
    bound["spec"]["volumes"] = json!([{ "name": "v", "secret": { "secretName": "s" } }]);
    server.post("/api/v1/namespaces/default/pods", &bound).await.expect(201);
    for name in ["s", "t"] {
        server.post("/api/v1/namespaces/default/secrets", &json!({ "metadata": { "name": name } })).await.expect(201);
    }
    assert_eq!(send("GET", "/api/v1/namespaces/default/secrets/s", &Value::Null).await.code, 200, "at once, whatever the graph has seen");
    assert_eq!(send("GET", "/api/v1/namespaces/default/secrets/t", &Value::Null).await.code, 403);
    let running = json!({ "status": { "phase": "Running" } });
    assert_eq!(send("PATCH", "/api/v1/namespaces/default/pods/p/status", &running).await.code, 200);
    server.post("/api/v1/namespaces/default/pods", &pod("free")).await.expect(201);
    assert_eq!(send("PATCH", "/api/v1/namespaces/default/pods/free/status", &running).await.code, 403);
    assert_eq!(send("DELETE", "/api/v1/namespaces/default/pods/free", &Value::Null).await.code, 403);
}
