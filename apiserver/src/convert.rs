//! Between the version at rest and those that clients use.

use crate::Error;
use crate::resource::{Convert, Resource, Served};
use crate::serve::Found;
use apiserver_machinery::codec::Report;
use apiserver_machinery::json;
use apiserver_machinery::schema::Shape;
use apiserver_machinery::tree::Struct;
use apiserver_store::Row;

/// The object of a row, in the storage version.
pub fn stored(resource: &Resource, row: &Row) -> Result<Struct, Error> {
    let mut tree = json::decode(&resource.storage.shape, row.bytes(), &mut Report::ignore())
        .map_err(|error| Error::Internal(format!("a stored {} cannot be decoded: {error}", resource.kind)))?;
    if resource.custom {
        (resource.rules.defaults)(&mut tree, &resource.storage.shape);
    }
    Ok(tree)
}

impl Found {
    /// From the storage version to the one that was asked for.
    pub fn from_storage(&self, tree: Struct) -> Result<Struct, Error> {
        let served = self.served();
        match served.convert {
            Convert::Same => Ok(tree),
            Convert::Rename => {
                let mut tree = renamed(&tree, &self.resource.storage.shape, &served.shape)?;
                name(&mut tree, &served.shape, &self.api_version(), &self.resource.kind);
                Ok(tree)
            }
            Convert::Functions { from_storage, .. } => from_storage(&tree, &served.shape),
        }
    }

    /// From the version of the request to the storage version.
    pub fn to_storage(&self, tree: Struct) -> Result<Struct, Error> {
        let (served, storage) = (self.served(), &self.resource.storage);
        let mut tree = match served.convert {
            Convert::Same => tree,
            Convert::Rename => renamed(&tree, &served.shape, &storage.shape)?,
            Convert::Functions { to_storage, .. } => to_storage(&tree, &storage.shape)?,
        };
        name(&mut tree, &storage.shape, &storage.api_version, &storage.kind);
        Ok(tree)
    }

    /// `apps/v1`, as the request says.
    pub fn api_version(&self) -> apiserver_machinery::Str {
        crate::stage::decode::api_version_of(&self.resource.group, &self.served().version)
    }

    /// Whether rows of this resource can be sent as they lie.
    pub fn is_as_stored(&self, row: &Row) -> bool {
        matches!(self.served().convert, Convert::Same) && row.object().is_some_and(|object| object.schema() == self.resource.storage.generation)
    }
}

impl Served {
    pub fn is_storage(&self) -> bool {
        matches!(self.convert, Convert::Same)
    }
}

/// The same fields by name under another schema; what the other does not know is dropped.
fn renamed(tree: &Struct, from: &Shape, to: &Shape) -> Result<Struct, Error> {
    let mut bytes = Vec::new();
    json::encode(&from.schema, tree, &mut bytes);
    json::decode(to, &bytes, &mut Report::ignore()).map_err(|error| Error::Internal(format!("conversion failed: {error}")))
}

fn name(tree: &mut Struct, shape: &Shape, api_version: &str, kind: &str) {
    tree.put(&shape.schema, "apiVersion", api_version);
    tree.put(&shape.schema, "kind", kind);
}
