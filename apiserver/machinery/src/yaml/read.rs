//! From a YAML document to a value, event by event.

use super::resolve;
use crate::Str;
use crate::codec::{DEPTH_MAX, DecodeError};
use crate::text;
use crate::tree::{Map, Value};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use granit_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag};
use std::collections::HashMap;

/// How many nodes aliases may add to a document: a few lines of aliases of aliases would else fill any memory.
const ALIASED_NODES_MAX: usize = 100_000;

pub(super) struct Reader<'a> {
    events: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, Value>,
    duplicates: Vec<String>,
    depth: usize,
    aliased: usize,
}

type Node<'a> = (Event<'a>, Span);

fn fault(message: impl std::fmt::Display) -> DecodeError {
    DecodeError::Yaml(format!("yaml: {message}"))
}

impl<'a> Reader<'a> {
    pub fn new(text: &'a str) -> Self {
        let options = granit_parser::options! { emit_unresolved_aliases: true, emit_comments: false };
        Self { events: Parser::new_from_str_with_options(text, options), anchors: HashMap::new(), duplicates: Vec::new(), depth: 0, aliased: 0 }
    }

    /// The first document; null if there is none.
    pub fn document(&mut self) -> Result<Value, DecodeError> {
        loop {
            match self.next()? {
                (Event::DocumentStart(_, Some(version)), _) if (version.major, version.minor) != (1, 1) => {
                    return Err(fault("found incompatible YAML document"));
                }
                (Event::DocumentStart(..), _) => break,
                (Event::StreamEnd, _) => return Ok(Value::Null),
                _ => {}
            }
        }
        let node = self.next()?;
        let value = self.node(node)?;
        match self.next()? {
            (Event::DocumentEnd | Event::StreamEnd, _) => Ok(value),
            _ => Err(fault("did not find expected <document start>")),
        }
    }

    /// What upstream says of keys that came twice.
    pub fn duplicates(&self) -> Option<String> {
        (!self.duplicates.is_empty()).then(|| format!("yaml: unmarshal errors:\n  {}", self.duplicates.join("\n  ")))
    }

    /// The next event that is not a comment.
    fn next(&mut self) -> Result<Node<'a>, DecodeError> {
        loop {
            match self.events.next() {
                None => return Err(fault("unexpected end of document")),
                Some(Err(error)) => return Err(fault(message(error.marker().line(), &error.info()))),
                Some(Ok((Event::Comment(..), _))) => {}
                Some(Ok(node)) => return Ok(node),
            }
        }
    }

    fn node(&mut self, (event, _): Node<'a>) -> Result<Value, DecodeError> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let value = scalar(&text, style, tag.as_deref())?;
                Ok(self.anchored(anchor, value))
            }
            Event::SequenceStart(_, anchor, _) => {
                let value = self.nested(Self::list)?;
                Ok(self.anchored(anchor, value))
            }
            Event::MappingStart(_, anchor, _) => {
                let value = self.nested(Self::map)?;
                Ok(self.anchored(anchor, value))
            }
            Event::Alias(anchor) => self.alias(anchor),
            Event::UnresolvedAlias(name) => Err(fault(format!("unknown anchor '{name}' referenced"))),
            _ => Err(fault("did not find expected node content")),
        }
    }

    fn nested(&mut self, read: impl FnOnce(&mut Self) -> Result<Value, DecodeError>) -> Result<Value, DecodeError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(fault("exceeded max depth"));
        }
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn anchored(&mut self, anchor: usize, value: Value) -> Value {
        if anchor != 0 {
            self.anchors.insert(anchor, value.clone());
        }
        value
    }

    fn alias(&mut self, anchor: usize) -> Result<Value, DecodeError> {
        // An anchor is known once its node is complete: one inside itself has no value yet.
        let value = self.anchors.get(&anchor).ok_or_else(|| fault("anchor value contains itself"))?;
        let (nodes, depth) = measure(value);
        self.aliased += nodes;
        if self.aliased > ALIASED_NODES_MAX {
            return Err(fault("document contains excessive aliasing"));
        }
        if self.depth + depth > DEPTH_MAX {
            return Err(fault("exceeded max depth"));
        }
        Ok(value.clone())
    }

    fn list(&mut self) -> Result<Value, DecodeError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(items)),
                node => items.push(self.node(node)?),
            }
        }
    }

    fn map(&mut self) -> Result<Value, DecodeError> {
        let mut map = Map::default();
        loop {
            let key = match self.next()? {
                (Event::MappingEnd, _) => return Ok(Value::Map(map)),
                key => key,
            };
            let merges = matches!(&key.0, Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<");
            let key = self.node(key)?;
            let value = self.next()?;
            let line = value.1.start.line();
            let value = self.node(value)?;
            if merges {
                for key in merge(&mut map, value)? {
                    self.duplicates.push(format!("line {line}: key {} already set in map", text::quote(&key)));
                }
                continue;
            }
            let (name, shown) = key_text(key)?;
            if map.insert(name, value).is_some() {
                self.duplicates.push(format!("line {line}: key {shown} already set in map"));
            }
        }
    }
}

