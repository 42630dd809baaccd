//! The mount table, and the few mounts that the kubelet makes.

use super::Error;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Where the mount points of this process are listed.
const TABLE: &str = "/proc/self/mountinfo";

/// Mount points at or below a folder, deepest and newest first.
pub fn below(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let table = std::fs::read(TABLE).map_err(Error::file("reading", Path::new(TABLE)))?;
    let mut points: Vec<PathBuf> = table.split(|byte| *byte == b'\n').filter_map(mount_point).filter(|point| point.starts_with(folder)).collect();
    points.reverse();
    points.sort_by_key(|point| std::cmp::Reverse(point.components().count()));
    Ok(points)
}

/// The fifth field of a line, with its octal escapes undone.
fn mount_point(line: &[u8]) -> Option<PathBuf> {
    let field = line.split(|byte| *byte == b' ').nth(4)?;
    let mut path = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let escaped =
            (first == b'\\').then(|| tail.get(..3)).flatten().and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match escaped {
            Some(byte) => {
                path.push(byte);
                rest = &tail[3..];
            }
            None => {
                path.push(first);
                rest = tail;
            }
        }
    }
    Some(PathBuf::from(OsString::from_vec(path)))
}

pub fn is_mounted(path: &Path) -> Result<bool, Error> {
    Ok(below(path)?.iter().any(|point| point == path))
}

pub fn tmpfs(path: &Path, bytes: Option<i64>) -> Result<(), Error> {
    let options = bytes.map(|bytes| format!("size={bytes}"));
    mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::MS_NOATIME, options.as_deref()).map_err(|error| Error::file("mounting", path)(error.into()))
}

pub fn bind(source: &Path, target: &Path) -> Result<(), Error> {
    mount(Some(source), target, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
        .map_err(|error| Error::file("mounting", target)(error.into()))
}

/// Takes a mount away, from sight at once if it is still in use.
pub fn unmount(path: &Path) -> Result<(), Error> {
    let gone = |error: nix::Error| matches!(error, nix::Error::EINVAL | nix::Error::ENOENT);
    match umount2(path, MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) => Ok(()),
        Err(error) if gone(error) => Ok(()),
        Err(nix::Error::EBUSY) => {
            umount2(path, MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH).map_err(|error| Error::file("unmounting", path)(error.into()))
        }
        Err(error) => Err(Error::file("unmounting", path)(io::Error::from(error))),
    }
}

pub fn unmount_below(folder: &Path) -> Result<(), Error> {
    below(folder)?.iter().try_for_each(|point| unmount(point))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_with_their_escapes() {
        let check = |line: &str, expect: Option<&str>| assert_eq!(mount_point(line.as_bytes()), expect.map(PathBuf::from));
        check("36 35 98:0 /x /mnt/a\\040b rw,noatime master:1 - ext3 /dev/root rw", Some("/mnt/a b"));
        check("36 35 98:0 /x /mnt\\134 rw", Some("/mnt\\"));
        check("36 35 98:0 / / rw", Some("/"));
        check("", None);
    }

    #[test]
    fn the_root_is_mounted() {
        assert!(is_mounted(Path::new("/")).expect("a table"));
    }
}
