//! Effects on the runtime and the disk: what a Pod task carries out for a step. Each is one async function that may be dropped at any
//! await, and may be run again: whatever it left half done shows in the next observation.

mod hook;

use crate::container;
use crate::env;
use crate::image;
use crate::pod;
use crate::pod_worker::Kill;
use crate::sandbox;
use crate::shared::{Shared, now};
use crate::status::Waiting;
use crate::view::RuntimeView;
use crate::volume::{self, Mounted, MountedVolumes, payload};
use apiserver_client::EventType;
use apiserver_placement::Amount;
use apiserver_placement::resources::MEMORY;
use k8s_openapi::api::core::v1::{Container, Pod, VolumeMount};
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::Api;
use kubelet_cri::v1;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A container that is told to end gets at least this before it is killed.
const STOP_GRACE_MIN: Duration = Duration::from_secs(2);
const NODE_HOSTS: &str = "/etc/hosts";
const HOSTS_BYTES_MAX: u64 = 1 << 20;

/// Why an effect failed, as a container's status shows it, and when to try again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub waiting: Waiting,
    /// `None`: after the usual while.
    pub until: Option<Timestamp>,
}

impl Fault {
    pub fn new(reason: &str, message: impl Into<String>) -> Self {
        Self { waiting: Waiting { reason: reason.to_owned(), message: message.into() }, until: None }
    }

    pub fn until(mut self, until: Timestamp) -> Self {
        self.until = Some(until);
        self
    }
}

/// `1m20s`, `1.5s`, as Go prints durations of at least a second.
pub fn go_duration(duration: SignedDuration) -> String {
    let (seconds, millis) = (duration.as_secs(), duration.subsec_millis());
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let fraction = if millis == 0 { String::new() } else { format!(".{millis:03}").trim_end_matches('0').to_owned() };
    match (hours, minutes) {
        (0, 0) => format!("{seconds}{fraction}s"),
        (0, minutes) => format!("{minutes}m{seconds}{fraction}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}{fraction}s"),
    }
}

/// Runs what blocks on the file system off the async threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Fault::new("InternalError", error.to_string()))
}

/// Makes the Pod's folders and cgroup, and mounts its volumes.
pub async fn prepare(shared: &Arc<Shared>, pod: &Arc<Pod>) -> Result<MountedVolumes, Fault> {
    let (this, the_pod) = (shared.clone(), pod.clone());
    let made = blocking(move || {
        let folder = volume::pod_folder(&this.config.root_dir, pod::uid(&the_pod));
        let logs = sandbox::log_folder(&this.config.pod_logs_dir, &the_pod);
        for folder in [folder.join("volumes"), folder.join("containers"), logs] {
            std::fs::create_dir_all(&folder).map_err(|error| format!("error making pod data directories: {}: {error}", folder.display()))?;
        }
        this.cgroups.create_pod(&the_pod).map_err(|error| format!("failed to create pod cgroup: {}", with_causes(&error)))
    });
    if let Err(message) = made.await? {
        shared.event(pod, EventType::Warning, "FailedCreatePodContainer", message.clone());
        return Err(Fault::new("ContainerCreating", message));
    }
    match mount_volumes(shared, pod, &[]).await {
        Ok(mounted) => Ok(mounted),
        Err(fault) => {
            shared.event(pod, EventType::Warning, "FailedMount", fault.waiting.message.clone());
            Err(fault)
        }
    }
}

