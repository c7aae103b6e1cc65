//! How a machine stands, in facts that its applier tells and nobody has judged yet.

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// One fact. All text is the machine's: bounded there, but not to be believed further than the machine itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "kebab-case")]
pub enum Fact {
    /// An account.
    Account(AccountFact),
    /// A line of what sshd says holds for all accounts that have this answer (`sshd -T -C`).
    Sshd {
        /// Number of the answer.
        answer: u32,
        /// The keyword, in lower case.
        word: String,
        /// Its value.
        value: String,
    },
    /// A line of sshd's configuration that is not the CA's, in the order in which sshd reads them.
    ConfigLine {
        /// The file.
        file: String,
        /// The line in it, from 1.
        line: u32,
        /// The keyword, in lower case.
        word: String,
        /// Its value.
        value: String,
    },
    /// A rule of sudo or doas in a file that is not the CA's.
    Sudo {
        /// The file.
        file: String,
        /// The line in it, from 1.
        line: u32,
        /// Uid and mode of the file.
        owner: String,
        /// The rule.
        rule: String,
    },
    /// A key in a file that sshd reads for an account.
    Key(KeyFact),
    /// A host key that sshd is configured with.
    HostKey {
        /// The private key's file.
        file: String,
        /// `SHA256:…`.
        fingerprint: String,
    },
    /// The manifest that the machine compares itself with.
    Manifest {
        /// Its hash.
        sha256: String,
    },
    /// Room on a disk.
    Disk {
        /// A folder on it.
        place: String,
        /// What is free there.
        free_kib: Option<u64>,
    },
    /// A log of sshd's that was read.
    Log {
        /// `journal`, or the file.
        source: String,
        /// When its first line was written.
        since_unix: Option<i64>,
    },
    /// The last login with a plain key, by sshd's log.
    Login {
        /// The account.
        account: String,
        /// `SHA256:…`.
        fingerprint: String,
        /// When.
        at_unix: Option<i64>,
    },
    /// A login with a certificate, by sshd's log. A local user may write such lines too: they alarm, and decide nothing.
    CertificateLogin {
        /// When, as the log has it.
        at: String,
        /// The account.
        account: String,
        /// From which address.
        from: String,
        /// The certificate's key ID.
        key_id: String,
        /// Its serial.
        serial: Option<u64>,
        /// `SHA256:…` of the CA key that signed it.
        ca: String,
    },
    /// More than is told.
    Cut {
        /// What of.
        what: String,
        /// How many.
        left_out: Option<u64>,
    },
}

/// An account on a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AccountFact {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: Option<u32>,
    /// Its login shell.
    pub shell: String,
    /// Its home.
    pub home: String,
    /// The day it expires, counted from 1970; `None`: never.
    pub expiry_day: Option<i64>,
    /// `set`, `none` (logs in without one), `locked`, `no`.
    pub password: String,
    /// `made`, `adopted`, `system`: what the CA has to do with it; empty: nothing.
    pub origin: String,
    /// Which of sshd's answers holds for it.
    pub answer: u32,
    /// Its groups, with commas.
    pub groups: String,
}

/// A static key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeyFact {
    /// The account that it opens.
    pub account: String,
    /// The file.
    pub file: String,
    /// The line in it, from 1.
    pub line: u32,
    /// Whether sshd heeds the file, by its owner and mode.
    pub heeded: bool,
    /// `ssh-ed25519` and the like.
    pub algorithm: String,
    /// The key itself, base64.
    pub blob: String,
    /// The options before it: `from="…"`, `command="…"`, `cert-authority`.
    pub options: String,
    /// The comment after it: anybody's free text.
    pub comment: String,
}

impl KeyFact {
    /// `SHA256:…`, as sshd logs it; `None` where the text is no key.
    #[must_use]
    pub fn fingerprint(&self) -> Option<String> {
        let blob = STANDARD_NO_PAD
            .decode(self.blob.trim_end_matches('='))
            .ok()
            .filter(|blob| blob.len() > 4)?;
        Some(format!(
            "SHA256:{}",
            STANDARD_NO_PAD.encode(Sha256::digest(&blob))
        ))
    }

    /// Whether the line trusts every certificate of another CA instead of one key.
    #[must_use]
    pub fn is_authority(&self) -> bool {
        let mut options = self.options.split([',', ' ']);
        options.any(|option| option.eq_ignore_ascii_case("cert-authority"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ssh_key::{Algorithm, HashAlg, PrivateKey};

    #[test]
    fn a_fingerprint_is_that_of_openssh() {
        let key = PrivateKey::random(&mut rand_core::OsRng, Algorithm::Ed25519).unwrap();
        let text = key.public_key().to_openssh().unwrap();
        let blob = text.split(' ').nth(1).unwrap().to_owned();
        let fact = KeyFact {
            blob,
            ..KeyFact::default()
        };
        let expected = key.public_key().fingerprint(HashAlg::Sha256).to_string();
        assert_eq!(fact.fingerprint(), Some(expected));
        assert_eq!(KeyFact::default().fingerprint(), None);
    }
}
