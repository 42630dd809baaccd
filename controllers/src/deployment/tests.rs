use super::*;
use controllers_runtime::Action;
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}})
}

fn deployment(replicas: i32, image: &str, more: Value) -> Arc<Deployment> {
    let mut object = json!({
        "metadata": {"namespace": "a", "name": "web", "uid": "dep", "generation": 2, "resourceVersion": "7", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template(image), "revisionHistoryLimit": 10,
                 "progressDeadlineSeconds": 600, "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}},
        "status": {}
    });
    merge(&mut object, more);
    Arc::new(serde_json::from_value(object).unwrap())
}

fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => more.into_iter().for_each(|(key, value)| merge(into.entry(key).or_insert(Value::Null), value)),
        (into, more) => *into = more,
    }
}

/// `revision` gives age too: lower is older.
fn set(name: &str, image: &str, revision: u32, replicas: i32, available: i32, desired: i32) -> Arc<ReplicaSet> {
    let mut template = template(image);
    template["metadata"]["labels"]["pod-template-hash"] = name.into();
    let max = desired + (desired + 3) / 4;
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {"namespace": "a", "name": name, "uid": name, "generation": 1, "resourceVersion": "5", "labels": {"app": "web", "pod-template-hash": name},
                         "creationTimestamp": format!("2026-01-01T00:00:{revision:02}Z"),
                         "annotations": {revision::REVISION: revision.to_string(), size::DESIRED: desired.to_string(), size::MAX: max.to_string()},
                         "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "dep", "controller": true, "blockOwnerDeletion": true}]},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web", "pod-template-hash": name}}, "template": template},
            "status": {"replicas": replicas, "readyReplicas": available, "availableReplicas": available, "observedGeneration": 1, "terminatingReplicas": 0}
        }))
        .unwrap(),
    )
}

fn planned(deployment: &Arc<Deployment>, sets: &[Arc<ReplicaSet>]) -> Plan {
    plan::plan(&Observed { deployment: deployment.clone(), sets: sets.to_vec(), namesake: None, pods: vec![] }, now())
}

/// The sizes that a plan gives to ReplicaSets, by name.
fn sizes(plan: &Plan) -> BTreeMap<String, i64> {
    let size = |action: &Action| match action {
        Action::Patch { target, patch, .. } if target.kind == REPLICA_SETS => {
            Some((target.key.name.to_string(), patch["spec"]["replicas"].as_i64()?))
        }
        Action::Create { object, .. } => Some(("created".into(), object["spec"]["replicas"].as_i64()?)),
        _ => None,
    };
    plan.actions.iter().filter_map(size).collect()
}

#[track_caller]
fn check_sizes(deployment: &Arc<Deployment>, sets: &[Arc<ReplicaSet>], expect: &[(&str, i64)]) {
    let expect: BTreeMap<String, i64> = expect.iter().map(|(name, size)| (name.to_string(), *size)).collect();
    assert_eq!(sizes(&planned(deployment, sets)), expect);
}

fn status(plan: &Plan) -> Value {
    match &plan.status {
        Some(Action::Patch { patch, .. }) => patch["status"].clone(),
        _ => Value::Null,
    }
}

