//! TokenRequest: `POST serviceaccounts/NAME/token` mints a token for an audience, bound to a Pod, Secret or Node if the request says so.

use super::token::{Claims, Kubernetes, Reference};
use super::{Auth, service_account};
use crate::Error;
use crate::admission::node_restriction::{self, TokenAdmission};
use crate::request::User;
use crate::resource::Object;
use crate::status;
use apiserver_machinery::field::{self, BadValue, Path};
use apiserver_machinery::schema::Schema;
use apiserver_machinery::text::quote;
use apiserver_machinery::tree::{Struct, Value};
use apiserver_machinery::{Str, json};
use apiserver_store::{Key, Snapshot};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

const GROUP: &str = "authentication.k8s.io";
const KIND: &str = "TokenRequest";

const SECONDS_DEFAULT: i64 = 3600;
const SECONDS_MIN: i64 = 600;
const SECONDS_MAX: i64 = 1 << 32;
/// What kubelets ask for the token that every Pod gets. Such a token lives on for a year and only warns, since old clients never read it again.
const SECONDS_OF_PROJECTED: i64 = 3607;
const SECONDS_EXTENDED: i64 = 365 * 24 * 3600;

/// What is read of the objects that a token may be bound to.
#[derive(Deserialize, Default)]
struct Stored {
    metadata: Meta,
    #[serde(default)]
    spec: Spec,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Meta {
    uid: Str,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    service_account_name: Str,
    node_name: Str,
}

fn read(snapshot: &Snapshot, key: String, resource: &str, name: &str) -> Result<Stored, Error> {
    let row = snapshot.get(Key::from(key)).ok_or_else(|| Error::NotFound { group: Str::default(), resource: resource.into(), name: name.into() })?;
    serde_json::from_slice(row.bytes()).map_err(|error| Error::Internal(format!("reading {resource} {}: {error}", quote(name))))
}

/// Answers a TokenRequest of `user` for a ServiceAccount: `object` is completed and gets its status. Gives warnings for the client.
pub fn answer(auth: &Auth, user: &User, namespace: &str, name: &str, object: &mut Struct, schema: &Schema) -> Result<Vec<String>, Error> {
    let snapshot = auth.store.snapshot();
    let now = auth.clock.now();
    check_metadata(Object::new(schema, object), namespace, name)?;
    node_restriction::admit_token(Object::new(schema, object), &TokenAdmission { user, auth, snapshot: &snapshot, namespace, account: name })?;
    let account = read(&snapshot, format!("/registry/serviceaccounts/{namespace}/{name}"), "serviceaccounts", name)?;
    let asked_uid = Object::new(schema, object).text("metadata.uid").to_owned();
    if !asked_uid.is_empty() && account.metadata.uid != asked_uid {
        let message = format!("the UID in the token request ({asked_uid}) does not match the UID of the service account ({})", account.metadata.uid);
        return Err(conflict(KIND, GROUP, name, message));
    }
    complete(auth, object, schema, namespace, name, &account.metadata.uid, now)?;
    let request = Object::new(schema, object);
    let errors = faults(request);
    if !errors.is_empty() {
        return Err(status::invalid_as(GROUP, KIND, "", errors));
    }
    let mut bound = Kubernetes {
        namespace: namespace.into(),
        service_account: Reference { name: name.into(), uid: account.metadata.uid },
        ..Kubernetes::default()
    };
    if let Some(reference) = request.child("spec.boundObjectRef") {
        bind(&mut bound, reference, &snapshot)?;
    }

    let mut warnings = Vec::new();
    let mut seconds = request.number("spec.expirationSeconds");
    if let Some(most) = auth.config.token_seconds_max.filter(|most| *most > 0 && seconds > *most) {
        warnings.push(format!("requested expiration of {seconds} seconds shortened to {most} seconds"));
        seconds = most;
    }
    let audiences: Vec<Str> = request.texts("spec.audiences").map(Str::from).collect();
    let own = audiences.iter().all(|audience| auth.tokens.audiences.contains(audience));
    let issued = now.as_second();
    let mut expires = issued.saturating_add(seconds);
    if auth.config.extend_tokens && bound.pod.is_some() && seconds == SECONDS_OF_PROJECTED && own {
        bound.warn_after = Some(expires);
        expires = issued.saturating_add(SECONDS_EXTENDED);
    }
    let claims = Claims {
        audiences,
        expires: Some(expires),
        issued: Some(issued),
        not_before: Some(issued),
        subject: service_account::username(namespace, name),
        kubernetes: bound,
        ..Claims::default()
    };
    let token = match auth.tokens.mint(claims) {
        Some(token) => token.map_err(|error| Error::Internal(format!("failed to generate token: {error}")))?,
        None => return Err(Error::NoSuchPath),
    };
    put(object, schema, "spec.expirationSeconds", seconds)?;
    put(object, schema, "status.token", token)?;
    put(object, schema, "status.expirationTimestamp", crate::meta::time(now + SignedDuration::from_secs(seconds)))?;
    Ok(warnings)
}

fn put(object: &mut Struct, schema: &Schema, at: &str, value: impl Into<Value>) -> Result<(), Error> {
    object.put(schema, at, value).ok_or_else(|| Error::Internal(format!("the schema has no {at}")))
}

fn conflict(resource: &str, group: &str, name: &str, message: String) -> Error {
    Error::Conflict { group: group.into(), resource: resource.into(), name: name.into(), message: message.into(), causes: Vec::new() }
}

/// A body that names an account must name the one of the URL.
fn check_metadata(request: Object<'_>, namespace: &str, name: &str) -> Result<(), Error> {
    for (field, own, what) in [("name", name, "name"), ("namespace", namespace, "namespace")] {
        let given = request.text(if field == "name" { "metadata.name" } else { "metadata.namespace" });
        if !given.is_empty() && given != own {
            let at = Path::new("metadata");
            let error = field::Error::invalid(&at.child(field), given, format!("must match the service account {what} if specified"));
            return Err(status::invalid_as(GROUP, KIND, name, vec![error]));
        }
    }
    Ok(())
}

/// Fills in what the request leaves open.
fn complete(auth: &Auth, object: &mut Struct, schema: &Schema, namespace: &str, name: &str, uid: &str, now: Timestamp) -> Result<(), Error> {
    let request = Object::new(schema, object);
    let (audiences, seconds) = (request.list("spec.audiences").len(), request.has("spec.expirationSeconds"));
    if audiences == 0 {
        let own = auth.tokens.audiences.iter().cloned().map(Value::String).collect();
        put(object, schema, "spec.audiences", Value::List(own))?;
    }
    if !seconds {
        put(object, schema, "spec.expirationSeconds", SECONDS_DEFAULT)?;
    }
    put(object, schema, "metadata.name", name)?;
    put(object, schema, "metadata.namespace", namespace)?;
    put(object, schema, "metadata.uid", uid)?;
    put(object, schema, "metadata.creationTimestamp", crate::meta::time(now))?;
    object.take(schema, "status");
    Ok(())
}

fn faults(request: Object<'_>) -> Vec<field::Error> {
    let spec = Path::new("spec");
    let at = spec.child("expirationSeconds");
    let seconds = request.number("spec.expirationSeconds");
    let mut errors = Vec::new();
    if seconds < SECONDS_MIN {
        errors.push(field::Error::invalid(&at, seconds, "may not specify a duration less than 10 minutes"));
    }
    if seconds > SECONDS_MAX {
        errors.push(field::Error::invalid(&at, seconds, "may not specify a duration larger than 2^32 seconds"));
    }
    if let Some(attestations) = request.get("spec.attestations") {
        let value = match attestations.as_struct() {
            Some(tree) => {
                let mut out = Vec::new();
                json::encode(request.schema, tree, &mut out);
                BadValue::json(String::from_utf8_lossy(&out))
            }
            None => BadValue::from(attestations),
        };
        errors.push(field::Error::invalid(
            &spec.child("attestations"),
            value,
            "attestations may only be specified with a webhook bound object reference",
        ));
    }
    errors
}

fn bind(bound: &mut Kubernetes, reference: Object<'_>, snapshot: &Snapshot) -> Result<(), Error> {
    let (kind, name, uid) = (reference.text("kind"), reference.text("name"), reference.text("uid"));
    let api_version = reference.text("apiVersion");
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let namespace = &bound.namespace;
    let has = match (group, kind) {
        ("", "Pod") => {
            let pod = read(snapshot, format!("/registry/pods/{namespace}/{name}"), "pods", name)?;
            let account = &bound.service_account.name;
            if pod.spec.service_account_name != *account {
                let message = format!("cannot bind token for serviceaccount {} to pod running with different serviceaccount name.", quote(account));
                return Err(Error::BadRequest(message.into()));
            }
            if !pod.spec.node_name.is_empty() {
                let node = read(snapshot, format!("/registry/minions/{}", pod.spec.node_name), "nodes", &pod.spec.node_name);
                // A node that is not there any more still informs by its name.
                bound.node = Some(Reference { name: pod.spec.node_name, uid: node.unwrap_or_default().metadata.uid });
            }
            bound.pod = Some(Reference { name: name.into(), uid: pod.metadata.uid.clone() });
            pod.metadata.uid
        }
        ("", "Node") => {
            let node = read(snapshot, format!("/registry/minions/{name}"), "nodes", name)?;
            bound.node = Some(Reference { name: name.into(), uid: node.metadata.uid.clone() });
            node.metadata.uid
        }
        ("", "Secret") => {
            let secret = read(snapshot, format!("/registry/secrets/{namespace}/{name}"), "secrets", name)?;
            bound.secret = Some(Reference { name: name.into(), uid: secret.metadata.uid.clone() });
            secret.metadata.uid
        }
        _ => {
            return Err(Error::BadRequest(format!("cannot bind token to object of type {group}/{version}, Kind={kind}").into()));
        }
    };
    if !uid.is_empty() && has != uid {
        let message = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(conflict(kind, group, name, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Config, keys, testing};
    use apiserver_component::Clock;
    use apiserver_machinery::builtin;
    use serde_json::json;

    async fn auth() -> Auth {
        let rows = vec![
            ("/registry/serviceaccounts/ns/sa", r#"{"metadata":{"name":"sa","namespace":"ns","uid":"sa-uid"}}"#),
            (
                "/registry/pods/ns/web",
                r#"{"metadata":{"name":"web","namespace":"ns","uid":"web-uid"},"spec":{"serviceAccountName":"sa","nodeName":"n1"}}"#,
            ),
            ("/registry/pods/ns/other", r#"{"metadata":{"name":"other","namespace":"ns","uid":"o"},"spec":{"serviceAccountName":"default"}}"#),
            ("/registry/minions/n1", r#"{"metadata":{"name":"n1","uid":"n1-uid"}}"#),
        ];
        let config = Config {
            issuers: vec!["https://issuer".into()],
            signer: Some(keys::tests::signing_key()),
            token_seconds_max: Some(100_000),
            extend_tokens: true,
            ..Config::default()
        };
        Auth::new(config, testing::store(&rows).await, Clock).unwrap()
    }

    /// The answer as JSON with the token's claims in the token's place, or the error's text.
    async fn ask(name: &str, request: serde_json::Value) -> Result<serde_json::Value, String> {
        let auth = auth().await;
        let schema = builtin::schema();
        let ty = builtin::gvk("authentication.k8s.io", "v1", "TokenRequest").unwrap();
        let shape = apiserver_machinery::schema::Shape { schema: schema.clone(), root: ty };
        let mut object = json::decode(&shape, request.to_string().as_bytes(), &mut json::Report::new()).unwrap();
        answer(&auth, &User::default(), "ns", name, &mut object, schema).map_err(|error| error.to_string())?;
        let mut out = Vec::new();
        json::encode(schema, &object, &mut out);
        let mut answer: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let token = answer["status"]["token"].as_str().unwrap().to_owned();
        assert!(auth.tokens.verify(&token, &["https://issuer".into(), "vault".into()], &auth.store.snapshot(), auth.clock.now()).unwrap().is_some());
        let parsed = keys::Unverified::parse(&token).unwrap();
        answer["status"]["token"] = serde_json::from_slice(&parsed.payload).unwrap();
        Ok(answer)
    }

    #[tokio::test]
    async fn a_token_for_a_pod_carries_pod_and_node() {
        let bound = json!({"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": "web-uid"});
        let answer = ask("sa", json!({"spec": {"audiences": ["vault"], "expirationSeconds": 600, "boundObjectRef": bound}})).await.unwrap();
        let claims = &answer["status"]["token"];
        assert_eq!(claims["aud"], json!(["vault"]));
        assert_eq!(claims["iss"], "https://issuer");
        assert_eq!(claims["sub"], "system:serviceaccount:ns:sa");
        let expect = json!({
            "namespace": "ns", "serviceaccount": {"name": "sa", "uid": "sa-uid"}, "pod": {"name": "web", "uid": "web-uid"},
            "node": {"name": "n1", "uid": "n1-uid"},
        });
        assert_eq!(claims["kubernetes.io"], expect);
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 600);
        assert_eq!(answer["metadata"]["name"], "sa");
    }

    #[tokio::test]
    async fn the_projected_token_of_a_pod_lives_on_and_warns() {
        let bound = json!({"apiVersion": "v1", "kind": "Pod", "name": "web"});
        let answer = ask("sa", json!({"spec": {"expirationSeconds": 3607, "boundObjectRef": bound}})).await.unwrap();
        let claims = &answer["status"]["token"];
        let issued = claims["iat"].as_i64().unwrap();
        assert_eq!(claims["kubernetes.io"]["warnafter"].as_i64().unwrap() - issued, 3607);
        assert_eq!(claims["exp"].as_i64().unwrap() - issued, SECONDS_EXTENDED);
        assert_eq!(claims["aud"], json!(["https://issuer"]));
    }

    #[tokio::test]
    async fn what_is_left_open_is_defaulted_and_what_is_too_long_cut() {
        assert_eq!(ask("sa", json!({"spec": {}})).await.unwrap()["spec"]["expirationSeconds"], 3600);
        assert_eq!(ask("sa", json!({"spec": {"expirationSeconds": 200_000}})).await.unwrap()["spec"]["expirationSeconds"], 100_000);
    }

    #[tokio::test]
    async fn bad_requests_are_refused_in_upstreams_words() {
        let check = async |name: &str, request: serde_json::Value, expect: &str| assert_eq!(ask(name, request).await.unwrap_err(), expect);
        check("none", json!({}), "serviceaccounts \"none\" not found").await;
        check(
            "sa",
            json!({"spec": {"expirationSeconds": 599}}),
            r#"TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes"#,
        )
        .await;
        check(
            "sa",
            json!({"spec": {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "other"}}}),
            r#"cannot bind token for serviceaccount "sa" to pod running with different serviceaccount name."#,
        )
        .await;
        check(
            "sa",
            json!({"spec": {"boundObjectRef": {"apiVersion": "v1", "kind": "ConfigMap", "name": "x"}}}),
            "cannot bind token to object of type /v1, Kind=ConfigMap",
        )
        .await;
        check("sa", json!({"spec": {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "gone"}}}), "pods \"gone\" not found").await;
        check(
            "sa",
            json!({"spec": {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": "x"}}}),
            "Operation cannot be fulfilled on Pod \"web\": the UID in the bound object reference (x) does not match the UID in record. The object might have been deleted and then recreated",
        )
        .await;
        check(
            "sa",
            json!({"metadata": {"name": "x"}}),
            r#"TokenRequest.authentication.k8s.io "sa" is invalid: metadata.name: Invalid value: "x": must match the service account name if specified"#,
        )
        .await;
    }
}
