//! THE read path: get and list, top to bottom. Rows are found in a snapshot, filtered on their facts, and sent as they lie.

use crate::Error;
use crate::api::Api;
use crate::body::Body;
use crate::media::Accept;
use crate::options::Options;
use crate::present::{ListHead, View};
use crate::request::Target;
use crate::resource::Resource;
use crate::select::Selection;
use crate::serve::{Authorized, Found};
use crate::stage::decode::options_invalid;
use crate::stage::respond;
use apiserver_machinery::field::{self, Path};
use apiserver_machinery::{Str, revision};
use apiserver_store::{Key, Range, Revision, Row, Snapshot};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::{Response, StatusCode};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// How long a read waits for a revision that is not there yet (upstream's blockTimeout).
const REVISION_WAIT_MS_MAX: u64 = 3_000;

/// One object, or its scale.
pub async fn get(api: &Api, found: &Found, request: &Authorized, options: &Options, accept: Accept) -> Result<Response<Body>, Error> {
    let snapshot = snapshot(api, &options.resource_version).await?;
    let row = row(&snapshot, &found.resource, &request.target)?;
    let view = View::new(found, accept, options, api.clock.now());
    if request.target.subresource == "scale" {
        let scale = crate::scale::of(found, &row)?;
        return respond::tree(StatusCode::OK, &scale, accept, options);
    }
    respond::bytes(StatusCode::OK, view.media_type(), view.object(&row)?, options)
}

/// The row of a target, or the NotFound that names it.
pub fn row(snapshot: &Snapshot, resource: &Resource, target: &Target) -> Result<Arc<Row>, Error> {
    snapshot.get(resource.key(&target.namespace, &target.name)).cloned().ok_or_else(|| not_found(resource, &target.name))
}

pub fn not_found(resource: &Resource, name: &str) -> Error {
    Error::NotFound { group: resource.group.clone(), resource: resource.plural.clone(), name: name.into() }
}

/// A snapshot for a `get`, or for a `list` that says "not older than".
async fn snapshot(api: &Api, resource_version: &str) -> Result<Snapshot, Error> {
    match wanted_revision(resource_version)? {
        None => api.store.consistent().await.map_err(Error::from),
        Some(Revision::ZERO) => Ok(api.store.snapshot()),
        Some(wanted) => not_older_than(api, wanted).await,
    }
}

/// The revision that a request names, if it names one.
pub fn wanted_revision(resource_version: &str) -> Result<Option<Revision>, Error> {
    let revision = revision::parse(resource_version).map_err(|error| Error::BadRequest(format!("invalid resource version: {error}").into()))?;
    Ok((!resource_version.is_empty()).then_some(Revision(revision)))
}

/// The resourceVersionMatch parameter.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Match {
    Unset,
    NotOlderThan,
    Exact,
}

impl Match {
    fn parse(text: &str) -> Result<Match, Error> {
        match text {
            "" => Ok(Match::Unset),
            "NotOlderThan" => Ok(Match::NotOlderThan),
            "Exact" => Ok(Match::Exact),
            _ => {
                let at = Path::new("resourceVersionMatch");
                Err(options_invalid("ListOptions", field::Error::not_supported(&at, text, &["Exact", "NotOlderThan", ""])))
            }
        }
    }
}

/// A snapshot at a revision or after it; waits a little for one that is still to come.
pub async fn not_older_than(api: &Api, wanted: Revision) -> Result<Snapshot, Error> {
    let snapshot = api.store.snapshot();
    if snapshot.revision() >= wanted {
        return Ok(snapshot);
    }
    match api.store.wait_for(wanted, Duration::from_millis(REVISION_WAIT_MS_MAX)).await {
        Ok(snapshot) => Ok(snapshot),
        Err(_) => Err(too_large(wanted, api.store.snapshot().revision())),
    }
}

fn too_large(wanted: Revision, current: Revision) -> Error {
    let message = format!("Too large resource version: {}, current: {}", wanted.0, current.0);
    Error::Timeout {
        causes: vec![crate::status::Cause {
            reason: "ResourceVersionTooLarge".into(),
            message: "Too large resource version".into(),
            field: String::new(),
        }],
        message,
        retry_after_seconds: 1,
    }
}

/// What a continue token holds: `{"v":"meta.k8s.io/v1","rv":N,"start":"<key relative to the prefix>\u0000"}`.
#[derive(Serialize, Deserialize)]
struct ContinueToken {
    #[serde(rename = "v", default)]
    version: Str,
    #[serde(rename = "rv", default)]
    revision: i64,
    #[serde(default)]
    start: String,
}

/// Objects of one resource, in key order.
pub async fn list(api: &Api, found: &Found, request: &Authorized, options: Options, accept: Accept) -> Result<Response<Body>, Error> {
    check_list_options(&options)?;
    let prefix = prefix(&found.resource, &request.target.namespace);
    let (snapshot, start) = place(api, &options, &prefix).await?;
    let selection = Selection::new(&found.resource, &request.target, &options)?;
    let page = page(&snapshot, &prefix, start, &selection, options.limit);
    let head = ListHead { revision: snapshot.revision(), continue_token: page.continue_token(&snapshot, &prefix), remaining: page.remaining };
    let view = View::new(found, accept, &options, api.clock.now());
    respond::list(view, head, page.rows, &options)
}

/// The part of the keyspace that a list or watch looks at.
pub fn prefix(resource: &Resource, namespace: &str) -> String {
    if namespace.is_empty() || !resource.namespaced { resource.prefix.to_string() } else { format!("{}{namespace}/", resource.prefix) }
}

