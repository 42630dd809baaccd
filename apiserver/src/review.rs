//! Creates that store nothing: the object comes back with its status filled in. Reviews of tokens and of access, and TokenRequests.

use crate::Error;
use crate::api::Api;
use crate::auth::{review, token_request};
use crate::media;
use crate::options::Options;
use crate::request::{Target, User};
use crate::serve::Found;
use crate::stage::decode::{self, Expected};
use apiserver_machinery::tree::Struct;
use http::HeaderMap;

/// The object with its status, and warnings for the client.
pub type Answer = (Struct, Vec<String>);

/// The answered object; `None` where the request is no such create.
pub fn answer(
    api: &Api,
    found: &Found,
    user: &User,
    target: &Target,
    options: &Options,
    headers: &HeaderMap,
    bytes: &[u8],
) -> Result<Option<Answer>, Error> {
    let resource = &found.resource;
    if target.subresource == "token" {
        return token(api, user, target, options, headers, bytes).map(Some);
    }
    if !resource.rules.nameless || !target.subresource.is_empty() {
        return Ok(None);
    }
    let shape = &found.served().shape;
    let expected = Expected { shape, group: &resource.group, version: &found.served().version, kind: &resource.kind };
    let mut object = decode::object(&expected, media::content(headers, true)?, bytes, options.field_validation, &mut Vec::new())?;
    name(&mut object, &expected);
    match review::answer(&api.auth, &resource.kind, user, &target.namespace, &mut object, &shape.schema) {
        Some(answered) => answered.map(|()| Some((object, Vec::new()))),
        None => Ok(None),
    }
}

fn name(object: &mut Struct, expected: &Expected<'_>) {
    object.put(&expected.shape.schema, "kind", expected.kind);
    object.put(&expected.shape.schema, "apiVersion", decode::api_version_of(expected.group, expected.version));
}

/// `serviceaccounts/NAME/token`.
fn token(api: &Api, user: &User, target: &Target, options: &Options, headers: &HeaderMap, bytes: &[u8]) -> Result<Answer, Error> {
    let shape = decode::builtin_shape("authentication.k8s.io", "v1", "TokenRequest")?;
    let expected = Expected { shape: &shape, group: "authentication.k8s.io", version: "v1", kind: "TokenRequest" };
    let mut request = decode::object(&expected, media::content(headers, true)?, bytes, options.field_validation, &mut Vec::new())?;
    name(&mut request, &expected);
    let warnings = token_request::answer(&api.auth, user, &target.namespace, &target.name, &mut request, &shape.schema)?;
    Ok((request, warnings))
}
