//! Keeps a Pod of a DaemonSet on every node that it is meant for, and rolls out new templates node by node.
//!
//! Pods are bound to their node by a node affinity on its name; the scheduler does the rest.

mod node;
mod plan;
mod status;
#[cfg(test)]
mod tests;
mod update;

use crate::history;
use crate::pod;
use crate::registry::{Row, Setup};
use crate::routes::{adopters, owners};
use apiserver_client::{Event, Index, Informer, ObjectKey};
use apiserver_component::Clock;
use controllers_runtime::{Kind, Plan, Rule, Selector, owner};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{Node, Pod};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

pub(crate) const ROW: Row = Row { name: "daemonset-controller", start };

const WORKERS: usize = 2;
const DAEMON_SETS: Kind = Kind::of::<DaemonSet>();
const PODS: Kind = Kind::of::<Pod>();
/// A Pod that fails is replaced at once, then after a second, two, and so on up to this.
const BACKOFF_FIRST: SignedDuration = SignedDuration::from_secs(1);
const BACKOFF_MAX: SignedDuration = SignedDuration::from_mins(15);

fn start(setup: &Setup) {
    let informers = &setup.informers;
    let (sets, nodes, pods, revisions) =
        (informers.of::<DaemonSet>(), informers.of::<Node>(), informers.of::<Pod>(), informers.of::<ControllerRevision>());
    let rule = Daemons {
        sets: sets.clone(),
        nodes: nodes.clone(),
        pods: pods.index("controller", |pod| owner::index_key(&pod.metadata)),
        revisions: revisions.index("controller", |revision| owner::index_key(&revision.metadata)),
        all_revisions: revisions.clone(),
        failures: Mutex::default(),
    };
    setup.context(ROW.name, "daemonset-controller").start(ROW.name, WORKERS, rule, |routes| {
        routes.watches_own(ROW.name, &sets);
        let candidates = sets.clone();
        routes.watches(ROW.name, &pods, move |event| {
            let mut keys = owners(event, &DAEMON_SETS);
            keys.extend(adopters(event, &candidates, selector));
            keys
        });
        let candidates = sets.clone();
        routes.watches(ROW.name, &revisions, move |event| {
            let mut keys = owners(event, &DAEMON_SETS);
            keys.extend(adopters(event, &candidates, selector));
            keys
        });
        routes.watches(ROW.name, &nodes, move |event| match event {
            Event::Updated { old, new } if node::is_same_place(old, new) => Vec::new(),
            Event::Synced => Vec::new(),
            _ => sets.list().iter().map(|set| ObjectKey::of(&**set)).collect(),
        });
    });
}

fn selector(set: &DaemonSet) -> Option<Selector> {
    Selector::new(&set.spec.selector).ok().filter(|selector| !selector.is_empty())
}

struct Daemons {
    sets: Informer<DaemonSet>,
    nodes: Informer<Node>,
    pods: Index<Pod>,
    revisions: Index<ControllerRevision>,
    all_revisions: Informer<ControllerRevision>,
    /// By set and node.
    failures: Mutex<HashMap<(String, String), Failures>>,
}

struct Failures {
    wait: SignedDuration,
    until: Timestamp,
}

struct Observed {
    set: Arc<DaemonSet>,
    nodes: Vec<Arc<Node>>,
    /// Those that the set controls, and orphans of its namespace.
    pods: Vec<Arc<Pod>>,
    revisions: Vec<Arc<ControllerRevision>>,
    /// The revision that has the name which a new one would get.
    namesake: Option<Arc<ControllerRevision>>,
    /// Until when failed Pods of a node stay, by node.
    backing_off: HashMap<String, Timestamp>,
}

impl Rule for Daemons {
    type Observed = Observed;

    fn observe(&self, key: &ObjectKey) -> Option<Observed> {
        let set = self.sets.get(&key.namespace, &key.name)?;
        let uid = set.metadata.uid.clone().unwrap_or_default();
        let mut pods = self.pods.get(&uid);
        let backing_off = self.back_off(&uid, &pods);
        let mut revisions = self.revisions.get(&uid);
        pods.extend(self.pods.get(&owner::orphans_key(&key.namespace)));
        revisions.extend(self.revisions.get(&owner::orphans_key(&key.namespace)));
        let collisions = set.status.as_ref().and_then(|status| status.collision_count);
        let (_, name) = history::new_name(&set.metadata, &set.spec.template, collisions);
        let namesake = self.all_revisions.get(&key.namespace, &name);
        Some(Observed { set, nodes: self.nodes.list(), pods, revisions, namesake, backing_off })
    }

    fn plan(&self, observed: &Observed, now: Timestamp) -> Plan {
        plan::plan(observed, now)
    }
}

impl Daemons {
    /// Counts failures by node: a Pod that may be replaced now makes the next one wait longer.
    fn back_off(&self, set_uid: &str, pods: &[Arc<Pod>]) -> HashMap<String, Timestamp> {
        let mut failures = self.failures.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let now = Clock.now();
        failures.retain(|_, failure| now < failure.until.checked_add(BACKOFF_MAX).unwrap_or(Timestamp::MAX));
        let mut waiting = HashMap::new();
        for pod in pods.iter().filter(|pod| pod::phase(pod) == "Failed" && pod.metadata.deletion_timestamp.is_none()) {
            let Some(node) = node::of_pod(pod) else { continue };
            let failure = failures.entry((set_uid.to_string(), node.to_string()));
            let failure = failure.or_insert(Failures { wait: SignedDuration::ZERO, until: now });
            if now < failure.until {
                waiting.insert(node.to_string(), failure.until);
            } else {
                failure.wait = if failure.wait.is_zero() { BACKOFF_FIRST } else { (failure.wait * 2).min(BACKOFF_MAX) };
                failure.until = now.checked_add(failure.wait).unwrap_or(Timestamp::MAX);
            }
        }
        waiting
    }
}
