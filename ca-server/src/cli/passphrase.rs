//! Reads the passphrase that encrypts the CA's keys: from the terminal, a file, standard input, or a systemd credential.

use std::{
    io::{self, IsTerminal as _, Read},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use ca_api::Secret;
use zeroize::Zeroizing;

use super::{args::PassphraseSource, terminal};
use crate::signer::SignerSpec;

/// The fewest characters of a new passphrase.
pub const MIN_CHARS: usize = 12;

/// The most bytes that a passphrase can have; beyond that it is some other file.
pub const MAX_BYTES: usize = 4096;

/// What the passphrase is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A new one: at least [`MIN_CHARS`] characters, and asked for twice on a terminal.
    Create,
    /// The one that was chosen at `init`.
    Unlock,
    /// A new one for a backup: as [`Purpose::Create`].
    LockBackup,
    /// The one that a backup was made with.
    OpenBackup,
}

/// Why there is no passphrase.
#[derive(Debug, thiserror::Error)]
pub enum PassphraseError {
    /// Nobody to ask.
    #[error(
        "no passphrase: there is no terminal to ask on; give --passphrase-file FILE, --passphrase-stdin, or the systemd \
         credential `ssh-ca-passphrase`"
    )]
    NoTerminal,
    /// Nobody to ask for a backup's, which is its own.
    #[error(
        "no passphrase of the backup: there is no terminal to ask on; give --passphrase-file FILE or --passphrase-stdin"
    )]
    NoTerminalForBackup,
    /// No such module.
    #[error("the module of the token, {}, cannot be read: {source}", path.display())]
    Module {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nobody to ask for a PIN.
    #[error(
        "no PIN: there is no terminal to ask on; put it into a file that only its owner can read, and name that in the signer \
         with pin-source=file:/path"
    )]
    NoPin,
    /// The terminal could not be read.
    #[error("cannot read the passphrase from the terminal: {0}")]
    Terminal(#[source] io::Error),
    /// A file could not be read.
    #[error("cannot read the passphrase from {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Standard input could not be read.
    #[error("cannot read the passphrase from standard input: {0}")]
    Stdin(#[source] io::Error),
    /// Others can read the file (K2).
    #[error(
        "{} holds the passphrase and has mode {mode:04o}, so that others can read it; run `chmod 600 {}` and, if anybody may \
         have read it, choose a new passphrase",
        path.display(), path.display()
    )]
    TooOpen {
        /// Which.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Nothing there.
    #[error("the passphrase is empty; give one of at least {MIN_CHARS} characters")]
    Empty,
    /// Too short to be a new one.
    #[error(
        "the passphrase has {chars} characters; choose at least {MIN_CHARS} (several words are good)"
    )]
    TooShort {
        /// How many it has.
        chars: usize,
    },
    /// Too long to be one.
    #[error("the passphrase has more than {MAX_BYTES} bytes; that looks like some other file")]
    TooLong,
    /// Not text.
    #[error("the passphrase is not UTF-8 text; that looks like some other file")]
    NotText,
    /// More than one line.
    #[error(
        "the passphrase has more than one line or control characters in it; that looks like some other file"
    )]
    NotOneLine,
    /// The two entries differ.
    #[error("the two passphrases differ; nothing was changed, run it again")]
    Differ,
}

/// Reads a passphrase from its source.
///
/// # Errors
/// Each is one sentence for a person; see [`PassphraseError`].
pub fn read(source: &PassphraseSource, purpose: Purpose) -> Result<Secret, PassphraseError> {
    match source {
        PassphraseSource::Terminal => from_terminal(purpose),
        PassphraseSource::Stdin => from_reader(io::stdin().lock(), PassphraseError::Stdin, purpose),
        // systemd makes the credential's folder readable by the service alone, whatever the file's mode says.
        PassphraseSource::Credential(path) => from_file(path, purpose, Modes::Any),
        PassphraseSource::File(path) => from_file(path, purpose, Modes::OwnerOnly),
    }
}

