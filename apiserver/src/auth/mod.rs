//! Who calls, and what they may do.
//!
//! Authentication takes, in this order, what a front proxy says, a client certificate, and a ServiceAccount token; who brings none of these is
//! `system:anonymous`, and who brings a bad one is nobody. Authorization asks, in this order, the system:masters short cut, the Node authorizer
//! and RBAC; what nobody allows is forbidden. Which words go over the wire is in `attributes.rs`; status codes are in `crate::status`.

pub mod attributes;
mod cache;
pub mod certificate;
pub mod escalate;
mod follow;
mod impersonate;
pub mod keys;
pub mod node;
pub mod rbac;
pub mod review;
pub mod service_account;
pub mod token;
pub mod token_request;

pub use attributes::{Attributes, Decision, forbidden};
pub use certificate::{FrontProxy, PeerIdentity};

use crate::Error;
use crate::request::User;
use apiserver_component::tls::Authorities;
use apiserver_component::{Clock, Tasks};
use apiserver_machinery::Str;
use apiserver_store::Store;
use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use rustls_pki_types::CertificateDer;
use serde::Serialize;
use std::borrow::Cow;
use std::sync::Arc;
use token::Tokens;

pub const ANONYMOUS: &str = "system:anonymous";
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
pub const AUTHENTICATED: &str = "system:authenticated";
pub const MASTERS: &str = "system:masters";
pub const NODES: &str = "system:nodes";

pub const OPENID_CONFIGURATION_PATH: &str = "/.well-known/openid-configuration";
pub const KEY_SET_PATH: &str = "/openid/v1/jwks";

/// What the flags of the process say.
#[derive(Debug, Default)]
pub struct Config {
    /// `--client-ca-file`
    pub clients: Option<Arc<Authorities>>,
    /// `--requestheader-…`
    pub front_proxy: Option<FrontProxy>,
    /// `--service-account-issuer`; the first signs.
    pub issuers: Vec<Str>,
    /// `--api-audiences`; the first issuer where empty.
    pub audiences: Vec<Str>,
    /// `--service-account-key-file`
    pub keys: Vec<keys::VerifyingKey>,
    /// `--service-account-signing-key-file`
    pub signer: Option<keys::SigningKey>,
    /// `--service-account-jwks-uri`
    pub key_set_uri: Option<String>,
    /// Host and port under which clients reach this server, for the URI of the key set where none is given.
    pub external_address: String,
    /// `--service-account-max-token-expiration`, in seconds.
    pub token_seconds_max: Option<i64>,
    /// `--service-account-extend-token-expiration`
    pub extend_tokens: bool,
    /// `--anonymous-auth`
    pub anonymous: bool,
}

/// Authentication and authorization of one API server.
pub struct Auth {
    config: Config,
    tokens: Tokens,
    store: Store,
    clock: Clock,
    policy: Arc<ArcSwap<rbac::Policy>>,
    nodes: Arc<node::Nodes>,
    anonymous: Arc<User>,
    discovery: Option<Discovery>,
}

/// The documents by which others verify our tokens.
struct Discovery {
    configuration: Vec<u8>,
    key_set: Vec<u8>,
}

impl Auth {
    /// Loads what authorization needs from the store; [`Auth::start`] keeps it in step.
    pub fn new(mut config: Config, store: Store, clock: Clock) -> Result<Self, keys::Error> {
        let tokens = Tokens::new(
            std::mem::take(&mut config.issuers),
            std::mem::take(&mut config.audiences),
            std::mem::take(&mut config.keys),
            config.signer.take(),
        );
        let discovery = Discovery::new(&tokens, &config)?;
        let anonymous = Arc::new(User { name: ANONYMOUS.into(), groups: vec![UNAUTHENTICATED.into()], ..User::default() });
        Ok(Self { config, tokens, store, clock, policy: Arc::default(), nodes: Arc::default(), anonymous, discovery })
    }

