//! What a transaction does, and does not.

use super::{Running, object, put, rows};
use crate::{CommitError, Compare, Draft, Facts, Field, Key, Lease, Limits, Op, Order, Outcome, Range, Revision, Txn};
use bytes::Bytes;
use std::sync::Arc;

fn key(text: &str) -> Key {
    Key::from(text)
}

#[tokio::test]
async fn revisions_are_gapless_and_a_row_knows_its_own() {
    let running = Running::new().await;
    assert_eq!(running.put("/a", "1").await, Revision(1));
    assert_eq!(running.put("/b", "1").await, Revision(2));
    assert_eq!(running.put("/a", "2").await, Revision(3));
    let snapshot = running.store.snapshot();
    let row = snapshot.get("/a").expect("it is there");
    assert_eq!((row.create, row.modified, row.version), (Revision(1), Revision(3), 2));
    assert_eq!(row.object().expect("an object").json().as_ref(), br#"{"metadata":{"name":"a","resourceVersion":"3"},"text":"2"}"#);
    assert_eq!(running.delete("/a").await, Revision(4));
    assert_eq!(running.put("/a", "3").await, Revision(5));
    let snapshot = running.store.snapshot();
    let row = snapshot.get("/a").expect("it is there again");
    assert_eq!((row.create, row.modified, row.version), (Revision(5), Revision(5), 1));
}

#[tokio::test]
async fn all_of_a_transaction_has_one_revision() {
    let running = Running::new().await;
    running.put("/c", "1").await;
    let ops = vec![put("/a", "1"), put("/b", "1"), Op::Delete { key: key("/c") }];
    let committed = running.commit(vec![], ops).await.expect("committed");
    assert_eq!(committed.revision, Revision(2));
    assert_eq!(rows(&running.store.snapshot(), &Range::all()), ["/a@2", "/b@2"]);
}

#[tokio::test]
async fn deleting_gives_the_old_row() {
    let running = Running::new().await;
    running.put("/a", "1").await;
    let committed = running.commit(vec![], vec![Op::Delete { key: key("/a") }]).await.expect("committed");
    let old = committed.outcomes[0].row().expect("the old row");
    let json = old.object().expect("an object").json_at(committed.revision);
    assert_eq!(json.as_ref(), br#"{"metadata":{"name":"a","resourceVersion":"2"},"text":"1"}"#);
}

#[tokio::test]
async fn deleting_what_is_not_there_takes_no_revision() {
    let running = Running::new().await;
    running.put("/a", "1").await;
    assert_eq!(running.delete("/b").await, Revision(1));
    assert_eq!(running.put("/a", "2").await, Revision(2));
}

#[tokio::test]
async fn a_put_that_changes_nothing_gives_the_old_row_and_no_revision() {
    let running = Running::new().await;
    running.put("/a", "1").await;
    let mut watch = running.watch(Range::all(), 1);
    let committed = running.commit(vec![], vec![put("/a", "1")]).await.expect("committed");
    assert_eq!(committed.revision, Revision(1));
    let Outcome::Put { row, old: Some(old) } = &committed.outcomes[0] else { panic!("{committed:?}") };
    assert!(Arc::ptr_eq(row, old));
    assert!(watch.try_next().is_none());
    assert_eq!(running.put("/a", "2").await, Revision(2));
}

#[tokio::test]
async fn a_put_that_changes_nothing_keeps_its_revision_beside_one_that_does() {
    let running = Running::new().await;
    running.put("/a", "1").await;
    let committed = running.commit(vec![], vec![put("/a", "1"), put("/b", "1")]).await.expect("committed");
    assert_eq!(committed.revision, Revision(2));
    assert_eq!(rows(&running.store.snapshot(), &Range::all()), ["/a@1", "/b@2"]);
}

#[tokio::test]
async fn another_schema_or_lease_is_a_change() {
    let running = Running::new().await;
    running.put("/a", "1").await;
    let Draft::Object { json, gap, protobuf, .. } = object("1") else { panic!("an object") };
    let value = Draft::Object { json, gap, protobuf, schema: crate::Generation(2) };
    let op = Op::Put { key: key("/a"), value: value.clone(), facts: Facts::default(), lease: Lease::NONE };
    assert_eq!(running.commit(vec![], vec![op]).await.expect("committed").revision, Revision(2));
    let lease = running.store.grant(None, std::time::Duration::from_secs(60)).await.expect("a lease");
    let op = Op::Put { key: key("/a"), value, facts: Facts::default(), lease };
    assert_eq!(running.commit(vec![], vec![op]).await.expect("committed").revision, Revision(3));
}

#[tokio::test]
async fn opaque_bytes_are_written_anew_each_time() {
    let running = Running::new().await;
    let op = || Op::Put { key: key("k"), value: Draft::Opaque(Bytes::from_static(b"v")), facts: Facts::default(), lease: Lease::NONE };
    assert_eq!(running.commit(vec![], vec![op()]).await.expect("committed").revision, Revision(1));
    assert_eq!(running.commit(vec![], vec![op()]).await.expect("committed").revision, Revision(2));
    assert_eq!(running.store.snapshot().get("k").map(|row| row.version), Some(2));
}

/// With `/a` at revision 1 and 2 (version 2) and `/b` at 3: whether the compare holds.
async fn check_compare(compare: Compare, holds: bool) {
    let running = Running::new().await;
    running.put("/a", "1").await;
    running.put("/a", "2").await;
    running.put("/b", "1").await;
    let result = running.commit(vec![compare.clone()], vec![put("/c", "1")]).await;
    match (&result, holds) {
        (Ok(_), true) => assert_eq!(running.store.revision(), Revision(4)),
        (Err(CommitError::Conflict { compare: 0, .. }), false) => assert_eq!(running.store.revision(), Revision(3)),
        _ => panic!("{compare:?}: {result:?}"),
    }
}

#[tokio::test]
async fn compares_hold_or_are_conflicts() {
    let (a, b, x) = (|| key("/a"), || key("/b"), || key("/x"));
    check_compare(Compare::Absent(x()), true).await;
    check_compare(Compare::Absent(a()), false).await;
    check_compare(Compare::Exists(a()), true).await;
    check_compare(Compare::Exists(x()), false).await;
    check_compare(Compare::Modified { key: a(), is: Revision(2) }, true).await;
    check_compare(Compare::Modified { key: a(), is: Revision(1) }, false).await;
    check_compare(Compare::Modified { key: x(), is: Revision(0) }, false).await;
    let each = |range, field, order| Compare::Each { range, field, order };
    let one = Range::One;
    check_compare(each(one(a()), Field::Version(2), Order::Equal), true).await;
    check_compare(each(one(a()), Field::Version(2), Order::NotEqual), false).await;
    check_compare(each(one(a()), Field::Create(Revision(1)), Order::Equal), true).await;
    check_compare(each(one(a()), Field::Modified(Revision(1)), Order::Greater), true).await;
    check_compare(each(one(a()), Field::Modified(Revision(2)), Order::Less), false).await;
    check_compare(each(one(x()), Field::Modified(Revision(0)), Order::Equal), true).await;
    check_compare(each(one(x()), Field::Lease(Lease::NONE), Order::Equal), true).await;
    check_compare(each(one(x()), Field::Value(Bytes::new()), Order::Equal), false).await;
    check_compare(each(one(x()), Field::Value(Bytes::new()), Order::NotEqual), false).await;
    check_compare(each(Range::all(), Field::Version(0), Order::Greater), true).await;
    check_compare(each(Range::all(), Field::Version(1), Order::Equal), false).await;
    check_compare(each(Range::prefix("/x"), Field::Version(0), Order::Equal), true).await;
    check_compare(each(Range::Between { start: b(), end: x() }, Field::Create(Revision(3)), Order::Equal), true).await;
}

#[tokio::test]
async fn a_conflict_shows_the_row_that_it_met_and_nothing_is_done() {
    let running = Running::new().await;
    running.put("/a", "1").await;
    let compares = vec![Compare::Absent(key("/b")), Compare::Absent(key("/a"))];
    let error = running.commit(compares, vec![put("/b", "1")]).await.expect_err("a conflict");
    let CommitError::Conflict { compare: 1, current: Some(row) } = error else { panic!("{error}") };
    assert_eq!(row.modified, Revision(1));
    assert_eq!(rows(&running.store.snapshot(), &Range::all()), ["/a@1"]);
}

#[tokio::test]
async fn a_later_transaction_of_a_batch_sees_the_earlier() {
    let running = Running::new().await;
    let store = &running.store;
    let create = || store.commit(Txn::new(vec![Compare::Absent(key("/a"))], vec![put("/a", "1")]));
    let results = tokio::join!(create(), create(), create(), create());
    let committed = [&results.0, &results.1, &results.2, &results.3].iter().filter(|result| result.is_ok()).count();
    assert_eq!(committed, 1);
    assert_eq!(store.revision(), Revision(1));
    assert_eq!(store.metrics().batches.get(), 1);
}

#[tokio::test]
async fn what_else_is_done_when_a_compare_fails() {
    let running = Running::new().await;
    let txn =
        |compare| Txn { compares: vec![compare], ops: vec![put("/a", "1")], otherwise: Some(vec![Op::Range { range: Range::all(), limit: 0 }]) };
    let committed = running.store.commit(txn(Compare::Absent(key("/a")))).await.expect("committed");
    assert!(committed.succeeded);
    let committed = running.store.commit(txn(Compare::Absent(key("/a")))).await.expect("committed");
    assert!(!committed.succeeded);
    assert_eq!(committed.revision, Revision(1));
    let Outcome::Range { rows, count: 1 } = &committed.outcomes[0] else { panic!("{committed:?}") };
    assert_eq!(rows[0].0, key("/a"));
}

#[tokio::test]
async fn a_range_sees_what_the_ops_before_it_did() {
    let running = Running::new().await;
    running.put("/a/1", "1").await;
    let range = |limit| Op::Range { range: Range::prefix("/a/"), limit };
    let ops = vec![range(0), put("/a/2", "1"), range(1)];
    let committed = running.commit(vec![], ops).await.expect("committed");
    let counts: Vec<(usize, usize)> = committed
        .outcomes
        .iter()
        .filter_map(|outcome| if let Outcome::Range { rows, count } = outcome { Some((rows.len(), *count)) } else { None })
        .collect();
    assert_eq!(counts, [(1, 1), (1, 2)]);
}

#[tokio::test]
async fn a_range_is_deleted_at_one_revision() {
    let running = Running::new().await;
    for name in ["/a/1", "/a/2", "/ab", "/b"] {
        running.put(name, "1").await;
    }
    let ops = vec![Op::DeleteRange { range: Range::prefix("/a/") }];
    let committed = running.commit(vec![], ops).await.expect("committed");
    let Outcome::DeletedRange { rows: deleted } = &committed.outcomes[0] else { panic!("{committed:?}") };
    assert_eq!(deleted.len(), 2);
    assert_eq!(rows(&running.store.snapshot(), &Range::all()), ["/ab@3", "/b@4"]);
}

async fn check_refused(ops: Vec<Op>, limits: Limits, is: fn(&CommitError) -> bool) {
    let running = Running::with(limits).await;
    let error = running.commit(vec![], ops).await.expect_err("it is refused");
    assert!(is(&error), "{error}");
    assert_eq!(running.store.revision(), Revision(0));
    assert!(running.store.snapshot().is_empty());
}

#[tokio::test]
async fn what_is_malformed_or_too_large_is_refused_whole() {
    let limits = || Limits { value_bytes_max: 100, txn_bytes_max: 2_000, txn_ops_max: 4, key_bytes_max: 10, ..Limits::default() };
    let long = "x".repeat(100);
    let delete = |text| Op::Delete { key: key(text) };
    check_refused(vec![put("/a", "1"), put("", "1")], limits(), |error| matches!(error, CommitError::EmptyKey { op: 1 })).await;
    check_refused(vec![put("/a", "1"), put("/a", "2")], limits(), |error| matches!(error, CommitError::DuplicateKey { op: 1 })).await;
    check_refused(vec![delete("/a"), put("/a", "2")], limits(), |error| matches!(error, CommitError::DuplicateKey { op: 0 })).await;
    let all = Op::DeleteRange { range: Range::all() };
    check_refused(vec![put("/a", "1"), all], limits(), |error| matches!(error, CommitError::DuplicateKey { op: 1 })).await;
    check_refused(vec![put("/a", "1"), put("/b", &long)], limits(), |error| matches!(error, CommitError::ValueTooLarge { .. })).await;
    check_refused(vec![put(&long, "1")], limits(), |error| matches!(error, CommitError::KeyTooLarge { bytes: 100, limit: 10 })).await;
    let five = ["/a", "/b", "/c", "/d", "/e"].map(|name| put(name, "1"));
    check_refused(five.to_vec(), limits(), |error| matches!(error, CommitError::TooManyOps { ops: 5, limit: 4 })).await;
    check_refused(five[..3].to_vec(), Limits { txn_bytes_max: 1_000, ..limits() }, |error| matches!(error, CommitError::TxnTooLarge { .. })).await;
    let no_lease = super::put_with("/a", "1", Lease(7));
    check_refused(vec![put("/b", "1"), no_lease], limits(), |error| matches!(error, CommitError::NoLease { op: 1, lease: Lease(7) })).await;
    let value = Draft::Object { json: b"{}".to_vec(), gap: 3, protobuf: None, schema: crate::Generation(1) };
    let malformed = Op::Put { key: key("/a"), value, facts: Facts::default(), lease: Lease::NONE };
    check_refused(vec![put("/b", "1"), malformed], limits(), |error| matches!(error, CommitError::Malformed { op: 1 })).await;
}

#[tokio::test]
async fn a_full_keyspace_still_takes_deletes_and_what_makes_it_smaller() {
    let running = Running::with(Limits { keyspace_bytes_max: 2_000, ..Limits::default() }).await;
    let large = "x".repeat(300);
    running.put("/a", &large).await;
    running.put("/b", &large).await;
    let error = running.commit(vec![], vec![put("/c", &large)]).await.expect_err("it is full");
    assert!(matches!(error, CommitError::Full), "{error}");
    running.put("/a", "1").await;
    let swap = vec![Op::Delete { key: key("/a") }, Op::Delete { key: key("/b") }, put("/c", &large)];
    running.commit(vec![], swap).await.expect("it does not grow");
    assert_eq!(rows(&running.store.snapshot(), &Range::all()), ["/c@4"]);
}

#[tokio::test]
async fn a_snapshot_pages_from_a_start_key() {
    let running = Running::new().await;
    for name in ["/a/1", "/a/2", "/a/3", "/b"] {
        running.put(name, "1").await;
    }
    let snapshot = running.store.snapshot();
    running.delete("/a/2").await;
    let range = Range::prefix("/a/");
    let page = |start: &Key| snapshot.range_from(&range, start).map(|(key, _)| key.to_string()).collect::<Vec<_>>();
    assert_eq!(page(&key("/a/1").successor()), ["/a/2", "/a/3"]);
    assert_eq!(page(&key("/a/3")), ["/a/3"]);
    assert_eq!(page(&key("/0")), ["/a/1", "/a/2", "/a/3"]);
    assert!(page(&key("/c")).is_empty());
    assert_eq!(snapshot.range(&range).rev().map(|(key, _)| key.to_string()).collect::<Vec<_>>(), ["/a/3", "/a/2", "/a/1"]);
    assert_eq!((snapshot.count(&range), snapshot.count(&Range::all()), snapshot.count(&Range::one("/b"))), (3, 4, 1));
}
