//! `corten down`: ends every process of a cluster and removes everything it made on this machine but its data.

use crate::cluster::Cluster;
use crate::error::{Error, file};
use crate::process::Process;
use crate::{cgroup, containerd, mount, network, supervise};
use std::fs;
use std::time::Duration;

/// The supervisor ends its own within less.
const SUPERVISOR_WITHIN: Duration = Duration::from_secs(40);
const PROCESS_WITHIN: Duration = Duration::from_secs(12);
const SANDBOXES_WITHIN: Duration = Duration::from_secs(90);

pub fn down(cluster: &Cluster, delete: bool) -> Result<(), Error> {
    let lock = cluster.lock()?;
    stop(cluster)?;
    if delete {
        cluster.delete()?;
    }
    drop(lock);
    Ok(())
}

/// Whatever state it is in, and however often.
pub fn stop(cluster: &Cluster) -> Result<(), Error> {
    end(cluster, supervise::NAME, SUPERVISOR_WITHIN)?;
    // These have ended with the supervisor, unless it was killed.
    for node in cluster.nodes() {
        end(cluster, &node.agent_name(), PROCESS_WITHIN)?;
    }
    end(cluster, supervise::CONTROL, PROCESS_WITHIN)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for node in cluster.nodes() {
        if Process::read(&cluster.pid_file(&node.containerd_name())).is_some() {
            let removed = runtime.block_on(async { tokio::time::timeout(SANDBOXES_WITHIN, containerd::remove_sandboxes(&node)).await });
            // What containerd cannot end, its cgroups' end does.
            match removed {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(node = node.name, %error, "sandboxes not removed"),
                Err(_) => tracing::warn!(node = node.name, "sandboxes not removed in time"),
            }
        }
        containerd::end(&node)?;
        cgroup::remove(&node)?;
    }
    mount::remove_below(&cluster.run_dir())?;
    mount::remove_below(&cluster.data("nodes"))?;
    network::remove(cluster)?;
    match fs::remove_dir_all(cluster.run_dir()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(file(cluster.run_dir())(error)),
        _ => {}
    }
    // The last one takes the folder of all along.
    if let Some(all) = cluster.run_dir().parent() {
        let _ = fs::remove_dir(all);
    }
    Ok(())
}

fn end(cluster: &Cluster, name: &str, within: Duration) -> Result<(), Error> {
    match Process::read(&cluster.pid_file(name)) {
        Some(process) => process.end(name, within),
        None => Ok(()),
    }
}
