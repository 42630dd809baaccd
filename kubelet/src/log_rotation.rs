//! Keeps container logs from filling the disk: a log that has grown too large is renamed and the runtime begins a new one; the oldest
//! pieces go.

use crate::shared::Shared;
use crate::{logs, view};
use kubelet_cri::v1;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const CHECK: Duration = Duration::from_secs(10);

pub async fn run(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(CHECK).await;
        match shared.runtime.list_containers(BTreeMap::new()).await {
            Ok(containers) => {
                for container in containers.iter().filter(|container| container.state() == v1::ContainerState::ContainerRunning) {
                    if let Some(log) = log_of(&shared, container) {
                        rotate_if_large(&shared, &container.id, &log).await;
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "logs cannot be looked at: the runtime cannot be listed"),
        }
    }
}

fn log_of(shared: &Shared, container: &v1::Container) -> Option<PathBuf> {
    let label = |key: &str| container.labels.get(key).map(String::as_str);
    let (namespace, name, uid) = (label(view::POD_NAMESPACE)?, label(view::POD_NAME)?, label(view::POD_UID)?);
    let attempt = container.annotations.get(view::RESTART_COUNT)?.parse().ok()?;
    let folder = shared.config.pod_logs_dir.join(format!("{namespace}_{name}_{uid}"));
    Some(logs::path(&folder, label(view::CONTAINER_NAME)?, attempt))
}

async fn rotate_if_large(shared: &Shared, id: &str, log: &Path) {
    if !tokio::fs::metadata(log).await.is_ok_and(|metadata| metadata.len() > shared.config.container_log_bytes_max) {
        return;
    }
    let (path, keep) = (log.to_owned(), shared.config.container_log_files_max);
    let stamp = apiserver_component::Clock.now().strftime("%Y%m%d-%H%M%S").to_string();
    let moved = tokio::task::spawn_blocking(move || rotate(&path, &stamp, keep)).await;
    let piece = match moved {
        Ok(Ok(piece)) => piece,
        Ok(Err(error)) => return tracing::warn!(path = %log.display(), %error, "a log could not be rotated"),
        Err(_) => return,
    };
    if let Err(error) = shared.runtime.reopen_container_log(id.to_owned()).await {
        tracing::warn!(path = %log.display(), %error, "the runtime does not begin a new log; the old one is put back");
        if let Err(error) = tokio::fs::rename(&piece, log).await {
            tracing::warn!(path = %log.display(), %error, "nor can the old one be put back");
        }
    }
}

/// Renames the log and removes pieces beyond those kept, of which the log itself is one. Gives the new piece.
fn rotate(log: &Path, stamp: &str, keep: u32) -> io::Result<PathBuf> {
    let prefix = format!("{}.", log.file_name().and_then(|name| name.to_str()).unwrap_or_default());
    let folder = log.parent().unwrap_or(Path::new("/"));
    let entries = std::fs::read_dir(folder)?.flatten().map(|entry| entry.path());
    let mut pieces: Vec<PathBuf> =
        entries.filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(&prefix))).collect();
    // Stamps sort by time.
    pieces.sort();
    let older = usize::try_from(keep.saturating_sub(2)).unwrap_or(usize::MAX);
    while pieces.len() > older {
        std::fs::remove_file(pieces.remove(0))?;
    }
    let piece = folder.join(format!("{prefix}{stamp}"));
    std::fs::rename(log, &piece)?;
    Ok(piece)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotation_keeps_the_newest_pieces() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("0.log");
        for stamp in ["20240101-000001", "20240101-000002", "20240101-000003", "20240101-000004"] {
            std::fs::write(&log, stamp).expect("written");
            rotate(&log, stamp, 3).expect("rotated");
        }
        let mut left: Vec<String> =
            std::fs::read_dir(folder.path()).expect("read").flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        left.sort();
        assert_eq!(left, ["0.log.20240101-000003", "0.log.20240101-000004"]);
    }
}
