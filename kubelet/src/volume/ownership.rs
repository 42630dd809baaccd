//! fsGroup: a volume belongs to a group, and new files in it do too.

use super::Error;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown};
use std::path::Path;

const SET_GID: u32 = 0o2000;

/// Gives everything in the folder to the group, readable for it (and writable, unless `read_only`); folders hand the group on.
pub fn give_to_group(folder: &Path, group: u32, read_only: bool) -> Result<(), Error> {
    walk(folder, &|path| {
        let metadata = std::fs::symlink_metadata(path)?;
        lchown(path, None, Some(group))?;
        if metadata.file_type().is_symlink() {
            return Ok(());
        }
        let mut add = if read_only { 0o440 } else { 0o660 };
        if metadata.is_dir() {
            add |= SET_GID | 0o110;
        }
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(metadata.mode() & 0o7777 | add))
    })
}

/// Gives one file, through links, to a user.
pub fn give_to_user(path: &Path, user: u32) -> Result<(), Error> {
    chown(path, Some(user), None).map_err(Error::file("changing the owner of", path))
}

fn walk(path: &Path, visit: &impl Fn(&Path) -> io::Result<()>) -> Result<(), Error> {
    visit(path).map_err(Error::file("changing the group of", path))?;
    if !std::fs::symlink_metadata(path).map_err(Error::file("reading", path))?.is_dir() {
        return Ok(());
    }
    for entry in std::fs::read_dir(path).map_err(Error::file("reading", path))? {
        walk(&entry.map_err(Error::file("reading", path))?.path(), visit)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_folders_open_to_the_group() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        std::fs::write(&file, "x").expect("written");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("set");
        let group = std::fs::metadata(folder.path()).expect("there").gid();
        give_to_group(folder.path(), group, false).expect("given");
        let mode = |path: &Path| std::fs::metadata(path).expect("there").mode() & 0o7777;
        assert_eq!(mode(&file), 0o660);
        assert_eq!(mode(folder.path()) & 0o2070, 0o2070);
    }
}
