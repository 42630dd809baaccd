//! Bodies: reading a request's within its bound, and the forms that an answer takes.

use crate::Error;
use bytes::{Bytes, BytesMut};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Upstream's limit on request bodies.
pub const REQUEST_BODY_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Rows of a list are gathered into chunks of about this size: one HTTP/2 frame and one TLS record for each row would cost more than the copy.
const LIST_CHUNK_BYTES: usize = 64 * 1024;

/// A request's body, whatever it came through.
pub type Incoming = http_body_util::combinators::UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// Reads a whole request body of at most [`REQUEST_BODY_BYTES_MAX`].
pub async fn read(mut body: Incoming) -> Result<Bytes, Error> {
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    if body.size_hint().lower() > REQUEST_BODY_BYTES_MAX as u64 {
        return Err(too_large());
    }
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Error::BadRequest(format!("reading the request body failed: {error}").into()))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + rest.len() + data.len() > REQUEST_BODY_BYTES_MAX {
            return Err(too_large());
        }
        if first.is_empty() && rest.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                rest.extend_from_slice(&std::mem::take(&mut first));
            }
            rest.extend_from_slice(&data);
        }
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

fn too_large() -> Error {
    Error::TooLarge(format!("limit is {REQUEST_BODY_BYTES_MAX}").into())
}

/// An answer's body.
pub enum Body {
    Full(Bytes),
    List(Box<List>),
    /// Watch streams, logs, proxied answers.
    Stream(Pin<Box<dyn http_body::Body<Data = Bytes, Error = StreamError> + Send>>),
}

/// Why a stream broke off.
pub type StreamError = Box<dyn std::error::Error + Send + Sync>;

/// Appends the next item of a list; false when there is none.
pub type NextItem = Box<dyn FnMut(&mut BytesMut) -> Result<bool, Error> + Send>;

/// A list, streamed from the rows' own bytes.
pub struct List {
    head: Option<Bytes>,
    next: NextItem,
    separator: &'static [u8],
    tail: &'static [u8],
    done: bool,
}

impl List {
    pub fn new(head: Bytes, next: NextItem, separator: &'static [u8], tail: &'static [u8]) -> Self {
        Self { head: Some(head), next, separator, tail, done: false }
    }

    fn chunk(&mut self) -> Option<Result<Bytes, Error>> {
        if self.done {
            return None;
        }
        let mut out = BytesMut::with_capacity(LIST_CHUNK_BYTES + LIST_CHUNK_BYTES / 4);
        let mut first = false;
        if let Some(head) = self.head.take() {
            out.extend_from_slice(&head);
            first = true;
        }
        while out.len() < LIST_CHUNK_BYTES {
            let before = out.len();
            if !first {
                out.extend_from_slice(self.separator);
            }
            first = false;
            match (self.next)(&mut out) {
                Ok(true) => {}
                Ok(false) => {
                    out.truncate(before);
                    out.extend_from_slice(self.tail);
                    self.done = true;
                    break;
                }
                Err(error) => {
                    self.done = true;
                    return Some(Err(error));
                }
            }
        }
        Some(Ok(out.freeze()))
    }
}

impl Body {
    pub fn empty() -> Self {
        Body::Full(Bytes::new())
    }

    pub fn stream(body: impl http_body::Body<Data = Bytes, Error = StreamError> + Send + 'static) -> Self {
        Body::Stream(Box::pin(body))
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Body::Full(bytes.into())
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        match self.get_mut() {
            Body::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Body::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Body::List(list) => Poll::Ready(list.chunk().map(|chunk| chunk.map(Frame::data).map_err(|error| Box::new(error) as StreamError))),
            Body::Stream(stream) => stream.as_mut().poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Full(bytes) => bytes.is_empty(),
            Body::List(list) => list.done,
            Body::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Body::List(_) => SizeHint::default(),
            Body::Stream(stream) => stream.size_hint(),
        }
    }
}
