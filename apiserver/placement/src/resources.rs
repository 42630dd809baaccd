//! What a Pod asks for as a whole: requests and limits over its containers, init containers, sidecars, Pod-level resources,
//! overhead, and, for a Pod that is being resized in place, what its node has allocated and actuated.
//!
//! Example: init containers run one after another beside the sidecars started before them, and the containers beside all sidecars:
//!
//! ```text
//!     init a: 2 cpu    sidecar s: 1 cpu    init b: 2 cpu    containers: 1 + 1 cpu
//!     request = max(2, 1, 1 + 2, 1 + 1 + 1) = 3 cpu
//! ```

use crate::quantity::Amount;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodSpec, PodStatus, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::BTreeMap;

pub const CPU: &str = "cpu";
pub const MEMORY: &str = "memory";
pub const EPHEMERAL_STORAGE: &str = "ephemeral-storage";
pub const PODS: &str = "pods";
pub const HUGE_PAGES_PREFIX: &str = "hugepages-";

type Quantities = BTreeMap<String, Quantity>;

/// Amounts by resource name, names borrowed from the Pod. A Pod names few resources, so this is a vector in order of first mention.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceList<'a>(Vec<(&'a str, Amount)>);

impl<'a> ResourceList<'a> {
    /// The amount under `name`; nothing when it is not mentioned.
    pub fn get(&self, name: &str) -> Amount {
        self.find(name).unwrap_or_default()
    }

    /// The amount under `name`, if it is mentioned, be it zero.
    pub fn find(&self, name: &str) -> Option<Amount> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, amount)| *amount)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'a str, Amount)> + '_ {
        self.0.iter().copied()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn slot(&mut self, name: &'a str) -> &mut Amount {
        let index = self.0.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
            self.0.push((name, Amount::ZERO));
            self.0.len() - 1
        });
        &mut self.0[index].1
    }

    fn add(&mut self, other: &ResourceList<'a>) {
        for (name, amount) in other.iter() {
            *self.slot(name) += amount;
        }
    }

    fn raise_to(&mut self, other: &ResourceList<'a>) {
        for (name, amount) in other.iter() {
            let slot = self.slot(name);
            *slot = amount.max(*slot);
        }
    }

    fn replace_supported(&mut self, other: &ResourceList<'a>) {
        for (name, amount) in other.iter().filter(|(name, _)| is_pod_level(name)) {
            *self.slot(name) = amount;
        }
    }
}

impl<'a> From<&'a Quantities> for ResourceList<'a> {
    fn from(quantities: &'a Quantities) -> Self {
        Self(quantities.iter().map(|(name, quantity)| (name.as_str(), Amount::from(quantity))).collect())
    }
}

impl<'a> From<Option<&'a Quantities>> for ResourceList<'a> {
    fn from(quantities: Option<&'a Quantities>) -> Self {
        quantities.map(Self::from).unwrap_or_default()
    }
}

/// What is counted. The default is what the spec asks for, with overhead.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counted {
    /// Also what the status says is allocated and actuated: for Pods on a node, which may be in the middle of a resize.
    pub status: bool,
    pub without_overhead: bool,
    pub without_pod_level: bool,
    /// Counted for a container that does not mention the resource; one that mentions it, even as zero, keeps its own. Requests only.
    pub missing_requests: &'static [(&'static str, Amount)],
}

impl Counted {
    /// Spec and status: what a Pod on a node holds.
    pub const ON_NODE: Self = Self { status: true, without_overhead: false, without_pod_level: false, missing_requests: &[] };
}

/// What the Pod asks its node to set aside.
pub fn pod_requests<'a>(pod: &'a Pod, counted: &Counted) -> ResourceList<'a> {
    let Some(spec) = &pod.spec else { return ResourceList::default() };
    spec_requests(spec, pod.status.as_ref(), counted)
}

