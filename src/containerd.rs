//! A node's containerd: its configuration, its start in the node's namespace, and its end with everything that it holds.
//!
//! It is started apart from the processes that restart, so that Pods go on when those are killed; one that runs already is taken over.

use crate::cluster::{Cluster, Node, make_dir};
use crate::command;
use crate::error::{Error, file};
use crate::pause;
use crate::process::{self, Process};
use futures::{StreamExt as _, TryStreamExt as _};
use kubelet_cri::{Client, Runtime as _, v1};
use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Where Debian and where upstream put the network plugins.
const CNI_FOLDERS: [&str; 3] = ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"];
const CNI_PLUGINS: [&str; 4] = ["ptp", "host-local", "portmap", "loopback"];
const READY_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Sandboxes that are stopped at a time.
const STOPS_AT_A_TIME: usize = 8;
const END_WITHIN: Duration = Duration::from_secs(10);
/// The bit of CAP_SYS_RESOURCE: without it no process may be made harder to kill.
const CAP_SYS_RESOURCE: u32 = 24;
const NAMESPACE: &str = "k8s.io";

/// Where the network plugins are.
pub fn cni_folder() -> Result<&'static str, Error> {
    let complete = |folder: &&str| CNI_PLUGINS.iter().all(|plugin| Path::new(folder).join(plugin).exists());
    CNI_FOLDERS.into_iter().find(complete).ok_or(Error::NoProgram { program: "the network plugin ptp", package: "containernetworking-plugins" })
}

fn config_file(node: &Node<'_>) -> PathBuf {
    node.data("containerd.toml")
}

/// Folders and files, before it starts.
pub fn prepare(node: &Node<'_>) -> Result<(), Error> {
    for folder in [node.data("cni"), node.data("registries"), node.data("containerd"), node.run_dir()] {
        make_dir(&folder, 0o711)?;
    }
    let path = config_file(node);
    fs::write(&path, config(node, cni_folder()?, may_lower_oom_score())).map_err(file(&path))
}

/// The command that runs it.
pub fn arguments(node: &Node<'_>) -> Vec<String> {
    ["--config".to_owned(), config_file(node).display().to_string()].into()
}

fn config(node: &Node<'_>, cni: &str, may_lower_oom_score: bool) -> String {
    let (root, state, socket) = (node.data("containerd"), node.run_dir().join("containerd"), node.containerd_socket());
    let (root, state, socket) = (root.display(), state.display(), socket.display());
    // Plugins that this has no use for would only probe, fail and say so.
    let unused = ["aufs", "btrfs", "devmapper", "zfs"].map(|name| format!("\"io.containerd.snapshotter.v1.{name}\"")).join(", ");
    format!(
        "version = 2\nroot = \"{root}\"\nstate = \"{state}\"\n\
         disabled_plugins = [{unused}, \"io.containerd.internal.v1.opt\", \"io.containerd.tracing.processor.v1.otlp\", \"io.containerd.internal.v1.tracing\"]\n\
         [grpc]\n  address = \"{socket}\"\n\
         [plugins.\"io.containerd.grpc.v1.cri\"]\n  sandbox_image = \"{image}\"\n  restrict_oom_score_adj = {restrict}\n  \
         netns_mounts_under_state_dir = true\n  \
         [plugins.\"io.containerd.grpc.v1.cri\".cni]\n    bin_dir = \"{cni}\"\n    conf_dir = \"{conf}\"\n  \
         [plugins.\"io.containerd.grpc.v1.cri\".registry]\n    config_path = \"{registries}\"\n",
        image = pause::IMAGE,
        restrict = !may_lower_oom_score,
        conf = node.data("cni").display(),
        registries = node.data("registries").display(),
    )
}

fn may_lower_oom_score() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let capabilities = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok());
    capabilities.is_some_and(|set| set >> CAP_SYS_RESOURCE & 1 == 1)
}

fn client(node: &Node<'_>) -> Result<Client, Error> {
    Ok(Client::new(&node.containerd_socket().display().to_string())?)
}

