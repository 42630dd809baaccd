//! What the store relies on, asked of the engine itself.

use super::{Chain, Content, Subject, content, deleted, log, row};
use crate::engine::{AppendError, Batch, Engine, EngineError, Folding, Head, Item, LogStream, Reader, ServerId, Settled, Writer};
use crate::key::Key;
use crate::row::{Facts, Lease, Revision, Row, Str, Value};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

fn server() -> ServerId {
    ServerId(Str::from("conformance"))
}

async fn take<E: Engine>(engine: &E) -> (E::Writer, Chain) {
    let (writer, head) = engine.acquire(&server()).await.expect("the epoch is taken");
    (writer, Chain::after(head))
}

async fn append<W: Writer>(writer: &mut W, chain: &mut Chain, items: Vec<Item>) -> Batch {
    let batch = chain.batch(items);
    writer.append(&batch).await.expect("appended");
    chain.landed(&batch);
    batch
}

/// Five batches, revisions 1 to 7, with two leases.
async fn fill<W: Writer>(writer: &mut W, chain: &mut Chain) -> Vec<Batch> {
    let ttl = Duration::from_secs(60);
    let batches = [
        vec![row("/a", "one", 1), row("/b", "one", 1), row("/c", "one", 2)],
        vec![Item::Lease { lease: Lease(1), ttl }, Item::Lease { lease: Lease(2), ttl: ttl * 2 }],
        vec![row("/a", "two", 3), deleted("/b", 4), Item::Revoked { lease: Lease(1) }],
        vec![row("/b", "three", 5), row("/d", "one", 6)],
        vec![deleted("/c", 7)],
    ];
    let mut written = Vec::new();
    for items in batches {
        written.push(append(writer, chain, items).await);
    }
    written
}

const FILLED: Revision = Revision(7);

pub async fn an_empty_database_has_nothing<S: Subject>(subject: S) {
    let engine = subject.open().await;
    let reader = engine.reader();
    assert_eq!(reader.head().await.expect("a head"), Head::default());
    assert_eq!(content(&reader, Revision::ZERO).await.0, Content::new());
    assert!(log(&reader, Revision::ZERO, Revision(100)).await.is_empty());
}

pub async fn what_is_appended_is_loaded_in_order<S: Subject>(subject: S) {
    let engine = subject.open().await;
    let (mut writer, mut chain) = take(&engine).await;
    let batches = fill(&mut writer, &mut chain).await;
    let (content, head) = content(&engine.reader(), FILLED).await;
    assert_eq!(content.keys().collect::<Vec<_>>(), ["\"/a\"", "\"/b\"", "\"/d\"", "lease 2"]);
    assert!(content["\"/a\""].contains("two") && content["\"/b\""].contains("three"));
    assert_eq!((head.revision, head.batch, head.epoch), (FILLED, batches[4].id, chain.epoch));
}

pub async fn a_log_is_read_whole_from_any_revision<S: Subject>(subject: S) {
    let engine = subject.open().await;
    let (mut writer, mut chain) = take(&engine).await;
    let batches = fill(&mut writer, &mut chain).await;
    let reader = engine.reader();
    // Which of the five batches a reader gets.
    let expect: [(u64, u64, &[usize]); 8] = [
        (0, 7, &[0, 1, 2, 3, 4]),
        (1, 7, &[0, 1, 2, 3, 4]),
        (2, 7, &[1, 2, 3, 4]),
        (3, 6, &[2, 3]),
        (4, 5, &[3]),
        (6, 100, &[4]),
        (7, 100, &[]),
        (0, 2, &[0, 1]),
    ];
    for (after, to, indexes) in expect {
        let got = log(&reader, Revision(after), Revision(to)).await;
        let got: Vec<String> = got.iter().map(|batch| format!("{batch:?}")).collect();
        let want: Vec<String> = indexes.iter().map(|index| format!("{:?}", batches[*index])).collect();
        assert_eq!(got, want, "after {after} to {to}");
    }
}

pub async fn what_was_appended_is_there_after_reopening<S: Subject>(subject: S) {
    let engine = subject.open().await;
    let (mut writer, mut chain) = take(&engine).await;
    fill(&mut writer, &mut chain).await;
    let (before, head) = content(&engine.reader(), FILLED).await;
    drop((writer, engine));
    let engine = subject.open().await;
    assert_eq!(content(&engine.reader(), FILLED).await, (before, head));
    let (mut writer, mut chain) = take(&engine).await;
    assert!(chain.epoch > head.epoch);
    append(&mut writer, &mut chain, vec![row("/e", "one", 8)]).await;
    assert_eq!(engine.reader().head().await.expect("a head").revision, Revision(8));
}

