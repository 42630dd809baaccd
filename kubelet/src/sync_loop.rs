//! The loop that everything reaches: Pods from the API, what the runtime shows, objects that changed. It starts one task per Pod and
//! passes on what concerns it; it does nothing else itself.

use crate::admission::{self, Room};
use crate::eviction;
use crate::pleg;
use crate::pod;
use crate::pod_task::{Beginning, PodTask, WAKES_MAX, Wake};
use crate::shared::Shared;
use crate::volume;
use apiserver_client::{Event as PodEvent, EventType, Events, Informer};
use apiserver_placement::pod::is_terminal;
use k8s_openapi::api::core::v1::{Node, Pod};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// How often Pods that are neither in the API nor in the runtime are looked for on the disk.
const SWEEP: Duration = Duration::from_secs(30);
/// Pods whose tasks have ended, waiting to be taken note of.
const ENDED_MAX: usize = 256;
/// A Pod that nobody knows any more has this long to end.
const STRAY_GRACE_SECONDS: i64 = 1;

/// Everything that can wake the loop.
enum Event {
    Pod(PodEvent<Pod>),
    Runtime(pleg::Seen),
    Objects(Vec<String>),
    Evict(eviction::Verdict),
    Ended(String),
    Sweep,
}

/// The ends of the loop's queues that others hold.
pub struct Sources {
    pub pods: Events<Pod>,
    pub runtime: mpsc::Receiver<pleg::Seen>,
    pub objects: mpsc::Receiver<Vec<String>>,
    pub evictions: mpsc::Receiver<eviction::Verdict>,
    pub node: Informer<Node>,
}

struct Handle {
    inbox: mpsc::Sender<Wake>,
    /// None for one that only the runtime or the disk knew.
    pod: Option<Arc<Pod>>,
    admitted: bool,
}

pub struct SyncLoop {
    shared: Arc<Shared>,
    node: Informer<Node>,
    handles: BTreeMap<String, Handle>,
    /// What the runtime has, by its last listing.
    in_runtime: BTreeMap<String, (String, String)>,
    listed: bool,
    synced: bool,
    ended: mpsc::Sender<String>,
}

/// Runs until one of its sources ends.
pub async fn run(shared: Arc<Shared>, mut sources: Sources) {
    let (ended, mut endings) = mpsc::channel(ENDED_MAX);
    let mut this =
        SyncLoop { shared, node: sources.node, handles: BTreeMap::new(), in_runtime: BTreeMap::new(), listed: false, synced: false, ended };
    let mut sweep = tokio::time::interval(SWEEP);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let event = tokio::select! {
            Some(ended) = endings.recv() => Event::Ended(ended),
            // Which Pods run already decides how new ones begin, so the runtime comes first.
            event = sources.pods.next(), if this.listed => match event {
                Some(event) => Event::Pod(event),
                None => return,
            },
            seen = sources.runtime.recv() => match seen {
                Some(seen) => Event::Runtime(seen),
                None => return,
            },
            Some(users) = sources.objects.recv() => Event::Objects(users),
            Some(verdict) = sources.evictions.recv() => Event::Evict(verdict),
            _ = sweep.tick() => Event::Sweep,
        };
        this.handle(event);
    }
}

impl SyncLoop {
    fn handle(&mut self, event: Event) {
        match event {
            Event::Pod(PodEvent::Added(pod)) => self.pod(pod),
            Event::Pod(PodEvent::Updated { old, new }) => {
                if pod::uid(&old) != pod::uid(&new) {
                    self.gone(&old);
                }
                self.pod(new);
            }
            Event::Pod(PodEvent::Deleted(pod)) => self.gone(&pod),
            Event::Pod(PodEvent::Synced) => {
                self.synced = true;
                self.sweep();
            }
            Event::Runtime(seen) => self.runtime(seen),
            Event::Objects(users) => users.iter().for_each(|uid| self.tell(uid, Wake::Objects)),
            Event::Evict((uid, message)) => self.evict(&uid, message),
            Event::Ended(uid) => drop(self.handles.remove(&uid)),
            Event::Sweep => self.sweep(),
        }
    }

    fn tell(&self, uid: &str, wake: Wake) {
        let Some(handle) = self.handles.get(uid) else { return };
        // Only "look again" may be dropped: with a full inbox the task will look again anyway.
        let keep = matches!(wake, Wake::Pod(_) | Wake::Gone | Wake::Evict(_));
        if let Err(mpsc::error::TrySendError::Full(wake)) = handle.inbox.try_send(wake)
            && keep
        {
            let inbox = handle.inbox.clone();
            self.shared.tasks.spawn("pod-wake", async move { drop(inbox.send(wake).await) });
        }
    }

