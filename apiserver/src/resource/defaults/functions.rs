//! Defaults that depend on other fields.

use super::is_zero;
use apiserver_machinery::Str;
use apiserver_machinery::quantity::Quantity;
use apiserver_machinery::schema::{Kind, Schema};
use apiserver_machinery::tree::{Map, Struct, Value};

/// Where a field is absent or zero.
fn lacks(object: &Struct, schema: &Schema, path: &str) -> bool {
    object.at(schema, path).is_none_or(is_zero)
}

/// Puts a value where a field is absent or zero.
fn default(object: &mut Struct, schema: &Schema, path: &str, value: impl Into<Value>) {
    if lacks(object, schema, path) {
        object.put(schema, path, value);
    }
}

/// Each struct in the list at a path.
fn each(object: &mut Struct, schema: &Schema, path: &str, mut run: impl FnMut(&mut Struct)) {
    if let Some(Value::List(items)) = object.at_mut(schema, path) {
        items.iter_mut().filter_map(Value::as_struct_mut).for_each(&mut run);
    }
}

/// What a Pod gets and its template does not: requests from limits, host ports from container ports.
pub(super) fn pod(pod: &mut Struct, schema: &Schema) {
    if pod.int_at(schema, "spec.terminationGracePeriodSeconds").is_some_and(|seconds| seconds < 0) {
        pod.put(schema, "spec.terminationGracePeriodSeconds", 1i64);
    }
    let host_network = pod.bool_at(schema, "spec.hostNetwork").unwrap_or_default();
    for list in ["spec.containers", "spec.initContainers"] {
        each(pod, schema, list, |container| {
            if let Some(Value::Map(limits)) = container.at(schema, "resources.limits").cloned() {
                fill_from(container, schema, "resources.requests", &limits);
            }
            if host_network {
                each(container, schema, "ports", |port| {
                    if let Some(number) = port.int_at(schema, "containerPort") {
                        default(port, schema, "hostPort", number);
                    }
                });
            }
        });
    }
    if pod.at(schema, "spec.enableServiceLinks").is_none() {
        pod.put(schema, "spec.enableServiceLinks", true);
    }
}

/// Puts the entries of `from` that the map at a path lacks, making the map.
fn fill_from(object: &mut Struct, schema: &Schema, path: &str, from: &Map) {
    if object.at(schema, path).is_none() {
        object.put(schema, path, Value::Map(Map::default()));
    }
    if let Some(Value::Map(map)) = object.at_mut(schema, path) {
        for (key, value) in from.iter() {
            if map.get(key).is_none() {
                map.insert(key, value.clone());
            }
        }
    }
}

/// `serviceAccount` is the old name of `serviceAccountName`; both are kept alike, and the new one wins.
pub(super) fn service_account_alias(spec: &mut Struct, schema: &Schema) {
    if lacks(spec, schema, "serviceAccountName") {
        match spec.at(schema, "serviceAccount").cloned() {
            Some(name) if !is_zero(&name) => {
                spec.put(schema, "serviceAccountName", name);
            }
            _ => {}
        }
    } else if let Some(name) = spec.at(schema, "serviceAccountName").cloned() {
        spec.put(schema, "serviceAccount", name);
    }
}

/// `podIP` and `podIPs` say the same; the single one wins.
pub(super) fn pod_ips(status: &mut Struct, schema: &Schema) {
    let one = status.str_at(schema, "podIP").unwrap_or_default().to_owned();
    let first = status.list_at(schema, "podIPs").first().and_then(Value::as_struct).and_then(|ip| ip.str_at(schema, "ip"));
    match (one.is_empty(), first) {
        (true, Some(first)) => {
            let first = first.to_owned();
            status.put(schema, "podIP", first);
        }
        (false, first) if first != Some(one.as_str()) => {
            let ty = schema.get(status.ty);
            let Some(Kind::List(list)) = ty.field("podIPs").map(|field| &field.kind) else { return };
            let Kind::Struct(item) = list.item else { return };
            let mut ip = Struct::new(item);
            ip.put(schema, "ip", one);
            status.put(schema, "podIPs", Value::List(vec![ip.into()]));
        }
        _ => {}
    }
}

