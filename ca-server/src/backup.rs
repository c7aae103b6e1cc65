//! Backups: what is in one, how it is locked, made, looked at, and put back.
//!
//! A backup is an [age](https://age-encryption.org/v1) file around a tar archive, so that stock tools can open it where this program
//! is not at hand (`age -d FILE | tar t`):
//!
//! ```text
//! about.json               what the archive is: format, CA, time, instance epoch, ledger head
//! config.toml tls/NAME.pem keys/NAME.pub
//! keys/NAME tls/NAME.key   only where they were asked for; encrypted in themselves (K1)
//! store/TABLE.NUMBER       rows of one committed state: length of key and value (u32, big endian), key, value
//! manifest.json            the number of rows, bytes and the SHA-256 of each table and file
//! manifest.json.sig        SSHSIG over the manifest by the ledger's key
//! ```
//!
//! The server writes the archive into its Unix socket, from one snapshot of the store; the command that asked locks it and makes the
//! file, with the rights of whoever runs it. The server never learns the backup's passphrase, and writes no file.

pub mod archive;
pub mod dump;
pub mod lock;
pub mod make;
pub mod restore;
pub mod verify;

use std::{collections::BTreeMap, io, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::ledger::Head;

/// The archive's format; another one is refused, never guessed at.
pub const FORMAT: u32 = 1;

/// The SSHSIG namespace of manifests.
pub const NAMESPACE: &str = "backup@ssh-ca";

/// The largest file and manifest of an archive, in bytes.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// The largest part of a table, in bytes: one is ended at [`PART_BYTES`], and a row is never parted.
const MAX_PART_BYTES: u64 = 128 * 1024 * 1024;

/// When a part of a table is full, in bytes.
const PART_BYTES: usize = 1024 * 1024;

/// What an archive is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// [`FORMAT`].
    pub format: u32,
    /// The program's version.
    pub program: String,
    /// When it was made.
    pub made_unix: i64,
    /// The CA's id, hex.
    pub ca: String,
    /// The instance epoch of the state in it.
    pub instance_epoch: u32,
    /// The ledger's head.
    pub head: Head,
    /// Commits of the store so far.
    pub commits: u64,
    /// The names of the private keys in it; empty where they were not asked for.
    pub keys: Vec<String>,
}

/// Length and hash of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSum {
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, hex.
    pub sha256: String,
}

/// Number, length and hash of a table's rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableSum {
    /// How many rows.
    pub rows: u64,
    /// Their length, with their frames.
    pub bytes: u64,
    /// The SHA-256 over all its parts, hex.
    pub sha256: String,
}

/// What an archive holds, signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The same as at its beginning.
    pub about: About,
    /// Every file but this one.
    pub files: BTreeMap<String, FileSum>,
    /// Every table.
    pub tables: BTreeMap<String, TableSum>,
}

/// A backup cannot be made, read or put back. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is something already.
    #[error("{} exists already; nothing was written: choose another name, or move it away", .0.display())]
    Exists(PathBuf),
    /// Standard output.
    #[error("a backup goes into a file: name one, which appears when it is whole")]
    NoFile,
    /// Another run is at work on the same file or folder.
    #[error("another run is at work on {}; wait for its end", .0.display())]
    Busy(PathBuf),
    /// The passphrase does not fit.
    #[error("the passphrase does not open this backup")]
    WrongPassphrase,
    /// None of the identities fits.
    #[error("none of the identities opens this backup")]
    WrongIdentity,
    /// It was locked in the other way.
    #[error("this backup is locked {0}")]
    OtherLock(&'static str),
    /// No age file.
    #[error("this is not a backup: {0}")]
    NotOne(String),
    /// A file that is none, before anybody was asked for what opens it.
    #[error("{} is not a backup", .0.display())]
    NotThis(PathBuf),
    /// A recipient or identity that is none.
    #[error("{0}")]
    Key(String),
    /// It was made by a program that knows more.
    #[error(
        "this backup has format {found}, this program reads format {FORMAT}: use the version that made it ({program})"
    )]
    OtherFormat {
        /// Its format.
        found: u32,
        /// The version that made it.
        program: String,
    },
    /// Something in it is not as it was written, or is missing.
    #[error("the backup is damaged: {0}")]
    Damaged(String),
    /// The ledger in it does not hold.
    #[error("the ledger in the backup does not hold: {0}")]
    Ledger(String),
    /// The data folder.
    #[error(transparent)]
    Folder(#[from] crate::folder::FolderError),
    /// The store of the new folder.
    #[error("the store cannot be written: {0}")]
    Store(String),
    /// The passphrase cannot be read.
    #[error(transparent)]
    Passphrase(#[from] crate::cli::passphrase::PassphraseError),
    /// The server.
    #[error(transparent)]
    Server(#[from] crate::cli::client::ClientError),
    /// The operating system.
    #[error("cannot {action}: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// Why not.
        source: io::Error,
    },
}

impl BackupError {
    /// What to do next; may be empty.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Server(error) => error.hint(),
            Self::NotOne(_) | Self::NotThis(_) => {
                "A backup is a file that `ca-server backup FILE` made.".to_owned()
            }
            Self::OtherLock(_) => {
                "Give --identity FILE for one that was made with --recipient; without it the passphrase is asked for."
                    .to_owned()
            }
            Self::Damaged(_) | Self::Ledger(_) => {
                "Nothing was changed. Take an older backup, and look at the disk that this one lay on.".to_owned()
            }
            _ => String::new(),
        }
    }
}

/// Turns an error of the system into one with its path.
fn file_error(
    action: &'static str,
    path: &std::path::Path,
) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::File {
        action,
        path,
        source,
    }
}