    /// Takes in what the store holds now, and follows it from there.
    pub fn start(&self, tasks: &Tasks) {
        let snapshot = self.store.snapshot();
        let mut policy = follow::Rbac::new(self.policy.clone());
        let after = follow::load(&mut policy, &snapshot);
        tasks.spawn("rbac", follow::follow(policy, self.store.clone(), after));
        let mut graph = follow::NodeGraph(self.nodes.clone());
        let after = follow::load(&mut graph, &snapshot);
        tasks.spawn("node-graph", follow::follow(graph, self.store.clone(), after));
    }

    /// Takes in what the store holds now and does not follow it.
    #[cfg(test)]
    pub(crate) fn load(&self) {
        follow::load(&mut follow::Rbac::new(self.policy.clone()), &self.store.snapshot());
    }

    /// What the certificates of a connection's handshake prove; once a connection.
    pub fn peer(&self, chain: &[CertificateDer<'_>]) -> PeerIdentity {
        PeerIdentity::of(chain, self.config.clients.as_deref(), self.config.front_proxy.as_ref(), self.clock.now())
    }

    /// Who sent these headers over a connection with this peer. Impersonation is not looked at.
    pub fn authenticate(&self, headers: &HeaderMap, peer: &PeerIdentity) -> Result<Arc<User>, Error> {
        let now = self.clock.now();
        if let Some(proxy) = self.config.front_proxy.as_ref().filter(|_| peer.is_front_proxy(now))
            && let Some(user) = proxy.user(headers)
        {
            return Ok(Arc::new(authenticated(user)));
        }
        if let certificate::Proof::User(user) = peer.user(now) {
            return Ok(user.clone());
        }
        match bearer(headers) {
            Some(token) => match self.tokens.verify(&token, &[], &self.store.snapshot(), now) {
                Ok(Some(verified)) => Ok(verified.user),
                Ok(None) => Err(Error::Unauthorized),
                Err(error) => {
                    tracing::debug!(%error, "token refused");
                    Err(Error::Unauthorized)
                }
            },
            // A certificate that nobody vouches for is worse than none, but for a front proxy that names no user.
            None if matches!(peer.user(now), certificate::Proof::Refused) && !peer.is_front_proxy(now) => Err(Error::Unauthorized),
            None if self.config.anonymous => Ok(self.anonymous.clone()),
            None => Err(Error::Unauthorized),
        }
    }

    /// The user that the headers ask to act as, where `request`'s user may. `None`: they ask for nobody.
    pub fn impersonate(&self, headers: &HeaderMap, request: &Attributes<'_>) -> Result<Option<User>, Error> {
        let Some(wanted) = impersonate::wanted(headers)? else { return Ok(None) };
        impersonate::impersonate(&wanted, request, |ask| self.authorize(ask)).map(Some)
    }

    pub fn authorize(&self, ask: &Attributes<'_>) -> Decision {
        if ask.user.in_group(MASTERS) {
            return Decision::Allow(None);
        }
        let node = self.nodes.authorize(ask, || self.store.snapshot());
        if let Some(allowed @ Decision::Allow(_)) = node {
            return allowed;
        }
        match (node, self.policy.load().authorize(ask)) {
            (Some(Decision::NoOpinion(own)), Decision::NoOpinion(reason)) if !own.is_empty() => {
                Decision::NoOpinion(if reason.is_empty() { format!("node: {own}") } else { format!("node: {own}\n{reason}") })
            }
            (_, decision) => decision,
        }
    }

    pub fn allows(&self, ask: &Attributes<'_>) -> bool {
        self.authorize(ask).allowed()
    }

    pub fn policy(&self) -> Arc<rbac::Policy> {
        self.policy.load_full()
    }

    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// `/.well-known/openid-configuration`. `None`: not served, because the issuer is no https URL.
    pub fn openid_configuration(&self) -> Option<&[u8]> {
        self.discovery.as_ref().map(|documents| documents.configuration.as_slice())
    }

    /// `/openid/v1/jwks`
    pub fn key_set(&self) -> Option<&[u8]> {
        self.discovery.as_ref().map(|documents| documents.key_set.as_slice())
    }
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth").field("config", &self.config).field("tokens", &self.tokens).finish_non_exhaustive()
    }
}

