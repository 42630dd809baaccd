//! `corten up`: from nothing, or from what was stopped, to a cluster whose node is Ready.

use crate::cluster::{Cluster, Wish, is_free, make_dir};
use crate::error::{Error, file};
use crate::identities::{self, KUBELET_CLIENT};
use crate::process::Process;
use crate::progress::Progress;
use crate::{command, containerd, down, mount, network, supervise};
use apiserver_client::{Client, config};
use apiserver_component::Clock;
use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use std::fs::{self, OpenOptions};
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const API_WITHIN: Duration = Duration::from_secs(60);
const NODE_WITHIN: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// What of a log is shown when its process died.
const TAIL_LINES: usize = 10;
const MANAGER: &str = "corten";

pub fn up(wish: &Wish) -> Result<Cluster, Error> {
    check_root()?;
    command::check_installed()?;
    containerd::cni_folder()?;
    let cluster = Cluster::find_or_make(wish)?;
    let _lock = cluster.lock()?;
    if Process::read(&cluster.pid_file(supervise::NAME)).is_some() {
        return Err(Error::AlreadyUp(cluster.name));
    }
    // Where only the supervisor was killed, the port is our own server's.
    if Process::read(&cluster.pid_file(supervise::CONTROL)).is_none() && !is_free(cluster.host_port) {
        return Err(Error::PortInUse(cluster.host_port));
    }
    match start(&cluster, &Progress::new()) {
        Ok(()) => Ok(cluster),
        Err(error) => {
            // What went wrong is to be read in the logs, not in what is left running.
            if let Err(left) = down::stop(&cluster) {
                tracing::warn!(error = %left, "not everything could be taken down again");
            }
            Err(error)
        }
    }
}

fn start(cluster: &Cluster, progress: &Progress) -> Result<(), Error> {
    let step = progress.step(format!("certificates in {}", cluster.data("pki").display()));
    make_dir(&cluster.run_dir(), 0o711)?;
    make_dir(&cluster.log_dir(), 0o750)?;
    make_dir(&cluster.data("store"), 0o700)?;
    identities::ensure(cluster, Clock.now())?;
    step.done();
    let step = progress.step(format!("network {}", cluster.node_cidr()));
    network::create(cluster)?;
    mount::share_root()?;
    step.done();
    let step = progress.step("processes");
    // Left of one that died with its supervisor; from here on such a file says that ours did.
    let control = cluster.pid_file(supervise::CONTROL);
    if Process::read(&control).is_none() {
        let _ = fs::remove_file(control);
    }
    cluster.nodes().try_for_each(|node| containerd::prepare(&node))?;
    // What a node that is only now started said before it was stopped does not count.
    let started = Clock.now().as_second();
    let since: Vec<i64> = cluster.nodes().map(|node| Process::read(&cluster.pid_file(&node.agent_name())).map_or(started, |_| 0)).collect();
    start_supervisor(cluster)?;
    step.done();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let wait = Wait { cluster, control: std::cell::Cell::new(None) };
        let (step, imported) = (progress.step("containerd and the pause image"), Instant::now());
        for node in cluster.nodes() {
            containerd::ready(&node).await?;
            containerd::import_pause(&node).await?;
        }
        tracing::debug!(elapsed = ?imported.elapsed(), "pause image imported");
        step.done();
        let step = progress.step(format!("API server on 127.0.0.1:{}", cluster.host_port));
        let client = config::from_kubeconfig(&cluster.admin_kubeconfig(), None)?;
        wait.until("the API server does not answer", API_WITHIN, || is_serving(&client)).await?;
        bind_kubelet_client(&client).await?;
        step.done();
        for (node, since) in cluster.nodes().zip(since) {
            let step = progress.step(format!("node {}", node.name));
            wait.until("the node is not Ready", NODE_WITHIN, || is_ready(&client, node.name, since)).await?;
            step.done();
        }
        let step = progress.step("default ServiceAccount");
        wait.until("the default ServiceAccount is missing", NODE_WITHIN, || has_default_account(&client)).await?;
        step.done();
        Ok(())
    })
}

pub fn check_root() -> Result<(), Error> {
    if nix::unistd::geteuid().is_root() { Ok(()) } else { Err(Error::NotRoot) }
}

