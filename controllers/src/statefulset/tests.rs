use super::*;
use controllers_runtime::Action;
use serde_json::{Value, json};

fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else { return *into = patch.clone() };
    if !into.is_object() {
        *into = json!({});
    }
    for (key, value) in fields {
        if value.is_null() {
            into.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut into[key], value);
        }
    }
}

/// A server with one set and all that it makes.
struct World {
    set: Value,
    pods: Vec<Value>,
    claims: Vec<Value>,
    revisions: Vec<Value>,
    now: Timestamp,
    made: usize,
}

impl World {
    fn new(spec: Value) -> Self {
        let mut set = json!({
            "metadata": {"namespace": "a", "name": "web", "uid": "set", "generation": 1, "resourceVersion": "7"},
            "spec": {"replicas": 3, "serviceName": "svc", "selector": {"matchLabels": {"app": "web"}}, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
                     "podManagementPolicy": "OrderedReady", "revisionHistoryLimit": 10,
                     "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "v1"}]}}},
            "status": {"replicas": 0}
        });
        merge(&mut set["spec"], &spec);
        Self { set, pods: vec![], claims: vec![], revisions: vec![], now: "2026-01-01T01:00:00Z".parse().unwrap(), made: 0 }
    }

    fn plan(&self) -> Plan {
        fn all<K: serde::de::DeserializeOwned>(values: &[Value]) -> Vec<Arc<K>> {
            values.iter().map(|value| Arc::new(serde_json::from_value(value.clone()).unwrap())).collect()
        }
        let claims = all::<PersistentVolumeClaim>(&self.claims).into_iter().map(|claim| (claim.metadata.name.clone().unwrap(), claim)).collect();
        let set = Arc::new(serde_json::from_value(self.set.clone()).unwrap());
        plan::plan(&Observed { set, pods: all(&self.pods), revisions: all(&self.revisions), claims }, self.now)
    }

    fn list(&mut self, kind: &Kind) -> &mut Vec<Value> {
        match &*kind.plural {
            "pods" => &mut self.pods,
            "persistentvolumeclaims" => &mut self.claims,
            "controllerrevisions" => &mut self.revisions,
            other => panic!("{other}"),
        }
    }

    fn apply(&mut self, action: &Action) {
        match action {
            Action::All(actions) | Action::SlowStart(actions) => actions.iter().for_each(|action| self.apply(action)),
            Action::Create { kind, object, .. } => {
                let mut object = object.clone();
                self.made += 1;
                object["metadata"]["uid"] = format!("uid-{}", self.made).into();
                if kind == &PODS {
                    object["status"] = json!({"phase": "Pending"});
                }
                self.list(kind).push(object);
            }
            Action::Delete { target, .. } => {
                let now = self.now.to_string();
                let list = self.list(&target.kind);
                let position = list.iter().position(|object| object["metadata"]["name"] == *target.key.name).unwrap();
                if target.kind == PODS {
                    list[position]["metadata"]["deletionTimestamp"] = now.into();
                } else {
                    list.remove(position);
                }
            }
            Action::Patch { subresource: Some("status"), patch, .. } => merge(&mut self.set["status"], &patch["status"]),
            Action::Patch { target, patch, .. } => {
                let list = self.list(&target.kind);
                let object = list.iter_mut().find(|object| object["metadata"]["name"] == *target.key.name).unwrap();
                merge(object, patch);
            }
            other => panic!("{other}"),
        }
    }

    fn look(&mut self) -> bool {
        let plan = self.plan();
        plan.actions.iter().chain(&plan.status).for_each(|action| self.apply(action));
        !plan.actions.is_empty() || plan.status.is_some()
    }

    fn settle(&mut self) {
        for _ in 0..20 {
            if !self.look() {
                return;
            }
        }
        panic!("it does not come to rest: {:?}", self.plan().describe());
    }

    /// Pods that were told to go are gone, and the others run.
    fn run(&mut self) {
        self.pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        let now = self.now.to_string();
        for pod in &mut self.pods {
            if pod["status"]["phase"] == "Pending" {
                pod["status"] = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now}]});
            }
        }
    }

    /// Names, images, and a `-` where a Pod is told to go.
    fn state(&self) -> String {
        let mut all: Vec<String> = self
            .pods
            .iter()
            .map(|pod| {
                let leaving = if pod["metadata"]["deletionTimestamp"].is_null() { "" } else { "-" };
                format!("{}:{}{leaving}", pod["metadata"]["name"].as_str().unwrap(), pod["spec"]["containers"][0]["image"].as_str().unwrap())
            })
            .collect();
        all.sort();
        all.join(" ")
    }

    fn steps(&mut self, expect: &[&str]) {
        for expect in expect {
            self.settle();
            assert_eq!(self.state(), *expect);
            self.run();
        }
        self.settle();
    }

    fn status(&self, name: &str) -> Value {
        self.set["status"][name].clone()
    }

    fn image(&mut self, image: &str) {
        self.set["spec"]["template"]["spec"]["containers"][0]["image"] = image.into();
        self.set["metadata"]["generation"] = json!(self.set["metadata"]["generation"].as_i64().unwrap() + 1);
    }
}

