use super::*;
use crate::history::HASH_LABEL;
use controllers_runtime::Action;
use serde_json::{Value, json};

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => more.into_iter().for_each(|(key, value)| merge(into.entry(key).or_insert(Value::Null), value)),
        (into, more) => *into = more,
    }
}

fn set(more: Value) -> Arc<DaemonSet> {
    let mut set = json!({
        "metadata": {"namespace": "a", "name": "agent", "uid": "ds", "generation": 1, "resourceVersion": "7"},
        "spec": {"selector": {"matchLabels": {"app": "agent"}}, "revisionHistoryLimit": 10,
                 "template": {"metadata": {"labels": {"app": "agent"}}, "spec": {"containers": [{"name": "c", "image": "v2"}]}},
                 "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}}
    });
    merge(&mut set, more);
    Arc::new(serde_json::from_value(set).unwrap())
}

fn surge() -> Value {
    json!({"spec": {"updateStrategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}}})
}

fn node(name: &str, more: Value) -> Arc<Node> {
    let mut node = json!({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}, "spec": {}});
    merge(&mut node, more);
    Arc::new(serde_json::from_value(node).unwrap())
}

fn nodes(names: &[&str]) -> Vec<Arc<Node>> {
    names.iter().map(|name| node(name, json!({}))).collect()
}

/// A ready Pod; `hash` is `new` for the present template.
fn pod(name: &str, node: &str, hash: &str, more: Value) -> Arc<Pod> {
    let mut pod = json!({
        "metadata": {"namespace": "a", "name": name, "uid": name, "labels": {"app": "agent", HASH_LABEL: hash}, "creationTimestamp": "2026-01-01T00:00:00Z",
                     "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent", "uid": "ds", "controller": true}]},
        "spec": {"containers": [], "nodeName": node},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:10Z"}]}
    });
    merge(&mut pod, more);
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn revision(set: &DaemonSet) -> Arc<ControllerRevision> {
    let owner = json!([{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent", "uid": "ds", "controller": true}]);
    let metadata = json!({"namespace": "a", "name": "agent-new", "labels": {"app": "agent", HASH_LABEL: "new"}, "ownerReferences": owner});
    Arc::new(serde_json::from_value(json!({"metadata": metadata, "data": history::data(&set.spec.template), "revision": 1})).unwrap())
}

fn planned(set: Arc<DaemonSet>, nodes: Vec<Arc<Node>>, pods: Vec<Arc<Pod>>, backing_off: HashMap<String, Timestamp>) -> Plan {
    let revisions = vec![revision(&set)];
    plan::plan(&Observed { set, nodes, pods, revisions, namesake: None, backing_off }, now())
}

/// Where Pods are made, as `+node`, and which are deleted, as `-name`.
#[track_caller]
fn check(set: Arc<DaemonSet>, nodes: Vec<Arc<Node>>, pods: Vec<Arc<Pod>>, expect: &[&str]) {
    assert_eq!(changes(&planned(set, nodes, pods, HashMap::new())), expect);
}

fn changes(plan: &Plan) -> Vec<String> {
    let mut changes = Vec::new();
    for action in &plan.actions {
        match action {
            Action::SlowStart(creates) => changes.extend(creates.iter().map(|create| {
                let Action::Create { object, .. } = create else { panic!("{create}") };
                let pod: Pod = serde_json::from_value(object.clone()).unwrap();
                format!("+{}", node::of_pod(&pod).unwrap())
            })),
            Action::All(deletes) => changes.extend(deletes.iter().map(|delete| {
                let Action::Delete { target, .. } = delete else { panic!("{delete}") };
                format!("-{}", target.key.name)
            })),
            other => panic!("{other}"),
        }
    }
    changes
}

#[test]
fn every_node_that_fits_gets_one_and_others_lose_theirs() {
    check(set(json!({})), nodes(&["n1", "n2"]), vec![pod("p", "n1", "new", json!({}))], &["+n2"]);
    let labelled = set(json!({"spec": {"template": {"spec": {"nodeSelector": {"kubernetes.io/hostname": "n2"}}}}}));
    check(labelled, nodes(&["n1", "n2"]), vec![pod("p", "n1", "new", json!({}))], &["+n2", "-p"]);
    check(set(json!({})), nodes(&["n1"]), vec![pod("p", "n1", "new", json!({})), pod("q", "n1", "new", json!({}))], &["-q"]);
}

#[test]
fn taints_keep_daemons_off_unless_every_daemon_tolerates_them() {
    let tainted = |key: &str, effect: &str| vec![node("n1", json!({"spec": {"taints": [{"key": key, "effect": effect}]}}))];
    check(set(json!({})), tainted("node.kubernetes.io/unschedulable", "NoSchedule"), vec![], &["+n1"]);
    check(set(json!({})), tainted("node.kubernetes.io/not-ready", "NoExecute"), vec![], &["+n1"]);
    check(set(json!({})), tainted("mine", "NoSchedule"), vec![], &[]);
    check(set(json!({})), tainted("mine", "NoSchedule"), vec![pod("p", "n1", "new", json!({}))], &[]);
    check(set(json!({})), tainted("mine", "NoExecute"), vec![pod("p", "n1", "new", json!({}))], &["-p"]);
    check(set(json!({})), tainted("node.kubernetes.io/network-unavailable", "NoSchedule"), vec![], &[]);
    check(
        set(json!({"spec": {"template": {"spec": {"hostNetwork": true}}}})),
        tainted("node.kubernetes.io/network-unavailable", "NoSchedule"),
        vec![],
        &["+n1"],
    );
}

#[test]
fn finished_daemons_are_replaced_failed_ones_no_faster_than_allowed() {
    let ended = |phase: &str| vec![pod("p", "n1", "new", json!({"status": {"phase": phase}}))];
    check(set(json!({})), nodes(&["n1"]), ended("Succeeded"), &["-p"]);
    check(set(json!({})), nodes(&["n1"]), ended("Failed"), &["-p"]);
    let until = now() + SignedDuration::from_secs(5);
    let plan = planned(set(json!({})), nodes(&["n1"]), ended("Failed"), HashMap::from([("n1".into(), until)]));
    assert_eq!((changes(&plan), plan.again_at), (vec![], Some(until)));
}

#[test]
fn an_update_replaces_as_many_as_may_be_unavailable() {
    let (old, unready) = (|name: &str, node: &str| pod(name, node, "old", json!({})), json!({"status": {"conditions": []}}));
    check(set(json!({})), nodes(&["n1", "n2"]), vec![old("p1", "n1"), old("p2", "n2")], &["-p1"]);
    check(set(json!({})), nodes(&["n1", "n2"]), vec![pod("p1", "n1", "new", unready.clone()), old("p2", "n2")], &[]);
    check(set(json!({})), nodes(&["n1", "n2"]), vec![pod("p1", "n1", "new", json!({})), old("p2", "n2")], &["-p2"]);
    check(set(json!({})), nodes(&["n1", "n2"]), vec![pod("p1", "n1", "old", unready), old("p2", "n2")], &["-p1"]);
    let leaving = pod("p1", "n1", "old", json!({"metadata": {"deletionTimestamp": "2026-01-01T00:59:00Z"}}));
    check(set(json!({})), nodes(&["n1", "n2"]), vec![leaving, old("p2", "n2")], &[]);
    check(set(json!({"spec": {"updateStrategy": {"type": "OnDelete"}}})), nodes(&["n1"]), vec![old("p1", "n1")], &[]);
}

#[test]
fn a_surge_makes_the_new_one_before_the_old_one_goes() {
    let old = || pod("p1", "n1", "old", json!({}));
    check(set(surge()), nodes(&["n1", "n2"]), vec![old(), pod("p2", "n2", "old", json!({}))], &["+n1"]);
    let starting = pod("p3", "n1", "new", json!({"status": {"conditions": []}}));
    check(set(surge()), nodes(&["n1"]), vec![old(), starting], &[]);
    check(set(surge()), nodes(&["n1"]), vec![old(), pod("p3", "n1", "new", json!({}))], &["-p1"]);
}

#[test]
fn a_daemon_is_bound_to_its_node_and_labelled_with_its_template() {
    let plan =
        planned(set(json!({"metadata": {"annotations": {"deprecated.daemonset.template.generation": "3"}}})), nodes(&["n1"]), vec![], HashMap::new());
    let Action::SlowStart(creates) = &plan.actions[0] else { panic!() };
    let Action::Create { object, .. } = &creates[0] else { panic!() };
    assert_eq!(object["metadata"]["labels"], json!({"app": "agent", HASH_LABEL: "new", "pod-template-generation": "3"}));
    assert_eq!(object["spec"]["tolerations"].as_array().unwrap().len(), 6);
}

#[test]
fn the_status_counts_nodes() {
    let all = vec![
        node("n1", json!({})),
        node("n2", json!({})),
        node("n3", json!({})),
        node("off", json!({"spec": {"taints": [{"key": "x", "effect": "NoSchedule"}]}})),
    ];
    let pods =
        vec![pod("p1", "n1", "new", json!({})), pod("p2", "n2", "old", json!({"status": {"conditions": []}})), pod("p4", "off", "new", json!({}))];
    let Some(Action::Patch { patch, .. }) = planned(set(json!({})), all, pods, HashMap::new()).status else { panic!() };
    let expect = json!({"desiredNumberScheduled": 3, "currentNumberScheduled": 2, "numberMisscheduled": 1, "numberReady": 1, "numberAvailable": 1, "numberUnavailable": 2,
                        "updatedNumberScheduled": 1, "observedGeneration": 1});
    let mut status = patch["status"].clone();
    for (key, value) in expect.as_object().unwrap() {
        let found = status.as_object_mut().unwrap().remove(key).unwrap_or(json!(0));
        assert_eq!(&found, value, "{key}");
    }
    assert_eq!(status, json!({}));
}

#[test]
fn a_new_template_makes_its_revision_and_a_taken_name_counts_a_collision() {
    let set = set(json!({}));
    let observe = |namesake| Observed { set: set.clone(), nodes: vec![], pods: vec![], revisions: vec![], namesake, backing_off: HashMap::new() };
    let made = plan::plan(&observe(None), now());
    assert!(made.actions[0].to_string().starts_with("create controllerrevisions.apps a/agent-"), "{:?}", made.actions);
    let taken = plan::plan(&observe(Some(revision(&set))), now());
    assert!(taken.actions.is_empty());
    let Some(Action::Patch { patch, .. }) = taken.status else { panic!() };
    assert_eq!(patch["status"]["collisionCount"], 1);
}
