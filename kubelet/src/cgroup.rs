//! The cgroups of Pods: `kubepods/{burstable,besteffort}/pod<uid>` below the node's root, on cgroup v1 and v2, by plain files.
//!
//! Containers' own groups below them are the runtime's. What the kernel or the lack of a capability refuses is logged and done
//! without: a node that cannot limit is better than none.

use apiserver_placement::qos::Qos;
use apiserver_placement::resources::{CPU, MEMORY};
use apiserver_placement::{Amount, Counted, pod_limits, pod_requests};
use k8s_openapi::api::core::v1::{Container, Pod};
use std::io;
use std::path::{Path, PathBuf};

use crate::pod;

/// The kernel's smallest and largest CPU shares.
const SHARES_MIN: i64 = 2;
const SHARES_MAX: i64 = 262_144;
/// The period over which CPU quotas count, and the kernel's smallest quota, in microseconds.
pub const PERIOD_US: i64 = 100_000;
const QUOTA_US_MIN: i64 = 1_000;

/// The controllers in which a v1 group is made. `systemd` is the named hierarchy without a controller, which runtimes join too.
const V1_CONTROLLERS: [&str; 12] =
    ["cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "hugetlb", "net_cls", "net_prio", "systemd"];

/// In a hybrid layout runtimes also make groups in the v2 tree beside the v1 controllers. We never do, but what they leave is ours to remove.
const HYBRID: &str = "unified";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no cgroup file system at {0}")]
    Absent(PathBuf),
    #[error("creating cgroup {path}")]
    Create { path: PathBuf, source: io::Error },
    #[error("removing cgroup {path}")]
    Remove { path: PathBuf, source: io::Error },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
}

/// Limits of a group; `None` leaves the kernel's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    pub cpu_shares: Option<i64>,
    pub cpu_quota_us: Option<i64>,
    pub memory_bytes: Option<i64>,
    pub pids: Option<i64>,
}

pub fn shares(millis: i64) -> i64 {
    (millis.saturating_mul(1024) / 1000).clamp(SHARES_MIN, SHARES_MAX)
}

/// The quota for a CPU limit; zero for none.
pub fn quota_us(millis: i64) -> i64 {
    if millis == 0 { 0 } else { (millis.saturating_mul(PERIOD_US) / 1000).max(QUOTA_US_MIN) }
}

/// v2 weighs CPU from 1 to 10,000 where v1 has shares from 2 to 262,144. The curve keeps both ends and 1024 ↦ 100:
/// `10^((l² + 125 l) / 612 − 7/34)` with `l = log2(shares)`.
fn weight(shares: i64) -> i64 {
    if shares <= SHARES_MIN {
        return 1;
    }
    if shares >= SHARES_MAX {
        return 10_000;
    }
    #[expect(clippy::cast_precision_loss, reason = "shares are below 2^18")]
    let l = (shares as f64).log2();
    let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
    #[expect(clippy::cast_possible_truncation, reason = "between 1 and 10,000")]
    let weight = 10f64.powf(exponent).ceil() as i64;
    weight
}

/// The limits of a Pod's group.
pub fn pod_group_limits(pod: &Pod) -> Limits {
    let counted = Counted::default();
    let (requests, limits) = (pod_requests(pod, &counted), pod_limits(pod, &counted));
    let declared = |name: &str| {
        let by_all = pod::init_containers(pod).iter().chain(pod::containers(pod)).all(|container| limit(container, name).is_some());
        let by_pod = pod::spec(pod).resources.as_ref().and_then(|resources| resources.limits.as_ref()?.get(name));
        by_all || by_pod.and_then(|quantity| Amount::parse(&quantity.0)).is_some_and(|amount| !amount.is_zero())
    };
    let cpu = Some(quota_us(limits.get(CPU).millis())).filter(|quota| *quota > 0);
    let memory = Some(limits.get(MEMORY).value()).filter(|bytes| *bytes > 0);
    match Qos::of(pod) {
        Qos::Guaranteed => Limits { cpu_shares: Some(shares(requests.get(CPU).millis())), cpu_quota_us: cpu, memory_bytes: memory, pids: None },
        Qos::Burstable => Limits {
            cpu_shares: Some(shares(requests.get(CPU).millis())),
            cpu_quota_us: cpu.filter(|_| declared(CPU)),
            memory_bytes: memory.filter(|_| declared(MEMORY)),
            pids: None,
        },
        Qos::BestEffort => Limits { cpu_shares: Some(SHARES_MIN), ..Default::default() },
    }
}

