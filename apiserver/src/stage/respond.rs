//! Answers: status codes, headers and bodies, of objects, lists and errors.

use crate::Error;
use crate::body::{Body, List};
use crate::media::{self, Accept, Format, Offer};
use crate::options::Options;
use crate::present::{self, ListHead, View};
use crate::stage::decode;
use crate::status::{Details, Status};
use crate::write::{Action, Intent, Object, Written};
use apiserver_machinery::codec::Report;
use apiserver_machinery::tree::Struct;
use apiserver_machinery::{builtin, json, protobuf};
use apiserver_store::Row;
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WARNING};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use std::sync::Arc;

/// Warnings of one answer, and bytes of each, that are sent.
const WARNINGS_MAX: usize = 16;
const WARNING_BYTES_MAX: usize = 1024;

pub fn bytes(code: StatusCode, media_type: &'static str, bytes: Bytes, options: &Options) -> Result<Response<Body>, Error> {
    let bytes = if options.pretty == Some(true) && media_type == media::JSON { pretty(&bytes).into() } else { bytes };
    Ok(with_body(code, media_type, Body::Full(bytes)))
}

pub fn with_body(code: StatusCode, media_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// A built-in object that is no row: Scale, reviews, Status.
pub fn tree(code: StatusCode, tree: &Struct, accept: Accept, options: &Options) -> Result<Response<Body>, Error> {
    let schema = builtin::schema();
    let mut out = Vec::new();
    let api_version = tree.str_at(schema, "apiVersion").unwrap_or_default();
    let kind = tree.str_at(schema, "kind").unwrap_or_default();
    present::encode(accept.format, schema, tree, api_version, kind, &mut out)?;
    bytes(code, accept.format.media_type(), out.into(), options)
}

/// What a write answers.
pub fn written(intent: &Intent, written: Written) -> Result<Response<Body>, Error> {
    let view = View::new(&intent.found, intent.accept, &intent.options, intent.now);
    let deleting = matches!(intent.action, Action::Delete(_) | Action::Evict(_));
    let code = if written.created && !deleting { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = match (&intent.action, &written.object) {
        (Action::Bind(_), _) => success(StatusCode::CREATED, None, intent)?,
        (Action::Evict(_), _) => success(StatusCode::CREATED, None, intent)?,
        (Action::Scale(_), object) => scale(intent, object)?,
        (Action::Delete(_), Object::Row(row) | Object::Gone(row, _)) if written.removed && !intent.found.resource.rules.returns_deleted => {
            success(StatusCode::OK, Some(row), intent)?
        }
        (_, Object::Row(row)) => bytes(code, view.media_type(), view.object(row)?, &intent.options)?,
        (_, Object::Gone(row, revision)) => bytes(code, view.media_type(), view.object_at(row, *revision)?, &intent.options)?,
        (_, Object::Tree(tree)) => {
            let tree = intent.found.from_storage(tree.clone())?;
            bytes(code, view.media_type(), view.tree(&tree)?, &intent.options)?
        }
    };
    warn(response.headers_mut(), &written.warnings);
    Ok(response)
}

fn scale(intent: &Intent, object: &Object) -> Result<Response<Body>, Error> {
    let scale = match object {
        Object::Row(row) | Object::Gone(row, _) => crate::scale::of(&intent.found, row)?,
        Object::Tree(tree) => crate::scale::of_storage_tree(&intent.found, tree)?,
    };
    tree(StatusCode::OK, &scale, intent.accept, &intent.options)
}

fn success(code: StatusCode, row: Option<&Row>, intent: &Intent) -> Result<Response<Body>, Error> {
    let details = match row {
        None => None,
        Some(row) => {
            let resource = &intent.found.resource;
            let tree = crate::convert::stored(resource, row)?;
            let uid = tree.str_at(&resource.storage.shape.schema, "metadata.uid").unwrap_or_default();
            Some(Details {
                name: intent.target.name.clone(),
                group: resource.group.clone(),
                kind: resource.plural.clone(),
                uid: uid.into(),
                ..Details::default()
            })
        }
    };
    let mut status = Status::success(details);
    if row.is_none() {
        status.code = code.as_u16();
    }
    let format = intent.accept.format;
    Ok(with_body(code, format.media_type(), Body::Full(status_bytes(&status, format).into())))
}

/// Warnings as `299 - "text"` headers.
pub fn warn(headers: &mut HeaderMap, warnings: &[String]) {
    for warning in warnings.iter().take(WARNINGS_MAX) {
        let mut text = String::with_capacity(warning.len() + 8);
        text.push_str("299 - \"");
        for c in warning.chars().take(WARNING_BYTES_MAX) {
            match c {
                '"' | '\\' => {
                    text.push('\\');
                    text.push(c);
                }
                c if c.is_control() => text.push(' '),
                c => text.push(c),
            }
        }
        text.push('"');
        if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
            headers.append(WARNING, value);
        }
    }
}

/// The Status of an error, in a form that the client reads.
pub fn error(headers: &HeaderMap, error: &Error) -> Response<Body> {
    let offer = Offer { protobuf: true, transforms: true };
    let format = media::accept(headers, offer).map_or(Format::Json, |accept| accept.format);
    let status = error.status();
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if code.is_server_error() {
        tracing::warn!(code = status.code, reason = %status.reason, message = %status.message, "request failed");
    }
    let mut response = with_body(code, format.media_type(), Body::Full(status_bytes(&status, format).into()));
    if let Some(seconds) = status.details.as_ref().map(|details| details.retry_after_seconds).filter(|seconds| *seconds > 0) {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// A Status in any format; JSON where the other fails, which a Status of ours does not.
pub fn status_bytes(status: &Status, format: Format) -> Vec<u8> {
    let bytes = status.to_json();
    if format == Format::Json {
        return bytes;
    }
    let encoded = decode::builtin_shape("", "v1", "Status").and_then(|shape| {
        let tree = json::decode(&shape, &bytes, &mut Report::ignore()).map_err(|error| Error::Internal(error.to_string()))?;
        let mut out = Vec::new();
        present::encode(format, &shape.schema, &tree, "v1", "Status", &mut out)?;
        Ok(out)
    });
    encoded.unwrap_or(bytes)
}

/// A list: its head, then the rows' own bytes.
pub fn list(view: View, head: ListHead, rows: Vec<Arc<Row>>, options: &Options) -> Result<Response<Body>, Error> {
    let media_type = view.media_type();
    if view.accept.format == Format::Protobuf {
        return protobuf_list(&view, &head, &rows);
    }
    let (start, separator, tail) = view.frame(&head);
    let mut rows = rows.into_iter();
    let wants_text = view.accept.format == Format::Yaml || options.pretty == Some(true);
    let mut next = move |out: &mut BytesMut| match rows.next() {
        Some(row) => view.item(&row, out).map(|()| true),
        None => Ok(false),
    };
    if !wants_text {
        return Ok(with_body(StatusCode::OK, media_type, Body::List(Box::new(List::new(start, Box::new(next), separator, tail)))));
    }
    let mut out = BytesMut::from(&start[..]);
    let mut first = true;
    loop {
        let before = out.len();
        if !first {
            out.extend_from_slice(separator);
        }
        first = false;
        if !next(&mut out)? {
            out.truncate(before);
            break;
        }
    }
    out.extend_from_slice(tail);
    if media_type == media::YAML {
        return Ok(with_body(StatusCode::OK, media_type, Body::Full(present::yaml_of_json(&out)?.into())));
    }
    bytes(StatusCode::OK, media_type, out.freeze(), options)
}

/// A protobuf list names its length before its items, so these are gathered first: pointers, not copies.
fn protobuf_list(view: &View, head: &ListHead, rows: &[Arc<Row>]) -> Result<Response<Body>, Error> {
    let (meta, ..) = view.frame(head);
    let mut items = Vec::with_capacity(rows.len());
    let mut length = meta.len();
    for row in rows {
        let raw = view.raw_item(row)?;
        length += 1 + varint_len(raw.len()) + raw.len();
        items.push(raw);
    }
    let (api_version, kind) = view.list_type();
    let mut start = Vec::with_capacity(meta.len() + 128);
    protobuf::envelope::write_head(&api_version, &kind, length, &mut start);
    start.extend_from_slice(&meta);
    let mut items = items.into_iter();
    let next = move |out: &mut BytesMut| match items.next() {
        Some(raw) => {
            out.put_u8(0x12);
            present::varint(raw.len() as u64, out);
            out.extend_from_slice(&raw);
            Ok(true)
        }
        None => Ok(false),
    };
    Ok(with_body(StatusCode::OK, media::PROTOBUF, Body::List(Box::new(List::new(start.into(), Box::new(next), b"", &protobuf::envelope::TAIL)))))
}

fn varint_len(number: usize) -> usize {
    (usize::BITS - (number | 1).leading_zeros()).div_ceil(7) as usize
}

/// JSON with two spaces of indentation for each level, as `?pretty=1` asks.
pub fn pretty(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() * 2);
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    let newline = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.resize(out.len() + depth * 2, b' ');
    };
    let mut bytes = json.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if in_string {
            out.push(byte);
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'"' => {
                in_string = true;
                out.push(byte);
            }
            b'{' | b'[' => {
                out.push(byte);
                if bytes.peek().is_some_and(|next| matches!(next, b'}' | b']')) {
                    out.extend(bytes.next());
                } else {
                    depth += 1;
                    newline(&mut out, depth);
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                newline(&mut out, depth);
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                newline(&mut out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            b' ' | b'\n' | b'\r' | b'\t' => {}
            byte => out.push(byte),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pretty_json_keeps_strings_and_empty_braces() {
        let text = pretty(br#"{"a":{},"b":[1,"x, \"y\": {z}"],"c":[]}"#);
        assert_eq!(String::from_utf8(text).unwrap(), "{\n  \"a\": {},\n  \"b\": [\n    1,\n    \"x, \\\"y\\\": {z}\"\n  ],\n  \"c\": []\n}");
    }

    #[test]
    fn varint_lengths_are_those_of_the_encoding() {
        for number in [0_usize, 1, 127, 128, 16_383, 16_384, 1 << 21, 1 << 30] {
            let mut out = BytesMut::new();
            present::varint(number as u64, &mut out);
            assert_eq!(varint_len(number), out.len(), "{number}");
        }
    }

    #[test]
    fn warnings_are_quoted() {
        let mut headers = HeaderMap::new();
        warn(&mut headers, &["unknown field \"spec.foo\"".into()]);
        assert_eq!(headers[WARNING], r#"299 - "unknown field \"spec.foo\"""#);
    }
}
