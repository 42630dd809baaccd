//! Leases on a paused clock.

use super::{Running, put, put_with, ready, rows};
use crate::{Lease, LeaseError, Limits, Range, Revision};
use std::time::Duration;

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_expires_deletes_its_keys_at_one_revision() {
    let running = Running::new().await;
    let lease = running.store.grant(None, seconds(10)).await.expect("a lease");
    running.commit(vec![], vec![put_with("/a", "1", lease), put_with("/b", "1", lease), put("/c", "1")]).await.expect("committed");
    let mut watch = running.watch(Range::all(), 1);
    tokio::time::sleep(seconds(9)).await;
    assert_eq!(ready(&mut watch), Vec::<String>::new());
    tokio::time::sleep(seconds(2)).await;
    assert_eq!(ready(&mut watch), ["-/a@2(1)", "-/b@2(1)"]);
    assert_eq!(rows(&running.store.snapshot(), &Range::all()), ["/c@1"]);
    assert!(matches!(running.store.keep_alive(lease).await, Err(LeaseError::NotFound(_))));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_kept_alive_lives() {
    let running = Running::new().await;
    let lease = running.store.grant(Some(Lease(42)), seconds(10)).await.expect("a lease");
    assert_eq!(lease, Lease(42));
    running.commit(vec![], vec![put_with("/a", "1", lease)]).await.expect("committed");
    for _ in 0..5 {
        tokio::time::sleep(seconds(8)).await;
        assert_eq!(running.store.keep_alive(lease).await.expect("it lives"), seconds(10));
    }
    let info = running.store.lease_info(lease, true).await.expect("it lives");
    assert_eq!((info.remaining, info.keys.len()), (seconds(10), 1));
    tokio::time::sleep(seconds(11)).await;
    assert!(running.store.snapshot().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_put_anew_without_the_lease_outlives_it() {
    let running = Running::new().await;
    let lease = running.store.grant(None, seconds(10)).await.expect("a lease");
    running.commit(vec![], vec![put_with("/a", "1", lease)]).await.expect("committed");
    running.put("/a", "1").await;
    tokio::time::sleep(seconds(20)).await;
    assert_eq!(rows(&running.store.snapshot(), &Range::all()), ["/a@2"]);
}

#[tokio::test(start_paused = true)]
async fn revoking_deletes_the_keys_at_once_also_those_of_the_same_moment() {
    let running = Running::new().await;
    let lease = running.store.grant(None, seconds(10)).await.expect("a lease");
    let (put, revoked) = tokio::join!(running.commit(vec![], vec![put_with("/a", "1", lease)]), running.store.revoke(lease));
    assert_eq!(put.expect("committed").revision, Revision(1));
    assert_eq!(revoked.expect("revoked"), Revision(2));
    assert!(running.store.snapshot().is_empty());
    assert!(matches!(running.store.revoke(lease).await, Err(LeaseError::NotFound(_))));
}

#[tokio::test(start_paused = true)]
async fn leases_survive_a_restart_with_their_whole_time() {
    let running = Running::new().await;
    let lease = running.store.grant(None, seconds(10)).await.expect("a lease");
    running.commit(vec![], vec![put_with("/a", "1", lease)]).await.expect("committed");
    tokio::time::sleep(seconds(8)).await;
    let running = running.reopen().await;
    assert_eq!(running.store.leases().await.expect("open"), [lease]);
    tokio::time::sleep(seconds(8)).await;
    assert_eq!(running.store.snapshot().len(), 1);
    let other = running.store.grant(None, seconds(10)).await.expect("a lease");
    assert_ne!(other, lease, "a new epoch gives new ids");
    tokio::time::sleep(seconds(3)).await;
    assert!(running.store.snapshot().is_empty());
    assert_eq!(running.reopen().await.store.leases().await.expect("open"), [other]);
}

#[tokio::test(start_paused = true)]
async fn short_lived_objects_share_a_lease_for_a_while() {
    let running = Running::new().await;
    let share = || async { running.store.share_lease(seconds(3_600)).await.expect("a lease") };
    let first = share().await;
    tokio::time::sleep(seconds(59)).await;
    assert_eq!(share().await, first);
    tokio::time::sleep(seconds(2)).await;
    let second = share().await;
    assert_ne!(second, first);
    let info = running.store.lease_info(second, false).await.expect("it lives");
    assert_eq!(info.granted, seconds(3_660), "whoever comes last still gets all it asked for");
}

#[tokio::test(start_paused = true)]
async fn leases_have_limits() {
    let running = Running::with(Limits { leases_max: 2, ..Limits::default() }).await;
    running.store.grant(Some(Lease(1)), seconds(10)).await.expect("a lease");
    assert!(matches!(running.store.grant(Some(Lease(1)), seconds(10)).await, Err(LeaseError::Exists(Lease(1)))));
    running.store.grant(None, seconds(10)).await.expect("a lease");
    assert!(matches!(running.store.grant(None, seconds(10)).await, Err(LeaseError::TooMany { limit: 2 })));
    tokio::time::sleep(seconds(11)).await;
    assert!(matches!(running.store.grant(None, Duration::MAX).await, Err(LeaseError::TooLong { .. })));
}
