//! Leader election on a coordination.k8s.io/v1 Lease, as client-go does it.
//!
//! Candidates never compare clocks: each counts, by its own monotonic clock, for how long it has seen the lease unchanged. Whoever holds the lease
//! and cannot renew it for `renew_deadline` stops its work before any other may start.

use crate::{Client, Error, time};
use apiserver_component::{Clock, Shutdown};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, PostParams};
use rand::RngExt;
use serde_json::json;
use std::future::Future;
use std::time::Duration;
use tokio::time::Instant;

/// Spread of the waits between attempts: [retry_period, retry_period + JITTER · retry_period).
const JITTER: f64 = 1.2;

/// Which lease, as whom, and for how long.
#[derive(Clone, Debug)]
pub struct LeaseLock {
    pub namespace: String,
    pub name: String,
    pub identity: String,
    /// How long others wait after the last renewal they saw.
    pub lease_duration: Duration,
    /// How long the holder tries to renew before it gives up.
    pub renew_deadline: Duration,
    pub retry_period: Duration,
}

impl LeaseLock {
    /// With upstream's durations: 15 s, 10 s, 2 s.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>, identity: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            identity: identity.into(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

/// Waits for the lease, runs `work` while it is held, and gives it back.
///
/// `work` gets a signal that fires when the lease is lost or `shutdown` fires, and must end soon after it. Losing the lease is an error: what the
/// work has in memory may be stale, so the process ends and is started anew.
pub async fn run<W, F>(client: Client, lock: LeaseLock, shutdown: Shutdown, work: W) -> Result<(), Error>
where
    W: FnOnce(Shutdown) -> F,
    F: Future<Output = ()>,
{
    let mut candidate = Candidate { api: Api::namespaced(client, &lock.namespace), lock, seen: None };
    if shutdown.run_until(candidate.acquire()).await.is_none() {
        return Ok(());
    }
    tracing::info!(lease = candidate.lock.name, identity = candidate.lock.identity, "became leader");
    let leading = shutdown.child();
    let work = work(leading.clone());
    tokio::pin!(work);
    let lost = tokio::select! {
        () = &mut work => false,
        () = candidate.renew() => true,
    };
    if lost {
        tracing::error!(lease = candidate.lock.name, "lost the lease");
        leading.fire();
        work.await;
        return Err(Error::LostLease(candidate.lock.name));
    }
    candidate.release().await;
    Ok(())
}

struct Candidate {
    api: Api<Lease>,
    lock: LeaseLock,
    seen: Option<Seen>,
}

/// The lease as this candidate last saw it change.
struct Seen {
    lease: Lease,
    at: Instant,
}

/// What to do about the lease as it is seen.
#[derive(Debug, PartialEq)]
enum Step {
    Create,
    /// Held by another whose time is not over.
    Wait,
    Renew,
    Take,
}

fn step(seen: Option<&Lease>, unchanged: Duration, lock: &LeaseLock) -> Step {
    let Some(spec) = seen.map(|lease| lease.spec.clone().unwrap_or_default()) else { return Step::Create };
    let holder = spec.holder_identity.unwrap_or_default();
    if holder == lock.identity {
        Step::Renew
    } else if !holder.is_empty() && unchanged < lock.lease_duration {
        Step::Wait
    } else {
        Step::Take
    }
}

impl Candidate {
    async fn acquire(&mut self) {
        loop {
            match self.attempt().await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "leader election"),
            }
            let jitter = rand::rng().random_range(0.0..JITTER);
            tokio::time::sleep(self.lock.retry_period.mul_f64(1.0 + jitter)).await;
        }
    }

    /// Completes when the lease is lost.
    async fn renew(&mut self) {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(self.lock.retry_period).await;
            match tokio::time::timeout_at(renewed + self.lock.renew_deadline, self.attempt()).await {
                Ok(Ok(true)) => renewed = Instant::now(),
                Ok(Ok(false)) => return,
                Ok(Err(error)) => {
                    tracing::warn!(%error, "renewing");
                    if renewed.elapsed() >= self.lock.renew_deadline {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    }

    /// Whether the lease is ours now.
    async fn attempt(&mut self) -> Result<bool, Error> {
        match self.try_once().await {
            Ok(ours) => Ok(ours),
            // Somebody else was faster.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(source) => Err(Error::Lease { lease: self.lock.name.clone(), source: Box::new(source) }),
        }
    }

    async fn try_once(&mut self) -> Result<bool, kube::Error> {
        let current = self.api.get_opt(&self.lock.name).await?;
        let now = Instant::now();
        self.seen = current.map(|lease| match self.seen.take() {
            Some(seen) if seen.lease.spec == lease.spec => Seen { lease, at: seen.at },
            _ => Seen { lease, at: now },
        });
        let lease = self.seen.as_ref().map(|seen| &seen.lease);
        let unchanged = self.seen.as_ref().map_or(Duration::ZERO, |seen| now - seen.at);
        let wall = time::rfc3339_micro(Clock.now());
        let transitions = lease.and_then(|lease| lease.spec.as_ref()?.lease_transitions).unwrap_or(0);
        let written = match step(lease, unchanged, &self.lock) {
            Step::Wait => return Ok(false),
            Step::Create => {
                let lease = json!({
                    "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                    "metadata": {"namespace": self.lock.namespace, "name": self.lock.name},
                    "spec": {"holderIdentity": self.lock.identity, "leaseDurationSeconds": self.lock.lease_duration.as_secs(),
                             "acquireTime": wall, "renewTime": wall, "leaseTransitions": 0},
                });
                let lease = serde_json::from_value(lease).map_err(kube::Error::SerdeError)?;
                self.api.create(&PostParams::default(), &lease).await?
            }
            Step::Renew => self.write(json!({"renewTime": wall, "leaseDurationSeconds": self.lock.lease_duration.as_secs()})).await?,
            Step::Take => {
                let spec = json!({"holderIdentity": self.lock.identity, "leaseDurationSeconds": self.lock.lease_duration.as_secs(),
                                  "acquireTime": wall, "renewTime": wall, "leaseTransitions": transitions.saturating_add(1)});
                self.write(spec).await?
            }
        };
        self.seen = Some(Seen { lease: written, at: now });
        Ok(true)
    }

    /// Changes the lease only if it is still as it was seen. A PUT, since upstream's roles allow components no patch of
    /// their lease.
    async fn write(&self, spec: serde_json::Value) -> Result<Lease, kube::Error> {
        let mut lease = match &self.seen {
            Some(seen) => serde_json::to_value(&seen.lease).map_err(kube::Error::SerdeError)?,
            None => json!({"metadata": {"namespace": self.lock.namespace, "name": self.lock.name}}),
        };
        for (field, value) in spec.as_object().into_iter().flatten() {
            lease["spec"][field] = value.clone();
        }
        let lease = serde_json::from_value(lease).map_err(kube::Error::SerdeError)?;
        self.api.replace(&self.lock.name, &PostParams::default(), &lease).await
    }

    /// Lets another candidate take over at once.
    async fn release(&self) {
        let now = time::rfc3339_micro(Clock.now());
        let spec = json!({"holderIdentity": "", "leaseDurationSeconds": 1, "acquireTime": now, "renewTime": now});
        match tokio::time::timeout(self.lock.renew_deadline, self.write(spec)).await {
            Ok(Ok(_)) => tracing::info!(lease = self.lock.name, "released the lease"),
            Ok(Err(error)) => tracing::warn!(%error, "releasing the lease"),
            Err(_) => tracing::warn!("releasing the lease timed out"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Method, Request, Response};
    use http_body_util::{BodyExt, Full};
    use kube::client::Body;
    use serde_json::Value;
    use std::sync::{Arc, Mutex};

    /// One Lease behind an API; `down` makes every call fail.
    #[derive(Clone, Default)]
    struct Server {
        lease: Arc<Mutex<Option<Value>>>,
        revision: Arc<Mutex<u64>>,
        down: Arc<Mutex<bool>>,
    }

    impl Server {
        fn client(&self) -> Client {
            let server = self.clone();
            crate::config::in_process(tower::service_fn(move |request: Request<Body>| {
                let server = server.clone();
                async move { Ok::<_, tower::BoxError>(server.answer(request).await) }
            }))
        }

        async fn answer(&self, request: Request<Body>) -> Response<Full<bytes::Bytes>> {
            let method = request.method().clone();
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            let mut lease = self.lease.lock().unwrap();
            let code = match (&*lease, &method) {
                _ if *self.down.lock().unwrap() => 500,
                (None, &Method::POST) => 201,
                (None, _) => 404,
                (Some(_), &Method::POST) => 409,
                (Some(old), &Method::PUT) if old["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"] => 409,
                _ => 200,
            };
            if code < 400 && method != Method::GET {
                let mut revision = self.revision.lock().unwrap();
                *revision += 1;
                let mut new = lease.take().unwrap_or_else(|| body.clone());
                for (key, value) in body["spec"].as_object().unwrap() {
                    new["spec"][key] = value.clone();
                }
                new["metadata"]["resourceVersion"] = revision.to_string().into();
                *lease = Some(new);
            }
            let reason = match code {
                404 => "NotFound",
                409 => "Conflict",
                _ => "InternalError",
            };
            let failure = json!({"kind": "Status", "status": "Failure", "code": code, "message": "", "reason": reason});
            let answer = if code < 400 { lease.clone().unwrap() } else { failure };
            Response::builder().status(code).body(Full::from(answer.to_string())).unwrap()
        }

        fn holder(&self) -> String {
            self.lease.lock().unwrap().as_ref().unwrap()["spec"]["holderIdentity"].as_str().unwrap().to_string()
        }
    }

    #[test]
    fn a_lease_is_taken_only_when_free_or_silent_for_its_duration() {
        let lock = LeaseLock::new("kube-system", "x", "me");
        let check = |holder: Option<&str>, unchanged: u64, expect: Step| {
            let lease = holder.map(|holder| serde_json::from_value(json!({"metadata": {}, "spec": {"holderIdentity": holder}})).unwrap());
            assert_eq!(step(lease.as_ref(), Duration::from_secs(unchanged), &lock), expect);
        };
        check(None, 0, Step::Create);
        check(Some("other"), 14, Step::Wait);
        check(Some("other"), 15, Step::Take);
        check(Some(""), 0, Step::Take);
        check(Some("me"), 0, Step::Renew);
    }

    #[tokio::test(start_paused = true)]
    async fn a_released_lease_goes_to_the_next_candidate_and_counts_the_transition() {
        let server = Server::default();
        for identity in ["one", "two"] {
            let held = server.clone();
            let lock = LeaseLock::new("kube-system", "x", identity);
            run(server.client(), lock, Shutdown::new(), |_| async move { assert_eq!(held.holder(), identity) }).await.unwrap();
            assert_eq!(server.holder(), "");
        }
        assert_eq!(server.lease.lock().unwrap().as_ref().unwrap()["spec"]["leaseTransitions"], 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_cannot_renew_stops_before_anybody_else_starts() {
        let server = Server::default();
        let down = server.down.clone();
        let started = Instant::now();
        let lock = LeaseLock::new("kube-system", "x", "one");
        let result = run(server.client(), lock, Shutdown::new(), |leading| async move {
            tokio::time::sleep(Duration::from_secs(60)).await;
            *down.lock().unwrap() = true;
            leading.wait().await;
        });
        assert!(matches!(result.await, Err(Error::LostLease(_))));
        assert!(started.elapsed() < Duration::from_secs(60 + 15), "{:?}", started.elapsed());
    }
}
