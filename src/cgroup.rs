//! The end of a node's cgroups. The kubelet makes them.

use crate::cluster::Node;
use crate::error::{Error, file};
use crate::process::Process;
use nix::sys::signal::Signal;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const MOUNT: &str = "/sys/fs/cgroup";
const END_WITHIN: Duration = Duration::from_secs(5);

/// The node's root in every hierarchy: one on v2, one a controller on v1, both where both are mounted.
fn roots(node: &Node<'_>) -> Vec<PathBuf> {
    let name = node.cgroup();
    let name = name.trim_start_matches('/');
    let hierarchies = fs::read_dir(MOUNT).into_iter().flatten().flatten().map(|entry| entry.path());
    // Some controllers' names are links to a folder that is listed, too.
    let own = hierarchies.filter(|path| !path.is_symlink()).chain([MOUNT.into()]).map(|path| path.join(name));
    own.filter(|path| path.is_dir()).collect()
}

/// Kills what still runs in them, and removes them.
pub fn remove(node: &Node<'_>) -> Result<(), Error> {
    let roots = roots(node);
    for root in &roots {
        for folder in folders(root) {
            let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            for process in text.lines().filter_map(|pid| Process::of(pid.parse().ok()?)) {
                process.signal(Signal::SIGKILL);
                process.wait(END_WITHIN);
            }
        }
    }
    for root in &roots {
        for folder in folders(root) {
            fs::remove_dir(&folder).map_err(file(folder))?;
        }
    }
    Ok(())
}

/// A group and all below it, the leaves first.
fn folders(group: &Path) -> Vec<PathBuf> {
    let below = fs::read_dir(group).into_iter().flatten().flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut all: Vec<PathBuf> = below.flat_map(|entry| folders(&entry.path())).collect();
    all.push(group.to_owned());
    all
}
