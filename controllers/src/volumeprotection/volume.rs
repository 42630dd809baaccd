//! A PersistentVolume stays as long as it is bound.

use super::VOLUME_ROW as ROW;
use crate::registry::Setup;
use apiserver_client::{Informer, ObjectKey};
use controllers_runtime::{Action, Kind, Plan, Rule};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolume;
use serde_json::json;
use std::sync::Arc;

const FINALIZER: &str = "kubernetes.io/pv-protection";
const WORKERS: usize = 1;
const VOLUMES: Kind = Kind::of::<PersistentVolume>();

pub(super) fn start(setup: &Setup) {
    let volumes = setup.informers.of::<PersistentVolume>();
    let rule = Volumes { volumes: volumes.clone() };
    setup.context(ROW.name, "pv-protection-controller").start(ROW.name, WORKERS, rule, |routes| routes.watches_own(ROW.name, &volumes));
}

struct Volumes {
    volumes: Informer<PersistentVolume>,
}

impl Rule for Volumes {
    type Observed = Arc<PersistentVolume>;

    fn observe(&self, key: &ObjectKey) -> Option<Arc<PersistentVolume>> {
        self.volumes.get("", &key.name)
    }

    fn plan(&self, volume: &Arc<PersistentVolume>, _: Timestamp) -> Plan {
        plan(volume)
    }
}

fn plan(volume: &PersistentVolume) -> Plan {
    let meta = &volume.metadata;
    let has = meta.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER);
    let is_bound = volume.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound");
    let finalizers = match (meta.deletion_timestamp.is_some(), has) {
        (true, true) if !is_bound => super::without(meta, FINALIZER),
        (false, false) => super::with(meta, FINALIZER),
        _ => return Plan::nothing(),
    };
    Plan::act(Action::merge(VOLUMES.target_of(volume), json!({"metadata": {"resourceVersion": meta.resource_version, "finalizers": finalizers}})))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_let_go_when_it_is_not_bound() {
        let check = |deleting: bool, finalizers: &[&str], phase: &str, expect: Option<&[&str]>| {
            let deleted_at = deleting.then_some("2026-01-01T00:00:00Z");
            let volume = json!({"metadata": {"name": "v", "finalizers": finalizers, "deletionTimestamp": deleted_at, "resourceVersion": "7"}, "status": {"phase": phase}});
            let described = plan(&serde_json::from_value(volume).unwrap()).describe();
            let expect: Vec<String> = expect
                .map(|list| format!(r#"patch persistentvolumes v {{"metadata":{{"finalizers":{},"resourceVersion":"7"}}}}"#, json!(list)))
                .into_iter()
                .collect();
            assert_eq!(described, expect);
        };
        check(false, &[], "Available", Some(&[FINALIZER]));
        check(false, &[FINALIZER], "Bound", None);
        check(true, &[FINALIZER], "Bound", None);
        check(true, &[FINALIZER, "other"], "Released", Some(&["other"]));
        check(true, &["other"], "Released", None);
    }
}
