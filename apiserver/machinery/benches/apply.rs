//! What ownership costs a write: a kubelet's status update of a Pod that three managers own. `cargo bench -p apiserver-machinery --bench apply`.

use apiserver_machinery::apply::{Converted, Request, Set, update};
use apiserver_machinery::codec::Report;
use apiserver_machinery::tree::{Struct, Value};
use apiserver_machinery::{builtin, json, patch};
use std::hint::black_box;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const RUNS: usize = 200;
const CALLS_PER_RUN: u32 = 50;
const POD: &str = include_str!("../testdata/pod.json");

fn no_other_version(_: &Struct, _: &str, _: &str) -> Result<Option<Converted>, String> {
    Ok(None)
}

#[allow(clippy::disallowed_methods)]
fn timed(name: &str, mut call: impl FnMut()) {
    let mut times: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let start = std::time::Instant::now();
            (0..CALLS_PER_RUN).for_each(|_| call());
            start.elapsed() / CALLS_PER_RUN
        })
        .collect();
    times.sort();
    println!("{name:40} best {:>8.2?}   median {:>8.2?}", times[0], times[RUNS / 2]);
}

fn main() {
    let shape = builtin::shape("", "v1", "Pod").expect("Pods are built in");
    let schema = &shape.schema;
    let mut pod = json::decode(&shape, POD.as_bytes(), &mut Report::new()).expect("the Pod is one");
    pod.take(schema, "metadata.managedFields");
    let status = pod.take(schema, "status");
    let (no_reset, reset) = (Set::default(), Set::of_fields(&["spec"]));
    let request = |manager, subresource, reset| Request {
        shape: &shape,
        api_version: "v1",
        manager,
        subresource,
        now: "2026-01-01T00:00:00Z",
        reset,
        convert: &no_other_version,
    };
    let uid = pod.take(schema, "metadata.uid");
    update(&request("kube-controller-manager", "", &no_reset), None, &mut pod);
    pod.put(schema, "metadata.uid", uid.unwrap_or(Value::from("u")));
    let mut live = pod.clone();
    if let Some(status) = status {
        live.put(schema, "status", status);
    }
    update(&request("kubelet", "status", &reset), Some(&pod), &mut live);
    let mut labelled = live.clone();
    labelled.put(schema, "metadata.labels", Value::Map([("a".into(), "b".into())].into_iter().collect()));
    update(&request("kubectl", "", &no_reset), Some(&live), &mut labelled);
    let live = labelled;
    let mut changed = live.clone();
    changed.put(schema, "status.podIP", "10.0.0.99");
    changed.put(schema, "status.phase", "Failed");
    timed("clone (part of what follows)", || drop(black_box(changed.clone())));
    timed("update, nothing changed", || {
        let mut new = live.clone();
        update(&request("kubelet", "status", &reset), Some(&live), &mut new);
        black_box(new);
    });
    timed("update, the owner writes its fields", || {
        let mut new = changed.clone();
        update(&request("kubelet", "status", &reset), Some(&live), &mut new);
        black_box(new);
    });
    timed("update, another takes the fields", || {
        let mut new = changed.clone();
        update(&request("else", "status", &reset), Some(&live), &mut new);
        black_box(new);
    });
    let body = br#"{"metadata":{"uid":"u"},"status":{"phase":"Failed","conditions":[{"type":"Ready","status":"False"}],"$setElementOrder/conditions":[{"type":"Ready"}]}}"#;
    timed("strategic merge patch of the status", || {
        let patched = patch::strategic_merge_patch(&shape, &live, body, patch::FieldValidation::Warn);
        black_box(patched.is_ok());
    });
}
