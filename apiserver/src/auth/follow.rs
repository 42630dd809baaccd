//! Keeps what authorization knows (RBAC's index, the nodes' graph) in step with the store, by watches. Decoding happens here, off the request path.

use super::node::{self, Graph, Kind, Object};
use super::rbac::{Binding, Index, Policy, Role, RoleKey};
use apiserver_machinery::Str;
use apiserver_store::{Change, Key, Range, Revision, Row, Snapshot, Store, Watch};
use arc_swap::ArcSwap;
use serde::Deserialize;
use std::future::poll_fn;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::Poll;
use std::time::Duration;

/// Changes that are taken in before what they add up to is published.
const BATCH_CHANGES_MAX: usize = 1024;
/// How long to wait before watching again after the store refused a watch.
const RETRY: Duration = Duration::from_millis(100);

/// Something that is computed from parts of the store.
pub trait Sink: Send {
    const PREFIXES: &'static [&'static str];
    /// Forgets everything.
    fn reset(&mut self);
    /// `key` is what follows the prefix.
    fn put(&mut self, prefix: &str, key: &str, old: Option<&Row>, new: &Row);
    fn remove(&mut self, prefix: &str, key: &str);
    fn publish(&mut self);
}

/// Takes in all of a snapshot.
pub fn load(sink: &mut impl Sink, snapshot: &Snapshot) -> Revision {
    load_prefixes(sink, snapshot);
    sink.publish();
    snapshot.revision()
}

fn load_prefixes<S: Sink>(sink: &mut S, snapshot: &Snapshot) {
    sink.reset();
    for prefix in S::PREFIXES {
        for (key, row) in snapshot.range(&Range::prefix(*prefix)) {
            if let Some(key) = below(prefix, key) {
                sink.put(prefix, key, None, row);
            }
        }
    }
}

fn below<'a>(prefix: &str, key: &'a Key) -> Option<&'a str> {
    std::str::from_utf8(key.as_bytes()).ok()?.strip_prefix(prefix)
}

/// Takes in what happens after `after`, until the store is closed. A watch that breaks is begun anew from where the store stands.
pub async fn follow<S: Sink>(mut sink: S, store: Store, mut after: Revision) {
    loop {
        let watches: Result<Vec<Watch>, _> = S::PREFIXES.iter().map(|prefix| store.watch(Range::prefix(*prefix), after)).collect();
        match watches {
            Ok(watches) => take_in(&mut sink, watches).await,
            Err(error) => {
                tracing::debug!(%error, "watch for authorization not begun");
                tokio::time::sleep(RETRY).await;
            }
        }
        after = load(&mut sink, &store.snapshot());
    }
}

/// Returns when one of the watches is closed.
async fn take_in<S: Sink>(sink: &mut S, mut watches: Vec<Watch>) {
    loop {
        let (at, change) = poll_fn(|cx| {
            for (at, watch) in watches.iter_mut().enumerate() {
                if let Poll::Ready(change) = watch.poll_next(cx) {
                    return Poll::Ready((at, change));
                }
            }
            Poll::Pending
        })
        .await;
        let Ok(change) = change else { return };
        apply(sink, S::PREFIXES[at], &change);
        let mut closed = false;
        for (at, watch) in watches.iter_mut().enumerate() {
            for _ in 0..BATCH_CHANGES_MAX {
                match watch.try_next() {
                    Some(Ok(change)) => apply(sink, S::PREFIXES[at], &change),
                    Some(Err(_)) => closed = true,
                    None => break,
                }
                if closed {
                    break;
                }
            }
        }
        sink.publish();
        if closed {
            return;
        }
    }
}

fn apply(sink: &mut impl Sink, prefix: &str, change: &Change) {
    let Some(key) = below(prefix, &change.key) else { return };
    match &change.new {
        Some(new) => sink.put(prefix, key, change.old.as_deref(), new),
        None => sink.remove(prefix, key),
    }
}

/// `ns/name`, or `name` of what has no namespace.
fn split(key: &str) -> (Str, Str) {
    let (namespace, name) = key.split_once('/').unwrap_or(("", key));
    (namespace.into(), name.into())
}

/// RBAC's index and where it is published.
pub struct Rbac {
    index: Index,
    published: Arc<ArcSwap<Policy>>,
}

impl Rbac {
    pub fn new(published: Arc<ArcSwap<Policy>>) -> Self {
        Self { index: Index::default(), published }
    }
}