/// The tag in an image reference; `latest` where it names neither tag nor digest, `None` where it is no valid reference.
fn image_tag(reference: &str) -> Option<&str> {
    let (name, digest) = match reference.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (reference, None),
    };
    let path_start = match name.split_once('/') {
        // Only a first part that looks like a host is one.
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" || host.bytes().any(|b| b.is_ascii_uppercase()) => host.len() + 1,
        _ => 0,
    };
    let path = &name[path_start..];
    let (path, tag) = match path.rsplit_once(':') {
        Some((path, tag)) => (path, Some(tag)),
        None => (path, None),
    };
    let component = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'))
            && part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.ends_with(|c: char| c.is_ascii_alphanumeric())
    };
    let hex = |text: &str| text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if !path.split('/').all(component) || hex(reference) {
        return None;
    }
    match (tag, digest) {
        (Some(tag), _) => Some(tag),
        (None, Some(_)) => Some(""),
        (None, None) => Some("latest"),
    }
}

fn pull_policy(reference: &str) -> &'static str {
    if image_tag(reference) == Some("latest") { "Always" } else { "IfNotPresent" }
}

pub(super) fn image_pull_policy(container: &mut Struct, schema: &Schema) {
    if lacks(container, schema, "imagePullPolicy") {
        let policy = pull_policy(container.str_at(schema, "image").unwrap_or_default());
        container.put(schema, "imagePullPolicy", policy);
    }
}

/// A volume without a source is an emptyDir.
pub(super) fn volume(volume: &mut Struct, schema: &Schema) {
    let name = schema.get(volume.ty).number("name");
    if !volume.fields().iter().any(|(number, _)| Some(*number) != name)
        && let Some(Kind::Struct(ty)) = schema.get(volume.ty).field("emptyDir").map(|field| field.kind.clone())
    {
        volume.put(schema, "emptyDir", Struct::new(ty));
    }
    if volume.at(schema, "image").is_some() && lacks(volume, schema, "image.pullPolicy") {
        let policy = pull_policy(volume.str_at(schema, "image.reference").unwrap_or_default());
        volume.put(schema, "image.pullPolicy", policy);
    }
}

/// Quantities are kept to a thousandth, rounded up.
fn round_up(object: &mut Struct, schema: &Schema, path: &str) {
    let Some(Value::Map(map)) = object.at_mut(schema, path) else { return };
    for (_, value) in map.iter_mut() {
        let Value::String(text) = value else { continue };
        // Canonical forms below a thousandth end so.
        if text.ends_with(['n', 'u'])
            && let Ok(quantity) = Quantity::parse(text)
        {
            *text = Quantity::milli(quantity.milli_value(), quantity.format()).canonical();
        }
    }
}

pub(super) fn round_requirements(requirements: &mut Struct, schema: &Schema) {
    round_up(requirements, schema, "limits");
    round_up(requirements, schema, "requests");
}

pub(super) fn round_capacity(object: &mut Struct, schema: &Schema) {
    round_up(object, schema, "capacity");
}

pub(super) fn round_quota(quota: &mut Struct, schema: &Schema) {
    for path in ["spec.hard", "status.hard", "status.used"] {
        round_up(quota, schema, path);
    }
}

pub(super) fn limit_range_item(item: &mut Struct, schema: &Schema) {
    if item.str_at(schema, "type") == Some("Container") {
        let map = |item: &Struct, path: &str| item.at(schema, path).and_then(Value::as_map).cloned().unwrap_or_default();
        fill_from(item, schema, "default", &map(item, "max"));
        fill_from(item, schema, "defaultRequest", &map(item, "default"));
        fill_from(item, schema, "defaultRequest", &map(item, "min"));
    }
    for path in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
        round_up(item, schema, path);
    }
}

/// A namespace carries its name as a label.
pub(super) fn namespace(namespace: &mut Struct, schema: &Schema) {
    let name = namespace.str_at(schema, "metadata.name").unwrap_or_default().to_owned();
    if name.is_empty() {
        return;
    }
    if namespace.at(schema, "metadata.labels").is_none() {
        namespace.put(schema, "metadata.labels", Value::Map(Map::default()));
    }
    if let Some(Value::Map(labels)) = namespace.at_mut(schema, "metadata.labels") {
        labels.insert("kubernetes.io/metadata.name", name.into());
    }
}

pub(super) fn node_status(status: &mut Struct, schema: &Schema) {
    if status.at(schema, "allocatable").is_none()
        && let Some(capacity) = status.at(schema, "capacity").cloned()
    {
        status.put(schema, "allocatable", capacity);
    }
    round_up(status, schema, "capacity");
    round_up(status, schema, "allocatable");
}