impl Discovery {
    fn new(tokens: &Tokens, config: &Config) -> Result<Option<Self>, keys::Error> {
        #[derive(Serialize)]
        struct Configuration<'a> {
            issuer: &'a str,
            jwks_uri: &'a str,
            response_types_supported: [&'a str; 1],
            subject_types_supported: [&'a str; 1],
            id_token_signing_alg_values_supported: Vec<&'a str>,
        }
        let issuer = tokens.issuer();
        if tokens.keys().is_empty() || !issuer.starts_with("https://") || issuer.contains(['?', '#']) {
            return Ok(None);
        }
        let own;
        let jwks_uri = match &config.key_set_uri {
            Some(uri) => uri,
            None => {
                own = format!("https://{}{KEY_SET_PATH}", config.external_address);
                &own
            }
        };
        let mut algorithms: Vec<_> = tokens.keys().iter().map(keys::VerifyingKey::algorithm).collect();
        algorithms.sort_unstable();
        algorithms.dedup();
        let configuration = Configuration {
            issuer,
            jwks_uri,
            response_types_supported: ["id_token"],
            subject_types_supported: ["public"],
            id_token_signing_alg_values_supported: algorithms,
        };
        let configuration = serde_json::to_vec(&configuration).map_err(|error| keys::Error::PublicKey(error.to_string()))?;
        Ok(Some(Self { configuration, key_set: keys::key_set(tokens.keys())? }))
    }
}

/// Adds the group of all who are somebody.
fn authenticated(mut user: User) -> User {
    if !user.in_group(AUTHENTICATED) && !user.in_group(UNAUTHENTICATED) {
        user.groups.push(AUTHENTICATED.into());
    }
    user
}

/// The token of an Authorization header, or of a WebSocket subprotocol: browsers may not set headers.
fn bearer(headers: &HeaderMap) -> Option<Cow<'_, str>> {
    const SUBPROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";
    if let Some((scheme, token)) = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.trim().split_once(' ')) {
        let token = token.trim_start();
        return (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && !token.contains(' ')).then_some(Cow::Borrowed(token));
    }
    let protocols = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let encoded = protocols.flat_map(|list| list.split(',')).find_map(|protocol| protocol.trim().strip_prefix(SUBPROTOCOL))?;
    String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(encoded).ok()?).ok().map(Cow::Owned)
}

/// Undoes the percent-encoding of a key in a header's name; what is badly encoded stays as it is.
fn unescape(key: &str) -> Str {
    let mut out = Vec::with_capacity(key.len());
    let mut bytes = key.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        match (digit(bytes.next()), digit(bytes.next())) {
            (Some(high), Some(low)) => out.push((high * 16 + low) as u8),
            _ => return key.into(),
        }
    }
    String::from_utf8(out).map_or_else(|_| key.into(), Str::from)
}

