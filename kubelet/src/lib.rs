//! The node agent: it runs the Pods bound to its node through a container runtime and tells the API server how they are.
//!
//! ```text
//!   Pods (API) ─┐                                  ┌─► runtime (CRI), volumes, cgroups
//!   PLEG       ─┼─► sync_loop ─► one pod_task each ┼─► PATCH status, DELETE
//!   objects    ─┘                  step (pure)     └─► probes
//! ```
//! The kubelet keeps no files of its own about Pods: what it must know after a restart is in the labels and annotations of what it
//! made in the runtime, in the folders and cgroups of Pods, and in the API.

mod admission;
mod backoff;
mod cgroup;
mod config;
mod container;
mod dns;
mod downward;
mod env;
mod eviction;
mod garbage;
mod http_get;
mod image;
mod lifecycle;
mod log_rotation;
mod logs;
mod node;
mod objects;
mod observe;
mod pleg;
mod pod;
mod pod_task;
mod pod_worker;
mod probe;
mod sandbox;
mod security;
mod server;
mod shared;
mod status;
mod sync_loop;
mod tokens;
mod view;
mod volume;

pub use config::{Config, VERSION};

use apiserver_client::{Client, Informers, Recorder};
use apiserver_component::{Shutdown, Tasks};
use kubelet_cri::Runtime;
use node::machine::{self, Machine};
use shared::Shared;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// How often a runtime that does not answer at the start is asked again.
const RUNTIME_RETRY: Duration = Duration::from_millis(500);
/// Listings of the runtime that wait for the loop.
const LISTINGS_MAX: usize = 4;
/// Pods that are to end, waiting for the loop.
const EVICTIONS_MAX: usize = 16;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the container runtime: {0}")]
    Runtime(#[source] kubelet_cri::Error),
    #[error("the machine: {0}")]
    Machine(#[source] machine::Error),
    #[error("cgroups: {0}")]
    Cgroups(#[source] cgroup::Error),
    #[error(transparent)]
    Server(#[from] server::Error),
    #[error("making {path}: {source}")]
    Folder { path: PathBuf, source: std::io::Error },
}

/// Runs a kubelet until `shutdown` fires. Pods go on without it.
pub async fn run(config: Config, client: Client, shutdown: Shutdown) -> Result<(), Error> {
    let runtime = kubelet_cri::Client::new(&config.runtime_endpoint).map_err(Error::Runtime)?;
    run_with(config, client, Arc::new(runtime), shutdown).await
}

/// As [`run`], on a runtime that is given.
pub async fn run_with(config: Config, client: Client, runtime: Arc<dyn Runtime>, shutdown: Shutdown) -> Result<(), Error> {
    let tasks = Tasks::new(shutdown.clone());
    for folder in [&config.root_dir, &config.pod_logs_dir] {
        std::fs::create_dir_all(folder).map_err(|source| Error::Folder { path: folder.clone(), source })?;
    }
    let machine = Machine::read(&config).map_err(Error::Machine)?;
    let Some(version) = shutdown.run_until(wait_for(&*runtime)).await else { return Ok(()) };
    let cgroups = cgroup::Cgroups::new(&config.cgroup_mount, &config.cgroup_root).map_err(Error::Cgroups)?;
    cgroups.prepare_node().map_err(Error::Cgroups)?;
    volume::share_root_mount();

    let informers = Informers::new(client.clone(), tasks.clone());
    let pods = informers.select(&format!("spec.nodeName={}", config.node_name), "");
    let node = informers.select(&format!("metadata.name={}", config.node_name), "");
    let (objects_changed, objects) = mpsc::channel(objects::CHANGES_MAX);
    let host_ips = if config.node_ips.is_empty() { vec![machine::own_address()] } else { config.node_ips.clone() };
    let shared = Arc::new(Shared {
        resolvers: dns::Resolvers {
            cluster_servers: config.cluster_dns.clone(),
            cluster_domain: config.cluster_domain.clone(),
            host: dns::Host::read(&config.resolv_conf),
        },
        recorder: Recorder::start_core(client.clone(), &tasks, "kubelet", &config.node_name),
        objects: objects::Objects::new(informers.clone(), tasks.clone(), objects_changed),
        tokens: tokens::Tokens::new(client.clone()),
        services: informers.of(),
        images: image::Images::default(),
        host_ips: host_ips.iter().map(ToString::to_string).collect(),
        runtime_version: format!("{}://{}", version.runtime_name, version.runtime_version.trim_start_matches('v')),
        runtime_name: version.runtime_name,
        capacity: machine.capacity.clone(),
        allocatable: machine.allocatable.clone(),
        tasks: tasks.clone(),
        config,
        client,
        runtime,
        cgroups,
    });

    let last_seen = pleg::LastSeen::default();
    let (listings, listed) = mpsc::channel(LISTINGS_MAX);
    tasks.spawn("pleg", pleg::run(shared.clone(), last_seen.clone(), listings));
    if let Some(server) = server::Server::bind(shared.clone(), pods.clone(), last_seen.clone()).await? {
        tasks.spawn("kubelet-server", server.run());
    }
    if let Some(listener) = server::bind_health(shared.config.healthz_port).await? {
        tasks.spawn("healthz", server::run_health(listener, tasks.clone(), last_seen.clone()));
    }
    tasks.spawn("node-status", node::run(shared.clone(), machine, last_seen));
    tasks.spawn("log-rotation", log_rotation::run(shared.clone()));
    tasks.spawn("node-lease", node::keep_lease(shared.clone()));
    let (evict, evictions) = mpsc::channel(EVICTIONS_MAX);
    tasks.spawn("eviction", eviction::run(shared.clone(), pods.clone(), evict));
    let sources = sync_loop::Sources { pods: pods.subscribe(), runtime: listed, objects, evictions, node };
    tasks.spawn("sync-loop", sync_loop::run(shared.clone(), sources));

    shutdown.wait().await;
    tasks.join().await;
    Ok(())
}

async fn wait_for(runtime: &dyn Runtime) -> kubelet_cri::v1::VersionResponse {
    loop {
        match runtime.version().await {
            Ok(version) => return version,
            Err(error) => tracing::warn!(%error, "the container runtime does not answer yet"),
        }
        tokio::time::sleep(RUNTIME_RETRY).await;
    }
}
