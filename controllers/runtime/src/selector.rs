//! Label selectors as controllers use them: on objects in memory.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use std::collections::BTreeMap;

pub type Labels = BTreeMap<String, String>;

/// All requirements must hold; without any it matches everything.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Selector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    /// Holds without the label too.
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a valid label selector operator")]
pub struct BadOperator(String);

impl Selector {
    /// None matches nothing in Kubernetes; callers decide what that means for them.
    pub fn new(selector: &LabelSelector) -> Result<Self, BadOperator> {
        let mut requirements = Self::from_map(selector.match_labels.iter().flatten()).0;
        for expression in selector.match_expressions.iter().flatten() {
            let (key, values) = (expression.key.clone(), expression.values.clone().unwrap_or_default());
            requirements.push(match expression.operator.as_str() {
                "In" => Requirement::In(key, values),
                "NotIn" => Requirement::NotIn(key, values),
                "Exists" => Requirement::Exists(key),
                "DoesNotExist" => Requirement::Absent(key),
                other => return Err(BadOperator(other.into())),
            });
        }
        Ok(Self(requirements))
    }

    pub fn from_map<'a>(labels: impl IntoIterator<Item = (&'a String, &'a String)>) -> Self {
        Self(labels.into_iter().map(|(key, value)| Requirement::In(key.clone(), vec![value.clone()])).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn matches(&self, labels: Option<&Labels>) -> bool {
        let label = |key: &String| labels.and_then(|labels| labels.get(key));
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => label(key).is_some_and(|value| values.contains(value)),
            Requirement::NotIn(key, values) => label(key).is_none_or(|value| !values.contains(value)),
            Requirement::Exists(key) => label(key).is_some(),
            Requirement::Absent(key) => label(key).is_none(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(selector: Value, labels: Value, expect: bool) {
        let parsed = Selector::new(&serde_json::from_value(selector.clone()).unwrap()).unwrap();
        let labels: Option<Labels> = serde_json::from_value(labels).unwrap();
        assert_eq!(parsed.matches(labels.as_ref()), expect, "{selector} {labels:?}");
    }

    fn expression(operator: &str, values: &[&str]) -> Value {
        json!({"matchExpressions": [{"key": "a", "operator": operator, "values": values}]})
    }

    #[test]
    fn labels_match_as_upstream_matches_them() {
        check(json!({}), json!(null), true);
        check(json!({"matchLabels": {"a": "1", "b": "2"}}), json!({"a": "1", "b": "2", "c": "3"}), true);
        check(json!({"matchLabels": {"a": "1", "b": "2"}}), json!({"a": "1"}), false);
        check(expression("In", &["1", "2"]), json!({"a": "2"}), true);
        check(expression("In", &["1"]), json!({}), false);
        check(expression("NotIn", &["1"]), json!({}), true);
        check(expression("NotIn", &["1"]), json!({"a": "1"}), false);
        check(expression("Exists", &[]), json!({"a": ""}), true);
        check(expression("Exists", &[]), json!(null), false);
        check(expression("DoesNotExist", &[]), json!({"a": ""}), false);
        check(expression("DoesNotExist", &[]), json!(null), true);
    }

    #[test]
    fn an_unknown_operator_is_an_error() {
        assert!(Selector::new(&serde_json::from_value(expression("Near", &[])).unwrap()).is_err());
    }
}
