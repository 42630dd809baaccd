use super::*;
use crate::view::{Container, Phase, Sandbox};
use serde_json::json;

const NOW: i64 = 1_700_000_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

fn pod(spec: Value, status: Value) -> Pod {
    let value = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u", "generation": 3}, "spec": spec, "status": status});
    serde_json::from_value(value).expect("a pod")
}

fn container(name: &str, phase: Phase, code: i32) -> Container {
    let ended = phase == Phase::Exited;
    Container {
        id: format!("id-{name}"),
        sandbox: "s".to_owned(),
        name: name.to_owned(),
        phase,
        created: NOW * 1_000_000_000,
        started: NOW * 1_000_000_000,
        finished: if ended { (NOW + 1) * 1_000_000_000 } else { 0 },
        exit_code: code,
        reason: if !ended {
            ""
        } else if code == 0 {
            "Completed"
        } else {
            "Error"
        }
        .to_owned(),
        image: "busybox:1".to_owned(),
        image_ref: "sha256:1".to_owned(),
        ..Default::default()
    }
}

fn sandbox() -> Sandbox {
    Sandbox { id: "s".to_owned(), ready: true, created: 1, ips: vec!["10.0.0.5".to_owned()], ..Default::default() }
}

#[derive(Default)]
struct Case {
    waiting: BTreeMap<String, Waiting>,
    fitness: BTreeMap<String, Fitness>,
    cause: Option<Cause>,
    terminal: bool,
    rejected: bool,
}

impl Case {
    fn status(&self, pod: &Pod, containers: Vec<Container>) -> PodStatus {
        let sandboxes = if containers.is_empty() { Vec::new() } else { vec![sandbox()] };
        let runtime = RuntimeView::new(sandboxes, containers);
        pod_status(&Inputs {
            pod,
            old: pod.status.as_ref().expect("a status"),
            runtime: &runtime,
            rejected: self.rejected,
            cause: self.cause.as_ref(),
            terminal: self.terminal,
            waiting: &self.waiting,
            fitness: &self.fitness,
            host_ips: &["192.168.0.1".to_owned()],
            runtime_name: "containerd",
            now: at(NOW),
        })
    }
}

fn check_phase(spec: Value, containers: Vec<Container>, terminal: bool, expect: &str) {
    let status = Case { terminal, ..Default::default() }.status(&pod(spec.clone(), json!({})), containers.clone());
    assert_eq!(status.phase.as_deref(), Some(expect), "{spec} {containers:?}");
}

fn one(policy: &str) -> Value {
    json!({"restartPolicy": policy, "containers": [{"name": "a", "image": "busybox:1"}]})
}

#[test]
fn the_phase_follows_the_containers_and_the_restart_policy() {
    check_phase(one("Always"), vec![], false, "Pending");
    check_phase(one("Always"), vec![container("a", Phase::Created, 0)], false, "Pending");
    check_phase(one("Always"), vec![container("a", Phase::Running, 0)], false, "Running");
    check_phase(one("Always"), vec![container("a", Phase::Exited, 0)], false, "Running");
    check_phase(one("OnFailure"), vec![container("a", Phase::Exited, 1)], false, "Running");
    check_phase(one("OnFailure"), vec![container("a", Phase::Exited, 0)], false, "Succeeded");
    check_phase(one("Never"), vec![container("a", Phase::Exited, 1)], false, "Failed");
    check_phase(one("Always"), vec![container("a", Phase::Exited, 0)], true, "Succeeded");
    check_phase(one("Always"), vec![container("a", Phase::Exited, 9)], true, "Failed");
    check_phase(one("Always"), vec![], true, "Failed");
}

