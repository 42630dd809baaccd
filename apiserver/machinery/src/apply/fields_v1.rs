//! FieldsV1: sets of paths as JSON, whole or looked at in passing.
//!
//! Every write asks whether the managers of an object own what it changes, and mostly they do not. [`touches`] and [`covers`] answer that from
//! the text, without making a set of it. They compare keys as bytes, which is sound because every text that is stored was written here, or by
//! upstream, which writes the same bytes.

use super::set::{Element, Set, key_of_map};
use crate::codec::DEPTH_MAX;
use crate::json;
use crate::tree::Value;
use std::borrow::Cow;

/// The text is no FieldsV1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error decoding set: {0}")]
pub struct Malformed(&'static str);

pub fn to_json(set: &Set) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    write_set(set, false, &mut out);
    out
}

fn write_set(set: &Set, member: bool, out: &mut Vec<u8>) {
    out.push(b'{');
    if member && !set.is_empty() {
        out.extend_from_slice(b"\".\":{}");
    }
    for (at, entry) in set.entries().iter().enumerate() {
        if at > 0 || member {
            out.push(b',');
        }
        write_key(&element_text(&entry.element), out);
        out.push(b':');
        write_set(&entry.below, entry.member, out);
    }
    out.push(b'}');
}

/// A key between quotes. Unlike all other JSON here, upstream leaves `<`, `>` and `&` in it as they are.
fn write_key(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// `f:name`, `k:{"name":"web"}`, `v:"x"`, `i:0`.
fn element_text(element: &Element) -> String {
    match element {
        Element::Field(name) => format!("f:{name}"),
        Element::Value(value) => format!("v:{}", String::from_utf8_lossy(&json::from_any(value))),
        Element::Index(index) => format!("i:{index}"),
        Element::Key(keys) => {
            let map = keys.iter().cloned().collect();
            format!("k:{}", String::from_utf8_lossy(&json::from_any(&Value::Map(map))))
        }
    }
}

/// `None` for kinds of elements that are not known, which readers skip.
fn element_of(text: &str) -> Result<Option<Element>, Malformed> {
    let Some((sort, rest)) = text.split_at_checked(2).filter(|(sort, _)| sort.ends_with(':')) else {
        return Err(Malformed(if text.len() < 2 { "key must be 2 characters long" } else { "missing colon" }));
    };
    let value = |text: &str| json::to_any(text.as_bytes()).map_err(|_| Malformed("element is not JSON"));
    Ok(Some(match sort {
        "f:" => Element::Field(rest.into()),
        "v:" => Element::Value(value(rest)?),
        "k:" => match value(rest)? {
            Value::Map(map) => key_of_map(map),
            _ => return Err(Malformed("key is not an object")),
        },
        "i:" => Element::Index(rest.parse().map_err(|_| Malformed("index is not a number"))?),
        _ => return Ok(None),
    }))
}

pub fn from_json(bytes: &[u8]) -> Result<Set, Malformed> {
    let mut reader = Reader { bytes, at: 0 };
    let (set, _) = reader.set(0)?;
    reader.space();
    if reader.at < bytes.len() {
        return Err(Malformed("unexpected trailing data after JSON object"));
    }
    Ok(set)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn space(&mut self) {
        while self.bytes.get(self.at).is_some_and(|byte| b" \t\r\n".contains(byte)) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        self.space();
        let found = self.bytes.get(self.at) == Some(&byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.take(byte) { Ok(()) } else { Err(Malformed("unexpected character")) }
    }

    /// A string between its quotes, escapes and all.
    fn string(&mut self) -> Result<&'a [u8], Malformed> {
        self.expect(b'"')?;
        let start = self.at;
        loop {
            let rest = &self.bytes[self.at..];
            let next = memchr::memchr2(b'"', b'\\', rest).ok_or(Malformed("unexpected end"))?;
            self.at += next + 1;
            if rest[next] == b'"' {
                return Ok(&self.bytes[start..self.at - 1]);
            }
            self.at += 1;
            if self.at > self.bytes.len() {
                return Err(Malformed("unexpected end"));
            }
        }
    }

    /// Passes over an object without looking into it.
    fn skip(&mut self) -> Result<(), Malformed> {
        let mut open = 0usize;
        loop {
            let rest = &self.bytes[self.at..];
            let next = memchr::memchr3(b'"', b'{', b'}', rest).ok_or(Malformed("unexpected end"))?;
            self.at += next;
            match rest[next] {
                b'"' => drop(self.string()?),
                b'{' => {
                    open += 1;
                    self.at += 1;
                }
                _ => {
                    self.at += 1;
                    open = open.checked_sub(1).ok_or(Malformed("unexpected character"))?;
                    if open == 0 {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// The set, and whether the object says that its own path is a member.
    fn set(&mut self, depth: usize) -> Result<(Set, bool), Malformed> {
        if depth > DEPTH_MAX {
            return Err(Malformed("exceeded max depth"));
        }
        let mut set = Set::default();
        let mut member = false;
        self.expect(b'{')?;
        if !self.take(b'}') {
            loop {
                self.space();
                let key = self.string()?;
                self.expect(b':')?;
                if key == b"." {
                    member = true;
                    self.value()?;
                } else if let Some(element) = element_of(&unescaped(key)?)? {
                    self.space();
                    let (below, member) = self.set(depth + 1)?;
                    set.push(element, member, below);
                } else {
                    self.value()?;
                }
                if !self.take(b',') {
                    break;
                }
            }
            self.expect(b'}')?;
        }
        set.settle();
        member |= set.is_empty();
        Ok((set, member))
    }

    /// Passes over what an unknown element holds: an object, as everywhere here.
    fn value(&mut self) -> Result<(), Malformed> {
        self.space();
        if self.bytes.get(self.at) != Some(&b'{') {
            return Err(Malformed("value is not an object"));
        }
        self.skip()
    }
}

fn unescaped(text: &[u8]) -> Result<Cow<'_, str>, Malformed> {
    let text = std::str::from_utf8(text).map_err(|_| Malformed("key is not UTF-8"))?;
    if !text.contains('\\') {
        return Ok(Cow::Borrowed(text));
    }
    if text.split('\\').skip(1).all(|part| part.starts_with('"')) {
        return Ok(Cow::Owned(text.replace("\\\"", "\"")));
    }
    serde_json::from_str(&format!("\"{text}\"")).map(Cow::Owned).map_err(|_| Malformed("key is not a string"))
}

/// A set whose elements are at hand as they stand in a text.
pub(super) struct Keyed {
    entries: Vec<KeyedEntry>,
}

struct KeyedEntry {
    key: Vec<u8>,
    member: bool,
    below: Keyed,
}

impl Keyed {
    pub fn of(set: &Set) -> Self {
        let entries = set.entries().iter().map(|entry| {
            let mut key = Vec::with_capacity(24);
            write_key(&element_text(&entry.element), &mut key);
            // Without its quotes.
            key.pop();
            key.remove(0);
            KeyedEntry { key, member: entry.member, below: Keyed::of(&entry.below) }
        });
        let mut entries: Vec<_> = entries.collect();
        entries.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Self { entries }
    }

    fn find(&self, key: &[u8]) -> Option<&KeyedEntry> {
        self.entries.binary_search_by(|entry| entry.key.as_slice().cmp(key)).ok().map(|at| &self.entries[at])
    }

    fn members(&self) -> usize {
        self.entries.iter().map(|entry| usize::from(entry.member) + entry.below.members()).sum()
    }
}

/// Whether a text has a path of the set, or anything below one. A malformed text is touched, so that someone looks closer.
pub(super) fn touches(text: &[u8], set: &Keyed) -> bool {
    let mut reader = Reader { bytes: text, at: 0 };
    !set.entries.is_empty() && reader.touches(set, 0).unwrap_or(true)
}

/// Whether a text has all paths of the set.
pub(super) fn covers(text: &[u8], set: &Keyed) -> bool {
    let mut reader = Reader { bytes: text, at: 0 };
    reader.covered(set, 0).is_ok_and(|(covered, _)| covered == set.members())
}

impl Reader<'_> {
    fn touches(&mut self, set: &Keyed, depth: usize) -> Result<bool, Malformed> {
        if depth > DEPTH_MAX {
            return Err(Malformed("exceeded max depth"));
        }
        self.expect(b'{')?;
        if self.take(b'}') {
            return Ok(false);
        }
        loop {
            self.space();
            let key = self.string()?;
            self.expect(b':')?;
            self.space();
            match set.find(key) {
                Some(found) if found.member => return Ok(true),
                Some(found) => {
                    if self.touches(&found.below, depth + 1)? {
                        return Ok(true);
                    }
                }
                None => self.skip()?,
            }
            if !self.take(b',') {
                self.expect(b'}')?;
                return Ok(false);
            }
        }
    }

    /// How many members of the set the text has, and whether the object is a member itself.
    fn covered(&mut self, set: &Keyed, depth: usize) -> Result<(usize, bool), Malformed> {
        if depth > DEPTH_MAX {
            return Err(Malformed("exceeded max depth"));
        }
        self.expect(b'{')?;
        if self.take(b'}') {
            return Ok((0, true));
        }
        let (mut covered, mut member) = (0, false);
        loop {
            self.space();
            let key = self.string()?;
            self.expect(b':')?;
            self.space();
            match set.find(key) {
                Some(found) => {
                    let (below, own) = self.covered(&found.below, depth + 1)?;
                    covered += below + usize::from(own && found.member);
                }
                None => {
                    member |= key == b".";
                    self.skip()?;
                }
            }
            if !self.take(b',') {
                self.expect(b'}')?;
                return Ok((covered, member));
            }
        }
    }
}
