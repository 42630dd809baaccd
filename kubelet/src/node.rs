//! The node itself in the API: its registration, its status, and the Lease that shows it is alive.

pub mod machine;
mod status;

use crate::pleg::LastSeen;
use crate::shared::{Shared, now};
use apiserver_client::EventType;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, NodeSpec, NodeStatus, ObjectReference};
use kube::api::{Api, Patch, PatchParams, PostParams};
use machine::Machine;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const LEASE_NAMESPACE: &str = "kube-node-lease";
const LEASE_SECONDS: i32 = 40;
const LEASE_RENEWAL: Duration = Duration::from_secs(10);
/// How often the status is looked at, and how often it is looked at while the node is not ready.
const STATUS_CHECK: Duration = Duration::from_secs(10);
const STATUS_CHECK_UNREADY: Duration = Duration::from_millis(500);
/// The status is written this often though nothing in it changed.
const STATUS_REPORT_SECONDS: i64 = 300;
const RETRY: Duration = Duration::from_secs(1);

fn labels(shared: &Shared) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from(
        [
            ("kubernetes.io/hostname", shared.config.node_name.as_str()),
            ("kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", machine::ARCHITECTURE),
            ("beta.kubernetes.io/os", "linux"),
            ("beta.kubernetes.io/arch", machine::ARCHITECTURE),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned())),
    );
    labels.extend(shared.config.node_labels.clone());
    labels
}

pub fn reference(name: &str) -> ObjectReference {
    // Upstream's events about nodes carry the node's name as its uid.
    ObjectReference { kind: Some("Node".to_owned()), name: Some(name.to_owned()), uid: Some(name.to_owned()), ..Default::default() }
}

