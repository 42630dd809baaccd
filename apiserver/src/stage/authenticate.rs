//! Who makes the request: from headers and certificate, and then by impersonation.

use crate::Error;
use crate::api::Api;
use crate::auth::Attributes;
use crate::request::User;
use crate::serve::{Peer, Received};
use crate::stage::authorize;

pub fn authenticate(api: &Api, peer: &Peer, received: &Received) -> Result<User, Error> {
    let headers = &received.parts.headers;
    let user = api.auth.authenticate(headers, &peer.identity)?;
    let fields = authorize::fields(received.verb, received.parts.uri.query());
    let request = Attributes::of(&user, received.verb, &received.target, &fields);
    match api.auth.impersonate(headers, &request)? {
        Some(other) => Ok(other),
        None => Ok(User::clone(&user)),
    }
}
