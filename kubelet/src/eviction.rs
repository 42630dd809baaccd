//! Pods that use more of the node than they said: an emptyDir that outgrows its limit ends its Pod.
//!
//! Nodes that run out of memory or disk are not looked after here yet.

use crate::pod;
use crate::shared::Shared;
use crate::volume;
use apiserver_client::Informer;
use apiserver_placement::Amount;
use apiserver_placement::pod::is_active;
use k8s_openapi::api::core::v1::Pod;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

const CHECK: Duration = Duration::from_secs(10);

/// Who is to end, and why.
pub type Verdict = (String, String);

/// Tells of Pods to end until nobody listens.
pub async fn run(shared: Arc<Shared>, pods: Informer<Pod>, out: mpsc::Sender<Verdict>) {
    loop {
        tokio::time::sleep(CHECK).await;
        for pod in pods.list().into_iter().filter(|pod| is_active(pod)) {
            let limits = limits(&shared.config.root_dir, &pod);
            if limits.is_empty() {
                continue;
            }
            let found = tokio::task::spawn_blocking(move || limits.into_iter().find(|limit| used_bytes(&limit.path) > limit.bytes)).await;
            if let Ok(Some(limit)) = found {
                let message = format!("Usage of EmptyDir volume {:?} exceeds the limit {:?}. ", limit.volume, limit.text);
                if out.send((pod::uid(&pod).to_owned(), message)).await.is_err() {
                    return;
                }
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Limit {
    volume: String,
    path: PathBuf,
    bytes: u64,
    text: String,
}

/// The limits of a Pod's emptyDirs on disk; those in memory are limited by their size.
fn limits(root: &Path, pod: &Pod) -> Vec<Limit> {
    let volumes = pod::spec(pod).volumes.iter().flatten();
    let limit = |volume: &k8s_openapi::api::core::v1::Volume| {
        let source = volume.empty_dir.as_ref().filter(|source| source.medium.as_deref().unwrap_or_default().is_empty())?;
        let text = source.size_limit.as_ref()?.0.clone();
        let bytes = u64::try_from(Amount::parse(&text)?.value()).ok().filter(|bytes| *bytes > 0)?;
        let path = volume::empty_dir_folder(root, pod::uid(pod), &volume.name);
        Some(Limit { volume: volume.name.clone(), path, bytes, text })
    };
    volumes.filter_map(limit).collect()
}

/// What a folder takes on its disk; what vanishes meanwhile counts for nothing.
fn used_bytes(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    const BLOCK_BYTES: u64 = 512;
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => metadata.blocks() * BLOCK_BYTES + used_bytes(&entry.path()),
        Ok(metadata) => metadata.blocks() * BLOCK_BYTES,
        Err(_) => 0,
    });
    sizes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_volumes_on_disk_with_a_limit_are_watched() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"uid": "u"}, "spec": {"containers": [], "volumes": [
            {"name": "a", "emptyDir": {"sizeLimit": "1Ki"}}, {"name": "b", "emptyDir": {}},
            {"name": "c", "emptyDir": {"medium": "Memory", "sizeLimit": "1Ki"}}]}}))
        .expect("a pod");
        let found = limits(Path::new("/root"), &pod);
        assert_eq!(found.iter().map(|limit| (limit.volume.as_str(), limit.bytes)).collect::<Vec<_>>(), [("a", 1024)]);
        assert_eq!(found[0].path, Path::new("/root/pods/u/volumes/kubernetes.io~empty-dir/a"));
    }

    #[test]
    fn a_folders_use_counts_what_is_in_it() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(used_bytes(folder.path()), 0);
        std::fs::create_dir(folder.path().join("d")).expect("made");
        std::fs::write(folder.path().join("d/file"), vec![1; 100_000]).expect("written");
        assert!(used_bytes(folder.path()) >= 100_000);
        assert_eq!(used_bytes(&folder.path().join("none")), 0);
    }
}
