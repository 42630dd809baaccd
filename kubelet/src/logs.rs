//! Container logs as runtimes write them: one line per piece, `<time> <stream> <tag> <text>`, tag `P` for a piece of a longer line and `F`
//! for its end. Rotation renames the file and begins a new one, which a follower moves on to.

use bytes::{BufMut, Bytes, BytesMut};
use jiff::Timestamp;
use std::io::SeekFrom;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncSeekExt, BufReader};
use tokio::sync::mpsc;

/// Runtimes cut lines at 16 KiB; a longer one is not theirs, and is cut here.
const LINE_BYTES_MAX: u64 = 256 * 1024;
/// How often a follower looks for more.
const POLL: Duration = Duration::from_millis(200);
const TAIL_BLOCK_BYTES: u64 = 4096;
/// What is sent at a time.
const CHUNK_BYTES: usize = 32 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// What of a log is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub follow: bool,
    pub tail_lines: Option<u64>,
    pub since: Option<Timestamp>,
    pub timestamps: bool,
    pub limit_bytes: Option<u64>,
    /// Only this stream.
    pub stream: Option<Stream>,
}

#[derive(Debug, PartialEq, Eq)]
struct Piece<'a> {
    time: &'a str,
    stream: Stream,
    partial: bool,
    text: &'a [u8],
}

fn parse(line: &[u8]) -> Option<Piece<'_>> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?;
    let stream = match parts.next()? {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    let tags = parts.next()?;
    let partial = tags.split(|byte| *byte == b':').any(|tag| tag == b"P");
    Some(Piece { time, stream, partial, text: parts.next().unwrap_or_default() })
}

/// Turns pieces into what a reader is shown.
struct Writer {
    options: Options,
    left: Option<u64>,
    within_line: bool,
    buffer: BytesMut,
}

impl Writer {
    fn new(options: &Options) -> Self {
        Self { options: options.clone(), left: options.limit_bytes, within_line: false, buffer: BytesMut::new() }
    }

    fn done(&self) -> bool {
        self.left == Some(0)
    }

    fn take(&mut self, piece: &Piece<'_>) {
        if self.options.stream.is_some_and(|stream| stream != piece.stream) {
            return;
        }
        if let Some(since) = self.options.since
            && piece.time.parse::<Timestamp>().is_ok_and(|time| time < since)
        {
            return;
        }
        if self.options.timestamps && !self.within_line {
            self.put(piece.time.as_bytes());
            self.put(b" ");
        }
        self.put(piece.text);
        if !piece.partial {
            self.put(b"\n");
        }
        self.within_line = piece.partial;
    }

    fn put(&mut self, bytes: &[u8]) {
        let length = self.left.map_or(bytes.len(), |left| bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
        self.buffer.put_slice(&bytes[..length]);
        if let Some(left) = &mut self.left {
            *left -= length as u64;
        }
    }
}

/// Reads the log into `out` until all is read, or, when following, until the container has ended and all is read. Ends when nobody listens.
pub async fn read<R>(path: &Path, options: &Options, running: impl Fn() -> R, out: mpsc::Sender<Bytes>) -> std::io::Result<()>
where
    R: Future<Output = bool>,
{
    let mut file = open(path, options.follow, &running).await?;
    let start = match options.tail_lines {
        Some(lines) => tail_start(&mut file, lines).await?,
        None => 0,
    };
    file.seek(SeekFrom::Start(start)).await?;
    let mut writer = Writer::new(options);
    let mut reader = Reader::new(file).await?;
    let mut last_round = false;
    loop {
        while let Some(line) = reader.line().await? {
            if let Some(piece) = parse(&line) {
                writer.take(&piece);
            }
            if writer.buffer.len() >= CHUNK_BYTES && !send(&mut writer, &out).await {
                return Ok(());
            }
            if writer.done() {
                break;
            }
        }
        if !send(&mut writer, &out).await || writer.done() || !options.follow {
            return Ok(());
        }
        if reader.rotated(path).await {
            // What was written to the old file before the switch has been read: it is never written to again.
            if reader.line_ready().await? {
                continue;
            }
            if let Ok(file) = File::open(path).await {
                reader = Reader::new(file).await?;
                continue;
            }
        }
        if last_round || out.is_closed() {
            return Ok(());
        }
        if running().await {
            tokio::time::sleep(POLL).await;
        } else {
            // It ended since the last read: once more.
            last_round = true;
        }
    }
}

/// A follower may come before the file does.
async fn open<R: Future<Output = bool>>(path: &Path, follow: bool, running: &impl Fn() -> R) -> std::io::Result<File> {
    loop {
        match File::open(path).await {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && follow && running().await => tokio::time::sleep(POLL).await,
            other => return other,
        }
    }
}

async fn send(writer: &mut Writer, out: &mpsc::Sender<Bytes>) -> bool {
    writer.buffer.is_empty() || out.send(writer.buffer.split().freeze()).await.is_ok()
}

struct Reader {
    inner: BufReader<File>,
    inode: u64,
    /// The beginning of a line whose end is not written yet.
    pending: Vec<u8>,
}

impl Reader {
    async fn new(file: File) -> std::io::Result<Self> {
        let inode = file.metadata().await?.ino();
        Ok(Self { inner: BufReader::new(file), inode, pending: Vec::new() })
    }

