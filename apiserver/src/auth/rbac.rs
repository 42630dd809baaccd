//! RBAC: rules, roles and bindings, and the index by subject that answers "may this user do that".
//!
//! It is pure: it is told which objects were put or removed and never reads the store itself. See `follow.rs` for who tells it.

use super::attributes::{Attributes, Decision};
use super::service_account;
use crate::request::User;
use apiserver_machinery::Str;
use apiserver_machinery::text::quote;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

pub const GROUP: &str = "rbac.authorization.k8s.io";

/// rbac.authorization.k8s.io/v1 PolicyRule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    #[serde(deserialize_with = "nullable")]
    pub verbs: Vec<Str>,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub api_groups: Vec<Str>,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<Str>,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<Str>,
    #[serde(rename = "nonResourceURLs", deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub non_resource_urls: Vec<Str>,
}

/// Go writes an empty slice without omitempty as null.
pub(crate) fn nullable<'de, D: serde::Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

impl Rule {
    pub fn allows(&self, ask: &Attributes<'_>) -> bool {
        let any = |list: &[Str], wanted: &str| list.iter().any(|own| own == "*" || own == wanted);
        if !any(&self.verbs, ask.verb) {
            return false;
        }
        if !ask.is_resource() {
            return self.non_resource_urls.iter().any(|url| url == "*" || url_covers(url, ask.path));
        }
        any(&self.api_groups, ask.group)
            && self.resources.iter().any(|own| resource_matches(own, ask.resource, ask.subresource))
            && (self.resource_names.is_empty() || self.resource_names.iter().any(|own| own == ask.name))
    }

    /// The smallest rules that together say the same: one verb, one group, one resource, one name each.
    fn parts(&self) -> Vec<Rule> {
        let mut parts = Vec::new();
        for group in &self.api_groups {
            for resource in &self.resources {
                for verb in &self.verbs {
                    let part =
                        Rule { verbs: vec![verb.clone()], api_groups: vec![group.clone()], resources: vec![resource.clone()], ..Rule::default() };
                    if self.resource_names.is_empty() {
                        parts.push(part);
                        continue;
                    }
                    parts.extend(self.resource_names.iter().map(|name| Rule { resource_names: vec![name.clone()], ..part.clone() }));
                }
            }
        }
        for url in &self.non_resource_urls {
            parts.extend(self.verbs.iter().map(|verb| Rule { verbs: vec![verb.clone()], non_resource_urls: vec![url.clone()], ..Rule::default() }));
        }
        parts
    }

    /// Whether this rule grants all that `part`, which came from [`Rule::parts`], does.
    fn covers(&self, part: &Rule) -> bool {
        let has = |list: &[Str], wanted: &Str| list.contains(wanted);
        let all = |list: &[Str], wanted: &[Str]| list.iter().any(|own| own == "*") || wanted.iter().all(|each| has(list, each));
        let resource = all(&self.resources, &part.resources)
            || part.resources.iter().all(|path| {
                has(&self.resources, path)
                    || path.split_once('/').is_some_and(|(_, sub)| self.resources.iter().any(|own| own.strip_prefix("*/") == Some(sub)))
            });
        let names = self.resource_names.is_empty()
            || (!part.resource_names.is_empty() && part.resource_names.iter().all(|name| has(&self.resource_names, name)));
        let urls = part.non_resource_urls.iter().all(|url| self.non_resource_urls.iter().any(|own| url_covers(own, url)));
        all(&self.verbs, &part.verbs) && all(&self.api_groups, &part.api_groups) && resource && names && urls
    }

    /// `{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}`.
    fn describe(&self) -> String {
        let lists = [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.non_resource_urls),
            ("ResourceNames", &self.resource_names),
            ("Verbs", &self.verbs),
        ];
        let parts: Vec<_> = lists.iter().filter(|(_, list)| !list.is_empty()).map(|(name, list)| format!("{name}:{}", quoted_list(list))).collect();
        format!("{{{}}}", parts.join(", "))
    }
}

