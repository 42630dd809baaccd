//! RuntimeClass: a Pod takes its class's overhead, node selector and tolerations.

use super::{Kind, Stored, items_mut, put, requests};
use crate::Error;
use crate::resource::Object;
use crate::stage::{Admission, Operation};
use apiserver_machinery::text::quote;
use apiserver_machinery::tree::{Map, Struct, Value};

const CLASSES: Kind = Kind { group: "node.k8s.io", version: "v1", kind: "RuntimeClass", prefix: "/registry/runtimeclasses/" };
const MISMATCH: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";

fn class(pod: Object<'_>, admission: &Admission<'_>) -> Result<Option<Stored>, Error> {
    let Some(name) = pod.text_opt("spec.runtimeClassName") else { return Ok(None) };
    match CLASSES.get(admission.snapshot, name)? {
        Some(class) => Ok(Some(class)),
        None => Err(admission.refuse(format!("pod rejected: RuntimeClass {} not found", quote(name)))),
    }
}

pub fn mutate(pod: &mut Struct, admission: &Admission<'_>) -> Result<(), Error> {
    if !admission.is_pod() || admission.operation != Operation::Create {
        return Ok(());
    }
    let schema = admission.schema();
    let Some(class) = class(Object::new(schema, pod), admission)? else { return Ok(()) };
    let class = class.object();
    if class.has("overhead") {
        let read = Object::new(schema, pod);
        let own = requests::resources(read, "spec.overhead");
        if !own.is_empty() && own != requests::resources(class, "overhead.podFixed") {
            return Err(admission.refuse(MISMATCH));
        }
        if let Some(fixed) = class.get("overhead.podFixed") {
            put(pod, schema, "spec.overhead", fixed.clone())?;
        }
    }
    if class.has("scheduling") {
        schedule(pod, class, admission)?;
    }
    Ok(())
}

fn schedule(pod: &mut Struct, class: Object<'_>, admission: &Admission<'_>) -> Result<(), Error> {
    const SELECTOR: &str = "spec.nodeSelector";
    let schema = admission.schema();
    for (key, wanted) in class.pairs("scheduling.nodeSelector") {
        if pod.at(schema, SELECTOR).is_none() {
            put(pod, schema, SELECTOR, Value::Map(Map::default()))?;
        }
        let Some(Value::Map(selector)) = pod.at_mut(schema, SELECTOR) else { continue };
        if let Some(own) = selector.get(key).and_then(Value::as_str).filter(|own| *own != wanted) {
            return Err(
                admission.refuse(format!("conflict: runtimeClass.scheduling.nodeSelector[{key}] = {wanted}; pod.spec.nodeSelector[{key}] = {own}"))
            );
        }
        selector.insert(key, wanted.into());
    }
    let wanted = class.list("scheduling.tolerations");
    if !wanted.is_empty() {
        let tolerations = items_mut(pod, schema, "spec.tolerations")?;
        for toleration in wanted {
            if !tolerations.contains(toleration) {
                tolerations.push(toleration.clone());
            }
        }
    }
    Ok(())
}

pub fn validate(pod: Object<'_>, admission: &Admission<'_>) -> Result<(), Error> {
    if !admission.is_pod() || admission.operation != Operation::Create {
        return Ok(());
    }
    let class = class(pod, admission)?;
    match class.as_ref().map(Stored::object).filter(|class| class.has("overhead")) {
        Some(class) if requests::resources(class, "overhead.podFixed") != requests::resources(pod, "spec.overhead") => {
            Err(admission.refuse(MISMATCH))
        }
        None if pod.has("spec.overhead") => {
            Err(admission.refuse("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use crate::admission::testing::{Case, check_mutate, check_validate};

    const CLASS: &str = r#"{"metadata":{"name":"vm"},"handler":"vm","overhead":{"podFixed":{"cpu":"250m"}},
        "scheduling":{"nodeSelector":{"vm":"yes"},"tolerations":[{"key":"vm","operator":"Exists"}]}}"#;

    fn pod(spec: &str) -> Case {
        Case::create("", "Pod", "ns", &format!(r#"{{"spec":{spec}}}"#)).row("/registry/runtimeclasses/vm", CLASS)
    }

    #[tokio::test]
    async fn a_pod_takes_what_its_class_says() {
        let full = r#"{"spec":{"runtimeClassName":"vm","overhead":{"cpu":"250m"},"nodeSelector":{"vm":"yes"},"tolerations":[{"key":"vm","operator":"Exists"}]}}"#;
        check_mutate(super::mutate, pod(r#"{"runtimeClassName":"vm"}"#), Ok(full)).await;
        let missing = r#"pods "x" is forbidden: pod rejected: RuntimeClass "gone" not found"#;
        check_mutate(super::mutate, pod(r#"{"runtimeClassName":"gone"}"#), Err(missing)).await;
        let mismatch = r#"pods "x" is forbidden: pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"#;
        check_mutate(super::mutate, pod(r#"{"runtimeClassName":"vm","overhead":{"cpu":"1"}}"#), Err(mismatch)).await;
        let conflict = r#"pods "x" is forbidden: conflict: runtimeClass.scheduling.nodeSelector[vm] = yes; pod.spec.nodeSelector[vm] = no"#;
        check_mutate(super::mutate, pod(r#"{"runtimeClassName":"vm","nodeSelector":{"vm":"no"}}"#), Err(conflict)).await;
    }

    #[tokio::test]
    async fn overhead_needs_a_class() {
        let alone = r#"pods "x" is forbidden: pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"#;
        check_validate(super::validate, pod(r#"{"overhead":{"cpu":"1"}}"#), Err(alone)).await;
        check_validate(super::validate, pod("{}"), Ok(())).await;
    }
}
