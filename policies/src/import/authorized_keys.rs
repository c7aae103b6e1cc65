//! Reads `authorized_keys`: which static keys let somebody in, how wide, and whose they seem to be (sshd(8), AUTHORIZED_KEYS FILE FORMAT).
//!
//! Nothing is left out: a line that sshd refuses is listed with what is wrong, because the next version of sshd, or an editor,
//! may make it work.

mod options;

use serde::{Deserialize, Serialize};

pub use options::{KeyOption, KeyOptionKind};

use super::{
    Imported, KeyBlobError, KeyType, Note, Position, Weight,
    key_blob::{self, KeyBlob},
};
use crate::{AccountName, Email, Policy};

/// A key that lets somebody in without the CA.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaticKey {
    /// Where it stands.
    pub at: Position,
    /// The account whose file it stands in, where that is known.
    pub account: Option<AccountName>,
    /// The person whom the file names as its owner, where it does.
    pub employee: Option<Email>,
    /// What kind of key it is.
    pub key_type: KeyType,
    /// Its size.
    pub bits: u32,
    /// `SHA256:` and 43 characters of base64, as `ssh-keygen -l` prints it.
    pub fingerprint: String,
    /// What stands behind the key, without control characters; empty if nothing.
    pub comment: String,
    /// What stands before the key, in order.
    pub options: Vec<KeyOption>,
    /// Why sshd refuses the line, if it does.
    pub fault: Option<LineFault>,
}

/// Why sshd refuses a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum LineFault {
    /// There is no key in it.
    #[error("there is no public key in this line: {why}")]
    NoKey {
        /// What is wrong with what stands in the key's place.
        why: String,
    },
    /// A quote is opened and not closed.
    #[error("a quote is opened and not closed in the options")]
    UnclosedQuote,
    /// sshd does not know an option, and refuses the whole line.
    #[error("sshd does not know the option {name:?}, and so refuses the whole line")]
    UnknownOption {
        /// Its name.
        name: String,
    },
    /// An option that needs a quoted value has none.
    #[error("the option {name} needs a value in double quotes")]
    UnquotedValue {
        /// Its name.
        name: String,
    },
    /// An option stands twice that may stand once.
    #[error("the option {name} stands twice")]
    RepeatedOption {
        /// Its name.
        name: String,
    },
    /// Nothing follows a comma.
    #[error("nothing follows the last comma of the options")]
    DanglingComma,
    /// The key is a certificate: sshd compares the line with plain keys only.
    #[error("this is a certificate; a line with one lets nobody in")]
    Certificate,
}

/// Whose a static key seems to be, and from what that was concluded: a hint for an admin, never a proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "kebab-case")]
pub enum Whose {
    /// The file says so.
    File {
        /// Who.
        email: Email,
    },
    /// The comment is their email.
    Comment {
        /// Who.
        email: Email,
    },
    /// It opens their own account.
    Account {
        /// Who.
        email: Email,
    },
}

impl StaticKey {
    /// Whether every certificate that the key signs is let in, and not the key itself.
    #[must_use]
    pub fn is_cert_authority(&self) -> bool {
        self.options
            .iter()
            .any(|option| option.kind == KeyOptionKind::CertAuthority)
    }

    /// Whose it seems to be.
    #[must_use]
    pub fn whose(&self, policy: &Policy) -> Option<Whose> {
        if let Some(email) = &self.employee {
            return Some(Whose::File {
                email: email.clone(),
            });
        }
        let by_comment = self
            .comment
            .split_whitespace()
            .filter_map(|word| word.parse::<Email>().ok())
            .find(|email| policy.employees.contains_key(email));
        if let Some(email) = by_comment {
            return Some(Whose::Comment { email });
        }
        let account = self.account.as_ref()?;
        let owner = policy
            .employees
            .values()
            .find(|employee| employee.account == *account)?;
        Some(Whose::Account {
            email: owner.email.clone(),
        })
    }
}

