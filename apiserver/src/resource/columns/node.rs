//! Columns of Nodes and RuntimeClasses.

use super::{AGE, ColumnRow, NAME, condition, or, text};
use crate::resource::{CellContext, Object, Value};
use std::collections::BTreeSet;

const ROLE_PREFIX: &str = "node-role.kubernetes.io/";
const ROLE: &str = "kubernetes.io/role";
const UNKNOWN: &str = "<unknown>";

pub const NODE: &[ColumnRow] = &[
    NAME,
    text("Status", "Whether the node is ready, and whether Pods may be scheduled to it.", status),
    text("Roles", "What the node's labels say it is for.", roles),
    AGE,
    text("Version", "The version of the node's kubelet.", |object, _| object.text("status.nodeInfo.kubeletVersion").into()),
    text("Internal-IP", "The first address inside the cluster.", |object, _| address(object, "InternalIP").into()).wide(),
    text("External-IP", "The first address for the outside.", |object, _| address(object, "ExternalIP").into()).wide(),
    text("OS-Image", "The operating system that the node says it runs.", |object, _| or(object.text("status.nodeInfo.osImage"), UNKNOWN).into())
        .wide(),
    text("Kernel-Version", "The kernel that the node says it runs, and for which processor.", kernel).wide(),
    text("Container-Runtime", "The container runtime of the node.", |object, _| {
        or(object.text("status.nodeInfo.containerRuntimeVersion"), UNKNOWN).into()
    })
    .wide(),
];

pub const RUNTIME_CLASS: &[ColumnRow] =
    &[NAME, text("Handler", "The container runtime's name for the configuration.", |object, _| object.text("handler").into()), AGE];

fn status(object: Object<'_>, _: CellContext) -> Value {
    let ready = match condition(object, "status.conditions", "Ready") {
        "" => "Unknown",
        "True" => "Ready",
        _ => "NotReady",
    };
    if object.flag("spec.unschedulable") { format!("{ready},SchedulingDisabled").into() } else { ready.into() }
}

fn roles(object: Object<'_>, _: CellContext) -> Value {
    let roles: BTreeSet<&str> = object
        .pairs("metadata.labels")
        .filter_map(|(key, value)| key.strip_prefix(ROLE_PREFIX).or_else(|| (key == ROLE).then_some(value)))
        .filter(|role| !role.is_empty())
        .collect();
    or(&roles.into_iter().collect::<Vec<_>>().join(","), "<none>").into()
}

fn address<'a>(object: Object<'a>, ty: &str) -> &'a str {
    object.items("status.addresses").find(|address| address.text("type") == ty).map_or("<none>", |address| address.text("address"))
}

fn kernel(object: Object<'_>, _: CellContext) -> Value {
    let kernel = or(object.text("status.nodeInfo.kernelVersion"), UNKNOWN);
    match object.text("status.nodeInfo.architecture") {
        "" => kernel.into(),
        architecture => format!("{kernel} ({architecture})").into(),
    }
}
