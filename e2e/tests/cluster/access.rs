//! The API about itself, and who may use it.

use e2e::{Kubectl, eventually};
use serde_json::Value;
use std::time::Duration;

pub fn discovery(kubectl: &Kubectl) {
    let printed = kubectl.run(&["explain", "pod.spec"]);
    assert!(
        printed.contains("KIND:       Pod") && printed.contains("FIELD: spec <PodSpec>") && printed.contains("terminationGracePeriodSeconds"),
        "{printed}"
    );
    let printed = kubectl.run(&["api-versions"]);
    let versions: Vec<&str> = printed.lines().collect();
    for version in ["v1", "apps/v1", "batch/v1", "rbac.authorization.k8s.io/v1", "apiextensions.k8s.io/v1", "apiregistration.k8s.io/v1"] {
        assert!(versions.contains(&version), "{printed}");
    }
    let printed = kubectl.run(&["api-resources", "--no-headers"]);
    for row in
        [["deployments", "deploy", "apps/v1", "true", "Deployment"], ["pods", "po", "v1", "true", "Pod"], ["nodes", "no", "v1", "false", "Node"]]
    {
        assert!(printed.lines().any(|line| line.split_whitespace().eq(row)), "{row:?} in {printed}");
    }
    let version: Value = serde_json::from_str(&kubectl.run(&["get", "--raw", "/version"])).expect("JSON");
    assert_eq!((version["major"].as_str(), version["minor"].as_str()), (Some("1"), Some("37")));
    assert_eq!(kubectl.run(&["get", "--raw", "/readyz"]), "ok");
    assert!(kubectl.run(&["get", "--raw", "/openapi/v3"]).contains("api/v1"));
    assert!(kubectl.run(&["get", "--raw", "/metrics"]).contains("apiserver_request_total"));
    let service = kubectl.in_namespace("default").run(&["get", "service", "kubernetes", "-o", "jsonpath={.spec.clusterIP}:{.spec.ports[0].port}"]);
    assert_eq!(service, "10.96.0.1:443");
}

pub fn auth(kubectl: &Kubectl) {
    let printed = kubectl.run(&["auth", "whoami"]);
    assert!(printed.contains("kubernetes-admin") && printed.contains("system:masters"), "{printed}");
    assert_eq!(kubectl.run(&["auth", "can-i", "delete", "nodes"]).trim(), "yes");
    let as_other = ["--as=eve"];
    assert!(!kubectl.output(&[&["auth", "can-i", "list", "pods"], &as_other[..]].concat(), "").status.success());
    let complaint = kubectl.fail(&[&["get", "pods"], &as_other[..]].concat());
    assert!(
        complaint.contains("pods is forbidden: User \"eve\" cannot list resource \"pods\" in API group \"\" in the namespace \"tour-"),
        "{complaint}"
    );
    kubectl.run(&["create", "role", "reader", "--verb=get,list", "--resource=pods"]);
    kubectl.run(&["create", "rolebinding", "eve-reads", "--role=reader", "--user=eve"]);
    eventually(Duration::from_secs(10), || kubectl.try_run(&[&["get", "pods"], &as_other[..]].concat()));
    assert_eq!(kubectl.run(&[&["auth", "can-i", "list", "pods"], &as_other[..]].concat()).trim(), "yes");
}

pub fn tokens(kubectl: &Kubectl) {
    kubectl.run(&["create", "serviceaccount", "worker"]);
    let token = kubectl.run(&["create", "token", "worker", "--duration=10m"]);
    assert_eq!(token.trim().split('.').count(), 3);
    let review = format!(r#"{{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","spec":{{"token":"{}"}}}}"#, token.trim());
    // For kinds that cannot be patched, kubectl's own validation wants the second version of OpenAPI as protobuf.
    let create = ["create", "--validate=false", "-f", "-", "-o", "jsonpath={.status.authenticated} {.status.user.username}"];
    let printed = kubectl.run_with(&create, &review);
    assert!(printed.starts_with("true system:serviceaccount:tour-") && printed.ends_with(":worker"), "{printed}");
}

pub fn refusals(kubectl: &Kubectl) {
    let complaint = kubectl.fail(&["get", "pod", "nobody"]);
    assert_eq!(complaint, "Error from server (NotFound): pods \"nobody\" not found\n");
    let complaint =
        kubectl.fail_with(&["create", "-f", "-"], "apiVersion: v1\nkind: Pod\nmetadata: {name: A}\nspec: {containers: [{name: a, image: b}]}\n");
    assert!(complaint.contains("The Pod \"A\" is invalid: metadata.name: Invalid value: \"A\": a lowercase RFC 1123 subdomain"), "{complaint}");
    let complaint = kubectl.fail(&["create", "namespace", "default"]);
    assert_eq!(complaint, "Error from server (AlreadyExists): namespaces \"default\" already exists\n");
    let complaint = kubectl.fail(&["get", "--raw", "/no/such/path"]);
    assert!(complaint.contains("the server could not find the requested resource"), "{complaint}");
}
