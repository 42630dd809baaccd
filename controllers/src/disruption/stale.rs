//! Takes the mark off Pods that were to be disrupted and were not.

use crate::pod;
use apiserver_client::time::{from_time, rfc3339};
use apiserver_client::{Informer, ObjectKey};
use controllers_runtime::plan::PatchKind;
use controllers_runtime::{Action, Kind, Plan, Rule};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use std::sync::Arc;

const TIMEOUT: SignedDuration = SignedDuration::from_secs(2 * 60);
const MARK: &str = "DisruptionTarget";
const PODS: Kind = Kind::of::<Pod>();

pub(super) struct Conditions {
    pods: Informer<Pod>,
}

impl Conditions {
    pub fn new(pods: Informer<Pod>) -> Self {
        Self { pods }
    }
}

/// Marked, and neither leaving nor over. What the kubelet ends is ended.
pub(super) fn is_marked(pod: &Pod) -> bool {
    let marked = pod::condition(pod, MARK).is_some_and(|mark| mark.status == "True" && mark.reason.as_deref() != Some("TerminationByKubelet"));
    marked && pod.metadata.deletion_timestamp.is_none() && !pod::is_terminal(pod)
}

impl Rule for Conditions {
    type Observed = Arc<Pod>;

    fn observe(&self, key: &ObjectKey) -> Option<Arc<Pod>> {
        self.pods.get(&key.namespace, &key.name).filter(|pod| is_marked(pod))
    }

    fn plan(&self, pod: &Arc<Pod>, now: Timestamp) -> Plan {
        plan(pod, now)
    }
}

pub(super) fn plan(pod: &Pod, now: Timestamp) -> Plan {
    let marked_at = pod::condition(pod, MARK).and_then(|mark| mark.last_transition_time.as_ref()).map(from_time).unwrap_or_default();
    let mut plan = Plan::nothing();
    match marked_at.checked_add(TIMEOUT) {
        Ok(until) if until > now => plan.again(until),
        _ => {
            let cleared = json!({"type": MARK, "status": "False", "reason": null, "message": null, "observedGeneration": pod.metadata.generation,
                                 "lastProbeTime": null, "lastTransitionTime": rfc3339(now)});
            let patch = json!({"metadata": {"resourceVersion": pod.metadata.resource_version}, "status": {"conditions": [cleared]}});
            plan.actions.push(Action::Patch { target: PODS.target_of(pod), subresource: Some("status"), kind: PatchKind::Strategic, patch });
        }
    }
    plan
}
