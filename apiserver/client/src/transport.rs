//! HTTP to a remote API server: connections, credentials, deadlines.
//!
//! Short requests share HTTP/2 connections. A watch, a followed log or an upgraded stream has an HTTP/1.1 connection of its own, so that many watches
//! never use up the streams that the server allows on one connection, and a slow one holds nobody up.

use crate::retry::Retry;
use apiserver_component::tls;
use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue, UPGRADE, USER_AGENT};
use http::uri::{PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use http_body::Frame;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use kube::client::Body;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tower::{BoxError, Service};

pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// From sending a short request to the last byte of its answer: a little longer than the server's own 60 s, so that its answer says what went wrong.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(70);
const IDLE_CONNECTION_TIMEOUT: Duration = Duration::from_secs(90);
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(30);
const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(15);
const HTTP2_WINDOW_BYTES: u32 = 1 << 20;
/// How old a token read from a file may be.
const TOKEN_AGE_MAX: Duration = Duration::from_secs(10);

/// How to reach a server and who to be there.
pub struct Settings {
    pub server: Uri,
    pub trust: tls::ServerTrust,
    pub identity: Option<Arc<tls::Identity>>,
    /// The name the server's certificate must have, where it is not the host of `server`.
    pub server_name: Option<String>,
    pub token: Option<Token>,
    /// Sent with every request, for example `Impersonate-User`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub namespace: String,
}

/// A bearer token.
pub enum Token {
    Fixed(String),
    /// Read again when it is [`TOKEN_AGE_MAX`] old.
    File(PathBuf),
}

/// Opens nothing: connections are made as requests need them.
pub fn client(settings: Settings) -> Result<kube::Client, crate::Error> {
    let connector = |alpn: &[&str]| -> Result<Connector, crate::Error> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_keepalive(Some(TCP_KEEPALIVE));
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let tls = tls::client_config(settings.trust.clone(), settings.identity.clone(), alpn)?;
        Ok(Connector { http, tls, server_name: settings.server_name.clone() })
    };
    let shared = builder().build(connector(tls::ALPN_HTTP)?);
    let single = builder().build(connector(tls::ALPN_HTTP1)?);
    let target = Arc::new(Target {
        scheme: settings.server.scheme().cloned().unwrap_or(Scheme::HTTPS),
        authority: settings.server.authority().cloned().ok_or(crate::Error::MissingField("server"))?,
        prefix: settings.server.path().trim_end_matches('/').to_string(),
        token: settings.token.map(|token| Bearer { token, read: Mutex::new(None) }),
        headers: settings.headers,
    });
    Ok(kube::Client::new(Retry(Transport { shared, single, target }), settings.namespace))
}

fn builder() -> hyper_util::client::legacy::Builder {
    let mut builder = HttpClient::builder(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_CONNECTION_TIMEOUT)
        .http2_initial_stream_window_size(HTTP2_WINDOW_BYTES)
        .http2_keep_alive_interval(HTTP2_PING_INTERVAL)
        .http2_keep_alive_timeout(HTTP2_PING_TIMEOUT);
    builder
}

#[derive(Clone)]
struct Transport {
    shared: HttpClient<Connector, Body>,
    single: HttpClient<Connector, Body>,
    target: Arc<Target>,
}

struct Target {
    scheme: Scheme,
    authority: http::uri::Authority,
    /// The path of the server's URL, without a slash at its end.
    prefix: String,
    token: Option<Bearer>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Target {
    fn aim(&self, request: &mut Request<Body>) -> Result<(), BoxError> {
        let path = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
        *request.uri_mut() =
            Uri::builder().scheme(self.scheme.clone()).authority(self.authority.clone()).path_and_query(format!("{}{path}", self.prefix)).build()?;
        let headers = request.headers_mut();
        headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(concat!("corten/", env!("CARGO_PKG_VERSION"))));
        for (name, value) in &self.headers {
            headers.append(name.clone(), value.clone());
        }
        if let Some(bearer) = &self.token
            && !headers.contains_key(AUTHORIZATION)
        {
            headers.insert(AUTHORIZATION, bearer.header()?);
        }
        Ok(())
    }
}

struct Bearer {
    token: Token,
    read: Mutex<Option<(Instant, HeaderValue)>>,
}

impl Bearer {
    fn header(&self) -> Result<HeaderValue, BoxError> {
        let mut read = self.read.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some((at, header)) = &*read
            && at.elapsed() < TOKEN_AGE_MAX
        {
            return Ok(header.clone());
        }
        let text = match &self.token {
            Token::Fixed(token) => token.clone(),
            Token::File(path) => match (std::fs::read_to_string(path), &*read) {
                (Ok(text), _) => text,
                // A token that is being replaced may be missing for a moment.
                (Err(_), Some((_, header))) => return Ok(header.clone()),
                (Err(error), None) => return Err(format!("reading {}: {error}", path.display()).into()),
            },
        };
        let mut header = HeaderValue::try_from(format!("Bearer {}", text.trim()))?;
        header.set_sensitive(true);
        *read = Some((Instant::now(), header.clone()));
        Ok(header)
    }
}

