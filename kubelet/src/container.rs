//! A container as the runtime wants it. Pure: folders, volumes and variables are handed in.

use crate::cgroup::{self, PERIOD_US};
use crate::pod;
use crate::{env, sandbox, security, view};
use apiserver_placement::Amount;
use apiserver_placement::qos::Qos;
use apiserver_placement::resources::{CPU, HUGE_PAGES_PREFIX, MEMORY};
use k8s_openapi::api::core::v1::{Container, Pod};
use kubelet_cri::v1;
use std::collections::BTreeMap;
use std::path::Path;

/// The scores that tell the kernel whom to kill first when memory is short.
const OOM_GUARANTEED: i64 = -997;
const OOM_BEST_EFFORT: i64 = 1000;
/// From this priority on a Pod is critical and killed last.
const CRITICAL_PRIORITY: i32 = 2_000_000_000;
pub const DEFAULT_MESSAGE_PATH: &str = "/dev/termination-log";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Security(#[from] security::Error),
}

/// Everything beside the spec that a container's configuration needs.
pub struct Inputs<'a> {
    pub attempt: u32,
    /// The image as the runtime knows it.
    pub image_ref: &'a str,
    pub image_user: &'a security::ImageUser,
    pub variables: &'a BTreeMap<String, Vec<u8>>,
    pub mounts: Vec<v1::Mount>,
    /// The container whose processes an ephemeral one sees.
    pub target: Option<&'a str>,
    pub seccomp_profiles: &'a Path,
    pub memory_capacity: Amount,
}

pub fn config(pod: &Pod, container: &Container, inputs: Inputs<'_>) -> Result<v1::ContainerConfig, Error> {
    let words = |list: &Option<Vec<String>>| {
        let lookup = |name: &str| inputs.variables.get(name).cloned();
        let word = |text: &String| String::from_utf8_lossy(&env::expand(text, &lookup)).into_owned();
        list.iter().flatten().map(word).collect::<Vec<_>>()
    };
    let envs = inputs.variables.iter().map(|(key, value)| v1::KeyValue { key: key.clone(), value: value.clone() });
    let context = security::container_context(pod, container, inputs.image_user, inputs.target, inputs.seccomp_profiles)?;
    Ok(v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: container.name.clone(), attempt: inputs.attempt }),
        image: Some(v1::ImageSpec {
            image: inputs.image_ref.to_owned(),
            user_specified_image: container.image.clone().unwrap_or_default(),
            ..Default::default()
        }),
        command: words(&container.command),
        args: words(&container.args),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        envs: envs.collect(),
        mounts: inputs.mounts,
        labels: labels(pod, container),
        annotations: annotations(pod, container, inputs.attempt),
        log_path: log_path(&container.name, inputs.attempt),
        stdin: container.stdin.unwrap_or_default(),
        stdin_once: container.stdin_once.unwrap_or_default(),
        tty: container.tty.unwrap_or_default(),
        linux: Some(v1::LinuxContainerConfig { resources: Some(resources(pod, container, inputs.memory_capacity)), security_context: Some(context) }),
        ..Default::default()
    })
}

/// Below the Pod's log folder.
pub fn log_path(container: &str, attempt: u32) -> String {
    format!("{container}/{attempt}.log")
}

fn labels(pod: &Pod, container: &Container) -> BTreeMap<String, String> {
    let mut labels = sandbox::identity(pod);
    labels.insert(view::CONTAINER_NAME.to_owned(), container.name.clone());
    labels
}

/// What must be known of a container when nothing else is left to tell.
fn annotations(pod: &Pod, container: &Container, attempt: u32) -> BTreeMap<String, String> {
    let path = container.termination_message_path.clone().unwrap_or_else(|| DEFAULT_MESSAGE_PATH.to_owned());
    let policy = container.termination_message_policy.clone().unwrap_or_else(|| "File".to_owned());
    BTreeMap::from([
        (view::HASH.to_owned(), pod::fingerprint(container)),
        (view::RESTART_COUNT.to_owned(), attempt.to_string()),
        (view::MESSAGE_PATH.to_owned(), path),
        (view::MESSAGE_POLICY.to_owned(), policy),
        (view::POD_GRACE.to_owned(), pod::grace_seconds(pod).to_string()),
    ])
}

