//! Who makes the request: from headers and certificate, and then by impersonation.

use crate::Error;
use crate::api::Api;
use crate::auth::Attributes;
use crate::request::User;
use crate::serve::{Peer, Received};
use crate::stage::authorize;
use std::sync::Arc;

pub fn authenticate(api: &Api, peer: &Peer, received: &Received) -> Result<Arc<User>, Error> {
    let headers = &received.parts.headers;
    let user = api.auth.authenticate(headers, &peer.identity)?;
    let fields = authorize::fields(received.verb, received.parts.uri.query());
    let request = Attributes::of(&user, received.verb, &received.target, &fields);
    let other = api.auth.impersonate(headers, &request)?;
    Ok(other.map_or(user, Arc::new))
}
