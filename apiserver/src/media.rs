//! Media types: in what form a client sends and wants objects.

use crate::Error;
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};

pub const JSON: &str = "application/json";
pub const YAML: &str = "application/yaml";
pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// How bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    Json,
    Yaml,
    Protobuf,
}

/// What is written of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    Whole,
    /// metav1.Table of this version (`v1`, `v1beta1`).
    Table(&'static str),
    /// metav1.PartialObjectMetadata or its list, of this version.
    Metadata(&'static str),
}

/// What the client accepts, decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Accept {
    pub format: Format,
    pub form: Form,
    /// `stream=watch` was given.
    pub stream: bool,
}

/// How the body of a patch is to be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchType {
    Json,
    Merge,
    Strategic,
    /// Server-side apply, of YAML.
    Apply,
}

/// Header values beyond this many clauses are not looked at.
const ACCEPT_CLAUSES_MAX: usize = 64;

/// What a resource can be turned into.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    pub protobuf: bool,
    /// Table and PartialObjectMetadata.
    pub transforms: bool,
}

impl Format {
    pub fn media_type(self) -> &'static str {
        match self {
            Format::Json => JSON,
            Format::Yaml => YAML,
            Format::Protobuf => PROTOBUF,
        }
    }
}

/// Chooses what to answer with. An absent header, an empty one or `*/*` means JSON.
pub fn accept(headers: &HeaderMap, offer: Offer) -> Result<Accept, Error> {
    let plain = Accept { format: Format::Json, form: Form::Whole, stream: false };
    let mut values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).peekable();
    if values.peek().is_none() {
        return Ok(plain);
    }
    let mut clauses: Vec<(u32, &str)> = Vec::new();
    for clause in values.flat_map(|value| value.split(',')).take(ACCEPT_CLAUSES_MAX) {
        let clause = clause.trim();
        if !clause.is_empty() {
            clauses.push((quality(clause), clause));
        }
    }
    if clauses.is_empty() {
        return Ok(plain);
    }
    // A stable sort: among equals the client's order decides.
    clauses.sort_by_key(|(quality, _)| std::cmp::Reverse(*quality));
    clauses.iter().find_map(|(_, clause)| offered(clause, offer)).ok_or_else(|| not_acceptable(&clauses, offer))
}

/// Upstream's router and its encoders refuse in words of their own: the first where no clause names a media type that is served at all.
fn not_acceptable(clauses: &[(u32, &str)], offer: Offer) -> Error {
    let protobuf = if offer.protobuf { ", application/vnd.kubernetes.protobuf" } else { "" };
    let served = |clause: &str| matches!(clause.split(';').next(), Some(JSON | YAML | PROTOBUF | "*/*" | "application/*"));
    if clauses.iter().any(|(_, clause)| served(clause)) {
        return Error::NotAcceptable {
            message: format!("only the following media types are accepted: application/json, application/yaml{protobuf}"),
            routed: false,
        };
    }
    let streams = if offer.protobuf { ", application/vnd.kubernetes.protobuf;stream=watch" } else { "" };
    let message = format!(
        "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml{protobuf}, application/json;stream=watch{streams}"
    );
    Error::NotAcceptable { message, routed: true }
}

/// `q=0.5` in thousandths; 1000 where there is none.
fn quality(clause: &str) -> u32 {
    clause
        .split(';')
        .skip(1)
        .find_map(|parameter| parameter.trim().strip_prefix("q="))
        .and_then(|q| q.parse::<f64>().ok())
        .map_or(1000, |q| (q.clamp(0.0, 1.0) * 1000.0) as u32)
}

fn offered(clause: &str, offer: Offer) -> Option<Accept> {
    let mut parts = clause.split(';').map(str::trim);
    let format = match parts.next()? {
        "*/*" | "application/*" | JSON => Format::Json,
        YAML => Format::Yaml,
        PROTOBUF if offer.protobuf => Format::Protobuf,
        _ => return None,
    };
    let (mut form, mut version, mut group, mut stream) = ("", "", "", false);
    for parameter in parts {
        match parameter.split_once('=') {
            Some(("as", value)) => form = value,
            Some(("v", value)) => version = value,
            Some(("g", value)) => group = value,
            Some(("stream", "watch")) => stream = true,
            _ => {}
        }
    }
    let version = match version {
        "v1" => "v1",
        "v1beta1" => "v1beta1",
        _ => "",
    };
    let form = match form {
        "" => Form::Whole,
        _ if !offer.transforms || group != "meta.k8s.io" || version.is_empty() => return None,
        "Table" => Form::Table(version),
        "PartialObjectMetadata" | "PartialObjectMetadataList" => Form::Metadata(version),
        _ => return None,
    };
    // Tables have no protobuf form.
    if matches!(form, Form::Table(_)) && format == Format::Protobuf {
        return None;
    }
    Some(Accept { format, form, stream })
}

/// The format of a request's body, from Content-Type. An absent header means JSON.
pub fn content(headers: &HeaderMap, protobuf: bool) -> Result<Format, Error> {
    match media_type(headers) {
        "" | JSON => Ok(Format::Json),
        YAML => Ok(Format::Yaml),
        PROTOBUF if protobuf => Ok(Format::Protobuf),
        _ => {
            let protobuf = if protobuf { ", application/vnd.kubernetes.protobuf" } else { "" };
            let message = format!(
                "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml{protobuf}"
            );
            Err(Error::UnsupportedMediaType { message, routed: false })
        }
    }
}

/// The kind of a patch, from Content-Type.
pub fn patch(headers: &HeaderMap, strategic: bool) -> Result<PatchType, Error> {
    match media_type(headers) {
        "application/json-patch+json" => Ok(PatchType::Json),
        "application/merge-patch+json" => Ok(PatchType::Merge),
        "application/strategic-merge-patch+json" if strategic => Ok(PatchType::Strategic),
        "application/apply-patch+yaml" => Ok(PatchType::Apply),
        _ => Err(Error::UnsupportedMediaType { message: "415: Unsupported Media Type".into(), routed: true }),
    }
}

fn media_type(headers: &HeaderMap) -> &str {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).and_then(|value| value.split(';').next()).map_or("", str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Offer = Offer { protobuf: true, transforms: true };

    fn check(header: &str, offer: Offer, expect: Option<Accept>) {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, header.parse().unwrap());
        assert_eq!(accept(&headers, offer).ok(), expect, "{header}");
    }

    #[test]
    fn the_first_clause_that_can_be_served_wins() {
        let json = Accept { format: Format::Json, form: Form::Whole, stream: false };
        check("*/*", ALL, Some(json));
        check("text/html, application/json", ALL, Some(json));
        check("application/vnd.kubernetes.protobuf, application/json", ALL, Some(Accept { format: Format::Protobuf, ..json }));
        check("application/vnd.kubernetes.protobuf, application/json", Offer { protobuf: false, ..ALL }, Some(json));
        check("application/json;q=0.5, application/yaml", ALL, Some(Accept { format: Format::Yaml, ..json }));
        check("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", ALL, Some(Accept { form: Form::Table("v1"), ..json }));
        check("application/json;as=Table;v=v1;g=meta.k8s.io", Offer { transforms: false, ..ALL }, None);
        check("application/json;as=Table;v=v2;g=meta.k8s.io,application/json", ALL, Some(json));
        check("application/vnd.kubernetes.protobuf;stream=watch", ALL, Some(Accept { format: Format::Protobuf, stream: true, ..json }));
        check("text/html", ALL, None);
    }
}
