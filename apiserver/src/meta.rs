//! Forms that metadata and entity tags take.

use apiserver_machinery::Str;
use apiserver_machinery::tree::Value;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;

/// metav1.Time of a moment: RFC 3339 in UTC, whole seconds.
pub fn time(at: jiff::Timestamp) -> Value {
    Value::String(time_text(at))
}

pub fn time_text(at: jiff::Timestamp) -> Str {
    let mut text = Str::default();
    let at = jiff::tz::Offset::UTC.to_datetime(at);
    let _ = write!(text, "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", at.year(), at.month(), at.day(), at.hour(), at.minute(), at.second());
    text
}

/// The SHA-256 of a document, in upper-case hex: its entity tag.
pub fn hash_text(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        let _ = write!(out, "{byte:02X}");
    }
    out
}
