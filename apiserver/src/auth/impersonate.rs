//! Impersonation: a caller that may act as somebody else, by headers.
//!
//! Five modes are tried in order; the first that allows it wins, and if none does the first refusal is the answer. All but the last also need
//! permission for the request itself while impersonating (`impersonate-on:MODE:VERB`), which lets a caller act as somebody for few things only.

use super::attributes::{Attributes, Decision};
use super::service_account;
use super::token::NODE_NAME;
use crate::Error;
use crate::request::User;
use apiserver_machinery::field::{self, Path};
use apiserver_machinery::text::quote;
use apiserver_machinery::{Str, names};
use compact_str::format_compact;
use http::HeaderMap;

const USER: &str = "impersonate-user";
const UID: &str = "impersonate-uid";
const GROUP: &str = "impersonate-group";
const EXTRA_PREFIX: &str = "impersonate-extra-";

const AUTHENTICATION_GROUP: &str = "authentication.k8s.io";
const NODE_PREFIX: &str = "system:node:";
/// From this many groups or extra values on, a permission for all of them is tried before one for each.
const MANY: usize = 4;

/// Whom the headers ask to be. `None`: nobody.
pub fn wanted(headers: &HeaderMap) -> Result<Option<User>, Error> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let texts = |name: &str| headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).map(Str::from).collect::<Vec<_>>();
    let mut user = User { name: text(USER).into(), uid: text(UID).into(), groups: texts(GROUP), extra: Vec::new() };
    for header in headers.keys() {
        if let Some(key) = header.as_str().strip_prefix(EXTRA_PREFIX) {
            user.extra.push((super::unescape(key), texts(header.as_str())));
        }
    }
    user.extra.sort();
    if user.name.is_empty() {
        if user == User::default() {
            return Ok(None);
        }
        return Err(Error::BadRequest(format!("requested {} without impersonating a user name", as_go(&user)).into()));
    }
    Ok(Some(user))
}

/// Go's `%#v` of a user without a name.
fn as_go(user: &User) -> String {
    let list = |items: &[Str]| {
        let items: Vec<_> = items.iter().map(|item| quote(item)).collect();
        if items.is_empty() { "[]string(nil)".to_owned() } else { format!("[]string{{{}}}", items.join(", ")) }
    };
    let extra: Vec<_> = user.extra.iter().map(|(key, values)| format!("{}:{}", quote(key), list(values))).collect();
    let extra = if extra.is_empty() { "map[string][]string(nil)".to_owned() } else { format!("map[string][]string{{{}}}", extra.join(", ")) };
    format!(r#"&user.DefaultInfo{{Name:"", UID:{}, Groups:{}, Extra:{extra}}}"#, quote(&user.uid), list(&user.groups))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    AssociatedNode,
    ArbitraryNode,
    ServiceAccount,
    UserInfo,
    Legacy,
}

const MODES: [Mode; 5] = [Mode::AssociatedNode, Mode::ArbitraryNode, Mode::ServiceAccount, Mode::UserInfo, Mode::Legacy];

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Mode::AssociatedNode => "associated-node",
            Mode::ArbitraryNode => "arbitrary-node",
            Mode::ServiceAccount => "serviceaccount",
            Mode::UserInfo => "user-info",
            Mode::Legacy => "",
        }
    }

    fn verb(self) -> Str {
        if self == Mode::Legacy { "impersonate".into() } else { format_compact!("impersonate:{}", self.name()) }
    }

    /// The group of the resources users, groups, nodes and serviceaccounts in permissions of this mode.
    fn group(self) -> &'static str {
        if self == Mode::Legacy { "" } else { AUTHENTICATION_GROUP }
    }

    fn applies(self, wanted: &User, caller: &User) -> bool {
        let name_only = wanted.uid.is_empty() && wanted.groups.is_empty() && wanted.extra.is_empty();
        let node = node_name(&wanted.name);
        let account = service_account::split(&wanted.name);
        match self {
            Mode::AssociatedNode => {
                let own =
                    caller.extra.iter().find(|(key, _)| key == NODE_NAME).and_then(|(_, values)| (values.len() == 1).then(|| values[0].as_str()));
                name_only && node.is_some() && service_account::split(&caller.name).is_some() && own == node
            }
            Mode::ArbitraryNode => name_only && node.is_some(),
            Mode::ServiceAccount => name_only && account.is_some(),
            Mode::UserInfo => node.is_none() && account.is_none(),
            Mode::Legacy => true,
        }
    }
}

fn node_name(username: &str) -> Option<&str> {
    username.strip_prefix(NODE_PREFIX).filter(|name| service_account::dns_subdomain(name))
}

