//! WebSockets towards clients: opening them, and the dialects in which channels share one.
//!
//! A message begins with the channel's number; in the base64 dialects that is a digit and the rest is encoded. Version 4 has the result of a
//! command as a Status on the error channel, older ones as plain text; version 5 adds a message that ends a channel: 255 and its number.

use super::remote::ERROR;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

/// What one message may hold; clients send far less.
const MESSAGE_BYTES_MAX: usize = 16 << 20;
const CLOSE: u8 = 255;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    version: u8,
    base64: bool,
}

const DIALECTS: [(&str, Dialect); 6] = [
    ("v5.channel.k8s.io", Dialect { version: 5, base64: false }),
    ("v4.channel.k8s.io", Dialect { version: 4, base64: false }),
    ("v4.base64.channel.k8s.io", Dialect { version: 4, base64: true }),
    ("channel.k8s.io", Dialect { version: 1, base64: false }),
    ("base64.channel.k8s.io", Dialect { version: 1, base64: true }),
    ("", Dialect { version: 1, base64: false }),
];

/// The first protocol of the client's that is known, and its name for the answer. Who names none gets the oldest.
pub fn choose(protocols: &[String]) -> Option<(Option<String>, Dialect)> {
    if protocols.is_empty() {
        return Some((None, DIALECTS[DIALECTS.len() - 1].1));
    }
    protocols.iter().find_map(|name| DIALECTS.iter().find(|(known, _)| known == name).map(|(_, dialect)| (Some(name.clone()), *dialect)))
}

pub async fn open(on_upgrade: OnUpgrade) -> Option<WebSocketStream<TokioIo<Upgraded>>> {
    match on_upgrade.await {
        Ok(upgraded) => {
            let config = WebSocketConfig::default().max_message_size(Some(MESSAGE_BYTES_MAX)).max_frame_size(Some(MESSAGE_BYTES_MAX));
            Some(WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await)
        }
        Err(error) => {
            tracing::debug!(%error, "an upgrade failed");
            None
        }
    }
}

impl Dialect {
    /// The message that carries bytes on a channel; `None` when this dialect has nothing to say.
    pub fn message(self, channel: u8, bytes: &[u8]) -> Option<Message> {
        if channel == ERROR && self.version < 4 {
            let text = plain_error(bytes)?;
            return Some(self.frame(channel, text.as_bytes()));
        }
        // An empty piece only ends a stream, which a message cannot say.
        (!bytes.is_empty()).then(|| self.frame(channel, bytes))
    }

    fn frame(self, channel: u8, bytes: &[u8]) -> Message {
        if self.base64 {
            return Message::text(format!("{channel}{}", STANDARD.encode(bytes)));
        }
        let mut message = BytesMut::with_capacity(bytes.len() + 1);
        message.put_u8(channel);
        message.put_slice(bytes);
        Message::Binary(message.freeze())
    }

    /// The channel and bytes of a message that carries some.
    pub fn read(self, message: &Message) -> Option<(u8, Bytes)> {
        let raw = match message {
            Message::Binary(bytes) => bytes.clone(),
            Message::Text(text) => Bytes::copy_from_slice(text.as_bytes()),
            _ => return None,
        };
        let (&first, rest) = raw.split_first()?;
        if self.base64 {
            return Some((first.checked_sub(b'0')?, STANDARD.decode(rest).ok()?.into()));
        }
        Some((first, raw.slice(1..)))
    }

    /// The channel that a message ends, if that is what it says.
    pub fn closes(self, channel: u8, bytes: &[u8]) -> Option<u8> {
        match bytes {
            [ended] if self.version >= 5 && channel == CLOSE => Some(*ended),
            _ => None,
        }
    }
}

/// What an old client is told of a Status: nothing of a success, the message of a failure.
fn plain_error(status: &[u8]) -> Option<String> {
    let status: serde_json::Value = serde_json::from_slice(status).ok()?;
    if status["status"] == "Success" {
        return None;
    }
    Some(status["message"].as_str().unwrap_or_default().to_owned())
}

/// The frame that ends a connection on which all was said. Without its code clients take the end for a failure.
pub fn farewell() -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialect(name: &str) -> Dialect {
        choose(&[name.to_owned()]).expect("known").1
    }

    #[test]
    fn the_clients_first_known_protocol_is_taken() {
        let choose =
            |names: &[&str]| choose(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).map(|(name, dialect)| (name, dialect.version));
        assert_eq!(choose(&["v9.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io"]), Some((Some("v4.channel.k8s.io".to_owned()), 4)));
        assert_eq!(choose(&[]), Some((None, 1)));
        assert_eq!(choose(&["v9.channel.k8s.io"]), None);
    }

    #[test]
    fn only_the_fifth_version_ends_a_channel() {
        let closes = |name: &str, message: &[u8]| {
            let dialect = dialect(name);
            let (channel, bytes) = dialect.read(&Message::Binary(Bytes::copy_from_slice(message))).expect("a message");
            dialect.closes(channel, &bytes)
        };
        assert_eq!(closes("v5.channel.k8s.io", &[255, 0]), Some(0));
        assert_eq!(closes("v5.channel.k8s.io", &[0, 255]), None);
        assert_eq!(closes("v4.channel.k8s.io", &[255, 0]), None);
    }

    #[test]
    fn base64_messages_begin_with_a_digit() {
        let dialect = dialect("v4.base64.channel.k8s.io");
        assert_eq!(dialect.message(1, b"hi"), Some(Message::text("1aGk=")));
        assert_eq!(dialect.read(&Message::text("0aGk=")), Some((0, Bytes::from_static(b"hi"))));
        assert_eq!(dialect.read(&Message::text("0!")), None);
    }

    #[test]
    fn old_clients_read_errors_as_text() {
        let status = br#"{"status":"Failure","message":"command terminated with non-zero exit code"}"#;
        let old = dialect("channel.k8s.io");
        assert_eq!(old.message(ERROR, status), Some(Message::Binary(Bytes::from_static(b"\x03command terminated with non-zero exit code"))));
        assert_eq!(old.message(ERROR, br#"{"status":"Success"}"#), None);
        assert!(dialect("v4.channel.k8s.io").message(ERROR, br#"{"status":"Success"}"#).is_some());
    }
}
