//! The syntax of names: DNS labels and subdomains, label keys and values, config keys, environment variables, ports.
//!
//! Each function gives the messages that upstream gives, none where the value is right. A list of messages becomes one
//! [`crate::field::Error`] each.

pub const DNS1123_LABEL_MAX: usize = 63;
pub const DNS1123_SUBDOMAIN_MAX: usize = 253;
pub const LABEL_VALUE_MAX: usize = 63;
const LABEL_NAME_MAX: usize = 63;
const PORT_NAME_MAX: usize = 15;

const DNS1123_LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const DNS1123_SUBDOMAIN: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const DNS1123_UNDERSCORE_SUBDOMAIN: &str = r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*";
const DNS1035_LABEL: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";
const LABEL_NAME: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const LABEL_VALUE: &str = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?";

const DNS1123_LABEL_RULE: &str =
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character";
const DNS1123_SUBDOMAIN_RULE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
const LABEL_NAME_RULE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";

pub type Messages = Vec<String>;

/// How long values are counted in messages: the older rules say characters, the newer ones bytes; both count bytes.
#[derive(Clone, Copy)]
enum Unit {
    Bytes,
    Characters,
}

fn at_most(length_max: usize, unit: Unit) -> String {
    let unit = match unit {
        Unit::Bytes => "bytes",
        Unit::Characters => "characters",
    };
    format!("must be no more than {length_max} {unit}")
}

/// `rule (e.g. 'a',  or 'b', regex used for validation is '…')`.
pub fn regex_message(rule: &str, regex: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{rule} (regex used for validation is '{regex}')");
    }
    let examples: Vec<_> = examples.iter().map(|example| format!("'{example}', ")).collect();
    format!("{rule} (e.g. {}regex used for validation is '{regex}')", examples.join(" or "))
}

pub fn inclusive_range_message(low: i64, high: i64) -> String {
    format!("must be between {low} and {high}, inclusive")
}

/// First and last characters of one class, those between of another.
fn enclosed(value: &str, ends: impl Fn(u8) -> bool, middle: impl Fn(u8) -> bool) -> bool {
    let bytes = value.as_bytes();
    matches!((bytes.first(), bytes.last()), (Some(first), Some(last)) if ends(*first) && ends(*last)) && bytes.iter().all(|byte| middle(*byte))
}

