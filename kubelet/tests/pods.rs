//! Whole Pods, from the API to the runtime and back: a real kubelet between a small API server and a fake runtime, both in memory.

mod api;

use api::Api;
use apiserver_component::{Clock, Shutdown, Tasks};
use kubelet::Config;
use kubelet_cri::fake::{Fake, Program};
use kubelet_cri::{Runtime, v1};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

struct Node {
    api: Api,
    runtime: Fake,
    folder: tempfile::TempDir,
    shutdown: Shutdown,
    tasks: Tasks,
}

impl Node {
    fn new() -> Self {
        let runtime = Fake::new(|| i64::try_from(Clock.now().as_nanosecond()).expect("before 2262"));
        runtime.add_image("app:1");
        let folder = tempfile::tempdir().expect("a folder");
        // Enough of a v1 mount: groups are plain folders here, and without a cpu controller no control file is written into them.
        std::fs::create_dir_all(folder.path().join("cgroup/memory")).expect("made");
        let mut node = Self { api: Api::default(), runtime, folder, shutdown: Shutdown::new(), tasks: Tasks::new(Shutdown::new()) };
        node.start();
        node
    }

    fn start(&mut self) {
        self.shutdown = Shutdown::new();
        self.tasks = Tasks::new(self.shutdown.clone());
        let at = |name: &str| self.folder.path().join(name);
        let config = Config {
            node_name: "n1".to_owned(),
            node_ips: vec!["192.168.0.1".parse().expect("an address")],
            root_dir: at("root"),
            pod_logs_dir: at("logs"),
            cgroup_mount: at("cgroup"),
            resolv_conf: at("resolv.conf"),
            healthz_port: 0,
            ..Default::default()
        };
        let (client, runtime, shutdown) = (self.api.client(), Arc::new(self.runtime.clone()), self.shutdown.clone());
        self.tasks.spawn_graceful("kubelet", async move {
            kubelet::run_with(config, client, runtime, shutdown).await.expect("a kubelet");
        });
    }

    async fn stop(&self) {
        self.shutdown.fire();
        self.tasks.join().await;
    }

