//! The decoder: fields in any order, unknown ones skipped, as generated Go code reads them.

use super::encode::{BYTES, FIXED64, VARINT};
use crate::codec::{DEPTH_MAX, DecodeError, canonical_quantity};
use crate::json::{go_zero, is_go_zero};
use crate::schema::{Choice, Field, Kind, ListOf, MapOf, Schema, StructType, TypeId};
use crate::text::float;
use crate::time::{Moment, Precision, format_duration};
use crate::tree::{Map, Struct, Value};
use crate::wire::{Target, Wire};
use crate::{Str, json};

pub(super) type Result<T> = std::result::Result<T, DecodeError>;

const FIXED32: u32 = 5;
const GROUP_START: u32 = 3;
const GROUP_END: u32 = 4;

pub(super) fn fault(message: impl Into<String>) -> DecodeError {
    DecodeError::Protobuf(message.into())
}

/// A message, or what is left of it.
#[derive(Clone, Copy)]
pub(super) struct Message<'a> {
    pub rest: &'a [u8],
}

/// One field of a message: how it is framed, and its value.
#[derive(Clone, Copy)]
pub(super) enum Frame<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32,
    Bytes(&'a [u8]),
    Group,
}

impl<'a> Message<'a> {
    #[inline]
    pub fn next(&mut self) -> Result<Option<(u32, Frame<'a>)>> {
        // Most fields are strings and messages of fewer than 128 bytes, with a number below 16: one byte of tag and one of length.
        if let [tag, length, rest @ ..] = self.rest
            && tag & 0x87 == BYTES as u8
            && *length < 0x80
            && let Some((bytes, rest)) = rest.split_at_checked(usize::from(*length))
            && *tag >= 8
        {
            self.rest = rest;
            return Ok(Some((u32::from(tag >> 3), Frame::Bytes(bytes))));
        }
        if self.rest.is_empty() {
            return Ok(None);
        }
        self.next_of_any_sort().map(Some)
    }

    fn next_of_any_sort(&mut self) -> Result<(u32, Frame<'a>)> {
        let tag = self.varint()?;
        // Go keeps the low 32 bits of a number, signed.
        let number = (tag >> 3) as i32;
        let frame = (tag & 7) as u32;
        if frame == GROUP_END {
            return Err(fault("proto: wiretype end group for non-group"));
        }
        let number = u32::try_from(number).ok().filter(|number| *number > 0);
        let Some(number) = number else {
            return Err(fault(format!("proto: illegal tag {} (wire type {tag})", (tag >> 3) as i32)));
        };
        Ok((number, self.frame(frame)?))
    }

    #[inline]
    fn frame(&mut self, frame: u32) -> Result<Frame<'a>> {
        Ok(match frame {
            VARINT => Frame::Varint(self.varint()?),
            FIXED64 => {
                let bytes = self.take(8)?;
                Frame::Fixed64(u64::from_le_bytes(bytes.try_into().unwrap_or_default()))
            }
            BYTES => {
                let length = self.varint()?;
                if length > i64::MAX as u64 {
                    return Err(fault("proto: negative length found during unmarshaling"));
                }
                Frame::Bytes(self.take(usize::try_from(length).unwrap_or(usize::MAX))?)
            }
            FIXED32 => {
                self.take(4)?;
                Frame::Fixed32
            }
            GROUP_START => {
                self.skip_group()?;
                Frame::Group
            }
            _ => return Err(fault(format!("proto: illegal wireType {frame}"))),
        })
    }

    fn skip_group(&mut self) -> Result<()> {
        let mut depth = 1_usize;
        while depth > 0 {
            match (self.varint()? & 7) as u32 {
                GROUP_START => depth += 1,
                GROUP_END => depth -= 1,
                frame => drop(self.frame(frame)?),
            }
        }
        Ok(())
    }

    #[inline]
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or_else(|| fault("unexpected EOF"))?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn varint(&mut self) -> Result<u64> {
        if let Some((&byte, rest)) = self.rest.split_first()
            && byte < 0x80
        {
            self.rest = rest;
            return Ok(u64::from(byte));
        }
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.rest.split_first().ok_or_else(|| fault("unexpected EOF"))?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(fault("proto: integer overflow"))
    }
}

impl<'a> Frame<'a> {
    fn wire_type(self) -> u32 {
        match self {
            Frame::Varint(_) => VARINT,
            Frame::Fixed64(_) => FIXED64,
            Frame::Fixed32 => FIXED32,
            Frame::Bytes(_) => BYTES,
            Frame::Group => GROUP_START,
        }
    }

    pub fn varint(self, name: &str) -> Result<u64> {
        match self {
            Frame::Varint(value) => Ok(value),
            other => Err(other.wrong(name)),
        }
    }

    pub fn bytes(self, name: &str) -> Result<&'a [u8]> {
        match self {
            Frame::Bytes(bytes) => Ok(bytes),
            other => Err(other.wrong(name)),
        }
    }

    /// Go's name of a field begins with a capital.
    fn wrong(self, name: &str) -> DecodeError {
        let (first, rest) = name.split_at_checked(1).unwrap_or((name, ""));
        fault(format!("proto: wrong wireType = {} for field {}{rest}", self.wire_type(), first.to_ascii_uppercase()))
    }
}

