//! One node of a cluster in one process, in the node's namespace: the kubelet, and the network configuration of its Pods.

use crate::cluster::Node;
use crate::error::file;
use crate::{Failure, cni, identities, network, runtime, until_signal};
use apiserver_client::{Informers, config};
use apiserver_component::{Shutdown, Tasks};
use std::fs;
use std::path::{Path, PathBuf};

/// The machine's resolvers, where a local stub is not in between: Pods could not reach that.
const RESOLV_CONFS: [&str; 2] = ["/run/systemd/resolve/resolv.conf", "/etc/resolv.conf"];

pub fn run(node: Node<'_>) -> Result<(), Failure> {
    network::enter(&node.namespace())?;
    runtime()?.block_on(until_signal(|shutdown| serve(node, shutdown)))
}

async fn serve(node: Node<'_>, shutdown: Shutdown) -> Result<(), Failure> {
    let client = config::from_kubeconfig(&node.kubeconfig(), None)?;
    let tasks = Tasks::new(shutdown.child());
    let informers = Informers::new(client.clone(), tasks.clone());
    let agent = kubelet::run(kubelet_config(&node)?, client, tasks.shutdown().clone());
    let done = tokio::select! {
        done = agent => done.map_err(Failure::from),
        () = cni::follow(node, informers) => Err("the Node is no longer followed".into()),
    };
    tasks.shutdown().fire();
    tasks.join().await;
    done
}

fn kubelet_config(node: &Node<'_>) -> Result<kubelet::Config, Failure> {
    let identity = identities::of_node(node);
    Ok(kubelet::Config {
        node_name: node.name.into(),
        node_ips: vec![node.address().into()],
        runtime_endpoint: format!("unix://{}", node.containerd_socket().display()),
        root_dir: node.data("kubelet"),
        pod_logs_dir: node.data("logs"),
        cgroup_root: node.cgroup(),
        cluster_dns: vec![node.cluster.dns_service().to_string()],
        resolv_conf: resolv_conf(node)?,
        tls_cert: Some(identity.serving.certificate),
        tls_key: Some(identity.serving.key),
        client_ca: Some(identity.authority),
        ..kubelet::Config::default()
    })
}

fn resolv_conf(node: &Node<'_>) -> Result<PathBuf, Failure> {
    let machine = RESOLV_CONFS.iter().map(Path::new).find(|path| path.exists());
    match machine.filter(|_| !node.cluster.isolated) {
        Some(path) => Ok(path.into()),
        None => {
            let path = node.data("resolv.conf");
            fs::write(&path, "").map_err(file(&path))?;
            Ok(path)
        }
    }
}
