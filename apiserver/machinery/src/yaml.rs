//! YAML to trees and back, by way of JSON, as upstream does.
//!
//! The rules are those of the YAML 1.1 library that upstream reads bodies with: `yes` and `off` are booleans, `010` is eight, `<<` merges. Of several
//! documents only the first is read.

mod read;
mod resolve;
mod write;

use crate::codec::{DecodeError, Report};
use crate::json;
use crate::schema::{Schema, Shape};
use crate::tree::{Struct, Value};
use read::Reader;

/// Reads an object.
pub fn decode(shape: &Shape, bytes: &[u8], report: &mut Report) -> Result<Struct, DecodeError> {
    let value = to_any(bytes, report)?;
    json::decode(shape, &json::from_any(&value), report)
}

/// Reads YAML without a schema. Keys that come twice are reported, and the last counts.
pub fn to_any(bytes: &[u8], report: &mut Report) -> Result<Value, DecodeError> {
    let text = std::str::from_utf8(bytes).map_err(|_| DecodeError::Yaml("yaml: invalid leading UTF-8 octet".to_owned()))?;
    let mut reader = Reader::new(text);
    let value = reader.document()?;
    if let Some(problem) = reader.duplicates() {
        report.add(problem);
    }
    Ok(value)
}

/// Appends an object to `out`, with its fields in the order of their names.
pub fn encode(schema: &Schema, object: &Struct, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let mut text = Vec::new();
    json::encode(schema, object, &mut text);
    out.extend_from_slice(&from_json(&text)?);
    Ok(())
}

/// The YAML of a JSON text.
pub fn from_json(text: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut out = Vec::with_capacity(text.len() * 2);
    write::document(&json::to_any(text)?, &mut out);
    Ok(out)
}

#[cfg(test)]
mod tests;
