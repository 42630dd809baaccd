//! The volumes of a Pod: making them, keeping their contents current, and taking them away again.
//!
//! Layout, as upstream's, below the kubelet's root folder:
//!
//! ```text
//!   pods/<uid>/volumes/kubernetes.io~<kind>/<volume>          the volume
//!   pods/<uid>/volume-subpaths/<volume>/<container>/<index>   what a subPath mount shows
//! ```
//!
//! [`set_up`] may be called again at any time: what is there is kept, and files made from objects are renewed in one atomic switch.
//! Everything here blocks on the file system; callers run it off the async threads. Objects and tokens are handed in.

pub mod atomic;
mod host_path;
pub mod mounts;
mod ownership;
pub mod payload;
mod subpath;

use crate::cgroup;
use crate::pod;
use apiserver_placement::Amount;
use apiserver_placement::resources::MEMORY;
use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, Pod, Volume};
use nix::mount::MsFlags;
use payload::Sources;
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

pub use subpath::{Place as SubpathPlace, bind, open_beneath};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{action} {path}: {source}")]
    File { action: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    Payload(#[from] payload::Error),
    #[error("hostPath type check failed: {path} {problem}")]
    HostPath { path: String, problem: &'static str },
    #[error("MountVolume.SetUp failed for volume {volume:?} : {source}")]
    SetUp { volume: String, source: Box<Error> },
    #[error("no volume plugin matched: volume {0} has a source that this kubelet does not know")]
    Unsupported(String),
    #[error("path {0:?} is not relative or leads out of the volume")]
    Path(String),
    #[error("{0} is still mounted")]
    StillMounted(PathBuf),
    #[error("failed to prepare subPath for volumeMount {volume:?} of container {container:?}")]
    Subpath { volume: String, container: String },
}

impl Error {
    fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }
}

/// A volume that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// Where on the node it is.
    pub path: PathBuf,
    /// Its contents are the kubelet's: containers only read them.
    pub read_only: bool,
}

/// By volume name.
pub type MountedVolumes = BTreeMap<String, Mounted>;

pub fn pod_folder(root: &Path, uid: &str) -> PathBuf {
    root.join("pods").join(uid)
}

fn folder(root: &Path, uid: &str, kind: &str, volume: &str) -> PathBuf {
    pod_folder(root, uid).join("volumes").join(format!("kubernetes.io~{kind}")).join(volume)
}

pub fn empty_dir_folder(root: &Path, uid: &str, volume: &str) -> PathBuf {
    folder(root, uid, "empty-dir", volume)
}

fn fs_group(pod: &Pod) -> Option<u32> {
    pod::spec(pod).security_context.as_ref()?.fs_group.and_then(|group| u32::try_from(group).ok())
}

/// The user that all of a Pod's containers run as, if it is one.
fn common_user(pod: &Pod) -> Option<u32> {
    let default = pod::spec(pod).security_context.as_ref().and_then(|context| context.run_as_user);
    let mut users = pod::init_containers(pod)
        .iter()
        .chain(pod::containers(pod))
        .map(|container| container.security_context.as_ref().and_then(|context| context.run_as_user).or(default));
    let first = users.next()??;
    users.all(|user| user == Some(first)).then(|| u32::try_from(first).ok()).flatten()
}

/// Makes every volume of the Pod, or brings it up to date.
pub fn set_up(root: &Path, pod: &Pod, sources: &Sources) -> Result<MountedVolumes, Error> {
    let mut mounted = MountedVolumes::new();
    for volume in pod::spec(pod).volumes.iter().flatten() {
        let made = set_up_one(root, pod, volume, sources);
        let named = |source| Error::SetUp { volume: volume.name.clone(), source: Box::new(source) };
        mounted.insert(volume.name.clone(), made.map_err(named)?);
    }
    Ok(mounted)
}

