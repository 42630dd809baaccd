//! Reads and watches of former revisions, in memory and beyond it, and compaction.

use super::{Running, ready, rows};
use crate::{AtError, CompactError, Ending, Limits, Range, Revision};
use std::time::Duration;

/// A history that holds nothing, so that the past comes from the engine.
fn forgetful() -> Limits {
    Limits { history_bytes_max: 0, ..Limits::default() }
}

async fn written(limits: Limits) -> Running {
    let running = Running::with(limits).await;
    running.put("/a", "1").await;
    running.put("/b", "1").await;
    running.put("/a", "2").await;
    running.delete("/b").await;
    running.put("/c", "1").await;
    running
}

const STATES: [&[&str]; 6] = [&[], &["/a@1"], &["/a@1", "/b@2"], &["/a@3", "/b@2"], &["/a@3"], &["/a@3", "/c@5"]];

async fn check_states(running: &Running, from: u64) {
    for order in [vec![0, 1, 2, 3, 4, 5], vec![5, 4, 3, 2, 1, 0], vec![3, 1, 4, 0, 5, 2, 2]] {
        for revision in order.into_iter().filter(|revision| *revision >= from) {
            let snapshot = running.store.at(Revision(revision)).await.expect("it can be read");
            assert_eq!(snapshot.revision(), Revision(revision));
            assert_eq!(rows(&snapshot, &Range::all()), STATES[revision as usize]);
            let weight: u64 = snapshot.range(&Range::all()).map(|(_, row)| row.weight()).sum();
            assert_eq!(snapshot.weight(), weight);
        }
    }
}

#[tokio::test]
async fn every_former_state_can_be_read_from_memory() {
    check_states(&written(Limits::default()).await, 0).await;
}

#[tokio::test]
async fn every_former_state_can_be_read_from_the_engine() {
    check_states(&written(forgetful()).await, 0).await;
}

#[tokio::test]
async fn every_former_state_can_be_read_after_a_restart() {
    check_states(&written(Limits::default()).await.reopen().await, 0).await;
    check_states(&written(forgetful()).await.reopen().await, 0).await;
}

#[tokio::test]
async fn what_is_compacted_cannot_be_read_and_the_rest_can() {
    for limits in [Limits::default(), forgetful()] {
        let running = written(limits).await;
        running.store.at(Revision(1)).await.expect("not yet compacted");
        running.store.compact(Revision(3)).await.expect("compacted");
        assert!(matches!(running.store.at(Revision(2)).await, Err(AtError::Compacted(compacted)) if compacted.floor == Revision(3)));
        check_states(&running, 3).await;
        let running = running.reopen().await;
        assert_eq!(running.store.floor(), Revision(3));
        assert!(matches!(running.store.at(Revision(2)).await, Err(AtError::Compacted(_))));
        check_states(&running, 3).await;
    }
}

#[tokio::test]
async fn a_revision_to_come_cannot_be_read() {
    let running = written(Limits::default()).await;
    assert!(matches!(running.store.at(Revision(6)).await, Err(AtError::Future { asked: Revision(6), current: Revision(5) })));
}

#[tokio::test]
async fn a_watch_of_what_has_left_memory_is_read_from_the_engine() {
    let running = written(forgetful()).await;
    let changes = ["/a@1", "/b@2", "/a@3(1)", "-/b@4(2)", "/c@5"];
    for after in 0..=5 {
        let mut watch = running.watch(Range::all(), after);
        let mut seen = Vec::new();
        for _ in after..5 {
            seen.push(super::describe(&watch.next().await.expect("a change")));
        }
        assert_eq!(seen, changes[after as usize..]);
        let revision = running.put("/d", &format!("{after}")).await;
        assert_eq!(watch.next().await.expect("a live change").revision, revision);
        running.delete("/d").await;
        running.memory.fail_appends([]);
        // What the watches to come are to see is only what was written first.
        if after == 0 {
            break;
        }
    }
}

