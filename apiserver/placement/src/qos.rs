//! The QoS class: who is throttled and evicted first.

use crate::quantity::Amount;
use crate::resources::{self, CPU, MEMORY};
use k8s_openapi::api::core::v1::{Pod, PodSpec, ResourceRequirements};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Qos {
    Guaranteed,
    Burstable,
    BestEffort,
}

impl Qos {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }

    /// The class that the status records, else the one that the spec gives.
    pub fn of(pod: &Pod) -> Self {
        match pod.status.as_ref().and_then(|status| status.qos_class.as_deref()) {
            Some("Guaranteed") => Self::Guaranteed,
            Some("Burstable") => Self::Burstable,
            Some("BestEffort") => Self::BestEffort,
            _ => pod.spec.as_ref().map_or(Self::BestEffort, Self::compute),
        }
    }

    /// Guaranteed when every container has equal requests and limits of cpu and memory, BestEffort when none has any, else Burstable.
    /// Pod-level resources, where set, decide alone.
    pub fn compute(spec: &PodSpec) -> Self {
        if resources::has_pod_level(spec) {
            return of_requirements(spec.resources.as_ref());
        }
        let mut classes =
            spec.init_containers.iter().flatten().chain(&spec.containers).map(|container| of_requirements(container.resources.as_ref()));
        let Some(first) = classes.next() else { return Self::BestEffort };
        if classes.all(|class| class == first) { first } else { Self::Burstable }
    }
}

fn of_requirements(requirements: Option<&ResourceRequirements>) -> Qos {
    let Some(requirements) = requirements else { return Qos::BestEffort };
    let of = |name: &str| {
        let request = requirements.requests.as_ref().and_then(|all| all.get(name)).map(Amount::from).unwrap_or_default();
        let limit = requirements.limits.as_ref().and_then(|all| all.get(name)).map(Amount::from).unwrap_or_default();
        match (request == limit, request.is_zero()) {
            (false, _) => Qos::Burstable,
            (true, true) => Qos::BestEffort,
            (true, false) => Qos::Guaranteed,
        }
    };
    if of(CPU) == of(MEMORY) { of(CPU) } else { Qos::Burstable }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[track_caller]
    fn check(spec: Value, expect: Qos) {
        assert_eq!(Qos::compute(&serde_json::from_value(spec.clone()).unwrap()), expect, "{spec}");
    }

    #[test]
    fn the_class_follows_requests_and_limits() {
        let full = json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1000m", "memory": "1024Mi"}});
        let half = json!({"requests": {"cpu": "1"}, "limits": {"cpu": "1"}});
        let gpu = json!({"requests": {"example.org/gpu": "1"}, "limits": {"example.org/gpu": "1"}});
        let zero = json!({"requests": {"cpu": "0", "memory": "0"}});
        check(json!({"containers": [{"name": "a"}]}), Qos::BestEffort);
        check(json!({"containers": [{"name": "a", "resources": zero}]}), Qos::BestEffort);
        check(json!({"containers": [{"name": "a", "resources": gpu}]}), Qos::BestEffort);
        check(json!({"containers": [{"name": "a", "resources": full}]}), Qos::Guaranteed);
        check(json!({"containers": [{"name": "a", "resources": half}]}), Qos::Burstable);
        check(json!({"containers": [{"name": "a", "resources": full}, {"name": "b"}]}), Qos::Burstable);
        check(json!({"containers": [{"name": "a", "resources": full}], "initContainers": [{"name": "i"}]}), Qos::Burstable);
        check(json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "2"}}}]}), Qos::Burstable);
        check(json!({"resources": full, "containers": [{"name": "a"}]}), Qos::Guaranteed);
        check(json!({"resources": {}, "containers": [{"name": "a", "resources": half}]}), Qos::Burstable);
    }

    #[test]
    fn the_recorded_class_stays() {
        let pod = json!({"spec": {"containers": [{"name": "a"}]}, "status": {"qosClass": "Guaranteed"}});
        assert_eq!(Qos::of(&serde_json::from_value(pod).unwrap()), Qos::Guaranteed);
    }
}
