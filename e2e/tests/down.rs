//! `corten down` leaves nothing behind, and `corten up` says what is wrong.

use e2e::{BUSYBOX, Lab, eventually, trace};
use std::time::Duration;

const POD_WITHIN: Duration = Duration::from_secs(60);

#[test]
fn nothing_is_left_of_a_cluster_that_ran_pods() {
    let before = trace::of_machine();
    let lab = Lab::up();
    let kubectl = lab.kubectl("default");
    kubectl.run(&["run", "a", "--image", BUSYBOX, "--", "sleep", "1d"]);
    eventually(POD_WITHIN, || match kubectl.run(&["get", "pod", "a", "-o", "jsonpath={.status.phase}"]).as_str() {
        "Running" => Ok(()),
        other => Err(format!("the Pod is {other:?}")),
    });
    let again = lab.corten(&["up", "--isolated"]);
    assert!(!again.status.success());
    let complaint = String::from_utf8_lossy(&again.stderr).into_owned();
    assert_eq!(complaint.trim(), format!("corten: the cluster {0:?} is already up: `corten down --name {0}` stops it", lab.name()));
    assert!(!trace::of(lab.name()).is_empty(), "the trace sees a cluster that runs");

    lab.corten_ok(&["down"]);
    assert_eq!(trace::of(lab.name()), Default::default());
    assert_eq!(trace::of_machine(), before);
    assert!(lab.data_dir().join("cluster.json").exists(), "the data stays until it is deleted");

    lab.corten_ok(&["down", "--delete"]);
    assert!(!lab.data_dir().exists());
    let complaint = lab.corten(&["down"]);
    assert!(String::from_utf8_lossy(&complaint.stderr).contains("there is no cluster named"));
}

#[test]
fn what_was_killed_with_its_supervisor_is_taken_down_all_the_same() {
    let lab = Lab::up();
    let kubectl = lab.kubectl("default");
    kubectl.run(&["run", "a", "--image", BUSYBOX, "--", "sleep", "1d"]);
    kubectl.run(&["wait", "--for=condition=Ready", "pod/a", "--timeout=60s"]);
    for process in ["supervisor", "control", "node-n1", "containerd-n1"] {
        lab.kill(process);
    }
    lab.corten_ok(&["down"]);
    assert_eq!(trace::of(lab.name()), Default::default());
}

#[test]
fn wishes_that_cannot_be_met_are_refused_in_one_sentence() {
    let lab = Lab::new();
    let check = |arguments: &[&str], expect: &str| {
        let output = lab.corten(arguments);
        assert!(!output.status.success(), "{arguments:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr).trim(), format!("corten: {expect}"));
    };
    check(&["up", "--isolated", "--nodes", "3"], "only one node is possible so far: --nodes 3 is refused");
    check(&["kubeconfig"], &format!("there is no cluster named {0:?}: `corten up --name {0}` makes one", lab.name()));
    check(&["image", "import", "x.tar"], &format!("there is no cluster named {0:?}: `corten up --name {0}` makes one", lab.name()));
}
