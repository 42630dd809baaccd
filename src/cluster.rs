//! One cluster on this machine: its name, its addresses and where its files are. `cluster.json` in its data folder remembers them.
//!
//! `/var/lib/corten/clusters/NAME` is a link to the data folder, so that a cluster is found by name wherever its data is.

use crate::command;
use crate::error::{Error, file};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

const STATE_DIR: &str = "/var/lib/corten";
const RUN_DIR: &str = "/run/corten";
/// The folder of links is among the clusters' own.
const REGISTRY: &str = "clusters";
pub const NAME_CHARS_MAX: usize = 32;
/// Clusters on one machine; each has a /24 for its nodes and a /16 for its Pods.
const CLUSTERS_MAX: u8 = 100;
const HOST_PORT_FROM: u16 = 6443;
const HOST_PORT_TO: u16 = 6543;
/// The port of the API server within the cluster.
pub const API_PORT: u16 = 6443;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    pub name: String,
    /// Decides the networks.
    index: u8,
    /// Where the API server listens on the machine's 127.0.0.1.
    pub host_port: u16,
    /// No link to the machine, no route out.
    pub isolated: bool,
    pub nodes: Vec<String>,
    #[serde(skip)]
    data: PathBuf,
}

/// What `corten up` is asked for.
#[derive(Clone, Debug)]
pub struct Wish {
    pub name: String,
    pub nodes: u32,
    pub data_dir: Option<PathBuf>,
    pub isolated: bool,
}

/// One node's place in a cluster.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    pub cluster: &'a Cluster,
    pub name: &'a str,
    number: u8,
}

impl Cluster {
    /// The cluster of this name, which must exist.
    pub fn find(name: &str) -> Result<Self, Error> {
        check_name(name)?;
        let link = registry().join(name);
        match fs::canonicalize(&link) {
            Ok(data) if data.join("cluster.json").exists() => Self::load(&data),
            _ => Err(Error::NoCluster(name.into())),
        }
    }

    /// The cluster of this name, made (on paper only) where there is none.
    pub fn find_or_make(wish: &Wish) -> Result<Self, Error> {
        check_name(&wish.name)?;
        if wish.nodes != 1 {
            return Err(Error::Nodes(wish.nodes));
        }
        make_dir(&registry(), 0o755)?;
        // One at a time: two that start together must not take the same network.
        let path = registry().join(".lock");
        let lock = fs::File::create(&path).map_err(file(&path))?;
        lock.lock().map_err(file(&path))?;
        let wanted = match &wish.data_dir {
            Some(folder) => std::path::absolute(folder).map_err(file(folder))?,
            None => Path::new(STATE_DIR).join(&wish.name),
        };
        match Self::find(&wish.name) {
            Ok(cluster) => return cluster.suits(wish, &wanted),
            Err(Error::NoCluster(_)) => {}
            Err(error) => return Err(error),
        }
        make_dir(&wanted, 0o711)?;
        let wanted = fs::canonicalize(&wanted).map_err(file(&wanted))?;
        let cluster = if wanted.join("cluster.json").exists() {
            Self::load(&wanted)?.suits(wish, &wanted)?
        } else {
            let cluster = Self::allocate(wish, wanted.clone(), &Self::all()?)?;
            cluster.save()?;
            cluster
        };
        let link = registry().join(&wish.name);
        // A link may be left of a cluster whose data was removed by hand.
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(&wanted, &link).map_err(file(&link))?;
        Ok(cluster)
    }

    fn suits(self, wish: &Wish, wanted: &Path) -> Result<Self, Error> {
        if self.name != wish.name {
            return Err(Error::OtherCluster { folder: self.data, is: self.name, wanted: wish.name.clone() });
        }
        if wish.data_dir.is_some() && fs::canonicalize(wanted).ok().as_ref() != Some(&self.data) {
            return Err(Error::OtherData { name: self.name, is: self.data, wanted: wanted.into() });
        }
        if wish.isolated && !self.isolated {
            return Err(Error::NotIsolated(self.name));
        }
        Ok(self)
    }

