//! What was found in a namespace, as conditions.

use apiserver_client::time::to_time;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::NamespaceCondition;
use std::collections::BTreeMap;
use std::time::Duration;

/// What one pass found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub discovery_failures: Vec<String>,
    pub delete_failures: Vec<String>,
    /// Instances by `resource.group`.
    pub remaining: BTreeMap<String, usize>,
    /// Instances by finalizer.
    pub finalizers: BTreeMap<String, usize>,
    /// Seconds until what remains should be gone.
    pub estimate: u64,
}

/// How long to wait for what remains: half the estimate, from one second to fifteen.
pub(super) fn wait(estimate_seconds: u64) -> Duration {
    Duration::from_secs(estimate_seconds / 2 + 1).min(Duration::from_secs(15))
}

/// The conditions that say so; None where `old` says it already.
pub(super) fn conditions(old: &[NamespaceCondition], found: &Found, now: Timestamp) -> Option<Vec<NamespaceCondition>> {
    let mut conditions = old.to_vec();
    let mut changed = false;
    for (kind, status, reason, message) in wanted(found) {
        match conditions.iter_mut().find(|condition| condition.type_ == kind) {
            Some(condition)
                if condition.status == status && condition.reason.as_deref() == Some(reason) && condition.message.as_ref() == Some(&message) => {}
            Some(condition) => {
                if condition.status != status {
                    condition.last_transition_time = Some(to_time(now));
                }
                condition.status = status.into();
                condition.reason = Some(reason.into());
                condition.message = Some(message);
                changed = true;
            }
            None => {
                conditions.push(NamespaceCondition {
                    type_: kind.into(),
                    status: status.into(),
                    reason: Some(reason.into()),
                    message: Some(message),
                    last_transition_time: Some(to_time(now)),
                });
                changed = true;
            }
        }
    }
    changed.then_some(conditions)
}

type Wanted = (&'static str, &'static str, &'static str, String);

fn wanted(found: &Found) -> [Wanted; 5] {
    let discovery = if found.discovery_failures.is_empty() {
        ("False", "ResourcesDiscovered", "All resources successfully discovered".to_string())
    } else {
        let (count, groups) = (found.discovery_failures.len(), found.discovery_failures.join(", "));
        let message = format!("Discovery failed for some groups, {count} failing: unable to retrieve the complete list of server APIs: {groups}");
        ("True", "DiscoveryFailed", message)
    };
    let content = if found.delete_failures.is_empty() {
        ("False", "ContentDeleted", "All content successfully deleted, may be waiting on finalization".to_string())
    } else {
        let mut failures = found.delete_failures.clone();
        failures.sort();
        let message = format!("Failed to delete all resource types, {} remaining: {}", failures.len(), failures.join(", "));
        ("True", "ContentDeletionFailed", message)
    };
    let remaining = if found.remaining.is_empty() {
        ("False", "ContentRemoved", "All content successfully removed".to_string())
    } else {
        let resources: Vec<String> = found.remaining.iter().map(|(name, count)| format!("{name} has {count} resource instances")).collect();
        ("True", "SomeResourcesRemain", format!("Some resources are remaining: {}", resources.join(", ")))
    };
    let finalizers = if found.finalizers.is_empty() {
        ("False", "ContentHasNoFinalizers", "All content-preserving finalizers finished".to_string())
    } else {
        let by_name: Vec<String> = found.finalizers.iter().map(|(name, count)| format!("{name} in {count} resource instances")).collect();
        ("True", "SomeFinalizersRemain", format!("Some content in the namespace has finalizers remaining: {}", by_name.join(", ")))
    };
    let parsed = ("False", "ParsedGroupVersions", "All legacy kube types successfully parsed".to_string());
    let named = |kind, (status, reason, message): (&'static str, &'static str, String)| (kind, status, reason, message);
    [
        named("NamespaceDeletionDiscoveryFailure", discovery),
        named("NamespaceDeletionGroupVersionParsingFailure", parsed),
        named("NamespaceDeletionContentFailure", content),
        named("NamespaceContentRemaining", remaining),
        named("NamespaceFinalizersRemaining", finalizers),
    ]
}
