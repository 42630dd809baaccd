//! Carries plans out, and waits until the caches show what was written.
//!
//! A controller that looks again before its own writes have come back would repeat them. So a plan is over when every cache that a write belongs to has
//! reached that write's revision.

use crate::kind::{Kind, Target};
use crate::plan::{Action, Announce, DeleteOptions, Failure, PatchKind, Plan};
use apiserver_client::{EventType, Informer, ObjectKey, Recorder};
use futures::future::{BoxFuture, join_all};
use http::Request;
use http::header::CONTENT_TYPE;
use kube::Client;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Longest wait for a write to come back; then the key is looked at anyway, a little later.
const OWN_WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Calls that one plan makes at a time.
const CALLS_AT_ONCE_MAX: usize = 100;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{action}: {}", said(.source))]
    Call { action: String, source: Box<kube::Error> },
    #[error("{action}: building the request: {source}")]
    Request { action: String, source: http::Error },
    #[error("{0}: encoding: {1}")]
    Encode(String, serde_json::Error),
    #[error("{0} is gone, replaced or being deleted")]
    NotForAdoption(String),
    #[error("writes to {0} did not come back in time")]
    NotSeen(Kind),
}

impl Error {
    /// Somebody else changed the object meanwhile: nothing to worry about.
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }

    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Call { source, .. } => match &**source {
                kube::Error::Api(status) => Some(status.code),
                _ => None,
            },
            _ => None,
        }
    }

    fn failure(&self, action: usize) -> Failure {
        let message = match self {
            Self::Call { source, .. } => said(source),
            other => other.to_string(),
        };
        Failure { message, code: self.code(), action }
    }
}

/// What the server said, or what came between.
fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

type Reached = Arc<dyn Fn(u64) -> BoxFuture<'static, ()> + Send + Sync>;
type Cached = Arc<dyn Fn(&ObjectKey) -> Option<Value> + Send + Sync>;

/// What the executor knows of an informer.
#[derive(Clone)]
struct Cache {
    reached: Reached,
    cached: Cached,
}

/// Objects that upstream's roles let controllers patch. Of all others they may only `update` what they have read, so a merge patch is done here
/// and the result put back under the revision that was read.
fn may_patch(kind: &Kind, subresource: Option<&str>) -> bool {
    matches!((&*kind.group, &*kind.plural, subresource), ("", "pods" | "nodes", _) | ("batch", "jobs", None) | ("", "services", Some("status")))
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(members) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in members {
        if value.is_null() {
            if let Value::Object(own) = target {
                own.remove(name);
            }
        } else {
            merge(&mut target[name.as_str()], value);
        }
    }
}

/// Carries out plans. Cheap to clone.
#[derive(Clone)]
pub struct Executor {
    client: Client,
    recorder: Recorder,
    caches: Arc<Mutex<HashMap<Kind, Cache>>>,
}

/// What was written, and its revision.
type Written = Option<(Kind, u64)>;

impl Executor {
    pub fn new(client: Client, recorder: Recorder) -> Self {
        Self { client, recorder, caches: Arc::default() }
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// From now on, plans that write `kind` wait for this informer, which must hold the whole kind.
    pub fn wait_for<K: Serialize + Send + Sync + 'static>(&self, kind: Kind, informer: &Informer<K>) {
        let store = informer.clone();
        let cached: Cached = Arc::new(move |key| serde_json::to_value(&*store.get(&key.namespace, &key.name)?).ok());
        let informer = informer.clone();
        let reached: Reached = Arc::new(move |revision| {
            let informer = informer.clone();
            Box::pin(async move { informer.reached(revision).await })
        });
        self.caches.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(kind, Cache { reached, cached });
    }

    pub async fn execute(&self, plan: Plan) -> Result<(), Error> {
        let mut written = Vec::new();
        let mut failed = None;
        for (number, action) in plan.actions.iter().enumerate() {
            match self.perform(action).await {
                Ok(more) => written.extend(more),
                Err(error) => {
                    failed = Some((number, error));
                    break;
                }
            }
        }
        if failed.is_none() {
            for event in plan.events {
                self.recorder.event(&event.about, event.kind, event.reason, event.message);
            }
        }
        let status = match (&failed, &plan.status_after_failure) {
            (None, _) => plan.status,
            (Some((number, error)), Some(after)) => after(&error.failure(*number)),
            (Some(_), None) => None,
        };
        if let Some(status) = status {
            match self.perform(&status).await {
                Ok(more) => written.extend(more),
                Err(error) => failed = failed.or(Some((plan.actions.len(), error))),
            }
        }
        self.wait_until_seen(written).await?;
        failed.map_or(Ok(()), |(_, error)| Err(error))
    }

