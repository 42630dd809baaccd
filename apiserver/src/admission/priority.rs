//! Priority: a Pod's priority and preemption policy are those of its PriorityClass.

use super::{Kind, Stored, put};
use crate::Error;
use crate::resource::Object;
use crate::stage::{Admission, Operation};
use apiserver_machinery::Str;
use apiserver_machinery::tree::Struct;
use apiserver_store::Snapshot;

const CLASSES: Kind = Kind { group: "scheduling.k8s.io", version: "v1", kind: "PriorityClass", prefix: "/registry/priorityclasses/" };

/// The class for Pods that name none: of several, the one with the lowest value.
fn default_class(snapshot: &Snapshot) -> Result<Option<Stored>, Error> {
    let mark = memchr::memmem::Finder::new(br#""globalDefault":true"#);
    let classes = CLASSES.list(snapshot, "", |row| mark.find(row.bytes()).is_some())?;
    Ok(classes.into_iter().filter(|class| class.object().flag("globalDefault")).min_by_key(|class| class.object().number("value")))
}

pub fn mutate(pod: &mut Struct, admission: &Admission<'_>) -> Result<(), Error> {
    if !admission.is_pod() {
        return Ok(());
    }
    match admission.operation {
        Operation::Create => establish(pod, admission),
        Operation::Update => keep(pod, admission),
        _ => Ok(()),
    }
}

/// An update that leaves the priority out keeps it.
fn keep(pod: &mut Struct, admission: &Admission<'_>) -> Result<(), Error> {
    for path in ["spec.priority", "spec.preemptionPolicy"] {
        if pod.at(admission.schema(), path).is_none()
            && let Some(value) = admission.old.and_then(|old| old.get(path))
        {
            put(pod, admission.schema(), path, value.clone())?;
        }
    }
    Ok(())
}

fn establish(pod: &mut Struct, admission: &Admission<'_>) -> Result<(), Error> {
    let schema = admission.schema();
    let read = Object::new(schema, pod);
    let name = Str::from(read.text("spec.priorityClassName"));
    let class = if name.is_empty() {
        default_class(admission.snapshot)?
    } else {
        let class = CLASSES.get(admission.snapshot, &name)?;
        Some(class.ok_or_else(|| admission.refuse(format!("no PriorityClass with name {name} was found")))?)
    };
    let (class_name, priority, policy) = match &class {
        None => (Str::default(), 0, Some("PreemptLowerPriority")),
        Some(class) => (Str::from(class.object().name()), class.object().number("value"), class.object().text_opt("preemptionPolicy")),
    };
    if let Some(given) = read.int("spec.priority").filter(|given| *given != priority) {
        return Err(admission.refuse(format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {priority} from the given PriorityClass name"
        )));
    }
    if let (Some(policy), Some(given)) = (policy, read.text_opt("spec.preemptionPolicy"))
        && policy != given
    {
        return Err(admission.refuse(format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
        )));
    }
    if !class_name.is_empty() {
        put(pod, schema, "spec.priorityClassName", class_name)?;
    }
    put(pod, schema, "spec.priority", priority)?;
    match policy {
        Some(policy) => put(pod, schema, "spec.preemptionPolicy", policy),
        None => Ok(()),
    }
}

/// There is at most one default class.
pub fn validate(class: Object<'_>, admission: &Admission<'_>) -> Result<(), Error> {
    let written = matches!(admission.operation, Operation::Create | Operation::Update);
    if !written || !admission.is("scheduling.k8s.io", "priorityclasses", "") || !class.flag("globalDefault") {
        return Ok(());
    }
    match default_class(admission.snapshot)? {
        Some(other) if admission.operation == Operation::Create || other.object().name() != class.name() => {
            Err(admission.refuse(format!("PriorityClass {} is already marked as default. Only one default can exist", other.object().name())))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use crate::admission::testing::{Case, check_mutate, check_validate};

    const HIGH: (&str, &str) = ("/registry/priorityclasses/high", r#"{"metadata":{"name":"high"},"value":1000,"preemptionPolicy":"Never"}"#);
    const USUAL: (&str, &str) = (
        "/registry/priorityclasses/usual",
        r#"{"metadata":{"name":"usual"},"value":7,"globalDefault":true,"preemptionPolicy":"PreemptLowerPriority"}"#,
    );

    fn pod(spec: &str) -> Case {
        Case::create("", "Pod", "ns", &format!(r#"{{"spec":{spec}}}"#))
    }

    #[tokio::test]
    async fn priority_comes_from_the_class() {
        let check = async |case: Case, expect: Result<&str, &str>| {
            let expect = expect.map(|spec| format!(r#"{{"spec":{spec}}}"#)).map_err(|why| format!("pods \"x\" is forbidden: {why}"));
            check_mutate(super::mutate, case, expect.as_deref().map_err(String::as_str)).await;
        };
        check(pod("{}"), Ok(r#"{"priority":0,"preemptionPolicy":"PreemptLowerPriority"}"#)).await;
        check(pod("{}").rows(&[HIGH, USUAL]), Ok(r#"{"priority":7,"priorityClassName":"usual","preemptionPolicy":"PreemptLowerPriority"}"#)).await;
        let high = r#"{"priority":1000,"priorityClassName":"high","preemptionPolicy":"Never"}"#;
        check(pod(r#"{"priorityClassName":"high"}"#).rows(&[HIGH]), Ok(high)).await;
        check(pod(high).rows(&[HIGH]), Ok(high)).await;
        check(pod(r#"{"priorityClassName":"gone"}"#), Err("no PriorityClass with name gone was found")).await;
        check(
            pod(r#"{"priority":5}"#),
            Err("the integer value of priority (5) must not be provided in pod spec; priority admission controller computed 0 from the given PriorityClass name"),
        )
        .await;
        let kept = r#"{"priority":9,"preemptionPolicy":"Never"}"#;
        check(pod("{}").update(&format!(r#"{{"spec":{kept}}}"#)), Ok(kept)).await;
    }

    #[tokio::test]
    async fn there_is_one_default_class() {
        let class = |name: &str| {
            Case::create("scheduling.k8s.io", "PriorityClass", "", &format!(r#"{{"metadata":{{"name":"{name}"}},"globalDefault":true}}"#))
                .rows(&[USUAL])
        };
        let taken =
            r#"priorityclasses.scheduling.k8s.io "x" is forbidden: PriorityClass usual is already marked as default. Only one default can exist"#;
        check_validate(super::validate, class("other"), Err(taken)).await;
        check_validate(super::validate, class("usual").update(r#"{"metadata":{"name":"usual"}}"#), Ok(())).await;
    }
}
