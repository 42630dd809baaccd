//! The API server's own reads and writes: through the same paths as everybody's, as the user that RBAC never stops.

use crate::api::Api;
use crate::auth;
use crate::bootstrap::{Place, Writer};
use crate::media::{Accept, Form, Format};
use crate::options::Options;
use crate::request::{Target, User};
use crate::serve::Found;
use crate::stage::decode::{self, Expected};
use crate::write::{self, Action, DeleteOptions, Intent};
use crate::{Error, read};
use apiserver_machinery::tree::Struct;
use serde_json::Value;
use std::sync::Arc;

/// Name and group of the server itself.
pub const USER: &str = "system:apiserver";
pub const MANAGER: &str = "kube-apiserver";

/// An intent of the API server itself.
pub fn intent(api: &Api, found: Found, target: Target, action: Action) -> Intent {
    let user = Arc::new(User { name: USER.into(), groups: vec![auth::MASTERS.into()], ..User::default() });
    Intent {
        found,
        target,
        user,
        options: Options::default(),
        accept: Accept { format: Format::Json, form: Form::Whole, stream: false },
        action,
        manager: MANAGER.into(),
        now: api.clock.now(),
    }
}

/// Writes as the server itself, with objects as JSON: off the request path.
pub struct Own<'a>(pub &'a Arc<Api>);

impl Own<'_> {
    fn target(place: &Place) -> Target {
        Target {
            group: place.group.into(),
            version: place.version.into(),
            resource: place.plural.into(),
            namespace: place.namespace.clone(),
            name: place.name.clone(),
            subresource: place.subresource.into(),
            ..Target::default()
        }
    }

    async fn run(&self, place: &Place, action: impl FnOnce(&Found) -> Result<Action, Error> + Send) -> Result<(), Error> {
        let target = Self::target(place);
        let found = self.0.find(&target)?;
        let action = action(&found)?;
        write::run(self.0, &intent(self.0, found, target, action)).await.map(drop)
    }
}

/// An object of ours, decoded strictly: what it says wrongly is our fault.
fn tree(found: &Found, object: &Value) -> Result<Struct, Error> {
    let served = found.served();
    let expected = Expected { shape: &served.shape, group: &found.resource.group, version: &served.version, kind: &found.resource.kind };
    let bytes = serde_json::to_vec(object).map_err(|error| Error::Internal(error.to_string()))?;
    decode::object(&expected, Format::Json, &bytes, crate::options::FieldValidation::Strict, &mut Vec::new())
}

impl Writer for Own<'_> {
    fn read(&self, place: &Place) -> Result<Option<Value>, Error> {
        let target = Self::target(place);
        let found = self.0.find(&target)?;
        match read::row(&self.0.store.snapshot(), &found.resource, &target) {
            Ok(row) => serde_json::from_slice(row.bytes()).map(Some).map_err(|error| Error::Internal(error.to_string())),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn create(&self, place: &Place, object: Value) -> Result<(), Error> {
        match self.run(place, |found| tree(found, &object).map(Action::Create)).await {
            Err(Error::AlreadyExists { .. }) => Ok(()),
            done => done,
        }
    }

    async fn update(&self, place: &Place, object: Value) -> Result<(), Error> {
        self.run(place, |found| tree(found, &object).map(Action::Update)).await
    }

    async fn delete(&self, place: &Place) -> Result<(), Error> {
        match self.run(place, |_| Ok(Action::Delete(DeleteOptions::default()))).await {
            Err(Error::NotFound { .. }) => Ok(()),
            done => done,
        }
    }
}