    /// The next whole line, if there is one.
    async fn line(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let room = LINE_BYTES_MAX.saturating_sub(self.pending.len() as u64);
        (&mut self.inner).take(room).read_until(b'\n', &mut self.pending).await?;
        let whole = self.pending.ends_with(b"\n") || self.pending.len() as u64 >= LINE_BYTES_MAX;
        Ok(whole.then(|| std::mem::take(&mut self.pending)))
    }

    async fn line_ready(&mut self) -> std::io::Result<bool> {
        Ok(!self.inner.fill_buf().await?.is_empty())
    }

    async fn rotated(&self, path: &Path) -> bool {
        tokio::fs::metadata(path).await.is_ok_and(|metadata| metadata.ino() != self.inode)
    }
}

/// The offset at which the last `lines` lines begin.
async fn tail_start(file: &mut File, lines: u64) -> std::io::Result<u64> {
    let length = file.metadata().await?.len();
    if lines == 0 {
        return Ok(length);
    }
    let mut end = length;
    let mut found = 0;
    while end > 0 {
        let start = end.saturating_sub(TAIL_BLOCK_BYTES);
        let mut block = vec![0; usize::try_from(end - start).unwrap_or_default()];
        file.seek(SeekFrom::Start(start)).await?;
        file.read_exact(&mut block).await?;
        for (offset, byte) in block.iter().enumerate().rev() {
            let place = start + offset as u64;
            // The newline that ends the file begins no line.
            if *byte == b'\n' && place + 1 < length {
                found += 1;
                if found == lines {
                    return Ok(place + 1);
                }
            }
        }
        end = start;
    }
    Ok(0)
}

/// The last lines of a log as text: what a container said before it died. Blocks.
pub fn tail(path: &Path, lines: usize, bytes: usize) -> String {
    use std::io::{Read, Seek};
    // Each piece carries its time, stream and tag.
    const OVERHEAD: u64 = 64;
    let window = bytes as u64 + lines as u64 * OVERHEAD;
    let mut data = Vec::new();
    let read = std::fs::File::open(path).and_then(|mut file| {
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(window)))?;
        file.take(window).read_to_end(&mut data)
    });
    if read.is_err() {
        return String::new();
    }
    let pieces: Vec<&[u8]> = data.split_inclusive(|byte| *byte == b'\n').collect();
    let mut writer = Writer::new(&Options::default());
    pieces[pieces.len().saturating_sub(lines)..].iter().filter_map(|line| parse(line)).for_each(|piece| writer.take(&piece));
    let text = String::from_utf8_lossy(&writer.buffer).into_owned();
    let mut start = text.len().saturating_sub(bytes);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    text[start..].to_owned()
}

