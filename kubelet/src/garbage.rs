//! What the runtime keeps of a Pod and nobody needs: runs of containers before the last two, and sandboxes that were replaced.
//!
//! The last run and the one before stay, for `kubectl logs --previous` and the restart count.

use crate::shared::Shared;
use crate::view::RuntimeView;
use crate::{logs, sandbox};
use k8s_openapi::api::core::v1::Pod;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Runs of one container that are kept.
const RUNS_KEPT: usize = 2;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Garbage {
    /// Ids, names and restart counts.
    pub containers: Vec<(String, String, u32)>,
    pub sandboxes: Vec<String>,
}

impl Garbage {
    pub fn is_empty(&self) -> bool {
        self.containers.is_empty() && self.sandboxes.is_empty()
    }
}

pub fn of(view: &RuntimeView) -> Garbage {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut garbage = Garbage::default();
    for container in &view.containers {
        let runs = seen.entry(&container.name).or_default();
        *runs += 1;
        if *runs > RUNS_KEPT && container.exited() {
            garbage.containers.push((container.id.clone(), container.name.clone(), container.restarts));
        }
    }
    let dropped = |id: &str| garbage.containers.iter().any(|(gone, ..)| gone == id);
    let holds = |sandbox: &str| view.containers.iter().any(|container| container.sandbox == sandbox && !dropped(&container.id));
    garbage.sandboxes = view.sandboxes.iter().skip(1).filter(|old| !old.ready && !holds(&old.id)).map(|old| old.id.clone()).collect();
    garbage
}

/// Removes it, with the logs of what is removed.
pub async fn collect(shared: Arc<Shared>, pod: Arc<Pod>, garbage: Garbage) -> Result<(), kubelet_cri::Error> {
    let folder = sandbox::log_folder(&shared.config.pod_logs_dir, &pod);
    for (id, name, restarts) in garbage.containers {
        shared.runtime.remove_container(id).await?;
        let log = logs::path(&folder, &name, restarts);
        if tokio::task::spawn_blocking(move || remove_log(&log)).await.is_err() {
            tracing::debug!("removing a log was broken off");
        }
    }
    for id in garbage.sandboxes {
        shared.runtime.remove_pod_sandbox(id).await?;
    }
    Ok(())
}

/// A log and its rotated pieces, which have its name and more.
fn remove_log(log: &Path) {
    let (Some(folder), Some(name)) = (log.parent(), log.file_name().and_then(|name| name.to_str())) else { return };
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let found = entry.file_name();
        let is_piece = found.to_str().and_then(|found| found.strip_prefix(name)).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        if is_piece && let Err(error) = std::fs::remove_file(entry.path()) {
            tracing::debug!(path = %entry.path().display(), %error, "a log could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{Container, Phase, Sandbox};

    fn container(name: &str, created: i64, sandbox: &str, phase: Phase) -> Container {
        Container { id: format!("{name}{created}"), name: name.to_owned(), created, sandbox: sandbox.to_owned(), phase, ..Default::default() }
    }

    fn sandbox(created: i64, ready: bool) -> Sandbox {
        Sandbox { id: format!("s{created}"), created, ready, ..Default::default() }
    }

    #[test]
    fn the_last_two_runs_of_each_container_are_kept() {
        let runs = (1..=4).map(|created| container("a", created, "s1", Phase::Exited)).chain([container("b", 1, "s1", Phase::Exited)]);
        let garbage = of(&RuntimeView::new(vec![sandbox(1, true)], runs.collect()));
        assert_eq!(garbage.containers.iter().map(|(id, ..)| id.as_str()).collect::<Vec<_>>(), ["a2", "a1"]);
        assert!(garbage.sandboxes.is_empty());
    }

    #[test]
    fn what_runs_is_no_garbage_however_old() {
        let runs = vec![container("a", 1, "s1", Phase::Running), container("a", 2, "s1", Phase::Exited), container("a", 3, "s1", Phase::Exited)];
        assert!(of(&RuntimeView::new(vec![sandbox(1, true)], runs)).is_empty());
    }

    #[test]
    fn replaced_sandboxes_go_once_they_hold_nothing() {
        let view = |containers| RuntimeView::new(vec![sandbox(1, false), sandbox(2, true)], containers);
        assert_eq!(of(&view(vec![container("a", 3, "s2", Phase::Running)])).sandboxes, ["s1"]);
        assert!(of(&view(vec![container("a", 1, "s1", Phase::Exited)])).sandboxes.is_empty());
    }

    #[test]
    fn a_logs_pieces_go_with_it() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["1.log", "1.log.20240101-000000", "11.log", "2.log"] {
            std::fs::write(folder.path().join(name), "").expect("written");
        }
        remove_log(&folder.path().join("1.log"));
        let mut left: Vec<String> =
            std::fs::read_dir(folder.path()).expect("read").flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        left.sort();
        assert_eq!(left, ["11.log", "2.log"]);
    }
}
