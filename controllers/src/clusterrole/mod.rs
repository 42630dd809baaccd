//! Fills the rules of aggregated ClusterRoles from those that their selectors match.

use crate::registry::{Row, Setup};
use apiserver_client::{Informer, ObjectKey};
use controllers_runtime::plan::PatchKind;
use controllers_runtime::{Action, Kind, Plan, Rule, Selector};
use jiff::Timestamp;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use serde_json::json;
use std::sync::Arc;

pub(crate) const ROW: Row = Row { name: "clusterrole-aggregation-controller", start };

const WORKERS: usize = 5;
const CLUSTER_ROLES: Kind = Kind::of::<ClusterRole>();
const MANAGER: &str = "clusterrole-aggregation-controller";

fn start(setup: &Setup) {
    let roles = setup.informers.of::<ClusterRole>();
    let rule = Aggregation { roles: roles.clone() };
    setup.context(ROW.name, ROW.name).start(ROW.name, WORKERS, rule, |routes| {
        // Any role may be part of any aggregate.
        let all = roles.clone();
        routes.watches(ROW.name, &roles, move |_| {
            all.list().iter().filter(|role| role.aggregation_rule.is_some()).map(|role| ObjectKey::of(&**role)).collect()
        });
    });
}

struct Aggregation {
    roles: Informer<ClusterRole>,
}

struct Observed {
    role: Arc<ClusterRole>,
    /// All roles, in the order of their names.
    all: Vec<Arc<ClusterRole>>,
}

impl Rule for Aggregation {
    type Observed = Observed;

    fn observe(&self, key: &ObjectKey) -> Option<Observed> {
        let role = self.roles.get("", &key.name).filter(|role| role.aggregation_rule.is_some())?;
        Some(Observed { role, all: self.roles.list() })
    }

    fn plan(&self, observed: &Observed, _: Timestamp) -> Plan {
        plan(observed)
    }
}

fn plan(observed: &Observed) -> Plan {
    let role = &observed.role;
    let selectors = role.aggregation_rule.iter().flat_map(|rule| rule.cluster_role_selectors.iter().flatten());
    let mut rules: Vec<PolicyRule> = Vec::new();
    for selector in selectors {
        let Ok(selector) = Selector::new(selector) else { return Plan::nothing() };
        let parts = observed.all.iter().filter(|part| part.metadata.name != role.metadata.name && selector.matches(part.metadata.labels.as_ref()));
        for rule in parts.flat_map(|part| part.rules.iter().flatten()) {
            if !rules.contains(rule) {
                rules.push(rule.clone());
            }
        }
    }
    if role.rules.as_deref().unwrap_or_default() == rules {
        return Plan::nothing();
    }
    let target = CLUSTER_ROLES.target("", role.metadata.name.as_deref().unwrap_or_default());
    let patch =
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": role.metadata.name}, "rules": rules});
    Plan::act(Action::Patch { target, subresource: None, kind: PatchKind::Apply(MANAGER), patch })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn role(name: &str, label: Option<&str>, verbs: &[&str], aggregates: Option<&str>) -> Arc<ClusterRole> {
        let rules: Vec<Value> = verbs.iter().map(|verb| json!({"verbs": [verb], "apiGroups": [""], "resources": ["pods"]})).collect();
        let mut role = json!({"metadata": {"name": name, "labels": {}}, "rules": rules});
        if let Some(label) = label {
            role["metadata"]["labels"]["to"] = label.into();
        }
        if let Some(to) = aggregates {
            role["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {"to": to}}]});
        }
        Arc::new(serde_json::from_value(role).unwrap())
    }

    fn verbs(role: Arc<ClusterRole>, mut others: Vec<Arc<ClusterRole>>) -> Option<Vec<String>> {
        others.push(role.clone());
        let plan = plan(&Observed { role, all: others });
        let Action::Patch { patch, .. } = plan.actions.into_iter().next()? else { panic!() };
        Some(patch["rules"].as_array().unwrap().iter().map(|rule| rule["verbs"][0].as_str().unwrap().to_string()).collect())
    }

    #[test]
    fn the_rules_of_matching_roles_are_joined_without_repeats() {
        let parts = || {
            vec![
                role("a", Some("view"), &["get", "list"], None),
                role("b", Some("view"), &["list", "watch"], None),
                role("c", Some("edit"), &["create"], None),
            ]
        };
        assert_eq!(verbs(role("view", Some("view"), &[], Some("view")), parts()).unwrap(), ["get", "list", "watch"]);
        assert_eq!(verbs(role("view", None, &["get", "list", "watch"], Some("view")), parts()), None);
        assert_eq!(verbs(role("view", None, &["get"], Some("nothing")), parts()).unwrap(), [""; 0]);
    }
}
