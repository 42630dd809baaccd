//! The decoder: one walk over the text, led by the schema.

use super::place::{Place, Step};
use super::read::{Malformed, Reader, Word};
use crate::Str;
use crate::codec::{Report, canonical_quantity};
use crate::schema::{Choice, Field, Kind, MapOf, Presence, Schema, StructType, TypeId};
use crate::time::{self, Precision};
use crate::tree::{Map, Struct, Value};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::borrow::Cow;
use std::sync::Arc;

/// Structs are given room for this many fields, which holds most of them.
const ROOM_FIELDS: usize = 8;

pub(super) struct Decoder<'a, 'r> {
    reader: Reader<'a>,
    schema: &'a Schema,
    report: &'r mut Report,
    /// The first value of a wrong type. Go reads on, and tells of it at the end.
    wrong: Option<String>,
    /// The first complaint of a type that decodes itself (a quantity, a time). Go stops there, so it outranks `wrong`; a text that is not JSON at
    /// all outranks both, so the walk goes on to see.
    refused: Option<String>,
}

impl<'a, 'r> Decoder<'a, 'r> {
    pub fn new(text: &'a str, schema: &'a Schema, report: &'r mut Report) -> Self {
        Self { reader: Reader::new(text), schema, report, wrong: None, refused: None }
    }

    /// The whole text as one object.
    pub fn document(&mut self, root: TypeId) -> Result<Struct, Malformed> {
        let mut object = Struct::with_capacity(root, ROOM_FIELDS);
        let place = Place::ROOT;
        match self.reader.peek() {
            b'{' => self.object(&mut object, &place)?,
            b'n' => drop(self.reader.word()?),
            _ => self.mismatch(&Kind::Struct(root), &place)?,
        }
        self.reader.end()?;
        Ok(object)
    }

    /// The whole text as a value without a schema.
    pub fn untyped_document(&mut self) -> Result<Value, Malformed> {
        let value = self.any(None)?;
        self.reader.end()?;
        Ok(value)
    }

    /// What was wrong with the values, if anything was.
    pub fn fault(self) -> Option<String> {
        self.refused.or(self.wrong)
    }

    /// Reads an object into a struct, which may hold fields already: of a field that comes twice, Go merges the second into the first.
    fn object(&mut self, object: &mut Struct, place: &Place<'_>) -> Result<(), Malformed> {
        let ty = self.schema.get(object.ty);
        self.reader.enter()?;
        if self.reader.leave_empty(b'}') {
            return Ok(());
        }
        let merging = !object.is_empty();
        let mut seen = Seen::default();
        // Clients mostly write fields in the order of the schema, or in that of their names, which often follow one another.
        let mut expected = 0;
        loop {
            let key = self.reader.key()?;
            let number = match ty.fields.get(expected) {
                Some(field) if field.name == *key => Some(expected as u16),
                _ => ty.number(&key),
            };
            match number {
                Some(number) => {
                    expected = usize::from(number) + 1;
                    let again = seen.again(number);
                    if again && !self.report.is_ignored() {
                        self.report.duplicate(&place.child(&ty.fields[usize::from(number)].name));
                    }
                    self.field(object, ty, number, again || merging, place)?;
                }
                None => self.unknown(object, ty, key, place)?,
            }
            if !self.reader.more(b'}')? {
                return Ok(());
            }
        }
    }

    /// Reads a field, of which the struct may have a value already if it comes `again`.
    fn field(&mut self, object: &mut Struct, ty: &'a StructType, number: u16, again: bool, outer: &Place<'_>) -> Result<(), Malformed> {
        let field = &ty.fields[usize::from(number)];
        let place = outer.enter(Step::Field { field, owner: ty });
        if again && !ty.dynamic && self.merge_again(object, field, number, &place)? {
            return Ok(());
        }
        if matches!(field.kind, Kind::String) && self.reader.peek() == b'"' {
            let text = self.string()?;
            if !text.is_empty() || field.presence.pointer {
                object.add(number, Value::String(text));
            } else if again {
                object.remove(number);
            }
            return Ok(());
        }
        match self.value(&field.kind, ty.dynamic, &place)? {
            Some(value) if ty.dynamic || !is_go_zero(&value, &field.kind, field.presence) => object.add(number, value),
            // Null, or a zero: as if it were not there. A second field overrules a first.
            _ if again => drop(object.remove(number)),
            _ => {}
        }
        Ok(())
    }

