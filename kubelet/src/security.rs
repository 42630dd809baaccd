//! Who a container runs as and what it may: security contexts of Pod and container as the runtime wants them.

use crate::pod;
use k8s_openapi::api::core::v1::{Container, Pod, SELinuxOptions, SeccompProfile};
use kubelet_cri::v1;
use std::path::Path;

/// What of /proc and /sys a container does not see, and what it only reads, unless it asks for procMount Unmasked.
const MASKED_PATHS: [&str; 10] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
];
const MASKED_SYS_PATHS: [&str; 2] = ["/sys/firmware", "/sys/devices/virtual/powercap"];
const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("container has runAsNonRoot and image will run as root (pod: \"{pod}\", container: {container})")]
    ImageIsRoot { pod: String, container: String },
    #[error("container's runAsUser breaks non-root policy (pod: \"{pod}\", container: {container})")]
    UserIsRoot { pod: String, container: String },
    #[error(
        "container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root (pod: \"{pod}\", container: {container})"
    )]
    UserUnknown { user: String, pod: String, container: String },
    #[error("localhostProfile must be set if seccompProfile type is Localhost")]
    NoLocalhostProfile,
}

/// The user that an image names: a number or a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageUser {
    pub uid: Option<i64>,
    pub name: String,
}

pub fn namespaces(pod: &Pod, target: Option<&str>) -> v1::NamespaceOption {
    let spec = pod::spec(pod);
    let host = |flag: Option<bool>| if flag.unwrap_or_default() { v1::NamespaceMode::Node } else { v1::NamespaceMode::Pod };
    let pid = if let Some(true) = spec.host_pid {
        v1::NamespaceMode::Node
    } else if target.is_some() {
        v1::NamespaceMode::Target
    } else if let Some(true) = spec.share_process_namespace {
        v1::NamespaceMode::Pod
    } else {
        v1::NamespaceMode::Container
    };
    v1::NamespaceOption {
        network: host(spec.host_network).into(),
        pid: pid.into(),
        ipc: host(spec.host_ipc).into(),
        target_id: target.unwrap_or_default().to_owned(),
    }
}

fn selinux(options: &SELinuxOptions) -> v1::SeLinuxOption {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    v1::SeLinuxOption { user: text(&options.user), role: text(&options.role), r#type: text(&options.type_), level: text(&options.level) }
}

fn int64(value: Option<i64>) -> Option<v1::Int64Value> {
    value.map(|value| v1::Int64Value { value })
}

/// The groups that a Pod's processes are in besides their own.
fn supplemental_groups(pod: &Pod) -> Vec<i64> {
    let context = pod::spec(pod).security_context.as_ref();
    let groups = context.and_then(|context| context.supplemental_groups.clone()).unwrap_or_default();
    context.and_then(|context| context.fs_group).into_iter().chain(groups).collect()
}

pub fn groups_policy(pod: &Pod) -> v1::SupplementalGroupsPolicy {
    let policy = pod::spec(pod).security_context.as_ref().and_then(|context| context.supplemental_groups_policy.as_deref());
    if policy == Some("Strict") { v1::SupplementalGroupsPolicy::Strict } else { v1::SupplementalGroupsPolicy::Merge }
}

fn is_privileged(container: &Container) -> bool {
    container.security_context.as_ref().and_then(|context| context.privileged).unwrap_or_default()
}

pub fn sandbox_context(pod: &Pod) -> v1::LinuxSandboxSecurityContext {
    let context = pod::spec(pod).security_context.as_ref();
    let mut containers = pod::init_containers(pod).iter().chain(pod::containers(pod));
    v1::LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(pod, None)),
        selinux_options: context.and_then(|context| context.se_linux_options.as_ref()).map(selinux),
        run_as_user: int64(context.and_then(|context| context.run_as_user)),
        run_as_group: int64(context.and_then(|context| context.run_as_group)),
        supplemental_groups: supplemental_groups(pod),
        supplemental_groups_policy: groups_policy(pod).into(),
        privileged: containers.any(is_privileged),
        // The pause process needs little, whatever the Pod's own profile is.
        seccomp: Some(v1::SecurityProfile { profile_type: v1::security_profile::ProfileType::RuntimeDefault.into(), localhost_ref: String::new() }),
        ..Default::default()
    }
}

fn seccomp(profile: Option<&SeccompProfile>, profiles: &Path) -> Result<v1::SecurityProfile, Error> {
    use v1::security_profile::ProfileType;
    let plain = |kind: ProfileType| v1::SecurityProfile { profile_type: kind.into(), localhost_ref: String::new() };
    let Some(profile) = profile else { return Ok(plain(ProfileType::Unconfined)) };
    match profile.type_.as_str() {
        "RuntimeDefault" => Ok(plain(ProfileType::RuntimeDefault)),
        "Localhost" => {
            let name = profile.localhost_profile.as_deref().filter(|name| !name.is_empty()).ok_or(Error::NoLocalhostProfile)?;
            let localhost_ref = profiles.join(name).to_string_lossy().into_owned();
            Ok(v1::SecurityProfile { profile_type: ProfileType::Localhost.into(), localhost_ref })
        }
        _ => Ok(plain(ProfileType::Unconfined)),
    }
}