/// A container's own limit, if it has one that is not zero.
pub fn limit(container: &Container, name: &str) -> Option<Amount> {
    let quantity = container.resources.as_ref()?.limits.as_ref()?.get(name)?;
    Amount::parse(&quantity.0).filter(|amount| !amount.is_zero())
}

/// A container's own request, if it states one.
pub fn request(container: &Container, name: &str) -> Option<Amount> {
    let quantity = container.resources.as_ref()?.requests.as_ref()?.get(name)?;
    Amount::parse(&quantity.0)
}

/// The groups of one node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Cgroups {
    mount: PathBuf,
    version: Version,
    /// The node's root below the mount, such as `/` or `/n1`.
    root: String,
}

impl Cgroups {
    /// `mount` is `/sys/fs/cgroup`.
    pub fn new(mount: &Path, root: &str) -> Result<Self, Error> {
        let version = if mount.join("cgroup.controllers").exists() {
            Version::V2
        } else if mount.join("memory").is_dir() || mount.join("cpu").is_dir() {
            Version::V1
        } else {
            return Err(Error::Absent(mount.to_owned()));
        };
        let root = format!("/{}", root.trim_matches('/'));
        Ok(Self { mount: mount.to_owned(), version, root: if root == "/" { String::new() } else { root } })
    }

    fn class_path(&self, qos: Qos) -> String {
        match qos {
            Qos::Guaranteed => format!("{}/kubepods", self.root),
            Qos::Burstable => format!("{}/kubepods/burstable", self.root),
            Qos::BestEffort => format!("{}/kubepods/besteffort", self.root),
        }
    }

    /// The group of a Pod, as runtimes are told it.
    pub fn pod_path(&self, pod: &Pod) -> String {
        format!("{}/pod{}", self.class_path(Qos::of(pod)), pod::uid(pod))
    }

    /// The folders that make up one group: one on v2, one per controller on v1.
    fn folders(&self, path: &str) -> Vec<PathBuf> {
        let path = path.trim_start_matches('/');
        match self.version {
            Version::V2 => vec![self.mount.join(path)],
            Version::V1 => V1_CONTROLLERS.iter().map(|name| self.mount.join(name)).filter(|root| root.is_dir()).map(|root| root.join(path)).collect(),
        }
    }

    /// Those, and the one that a runtime may have made in a hybrid layout.
    fn with_hybrid(&self, path: &str) -> Vec<PathBuf> {
        let hybrid = self.mount.join(HYBRID).join(path.trim_start_matches('/'));
        self.folders(path).into_iter().chain([hybrid]).collect()
    }

    /// The folder of a group in which a controller's files lie.
    pub fn folder(&self, path: &str, controller: &str) -> PathBuf {
        let path = path.trim_start_matches('/');
        match self.version {
            Version::V2 => self.mount.join(path),
            Version::V1 => self.mount.join(controller).join(path),
        }
    }

    /// Makes `kubepods` and its classes.
    pub fn prepare_node(&self) -> Result<(), Error> {
        for qos in [Qos::Guaranteed, Qos::Burstable, Qos::BestEffort] {
            self.create(&self.class_path(qos))?;
        }
        self.apply(&self.class_path(Qos::BestEffort), &Limits { cpu_shares: Some(SHARES_MIN), ..Default::default() });
        Ok(())
    }

