//! What an authorizer decides about: who does what to which object or path, and the texts that tell a caller that it may not.

use crate::Error;
use crate::request::{Target, User, Verb};
use apiserver_machinery::text::quote;
use apiserver_machinery::{Str, fields};
use std::sync::Arc;

/// One question to an authorizer.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    pub user: &'a User,
    pub verb: &'a str,
    pub group: &'a str,
    /// Empty where the question is about a path.
    pub resource: &'a str,
    pub subresource: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
    pub path: &'a str,
    /// `field=value` requirements of the request's field selector.
    pub fields: &'a [(Str, Str)],
}

/// What an authorizer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// With the rule's source, where RBAC allowed it.
    Allow(Option<Arc<str>>),
    /// Nobody allows it; what the authorizers have to add to the message.
    NoOpinion(String),
}

impl Decision {
    pub fn allowed(&self) -> bool {
        matches!(self, Decision::Allow(_))
    }

    /// As a review's status shows it.
    pub fn reason(&self) -> &str {
        match self {
            Decision::Allow(source) => source.as_deref().unwrap_or_default(),
            Decision::NoOpinion(reason) => reason,
        }
    }
}

impl<'a> Attributes<'a> {
    /// Of a request. `fields` are the equality requirements of its field selector; one for metadata.name names the object of a list, a watch or a
    /// delete of a collection.
    pub fn of(user: &'a User, verb: Verb, target: &'a Target, fields: &'a [(Str, Str)]) -> Self {
        let mut name = target.name.as_str();
        if name.is_empty() && matches!(verb, Verb::List | Verb::Watch | Verb::DeleteCollection) {
            name = fields.iter().find(|(field, _)| field == "metadata.name").map_or("", |(_, value)| value.as_str());
        }
        Self {
            user,
            verb: verb.as_str(),
            group: &target.group,
            resource: &target.resource,
            subresource: &target.subresource,
            namespace: &target.namespace,
            name,
            path: &target.path,
            fields,
        }
    }

    /// About a resource, by parts.
    pub fn resource(user: &'a User, verb: &'a str, group: &'a str, resource: &'a str, namespace: &'a str, name: &'a str) -> Self {
        Self { user, verb, group, resource, subresource: "", namespace, name, path: "", fields: &[] }
    }

    pub fn is_resource(&self) -> bool {
        !self.resource.is_empty()
    }

    /// The value that the field selector asks for.
    pub fn field(&self, field: &str) -> Option<&'a str> {
        self.fields.iter().find(|(own, _)| own == field).map(|(_, value)| value.as_str())
    }

    /// The 403 for this question.
    pub fn forbidden(&self, reason: &str) -> Error {
        let mut what = self.describe();
        if !reason.is_empty() {
            what.push_str(": ");
            what.push_str(reason);
        }
        forbidden(self.group, self.resource, self.name, &what)
    }

    fn describe(&self) -> String {
        let user = quote(&self.user.name);
        let text = if self.is_resource() {
            let slash = if self.subresource.is_empty() { "" } else { "/" };
            let resource = quote(&format!("{}{slash}{}", self.resource, self.subresource));
            let group = quote(self.group);
            let scope =
                if self.namespace.is_empty() { "at the cluster scope".to_owned() } else { format!("in the namespace {}", quote(self.namespace)) };
            format!("User {user} cannot {} resource {resource} in API group {group} {scope}", self.verb)
        } else {
            format!("User {user} cannot {} path {}", self.verb, quote(self.path))
        };
        // A browser that shows the message must not find markup in it.
        text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
    }
}

/// The equality requirements of a field selector.
pub fn requirements(selector: &fields::Selector) -> impl Iterator<Item = (Str, Str)> {
    selector.terms().iter().filter(|term| !term.negated).map(|term| (term.field.clone(), term.value.clone()))
}

/// A 403 whose message names the object as upstream does: `pods "web" is forbidden: …`, `pods is forbidden: …`, `forbidden: …`.
pub fn forbidden(group: &str, resource: &str, name: &str, what: &str) -> Error {
    let dot = if group.is_empty() { "" } else { "." };
    let message = match (resource, name) {
        ("", _) => format!("forbidden: {what}"),
        (_, "") => format!("{resource}{dot}{group} is forbidden: {what}"),
        _ => format!("{resource}{dot}{group} {} is forbidden: {what}", quote(name)),
    };
    Error::Forbidden { group: group.into(), resource: resource.into(), name: name.into(), message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::resolve;
    use http::Method;

    #[test]
    fn forbidden_messages_are_upstreams() {
        let user = User { name: "x".into(), ..User::default() };
        let check = |method: Method, path: &str, reason: &str, expect: &str| {
            let (verb, target) = resolve(&method, path, None);
            assert_eq!(Attributes::of(&user, verb, &target, &[]).forbidden(reason).to_string(), expect);
        };
        check(
            Method::GET,
            "/api/v1/namespaces/default/pods",
            "",
            r#"pods is forbidden: User "x" cannot list resource "pods" in API group "" in the namespace "default""#,
        );
        check(
            Method::GET,
            "/apis/apps/v1/namespaces/default/deployments/web/scale",
            "why",
            r#"deployments.apps "web" is forbidden: User "x" cannot get resource "deployments/scale" in API group "apps" in the namespace "default": why"#,
        );
        check(
            Method::POST,
            "/api/v1/nodes",
            "",
            r#"nodes is forbidden: User "x" cannot create resource "nodes" in API group "" at the cluster scope"#,
        );
        check(Method::GET, "/x", "", r#"forbidden: User "x" cannot get path "/x""#);
        check(Method::GET, "/<b>", "", r#"forbidden: User "x" cannot get path "/&lt;b&gt;""#);
    }

    #[test]
    fn a_field_selector_for_one_name_names_the_object() {
        let user = User::default();
        let (verb, target) = resolve(&Method::GET, "/api/v1/namespaces/default/pods", None);
        let fields = [("metadata.name".into(), "web".into())];
        assert_eq!(Attributes::of(&user, verb, &target, &fields).name, "web");
    }
}
