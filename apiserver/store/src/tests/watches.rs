//! What a watcher sees.

use super::{Running, describe, put, ready, rows};
use crate::{Closed, Ending, Key, Limits, Op, Range, Revision};
use std::time::Duration;

#[tokio::test]
async fn a_watcher_sees_its_range_in_order_with_what_was_before() {
    let running = Running::new().await;
    let mut pods = running.watch(Range::prefix("/r/pods/"), 0);
    let mut one = running.watch(Range::one("/r/pods/b"), 0);
    let mut span = running.watch(Range::Between { start: Key::from("/r/pods/b"), end: Key::from("/r/z") }, 0);
    assert_eq!((ready(&mut pods), ready(&mut one), ready(&mut span)), (vec![], vec![], vec![]));
    running.put("/r/pods/a", "1").await;
    running.put("/r/podsx", "1").await;
    running.put("/r/pods/b", "1").await;
    running.put("/r/pods/a", "2").await;
    running.delete("/r/pods/b").await;
    assert_eq!(ready(&mut pods), ["/r/pods/a@1", "/r/pods/b@3", "/r/pods/a@4(1)", "-/r/pods/b@5(3)"]);
    assert_eq!(ready(&mut one), ["/r/pods/b@3", "-/r/pods/b@5(3)"]);
    assert_eq!(ready(&mut span), ["/r/podsx@2", "/r/pods/b@3", "-/r/pods/b@5(3)"]);
}

#[tokio::test]
async fn a_watch_begins_anywhere_in_the_past() {
    let running = Running::new().await;
    for text in ["1", "2", "3", "4"] {
        running.put("/a", text).await;
    }
    assert_eq!(ready(&mut running.watch(Range::all(), 0)), ["/a@1", "/a@2(1)", "/a@3(2)", "/a@4(3)"]);
    assert_eq!(ready(&mut running.watch(Range::all(), 2)), ["/a@3(2)", "/a@4(3)"]);
    assert_eq!(ready(&mut running.watch(Range::all(), 4)), Vec::<String>::new());
}

#[tokio::test]
async fn a_watch_may_begin_in_the_future() {
    let running = Running::new().await;
    let mut watch = running.watch(Range::all(), 2);
    assert_eq!(ready(&mut watch), Vec::<String>::new());
    for text in ["1", "2", "3"] {
        running.put("/a", text).await;
    }
    assert_eq!(ready(&mut watch), ["/a@3(2)"]);
}

#[tokio::test]
async fn a_watch_goes_on_after_a_restart() {
    let running = Running::new().await;
    for text in ["1", "2", "3"] {
        running.put("/a", text).await;
    }
    running.store.compact(Revision(1)).await.expect("compacted");
    let running = running.reopen().await;
    running.put("/a", "4").await;
    assert_eq!(ready(&mut running.watch(Range::all(), 1)), ["/a@2(1)", "/a@3(2)", "/a@4(3)"]);
}

#[tokio::test]
async fn waiting_for_a_change_wakes_with_it() {
    let running = Running::new().await;
    let mut watch = running.watch(Range::prefix("/a"), 0);
    let store = running.store.clone();
    let (change, _) = tokio::join!(watch.next(), async move {
        tokio::task::yield_now().await;
        store.commit(crate::Txn::new(vec![], vec![put("/b", "1")])).await.expect("committed");
        store.commit(crate::Txn::new(vec![], vec![put("/a", "1")])).await.expect("committed");
    });
    assert_eq!(describe(&change.expect("a change")), "/a@2");
}

#[tokio::test]
async fn a_slow_watcher_is_closed_and_resumes_without_a_loss() {
    let running = Running::with(Limits { watch_queue_events_max: 3, ..Limits::default() }).await;
    let mut watch = running.watch(Range::prefix("/a"), 0);
    let mut quick = running.watch(Range::prefix("/a"), 0);
    assert!(watch.try_next().is_none());
    let mut seen = Vec::new();
    for revision in 1..=6 {
        assert_eq!(running.put("/a", &revision.to_string()).await, Revision(revision));
        assert_eq!(ready(&mut quick).len(), 1);
    }
    let closed = loop {
        match watch.next().await {
            Ok(change) => seen.push(change.revision.0),
            Err(closed) => break closed,
        }
    };
    assert_eq!(closed, Closed { resume_after: Revision(3), why: Ending::Slow });
    let mut watch = running.store.watch(Range::prefix("/a"), closed.resume_after).expect("it resumes");
    while let Some(Ok(change)) = watch.try_next() {
        seen.push(change.revision.0);
    }
    assert_eq!(seen, [1, 2, 3, 4, 5, 6]);
    assert_eq!(running.store.metrics().slow_watches.get(), 1);
}

