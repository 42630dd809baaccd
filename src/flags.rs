//! The flags of the components. Names and defaults are upstream's wherever the meaning is.

use crate::Failure;
use crate::cluster::Wish;
use clap::{Args, Subcommand};
use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::Taint;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

/// A cluster on this machine.
#[derive(Args, Clone, Debug)]
pub struct Named {
    /// The cluster's name
    #[arg(long, default_value = "default")]
    pub name: String,
}

#[derive(Args, Clone, Debug)]
pub struct Up {
    #[command(flatten)]
    named: Named,
    /// How many nodes it has
    #[arg(long, default_value_t = 1)]
    nodes: u32,
    /// Where its data is [default: /var/lib/corten/NAME]
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Without a link to this machine's network
    #[arg(long)]
    isolated: bool,
}

impl Up {
    pub fn wish(self) -> Wish {
        Wish { name: self.named.name, nodes: self.nodes, data_dir: self.data_dir, isolated: self.isolated }
    }
}

#[derive(Args, Clone, Debug)]
pub struct Down {
    #[command(flatten)]
    pub named: Named,
    /// Remove its data, too
    #[arg(long)]
    pub delete: bool,
}

#[derive(Subcommand, Clone, Debug)]
pub enum Image {
    /// Import OCI or Docker archives into every node
    Import(ImageImport),
}

#[derive(Args, Clone, Debug)]
pub struct ImageImport {
    #[command(flatten)]
    pub named: Named,
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
}

#[derive(Args, Clone, Debug)]
pub struct Node {
    #[command(flatten)]
    pub named: Named,
    #[arg(long)]
    pub node: String,
}

#[derive(Args, Clone, Debug)]
pub struct Apiserver {
    /// Where the state is: embedded:///PATH or memory:
    #[arg(long)]
    pub storage: String,
    #[arg(long, default_value = "0.0.0.0")]
    pub bind_address: IpAddr,
    #[arg(long, default_value_t = 6443)]
    pub secure_port: u16,
    /// The address on which the members of the cluster reach this server
    #[arg(long)]
    pub advertise_address: Ipv4Addr,
    #[arg(long, default_value = "10.96.0.0/16")]
    pub service_cluster_ip_range: Ipv4Net,
    #[arg(long, default_value = "30000-32767", value_parser = port_range)]
    pub service_node_port_range: std::ops::RangeInclusive<u16>,
    #[arg(long)]
    pub client_ca_file: Option<PathBuf>,
    #[arg(long)]
    pub tls_cert_file: PathBuf,
    #[arg(long)]
    pub tls_private_key_file: PathBuf,
    #[arg(long)]
    pub kubelet_certificate_authority: Option<PathBuf>,
    #[arg(long)]
    pub kubelet_client_certificate: Option<PathBuf>,
    #[arg(long)]
    pub kubelet_client_key: Option<PathBuf>,
    #[arg(long, value_delimiter = ',', default_value = "Hostname,InternalDNS,InternalIP,ExternalDNS,ExternalIP")]
    pub kubelet_preferred_address_types: Vec<String>,
    #[arg(long, required = true)]
    pub service_account_issuer: Vec<String>,
    #[arg(long, required = true)]
    pub service_account_key_file: Vec<PathBuf>,
    #[arg(long)]
    pub service_account_signing_key_file: PathBuf,
    #[arg(long, value_delimiter = ',')]
    pub api_audiences: Vec<String>,
    #[arg(long)]
    pub requestheader_client_ca_file: Option<PathBuf>,
    #[arg(long, value_delimiter = ',')]
    pub requestheader_allowed_names: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    pub requestheader_username_headers: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    pub requestheader_group_headers: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    pub requestheader_extra_headers_prefix: Vec<String>,
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub anonymous_auth: bool,
    #[arg(long, default_value_t = 400)]
    pub max_requests_inflight: usize,
    #[arg(long, default_value_t = 200)]
    pub max_mutating_requests_inflight: usize,
}

