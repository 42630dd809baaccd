//! Looks at single objects, with the server's own word for what exists.

use super::decide::{Owner, Verdict, verdict};
use super::graph::{FOREGROUND, Node, ORPHAN};
use super::{Collector, Uid};
use controllers_runtime::Target;
use controllers_runtime::plan::Propagation;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Method, Request};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::core::{ObjectMeta, PartialObjectMeta};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const ACCEPT_METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
/// An owner that exists but is not in the graph is asked for again so often.
const UNKNOWN_OWNER_AGAIN: Duration = Duration::from_secs(30);
/// Failures in a row from which on they are worth a warning.
const FAILURES_WORTH_A_WARNING: u32 = 6;

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("{0}")]
    Call(#[from] kube::Error),
    #[error("building a request: {0}")]
    Request(#[from] http::Error),
    #[error("encoding: {0}")]
    Encode(#[from] serde_json::Error),
    #[error("no resource is known for owner {kind} in {api_version}")]
    UnknownKind { api_version: String, kind: String },
}

impl Error {
    fn code(&self) -> Option<u16> {
        match self {
            Self::Call(kube::Error::Api(status)) => Some(status.code),
            _ => None,
        }
    }
}

pub(super) async fn work(collector: Arc<Collector>) {
    loop {
        let uid = collector.to_delete.next().await;
        match look(&collector, &uid).await {
            Ok(()) => {
                collector.to_delete.forget(&uid);
                if !collector.graph().knows_owners(&uid) {
                    collector.to_delete.add_after(uid.clone(), UNKNOWN_OWNER_AGAIN);
                }
            }
            Err(error) => {
                if matches!(error, Error::UnknownKind { .. }) {
                    collector.rediscover.notify_one();
                }
                let wait = collector.to_delete.add_after_failure(uid.clone());
                if collector.to_delete.failures(&uid) >= FAILURES_WORTH_A_WARNING {
                    tracing::warn!(uid = &**uid, %error, ?wait, "collecting");
                } else {
                    tracing::debug!(uid = &**uid, %error, ?wait, "collecting");
                }
            }
        }
    }
}

pub(super) async fn work_orphans(collector: Arc<Collector>) {
    loop {
        let uid = collector.to_orphan.next().await;
        match orphan(&collector, &uid).await {
            Ok(()) => collector.to_orphan.forget(&uid),
            Err(error) => {
                let wait = collector.to_orphan.add_after_failure(uid.clone());
                tracing::debug!(uid = &**uid, %error, ?wait, "orphaning");
            }
        }
    }
}

async fn look(collector: &Collector, uid: &Uid) -> Result<(), Error> {
    let Some(node) = collector.graph().get(uid).cloned() else { return Ok(()) };
    if node.deleting && !node.foreground {
        return Ok(());
    }
    let Some(latest) = get(collector, &target(&node)).await?.filter(|latest| latest.uid.as_deref() == Some(uid)) else {
        let looks = collector.graph().remove(uid);
        collector.look(looks);
        return Ok(());
    };
    if node.foreground {
        return wait_for_dependents(collector, uid, &node).await;
    }
    let references = latest.owner_references.clone().unwrap_or_default();
    let mut owners = Vec::with_capacity(references.len());
    for reference in references {
        let state = state_of(collector, &node, &reference).await?;
        owners.push((reference, state));
    }
    let dependents = collector.graph().dependents(uid);
    let dependent_waits = (!dependents.is_empty()).then(|| dependents.iter().any(|(_, dependent)| dependent.foreground));
    match verdict(&latest, &owners, dependent_waits) {
        Verdict::Keep => Ok(()),
        Verdict::Release { uids } => release(collector, uid, &node, &uids).await,
        Verdict::Delete { propagation, unblock } => {
            if unblock {
                let unblocked: Vec<OwnerReference> =
                    owners.into_iter().map(|(reference, _)| OwnerReference { block_owner_deletion: Some(false), ..reference }).collect();
                let patch = json!({"metadata": {"resourceVersion": latest.resource_version, "ownerReferences": unblocked}});
                call(collector, Method::PATCH, &target(&node).path(), "application/merge-patch+json", &patch).await?;
                return delete(collector, uid, &node, None, propagation).await;
            }
            delete(collector, uid, &node, latest.resource_version.as_deref(), propagation).await
        }
    }
}

/// The object waits until dependents that block it are gone.
async fn wait_for_dependents(collector: &Collector, uid: &Uid, node: &Node) -> Result<(), Error> {
    let blocks = |dependent: &Node| dependent.owners.iter().any(|owner| owner.uid == **uid && owner.block_owner_deletion == Some(true));
    let blocking: Vec<(Uid, Node)> = collector.graph().dependents(uid).into_iter().filter(|(_, dependent)| blocks(dependent)).collect();
    if blocking.is_empty() {
        return remove_finalizer(collector, uid, node, FOREGROUND).await;
    }
    for (dependent, node) in blocking {
        if !node.foreground {
            collector.to_delete.add(dependent);
        }
    }
    Ok(())
}

/// Asks the server for an owner. Owners are in the namespace of what they own, or cluster-scoped.
async fn state_of(collector: &Collector, node: &Node, reference: &OwnerReference) -> Result<Owner, Error> {
    let Some(resource) = collector.resource(&reference.api_version, &reference.kind) else {
        return Err(Error::UnknownKind { api_version: reference.api_version.clone(), kind: reference.kind.clone() });
    };
    if resource.namespaced && node.namespace.is_empty() {
        // A cluster-scoped object cannot be owned by a namespaced one: nobody can say which, so it is left alone.
        return Ok(Owner::Solid);
    }
    let namespace = if resource.namespaced { node.namespace.as_str() } else { "" };
    Ok(match get(collector, &resource.kind.target(namespace, &reference.name)).await? {
        Some(found) if found.uid.as_deref() != Some(&reference.uid) => Owner::Gone,
        Some(found) => {
            let foreground = found.finalizers.iter().flatten().any(|finalizer| finalizer == FOREGROUND);
            if found.deletion_timestamp.is_some() && foreground { Owner::Waiting } else { Owner::Solid }
        }
        None => Owner::Gone,
    })
}

/// Takes the owner's references out of all its dependents, then lets the owner go.
async fn orphan(collector: &Collector, uid: &Uid) -> Result<(), Error> {
    let Some(node) = collector.graph().get(uid).cloned() else { return Ok(()) };
    let dependents = collector.graph().dependents(uid);
    for (dependent, dependent_node) in dependents {
        release(collector, &dependent, &dependent_node, &[uid.to_string()]).await?;
    }
    remove_finalizer(collector, uid, &node, ORPHAN).await
}

/// Takes the references with these uids out of the object.
async fn release(collector: &Collector, uid: &Uid, node: &Node, uids: &[String]) -> Result<(), Error> {
    let Some(latest) = get(collector, &target(node)).await?.filter(|latest| latest.uid.as_deref() == Some(uid)) else { return Ok(()) };
    let before = latest.owner_references.unwrap_or_default();
    let kept: Vec<&OwnerReference> = before.iter().filter(|owner| !uids.contains(&owner.uid)).collect();
    if kept.len() == before.len() {
        return Ok(());
    }
    // With the resourceVersion, so that a reference added meanwhile is not lost.
    let patch = json!({"metadata": {"resourceVersion": latest.resource_version, "ownerReferences": kept}});
    gone_is_fine(call(collector, Method::PATCH, &target(node).path(), "application/merge-patch+json", &patch).await)
}

async fn remove_finalizer(collector: &Collector, uid: &Uid, node: &Node, finalizer: &str) -> Result<(), Error> {
    let Some(latest) = get(collector, &target(node)).await?.filter(|latest| latest.uid.as_deref() == Some(uid)) else { return Ok(()) };
    let before = latest.finalizers.unwrap_or_default();
    let kept: Vec<&String> = before.iter().filter(|known| *known != finalizer).collect();
    if kept.len() == before.len() {
        return Ok(());
    }
    let patch = json!({"metadata": {"resourceVersion": latest.resource_version, "finalizers": kept}});
    gone_is_fine(call(collector, Method::PATCH, &target(node).path(), "application/merge-patch+json", &patch).await)
}

async fn delete(collector: &Collector, uid: &Uid, node: &Node, resource_version: Option<&str>, propagation: Propagation) -> Result<(), Error> {
    let mut preconditions = json!({"uid": &**uid});
    if let Some(version) = resource_version {
        preconditions["resourceVersion"] = version.into();
    }
    let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": preconditions, "propagationPolicy": propagation.as_str()});
    tracing::debug!(kind = %node.kind, namespace = node.namespace, name = node.name, propagation = propagation.as_str(), "deleting");
    gone_is_fine(call(collector, Method::DELETE, &target(node).path(), "application/json", &options).await)
}

fn gone_is_fine(answer: Result<Value, Error>) -> Result<(), Error> {
    match answer {
        Err(error) if error.code() == Some(404) => Ok(()),
        answer => answer.map(|_| ()),
    }
}

fn target(node: &Node) -> Target {
    node.kind.target(&node.namespace, &node.name)
}

async fn get(collector: &Collector, target: &Target) -> Result<Option<ObjectMeta>, Error> {
    let request = Request::get(target.path()).header(ACCEPT, ACCEPT_METADATA).body(Vec::new())?;
    match collector.client.request::<PartialObjectMeta>(request).await {
        Ok(found) => Ok(Some(found.metadata)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn call(collector: &Collector, method: Method, path: &str, content_type: &str, body: &Value) -> Result<Value, Error> {
    let body = serde_json::to_vec(body)?;
    let request = Request::builder().method(method).uri(path).header(CONTENT_TYPE, content_type).header(ACCEPT, "application/json").body(body)?;
    Ok(collector.client.request::<Value>(request).await?)
}
