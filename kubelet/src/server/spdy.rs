//! SPDY/3.1, as far as streams into containers need it: the client's side, on a connection that was upgraded to it.
//!
//! ```text
//!   data     0 | stream:31            flags:8 length:24   bytes
//!   control  1 | version:15 type:16   flags:8 length:24   …
//! ```
//! Headers are sent compressed with the protocol's dictionary; headers that come back say nothing we need and are passed over. The peers
//! we meet (Go's spdystream) neither keep nor expect flow-control windows.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use flate2::{Compress, Compression, FlushCompress};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

const VERSION: u16 = 3;
const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const FIN: u8 = 1;
const HEAD_BYTES: usize = 8;
/// Data comes in pieces of at most 32 KiB from the peers we meet; more than this is refused.
const FRAME_BYTES_MAX: usize = 1 << 20;

/// The words of the header dictionary; each goes in with its length before it.
const WORDS: [&str; 65] = [
    "options",
    "head",
    "post",
    "put",
    "delete",
    "trace",
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "connection",
    "content-base",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-md5",
    "content-range",
    "content-type",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "location",
    "max-forwards",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "retry-after",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "method",
    "get",
    "status",
    "200 OK",
    "version",
    "HTTP/1.1",
    "url",
    "public",
    "set-cookie",
    "keep-alive",
    "origin",
];
/// And what follows them.
const TAIL: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505\
203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found\
500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 \
Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,\
text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

fn dictionary() -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in WORDS {
        // All words are shorter than 256 bytes.
        bytes.extend_from_slice(&[0, 0, 0, word.len() as u8]);
        bytes.extend_from_slice(word.as_bytes());
    }
    bytes.extend_from_slice(TAIL.as_bytes());
    bytes
}

/// What the other side sends, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    Data {
        stream: u32,
        bytes: Bytes,
        last: bool,
    },
    Reset {
        stream: u32,
    },
    Ping {
        id: u32,
    },
    GoAway,
    /// A reply to a stream, settings, or what we have no use for.
    Other,
}

/// Makes frames. Header compression runs through a connection, so there is one writer for each.
pub struct Writer {
    compress: Compress,
}

impl Writer {
    pub fn new() -> io::Result<Self> {
        let mut compress = Compress::new(Compression::default(), true);
        compress.set_dictionary(&dictionary()).map_err(io::Error::other)?;
        Ok(Self { compress })
    }

    /// Opens a stream with these headers.
    pub fn open(&mut self, stream: u32, headers: &[(&str, &str)]) -> io::Result<Bytes> {
        let mut block = BytesMut::new();
        block.put_u32(u32::try_from(headers.len()).map_err(io::Error::other)?);
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            block.put_u32(u32::try_from(text.len()).map_err(io::Error::other)?);
            block.put_slice(text.as_bytes());
        }
        // Deflate never makes a block much larger; one that would not fit is not finished, which is checked.
        let mut packed = Vec::with_capacity(block.len() * 2 + 256);
        let before = self.compress.total_in();
        self.compress.compress_vec(&block, &mut packed, FlushCompress::Sync).map_err(io::Error::other)?;
        if self.compress.total_in() - before != block.len() as u64 || packed.len() == packed.capacity() {
            return Err(io::Error::other("the headers do not compress"));
        }
        let mut frame = BytesMut::new();
        let length = u32::try_from(packed.len() + 10).map_err(io::Error::other)?;
        control(&mut frame, SYN_STREAM, 0, length);
        frame.put_u32(stream);
        frame.put_u32(0);
        frame.put_u16(0);
        frame.put_slice(&packed);
        Ok(frame.freeze())
    }
}

fn control(out: &mut BytesMut, kind: u16, flags: u8, length: u32) {
    out.put_u16(0x8000 | VERSION);
    out.put_u16(kind);
    out.put_u32(u32::from(flags) << 24 | (length & 0x00ff_ffff));
}

/// A piece of a stream; `last` closes our side of it.
pub fn data(stream: u32, bytes: &[u8], last: bool) -> Bytes {
    let mut frame = BytesMut::with_capacity(HEAD_BYTES + bytes.len());
    frame.put_u32(stream & 0x7fff_ffff);
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX) & 0x00ff_ffff;
    frame.put_u32(u32::from(if last { FIN } else { 0 }) << 24 | length);
    frame.put_slice(bytes);
    frame.freeze()
}