fn up(spec: Value) -> World {
    let mut world = World::new(spec);
    for _ in 0..4 {
        world.settle();
        world.run();
    }
    world.settle();
    world
}

#[test]
fn pods_are_made_one_after_the_other_and_have_an_identity() {
    let mut world = World::new(json!({}));
    world.steps(&["web-0:v1", "web-0:v1 web-1:v1", "web-0:v1 web-1:v1 web-2:v1"]);
    let pod = &world.pods[1];
    let revision = world.revisions[0]["metadata"]["name"].clone();
    let labels = json!({"app": "web", "statefulset.kubernetes.io/pod-name": "web-1", "apps.kubernetes.io/pod-index": "1", "controller-revision-hash": revision});
    assert_eq!((&pod["metadata"]["labels"], &pod["spec"]["hostname"], &pod["spec"]["subdomain"]), (&labels, &json!("web-1"), &json!("svc")));
    assert_eq!(pod["metadata"]["ownerReferences"][0]["kind"], "StatefulSet");
    let status = json!({"replicas": 3, "readyReplicas": 3, "availableReplicas": 3, "currentReplicas": 3, "updatedReplicas": 3, "currentRevision": revision,
                        "updateRevision": revision, "observedGeneration": 1, "collisionCount": 0});
    assert_eq!(world.set["status"], status);
}

#[test]
fn parallel_sets_make_all_at_once() {
    World::new(json!({"podManagementPolicy": "Parallel"})).steps(&["web-0:v1 web-1:v1 web-2:v1"]);
}

#[test]
fn a_set_shrinks_from_the_top_and_grows_again() {
    let mut world = up(json!({}));
    world.set["spec"]["replicas"] = 1.into();
    world.steps(&["web-0:v1 web-1:v1 web-2:v1-", "web-0:v1 web-1:v1-", "web-0:v1"]);
    let mut world = up(json!({"podManagementPolicy": "Parallel"}));
    world.set["spec"]["replicas"] = 0.into();
    world.steps(&["web-0:v1- web-1:v1- web-2:v1-", ""]);
    let mut world = up(json!({"ordinals": {"start": 5}, "replicas": 2}));
    assert_eq!(world.state(), "web-5:v1 web-6:v1");
    world.set["spec"]["ordinals"] = json!({"start": 6});
    world.set["spec"]["replicas"] = 1.into();
    world.steps(&["web-5:v1- web-6:v1", "web-6:v1"]);
}

#[test]
fn while_one_is_not_well_an_ordered_set_neither_grows_nor_shrinks() {
    let mut world = up(json!({}));
    world.pods[0]["status"]["conditions"][0]["status"] = "False".into();
    world.set["spec"]["replicas"] = 5.into();
    world.steps(&["web-0:v1 web-1:v1 web-2:v1"]);
    world.set["spec"]["replicas"] = 1.into();
    world.steps(&["web-0:v1 web-1:v1 web-2:v1"]);
    let mut world = up(json!({}));
    world.pods[2]["status"]["conditions"][0]["status"] = "False".into();
    world.set["spec"]["replicas"] = 1.into();
    world.steps(&["web-0:v1 web-1:v1 web-2:v1-"]);
}