pub(super) struct Decoder<'a> {
    pub schema: &'a Schema,
    pub depth: usize,
}

impl<'a> Decoder<'a> {
    pub fn object(&mut self, ty: TypeId, bytes: &[u8]) -> Result<Struct> {
        let mut object = Struct::with_capacity(ty, ROOM_FIELDS);
        self.merge(&mut object, bytes)?;
        Ok(object)
    }

    /// Reads a message into a struct; one that comes twice is merged.
    fn merge(&mut self, object: &mut Struct, bytes: &[u8]) -> Result<()> {
        let ty = self.schema.get(object.ty);
        self.message(ty, &ty.wire, object, bytes)
    }

    fn message(&mut self, ty: &'a StructType, wire: &Wire, object: &mut Struct, bytes: &[u8]) -> Result<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(fault("proto: exceeded max depth"));
        }
        let mut message = Message { rest: bytes };
        while let Some((number, frame)) = message.next()? {
            match wire.find(number) {
                Some(Target::Field(number)) => self.field(object, &ty.fields[usize::from(*number)], *number, frame)?,
                Some(Target::Message(inner)) => self.message(ty, inner, object, frame.bytes(&ty.go)?)?,
                None => {}
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn field(&mut self, object: &mut Struct, field: &Field, number: u16, frame: Frame<'_>) -> Result<()> {
        match &field.kind {
            Kind::List(list) if !list.wrapped => {
                let mut items = match object.get_mut(number) {
                    Some(Value::List(items)) => std::mem::take(items),
                    _ => Vec::new(),
                };
                self.items(list, &mut items, frame, &field.name)?;
                if !items.is_empty() {
                    object.add(number, Value::List(items));
                }
                return Ok(());
            }
            Kind::Map(map) => {
                let (key, value) = self.entry(map, frame, &field.name)?;
                match object.get_mut(number) {
                    Some(Value::Map(entries)) => drop(entries.insert(key, value)),
                    _ => object.add(number, Value::Map(Map::from_sorted(vec![(key, value)]))),
                }
                return Ok(());
            }
            Kind::Struct(ty) => {
                let bytes = frame.bytes(&field.name)?;
                if let Some(Value::Struct(first)) = object.get_mut(number) {
                    return self.merge(first, bytes);
                }
                let inner = self.object(*ty, bytes)?;
                if field.presence.pointer || !inner.is_empty() {
                    object.add(number, Value::Struct(Box::new(inner)));
                }
                return Ok(());
            }
            Kind::String => {
                let bytes = frame.bytes(&field.name)?;
                if bytes.is_empty() && !field.presence.pointer {
                    object.remove(number);
                } else {
                    object.add(number, Value::String(text(bytes)));
                }
                return Ok(());
            }
            _ => {}
        }
        match self.value(&field.kind, frame, &field.name)? {
            Some(value) if !is_go_zero(&value, &field.kind, field.presence) => object.add(number, value),
            _ => drop(object.remove(number)),
        }
        Ok(())
    }

    /// One item, or many: numbers may be packed.
    fn items(&mut self, list: &ListOf, items: &mut Vec<Value>, frame: Frame<'_>, name: &str) -> Result<()> {
        let packed = matches!(list.item, Kind::Bool | Kind::Int32 | Kind::Int64 | Kind::Uint32);
        if let (true, Frame::Bytes(bytes)) = (packed, frame) {
            let mut message = Message { rest: bytes };
            while !message.rest.is_empty() {
                items.push(integer(&list.item, message.varint()?));
            }
            return Ok(());
        }
        let value = self.value(&list.item, frame, name)?;
        items.push(value.unwrap_or_else(|| go_zero(&list.item)));
        Ok(())
    }

    fn entry(&mut self, map: &MapOf, frame: Frame<'_>, name: &str) -> Result<(Str, Value)> {
        let mut message = Message { rest: frame.bytes(name)? };
        let (mut key, mut value) = (Str::default(), None);
        while let Some((number, frame)) = message.next()? {
            match number {
                1 => key = text(frame.bytes("key")?),
                2 => value = self.value(&map.value, frame, name)?,
                _ => {}
            }
        }
        Ok((key, value.unwrap_or_else(|| go_zero(&map.value))))
    }

    /// A value; `None` for one that means null.
    fn value(&mut self, kind: &Kind, frame: Frame<'_>, name: &str) -> Result<Option<Value>> {
        let value = match kind {
            Kind::Bool | Kind::Int32 | Kind::Int64 | Kind::Uint32 => integer(kind, frame.varint(name)?),
            Kind::Double => match frame {
                Frame::Fixed64(bits) if f64::from_bits(bits).is_finite() => Value::Double(f64::from_bits(bits)),
                Frame::Fixed64(bits) => return Err(fault(format!("json: unsupported value: {}", float(f64::from_bits(bits))))),
                other => return Err(other.wrong(name)),
            },
            Kind::String => Value::String(text(frame.bytes(name)?)),
            Kind::Bytes => Value::Bytes(frame.bytes(name)?.into()),
            Kind::Struct(ty) => Value::Struct(Box::new(self.object(*ty, frame.bytes(name)?)?)),
            Kind::List(list) => Value::List(self.wrapped(list, frame.bytes(name)?, name)?),
            // Maps of maps have no protobuf form.
            Kind::Map(_) => return Ok(None),
            Kind::Choice(choice, ty) => return self.choice(*choice, *ty, frame.bytes(name)?),
            _ => return self.special(kind, frame.bytes(name)?),
        };
        Ok(Some(value))
    }

    fn wrapped(&mut self, list: &ListOf, bytes: &[u8], name: &str) -> Result<Vec<Value>> {
        let mut message = Message { rest: bytes };
        let mut items = Vec::new();
        while let Some((number, frame)) = message.next()? {
            if number == 1 {
                self.items(list, &mut items, frame, name)?;
            }
        }
        Ok(items)
    }

    /// Types whose message is not what JSON shows.
    fn special(&mut self, kind: &Kind, bytes: &[u8]) -> Result<Option<Value>> {
        let mut message = Message { rest: bytes };
        let (mut first, mut second, mut raw, mut third): (u64, u64, &[u8], &[u8]) = (0, 0, b"", b"");
        while let Some((number, frame)) = message.next()? {
            match (number, frame) {
                (1, Frame::Varint(value)) => first = value,
                (1, Frame::Bytes(bytes)) => raw = bytes,
                (2, Frame::Varint(value)) => second = value,
                (3, Frame::Bytes(bytes)) => third = bytes,
                (1..=3, other) => return Err(other.wrong("value")),
                _ => {}
            }
        }
        let value = match kind {
            Kind::Quantity if raw.is_empty() => Value::String(Str::const_new("0")),
            Kind::Quantity => match canonical_quantity(&text(raw)) {
                Ok(text) => Value::String(text),
                Err(error) => return Err(fault(error.to_string())),
            },
            Kind::IntOrString if first == 1 => Value::String(text(third)),
            Kind::IntOrString => Value::Int(i64::from(second as i32)),
            Kind::Time | Kind::MicroTime if bytes.is_empty() => return Ok(None),
            Kind::Time => return moment(first, 0, Precision::Seconds),
            Kind::MicroTime => return moment(first, second, Precision::Micros),
            Kind::Duration => Value::String(format_duration(first as i64)),
            _ if raw.is_empty() => return Ok(None),
            // What is not JSON here, upstream stores, but could never show.
            Kind::Fields => match json::check(raw) {
                Ok(()) => Value::Raw(raw.into()),
                Err(error) => return Err(fault(error.to_string())),
            },
            _ => match json::to_any(raw) {
                Ok(Value::Null) => return Ok(None),
                Ok(value) => value,
                Err(error) => return Err(fault(error.to_string())),
            },
        };
        Ok(Some(value))
    }

    fn choice(&mut self, choice: Choice, ty: TypeId, bytes: &[u8]) -> Result<Option<Value>> {
        let mut message = Message { rest: bytes };
        let (mut allows, mut schema, mut items) = (false, None, Vec::new());
        while let Some((number, frame)) = message.next()? {
            match (choice, number) {
                (Choice::Bool, 1) => allows = frame.varint("allows")? != 0,
                (Choice::Bool, 2) | (Choice::List | Choice::Strings, 1) => schema = Some(self.object(ty, frame.bytes("schema")?)?),
                (Choice::List, 2) => items.push(self.object(ty, frame.bytes("jSONSchemas")?)?.into()),
                (Choice::Strings, 2) => items.push(Value::String(text(frame.bytes("property")?))),
                _ => {}
            }
        }
        Ok(match (schema, choice) {
            _ if !items.is_empty() => Some(Value::List(items)),
            (Some(schema), _) => Some(schema.into()),
            (None, Choice::Bool) => Some(Value::Bool(allows)),
            (None, _) => None,
        })
    }
}

/// Structs are given room for this many fields, which holds most of them.
const ROOM_FIELDS: usize = 8;

fn integer(kind: &Kind, value: u64) -> Value {
    match kind {
        Kind::Bool => Value::Bool(value != 0),
        Kind::Int32 => Value::Int(i64::from(value as i32)),
        Kind::Uint32 => Value::Int(i64::from(value as u32)),
        _ => Value::Int(value as i64),
    }
}

fn moment(seconds: u64, nanos: u64, precision: Precision) -> Result<Option<Value>> {
    let moment = Moment { seconds: seconds as i64, nanos: nanos as u32 };
    if moment.is_out_of_range() {
        return Err(fault("Time.MarshalJSON: year outside of range [0,9999]"));
    }
    Ok((moment != Moment::ZERO).then(|| Value::String(moment.format(precision))))
}

fn text(bytes: &[u8]) -> Str {
    match std::str::from_utf8(bytes) {
        Ok(text) => Str::new(text),
        Err(_) => Str::from_utf8_lossy(bytes),
    }
}
