//! One row per controller.

use crate::config::Config;
use crate::{
    clusterrole, cronjob, daemonset, deployment, disruption, endpoints, endpointslice, endpointslicemirroring, garbage, job, namespace, nodeipam,
    nodelifecycle, podgc, quota, replicaset, rootca, serviceaccount, statefulset, tainteviction, ttlafterfinished, volumeprotection,
};
use apiserver_client::{Client, Informers, Recorder};
use apiserver_component::Tasks;
use controllers_runtime::Context;
use std::sync::Arc;

/// A controller: upstream's name for it, and what starts it.
pub(crate) struct Row {
    pub name: &'static str,
    pub start: fn(&Setup),
}

const ROWS: &[Row] = &[
    serviceaccount::ROW,
    rootca::ROW,
    namespace::ROW,
    garbage::ROW,
    replicaset::ROW,
    replicaset::REPLICATION_ROW,
    deployment::ROW,
    nodelifecycle::ROW,
    tainteviction::ROW,
    podgc::ROW,
    nodeipam::ROW,
    quota::ROW,
    clusterrole::ROW,
    daemonset::ROW,
    endpoints::ROW,
    endpointslice::ROW,
    endpointslicemirroring::ROW,
    job::ROW,
    cronjob::ROW,
    ttlafterfinished::ROW,
    disruption::ROW,
    volumeprotection::CLAIM_ROW,
    volumeprotection::VOLUME_ROW,
    statefulset::ROW,
];

/// What a controller is started with.
pub(crate) struct Setup {
    pub config: Arc<Config>,
    client: Client,
    pub informers: Informers,
    pub tasks: Tasks,
}

impl Setup {
    pub fn new(config: Arc<Config>, client: Client, informers: Informers, tasks: Tasks) -> Self {
        Self { config, client, informers, tasks }
    }

    /// For the controller `name`, which reports Events as `component`.
    pub fn context(&self, name: &str, component: &str) -> Context {
        let client = self.config.clients.as_ref().map_or_else(|| self.client.clone(), |clients| clients(name));
        let recorder = Recorder::start_core(client.clone(), &self.tasks, component, "");
        Context { client, informers: self.informers.clone(), tasks: self.tasks.clone(), recorder }
    }
}

/// All controllers, by upstream's names.
pub fn names() -> impl Iterator<Item = &'static str> {
    ROWS.iter().map(|row| row.name)
}

pub(crate) fn is_known(name: &str) -> bool {
    ROWS.iter().any(|row| row.name == name)
}

pub(crate) fn start(setup: &Setup) {
    for row in ROWS.iter().filter(|row| setup.config.enables(row.name)) {
        (row.start)(setup);
    }
}
