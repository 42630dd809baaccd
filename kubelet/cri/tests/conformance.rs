//! One suite for every runtime: the fake always, a real one when `CORTEN_CRI_SOCKET` (its socket), `CORTEN_CRI_IMAGE` (an image with
//! `sleep` and `sh`, already imported) and `CORTEN_CRI_LOGS` (a folder for logs) are given.

use kubelet_cri::fake::{Fake, Program};
use kubelet_cri::{Client, Kind, Runtime, v1};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

struct Subject {
    runtime: Arc<dyn Runtime>,
    image: String,
    logs: String,
}

fn fake() -> Subject {
    let fake = Fake::new(|| i64::try_from(jiffies()).expect("before the year 2262"));
    fake.add_image("busybox:1");
    fake.program("exit 3", Program::Exit { code: 3, after: Duration::ZERO });
    fake.program("3600", Program::Stubborn);
    fake.on_exec(|_, command| {
        let code = if command == ["true"] { 0 } else { 1 };
        Ok(v1::ExecSyncResponse { exit_code: code, ..Default::default() })
    });
    Subject { runtime: Arc::new(fake), image: "busybox:1".to_owned(), logs: "/logs".to_owned() }
}

#[allow(clippy::disallowed_methods, reason = "a real runtime tells real time, so the fake beside it does too")]
fn jiffies() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_nanos()
}

fn real() -> Option<Subject> {
    let socket = std::env::var("CORTEN_CRI_SOCKET").ok()?;
    let runtime = Arc::new(Client::new(&socket).expect("a socket path"));
    Some(Subject {
        runtime,
        image: std::env::var("CORTEN_CRI_IMAGE").expect("CORTEN_CRI_IMAGE"),
        logs: std::env::var("CORTEN_CRI_LOGS").expect("CORTEN_CRI_LOGS"),
    })
}

/// Runs one case against every runtime that there is.
macro_rules! conforms {
    ($($name:ident),* $(,)?) => {$(
        #[tokio::test]
        async fn $name() {
            cases::$name(&fake()).await;
            if let Some(real) = real() {
                cases::$name(&real).await;
            }
        }
    )*};
}

conforms!(
    a_sandbox_lives_and_goes,
    a_container_runs_and_stops,
    a_container_that_ends_keeps_its_exit_code,
    lists_filter_by_label,
    stopping_and_removing_what_is_gone_succeeds,
    status_of_what_is_gone_is_not_found,
    an_image_that_is_absent_has_no_status,
    an_exec_gives_its_exit_code,
    the_runtime_says_who_it_is,
    a_ready_sandbox_cannot_take_a_second_of_its_name,
);

impl Subject {
    /// No network of its own, so that no CNI is needed; each container is the first process of its own namespace.
    fn namespaces() -> Option<v1::NamespaceOption> {
        let (network, pid) = (v1::NamespaceMode::Node.into(), v1::NamespaceMode::Container.into());
        Some(v1::NamespaceOption { network, pid, ..Default::default() })
    }

