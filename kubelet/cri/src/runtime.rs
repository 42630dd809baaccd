//! What the kubelet asks of a container runtime.

use crate::{Error, v1};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use std::collections::BTreeMap;
use std::time::Duration;

/// A call in flight. Dropping it gives up waiting; the runtime may still finish it.
pub type Call<'a, T> = BoxFuture<'a, Result<T, Error>>;

/// Lifecycle events as they happen; ends with an error when the runtime goes away.
pub type EventStream = BoxStream<'static, Result<v1::ContainerEventResponse, Error>>;

/// The calls of RuntimeService and ImageService that the kubelet makes. Implementations are used as `Arc<dyn Runtime>`: a call
/// goes to another process, so the boxed future costs nothing that matters.
///
/// `stop_*` and `remove_*` of what does not exist succeed, as the interface demands.
pub trait Runtime: Send + Sync + 'static {
    fn version(&self) -> Call<'_, v1::VersionResponse>;
    fn status(&self) -> Call<'_, v1::StatusResponse>;
    fn update_pod_cidr(&self, pod_cidr: String) -> Call<'_, ()>;

    /// Returns the sandbox's id.
    fn run_pod_sandbox(&self, config: v1::PodSandboxConfig, handler: String) -> Call<'_, String>;
    fn stop_pod_sandbox(&self, id: String) -> Call<'_, ()>;
    fn remove_pod_sandbox(&self, id: String) -> Call<'_, ()>;
    fn pod_sandbox_status(&self, id: String) -> Call<'_, v1::PodSandboxStatus>;
    /// The sandboxes whose labels have all of `labels`.
    fn list_pod_sandboxes(&self, labels: BTreeMap<String, String>) -> Call<'_, Vec<v1::PodSandbox>>;

    /// Returns the container's id.
    fn create_container(&self, sandbox: String, config: v1::ContainerConfig, sandbox_config: v1::PodSandboxConfig) -> Call<'_, String>;
    fn start_container(&self, id: String) -> Call<'_, ()>;
    /// Asks the container to end, and kills it when `grace` is over. Returns once it has ended.
    fn stop_container(&self, id: String, grace: Duration) -> Call<'_, ()>;
    fn remove_container(&self, id: String) -> Call<'_, ()>;
    fn container_status(&self, id: String) -> Call<'_, v1::ContainerStatus>;
    /// The containers whose labels have all of `labels`.
    fn list_containers(&self, labels: BTreeMap<String, String>) -> Call<'_, Vec<v1::Container>>;
    fn update_container_resources(&self, id: String, resources: v1::LinuxContainerResources) -> Call<'_, ()>;
    fn reopen_container_log(&self, id: String) -> Call<'_, ()>;

    /// Runs a command to its end. A zero `timeout` means none.
    fn exec_sync(&self, container: String, command: Vec<String>, timeout: Duration) -> Call<'_, v1::ExecSyncResponse>;
    /// These three return the URL of the runtime's streaming server.
    fn exec(&self, request: v1::ExecRequest) -> Call<'_, String>;
    fn attach(&self, request: v1::AttachRequest) -> Call<'_, String>;
    fn port_forward(&self, request: v1::PortForwardRequest) -> Call<'_, String>;

    fn list_container_stats(&self, labels: BTreeMap<String, String>) -> Call<'_, Vec<v1::ContainerStats>>;
    /// Fails with [`crate::Kind::Unimplemented`] where the runtime is older than the call.
    fn events(&self) -> Call<'_, EventStream>;

    fn list_images(&self) -> Call<'_, Vec<v1::Image>>;
    /// `None` when the image is not there.
    fn image_status(&self, image: v1::ImageSpec) -> Call<'_, Option<v1::Image>>;
    /// Returns the reference by which the image is known from now on.
    fn pull_image(&self, image: v1::ImageSpec, auth: Option<v1::AuthConfig>, sandbox_config: v1::PodSandboxConfig) -> Call<'_, String>;
    fn remove_image(&self, image: v1::ImageSpec) -> Call<'_, ()>;
    fn image_fs_info(&self) -> Call<'_, v1::ImageFsInfoResponse>;
}
