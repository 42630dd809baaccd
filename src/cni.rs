//! A node's network configuration: links point to point, addresses of the range that the Node was given.
//!
//! No bridge: packets between Pods of one node are then routed, and the node's rules for Services see them.

use crate::cluster::Node;
use crate::error::{Error, file};
use crate::network;
use apiserver_client::{Event, Informers};
use k8s_openapi::api::core::v1::Node as NodeObject;
use serde_json::json;
use std::fs;

/// Writes the configuration as soon as the Node says which addresses its Pods have, and again whenever that changes.
pub async fn follow(node: Node<'_>, informers: Informers) {
    let mut events = informers.select::<NodeObject>(&format!("metadata.name={}", node.name), "").subscribe();
    let mut written = None;
    while let Some(event) = events.next().await {
        let (Event::Added(object) | Event::Updated { new: object, .. }) = event else { continue };
        let cidr = object.spec.as_ref().and_then(|spec| spec.pod_cidr.clone());
        if cidr.is_none() || cidr == written {
            continue;
        }
        match cidr.as_deref().map(|cidr| configure(&node, cidr)) {
            Some(Err(error)) => tracing::error!(%error, "Pods' network not configured"),
            _ => {
                tracing::info!(cidr, "Pods' network configured");
                written = cidr;
            }
        }
    }
}

fn configure(node: &Node<'_>, pod_cidr: &str) -> Result<(), Error> {
    network::route_pods(node, pod_cidr)?;
    let path = node.cni_config();
    let text = config(node, pod_cidr);
    if fs::read_to_string(&path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    // The runtime reads the folder whenever a name in it changes: never half of a file.
    let beside = path.with_extension("new");
    fs::write(&beside, text).map_err(file(&beside))?;
    fs::rename(&beside, &path).map_err(file(&path))
}

fn config(node: &Node<'_>, pod_cidr: &str) -> String {
    // Addresses are remembered as long as the machine runs: Pods do not outlive that either.
    let ipam = json!({
        "type": "host-local",
        "dataDir": node.run_dir().join("ipam"),
        "ranges": [[{"subnet": pod_cidr}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    });
    let plugins = json!([
        {"type": "ptp", "ipMasq": false, "ipam": ipam},
        {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true},
    ]);
    json!({"cniVersion": "1.0.0", "name": "pods", "plugins": plugins}).to_string()
}