    fn sandbox(&self, uid: &str) -> v1::PodSandboxConfig {
        v1::PodSandboxConfig {
            metadata: Some(v1::PodSandboxMetadata { name: uid.to_owned(), uid: uid.to_owned(), namespace: "suite".to_owned(), attempt: 0 }),
            log_directory: format!("{}/{uid}", self.logs),
            labels: BTreeMap::from([("suite".to_owned(), uid.to_owned())]),
            linux: Some(v1::LinuxPodSandboxConfig {
                security_context: Some(v1::LinuxSandboxSecurityContext { namespace_options: Self::namespaces(), ..Default::default() }),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn container(&self, uid: &str, command: &[&str]) -> v1::ContainerConfig {
        v1::ContainerConfig {
            metadata: Some(v1::ContainerMetadata { name: "main".to_owned(), attempt: 0 }),
            image: Some(v1::ImageSpec { image: self.image.clone(), ..Default::default() }),
            command: command.iter().map(|&word| word.to_owned()).collect(),
            labels: BTreeMap::from([("suite".to_owned(), uid.to_owned())]),
            log_path: "main/0.log".to_owned(),
            linux: Some(v1::LinuxContainerConfig {
                security_context: Some(v1::LinuxContainerSecurityContext { namespace_options: Self::namespaces(), ..Default::default() }),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    async fn run(&self, uid: &str, command: &[&str]) -> (String, String) {
        std::fs::create_dir_all(format!("{}/{uid}/main", self.logs)).ok();
        let config = self.sandbox(uid);
        let sandbox = self.runtime.run_pod_sandbox(config.clone(), String::new()).await.expect("a sandbox");
        let container = self.runtime.create_container(sandbox.clone(), self.container(uid, command), config).await.expect("a container");
        self.runtime.start_container(container.clone()).await.expect("a started container");
        (sandbox, container)
    }

    async fn clean(&self, sandbox: &str) {
        self.runtime.stop_pod_sandbox(sandbox.to_owned()).await.expect("stopped");
        self.runtime.remove_pod_sandbox(sandbox.to_owned()).await.expect("removed");
    }
}

mod cases {
    use super::*;

    pub async fn a_sandbox_lives_and_goes(subject: &Subject) {
        let id = subject.runtime.run_pod_sandbox(subject.sandbox("lives"), String::new()).await.expect("a sandbox");
        let status = subject.runtime.pod_sandbox_status(id.clone()).await.expect("its status");
        assert_eq!(status.state(), v1::PodSandboxState::SandboxReady);
        assert!(status.created_at > 0);
        subject.runtime.stop_pod_sandbox(id.clone()).await.expect("stopped");
        let status = subject.runtime.pod_sandbox_status(id.clone()).await.expect("its status");
        assert_eq!(status.state(), v1::PodSandboxState::SandboxNotready);
        subject.runtime.remove_pod_sandbox(id.clone()).await.expect("removed");
        assert!(subject.runtime.pod_sandbox_status(id).await.expect_err("gone").is_not_found());
    }

    pub async fn a_container_runs_and_stops(subject: &Subject) {
        let (sandbox, id) = subject.run("runs", &["sleep", "3600"]).await;
        let status = subject.runtime.container_status(id.clone()).await.expect("its status");
        assert_eq!(status.state(), v1::ContainerState::ContainerRunning);
        assert!(status.started_at >= status.created_at && status.finished_at == 0);
        subject.runtime.stop_container(id.clone(), Duration::from_secs(1)).await.expect("stopped");
        let status = subject.runtime.container_status(id).await.expect("its status");
        assert_eq!((status.state(), status.exit_code), (v1::ContainerState::ContainerExited, 137));
        assert!(status.finished_at >= status.started_at);
        subject.clean(&sandbox).await;
    }

    pub async fn a_container_that_ends_keeps_its_exit_code(subject: &Subject) {
        let (sandbox, id) = subject.run("ends", &["sh", "-c", "exit 3"]).await;
        let mut status = subject.runtime.container_status(id.clone()).await.expect("its status");
        for _ in 0..100 {
            if status.state() == v1::ContainerState::ContainerExited {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            status = subject.runtime.container_status(id.clone()).await.expect("its status");
        }
        assert_eq!((status.state(), status.exit_code, status.reason.as_str()), (v1::ContainerState::ContainerExited, 3, "Error"));
        subject.clean(&sandbox).await;
    }

    pub async fn lists_filter_by_label(subject: &Subject) {
        let (sandbox, id) = subject.run("label", &["sleep", "3600"]).await;
        let labels = |value: &str| BTreeMap::from([("suite".to_owned(), value.to_owned())]);
        let found = subject.runtime.list_containers(labels("label")).await.expect("a list");
        assert_eq!(found.iter().map(|c| (&c.id, &c.pod_sandbox_id)).collect::<Vec<_>>(), [(&id, &sandbox)]);
        let found = subject.runtime.list_pod_sandboxes(labels("label")).await.expect("a list");
        assert_eq!(found.iter().map(|s| &s.id).collect::<Vec<_>>(), [&sandbox]);
        assert!(subject.runtime.list_containers(labels("nobody")).await.expect("a list").is_empty());
        subject.clean(&sandbox).await;
    }

    pub async fn stopping_and_removing_what_is_gone_succeeds(subject: &Subject) {
        let gone = "0123456789abcdef".to_owned();
        subject.runtime.stop_container(gone.clone(), Duration::ZERO).await.expect("fine");
        subject.runtime.remove_container(gone.clone()).await.expect("fine");
        subject.runtime.stop_pod_sandbox(gone.clone()).await.expect("fine");
        subject.runtime.remove_pod_sandbox(gone).await.expect("fine");
    }

    pub async fn status_of_what_is_gone_is_not_found(subject: &Subject) {
        let error = subject.runtime.container_status("0123456789abcdef".to_owned()).await.expect_err("gone");
        assert_eq!(error.kind(), Kind::NotFound);
    }

    pub async fn an_image_that_is_absent_has_no_status(subject: &Subject) {
        let image = |name: &str| v1::ImageSpec { image: name.to_owned(), ..Default::default() };
        assert!(subject.runtime.image_status(image("example.invalid/none:1")).await.expect("an answer").is_none());
        let there = subject.runtime.image_status(image(&subject.image)).await.expect("an answer").expect("there");
        assert!(there.id.starts_with("sha256:"));
    }

    pub async fn an_exec_gives_its_exit_code(subject: &Subject) {
        let (sandbox, id) = subject.run("exec", &["sleep", "3600"]).await;
        for (word, expect) in [("true", 0), ("false", 1)] {
            let answer = subject.runtime.exec_sync(id.clone(), vec![word.to_owned()], Duration::from_secs(10)).await.expect("ran");
            assert_eq!(answer.exit_code, expect, "{word}");
        }
        subject.clean(&sandbox).await;
    }

    pub async fn the_runtime_says_who_it_is(subject: &Subject) {
        let version = subject.runtime.version().await.expect("an answer");
        assert!(!version.runtime_name.is_empty() && version.runtime_api_version == "v1");
        let status = subject.runtime.status().await.expect("an answer").status.expect("a status");
        assert!(status.conditions.iter().any(|c| c.r#type == "RuntimeReady" && c.status));
    }

    pub async fn a_ready_sandbox_cannot_take_a_second_of_its_name(subject: &Subject) {
        let id = subject.runtime.run_pod_sandbox(subject.sandbox("twice"), String::new()).await.expect("a sandbox");
        subject.runtime.run_pod_sandbox(subject.sandbox("twice"), String::new()).await.expect_err("the name is taken");
        subject.clean(&id).await;
    }
}
