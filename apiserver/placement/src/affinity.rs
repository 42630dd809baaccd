//! Node selectors and node affinity: which nodes a Pod may, or would rather, run on.
//!
//! Terms are ORed, requirements in a term ANDed. An empty term matches nothing; one that cannot be evaluated matches nothing and is
//! reported only where no other term matches.

use crate::Error;
use crate::selector::{Labels, Requirement, labels_of};
use k8s_openapi::api::core::v1::{self, Node, NodeSelectorTerm, Pod, PodSpec, PreferredSchedulingTerm};

pub const METADATA_NAME: &str = "metadata.name";

/// A compiled `v1.NodeSelector`.
#[derive(Clone, Debug, Default)]
pub struct NodeSelector<'a> {
    terms: Vec<Result<Term<'a>, Error>>,
    /// There was a term without requirements.
    empty_term: bool,
}

impl<'a> NodeSelector<'a> {
    pub fn new(selector: &'a v1::NodeSelector) -> Self {
        let all = selector.node_selector_terms.iter().enumerate();
        let terms: Vec<_> = all.filter_map(|(index, term)| Term::new(term, &format!("nodeSelectorTerms[{index}]")).transpose()).collect();
        Self { empty_term: terms.len() < selector.node_selector_terms.len(), terms }
    }

    pub fn matches(&self, name: &str, labels: &Labels) -> bool {
        self.terms.iter().flatten().any(|term| term.matches(name, labels))
    }

    pub fn errors(&self) -> impl Iterator<Item = &Error> {
        self.terms.iter().filter_map(|term| term.as_ref().err())
    }
}

/// A Pod's `nodeSelector` and required node affinity together.
#[derive(Clone, Debug, Default)]
pub struct RequiredNodeAffinity<'a> {
    labels: Option<&'a Labels>,
    selector: Option<NodeSelector<'a>>,
}

impl<'a> RequiredNodeAffinity<'a> {
    pub fn of(pod: &'a Pod) -> Self {
        pod.spec.as_ref().map(Self::of_spec).unwrap_or_default()
    }

    pub fn of_spec(spec: &'a PodSpec) -> Self {
        let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
        Self {
            labels: spec.node_selector.as_ref().filter(|labels| !labels.is_empty()),
            selector: affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref()).map(NodeSelector::new),
        }
    }

    /// Every node matches.
    pub fn is_any(&self) -> bool {
        self.labels.is_none() && self.selector.is_none()
    }

    pub fn matches(&self, node: &Node) -> bool {
        let labels = labels_of(&node.metadata);
        self.labels.is_none_or(|own| own.iter().all(|(key, value)| labels.get(key) == Some(value)))
            && self.selector.as_ref().is_none_or(|selector| selector.matches(node.metadata.name.as_deref().unwrap_or_default(), labels))
    }

    /// The names of the only nodes that can match, where every term names its node by `metadata.name`; `None` when any node may.
    pub fn node_names(&self) -> Option<Vec<&'a str>> {
        let selector = self.selector.as_ref().filter(|selector| !selector.empty_term && !selector.terms.is_empty())?;
        let mut names = Vec::new();
        for term in &selector.terms {
            let mut fields = term.as_ref().ok()?.fields.iter().filter(|field| field.key == METADATA_NAME && field.equal);
            let first = fields.next()?;
            // Two names in one term are a term that no node matches.
            if fields.all(|other| other.value == first.value) {
                names.push(first.value);
            }
        }
        names.sort_unstable();
        names.dedup();
        Some(names)
    }
}

/// A Pod's preferred node affinity.
#[derive(Clone, Debug, Default)]
pub struct PreferredNodeAffinity<'a> {
    terms: Vec<(i64, Term<'a>)>,
}

impl<'a> PreferredNodeAffinity<'a> {
    pub fn of(pod: &'a Pod) -> Result<Self, Error> {
        let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref()).and_then(|affinity| affinity.node_affinity.as_ref());
        Self::new(affinity.and_then(|affinity| affinity.preferred_during_scheduling_ignored_during_execution.as_deref()).unwrap_or_default())
    }

    pub fn new(terms: &'a [PreferredSchedulingTerm]) -> Result<Self, Error> {
        let mut compiled = Vec::new();
        for (index, term) in terms.iter().enumerate().filter(|(_, term)| term.weight != 0) {
            if let Some(preference) = Term::new(&term.preference, &format!("[{index}]"))? {
                compiled.push((i64::from(term.weight), preference));
            }
        }
        Ok(Self { terms: compiled })
    }

    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// The sum of the weights of the terms that match.
    pub fn score(&self, node: &Node) -> i64 {
        let (name, labels) = (node.metadata.name.as_deref().unwrap_or_default(), labels_of(&node.metadata));
        self.terms.iter().filter(|(_, term)| term.matches(name, labels)).map(|(weight, _)| weight).sum()
    }
}

#[derive(Clone, Debug)]
struct Term<'a> {
    labels: Vec<Requirement<'a>>,
    fields: Vec<Field<'a>>,
}

#[derive(Clone, Debug)]
struct Field<'a> {
    key: &'a str,
    equal: bool,
    value: &'a str,
}

