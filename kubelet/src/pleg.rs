//! The Pod lifecycle event generator: it lists what the runtime has, and tells which Pods look different from the last time.
//!
//! Runtimes that send events are listened to, and listed less often; an older one is listed every second.

use crate::shared::Shared;
use crate::view;
use futures::StreamExt;
use kubelet_cri::{Kind, v1};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

const RELIST: Duration = Duration::from_secs(1);
const RELIST_WITH_EVENTS: Duration = Duration::from_secs(10);
/// After the runtime's events broke off, how long until they are asked for again.
const EVENTS_AGAIN: Duration = Duration::from_secs(5);

/// What is told: Pods that changed, and all Pods that the runtime has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub changed: BTreeSet<String>,
    /// Uid, and the namespace and name that the runtime was told.
    pub all: BTreeMap<String, (String, String)>,
}

/// When the runtime last answered, in seconds since 1970; zero before it ever did.
#[derive(Clone, Debug, Default)]
pub struct LastSeen(Arc<AtomicI64>);

impl LastSeen {
    fn mark(&self) {
        self.0.store(crate::shared::now().as_second(), Ordering::Relaxed);
    }

    /// Seconds since the runtime answered.
    pub fn age(&self) -> Option<i64> {
        let last = self.0.load(Ordering::Relaxed);
        (last != 0).then(|| crate::shared::now().as_second() - last)
    }
}

/// By uid: what can change, by id.
type Picture = BTreeMap<String, BTreeMap<String, i32>>;

fn changes(old: &Picture, new: &Picture) -> BTreeSet<String> {
    let uids: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    uids.into_iter().filter(|uid| old.get(*uid) != new.get(*uid)).cloned().collect()
}

async fn list(shared: &Shared) -> Result<(Picture, BTreeMap<String, (String, String)>), kubelet_cri::Error> {
    let sandboxes = shared.runtime.list_pod_sandboxes(BTreeMap::new()).await?;
    let containers = shared.runtime.list_containers(BTreeMap::new()).await?;
    let (mut picture, mut all) = (Picture::new(), BTreeMap::new());
    // Ids are unique over both kinds, and so are the states within one id.
    let sandboxes = sandboxes.iter().map(|sandbox| (&sandbox.labels, &sandbox.id, sandbox.state));
    let containers = containers.iter().map(|container| (&container.labels, &container.id, container.state));
    for (labels, id, state) in sandboxes.chain(containers) {
        let Some(uid) = labels.get(view::POD_UID) else { continue };
        let label = |key: &str| labels.get(key).cloned().unwrap_or_default();
        picture.entry(uid.clone()).or_default().insert(id.clone(), state);
        all.insert(uid.clone(), (label(view::POD_NAMESPACE), label(view::POD_NAME)));
    }
    Ok((picture, all))
}

/// Tells what changes until nobody listens.
pub async fn run(shared: Arc<Shared>, last_seen: LastSeen, out: mpsc::Sender<Seen>) {
    let mut picture = Picture::new();
    let (events_out, mut events) = mpsc::channel(1);
    let follower = follow_events(shared.clone(), events_out);
    let relist = async {
        let mut pause = RELIST;
        loop {
            match list(&shared).await {
                Ok((fresh, all)) => {
                    last_seen.mark();
                    let changed = changes(&picture, &fresh);
                    picture = fresh;
                    if out.send(Seen { changed, all }).await.is_err() {
                        return;
                    }
                }
                Err(error) => tracing::warn!(%error, "the runtime cannot be listed"),
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                Some(live) = events.recv() => pause = if live { RELIST_WITH_EVENTS } else { RELIST },
            }
        }
    };
    tokio::join!(follower, relist);
}

/// Says `true` for every event, `false` when there are no more.
async fn follow_events(shared: Arc<Shared>, out: mpsc::Sender<bool>) {
    loop {
        match shared.runtime.events().await {
            Ok(mut stream) => {
                while let Some(Ok(event)) = stream.next().await {
                    tracing::trace!(id = event.container_id, kind = ?v1::ContainerEventType::try_from(event.container_event_type), "a runtime event");
                    // One that waits to be looked at is as good as many.
                    if let Err(mpsc::error::TrySendError::Closed(_)) = out.try_send(true) {
                        return;
                    }
                }
            }
            Err(error) if error.kind() == Kind::Unimplemented => return,
            Err(error) => tracing::debug!(%error, "the runtime's events broke off"),
        }
        if out.send(false).await.is_err() {
            return;
        }
        tokio::time::sleep(EVENTS_AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_has_changed_when_anything_of_it_has() {
        let picture = |parts: &[(&str, &str, i32)]| {
            let mut picture = Picture::new();
            for (uid, id, state) in parts {
                picture.entry((*uid).to_owned()).or_default().insert((*id).to_owned(), *state);
            }
            picture
        };
        let old = picture(&[("a", "1", 1), ("b", "2", 1), ("c", "3", 1)]);
        let new = picture(&[("a", "1", 1), ("b", "2", 2), ("d", "4", 0)]);
        assert_eq!(changes(&old, &new).into_iter().collect::<Vec<_>>(), ["b", "c", "d"]);
        assert!(changes(&new, &new).is_empty());
    }
}
