use super::*;
use controllers_runtime::Action;
use proptest::prelude::*;
use serde_json::{Value, json};

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

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

/// A server with one Job and its Pods.
struct World {
    job: Value,
    pods: Vec<Value>,
    made: usize,
    now: Timestamp,
    events: Vec<String>,
}

impl World {
    fn new(spec: Value) -> Self {
        let mut job = json!({
            "metadata": {"namespace": "a", "name": "j", "uid": "job", "resourceVersion": "7"},
            "spec": {"parallelism": 1, "completions": 1, "backoffLimit": 6, "selector": {"matchLabels": {"job": "j"}},
                     "template": {"metadata": {"labels": {"job": "j"}}, "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}
        });
        merge(&mut job["spec"], &spec);
        Self { job, pods: Vec::new(), made: 0, now: now(), events: Vec::new() }
    }

    fn plan(&self) -> Plan {
        let job = Arc::new(serde_json::from_value(self.job.clone()).unwrap());
        let pods = self.pods.iter().map(|pod| Arc::new(serde_json::from_value(pod.clone()).unwrap())).collect();
        plan::plan(&Running { job, pods }, self.now)
    }

    fn apply(&mut self, action: &Action) {
        match action {
            Action::All(actions) | Action::SlowStart(actions) => actions.iter().for_each(|action| self.apply(action)),
            Action::Create { object, .. } => {
                let mut pod = object.clone();
                let name = format!("{}{}", pod["metadata"]["generateName"].as_str().unwrap(), self.made);
                self.made += 1;
                pod["metadata"]["uid"] = name.as_str().into();
                pod["metadata"]["name"] = name.into();
                pod["metadata"]["creationTimestamp"] = self.now.to_string().into();
                pod["status"] = json!({"phase": "Pending"});
                self.pods.push(pod);
            }
            Action::Delete { target, .. } => {
                let position = self.position(&target.key.name);
                if self.pods[position]["metadata"]["finalizers"].as_array().is_none_or(|finalizers| finalizers.is_empty()) {
                    self.pods.remove(position);
                } else {
                    self.pods[position]["metadata"]["deletionTimestamp"] = self.now.to_string().into();
                }
            }
            Action::Patch { subresource: Some("status"), patch, .. } => merge(&mut self.job["status"], &patch["status"]),
            Action::Patch { target, patch, .. } => {
                assert_eq!(patch["metadata"]["$deleteFromPrimitiveList/finalizers"], json!([pods::FINALIZER]), "{patch}");
                let position = self.position(&target.key.name);
                self.pods[position]["metadata"].as_object_mut().unwrap().remove("finalizers");
                if !self.pods[position]["metadata"]["deletionTimestamp"].is_null() {
                    self.pods.remove(position);
                }
            }
            other => panic!("{other}"),
        }
    }

    fn position(&self, name: &str) -> usize {
        self.pods.iter().position(|pod| pod["metadata"]["name"] == name).unwrap()
    }

    /// One look, of which only the first calls are made: then the controller dies.
    fn look(&mut self, calls: usize) -> bool {
        if self.is_over() {
            return false;
        }
        let plan = self.plan();
        for action in plan.actions.iter().take(calls) {
            self.apply(action);
        }
        if calls >= plan.actions.len() {
            self.events.extend(plan.events.iter().map(|event| event.reason.to_string()));
        }
        !plan.actions.is_empty()
    }

    fn settle(&mut self) {
        for _ in 0..20 {
            if !self.look(usize::MAX) {
                return;
            }
        }
        panic!("it does not come to rest: {:?}", self.plan().describe());
    }

    fn is_over(&self) -> bool {
        is_finished(&serde_json::from_value(self.job.clone()).unwrap())
    }

    fn set(&mut self, number: usize, phase: &str, more: Value) {
        self.pods[number]["status"] = json!({"phase": phase});
        merge(&mut self.pods[number], &more);
    }

    fn wait(&mut self, seconds: i64) {
        self.now = self.now.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap();
    }

    fn active(&self) -> Vec<usize> {
        let active =
            |pod: &Value| matches!(pod["status"]["phase"].as_str(), Some("Pending" | "Running")) && pod["metadata"]["deletionTimestamp"].is_null();
        (0..self.pods.len()).filter(|number| active(&self.pods[*number])).collect()
    }

    fn condition(&self, kind: &str) -> Option<&str> {
        let conditions = self.job["status"]["conditions"].as_array()?;
        conditions.iter().find(|condition| condition["type"] == kind && condition["status"] == "True")?["reason"].as_str()
    }

    fn numbers(&self) -> (i64, i64, i64) {
        let number = |name: &str| self.job["status"][name].as_i64().unwrap_or(0);
        (number("active"), number("succeeded"), number("failed"))
    }
}

#[test]
fn a_job_makes_its_pods_and_is_complete_when_enough_have_succeeded() {
    let mut world = World::new(json!({"completions": 3, "parallelism": 2}));
    world.settle();
    assert_eq!(world.numbers(), (2, 0, 0));
    let pod = &world.pods[0];
    assert_eq!((&pod["metadata"]["generateName"], &pod["metadata"]["finalizers"]), (&json!("j-"), &json!([pods::FINALIZER])));
    assert_eq!(pod["metadata"]["ownerReferences"][0]["kind"], "Job");
    assert_eq!(
        world.job["status"],
        json!({"active": 2, "ready": 0, "terminating": 0, "startTime": "2026-01-01T01:00:00Z", "uncountedTerminatedPods": {}})
    );
    world.set(0, "Succeeded", json!({}));
    world.settle();
    assert_eq!((world.numbers(), world.pods.len()), ((2, 1, 0), 3));
    world.set(1, "Succeeded", json!({}));
    world.set(2, "Succeeded", json!({}));
    world.settle();
    assert_eq!(
        (world.numbers(), world.condition("SuccessCriteriaMet"), world.condition("Complete")),
        ((0, 3, 0), Some("CompletionsReached"), Some("CompletionsReached"))
    );
    assert_eq!(
        (&world.job["status"]["completionTime"], world.events.as_slice()),
        (&json!("2026-01-01T01:00:00Z"), ["Completed".to_string()].as_slice())
    );
}

#[test]
fn what_is_over_is_noted_before_it_is_let_go_and_counted_after() {
    let mut world = World::new(json!({"completions": 2, "parallelism": 1}));
    world.settle();
    world.set(0, "Succeeded", json!({}));
    let described = world.plan().describe();
    assert!(described[0].starts_with("1 × create pods a/j-*"), "{described:?}");
    assert!(
        described[1].starts_with("patch jobs.batch a/j/status ") && described[1].contains(r#""uncountedTerminatedPods":{"succeeded":["j-0"]}"#),
        "{described:?}"
    );
    assert!(described[2].starts_with("all: patch pods a/j-0 "), "{described:?}");
    world.look(2);
    assert_eq!(world.numbers().1, 0, "noted, not counted, when the controller dies here");
    world.settle();
    assert_eq!((world.numbers(), world.job["status"]["uncountedTerminatedPods"].clone()), ((1, 1, 0), json!({})));
}

#[test]
fn a_job_without_completions_ends_when_one_succeeded_and_the_rest_has_ended() {
    let mut world = World::new(json!({"completions": null, "parallelism": 3}));
    world.settle();
    world.set(0, "Succeeded", json!({}));
    world.settle();
    assert_eq!((world.numbers(), world.is_over()), ((2, 1, 0), false));
    world.set(1, "Succeeded", json!({}));
    world.set(2, "Failed", json!({}));
    world.settle();
    assert_eq!((world.numbers(), world.condition("Complete")), ((0, 2, 1), Some("CompletionsReached")));
}

#[test]
fn failures_are_retried_after_a_while_until_the_limit() {
    let mut world = World::new(json!({"backoffLimit": 1}));
    world.settle();
    world.set(0, "Failed", json!({}));
    world.settle();
    assert_eq!((world.numbers(), world.plan().again_at), ((0, 0, 1), Some("2026-01-01T01:00:10Z".parse().unwrap())));
    world.wait(10);
    world.settle();
    assert_eq!(world.numbers(), (1, 0, 1));
    world.set(1, "Failed", json!({}));
    world.settle();
    assert_eq!(
        (world.numbers(), world.condition("FailureTarget"), world.condition("Failed")),
        ((0, 0, 2), Some("BackoffLimitExceeded"), Some("BackoffLimitExceeded"))
    );
    assert_eq!(world.events, ["BackoffLimitExceeded"]);
}

#[test]
fn a_deadline_ends_a_job_once_its_pods_are_gone() {
    let mut world = World::new(json!({"activeDeadlineSeconds": 60, "completions": 2, "parallelism": 2}));
    world.settle();
    assert_eq!(world.plan().again_at, Some("2026-01-01T01:01:00Z".parse().unwrap()));
    world.wait(60);
    world.settle();
    assert_eq!(
        (world.condition("FailureTarget"), world.condition("Failed"), world.numbers()),
        (Some("DeadlineExceeded"), Some("DeadlineExceeded"), (0, 0, 2))
    );
}

#[test]
fn an_indexed_job_has_one_success_of_each_index() {
    let mut world = World::new(json!({"completions": 3, "parallelism": 3, "completionMode": "Indexed"}));
    world.settle();
    let pod = &world.pods[2];
    assert_eq!((&pod["metadata"]["generateName"], &pod["spec"]["hostname"]), (&json!("j-2-"), &json!("j-2")));
    assert_eq!((&pod["metadata"]["annotations"][pods::INDEX], &pod["metadata"]["labels"][pods::INDEX]), (&json!("2"), &json!("2")));
    let variable = json!({"name": "JOB_COMPLETION_INDEX", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['batch.kubernetes.io/job-completion-index']"}}});
    assert_eq!(pod["spec"]["containers"][0]["env"], json!([variable]));
    world.set(0, "Succeeded", json!({}));
    world.set(1, "Failed", json!({}));
    world.set(2, "Succeeded", json!({}));
    world.settle();
    world.wait(10);
    world.settle();
    assert_eq!((world.job["status"]["completedIndexes"].as_str(), world.numbers()), (Some("0,2"), (1, 2, 1)));
    assert_eq!(world.pods.last().unwrap()["spec"]["hostname"], "j-1");
    let last = world.pods.len() - 1;
    world.set(last, "Succeeded", json!({}));
    world.settle();
    assert_eq!((world.job["status"]["completedIndexes"].as_str(), world.condition("Complete")), (Some("0-2"), Some("CompletionsReached")));
}

#[test]
fn limits_per_index_fail_an_index_and_let_the_others_go_on() {
    let mut world =
        World::new(json!({"completions": 2, "parallelism": 2, "completionMode": "Indexed", "backoffLimitPerIndex": 1, "backoffLimit": i32::MAX}));
    world.settle();
    assert_eq!(world.pods[0]["metadata"]["annotations"][pods::INDEX_FAILURES], "0");
    world.set(0, "Failed", json!({}));
    world.settle();
    assert_eq!((world.numbers(), world.active().len()), ((1, 0, 0), 1), "kept until it is replaced");
    world.wait(10);
    world.settle();
    assert_eq!((world.numbers(), world.pods[2]["metadata"]["annotations"][pods::INDEX_FAILURES].as_str()), ((2, 0, 1), Some("1")));
    world.set(2, "Failed", json!({}));
    world.settle();
    assert_eq!((world.job["status"]["failedIndexes"].as_str(), world.is_over()), (Some("0"), false));
    world.set(1, "Succeeded", json!({}));
    world.settle();
    assert_eq!(
        (world.condition("Failed"), world.numbers(), world.job["status"]["completedIndexes"].as_str()),
        (Some("FailedIndexes"), (0, 1, 2), Some("1"))
    );
}

#[test]
fn too_many_failed_indexes_end_the_job_and_its_pods() {
    let mut world = World::new(
        json!({"completions": 3, "parallelism": 3, "completionMode": "Indexed", "backoffLimitPerIndex": 0, "maxFailedIndexes": 0, "backoffLimit": i32::MAX}),
    );
    world.settle();
    world.set(1, "Failed", json!({}));
    world.settle();
    assert_eq!(
        (world.condition("Failed"), world.active().len(), world.job["status"]["failedIndexes"].as_str()),
        (Some("MaxFailedIndexesExceeded"), 0, Some("1"))
    );
}

#[test]
fn a_success_policy_ends_a_job_before_all_have_succeeded() {
    let mut world =
        World::new(json!({"completions": 3, "parallelism": 3, "completionMode": "Indexed", "successPolicy": {"rules": [{"succeededIndexes": "1"}]}}));
    world.settle();
    world.set(1, "Succeeded", json!({}));
    world.settle();
    assert_eq!((world.condition("SuccessCriteriaMet"), world.condition("Complete")), (Some("SuccessPolicy"), Some("SuccessPolicy")));
    assert_eq!((world.numbers(), world.active().len()), ((0, 1, 0), 0), "those that were stopped did not fail");
}

#[test]
fn a_failure_policy_ignores_or_fails_the_job_at_once() {
    let rule = |action: &str, code: i32| json!({"action": action, "onExitCodes": {"operator": "In", "values": [code]}});
    let ended = |code: i32| {
        let state = json!({"terminated": {"exitCode": code, "finishedAt": "2026-01-01T01:00:00Z"}});
        json!({"status": {"containerStatuses": [{"name": "c", "state": state, "image": "", "imageID": "", "ready": false, "restartCount": 0}]}})
    };
    let mut world = World::new(
        json!({"backoffLimit": 0, "podReplacementPolicy": "Failed", "podFailurePolicy": {"rules": [rule("Ignore", 1), rule("FailJob", 2)]}}),
    );
    world.settle();
    world.set(0, "Failed", ended(1));
    world.settle();
    world.wait(10);
    world.settle();
    assert_eq!((world.numbers(), world.is_over()), ((1, 0, 0), false));
    world.set(1, "Failed", ended(2));
    world.settle();
    assert_eq!((world.condition("Failed"), world.events.as_slice()), (Some("PodFailurePolicy"), ["PodFailurePolicy".to_string()].as_slice()));
    let message = "Container c for pod a/j-1 failed with exit code 2 matching FailJob rule at index 1";
    assert_eq!(world.job["status"]["conditions"][0]["message"], message);
}

#[test]
fn a_suspended_job_has_no_pods_and_starts_anew_when_resumed() {
    let mut world = World::new(json!({"completions": 2, "parallelism": 2}));
    world.settle();
    world.job["spec"]["suspend"] = true.into();
    world.settle();
    assert_eq!(
        (world.pods.len(), world.numbers(), world.condition("Suspended"), &world.job["status"]["startTime"]),
        (0, (0, 0, 0), Some("JobSuspended"), &Value::Null)
    );
    world.job["spec"]["suspend"] = false.into();
    world.wait(60);
    world.settle();
    assert_eq!((world.numbers(), world.condition("Suspended"), &world.job["status"]["startTime"]), ((2, 0, 0), None, &json!("2026-01-01T01:01:00Z")));
    assert_eq!(world.events, ["Suspended", "Resumed"]);
}

#[test]
fn fewer_at_a_time_deletes_those_of_least_use_without_counting_them() {
    let mut world = World::new(json!({"completions": 5, "parallelism": 3}));
    world.settle();
    world.set(1, "Running", json!({"spec": {"nodeName": "n"}}));
    world.job["spec"]["parallelism"] = 1.into();
    world.settle();
    assert_eq!((world.pods.len(), world.pods[0]["status"]["phase"].as_str(), world.numbers()), (1, Some("Running"), (1, 0, 0)));
}

#[test]
fn a_pod_that_is_leaving_is_replaced_at_once_or_when_it_has_failed() {
    let check = |policy: &str, expect: (usize, i64)| {
        let mut world = World::new(json!({"podReplacementPolicy": policy}));
        world.settle();
        world.pods[0]["metadata"]["finalizers"].as_array_mut().unwrap().push("other".into());
        world.set(0, "Running", json!({"metadata": {"deletionTimestamp": "2026-01-01T01:00:00Z"}}));
        world.wait(60);
        world.look(usize::MAX);
        assert_eq!((world.active().len(), world.job["status"]["terminating"].as_i64().unwrap()), expect, "{policy}");
    };
    check("TerminatingOrFailed", (1, 1));
    check("Failed", (0, 1));
}

#[test]
fn pods_are_adopted_with_the_finalizer_and_let_go_without_it() {
    let mut world = World::new(json!({}));
    world.settle();
    let mut orphan = world.pods[0].clone();
    orphan["metadata"].as_object_mut().unwrap().remove("ownerReferences");
    world.pods[0]["metadata"]["labels"]["job"] = "other".into();
    world.pods.push(orphan);
    let described = world.plan().describe();
    assert_eq!(described[0], "verify jobs.batch a/j");
    assert!(described[1].contains(r#""finalizers":["batch.kubernetes.io/job-tracking"]"#), "{described:?}");
    assert!(described[1].contains(r#""$deleteFromPrimitiveList/finalizers":["batch.kubernetes.io/job-tracking"]"#), "{described:?}");
}

#[test]
fn a_failed_creation_leaves_a_status_that_counts_what_is_there() {
    let world = World::new(json!({"parallelism": 2, "completions": 2}));
    let plan = world.plan();
    let failure = |action: usize| controllers_runtime::Failure { message: "no".into(), code: Some(403), action };
    let after = plan.status_after_failure.unwrap();
    let status = after(&failure(0)).unwrap().to_string();
    assert!(status.contains(r#""startTime""#) && !status.contains(r#""active":2"#), "{status}");
    assert!(after(&failure(1)).is_none(), "the status itself failed");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn however_often_the_controller_dies_each_pod_is_counted_once(indexed in any::<bool>(), steps in prop::collection::vec((0usize..4, 0usize..6, any::<bool>()), 1..40)) {
        let mode = if indexed { "Indexed" } else { "NonIndexed" };
        let mut world = World::new(json!({"completions": 6, "parallelism": 3, "backoffLimit": 1000, "completionMode": mode}));
        let (mut succeeded, mut failed) = (0, 0);
        for (calls, which, succeeds) in steps {
            world.look(calls);
            world.wait(600);
            let active = world.active();
            if let Some(number) = active.get(which) {
                world.set(*number, if succeeds { "Succeeded" } else { "Failed" }, json!({}));
                if succeeds { succeeded += 1 } else { failed += 1 }
            }
        }
        world.settle();
        world.wait(600);
        world.settle();
        let (active, counted, counted_failed) = world.numbers();
        prop_assert_eq!((counted, counted_failed), (succeeded, failed));
        prop_assert_eq!(world.is_over(), succeeded >= 6);
        prop_assert_eq!(active, if world.is_over() { 0 } else { i64::min(3, 6 - succeeded) });
    }
}
