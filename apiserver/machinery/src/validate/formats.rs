//! The string formats that a CustomResourceDefinition may ask for.

use super::pattern::Pattern;
use crate::names;
use base64::Engine as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

/// Whether a text has a format; `None` for formats that mean nothing to upstream.
pub(super) fn check(format: &str, text: &str) -> Option<bool> {
    let normalized = format.replace('-', "");
    Some(match normalized.as_str() {
        "bsonobjectid" => text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "uri" => is_request_uri(text),
        "email" => is_email(text),
        "hostname" => is_hostname(text),
        "ipv4" => text.contains('.') && is_ip(text),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => is_cidr(text),
        "mac" => is_mac(text),
        "uuid" => is_uuid(text, None, false),
        "uuid3" => is_uuid(text, Some('3'), false),
        "uuid4" => is_uuid(text, Some('4'), true),
        "uuid5" => is_uuid(text, Some('5'), true),
        "isbn" => is_isbn10(text) || is_isbn13(text),
        "isbn10" => is_isbn10(text),
        "isbn13" => is_isbn13(text),
        "creditcard" => is_credit_card(text),
        "ssn" => text.len() == 11 && SSN.matches(text),
        "hexcolor" => HEX_COLOR.matches(text),
        "rgbcolor" => RGB_COLOR.matches(text),
        "byte" => !text.is_empty() && base64::engine::general_purpose::STANDARD.decode(text).is_ok(),
        "password" => true,
        "date" => is_date(text),
        "duration" => is_duration(text),
        "datetime" => is_date_time(text),
        "k8sshortname" => text.len() <= names::DNS1123_LABEL_MAX && names::dns1123_label(text).is_empty(),
        "k8slongname" => names::dns1123_subdomain(text).is_empty(),
        _ => return None,
    })
}

static SSN: LazyLock<Pattern> = LazyLock::new(|| Pattern::new(r"^\d{3}[- ]?\d{2}[- ]?\d{4}$"));
static HEX_COLOR: LazyLock<Pattern> = LazyLock::new(|| Pattern::new("^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$"));
static RGB_COLOR: LazyLock<Pattern> = LazyLock::new(|| {
    let number = r"(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])";
    Pattern::new(&format!(r"^rgb\(\s*{number}\s*,\s*{number}\s*,\s*{number}\s*\)$"))
});
static CREDIT_CARD: LazyLock<Pattern> = LazyLock::new(|| {
    Pattern::new(
        r"^(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35\d{3})\d{11})$",
    )
});
static TIME: LazyLock<Pattern> = LazyLock::new(|| Pattern::new(r"^([0-9]{2}):([0-9]{2}):([0-9]{2})(.[0-9]+)?(z|([+-][0-9]{2}:[0-9]{2}))$"));

/// An absolute URI, or a path that begins with a slash.
fn is_request_uri(text: &str) -> bool {
    if text.is_empty() || text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
        return false;
    }
    let escapes_end_well = text.split('%').skip(1).all(|part| part.len() >= 2 && part.bytes().take(2).all(|byte| byte.is_ascii_hexdigit()));
    if text == "*" {
        return true;
    }
    match text.split_once(':') {
        _ if text.starts_with('/') => escapes_end_well,
        Some((scheme, rest)) => {
            let scheme_fits = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
                && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
            // What has a scheme and no slash is opaque, which a request may be, whatever it holds.
            let authority = rest.strip_prefix("//").map(|rest| rest.split('/').next().unwrap_or_default());
            scheme_fits && (!rest.starts_with('/') || (escapes_end_well && authority.is_none_or(is_authority)))
        }
        None => false,
    }
}

