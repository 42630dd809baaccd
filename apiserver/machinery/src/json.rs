//! JSON to trees and back, as upstream's decoder and encoder do it.
//!
//! There is no type per kind: one walk, led by the [`Schema`]. Of text that is not JSON, of values of a wrong type, and of unknown and duplicate
//! fields, the messages are upstream's, since clients show them and tests compare them.

mod decode;
mod diagnose;
mod encode;
mod place;
mod read;

use crate::schema::{Schema, Shape};

use crate::tree::{Struct, Value};
use decode::Decoder;
use encode::Encoder;
use read::{Malformed, Reader};
use std::borrow::Cow;

pub use crate::codec::{DecodeError, Report};
pub(crate) use decode::{go_zero, is_go_zero};
pub use encode::write_string;

/// An encoded object without its resourceVersion, which only the writer of the store knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    pub bytes: Vec<u8>,
    /// Where `,"resourceVersion":"N"` goes: inside `metadata`, after at least the object's name.
    pub gap: usize,
}

impl Draft {
    /// The whole text.
    pub fn filled(&self, resource_version: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes.len() + resource_version.len() + 24);
        out.extend_from_slice(&self.bytes[..self.gap]);
        out.extend_from_slice(b",\"resourceVersion\":\"");
        out.extend_from_slice(resource_version.as_bytes());
        out.push(b'"');
        out.extend_from_slice(&self.bytes[self.gap..]);
        out
    }
}

/// What an object says that it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TypeMeta {
    pub api_version: String,
    pub kind: String,
}

/// Reads an object. A field that its type does not have is dropped, unless the schema preserves it, and reported.
pub fn decode(shape: &Shape, bytes: &[u8], report: &mut Report) -> Result<Struct, DecodeError> {
    let text = valid(bytes);
    let mut decoder = Decoder::new(&text, &shape.schema, report);
    let object = decoder.document(shape.root).map_err(|Malformed| syntax(bytes))?;
    match decoder.fault() {
        None => Ok(object),
        Some(message) => Err(DecodeError::Value(message)),
    }
}

/// Reads JSON without a schema: maps, lists and scalars. Of fields that come twice the last counts.
pub fn to_any(bytes: &[u8]) -> Result<Value, DecodeError> {
    let text = valid(bytes);
    let (schema, mut report) = (Schema::default(), Report::ignore());
    let mut decoder = Decoder::new(&text, &schema, &mut report);
    let value = decoder.untyped_document().map_err(|Malformed| syntax(bytes))?;
    match decoder.fault() {
        None => Ok(value),
        Some(message) => Err(DecodeError::Value(message)),
    }
}

/// Says whether bytes are JSON, without making anything of them.
pub fn check(bytes: &[u8]) -> Result<(), DecodeError> {
    let text = std::str::from_utf8(bytes).map_err(|_| syntax(bytes))?;
    let mut reader = Reader::new(text);
    reader.skip().and_then(|()| reader.end()).map_err(|Malformed| syntax(bytes))
}

/// Reads no more of an object than its type, and fails as upstream does before it knows what to decode into.
pub fn type_meta(bytes: &[u8]) -> Result<TypeMeta, DecodeError> {
    let fault = |error: DecodeError| DecodeError::Value(format!("couldn't get version/kind; json parse error: {error}"));
    let value = to_any(bytes).map_err(fault)?;
    let mut meta = TypeMeta::default();
    let map = match value {
        Value::Map(map) => map,
        Value::Null => return Ok(meta),
        other => {
            let go = r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
            let message = format!("json: cannot unmarshal {} into Go value of type {go}", sort_of(&other));
            return Err(fault(DecodeError::Value(message)));
        }
    };
    // This first look is upstream's only one that does not mind the case of names.
    for (key, value) in map {
        let name = match key.to_ascii_lowercase().as_str() {
            "apiversion" => "apiVersion",
            "kind" => "kind",
            _ => continue,
        };
        match value {
            Value::String(text) if name == "kind" => meta.kind = text.into(),
            Value::String(text) => meta.api_version = text.into(),
            Value::Null => {}
            other => {
                let message = format!("json: cannot unmarshal {} into Go struct field .{name} of type string", sort_of(&other));
                return Err(fault(DecodeError::Value(message)));
            }
        }
    }
    Ok(meta)
}

fn sort_of(value: &Value) -> &'static str {
    match value {
        Value::Map(_) | Value::Struct(_) => "object",
        Value::List(_) => "array",
        Value::Bool(_) => "bool",
        Value::Int(_) | Value::Double(_) => "number",
        Value::String(_) | Value::Bytes(_) => "string",
        Value::Null | Value::Raw(_) => "null",
    }
}