fn set_up_one(root: &Path, pod: &Pod, volume: &Volume, sources: &Sources) -> Result<Mounted, Error> {
    let uid = pod::uid(pod);
    if let Some(source) = &volume.host_path {
        let path = host_path::check(&source.path, source.type_.as_deref().unwrap_or_default())?;
        return Ok(Mounted { path, read_only: false });
    }
    if let Some(source) = &volume.empty_dir {
        let path = empty_dir_folder(root, uid, &volume.name);
        empty_dir(&path, pod, source)?;
        if let Some(group) = fs_group(pod) {
            ownership::give_to_group(&path, group, false)?;
        }
        return Ok(Mounted { path, read_only: false });
    }
    let kind = if volume.config_map.is_some() {
        "configmap"
    } else if volume.secret.is_some() {
        "secret"
    } else if volume.downward_api.is_some() {
        "downward-api"
    } else if volume.projected.is_some() {
        "projected"
    } else {
        return Err(Error::Unsupported(volume.name.clone()));
    };
    let path = folder(root, uid, kind, &volume.name);
    let files = payload::of_volume(pod, volume, sources)?;
    create_folder(&path, 0o777)?;
    // What is secret never touches a disk.
    if kind != "configmap" && !mounts::is_mounted(&path)? {
        mounts::tmpfs(&path, None)?;
    }
    let written = atomic::write(&path, &files)?;
    if written {
        if kind == "projected"
            && let Some(user) = common_user(pod)
        {
            payload::token_paths(volume).into_iter().try_for_each(|token| ownership::give_to_user(&path.join(token), user))?;
        }
        if let Some(group) = fs_group(pod) {
            ownership::give_to_group(&path, group, true)?;
        }
    }
    Ok(Mounted { path, read_only: true })
}

fn create_folder(path: &Path, mode: u32) -> Result<(), Error> {
    if path.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(path).map_err(Error::file("creating", path))?;
    // The process's umask must not count.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(Error::file("setting the mode of", path))
}

fn empty_dir(path: &Path, pod: &Pod, source: &EmptyDirVolumeSource) -> Result<(), Error> {
    create_folder(path, 0o777)?;
    if source.medium.as_deref() == Some("Memory") && !mounts::is_mounted(path)? {
        mounts::tmpfs(path, memory_bytes(pod, source))?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).map_err(Error::file("setting the mode of", path))?;
    }
    Ok(())
}

/// The size of a volume in memory: its own limit, and no more than the Pod may use.
fn memory_bytes(pod: &Pod, source: &EmptyDirVolumeSource) -> Option<i64> {
    let own = source.size_limit.as_ref().and_then(|limit| Amount::parse(&limit.0)).filter(|limit| !limit.is_zero()).map(Amount::value);
    let limits: Option<Vec<i64>> = pod::containers(pod).iter().map(|container| cgroup::limit(container, MEMORY).map(Amount::value)).collect();
    let pods = limits.map(|limits| limits.into_iter().fold(0, i64::saturating_add)).filter(|sum| *sum > 0);
    match (own, pods) {
        (Some(own), Some(pods)) => Some(own.min(pods)),
        (own, pods) => own.or(pods),
    }
}

/// Unmounts everything of the Pod and removes its volumes. What is not there any more is fine.
pub fn tear_down(root: &Path, uid: &str) -> Result<(), Error> {
    let folder = pod_folder(root, uid);
    mounts::unmount_below(&folder)?;
    for part in ["volumes", "volume-subpaths"] {
        remove(&folder.join(part))?;
    }
    Ok(())
}

/// Removes the Pod's folder, once nothing is mounted in it.
pub fn remove_pod_folder(root: &Path, uid: &str) -> Result<(), Error> {
    let folder = pod_folder(root, uid);
    mounts::unmount_below(&folder)?;
    remove(&folder)
}

fn remove(path: &Path) -> Result<(), Error> {
    // Removing through a mount would remove what is mounted.
    if let Some(mount) = mounts::below(path)?.into_iter().next() {
        return Err(Error::StillMounted(mount));
    }
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::file("removing", path)(error)),
        _ => Ok(()),
    }
}

