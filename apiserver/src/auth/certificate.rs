//! Who a client certificate says the other end of a connection is: a user, or a front proxy that speaks for users.
//!
//! Computed once a connection from the chain of the handshake, which proved that the peer holds the key and nothing else.

use super::token::CREDENTIAL_ID;
use crate::request::User;
use apiserver_component::tls::Authorities;
use apiserver_machinery::Str;
use compact_str::format_compact;
use http::{HeaderMap, HeaderName};
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use std::fmt::Write;
use std::sync::Arc;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The attribute of a subject that holds a user's uid.
const UID_OID: &str = "1.3.6.1.4.1.57683.2";

/// What the certificate of a connection's peer proves.
#[derive(Clone, Debug, Default)]
pub struct PeerIdentity {
    user: Option<Arc<User>>,
    /// A certificate was sent that no client authority vouches for, or that names nobody properly.
    refused: bool,
    front_proxy: bool,
    /// Seconds since 1970 after which the certificate is worth nothing.
    not_after: Option<i64>,
}

/// What a certificate proves of a user.
#[derive(Debug)]
pub enum Proof<'a> {
    None,
    /// There is one, and it is not good.
    Refused,
    User(&'a Arc<User>),
}

/// The proxies in front of this server that may say who calls (`--requestheader-…`).
#[derive(Clone, Debug)]
pub struct FrontProxy {
    pub authorities: Arc<Authorities>,
    /// Common names that are allowed; all where empty.
    pub allowed_names: Vec<Str>,
    pub username_headers: Vec<HeaderName>,
    pub uid_headers: Vec<HeaderName>,
    pub group_headers: Vec<HeaderName>,
    /// In lower case.
    pub extra_header_prefixes: Vec<Str>,
}

impl PeerIdentity {
    /// Of the chain, leaf first, that the peer sent.
    pub fn of(chain: &[CertificateDer<'_>], clients: Option<&Authorities>, proxy: Option<&FrontProxy>, now: Timestamp) -> Self {
        let Some(leaf) = chain.first() else { return Self::default() };
        let Ok((_, certificate)) = X509Certificate::from_der(leaf) else { return Self { refused: true, ..Self::default() } };
        let mut identity = Self { not_after: Some(certificate.validity().not_after.timestamp()), ..Self::default() };
        let common_name = common_name(&certificate);
        if let Some(proxy) = proxy
            && proxy.authorities.verify_client(chain, now).is_ok()
        {
            identity.front_proxy = proxy.allowed_names.is_empty() || proxy.allowed_names.contains(&common_name);
        }
        match clients.map(|clients| clients.verify_client(chain, now)) {
            None => {}
            Some(Err(error)) => {
                tracing::debug!(%error, common_name = %common_name, "client certificate refused");
                identity.refused = true;
            }
            Some(Ok(())) if common_name.is_empty() => {}
            Some(Ok(())) => match user_of(leaf, &certificate, common_name) {
                Some(user) => identity.user = Some(Arc::new(super::authenticated(user))),
                None => identity.refused = true,
            },
        }
        identity
    }

    /// Of a caller in this process, whose name needs no proof.
    pub fn known(user: User) -> Self {
        Self { user: Some(Arc::new(super::authenticated(user))), ..Self::default() }
    }

    pub fn user(&self, now: Timestamp) -> Proof<'_> {
        match &self.user {
            _ if self.refused => Proof::Refused,
            None => Proof::None,
            Some(_) if self.expired(now) => Proof::Refused,
            Some(user) => Proof::User(user),
        }
    }

    pub fn is_front_proxy(&self, now: Timestamp) -> bool {
        self.front_proxy && !self.expired(now)
    }

    fn expired(&self, now: Timestamp) -> bool {
        self.not_after.is_some_and(|not_after| now.as_second() > not_after)
    }
}

fn common_name(certificate: &X509Certificate<'_>) -> Str {
    certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok()).last().unwrap_or_default().into()
}

/// `None`: the subject's uid is not a proper one.
fn user_of(leaf: &[u8], certificate: &X509Certificate<'_>, name: Str) -> Option<User> {
    let mut uids = certificate.subject().iter_attributes().filter(|attribute| attribute.attr_type().to_id_string() == UID_OID);
    let uid = match (uids.next(), uids.next()) {
        (None, _) => Str::default(),
        (Some(uid), None) => Str::from(uid.as_str().ok().filter(|uid| !uid.is_empty())?),
        (Some(_), Some(_)) => return None,
    };
    let mut fingerprint = format_compact!("X509SHA256=");
    for byte in ring::digest::digest(&ring::digest::SHA256, leaf).as_ref() {
        // Writing to a string cannot fail.
        let _ = write!(fingerprint, "{byte:02x}");
    }
    let groups = certificate.subject().iter_organization().filter_map(|group| group.as_str().ok()).map(Str::from).collect();
    Some(User { name, uid, groups, extra: vec![(CREDENTIAL_ID.into(), vec![fingerprint])] })
}

