//! Keeps as many Pods as a ReplicaSet or a ReplicationController asks for.
//!
//! One implementation; [`Owner`] says where each kind has its fields.

mod kinds;
mod plan;
mod rank;
#[cfg(test)]
mod tests;

use crate::registry::{Row, Setup};
use crate::routes::{adopters, owners};
use apiserver_client::{Index, Informer, ObjectKey};
use controllers_runtime::{Plan, Rule, owner};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
pub(crate) use kinds::Owner;
use std::sync::Arc;

pub(crate) const ROW: Row = Row { name: "replicaset-controller", start: start::<ReplicaSet> };
pub(crate) const REPLICATION_ROW: Row = Row { name: "replicationcontroller-controller", start: start::<ReplicationController> };

const WORKERS: usize = 5;

fn start<O: Owner>(setup: &Setup) {
    let (sets, pods) = (setup.informers.of::<O>(), setup.informers.of::<Pod>());
    let rule = Replicas {
        sets: sets.clone(),
        sets_by_owner: sets.index("controller", |set| owner::index_key(set.meta())),
        pods: pods.index("controller", |pod| owner::index_key(&pod.metadata)),
    };
    setup.context(O::CONTROLLER, O::COMPONENT).start(O::CONTROLLER, WORKERS, rule, |routes| {
        routes.watches_own(O::CONTROLLER, &sets);
        routes.watches(O::CONTROLLER, &pods, move |event| {
            let mut keys = owners(event, &O::OWNER);
            keys.extend(adopters(event, &sets, O::selector));
            keys
        });
    });
}

struct Replicas<O> {
    sets: Informer<O>,
    sets_by_owner: Index<O>,
    pods: Index<Pod>,
}

/// What a plan is made from.
struct Observed<O> {
    set: Arc<O>,
    /// Those that the set controls, and orphans of its namespace.
    pods: Vec<Arc<Pod>>,
    /// Those of sets with the same owner, this one included: they say which nodes are crowded.
    related: Vec<Arc<Pod>>,
}

impl<O: Owner> Rule for Replicas<O> {
    type Observed = Observed<O>;

    fn observe(&self, key: &ObjectKey) -> Option<Observed<O>> {
        let set = self.sets.get(&key.namespace, &key.name)?;
        let uid = set.meta().uid.clone().unwrap_or_default();
        let mut pods = self.pods.get(&uid);
        let related = match owner::controller_of(set.meta()) {
            None => pods.clone(),
            Some(owner) => {
                let siblings = self.sets_by_owner.get(&owner.uid);
                siblings.iter().filter_map(|sibling| sibling.meta().uid.as_deref()).flat_map(|uid| self.pods.get(uid)).collect()
            }
        };
        pods.extend(self.pods.get(&owner::orphans_key(&key.namespace)));
        Some(Observed { set, pods, related })
    }

    fn plan(&self, observed: &Observed<O>, now: Timestamp) -> Plan {
        plan::plan(observed, now)
    }
}