/// Go's `%q` of a slice: `["a" "b"]`.
pub fn quoted_list(list: &[Str]) -> String {
    let quoted: Vec<_> = list.iter().map(|item| quote(item)).collect();
    format!("[{}]", quoted.join(" "))
}

fn url_covers(own: &str, path: &str) -> bool {
    own == path || (own.ends_with('*') && path.starts_with(own.trim_end_matches('*')))
}

/// `pods`, `pods/log`, `*/scale`, `*`.
fn resource_matches(own: &str, resource: &str, subresource: &str) -> bool {
    if own == "*" {
        return true;
    }
    if subresource.is_empty() {
        return own == resource;
    }
    match own.split_once('/') {
        Some(("*", sub)) => sub == subresource,
        Some((main, sub)) => main == resource && sub == subresource,
        None => false,
    }
}

/// What of `wanted` the `held` rules do not grant, part by part.
pub fn missing(held: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    wanted.iter().flat_map(Rule::parts).filter(|part| !held.iter().any(|own| own.covers(part))).collect()
}

/// What of `wanted` the `held` rules do not grant, in upstream's words, sorted; empty where all is covered.
pub fn not_held(held: &[Rule], wanted: &[Rule]) -> Vec<String> {
    // Parts that differ by verb only are told in one line.
    let mut lines: BTreeSet<String> = BTreeSet::new();
    let mut by_object: BTreeMap<(Str, Str, Option<Str>), Rule> = BTreeMap::new();
    for part in missing(held, wanted) {
        if !part.non_resource_urls.is_empty() {
            lines.insert(part.describe());
            continue;
        }
        let object = (part.api_groups[0].clone(), part.resources[0].clone(), part.resource_names.first().cloned());
        match by_object.get_mut(&object) {
            Some(known) => known.verbs.extend(part.verbs),
            None => _ = by_object.insert(object, part),
        }
    }
    lines.extend(by_object.values().map(Rule::describe));
    lines.into_iter().collect()
}

/// A Role (with its namespace) or a ClusterRole (without).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoleKey {
    pub namespace: Str,
    pub name: Str,
}

/// A RoleBinding (with its namespace) or a ClusterRoleBinding (without).
pub type BindingKey = RoleKey;

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RoleRef {
    pub api_group: Str,
    pub kind: Str,
    pub name: Str,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Subject {
    pub kind: Str,
    #[serde(skip_serializing_if = "Str::is_empty")]
    pub api_group: Str,
    pub name: Str,
    #[serde(skip_serializing_if = "Str::is_empty")]
    pub namespace: Str,
}

/// The parts of a Role or ClusterRole that matter here.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Role {
    #[serde(deserialize_with = "nullable")]
    pub rules: Vec<Rule>,
}

/// The parts of a RoleBinding or ClusterRoleBinding that matter here.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Binding {
    pub role_ref: RoleRef,
    #[serde(deserialize_with = "nullable")]
    pub subjects: Vec<Subject>,
}

/// Whom a binding names, as users carry it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Principal {
    User(Str),
    Group(Str),
}

/// What one binding gives one principal.
#[derive(Clone, Debug)]
struct Grant {
    /// `None`: the role does not exist.
    rules: Option<Arc<[Rule]>>,
    role: RoleKey,
    /// `RBAC: allowed by …`
    source: Arc<str>,
}

#[derive(Clone, Debug, Default)]
struct Grants {
    cluster: Vec<Grant>,
    namespaced: HashMap<Str, Vec<Grant>>,
}

/// The published index. Cheap to clone; never changed once published.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    users: imbl::HashMap<Str, Arc<Grants>>,
    groups: imbl::HashMap<Str, Arc<Grants>>,
    roles: imbl::HashMap<RoleKey, Arc<[Rule]>>,
}