/// Whether the answer may take any time: a watch, a followed log, an upgrade.
fn is_long(request: &Request<Body>) -> bool {
    let long = |pair: &str| matches!(pair, "watch=true" | "watch=1" | "follow=true" | "follow=1");
    request.headers().contains_key(UPGRADE) || request.uri().query().is_some_and(|query| query.split('&').any(long))
}

impl Service<Request<Body>> for Transport {
    type Response = Response<Bounded>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Bounded>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if let Err(error) = self.target.aim(&mut request) {
            return Box::pin(async { Err(error) });
        }
        let long = is_long(&request);
        let client = if long { &self.single } else { &self.shared };
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        let answer = client.request(request);
        Box::pin(async move {
            let response = tokio::time::timeout_at(deadline, answer).await.map_err(|_| BoxError::from("no answer in time"))??;
            let sleep = (!long).then(|| Box::pin(tokio::time::sleep_until(deadline)));
            Ok(response.map(|body| Bounded { body, deadline: sleep }))
        })
    }
}

/// An answer's body that fails when its deadline passes.
pub struct Bounded {
    body: Incoming,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl http_body::Body for Bounded {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        match &mut self.deadline {
            Some(deadline) => {
                ready!(deadline.as_mut().poll(context));
                Poll::Ready(Some(Err("the answer's body did not arrive in time".into())))
            }
            None => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

#[derive(Clone)]
struct Connector {
    http: HttpConnector,
    tls: Arc<ClientConfig>,
    server_name: Option<String>,
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.http.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let secure = uri.scheme() == Some(&Scheme::HTTPS);
        let host = self.server_name.clone().unwrap_or_else(|| uri.host().unwrap_or_default().trim_matches(['[', ']']).to_string());
        let connect = self.http.call(uri);
        let tls = TlsConnector::from(self.tls.clone());
        Box::pin(async move {
            let tcp: TcpStream = connect.await?.into_inner();
            if !secure {
                return Ok(Stream { io: TokioIo::new(Box::new(tcp)), http2: false });
            }
            let stream = tokio::time::timeout(CONNECT_TIMEOUT, tls.connect(ServerName::try_from(host)?, tcp))
                .await
                .map_err(|_| "TLS handshake timed out")??;
            let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            Ok(Stream { io: TokioIo::new(Box::new(stream)), http2 })
        })
    }
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection, plain or TLS.
struct Stream {
    io: TokioIo<Box<dyn Io>>,
    http2: bool,
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        if self.http2 { Connected::new().negotiated_h2() } else { Connected::new() }
    }
}

impl hyper::rt::Read for Stream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: hyper::rt::ReadBufCursor<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl hyper::rt::Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffers: &[std::io::IoSlice<'_>]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, buffers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_told_from_short_requests() {
        let check = |uri: &str, upgrade: bool, expect: bool| {
            let mut request = Request::new(Body::empty());
            *request.uri_mut() = uri.parse().unwrap();
            if upgrade {
                request.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
            }
            assert_eq!(is_long(&request), expect, "{uri}");
        };
        check("/api/v1/pods?limit=5", false, false);
        check("/api/v1/pods?limit=5&watch=true", false, true);
        check("/api/v1/pods?labelSelector=watch%3Dtrue", false, false);
        check("/api/v1/namespaces/a/pods/b/log?follow=true", false, true);
        check("/api/v1/namespaces/a/pods/b/exec", true, true);
    }

    #[test]
    fn a_request_is_aimed_below_the_servers_path_with_the_clients_credentials() {
        let target = Target {
            scheme: Scheme::HTTPS,
            authority: "api:6443".parse().unwrap(),
            prefix: "/cluster".into(),
            token: Some(Bearer { token: Token::Fixed("t0ken\n".into()), read: Mutex::default() }),
            headers: vec![(HeaderName::from_static("impersonate-user"), HeaderValue::from_static("eve"))],
        };
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = "/api/v1/pods?limit=5".parse().unwrap();
        target.aim(&mut request).unwrap();
        assert_eq!(request.uri(), "https://api:6443/cluster/api/v1/pods?limit=5");
        assert_eq!(request.headers()[AUTHORIZATION], "Bearer t0ken");
        assert_eq!(request.headers()["impersonate-user"], "eve");
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_file_is_read_again_when_its_content_is_old() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "one").unwrap();
        let bearer = Bearer { token: Token::File(path.clone()), read: Mutex::default() };
        assert_eq!(bearer.header().unwrap(), "Bearer one");
        std::fs::write(&path, "two").unwrap();
        assert_eq!(bearer.header().unwrap(), "Bearer one");
        tokio::time::advance(TOKEN_AGE_MAX).await;
        assert_eq!(bearer.header().unwrap(), "Bearer two");
        std::fs::remove_file(&path).unwrap();
        tokio::time::advance(TOKEN_AGE_MAX).await;
        assert_eq!(bearer.header().unwrap(), "Bearer two");
    }
}
