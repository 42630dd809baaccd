//! The encoder: fields in the order of their numbers, and what generated Go code writes for fields that are absent.
//!
//! Upstream's types are proto2 messages without presence for values: a string, number or boolean that is not a pointer is always written, and so is
//! a struct, even if empty. Lists, maps, byte strings and pointers are written if they hold something.

use crate::schema::{Choice, Field, Kind, ListOf, MapOf, Schema};
use crate::time::{Moment, Precision, parse_duration};
use crate::tree::{Struct, Value};
use crate::wire::{Target, Wire};

/// The low three bits of a tag: how the value is framed.
pub(super) const VARINT: u32 = 0;
pub(super) const FIXED64: u32 = 1;
pub(super) const BYTES: u32 = 2;

pub(super) struct Encoder<'a> {
    pub schema: &'a Schema,
    pub out: &'a mut Vec<u8>,
}

/// The field of metadata that a draft leaves out, and what was learnt on the way.
pub(super) struct Gap {
    pub metadata: u16,
    pub hidden: u16,
    pub draft: super::Draft,
}

impl<'a> Encoder<'a> {
    pub fn object(&mut self, object: &Struct) {
        self.message(&self.schema.get(object.ty).wire, object);
    }

    fn message(&mut self, wire: &Wire, object: &Struct) {
        let ty = self.schema.get(object.ty);
        for entry in wire.entries() {
            match &entry.target {
                Target::Field(number) => self.field(entry.number, &ty.fields[usize::from(*number)], object.get(*number)),
                Target::Message(inner) => self.framed(entry.number, |encoder| encoder.message(inner, object)),
            }
        }
    }

    /// The object without one field of its metadata, and without the metadata's length.
    pub fn object_without(&mut self, object: &Struct, gap: &mut Gap) {
        let ty = self.schema.get(object.ty);
        for entry in ty.wire.entries() {
            match &entry.target {
                Target::Field(number) if *number == gap.metadata => {
                    tag(entry.number, BYTES, self.out);
                    gap.draft.length_at = self.out.len();
                    if let Some(Value::Struct(metadata)) = object.get(*number) {
                        self.metadata_without(metadata, gap);
                    }
                    gap.draft.length = self.out.len() - gap.draft.length_at;
                }
                Target::Field(number) => self.field(entry.number, &ty.fields[usize::from(*number)], object.get(*number)),
                Target::Message(inner) => self.framed(entry.number, |encoder| encoder.message(inner, object)),
            }
        }
    }

    fn metadata_without(&mut self, metadata: &Struct, gap: &mut Gap) {
        let ty = self.schema.get(metadata.ty);
        for entry in ty.wire.entries() {
            match &entry.target {
                Target::Field(number) if *number == gap.hidden => gap.draft.gap = self.out.len(),
                Target::Field(number) => self.field(entry.number, &ty.fields[usize::from(*number)], metadata.get(*number)),
                Target::Message(inner) => self.framed(entry.number, |encoder| encoder.message(inner, metadata)),
            }
        }
    }

    fn field(&mut self, number: u32, field: &Field, value: Option<&Value>) {
        match value {
            Some(value) => self.value(number, &field.kind, value),
            None if field.presence.pointer => {}
            None => self.absent(number, &field.kind),
        }
    }

    fn value(&mut self, number: u32, kind: &Kind, value: &Value) {
        match (kind, value) {
            (Kind::List(list), Value::List(items)) => self.list(number, list, items),
            (Kind::Map(map), Value::Map(entries)) => {
                for (key, value) in entries.iter() {
                    self.framed(number, |encoder| encoder.entry(map, key, value));
                }
            }
            (Kind::Struct(_), Value::Struct(inner)) => self.framed(number, |encoder| encoder.object(inner)),
            (_, Value::Null) => self.absent(number, kind),
            _ => self.scalar(number, kind, value),
        }
    }

    fn list(&mut self, number: u32, list: &ListOf, items: &[Value]) {
        if list.wrapped {
            return self.framed(number, |encoder| items.iter().for_each(|item| encoder.value(1, &list.item, item)));
        }
        for item in items {
            self.value(number, &list.item, item);
        }
    }

    fn entry(&mut self, map: &MapOf, key: &str, value: &Value) {
        self.bytes(1, key.as_bytes());
        self.value(2, &map.value, value);
    }

    fn scalar(&mut self, number: u32, kind: &Kind, value: &Value) {
        match (kind, value) {
            (Kind::Quantity, Value::String(text)) => self.framed(number, |encoder| encoder.bytes(1, text.as_bytes())),
            (Kind::Time, Value::String(text)) => self.framed(number, |encoder| encoder.moment(text, Precision::Seconds)),
            (Kind::MicroTime, Value::String(text)) => self.framed(number, |encoder| encoder.moment(text, Precision::Micros)),
            (Kind::Duration, Value::String(text)) => {
                // A tree holds only durations that were read once.
                let nanos = parse_duration(text).unwrap_or_default();
                self.framed(number, |encoder| encoder.varint(1, nanos as u64));
            }
            (Kind::IntOrString, value) => self.framed(number, |encoder| encoder.int_or_string(value)),
            (Kind::Choice(choice, _), value) => self.framed(number, |encoder| encoder.choice(*choice, value)),
            (Kind::Any, value) => {
                let mut json = Vec::new();
                crate::json::encode_value(self.schema, value, &mut json);
                self.framed(number, |encoder| encoder.bytes(1, &json));
            }
            (_, Value::Raw(json)) => self.framed(number, |encoder| encoder.bytes(1, json)),
            (_, Value::String(text)) => self.bytes(number, text.as_bytes()),
            (_, Value::Bytes(bytes)) => self.bytes(number, bytes),
            (_, Value::Bool(truth)) => self.varint(number, u64::from(*truth)),
            (Kind::Double, Value::Int(whole)) => self.double(number, *whole as f64),
            (_, Value::Double(double)) => self.double(number, *double),
            (_, Value::Int(whole)) => self.varint(number, *whole as u64),
            // A tree holds what its schema says; a value of another sort has no protobuf form.
            (_, Value::Null | Value::Struct(_) | Value::List(_) | Value::Map(_)) => {}
        }
    }

