//! CustomResourceDefinitions: which names they get, when they are served, and what becomes of their objects when they go.
//!
//! One task follows the definitions and publishes a new catalog for each change. It writes their status through the write path, as everybody.

mod definition;
mod row;
mod status;

use crate::Error;
use crate::api::Api;
use crate::convert;
use crate::own;
use crate::request::Target;
use crate::resource::{Resource, Value};
use crate::serve::Found;
use crate::write::{self, Action, DeleteOptions};
use apiserver_machinery::Str;
use apiserver_machinery::tree::Struct;
use apiserver_store::{Range, Row, Snapshot};
use definition::Definition;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub const PREFIX: &str = "/registry/apiextensions.k8s.io/customresourcedefinitions/";
pub const CLEANUP_FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";
/// How often the objects of a definition that is going are looked at, while finalizers keep some of them.
const CLEANUP_INTERVAL_MS: u64 = 200;
const RETRY_MS: u64 = 500;

/// Takes in the definitions that are established.
pub fn load(api: &Api) {
    publish(api, &definitions(&api.store.snapshot()));
}

/// Follows the definitions until the process ends.
pub async fn run(api: Arc<Api>) {
    loop {
        let snapshot = api.store.snapshot();
        let mut definitions = definitions(&snapshot);
        publish(&api, &definitions);
        for name in definitions.keys().cloned().collect::<Vec<_>>() {
            reconcile(&api, &name, &mut definitions).await;
        }
        let Ok(mut watch) = api.store.watch(Range::prefix(PREFIX), snapshot.revision()) else {
            tokio::time::sleep(Duration::from_millis(RETRY_MS)).await;
            continue;
        };
        while let Ok(change) = watch.next().await {
            let Some(name) = change.key.as_bytes().strip_prefix(PREFIX.as_bytes()).and_then(|name| std::str::from_utf8(name).ok()) else { continue };
            match change.new.as_deref().and_then(Definition::of) {
                Some(definition) => definitions.insert(name.into(), definition),
                None => definitions.remove(name),
            };
            publish(&api, &definitions);
            reconcile(&api, name, &mut definitions).await;
            if change.new.is_none() {
                // Its names are free again: whoever waits for them may have them.
                for other in definitions.keys().cloned().collect::<Vec<_>>() {
                    reconcile(&api, &other, &mut definitions).await;
                }
            }
        }
    }
}

fn definitions(snapshot: &Snapshot) -> BTreeMap<String, Definition> {
    let rows = snapshot.range(&Range::prefix(PREFIX));
    rows.filter_map(|(_, row)| Definition::of(row)).map(|definition| (definition.metadata.name.clone(), definition)).collect()
}

/// A catalog with the definitions that are established.
fn publish(api: &Api, definitions: &BTreeMap<String, Definition>) {
    let catalog = api.catalog();
    let rows = definitions.values().filter(|definition| definition.is_established()).filter_map(|definition| {
        // What has not changed is not built anew.
        let known = catalog.resource(&definition.spec.group, &definition.spec.names.plural).filter(|known| known.custom);
        if let Some(known) = known.filter(|known| known.storage.generation == row::generation(definition)) {
            return Some(known.clone());
        }
        match row::resource(definition) {
            Ok(resource) => Some(Arc::new(resource)),
            Err(error) => {
                tracing::warn!(definition = definition.metadata.name, %error, "custom resource is not served");
                None
            }
        }
    });
    let next = catalog.with_customs(rows.collect::<Vec<_>>());
    api.publish(next);
}

