//! How fast a store takes puts and tells watchers, in process, on both engines: `cargo bench -p apiserver-store-embedded`.
//!
//! One line a case: what, how many a second, and the times of one put. Arguments pick engines by name: `memory`, `embedded`, `load`.

use apiserver_component::{Shutdown, Tasks};
use apiserver_store::{Config, Draft, Engine, Facts, Generation, Key, Lease, Memory, Op, Range, ServerId, Store, Str, Txn};
use apiserver_store_embedded::Embedded;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

const KEYS: u64 = 100_000;
const LOAD_OBJECTS: u64 = 100_000;
const LOAD_OBJECT_BYTES: usize = 3 << 10;
const FOLDER: &str = "CORTEN_BENCH_FOLDER";
const RUN: Duration = Duration::from_secs(4);

fn put(index: u64, round: u64, bytes: usize) -> Op {
    let name = format!("object-{index}");
    let head = format!(r#"{{"metadata":{{"name":"{name}""#);
    let gap = head.len() as u32;
    let mut json = head.into_bytes();
    json.extend_from_slice(format!(r#"}},"round":{round},"data":""#).as_bytes());
    json.resize(bytes.saturating_sub(2).max(json.len()), b'x');
    json.extend_from_slice(b"\"}");
    let facts = Facts {
        labels: Box::from([(Str::from("app"), Str::from("bench"))]),
        fields: Box::from([(Str::from("metadata.name"), Str::from(name.as_str()))]),
        namespace: Str::from("default"),
        ..Facts::default()
    };
    let key = Key::from(format!("/registry/configmaps/default/{name}"));
    Op::Put { key, value: Draft::Object { json, gap, protobuf: None, schema: Generation(1) }, facts, lease: Lease::NONE }
}

async fn open<E: Engine>(engine: E) -> (Store, Tasks) {
    let tasks = Tasks::new(Shutdown::new());
    let store = Store::open(engine, Config::new(ServerId(Str::from("bench"))), &tasks).await.expect("it opens");
    (store, tasks)
}

async fn close(store: Store, tasks: Tasks) {
    drop(store);
    tasks.shutdown().fire();
    tasks.join().await;
}

/// So many tasks put objects of 1 KiB over all keys, while so many watchers see all of it.
async fn puts<E: Engine>(name: &str, engine: E, writers: u64, watchers: u64) {
    let (store, tasks) = open(engine).await;
    let (done, seen) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    for _ in 0..watchers {
        let (mut watch, seen) = (store.watch(Range::prefix("/registry/configmaps/"), store.revision()).expect("a watch"), seen.clone());
        tasks.spawn("watcher", async move {
            while watch.next().await.is_ok() {
                seen.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let (begun, cpu) = (Instant::now(), cpu_seconds());
    let times = Arc::new(std::sync::Mutex::new(Vec::new()));
    let writing = Tasks::new(Shutdown::new());
    for writer in 0..writers {
        let (store, done, times) = (store.clone(), done.clone(), times.clone());
        writing.spawn("writer", async move {
            let (mut index, mut own) = (writer * KEYS / writers, Vec::new());
            while begun.elapsed() < RUN {
                index = (index + 1) % KEYS;
                let round = done.fetch_add(1, Ordering::Relaxed);
                let sent = Instant::now();
                store.commit(Txn::new(vec![], vec![put(index, round, 1 << 10)])).await.expect("committed");
                own.push(sent.elapsed());
            }
            times.lock().expect("no panic").append(&mut own);
        });
    }
    writing.join().await;
    let (seconds, cpu) = (begun.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let mut times = std::mem::take(&mut *times.lock().expect("no panic"));
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    let (puts, batches) = (done.load(Ordering::Relaxed) as f64, store.metrics().batches.get() as f64);
    println!(
        "{name:9} {writers:5} writers {watchers:6} watchers: {:9.0} puts/s {:11.0} events/s  p50 {:9.1?} p99 {:9.1?}  {:6.1} puts a batch, {:6.1} µs of CPU a put, rss {} MiB",
        puts / seconds,
        seen.load(Ordering::Relaxed) as f64 / seconds,
        at(0.5),
        at(0.99),
        puts / batches,
        cpu * 1e6 / puts,
        resident_mib(),
    );
    close(store, tasks).await;
}

/// Opening a folder of many objects.
async fn load() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, tasks) = open(Embedded::open(folder.path()).await.expect("it opens")).await;
    for chunk in 0..LOAD_OBJECTS / 500 {
        let ops = (0..500).map(|index| put(chunk * 500 + index, 0, LOAD_OBJECT_BYTES)).collect();
        store.commit(Txn::new(vec![], ops)).await.expect("committed");
    }
    close(store, tasks).await;
    // Each in a process of its own, so that memory is what a server would have.
    for state in ["in the log", "folded"] {
        println!("{state}:");
        let bench = std::env::current_exe().expect("this bench");
        let status = std::process::Command::new(bench).arg("open").env(FOLDER, folder.path()).status().expect("it runs");
        assert!(status.success());
    }
}

/// What opening a folder takes, and what a server keeps of it.
async fn open_only() {
    let folder = std::env::var(FOLDER).expect("which folder");
    let begun = Instant::now();
    let (store, tasks) = open(Embedded::open(folder).await.expect("it opens")).await;
    let (weight, objects) = (store.snapshot().weight() >> 20, store.snapshot().len());
    println!("  {objects} objects of {weight} MiB opened in {:?}, rss {} MiB", begun.elapsed(), resident_mib());
    let _ = store.compact(store.revision()).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    println!("  compacted: rss {} MiB", resident_mib());
    close(store, tasks).await;
}

/// Of the whole process, user and system.
fn cpu_seconds() -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    fields.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default() >> 10
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wants = |name: &str| wanted.is_empty() || wanted.iter().any(|word| word == name);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        for (writers, watchers) in [(1, 0), (64, 0), (64, 10), (1, 1_000), (1, 10_000)] {
            if wants("memory") {
                puts("memory", Memory::new(), writers, watchers).await;
            }
        }
        for (writers, watchers) in [(1, 0), (64, 10), (1_000, 10)] {
            if wants("embedded") {
                let folder = tempfile::tempdir().expect("a folder");
                puts("embedded", Embedded::open(folder.path()).await.expect("it opens"), writers, watchers).await;
            }
        }
        if wants("load") {
            load().await;
        }
        if wanted.iter().any(|word| word == "open") {
            open_only().await;
        }
    });
}
