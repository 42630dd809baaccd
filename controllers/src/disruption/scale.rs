//! How many Pods the controllers of some Pods want.

use apiserver_client::{Informer, Informers};
use controllers_runtime::{Routes, owner};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone)]
pub(super) struct Owners {
    deployments: Informer<Deployment>,
    replica_sets: Informer<ReplicaSet>,
    replication_controllers: Informer<ReplicationController>,
    stateful_sets: Informer<StatefulSet>,
}

/// Pods without a controller, by name, and what the others' controllers want, by uid.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scale {
    pub unmanaged: Vec<String>,
    pub wanted: BTreeMap<String, i32>,
}

/// The error is for the budget's status.
pub(super) type Scales = Result<Scale, String>;

impl Owners {
    pub fn new(informers: &Informers) -> Self {
        Self { deployments: informers.of(), replica_sets: informers.of(), replication_controllers: informers.of(), stateful_sets: informers.of() }
    }

    pub fn reads(&self, routes: &mut Routes) {
        routes.reads(&self.deployments);
        routes.reads(&self.replica_sets);
        routes.reads(&self.replication_controllers);
        routes.reads(&self.stateful_sets);
    }

    pub fn scales(&self, pods: &[Arc<Pod>]) -> Scales {
        let mut scale = Scale { unmanaged: Vec::new(), wanted: BTreeMap::new() };
        for pod in pods {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            match owner::controller_of(&pod.metadata) {
                None => scale.unmanaged.push(name.into()),
                Some(owner) => {
                    let (uid, replicas) = self.of_owner(namespace, owner).ok_or_else(|| refusal(owner, name))?;
                    scale.wanted.insert(uid, replicas);
                }
            }
        }
        Ok(scale)
    }

    fn of_owner(&self, namespace: &str, owner: &OwnerReference) -> Option<(String, i32)> {
        let group = owner.api_version.rsplit_once('/').map_or("", |(group, _)| group);
        let (uid, replicas) = match (group, owner.kind.as_str()) {
            ("", "ReplicationController") => {
                let controller = self.replication_controllers.get(namespace, &owner.name)?;
                (controller.metadata.uid.clone()?, controller.spec.as_ref().and_then(|spec| spec.replicas))
            }
            ("apps", "StatefulSet") => {
                let set = self.stateful_sets.get(namespace, &owner.name)?;
                (set.metadata.uid.clone()?, set.spec.replicas)
            }
            ("apps" | "extensions", "ReplicaSet") => {
                let set = self.replica_sets.get(namespace, &owner.name)?;
                if let Some(above) = owner::controller_of(&set.metadata).filter(|above| above.kind == "Deployment") {
                    // During a rollout the sets together want more than the Deployment does.
                    let deployment = self.deployments.get(namespace, &above.name)?;
                    let uid = deployment.metadata.uid.clone()?;
                    let is_same = set.metadata.uid.as_ref() == Some(&owner.uid) && uid == above.uid;
                    return is_same.then_some((uid, deployment.spec.replicas.unwrap_or(1)));
                }
                (set.metadata.uid.clone()?, set.spec.replicas)
            }
            _ => return None,
        };
        (uid == owner.uid).then_some((uid, replicas.unwrap_or(1)))
    }
}

fn refusal(owner: &OwnerReference, pod: &str) -> String {
    let resource = match (owner.api_version.as_str(), owner.kind.as_str()) {
        ("batch/v1", "Job") => "jobs.batch",
        ("apps/v1", "DaemonSet") => "daemonsets.apps",
        ("v1", "Node") => "nodes",
        _ => return format!("found no controllers for pod {pod:?}"),
    };
    format!("{resource} does not implement the scale subresource")
}
