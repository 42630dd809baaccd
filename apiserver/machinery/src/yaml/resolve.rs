//! What a plain scalar means: YAML 1.1, as upstream's library takes it.

use crate::Str;
use crate::tree::Value;

/// The value of an unquoted scalar without a tag.
pub(super) fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Value::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => return Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Value::Double(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Value::Double(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Value::Double(f64::NEG_INFINITY),
        _ => {}
    }
    number(text).unwrap_or_else(|| Value::String(Str::from(text)))
}

fn number(text: &str) -> Option<Value> {
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return None;
    }
    let bare: String = text.chars().filter(|c| *c != '_').collect();
    integer(&bare).or_else(|| float(&bare))
}

/// `12`, `-0x1f`, `0b101`, `0o17`, `017`.
fn integer(text: &str) -> Option<Value> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let size = u64::from_str_radix(digits, radix).ok()?;
    match (negative, i64::try_from(size)) {
        (false, Ok(number)) => Some(Value::Int(number)),
        (true, Ok(number)) => Some(Value::Int(-number)),
        (true, Err(_)) if size == 1 << 63 => Some(Value::Int(i64::MIN)),
        (false, Err(_)) => Some(Value::Double(size as f64)),
        (true, Err(_)) => None,
    }
}

/// `1.5`, `.5`, `1e3`, `1.`, but not Rust's `inf` and `nan`.
fn float(text: &str) -> Option<Value> {
    let only_numeric = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E'));
    let number: f64 = only_numeric.then(|| text.parse().ok())??;
    number.is_finite().then_some(Value::Double(number))
}
