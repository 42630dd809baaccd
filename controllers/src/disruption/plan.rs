//! The numbers of a budget.

use super::{BUDGETS, Observed};
use crate::{pod, share};
use apiserver_client::EventType;
use apiserver_client::time::{from_time, to_time};
use controllers_runtime::{Action, Kind, Plan};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::collections::BTreeMap;
use std::sync::Arc;

/// An evicted Pod counts as gone for so long; if it is there still, it was not deleted after all.
const DELETION_TIMEOUT: SignedDuration = SignedDuration::from_secs(2 * 60);
const PODS: Kind = Kind::of::<Pod>();
const ALLOWED: &str = "DisruptionAllowed";

struct Expected {
    pods: i32,
    healthy: i32,
    unmanaged: bool,
}

pub(super) fn plan(observed: &Observed, now: Timestamp) -> Plan {
    let (budget, pods) = (&observed.budget, &observed.pods);
    let about = BUDGETS.reference(&budget.metadata);
    let mut plan = Plan::nothing();
    if pods.is_empty() {
        plan.event(&about, EventType::Normal, "NoPods", "No matching pods found");
    }
    let old = budget.status.clone().unwrap_or_default();
    let new = match expected(observed) {
        Err(error) => {
            let message = format!("Failed to calculate the number of expected pods: {error}");
            plan.event(&about, EventType::Warning, "CalculateExpectedPodCountFailed", message);
            failed_status(&old, &error, now)
        }
        Ok(expected) => {
            if expected.unmanaged {
                plan.event(&about, EventType::Warning, "UnmanagedPods", unmanaged(budget));
            }
            let disrupted = disrupted(budget, pods, &mut plan, now);
            status(budget, &old, &expected, healthy(pods, &disrupted), disrupted, now)
        }
    };
    plan.status = Action::status_change(BUDGETS.target_of(&**budget), budget.metadata.resource_version.as_deref(), &old, &new);
    plan
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn expected(observed: &Observed) -> Result<Expected, String> {
    let spec = observed.budget.spec.clone().unwrap_or_default();
    let scaled = |value: &IntOrString, total: i32| {
        share::of(value, total, share::Round::Up).ok_or_else(|| "invalid value for IntOrString: invalid type: string is not a percentage".to_string())
    };
    let scale = || {
        observed
            .scales
            .as_ref()
            .map_err(Clone::clone)
            .map(|scale| (scale.wanted.values().fold(0i32, |sum, wanted| sum.saturating_add(*wanted)), !scale.unmanaged.is_empty()))
    };
    match (&spec.max_unavailable, &spec.min_available) {
        (Some(max), _) => {
            let (pods, unmanaged) = scale()?;
            Ok(Expected { pods, healthy: pods.saturating_sub(scaled(max, pods)?).max(0), unmanaged })
        }
        (None, Some(IntOrString::Int(min))) => Ok(Expected { pods: number(observed.pods.len()), healthy: *min, unmanaged: false }),
        (None, Some(min)) => {
            let (pods, unmanaged) = scale()?;
            Ok(Expected { pods, healthy: scaled(min, pods)?, unmanaged })
        }
        (None, None) => Ok(Expected { pods: 0, healthy: 0, unmanaged: false }),
    }
}

type Disrupted = BTreeMap<String, Time>;

/// Evicted Pods that are still to be deleted.
fn disrupted(budget: &PodDisruptionBudget, pods: &[Arc<Pod>], plan: &mut Plan, now: Timestamp) -> Disrupted {
    let noted = budget.status.as_ref().and_then(|status| status.disrupted_pods.as_ref());
    let mut kept = Disrupted::new();
    for pod in pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
        let Some((name, at)) = noted.and_then(|noted| noted.get_key_value(pod.metadata.name.as_deref().unwrap_or_default())) else { continue };
        let Ok(until) = from_time(at).checked_add(DELETION_TIMEOUT) else { continue };
        if until < now {
            let namespace = budget.metadata.namespace.as_deref().unwrap_or_default();
            let message = format!("Pod was expected by PDB {namespace}/{namespace} to be deleted but it wasn't");
            plan.event(&PODS.reference(&pod.metadata), EventType::Warning, "NotDeleted", message);
        } else {
            plan.again(until.checked_add(SignedDuration::from_secs(1)).unwrap_or(until));
            kept.insert(name.clone(), at.clone());
        }
    }
    kept
}

fn healthy(pods: &[Arc<Pod>], disrupted: &Disrupted) -> i32 {
    let is_healthy = |pod: &&Arc<Pod>| {
        pod.metadata.deletion_timestamp.is_none() && !disrupted.contains_key(pod.metadata.name.as_deref().unwrap_or_default()) && pod::is_ready(pod)
    };
    number(pods.iter().filter(is_healthy).count())
}

fn status(
    budget: &PodDisruptionBudget,
    old: &PodDisruptionBudgetStatus,
    expected: &Expected,
    healthy: i32,
    disrupted: Disrupted,
    now: Timestamp,
) -> PodDisruptionBudgetStatus {
    let spare = healthy.saturating_sub(expected.healthy);
    let allowed = if expected.pods <= 0 { 0 } else { spare.max(0) };
    let (status, reason) = if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    PodDisruptionBudgetStatus {
        current_healthy: Some(healthy),
        desired_healthy: Some(expected.healthy),
        expected_pods: Some(expected.pods),
        disruptions_allowed: Some(allowed),
        disrupted_pods: Some(disrupted).filter(|disrupted| !disrupted.is_empty()),
        observed_generation: budget.metadata.generation,
        conditions: Some(with_condition(old, status, reason, "", budget.metadata.generation, now)),
    }
}

/// Nothing may be evicted while the numbers are not known.
fn failed_status(old: &PodDisruptionBudgetStatus, error: &str, now: Timestamp) -> PodDisruptionBudgetStatus {
    let conditions = with_condition(old, "False", "SyncFailed", error, old.observed_generation, now);
    PodDisruptionBudgetStatus { disruptions_allowed: Some(0), conditions: Some(conditions), ..old.clone() }
}

fn with_condition(
    old: &PodDisruptionBudgetStatus,
    status: &str,
    reason: &str,
    message: &str,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let mut conditions = old.conditions.clone().unwrap_or_default();
    let mut wanted = Condition {
        type_: ALLOWED.into(),
        status: status.into(),
        reason: reason.into(),
        message: message.into(),
        observed_generation: generation,
        last_transition_time: to_time(now),
    };
    match conditions.iter_mut().find(|condition| condition.type_ == ALLOWED) {
        Some(old) => {
            if old.status == wanted.status {
                wanted.last_transition_time = old.last_transition_time.clone();
            }
            *old = wanted;
        }
        None => conditions.push(wanted),
    }
    conditions
}

fn unmanaged(budget: &PodDisruptionBudget) -> String {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    format!(
        "Pods selected by this PodDisruptionBudget (selector: {}) were found to be unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these pods please set \".spec.minAvailable\" field of the PDB to an integer value.",
        selector.map_or_else(|| "nil".into(), printed)
    )
}

/// As Go prints it, which users know from this Event.
fn printed(selector: &LabelSelector) -> String {
    let labels: String = selector.match_labels.iter().flatten().map(|(key, value)| format!("{key}: {value},")).collect();
    let one = |expression: &k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement| {
        format!(
            "LabelSelectorRequirement{{Key:{},Operator:{},Values:[{}],}},",
            expression.key,
            expression.operator,
            expression.values.clone().unwrap_or_default().join(" ")
        )
    };
    let expressions: String = selector.match_expressions.iter().flatten().map(one).collect();
    format!("&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}")
}