    /// Waits until the Pod, as the API has it, is as wanted.
    async fn until(&self, name: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let wait = async {
            loop {
                let pod = self.api.pod(name).unwrap_or_default();
                if wanted(&pod) {
                    return pod;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, wait).await;
        found.unwrap_or_else(|_| panic!("{name}: {what}: {:#}\n{:?}", self.api.pod(name).unwrap_or_default(), self.runtime.calls()))
    }

    async fn until_ready(&self, name: &str) -> Value {
        self.until(name, "Ready", |pod| condition(pod, "Ready") == "True").await
    }

    async fn until_gone(&self, name: &str) {
        self.until(name, "gone", Value::is_null).await;
    }

    /// Waits until the runtime has nothing left.
    async fn until_empty(&self) {
        let wait = async {
            while !self.runtime.list_pod_sandboxes(BTreeMap::new()).await.expect("a list").is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("the runtime still has sandboxes");
    }

    fn count(&self, call: &str) -> usize {
        self.runtime.calls().iter().filter(|made| *made == call).count()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.shutdown.fire();
    }
}

fn condition(pod: &Value, kind: &str) -> String {
    let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.iter().find(|condition| condition["type"] == kind);
    found.and_then(|condition| condition["status"].as_str()).unwrap_or_default().to_owned()
}

fn container(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]
}

/// A Pod of one container `main`, with more in its spec.
fn pod(name: &str, more: Value) -> Value {
    let mut spec = json!({"nodeName": "n1", "restartPolicy": "Always", "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "main", "image": "app:1", "imagePullPolicy": "IfNotPresent"}]});
    for (key, value) in more.as_object().expect("an object") {
        match key.as_str() {
            "main" => value.as_object().expect("an object").iter().for_each(|(key, value)| spec["containers"][0][key] = value.clone()),
            key => spec[key] = value.clone(),
        }
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}")}, "spec": spec})
}

#[tokio::test]
async fn a_pod_runs_and_is_deleted_without_a_trace() {
    let node = Node::new();
    node.api.create(pod("web", json!({})));
    let running = node.until_ready("web").await;
    assert_eq!(running["status"]["phase"], "Running");
    assert_eq!(running["status"]["hostIP"], "192.168.0.1");
    assert!(running["status"]["podIP"].as_str().is_some_and(|ip| ip.starts_with("10.244.")));
    assert!(container(&running)["containerID"].as_str().is_some_and(|id| id.starts_with("fake://")));

    node.api.delete("web", 1);
    node.until_gone("web").await;
    let last = node.api.last_status("web").expect("a status before the end");
    assert_eq!(last["phase"], "Succeeded");
    assert!(last["containerStatuses"][0]["state"]["terminated"].is_object(), "{last}");
    node.until_empty().await;
    let left = || std::fs::read_dir(node.folder.path().join("root/pods")).map(Iterator::count).unwrap_or_default();
    while left() > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_pod_that_finishes_is_not_restarted() {
    let node = Node::new();
    node.runtime.program("ok", Program::Exit { code: 0, after: Duration::from_millis(50) });
    node.runtime.program("bad", Program::Exit { code: 3, after: Duration::from_millis(50) });
    node.api.create(pod("good", json!({"restartPolicy": "Never", "main": {"command": ["ok"]}})));
    node.api.create(pod("bad", json!({"restartPolicy": "Never", "main": {"command": ["bad"]}})));
    let good = node.until("good", "Succeeded", |pod| pod["status"]["phase"] == "Succeeded").await;
    assert_eq!(container(&good)["state"]["terminated"]["reason"], "Completed");
    let bad = node.until("bad", "Failed", |pod| pod["status"]["phase"] == "Failed").await;
    assert_eq!(container(&bad)["state"]["terminated"]["exitCode"], 3);
    assert_eq!(node.count("StartContainer main"), 2);
}

#[tokio::test]
async fn a_container_that_crashes_is_restarted_and_then_backs_off() {
    let node = Node::new();
    node.runtime.program("crash", Program::Exit { code: 1, after: Duration::ZERO });
    node.api.create(pod("sad", json!({"main": {"command": ["crash"]}})));
    let waiting = |pod: &Value| container(pod)["state"]["waiting"]["reason"] == "CrashLoopBackOff";
    let pod = node.until("sad", "CrashLoopBackOff", waiting).await;
    assert_eq!(container(&pod)["lastState"]["terminated"]["exitCode"], 1);
    assert_eq!(pod["status"]["phase"], "Running");
    assert_eq!(container(&pod)["restartCount"], 1);
}

#[tokio::test]
async fn an_image_that_cannot_be_pulled_shows_why() {
    let node = Node::new();
    node.api.create(pod("blank", json!({"main": {"image": "none:1"}})));
    let failed = |pod: &Value| container(pod)["state"]["waiting"]["reason"] == "ErrImagePull";
    node.until("blank", "ErrImagePull", failed).await;
    let waits = |pod: &Value| container(pod)["state"]["waiting"]["reason"] == "ImagePullBackOff";
    let pod = node.until("blank", "ImagePullBackOff", waits).await;
    assert_eq!(pod["status"]["phase"], "Pending");
}

#[tokio::test]
async fn a_restarted_kubelet_restarts_no_container() {
    let mut node = Node::new();
    node.api.create(pod("web", json!({})));
    let before = node.until_ready("web").await;
    node.stop().await;
    node.start();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let after = node.until_ready("web").await;
    assert_eq!(container(&before)["containerID"], container(&after)["containerID"]);
    assert_eq!((node.count("StartContainer main"), node.count("StopContainer main")), (1, 0));
    node.api.delete("web", 1);
    node.until_gone("web").await;
}

#[tokio::test]
async fn a_pod_that_vanished_from_the_api_is_cleaned_up() {
    let node = Node::new();
    node.api.create(pod("web", json!({})));
    node.until_ready("web").await;
    node.api.vanish("web");
    node.until_empty().await;
}

#[tokio::test]
async fn a_stray_of_the_runtime_is_cleaned_up() {
    let mut node = Node::new();
    node.stop().await;
    let labels =
        [("uid", "stray"), ("name", "stray"), ("namespace", "default")].map(|(key, value)| (format!("io.kubernetes.pod.{key}"), value.to_owned()));
    let config = v1::PodSandboxConfig { labels: labels.into(), ..Default::default() };
    node.runtime.run_pod_sandbox(config, String::new()).await.expect("a sandbox");
    node.start();
    node.until_empty().await;
}

#[tokio::test]
async fn init_containers_come_first() {
    let node = Node::new();
    node.runtime.program("init", Program::Exit { code: 0, after: Duration::from_millis(50) });
    let init = json!([{"name": "one", "image": "app:1", "command": ["init"]}, {"name": "side", "image": "app:1", "restartPolicy": "Always"}]);
    node.api.create(pod("web", json!({"initContainers": init})));
    let pod = node.until_ready("web").await;
    assert_eq!(condition(&pod, "Initialized"), "True");
    let starts: Vec<String> = node.runtime.calls().into_iter().filter(|call| call.starts_with("StartContainer")).collect();
    assert_eq!(starts, ["StartContainer one", "StartContainer side", "StartContainer main"]);
}

#[tokio::test]
async fn a_failed_liveness_probe_restarts_the_container() {
    let node = Node::new();
    let sick = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let health = sick.clone();
    node.runtime.on_exec(move |_, _| {
        let exit_code = i32::from(health.load(std::sync::atomic::Ordering::SeqCst));
        Ok(v1::ExecSyncResponse { exit_code, ..Default::default() })
    });
    node.api.create(pod("web", json!({"main": {"livenessProbe": {"exec": {"command": ["check"]}, "periodSeconds": 1, "failureThreshold": 1}}})));
    node.until_ready("web").await;
    sick.store(true, std::sync::atomic::Ordering::SeqCst);
    let restarted = |pod: &Value| container(pod)["restartCount"].as_i64().is_some_and(|count| count >= 1);
    node.until("web", "a restart", restarted).await;
}

#[tokio::test]
async fn a_pod_that_does_not_fit_is_refused() {
    let node = Node::new();
    node.api.create(pod("huge", json!({"main": {"resources": {"requests": {"cpu": "100000"}}}})));
    let pod = node.until("huge", "Failed", |pod| pod["status"]["phase"] == "Failed").await;
    assert_eq!(pod["status"]["reason"], "OutOfcpu");
    assert!(node.runtime.calls().is_empty());
}

#[tokio::test]
async fn a_config_map_volume_waits_for_its_object_and_shows_it() {
    let node = Node::new();
    let mount = json!({"volumes": [{"name": "v", "configMap": {"name": "settings"}}], "main": {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}});
    node.api.create(pod("web", mount));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(node.count("RunPodSandbox web"), 0, "the volume cannot be there yet");
    let path = "/api/v1/namespaces/default/configmaps";
    node.api.put(path, json!({"metadata": {"name": "settings", "namespace": "default"}, "data": {"key": "value"}}));
    node.until_ready("web").await;
    let file = node.folder.path().join("root/pods/uid-web/volumes/kubernetes.io~configmap/v/key");
    assert_eq!(std::fs::read_to_string(&file).expect("the file"), "value");
    node.api.put(path, json!({"metadata": {"name": "settings", "namespace": "default"}, "data": {"key": "other"}}));
    let changed = async {
        while std::fs::read_to_string(&file).is_ok_and(|text| text != "other") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, changed).await.expect("the file changes");
}

#[tokio::test]
async fn a_lost_sandbox_is_replaced_and_its_containers_restarted() {
    let node = Node::new();
    node.api.create(pod("web", json!({})));
    node.until_ready("web").await;
    node.runtime.lose_sandbox("web");
    node.runtime.crash("main", 137);
    let restarted = |pod: &Value| container(pod)["restartCount"] == 1 && condition(pod, "Ready") == "True";
    node.until("web", "a new sandbox", restarted).await;
    assert_eq!(node.count("RunPodSandbox web"), 2);
}

#[tokio::test]
async fn a_runtime_that_fails_once_is_asked_again() {
    let node = Node::new();
    let refusal = || node.runtime.fail_next("RunPodSandbox", kubelet_cri::Error::Incomplete { call: "RunPodSandbox", field: "network" });
    refusal();
    node.api.create(pod("web", json!({})));
    node.until_ready("web").await;
    assert_eq!(node.count("RunPodSandbox web"), 2);
}
