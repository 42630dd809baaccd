//! Deletes Pods that nobody will: of nodes that are gone or out of service, deleted before they had a node, and finished ones beyond a number.

use crate::pod;
use crate::registry::{Row, Setup};
use apiserver_client::time::{rfc3339, to_time};
use apiserver_client::{Informer, ObjectKey};
use controllers_runtime::plan::DeleteOptions;
use controllers_runtime::{Action, Kind, Plan, Rule};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod, PodCondition};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) const ROW: Row = Row { name: "pod-garbage-collector-controller", start };

const PERIOD: Duration = Duration::from_secs(20);
/// A node must be missing for so long before its Pods go.
const QUARANTINE: SignedDuration = SignedDuration::from_secs(40);
const PODS: Kind = Kind::of::<Pod>();
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

fn start(setup: &Setup) {
    let (pods, nodes) = (setup.informers.of::<Pod>(), setup.informers.of::<Node>());
    let rule = Collector { pods: pods.clone(), nodes: nodes.clone(), terminated_max: setup.config.terminated_pods_max, missing: Mutex::default() };
    setup.context(ROW.name, "pod-garbage-collector").start(ROW.name, 1, rule, |routes| {
        routes.reads(&pods);
        routes.reads(&nodes);
        routes.every(ROW.name, PERIOD, || vec![ObjectKey::new("", "all")]);
    });
}

struct Collector {
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    terminated_max: usize,
    /// Since when nodes that Pods name have been missing.
    missing: Mutex<BTreeMap<String, Timestamp>>,
}

struct Observed {
    pods: Vec<Arc<Pod>>,
    nodes: Vec<Arc<Node>>,
    missing: BTreeMap<String, Timestamp>,
    terminated_max: usize,
}

impl Rule for Collector {
    type Observed = Observed;

    fn observe(&self, _: &ObjectKey) -> Option<Observed> {
        let (pods, nodes) = (self.pods.list(), self.nodes.list());
        let known: BTreeSet<&str> = nodes.iter().filter_map(|node| node.metadata.name.as_deref()).collect();
        let named: BTreeSet<&str> = pods.iter().map(|pod| pod::node_name(pod)).filter(|name| !name.is_empty() && !known.contains(name)).collect();
        let mut missing = self.missing.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        missing.retain(|name, _| named.contains(name.as_str()));
        let now = apiserver_component::Clock.now();
        for name in named {
            missing.entry(name.to_string()).or_insert(now);
        }
        let missing = missing.clone();
        Some(Observed { pods, nodes, missing, terminated_max: self.terminated_max })
    }

    fn plan(&self, observed: &Observed, now: Timestamp) -> Plan {
        plan(observed, now)
    }
}

fn plan(observed: &Observed, now: Timestamp) -> Plan {
    let mut plan = Plan::nothing();
    let out_of_service: BTreeSet<&str> =
        observed.nodes.iter().filter(|node| is_out_of_service(node)).filter_map(|node| node.metadata.name.as_deref()).collect();
    let lost = |name: &str| observed.missing.get(name).is_some_and(|since| now.duration_since(*since) >= QUARANTINE);
    for pod in &observed.pods {
        let (node, deleting) = (pod::node_name(pod), pod.metadata.deletion_timestamp.is_some());
        if lost(node) {
            let condition = PodCondition {
                type_: "DisruptionTarget".into(),
                status: "True".into(),
                reason: Some("DeletionByPodGC".into()),
                message: Some("PodGC: node no longer exists".into()),
                last_transition_time: Some(to_time(now)),
                observed_generation: pod.metadata.generation,
                ..Default::default()
            };
            fail_and_delete(&mut plan, pod, Some(condition), now);
        } else if deleting && (node.is_empty() || out_of_service.contains(node)) {
            fail_and_delete(&mut plan, pod, None, now);
        }
    }
    let mut over: Vec<&Arc<Pod>> = observed.pods.iter().filter(|pod| pod::is_terminal(pod)).collect();
    if over.len() > observed.terminated_max {
        let evicted = |pod: &Pod| pod.status.as_ref().and_then(|status| status.reason.as_deref()) == Some("Evicted");
        let surplus = over.len() - observed.terminated_max;
        over.sort_by_key(|pod| (!evicted(pod), pod.metadata.creation_timestamp.clone(), pod.metadata.name.clone()));
        over.into_iter().take(surplus).for_each(|pod| fail_and_delete(&mut plan, pod, None, now));
    }
    plan
}