/// Selector and labels come from the template.
pub(super) fn replication_controller(controller: &mut Struct, schema: &Schema) {
    let Some(labels) = controller.at(schema, "spec.template.metadata.labels").cloned() else { return };
    default(controller, schema, "spec.selector", labels.clone());
    default(controller, schema, "metadata.labels", labels);
}

pub(super) fn service(service: &mut Struct, schema: &Schema) {
    default(service, schema, "spec.sessionAffinity", "None");
    match service.str_at(schema, "spec.sessionAffinity").unwrap_or_default() {
        "None" => {
            service.take(schema, "spec.sessionAffinityConfig");
        }
        "ClientIP" if service.at(schema, "spec.sessionAffinityConfig.clientIP.timeoutSeconds").is_none() => {
            service.put(schema, "spec.sessionAffinityConfig.clientIP.timeoutSeconds", 10_800i64);
        }
        _ => {}
    }
    default(service, schema, "spec.type", "ClusterIP");
    each(service, schema, "spec.ports", |port| {
        default(port, schema, "protocol", "TCP");
        if let Some(number) = port.int_at(schema, "port") {
            default(port, schema, "targetPort", number);
        }
    });
    let ty = service.str_at(schema, "spec.type").unwrap_or_default().to_owned();
    let external = match ty.as_str() {
        "LoadBalancer" | "NodePort" => true,
        "ClusterIP" => !service.list_at(schema, "spec.externalIPs").is_empty(),
        _ => false,
    };
    if external {
        default(service, schema, "spec.externalTrafficPolicy", "Cluster");
    }
    if matches!(ty.as_str(), "ClusterIP" | "NodePort" | "LoadBalancer") && service.at(schema, "spec.internalTrafficPolicy").is_none() {
        service.put(schema, "spec.internalTrafficPolicy", "Cluster");
    }
    if ty == "LoadBalancer" {
        if service.at(schema, "spec.allocateLoadBalancerNodePorts").is_none() {
            service.put(schema, "spec.allocateLoadBalancerNodePorts", true);
        }
        each(service, schema, "status.loadBalancer.ingress", |ingress| {
            if !lacks(ingress, schema, "ip") && ingress.at(schema, "ipMode").is_none() {
                ingress.put(schema, "ipMode", "VIP");
            }
        });
    }
}

/// Claims in a StatefulSet name their type, as they always did.
pub(super) fn claim_templates(set: &mut Struct, schema: &Schema) {
    each(set, schema, "spec.volumeClaimTemplates", |claim| {
        claim.put(schema, "apiVersion", "v1");
        claim.put(schema, "kind", "PersistentVolumeClaim");
    });
}

/// A strategy that is not named is a rolling update with a partition of zero; a named one keeps what it lacks.
pub(super) fn stateful_set_strategy(set: &mut Struct, schema: &Schema) {
    if lacks(set, schema, "spec.updateStrategy.type") {
        set.put(schema, "spec.updateStrategy.type", "RollingUpdate");
        if set.at(schema, "spec.updateStrategy.rollingUpdate").is_none() {
            set.put(schema, "spec.updateStrategy.rollingUpdate.partition", 0i64);
        }
    }
}

pub(super) fn job(job: &mut Struct, schema: &Schema) {
    let absent = |job: &Struct, path: &str| job.at(schema, path).is_none();
    if absent(job, "spec.completions") && absent(job, "spec.parallelism") {
        job.put(schema, "spec.completions", 1i64);
    }
    if absent(job, "spec.parallelism") {
        job.put(schema, "spec.parallelism", 1i64);
    }
    if absent(job, "spec.backoffLimit") {
        let limit = if absent(job, "spec.backoffLimitPerIndex") { 6 } else { i64::from(i32::MAX) };
        job.put(schema, "spec.backoffLimit", limit);
    }
    if let Some(labels) = job.at(schema, "spec.template.metadata.labels").cloned() {
        default(job, schema, "metadata.labels", labels);
    }
    if absent(job, "spec.completionMode") {
        job.put(schema, "spec.completionMode", "NonIndexed");
    }
    if absent(job, "spec.suspend") {
        job.put(schema, "spec.suspend", false);
    }
    if absent(job, "spec.podReplacementPolicy") {
        let policy = if absent(job, "spec.podFailurePolicy") { "TerminatingOrFailed" } else { "Failed" };
        job.put(schema, "spec.podReplacementPolicy", policy);
    }
    if absent(job, "spec.manualSelector") {
        job.put(schema, "spec.manualSelector", false);
    }
}

