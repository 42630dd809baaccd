//! The plugins for certificates: who may approve, sign and attest for which signer, and whom a certificate may not name.

use crate::Error;
use crate::auth::Attributes;
use crate::resource::Object;
use crate::stage::{Admission, Operation};
use apiserver_machinery::text::quote;
use apiserver_machinery::tree::Value;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

const GROUP: &str = "certificates.k8s.io";
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

/// Whether the user may do this for a signer, by name or for its whole domain.
fn may(admission: &Admission<'_>, verb: &str, signer: &str) -> bool {
    let allowed = |name: &str| admission.auth.allows(&Attributes::resource(admission.user, verb, GROUP, "signers", "", name));
    let domain = signer.split('/').next().unwrap_or_default();
    allowed(signer) || allowed(&format!("{domain}/*"))
}

pub fn validate(object: Object<'_>, admission: &Admission<'_>) -> Result<(), Error> {
    if admission.resource.group != GROUP {
        return Ok(());
    }
    match (admission.resource.plural.as_str(), admission.target.subresource.as_str(), admission.operation) {
        ("certificatesigningrequests", "approval", Operation::Update) => decide(admission, "approve"),
        ("certificatesigningrequests", "status", Operation::Update) => {
            let differs = |path: &str| admission.old.and_then(|old| old.get(path)) != object.get(path);
            if differs("status.certificate") || differs("status.conditions") { decide(admission, "sign") } else { Ok(()) }
        }
        ("certificatesigningrequests", "", Operation::Create) => restrict_subject(object, admission),
        ("clustertrustbundles", "", Operation::Create | Operation::Update) => attest(object, admission),
        _ => Ok(()),
    }
}

/// By the signer of the old object, so that the write itself cannot choose another.
fn decide(admission: &Admission<'_>, verb: &str) -> Result<(), Error> {
    let signer = admission.old.map_or("", |old| old.text("spec.signerName"));
    if may(admission, verb, signer) {
        return Ok(());
    }
    Err(admission.refuse(format!("user not permitted to {verb} requests with signerName {}", quote(signer))))
}

fn restrict_subject(request: Object<'_>, admission: &Admission<'_>) -> Result<(), Error> {
    if request.text("spec.signerName") != CLIENT_SIGNER {
        return Ok(());
    }
    let pem = match request.get("spec.request") {
        Some(Value::Bytes(bytes)) => bytes.to_vec(),
        Some(Value::String(text)) => BASE64_STANDARD.decode(text.as_bytes()).unwrap_or_default(),
        _ => Vec::new(),
    };
    let unreadable = || admission.refuse("failed to parse CSR: PEM block type must be CERTIFICATE REQUEST");
    let der = CertificateSigningRequestDer::from_pem_slice(&pem).map_err(|_| unreadable())?;
    let (_, parsed) = X509CertificationRequest::from_der(&der).map_err(|_| unreadable())?;
    let masters =
        parsed.certification_request_info.subject.iter_organization().any(|group| group.as_str().is_ok_and(|group| group == crate::auth::MASTERS));
    if masters {
        return Err(admission.refuse(format!("use of {CLIENT_SIGNER} signer with system:masters group is not allowed")));
    }
    Ok(())
}

fn attest(bundle: Object<'_>, admission: &Admission<'_>) -> Result<(), Error> {
    let signer = bundle.text("spec.signerName");
    let unchanged = admission.old.is_some_and(|old| old.get("spec") == bundle.get("spec"));
    if signer.is_empty() || unchanged || may(admission, "attest", signer) {
        return Ok(());
    }
    Err(admission.refuse(format!("user not permitted to attest for signerName {}", quote(signer))))
}

#[cfg(test)]
mod tests {
    use crate::admission::testing::{Case, check_validate};
    use base64::Engine as _;

    const APPROVER: [(&str, &str); 2] = [
        (
            "/registry/clusterroles/r",
            r#"{"metadata":{"name":"r"},"rules":[{"apiGroups":["certificates.k8s.io"],"resources":["signers"],"resourceNames":["example.com/*"],"verbs":["approve","sign"]}]}"#,
        ),
        (
            "/registry/clusterrolebindings/b",
            r#"{"metadata":{"name":"b"},"roleRef":{"kind":"ClusterRole","name":"r"},"subjects":[{"kind":"User","name":"jane"}]}"#,
        ),
    ];

    fn request(signer: &str) -> String {
        format!(r#"{{"spec":{{"signerName":"{signer}"}}}}"#)
    }

    #[tokio::test]
    async fn approving_and_signing_need_permission_for_the_signer() {
        let case = |signer: &str, subresource: &str| {
            Case::create(
                "certificates.k8s.io",
                "CertificateSigningRequest",
                "",
                &format!(r#"{{"spec":{{"signerName":"{signer}"}},"status":{{"certificate":"eA=="}}}}"#),
            )
            .update(&request(signer))
            .subresource(subresource)
            .rows(&APPROVER)
        };
        check_validate(super::validate, case("example.com/a", "approval"), Ok(())).await;
        let refused = r#"certificatesigningrequests.certificates.k8s.io "x" is forbidden: user not permitted to approve requests with signerName "other.com/a""#;
        check_validate(super::validate, case("other.com/a", "approval"), Err(refused)).await;
        check_validate(super::validate, case("example.com/a", "status"), Ok(())).await;
        check_validate(super::validate, case("other.com/a", "status"), Err(&refused.replace("approve", "sign"))).await;
    }

    #[tokio::test]
    async fn nobody_becomes_a_master_by_a_certificate() {
        let csr = |group: &str| {
            let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
            params.distinguished_name.push(rcgen::DnType::OrganizationName, group);
            let pem = params.serialize_request(&rcgen::KeyPair::generate().unwrap()).unwrap().pem().unwrap();
            let request = base64::prelude::BASE64_STANDARD.encode(pem);
            let object = format!(r#"{{"spec":{{"signerName":"kubernetes.io/kube-apiserver-client","request":"{request}"}}}}"#);
            Case::create("certificates.k8s.io", "CertificateSigningRequest", "", &object)
        };
        check_validate(super::validate, csr("devs"), Ok(())).await;
        let refused = r#"certificatesigningrequests.certificates.k8s.io "x" is forbidden: use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"#;
        check_validate(super::validate, csr("system:masters"), Err(refused)).await;
    }
}
