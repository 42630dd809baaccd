//! Containers: names, ports, environment, mounts, probes, lifecycle, security.

use super::resources::{self, Scope};
use super::volume::{self, Volumes};
use super::{Errors, messages, not_negative, one_of, required, value};
use crate::resource::Object;
use apiserver_machinery::field::{Error, Path};
use apiserver_machinery::names;
use apiserver_machinery::quantity::Quantity;
use apiserver_machinery::tree::Value;

/// What the containers of one Pod are checked against.
pub struct Pod<'a> {
    pub volumes: Volumes<'a>,
    pub claims: Vec<&'a str>,
    pub restart_policy: &'a str,
    pub grace_seconds: Option<i64>,
    pub host_users: bool,
    pub os: Option<&'a str>,
}

const PORT_RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;

/// Fields that an ephemeral container may have.
const EPHEMERAL: &[&str] = &[
    "name",
    "image",
    "command",
    "args",
    "workingDir",
    "env",
    "envFrom",
    "volumeMounts",
    "volumeDevices",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "imagePullPolicy",
    "securityContext",
    "stdin",
    "stdinOnce",
    "tty",
    "targetContainerName",
];

pub fn containers(spec: Object<'_>, pod: &Pod<'_>, at: &Path<'_>, errors: &mut Errors) {
    let at = at.child("containers");
    if spec.list("containers").is_empty() {
        errors.push(Error::required(&at, ""));
        return;
    }
    let mut names: Vec<&str> = Vec::new();
    for (index, container) in spec.items("containers").enumerate() {
        let at = at.index(index);
        common(container, pod, &at, errors);
        unique_name(container, &mut names, &at, errors);
        running(container, pod, &at, errors);
        restart_rules(container, &at, errors);
    }
    host_ports(spec.items("containers"), &at, 0, errors);
}

pub fn init_containers(spec: Object<'_>, pod: &Pod<'_>, at: &Path<'_>, errors: &mut Errors) {
    let at = at.child("initContainers");
    let mut names: Vec<&str> = spec.items("containers").map(|container| container.text("name")).collect();
    for (index, container) in spec.items("initContainers").enumerate() {
        let at_container = at.index(index);
        common(container, pod, &at_container, errors);
        restart_rules(container, &at_container, errors);
        if !container.text("name").is_empty() {
            unique_name(container, &mut names, &at_container, errors);
        }
        host_ports(std::iter::once(container), &at, 0, errors);
        let sidecar = container.text("restartPolicy") == "Always";
        if sidecar {
            running(container, pod, &at_container, errors);
        } else {
            for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
                if container.has(field) {
                    errors.push(Error::forbidden(&at_container.child(field), "may not be set for init containers without restartPolicy=Always"));
                }
            }
            for (policy_index, policy) in container.items("resizePolicy").enumerate() {
                if policy.text("restartPolicy") == "RestartContainer" {
                    errors.push(Error::invalid(
                        &at_container.child("resizePolicy").index(policy_index).child("restartPolicy"),
                        "RestartContainer",
                        "must not be set to 'RestartContainer' for non-sidecar initContainers",
                    ));
                }
            }
        }
    }
}

pub fn ephemeral_containers(spec: Object<'_>, pod: &Pod<'_>, at: &Path<'_>, errors: &mut Errors) {
    let at = at.child("ephemeralContainers");
    let others: Vec<&str> = spec.items("containers").chain(spec.items("initContainers")).map(|own| own.text("name")).collect();
    let mut names = others.clone();
    for (index, container) in spec.items("ephemeralContainers").enumerate() {
        let at = at.index(index);
        common(container, pod, &at, errors);
        image_padding(container, &at, errors);
        unique_name(container, &mut names, &at, errors);
        let target = container.text("targetContainerName");
        if !target.is_empty() && !others.contains(&target) {
            errors.push(Error::not_found(&at.child("targetContainerName"), target));
        }
        for (number, field_value) in container.tree.fields() {
            let name = container.ty().fields[usize::from(*number)].name.as_str();
            if !EPHEMERAL.contains(&name) && !value::is_empty(field_value) {
                errors.push(Error::forbidden(&at.child(name), "cannot be set for an Ephemeral Container"));
            }
        }
        for (index, mount) in container.items("volumeMounts").enumerate() {
            for field in ["subPath", "subPathExpr"] {
                if !mount.text(field).is_empty() {
                    let at = at.child("volumeMounts");
                    errors.push(Error::forbidden(&at.index(index).child(field), "cannot be set for an Ephemeral Container"));
                }
            }
        }
    }
}

