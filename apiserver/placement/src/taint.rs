//! Taints and what tolerates them.
//!
//! The comparing operators `Lt` and `Gt` are behind a gate that is off in v1.37, so they tolerate nothing here.

use k8s_openapi::api::core::v1::{Taint, Toleration};

pub const NO_SCHEDULE: &str = "NoSchedule";
pub const PREFER_NO_SCHEDULE: &str = "PreferNoSchedule";
pub const NO_EXECUTE: &str = "NoExecute";

/// An empty effect tolerates all effects, an empty key all keys; `Exists` all values.
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let all_or = |own: &Option<String>, other: &str| own.as_deref().is_none_or(|own| own.is_empty() || own == other);
    if !all_or(&toleration.effect, &taint.effect) || !all_or(&toleration.key, &taint.key) {
        return false;
    }
    match toleration.operator.as_deref().unwrap_or_default() {
        "" | "Equal" => toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default(),
        "Exists" => true,
        _ => false,
    }
}

pub fn any_tolerates(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|toleration| tolerates(toleration, taint))
}

/// The first taint that keeps a new Pod off the node: NoSchedule or NoExecute, and not tolerated.
pub fn first_untolerated<'a>(taints: &'a [Taint], tolerations: &[Toleration]) -> Option<&'a Taint> {
    taints.iter().find(|taint| forbids_scheduling(taint) && !any_tolerates(tolerations, taint))
}

pub fn forbids_scheduling(taint: &Taint) -> bool {
    taint.effect == NO_SCHEDULE || taint.effect == NO_EXECUTE
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[track_caller]
    fn check(toleration: Value, taint: Value, expect: bool) {
        let (toleration, taint) = (serde_json::from_value(toleration).unwrap(), serde_json::from_value(taint).unwrap());
        assert_eq!(tolerates(&toleration, &taint), expect, "{toleration:?} {taint:?}");
    }

    #[test]
    fn tolerations_match_by_effect_key_and_value() {
        let taint = json!({"key": "k", "value": "v", "effect": "NoSchedule"});
        check(json!({"key": "k", "value": "v", "effect": "NoSchedule"}), taint.clone(), true);
        check(json!({"key": "k", "operator": "Equal", "value": "v"}), taint.clone(), true);
        check(json!({"key": "k", "operator": "Exists"}), taint.clone(), true);
        check(json!({"operator": "Exists"}), taint.clone(), true);
        check(json!({"key": "k", "value": "w"}), taint.clone(), false);
        check(json!({"key": "j", "operator": "Exists"}), taint.clone(), false);
        check(json!({"key": "k", "operator": "Exists", "effect": "NoExecute"}), taint.clone(), false);
        check(json!({"key": "k", "operator": "Near", "value": "v"}), taint, false);
        check(json!({"key": "k"}), json!({"key": "k", "effect": "NoExecute"}), true);
        check(json!({"key": "k", "operator": "Gt", "value": "1"}), json!({"key": "k", "value": "2", "effect": "NoSchedule"}), false);
    }

    #[test]
    fn preferences_never_forbid() {
        let taints: Vec<Taint> =
            serde_json::from_value(json!([{"key": "a", "effect": "PreferNoSchedule"}, {"key": "b", "effect": "NoExecute"}])).unwrap();
        assert_eq!(first_untolerated(&taints, &[]).map(|taint| taint.key.as_str()), Some("b"));
        assert_eq!(first_untolerated(&taints[..1], &[]), None);
    }
}
