//! Keeps one cache like the server's state.
//!
//! ```text
//!            ┌── refused ──► Page ── last page ──┐
//!   Stream ──┴── initial-events-end ─────────────┴──► Watch ── ends, fails ──► Watch (resumes after the last revision)
//!      ▲                                                │
//!      └──────────────── 410 Expired ───────────────────┘
//! ```

use super::ObjectKey;
use super::cache::{Cache, Decoded, Object};
use crate::Client;
use bytes::{Buf, BytesMut};
use http::{Request, StatusCode, header::ACCEPT};
use http_body_util::BodyExt;
use kube::Resource;
use kube::client::Body;
use rand::RngExt;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// First and longest wait after a failure; each is spread over [wait, 2·wait).
const BACKOFF_FIRST: Duration = Duration::from_millis(800);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// A watch that went well for so long forgets earlier failures.
const BACKOFF_RESET_AFTER: Duration = Duration::from_secs(120);
/// The server is asked to end each watch after a random time in this range, seconds, so that watches spread over servers again.
const WATCH_SECONDS: std::ops::Range<u32> = 300..600;
/// A watch that is still open so long after it should have ended is dead.
const WATCH_OVERDUE: Duration = Duration::from_secs(15);
/// Longest wait for the first byte of an answer or for the next initial event.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
const LIST_PAGE_OBJECTS: u32 = 500;
/// One watch event or one page of a list.
const LINE_BYTES_MAX: usize = 64 << 20;

pub(super) const ACCEPT_JSON: &str = "application/json";
pub(super) const ACCEPT_METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
const ACCEPT_METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

pub(super) type Decode = fn(&str) -> Result<Decoded, serde_json::Error>;

