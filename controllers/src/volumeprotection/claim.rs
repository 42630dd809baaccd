//! A PersistentVolumeClaim stays as long as a Pod on a node refers to it.

use super::CLAIM_ROW as ROW;
use crate::pod;
use crate::registry::Setup;
use crate::routes::states;
use apiserver_client::time::{from_time, to_time};
use apiserver_client::{Index, Informer, ObjectKey};
use controllers_runtime::{Action, Kind, Plan, Rule, owner};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimCondition, Pod, Volume};
use serde_json::json;
use std::sync::Arc;

const FINALIZER: &str = "kubernetes.io/pvc-protection";
const UNUSED: &str = "Unused";
const WORKERS: usize = 5;
const CLAIMS: Kind = Kind::of::<PersistentVolumeClaim>();
/// A Pod that came before the deletion is in the cache after so long; later ones are not placed, since their claim is being deleted.
const CACHE_LAG_MAX: SignedDuration = SignedDuration::from_secs(1);

pub(super) fn start(setup: &Setup) {
    let (claims, pods) = (setup.informers.of::<PersistentVolumeClaim>(), setup.informers.of::<Pod>());
    let rule = Claims { claims: claims.clone(), all_pods: pods.clone(), pods: pods.index("claim", claim_keys) };
    setup.context(ROW.name, "pvc-protection-controller").start(ROW.name, WORKERS, rule, |routes| {
        routes.watches_own(ROW.name, &claims);
        routes.watches(ROW.name, &pods, |event| states(event).flat_map(claims_of).collect());
    });
}

fn volumes(pod: &Pod) -> impl Iterator<Item = &Volume> {
    pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten())
}

/// The claim that a volume of the Pod is; an ephemeral one has a claim named after Pod and volume.
fn claim_name(pod: &Pod, volume: &Volume) -> Option<String> {
    match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(claim), _) => Some(claim.claim_name.clone()),
        (None, Some(_)) => Some(format!("{}-{}", pod.metadata.name.as_deref().unwrap_or_default(), volume.name)),
        (None, None) => None,
    }
}

fn claims_of(pod: &Pod) -> Vec<ObjectKey> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    volumes(pod).filter_map(|volume| claim_name(pod, volume)).map(|name| ObjectKey::new(namespace, &name)).collect()
}

fn claim_keys(pod: &Pod) -> Vec<String> {
    claims_of(pod).iter().map(ToString::to_string).collect()
}

struct Claims {
    claims: Informer<PersistentVolumeClaim>,
    all_pods: Informer<Pod>,
    pods: Index<Pod>,
}

struct Observed {
    claim: Arc<PersistentVolumeClaim>,
    /// Those that refer to the claim.
    pods: Vec<Arc<Pod>>,
    /// Whether the cache of Pods is as new as the claim.
    pods_are_new: bool,
}

impl Rule for Claims {
    type Observed = Observed;

    fn observe(&self, key: &ObjectKey) -> Option<Observed> {
        let claim = self.claims.get(&key.namespace, &key.name)?;
        let revision: u64 = claim.metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0);
        let pods_are_new = self.all_pods.revision() >= revision;
        Some(Observed { claim, pods: self.pods.get(&key.to_string()), pods_are_new })
    }

    fn plan(&self, observed: &Observed, now: Timestamp) -> Plan {
        plan(observed, now)
    }
}

fn plan(observed: &Observed, now: Timestamp) -> Plan {
    let claim = &observed.claim;
    let has = claim.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER);
    let mut plan = Plan::nothing();
    match &claim.metadata.deletion_timestamp {
        None => {
            if !has {
                plan.actions.push(finalizers(claim, super::with(&claim.metadata, FINALIZER)));
            }
            plan.status = (has && is_bound(claim)).then(|| note_use(observed, now)).flatten();
        }
        Some(_) if !has || observed.pods.iter().any(|pod| holds(pod, claim)) => {}
        Some(deleted) => {
            let sure_at = from_time(deleted).checked_add(CACHE_LAG_MAX).unwrap_or(now);
            if observed.pods_are_new || sure_at < now {
                plan.actions.push(finalizers(claim, super::without(&claim.metadata, FINALIZER)));
            } else {
                plan.again(sure_at);
            }
        }
    }
    plan
}

fn finalizers(claim: &PersistentVolumeClaim, finalizers: Vec<String>) -> Action {
    let patch = json!({"metadata": {"resourceVersion": claim.metadata.resource_version, "finalizers": finalizers}});
    Action::merge(CLAIMS.target_of(claim), patch)
}

fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound")
}

fn refers(pod: &Pod, claim: &PersistentVolumeClaim, with_ephemeral: bool) -> bool {
    let is_for_pod = || owner::is_controlled_by(&claim.metadata, pod.metadata.uid.as_deref().unwrap_or_default());
    volumes(pod)
        .filter(|volume| claim_name(pod, volume) == claim.metadata.name)
        .any(|volume| volume.persistent_volume_claim.is_some() || (with_ephemeral && is_for_pod()))
}

/// On a node; a Pod that has ended holds its own ephemeral claims no more.
fn holds(pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    let is_shut_down = pod.metadata.deletion_timestamp.is_some() && pod.metadata.deletion_grace_period_seconds == Some(0);
    !pod::node_name(pod).is_empty() && refers(pod, claim, !is_shut_down)
}

