//! Lifecycle hooks: a command in the container, an HTTP request to it, or a while of sleep.

use crate::http_get::{self, Target};
use crate::pod;
use crate::shared::Shared;
use crate::view;
use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Pod};
use kubelet_cri::v1;
use std::time::Duration;

/// A hook's HTTP request takes no longer.
const HTTP_TIMEOUT: Duration = Duration::from_secs(60);
const OUTPUT_CHARS_MAX: usize = 1024;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("Exec lifecycle hook ({command}) for Container {container:?} in Pod {pod:?} failed - error: {problem}, message: {output:?}")]
    Exec { command: String, container: String, pod: String, problem: String, output: String },
    #[error("HTTP lifecycle hook ({path}) for Container {container:?} in Pod {pod:?} failed - error: {source}")]
    Http { path: String, container: String, pod: String, source: http_get::Error },
    #[error("invalid handler: no handler is set")]
    Invalid,
}

pub async fn run(shared: &Shared, pod: &Pod, container: &Container, id: &str, handler: &LifecycleHandler) -> Result<(), Error> {
    if let Some(exec) = &handler.exec {
        let command = exec.command.clone().unwrap_or_default();
        return run_command(shared, pod, container, id, command).await;
    }
    if let Some(get) = &handler.http_get {
        let failed =
            |source| Error::Http { path: get.path.clone().unwrap_or_default(), container: container.name.clone(), pod: pod::describe(pod), source };
        let ip = pod_ip(shared, pod).await;
        let target = Target::of(get, container, &ip, "lifecycle").map_err(failed)?;
        let answer = http_get::get(&target, HTTP_TIMEOUT).await.map_err(failed)?;
        return if answer.status < 400 { Ok(()) } else { Err(failed(http_get::Error::Status(answer.status))) };
    }
    if let Some(sleep) = &handler.sleep {
        tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or_default())).await;
        return Ok(());
    }
    Err(Error::Invalid)
}

async fn run_command(shared: &Shared, pod: &Pod, container: &Container, id: &str, command: Vec<String>) -> Result<(), Error> {
    let failed = |problem: String, output: String| Error::Exec {
        command: format!("{command:?}"),
        container: container.name.clone(),
        pod: pod::describe(pod),
        problem,
        output: output.chars().take(OUTPUT_CHARS_MAX).collect(),
    };
    match shared.runtime.exec_sync(id.to_owned(), command.clone(), Duration::ZERO).await {
        Ok(v1::ExecSyncResponse { exit_code: 0, .. }) => Ok(()),
        Ok(answer) => {
            let output = [answer.stdout, answer.stderr].concat();
            Err(failed(format!("command exited with {}", answer.exit_code), String::from_utf8_lossy(&output).into_owned()))
        }
        Err(error) => Err(failed(error.to_string(), String::new())),
    }
}

/// The Pod's address as the runtime knows it now.
async fn pod_ip(shared: &Shared, pod: &Pod) -> String {
    if pod::uses_host_network(pod) {
        return shared.host_ips.first().cloned().unwrap_or_default();
    }
    let sandboxes = shared.runtime.list_pod_sandboxes(view::selector(pod::uid(pod))).await.unwrap_or_default();
    for sandbox in sandboxes.into_iter().filter(|sandbox| sandbox.state == i32::from(v1::PodSandboxState::SandboxReady)) {
        if let Ok(status) = shared.runtime.pod_sandbox_status(sandbox.id).await
            && let Some(network) = status.network
        {
            return network.ip;
        }
    }
    String::new()
}
