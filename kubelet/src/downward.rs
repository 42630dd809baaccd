//! The downward API: a Pod's own fields and resources as text, for environment variables and files.

use crate::pod;
use apiserver_placement::Amount;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};
use std::collections::BTreeMap;

/// What a Pod's fields say that only its node knows.
#[derive(Clone, Debug, Default)]
pub struct Place {
    pub host_ips: Vec<String>,
    pub pod_ips: Vec<String>,
    /// What stands for a limit that a container does not have.
    pub allocatable: BTreeMap<String, Amount>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("unsupported fieldPath: {0}")]
    Field(String),
    #[error("fieldPath {0:?} does not support subscript")]
    Subscript(String),
    #[error("container {0} not found")]
    Container(String),
    #[error("unsupported container resource : {0}")]
    Resource(String),
}

/// A field of the Pod as text.
pub fn field(pod: &Pod, path: &str, place: &Place) -> Result<String, Error> {
    let empty = BTreeMap::new();
    let labels = pod.metadata.labels.as_ref().unwrap_or(&empty);
    let annotations = pod.metadata.annotations.as_ref().unwrap_or(&empty);
    if let Some((path, key)) = path.strip_suffix("']").and_then(|path| path.split_once("['")).filter(|(path, _)| !path.is_empty()) {
        return match path {
            "metadata.annotations" => Ok(annotations.get(key).cloned().unwrap_or_default()),
            "metadata.labels" => Ok(labels.get(key).cloned().unwrap_or_default()),
            _ => Err(Error::Subscript(path.to_owned())),
        };
    }
    let spec = pod::spec(pod);
    Ok(match path {
        "metadata.annotations" => lines(annotations),
        "metadata.labels" => lines(labels),
        "metadata.name" => pod::name(pod).to_owned(),
        "metadata.namespace" => pod::namespace(pod).to_owned(),
        "metadata.uid" => pod::uid(pod).to_owned(),
        "spec.nodeName" => spec.node_name.clone().unwrap_or_default(),
        "spec.serviceAccountName" => spec.service_account_name.clone().unwrap_or_default(),
        "status.hostIP" => place.host_ips.first().cloned().unwrap_or_default(),
        "status.hostIPs" => place.host_ips.join(","),
        "status.podIP" => place.pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => place.pod_ips.join(","),
        other => return Err(Error::Field(other.to_owned())),
    })
}

/// A map as lines of `key="value"`, values quoted as Go quotes strings.
fn lines(map: &BTreeMap<String, String>) -> String {
    let line = |(key, value): (&String, &String)| format!("{key}={}", quote(value));
    map.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            char if char.is_ascii_control() => out.push_str(&format!("\\x{:02x}", u32::from(char))),
            char => out.push(char),
        }
    }
    out.push('"');
    out
}

/// A request or limit of a container, in units of the divisor, rounded up. `container` is the one that asks; the selector may name another.
pub fn resource(pod: &Pod, container: Option<&Container>, selector: &ResourceFieldSelector, place: &Place) -> Result<String, Error> {
    let named = selector.container_name.as_deref().filter(|name| !name.is_empty());
    let found = named.map(|name| pod::find(pod, name).ok_or_else(|| Error::Container(name.to_owned()))).transpose()?;
    let container = found.as_ref().map(|(_, container)| container.as_ref()).or(container);
    let container = container.ok_or_else(|| Error::Container(String::new()))?;
    let unsupported = || Error::Resource(selector.resource.clone());
    let (kind, name) = selector.resource.split_once('.').ok_or_else(unsupported)?;
    let known = matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-");
    let resources = container.resources.as_ref();
    let list = match kind {
        "limits" => resources.and_then(|resources| resources.limits.as_ref()),
        "requests" => resources.and_then(|resources| resources.requests.as_ref()),
        _ => return Err(unsupported()),
    };
    if !known {
        return Err(unsupported());
    }
    let stated = list.and_then(|list| list.get(name)).and_then(|quantity| Amount::parse(&quantity.0)).filter(|amount| !amount.is_zero());
    let fallback = if kind == "limits" { place.allocatable.get(name).copied() } else { None };
    let amount = stated.or(fallback).unwrap_or_default();
    let divisor = selector.divisor.as_ref().and_then(|divisor| Amount::parse(&divisor.0)).filter(|divisor| !divisor.is_zero());
    let divisor = divisor.unwrap_or(Amount::from_units(1));
    let (amount, divisor) = if name == "cpu" { (amount.millis(), divisor.millis()) } else { (amount.value(), divisor.value()) };
    Ok(divide_up(amount, divisor).to_string())
}

fn divide_up(amount: i64, divisor: i64) -> i64 {
    if divisor <= 0 {
        return amount;
    }
    amount / divisor + i64::from(amount % divisor > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {"b": "2", "a": "1 \"q\"\n"}, "annotations": {"k/x": "v"}},
            "spec": {"nodeName": "node", "serviceAccountName": "sa", "containers": [
                {"name": "c", "resources": {"limits": {"cpu": "1500m", "memory": "10Mi"}, "requests": {"memory": "1000"}}}]},
        }))
        .expect("a pod")
    }

    fn place() -> Place {
        Place {
            host_ips: vec!["1.1.1.1".to_owned()],
            pod_ips: vec!["10.0.0.1".to_owned(), "fd00::1".to_owned()],
            allocatable: BTreeMap::from([("ephemeral-storage".to_owned(), Amount::from_units(1000))]),
        }
    }

    #[test]
    fn fields_read_as_text() {
        let check = |path: &str, expect: Result<&str, Error>| assert_eq!(field(&pod(), path, &place()), expect.map(str::to_owned), "{path}");
        check("metadata.name", Ok("p"));
        check("metadata.labels['b']", Ok("2"));
        check("metadata.labels['none']", Ok(""));
        check("metadata.annotations['k/x']", Ok("v"));
        check("metadata.labels", Ok("a=\"1 \\\"q\\\"\\n\"\nb=\"2\""));
        check("spec.nodeName", Ok("node"));
        check("status.podIPs", Ok("10.0.0.1,fd00::1"));
        check("status.podIP", Ok("10.0.0.1"));
        check("status.hostIP", Ok("1.1.1.1"));
        check("status.phase", Err(Error::Field("status.phase".to_owned())));
        check("spec.x['y']", Err(Error::Subscript("spec.x".to_owned())));
    }

    #[test]
    fn resources_are_divided_and_rounded_up() {
        let check = |resource_name: &str, divisor: &str, expect: Result<&str, Error>| {
            let selector = json!({"containerName": "c", "resource": resource_name, "divisor": divisor});
            let selector: ResourceFieldSelector = serde_json::from_value(selector).expect("a selector");
            assert_eq!(resource(&pod(), None, &selector, &place()), expect.map(str::to_owned), "{resource_name} {divisor}");
        };
        check("limits.cpu", "1", Ok("2"));
        check("limits.cpu", "1m", Ok("1500"));
        check("limits.memory", "1Mi", Ok("10"));
        check("requests.memory", "0", Ok("1000"));
        check("requests.cpu", "1", Ok("0"));
        check("limits.ephemeral-storage", "1", Ok("1000"));
        check("limits.gpu", "1", Err(Error::Resource("limits.gpu".to_owned())));
    }
}
