//! A Pod's sandbox as the runtime wants it, and its files that all containers share.

use crate::dns::{self, Resolvers};
use crate::{pod, security, view};
use k8s_openapi::api::core::v1::Pod;
use kubelet_cri::v1;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const HOSTNAME_CHARS_MAX: usize = 63;

/// `<namespace>_<name>_<uid>` below the folder of Pod logs.
pub fn log_folder(logs: &Path, pod: &Pod) -> PathBuf {
    logs.join(format!("{}_{}_{}", pod::namespace(pod), pod::name(pod), pod::uid(pod)))
}

/// A Pod's hostname and, with a subdomain, its domain.
pub fn hostname(pod: &Pod, cluster_domain: &str) -> (String, Option<String>) {
    let spec = pod::spec(pod);
    let shorten = |name: &str| {
        let cut: String = name.chars().take(HOSTNAME_CHARS_MAX).collect();
        if name.len() > HOSTNAME_CHARS_MAX { cut.trim_end_matches(['-', '.']).to_owned() } else { cut }
    };
    if let Some(name) = &spec.hostname_override {
        return (shorten(name), None);
    }
    let name = shorten(spec.hostname.as_deref().filter(|name| !name.is_empty()).unwrap_or(pod::name(pod)));
    let subdomain = spec.subdomain.as_deref().filter(|name| !name.is_empty());
    (name, subdomain.map(|subdomain| format!("{subdomain}.{}.svc.{cluster_domain}", pod::namespace(pod))))
}

pub struct Surroundings<'a> {
    pub logs: &'a Path,
    pub cgroup_parent: String,
    pub resolvers: &'a Resolvers,
}

pub fn config(pod: &Pod, attempt: u32, around: &Surroundings<'_>) -> v1::PodSandboxConfig {
    let spec = pod::spec(pod);
    let (short, domain) = hostname(pod, &around.resolvers.cluster_domain);
    let as_fqdn = spec.set_hostname_as_fqdn.unwrap_or_default() && spec.hostname_override.is_none();
    let full = domain.filter(|_| as_fqdn).map(|domain| format!("{short}.{domain}"));
    let hostname = full.unwrap_or(short);
    let mut labels = pod.metadata.labels.clone().unwrap_or_default();
    labels.extend(identity(pod));
    let sysctls = spec.security_context.iter().flat_map(|context| context.sysctls.iter().flatten());
    v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: pod::name(pod).to_owned(),
            uid: pod::uid(pod).to_owned(),
            namespace: pod::namespace(pod).to_owned(),
            attempt,
        }),
        // On the node's network it is the node's own.
        hostname: if pod::uses_host_network(pod) && spec.hostname_override.is_none() { String::new() } else { hostname },
        log_directory: log_folder(around.logs, pod).to_string_lossy().into_owned(),
        dns_config: Some(dns::config(pod, around.resolvers)),
        port_mappings: port_mappings(pod),
        labels,
        annotations: pod.metadata.annotations.clone().unwrap_or_default(),
        linux: Some(v1::LinuxPodSandboxConfig {
            cgroup_parent: around.cgroup_parent.clone(),
            security_context: Some(security::sandbox_context(pod)),
            sysctls: sysctls.map(|sysctl| (sysctl.name.clone(), sysctl.value.clone())).collect(),
            ..Default::default()
        }),
    }
}

/// The labels that say whose a sandbox or container is.
pub fn identity(pod: &Pod) -> BTreeMap<String, String> {
    BTreeMap::from([
        (view::POD_NAME.to_owned(), pod::name(pod).to_owned()),
        (view::POD_NAMESPACE.to_owned(), pod::namespace(pod).to_owned()),
        (view::POD_UID.to_owned(), pod::uid(pod).to_owned()),
    ])
}

fn port_mappings(pod: &Pod) -> Vec<v1::PortMapping> {
    if pod::uses_host_network(pod) {
        return Vec::new();
    }
    let sidecars = pod::init_containers(pod).iter().filter(|container| pod::is_sidecar(container));
    let ports = sidecars.chain(pod::containers(pod)).flat_map(|container| container.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let host_port = port.host_port.filter(|port| *port > 0)?;
            Some(v1::PortMapping {
                protocol: match port.protocol.as_deref() {
                    Some("UDP") => v1::Protocol::Udp,
                    Some("SCTP") => v1::Protocol::Sctp,
                    _ => v1::Protocol::Tcp,
                }
                .into(),
                container_port: port.container_port,
                host_port,
                host_ip: port.host_ip.clone().unwrap_or_default(),
            })
        })
        .collect()
}

