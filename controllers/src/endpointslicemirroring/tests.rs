use super::*;
use controllers_runtime::Action;
use serde_json::{Value, json};

fn endpoints(subsets: Value) -> Arc<Endpoints> {
    let metadata = json!({"namespace": "a", "name": "web", "uid": "eps", "labels": {"app": "web"},
                          "annotations": {"note": "n", "kubectl.kubernetes.io/last-applied-configuration": "{}"}});
    Arc::new(serde_json::from_value(json!({"metadata": metadata, "subsets": subsets})).unwrap())
}

fn planned(endpoints: Option<Arc<Endpoints>>, slices: &[EndpointSlice]) -> Plan {
    plan::plan(&Observed { endpoints, slices: slices.iter().cloned().map(Arc::new).collect() })
}

fn created(subsets: Value) -> Vec<EndpointSlice> {
    let Some(Action::All(creates)) = planned(Some(endpoints(subsets)), &[]).actions.pop() else { return Vec::new() };
    let slice = |(number, action): (usize, Action)| match action {
        Action::Create { object, .. } => {
            let mut slice: EndpointSlice = serde_json::from_value(object).unwrap();
            slice.metadata.name = Some(format!("web-{number}"));
            slice.metadata.resource_version = Some("7".into());
            slice
        }
        other => panic!("{other}"),
    };
    creates.into_iter().enumerate().map(slice).collect()
}

#[test]
fn each_family_and_list_of_ports_is_a_slice() {
    let slices = created(
        json!([{"addresses": [{"ip": "10.0.0.1", "hostname": "h"}, {"ip": "fd00::1"}], "notReadyAddresses": [{"ip": "10.0.0.2"}], "ports": [{"port": 80}]},
                                {"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 81, "name": "b", "protocol": "UDP"}]}]),
    );
    let summary: Vec<String> = slices
        .iter()
        .map(|slice| format!("{} {} {:?}", slice.address_type, slices::endpoints_of(slice).len(), slices::ports_of(slice)[0].port))
        .collect();
    assert_eq!(summary, ["IPv4 2 Some(80)", "IPv4 1 Some(81)", "IPv6 1 Some(80)"]);
    let first = serde_json::to_value(&slices[0]).unwrap();
    assert_eq!(first["metadata"]["labels"], json!({"app": "web", SERVICE_NAME: "web", MANAGED_BY: NAME}));
    assert_eq!(first["metadata"]["annotations"], json!({"note": "n"}));
    assert_eq!(first["metadata"]["ownerReferences"][0]["kind"], "Endpoints");
    assert_eq!(
        first["endpoints"],
        json!([{"addresses": ["10.0.0.1"], "conditions": {"ready": true}, "hostname": "h"}, {"addresses": ["10.0.0.2"], "conditions": {"ready": false}}])
    );
}

#[test]
fn what_is_mirrored_already_is_left_alone_and_a_change_is_one_patch() {
    let before = json!([{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]);
    let slices = created(before.clone());
    assert!(planned(Some(endpoints(before)), &slices).actions.is_empty());
    let described = planned(Some(endpoints(json!([{"addresses": [{"ip": "10.0.0.9"}], "ports": [{"port": 80}]}]))), &slices).describe();
    assert!(
        described.len() == 1 && described[0].starts_with("all: patch endpointslices.discovery.k8s.io a/web-0 ") && described[0].contains("10.0.0.9"),
        "{described:?}"
    );
    let described = planned(Some(endpoints(json!([{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 81}]}]))), &slices).describe();
    assert!(described.len() == 1 && described[0].starts_with("all: patch ") && described[0].contains("81"), "{described:?}");
}

#[test]
fn nothing_to_mirror_deletes_the_slices() {
    let slices = created(json!([{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]));
    for endpoints in [None, Some(endpoints(json!([])))] {
        assert_eq!(planned(endpoints, &slices).describe(), ["all: delete endpointslices.discovery.k8s.io a/web-0;"]);
    }
}

#[test]
fn addresses_that_cannot_be_mirrored_are_reported() {
    let many: Vec<Value> = (0..1001).map(|number| json!({"ip": format!("10.1.{}.{}", number / 250, number % 250)})).collect();
    let plan = planned(Some(endpoints(json!([{"addresses": many}, {"addresses": [{"ip": "nonsense"}], "ports": [{"port": 1}]}]))), &[]);
    let events: Vec<_> = plan.events.iter().map(|event| (event.reason, event.message.as_str())).collect();
    assert_eq!(events[0], ("InvalidIPAddress", "Skipped 1 invalid IP addresses when mirroring to EndpointSlices"));
    assert_eq!(events[1].0, "TooManyAddressesToMirror");
}
