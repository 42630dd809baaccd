//! The mounts of Pods' volumes and containers: that they can propagate, and that none is left behind.

use crate::error::{Error, file};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::fs;
use std::path::{Path, PathBuf};

const MOUNTS: &str = "/proc/self/mountinfo";

/// Lets mounts below `/` be seen in containers that ask for it, as they are on a machine that systemd started.
pub fn share_root() -> Result<(), Error> {
    let text = fs::read_to_string(MOUNTS).map_err(file(MOUNTS))?;
    let shared = text.lines().filter_map(parse).any(|(point, shared)| point == Path::new("/") && shared);
    if shared {
        return Ok(());
    }
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SHARED, None::<&str>).map_err(|errno| file("/")(errno.into()))
}

/// Unmounts everything at or below a folder, what was mounted last first.
pub fn remove_below(folder: &Path) -> Result<(), Error> {
    let text = fs::read_to_string(MOUNTS).map_err(file(MOUNTS))?;
    let points: Vec<PathBuf> = text.lines().filter_map(parse).map(|(point, _)| point).filter(|point| point.starts_with(folder)).collect();
    for point in points.iter().rev() {
        match umount2(point, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            // Gone with the one it was mounted on.
            Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => {}
            Err(errno) => return Err(file(point)(errno.into())),
        }
    }
    Ok(())
}

/// The mount point of a line, and whether it is shared: `36 35 98:0 /root /a\040b rw,noatime shared:1 - ext3 /dev/root rw`
fn parse(line: &str) -> Option<(PathBuf, bool)> {
    let (before, _) = line.split_once(" - ")?;
    let mut fields = before.split(' ').skip(4);
    let point = unescape(fields.next()?);
    Some((point.into(), fields.any(|field| field.starts_with("shared:"))))
}

/// Blanks and backslashes are written as three octal digits.
fn unescape(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                out.push(char::from(byte));
                out.push_str(&part[3..]);
            }
            None => {
                out.push('\\');
                out.push_str(part);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_with_their_blanks() {
        let check = |line: &str, expect: Option<(&str, bool)>| {
            assert_eq!(parse(line), expect.map(|(point, shared)| (PathBuf::from(point), shared)), "{line}");
        };
        check(r"36 35 98:0 /root /a\040b rw,noatime shared:1 - ext3 /dev/root rw", Some(("/a b", true)));
        check(r"36 35 98:0 / / rw - ext3 /dev/root rw", Some(("/", false)));
        check("nonsense", None);
    }
}