/// The user that `wanted` becomes, where `request`'s user may act as it. `authorize` answers for the caller.
pub fn impersonate(wanted: &User, request: &Attributes<'_>, authorize: impl Fn(&Attributes<'_>) -> Decision) -> Result<User, Error> {
    let check = |ask: &Attributes<'_>| match authorize(ask) {
        Decision::Allow(_) => Ok(()),
        Decision::NoOpinion(reason) => Err(ask.forbidden(&reason)),
    };
    let mut refusal = None;
    for mode in MODES.into_iter().filter(|mode| mode.applies(wanted, request.user)) {
        match attempt(mode, wanted, request, &check) {
            Ok(user) => return Ok(user),
            Err(error) => _ = refusal.get_or_insert(error),
        }
    }
    // The legacy mode applies to everybody, so something was refused.
    Err(refusal.unwrap_or(Error::Unauthorized))
}

fn attempt(mode: Mode, wanted: &User, request: &Attributes<'_>, check: &impl Fn(&Attributes<'_>) -> Result<(), Error>) -> Result<User, Error> {
    // What the caller's token says differs from Pod to Pod; permission to act as one's own node must not depend on it.
    let anonymous_pod;
    let request = if mode == Mode::AssociatedNode {
        let keys = request.user.extra.iter().map(|(key, _)| key.clone()).collect();
        anonymous_pod = User { extra: vec![("authentication.kubernetes.io/associated-node-keys".into(), keys)], ..request.user.clone() };
        &Attributes { user: &anonymous_pod, ..*request }
    } else {
        request
    };
    if mode != Mode::Legacy {
        let verb = format_compact!("impersonate-on:{}:{}", mode.name(), request.verb);
        check(&Attributes { verb: &verb, ..*request })?;
    }
    let verb = mode.verb();
    let ask = Attributes::resource(request.user, &verb, mode.group(), "users", "", "");
    let mut user = wanted.clone();
    check_name(mode, &mut user, &ask, check)?;
    if !wanted.uid.is_empty() {
        check(&Attributes { group: AUTHENTICATION_GROUP, resource: "uids", name: &wanted.uid, ..ask })?;
    }
    check_groups(mode, &wanted.groups, &Attributes { resource: "groups", ..ask }, check)?;
    check_extra(mode, &wanted.extra, &Attributes { group: AUTHENTICATION_GROUP, resource: "userextras", ..ask }, check)?;
    let implied = if user.name == super::ANONYMOUS {
        super::UNAUTHENTICATED
    } else if user.in_group(super::UNAUTHENTICATED) {
        return Ok(user);
    } else {
        super::AUTHENTICATED
    };
    if !user.in_group(implied) {
        user.groups.push(implied.into());
    }
    Ok(user)
}

fn check_name(mode: Mode, user: &mut User, ask: &Attributes<'_>, check: &impl Fn(&Attributes<'_>) -> Result<(), Error>) -> Result<(), Error> {
    let name = user.name.clone();
    if mode != Mode::Legacy
        && let Some(node) = node_name(&name)
    {
        user.groups = vec![super::NODES.into()];
        let node = if mode == Mode::AssociatedNode { "*" } else { node };
        return check(&Attributes { resource: "nodes", name: node, ..*ask });
    }
    if let Some((namespace, account)) = service_account::split(&name) {
        if user.groups.is_empty() {
            user.groups = service_account::groups(namespace);
        }
        return check(&Attributes { resource: "serviceaccounts", namespace, name: account, ..*ask });
    }
    check(&Attributes { name: &name, ..*ask })
}

fn check_groups(mode: Mode, groups: &[Str], ask: &Attributes<'_>, check: &impl Fn(&Attributes<'_>) -> Result<(), Error>) -> Result<(), Error> {
    if mode != Mode::Legacy {
        if groups.iter().any(Str::is_empty) {
            return Err(ask.forbidden("impersonating the empty string group is not allowed"));
        }
        if groups.iter().any(|group| group == super::MASTERS) {
            return Err(Attributes { name: super::MASTERS, ..*ask }.forbidden("impersonating the system:masters group is not allowed"));
        }
        if groups.len() >= MANY && check(&Attributes { name: "*", ..*ask }).is_ok() {
            return Ok(());
        }
    }
    groups.iter().try_for_each(|group| check(&Attributes { name: group, ..*ask }))
}