    pub fn create_pod(&self, pod: &Pod) -> Result<(), Error> {
        let path = self.pod_path(pod);
        self.create(&path)?;
        self.apply(&path, &pod_group_limits(pod));
        Ok(())
    }

    /// Removes the Pod's group and what is left below it, in whatever class it is.
    pub fn remove_pod(&self, uid: &str) -> Result<(), Error> {
        for qos in [Qos::Guaranteed, Qos::Burstable, Qos::BestEffort] {
            for folder in self.with_hybrid(&format!("{}/pod{uid}", self.class_path(qos))) {
                remove_tree(&folder)?;
            }
        }
        Ok(())
    }

    /// The uids of Pods that have a group.
    pub fn pods(&self) -> Vec<String> {
        let mut uids: Vec<String> = [Qos::Guaranteed, Qos::Burstable, Qos::BestEffort]
            .into_iter()
            .flat_map(|qos| self.with_hybrid(&self.class_path(qos)))
            .filter_map(|folder| std::fs::read_dir(folder).ok())
            .flat_map(|entries| entries.flatten())
            .filter_map(|entry| entry.file_name().to_str()?.strip_prefix("pod").map(str::to_owned))
            .collect();
        uids.sort();
        uids.dedup();
        uids
    }

    fn create(&self, path: &str) -> Result<(), Error> {
        for folder in self.folders(path) {
            std::fs::create_dir_all(&folder).map_err(|source| Error::Create { path: folder.clone(), source })?;
        }
        match self.version {
            Version::V1 => self.fill_cpuset(path),
            Version::V2 => self.delegate(path),
        }
        Ok(())
    }

    /// A new v1 cpuset starts empty and takes nobody in: each level gets its parent's.
    fn fill_cpuset(&self, path: &str) {
        let root = self.mount.join("cpuset");
        if !root.is_dir() {
            return;
        }
        let mut parent = root;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let folder = parent.join(part);
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let empty = std::fs::read_to_string(folder.join(file)).is_ok_and(|text| text.trim().is_empty());
                if let (true, Ok(inherited)) = (empty, std::fs::read_to_string(parent.join(file))) {
                    write(&folder.join(file), inherited.trim());
                }
            }
            parent = folder;
        }
    }

    /// On v2 a controller reaches a group only if all groups above hand it down.
    fn delegate(&self, path: &str) {
        let mut folder = self.mount.clone();
        let available = std::fs::read_to_string(folder.join("cgroup.controllers")).unwrap_or_default();
        let enable: Vec<String> = available.split_whitespace().map(|name| format!("+{name}")).collect();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            // One by one: a single one that cannot be enabled would otherwise lose them all.
            enable.iter().for_each(|controller| write(&folder.join("cgroup.subtree_control"), controller));
            folder = folder.join(part);
        }
        enable.iter().for_each(|controller| write(&folder.join("cgroup.subtree_control"), controller));
    }

    fn apply(&self, path: &str, limits: &Limits) {
        let set = |controller: &str, file: &str, value: String| {
            let folder = self.folder(path, controller);
            if folder.is_dir() {
                write(&folder.join(file), &value);
            }
        };
        match self.version {
            Version::V1 => {
                limits.cpu_shares.into_iter().for_each(|shares| set("cpu", "cpu.shares", shares.to_string()));
                if let Some(quota) = limits.cpu_quota_us {
                    set("cpu", "cpu.cfs_period_us", PERIOD_US.to_string());
                    set("cpu", "cpu.cfs_quota_us", quota.to_string());
                }
                limits.memory_bytes.into_iter().for_each(|bytes| set("memory", "memory.limit_in_bytes", bytes.to_string()));
            }
            Version::V2 => {
                limits.cpu_shares.into_iter().for_each(|shares| set("cpu", "cpu.weight", weight(shares).to_string()));
                limits.cpu_quota_us.into_iter().for_each(|quota| set("cpu", "cpu.max", format!("{quota} {PERIOD_US}")));
                limits.memory_bytes.into_iter().for_each(|bytes| set("memory", "memory.max", bytes.to_string()));
            }
        }
        limits.pids.into_iter().for_each(|pids| set("pids", "pids.max", pids.to_string()));
    }
}

