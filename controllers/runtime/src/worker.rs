//! From events to keys to plans: what runs a [`Rule`].

use crate::execute::Executor;
use crate::kind::Kind;
use crate::plan::Plan;
use crate::queue::Queue;
use apiserver_client::{Client, Event, Events, Informer, Informers, ObjectKey, Recorder};
use apiserver_component::{Clock, Tasks};
use futures::future::BoxFuture;
use jiff::Timestamp;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// A failure is logged loudly from this many in a row on: single ones are everyday.
const FAILURES_WORTH_A_WARNING: u32 = 3;

/// What a controller is, apart from its routes.
pub trait Rule: Send + Sync + 'static {
    type Observed: Send;

    /// Reads caches, nothing else; None where there is nothing to do for the key.
    fn observe(&self, key: &ObjectKey) -> Option<Self::Observed>;

    /// Decides. Pure: the same observation and time give the same plan.
    fn plan(&self, observed: &Self::Observed, now: Timestamp) -> Plan;
}

/// What controllers share in one process.
#[derive(Clone)]
pub struct Context {
    pub client: Client,
    pub informers: Informers,
    pub tasks: Tasks,
    pub recorder: Recorder,
}

impl Context {
    /// The same, reporting as another component.
    pub fn with_recorder(mut self, recorder: Recorder) -> Self {
        self.recorder = recorder;
        self
    }

    /// Starts a controller's routes and, once its caches are filled, its workers.
    pub fn start<R: Rule>(&self, name: &'static str, workers: usize, rule: R, routes: impl FnOnce(&mut Routes)) {
        let mut wanted = Routes {
            tasks: self.tasks.clone(),
            queue: Queue::named(name),
            executor: Executor::new(self.client.clone(), self.recorder.clone()),
            filled: Vec::new(),
        };
        routes(&mut wanted);
        let Routes { queue, executor, filled, .. } = wanted;
        let (rule, tasks) = (Arc::new(rule), self.tasks.clone());
        self.tasks.spawn(name, async move {
            futures::future::join_all(filled.iter().map(|filled| filled())).await;
            tracing::info!(controller = name, "started");
            for _ in 0..workers {
                tasks.spawn(name, work(name, rule.clone(), queue.clone(), executor.clone()));
            }
        });
    }
}

/// How a controller hears of changes.
pub struct Routes {
    tasks: Tasks,
    queue: Queue<ObjectKey>,
    executor: Executor,
    filled: Vec<Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>>,
}

impl Routes {
    pub fn queue(&self) -> &Queue<ObjectKey> {
        &self.queue
    }

    /// The controller reads this informer: its workers start when it is filled, and wait for their own writes in it.
    pub fn reads<K: k8s_openapi::Resource + Serialize + Send + Sync + 'static>(&mut self, informer: &Informer<K>) {
        self.executor.wait_for(Kind::of::<K>(), informer);
        let informer = informer.clone();
        self.filled.push(Box::new(move || {
            let informer = informer.clone();
            Box::pin(async move { informer.synced().await })
        }));
    }

    /// Reads, and adds the keys that `keys` names for each change.
    pub fn watches<K, F>(&mut self, name: &'static str, informer: &Informer<K>, keys: F)
    where
        K: k8s_openapi::Resource + Serialize + Send + Sync + 'static,
        F: Fn(&Event<K>) -> Vec<ObjectKey> + Send + Sync + 'static,
    {
        self.watches_with(name, informer, move |event, queue| keys(event).into_iter().for_each(|key| queue.add(key)));
    }

    /// Reads, and adds the key of each object that changes.
    pub fn watches_own<K>(&mut self, name: &'static str, informer: &Informer<K>)
    where
        K: k8s_openapi::Resource + kube::Resource + Serialize + Send + Sync + 'static,
    {
        self.watches(name, informer, |event| match event {
            Event::Added(object) | Event::Updated { new: object, .. } | Event::Deleted(object) => vec![ObjectKey::of(&**object)],
            Event::Synced => Vec::new(),
        });
    }

    /// Reads, and lets `route` add keys, at once or later.
    pub fn watches_with<K, F>(&mut self, name: &'static str, informer: &Informer<K>, route: F)
    where
        K: k8s_openapi::Resource + Serialize + Send + Sync + 'static,
        F: Fn(&Event<K>, &Queue<ObjectKey>) + Send + Sync + 'static,
    {
        self.reads(informer);
        let (events, queue) = (informer.subscribe(), self.queue.clone());
        self.tasks.spawn(name, forward(events, queue, route));
    }

    /// Adds what `keys` names now and every `period`.
    pub fn every(&mut self, name: &'static str, period: Duration, keys: impl Fn() -> Vec<ObjectKey> + Send + Sync + 'static) {
        let queue = self.queue.clone();
        self.tasks.spawn(name, async move {
            let mut ticks = tokio::time::interval(period);
            loop {
                ticks.tick().await;
                keys().into_iter().for_each(|key| queue.add(key));
            }
        });
    }
}

async fn forward<K: Send + Sync + 'static>(mut events: Events<K>, queue: Queue<ObjectKey>, route: impl Fn(&Event<K>, &Queue<ObjectKey>)) {
    while let Some(event) = events.next().await {
        route(&event, &queue);
    }
}

async fn work<R: Rule>(name: &'static str, rule: Arc<R>, queue: Queue<ObjectKey>, executor: Executor) {
    loop {
        let key = queue.next().await;
        let Some(observed) = rule.observe(&key) else {
            queue.forget(&key);
            continue;
        };
        let now = Clock.now();
        let plan = rule.plan(&observed, now);
        drop(observed);
        let again_at = plan.again_at;
        match executor.execute(plan).await {
            Ok(()) => queue.forget(&key),
            Err(error) => {
                let wait = queue.add_after_failure(key.clone());
                if error.is_conflict() || queue.failures(&key) < FAILURES_WORTH_A_WARNING {
                    tracing::debug!(controller = name, key = %*key, %error, ?wait, "trying again");
                } else {
                    tracing::warn!(controller = name, key = %*key, %error, ?wait, "trying again");
                }
            }
        }
        if let Some(at) = again_at {
            // A moment later, so that what is compared with whole seconds has passed.
            let wait = Duration::try_from(at.duration_since(Clock.now())).unwrap_or_default() + Duration::from_millis(10);
            queue.add_after(key.clone(), wait);
        }
    }
}