/// Brings a definition's status in step with its names, and cleans up after one that goes.
async fn reconcile(api: &Arc<Api>, name: &str, definitions: &mut BTreeMap<String, Definition>) {
    let Some(definition) = definitions.get(name) else { return };
    if definition.metadata.deletion_timestamp.is_some() {
        if definition.metadata.finalizers.iter().any(|finalizer| finalizer == CLEANUP_FINALIZER) {
            let (api, definition) = (api.clone(), definition.clone());
            api.tasks.clone().spawn("custom-resource-cleanup", async move { cleanup(&api, &definition).await });
        }
        return;
    }
    let Some(status) = status::wanted(definition, definitions.values(), api.clock.now()) else { return };
    if let Err(error) = write_status(api, name, status).await {
        tracing::warn!(definition = name, %error, "status of a custom resource definition was not written");
    }
}

/// Our own writes: a row read, changed and put back, again if somebody else was faster.
async fn change(api: &Arc<Api>, name: &str, subresource: &str, edit: impl Fn(&mut Struct, &Resource)) -> Result<(), Error> {
    let target = Target {
        group: "apiextensions.k8s.io".into(),
        version: "v1".into(),
        resource: "customresourcedefinitions".into(),
        name: name.into(),
        subresource: subresource.into(),
        ..Target::default()
    };
    let found = api.find(&target)?;
    loop {
        let row = crate::read::row(&api.store.snapshot(), &found.resource, &target)?;
        let mut tree = convert::stored(&found.resource, &row)?;
        edit(&mut tree, &found.resource);
        let intent = own::intent(api, found.clone(), target.clone(), Action::Update(tree));
        match write::run(api, &intent).await {
            Err(Error::Conflict { .. }) => {}
            Err(error) => return Err(error),
            Ok(_) => return Ok(()),
        }
    }
}

async fn write_status(api: &Arc<Api>, name: &str, status: serde_json::Value) -> Result<(), Error> {
    let bytes = serde_json::to_vec(&status).map_err(|error| Error::Internal(error.to_string()))?;
    let value = apiserver_machinery::json::to_any(&bytes).map_err(|error| Error::Internal(error.to_string()))?;
    change(api, name, "status", |tree, resource| status::put(tree, &resource.storage.shape, &value)).await
}

/// Deletes all objects of a definition, waits until they are gone, and lets the definition go.
async fn cleanup(api: &Arc<Api>, definition: &Definition) {
    let name = definition.metadata.name.as_str();
    let target = Target {
        group: definition.spec.group.as_str().into(),
        version: definition.storage_version().into(),
        resource: definition.spec.names.plural.as_str().into(),
        ..Target::default()
    };
    if let Ok(resource) = row::resource(definition) {
        let found = Found { version: 0, resource: Arc::new(resource) };
        let range = Range::prefix(found.resource.prefix.as_str());
        loop {
            let rows: Vec<Arc<Row>> = api.store.snapshot().range(&range).map(|(_, row)| row.clone()).collect();
            if rows.is_empty() {
                break;
            }
            for row in rows.iter().filter(|row| !row.facts.deleting) {
                let name = Str::from(row.facts.field("metadata.name").unwrap_or_default());
                let target = Target { name, namespace: row.facts.namespace.clone(), ..target.clone() };
                let intent = own::intent(api, found.clone(), target, Action::Delete(DeleteOptions::default()));
                if let Err(error) = write::run(api, &intent).await {
                    tracing::debug!(%error, "deleting an object of a definition that goes");
                }
            }
            tokio::time::sleep(Duration::from_millis(CLEANUP_INTERVAL_MS)).await;
        }
    }
    let released = change(api, name, "", |tree, resource| {
        let schema = &resource.storage.shape.schema;
        let left: Vec<Value> =
            tree.list_at(schema, "metadata.finalizers").iter().filter(|item| item.as_str() != Some(CLEANUP_FINALIZER)).cloned().collect();
        if left.is_empty() {
            tree.take(schema, "metadata.finalizers");
        } else {
            tree.put(schema, "metadata.finalizers", Value::List(left));
        }
    })
    .await;
    match released {
        Ok(()) | Err(Error::NotFound { .. }) => {}
        Err(error) => tracing::warn!(definition = name, %error, "a custom resource definition could not be let go"),
    }
}
