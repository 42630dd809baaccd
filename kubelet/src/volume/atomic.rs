//! Files that change all at once, as readers see them.
//!
//! ```text
//!   volume/..2026_01_02_03_04_05.123456789/key     the files, in a folder of their own
//!   volume/..data -> ..2026_01_02_03_04_05.123456789   switched by one rename
//!   volume/key    -> ..data/key                     what readers open
//! ```

use super::Error;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

const DATA: &str = "..data";
const DATA_NEXT: &str = "..data_tmp";

/// One file: what is in it, and its mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub data: Vec<u8>,
    pub mode: u32,
}

/// By path within the volume.
pub type Files = BTreeMap<String, File>;

/// Makes the folder show exactly these files. Says whether anything changed.
pub fn write(folder: &Path, files: &Files) -> Result<bool, Error> {
    files.keys().try_for_each(|path| check(path))?;
    let current = std::fs::read_link(folder.join(DATA)).ok();
    if let Some(current) = &current
        && shows(&folder.join(current), files)
    {
        return Ok(false);
    }
    let fresh = fresh_name(folder);
    let place = folder.join(&fresh);
    write_files(&place, files)?;
    let next = folder.join(DATA_NEXT);
    match std::fs::remove_file(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::file("removing", &next)(error)),
        _ => {}
    }
    symlink(&fresh, &next).map_err(Error::file("linking", &next))?;
    std::fs::rename(&next, folder.join(DATA)).map_err(Error::file("switching", &next))?;
    show(folder, files)?;
    if let Some(old) = current {
        let old = folder.join(old);
        std::fs::remove_dir_all(&old).or_else(absent_is_fine).map_err(Error::file("removing", &old))?;
    }
    Ok(true)
}

fn absent_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// A path stays below the volume and does not collide with the switch.
fn check(path: &str) -> Result<(), Error> {
    let plain = !path.is_empty() && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    if plain && !path.starts_with("..") { Ok(()) } else { Err(Error::Path(path.to_owned())) }
}

/// Whether the folder holds these files and no others.
fn shows(folder: &Path, files: &Files) -> bool {
    let same = files.iter().all(|(path, file)| {
        let path = folder.join(path);
        let mode = path.metadata().map(|metadata| metadata.mode() & 0o777);
        // Ownership by a group may have opened the mode further.
        mode.is_ok_and(|mode| mode & file.mode == file.mode) && std::fs::read(&path).is_ok_and(|data| data == file.data)
    });
    same && count(folder).is_ok_and(|count| count == files.len())
}

fn count(folder: &Path) -> io::Result<usize> {
    let mut sum = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        sum += if entry.file_type()?.is_dir() { count(&entry.path())? } else { 1 };
    }
    Ok(sum)
}

/// A name that no reader has seen. It says when it was made, for people; a serial keeps it unique.
fn fresh_name(folder: &Path) -> String {
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    let now = apiserver_component::Clock.now();
    let stamp = now.strftime("..%Y_%m_%d_%H_%M_%S");
    loop {
        let name = format!("{stamp}.{}", u64::from(std::process::id()) << 20 | SERIAL.fetch_add(1, Ordering::Relaxed));
        if !folder.join(&name).exists() {
            return name;
        }
    }
}

fn write_files(place: &Path, files: &Files) -> Result<(), Error> {
    let folder = |path: &Path| {
        std::fs::create_dir_all(path).map_err(Error::file("creating", path))?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).map_err(Error::file("setting the mode of", path))
    };
    folder(place)?;
    for (path, file) in files {
        let path = place.join(path);
        if let Some(parent) = path.parent() {
            folder(parent)?;
        }
        std::fs::write(&path, &file.data).map_err(Error::file("writing", &path))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(file.mode)).map_err(Error::file("setting the mode of", &path))?;
    }
    Ok(())
}

/// Links what readers open, and unlinks what is no longer there.
fn show(folder: &Path, files: &Files) -> Result<(), Error> {
    let first = |path: &str| path.split('/').next().unwrap_or(path).to_owned();
    let wanted: BTreeSet<String> = files.keys().map(|path| first(path)).collect();
    for name in &wanted {
        let link = folder.join(name);
        if std::fs::read_link(&link).is_err() {
            symlink(PathBuf::from(DATA).join(name), &link).map_err(Error::file("linking", &link))?;
        }
    }
    for entry in std::fs::read_dir(folder).map_err(Error::file("reading", folder))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("..") && !wanted.contains(&name) {
            std::fs::remove_file(entry.path()).map_err(Error::file("removing", &entry.path()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn files(pairs: &[(&str, &str)]) -> Files {
        pairs.iter().map(|(path, data)| ((*path).to_owned(), File { data: data.as_bytes().to_vec(), mode: 0o644 })).collect()
    }

    /// What a reader sees.
    fn seen(folder: &Path) -> BTreeMap<String, String> {
        fn walk(folder: &Path, prefix: &str, out: &mut BTreeMap<String, String>) {
            for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
                let name = entry.file_name().into_string().expect("text");
                if name.starts_with("..") {
                    continue;
                }
                let path = format!("{prefix}{name}");
                if entry.path().is_dir() {
                    walk(&entry.path(), &format!("{path}/"), out);
                } else {
                    out.insert(path, std::fs::read_to_string(entry.path()).expect("read"));
                }
            }
        }
        let mut out = BTreeMap::new();
        walk(folder, "", &mut out);
        out
    }

    fn text(files: &Files) -> BTreeMap<String, String> {
        files.iter().map(|(path, file)| (path.clone(), String::from_utf8(file.data.clone()).expect("text"))).collect()
    }

    #[test]
    fn files_appear_change_and_vanish_together() {
        let folder = tempfile::tempdir().expect("a folder");
        for step in [files(&[("a", "1"), ("d/b", "2"), ("d/c", "3")]), files(&[("a", "4"), ("d/c", "3")]), files(&[("d", "now a file")]), files(&[])]
        {
            assert!(write(folder.path(), &step).expect("written"));
            assert_eq!(seen(folder.path()), text(&step));
            assert!(!write(folder.path(), &step).expect("nothing to do"));
            let generations =
                std::fs::read_dir(folder.path()).expect("read").flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with("..2"));
            assert_eq!(generations.count(), 1);
        }
    }

    #[test]
    fn paths_that_lead_out_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        for path in ["../x", "/x", "a/../x", "..data", "", "..x/y"] {
            assert!(matches!(write(folder.path(), &files(&[(path, "")])), Err(Error::Path(_))), "{path}");
        }
    }

    #[test]
    fn a_changed_mode_counts_as_a_change() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut one = files(&[("a", "1")]);
        write(folder.path(), &one).expect("written");
        one.get_mut("a").expect("there").mode = 0o755;
        assert!(write(folder.path(), &one).expect("written"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn readers_always_see_the_last_write(steps in prop::collection::vec(prop::collection::btree_map("[a-c]{1,2}", "[x-z]{0,3}", 0..4), 1..5)) {
            let folder = tempfile::tempdir().expect("a folder");
            for step in steps {
                let step: Files = step.into_iter().map(|(path, data)| (path, File { data: data.into_bytes(), mode: 0o644 })).collect();
                write(folder.path(), &step).expect("written");
                prop_assert_eq!(seen(folder.path()), text(&step));
            }
        }
    }
}
