//! Makes the `default` ServiceAccount in every active namespace, and makes it anew when it is deleted.

use crate::registry::{Row, Setup};
use crate::routes::states;
use apiserver_client::{Informer, ObjectKey};
use controllers_runtime::{Action, Kind, Plan, Rule};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use serde_json::json;

pub(crate) const ROW: Row = Row { name: "serviceaccount-controller", start };

const NAME: &str = "default";
const WORKERS: usize = 1;
const SERVICE_ACCOUNTS: Kind = Kind::of::<ServiceAccount>();

fn start(setup: &Setup) {
    let namespaces = setup.informers.of::<Namespace>();
    let accounts = setup.informers.select::<ServiceAccount>("metadata.name=default", "");
    let rule = Accounts { namespaces: namespaces.clone(), accounts: accounts.clone() };
    setup.context(ROW.name, "service-account-controller").start(ROW.name, WORKERS, rule, |routes| {
        routes.watches_own(ROW.name, &namespaces);
        routes.watches(ROW.name, &accounts, |event| {
            states(event).filter_map(|account| account.metadata.namespace.as_deref()).map(|namespace| ObjectKey::new("", namespace)).collect()
        });
    });
}

struct Accounts {
    namespaces: Informer<Namespace>,
    accounts: Informer<ServiceAccount>,
}

struct Observed {
    namespace: String,
    active: bool,
    exists: bool,
}

impl Rule for Accounts {
    type Observed = Observed;

    fn observe(&self, key: &ObjectKey) -> Option<Observed> {
        let namespace = self.namespaces.get("", &key.name)?;
        let active = is_active(&namespace);
        Some(Observed { namespace: key.name.to_string(), active, exists: self.accounts.get(&key.name, NAME).is_some() })
    }

    fn plan(&self, observed: &Observed, _: Timestamp) -> Plan {
        plan(observed)
    }
}

/// Whether things may still be made in the namespace.
pub(crate) fn is_active(namespace: &Namespace) -> bool {
    let phase = namespace.status.as_ref().and_then(|status| status.phase.as_deref());
    phase == Some("Active") && namespace.metadata.deletion_timestamp.is_none()
}

fn plan(observed: &Observed) -> Plan {
    if observed.exists || !observed.active {
        return Plan::nothing();
    }
    let object = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": NAME, "namespace": observed.namespace}});
    let namespace = observed.namespace.clone();
    Plan::act(Action::Create { kind: SERVICE_ACCOUNTS, namespace, object, exists_ok: true, announce: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_active_namespace_gets_the_account_it_lacks() {
        let check = |active, exists, expect: &[&str]| assert_eq!(plan(&Observed { namespace: "a".into(), active, exists }).describe(), expect);
        check(true, false, &["create serviceaccounts a/default"]);
        check(true, true, &[]);
        check(false, false, &[]);
    }
}