    fn evict(&self, uid: &str, message: String) {
        if let Some(pod) = self.handles.get(uid).and_then(|handle| handle.pod.as_ref()) {
            self.shared.event(pod, EventType::Warning, "Evicted", message.clone());
        }
        self.tell(uid, Wake::Evict(message));
    }

    fn pod(&mut self, pod: Arc<Pod>) {
        let uid = pod::uid(&pod).to_owned();
        if let Some(handle) = self.handles.get_mut(&uid) {
            handle.pod = Some(pod.clone());
            return self.tell(&uid, Wake::Pod(pod));
        }
        let rejected = self.admit(&pod).err();
        if let Some((reason, message)) = &rejected {
            self.shared.event(&pod, EventType::Warning, reason, message.clone());
        }
        self.start(Some(pod.clone()), Beginning { pod, rejected, gone: false });
    }

    fn start(&mut self, pod: Option<Arc<Pod>>, beginning: Beginning) {
        let uid = pod::uid(&beginning.pod).to_owned();
        let (inbox, wakes) = mpsc::channel(WAKES_MAX);
        let admitted = beginning.rejected.is_none();
        let task = PodTask::new(self.shared.clone(), wakes, beginning);
        let (ended, the_uid) = (self.ended.clone(), uid.clone());
        self.shared.tasks.spawn("pod", async move {
            task.run().await;
            let _ = ended.send(the_uid).await;
        });
        self.handles.insert(uid, Handle { inbox, pod, admitted });
    }

    /// A Pod that runs, ends, or has ended was admitted before.
    fn admit(&self, pod: &Pod) -> Result<(), admission::Rejection> {
        if self.in_runtime.contains_key(pod::uid(pod)) || pod.metadata.deletion_timestamp.is_some() || is_terminal(pod) {
            return Ok(());
        }
        let others: Vec<&Pod> = self
            .handles
            .values()
            .filter(|handle| handle.admitted)
            .filter_map(|handle| handle.pod.as_deref())
            .filter(|pod| !is_terminal(pod))
            .collect();
        let node = self.node.get("", &self.shared.config.node_name);
        let room = Room {
            node: node.as_deref(),
            node_name: &self.shared.config.node_name,
            allocatable: &self.shared.allocatable,
            max_pods: usize::try_from(self.shared.config.max_pods).unwrap_or(usize::MAX),
        };
        admission::admit(pod, &others, &room)
    }

    fn gone(&mut self, pod: &Pod) {
        let uid = pod::uid(pod);
        if let Some(handle) = self.handles.get_mut(uid) {
            handle.pod = None;
        }
        // The last look at the Pod tells how it was deleted.
        self.tell(uid, Wake::Pod(Arc::new(pod.clone())));
        self.tell(uid, Wake::Gone);
    }

    fn runtime(&mut self, seen: pleg::Seen) {
        self.in_runtime = seen.all;
        let first = !std::mem::replace(&mut self.listed, true);
        seen.changed.iter().for_each(|uid| self.tell(uid, Wake::Runtime));
        if !first {
            self.adopt_strays(seen.changed);
        }
    }

    /// Cleans up what the runtime has of Pods that the API does not know.
    fn adopt_strays(&mut self, uids: BTreeSet<String>) {
        if !self.synced {
            return;
        }
        for uid in uids {
            if self.handles.contains_key(&uid) {
                continue;
            }
            if let Some((namespace, name)) = self.in_runtime.get(&uid).cloned() {
                tracing::info!(uid, namespace, name, "the runtime has a Pod that the API does not know");
                self.clean_up(uid, namespace, name);
            }
        }
    }

    fn clean_up(&mut self, uid: String, namespace: String, name: String) {
        let mut pod = Pod::default();
        pod.metadata.uid = Some(uid);
        pod.metadata.namespace = Some(namespace);
        pod.metadata.name = Some(name);
        pod.metadata.deletion_grace_period_seconds = Some(STRAY_GRACE_SECONDS);
        self.start(None, Beginning { pod: Arc::new(pod), rejected: None, gone: true });
    }

    fn sweep(&mut self) {
        if !self.synced || !self.listed {
            return;
        }
        self.adopt_strays(self.in_runtime.keys().cloned().collect());
        let on_disk = volume::pods_on_disk(&self.shared.config.root_dir).into_iter().chain(self.shared.cgroups.pods());
        let strays: BTreeSet<String> = on_disk.filter(|uid| !self.handles.contains_key(uid)).collect();
        for uid in strays {
            tracing::info!(uid, "the disk has a Pod that nobody knows");
            self.clean_up(uid, String::new(), String::new());
        }
    }
}