impl FrontProxy {
    /// The user that the proxy names. `None`: it names none.
    pub fn user(&self, headers: &HeaderMap) -> Option<User> {
        let first = |names: &[HeaderName]| {
            names.iter().filter_map(|name| headers.get(name)).filter_map(|value| value.to_str().ok()).find(|value| !value.is_empty())
        };
        let name = first(&self.username_headers)?.into();
        let values = |name: &HeaderName| {
            headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).filter(|value| !value.is_empty()).map(Str::from).collect::<Vec<_>>()
        };
        let mut extra: Vec<(Str, Vec<Str>)> = Vec::new();
        for header in headers.keys() {
            let Some(key) = self.extra_header_prefixes.iter().find_map(|prefix| header.as_str().strip_prefix(prefix.as_str())) else { continue };
            extra.push((super::unescape(key), headers.get_all(header).iter().filter_map(|value| value.to_str().ok()).map(Str::from).collect()));
        }
        extra.sort();
        Some(User {
            name,
            uid: first(&self.uid_headers).unwrap_or_default().into(),
            groups: self.group_headers.iter().flat_map(values).collect(),
            extra,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use apiserver_component::tls::{Pem, certificates};
    use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

    fn authority() -> (Issuer<'static, KeyPair>, Arc<Authorities>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        (Issuer::new(params, key), Authorities::new(Pem::Bytes(pem.into())).unwrap())
    }

    fn leaf(issuer: &Issuer<'static, KeyPair>, name: &str, group: &str) -> Vec<CertificateDer<'static>> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.remove(DnType::CommonName);
        if !name.is_empty() {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params.distinguished_name.push(DnType::OrganizationName, group);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let pem = params.signed_by(&KeyPair::generate().unwrap(), issuer).unwrap().pem();
        certificates(pem.as_bytes()).unwrap()
    }

    fn now() -> Timestamp {
        "2026-11-24T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_certificate_of_the_client_authority_names_user_and_group() {
        let (issuer, clients) = authority();
        let identity = PeerIdentity::of(&leaf(&issuer, "jane", "devs"), Some(&clients), None, now());
        let Proof::User(user) = identity.user(now()) else { panic!("{identity:?}") };
        assert_eq!((&*user.name, &user.groups[..]), ("jane", &["devs".into(), "system:authenticated".into()][..]));
        assert_eq!(user.extra[0].0, CREDENTIAL_ID);
        assert_eq!(user.extra[0].1[0].len(), "X509SHA256=".len() + 64);
        assert!(matches!(identity.user("9999-01-01T00:00:00Z".parse().unwrap()), Proof::Refused), "it has expired by then");
    }

    #[test]
    fn a_certificate_of_another_authority_is_refused() {
        let ((_, clients), (stranger, _)) = (authority(), authority());
        let identity = PeerIdentity::of(&leaf(&stranger, "jane", "devs"), Some(&clients), None, now());
        assert!(matches!(identity.user(now()), Proof::Refused));
    }

    #[test]
    fn no_certificate_and_no_name_are_nobody() {
        let (issuer, clients) = authority();
        for chain in [Vec::new(), leaf(&issuer, "", "devs")] {
            assert!(matches!(PeerIdentity::of(&chain, Some(&clients), None, now()).user(now()), Proof::None));
        }
    }

    fn proxy(authorities: Arc<Authorities>) -> FrontProxy {
        FrontProxy {
            authorities,
            allowed_names: vec!["front-proxy-client".into()],
            username_headers: vec![HeaderName::from_static("x-remote-user")],
            uid_headers: vec![HeaderName::from_static("x-remote-uid")],
            group_headers: vec![HeaderName::from_static("x-remote-group")],
            extra_header_prefixes: vec!["x-remote-extra-".into()],
        }
    }

    #[test]
    fn a_front_proxy_speaks_for_users() {
        let ((_, clients), (issuer, authorities)) = (authority(), authority());
        let proxy = proxy(authorities);
        let identity = PeerIdentity::of(&leaf(&issuer, "front-proxy-client", ""), Some(&clients), Some(&proxy), now());
        assert!(identity.is_front_proxy(now()));
        let other = PeerIdentity::of(&leaf(&issuer, "somebody", ""), Some(&clients), Some(&proxy), now());
        assert!(!other.is_front_proxy(now()));

        let mut headers = HeaderMap::new();
        assert_eq!(proxy.user(&headers), None);
        for (name, value) in [("x-remote-user", "jane"), ("x-remote-group", "a"), ("x-remote-group", "b"), ("x-remote-extra-example.com%2fkey", "1")]
        {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        let expect = User {
            name: "jane".into(),
            groups: vec!["a".into(), "b".into()],
            extra: vec![("example.com/key".into(), vec!["1".into()])],
            ..User::default()
        };
        assert_eq!(proxy.user(&headers), Some(expect));
    }
}
