//! PodSpec and PodTemplateSpec, wherever they occur.

use super::container::{self, Pod};
use super::resources::{self, Scope};
use super::{Errors, affinity, ip, messages, metadata, one_of, value, volume};
use crate::resource::Object;
use apiserver_machinery::field::{Error, Path};
use apiserver_machinery::names;
use regex::Regex;
use std::sync::LazyLock;

const NAMESERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;
const SEARCHES_CHARACTERS_MAX: usize = 2048;
const HOSTNAME_OVERRIDE_BYTES_MAX: usize = 64;
const SYSCTL_CHARACTERS_MAX: usize = 253;
const MIRROR_POD: &str = "kubernetes.io/config.mirror";

/// Whose spec it is: a Pod's own has a name and stricter rules for host ports.
#[derive(Clone, Copy)]
pub enum Owner<'a> {
    Pod { metadata: Object<'a> },
    Template,
}

/// A template in a workload: labels and annotations, and the spec.
pub fn template(template: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    if let Some(meta) = template.child("metadata") {
        let at = at.child("labels");
        errors.extend(apiserver_machinery::labels::validate(meta.pairs("labels"), &at));
    }
    if let Some(meta) = template.child("metadata") {
        metadata::annotations(meta, at, errors);
    }
    let spec = template.child("spec");
    if let (Some(meta), Some(spec)) = (template.child("metadata"), spec) {
        annotations(meta, spec, &at.child("annotations"), errors);
    }
    if let Some(spec) = spec {
        let at = at.child("spec");
        validate(spec, Owner::Template, &at, errors);
        if !spec.list("ephemeralContainers").is_empty() {
            errors.push(Error::forbidden(&at.child("ephemeralContainers"), "ephemeral containers not allowed in pod template"));
        }
    }
}

/// Annotations that mean something to the server.
pub fn annotations(meta: Object<'_>, spec: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
    for (key, value) in meta.pairs("annotations") {
        if key == MIRROR_POD && spec.text("nodeName").is_empty() {
            errors.push(Error::invalid(&at.key(key), value, "must set spec.nodeName if mirror pod annotation is set"));
        }
        let plain_number = value == "0" || !value.trim_start_matches('-').starts_with('0') && !value.starts_with('+');
        if key == DELETION_COST && !(plain_number && value.parse::<i32>().is_ok()) {
            errors.push(Error::invalid(&at.key(key), value, "must be a 32bit integer"));
        }
        if key == SECCOMP_POD || key.starts_with(SECCOMP_CONTAINER) {
            seccomp_annotation(value, &at.child(key), errors);
        }
    }
}

const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";

fn seccomp_annotation(profile: &str, at: &Path<'_>, errors: &mut Errors) {
    match profile.strip_prefix("localhost/") {
        Some(path) => volume::local_descending(path, at, errors),
        None if matches!(profile, "runtime/default" | "docker/default" | "unconfined") => {}
        None => errors.push(Error::invalid(at, profile, "must be a valid seccomp profile")),
    }
}

