//! DefaultTolerationSeconds: a Pod stays five minutes on a node that is not ready or cannot be reached, unless it says otherwise.

use super::{items_mut, literal};
use crate::Error;
use crate::resource::Object;
use crate::stage::{Admission, Operation};
use apiserver_machinery::tree::Struct;

const SECONDS: i64 = 300;
const TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

pub fn mutate(pod: &mut Struct, admission: &Admission<'_>) -> Result<(), Error> {
    if !admission.is_pod() || !matches!(admission.operation, Operation::Create | Operation::Update) {
        return Ok(());
    }
    let schema = admission.schema();
    for taint in TAINTS {
        let tolerated = Object::new(schema, pod).items("spec.tolerations").any(|toleration| {
            let (key, effect) = (toleration.text("key"), toleration.text("effect"));
            (key == taint || key.is_empty()) && (effect == "NoExecute" || effect.is_empty())
        });
        if !tolerated {
            let toleration = format!(r#"{{"key":"{taint}","operator":"Exists","effect":"NoExecute","tolerationSeconds":{SECONDS}}}"#);
            let toleration = literal(schema, "io.k8s.api.core.v1.Toleration", &toleration)?;
            items_mut(pod, schema, "spec.tolerations")?.push(toleration.into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::admission::testing::{Case, check_mutate};

    const NOT_READY: &str = r#"{"key":"node.kubernetes.io/not-ready","operator":"Exists","effect":"NoExecute","tolerationSeconds":300}"#;
    const UNREACHABLE: &str = r#"{"key":"node.kubernetes.io/unreachable","operator":"Exists","effect":"NoExecute","tolerationSeconds":300}"#;

    async fn check(tolerations: &str, expect: &str) {
        let pod = |tolerations: &str| format!(r#"{{"spec":{{"tolerations":[{tolerations}]}}}}"#);
        check_mutate(super::mutate, Case::create("", "Pod", "ns", &pod(tolerations)), Ok(&pod(expect))).await;
    }

    #[tokio::test]
    async fn what_is_tolerated_already_is_left_alone() {
        check("", &format!("{NOT_READY},{UNREACHABLE}")).await;
        let own = r#"{"key":"node.kubernetes.io/not-ready","operator":"Exists","effect":"NoExecute","tolerationSeconds":5}"#;
        check(own, &format!("{own},{UNREACHABLE}")).await;
        let all = r#"{"operator":"Exists"}"#;
        check(all, all).await;
        let other = r#"{"key":"node.kubernetes.io/not-ready","operator":"Exists","effect":"NoSchedule"}"#;
        check(other, &format!("{other},{NOT_READY},{UNREACHABLE}")).await;
    }
}
