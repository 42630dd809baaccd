//! Images: when to pull, with whose credentials, and how long to wait after a pull that failed.

use crate::backoff::Backoffs;
use crate::lifecycle::Fault;
use crate::security::ImageUser;
use crate::shared::{Shared, now};
use crate::{lifecycle, pod};
use apiserver_client::EventType;
use base64::Engine;
use k8s_openapi::api::core::v1::{Container, Pod, Secret};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::Api;
use kubelet_cri::v1;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Mutex;
use tokio::sync::Semaphore;

/// Pulls at a time on one node.
const PULLS_MAX: usize = 1;

/// What the node remembers of pulls.
pub struct Images {
    pulls: Semaphore,
    failures: Mutex<Failures>,
}

#[derive(Default)]
struct Failures {
    backoffs: Backoffs,
    /// When, and how, the last pull for a key failed.
    last: BTreeMap<String, (Timestamp, String)>,
}

/// An image that is on the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    /// As the runtime knows it.
    pub reference: String,
    pub user: ImageUser,
}

impl Present {
    fn of(image: v1::Image) -> Self {
        let user = ImageUser { uid: image.uid.map(|uid| uid.value), name: image.username };
        Self { reference: image.id, user }
    }
}

impl Default for Images {
    fn default() -> Self {
        Self { pulls: Semaphore::new(PULLS_MAX), failures: Mutex::default() }
    }
}

impl Images {
    fn failures(&self) -> std::sync::MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// How the last pull failed, while it must be waited for.
    fn waits(&self, key: &str, now: Timestamp) -> Option<(Timestamp, String)> {
        let failures = self.failures();
        let (failed, message) = failures.last.get(key)?;
        let (_, until) = failures.backoffs.waits(key, *failed, now)?;
        Some((until, message.clone()))
    }

    fn failed(&self, key: &str, message: &str, now: Timestamp) {
        let mut failures = self.failures();
        failures.backoffs.next(key, now, now);
        failures.last.insert(key.to_owned(), (now, message.to_owned()));
    }

    fn worked(&self, key: &str) {
        let mut failures = self.failures();
        failures.backoffs.forget(key);
        failures.last.remove(key);
    }

    /// Forgets the failures of a Pod.
    pub fn forget(&self, uid: &str) {
        let mut failures = self.failures();
        let gone: Vec<String> = failures.last.keys().filter(|key| key.starts_with(uid)).cloned().collect();
        for key in gone {
            failures.backoffs.forget(&key);
            failures.last.remove(&key);
        }
    }
}

/// `busybox` means `busybox:latest`.
fn with_tag(image: &str) -> String {
    let name = image.rsplit('/').next().unwrap_or(image);
    if name.contains(':') || name.contains('@') { image.to_owned() } else { format!("{image}:latest") }
}

/// Whether the text is an image reference: `[host/]path[:tag][@digest]`, the path in lower case.
fn is_plausible(image: &str) -> bool {
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    let (repository, tag) = match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        _ => (name, None),
    };
    let is_host = |part: &str| part.contains(['.', ':']) || part == "localhost" || part.chars().any(|char| char.is_ascii_uppercase());
    let path = match repository.split_once('/') {
        Some((host, path)) if is_host(host) && host.chars().all(|char| char.is_ascii_alphanumeric() || ".-:[]".contains(char)) => path,
        _ => repository,
    };
    let edge = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit();
    let part = |part: &str| part.starts_with(edge) && part.ends_with(edge) && part.chars().all(|char| edge(char) || "._-".contains(char));
    let word = |text: &str, more: &str| !text.is_empty() && text.chars().all(|char| char.is_ascii_alphanumeric() || more.contains(char));
    path.split('/').all(part) && tag.is_none_or(|tag| word(tag, "_.-")) && digest.is_none_or(|digest| digest.contains(':') && word(digest, ":+._-"))
}

fn policy(container: &Container, image: &str) -> &'static str {
    match container.image_pull_policy.as_deref() {
        Some("Always") => "Always",
        Some("Never") => "Never",
        Some("IfNotPresent") => "IfNotPresent",
        _ if image.ends_with(":latest") => "Always",
        _ => "IfNotPresent",
    }
}

