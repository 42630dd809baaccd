use super::plan::{Found, conditions, wait};
use k8s_openapi::api::core::v1::NamespaceCondition;
use std::collections::BTreeMap;
use std::time::Duration;

fn told(old: &[NamespaceCondition], found: &Found) -> Option<Vec<String>> {
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let line = |condition: &NamespaceCondition| format!("{} {} {}", condition.type_, condition.status, condition.message.as_deref().unwrap());
    conditions(old, found, now).map(|conditions| conditions.iter().map(line).collect())
}

#[test]
fn an_empty_namespace_has_all_five_conditions_and_they_are_written_once() {
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let first = conditions(&[], &Found::default(), now).unwrap();
    assert_eq!(first.len(), 5);
    assert!(first.iter().all(|condition| condition.status == "False"));
    assert!(conditions(&first, &Found::default(), now).is_none());
}

#[test]
fn what_remains_is_worded_as_upstream_words_it() {
    let found = Found {
        discovery_failures: vec!["metrics.k8s.io/v1".into()],
        delete_failures: vec!["b".into(), "a".into()],
        remaining: BTreeMap::from([("pods.".into(), 2), ("deployments.apps".into(), 1)]),
        finalizers: BTreeMap::from([("example.com/f".into(), 3)]),
        estimate: 15,
    };
    let told = told(&[], &found).unwrap();
    assert!(told[0].starts_with("NamespaceDeletionDiscoveryFailure True Discovery failed for some groups, 1 failing: "), "{}", told[0]);
    assert_eq!(told[2], "NamespaceDeletionContentFailure True Failed to delete all resource types, 2 remaining: a, b");
    assert_eq!(
        told[3],
        "NamespaceContentRemaining True Some resources are remaining: deployments.apps has 1 resource instances, pods. has 2 resource instances"
    );
    assert_eq!(
        told[4],
        "NamespaceFinalizersRemaining True Some content in the namespace has finalizers remaining: example.com/f in 3 resource instances"
    );
}

#[test]
fn a_condition_that_gets_better_keeps_its_place_and_moves_its_time() {
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let failing = Found { delete_failures: vec!["x".into()], ..Found::default() };
    let before = conditions(&[], &failing, now).unwrap();
    let later = "2026-01-01T00:01:00Z".parse().unwrap();
    let after = conditions(&before, &Found::default(), later).unwrap();
    assert_eq!(after.len(), 5);
    assert_ne!(after[2].last_transition_time, before[2].last_transition_time);
    assert_eq!(after[1].last_transition_time, before[1].last_transition_time);
}

#[test]
fn the_next_look_comes_after_half_the_estimate_and_soon() {
    let check = |estimate, seconds| assert_eq!(wait(estimate), Duration::from_secs(seconds));
    check(0, 1);
    check(2, 2);
    check(15, 8);
    check(3600, 15);
}