/// Makes the Node, or brings the labels of one that is there up to date. Tries until it works.
async fn register(shared: &Shared, machine: &Machine) -> Node {
    let api: Api<Node> = Api::all(shared.client.clone());
    let name = &shared.config.node_name;
    loop {
        let registered = match api.get_opt(name).await {
            Ok(Some(node)) => relabel(&api, node, labels(shared)).await,
            Ok(None) if shared.config.register_node => create(&api, shared, machine).await,
            Ok(None) => {
                tracing::info!(node = name, "the Node is not there, and this kubelet does not make it");
                tokio::time::sleep(RETRY).await;
                continue;
            }
            Err(error) => Err(error),
        };
        match registered {
            Ok(node) => return node,
            Err(error) => tracing::warn!(node = name, %error, "the node could not be registered yet"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn create(api: &Api<Node>, shared: &Shared, machine: &Machine) -> Result<Node, kube::Error> {
    let taints = shared.config.register_with_taints.clone();
    let mut node = Node {
        spec: Some(NodeSpec { taints: (!taints.is_empty()).then_some(taints), ..Default::default() }),
        status: Some(NodeStatus { capacity: Some(status::quantities(&machine.capacity)), ..Default::default() }),
        ..Default::default()
    };
    node.metadata.name = Some(shared.config.node_name.clone());
    node.metadata.labels = Some(labels(shared));
    api.create(&PostParams::default(), &node).await
}

async fn relabel(api: &Api<Node>, node: Node, labels: BTreeMap<String, String>) -> Result<Node, kube::Error> {
    let current = node.metadata.labels.clone().unwrap_or_default();
    let missing: BTreeMap<String, String> = labels.into_iter().filter(|(key, value)| current.get(key) != Some(value)).collect();
    if missing.is_empty() {
        return Ok(node);
    }
    let name = node.metadata.name.unwrap_or_default();
    api.patch(&name, &PatchParams::default(), &Patch::Strategic(json!({"metadata": {"labels": missing}}))).await
}

/// Registers the node, then keeps its status current.
pub async fn run(shared: Arc<Shared>, machine: Machine, last_seen: LastSeen) {
    let node = register(&shared, &machine).await;
    shared.recorder.event(&reference(&shared.config.node_name), EventType::Normal, "Starting", "Starting kubelet.");
    let mut reporter = Reporter { api: node.status.unwrap_or_default(), written: i64::MIN, ready: None };
    loop {
        let readiness = status::readiness(&shared, &last_seen).await;
        let images = shared.runtime.list_images().await.unwrap_or_default();
        let wanted = status::node_status(&shared, &machine, &readiness, images, &reporter.api);
        reporter.announce(&shared, readiness.is_ok());
        reporter.write(&shared, &wanted).await;
        let check = if readiness.is_ok() { STATUS_CHECK } else { STATUS_CHECK_UNREADY };
        tokio::time::sleep(check).await;
    }
}

struct Reporter {
    /// What the API server has.
    api: NodeStatus,
    written: i64,
    ready: Option<bool>,
}

impl Reporter {
    fn announce(&mut self, shared: &Shared, ready: bool) {
        if self.ready.replace(ready) == Some(ready) {
            return;
        }
        let (reason, text) = if ready { ("NodeReady", "NodeReady") } else { ("NodeNotReady", "NodeNotReady") };
        let name = &shared.config.node_name;
        shared.recorder.event(&reference(name), EventType::Normal, reason, format!("Node {name} status is now: {text}"));
    }

    async fn write(&mut self, shared: &Shared, wanted: &NodeStatus) {
        let due = now().as_second().saturating_sub(self.written) >= STATUS_REPORT_SECONDS;
        let Some(patch) = status::patch(&self.api, wanted, due) else { return };
        let api: Api<Node> = Api::all(shared.client.clone());
        match api.patch_status(&shared.config.node_name, &PatchParams::default(), &Patch::Strategic(patch)).await {
            Ok(node) => {
                self.api = node.status.unwrap_or_default();
                self.written = now().as_second();
            }
            Err(kube::Error::Api(status)) if status.code == 404 => {
                tracing::warn!(node = shared.config.node_name, "the Node is gone; registering it anew");
                if shared.config.register_node
                    && let Ok(machine) = Machine::read(&shared.config)
                    && let Ok(node) = create(&api, shared, &machine).await
                {
                    self.api = node.status.unwrap_or_default();
                }
            }
            Err(error) => tracing::warn!(node = shared.config.node_name, %error, "the node's status could not be written"),
        }
    }
}

/// Renews the node's Lease.
pub async fn keep_lease(shared: Arc<Shared>) {
    let api: Api<Lease> = Api::namespaced(shared.client.clone(), LEASE_NAMESPACE);
    let name = &shared.config.node_name;
    loop {
        let renewed = match api.patch(name, &PatchParams::default(), &Patch::Merge(lease(&shared, None))).await {
            Err(kube::Error::Api(status)) if status.code == 404 => create_lease(&api, &shared).await,
            other => other,
        };
        let pause = match renewed {
            Ok(_) => LEASE_RENEWAL,
            Err(error) => {
                tracing::warn!(node = name, %error, "the node's Lease could not be renewed");
                RETRY
            }
        };
        tokio::time::sleep(pause).await;
    }
}

fn lease(shared: &Shared, owner: Option<&Node>) -> Value {
    let name = &shared.config.node_name;
    let mut lease = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": LEASE_NAMESPACE},
        "spec": {
            "holderIdentity": name,
            "leaseDurationSeconds": LEASE_SECONDS,
            "renewTime": apiserver_client::time::rfc3339_micro(apiserver_component::Clock.now()),
        },
    });
    if let Some(uid) = owner.and_then(|node| node.metadata.uid.as_ref()) {
        lease["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid}]);
    }
    lease
}

async fn create_lease(api: &Api<Lease>, shared: &Shared) -> Result<Lease, kube::Error> {
    // The Lease goes with its Node, so the Node comes first.
    let nodes: Api<Node> = Api::all(shared.client.clone());
    let node = nodes.get(&shared.config.node_name).await?;
    let lease = serde_json::from_value(lease(shared, Some(&node))).map_err(kube::Error::SerdeError)?;
    api.create(&PostParams::default(), &lease).await
}
