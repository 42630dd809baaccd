use super::*;
use controllers_runtime::Action;
use proptest::prelude::*;
use serde_json::{Value, json};

fn service(spec: Value) -> Arc<Service> {
    let metadata = json!({"namespace": "a", "name": "web", "uid": "svc", "labels": {"app": "web"}, "creationTimestamp": "2026-01-01T00:00:00Z"});
    Arc::new(serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap())
}

fn plain() -> Value {
    json!({"clusterIP": "10.0.0.1", "ipFamilies": ["IPv4"], "selector": {"app": "web"}, "ports": [{"port": 80, "protocol": "TCP", "targetPort": 8080}]})
}

fn pod(number: usize, more: Value) -> Arc<Pod> {
    let ip = format!("10.1.{}.{}", number / 250, number % 250);
    let mut pod = json!({
        "metadata": {"namespace": "a", "name": format!("p{number}"), "uid": format!("u{number}")},
        "spec": {"nodeName": "n1", "containers": []},
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": [{"type": "Ready", "status": "True"}]}
    });
    for (part, fields) in more.as_object().unwrap() {
        pod[part].as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    }
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn pods(numbers: impl IntoIterator<Item = usize>) -> Vec<Arc<Pod>> {
    numbers.into_iter().map(|number| pod(number, json!({}))).collect()
}

fn planned(service: &Arc<Service>, pods: Vec<Arc<Pod>>, slices: &[EndpointSlice]) -> Plan {
    let node: Node = serde_json::from_value(json!({"metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "z1"}}})).unwrap();
    let nodes = HashMap::from([("n1".to_string(), Arc::new(node))]);
    let slices = slices.iter().cloned().map(Arc::new).collect();
    plan::plan(&Observed { service: service.clone(), pods, nodes, slices, triggered: None })
}

/// What the server would hold after the plan, and how many writes that took.
fn applied(plan: &Plan, before: &[EndpointSlice]) -> (Vec<EndpointSlice>, usize) {
    let mut after: Vec<EndpointSlice> = before.to_vec();
    let mut writes = 0;
    let all = plan.actions.iter().flat_map(|action| match action {
        Action::All(actions) => actions.clone(),
        other => panic!("{other}"),
    });
    for action in all {
        writes += 1;
        match action {
            Action::Create { object, .. } => {
                let mut slice: EndpointSlice = serde_json::from_value(object).unwrap();
                slice.metadata.name = Some(format!("new-{writes}-{}", after.len()));
                after.push(slice);
            }
            Action::Patch { target, patch, .. } => {
                let slice = after.iter_mut().find(|slice| slice.metadata.name.as_deref() == Some(&*target.key.name)).unwrap();
                let mut value = serde_json::to_value(&*slice).unwrap();
                merge(&mut value, &patch);
                *slice = serde_json::from_value(value).unwrap();
            }
            Action::Delete { target, .. } => after.retain(|slice| slice.metadata.name.as_deref() != Some(&*target.key.name)),
            other => panic!("{other}"),
        }
    }
    (after, writes)
}

fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else { return *into = patch.clone() };
    for (key, value) in fields {
        if value.is_null() {
            into.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut into[key], value);
        }
    }
}

fn sizes(slices: &[EndpointSlice]) -> Vec<usize> {
    let mut sizes: Vec<usize> = slices.iter().map(|slice| slices::endpoints_of(slice).len()).collect();
    sizes.sort();
    sizes
}

#[test]
fn a_slice_has_labels_owner_ports_and_endpoints_with_conditions() {
    let leaving = pod(2, json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}));
    let (slices, _) = applied(&planned(&service(plain()), vec![pod(1, json!({})), leaving], &[]), &[]);
    let slice = serde_json::to_value(&slices[0]).unwrap();
    assert_eq!(slice["metadata"]["labels"], json!({"app": "web", SERVICE_NAME: "web", MANAGED_BY: NAME}));
    assert_eq!(slice["metadata"]["generateName"], "web-");
    assert_eq!(slice["metadata"]["ownerReferences"][0]["uid"], "svc");
    assert_eq!((&slice["addressType"], &slice["ports"]), (&json!("IPv4"), &json!([{"name": "", "port": 8080, "protocol": "TCP"}])));
    let endpoint = |number: usize, ready: bool, terminating: bool| {
        json!({"addresses": [format!("10.1.0.{number}")], "conditions": {"ready": ready, "serving": true, "terminating": terminating}, "nodeName": "n1", "zone": "z1",
               "targetRef": {"kind": "Pod", "namespace": "a", "name": format!("p{number}"), "uid": format!("u{number}")}})
    };
    assert_eq!(slice["endpoints"], json!([endpoint(1, true, false), endpoint(2, false, true)]));
}

#[test]
fn a_service_without_endpoints_has_an_empty_slice_of_each_family_and_keeps_it() {
    let mut dual = plain();
    dual["ipFamilies"] = json!(["IPv6", "IPv4"]);
    let service = service(dual);
    let (slices, _) = applied(&planned(&service, vec![], &[]), &[]);
    assert_eq!(slices.iter().map(|slice| slice.address_type.as_str()).collect::<Vec<_>>(), ["IPv4", "IPv6"]);
    assert!(planned(&service, vec![], &slices).actions.is_empty());
}

