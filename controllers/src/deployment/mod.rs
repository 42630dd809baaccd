//! Rolls a Deployment's Pods from one template to the next by scaling ReplicaSets.
//!
//! It never touches Pods. `kubectl rollout undo` is a patch of the template, so it is one more rollout.

mod plan;
mod revision;
mod rollout;
mod size;
mod status;
#[cfg(test)]
mod tests;

pub(crate) use size::scaled;

use crate::registry::{Row, Setup};
use crate::routes::{adopters, owners};
use apiserver_client::{Event, Index, Informer, ObjectKey};
use controllers_runtime::{Kind, Plan, Rule, Selector, owner};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use std::sync::Arc;

pub(crate) const ROW: Row = Row { name: "deployment-controller", start };

const WORKERS: usize = 5;
const DEPLOYMENTS: Kind = Kind::of::<Deployment>();
const REPLICA_SETS: Kind = Kind::of::<ReplicaSet>();

fn start(setup: &Setup) {
    let (deployments, sets, pods) = (setup.informers.of::<Deployment>(), setup.informers.of::<ReplicaSet>(), setup.informers.of::<Pod>());
    let rule = Rollouts {
        deployments: deployments.clone(),
        all_sets: sets.clone(),
        sets: sets.index("controller", |set| owner::index_key(&set.metadata)),
        pods: pods.index("controller", |pod| owner::index_key(&pod.metadata)),
    };
    setup.context(ROW.name, "deployment-controller").start(ROW.name, WORKERS, rule, |routes| {
        routes.watches_own(ROW.name, &deployments);
        let candidates = deployments.clone();
        routes.watches(ROW.name, &sets, move |event| {
            let mut keys = owners(event, &DEPLOYMENTS);
            keys.extend(adopters(event, &candidates, |deployment| selector(deployment).filter(|selector| !selector.is_empty())));
            keys
        });
        // Recreate waits until the last old Pod has left.
        routes.watches(ROW.name, &pods, move |event| match event {
            Event::Deleted(pod) => {
                let set = crate::routes::owner_key(&pod.metadata, &REPLICA_SETS).and_then(|key| sets.get(&key.namespace, &key.name));
                let owner = set.and_then(|set| crate::routes::owner_key(&set.metadata, &DEPLOYMENTS));
                let recreates = |key: &ObjectKey| deployments.get(&key.namespace, &key.name).is_some_and(|deployment| plan::is_recreate(&deployment));
                owner.filter(recreates).into_iter().collect()
            }
            _ => Vec::new(),
        });
    });
}

fn selector(deployment: &Deployment) -> Option<Selector> {
    Selector::new(&deployment.spec.selector).ok()
}

struct Rollouts {
    deployments: Informer<Deployment>,
    all_sets: Informer<ReplicaSet>,
    sets: Index<ReplicaSet>,
    pods: Index<Pod>,
}

struct Observed {
    deployment: Arc<Deployment>,
    /// Those that the Deployment controls, and orphans of its namespace.
    sets: Vec<Arc<ReplicaSet>>,
    /// The ReplicaSet that has the name which a new one would get, whoever owns it.
    namesake: Option<Arc<ReplicaSet>>,
    /// Pods of the sets, for Recreate only.
    pods: Vec<Arc<Pod>>,
}

impl Rule for Rollouts {
    type Observed = Observed;

    fn observe(&self, key: &ObjectKey) -> Option<Observed> {
        let deployment = self.deployments.get(&key.namespace, &key.name)?;
        let mut sets = self.sets.get(deployment.metadata.uid.as_deref().unwrap_or_default());
        let pods = if plan::is_recreate(&deployment) {
            sets.iter().filter_map(|set| set.metadata.uid.as_deref()).flat_map(|uid| self.pods.get(uid)).collect()
        } else {
            Vec::new()
        };
        sets.extend(self.sets.get(&owner::orphans_key(&key.namespace)));
        let namesake = self.all_sets.get(&key.namespace, &revision::set_name(&deployment));
        Some(Observed { deployment, sets, namesake, pods })
    }

    fn plan(&self, observed: &Observed, now: Timestamp) -> Plan {
        plan::plan(observed, now)
    }
}