fn check_list_options(options: &Options) -> Result<(), Error> {
    let fault = |at: &str, why: &str| Err(options_invalid("ListOptions", field::Error::forbidden(&Path::new(at), why)));
    if options.send_initial_events.is_some() {
        return fault("sendInitialEvents", "sendInitialEvents is forbidden for list");
    }
    let matched = Match::parse(&options.resource_version_match)?;
    if matched != Match::Unset {
        if options.resource_version.is_empty() {
            return fault("resourceVersionMatch", "resourceVersionMatch is forbidden unless resourceVersion is provided");
        }
        if !options.continue_token.is_empty() {
            return fault("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided");
        }
        if matched == Match::Exact && options.resource_version == "0" {
            return fault("resourceVersionMatch", "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
        }
    }
    Ok(())
}

/// Chooses revision and start of a list from resourceVersion, its match and the continue token.
async fn place(api: &Api, options: &Options, prefix: &str) -> Result<(Snapshot, Option<String>), Error> {
    if !options.continue_token.is_empty() {
        if !matches!(options.resource_version.as_str(), "" | "0") {
            return Err(Error::bad_request("specifying resource version is not allowed when using continue"));
        }
        return resume(api, &options.continue_token, prefix).await;
    }
    let matched = Match::parse(&options.resource_version_match)?;
    let wanted = wanted_revision(&options.resource_version)?;
    let snapshot = match (wanted, matched) {
        (None, _) => api.store.consistent().await?,
        (Some(Revision::ZERO), _) => api.store.snapshot(),
        (Some(wanted), Match::Exact) => exact(api, wanted).await?,
        // What resourceVersion meant before the match existed.
        (Some(wanted), Match::Unset) if options.limit > 0 => exact(api, wanted).await?,
        (Some(wanted), _) => not_older_than(api, wanted).await?,
    };
    Ok((snapshot, None))
}

/// The keyspace as it was.
async fn exact(api: &Api, wanted: Revision) -> Result<Snapshot, Error> {
    not_older_than(api, wanted).await?;
    api.store
        .at(wanted)
        .await
        .map_err(|_| Error::Expired { message: "The resourceVersion for the provided list is too old.".into(), continue_token: None })
}

async fn resume(api: &Api, token: &str, prefix: &str) -> Result<(Snapshot, Option<String>), Error> {
    let invalid = |why: &str| Error::BadRequest(format!("invalid continue token: continue key is not valid: {why}").into());
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).map_err(|error| invalid(&format!("illegal base64 data at input byte {}", fault_at(&error))))?;
    let parsed: ContinueToken = serde_json::from_slice(&bytes).map_err(|error| invalid(&error.to_string()))?;
    if parsed.version != "meta.k8s.io/v1" {
        return Err(invalid(&format!("server does not recognize this encoded version {}", parsed.version)));
    }
    if parsed.start.is_empty() || parsed.start.split('/').any(|part| part == "..") {
        return Err(invalid("encoded start key is not valid"));
    }
    let start = format!("{prefix}{}", parsed.start.trim_start_matches('/'));
    if parsed.revision < 0 {
        return Ok((api.store.consistent().await?, Some(start)));
    }
    if parsed.revision == 0 {
        return Err(invalid("incorrect encoded start resourceVersion (version meta.k8s.io/v1)"));
    }
    match api.store.at(Revision(parsed.revision.unsigned_abs())).await {
        Ok(snapshot) => Ok((snapshot, Some(start))),
        Err(_) => Err(Error::Expired {
            message: "The provided continue parameter is too old to display a consistent list result. You can start a new list without \
                      the continue parameter, or use the continue token in this response to retrieve the remainder of the results. \
                      Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list."
                .into(),
            continue_token: encode_token(-1, &parsed.start),
        }),
    }
}

/// Where Go's decoder would stop.
fn fault_at(error: &base64::DecodeError) -> usize {
    match error {
        base64::DecodeError::InvalidByte(at, _) => *at,
        _ => 0,
    }
}

fn encode_token(revision: i64, start: &str) -> Option<String> {
    let token = ContinueToken { version: "meta.k8s.io/v1".into(), revision, start: start.to_owned() };
    serde_json::to_vec(&token).ok().map(|bytes| BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

/// One page of a list.
struct Page {
    rows: Vec<Arc<Row>>,
    /// The key of the last row, where more follow.
    last: Option<Key>,
    remaining: Option<u64>,
}

impl Page {
    fn continue_token(&self, snapshot: &Snapshot, prefix: &str) -> Option<String> {
        let last = std::str::from_utf8(self.last.as_ref()?.as_ref()).ok()?;
        let revision = i64::try_from(snapshot.revision().0).ok()?;
        encode_token(revision, &format!("{}\0", last.strip_prefix(prefix)?))
    }
}

/// Reads on until `limit` rows match; zero is no limit.
fn page(snapshot: &Snapshot, prefix: &str, start: Option<String>, selection: &Selection, limit: u64) -> Page {
    let range = Range::prefix(prefix);
    let mut page = Page { rows: Vec::new(), last: None, remaining: None };
    let mut last = None;
    let start = start.map_or_else(|| Key::from(prefix), Key::from);
    let mut rows = snapshot.range_from(&range, &start);
    for (key, row) in rows.by_ref() {
        if !selection.matches(row) {
            continue;
        }
        if limit > 0 && page.rows.len() as u64 == limit {
            page.last = last;
            // With a selector the rest would have to be read to be counted.
            page.remaining = selection.is_everything().then(|| 1 + rows.count() as u64);
            return page;
        }
        page.rows.push(row.clone());
        if limit > 0 {
            last = Some(key.clone());
        }
    }
    page
}
