//! What a kubelet must be told. `main.rs` maps flags onto it.

use k8s_openapi::api::core::v1::Taint;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

/// The release whose behaviour this is; Nodes show it as their kubelet version.
pub const VERSION: &str = "v1.37.2";

#[derive(Clone, Debug)]
pub struct Config {
    pub node_name: String,
    /// The node's addresses, the one that Pods on its network get first. Empty: the machine's.
    pub node_ips: Vec<IpAddr>,
    pub node_labels: BTreeMap<String, String>,
    /// Make the Node object when it is not there.
    pub register_node: bool,
    pub register_with_taints: Vec<Taint>,
    pub max_pods: u32,
    /// `unix:///run/containerd/containerd.sock`.
    pub runtime_endpoint: String,
    /// Volumes and other files of Pods.
    pub root_dir: PathBuf,
    pub pod_logs_dir: PathBuf,
    /// Where cgroup file systems are mounted, and the group below which this node's Pods are.
    pub cgroup_mount: PathBuf,
    pub cgroup_root: String,
    pub cluster_dns: Vec<String>,
    pub cluster_domain: String,
    /// What Pods resolve with that do not use the cluster's DNS.
    pub resolv_conf: PathBuf,
    /// The address of the kubelet's own server, its ports, and its identity. Without a certificate there is no server.
    pub address: IpAddr,
    pub port: u16,
    /// On 127.0.0.1; 0 for none.
    pub healthz_port: u16,
    pub tls_cert: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    /// Whose client certificates are believed.
    pub client_ca: Option<PathBuf>,
    /// Held back from Pods: `cpu`, `memory`, …, as quantities.
    pub reserved: BTreeMap<String, String>,
    /// A container's log is cut off here, and this many pieces are kept.
    pub container_log_bytes_max: u64,
    pub container_log_files_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node_name: String::new(),
            node_ips: Vec::new(),
            node_labels: BTreeMap::new(),
            register_node: true,
            register_with_taints: Vec::new(),
            max_pods: 110,
            runtime_endpoint: "unix:///run/containerd/containerd.sock".to_owned(),
            root_dir: PathBuf::from("/var/lib/kubelet"),
            pod_logs_dir: PathBuf::from("/var/log/pods"),
            cgroup_mount: PathBuf::from("/sys/fs/cgroup"),
            cgroup_root: "/".to_owned(),
            cluster_dns: Vec::new(),
            cluster_domain: "cluster.local".to_owned(),
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
            address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            port: 10250,
            healthz_port: 10248,
            tls_cert: None,
            tls_key: None,
            client_ca: None,
            reserved: BTreeMap::new(),
            container_log_bytes_max: 10 << 20,
            container_log_files_max: 5,
        }
    }
}
