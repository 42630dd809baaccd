//! From a value to a YAML document in block style.

use super::resolve;
use crate::json;
use crate::text;
use crate::tree::{Map, Value};

pub(super) fn document(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Map(map) if !map.is_empty() => write_map(map, 0, out),
        Value::List(items) if !items.is_empty() => write_list(items, 0, out),
        scalar => {
            write_scalar(scalar, STEP, out);
            out.push(b'\n');
        }
    }
}

const STEP: usize = 2;

fn indent(columns: usize, out: &mut Vec<u8>) {
    out.resize(out.len() + columns, b' ');
}

fn write_map(map: &Map, column: usize, out: &mut Vec<u8>) {
    for (at, (key, value)) in map.iter().enumerate() {
        // The first key follows the dash of a list, where there is one.
        if at > 0 || !out.ends_with(b"- ") {
            indent(column, out);
        }
        write_key(key, out);
        match value {
            Value::Map(inner) if !inner.is_empty() => {
                out.extend_from_slice(b":\n");
                write_map(inner, column + STEP, out);
            }
            // A list stands at the column of its key.
            Value::List(items) if !items.is_empty() => {
                out.extend_from_slice(b":\n");
                write_list(items, column, out);
            }
            scalar => {
                out.extend_from_slice(b": ");
                write_scalar(scalar, column + STEP, out);
                out.push(b'\n');
            }
        }
    }
}

fn write_list(items: &[Value], column: usize, out: &mut Vec<u8>) {
    for (at, item) in items.iter().enumerate() {
        if at > 0 || !out.ends_with(b"- ") {
            indent(column, out);
        }
        out.extend_from_slice(b"- ");
        match item {
            Value::Map(inner) if !inner.is_empty() => write_map(inner, column + STEP, out),
            Value::List(inner) if !inner.is_empty() => write_list(inner, column + STEP, out),
            scalar => {
                write_scalar(scalar, column + STEP, out);
                out.push(b'\n');
            }
        }
    }
}

/// A key is never a literal block.
fn write_key(key: &str, out: &mut Vec<u8>) {
    if key.contains('\n') {
        return json::write_string(key, out);
    }
    write_text(key, 0, out);
}

fn write_scalar(value: &Value, column: usize, out: &mut Vec<u8>) {
    match value {
        Value::String(text) => write_text(text, column, out),
        Value::Map(_) => out.extend_from_slice(b"{}"),
        Value::List(_) => out.extend_from_slice(b"[]"),
        Value::Double(number) => out.extend_from_slice(text::float(*number).as_bytes()),
        // Null, booleans, integers: as in JSON.
        other => out.extend_from_slice(&json::from_any(other)),
    }
}

/// A text in the simplest style that reads back as the same text.
fn write_text(text: &str, column: usize, out: &mut Vec<u8>) {
    let is_string = matches!(resolve::plain(text), Value::String(_)) && text != "<<" && !looks_sexagesimal(text);
    let is_printable = text.chars().all(|c| c == '\n' || (text::printable(c) && c != '\u{feff}'));
    if !is_printable {
        json::write_string(text, out);
    } else if text.contains('\n') {
        write_literal(text, column, out);
    } else if !is_string {
        json::write_string(text, out);
    } else if is_plain(text) {
        out.extend_from_slice(text.as_bytes());
    } else {
        out.push(b'\'');
        out.extend_from_slice(text.replace('\'', "''").as_bytes());
        out.push(b'\'');
    }
}

/// Lines below the key. One that begins with a space would change the indentation, so such a text is quoted.
fn write_literal(text: &str, column: usize, out: &mut Vec<u8>) {
    if text.starts_with([' ', '\n']) {
        return json::write_string(text, out);
    }
    let body = text.strip_suffix('\n');
    out.extend_from_slice(match body {
        None => b"|-",
        Some(body) if body.ends_with('\n') => b"|+",
        Some(_) => b"|",
    });
    for line in body.unwrap_or(text).split('\n') {
        out.push(b'\n');
        if !line.is_empty() {
            indent(column, out);
            out.extend_from_slice(line.as_bytes());
        }
    }
}

/// Whether a single line needs no quotes.
fn is_plain(text: &str) -> bool {
    let starts = |set: &[char]| text.starts_with(set);
    let indicator = starts(&[',', '[', ']', '{', '}', '#', '&', '*', '!', '|', '>', '\'', '"', '%', '@', '`', ' ']);
    let dash = matches!(text.as_bytes(), [b'-' | b'?' | b':'] | [b'-' | b'?' | b':', b' ', ..]) || text.starts_with("---") || text.starts_with("...");
    let inside = text.contains(": ") || text.contains(" #") || text.ends_with([':', ' ']);
    !(indicator || dash || inside)
}

/// `1:30` is a number to older readers.
fn looks_sexagesimal(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-'))
        && text.contains(':')
        && text.chars().all(|c| c.is_ascii_digit() || matches!(c, '+' | '-' | ':' | '.' | '_'))
}
