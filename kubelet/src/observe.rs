//! Looking at one Pod through the runtime.

use crate::view::{self, Container, MESSAGE_PATH, MESSAGE_POLICY, RuntimeView, Sandbox};
use crate::{logs, shared::Shared};
use kubelet_cri::{Error, v1};
use std::io::Read;
use std::path::Path;

/// How much a container may leave as its last words, and how much of its log stands in for them.
const MESSAGE_BYTES_MAX: u64 = 4096;
const LOG_LINES_MAX: usize = 80;
const LOG_BYTES_MAX: usize = 2048;

/// What the runtime shows of the Pod now. What cannot have changed since `known` is not asked for again.
pub async fn observe(shared: &Shared, uid: &str, known: &RuntimeView) -> Result<RuntimeView, Error> {
    let runtime = &shared.runtime;
    let mut sandboxes = Vec::new();
    for sandbox in runtime.list_pod_sandboxes(view::selector(uid)).await? {
        match runtime.pod_sandbox_status(sandbox.id).await {
            Ok(status) => sandboxes.push(Sandbox::of(status)),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    let mut containers = Vec::new();
    for container in runtime.list_containers(view::selector(uid)).await? {
        if let Some(same) = known.containers.iter().find(|same| same.id == container.id && same.exited()) {
            containers.push(same.clone());
            continue;
        }
        match runtime.container_status(container.id).await {
            Ok(status) => containers.push(with_last_words(status, container.pod_sandbox_id).await),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(RuntimeView::new(sandboxes, containers))
}

async fn with_last_words(status: v1::ContainerStatus, sandbox: String) -> Container {
    if status.state() != v1::ContainerState::ContainerExited {
        return Container::of(status, sandbox);
    }
    let asked = status.clone();
    let words = tokio::task::spawn_blocking(move || last_words(&asked)).await.unwrap_or_default();
    let mut container = Container::of(status, sandbox);
    if !words.is_empty() {
        container.message = if container.message.is_empty() { words } else { format!("{}: {words}", container.message) };
    }
    container
}

/// What an ended container wrote to its message file, or, when it failed and its policy says so, the end of its log.
fn last_words(status: &v1::ContainerStatus) -> String {
    let path = status.annotations.get(MESSAGE_PATH).map(String::as_str).unwrap_or_default();
    let mount = status.mounts.iter().find(|mount| !path.is_empty() && mount.container_path == path);
    let mut message = Vec::new();
    if let Some(mount) = mount
        && let Ok(file) = std::fs::File::open(&mount.host_path)
        && let Err(error) = file.take(MESSAGE_BYTES_MAX).read_to_end(&mut message)
    {
        return format!("Error on reading termination log {}: {error}", mount.host_path);
    }
    let from_logs = status.annotations.get(MESSAGE_POLICY).is_some_and(|policy| policy == "FallbackToLogsOnError");
    if message.is_empty() && from_logs && status.exit_code != 0 {
        return logs::tail(Path::new(&status.log_path), LOG_LINES_MAX, LOG_BYTES_MAX);
    }
    String::from_utf8_lossy(&message).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn said(message: &str, log: &str, policy: &str, exit_code: i32) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, log_file) = (folder.path().join("message"), folder.path().join("0.log"));
        std::fs::write(&file, message).expect("written");
        std::fs::write(&log_file, log).expect("written");
        last_words(&v1::ContainerStatus {
            exit_code,
            log_path: log_file.to_string_lossy().into_owned(),
            annotations: BTreeMap::from([(MESSAGE_PATH.to_owned(), "/dev/x".to_owned()), (MESSAGE_POLICY.to_owned(), policy.to_owned())]),
            mounts: vec![v1::Mount { container_path: "/dev/x".to_owned(), host_path: file.to_string_lossy().into_owned(), ..Default::default() }],
            ..Default::default()
        })
    }

    #[test]
    fn last_words_come_from_the_file_or_for_failures_from_the_log() {
        let log = "2024-01-01T00:00:01Z stdout F from the log\n";
        assert_eq!(said("OK", log, "File", 0), "OK");
        assert_eq!(said("", log, "File", 1), "");
        assert_eq!(said("", log, "FallbackToLogsOnError", 1), "from the log\n");
        assert_eq!(said("", log, "FallbackToLogsOnError", 0), "");
        assert_eq!(said("mine", log, "FallbackToLogsOnError", 1), "mine");
        assert_eq!(said(&"x".repeat(5000), log, "File", 0).len(), 4096);
    }
}
