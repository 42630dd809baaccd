//! Paths that name no object: health, version, metrics, discovery, OpenAPI, and the documents by which others verify our tokens.

use crate::api::Api;
use crate::auth::{KEY_SET_PATH, OPENID_CONFIGURATION_PATH};
use crate::body::Body;
use crate::media;
use crate::serve::Authorized;
use crate::stage::respond;
use crate::{Error, discovery, openapi};
use apiserver_component::metrics;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH};
use http::{Method, Response, StatusCode};
use serde_json::json;
use std::sync::Arc;

/// The version of Kubernetes whose API this is.
pub const KUBERNETES_VERSION: &str = "v1.37.2";

/// Documents that depend on the catalog alone, kept until it changes.
#[derive(Default)]
pub struct Documents {
    pub discovery: discovery::Cache,
    pub openapi: openapi::Cache,
}

pub async fn answer(api: &Arc<Api>, request: Authorized) -> Result<Response<Body>, Error> {
    let path = request.target.path.as_str();
    if !matches!(request.parts.method, Method::GET | Method::HEAD) {
        return Err(Error::MethodNotAllowed);
    }
    if let Some(answer) = api.health.answer(path, request.parts.uri.query()).await {
        let code = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        return Ok(respond::with_body(code, "text/plain; charset=utf-8", Body::from(answer.body.into_bytes())));
    }
    match path.trim_end_matches('/') {
        "/version" => Ok(respond::with_body(StatusCode::OK, media::JSON, Body::from(version()))),
        "/metrics" => {
            // Encoding thousands of series takes milliseconds: not on a thread that serves requests.
            let text = tokio::task::spawn_blocking(metrics::exposition).await.map_err(|error| Error::Internal(error.to_string()))?;
            Ok(respond::with_body(StatusCode::OK, metrics::CONTENT_TYPE, Body::from(text)))
        }
        OPENID_CONFIGURATION_PATH => document(api.auth.openid_configuration(), media::JSON),
        KEY_SET_PATH => document(api.auth.key_set(), "application/jwk-set+json"),
        path => published(api, &request, path),
    }
}

fn document(bytes: Option<&[u8]>, media_type: &'static str) -> Result<Response<Body>, Error> {
    let bytes = bytes.ok_or(Error::NoSuchPath)?;
    Ok(respond::with_body(StatusCode::OK, media_type, Body::from(bytes.to_vec())))
}

/// Discovery and OpenAPI.
fn published(api: &Api, request: &Authorized, path: &str) -> Result<Response<Body>, Error> {
    let accept = request.parts.headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let catalog = api.catalog();
    let found = match path {
        path if path.starts_with("/openapi/") => api.documents.openapi.document(&catalog, path),
        path => api.documents.discovery.document(&catalog, path, accept),
    };
    let found = found.ok_or(Error::NoSuchPath)?;
    let mut response = respond::with_body(StatusCode::OK, media::JSON, Body::Full(found.bytes));
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&found.content_type) {
        headers.insert(CONTENT_TYPE, value);
    }
    if let Some(etag) = found.etag.and_then(|etag| HeaderValue::from_str(&etag).ok()) {
        let unchanged = request.parts.headers.get(IF_NONE_MATCH) == Some(&etag);
        headers.insert(ETAG, etag);
        headers.append(http::header::VARY, HeaderValue::from_static("Accept"));
        if unchanged {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.body_mut() = Body::Full(Bytes::new());
        }
    }
    Ok(response)
}

fn version() -> Vec<u8> {
    let document = json!({
        "major": "1", "minor": "37",
        "emulationMajor": "1", "emulationMinor": "37", "minCompatibilityMajor": "1", "minCompatibilityMinor": "36",
        "gitVersion": format!("{KUBERNETES_VERSION}+corten"),
        "gitCommit": option_env!("CORTEN_COMMIT").unwrap_or_default(), "gitTreeState": "clean", "buildDate": "",
        "goVersion": "", "compiler": "rustc", "platform": format!("linux/{}", architecture()),
    });
    document.to_string().into_bytes()
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