fn check_extra(
    mode: Mode,
    extra: &[(Str, Vec<Str>)],
    ask: &Attributes<'_>,
    check: &impl Fn(&Attributes<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    if mode != Mode::Legacy && !extra.is_empty() {
        if let Some(fault) = extra.iter().find_map(|(key, values)| extra_fault(key, values)) {
            return Err(ask.forbidden(&fault));
        }
        let values: usize = extra.iter().map(|(_, values)| values.len()).sum();
        if (extra.len() >= MANY || values >= MANY) && check(&Attributes { subresource: "*", name: "*", ..*ask }).is_ok() {
            return Ok(());
        }
    }
    extra
        .iter()
        .flat_map(|(key, values)| values.iter().map(move |value| (key, value)))
        .try_for_each(|(key, value)| check(&Attributes { subresource: key, name: value, ..*ask }))
}

fn extra_fault(key: &str, values: &[Str]) -> Option<String> {
    if key.is_empty() {
        return Some("impersonating the empty string key in extra is not allowed".into());
    }
    let at = Path::new("extra.key");
    let fault = match key.split_once('/') {
        Some((domain, path)) if !domain.is_empty() && !path.is_empty() => {
            names::dns1123_subdomain(domain).first().map(|why| field::Error::invalid(&at, domain, why.to_string()))
        }
        _ => Some(field::Error::invalid(&at, key, "must be a domain-prefixed path (such as \"acme.io/foo\")")),
    };
    if let Some(fault) = fault {
        return Some(format!("impersonating an invalid key in extra is not allowed: {fault}"));
    }
    if key.chars().any(char::is_uppercase) {
        return Some(format!("impersonating a non-lowercase key in extra is not allowed: {}", quote(key)));
    }
    if values.is_empty() {
        return Some("impersonating empty values in extra is not allowed".into());
    }
    values.iter().any(Str::is_empty).then(|| "impersonating the empty string value in extra is not allowed".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        headers
    }

    /// Permissions are `verb group resource[/subresource] namespace name`, as asked.
    fn check(pairs: &[(&str, &str)], permissions: &[&str], expect: Result<(&str, &[&str]), &str>) {
        let caller = User { name: "system:serviceaccount:ns:agent".into(), extra: vec![(NODE_NAME.into(), vec!["n1".into()])], ..User::default() };
        let request = Attributes::resource(&caller, "list", "", "pods", "ns", "");
        let user = wanted(&headers(pairs)).unwrap().unwrap();
        let seen = impersonate(&user, &request, |ask| {
            let slash = if ask.subresource.is_empty() { "" } else { "/" };
            let text = format!("{} {:?} {}{slash}{} {:?} {:?}", ask.verb, ask.group, ask.resource, ask.subresource, ask.namespace, ask.name)
                .replace('"', "'");
            if permissions.contains(&&*text) { Decision::Allow(None) } else { Decision::NoOpinion(String::new()) }
        });
        match (seen, expect) {
            (Ok(user), Ok((name, groups))) => {
                assert_eq!(user.name, name);
                assert_eq!(user.groups, groups);
            }
            (Err(error), Err(text)) => assert_eq!(error.to_string(), text),
            (seen, expect) => panic!("{seen:?} instead of {expect:?}"),
        }
    }

    #[test]
    fn legacy_permissions_allow_users_groups_and_extra() {
        check(&[("Impersonate-User", "bob")], &["impersonate '' users '' 'bob'"], Ok(("bob", &["system:authenticated"])));
        let asked = [("Impersonate-User", "bob"), ("Impersonate-Group", "devs"), ("Impersonate-Extra-scope", "a")];
        let all = ["impersonate '' users '' 'bob'", "impersonate '' groups '' 'devs'", "impersonate 'authentication.k8s.io' userextras/scope '' 'a'"];
        check(&asked, &all, Ok(("bob", &["devs", "system:authenticated"])));
        check(
            &[("Impersonate-User", "system:serviceaccount:ns:other")],
            &["impersonate '' serviceaccounts 'ns' 'other'"],
            Ok(("system:serviceaccount:ns:other", &["system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated"])),
        );
        check(
            &[("Impersonate-User", "system:anonymous")],
            &["impersonate '' users '' 'system:anonymous'"],
            Ok(("system:anonymous", &["system:unauthenticated"])),
        );
    }

    #[test]
    fn constrained_modes_need_permission_for_the_request_too() {
        let as_node = ["impersonate-on:associated-node:list '' pods 'ns' ''", "impersonate:associated-node 'authentication.k8s.io' nodes '' '*'"];
        check(&[("Impersonate-User", "system:node:n1")], &as_node, Ok(("system:node:n1", &["system:nodes", "system:authenticated"])));
        check(
            &[("Impersonate-User", "system:node:n2")],
            &as_node,
            Err(
                r#"pods is forbidden: User "system:serviceaccount:ns:agent" cannot impersonate-on:arbitrary-node:list resource "pods" in API group "" in the namespace "ns""#,
            ),
        );
        let as_user = ["impersonate-on:user-info:list '' pods 'ns' ''", "impersonate:user-info 'authentication.k8s.io' users '' 'bob'"];
        check(&[("Impersonate-User", "bob")], &as_user, Ok(("bob", &["system:authenticated"])));
        check(
            &[("Impersonate-User", "bob"), ("Impersonate-Group", "system:masters")],
            &as_user,
            Err(
                r#"groups.authentication.k8s.io "system:masters" is forbidden: User "system:serviceaccount:ns:agent" cannot impersonate:user-info resource "groups" in API group "authentication.k8s.io" at the cluster scope: impersonating the system:masters group is not allowed"#,
            ),
        );
    }

    #[test]
    fn a_group_without_a_user_is_refused() {
        let error = wanted(&headers(&[("Impersonate-Group", "bob")])).unwrap_err();
        let expect = r#"requested &user.DefaultInfo{Name:"", UID:"", Groups:[]string{"bob"}, Extra:map[string][]string(nil)} without impersonating a user name"#;
        assert_eq!(error.to_string(), expect);
        assert_eq!(wanted(&headers(&[])).unwrap(), None);
    }
}
