//! Documents of `testdata/discovery/`, as Kubernetes serves them: ours must say the same, in the same order.

use super::Cache;
use crate::resource::catalog::Catalog;
use serde_json::Value;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// What upstream stores in versions before the one that we serve and store.
const STORED_OTHERWISE: [&str; 5] =
    ["customresourcedefinitions", "clustertrustbundles", "podcertificaterequests", "devicetaintrules", "storageversionmigrations"];

#[test]
fn documents_say_what_upstream_says() {
    let (catalog, cache) = (Catalog::builtin(), Cache::default());
    let recorded: serde_json::Map<String, Value> = serde_json::from_str(include_str!("../../testdata/discovery/documents.json")).unwrap();
    let mut faults = Vec::new();
    for (path, theirs) in &recorded {
        let (path, accept) = if path == "aggregated" { ("/apis", AGGREGATED) } else { (path.as_str(), "application/json") };
        let Some(document) = cache.document(&catalog, path, accept) else {
            faults.push(format!("{path}: none"));
            continue;
        };
        let mut ours: Value = serde_json::from_slice(&document.bytes).unwrap();
        if path == "/api" {
            ours["serverAddressByClientCIDRs"] = Value::Array(Vec::new());
        }
        differences(path, &ours, theirs, &mut faults);
    }
    assert!(faults.is_empty(), "{} differences:\n{}", faults.len(), faults.join("\n"));
}

fn differences(at: &str, ours: &Value, theirs: &Value, faults: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
                differences(&format!("{at}.{key}"), &a.get(key).cloned().unwrap_or_default(), &b.get(key).cloned().unwrap_or_default(), faults);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                let name = a["name"].as_str().or_else(|| a["resource"].as_str()).or_else(|| a["subresource"].as_str()).unwrap_or_default();
                differences(&format!("{at}[{index}:{name}]"), a, b, faults);
            }
        }
        (a, b) if a == b => {}
        _ if at.ends_with("storageVersionHash") && STORED_OTHERWISE.iter().any(|plural| at.contains(plural)) => {}
        (a, b) => faults.push(format!("{at}: ours {a}\n    theirs {b}")),
    }
}
