//! One pass over a namespace that is being deleted.

use super::plan::{self, Found};
use crate::discovery::{self, Resource};
use apiserver_client::Client;
use apiserver_client::time::from_time;
use controllers_runtime::Kind;
use futures::future::join_all;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Method, Request};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use serde::Deserialize;
use serde_json::{Value, json};

const NAMESPACES: Kind = Kind::of::<Namespace>();
const PODS: Kind = Kind::of::<Pod>();
const FINALIZER: &str = "kubernetes";
/// How long things with finalizers are expected to take, seconds.
const FINALIZER_ESTIMATE: u64 = 15;
/// Resources of one namespace that are emptied at a time.
const RESOURCES_AT_ONCE: usize = 8;
const PAGE_OBJECTS: u32 = 500;
const ACCEPT_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("{0}")]
    Call(#[from] kube::Error),
    #[error("building a request: {0}")]
    Request(#[from] http::Error),
    #[error("encoding: {0}")]
    Encode(#[from] serde_json::Error),
    #[error("some content could not be deleted: {0}")]
    Content(String),
}

impl Error {
    /// Gone, or a verb that the resource does not have.
    fn is_absent(&self) -> bool {
        matches!(self, Self::Call(kube::Error::Api(status)) if matches!(status.code, 404 | 405))
    }
}

/// Deletes what is there. `Some` seconds where content remains, None where the namespace is done with.
pub(super) async fn sync(client: &Client, name: &str, now: Timestamp) -> Result<Option<u64>, Error> {
    let path = NAMESPACES.target("", name).path();
    let namespace: Value = match call(client, Method::GET, &path, None).await {
        Err(error) if error.is_absent() => return Ok(None),
        answer => answer?,
    };
    let typed: Namespace = serde_json::from_value(namespace.clone())?;
    let finalizers = typed.spec.as_ref().and_then(|spec| spec.finalizers.clone()).unwrap_or_default();
    let Some(deleted_at) = typed.metadata.deletion_timestamp.as_ref().map(from_time) else { return Ok(None) };
    if finalizers.is_empty() {
        return Ok(None);
    }
    let found = empty(client, name, deleted_at, now).await?;
    let old = typed.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    if let Some(conditions) = plan::conditions(&old, &found, now) {
        // Upstream's role lets this controller update a namespace, not patch it; what was read is whole, so nothing is lost.
        let mut latest = namespace;
        latest["status"]["phase"] = "Terminating".into();
        latest["status"]["conditions"] = json!(conditions);
        call(client, Method::PUT, &format!("{path}/status"), Some(&latest)).await?;
    }
    let failures: Vec<String> = found.discovery_failures.iter().chain(&found.delete_failures).cloned().collect();
    if !failures.is_empty() {
        return Err(Error::Content(failures.join(", ")));
    }
    if found.estimate > 0 || !found.remaining.is_empty() {
        return Ok(Some(found.estimate));
    }
    finalize(client, &path, finalizers).await?;
    Ok(None)
}

async fn finalize(client: &Client, path: &str, finalizers: Vec<String>) -> Result<(), Error> {
    let mut latest: Value = match call(client, Method::GET, path, None).await {
        Err(error) if error.is_absent() => return Ok(()),
        answer => answer?,
    };
    let rest: Vec<String> = finalizers.into_iter().filter(|finalizer| finalizer != FINALIZER).collect();
    latest["spec"]["finalizers"] = json!(rest);
    match call(client, Method::PUT, &format!("{path}/finalize"), Some(&latest)).await {
        Err(error) if error.is_absent() => Ok(()),
        answer => answer.map(|_| ()),
    }
}

async fn empty(client: &Client, namespace: &str, deleted_at: Timestamp, now: Timestamp) -> Result<Found, Error> {
    let discovered = discovery::discover(client).await?;
    let mut found = Found { discovery_failures: discovered.failed, ..Found::default() };
    let deletable = discovered.resources.into_iter().filter(|resource| resource.namespaced && resource.can("delete"));
    let (pods, others): (Vec<Resource>, Vec<Resource>) =
        deletable.partition(|resource| resource.kind.group.is_empty() && resource.kind.plural == PODS.plural);
    for pods in &pods {
        let grace = pods_grace(client, namespace, deleted_at, now).await?;
        match empty_resource(client, pods, namespace).await {
            Ok(rest) => {
                if !rest.is_empty() {
                    // What remains is not told yet, as upstream does not either while Pods are waited for.
                    found.estimate = rest.estimate(grace);
                    if found.estimate == 0 {
                        found.delete_failures.push(unexpected(namespace, &pods.kind));
                    }
                    return Ok(Found { estimate: found.estimate.max(1), ..found });
                }
            }
            Err(error) => {
                found.delete_failures.push(error.to_string());
                return Ok(found);
            }
        }
    }
    for chunk in others.chunks(RESOURCES_AT_ONCE) {
        let rests = join_all(chunk.iter().map(|resource| empty_resource(client, resource, namespace))).await;
        for (resource, rest) in chunk.iter().zip(rests) {
            found.add(namespace, resource, rest);
        }
    }
    Ok(found)
}

impl Found {
    fn add(&mut self, namespace: &str, resource: &Resource, rest: Result<Rest, Error>) {
        match rest {
            Ok(rest) if rest.is_empty() => {}
            Ok(rest) => {
                if rest.finalizers.is_empty() {
                    self.delete_failures.push(unexpected(namespace, &resource.kind));
                }
                self.estimate = self.estimate.max(rest.estimate(0));
                self.remaining.insert(format!("{}.{}", resource.kind.plural, resource.kind.group), rest.objects);
                for finalizer in rest.finalizers {
                    *self.finalizers.entry(finalizer).or_default() += 1;
                }
            }
            Err(error) => self.delete_failures.push(error.to_string()),
        }
    }
}

fn unexpected(namespace: &str, kind: &Kind) -> String {
    format!("unexpected items still remain in namespace: {namespace} for gvr: {}/{}, Resource={}", kind.group, kind.version, kind.plural)
}

/// What a resource still has after its deletion was asked for.
#[derive(Default)]
struct Rest {
    objects: usize,
    /// One entry per object and finalizer.
    finalizers: Vec<String>,
}

impl Rest {
    fn is_empty(&self) -> bool {
        self.objects == 0
    }

    fn estimate(&self, grace: u64) -> u64 {
        match (grace, self.finalizers.is_empty()) {
            (0, true) => 0,
            (0, false) => FINALIZER_ESTIMATE,
            (grace, _) => grace,
        }
    }
}

/// The longest time that a running Pod may take to end, seconds; 0 once that time has passed.
async fn pods_grace(client: &Client, namespace: &str, deleted_at: Timestamp, now: Timestamp) -> Result<u64, Error> {
    let pods: Value = call(client, Method::GET, &PODS.path(namespace), None).await?;
    let running =
        pods["items"].as_array().into_iter().flatten().filter(|pod| !matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed")));
    let grace = running.filter_map(|pod| pod["spec"]["terminationGracePeriodSeconds"].as_u64()).max().unwrap_or(0);
    let passed = u64::try_from(now.duration_since(deleted_at).as_secs()).unwrap_or(0);
    Ok(if passed >= grace { 0 } else { grace })
}

async fn empty_resource(client: &Client, resource: &Resource, namespace: &str) -> Result<Rest, Error> {
    let path = resource.kind.path(namespace);
    if !resource.can("list") {
        return Ok(Rest::default());
    }
    let before = list(client, &path).await?;
    if before.is_empty() {
        return Ok(Rest::default());
    }
    let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"});
    let collection = if resource.can("deletecollection") { call(client, Method::DELETE, &path, Some(&options)).await.map(Some) } else { Ok(None) };
    match collection {
        Ok(Some(_)) => {}
        Ok(None) => each(client, &path, &before, &options).await?,
        Err(error) if error.is_absent() => each(client, &path, &before, &options).await?,
        Err(error) => return Err(error),
    }
    let after = list(client, &path).await?;
    let finalizers = after.iter().flat_map(|item| item.metadata.finalizers.clone()).collect();
    Ok(Rest { objects: after.len(), finalizers })
}

async fn each(client: &Client, path: &str, items: &[Item], options: &Value) -> Result<(), Error> {
    for item in items {
        match call(client, Method::DELETE, &format!("{path}/{}", item.metadata.name), Some(options)).await {
            Err(error) if error.is_absent() => {}
            answer => drop(answer?),
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    metadata: ListMeta,
    #[serde(default)]
    items: Option<Vec<Item>>,
}

#[derive(Deserialize, Default)]
struct ListMeta {
    #[serde(rename = "continue", default)]
    token: Option<String>,
}

#[derive(Deserialize)]
struct Item {
    metadata: ItemMeta,
}

#[derive(Deserialize)]
struct ItemMeta {
    #[serde(default)]
    name: String,
    #[serde(default)]
    finalizers: Vec<String>,
}

async fn list(client: &Client, path: &str) -> Result<Vec<Item>, Error> {
    let (mut items, mut token) = (Vec::new(), String::new());
    loop {
        // Continue tokens are base64url, which needs no escaping.
        let more = if token.is_empty() { String::new() } else { format!("&continue={token}") };
        let request = Request::get(format!("{path}?limit={PAGE_OBJECTS}{more}")).header(ACCEPT, ACCEPT_LIST).body(Vec::new())?;
        let page = match client.request::<List>(request).await.map_err(Error::from) {
            Err(error) if error.is_absent() => return Ok(items),
            page => page?,
        };
        items.extend(page.items.unwrap_or_default());
        match page.metadata.token.filter(|token| !token.is_empty()) {
            Some(next) => token = next,
            None => return Ok(items),
        }
    }
}

async fn call(client: &Client, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Error> {
    let body = body.map(serde_json::to_vec).transpose()?.unwrap_or_default();
    let request = Request::builder().method(method).uri(path).header(CONTENT_TYPE, "application/json").body(body)?;
    Ok(client.request::<Value>(request).await?)
}
