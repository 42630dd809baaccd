//! Objects for tests.

use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;
use crate::snapshot::Snapshot;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};
use std::sync::Arc;

/// A node with 4 cores, 8 GiB and room for 110 Pods, unless `extra` says otherwise.
pub fn node(name: &str, extra: Value) -> Arc<Node> {
    let mut value = json!({"metadata": {"name": name}, "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"}}});
    merge(&mut value, extra);
    Arc::new(serde_json::from_value(value).unwrap())
}

/// A Pod whose uid is its name.
pub fn pod(name: &str, spec: Value) -> Arc<Pod> {
    let mut value = json!({"metadata": {"name": name, "namespace": "default", "uid": name, "resourceVersion": "1"}, "spec": {"containers": [], "schedulerName": "default-scheduler"}});
    merge(&mut value["spec"], spec);
    Arc::new(serde_json::from_value(value).unwrap())
}

/// A Pod with one container and these requests.
pub fn asking(name: &str, requests: Value) -> Arc<Pod> {
    pod(name, json!({"containers": [{"name": "c", "resources": {"requests": requests}}]}))
}

pub fn info(spec: Value) -> PodInfo {
    PodInfo::new(pod("p", spec))
}

pub fn snapshot(nodes: &[Arc<Node>]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for node in nodes {
        snapshot.set_node(node);
    }
    snapshot.refresh();
    snapshot
}

pub fn first(snapshot: &Snapshot) -> &NodeInfo {
    snapshot.node(snapshot.order()[0])
}

pub fn merge(into: &mut Value, extra: Value) {
    match (into, extra) {
        (Value::Object(into), Value::Object(extra)) => {
            for (key, value) in extra {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, extra) => *into = extra,
    }
}
