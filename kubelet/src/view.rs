//! What the runtime shows of one Pod: its sandboxes and containers, newest first. Everything the kubelet must remember about a
//! container over its own restart is in the labels and annotations that it gave it.

use k8s_openapi::jiff::Timestamp;
use kubelet_cri::v1;
use std::collections::BTreeMap;

pub const POD_NAME: &str = "io.kubernetes.pod.name";
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
pub const POD_UID: &str = "io.kubernetes.pod.uid";
pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
pub const HASH: &str = "io.kubernetes.container.hash";
pub const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
pub const MESSAGE_PATH: &str = "io.kubernetes.container.terminationMessagePath";
pub const MESSAGE_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
pub const POD_GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sandbox {
    pub id: String,
    pub attempt: u32,
    pub ready: bool,
    pub created: i64,
    pub host_network: bool,
    pub ips: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    Created,
    Running,
    Exited,
    #[default]
    Unknown,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Container {
    pub id: String,
    pub sandbox: String,
    pub name: String,
    pub restarts: u32,
    pub phase: Phase,
    /// Nanoseconds since 1970, as the runtime counts; zero is "not yet".
    pub created: i64,
    pub started: i64,
    pub finished: i64,
    pub exit_code: i32,
    pub reason: String,
    pub message: String,
    pub image: String,
    pub image_ref: String,
    pub hash: String,
    pub log_path: String,
    pub user: Option<v1::LinuxContainerUser>,
    pub resources: Option<v1::LinuxContainerResources>,
}

/// Sandboxes and containers of one Pod, both newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuntimeView {
    pub sandboxes: Vec<Sandbox>,
    pub containers: Vec<Container>,
}

/// Nanoseconds since 1970 as a time; zero and what is out of range are none.
pub fn time(nanoseconds: i64) -> Option<Timestamp> {
    (nanoseconds != 0).then(|| Timestamp::from_nanosecond(i128::from(nanoseconds)).ok()).flatten()
}

impl Sandbox {
    pub fn of(status: v1::PodSandboxStatus) -> Self {
        let options = status.linux.and_then(|linux| linux.namespaces).and_then(|namespaces| namespaces.options);
        let network = status.network.unwrap_or_default();
        let ips = std::iter::once(network.ip).chain(network.additional_ips.into_iter().map(|ip| ip.ip));
        Self {
            ready: status.state == i32::from(v1::PodSandboxState::SandboxReady),
            id: status.id,
            attempt: status.metadata.map(|metadata| metadata.attempt).unwrap_or_default(),
            created: status.created_at,
            host_network: options.is_some_and(|options| options.network() == v1::NamespaceMode::Node),
            ips: ips.filter(|ip| !ip.is_empty()).collect(),
        }
    }
}

impl Container {
    pub fn of(status: v1::ContainerStatus, sandbox: String) -> Self {
        let annotation = |key: &str| status.annotations.get(key).cloned().unwrap_or_default();
        Self {
            phase: match status.state() {
                v1::ContainerState::ContainerCreated => Phase::Created,
                v1::ContainerState::ContainerRunning => Phase::Running,
                v1::ContainerState::ContainerExited => Phase::Exited,
                v1::ContainerState::ContainerUnknown => Phase::Unknown,
            },
            hash: annotation(HASH),
            restarts: annotation(RESTART_COUNT).parse().unwrap_or_default(),
            name: status.labels.get(CONTAINER_NAME).cloned().unwrap_or_default(),
            sandbox,
            created: status.created_at,
            started: status.started_at,
            finished: status.finished_at,
            exit_code: status.exit_code,
            reason: status.reason,
            message: status.message,
            image: status.image.map(|image| image.image).unwrap_or_default(),
            image_ref: status.image_ref,
            log_path: status.log_path,
            user: status.user.and_then(|user| user.linux),
            resources: status.resources.and_then(|resources| resources.linux),
            id: status.id,
        }
    }

    pub fn running(&self) -> bool {
        self.phase == Phase::Running
    }

    pub fn exited(&self) -> bool {
        self.phase == Phase::Exited
    }

    /// Ended, and not well.
    pub fn failed(&self) -> bool {
        self.exited() && self.exit_code != 0
    }
}

