//! The single controls of the Pod Security Standards, and since which version each is as it is.

use super::{Level, Standard};
use crate::resource::Object;
use std::collections::BTreeSet;

/// One control that a Pod does not meet.
#[derive(Debug, PartialEq, Eq)]
pub struct Violation {
    pub reason: &'static str,
    pub detail: String,
}

/// A Pod, or the Pod of a template.
#[derive(Clone, Copy)]
struct Pod<'a> {
    object: Object<'a>,
    spec: Option<Object<'a>>,
    annotations: &'a str,
    /// Of the standard; the latest is higher than any.
    minor: u32,
}

type Check = fn(Pod<'_>) -> Option<Violation>;

/// The controls of the baseline, in the order in which they are told, with the minor version that brought each.
const BASELINE: [(u32, Check); 12] = [
    (0, app_armor),
    (0, capabilities_baseline),
    (0, host_namespaces),
    (0, host_path_volumes),
    (0, host_ports),
    (34, probe_hosts),
    (0, privileged),
    (0, proc_mount),
    (0, se_linux),
    (0, seccomp_baseline),
    (0, sysctls),
    (0, windows_host_process),
];

/// A control of the restricted level.
struct Stricter {
    since: u32,
    /// The control of the baseline that it makes needless.
    instead_of: Option<Check>,
    check: Check,
}

const fn stricter(since: u32, instead_of: Option<Check>, check: Check) -> Stricter {
    Stricter { since, instead_of, check }
}

/// What the restricted level adds.
const RESTRICTED: [Stricter; 7] = [
    stricter(8, None, privilege_escalation),
    stricter(22, Some(capabilities_baseline), capabilities_restricted),
    stricter(35, Some(proc_mount), proc_mount_restricted),
    stricter(0, Some(host_path_volumes), restricted_volumes),
    stricter(0, None, run_as_non_root),
    stricter(23, None, run_as_user),
    stricter(19, Some(seccomp_baseline), seccomp_restricted),
];

/// What of a standard the Pod at `spec` does not meet.
pub fn run(standard: Standard, object: Object<'_>, spec: &str, annotations: &str) -> Vec<Violation> {
    if standard.level == Level::Privileged {
        return Vec::new();
    }
    let pod = Pod { object, spec: object.child(spec), annotations, minor: standard.version.unwrap_or(u32::MAX) };
    let restricted = standard.level == Level::Restricted;
    let stricter: Vec<&Stricter> = RESTRICTED.iter().filter(|stricter| restricted && pod.minor >= stricter.since).collect();
    let replaced = |check: Check| stricter.iter().filter_map(|stricter| stricter.instead_of).any(|other| std::ptr::fn_addr_eq(other, check));
    let baseline = BASELINE.iter().filter(|(since, check)| pod.minor >= *since && !replaced(*check)).map(|(_, check)| check);
    baseline.copied().chain(stricter.iter().map(|stricter| stricter.check)).filter_map(|check| check(pod)).collect()
}

impl<'a> Pod<'a> {
    fn get(self, path: &str) -> Option<Object<'a>> {
        self.spec.and_then(|spec| spec.child(path))
    }

    fn flag(self, path: &str) -> Option<bool> {
        self.spec.and_then(|spec| spec.flag_opt(path))
    }

    fn text(self, path: &str) -> &'a str {
        self.spec.map_or("", |spec| spec.text(path))
    }

    fn containers(self) -> impl Iterator<Item = Object<'a>> {
        ["initContainers", "containers", "ephemeralContainers"]
            .into_iter()
            .flat_map(move |list| self.spec.into_iter().flat_map(move |spec| spec.items(list)))
    }

    fn volumes(self) -> impl Iterator<Item = Object<'a>> {
        self.spec.into_iter().flat_map(|spec| spec.items("volumes"))
    }

    /// The names of the containers that are bad.
    fn bad(self, mut is_bad: impl FnMut(Object<'a>) -> bool) -> Vec<&'a str> {
        self.containers().filter(|container| is_bad(*container)).map(|container| container.text("name")).collect()
    }

    fn is_windows(self) -> bool {
        self.minor >= 25 && self.text("os.name") == "windows"
    }

    /// A Pod in a user namespace is root only there.
    fn in_user_namespace(self) -> bool {
        self.minor >= 35 && self.flag("hostUsers") == Some(false)
    }
}

/// `"a", "b"`
fn quoted<'a>(items: impl IntoIterator<Item = &'a str>) -> String {
    let items: Vec<_> = items.into_iter().map(|item| format!("\"{item}\"")).collect();
    items.join(", ")
}