#[test]
fn an_update_goes_from_the_top_down_to_the_partition() {
    let mut world = up(json!({}));
    world.image("v2");
    world.steps(&["web-0:v1 web-1:v1 web-2:v1-", "web-0:v1 web-1:v1 web-2:v2", "web-0:v1 web-1:v1- web-2:v2"]);
    assert_eq!((world.status("currentReplicas"), world.status("updatedReplicas")), (json!(1), json!(2)));
    world.steps(&["web-0:v1 web-1:v2 web-2:v2", "web-0:v1- web-1:v2 web-2:v2", "web-0:v2 web-1:v2 web-2:v2"]);
    assert_eq!((world.status("currentRevision"), world.revisions.len()), (world.status("updateRevision"), 2));
    let mut world = up(json!({"updateStrategy": {"rollingUpdate": {"partition": 2}}}));
    world.image("v2");
    world.steps(&["web-0:v1 web-1:v1 web-2:v1-", "web-0:v1 web-1:v1 web-2:v2"]);
    assert_ne!(world.status("currentRevision"), world.status("updateRevision"));
    world.pods.remove(0);
    world.settle();
    assert!(world.state().starts_with("web-0:v1"), "below the partition it comes back as it was: {}", world.state());
}

#[test]
fn as_many_may_be_unavailable_as_the_strategy_says() {
    let mut world = up(json!({"updateStrategy": {"rollingUpdate": {"maxUnavailable": 2}}}));
    world.image("v2");
    world.steps(&["web-0:v1 web-1:v1- web-2:v1-", "web-0:v1 web-1:v2", "web-0:v1 web-1:v2 web-2:v2"]);
    let mut world = up(json!({"podManagementPolicy": "Parallel", "updateStrategy": {"rollingUpdate": {"maxUnavailable": "67%"}}}));
    world.image("v2");
    world.steps(&["web-0:v1 web-1:v1- web-2:v1-", "web-0:v1 web-1:v2 web-2:v2", "web-0:v1- web-1:v2 web-2:v2"]);
    let mut world = up(json!({"podManagementPolicy": "Parallel"}));
    world.image("broken");
    world.settle();
    world.pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    world.settle();
    world.image("v3");
    world.settle();
    assert_eq!(world.state(), "web-0:v1 web-1:v1 web-2:broken-", "what does not run makes way at once");
}

#[test]
fn on_delete_waits_until_somebody_deletes() {
    let mut world = up(json!({"updateStrategy": {"type": "OnDelete", "rollingUpdate": null}}));
    world.image("v2");
    world.steps(&["web-0:v1 web-1:v1 web-2:v1"]);
    world.pods.remove(1);
    world.settle();
    assert_eq!(world.state(), "web-0:v1 web-1:v2 web-2:v1");
}

#[test]
fn a_template_that_is_back_has_its_old_revision_with_a_new_number() {
    let mut world = up(json!({"podManagementPolicy": "Parallel"}));
    let first = world.status("updateRevision");
    world.image("v2");
    world.settle();
    world.image("v1");
    world.settle();
    assert_eq!((world.status("updateRevision"), world.revisions.len(), world.revisions[0]["revision"].as_i64()), (first, 2, Some(3)));
}

#[test]
fn old_revisions_beyond_the_limit_go() {
    let mut world = up(json!({"replicas": 0, "revisionHistoryLimit": 1}));
    for image in ["v2", "v3", "v4"] {
        world.image(image);
        world.settle();
    }
    assert_eq!(world.revisions.len(), 2);
}

