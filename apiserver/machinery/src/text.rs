//! How Go prints strings and numbers: error messages show both, and clients compare the messages.
//!
//! Only the forms that API messages use are here: `%q`, `%v` of a float and of decoded JSON, and a float in JSON.

use crate::tree::Value;
use std::fmt::Write;

/// Go's `%q`: a double-quoted string in which only printable characters stand for themselves.
///
/// `check("a\"b\n")` is `"a\"b\n"` with the quote and the line feed escaped; `é` stays, U+00A0 becomes `\u00a0`.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            _ if printable(c) => out.push(c),
            // Writing to a String cannot fail.
            _ if (c as u32) < 0x80 => _ = write!(out, "\\x{:02x}", c as u32),
            _ if (c as u32) < 0x10000 => _ = write!(out, "\\u{:04x}", c as u32),
            _ => _ = write!(out, "\\U{:08x}", c as u32),
        }
    }
    out.push('"');
    out
}

/// Letters, marks, numbers, punctuation, symbols and the ASCII space.
pub fn printable(c: char) -> bool {
    if c.is_ascii() {
        return (' '..='~').contains(&c);
    }
    // `str::escape_debug` escapes what is not printable, and a combining mark only where it comes first.
    let mut pair = String::with_capacity(5);
    pair.push('a');
    pair.push(c);
    pair.escape_debug().nth(1) == Some(c)
}

/// Go's `%v` of a float64: the shortest digits that read back the same, with an exponent below 1e-4 and from 1e21 on.
pub fn float(number: f64) -> String {
    float_with_exponent_below(number, -4, 2)
}

/// A float64 as Go's JSON encoder writes it: an exponent below 1e-6 and from 1e21 on.
pub fn json_float(number: f64) -> String {
    float_with_exponent_below(number, -6, 1)
}

/// Go's `%v` of decoded JSON: `map[name:web ports:[80 443]]`, with keys in order and strings as they are.
pub fn go_value(value: &Value) -> String {
    let mut out = String::new();
    write_go_value(value, &mut out);
    out
}

fn write_go_value(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("<nil>"),
        Value::Bool(truth) => out.push_str(if *truth { "true" } else { "false" }),
        Value::Int(number) => out.push_str(&number.to_string()),
        Value::Double(number) => out.push_str(&float(*number)),
        Value::String(text) => out.push_str(text),
        Value::Bytes(bytes) | Value::Raw(bytes) => out.push_str(&String::from_utf8_lossy(bytes)),
        Value::List(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(' ');
                }
                write_go_value(item, out);
            }
            out.push(']');
        }
        Value::Map(map) => {
            out.push_str("map[");
            for (at, (key, value)) in map.iter().enumerate() {
                if at > 0 {
                    out.push(' ');
                }
                out.push_str(key);
                out.push(':');
                write_go_value(value, out);
            }
            out.push(']');
        }
        // Decoded JSON has no structs.
        Value::Struct(_) => out.push_str("map[]"),
    }
}

fn float_with_exponent_below(number: f64, lowest: i32, exponent_digits_min: usize) -> String {
    const EXPONENT_FROM: i32 = 21;
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{number:e}");
    // `{:e}` always has an exponent.
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if number == 0.0 || (lowest..EXPONENT_FROM).contains(&exponent) {
        return format!("{number}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:0width$}", exponent.unsigned_abs(), width = exponent_digits_min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted_as_go_quotes_them() {
        let check = |text: &str, expect: &str| assert_eq!(quote(text), expect);
        check("", r#""""#);
        check("a\"b\\c\n\t\r", r#""a\"b\\c\n\t\r""#);
        check("\u{0}\u{7f}\u{1b}", r#""\x00\x7f\x1b""#);
        check("é日本\u{301}", "\"é日本\u{301}\"");
        check("\u{a0}\u{200b}\u{feff}\u{e000}", r#""\u00a0\u200b\ufeff\ue000""#);
        check("\u{1f600}\u{e0001}", "\"\u{1f600}\\U000e0001\"");
    }

    #[test]
    fn decoded_json_is_printed_as_go_prints_it() {
        let map = |entries: &[(&str, Value)]| Value::Map(entries.iter().map(|(key, value)| ((*key).into(), value.clone())).collect());
        let value =
            map(&[("b", Value::List(vec![Value::Int(1), Value::Null, true.into()])), ("a", map(&[("x", "y z".into())])), ("c", Value::Double(0.5))]);
        assert_eq!(go_value(&value), "map[a:map[x:y z] b:[1 <nil> true] c:0.5]");
    }

    #[test]
    fn floats_are_printed_as_go_prints_them() {
        let check = |number: f64, plain: &str, json: &str| {
            assert_eq!(float(number), plain);
            assert_eq!(json_float(number), json);
        };
        check(0.0, "0", "0");
        check(1.0, "1", "1");
        check(-1.5, "-1.5", "-1.5");
        check(1e20, "100000000000000000000", "100000000000000000000");
        check(1e21, "1e+21", "1e+21");
        check(1.5e300, "1.5e+300", "1.5e+300");
        check(0.0001, "0.0001", "0.0001");
        check(0.00001, "1e-05", "0.00001");
        check(0.0000001, "1e-07", "1e-7");
    }
}
