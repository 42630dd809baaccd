//! Who calls, and whether they may: client certificates from our authority or tokens that the API server vouches for, then its own rules.

use apiserver_client::Client;
use apiserver_component::Clock;
use apiserver_component::tls::Authorities;
use http::{HeaderMap, Method};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::{Api, PostParams};
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// How long answers of the API server are believed.
const TOKEN_TTL: Duration = Duration::from_secs(120);
const ALLOWED_TTL: Duration = Duration::from_secs(300);
const DENIED_TTL: Duration = Duration::from_secs(30);
/// Answers remembered of each kind.
const ANSWERS_MAX: usize = 4096;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("Unauthorized")]
    Unauthenticated,
    #[error("Forbidden (user={user}, verb={verb}, resource=nodes, subresource(s)={subresources:?})")]
    Forbidden { user: String, verb: &'static str, subresources: Vec<&'static str> },
    #[error("Authorization error (user={user}): {source}")]
    Review { user: String, source: kube::Error },
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct User {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

/// Answers with the time until which they hold.
struct Remembered<K, V>(Mutex<HashMap<K, (V, Instant)>>);

impl<K: Eq + Hash, V: Clone> Remembered<K, V> {
    fn new() -> Self {
        Self(Mutex::default())
    }

    fn get(&self, key: &K) -> Option<V> {
        let held = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        held.get(key).filter(|(_, until)| Instant::now() < *until).map(|(value, _)| value.clone())
    }

    fn put(&self, key: K, value: V, ttl: Duration) {
        let mut held = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if held.len() >= ANSWERS_MAX {
            let now = Instant::now();
            held.retain(|_, (_, until)| now < *until);
        }
        if held.len() < ANSWERS_MAX {
            held.insert(key, (value, Instant::now() + ttl));
        }
    }
}

pub struct Gate {
    client: Client,
    node: String,
    authorities: Option<Arc<Authorities>>,
    /// By the token's digest.
    tokens: Remembered<[u8; 32], Option<User>>,
    verdicts: Remembered<(User, &'static str, &'static str), bool>,
}

impl Gate {
    pub fn new(client: Client, node: String, authorities: Option<Arc<Authorities>>) -> Self {
        Self { client, node, authorities, tokens: Remembered::new(), verdicts: Remembered::new() }
    }

    /// The user that a client certificate from our authority names.
    pub fn by_certificate(&self, chain: &[CertificateDer<'_>]) -> Option<User> {
        let leaf = chain.first()?;
        if let Err(error) = self.authorities.as_ref()?.verify_client(chain, Clock.now()) {
            tracing::debug!(%error, "a client certificate is not believed");
            return None;
        }
        let (_, certificate) = x509_parser::parse_x509_certificate(leaf).ok()?;
        let subject = certificate.subject();
        let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
        let mut groups: Vec<String> = subject.iter_organization().filter_map(|group| group.as_str().ok()).map(str::to_owned).collect();
        groups.push("system:authenticated".to_owned());
        Some(User { name, groups, ..Default::default() })
    }

    /// Lets a request through, or says why not. `caller` is whom the certificate named.
    pub async fn admit(&self, caller: Option<User>, headers: &HeaderMap, method: &Method, path: &str) -> Result<(), Error> {
        let user = match caller {
            Some(user) => user,
            None => self.by_token(headers).await?,
        };
        let (verb, subresources) = (verb(method), subresources(path));
        for subresource in &subresources {
            if self.may(&user, verb, subresource).await? {
                return Ok(());
            }
        }
        Err(Error::Forbidden { user: user.name, verb, subresources })
    }

    async fn by_token(&self, headers: &HeaderMap) -> Result<User, Error> {
        let header = headers.get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (scheme, token) = header.split_once(' ').unwrap_or_default();
        let token = token.trim();
        if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
            return Err(Error::Unauthenticated);
        }
        let key: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(known) = self.tokens.get(&key) {
            return known.ok_or(Error::Unauthenticated);
        }
        let review = TokenReview { spec: TokenReviewSpec { token: token.to_owned(), ..Default::default() }, ..Default::default() };
        let api: Api<TokenReview> = Api::all(self.client.clone());
        let answer = api.create(&PostParams::default(), &review).await;
        let status = answer.map_err(|source| Error::Review { user: "unknown".to_owned(), source })?.status.unwrap_or_default();
        let user = status.user.filter(|_| status.authenticated == Some(true)).map(|user| User {
            name: user.username.unwrap_or_default(),
            uid: user.uid.unwrap_or_default(),
            groups: user.groups.unwrap_or_default(),
            extra: user.extra.unwrap_or_default(),
        });
        self.tokens.put(key, user.clone(), if user.is_some() { TOKEN_TTL } else { DENIED_TTL });
        user.ok_or(Error::Unauthenticated)
    }

    async fn may(&self, user: &User, verb: &'static str, subresource: &'static str) -> Result<bool, Error> {
        let key = (user.clone(), verb, subresource);
        if let Some(known) = self.verdicts.get(&key) {
            return Ok(known);
        }
        let attributes = ResourceAttributes {
            verb: Some(verb.to_owned()),
            version: Some("v1".to_owned()),
            resource: Some("nodes".to_owned()),
            subresource: Some(subresource.to_owned()),
            name: Some(self.node.clone()),
            ..Default::default()
        };
        let spec = SubjectAccessReviewSpec {
            user: Some(user.name.clone()),
            uid: Some(user.uid.clone()).filter(|uid| !uid.is_empty()),
            groups: Some(user.groups.clone()),
            extra: Some(user.extra.clone()).filter(|extra| !extra.is_empty()),
            resource_attributes: Some(attributes),
            ..Default::default()
        };
        let review = SubjectAccessReview { spec, ..Default::default() };
        let api: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let answer = api.create(&PostParams::default(), &review).await;
        let allowed = answer.map_err(|source| Error::Review { user: user.name.clone(), source })?.status.is_some_and(|status| status.allowed);
        self.verdicts.put(key, allowed, if allowed { ALLOWED_TTL } else { DENIED_TTL });
        Ok(allowed)
    }
}

fn verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "get",
    }
}

