//! JSON to trees and back, as upstream's decoder and encoder do it.
//!
//! There is no type per kind: one walk, driven by the [`Schema`]. Of text that is not JSON, of values of a wrong type, and of unknown and duplicate
//! fields, the messages are upstream's, since clients show them and tests compare them.

use crate::schema::{Schema, Shape};
use crate::tree::{Struct, Value};

pub use crate::codec::{DecodeError, Report};

/// An encoded object without its resourceVersion, which only the writer of the store knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    pub bytes: Vec<u8>,
    /// Where `,"resourceVersion":"N"` goes: inside `metadata`, after at least the object's name.
    pub gap: usize,
}

/// Reads an object. A field that its type does not have is dropped, unless the schema preserves it, and reported.
pub fn decode(_shape: &Shape, _bytes: &[u8], _report: &mut Report) -> Result<Struct, DecodeError> {
    Err(DecodeError::Syntax(String::new()))
}

/// Appends an object to `out`, compact, without a final newline.
pub fn encode(_schema: &Schema, _object: &Struct, _out: &mut Vec<u8>) {}

pub fn encode_draft(_schema: &Schema, _object: &Struct) -> Draft {
    Draft { bytes: Vec::new(), gap: 0 }
}

/// Reads JSON without a schema: maps, lists and scalars.
pub fn to_any(_bytes: &[u8]) -> Result<Value, DecodeError> {
    Err(DecodeError::Syntax(String::new()))
}

/// Appends any value to `out`; structs within it are of `schema`.
pub fn encode_value(_schema: &Schema, _value: &Value, _out: &mut Vec<u8>) {}

/// The JSON of a value without structs in it.
pub fn from_any(_value: &Value) -> Vec<u8> {
    Vec::new()
}

/// Appends a text with its quotes, escaped as Go does.
pub fn write_string(_text: &str, _out: &mut Vec<u8>) {}