fn start_supervisor(cluster: &Cluster) -> Result<(), Error> {
    let path = cluster.log(supervise::NAME);
    let log = OpenOptions::new().create(true).append(true).open(&path).map_err(file(&path))?;
    let own = std::env::current_exe().map_err(file("/proc/self/exe"))?;
    let errors = log.try_clone().map_err(file(&path))?;
    let spawned = Command::new(own).args(["supervise", "--name", &cluster.name]).stdin(Stdio::null()).stdout(log).stderr(errors).spawn();
    let child = spawned.map_err(|source| Error::Start { what: supervise::NAME.into(), source })?;
    // It writes the same again; until then, this says that it is on its way.
    match Process::of(child.id().cast_signed()) {
        Some(process) => process.write(&cluster.pid_file(supervise::NAME)),
        None => Err(died("the supervisor", cluster, supervise::NAME)),
    }
}

/// Waits for things, and notices what makes waiting useless.
struct Wait<'a> {
    cluster: &'a Cluster,
    /// The control plane's process, once there is one.
    control: std::cell::Cell<Option<Process>>,
}

/// What a look found: it is so, or not yet, for this reason.
type Looked = Result<(), String>;

impl Wait<'_> {
    async fn until<F: Future<Output = Looked>>(&self, what: &'static str, within: Duration, mut look: impl FnMut() -> F) -> Result<(), Error> {
        let deadline = Instant::now() + within;
        loop {
            let Err(reason) = look().await else { return Ok(()) };
            self.check_processes()?;
            if Instant::now() > deadline {
                return Err(Error::TooSlow { what, seconds: within.as_secs(), reason, logs: self.cluster.log_dir() });
            }
            sleep(LOOK_EVERY).await;
        }
    }

    fn check_processes(&self) -> Result<(), Error> {
        if Process::read(&self.cluster.pid_file(supervise::NAME)).is_none() {
            return Err(died("the supervisor", self.cluster, supervise::NAME));
        }
        let control = Process::read_any(&self.cluster.pid_file(supervise::CONTROL));
        let died_or_replaced = control.is_some_and(|now| !now.is_alive() || self.control.get().is_some_and(|before| before != now));
        self.control.set(control);
        if died_or_replaced { Err(died("the control plane", self.cluster, supervise::CONTROL)) } else { Ok(()) }
    }
}

fn died(what: &'static str, cluster: &Cluster, name: &str) -> Error {
    let log = cluster.log(name);
    let text = fs::read_to_string(&log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    Error::Died { what, log, tail: lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n") }
}

async fn is_serving(client: &Client) -> Looked {
    let request = http::Request::get("/readyz").body(Vec::new()).map_err(|error| error.to_string())?;
    client.request_text(request).await.map(drop).map_err(|error| error.to_string())
}

/// Whether a node is Ready by what it said at or after a second since 1970.
async fn is_ready(client: &Client, name: &str, since: i64) -> Looked {
    let node = Api::<Node>::all(client.clone()).get_opt(name).await.map_err(|error| error.to_string())?;
    let conditions = node.ok_or("it has not registered")?.status.and_then(|status| status.conditions).unwrap_or_default();
    let ready = conditions.into_iter().find(|condition| condition.type_ == "Ready").ok_or("it reports nothing")?;
    if ready.last_heartbeat_time.is_none_or(|at| at.0.as_second() < since) {
        return Err("it has not reported since".into());
    }
    if ready.status == "True" { Ok(()) } else { Err(ready.message.unwrap_or_default()) }
}

async fn has_default_account(client: &Client) -> Looked {
    let account = Api::<ServiceAccount>::namespaced(client.clone(), "default").get_opt("default").await;
    account.map_err(|error| error.to_string())?.map(drop).ok_or_else(String::new)
}

/// Lets the API server use the kubelets' API, by the role that exists for this.
async fn bind_kubelet_client(client: &Client) -> Result<(), Error> {
    let name = "corten:kube-apiserver-kubelet-client";
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:kubelet-api-admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": KUBELET_CLIENT}],
    });
    let bindings = Api::<ClusterRoleBinding>::all(client.clone());
    bindings.patch(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&binding)).await?;
    Ok(())
}