/// [`pod_requests`] of a Pod template, or of a spec and status held apart.
pub fn spec_requests<'a>(spec: &'a PodSpec, status: Option<&'a PodStatus>, counted: &Counted) -> ResourceList<'a> {
    let status = status.filter(|_| counted.status);
    let mut requests = container_requests(spec, status, counted);
    if !counted.without_pod_level
        && let Some(own) = spec.resources.as_ref().and_then(|own| own.requests.as_ref())
        && own.keys().any(|name| is_pod_level(name))
    {
        let statuses = [
            status.and_then(|status| status.resources.as_ref()).and_then(|seen| seen.requests.as_ref()),
            status.filter(|status| status.resources.is_some()).and_then(|status| status.allocated_resources.as_ref()),
        ];
        requests.replace_supported(&effective(own, status, &statuses));
    }
    if !counted.without_overhead {
        requests.add(&spec.overhead.as_ref().into());
    }
    requests
}

/// The most that the Pod may use. Overhead is added only to limits that are set.
pub fn pod_limits<'a>(pod: &'a Pod, counted: &Counted) -> ResourceList<'a> {
    let Some(spec) = &pod.spec else { return ResourceList::default() };
    spec_limits(spec, pod.status.as_ref(), counted)
}

/// [`pod_limits`] of a Pod template, or of a spec and status held apart.
pub fn spec_limits<'a>(spec: &'a PodSpec, status: Option<&'a PodStatus>, counted: &Counted) -> ResourceList<'a> {
    let status = status.filter(|_| counted.status);
    let mut limits = container_limits(spec, status);
    if !counted.without_pod_level
        && has_pod_level(spec)
        && let Some(own) = spec.resources.as_ref().and_then(|own| own.limits.as_ref())
    {
        let seen = status.and_then(|status| status.resources.as_ref()).and_then(|seen| seen.limits.as_ref());
        limits.replace_supported(&effective(own, status, &[seen]));
    }
    if !counted.without_overhead {
        for (name, amount) in ResourceList::from(spec.overhead.as_ref()).iter() {
            if limits.find(name).is_some_and(|limit| !limit.is_zero()) {
                *limits.slot(name) += amount;
            }
        }
    }
    limits
}

/// Whether the Pod itself, not its containers, requests or limits cpu, memory or huge pages.
pub fn has_pod_level(spec: &PodSpec) -> bool {
    let names = |quantities: &Option<Quantities>| quantities.iter().flat_map(|map| map.keys()).any(|name| is_pod_level(name));
    spec.resources.as_ref().is_some_and(|own| names(&own.requests) || names(&own.limits))
}

fn is_pod_level(name: &str) -> bool {
    name == CPU || name == MEMORY || name.starts_with(HUGE_PAGES_PREFIX)
}

/// Whether the init container is a sidecar: it keeps running beside the containers.
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// The node said that it can never make the resize that the spec asks for.
pub fn is_resize_infeasible(status: &PodStatus) -> bool {
    let pending = status.conditions.iter().flatten().find(|condition| condition.type_ == "PodResizePending");
    pending.is_some_and(|condition| condition.reason.as_deref() == Some("Infeasible"))
}

fn effective<'a>(own: &'a Quantities, status: Option<&PodStatus>, seen: &[Option<&'a Quantities>]) -> ResourceList<'a> {
    let mut result = if status.is_some_and(is_resize_infeasible) { ResourceList::default() } else { own.into() };
    for seen in seen {
        result.raise_to(&(*seen).into());
    }
    result
}

fn container_requests<'a>(spec: &'a PodSpec, status: Option<&'a PodStatus>, counted: &Counted) -> ResourceList<'a> {
    let asked = |container: &'a Container| with_missing(requests_of(&container.resources).into(), counted);
    let Some(status) = status else { return aggregate(spec, asked) };
    let infeasible = is_resize_infeasible(status);
    let allocated = |container: &'a Container| {
        let seen = status_of(status, &container.name).and_then(|seen| seen.allocated_resources.as_ref());
        with_missing(seen.or_else(|| requests_of(&container.resources).filter(|_| !infeasible)).into(), counted)
    };
    let actuated = |container: &'a Container| {
        let seen = status_of(status, &container.name);
        let requests = seen.and_then(|seen| requests_of(&seen.resources)).or_else(|| seen.and_then(|seen| seen.allocated_resources.as_ref()));
        with_missing(requests.or_else(|| requests_of(&container.resources).filter(|_| !infeasible)).into(), counted)
    };
    let (allocated, actuated) = match (&status.allocated_resources, requests_of(&status.resources)) {
        // Pod-level status holds the sums already.
        (Some(allocated), Some(actuated)) => (allocated.into(), actuated.into()),
        _ => (aggregate(spec, allocated), aggregate(spec, actuated)),
    };
    let mut result = if infeasible { ResourceList::default() } else { aggregate(spec, asked) };
    result.raise_to(&actuated);
    result.raise_to(&allocated);
    result
}

