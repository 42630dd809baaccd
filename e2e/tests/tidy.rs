//! The walls between crates, as ARCHITECTURE.md has them: who may depend on whom, read from `cargo metadata`.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Layers from the ground up. A crate may use those of the layers below, and what [`EXCEPTIONS`] says.
const LAYERS: [&[&str]; 5] = [
    &["apiserver-machinery", "apiserver-placement", "apiserver-cel", "apiserver-component", "kubelet-cri"],
    &["apiserver-store", "apiserver-client"],
    &["apiserver-store-embedded", "apiserver-store-tikv", "apiserver-etcd", "controllers-runtime"],
    &["apiserver", "scheduler", "controllers", "kubelet", "proxy", "proxy-dns"],
    &["corten", "e2e"],
];
/// Within a layer.
const EXCEPTIONS: [(&str, &str); 2] = [("apiserver-cel", "apiserver-machinery"), ("proxy", "proxy-dns")];
/// What only these may use.
const ONLY: [(&str, &[&str]); 4] = [
    ("apiserver-store", &["apiserver", "apiserver-store-embedded", "apiserver-store-tikv", "apiserver-etcd"]),
    ("apiserver-store-embedded", &["apiserver", "apiserver-etcd", "corten"]),
    ("apiserver-store-tikv", &["apiserver", "apiserver-etcd", "corten"]),
    ("kubelet-cri", &["kubelet", "corten"]),
];
/// Databases, each known to one crate.
const DATABASES: [(&str, &str); 2] = [("fjall", "apiserver-store-embedded"), ("tikv-client", "apiserver-store-tikv")];

/// The members of the workspace, each with what it depends on outside of its tests.
fn members() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("metadata");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let dependencies = |package: &Value| {
        let all = package["dependencies"].as_array().expect("a list").iter();
        all.filter(|dependency| dependency["kind"] != "dev").map(|dependency| text(&dependency["name"])).collect()
    };
    metadata["packages"].as_array().expect("a list").iter().map(|package| (text(&package["name"]), dependencies(package))).collect()
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&name))
}

/// Why `from` may not use `to`, if it may not.
fn fault(from: &str, to: &str) -> Option<String> {
    let Some(above) = layer(from) else { return Some(format!("{from} is in no layer: say which in this test and in ARCHITECTURE.md")) };
    if let Some(below) = layer(to)
        && below >= above
        && !EXCEPTIONS.contains(&(from, to))
    {
        return Some(format!("{from} (layer {above}) uses {to} (layer {below})"));
    }
    let only = ONLY.iter().find(|(name, _)| *name == to).map(|(_, allowed)| *allowed);
    if only.is_some_and(|allowed| !allowed.contains(&from)) {
        return Some(format!("{from} uses {to}, which is not for it"));
    }
    match DATABASES.iter().find(|(database, _)| *database == to) {
        Some((_, owner)) if *owner != from => Some(format!("{from} uses the database {to}")),
        _ => None,
    }
}

#[test]
fn crates_use_only_what_lies_below_them() {
    let members = members();
    assert!(members.contains_key("apiserver") && members.len() > 10, "{members:?}");
    let faults: Vec<String> = members.iter().flat_map(|(from, to)| to.iter().filter_map(|to| fault(from, to))).collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn the_walls_stop_what_they_are_for() {
    for (from, to) in [
        ("scheduler", "kubelet"),
        ("controllers", "apiserver-store"),
        ("apiserver-store", "apiserver-client"),
        ("apiserver-machinery", "apiserver-store"),
        ("apiserver", "fjall"),
        ("scheduler", "kubelet-cri"),
        ("nobody", "apiserver"),
    ] {
        assert!(fault(from, to).is_some(), "{from} may use {to}");
    }
    assert_eq!(fault("apiserver-store-embedded", "fjall"), None);
    assert_eq!(fault("corten", "kubelet"), None);
}
