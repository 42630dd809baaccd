//! The roles and bindings that every cluster has, read from a table, and how those in the store are brought up to it: what is missing is added,
//! what an administrator added stays, and an object that says `autoupdate: false` is left alone.

use super::{Error, Place, Writer};
use crate::auth::rbac::{self, Rule, Subject};
use apiserver_machinery::Str;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const TABLE: &str = include_str!("rbac.tsv");
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// One object of the table.
#[derive(Debug, Default, PartialEq)]
struct Entry {
    kind: &'static str,
    namespace: &'static str,
    name: &'static str,
    labels: Vec<&'static str>,
    aggregate: Vec<&'static str>,
    rules: Vec<Rule>,
    role_ref: Option<(&'static str, &'static str)>,
    subjects: Vec<Subject>,
}

fn list(text: &str) -> Vec<Str> {
    text.split(',').filter(|item| !item.is_empty()).map(|item| if item == "\"\"" { Str::default() } else { item.into() }).collect()
}

fn subject(text: &str) -> Option<Subject> {
    let (kind, name) = text.split_once(':')?;
    Some(match (kind, name.split_once('/')) {
        ("ServiceAccount", Some((namespace, name))) => {
            Subject { kind: kind.into(), namespace: namespace.into(), name: name.into(), api_group: Str::default() }
        }
        _ => Subject { kind: kind.into(), name: name.into(), api_group: rbac::GROUP.into(), namespace: Str::default() },
    })
}

/// The table's objects in its order; lines of one object follow each other.
fn entries() -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
        let mut columns = line.split('\t');
        let mut next = || columns.next().unwrap_or_default();
        let (kind, namespace, name) = (next(), next(), next());
        if entries.last().is_none_or(|last| (last.kind, last.namespace, last.name) != (kind, namespace, name)) {
            entries.push(Entry { kind, namespace, name, ..Entry::default() });
        }
        let Some(entry) = entries.last_mut() else { continue };
        let fourth = next();
        if kind.ends_with("Binding") {
            entry.role_ref = fourth.split_once(':');
            entry.subjects = next().split(',').filter_map(subject).collect();
        } else if let Some(label) = fourth.strip_prefix("label=") {
            entry.labels.push(label);
        } else if let Some(label) = fourth.strip_prefix("aggregate=") {
            entry.aggregate.push(label);
        } else {
            entry.rules.push(Rule {
                api_groups: list(fourth),
                resources: list(next()),
                verbs: list(next()),
                resource_names: list(next()),
                non_resource_urls: list(next()),
            });
        }
    }
    entries
}

/// The rules of one of the table's ClusterRoles.
pub fn rules_of(cluster_role: &str) -> Vec<Rule> {
    entries().into_iter().find(|entry| entry.kind == "ClusterRole" && entry.name == cluster_role).map(|entry| entry.rules).unwrap_or_default()
}

impl Entry {
    fn place(&self) -> Place {
        let plural = match self.kind {
            "ClusterRole" => "clusterroles",
            "ClusterRoleBinding" => "clusterrolebindings",
            "Role" => "roles",
            _ => "rolebindings",
        };
        Place { group: rbac::GROUP, version: "v1", plural, namespace: self.namespace.into(), name: self.name.into(), subresource: "" }
    }

    fn object(&self) -> Value {
        let mut labels: BTreeMap<&str, &str> = self.labels.iter().map(|label| (*label, "true")).collect();
        labels.insert("kubernetes.io/bootstrapping", "rbac-defaults");
        let mut object = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": self.kind,
            "metadata": { "name": self.name, "labels": labels, "annotations": { AUTOUPDATE: "true" } },
        });
        if !self.namespace.is_empty() {
            object["metadata"]["namespace"] = json!(self.namespace);
        }
        if let Some((kind, name)) = self.role_ref {
            object["roleRef"] = json!({ "apiGroup": rbac::GROUP, "kind": kind, "name": name });
            object["subjects"] = json!(self.subjects);
            return object;
        }
        object["rules"] = json!(self.rules);
        if !self.aggregate.is_empty() {
            let selectors: Vec<_> = self.aggregate.iter().map(|label| json!({ "matchLabels": { *label: "true" } })).collect();
            object["aggregationRule"] = json!({ "clusterRoleSelectors": selectors });
        }
        object
    }
}

/// What has to be done about an object of the table, given what the store has.
#[derive(Debug, PartialEq)]
enum Step {
    Nothing,
    Create(Value),
    Update(Value),
    /// A binding's role cannot be changed.
    Replace(Value),
}

