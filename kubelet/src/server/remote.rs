//! exec, attach and port-forward. Clients come by SPDY, whose bytes pass through, or by WebSocket, whose channels become SPDY streams:
//! only SPDY lets stdin end while output goes on, and the runtimes we meet know no newer WebSocket protocol than the fourth.

use super::upgrade::{self, Upgraded, Wish};
use super::websocket::{self, Dialect};
use super::{Answer, Context, spdy, text};
use bytes::{Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Mutex;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, Message};

/// A stream on which nothing moved for this long is cut.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4 * 3600);
/// After the error channel has said how it ended, how long the rest of the output may still take.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// The SPDY streams that the runtime opens for exec and attach speak this.
const STREAM_PROTOCOL: &str = "v4.channel.k8s.io";
const FORWARD_PROTOCOL: &str = "portforward.k8s.io";
/// WebSocket messages that carry the bytes of a SPDY connection.
const TUNNEL_PROTOCOL: &str = "SPDY/3.1+portforward.k8s.io";

/// The channels of a command, as numbered in WebSocket messages.
pub const STDIN: u8 = 0;
pub const STDOUT: u8 = 1;
pub const STDERR: u8 = 2;
pub const ERROR: u8 = 3;
pub const RESIZE: u8 = 4;

/// Which channels a client wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub tty: bool,
}

impl Wants {
    /// The channels in the order in which they are opened, with the names that the runtime knows them by.
    fn channels(self) -> Vec<(u8, &'static str)> {
        let all = [
            (true, ERROR, "error"),
            (self.stdin, STDIN, "stdin"),
            (self.stdout, STDOUT, "stdout"),
            (self.stderr && !self.tty, STDERR, "stderr"),
            (self.tty, RESIZE, "resize"),
        ];
        all.into_iter().filter(|(wanted, ..)| *wanted).map(|(_, channel, name)| (channel, name)).collect()
    }
}

/// Connects the client with a command or a container's terminal, behind the URL that the runtime gave.
pub async fn stream(context: &Context, request: Request<Incoming>, url: &str, wants: Wants) -> Answer {
    match Wish::of(request.headers()) {
        Wish::Spdy { protocols } => pass_through(context, request, url, &protocols).await,
        Wish::WebSocket { key, protocols } => {
            let Some((name, dialect)) = websocket::choose(&protocols) else {
                return text(StatusCode::BAD_REQUEST, format!("unable to upgrade: no protocol of {protocols:?} is known\n"));
            };
            let upgraded = match upgrade::dial_spdy(url, &[STREAM_PROTOCOL.to_owned()]).await {
                Ok(upgraded) => upgraded,
                Err(error) => return refused(&error),
            };
            let on_upgrade = hyper::upgrade::on(request);
            context.shared.tasks.spawn("container-stream", async move {
                if let Some(socket) = websocket::open(on_upgrade).await
                    && let Err(error) = translate(socket, upgraded, wants, dialect).await
                {
                    tracing::debug!(%error, "a stream ended badly");
                }
            });
            upgrade::accept_websocket(&key, name.as_deref())
        }
        Wish::None => text(StatusCode::BAD_REQUEST, "unable to upgrade: missing upgrade headers in request\n"),
    }
}

/// Connects the client with ports of a Pod.
pub async fn forward(context: &Context, request: Request<Incoming>, url: &str) -> Answer {
    match Wish::of(request.headers()) {
        Wish::Spdy { protocols } => pass_through(context, request, url, &protocols).await,
        Wish::WebSocket { key, protocols } if protocols.iter().any(|protocol| protocol == TUNNEL_PROTOCOL) => {
            let upgraded = match upgrade::dial_spdy(url, &[FORWARD_PROTOCOL.to_owned()]).await {
                Ok(upgraded) => upgraded,
                Err(error) => return refused(&error),
            };
            let on_upgrade = hyper::upgrade::on(request);
            context.shared.tasks.spawn("port-forward-tunnel", async move {
                if let Some(socket) = websocket::open(on_upgrade).await
                    && let Err(error) = tunnel(socket, upgraded).await
                {
                    tracing::debug!(%error, "a tunnel ended badly");
                }
            });
            upgrade::accept_websocket(&key, Some(TUNNEL_PROTOCOL))
        }
        Wish::WebSocket { protocols, .. } => text(StatusCode::BAD_REQUEST, format!("unable to upgrade: no protocol of {protocols:?} is known\n")),
        Wish::None => text(StatusCode::BAD_REQUEST, "unable to upgrade: missing upgrade headers in request\n"),
    }
}