fn plural(one: &'static str, many: &'static str, count: usize) -> &'static str {
    if count == 1 { one } else { many }
}

/// `containers "a", "b"`
fn named(containers: &[&str]) -> String {
    format!("{} {}", plural("container", "containers", containers.len()), quoted(containers.iter().copied()))
}

/// `pod and container "a"`: who sets something, at Pod level or in containers.
fn setters(pod: bool, containers: &[&str]) -> Option<String> {
    match (pod, containers.is_empty()) {
        (false, true) => None,
        (true, true) => Some("pod".into()),
        (false, false) => Some(named(containers)),
        (true, false) => Some(format!("pod and {}", named(containers))),
    }
}

fn violation(reason: &'static str, detail: String) -> Option<Violation> {
    Some(Violation { reason, detail })
}

fn privileged(pod: Pod<'_>) -> Option<Violation> {
    let bad = pod.bad(|container| container.flag("securityContext.privileged"));
    if bad.is_empty() { None } else { violation("privileged", format!("{} must not set securityContext.privileged=true", named(&bad))) }
}

fn host_namespaces(pod: Pod<'_>) -> Option<Violation> {
    let set: Vec<_> = ["hostNetwork", "hostPID", "hostIPC"]
        .into_iter()
        .filter(|field| pod.flag(field) == Some(true))
        .map(|field| format!("{field}=true"))
        .collect();
    if set.is_empty() { None } else { violation("host namespaces", set.join(", ")) }
}

fn host_path_volumes(pod: Pod<'_>) -> Option<Violation> {
    let bad: Vec<_> = pod.volumes().filter(|volume| volume.has("hostPath")).map(|volume| volume.text("name")).collect();
    if bad.is_empty() {
        None
    } else {
        violation("hostPath volumes", format!("{} {}", plural("volume", "volumes", bad.len()), quoted(bad.iter().copied())))
    }
}

fn host_ports(pod: Pod<'_>) -> Option<Violation> {
    let mut ports: BTreeSet<String> = BTreeSet::new();
    let bad = pod.bad(|container| {
        let own: Vec<_> = container.items("ports").map(|port| port.number("hostPort")).filter(|port| *port != 0).collect();
        ports.extend(own.iter().map(ToString::to_string));
        !own.is_empty()
    });
    if bad.is_empty() {
        return None;
    }
    let list: Vec<_> = ports.iter().map(String::as_str).collect();
    let (uses, noun) = (plural("uses", "use", bad.len()), plural("hostPort", "hostPorts", list.len()));
    violation("hostPort", format!("{} {uses} {noun} {}", named(&bad), list.join(", ")))
}

fn probe_hosts(pod: Pod<'_>) -> Option<Violation> {
    let mut hosts = BTreeSet::new();
    let bad: BTreeSet<&str> = pod
        .bad(|container| {
            let before = hosts.len();
            let mut found = false;
            for handler in ["livenessProbe", "readinessProbe", "startupProbe", "lifecycle.postStart", "lifecycle.preStop"] {
                for action in ["httpGet", "tcpSocket"] {
                    let host = container.text(&format!("{handler}.{action}.host"));
                    if !host.is_empty() {
                        hosts.insert(host);
                        found = true;
                    }
                }
            }
            found || hosts.len() > before
        })
        .into_iter()
        .collect();
    if bad.is_empty() {
        return None;
    }
    let bad: Vec<_> = bad.into_iter().collect();
    let (uses, noun) = (plural("uses", "use", bad.len()), plural("probe or lifecycle host", "probe or lifecycle hosts", hosts.len()));
    violation("probe or lifecycle host", format!("{} {uses} {noun} {}", named(&bad), quoted(hosts)))
}

const CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

fn capabilities_baseline(pod: Pod<'_>) -> Option<Violation> {
    let mut added = BTreeSet::new();
    let bad = pod.bad(|container| {
        let own: Vec<_> = container.texts("securityContext.capabilities.add").filter(|name| !CAPABILITIES.contains(name)).collect();
        added.extend(own.iter().copied());
        !own.is_empty()
    });
    if bad.is_empty() {
        return None;
    }
    violation("non-default capabilities", format!("{} must not include {} in securityContext.capabilities.add", named(&bad), quoted(added)))
}