    fn allocate(wish: &Wish, data: PathBuf, others: &[Cluster]) -> Result<Self, Error> {
        let routes = if wish.isolated { Vec::new() } else { host_routes()? };
        let make = |index| Cluster {
            name: wish.name.clone(),
            index,
            host_port: 0,
            isolated: wish.isolated,
            nodes: (1..=wish.nodes).map(|number| format!("n{number}")).collect(),
            data: data.clone(),
        };
        let overlaps = |cluster: &Cluster, route: &Ipv4Net| {
            [cluster.node_cidr(), cluster.pod_cidr()].iter().any(|own| own.contains(&route.network()) || route.contains(&own.network()))
        };
        let mut cluster = (0..CLUSTERS_MAX)
            .filter(|index| others.iter().all(|other| other.index != *index))
            .map(make)
            .find(|cluster| !routes.iter().any(|route| overlaps(cluster, route)))
            .ok_or(Error::NoNetwork)?;
        cluster.host_port = (HOST_PORT_FROM..=HOST_PORT_TO)
            .find(|port| others.iter().all(|other| other.host_port != *port) && is_free(*port))
            .ok_or(Error::NoPort { from: HOST_PORT_FROM, to: HOST_PORT_TO })?;
        Ok(cluster)
    }

    /// All clusters of this machine, whether they run or not.
    pub fn all() -> Result<Vec<Self>, Error> {
        let mut clusters = Vec::new();
        for entry in fs::read_dir(registry()).map_err(file(registry()))?.flatten() {
            if let Some(cluster) = fs::canonicalize(entry.path()).ok().and_then(|data| Self::load(&data).ok()) {
                clusters.push(cluster);
            }
        }
        Ok(clusters)
    }

    fn load(data: &Path) -> Result<Self, Error> {
        let path = data.join("cluster.json");
        let text = fs::read(&path).map_err(file(&path))?;
        let cluster: Self = serde_json::from_slice(&text).map_err(|error| Error::ClusterFile { file: path, reason: error.to_string() })?;
        Ok(Self { data: data.into(), ..cluster })
    }

    fn save(&self) -> Result<(), Error> {
        let path = self.data.join("cluster.json");
        let text = serde_json::to_vec_pretty(self).map_err(|error| Error::ClusterFile { file: path.clone(), reason: error.to_string() })?;
        fs::write(&path, text).map_err(file(&path))
    }

    /// Held while it is brought up or taken down: one at a time.
    pub fn lock(&self) -> Result<fs::File, Error> {
        let path = self.data("lock");
        let lock = fs::File::create(&path).map_err(file(&path))?;
        lock.lock().map_err(file(&path))?;
        Ok(lock)
    }

    /// Removes the data and the name.
    pub fn delete(&self) -> Result<(), Error> {
        fs::remove_dir_all(&self.data).map_err(file(&self.data))?;
        let link = registry().join(&self.name);
        fs::remove_file(&link).map_err(file(&link))
    }

    pub fn nodes(&self) -> impl Iterator<Item = Node<'_>> {
        self.nodes.iter().zip(1..).map(|(name, number)| Node { cluster: self, name, number })
    }

    pub fn node(&self, name: &str) -> Option<Node<'_>> {
        self.nodes().find(|node| node.name == name)
    }

    pub fn data(&self, below: &str) -> PathBuf {
        self.data.join(below)
    }

    /// Sockets, pids and what else does not outlive the machine's uptime.
    pub fn run_dir(&self) -> PathBuf {
        Path::new(RUN_DIR).join(&self.name)
    }

    pub fn log_dir(&self) -> PathBuf {
        self.data("log")
    }

    pub fn log(&self, name: &str) -> PathBuf {
        self.log_dir().join(format!("{name}.log"))
    }

    pub fn pid_file(&self, name: &str) -> PathBuf {
        self.run_dir().join(format!("{name}.pid"))
    }

    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.data("admin.kubeconfig")
    }

    pub fn control_namespace(&self) -> String {
        format!("corten-{}-ctl", self.name)
    }

    /// The name of the link to the machine; what the kernel takes is short.
    pub fn host_link(&self) -> String {
        format!("corten{}", self.index)
    }

    /// The table of rules on the machine.
    pub fn host_table(&self) -> String {
        format!("corten-{}", self.name)
    }

    /// For example 10.99.0.0/24.
    pub fn node_cidr(&self) -> Ipv4Net {
        Ipv4Net::new_assert(Ipv4Addr::new(10, 99, self.index, 0), 24)
    }

    /// For example 10.244.0.0/16; later clusters count down from there.
    pub fn pod_cidr(&self) -> Ipv4Net {
        Ipv4Net::new_assert(Ipv4Addr::new(10, 244 - self.index, 0, 0), 16)
    }

    pub fn service_cidr(&self) -> Ipv4Net {
        Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 16)
    }

    pub fn control_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 99, self.index, 1)
    }

    /// The machine's own end of the link.
    pub fn host_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 99, self.index, 254)
    }

    /// The Service of the API server.
    pub fn api_service(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 96, 0, 1)
    }

    pub fn dns_service(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 96, 0, 10)
    }
}

