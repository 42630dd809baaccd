//! PodTopologyLabels: a Pod that is bound to a node carries the node's zone and region as labels.

use super::{Kind, put};
use crate::Error;
use crate::resource::Object;
use crate::stage::{Admission, Operation};
use apiserver_machinery::tree::{Map, Struct, Value};

const NODES: Kind = Kind::core("Node", "/registry/minions/");
const LABELS: [&str; 2] = ["topology.kubernetes.io/region", "topology.kubernetes.io/zone"];

pub fn mutate(pod: &mut Struct, admission: &Admission<'_>) -> Result<(), Error> {
    let is_pod = admission.is_pod() || admission.is("", "pods", "binding") || admission.is("", "bindings", "");
    if !is_pod || admission.operation != Operation::Create {
        return Ok(());
    }
    let schema = admission.schema();
    let node = Object::new(schema, pod).text("spec.nodeName");
    if node.is_empty() {
        return Ok(());
    }
    // Labels are among a row's facts, so the Node need not be decoded.
    let Some(row) = admission.snapshot.get(format!("{}{node}", NODES.prefix)) else { return Ok(()) };
    for label in LABELS {
        let Some(value) = row.facts.label(label) else { continue };
        if pod.at(schema, "metadata.labels").is_none() {
            put(pod, schema, "metadata.labels", Value::Map(Map::default()))?;
        }
        if let Some(Value::Map(labels)) = pod.at_mut(schema, "metadata.labels") {
            labels.insert(label, value.into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::admission::testing::{Case, check_mutate};

    #[tokio::test]
    async fn a_bound_pod_carries_its_nodes_zone() {
        let node = r#"{"metadata":{"name":"n1","labels":{"topology.kubernetes.io/zone":"z","other":"o"}}}"#;
        let case = |spec: &str| Case::create("", "Pod", "ns", spec).row("/registry/minions/n1", node);
        let labelled = r#"{"metadata":{"labels":{"topology.kubernetes.io/zone":"z"}},"spec":{"nodeName":"n1"}}"#;
        check_mutate(super::mutate, case(r#"{"spec":{"nodeName":"n1"}}"#), Ok(labelled)).await;
        check_mutate(super::mutate, case(r#"{"spec":{"nodeName":"n1"}}"#).subresource("binding"), Ok(labelled)).await;
        check_mutate(super::mutate, case(r#"{"spec":{"nodeName":"n2"}}"#), Ok(r#"{"spec":{"nodeName":"n2"}}"#)).await;
        check_mutate(super::mutate, case("{}"), Ok("{}")).await;
    }
}
