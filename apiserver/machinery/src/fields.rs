//! Field selectors: `metadata.name=web,status.phase!=Running`.
//!
//! Which fields a kind offers is not known here: callers check the names in [`Selector::transform`].

use crate::Str;
use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("invalid selector: '{selector}'; can't understand '{term}'")]
    Term { selector: String, term: String },
    #[error("invalid field selector: invalid escape sequence: {0}")]
    Escape(String),
    /// Upstream prints the character's number.
    #[error("invalid field selector: unescaped character in value: {}", *.0 as u32)]
    Unescaped(char),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    pub field: Str,
    pub value: Str,
    pub negated: bool,
}

/// Terms that must all hold.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Selector {
    terms: Vec<Term>,
}

impl Selector {
    pub fn everything() -> Self {
        Self::default()
    }

    pub fn equal(field: &str, value: &str) -> Self {
        Self { terms: vec![Term { field: field.into(), value: value.into(), negated: false }] }
    }

    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut parts = split(text);
        parts.sort_unstable();
        let mut terms = Vec::new();
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            let operator = part.bytes().enumerate().find_map(|(at, byte)| match byte {
                b'!' if part.as_bytes().get(at + 1) == Some(&b'=') => Some((at, 2)),
                b'=' if part.as_bytes().get(at + 1) == Some(&b'=') => Some((at, 2)),
                b'=' => Some((at, 1)),
                _ => None,
            });
            let Some((at, length)) = operator else {
                return Err(Error::Term { selector: text.to_owned(), term: part.to_owned() });
            };
            let negated = part[at..].starts_with('!');
            let value = unescape(&part[at + length..])?;
            // Nothing compared with nothing holds of everything, whatever the operator.
            if at > 0 || !value.is_empty() {
                terms.push(Term { field: part[..at].into(), value, negated });
            }
        }
        Ok(Self { terms })
    }

    /// Renames fields, or refuses them. A term that becomes empty holds of everything.
    pub fn transform<E>(self, mut rename: impl FnMut(Str, Str) -> Result<(Str, Str), E>) -> Result<Self, E> {
        let mut terms = Vec::with_capacity(self.terms.len());
        for Term { field, value, negated } in self.terms {
            let (field, value) = rename(field, value)?;
            if !(field.is_empty() && value.is_empty()) {
                terms.push(Term { field, value, negated });
            }
        }
        Ok(Self { terms })
    }

    /// A field that is absent equals the empty text.
    pub fn matches<'a>(&self, field: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.terms.iter().all(|term| (field(&term.field).unwrap_or_default() == term.value) != term.negated)
    }

    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// The one value that a field must have to match, if there is one.
    pub fn exact_match(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|term| !term.negated && term.field == field).map(|term| term.value.as_str())
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, term) in self.terms.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            let operator = if term.negated { "!=" } else { "=" };
            write!(f, "{comma}{}{operator}{}", term.field, escape(&term.value))?;
        }
        Ok(())
    }
}

/// A value as it stands in a selector's text.
pub fn escape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        if matches!(c, '\\' | ',' | '=') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b',' => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn unescape(value: &str) -> Result<Str, Error> {
    let mut out = Str::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                Some(c) => return Err(Error::Escape(format!("\\{c}"))),
                None => return Err(Error::Escape("\\".to_owned())),
            },
            ',' | '=' => return Err(Error::Unescaped(c)),
            c => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asked of Go's fields.ParseSelector: the text, then the selector's text or `!` and the error, both as JSON strings.
    const PARSED: &str = include_str!("../testdata/fields.tsv");

    #[test]
    fn selectors_parse_as_upstreams_do() {
        let mut wrong = Vec::new();
        for line in PARSED.lines() {
            let columns: Vec<_> = line.split('\t').collect();
            let text: String = serde_json::from_str(columns[0]).unwrap();
            let expect: String = serde_json::from_str(columns[1]).unwrap();
            let got = Selector::parse(&text).map_or_else(|error| format!("!{error}"), |selector| selector.to_string());
            if got != expect {
                wrong.push(format!("{text:?}: expected {expect}\n  got {got}"));
            }
        }
        assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    }

    #[test]
    fn absent_fields_are_empty() {
        let check = |selector: &str, phase: Option<&'static str>, expect: bool| {
            assert_eq!(Selector::parse(selector).unwrap().matches(|_| phase), expect, "{selector} {phase:?}");
        };
        check("status.phase=Running", Some("Running"), true);
        check("status.phase!=Running", Some("Running"), false);
        check("status.phase!=Running", None, true);
        check("status.phase=", None, true);
    }

    #[test]
    fn terms_are_renamed_or_refused() {
        let selector = Selector::parse("a=1,b=2").unwrap();
        let renamed = selector
            .clone()
            .transform(|field, value| if field == "a" { Ok::<_, ()>(("x".into(), value)) } else { Ok((Str::default(), Str::default())) });
        assert_eq!(renamed.unwrap().to_string(), "x=1");
        assert!(selector.transform(|_, _| Err::<(Str, Str), _>("no")).is_err());
    }
}