#[tokio::test]
async fn a_watch_is_never_closed_within_a_revision() {
    let running = Running::with(Limits { watch_queue_events_max: 2, ..Limits::default() }).await;
    let mut watch = running.watch(Range::all(), 0);
    assert!(watch.try_next().is_none());
    running.put("/a", "1").await;
    running.commit(vec![], vec![put("/b", "1"), put("/c", "1"), put("/d", "1")]).await.expect("committed");
    running.put("/a", "2").await;
    assert_eq!(ready(&mut watch), ["/a@1", "/b@2", "/c@2", "/d@2"]);
    assert_eq!(watch.next().await.expect_err("slow").resume_after, Revision(2));
}

#[tokio::test]
async fn nothing_is_lost_between_a_snapshot_and_a_watch() {
    const WRITES: usize = 400;
    let running = Running::new().await;
    let store = running.store.clone();
    let writing = async {
        for index in 0..WRITES {
            let op = if index % 7 == 6 { Op::Delete { key: Key::from("/k3") } } else { put(&format!("/k{}", index % 5), &index.to_string()) };
            store.commit(crate::Txn::new(vec![], vec![op])).await.expect("committed");
        }
    };
    let watching = async {
        for _ in 0..40 {
            let snapshot = running.store.snapshot();
            let mut watch = running.store.watch(Range::all(), snapshot.revision()).expect("a watch");
            let mut map = snapshot.map().clone();
            for _ in 0..5 {
                tokio::task::yield_now().await;
                while let Some(next) = watch.try_next() {
                    let change = next.expect("it is open");
                    assert_eq!(map.get(&change.key).map(|row| row.modified), change.old.as_ref().map(|row| row.modified));
                    match &change.new {
                        Some(row) => drop(map.insert(change.key.clone(), row.clone())),
                        None => drop(map.remove(&change.key)),
                    }
                }
                let now = running.store.snapshot();
                let seen: Vec<String> = map.iter().map(|(key, row)| format!("{key}@{}", row.modified)).collect();
                assert_eq!(seen, rows(&now, &Range::all()));
            }
        }
    };
    tokio::join!(writing, watching);
}

#[tokio::test]
async fn progress_follows_writes_elsewhere_and_never_overtakes_what_waits() {
    let running = Running::new().await;
    let mut watch = running.watch(Range::prefix("/a"), 0);
    assert!(watch.try_next().is_none());
    assert_eq!(watch.progress(), Revision(0));
    running.put("/b", "1").await;
    watch.reached(Revision(1)).await.expect("it is open");
    assert_eq!(watch.progress(), Revision(1));
    running.put("/a", "1").await;
    running.put("/b", "2").await;
    assert_eq!(watch.progress(), Revision(1));
    assert_eq!(ready(&mut watch), ["/a@2"]);
    assert_eq!(watch.progress(), Revision(3));
    assert_eq!(running.watch(Range::all(), 9).progress(), Revision(9), "a future watch has seen what it does not want");
}

#[tokio::test]
async fn a_dropped_watch_leaves_nothing_behind() {
    let running = Running::with(Limits { watches_max: 4, ..Limits::default() }).await;
    for range in [Range::one("/a"), Range::prefix("/a"), Range::From(Key::from("/a")), Range::all()] {
        let mut watch = running.watch(range, 0);
        assert!(watch.try_next().is_none());
    }
    let open: Vec<_> = (0..4).map(|_| running.watch(Range::all(), 0)).collect();
    assert!(running.store.watch(Range::all(), Revision(0)).is_err());
    drop(open);
    running.put("/a", "1").await;
    assert_eq!(ready(&mut running.watch(Range::all(), 0)), ["/a@1"]);
    assert_eq!(running.store.metrics().watches.get(), 0);
}

#[tokio::test]
async fn watches_end_with_the_store_and_say_where_they_stood() {
    let running = Running::new().await;
    let mut watch = running.watch(Range::all(), 0);
    assert!(watch.try_next().is_none());
    running.put("/a", "1").await;
    running.stop().await;
    assert_eq!(describe(&watch.next().await.expect("what was queued comes first")), "/a@1");
    assert_eq!(watch.next().await.expect_err("closed"), Closed { resume_after: Revision(1), why: Ending::StoreClosed });
    assert!(running.store.watch(Range::all(), Revision(0)).is_err());
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_revision_ends_in_time() {
    let running = Running::new().await;
    running.put("/a", "1").await;
    let patience = Duration::from_secs(3);
    assert_eq!(running.store.wait_for(Revision(1), patience).await.expect("it is there").revision(), Revision(1));
    assert!(running.store.wait_for(Revision(2), patience).await.is_err());
    let (waited, _) = tokio::join!(running.store.wait_for(Revision(2), patience), running.put("/a", "2"));
    assert_eq!(waited.expect("it came").revision(), Revision(2));
}