/// Makes the volumes, or brings them up to date.
pub async fn mount_volumes(shared: &Arc<Shared>, pod: &Arc<Pod>, pod_ips: &[String]) -> Result<MountedVolumes, Fault> {
    let failed = |message: String| Fault::new("ContainerCreating", message);
    let (uid, namespace) = (pod::uid(pod), pod::namespace(pod));
    let needs = payload::needs(pod);
    let mut sources = payload::Sources { place: shared.place(pod, pod_ips), ..Default::default() };
    for name in needs.config_maps {
        if let Some(object) = shared.objects.config_map(uid, namespace, &name).await.map_err(|error| failed(error.to_string()))? {
            sources.config_maps.insert(name, object);
        }
    }
    for name in needs.secrets {
        if let Some(object) = shared.objects.secret(uid, namespace, &name).await.map_err(|error| failed(error.to_string()))? {
            sources.secrets.insert(name, object);
        }
    }
    for wanted in needs.tokens {
        let token = shared.tokens.get(pod, &wanted, now()).await.map_err(|error| failed(error.to_string()))?;
        sources.tokens.insert(wanted, token);
    }
    let (this, the_pod) = (shared.clone(), pod.clone());
    let mounted = blocking(move || volume::set_up(&this.config.root_dir, &the_pod, &sources)).await?;
    mounted.map_err(|error| failed(error.to_string()))
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(&format!(": {source}"));
        cause = source.source();
    }
    text
}

fn sandbox_config(shared: &Shared, pod: &Pod, attempt: u32) -> v1::PodSandboxConfig {
    let around =
        sandbox::Surroundings { logs: &shared.config.pod_logs_dir, cgroup_parent: shared.cgroups.pod_path(pod), resolvers: &shared.resolvers };
    sandbox::config(pod, attempt, &around)
}