fn port_range(text: &str) -> Result<std::ops::RangeInclusive<u16>, String> {
    let parse = |text: &str| text.parse::<u16>().map_err(|error| error.to_string());
    let (from, to) = text.split_once('-').ok_or("a range is written FROM-TO")?;
    let range = parse(from)?..=parse(to)?;
    if range.is_empty() { Err("the range is empty".into()) } else { Ok(range) }
}

impl Apiserver {
    pub fn config(self) -> Result<apiserver::Config, Failure> {
        let texts = |list: Vec<String>| list.into_iter().map(Into::into).collect();
        Ok(apiserver::Config {
            storage: self.storage,
            bind_address: self.bind_address,
            secure_port: self.secure_port,
            advertise_address: self.advertise_address,
            service_cluster_ip_range: self.service_cluster_ip_range,
            service_node_port_range: self.service_node_port_range,
            client_ca_file: self.client_ca_file,
            tls_cert_file: self.tls_cert_file,
            tls_private_key_file: self.tls_private_key_file,
            kubelet_certificate_authority: self.kubelet_certificate_authority,
            kubelet_client_certificate: self.kubelet_client_certificate,
            kubelet_client_key: self.kubelet_client_key,
            kubelet_preferred_address_types: texts(self.kubelet_preferred_address_types),
            service_account_issuer: texts(self.service_account_issuer),
            service_account_key_files: self.service_account_key_file,
            service_account_signing_key_file: self.service_account_signing_key_file,
            api_audiences: texts(self.api_audiences),
            requestheader_client_ca_file: self.requestheader_client_ca_file,
            requestheader_allowed_names: texts(self.requestheader_allowed_names),
            requestheader_username_headers: texts(self.requestheader_username_headers),
            requestheader_group_headers: texts(self.requestheader_group_headers),
            requestheader_extra_headers_prefix: texts(self.requestheader_extra_headers_prefix),
            anonymous_auth: self.anonymous_auth,
            max_requests_inflight: self.max_requests_inflight,
            max_mutating_requests_inflight: self.max_mutating_requests_inflight,
        })
    }
}

/// How a component reaches the API server.
#[derive(Args, Clone, Debug)]
pub struct Client {
    /// A kubeconfig; inside a Pod, its ServiceAccount where this is not given
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
}

impl Client {
    pub fn client(&self) -> Result<apiserver_client::Client, Failure> {
        Ok(match &self.kubeconfig {
            Some(file) => apiserver_client::config::from_kubeconfig(file, None)?,
            None => apiserver_client::config::in_cluster()?,
        })
    }
}

#[derive(Args, Clone, Debug)]
pub struct LeaderElection {
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub leader_elect: bool,
    #[arg(long, default_value = "kube-system")]
    pub leader_elect_resource_namespace: String,
}

impl LeaderElection {
    fn lock(&self, name: &str) -> Option<apiserver_client::leader::LeaseLock> {
        let identity = format!("{}_{}", hostname(), std::process::id());
        self.leader_elect.then(|| apiserver_client::leader::LeaseLock::new(&self.leader_elect_resource_namespace, name, identity))
    }
}

/// The machine's name, as Events and leases show it.
pub fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().to_lowercase()
}

#[derive(Args, Clone, Debug)]
pub struct Scheduler {
    #[command(flatten)]
    pub client: Client,
    #[command(flatten)]
    pub leader_election: LeaderElection,
    #[arg(long, default_value = "default-scheduler")]
    pub scheduler_name: String,
    /// In percent; 0 adapts to the size of the cluster
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub percentage_of_nodes_to_score: u8,
    #[arg(long, default_value_t = 1)]
    pub pod_initial_backoff_seconds: u64,
    #[arg(long, default_value_t = 10)]
    pub pod_max_backoff_seconds: u64,
    #[arg(long, default_value = "5m", value_parser = duration)]
    pub pod_max_in_unschedulable_pods_duration: Duration,
}

impl Scheduler {
    pub fn config(&self) -> scheduler::Config {
        scheduler::Config {
            scheduler_name: self.scheduler_name.clone(),
            host: hostname(),
            percentage_of_nodes_to_score: self.percentage_of_nodes_to_score,
            pod_initial_backoff: Duration::from_secs(self.pod_initial_backoff_seconds),
            pod_max_backoff: Duration::from_secs(self.pod_max_backoff_seconds),
            pod_max_in_unschedulable_pods_duration: self.pod_max_in_unschedulable_pods_duration,
            leader_election: self.leader_election.lock("kube-scheduler"),
            ..scheduler::Config::default()
        }
    }
}

