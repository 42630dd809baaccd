use super::*;
use jiff::SignedDuration;
use serde_json::{Value, json};

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

fn node(ready: Option<&str>, taints: Value) -> Arc<Node> {
    let conditions: Vec<Value> =
        ready.iter().map(|status| json!({"type": "Ready", "status": status, "lastHeartbeatTime": "2026-01-01T00:59:00Z"})).collect();
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {"name": "n1", "resourceVersion": "4", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"taints": taints},
            "status": {"conditions": conditions}
        }))
        .unwrap(),
    )
}

fn planned(node: Arc<Node>, silent: bool, may_evict: bool, all_down: bool) -> Vec<String> {
    let pod: Pod =
        serde_json::from_value(json!({"metadata": {"namespace": "a", "name": "p"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}))
            .unwrap();
    let silent_at = if silent { now() } else { now() + SignedDuration::from_secs(1) };
    plan::plan(&Observed { node, pods: vec![Arc::new(pod)], health: Health { silent_at }, may_evict, all_down }, now()).describe()
}

/// The taints that a plan sets, as `key:effect`.
#[track_caller]
fn check_taints(node: Arc<Node>, may_evict: bool, all_down: bool, expect: Option<&[&str]>) {
    let silent_at = now() + SignedDuration::from_secs(1);
    let plan = plan::plan(&Observed { node, pods: vec![], health: Health { silent_at }, may_evict, all_down }, now());
    let taints = plan.actions.first().map(|action| match action {
        controllers_runtime::Action::Patch { patch, .. } => {
            let text = |taint: &Value| {
                format!("{}:{}", taint["key"].as_str().unwrap().trim_start_matches("node.kubernetes.io/"), taint["effect"].as_str().unwrap())
            };
            patch["spec"]["taints"].as_array().unwrap().iter().map(text).collect::<Vec<_>>()
        }
        other => panic!("{other}"),
    });
    assert_eq!(taints.as_ref().map(|taints| taints.iter().map(String::as_str).collect::<Vec<_>>()).as_deref(), expect);
}

fn taint(key: &str, effect: &str) -> Value {
    json!({"key": key, "effect": effect})
}

#[test]
fn a_silent_node_becomes_unknown_and_its_pods_not_ready() {
    let described = planned(node(Some("True"), json!([])), true, false, false);
    assert!(described[0].starts_with("patch nodes n1/status") && described[0].contains("Kubelet stopped posting node status."), "{described:?}");
    assert!(described[0].contains("MemoryPressure") && described[0].contains("Kubelet never posted node status."), "{described:?}");
    assert!(described[1].contains("patch pods a/p/status") && described[1].contains(r#""status":"False""#), "{described:?}");
    assert!(planned(node(Some("True"), json!([])), false, false, false).is_empty());
}

#[test]
fn taints_follow_the_conditions() {
    check_taints(node(Some("True"), json!([])), false, false, None);
    check_taints(node(Some("False"), json!([])), false, false, Some(&["not-ready:NoSchedule"]));
    check_taints(node(Some("False"), json!([])), true, false, Some(&["not-ready:NoSchedule", "not-ready:NoExecute"]));
    let tainted = json!([taint("mine", "NoSchedule"), taint(plan::NOT_READY, "NoSchedule"), taint(plan::NOT_READY, "NoExecute")]);
    check_taints(node(Some("Unknown"), tainted.clone()), false, false, Some(&["mine:NoSchedule", "unreachable:NoSchedule", "unreachable:NoExecute"]));
    check_taints(node(Some("True"), tainted.clone()), false, false, Some(&["mine:NoSchedule"]));
    check_taints(node(Some("False"), tainted), false, true, Some(&["mine:NoSchedule", "not-ready:NoSchedule"]));
}

#[test]
fn a_node_is_silent_once_neither_lease_nor_status_has_moved_for_the_grace() {
    let (mut memory, config) = (Memory::default(), Config::default());
    let lease = |second: u32| -> Lease {
        serde_json::from_value(json!({"metadata": {}, "spec": {"renewTime": format!("2020-01-01T00:00:{second:02}.000000Z")}})).unwrap()
    };
    let at = |seconds: i64| now() + SignedDuration::from_secs(seconds);
    let up = node(Some("True"), json!([]));
    assert_eq!(memory.heard(&up, Some(&lease(1)), at(0), &config).silent_at, at(40));
    assert_eq!(memory.heard(&up, Some(&lease(1)), at(30), &config).silent_at, at(40), "nothing new");
    assert_eq!(memory.heard(&up, Some(&lease(2)), at(30), &config).silent_at, at(70), "the lease moved; its own time does not count");
    let unknown = node(Some("Unknown"), json!([]));
    assert_eq!(memory.heard(&unknown, Some(&lease(2)), at(60), &config).silent_at, at(70), "our own word is none of the node's");
}

#[test]
fn a_zone_loses_its_nodes_one_after_another_and_none_when_most_are_down() {
    let named = |name: &str, ready: &str| -> Arc<Node> {
        Arc::new(serde_json::from_value(json!({"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": ready}]}})).unwrap())
    };
    let config = Config::default();
    let check = |up: usize, down: usize, expect: [bool; 3]| {
        let mut memory = Memory::default();
        let nodes: Vec<Arc<Node>> = (0..up).map(|_| named("u", "True")).chain((0..down).map(|_| named("d", "Unknown"))).collect();
        let asked = [0, 5, 10].map(|seconds| memory.may_evict(&nodes[up], &nodes, now() + SignedDuration::from_secs(seconds), &config));
        assert_eq!(asked, expect, "{up} up, {down} down");
    };
    check(3, 2, [true, false, true]);
    check(1, 2, [true, false, true]);
    check(2, 3, [false, false, false]);
}
