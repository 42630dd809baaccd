//! What dies comes back, and nothing that was acknowledged is lost: processes killed at any moment, clusters stopped and resumed.

use e2e::{BUSYBOX, Kubectl, Lab, WEB, WEB_NEXT, eventually};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);
/// Moments at which the control plane is killed during rollouts; the gaps between them are drawn from a fixed seed.
const KILLS: u64 = 20;
const SEED: u64 = 4;
const GAP_MS_MAX: u64 = 900;

fn pods(kubectl: &Kubectl) -> Vec<(String, String, String)> {
    let template = "{range .items[*]}{.metadata.name} {.metadata.uid} {.status.containerStatuses[0].restartCount}{\"\\n\"}{end}";
    let printed = kubectl.run(&["get", "pods", "-o", &format!("jsonpath={template}")]);
    let fields = |line: &str| {
        let mut fields = line.split(' ').map(str::to_owned);
        Some((fields.next()?, fields.next()?, fields.next()?))
    };
    printed.lines().filter_map(fields).collect()
}

fn ready(kubectl: &Kubectl, deployment: &str, replicas: &str) {
    eventually(SOON, || match kubectl.try_run(&["get", "deployment", deployment, "-o", "jsonpath={.status.readyReplicas}"]) {
        Ok(found) if found == replicas => Ok(()),
        other => Err(format!("{deployment} has {other:?} ready")),
    });
}

/// A small generator with a known sequence: the test is the same each time.
fn gaps() -> impl Iterator<Item = Duration> {
    let mut state = SEED;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Duration::from_millis((state >> 33) % GAP_MS_MAX)
    })
}

#[test]
fn processes_that_are_killed_come_back_and_pods_do_not_notice() {
    let lab = Lab::up();
    let kubectl = lab.kubectl("default");
    kubectl.run(&["create", "deployment", "a", "--image", BUSYBOX, "--replicas=2", "--", "sleep", "1d"]);
    ready(&kubectl, "a", "2");
    let before = pods(&kubectl);
    for process in ["node-n1", "control", "containerd-n1"] {
        let pid = lab.pid(process);
        lab.kill(process);
        eventually(SOON, || match lab.pid(process) {
            now if now.is_some() && now != pid => Ok(()),
            _ => Err(format!("{process} does not come back")),
        });
        eventually(SOON, || kubectl.try_run(&["get", "pods"]));
        kubectl.run(&["wait", "--for=condition=Ready", "node/n1", "--timeout=60s"]);
        ready(&kubectl, "a", "2");
        assert_eq!(pods(&kubectl), before, "after {process} was killed");
    }
    // Without its supervisor the cluster goes on, and the next one takes it over.
    lab.kill("supervisor");
    let control = lab.pid("control");
    assert_eq!(pods(&kubectl), before);
    lab.corten_ok(&["up", "--isolated"]);
    assert_eq!(lab.pid("control"), control);
    assert_eq!(pods(&kubectl), before);
}

#[test]
fn a_stopped_cluster_resumes_with_all_that_was_stored() {
    let lab = Lab::up();
    let kubectl = lab.kubectl("default");
    kubectl.run(&["create", "configmap", "kept", "--from-literal=a=b"]);
    kubectl.run(&["create", "deployment", "a", "--image", BUSYBOX, "--replicas=2", "--", "sleep", "1d"]);
    ready(&kubectl, "a", "2");
    let uids = |kubectl: &Kubectl| pods(kubectl).into_iter().map(|(name, uid, _)| (name, uid)).collect::<Vec<_>>();
    let before = uids(&kubectl);
    lab.corten_ok(&["down"]);
    lab.corten_ok(&["up", "--isolated"]);
    let kubectl = lab.kubectl("default");
    assert_eq!(kubectl.run(&["get", "configmap", "kept", "-o", "jsonpath={.data.a}"]), "b");
    ready(&kubectl, "a", "2");
    assert_eq!(uids(&kubectl), before);
    kubectl.run(&["exec", "deployment/a", "--", "true"]);
}

#[test]
fn a_control_plane_killed_at_any_moment_of_a_rollout_loses_nothing_it_acknowledged() {
    let lab = Lab::up();
    let kubectl = lab.kubectl("default");
    kubectl.run(&["create", "deployment", "web", "--image", WEB, "--replicas=3"]);
    ready(&kubectl, "web", "3");
    let mut acknowledged = Vec::new();
    for (number, gap) in (0..KILLS).zip(gaps()) {
        let image = if number % 2 == 0 { WEB_NEXT } else { WEB };
        eventually(SOON, || kubectl.try_run(&["set", "image", "deployment/web", &format!("web={image}")]));
        let name = format!("kept-{number}");
        if kubectl.try_run(&["create", "configmap", &name, &format!("--from-literal=n={number}")]).is_ok() {
            acknowledged.push(name);
        }
        std::thread::sleep(gap);
        let pid = lab.pid("control");
        lab.kill("control");
        eventually(SOON, || match lab.pid("control") {
            now if now.is_some() && now != pid => Ok(()),
            _ => Err("the control plane does not come back".into()),
        });
    }
    eventually(SOON, || kubectl.try_run(&["set", "image", "deployment/web", &format!("web={WEB}")]));
    kubectl.run(&["rollout", "status", "deployment/web", "--timeout=180s"]);
    let kept = kubectl.run(&["get", "configmaps", "-o", "name"]);
    let lost: Vec<_> = acknowledged.iter().filter(|name| !kept.lines().any(|line| line == format!("configmap/{name}"))).collect();
    assert!(acknowledged.len() > 10 && lost.is_empty(), "of {} acknowledged, lost: {lost:?}", acknowledged.len());
    let images = kubectl.run(&["get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].spec.containers[0].image}"]);
    eventually(SOON, || match pods(&kubectl).len() {
        3 => Ok(()),
        other => Err(format!("{other} Pods, {images}")),
    });
}