#[test]
fn init_containers_and_sidecars_keep_a_pod_pending_until_it_is_initialized() {
    let spec = |policy: &str| {
        json!({"restartPolicy": policy, "containers": [{"name": "a"}],
            "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}]})
    };
    check_phase(spec("Always"), vec![container("i", Phase::Running, 0)], false, "Pending");
    check_phase(spec("Never"), vec![container("i", Phase::Exited, 1)], false, "Failed");
    check_phase(spec("Always"), vec![container("i", Phase::Exited, 1)], false, "Pending");
    let running = vec![container("i", Phase::Exited, 0), container("s", Phase::Running, 0), container("a", Phase::Running, 0)];
    check_phase(spec("Always"), running, false, "Running");
    let finished = vec![container("i", Phase::Exited, 0), container("s", Phase::Exited, 143), container("a", Phase::Exited, 0)];
    check_phase(spec("Never"), finished, true, "Succeeded");
}

fn condition<'a>(status: &'a PodStatus, kind: &str) -> &'a k8s_openapi::api::core::v1::PodCondition {
    status.conditions.iter().flatten().find(|condition| condition.type_ == kind).expect(kind)
}

#[test]
fn a_running_pod_is_ready_with_addresses_and_observed_generation() {
    let status = Case::default().status(&pod(one("Always"), json!({})), vec![container("a", Phase::Running, 0)]);
    for kind in ["PodScheduled", "Initialized", "ContainersReady", "Ready", "PodReadyToStartContainers"] {
        let condition = condition(&status, kind);
        assert_eq!((condition.status.as_str(), condition.observed_generation), ("True", Some(3)), "{kind}");
    }
    assert_eq!(status.pod_ip.as_deref(), Some("10.0.0.5"));
    assert_eq!(status.host_ip.as_deref(), Some("192.168.0.1"));
    assert_eq!(status.qos_class.as_deref(), Some("BestEffort"));
    assert_eq!(status.observed_generation, Some(3));
    let container = &status.container_statuses.as_ref().expect("statuses")[0];
    assert_eq!(container.container_id.as_deref(), Some("containerd://id-a"));
    assert_eq!((container.ready, container.started), (true, Some(true)));
}

#[test]
fn a_container_that_fails_its_readiness_probe_makes_the_pod_unready() {
    let fitness = BTreeMap::from([("id-a".to_owned(), Fitness { started: true, ready: false })]);
    let status = Case { fitness, ..Default::default() }.status(&pod(one("Always"), json!({})), vec![container("a", Phase::Running, 0)]);
    let ready = condition(&status, "Ready");
    assert_eq!((ready.status.as_str(), ready.reason.as_deref()), ("False", Some("ContainersNotReady")));
    assert_eq!(ready.message.as_deref(), Some("containers with unready status: [a]"));
}

#[test]
fn a_crash_loop_waits_and_keeps_how_it_ended() {
    let waiting = Waiting { reason: "CrashLoopBackOff".to_owned(), message: "back-off 10s restarting failed container=a pod=p_n(u)".to_owned() };
    let case = Case { waiting: BTreeMap::from([("a".to_owned(), waiting)]), ..Default::default() };
    let status = case.status(&pod(one("Always"), json!({})), vec![container("a", Phase::Exited, 7)]);
    let container = &status.container_statuses.as_ref().expect("statuses")[0];
    let state = container.state.as_ref().expect("a state").waiting.as_ref().expect("waiting");
    assert_eq!(state.reason.as_deref(), Some("CrashLoopBackOff"));
    let last = container.last_state.as_ref().expect("a last state").terminated.as_ref().expect("terminated");
    assert_eq!((last.exit_code, last.reason.as_deref()), (7, Some("Error")));
    assert_eq!(status.phase.as_deref(), Some("Running"));
}

#[test]
fn a_rejected_pod_fails_with_its_reason_and_without_containers() {
    let cause = Cause::Failed { reason: "OutOfcpu".to_owned(), message: "Pod was rejected: …".to_owned(), grace_seconds: None };
    let case = Case { rejected: true, cause: Some(cause), terminal: true, ..Default::default() };
    let status = case.status(&pod(one("Always"), json!({})), vec![]);
    assert_eq!((status.phase.as_deref(), status.reason.as_deref()), (Some("Failed"), Some("OutOfcpu")));
    assert!(status.container_statuses.is_none());
}

#[test]
fn a_pod_never_leaves_a_terminal_phase() {
    let status = Case::default().status(&pod(one("Always"), json!({"phase": "Failed"})), vec![container("a", Phase::Running, 0)]);
    assert_eq!(status.phase.as_deref(), Some("Failed"));
}