#[tokio::test]
async fn a_watch_of_one_prefix_of_the_past_sees_only_that() {
    let running = written(forgetful()).await;
    let mut watch = running.watch(Range::prefix("/b"), 1);
    assert_eq!(super::describe(&watch.next().await.expect("a change")), "/b@2");
    assert_eq!(super::describe(&watch.next().await.expect("a change")), "-/b@4(2)");
    running.put("/b", "2").await;
    assert_eq!(super::describe(&watch.next().await.expect("a change")), "/b@6");
}

#[tokio::test]
async fn a_watch_from_below_the_floor_is_refused_and_one_that_fell_below_is_closed() {
    for limits in [Limits::default(), forgetful()] {
        let running = written(limits).await;
        let mut fallen = running.watch(Range::all(), 1);
        running.store.compact(Revision(3)).await.expect("compacted");
        let error = running.store.watch(Range::all(), Revision(2)).err().expect("it is refused");
        assert_eq!(error.to_string(), "revision has been compacted (the floor is 3)");
        let closed = fallen.next().await.expect_err("closed");
        assert!(matches!(closed.why, Ending::Compacted(compacted) if compacted.floor == Revision(3)), "{closed}");
        assert_eq!(closed.resume_after, Revision(1));
        let mut watch = running.watch(Range::all(), 3);
        assert_eq!(super::describe(&watch.next().await.expect("a change")), "-/b@4(2)");
    }
}

#[tokio::test]
async fn a_live_watch_survives_compaction() {
    let running = written(Limits::default()).await;
    let mut watch = running.watch(Range::all(), 5);
    assert!(watch.try_next().is_none());
    running.store.compact(Revision(5)).await.expect("compacted");
    running.put("/a", "3").await;
    assert_eq!(ready(&mut watch), ["/a@6(3)"]);
}

#[tokio::test]
async fn compaction_says_when_there_is_nothing_to_compact() {
    let running = written(Limits::default()).await;
    running.store.compact(Revision(3)).await.expect("compacted");
    assert!(matches!(running.store.compact(Revision(3)).await, Err(CompactError::Compacted(_))));
    assert!(matches!(running.store.compact(Revision(6)).await, Err(CompactError::Future { .. })));
}

#[tokio::test]
async fn what_was_compacted_is_folded_also_while_writes_never_cease() {
    // One put a batch, so that the others always wait.
    const WRITERS: usize = 50;
    let running = Running::with(Limits { batch_bytes_max: 1, ..Limits::default() }).await;
    for text in 0..100 {
        running.put("/a", &text.to_string()).await;
    }
    let tasks = apiserver_component::Tasks::new(apiserver_component::Shutdown::new());
    let (report, reported) = tokio::sync::oneshot::channel();
    let mut report = Some(report);
    for writer in 0..WRITERS {
        let (store, memory, report) = (running.store.clone(), running.memory.clone(), report.take());
        tasks.spawn("writer", async move {
            for text in 0..20 {
                store.commit(crate::Txn::new(vec![], vec![super::put(&format!("/{writer}"), &text.to_string())])).await.expect("committed");
            }
            if let Some(report) = report {
                report.send(memory.unfolded()).expect("the test listens");
            }
        });
    }
    running.store.compact(Revision(100)).await.expect("compacted");
    assert_eq!(reported.await.expect("a writer's report"), 0);
    tasks.join().await;
}

#[tokio::test(start_paused = true)]
async fn the_floor_follows_the_revision_of_the_run_before() {
    let running = Running::new().await;
    let five_minutes = Duration::from_secs(5 * 60) + Duration::from_secs(1);
    running.put("/a", "1").await;
    assert_eq!(running.store.floor(), Revision(0));
    tokio::time::sleep(five_minutes).await;
    assert_eq!(running.store.floor(), Revision(0), "the first run only remembers");
    running.put("/a", "2").await;
    tokio::time::sleep(five_minutes).await;
    assert_eq!(running.store.floor(), Revision(1));
    running.put("/a", "3").await;
    tokio::time::sleep(five_minutes).await;
    assert_eq!(running.store.floor(), Revision(2));
    tokio::time::sleep(five_minutes).await;
    assert_eq!(running.store.floor(), Revision(3));
    assert_eq!(rows(&running.store.snapshot(), &Range::all()), ["/a@3"]);
}
