//! Protobuf messages to trees and back, byte for byte as upstream's generated code writes them.
//!
//! The schema says all: there is no generated code. Custom resources have no protobuf form.

mod decode;
mod encode;
pub mod envelope;

use crate::schema::{Kind, Schema, Shape};
use crate::tree::Struct;
use decode::Decoder;
use encode::{BYTES, Encoder, Gap, tag, varint};

pub use crate::codec::DecodeError;

/// An encoded object without its resourceVersion, which only the writer of the store knows.
///
/// The metadata's length depends on it too, so that is left out as well. `bytes` is
///
/// ```text
/// …tag of metadata ⟨length⟩ metadata before ⟨resourceVersion⟩ metadata after, rest…
///                  length_at                gap
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Draft {
    pub bytes: Vec<u8>,
    /// Where the length of the metadata goes.
    pub length_at: usize,
    /// Where the field goes.
    pub gap: usize,
    /// The length of the metadata without the field.
    pub length: usize,
}

/// The number of resourceVersion in ObjectMeta.
const RESOURCE_VERSION: u32 = 6;

impl Draft {
    /// Appends the object with this resourceVersion.
    pub fn fill(&self, resource_version: &str, out: &mut Vec<u8>) {
        let mut field = Vec::with_capacity(resource_version.len() + 2);
        tag(RESOURCE_VERSION, BYTES, &mut field);
        varint(resource_version.len() as u64, &mut field);
        field.extend_from_slice(resource_version.as_bytes());
        out.reserve(self.bytes.len() + field.len() + encode::VARINT_BYTES_MAX);
        out.extend_from_slice(&self.bytes[..self.length_at]);
        varint((self.length + field.len()) as u64, out);
        out.extend_from_slice(&self.bytes[self.length_at..self.gap]);
        out.extend_from_slice(&field);
        out.extend_from_slice(&self.bytes[self.gap..]);
    }
}

/// Reads a raw message. apiVersion and kind are not in it, but in its envelope.
pub fn decode(shape: &Shape, raw: &[u8]) -> Result<Struct, DecodeError> {
    Decoder { schema: &shape.schema, depth: 0 }.object(shape.root, raw)
}

/// Appends an object's raw message.
pub fn encode(schema: &Schema, object: &Struct, out: &mut Vec<u8>) {
    Encoder { schema, out }.object(object);
}

/// Encodes an object all but its resourceVersion. `None` for what has no protobuf form or no metadata.
pub fn encode_draft(schema: &Schema, object: &Struct) -> Option<Draft> {
    let ty = schema.get(object.ty);
    let metadata = ty.number("metadata")?;
    let Kind::Struct(inner) = ty.fields[usize::from(metadata)].kind else { return None };
    let hidden = schema.get(inner).number("resourceVersion")?;
    if ty.fields[usize::from(metadata)].proto.is_empty() {
        return None;
    }
    let mut gap = Gap { metadata, hidden, draft: Draft::default() };
    let mut bytes = Vec::with_capacity(DRAFT_ROOM_BYTES);
    Encoder { schema, out: &mut bytes }.object_without(object, &mut gap);
    Some(Draft { bytes, ..gap.draft })
}

/// Room that a draft starts with, so that most need no more.
const DRAFT_ROOM_BYTES: usize = 2048;

/// Appends a frame of a watch stream: the length in four bytes, big-endian, then a metav1.WatchEvent whose object is an enveloped one.
pub fn write_watch_frame(event: &str, enveloped: &[u8], out: &mut Vec<u8>) {
    let mut object = Vec::with_capacity(enveloped.len() + 8);
    tag(1, BYTES, &mut object);
    varint(enveloped.len() as u64, &mut object);
    object.extend_from_slice(enveloped);
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    tag(1, BYTES, out);
    varint(event.len() as u64, out);
    out.extend_from_slice(event.as_bytes());
    tag(2, BYTES, out);
    varint(object.len() as u64, out);
    out.extend_from_slice(&object);
    // An event holds one object, and objects are bounded far below 4 GiB.
    let length = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests;
