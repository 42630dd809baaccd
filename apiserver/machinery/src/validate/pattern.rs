//! Go's regular expressions, on a Rust engine.

use super::go_syntax::translated;
use regex::{Regex, RegexBuilder};
use std::sync::OnceLock;

/// What one compiled pattern may take, in bytes.
const SIZE_MAX_BYTES: usize = 10 * 1024 * 1024;
/// More than the depth that the syntax allows can need.
const NEST_MAX: u32 = 4096;

#[derive(Debug)]
pub struct Pattern {
    source: String,
    /// Compiled when it is first needed.
    compiled: OnceLock<Result<Regex, String>>,
}

impl Pattern {
    pub fn new(source: &str) -> Self {
        Self { source: source.to_owned(), compiled: OnceLock::new() }
    }

    pub fn source(&self) -> &str {
        &self.source
    }

    /// Why the pattern is none.
    pub fn error(&self) -> Option<&str> {
        self.compiled().as_ref().err().map(String::as_str)
    }

    /// Whether a text has a match; never where the pattern is none.
    pub fn matches(&self, text: &str) -> bool {
        self.compiled().as_ref().is_ok_and(|regex| regex.is_match(text))
    }

    fn compiled(&self) -> &Result<Regex, String> {
        self.compiled.get_or_init(|| {
            let regex = RegexBuilder::new(&translated(&self.source)?).size_limit(SIZE_MAX_BYTES).nest_limit(NEST_MAX).build();
            regex.map_err(|_| format!("error parsing regexp: expression too large: `{}`", self.source))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_gos_do() {
        let check = |pattern: &str, text: &str, expect: bool| {
            let pattern = Pattern::new(pattern);
            assert_eq!(pattern.error(), None, "{}", pattern.source());
            assert_eq!(pattern.matches(text), expect, "{} on {text:?}", pattern.source());
        };
        check("^[a-z]+$", "abc", true);
        check("b", "abc", true);
        check(r"^\d+$", "12", true);
        check(r"^\d+$", "\u{663}", false);
        check(r"^[\d.]+$", "1.2", true);
        check(r"^[^\d]+$", "1", false);
        check(r"^\w+$", "é", false);
        check(r"^[[]$", "[", true);
        check(r"^[]]$", "]", true);
        check(r"^[^]]$", "]", false);
        check(r"^[a&&b]+$", "a&b", true);
        check(r"^[+--]+$", "+,-", true);
        check(r"^[[:alpha:]_]+$", "ab_", true);
        check(r"^\Qa.b\E+$", "a.bb", true);
        check(r"^\Qa.b\E+$", "axb", false);
        check(r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$", "a_b", true);
        check(r"^a{2,3}$", "aaa", true);
        check("(?i)^abc$", "ABC", true);
    }

    /// Asked of Go: patterns, the error that they are or texts with a match, and texts without.
    const PATTERNS: &str = include_str!("../../testdata/patterns.jsonl");

    #[derive(serde::Deserialize)]
    struct Expect {
        pattern: String,
        error: Option<String>,
        #[serde(default)]
        yes: Vec<String>,
        #[serde(default)]
        no: Vec<String>,
    }

    #[test]
    fn random_patterns_are_gos() {
        let mut wrong = Vec::new();
        for line in PATTERNS.lines() {
            let expect: Expect = serde_json::from_str(line).unwrap();
            let pattern = Pattern::new(&expect.pattern);
            if pattern.error() != expect.error.as_deref() {
                wrong.push(format!("{}\n  expected {:?}\n  got      {:?}", expect.pattern, expect.error, pattern.error()));
            }
            for (texts, matches) in [(&expect.yes, true), (&expect.no, false)] {
                wrong.extend(
                    texts.iter().filter(|text| pattern.matches(text) != matches).map(|text| format!("{} on {text:?}: {matches}", expect.pattern)),
                );
            }
        }
        let first: Vec<_> = wrong.iter().take(20).cloned().collect();
        assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), first.join("\n"));
    }
    #[test]
    fn a_pattern_that_is_none_matches_nothing() {
        let pattern = Pattern::new("(");
        assert_eq!(pattern.error(), Some("error parsing regexp: missing closing ): `(`"));
        assert!(!pattern.matches("("));
        assert_eq!(Pattern::new("(?=a)").error(), Some("error parsing regexp: invalid or unsupported Perl syntax: `(?=`"));
        let deep = "(".repeat(5000) + &")".repeat(5000);
        assert_eq!(Pattern::new(&deep).error(), Some(&*format!("error parsing regexp: expression nests too deeply: `{deep}`")));
    }
}
