//! Pods scheduled per second by the cycle alone: no API server, no tasks.
//!
//! `cargo bench -p scheduler` prints, for clusters of 1,000 and 5,000 nodes in 10 zones, what one Pod costs when nodes carry a taint that
//! the Pods tolerate, and when Pods choose their nodes by labels.

use apiserver_client::Event;
use k8s_openapi::api::core::v1::{Node, Pod};
use scheduler::queue::Limits;
use scheduler::scheduler::{Attempt, Scheduler};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::time::Instant;

const PODS: usize = 2000;

fn main() {
    for nodes in [1000, 5000] {
        measure("basic", nodes, |_| json!({}));
        measure("selector", nodes, |number| json!({"nodeSelector": {"topology.kubernetes.io/zone": format!("zone-{}", number % 10)}}));
        measure("unschedulable", nodes, |_| json!({"nodeSelector": {"no": "where"}}));
    }
}

fn measure(name: &str, nodes: usize, extra: impl Fn(usize) -> Value) {
    let mut scheduler = Scheduler::new("default-scheduler", 0, Limits::default(), 1, Instant::now());
    for number in 0..nodes {
        scheduler.node(&Event::Added(node(number)), Instant::now());
    }
    let pods: Vec<_> = (0..PODS).map(|number| pod(number, extra(number))).collect();
    let start = Instant::now();
    for pod in pods {
        scheduler.pod(&Event::Added(pod), Instant::now());
    }
    let queued = start.elapsed();
    let (start, mut bound) = (Instant::now(), 0);
    for _ in 0..PODS {
        if let Some(Attempt::Bind { pod, .. }) = scheduler.schedule_one(Instant::now()) {
            scheduler.bound(&pod.uid);
            bound += 1;
        }
    }
    let spent = start.elapsed();
    let micros = |spent: std::time::Duration| spent.as_secs_f64() * 1e6 / PODS as f64;
    println!(
        "{name:14} {nodes} nodes {PODS} pods: {:.0} pods/s, {:.1} µs/pod, {:.1} µs to queue one, {bound} bound",
        PODS as f64 / spent.as_secs_f64(),
        micros(spent),
        micros(queued)
    );
}

fn node(number: usize) -> Arc<Node> {
    let name = format!("fake-{number:05}");
    let capacity = json!({"cpu": "32", "memory": "128Gi", "pods": "110", "ephemeral-storage": "100Gi", "hugepages-1Gi": "0", "hugepages-2Mi": "0"});
    let node = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": format!("zone-{}", number % 10)}},
        "spec": {"taints": [{"key": "example.org/fake", "effect": "NoSchedule"}]},
        "status": {"capacity": capacity, "allocatable": capacity}});
    Arc::new(serde_json::from_value(node).expect("a node"))
}

fn pod(number: usize, extra: Value) -> Arc<Pod> {
    let name = format!("pod-{number}");
    let mut spec = json!({
        "schedulerName": "default-scheduler",
        "containers": [{"name": "c", "image": "registry.k8s.io/pause:3.10.2", "resources": {"requests": {"cpu": "100m", "memory": "100Mi"}}}],
        "tolerations": [
            {"key": "example.org/fake", "operator": "Exists"},
            {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
            {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]});
    if let (Value::Object(spec), Value::Object(extra)) = (&mut spec, extra) {
        spec.extend(extra);
    }
    Arc::new(
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": "bench", "uid": name, "resourceVersion": "1"}, "spec": spec}))
            .expect("a Pod"),
    )
}