impl Policy {
    /// Grants that may apply in `namespace`, cluster-wide ones first.
    fn grants<'a>(&'a self, user: &'a User, namespace: &'a str) -> impl Iterator<Item = &'a Grant> {
        let holders = || self.users.get(&user.name).into_iter().chain(user.groups.iter().filter_map(|group| self.groups.get(group)));
        let namespaced = (!namespace.is_empty()).then(holders).into_iter().flatten();
        holders().flat_map(|grants| grants.cluster.iter()).chain(namespaced.filter_map(move |grants| grants.namespaced.get(namespace)).flatten())
    }

    pub fn authorize(&self, ask: &Attributes<'_>) -> Decision {
        let mut missing = Vec::new();
        for grant in self.grants(ask.user, ask.namespace) {
            match &grant.rules {
                Some(rules) if rules.iter().any(|rule| rule.allows(ask)) => return Decision::Allow(Some(grant.source.clone())),
                Some(_) => {}
                None => missing.push(&grant.role),
            }
        }
        Decision::NoOpinion(if missing.is_empty() { String::new() } else { format!("rbac: RBAC: {}", roles_not_found(&missing)) })
    }

    /// All rules that apply to a user in a namespace, and what could not be resolved.
    pub fn rules_for(&self, user: &User, namespace: &str) -> (Vec<Rule>, String) {
        let mut rules = Vec::new();
        let mut missing = Vec::new();
        for grant in self.grants(user, namespace) {
            match &grant.rules {
                Some(own) => rules.extend(own.iter().cloned()),
                None => missing.push(&grant.role),
            }
        }
        (rules, if missing.is_empty() { String::new() } else { roles_not_found(&missing) })
    }

    pub fn role(&self, key: &RoleKey) -> Option<&Arc<[Rule]>> {
        self.roles.get(key)
    }
}

fn role_not_found(role: &RoleKey) -> String {
    let kind = if role.namespace.is_empty() { "clusterrole" } else { "role" };
    format!("{kind}.{GROUP} {} not found", quote(&role.name))
}

