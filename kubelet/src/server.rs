//! The kubelet's own server: Pods, logs and metrics of this node, and streams into containers. Everything but health asks for credentials.
//!
//! It decides nothing about Pods. Streams go to the runtime's streaming server on the loopback; this is where they are translated.

mod auth;
mod handlers;
mod metrics;
mod query;
mod remote;
mod spdy;
mod upgrade;
mod websocket;

use crate::config::Config;
use crate::pleg::LastSeen;
use crate::shared::Shared;
use apiserver_client::Informer;
use apiserver_component::Tasks;
use apiserver_component::tls::{self, Authorities, ClientCertificates, Identity, Pem};
use auth::Gate;
use bytes::Bytes;
use futures::FutureExt;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use k8s_openapi::api::core::v1::Pod;
use rustls::ServerConfig;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Connections at a time; more wait to be accepted.
const CONNECTIONS_MAX: usize = 1024;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const HEADERS_TIMEOUT: Duration = Duration::from_secs(30);
/// After a failed accept (no file descriptors left, say), before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("listening on {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("the server's TLS: {0}")]
    Tls(#[from] tls::Error),
}

pub(crate) type Body = UnsyncBoxBody<Bytes, std::io::Error>;
pub(crate) type Answer = Response<Body>;

pub(crate) fn text(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    let body = Full::new(text.into()).map_err(|never: Infallible| match never {}).boxed_unsync();
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

/// What requests are answered from. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Context {
    pub shared: Arc<Shared>,
    pub pods: Informer<Pod>,
    pub last_seen: LastSeen,
    gate: Arc<Gate>,
}

/// A server that is ready to accept.
pub struct Server {
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    context: Context,
}

impl Server {
    /// Binds the port; `None` when no certificate is configured.
    pub async fn bind(shared: Arc<Shared>, pods: Informer<Pod>, last_seen: LastSeen) -> Result<Option<Self>, Error> {
        let Some((certificate, key)) = identity(&shared.config) else { return Ok(None) };
        let identity = Identity::new(Pem::File(certificate), Pem::File(key))?;
        let authorities = shared.config.client_ca.clone().map(|bundle| Authorities::new(Pem::File(bundle))).transpose()?;
        // One that does not come from our authority may still bear a token, so the handshake does not judge.
        let tls = tls::server_config(identity, ClientCertificates::Request, tls::ALPN_HTTP1)?;
        let address = SocketAddr::new(shared.config.address, shared.config.port);
        let listener = TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })?;
        let gate = Arc::new(Gate::new(shared.client.clone(), shared.config.node_name.clone(), authorities));
        Ok(Some(Self { listener, tls, context: Context { shared, pods, last_seen, gate } }))
    }

    /// Serves until dropped.
    pub async fn run(self) {
        let tasks = self.context.shared.tasks.clone();
        let (tls, context) = (self.tls, self.context);
        accept(self.listener, tasks, move |stream| {
            let (tls, context) = (tls.clone(), context.clone());
            async move {
                let handshake = tokio_rustls::TlsAcceptor::from(tls).accept(stream);
                match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
                    Ok(Ok(stream)) => {
                        let chain = stream.get_ref().1.peer_certificates().map(<[_]>::to_vec).unwrap_or_default();
                        let caller = context.gate.by_certificate(&chain);
                        let answer = move |request| handlers::answer(context.clone(), caller.clone(), request).boxed();
                        serve(stream, answer).await;
                    }
                    Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                    Err(_) => tracing::debug!("a TLS handshake took too long"),
                }
            }
        })
        .await;
    }
}

fn identity(config: &Config) -> Option<(PathBuf, PathBuf)> {
    Some((config.tls_cert.clone()?, config.tls_key.clone()?))
}

/// Plain health on the loopback, for whoever supervises this process. `None` when the port is 0.
pub async fn bind_health(port: u16) -> Result<Option<TcpListener>, Error> {
    if port == 0 {
        return Ok(None);
    }
    let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    TcpListener::bind(address).await.map(Some).map_err(|source| Error::Listen { address, source })
}

pub async fn run_health(listener: TcpListener, tasks: Tasks, last_seen: LastSeen) {
    accept(listener, tasks, move |stream| {
        let last_seen = last_seen.clone();
        async move {
            let answer = move |request: Request<Incoming>| {
                let answer = match request.uri().path() {
                    path if path == "/healthz" || path.starts_with("/healthz/") => handlers::health(&last_seen),
                    _ => text(StatusCode::NOT_FOUND, "404 page not found\n"),
                };
                async move { answer }.boxed()
            };
            serve(stream, answer).await;
        }
    })
    .await;
}

async fn accept<F>(listener: TcpListener, tasks: Tasks, serve: impl Fn(TcpStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let seats = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(seat) = seats.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true);
                let work = serve(stream);
                tasks.spawn("kubelet-connection", async move {
                    work.await;
                    drop(seat);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve<S>(stream: S, answer: impl Fn(Request<Incoming>) -> futures::future::BoxFuture<'static, Answer>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request| answer(request).map(Ok::<_, Infallible>));
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended badly");
    }
}
