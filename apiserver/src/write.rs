//! THE write path, top to bottom: every mutating verb, kind and subresource passes here. A stage cannot be skipped, because the next one
//! takes what it gives.

use crate::Error;
use crate::api::Api;
use crate::body::{self, Body, Incoming};
use crate::media::{Accept, PatchType};
use crate::options::Options;
use crate::request::{Target, User, Verb};
use crate::resource::Resource;
use crate::serve::{Authorized, Found};
use crate::stage::{Extra, admit, commit, decode, prepare, propose, respond};
use crate::{collection, review};
use apiserver_machinery::Str;
use apiserver_machinery::tree::{Struct, Value};
use apiserver_store::{Key, Row, Snapshot};
use bytes::Bytes;
use http::Response;
use std::sync::Arc;

/// How often a write that lost a race is tried again, where the client did not say which revision it wants to change.
const WRITE_TRIES_MAX: usize = 10;

/// What a client wants to happen.
pub struct Intent {
    pub found: Found,
    pub target: Target,
    pub user: Arc<User>,
    pub options: Options,
    pub accept: Accept,
    pub action: Action,
    /// Who the changed fields belong to afterwards.
    pub manager: Str,
    pub now: jiff::Timestamp,
}

/// Trees are in the request's version.
pub enum Action {
    Create(Struct),
    Update(Struct),
    Patch {
        kind: PatchType,
        body: Bytes,
    },
    /// The configuration of a server-side apply, as it came.
    Apply(Value),
    Delete(DeleteOptions),
    /// A new Scale for the object (`scale`), whole or as a patch of it.
    Scale(ScaleChange),
    /// `pods/binding` and `bindings`.
    Bind(Struct),
    /// `pods/eviction`.
    Evict(DeleteOptions),
}

pub enum ScaleChange {
    Update(Struct),
    Patch { kind: PatchType, body: Bytes },
}

/// metav1.DeleteOptions, from body and query.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    pub grace_period_seconds: Option<i64>,
    pub uid: Option<Str>,
    pub resource_version: Option<Str>,
    pub propagation: Option<Propagation>,
    pub dry_run: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    Orphan,
    Background,
    Foreground,
}

/// The object before the write, as it lies in the store and as a tree of the storage version.
pub struct Old {
    pub row: Arc<Row>,
    pub tree: Struct,
}

/// A change that is not checked yet. Trees are in the storage version.
pub struct Proposed {
    pub snapshot: Snapshot,
    pub key: Key,
    /// The object's, which the server may have made up.
    pub name: Str,
    pub old: Option<Old>,
    pub outcome: Outcome,
    pub warnings: Vec<String>,
    /// Parts of the transaction beside the object.
    pub extra: Extra,
}

/// What the object becomes.
pub enum Outcome {
    Put(Struct),
    /// Taken away at once.
    Remove,
    /// Nothing to do: a deletion that is under way already.
    Unchanged,
}

/// After admission's mutating plugins.
pub struct Mutated(pub Proposed);
/// After the kind's own rules.
pub struct Prepared(pub Proposed);
/// After all checks: the only thing that can be committed.
pub struct Admitted(pub Proposed);

/// What was written, or would have been.
pub struct Written {
    /// The object as it is now, or as it was when it was removed.
    pub object: Object,
    pub created: bool,
    pub removed: bool,
    pub warnings: Vec<String>,
}

pub enum Object {
    Row(Arc<Row>),
    /// A row that is gone, shown with the revision of its deletion.
    Gone(Arc<Row>, apiserver_store::Revision),
    /// Of a dry run, in the storage version.
    Tree(Struct),
}

/// Answers a mutating request.
pub async fn write(
    api: &Arc<Api>,
    found: &Found,
    request: Authorized,
    body: Incoming,
    options: Options,
    accept: Accept,
) -> Result<Response<Body>, Error> {
    if request.verb == Verb::DeleteCollection {
        return collection::delete(api, found, request, body, options, accept).await;
    }
    let Authorized { parts, verb, target, user } = request;
    let bytes = body::read(body).await?;
    if let Some((answer, warnings)) = review::answer(api, found, &user, &target, &options, &parts.headers, &bytes)? {
        let mut response = respond::tree(http::StatusCode::CREATED, &answer, accept, &options)?;
        respond::warn(response.headers_mut(), &warnings);
        return Ok(response);
    }
    let (intent, warnings) = decode::decode(api, found, verb, target, user, options, accept, &parts.headers, bytes)?;
    let mut written = run(api, &intent).await?;
    written.warnings.splice(0..0, warnings);
    respond::written(&intent, written)
}

/// Carries one intent out. Also the way in for writes of the server's own.
pub async fn run(api: &Arc<Api>, intent: &Intent) -> Result<Written, Error> {
    let _turn = admit::ready(api, intent).await;
    let mut tries = 0;
    loop {
        let proposed = propose::propose(api, intent).await?;
        let mutated = admit::mutate(api, intent, proposed)?;
        let prepared = prepare::prepare(intent, mutated)?;
        let admitted = admit::validate(api, intent, prepared)?;
        tries += 1;
        match commit::commit(api, intent, admitted).await {
            Err(commit::Failure::Raced) if tries < WRITE_TRIES_MAX => {}
            Err(commit::Failure::Raced) => return Err(conflict(&intent.found.resource, &intent.target.name)),
            Err(commit::Failure::Error(error)) => return Err(error),
            Ok(written) => return Ok(written),
        }
    }
}

/// The conflict that a client gets whose object has changed under it.
pub fn conflict(resource: &Resource, name: &str) -> Error {
    Error::Conflict {
        group: resource.group.clone(),
        resource: resource.plural.clone(),
        name: name.into(),
        message: "the object has been modified; please apply your changes to the latest version and try again".into(),
        causes: Vec::new(),
    }
}

impl Intent {
    pub fn dry_run(&self) -> bool {
        self.options.dry_run || matches!(&self.action, Action::Delete(options) | Action::Evict(options) if options.dry_run)
    }
}