fn container_limits<'a>(spec: &'a PodSpec, status: Option<&'a PodStatus>) -> ResourceList<'a> {
    let asked = |container: &'a Container| limits_of(&container.resources).into();
    let Some(status) = status else { return aggregate(spec, asked) };
    let infeasible = is_resize_infeasible(status);
    let actuated = |container: &'a Container| {
        let seen = status_of(status, &container.name).and_then(|seen| limits_of(&seen.resources));
        seen.or_else(|| limits_of(&container.resources).filter(|_| !infeasible)).into()
    };
    let mut result = if infeasible { ResourceList::default() } else { aggregate(spec, asked) };
    result.raise_to(&limits_of(&status.resources).map_or_else(|| aggregate(spec, actuated), ResourceList::from));
    result
}

fn requests_of(resources: &Option<ResourceRequirements>) -> Option<&Quantities> {
    resources.as_ref().and_then(|resources| resources.requests.as_ref())
}

fn limits_of(resources: &Option<ResourceRequirements>) -> Option<&Quantities> {
    resources.as_ref().and_then(|resources| resources.limits.as_ref())
}

fn status_of<'a>(status: &'a PodStatus, name: &str) -> Option<&'a ContainerStatus> {
    let all = status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten());
    all.into_iter().find(|status| status.name == name)
}

fn with_missing<'a>(mut list: ResourceList<'a>, counted: &Counted) -> ResourceList<'a> {
    for (name, amount) in counted.missing_requests {
        if list.find(name).is_none() {
            *list.slot(name) = *amount;
        }
    }
    list
}

