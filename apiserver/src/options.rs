//! Query parameters: what GetOptions, ListOptions, CreateOptions and their siblings carry.

use crate::Error;
use crate::stage::decode;
use apiserver_machinery::field::{self, Path};
pub use apiserver_machinery::patch::FieldValidation;
use apiserver_machinery::{Str, fields, labels};
use std::borrow::Cow;

/// Query strings longer than this are refused.
const QUERY_BYTES_MAX: usize = 1 << 20;

/// All query parameters that the API machinery knows, of any verb.
#[derive(Debug)]
pub struct Options {
    /// `CreateOptions`, `ListOptions` …: what faults are reported of.
    kind: &'static str,
    pub pretty: Option<bool>,
    pub resource_version: Str,
    pub resource_version_match: Str,
    pub limit: u64,
    pub continue_token: String,
    pub label_selector: labels::Selector,
    pub field_selector: fields::Selector,
    pub watch: bool,
    pub allow_watch_bookmarks: bool,
    pub send_initial_events: Option<bool>,
    pub timeout_seconds: Option<u64>,
    pub dry_run: bool,
    pub field_manager: Str,
    pub field_validation: FieldValidation,
    pub force: Option<bool>,
    pub grace_period_seconds: Option<i64>,
    pub orphan_dependents: Option<bool>,
    pub propagation_policy: Str,
    /// Of tables: None, Metadata (the default) or Object.
    pub include_object: Str,
    /// Parameters that belong to no options type, in order: those of log, exec, attach and proxies.
    pub others: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            kind: "ListOptions",
            pretty: None,
            resource_version: Str::default(),
            resource_version_match: Str::default(),
            limit: 0,
            continue_token: String::new(),
            label_selector: labels::Selector::everything(),
            field_selector: fields::Selector::everything(),
            watch: false,
            allow_watch_bookmarks: false,
            send_initial_events: None,
            timeout_seconds: None,
            dry_run: false,
            field_manager: Str::default(),
            field_validation: FieldValidation::Warn,
            force: None,
            grace_period_seconds: None,
            orphan_dependents: None,
            propagation_policy: Str::default(),
            include_object: Str::default(),
            others: Vec::new(),
        }
    }
}

impl Options {
    /// `kind` is the options kind that faults are reported of: `CreateOptions`.
    pub fn parse(kind: &'static str, query: Option<&str>) -> Result<Options, Error> {
        let mut options = Options { kind, ..Options::default() };
        let Some(query) = query else { return Ok(options) };
        if query.len() > QUERY_BYTES_MAX {
            return Err(Error::bad_request("query too long"));
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            options.set(&decode(name), &decode(value))?;
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), Error> {
        match name {
            "pretty" => self.pretty = Some(truth(value)),
            "resourceVersion" => self.resource_version = value.into(),
            "resourceVersionMatch" => self.resource_version_match = value.into(),
            "limit" => {
                let limit: i64 = number(value)?;
                // A negative limit is no limit, as upstream has it.
                self.limit = u64::try_from(limit).unwrap_or(0);
            }
            "continue" => self.continue_token = value.into(),
            "labelSelector" => {
                self.label_selector = labels::Selector::parse(value).map_err(|error| Error::bad_request(error.to_string()))?;
            }
            "fieldSelector" => {
                self.field_selector = fields::Selector::parse(value).map_err(|error| Error::bad_request(error.to_string()))?;
            }
            "watch" => self.watch = truth(value),
            "allowWatchBookmarks" => self.allow_watch_bookmarks = truth(value),
            "sendInitialEvents" => self.send_initial_events = (!value.is_empty()).then(|| truth(value)),
            "timeoutSeconds" => self.timeout_seconds = u64::try_from(number::<i64>(value)?).ok(),
            "dryRun" => match value {
                "" => {}
                "All" => self.dry_run = true,
                _ => return Err(decode::dry_run_invalid(self.kind, value)),
            },
            "fieldManager" => self.field_manager = value.into(),
            "fieldValidation" => {
                self.field_validation = match value {
                    "" | "Warn" => FieldValidation::Warn,
                    "Ignore" => FieldValidation::Ignore,
                    "Strict" => FieldValidation::Strict,
                    _ => {
                        let error = field::Error::not_supported(&Path::new("fieldValidation"), value, &["", "Ignore", "Strict", "Warn"]);
                        return Err(decode::options_invalid(self.kind, error));
                    }
                }
            }
            "force" => self.force = Some(truth(value)),
            "gracePeriodSeconds" => self.grace_period_seconds = Some(number(value)?),
            "orphanDependents" => self.orphan_dependents = Some(truth(value)),
            "propagationPolicy" => self.propagation_policy = value.into(),
            "includeObject" => self.include_object = value.into(),
            _ => self.others.push((name.into(), value.into())),
        }
        Ok(())
    }

    /// The first value of a parameter that no options type knows.
    pub fn other(&self, name: &str) -> Option<&str> {
        self.others.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

/// As upstream reads booleans in queries: everything but `false` and `0` is true, also an empty value.
fn truth(value: &str) -> bool {
    !matches!(value, "false" | "0")
}

fn number<N: std::str::FromStr>(value: &str) -> Result<N, Error> {
    value.parse().map_err(|_| Error::bad_request(format!("strconv.ParseInt: parsing {value:?}: invalid syntax")))
}

/// Percent-decoding of one name or value, `+` as a space. What is no UTF-8 afterwards is replaced.
fn decode(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| byte == b'%' || byte == b'+') {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%').then(|| bytes.get(at + 1..at + 3)).flatten().and_then(hex);
        match (escaped, bytes[at]) {
            (Some(byte), _) => {
                out.push(byte);
                at += 3;
            }
            (None, b'+') => {
                out.push(b' ');
                at += 1;
            }
            (None, byte) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    Cow::Owned(String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

fn hex(pair: &[u8]) -> Option<u8> {
    let high = char::from(pair[0]).to_digit(16)?;
    let low = char::from(pair[1]).to_digit(16)?;
    u8::try_from(high * 16 + low).ok()
}

/// Percent-decodes a path segment: `+` stays.
pub fn decode_path(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    Cow::Owned(decode(&text.replace('+', "%2B")).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let options = Options::parse("ListOptions", Some("limit=5&continue=abc%3D&watch&dryRun=All&container=a+b&fieldValidation=Strict")).unwrap();
        assert_eq!(options.limit, 5);
        assert_eq!(options.continue_token, "abc=");
        assert!(options.watch && options.dry_run);
        assert_eq!(options.other("container"), Some("a b"));
        assert_eq!(options.field_validation, FieldValidation::Strict);
    }

    #[test]
    fn a_limit_that_is_no_number_is_refused() {
        assert!(Options::parse("ListOptions", Some("limit=x")).is_err());
        assert!(Options::parse("ListOptions", Some("dryRun=Some")).is_err());
    }
}