pub async fn run_sandbox(shared: &Shared, pod: &Pod, attempt: u32, stop: Vec<String>) -> Result<(), Fault> {
    let failed = |error: kubelet_cri::Error| {
        let message = format!("Failed to create pod sandbox: {error}");
        shared.event(pod, EventType::Warning, "FailedCreatePodSandBox", message.clone());
        Fault::new("ContainerCreating", message)
    };
    if !stop.is_empty() {
        shared.event(pod, EventType::Normal, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.");
    }
    for id in stop {
        shared.runtime.stop_pod_sandbox(id).await.map_err(failed)?;
    }
    let handler = runtime_handler(shared, pod).await?;
    let config = sandbox_config(shared, pod, attempt);
    shared.runtime.run_pod_sandbox(config, handler).await.map(drop).map_err(failed)
}

/// What the Pod's RuntimeClass calls the runtime's handler; empty for the usual one.
async fn runtime_handler(shared: &Shared, pod: &Pod) -> Result<String, Fault> {
    let Some(name) = pod::spec(pod).runtime_class_name.as_deref().filter(|name| !name.is_empty()) else { return Ok(String::new()) };
    let failed = |problem: String| {
        let message = format!("Failed to create pod sandbox: failed to get sandbox runtime: {problem}");
        shared.event(pod, EventType::Warning, "FailedCreatePodSandBox", message.clone());
        Fault::new("ContainerCreating", message)
    };
    let api: Api<RuntimeClass> = Api::all(shared.client.clone());
    match api.get_opt(name).await {
        Ok(Some(class)) => Ok(class.handler),
        Ok(None) => Err(failed(format!("RuntimeClass {name:?} not found"))),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// One container to start.
pub struct Start {
    pub name: String,
    pub attempt: u32,
    pub sandbox: String,
    /// The Pod as the runtime shows it.
    pub seen: RuntimeView,
    pub volumes: MountedVolumes,
}

/// Pulls, creates and starts a container, and calls its post-start hook.
pub async fn start(shared: &Arc<Shared>, pod: &Arc<Pod>, start: Start) -> Result<(), Fault> {
    let Some((_, spec)) = pod::find(pod, &start.name) else {
        return Err(Fault::new("CreateContainerConfigError", format!("container {:?} is not in the Pod", start.name)));
    };
    let event = |kind, reason: &str, message: String| shared.container_event(pod, &start.name, kind, reason, message);
    let refuse = |reason: &str, message: String| {
        event(EventType::Warning, "Failed", format!("Error: {message}"));
        Fault::new(reason, message)
    };
    let sandbox_attempt = start.seen.sandboxes.iter().find(|sandbox| sandbox.id == start.sandbox).map(|sandbox| sandbox.attempt);
    let sandbox = sandbox_config(shared, pod, sandbox_attempt.unwrap_or_default());
    let image = match image::ensure(shared, pod, &spec, &sandbox).await {
        Ok(image) => image,
        Err(fault) => {
            event(EventType::Warning, "Failed", format!("Error: {}", fault.waiting.reason));
            return Err(fault);
        }
    };
    let config = match container_config(shared, pod, &spec, &start, &image).await {
        Ok(config) => config,
        Err(message) => return Err(refuse("CreateContainerConfigError", message)),
    };
    let created = shared.runtime.create_container(start.sandbox.clone(), config, sandbox).await;
    let id = created.map_err(|error| refuse("CreateContainerError", error.message()))?;
    event(EventType::Normal, "Created", "Container created".to_owned());
    shared.runtime.start_container(id.clone()).await.map_err(|error| refuse("RunContainerError", error.message()))?;
    event(EventType::Normal, "Started", "Container started".to_owned());
    let post_start = spec.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_ref());
    if let Some(handler) = post_start
        && let Err(error) = hook::run(shared, pod, &spec, &id, handler).await
    {
        tracing::warn!(pod = pod::describe(pod), container = start.name, %error, "the post-start hook failed");
        // What the hook said may hold secrets, so the event does not.
        event(EventType::Warning, "FailedPostStartHook", "PostStartHook failed".to_owned());
        let deadline = now().saturating_add(SignedDuration::from_secs(pod::grace_seconds(pod))).unwrap_or(Timestamp::MAX);
        kill_with(shared, pod, &id, &start.name, deadline, "FailedPostStartHook").await?;
        return Err(Fault::new("PostStartHookError", error.to_string()));
    }
    Ok(())
}

async fn container_config(
    shared: &Arc<Shared>,
    pod: &Arc<Pod>,
    spec: &Container,
    start: &Start,
    image: &image::Present,
) -> Result<v1::ContainerConfig, String> {
    let pod_ips = start.seen.sandboxes.iter().find(|sandbox| sandbox.id == start.sandbox).map(|sandbox| sandbox.ips.clone());
    let pod_ips = pod_ips.unwrap_or_default();
    let variables = variables(shared, pod, spec, &pod_ips, &start.volumes).await?;
    let (this, the_pod, the_spec) = (shared.clone(), pod.clone(), spec.clone());
    let (volumes, attempt, expand_from) = (start.volumes.clone(), start.attempt, variables.clone());
    let mounts = blocking(move || mounts(&this, &the_pod, &the_spec, &volumes, attempt, &pod_ips, &expand_from)).await;
    let mounts = mounts.map_err(|fault| fault.waiting.message)??;
    let target = target(pod, spec, &start.seen)?;
    let inputs = container::Inputs {
        attempt: start.attempt,
        image_ref: &image.reference,
        image_user: &image.user,
        variables: &variables,
        mounts,
        target: target.as_deref(),
        seccomp_profiles: &shared.config.root_dir.join("seccomp"),
        memory_capacity: shared.capacity.get(MEMORY).copied().unwrap_or(Amount::ZERO),
    };
    container::config(pod, spec, inputs).map_err(|error| error.to_string())
}

/// The container whose processes an ephemeral one sees.
fn target(pod: &Pod, spec: &Container, seen: &RuntimeView) -> Result<Option<String>, String> {
    let ephemeral = pod::ephemeral_containers(pod).iter().find(|ephemeral| ephemeral.name == spec.name);
    let Some(name) = ephemeral.and_then(|ephemeral| ephemeral.target_container_name.as_deref()).filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    let running = seen.latest(name).filter(|container| container.running());
    running.map(|container| Some(container.id.clone())).ok_or_else(|| format!("unable to find target container {name}"))
}

async fn variables(
    shared: &Shared,
    pod: &Pod,
    spec: &Container,
    pod_ips: &[String],
    volumes: &MountedVolumes,
) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let mut sources = env::Sources { place: shared.place(pod, pod_ips), ..Default::default() };
    let (config_maps, secrets) = env::references(spec);
    for name in config_maps {
        let found = shared.objects.config_map(pod::uid(pod), pod::namespace(pod), name).await.map_err(|error| error.to_string())?;
        sources.config_maps.extend(found.map(|object| (name.to_owned(), object)));
    }
    for name in secrets {
        let found = shared.objects.secret(pod::uid(pod), pod::namespace(pod), name).await.map_err(|error| error.to_string())?;
        sources.secrets.extend(found.map(|object| (name.to_owned(), object)));
    }
    if !shared.services.is_synced() {
        return Err("services have not yet been read at least once, cannot construct envvars".to_owned());
    }
    sources.services = shared.services.list();
    let folder = |name: &str| volumes.get(name).map(|mounted| mounted.path.as_path());
    env::environment(pod, spec, &sources, &folder).map_err(|error| error.to_string())
}

/// The mounts of a container: its volumes, /etc/hosts, and the file for its last words.
fn mounts(
    shared: &Shared,
    pod: &Pod,
    spec: &Container,
    volumes: &MountedVolumes,
    attempt: u32,
    pod_ips: &[String],
    variables: &BTreeMap<String, Vec<u8>>,
) -> Result<Vec<v1::Mount>, String> {
    let mut mounts = Vec::new();
    for (index, mount) in spec.volume_mounts.iter().flatten().enumerate() {
        let missing = || format!("cannot find volume {:?} to mount into container {:?}", mount.name, spec.name);
        let volume = volumes.get(&mount.name).ok_or_else(missing)?;
        mounts.push(volume_mount(shared, pod, spec, index, mount, volume, variables)?);
    }
    let folder = volume::pod_folder(&shared.config.root_dir, pod::uid(pod));
    let covers = |path: &str| spec.volume_mounts.iter().flatten().any(|mount| mount.mount_path == path);
    if !covers(NODE_HOSTS) {
        let node_hosts = if pod::uses_host_network(pod) { read_text(Path::new(NODE_HOSTS)) } else { String::new() };
        let text = sandbox::hosts_file(pod, pod_ips, &shared.resolvers.cluster_domain, &node_hosts);
        let path = folder.join("etc-hosts");
        write_file(&path, text.as_bytes(), 0o644)?;
        mounts.push(plain_mount(NODE_HOSTS, &path));
    }
    let message_path = spec.termination_message_path.as_deref().unwrap_or(container::DEFAULT_MESSAGE_PATH);
    if !message_path.is_empty() && !covers(message_path) {
        let place = folder.join("containers").join(&spec.name);
        std::fs::create_dir_all(&place).map_err(|error| format!("{}: {error}", place.display()))?;
        let path = place.join(format!("termination-{attempt}"));
        // Whatever user the container runs as writes it.
        write_file(&path, b"", 0o666)?;
        mounts.push(plain_mount(message_path, &path));
    }
    let logs = sandbox::log_folder(&shared.config.pod_logs_dir, pod).join(&spec.name);
    std::fs::create_dir_all(&logs).map_err(|error| format!("{}: {error}", logs.display()))?;
    Ok(mounts)
}

fn plain_mount(container_path: &str, host_path: &Path) -> v1::Mount {
    v1::Mount { container_path: container_path.to_owned(), host_path: host_path.to_string_lossy().into_owned(), ..Default::default() }
}

fn read_text(path: &Path) -> String {
    use std::io::Read;
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(HOSTS_BYTES_MAX).read_to_string(&mut text));
    if read.is_err() {
        text.clear();
    }
    text
}

