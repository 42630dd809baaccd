//! Records Events about objects, without ever making the recording component wait.
//!
//! ```text
//!   event() ──► bounded queue ──► Correlator: count, combine, drop ──► POST a new Event or PATCH the count of an old one
//! ```
//! A full queue drops events and counts them: Events are help for people, not state.

mod core;
mod series;

use crate::{Client, time};
use apiserver_component::{Clock, Tasks};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{self, ObjectReference};
use k8s_openapi::api::events::v1 as events_v1;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

/// Events waiting to be sent; more are dropped.
pub const QUEUE_EVENTS_MAX: usize = 1000;
/// Tries to write one Event before it is given up.
const TRIES_MAX: u32 = 12;
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// How often series that have ended are closed.
const SERIES_CHECK: Duration = Duration::from_secs(60);
/// Events of the scheduler that are written at a time: it binds hundreds of Pods a second.
const WRITES_AT_ONCE_MAX: usize = 32;
/// Kubernetes' limit for the text of an Event.
const NOTE_BYTES_MAX: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    Normal,
    Warning,
}

impl EventType {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// An Event as a component reports it.
#[derive(Clone, Debug, PartialEq)]
pub struct Emitted {
    pub regarding: ObjectReference,
    pub related: Option<ObjectReference>,
    pub kind: EventType,
    pub reason: String,
    /// What was being done (`Scheduling`); only events.k8s.io has it.
    pub action: String,
    pub message: String,
    pub at: Timestamp,
}

/// Where to report. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Emitted>,
    dropped: Arc<AtomicU64>,
}

impl Recorder {
    /// Core v1 Events of `component` on `host` (empty for none), as kubelet and controllers write them: equal ones are counted, similar ones combined.
    pub fn start_core(client: Client, tasks: &Tasks, component: &str, host: &str) -> Self {
        let (recorder, queue) = Self::queue();
        let correlator = core::Correlator::new(component, host);
        tasks.spawn("event-recorder", write_core(client, queue, correlator));
        recorder
    }

    /// events.k8s.io/v1 Events of `controller` (`default-scheduler`) in the process `instance`, as the scheduler writes them: equal ones form a series.
    pub fn start_series(client: Client, tasks: &Tasks, controller: &str, instance: &str) -> Self {
        let (recorder, queue) = Self::queue();
        let correlator = series::Correlator::new(controller, instance);
        tasks.spawn("event-recorder", write_series(client, queue, correlator));
        recorder
    }

    /// A recorder that writes nowhere, and what is reported to it: for tests.
    pub fn captured() -> (Self, mpsc::Receiver<Emitted>) {
        Self::queue()
    }

    fn queue() -> (Self, mpsc::Receiver<Emitted>) {
        let (queue, receiver) = mpsc::channel(QUEUE_EVENTS_MAX);
        (Self { queue, dropped: Arc::default() }, receiver)
    }

    pub fn event(&self, regarding: &ObjectReference, kind: EventType, reason: &str, message: impl Into<String>) {
        self.emit(Emitted {
            regarding: regarding.clone(),
            related: None,
            kind,
            reason: reason.into(),
            action: reason.into(),
            message: message.into(),
            at: Clock.now(),
        });
    }

    pub fn emit(&self, mut event: Emitted) {
        if event.message.len() > NOTE_BYTES_MAX {
            let end = (0..=NOTE_BYTES_MAX).rev().find(|end| event.message.is_char_boundary(*end)).unwrap_or(0);
            event.message.truncate(end);
        }
        if self.queue.try_send(event).is_err() {
            let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            if dropped.is_power_of_two() {
                tracing::warn!(dropped, "the event queue is full");
            }
        }
    }
}

/// How an Event is to be written.
#[derive(Debug, Clone, PartialEq)]
enum Write<E> {
    Create(E),
    /// Or `create`, where it has expired meanwhile.
    Patch {
        name: String,
        patch: Value,
        create: E,
    },
}

async fn write_core(client: Client, mut queue: mpsc::Receiver<Emitted>, mut correlator: core::Correlator) {
    while let Some(event) = queue.recv().await {
        if let Some(write) = correlator.observe(event, tokio::time::Instant::now()) {
            let namespace = namespace_of(write.event().metadata.namespace.as_deref());
            let api: Api<v1::Event> = Api::namespaced(client.clone(), &namespace);
            if let Some(written) = persist(&api, write).await {
                correlator.written(&written);
            }
        }
    }
}

async fn write_series(client: Client, mut queue: mpsc::Receiver<Emitted>, mut correlator: series::Correlator) {
    let mut check = tokio::time::interval(SERIES_CHECK);
    let mut writing = FuturesUnordered::new();
    loop {
        let writes = tokio::select! {
            Some(_) = writing.next() => continue,
            event = queue.recv() => match event {
                Some(event) => correlator.observe(event).into_iter().collect::<Vec<_>>(),
                None => return,
            },
            _ = check.tick() => correlator.close(Clock.now()),
        };
        // As upstream's: one after the other they would not keep up with a scheduler. A patch that overtakes its create becomes a create.
        for write in writes {
            while writing.len() >= WRITES_AT_ONCE_MAX {
                writing.next().await;
            }
            let namespace = namespace_of(write.event().metadata.namespace.as_deref());
            let api: Api<events_v1::Event> = Api::namespaced(client.clone(), &namespace);
            writing.push(async move { persist(&api, write).await });
        }
    }
}

impl<E> Write<E> {
    fn event(&self) -> &E {
        match self {
            Self::Create(event) | Self::Patch { create: event, .. } => event,
        }
    }
}

fn namespace_of(namespace: Option<&str>) -> String {
    namespace.filter(|namespace| !namespace.is_empty()).unwrap_or("default").to_string()
}

/// Writes an Event, trying again while the server cannot be reached; a refusal is final.
async fn persist<E>(api: &Api<E>, mut write: Write<E>) -> Option<E>
where
    E: kube::Resource + Clone + serde::Serialize + serde::de::DeserializeOwned + std::fmt::Debug,
{
    for _ in 0..TRIES_MAX {
        let result = match &write {
            Write::Create(event) => api.create(&PostParams::default(), event).await,
            Write::Patch { name, patch, .. } => api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await,
        };
        match (result, &write) {
            (Ok(written), _) => return Some(written),
            (Err(kube::Error::Api(status)), Write::Patch { create, .. }) if status.code == 404 => write = Write::Create(create.clone()),
            (Err(kube::Error::Api(status)), _) if status.code < 500 && status.code != 429 => {
                // A namespace that is being deleted takes no Events, and nobody will miss them.
                tracing::debug!(code = status.code, message = status.message, "event refused");
                return None;
            }
            (Err(error), _) => {
                tracing::debug!(%error, "writing an event");
                tokio::time::sleep(TRY_AGAIN_AFTER).await;
            }
        }
    }
    None
}

/// `NAME.HEX`, unique enough: the time in nanoseconds.
fn event_name(regarding: &ObjectReference, at: Timestamp) -> String {
    format!("{}.{:x}", regarding.name.as_deref().unwrap_or_default(), at.as_nanosecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_queue_drops_and_a_long_message_is_cut() {
        let (recorder, mut queue) = Recorder::captured();
        let about = ObjectReference::default();
        for _ in 0..QUEUE_EVENTS_MAX + 5 {
            recorder.event(&about, EventType::Normal, "Reason", "é".repeat(NOTE_BYTES_MAX));
        }
        assert_eq!(recorder.dropped.load(Ordering::Relaxed), 5);
        assert_eq!(queue.recv().await.unwrap().message.len(), NOTE_BYTES_MAX);
    }
}