/// Images of Pods, and of them alone, may not be padded.
pub fn image_padding(container: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    let image = container.text("image");
    if image.trim() != image {
        errors.push(Error::invalid(&at.child("image"), image, "must not have leading or trailing whitespace"));
    }
}

fn unique_name<'a>(container: Object<'a>, names: &mut Vec<&'a str>, at: &Path<'_>, errors: &mut Errors) {
    let name = container.text("name");
    if names.contains(&name) {
        errors.push(Error::duplicate(&at.child("name"), name));
    } else {
        names.push(name);
    }
}

fn common(container: Object<'_>, pod: &Pod<'_>, at: &Path<'_>, errors: &mut Errors) {
    if required(container, "name", at, "", errors) {
        let name = container.text("name");
        messages(names::dns1123_label(name), name, &at.child("name"), errors);
    }
    required(container, "image", at, "", errors);
    if required(container, "terminationMessagePolicy", at, "", errors) {
        one_of(container, "terminationMessagePolicy", &["File", "FallbackToLogsOnError"], at, errors);
    }
    ports(container, &at.child("ports"), errors);
    env(container, &at.child("env"), errors);
    env_from(container, &at.child("envFrom"), errors);
    volume::mounts(container, &pod.volumes, &at.child("volumeMounts"), errors);
    volume::devices(container, &pod.volumes, &at.child("volumeDevices"), errors);
    pull_policy(container, "imagePullPolicy", at, errors);
    if let Some(wanted) = container.child("resources") {
        resources::requirements(wanted, Scope::Container, &pod.claims, &at.child("resources"), errors);
    }
    resize_policy(container, pod.restart_policy, &at.child("resizePolicy"), errors);
    if let Some(context) = container.child("securityContext") {
        security_context(context, pod.host_users, &at.child("securityContext"), errors);
    }
}

pub fn pull_policy(object: Object<'_>, field: &str, at: &Path<'_>, errors: &mut Errors) {
    if required(object, field, at, "", errors) {
        one_of(object, field, &["Always", "IfNotPresent", "Never"], at, errors);
    }
}

fn ports(container: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    let mut names_seen: Vec<&str> = Vec::new();
    for (index, port) in container.items("ports").enumerate() {
        let at = at.index(index);
        let name = port.text("name");
        if !name.is_empty() {
            let found: Vec<String> = names::port_name(name);
            if !found.is_empty() {
                messages(found, name, &at.child("name"), errors);
            } else if names_seen.contains(&name) {
                errors.push(Error::duplicate(&at.child("name"), name));
            } else {
                names_seen.push(name);
            }
        }
        match port.number("containerPort") {
            0 => errors.push(Error::required(&at.child("containerPort"), "")),
            number => port_number(number, &at.child("containerPort"), errors),
        }
        if port.number("hostPort") != 0 {
            port_number(port.number("hostPort"), &at.child("hostPort"), errors);
        }
        if required(port, "protocol", &at, "", errors) {
            one_of(port, "protocol", &["SCTP", "TCP", "UDP"], &at, errors);
        }
    }
}

pub fn port_number(number: i64, at: &Path<'_>, errors: &mut Errors) {
    errors.extend(names::port_number(number).into_iter().map(|message| Error::invalid(at, number, message)));
}

/// The number or the name of a port.
pub fn port_or_name(object: Object<'_>, field: &str, at: &Path<'_>, errors: &mut Errors) {
    let at = at.child(field);
    match object.get(field) {
        Some(Value::String(name)) => messages(names::port_name(name), name, &at, errors),
        other => port_number(other.and_then(Value::as_int).unwrap_or_default(), &at, errors),
    }
}

/// Two containers of one Pod cannot have the same port of the node.
pub fn host_ports<'a>(containers: impl Iterator<Item = Object<'a>>, at: &Path<'_>, first: usize, errors: &mut Errors) {
    let mut seen: Vec<String> = Vec::new();
    for (index, container) in containers.enumerate() {
        for (port_index, port) in container.items("ports").enumerate() {
            let host_port = port.number("hostPort");
            if host_port == 0 {
                continue;
            }
            let key = format!("{}/{}/{host_port}", port.text("protocol"), port.text("hostIP"));
            if seen.contains(&key) {
                let at = at.index(first + index);
                let at = at.child("ports");
                errors.push(Error::duplicate(&at.index(port_index).child("hostPort"), key.as_str()));
            } else {
                seen.push(key);
            }
        }
    }
}

