//! What is served at the moment: the built-in resources and those of CustomResourceDefinitions, found by path.
//!
//! A catalog never changes; adding or removing a custom resource makes a new one, which shares all the rest. Readers hold an `Arc`.

use super::{Resource, Served};
use crate::resource::table;
use apiserver_machinery::Str;
use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;
use std::sync::Arc;

#[derive(Debug)]
pub struct Catalog {
    /// Goes up with every change; what is derived from a catalog is cached under it.
    generation: u64,
    /// Built-in ones first, in discovery's order.
    resources: Vec<Arc<Resource>>,
    by_plural: HashMap<Str, Vec<Arc<Resource>>>,
    groups: Vec<Group>,
}

/// A named group (all but the core group) and its versions, preferred first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub name: Str,
    pub versions: Vec<Str>,
    /// As APIService's groupPriorityMinimum: groups are shown from high to low, then by name.
    pub priority: i32,
}

/// The built-in groups in the order in which discovery shows them, with the priority of their APIServices.
const GROUP_PRIORITIES: &[(&str, i32)] = &[
    ("apiregistration.k8s.io", 20_000),
    ("apps", 17_800),
    ("events.k8s.io", 17_750),
    ("authentication.k8s.io", 17_700),
    ("authorization.k8s.io", 17_600),
    ("autoscaling", 17_500),
    ("batch", 17_400),
    ("certificates.k8s.io", 17_300),
    ("networking.k8s.io", 17_200),
    ("policy", 17_100),
    ("rbac.authorization.k8s.io", 17_000),
    ("storage.k8s.io", 16_800),
    ("admissionregistration.k8s.io", 16_700),
    ("apiextensions.k8s.io", 16_700),
    ("scheduling.k8s.io", 16_600),
    ("coordination.k8s.io", 16_500),
    ("node.k8s.io", 16_300),
    ("discovery.k8s.io", 16_200),
    ("resource.k8s.io", 16_200),
    ("flowcontrol.apiserver.k8s.io", 16_100),
    ("storagemigration.k8s.io", 15_800),
];

/// The priority of groups that CustomResourceDefinitions bring.
pub const CUSTOM_GROUP_PRIORITY: i32 = 1_000;

impl Catalog {
    /// The built-in resources alone.
    pub fn builtin() -> Self {
        Self::of(1, table::builtin_resources().into_iter().map(Arc::new).collect())
    }

    fn of(generation: u64, resources: Vec<Arc<Resource>>) -> Self {
        let mut by_plural: HashMap<Str, Vec<Arc<Resource>>> = HashMap::new();
        for resource in &resources {
            by_plural.entry(resource.plural.clone()).or_default().push(Arc::clone(resource));
        }
        let groups = groups(&resources);
        Self { generation, resources, by_plural, groups }
    }

    pub fn generation(&self) -> u64 {
        self.generation
    }

    pub fn resources(&self) -> &[Arc<Resource>] {
        &self.resources
    }

    /// All groups but the core one, in the order of /apis.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }

    /// The resource behind a path and the served version that it names, as its place in [`Resource::versions`].
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<(&Arc<Resource>, usize)> {
        let named = self.by_plural.get(plural)?;
        named.iter().find_map(|resource| {
            if resource.group != group {
                return None;
            }
            resource.versions.iter().position(|served| served.version == version).map(|served| (resource, served))
        })
    }

    /// The resource of a group, whatever the version.
    pub fn resource(&self, group: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.by_plural.get(plural)?.iter().find(|resource| resource.group == group)
    }

    /// The resource that holds objects of a kind.
    pub fn kind(&self, group: &str, version: &str, kind: &str) -> Option<(&Arc<Resource>, usize)> {
        self.resources.iter().find_map(|resource| {
            if resource.group != group || resource.kind != kind {
                return None;
            }
            resource.versions.iter().position(|served| served.version == version).map(|served| (resource, served))
        })
    }

    /// Whether anything is served at a group and version.
    pub fn serves(&self, group: &str, version: &str) -> bool {
        self.resources_of(group, version).next().is_some()
    }

    /// What a group and version serves, in discovery's order.
    pub fn resources_of(&self, group: &str, version: &str) -> impl Iterator<Item = (&Arc<Resource>, &Served)> {
        self.resources.iter().filter_map(move |resource| {
            if resource.group != group {
                return None;
            }
            resource.versions.iter().find(|served| served.version == version).map(|served| (resource, served))
        })
    }

    /// This catalog with a custom resource, which takes the place of one of the same group and plural. A built-in resource stays.
    pub fn with(&self, added: Arc<Resource>) -> Self {
        let mut resources: Vec<_> =
            self.resources.iter().filter(|own| !own.custom || own.group != added.group || own.plural != added.plural).cloned().collect();
        if !resources.iter().any(|own| own.group == added.group && own.plural == added.plural) {
            resources.push(added);
        }
        Self::of(self.generation + 1, sorted(resources))
    }

