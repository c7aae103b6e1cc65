//! Replaces a file whole: a reader sees the old content or the new, never a part (C4).

use std::{
    fs::{self, File, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::Path,
};

/// Mode of files that only their owner may read.
pub const OWNER_ONLY: u32 = 0o600;

/// Writes `content` beside `path`, makes it durable, and renames it into place with `mode`.
///
/// # Errors
/// When the folder is absent or full, or may not be written; `path` is then as before.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(".ca-client-")
        .permissions(Permissions::from_mode(OWNER_ONLY))
        .tempfile_in(folder)?;
    file.write_all(content)?;
    file.as_file()
        .set_permissions(Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    // The rename itself is only durable once the folder is.
    File::open(folder)?.sync_all()
}

/// Makes a folder that only its owner may enter, with its parents; narrows one that is wider.
///
/// # Errors
/// When it cannot be made, or its mode cannot be changed.
pub fn private_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)?;
    if fs::metadata(path)?.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(path, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Removes a file; one that is not there counts as removed.
///
/// # Errors
/// When it is there and stays.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Reads a file; one that is not there is `None`.
///
/// # Errors
/// When it is there and cannot be read as UTF-8 text.
pub fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c4_replaced_whole_with_its_mode_and_nothing_left_beside() {
        let folder = tempfile::tempdir().unwrap();
        let private = folder.path().join("a/b");
        private_folder(&private).unwrap();
        assert_eq!(
            fs::metadata(&private).unwrap().permissions().mode() & 0o777,
            0o700
        );
        let path = private.join("f");
        replace(&path, b"one", 0o644).unwrap();
        let mut old = File::open(&path).unwrap();
        replace(&path, b"two", OWNER_ONLY).unwrap();
        // A reader that opened the old file still reads the old file, whole: it was renamed over, not written into.
        let mut text = String::new();
        io::Read::read_to_string(&mut old, &mut text).unwrap();
        assert_eq!(text, "one");
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            OWNER_ONLY
        );
        assert_eq!(fs::read_dir(&private).unwrap().count(), 1);
        remove(&path).unwrap();
        remove(&path).unwrap();
    }
}
