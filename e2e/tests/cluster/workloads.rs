//! Workloads: real Pods, made, watched, entered, changed and removed.

use e2e::{BUSYBOX, Kubectl, WEB, WEB_NEXT, eventually};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);

fn deploy(kubectl: &Kubectl, replicas: u32) {
    let printed = kubectl.run(&["create", "deployment", "web", "--image", WEB, &format!("--replicas={replicas}")]);
    assert_eq!(printed, "deployment.apps/web created\n");
    let printed = kubectl.run(&["rollout", "status", "deployment/web", "--timeout=90s"]);
    assert!(printed.ends_with("deployment \"web\" successfully rolled out\n"), "{printed}");
}

fn pod_names(kubectl: &Kubectl) -> Vec<String> {
    let printed = kubectl.run(&["get", "pods", "-l", "app=web", "--field-selector=status.phase=Running", "-o", "name"]);
    printed.lines().map(str::to_owned).collect()
}

/// What the web server of a Pod answers, asked from within it.
fn answer(kubectl: &Kubectl, pod: &str) -> Result<String, String> {
    kubectl.try_run(&["exec", pod, "--", "wget", "-q", "-O", "-", "http://127.0.0.1/"])
}

pub fn rollout(kubectl: &Kubectl) {
    let mut watched = kubectl.follow(&["get", "pods", "-o", "wide", "-w"]);
    deploy(kubectl, 3);
    watched.until(SOON, |line| line.contains("web-") && line.contains("Running") && line.contains("n1"));
    let printed = kubectl.run(&["get", "pods", "-o", "wide"]);
    let mut lines = printed.lines();
    let head: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
    assert_eq!(head, ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE", "NOMINATED", "NODE", "READINESS", "GATES"]);
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows.len(), 3, "{printed}");
    for row in rows {
        assert_eq!((row[1], row[2], row[3], row[6]), ("1/1", "Running", "0", "n1"), "{printed}");
        assert!(row[5].starts_with("10."), "{printed}");
    }
    let printed = kubectl.run(&["get", "deployment", "web"]);
    assert!(printed.lines().nth(1).is_some_and(|row| row.split_whitespace().take(4).eq(["web", "3/3", "3", "3"])), "{printed}");
}

pub fn logs_and_exec(kubectl: &Kubectl) {
    let script = "echo first; while true; do echo tick; sleep 1; done";
    kubectl.run(&["run", "talker", "--image", BUSYBOX, "--env=NAME=value", "--", "sh", "-c", script]);
    kubectl.run(&["wait", "--for=condition=Ready", "pod/talker", "--timeout=60s"]);
    let mut followed = kubectl.follow(&["logs", "-f", "talker"]);
    followed.until(SOON, |line| line == "first");
    followed.until(SOON, |line| line == "tick");
    followed.until(SOON, |line| line == "tick");
    drop(followed);
    assert_eq!(kubectl.run(&["logs", "talker", "--tail=1"]), "tick\n");

    assert_eq!(kubectl.run(&["exec", "talker", "--", "sh", "-c", "echo $NAME"]), "value\n");
    assert_eq!(kubectl.run_with(&["exec", "-i", "talker", "--", "cat"], "through\n"), "through\n");
    let complaint = kubectl.fail(&["exec", "talker", "--", "sh", "-c", "exit 7"]);
    assert!(complaint.contains("exit code 7"), "{complaint}");
    let printed = kubectl.on_terminal(&["exec", "-it", "talker", "--", "sh"], "tty; echo $((6 * 7)); exit\n");
    assert!(printed.contains("/dev/pts/") && printed.contains("42"), "{printed}");
}

