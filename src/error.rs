//! What can go wrong with a cluster on this machine: each is one sentence for the person at the terminal.

use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("this needs root: namespaces, mounts and containers are made (try sudo)")]
    NotRoot,
    #[error("{program} is not installed: `apt-get install {package}` brings it")]
    NoProgram { program: &'static str, package: &'static str },
    #[error("{command} failed: {reason}")]
    Command { command: String, reason: String },
    #[error("{0:?} is no name for a cluster: use at most {max} lower-case letters, digits and dashes", max = crate::cluster::NAME_CHARS_MAX)]
    Name(String),
    #[error("only one node is possible so far: --nodes {0} is refused")]
    Nodes(u32),
    #[error("there is no cluster named {0:?}: `corten up --name {0}` makes one")]
    NoCluster(String),
    #[error("the cluster {0:?} is already up: `corten down --name {0}` stops it")]
    AlreadyUp(String),
    #[error("the cluster {0:?} is not up: `corten up --name {0}` starts it")]
    NotUp(String),
    #[error("the cluster {cluster:?} has no node named {node:?}")]
    NoNode { cluster: String, node: String },
    #[error("the cluster {name:?} has its data in {}, not in {}", is.display(), wanted.display())]
    OtherData { name: String, is: PathBuf, wanted: PathBuf },
    #[error("{} holds the cluster {is:?}, not {wanted:?}", folder.display())]
    OtherCluster { folder: PathBuf, is: String, wanted: String },
    #[error("the cluster {0:?} was made without --isolated; `corten down --name {0} --delete` removes it")]
    NotIsolated(String),
    #[error("port {0} of 127.0.0.1 is in use by another process")]
    PortInUse(u16),
    #[error("no port between {from} and {to} is free on 127.0.0.1")]
    NoPort { from: u16, to: u16 },
    #[error("all networks for clusters on this machine are taken")]
    NoNetwork,
    #[error("{} cannot be read as a cluster: {reason}", file.display())]
    ClusterFile { file: PathBuf, reason: String },
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("entering the network namespace {namespace}: {source}")]
    Enter { namespace: String, source: io::Error },
    #[error("starting {what}: {source}")]
    Start { what: String, source: io::Error },
    #[error("{0} ended as soon as it was started")]
    Ended(String),
    #[error("ending process {pid} ({what}): it is still there")]
    End { what: String, pid: i32 },
    #[error("{what} stopped while the cluster was coming up; the log {} ends with:\n{tail}", log.display())]
    Died { what: &'static str, log: PathBuf, tail: String },
    #[error("{what} after {seconds} s{}; the logs are in {}", if reason.is_empty() { String::new() } else { format!(" ({reason})") }, logs.display())]
    TooSlow { what: &'static str, seconds: u64, reason: String, logs: PathBuf },
    #[error("asking containerd: {0}")]
    Runtime(#[from] kubelet_cri::Error),
    #[error("making the pause image: {0}")]
    Pause(io::Error),
    #[error(transparent)]
    Pki(#[from] crate::pki::Error),
    #[error("asking the API server: {0}")]
    Api(#[from] Box<kube::Error>),
    #[error(transparent)]
    Client(#[from] apiserver_client::Error),
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        Error::Api(Box::new(error))
    }
}

/// Names the file in an error about it.
pub fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
    let path = path.into();
    move |source| Error::File { path, source }
}
