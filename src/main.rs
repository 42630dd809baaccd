//! `corten`: a Kubernetes cluster in one binary. This file reads flags; everything else is in the components.
//!
//! Beside the components on their own there is `up`: a whole cluster on this machine, of processes that are this binary again.
//!
//!     up ──► supervise ──► control    API server, scheduler, controllers
//!                     ├──► containerd (one a node)
//!                     └──► node       kubelet (one a node)

mod cgroup;
mod cluster;
mod cni;
mod command;
mod containerd;
mod control;
mod down;
mod error;
mod flags;
mod identities;
mod mount;
mod network;
mod node;
mod oci;
mod pause;
mod pki;
mod process;
mod progress;
mod supervise;
mod up;

use apiserver_component::{Shutdown, trace};
use clap::{Parser, Subcommand};
use cluster::Cluster;
use error::Error;
use std::future::Future;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(name = "corten", version, about = "Kubernetes, control plane and node stack, in Rust", disable_help_subcommand = true)]
struct Command {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Start a cluster on this machine, or resume one that was stopped
    Up(flags::Up),
    /// Stop a cluster and remove what it made on this machine
    Down(flags::Down),
    /// Print the kubeconfig of a cluster's administrator
    Kubeconfig(flags::Named),
    /// Work with the images of a cluster's nodes
    #[command(subcommand)]
    Image(flags::Image),
    /// Serve the Kubernetes API
    Apiserver(Box<flags::Apiserver>),
    /// Assign Pods to nodes
    Scheduler(flags::Scheduler),
    /// Run the controllers
    Controllers(Box<flags::Controllers>),
    /// Run the Pods of one node
    Kubelet(Box<flags::Kubelet>),
    /// Keep a cluster's processes running
    #[command(hide = true)]
    Supervise(flags::Named),
    /// API server, scheduler and controllers of a cluster
    #[command(hide = true)]
    Control(flags::Named),
    /// Kubelet of a cluster's node
    #[command(hide = true)]
    Node(flags::Node),
}

fn main() -> ExitCode {
    let command = Command::parse();
    trace::init(command.what.log_filter());
    match run(command.what) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("corten: {error}");
            ExitCode::FAILURE
        }
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl What {
    /// A person at a terminal sees what is wrong; the log of a process tells what it does.
    fn log_filter(&self) -> &'static str {
        match self {
            What::Up(_) | What::Down(_) | What::Kubeconfig(_) | What::Image(_) => "warn",
            _ => "info",
        }
    }
}

fn run(what: What) -> Result<(), Failure> {
    match what {
        What::Up(flags) => {
            let cluster = up::up(&flags.wish())?;
            println!("export KUBECONFIG={}", cluster.admin_kubeconfig().display());
            Ok(())
        }
        What::Down(flags) => {
            up::check_root()?;
            Ok(down::down(&Cluster::find(&flags.named.name)?, flags.delete)?)
        }
        What::Kubeconfig(flags) => {
            print!("{}", identities::admin_kubeconfig(&Cluster::find(&flags.name)?)?);
            Ok(())
        }
        What::Image(flags::Image::Import(flags)) => {
            let cluster = Cluster::find(&flags.named.name)?;
            Ok(containerd::import_everywhere(&cluster, &flags.files)?)
        }
        What::Supervise(flags) => {
            let cluster = Cluster::find(&flags.name)?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(until_signal(|shutdown| async { Ok(supervise::run(cluster, shutdown).await?) }))
        }
        What::Control(flags) => control::run(&Cluster::find(&flags.name)?),
        What::Node(flags) => {
            let cluster = Cluster::find(&flags.named.name)?;
            let node = cluster.node(&flags.node).ok_or_else(|| Error::NoNode { cluster: cluster.name.clone(), node: flags.node.clone() })?;
            node::run(node)
        }
        component => runtime()?.block_on(until_signal(|shutdown| run_component(component, shutdown))),
    }
}

async fn run_component(what: What, shutdown: Shutdown) -> Result<(), Failure> {
    match what {
        What::Apiserver(flags) => Ok(apiserver::run(flags.config()?, shutdown).await?),
        What::Scheduler(flags) => Ok(scheduler::run(flags.config(), flags.client.client()?, shutdown).await?),
        What::Controllers(flags) => Ok(controllers::run(flags.config()?, flags.client.client()?, shutdown).await?),
        What::Kubelet(flags) => {
            let client = flags.client.client()?;
            Ok(kubelet::run(flags.config()?, client, shutdown).await?)
        }
        _ => Ok(()),
    }
}

/// Threads of the runtime: the cores, at most this many.
const WORKER_THREADS_MAX: usize = 8;

/// A handful of threads: the work is short, and each thread has caches of its own.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let threads = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, WORKER_THREADS_MAX);
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?)
}

/// Runs `work` to its end; the first signal that asks the process to end fires its shutdown.
async fn until_signal<F>(work: impl FnOnce(Shutdown) -> F) -> Result<(), Failure>
where
    F: Future<Output = Result<(), Failure>>,
{
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let shutdown = Shutdown::new();
    let work = work(shutdown.clone());
    tokio::pin!(work);
    tokio::select! {
        done = &mut work => return done,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    shutdown.fire();
    work.await
}
