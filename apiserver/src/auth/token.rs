//! ServiceAccount tokens: verifying what a bearer presents, and minting what TokenRequest asks for.
//!
//! A token is as good as the objects it is bound to: each use looks at the ServiceAccount and the bound object in the store. Signatures, which are
//! the dear part, are verified once and remembered.

use super::keys::{SigningKey, Unverified, VerifyingKey};
use super::{cache, keys, service_account};
use crate::request::User;
use apiserver_machinery::Str;
use apiserver_machinery::text::quote;
use apiserver_store::{Key, Revision, Snapshot};
use arc_swap::ArcSwapOption;
use compact_str::format_compact;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How far clocks may be apart.
const LEEWAY: SignedDuration = SignedDuration::from_secs(60);

pub const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
pub const POD_UID: &str = "authentication.kubernetes.io/pod-uid";
pub const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
pub const NODE_UID: &str = "authentication.kubernetes.io/node-uid";
pub const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// Why a token that looks like one of ours is not taken; a TokenReview shows the text.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("invalid signature, no keys found")]
    NoKey,
    #[error("go-jose/go-jose: error in cryptographic primitive")]
    Signature,
    #[error("service account token claims could not be validated due to unexpected validation error")]
    Claims,
    #[error("token audiences {} is invalid for the target audiences {}", super::rbac::quoted_list(.has), super::rbac::quoted_list(.wanted))]
    Audience { has: Vec<Str>, wanted: Vec<Str> },
    #[error("service account token has expired")]
    Expired,
    #[error("service account token is not valid yet")]
    NotValidYet,
    #[error("service account token is issued in the future")]
    IssuedInFuture,
    #[error("serviceaccounts {} not found", quote(.0))]
    NoServiceAccount(Str),
    #[error("service account UID ({has}) does not match claim ({claim})")]
    ServiceAccountUid { has: Str, claim: Str },
    #[error("service account {namespace}/{name} has been deleted")]
    ServiceAccountDeleted { namespace: Str, name: Str },
    #[error("service account token has been invalidated")]
    Invalidated,
    #[error("{kind} UID ({has}) does not match service account {claim_kind} ref claim ({claim})")]
    BoundUid { kind: &'static str, claim_kind: &'static str, has: Str, claim: Str },
}

/// What a token says. Fields are in the order in which they are written, which is that of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Claims {
    #[serde(rename = "aud", deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub audiences: Vec<Str>,
    #[serde(rename = "exp", skip_serializing_if = "Option::is_none")]
    pub expires: Option<i64>,
    #[serde(rename = "iat", skip_serializing_if = "Option::is_none")]
    pub issued: Option<i64>,
    #[serde(rename = "iss")]
    pub issuer: Str,
    #[serde(rename = "jti", skip_serializing_if = "Str::is_empty")]
    pub id: Str,
    #[serde(rename = "kubernetes.io")]
    pub kubernetes: Kubernetes,
    #[serde(rename = "nbf", skip_serializing_if = "Option::is_none")]
    pub not_before: Option<i64>,
    #[serde(rename = "sub")]
    pub subject: Str,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kubernetes {
    pub namespace: Str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<Reference>,
    #[serde(rename = "serviceaccount")]
    pub service_account: Reference,
    #[serde(rename = "warnafter", skip_serializing_if = "Option::is_none")]
    pub warn_after: Option<i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reference {
    #[serde(skip_serializing_if = "Str::is_empty")]
    pub name: Str,
    #[serde(skip_serializing_if = "Str::is_empty")]
    pub uid: Str,
}

fn one_or_many<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<Str>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Audience {
        One(Str),
        Many(Vec<Str>),
    }
    Ok(match Audience::deserialize(from)? {
        Audience::One(one) => vec![one],
        Audience::Many(many) => many,
    })
}

/// A token that was taken.
#[derive(Clone, Debug)]
pub struct Verified {
    pub user: Arc<User>,
    /// Those of the token's audiences that were asked for.
    pub audiences: Vec<Str>,
}

/// Issuer and keys of ServiceAccount tokens.
pub struct Tokens {
    /// The first signs; all are believed.
    pub issuers: Vec<Str>,
    /// Those of the API server itself.
    pub audiences: Vec<Str>,
    keys: Vec<VerifyingKey>,
    signer: Option<SigningKey>,
    seen: cache::Slots<Seen>,
}

/// A token whose signature was verified, and the rows that its claims were last checked against.
struct Seen {
    claims: Claims,
    user: Arc<User>,
    rows: ArcSwapOption<Vec<(Key, Revision)>>,
}

