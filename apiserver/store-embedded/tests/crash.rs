//! A server process is killed at random and at named moments, its folder opened again, and what is there compared with what it had
//! acknowledged.
//!
//! `CORTEN_CRASH_ROUNDS` and `CORTEN_CRASH_SEED` make the run longer or another.

use apiserver_component::{Shutdown, Tasks};
use apiserver_store::{Config, Draft, Facts, Key, Lease, Op, Range, Revision, ServerId, Store, Str, Txn, failpoint};
use apiserver_store_embedded::Embedded;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const FOLDER: &str = "CORTEN_CRASH_FOLDER";
const FAILPOINT: &str = "CORTEN_FAILPOINT";
const CLIENTS: u64 = 8;
/// Every so many writes of a client is a deletion.
const DELETE_EVERY: u64 = 5;
const ROUNDS: u64 = 30;
const SEED: u64 = 20;
/// After which a server is killed that has not come to its named moment.
const MOMENT_WAIT_MS: u64 = 500;

const MOMENTS: [&str; 6] = [
    failpoint::BEFORE_APPEND,
    failpoint::AFTER_APPEND_BEFORE_APPLY,
    failpoint::AFTER_APPLY_BEFORE_NOTIFY,
    failpoint::AFTER_NOTIFY_BEFORE_REPLY,
    failpoint::AFTER_FLOOR_BEFORE_FOLD,
    failpoint::IN_COMPACTION,
];

async fn open(folder: &Path) -> (Store, Tasks) {
    let tasks = Tasks::new(Shutdown::new());
    let engine = Embedded::open(folder).await.expect("the folder opens");
    let config = Config::new(ServerId(Str::from("crash")));
    (Store::open(engine, config, &tasks).await.expect("the store opens"), tasks)
}

fn key(client: u64) -> Key {
    Key::from(format!("/t/{client}"))
}

/// Changes with the other key always, so that half a transaction would show.
fn pair(client: u64) -> Key {
    Key::from(format!("/pair/{client}"))
}

fn count_of(store: &Store, key: &Key) -> Option<u64> {
    let snapshot = store.snapshot();
    let row = snapshot.get(key)?;
    Some(std::str::from_utf8(row.bytes()).expect("digits").parse().expect("digits"))
}

/// The `count`th write of a client.
fn write(client: u64, count: u64) -> Txn {
    let op = |key| {
        if count.is_multiple_of(DELETE_EVERY) {
            Op::Delete { key }
        } else {
            Op::Put { key, value: Draft::Opaque(count.to_string().into()), facts: Facts::default(), lease: Lease::NONE }
        }
    };
    Txn::new(vec![], vec![op(key(client)), op(pair(client))])
}

/// The server: it writes until it is killed, and says what was acknowledged.
#[test]
#[ignore = "run by the crash test, as a process of its own"]
fn server() {
    let folder = std::env::var(FOLDER).expect("the crash test says where");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (store, tasks) = open(Path::new(&folder)).await;
        say("open");
        let mut input = String::new();
        std::io::stdin().read_line(&mut input).expect("the counts");
        for (client, count) in (0..).zip(input.split_whitespace()) {
            let (store, mut count) = (store.clone(), count.parse::<u64>().expect("a count"));
            tasks.spawn("client", async move {
                loop {
                    count += 1;
                    let committed = store.commit(write(client, count)).await.expect("committed");
                    say(&format!("ack {client} {count} {}", committed.revision));
                }
            });
        }
        loop {
            tokio::time::sleep(Duration::from_millis(3)).await;
            let floor = Revision(store.revision().0.saturating_sub(40));
            let _ = store.compact(floor).await;
        }
    });
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n{line}\n").as_bytes()).and_then(|()| out.flush()).expect("the crash test listens");
}

/// What a client was told last.
#[derive(Clone, Copy, Default)]
struct Told {
    count: u64,
    revision: u64,
}

struct Round {
    told: BTreeMap<u64, Told>,
    acknowledged: usize,
}

fn start(folder: &Path, moment: Option<&str>) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command.args(["--exact", "server", "--ignored", "--nocapture"]).env(FOLDER, folder);
    if let Some(moment) = moment {
        command.env(FAILPOINT, moment);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the server starts")
}

