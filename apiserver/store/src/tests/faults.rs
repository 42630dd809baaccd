//! What the store does when the engine fails it.

use super::{Running, put, ready, rows};
use crate::memory::Fault;
use crate::{CommitError, Range, Revision, StoreError};
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn an_unknown_append_that_landed_is_committed_and_shown_once() {
    let running = Running::new().await;
    let mut watch = running.watch(Range::all(), 0);
    assert!(watch.try_next().is_none());
    running.memory.fail_appends([Fault::UnknownLanded]);
    running.memory.fail_settles(3);
    assert_eq!(running.put("/a", "1").await, Revision(1));
    assert_eq!(running.put("/a", "2").await, Revision(2));
    assert_eq!(ready(&mut watch), ["/a@1", "/a@2(1)"]);
    assert_eq!(running.store.metrics().unknown_appends.get(), 1);
    assert_eq!(rows(&running.reopen().await.store.snapshot(), &Range::all()), ["/a@2"]);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_append_that_was_lost_fails_and_its_revision_is_used_by_the_next() {
    let running = Running::new().await;
    let mut watch = running.watch(Range::all(), 0);
    running.memory.fail_appends([Fault::UnknownLost]);
    let error = running.commit(vec![], vec![put("/a", "1")]).await.expect_err("it is lost");
    assert!(matches!(error, CommitError::Append(_)), "{error}");
    assert_eq!(running.put("/b", "1").await, Revision(1));
    assert_eq!(ready(&mut watch), ["/b@1"]);
    assert_eq!(rows(&running.reopen().await.store.snapshot(), &Range::all()), ["/b@1"]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_shown_while_an_append_is_unsettled() {
    let running = Running::new().await;
    running.put("/a", "1").await;
    running.memory.fail_appends([Fault::UnknownLanded]);
    running.memory.fail_settles(usize::MAX);
    let store = running.store.clone();
    let mut writing = Box::pin(async move { store.commit(crate::Txn::new(vec![], vec![put("/a", "2")])).await });
    assert!(tokio::time::timeout(Duration::from_secs(60), &mut writing).await.is_err());
    assert_eq!(running.store.revision(), Revision(1));
    running.memory.fail_settles(0);
    assert_eq!(writing.await.expect("it landed").revision, Revision(2));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_ends_before_it_knows_says_so() {
    let running = Running::new().await;
    running.memory.fail_appends([Fault::UnknownLanded]);
    running.memory.fail_settles(usize::MAX);
    let store = running.store.clone();
    let (error, ()) = tokio::join!(store.commit(crate::Txn::new(vec![], vec![put("/a", "1")])), async {
        tokio::time::sleep(Duration::from_secs(10)).await;
        running.stop().await;
    });
    assert!(matches!(error, Err(CommitError::Unknown { .. })), "{error:?}");
}

#[tokio::test]
async fn a_failed_append_fails_its_whole_batch_and_the_store_goes_on() {
    for fault in [Fault::Failed, Fault::Full] {
        let running = Running::new().await;
        running.memory.fail_appends([fault]);
        let (first, second) = tokio::join!(running.commit(vec![], vec![put("/a", "1")]), running.commit(vec![], vec![put("/b", "1")]));
        assert!(first.is_err() && second.is_err());
        assert_eq!(running.store.revision(), Revision(0));
        assert_eq!(running.put("/c", "1").await, Revision(1));
        assert_eq!(rows(&running.reopen().await.store.snapshot(), &Range::all()), ["/c@1"]);
    }
}

#[tokio::test]
async fn a_deposed_writer_appends_nothing_and_ends() {
    let running = Running::new().await;
    running.put("/a", "1").await;
    let mut watch = running.watch(Range::all(), 1);
    assert!(watch.try_next().is_none());
    let next = Running::on(running.memory.clone(), running.store.limits().clone()).await;
    next.put("/a", "2").await;
    let error = running.commit(vec![], vec![put("/a", "3")]).await.expect_err("it is fenced");
    assert!(matches!(error, CommitError::Fenced { .. }), "{error}");
    running.store.closed().await;
    assert_eq!(watch.next().await.expect_err("closed").resume_after, Revision(1));
    assert_eq!(rows(&next.store.snapshot(), &Range::all()), ["/a@2"]);
}

#[tokio::test]
async fn the_log_decides_when_another_took_over_before_it_was_settled() {
    for (fault, landed) in [(Fault::UnknownLanded, true), (Fault::UnknownLost, false)] {
        let running = Running::new().await;
        running.memory.fail_appends([fault]);
        running.memory.fail_settles(1);
        let memory = running.memory.clone();
        let (result, _) = tokio::join!(running.commit(vec![], vec![put("/a", "1")]), async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            memory.depose();
        });
        match result {
            Ok(committed) => assert!(landed && committed.revision == Revision(1)),
            Err(error) => assert!(!landed && matches!(error, CommitError::Fenced { .. }), "{error}"),
        }
        running.store.closed().await;
    }
}

#[tokio::test]
async fn a_consistent_read_asks_the_head_where_others_may_write() {
    let memory = crate::Memory::new();
    memory.share();
    let running = Running::on(memory, crate::Limits::default()).await;
    running.put("/a", "1").await;
    assert_eq!(running.store.consistent().await.expect("it leads").revision(), Revision(1));
    running.memory.depose();
    assert!(matches!(running.store.consistent().await, Err(StoreError::Fenced { .. })));
    assert_eq!(running.store.snapshot().revision(), Revision(1));
}