fn resources(pod: &Pod, container: &Container, memory_capacity: Amount) -> v1::LinuxContainerResources {
    let cpu_limit = cgroup::limit(container, CPU).map(Amount::millis).unwrap_or_default();
    // Without a request, the limit is what was asked for.
    let cpu_request = cgroup::request(container, CPU).map_or(cpu_limit, Amount::millis);
    let limits = container.resources.as_ref().and_then(|resources| resources.limits.as_ref());
    let pages = limits.into_iter().flatten().filter_map(|(name, quantity)| {
        let limit = u64::try_from(Amount::parse(&quantity.0)?.value()).ok()?;
        Some(v1::HugepageLimit { page_size: page_size(name.strip_prefix(HUGE_PAGES_PREFIX)?), limit })
    });
    v1::LinuxContainerResources {
        cpu_shares: cgroup::shares(cpu_request),
        cpu_period: PERIOD_US,
        cpu_quota: cgroup::quota_us(cpu_limit),
        memory_limit_in_bytes: cgroup::limit(container, MEMORY).map(Amount::value).unwrap_or_default(),
        oom_score_adj: oom_score(pod, container, memory_capacity),
        hugepage_limits: pages.collect(),
        ..Default::default()
    }
}

/// `2Mi` as the kernel names it: `2MB`.
fn page_size(quantity: &str) -> String {
    quantity.strip_suffix('i').map_or_else(|| quantity.to_owned(), |stem| format!("{stem}B"))
}

/// Guaranteed Pods are killed last, best-effort ones first, others the later the more of the node's memory they asked for.
fn oom_score(pod: &Pod, container: &Container, capacity: Amount) -> i64 {
    if pod::spec(pod).priority.unwrap_or_default() >= CRITICAL_PRIORITY {
        return OOM_GUARANTEED;
    }
    match Qos::of(pod) {
        Qos::Guaranteed => OOM_GUARANTEED,
        Qos::BestEffort => OOM_BEST_EFFORT,
        Qos::Burstable => {
            let request = cgroup::request(container, MEMORY).map(Amount::value).unwrap_or_default();
            let score = 1000 - request.saturating_mul(1000) / capacity.value().max(1);
            score.clamp(1000 + OOM_GUARANTEED, OOM_BEST_EFFORT - 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn made(container: Value) -> v1::ContainerConfig {
        let mut container = container;
        container["name"] = json!("c");
        let pod = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": {"containers": [container]}});
        let pod: Pod = serde_json::from_value(pod).expect("a pod");
        let variables = BTreeMap::from([("A".to_owned(), b"1".to_vec())]);
        let inputs = Inputs {
            attempt: 3,
            image_ref: "sha256:x",
            image_user: &security::ImageUser::default(),
            variables: &variables,
            mounts: Vec::new(),
            target: None,
            seccomp_profiles: Path::new("/seccomp"),
            memory_capacity: Amount::from_units(1000 << 20),
        };
        config(&pod, &pod::containers(&pod)[0], inputs).expect("a config")
    }

    #[test]
    fn commands_are_expanded_from_the_environment() {
        let config = made(json!({"command": ["echo", "$(A)"], "args": ["$$(A)", "$(B)"]}));
        assert_eq!((config.command, config.args), (vec!["echo".to_owned(), "1".to_owned()], vec!["$(A)".to_owned(), "$(B)".to_owned()]));
    }

    #[test]
    fn what_must_survive_is_in_labels_and_annotations() {
        let config = made(json!({"image": "i", "terminationMessagePolicy": "FallbackToLogsOnError"}));
        assert_eq!(config.labels[view::CONTAINER_NAME], "c");
        assert_eq!(config.annotations[view::RESTART_COUNT], "3");
        assert_eq!(config.annotations[view::MESSAGE_PATH], "/dev/termination-log");
        assert_eq!(config.annotations[view::MESSAGE_POLICY], "FallbackToLogsOnError");
        assert_eq!(config.log_path, "c/3.log");
        assert_eq!(config.image.expect("an image").user_specified_image, "i");
    }

    #[test]
    fn resources_become_shares_quota_and_limits() {
        let check = |resources: Value, shares, quota, memory, oom| {
            let made = made(json!({"resources": resources})).linux.and_then(|linux| linux.resources).expect("resources");
            assert_eq!(
                (made.cpu_shares, made.cpu_quota, made.memory_limit_in_bytes, made.oom_score_adj),
                (shares, quota, memory, oom),
                "{resources}"
            );
        };
        check(json!({}), 2, 0, 0, 1000);
        check(json!({"limits": {"cpu": "500m"}}), 512, 50_000, 0, 999);
        check(json!({"requests": {"memory": "100Mi"}, "limits": {"memory": "200Mi"}}), 2, 0, 200 << 20, 900);
        check(json!({"requests": {"cpu": "1", "memory": "1Mi"}, "limits": {"cpu": "1", "memory": "1Mi"}}), 1024, 100_000, 1 << 20, -997);
        assert_eq!((page_size("2Mi"), page_size("1Gi")), ("2MB".to_owned(), "1GB".to_owned()));
    }
}
