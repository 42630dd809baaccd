//! The gRPC client. The connection is made on first use and made again after it was lost, so a runtime that restarts is found again.

use crate::v1::{self, image_service_client::ImageServiceClient, runtime_service_client::RuntimeServiceClient};
use crate::{Call, Error, EventStream, Runtime};
use futures::{FutureExt, StreamExt};
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

/// What upstream's kubelet calls `--runtime-request-timeout`.
const CALL_TIMEOUT: Duration = Duration::from_secs(120);
/// A pull may move gigabytes; this only bounds one that hangs for good.
const PULL_TIMEOUT: Duration = Duration::from_secs(3600);
/// How much longer than the time it was told a call may take before it is given up.
const CALL_MARGIN: Duration = Duration::from_secs(120);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A list of everything on a full node fits with room to spare; it is also the bound that runtimes use.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Speaks to the runtime behind a unix socket. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    runtime: RuntimeServiceClient<Channel>,
    image: ImageServiceClient<Channel>,
}

impl Client {
    /// `endpoint` is `unix:///path` or `/path`. Does not connect yet; must be called within a tokio runtime.
    pub fn new(endpoint: &str) -> Result<Self, Error> {
        let path = endpoint.strip_prefix("unix://").unwrap_or(endpoint);
        if !path.starts_with('/') {
            return Err(Error::Endpoint { endpoint: endpoint.to_owned() });
        }
        let path = PathBuf::from(path);
        // The URI is never resolved: the connector below dials the socket whatever it says.
        let channel = Endpoint::from_static("http://runtime.invalid").connect_timeout(CONNECT_TIMEOUT).connect_with_connector_lazy(
            tower::service_fn(move |_: Uri| {
                let path = path.clone();
                async move { UnixStream::connect(path).await.map(TokioIo::new) }
            }),
        );
        Ok(Self {
            runtime: RuntimeServiceClient::new(channel.clone())
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX),
            image: ImageServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX),
        })
    }
}

/// Bounds a call in time and names it in its error.
async fn call<T>(name: &'static str, timeout: Duration, work: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>) -> Result<T, Error> {
    match tokio::time::timeout(timeout, work).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(Error::of(name, &status)),
        Err(_) => Err(Error::of(name, &tonic::Status::deadline_exceeded("context deadline exceeded"))),
    }
}

/// Removal of what is not there is done already.
fn gone_is_fine(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(error) if error.is_not_found() => Ok(()),
        other => other,
    }
}

/// Whole seconds, rounded up: the interface counts in seconds and zero often means "none".
fn seconds(duration: Duration) -> i64 {
    let whole = duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0));
    i64::try_from(whole).unwrap_or(i64::MAX)
}

/// One call: `rpc!(self.runtime, method, request, "Name", timeout)`.
macro_rules! rpc {
    ($client:expr, $method:ident, $request:expr, $name:literal, $timeout:expr) => {{
        let mut client = $client.clone();
        async move { call($name, $timeout, client.$method($request)).await }
    }};
    ($client:expr, $method:ident, $request:expr, $name:literal) => {
        rpc!($client, $method, $request, $name, CALL_TIMEOUT)
    };
}

