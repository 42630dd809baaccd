//! HTTP requests to containers, for probes and hooks: one GET, a short answer, certificates not judged, redirects within the host followed.

use apiserver_component::tls::{self, ServerTrust};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use rustls::pki_types::ServerName;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// No more of an answer is read, or shown.
const BODY_BYTES_MAX: usize = 10 * 1024;
const REDIRECTS_MAX: u32 = 10;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("couldn't find port: {0:?}")]
    Port(String),
    #[error("invalid header {0:?}")]
    Header(String),
    #[error("invalid URL: {0}")]
    Url(#[source] http::Error),
    #[error("dial tcp {address}: {source}")]
    Dial { address: String, source: std::io::Error },
    #[error("TLS with {address}: {source}")]
    Tls { address: String, source: std::io::Error },
    #[error("TLS cannot be set up: {0}")]
    TlsSetUp(#[source] tls::Error),
    #[error("request failed: {0}")]
    Exchange(#[source] hyper::Error),
    #[error("HTTP probe failed with statuscode: {0}")]
    Status(u16),
    #[error("context deadline exceeded (Client.Timeout exceeded while awaiting headers)")]
    Timeout,
}

/// Where to send the request, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub tls: bool,
    pub host: String,
    pub port: u16,
    pub path: String,
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

pub struct Answer {
    pub status: u16,
    pub body: String,
}

/// A port by number, or by its name in the container's list.
pub fn port(port: &IntOrString, container: &Container) -> Result<u16, Error> {
    let named = |name: &str| {
        let found = container.ports.iter().flatten().find(|port| port.name.as_deref() == Some(name));
        found.map(|port| port.container_port).or_else(|| name.parse().ok())
    };
    let (number, text) = match port {
        IntOrString::Int(number) => (Some(*number), number.to_string()),
        IntOrString::String(name) => (named(name), name.clone()),
    };
    number.and_then(|number| u16::try_from(number).ok()).filter(|number| *number > 0).ok_or(Error::Port(text))
}

impl Target {
    /// `agent` is what the User-Agent says before the version: `kube-probe`, `kube-lifecycle`.
    pub fn of(get: &HTTPGetAction, container: &Container, pod_ip: &str, agent: &str) -> Result<Self, Error> {
        let mut headers = Vec::new();
        for header in get.http_headers.iter().flatten() {
            let name = HeaderName::try_from(header.name.as_str()).map_err(|_| Error::Header(header.name.clone()))?;
            let value = HeaderValue::try_from(header.value.as_str()).map_err(|_| Error::Header(header.name.clone()))?;
            headers.push((name, value));
        }
        let lacks = |headers: &[(HeaderName, HeaderValue)], name: HeaderName| headers.iter().all(|(known, _)| *known != name);
        if lacks(&headers, http::header::USER_AGENT) {
            let minor = crate::config::VERSION.trim_start_matches('v').rsplit_once('.').map_or("", |(minor, _)| minor);
            let value = HeaderValue::try_from(format!("kube-{agent}/{minor}")).map_err(|_| Error::Header("User-Agent".to_owned()))?;
            headers.push((http::header::USER_AGENT, value));
        }
        if lacks(&headers, http::header::ACCEPT) {
            headers.push((http::header::ACCEPT, HeaderValue::from_static("*/*")));
        }
        // An empty value means: do not send the header at all.
        headers.retain(|(name, value)| !value.is_empty() || (name != http::header::ACCEPT && name != http::header::USER_AGENT));
        let path = get.path.as_deref().unwrap_or_default();
        Ok(Self {
            tls: get.scheme.as_deref().is_some_and(|scheme| scheme.eq_ignore_ascii_case("https")),
            host: get.host.clone().filter(|host| !host.is_empty()).unwrap_or_else(|| pod_ip.to_owned()),
            port: port(&get.port, container)?,
            path: if path.starts_with('/') { path.to_owned() } else { format!("/{path}") },
            headers,
        })
    }

    fn address(&self) -> String {
        if self.host.contains(':') { format!("[{}]:{}", self.host, self.port) } else { format!("{}:{}", self.host, self.port) }
    }
}

pub async fn get(target: &Target, timeout: Duration) -> Result<Answer, Error> {
    tokio::time::timeout(timeout, follow(target)).await.unwrap_or(Err(Error::Timeout))
}

async fn follow(target: &Target) -> Result<Answer, Error> {
    let mut target = target.clone();
    for _ in 0..REDIRECTS_MAX {
        let (answer, location) = once(&target).await?;
        let Some(location) = location.filter(|_| (300..400).contains(&answer.status)) else { return Ok(answer) };
        match redirected(&target, &location) {
            Some(next) => target = next,
            // A redirect to somewhere else is an answer, and a good one.
            None => return Ok(answer),
        }
    }
    Ok(Answer { status: 500, body: "stopped after 10 redirects".to_owned() })
}

/// Where a redirect leads, if it stays on the host.
fn redirected(target: &Target, location: &str) -> Option<Target> {
    let uri: http::Uri = location.parse().ok()?;
    let path = uri.path_and_query().map(|path| path.as_str().to_owned())?;
    let Some(host) = uri.host() else { return Some(Target { path, ..target.clone() }) };
    let tls = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
    (host.trim_matches(['[', ']']) == target.host).then(|| Target { tls, port, path, ..target.clone() })
}

async fn once(target: &Target) -> Result<(Answer, Option<String>), Error> {
    let address = target.address();
    let stream = TcpStream::connect(&address).await.map_err(|source| Error::Dial { address: address.clone(), source })?;
    if !target.tls {
        return exchange(target, stream).await;
    }
    let config = tls::client_config(ServerTrust::Anyone, None, tls::ALPN_HTTP1).map_err(Error::TlsSetUp)?;
    // The name is only for SNI; nobody checks it.
    let name = ServerName::try_from(target.host.clone()).unwrap_or(ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into()));
    let stream = tokio_rustls::TlsConnector::from(config).connect(name, stream).await;
    exchange(target, stream.map_err(|source| Error::Tls { address, source })?).await
}

async fn exchange(target: &Target, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<(Answer, Option<String>), Error> {
    let mut request = Request::get(&target.path);
    if !target.headers.iter().any(|(name, _)| name == http::header::HOST) {
        request = request.header(http::header::HOST, target.address());
    }
    for (name, value) in &target.headers {
        request = request.header(name, value);
    }
    let request = request.header(http::header::CONNECTION, "close").body(Empty::<Bytes>::new()).map_err(Error::Url)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(Error::Exchange)?;
    let work = async {
        let response = sender.send_request(request).await.map_err(Error::Exchange)?;
        let status = response.status().as_u16();
        let location = response.headers().get(http::header::LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        Ok((Answer { status, body: String::from_utf8_lossy(&body).into_owned() }, location))
    };
    // The connection is driven beside the exchange, and dropped with it.
    tokio::pin!(connection);
    tokio::pin!(work);
    tokio::select! {
        done = &mut work => done,
        ended = &mut connection => {
            ended.map_err(Error::Exchange)?;
            work.await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn target(get: Value) -> Result<Target, Error> {
        let container: Container =
            serde_json::from_value(json!({"name": "c", "ports": [{"name": "web", "containerPort": 8080}]})).expect("a container");
        Target::of(&serde_json::from_value(get).expect("an action"), &container, "10.0.0.1", "probe")
    }

    #[test]
    fn ports_are_numbers_or_names() {
        assert_eq!(target(json!({"port": 80})).expect("a target").port, 80);
        assert_eq!(target(json!({"port": "web"})).expect("a target").port, 8080);
        assert!(matches!(target(json!({"port": "none"})), Err(Error::Port(_))));
        assert!(matches!(target(json!({"port": 70000})), Err(Error::Port(_))));
    }

    #[test]
    fn the_pod_is_asked_unless_a_host_is_named() {
        let made = target(json!({"port": 80, "path": "x", "scheme": "HTTPS", "httpHeaders": [{"name": "X-A", "value": "1"}]})).expect("a target");
        assert_eq!((made.host.as_str(), made.path.as_str(), made.tls), ("10.0.0.1", "/x", true));
        assert_eq!(made.headers[1].1, "kube-probe/1.37");
        assert_eq!(target(json!({"port": 80, "host": "h"})).expect("a target").host, "h");
    }

    #[test]
    fn only_redirects_within_the_host_are_followed() {
        let base = target(json!({"port": 80})).expect("a target");
        assert_eq!(redirected(&base, "/next").map(|next| (next.port, next.path)), Some((80, "/next".to_owned())));
        assert_eq!(redirected(&base, "https://10.0.0.1:8443/a").map(|next| (next.tls, next.port)), Some((true, 8443)));
        assert!(redirected(&base, "http://elsewhere/").is_none());
    }

    #[tokio::test]
    async fn an_answer_is_read_and_redirects_followed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let port = listener.local_addr().expect("an address").port();
        let server = async {
            for answer in ["HTTP/1.1 302 Found\r\nLocation: /two\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\nsick"] {
                let (mut stream, _) = listener.accept().await.expect("a caller");
                let mut buffer = [0; 1024];
                let _ = stream.read(&mut buffer).await.expect("a request");
                stream.write_all(answer.as_bytes()).await.expect("answered");
            }
        };
        let target = Target { tls: false, host: "127.0.0.1".to_owned(), port, path: "/".to_owned(), headers: Vec::new() };
        let (answer, ()) = tokio::join!(get(&target, Duration::from_secs(5)), server);
        let answer = answer.expect("an answer");
        assert_eq!((answer.status, answer.body.as_str()), (503, "sick"));
    }
}