#[cfg(test)]
pub(crate) mod testing;

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;

    #[test]
    fn tokens_are_found_in_headers() {
        let check = |name: &str, value: &str, expect: Option<&str>| {
            let headers = [(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap())].into_iter().collect::<HeaderMap>();
            assert_eq!(bearer(&headers).as_deref(), expect, "{value}");
        };
        check("authorization", "Bearer abc", Some("abc"));
        check("authorization", "bearer  abc", Some("abc"));
        check("authorization", "Bearer ", None);
        check("authorization", "Basic abc", None);
        check("authorization", "Bearer a b", None);
        check("sec-websocket-protocol", "v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.YWJj", Some("abc"));
        check("sec-websocket-protocol", "v5.channel.k8s.io", None);
    }

    #[test]
    fn keys_of_headers_are_unescaped() {
        let check = |key: &str, expect: &str| assert_eq!(unescape(key), expect);
        check("scopes", "scopes");
        check("acme.com%2fproject", "acme.com/project");
        check("100%", "100%");
        check("a%zz", "a%zz");
    }

    async fn auth(rows: &[(&str, &str)]) -> Auth {
        let config = Config {
            anonymous: true,
            issuers: vec!["https://issuer".into()],
            signer: Some(keys::tests::signing_key()),
            external_address: "10.0.0.1:6443".into(),
            ..Config::default()
        };
        let auth = Auth::new(config, testing::store(rows).await, Clock).unwrap();
        auth.load();
        auth
    }

    #[tokio::test]
    async fn who_brings_nothing_is_anonymous_and_who_brings_rubbish_is_nobody() {
        let auth = auth(&[]).await;
        let mut headers = HeaderMap::new();
        assert_eq!(auth.authenticate(&headers, &PeerIdentity::default()).unwrap().name, ANONYMOUS);
        headers.insert(AUTHORIZATION, "Bearer rubbish".parse().unwrap());
        assert!(matches!(auth.authenticate(&headers, &PeerIdentity::default()), Err(Error::Unauthorized)));
    }

    #[tokio::test]
    async fn masters_may_do_everything_and_others_what_rbac_says() {
        let role = r#"{"metadata":{"name":"r"},"rules":[{"apiGroups":[""],"resources":["pods"],"verbs":["list"]}]}"#;
        let binding = r#"{"metadata":{"name":"b"},"roleRef":{"kind":"ClusterRole","name":"r"},"subjects":[{"kind":"User","name":"jane"}]}"#;
        let auth = auth(&[("/registry/clusterroles/r", role), ("/registry/clusterrolebindings/b", binding)]).await;
        let user = |name: &str, group: &str| User { name: name.into(), groups: vec![group.into()], ..User::default() };
        let check = |user: &User, verb: &str, expect: bool| {
            assert_eq!(auth.allows(&Attributes::resource(user, verb, "", "pods", "ns", "")), expect, "{user:?} {verb}");
        };
        check(&user("root", MASTERS), "delete", true);
        check(&user("jane", AUTHENTICATED), "list", true);
        check(&user("jane", AUTHENTICATED), "delete", false);
        check(&user("system:node:n1", NODES), "list", false);
    }

    #[tokio::test]
    async fn changes_of_roles_are_followed() {
        let auth = auth(&[]).await;
        let tasks = Tasks::new(apiserver_component::Shutdown::new());
        auth.start(&tasks);
        let jane = User { name: "jane".into(), ..User::default() };
        let ask = Attributes::resource(&jane, "list", "", "pods", "ns", "");
        assert!(!auth.allows(&ask));
        let role = r#"{"metadata":{"name":"r"},"rules":[{"apiGroups":[""],"resources":["pods"],"verbs":["list"]}]}"#;
        let binding = r#"{"metadata":{"name":"b"},"roleRef":{"kind":"Role","name":"r"},"subjects":[{"kind":"User","name":"jane"}]}"#;
        testing::put(&auth.store, "/registry/roles/ns/r", role).await;
        testing::put(&auth.store, "/registry/rolebindings/ns/b", binding).await;
        testing::until(|| auth.allows(&ask)).await;
        testing::delete(&auth.store, "/registry/roles/ns/r").await;
        testing::until(|| !auth.allows(&ask)).await;
    }

    #[tokio::test]
    async fn discovery_documents_name_issuer_and_keys() {
        let auth = auth(&[]).await;
        let configuration: serde_json::Value = serde_json::from_slice(auth.openid_configuration().unwrap()).unwrap();
        let expect = serde_json::json!({
            "issuer": "https://issuer", "jwks_uri": "https://10.0.0.1:6443/openid/v1/jwks", "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["ES256"],
        });
        assert_eq!(configuration, expect);
        let key_set: serde_json::Value = serde_json::from_slice(auth.key_set().unwrap()).unwrap();
        assert_eq!(key_set["keys"][0]["kid"], auth.tokens.keys()[0].id());
    }
}
