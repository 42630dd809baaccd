//! Label selectors, compiled once and matched often. They borrow from the object that holds them.

use crate::Error;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use std::collections::BTreeMap;

pub type Labels = BTreeMap<String, String>;

static NO_LABELS: Labels = Labels::new();

/// The labels of an object, none as an empty map.
pub fn labels_of(metadata: &ObjectMeta) -> &Labels {
    metadata.labels.as_ref().unwrap_or(&NO_LABELS)
}

/// Requirements that must all hold, or nothing at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector<'a> {
    /// Matches no object: a selector that is not set.
    Nothing,
    All(Vec<Requirement<'a>>),
}

impl<'a> Selector<'a> {
    /// One that is not set matches nothing, an empty one everything.
    pub fn new(selector: Option<&'a LabelSelector>) -> Result<Self, Error> {
        let Some(selector) = selector else { return Ok(Self::Nothing) };
        let mut all = Vec::new();
        for (key, value) in selector.match_labels.iter().flatten() {
            all.push(Requirement::new(key, "In", std::slice::from_ref(value), "")?);
        }
        for expression in selector.match_expressions.iter().flatten() {
            if !matches!(expression.operator.as_str(), "In" | "NotIn" | "Exists" | "DoesNotExist") {
                return Err(Error::LabelSelectorOperator { operator: expression.operator.clone() });
            }
            all.push(Requirement::new(&expression.key, &expression.operator, expression.values.as_deref().unwrap_or_default(), "")?);
        }
        Ok(Self::All(all))
    }

    pub fn matches(&self, labels: &Labels) -> bool {
        match self {
            Self::Nothing => false,
            Self::All(all) => all.iter().all(|requirement| requirement.matches(labels)),
        }
    }
}

/// One key and what must be true of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement<'a> {
    key: &'a str,
    rule: Rule<'a>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule<'a> {
    In(&'a [String]),
    NotIn(&'a [String]),
    Exists,
    DoesNotExist,
    Gt(i64),
    Lt(i64),
}

impl<'a> Requirement<'a> {
    /// `path` is where the requirement lies in its object, for errors.
    pub(crate) fn new(key: &'a str, operator: &str, values: &'a [String], path: &str) -> Result<Self, Error> {
        let problem = |problem| Error::Values { path: path.to_owned(), values: values.to_vec(), problem };
        if !is_label_key(key) {
            return Err(Error::LabelKey { path: path.to_owned(), key: key.to_owned() });
        }
        let rule = match operator {
            "In" | "NotIn" if values.is_empty() => return Err(problem("for 'in', 'notin' operators, values set can't be empty")),
            "In" => Rule::In(values),
            "NotIn" => Rule::NotIn(values),
            "Exists" | "DoesNotExist" if !values.is_empty() => return Err(problem("values set must be empty for exists and does not exist")),
            "Exists" => Rule::Exists,
            "DoesNotExist" => Rule::DoesNotExist,
            "Gt" | "Lt" => {
                let [value] = values else { return Err(problem("for 'Gt', 'Lt' operators, exactly one value is required")) };
                let bound = value.parse().map_err(|_| problem("for 'Gt', 'Lt' operators, the value must be an integer"))?;
                if operator == "Gt" { Rule::Gt(bound) } else { Rule::Lt(bound) }
            }
            _ => return Err(Error::Operator { path: path.to_owned(), operator: operator.to_owned() }),
        };
        if let Some(value) = values.iter().find(|value| !is_label_value(value)) {
            return Err(Error::LabelValue { path: path.to_owned(), value: value.clone() });
        }
        Ok(Self { key, rule })
    }

    pub fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(self.key);
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match &self.rule {
            Rule::In(values) => value.is_some_and(|value| values.contains(value)),
            Rule::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Rule::Exists => value.is_some(),
            Rule::DoesNotExist => value.is_none(),
            Rule::Gt(bound) => number().is_some_and(|number| number > *bound),
            Rule::Lt(bound) => number().is_some_and(|number| number < *bound),
        }
    }
}

/// `name` or `dns.prefix/name`.
fn is_label_key(key: &str) -> bool {
    let name = match key.split_once('/') {
        None => key,
        Some((prefix, _)) if !is_dns_subdomain(prefix) => return false,
        Some((_, name)) => name,
    };
    !name.is_empty() && is_label_value(name)
}

/// Up to 63 of letters, digits, `-`, `_` and `.`, with a letter or digit at both ends; or empty.
fn is_label_value(value: &str) -> bool {
    let bytes = value.as_bytes();
    let ends = [bytes.first(), bytes.last()].into_iter().flatten().all(u8::is_ascii_alphanumeric);
    bytes.len() <= 63 && ends && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

fn is_dns_subdomain(name: &str) -> bool {
    let label = |label: &str| {
        let bytes = label.as_bytes();
        let ends = bytes.first().zip(bytes.last()).is_some_and(|(first, last)| *first != b'-' && *last != b'-');
        ends && bytes.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[track_caller]
    fn check(selector: Value, labels: Value, expect: bool) {
        let selector: LabelSelector = serde_json::from_value(selector).unwrap();
        let labels: Labels = serde_json::from_value(labels).unwrap();
        assert_eq!(Selector::new(Some(&selector)).unwrap().matches(&labels), expect, "{selector:?} {labels:?}");
    }

    #[test]
    fn all_requirements_must_hold() {
        let blue = json!({"app": "web", "tier": "blue"});
        check(json!({}), blue.clone(), true);
        check(json!({"matchLabels": {"app": "web"}}), blue.clone(), true);
        check(json!({"matchLabels": {"app": "web", "tier": "red"}}), blue.clone(), false);
        check(json!({"matchExpressions": [{"key": "tier", "operator": "In", "values": ["red", "blue"]}]}), blue.clone(), true);
        check(json!({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["red"]}]}), blue.clone(), true);
        check(json!({"matchExpressions": [{"key": "zone", "operator": "NotIn", "values": ["a"]}]}), blue.clone(), true);
        check(json!({"matchExpressions": [{"key": "zone", "operator": "Exists"}]}), blue.clone(), false);
        check(json!({"matchExpressions": [{"key": "zone", "operator": "DoesNotExist"}]}), blue.clone(), true);
        check(json!({"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}), blue, false);
    }

    #[test]
    fn one_that_is_not_set_matches_nothing() {
        assert!(!Selector::new(None).unwrap().matches(&Labels::new()));
    }

    #[test]
    fn what_cannot_be_evaluated_is_an_error() {
        for (key, operator, values) in [
            ("a", "Gt", json!(["1"])),
            ("a", "In", json!([])),
            ("a", "Exists", json!(["x"])),
            ("-a", "Exists", json!([])),
            ("a", "In", json!(["no space"])),
            ("A.b/c", "Exists", json!([])),
        ] {
            let selector: LabelSelector =
                serde_json::from_value(json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]})).unwrap();
            assert!(Selector::new(Some(&selector)).is_err(), "{key} {operator} {values}");
        }
    }
}