fn refused(error: &upgrade::Error) -> Answer {
    tracing::warn!(%error, "the runtime's streaming server cannot be used");
    text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n"))
}

async fn pass_through(context: &Context, request: Request<Incoming>, url: &str, protocols: &[String]) -> Answer {
    let upgraded = match upgrade::dial_spdy(url, protocols).await {
        Ok(upgraded) => upgraded,
        Err(error) => return refused(&error),
    };
    let answer = upgrade::accept_spdy(upgraded.protocol.clone());
    let on_upgrade = hyper::upgrade::on(request);
    context.shared.tasks.spawn("spdy-pass-through", async move {
        if let Err(error) = copy(on_upgrade, upgraded).await {
            tracing::debug!(%error, "a stream ended badly");
        }
    });
    answer
}

async fn copy(on_upgrade: OnUpgrade, mut upgraded: Upgraded) -> std::io::Result<()> {
    let client = on_upgrade.await.map_err(std::io::Error::other)?;
    let mut client = TokioIo::new(client);
    client.write_all(&upgraded.early).await?;
    tokio::io::copy_bidirectional(&mut client, &mut upgraded.stream).await?;
    Ok(())
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the client: {0}")]
    Client(#[from] tungstenite::Error),
    #[error("the runtime: {0}")]
    Runtime(#[from] std::io::Error),
    #[error("nothing moved for too long")]
    Idle,
}

/// Bytes of a SPDY connection, in WebSocket messages on one side.
async fn tunnel<S>(socket: WebSocketStream<S>, upgraded: Upgraded) -> Result<(), Error>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    const PIECE_BYTES: usize = 32 * 1024;
    let (mut to_client, mut from_client) = socket.split();
    let (mut from_runtime, mut to_runtime) = upgraded.stream.into_split();
    if !upgraded.early.is_empty() {
        to_client.send(Message::Binary(upgraded.early)).await?;
    }
    let mut buffer = BytesMut::with_capacity(PIECE_BYTES);
    loop {
        let work = async {
            tokio::select! {
                read = tokio::io::AsyncReadExt::read_buf(&mut from_runtime, &mut buffer) => {
                    if read? == 0 {
                        to_client.send(websocket::farewell()).await?;
                        return Ok(false);
                    }
                    to_client.send(Message::Binary(buffer.split().freeze())).await?;
                    buffer.reserve(PIECE_BYTES);
                }
                message = from_client.next() => match message.transpose()? {
                    Some(Message::Binary(bytes)) => to_runtime.write_all(&bytes).await?,
                    None | Some(Message::Close(_)) => return Ok(false),
                    Some(_) => {}
                },
            }
            Ok::<bool, Error>(true)
        };
        if !tokio::time::timeout(IDLE_TIMEOUT, work).await.map_err(|_| Error::Idle)?? {
            return Ok(());
        }
    }
}

/// The client's side of a command: channels by number, each a SPDY stream at the runtime.
struct Streams {
    /// Channel and stream.
    pairs: Vec<(u8, u32)>,
}

impl Streams {
    fn stream(&self, channel: u8) -> Option<u32> {
        self.pairs.iter().find(|(known, _)| *known == channel).map(|(_, stream)| *stream)
    }

    fn channel(&self, stream: u32) -> Option<u8> {
        self.pairs.iter().find(|(_, known)| *known == stream).map(|(channel, _)| *channel)
    }
}

async fn translate<S>(socket: WebSocketStream<S>, upgraded: Upgraded, wants: Wants, dialect: Dialect) -> Result<(), Error>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let (read_half, mut to_runtime) = upgraded.stream.into_split();
    let mut from_runtime = std::io::Cursor::new(upgraded.early).chain_with(read_half);
    let mut writer = spdy::Writer::new()?;
    let mut streams = Streams { pairs: Vec::new() };
    for ((channel, name), stream) in wants.channels().into_iter().zip((1..).step_by(2)) {
        to_runtime.write_all(&writer.open(stream, &[("streamtype", name)])?).await?;
        streams.pairs.push((channel, stream));
    }
    let to_runtime = Mutex::new(to_runtime);
    let (mut to_client, mut from_client) = socket.split();
    let outward = async {
        let mut open: Vec<u8> =
            streams.pairs.iter().map(|(channel, _)| *channel).filter(|channel| matches!(*channel, STDOUT | STDERR | ERROR)).collect();
        let mut told = false;
        while !open.is_empty() {
            let next = spdy::read(&mut from_runtime);
            let frame = if told {
                // The command has ended; what its output still holds comes now or never.
                match tokio::time::timeout(DRAIN_TIMEOUT, next).await {
                    Ok(frame) => frame?,
                    Err(_) => break,
                }
            } else {
                next.await?
            };
            match frame {
                Some(spdy::Frame::Data { stream, bytes, last }) => {
                    let Some(channel) = streams.channel(stream) else { continue };
                    told |= channel == ERROR;
                    if let Some(message) = dialect.message(channel, &bytes) {
                        to_client.send(message).await?;
                    }
                    if last {
                        open.retain(|known| *known != channel);
                    }
                }
                Some(spdy::Frame::Reset { stream }) => open.retain(|known| streams.stream(*known) != Some(stream)),
                Some(spdy::Frame::GoAway) | None => break,
                // Even numbers are the other side's own; odd ones would answer ours.
                Some(spdy::Frame::Ping { id }) if id % 2 == 0 => to_runtime.lock().await.write_all(&spdy::pong(id)).await?,
                Some(spdy::Frame::Ping { .. } | spdy::Frame::Other) => {}
            }
        }
        to_client.send(websocket::farewell()).await?;
        Ok::<(), Error>(())
    };
    let inward = async {
        while let Some(message) = from_client.next().await.transpose()? {
            if !inward_message(&message, &streams, dialect, &to_runtime).await? {
                break;
            }
        }
        Ok::<(), Error>(())
    };
    tokio::pin!(outward, inward);
    // When the command has ended, all is said. When the client has gone, dropping the connection tells the runtime.
    let finish = async {
        tokio::select! {
            done = &mut outward => done,
            done = &mut inward => done,
        }
    };
    finish.await
}

/// One message from the client. Says whether to go on.
async fn inward_message(message: &Message, streams: &Streams, dialect: Dialect, to_runtime: &Mutex<OwnedWriteHalf>) -> Result<bool, Error> {
    let Some((channel, bytes)) = dialect.read(message) else { return Ok(!matches!(message, Message::Close(_))) };
    let closes = dialect.closes(channel, &bytes);
    let channel = closes.unwrap_or(channel);
    if !matches!(channel, STDIN | RESIZE) {
        return Ok(true);
    }
    let Some(stream) = streams.stream(channel) else { return Ok(true) };
    let frame = if closes.is_some() { spdy::data(stream, b"", true) } else { spdy::data(stream, &bytes, false) };
    to_runtime.lock().await.write_all(&frame).await?;
    Ok(true)
}

/// A reader that begins with what was read too early.
trait ChainWith: AsyncRead + Sized {
    fn chain_with<R: AsyncRead>(self, rest: R) -> tokio::io::Chain<Self, R> {
        tokio::io::AsyncReadExt::chain(self, rest)
    }
}

impl ChainWith for std::io::Cursor<Bytes> {}
