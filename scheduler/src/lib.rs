//! The scheduler: gives Pods that have no node the one that suits them best, as kube-scheduler's default profile does.
//!
//! [`run`] follows Pods and Nodes, [`scheduler`] decides, [`process`] writes. It does not preempt, knows no inter-Pod affinity, no topology
//! spread and no volumes yet, and never evicts what runs.

mod api;
pub mod cycle;
mod error;
pub mod events;
pub mod framework;
mod images;
mod metrics;
mod node_info;
pub mod plugins;
pub mod pod_info;
mod process;
pub mod queue;
mod report;
mod resources;
pub mod scheduler;
pub mod snapshot;
mod taints;
#[cfg(test)]
mod testing;

pub use error::Error;

use api::Cluster;
use apiserver_client::leader::{self, LeaseLock};
use apiserver_client::{Client, Informers, Recorder};
use apiserver_component::{Shutdown, Tasks};
use k8s_openapi::api::core::v1::{Node, Pod};
use metrics::Metrics;
use process::Process;
use queue::Limits;
use scheduler::Scheduler;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Ended Pods hold nothing and wait for nothing.
const PODS_NOT_ENDED: &str = "status.phase!=Succeeded,status.phase!=Failed";

#[derive(Clone, Debug)]
pub struct Config {
    /// Schedules the Pods whose `spec.schedulerName` is this.
    pub scheduler_name: String,
    /// The machine, as Events name it.
    pub host: String,
    /// How many percent of all nodes must fit before the search for one Pod ends; 0 adapts to the size of the cluster.
    pub percentage_of_nodes_to_score: u8,
    pub pod_initial_backoff: Duration,
    pub pod_max_backoff: Duration,
    pub pod_max_in_unschedulable_pods_duration: Duration,
    /// `None` schedules without asking.
    pub leader_election: Option<LeaseLock>,
    /// Makes the choice among equal nodes repeatable.
    pub seed: Option<u64>,
}

impl Default for Config {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            scheduler_name: "default-scheduler".to_owned(),
            host: String::new(),
            percentage_of_nodes_to_score: 0,
            pod_initial_backoff: limits.backoff_initial,
            pod_max_backoff: limits.backoff_max,
            pod_max_in_unschedulable_pods_duration: limits.unschedulable_max,
            leader_election: None,
            seed: None,
        }
    }
}

/// Schedules until `shutdown` fires or the lease is lost.
pub async fn run(config: Config, client: Client, shutdown: Shutdown) -> Result<(), Error> {
    let tasks = Tasks::new(shutdown.child());
    let result = start(config, client, &tasks).await;
    tasks.shutdown().fire();
    tasks.join().await;
    result
}

async fn start(config: Config, client: Client, tasks: &Tasks) -> Result<(), Error> {
    let name = &config.scheduler_name;
    let limits = Limits {
        backoff_initial: config.pod_initial_backoff,
        backoff_max: config.pod_max_backoff,
        unschedulable_max: config.pod_max_in_unschedulable_pods_duration,
    };
    let seed = config.seed.unwrap_or_else(|| RandomState::new().build_hasher().finish());
    let metrics = Metrics::new(name).map_err(Error::Metrics)?;
    let informers = Informers::new(client.clone(), tasks.clone());
    let (pods, nodes) = (informers.select::<Pod>(PODS_NOT_ENDED, ""), informers.of::<Node>());
    let recorder = Recorder::start_series(client.clone(), tasks, name, &format!("{name}-{}", config.host));
    let scheduler = Scheduler::new(name, usize::from(config.percentage_of_nodes_to_score), limits, seed, Instant::now());
    let process = Process::new(scheduler, Cluster::new(client.clone(), recorder), tasks.clone(), metrics);
    let (lead, leading) = watch::channel(config.leader_election.is_none());
    // Followed from the start, so that a new leader has nothing to load.
    tasks.spawn("scheduler", process.run(pods.subscribe(), nodes.subscribe(), leading));
    match config.leader_election {
        None => tasks.shutdown().wait().await,
        Some(lock) => {
            let work = |lost: Shutdown| async move {
                lead.send_replace(true);
                lost.wait().await;
            };
            leader::run(client, lock, tasks.shutdown().clone(), work).await.map_err(Error::Lead)?;
        }
    }
    Ok(())
}