pub fn validate(spec: Object<'_>, owner: Owner<'_>, at: &Path<'_>, errors: &mut Errors) {
    let grace_seconds = spec.int("terminationGracePeriodSeconds");
    if grace_seconds.is_none() {
        errors.push(Error::required(&at.child("terminationGracePeriodSeconds"), ""));
    }
    let pod_name = match owner {
        Owner::Pod { metadata } => metadata.text("name"),
        Owner::Template => "",
    };
    let volumes = volume::volumes(spec, pod_name, at, errors);
    let pod = Pod {
        volumes,
        claims: spec.items("resourceClaims").map(|claim| claim.text("name")).filter(|name| !name.is_empty()).collect(),
        restart_policy: spec.text("restartPolicy"),
        grace_seconds,
        host_users: spec.flag_opt("hostUsers").unwrap_or(true),
        os: spec.child("os").map(|os| os.text("name")),
    };
    resource_claims(spec, owner, at, errors);
    container::containers(spec, &pod, at, errors);
    container::init_containers(spec, &pod, at, errors);
    container::ephemeral_containers(spec, &pod, at, errors);
    if let Some(wanted) = spec.child("resources") {
        let at = at.child("resources");
        if wanted.has("claims") {
            errors.push(Error::forbidden(&at.child("claims"), "claims may not be set for Resources at pod-level"));
        }
        resources::requirements(wanted, Scope::Pod, &pod.claims, &at, errors);
        pod_level_consistency(spec, wanted, &at, errors);
    }
    host_network_ports(spec, owner, at, errors);
    policies(spec, at, errors);
    errors.extend(apiserver_machinery::labels::validate(spec.pairs("nodeSelector"), &at.child("nodeSelector")));
    if let Some(context) = spec.child("securityContext") {
        security_context(context, spec, &at.child("securityContext"), errors);
    }
    if spec.flag("shareProcessNamespace") && spec.flag("hostPID") {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(Error::invalid(&at.child("shareProcessNamespace"), true, detail));
    }
    if let Some(wanted) = spec.child("affinity") {
        affinity::affinity(wanted, &at.child("affinity"), errors);
    }
    dns(spec, at, errors);
    gates(spec, at, errors);
    affinity::topology_spread(spec, at, errors);
    host_users(spec, at, errors);
    hostname(spec, at, errors);
    names_of(spec, at, errors);
    affinity::tolerations(spec, at, errors);
    host_aliases(spec, &at.child("hostAliases"), errors);
    if let Some(overhead) = spec.map("overhead") {
        for (name, value) in overhead.iter() {
            let at = at.child("overhead.limits");
            let at = at.key(name);
            resources::resource_name(name, &at, errors);
            resources::amount(name, &resources::quantity(value), &at, errors);
        }
    }
    os(spec, at, errors);
    scheduling_group(spec, at, errors);
    file_keys(spec, at, errors);
}