async fn states<R: Reader>(reader: &R, from: u64) -> Vec<Content> {
    let mut states = Vec::new();
    for revision in from..=FILLED.0 {
        states.push(content(reader, Revision(revision)).await.0);
    }
    states
}

pub async fn any_revision_above_the_floor_is_loaded_exactly<S: Subject>(subject: S) {
    let engine = subject.open().await;
    let (mut writer, mut chain) = take(&engine).await;
    fill(&mut writer, &mut chain).await;
    let states = states(&engine.reader(), 0).await;
    let keys: Vec<Vec<&str>> =
        states.iter().map(|state| state.keys().map(|key| key.trim_matches('"')).filter(|key| key.starts_with('/')).collect()).collect();
    let expect: [&[&str]; 8] = [
        &[],
        &["/a", "/b"],
        &["/a", "/b", "/c"],
        &["/a", "/b", "/c"],
        &["/a", "/c"],
        &["/a", "/b", "/c"],
        &["/a", "/b", "/c", "/d"],
        &["/a", "/b", "/d"],
    ];
    assert_eq!(keys, expect);
}

pub async fn what_lies_below_the_floor_is_compacted<S: Subject>(subject: S) {
    let engine = subject.open().await;
    let (mut writer, mut chain) = take(&engine).await;
    fill(&mut writer, &mut chain).await;
    writer.raise_floor(Revision(4)).await.expect("raised");
    writer.raise_floor(Revision(2)).await.expect("a lower floor changes nothing");
    let reader = engine.reader();
    assert_eq!(reader.head().await.expect("a head").floor, Revision(4));
    let loaded = reader.load(Revision(3), |_| {}).await;
    assert!(matches!(loaded, Err(EngineError::Compacted { floor: Revision(4) })), "{loaded:?}");
    let read = match reader.log(Revision(3), FILLED).await {
        Ok(mut log) => log.next().await.err(),
        Err(error) => Some(error),
    };
    assert!(matches!(read, Some(EngineError::Compacted { floor: Revision(4) })), "{read:?}");
}

/// Raises the floor to each revision in turn, and reopens after every step of folding: what can be read never changes.
pub async fn compaction_can_be_interrupted_at_every_step<S: Subject>(subject: S) {
    let mut engine = subject.open().await;
    let (mut writer, mut chain) = take(&engine).await;
    fill(&mut writer, &mut chain).await;
    let before = states(&engine.reader(), 0).await;
    for floor in 1..=FILLED.0 {
        writer.raise_floor(Revision(floor)).await.expect("raised");
        loop {
            assert_eq!(states(&engine.reader(), floor).await, before[floor as usize..], "floor {floor}");
            let more = writer.fold().await.expect("folded");
            drop((writer, engine));
            engine = subject.open().await;
            writer = take(&engine).await.0;
            assert_eq!(engine.reader().head().await.expect("a head").floor, Revision(floor));
            if more == Folding::Done {
                break;
            }
        }
    }
    assert_eq!(writer.fold().await.expect("folded"), Folding::Done);
    assert!(log(&engine.reader(), FILLED, FILLED).await.is_empty(), "the log is empty");
    chain = take(&engine).await.1;
    assert_eq!(chain.revision, FILLED);
}

pub async fn leases_outlive_compaction<S: Subject>(subject: S) {
    let engine = subject.open().await;
    let (mut writer, mut chain) = take(&engine).await;
    append(&mut writer, &mut chain, vec![row("/a", "one", 1)]).await;
    let (long, short) = (Duration::from_millis(86_400_500), Duration::from_secs(5));
    append(&mut writer, &mut chain, vec![Item::Lease { lease: Lease(-7), ttl: long }, Item::Lease { lease: Lease(8), ttl: short }]).await;
    append(&mut writer, &mut chain, vec![Item::Revoked { lease: Lease(8) }]).await;
    let before = content(&engine.reader(), Revision(1)).await.0;
    assert_eq!(before["lease -7"], format!("{long:?}"));
    assert!(!before.contains_key("lease 8"));
    writer.raise_floor(Revision(1)).await.expect("raised");
    while writer.fold().await.expect("folded") == Folding::More {}
    drop((writer, engine));
    let engine = subject.open().await;
    assert_eq!(content(&engine.reader(), Revision(1)).await.0, before);
}