/// Reads one `authorized_keys` file; `account` is the one that it opens, where that is known.
///
/// It never fails: what is no key becomes a note with its place. Bytes that are no UTF-8 are kept as U+FFFD.
#[must_use]
pub fn authorized_keys(file: &str, account: Option<&AccountName>, bytes: &[u8]) -> Imported {
    let mut imported = Imported::default();
    for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let indent = line.iter().take_while(|byte| is_blank(**byte)).count();
        let text = &line[indent..];
        if text.is_empty() || text[0] == b'#' {
            continue;
        }
        let position = Position {
            file: file.to_owned(),
            line: u32::try_from(at + 1).unwrap_or(u32::MAX),
            column: u32::try_from(indent + 1).unwrap_or(u32::MAX),
        };
        match read_line(text) {
            Ok(read) => {
                let key = StaticKey {
                    at: position,
                    account: account.cloned(),
                    employee: None,
                    key_type: read.key.kind,
                    bits: read.key.bits,
                    fingerprint: read.key.fingerprint(),
                    comment: printable(read.comment),
                    options: read.options,
                    fault: read.fault,
                };
                imported.notes.extend(notes(&key));
                imported.static_keys.push(key);
            }
            Err(fault) => imported.notes.push(Note {
                weight: Weight::Warning,
                at: Some(position),
                sentence: format!("{fault}; sshd skips the line, so mend it or remove it"),
            }),
        }
    }
    imported
}

/// One line of text that held a key.
struct Line<'l> {
    options: Vec<KeyOption>,
    key: KeyBlob,
    comment: &'l [u8],
    fault: Option<LineFault>,
}

/// Reads a line that is neither blank nor a comment and has no blank in front.
fn read_line(text: &[u8]) -> Result<Line<'_>, LineFault> {
    // As sshd does: a key first, and only if there is none, options and then a key.
    let first = read_key(text);
    if let Ok((key, comment)) = first {
        return Ok(Line {
            options: Vec::new(),
            fault: certificate(&key),
            key,
            comment,
        });
    }
    let (before, after) = options::split(text).ok_or(LineFault::UnclosedQuote)?;
    let (key, comment) = read_key(after).map_err(|second| LineFault::NoKey {
        // Where the line begins with a key's type, that is the key that was meant.
        why: match first {
            Err(first) if key_blob::is_type_name(before) => first.to_string(),
            _ => second.to_string(),
        },
    })?;
    let (options, fault) = options::read(before);
    Ok(Line {
        options,
        fault: fault.or_else(|| certificate(&key)),
        key,
        comment,
    })
}

fn certificate(key: &KeyBlob) -> Option<LineFault> {
    key.kind.is_certificate().then_some(LineFault::Certificate)
}

/// The key at the beginning of `text`, and what follows it.
pub(super) fn read_key(text: &[u8]) -> Result<(KeyBlob, &[u8]), KeyBlobError> {
    let (name, rest) = word(text);
    if !key_blob::is_type_name(name) {
        return Err(KeyBlobError::UnknownType);
    }
    let (base64, comment) = word(rest);
    Ok((KeyBlob::read(name, base64)?, comment))
}

/// The bytes up to the first blank, and what follows the blanks behind it.
fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text
        .iter()
        .position(|byte| is_blank(*byte))
        .unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let blanks = rest.iter().take_while(|byte| is_blank(**byte)).count();
    (word, &rest[blanks..])
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// `bytes` as text that may go to a terminal (C5).
pub(super) fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect::<String>()
        .trim()
        .to_owned()
}

fn notes(key: &StaticKey) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut note = |weight, sentence: String| {
        notes.push(Note {
            weight,
            at: Some(key.at.clone()),
            sentence,
        });
    };
    let account = key.account.as_ref().map_or_else(
        || "this account".to_owned(),
        |account| format!("the account {account}"),
    );
    if let Some(fault) = &key.fault {
        note(
            Weight::Info,
            format!("{fault}; the key lets nobody in as it stands"),
        );
    }
    if key.is_cert_authority() {
        note(
            Weight::Alarm,
            format!(
                "cert-authority: whoever holds the key {} can sign any number of certificates for {account}, and no revocation \
                 of this CA reaches them; find out who holds it, and remove the line",
                key.fingerprint
            ),
        );
    }
    for option in &key.options {
        if option.kind == KeyOptionKind::Weakens {
            note(
                Weight::Warning,
                format!(
                    "the option {} makes the key weaker: {}",
                    option.name,
                    option.meaning()
                ),
            );
        }
    }
    match key.key_type {
        KeyType::Dsa | KeyType::DsaCert => note(
            Weight::Warning,
            "a DSA key, which current sshd refuses; remove it".to_owned(),
        ),
        KeyType::Rsa | KeyType::RsaCert if key.bits < 2048 => note(
            Weight::Warning,
            format!(
                "an RSA key of {} bits is too short to be safe; remove it",
                key.bits
            ),
        ),
        _ => {}
    }
    notes
}