#[derive(Args, Clone, Debug)]
pub struct Controllers {
    #[command(flatten)]
    pub client: Client,
    #[command(flatten)]
    pub leader_election: LeaderElection,
    /// * for all, NAME for one, -NAME for all but one
    #[arg(long, value_delimiter = ',', default_value = "*", allow_hyphen_values = true)]
    pub controllers: Vec<String>,
    #[arg(long)]
    pub root_ca_file: Option<PathBuf>,
    #[arg(long)]
    pub allocate_node_cidrs: bool,
    #[arg(long)]
    pub cluster_cidr: Option<String>,
    #[arg(long, default_value_t = 24)]
    pub node_cidr_mask_size: u8,
    #[arg(long, default_value = "50s", value_parser = duration)]
    pub node_monitor_grace_period: Duration,
    #[arg(long, default_value = "5s", value_parser = duration)]
    pub node_monitor_period: Duration,
    #[arg(long, default_value_t = 0.1)]
    pub node_eviction_rate: f64,
    #[arg(long, default_value_t = 0.01)]
    pub secondary_node_eviction_rate: f64,
    #[arg(long, default_value_t = 12_500)]
    pub terminated_pod_gc_threshold: usize,
    #[arg(long, default_value = "5m", value_parser = duration)]
    pub resource_quota_sync_period: Duration,
}

impl Controllers {
    pub fn config(&self) -> Result<controllers::Config, Failure> {
        let election = self.leader_election.lock("kube-controller-manager").map(|lock| controllers::Election {
            namespace: lock.namespace,
            name: lock.name,
            identity: lock.identity,
        });
        Ok(controllers::Config {
            controllers: self.controllers.clone(),
            election,
            clients: None,
            root_ca: self.root_ca_file.as_ref().map(std::fs::read_to_string).transpose()?,
            cluster_cidr: self.cluster_cidr.clone().filter(|_| self.allocate_node_cidrs),
            node_cidr_mask: self.node_cidr_mask_size,
            node_monitor_grace: self.node_monitor_grace_period,
            node_monitor_period: self.node_monitor_period,
            eviction_rate: self.node_eviction_rate,
            eviction_rate_secondary: self.secondary_node_eviction_rate,
            terminated_pods_max: self.terminated_pod_gc_threshold,
            quota_resync: self.resource_quota_sync_period,
        })
    }
}

#[derive(Args, Clone, Debug)]
pub struct Kubelet {
    #[command(flatten)]
    pub client: Client,
    /// The node's name [default: the machine's]
    #[arg(long)]
    pub hostname_override: Option<String>,
    #[arg(long, value_delimiter = ',')]
    pub node_ip: Vec<IpAddr>,
    #[arg(long, value_delimiter = ',', value_parser = pair)]
    pub node_labels: Vec<(String, String)>,
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub register_node: bool,
    /// KEY[=VALUE]:EFFECT
    #[arg(long, value_delimiter = ',', value_parser = taint)]
    pub register_with_taints: Vec<Taint>,
    #[arg(long, default_value_t = 110)]
    pub max_pods: u32,
    #[arg(long, default_value = "unix:///run/containerd/containerd.sock")]
    pub container_runtime_endpoint: String,
    #[arg(long, default_value = "/var/lib/kubelet")]
    pub root_dir: PathBuf,
    #[arg(long, default_value = "/var/log/pods")]
    pub pod_logs_dir: PathBuf,
    #[arg(long, default_value = "/")]
    pub cgroup_root: String,
    #[arg(long, value_delimiter = ',')]
    pub cluster_dns: Vec<String>,
    #[arg(long, default_value = "cluster.local")]
    pub cluster_domain: String,
    #[arg(long, default_value = "/etc/resolv.conf")]
    pub resolv_conf: PathBuf,
    #[arg(long, default_value = "0.0.0.0")]
    pub address: IpAddr,
    #[arg(long, default_value_t = 10_250)]
    pub port: u16,
    #[arg(long, default_value_t = 10_248)]
    pub healthz_port: u16,
    #[arg(long)]
    pub tls_cert_file: Option<PathBuf>,
    #[arg(long)]
    pub tls_private_key_file: Option<PathBuf>,
    #[arg(long)]
    pub client_ca_file: Option<PathBuf>,
    #[arg(long, value_delimiter = ',', value_parser = pair)]
    pub system_reserved: Vec<(String, String)>,
    /// In bytes
    #[arg(long, default_value_t = 10 << 20)]
    pub container_log_max_size: u64,
    #[arg(long, default_value_t = 5)]
    pub container_log_max_files: u32,
}