    /// This catalog without a custom resource.
    pub fn without(&self, group: &str, plural: &str) -> Self {
        let resources = self.resources.iter().filter(|own| !own.custom || own.group != group || own.plural != plural).cloned().collect();
        Self::of(self.generation + 1, resources)
    }

    /// This catalog with exactly these custom resources.
    pub fn with_customs(&self, customs: impl IntoIterator<Item = Arc<Resource>>) -> Self {
        let mut resources: Vec<_> = self.resources.iter().filter(|own| !own.custom).cloned().collect();
        resources.extend(customs);
        Self::of(self.generation + 1, sorted(resources))
    }
}

/// Built-in ones stay as they are; custom ones follow by group and plural.
fn sorted(mut resources: Vec<Arc<Resource>>) -> Vec<Arc<Resource>> {
    let first_custom = resources.partition_point(|resource| !resource.custom);
    resources[first_custom..].sort_by(|a, b| (&a.group, &a.plural).cmp(&(&b.group, &b.plural)));
    resources
}

fn groups(resources: &[Arc<Resource>]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for resource in resources.iter().filter(|resource| !resource.group.is_empty()) {
        let at = groups.iter().position(|group| group.name == resource.group).unwrap_or_else(|| {
            let priority = GROUP_PRIORITIES.iter().find(|(name, _)| resource.group == *name).map(|(_, priority)| *priority);
            groups.push(Group { name: resource.group.clone(), versions: Vec::new(), priority: priority.unwrap_or(CUSTOM_GROUP_PRIORITY) });
            groups.len() - 1
        });
        let group = &mut groups[at];
        for served in &resource.versions {
            if !group.versions.contains(&served.version) {
                group.versions.push(served.version.clone());
            }
        }
    }
    for group in &mut groups {
        group.versions.sort_by(|a, b| compare_versions(b, a));
    }
    groups.sort_by(|a, b| Reverse(a.priority).cmp(&Reverse(b.priority)).then_with(|| a.name.cmp(&b.name)));
    groups
}

/// Kubernetes' order of version names, greater preferred: `v10 > v2 > v1 > v11beta2 > v10beta3 > v3alpha1 > foo1 > foo10`.
pub fn compare_versions(a: &str, b: &str) -> Ordering {
    match (parse(a), parse(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(_), None) => Ordering::Greater,
        (None, Some(_)) => Ordering::Less,
        (None, None) => b.cmp(a),
    }
}

/// Stability (alpha 0, beta 1, stable 2), major, minor.
fn parse(version: &str) -> Option<(u8, u64, u64)> {
    let rest = version.strip_prefix('v')?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let major = number(&rest[..digits])?;
    let suffix = &rest[digits..];
    if suffix.is_empty() {
        return Some((2, major, 0));
    }
    let (stability, minor) = match suffix.strip_prefix("beta") {
        Some(minor) => (1, minor),
        None => (0, suffix.strip_prefix("alpha")?),
    };
    Some((stability, major, number(minor)?))
}

/// Digits without a leading zero.
fn number(digits: &str) -> Option<u64> {
    if digits.starts_with('0') || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_sort_as_kubernetes_prefers_them() {
        let expect = ["v10", "v2", "v1", "v11beta2", "v10beta3", "v3beta1", "v12alpha1", "v11alpha2", "foo1", "foo10"];
        let mut seen = expect;
        seen.reverse();
        seen.sort_by(|a, b| compare_versions(b, a));
        assert_eq!(seen, expect);
    }

    #[test]
    fn paths_find_resources_of_one_name_in_two_groups() {
        let catalog = Catalog::builtin();
        let (core, _) = catalog.find("", "v1", "events").unwrap();
        let (group, _) = catalog.find("events.k8s.io", "v1", "events").unwrap();
        assert_eq!((&*core.group, &*group.group), ("", "events.k8s.io"));
        assert_eq!(core.prefix, group.prefix);
        let (hpa, served) = catalog.find("autoscaling", "v1", "horizontalpodautoscalers").unwrap();
        assert_eq!(hpa.versions[served].version, "v1");
        assert_eq!(hpa.storage.api_version, "autoscaling/v2");
        assert!(catalog.find("apps", "v1beta1", "deployments").is_none());
    }

    #[test]
    fn groups_come_in_the_order_of_their_priority() {
        let catalog = Catalog::builtin();
        let seen: Vec<&str> = catalog.groups().iter().map(|group| group.name.as_str()).collect();
        let expect: Vec<&str> = GROUP_PRIORITIES.iter().map(|(name, _)| *name).collect();
        assert_eq!(seen, expect);
        assert_eq!(catalog.group("autoscaling").unwrap().versions, ["v2", "v1"]);
    }
}