/// What to follow.
pub(super) struct Source {
    pub client: Client,
    /// For example `/api/v1/namespaces/default/pods`.
    pub path: String,
    pub fields: String,
    pub labels: String,
    pub accept: &'static str,
    pub decode: Decode,
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("sending: {0}")]
    Send(#[from] kube::Error),
    #[error("building the request: {0}")]
    Request(#[from] http::Error),
    #[error("the server answered {code}: {message}")]
    Status { code: u16, message: String },
    #[error("reading the answer: {0}")]
    Read(String),
    #[error("decoding: {0}")]
    Decode(#[from] serde_json::Error),
    #[error("the answer is longer than {LINE_BYTES_MAX} bytes")]
    TooLong,
    #[error("no answer in time")]
    Timeout,
    #[error("the watch ended at once")]
    EndedAtOnce,
}

impl Failure {
    fn code(&self) -> Option<u16> {
        match self {
            Self::Status { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether the state the watch stands on is gone, so that only a new list helps.
    fn is_expired(&self) -> bool {
        matches!(self.code(), Some(404 | 410))
    }

    /// Whether the server said that it does not know streaming lists.
    fn refuses_streaming(&self) -> bool {
        matches!(self.code(), Some(400 | 405 | 406 | 415 | 422))
    }
}

enum State {
    /// Ask for all objects and their changes in one watch.
    Stream,
    /// Ask for the next page of a list.
    Page { gathered: Vec<Decoded>, token: String },
    /// Ask for the changes after a revision.
    Watch { after: String },
    /// Read an open watch.
    Open { lines: Lines, after: String, opened: Instant, limit: Instant },
}

/// Follows the source for ever.
pub(super) async fn follow(source: &Source, cache: &Cache) {
    let (mut state, mut streams, mut backoff) = (State::Stream, true, Backoff::default());
    loop {
        state = match step(source, cache, state).await {
            Ok(next) => {
                if let State::Watch { .. } = next {
                    backoff.went_well();
                }
                next
            }
            Err((failure, _)) if streams && failure.refuses_streaming() => {
                streams = false;
                State::Page { gathered: Vec::new(), token: String::new() }
            }
            Err((failure, resume)) => {
                let wait = backoff.next();
                match failure.code() {
                    Some(410) => tracing::debug!(path = source.path, %failure, "listing anew"),
                    _ => tracing::warn!(path = source.path, %failure, ?wait, "watching failed"),
                }
                tokio::time::sleep(wait).await;
                match resume {
                    Some(after) if !failure.is_expired() => State::Watch { after },
                    _ if streams => State::Stream,
                    _ => State::Page { gathered: Vec::new(), token: String::new() },
                }
            }
        };
    }
}

/// One step. A failure comes with the revision to resume after, if there is one.
async fn step(source: &Source, cache: &Cache, state: State) -> Result<State, (Failure, Option<String>)> {
    match state {
        State::Stream => stream(source, cache).await.map_err(|failure| (failure, None)),
        State::Page { gathered, token } => page(source, cache, gathered, token).await.map_err(|failure| (failure, None)),
        State::Watch { after } => match source.open(&format!("&resourceVersion={after}")).await {
            Ok((lines, limit)) => Ok(State::Open { lines, after, opened: Instant::now(), limit }),
            Err(failure) => Err((failure, Some(after))),
        },
        State::Open { mut lines, mut after, opened, limit } => {
            let mut heard = false;
            loop {
                match lines.next(limit).await {
                    Ok(Some(line)) => match apply(source, cache, &line) {
                        Ok(revision) => {
                            heard = true;
                            after = revision;
                        }
                        Err(failure) => return Err((failure, Some(after))),
                    },
                    Ok(None) if !heard && opened.elapsed() < Duration::from_secs(1) => return Err((Failure::EndedAtOnce, Some(after))),
                    Ok(None) | Err(Failure::Timeout) => return Ok(State::Watch { after }),
                    Err(failure) => return Err((failure, Some(after))),
                }
            }
        }
    }
}

/// A streaming list: synthetic ADDED events, then a bookmark that says so, then the watch goes on.
async fn stream(source: &Source, cache: &Cache) -> Result<State, Failure> {
    let (mut lines, limit) = source.open("&sendInitialEvents=true&resourceVersionMatch=NotOlderThan").await?;
    let mut gathered = Vec::new();
    while let Some(line) = lines.next(Instant::now() + ANSWER_TIMEOUT).await? {
        let event: Line = serde_json::from_str(&line)?;
        match event.kind {
            "ADDED" | "MODIFIED" => gathered.push((source.decode)(event.object.get())?),
            "BOOKMARK" => {
                let bookmark: Bookmark = serde_json::from_str(event.object.get())?;
                if bookmark.metadata.annotations.contains_key("k8s.io/initial-events-end") {
                    let after = bookmark.metadata.resource_version;
                    cache.replace(gathered, number(&after));
                    return Ok(State::Open { lines, after, opened: Instant::now(), limit });
                }
            }
            _ => return Err(failed(event.object.get())?),
        }
    }
    Err(Failure::EndedAtOnce)
}

async fn page(source: &Source, cache: &Cache, mut gathered: Vec<Decoded>, token: String) -> Result<State, Failure> {
    let token = if token.is_empty() { String::new() } else { format!("&continue={}", escape(&token)) };
    let accept = if source.accept == ACCEPT_METADATA { ACCEPT_METADATA_LIST } else { source.accept };
    let mut lines = source.request(accept, &format!("limit={LIST_PAGE_OBJECTS}{token}")).await?;
    let text = lines.rest(Instant::now() + ANSWER_TIMEOUT).await?;
    let list: List = serde_json::from_str(&text)?;
    for item in list.items.unwrap_or_default() {
        gathered.push((source.decode)(item.get())?);
    }
    match list.metadata.continue_token.filter(|token| !token.is_empty()) {
        Some(token) => Ok(State::Page { gathered, token }),
        None => {
            let after = list.metadata.resource_version;
            cache.replace(gathered, number(&after));
            Ok(State::Watch { after })
        }
    }
}

/// Puts one event into the cache and gives its revision.
fn apply(source: &Source, cache: &Cache, line: &str) -> Result<String, Failure> {
    let event: Line = serde_json::from_str(line)?;
    match event.kind {
        "ADDED" | "MODIFIED" => {
            let new = (source.decode)(event.object.get())?;
            let revision = new.revision;
            cache.put(new);
            Ok(revision.to_string())
        }
        "DELETED" => {
            let last = (source.decode)(event.object.get())?;
            cache.take(&last.key, last.object, last.revision);
            Ok(last.revision.to_string())
        }
        "BOOKMARK" => {
            let bookmark: Bookmark = serde_json::from_str(event.object.get())?;
            cache.advance(number(&bookmark.metadata.resource_version));
            Ok(bookmark.metadata.resource_version)
        }
        _ => Err(failed(event.object.get())?),
    }
}

fn failed(status: &str) -> Result<Failure, serde_json::Error> {
    let status: Status = serde_json::from_str(status)?;
    Ok(Failure::Status { code: status.code, message: status.message })
}

fn number(revision: &str) -> u64 {
    revision.parse().unwrap_or(0)
}

pub(super) fn decode<K: Resource + DeserializeOwned + Send + Sync + 'static>(text: &str) -> Result<Decoded, serde_json::Error> {
    let mut object: K = serde_json::from_str(text)?;
    object.meta_mut().managed_fields = None;
    let meta = object.meta();
    let revision = meta.resource_version.as_deref().map_or(0, number);
    let uid = meta.uid.clone().unwrap_or_default();
    Ok(Decoded { key: ObjectKey::of(&object), uid, revision, object: Arc::new(object) as Object })
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct Bookmark {
    metadata: BookmarkMeta,
}

#[derive(Deserialize)]
struct BookmarkMeta {
    #[serde(rename = "resourceVersion")]
    resource_version: String,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct List<'a> {
    metadata: ListMeta,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct ListMeta {
    #[serde(rename = "resourceVersion", default)]
    resource_version: String,
    #[serde(rename = "continue", default)]
    continue_token: Option<String>,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    message: String,
}

impl Source {
    /// Opens a watch; gives the time by which it must have ended.
    async fn open(&self, more: &str) -> Result<(Lines, Instant), Failure> {
        let seconds = rand::rng().random_range(WATCH_SECONDS);
        let query = format!("watch=true&allowWatchBookmarks=true&timeoutSeconds={seconds}{more}");
        let limit = Instant::now() + Duration::from_secs(seconds.into()) + WATCH_OVERDUE;
        Ok((self.request(self.accept, &query).await?, limit))
    }

    async fn request(&self, accept: &str, query: &str) -> Result<Lines, Failure> {
        let mut uri = format!("{}?{query}", self.path);
        for (name, selector) in [("fieldSelector", &self.fields), ("labelSelector", &self.labels)] {
            if !selector.is_empty() {
                uri.push_str(&format!("&{name}={}", escape(selector)));
            }
        }
        let request = Request::get(uri).header(ACCEPT, accept).body(Body::empty())?;
        let response = tokio::time::timeout(ANSWER_TIMEOUT, self.client.send(request)).await.map_err(|_| Failure::Timeout)??;
        let status = response.status();
        let mut lines = Lines { body: response.into_body(), read: BytesMut::new(), scanned: 0 };
        if status == StatusCode::OK {
            return Ok(lines);
        }
        let text = lines.rest(Instant::now() + ANSWER_TIMEOUT).await.unwrap_or_default();
        let message = serde_json::from_str::<Status>(&text).map_or(text, |status| status.message);
        Err(Failure::Status { code: status.as_u16(), message })
    }
}

/// Percent-encodes all but unreserved characters.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(byte.into()),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// The lines of an answer.
struct Lines {
    body: Body,
    read: BytesMut,
    /// How much of `read` holds no line end.
    scanned: usize,
}

impl Lines {
    async fn next(&mut self, until: Instant) -> Result<Option<String>, Failure> {
        loop {
            if let Some(at) = self.read[self.scanned..].iter().position(|byte| *byte == b'\n') {
                let line = self.read.split_to(self.scanned + at);
                self.read.advance(1);
                self.scanned = 0;
                if !line.is_empty() {
                    return text(&line).map(Some);
                }
                continue;
            }
            self.scanned = self.read.len();
            if !self.more(until).await? {
                let rest = std::mem::take(&mut self.read);
                self.scanned = 0;
                return if rest.is_empty() { Ok(None) } else { text(&rest).map(Some) };
            }
        }
    }

    async fn rest(&mut self, until: Instant) -> Result<String, Failure> {
        while self.more(until).await? {}
        text(&std::mem::take(&mut self.read))
    }

    /// Reads a piece; false at the end.
    async fn more(&mut self, until: Instant) -> Result<bool, Failure> {
        match tokio::time::timeout_at(until, self.body.frame()).await {
            Err(_) => Err(Failure::Timeout),
            Ok(None) => Ok(false),
            Ok(Some(Err(error))) => Err(Failure::Read(error.to_string())),
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    self.read.extend_from_slice(&data);
                }
                if self.read.len() > LINE_BYTES_MAX { Err(Failure::TooLong) } else { Ok(true) }
            }
        }
    }
}

fn text(bytes: &[u8]) -> Result<String, Failure> {
    String::from_utf8(bytes.to_vec()).map_err(|error| Failure::Read(error.to_string()))
}

/// Doubles from [`BACKOFF_FIRST`] to [`BACKOFF_MAX`], with jitter.
#[derive(Default)]
struct Backoff {
    failures: u32,
    last: Option<Instant>,
}

impl Backoff {
    fn next(&mut self) -> Duration {
        let now = Instant::now();
        if self.last.is_some_and(|last| now.saturating_duration_since(last) > BACKOFF_RESET_AFTER) {
            self.failures = 0;
        }
        self.last = Some(now);
        let wait = BACKOFF_FIRST.saturating_mul(1 << self.failures.min(16)).min(BACKOFF_MAX);
        self.failures += 1;
        wait.mul_f64(rand::rng().random_range(1.0..2.0))
    }

    /// A watch ended as asked.
    fn went_well(&mut self) {
        self.failures = 0;
    }
}