/// The PIN of a token that no file holds: asked for where there is somebody. Nothing typed means that the token asks for it
/// itself, on its own keys.
///
/// # Errors
/// When there is nobody to ask.
pub fn token_pin(spec: &SignerSpec) -> Result<Option<Secret>, PassphraseError> {
    let SignerSpec::Pkcs11(token) = spec else {
        return Ok(None);
    };
    if token.pin_file.is_some() {
        return Ok(None);
    }
    // A PIN is not asked for in vain; the server runs on this host, and opens the module itself.
    std::fs::metadata(&token.module).map_err(|source| PassphraseError::Module {
        path: token.module.clone(),
        source,
    })?;
    if !io::stdin().is_terminal() {
        return Err(PassphraseError::NoPin);
    }
    let name = token.token.as_ref().or(token.serial.as_ref());
    let name = super::text::line(name.map_or("", String::as_str));
    let mut typed = terminal::ask_hidden(&format!("PIN of the token {name}: "))
        .map_err(PassphraseError::Terminal)?;
    let typed = std::mem::take(&mut *typed);
    Ok((!typed.is_empty()).then(|| Secret::new(typed)))
}

fn from_terminal(purpose: Purpose) -> Result<Secret, PassphraseError> {
    if !io::stdin().is_terminal() {
        return Err(match purpose {
            Purpose::LockBackup | Purpose::OpenBackup => PassphraseError::NoTerminalForBackup,
            Purpose::Create | Purpose::Unlock => PassphraseError::NoTerminal,
        });
    }
    let ask = |prompt: &str| terminal::ask_hidden(prompt).map_err(PassphraseError::Terminal);
    match purpose {
        Purpose::Unlock => checked(&ask("Passphrase of the CA's keys: ")?, purpose),
        Purpose::OpenBackup => checked(&ask("Passphrase of the backup: ")?, purpose),
        Purpose::Create | Purpose::LockBackup => {
            let what = match purpose {
                Purpose::LockBackup => "this backup",
                _ => "the CA's keys",
            };
            let first = ask(&format!(
                "New passphrase for {what} (at least {MIN_CHARS} characters): "
            ))?;
            let secret = checked(&first, purpose)?;
            if *ask("The same again: ")? != *first {
                return Err(PassphraseError::Differ);
            }
            Ok(secret)
        }
    }
}

/// Which modes a passphrase file may have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Modes {
    OwnerOnly,
    Any,
}

fn from_file(path: &Path, purpose: Purpose, modes: Modes) -> Result<Secret, PassphraseError> {
    let failed = |source| PassphraseError::Read {
        path: path.to_owned(),
        source,
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    // A pipe (`<(pass show ca)`) has no mode that means anything.
    if modes == Modes::OwnerOnly && metadata.is_file() && metadata.mode() & 0o077 != 0 {
        return Err(PassphraseError::TooOpen {
            path: path.to_owned(),
            mode: metadata.mode() & 0o7777,
        });
    }
    from_reader(file, failed, purpose)
}

fn from_reader(
    reader: impl Read,
    failed: impl FnOnce(io::Error) -> PassphraseError,
    purpose: Purpose,
) -> Result<Secret, PassphraseError> {
    // The full capacity at once: a buffer that grows leaves copies of its content behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BYTES + 8));
    // Room for the line's end and one byte that proves it too long.
    let limit = MAX_BYTES as u64 + 3;
    reader.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| {
        if bytes.len() as u64 == limit {
            PassphraseError::TooLong
        } else {
            PassphraseError::NotText
        }
    })?;
    checked(text, purpose)
}