fn env(container: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    for (index, variable) in container.items("env").enumerate() {
        let at = at.index(index);
        if required(variable, "name", &at, "", errors) {
            let name = variable.text("name");
            messages(names::relaxed_env_var_name(name), name, &at.child("name"), errors);
        }
        if let Some(from) = variable.child("valueFrom") {
            env_value_from(from, !variable.text("value").is_empty(), &at.child("valueFrom"), errors);
        }
    }
}

const FIELDS_OF_ENV: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

fn env_value_from(from: Object<'_>, has_value: bool, at: &Path<'_>, errors: &mut Errors) {
    let mut sources = 0;
    if let Some(field) = from.child("fieldRef") {
        sources += 1;
        field_selector(field, FIELDS_OF_ENV, &at.child("fieldRef"), errors);
    }
    if let Some(resource) = from.child("resourceFieldRef") {
        sources += 1;
        resource_field_selector(resource, false, &at.child("resourceFieldRef"), errors);
    }
    for field in ["configMapKeyRef", "secretKeyRef"] {
        if let Some(selector) = from.child(field) {
            sources += 1;
            let at = at.child(field);
            let name = selector.text("name");
            messages(names::dns1123_subdomain(name), name, &at.child("name"), errors);
            if required(selector, "key", &at, "", errors) {
                let key = selector.text("key");
                messages(names::config_map_key(key), key, &at.child("key"), errors);
            }
        }
    }
    if let Some(file) = from.child("fileKeyRef") {
        sources += 1;
        let at = at.child("fileKeyRef");
        if required(file, "key", &at, "", errors) {
            messages(names::relaxed_env_var_name(file.text("key")), file.text("key"), &at.child("key"), errors);
        }
        if required(file, "volumeName", &at, "", errors) {
            messages(names::dns1123_label(file.text("volumeName")), file.text("volumeName"), &at.child("volumeName"), errors);
        }
        if required(file, "path", &at, "", errors) {
            volume::no_backsteps(file.text("path"), &at.child("path"), errors);
        }
    }
    if sources == 0 {
        errors.push(Error::invalid(at, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"));
    } else if has_value {
        errors.push(Error::invalid(at, "", "may not be specified when `value` is not empty"));
    } else if sources > 1 {
        errors.push(Error::invalid(at, "", "may not have more than one field specified at a time"));
    }
}

/// A field of the Pod, as the downward API gives it: `metadata.labels['app']`.
pub fn field_selector(selector: Object<'_>, allowed: &[&str], at: &Path<'_>, errors: &mut Errors) {
    if !required(selector, "apiVersion", at, "", errors) || !required(selector, "fieldPath", at, "", errors) {
        return;
    }
    let path = selector.text("fieldPath");
    let fail = |errors: &mut Errors, detail: String| {
        errors.push(Error::invalid(&at.child("fieldPath"), path, format!("error converting fieldPath: {detail}")));
    };
    if selector.text("apiVersion") != "v1" {
        fail(errors, format!("unsupported pod version: {}", selector.text("apiVersion")));
        return;
    }
    let subscripted = path.strip_suffix("']").and_then(|path| path.split_once("['")).filter(|(path, key)| !path.is_empty() && !key.is_empty());
    match subscripted {
        Some(("metadata.annotations", key)) => messages(names::qualified_name(&key.to_lowercase()), &key.to_lowercase(), at, errors),
        Some(("metadata.labels", key)) => messages(names::qualified_name(key), key, at, errors),
        Some(_) => fail(errors, format!("field label does not support subscript: {path}")),
        None => match path {
            "metadata.annotations"
            | "metadata.labels"
            | "metadata.name"
            | "metadata.namespace"
            | "metadata.uid"
            | "spec.nodeName"
            | "spec.restartPolicy"
            | "spec.serviceAccountName"
            | "spec.schedulerName"
            | "status.phase"
            | "status.hostIP"
            | "status.hostIPs"
            | "status.podIP"
            | "status.podIPs" => {
                if !allowed.contains(&path) {
                    errors.push(Error::not_supported(&at.child("fieldPath"), path, allowed));
                }
            }
            "spec.host" => {
                if !allowed.contains(&"spec.nodeName") {
                    errors.push(Error::not_supported(&at.child("fieldPath"), "spec.nodeName", allowed));
                }
            }
            _ => fail(errors, format!("field label not supported: {path}")),
        },
    }
}

const RESOURCE_FIELDS: &[&str] =
    &["limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory"];
const BYTES_DIVISORS: &[&str] = &["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

/// An amount of a container, as the downward API gives it.
pub fn resource_field_selector(selector: Object<'_>, needs_container: bool, at: &Path<'_>, errors: &mut Errors) {
    let resource = selector.text("resource");
    let huge_pages = resource.starts_with("limits.hugepages-") || resource.starts_with("requests.hugepages-");
    if needs_container && selector.text("containerName").is_empty() {
        errors.push(Error::required(&at.child("containerName"), ""));
    } else if resource.is_empty() {
        errors.push(Error::required(&at.child("resource"), ""));
    } else if !RESOURCE_FIELDS.contains(&resource) && !huge_pages {
        errors.push(Error::not_supported(&at.child("resource"), resource, RESOURCE_FIELDS));
    }
    let Some(divisor) = resources::at(selector, "divisor").filter(|divisor| !divisor.is_zero()) else { return };
    let divisor = divisor.canonical();
    let (what, allowed): (&str, &[&str]) = match resource {
        "limits.cpu" | "requests.cpu" => {
            if !matches!(divisor.as_str(), "1m" | "1") {
                let detail = "only divisor's values 1m and 1 are supported with the cpu resource";
                errors.push(Error::invalid(&at.child("divisor"), resource, detail));
            }
            return;
        }
        "limits.memory" | "requests.memory" => ("memory", BYTES_DIVISORS),
        "limits.ephemeral-storage" | "requests.ephemeral-storage" => ("local ephemeral storage", BYTES_DIVISORS),
        _ if huge_pages => ("hugepages", BYTES_DIVISORS),
        _ => return,
    };
    if !allowed.contains(&divisor.as_str()) {
        let detail = format!("only divisor's values {} are supported with the {what} resource", allowed.join(", "));
        errors.push(Error::invalid(&at.child("divisor"), resource, detail));
    }
}

fn env_from(container: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    for (index, source) in container.items("envFrom").enumerate() {
        let at_source = at.index(index);
        let prefix = source.text("prefix");
        if !prefix.is_empty() {
            messages(names::relaxed_env_var_name(prefix), prefix, &at_source.child("prefix"), errors);
        }
        let mut sources = 0;
        for field in ["configMapRef", "secretRef"] {
            if let Some(reference) = source.child(field) {
                sources += 1;
                let at = at_source.child(field);
                if required(reference, "name", &at, "", errors) {
                    let name = reference.text("name");
                    let masked = names::mask_trailing_dash(name);
                    messages(names::dns1123_subdomain(&masked), name, &at.child("name"), errors);
                }
            }
        }
        match sources {
            0 => errors.push(Error::invalid(at, "", "must specify one of: `configMapRef` or `secretRef`")),
            1 => {}
            _ => errors.push(Error::invalid(at, "", "may not have more than one field specified at a time")),
        }
    }
}

/// Lifecycle and probes of a container that keeps running.
fn running(container: Object<'_>, pod: &Pod<'_>, at: &Path<'_>, errors: &mut Errors) {
    if let Some(lifecycle) = container.child("lifecycle") {
        let at = at.child("lifecycle");
        for field in ["postStart", "preStop"] {
            if let Some(action) = lifecycle.child(field) {
                handler(action, pod.grace_seconds, &at.child(field), errors);
            }
        }
        if lifecycle.has("stopSignal") {
            stop_signal(lifecycle, pod.os, &at.child("stopSignal"), errors);
        }
    }
    for field in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.child(field) else { continue };
        let at = at.child(field);
        handler(probe, pod.grace_seconds, &at, errors);
        for number in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
            not_negative(probe, number, &at, errors);
        }
        let grace = probe.int("terminationGracePeriodSeconds");
        if let Some(seconds) = grace
            && seconds <= 0
        {
            errors.push(Error::invalid(&at.child("terminationGracePeriodSeconds"), seconds, "must be greater than 0"));
        }
        match field {
            "readinessProbe" => {
                if let Some(seconds) = grace {
                    let at = at.child("terminationGracePeriodSeconds");
                    errors.push(Error::invalid(&at, seconds, "must not be set for readinessProbes"));
                }
            }
            _ if probe.number("successThreshold") != 1 => {
                errors.push(Error::invalid(&at.child("successThreshold"), probe.number("successThreshold"), "must be 1"));
            }
            _ => {}
        }
    }
}

fn handler(handler: Object<'_>, grace_seconds: Option<i64>, at: &Path<'_>, errors: &mut Errors) {
    let mut handlers = 0;
    for field in ["exec", "httpGet", "tcpSocket", "grpc", "sleep"] {
        let Some(action) = handler.child(field) else { continue };
        let at = at.child(field);
        if handlers > 0 {
            errors.push(Error::forbidden(&at, "may not specify more than 1 handler type"));
            continue;
        }
        handlers += 1;
        match field {
            "exec" => {
                required(action, "command", &at, "", errors);
            }
            "httpGet" => http_get(action, &at, errors),
            "tcpSocket" => port_or_name(action, "port", &at, errors),
            "grpc" => {
                port_number(action.number("port"), &at.child("port"), errors);
                one_of(action, "mode", &["Plaintext", "TLS"], &at, errors);
            }
            _ => {
                if let Some(grace) = grace_seconds
                    && !(0..=grace).contains(&action.number("seconds"))
                {
                    let detail = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
                    errors.push(Error::invalid(&at, action.number("seconds"), detail));
                }
            }
        }
    }
    if handlers == 0 {
        errors.push(Error::required(at, "must specify a handler type"));
    }
}

fn http_get(action: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    required(action, "path", at, "", errors);
    port_or_name(action, "port", at, errors);
    if !matches!(action.text("scheme"), "HTTP" | "HTTPS") {
        errors.push(Error::not_supported(&at.child("scheme"), action.text("scheme"), &["HTTP", "HTTPS"]));
    }
    for header in action.items("httpHeaders") {
        let name = header.text("name");
        messages(names::http_header_name(name), name, &at.child("httpHeaders"), errors);
    }
}

const WINDOWS_SIGNALS: &[&str] = &["SIGKILL", "SIGTERM"];

fn stop_signal(lifecycle: Object<'_>, os: Option<&str>, at: &Path<'_>, errors: &mut Errors) {
    let signal = lifecycle.text("stopSignal");
    match os {
        None => errors.push(Error::forbidden(at, "may not be set for containers with empty `spec.os.name`")),
        Some("windows") if !WINDOWS_SIGNALS.contains(&signal) => errors.push(Error::not_supported(at, signal, WINDOWS_SIGNALS)),
        Some(_) => {}
    }
}

fn resize_policy(container: Object<'_>, pod_restart_policy: &str, at: &Path<'_>, errors: &mut Errors) {
    let mut seen: Vec<&str> = Vec::new();
    for (index, policy) in container.items("resizePolicy").enumerate() {
        let (resource, restart) = (policy.text("resourceName"), policy.text("restartPolicy"));
        if seen.contains(&resource) {
            errors.push(Error::duplicate(&at.index(index), resource));
        }
        seen.push(resource);
        match resource {
            "cpu" | "memory" => {}
            "" => errors.push(Error::required(at, "")),
            other => errors.push(Error::not_supported(at, other, &["cpu", "memory"])),
        }
        match restart {
            "NotRequired" | "RestartContainer" => {}
            "" => errors.push(Error::required(at, "")),
            other => errors.push(Error::not_supported(at, other, &["NotRequired", "RestartContainer"])),
        }
        if pod_restart_policy == "Never" && restart != "NotRequired" {
            errors.push(Error::invalid(at, restart, "must be 'NotRequired' when pod `restartPolicy` is 'Never'"));
        }
    }
}

fn restart_rules(container: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    let rules = container.list("restartPolicyRules").len();
    if container.has("restartPolicy") {
        one_of(container, "restartPolicy", &["Always", "Never", "OnFailure"], at, errors);
    } else if rules == 0 {
        return;
    } else {
        errors.push(Error::required(&at.child("restartPolicy"), "must specify restartPolicy when restart rules are used"));
    }
    let at = at.child("restartPolicyRules");
    if rules > PORT_RULES_MAX {
        errors.push(Error::too_many(&at, rules, PORT_RULES_MAX));
    }
    for (index, rule) in container.items("restartPolicyRules").enumerate() {
        let at = at.index(index);
        if !matches!(rule.text("action"), "Restart" | "RestartAllContainers") {
            errors.push(Error::not_supported(&at.child("action"), rule.text("action"), &["Restart", "RestartAllContainers"]));
        }
        let Some(codes) = rule.child("exitCodes") else {
            errors.push(Error::required(&at.child("exitCodes"), "must be specified"));
            continue;
        };
        let at = at.child("exitCodes");
        if !matches!(codes.text("operator"), "In" | "NotIn") {
            errors.push(Error::not_supported(&at.child("operator"), codes.text("operator"), &["In", "NotIn"]));
        }
        if codes.list("values").len() > EXIT_CODES_MAX {
            errors.push(Error::too_many(&at.child("values"), codes.list("values").len(), EXIT_CODES_MAX));
        }
    }
}

/// A user or group id.
pub fn id(object: Object<'_>, field: &str, at: &Path<'_>, errors: &mut Errors) {
    if let Some(number) = object.int(field) {
        id_number(number, &at.child(field), errors);
    }
}

pub fn id_number(number: i64, at: &Path<'_>, errors: &mut Errors) {
    if !(0..=i64::from(i32::MAX)).contains(&number) {
        errors.push(Error::invalid(at, number, names::inclusive_range_message(0, i64::from(i32::MAX))));
    }
}

fn security_context(context: Object<'_>, host_users: bool, at: &Path<'_>, errors: &mut Errors) {
    id(context, "runAsUser", at, errors);
    id(context, "runAsGroup", at, errors);
    if let Some(mount) = context.text_opt("procMount") {
        one_of(context, "procMount", &["Default", "Unmasked"], at, errors);
        if host_users && mount == "Unmasked" {
            errors.push(Error::invalid(&at.child("procMount"), mount, "`hostUsers` must be false to use `Unmasked`"));
        }
    }
    seccomp(context, &at.child("seccompProfile"), errors);
    if context.flag_opt("allowPrivilegeEscalation") == Some(false) {
        let shown = || value::of(context, &context.tree.clone().into());
        if context.flag("privileged") {
            errors.push(Error::invalid(at, shown(), "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"));
        }
        if context.texts("capabilities.add").any(|capability| capability == "CAP_SYS_ADMIN") {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.push(Error::invalid(at, shown(), detail));
        }
    }
    app_armor(context, &at.child("appArmorProfile"), errors);
}

/// `seccompProfile` of a Pod or container.
pub fn seccomp(context: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    let Some(profile) = context.child("seccompProfile") else { return };
    match profile.text("type") {
        "" => errors.push(Error::required(&at.child("type"), "type is required when seccompProfile is set")),
        "Localhost" | "RuntimeDefault" | "Unconfined" => {}
        other => errors.push(Error::not_supported(&at.child("type"), other, &["Localhost", "RuntimeDefault", "Unconfined"])),
    }
    match (profile.text("type") == "Localhost", profile.text_opt("localhostProfile")) {
        (true, None) => errors.push(Error::required(&at.child("localhostProfile"), "must be set when seccomp type is Localhost")),
        (true, Some(path)) => volume::local_descending(path, &at.child("localhostProfile"), errors),
        (false, Some(_)) => {
            let shown = value::shown(context, "seccompProfile");
            errors.push(Error::invalid(&at.child("localhostProfile"), shown, "can only be set when seccomp type is Localhost"));
        }
        (false, None) => {}
    }
}

/// `appArmorProfile` of a Pod or container.
pub fn app_armor(context: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    const PROFILE_BYTES_MAX: usize = 4095;
    let Some(profile) = context.child("appArmorProfile") else { return };
    let at_profile = at.child("localhostProfile");
    match (profile.text("type"), profile.text_opt("localhostProfile")) {
        ("Localhost", None) => errors.push(Error::required(&at_profile, "must be set when AppArmor type is Localhost")),
        ("Localhost", Some(path)) => {
            if path.trim() != path {
                errors.push(Error::invalid(&at_profile, path, "must not be padded with whitespace"));
            } else if path.is_empty() {
                errors.push(Error::required(&at_profile, "must be set when AppArmor type is Localhost"));
            }
            if path.len() > PROFILE_BYTES_MAX {
                errors.push(Error::too_long(&at_profile, PROFILE_BYTES_MAX));
            }
        }
        ("RuntimeDefault" | "Unconfined", Some(path)) => {
            errors.push(Error::invalid(&at_profile, path, "can only be set when AppArmor type is Localhost"));
        }
        ("RuntimeDefault" | "Unconfined", None) => {}
        ("", _) => errors.push(Error::required(&at.child("type"), "type is required when appArmorProfile is set")),
        (other, _) => errors.push(Error::not_supported(&at.child("type"), other, &["Localhost", "RuntimeDefault", "Unconfined"])),
    }
}

/// Zero where a size is absent.
pub fn size(object: Object<'_>, path: &str) -> Quantity {
    resources::at(object, path).unwrap_or_else(Quantity::zero)
}
