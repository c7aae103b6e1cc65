//! A head on paper: exported, signed as SSHSIG, and held against the ledger later (S3).
//!
//! The file is one line of JSON and an SSHSIG over that line with its line end, so that stock OpenSSH can check it:
//! `head -n1 FILE | ssh-keygen -Y verify -n ledger@ssh-ca -f ALLOWED -I ca -s <(tail -n+2 FILE)`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use ssh_key::{HashAlg, LineEnding, PrivateKey, PublicKey, SshSig};

use super::{CaId, Head};

/// The SSHSIG namespace of exported heads.
pub const NAMESPACE: &str = "ledger@ssh-ca";

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement {
    ca: String,
    at_unix_ms: i64,
    head: Head,
}

/// A signed statement that the ledger of a CA had a certain head at a certain time.
#[derive(Debug, Clone)]
pub struct SignedHead {
    line: String,
    statement: Statement,
    signature: SshSig,
}

/// Why a head could not be exported, or an export not be read or believed.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The key did not sign.
    #[error("the head could not be signed: {0}")]
    Sign(#[source] ssh_key::Error),
    /// The text is not an exported head.
    #[error("this is not an exported head of a ledger: {0}")]
    Statement(#[source] serde_json::Error),
    /// The text after the first line is not an SSH signature.
    #[error("the exported head carries no SSH signature: {0}")]
    Format(#[source] ssh_key::Error),
    /// Another key signed, or the text was changed.
    #[error("the exported head was not signed by this key, or was changed since: {0}")]
    Signature(#[source] ssh_key::Error),
    /// Another CA's ledger.
    #[error("the exported head belongs to another CA ({0})")]
    OtherCa(String),
}

impl SignedHead {
    /// Signs `head` of `ca`'s ledger with `key`.
    ///
    /// # Errors
    /// [`ExportError::Sign`] if the key does not sign.
    pub fn sign(
        ca: &CaId,
        head: &Head,
        at_unix_ms: i64,
        key: &PrivateKey,
    ) -> Result<Self, ExportError> {
        Self::sign_with(ca, head, at_unix_ms, |message| {
            key.sign(NAMESPACE, HashAlg::Sha512, message)
                .map_err(ExportError::Sign)
        })
    }

    /// The same with a key that is elsewhere (an agent, a token): `sign` makes the SSHSIG over the message, in [`NAMESPACE`].
    ///
    /// # Errors
    /// What `sign` returns.
    pub fn sign_with<E>(
        ca: &CaId,
        head: &Head,
        at_unix_ms: i64,
        sign: impl FnOnce(&[u8]) -> Result<SshSig, E>,
    ) -> Result<Self, E> {
        let statement = Statement {
            ca: ca.to_string(),
            at_unix_ms,
            head: *head,
        };
        let mut line = serde_json::to_string(&statement).expect("a statement serialises to JSON");
        line.push('\n');
        let signature = sign(line.as_bytes())?;
        Ok(Self {
            line,
            statement,
            signature,
        })
    }

    /// The head, if `key` signed it for `ca`. Whether the ledger still contains it, [`super::verify()`] tells.
    ///
    /// # Errors
    /// [`ExportError::Signature`] or [`ExportError::OtherCa`].
    pub fn check(&self, ca: &CaId, key: &PublicKey) -> Result<Head, ExportError> {
        key.verify(NAMESPACE, self.line.as_bytes(), &self.signature)
            .map_err(ExportError::Signature)?;
        if self.statement.ca != ca.to_string() {
            return Err(ExportError::OtherCa(self.statement.ca.clone()));
        }
        Ok(self.statement.head)
    }

    /// When it was signed, in milliseconds since 1970 (UTC), as the signer said.
    #[must_use]
    pub fn at_unix_ms(&self) -> i64 {
        self.statement.at_unix_ms
    }
}

impl fmt::Display for SignedHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pem = self
            .signature
            .to_pem(LineEnding::LF)
            .map_err(|_| fmt::Error)?;
        write!(f, "{}{pem}", self.line)
    }
}

impl FromStr for SignedHead {
    type Err = ExportError;

    fn from_str(text: &str) -> Result<Self, ExportError> {
        let end = text.find('\n').map_or(text.len(), |newline| newline + 1);
        let (line, pem) = text.split_at(end);
        let statement: Statement = serde_json::from_str(line).map_err(ExportError::Statement)?;
        let signature = SshSig::from_pem(pem).map_err(ExportError::Format)?;
        Ok(Self {
            line: line.to_owned(),
            statement,
            signature,
        })
    }
}
