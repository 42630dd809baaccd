//! PodSecurity: a namespace's labels say how much its Pods may ask for (privileged, baseline, restricted), as of which version of the standards.
//!
//! What is worse than the enforced level is refused; what is worse than the `warn` level is let in with a warning. There is no audit log for the
//! third mode to write to.

mod checks;

use super::Kind;
use crate::Error;
use crate::resource::Object;
use crate::stage::{Admission, Extra, Operation};
use crate::status;
use apiserver_machinery::Str;
use apiserver_machinery::field::{self, Path};
use apiserver_machinery::text::quote;
use std::collections::BTreeMap;

const PODS: Kind = Kind::core("Pod", "/registry/pods/");
const PREFIX: &str = "pod-security.kubernetes.io/";
/// Pods of a namespace that are looked at when it is made stricter.
const PODS_MAX: usize = 3_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
enum Level {
    #[default]
    Privileged,
    Baseline,
    Restricted,
}

/// The minor version of Kubernetes whose standards are meant; `None` is the latest.
type Version = Option<u32>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
struct Standard {
    level: Level,
    version: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
struct Policy {
    enforce: Standard,
    warn: Standard,
}

impl std::fmt::Display for Standard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let level = match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        };
        match self.version {
            None => write!(f, "{level}:latest"),
            Some(minor) => write!(f, "{level}:v1.{minor}"),
        }
    }
}

fn parse_level(text: &str) -> Option<Level> {
    Some(match text {
        "privileged" => Level::Privileged,
        "baseline" => Level::Baseline,
        "restricted" => Level::Restricted,
        _ => return None,
    })
}

fn parse_version(text: &str) -> Option<Version> {
    if text == "latest" {
        return Some(None);
    }
    let minor = text.strip_prefix("v1.")?;
    let plain = minor.bytes().all(|byte| byte.is_ascii_digit()) && (minor == "0" || !minor.starts_with('0'));
    plain.then(|| minor.parse().ok()).flatten().map(Some)
}

/// The policy of a namespace's labels, and what is wrong with them. A bad level enforces the strictest and warns of nothing.
fn policy<'a>(label: impl Fn(&str) -> Option<&'a str>) -> (Policy, Vec<field::Error>) {
    let mut errors = Vec::new();
    let labels = Path::new("metadata.labels");
    let mut level = |mode: &str, fallback: Level| {
        let key = format!("{PREFIX}{mode}");
        let text = label(&key)?;
        Some(parse_level(text).unwrap_or_else(|| {
            errors.push(field::Error::invalid(&labels.key(&key), text, "must be one of privileged, baseline, restricted"));
            fallback
        }))
    };
    let enforce = level("enforce", Level::Restricted);
    level("audit", Level::Privileged);
    let warn = level("warn", Level::Privileged);
    let enforce_is_good = errors.iter().all(|error| error.field != format!("metadata.labels[{PREFIX}enforce]"));
    let mut version = |mode: &str| {
        let key = format!("{PREFIX}{mode}-version");
        let text = label(&key)?;
        Some(parse_version(text).unwrap_or_else(|| {
            errors.push(field::Error::invalid(&labels.key(&key), text, "must be \"latest\" or \"v1.x\""));
            None
        }))
    };
    let enforce = Standard { level: enforce.unwrap_or_default(), version: version("enforce").flatten() };
    version("audit");
    let warn_version = version("warn");
    let mut warning = Standard { level: warn.unwrap_or_default(), version: warn_version.flatten() };
    // What is enforced explicitly is also warned of, for the templates of controllers.
    if warn.is_none() && enforce_is_good && enforce.level > warning.level {
        warning = Standard { level: enforce.level, version: warn_version.unwrap_or(enforce.version) };
    }
    (Policy { enforce, warn: warning }, errors)
}

fn labels_of<'a>(object: Object<'a>) -> impl Fn(&str) -> Option<&'a str> {
    move |key| object.label(key)
}

pub fn validate(object: Object<'_>, admission: &Admission<'_>, extra: &mut Extra) -> Result<(), Error> {
    let written = matches!(admission.operation, Operation::Create | Operation::Update);
    let (group, plural, subresource) = (admission.resource.group.as_str(), admission.resource.plural.as_str(), admission.target.subresource.as_str());
    match (group, plural, subresource) {
        _ if !written => Ok(()),
        ("", "namespaces", "") => validate_namespace(object, admission, extra),
        ("", "pods", "" | "ephemeralcontainers" | "resize") => validate_pod(object, admission, extra),
        ("", "replicationcontrollers" | "podtemplates", "")
        | ("apps", "replicasets" | "deployments" | "statefulsets" | "daemonsets", "")
        | ("batch", "jobs" | "cronjobs", "") => validate_template(object, admission, extra),
        _ => Ok(()),
    }
}

