use super::*;
use serde_json::{Value, json};

fn service(spec: Value) -> Arc<Service> {
    let metadata = json!({"namespace": "a", "name": "web", "uid": "svc", "labels": {"app": "web"}, "creationTimestamp": "2026-01-01T00:00:00Z"});
    Arc::new(serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap())
}

fn plain() -> Value {
    json!({"clusterIP": "10.0.0.1", "ipFamilies": ["IPv4"], "selector": {"app": "web"}, "ports": [{"port": 80, "protocol": "TCP", "targetPort": 8080}]})
}

fn pod(number: usize, ready: bool, more: Value) -> Arc<Pod> {
    let mut pod = json!({
        "metadata": {"namespace": "a", "name": format!("p{number}"), "uid": format!("u{number}")},
        "spec": {"nodeName": "n1", "containers": []},
        "status": {"phase": "Running", "podIP": format!("10.1.{}.{}", number / 250, number % 250), "podIPs": [{"ip": format!("10.1.{}.{}", number / 250, number % 250)}],
                   "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]}
    });
    for (part, fields) in more.as_object().unwrap() {
        pod[part].as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    }
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn planned(service: &Arc<Service>, pods: Vec<Arc<Pod>>, current: Option<Value>) -> Plan {
    let current = current.map(|current| Arc::new(serde_json::from_value(current).unwrap()));
    let triggered = Some("2026-01-01T00:00:00Z".parse().unwrap());
    plan::plan(&Selecting { service: service.clone(), pods, current, triggered })
}

fn created(service: &Arc<Service>, pods: Vec<Arc<Pod>>) -> Value {
    match planned(service, pods, None).actions.pop() {
        Some(controllers_runtime::Action::Create { object, .. }) => object,
        other => panic!("{other:?}"),
    }
}

fn summary(object: &Value) -> Vec<String> {
    let ips =
        |list: &Value| list.as_array().into_iter().flatten().map(|address| address["ip"].as_str().unwrap().to_string()).collect::<Vec<_>>().join(" ");
    let ports = |list: &Value| list.as_array().into_iter().flatten().map(|port| port["port"].to_string()).collect::<Vec<_>>().join(" ");
    let subset = |subset: &Value| format!("{} / {} : {}", ips(&subset["addresses"]), ips(&subset["notReadyAddresses"]), ports(&subset["ports"]));
    object["subsets"].as_array().into_iter().flatten().map(subset).collect()
}

#[track_caller]
fn check(spec: Value, pods: Vec<Arc<Pod>>, expect: &[&str]) {
    assert_eq!(summary(&created(&service(spec), pods)), expect);
}

#[test]
fn ready_and_other_addresses_are_listed_apart_and_those_that_are_over_or_leaving_are_not() {
    let pods = vec![
        pod(1, true, json!({})),
        pod(2, false, json!({})),
        pod(3, true, json!({"status": {"phase": "Failed"}})),
        pod(4, true, json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})),
        pod(5, false, json!({"status": {"podIP": null, "podIPs": null}})),
    ];
    check(plain(), pods.clone(), &["10.1.0.1 / 10.1.0.2 : 8080"]);
    let mut publishing = plain();
    publishing["publishNotReadyAddresses"] = true.into();
    check(publishing, pods, &["10.1.0.1 10.1.0.2 10.1.0.4 /  : 8080"]);
    check(plain(), vec![], &[]);
}

#[test]
fn ports_with_the_same_addresses_are_one_subset_and_others_are_apart() {
    let mut two = plain();
    two["ports"] = json!([{"name": "a", "port": 80, "targetPort": 8080}, {"name": "b", "port": 81, "targetPort": "side"}]);
    let named = json!({"spec": {"containers": [{"name": "c", "ports": [{"name": "side", "containerPort": 99}]}]}});
    check(two.clone(), vec![pod(1, true, named.clone()), pod(2, true, named.clone())], &["10.1.0.1 10.1.0.2 /  : 99 8080"]);
    check(two, vec![pod(1, true, named), pod(2, true, json!({}))], &["10.1.0.1 /  : 99", "10.1.0.1 10.1.0.2 /  : 8080"]);
}

#[test]
fn a_headless_service_needs_no_ports_and_is_labelled() {
    let headless = json!({"clusterIP": "None", "selector": {"app": "web"}});
    let object = created(&service(headless.clone()), vec![pod(1, true, json!({"spec": {"hostname": "h", "subdomain": "web"}}))]);
    assert_eq!(summary(&object), ["10.1.0.1 /  : "]);
    assert_eq!(object["subsets"][0]["addresses"][0]["hostname"], "h");
    assert_eq!(
        object["metadata"]["labels"],
        json!({"app": "web", "service.kubernetes.io/headless": "", "endpoints.kubernetes.io/managed-by": "endpoint-controller"})
    );
    let mut no_ports = plain();
    no_ports.as_object_mut().unwrap().remove("ports");
    check(no_ports, vec![pod(1, true, json!({}))], &[]);
}

#[test]
fn an_address_says_where_it_comes_from_and_the_object_when_it_changed() {
    let object = created(&service(plain()), vec![pod(1, true, json!({}))]);
    assert_eq!(
        object["subsets"][0]["addresses"][0],
        json!({"ip": "10.1.0.1", "nodeName": "n1", "targetRef": {"kind": "Pod", "namespace": "a", "name": "p1", "uid": "u1"}})
    );
    assert_eq!(object["metadata"]["annotations"], json!({"endpoints.kubernetes.io/last-change-trigger-time": "2026-01-01T00:00:00Z"}));
}

#[test]
fn equal_endpoints_are_left_alone_and_a_change_is_a_patch_of_what_was_seen() {
    let (service, pods) = (service(plain()), vec![pod(1, true, json!({}))]);
    let mut current = created(&service, pods.clone());
    current["metadata"]["resourceVersion"] = "7".into();
    assert!(planned(&service, pods, Some(current.clone())).describe().is_empty());
    let described = planned(&service, vec![], Some(current)).describe();
    assert_eq!(described, [r#"patch endpoints a/web {"metadata":{"resourceVersion":"7"},"subsets":null}"#]);
}

#[test]
fn the_family_of_the_service_decides_which_address_of_a_pod_is_taken() {
    let dual = json!({"status": {"podIPs": [{"ip": "10.1.0.1"}, {"ip": "fd00:0::1"}]}});
    let mut v6 = plain();
    v6["ipFamilies"] = json!(["IPv6"]);
    check(v6, vec![pod(1, true, dual.clone()), pod(2, true, json!({}))], &["fd00::1 /  : 8080"]);
    check(json!({"clusterIP": "fd01::5", "selector": {"a": "b"}, "ports": [{"port": 1}]}), vec![pod(1, true, dual)], &["fd00::1 /  : 1"]);
}

#[test]
fn more_than_a_thousand_addresses_are_cut_and_it_is_said() {
    let count = |object: &Value, list: &str| object["subsets"][0][list].as_array().map_or(0, Vec::len);
    let check = |ready: usize, not_ready: usize, expect: (usize, usize), cut: bool| {
        let pods = (0..ready + not_ready).map(|number| pod(number, number < ready, json!({}))).collect();
        let object = created(&service(plain()), pods);
        assert_eq!((count(&object, "addresses"), count(&object, "notReadyAddresses")), expect);
        assert_eq!(object["metadata"]["annotations"]["endpoints.kubernetes.io/over-capacity"] == "truncated", cut);
    };
    check(600, 400, (600, 400), false);
    check(600, 500, (600, 400), true);
    check(1100, 500, (1000, 0), true);
}
