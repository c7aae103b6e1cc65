//! The lock around a backup: an age file, to a passphrase or to recipients.

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    path::Path,
    str::FromStr,
};

use age::{
    Decryptor, Encryptor, scrypt,
    secrecy::SecretString,
    stream::{StreamReader, StreamWriter},
    x25519,
};
use ca_api::Secret;

use super::{BackupError, file_error};

/// The cost of guessing a passphrase: 2^18 rounds of scrypt, 256 MiB and about a second a guess, as the age program does it.
pub const WORK_FACTOR: u8 = 18;

/// The highest cost that is accepted from a file: more would be somebody's wish that this machine chokes.
const MAX_WORK_FACTOR: u8 = 20;

/// An identity file is a few lines.
const MAX_IDENTITY_BYTES: u64 = 64 * 1024;

/// How a backup is locked.
pub enum Lock {
    /// With a passphrase.
    Passphrase {
        /// Which.
        passphrase: Secret,
        /// How much work a guess costs, as a power of two.
        work_factor: u8,
    },
    /// To these recipients (`age1…`): whoever holds one of their identities opens it.
    Recipients(Vec<x25519::Recipient>),
}

/// How it is opened.
pub enum Key {
    /// With the passphrase.
    Passphrase(Secret),
    /// With one of these.
    Identities(Vec<x25519::Identity>),
}

/// Reads recipients as age writes them.
///
/// # Errors
/// When a text is none.
pub fn recipients(texts: &[String]) -> Result<Vec<x25519::Recipient>, BackupError> {
    let parse = |text: &String| {
        x25519::Recipient::from_str(text).map_err(|why| {
            BackupError::Key(format!(
                "{text:?} is not an age recipient ({why}): expected age1…, as `age-keygen` prints it"
            ))
        })
    };
    texts.iter().map(parse).collect()
}

/// Reads an identity file as `age-keygen` writes it: lines of `AGE-SECRET-KEY-1…`, and comments.
///
/// # Errors
/// When it cannot be read, others can read it (K2), or a line is no identity.
pub fn identities(path: &Path) -> Result<Vec<x25519::Identity>, BackupError> {
    use std::{io::Read as _, os::unix::fs::MetadataExt as _};
    let file = std::fs::File::open(path).map_err(file_error("read", path))?;
    let meta = file.metadata().map_err(file_error("look at", path))?;
    if meta.is_file() && meta.mode() & 0o077 != 0 {
        return Err(BackupError::Key(format!(
            "{} opens backups and has mode {:04o}, so that others can read it: run `chmod 600 {0}`",
            path.display(),
            meta.mode() & 0o7777
        )));
    }
    let mut text = zeroize::Zeroizing::new(String::new());
    file.take(MAX_IDENTITY_BYTES)
        .read_to_string(&mut text)
        .map_err(file_error("read", path))?;
    let found: Vec<x25519::Identity> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            x25519::Identity::from_str(line).map_err(|why| {
                BackupError::Key(format!(
                    "{} has a line that is no age identity: {why}",
                    path.display()
                ))
            })
        })
        .collect::<Result<_, _>>()?;
    if found.is_empty() {
        return Err(BackupError::Key(format!(
            "{} holds no age identity",
            path.display()
        )));
    }
    Ok(found)
}

/// Locks what is written from now on; end it with `finish`, or it counts as cut off.
///
/// # Errors
/// When `out` cannot be written.
pub fn lock<W: Write>(lock: &Lock, out: W) -> Result<StreamWriter<W>, BackupError> {
    let failed =
        |why: &dyn std::fmt::Display| BackupError::Key(format!("cannot lock the backup: {why}"));
    let encryptor = match lock {
        Lock::Passphrase {
            passphrase,
            work_factor,
        } => {
            let mut recipient = scrypt::Recipient::new(secret(passphrase));
            recipient.set_work_factor(*work_factor);
            Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient))
        }
        Lock::Recipients(recipients) => Encryptor::with_recipients(
            recipients
                .iter()
                .map(|recipient| recipient as &dyn age::Recipient),
        ),
    };
    encryptor
        .map_err(|why| failed(&why))?
        .wrap_output(out)
        .map_err(|why| failed(&why))
}

/// What opens a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// A passphrase.
    Passphrase,
    /// The identity of one of its recipients.
    Identity,
}

/// A backup that is still locked.
pub struct Locked<R> {
    decryptor: Decryptor<R>,
}

impl Locked<BufReader<File>> {
    /// Looks at a file, before anybody is asked for what opens it.
    ///
    /// # Errors
    /// When it cannot be read, or is no backup.
    pub fn file(path: &Path) -> Result<Self, BackupError> {
        let file = File::open(path).map_err(file_error("read", path))?;
        Self::new(BufReader::new(file)).map_err(|error| match error {
            BackupError::NotOne(_) => BackupError::NotThis(path.to_owned()),
            other => other,
        })
    }
}

impl<R: BufRead> Locked<R> {
    /// Reads as far as it can be read without a key.
    ///
    /// # Errors
    /// When this is no backup.
    pub fn new(input: R) -> Result<Self, BackupError> {
        let decryptor = Decryptor::new_buffered(input)
            .map_err(|error| BackupError::NotOne(error.to_string()))?;
        Ok(Self { decryptor })
    }

    /// Whether it is opened this way.
    ///
    /// # Errors
    /// When it is opened the other way.
    pub fn expects(&self, way: Way) -> Result<(), BackupError> {
        match (way, self.decryptor.is_scrypt()) {
            (Way::Passphrase, false) => {
                Err(BackupError::OtherLock("recipients, not with a passphrase"))
            }
            (Way::Identity, true) => Err(BackupError::OtherLock("a passphrase, not to recipients")),
            (Way::Passphrase, true) | (Way::Identity, false) => Ok(()),
        }
    }

    /// Opens it: what is read is authentic to whoever holds the key, piece by piece, and its end too.
    ///
    /// # Errors
    /// When the key does not fit.
    pub fn unlock(self, key: &Key) -> Result<StreamReader<R>, BackupError> {
        let opened = match key {
            Key::Passphrase(passphrase) => {
                self.expects(Way::Passphrase)?;
                let mut identity = scrypt::Identity::new(secret(passphrase));
                identity.set_max_work_factor(MAX_WORK_FACTOR);
                self.decryptor
                    .decrypt(std::iter::once(&identity as &dyn age::Identity))
            }
            Key::Identities(identities) => {
                self.expects(Way::Identity)?;
                let all = identities.iter();
                self.decryptor
                    .decrypt(all.map(|identity| identity as &dyn age::Identity))
            }
        };
        opened.map_err(|error| not_opened(error, key))
    }
}

fn not_opened(error: age::DecryptError, key: &Key) -> BackupError {
    use age::DecryptError as E;
    match (error, key) {
        (E::DecryptionFailed | E::KeyDecryptionFailed | E::NoMatchingKeys, Key::Passphrase(_)) => {
            BackupError::WrongPassphrase
        }
        (E::DecryptionFailed | E::KeyDecryptionFailed | E::NoMatchingKeys, Key::Identities(_)) => {
            BackupError::WrongIdentity
        }
        (error, _) => BackupError::Damaged(error.to_string()),
    }
}

fn secret(passphrase: &Secret) -> SecretString {
    SecretString::from(passphrase.expose().to_owned())
}