fn write_file(path: &Path, data: &[u8], mode: u32) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    std::fs::write(path, data).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(failed)
}

fn volume_mount(
    shared: &Shared,
    pod: &Pod,
    spec: &Container,
    index: usize,
    mount: &VolumeMount,
    volume: &Mounted,
    variables: &BTreeMap<String, Vec<u8>>,
) -> Result<v1::Mount, String> {
    let part = match mount.sub_path_expr.as_deref().filter(|text| !text.is_empty()) {
        Some(expression) => expand_strictly(expression, variables)?,
        None => mount.sub_path.clone().unwrap_or_default(),
    };
    let path = if part.is_empty() {
        volume.path.clone()
    } else {
        let root = &shared.config.root_dir;
        sub_path(root, pod, spec, index, mount, volume, &part)?
    };
    let propagation = match mount.mount_propagation.as_deref() {
        Some("HostToContainer") => v1::MountPropagation::PropagationHostToContainer,
        Some("Bidirectional") => v1::MountPropagation::PropagationBidirectional,
        _ => v1::MountPropagation::PropagationPrivate,
    };
    let container_path = if mount.mount_path.starts_with('/') { mount.mount_path.clone() } else { format!("/{}", mount.mount_path) };
    Ok(v1::Mount {
        container_path,
        host_path: path.to_string_lossy().into_owned(),
        readonly: volume.read_only || mount.read_only.unwrap_or_default(),
        propagation: propagation.into(),
        ..Default::default()
    })
}

