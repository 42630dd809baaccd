//! The controllers: one folder each, a row in the registry, and a pure plan.
//!
//! A controller looks at caches, decides, and writes through the API like any other client. It never calls another component, and no controller
//! knows another.

mod clusterrole;
mod config;
mod cronjob;
mod daemonset;
mod deployment;
mod discovery;
mod disruption;
mod endpoints;
mod endpointslice;
mod endpointslicemirroring;
mod garbage;
mod hash;
mod history;
mod job;
mod namespace;
mod nodeipam;
mod nodelifecycle;
mod pod;
mod podgc;
mod quota;
mod registry;
mod replicaset;
mod rootca;
mod routes;
mod service;
mod serviceaccount;
mod share;
mod slices;
mod statefulset;
mod tainteviction;
mod ttlafterfinished;
mod volumeprotection;

pub use config::{Config, Election};
pub use registry::names;

use apiserver_client::{Client, Informers, leader};
use apiserver_component::{Shutdown, Tasks};
use registry::Setup;
use std::sync::Arc;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0:?} is not the name of a controller")]
    UnknownController(String),
    #[error("leader election: {0}")]
    Election(#[from] apiserver_client::Error),
    #[error("cluster CIDR {cidr:?}: {reason}")]
    ClusterCidr { cidr: String, reason: String },
}

/// Runs the controllers until `shutdown` fires, or, with an election, until the lease is lost.
pub async fn run(config: Config, client: Client, shutdown: Shutdown) -> Result<(), Error> {
    config.check()?;
    let config = Arc::new(config);
    match config.election.clone() {
        None => {
            lead(config, client, shutdown).await;
            Ok(())
        }
        Some(election) => {
            let lock = leader::LeaseLock::new(election.namespace, election.name, election.identity);
            leader::run(client.clone(), lock, shutdown, |leading| lead(config, client, leading)).await?;
            Ok(())
        }
    }
}

async fn lead(config: Arc<Config>, client: Client, shutdown: Shutdown) {
    let tasks = Tasks::new(shutdown.child());
    let informers = Informers::new(client.clone(), tasks.clone());
    let setup = Setup::new(config, client, informers, tasks.clone());
    registry::start(&setup);
    // A task that panics fires the child signal: the component ends with it.
    tasks.shutdown().wait().await;
    tasks.join().await;
}
