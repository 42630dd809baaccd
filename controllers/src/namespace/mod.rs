//! Empties namespaces that are being deleted, and lets them go.
//!
//! It asks the server for everything that a namespace may hold, because what caches do not know must go too. Pods go first, gracefully; while any is
//! left nothing else is touched, so that they keep what they need to end well.

mod delete;
mod plan;
#[cfg(test)]
mod tests;

use crate::registry::{Row, Setup};
use crate::routes::states;
use apiserver_client::{Client, Informer, ObjectKey};
use apiserver_component::Clock;
use controllers_runtime::Queue;
use k8s_openapi::api::core::v1::Namespace;
use std::time::Duration;

pub(crate) const ROW: Row = Row { name: "namespace-controller", start };

const WORKERS: usize = 10;
/// What was let in just before the deletion is given time to appear.
const DELETION_GRACE: Duration = Duration::from_secs(1);
/// Everything is looked at again so often.
const RESYNC: Duration = Duration::from_secs(5 * 60);

fn start(setup: &Setup) {
    let namespaces = setup.informers.of::<Namespace>();
    let client = setup.context(ROW.name, "namespace-controller").client;
    let queue: Queue<ObjectKey> = Queue::named(ROW.name);
    let mut events = namespaces.subscribe();
    let adding = queue.clone();
    setup.tasks.spawn(ROW.name, async move {
        while let Some(event) = events.next().await {
            for namespace in states(&event).filter(|namespace| namespace.metadata.deletion_timestamp.is_some()) {
                adding.add_after(ObjectKey::of(namespace), DELETION_GRACE);
            }
        }
    });
    let (resynced, resyncing) = (queue.clone(), namespaces.clone());
    setup.tasks.spawn(ROW.name, async move {
        loop {
            tokio::time::sleep(RESYNC).await;
            for namespace in resyncing.list().iter().filter(|namespace| namespace.metadata.deletion_timestamp.is_some()) {
                resynced.add(ObjectKey::of(&**namespace));
            }
        }
    });
    for _ in 0..WORKERS {
        setup.tasks.spawn(ROW.name, work(client.clone(), namespaces.clone(), queue.clone()));
    }
}

async fn work(client: Client, namespaces: Informer<Namespace>, queue: Queue<ObjectKey>) {
    namespaces.synced().await;
    loop {
        let key = queue.next().await;
        if namespaces.get("", &key.name).is_none() {
            queue.forget(&key);
            continue;
        }
        match delete::sync(&client, &key.name, Clock.now()).await {
            Ok(None) => queue.forget(&key),
            Ok(Some(estimate)) => {
                queue.forget(&key);
                // Half of what the Pods may take, as upstream waits, but not long: they usually end sooner.
                queue.add_after(key.clone(), plan::wait(estimate));
            }
            Err(error) => {
                let wait = queue.add_after_failure(key.clone());
                tracing::debug!(namespace = &*key.name, %error, ?wait, "emptying the namespace");
            }
        }
    }
}