/// The uids of Pods that have a folder.
pub fn pods_on_disk(root: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(root.join("pods")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Mount events pass into shared mounts only; containers that ask for propagation need the root to be one.
pub fn share_root_mount() {
    let shared = nix::mount::mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SHARED, None::<&str>);
    if let Err(error) = shared {
        tracing::warn!(%error, "cannot make mounts shared: mount propagation will not work");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::os::unix::fs::MetadataExt;
    use std::sync::Arc;

    fn pod(volume: Value, security: Value) -> Pod {
        let value = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"},
            "spec": {"securityContext": security, "containers": [{"name": "c"}], "volumes": [volume]}});
        serde_json::from_value(value).expect("a pod")
    }

    fn config_map(data: Value) -> Sources {
        let map = serde_json::from_value(json!({"data": data})).expect("a map");
        Sources { config_maps: BTreeMap::from([("m".to_owned(), Arc::new(map))]), ..Default::default() }
    }

    #[test]
    fn an_empty_dir_is_open_to_all_and_goes_with_the_pod() {
        let root = tempfile::tempdir().expect("a folder");
        let pod = pod(json!({"name": "v", "emptyDir": {}}), json!({}));
        let mounted = set_up(root.path(), &pod, &Sources::default()).expect("set up");
        let path = &mounted["v"].path;
        assert!(path.ends_with("pods/u/volumes/kubernetes.io~empty-dir/v"));
        assert_eq!(path.metadata().expect("there").mode() & 0o7777, 0o777);
        std::fs::write(path.join("file"), "kept").expect("written");
        set_up(root.path(), &pod, &Sources::default()).expect("set up again");
        assert_eq!(std::fs::read_to_string(path.join("file")).expect("read"), "kept");
        tear_down(root.path(), "u").expect("torn down");
        assert!(!path.exists());
        tear_down(root.path(), "u").expect("twice is fine");
        assert_eq!(pods_on_disk(root.path()), ["u"]);
        remove_pod_folder(root.path(), "u").expect("removed");
        assert!(pods_on_disk(root.path()).is_empty());
    }

    #[test]
    fn a_config_map_volume_follows_its_object() {
        let root = tempfile::tempdir().expect("a folder");
        let pod = pod(json!({"name": "v", "configMap": {"name": "m", "defaultMode": 0o640}}), json!({}));
        let mounted = set_up(root.path(), &pod, &config_map(json!({"a": "1", "b": "2"}))).expect("set up");
        let path = &mounted["v"].path;
        assert!(mounted["v"].read_only);
        assert_eq!(std::fs::read_to_string(path.join("a")).expect("read"), "1");
        assert_eq!(path.join("a").metadata().expect("there").mode() & 0o777, 0o640);
        set_up(root.path(), &pod, &config_map(json!({"a": "3"}))).expect("set up again");
        assert_eq!(std::fs::read_to_string(path.join("a")).expect("read"), "3");
        assert!(!path.join("b").exists());
        tear_down(root.path(), "u").expect("torn down");
    }

    #[test]
    fn a_missing_object_fails_unless_it_is_optional() {
        let root = tempfile::tempdir().expect("a folder");
        let made = |optional: bool| {
            let pod = pod(json!({"name": "v", "configMap": {"name": "none", "optional": optional}}), json!({}));
            set_up(root.path(), &pod, &Sources::default()).map(drop).map_err(|error| error.to_string())
        };
        assert_eq!(made(false), Err("MountVolume.SetUp failed for volume \"v\" : configmap \"none\" not found".to_owned()));
        assert_eq!(made(true), Ok(()));
        tear_down(root.path(), "u").expect("torn down");
    }

    #[test]
    fn an_unknown_source_is_named() {
        let root = tempfile::tempdir().expect("a folder");
        let pod = pod(json!({"name": "v", "nfs": {"server": "s", "path": "/"}}), json!({}));
        let error = set_up(root.path(), &pod, &Sources::default()).expect_err("unknown");
        assert!(matches!(error, Error::SetUp { source, .. } if matches!(&*source, Error::Unsupported(name) if name == "v")));
    }

    #[test]
    fn a_volume_in_memory_is_no_larger_than_the_pod_may_use() {
        let check = |source: Value, limit: Value, expect| {
            let mut pod = pod(json!({"name": "v", "emptyDir": source}), json!({}));
            let resources = serde_json::from_value(json!({"limits": limit})).expect("resources");
            pod.spec.as_mut().expect("a spec").containers[0].resources = Some(resources);
            let volume = &pod::spec(&pod).volumes.as_ref().expect("volumes")[0];
            assert_eq!(memory_bytes(&pod, volume.empty_dir.as_ref().expect("a source")), expect);
        };
        check(json!({"medium": "Memory"}), json!({}), None);
        check(json!({"medium": "Memory", "sizeLimit": "1Ki"}), json!({}), Some(1024));
        check(json!({"medium": "Memory", "sizeLimit": "1Ki"}), json!({"memory": "512"}), Some(512));
        check(json!({"medium": "Memory"}), json!({"memory": "512"}), Some(512));
    }
}
