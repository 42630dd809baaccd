//! From a request to its path: who asks, whether they may, and which of the paths answers.

use crate::api::Api;
use crate::body::{Body, Incoming};
use crate::media::{self, Accept};
use crate::options::Options;
use crate::request::{self, Target, User, Verb};
use crate::resource::{Resource, Served};
use crate::stage::respond;
use crate::stage::{authenticate, authorize, throttle};
use crate::{Error, connect, nonresource, read, watch, write};
use http::request::Parts;
use http::{Request, Response};
use std::net::SocketAddr;
use std::sync::Arc;

/// The other end of a connection.
#[derive(Debug, Default)]
pub struct Peer {
    pub identity: crate::auth::PeerIdentity,
    pub remote: Option<SocketAddr>,
}

/// A request as it came, with verb and target read off its head.
pub struct Received {
    pub parts: Parts,
    pub body: Incoming,
    pub verb: Verb,
    pub target: Target,
}

/// The head of a request by somebody who may make it.
pub struct Authorized {
    pub parts: Parts,
    pub verb: Verb,
    pub target: Target,
    pub user: Arc<User>,
}

/// The resource and version that a target names.
#[derive(Clone)]
pub struct Found {
    pub resource: Arc<Resource>,
    pub version: usize,
}

impl Found {
    pub fn served(&self) -> &Served {
        &self.resource.versions[self.version]
    }
}

/// Answers one request. Every error becomes a Status here.
pub async fn handle(api: Arc<Api>, peer: Arc<Peer>, mut request: Request<Incoming>) -> Response<Body> {
    let started = api.clock.instant();
    let upgrade = hyper::upgrade::on(&mut request);
    let (mut parts, body) = request.into_parts();
    parts.extensions.insert(connect::Upgrade(upgrade));
    let (verb, target) = request::resolve(&parts.method, &crate::options::decode_path(parts.uri.path()), parts.uri.query());
    let metered = api.metrics.begin(verb, &target);
    let headers = parts.headers.clone();
    let response = match answer(&api, &peer, Received { parts, body, verb, target }).await {
        Ok(response) => response,
        Err(error) => respond::error(&headers, &error),
    };
    metered.end(response.status(), started.elapsed());
    response
}

async fn answer(api: &Arc<Api>, peer: &Peer, received: Received) -> Result<Response<Body>, Error> {
    let user = authenticate::authenticate(api, peer, &received)?;
    let seat = throttle::throttle(api, &user, received.verb, received.target.is_resource()).await?;
    authorize::authorize(api, &user, received.verb, &received.target, received.parts.uri.query())?;
    let Received { parts, body, verb, target } = received;
    let request = Authorized { parts, verb, target, user };
    if !request.target.is_resource() {
        return nonresource::answer(api, request).await;
    }
    let found = api.find(&request.target)?;
    if !allows(&found.resource, &request.target, request.verb) {
        return Err(Error::MethodNotAllowed);
    }
    if connect::is_connect(&found, &request.target.subresource) {
        drop(seat);
        return connect::answer(api, &found, request, body).await;
    }
    let options = Options::parse(options_kind(request.verb), request.parts.uri.query())?;
    let accept = accept(&found, &request)?;
    let response = match request.verb {
        Verb::Get => read::get(api, &found, &request, &options, accept).await,
        Verb::List => read::list(api, &found, &request, options, accept).await,
        Verb::Watch => {
            let response = watch::watch(api, &found, &request, options, accept).await;
            drop(seat);
            return response;
        }
        _ => write::write(api, &found, request, body, options, accept).await,
    };
    drop(seat);
    response
}

/// The options kind that a verb takes.
fn options_kind(verb: Verb) -> &'static str {
    match verb {
        Verb::Get => "GetOptions",
        Verb::Create => "CreateOptions",
        Verb::Update => "UpdateOptions",
        Verb::Patch => "PatchOptions",
        Verb::Delete | Verb::DeleteCollection => "DeleteOptions",
        _ => "ListOptions",
    }
}

/// What the client accepts of this resource.
fn accept(found: &Found, request: &Authorized) -> Result<Accept, Error> {
    // Reviews and the like have no name and no metadata to make a table of.
    let transforms = !found.resource.rules.nameless;
    media::accept(&request.parts.headers, media::Offer { protobuf: !found.resource.custom, transforms })
}

/// Whether a verb is one of the resource's or the subresource's own.
fn allows(resource: &Resource, target: &Target, verb: Verb) -> bool {
    if target.subresource.is_empty() {
        // An object is created in its collection, and changed at its own path.
        let at_object = !target.name.is_empty();
        let fits = match verb {
            Verb::Create => !at_object,
            Verb::Update | Verb::Patch => at_object,
            _ => true,
        };
        return fits && resource.verbs.contains(&verb);
    }
    resource.subresource(&target.subresource).is_some_and(|subresource| subresource.verbs.contains(&verb))
}