/// Without metrics, an autoscaler aims at 80 % of the requested CPU.
pub(super) fn autoscaler_metrics(autoscaler: &mut Struct, schema: &Schema) {
    if !lacks(autoscaler, schema, "spec.metrics") {
        return;
    }
    let Some(ty) = schema.named("io.k8s.api.autoscaling.v2.MetricSpec") else { return };
    let mut metric = Struct::new(ty);
    metric.put(schema, "type", "Resource");
    metric.put(schema, "resource.name", "cpu");
    metric.put(schema, "resource.target.type", "Utilization");
    metric.put(schema, "resource.target.averageUtilization", 80i64);
    autoscaler.put(schema, "spec.metrics", Value::List(vec![metric.into()]));
}

/// A behavior that is given at all is given whole.
pub(super) fn autoscaler_behavior(autoscaler: &mut Struct, schema: &Schema) {
    /// How long one step of scaling lasts, and the most it changes: Pods and percent.
    const PERIOD_SECONDS: i64 = 15;
    const PODS_MAX: i64 = 4;
    const PERCENT_MAX: i64 = 100;
    if autoscaler.at(schema, "spec.behavior").is_none() {
        return;
    }
    let policies = |limits: &[(&'static str, i64)]| {
        let ty = schema.named("io.k8s.api.autoscaling.v2.HPAScalingPolicy")?;
        let policy = |(kind, value): &(&'static str, i64)| {
            let mut policy = Struct::new(ty);
            policy.put(schema, "type", *kind);
            policy.put(schema, "value", *value);
            policy.put(schema, "periodSeconds", PERIOD_SECONDS);
            Value::from(policy)
        };
        Some(Value::List(limits.iter().map(policy).collect()))
    };
    let up = policies(&[("Pods", PODS_MAX), ("Percent", PERCENT_MAX)]);
    let down = policies(&[("Percent", PERCENT_MAX)]);
    if autoscaler.at(schema, "spec.behavior.scaleUp.stabilizationWindowSeconds").is_none() {
        autoscaler.put(schema, "spec.behavior.scaleUp.stabilizationWindowSeconds", 0i64);
    }
    for (direction, policies) in [("scaleUp", up), ("scaleDown", down)] {
        let select = format!("spec.behavior.{direction}.selectPolicy");
        if autoscaler.at(schema, &select).is_none() {
            autoscaler.put(schema, &select, "Max");
        }
        let list = format!("spec.behavior.{direction}.policies");
        if let (None, Some(policies)) = (autoscaler.at(schema, &list), policies) {
            autoscaler.put(schema, &list, policies);
        }
    }
}

/// A policy that names no types is about ingress, and about egress if it has rules for it.
pub(super) fn network_policy(policy: &mut Struct, schema: &Schema) {
    if !policy.list_at(schema, "spec.policyTypes").is_empty() {
        return;
    }
    let mut types = vec![Value::from("Ingress")];
    if !policy.list_at(schema, "spec.egress").is_empty() {
        types.push(Value::from("Egress"));
    }
    policy.put(schema, "spec.policyTypes", Value::List(types));
}

pub(super) fn definition(definition: &mut Struct, schema: &Schema) {
    let kind = definition.str_at(schema, "spec.names.kind").unwrap_or_default().to_owned();
    if !kind.is_empty() {
        default(definition, schema, "spec.names.singular", kind.to_lowercase());
        default(definition, schema, "spec.names.listKind", format!("{kind}List"));
    }
    if definition.at(schema, "spec.conversion").is_none() {
        definition.put(schema, "spec.conversion.strategy", "None");
    }
    if lacks(definition, schema, "status.storedVersions") {
        let stored = definition.list_at(schema, "spec.versions").iter().filter_map(Value::as_struct);
        let stored = stored.filter(|version| version.bool_at(schema, "storage") == Some(true));
        let name = stored.filter_map(|version| version.str_at(schema, "name")).map(Str::from).next();
        if let Some(name) = name {
            definition.put(schema, "status.storedVersions", Value::List(vec![Value::String(name)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_without_tag_and_digest_is_latest() {
        for (image, expect) in [
            ("nginx", Some("latest")),
            ("nginx:1.27", Some("1.27")),
            ("registry.k8s.io:5000/a/b", Some("latest")),
            ("registry.k8s.io:5000/a/b:v1", Some("v1")),
            ("a/b@sha256:0123", Some("")),
            ("a/b:v1@sha256:0123", Some("v1")),
            ("Nginx", None),
            ("Registry/nginx", Some("latest")),
            ("", None),
        ] {
            assert_eq!(image_tag(image), expect, "{image}");
        }
    }
}
