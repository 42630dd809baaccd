//! The plugins for volumes and claims: DefaultStorageClass, StorageObjectInUseProtection and PersistentVolumeClaimResize.

use super::{Kind, items_mut, newest_default, put, requests};
use crate::Error;
use crate::resource::Object;
use crate::stage::{Admission, Operation};
use apiserver_machinery::quantity::Quantity;
use apiserver_machinery::tree::{Struct, Value};

const CLASSES: Kind = Kind { group: "storage.k8s.io", version: "v1", kind: "StorageClass", prefix: "/registry/storageclasses/" };
/// Where classes stood before they had a field.
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

fn is_claim(admission: &Admission<'_>) -> bool {
    admission.is("", "persistentvolumeclaims", "")
}

/// A claim that names no class gets the default one.
pub fn set_default_class(claim: &mut Struct, admission: &Admission<'_>) -> Result<(), Error> {
    if !is_claim(admission) || admission.operation != Operation::Create {
        return Ok(());
    }
    let read = Object::new(admission.schema(), claim);
    if read.has("spec.storageClassName") || read.annotation(CLASS_ANNOTATION).is_some() {
        return Ok(());
    }
    let marks = ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
    match newest_default(CLASSES, admission.snapshot, &marks)? {
        Some(name) => put(claim, admission.schema(), "spec.storageClassName", name),
        None => Ok(()),
    }
}

/// What is in use is not deleted: a controller takes the finalizer away.
pub fn protect(object: &mut Struct, admission: &Admission<'_>) -> Result<(), Error> {
    if admission.operation != Operation::Create {
        return Ok(());
    }
    let finalizer = if is_claim(admission) {
        "kubernetes.io/pvc-protection"
    } else if admission.is("", "persistentvolumes", "") {
        "kubernetes.io/pv-protection"
    } else if admission.is("storage.k8s.io", "volumeattributesclasses", "") {
        "kubernetes.io/vac-protection"
    } else {
        return Ok(());
    };
    let finalizers = items_mut(object, admission.schema(), "metadata.finalizers")?;
    let value = Value::from(finalizer);
    if !finalizers.contains(&value) {
        finalizers.push(value);
    }
    Ok(())
}

fn class_name(claim: Object<'_>) -> &str {
    claim.annotation(CLASS_ANNOTATION).unwrap_or_else(|| claim.text("spec.storageClassName"))
}

/// A claim grows only where its class allows it.
pub fn validate_resize(claim: Object<'_>, admission: &Admission<'_>) -> Result<(), Error> {
    let Some(old) = admission.old.filter(|_| is_claim(admission) && admission.operation == Operation::Update) else { return Ok(()) };
    let size = |claim: Object<'_>| requests::resources(claim, "spec.resources.requests").remove("storage").unwrap_or_else(Quantity::zero);
    if size(claim) <= size(old) {
        return Ok(());
    }
    if old.text("status.phase") != "Bound" {
        return Err(admission.refuse("Only bound persistent volume claims can be expanded"));
    }
    let name = class_name(claim);
    let allowed = !name.is_empty()
        && name == class_name(old)
        && CLASSES.get(admission.snapshot, name)?.is_some_and(|class| class.object().flag("allowVolumeExpansion"));
    if allowed {
        return Ok(());
    }
    Err(admission.refuse("only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"))
}

#[cfg(test)]
mod tests {
    use crate::admission::testing::{Case, check_mutate, check_validate};

    const FAST: (&str, &str) = (
        "/registry/storageclasses/fast",
        r#"{"metadata":{"name":"fast","annotations":{"storageclass.kubernetes.io/is-default-class":"true"}},"provisioner":"x","allowVolumeExpansion":true}"#,
    );

    #[tokio::test]
    async fn claims_get_the_default_class() {
        let claim = |object: &str| Case::create("", "PersistentVolumeClaim", "ns", object);
        check_mutate(super::set_default_class, claim("{}").rows(&[FAST]), Ok(r#"{"spec":{"storageClassName":"fast"}}"#)).await;
        check_mutate(super::set_default_class, claim("{}"), Ok("{}")).await;
        let none = r#"{"spec":{"storageClassName":""}}"#;
        check_mutate(super::set_default_class, claim(none).rows(&[FAST]), Ok(none)).await;
    }

    #[tokio::test]
    async fn volumes_and_claims_are_protected() {
        let check = async |kind: &str, object: &str, finalizer: &str| {
            let expect = format!(r#"{{"metadata":{{"finalizers":["{finalizer}"]}}}}"#);
            check_mutate(super::protect, Case::create("", kind, "", object), Ok(&expect)).await;
        };
        check("PersistentVolumeClaim", "{}", "kubernetes.io/pvc-protection").await;
        check("PersistentVolume", "{}", "kubernetes.io/pv-protection").await;
        check("PersistentVolume", r#"{"metadata":{"finalizers":["kubernetes.io/pv-protection"]}}"#, "kubernetes.io/pv-protection").await;
    }

    #[tokio::test]
    async fn a_claim_grows_where_its_class_allows_it() {
        let claim = |size: &str, class: &str, phase: &str| {
            format!(r#"{{"spec":{{"storageClassName":"{class}","resources":{{"requests":{{"storage":"{size}"}}}}}},"status":{{"phase":"{phase}"}}}}"#)
        };
        let check = async |old: (&str, &str, &str), new: &str, expect: Result<(), &str>| {
            let case = Case::create("", "PersistentVolumeClaim", "ns", &claim(new, old.1, old.2)).update(&claim(old.0, old.1, old.2)).rows(&[FAST]);
            let expect = expect.map_err(|why| format!("persistentvolumeclaims \"x\" is forbidden: {why}"));
            check_validate(super::validate_resize, case, expect.as_ref().copied().map_err(String::as_str)).await;
        };
        check(("1Gi", "fast", "Bound"), "2Gi", Ok(())).await;
        check(("2Gi", "slow", "Pending"), "1Gi", Ok(())).await;
        check(("1Gi", "fast", "Pending"), "2Gi", Err("Only bound persistent volume claims can be expanded")).await;
        let unsupported = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
        check(("1Gi", "slow", "Bound"), "2Gi", Err(unsupported)).await;
    }
}