fn is_authority(authority: &str) -> bool {
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let port = match host.strip_prefix('[') {
        Some(literal) => match literal.split_once(']') {
            Some((_, port)) => port,
            None => return false,
        },
        None => host.find(':').map_or("", |at| &host[at..]),
    };
    let port_fits = port.is_empty() || port.strip_prefix(':').is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    // Only what is not ASCII may be escaped in a host.
    let escapes_fit = host.split('%').skip(1).all(|escape| matches!(escape.as_bytes().first(), Some(b'8'..=b'9' | b'a'..=b'f' | b'A'..=b'F')));
    port_fits && escapes_fit && !host.contains([' ', '<', '>', '"'])
}

/// `user@host`, with an optional name before it: `Name <user@host>`.
fn is_email(text: &str) -> bool {
    let text = text.trim();
    let address = match text.strip_suffix('>').and_then(|text| text.rsplit_once('<')) {
        Some((_, address)) => address,
        None => text,
    };
    let Some((user, host)) = address.rsplit_once('@') else { return false };
    let atom = |byte: u8| byte.is_ascii_alphanumeric() || !byte.is_ascii() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
    let dotted = |text: &str| !text.is_empty() && text.split('.').all(|part| !part.is_empty() && part.bytes().all(atom));
    let quoted = user.len() >= 2 && user.starts_with('"') && user.ends_with('"');
    (quoted || dotted(user)) && dotted(host)
}

static HOSTNAME: LazyLock<Pattern> = LazyLock::new(|| {
    Pattern::new(
        r"^([a-zA-Z0-9\p{S}\p{L}]((-?[a-zA-Z0-9\p{S}\p{L}]{0,62})?)|([a-zA-Z0-9\p{S}\p{L}](([a-zA-Z0-9-\p{S}\p{L}]{0,61}[a-zA-Z0-9\p{S}\p{L}])?)(\.)){1,}([a-zA-Z\p{L}]){2,63})$",
    )
});

fn is_hostname(text: &str) -> bool {
    text.len() <= 255 && text.split('.').all(|label| label.len() <= names::DNS1123_LABEL_MAX) && HOSTNAME.matches(text)
}

/// IPv4 octets may have leading zeros.
fn is_ip(text: &str) -> bool {
    let octet = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) && part.trim_start_matches('0').parse::<u32>().unwrap_or_default() <= 255
    };
    let octets: Vec<_> = text.split('.').collect();
    text.parse::<Ipv6Addr>().is_ok() || text.parse::<Ipv4Addr>().is_ok() || (octets.len() == 4 && octets.into_iter().all(octet))
}

fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let max = if address.contains(':') { 128 } else { 32 };
    let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
    digits && length.parse::<u32>().is_ok_and(|length| length <= max) && is_ip(address)
}

/// 6, 8 or 20 bytes, in pairs with colons or dashes, in fours with dots, or all together.
fn is_mac(text: &str) -> bool {
    let parts: Vec<&str> = match text.as_bytes() {
        [_, _, b':', ..] => text.split(':').collect(),
        [_, _, b'-', ..] => text.split('-').collect(),
        [_, _, _, _, b'.', ..] => text.split('.').collect(),
        _ => vec![text],
    };
    let alike = parts.iter().all(|part| part.len() == parts[0].len() && part.bytes().all(|byte| byte.is_ascii_hexdigit()));
    alike && matches!(parts.len() * parts[0].len(), 12 | 16 | 40)
}

/// Groups of 8, 4, 4, 4 and 12 digits; each dash may be missing.
fn is_uuid(text: &str, version: Option<char>, variant: bool) -> bool {
    let mut rest = text;
    for (group, length) in [8, 4, 4, 4, 12].into_iter().enumerate() {
        if group > 0 {
            rest = rest.strip_prefix('-').unwrap_or(rest);
        }
        let Some((digits, after)) = rest.split_at_checked(length) else { return false };
        let first = digits.chars().next().map(|first| first.to_ascii_lowercase());
        let fits = match group {
            2 => version.is_none() || first == version,
            3 => !variant || matches!(first, Some('8' | '9' | 'a' | 'b')),
            _ => true,
        };
        if !fits || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return false;
        }
        rest = after;
    }
    rest.is_empty()
}