    /// What is written for a value that is not a pointer and was not given.
    fn absent(&mut self, number: u32, kind: &Kind) {
        match kind {
            Kind::Bool | Kind::Int32 | Kind::Int64 | Kind::Uint32 => self.varint(number, 0),
            Kind::Double => self.double(number, 0.0),
            Kind::String => self.bytes(number, b""),
            Kind::Quantity => self.framed(number, |encoder| encoder.bytes(1, b"0")),
            Kind::IntOrString => self.framed(number, |encoder| encoder.int_or_string(&Value::Int(0))),
            Kind::Duration => self.framed(number, |encoder| encoder.varint(1, 0)),
            Kind::Choice(Choice::Bool, _) => self.framed(number, |encoder| encoder.varint(1, 0)),
            Kind::Time | Kind::MicroTime | Kind::Fields | Kind::Any | Kind::Choice(..) => self.bytes(number, b""),
            Kind::Struct(ty) => self.framed(number, |encoder| encoder.object(&Struct::new(*ty))),
            Kind::Bytes | Kind::List(_) | Kind::Map(_) => {}
        }
    }

    fn moment(&mut self, text: &str, precision: Precision) {
        // A tree holds only times that were read once.
        let moment = Moment::parse(text, precision).unwrap_or(Moment::ZERO);
        if moment != Moment::ZERO {
            self.varint(1, moment.seconds as u64);
            self.varint(2, u64::from(moment.nanos));
        }
    }

    fn int_or_string(&mut self, value: &Value) {
        let (sort, number, text) = match value {
            Value::String(text) => (1, 0, text.as_str()),
            Value::Int(number) => (0, *number, ""),
            _ => (0, 0, ""),
        };
        self.varint(1, sort);
        self.varint(2, number as u64);
        self.bytes(3, text.as_bytes());
    }

    fn choice(&mut self, choice: Choice, value: &Value) {
        match (choice, value) {
            (Choice::Bool, Value::Bool(allows)) => self.varint(1, u64::from(*allows)),
            (Choice::Bool, Value::Struct(inner)) => {
                self.varint(1, 1);
                self.framed(2, |encoder| encoder.object(inner));
            }
            (_, Value::Struct(inner)) => self.framed(1, |encoder| encoder.object(inner)),
            (Choice::List, Value::List(items)) => {
                for inner in items.iter().filter_map(Value::as_struct) {
                    self.framed(2, |encoder| encoder.object(inner));
                }
            }
            (Choice::Strings, Value::List(items)) => {
                for text in items.iter().filter_map(Value::as_str) {
                    self.bytes(2, text.as_bytes());
                }
            }
            _ => {}
        }
    }

    fn varint(&mut self, number: u32, value: u64) {
        tag(number, VARINT, self.out);
        varint(value, self.out);
    }

    fn double(&mut self, number: u32, value: f64) {
        tag(number, FIXED64, self.out);
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    fn bytes(&mut self, number: u32, bytes: &[u8]) {
        tag(number, BYTES, self.out);
        varint(bytes.len() as u64, self.out);
        self.out.extend_from_slice(bytes);
    }

    /// A message and its length. Most are shorter than 128 bytes, so one byte is kept for the length, and what follows moves where it needs more.
    fn framed(&mut self, number: u32, body: impl FnOnce(&mut Self)) {
        tag(number, BYTES, self.out);
        let length_at = self.out.len();
        self.out.push(0);
        body(self);
        set_length(self.out, length_at);
    }
}

/// Fills in the length of a message that begins one byte after `length_at` and ends where `out` does.
fn set_length(out: &mut Vec<u8>, length_at: usize) {
    let start = length_at + 1;
    let length = out.len() - start;
    if let Ok(short @ 0..128) = u8::try_from(length) {
        out[length_at] = short;
        return;
    }
    let mut bytes = [0; VARINT_BYTES_MAX];
    let count = varint_bytes(length as u64, &mut bytes);
    let end = out.len();
    out.resize(end + count - 1, 0);
    out.copy_within(start..end, length_at + count);
    out[length_at..length_at + count].copy_from_slice(&bytes[..count]);
}

pub(super) fn tag(number: u32, frame: u32, out: &mut Vec<u8>) {
    varint(u64::from(number << 3 | frame), out);
}

pub(super) const VARINT_BYTES_MAX: usize = 10;

fn varint_bytes(mut value: u64, bytes: &mut [u8; VARINT_BYTES_MAX]) -> usize {
    let mut count = 0;
    while value >= 0x80 {
        bytes[count] = value as u8 | 0x80;
        value >>= 7;
        count += 1;
    }
    bytes[count] = value as u8;
    count + 1
}

pub(super) fn varint(value: u64, out: &mut Vec<u8>) {
    if value < 0x80 {
        return out.push(value as u8);
    }
    let mut bytes = [0; VARINT_BYTES_MAX];
    let count = varint_bytes(value, &mut bytes);
    out.extend_from_slice(&bytes[..count]);
}