    fn cache(&self, kind: &Kind) -> Option<Cache> {
        self.caches.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get(kind).cloned()
    }

    /// Puts back the object that was read last, with a merge patch done to it. Where the cache is behind and the patch does not insist on a revision,
    /// it is read anew, once.
    async fn update(&self, action: &Action, target: &Target, path: &str, patch: &Value) -> Result<Value, Error> {
        if let Some(object) = self.cache(&target.kind).and_then(|cache| (cache.cached)(&target.key)) {
            match self.put(action, target, path, patch, object).await {
                Err(error) if error.is_conflict() && patch["metadata"]["resourceVersion"].is_null() => {}
                done => return done,
            }
        }
        let object = self.call(action, http::Method::GET, &target.path(), "application/json", &Value::Null).await?;
        self.put(action, target, path, patch, object).await
    }

    async fn put(&self, action: &Action, target: &Target, path: &str, patch: &Value, mut object: Value) -> Result<Value, Error> {
        // Objects of a list do not say what they are.
        object["apiVersion"] = target.kind.api_version().into();
        object["kind"] = (&*target.kind.kind).into();
        merge(&mut object, patch);
        self.call(action, http::Method::PUT, path, "application/json", &object).await
    }

    async fn wait_until_seen(&self, written: Vec<(Kind, u64)>) -> Result<(), Error> {
        let mut newest: HashMap<Kind, u64> = HashMap::new();
        for (kind, revision) in written {
            let entry = newest.entry(kind).or_default();
            *entry = revision.max(*entry);
        }
        for (kind, revision) in newest {
            if let Some(cache) = self.cache(&kind)
                && tokio::time::timeout(OWN_WRITE_TIMEOUT, (cache.reached)(revision)).await.is_err()
            {
                return Err(Error::NotSeen(kind));
            }
        }
        Ok(())
    }

    fn perform<'a>(&'a self, action: &'a Action) -> BoxFuture<'a, Result<Vec<(Kind, u64)>, Error>> {
        Box::pin(async move {
            tracing::debug!(%action, "performing");
            match action {
                Action::All(actions) => self.together(actions).await,
                Action::SlowStart(actions) => {
                    let (mut written, mut rest, mut size) = (Vec::new(), actions.as_slice(), 1);
                    while !rest.is_empty() {
                        let (batch, later) = rest.split_at(size.min(rest.len()));
                        written.extend(self.together(batch).await?);
                        (rest, size) = (later, size * 2);
                    }
                    Ok(written)
                }
                one => Ok(self.one(one).await?.into_iter().collect()),
            }
        })
    }

    async fn together(&self, actions: &[Action]) -> Result<Vec<(Kind, u64)>, Error> {
        let (mut written, mut failed) = (Vec::new(), None);
        for chunk in actions.chunks(CALLS_AT_ONCE_MAX) {
            for result in join_all(chunk.iter().map(|action| self.perform(action))).await {
                match result {
                    Ok(more) => written.extend(more),
                    Err(error) => failed = failed.or(Some(error)),
                }
            }
        }
        // What did succeed has still to be seen before the next look.
        match failed {
            None => Ok(written),
            Some(error) => {
                self.wait_until_seen(written).await?;
                Err(error)
            }
        }
    }