/// The log of a container: `<folder>/<name>/<attempt>.log`.
pub fn path(folder: &Path, container: &str, attempt: u32) -> PathBuf {
    folder.join(container).join(format!("{attempt}.log"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    const LOG: &str = "2024-01-01T00:00:01.5Z stdout F one\n2024-01-01T00:00:02Z stderr F two\n2024-01-01T00:00:03Z stdout P thr\n2024-01-01T00:00:04Z stdout F ee\n";

    async fn shown(log: &str, options: Options) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("0.log");
        std::fs::write(&path, log).expect("written");
        let (sender, mut receiver) = mpsc::channel(100);
        read(&path, &options, || async { false }, sender).await.expect("read");
        let mut text = Vec::new();
        while let Some(chunk) = receiver.recv().await {
            text.extend_from_slice(&chunk);
        }
        String::from_utf8(text).expect("text")
    }

    #[tokio::test]
    async fn pieces_are_joined_and_filtered() {
        let all = Options::default();
        assert_eq!(shown(LOG, all.clone()).await, "one\ntwo\nthree\n");
        assert_eq!(shown(LOG, Options { tail_lines: Some(3), ..all.clone() }).await, "two\nthree\n");
        assert_eq!(shown(LOG, Options { tail_lines: Some(0), ..all.clone() }).await, "");
        assert_eq!(shown(LOG, Options { tail_lines: Some(100), ..all.clone() }).await, "one\ntwo\nthree\n");
        assert_eq!(shown(LOG, Options { limit_bytes: Some(6), ..all.clone() }).await, "one\ntw");
        assert_eq!(shown(LOG, Options { stream: Some(Stream::Stderr), ..all.clone() }).await, "two\n");
        let since = "2024-01-01T00:00:02Z".parse().expect("a time");
        assert_eq!(shown(LOG, Options { since: Some(since), ..all.clone() }).await, "two\nthree\n");
        let stamped = shown(LOG, Options { timestamps: true, ..all }).await;
        assert_eq!(stamped, "2024-01-01T00:00:01.5Z one\n2024-01-01T00:00:02Z two\n2024-01-01T00:00:03Z three\n");
    }

    #[tokio::test]
    async fn what_is_no_log_line_is_passed_over() {
        assert_eq!(shown("garbage\n2024-01-01T00:00:01Z stdout F \n2024-01-01T00:00:01Z stdout F a b\nhalf", Options::default()).await, "\na b\n");
    }

    #[tokio::test]
    async fn the_tail_of_a_long_log_is_found_across_blocks() {
        let line = |number: usize| format!("2024-01-01T00:00:01Z stdout F {number:0>200}\n");
        let log: String = (0..100).map(line).collect();
        let text = shown(&log, Options { tail_lines: Some(60), ..Default::default() }).await;
        assert_eq!(text.lines().count(), 60);
        assert!(text.starts_with(&format!("{:0>200}\n", 40)));
    }

    #[tokio::test]
    async fn a_follower_goes_on_through_rotation_until_the_container_ends() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("0.log");
        std::fs::write(&path, "2024-01-01T00:00:01Z stdout F one\n").expect("written");
        let running = Arc::new(AtomicBool::new(true));
        let (sender, mut receiver) = mpsc::channel(100);
        let options = Options { follow: true, ..Default::default() };
        let is_running = || {
            let running = running.clone();
            async move { running.load(Ordering::SeqCst) }
        };
        let follow = read(&path, &options, is_running, sender);
        let write = async {
            let mut text = String::new();
            while let Some(chunk) = receiver.recv().await {
                text.push_str(std::str::from_utf8(&chunk).expect("text"));
                match text.as_str() {
                    "one\n" => {
                        std::fs::rename(&path, folder.path().join("0.log.old")).expect("rotated");
                        std::fs::write(&path, "2024-01-01T00:00:02Z stdout F two\n").expect("written");
                    }
                    "one\ntwo\n" => running.store(false, Ordering::SeqCst),
                    _ => panic!("{text:?}"),
                }
            }
            text
        };
        let (result, text) = tokio::join!(follow, write);
        result.expect("read");
        assert_eq!(text, "one\ntwo\n");
    }

    #[test]
    fn last_words_are_the_last_lines() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("0.log");
        std::fs::write(&path, LOG).expect("written");
        assert_eq!(tail(&path, 3, 100), "two\nthree\n");
        assert_eq!(tail(&path, 80, 4), "ree\n");
        assert_eq!(tail(&folder.path().join("none"), 80, 4), "");
    }
}
