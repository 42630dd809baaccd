//! Deletes Pods from nodes with NoExecute taints that they do not tolerate, or no longer.

use crate::pod;
use crate::registry::{Row, Setup};
use apiserver_client::time::rfc3339;
use apiserver_client::{Event, EventType, Informer, ObjectKey};
use apiserver_component::Clock;
use apiserver_placement::taint::{NO_EXECUTE, tolerates};
use controllers_runtime::plan::PatchKind;
use controllers_runtime::{Action, Kind, Plan, Rule};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};
use serde_json::json;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

pub(crate) const ROW: Row = Row { name: "taint-eviction-controller", start };

const WORKERS: usize = 8;
const PODS: Kind = Kind::of::<Pod>();

fn start(setup: &Setup) {
    let (nodes, pods) = (setup.informers.of::<Node>(), setup.informers.of::<Pod>());
    let by_node = pods.index("node", |pod| vec![pod::node_name(pod).to_string()]);
    let rule = Evictions { nodes: nodes.clone(), pods: pods.clone(), since: Mutex::default() };
    setup.context(ROW.name, "taint-eviction-controller").start(ROW.name, WORKERS, rule, |routes| {
        routes.watches(ROW.name, &pods, |event| match event {
            Event::Added(pod) | Event::Updated { new: pod, .. } | Event::Deleted(pod) if !pod::node_name(pod).is_empty() => {
                vec![ObjectKey::of(&**pod)]
            }
            _ => Vec::new(),
        });
        routes.watches(ROW.name, &nodes, move |event| {
            let node = match event {
                Event::Added(node) if !no_execute(node).is_empty() => node,
                Event::Updated { old, new } if no_execute(old) != no_execute(new) => new,
                _ => return Vec::new(),
            };
            by_node.get(node.metadata.name.as_deref().unwrap_or_default()).iter().map(|pod| ObjectKey::of(&**pod)).collect()
        });
    });
}

fn no_execute(node: &Node) -> Vec<Taint> {
    node.spec.iter().flat_map(|spec| spec.taints.iter().flatten()).filter(|taint| taint.effect == NO_EXECUTE).cloned().collect()
}

struct Evictions {
    nodes: Informer<Node>,
    pods: Informer<Pod>,
    /// Since when a Pod's time has been running, by uid.
    since: Mutex<HashMap<ObjectKey, (String, Timestamp)>>,
}

struct Observed {
    pod: Arc<Pod>,
    taints: Vec<Taint>,
    /// When the Pod was first seen with these taints.
    since: Timestamp,
    /// The Pod's time was running and does not any more.
    spared: bool,
}

impl Rule for Evictions {
    type Observed = Observed;

    fn observe(&self, key: &ObjectKey) -> Option<Observed> {
        let mut since = self.since.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let found = self.pods.get(&key.namespace, &key.name).filter(|pod| pod.metadata.deletion_timestamp.is_none());
        let Some(pod) = found else {
            since.remove(key);
            return None;
        };
        let taints = self.nodes.get("", pod::node_name(&pod)).map(|node| no_execute(&node)).unwrap_or_default();
        if taints.is_empty() {
            let spared = since.remove(key).is_some();
            return spared.then(|| Observed { pod, taints, since: Clock.now(), spared });
        }
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let running = since.entry(key.clone()).or_insert_with(|| (uid.clone(), Clock.now()));
        if running.0 != uid {
            *running = (uid, Clock.now());
        }
        let since = running.1;
        Some(Observed { pod, taints, since, spared: false })
    }

    fn plan(&self, observed: &Observed, now: Timestamp) -> Plan {
        plan(observed, now)
    }
}

