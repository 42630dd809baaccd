//! Amounts as the scheduler adds and compares them: plain integers for what nearly every Pod asks for, a short list for the rest.

use apiserver_placement::ResourceList;
use apiserver_placement::resources::{CPU, EPHEMERAL_STORAGE, HUGE_PAGES_PREFIX, MEMORY};
use std::sync::Arc;

/// What a container that asks for no cpu or memory counts as when nodes are scored, so that such Pods spread too.
pub const DEFAULT_CPU_MILLIS: i64 = 100;
pub const DEFAULT_MEMORY_BYTES: i64 = 200 * 1024 * 1024;

/// cpu in millicores, memory and storage in bytes, everything else in pieces by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    pub cpu: i64,
    pub memory: i64,
    pub ephemeral_storage: i64,
    /// Extended resources, huge pages and attachable volumes. Few, so a list; most Pods have none, and an empty list takes no memory.
    pub scalars: Vec<(Arc<str>, i64)>,
}

impl Resources {
    pub fn is_zero(&self) -> bool {
        self.cpu == 0 && self.memory == 0 && self.ephemeral_storage == 0 && self.scalars.is_empty()
    }

    pub fn scalar(&self, name: &str) -> i64 {
        self.scalars.iter().find(|(known, _)| &**known == name).map_or(0, |(_, amount)| *amount)
    }

    pub fn add(&mut self, other: &Resources) {
        self.apply(other, 1);
    }

    pub fn subtract(&mut self, other: &Resources) {
        self.apply(other, -1);
    }

    fn apply(&mut self, other: &Resources, sign: i64) {
        let sum = |own: i64, other: i64| own.saturating_add(other.saturating_mul(sign));
        self.cpu = sum(self.cpu, other.cpu);
        self.memory = sum(self.memory, other.memory);
        self.ephemeral_storage = sum(self.ephemeral_storage, other.ephemeral_storage);
        for (name, amount) in &other.scalars {
            match self.scalars.iter().position(|(known, _)| known == name) {
                None => self.scalars.push((name.clone(), sum(0, *amount))),
                Some(index) => self.scalars[index].1 = sum(self.scalars[index].1, *amount),
            }
        }
        if sign < 0 {
            self.scalars.retain(|(_, amount)| *amount != 0);
        }
    }

    /// Whether `after` asks for less of something that this asks for too.
    pub fn wants_what_shrank(&self, before: &Resources, after: &Resources) -> bool {
        (self.cpu > 0 && before.cpu > after.cpu)
            || (self.memory > 0 && before.memory > after.memory)
            || (self.ephemeral_storage > 0 && before.ephemeral_storage > after.ephemeral_storage)
            || self.scalars.iter().any(|(name, amount)| *amount > 0 && before.scalar(name) > after.scalar(name))
    }
}

impl From<&ResourceList<'_>> for Resources {
    /// Names that are neither known nor scalar resources are left out, as upstream leaves them out.
    fn from(list: &ResourceList<'_>) -> Self {
        let mut resources = Self::default();
        for (name, amount) in list.iter() {
            match name {
                CPU => resources.cpu = amount.millis(),
                MEMORY => resources.memory = amount.value(),
                EPHEMERAL_STORAGE => resources.ephemeral_storage = amount.value(),
                _ if is_scalar(name) => resources.scalars.push((name.into(), amount.value())),
                _ => {}
            }
        }
        resources
    }
}

/// Extended and prefixed native resources have a slash (`example.org/gpu`); quota's `requests.example.org/gpu` is not a resource.
fn is_scalar(name: &str) -> bool {
    (name.contains('/') && (!name.starts_with("requests.") || name.contains("kubernetes.io/")))
        || name.starts_with(HUGE_PAGES_PREFIX)
        || name.starts_with("attachable-volumes-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(cpu: i64, scalars: &[(&str, i64)]) -> Resources {
        Resources { cpu, scalars: scalars.iter().map(|(name, amount)| ((*name).into(), *amount)).collect(), ..Resources::default() }
    }

    #[test]
    fn what_is_added_and_subtracted_leaves_nothing() {
        let mut sum = resources(100, &[("a/b", 1)]);
        let other = resources(50, &[("a/b", 2), ("c/d", 3)]);
        sum.add(&other);
        assert_eq!(sum, resources(150, &[("a/b", 3), ("c/d", 3)]));
        sum.subtract(&other);
        assert_eq!(sum, resources(100, &[("a/b", 1)]));
    }

    #[test]
    fn names_sort_into_scalars_and_strangers() {
        for (name, expect) in [
            ("example.org/gpu", true),
            ("kubernetes.io/x", true),
            ("hugepages-2Mi", true),
            ("attachable-volumes-csi", true),
            ("storage", false),
            ("requests.example.org/gpu", false),
        ] {
            assert_eq!(is_scalar(name), expect, "{name}");
        }
    }

    #[test]
    fn only_what_is_wanted_counts_as_shrunk() {
        let (before, after) = (resources(10, &[("a/b", 2)]), resources(10, &[("a/b", 1)]));
        assert!(resources(0, &[("a/b", 1)]).wants_what_shrank(&before, &after));
        assert!(!resources(5, &[]).wants_what_shrank(&before, &after));
        assert!(!resources(0, &[("a/b", 1)]).wants_what_shrank(&after, &before));
    }
}
