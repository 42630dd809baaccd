//! What a Pod's resolver is told: servers, search domains and options, by its dnsPolicy and dnsConfig.

use crate::pod;
use k8s_openapi::api::core::v1::Pod;
use kubelet_cri::v1::DnsConfig;
use std::path::Path;

/// More than these a resolver does not read.
const SERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;
const SEARCH_CHARS_MAX: usize = 2048;
/// A resolver file larger than this is not one.
const RESOLV_CONF_BYTES_MAX: u64 = 64 * 1024;

/// The cluster's own DNS, and what the node resolves with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolvers {
    pub cluster_servers: Vec<String>,
    pub cluster_domain: String,
    pub host: Host,
}

/// What a resolv.conf says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    pub servers: Vec<String>,
    pub searches: Vec<String>,
    pub options: Vec<String>,
}

impl Host {
    /// Reads the file; one that is not there says nothing.
    pub fn read(path: &Path) -> Self {
        use std::io::Read;
        let mut text = String::new();
        let read = std::fs::File::open(path).and_then(|file| file.take(RESOLV_CONF_BYTES_MAX).read_to_string(&mut text));
        if let Err(error) = read {
            tracing::warn!(path = %path.display(), %error, "cannot read the node's resolver configuration");
        }
        Self::parse(&text)
    }

    fn parse(text: &str) -> Self {
        let mut host = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace().map(str::to_owned);
            match words.next().as_deref() {
                Some("nameserver") => host.servers.extend(words.next()),
                // The last of several counts.
                Some("search") => host.searches = words.map(|word| if word == "." { word } else { word.trim_end_matches('.').to_owned() }).collect(),
                Some("options") => host.options = words.collect(),
                _ => {}
            }
        }
        host
    }
}

fn push_new(list: &mut Vec<String>, items: impl IntoIterator<Item = String>) {
    for item in items {
        if !list.contains(&item) {
            list.push(item);
        }
    }
}

pub fn config(pod: &Pod, resolvers: &Resolvers) -> DnsConfig {
    let spec = pod::spec(pod);
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let cluster = match policy {
        "ClusterFirst" => !pod::uses_host_network(pod),
        "ClusterFirstWithHostNet" => true,
        _ => false,
    };
    let host = &resolvers.host;
    let (mut servers, mut searches, mut options) = match policy {
        "None" => Default::default(),
        _ if cluster && !resolvers.cluster_servers.is_empty() => {
            let domain = &resolvers.cluster_domain;
            let mut searches = Vec::new();
            if !domain.is_empty() {
                searches.extend([format!("{}.svc.{domain}", pod::namespace(pod)), format!("svc.{domain}"), domain.clone()]);
            }
            push_new(&mut searches, host.searches.iter().cloned());
            (resolvers.cluster_servers.clone(), searches, vec!["ndots:5".to_owned()])
        }
        _ => (host.servers.clone(), host.searches.clone(), host.options.clone()),
    };
    if let Some(config) = &spec.dns_config {
        push_new(&mut servers, config.nameservers.iter().flatten().cloned());
        push_new(&mut searches, config.searches.iter().flatten().cloned());
        for option in config.options.iter().flatten() {
            let Some(name) = &option.name else { continue };
            options.retain(|known| known.split(':').next() != Some(name));
            options.push(option.value.as_ref().map_or_else(|| name.clone(), |value| format!("{name}:{value}")));
        }
    }
    servers.truncate(SERVERS_MAX);
    searches.truncate(SEARCHES_MAX);
    while searches.join(" ").len() > SEARCH_CHARS_MAX {
        searches.pop();
    }
    DnsConfig { servers, searches, options }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn resolvers() -> Resolvers {
        Resolvers {
            cluster_servers: vec!["10.96.0.10".to_owned()],
            cluster_domain: "cluster.local".to_owned(),
            host: Host::parse("# comment\nnameserver 1.1.1.1\nsearch corp.example. \noptions timeout:1\n"),
        }
    }

    fn check(spec: Value, servers: &[&str], searches: &[&str], options: &[&str]) {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"namespace": "n"}, "spec": spec})).expect("a pod");
        let made = config(&pod, &resolvers());
        assert_eq!((made.servers, made.searches, made.options), (strings(servers), strings(searches), strings(options)), "{spec}");
    }

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn the_policy_picks_the_resolver() {
        let cluster = ["n.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp.example"];
        check(json!({"containers": []}), &["10.96.0.10"], &cluster, &["ndots:5"]);
        check(json!({"containers": [], "hostNetwork": true}), &["1.1.1.1"], &["corp.example"], &["timeout:1"]);
        check(json!({"containers": [], "hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet"}), &["10.96.0.10"], &cluster, &["ndots:5"]);
        check(json!({"containers": [], "dnsPolicy": "Default"}), &["1.1.1.1"], &["corp.example"], &["timeout:1"]);
        check(json!({"containers": [], "dnsPolicy": "None"}), &[], &[], &[]);
    }

    #[test]
    fn the_pods_own_configuration_is_added_and_its_options_win() {
        let own = json!({"containers": [], "dnsPolicy": "Default", "dnsConfig": {"nameservers": ["8.8.8.8", "1.1.1.1"], "searches": ["x"],
            "options": [{"name": "timeout", "value": "9"}, {"name": "edns0"}]}});
        check(own, &["1.1.1.1", "8.8.8.8"], &["corp.example", "x"], &["timeout:9", "edns0"]);
    }
}
