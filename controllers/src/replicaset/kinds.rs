//! Where ReplicaSets and ReplicationControllers differ.

use controllers_runtime::{Kind, Selector};
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{PodTemplateSpec, ReplicationController, ReplicationControllerCondition, ReplicationControllerStatus};
use kube::Resource;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A kind that keeps a number of Pods.
pub(crate) trait Owner: Resource<DynamicType = ()> + k8s_openapi::Resource + Serialize + DeserializeOwned + Send + Sync + 'static {
    const OWNER: Kind;
    const CONTROLLER: &'static str;
    /// The component that Events name.
    const COMPONENT: &'static str;

    fn replicas(&self) -> i32;
    fn min_ready_seconds(&self) -> i32;
    /// None where it cannot be used.
    fn selector(&self) -> Option<Selector>;
    fn template(&self) -> Option<&PodTemplateSpec>;
    /// Whether the status counts Pods that are being deleted.
    fn counts_terminating() -> bool;
    fn status(&self) -> ReplicaSetStatus;
    fn status_json(status: &ReplicaSetStatus) -> serde_json::Value;
}

impl Owner for ReplicaSet {
    const OWNER: Kind = Kind::of::<ReplicaSet>();
    const CONTROLLER: &'static str = super::ROW.name;
    const COMPONENT: &'static str = "replicaset-controller";

    fn replicas(&self) -> i32 {
        self.spec.replicas.unwrap_or(1)
    }

    fn min_ready_seconds(&self) -> i32 {
        self.spec.min_ready_seconds.unwrap_or(0)
    }

    fn selector(&self) -> Option<Selector> {
        Selector::new(&self.spec.selector).ok()
    }

    fn template(&self) -> Option<&PodTemplateSpec> {
        self.spec.template.as_ref()
    }

    fn counts_terminating() -> bool {
        true
    }

    fn status(&self) -> ReplicaSetStatus {
        self.status.clone().unwrap_or_default()
    }

    fn status_json(status: &ReplicaSetStatus) -> serde_json::Value {
        serde_json::to_value(status).unwrap_or_default()
    }
}

impl Owner for ReplicationController {
    const OWNER: Kind = Kind::of::<ReplicationController>();
    const CONTROLLER: &'static str = super::REPLICATION_ROW.name;
    const COMPONENT: &'static str = "replication-controller";

    fn replicas(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
    }

    fn min_ready_seconds(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0)
    }

    fn selector(&self) -> Option<Selector> {
        let selector = self.spec.as_ref()?.selector.as_ref()?;
        Some(Selector::from_map(selector)).filter(|selector| !selector.is_empty())
    }

    fn template(&self) -> Option<&PodTemplateSpec> {
        self.spec.as_ref()?.template.as_ref()
    }

    fn counts_terminating() -> bool {
        false
    }

    fn status(&self) -> ReplicaSetStatus {
        let status = self.status.clone().unwrap_or_default();
        let condition = |from: ReplicationControllerCondition| ReplicaSetCondition {
            type_: Some(from.type_),
            status: Some(from.status),
            reason: from.reason,
            message: from.message,
            last_transition_time: from.last_transition_time,
        };
        ReplicaSetStatus {
            replicas: status.replicas,
            fully_labeled_replicas: status.fully_labeled_replicas,
            ready_replicas: status.ready_replicas,
            available_replicas: status.available_replicas,
            terminating_replicas: None,
            observed_generation: status.observed_generation,
            conditions: status.conditions.map(|conditions| conditions.into_iter().map(condition).collect()),
        }
    }

    fn status_json(status: &ReplicaSetStatus) -> serde_json::Value {
        let condition = |from: &ReplicaSetCondition| ReplicationControllerCondition {
            type_: from.type_.clone().unwrap_or_default(),
            status: from.status.clone().unwrap_or_default(),
            reason: from.reason.clone(),
            message: from.message.clone(),
            last_transition_time: from.last_transition_time.clone(),
        };
        let status = ReplicationControllerStatus {
            replicas: status.replicas,
            fully_labeled_replicas: status.fully_labeled_replicas,
            ready_replicas: status.ready_replicas,
            available_replicas: status.available_replicas,
            observed_generation: status.observed_generation,
            conditions: status.conditions.as_ref().map(|conditions| conditions.iter().map(condition).collect()),
        };
        serde_json::to_value(status).unwrap_or_default()
    }
}