/// The answer to a ping.
pub fn pong(id: u32) -> Bytes {
    let mut frame = BytesMut::new();
    control(&mut frame, PING, 0, 4);
    frame.put_u32(id);
    frame.freeze()
}

/// The next frame; `None` at the end of the connection.
pub async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Frame>> {
    let mut head = [0; HEAD_BYTES];
    match from.read_exact(&mut head).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let mut head = &head[..];
    let (first, second) = (head.get_u32(), head.get_u32());
    let (flags, length) = ((second >> 24) as u8, (second & 0x00ff_ffff) as usize);
    if length > FRAME_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a SPDY frame is too large"));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).await?;
    if first & 0x8000_0000 == 0 {
        return Ok(Some(Frame::Data { stream: first, bytes: body.into(), last: flags & FIN != 0 }));
    }
    let word = |at: usize| body.get(at..at + 4).map(|mut bytes| bytes.get_u32());
    Ok(Some(match ((first & 0xffff) as u16, word(0)) {
        (RST_STREAM, Some(stream)) => Frame::Reset { stream: stream & 0x7fff_ffff },
        (PING, Some(id)) => Frame::Ping { id },
        (GOAWAY, _) => Frame::GoAway,
        (SYN_REPLY, Some(stream)) if flags & FIN != 0 => Frame::Data { stream: stream & 0x7fff_ffff, bytes: Bytes::new(), last: true },
        _ => Frame::Other,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Decompress, FlushDecompress};

    #[test]
    fn the_dictionary_is_the_protocols() {
        let bytes = dictionary();
        let (mut a, mut b) = (1u32, 0u32);
        for byte in &bytes {
            a = (a + u32::from(*byte)) % 65521;
            b = (b + a) % 65521;
        }
        // What zlib streams of SPDY/3 carry as their dictionary's checksum.
        assert_eq!((bytes.len(), b << 16 | a), (1423, 0xe3c6_a7c2));
    }

    /// What a peer makes of our header blocks.
    fn headers(decompress: &mut Decompress, frame: &[u8]) -> Vec<(String, String)> {
        let mut block = Vec::with_capacity(4096);
        let packed = &frame[HEAD_BYTES + 10..];
        if decompress.decompress_vec(packed, &mut block, FlushDecompress::Sync).is_err() {
            decompress.set_dictionary(&dictionary()).expect("the dictionary");
            let seen = decompress.total_in() as usize;
            decompress.decompress_vec(&packed[seen..], &mut block, FlushDecompress::Sync).expect("headers");
        }
        let mut block = &block[..];
        let count = block.get_u32();
        let mut text = || {
            let length = block.get_u32() as usize;
            let text = String::from_utf8(block[..length].to_vec()).expect("text");
            block.advance(length);
            text
        };
        (0..count).map(|_| (text(), text())).collect()
    }

    #[test]
    fn streams_open_with_headers_that_a_peer_reads() {
        let (mut writer, mut decompress) = (Writer::new().expect("a writer"), Decompress::new(true));
        for (stream, kind) in [(1, "error"), (3, "stdin"), (5, "stdout")] {
            let frame = writer.open(stream, &[("streamtype", kind)]).expect("a frame");
            assert_eq!(&frame[..4], [0x80, 3, 0, 1]);
            assert_eq!((&frame[8..12]).get_u32(), stream);
            assert_eq!(headers(&mut decompress, &frame), [("streamtype".to_owned(), kind.to_owned())]);
        }
    }

    #[tokio::test]
    async fn frames_are_read_as_they_were_written() {
        let mut wire = BytesMut::new();
        wire.put_slice(&data(5, b"hello", false));
        wire.put_slice(&data(5, b"", true));
        wire.put_slice(&pong(7));
        wire.put_slice(&Writer::new().expect("a writer").open(9, &[("a", "b")]).expect("a frame"));
        let mut wire = &wire[..];
        let mut frames = Vec::new();
        while let Some(frame) = read(&mut wire).await.expect("a frame") {
            frames.push(frame);
        }
        let data = |bytes: &'static [u8], last| Frame::Data { stream: 5, bytes: Bytes::from_static(bytes), last };
        assert_eq!(frames, [data(b"hello", false), data(b"", true), Frame::Ping { id: 7 }, Frame::Other]);
    }

    #[tokio::test]
    async fn a_frame_that_is_too_large_is_refused() {
        let mut wire = &[0, 0, 0, 1, 0, 0xff, 0xff, 0xff][..];
        assert_eq!(read(&mut wire).await.expect_err("too large").kind(), io::ErrorKind::InvalidData);
    }
}