impl Node<'_> {
    pub fn namespace(&self) -> String {
        format!("corten-{}-{}", self.cluster.name, self.name)
    }

    pub fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 99, self.cluster.index, 10 + self.number)
    }

    /// The root of its Pods' cgroups.
    pub fn cgroup(&self) -> String {
        format!("/corten-{}-{}", self.cluster.name, self.name)
    }

    pub fn data(&self, below: &str) -> PathBuf {
        self.cluster.data.join("nodes").join(self.name).join(below)
    }

    pub fn run_dir(&self) -> PathBuf {
        self.cluster.run_dir().join(self.name)
    }

    pub fn containerd_socket(&self) -> PathBuf {
        self.run_dir().join("containerd.sock")
    }

    pub fn cni_config(&self) -> PathBuf {
        self.data("cni").join("10-corten.conflist")
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.data("kubeconfig")
    }

    /// How its agent and its containerd are called among the cluster's processes.
    pub fn agent_name(&self) -> String {
        format!("node-{}", self.name)
    }

    pub fn containerd_name(&self) -> String {
        format!("containerd-{}", self.name)
    }
}

fn registry() -> PathBuf {
    Path::new(STATE_DIR).join(REGISTRY)
}

pub fn make_dir(path: &Path, mode: u32) -> Result<(), Error> {
    fs::DirBuilder::new().recursive(true).mode(mode).create(path).map_err(file(path))
}

fn check_name(name: &str) -> Result<(), Error> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let edge = |c: Option<char>| c.is_some_and(|c| c != '-');
    let fine = name.len() <= NAME_CHARS_MAX && name.chars().all(good) && edge(name.chars().next()) && edge(name.chars().last()) && name != REGISTRY;
    if fine { Ok(()) } else { Err(Error::Name(name.into())) }
}

/// Whether nobody listens on this port of 127.0.0.1.
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Where the machine sends packets to, but for the default route.
fn host_routes() -> Result<Vec<Ipv4Net>, Error> {
    #[derive(Deserialize)]
    struct Route {
        dst: String,
    }
    let printed = command::run("ip", &["-j", "-4", "route", "show"])?;
    let routes: Vec<Route> = serde_json::from_slice(&printed).unwrap_or_default();
    Ok(routes.iter().filter_map(|route| route.dst.parse().ok().or_else(|| route.dst.parse::<Ipv4Addr>().ok().map(Ipv4Net::from))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_labels_that_no_folder_of_ours_has() {
        let check = |name: &str, good: bool| assert_eq!(check_name(name).is_ok(), good, "{name:?}");
        check("default", true);
        check("a-2", true);
        check("", false);
        check("-a", false);
        check("a-", false);
        check("A", false);
        check("a/b", false);
        check("clusters", false);
        check(&"a".repeat(NAME_CHARS_MAX), true);
        check(&"a".repeat(NAME_CHARS_MAX + 1), false);
    }

    #[test]
    fn clusters_side_by_side_have_networks_and_ports_of_their_own() {
        let wish = |name: &str| Wish { name: name.into(), nodes: 1, data_dir: None, isolated: true };
        let first = Cluster::allocate(&wish("a"), "/a".into(), &[]).unwrap();
        let second = Cluster::allocate(&wish("b"), "/b".into(), std::slice::from_ref(&first)).unwrap();
        assert_eq!((first.node_cidr().to_string(), first.pod_cidr().to_string()), ("10.99.0.0/24".into(), "10.244.0.0/16".into()));
        assert_eq!((second.node_cidr().to_string(), second.pod_cidr().to_string()), ("10.99.1.0/24".into(), "10.243.0.0/16".into()));
        assert_ne!(first.host_port, second.host_port);
        assert!(second.host_link().len() <= 15);
    }

    #[test]
    fn a_cluster_is_remembered_in_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let wish = Wish { name: "a".into(), nodes: 1, data_dir: None, isolated: true };
        let cluster = Cluster::allocate(&wish, folder.path().into(), &[]).unwrap();
        cluster.save().unwrap();
        assert_eq!(Cluster::load(folder.path()).unwrap(), cluster);
        assert_eq!(cluster.nodes().map(|node| node.address().to_string()).collect::<Vec<_>>(), ["10.99.0.11"]);
    }
}