#[test]
fn the_empty_slice_is_filled_rather_than_replaced_and_emptied_again() {
    let service = service(plain());
    let (empty, _) = applied(&planned(&service, vec![], &[]), &[]);
    let (full, writes) = applied(&planned(&service, pods([1]), &empty), &empty);
    assert_eq!((sizes(&full), writes, &full[0].metadata.name), (vec![1], 1, &empty[0].metadata.name));
    let (again, writes) = applied(&planned(&service, vec![], &full), &full);
    assert_eq!((sizes(&again), writes, slices::ports_of(&again[0]).len()), (vec![0], 1, 0));
}

#[test]
fn slices_hold_a_hundred_and_one_more_takes_one_write() {
    let service = service(plain());
    let (slices, writes) = applied(&planned(&service, pods(0..250), &[]), &[]);
    assert_eq!((sizes(&slices), writes), (vec![50, 100, 100], 3));
    let (slices, writes) = applied(&planned(&service, pods(0..251), &slices), &slices);
    assert_eq!((sizes(&slices), writes), (vec![51, 100, 100], 1));
    let gone = slices::endpoints_of(&slices[0])[0].target_ref.as_ref().unwrap().name.clone().unwrap()[1..].parse::<usize>().unwrap();
    let (slices, writes) = applied(&planned(&service, pods((0..251).filter(|number| *number != gone).chain([999])), &slices), &slices);
    assert_eq!((sizes(&slices), writes), (vec![51, 100, 100], 1));
}

#[test]
fn pods_that_differ_in_a_named_port_are_in_slices_of_their_own() {
    let mut named = plain();
    named["ports"][0]["targetPort"] = "web".into();
    let with =
        |number: usize, port: i32| pod(number, json!({"spec": {"containers": [{"name": "c", "ports": [{"name": "web", "containerPort": port}]}]}}));
    let (slices, _) = applied(&planned(&service(named), vec![with(1, 80), with(2, 81), with(3, 80)], &[]), &[]);
    assert_eq!(sizes(&slices), [1, 2]);
}

#[test]
fn a_pod_on_an_unknown_node_waits_unless_all_are_published() {
    let stray = pod(1, json!({"spec": {"nodeName": "n9"}}));
    let (slices, _) = applied(&planned(&service(plain()), vec![stray.clone()], &[]), &[]);
    assert_eq!(sizes(&slices), [0]);
    let mut publishing = plain();
    publishing["publishNotReadyAddresses"] = true.into();
    let (slices, _) = applied(&planned(&service(publishing), vec![stray], &[]), &[]);
    assert_eq!(sizes(&slices), [1]);
}

#[test]
fn labels_follow_the_service_and_headless_ones_are_marked() {
    let (slices, _) = applied(&planned(&service(plain()), pods([1]), &[]), &[]);
    let mut changed = (*service(json!({"clusterIP": "None", "ipFamilies": ["IPv4"], "selector": {"app": "web"}, "ports": plain()["ports"]}))).clone();
    changed.metadata.labels = Some([("app".to_string(), "other".to_string())].into());
    let (after, writes) = applied(&planned(&Arc::new(changed), pods([1]), &slices), &slices);
    assert_eq!(writes, 1);
    assert_eq!(
        serde_json::to_value(&after[0].metadata.labels).unwrap(),
        json!({"app": "other", SERVICE_NAME: "web", MANAGED_BY: NAME, "service.kubernetes.io/headless": ""})
    );
}

#[test]
fn slices_of_a_family_that_the_service_lost_or_of_a_former_service_go() {
    let mut dual = plain();
    dual["ipFamilies"] = json!(["IPv4", "IPv6"]);
    let (mut slices, _) = applied(&planned(&service(dual), pods([1]), &[]), &[]);
    let described = planned(&service(plain()), pods([1]), &slices).describe();
    assert!(described.len() == 1 && described[0].starts_with("all: delete endpointslices.discovery.k8s.io"), "{described:?}");
    slices.retain(|slice| slice.address_type == "IPv4");
    slices[0].metadata.owner_references.as_mut().unwrap()[0].uid = "former".into();
    let (after, writes) = applied(&planned(&service(plain()), pods([1]), &slices), &slices);
    assert_eq!((writes, sizes(&after)), (2, vec![1]));
    assert_ne!(after[0].metadata.name, slices[0].metadata.name);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_the_history_every_endpoint_is_in_one_slice_and_none_is_too_long(steps in prop::collection::vec(prop::collection::btree_set(0usize..400, 0..300), 1..6)) {
        let service = service(plain());
        let mut slices = Vec::new();
        for step in steps {
            let wanted = pods(step.iter().copied());
            (slices, _) = applied(&planned(&service, wanted.clone(), &slices), &slices);
            let mut names: Vec<_> = slices.iter().flat_map(slices::endpoints_of).map(|endpoint| endpoint.target_ref.clone().unwrap().name.unwrap()).collect();
            names.sort();
            let mut expect: Vec<_> = wanted.iter().map(|pod| pod.metadata.name.clone().unwrap()).collect();
            expect.sort();
            prop_assert_eq!(names, expect);
            prop_assert!(!slices.is_empty() && slices.iter().all(|slice| slices::endpoints_of(slice).len() <= reconcile::ENDPOINTS_PER_SLICE_MAX));
            prop_assert!(planned(&service, wanted, &slices).actions.is_empty(), "a second look finds nothing to do");
        }
    }
}
