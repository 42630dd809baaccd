use super::plan::{plan, written};
use super::*;
use apiserver_placement::Amount;
use serde_json::{Value, json};

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

fn from<K: serde::de::DeserializeOwned>(object: Value) -> Arc<K> {
    Arc::new(serde_json::from_value(object).unwrap())
}

fn pod(more: Value) -> Arc<Pod> {
    let resources = json!({"requests": {"cpu": "250m", "memory": "64Mi", "example.com/gpu": "1"}, "limits": {"cpu": "1", "memory": "64Mi"}});
    let mut pod = json!({"metadata": {"namespace": "a", "name": "p"}, "spec": {"containers": [{"name": "c", "resources": resources}]}, "status": {"phase": "Running"}});
    for (key, value) in more.as_object().unwrap() {
        for (inner, value) in value.as_object().unwrap() {
            pod[key][inner] = value.clone();
        }
    }
    from(pod)
}

fn observed(spec: Value, pods: Vec<Arc<Pod>>) -> Observed {
    let quota = from(json!({"metadata": {"namespace": "a", "name": "q"}, "spec": spec}));
    Observed { quota, pods, services: vec![], claims: vec![], counts: HashMap::new() }
}

#[track_caller]
fn check(observed: &Observed, expect: Value) {
    let Some(controllers_runtime::Action::Patch { patch, .. }) = plan(observed, now()).status else { panic!("no status") };
    assert_eq!(patch["status"]["used"], expect);
}

#[test]
fn pods_are_counted_by_what_they_request_and_may_use() {
    let hard = json!({"hard": {"pods": "5", "cpu": "2", "requests.memory": "1Gi", "limits.cpu": "4", "requests.example.com/gpu": "3", "count/pods": "9", "requests.ephemeral-storage": "1Gi"}});
    let over = pod(json!({"status": {"phase": "Succeeded"}}));
    let gone = pod(json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30}}));
    let expect = json!({"pods": "2", "cpu": "500m", "requests.memory": "128Mi", "limits.cpu": "2", "requests.example.com/gpu": "2", "count/pods": "4", "requests.ephemeral-storage": "0"});
    check(&observed(hard, vec![pod(json!({})), pod(json!({})), over, gone]), expect);
}

#[test]
fn scopes_choose_pods_and_nothing_else() {
    let pods = || {
        vec![
            pod(json!({})),
            pod(json!({"spec": {"activeDeadlineSeconds": 60}})),
            pod(json!({"spec": {"containers": []}})),
            pod(json!({"spec": {"priorityClassName": "high"}})),
        ]
    };
    let count = |scope: Value, expect: &str| {
        let mut spec = json!({"hard": {"pods": "9", "services": "9"}});
        spec.as_object_mut().unwrap().extend(scope.as_object().unwrap().clone());
        let mut observed = observed(spec, pods());
        observed.services = vec![from(json!({"metadata": {"namespace": "a", "name": "s"}, "spec": {}}))];
        check(&observed, json!({"pods": expect, "services": "0"}));
    };
    count(json!({"scopes": ["Terminating"]}), "1");
    count(json!({"scopes": ["NotTerminating"]}), "3");
    count(json!({"scopes": ["BestEffort"]}), "1");
    count(json!({"scopes": ["NotBestEffort", "NotTerminating"]}), "2");
    let class = |operator: &str, values: &[&str]| json!({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": operator, "values": values}]}});
    count(class("In", &["high"]), "1");
    count(class("Exists", &[]), "1");
    count(class("NotIn", &["high"]), "3");
}

#[test]
fn services_and_claims_use_what_they_open_and_ask_for() {
    let hard = json!({"hard": {"services": "9", "services.nodeports": "9", "services.loadbalancers": "9", "persistentvolumeclaims": "9", "requests.storage": "1Ti", "gold.storageclass.storage.k8s.io/requests.storage": "1Ti"}});
    let mut observed = observed(hard, vec![]);
    let service = |spec: Value| from(json!({"metadata": {"namespace": "a", "name": "s"}, "spec": spec}));
    observed.services = vec![
        service(json!({"type": "ClusterIP", "ports": [{"port": 1}]})),
        service(json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": 30001}, {"port": 2, "nodePort": 30002}]})),
        service(json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": [{"port": 1}, {"port": 2, "nodePort": 30003}]})),
    ];
    let claim = |size: &str, class: &str| {
        from(json!({"metadata": {"namespace": "a", "name": "c"}, "spec": {"storageClassName": class, "resources": {"requests": {"storage": size}}}}))
    };
    observed.claims = vec![claim("1Gi", "gold"), claim("512Mi", "")];
    let expect = json!({"services": "3", "services.nodeports": "3", "services.loadbalancers": "1", "persistentvolumeclaims": "2", "requests.storage": "1536Mi",
                        "gold.storageclass.storage.k8s.io/requests.storage": "1Gi"});
    check(&observed, expect);
}

#[test]
fn counts_come_from_the_caches_and_what_cannot_be_listed_keeps_its_last_value() {
    let mut observed = observed(json!({"hard": {"configmaps": "9", "count/deployments.apps": "9", "count/widgets.example.com": "9"}}), vec![]);
    observed.counts = HashMap::from([("configmaps".into(), 2), ("deployments.apps".into(), 1)]);
    let mut quota = (*observed.quota).clone();
    quota.status = serde_json::from_value(json!({"used": {"count/widgets.example.com": "7"}})).unwrap();
    observed.quota = Arc::new(quota);
    let Some(controllers_runtime::Action::Patch { patch, .. }) = plan(&observed, now()).status else { panic!() };
    assert_eq!(patch["status"]["used"], json!({"configmaps": "2", "count/deployments.apps": "1"}));
}

#[test]
fn an_amount_is_written_whole_in_the_units_of_the_limit() {
    let check = |text: &str, like: &str, expect: &str| assert_eq!(written(Amount::parse(text).unwrap(), like), expect);
    check("1500m", "2", "1500m");
    check("3000m", "2", "3");
    check("2000", "2", "2k");
    check("1073741824", "2Gi", "1Gi");
    check("1000", "2Gi", "1000");
    check("0", "2Gi", "0");
}
