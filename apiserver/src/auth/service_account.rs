//! The names of ServiceAccounts as users.

use apiserver_machinery::Str;
use compact_str::format_compact;

const PREFIX: &str = "system:serviceaccount:";
pub const ALL: &str = "system:serviceaccounts";

/// `system:serviceaccount:NAMESPACE:NAME`.
pub fn username(namespace: &str, name: &str) -> Str {
    format_compact!("{PREFIX}{namespace}:{name}")
}

/// Namespace and name of a ServiceAccount's user name.
pub fn split(username: &str) -> Option<(&str, &str)> {
    let (namespace, name) = username.strip_prefix(PREFIX)?.split_once(':')?;
    (dns_label(namespace) && dns_subdomain(name)).then_some((namespace, name))
}

pub fn groups(namespace: &str) -> Vec<Str> {
    vec![ALL.into(), format_compact!("{ALL}:{namespace}")]
}

/// Whether a namespace may have this name.
fn dns_label(text: &str) -> bool {
    const BYTES_MAX: usize = 63;
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=BYTES_MAX).contains(&text.len()) && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// Whether a ServiceAccount or a Node may have this name.
pub(super) fn dns_subdomain(text: &str) -> bool {
    const BYTES_MAX: usize = 253;
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=BYTES_MAX).contains(&text.len())
        && text.split('.').all(|label| !label.is_empty() && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_names_are_split_into_namespace_and_name() {
        let check = |username: &str, expect: Option<(&str, &str)>| assert_eq!(split(username), expect, "{username}");
        check("system:serviceaccount:kube-system:job-controller", Some(("kube-system", "job-controller")));
        check("system:serviceaccount:a:b.c", Some(("a", "b.c")));
        check("system:serviceaccount:a", None);
        check("system:serviceaccount:a:b:c", None);
        check("system:serviceaccount:A:b", None);
        check("system:serviceaccount::b", None);
        check("jane", None);
        assert_eq!(username("a", "b"), "system:serviceaccount:a:b");
        assert_eq!(groups("a"), ["system:serviceaccounts", "system:serviceaccounts:a"]);
    }
}
