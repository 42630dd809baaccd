//! What all parts of a kubelet hold in common.

use crate::cgroup::Cgroups;
use crate::config::Config;
use crate::dns::Resolvers;
use crate::downward::Place;
use crate::image::Images;
use crate::objects::Objects;
use crate::pod;
use crate::tokens::Tokens;
use apiserver_client::{Client, EventType, Informer, Recorder};
use apiserver_component::{Clock, Tasks};
use apiserver_placement::Amount;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::jiff::Timestamp;
use kubelet_cri::Runtime;
use std::collections::BTreeMap;
use std::sync::Arc;

pub struct Shared {
    pub config: Config,
    pub client: Client,
    pub tasks: Tasks,
    pub runtime: Arc<dyn Runtime>,
    /// `containerd://1.6.20`, as the Node shows it, and `containerd`, the scheme of container ids.
    pub runtime_version: String,
    pub runtime_name: String,
    pub recorder: Recorder,
    pub cgroups: Cgroups,
    pub resolvers: Resolvers,
    pub objects: Objects,
    pub tokens: Tokens,
    pub services: Informer<Service>,
    pub images: Images,
    pub host_ips: Vec<String>,
    /// The machine, and what of it Pods may have.
    pub capacity: BTreeMap<String, Amount>,
    pub allocatable: BTreeMap<String, Amount>,
}

impl Shared {
    pub fn event(&self, pod: &Pod, kind: EventType, reason: &str, message: impl Into<String>) {
        self.recorder.event(&pod::reference(pod, None), kind, reason, message);
    }

    pub fn container_event(&self, pod: &Pod, container: &str, kind: EventType, reason: &str, message: impl Into<String>) {
        self.recorder.event(&pod::reference(pod, pod::field_path(pod, container)), kind, reason, message);
    }

    /// What the downward API says of where the Pod is.
    pub fn place(&self, pod: &Pod, pod_ips: &[String]) -> Place {
        let ips = if pod::uses_host_network(pod) { &self.host_ips } else { pod_ips };
        Place { host_ips: self.host_ips.clone(), pod_ips: ips.to_vec(), allocatable: self.allocatable.clone() }
    }
}

/// Wall time, in the version of the type that API objects have.
pub fn now() -> Timestamp {
    Timestamp::from_nanosecond(Clock.now().as_nanosecond()).unwrap_or_default()
}
