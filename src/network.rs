//! The network of a cluster: a control namespace with a bridge, a namespace a node, and, unless isolated, one link to the machine.
//!
//!     machine ── corten0 ─┐ 10.99.0.254                    (not when isolated; the machine masquerades what leaves)
//!     control namespace   br0 10.99.0.1 ── n1 ─┐           routes each node's Pods to the node
//!     node namespace                          eth0 10.99.0.11
//!
//! Until a proxy serves Services, each node sends the API server's Service address to it and refuses what asks for the cluster's DNS.

use crate::cluster::{API_PORT, Cluster, Node};
use crate::command;
use crate::error::{Error, file};
use nix::sched::{CloneFlags, setns};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

const NAMESPACES_DIR: &str = "/run/netns";

/// Written when the network is complete.
fn marker(cluster: &Cluster) -> PathBuf {
    cluster.run_dir().join("network")
}

/// Makes the network, unless it is there already. What is left of a half made one is removed first.
pub fn create(cluster: &Cluster) -> Result<(), Error> {
    if marker(cluster).exists() {
        return Ok(());
    }
    remove(cluster)?;
    let control = cluster.control_namespace();
    command::run("ip", &["netns", "add", &control])?;
    let mut links = format!("link set lo up\nlink add br0 type bridge\naddr add {}/24 dev br0\nlink set br0 up\n", cluster.control_address());
    for node in cluster.nodes() {
        command::run("ip", &["netns", "add", &node.namespace()])?;
        write_line(&mut links, format_args!("link add {0} type veth peer name eth0 netns {1}", node.name, node.namespace()));
        write_line(&mut links, format_args!("link set {} master br0 up", node.name));
    }
    ip_batch(&control, &links)?;
    forward_packets(&control)?;
    for node in cluster.nodes() {
        let namespace = node.namespace();
        let address = node.address();
        ip_batch(
            &namespace,
            &format!("link set lo up\naddr add {address}/24 dev eth0\nlink set eth0 up\nroute add default via {}\n", cluster.control_address()),
        )?;
        forward_packets(&namespace)?;
        within(&namespace, || nft(&node_rules(cluster)))??;
    }
    if !cluster.isolated {
        link_to_host(cluster)?;
    }
    fs::write(marker(cluster), "").map_err(file(marker(cluster)))
}

fn link_to_host(cluster: &Cluster) -> Result<(), Error> {
    let (control, link) = (cluster.control_namespace(), cluster.host_link());
    command::run("ip", &["link", "add", &link, "type", "veth", "peer", "name", "host", "netns", &control])?;
    command::run("ip", &["addr", "add", &format!("{}/24", cluster.host_address()), "dev", &link])?;
    command::run("ip", &["link", "set", &link, "up"])?;
    ip_batch(&control, &format!("link set host master br0 up\nroute add default via {}\n", cluster.host_address()))?;
    command::run("ip", &["route", "add", &cluster.pod_cidr().to_string(), "via", &cluster.control_address().to_string()])?;
    // Stays on when the cluster goes: by then others may rely on it.
    let path = "/proc/sys/net/ipv4/ip_forward";
    fs::write(path, "1").map_err(file(path))?;
    nft(&host_rules(cluster))
}

/// Removes whatever there is of the network.
pub fn remove(cluster: &Cluster) -> Result<(), Error> {
    let _ = fs::remove_file(marker(cluster));
    for namespace in cluster.nodes().map(|node| node.namespace()).chain([cluster.control_namespace()]) {
        if Path::new(NAMESPACES_DIR).join(&namespace).exists() {
            command::run("ip", &["netns", "del", &namespace])?;
        }
    }
    if cluster.isolated {
        return Ok(());
    }
    // A namespace that is going takes its links along a little later; this one, with its route, goes now.
    if Path::new("/sys/class/net").join(cluster.host_link()).exists()
        && let Err(error) = command::run("ip", &["link", "del", &cluster.host_link()])
        && Path::new("/sys/class/net").join(cluster.host_link()).exists()
    {
        return Err(error);
    }
    let table = cluster.host_table();
    nft(&format!("table ip {table}\ndelete table ip {table}\n"))
}

/// Routes the Pods of a node through it. From any namespace.
pub fn route_pods(node: &Node<'_>, pod_cidr: &str) -> Result<(), Error> {
    let address = node.address().to_string();
    command::run("ip", &["-n", &node.cluster.control_namespace(), "route", "replace", pod_cidr, "via", &address]).map(drop)
}

fn node_rules(cluster: &Cluster) -> String {
    let (service, dns, server) = (cluster.api_service(), cluster.dns_service(), cluster.control_address());
    let send = format!("ip daddr {service} tcp dport 443 dnat to {server}:{API_PORT}");
    let refuse = format!("ip daddr {dns} tcp dport 53 reject with tcp reset\n    ip daddr {dns} udp dport 53 reject");
    format!(
        "table ip corten {{\n\
         \x20 chain prerouting {{\n    type nat hook prerouting priority dstnat\n    {send}\n  }}\n\
         \x20 chain output {{\n    type nat hook output priority -100\n    {send}\n  }}\n\
         \x20 chain forward {{\n    type filter hook forward priority filter\n    {refuse}\n  }}\n\
         \x20 chain refuse {{\n    type filter hook output priority filter\n    {refuse}\n  }}\n\
         }}\n"
    )
}

/// What leaves the cluster for elsewhere does so under the machine's address.
fn host_rules(cluster: &Cluster) -> String {
    let (table, own) = (cluster.host_table(), format!("{{ {}, {} }}", cluster.node_cidr(), cluster.pod_cidr()));
    format!(
        "table ip {table}\ndelete table ip {table}\ntable ip {table} {{\n\
         \x20 chain postrouting {{\n    type nat hook postrouting priority srcnat\n    ip saddr {own} ip daddr != {own} masquerade\n  }}\n\
         }}\n"
    )
}

/// Runs `work` on a thread of its own within a namespace.
pub fn within<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| enter(namespace).map(|()| work()));
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Moves this thread, and those that it starts from now on, into a namespace. `ip netns exec` would also hide /sys/fs/cgroup.
pub fn enter(namespace: &str) -> Result<(), Error> {
    let failed = |source| Error::Enter { namespace: namespace.into(), source };
    let handle = fs::File::open(Path::new(NAMESPACES_DIR).join(namespace)).map_err(failed)?;
    setns(handle, CloneFlags::CLONE_NEWNET).map_err(|errno| failed(errno.into()))
}

fn forward_packets(namespace: &str) -> Result<(), Error> {
    within(namespace, || {
        let path = "/proc/sys/net/ipv4/ip_forward";
        fs::write(path, "1").map_err(file(path))
    })?
}

fn ip_batch(namespace: &str, lines: &str) -> Result<(), Error> {
    command::run_with_input("ip", &["-n", namespace, "-batch", "-"], lines.as_bytes()).map(drop)
}

fn nft(rules: &str) -> Result<(), Error> {
    command::run_with_input("nft", &["-f", "-"], rules.as_bytes()).map(drop)
}

fn write_line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{line}");
}