/// How long the Pod may stay beside the taints: None for ever.
fn may_stay(taints: &[Taint], tolerations: &[Toleration]) -> Option<SignedDuration> {
    let mut shortest = None;
    for taint in taints {
        let Some(toleration) = tolerations.iter().find(|toleration| tolerates(toleration, taint)) else { return Some(SignedDuration::ZERO) };
        if let Some(seconds) = toleration.toleration_seconds {
            let seconds = SignedDuration::from_secs(seconds.max(0));
            shortest = Some(shortest.map_or(seconds, |before: SignedDuration| before.min(seconds)));
        }
    }
    shortest
}

fn plan(observed: &Observed, now: Timestamp) -> Plan {
    let mut plan = Plan::nothing();
    let pod = &*observed.pod;
    let about = PODS.reference(&pod.metadata);
    let name = ObjectKey::of(pod);
    if observed.spared {
        plan.event(&about, EventType::Normal, "TaintManagerEviction", format!("Cancelling deletion of Pod {name}"));
        return plan;
    }
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
    let Some(stay) = may_stay(&observed.taints, tolerations) else { return plan };
    let end = observed.since.checked_add(stay).unwrap_or(Timestamp::MAX);
    if end > now {
        plan.again(end);
        return plan;
    }
    let condition = json!({"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager", "message": "Taint manager: deleting due to NoExecute taint",
                           "lastTransitionTime": rfc3339(now), "observedGeneration": pod.metadata.generation});
    let patch = json!({"status": {"conditions": [condition]}});
    plan.actions.push(Action::Patch { target: PODS.target_of(pod), subresource: Some("status"), kind: PatchKind::Strategic, patch });
    plan.actions.push(Action::delete(PODS.target_of(pod)));
    plan.event(&about, EventType::Normal, "TaintManagerEviction", format!("Marking for deletion Pod {name}"));
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn check(taints: Value, tolerations: Value, expect: Option<i64>) {
        let taints: Vec<Taint> = serde_json::from_value(taints).unwrap();
        let tolerations: Vec<Toleration> = serde_json::from_value(tolerations).unwrap();
        assert_eq!(may_stay(&taints, &tolerations), expect.map(SignedDuration::from_secs));
    }

    #[test]
    fn the_shortest_toleration_of_any_taint_counts() {
        let taint = |key: &str| json!({"key": key, "effect": "NoExecute"});
        let tolerated = |key: &str, seconds: Option<i64>| json!({"key": key, "operator": "Exists", "tolerationSeconds": seconds});
        check(json!([taint("a")]), json!([]), Some(0));
        check(json!([taint("a")]), json!([tolerated("a", None)]), None);
        check(json!([taint("a"), taint("b")]), json!([tolerated("a", Some(300)), tolerated("b", Some(60))]), Some(60));
        check(json!([taint("a"), taint("b")]), json!([tolerated("a", Some(300))]), Some(0));
        check(json!([taint("a")]), json!([tolerated("a", Some(-5))]), Some(0));
    }

    #[test]
    fn a_pod_goes_when_its_time_is_over_and_says_why() {
        let now: Timestamp = "2026-01-01T01:00:00Z".parse().unwrap();
        let pod: Arc<Pod> = Arc::new(serde_json::from_value(json!({"metadata": {"namespace": "a", "name": "p"}, "spec": {"containers": [], "tolerations": [{"operator": "Exists", "tolerationSeconds": 60}]}})).unwrap());
        let taints: Vec<Taint> = serde_json::from_value(json!([{"key": "k", "effect": "NoExecute"}])).unwrap();
        let at = |seconds: i64| {
            plan(&Observed { pod: pod.clone(), taints: taints.clone(), since: now - SignedDuration::from_secs(seconds), spared: false }, now)
        };
        assert_eq!((at(59).describe(), at(59).again_at), (vec![], Some(now + SignedDuration::from_secs(1))));
        let gone = at(60);
        assert_eq!(gone.describe()[1], "delete pods a/p");
        assert!(gone.describe()[0].contains("DeletionByTaintManager"));
        assert_eq!(gone.events[0].message, "Marking for deletion Pod a/p");
    }
}
