use super::*;
use crate::admission::testing::{Case, encode, object};
use serde_json::json;

const CIDR: (&str, &str) = ("/registry/servicecidrs/kubernetes", r#"{"metadata":{"name":"kubernetes"},"spec":{"cidrs":["10.96.0.0/24"]}}"#);

fn create(spec: &str) -> Case {
    Case::create("", "Service", "ns", &format!(r#"{{"spec":{spec}}}"#)).rows(&[CIDR])
}

fn update(spec: &str, old: &str) -> Case {
    create(spec).update(&format!(r#"{{"spec":{old}}}"#))
}

/// The Service's spec, what it takes and what it gives up.
async fn run(case: Case) -> Result<(serde_json::Value, Vec<String>, Vec<String>), String> {
    let (tree, extra, result) = case
        .run(|tree, admission, extra| {
            assign(tree, admission)?;
            claim(object(tree), admission, extra)
        })
        .await;
    result.map_err(|error| error.to_string())?;
    let taken = extra.ops.iter().filter_map(|op| if let Op::Put { key, .. } = op { Some(key.to_string()) } else { None }).collect::<Vec<_>>();
    assert_eq!(taken.len(), extra.compares.len(), "everything taken must be free");
    let given = extra.ops.iter().filter_map(|op| if let Op::Delete { key } = op { Some(key.to_string()) } else { None }).collect();
    Ok((encode(&tree)["spec"].clone(), taken, given))
}

async fn refused(case: Case, expect: &str) {
    assert_eq!(run(case).await.unwrap_err(), expect);
}

#[tokio::test]
async fn a_service_gets_an_address_of_the_upper_part() {
    let (spec, taken, given) = run(create(r#"{"type":"ClusterIP"}"#)).await.unwrap();
    let address = spec["clusterIP"].as_str().unwrap();
    assert_eq!(spec["clusterIPs"], json!([address]));
    assert_eq!((&spec["ipFamilies"], &spec["ipFamilyPolicy"]), (&json!(["IPv4"]), &json!("SingleStack")));
    let last: u8 = address.strip_prefix("10.96.0.").unwrap().parse().unwrap();
    assert!((17..=254).contains(&last), "{address}");
    assert_eq!(taken, [format!("/registry/ipaddresses/{address}")]);
    assert!(given.is_empty());
}

#[tokio::test]
async fn an_address_asked_for_must_be_free_and_in_range() {
    let ask = |address: &str| create(&format!(r#"{{"clusterIP":"{address}"}}"#));
    let (spec, taken, _) = run(ask("10.96.0.10")).await.unwrap();
    assert_eq!((&spec["clusterIPs"], &taken[0][..]), (&json!(["10.96.0.10"]), "/registry/ipaddresses/10.96.0.10"));
    let used = ("/registry/ipaddresses/10.96.0.10", r#"{"metadata":{"name":"10.96.0.10"}}"#);
    let head = r#"Service "x" is invalid: spec.clusterIPs: Invalid value: "#;
    refused(ask("10.96.0.10").rows(&[used]), &format!(r#"{head}["10.96.0.10"]: failed to allocate IP 10.96.0.10: provided IP is already allocated"#))
        .await;
    refused(
        ask("10.97.0.1"),
        &format!(r#"{head}["10.97.0.1"]: failed to allocate IP 10.97.0.1: the provided network does not match the current range"#),
    )
    .await;
    // Neither the network's address nor the one for broadcasts.
    for edge in ["10.96.0.0", "10.96.0.255"] {
        refused(ask(edge), &format!(r#"{head}["{edge}"]: failed to allocate IP {edge}: the provided network does not match the current range"#))
            .await;
    }
}

#[tokio::test]
async fn headless_and_external_services_have_no_address() {
    let (spec, taken, _) = run(create(r#"{"clusterIP":"None","selector":{"a":"b"}}"#)).await.unwrap();
    assert_eq!((&spec["clusterIPs"], &spec["ipFamilies"]), (&json!(["None"]), &json!(["IPv4"])));
    assert!(taken.is_empty());
    let (spec, ..) = run(create(r#"{"clusterIP":"None"}"#)).await.unwrap();
    assert_eq!((&spec["ipFamilies"], &spec["ipFamilyPolicy"]), (&json!(["IPv4", "IPv6"]), &json!("RequireDualStack")));
    let (spec, taken, _) = run(create(r#"{"type":"ExternalName","externalName":"a.b"}"#)).await.unwrap();
    assert!(spec["clusterIP"].is_null() && taken.is_empty());
}

#[tokio::test]
async fn families_that_the_cluster_lacks_are_refused() {
    refused(
        create(r#"{"ipFamilies":["IPv6"]}"#),
        r#"Service "x" is invalid: spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster"#,
    )
    .await;
    refused(
        create(r#"{"ipFamilyPolicy":"RequireDualStack"}"#),
        r#"Service "x" is invalid: spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services"#,
    )
    .await;
    let (spec, ..) = run(create(r#"{"ipFamilyPolicy":"PreferDualStack"}"#)).await.unwrap();
    assert_eq!(spec["ipFamilies"], json!(["IPv4"]));
}

#[tokio::test]
async fn node_ports_are_chosen_and_shared_between_protocols() {
    let ports = r#"[{"name":"a","protocol":"TCP","port":53},{"name":"b","protocol":"UDP","port":53},{"name":"c","protocol":"TCP","port":80,"nodePort":30080}]"#;
    let (spec, taken, _) = run(create(&format!(r#"{{"type":"NodePort","ports":{ports}}}"#))).await.unwrap();
    let port = |index: usize| spec["ports"][index]["nodePort"].as_i64().unwrap();
    assert_eq!(port(0), port(1));
    assert!((30_086..=32_767).contains(&port(0)));
    assert_eq!(port(2), 30_080);
    assert_eq!(taken.iter().filter(|key| key.starts_with("/registry/ranges/servicenodeports/")).count(), 2);
}

#[tokio::test]
async fn a_node_port_asked_for_must_be_free_and_in_range() {
    let ask = |port: &str| create(&format!(r#"{{"type":"NodePort","ports":[{{"port":80,"nodePort":{port}}}]}}"#));
    let head = r#"Service "x" is invalid: spec.ports[0].nodePort: Invalid value: "#;
    refused(ask("80"), &format!("{head}80: provided port is not in the valid range. The range of valid ports is 30000-32767")).await;
    let used = ("/registry/ranges/servicenodeports/30001", "{}");
    refused(ask("30001").rows(&[used]), &format!("{head}30001: provided port is already allocated")).await;
}

#[tokio::test]
async fn a_local_load_balancer_gets_a_port_for_health_checks() {
    let (spec, taken, _) =
        run(create(r#"{"type":"LoadBalancer","externalTrafficPolicy":"Local","allocateLoadBalancerNodePorts":false,"ports":[{"port":80}]}"#))
            .await
            .unwrap();
    assert!(spec["healthCheckNodePort"].as_i64().unwrap() >= 30_000);
    assert!(spec["ports"][0]["nodePort"].is_null());
    assert_eq!(taken.len(), 2);
}

const STORED: &str = r#"{"type":"NodePort","clusterIP":"10.96.0.20","clusterIPs":["10.96.0.20"],"ipFamilies":["IPv4"],"ipFamilyPolicy":"SingleStack","ports":[{"name":"a","port":80,"nodePort":30100}]}"#;

#[tokio::test]
async fn an_update_that_leaves_allocated_values_out_keeps_them() {
    let (spec, taken, given) = run(update(r#"{"type":"NodePort","ports":[{"name":"a","port":81}]}"#, STORED)).await.unwrap();
    assert_eq!((&spec["clusterIP"], &spec["ports"][0]["nodePort"]), (&json!("10.96.0.20"), &json!(30_100)));
    assert!(taken.is_empty() && given.is_empty(), "{taken:?} {given:?}");
}

#[tokio::test]
async fn a_change_of_type_gives_back_what_is_not_needed() {
    // The rules of the kind have taken the fields away that the new type does not have.
    let (_, taken, given) = run(update(r#"{"type":"ClusterIP","ports":[{"name":"a","port":80}]}"#, STORED)).await.unwrap();
    assert!(taken.is_empty());
    assert_eq!(given, ["/registry/ranges/servicenodeports/30100"]);
    let (_, taken, given) = run(update(r#"{"type":"ExternalName","externalName":"a.b"}"#, STORED)).await.unwrap();
    assert!(taken.is_empty());
    assert_eq!(given, ["/registry/ipaddresses/10.96.0.20", "/registry/ranges/servicenodeports/30100"]);
    let (spec, taken, _) = run(update(r#"{"type":"ClusterIP"}"#, r#"{"type":"ExternalName","externalName":"a.b"}"#)).await.unwrap();
    assert_eq!(taken, [format!("/registry/ipaddresses/{}", spec["clusterIP"].as_str().unwrap())]);
}

#[test]
fn a_removed_service_gives_everything_back() {
    let tree = crate::admission::testing::tree("", "Service", &format!(r#"{{"spec":{STORED}}}"#));
    let keys: Vec<_> = release(&crate::admission::testing::resource("", "Service"), object(&tree))
        .into_iter()
        .map(|op| if let Op::Delete { key } = op { key.to_string() } else { String::new() })
        .collect();
    assert_eq!(keys, ["/registry/ipaddresses/10.96.0.20", "/registry/ranges/servicenodeports/30100"]);
}

#[test]
fn bands_leave_the_lower_part_for_last() {
    let check = |cidr: &str, first: &str, dynamic: &str, last: &str| {
        let number = |text: &str| number(text.parse().unwrap());
        let expect = Band { first: number(first), dynamic: number(dynamic), last: number(last) };
        assert_eq!(Band::of(&cidr.parse().unwrap()), expect, "{cidr}");
    };
    check("10.96.0.0/16", "10.96.0.1", "10.96.1.1", "10.96.255.254");
    check("10.96.0.0/24", "10.96.0.1", "10.96.0.17", "10.96.0.254");
    check("10.96.0.0/28", "10.96.0.1", "10.96.0.1", "10.96.0.14");
    check("fd00::/112", "fd00::1", "fd00::101", "fd00::ffff");
    assert_eq!(Band::of_ports(&(30_000..=32_767)), Band { first: 30_000, dynamic: 30_086, last: 32_767 });

    let mut seen: Vec<u128> = Band { first: 1, dynamic: 4, last: 8 }.candidates().collect();
    assert!(seen[..5].iter().all(|number| *number >= 4));
    seen.sort_unstable();
    assert_eq!(seen, [1, 2, 3, 4, 5, 6, 7, 8]);
}
