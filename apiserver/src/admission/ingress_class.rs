//! DefaultIngressClass: an Ingress that names no class gets the default one, the newest of several.

use super::{Kind, newest_default, put};
use crate::Error;
use crate::resource::Object;
use crate::stage::{Admission, Operation};
use apiserver_machinery::tree::Struct;

const CLASSES: Kind = Kind { group: "networking.k8s.io", version: "v1", kind: "IngressClass", prefix: "/registry/ingressclasses/" };

pub fn mutate(ingress: &mut Struct, admission: &Admission<'_>) -> Result<(), Error> {
    if !admission.is("networking.k8s.io", "ingresses", "") || admission.operation != Operation::Create {
        return Ok(());
    }
    let read = Object::new(admission.schema(), ingress);
    if read.has("spec.ingressClassName") || read.annotation("kubernetes.io/ingress.class").is_some() {
        return Ok(());
    }
    match newest_default(CLASSES, admission.snapshot, &["ingressclass.kubernetes.io/is-default-class"])? {
        Some(name) => put(ingress, admission.schema(), "spec.ingressClassName", name),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use crate::admission::testing::{Case, check_mutate};

    #[tokio::test]
    async fn the_newest_default_class_is_taken() {
        let class = |at: &str| {
            format!(
                r#"{{"metadata":{{"name":"c","creationTimestamp":"{at}","annotations":{{"ingressclass.kubernetes.io/is-default-class":"true"}}}}}}"#
            )
        };
        let old = class("2026-01-01T00:00:00Z").replace(r#""c""#, r#""old""#);
        let new = class("2026-02-01T00:00:00Z").replace(r#""c""#, r#""new""#);
        let case = |object: &str| {
            Case::create("networking.k8s.io", "Ingress", "ns", object)
                .rows(&[("/registry/ingressclasses/old", &old), ("/registry/ingressclasses/new", &new)])
        };
        check_mutate(super::mutate, case("{}"), Ok(r#"{"spec":{"ingressClassName":"new"}}"#)).await;
        let own = r#"{"spec":{"ingressClassName":"own"}}"#;
        check_mutate(super::mutate, case(own), Ok(own)).await;
        check_mutate(super::mutate, Case::create("networking.k8s.io", "Ingress", "ns", "{}"), Ok("{}")).await;
    }
}