#[test]
fn what_was_running_and_is_lost_is_said_to_have_been_killed() {
    let was = json!({"containerStatuses": [{"name": "a", "image": "", "imageID": "", "ready": true, "restartCount": 2,
        "containerID": "containerd://old", "state": {"running": {"startedAt": "2024-01-01T00:00:00Z"}}}]});
    let status = Case::default().status(&pod(one("Always"), was), vec![]);
    let container = &status.container_statuses.as_ref().expect("statuses")[0];
    let last = container.last_state.as_ref().expect("a last state").terminated.as_ref().expect("terminated");
    assert_eq!((last.exit_code, last.reason.as_deref(), container.restart_count), (137, Some("ContainerStatusUnknown"), 3));
}

#[test]
fn a_pod_that_ended_leaves_no_container_open() {
    let case = Case { terminal: true, cause: Some(Cause::Deleted), ..Default::default() };
    let status = case.status(&pod(one("Always"), json!({})), vec![]);
    let container = &status.container_statuses.as_ref().expect("statuses")[0];
    assert_eq!(container.state.as_ref().and_then(|state| state.terminated.as_ref()).map(|ended| ended.exit_code), Some(137));
}

#[test]
fn a_condition_keeps_its_transition_time_until_its_status_changes() {
    let old = json!({"conditions": [
        {"type": "Ready", "status": "True", "lastTransitionTime": "2001-01-01T00:00:00Z"},
        {"type": "ContainersReady", "status": "False", "lastTransitionTime": "2001-01-01T00:00:00Z"},
        {"type": "example.com/theirs", "status": "True"}]});
    let status = Case::default().status(&pod(one("Always"), old), vec![container("a", Phase::Running, 0)]);
    let since = |kind: &str| condition(&status, kind).last_transition_time.as_ref().map(|time| time.0.as_second());
    assert_eq!(since("Ready"), Some(978_307_200));
    assert_eq!(since("ContainersReady"), Some(NOW));
    assert_eq!(condition(&status, "example.com/theirs").status, "True");
}

#[test]
fn a_readiness_gate_without_its_condition_keeps_the_pod_unready() {
    let mut spec = one("Always");
    spec["readinessGates"] = json!([{"conditionType": "example.com/gate"}]);
    let status = Case::default().status(&pod(spec, json!({})), vec![container("a", Phase::Running, 0)]);
    let ready = condition(&status, "Ready");
    assert_eq!(ready.reason.as_deref(), Some("ReadinessGatesNotReady"));
    assert_eq!(ready.message.as_deref(), Some("corresponding condition of pod readiness gate \"example.com/gate\" does not exist."));
}

#[test]
fn a_patch_holds_what_differs_and_nothing_when_all_is_said() {
    let pod = pod(one("Always"), json!({}));
    let status = Case::default().status(&pod, vec![container("a", Phase::Running, 0)]);
    let first = patch("u", pod.status.as_ref().expect("a status"), &status).expect("a patch");
    assert_eq!(first["metadata"]["uid"], "u");
    assert_eq!(first["status"]["podIPs"], json!([{"ip": "10.0.0.5"}]));
    assert_eq!(patch("u", &status, &status), None);

    let mut moved = status.clone();
    moved.pod_ips = Some(vec![PodIP { ip: "10.0.0.6".to_owned() }]);
    let second = patch("u", &status, &moved).expect("a patch");
    assert_eq!(second["status"], json!({"podIPs": [{"ip": "10.0.0.6"}, {"$patch": "delete", "ip": "10.0.0.5"}]}));
}

#[test]
fn what_a_condition_no_longer_says_is_taken_back() {
    let pod = pod(one("Always"), json!({}));
    let created = Case::default().status(&pod, vec![]);
    let mut later = pod.clone();
    later.status = Some(created.clone());
    let running = Case::default().status(&later, vec![container("a", Phase::Running, 0)]);
    let patch = patch("u", &created, &running).expect("a patch");
    let conditions = patch["status"]["conditions"].as_array().expect("conditions");
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready").expect("Ready");
    assert_eq!((&ready["status"], &ready["reason"], &ready["message"]), (&json!("True"), &Value::Null, &Value::Null));
    assert!(ready.as_object().is_some_and(|fields| fields.contains_key("reason")));
}
