//! subPath: showing a part of a volume without letting links in it lead out.
//!
//! The part is opened beneath the volume by the kernel (openat2), and that very file is bind-mounted, so swapping it for a link
//! afterwards changes nothing.

use super::{Error, mounts, pod_folder};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

fn open(volume: &Path, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let root = File::open(volume)?;
    let flags = flags | OFlags::CLOEXEC;
    Ok(openat2(&root, path, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS)?)
}

/// Opens a file of a volume for reading; links that lead out of it are refused.
pub fn open_beneath(volume: &Path, path: &str) -> io::Result<File> {
    open(volume, Path::new(path), OFlags::RDONLY).map(File::from)
}

/// Opens the part, making the folders that are not there with the volume's own mode.
fn open_or_create(volume: &Path, path: &Path) -> io::Result<OwnedFd> {
    match open(volume, path, OFlags::PATH) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    let mode = Mode::from_raw_mode(std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(volume)?) & 0o7777);
    let mut made = PathBuf::new();
    for part in path.components() {
        let parent = if made.as_os_str().is_empty() { PathBuf::from(".") } else { made.clone() };
        made.push(part);
        let parent = open(volume, &parent, OFlags::PATH | OFlags::DIRECTORY)?;
        match rustix::fs::mkdirat(&parent, part.as_os_str(), mode) {
            // The umask has narrowed the mode.
            Ok(()) => {
                let folder = open(volume, &made, OFlags::RDONLY | OFlags::DIRECTORY)?;
                rustix::fs::fchmod(&folder, mode)?;
            }
            Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    open(volume, path, OFlags::PATH)
}

/// Which subPath mount of which container.
pub struct Place<'a> {
    pub root: &'a Path,
    pub uid: &'a str,
    pub volume: &'a str,
    pub container: &'a str,
    pub index: usize,
}

/// Bind-mounts the part of a volume where the runtime can find it; gives the place.
pub fn bind(volume_path: &Path, path: &str, place: &Place<'_>) -> Result<PathBuf, Error> {
    if Path::new(path).components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(Error::Path(path.to_owned()));
    }
    // Why it failed could tell the Pod about the node, so only the log says.
    let hide = |error: &dyn std::fmt::Display| {
        tracing::warn!(volume = place.volume, container = place.container, path, %error, "cannot prepare a subPath");
        Error::Subpath { volume: place.volume.to_owned(), container: place.container.to_owned() }
    };
    let source = open_or_create(volume_path, Path::new(path)).map_err(|error| hide(&error))?;
    let is_folder = rustix::fs::fstat(&source).map(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir());
    let is_folder = is_folder.map_err(|error| hide(&error))?;
    let folder = pod_folder(place.root, place.uid).join("volume-subpaths").join(place.volume).join(place.container);
    let target = folder.join(place.index.to_string());
    // What an earlier run of the container left.
    mounts::unmount_below(&target)?;
    std::fs::create_dir_all(&folder).map_err(|error| hide(&error))?;
    if target.is_dir() != is_folder || !target.exists() {
        let _ = if target.is_dir() { std::fs::remove_dir(&target) } else { std::fs::remove_file(&target) };
        let made = if is_folder { std::fs::create_dir(&target) } else { File::create(&target).map(drop) };
        made.map_err(|error| hide(&error))?;
    }
    let opened = PathBuf::from(format!("/proc/self/fd/{}", source.as_raw_fd()));
    mounts::bind(&opened, &target).map_err(|error| hide(&error))?;
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn volume() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("d")).expect("made");
        std::fs::write(folder.path().join("d/file"), "inside").expect("written");
        symlink("d", folder.path().join("inner")).expect("linked");
        symlink("/etc", folder.path().join("outer")).expect("linked");
        folder
    }

    #[test]
    fn links_within_the_volume_are_followed_and_others_refused() {
        let volume = volume();
        let read = |path: &str| open_beneath(volume.path(), path).and_then(io::read_to_string).ok();
        assert_eq!(read("d/file").as_deref(), Some("inside"));
        assert_eq!(read("inner/file").as_deref(), Some("inside"));
        assert_eq!(read("outer/passwd"), None);
        assert_eq!(read("../x"), None);
    }

    #[test]
    fn missing_folders_are_made_but_never_outside() {
        let volume = volume();
        open_or_create(volume.path(), Path::new("x/y/z")).expect("made");
        assert!(volume.path().join("x/y/z").is_dir());
        open_or_create(volume.path(), Path::new("outer/kubelet-test")).expect_err("leads out");
        assert!(!Path::new("/etc/kubelet-test").exists());
    }
}
