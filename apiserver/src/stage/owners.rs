//! Who owns which field after a write: managedFields, in the version that the request used.

use crate::Error;
use crate::meta;
use crate::serve::Found;
use crate::stage::decode;
use crate::status::Cause;
use crate::write::Intent;
use apiserver_machinery::apply::{self, Converted, Request, Set, path_text};
use apiserver_machinery::tree::{Struct, Value};
use std::sync::LazyLock;

/// The fields that writes through an endpoint never own, because it does not change them.
static OF_OBJECT: LazyLock<Set> = LazyLock::new(|| Set::of_fields(&["status"]));
static OF_STATUS: LazyLock<Set> = LazyLock::new(|| Set::of_fields(&["spec"]));
static NONE: LazyLock<Set> = LazyLock::new(Set::default);

fn reset(intent: &Intent) -> &'static Set {
    match intent.target.subresource.as_str() {
        "" if intent.found.resource.subresource("status").is_some() => &OF_OBJECT,
        "status" => &OF_STATUS,
        _ => &NONE,
    }
}

/// What a write is to the owners of fields, for the time of one call.
fn with_request<T>(intent: &Intent, run: impl FnOnce(&Request<'_>) -> T) -> T {
    let found = &intent.found;
    let convert = |object: &Struct, from: &str, to: &str| converted(found, object, from, to);
    run(&Request {
        shape: &found.served().shape,
        api_version: &found.api_version(),
        manager: &intent.manager,
        subresource: &intent.target.subresource,
        now: &meta::time_text(intent.now),
        reset: reset(intent),
        convert: &convert,
    })
}

/// An object from one served version to another; `None` where there is no such version any more.
fn converted(found: &Found, object: &Struct, from: &str, to: &str) -> Result<Option<Converted>, String> {
    let resource = &found.resource;
    let version = |api_version: &str| {
        let number = resource.versions.iter().position(|served| decode::api_version_of(&resource.group, &served.version) == api_version)?;
        Some(Found { resource: resource.clone(), version: number })
    };
    let (Some(from), Some(to)) = (version(from), version(to)) else { return Ok(None) };
    let object = from.to_storage(object.clone()).and_then(|stored| to.from_storage(stored)).map_err(|error| error.to_string())?;
    Ok(Some(Converted { shape: to.served().shape.clone(), object }))
}

/// After a create, update or patch. Both trees are in the storage version.
pub fn update(intent: &Intent, old: Option<&Struct>, new: &mut Struct) -> Result<(), Error> {
    let found = &intent.found;
    if found.served().is_storage() {
        with_request(intent, |request| apply::update(request, old, new));
        return Ok(());
    }
    let live = old.map(|old| found.from_storage(old.clone())).transpose()?;
    let mut served = found.from_storage(new.clone())?;
    with_request(intent, |request| apply::update(request, live.as_ref(), &mut served));
    *new = found.to_storage(served)?;
    Ok(())
}

/// Server-side apply of a configuration, to `old` in the storage version; the result is in that version too.
pub fn apply(intent: &Intent, old: Option<&Struct>, patch: &Value) -> Result<Struct, Error> {
    let found = &intent.found;
    let live = old.map(|old| found.from_storage(old.clone())).transpose()?;
    let force = intent.options.force.unwrap_or(false);
    let applied = with_request(intent, |request| apply::apply(request, &found.resource.kind, live.as_ref(), patch, force));
    found.to_storage(applied.map_err(apply_error)?)
}

fn apply_error(error: apply::Error) -> Error {
    let message = error.to_string();
    match error {
        apply::Error::BadRequest(_) => Error::BadRequest(message.into()),
        apply::Error::Conflict(conflicts) => {
            let cause = |conflict: &apply::Conflict| Cause {
                reason: "FieldManagerConflict".into(),
                message: conflict.message(),
                field: path_text(&conflict.path),
            };
            Error::ApplyConflict { message, causes: conflicts.iter().map(cause).collect() }
        }
        apply::Error::Internal(_) => Error::Unclassified(message),
    }
}