fn condition(plan: &Plan, kind: &str) -> Option<(String, String, String)> {
    let status = status(plan);
    let found = status["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)?.clone();
    let text = |key: &str| found[key].as_str().unwrap_or_default().to_string();
    Some((text("status"), text("reason"), text("message")))
}

#[test]
fn a_new_deployment_makes_its_set_at_full_size_and_says_so() {
    let plan = planned(&deployment(3, "v1", json!({"metadata": {"annotations": {"note": "n"}}})), &[]);
    let Action::Create { object, .. } = &plan.actions[0] else { panic!("{:?}", plan.actions) };
    let name = object["metadata"]["name"].as_str().unwrap();
    let hash = object["metadata"]["labels"]["pod-template-hash"].as_str().unwrap();
    assert_eq!(name, format!("web-{hash}"));
    assert_eq!(object["spec"]["replicas"], 3);
    assert_eq!(object["spec"]["selector"]["matchLabels"], json!({"app": "web", "pod-template-hash": hash}));
    assert_eq!(object["spec"]["template"]["metadata"]["labels"]["pod-template-hash"], hash);
    assert_eq!(object["metadata"]["annotations"], json!({"note": "n", revision::REVISION: "1", size::DESIRED: "3", size::MAX: "4"}));
    assert_eq!(plan.actions[1].to_string(), r#"patch deployments.apps a/web {"metadata":{"annotations":{"deployment.kubernetes.io/revision":"1"}}}"#);
    assert_eq!(plan.events[0].message, format!("Scaled up replica set {name} from 0 to 3"));
    let (state, reason, message) = condition(&plan, "Progressing").unwrap();
    assert_eq!((state.as_str(), reason.as_str(), message), ("True", "NewReplicaSetCreated", format!("Created new replica set \"{name}\"")));
    assert_eq!(condition(&plan, "Available").unwrap().1, "MinimumReplicasUnavailable");
}

#[test]
fn a_rolling_update_grows_to_the_surge_and_shrinks_as_pods_become_available() {
    let d = deployment(10, "v2", json!({}));
    check_sizes(&d, &[set("old", "v1", 1, 10, 10, 10)], &[("created", 3), ("old", 8)]);
    check_sizes(&d, &[set("old", "v1", 1, 10, 10, 10), set("new", "v2", 2, 3, 0, 10)], &[("old", 8)]);
    check_sizes(&d, &[set("old", "v1", 1, 8, 8, 10), set("new", "v2", 2, 3, 0, 10)], &[("new", 5)]);
    check_sizes(&d, &[set("old", "v1", 1, 8, 8, 10), set("new", "v2", 2, 5, 0, 10)], &[]);
    check_sizes(&d, &[set("old", "v1", 1, 8, 8, 10), set("new", "v2", 2, 5, 5, 10)], &[("old", 3)]);
    check_sizes(&d, &[set("old", "v1", 1, 3, 3, 10), set("new", "v2", 2, 5, 5, 10)], &[("new", 10)]);
    check_sizes(&d, &[set("old", "v1", 1, 3, 3, 10), set("new", "v2", 2, 10, 10, 10)], &[("old", 0)]);
}

#[test]
fn unavailable_old_pods_go_first() {
    let d = deployment(10, "v2", json!({}));
    let sets = [set("old", "v1", 1, 8, 2, 10), set("new", "v2", 2, 5, 0, 10)];
    check_sizes(&d, &sets, &[]);
    check_sizes(&d, &[set("old", "v1", 1, 8, 6, 10), set("new", "v2", 2, 5, 4, 10)], &[("old", 4)]);
}

#[test]
fn the_sizes_of_a_rollout_stay_within_the_fenceposts_and_it_ends() {
    for (replicas, surge, unavailable) in
        [(1, json!(1), json!(0)), (1, json!(0), json!(1)), (10, json!("25%"), json!("25%")), (7, json!(0), json!(3)), (3, json!("100%"), json!(0))]
    {
        let d = deployment(replicas, "v2", json!({"spec": {"strategy": {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}}}));
        let (most, least) = (replicas + size::max_surge(&d), replicas - size::max_unavailable(&d));
        let (mut old, mut new) = (replicas, 0);
        let mut steps = 0;
        while (old, new) != (0, replicas) {
            let plan = planned(&d, &[set("old", "v1", 1, old, old, replicas), set("new", "v2", 2, new, new, replicas)]);
            let sizes = sizes(&plan);
            old = sizes.get("old").map_or(old, |size| *size as i32);
            new = sizes.get("new").map_or(new, |size| *size as i32);
            assert!(old + new <= most && old + new >= least, "{old} {new} not in {least}..={most}");
            steps += 1;
            assert!(steps < 100, "stuck at {old} {new}");
        }
    }
}

#[test]
fn recreate_waits_until_old_pods_have_left() {
    let d = deployment(3, "v2", json!({"spec": {"strategy": {"type": "Recreate", "rollingUpdate": null}}}));
    check_sizes(&d, &[set("old", "v1", 1, 3, 3, 3)], &[("old", 0)]);
    let gone = set("old", "v1", 1, 0, 0, 3);
    check_sizes(&d, std::slice::from_ref(&gone), &[("created", 3)]);
    let leaving: Pod = serde_json::from_value(json!({
        "metadata": {"namespace": "a", "name": "p", "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "old", "uid": "old", "controller": true}]},
        "status": {"phase": "Running"}
    }))
    .unwrap();
    let plan = plan::plan(&Observed { deployment: d, sets: vec![gone], namesake: None, pods: vec![Arc::new(leaving)] }, now());
    assert!(sizes(&plan).is_empty());
}

#[test]
fn scaling_during_a_rollout_keeps_proportions_and_outside_goes_to_the_one_set() {
    let d = deployment(20, "v2", json!({}));
    check_sizes(&d, &[set("only", "v2", 1, 10, 10, 10)], &[("only", 20)]);
    check_sizes(&d, &[set("old", "v1", 1, 8, 8, 10), set("new", "v2", 2, 5, 5, 10)], &[("old", 15), ("new", 10)]);
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    let d = deployment(5, "v2", json!({"spec": {"paused": true}}));
    let plan = planned(&d, &[set("old", "v1", 1, 3, 3, 3)]);
    assert_eq!(sizes(&plan), BTreeMap::from([("old".to_string(), 5)]));
    assert_eq!(condition(&plan, "Progressing").unwrap().1, "DeploymentPaused");
    let resumed =
        deployment(3, "v1", json!({"status": {"conditions": [{"type": "Progressing", "status": "Unknown", "reason": "DeploymentPaused"}]}}));
    let plan = planned(&resumed, &[set("only", "v1", 1, 3, 0, 3)]);
    assert_ne!(condition(&plan, "Progressing").unwrap().1, "DeploymentPaused");
}

#[test]
fn going_back_to_an_old_template_reuses_its_set_with_a_new_revision() {
    let plan = planned(
        &deployment(3, "v1", json!({"metadata": {"annotations": {revision::REVISION: "2"}}})),
        &[set("one", "v1", 1, 0, 0, 3), set("two", "v2", 2, 3, 3, 3)],
    );
    let described = plan.describe();
    assert!(described[0].contains("a/one ") && described[0].contains(r#""deployment.kubernetes.io/revision":"3""#), "{described:?}");
    assert!(described[0].contains(r#""deployment.kubernetes.io/revision-history":"1""#) && described[0].contains(r#""replicas":1"#), "{described:?}");
    assert!(described[1].contains("deployments.apps a/web") && described[1].contains(r#""deployment.kubernetes.io/revision":"3""#), "{described:?}");
}

fn progressing(reason: &str, updated: &str) -> Value {
    json!({"status": {"conditions": [{"type": "Progressing", "status": "True", "reason": reason, "lastUpdateTime": updated, "lastTransitionTime": updated}]}})
}

#[test]
fn progress_is_judged_and_a_standstill_times_out() {
    let counts = |mut more: Value, ready: i32| {
        merge(
            &mut more,
            json!({"status": {"replicas": 3, "updatedReplicas": 3, "readyReplicas": ready, "availableReplicas": ready, "unavailableReplicas": 3 - ready}}),
        );
        more
    };
    let check = |more: Value, available: i32, expect: (&str, &str)| {
        let plan = planned(&deployment(3, "v1", more), &[set("only", "v1", 1, 3, available, 3)]);
        let (state, reason, _) = condition(&plan, "Progressing").unwrap();
        assert_eq!((state.as_str(), reason.as_str()), expect);
        plan
    };
    check(counts(progressing("NewReplicaSetCreated", "2026-01-01T00:59:00Z"), 0), 1, ("True", "ReplicaSetUpdated"));
    let plan = check(counts(progressing("ReplicaSetUpdated", "2026-01-01T00:59:00Z"), 1), 3, ("True", "NewReplicaSetAvailable"));
    assert_eq!(condition(&plan, "Progressing").unwrap().2, "ReplicaSet \"only\" has successfully progressed.");
    let plan = check(counts(progressing("ReplicaSetUpdated", "2026-01-01T00:49:59Z"), 1), 1, ("False", "ProgressDeadlineExceeded"));
    assert_eq!(condition(&plan, "Progressing").unwrap().2, "ReplicaSet \"only\" has timed out progressing.");
    let waiting =
        planned(&deployment(3, "v1", counts(progressing("ReplicaSetUpdated", "2026-01-01T00:55:00Z"), 1)), &[set("only", "v1", 1, 3, 1, 3)]);
    assert_eq!(waiting.again_at, Some("2026-01-01T01:05:01Z".parse().unwrap()));
}

#[test]
fn history_beyond_the_limit_is_deleted_once_the_rollout_is_complete() {
    let more = json!({"spec": {"revisionHistoryLimit": 1}, "status": {"replicas": 3, "updatedReplicas": 3, "availableReplicas": 3, "observedGeneration": 2}});
    let sets = [set("one", "v1", 1, 0, 0, 3), set("two", "v2", 2, 0, 0, 3), set("three", "v3", 3, 0, 0, 3), set("four", "v4", 4, 3, 3, 3)];
    let plan = planned(&deployment(3, "v4", more), &sets);
    let deletes: Vec<String> = plan.describe().into_iter().filter(|line| line.starts_with("delete")).collect();
    assert_eq!(deletes, ["delete replicasets.apps a/one", "delete replicasets.apps a/two"]);
}

#[test]
fn a_taken_name_counts_a_collision_and_makes_nothing() {
    let d = deployment(3, "v1", json!({}));
    let plan = plan::plan(&Observed { deployment: d, sets: vec![], namesake: Some(set("x", "v9", 1, 1, 1, 1)), pods: vec![] }, now());
    assert!(plan.actions.is_empty());
    assert_eq!(status(&plan)["collisionCount"], 1);
}

#[test]
fn a_failed_creation_becomes_a_condition() {
    let plan = planned(&deployment(3, "v1", json!({})), &[]);
    let after = plan.status_after_failure.unwrap();
    let failure = |action| controllers_runtime::Failure { message: "denied".into(), code: Some(403), action };
    let status = after(&failure(0)).unwrap().to_string();
    assert!(status.contains("ReplicaSetCreateError") && status.contains(": denied"), "{status}");
    assert!(after(&failure(1)).is_none());
}

#[test]
fn a_finished_deployment_needs_nothing() {
    let conditions = json!([
        {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable", "message": "Deployment has minimum availability."},
        {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable", "message": "ReplicaSet \"only\" has successfully progressed."}
    ]);
    let more = json!({"metadata": {"annotations": {revision::REVISION: "1"}}, "status": {"replicas": 3, "updatedReplicas": 3, "readyReplicas": 3, "availableReplicas": 3,
                      "terminatingReplicas": 0, "observedGeneration": 2, "conditions": conditions}});
    let plan = planned(&deployment(3, "v1", more), &[set("only", "v1", 1, 3, 3, 3)]);
    assert_eq!((plan.describe(), plan.again_at), (vec![], None));
}