/// The largest need over the Pod's life: see the example at the top.
fn aggregate<'a>(spec: &'a PodSpec, of: impl Fn(&'a Container) -> ResourceList<'a>) -> ResourceList<'a> {
    let mut result = ResourceList::default();
    for container in &spec.containers {
        result.add(&of(container));
    }
    let mut sidecars = ResourceList::default();
    let mut peak = ResourceList::default();
    for container in spec.init_containers.iter().flatten() {
        let mut own = of(container);
        if is_sidecar(container) {
            result.add(&own);
            sidecars.add(&own);
            peak.raise_to(&sidecars);
        } else {
            own.add(&sidecars);
            peak.raise_to(&own);
        }
    }
    result.raise_to(&peak);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(spec: Value, status: Value) -> Pod {
        serde_json::from_value(json!({"spec": spec, "status": status})).unwrap()
    }

    fn requests(cpu: &str) -> Value {
        json!({"requests": {"cpu": cpu}})
    }

    fn show(list: &ResourceList) -> String {
        let mut all: Vec<_> = list.iter().map(|(name, amount)| format!("{name}={}m", amount.millis())).collect();
        all.sort();
        all.join(" ")
    }

    #[track_caller]
    fn check(spec: Value, expect: &str) {
        assert_eq!(show(&pod_requests(&pod(spec, json!({})), &Counted::default())), expect);
    }

    #[test]
    fn containers_add_up_and_init_containers_peak() {
        check(json!({"containers": [{"name": "a", "resources": requests("1")}, {"name": "b", "resources": requests("500m")}]}), "cpu=1500m");
        check(
            json!({"containers": [{"name": "a", "resources": requests("1")}],
                   "initContainers": [{"name": "i", "resources": requests("2")}, {"name": "j", "resources": {"requests": {"memory": "1"}}}]}),
            "cpu=2000m memory=1000m",
        );
    }

    #[test]
    fn sidecars_count_beside_later_init_containers_and_containers() {
        let side = json!({"name": "s", "restartPolicy": "Always", "resources": requests("1")});
        let init = json!({"name": "i", "resources": requests("2")});
        let main = json!([{"name": "a", "resources": requests("1")}, {"name": "b", "resources": requests("1")}]);
        check(json!({"containers": main, "initContainers": [init, side]}), "cpu=3000m");
        check(json!({"containers": main, "initContainers": [side, init]}), "cpu=3000m");
        check(json!({"containers": main, "initContainers": [side, {"name": "i", "resources": requests("4")}]}), "cpu=5000m");
    }

    #[test]
    fn overhead_is_added_to_requests_and_to_set_limits_only() {
        let spec = json!({"overhead": {"cpu": "250m", "memory": "1"}, "containers": [{"name": "a", "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "2"}}}]});
        check(spec.clone(), "cpu=1250m memory=1000m");
        assert_eq!(show(&pod_limits(&pod(spec.clone(), json!({})), &Counted::default())), "cpu=2250m");
        let bare = Counted { without_overhead: true, ..Counted::default() };
        assert_eq!(show(&pod_requests(&pod(spec, json!({})), &bare)), "cpu=1000m");
    }

    #[test]
    fn pod_level_resources_stand_over_those_of_containers() {
        let spec = json!({"resources": {"requests": {"cpu": "5", "example.org/gpu": "9"}, "limits": {"memory": "7"}},
                          "containers": [{"name": "a", "resources": {"requests": {"cpu": "1", "memory": "3"}, "limits": {"memory": "4"}}}]});
        check(spec.clone(), "cpu=5000m memory=3000m");
        assert_eq!(show(&pod_limits(&pod(spec.clone(), json!({})), &Counted::default())), "memory=7000m");
        let bare = Counted { without_pod_level: true, ..Counted::default() };
        assert_eq!(show(&pod_requests(&pod(spec, json!({})), &bare)), "cpu=1000m memory=3000m");
    }

    #[test]
    fn a_pod_on_a_node_holds_the_largest_of_asked_allocated_and_actuated() {
        let spec = json!({"containers": [{"name": "a", "resources": requests("1")}]});
        let shrinking = json!({"containerStatuses": [{"name": "a", "image": "", "imageID": "", "ready": true, "restartCount": 0,
            "allocatedResources": {"cpu": "2"}, "resources": requests("3")}]});
        assert_eq!(show(&pod_requests(&pod(spec.clone(), shrinking.clone()), &Counted::ON_NODE)), "cpu=3000m");
        assert_eq!(show(&pod_requests(&pod(spec, shrinking), &Counted::default())), "cpu=1000m");
    }

    #[test]
    fn an_infeasible_resize_does_not_count() {
        let spec = json!({"containers": [{"name": "a", "resources": requests("9")}]});
        let status = json!({"conditions": [{"type": "PodResizePending", "status": "True", "reason": "Infeasible"}],
            "containerStatuses": [{"name": "a", "image": "", "imageID": "", "ready": true, "restartCount": 0, "allocatedResources": {"cpu": "2"}}]});
        assert_eq!(show(&pod_requests(&pod(spec, status), &Counted::ON_NODE)), "cpu=2000m");
    }

    #[test]
    fn what_containers_do_not_mention_can_be_given_a_default() {
        const COUNTED: Counted = Counted {
            status: false,
            without_overhead: false,
            without_pod_level: false,
            missing_requests: &[("cpu", Amount::from_millis(100)), ("memory", Amount::from_units(1))],
        };
        let spec = json!({"containers": [{"name": "a", "resources": requests("0")}, {"name": "b"}]});
        assert_eq!(show(&pod_requests(&pod(spec, json!({})), &COUNTED)), "cpu=100m memory=2000m");
    }
}