/// Of how many nodes a value consists, and how deep they go.
fn measure(value: &Value) -> (usize, usize) {
    let sum = |(nodes, depth): (usize, usize), inner| {
        let (more, deeper) = measure(inner);
        (nodes + more, depth.max(deeper + 1))
    };
    match value {
        Value::List(items) => items.iter().fold((1, 1), sum),
        Value::Map(map) => map.iter().map(|(_, value)| value).fold((1, 1), sum),
        _ => (1, 0),
    }
}

/// A scanner's or parser's complaint in upstream's words, as far as the two see the same faults. Upstream names no first line, and counts from zero
/// where its parser, not its scanner, complains.
fn message(line: usize, info: &str) -> String {
    let (shown, text) = match info.rsplit_once("did not find expected ") {
        Some((_, what)) => (line.saturating_sub(1), format!("did not find expected {what}")),
        None if info.starts_with("tabs disallowed") || info.starts_with("unexpected character") => {
            (line, "found character that cannot start any token".to_owned())
        }
        None => (line, info.to_owned()),
    };
    if line <= 1 { text } else { format!("line {shown}: {text}") }
}

/// `<<`: the keys of a map, or of several, of which earlier ones win. Gives the keys that were there already.
fn merge(map: &mut Map, value: Value) -> Result<Vec<Str>, DecodeError> {
    let sources = match value {
        Value::Map(source) => vec![Value::Map(source)],
        Value::List(sources) => sources,
        _ => Vec::new(),
    };
    if sources.is_empty() {
        return Err(fault("map merge requires map or sequence of maps as the value"));
    }
    let mut again = Vec::new();
    for source in sources.into_iter().rev() {
        let Value::Map(source) = source else { return Err(fault("map merge requires map or sequence of maps as the value")) };
        for (key, value) in source {
            if map.insert(key.clone(), value).is_some() {
                again.push(key);
            }
        }
    }
    Ok(again)
}

/// A key as JSON has it, and as Go shows it.
fn key_text(key: Value) -> Result<(Str, String), DecodeError> {
    match key {
        Value::String(text) => {
            let shown = text::quote(&text);
            Ok((text, shown))
        }
        Value::Int(number) => Ok((Str::from(number.to_string()), number.to_string())),
        Value::Double(number) => Ok((Str::from(text::float(number)), text::float(number))),
        Value::Bool(truth) => Ok((Str::from(truth.to_string()), truth.to_string())),
        Value::Null => Err(DecodeError::Yaml("unsupported map key of type: %!s(<nil>), key: <nil>".to_owned())),
        _ => Err(fault("invalid map key")),
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, DecodeError> {
    let string = || Value::String(Str::from(text));
    let Some(tag) = tag else {
        let value = if style == ScalarStyle::Plain { resolve::plain(text) } else { string() };
        return match value {
            Value::Double(number) if !number.is_finite() => Err(DecodeError::Yaml(format!("json: unsupported value: {}", text::float(number)))),
            value => Ok(value),
        };
    };
    if tag.handle() != "tag:yaml.org,2002:" {
        return Ok(string());
    }
    if tag.suffix() == "binary" {
        let bytes = BASE64.decode(text).map_err(|_| fault("!!binary value contains invalid base64 data"))?;
        return Ok(Value::String(Str::from_utf8_lossy(&bytes)));
    }
    let value = resolve::plain(text);
    let sort = match &value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int",
        Value::Double(_) => "float",
        _ => "str",
    };
    match (tag.suffix(), value) {
        ("float", Value::Int(number)) => Ok(Value::Double(number as f64)),
        (suffix @ ("null" | "bool" | "int" | "float"), value) => {
            if suffix == sort {
                Ok(value)
            } else {
                Err(fault(format!("cannot decode !!{sort} `{text}` as a !!{suffix}")))
            }
        }
        _ => Ok(string()),
    }
}
