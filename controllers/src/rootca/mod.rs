//! Publishes the cluster's CA bundle: `kube-root-ca.crt`, a ConfigMap in every active namespace.

use crate::registry::{Row, Setup};
use crate::routes::states;
use crate::serviceaccount::is_active;
use apiserver_client::{Informer, ObjectKey};
use controllers_runtime::{Action, Kind, Plan, Rule};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) const ROW: Row = Row { name: "root-ca-certificate-publisher-controller", start };

const NAME: &str = "kube-root-ca.crt";
const WORKERS: usize = 1;
const CONFIG_MAPS: Kind = Kind::of::<ConfigMap>();
const DESCRIPTION: &str = "kubernetes.io/description";
/// Upstream's text, which users and tests read.
const DESCRIPTION_TEXT: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";

fn start(setup: &Setup) {
    let Some(bundle) = setup.config.root_ca.clone() else {
        tracing::warn!(controller = ROW.name, "no CA bundle to publish");
        return;
    };
    let namespaces = setup.informers.of::<Namespace>();
    let maps = setup.informers.select::<ConfigMap>("metadata.name=kube-root-ca.crt", "");
    let rule = Publisher { bundle, namespaces: namespaces.clone(), maps: maps.clone() };
    setup.context(ROW.name, "root-ca-cert-publisher").start(ROW.name, WORKERS, rule, |routes| {
        routes.watches_own(ROW.name, &namespaces);
        routes.watches(ROW.name, &maps, |event| {
            states(event).filter_map(|map| map.metadata.namespace.as_deref()).map(|namespace| ObjectKey::new("", namespace)).collect()
        });
    });
}

struct Publisher {
    bundle: String,
    namespaces: Informer<Namespace>,
    maps: Informer<ConfigMap>,
}

struct Observed {
    namespace: String,
    map: Option<Arc<ConfigMap>>,
}

impl Rule for Publisher {
    type Observed = Observed;

    fn observe(&self, key: &ObjectKey) -> Option<Observed> {
        self.namespaces.get("", &key.name).filter(|namespace| is_active(namespace))?;
        Some(Observed { namespace: key.name.to_string(), map: self.maps.get(&key.name, NAME) })
    }

    fn plan(&self, observed: &Observed, _: Timestamp) -> Plan {
        plan(&self.bundle, observed)
    }
}

fn plan(bundle: &str, observed: &Observed) -> Plan {
    let data = BTreeMap::from([("ca.crt".to_string(), bundle.to_string())]);
    match &observed.map {
        None => {
            let metadata = json!({"name": NAME, "namespace": observed.namespace, "annotations": {DESCRIPTION: DESCRIPTION_TEXT}});
            let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data});
            let namespace = observed.namespace.clone();
            Plan::act(Action::Create { kind: CONFIG_MAPS, namespace, object, exists_ok: true, announce: None })
        }
        Some(map) => {
            let described =
                map.metadata.annotations.as_ref().and_then(|annotations| annotations.get(DESCRIPTION)).is_some_and(|text| text == DESCRIPTION_TEXT);
            if described && map.data.as_ref() == Some(&data) {
                return Plan::nothing();
            }
            let mut changed = json!({"data": data, "metadata": {"annotations": {DESCRIPTION: DESCRIPTION_TEXT}}});
            for key in map.data.iter().flatten().map(|(key, _)| key).filter(|key| *key != "ca.crt") {
                changed["data"][key] = serde_json::Value::Null;
            }
            Plan::act(Action::merge(CONFIG_MAPS.target_of(&**map), changed))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn check(map: Option<Value>, expect: &[&str]) {
        let map = map.map(|map| Arc::new(serde_json::from_value(map).unwrap()));
        let described = plan("PEM", &Observed { namespace: "a".into(), map }).describe();
        assert_eq!(described.len(), expect.len(), "{described:?}");
        for (line, expect) in described.iter().zip(expect) {
            assert!(line.starts_with(expect), "{line}");
        }
    }

    fn map(data: Value, description: &str) -> Option<Value> {
        Some(json!({"metadata": {"namespace": "a", "name": NAME, "annotations": {DESCRIPTION: description}}, "data": data}))
    }

    #[test]
    fn the_map_is_made_and_kept_as_it_should_be() {
        check(None, &["create configmaps a/kube-root-ca.crt"]);
        check(map(json!({"ca.crt": "PEM"}), DESCRIPTION_TEXT), &[]);
        check(map(json!({"ca.crt": "PEM"}), "mine"), &["patch configmaps a/kube-root-ca.crt"]);
        check(
            map(json!({"ca.crt": "old", "x": "y"}), DESCRIPTION_TEXT),
            &[r#"patch configmaps a/kube-root-ca.crt {"data":{"ca.crt":"PEM","x":null}"#],
        );
    }
}
