//! Objects: applied, compared, edited, patched, labelled and printed.

use e2e::Kubectl;
use serde_json::Value;

const SETTINGS: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, labels: {app: a}}\ndata: {colour: red, size: large}\n";

fn data(kubectl: &Kubectl) -> String {
    kubectl.run(&["get", "configmap", "settings", "-o", "jsonpath={.data}"])
}

pub fn apply_diff_edit(kubectl: &Kubectl) {
    assert_eq!(kubectl.run_with(&["apply", "-f", "-"], SETTINGS), "configmap/settings created\n");
    assert_eq!(kubectl.run_with(&["apply", "-f", "-"], SETTINGS), "configmap/settings unchanged\n");
    let changed = SETTINGS.replace("red", "blue").replace(", size: large", "");
    let output = kubectl.output(&["diff", "-f", "-"], &changed);
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{printed}");
    assert!(printed.contains("-  colour: red") && printed.contains("+  colour: blue") && printed.contains("-  size: large"), "{printed}");
    assert_eq!(kubectl.run_with(&["apply", "-f", "-"], &changed), "configmap/settings configured\n");
    // What is no longer applied is taken away; what others set stays.
    assert_eq!(data(kubectl), r#"{"colour":"blue"}"#);

    let mut edit = kubectl.command(&["edit", "configmap", "settings"]);
    let output = edit.env("EDITOR", "sed -i s/blue/green/").output().expect("kubectl runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "configmap/settings edited\n");
    assert_eq!(data(kubectl), r#"{"colour":"green"}"#);
    let complaint = kubectl.fail_with(&["apply", "-f", "-"], &SETTINGS.replace("\ndata:", "\ndato:"));
    assert!(complaint.contains("unknown field \"dato\""), "{complaint}");
}

pub fn patches(kubectl: &Kubectl) {
    kubectl.run_with(&["apply", "-f", "-"], SETTINGS);
    let patch = |kind: &str, patch: &str| {
        assert_eq!(kubectl.run(&["patch", "configmap", "settings", "--type", kind, "-p", patch]), "configmap/settings patched\n")
    };
    patch("merge", r#"{"data":{"size":null,"shape":"round"}}"#);
    assert_eq!(data(kubectl), r#"{"colour":"red","shape":"round"}"#);
    patch(
        "json",
        r#"[{"op":"test","path":"/data/colour","value":"red"},{"op":"replace","path":"/data/colour","value":"blue"},{"op":"remove","path":"/data/shape"}]"#,
    );
    assert_eq!(data(kubectl), r#"{"colour":"blue"}"#);
    let complaint = kubectl.fail(&["patch", "configmap", "settings", "--type=json", "-p", r#"[{"op":"test","path":"/data/colour","value":"red"}]"#]);
    assert!(
        complaint.contains("the server rejected our request due to an error in our request")
            || complaint.contains("testing value /data/colour failed"),
        "{complaint}"
    );

    // Strategic: lists are merged by their key.
    let deployment = ["create", "deployment", "web", "--image=localhost/test/web:1", "--replicas=0"];
    kubectl.run(&deployment);
    let sidecar = r#"{"spec":{"template":{"spec":{"containers":[{"name":"second","image":"localhost/test/busybox:1"}]}}}}"#;
    assert_eq!(kubectl.run(&["patch", "deployment", "web", "-p", sidecar]), "deployment.apps/web patched\n");
    let names = |kubectl: &Kubectl| kubectl.run(&["get", "deployment", "web", "-o", "jsonpath={.spec.template.spec.containers[*].name}"]);
    assert_eq!(names(kubectl), "second web");
    let without = r#"{"spec":{"template":{"spec":{"containers":[{"name":"second","$patch":"delete"}]}}}}"#;
    kubectl.run(&["patch", "deployment", "web", "-p", without]);
    assert_eq!(names(kubectl), "web");
}

pub fn server_side_apply(kubectl: &Kubectl) {
    let apply = ["apply", "--server-side", "-f", "-"];
    assert_eq!(kubectl.run_with(&apply, SETTINGS), "configmap/settings serverside-applied\n");
    let other = SETTINGS.replace("red", "blue");
    let by_other = ["apply", "--server-side", "--field-manager=other", "-f", "-"];
    let complaint = kubectl.fail_with(&by_other, &other);
    assert!(complaint.contains("Apply failed with 1 conflict: conflict with \"kubectl\": .data.colour"), "{complaint}");
    let forced = [&by_other[..], &["--force-conflicts"]].concat();
    kubectl.run_with(&forced, &other);
    assert_eq!(data(kubectl), r#"{"colour":"blue","size":"large"}"#);
    let owners = kubectl.run(&[
        "get",
        "configmap",
        "settings",
        "--show-managed-fields",
        "-o",
        "jsonpath={range .metadata.managedFields[*]}{.manager}={.fieldsV1.f:data}{\"\\n\"}{end}",
    ]);
    assert!(owners.contains(r#"other={"f:colour":{},"f:size":{}}"#) && owners.contains(r#"kubectl={"f:size":{}}"#), "{owners}");
}

pub fn label_and_annotate(kubectl: &Kubectl) {
    kubectl.run_with(&["apply", "-f", "-"], SETTINGS);
    assert_eq!(kubectl.run(&["label", "configmap", "settings", "tier=front"]), "configmap/settings labeled\n");
    let complaint = kubectl.fail(&["label", "configmap", "settings", "tier=back"]);
    assert!(complaint.contains("already has a value (front), and --overwrite is false"), "{complaint}");
    let complaint = kubectl.fail(&["label", "configmap", "settings", "tier=b_", "--overwrite"]);
    assert!(complaint.contains("a valid label must be an empty string or consist of alphanumeric characters"), "{complaint}");
    assert_eq!(kubectl.run(&["get", "configmaps", "-l", "tier in (front),app!=b", "-o", "name"]), "configmap/settings\n");
    assert_eq!(kubectl.run(&["get", "configmaps", "-l", "tier=back", "-o", "name"]), "");
    assert_eq!(kubectl.run(&["annotate", "configmap", "settings", "note=text"]), "configmap/settings annotated\n");
    assert_eq!(kubectl.run(&["get", "configmap", "settings", "-o", "jsonpath={.metadata.annotations.note}"]), "text");
    kubectl.run(&["label", "configmap", "settings", "tier-"]);
    assert_eq!(kubectl.run(&["get", "configmap", "settings", "-o", "jsonpath={.metadata.labels}"]), r#"{"app":"a"}"#);
}

pub fn outputs(kubectl: &Kubectl) {
    kubectl.run_with(&["apply", "-f", "-"], SETTINGS);
    let get = |form: &str| kubectl.run(&["get", "configmap", "settings", "-o", form]);
    assert!(get("yaml").starts_with("apiVersion: v1\ndata:\n  colour: red\n  size: large\nkind: ConfigMap\nmetadata:\n"), "{}", get("yaml"));
    let object: Value = serde_json::from_str(&get("json")).expect("JSON");
    assert_eq!(object["data"]["size"], "large");
    assert_eq!(get("jsonpath={.data.colour} {.metadata.name}"), "red settings");
    assert_eq!(get("custom-columns=NAME:.metadata.name,COLOUR:.data.colour"), "NAME       COLOUR\nsettings   red\n");
    assert_eq!(get("go-template={{.kind}}"), "ConfigMap");
    let table = get("wide");
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!((rows[0].as_slice(), &rows[1][..2]), (["NAME", "DATA", "AGE"].as_slice(), ["settings", "2"].as_slice()));
    let sorted = kubectl.run(&["get", "namespaces", "--sort-by=.metadata.name", "-o", "name"]);
    assert!(sorted.contains("namespace/default") && sorted.contains("namespace/kube-system"), "{sorted}");
}
