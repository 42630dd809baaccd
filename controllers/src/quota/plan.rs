//! What a quota's status should say.

use super::usage::{self, Usage};
use super::{Observed, QUOTAS};
use apiserver_placement::Amount;
use apiserver_placement::qos::Qos;
use controllers_runtime::{Action, Plan};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, ResourceQuota, ResourceQuotaStatus, ScopedResourceSelectorRequirement};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::BTreeMap;

type Quantities = BTreeMap<String, Quantity>;

pub(super) fn hard(quota: &ResourceQuota) -> Quantities {
    quota.spec.as_ref().and_then(|spec| spec.hard.clone()).unwrap_or_default()
}

/// Whether the status does not yet say what the quota's limits are.
pub(super) fn is_new(quota: &ResourceQuota) -> bool {
    quota.status.as_ref().and_then(|status| status.hard.clone()).unwrap_or_default() != hard(quota)
}

pub(super) fn plan(observed: &Observed, now: Timestamp) -> Plan {
    let quota = &observed.quota;
    let hard = hard(quota);
    let used = used(observed, now);
    let old = quota.status.clone().unwrap_or_default();
    let old_used = old.used.clone().unwrap_or_default();
    let mut new_used = Quantities::new();
    for (name, limit) in &hard {
        let amount = used.get(name).copied().unwrap_or_default();
        let quantity = match old_used.get(name) {
            // The same amount keeps its notation.
            Some(old) if Amount::parse(&old.0) == Some(amount) => old.clone(),
            _ => Quantity(written(amount, &limit.0)),
        };
        // A resource that cannot be listed now keeps what was known.
        let counted = usage::counted_resource(name).filter(|resource| *resource != "pods");
        let unknown = counted.is_some_and(|resource| !observed.counts.contains_key(resource));
        let quantity = if unknown { old_used.get(name).cloned().unwrap_or(quantity) } else { quantity };
        new_used.insert(name.clone(), quantity);
    }
    let new = ResourceQuotaStatus { hard: Some(hard), used: Some(new_used) };
    let status = Action::status_change(QUOTAS.target_of(&**quota), quota.metadata.resource_version.as_deref(), &old, &new);
    Plan { status, ..Plan::default() }
}

fn used(observed: &Observed, now: Timestamp) -> Usage {
    let mut used = Usage::new();
    let scopes = scopes(&observed.quota);
    let matching = observed.pods.iter().filter(|pod| scopes.iter().all(|scope| in_scope(pod, scope)));
    let mut every_pod: i64 = 0;
    for pod in matching {
        every_pod += 1;
        usage::add(&mut used, usage::of_pod(pod, now));
    }
    used.insert("count/pods".into(), Amount::from_units(every_pod));
    // Scopes are about Pods: a quota that has any counts nothing else.
    if !scopes.is_empty() {
        return used;
    }
    observed.services.iter().for_each(|service| usage::add(&mut used, usage::of_service(service)));
    observed.claims.iter().for_each(|claim| usage::add(&mut used, usage::of_claim(claim)));
    for name in hard(&observed.quota).keys().filter(|name| *name != "count/pods") {
        if let Some(count) = usage::counted_resource(name).and_then(|resource| observed.counts.get(resource)) {
            used.insert(name.clone(), Amount::from_units(i64::try_from(*count).unwrap_or(i64::MAX)));
        }
    }
    used
}

fn scopes(quota: &ResourceQuota) -> Vec<ScopedResourceSelectorRequirement> {
    let Some(spec) = &quota.spec else { return Vec::new() };
    let plain = spec.scopes.iter().flatten().map(|scope| ScopedResourceSelectorRequirement {
        scope_name: scope.clone(),
        operator: "Exists".into(),
        values: None,
    });
    let selected = spec.scope_selector.iter().flat_map(|selector| selector.match_expressions.iter().flatten().cloned());
    plain.chain(selected).collect()
}

fn in_scope(pod: &Pod, scope: &ScopedResourceSelectorRequirement) -> bool {
    let spec = pod.spec.as_ref();
    let ends_by_itself = spec.and_then(|spec| spec.active_deadline_seconds).is_some_and(|seconds| seconds >= 0);
    match scope.scope_name.as_str() {
        "Terminating" => ends_by_itself,
        "NotTerminating" => !ends_by_itself,
        "BestEffort" => Qos::of(pod) == Qos::BestEffort,
        "NotBestEffort" => Qos::of(pod) != Qos::BestEffort,
        "PriorityClass" => {
            let class = spec.and_then(|spec| spec.priority_class_name.clone()).filter(|class| !class.is_empty());
            let values = scope.values.as_deref().unwrap_or_default();
            match scope.operator.as_str() {
                "Exists" => class.is_some(),
                "DoesNotExist" => class.is_none(),
                "In" => class.is_some_and(|class| values.contains(&class)),
                "NotIn" => class.is_none_or(|class| !values.contains(&class)),
                _ => false,
            }
        }
        "CrossNamespacePodAffinity" => spec.is_some_and(crosses_namespaces),
        _ => false,
    }
}

fn crosses_namespaces(spec: &k8s_openapi::api::core::v1::PodSpec) -> bool {
    let Some(affinity) = &spec.affinity else { return false };
    let near = affinity.pod_affinity.iter().flat_map(|affinity| {
        let preferred = affinity.preferred_during_scheduling_ignored_during_execution.iter().flatten().map(|term| &term.pod_affinity_term);
        affinity.required_during_scheduling_ignored_during_execution.iter().flatten().chain(preferred)
    });
    let apart = affinity.pod_anti_affinity.iter().flat_map(|affinity| {
        let preferred = affinity.preferred_during_scheduling_ignored_during_execution.iter().flatten().map(|term| &term.pod_affinity_term);
        affinity.required_during_scheduling_ignored_during_execution.iter().flatten().chain(preferred)
    });
    near.chain(apart).any(|term| term.namespaces.as_ref().is_some_and(|names| !names.is_empty()) || term.namespace_selector.is_some())
}

/// An amount as a quantity: in binary units where `like` is, else decimal, with the largest unit that keeps it whole.
pub(super) fn written(amount: Amount, like: &str) -> String {
    let millis = amount.millis();
    if millis % 1000 != 0 {
        return format!("{millis}m");
    }
    let (units, binary) = (amount.value(), like.ends_with('i'));
    let (step, suffixes): (i64, &[&str]) =
        if binary { (1024, &["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]) } else { (1000, &["", "k", "M", "G", "T", "P", "E"]) };
    let (mut number, mut suffix) = (units, 0);
    while number != 0 && number % step == 0 && suffix + 1 < suffixes.len() {
        number /= step;
        suffix += 1;
    }
    format!("{number}{}", suffixes[suffix])
}