fn is_out_of_service(node: &Node) -> bool {
    let ready = node
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten())
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    !ready && node.spec.iter().flat_map(|spec| spec.taints.iter().flatten()).any(|taint| taint.key == OUT_OF_SERVICE)
}

/// There is no kubelet to say that the Pod is over, so that is said for it before it goes.
fn fail_and_delete(plan: &mut Plan, pod: &Pod, condition: Option<PodCondition>, now: Timestamp) {
    let target = PODS.target_of(pod);
    if !pod::is_terminal(pod) {
        let mut status = json!({"phase": "Failed"});
        if let Some(condition) = condition {
            let time = rfc3339(now);
            let mut condition = json!(condition);
            condition["lastTransitionTime"] = time.into();
            status["conditions"] = json!([condition]);
        }
        let patch = json!({"status": status});
        plan.actions.push(Action::Patch {
            target: target.clone(),
            subresource: Some("status"),
            kind: controllers_runtime::plan::PatchKind::Strategic,
            patch,
        });
    }
    let options = DeleteOptions { grace_seconds: Some(0), propagation: None, resource_version: None };
    plan.actions.push(Action::Delete { target, options, announce: None });
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn pod(name: &str, node: &str, phase: &str, deleting: bool) -> Arc<Pod> {
        let mut pod = json!({"metadata": {"namespace": "a", "name": name, "creationTimestamp": format!("2026-01-01T00:00:0{}Z", name.len())}, "spec": {"containers": [], "nodeName": node}, "status": {"phase": phase}});
        if deleting {
            pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        }
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    fn node(name: &str, taints: Value) -> Arc<Node> {
        Arc::new(serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"taints": taints}})).unwrap())
    }

    fn check(pods: Vec<Arc<Pod>>, missing_seconds: i64, terminated_max: usize, expect: &[&str]) {
        let now: Timestamp = "2026-01-01T01:00:00Z".parse().unwrap();
        let nodes = vec![node("n1", json!([])), node("down", json!([{"key": OUT_OF_SERVICE, "effect": "NoExecute"}]))];
        let missing = BTreeMap::from([("gone".to_string(), now - SignedDuration::from_secs(missing_seconds))]);
        let described = plan(&Observed { pods, nodes, missing, terminated_max }, now).describe();
        let deletes: Vec<&str> = described.iter().map(String::as_str).filter(|line| line.starts_with("delete")).collect();
        assert_eq!(deletes, expect, "{described:?}");
    }

    #[test]
    fn pods_go_whose_node_is_gone_for_good_or_that_never_had_one() {
        check(vec![pod("p", "gone", "Running", false)], 39, 9, &[]);
        check(vec![pod("p", "gone", "Running", false)], 40, 9, &["delete pods a/p grace 0"]);
        check(
            vec![pod("p", "", "Pending", true), pod("q", "", "Pending", false), pod("r", "n1", "Running", true)],
            0,
            9,
            &["delete pods a/p grace 0"],
        );
        check(vec![pod("p", "down", "Running", true), pod("q", "down", "Running", false)], 0, 9, &["delete pods a/p grace 0"]);
    }

    #[test]
    fn a_pod_of_a_lost_node_is_failed_before_it_goes() {
        let now: Timestamp = "2026-01-01T01:00:00Z".parse().unwrap();
        let missing = BTreeMap::from([("gone".to_string(), Timestamp::UNIX_EPOCH)]);
        let described = plan(&Observed { pods: vec![pod("p", "gone", "Running", false)], nodes: vec![], missing, terminated_max: 9 }, now).describe();
        assert!(
            described[0].starts_with("patch pods a/p/status")
                && described[0].contains("DeletionByPodGC")
                && described[0].contains(r#""phase":"Failed""#),
            "{described:?}"
        );
    }

    #[test]
    fn finished_pods_beyond_the_number_go_oldest_first() {
        let pods = vec![
            pod("aaa", "n1", "Failed", false),
            pod("bb", "n1", "Succeeded", false),
            pod("c", "n1", "Running", false),
            pod("dddd", "n1", "Succeeded", false),
        ];
        check(pods, 0, 1, &["delete pods a/bb grace 0", "delete pods a/aaa grace 0"]);
    }
}