impl RuntimeView {
    pub fn new(mut sandboxes: Vec<Sandbox>, mut containers: Vec<Container>) -> Self {
        sandboxes.sort_by(|a, b| (b.created, b.attempt, &b.id).cmp(&(a.created, a.attempt, &a.id)));
        containers.sort_by(|a, b| (b.created, b.restarts, &b.id).cmp(&(a.created, a.restarts, &a.id)));
        Self { sandboxes, containers }
    }

    /// The newest container of that name.
    pub fn latest(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|container| container.name == name)
    }

    /// The one before the newest.
    pub fn previous(&self, name: &str) -> Option<&Container> {
        self.containers.iter().filter(|container| container.name == name).nth(1)
    }

    /// The newest container of that name in the given sandbox.
    pub fn latest_in(&self, sandbox: &str, name: &str) -> Option<&Container> {
        self.containers.iter().find(|container| container.name == name && container.sandbox == sandbox)
    }

    pub fn running(&self) -> impl Iterator<Item = &Container> {
        self.containers.iter().filter(|container| container.running())
    }

    pub fn is_empty(&self) -> bool {
        self.sandboxes.is_empty() && self.containers.is_empty()
    }

    /// The sandbox that the Pod's containers run in, if it needs no new one.
    ///
    /// It must be the newest, ready, the only ready one, of the Pod's network mode, and have an address unless it uses the node's.
    pub fn usable_sandbox(&self, host_network: bool) -> Result<&Sandbox, NoSandbox> {
        let Some(newest) = self.sandboxes.first() else { return Err(NoSandbox::None) };
        if self.sandboxes.iter().filter(|sandbox| sandbox.ready).count() > 1 {
            return Err(NoSandbox::Several);
        }
        if !newest.ready {
            return Err(NoSandbox::NotReady);
        }
        if newest.host_network != host_network {
            return Err(NoSandbox::OtherNetwork);
        }
        if !host_network && newest.ips.is_empty() {
            return Err(NoSandbox::NoAddress);
        }
        Ok(newest)
    }

    /// The attempt that the next sandbox of the Pod is.
    pub fn next_attempt(&self) -> u32 {
        self.sandboxes.iter().map(|sandbox| sandbox.attempt.saturating_add(1)).max().unwrap_or_default()
    }
}

/// Why a Pod needs a new sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSandbox {
    None,
    Several,
    NotReady,
    OtherNetwork,
    NoAddress,
}

/// The labels by which a Pod's sandboxes and containers are found.
pub fn selector(uid: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(POD_UID.to_owned(), uid.to_owned())])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sandbox(created: i64, ready: bool, ip: &str) -> Sandbox {
        let ips = if ip.is_empty() { Vec::new() } else { vec![ip.to_owned()] };
        Sandbox { id: format!("s{created}"), attempt: u32::try_from(created).expect("small"), ready, created, ips, ..Default::default() }
    }

    fn check(sandboxes: Vec<Sandbox>, expect: Result<&str, NoSandbox>) {
        let view = RuntimeView::new(sandboxes, Vec::new());
        assert_eq!(view.usable_sandbox(false).map(|sandbox| sandbox.id.as_str()), expect);
    }

    #[test]
    fn only_the_newest_ready_sandbox_with_an_address_is_usable() {
        check(vec![], Err(NoSandbox::None));
        check(vec![sandbox(1, true, "10.0.0.1")], Ok("s1"));
        check(vec![sandbox(1, false, "10.0.0.1"), sandbox(2, true, "10.0.0.2")], Ok("s2"));
        check(vec![sandbox(1, true, "10.0.0.1"), sandbox(2, true, "10.0.0.2")], Err(NoSandbox::Several));
        check(vec![sandbox(1, true, "10.0.0.1"), sandbox(2, false, "")], Err(NoSandbox::NotReady));
        check(vec![sandbox(1, true, "")], Err(NoSandbox::NoAddress));
    }

    #[test]
    fn the_newest_container_of_a_name_comes_first() {
        let container = |created, restarts| Container { id: format!("c{created}"), name: "web".to_owned(), created, restarts, ..Default::default() };
        let view = RuntimeView::new(Vec::new(), vec![container(1, 0), container(3, 2), container(2, 1)]);
        assert_eq!(view.latest("web").map(|c| c.id.as_str()), Some("c3"));
        assert_eq!(view.previous("web").map(|c| c.id.as_str()), Some("c2"));
    }
}