fn lower_or_digit(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn is_label(value: &str) -> bool {
    enclosed(value, lower_or_digit, |byte| lower_or_digit(byte) || byte == b'-')
}

fn is_subdomain(value: &str) -> bool {
    value.split('.').all(is_label)
}

fn is_underscore_label(value: &str) -> bool {
    let value = value.strip_prefix('_').unwrap_or(value);
    enclosed(value, lower_or_digit, |byte| lower_or_digit(byte) || byte == b'-' || byte == b'_')
}

fn is_label_name(value: &str) -> bool {
    enclosed(value, |byte| byte.is_ascii_alphanumeric(), |byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

pub fn dns1123_label(value: &str) -> Messages {
    let mut messages = Messages::new();
    if value.len() > DNS1123_LABEL_MAX {
        messages.push(at_most(DNS1123_LABEL_MAX, Unit::Characters));
    }
    if !is_label(value) {
        if is_subdomain(value) {
            messages.push("must not contain dots".to_owned());
        } else {
            messages.push(regex_message(DNS1123_LABEL_RULE, DNS1123_LABEL, &["my-name", "123-abc"]));
        }
    }
    messages
}

pub fn dns1123_subdomain(value: &str) -> Messages {
    subdomain(value, Unit::Characters)
}

fn subdomain(value: &str, unit: Unit) -> Messages {
    let mut messages = Messages::new();
    if value.len() > DNS1123_SUBDOMAIN_MAX {
        messages.push(at_most(DNS1123_SUBDOMAIN_MAX, unit));
    }
    if !is_subdomain(value) {
        messages.push(regex_message(DNS1123_SUBDOMAIN_RULE, DNS1123_SUBDOMAIN, &["example.com"]));
    }
    messages
}

pub fn dns1123_subdomain_with_underscore(value: &str) -> Messages {
    let mut messages = Messages::new();
    if value.len() > DNS1123_SUBDOMAIN_MAX {
        messages.push(at_most(DNS1123_SUBDOMAIN_MAX, Unit::Characters));
    }
    if !value.split('.').all(is_underscore_label) {
        let rule = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character";
        messages.push(regex_message(rule, DNS1123_UNDERSCORE_SUBDOMAIN, &["example.com"]));
    }
    messages
}

/// `*.example.com`.
pub fn wildcard_dns1123_subdomain(value: &str) -> Messages {
    let mut messages = Messages::new();
    if value.len() > DNS1123_SUBDOMAIN_MAX {
        messages.push(at_most(DNS1123_SUBDOMAIN_MAX, Unit::Characters));
    }
    if !value.strip_prefix("*.").is_some_and(is_subdomain) {
        let rule = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character";
        messages.push(regex_message(rule, &format!(r"\*\.{DNS1123_SUBDOMAIN}"), &["*.example.com"]));
    }
    messages
}

pub fn dns1035_label(value: &str) -> Messages {
    let mut messages = Messages::new();
    if value.len() > DNS1123_LABEL_MAX {
        messages.push(at_most(DNS1123_LABEL_MAX, Unit::Characters));
    }
    if !(is_label(value) && value.starts_with(|first: char| first.is_ascii_lowercase())) {
        let rule = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character";
        messages.push(regex_message(rule, DNS1035_LABEL, &["my-name", "abc-123"]));
    }
    messages
}

/// A name with an optional DNS prefix: label keys, annotation keys, finalizers, resource names (`example.com/gpu`).
pub fn qualified_name(value: &str) -> Messages {
    let mut messages = Messages::new();
    let examples = ["MyName", "my.name", "123-abc"];
    let name = match value.split_once('/') {
        None => value,
        Some((_, name)) if name.contains('/') => {
            let rule = regex_message(LABEL_NAME_RULE, LABEL_NAME, &examples);
            return vec![format!("a valid label key {rule} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')")];
        }
        Some((prefix, name)) => {
            if prefix.is_empty() {
                messages.push("prefix part must be non-empty".to_owned());
            } else {
                messages.extend(subdomain(prefix, Unit::Bytes).into_iter().map(|message| format!("prefix part {message}")));
            }
            name
        }
    };
    if name.is_empty() {
        messages.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_NAME_MAX {
        messages.push(format!("name part {}", at_most(LABEL_NAME_MAX, Unit::Bytes)));
    }
    if !is_label_name(name) {
        messages.push(format!("name part {}", regex_message(LABEL_NAME_RULE, LABEL_NAME, &examples)));
    }
    messages
}

pub fn label_value(value: &str) -> Messages {
    let mut messages = Messages::new();
    if value.len() > LABEL_VALUE_MAX {
        messages.push(at_most(LABEL_VALUE_MAX, Unit::Bytes));
    }
    if !(value.is_empty() || is_label_name(value)) {
        let rule = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
        messages.push(regex_message(rule, LABEL_VALUE, &["MyValue", "my_value", "12345"]));
    }
    messages
}

/// Keys of ConfigMaps and Secrets.
pub fn config_map_key(value: &str) -> Messages {
    let mut messages = Messages::new();
    if value.len() > DNS1123_SUBDOMAIN_MAX {
        messages.push(at_most(DNS1123_SUBDOMAIN_MAX, Unit::Characters));
    }
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)) {
        let rule = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
        messages.push(regex_message(rule, "[-._a-zA-Z0-9]+", &["key.name", "KEY_NAME", "key-name"]));
    }
    messages.extend(parent_folder(value));
    messages
}

/// Names of environment variables before they were relaxed to any printable ASCII.
pub fn env_var_name(value: &str) -> Messages {
    let mut messages = Messages::new();
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if value.is_empty() || value.starts_with(|first: char| first.is_ascii_digit()) || !value.bytes().all(fits) {
        let rule =
            "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', and must not start with a digit";
        messages.push(regex_message(rule, "[-._a-zA-Z][-._a-zA-Z0-9]*", &["my.env-name", "MY_ENV.NAME", "MyEnvName1"]));
    }
    messages.extend(parent_folder(value));
    messages
}

pub fn relaxed_env_var_name(value: &str) -> Messages {
    let mut messages = Messages::new();
    if value.is_empty() {
        messages.push("environment variable name must be non-empty".to_owned());
    }
    if !value.chars().all(|c| (' '..='~').contains(&c) && c != '=') {
        messages.push("a valid environment variable name must consist only of printable ASCII characters other than '='".to_owned());
    }
    messages
}

fn parent_folder(value: &str) -> Option<String> {
    match value {
        "." => Some("must not be '.'".to_owned()),
        ".." => Some("must not be '..'".to_owned()),
        _ if value.starts_with("..") => Some("must not start with '..'".to_owned()),
        _ => None,
    }
}

pub fn c_identifier(value: &str) -> Messages {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if !value.is_empty() && !value.starts_with(|first: char| first.is_ascii_digit()) && value.bytes().all(fits) {
        return Messages::new();
    }
    let rule = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'";
    vec![regex_message(rule, "[A-Za-z_][A-Za-z0-9_]*", &["my_name", "MY_NAME", "MyName"])]
}

pub fn port_name(value: &str) -> Messages {
    let mut messages = Messages::new();
    if value.len() > PORT_NAME_MAX {
        messages.push(at_most(PORT_NAME_MAX, Unit::Characters));
    }
    if value.is_empty() || !value.bytes().all(|byte| lower_or_digit(byte) || byte == b'-') {
        messages.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !value.bytes().any(|byte| byte.is_ascii_lowercase()) {
        messages.push("must contain at least one letter (a-z)".to_owned());
    }
    if value.contains("--") {
        messages.push("must not contain consecutive hyphens".to_owned());
    }
    if value.starts_with('-') || value.ends_with('-') {
        messages.push("must not begin or end with a hyphen".to_owned());
    }
    messages
}

pub fn port_number(port: i64) -> Messages {
    in_range(port, 1, 65535)
}

pub fn in_range(value: i64, low: i64, high: i64) -> Messages {
    if (low..=high).contains(&value) { Messages::new() } else { vec![inclusive_range_message(low, high)] }
}

/// `25%`.
pub fn percent(value: &str) -> Messages {
    let digits = value.strip_suffix('%').unwrap_or_default();
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Messages::new();
    }
    let rule = "a valid percent string must be a numeric string followed by an ending '%'";
    vec![regex_message(rule, "[0-9]+%", &["1%", "93%"])]
}

pub fn http_header_name(value: &str) -> Messages {
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Messages::new();
    }
    vec![regex_message("a valid HTTP header must consist of alphanumeric characters or '-'", "[-A-Za-z0-9]+", &["X-Header-Name"])]
}

/// What can stand in a URL path and in a store key. Empty names and long ones are not refused here.
pub fn path_segment(value: &str) -> Messages {
    match value {
        "." | ".." => vec![format!("may not be '{value}'")],
        _ => path_segment_prefix(value),
    }
}

/// What a generated name may begin with.
pub fn path_segment_prefix(value: &str) -> Messages {
    ["/", "%"].iter().filter(|part| value.contains(**part)).map(|part| format!("may not contain '{part}'")).collect()
}

/// A prefix as it is checked: a trailing dash will be followed by what is generated.
pub fn mask_trailing_dash(prefix: &str) -> String {
    let bytes = prefix.as_bytes();
    if bytes.len() > 1 && bytes.ends_with(b"-") {
        // Upstream drops the character before the dash too. It may be the end of a longer one.
        let mut masked = String::from_utf8_lossy(&bytes[..bytes.len() - 2]).into_owned();
        masked.push('a');
        return masked;
    }
    prefix.to_owned()
}

/// The syntax of a kind's names, with `generateName` as the same kind of name cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    Dns1123Subdomain,
    Dns1123Label,
    Dns1035Label,
    PathSegment,
}

