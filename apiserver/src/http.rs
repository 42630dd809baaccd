//! Connections: TLS, HTTP/1.1 and HTTP/2, and who is at the other end. It knows nothing of what is asked.

use crate::api::Api;
use crate::body::Body;
use crate::serve;
use apiserver_component::Tasks;
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// A TLS handshake or the head of an HTTP/1.1 request that takes longer is given up.
const HANDSHAKE_MS_MAX: u64 = 10_000;
/// Requests at a time on one HTTP/2 connection.
const STREAMS_PER_CONNECTION_MAX: u32 = 1_000;
/// Bytes of a request's body that may be under way unread, per stream and per connection.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// Bytes that may wait to be sent on one stream.
const STREAM_SEND_BYTES_MAX: usize = 256 * 1024;
const CONNECTIONS_MAX: usize = 20_000;
/// How long open requests may go on after shutdown has begun.
const DRAIN_MS_MAX: u64 = 2_000;

/// Accepts connections until shutdown.
pub async fn listen(listener: TcpListener, tls: Arc<rustls::ServerConfig>, api: Arc<Api>, tasks: Tasks) {
    let seats = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(seat) = seats.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, or the peer is gone already.
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let acceptor = tokio_rustls::TlsAcceptor::from(tls.clone());
        let (api, shutdown) = (api.clone(), tasks.shutdown().clone());
        tasks.spawn_graceful("connection", async move {
            connection(stream, acceptor, api, shutdown).await;
            drop(seat);
        });
    }
}

async fn connection(stream: TcpStream, acceptor: tokio_rustls::TlsAcceptor, api: Arc<Api>, shutdown: apiserver_component::Shutdown) {
    let _ = stream.set_nodelay(true);
    let remote = stream.peer_addr().ok();
    let handshake = tokio::time::timeout(Duration::from_millis(HANDSHAKE_MS_MAX), acceptor.accept(stream));
    let stream = match shutdown.run_until(handshake).await {
        Some(Ok(Ok(stream))) => stream,
        Some(Ok(Err(error))) => {
            tracing::debug!(%error, ?remote, "TLS handshake failed");
            return;
        }
        _ => return,
    };
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let peer = Arc::new(serve::Peer { identity: api.auth.peer(certificates), remote });
    let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let (api, peer) = (api.clone(), peer.clone());
        async move {
            let request = request.map(|body| body.map_err(|error| Box::new(error) as _).boxed_unsync());
            Ok::<http::Response<Body>, std::convert::Infallible>(serve::handle(api, peer, request).await)
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(Duration::from_millis(HANDSHAKE_MS_MAX)).keep_alive(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(STREAM_SEND_BYTES_MAX)
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .keep_alive_timeout(Duration::from_secs(15));
    let serving = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let ended = shutdown.run_until(serving.as_mut()).await;
    if ended.is_none() {
        serving.as_mut().graceful_shutdown();
        let _ = tokio::time::timeout(Duration::from_millis(DRAIN_MS_MAX), serving).await;
    }
}
