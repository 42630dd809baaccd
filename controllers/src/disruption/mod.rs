//! Says for each PodDisruptionBudget how many of its Pods are healthy and how many may be evicted.
//!
//! The eviction itself is the API server's; it takes from `disruptionsAllowed` and notes the Pod in `disruptedPods`.

mod plan;
mod scale;
mod stale;
#[cfg(test)]
mod tests;

use crate::registry::{Row, Setup};
use crate::routes::states;
use apiserver_client::{Informer, ObjectKey};
use controllers_runtime::{Kind, Plan, Rule, Selector};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use std::sync::Arc;

pub(crate) const ROW: Row = Row { name: "disruption-controller", start };

const WORKERS: usize = 2;
const BUDGETS: Kind = Kind::of::<PodDisruptionBudget>();

fn start(setup: &Setup) {
    let (budgets, pods) = (setup.informers.of::<PodDisruptionBudget>(), setup.informers.of::<Pod>());
    let owners = scale::Owners::new(&setup.informers);
    let rule = Budgets { budgets: budgets.clone(), pods: pods.clone(), owners: owners.clone() };
    let context = setup.context(ROW.name, "controllermanager");
    context.start(ROW.name, WORKERS, rule, |routes| {
        routes.watches_own(ROW.name, &budgets);
        owners.reads(routes);
        routes.watches(ROW.name, &pods, move |event| {
            let mut keys: Vec<ObjectKey> = states(event).flat_map(|pod| of_pod(pod, &budgets)).collect();
            keys.dedup();
            keys
        });
    });
    context.start(ROW.name, 1, stale::Conditions::new(pods.clone()), |routes| {
        routes.watches(ROW.name, &pods, |event| states(event).take(1).filter(|pod| stale::is_marked(pod)).map(ObjectKey::of).collect());
    });
}

/// None selects nothing, an empty one everything.
fn selector(budget: &PodDisruptionBudget) -> Option<Selector> {
    Selector::new(budget.spec.as_ref()?.selector.as_ref()?).ok()
}

fn of_pod(pod: &Pod, budgets: &Informer<PodDisruptionBudget>) -> Vec<ObjectKey> {
    let in_namespace = budgets.list_in(pod.metadata.namespace.as_deref().unwrap_or_default());
    let matching = in_namespace.iter().filter(|budget| selector(budget).is_some_and(|selector| selector.matches(pod.metadata.labels.as_ref())));
    matching.map(|budget| ObjectKey::of(&**budget)).collect()
}

struct Budgets {
    budgets: Informer<PodDisruptionBudget>,
    pods: Informer<Pod>,
    owners: scale::Owners,
}

struct Observed {
    budget: Arc<PodDisruptionBudget>,
    /// Those that the budget selects.
    pods: Vec<Arc<Pod>>,
    /// How many Pods their controllers want.
    scales: scale::Scales,
}

impl Rule for Budgets {
    type Observed = Observed;

    fn observe(&self, key: &ObjectKey) -> Option<Observed> {
        let budget = self.budgets.get(&key.namespace, &key.name)?;
        let selector = selector(&budget);
        let mut pods = self.pods.list_in(&key.namespace);
        pods.retain(|pod| selector.as_ref().is_some_and(|selector| selector.matches(pod.metadata.labels.as_ref())));
        pods.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        let scales = self.owners.scales(&pods);
        Some(Observed { budget, pods, scales })
    }

    fn plan(&self, observed: &Observed, now: Timestamp) -> Plan {
        plan::plan(observed, now)
    }
}
