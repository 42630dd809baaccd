//! The frame of a protobuf body: four bytes `k8s\0`, then a runtime.Unknown that names the object's type and holds its raw message.

use super::decode::{Message, fault};
use super::encode::{BYTES, tag, varint};
use crate::codec::DecodeError;

const MAGIC: [u8; 4] = *b"k8s\0";

/// What an envelope holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unknown<'a> {
    pub api_version: &'a str,
    pub kind: &'a str,
    pub raw: &'a [u8],
}

/// Opens an envelope.
pub fn read(bytes: &[u8]) -> Result<Unknown<'_>, DecodeError> {
    if bytes.is_empty() {
        return Err(fault("empty data"));
    }
    let Some(body) = bytes.strip_prefix(&MAGIC) else {
        return Err(fault("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"));
    };
    if body.is_empty() {
        return Err(fault("empty body"));
    }
    let mut unknown = Unknown::default();
    let mut message = Message { rest: body };
    while let Some((number, frame)) = message.next()? {
        match number {
            1 => {
                let mut meta = Message { rest: frame.bytes("typeMeta")? };
                while let Some((number, frame)) = meta.next()? {
                    match number {
                        1 => unknown.api_version = text(frame.bytes("APIVersion")?)?,
                        2 => unknown.kind = text(frame.bytes("kind")?)?,
                        _ => {}
                    }
                }
            }
            2 => unknown.raw = frame.bytes("raw")?,
            _ => {}
        }
    }
    Ok(unknown)
}

fn text(bytes: &[u8]) -> Result<&str, DecodeError> {
    std::str::from_utf8(bytes).map_err(|_| fault("proto: field contains invalid UTF-8"))
}

/// Appends an envelope around a raw message.
pub fn write(api_version: &str, kind: &str, raw: &[u8], out: &mut Vec<u8>) {
    write_head(api_version, kind, raw.len(), out);
    out.extend_from_slice(raw);
    out.extend_from_slice(&TAIL);
}

/// Appends what comes before a raw message of this length, for one that is written piece by piece; [`TAIL`] comes after it.
pub fn write_head(api_version: &str, kind: &str, raw_length: usize, out: &mut Vec<u8>) {
    let mut meta = Vec::with_capacity(api_version.len() + kind.len() + 8);
    for (number, text) in [(1, api_version), (2, kind)] {
        tag(number, BYTES, &mut meta);
        varint(text.len() as u64, &mut meta);
        meta.extend_from_slice(text.as_bytes());
    }
    out.extend_from_slice(&MAGIC);
    tag(1, BYTES, out);
    varint(meta.len() as u64, out);
    out.extend_from_slice(&meta);
    tag(2, BYTES, out);
    varint(raw_length as u64, out);
}

/// An empty contentEncoding and an empty contentType, which upstream always writes.
pub const TAIL: [u8; 4] = [3 << 3 | BYTES as u8, 0, 4 << 3 | BYTES as u8, 0];