const CLUSTER_ROLES: &str = "/registry/clusterroles/";
const ROLES: &str = "/registry/roles/";
const CLUSTER_ROLE_BINDINGS: &str = "/registry/clusterrolebindings/";
const ROLE_BINDINGS: &str = "/registry/rolebindings/";

impl Sink for Rbac {
    const PREFIXES: &'static [&'static str] = &[CLUSTER_ROLES, ROLES, CLUSTER_ROLE_BINDINGS, ROLE_BINDINGS];

    fn reset(&mut self) {
        self.index = Index::default();
    }

    fn put(&mut self, prefix: &str, key: &str, _: Option<&Row>, new: &Row) {
        let (namespace, name) = split(key);
        let place = RoleKey { namespace, name };
        if matches!(prefix, CLUSTER_ROLES | ROLES) {
            if let Some(role) = decode::<Role>(key, new) {
                self.index.put_role(place, role);
            }
        } else if let Some(binding) = decode::<Binding>(key, new) {
            self.index.put_binding(place, binding);
        }
    }

    fn remove(&mut self, prefix: &str, key: &str) {
        let (namespace, name) = split(key);
        let place = RoleKey { namespace, name };
        if matches!(prefix, CLUSTER_ROLES | ROLES) {
            self.index.remove_role(&place);
        } else {
            self.index.remove_binding(&place);
        }
    }

    fn publish(&mut self) {
        self.published.store(Arc::new(self.index.publish()));
    }
}

fn decode<'de, T: Deserialize<'de>>(key: &str, row: &'de Row) -> Option<T> {
    serde_json::from_slice(row.bytes()).inspect_err(|error| tracing::warn!(%error, key, "object that authorization needs cannot be read")).ok()
}

/// The nodes' graph. It is changed in place.
pub struct NodeGraph(pub Arc<node::Nodes>);

impl NodeGraph {
    fn graph(&self) -> &RwLock<Graph> {
        &self.0.graph
    }
}

const PODS: &str = "/registry/pods/";
const VOLUMES: &str = "/registry/persistentvolumes/";
const ATTACHMENTS: &str = "/registry/volumeattachments/";
const SLICES: &str = "/registry/resourceslices/";
const CERTIFICATE_REQUESTS: &str = "/registry/podcertificaterequests/";

impl Sink for NodeGraph {
    const PREFIXES: &'static [&'static str] = &[PODS, VOLUMES, ATTACHMENTS, SLICES, CERTIFICATE_REQUESTS];

    fn reset(&mut self) {
        *self.graph().write().unwrap_or_else(PoisonError::into_inner) = Graph::default();
    }

    fn put(&mut self, prefix: &str, key: &str, old: Option<&Row>, new: &Row) {
        if prefix == PODS && (new.facts.field("spec.nodeName").is_none_or(str::is_empty) || old.is_some_and(|old| !node::may_differ(old, new))) {
            return;
        }
        if prefix == VOLUMES {
            let volume = node::volume(new);
            let mut graph = self.graph().write().unwrap_or_else(PoisonError::into_inner);
            match volume {
                Some(volume) => graph.put_volume(key.into(), volume),
                None => graph.remove_volume(key),
            }
            return;
        }
        let Some(source) = source(prefix, key) else { return };
        let (node, objects) = if prefix == PODS {
            let Some(pod) = decode::<node::Pod>(key, new) else { return };
            (pod.spec.node_name.clone(), pod.objects())
        } else {
            let Some(bound) = decode::<BoundToNode>(key, new) else { return };
            (bound.spec.node_name, Vec::new())
        };
        if !node.is_empty() {
            self.graph().write().unwrap_or_else(PoisonError::into_inner).tie(source, node, objects);
        }
    }

    fn remove(&mut self, prefix: &str, key: &str) {
        let mut graph = self.graph().write().unwrap_or_else(PoisonError::into_inner);
        if prefix == VOLUMES {
            graph.remove_volume(key);
        } else if let Some(source) = source(prefix, key) {
            graph.untie(&source);
        }
    }

    fn publish(&mut self) {}
}

fn source(prefix: &str, key: &str) -> Option<Object> {
    let kind = match prefix {
        PODS => Kind::Pod,
        ATTACHMENTS => Kind::VolumeAttachment,
        SLICES => Kind::ResourceSlice,
        CERTIFICATE_REQUESTS => Kind::PodCertificateRequest,
        _ => return None,
    };
    let (namespace, name) = split(key);
    Some(Object { kind, namespace, name })
}

#[derive(Deserialize)]
struct BoundToNode {
    #[serde(default)]
    spec: BoundSpec,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct BoundSpec {
    node_name: Str,
}