#[test]
fn a_name_that_another_revision_has_is_avoided() {
    let plan = World::new(json!({})).plan();
    let failure = |code: u16| controllers_runtime::Failure { message: "".into(), code: Some(code), action: 0 };
    let after = plan.status_after_failure.unwrap();
    assert!(after(&failure(409)).unwrap().to_string().contains(r#""collisionCount":1"#));
    assert!(after(&failure(403)).is_none());
}

#[test]
fn a_pod_that_is_over_is_replaced() {
    let mut world = up(json!({}));
    world.pods[1]["status"] = json!({"phase": "Failed"});
    world.steps(&["web-0:v1 web-1:v1- web-2:v1", "web-0:v1 web-1:v1 web-2:v1"]);
}

#[test]
fn a_pod_counts_when_it_was_ready_for_long_enough() {
    let mut world = World::new(json!({"minReadySeconds": 30}));
    world.steps(&["web-0:v1"]);
    assert_eq!(
        (world.state().as_str(), world.plan().again_at, world.status("availableReplicas")),
        ("web-0:v1", Some("2026-01-01T01:00:30Z".parse().unwrap()), json!(0))
    );
    world.now = "2026-01-01T01:00:30Z".parse().unwrap();
    world.steps(&["web-0:v1 web-1:v1"]);
}

fn with_claims(policy: Value) -> Value {
    json!({"replicas": 2, "persistentVolumeClaimRetentionPolicy": policy, "volumeClaimTemplates": [{"metadata": {"name": "data", "labels": {"l": "v"}}, "spec": {"accessModes": ["ReadWriteOnce"]}}]})
}

#[test]
fn claims_are_made_before_their_pods_and_kept() {
    let mut world = up(with_claims(json!({"whenDeleted": "Retain", "whenScaled": "Retain"})));
    assert_eq!(world.claims[1]["metadata"]["name"], "data-web-1");
    assert_eq!(world.claims[1]["metadata"]["labels"], json!({"l": "v", "app": "web"}));
    assert_eq!(world.pods[1]["spec"]["volumes"], json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data-web-1"}}]));
    world.set["spec"]["replicas"] = 1.into();
    world.settle();
    assert!(world.claims.iter().all(|claim| claim["metadata"]["ownerReferences"].is_null()));
}

#[test]
fn claims_belong_to_whoever_shall_take_them_along() {
    let owners = |world: &World, number: usize| -> Vec<String> {
        let refs = world.claims[number]["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
        refs.iter().map(|owner| format!("{} {}", owner["kind"].as_str().unwrap(), owner["name"].as_str().unwrap())).collect()
    };
    let check = |deleted: &str, scaled: &str, wanted: &[&str], condemned: &[&str]| {
        let mut world = up(with_claims(json!({"whenDeleted": deleted, "whenScaled": scaled})));
        assert_eq!(owners(&world, 1), wanted, "{deleted} {scaled}");
        world.set["spec"]["replicas"] = 1.into();
        world.settle();
        assert_eq!(owners(&world, 1), condemned, "{deleted} {scaled}");
    };
    check("Retain", "Retain", &[], &[]);
    check("Delete", "Retain", &["StatefulSet web"], &["StatefulSet web"]);
    check("Retain", "Delete", &[], &["Pod web-1"]);
    check("Delete", "Delete", &["StatefulSet web"], &["Pod web-1"]);
}

#[test]
fn a_claim_that_is_going_is_waited_for() {
    let mut world = up(with_claims(json!({"whenDeleted": "Retain", "whenScaled": "Delete"})));
    world.pods.remove(1);
    world.claims[1]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    let plan = world.plan();
    assert!(plan.actions.is_empty() && plan.again_at.is_some() && plan.events[0].message.ends_with("pvc data-web-1 is being deleted"));
    world.claims[1]["metadata"].as_object_mut().unwrap().remove("deletionTimestamp");
    world.claims[1]["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "Pod", "name": "web-1", "uid": "gone", "controller": true}]);
    assert!(world.plan().actions.is_empty(), "the garbage collector is about to take it");
    world.claims.remove(1);
    world.settle();
    assert_eq!((world.pods.len(), world.claims.len()), (2, 2));
}

#[test]
fn claims_of_another_controller_are_left_alone() {
    let mut world = World::new(with_claims(json!({"whenDeleted": "Delete", "whenScaled": "Retain"})));
    world.claims.push(json!({"metadata": {"namespace": "a", "name": "data-web-0", "ownerReferences": [{"apiVersion": "v1", "kind": "Other", "name": "o", "uid": "o", "controller": true}]}}));
    for _ in 0..3 {
        world.settle();
        world.run();
    }
    assert_eq!(world.claims[0]["metadata"]["ownerReferences"].as_array().unwrap().len(), 1);
    assert!(world.plan().events.iter().any(|event| event.reason == "ConflictingController"));
}

#[test]
fn a_set_that_is_being_deleted_only_counts() {
    let mut world = up(json!({}));
    world.set["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    world.pods.remove(2);
    let plan = world.plan();
    assert!(plan.actions.is_empty() && plan.status.unwrap().to_string().contains(r#""replicas":2"#));
}

#[test]
fn a_lost_name_label_is_put_back() {
    let mut world = up(json!({}));
    world.pods[0]["metadata"]["labels"].as_object_mut().unwrap().remove("statefulset.kubernetes.io/pod-name");
    world.settle();
    assert_eq!(world.pods[0]["metadata"]["labels"]["statefulset.kubernetes.io/pod-name"], "web-0");
}
