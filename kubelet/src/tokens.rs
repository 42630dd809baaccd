//! ServiceAccount tokens bound to Pods: asked for once, kept in memory, and renewed at four fifths of their life.

use crate::pod;
use crate::volume::payload::TokenRequest as Wanted;
use apiserver_client::Client;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{Api, PostParams};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

/// A token is renewed at this age however long it may live.
const AGE_MAX: SignedDuration = SignedDuration::from_hours(24);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to fetch token: {0}")]
    Request(#[source] kube::Error),
    #[error("failed to fetch token: the answer holds none")]
    Empty,
}

#[derive(Clone)]
struct Token {
    text: String,
    issued: Timestamp,
    expires: Timestamp,
}

impl Token {
    fn due(&self, now: Timestamp) -> bool {
        let life = self.expires.duration_since(self.issued);
        let age = now.duration_since(self.issued);
        age > life * 4 / 5 || age > AGE_MAX
    }
}

pub struct Tokens {
    client: Client,
    held: Mutex<HashMap<(String, Wanted), Token>>,
}

impl Tokens {
    pub fn new(client: Client) -> Self {
        Self { client, held: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, Wanted), Token>> {
        self.held.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A token for the Pod's ServiceAccount, bound to the Pod. When it cannot be renewed, one that is still good is given.
    pub async fn get(&self, pod: &Pod, wanted: &Wanted, now: Timestamp) -> Result<String, Error> {
        let key = (pod::uid(pod).to_owned(), wanted.clone());
        let held = self.lock().get(&key).cloned();
        if let Some(token) = held.as_ref().filter(|token| !token.due(now)) {
            return Ok(token.text.clone());
        }
        match (self.request(pod, wanted, now).await, held) {
            (Ok(token), _) => {
                let text = token.text.clone();
                self.lock().insert(key, token);
                Ok(text)
            }
            (Err(error), Some(token)) if now < token.expires => {
                tracing::warn!(pod = pod::describe(pod), %error, "a token could not be renewed; the old one is still good");
                Ok(token.text)
            }
            (Err(error), _) => Err(error),
        }
    }

    pub fn forget(&self, uid: &str) {
        self.lock().retain(|(held, _), _| held != uid);
    }

    async fn request(&self, pod: &Pod, wanted: &Wanted, now: Timestamp) -> Result<Token, Error> {
        let account = pod::spec(pod).service_account_name.clone().unwrap_or_else(|| "default".to_owned());
        let spec = TokenRequestSpec {
            audiences: Some(if wanted.audience.is_empty() { Vec::new() } else { vec![wanted.audience.clone()] }),
            expiration_seconds: Some(wanted.seconds),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: pod.metadata.name.clone(),
                uid: pod.metadata.uid.clone(),
            }),
            ..Default::default()
        };
        let request = TokenRequest { spec: Some(spec), ..Default::default() };
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), pod::namespace(pod));
        let answer: TokenRequest = api.create_subresource("token", &account, &PostParams::default(), &request).await.map_err(Error::Request)?;
        let status = answer.status.ok_or(Error::Empty)?;
        let text = status.token.filter(|token| !token.is_empty()).ok_or(Error::Empty)?;
        let expires = status.expiration_timestamp.ok_or(Error::Empty)?.0;
        Ok(Token { text, issued: now, expires })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_due_at_four_fifths_of_its_life_or_after_a_day() {
        let at = |second| Timestamp::from_second(second).expect("in range");
        let token = |life| Token { text: String::new(), issued: at(0), expires: at(life) };
        let check = |life, age, expect| assert_eq!(token(life).due(at(age)), expect, "{life} {age}");
        check(1000, 800, false);
        check(1000, 801, true);
        check(1_000_000, 86_400, false);
        check(1_000_000, 86_401, true);
    }
}
