//! A runtime in memory, for tests: it has the interface's rules (ids, states, what may be removed when) and does what it is scripted to.
//!
//! It runs nothing and writes no logs. Time is what the `now` given to it says, so it follows a paused clock.

use crate::{Call, Error, EventStream, Runtime, v1};
use futures::FutureExt;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// What the process of a container does once started. The last word of the command line, or the image when there is no command, picks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// Runs until it is asked to stop, then ends with this code.
    Serve { code: i32 },
    /// Runs until it is killed: ignores being asked.
    Stubborn,
    /// Ends by itself.
    Exit { code: i32, after: Duration },
    /// Cannot be started.
    Broken { message: String },
}

/// What an exec of a command gives.
type ExecScript = Box<dyn Fn(&str, &[String]) -> Result<v1::ExecSyncResponse, Error> + Send + Sync>;

#[derive(Default)]
struct State {
    serial: u64,
    sandboxes: BTreeMap<String, v1::PodSandboxStatus>,
    containers: BTreeMap<String, Container>,
    images: BTreeMap<String, v1::Image>,
    registry: BTreeSet<String>,
    programs: BTreeMap<String, Program>,
    failures: BTreeMap<&'static str, VecDeque<Error>>,
    calls: Vec<String>,
}

struct Container {
    sandbox: String,
    program: Program,
    /// When it ends by itself, in nanoseconds since 1970.
    ends: Option<i64>,
    config: v1::ContainerConfig,
    status: v1::ContainerStatus,
}

/// Cheap to clone; clones share one runtime.
#[derive(Clone)]
pub struct Fake {
    state: Arc<Mutex<State>>,
    exec: Arc<Mutex<ExecScript>>,
    now: Arc<dyn Fn() -> i64 + Send + Sync>,
}

impl Fake {
    /// `now` gives nanoseconds since 1970.
    pub fn new(now: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        let exec: ExecScript = Box::new(|_, _| Ok(v1::ExecSyncResponse::default()));
        Self { state: Arc::default(), exec: Arc::new(Mutex::new(exec)), now: Arc::new(now) }
    }

    /// An image that is there from the start.
    pub fn add_image(&self, name: &str) {
        let mut state = self.lock();
        let image = make_image(name);
        state.images.insert(name.to_owned(), image);
    }

    /// An image that a pull finds.
    pub fn publish_image(&self, name: &str) {
        self.lock().registry.insert(name.to_owned());
    }

    /// From now on containers whose command line ends in `key` (or whose image is `key`) behave so.
    pub fn program(&self, key: &str, program: Program) {
        self.lock().programs.insert(key.to_owned(), program);
    }

    /// The next call of that name fails.
    pub fn fail_next(&self, call: &'static str, error: Error) {
        self.lock().failures.entry(call).or_default().push_back(error);
    }

    /// What execs give from now on: the container's name and the command come in.
    pub fn on_exec(&self, script: impl Fn(&str, &[String]) -> Result<v1::ExecSyncResponse, Error> + Send + Sync + 'static) {
        *self.exec.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Box::new(script);
    }

    /// The calls that changed something, in order: `StartContainer web`.
    pub fn calls(&self) -> Vec<String> {
        self.lock().calls.clone()
    }

    /// The process of the running container of that name ends now.
    pub fn crash(&self, container: &str, code: i32) {
        let now = (self.now)();
        let mut state = self.lock();
        for held in state.containers.values_mut().filter(|held| named(&held.config, container)) {
            if held.status.state() == v1::ContainerState::ContainerRunning {
                end(&mut held.status, now, code, "");
            }
        }
    }

