//! The supervisor: one process a cluster that keeps the others running, bounds their logs and renews certificates.
//!
//!     Down ── start ──► Up ── ended ──► Down, for a while that doubles with every quick end
//!
//! It holds nothing that is not on disk. When it is killed the others go on, and the next one takes them over by their pid files.
//! When it is told to end, it ends all but the containerds, which `corten down` ends last.

use crate::cluster::Cluster;
use crate::error::{Error, file};
use crate::process::Process;
use crate::{containerd, identities, network};
use apiserver_component::{Clock, Shutdown, Tasks};
use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep};

const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// Short: while the control plane is away, everything else waits longer and longer.
const BACKOFF_MAX: Duration = Duration::from_secs(3);
/// What ran this long has started well: the next end is its first.
const STEADY_AFTER: Duration = Duration::from_secs(10);
/// What does not end by then is killed.
const END_WITHIN: Duration = Duration::from_secs(12);
const LOG_BYTES_MAX: u64 = 16 << 20;
const LOGS_EVERY: Duration = Duration::from_secs(10);
const CERTIFICATES_EVERY: Duration = Duration::from_secs(3_600);

/// How it is called among the cluster's processes.
pub const NAME: &str = "supervisor";
pub const CONTROL: &str = "control";

/// One process to keep.
struct Unit {
    name: String,
    program: PathBuf,
    arguments: Vec<String>,
    /// `None`: the machine's own.
    namespace: Option<String>,
    pid_file: PathBuf,
    log: PathBuf,
    /// Whether it ends with the supervisor.
    ends_with_us: bool,
}

fn units(cluster: &Cluster) -> Result<Vec<Unit>, Error> {
    // Taken once: later the path may be that of a newer binary, or of none.
    let own = std::env::current_exe().map_err(file("/proc/self/exe"))?;
    let unit = |name: String, arguments: Vec<String>| Unit {
        program: own.clone(),
        arguments,
        namespace: None,
        pid_file: cluster.pid_file(&name),
        log: cluster.log(&name),
        ends_with_us: true,
        name,
    };
    let named = |verb: &str| vec![verb.to_owned(), "--name".to_owned(), cluster.name.clone()];
    let mut units = vec![unit(CONTROL.into(), named("control"))];
    for node in cluster.nodes() {
        let runtime = unit(node.containerd_name(), containerd::arguments(&node));
        units.push(Unit { program: "containerd".into(), namespace: Some(node.namespace()), ends_with_us: false, ..runtime });
        units.push(unit(node.agent_name(), [named("node"), vec!["--node".to_owned(), node.name.to_owned()]].concat()));
    }
    Ok(units)
}

/// Keeps the cluster's processes until told to end.
pub async fn run(cluster: Cluster, shutdown: Shutdown) -> Result<(), Error> {
    // Its own session: no terminal's end reaches it.
    let _ = nix::unistd::setsid();
    let own = Process::of(std::process::id().cast_signed()).ok_or_else(|| Error::Ended(NAME.into()))?;
    own.write(&cluster.pid_file(NAME))?;
    let tasks = Tasks::new(shutdown.clone());
    for unit in units(&cluster)? {
        let shutdown = shutdown.clone();
        tasks.spawn_graceful("unit", async move { unit.keep(&shutdown).await });
    }
    tasks.spawn("logs", bound_logs(cluster.log_dir()));
    tasks.spawn("certificates", renew_certificates(cluster.clone()));
    tasks.join().await;
    let path = cluster.pid_file(NAME);
    fs::remove_file(&path).map_err(file(path))
}

impl Unit {
    async fn keep(&self, shutdown: &Shutdown) {
        let mut backoff = BACKOFF_MIN;
        while !shutdown.fired() {
            let started = Instant::now();
            match self.adopt_or_start() {
                Ok(mut running) => match shutdown.run_until(running.ended()).await {
                    Some(()) => tracing::warn!(unit = self.name, "ended"),
                    None if self.ends_with_us => return self.end(running).await,
                    None => return,
                },
                Err(error) => tracing::error!(unit = self.name, %error, "not started"),
            }
            if started.elapsed() > STEADY_AFTER {
                backoff = BACKOFF_MIN;
            }
            if shutdown.run_until(sleep(backoff)).await.is_none() {
                return;
            }
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    fn adopt_or_start(&self) -> Result<Running, Error> {
        if let Some(process) = Process::read(&self.pid_file) {
            tracing::info!(unit = self.name, pid = process.pid(), "taken over");
            return Ok(Running { process, child: None });
        }
        let log = OpenOptions::new().create(true).append(true).open(&self.log).map_err(file(&self.log))?;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(log.try_clone().map_err(file(&self.log))?).stderr(log);
        // A group of its own, so that a signal to ours is not its.
        command.process_group(0);
        let spawned = match &self.namespace {
            None => command.spawn(),
            Some(namespace) => network::within(namespace, || command.spawn())?,
        };
        let mut child = spawned.map_err(|source| Error::Start { what: self.name.clone(), source })?;
        let pid = child.id().cast_signed();
        let Some(process) = Process::of(pid) else {
            let _ = child.wait();
            return Err(Error::Ended(self.name.clone()));
        };
        process.write(&self.pid_file)?;
        tracing::info!(unit = self.name, pid, "started");
        Ok(Running { process, child: Some(child) })
    }

    async fn end(&self, mut running: Running) {
        let (name, process) = (self.name.clone(), running.process);
        let ended = tokio::task::spawn_blocking(move || process.end(&name, END_WITHIN)).await;
        if let Ok(Err(error)) = ended {
            tracing::error!(unit = self.name, %error, "still there");
        }
        running.ended().await;
        let _ = fs::remove_file(&self.pid_file);
    }
}

struct Running {
    process: Process,
    /// Ours to reap, unless taken over.
    child: Option<std::process::Child>,
}

impl Running {
    async fn ended(&mut self) {
        #[expect(deprecated, reason = "an OwnedFd stays open and the same for as long as it is registered, which is all that the newer one asks")]
        let handle = self.process.handle().and_then(|handle| AsyncFd::new(handle).ok());
        if let Some(handle) = handle {
            let _ = handle.readable().await;
        }
        if let Some(child) = &mut self.child {
            let _ = child.wait();
        }
    }
}

/// What writes into a log has it open for appending, so cutting it is seen at once; the part before is kept beside it.
async fn bound_logs(folder: PathBuf) {
    loop {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let full = path.extension().is_some_and(|kind| kind == "log") && entry.metadata().is_ok_and(|meta| meta.len() > LOG_BYTES_MAX);
            if full && let Err(error) = cut(&path) {
                tracing::warn!(log = %path.display(), %error, "not cut");
            }
        }
        sleep(LOGS_EVERY).await;
    }
}

fn cut(path: &Path) -> std::io::Result<()> {
    fs::copy(path, path.with_extension("log.1"))?;
    OpenOptions::new().write(true).truncate(true).open(path).map(drop)
}

/// Processes notice that the files have changed.
async fn renew_certificates(cluster: Cluster) {
    loop {
        sleep(CERTIFICATES_EVERY).await;
        if let Err(error) = identities::ensure(&cluster, Clock.now()) {
            tracing::error!(%error, "certificates not renewed");
        }
    }
}
