//! Columns of the kinds of certificates.

use super::human::duration;
use super::{AGE, ColumnRow, NAME, labels, or, text};
use crate::resource::{CellContext, Object, Value};

const NONE: &str = "<none>";
const SIGNER: ColumnRow = text("SignerName", "Who is to sign.", |object, _| or(object.text("spec.signerName"), NONE).into());

pub const SIGNING_REQUEST: &[ColumnRow] = &[
    NAME,
    AGE,
    SIGNER,
    text("Requestor", "Who asks.", |object, _| object.text("spec.username").into()),
    text("RequestedDuration", "How long the certificate is to hold.", |object, _| {
        object.int("spec.expirationSeconds").map_or_else(|| NONE.into(), |seconds| duration(seconds).into())
    }),
    text("Condition", "How far the request is.", request_state),
];

fn request_state(object: Object<'_>, _: CellContext) -> Value {
    let is = |ty: &str| object.items("status.conditions").any(|condition| condition.text("type") == ty);
    let decision = match () {
        () if is("Denied") => "Denied",
        () if is("Approved") => "Approved",
        () => "Pending",
    };
    let failed = if is("Failed") { ",Failed" } else { "" };
    let issued = if object.has("status.certificate") { ",Issued" } else { "" };
    format!("{decision}{failed}{issued}").into()
}

pub const TRUST_BUNDLE: &[ColumnRow] =
    &[NAME, text("SignerName", "Whose certificates it holds.", |object, _| or(object.text("spec.signerName"), NONE).into())];

pub const POD_CERTIFICATE: &[ColumnRow] = &[
    NAME,
    text("PodName", "The Pod that gets the certificate.", |object, _| object.text("spec.podName").into()),
    text("ServiceAccountName", "The Pod's service account.", |object, _| object.text("spec.serviceAccountName").into()),
    text("NodeName", "The Pod's node.", |object, _| object.text("spec.nodeName").into()),
    text("SignerName", "Who is to sign.", |object, _| object.text("spec.signerName").into()),
    text("State", "How far the request is.", |object, _| {
        let mut ends = object.items("status.conditions").map(|condition| condition.text("type"));
        ends.rfind(|ty| matches!(*ty, "Issued" | "Denied" | "Failed")).unwrap_or("Pending").into()
    }),
    text("UnverifiedUserAnnotations", "What the Pod's author tells the signer.", |object, _| labels(object, "spec.unverifiedUserAnnotations").into()),
];
