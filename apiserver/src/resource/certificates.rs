//! CertificateSigningRequests, ClusterTrustBundles and PodCertificateRequests.

use super::rules::{each, keep, keep_all_but, map_at};
use super::validation::{Errors, immutable, messages, metadata, required, value};
use super::{Context, Object, Rules, Selectable};
use crate::request::User;
use apiserver_machinery::Str;
use apiserver_machinery::field::{Error, Path};
use apiserver_machinery::names;
use apiserver_machinery::schema::Schema;
use apiserver_machinery::tree::{Struct, Value};

pub static SIGNING_REQUEST: Rules = Rules {
    create: create_request,
    update: update_request,
    validate: validate_request,
    selectable: &[Selectable { label: "spec.signerName", value: |request| request.text("spec.signerName").into() }],
    ..Rules::PLAIN
};

pub static TRUST_BUNDLE: Rules = Rules {
    validate: validate_bundle,
    selectable: &[Selectable { label: "spec.signerName", value: |bundle| bundle.text("spec.signerName").into() }],
    unconditional_update: false,
    ..Rules::PLAIN
};

pub static POD_CERTIFICATE: Rules = Rules {
    validate: validate_pod_certificate,
    selectable: &[
        Selectable { label: "spec.signerName", value: |request| request.text("spec.signerName").into() },
        Selectable { label: "spec.podName", value: |request| request.text("spec.podName").into() },
        Selectable { label: "spec.nodeName", value: |request| request.text("spec.nodeName").into() },
    ],
    unconditional_update: false,
    ..Rules::PLAIN
};

const SIGNER_SEGMENT_MAX: usize = 571;
const EXPIRATION_SECONDS_MIN: i64 = 600;
/// 91 days; signers of Kubernetes' own give a day at most.
const POD_EXPIRATION_SECONDS_MAX: i64 = 91 * 86_400;
const KUBERNETES_EXPIRATION_SECONDS_MAX: i64 = 86_400;

/// Who asks is what the server knows, not what the client says.
fn create_request(request: &mut Struct, context: &Context<'_>) {
    let schema = context.schema;
    for field in ["username", "uid", "groups", "extra"] {
        request.take(schema, &format!("spec.{field}"));
    }
    let User { name, uid, groups, extra } = context.user;
    let list = |items: &[Str]| Value::List(items.iter().cloned().map(Value::String).collect());
    if !name.is_empty() {
        request.put(schema, "spec.username", name.clone());
    }
    if !uid.is_empty() {
        request.put(schema, "spec.uid", uid.clone());
    }
    if !groups.is_empty() {
        request.put(schema, "spec.groups", list(groups));
    }
    if !extra.is_empty()
        && let Some(map) = map_at(request, schema, "spec.extra")
    {
        for (key, values) in extra {
            map.insert(key.clone(), list(values));
        }
    }
    request.take(schema, "status");
}

fn update_request(old: &Struct, new: &mut Struct, context: &Context<'_>) {
    let schema = context.schema;
    match context.subresource {
        "status" => {
            keep_all_but(old, new, schema, &["metadata", "status"]);
            keep_approvals(old, new, schema);
            date_conditions(old, new, context);
        }
        "approval" => {
            date_conditions(old, new, context);
            let conditions = new.take(schema, "status.conditions");
            keep_all_but(old, new, schema, &["metadata"]);
            match conditions {
                Some(conditions) => new.put(schema, "status.conditions", conditions),
                None => new.take(schema, "status.conditions").map(drop),
            };
        }
        _ => {
            keep(old, new, schema, "spec");
            keep(old, new, schema, "status");
        }
    }
}

fn of_type(request: &Struct, schema: &Schema, ty: &str) -> Vec<Value> {
    let own = |value: &&Value| value.as_struct().and_then(|own| own.str_at(schema, "type")) == Some(ty);
    request.list_at(schema, "status.conditions").iter().filter(own).cloned().collect()
}

/// A status update does not change approvals.
fn keep_approvals(old: &Struct, new: &mut Struct, schema: &Schema) {
    for ty in ["Approved", "Denied"] {
        let mut before = of_type(old, schema, ty).into_iter();
        if of_type(new, schema, ty).len() != before.len() {
            continue;
        }
        each(new, schema, "status.conditions", |condition| {
            if condition.str_at(schema, "type") == Some(ty)
                && let Some(Value::Struct(kept)) = before.next()
            {
                *condition = *kept;
            }
        });
    }
}

