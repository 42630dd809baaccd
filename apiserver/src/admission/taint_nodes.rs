//! TaintNodesByCondition: a new Node takes no Pods until it is known to be ready.

use super::{items_mut, literal};
use crate::Error;
use crate::resource::Object;
use crate::stage::{Admission, Operation};
use apiserver_machinery::tree::Struct;

const TAINT: &str = "node.kubernetes.io/not-ready";

pub fn mutate(node: &mut Struct, admission: &Admission<'_>) -> Result<(), Error> {
    if !admission.is("", "nodes", "") || admission.operation != Operation::Create {
        return Ok(());
    }
    let schema = admission.schema();
    if Object::new(schema, node).items("spec.taints").any(|taint| taint.text("key") == TAINT && taint.text("effect") == "NoSchedule") {
        return Ok(());
    }
    let taint = literal(schema, "io.k8s.api.core.v1.Taint", &format!(r#"{{"key":"{TAINT}","effect":"NoSchedule"}}"#))?;
    items_mut(node, schema, "spec.taints")?.push(taint.into());
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::admission::testing::{Case, check_mutate};

    #[tokio::test]
    async fn a_new_node_is_tainted_once() {
        let tainted = r#"{"spec":{"taints":[{"key":"node.kubernetes.io/not-ready","effect":"NoSchedule"}]}}"#;
        check_mutate(super::mutate, Case::create("", "Node", "", "{}"), Ok(tainted)).await;
        check_mutate(super::mutate, Case::create("", "Node", "", tainted), Ok(tainted)).await;
        check_mutate(super::mutate, Case::create("", "Node", "", "{}").update("{}"), Ok("{}")).await;
    }
}
