//! What a Job's policies say: about a Pod that failed, and about indexes that succeeded.

use super::indexes::Indexes;
use k8s_openapi::api::batch::v1::{PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule, SuccessPolicy};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Counts towards the backoff limit; so does every failure that no rule matches.
    Count,
    Ignore,
    FailIndex,
    /// With the message that the Job gets.
    FailJob(String),
}

pub(super) fn judge(policy: Option<&PodFailurePolicy>, pod: &Pod) -> Verdict {
    for (position, rule) in policy.iter().flat_map(|policy| &policy.rules).enumerate() {
        let Some(cause) = matched(rule, pod) else { continue };
        match rule.action.as_str() {
            "Ignore" => return Verdict::Ignore,
            "FailIndex" => return Verdict::FailIndex,
            "Count" => return Verdict::Count,
            "FailJob" => return Verdict::FailJob(format!("{cause} matching FailJob rule at index {position}")),
            _ => {}
        }
    }
    Verdict::Count
}

/// What of the Pod the rule matches, in words.
fn matched(rule: &PodFailurePolicyRule, pod: &Pod) -> Option<String> {
    let (namespace, name) = (pod.metadata.namespace.as_deref().unwrap_or_default(), pod.metadata.name.as_deref().unwrap_or_default());
    let status = pod.status.as_ref()?;
    if let Some(codes) = &rule.on_exit_codes {
        let all = status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten());
        let (container, code) = all.filter_map(|status| Some((&status.name, exit_code(status, codes)?))).next()?;
        return Some(format!("Container {container} for pod {namespace}/{name} failed with exit code {code}"));
    }
    let patterns = rule.on_pod_conditions.as_deref()?;
    let matches = |condition: &&k8s_openapi::api::core::v1::PodCondition| {
        patterns.iter().any(|pattern| pattern.type_ == condition.type_ && pattern.status.as_deref().unwrap_or("True") == condition.status)
    };
    let condition = status.conditions.iter().flatten().find(matches)?;
    Some(format!("Pod {namespace}/{name} has condition {}", condition.type_))
}

fn exit_code(status: &ContainerStatus, wanted: &PodFailurePolicyOnExitCodesRequirement) -> Option<i32> {
    let code = status.state.as_ref()?.terminated.as_ref()?.exit_code;
    let named = wanted.container_name.as_ref().is_none_or(|name| *name == status.name);
    let listed = wanted.values.contains(&code);
    let fits = match wanted.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        _ => false,
    };
    (code != 0 && named && fits).then_some(code)
}

/// The message of the first rule that is met.
pub(super) fn success(policy: Option<&SuccessPolicy>, completions: u32, succeeded: &Indexes) -> Option<String> {
    if succeeded.is_empty() {
        return None;
    }
    let met = |rule: &k8s_openapi::api::batch::v1::SuccessPolicyRule| {
        let enough = |number: usize| rule.succeeded_count.and_then(|count| usize::try_from(count).ok()).is_some_and(|count| number >= count);
        match rule.succeeded_indexes.as_deref().map(|text| Indexes::parse(text, completions)) {
            None => enough(succeeded.len()),
            Some(required) if required.is_empty() => false,
            Some(required) => {
                let overlap = required.overlap(succeeded);
                overlap == required.len() || enough(overlap)
            }
        }
    };
    policy?.rules.iter().position(met).map(|position| format!("Matched rules at index {position}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn the_first_rule_that_matches_decides() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"namespace": "a", "name": "p"},
            "status": {"conditions": [{"type": "DisruptionTarget", "status": "True"}],
                       "initContainerStatuses": [{"name": "i", "state": {"terminated": {"exitCode": 3}}, "image": "", "imageID": "", "ready": false, "restartCount": 0}],
                       "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 42}}, "image": "", "imageID": "", "ready": false, "restartCount": 0},
                                             {"name": "ok", "state": {"terminated": {"exitCode": 0}}, "image": "", "imageID": "", "ready": false, "restartCount": 0}]}
        }))
        .unwrap();
        let check = |rules: Value, expect: Verdict| {
            let policy: PodFailurePolicy = serde_json::from_value(json!({"rules": rules})).unwrap();
            assert_eq!(judge(Some(&policy), &pod), expect, "{rules}");
        };
        let codes = |action: &str, operator: &str, values: Value| json!({"action": action, "onExitCodes": {"operator": operator, "values": values}});
        let condition = |action: &str, kind: &str| json!({"action": action, "onPodConditions": [{"type": kind, "status": "True"}]});
        check(json!([]), Verdict::Count);
        check(
            json!([codes("Ignore", "In", json!([1])), codes("FailJob", "In", json!([42]))]),
            Verdict::FailJob("Container c for pod a/p failed with exit code 42 matching FailJob rule at index 1".into()),
        );
        check(json!([codes("FailIndex", "In", json!([3]))]), Verdict::FailIndex);
        check(json!([codes("Ignore", "NotIn", json!([42, 3]))]), Verdict::Count);
        check(json!([codes("Ignore", "NotIn", json!([42]))]), Verdict::Ignore);
        check(
            json!([condition("Ignore", "Other"), condition("FailJob", "DisruptionTarget")]),
            Verdict::FailJob("Pod a/p has condition DisruptionTarget matching FailJob rule at index 1".into()),
        );
        check(json!([{"action": "Ignore", "onExitCodes": {"operator": "In", "values": [42], "containerName": "ok"}}]), Verdict::Count);
    }

    #[test]
    fn a_success_policy_asks_for_indexes_or_a_number_or_a_number_of_those_indexes() {
        let check = |rules: Value, succeeded: &str, expect: Option<&str>| {
            let policy: SuccessPolicy = serde_json::from_value(json!({"rules": rules})).unwrap();
            assert_eq!(success(Some(&policy), 10, &Indexes::parse(succeeded, 10)).as_deref(), expect, "{rules} {succeeded}");
        };
        check(json!([{"succeededCount": 2}]), "0", None);
        check(json!([{"succeededCount": 2}]), "0,7", Some("Matched rules at index 0"));
        check(json!([{"succeededIndexes": "0,3-5"}]), "0,3-4", None);
        check(json!([{"succeededIndexes": "9"}, {"succeededIndexes": "0,3-5"}]), "0-6", Some("Matched rules at index 1"));
        check(json!([{"succeededIndexes": "0-5", "succeededCount": 2}]), "1,5", Some("Matched rules at index 0"));
        check(json!([{"succeededCount": 0}]), "", None);
    }
}
