//! The encoder: structs in the order of the schema, with what Go writes for fields that are absent; maps in the order of their keys.

use crate::schema::{Choice, Field, Kind, Schema, StructType};
use crate::text;
use crate::tree::{Map, Struct, Value};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

pub(super) struct Encoder<'a> {
    pub schema: &'a Schema,
    pub out: &'a mut Vec<u8>,
}

/// How far a struct has been written.
struct Walk<'w> {
    ty: &'w StructType,
    /// What is present and not yet written.
    fields: &'w [(u16, Value)],
    /// What is written even if absent, and not yet considered.
    shown: &'w [u16],
    unknown: &'w [(crate::Str, Value)],
    /// Where the first field began: a comma goes before all others.
    start: usize,
}

impl<'w> Walk<'w> {
    /// The next field up to a number, with its value if it is present.
    fn next(&mut self, end: u16) -> Option<(u16, Option<&'w Value>)> {
        let present = self.fields.first().map_or(u16::MAX, |(number, _)| *number);
        let shown = self.shown.first().copied().unwrap_or(u16::MAX);
        if present.min(shown) >= end {
            return None;
        }
        if shown <= present {
            self.shown = &self.shown[1..];
        }
        if present > shown {
            return Some((shown, None));
        }
        let ((number, value), rest) = self.fields.split_first()?;
        self.fields = rest;
        Some((*number, Some(value)))
    }
}

impl<'a> Encoder<'a> {
    pub fn object(&mut self, object: &Struct) {
        let mut walk = self.open(object);
        self.advance(&mut walk, u16::MAX);
        self.close(&mut walk);
    }

    /// The object without one field of one of its structs (`metadata.resourceVersion`); returns where that goes.
    pub fn object_without(&mut self, object: &Struct, outer: u16, hidden: u16) -> usize {
        let mut walk = self.open(object);
        self.advance(&mut walk, outer);
        walk.shown = walk.shown.strip_prefix(&[outer]).unwrap_or(walk.shown);
        let absent;
        let inner = match walk.next(outer + 1) {
            Some((_, Some(Value::Struct(inner)))) => &**inner,
            _ => {
                // Without metadata there is no stored object; an empty one keeps the text well-formed.
                let Kind::Struct(ty) = walk.ty.fields[usize::from(outer)].kind else { return self.out.len() };
                absent = Struct::new(ty);
                &absent
            }
        };
        let field = &walk.ty.fields[usize::from(outer)];
        self.unknown_before(&mut walk, Some(&field.name));
        self.name(&walk, field);
        let mut within = self.open(inner);
        self.advance(&mut within, hidden);
        let gap = self.out.len();
        within.fields = match within.fields.split_first() {
            Some(((number, _), rest)) if *number == hidden => rest,
            _ => within.fields,
        };
        self.advance(&mut within, u16::MAX);
        self.close(&mut within);
        self.advance(&mut walk, u16::MAX);
        self.close(&mut walk);
        gap
    }