/// What is read of the objects that a token is bound to.
#[derive(Deserialize)]
struct Bound {
    metadata: BoundMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BoundMeta {
    #[serde(default)]
    uid: Str,
    deletion_timestamp: Option<Timestamp>,
}

impl Tokens {
    pub fn new(issuers: Vec<Str>, audiences: Vec<Str>, mut keys: Vec<VerifyingKey>, signer: Option<SigningKey>) -> Self {
        if let Some(signer) = &signer
            && !keys.iter().any(|key| key.id() == signer.public().id())
        {
            keys.push(signer.public().clone());
        }
        // What a token must be meant for, where nothing is said, is the issuer.
        let audiences = if audiences.is_empty() { issuers.iter().take(1).cloned().collect() } else { audiences };
        Self { issuers, audiences, keys, signer, seen: cache::Slots::new() }
    }

    pub fn keys(&self) -> &[VerifyingKey] {
        &self.keys
    }

    pub fn issuer(&self) -> &str {
        self.issuers.first().map_or("", Str::as_str)
    }

    /// `None`: not a token of ours, so somebody else's. `wanted` are the audiences to accept; the API server's own where empty.
    pub fn verify(&self, token: &str, wanted: &[Str], snapshot: &Snapshot, now: Timestamp) -> Result<Option<Verified>, Error> {
        let hash = cache::hash(token.as_bytes());
        let seen = match self.seen.get(&hash) {
            Some(seen) => seen,
            None => match self.verify_signature(token)? {
                None => return Ok(None),
                Some(claims) => {
                    let seen = Arc::new(Seen { user: Arc::new(user_of(&claims)), claims, rows: ArcSwapOption::empty() });
                    self.seen.put(hash, seen.clone());
                    seen
                }
            },
        };
        let wanted = if wanted.is_empty() { &self.audiences } else { wanted };
        // Tokens of old have no audience and are meant for the API server.
        let has = if seen.claims.audiences.is_empty() { &self.audiences } else { &seen.claims.audiences };
        let audiences: Vec<Str> = has.iter().filter(|audience| wanted.contains(audience)).cloned().collect();
        if audiences.is_empty() {
            return Err(Error::Audience { has: has.clone(), wanted: wanted.to_vec() });
        }
        check_times(&seen.claims, now)?;
        let known = seen.rows.load();
        let unchanged =
            known.as_ref().is_some_and(|rows| rows.iter().all(|(key, revision)| snapshot.get(key).is_some_and(|row| row.modified == *revision)));
        if !unchanged {
            seen.rows.store(check_objects(&seen.claims, snapshot, now)?.map(Arc::new));
        }
        Ok(Some(Verified { user: seen.user.clone(), audiences }))
    }

    fn verify_signature(&self, token: &str) -> Result<Option<Claims>, Error> {
        #[derive(Deserialize)]
        struct Issuer {
            #[serde(default)]
            iss: Str,
        }
        let Some(parsed) = Unverified::parse(token) else { return Ok(None) };
        match serde_json::from_slice::<Issuer>(&parsed.payload) {
            Ok(claims) if self.issuers.contains(&claims.iss) => {}
            _ => return Ok(None),
        }
        let mut candidates = self.keys.iter().filter(|key| parsed.key_id.is_empty() || key.id() == parsed.key_id).peekable();
        if candidates.peek().is_none() {
            return Err(Error::NoKey);
        }
        if !candidates.any(|key| parsed.signed_by(key)) {
            return Err(Error::Signature);
        }
        serde_json::from_slice(&parsed.payload).map(Some).map_err(|_| Error::Claims)
    }

