//! What the codecs share: what can go wrong with a body, and the drafts that wait for their resourceVersion.

use crate::text::quote;
use crate::{Str, quantity};

/// How deep objects may nest, in all formats. Upstream allows 10,000 levels of JSON; here every level is a stack frame, in decoding, encoding
/// and dropping, and no object of use comes near either bound.
pub const DEPTH_MAX: usize = 256;

/// Unknown and duplicate fields that one report keeps, as upstream.
pub const REPORT_MAX: usize = 100;

/// Why a body is not an object. The text of each is upstream's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The body is not JSON.
    #[error("{0}")]
    Syntax(String),
    /// A value is not what its field takes.
    #[error("{0}")]
    Value(String),
    /// The body is not a protobuf message.
    #[error("{0}")]
    Protobuf(String),
    /// The body is not YAML.
    #[error("{0}")]
    Yaml(String),
}

/// Collects what `fieldValidation` speaks of: unknown and duplicate fields, in the order in which they come.
#[derive(Debug, Default)]
pub struct Report {
    problems: Vec<String>,
    ignored: bool,
}

impl Report {
    pub fn new() -> Self {
        Self::default()
    }

    /// A report that keeps nothing: `fieldValidation=Ignore`.
    pub fn ignore() -> Self {
        Self { problems: Vec::new(), ignored: true }
    }

    /// Upstream's words for each: `unknown field "spec.foo"`, `duplicate field "spec.bar"`.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// What a strict request is refused with.
    pub fn strict_error(&self) -> Option<String> {
        (!self.problems.is_empty()).then(|| format!("strict decoding error: {}", self.problems.join(", ")))
    }

    pub(crate) fn is_ignored(&self) -> bool {
        self.ignored
    }

    /// Sets whether problems are ignored, and returns whether they were.
    pub(crate) fn set_ignored(&mut self, ignored: bool) -> bool {
        std::mem::replace(&mut self.ignored, ignored)
    }

    pub(crate) fn unknown(&mut self, path: &str) {
        self.add(format!("unknown field {}", quote(path)));
    }

    pub(crate) fn duplicate(&mut self, path: &str) {
        self.add(format!("duplicate field {}", quote(path)));
    }

    pub(crate) fn add(&mut self, problem: String) {
        if !self.ignored && self.problems.len() < REPORT_MAX && !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }
}

/// The canonical form of a quantity's text. Most come in it already: a short whole number with a suffix that it could not exchange for a larger one.
pub(crate) fn canonical_quantity(text: &str) -> Result<Str, quantity::ParseError> {
    if is_short_canonical(text) { Ok(Str::new(text)) } else { quantity::canonical(text) }
}

fn is_short_canonical(text: &str) -> bool {
    /// So short that no suffix makes it overflow 64 bits.
    const DIGITS_MAX: usize = 9;
    let count = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, suffix) = text.split_at(count);
    if digits.starts_with('0') || count == 0 || count > DIGITS_MAX {
        return false;
    }
    match suffix {
        "" | "m" | "k" | "M" | "G" => !digits.ends_with("000"),
        "Ki" | "Mi" | "Gi" => digits.parse().is_ok_and(|number: u64| !number.is_multiple_of(1024)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_canonical_quantities_are_those_that_stay_as_they_are() {
        for suffix in ["", "m", "k", "M", "G", "Ki", "Mi", "Gi", "T", "e3", "u"] {
            for number in [0, 1, 5, 8, 10, 100, 128, 999, 1000, 1001, 1024, 1500, 1536, 2048, 10_000, 1_000_000, 999_999_999] {
                let text = format!("{number}{suffix}");
                let canonical = quantity::canonical(&text).expect("a quantity");
                assert_eq!(canonical_quantity(&text).expect("a quantity"), canonical);
                assert!(!is_short_canonical(&text) || canonical == text, "{text}");
            }
        }
        for text in ["", "x", "01", "1x", "-1", "1.5", "0Mi"] {
            assert!(!is_short_canonical(text), "{text}");
        }
    }
}
