//! resourceVersion strings: parsing, and upstream's errors for those that cannot be parsed.

use crate::field::{Error, Path};
use std::cmp::Ordering;

/// The revision that a resourceVersion names; 0 for `""` and `"0"`. The error is what a 422 Invalid status shows.
pub fn parse(text: &str) -> Result<u64, Error> {
    if text.is_empty() {
        return Ok(0);
    }
    parse_uint(text).map_err(|why| {
        let shown = crate::text::quote(text);
        Error::invalid(&Path::new("resourceVersion"), text, format!("strconv.ParseUint: parsing {shown}: {why}"))
    })
}

/// Digits only, as Go's ParseUint takes them: no sign, no space.
fn parse_uint(text: &str) -> Result<u64, &'static str> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("invalid syntax");
    }
    text.parse().map_err(|_| "value out of range")
}

/// The order of two objects' resourceVersions; `None` where one is not a positive decimal number without leading zeros.
pub fn compare(a: &str, b: &str) -> Option<Ordering> {
    let well_formed = |text: &str| !text.is_empty() && !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    (well_formed(a) && well_formed(b)).then(|| a.len().cmp(&b.len()).then_with(|| a.cmp(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_version_is_a_decimal_number() {
        assert_eq!(parse(""), Ok(0));
        assert_eq!(parse("0"), Ok(0));
        assert_eq!(parse("007"), Ok(7));
        assert_eq!(parse("18446744073709551615"), Ok(u64::MAX));
    }

    #[test]
    fn errors_are_upstreams() {
        let check = |text: &str, expect: &str| assert_eq!(parse(text).unwrap_err().to_string(), expect);
        check("abc", r#"resourceVersion: Invalid value: "abc": strconv.ParseUint: parsing "abc": invalid syntax"#);
        check("-1", r#"resourceVersion: Invalid value: "-1": strconv.ParseUint: parsing "-1": invalid syntax"#);
        check(
            "18446744073709551616",
            r#"resourceVersion: Invalid value: "18446744073709551616": strconv.ParseUint: parsing "18446744073709551616": value out of range"#,
        );
    }

    #[test]
    fn versions_of_any_length_compare() {
        assert_eq!(compare("9", "10"), Some(Ordering::Less));
        assert_eq!(compare("10", "10"), Some(Ordering::Equal));
        assert_eq!(compare("0", "10"), None);
        assert_eq!(compare("1", "x"), None);
    }
}
