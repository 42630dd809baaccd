//! Go's regular expressions, on a Rust engine.
//!
//! Both are RE2's syntax, but `\d`, `\w`, `\s` and `\b` are ASCII in Go, and Rust gives `[`, `&&`, `--` and `~~` a meaning inside a class.

use regex::{Regex, RegexBuilder};
use std::sync::OnceLock;

/// What one compiled pattern may take, in bytes.
const SIZE_MAX_BYTES: usize = 10 * 1024 * 1024;

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
            let regex = RegexBuilder::new(&translated(&self.source)).size_limit(SIZE_MAX_BYTES).build();
            regex.map_err(|_| format!("error parsing regexp: invalid syntax: `{}`", self.source))
        })
    }
}

fn translated(source: &str) -> String {
    let mut out = String::with_capacity(source.len() + 16);
    let mut chars = source.chars().peekable();
    // Inside a class, and whether its first character is still to come, where `]` stands for itself.
    let (mut class, mut first) = (false, false);
    while let Some(c) = chars.next() {
        let at_start = std::mem::take(&mut first);
        match c {
            '\\' => match chars.next() {
                Some('d') => out.push_str("[0-9]"),
                Some('D') => out.push_str("[^0-9]"),
                Some('w') => out.push_str("[0-9A-Za-z_]"),
                Some('W') => out.push_str("[^0-9A-Za-z_]"),
                Some('s') => out.push_str(r"[\t\n\f\r ]"),
                Some('S') => out.push_str(r"[^\t\n\f\r ]"),
                Some('b') if !class => out.push_str(r"(?-u:\b)"),
                Some('B') if !class => out.push_str(r"(?-u:\B)"),
                // Literal text up to `\E`.
                Some('Q') if !class => {
                    let rest: String = chars.clone().collect();
                    let literal = rest.split(r"\E").next().unwrap_or_default().to_owned();
                    out.push_str(&regex::escape(&literal));
                    let taken = literal.chars().count() + if rest.len() > literal.len() { 2 } else { 0 };
                    chars.by_ref().take(taken).for_each(drop);
                }
                Some(escaped) => {
                    out.push('\\');
                    out.push(escaped);
                }
                None => out.push('\\'),
            },
            '[' if class && chars.peek() == Some(&':') => {
                // `[:alpha:]`, whose end must not end the class.
                out.push('[');
                for c in chars.by_ref() {
                    out.push(c);
                    if c == ']' {
                        break;
                    }
                }
            }
            '[' if class => out.push_str(r"\["),
            '[' => {
                class = true;
                first = true;
                out.push('[');
                if chars.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
            }
            ']' if class && at_start => out.push_str(r"\]"),
            ']' if class => {
                class = false;
                out.push(']');
            }
            '&' | '~' if class => {
                out.push('\\');
                out.push(c);
            }
            // A range that begins or ends with a dash: `+--`.
            '-' if class && !at_start && chars.peek() == Some(&'-') => {
                chars.next();
                out.push_str(r"-\-");
            }
            c => out.push(c),
        }
    }
    out
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

    #[test]
    fn a_pattern_that_is_none_matches_nothing() {
        let pattern = Pattern::new("(");
        assert!(pattern.error().is_some());
        assert!(!pattern.matches("("));
        assert!(Pattern::new(r"(?=a)").error().is_some());
    }
}