fn resource_claims(spec: Object<'_>, owner: Owner<'_>, at: &Path<'_>, errors: &mut Errors) {
    let at = at.child("resourceClaims");
    let mut seen: Vec<&str> = Vec::new();
    for (index, claim) in spec.items("resourceClaims").enumerate() {
        if let Owner::Pod { metadata } = owner
            && metadata.map("annotations").is_some_and(|annotations| annotations.get(MIRROR_POD).is_some())
        {
            errors.push(Error::forbidden(&Path::new(""), "static pods do not support resource claims"));
            return;
        }
        let at = at.index(index);
        let name = claim.text("name");
        if name.is_empty() {
            errors.push(Error::required(&at.child("name"), ""));
        } else if seen.contains(&name) {
            errors.push(Error::duplicate(&at.child("name"), name));
        } else {
            messages(names::dns1123_label(name), name, &at.child("name"), errors);
            seen.push(name);
        }
        let shown = || value::of(claim, &claim.tree.clone().into());
        match (claim.has("resourceClaimName"), claim.has("resourceClaimTemplateName")) {
            (true, true) => {
                let detail = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified";
                errors.push(Error::invalid(&at, shown(), detail));
            }
            (false, false) => {
                let detail = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`";
                errors.push(Error::invalid(&at, shown(), detail));
            }
            _ => {}
        }
        for field in ["resourceClaimName", "resourceClaimTemplateName"] {
            if let Some(name) = claim.text_opt(field) {
                messages(names::dns1123_subdomain(name), name, &at.child(field), errors);
            }
        }
    }
}

/// What a Pod as a whole may have covers what its containers ask for.
fn pod_level_consistency(spec: Object<'_>, wanted: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    let requests_at = at.child("requests");
    for (name, sum) in crate::resource::pod_resources::aggregate(spec, "requests") {
        let Some(asked) = wanted.map("requests").and_then(|map| map.get(name)).map(resources::quantity) else { continue };
        if sum > asked {
            let detail = format!("must be greater than or equal to aggregate container requests of {sum}");
            errors.push(Error::invalid(&requests_at.key(name), asked.to_string().as_str(), detail));
        }
    }
    for (index, container) in spec.items("containers").enumerate() {
        for (name, limit) in container.entries("resources.limits") {
            let limit = resources::quantity(limit);
            let Some(allowed) = wanted.map("limits").and_then(|map| map.get(name)).map(resources::quantity) else { continue };
            if limit > allowed {
                let at = at.child("containers");
                let at = at.index(index);
                let detail = format!("must be less than or equal to pod limits of {allowed}");
                errors.push(Error::invalid(&at.key(name).child("limits"), limit.to_string().as_str(), detail));
            }
        }
    }
}

fn host_network_ports(spec: Object<'_>, owner: Owner<'_>, at: &Path<'_>, errors: &mut Errors) {
    if !spec.flag("hostNetwork") {
        return;
    }
    for (index, own) in spec.items("containers").enumerate() {
        let at = at.child("containers");
        let at = at.index(index);
        for (index, port) in own.items("ports").enumerate() {
            let host_port = port.number("hostPort");
            let checked = matches!(owner, Owner::Pod { .. }) || host_port != 0;
            if checked && host_port != port.number("containerPort") {
                let at = at.child("ports");
                let detail = "must match `containerPort` when `hostNetwork` is true";
                errors.push(Error::invalid(&at.index(index).child("hostPort"), host_port, detail));
            }
        }
    }
}

fn policies(spec: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    let sets: [(&str, &[&str]); 2] =
        [("restartPolicy", &["Always", "OnFailure", "Never"]), ("dnsPolicy", &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"])];
    for (field, allowed) in sets {
        if super::required(spec, field, at, "", errors) {
            one_of(spec, field, allowed, at, errors);
        }
    }
    match spec.text_opt("preemptionPolicy") {
        Some("") => errors.push(Error::required(&at.child("preemptionPolicy"), "")),
        _ => one_of(spec, "preemptionPolicy", &["PreemptLowerPriority", "Never"], at, errors),
    }
}

fn security_context(context: Object<'_>, spec: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    for field in ["fsGroup", "runAsUser", "runAsGroup"] {
        container::id(context, field, at, errors);
    }
    for (index, group) in context.list("supplementalGroups").iter().enumerate() {
        container::id_number(group.as_int().unwrap_or_default(), &at.child("supplementalGroups").index(index), errors);
    }
    sysctls(context, spec, &at.child("sysctls"), errors);
    one_of(context, "fsGroupChangePolicy", &["Always", "OnRootMismatch"], at, errors);
    container::seccomp(context, &at.child("seccompProfile"), errors);
    container::app_armor(context, &at.child("appArmorProfile"), errors);
    one_of(context, "supplementalGroupsPolicy", &["Merge", "Strict"], at, errors);
    one_of(context, "seLinuxChangePolicy", &["MountOption", "Recursive"], at, errors);
}

fn sysctls(context: Object<'_>, spec: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    const FORM: &str = r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
    static REGEX: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(FORM).ok());
    let mut seen: Vec<&str> = Vec::new();
    for (index, sysctl) in context.items("sysctls").enumerate() {
        let at = at.index(index);
        let at = at.child("name");
        let name = sysctl.text("name");
        if name.is_empty() {
            errors.push(Error::required(&at, ""));
        } else if name.len() > SYSCTL_CHARACTERS_MAX || !REGEX.as_ref().is_some_and(|regex| regex.is_match(name)) {
            let detail = format!("must have at most {SYSCTL_CHARACTERS_MAX} characters and match regex {FORM}");
            errors.push(Error::invalid(&at, name, detail));
        } else if seen.contains(&name) {
            errors.push(Error::duplicate(&at, name));
        }
        let dotted = name.replace('/', ".");
        if spec.flag("hostNetwork") && dotted.starts_with("net.") {
            errors.push(Error::invalid(&at, name, "may not be specified when 'hostNetwork' is true"));
        }
        let ipc = ["kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."].iter().any(|prefix| dotted.starts_with(prefix));
        if spec.flag("hostIPC") && ipc {
            errors.push(Error::invalid(&at, name, "may not be specified when 'hostIPC' is true"));
        }
        seen.push(name);
    }
}

fn dns(spec: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    let at = at.child("dnsConfig");
    let config = spec.child("dnsConfig");
    if spec.text("dnsPolicy") == "None" {
        let Some(config) = config else {
            errors.push(Error::required(&at, "must provide `dnsConfig` when `dnsPolicy` is None"));
            return;
        };
        if config.list("nameservers").is_empty() {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            errors.push(Error::required(&at.child("nameservers"), detail));
            return;
        }
    }
    let Some(config) = config else { return };
    if config.list("nameservers").len() > NAMESERVERS_MAX {
        let detail = format!("must not have more than {NAMESERVERS_MAX} nameservers");
        errors.push(Error::invalid(&at.child("nameservers"), value::shown(config, "nameservers"), detail));
    }
    for (index, server) in config.texts("nameservers").enumerate() {
        ip::address(server, &at.child("nameservers").index(index), errors);
    }
    let searches_at = at.child("searches");
    if config.list("searches").len() > SEARCHES_MAX {
        let detail = format!("must not have more than {SEARCHES_MAX} search paths");
        errors.push(Error::invalid(&searches_at, value::shown(config, "searches"), detail));
    }
    if config.texts("searches").map(|search| search.len() + 1).sum::<usize>().saturating_sub(1) > SEARCHES_CHARACTERS_MAX {
        let detail = format!("must not have more than {SEARCHES_CHARACTERS_MAX} characters (including spaces) in the search list");
        errors.push(Error::invalid(&searches_at, value::shown(config, "searches"), detail));
    }
    for (index, search) in config.texts("searches").enumerate() {
        if search != "." {
            let search = search.strip_suffix('.').unwrap_or(search);
            messages(names::dns1123_subdomain_with_underscore(search), search, &searches_at.index(index), errors);
        }
    }
    for (index, option) in config.items("options").enumerate() {
        if option.text("name").is_empty() {
            errors.push(Error::required(&at.child("options").index(index), "must not be empty"));
        }
    }
}

fn gates(spec: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    for (index, gate) in spec.items("readinessGates").enumerate() {
        let at = at.child("readinessGates");
        let name = gate.text("conditionType");
        messages(names::qualified_name(name), name, &at.index(index).child("conditionType"), errors);
    }
    let mut seen: Vec<&str> = Vec::new();
    for (index, gate) in spec.items("schedulingGates").enumerate() {
        let at = at.child("schedulingGates");
        let name = gate.text("name");
        messages(names::qualified_name(name), name, &at.index(index), errors);
        if seen.contains(&name) {
            errors.push(Error::duplicate(&at.index(index), name));
        }
        seen.push(name);
    }
}

fn host_users(spec: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    if spec.flag_opt("hostUsers").unwrap_or(true) {
        return;
    }
    for (field, shown) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if spec.flag(field) {
            errors.push(Error::forbidden(&at.child(shown), "when `hostUsers` is false"));
        }
    }
}

fn hostname(spec: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    let Some(name) = spec.text_opt("hostnameOverride") else { return };
    let at = at.child("hostnameOverride");
    if spec.flag("setHostnameAsFQDN") {
        errors.push(Error::forbidden(&at, "may not be specified when setHostnameAsFQDN is true"));
    }
    if spec.flag("hostNetwork") {
        errors.push(Error::forbidden(&at, "may not be specified when hostNetwork is true"));
    }
    if name.len() > HOSTNAME_OVERRIDE_BYTES_MAX {
        errors.push(Error::too_long(&at, HOSTNAME_OVERRIDE_BYTES_MAX));
    }
    messages(names::dns1123_subdomain(name), name, &at, errors);
}

fn names_of(spec: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    for field in ["serviceAccountName", "nodeName", "priorityClassName", "runtimeClassName"] {
        if let Some(name) = spec.text_opt(field).filter(|name| !name.is_empty() || field == "runtimeClassName") {
            messages(names::dns1123_subdomain(name), name, &at.child(field), errors);
        }
    }
    if let Some(seconds) = spec.int("activeDeadlineSeconds")
        && !(1..=i64::from(i32::MAX)).contains(&seconds)
    {
        let detail = names::inclusive_range_message(1, i64::from(i32::MAX));
        errors.push(Error::invalid(&at.child("activeDeadlineSeconds"), seconds, detail));
    }
    for field in ["hostname", "subdomain"] {
        let name = spec.text(field);
        if !name.is_empty() {
            messages(names::dns1123_label(name), name, &at.child(field), errors);
        }
    }
}

fn host_aliases(spec: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    for (index, alias) in spec.items("hostAliases").enumerate() {
        let at = at.index(index);
        ip::address(alias.text("ip"), &at.child("ip"), errors);
        for (index, name) in alias.texts("hostnames").enumerate() {
            messages(names::dns1123_subdomain(name), name, &at.child("hostnames").index(index), errors);
        }
    }
}

/// Fields of a Pod and of its containers that mean nothing to Windows.
const NOT_WINDOWS_POD: [&str; 11] = [
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "fsGroup",
    "fsGroupChangePolicy",
    "sysctls",
    "runAsUser",
    "runAsGroup",
    "supplementalGroups",
    "supplementalGroupsPolicy",
    "seLinuxChangePolicy",
];
const NOT_WINDOWS_CONTAINER: [&str; 10] = [
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
];

fn os(spec: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    let Some(os) = spec.child("os") else { return };
    let forbid = |field: Option<Object<'_>>, names: &[&str], at: &Path<'_>, detail: &str, errors: &mut Errors| {
        for name in names.iter().filter(|name| field.is_some_and(|context| context.has(name))) {
            errors.push(Error::forbidden(&at.child("securityContext").child(name), detail));
        }
    };
    let (pod_fields, container_fields, detail): (&[&str], &[&str], &str) = match os.text("name") {
        "" => {
            errors.push(Error::required(&at.child("os").child("name"), ""));
            return;
        }
        "linux" => (&["windowsOptions"], &["windowsOptions"], "windows options cannot be set for a linux pod"),
        "windows" => (&NOT_WINDOWS_POD, &NOT_WINDOWS_CONTAINER, "cannot be set for a windows pod"),
        other => {
            errors.push(Error::not_supported(&at.child("os"), other, &["linux", "windows"]));
            return;
        }
    };
    forbid(spec.child("securityContext"), pod_fields, at, detail, errors);
    if os.text("name") == "windows" {
        for field in ["hostUsers", "shareProcessNamespace"] {
            if spec.has(field) {
                errors.push(Error::forbidden(&at.child(field), detail));
            }
        }
        for field in ["hostPID", "hostIPC"] {
            if spec.flag(field) {
                errors.push(Error::forbidden(&at.child(field), detail));
            }
        }
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for (index, own) in spec.items(list).enumerate() {
            forbid(own.child("securityContext"), container_fields, &at.child(list).index(index), detail, errors);
        }
    }
}

fn scheduling_group(spec: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    let Some(group) = spec.child("schedulingGroup") else { return };
    let at = at.child("schedulingGroup");
    match group.text_opt("podGroupName") {
        None => {
            let shown = value::shown(group, "podGroupName");
            errors.push(Error::invalid(&at.child("podGroupName"), shown, "must specify one of: `podGroupName`"));
        }
        Some(name) => messages(names::dns1123_subdomain(name), name, &at.child("podGroupName"), errors),
    }
}

/// Variables read from files come from an emptyDir of the Pod.
fn file_keys(spec: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for (index, own) in spec.items(list).enumerate() {
            let at = at.child(list);
            let at = at.index(index);
            for (index, variable) in own.items("env").enumerate() {
                let Some(key) = variable.child("valueFrom.fileKeyRef") else { continue };
                let name = key.text("volumeName");
                let at = at.child("env");
                let at = at.index(index);
                let at = at.child("valueFrom.fileKeyRef.volumeName");
                match spec.items("volumes").find(|volume| volume.text("name") == name) {
                    None => errors.push(Error::not_found(&at, name)),
                    Some(volume) if !volume.has("emptyDir") => {
                        errors.push(Error::invalid(&at, name, "referenced volume must be of type emptyDir"));
                    }
                    Some(_) => {}
                }
            }
        }
    }
}
