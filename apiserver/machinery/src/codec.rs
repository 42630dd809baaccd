//! What the codecs share: what can go wrong with a body, and the drafts that wait for their resourceVersion.

use crate::text::quote;

/// How deep objects may nest, in all formats. Upstream allows 10,000 levels of JSON; here every level is a stack frame, in decoding, encoding
/// and dropping, and no object of use comes near either bound.
pub const DEPTH_MAX: usize = 400;

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