fn step(entry: &Entry, existing: Option<Value>) -> Step {
    let wanted = entry.object();
    let Some(existing) = existing else { return Step::Create(wanted) };
    if existing["metadata"]["annotations"][AUTOUPDATE] == "false" {
        return Step::Nothing;
    }
    if entry.role_ref.is_some() && existing["roleRef"] != wanted["roleRef"] {
        return Step::Replace(wanted);
    }
    let mut object = existing.clone();
    for field in ["labels", "annotations"] {
        if let Some(missing) = wanted["metadata"][field].as_object() {
            let mut merged = object["metadata"][field].as_object().cloned().unwrap_or_default();
            missing.iter().for_each(|(key, value)| _ = merged.entry(key).or_insert_with(|| value.clone()));
            object["metadata"][field] = Value::Object(merged);
        }
    }
    add_missing(&mut object, "subjects", &wanted["subjects"]);
    if object["aggregationRule"].is_object() || wanted["aggregationRule"].is_object() {
        if object["aggregationRule"].is_null() {
            object["aggregationRule"] = json!({});
        }
        add_missing(&mut object["aggregationRule"], "clusterRoleSelectors", &wanted["aggregationRule"]["clusterRoleSelectors"]);
    }
    let held: Vec<Rule> = serde_json::from_value(existing["rules"].clone()).unwrap_or_default();
    let missing = rbac::missing(&held, &entry.rules);
    if !missing.is_empty() {
        object["rules"] = json!(held.into_iter().chain(missing).collect::<Vec<_>>());
    }
    if object == existing { Step::Nothing } else { Step::Update(object) }
}

fn add_missing(object: &mut Value, field: &str, wanted: &Value) {
    let missing: Vec<Value> =
        wanted.as_array().into_iter().flatten().filter(|item| !object[field].as_array().is_some_and(|own| own.contains(item))).cloned().collect();
    if missing.is_empty() {
        return;
    }
    let mut items = object[field].as_array().cloned().unwrap_or_default();
    items.extend(missing);
    object[field] = Value::Array(items);
}

pub(super) async fn reconcile(writer: &impl Writer) -> Result<(), Error> {
    for entry in entries() {
        let place = entry.place();
        match step(&entry, writer.read(&place)?) {
            Step::Nothing => {}
            Step::Create(object) => writer.create(&place, object).await?,
            Step::Update(object) => writer.update(&place, object).await?,
            Step::Replace(object) => {
                writer.delete(&place).await?;
                writer.create(&place, object).await?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: &str, name: &str) -> Entry {
        entries().into_iter().find(|entry| entry.kind == kind && entry.name == name).unwrap()
    }

    #[test]
    fn the_table_is_read_whole() {
        let entries = entries();
        let count = |kind: &str| entries.iter().filter(|entry| entry.kind == kind).count();
        assert_eq!((count("ClusterRoleBinding"), count("RoleBinding")), (54, 7));
        assert!(entries.iter().all(|entry| ["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"].contains(&entry.kind)));
        for entry in &entries {
            let bare = entry.rules.is_empty() && entry.aggregate.is_empty() && entry.role_ref.is_none();
            assert!(!bare, "{entry:?} says nothing");
        }
    }

    #[test]
    fn anonymous_callers_get_health_and_version_only() {
        let open: Vec<_> = entries()
            .into_iter()
            .filter(|entry| entry.subjects.iter().any(|subject| subject.name == "system:unauthenticated"))
            .map(|entry| entry.name)
            .collect();
        assert_eq!(open, ["system:public-info-viewer"]);
        let rules = rules_of("system:public-info-viewer");
        assert_eq!(rules[0].non_resource_urls, ["/healthz", "/livez", "/readyz", "/version", "/version/"]);
    }

    #[test]
    fn objects_are_upstreams() {
        let expect = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {
                "name": "cluster-admin", "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
                "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
            },
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:masters"}],
        });
        assert_eq!(entry("ClusterRoleBinding", "cluster-admin").object(), expect);
        let admin = entry("ClusterRole", "admin").object();
        assert_eq!(admin["aggregationRule"]["clusterRoleSelectors"][0]["matchLabels"]["rbac.authorization.k8s.io/aggregate-to-admin"], "true");
        let master = entry("ClusterRole", "cluster-admin").object();
        assert_eq!(master["rules"], json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}, {"verbs": ["*"], "nonResourceURLs": ["*"]}]));
    }

    #[test]
    fn what_is_missing_is_added_and_what_was_added_stays() {
        let role = entry("ClusterRole", "system:basic-user");
        assert_eq!(step(&role, None), Step::Create(role.object()));
        assert_eq!(step(&role, Some(role.object())), Step::Nothing);

        let mut changed = role.object();
        changed["rules"] = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]);
        let Step::Update(mended) = step(&role, Some(changed.clone())) else { panic!("nothing was mended") };
        assert_eq!(mended["rules"][0]["resources"], json!(["pods"]));
        let held: Vec<Rule> = serde_json::from_value(mended["rules"].clone()).unwrap();
        assert!(rbac::missing(&held, &role.rules).is_empty());

        changed["metadata"]["annotations"][AUTOUPDATE] = json!("false");
        assert_eq!(step(&role, Some(changed)), Step::Nothing);
    }

    #[test]
    fn bindings_get_their_subjects_back() {
        let binding = entry("ClusterRoleBinding", "system:discovery");
        let mut changed = binding.object();
        changed["subjects"] = json!([{"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"}]);
        let Step::Update(mended) = step(&binding, Some(changed.clone())) else { panic!("nothing was mended") };
        assert_eq!(mended["subjects"].as_array().unwrap().len(), 2);
        changed["roleRef"]["name"] = json!("other");
        assert_eq!(step(&binding, Some(changed)), Step::Replace(binding.object()));
    }
}