    /// Reads a struct or a map that comes again into the first one.
    fn merge_again(&mut self, object: &mut Struct, field: &Field, number: u16, place: &Place<'_>) -> Result<bool, Malformed> {
        if self.reader.peek() != b'{' {
            return Ok(false);
        }
        match (&field.kind, object.get_mut(number)) {
            (Kind::Struct(_), Some(Value::Struct(first))) => self.object(first, place)?,
            (Kind::Map(map), Some(Value::Map(first))) => {
                for (key, value) in self.map(map, false, place)? {
                    first.insert(key, value);
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn unknown(&mut self, object: &mut Struct, ty: &'a StructType, key: Cow<'_, str>, outer: &Place<'_>) -> Result<(), Malformed> {
        if !ty.preserve_unknown && ty.rest.is_none() {
            if !self.report.is_ignored() {
                self.report.unknown(&outer.child(&key));
            }
            return self.reader.skip();
        }
        let place = outer.enter(Step::Key(&key));
        let value = match &ty.rest {
            Some(kind) => self.value(kind, ty.dynamic, &place)?,
            None => Some(self.any(Some(&place))?),
        };
        if let Some(value) = value
            && object.unknown.insert(&*key, value).is_some()
        {
            self.report.duplicate(&outer.child(&key));
        }
        Ok(())
    }

    /// Reads a value; `None` for null and for what does not fit.
    fn value(&mut self, kind: &Kind, dynamic: bool, place: &Place<'_>) -> Result<Option<Value>, Malformed> {
        let first = self.reader.peek();
        if first == b'n' {
            self.reader.word()?;
            return Ok(dynamic.then_some(Value::Null));
        }
        let value = match (kind, first) {
            (Kind::Struct(ty), b'{') => {
                let mut inner = Struct::with_capacity(*ty, ROOM_FIELDS);
                self.object(&mut inner, place)?;
                Value::Struct(Box::new(inner))
            }
            (Kind::List(list), b'[') => Value::List(self.items(&list.item, dynamic, place)?),
            (Kind::Map(map), b'{') => Value::Map(self.map(map, dynamic, place)?),
            _ if dynamic => self.any(Some(place))?,
            (Kind::String, b'"') => Value::String(self.string()?),
            (Kind::Bool, b't' | b'f') => Value::Bool(self.reader.word()? == Word::True),
            (Kind::Any, _) => self.any(None)?,
            _ => return self.rarer(kind, first, place),
        };
        Ok(Some(value))
    }

    /// Scalars with a text form of their own, and what is of a wrong type.
    fn rarer(&mut self, kind: &Kind, first: u8, place: &Place<'_>) -> Result<Option<Value>, Malformed> {
        let is_number = matches!(first, b'-' | b'0'..=b'9');
        match kind {
            Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Double if is_number => self.number(kind, place),
            Kind::IntOrString if first == b'"' => Ok(Some(Value::String(self.string()?))),
            Kind::IntOrString if is_number => {
                let text = self.reader.number()?;
                match text.parse::<i32>() {
                    Ok(number) => Ok(Some(Value::Int(number.into()))),
                    Err(_) => self.refuse(&place.mismatch(&format!("number {text}"), "int32")),
                }
            }
            Kind::IntOrString => self.refuse_sort(place, "int32"),
            Kind::Quantity => self.quantity(),
            Kind::Time | Kind::MicroTime | Kind::Duration if first == b'"' => {
                let text = self.reader.string()?;
                match read_text(kind, &text) {
                    Ok(value) => Ok(value),
                    Err(message) => self.refuse(&message),
                }
            }
            Kind::Time | Kind::MicroTime | Kind::Duration => self.refuse_sort(place, "string"),
            Kind::Bytes if first == b'"' => {
                let text = self.reader.string()?;
                match BASE64.decode(text.as_bytes()) {
                    Ok(bytes) => Ok(Some(Value::Bytes(bytes.into()))),
                    Err(_) => {
                        self.wrong.get_or_insert_with(|| super::base64_message(text.as_bytes()));
                        Ok(None)
                    }
                }
            }
            Kind::Bytes if first == b'[' => self.numbers(place),
            Kind::Fields => {
                let start = self.reader.position();
                self.reader.skip()?;
                Ok(Some(Value::Raw(super::compact(self.reader.since(start)).into())))
            }
            Kind::Choice(choice, ty) => self.choice(*choice, *ty, first, place),
            _ => {
                self.mismatch(kind, place)?;
                Ok(None)
            }
        }
    }

    /// Go takes a list of numbers for bytes too.
    fn numbers(&mut self, outer: &Place<'_>) -> Result<Option<Value>, Malformed> {
        self.reader.enter()?;
        let mut bytes = Vec::new();
        if self.reader.leave_empty(b']') {
            return Ok(Some(Value::Bytes(bytes.into())));
        }
        loop {
            match self.reader.peek() {
                b'-' | b'0'..=b'9' => {
                    let text = self.reader.number()?;
                    match text.parse() {
                        Ok(byte) => bytes.push(byte),
                        Err(_) => drop(self.wrong.get_or_insert_with(|| outer.mismatch(&format!("number {text}"), "uint8"))),
                    }
                }
                b'n' => {
                    self.reader.word()?;
                    bytes.push(0);
                }
                first => {
                    let sort = sort(first)?;
                    self.reader.skip()?;
                    self.wrong.get_or_insert_with(|| outer.mismatch(sort, "uint8"));
                }
            }
            if !self.reader.more(b']')? {
                return Ok(Some(Value::Bytes(bytes.into())));
            }
        }
    }

    fn number(&mut self, kind: &Kind, place: &Place<'_>) -> Result<Option<Value>, Malformed> {
        let text = self.reader.number()?;
        let value = match kind {
            Kind::Int32 => text.parse::<i32>().ok().map(|number| Value::Int(number.into())),
            Kind::Int64 => text.parse::<i64>().ok().map(Value::Int),
            Kind::Uint32 => text.parse::<u32>().ok().map(|number| Value::Int(number.into())),
            _ => text.parse::<f64>().ok().filter(|number| number.is_finite()).map(Value::Double),
        };
        if value.is_none() {
            let go = place.go_type(self.schema, kind);
            self.wrong.get_or_insert_with(|| place.mismatch(&format!("number {text}"), &go));
        }
        Ok(value)
    }

    /// A quantity comes as a string or as a number. Upstream reads the text between the quotes as it is, escapes and all.
    fn quantity(&mut self) -> Result<Option<Value>, Malformed> {
        let start = self.reader.position();
        self.reader.skip()?;
        let raw = self.reader.since(start);
        let text = raw.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(raw);
        match canonical_quantity(text.trim()) {
            Ok(text) => Ok(Some(Value::String(text))),
            Err(error) => self.refuse(&error.to_string()),
        }
    }

    /// Such a field decodes itself with a decoder of its own, which reports no unknown fields.
    fn choice(&mut self, choice: Choice, ty: TypeId, first: u8, place: &Place<'_>) -> Result<Option<Value>, Malformed> {
        let was = self.report.set_ignored(true);
        let value = match (first, choice) {
            (b'{', _) => {
                let mut inner = Struct::with_capacity(ty, ROOM_FIELDS);
                self.object(&mut inner, place)?;
                Some(Value::Struct(Box::new(inner)))
            }
            (b't' | b'f', Choice::Bool) => Some(Value::Bool(self.reader.word()? == Word::True)),
            (b'[', Choice::List) => Some(Value::List(self.items(&Kind::Struct(ty), false, place)?)),
            (b'[', Choice::Strings) => Some(Value::List(self.items(&Kind::String, false, place)?)),
            (_, Choice::Bool) => {
                self.reader.skip()?;
                self.refused.get_or_insert_with(|| "boolean or JSON schema expected".to_owned());
                None
            }
            _ => {
                self.reader.skip()?;
                None
            }
        };
        self.report.set_ignored(was);
        // An empty list is none: upstream shows it as null.
        Ok(value.filter(|value| !matches!(value, Value::List(items) if items.is_empty())))
    }

    fn items(&mut self, item: &Kind, dynamic: bool, outer: &Place<'_>) -> Result<Vec<Value>, Malformed> {
        self.reader.enter()?;
        let mut items = Vec::new();
        if self.reader.leave_empty(b']') {
            return Ok(items);
        }
        loop {
            let place = outer.enter(Step::Index(items.len()));
            let value = self.item(item, dynamic, &place)?;
            items.push(value);
            if !self.reader.more(b']')? {
                return Ok(items);
            }
        }
    }

    /// One value of a list or a map: null is the zero of its kind.
    fn item(&mut self, kind: &Kind, dynamic: bool, place: &Place<'_>) -> Result<Value, Malformed> {
        Ok(self.value(kind, dynamic, place)?.unwrap_or_else(|| go_zero(kind)))
    }

    fn map(&mut self, map: &MapOf, dynamic: bool, outer: &Place<'_>) -> Result<Map, Malformed> {
        self.reader.enter()?;
        if self.reader.leave_empty(b'}') {
            return Ok(Map::default());
        }
        let mut entries = Vec::new();
        loop {
            let key = self.reader.key()?;
            let place = outer.enter(Step::Key(&key));
            let value = self.item(&map.value, dynamic, &place)?;
            entries.push((Str::from(&*key), value));
            if !self.reader.more(b'}')? {
                return Ok(self.sorted(entries, Some(outer)));
            }
        }
    }

    fn sorted(&mut self, mut entries: Vec<(Str, Value)>, place: Option<&Place<'_>>) -> Map {
        if !entries.is_sorted_by(|a, b| a.0 < b.0) {
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            if let Some(place) = place {
                for pair in entries.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
                    self.report.duplicate(&place.child(&pair[0].0));
                }
            }
        }
        Map::from_sorted(entries)
    }

    /// Any JSON. Duplicate fields in it are reported where there is a place to speak of.
    fn any(&mut self, place: Option<&Place<'_>>) -> Result<Value, Malformed> {
        match self.reader.peek() {
            b'"' => Ok(Value::String(self.string()?)),
            b'-' | b'0'..=b'9' => self.any_number(),
            b'n' | b't' | b'f' => Ok(match self.reader.word()? {
                Word::True => Value::Bool(true),
                Word::False => Value::Bool(false),
                Word::Null => Value::Null,
            }),
            b'[' => self.any_list(place).map(Value::List),
            b'{' => self.any_map(place).map(Value::Map),
            _ => Err(Malformed),
        }
    }

    fn any_number(&mut self) -> Result<Value, Malformed> {
        let text = self.reader.number()?;
        if let Ok(number) = text.parse::<i64>() {
            return Ok(Value::Int(number));
        }
        let number: f64 = text.parse().map_err(|_| Malformed)?;
        if !number.is_finite() {
            self.wrong.get_or_insert_with(|| format!("json: cannot unmarshal number {text} into Go value of type float64"));
            return Ok(Value::Null);
        }
        Ok(Value::Double(number))
    }

    fn any_list(&mut self, outer: Option<&Place<'_>>) -> Result<Vec<Value>, Malformed> {
        self.reader.enter()?;
        let mut items = Vec::new();
        if self.reader.leave_empty(b']') {
            return Ok(items);
        }
        loop {
            let place = outer.map(|outer| outer.enter(Step::Index(items.len())));
            let value = self.any(place.as_ref())?;
            items.push(value);
            if !self.reader.more(b']')? {
                return Ok(items);
            }
        }
    }

    fn any_map(&mut self, outer: Option<&Place<'_>>) -> Result<Map, Malformed> {
        self.reader.enter()?;
        if self.reader.leave_empty(b'}') {
            return Ok(Map::default());
        }
        let mut entries = Vec::new();
        loop {
            let key = self.reader.key()?;
            let place = outer.map(|outer| outer.enter(Step::Key(&key)));
            let value = self.any(place.as_ref())?;
            entries.push((Str::from(&*key), value));
            if !self.reader.more(b'}')? {
                return Ok(self.sorted(entries, outer));
            }
        }
    }

    fn string(&mut self) -> Result<Str, Malformed> {
        Ok(match self.reader.string()? {
            Cow::Borrowed(text) => Str::new(text),
            Cow::Owned(text) => Str::from(text),
        })
    }

    /// Takes a value that does not fit, and remembers the first.
    fn mismatch(&mut self, kind: &Kind, place: &Place<'_>) -> Result<(), Malformed> {
        let sort = sort(self.reader.peek())?;
        self.reader.skip()?;
        if self.wrong.is_none() {
            let go = place.go_type(self.schema, kind);
            self.wrong = Some(place.mismatch(sort, &go));
        }
        Ok(())
    }

    fn refuse(&mut self, message: &str) -> Result<Option<Value>, Malformed> {
        self.refused.get_or_insert_with(|| message.to_owned());
        Ok(None)
    }

    fn refuse_sort(&mut self, place: &Place<'_>, go: &str) -> Result<Option<Value>, Malformed> {
        let sort = sort(self.reader.peek())?;
        self.reader.skip()?;
        self.refuse(&place.mismatch(sort, go))
    }
}

/// The numbers of the fields that have come.
#[derive(Default)]
struct Seen {
    low: u64,
    high: Vec<u16>,
}

impl Seen {
    /// Whether a number came before.
    fn again(&mut self, number: u16) -> bool {
        if number < 64 {
            let bit = 1 << number;
            let again = self.low & bit != 0;
            self.low |= bit;
            return again;
        }
        let again = self.high.contains(&number);
        if !again {
            self.high.push(number);
        }
        again
    }
}

/// Go's word for the sort of value that begins so.
fn sort(first: u8) -> Result<&'static str, Malformed> {
    match first {
        b'"' => Ok("string"),
        b'{' => Ok("object"),
        b'[' => Ok("array"),
        b't' | b'f' => Ok("bool"),
        b'-' | b'0'..=b'9' => Ok("number"),
        _ => Err(Malformed),
    }
}

/// A time or duration in its canonical form; Go's zero time is none.
fn read_text(kind: &Kind, text: &str) -> Result<Option<Value>, String> {
    let canonical = match kind {
        Kind::Time => time::canonical(text, Precision::Seconds)?,
        Kind::MicroTime => time::canonical(text, Precision::Micros)?,
        _ => Some(time::format_duration(time::parse_duration(text)?)),
    };
    Ok(canonical.map(Value::String))
}

/// Whether a value is what Go has where nothing was given, so that it cannot be told from absence.
pub(crate) fn is_go_zero(value: &Value, kind: &Kind, presence: Presence) -> bool {
    if presence.pointer {
        return false;
    }
    match value {
        Value::Bool(truth) => !truth,
        Value::Int(number) => *number == 0,
        Value::Double(number) => *number == 0.0,
        Value::String(text) => match kind {
            Kind::IntOrString | Kind::Any => false,
            Kind::Quantity => text == "0",
            Kind::Duration => text == "0s",
            _ => text.is_empty(),
        },
        // Protobuf tells empty from none here, and JSON shows the difference unless it omits both.
        Value::Bytes(bytes) => bytes.is_empty() && presence.omitempty,
        Value::Struct(inner) => inner.is_empty(),
        Value::Map(map) => map.is_empty() && !matches!(kind, Kind::Any),
        Value::List(items) => {
            let keeps_empty = match kind {
                Kind::Any => true,
                Kind::List(list) => list.wrapped && !presence.omitempty,
                _ => false,
            };
            items.is_empty() && !keeps_empty
        }
        Value::Null | Value::Raw(_) => false,
    }
}

/// The zero of a kind, where a list or a map has null.
pub(crate) fn go_zero(kind: &Kind) -> Value {
    match kind {
        Kind::Bool => Value::Bool(false),
        Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::IntOrString => Value::Int(0),
        Kind::Double => Value::Double(0.0),
        Kind::String => Value::String(Str::default()),
        Kind::Bytes => Value::Bytes(Arc::default()),
        Kind::Quantity => Value::String(Str::const_new("0")),
        Kind::Duration => Value::String(Str::const_new("0s")),
        Kind::Struct(ty) => Value::Struct(Box::new(Struct::new(*ty))),
        Kind::List(_) => Value::List(Vec::new()),
        Kind::Map(_) => Value::Map(Map::default()),
        Kind::Time | Kind::MicroTime | Kind::Fields | Kind::Any | Kind::Choice(..) => Value::Null,
    }
}
