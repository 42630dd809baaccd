use super::*;
use controllers_runtime::plan::Failure;
use serde_json::{Value, json};

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

fn set(replicas: i32, more: Value) -> ReplicaSet {
    let mut set = json!({
        "metadata": {"namespace": "a", "name": "web", "uid": "set", "generation": 3, "resourceVersion": "7"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
                 "template": {"metadata": {"labels": {"app": "web", "tier": "front"}, "annotations": {"x": "y"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}},
        "status": {"replicas": 0}
    });
    merge(&mut set, more);
    serde_json::from_value(set).unwrap()
}

fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => more.into_iter().for_each(|(key, value)| merge(into.entry(key).or_insert(Value::Null), value)),
        (into, more) => *into = more,
    }
}

fn pod(name: &str, more: Value) -> Arc<Pod> {
    let mut pod = json!({
        "metadata": {"namespace": "a", "name": name, "uid": name, "labels": {"app": "web"}, "creationTimestamp": "2026-01-01T00:00:00Z",
                     "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "set", "controller": true}]},
        "spec": {"containers": [], "nodeName": "n1"},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:10Z"}]}
    });
    merge(&mut pod, more);
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn unready() -> Value {
    json!({"status": {"conditions": []}})
}

fn planned(set: ReplicaSet, pods: Vec<Arc<Pod>>) -> Plan {
    plan::plan(&Observed { set: Arc::new(set), related: pods.clone(), pods }, now())
}

#[track_caller]
fn check(set: ReplicaSet, pods: Vec<Arc<Pod>>, expect: &[&str]) {
    let described = planned(set, pods).describe();
    assert_eq!(described, expect, "{described:#?}");
}

const STATUS: &str = "patch replicasets.apps a/web/status ";

#[test]
fn missing_pods_are_made_and_the_status_counts_what_is_there() {
    let status = r#"{"metadata":{"resourceVersion":"7"},"status":{"availableReplicas":1,"observedGeneration":3,"readyReplicas":1,"replicas":1,"terminatingReplicas":0}}"#;
    check(set(3, json!({})), vec![pod("p", json!({}))], &["2 × create pods a/web-*", &format!("{STATUS}{status}")]);
}

#[test]
fn surplus_pods_go_in_order_of_use() {
    let pods = vec![
        pod("old", json!({})),
        pod("pending", json!({"status": {"phase": "Pending", "conditions": []}})),
        pod("unready", unready()),
        pod("unassigned", json!({"spec": {"nodeName": null}, "status": {"phase": "Pending", "conditions": []}})),
        pod("cheap", json!({"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "-5"}}})),
        pod("fresh", json!({"status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:59:59Z"}]}})),
    ];
    let Plan { actions, .. } = planned(set(1, json!({})), pods);
    assert_eq!(
        actions[0].to_string(),
        "all: delete pods a/unassigned; delete pods a/pending; delete pods a/unready; delete pods a/cheap; delete pods a/fresh;"
    );
}

#[test]
fn of_two_equal_pods_the_one_on_the_crowded_node_goes() {
    let pods = vec![pod("a1", json!({})), pod("b1", json!({"spec": {"nodeName": "n2"}})), pod("b2", json!({"spec": {"nodeName": "n2"}}))];
    let Plan { actions, .. } = planned(set(2, json!({})), pods);
    assert_eq!(actions[0].to_string(), "all: delete pods a/b1;");
}

#[test]
fn nothing_is_done_when_all_is_as_it_should_be() {
    let settled = json!({"status": {"replicas": 1, "readyReplicas": 1, "availableReplicas": 1, "terminatingReplicas": 0, "observedGeneration": 3}});
    check(set(1, settled.clone()), vec![pod("p", json!({}))], &[]);
    let terminal = pod("done", json!({"status": {"phase": "Succeeded"}}));
    check(set(1, settled), vec![pod("p", json!({})), terminal], &[]);
}

#[test]
fn a_set_that_is_being_deleted_makes_nothing_and_its_leaving_pods_are_counted() {
    let deleting = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"observedGeneration": 3}});
    let leaving = pod("p", json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}));
    check(set(3, deleting), vec![leaving], &[&format!(r#"{STATUS}{{"metadata":{{"resourceVersion":"7"}},"status":{{"terminatingReplicas":1}}}}"#)]);
}

#[test]
fn orphans_that_match_are_adopted_and_count_and_strangers_are_released() {
    let orphan = pod("orphan", json!({"metadata": {"ownerReferences": null}}));
    let stranger = pod("stranger", json!({"metadata": {"labels": {"app": "other"}}}));
    let described = planned(set(1, json!({})), vec![orphan, stranger]).describe();
    assert_eq!(described[0], "verify replicasets.apps a/web");
    assert!(described[1].starts_with("all: patch pods a/orphan ") && described[1].contains("patch pods a/stranger "), "{}", described[1]);
    assert!(described[2].starts_with(STATUS) && described.len() == 3, "the orphan makes the one that is wanted: {described:?}");
}

#[test]
fn a_failure_is_a_condition_until_it_is_over() {
    let plan = planned(set(2, json!({})), vec![]);
    let failure = Failure { message: "exceeded quota".into(), code: Some(403), action: 0 };
    let status = (plan.status_after_failure.unwrap())(&failure).unwrap().to_string();
    assert!(status.contains(r#""message":"exceeded quota","reason":"FailedCreate","status":"True","type":"ReplicaFailure""#), "{status}");
    let failing = json!({"status": {"conditions": [{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "m"}]}});
    let status = planned(set(0, failing), vec![]).status.unwrap().to_string();
    assert!(status.contains(r#""conditions":null"#), "{status}");
}

#[test]
fn a_pod_that_will_be_available_later_is_looked_at_then() {
    let fresh = pod("p", json!({"status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:59:50Z"}]}}));
    let plan = planned(set(1, json!({"spec": {"minReadySeconds": 30}})), vec![fresh]);
    assert_eq!(plan.again_at, Some("2026-01-01T01:00:20Z".parse().unwrap()));
    assert!(!plan.status.unwrap().to_string().contains("availableReplicas"));
}

#[test]
fn a_replication_controller_is_kept_the_same_way_without_what_its_status_lacks() {
    let controller: ReplicationController = serde_json::from_value(json!({
        "metadata": {"namespace": "a", "name": "web", "uid": "rc", "generation": 1},
        "spec": {"replicas": 1, "selector": {"app": "web"}, "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}}}
    }))
    .unwrap();
    let described = plan::plan(&Observed { set: Arc::new(controller), pods: vec![], related: vec![] }, now()).describe();
    assert_eq!(described, ["1 × create pods a/web-*", r#"patch replicationcontrollers a/web/status {"status":{"observedGeneration":1}}"#]);
}