/// The context of a container. `target` is the container whose processes an ephemeral one sees; `profiles` the folder of local seccomp profiles.
pub fn container_context(
    pod: &Pod,
    container: &Container,
    image: &ImageUser,
    target: Option<&str>,
    profiles: &Path,
) -> Result<v1::LinuxContainerSecurityContext, Error> {
    let own = container.security_context.clone().unwrap_or_default();
    let pods = pod::spec(pod).security_context.clone().unwrap_or_default();
    let user = own.run_as_user.or(pods.run_as_user);
    if own.run_as_non_root.or(pods.run_as_non_root) == Some(true) {
        check_non_root(pod, container, user, image)?;
    }
    let by_image = user.is_none();
    let unmasked = own.proc_mount.as_deref() == Some("Unmasked");
    let privileged = own.privileged.unwrap_or_default();
    let paths = |list: &[&str]| if unmasked { Vec::new() } else { list.iter().map(|&path| path.to_owned()).collect() };
    let apparmor = own.app_armor_profile.as_ref().or(pods.app_armor_profile.as_ref()).map(|profile| v1::SecurityProfile {
        profile_type: match profile.type_.as_str() {
            "RuntimeDefault" => v1::security_profile::ProfileType::RuntimeDefault,
            "Localhost" => v1::security_profile::ProfileType::Localhost,
            _ => v1::security_profile::ProfileType::Unconfined,
        }
        .into(),
        localhost_ref: profile.localhost_profile.clone().unwrap_or_default(),
    });
    Ok(v1::LinuxContainerSecurityContext {
        capabilities: own.capabilities.as_ref().map(|capabilities| v1::Capability {
            add_capabilities: capabilities.add.clone().unwrap_or_default(),
            drop_capabilities: capabilities.drop.clone().unwrap_or_default(),
            add_ambient_capabilities: Vec::new(),
        }),
        privileged,
        namespace_options: Some(namespaces(pod, target)),
        selinux_options: own.se_linux_options.as_ref().or(pods.se_linux_options.as_ref()).map(selinux),
        run_as_user: int64(user.or(image.uid.filter(|_| by_image))),
        run_as_username: if by_image && image.uid.is_none() { image.name.clone() } else { String::new() },
        run_as_group: int64(own.run_as_group.or(pods.run_as_group)),
        readonly_rootfs: own.read_only_root_filesystem.unwrap_or_default(),
        supplemental_groups: supplemental_groups(pod),
        supplemental_groups_policy: groups_policy(pod).into(),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: paths(&[&MASKED_PATHS[..], &MASKED_SYS_PATHS[..]].concat()),
        readonly_paths: paths(&READONLY_PATHS),
        seccomp: if privileged { None } else { Some(seccomp(own.seccomp_profile.as_ref().or(pods.seccomp_profile.as_ref()), profiles)?) },
        apparmor,
        ..Default::default()
    })
}

fn check_non_root(pod: &Pod, container: &Container, user: Option<i64>, image: &ImageUser) -> Result<(), Error> {
    let (pod, container) = (pod::describe(pod), container.name.clone());
    match user {
        Some(0) => Err(Error::UserIsRoot { pod, container }),
        Some(_) => Ok(()),
        None if image.uid.is_none() && !image.name.is_empty() => Err(Error::UserUnknown { user: image.name.clone(), pod, container }),
        None if image.uid.unwrap_or_default() == 0 => Err(Error::ImageIsRoot { pod, container }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn made(pods: Value, own: Value, image: ImageUser) -> Result<v1::LinuxContainerSecurityContext, Error> {
        let pod = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"},
            "spec": {"securityContext": pods, "containers": [{"name": "c", "securityContext": own}]}});
        let pod: Pod = serde_json::from_value(pod).expect("a pod");
        container_context(&pod, &pod::containers(&pod)[0], &image, None, Path::new("/seccomp"))
    }

    fn uid(uid: i64) -> ImageUser {
        ImageUser { uid: Some(uid), name: String::new() }
    }

    #[test]
    fn the_containers_user_wins_over_the_pods_over_the_images() {
        let check = |pods: Value, own: Value, expect: i64| {
            assert_eq!(made(pods, own, uid(7)).expect("a context").run_as_user.map(|user| user.value), Some(expect));
        };
        check(json!({}), json!({}), 7);
        check(json!({"runAsUser": 8}), json!({}), 8);
        check(json!({"runAsUser": 8}), json!({"runAsUser": 9}), 9);
        let named = ImageUser { uid: None, name: "www".to_owned() };
        assert_eq!(made(json!({}), json!({}), named).expect("a context").run_as_username, "www");
    }

    #[test]
    fn run_as_non_root_refuses_root_and_names_that_cannot_be_checked() {
        let non_root = || json!({"runAsNonRoot": true});
        assert!(matches!(made(non_root(), json!({}), uid(0)), Err(Error::ImageIsRoot { .. })));
        assert!(matches!(made(non_root(), json!({}), ImageUser::default()), Err(Error::ImageIsRoot { .. })));
        assert!(matches!(made(non_root(), json!({"runAsUser": 0}), uid(7)), Err(Error::UserIsRoot { .. })));
        let named = ImageUser { uid: None, name: "www".to_owned() };
        assert!(matches!(made(non_root(), json!({}), named), Err(Error::UserUnknown { .. })));
        assert!(made(non_root(), json!({}), uid(7)).is_ok());
        assert!(made(non_root(), json!({"runAsNonRoot": false}), uid(0)).is_ok());
    }

    #[test]
    fn flags_and_profiles_pass_through() {
        let own = json!({"privileged": false, "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
            "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]}, "seccompProfile": {"type": "Localhost", "localhostProfile": "x.json"}});
        let context = made(json!({"fsGroup": 5, "supplementalGroups": [6]}), own, uid(7)).expect("a context");
        assert!(context.no_new_privs && context.readonly_rootfs && !context.privileged);
        assert_eq!(context.supplemental_groups, [5, 6]);
        assert_eq!(context.capabilities.expect("capabilities").drop_capabilities, ["ALL"]);
        assert_eq!(context.seccomp.expect("a profile").localhost_ref, "/seccomp/x.json");
        assert!(context.masked_paths.contains(&"/proc/kcore".to_owned()));
    }
}
