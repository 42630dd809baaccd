//! Named tasks that end when the process is told to, and the signal that tells them.

use std::future::Future;
use std::sync::{Arc, Mutex};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Tells tasks to end. Cheap to clone; a child ends with its parent and can end alone.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    pub fn new() -> Self {
        Self::default()
    }

    /// A signal that also fires when this one does.
    pub fn child(&self) -> Self {
        Self(self.0.child_token())
    }

    pub fn fire(&self) {
        self.0.cancel();
    }

    pub fn fired(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Completes once the signal has fired.
    pub async fn wait(&self) {
        self.0.cancelled().await;
    }

    /// Runs `work` until it is done (`Some`) or the signal fires (`None`, and `work` is dropped where it stands).
    pub async fn run_until<F: Future>(&self, work: F) -> Option<F::Output> {
        self.0.run_until_cancelled(work).await
    }
}

/// The tasks of one component. Dropping it aborts what still runs.
///
/// A task that panics is logged by name and fires the shutdown: half a component is worse than none, and the supervisor restarts it.
#[derive(Clone)]
pub struct Tasks {
    set: Arc<Mutex<JoinSet<()>>>,
    shutdown: Shutdown,
}

impl Tasks {
    pub fn new(shutdown: Shutdown) -> Self {
        Self { set: Arc::default(), shutdown }
    }

    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Starts `work` under `name`; it is dropped at its next await once shutdown fires, so work that must finish watches the signal itself
    /// and is started with [`Tasks::spawn_graceful`].
    pub fn spawn(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let shutdown = self.shutdown.clone();
        self.spawn_graceful(name, async move {
            shutdown.run_until(work).await;
        });
    }

    /// Starts `work` under `name`; it must end by itself soon after shutdown fires.
    pub fn spawn_graceful(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let guard = PanicGuard { name, shutdown: self.shutdown.clone(), done: false };
        let mut set = self.set.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        while set.try_join_next().is_some() {}
        set.spawn(async move {
            let mut guard = guard;
            work.await;
            guard.done = true;
        });
    }

    /// Waits until every task has ended, those started meanwhile included.
    pub async fn join(&self) {
        loop {
            let taken = std::mem::take(&mut *self.set.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
            if taken.is_empty() {
                return;
            }
            taken.join_all_ignoring_panics().await;
        }
    }
}

struct PanicGuard {
    name: &'static str,
    shutdown: Shutdown,
    done: bool,
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if !self.done && std::thread::panicking() {
            tracing::error!(task = self.name, "task panicked; shutting the component down");
            self.shutdown.fire();
        }
    }
}

trait JoinAll {
    async fn join_all_ignoring_panics(self);
}

impl JoinAll for JoinSet<()> {
    async fn join_all_ignoring_panics(mut self) {
        while self.join_next().await.is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tasks_end_when_shutdown_fires() {
        let shutdown = Shutdown::new();
        let tasks = Tasks::new(shutdown.clone());
        tasks.spawn("forever", std::future::pending());
        shutdown.fire();
        tasks.join().await;
    }

    #[tokio::test]
    async fn a_panicking_task_shuts_its_component_down() {
        let shutdown = Shutdown::new();
        let tasks = Tasks::new(shutdown.clone());
        tasks.spawn("broken", async { panic!("on purpose") });
        tasks.join().await;
        assert!(shutdown.fired());
    }
}
