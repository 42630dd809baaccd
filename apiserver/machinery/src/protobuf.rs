//! Protobuf messages to trees and back, byte for byte as upstream's generated code writes them.

use crate::schema::{Schema, Shape};
use crate::tree::Struct;

pub use crate::codec::DecodeError;

/// An encoded object without its resourceVersion, which only the writer of the store knows.
///
/// The metadata's length depends on it too, so that is left out as well: `bytes` is
/// `…tag of metadata ⟨length⟩ metadata before ⟨resourceVersion⟩ metadata after, rest…`.
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

impl Draft {
    /// Appends the object with this resourceVersion.
    pub fn fill(&self, _resource_version: &str, _out: &mut Vec<u8>) {}
}

/// Reads a raw message.
pub fn decode(_shape: &Shape, _raw: &[u8]) -> Result<Struct, DecodeError> {
    Err(DecodeError::Protobuf(String::new()))
}

/// Appends an object's raw message.
pub fn encode(_schema: &Schema, _object: &Struct, _out: &mut Vec<u8>) {}

pub fn encode_draft(_schema: &Schema, _object: &Struct) -> Draft {
    Draft::default()
}

pub mod envelope {
    //! The frame of a protobuf body: four bytes `k8s\0`, then a runtime.Unknown that names the object's type and holds its raw message.

    use super::DecodeError;

    pub struct Unknown<'a> {
        pub api_version: &'a str,
        pub kind: &'a str,
        pub raw: &'a [u8],
    }

    pub fn read(_bytes: &[u8]) -> Result<Unknown<'_>, DecodeError> {
        Err(DecodeError::Protobuf(String::new()))
    }

    pub fn write(_api_version: &str, _kind: &str, _raw: &[u8], _out: &mut Vec<u8>) {}
}