pub fn update_and_undo(kubectl: &Kubectl) {
    deploy(kubectl, 1);
    assert_eq!(kubectl.run(&["scale", "deployment/web", "--replicas=2"]), "deployment.apps/web scaled\n");
    kubectl.run(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    assert_eq!(pod_names(kubectl).len(), 2);

    assert_eq!(kubectl.run(&["set", "image", "deployment/web", &format!("web={WEB_NEXT}")]), "deployment.apps/web image updated\n");
    kubectl.run(&["rollout", "status", "deployment/web", "--timeout=90s"]);
    let answers = |expect: &str| {
        eventually(SOON, || {
            let pods = pod_names(kubectl);
            let wrong = pods.iter().map(|pod| answer(kubectl, pod)).find(|answer| answer.as_deref() != Ok(expect));
            if pods.len() == 2 && wrong.is_none() { Ok(()) } else { Err(format!("{pods:?} {wrong:?}")) }
        });
    };
    answers("release 2");
    let history = kubectl.run(&["rollout", "history", "deployment/web"]);
    assert!(history.lines().filter(|line| line.starts_with(['1', '2'])).count() == 2, "{history}");

    assert_eq!(kubectl.run(&["rollout", "undo", "deployment/web"]), "deployment.apps/web rolled back\n");
    kubectl.run(&["rollout", "status", "deployment/web", "--timeout=90s"]);
    answers("release 1");
}

pub fn replaced(kubectl: &Kubectl) {
    deploy(kubectl, 1);
    let before = pod_names(kubectl);
    let printed = kubectl.run(&["delete", &before[0]]);
    assert!(printed.starts_with("pod \"web-") && printed.contains("deleted"), "{printed}");
    eventually(SOON, || match pod_names(kubectl) {
        now if now.len() == 1 && now != before => Ok(()),
        now => Err(format!("{now:?} after {before:?}")),
    });
}

pub fn cascade(kubectl: &Kubectl) {
    deploy(kubectl, 1);
    kubectl.run(&["delete", "deployment", "web", "--cascade=orphan"]);
    let sets = kubectl.run(&["get", "replicasets", "-o", "name"]);
    let set = sets.trim();
    assert!(set.starts_with("replicaset.apps/web-"), "{sets}");
    // Orphans have no owner any more, and go on.
    eventually(SOON, || match kubectl.run(&["get", set, "-o", "jsonpath={.metadata.ownerReferences}"]).as_str() {
        "" => Ok(()),
        owners => Err(owners.into()),
    });
    assert_eq!(pod_names(kubectl).len(), 1);
    kubectl.run(&["delete", set, "--cascade=foreground", "--timeout=60s"]);
    // In the foreground: what it owned is gone before it is.
    assert_eq!(kubectl.run(&["get", "pods,replicasets", "-l", "app=web", "-o", "name"]), "");
}

/// Puts the node back into service, whatever a test came to.
struct InService<'a>(&'a Kubectl);

impl Drop for InService<'_> {
    fn drop(&mut self) {
        for arguments in [["uncordon", "n1"].as_slice(), &["taint", "node", "n1", "dedicated:NoSchedule-"]] {
            // Nothing to do where the test did it.
            let _ = self.0.try_run(arguments);
        }
    }
}

pub fn cordon_and_taint(kubectl: &Kubectl) {
    let in_service = InService(kubectl);
    assert_eq!(kubectl.run(&["cordon", "n1"]), "node/n1 cordoned\n");
    let printed = kubectl.run(&["get", "nodes"]);
    assert!(printed.contains("Ready,SchedulingDisabled"), "{printed}");
    kubectl.run(&["run", "waits", "--image", BUSYBOX, "--", "sleep", "1d"]);
    eventually(SOON, || {
        let events = kubectl.run(&["events", "--for=pod/waits"]);
        let expect = "0/1 nodes are available: 1 node(s) were unschedulable.";
        if events.contains("FailedScheduling") && events.contains(expect) { Ok(()) } else { Err(events) }
    });
    assert_eq!(kubectl.run(&["taint", "node", "n1", "dedicated=tests:NoSchedule"]), "node/n1 tainted\n");
    assert_eq!(kubectl.run(&["uncordon", "n1"]), "node/n1 uncordoned\n");
    // The event's series keeps its first text, as upstream's does; the condition has the latest.
    eventually(SOON, || {
        let message = kubectl.run(&["get", "pod", "waits", "-o", "jsonpath={.status.conditions[?(@.type=='PodScheduled')].message}"]);
        if message == "0/1 nodes are available: 1 node(s) had untolerated taint(s)." { Ok(()) } else { Err(message) }
    });
    assert_eq!(kubectl.run(&["taint", "node", "n1", "dedicated:NoSchedule-"]), "node/n1 untainted\n");
    kubectl.run(&["wait", "--for=condition=Ready", "pod/waits", "--timeout=60s"]);
    drop(in_service);
}

pub fn describe_and_events(kubectl: &Kubectl) {
    deploy(kubectl, 1);
    let pods = pod_names(kubectl);
    let printed = kubectl.run(&["describe", &pods[0]]);
    for part in [
        "Node:             n1/10.99.",
        "Status:           Running",
        "Controlled By:  ReplicaSet/web-",
        "Image:          localhost/test/web:1",
        "Scheduled",
        "Started",
    ] {
        assert!(printed.contains(part), "no {part:?} in\n{printed}");
    }
    let printed = kubectl.run(&["describe", "deployment", "web"]);
    assert!(printed.contains("1 desired | 1 updated | 1 total | 1 available | 0 unavailable") && printed.contains("ScalingReplicaSet"), "{printed}");
    let printed = kubectl.run(&["events"]);
    for reason in ["ScalingReplicaSet", "SuccessfulCreate", "Scheduled", "Created", "Started"] {
        assert!(printed.contains(reason), "no {reason} in\n{printed}");
    }
    let printed = kubectl.run(&["describe", "node", "n1"]);
    assert!(printed.contains("Ready") && printed.contains("PodCIDR:") && printed.contains("KubeletReady"), "{printed}");
    assert!(kubectl.run(&["wait", "--for=condition=Available", "deployment/web", "--timeout=10s"]).contains("condition met"));
}