    /// The token of these claims, with issuer and id filled in. `None`: this server has no signing key.
    pub fn mint(&self, mut claims: Claims) -> Option<Result<String, keys::Error>> {
        let signer = self.signer.as_ref()?;
        claims.issuer = self.issuer().into();
        claims.id = format_compact!("{}", uuid::Uuid::new_v4());
        Some(serde_json::to_vec(&claims).map_err(|_| keys::Error::Sign).and_then(|payload| signer.sign(&payload)))
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("issuers", &self.issuers).field("audiences", &self.audiences).finish_non_exhaustive()
    }
}

fn check_times(claims: &Claims, now: Timestamp) -> Result<(), Error> {
    let (early, late) = ((now + LEEWAY).as_second(), (now - LEEWAY).as_second());
    if claims.not_before.is_some_and(|from| early < from) {
        return Err(Error::NotValidYet);
    }
    if claims.expires.is_some_and(|to| late > to) {
        return Err(Error::Expired);
    }
    if claims.issued.is_some_and(|at| early < at) {
        return Err(Error::IssuedInFuture);
    }
    Ok(())
}

/// Checks that everything the token is bound to exists. Gives the rows that were looked at, or `None` where one is being deleted, so that time
/// alone can end the token.
fn check_objects(claims: &Claims, snapshot: &Snapshot, now: Timestamp) -> Result<Option<Vec<(Key, Revision)>>, Error> {
    let bound = &claims.kubernetes;
    let (namespace, account) = (&bound.namespace, &bound.service_account);
    let gone = |meta: &BoundMeta| meta.deletion_timestamp.is_some_and(|at| at < now - LEEWAY);
    let mut rows = Vec::with_capacity(2);
    let mut deleting = false;
    let mut look = |key: String| {
        let key = Key::from(key);
        let row = snapshot.get(&key)?;
        let object: Bound = serde_json::from_slice(row.bytes()).ok()?;
        deleting |= object.metadata.deletion_timestamp.is_some();
        rows.push((key, row.modified));
        Some(object.metadata)
    };

    let has = look(format!("/registry/serviceaccounts/{namespace}/{}", account.name)).ok_or_else(|| Error::NoServiceAccount(account.name.clone()))?;
    if has.uid != account.uid {
        return Err(Error::ServiceAccountUid { has: has.uid, claim: account.uid.clone() });
    }
    if gone(&has) {
        return Err(Error::ServiceAccountDeleted { namespace: namespace.clone(), name: account.name.clone() });
    }
    let mut check = |kind: &'static str, key: String, claim_kind: &'static str, claim: &Reference| {
        let has = look(key).ok_or(Error::Invalidated)?;
        if has.uid != claim.uid {
            return Err(Error::BoundUid { kind, claim_kind, has: has.uid, claim: claim.uid.clone() });
        }
        if gone(&has) { Err(Error::Invalidated) } else { Ok(()) }
    };
    if let Some(secret) = &bound.secret {
        check("secret", format!("/registry/secrets/{namespace}/{}", secret.name), "secret", secret)?;
    }
    match (&bound.pod, &bound.node) {
        // The node of a Pod's token only informs.
        (Some(pod), _) => check("pod", format!("/registry/pods/{namespace}/{}", pod.name), "pod", pod)?,
        (None, Some(node)) => check("node", format!("/registry/minions/{}", node.name), "node", node)?,
        (None, None) => {}
    }
    Ok((!deleting).then_some(rows))
}

fn user_of(claims: &Claims) -> User {
    let bound = &claims.kubernetes;
    let mut extra: Vec<(Str, Vec<Str>)> = Vec::new();
    if !claims.id.is_empty() {
        extra.push((CREDENTIAL_ID.into(), vec![format_compact!("JTI={}", claims.id)]));
    }
    if let Some(node) = &bound.node {
        extra.push((NODE_NAME.into(), vec![node.name.clone()]));
        if !node.uid.is_empty() {
            extra.push((NODE_UID.into(), vec![node.uid.clone()]));
        }
    }
    if let Some(pod) = &bound.pod {
        extra.push((POD_NAME.into(), vec![pod.name.clone()]));
        extra.push((POD_UID.into(), vec![pod.uid.clone()]));
    }
    let mut groups = service_account::groups(&bound.namespace);
    groups.push(super::AUTHENTICATED.into());
    User { name: service_account::username(&bound.namespace, &bound.service_account.name), uid: bound.service_account.uid.clone(), groups, extra }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing::{self, Rows};

    const NOW: i64 = 1_800_000_000;

    fn now() -> Timestamp {
        Timestamp::from_second(NOW).unwrap()
    }

    fn tokens() -> Tokens {
        Tokens::new(vec!["https://issuer".into()], Vec::new(), Vec::new(), Some(keys::tests::signing_key()))
    }

    fn claims() -> Claims {
        Claims {
            audiences: vec!["https://issuer".into()],
            expires: Some(NOW + 3600),
            issued: Some(NOW),
            not_before: Some(NOW),
            subject: "system:serviceaccount:ns:sa".into(),
            kubernetes: Kubernetes {
                namespace: "ns".into(),
                service_account: Reference { name: "sa".into(), uid: "1".into() },
                pod: Some(Reference { name: "web".into(), uid: "2".into() }),
                node: Some(Reference { name: "n1".into(), uid: "3".into() }),
                ..Kubernetes::default()
            },
            ..Claims::default()
        }
    }

    fn rows() -> Rows {
        vec![
            ("/registry/serviceaccounts/ns/sa", r#"{"metadata":{"name":"sa","namespace":"ns","uid":"1"}}"#),
            ("/registry/pods/ns/web", r#"{"metadata":{"name":"web","namespace":"ns","uid":"2"}}"#),
        ]
    }

    async fn check(change: impl FnOnce(&mut Claims, &mut Rows), wanted: &[Str], expect: Result<(), &str>) {
        let tokens = tokens();
        let (mut claims, mut rows) = (claims(), rows());
        change(&mut claims, &mut rows);
        let store = testing::store(&rows).await;
        let token = tokens.mint(claims).unwrap().unwrap();
        // The second time the signature is remembered, and the answer the same.
        for _ in 0..2 {
            let seen = tokens
                .verify(&token, wanted, &store.snapshot(), now())
                .map(|verified| assert!(verified.is_some()))
                .map_err(|error| error.to_string());
            assert_eq!(seen, expect.map_err(str::to_owned));
        }
    }

    #[tokio::test]
    async fn a_token_is_as_good_as_what_it_is_bound_to() {
        check(|_, _| {}, &[], Ok(())).await;
        check(|_, rows| _ = rows.remove(1), &[], Err("service account token has been invalidated")).await;
        check(|_, rows| _ = rows.remove(0), &[], Err("serviceaccounts \"sa\" not found")).await;
        check(
            |_, rows| rows[1].1 = r#"{"metadata":{"name":"web","uid":"9"}}"#,
            &[],
            Err("pod UID (9) does not match service account pod ref claim (2)"),
        )
        .await;
        check(|_, rows| rows[0].1 = r#"{"metadata":{"name":"sa","uid":"9"}}"#, &[], Err("service account UID (9) does not match claim (1)")).await;
        let deleted = r#"{"metadata":{"name":"web","uid":"2","deletionTimestamp":"2020-01-01T00:00:00Z"}}"#;
        check(|_, rows| rows[1].1 = deleted, &[], Err("service account token has been invalidated")).await;
        let deleting = r#"{"metadata":{"name":"web","uid":"2","deletionTimestamp":"2030-01-01T00:00:00Z"}}"#;
        check(|_, rows| rows[1].1 = deleting, &[], Ok(())).await;
    }

    #[tokio::test]
    async fn times_and_audiences_are_checked() {
        check(|claims, _| claims.expires = Some(NOW - 61), &[], Err("service account token has expired")).await;
        check(|claims, _| claims.expires = Some(NOW - 59), &[], Ok(())).await;
        check(|claims, _| claims.not_before = Some(NOW + 61), &[], Err("service account token is not valid yet")).await;
        check(|claims, _| claims.issued = Some(NOW + 61), &[], Err("service account token is issued in the future")).await;
        check(
            |claims, _| claims.audiences = vec!["vault".into()],
            &[],
            Err(r#"token audiences ["vault"] is invalid for the target audiences ["https://issuer"]"#),
        )
        .await;
        check(|claims, _| claims.audiences = vec!["vault".into()], &["vault".into()], Ok(())).await;
    }

    #[tokio::test]
    async fn the_user_carries_pod_node_and_token() {
        let tokens = tokens();
        let store = testing::store(&rows()).await;
        let token = tokens.mint(claims()).unwrap().unwrap();
        let user = tokens.verify(&token, &[], &store.snapshot(), now()).unwrap().unwrap().user;
        assert_eq!(user.name, "system:serviceaccount:ns:sa");
        assert_eq!(user.groups, ["system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated"]);
        let keys: Vec<_> = user.extra.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, [CREDENTIAL_ID, NODE_NAME, NODE_UID, POD_NAME, POD_UID]);
        assert!(user.extra[0].1[0].starts_with("JTI="));
    }

    #[tokio::test]
    async fn a_pod_that_goes_takes_its_token_with_it() {
        let tokens = tokens();
        let store = testing::store(&rows()).await;
        let token = tokens.mint(claims()).unwrap().unwrap();
        assert!(tokens.verify(&token, &[], &store.snapshot(), now()).is_ok());
        testing::delete(&store, "/registry/pods/ns/web").await;
        assert_eq!(tokens.verify(&token, &[], &store.snapshot(), now()).unwrap_err(), Error::Invalidated);
    }

    #[tokio::test]
    async fn a_token_of_another_issuer_is_not_ours() {
        let (ours, other) = (tokens(), Tokens::new(vec!["https://other".into()], Vec::new(), Vec::new(), Some(keys::tests::signing_key())));
        let store = testing::store(&rows()).await;
        let token = other.mint(claims()).unwrap().unwrap();
        assert!(ours.verify(&token, &[], &store.snapshot(), now()).unwrap().is_none());
        // The same issuer's name under a key that we do not know.
        let forger = tokens();
        let token = forger.mint(claims()).unwrap().unwrap();
        assert_eq!(ours.verify(&token, &[], &store.snapshot(), now()).unwrap_err(), Error::NoKey);
    }
}