/// Waits until it answers.
pub async fn ready(node: &Node<'_>) -> Result<(), Error> {
    let client = client(node)?;
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        match client.version().await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error.into()),
            Err(_) => sleep(LOOK_EVERY).await,
        }
    }
}

/// Sees to it that sandboxes can be made.
pub async fn import_pause(node: &Node<'_>) -> Result<(), Error> {
    let image = v1::ImageSpec { image: pause::IMAGE.into(), ..Default::default() };
    if client(node)?.image_status(image).await?.is_some() {
        return Ok(());
    }
    import(node, "-", &pause::image()?)
}

/// Imports an archive, or what `input` holds where `archive` is `-`.
pub fn import(node: &Node<'_>, archive: &str, input: &[u8]) -> Result<(), Error> {
    let socket = node.containerd_socket();
    let arguments = ["-a", &socket.display().to_string(), "-n", NAMESPACE, "images", "import", "--all-platforms", archive];
    command::run_with_input("ctr", &arguments, input).map(drop)
}

/// Imports archives into every node of a cluster that is up.
pub fn import_everywhere(cluster: &Cluster, archives: &[PathBuf]) -> Result<(), Error> {
    for node in cluster.nodes() {
        if Process::read(&cluster.pid_file(&node.containerd_name())).is_none() {
            return Err(Error::NotUp(cluster.name.clone()));
        }
        archives.iter().try_for_each(|archive| import(&node, &archive.display().to_string(), &[]))?;
    }
    Ok(())
}

/// Stops and removes all Pods' sandboxes, so that their networks are given back and nothing of them runs.
pub async fn remove_sandboxes(node: &Node<'_>) -> Result<(), Error> {
    let client = client(node)?;
    let sandboxes = client.list_pod_sandboxes(BTreeMap::new()).await?;
    let gone = futures::stream::iter(sandboxes).map(|sandbox| {
        let client = client.clone();
        async move {
            client.stop_pod_sandbox(sandbox.id.clone()).await?;
            client.remove_pod_sandbox(sandbox.id).await
        }
    });
    Ok(gone.buffer_unordered(STOPS_AT_A_TIME).try_collect::<Vec<()>>().await.map(drop)?)
}

/// Ends it and what it left running.
pub fn end(node: &Node<'_>) -> Result<(), Error> {
    let pid_file = node.cluster.pid_file(&node.containerd_name());
    if let Some(process) = Process::read(&pid_file) {
        process.end("containerd", END_WITHIN)?;
    }
    let socket = node.containerd_socket().display().to_string();
    let is_shim = |arguments: &[String]| {
        let program = arguments.first().is_some_and(|program| program.contains("containerd-shim"));
        program && arguments.windows(2).any(|pair| pair[0] == "-address" && pair[1] == socket)
    };
    let shims: Vec<_> = process::all().into_iter().filter(|(_, arguments)| is_shim(arguments)).collect();
    shims.iter().for_each(|(shim, _)| shim.signal(Signal::SIGKILL));
    for (shim, _) in &shims {
        if !shim.wait(END_WITHIN) {
            return Err(Error::End { what: "a containerd shim".into(), pid: shim.pid() });
        }
    }
    shim_sockets(&node.run_dir()).iter().for_each(|socket| {
        let _ = fs::remove_file(socket);
    });
    Ok(())
}

/// The sockets of shims are in a folder that all containerds share; each container's folder says which is its own.
fn shim_sockets(run_dir: &Path) -> Vec<PathBuf> {
    let tasks = run_dir.join("containerd/io.containerd.runtime.v2.task").join(NAMESPACE);
    let Ok(entries) = fs::read_dir(tasks) else { return Vec::new() };
    let address = |entry: fs::DirEntry| fs::read_to_string(entry.path().join("address")).ok()?.trim().strip_prefix("unix://").map(PathBuf::from);
    entries.flatten().filter_map(address).collect()
}
