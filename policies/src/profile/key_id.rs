//! Key IDs: whose certificate it is, as sshd logs it and as a KRL names it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Email, MachineName, NameError};

/// A certificate's key ID in its one canonical form.
///
/// Never with `#`, which begins a comment in the input of `ssh-keygen -k`. An email holds `@` and no `/`, so that the kinds cannot
/// be mistaken for each other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum KeyId {
    /// `email/epoch`: a person's.
    Employee {
        /// Whose.
        email: Email,
        /// Their epoch when it was decided.
        epoch: u64,
    },
    /// `probe/label`: the CA's own, to prove that a machine lets the right one in.
    Probe(Label),
    /// `canary/label`: the CA's own, to prove that a KRL is read.
    Canary(Label),
    /// `host/machine`: a machine's.
    Host(MachineName),
}

/// A text that is no key ID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyIdError {
    /// Not `email/epoch`, `probe/…`, `canary/…` or `host/…`.
    #[error(
        "{0:?} is not a key ID: expected email/epoch, probe/label, canary/label or host/machine"
    )]
    Shape(String),
    /// The epoch is no plain decimal number.
    #[error("{0:?} is not an epoch: expected a number without sign or leading zeros")]
    Epoch(String),
    /// A name inside it is malformed.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl FromStr for KeyId {
    type Err = KeyIdError;

    fn from_str(text: &str) -> Result<Self, KeyIdError> {
        let shape = || KeyIdError::Shape(text.chars().take(80).collect());
        let (kind, rest) = text.split_once('/').ok_or_else(shape)?;
        let id = match kind {
            "probe" => Self::Probe(rest.parse()?),
            "canary" => Self::Canary(rest.parse()?),
            "host" => Self::Host(rest.parse()?),
            email => Self::Employee {
                email: email.parse()?,
                epoch: rest
                    .parse()
                    .map_err(|_| KeyIdError::Epoch(rest.chars().take(80).collect()))?,
            },
        };
        // One key ID, one text: a KRL compares bytes.
        if id.to_string() == text {
            Ok(id)
        } else {
            Err(shape())
        }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Employee { email, epoch } => write!(f, "{email}/{epoch}"),
            Self::Probe(label) => write!(f, "probe/{label}"),
            Self::Canary(label) => write!(f, "canary/{label}"),
            Self::Host(machine) => write!(f, "host/{machine}"),
        }
    }
}

impl TryFrom<String> for KeyId {
    type Error = KeyIdError;

    fn try_from(text: String) -> Result<Self, KeyIdError> {
        text.parse()
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> String {
        id.to_string()
    }
}

/// A word that tells one probe or canary from another: 1 to 128 of a-z, 0-9, `.`, `_` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(String);

impl FromStr for Label {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let ok = (1..=128).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b));
        ok.then(|| Self(text.to_owned())).ok_or_else(|| NameError {
            what: "a label",
            rule: "expected 1 to 128 of a-z, 0-9, ., _ and -",
            text: text.chars().take(80).collect(),
        })
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r4_key_ids_have_one_form_each() {
        for text in [
            "alice@corp.example/0",
            "alice@corp.example/18446744073709551615",
            "probe/web-1.5",
            "canary/revoked",
            "host/web-1.corp.example",
        ] {
            let id: KeyId = text.parse().unwrap();
            assert_eq!(id.to_string(), text);
        }
    }

    #[test]
    fn r4_what_a_krl_would_read_differently_is_no_key_id() {
        for text in [
            "",
            "alice@corp.example",
            "alice@corp.example/",
            "alice@corp.example/-1",
            "alice@corp.example/+1",
            "alice@corp.example/01",
            "alice@corp.example/1 ",
            "alice@corp.example/18446744073709551616",
            "Alice@corp.example/1",
            " alice@corp.example/1",
            "alice@corp.example/1/2",
            "alice@corp.example#1",
            "alice/1",
            "probe/",
            "probe/a b",
            "probe/a#b",
            "canary/a\n",
            "host/Web-1",
            "other/x",
        ] {
            assert!(text.parse::<KeyId>().is_err(), "{text:?}");
        }
    }
}