fn isbn_digits(text: &str) -> Vec<u32> {
    let sanitized = text.chars().filter(|c| !c.is_whitespace() && *c != '-');
    sanitized.map(|c| if c == 'X' { 10 } else { c.to_digit(10).unwrap_or(u32::MAX) }).collect()
}

fn is_isbn10(text: &str) -> bool {
    let digits = isbn_digits(text);
    let fits = digits.len() == 10 && digits[..9].iter().all(|digit| *digit < 10) && digits[9] <= 10;
    fits && digits.iter().zip(1..).map(|(digit, factor)| digit * factor).sum::<u32>() % 11 == 0
}

fn is_isbn13(text: &str) -> bool {
    let digits = isbn_digits(text);
    let fits = digits.len() == 13 && digits.iter().all(|digit| *digit < 10);
    fits && digits.iter().zip([1, 3].into_iter().cycle()).map(|(digit, factor)| digit * factor).sum::<u32>() % 10 == 0
}

fn is_credit_card(text: &str) -> bool {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let doubled = |(at, digit): (usize, u8)| {
        let digit = u32::from(digit - b'0');
        match (at % 2, digit * 2) {
            (0, _) => digit,
            (_, doubled) if doubled >= 10 => doubled - 9,
            (_, doubled) => doubled,
        }
    };
    CREDIT_CARD.matches(&digits) && digits.bytes().rev().enumerate().map(doubled).sum::<u32>() % 10 == 0
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && crate::time::Moment::parse(&format!("{text}T00:00:00Z"), crate::time::Precision::Seconds).is_ok()
}

fn is_date_time(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let Some((date, rest)) = text.split_once('t') else { return false };
    let time = rest.split('t').next().unwrap_or_default();
    let bounded = |range: std::ops::Range<usize>, max: &str| time.get(range).is_some_and(|part| part <= max);
    is_date(date) && TIME.matches(time) && bounded(0..2, "23") && bounded(3..5, "59") && bounded(6..8, "59")
}

/// Go's notation (`1h30m`), or a number with the name of a unit (`22 ns`, `3 weeks`).
fn is_duration(text: &str) -> bool {
    if crate::time::parse_duration(text).is_ok() {
        return true;
    }
    const UNITS: [&[&str]; 8] = [
        &["ns", "nano"],
        &["us", "µs", "micro"],
        &["ms", "milli"],
        &["s", "sec"],
        &["m", "min"],
        &["h", "hr", "hour"],
        &["d", "day"],
        &["w", "wk", "week"],
    ];
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let after = rest[at..].trim_start_matches(|c: char| c.is_ascii_digit()).trim_start();
        let end = after.find(|c: char| !(c.is_ascii_alphabetic() || c == 'µ')).unwrap_or(after.len());
        let unit = after[..end].to_lowercase();
        let named = |names: &&[&str]| names.iter().any(|name| *name == unit) || names.last().is_some_and(|last| unit.starts_with(last));
        if !unit.is_empty() && UNITS.iter().any(named) {
            return true;
        }
        rest = &after[end..];
    }
    false
}

#[cfg(test)]
mod tests {
    /// Asked of upstream: a format, a text as a JSON string, and whether it has the format.
    const FORMATS: &str = include_str!("../../testdata/formats.tsv");

    #[test]
    fn texts_have_the_formats_that_upstream_finds() {
        let mut wrong = Vec::new();
        for line in FORMATS.lines() {
            let [format, text, expect] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
            let text: String = serde_json::from_str(text).unwrap();
            if super::check(format, &text) != Some(expect == "true") {
                wrong.push(line);
            }
        }
        assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    }

    #[test]
    fn formats_that_upstream_does_not_know_say_nothing() {
        assert_eq!(super::check("bogus", "x"), None);
    }
}
