//! Short questions about a Pod as the API shows it. Pure; what a Pod asks for in resources is `apiserver_placement`'s.

use k8s_openapi::api::core::v1::{Container, EphemeralContainer, ObjectReference, Pod, PodSpec, PodStatus};
use std::borrow::Cow;
use std::sync::LazyLock;

static NO_SPEC: LazyLock<PodSpec> = LazyLock::new(PodSpec::default);
static NO_STATUS: LazyLock<PodStatus> = LazyLock::new(PodStatus::default);

/// When a container runs in its Pod's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Runs to its end before the next one starts.
    Init,
    /// An init container that keeps running beside the others.
    Sidecar,
    Main,
    /// Added while the Pod runs; never restarted.
    Ephemeral,
}

pub fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

pub fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

pub fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or_default()
}

pub fn spec(pod: &Pod) -> &PodSpec {
    pod.spec.as_ref().unwrap_or(&NO_SPEC)
}

pub fn status(pod: &Pod) -> &PodStatus {
    pod.status.as_ref().unwrap_or(&NO_STATUS)
}

/// `name_namespace(uid)`, as upstream names Pods in messages.
pub fn describe(pod: &Pod) -> String {
    format!("{}_{}({})", name(pod), namespace(pod), uid(pod))
}

/// What events about the Pod, or about one of its containers, are attached to.
pub fn reference(pod: &Pod, field_path: Option<String>) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: pod.metadata.name.clone(),
        namespace: pod.metadata.namespace.clone(),
        uid: pod.metadata.uid.clone(),
        resource_version: pod.metadata.resource_version.clone(),
        field_path,
    }
}

/// `spec.containers{web}`, the field path of events about a container.
pub fn field_path(pod: &Pod, container: &str) -> Option<String> {
    let list = match find(pod, container)?.0 {
        Role::Init | Role::Sidecar => "initContainers",
        Role::Main => "containers",
        Role::Ephemeral => "ephemeralContainers",
    };
    Some(format!("spec.{list}{{{container}}}"))
}

pub fn init_containers(pod: &Pod) -> &[Container] {
    spec(pod).init_containers.as_deref().unwrap_or_default()
}

pub fn containers(pod: &Pod) -> &[Container] {
    &spec(pod).containers
}

pub fn ephemeral_containers(pod: &Pod) -> &[EphemeralContainer] {
    spec(pod).ephemeral_containers.as_deref().unwrap_or_default()
}

/// A container that was added while the Pod runs, as the container that it is.
pub fn ephemeral_as_container(ephemeral: &EphemeralContainer) -> Container {
    let e = ephemeral.clone();
    Container {
        args: e.args,
        command: e.command,
        env: e.env,
        env_from: e.env_from,
        image: e.image,
        image_pull_policy: e.image_pull_policy,
        lifecycle: e.lifecycle,
        liveness_probe: e.liveness_probe,
        name: e.name,
        ports: e.ports,
        readiness_probe: e.readiness_probe,
        resize_policy: e.resize_policy,
        resources: e.resources,
        restart_policy: e.restart_policy,
        restart_policy_rules: e.restart_policy_rules,
        security_context: e.security_context,
        startup_probe: e.startup_probe,
        stdin: e.stdin,
        stdin_once: e.stdin_once,
        termination_message_path: e.termination_message_path,
        termination_message_policy: e.termination_message_policy,
        tty: e.tty,
        volume_devices: e.volume_devices,
        volume_mounts: e.volume_mounts,
        working_dir: e.working_dir,
    }
}

pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// The container of that name, whichever list it is in.
pub fn find<'a>(pod: &'a Pod, name: &str) -> Option<(Role, Cow<'a, Container>)> {
    if let Some(container) = containers(pod).iter().find(|container| container.name == name) {
        return Some((Role::Main, Cow::Borrowed(container)));
    }
    if let Some(container) = init_containers(pod).iter().find(|container| container.name == name) {
        let role = if is_sidecar(container) { Role::Sidecar } else { Role::Init };
        return Some((role, Cow::Borrowed(container)));
    }
    let ephemeral = ephemeral_containers(pod).iter().find(|container| container.name == name)?;
    Some((Role::Ephemeral, Cow::Owned(ephemeral_as_container(ephemeral))))
}