/// Cuts one trailing newline and refuses what cannot be meant.
fn checked(text: &str, purpose: Purpose) -> Result<Secret, PassphraseError> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    let chars = text.chars().count();
    if text.is_empty() {
        return Err(PassphraseError::Empty);
    }
    if text.len() > MAX_BYTES {
        return Err(PassphraseError::TooLong);
    }
    if text.chars().any(char::is_control) {
        return Err(PassphraseError::NotOneLine);
    }
    match purpose {
        Purpose::Create | Purpose::LockBackup if chars < MIN_CHARS => {
            Err(PassphraseError::TooShort { chars })
        }
        Purpose::Create | Purpose::LockBackup | Purpose::Unlock | Purpose::OpenBackup => {
            Ok(Secret::new(text.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn file(content: &[u8], mode: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("passphrase");
        std::fs::write(&path, content).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("mode set");
        (folder, path)
    }

    fn read_file(content: &[u8], purpose: Purpose) -> Result<String, String> {
        let (_folder, path) = file(content, 0o600);
        read(&PassphraseSource::File(path), purpose)
            .map(|secret| secret.expose().to_owned())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn one_line_end_is_cut_and_spaces_stay() {
        for content in [
            "correct horse battery",
            "correct horse battery\n",
            "correct horse battery\r\n",
        ] {
            assert_eq!(
                read_file(content.as_bytes(), Purpose::Create).as_deref(),
                Ok("correct horse battery")
            );
        }
        assert_eq!(
            read_file(b" spaced out \n", Purpose::Unlock).as_deref(),
            Ok(" spaced out ")
        );
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_its_rule() {
        let refused = |content: &[u8], purpose| read_file(content, purpose).expect_err("refused");
        assert!(refused(b"", Purpose::Unlock).contains("empty"));
        assert!(refused(b"\n", Purpose::Create).contains("empty"));
        assert!(
            refused(b"elf chars..\n", Purpose::Create)
                .contains("has 11 characters; choose at least 12")
        );
        assert!(read_file(b"elf chars..\n", Purpose::Unlock).is_ok());
        assert!(read_file("zwölf zeiche".as_bytes(), Purpose::Create).is_ok());
        assert!(
            refused(b"first line\nsecond line\n", Purpose::Unlock).contains("more than one line")
        );
        assert!(refused(b"twelve chars\0", Purpose::Unlock).contains("control characters"));
        assert!(refused(&[0xff, 0xfe, 0xfd], Purpose::Unlock).contains("UTF-8"));
        assert!(refused(&[b'x'; MAX_BYTES + 1], Purpose::Unlock).contains("more than 4096 bytes"));
        assert!(refused(&[b'x'; MAX_BYTES * 4], Purpose::Unlock).contains("more than 4096 bytes"));
        assert!(
            read_file(
                &[[b'x'; MAX_BYTES].as_slice(), b"\n"].concat(),
                Purpose::Unlock
            )
            .is_ok()
        );
    }

    #[test]
    fn k2_a_passphrase_file_that_others_can_read_is_refused() {
        for mode in [0o644, 0o640, 0o604, 0o620, 0o660] {
            let (_folder, path) = file(b"correct horse battery", mode);
            let error = read(&PassphraseSource::File(path), Purpose::Unlock).expect_err("too open");
            assert!(
                matches!(error, PassphraseError::TooOpen { mode: found, .. } if found == mode),
                "{error}"
            );
        }
        let (_folder, path) = file(b"correct horse battery", 0o444);
        assert!(read(&PassphraseSource::Credential(path), Purpose::Unlock).is_ok());
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read(
            &PassphraseSource::File("/nowhere/at-all".into()),
            Purpose::Unlock,
        )
        .expect_err("missing");
        assert!(
            error
                .to_string()
                .starts_with("cannot read the passphrase from /nowhere/at-all: No such file"),
            "{error}"
        );
    }

    #[test]
    fn c3_no_error_shows_the_passphrase() {
        for content in ["hunter2", "hunter2\nhunter2", "hunter2\0"] {
            let error = read_file(content.as_bytes(), Purpose::Create).expect_err("refused");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