/// What the containers of a Pod see as /etc/hosts. `node_hosts` is the node's own file, for Pods on its network.
pub fn hosts_file(pod: &Pod, ips: &[String], cluster_domain: &str, node_hosts: &str) -> String {
    let mut text = String::new();
    if pod::uses_host_network(pod) {
        text.push_str("# Kubernetes-managed hosts file (host network).\n");
        text.push_str(node_hosts);
    } else {
        text.push_str("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
        text.push_str("fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n");
        let (name, domain) = hostname(pod, cluster_domain);
        for ip in ips {
            match &domain {
                Some(domain) => text.push_str(&format!("{ip}\t{name}.{domain}\t{name}\n")),
                None => text.push_str(&format!("{ip}\t{name}\n")),
            }
        }
    }
    let aliases = pod::spec(pod).host_aliases.as_deref().unwrap_or_default();
    if !aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
    }
    for alias in aliases {
        text.push_str(&format!("{}\t{}\n", alias.ip, alias.hostnames.as_deref().unwrap_or_default().join("\t")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(spec: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "web-0", "namespace": "n", "uid": "u", "labels": {"app": "x"}}, "spec": spec}))
            .expect("a pod")
    }

    fn made(spec: Value) -> v1::PodSandboxConfig {
        let resolvers = Resolvers { cluster_domain: "cluster.local".to_owned(), ..Default::default() };
        let around = Surroundings { logs: Path::new("/logs"), cgroup_parent: "/kubepods/podu".to_owned(), resolvers: &resolvers };
        config(&pod(spec), 2, &around)
    }

    #[test]
    fn a_sandbox_carries_who_it_is() {
        let config = made(json!({"containers": []}));
        assert_eq!(config.metadata.expect("metadata").attempt, 2);
        assert_eq!(config.hostname, "web-0");
        assert_eq!(config.log_directory, "/logs/n_web-0_u");
        assert_eq!(config.labels["app"], "x");
        assert_eq!(config.labels[view::POD_UID], "u");
        assert_eq!(config.linux.expect("linux").cgroup_parent, "/kubepods/podu");
    }

    #[test]
    fn hostnames_follow_the_spec() {
        let check = |spec: Value, expect: &str| {
            let mut spec = spec;
            spec["containers"] = json!([]);
            assert_eq!(made(spec.clone()).hostname, expect, "{spec}");
        };
        check(json!({"hostname": "h"}), "h");
        check(json!({"hostname": "h", "subdomain": "s"}), "h");
        check(json!({"hostname": "h", "subdomain": "s", "setHostnameAsFQDN": true}), "h.s.n.svc.cluster.local");
        check(json!({"hostnameOverride": "o.example", "subdomain": "s"}), "o.example");
        check(json!({"hostNetwork": true}), "");
        check(json!({"hostname": format!("{}-b", "a".repeat(62))}), &"a".repeat(62));
    }

    #[test]
    fn only_host_ports_are_mapped() {
        let config = made(
            json!({"containers": [{"name": "c", "ports": [{"containerPort": 80}, {"containerPort": 53, "hostPort": 5353, "protocol": "UDP", "hostIP": "1.2.3.4"}]}]}),
        );
        let mapping = &config.port_mappings[..];
        assert_eq!(mapping.len(), 1);
        assert_eq!((mapping[0].host_port, mapping[0].protocol(), mapping[0].host_ip.as_str()), (5353, v1::Protocol::Udp, "1.2.3.4"));
    }

    #[test]
    fn the_hosts_file_names_the_pod_and_its_aliases() {
        let spec = json!({"containers": [], "subdomain": "s", "hostAliases": [{"ip": "9.9.9.9", "hostnames": ["a", "b"]}]});
        let text = hosts_file(&pod(spec), &["10.0.0.1".to_owned()], "cluster.local", "");
        assert!(text.contains("10.0.0.1\tweb-0.s.n.svc.cluster.local\tweb-0\n"), "{text}");
        assert!(text.ends_with("\n# Entries added by HostAliases.\n9.9.9.9\ta\tb\n"), "{text}");
        let text = hosts_file(&pod(json!({"containers": [], "hostNetwork": true})), &[], "cluster.local", "127.0.0.1 node\n");
        assert!(text.contains("127.0.0.1 node\n"));
    }
}
