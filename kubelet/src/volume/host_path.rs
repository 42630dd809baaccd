//! hostPath volumes: what must be there, or is made.

use super::Error;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The path, if it is what the type says it must be; the `…OrCreate` types make it.
pub fn check(path: &str, kind: &str) -> Result<PathBuf, Error> {
    let place = Path::new(path);
    let fail = |problem| Err(Error::HostPath { path: path.to_owned(), problem });
    if place.components().any(|part| part == std::path::Component::ParentDir) {
        return fail("must not contain '..'");
    }
    match kind {
        "" => return Ok(place.to_owned()),
        "DirectoryOrCreate" if !place.exists() => {
            std::fs::create_dir_all(place).map_err(Error::file("creating", place))?;
            std::fs::set_permissions(place, std::fs::Permissions::from_mode(0o755)).map_err(Error::file("setting the mode of", place))?;
        }
        "FileOrCreate" if !place.exists() => {
            std::fs::File::create_new(place).map_err(Error::file("creating", place))?;
            std::fs::set_permissions(place, std::fs::Permissions::from_mode(0o644)).map_err(Error::file("setting the mode of", place))?;
        }
        _ => {}
    }
    let Ok(metadata) = std::fs::metadata(place) else {
        return fail("does not exist");
    };
    let found = metadata.file_type();
    match kind {
        "Directory" | "DirectoryOrCreate" if !found.is_dir() => fail("is not a directory"),
        "File" | "FileOrCreate" if !found.is_file() => fail("is not a file"),
        "Socket" if !found.is_socket() => fail("is not a socket file"),
        "CharDevice" if !found.is_char_device() => fail("is not a character device"),
        "BlockDevice" if !found.is_block_device() => fail("is not a block device"),
        "Directory" | "DirectoryOrCreate" | "File" | "FileOrCreate" | "Socket" | "CharDevice" | "BlockDevice" => Ok(place.to_owned()),
        _ => fail("has an unknown type"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_checked_and_made() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        assert!(check(&at("none"), "").is_ok());
        assert!(check(&at("none"), "Directory").is_err());
        assert!(check(&at("d/e"), "DirectoryOrCreate").is_ok_and(|path| path.is_dir()));
        assert!(check(&at("d/f"), "FileOrCreate").is_ok_and(|path| path.is_file()));
        assert!(check(&at("d"), "File").is_err());
        assert!(check(&at("d/f"), "Directory").is_err());
        assert!(check("/dev/null", "CharDevice").is_ok());
        assert!(check("/dev/null", "Socket").is_err());
        assert!(check(&at("d/../d"), "Directory").is_err());
    }
}