/// Sees to it that the container's image is on the node.
pub async fn ensure(shared: &Shared, pod: &Pod, container: &Container, sandbox: &v1::PodSandboxConfig) -> Result<Present, Fault> {
    let asked = container.image.clone().unwrap_or_default();
    let event = |kind, reason: &str, message: String| shared.container_event(pod, &container.name, kind, reason, message);
    if !is_plausible(&asked) {
        let message = format!("Failed to apply default image tag \"{asked}\": couldn't parse image name \"{asked}\": invalid reference format");
        event(EventType::Warning, "InspectFailed", message.clone());
        return Err(Fault::new("InvalidImageName", message));
    }
    let image = with_tag(&asked);
    let spec = v1::ImageSpec { image: image.clone(), ..Default::default() };
    let present = match shared.runtime.image_status(spec.clone()).await {
        Ok(present) => present,
        Err(error) => {
            let message = format!("Failed to inspect image \"{asked}\": {error}");
            event(EventType::Warning, "InspectFailed", message.clone());
            return Err(Fault::new("ImageInspectError", message));
        }
    };
    match (policy(container, &image), present) {
        ("Never" | "IfNotPresent", Some(image)) => {
            let message = format!("Container image \"{asked}\" already present on machine and can be accessed by the pod");
            event(EventType::Normal, "Pulled", message);
            Ok(Present::of(image))
        }
        ("Never", None) => {
            let message = format!("Container image \"{asked}\" is not present with pull policy of Never");
            event(EventType::Warning, "ErrImageNeverPull", message.clone());
            Err(Fault::new("ErrImageNeverPull", message))
        }
        _ => pull(shared, pod, container, spec, sandbox).await,
    }
}

async fn pull(shared: &Shared, pod: &Pod, container: &Container, spec: v1::ImageSpec, sandbox: &v1::PodSandboxConfig) -> Result<Present, Fault> {
    let asked = container.image.clone().unwrap_or_default();
    let event = |kind, reason: &str, message: String| shared.container_event(pod, &container.name, kind, reason, message);
    let key = format!("{}_{}", pod::uid(pod), spec.image);
    if let Some((until, failure)) = shared.images.waits(&key, now()) {
        event(EventType::Normal, "BackOff", format!("Back-off pulling image \"{asked}\""));
        return Err(Fault::new("ImagePullBackOff", format!("Back-off pulling image \"{asked}\": {failure}")).until(until));
    }
    let asked_at = now();
    let _turn = shared.images.pulls.acquire().await;
    event(EventType::Normal, "Pulling", format!("Pulling image \"{asked}\""));
    let began = now();
    let pulled = pull_with_credentials(shared, pod, &spec, sandbox).await;
    let image = match pulled {
        Ok(reference) => {
            shared.runtime.image_status(v1::ImageSpec { image: reference, ..Default::default() }).await.map_err(|error| error.to_string())
        }
        Err(error) => Err(error),
    };
    match image {
        Ok(Some(image)) => {
            shared.images.worked(&key);
            let (took, waited) = (now().duration_since(began), now().duration_since(asked_at));
            let size = image.size;
            let (took, waited) = (seconds(took), seconds(waited));
            event(
                EventType::Normal,
                "Pulled",
                format!("Successfully pulled image \"{asked}\" in {took} ({waited} including waiting). Image size: {size} bytes."),
            );
            Ok(Present::of(image))
        }
        Ok(None) => Err(pull_failed(shared, &key, "the runtime does not know the image it pulled".to_owned(), &asked, event)),
        Err(error) => Err(pull_failed(shared, &key, error, &asked, event)),
    }
}

fn pull_failed(shared: &Shared, key: &str, error: String, asked: &str, event: impl Fn(EventType, &str, String)) -> Fault {
    event(EventType::Warning, "Failed", format!("Failed to pull image \"{asked}\": {error}"));
    shared.images.failed(key, &format!("ErrImagePull: {error}"), now());
    Fault::new("ErrImagePull", error)
}

/// `1.5s`, `320ms`, as Go prints durations of that size.
fn seconds(duration: SignedDuration) -> String {
    let millis = duration.as_millis();
    if millis < 1000 { format!("{millis}ms") } else { lifecycle::go_duration(duration) }
}

/// Tries the credentials of each imagePullSecret for the image's registry, or goes without.
async fn pull_with_credentials(shared: &Shared, pod: &Pod, spec: &v1::ImageSpec, sandbox: &v1::PodSandboxConfig) -> Result<String, String> {
    let mut credentials: Vec<Option<v1::AuthConfig>> = Vec::new();
    for reference in pod::spec(pod).image_pull_secrets.iter().flatten() {
        let api: Api<Secret> = Api::namespaced(shared.client.clone(), pod::namespace(pod));
        match api.get_opt(&reference.name).await {
            Ok(Some(secret)) => credentials.extend(registry_credentials(&secret, &spec.image).map(Some)),
            Ok(None) => {
                let message =
                    format!("Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.", reference.name);
                shared.event(pod, EventType::Warning, "FailedToRetrieveImagePullSecret", message);
            }
            Err(error) => tracing::warn!(pod = pod::describe(pod), %error, "an image pull secret could not be read"),
        }
    }
    if credentials.is_empty() {
        credentials.push(None);
    }
    let mut failure = String::new();
    for auth in credentials {
        match shared.runtime.pull_image(spec.clone(), auth, sandbox.clone()).await {
            Ok(reference) => return Ok(reference),
            Err(error) => failure = error.to_string(),
        }
    }
    Err(failure)
}

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, DockerAuth>,
}

