//! PodResizeValidator: a Pod is not resized beyond what its node could ever give.

use super::{Kind, requests};
use crate::Error;
use crate::resource::Object;
use crate::stage::{Admission, Operation};
use crate::status::Cause;
use apiserver_machinery::quantity::Quantity;
use apiserver_machinery::text::quote;

const NODES: Kind = Kind::core("Node", "/registry/minions/");

pub fn validate(pod: Object<'_>, admission: &Admission<'_>) -> Result<(), Error> {
    let Some(old) = admission.old.filter(|_| admission.is("", "pods", "resize") && admission.operation == Operation::Update) else { return Ok(()) };
    let name = pod.text("spec.nodeName");
    if name.is_empty() || old.number("metadata.generation") == pod.number("metadata.generation") {
        return Ok(());
    }
    let node = NODES.get(admission.snapshot, name)?.ok_or_else(|| admission.refuse(format!("node {} not found", quote(name))))?;
    let node = node.object();
    let because = |reason: &str| Cause { reason: reason.into(), ..Cause::default() };
    if let Some(system) = node.label("kubernetes.io/os").filter(|system| *system != "linux") {
        let why = format!("pod resize is only supported on linux nodes, node {} is {}", quote(name), quote(system));
        return Err(admission.refuse_because(&why, because("UnsupportedPlatform")));
    }
    let asked = requests::of_pod_with_overhead(pod, "requests");
    let allocatable = requests::resources(node, "status.allocatable");
    let zero = Quantity::zero();
    let over = |resource: &str, unit: fn(&Quantity) -> i64| {
        let (asked, has) = (asked.get(resource)?, allocatable.get(resource).unwrap_or(&zero));
        (asked > has).then(|| format!("{resource}, requested: {}, allocatable: {}", unit(asked), unit(has)))
    };
    let over: Vec<_> = [over("cpu", Quantity::milli_value), over("memory", Quantity::value)].into_iter().flatten().collect();
    if over.is_empty() {
        return Ok(());
    }
    let why = format!("node didn't have enough allocatable resources: {}", over.join("; "));
    Err(admission.refuse_because(&why, because("NodeCapacity")))
}

#[cfg(test)]
mod tests {
    use crate::admission::testing::{Case, check_validate};

    #[tokio::test]
    async fn a_pod_does_not_outgrow_its_node() {
        let pod = |generation: i32, cpu: &str| {
            format!(
                r#"{{"metadata":{{"generation":{generation}}},"spec":{{"nodeName":"n1","containers":[{{"name":"c","resources":{{"requests":{{"cpu":"{cpu}"}}}}}}]}}}}"#
            )
        };
        let node =
            |labels: &str| format!(r#"{{"metadata":{{"name":"n1","labels":{labels}}},"status":{{"allocatable":{{"cpu":"2","memory":"1Gi"}}}}}}"#);
        let case = |cpu: &str, labels: &str| {
            Case::create("", "Pod", "ns", &pod(2, cpu)).update(&pod(1, "1")).subresource("resize").row("/registry/minions/n1", &node(labels))
        };
        check_validate(super::validate, case("2", "{}"), Ok(())).await;
        let full = r#"pods "x" is forbidden: node didn't have enough allocatable resources: cpu, requested: 3000, allocatable: 2000"#;
        check_validate(super::validate, case("3", "{}"), Err(full)).await;
        let windows = r#"pods "x" is forbidden: pod resize is only supported on linux nodes, node "n1" is "windows""#;
        check_validate(super::validate, case("2", r#"{"kubernetes.io/os":"windows"}"#), Err(windows)).await;
        let same = Case::create("", "Pod", "ns", &pod(1, "9")).update(&pod(1, "1")).subresource("resize");
        check_validate(super::validate, same, Ok(())).await;
    }
}
