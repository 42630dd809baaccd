//! Connections that stop being HTTP: the client's, as it asks for it, and ours to the runtime's streaming server.

use super::{Answer, Body, text};
use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use std::convert::Infallible;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub const SPDY: &str = "SPDY/3.1";
/// In which SPDY's client says which version of a stream protocol it speaks.
pub const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const HEAD_BYTES_MAX: usize = 16 * 1024;
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// What a client asks to make of its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    WebSocket { key: String, protocols: Vec<String> },
    Spdy { protocols: Vec<String> },
    None,
}

fn list(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

impl Wish {
    pub fn of(headers: &HeaderMap) -> Self {
        let upgrades = list(headers, &CONNECTION).iter().any(|word| word.eq_ignore_ascii_case("upgrade"));
        let upgrade = headers.get(UPGRADE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if upgrades && upgrade.eq_ignore_ascii_case("websocket") {
            let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
            if text(&SEC_WEBSOCKET_VERSION) == "13" && !text(&SEC_WEBSOCKET_KEY).is_empty() {
                return Self::WebSocket { key: text(&SEC_WEBSOCKET_KEY), protocols: list(headers, &SEC_WEBSOCKET_PROTOCOL) };
            }
        }
        if upgrades && upgrade.eq_ignore_ascii_case(SPDY) {
            return Self::Spdy { protocols: list(headers, &STREAM_PROTOCOL) };
        }
        Self::None
    }
}

fn switching(protocol: &str) -> http::response::Builder {
    Response::builder().status(StatusCode::SWITCHING_PROTOCOLS).header(CONNECTION, "Upgrade").header(UPGRADE, protocol)
}

fn empty(builder: http::response::Builder) -> Answer {
    let body: Body = Empty::new().map_err(|never: Infallible| match never {}).boxed_unsync();
    builder.body(body).unwrap_or_else(|error| text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

/// Agrees to a WebSocket.
pub fn accept_websocket(key: &str, protocol: Option<&str>) -> Answer {
    let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
    let mut builder = switching("websocket").header(SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(protocol) = protocol {
        builder = builder.header(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    empty(builder)
}

/// Agrees to SPDY, in the version that the runtime chose.
pub fn accept_spdy(protocol: Option<HeaderValue>) -> Answer {
    let mut builder = switching(SPDY);
    if let Some(protocol) = protocol {
        builder = builder.header(STREAM_PROTOCOL, protocol);
    }
    empty(builder)
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the runtime gave the URL {0:?}, which is no HTTP address")]
    Url(String),
    #[error("dialing the runtime's streaming server: {0}")]
    Dial(#[source] io::Error),
    #[error("the runtime's streaming server sent no proper answer")]
    Answer,
    #[error("the runtime's streaming server refused ({status}): {body}")]
    Refused { status: u16, body: String },
}

/// A connection to the runtime that speaks SPDY now.
pub struct Upgraded {
    pub stream: TcpStream,
    /// What came right after the answer's head.
    pub early: Bytes,
    /// The stream protocol that was chosen.
    pub protocol: Option<HeaderValue>,
}

/// Asks the runtime's streaming server to speak SPDY on a new connection, with one of these stream protocols.
pub async fn dial_spdy(url: &str, protocols: &[String]) -> Result<Upgraded, Error> {
    let bad = || Error::Url(url.to_owned());
    let uri: http::Uri = url.parse().map_err(|_| bad())?;
    let host = uri.host().ok_or_else(bad)?.to_owned();
    let port = uri.port_u16().ok_or_else(bad)?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let connecting = TcpStream::connect((host.trim_matches(['[', ']']), port));
    let mut stream =
        tokio::time::timeout(DIAL_TIMEOUT, connecting).await.map_err(|_| Error::Dial(io::ErrorKind::TimedOut.into()))?.map_err(Error::Dial)?;
    let _ = stream.set_nodelay(true);
    let mut head = format!("POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: Upgrade\r\nUpgrade: {SPDY}\r\nContent-Length: 0\r\n");
    for protocol in protocols {
        head.push_str(&format!("X-Stream-Protocol-Version: {protocol}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await.map_err(Error::Dial)?;
    let answer = tokio::time::timeout(DIAL_TIMEOUT, read_head(&mut stream));
    let (status, headers, early) = answer.await.map_err(|_| Error::Dial(io::ErrorKind::TimedOut.into()))??;
    if status != StatusCode::SWITCHING_PROTOCOLS.as_u16() {
        return Err(Error::Refused { status, body: String::from_utf8_lossy(&early).into_owned() });
    }
    Ok(Upgraded { stream, early, protocol: headers.get(&STREAM_PROTOCOL).cloned() })
}

async fn read_head(stream: &mut TcpStream) -> Result<(u16, HeaderMap, Bytes), Error> {
    let mut buffer = BytesMut::with_capacity(4096);
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let early = buffer.split_off(end + 4).freeze();
            let (status, headers) = parse_head(&buffer).ok_or(Error::Answer)?;
            return Ok((status, headers, early));
        }
        if buffer.len() > HEAD_BYTES_MAX || stream.read_buf(&mut buffer).await.map_err(Error::Dial)? == 0 {
            return Err(Error::Answer);
        }
    }
}

fn parse_head(head: &[u8]) -> Option<(u16, HeaderMap)> {
    let mut lines = std::str::from_utf8(head).ok()?.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name.trim()), HeaderValue::try_from(value.trim())) {
            headers.append(name, value);
        }
    }
    Some((status, headers))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(pairs: &[(&'static str, &'static str)]) -> Wish {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        Wish::of(&headers)
    }

    #[test]
    fn wishes_are_told_apart() {
        let web = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "k"),
            ("sec-websocket-protocol", "v5.channel.k8s.io, v4.channel.k8s.io"),
        ];
        assert_eq!(
            wish(&web),
            Wish::WebSocket { key: "k".to_owned(), protocols: vec!["v5.channel.k8s.io".to_owned(), "v4.channel.k8s.io".to_owned()] }
        );
        let spdy = [
            ("connection", "Upgrade"),
            ("upgrade", "SPDY/3.1"),
            ("x-stream-protocol-version", "v4.channel.k8s.io"),
            ("x-stream-protocol-version", "channel.k8s.io"),
        ];
        assert_eq!(wish(&spdy), Wish::Spdy { protocols: vec!["v4.channel.k8s.io".to_owned(), "channel.k8s.io".to_owned()] });
        assert_eq!(wish(&web[1..]), Wish::None);
        assert_eq!(wish(&[]), Wish::None);
    }

    #[test]
    fn an_answers_head_is_parsed() {
        let (status, headers) =
            parse_head(b"HTTP/1.1 101 Switching Protocols\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n").expect("a head");
        assert_eq!((status, headers.get(&STREAM_PROTOCOL).map(HeaderValue::as_bytes)), (101, Some(&b"v4.channel.k8s.io"[..])));
        assert!(parse_head(b"garbage").is_none());
    }
}