fn sub_path(root: &Path, pod: &Pod, spec: &Container, index: usize, mount: &VolumeMount, volume: &Mounted, part: &str) -> Result<PathBuf, String> {
    if part.starts_with('/') {
        return Err(format!("error SubPath `{part}` must not be an absolute path"));
    }
    if part.split('/').any(|piece| piece == "..") {
        return Err(format!("unable to provision SubPath `{part}`: must not contain '..'"));
    }
    let place = volume::SubpathPlace { root, uid: pod::uid(pod), volume: &mount.name, container: &spec.name, index };
    volume::bind(&volume.path, part, &place).map_err(|error| error.to_string())
}

/// As commands are expanded, but what is not known is an error.
fn expand_strictly(text: &str, variables: &BTreeMap<String, Vec<u8>>) -> Result<String, String> {
    let missing = std::cell::RefCell::new(Vec::new());
    let expanded = env::expand(text, &|name: &str| {
        let found = variables.get(name).cloned();
        if found.is_none() {
            missing.borrow_mut().push(name.to_owned());
        }
        found
    });
    if missing.borrow().is_empty() {
        return Ok(String::from_utf8_lossy(&expanded).into_owned());
    }
    Err(format!("missing value for {:?}", missing.borrow().join(", ")))
}

/// Calls the pre-stop hook and ends the container by `deadline`.
pub async fn kill(shared: &Shared, pod: &Pod, id: &str, name: &str, deadline: Timestamp, why: Kill) -> Result<(), Fault> {
    let init = pod::init_containers(pod).iter().any(|container| container.name == name);
    let word = if init { "Init container" } else { "Container" };
    let policy = pod::find(pod, name).and_then(|(_, container)| container.restart_policy.clone());
    let restarts = policy.as_deref().unwrap_or_else(|| pod::restart_policy(pod)) != "Never";
    let tail = if restarts && !init { ", will be restarted" } else { "" };
    let message = match why {
        Kill::Pod | Kill::SandboxLost => format!("Stopping container {name}"),
        Kill::Changed => format!("{word} {name} definition changed{}", if init { "" } else { ", will be restarted" }),
        Kill::Liveness => format!("{word} {name} failed liveness probe{tail}"),
        Kill::Startup => format!("{word} {name} failed startup probe{tail}"),
        Kill::Unknown => format!("{word} is in \"unknown\" state, try killing it before restart"),
    };
    kill_with(shared, pod, id, name, deadline, &message).await
}

async fn kill_with(shared: &Shared, pod: &Pod, id: &str, name: &str, deadline: Timestamp, message: &str) -> Result<(), Fault> {
    shared.container_event(pod, name, EventType::Normal, "Killing", message);
    let spec = pod::find(pod, name).map(|(_, container)| container.into_owned());
    let pre_stop = spec.as_ref().and_then(|spec| spec.lifecycle.as_ref()).and_then(|lifecycle| lifecycle.pre_stop.as_ref());
    let left = |now: Timestamp| Duration::try_from(deadline.duration_since(now)).unwrap_or_default();
    if let (Some(spec), Some(handler)) = (&spec, pre_stop)
        && !left(now()).is_zero()
    {
        match tokio::time::timeout(left(now()), hook::run(shared, pod, spec, id, handler)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(pod = pod::describe(pod), container = name, %error, "the pre-stop hook failed");
                shared.container_event(pod, name, EventType::Warning, "FailedPreStopHook", "PreStopHook failed");
            }
            Err(_) => tracing::info!(pod = pod::describe(pod), container = name, "the pre-stop hook took the whole grace period"),
        }
    }
    let grace = left(now()).max(STOP_GRACE_MIN);
    shared.runtime.stop_container(id.to_owned(), grace).await.map_err(|error| {
        let message = format!("error killing pod: failed to \"KillContainer\" for {name:?}: {error}");
        shared.event(pod, EventType::Warning, "FailedKillPod", message.clone());
        Fault::new("KillContainerError", message)
    })
}