impl Runtime for Client {
    fn version(&self) -> Call<'_, v1::VersionResponse> {
        rpc!(self.runtime, version, v1::VersionRequest { version: "0.1.0".to_owned() }, "Version").boxed()
    }

    fn status(&self) -> Call<'_, v1::StatusResponse> {
        rpc!(self.runtime, status, v1::StatusRequest { verbose: false }, "Status").boxed()
    }

    fn update_pod_cidr(&self, pod_cidr: String) -> Call<'_, ()> {
        let runtime_config = Some(v1::RuntimeConfig { network_config: Some(v1::NetworkConfig { pod_cidr }) });
        let call = rpc!(self.runtime, update_runtime_config, v1::UpdateRuntimeConfigRequest { runtime_config }, "UpdateRuntimeConfig");
        call.map(|answer| answer.map(drop)).boxed()
    }

    fn run_pod_sandbox(&self, config: v1::PodSandboxConfig, handler: String) -> Call<'_, String> {
        let request = v1::RunPodSandboxRequest { config: Some(config), runtime_handler: handler };
        // Twice the usual time: networks may be slow to set up.
        rpc!(self.runtime, run_pod_sandbox, request, "RunPodSandbox", CALL_TIMEOUT * 2).map(|answer| answer.map(|r| r.pod_sandbox_id)).boxed()
    }

    fn stop_pod_sandbox(&self, id: String) -> Call<'_, ()> {
        let call = rpc!(self.runtime, stop_pod_sandbox, v1::StopPodSandboxRequest { pod_sandbox_id: id }, "StopPodSandbox");
        call.map(|answer| gone_is_fine(answer.map(drop))).boxed()
    }

    fn remove_pod_sandbox(&self, id: String) -> Call<'_, ()> {
        let call = rpc!(self.runtime, remove_pod_sandbox, v1::RemovePodSandboxRequest { pod_sandbox_id: id }, "RemovePodSandbox");
        call.map(|answer| gone_is_fine(answer.map(drop))).boxed()
    }

    fn pod_sandbox_status(&self, id: String) -> Call<'_, v1::PodSandboxStatus> {
        let request = v1::PodSandboxStatusRequest { pod_sandbox_id: id, verbose: false };
        let call = rpc!(self.runtime, pod_sandbox_status, request, "PodSandboxStatus");
        call.map(|answer| answer?.status.ok_or(Error::Incomplete { call: "PodSandboxStatus", field: "status" })).boxed()
    }

    fn list_pod_sandboxes(&self, labels: BTreeMap<String, String>) -> Call<'_, Vec<v1::PodSandbox>> {
        let filter = Some(v1::PodSandboxFilter { label_selector: labels, ..Default::default() });
        rpc!(self.runtime, list_pod_sandbox, v1::ListPodSandboxRequest { filter }, "ListPodSandbox").map(|answer| answer.map(|r| r.items)).boxed()
    }

    fn create_container(&self, sandbox: String, config: v1::ContainerConfig, sandbox_config: v1::PodSandboxConfig) -> Call<'_, String> {
        let request = v1::CreateContainerRequest { pod_sandbox_id: sandbox, config: Some(config), sandbox_config: Some(sandbox_config) };
        rpc!(self.runtime, create_container, request, "CreateContainer").map(|answer| answer.map(|r| r.container_id)).boxed()
    }

    fn start_container(&self, id: String) -> Call<'_, ()> {
        let call = rpc!(self.runtime, start_container, v1::StartContainerRequest { container_id: id }, "StartContainer");
        call.map(|answer| answer.map(drop)).boxed()
    }

    fn stop_container(&self, id: String, grace: Duration) -> Call<'_, ()> {
        let request = v1::StopContainerRequest { container_id: id, timeout: seconds(grace) };
        let call = rpc!(self.runtime, stop_container, request, "StopContainer", grace.saturating_add(CALL_MARGIN));
        call.map(|answer| gone_is_fine(answer.map(drop))).boxed()
    }

    fn remove_container(&self, id: String) -> Call<'_, ()> {
        let call = rpc!(self.runtime, remove_container, v1::RemoveContainerRequest { container_id: id }, "RemoveContainer");
        call.map(|answer| gone_is_fine(answer.map(drop))).boxed()
    }

    fn container_status(&self, id: String) -> Call<'_, v1::ContainerStatus> {
        let request = v1::ContainerStatusRequest { container_id: id, verbose: false };
        let call = rpc!(self.runtime, container_status, request, "ContainerStatus");
        call.map(|answer| answer?.status.ok_or(Error::Incomplete { call: "ContainerStatus", field: "status" })).boxed()
    }

    fn list_containers(&self, labels: BTreeMap<String, String>) -> Call<'_, Vec<v1::Container>> {
        let filter = Some(v1::ContainerFilter { label_selector: labels, ..Default::default() });
        rpc!(self.runtime, list_containers, v1::ListContainersRequest { filter }, "ListContainers").map(|answer| answer.map(|r| r.containers)).boxed()
    }

    fn update_container_resources(&self, id: String, resources: v1::LinuxContainerResources) -> Call<'_, ()> {
        let request = v1::UpdateContainerResourcesRequest { container_id: id, linux: Some(resources), annotations: BTreeMap::new() };
        let call = rpc!(self.runtime, update_container_resources, request, "UpdateContainerResources");
        call.map(|answer| answer.map(drop)).boxed()
    }

    fn reopen_container_log(&self, id: String) -> Call<'_, ()> {
        let call = rpc!(self.runtime, reopen_container_log, v1::ReopenContainerLogRequest { container_id: id }, "ReopenContainerLog");
        call.map(|answer| answer.map(drop)).boxed()
    }

    fn exec_sync(&self, container: String, command: Vec<String>, timeout: Duration) -> Call<'_, v1::ExecSyncResponse> {
        let request = v1::ExecSyncRequest { container_id: container, cmd: command, timeout: seconds(timeout) };
        let bound = if timeout.is_zero() { PULL_TIMEOUT } else { timeout.saturating_add(CALL_MARGIN) };
        rpc!(self.runtime, exec_sync, request, "ExecSync", bound).boxed()
    }

    fn exec(&self, request: v1::ExecRequest) -> Call<'_, String> {
        rpc!(self.runtime, exec, request, "Exec").map(|answer| answer.map(|r| r.url)).boxed()
    }

    fn attach(&self, request: v1::AttachRequest) -> Call<'_, String> {
        rpc!(self.runtime, attach, request, "Attach").map(|answer| answer.map(|r| r.url)).boxed()
    }

    fn port_forward(&self, request: v1::PortForwardRequest) -> Call<'_, String> {
        rpc!(self.runtime, port_forward, request, "PortForward").map(|answer| answer.map(|r| r.url)).boxed()
    }

    fn list_container_stats(&self, labels: BTreeMap<String, String>) -> Call<'_, Vec<v1::ContainerStats>> {
        let filter = Some(v1::ContainerStatsFilter { label_selector: labels, ..Default::default() });
        let call = rpc!(self.runtime, list_container_stats, v1::ListContainerStatsRequest { filter }, "ListContainerStats");
        call.map(|answer| answer.map(|r| r.stats)).boxed()
    }

    fn events(&self) -> Call<'_, EventStream> {
        let call = rpc!(self.runtime, get_container_events, v1::GetEventsRequest {}, "GetContainerEvents");
        async move {
            let mut stream = call.await?;
            // An older runtime accepts the stream and refuses in its trailers: the first answer tells.
            match stream.message().await {
                Ok(Some(first)) => {
                    let rest = stream.map(|event| event.map_err(|status| Error::of("GetContainerEvents", &status)));
                    Ok(futures::stream::iter([Ok(first)]).chain(rest).boxed())
                }
                Ok(None) => Ok(futures::stream::empty().boxed()),
                Err(status) => Err(Error::of("GetContainerEvents", &status)),
            }
        }
        .boxed()
    }

    fn list_images(&self) -> Call<'_, Vec<v1::Image>> {
        rpc!(self.image, list_images, v1::ListImagesRequest { filter: None }, "ListImages").map(|answer| answer.map(|r| r.images)).boxed()
    }

    fn image_status(&self, image: v1::ImageSpec) -> Call<'_, Option<v1::Image>> {
        let request = v1::ImageStatusRequest { image: Some(image), verbose: false };
        rpc!(self.image, image_status, request, "ImageStatus").map(|answer| answer.map(|r| r.image)).boxed()
    }

    fn pull_image(&self, image: v1::ImageSpec, auth: Option<v1::AuthConfig>, sandbox_config: v1::PodSandboxConfig) -> Call<'_, String> {
        let request = v1::PullImageRequest { image: Some(image), auth, sandbox_config: Some(sandbox_config) };
        rpc!(self.image, pull_image, request, "PullImage", PULL_TIMEOUT).map(|answer| answer.map(|r| r.image_ref)).boxed()
    }

    fn remove_image(&self, image: v1::ImageSpec) -> Call<'_, ()> {
        let call = rpc!(self.image, remove_image, v1::RemoveImageRequest { image: Some(image) }, "RemoveImage");
        call.map(|answer| gone_is_fine(answer.map(drop))).boxed()
    }

    fn image_fs_info(&self) -> Call<'_, v1::ImageFsInfoResponse> {
        rpc!(self.image, image_fs_info, v1::ImageFsInfoRequest {}, "ImageFsInfo").boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_seconds_count_as_whole_ones() {
        let check = |input: Duration, expect| assert_eq!(seconds(input), expect);
        check(Duration::ZERO, 0);
        check(Duration::from_millis(1), 1);
        check(Duration::from_secs(30), 30);
        check(Duration::MAX, i64::MAX);
    }

    #[tokio::test]
    async fn an_endpoint_must_be_a_path() {
        assert!(matches!(Client::new("tcp://127.0.0.1:1"), Err(Error::Endpoint { .. })));
        assert!(Client::new("unix:///run/x.sock").is_ok());
    }

    #[tokio::test]
    async fn a_runtime_that_is_not_there_is_unavailable() {
        let client = Client::new("/nonexistent/containerd.sock").expect("a path");
        let error = client.version().await.expect_err("nobody listens");
        assert_eq!(error.kind(), crate::Kind::Unavailable);
    }
}