/// Writes a control file; a refusal is noted and lived with.
fn write(path: &Path, value: &str) {
    if let Err(error) = std::fs::write(path, value) {
        tracing::debug!(path = %path.display(), value, %error, "a cgroup setting was refused");
    }
}

/// Control files go with their folder, so only folders are removed, from the leaves up.
fn remove_tree(folder: &Path) -> Result<(), Error> {
    let failed = |source| Error::Remove { path: folder.to_owned(), source };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    match std::fs::remove_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(resources: Value) -> Pod {
        let value = json!({"metadata": {"uid": "u1"}, "spec": {"containers": [{"name": "a", "resources": resources}]}});
        serde_json::from_value(value).expect("a pod")
    }

    #[test]
    fn shares_quota_and_weight_follow_the_kernels_bounds() {
        assert_eq!([0, 1, 100, 1000, 1_000_000].map(shares), [2, 2, 102, 1024, 262_144]);
        assert_eq!([0, 1, 100, 2000].map(quota_us), [0, 1000, 10_000, 200_000]);
        assert_eq!([2, 1024, 262_144].map(weight), [1, 100, 10_000]);
    }

    #[test]
    fn a_pods_group_is_limited_by_its_class() {
        let check = |resources: Value, expect: Limits| assert_eq!(pod_group_limits(&pod(resources.clone())), expect, "{resources}");
        check(json!({}), Limits { cpu_shares: Some(2), ..Default::default() });
        let all = json!({"limits": {"cpu": "500m", "memory": "64Mi"}, "requests": {"cpu": "500m", "memory": "64Mi"}});
        check(all, Limits { cpu_shares: Some(512), cpu_quota_us: Some(50_000), memory_bytes: Some(64 << 20), pids: None });
        let some = json!({"limits": {"memory": "64Mi"}, "requests": {"cpu": "100m", "memory": "32Mi"}});
        check(some, Limits { cpu_shares: Some(102), cpu_quota_us: None, memory_bytes: Some(64 << 20), pids: None });
    }

    /// A folder that looks enough like a cgroup mount.
    fn mount(version: Version) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        match version {
            Version::V2 => std::fs::write(folder.path().join("cgroup.controllers"), "cpu memory").expect("written"),
            Version::V1 => ["cpu", "memory", "cpuset"].iter().for_each(|name| {
                std::fs::create_dir(folder.path().join(name)).expect("made");
            }),
        }
        folder
    }

    #[test]
    fn groups_are_made_limited_listed_and_removed_on_both_versions() {
        let pod = pod(json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "200m", "memory": "64Mi"}}));
        for (version, file, expect) in [
            (Version::V1, "cpu/n1/kubepods/burstable/podu1/cpu.cfs_quota_us", "20000"),
            (Version::V2, "n1/kubepods/burstable/podu1/cpu.max", "20000 100000"),
        ] {
            let folder = mount(version);
            let groups = Cgroups::new(folder.path(), "/n1/").expect("groups");
            groups.prepare_node().expect("prepared");
            groups.create_pod(&pod).expect("created");
            assert_eq!(groups.pod_path(&pod), "/n1/kubepods/burstable/podu1");
            assert_eq!(std::fs::read_to_string(folder.path().join(file)).expect("written"), expect);
            assert_eq!(groups.pods(), ["u1"]);
            // Here the control files are plain ones, so they are removed first.
            for path in groups.folders(&groups.pod_path(&pod)) {
                std::fs::remove_dir_all(&path).expect("removed");
                std::fs::create_dir_all(path.join("container")).expect("made");
            }
            groups.remove_pod("u1").expect("removed");
            assert_eq!(groups.pods(), Vec::<String>::new());
        }
    }

    #[test]
    fn without_a_mount_there_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(matches!(Cgroups::new(folder.path(), "/"), Err(Error::Absent(_))));
    }
}
