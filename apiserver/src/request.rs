//! What a request asks for: its verb and target, read off the method and the path as Kubernetes' request-info resolver does.

use apiserver_machinery::Str;
use http::Method;

/// The verbs that authorization and admission know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
    /// Any other method, or a method on a path that is no resource's: the method's name in lower case.
    Method(&'static str),
}

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Target {
    /// Empty for the core group.
    pub group: Str,
    pub version: Str,
    /// Plural; empty where the path names no resource (then [`Target::path`] is what is authorized).
    pub resource: Str,
    pub subresource: Str,
    pub namespace: Str,
    pub name: Str,
    /// What follows the subresource, without the slash before it: the path of a proxied request.
    pub rest: Str,
    /// The whole path.
    pub path: Str,
}

/// Who asks, after authentication and impersonation.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct User {
    pub name: Str,
    pub uid: Str,
    pub groups: Vec<Str>,
    pub extra: Vec<(Str, Vec<Str>)>,
}

impl Verb {
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Watch => "watch",
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Patch => "patch",
            Verb::Delete => "delete",
            Verb::DeleteCollection => "deletecollection",
            Verb::Method(name) => name,
        }
    }

    fn of_method(method: &Method) -> Verb {
        match *method {
            Method::GET => Verb::Get,
            Method::HEAD => Verb::Method("head"),
            Method::POST => Verb::Create,
            Method::PUT => Verb::Update,
            Method::PATCH => Verb::Patch,
            Method::DELETE => Verb::Delete,
            Method::OPTIONS => Verb::Method("options"),
            Method::CONNECT => Verb::Method("connect"),
            Method::TRACE => Verb::Method("trace"),
            _ => Verb::Method(""),
        }
    }
}

impl User {
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }
}

impl Target {
    pub fn is_resource(&self) -> bool {
        !self.resource.is_empty()
    }

    /// `deployments.apps`, `pods`: how messages name a resource.
    pub fn group_resource(&self) -> Str {
        if self.group.is_empty() { self.resource.clone() } else { compact_str::format_compact!("{}.{}", self.resource, self.group) }
    }
}

/// Reads verb and target off a request line. A path that is not a resource's gives a target without a resource, and the method as the verb.
///
/// `GET /api/v1/namespaces/default/pods/web/log` → get, pods/log, namespace default, name web;
/// `GET /apis/apps/v1/deployments?watch=1` → watch, deployments.
pub fn resolve(method: &Method, path: &str, query: Option<&str>) -> (Verb, Target) {
    let mut target = Target { path: path.into(), ..Target::default() };
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let rest = match parts.as_slice() {
        ["api", version, rest @ ..] if !rest.is_empty() => {
            target.version = (*version).into();
            rest
        }
        ["apis", group, version, rest @ ..] if !rest.is_empty() => {
            target.group = (*group).into();
            target.version = (*version).into();
            rest
        }
        _ => return (Verb::Method(lower(method)), target),
    };
    // The old form `/api/v1/watch/pods` still means a watch.
    let (rest, watch_prefix) = match rest {
        ["watch", rest @ ..] if !rest.is_empty() => (rest, true),
        _ => (rest, false),
    };
    let rest = match rest {
        // A namespace itself, or its subresource, is a resource of that namespace too.
        ["namespaces", name, rest @ ..] if !name.is_empty() => {
            target.namespace = (*name).into();
            if rest.is_empty() || (rest.len() == 1 && matches!(rest[0], "status" | "finalize")) {
                target.resource = "namespaces".into();
                target.name = (*name).into();
                target.subresource = rest.first().copied().unwrap_or_default().into();
                &[][..]
            } else {
                rest
            }
        }
        rest => rest,
    };
    if let [resource, rest @ ..] = rest {
        target.resource = (*resource).into();
        if let [name, rest @ ..] = rest {
            target.name = (*name).into();
            if let [subresource, rest @ ..] = rest {
                target.subresource = (*subresource).into();
                target.rest = rest.join("/").into();
                if path.ends_with('/') && !rest.is_empty() {
                    target.rest.push('/');
                }
            }
        }
    }
    let mut verb = Verb::of_method(method);
    if watch_prefix && verb == Verb::Get {
        verb = Verb::Watch;
    }
    if target.subresource.is_empty() || target.resource == "namespaces" {
        match verb {
            Verb::Get | Verb::Method("head") if target.name.is_empty() => {
                verb = if flag(query, "watch") { Verb::Watch } else { Verb::List };
            }
            Verb::Method("head") => verb = Verb::Get,
            Verb::Get if flag(query, "watch") && !target.name.is_empty() => verb = Verb::Watch,
            Verb::Delete if target.name.is_empty() => verb = Verb::DeleteCollection,
            _ => {}
        }
    } else if verb == Verb::Method("head") {
        verb = Verb::Get;
    }
    (verb, target)
}

/// The method's name in lower case, as RBAC writes the verbs of paths that are no resource's.
fn lower(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::HEAD => "head",
        Method::OPTIONS => "options",
        Method::CONNECT => "connect",
        Method::TRACE => "trace",
        _ => "",
    }
}

fn flag(query: Option<&str>, name: &str) -> bool {
    let Some(query) = query else { return false };
    query.split('&').any(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        key == name && !matches!(value, "0" | "false")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: Method, path: &str, query: Option<&str>, expect: (&str, &str, &str, &str, &str, &str)) {
        let (verb, target) = resolve(&method, path, query);
        let seen = (verb.as_str(), &*target.group, &*target.resource, &*target.subresource, &*target.namespace, &*target.name);
        assert_eq!(seen, expect, "{method} {path}");
    }

    #[test]
    fn paths_give_verbs_and_targets() {
        check(Method::GET, "/api/v1/namespaces/default/pods/web/log", None, ("get", "", "pods", "log", "default", "web"));
        check(Method::GET, "/apis/apps/v1/deployments", Some("watch=1"), ("watch", "apps", "deployments", "", "", ""));
        check(Method::GET, "/apis/apps/v1/deployments", Some("watch=false"), ("list", "apps", "deployments", "", "", ""));
        check(Method::DELETE, "/api/v1/namespaces/a/pods", None, ("deletecollection", "", "pods", "", "a", ""));
        check(Method::GET, "/api/v1/namespaces/a", None, ("get", "", "namespaces", "", "a", "a"));
        check(Method::PUT, "/api/v1/namespaces/a/finalize", None, ("update", "", "namespaces", "finalize", "a", "a"));
        check(Method::GET, "/api/v1/namespaces", None, ("list", "", "namespaces", "", "", ""));
        check(Method::GET, "/api/v1/watch/namespaces/a/pods/web", None, ("watch", "", "pods", "", "a", "web"));
        check(Method::POST, "/api/v1/namespaces/a/pods/web/exec", None, ("create", "", "pods", "exec", "a", "web"));
        check(Method::GET, "/healthz", None, ("get", "", "", "", "", ""));
        check(Method::POST, "/api", None, ("post", "", "", "", "", ""));
    }

    #[test]
    fn a_proxied_path_keeps_what_follows() {
        let (_, target) = resolve(&Method::GET, "/api/v1/namespaces/a/services/web:80/proxy/x/y/", None);
        assert_eq!((&*target.subresource, &*target.name, &*target.rest), ("proxy", "web:80", "x/y/"));
    }
}