impl Kubelet {
    pub fn config(self) -> Result<kubelet::Config, Failure> {
        Ok(kubelet::Config {
            node_name: self.hostname_override.unwrap_or_else(hostname),
            node_ips: self.node_ip,
            node_labels: self.node_labels.into_iter().collect(),
            register_node: self.register_node,
            register_with_taints: self.register_with_taints,
            max_pods: self.max_pods,
            runtime_endpoint: self.container_runtime_endpoint,
            root_dir: self.root_dir,
            pod_logs_dir: self.pod_logs_dir,
            cgroup_root: self.cgroup_root,
            cluster_dns: self.cluster_dns,
            cluster_domain: self.cluster_domain,
            resolv_conf: self.resolv_conf,
            address: self.address,
            port: self.port,
            healthz_port: self.healthz_port,
            tls_cert: self.tls_cert_file,
            tls_key: self.tls_private_key_file,
            client_ca: self.client_ca_file,
            reserved: self.system_reserved.into_iter().collect(),
            container_log_bytes_max: self.container_log_max_size,
            container_log_files_max: self.container_log_max_files,
            ..kubelet::Config::default()
        })
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    text.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned())).ok_or_else(|| "write KEY=VALUE".into())
}

fn taint(text: &str) -> Result<Taint, String> {
    let (left, effect) = text.rsplit_once(':').ok_or("write KEY[=VALUE]:EFFECT")?;
    if !["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect) {
        return Err(format!("{effect:?} is no effect of a taint"));
    }
    let (key, value) = left.split_once('=').map_or((left, None), |(key, value)| (key, Some(value.to_owned())));
    Ok(Taint { key: key.into(), value, effect: effect.into(), time_added: None })
}

/// Durations as upstream writes them: `1h30m`, `40s`, `500ms`.
fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?} is no duration such as 1h30m or 40s");
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let seconds = match &after[..unit] {
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            _ => return Err(bad()),
        };
        let number: f64 = number.parse().map_err(|_| bad())?;
        total += Duration::try_from_secs_f64(number * seconds).map_err(|_| bad())?;
        rest = &after[unit..];
    }
    if text.is_empty() { Err(bad()) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_upstream_writes_them() {
        let check = |text: &str, expect: Option<u64>| assert_eq!(duration(text).ok().map(|d| d.as_millis()), expect.map(u128::from), "{text:?}");
        check("40s", Some(40_000));
        check("1h30m", Some(5_400_000));
        check("5m0s", Some(300_000));
        check("1.5s", Some(1_500));
        check("500ms", Some(500));
        check("40", None);
        check("", None);
        check("s", None);
        check("4d", None);
    }

    #[test]
    fn taints_have_a_key_perhaps_a_value_and_an_effect() {
        let check = |text: &str, expect: Option<(&str, Option<&str>, &str)>| {
            let read = taint(text).ok();
            assert_eq!(read.as_ref().map(|taint| (taint.key.as_str(), taint.value.as_deref(), taint.effect.as_str())), expect, "{text:?}");
        };
        check("a=b:NoSchedule", Some(("a", Some("b"), "NoSchedule")));
        check("a:NoExecute", Some(("a", None, "NoExecute")));
        check("a:Never", None);
        check("a", None);
    }

    #[test]
    fn ranges_of_ports_are_not_empty() {
        assert_eq!(port_range("1-2").ok(), Some(1..=2));
        assert!(port_range("2-1").is_err());
        assert!(port_range("2").is_err());
    }
}