/// Appends an object to `out`, compact, without a final newline.
pub fn encode(schema: &Schema, object: &Struct, out: &mut Vec<u8>) {
    Encoder { schema, out }.object(object);
}

/// Encodes an object that has a name, all but its resourceVersion.
pub fn encode_draft(schema: &Schema, object: &Struct) -> Draft {
    let mut bytes = Vec::with_capacity(DRAFT_ROOM_BYTES);
    let mut encoder = Encoder { schema, out: &mut bytes };
    let ty = schema.get(object.ty);
    let hidden = ty.number("metadata").and_then(|metadata| match &ty.fields[usize::from(metadata)].kind {
        crate::schema::Kind::Struct(inner) => schema.get(*inner).number("resourceVersion").map(|number| (metadata, number)),
        _ => None,
    });
    let gap = match hidden {
        Some((metadata, number)) => encoder.object_without(object, metadata, number),
        None => {
            encoder.object(object);
            0
        }
    };
    Draft { bytes, gap }
}

/// Room that a draft starts with, so that most need no more.
const DRAFT_ROOM_BYTES: usize = 2048;

/// Appends any value to `out`; structs within it are of `schema`.
pub fn encode_value(schema: &Schema, value: &Value, out: &mut Vec<u8>) {
    Encoder { schema, out }.value(value);
}

/// The JSON of a value without structs in it.
pub fn from_any(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    encode_value(&Schema::default(), value, &mut out);
    out
}

/// Upstream replaces bytes that are not UTF-8, each by U+FFFD.
fn valid(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    Cow::Owned(text)
}

#[cold]
fn syntax(bytes: &[u8]) -> DecodeError {
    // What the decoder refuses, the diagnosis does too: both know one grammar, and a property test compares them.
    DecodeError::Syntax(diagnose::diagnose(bytes).unwrap_or_else(|| "unexpected end of JSON input".to_owned()))
}

/// JSON text without the spaces between its tokens.
fn compact(text: &str) -> Vec<u8> {
    if !text.bytes().any(|byte| byte.is_ascii_whitespace()) {
        return text.as_bytes().to_vec();
    }
    let mut out = Vec::with_capacity(text.len());
    let (mut quoted, mut escaped) = (false, false);
    for byte in text.bytes() {
        if quoted || !byte.is_ascii_whitespace() {
            out.push(byte);
        }
        match byte {
            b'"' if !escaped => quoted = !quoted,
            _ => {}
        }
        escaped = quoted && byte == b'\\' && !escaped;
    }
    out
}

/// Go's complaint about text that is not base64: it counts the bytes up to the first that is out of place.
fn base64_message(text: &[u8]) -> String {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let data: Vec<(usize, u8)> = text.iter().copied().enumerate().filter(|(_, byte)| !matches!(byte, b'\r' | b'\n')).collect();
    let digits = data.iter().take_while(|(_, byte)| is_digit(byte)).count();
    let at = match data.get(digits) {
        // Padding that is not where it should be, or that something follows.
        Some((at, b'=')) if digits % 4 < 2 => *at,
        Some((at, b'=')) => {
            let wanted = 4 - digits % 4;
            let padding = data[digits..].iter().take_while(|(_, byte)| *byte == b'=').count().min(wanted);
            if padding < wanted {
                data.get(digits + padding).map_or(text.len(), |(at, _)| *at)
            } else {
                data.get(digits + wanted).map_or(*at, |(at, _)| *at)
            }
        }
        Some((at, _)) => *at,
        None => text.len() - digits % 4,
    };
    format!("illegal base64 data at input byte {at}")
}

/// Values as `serde_json` has them, which tests and rarer paths use.
pub fn to_serde(schema: &Schema, value: &Value) -> serde_json::Value {
    let mut text = Vec::new();
    encode_value(schema, value, &mut text);
    // What this crate encodes is JSON.
    serde_json::from_slice(&text).unwrap_or_default()
}

impl From<serde_json::Value> for Value {
    fn from(value: serde_json::Value) -> Self {
        use serde_json::Value as Json;
        match value {
            Json::Null => Value::Null,
            Json::Bool(truth) => Value::Bool(truth),
            Json::Number(number) => match number.as_i64() {
                Some(number) => Value::Int(number),
                None => Value::Double(number.as_f64().unwrap_or_default()),
            },
            Json::String(text) => Value::String(text.into()),
            Json::Array(items) => Value::List(items.into_iter().map(Value::from).collect()),
            Json::Object(map) => Value::Map(map.into_iter().map(|(key, value)| (key.into(), Value::from(value))).collect()),
        }
    }
}

#[cfg(test)]
mod tests;