#[derive(Deserialize)]
struct DockerAuth {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    auth: String,
}

/// What a `.dockerconfigjson` or `.dockercfg` Secret holds for the registry of an image.
fn registry_credentials(secret: &Secret, image: &str) -> Option<v1::AuthConfig> {
    let data = secret.data.as_ref()?;
    let auths = if let Some(json) = data.get(".dockerconfigjson") {
        serde_json::from_slice::<DockerConfig>(&json.0).ok()?.auths
    } else {
        serde_json::from_slice(&data.get(".dockercfg")?.0).ok()?
    };
    let wanted = registry(image);
    let (server, auth) = auths.into_iter().find(|(server, _)| {
        let host = server.trim_start_matches("https://").trim_start_matches("http://");
        let host = host.split('/').next().unwrap_or(host);
        host == wanted || (wanted == "docker.io" && host == "index.docker.io")
    })?;
    let (mut username, mut password) = (auth.username, auth.password);
    if !auth.auth.is_empty()
        && let Ok(decoded) = base64::engine::general_purpose::STANDARD.decode(&auth.auth)
        && let Some((name, secret)) = String::from_utf8_lossy(&decoded).split_once(':')
    {
        (username, password) = (name.to_owned(), secret.to_owned());
    }
    Some(v1::AuthConfig { username, password, server_address: server, ..Default::default() })
}

/// The registry's host in an image name; `docker.io` where none is named.
fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_without_a_tag_mean_latest() {
        let check = |image: &str, expect: &str| assert_eq!(with_tag(image), expect);
        check("busybox", "busybox:latest");
        check("busybox:1", "busybox:1");
        check("localhost:5000/x", "localhost:5000/x:latest");
        check("x@sha256:0", "x@sha256:0");
    }

    #[test]
    fn images_that_are_no_names_are_told_apart() {
        for (image, expect) in [
            ("busybox", true),
            ("r.io:5000/a/b:c", true),
            ("a@sha256:0", true),
            ("localhost:1/none:1", true),
            ("Host.io/a", true),
            ("Busybox", false),
            ("a@0", false),
            ("", false),
            ("a b", false),
            ("INVALID IMAGE", false),
            ("a:", false),
            ("/a", false),
        ] {
            assert_eq!(is_plausible(image), expect, "{image}");
        }
    }

    #[test]
    fn the_policy_defaults_by_tag() {
        let check = |stated: Option<&str>, image: &str, expect: &str| {
            let container = Container { image_pull_policy: stated.map(str::to_owned), ..Default::default() };
            assert_eq!(policy(&container, image), expect);
        };
        check(None, "a:latest", "Always");
        check(None, "a:1", "IfNotPresent");
        check(Some("Never"), "a:latest", "Never");
    }

    #[test]
    fn credentials_are_those_of_the_images_registry() {
        let config = json!({"auths": {"https://r.io/v1/": {"auth": base64::engine::general_purpose::STANDARD.encode("me:secret")}, "other.io": {"username": "x"}}});
        let secret: Secret =
            serde_json::from_value(json!({"data": {".dockerconfigjson": base64::engine::general_purpose::STANDARD.encode(config.to_string())}}))
                .expect("a secret");
        let found = registry_credentials(&secret, "r.io/a:1").expect("credentials");
        assert_eq!((found.username.as_str(), found.password.as_str()), ("me", "secret"));
        assert!(registry_credentials(&secret, "busybox:1").is_none());
        assert_eq!((registry("a/b"), registry("localhost/a"), registry("h:1/a")), ("docker.io", "localhost", "h:1"));
    }

    #[test]
    fn a_failed_pull_waits_and_is_forgotten_with_its_pod() {
        let at = |second| Timestamp::from_second(second).expect("in range");
        let images = Images::default();
        images.failed("u_i", "no", at(0));
        assert_eq!(images.waits("u_i", at(5)), Some((at(10), "no".to_owned())));
        assert_eq!(images.waits("u_i", at(10)), None);
        images.failed("u_i", "no", at(10));
        assert_eq!(images.waits("u_i", at(15)), Some((at(30), "no".to_owned())));
        images.forget("u");
        assert_eq!(images.waits("u_i", at(15)), None);
    }
}
