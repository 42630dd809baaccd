//! Gives Pods an identity that stays: a name with a number, and volumes of their own.
//!
//! Ordered sets are made, updated and shrunk one Pod at a time, each when the one before is available; parallel ones all at once.

mod claims;
mod plan;
mod pods;
mod status;
#[cfg(test)]
mod tests;
mod update;

use crate::registry::{Row, Setup};
use crate::routes::{adopters, owners};
use apiserver_client::{Index, Informer, ObjectKey};
use controllers_runtime::{Kind, Plan, Rule, Selector, owner};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use std::collections::HashMap;
use std::sync::Arc;

pub(crate) const ROW: Row = Row { name: "statefulset-controller", start };

const WORKERS: usize = 5;
const SETS: Kind = Kind::of::<StatefulSet>();
const PODS: Kind = Kind::of::<Pod>();
const CLAIMS: Kind = Kind::of::<PersistentVolumeClaim>();

fn start(setup: &Setup) {
    let (sets, pods) = (setup.informers.of::<StatefulSet>(), setup.informers.of::<Pod>());
    let (claims, revisions) = (setup.informers.of::<PersistentVolumeClaim>(), setup.informers.of::<ControllerRevision>());
    let rule = Sets {
        sets: sets.clone(),
        pods: pods.index("controller", |pod| owner::index_key(&pod.metadata)),
        revisions: revisions.index("controller", |revision| owner::index_key(&revision.metadata)),
        claims: claims.clone(),
    };
    setup.context(ROW.name, "statefulset-controller").start(ROW.name, WORKERS, rule, |routes| {
        routes.reads(&claims);
        routes.watches_own(ROW.name, &sets);
        routes.watches(ROW.name, &revisions, |event| owners(event, &SETS));
        routes.watches(ROW.name, &pods, move |event| {
            let mut keys = owners(event, &SETS);
            keys.extend(adopters(event, &sets, |set| selector(set).filter(|selector| !selector.is_empty())));
            keys
        });
    });
}

fn selector(set: &StatefulSet) -> Option<Selector> {
    Selector::new(&set.spec.selector).ok()
}

struct Sets {
    sets: Informer<StatefulSet>,
    pods: Index<Pod>,
    revisions: Index<ControllerRevision>,
    claims: Informer<PersistentVolumeClaim>,
}

struct Observed {
    set: Arc<StatefulSet>,
    /// Those that the set controls, and orphans of its namespace that have a name of its.
    pods: Vec<Arc<Pod>>,
    /// Those that the set controls, and orphans of its namespace.
    revisions: Vec<Arc<ControllerRevision>>,
    /// The claims of its Pods that exist, by name.
    claims: HashMap<String, Arc<PersistentVolumeClaim>>,
}

impl Rule for Sets {
    type Observed = Observed;

    fn observe(&self, key: &ObjectKey) -> Option<Observed> {
        let set = self.sets.get(&key.namespace, &key.name)?;
        let (uid, orphans) = (set.metadata.uid.clone().unwrap_or_default(), owner::orphans_key(&key.namespace));
        let mut pods = self.pods.get(&uid);
        pods.extend(self.pods.get(&orphans));
        pods.retain(|pod| pods::ordinal(pod).is_some_and(|ordinal| pod.metadata.name.as_deref() == Some(pods::name(&set, ordinal).as_str())));
        let mut revisions = self.revisions.get(&uid);
        revisions.extend(self.revisions.get(&orphans));
        let ordinals = pods::ordinals(&set).chain(pods.iter().filter_map(|pod| pods::ordinal(pod)));
        let names: Vec<String> = ordinals.flat_map(|ordinal| claims::names(&set, ordinal)).collect();
        let claims = names.into_iter().filter_map(|name| Some((name.clone(), self.claims.get(&key.namespace, &name)?))).collect();
        Some(Observed { set, pods, revisions, claims })
    }

    fn plan(&self, observed: &Observed, now: Timestamp) -> Plan {
        plan::plan(observed, now)
    }
}

fn revision_of(revision: &ControllerRevision) -> &str {
    revision.metadata.name.as_deref().unwrap_or_default()
}