fn capabilities_restricted(pod: Pod<'_>) -> Option<Violation> {
    if pod.is_windows() {
        return None;
    }
    let keeping = pod.bad(|container| !container.texts("securityContext.capabilities.drop").any(|name| name == "ALL"));
    let mut added = BTreeSet::new();
    let adding = pod.bad(|container| {
        let own: Vec<_> = container.texts("securityContext.capabilities.add").filter(|name| *name != "NET_BIND_SERVICE").collect();
        added.extend(own.iter().copied());
        !own.is_empty()
    });
    let mut details = Vec::new();
    if !keeping.is_empty() {
        details.push(format!(r#"{} must set securityContext.capabilities.drop=["ALL"]"#, named(&keeping)));
    }
    if !adding.is_empty() {
        details.push(format!("{} must not include {} in securityContext.capabilities.add", named(&adding), quoted(added)));
    }
    if details.is_empty() { None } else { violation("unrestricted capabilities", details.join("; ")) }
}

fn proc_mount(pod: Pod<'_>) -> Option<Violation> {
    if pod.in_user_namespace() {
        return None;
    }
    proc_mount_restricted(pod)
}

fn proc_mount_restricted(pod: Pod<'_>) -> Option<Violation> {
    let mut kinds = BTreeSet::new();
    let bad = pod.bad(|container| {
        let kind = container.text_opt("securityContext.procMount").filter(|kind| *kind != "Default");
        kinds.extend(kind);
        kind.is_some()
    });
    if bad.is_empty() { None } else { violation("procMount", format!("{} must not set securityContext.procMount to {}", named(&bad), quoted(kinds))) }
}

fn app_armor(pod: Pod<'_>) -> Option<Violation> {
    const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";
    let forbidden = |profile: Option<&str>| profile.is_some_and(|kind| !matches!(kind, "RuntimeDefault" | "Localhost"));
    let own = pod.spec.and_then(|spec| spec.text_opt("securityContext.appArmorProfile.type"));
    let mut values: BTreeSet<&str> = own.filter(|_| forbidden(own)).into_iter().collect();
    let bad = pod.bad(|container| {
        let kind = container.text_opt("securityContext.appArmorProfile.type");
        values.extend(kind.filter(|_| forbidden(kind)));
        forbidden(kind)
    });
    let allowed = |value: &str| value.is_empty() || value == "runtime/default" || value.starts_with("localhost/");
    let annotations: BTreeSet<String> = pod
        .object
        .pairs(pod.annotations)
        .filter(|(key, value)| key.starts_with(ANNOTATION) && !allowed(value))
        .map(|(key, value)| format!("{key}={}", apiserver_machinery::text::quote(value)))
        .collect();
    let mut who: Vec<String> = setters(forbidden(own), &bad).into_iter().collect();
    if !annotations.is_empty() {
        who.push(plural("annotation", "annotations", annotations.len()).into());
    }
    if who.is_empty() {
        return None;
    }
    let list: Vec<&str> = values.into_iter().chain(annotations.iter().map(String::as_str)).collect();
    let reason = plural("forbidden AppArmor profile", "forbidden AppArmor profiles", list.len());
    violation(reason, format!("{} must not set AppArmor profile type to {}", who.join(" and "), quoted(list)))
}

fn se_linux(pod: Pod<'_>) -> Option<Violation> {
    let (mut kinds, mut user, mut role) = (BTreeSet::new(), false, false);
    let mut is_bad = |options: Option<Object<'_>>| {
        let Some(options) = options else { return false };
        let kind = options.text("type");
        let known = matches!(kind, "" | "container_t" | "container_init_t" | "container_kvm_t") || (pod.minor >= 31 && kind == "container_engine_t");
        let (sets_user, sets_role) = (!options.text("user").is_empty(), !options.text("role").is_empty());
        if !known {
            kinds.insert(kind.to_owned());
        }
        user |= sets_user;
        role |= sets_role;
        !known || sets_user || sets_role
    };
    let own = is_bad(pod.get("securityContext.seLinuxOptions"));
    let bad = pod.bad(|container| is_bad(container.child("securityContext.seLinuxOptions")));
    let who = setters(own, &bad)?;
    let mut data = Vec::new();
    if !kinds.is_empty() {
        data.push(format!("{} {}", plural("type", "types", kinds.len()), quoted(kinds.iter().map(String::as_str))));
    }
    if user {
        data.push("user may not be set".into());
    }
    if role {
        data.push("role may not be set".into());
    }
    violation("seLinuxOptions", format!("{who} set forbidden securityContext.seLinuxOptions: {}", data.join("; ")))
}

fn seccomp_ok(kind: &str) -> bool {
    matches!(kind, "RuntimeDefault" | "Localhost")
}

const SECCOMP: &str = "securityContext.seccompProfile.type";

fn seccomp_baseline(pod: Pod<'_>) -> Option<Violation> {
    if pod.minor < 19 {
        return seccomp_annotations(pod);
    }
    seccomp_explicit(pod)
}

/// Profiles stood in annotations before they had a field.
fn seccomp_annotations(pod: Pod<'_>) -> Option<Violation> {
    const POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
    const CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
    let keys = std::iter::once(POD.to_owned()).chain(pod.containers().map(|container| format!("{CONTAINER}{}", container.text("name"))));
    let annotations = pod.object.map(pod.annotations);
    let value = |key: &str| annotations.and_then(|map| map.get(key)).and_then(apiserver_machinery::tree::Value::as_str);
    let allowed = |value: &str| matches!(value, "runtime/default" | "docker/default") || value.starts_with("localhost/");
    let bad: BTreeSet<String> = keys
        .filter_map(|key| value(&key).filter(|value| !allowed(value)).map(|value| format!("{key}={}", apiserver_machinery::text::quote(value))))
        .collect();
    if bad.is_empty() {
        return None;
    }
    let list: Vec<_> = bad.iter().map(String::as_str).collect();
    violation("seccompProfile", format!("forbidden {} {}", plural("annotation", "annotations", list.len()), list.join(", ")))
}

fn seccomp_explicit(pod: Pod<'_>) -> Option<Violation> {
    let own = pod.spec.and_then(|spec| spec.text_opt(SECCOMP)).filter(|kind| !seccomp_ok(kind));
    let mut kinds: BTreeSet<&str> = own.into_iter().collect();
    let bad = pod.bad(|container| {
        let kind = container.text_opt(SECCOMP).filter(|kind| !seccomp_ok(kind));
        kinds.extend(kind);
        kind.is_some()
    });
    let who = setters(own.is_some(), &bad)?;
    violation("seccompProfile", format!("{who} must not set securityContext.seccompProfile.type to {}", quoted(kinds)))
}

fn seccomp_restricted(pod: Pod<'_>) -> Option<Violation> {
    if pod.is_windows() {
        return None;
    }
    if let Some(explicit) = seccomp_explicit(pod) {
        return Some(explicit);
    }
    let pod_sets = !pod.text(SECCOMP).is_empty();
    let bad = pod.bad(|container| !pod_sets && container.text_opt(SECCOMP).is_none());
    if bad.is_empty() {
        return None;
    }
    violation("seccompProfile", format!(r#"pod or {} must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost""#, named(&bad)))
}

/// Sysctls that concern the Pod alone, with the minor version since which they are known as such.
const SYSCTLS: [(u32, &str); 14] = [
    (0, "kernel.shm_rmid_forced"),
    (0, "net.ipv4.ip_local_port_range"),
    (0, "net.ipv4.tcp_syncookies"),
    (0, "net.ipv4.ping_group_range"),
    (0, "net.ipv4.ip_unprivileged_port_start"),
    (27, "net.ipv4.ip_local_reserved_ports"),
    (29, "net.ipv4.tcp_keepalive_time"),
    (29, "net.ipv4.tcp_fin_timeout"),
    (29, "net.ipv4.tcp_keepalive_intvl"),
    (29, "net.ipv4.tcp_keepalive_probes"),
    (32, "net.ipv4.tcp_rmem"),
    (32, "net.ipv4.tcp_wmem"),
    (37, "net.ipv4.tcp_slow_start_after_idle"),
    (37, "net.ipv4.tcp_notsent_lowat"),
];

fn sysctls(pod: Pod<'_>) -> Option<Violation> {
    let allowed = |name: &str| SYSCTLS.iter().any(|(since, own)| pod.minor >= *since && *own == name);
    let names = pod.spec.into_iter().flat_map(|spec| spec.items("securityContext.sysctls")).map(|sysctl| sysctl.text("name"));
    let bad: Vec<_> = names.filter(|name| !allowed(name)).collect();
    if bad.is_empty() { None } else { violation("forbidden sysctls", bad.join(", ")) }
}

fn windows_host_process(pod: Pod<'_>) -> Option<Violation> {
    const FIELD: &str = "securityContext.windowsOptions.hostProcess";
    let bad = pod.bad(|container| container.flag(FIELD));
    let who = setters(pod.flag(FIELD) == Some(true), &bad)?;
    violation("hostProcess", format!("{who} must not set {FIELD}=true"))
}

fn privilege_escalation(pod: Pod<'_>) -> Option<Violation> {
    if pod.is_windows() {
        return None;
    }
    let bad = pod.bad(|container| container.flag_opt("securityContext.allowPrivilegeEscalation") != Some(false));
    if bad.is_empty() {
        return None;
    }
    violation("allowPrivilegeEscalation != false", format!("{} must set securityContext.allowPrivilegeEscalation=false", named(&bad)))
}

const VOLUMES_ALLOWED: [&str; 9] =
    ["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret"];
const VOLUMES_FORBIDDEN: [&str; 21] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "gitRepo",
    "nfs",
    "iscsi",
    "glusterfs",
    "rbd",
    "flexVolume",
    "cinder",
    "cephfs",
    "flocker",
    "fc",
    "azureFile",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
    "storageos",
];

fn restricted_volumes(pod: Pod<'_>) -> Option<Violation> {
    let mut kinds = BTreeSet::new();
    let bad: Vec<_> = pod
        .volumes()
        .filter(|volume| !VOLUMES_ALLOWED.iter().any(|kind| volume.has(kind)))
        .map(|volume| {
            kinds.insert(VOLUMES_FORBIDDEN.into_iter().find(|kind| volume.has(kind)).unwrap_or("unknown"));
            volume.text("name")
        })
        .collect();
    if bad.is_empty() {
        return None;
    }
    let (noun, uses, kind) = (
        plural("volume", "volumes", bad.len()),
        plural("uses", "use", bad.len()),
        plural("restricted volume type", "restricted volume types", kinds.len()),
    );
    violation("restricted volume types", format!("{noun} {} {uses} {kind} {}", quoted(bad.iter().copied()), quoted(kinds)))
}

fn run_as_non_root(pod: Pod<'_>) -> Option<Violation> {
    const FIELD: &str = "securityContext.runAsNonRoot";
    const REASON: &str = "runAsNonRoot != true";
    if pod.in_user_namespace() {
        return None;
    }
    let own = pod.flag(FIELD);
    let explicit = pod.bad(|container| container.flag_opt(FIELD) == Some(false));
    if let Some(who) = setters(own == Some(false), &explicit) {
        return violation(REASON, format!("{who} must not set {FIELD}=false"));
    }
    let silent = pod.bad(|container| own != Some(true) && container.flag_opt(FIELD).is_none());
    if silent.is_empty() { None } else { violation(REASON, format!("pod or {} must set {FIELD}=true", named(&silent))) }
}

fn run_as_user(pod: Pod<'_>) -> Option<Violation> {
    const FIELD: &str = "securityContext.runAsUser";
    if pod.in_user_namespace() {
        return None;
    }
    let bad = pod.bad(|container| container.int(FIELD) == Some(0));
    let own = pod.spec.and_then(|spec| spec.int(FIELD)) == Some(0);
    violation("runAsUser=0", format!("{} must not set runAsUser=0", setters(own, &bad)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::testing;

    fn check(level: Level, minor: Option<u32>, spec: &str, expect: &[&str]) {
        let tree = testing::tree("", "Pod", &format!(r#"{{"spec":{spec}}}"#));
        let seen = run(Standard { level, version: minor }, testing::object(&tree), "spec", "metadata.annotations");
        let seen: Vec<_> = seen.iter().map(|violation| format!("{} ({})", violation.reason, violation.detail)).collect();
        assert_eq!(seen, expect, "{spec}");
    }

    #[test]
    fn each_control_of_the_baseline_tells_what_it_found() {
        let check = |spec: &str, expect: &str| check(Level::Baseline, None, spec, &[expect]);
        let c = |more: &str| format!(r#"{{"containers":[{{"name":"a",{more}}},{{"name":"b",{more}}}]}}"#);
        check(r#"{"hostNetwork":true,"hostPID":true}"#, "host namespaces (hostNetwork=true, hostPID=true)");
        check(r#"{"volumes":[{"name":"v","hostPath":{"path":"/"}}]}"#, r#"hostPath volumes (volume "v")"#);
        check(&c(r#""ports":[{"containerPort":1,"hostPort":80}]"#), r#"hostPort (containers "a", "b" use hostPort 80)"#);
        check(
            &c(r#""securityContext":{"capabilities":{"add":["SYS_ADMIN","CHOWN"]}}"#),
            r#"non-default capabilities (containers "a", "b" must not include "SYS_ADMIN" in securityContext.capabilities.add)"#,
        );
        check(
            &c(r#""securityContext":{"procMount":"Unmasked"}"#),
            r#"procMount (containers "a", "b" must not set securityContext.procMount to "Unmasked")"#,
        );
        check(
            r#"{"securityContext":{"seLinuxOptions":{"type":"x_t","user":"u"}}}"#,
            r#"seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type "x_t"; user may not be set)"#,
        );
        check(
            r#"{"securityContext":{"seccompProfile":{"type":"Unconfined"}}}"#,
            r#"seccompProfile (pod must not set securityContext.seccompProfile.type to "Unconfined")"#,
        );
        check(r#"{"securityContext":{"sysctls":[{"name":"kernel.msgmax","value":"1"}]}}"#, "forbidden sysctls (kernel.msgmax)");
        check(
            r#"{"securityContext":{"appArmorProfile":{"type":"Unconfined"}}}"#,
            r#"forbidden AppArmor profile (pod must not set AppArmor profile type to "Unconfined")"#,
        );
        check(
            r#"{"securityContext":{"windowsOptions":{"hostProcess":true}}}"#,
            "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
        );
        check(
            r#"{"containers":[{"name":"a","livenessProbe":{"httpGet":{"host":"h","port":80}}}]}"#,
            r#"probe or lifecycle host (container "a" uses probe or lifecycle host "h")"#,
        );
    }

    const GOOD: &str = r#"{"securityContext":{"runAsNonRoot":true,"seccompProfile":{"type":"RuntimeDefault"}},
        "containers":[{"name":"a","securityContext":{"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"]}}}],
        "volumes":[{"name":"v","emptyDir":{}}]}"#;

    #[test]
    fn the_restricted_level_replaces_some_controls_and_adds_others() {
        check(Level::Restricted, None, GOOD, &[]);
        let host_path = GOOD.replace(r#""emptyDir":{}"#, r#""hostPath":{"path":"/"}"#);
        check(Level::Restricted, None, &host_path, &[r#"restricted volume types (volume "v" uses restricted volume type "hostPath")"#]);
        let root = GOOD.replace(r#""runAsNonRoot":true"#, r#""runAsNonRoot":true,"runAsUser":0"#);
        check(Level::Restricted, None, &root, &["runAsUser=0 (pod must not set runAsUser=0)"]);
        check(Level::Restricted, Some(22), &root, &[]);
    }

    #[test]
    fn versions_bring_controls() {
        let keepalive = r#"{"securityContext":{"sysctls":[{"name":"net.ipv4.tcp_keepalive_time","value":"1"}]}}"#;
        check(Level::Baseline, Some(28), keepalive, &["forbidden sysctls (net.ipv4.tcp_keepalive_time)"]);
        check(Level::Baseline, Some(29), keepalive, &[]);
        let probe = r#"{"containers":[{"name":"a","livenessProbe":{"httpGet":{"host":"h","port":80}}}]}"#;
        check(Level::Baseline, Some(33), probe, &[]);
        let own_users = r#"{"hostUsers":false,"containers":[{"name":"a","securityContext":{"procMount":"Unmasked"}}]}"#;
        check(Level::Baseline, None, own_users, &[]);
        check(Level::Baseline, Some(34), own_users, &[r#"procMount (container "a" must not set securityContext.procMount to "Unmasked")"#]);
    }
}
