//! NamespaceLifecycle: nothing is created in a namespace that does not exist or goes away, and three namespaces stay.

use crate::Error;
use crate::stage::{Admission, Operation};
use crate::status::Cause;
use apiserver_store::Key;

const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

pub fn admit(admission: &Admission<'_>) -> Result<(), Error> {
    let (group, plural) = (admission.resource.group.as_str(), admission.resource.plural.as_str());
    if (group, plural) == ("", "namespaces") {
        let immortal = admission.operation == Operation::Delete && IMMORTAL.contains(&admission.target.name.as_str());
        return if immortal { Err(admission.refuse("this namespace may not be deleted")) } else { Ok(()) };
    }
    let namespace = admission.namespace();
    if namespace.is_empty() || admission.operation != Operation::Create || (group, plural) == ("authorization.k8s.io", "localsubjectaccessreviews") {
        return Ok(());
    }
    let Some(row) = admission.snapshot.get(Key::from(format!("/registry/namespaces/{namespace}"))) else {
        return Err(Error::NotFound { group: "".into(), resource: "namespaces".into(), name: namespace.into() });
    };
    if !row.facts.deleting {
        return Ok(());
    }
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    let cause = Cause {
        reason: "NamespaceTerminating".into(),
        message: format!("namespace {namespace} is being terminated"),
        field: "metadata.namespace".into(),
    };
    Err(admission.refuse_because(&why, cause))
}

#[cfg(test)]
mod tests {
    use crate::admission::testing::{Case, check};
    use crate::stage::Operation;

    #[tokio::test]
    async fn namespaces_guard_what_is_created_in_them() {
        let live = ("/registry/namespaces/ns", r#"{"metadata":{"name":"ns"}}"#);
        let going = ("/registry/namespaces/old", r#"{"metadata":{"name":"old","deletionTimestamp":"2026-01-01T00:00:00Z"}}"#);
        let pod = |namespace| Case::create("", "Pod", namespace, "{}").rows(&[live, going]);
        check(super::admit, pod("ns"), Ok(())).await;
        check(super::admit, pod("none"), Err("namespaces \"none\" not found")).await;
        let ending = r#"pods "x" is forbidden: unable to create new content in namespace old because it is being terminated"#;
        check(super::admit, pod("old"), Err(ending)).await;
        check(super::admit, pod("old").operation(Operation::Update), Ok(())).await;
        let delete = |name| Case::create("", "Namespace", "", "{}").named(name).operation(Operation::Delete);
        check(super::admit, delete("kube-system"), Err(r#"namespaces "kube-system" is forbidden: this namespace may not be deleted"#)).await;
        check(super::admit, delete("ns"), Ok(())).await;
    }
}