/// The policy of the namespace that is written in.
fn namespace_policy(admission: &Admission<'_>) -> Option<Policy> {
    let row = admission.snapshot.get(format!("/registry/namespaces/{}", admission.namespace()))?;
    Some(policy(|key| row.facts.label(key)).0)
}

fn validate_pod(pod: Object<'_>, admission: &Admission<'_>, extra: &mut Extra) -> Result<(), Error> {
    let Some(policy) = namespace_policy(admission).filter(|policy| *policy != Policy::default()) else { return Ok(()) };
    if admission.old.is_some_and(|old| admission.operation == Operation::Update && !is_significant(old, pod)) {
        return Ok(());
    }
    let violations = checks::run(policy.enforce, pod, "spec", "metadata.annotations");
    if !violations.is_empty() {
        return Err(admission.refuse(format!("violates PodSecurity {}: {}", quote(&policy.enforce.to_string()), details(&violations))));
    }
    warn(policy.warn, pod, "spec", "metadata.annotations", extra);
    Ok(())
}

fn validate_template(object: Object<'_>, admission: &Admission<'_>, extra: &mut Extra) -> Result<(), Error> {
    let template = match admission.resource.plural.as_str() {
        "podtemplates" => "template",
        "cronjobs" => "spec.jobTemplate.spec.template",
        _ => "spec.template",
    };
    if let Some(policy) = namespace_policy(admission)
        && object.has(template)
    {
        warn(policy.warn, object, &format!("{template}.spec"), &format!("{template}.metadata.annotations"), extra);
    }
    Ok(())
}

fn warn(standard: Standard, object: Object<'_>, spec: &str, annotations: &str, extra: &mut Extra) {
    let violations = checks::run(standard, object, spec, annotations);
    if !violations.is_empty() {
        extra.warnings.push(format!("would violate PodSecurity {}: {}", quote(&standard.to_string()), details(&violations)));
    }
}

/// Whether an update may make a Pod worse: by another image or another ephemeral container.
fn is_significant(old: Object<'_>, new: Object<'_>) -> bool {
    let differ = |list: &str| {
        let (before, after): (Vec<_>, Vec<_>) =
            (old.items(list).map(|c| c.text("image")).collect(), new.items(list).map(|c| c.text("image")).collect());
        before != after
    };
    let image =
        |pod: Object<'_>, name: &str| pod.items("spec.ephemeralContainers").find(|c| c.text("name") == name).map(|c| Str::from(c.text("image")));
    differ("spec.containers")
        || differ("spec.initContainers")
        || new.items("spec.ephemeralContainers").any(|c| image(old, c.text("name")).as_deref() != Some(c.text("image")))
}

fn details(violations: &[checks::Violation]) -> String {
    let texts: Vec<_> = violations.iter().map(|violation| format!("{} ({})", violation.reason, violation.detail)).collect();
    texts.join(", ")
}

fn validate_namespace(namespace: Object<'_>, admission: &Admission<'_>, extra: &mut Extra) -> Result<(), Error> {
    let (new, errors) = policy(labels_of(namespace));
    let old = admission.old.filter(|_| admission.operation == Operation::Update).map(|old| policy(labels_of(old)));
    if !errors.is_empty() && old.as_ref().is_none_or(|(_, before)| *before != errors) {
        return Err(status::invalid_as("", "Namespace", admission.name, errors));
    }
    let Some((old, _)) = old else { return Ok(()) };
    let relaxed = new.enforce.version == old.enforce.version && new.enforce.level <= old.enforce.level;
    if new.enforce.level == Level::Privileged || relaxed {
        return Ok(());
    }
    warn_of_existing(new.enforce, admission, extra)
}