pub async fn an_older_epoch_can_do_nothing<S: Subject>(subject: S) {
    let engine = subject.open().await;
    let (mut old, mut old_chain) = take(&engine).await;
    append(&mut old, &mut old_chain, vec![row("/a", "one", 1)]).await;
    let (mut new, mut chain) = take(&engine).await;
    assert!(chain.epoch > old_chain.epoch);
    assert_eq!(chain.revision, Revision(1), "who takes over sees what the other wrote");
    let by = chain.epoch;
    let batch = old_chain.batch(vec![row("/a", "two", 2)]);
    let appended = old.append(&batch).await;
    assert!(matches!(appended, Err(AppendError::Fenced { by: found }) if found == by), "{appended:?}");
    assert!(matches!(old.raise_floor(Revision(1)).await, Err(AppendError::Fenced { .. })));
    assert!(matches!(old.fold().await, Err(AppendError::Fenced { .. })));
    let settled = old.settle(batch.id).await.expect("settled");
    assert_eq!(settled, Settled::Fenced { by });
    append(&mut new, &mut chain, vec![row("/a", "three", 2)]).await;
    assert!(content(&engine.reader(), Revision(2)).await.0["\"/a\""].contains("three"));
}

pub async fn an_unknown_append_is_settled<S: Subject>(subject: S) {
    let engine = subject.open().await;
    let (mut writer, mut chain) = take(&engine).await;
    append(&mut writer, &mut chain, vec![row("/a", "one", 1)]).await;
    let mut attempts = engine.reader().head().await.expect("a head").attempt;
    for (landed, text, expect) in [(true, "two", Settled::Landed), (false, "lost", Settled::Absent), (true, "three", Settled::Landed)] {
        subject.lose_answer(landed);
        let batch = chain.batch(vec![row("/a", text, chain.revision.next().0)]);
        let appended = writer.append(&batch).await;
        assert!(matches!(appended, Err(AppendError::Unknown { batch: found }) if found == batch.id), "{appended:?}");
        assert_eq!(writer.settle(batch.id).await.expect("settled"), expect);
        if landed {
            chain.landed(&batch);
        }
        let head = engine.reader().head().await.expect("a head");
        assert!(head.attempt > attempts, "settling is a write");
        attempts = head.attempt;
        assert_eq!((head.revision, head.batch), (chain.revision, chain.last));
        let content = content(&engine.reader(), chain.revision).await.0;
        assert_eq!(content["\"/a\""].contains(text), landed);
    }
    append(&mut writer, &mut chain, vec![row("/a", "four", 4)]).await;
    drop((writer, engine));
    let engine = subject.open().await;
    assert!(content(&engine.reader(), Revision(4)).await.0["\"/a\""].contains("four"));
    assert_eq!(log(&engine.reader(), Revision::ZERO, Revision(4)).await.len(), 4);
}

pub async fn a_load_is_of_one_moment_while_others_write<S: Subject>(subject: S) {
    const BATCHES: u64 = 200;
    let engine = subject.open().await;
    let (mut writer, mut chain) = take(&engine).await;
    let reader = engine.reader();
    let writing = async {
        for revision in 1..=BATCHES {
            // Both keys always change together, so that a load in between would show.
            let text = revision.to_string();
            append(&mut writer, &mut chain, vec![row("/a", &text, revision), row("/b", &text, revision)]).await;
            if revision % 50 == 0 {
                writer.raise_floor(Revision(revision - 20)).await.expect("raised");
            }
            writer.fold().await.expect("folded");
        }
    };
    let reading = async {
        loop {
            let head = reader.head().await.expect("a head");
            let mut seen = [String::new(), String::new()];
            let apply = |item| {
                if let Item::Row { key, row } = item {
                    seen[usize::from(key == Key::from("/b"))] = format!("{:?}", row.bytes());
                }
            };
            match reader.load(head.revision, apply).await {
                Ok(_) => assert_eq!(seen[0], seen[1]),
                Err(EngineError::Compacted { .. }) => {}
                Err(error) => panic!("{error}"),
            }
            if head.revision == Revision(BATCHES) {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(writing, reading);
}

pub async fn large_and_strange_keys_and_values_are_kept<S: Subject>(subject: S) {
    let engine = subject.open().await;
    let (mut writer, mut chain) = take(&engine).await;
    let large = vec![b'x'; 3 << 20];
    let contents: [(&[u8], &[u8]); 5] =
        [(b"\0", b""), (b"\xff\xff\xff", b"\0"), (&[b'k'; 4_000], b"long key"), (b"/large", &large), (b"l\0\0", b"like a lease")];
    let items = contents.iter().map(|(key, value)| {
        let value = Value::Opaque(Bytes::copy_from_slice(value));
        let row = Row { value, facts: Facts::default(), create: Revision(1), modified: Revision(1), version: 1, lease: Lease::NONE };
        Item::Row { key: Key::new(key), row: Arc::new(row) }
    });
    append(&mut writer, &mut chain, items.collect()).await;
    let before = content(&engine.reader(), Revision(1)).await.0;
    assert_eq!(before.len(), contents.len());
    writer.raise_floor(Revision(1)).await.expect("raised");
    while writer.fold().await.expect("folded") == Folding::More {}
    drop((writer, engine));
    let engine = subject.open().await;
    assert_eq!(content(&engine.reader(), Revision(1)).await.0, before);
}
