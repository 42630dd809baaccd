use super::decide::{Owner, Verdict, verdict};
use super::graph::{Graph, Look};
use crate::discovery::Resource;
use controllers_runtime::Kind;
use controllers_runtime::plan::Propagation;
use k8s_openapi::api::core::v1::Pod;
use kube::core::ObjectMeta;
use serde_json::{Value, json};

fn resource() -> Resource {
    Resource { kind: Kind::of::<Pod>(), namespaced: true, verbs: vec![] }
}

/// `owners` are uids; a `!` before one blocks its deletion. `finalizer` says that the object is being deleted.
fn meta(uid: &str, owners: &[&str], finalizer: Option<&str>) -> ObjectMeta {
    let reference = |owner: &&str| {
        let (blocks, uid) = owner.strip_prefix('!').map_or((false, *owner), |uid| (true, uid));
        json!({"apiVersion": "v1", "kind": "Pod", "name": uid, "uid": uid, "blockOwnerDeletion": blocks})
    };
    let mut meta = json!({"name": uid, "namespace": "a", "uid": uid, "ownerReferences": owners.iter().map(reference).collect::<Vec<_>>()});
    if let Some(finalizer) = finalizer {
        meta["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        meta["finalizers"] = json!([finalizer]);
    }
    serde_json::from_value(meta).unwrap()
}

fn told(looks: Vec<Look>) -> Vec<String> {
    let mut told: Vec<String> = looks
        .into_iter()
        .map(|look| match look {
            Look::Delete(uid) => format!("delete {uid}"),
            Look::Orphan(uid) => format!("orphan {uid}"),
        })
        .collect();
    told.sort();
    told
}

#[test]
fn dependents_are_looked_at_when_their_owner_goes_or_was_never_seen() {
    let mut graph = Graph::default();
    assert_eq!(told(graph.put(&resource(), &meta("owner", &[], None))), [""; 0]);
    assert_eq!(told(graph.put(&resource(), &meta("child", &["owner"], None))), [""; 0]);
    assert_eq!(told(graph.put(&resource(), &meta("stray", &["unseen"], None))), ["delete stray"]);
    assert!(graph.knows_owners("child") && !graph.knows_owners("stray"));
    assert_eq!(told(graph.remove("owner")), ["delete child"]);
    assert_eq!(told(graph.remove("owner")), [""; 0]);
    assert!(!graph.knows_owners("child"));
}

#[test]
fn a_foreground_deletion_goes_down_and_comes_back_when_blockers_are_gone() {
    let mut graph = Graph::default();
    graph.put(&resource(), &meta("owner", &[], None));
    graph.put(&resource(), &meta("one", &["!owner"], None));
    graph.put(&resource(), &meta("two", &["!owner"], None));
    assert_eq!(told(graph.put(&resource(), &meta("owner", &[], Some("foregroundDeletion")))), ["delete one", "delete owner", "delete two"]);
    assert_eq!(told(graph.put(&resource(), &meta("owner", &[], Some("foregroundDeletion")))), [""; 0], "only the transition counts");
    assert_eq!(told(graph.put(&resource(), &meta("two", &["owner"], None))), ["delete owner"], "two blocks no longer");
    assert_eq!(told(graph.remove("one")), ["delete owner"]);
    assert_eq!(told(graph.put(&resource(), &meta("late", &["!owner"], None))), ["delete late"], "made while its owner waits");
}

#[test]
fn an_orphaning_deletion_is_seen_once() {
    let mut graph = Graph::default();
    assert_eq!(told(graph.put(&resource(), &meta("owner", &[], Some("orphan")))), ["orphan owner"]);
    assert_eq!(told(graph.put(&resource(), &meta("owner", &[], Some("orphan")))), [""; 0]);
}

#[test]
fn a_resource_that_is_no_longer_served_counts_as_deleted() {
    let mut graph = Graph::default();
    graph.put(&resource(), &meta("owner", &[], None));
    graph.put(&Resource { kind: Kind::of::<k8s_openapi::api::core::v1::ConfigMap>(), ..resource() }, &meta("child", &["owner"], None));
    assert_eq!(told(graph.forget_kind(&Kind::of::<Pod>())), ["delete child"]);
}

fn check(owners: &[Owner], finalizers: Value, dependent_waits: Option<bool>, expect: Verdict) {
    let names = ["o0", "o1", "o2"];
    let latest: ObjectMeta = serde_json::from_value(json!({"finalizers": finalizers})).unwrap();
    let references = meta("x", &names[..owners.len()], None).owner_references.unwrap_or_default();
    let owners: Vec<_> = references.into_iter().zip(owners.iter().copied()).collect();
    assert_eq!(verdict(&latest, &owners, dependent_waits), expect, "{owners:?}");
}

#[test]
fn an_object_stays_while_one_owner_is_solid() {
    check(&[], json!([]), None, Verdict::Keep);
    check(&[Owner::Solid], json!([]), None, Verdict::Keep);
    check(&[Owner::Solid, Owner::Gone, Owner::Waiting], json!([]), None, Verdict::Release { uids: vec!["o1".into(), "o2".into()] });
}

#[test]
fn an_object_without_solid_owner_goes_the_way_it_was_asked_for() {
    let gone = |propagation| Verdict::Delete { propagation, unblock: false };
    check(&[Owner::Gone], json!([]), None, gone(Propagation::Background));
    check(&[Owner::Gone], json!(["orphan"]), Some(false), gone(Propagation::Orphan));
    check(&[Owner::Gone], json!(["foregroundDeletion"]), Some(false), gone(Propagation::Foreground));
    check(&[Owner::Waiting], json!([]), None, gone(Propagation::Background));
    check(&[Owner::Waiting], json!([]), Some(false), gone(Propagation::Foreground));
    check(&[Owner::Waiting], json!([]), Some(true), Verdict::Delete { propagation: Propagation::Foreground, unblock: true });
}