pub fn restart_policy(pod: &Pod) -> &str {
    spec(pod).restart_policy.as_deref().unwrap_or("Always")
}

/// Whether a container that ended with this code starts again, by its own policy and rules or else the Pod's.
pub fn restarts_after(pod: &Pod, container: &Container, exit_code: i32) -> bool {
    let Some(policy) = container.restart_policy.as_deref() else { return policy_restarts(restart_policy(pod), exit_code) };
    rule_restarts(container, exit_code) || policy_restarts(policy, exit_code)
}

fn policy_restarts(policy: &str, exit_code: i32) -> bool {
    match policy {
        "Never" => false,
        "OnFailure" => exit_code != 0,
        _ => true,
    }
}

/// One of the container's rules names this exit code.
fn rule_restarts(container: &Container, exit_code: i32) -> bool {
    container.restart_policy_rules.iter().flatten().filter_map(|rule| rule.exit_codes.as_ref()).any(|codes| {
        let listed = codes.values.iter().flatten().any(|&code| code == exit_code);
        match codes.operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            _ => false,
        }
    })
}

pub fn uses_host_network(pod: &Pod) -> bool {
    spec(pod).host_network.unwrap_or_default()
}

/// How long the Pod's containers have to end, by its spec.
pub fn grace_seconds(pod: &Pod) -> i64 {
    const DEFAULT_GRACE_SECONDS: i64 = 30;
    spec(pod).termination_grace_period_seconds.unwrap_or(DEFAULT_GRACE_SECONDS)
}

/// A fingerprint of what makes a running container outdated: its name and image (32-bit FNV-1a).
///
/// Only an image change restarts a container in place; everything else in a Pod's spec is immutable or applied live.
pub fn fingerprint(container: &Container) -> String {
    const OFFSET: u32 = 0x811c_9dc5;
    const PRIME: u32 = 0x0100_0193;
    let text = [container.name.as_bytes(), b"\n", container.image.as_deref().unwrap_or_default().as_bytes()].concat();
    let hash = text.iter().fold(OFFSET, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(PRIME));
    format!("{hash:x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(policy: &str, container: serde_json::Value, exit_code: i32, expect: bool) {
        let pod: Pod = serde_json::from_value(serde_json::json!({"spec": {"restartPolicy": policy, "containers": []}})).expect("a pod");
        let container: Container = serde_json::from_value(container).expect("a container");
        assert_eq!(restarts_after(&pod, &container, exit_code), expect, "{policy} {container:?} {exit_code}");
    }

    #[test]
    fn a_container_restarts_by_its_own_policy_or_the_pods() {
        let plain = || serde_json::json!({"name": "c"});
        check("Always", plain(), 0, true);
        check("OnFailure", plain(), 0, false);
        check("OnFailure", plain(), 1, true);
        check("Never", plain(), 1, false);
        check("Never", serde_json::json!({"name": "c", "restartPolicy": "Always"}), 0, true);
        check("Always", serde_json::json!({"name": "c", "restartPolicy": "Never"}), 1, false);
    }

    #[test]
    fn a_rule_overrides_the_policy_for_its_exit_codes() {
        let ruled = |operator: &str| {
            serde_json::json!({"name": "c", "restartPolicy": "Never",
                "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": operator, "values": [42]}}]})
        };
        check("Never", ruled("In"), 42, true);
        check("Never", ruled("In"), 1, false);
        check("Never", ruled("NotIn"), 1, true);
        check("Never", ruled("NotIn"), 42, false);
    }

    #[test]
    fn only_name_and_image_make_the_fingerprint() {
        let container = |image: &str, arg: &str| Container {
            name: "c".to_owned(),
            image: Some(image.to_owned()),
            args: Some(vec![arg.to_owned()]),
            ..Default::default()
        };
        assert_eq!(fingerprint(&container("a", "1")), fingerprint(&container("a", "2")));
        assert_ne!(fingerprint(&container("a", "1")), fingerprint(&container("b", "1")));
    }
}
