//! THE watch path: a range of the store, filtered on facts, framed once for each form and shared by all who watch in it.

use crate::Error;
use crate::api::Api;
use crate::body::{Body, StreamError};
use crate::media::{Accept, Form, Format};
use crate::options::Options;
use crate::present::View;
use crate::read;
use crate::select::Selection;
use crate::serve::{Authorized, Found};
use crate::stage::decode::options_invalid;
use crate::stage::respond;
use crate::status::Status;
use apiserver_machinery::field::{self, Path};
use apiserver_machinery::tree::{Map, Struct, Value};
use apiserver_machinery::{json, protobuf};
use apiserver_store::{Change, Closed, Ending, Range, Revision, Row, Snapshot, Watch, WatchError};
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Response, StatusCode};
use http_body::Frame;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// A watch without timeoutSeconds ends after a random time between once and twice this.
const TIMEOUT_SECONDS_MIN: u64 = 1_800;
const BOOKMARK_INTERVAL_MS: u64 = 60_000;
/// A last bookmark comes this long before the end, so that a client that resumes has little to read.
const BOOKMARK_BEFORE_END_MS: u64 = 2_000;
/// Events that are ready together are sent together, up to about this many bytes.
const CHUNK_BYTES: usize = 32 * 1024;
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    Added,
    Modified,
    Deleted,
    Bookmark,
    Error,
}

impl EventType {
    fn as_str(self) -> &'static str {
        match self {
            EventType::Added => "ADDED",
            EventType::Modified => "MODIFIED",
            EventType::Deleted => "DELETED",
            EventType::Bookmark => "BOOKMARK",
            EventType::Error => "ERROR",
        }
    }
}

/// Where a watch begins.
struct Start {
    /// Rows to show first, as ADDED.
    initial: Vec<Arc<Row>>,
    after: Revision,
}

pub async fn watch(api: &Api, found: &Found, request: &Authorized, options: Options, accept: Accept) -> Result<Response<Body>, Error> {
    check_options(&options)?;
    let selection = Selection::new(&found.resource, &request.target, &options)?;
    let prefix = read::prefix(&found.resource, &request.target.namespace);
    let range = match request.target.name.as_str() {
        "" => Range::prefix(prefix),
        name => Range::one(found.resource.key(&request.target.namespace, name)),
    };
    let start = start(api, &options, &range, &selection).await?;
    let view = View::new(found, accept, &options, api.clock.now());
    let timeout =
        options.timeout_seconds.filter(|seconds| *seconds > 0).unwrap_or_else(|| rand::random_range(TIMEOUT_SECONDS_MIN..TIMEOUT_SECONDS_MIN * 2));
    let watch = match api.store.watch(range, start.after) {
        Ok(watch) => Ok(watch),
        Err(WatchError::Compacted(compacted)) => Err(too_old(start.after, compacted.floor)),
        Err(error) => return Err(Error::Unavailable(error.to_string().into())),
    };
    let end = Instant::now() + Duration::from_secs(timeout);
    let stream = Stream {
        initial: start.initial.into_iter(),
        end_of_initial: options.send_initial_events == Some(true) && options.allow_watch_bookmarks,
        started_at: start.after,
        watch,
        bookmarks: options.allow_watch_bookmarks.then(|| Box::pin(tokio::time::sleep_until(next_bookmark(end)))),
        end: Box::pin(tokio::time::sleep_until(end)),
        view,
        selection,
        headers_sent: false,
        done: false,
        metered: api.metrics.watcher(&found.resource),
    };
    let mut response = respond::with_body(StatusCode::OK, accept.format.media_type(), Body::stream(stream));
    if accept.format == Format::Protobuf {
        response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/vnd.kubernetes.protobuf;stream=watch"));
    }
    Ok(response)
}

fn next_bookmark(end: Instant) -> Instant {
    let regular = Instant::now() + Duration::from_millis(BOOKMARK_INTERVAL_MS);
    match end.checked_sub(Duration::from_millis(BOOKMARK_BEFORE_END_MS)) {
        Some(last) if last > Instant::now() => regular.min(last),
        _ => regular,
    }
}

