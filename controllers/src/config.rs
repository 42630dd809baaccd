//! What the controllers can be told.

use crate::{Error, nodeipam, registry};
use apiserver_client::Client;
use std::sync::Arc;
use std::time::Duration;

/// Gives a controller the client it shall use, by the controller's name: for an identity of its own.
pub type ClientFactory = Arc<dyn Fn(&str) -> Client + Send + Sync>;

#[derive(Clone)]
pub struct Config {
    /// `*` for all, `NAME` for one, `-NAME` for all but one; as `--controllers`.
    pub controllers: Vec<String>,
    /// Elects a leader before anything starts.
    pub election: Option<Election>,
    /// Clients by controller; without it all use the one given to `run`.
    pub clients: Option<ClientFactory>,
    /// The CA bundle (PEM) that every namespace gets in `kube-root-ca.crt`; without it that controller does nothing.
    pub root_ca: Option<String>,
    /// Where Pod addresses come from; nodes get a part each. Without it nodes are given none.
    pub cluster_cidr: Option<String>,
    /// Size of a node's part of an IPv4 `cluster_cidr`.
    pub node_cidr_mask: u8,
    /// For how long a node may be silent before it is Unknown.
    pub node_monitor_grace: Duration,
    pub node_monitor_period: Duration,
    /// Evictions a second in a zone whose nodes are mostly well, and in one where many are not.
    pub eviction_rate: f64,
    pub eviction_rate_secondary: f64,
    /// Finished Pods beyond this number are deleted, oldest first.
    pub terminated_pods_max: usize,
    /// How often every quota is recalculated.
    pub quota_resync: Duration,
}

#[derive(Clone, Debug)]
pub struct Election {
    pub namespace: String,
    pub name: String,
    pub identity: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            controllers: vec!["*".into()],
            election: None,
            clients: None,
            root_ca: None,
            cluster_cidr: None,
            node_cidr_mask: 24,
            node_monitor_grace: Duration::from_secs(40),
            node_monitor_period: Duration::from_secs(5),
            eviction_rate: 0.1,
            eviction_rate_secondary: 0.01,
            terminated_pods_max: 12_500,
            quota_resync: Duration::from_secs(5 * 60),
        }
    }
}

impl Config {
    /// Whether the controller `name` shall run. The first entry that names it decides, then `*`.
    pub fn enables(&self, name: &str) -> bool {
        let named = self.controllers.iter().find_map(|entry| match entry.strip_prefix('-') {
            Some(off) if off == name => Some(false),
            None if entry == name => Some(true),
            _ => None,
        });
        named.unwrap_or_else(|| self.controllers.iter().any(|entry| entry == "*"))
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        for entry in &self.controllers {
            let name = entry.strip_prefix('-').unwrap_or(entry);
            if name != "*" && !registry::is_known(name) {
                return Err(Error::UnknownController(name.into()));
            }
        }
        self.cluster_cidr.as_deref().map_or(Ok(()), |cidrs| nodeipam::parse(cidrs).map(|_| ()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_controllers_is_read_as_upstream_reads_it() {
        let check = |list: &[&str], name: &str, expect: bool| {
            let config = Config { controllers: list.iter().map(ToString::to_string).collect(), ..Config::default() };
            assert_eq!(config.enables(name), expect, "{list:?} {name}");
        };
        check(&["*"], "deployment-controller", true);
        check(&["*", "-deployment-controller"], "deployment-controller", false);
        check(&["*", "-deployment-controller"], "replicaset-controller", true);
        check(&["replicaset-controller"], "deployment-controller", false);
        check(&["replicaset-controller"], "replicaset-controller", true);
    }

    #[test]
    fn a_name_that_is_no_controllers_is_an_error() {
        let config = Config { controllers: vec!["-nonsense".into()], ..Config::default() };
        assert!(matches!(config.check(), Err(Error::UnknownController(name)) if name == "nonsense"));
        assert!(Config::default().check().is_ok());
    }
}
