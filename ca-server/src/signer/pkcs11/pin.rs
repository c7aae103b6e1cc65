//! A token's PIN: from a file that only its owner can read, never from an argument.

use std::{
    fs, io,
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use ca_api::Secret;
use zeroize::Zeroizing;

/// The longest PIN that is read; PKCS#11 tokens take up to 255 bytes.
const MAX_BYTES: u64 = 255;

/// A file holds no PIN.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// It cannot be read.
    #[error("the PIN cannot be read from {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others can read it (K2).
    #[error(
        "{} holds the PIN and has mode {mode:04o}, so that others can read it; run `chmod 600 {}`",
        path.display(), path.display()
    )]
    TooOpen {
        /// Which.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It is something else.
    #[error("{} holds no PIN: expected one line of 1 to {MAX_BYTES} bytes", .0.display())]
    NotOne(PathBuf),
}

/// Reads the PIN from a file: its one line.
///
/// # Errors
/// Each is one sentence for a person; see [`PinError`].
pub fn read(path: &Path) -> Result<Secret, PinError> {
    let failed = |source| PinError::Read {
        path: path.to_owned(),
        source,
    };
    let file = fs::File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_file() && metadata.mode() & 0o077 != 0 {
        return Err(PinError::TooOpen {
            path: path.to_owned(),
            mode: metadata.mode() & 0o7777,
        });
    }
    // The full capacity at once: a buffer that grows leaves copies of its content behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(512));
    file.take(MAX_BYTES + 3)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() || text.len() as u64 > MAX_BYTES || text.chars().any(char::is_control) {
        return Err(PinError::NotOne(path.to_owned()));
    }
    Ok(Secret::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn k2_a_pin_file_is_one_line_that_nobody_else_reads() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pin");
        let write = |content: &[u8], mode| {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        for good in [&b"1234"[..], b"1234\n", b"1234\r\n"] {
            write(good, 0o600);
            assert_eq!(read(&path).unwrap().expose(), "1234");
        }
        for bad in [&b""[..], b"\n", b"12\n34\n", b"12\0", &[b'1'; 256], &[0xff]] {
            write(bad, 0o600);
            assert!(matches!(read(&path), Err(PinError::NotOne(_))), "{bad:?}");
        }
        for mode in [0o640, 0o604, 0o644] {
            write(b"1234", mode);
            assert!(matches!(read(&path), Err(PinError::TooOpen { .. })));
        }
        assert!(matches!(
            read(Path::new("/nowhere/pin")),
            Err(PinError::Read { .. })
        ));
    }
}