    async fn one(&self, action: &Action) -> Result<Written, Error> {
        match action {
            Action::Create { kind, namespace, object, exists_ok, announce } => {
                let result = self.call(action, http::Method::POST, &kind.path(namespace), "application/json", object).await;
                self.announce(announce.as_ref(), &result);
                match result {
                    Err(error) if *exists_ok && error.is_conflict() => Ok(None),
                    Err(error) if is_namespace_terminating(&error) => Ok(None),
                    result => result.map(|object| written(kind, &object)),
                }
            }
            Action::Patch { target, subresource, kind, patch } => {
                let path = subresource.map_or_else(|| target.path(), |name| format!("{}/{name}", target.path()));
                let (path, content_type) = match kind {
                    PatchKind::Merge => (path, "application/merge-patch+json"),
                    PatchKind::Strategic => (path, "application/strategic-merge-patch+json"),
                    PatchKind::Json => (path, "application/json-patch+json"),
                    PatchKind::Apply(manager) => (format!("{path}?fieldManager={manager}&force=true"), "application/apply-patch+yaml"),
                };
                let mut patch = std::borrow::Cow::Borrowed(patch);
                if let (Some(uid), PatchKind::Merge | PatchKind::Strategic) = (&target.uid, kind) {
                    patch.to_mut()["metadata"]["uid"] = uid.as_str().into();
                }
                let result = if matches!(kind, PatchKind::Merge) && !may_patch(&target.kind, *subresource) {
                    self.update(action, target, &path, &patch).await
                } else {
                    self.call(action, http::Method::PATCH, &path, content_type, &patch).await
                };
                gone_is_fine(result.map(|object| written(&target.kind, &object)))
            }
            Action::Delete { target, options, announce } => {
                let body = delete_options(target.uid.as_deref(), options);
                let result = self.call(action, http::Method::DELETE, &target.path(), "application/json", &body).await;
                let result = match result {
                    // With a uid asked for, a conflict says that another object has the name now: ours is gone.
                    Err(error) if error.code() == Some(404) || (error.is_conflict() && options.resource_version.is_none()) => return Ok(None),
                    Ok(answer) => Ok(json!({"metadata": {"name": &*target.key.name, "resourceVersion": answer["metadata"]["resourceVersion"]}})),
                    error => error,
                };
                self.announce(announce.as_ref(), &result);
                result.map(|object| written(&target.kind, &object))
            }
            Action::Post { target, subresource, body } => {
                let path = format!("{}/{subresource}", target.path());
                gone_is_fine(self.call(action, http::Method::POST, &path, "application/json", body).await.map(|_| None))
            }
            Action::Verify(target) => {
                let object = self.call(action, http::Method::GET, &target.path(), "application/json", &Value::Null).await?;
                let same = target.uid.as_deref() == object["metadata"]["uid"].as_str();
                if same && object["metadata"]["deletionTimestamp"].is_null() { Ok(None) } else { Err(Error::NotForAdoption(target.to_string())) }
            }
            Action::All(_) | Action::SlowStart(_) => Ok(None),
        }
    }

    async fn call(&self, action: &Action, method: http::Method, path: &str, content_type: &str, body: &Value) -> Result<Value, Error> {
        let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(body).map_err(|error| Error::Encode(action.to_string(), error))? };
        let request = Request::builder().method(method).uri(path).header(CONTENT_TYPE, content_type).body(body);
        let request = request.map_err(|source| Error::Request { action: action.to_string(), source })?;
        let answer = self.client.request::<Value>(request).await;
        answer.map_err(|source| Error::Call { action: name(action), source: Box::new(source) })
    }

    fn announce(&self, announce: Option<&Announce>, result: &Result<Value, Error>) {
        let Some(announce) = announce else { return };
        match result {
            Ok(object) => {
                if let Some((reason, text)) = &announce.success {
                    let name = object["metadata"]["name"].as_str().unwrap_or_default();
                    self.recorder.event(&announce.about, EventType::Normal, reason, format!("{text}{name}"));
                }
            }
            Err(error) if is_namespace_terminating(error) => {}
            Err(error) => {
                let (reason, text) = &announce.failure;
                self.recorder.event(&announce.about, EventType::Warning, reason, format!("{text}{}", error.failure(0).message));
            }
        }
    }
}

/// Without the bodies of patches, which may hold secrets.
fn name(action: &Action) -> String {
    match action {
        Action::Patch { target, subresource, .. } => format!("patch {target}{}", subresource.map(|name| format!("/{name}")).unwrap_or_default()),
        other => other.to_string(),
    }
}

fn written(kind: &Kind, object: &Value) -> Written {
    let revision = object["metadata"]["resourceVersion"].as_str()?.parse().ok()?;
    Some((kind.clone(), revision))
}

fn gone_is_fine(result: Result<Written, Error>) -> Result<Written, Error> {
    match result {
        Err(error) if error.code() == Some(404) => Ok(None),
        result => result,
    }
}

/// In a namespace that is being deleted every creation fails, and none is needed.
fn is_namespace_terminating(error: &Error) -> bool {
    match error {
        Error::Call { source, .. } => match &**source {
            kube::Error::Api(status) => {
                status.code == 403
                    && status.details.as_ref().is_some_and(|details| details.causes.iter().any(|cause| cause.reason == "NamespaceTerminating"))
            }
            _ => false,
        },
        _ => false,
    }
}

fn delete_options(uid: Option<&str>, options: &DeleteOptions) -> Value {
    let mut body = json!({"kind": "DeleteOptions", "apiVersion": "v1"});
    if let Some(uid) = uid {
        body["preconditions"]["uid"] = uid.into();
    }
    if let Some(version) = &options.resource_version {
        body["preconditions"]["resourceVersion"] = version.as_str().into();
    }
    if let Some(grace) = options.grace_seconds {
        body["gracePeriodSeconds"] = grace.into();
    }
    if let Some(propagation) = options.propagation {
        body["propagationPolicy"] = propagation.as_str().into();
    }
    body
}

#[cfg(test)]
#[path = "execute_tests.rs"]
mod tests;
