//! How many replicas each ReplicaSet may have.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MAX: &str = "deployment.kubernetes.io/max-replicas";

pub(super) fn wanted(deployment: &Deployment) -> i32 {
    deployment.spec.replicas.unwrap_or(1)
}

pub(super) fn replicas(set: &ReplicaSet) -> i32 {
    set.spec.replicas.unwrap_or(1)
}

pub(super) fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
}

pub(super) fn is_rolling(deployment: &Deployment) -> bool {
    deployment.spec.strategy.as_ref().is_some_and(|strategy| strategy.type_.as_deref() == Some("RollingUpdate"))
}

/// maxSurge and maxUnavailable as numbers of Pods. A share of surge is rounded up, of unavailability down; both zero would block, so then one may be
/// unavailable.
fn fenceposts(deployment: &Deployment) -> (i32, i32) {
    let rolling = deployment.spec.strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
    let wanted = wanted(deployment);
    let surge = scaled(rolling.and_then(|rolling| rolling.max_surge.as_ref()), wanted, true);
    let unavailable = scaled(rolling.and_then(|rolling| rolling.max_unavailable.as_ref()), wanted, false);
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

/// `25%` of 10 is 2, or 3 rounded up.
pub(crate) fn scaled(value: Option<&IntOrString>, of: i32, up: bool) -> i32 {
    match value {
        None => 0,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(text)) => {
            let percent: i64 = text.strip_suffix('%').and_then(|number| number.parse().ok()).unwrap_or(0);
            let product = percent * i64::from(of);
            let share = if up { product.div_euclid(100) + i64::from(product.rem_euclid(100) != 0) } else { product.div_euclid(100) };
            i32::try_from(share).unwrap_or(i32::MAX)
        }
    }
}

pub(super) fn max_surge(deployment: &Deployment) -> i32 {
    if is_rolling(deployment) { fenceposts(deployment).0 } else { 0 }
}

pub(super) fn max_unavailable(deployment: &Deployment) -> i32 {
    if !is_rolling(deployment) || wanted(deployment) == 0 {
        return 0;
    }
    fenceposts(deployment).1.min(wanted(deployment))
}

/// What the new ReplicaSet may have now: as many as fit under the surge.
pub(super) fn for_new(deployment: &Deployment, all: i32, new: i32) -> i32 {
    if !is_rolling(deployment) {
        return wanted(deployment);
    }
    let room = (wanted(deployment) + max_surge(deployment) - all).max(0);
    new + room.min(wanted(deployment) - new)
}

/// Shares out a change of size over ReplicaSets, in proportion to their sizes; gives the new size of each.
///
/// `sets` are ordered so that the first takes what rounding leaves.
pub(super) fn proportional(deployment: &Deployment, sets: &[&ReplicaSet], to_add: i32) -> Vec<i32> {
    let mut added = 0;
    let mut sizes: Vec<i32> = sets
        .iter()
        .map(|set| {
            let share = if to_add == 0 { 0 } else { proportion(deployment, set, to_add, added) };
            added += share;
            replicas(set) + share
        })
        .collect();
    if to_add != 0
        && let Some(first) = sizes.first_mut()
    {
        *first = (*first + to_add - added).max(0);
    }
    sizes
}

fn proportion(deployment: &Deployment, set: &ReplicaSet, to_add: i32, added: i32) -> i32 {
    if replicas(set) == 0 || to_add == added {
        return 0;
    }
    let share = fraction(deployment, set);
    if to_add > 0 { share.min(to_add - added) } else { share.max(to_add - added) }
}

/// How much the set would grow if it kept its share of the total.
fn fraction(deployment: &Deployment, set: &ReplicaSet) -> i32 {
    let size = replicas(set);
    if wanted(deployment) == 0 {
        return -size;
    }
    let now = wanted(deployment) + max_surge(deployment);
    let before = annotated(set, MAX).filter(|before| *before != 0);
    let before = before.unwrap_or_else(|| deployment.status.as_ref().and_then(|status| status.replicas).unwrap_or(0));
    if before == 0 {
        return 0;
    }
    let share = f64::from(size) * f64::from(now) / f64::from(before);
    // Sizes are small enough that rounding cannot leave the range of i32.
    share.round() as i32 - size
}

pub(super) fn annotated(set: &ReplicaSet, key: &str) -> Option<i32> {
    set.metadata.annotations.as_ref()?.get(key)?.parse().ok().filter(|number| *number >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn deployment(replicas: i32, surge: Value, unavailable: Value) -> Deployment {
        let rolling = json!({"maxSurge": surge, "maxUnavailable": unavailable});
        let spec = json!({"replicas": replicas, "selector": {}, "template": {}, "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling}});
        serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap()
    }

    #[test]
    fn fenceposts_round_surge_up_and_unavailability_down() {
        let check = |replicas, surge: Value, unavailable: Value, expect: (i32, i32)| {
            let deployment = deployment(replicas, surge, unavailable);
            assert_eq!((max_surge(&deployment), max_unavailable(&deployment)), expect);
        };
        check(10, json!("25%"), json!("25%"), (3, 2));
        check(1, json!("25%"), json!("25%"), (1, 0));
        check(10, json!(0), json!(0), (0, 1));
        check(10, json!(0), json!("1%"), (0, 1));
        check(2, json!(1), json!(5), (1, 2));
        check(0, json!("50%"), json!("50%"), (0, 0));
    }

    #[test]
    fn the_new_set_grows_as_far_as_the_surge_allows() {
        let check = |all, new, expect| assert_eq!(for_new(&deployment(10, json!(3), json!(2)), all, new), expect, "{all} {new}");
        check(0, 0, 10);
        check(10, 0, 3);
        check(13, 0, 0);
        check(15, 2, 2);
        check(12, 9, 10);
    }

    #[test]
    fn scaling_in_the_middle_of_a_rollout_keeps_proportions() {
        let check = |wanted: i32, sizes: &[i32], max_before: i32, to_add: i32, expect: &[i32]| {
            let set = |size: &i32| -> ReplicaSet {
                serde_json::from_value(
                    json!({"metadata": {"annotations": {MAX: max_before.to_string()}}, "spec": {"replicas": size, "selector": {}}}),
                )
                .unwrap()
            };
            let sets: Vec<ReplicaSet> = sizes.iter().map(set).collect();
            let sets: Vec<&ReplicaSet> = sets.iter().collect();
            assert_eq!(proportional(&deployment(wanted, json!(0), json!(1)), &sets, to_add), expect);
        };
        check(12, &[10], 10, 2, &[12]);
        check(20, &[5, 5], 10, 10, &[10, 10]);
        check(5, &[5, 5], 10, -5, &[2, 3]);
        check(0, &[3, 2], 5, -5, &[0, 0]);
        check(11, &[5, 5], 10, 1, &[6, 5]);
        check(10, &[6, 4], 10, 0, &[6, 4]);
    }
}