fn check_options(options: &Options) -> Result<(), Error> {
    let not_older = options.resource_version_match == "NotOlderThan";
    let fault = |at: &str, why: &str| Err(options_invalid("ListOptions", field::Error::forbidden(&Path::new(at), why)));
    match options.send_initial_events {
        None if !options.resource_version_match.is_empty() => {
            fault("resourceVersionMatch", "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
        }
        Some(_) if !not_older => fault("resourceVersionMatch", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"),
        _ if !options.continue_token.is_empty() => fault("continue", "continue is forbidden for watch"),
        _ => Ok(()),
    }
}

async fn start(api: &Api, options: &Options, range: &Range, selection: &Selection) -> Result<Start, Error> {
    let wanted = read::wanted_revision(&options.resource_version)?;
    let rows = |snapshot: &Snapshot| snapshot.range(range).filter(|(_, row)| selection.matches(row)).map(|(_, row)| row.clone()).collect();
    match (options.send_initial_events, wanted) {
        (Some(true), Some(wanted)) if wanted > Revision::ZERO => {
            let snapshot = read::not_older_than(api, wanted).await?;
            Ok(Start { initial: rows(&snapshot), after: snapshot.revision() })
        }
        (Some(false), None | Some(Revision::ZERO)) => Ok(Start { initial: Vec::new(), after: api.store.snapshot().revision() }),
        (_, Some(wanted)) if wanted > Revision::ZERO => Ok(Start { initial: Vec::new(), after: wanted }),
        (_, Some(_)) => {
            let snapshot = api.store.snapshot();
            Ok(Start { initial: rows(&snapshot), after: snapshot.revision() })
        }
        (_, None) => {
            let snapshot = api.store.consistent().await?;
            Ok(Start { initial: rows(&snapshot), after: snapshot.revision() })
        }
    }
}

fn too_old(asked: Revision, floor: Revision) -> Status {
    Status::failure(410, "Expired", format!("too old resource version: {asked} ({floor})"), None)
}

/// The events of one watch, as a response body.
struct Stream {
    initial: std::vec::IntoIter<Arc<Row>>,
    end_of_initial: bool,
    started_at: Revision,
    /// Or why there is none, which the stream says in its only event.
    watch: Result<Watch, Status>,
    bookmarks: Option<Pin<Box<Sleep>>>,
    end: Pin<Box<Sleep>>,
    view: View,
    selection: Selection,
    /// A table's column definitions go with the first row only.
    headers_sent: bool,
    done: bool,
    #[expect(dead_code, reason = "counts the watcher until it is dropped")]
    metered: crate::metrics::Watcher,
}

impl http_body::Body for Stream {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        let stream = self.get_mut();
        if stream.done {
            return Poll::Ready(None);
        }
        let mut chunk = Chunk::default();
        stream.gather_initial(&mut chunk);
        while chunk.len() < CHUNK_BYTES && !stream.done {
            if !stream.step(&mut chunk, context) {
                break;
            }
        }
        match chunk.take() {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None if stream.done => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

/// Bytes that are sent together. One event alone is passed on without a copy.
#[derive(Default)]
struct Chunk {
    one: Option<Bytes>,
    many: BytesMut,
}

impl Chunk {
    fn push(&mut self, bytes: Bytes) {
        match self.one.take() {
            None if self.many.is_empty() => self.one = Some(bytes),
            first => {
                if let Some(first) = first {
                    self.many.extend_from_slice(&first);
                }
                self.many.extend_from_slice(&bytes);
            }
        }
    }

    fn len(&self) -> usize {
        self.one.as_ref().map_or(self.many.len(), Bytes::len)
    }

    fn take(self) -> Option<Bytes> {
        self.one.or_else(|| (!self.many.is_empty()).then(|| self.many.freeze()))
    }
}

impl Stream {
    fn gather_initial(&mut self, chunk: &mut Chunk) {
        while chunk.len() < CHUNK_BYTES {
            let Some(row) = self.initial.next() else { break };
            self.push(EventType::Added, &row, row.modified, chunk);
        }
        if self.initial.len() == 0 && std::mem::take(&mut self.end_of_initial) {
            chunk.push(self.bookmark(self.started_at, true));
        }
    }

    /// Takes one thing that is ready; false when nothing is.
    fn step(&mut self, chunk: &mut Chunk, context: &mut Context<'_>) -> bool {
        if self.initial.len() > 0 {
            return false;
        }
        let watch = match &mut self.watch {
            Ok(watch) => watch,
            Err(status) => {
                let event = error_event(status, self.view.accept.format);
                chunk.push(event);
                self.done = true;
                return true;
            }
        };
        match watch.poll_next(context) {
            Poll::Ready(Ok(change)) => {
                self.change(&change, chunk);
                return true;
            }
            Poll::Ready(Err(closed)) => {
                self.close(closed, chunk);
                return true;
            }
            Poll::Pending => {}
        }
        let progress = watch.progress();
        if let Some(sleep) = &mut self.bookmarks
            && sleep.as_mut().poll(context).is_ready()
        {
            let next = next_bookmark(self.end.deadline());
            sleep.as_mut().reset(next);
            chunk.push(self.bookmark(progress, false));
            return true;
        }
        if self.end.as_mut().poll(context).is_ready() {
            self.done = true;
            return true;
        }
        false
    }

    fn close(&mut self, closed: Closed, chunk: &mut Chunk) {
        self.done = true;
        if let Ending::Compacted(compacted) = closed.why {
            let event = error_event(&too_old(closed.resume_after, compacted.floor), self.view.accept.format);
            chunk.push(event);
        }
    }

    /// What a change means to this watcher: an object that begins to match is added, one that stops is deleted.
    fn change(&mut self, change: &Change, chunk: &mut Chunk) {
        let old = change.old.as_ref().filter(|row| self.selection.matches(row));
        let new = change.new.as_ref().filter(|row| self.selection.matches(row));
        let (kind, row) = match (old, new) {
            (None, None) => return,
            (None, Some(row)) => (EventType::Added, row),
            (Some(_), Some(row)) => (EventType::Modified, row),
            (Some(row), None) => (EventType::Deleted, row),
        };
        let Some(form) = self.shared_form(kind) else {
            return self.push(kind, &row.clone(), change.revision, chunk);
        };
        let view = &self.view;
        let frame = change.frame(form, || event(view, kind, row, change.revision, true));
        chunk.push(frame);
    }

    fn push(&mut self, kind: EventType, row: &Row, revision: Revision, chunk: &mut Chunk) {
        let with_headers = !std::mem::replace(&mut self.headers_sent, true);
        chunk.push(event(&self.view, kind, row, revision, with_headers));
    }

    /// The number under which a change's frame is shared. Tables and converted versions are made for each watcher.
    fn shared_form(&self, kind: EventType) -> Option<u32> {
        if !self.view.found.served().is_storage() {
            return None;
        }
        let form = match self.view.accept.form {
            Form::Whole => 0,
            Form::Metadata("v1") => 1,
            Form::Metadata(_) => 2,
            Form::Table(_) => return None,
        };
        let format = match self.view.accept.format {
            Format::Json => 0,
            Format::Yaml => return None,
            Format::Protobuf => 1,
        };
        Some(form << 4 | format << 3 | kind as u32)
    }

    fn bookmark(&self, revision: Revision, end_of_initial: bool) -> Bytes {
        let shape = &self.view.found.served().shape;
        let mut tree = Struct::new(shape.root);
        let schema = &*shape.schema;
        tree.put(schema, "kind", self.view.found.resource.kind.clone());
        tree.put(schema, "apiVersion", self.view.found.api_version());
        tree.put(schema, "metadata.resourceVersion", revision.to_string());
        if end_of_initial {
            let mut annotations = Map::default();
            annotations.insert(INITIAL_EVENTS_END, "true".into());
            tree.put(schema, "metadata.annotations", Value::Map(annotations));
        }
        match self.view.tree_in_event(&tree) {
            Ok(object) => frame(self.view.accept.format, EventType::Bookmark, &object),
            Err(error) => error_event(&error.status(), self.view.accept.format),
        }
    }
}

/// One event of a row. A row that cannot be shown becomes an ERROR event.
fn event(view: &View, kind: EventType, row: &Row, revision: Revision, with_headers: bool) -> Bytes {
    match view.object_in_event(row, revision, with_headers) {
        Ok(object) => frame(view.accept.format, kind, &object),
        Err(error) => error_event(&error.status(), view.accept.format),
    }
}

fn error_event(status: &Status, format: Format) -> Bytes {
    frame(format, EventType::Error, &respond::status_bytes(status, format))
}

/// `{"type":"ADDED","object":{…}}` and a newline; or, in protobuf, the length in four bytes and a WatchEvent { type 1, object 2 { raw 1 } }.
fn frame(format: Format, kind: EventType, object: &[u8]) -> Bytes {
    if format != Format::Protobuf {
        let mut out = BytesMut::with_capacity(object.len() + 64);
        out.extend_from_slice(b"{\"type\":");
        let mut name = Vec::new();
        json::write_string(kind.as_str(), &mut name);
        out.extend_from_slice(&name);
        out.extend_from_slice(b",\"object\":");
        out.extend_from_slice(object);
        out.extend_from_slice(b"}\n");
        return out.freeze();
    }
    let mut out = Vec::with_capacity(object.len() + 64);
    protobuf::write_watch_frame(kind.as_str(), object, &mut out);
    out.into()
}