pub async fn stop_sandbox(shared: &Shared, pod: &Pod, id: String) -> Result<(), Fault> {
    shared.runtime.stop_pod_sandbox(id).await.map_err(|error| {
        let message = format!("error killing pod: failed to \"KillPodSandbox\": {error}");
        shared.event(pod, EventType::Warning, "FailedKillPod", message.clone());
        Fault::new("KillPodSandboxError", message)
    })
}

/// Unmounts the volumes and removes the cgroup.
pub async fn tear_down(shared: &Arc<Shared>, uid: &str) -> Result<(), Fault> {
    let (this, the_uid) = (shared.clone(), uid.to_owned());
    let torn = blocking(move || -> Result<(), String> {
        volume::tear_down(&this.config.root_dir, &the_uid).map_err(|error| error.to_string())?;
        this.cgroups.remove_pod(&the_uid).map_err(|error| with_causes(&error))
    });
    shared.objects.release(uid);
    shared.tokens.forget(uid);
    shared.images.forget(uid);
    torn.await?.map_err(|message| {
        tracing::warn!(uid, message, "a Pod could not be torn down yet");
        Fault::new("TearDownError", message)
    })
}

/// Removes what is left of a Pod: sandboxes with their containers, folders, logs.
pub async fn forget(shared: &Arc<Shared>, uid: &str, seen: &RuntimeView) -> Result<(), Fault> {
    let failed = |error: kubelet_cri::Error| Fault::new("RemoveError", error.to_string());
    for sandbox in &seen.sandboxes {
        shared.runtime.stop_pod_sandbox(sandbox.id.clone()).await.map_err(failed)?;
        shared.runtime.remove_pod_sandbox(sandbox.id.clone()).await.map_err(failed)?;
    }
    // Containers go with their sandbox; these have lost theirs.
    for container in seen.containers.iter().filter(|container| seen.sandboxes.iter().all(|sandbox| sandbox.id != container.sandbox)) {
        shared.runtime.remove_container(container.id.clone()).await.map_err(failed)?;
    }
    let (this, the_uid) = (shared.clone(), uid.to_owned());
    let removed = blocking(move || {
        remove_logs(&this.config.pod_logs_dir, &the_uid);
        volume::remove_pod_folder(&this.config.root_dir, &the_uid)
    });
    removed.await?.map_err(|error| Fault::new("RemoveError", error.to_string()))
}

/// A Pod's log folder ends in its uid.
fn remove_logs(logs: &Path, uid: &str) {
    let suffix = format!("_{uid}");
    for entry in std::fs::read_dir(logs).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().ends_with(&suffix)
            && let Err(error) = std::fs::remove_dir_all(entry.path())
        {
            tracing::warn!(path = %entry.path().display(), %error, "a log folder could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_go_prints_them() {
        let check = |seconds: i64, millis: i32, expect: &str| assert_eq!(go_duration(SignedDuration::new(seconds, millis * 1_000_000)), expect);
        check(10, 0, "10s");
        check(80, 0, "1m20s");
        check(300, 0, "5m0s");
        check(1, 500, "1.5s");
        check(3600, 0, "1h0m0s");
    }

    #[test]
    fn a_sub_path_expression_must_be_known_whole() {
        let variables = BTreeMap::from([("POD".to_owned(), b"p".to_vec())]);
        assert_eq!(expand_strictly("logs/$(POD)", &variables), Ok("logs/p".to_owned()));
        assert_eq!(expand_strictly("$(NONE)", &variables), Err("missing value for \"NONE\"".to_owned()));
    }
}
