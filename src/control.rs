//! The control plane of a cluster in one process: API server, scheduler and controllers, in the control namespace.
//!
//! The scheduler and the controllers call the API server in process, under the names that they have elsewhere; nothing else differs.

use crate::cluster::{API_PORT, Cluster};
use crate::flags::hostname;
use crate::identities::{self, FRONT_PROXY_CLIENT, Identities};
use crate::{Failure, network, runtime, until_signal};
use apiserver_client::Client;
use apiserver_client::config::in_process;
use apiserver_component::{Clock, Shutdown, Tasks};
use std::future::Future;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const SCHEDULER: &str = "system:kube-scheduler";
const CONTROLLERS: &str = "system:kube-controller-manager";
/// What has not ended by then is left behind.
const END_WITHIN: Duration = Duration::from_secs(8);

pub fn run(cluster: &Cluster) -> Result<(), Failure> {
    // The machine's port is opened before the machine's network is left.
    let outside = TcpListener::bind((Ipv4Addr::LOCALHOST, cluster.host_port))?;
    network::enter(&cluster.control_namespace())?;
    let inside = TcpListener::bind((Ipv4Addr::UNSPECIFIED, API_PORT))?;
    runtime()?.block_on(until_signal(|shutdown| serve(cluster, vec![outside, inside], shutdown)))
}

async fn serve(cluster: &Cluster, listeners: Vec<TcpListener>, shutdown: Shutdown) -> Result<(), Failure> {
    let tasks = Tasks::new(shutdown.clone());
    let own = identities::ensure(cluster, Clock.now())?;
    let root_ca = own.authority.clone();
    let api = apiserver::start(api_server(cluster, own), listeners, tasks.clone()).await?;
    let client = |user| in_process(apiserver::Local::new(api.clone(), user, &[]));
    let scheduling = scheduler::Config { host: hostname(), ..scheduler::Config::default() };
    keep(&tasks, "scheduler", scheduler::run(scheduling, client(SCHEDULER), shutdown.clone()));
    keep(&tasks, "controllers", controllers::run(controlling(cluster, &api, &root_ca)?, client(CONTROLLERS), shutdown.clone()));
    shutdown.wait().await;
    if tokio::time::timeout(END_WITHIN, tasks.join()).await.is_err() {
        tracing::warn!("some tasks did not end in time");
    }
    Ok(())
}

/// Half a control plane is worse than none: when one part ends, all do, and the supervisor starts them anew.
fn keep<E: std::fmt::Display + Send>(tasks: &Tasks, name: &'static str, part: impl Future<Output = Result<(), E>> + Send + 'static) {
    let shutdown = tasks.shutdown().clone();
    tasks.spawn_graceful(name, async move {
        if let Err(error) = part.await {
            tracing::error!(%error, "{name} ended");
        }
        shutdown.fire();
    });
}

/// The ServiceAccount whose rights a controller has, where it is not called like the controller. Upstream's names.
const ACCOUNTS: [(&str, &str); 13] = [
    ("daemonset-controller", "daemon-set-controller"),
    ("endpoints-controller", "endpoint-controller"),
    ("endpointslice-mirroring-controller", "endpointslicemirroring-controller"),
    ("garbage-collector-controller", "generic-garbage-collector"),
    ("node-ipam-controller", "node-controller"),
    ("node-lifecycle-controller", "node-controller"),
    ("pod-garbage-collector-controller", "pod-garbage-collector"),
    ("replicationcontroller-controller", "replication-controller"),
    ("root-ca-certificate-publisher-controller", "root-ca-cert-publisher"),
    ("serviceaccount-controller", "service-account-controller"),
    ("taint-eviction-controller", "node-controller"),
    ("persistentvolume-protection-controller", "pv-protection-controller"),
    ("persistentvolumeclaim-protection-controller", "pvc-protection-controller"),
];

fn account_of(controller: &str) -> &str {
    ACCOUNTS.iter().find(|(name, _)| *name == controller).map_or(controller, |(_, account)| account)
}

/// Each controller writes under a ServiceAccount of its own, with the rights that upstream gives it and no others.
fn account_client(api: &Arc<apiserver::Api>, controller: &str) -> Client {
    let user = format!("system:serviceaccount:kube-system:{}", account_of(controller));
    in_process(apiserver::Local::new(api.clone(), &user, &["system:serviceaccounts", "system:serviceaccounts:kube-system"]))
}

fn controlling(cluster: &Cluster, api: &Arc<apiserver::Api>, root_ca: &Path) -> Result<controllers::Config, Failure> {
    let api = api.clone();
    Ok(controllers::Config {
        clients: Some(Arc::new(move |controller| account_client(&api, controller))),
        root_ca: Some(std::fs::read_to_string(root_ca)?),
        cluster_cidr: Some(cluster.pod_cidr().to_string()),
        ..controllers::Config::default()
    })
}

fn api_server(cluster: &Cluster, own: Identities) -> apiserver::Config {
    let (signing, verifying) = own.service_account_key;
    apiserver::Config {
        storage: format!("embedded://{}", cluster.data("store").display()),
        bind_address: Ipv4Addr::UNSPECIFIED.into(),
        secure_port: API_PORT,
        advertise_address: cluster.control_address(),
        service_cluster_ip_range: cluster.service_cidr(),
        client_ca_file: Some(own.authority.clone()),
        tls_cert_file: own.api_server.certificate,
        tls_private_key_file: own.api_server.key,
        kubelet_certificate_authority: Some(own.authority),
        kubelet_client_certificate: Some(own.kubelet_client.certificate),
        kubelet_client_key: Some(own.kubelet_client.key),
        kubelet_preferred_address_types: vec!["InternalIP".into()],
        service_account_issuer: vec![ISSUER.into()],
        service_account_key_files: vec![verifying],
        service_account_signing_key_file: signing,
        requestheader_client_ca_file: Some(own.front_proxy_authority),
        requestheader_allowed_names: vec![FRONT_PROXY_CLIENT.into()],
        requestheader_username_headers: vec!["X-Remote-User".into()],
        requestheader_group_headers: vec!["X-Remote-Group".into()],
        requestheader_extra_headers_prefix: vec!["X-Remote-Extra-".into()],
        ..apiserver::Config::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_controller_has_an_account_that_upstream_gives_a_role() {
        let roles = include_str!("../apiserver/src/bootstrap/rbac.tsv");
        for controller in controllers::names() {
            let role = format!("system:controller:{}\t", account_of(controller));
            assert!(roles.contains(&role), "{controller} has no role {role}");
        }
    }
}