/// Runs a server until it dies: at the named moment, or killed `after` its first acknowledgement.
fn run(folder: &Path, from: &BTreeMap<u64, Told>, moment: Option<&str>, after: Duration) -> Round {
    let mut server = start(folder, moment);
    let counts: Vec<String> = (0..CLIENTS).map(|client| from.get(&client).map_or(0, |told| told.count).to_string()).collect();
    // It may die before it reads: at the first append of its opening, say.
    let _ = writeln!(server.stdin.take().expect("a pipe"), "{}", counts.join(" "));
    let mut round = Round { told: from.clone(), acknowledged: 0 };
    let lines = BufReader::new(server.stdout.take().expect("a pipe")).lines();
    let mut killer = None;
    let process = std::sync::Arc::new(std::sync::Mutex::new(server));
    for line in lines.map_while(Result::ok) {
        let mut words = line.split(' ');
        if words.next() != Some("ack") {
            continue;
        }
        let [client, count, revision] = [(); 3].map(|()| words.next().and_then(|word| word.parse().ok()).expect("a number"));
        round.told.insert(client, Told { count, revision });
        round.acknowledged += 1;
        if killer.is_none() {
            let process = process.clone();
            killer = Some(std::thread::spawn(move || {
                std::thread::sleep(after);
                // It may be dead already.
                let _ = process.lock().expect("no panic").kill();
            }));
        }
    }
    killer.into_iter().for_each(|killer| killer.join().expect("no panic"));
    let status = process.lock().expect("no panic").wait().expect("it has ended");
    assert!(!status.success(), "it was to be killed");
    round
}

/// Compares the folder with what was acknowledged, and says where each client stands now.
async fn compare(folder: &Path, round: &Round, what: &str) -> BTreeMap<u64, Told> {
    let (store, tasks) = open(folder).await;
    let mut stands = BTreeMap::new();
    for client in 0..CLIENTS {
        let told = round.told.get(&client).copied().unwrap_or_default();
        let found = count_of(&store, &key(client));
        assert_eq!(found, count_of(&store, &pair(client)), "{what}: a transaction of client {client} is there by half");
        let stored = |count: u64| (count > 0 && !count.is_multiple_of(DELETE_EVERY)).then_some(count);
        // The next write was on its way, and may have landed.
        let count = [told.count, told.count + 1].into_iter().find(|count| stored(*count) == found);
        let count = count.unwrap_or_else(|| panic!("{what}: client {client} was told of {}, and {found:?} is there", told.count));
        let at = store.at(Revision(told.revision)).await;
        if told.revision >= store.floor().0 {
            let row = at.expect("it can be read").get(key(client)).map(|row| row.bytes().clone());
            assert_eq!(row, stored(told.count).map(|count| count.to_string().into()), "{what}: client {client} at {}", told.revision);
        }
        assert!(told.revision <= store.revision().0, "{what}: an acknowledged revision is gone");
        stands.insert(client, Told { count, revision: store.revision().0 });
    }
    check_log(&store, what).await;
    drop(store);
    tasks.shutdown().fire();
    tasks.join().await;
    stands
}

/// Every revision above the floor is in the log, once, whole and in order.
async fn check_log(store: &Store, what: &str) {
    let mut watch = store.watch(Range::all(), store.floor()).expect("a watch");
    let mut expect = store.floor().next();
    while watch.progress() < store.revision() {
        let change = watch.next().await.expect("a change");
        assert_eq!(change.revision, expect, "{what}");
        let second = watch.next().await.expect("the other key's change");
        assert_eq!(second.revision, expect, "{what}: half a transaction");
        expect = expect.next();
    }
    assert_eq!(expect, store.revision().next(), "{what}");
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn what_was_acknowledged_outlives_any_crash() {
    let (rounds, seed) = (number("CORTEN_CRASH_ROUNDS", ROUNDS), number("CORTEN_CRASH_SEED", SEED));
    let mut random = SmallRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut stands = BTreeMap::new();
    let mut acknowledged = 0;
    for round in 0..rounds {
        // Two rounds of three die at a named moment, each of which comes up in turn.
        let moment = (round % 3 != 2).then(|| format!("{}:{}", MOMENTS[(round - round / 3) as usize % MOMENTS.len()], random.random_range(1..60)));
        let after = Duration::from_millis(if moment.is_some() { MOMENT_WAIT_MS } else { random.random_range(1..120) });
        let what = format!("seed {seed} round {round}, {}", moment.as_deref().map_or(format!("killed after {after:?}"), str::to_owned));
        let done = run(folder.path(), &stands, moment.as_deref(), after);
        acknowledged += done.acknowledged;
        stands = runtime.block_on(compare(folder.path(), &done, &what));
    }
    println!("{acknowledged} writes acknowledged in {rounds} rounds");
    assert!(acknowledged as u64 > rounds, "the servers did nothing");
}
