//! Named health checks and the bodies of `/healthz`, `/livez` and `/readyz`.
//!
//! It opens no port: whoever serves HTTP passes the path and the query here.

use futures::future::{BoxFuture, join_all};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A check that has not answered by then has failed.
pub const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

type Check = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// Which of the endpoints a check belongs to. `/healthz` runs them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Failing means: restart this process.
    Live,
    /// Failing means: send it no requests.
    Ready,
    Both,
}

/// The checks of one component. Cheap to clone. `ping`, which always passes, is in it from the start.
#[derive(Clone)]
pub struct Health(Arc<Mutex<Vec<(String, Endpoint, Check)>>>);

/// What to answer on one of the health endpoints.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Default for Health {
    fn default() -> Self {
        let health = Self(Arc::default());
        health.add("ping", Endpoint::Both, || Ok(()));
        health
    }
}

impl Health {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a check that answers at once.
    pub fn add(&self, name: impl Into<String>, endpoint: Endpoint, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        let check = Arc::new(check);
        self.add_async(name, endpoint, move || {
            let check = check.clone();
            Box::pin(async move { check() })
        });
    }

    /// Adds a check that takes time, at most [`CHECK_TIMEOUT`].
    pub fn add_async(
        &self,
        name: impl Into<String>,
        endpoint: Endpoint,
        check: impl Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync + 'static,
    ) {
        self.checks().push((name.into(), endpoint, Arc::new(check)));
    }

    fn checks(&self) -> std::sync::MutexGuard<'_, Vec<(String, Endpoint, Check)>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The answer for `path` (`/readyz`, or one check alone as `/readyz/ping`); None where the path is no health endpoint or names no check.
    ///
    /// Of the query, `verbose` and `exclude=NAME` (repeated) are known.
    pub async fn answer(&self, path: &str, query: Option<&str>) -> Option<Answer> {
        let mut parts = path.trim_start_matches('/').splitn(2, '/');
        let endpoint = parts.next().filter(|name| matches!(*name, "healthz" | "livez" | "readyz"))?;
        let only = parts.next().filter(|name| !name.is_empty());
        let pairs: Vec<(&str, &str)> = query.unwrap_or_default().split('&').map(|pair| pair.split_once('=').unwrap_or((pair, ""))).collect();
        let excluded: Vec<&str> = pairs.iter().filter(|(key, _)| *key == "exclude").map(|(_, value)| *value).collect();
        let verbose = pairs.iter().any(|(key, _)| *key == "verbose");

        let asked: Vec<(String, Check)> = self
            .checks()
            .iter()
            .filter(|(_, at, _)| match endpoint {
                "livez" => *at != Endpoint::Ready,
                "readyz" => *at != Endpoint::Live,
                _ => true,
            })
            .filter(|(name, ..)| only.is_none_or(|only| only == name))
            .map(|(name, _, check)| (name.clone(), check.clone()))
            .collect();
        if only.is_some() && asked.is_empty() {
            return None;
        }

        let results = join_all(asked.iter().map(|(name, check)| async {
            if excluded.contains(&name.as_str()) {
                return None;
            }
            let result = tokio::time::timeout(CHECK_TIMEOUT, check()).await.unwrap_or_else(|_| Err("timed out".into()));
            Some(result)
        }))
        .await;
        Some(render(endpoint, only, verbose, asked.iter().map(|(name, _)| name.as_str()).zip(results)))
    }
}

/// The reason of a failure is logged, never sent: anonymous callers may read these endpoints.
fn render<'a>(endpoint: &str, only: Option<&str>, verbose: bool, results: impl Iterator<Item = (&'a str, Option<Result<(), String>>)>) -> Answer {
    let (mut lines, mut failed) = (String::new(), false);
    for (name, result) in results {
        match result {
            None => lines.push_str(&format!("[+]{name} excluded: ok\n")),
            Some(Ok(())) => lines.push_str(&format!("[+]{name} ok\n")),
            Some(Err(reason)) => {
                tracing::warn!(check = name, %reason, "{endpoint} check failed");
                failed = true;
                lines.push_str(&format!("[-]{name} failed: reason withheld\n"));
            }
        }
    }
    match (failed, only) {
        (true, Some(_)) => Answer { status: 500, body: "internal server error: reason withheld\n".into() },
        (true, None) => Answer { status: 500, body: format!("{lines}{endpoint} check failed\n") },
        (false, None) if verbose => Answer { status: 200, body: format!("{lines}{endpoint} check passed\n") },
        (false, _) => Answer { status: 200, body: "ok".into() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(path: &str, query: Option<&str>, expect: Option<(u16, &str)>) {
        let health = Health::new();
        health.add("stuck", Endpoint::Ready, || Err("no leader".into()));
        health.add_async("slow", Endpoint::Live, || Box::pin(async { Ok(()) }));
        let answer = health.answer(path, query).await;
        assert_eq!(answer, expect.map(|(status, body)| Answer { status, body: body.into() }), "{path} {query:?}");
    }

    #[tokio::test]
    async fn answers_are_worded_as_upstreams() {
        check("/livez", None, Some((200, "ok"))).await;
        check("/livez", Some("verbose"), Some((200, "[+]ping ok\n[+]slow ok\nlivez check passed\n"))).await;
        check("/readyz", None, Some((500, "[+]ping ok\n[-]stuck failed: reason withheld\nreadyz check failed\n"))).await;
        check("/readyz", Some("verbose&exclude=stuck"), Some((200, "[+]ping ok\n[+]stuck excluded: ok\nreadyz check passed\n"))).await;
        check("/readyz/ping", None, Some((200, "ok"))).await;
        check("/readyz/stuck", None, Some((500, "internal server error: reason withheld\n"))).await;
        check("/readyz/unknown", None, None).await;
        check("/metrics", None, None).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_hangs_fails_in_bounded_time() {
        let health = Health::new();
        health.add_async("hung", Endpoint::Both, || Box::pin(std::future::pending()));
        assert_eq!(health.answer("/healthz", None).await.unwrap().status, 500);
    }
}