/// The parts of a node that a path belongs to; any of them suffices. Narrow ones come before `proxy`, which opens everything.
fn subresources(path: &str) -> Vec<&'static str> {
    let is = |prefix: &str| path == prefix || path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'));
    if is("/stats") {
        vec!["stats"]
    } else if is("/metrics") {
        vec!["metrics"]
    } else if is("/logs") {
        vec!["log"]
    } else if is("/checkpoint") {
        vec!["checkpoint"]
    } else if is("/pods") || is("/runningpods") {
        vec!["pods", "proxy"]
    } else if is("/healthz") {
        vec!["healthz", "proxy"]
    } else if is("/configz") {
        vec!["configz", "proxy"]
    } else {
        vec!["proxy"]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_belong_to_parts_of_the_node() {
        let check = |path: &str, expect: &[&str]| assert_eq!(subresources(path), expect, "{path}");
        check("/stats/summary", &["stats"]);
        check("/metrics", &["metrics"]);
        check("/metrics/resource", &["metrics"]);
        check("/metricsfoo", &["proxy"]);
        check("/logs/", &["log"]);
        check("/pods", &["pods", "proxy"]);
        check("/healthz/ping", &["healthz", "proxy"]);
        check("/exec/ns/pod/c", &["proxy"]);
        check("/containerLogs/ns/pod/c", &["proxy"]);
    }

    #[test]
    fn methods_are_verbs() {
        assert_eq!(
            [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE].map(|method| verb(&method)),
            ["get", "get", "create", "update", "delete"]
        );
    }

    #[tokio::test]
    async fn answers_are_remembered_for_a_while() {
        let answers: Remembered<u8, bool> = Remembered::new();
        answers.put(1, true, Duration::from_millis(50));
        assert_eq!(answers.get(&1), Some(true));
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert_eq!(answers.get(&1), None);
    }
}
