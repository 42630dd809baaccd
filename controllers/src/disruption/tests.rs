use super::scale::Scale;
use super::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn pod(name: &str, ready: bool) -> Value {
    json!({"metadata": {"namespace": "a", "name": name}, "status": {"conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]}})
}

fn planned(spec: Value, status: Value, pods: &[Value], scales: scale::Scales) -> Plan {
    let budget = json!({"metadata": {"namespace": "a", "name": "b", "uid": "b", "generation": 3}, "spec": spec, "status": status});
    let pods = pods.iter().map(|pod| Arc::new(serde_json::from_value(pod.clone()).unwrap())).collect();
    let observed = Observed { budget: Arc::new(serde_json::from_value(budget).unwrap()), pods, scales };
    plan::plan(&observed, "2026-01-01T00:10:00Z".parse().unwrap())
}

fn wanting(number: i32) -> scale::Scales {
    Ok(Scale { unmanaged: vec![], wanted: BTreeMap::from([("rs".to_string(), number)]) })
}

/// Expected, desired, healthy, allowed.
#[track_caller]
fn check(spec: Value, pods: &[Value], scales: scale::Scales, expect: (i64, i64, i64, i64)) {
    let Some(controllers_runtime::Action::Patch { patch, .. }) = planned(spec, json!({}), pods, scales).status else { panic!() };
    let status = &patch["status"];
    let number = |name: &str| status[name].as_i64().unwrap();
    assert_eq!((number("expectedPods"), number("desiredHealthy"), number("currentHealthy"), number("disruptionsAllowed")), expect, "{status}");
    let reason = if expect.3 > 0 { "SufficientPods" } else { "InsufficientPods" };
    assert_eq!(
        (&status["conditions"][0]["reason"], &status["observedGeneration"], &status["conditions"][0]["observedGeneration"]),
        (&json!(reason), &json!(3), &json!(3))
    );
}

#[test]
fn a_number_counts_pods_and_a_share_what_their_controllers_want() {
    let pods = [pod("a", true), pod("b", true), pod("c", false)];
    check(json!({"minAvailable": 1}), &pods, wanting(3), (3, 1, 2, 1));
    check(json!({"minAvailable": 2}), &pods, wanting(3), (3, 2, 2, 0));
    check(json!({"minAvailable": 0}), &[], wanting(0), (0, 0, 0, 0));
    check(json!({"minAvailable": "30%"}), &pods, wanting(10), (10, 3, 2, 0));
    check(json!({"minAvailable": "5%"}), &pods, wanting(10), (10, 1, 2, 1));
    check(json!({"maxUnavailable": 2}), &pods, wanting(3), (3, 1, 2, 1));
    check(json!({"maxUnavailable": "100%"}), &pods, wanting(3), (3, 0, 2, 2));
    check(json!({"maxUnavailable": "34%"}), &pods, wanting(3), (3, 1, 2, 1));
}

#[test]
fn pods_that_leave_or_were_evicted_are_not_healthy() {
    let mut leaving = pod("b", true);
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    let evicted = json!({"disruptedPods": {"a": "2026-01-01T00:09:00Z", "b": "2026-01-01T00:09:00Z", "gone": "2026-01-01T00:09:00Z", "c": "2026-01-01T00:07:00Z"}});
    let plan = planned(json!({"minAvailable": 1}), evicted, &[pod("a", true), leaving, pod("c", true), pod("d", true)], wanting(4));
    let status = plan.status.unwrap().to_string();
    assert!(status.contains(r#""currentHealthy":2"#) && status.contains(r#""disruptedPods":{"b":null,"c":null,"gone":null}"#), "{status}");
    assert_eq!((plan.again_at, plan.events[0].reason), (Some("2026-01-01T00:11:01Z".parse().unwrap()), "NotDeleted"));
}

#[test]
fn a_status_that_is_right_is_not_written() {
    let Some(controllers_runtime::Action::Patch { patch, .. }) = planned(json!({"minAvailable": 1}), json!({}), &[pod("a", true)], wanting(1)).status
    else {
        panic!()
    };
    assert!(planned(json!({"minAvailable": 1}), patch["status"].clone(), &[pod("a", true)], wanting(1)).status.is_none());
}

#[test]
fn nothing_may_be_evicted_where_the_numbers_are_not_known() {
    let before = json!({"disruptionsAllowed": 5, "currentHealthy": 7, "desiredHealthy": 1, "expectedPods": 7, "observedGeneration": 2});
    let plan = planned(json!({"maxUnavailable": 1}), before, &[pod("a", true)], Err("jobs.batch does not implement the scale subresource".into()));
    let status = plan.status.unwrap().to_string();
    assert!(
        status.contains(r#""disruptionsAllowed":0"#) && status.contains(r#""reason":"SyncFailed""#) && !status.contains("currentHealthy"),
        "{status}"
    );
    assert_eq!(plan.events[0].reason, "CalculateExpectedPodCountFailed");
}

#[test]
fn pods_that_nobody_controls_are_reported() {
    let scales = Ok(Scale { unmanaged: vec!["a".into()], wanted: BTreeMap::new() });
    let spec = json!({"maxUnavailable": 1, "selector": {"matchLabels": {"app": "x"}}});
    let plan = planned(spec, json!({}), &[pod("a", true)], scales);
    assert!(plan.events[0].message.starts_with("Pods selected by this PodDisruptionBudget (selector: &LabelSelector{MatchLabels:map[string]string{app: x,},MatchExpressions:[]LabelSelectorRequirement{},}) were found"), "{}", plan.events[0].message);
}

#[test]
fn a_mark_is_taken_off_after_two_minutes() {
    let check = |at: &str, expect: (usize, Option<&str>)| {
        let pod = json!({"metadata": {"namespace": "a", "name": "p"}, "status": {"conditions": [{"type": "DisruptionTarget", "status": "True", "lastTransitionTime": at}]}});
        let plan = stale::plan(&serde_json::from_value(pod).unwrap(), "2026-01-01T00:10:00Z".parse().unwrap());
        assert_eq!((plan.actions.len(), plan.again_at), (expect.0, expect.1.map(|at| at.parse().unwrap())));
    };
    check("2026-01-01T00:08:00Z", (1, None));
    check("2026-01-01T00:08:01Z", (0, Some("2026-01-01T00:10:01Z")));
}
