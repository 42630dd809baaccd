//! How long a realistic Pod takes through each codec: `cargo bench -p apiserver-machinery`.
//!
//! A plain program: it prints the best and the median of many short runs, in microseconds. An argument measures only what has it in its name.

use apiserver_machinery::schema::Shape;
use apiserver_machinery::{builtin, json, protobuf};
use std::hint::black_box;
use std::time::Duration;

/// As in the server.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const POD: &str = include_str!("../testdata/pod.json");
const RUNS: usize = 200;
const CALLS_PER_RUN: u32 = 100;

#[allow(clippy::disallowed_methods)]
fn measure(name: &str, bytes: usize, mut call: impl FnMut()) {
    let is_option = |word: &String| word.starts_with("--");
    if std::env::args().skip(1).filter(|word| !is_option(word)).any(|word| !name.contains(&word)) {
        return;
    }
    let mut times: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let start = std::time::Instant::now();
            (0..CALLS_PER_RUN).for_each(|_| call());
            start.elapsed() / CALLS_PER_RUN
        })
        .collect();
    times.sort();
    let micros = |time: Duration| time.as_nanos() as f64 / 1000.0;
    println!("{name:<16} {bytes:>6} B   best {:>7.2} µs   median {:>7.2} µs", micros(times[0]), micros(times[RUNS / 2]));
}

#[allow(clippy::disallowed_methods)]
fn main() {
    let start = std::time::Instant::now();
    let shape: Shape = builtin::shape("", "v1", "Pod").expect("Pod");
    println!("the table is read in {:.2?}", start.elapsed());
    let schema = shape.schema.clone();
    let text = POD.trim().as_bytes();
    let object = json::decode(&shape, text, &mut json::Report::new()).expect("a Pod");
    let mut raw = Vec::new();
    protobuf::encode(&schema, &object, &mut raw);

    measure("json decode", text.len(), || drop(black_box(json::decode(&shape, black_box(text), &mut json::Report::new()))));
    let mut out = Vec::with_capacity(2 * text.len());
    measure("json encode", text.len(), || {
        out.clear();
        json::encode(&schema, black_box(&object), &mut out);
    });
    measure("json draft", text.len(), || drop(black_box(json::encode_draft(&schema, black_box(&object)))));
    measure("protobuf decode", raw.len(), || drop(black_box(protobuf::decode(&shape, black_box(&raw)))));
    measure("protobuf encode", raw.len(), || {
        out.clear();
        protobuf::encode(&schema, black_box(&object), &mut out);
    });
    measure("clone", 0, || drop(black_box(black_box(&object).clone())));
    measure("serde_json", text.len(), || drop(black_box(serde_json::from_slice::<serde_json::Value>(black_box(text)))));
}
