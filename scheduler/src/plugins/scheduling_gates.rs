//! A Pod with `schedulingGates` is not tried until the last is removed.

use crate::events::{ClusterEvent, PodChange};
use crate::framework::{EnqueueExtensions, Plugin, PreEnqueue};
use crate::pod_info::PodInfo;

pub struct SchedulingGates;

impl PreEnqueue for SchedulingGates {
    const PLUGIN: Plugin = Plugin::SchedulingGates;

    fn pre_enqueue(&self, pod: &PodInfo) -> Result<(), String> {
        let gates = pod.pod.spec.as_ref().and_then(|spec| spec.scheduling_gates.as_deref()).unwrap_or_default();
        if gates.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = gates.iter().map(|gate| gate.name.as_str()).collect();
        Err(format!("waiting for scheduling gates: [{}]", names.join(" ")))
    }
}

impl EnqueueExtensions for SchedulingGates {
    const PLUGIN: Plugin = Plugin::SchedulingGates;

    fn is_schedulable_after(&self, _: &PodInfo, event: &ClusterEvent<'_>) -> bool {
        matches!(event, ClusterEvent::TargetPodUpdate { change: PodChange::SchedulingGatesEliminated, .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::info;
    use serde_json::json;

    #[test]
    fn gates_hold_a_pod_back() {
        assert_eq!(SchedulingGates.pre_enqueue(&info(json!({}))), Ok(()));
        assert_eq!(SchedulingGates.pre_enqueue(&info(json!({"schedulingGates": []}))), Ok(()));
        let gated = info(json!({"schedulingGates": [{"name": "a"}, {"name": "b"}]}));
        assert_eq!(SchedulingGates.pre_enqueue(&gated), Err("waiting for scheduling gates: [a b]".into()));
    }
}