fn roles_not_found(roles: &[&RoleKey]) -> String {
    let mut texts: Vec<String> = Vec::new();
    for role in roles {
        let text = role_not_found(role);
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    if texts.len() == 1 { texts.swap_remove(0) } else { format!("[{}]", texts.join(", ")) }
}

/// Everything that was seen, and the index that it makes. One task owns it.
#[derive(Debug, Default)]
pub struct Index {
    roles: HashMap<RoleKey, Arc<[Rule]>>,
    bindings: HashMap<BindingKey, Binding>,
    by_role: HashMap<RoleKey, HashSet<BindingKey>>,
    by_principal: HashMap<Principal, BTreeSet<BindingKey>>,
    dirty: HashSet<Principal>,
    policy: Policy,
}

impl Index {
    pub fn put_role(&mut self, key: RoleKey, role: Role) {
        let rules: Arc<[Rule]> = role.rules.into();
        self.policy.roles.insert(key.clone(), rules.clone());
        self.roles.insert(key.clone(), rules);
        self.touch_role(&key);
    }

    pub fn remove_role(&mut self, key: &RoleKey) {
        self.policy.roles.remove(key);
        self.roles.remove(key);
        self.touch_role(key);
    }

    pub fn put_binding(&mut self, key: BindingKey, binding: Binding) {
        self.remove_binding(&key);
        self.by_role.entry(role_of(&key, &binding)).or_default().insert(key.clone());
        for principal in principals(&key, &binding) {
            self.by_principal.entry(principal.clone()).or_default().insert(key.clone());
            self.dirty.insert(principal);
        }
        self.bindings.insert(key, binding);
    }

    pub fn remove_binding(&mut self, key: &BindingKey) {
        let Some(binding) = self.bindings.remove(key) else { return };
        let role = role_of(key, &binding);
        if let Some(bindings) = self.by_role.get_mut(&role) {
            bindings.remove(key);
            if bindings.is_empty() {
                self.by_role.remove(&role);
            }
        }
        for principal in principals(key, &binding) {
            if let Some(bindings) = self.by_principal.get_mut(&principal) {
                bindings.remove(key);
                if bindings.is_empty() {
                    self.by_principal.remove(&principal);
                }
            }
            self.dirty.insert(principal);
        }
    }

    /// Computes anew what changed since the last call and gives the index to publish.
    pub fn publish(&mut self) -> Policy {
        for principal in std::mem::take(&mut self.dirty) {
            let grants = self.by_principal.get(&principal).map(|keys| Arc::new(self.collect(&principal, keys)));
            let (map, name) = match principal {
                Principal::User(name) => (&mut self.policy.users, name),
                Principal::Group(name) => (&mut self.policy.groups, name),
            };
            match grants {
                Some(grants) => _ = map.insert(name, grants),
                None => _ = map.remove(&name),
            }
        }
        self.policy.clone()
    }

    fn collect(&self, principal: &Principal, keys: &BTreeSet<BindingKey>) -> Grants {
        let mut grants = Grants::default();
        for key in keys {
            let Some(binding) = self.bindings.get(key) else { continue };
            let role = role_of(key, binding);
            let grant = Grant { rules: self.roles.get(&role).cloned(), source: source(key, binding, principal).into(), role };
            if key.namespace.is_empty() {
                grants.cluster.push(grant);
            } else {
                grants.namespaced.entry(key.namespace.clone()).or_default().push(grant);
            }
        }
        grants
    }

    fn touch_role(&mut self, key: &RoleKey) {
        for binding in self.by_role.get(key).into_iter().flatten() {
            if let Some(known) = self.bindings.get(binding) {
                self.dirty.extend(principals(binding, known));
            }
        }
    }
}

/// A RoleBinding may refer to a Role of its namespace or to a ClusterRole.
pub fn role_of(key: &BindingKey, binding: &Binding) -> RoleKey {
    let namespace = if binding.role_ref.kind == "Role" { key.namespace.clone() } else { Str::default() };
    RoleKey { namespace, name: binding.role_ref.name.clone() }
}

fn principal(key: &BindingKey, subject: &Subject) -> Option<Principal> {
    match subject.kind.as_str() {
        "User" => Some(Principal::User(subject.name.clone())),
        "Group" => Some(Principal::Group(subject.name.clone())),
        "ServiceAccount" => {
            let namespace = if subject.namespace.is_empty() { &key.namespace } else { &subject.namespace };
            (!namespace.is_empty()).then(|| Principal::User(service_account::username(namespace, &subject.name)))
        }
        _ => None,
    }
}

fn principals(key: &BindingKey, binding: &Binding) -> Vec<Principal> {
    binding.subjects.iter().filter_map(|subject| principal(key, subject)).collect()
}

/// `RBAC: allowed by RoleBinding "read/default" of Role "pod-reader" to User "jane"`; upstream writes the name before the namespace.
fn source(key: &BindingKey, binding: &Binding, holder: &Principal) -> String {
    let (kind, name) = if key.namespace.is_empty() {
        ("ClusterRoleBinding", quote(&key.name))
    } else {
        ("RoleBinding", quote(&format!("{}/{}", key.name, key.namespace)))
    };
    let to = binding.subjects.iter().find(|subject| principal(key, subject).as_ref() == Some(holder)).map_or_else(String::new, |subject| {
        if subject.kind == "ServiceAccount" {
            let namespace = if subject.namespace.is_empty() { &key.namespace } else { &subject.namespace };
            format!("ServiceAccount {}", quote(&format!("{}/{namespace}", subject.name)))
        } else {
            format!("{} {}", subject.kind, quote(&subject.name))
        }
    });
    format!("RBAC: allowed by {kind} {name} of {} {} to {to}", binding.role_ref.kind, quote(&binding.role_ref.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(verbs: &str, groups: &str, resources: &str, names: &str) -> Rule {
        let list = |text: &str| {
            if text.is_empty() { Vec::new() } else { text.split(',').map(|item| if item == "core" { "".into() } else { item.into() }).collect() }
        };
        Rule { verbs: list(verbs), api_groups: list(groups), resources: list(resources), resource_names: list(names), ..Rule::default() }
    }

    fn urls(verbs: &str, urls: &str) -> Rule {
        Rule { verbs: vec![verbs.into()], non_resource_urls: urls.split(',').map(Str::from).collect(), ..Rule::default() }
    }

    fn user(name: &str, groups: &[&str]) -> User {
        User { name: name.into(), groups: groups.iter().map(|group| Str::from(*group)).collect(), ..User::default() }
    }

    fn key(namespace: &str, name: &str) -> RoleKey {
        RoleKey { namespace: namespace.into(), name: name.into() }
    }

    fn binding(kind: &str, role: &str, subjects: &[(&str, &str, &str)]) -> Binding {
        Binding {
            role_ref: RoleRef { api_group: GROUP.into(), kind: kind.into(), name: role.into() },
            subjects: subjects
                .iter()
                .map(|(kind, namespace, name)| Subject {
                    kind: (*kind).into(),
                    namespace: (*namespace).into(),
                    name: (*name).into(),
                    ..Subject::default()
                })
                .collect(),
        }
    }

    #[test]
    fn rules_match_verbs_groups_resources_names_and_paths() {
        let someone = user("x", &[]);
        let check = |rule: Rule, verb: &str, group: &str, resource: &str, sub: &str, name: &str, expect: bool| {
            let ask = Attributes { subresource: sub, ..Attributes::resource(&someone, verb, group, resource, "ns", name) };
            assert_eq!(rule.allows(&ask), expect, "{rule:?} {verb} {resource}/{sub} {name}");
        };
        check(rule("get", "core", "pods", ""), "get", "", "pods", "", "a", true);
        check(rule("get", "core", "pods", ""), "list", "", "pods", "", "", false);
        check(rule("get", "core", "pods", ""), "get", "", "pods", "log", "a", false);
        check(rule("get", "core", "pods/log", ""), "get", "", "pods", "log", "a", true);
        check(rule("update", "*", "*/scale", ""), "update", "apps", "deployments", "scale", "a", true);
        check(rule("update", "*", "*/scale", ""), "update", "apps", "deployments", "status", "a", false);
        check(rule("*", "*", "*", ""), "update", "apps", "deployments", "status", "a", true);
        check(rule("get", "core", "secrets", "one"), "get", "", "secrets", "", "one", true);
        check(rule("get", "core", "secrets", "one"), "list", "", "secrets", "", "", false);
        check(urls("get", "/healthz"), "get", "", "pods", "", "", false);
        let path = |rule: Rule, path: &str, expect: bool| {
            let ask = Attributes { path, ..Attributes::resource(&someone, "get", "", "", "", "") };
            assert_eq!(rule.allows(&ask), expect, "{rule:?} {path}");
        };
        path(urls("get", "/healthz"), "/healthz", true);
        path(urls("get", "/healthz"), "/healthz/etcd", false);
        path(urls("get", "/healthz/*"), "/healthz/etcd", true);
        path(urls("*", "*"), "/any", true);
        path(rule("*", "*", "*", ""), "/any", false);
    }

    #[test]
    fn bindings_grant_what_their_role_says_where_they_say() {
        let mut index = Index::default();
        index.put_role(key("", "reader"), Role { rules: vec![rule("get", "core", "pods", "")] });
        index.put_binding(key("a", "b"), binding("ClusterRole", "reader", &[("ServiceAccount", "", "sa"), ("Group", "", "devs")]));
        let policy = index.publish();
        let check = |policy: &Policy, who: &User, namespace: &str, expect: bool| {
            assert_eq!(policy.authorize(&Attributes::resource(who, "get", "", "pods", namespace, "p")).allowed(), expect, "{who:?} in {namespace}");
        };
        let account = user("system:serviceaccount:a:sa", &[]);
        check(&policy, &account, "a", true);
        check(&policy, &account, "b", false);
        check(&policy, &account, "", false);
        check(&policy, &user("jane", &["devs"]), "a", true);
        check(&policy, &user("jane", &["ops"]), "a", false);
        let decision = policy.authorize(&Attributes::resource(&account, "get", "", "pods", "a", "p"));
        assert_eq!(decision.reason(), r#"RBAC: allowed by RoleBinding "b/a" of ClusterRole "reader" to ServiceAccount "sa/a""#);

        // A role that goes takes the permission with it, and the binding says what is missing.
        index.remove_role(&key("", "reader"));
        let decision = index.publish().authorize(&Attributes::resource(&account, "get", "", "pods", "a", "p"));
        assert_eq!(decision, Decision::NoOpinion(r#"rbac: RBAC: clusterrole.rbac.authorization.k8s.io "reader" not found"#.into()));

        index.put_role(key("", "reader"), Role { rules: vec![rule("get", "core", "pods", "")] });
        index.put_binding(key("a", "b"), binding("ClusterRole", "reader", &[("User", "", "jane")]));
        let policy = index.publish();
        check(&policy, &account, "a", false);
        check(&policy, &user("jane", &[]), "a", true);
        index.remove_binding(&key("a", "b"));
        check(&index.publish(), &user("jane", &[]), "a", false);
    }

    #[test]
    fn what_is_not_held_is_told_part_by_part() {
        let check = |held: &[Rule], wanted: &[Rule], expect: &[&str]| assert_eq!(not_held(held, wanted), expect);
        check(&[rule("*", "*", "*", "")], &[rule("get", "core", "pods", "")], &[]);
        check(
            &[rule("get", "core", "pods", "")],
            &[rule("get,list,watch", "core", "pods", "")],
            &[r#"{APIGroups:[""], Resources:["pods"], Verbs:["list" "watch"]}"#],
        );
        check(
            &[rule("get", "core", "secrets", "a")],
            &[rule("get", "core", "secrets", "")],
            &[r#"{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}"#],
        );
        check(&[rule("get", "core", "secrets", "")], &[rule("get", "core", "secrets", "a")], &[]);
        check(&[rule("get", "apps", "*/scale", "")], &[rule("get", "apps", "deployments/scale", "")], &[]);
        check(&[urls("get", "/api/*")], &[urls("get", "/api/v1"), urls("get", "/metrics")], &[r#"{NonResourceURLs:["/metrics"], Verbs:["get"]}"#]);
    }

    #[test]
    fn a_typical_question_costs_less_than_five_microseconds() {
        let mut index = Index::default();
        for number in 0..1000 {
            let name = format!("role-{number}");
            index.put_role(key("", &name), Role { rules: (0..30).map(|at| rule("get,list,watch", "core", &format!("kind-{at}"), "")).collect() });
            index.put_binding(key(&format!("ns-{number}"), "b"), binding("ClusterRole", &name, &[("Group", "", "devs")]));
        }
        let policy = index.publish();
        let jane = user("jane", &["devs", "system:authenticated"]);
        let started = tokio::time::Instant::now();
        const QUESTIONS: u32 = 1000;
        for _ in 0..QUESTIONS {
            assert!(policy.authorize(&Attributes::resource(&jane, "get", "", "kind-29", "ns-500", "x")).allowed());
        }
        // Without optimization and on a busy machine; the bound is 20 times that of a release build.
        assert!(started.elapsed() / QUESTIONS < std::time::Duration::from_micros(100));
    }
}
