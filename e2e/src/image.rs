//! The images that tests run, made of this machine's busybox-static and bash-static: no registry is asked.

use crate::oci::{Layer, Program, archive};
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

/// A shell with the usual tools.
pub const BUSYBOX: &str = "localhost/test/busybox:1";
/// Two releases of a small web server on port 80; each answers with its release.
pub const WEB: &str = "localhost/test/web:1";
pub const WEB_NEXT: &str = "localhost/test/web:2";

const FOLDERS: [&str; 8] = ["bin", "dev", "etc", "proc", "root", "sys", "usr", "var"];
const PATH: &str = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";

/// One archive an image: its file name and content.
pub fn all() -> io::Result<Vec<(&'static str, Vec<u8>)>> {
    let shell = Program { cmd: &["sh"], env: &[PATH], ..Program::default() };
    let server = Program { cmd: &["httpd", "-f", "-v", "-p", "80", "-h", "/www"], env: &[PATH], ..Program::default() };
    Ok(vec![
        ("busybox.tar", archive(&[BUSYBOX], tools()?, shell)?),
        ("web-1.tar", archive(&[WEB], site("release 1\n")?, server)?),
        ("web-2.tar", archive(&[WEB_NEXT], site("release 2\n")?, server)?),
    ])
}

fn site(text: &str) -> io::Result<Layer> {
    tools()?.folder("www", 0o755)?.file("www/index.html", 0o644, text.as_bytes())
}

fn tools() -> io::Result<Layer> {
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    let busybox = busybox.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "busybox is not installed: apt-get install busybox-static"))?;
    let applets = Command::new(busybox).arg("--list").output()?.stdout;
    let mut layer = Layer::new().folder("tmp", 0o1777)?;
    for folder in FOLDERS {
        layer = layer.folder(folder, 0o755)?;
    }
    layer = layer.file("bin/busybox", 0o755, &fs::read(busybox)?)?;
    for applet in String::from_utf8_lossy(&applets).lines().filter(|applet| !["busybox", "sh"].contains(applet)) {
        layer = layer.symlink(&format!("bin/{applet}"), "busybox")?;
    }
    // Debian's busybox shell drops variables such as `data-1`.
    layer
        .file("bin/sh", 0o755, &fs::read("/bin/bash-static")?)?
        .file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")?
        .file("etc/group", 0o644, b"root:x:0:\nnobody:x:65534:\n")
}