fn is_terminated(pod: &Pod) -> bool {
    let status = pod.status.clone().unwrap_or_default();
    let runs = |status: &k8s_openapi::api::core::v1::ContainerStatus| {
        status.state.as_ref().is_some_and(|state| state.terminated.is_none() && state.waiting.is_none())
    };
    pod::is_terminal(pod) || (pod.metadata.deletion_timestamp.is_some() && !status.container_statuses.iter().flatten().any(runs))
}

/// The condition that says whether any Pod refers to the claim.
fn note_use(observed: &Observed, now: Timestamp) -> Option<Action> {
    let claim = &observed.claim;
    let used = observed.pods.iter().any(|pod| !is_terminated(pod) && refers(pod, claim, true));
    let (status, reason, message) = match used {
        true => ("False", "PodUsingPVC", "A pod is currently referencing this PVC"),
        false => ("True", "NoPodsUsingPVC", "No pods are currently referencing this PVC"),
    };
    let old = claim.status.clone().unwrap_or_default();
    let mut new = old.clone();
    let conditions = new.conditions.get_or_insert_default();
    if conditions.iter().any(|condition| condition.type_ == UNUSED && condition.status == status) {
        return None;
    }
    conditions.retain(|condition| condition.type_ != UNUSED);
    conditions.push(PersistentVolumeClaimCondition {
        type_: UNUSED.into(),
        status: status.into(),
        reason: Some(reason.into()),
        message: Some(message.into()),
        last_transition_time: Some(to_time(now)),
        last_probe_time: None,
    });
    Action::status_change(CLAIMS.target_of(&**claim), claim.metadata.resource_version.as_deref(), &old, &new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn claim(deleting: bool, finalizers: &[&str], phase: &str) -> Arc<PersistentVolumeClaim> {
        let deleted_at = deleting.then_some("2026-01-01T00:00:00Z");
        let metadata = json!({"namespace": "a", "name": "c", "finalizers": finalizers, "deletionTimestamp": deleted_at, "resourceVersion": "7"});
        Arc::new(serde_json::from_value(json!({"metadata": metadata, "status": {"phase": phase}})).unwrap())
    }

    fn pod(node: &str, volume: Value) -> Arc<Pod> {
        let spec = json!({"nodeName": node, "containers": [], "volumes": [volume]});
        Arc::new(serde_json::from_value(json!({"metadata": {"namespace": "a", "name": "p", "uid": "p"}, "spec": spec})).unwrap())
    }

    fn uses() -> Value {
        json!({"name": "v", "persistentVolumeClaim": {"claimName": "c"}})
    }

    fn planned(claim: Arc<PersistentVolumeClaim>, pods: Vec<Arc<Pod>>, pods_are_new: bool, now: &str) -> Plan {
        plan(&Observed { claim, pods, pods_are_new }, now.parse().unwrap())
    }

    #[track_caller]
    fn check(claim: Arc<PersistentVolumeClaim>, pods: Vec<Arc<Pod>>, expect: &[&str]) {
        let described = planned(claim, pods, true, "2026-01-01T00:00:00Z").describe();
        assert_eq!(described.len(), expect.len(), "{described:?}");
        assert!(described.iter().zip(expect).all(|(is, expect)| is.contains(expect)), "{described:?}");
    }

    #[test]
    fn a_claim_is_let_go_when_no_pod_on_a_node_refers_to_it() {
        const GO: &str = r#""finalizers":[]"#;
        check(claim(false, &[], "Pending"), vec![], &[r#""finalizers":["kubernetes.io/pvc-protection"]"#]);
        check(claim(false, &[FINALIZER], "Pending"), vec![], &[]);
        check(claim(true, &[FINALIZER], "Bound"), vec![], &[GO]);
        check(claim(true, &[FINALIZER], "Bound"), vec![pod("n", uses())], &[]);
        check(claim(true, &[FINALIZER], "Bound"), vec![pod("", uses())], &[GO]);
        check(claim(true, &["other"], "Bound"), vec![], &[]);
    }

    #[test]
    fn a_cache_that_may_be_old_is_given_a_moment() {
        let gone = || claim(true, &[FINALIZER], "Bound");
        let plan = planned(gone(), vec![], false, "2026-01-01T00:00:00Z");
        assert_eq!((plan.actions.len(), plan.again_at), (0, Some("2026-01-01T00:00:01Z".parse().unwrap())));
        assert_eq!(planned(gone(), vec![], false, "2026-01-01T00:00:01.1Z").actions.len(), 1);
    }

    #[test]
    fn a_bound_claim_says_whether_it_is_used() {
        check(claim(false, &[FINALIZER], "Bound"), vec![], &[r#""reason":"NoPodsUsingPVC","status":"True","type":"Unused""#]);
        check(claim(false, &[FINALIZER], "Bound"), vec![pod("", uses())], &[r#""reason":"PodUsingPVC","status":"False","type":"Unused""#]);
        let mut noted = (*claim(false, &[FINALIZER], "Bound")).clone();
        noted.status.as_mut().unwrap().conditions = serde_json::from_value(json!([{"type": "Unused", "status": "True"}])).unwrap();
        check(Arc::new(noted), vec![], &[]);
    }

    #[test]
    fn an_ephemeral_claim_is_its_pods() {
        let mut owned = (*claim(true, &[FINALIZER], "Bound")).clone();
        owned.metadata.name = Some("p-v".into());
        let ephemeral = || vec![pod("n", json!({"name": "v", "ephemeral": {}}))];
        check(Arc::new(owned.clone()), ephemeral(), &[r#""finalizers":[]"#]);
        owned.metadata.owner_references =
            serde_json::from_value(json!([{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "p", "controller": true}])).unwrap();
        check(Arc::new(owned), ephemeral(), &[]);
    }
}