fn date_conditions(old: &Struct, new: &mut Struct, context: &Context<'_>) {
    let schema = context.schema;
    let now = crate::meta::time(context.now);
    let before = Object { schema, tree: old };
    each(new, schema, "status.conditions", |condition| {
        if condition.str_at(schema, "lastUpdateTime").unwrap_or_default().is_empty() {
            condition.put(schema, "lastUpdateTime", now.clone());
        }
        if condition.str_at(schema, "lastTransitionTime").unwrap_or_default().is_empty() {
            let same = |own: &Object<'_>| {
                Some(own.text("type")) == condition.str_at(schema, "type")
                    && Some(own.text("status")) == condition.str_at(schema, "status")
                    && !own.text("lastTransitionTime").is_empty()
            };
            let since = before.items("status.conditions").find(same).and_then(|own| own.get("lastTransitionTime").cloned());
            condition.put(schema, "lastTransitionTime", since.unwrap_or_else(|| now.clone()));
        }
    });
}

const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

fn validate_request(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    let at = Path::new("spec");
    let Some(spec) = new.child("spec") else {
        errors.push(Error::required(&at.child("usages"), ""));
        return;
    };
    if let Err(detail) = well_formed(spec) {
        errors.push(Error::invalid(&at.child("request"), value::shown(spec, "request"), detail));
    }
    required(spec, "usages", &at, "", errors);
    let usages: Vec<&str> = spec.texts("usages").collect();
    for (index, usage) in usages.iter().enumerate() {
        let at = at.child("usages");
        if !USAGES.contains(usage) {
            errors.push(Error::not_supported(&at.index(index), *usage, &USAGES));
        }
        if usages[..index].contains(usage) {
            errors.push(Error::duplicate(&at.index(index), *usage));
        }
    }
    let signer = spec.text("signerName");
    let signer_at = at.child("signerName");
    if signer == "kubernetes.io/legacy-unknown" && old.is_none() {
        errors.push(Error::invalid(&signer_at, signer, "the legacy signerName is not allowed via this API version"));
    } else {
        signer_name(signer, &signer_at, errors);
    }
    if let Some(seconds) = spec.int("expirationSeconds")
        && seconds < EXPIRATION_SECONDS_MIN
    {
        let detail = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.push(Error::invalid(&at.child("expirationSeconds"), seconds, detail));
    }
    conditions(new, errors);
    if let Some(old) = old {
        changed(new, old, context, errors);
    }
}

/// The bytes are a PEM block with a PKCS#10 request that signs itself.
fn well_formed(spec: Object<'_>) -> Result<(), String> {
    let bytes = match spec.get("request") {
        Some(Value::Bytes(bytes)) => bytes.as_ref(),
        _ => &[],
    };
    let Ok((_, pem)) = x509_parser::pem::parse_x509_pem(bytes) else {
        return Err("PEM block type must be CERTIFICATE REQUEST".to_owned());
    };
    if pem.label != "CERTIFICATE REQUEST" {
        return Err("PEM block type must be CERTIFICATE REQUEST".to_owned());
    }
    use x509_parser::prelude::FromDer;
    let (_, request) = x509_parser::certification_request::X509CertificationRequest::from_der(&pem.contents)
        .map_err(|error| format!("asn1: structure error: {error}"))?;
    request.verify_signature().map_err(|_| "x509: the signature of the request does not verify".to_owned())
}

fn conditions(request: Object<'_>, errors: &mut Errors) {
    let at = Path::new("status.conditions");
    let mut seen: Vec<&str> = Vec::new();
    for (index, condition) in request.items("status.conditions").enumerate() {
        let at_condition = at.index(index);
        let (ty, status) = (condition.text("type"), condition.text("status"));
        required(condition, "type", &at_condition, "", errors);
        let allowed: &[&str] = if matches!(ty, "Approved" | "Denied" | "Failed") { &["True"] } else { &["False", "True", "Unknown"] };
        if status.is_empty() {
            errors.push(Error::required(&at_condition.child("status"), ""));
        } else if !allowed.contains(&status) {
            errors.push(Error::not_supported(&at_condition.child("status"), status, allowed));
        }
        let other = match ty {
            "Approved" => "Denied",
            "Denied" => "Approved",
            _ => "",
        };
        if !other.is_empty() && seen.contains(&other) {
            errors.push(Error::invalid(&at, ty, "Approved and Denied conditions are mutually exclusive"));
        }
        if seen.contains(&ty) {
            errors.push(Error::duplicate(&at_condition.child("type"), ty));
        }
        seen.push(ty);
    }
}