impl NameRule {
    pub fn name(self, value: &str) -> Messages {
        match self {
            NameRule::Dns1123Subdomain => dns1123_subdomain(value),
            NameRule::Dns1123Label => dns1123_label(value),
            NameRule::Dns1035Label => dns1035_label(value),
            NameRule::PathSegment => path_segment(value),
        }
    }

    pub fn prefix(self, value: &str) -> Messages {
        match self {
            NameRule::PathSegment => path_segment_prefix(value),
            rule => rule.name(&mask_trailing_dash(value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asked of Go: rule, value, the messages joined by `|`.
    const NAMES: &str = include_str!("../testdata/names.tsv");

    #[test]
    fn every_rule_gives_upstreams_messages() {
        let mut wrong = Vec::new();
        for line in NAMES.lines() {
            let columns: Vec<_> = line.split('\t').collect();
            let [rule, value, expect] = columns[..] else { panic!("{line}") };
            let value: String = serde_json::from_str(value).unwrap();
            let messages = match rule {
                "dns1123_label" => dns1123_label(&value),
                "dns1123_subdomain" => dns1123_subdomain(&value),
                "dns1123_subdomain_with_underscore" => dns1123_subdomain_with_underscore(&value),
                "wildcard_dns1123_subdomain" => wildcard_dns1123_subdomain(&value),
                "dns1035_label" => dns1035_label(&value),
                "qualified_name" => qualified_name(&value),
                "label_value" => label_value(&value),
                "config_map_key" => config_map_key(&value),
                "env_var_name" => env_var_name(&value),
                "relaxed_env_var_name" => relaxed_env_var_name(&value),
                "c_identifier" => c_identifier(&value),
                "port_name" => port_name(&value),
                "percent" => percent(&value),
                "http_header_name" => http_header_name(&value),
                "path_segment" => path_segment(&value),
                "path_segment_prefix" => path_segment_prefix(&value),
                "prefix_subdomain" => NameRule::Dns1123Subdomain.prefix(&value),
                "prefix_1035" => NameRule::Dns1035Label.prefix(&value),
                other => panic!("{other}"),
            };
            if messages.join("|") != expect {
                wrong.push(format!("{rule} {value:?}: expected {expect}\n  got {}", messages.join("|")));
            }
        }
        assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    }

    #[test]
    fn port_numbers_are_1_to_65535() {
        assert_eq!(port_number(0), ["must be between 1 and 65535, inclusive"]);
        assert!(port_number(65535).is_empty());
    }
}