    /// The sandbox of a Pod is lost, as after a reboot.
    pub fn lose_sandbox(&self, pod: &str) {
        for sandbox in self.lock().sandboxes.values_mut() {
            if sandbox.metadata.as_ref().is_some_and(|metadata| metadata.name == pod) {
                sandbox.set_state(v1::PodSandboxState::SandboxNotready);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let now = (self.now)();
        for held in state.containers.values_mut() {
            if let (v1::ContainerState::ContainerRunning, Some(ends), Program::Exit { code, .. }) = (held.status.state(), held.ends, &held.program)
                && ends <= now
            {
                end(&mut held.status, ends, *code, "");
            }
        }
        state
    }

    fn answer<T: Send + 'static>(
        &self,
        call: &'static str,
        subject: impl FnOnce(&State) -> Option<String>,
        act: impl FnOnce(&mut State, i64) -> Result<T, Error>,
    ) -> Call<'static, T> {
        let now = (self.now)();
        let mut state = self.lock();
        if let Some(subject) = subject(&state) {
            state.calls.push(format!("{call} {subject}"));
        }
        let result = match state.failures.get_mut(call).and_then(VecDeque::pop_front) {
            Some(error) => Err(error),
            None => act(&mut state, now),
        };
        drop(state);
        // A yield, so that whoever awaits sees calls as taking time.
        async move {
            tokio::task::yield_now().await;
            result
        }
        .boxed()
    }
}

fn named(config: &v1::ContainerConfig, name: &str) -> bool {
    config.metadata.as_ref().is_some_and(|metadata| metadata.name == name)
}

fn name_of(state: &State, container: &str) -> Option<String> {
    state.containers.get(container).and_then(|held| held.config.metadata.as_ref()).map(|metadata| metadata.name.clone())
}

fn pod_of(state: &State, sandbox: &str) -> Option<String> {
    state.sandboxes.get(sandbox).and_then(|held| held.metadata.as_ref()).map(|metadata| metadata.name.clone())
}

fn not_found(call: &'static str, what: &str, id: &str) -> Error {
    Error::of(call, &tonic::Status::not_found(format!("an error occurred when try to find {what} {id:?}: not found")))
}

fn end(status: &mut v1::ContainerStatus, at: i64, code: i32, reason: &str) {
    status.set_state(v1::ContainerState::ContainerExited);
    status.finished_at = at;
    status.exit_code = code;
    status.reason = match (reason, code) {
        ("", 0) => "Completed".to_owned(),
        ("", _) => "Error".to_owned(),
        (reason, _) => reason.to_owned(),
    };
}

fn make_image(name: &str) -> v1::Image {
    let repository = name.split(':').next().unwrap_or(name);
    v1::Image {
        id: format!("sha256:{name}"),
        repo_tags: vec![name.to_owned()],
        repo_digests: vec![format!("{repository}@sha256:{name}")],
        size: 1 << 20,
        ..Default::default()
    }
}

fn matches(labels: &BTreeMap<String, String>, selector: &BTreeMap<String, String>) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

impl State {
    fn id(&mut self, prefix: &str) -> String {
        self.serial += 1;
        format!("{prefix}{:060x}", self.serial)
    }

    fn start(&mut self, id: &str, now: i64) -> Result<(), Error> {
        let held = self.containers.get_mut(id).ok_or_else(|| not_found("StartContainer", "container", id))?;
        if held.status.state() != v1::ContainerState::ContainerCreated {
            return Err(Error::of("StartContainer", &tonic::Status::unknown("container is not in created state")));
        }
        held.status.started_at = now;
        match &held.program {
            Program::Broken { message } => {
                let message = message.clone();
                end(&mut held.status, now, 128, "StartError");
                held.status.message.clone_from(&message);
                return Err(Error::of("StartContainer", &tonic::Status::unknown(message)));
            }
            Program::Exit { after, .. } => {
                held.ends = Some(now.saturating_add(i64::try_from(after.as_nanos()).unwrap_or(i64::MAX)));
            }
            Program::Serve { .. } | Program::Stubborn => {}
        }
        held.status.set_state(v1::ContainerState::ContainerRunning);
        Ok(())
    }

    fn stop(&mut self, id: &str, now: i64) {
        let Some(held) = self.containers.get_mut(id) else { return };
        if held.status.state() == v1::ContainerState::ContainerRunning {
            let code = match held.program {
                Program::Serve { code } | Program::Exit { code, .. } => code,
                Program::Stubborn | Program::Broken { .. } => 137,
            };
            end(&mut held.status, now, code, "");
        }
    }
}

