//! Which nodes a DaemonSet is for.

use apiserver_placement::RequiredNodeAffinity;
use apiserver_placement::taint::{NO_EXECUTE, any_tolerates, first_untolerated};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod, PodSpec, Toleration};

const NAME_FIELD: &str = "metadata.name";
/// What every daemon tolerates: it belongs to the node, in good days and bad.
const TOLERATED: &[(&str, &str)] = &[
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];
/// And what those tolerate that do not need the Pod network.
const TOLERATED_ON_HOST_NETWORK: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");

/// The template's tolerations with those of every daemon.
pub(super) fn tolerations(spec: &PodSpec) -> Vec<Toleration> {
    let mut tolerations = spec.tolerations.clone().unwrap_or_default();
    let host = spec.host_network.unwrap_or(false).then_some(&TOLERATED_ON_HOST_NETWORK);
    for (key, effect) in TOLERATED.iter().chain(host) {
        let added = Toleration {
            key: Some((*key).into()),
            operator: Some("Exists".into()),
            effect: Some((*effect).into()),
            value: None,
            toleration_seconds: None,
        };
        let same = |known: &Toleration| {
            known.key == added.key && known.effect == added.effect && known.operator == added.operator && known.value == added.value
        };
        match tolerations.iter_mut().find(|known| same(known)) {
            Some(known) => *known = added,
            None => tolerations.push(added),
        }
    }
    tolerations
}

/// Whether a daemon belongs on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It has to be there.
    Yes,
    /// One that is there may stay.
    Stay,
    No,
}

pub(super) fn place(set: &DaemonSet, node: &Node) -> Place {
    let empty = PodSpec::default();
    let spec = set.spec.template.spec.as_ref().unwrap_or(&empty);
    let name = spec.node_name.as_deref().unwrap_or_default();
    if !name.is_empty() && node.metadata.name.as_deref() != Some(name) {
        return Place::No;
    }
    if !RequiredNodeAffinity::of_spec(spec).matches(node) {
        return Place::No;
    }
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    let tolerations = tolerations(spec);
    if first_untolerated(taints, &tolerations).is_none() {
        return Place::Yes;
    }
    let driven_away = taints.iter().any(|taint| taint.effect == NO_EXECUTE && !any_tolerates(&tolerations, taint));
    if driven_away { Place::No } else { Place::Stay }
}

/// Whether a change of the node makes no difference to where daemons belong.
pub(super) fn is_same_place(old: &Node, new: &Node) -> bool {
    let relevant = |node: &Node| (node.metadata.labels.clone(), node.spec.as_ref().map(|spec| (spec.taints.clone(), spec.unschedulable)));
    relevant(old) == relevant(new)
}

/// The node that a daemon is on, or is meant for.
pub(super) fn of_pod(pod: &Pod) -> Option<&str> {
    let spec = pod.spec.as_ref()?;
    if let Some(name) = spec.node_name.as_deref().filter(|name| !name.is_empty()) {
        return Some(name);
    }
    let required = spec.affinity.as_ref()?.node_affinity.as_ref()?.required_during_scheduling_ignored_during_execution.as_ref()?;
    let fields = required.node_selector_terms.iter().flat_map(|term| term.match_fields.iter().flatten());
    let mut named = fields.filter(|field| field.key == NAME_FIELD && field.operator == "In");
    named.find_map(|field| field.values.as_ref()?.first()).map(String::as_str)
}

/// The template's spec for a daemon on this node.
pub(super) fn bind(spec: &PodSpec, node: &str) -> PodSpec {
    let mut spec = spec.clone();
    spec.tolerations = Some(tolerations(&spec));
    let affinity = spec.affinity.get_or_insert_default().node_affinity.get_or_insert_default();
    let only = serde_json::json!({"nodeSelectorTerms": [{"matchFields": [{"key": NAME_FIELD, "operator": "In", "values": [node]}]}]});
    affinity.required_during_scheduling_ignored_during_execution = serde_json::from_value(only).ok();
    spec
}