    fn open<'w>(&mut self, object: &'w Struct) -> Walk<'w>
    where
        'a: 'w,
    {
        self.out.push(b'{');
        let ty = self.schema.get(object.ty);
        Walk { ty, fields: object.fields(), shown: &ty.shown, unknown: object.unknown.entries(), start: self.out.len() }
    }

    /// Writes the fields up to a number.
    fn advance(&mut self, walk: &mut Walk<'_>, end: u16) {
        while let Some((number, value)) = walk.next(end) {
            let field = &walk.ty.fields[usize::from(number)];
            if !walk.unknown.is_empty() {
                self.unknown_before(walk, Some(&field.name));
            }
            self.name(walk, field);
            match value {
                Some(value) => self.value(value),
                None => self.absent(field),
            }
        }
    }

    fn close(&mut self, walk: &mut Walk<'_>) {
        self.unknown_before(walk, None);
        self.out.push(b'}');
    }

    /// A custom resource's fields are sorted by name, and so are preserved unknown ones: the two are merged.
    fn unknown_before(&mut self, walk: &mut Walk<'_>, name: Option<&str>) {
        while let Some(((key, value), rest)) = walk.unknown.split_first() {
            if name.is_some_and(|name| key.as_str() > name) {
                return;
            }
            if self.out.len() > walk.start {
                self.out.push(b',');
            }
            write_string(key, self.out);
            self.out.push(b':');
            self.value(value);
            walk.unknown = rest;
        }
    }

    fn name(&mut self, walk: &Walk<'_>, field: &Field) {
        if self.out.len() > walk.start {
            self.out.push(b',');
        }
        self.out.extend_from_slice(field.key.as_bytes());
    }

    pub fn value(&mut self, value: &Value) {
        match value {
            Value::String(text) => write_string(text, self.out),
            Value::Struct(inner) => self.object(inner),
            Value::List(items) => self.list(items),
            Value::Map(map) => self.map(map),
            Value::Int(number) => write_int(*number, self.out),
            Value::Bool(true) => self.out.extend_from_slice(b"true"),
            Value::Bool(false) => self.out.extend_from_slice(b"false"),
            Value::Null => self.out.extend_from_slice(b"null"),
            Value::Double(number) => self.out.extend_from_slice(text::json_float(*number).as_bytes()),
            Value::Bytes(bytes) => self.bytes(bytes),
            Value::Raw(json) => write_raw(json, self.out),
        }
    }

    fn list(&mut self, items: &[Value]) {
        self.out.push(b'[');
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                self.out.push(b',');
            }
            self.value(item);
        }
        self.out.push(b']');
    }

    fn map(&mut self, map: &Map) {
        self.out.push(b'{');
        for (at, (key, value)) in map.iter().enumerate() {
            if at > 0 {
                self.out.push(b',');
            }
            write_string(key, self.out);
            self.out.push(b':');
            self.value(value);
        }
        self.out.push(b'}');
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.out.push(b'"');
        let start = self.out.len();
        self.out.resize(start + base64::encoded_len(bytes.len(), true).unwrap_or_default(), 0);
        // The room is exactly what the encoder needs.
        let written = BASE64.encode_slice(bytes, &mut self.out[start..]).unwrap_or_default();
        self.out.truncate(start + written);
        self.out.push(b'"');
    }

    /// What Go writes for a field that was not given.
    fn absent(&mut self, field: &Field) {
        if field.presence.pointer {
            return self.out.extend_from_slice(b"null");
        }
        let text = match &field.kind {
            Kind::Struct(ty) => return self.object(&Struct::new(*ty)),
            Kind::Bool | Kind::Choice(Choice::Bool, _) => "false",
            Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Double | Kind::IntOrString => "0",
            Kind::String => "\"\"",
            Kind::Quantity => "\"0\"",
            Kind::Duration => "\"0s\"",
            Kind::Bytes | Kind::List(_) | Kind::Map(_) | Kind::Time | Kind::MicroTime | Kind::Fields | Kind::Any | Kind::Choice(..) => "null",
        };
        self.out.extend_from_slice(text.as_bytes());
    }
}

fn write_int(number: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// JSON text kept as it came; Go escapes it again on the way out.
fn write_raw(json: &[u8], out: &mut Vec<u8>) {
    let mut rest = json;
    while let Some(at) = memchr::memchr3(b'<', b'>', b'&', rest) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(unicode_escape(rest[at]).as_slice());
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// What a byte of a string needs: nothing, an escape, or a look at what follows it.
const PLAIN: u8 = 0;
const ESCAPED: u8 = 1;
const MAYBE_SEPARATOR: u8 = 2;

const NEEDS: [u8; 256] = {
    let mut needs = [PLAIN; 256];
    let mut byte = 0;
    while byte < 0x20 {
        needs[byte] = ESCAPED;
        byte += 1;
    }
    needs[b'"' as usize] = ESCAPED;
    needs[b'\\' as usize] = ESCAPED;
    needs[b'<' as usize] = ESCAPED;
    needs[b'>' as usize] = ESCAPED;
    needs[b'&' as usize] = ESCAPED;
    needs[0xe2] = MAYBE_SEPARATOR;
    needs
};

/// Appends a text with its quotes, escaped as Go does: `<`, `>`, `&`, U+2028 and U+2029 too, which keeps JSON safe inside HTML and JavaScript.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut plain = 0;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match NEEDS[usize::from(byte)] {
            PLAIN => at += 1,
            ESCAPED => {
                out.extend_from_slice(&bytes[plain..at]);
                write_escape(byte, out);
                at += 1;
                plain = at;
            }
            _ => match bytes[at..] {
                [_, 0x80, last @ (0xa8 | 0xa9), ..] => {
                    out.extend_from_slice(&bytes[plain..at]);
                    out.extend_from_slice(if last == 0xa8 { b"\\u2028" } else { b"\\u2029" });
                    at += 3;
                    plain = at;
                }
                _ => at += 1,
            },
        }
    }
    out.extend_from_slice(&bytes[plain..]);
    out.push(b'"');
}

fn write_escape(byte: u8, out: &mut Vec<u8>) {
    let short = match byte {
        b'"' => b'"',
        b'\\' => b'\\',
        0x8 => b'b',
        0xc => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => return out.extend_from_slice(&unicode_escape(byte)),
    };
    out.extend_from_slice(&[b'\\', short]);
}

fn unicode_escape(byte: u8) -> [u8; 6] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    [b'\\', b'u', b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]
}