fn changed(new: Object<'_>, old: Object<'_>, context: &Context<'_>, errors: &mut Errors) {
    let at = Path::new("status.conditions");
    for ty in ["Approved", "Denied", "Failed"] {
        let (now, was) = (of_type(new.tree, new.schema, ty), of_type(old.tree, old.schema, ty));
        if now.len() < was.len() {
            errors.push(Error::forbidden(&at, format!("updates may not remove a condition of type {ty:?}")));
        } else if context.subresource != "approval" && ty != "Failed" {
            if now.len() > was.len() {
                errors.push(Error::forbidden(&at, format!("updates may not add a condition of type {ty:?}")));
            } else if now != was {
                errors.push(Error::forbidden(&at, format!("updates may not modify a condition of type {ty:?}\n")));
            }
        }
    }
    let at = Path::new("status.certificate");
    if new.get("status.certificate") != old.get("status.certificate") {
        if context.subresource != "status" {
            errors.push(Error::forbidden(&at, "updates may not set certificate content"));
        } else if old.has("status.certificate") {
            errors.push(Error::forbidden(&at, "updates may not modify existing certificate content"));
        }
    }
}

/// `example.com/signer`: a domain and a path of label-like segments.
pub fn signer_name(name: &str, at: &Path<'_>, errors: &mut Errors) {
    if name.is_empty() {
        errors.push(Error::required(at, ""));
        return;
    }
    let segments: Vec<&str> = name.split('/').collect();
    if segments.len() != 2 {
        errors.push(Error::invalid(at, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'"));
        return;
    }
    messages(names::dns1123_subdomain(segments[0]), segments[0], at, errors);
    if !segments[0].contains('.') {
        errors.push(Error::invalid(at, segments[0], "should be a domain with at least two segments separated by dots"));
    }
    for part in segments[1].split('.') {
        let found: Vec<String> = names::dns1123_label(&part.to_lowercase());
        messages(found, segments[1], at, errors);
    }
    if name.len() > SIGNER_SEGMENT_MAX {
        errors.push(Error::too_long(at, SIGNER_SEGMENT_MAX));
    }
}

/// How long a Pod's certificate may live at most, by signer.
pub fn expiration_seconds_max(signer: &str) -> i64 {
    let domain = signer.split('/').next().unwrap_or_default();
    if domain == "kubernetes.io" || domain.ends_with(".kubernetes.io") { KUBERNETES_EXPIRATION_SECONDS_MAX } else { POD_EXPIRATION_SECONDS_MAX }
}

fn validate_bundle(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    let signer = new.text("spec.signerName");
    if old.is_none() {
        let name_at = Path::new("metadata.name");
        let rest = match signer {
            "" => Some(new.name()),
            signer => new.name().strip_prefix(&format!("{}:", signer.replace('/', ":"))),
        };
        match rest {
            None => {
                let prefix = signer.replace('/', ":");
                let detail = format!("ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}:");
                errors.push(Error::invalid(&name_at, new.name(), detail));
            }
            Some(rest) => {
                messages(names::dns1123_subdomain(rest), new.name(), &name_at, errors);
            }
        }
    }
    let at = Path::new("spec");
    if !signer.is_empty() {
        signer_name(signer, &at.child("signerName"), errors);
    }
    if let Some(old) = old {
        immutable(new, old, "spec.signerName", &at.child("signerName"), errors);
    }
    if new.text("spec.trustBundle").is_empty() {
        let detail = "at least one trust anchor must be provided";
        errors.push(Error::invalid(&at.child("trustBundle"), "<value omitted>", detail));
    }
}

fn validate_pod_certificate(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    if context.subresource == "status" {
        return;
    }
    let at = Path::new("spec");
    if let Some(old) = old {
        immutable(new, old, "spec", &at, errors);
        return;
    }
    let Some(spec) = new.child("spec") else { return };
    signer_name(spec.text("signerName"), &at.child("signerName"), errors);
    for field in ["podName", "podUID", "serviceAccountName", "serviceAccountUID", "nodeName", "nodeUID"] {
        required(spec, field, &at, "", errors);
    }
    for field in ["podName", "serviceAccountName", "nodeName"] {
        let name = spec.text(field);
        if !name.is_empty() {
            messages(names::dns1123_subdomain(name), name, &at.child(field), errors);
        }
    }
    let at = at.child("maxExpirationSeconds");
    match spec.int("maxExpirationSeconds") {
        None => errors.push(Error::required(&at, "must be set")),
        Some(seconds) if seconds < 3600 => {
            errors.push(Error::invalid(&at, seconds, "must be in the range [3600, 7862400]"));
        }
        Some(seconds) if seconds > expiration_seconds_max(spec.text("signerName")) => {
            let most = expiration_seconds_max(spec.text("signerName"));
            errors.push(Error::invalid(&at, seconds, format!("must be in the range [3600, {most}]")));
        }
        Some(_) => {}
    }
}
