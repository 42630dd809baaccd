//! How long to wait after failures: 10 seconds, doubled with each that follows without a success between, up to 10 minutes.

use super::pods;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::JobSpec;
use k8s_openapi::api::core::v1::Pod;
use std::sync::Arc;

const FIRST: SignedDuration = SignedDuration::from_secs(10);
const MAX: SignedDuration = SignedDuration::from_secs(10 * 60);

/// When the next Pod may be made. Counted from the Pods that are there, so that a restart forgets nothing.
pub(super) fn until(spec: &JobSpec, all: &[Arc<Pod>]) -> Option<Timestamp> {
    let succeeded = all.iter().filter(|pod| pods::is_succeeded(pod)).map(|pod| pods::finished_at(pod)).max();
    // A running Pod that was told to go without being tracked was not wanted any more: no failure.
    let failed = |pod: &&Arc<Pod>| pods::is_failed(pod, spec) && (pods::is_tracked(pod) || pod.metadata.deletion_timestamp.is_none());
    let failures: Vec<Timestamp> =
        all.iter().filter(failed).map(|pod| pods::finished_at(pod)).filter(|at| succeeded.is_none_or(|success| *at > success)).collect();
    after(failures.len(), *failures.iter().max()?)
}

/// When an index may be tried again after its last Pod failed.
pub(super) fn until_index(last: &Pod) -> Option<Timestamp> {
    let failures = pods::index_failures(last).saturating_add(pods::index_ignored_failures(last)).saturating_add(1);
    after(usize::try_from(failures).unwrap_or(1), pods::finished_at(last))
}

fn after(failures: usize, last: Timestamp) -> Option<Timestamp> {
    let doublings = u32::try_from(failures.checked_sub(1)?).unwrap_or(u32::MAX).min(6);
    last.checked_add((FIRST * (1 << doublings)).min(MAX)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_wait_doubles_with_each_failure_after_the_last_success() {
        let pod = |phase: &str, at: &str| -> Arc<Pod> {
            let terminated = json!({"name": "c", "state": {"terminated": {"exitCode": 1, "finishedAt": at}}, "image": "", "imageID": "", "ready": false, "restartCount": 0});
            Arc::new(serde_json::from_value(json!({"metadata": {}, "status": {"phase": phase, "containerStatuses": [terminated]}})).unwrap())
        };
        let check = |pods: &[(&str, &str)], expect: Option<&str>| {
            let pods: Vec<Arc<Pod>> = pods.iter().map(|(phase, at)| pod(phase, &format!("2026-01-01T{at}Z"))).collect();
            let until = until(&JobSpec::default(), &pods);
            assert_eq!(until, expect.map(|at| format!("2026-01-01T{at}Z").parse().unwrap()));
        };
        check(&[], None);
        check(&[("Failed", "00:00:00")], Some("00:00:10"));
        check(&[("Failed", "00:00:00"), ("Failed", "00:00:30")], Some("00:00:50"));
        check(&[("Failed", "00:00:00"), ("Failed", "00:00:30"), ("Failed", "00:01:00")], Some("00:01:40"));
        check(&[("Failed", "00:00:00"), ("Succeeded", "00:00:10"), ("Failed", "00:00:30")], Some("00:00:40"));
        check(&[("Failed", "00:00:00"), ("Succeeded", "00:00:10")], None);
        check(&[("Failed", "00:00:00"); 9], Some("00:10:00"));
    }
}