impl Runtime for Fake {
    fn version(&self) -> Call<'_, v1::VersionResponse> {
        self.answer(
            "Version",
            |_| None,
            |_, _| {
                Ok(v1::VersionResponse {
                    version: "0.1.0".to_owned(),
                    runtime_name: "fake".to_owned(),
                    runtime_version: "1.0".to_owned(),
                    runtime_api_version: "v1".to_owned(),
                })
            },
        )
    }

    fn status(&self) -> Call<'_, v1::StatusResponse> {
        self.answer(
            "Status",
            |_| None,
            |_, _| {
                let conditions =
                    ["RuntimeReady", "NetworkReady"].map(|name| v1::RuntimeCondition { r#type: name.to_owned(), status: true, ..Default::default() });
                Ok(v1::StatusResponse { status: Some(v1::RuntimeStatus { conditions: conditions.into() }), ..Default::default() })
            },
        )
    }

    fn update_pod_cidr(&self, _: String) -> Call<'_, ()> {
        self.answer("UpdateRuntimeConfig", |_| None, |_, _| Ok(()))
    }

    fn run_pod_sandbox(&self, config: v1::PodSandboxConfig, handler: String) -> Call<'_, String> {
        let pod = config.metadata.as_ref().map(|metadata| metadata.name.clone());
        self.answer(
            "RunPodSandbox",
            |_| pod,
            |state, now| {
                let taken = state.sandboxes.values().any(|held| held.metadata == config.metadata);
                if taken {
                    return Err(Error::of("RunPodSandbox", &tonic::Status::unknown("failed to reserve sandbox name: name is reserved")));
                }
                let id = state.id("5");
                let serial = state.serial;
                let host_network = config
                    .linux
                    .as_ref()
                    .and_then(|linux| linux.security_context.as_ref()?.namespace_options.as_ref())
                    .is_some_and(|options| options.network() == v1::NamespaceMode::Node);
                let ip = if host_network { String::new() } else { format!("10.244.{}.{}", serial / 250 % 250, serial % 250 + 2) };
                let status = v1::PodSandboxStatus {
                    id: id.clone(),
                    metadata: config.metadata,
                    state: v1::PodSandboxState::SandboxReady.into(),
                    created_at: now,
                    network: Some(v1::PodSandboxNetworkStatus { ip, additional_ips: Vec::new() }),
                    labels: config.labels,
                    annotations: config.annotations,
                    runtime_handler: handler,
                    ..Default::default()
                };
                state.sandboxes.insert(id.clone(), status);
                Ok(id)
            },
        )
    }

    fn stop_pod_sandbox(&self, id: String) -> Call<'_, ()> {
        self.answer(
            "StopPodSandbox",
            |state| pod_of(state, &id),
            |state, now| {
                if let Some(sandbox) = state.sandboxes.get_mut(&id) {
                    sandbox.set_state(v1::PodSandboxState::SandboxNotready);
                }
                let inside: Vec<String> = state.containers.iter().filter(|(_, held)| held.sandbox == id).map(|(id, _)| id.clone()).collect();
                inside.iter().for_each(|container| state.stop(container, now));
                Ok(())
            },
        )
    }

    fn remove_pod_sandbox(&self, id: String) -> Call<'_, ()> {
        self.answer(
            "RemovePodSandbox",
            |state| pod_of(state, &id),
            |state, _| {
                if state.sandboxes.get(&id).is_some_and(|held| held.state() == v1::PodSandboxState::SandboxReady) {
                    return Err(Error::of("RemovePodSandbox", &tonic::Status::unknown("sandbox is not fully stopped")));
                }
                state.sandboxes.remove(&id);
                state.containers.retain(|_, held| held.sandbox != id);
                Ok(())
            },
        )
    }

    fn pod_sandbox_status(&self, id: String) -> Call<'_, v1::PodSandboxStatus> {
        self.answer(
            "PodSandboxStatus",
            |_| None,
            |state, _| state.sandboxes.get(&id).cloned().ok_or_else(|| not_found("PodSandboxStatus", "sandbox", &id)),
        )
    }

    fn list_pod_sandboxes(&self, labels: BTreeMap<String, String>) -> Call<'_, Vec<v1::PodSandbox>> {
        self.answer(
            "ListPodSandbox",
            |_| None,
            |state, _| {
                let found = state.sandboxes.values().filter(|held| matches(&held.labels, &labels));
                Ok(found
                    .map(|held| v1::PodSandbox {
                        id: held.id.clone(),
                        metadata: held.metadata.clone(),
                        state: held.state,
                        created_at: held.created_at,
                        labels: held.labels.clone(),
                        annotations: held.annotations.clone(),
                        runtime_handler: held.runtime_handler.clone(),
                    })
                    .collect())
            },
        )
    }

    fn create_container(&self, sandbox: String, config: v1::ContainerConfig, _: v1::PodSandboxConfig) -> Call<'_, String> {
        let name = config.metadata.as_ref().map(|metadata| metadata.name.clone());
        self.answer(
            "CreateContainer",
            |_| name,
            |state, now| {
                if state.sandboxes.get(&sandbox).is_none_or(|held| held.state() != v1::PodSandboxState::SandboxReady) {
                    return Err(not_found("CreateContainer", "sandbox", &sandbox));
                }
                let image = config.image.clone().unwrap_or_default();
                let held_image = state.images.values().find(|held| held.id == image.image || held.repo_tags.contains(&image.image));
                let Some(held_image) = held_image.cloned() else { return Err(not_found("CreateContainer", "image", &image.image)) };
                let id = state.id("c");
                let words = config.command.iter().chain(&config.args);
                let program = words
                    .last()
                    .and_then(|word| state.programs.get(word))
                    .or_else(|| held_image.repo_tags.first().and_then(|tag| state.programs.get(tag)));
                let status = v1::ContainerStatus {
                    id: id.clone(),
                    metadata: config.metadata.clone(),
                    state: v1::ContainerState::ContainerCreated.into(),
                    created_at: now,
                    image: Some(v1::ImageSpec { image: held_image.repo_tags.first().cloned().unwrap_or_default(), ..Default::default() }),
                    image_ref: held_image.repo_digests.first().cloned().unwrap_or_default(),
                    labels: config.labels.clone(),
                    annotations: config.annotations.clone(),
                    mounts: config.mounts.clone(),
                    log_path: config.log_path.clone(),
                    ..Default::default()
                };
                let program = program.cloned().unwrap_or(Program::Serve { code: 0 });
                state.containers.insert(id.clone(), Container { sandbox, program, ends: None, config, status });
                Ok(id)
            },
        )
    }

    fn start_container(&self, id: String) -> Call<'_, ()> {
        self.answer("StartContainer", |state| name_of(state, &id), |state, now| state.start(&id, now))
    }

    fn stop_container(&self, id: String, grace: Duration) -> Call<'_, ()> {
        let stubborn = self
            .lock()
            .containers
            .get(&id)
            .is_some_and(|held| held.program == Program::Stubborn && held.status.state() == v1::ContainerState::ContainerRunning);
        let this = self.clone();
        async move {
            if stubborn {
                tokio::time::sleep(grace).await;
            }
            this.answer(
                "StopContainer",
                |state| name_of(state, &id),
                |state, now| {
                    state.stop(&id, now);
                    Ok(())
                },
            )
            .await
        }
        .boxed()
    }

    fn remove_container(&self, id: String) -> Call<'_, ()> {
        self.answer(
            "RemoveContainer",
            |state| name_of(state, &id),
            |state, _| {
                state.containers.remove(&id);
                Ok(())
            },
        )
    }

    fn container_status(&self, id: String) -> Call<'_, v1::ContainerStatus> {
        self.answer(
            "ContainerStatus",
            |_| None,
            |state, _| {
                let held = state.containers.get(&id);
                held.map(|held| held.status.clone()).ok_or_else(|| not_found("ContainerStatus", "container", &id))
            },
        )
    }

    fn list_containers(&self, labels: BTreeMap<String, String>) -> Call<'_, Vec<v1::Container>> {
        self.answer(
            "ListContainers",
            |_| None,
            |state, _| {
                let found = state.containers.values().filter(|held| matches(&held.config.labels, &labels));
                Ok(found
                    .map(|held| v1::Container {
                        id: held.status.id.clone(),
                        pod_sandbox_id: held.sandbox.clone(),
                        metadata: held.config.metadata.clone(),
                        image: held.config.image.clone(),
                        image_ref: held.status.image_ref.clone(),
                        state: held.status.state,
                        created_at: held.status.created_at,
                        labels: held.config.labels.clone(),
                        annotations: held.config.annotations.clone(),
                        ..Default::default()
                    })
                    .collect())
            },
        )
    }

    fn update_container_resources(&self, id: String, resources: v1::LinuxContainerResources) -> Call<'_, ()> {
        self.answer(
            "UpdateContainerResources",
            |state| name_of(state, &id),
            |state, _| {
                let held = state.containers.get_mut(&id).ok_or_else(|| not_found("UpdateContainerResources", "container", &id))?;
                held.status.resources = Some(v1::ContainerResources { linux: Some(resources) });
                Ok(())
            },
        )
    }

    fn reopen_container_log(&self, id: String) -> Call<'_, ()> {
        self.answer("ReopenContainerLog", |state| name_of(state, &id), |_, _| Ok(()))
    }

    fn exec_sync(&self, container: String, command: Vec<String>, _: Duration) -> Call<'_, v1::ExecSyncResponse> {
        let name = name_of(&self.lock(), &container);
        self.answer(
            "ExecSync",
            |_| None,
            move |state, _| {
                let held = state.containers.get(&container).ok_or_else(|| not_found("ExecSync", "container", &container))?;
                if held.status.state() != v1::ContainerState::ContainerRunning {
                    return Err(Error::of("ExecSync", &tonic::Status::unknown("container is in CONTAINER_EXITED state")));
                }
                let script = self.exec.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                script(name.as_deref().unwrap_or_default(), &command)
            },
        )
    }

    fn exec(&self, request: v1::ExecRequest) -> Call<'_, String> {
        self.answer("Exec", |_| None, |_, _| Ok(format!("http://127.0.0.1:1/exec/{}", request.container_id)))
    }

    fn attach(&self, request: v1::AttachRequest) -> Call<'_, String> {
        self.answer("Attach", |_| None, |_, _| Ok(format!("http://127.0.0.1:1/attach/{}", request.container_id)))
    }

    fn port_forward(&self, request: v1::PortForwardRequest) -> Call<'_, String> {
        self.answer("PortForward", |_| None, |_, _| Ok(format!("http://127.0.0.1:1/portforward/{}", request.pod_sandbox_id)))
    }

    fn list_container_stats(&self, _: BTreeMap<String, String>) -> Call<'_, Vec<v1::ContainerStats>> {
        self.answer("ListContainerStats", |_| None, |_, _| Ok(Vec::new()))
    }

    fn events(&self) -> Call<'_, EventStream> {
        self.answer(
            "GetContainerEvents",
            |_| None,
            |_, _| Err(Error::of("GetContainerEvents", &tonic::Status::unimplemented("unknown method GetContainerEvents"))),
        )
    }

    fn list_images(&self) -> Call<'_, Vec<v1::Image>> {
        self.answer("ListImages", |_| None, |state, _| Ok(state.images.values().cloned().collect()))
    }

    fn image_status(&self, image: v1::ImageSpec) -> Call<'_, Option<v1::Image>> {
        self.answer(
            "ImageStatus",
            |_| None,
            |state, _| Ok(state.images.values().find(|held| held.id == image.image || held.repo_tags.contains(&image.image)).cloned()),
        )
    }

    fn pull_image(&self, image: v1::ImageSpec, _: Option<v1::AuthConfig>, _: v1::PodSandboxConfig) -> Call<'_, String> {
        self.answer(
            "PullImage",
            |_| Some(image.image.clone()),
            |state, _| {
                if !state.registry.contains(&image.image) {
                    let message = format!("failed to pull and unpack image {:?}: not found", image.image);
                    return Err(Error::of("PullImage", &tonic::Status::not_found(message)));
                }
                let made = make_image(&image.image);
                let id = made.id.clone();
                state.images.insert(image.image.clone(), made);
                Ok(id)
            },
        )
    }

    fn remove_image(&self, image: v1::ImageSpec) -> Call<'_, ()> {
        self.answer(
            "RemoveImage",
            |_| Some(image.image.clone()),
            |state, _| {
                state.images.retain(|_, held| held.id != image.image && !held.repo_tags.contains(&image.image));
                Ok(())
            },
        )
    }

    fn image_fs_info(&self) -> Call<'_, v1::ImageFsInfoResponse> {
        self.answer("ImageFsInfo", |_| None, |_, _| Ok(v1::ImageFsInfoResponse::default()))
    }
}