impl<'a> Term<'a> {
    /// `None` for an empty term.
    fn new(term: &'a NodeSelectorTerm, path: &str) -> Result<Option<Self>, Error> {
        let mut compiled = Self { labels: Vec::new(), fields: Vec::new() };
        for (index, one) in term.match_expressions.iter().flatten().enumerate() {
            let path = format!("{path}.matchExpressions[{index}]");
            compiled.labels.push(Requirement::new(&one.key, &one.operator, one.values.as_deref().unwrap_or_default(), &path)?);
        }
        for (index, one) in term.match_fields.iter().flatten().enumerate() {
            let path = format!("{path}.matchFields[{index}]");
            let equal = match one.operator.as_str() {
                "In" => true,
                "NotIn" => false,
                _ => return Err(Error::Operator { path, operator: one.operator.clone() }),
            };
            let [value] = one.values.as_deref().unwrap_or_default() else {
                return Err(Error::Values { path, values: one.values.clone().unwrap_or_default(), problem: "must have one element" });
            };
            compiled.fields.push(Field { key: &one.key, equal, value });
        }
        Ok((!compiled.labels.is_empty() || !compiled.fields.is_empty()).then_some(compiled))
    }

    fn matches(&self, name: &str, labels: &Labels) -> bool {
        // The only field that nodes are selected by is their name; any other is empty.
        let field = |field: &Field| (field.value == if field.key == METADATA_NAME { name } else { "" }) == field.equal;
        self.labels.iter().all(|requirement| requirement.matches(labels)) && self.fields.iter().all(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn node(name: &str, labels: Value) -> Node {
        serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}})).unwrap()
    }

    fn pod(spec: Value) -> Pod {
        let mut pod = json!({"spec": {"containers": []}});
        pod["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        serde_json::from_value(pod).unwrap()
    }

    fn required(terms: Value) -> Value {
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}})
    }

    #[track_caller]
    fn check(spec: Value, expect: bool) {
        let node = node("n1", json!({"zone": "a", "cpus": "8", "gen": "x"}));
        assert_eq!(RequiredNodeAffinity::of(&pod(spec.clone())).matches(&node), expect, "{spec}");
    }

    #[test]
    fn node_selectors_compare_labels() {
        check(json!({}), true);
        check(json!({"nodeSelector": {}}), true);
        check(json!({"nodeSelector": {"zone": "a", "cpus": "8"}}), true);
        check(json!({"nodeSelector": {"zone": "b"}}), false);
        check(json!({"nodeSelector": {"rack": "1"}}), false);
    }

    #[test]
    fn operators_mean_what_they_say() {
        let one = |key: &str, operator: &str, values: Value| {
            required(json!([{"matchExpressions": [{"key": key, "operator": operator, "values": values}]}]))
        };
        check(one("zone", "In", json!(["a", "b"])), true);
        check(one("zone", "NotIn", json!(["b"])), true);
        check(one("rack", "NotIn", json!(["b"])), true);
        check(one("zone", "Exists", json!([])), true);
        check(one("zone", "DoesNotExist", json!([])), false);
        check(one("cpus", "Gt", json!(["7"])), true);
        check(one("cpus", "Gt", json!(["8"])), false);
        check(one("cpus", "Lt", json!(["9"])), true);
        check(one("gen", "Lt", json!(["9"])), false);
        check(one("rack", "Gt", json!(["1"])), false);
        check(one("cpus", "Gt", json!(["x"])), false);
        check(one("zone", "Near", json!(["a"])), false);
    }

    #[test]
    fn terms_are_ored_and_an_empty_one_matches_nothing() {
        let a = json!({"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]});
        let b = json!({"matchExpressions": [{"key": "zone", "operator": "In", "values": ["b"]}]});
        check(required(json!([b, a])), true);
        check(required(json!([b])), false);
        check(required(json!([{}])), false);
        check(required(json!([{}, a])), true);
        check(required(json!([{"matchExpressions": [{"key": "zone", "operator": "Near"}]}, a])), true);
    }

    #[test]
    fn fields_select_by_name() {
        let name =
            |operator: &str, value: &str| required(json!([{"matchFields": [{"key": "metadata.name", "operator": operator, "values": [value]}]}]));
        check(name("In", "n1"), true);
        check(name("In", "n2"), false);
        check(name("NotIn", "n2"), true);
        check(name("NotIn", "n1"), false);
        check(name("Exists", "n1"), false);
    }

    #[test]
    fn only_terms_that_all_name_a_node_narrow_the_nodes() {
        let by = |name: &str| json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]});
        let two = json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["x"]}, {"key": "metadata.name", "operator": "In", "values": ["y"]}]});
        let label = json!({"matchExpressions": [{"key": "zone", "operator": "Exists"}]});
        #[track_caller]
        fn check(terms: Value, expect: Option<Vec<&str>>) {
            assert_eq!(RequiredNodeAffinity::of(&pod(required(terms))).node_names(), expect);
        }
        check(json!([by("n2"), by("n1"), by("n2")]), Some(vec!["n1", "n2"]));
        check(json!([by("n1"), label]), None);
        check(json!([by("n1"), {}]), None);
        check(json!([]), None);
        check(json!([two]), Some(vec![]));
        assert_eq!(RequiredNodeAffinity::of(&pod(json!({}))).node_names(), None);
    }

    #[test]
    fn preferences_add_the_weights_that_match() {
        let terms = |operator: &str| {
            json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 5, "preference": {"matchExpressions": [{"key": "zone", "operator": operator, "values": ["a"]}]}},
                {"weight": 7, "preference": {"matchExpressions": [{"key": "cpus", "operator": "Gt", "values": ["4"]}]}},
                {"weight": 9, "preference": {"matchExpressions": [{"key": "rack", "operator": "Exists"}]}},
                {"weight": 3, "preference": {}}]}}})
        };
        let node = node("n1", json!({"zone": "a", "cpus": "8"}));
        assert_eq!(PreferredNodeAffinity::of(&pod(terms("In"))).unwrap().score(&node), 12);
        assert!(PreferredNodeAffinity::of(&pod(terms("Near"))).is_err());
        assert!(PreferredNodeAffinity::of(&pod(json!({}))).unwrap().is_empty());
    }
}