/// Tells which Pods that run already would not be let in any more.
fn warn_of_existing(standard: Standard, admission: &Admission<'_>, extra: &mut Extra) -> Result<(), Error> {
    let pods = PODS.list(admission.snapshot, admission.name, |_| true)?;
    let mut found: BTreeMap<String, Vec<Str>> = BTreeMap::new();
    for pod in pods.iter().take(PODS_MAX).map(super::Stored::object) {
        let violations = checks::run(standard, pod, "spec", "metadata.annotations");
        if !violations.is_empty() {
            let reasons: Vec<_> = violations.iter().map(|violation| violation.reason).collect();
            found.entry(reasons.join(", ")).or_default().push(pod.name().into());
        }
    }
    if pods.len() > PODS_MAX {
        extra.warnings.push(format!("new PodSecurity enforce level only checked against the first {PODS_MAX} of {} existing pods", pods.len()));
    }
    if !found.is_empty() {
        let (name, standard) = (quote(admission.name), quote(&standard.to_string()));
        extra.warnings.push(format!("existing pods in namespace {name} violate the new PodSecurity enforce level {standard}"));
    }
    let mut lines: Vec<String> = found
        .into_iter()
        .map(|(reasons, mut names)| {
            names.sort();
            match names.len() {
                1 => format!("{}: {reasons}", names[0]),
                2 => format!("{} (and 1 other pod): {reasons}", names[0]),
                count => format!("{} (and {} other pods): {reasons}", names[0], count - 1),
            }
        })
        .collect();
    lines.sort();
    extra.warnings.append(&mut lines);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::admission::testing::{Case, object};

    async fn run(case: Case) -> Result<Vec<String>, String> {
        let (_, extra, result) = case.run(|tree, admission, extra| super::validate(object(tree), admission, extra)).await;
        result.map(|()| extra.warnings).map_err(|error| error.to_string())
    }

    fn namespace(labels: &str) -> String {
        format!(r#"{{"metadata":{{"name":"ns","labels":{labels}}}}}"#)
    }

    fn pod(labels: &str, spec: &str) -> Case {
        Case::create("", "Pod", "ns", &format!(r#"{{"spec":{spec}}}"#)).row("/registry/namespaces/ns", &namespace(labels))
    }

    const PRIVILEGED: &str = r#"{"containers":[{"name":"c","image":"i","securityContext":{"privileged":true}}]}"#;
    const PLAIN: &str = r#"{"containers":[{"name":"c","image":"i"}]}"#;

    #[tokio::test]
    async fn what_is_worse_than_the_enforced_level_is_refused() {
        assert_eq!(run(pod("{}", PRIVILEGED)).await, Ok(vec![]));
        let baseline = r#"{"pod-security.kubernetes.io/enforce":"baseline"}"#;
        let refused = r#"pods "x" is forbidden: violates PodSecurity "baseline:latest": privileged (container "c" must not set securityContext.privileged=true)"#;
        assert_eq!(run(pod(baseline, PRIVILEGED)).await, Err(refused.into()));
        assert_eq!(run(pod(baseline, PLAIN)).await, Ok(vec![]));
        let restricted = r#"{"pod-security.kubernetes.io/enforce":"restricted","pod-security.kubernetes.io/enforce-version":"v1.25"}"#;
        let refused = concat!(
            r#"pods "x" is forbidden: violates PodSecurity "restricted:v1.25": allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false), "#,
            r#"unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]), "#,
            r#"runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true), "#,
            r#"seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")"#
        );
        assert_eq!(run(pod(restricted, PLAIN)).await, Err(refused.into()));
    }

    #[tokio::test]
    async fn what_is_worse_than_the_warned_level_is_told() {
        let warn = r#"{"pod-security.kubernetes.io/warn":"baseline"}"#;
        let warning = r#"would violate PodSecurity "baseline:latest": privileged (container "c" must not set securityContext.privileged=true)"#;
        assert_eq!(run(pod(warn, PRIVILEGED)).await, Ok(vec![warning.into()]));
        let template = format!(r#"{{"spec":{{"template":{{"spec":{PRIVILEGED}}}}}}}"#);
        let enforced = namespace(r#"{"pod-security.kubernetes.io/enforce":"baseline"}"#);
        let deployment = Case::create("apps", "Deployment", "ns", &template).row("/registry/namespaces/ns", &enforced);
        assert_eq!(run(deployment).await, Ok(vec![warning.into()]));
    }

    #[tokio::test]
    async fn updates_are_checked_where_they_bring_images() {
        let baseline = r#"{"pod-security.kubernetes.io/enforce":"baseline"}"#;
        assert_eq!(run(pod(baseline, PRIVILEGED).update(&format!(r#"{{"spec":{PRIVILEGED}}}"#))).await, Ok(vec![]));
        let other = PRIVILEGED.replace(r#""image":"i""#, r#""image":"j""#);
        assert!(run(pod(baseline, PRIVILEGED).update(&format!(r#"{{"spec":{other}}}"#))).await.is_err());
    }

    #[tokio::test]
    async fn labels_of_namespaces_are_checked_and_existing_pods_told() {
        let bad = Case::create("", "Namespace", "", &namespace(r#"{"pod-security.kubernetes.io/enforce":"strict"}"#));
        let invalid = r#"Namespace "x" is invalid: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "strict": must be one of privileged, baseline, restricted"#;
        assert_eq!(run(bad).await, Err(invalid.into()));
        let stricter = Case::create("", "Namespace", "", &namespace(r#"{"pod-security.kubernetes.io/enforce":"baseline"}"#))
            .named("ns")
            .update(&namespace("{}"))
            .row("/registry/pods/ns/b", &format!(r#"{{"metadata":{{"name":"b"}},"spec":{PRIVILEGED}}}"#))
            .row("/registry/pods/ns/a", &format!(r#"{{"metadata":{{"name":"a"}},"spec":{PRIVILEGED}}}"#));
        let expect = vec![
            r#"existing pods in namespace "ns" violate the new PodSecurity enforce level "baseline:latest""#.to_owned(),
            "a (and 1 other pod): privileged".to_owned(),
        ];
        assert_eq!(run(stricter).await, Ok(expect));
    }
}
