//! Collects revocations in any order and normalises them once, at the end.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::key::{CaScope, PlainKey};
use crate::model::{CertificateSection, Krl};
use crate::serials::{SerialRun, normalise};

/// Why something cannot be revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RevokeError {
    /// Serial 0 was named, alone or as the start of a range.
    #[error(
        "serial 0 cannot be revoked, because OpenSSH ignores it: revoke the certificate by its key ID or its key"
    )]
    SerialZero,
    /// A range ends before it starts.
    #[error("the serial range {first}-{last} ends before it starts: swap the two numbers")]
    BackwardRange {
        /// Its first serial.
        first: u64,
        /// Its last serial.
        last: u64,
    },
    /// A NUL byte in a key ID: sshd would refuse the whole KRL.
    #[error(
        "the key ID contains a NUL byte, which no certificate that OpenSSH reads can have: check where it comes from"
    )]
    NulInKeyId,
    /// A NUL byte in the comment: sshd would refuse the whole KRL.
    #[error(
        "the comment contains a NUL byte, and sshd would refuse the whole KRL: leave the byte out"
    )]
    NulInComment,
}

/// Collects revocations for a [`Krl`].
#[derive(Debug, Clone)]
pub struct KrlBuilder {
    version: u64,
    generated_unix_secs: u64,
    comment: String,
    certificates: BTreeMap<CaScope, CertificateSection>,
    keys: Vec<Vec<u8>>,
    sha1: Vec<[u8; 20]>,
    sha256: Vec<[u8; 32]>,
}

impl KrlBuilder {
    /// An empty KRL with this version and this time of generation (Unix seconds).
    pub fn new(version: u64, generated_unix_secs: u64) -> Self {
        Self {
            version,
            generated_unix_secs,
            comment: String::new(),
            certificates: BTreeMap::new(),
            keys: Vec::new(),
            sha1: Vec::new(),
            sha256: Vec::new(),
        }
    }

    /// Sets the comment, which `ssh-keygen -Q -l` shows.
    ///
    /// # Errors
    /// [`RevokeError::NulInComment`].
    pub fn comment(&mut self, comment: impl Into<String>) -> Result<&mut Self, RevokeError> {
        let comment = comment.into();
        if comment.contains('\0') {
            return Err(RevokeError::NulInComment);
        }
        self.comment = comment;
        Ok(self)
    }

    /// Revokes the certificate with this serial.
    ///
    /// # Errors
    /// [`RevokeError::SerialZero`].
    pub fn revoke_serial(&mut self, ca: &CaScope, serial: u64) -> Result<&mut Self, RevokeError> {
        self.revoke_serials(ca, serial..=serial)
    }

    /// Revokes every certificate with a serial in the range, both ends included.
    ///
    /// # Errors
    /// [`RevokeError::SerialZero`], [`RevokeError::BackwardRange`].
    pub fn revoke_serials(
        &mut self,
        ca: &CaScope,
        range: RangeInclusive<u64>,
    ) -> Result<&mut Self, RevokeError> {
        let run = revocable_run(*range.start(), *range.end())?;
        self.section(ca).serials.push(run);
        Ok(self)
    }

    /// Revokes many serials under one CA: the CA is looked up once.
    ///
    /// # Errors
    /// [`RevokeError::SerialZero`]; nothing of the list is revoked then.
    pub fn revoke_serial_list(
        &mut self,
        ca: &CaScope,
        serials: impl IntoIterator<Item = u64>,
    ) -> Result<&mut Self, RevokeError> {
        let kept = self.section(ca).serials.len();
        let runs = &mut self.section(ca).serials;
        for serial in serials {
            match revocable_run(serial, serial) {
                Ok(run) => runs.push(run),
                Err(error) => {
                    runs.truncate(kept);
                    return Err(error);
                }
            }
        }
        Ok(self)
    }

    /// Revokes every certificate with this key ID. Any bytes but NUL: `#` and spaces are no comment here.
    ///
    /// # Errors
    /// [`RevokeError::NulInKeyId`].
    pub fn revoke_key_id(
        &mut self,
        ca: &CaScope,
        key_id: impl AsRef<[u8]>,
    ) -> Result<&mut Self, RevokeError> {
        let key_id = key_id.as_ref();
        if key_id.contains(&0) {
            return Err(RevokeError::NulInKeyId);
        }
        self.section(ca).key_ids.push(key_id.to_vec());
        Ok(self)
    }

    /// Revokes a key wherever it stands: plain, inside any certificate, or as a CA's key.
    pub fn revoke_key(&mut self, key: PlainKey<'_>) -> &mut Self {
        self.keys.push(key.blob().to_vec());
        self
    }

    /// Revokes the key whose wire blob has this SHA-256: the bytes of its `SHA256:…` fingerprint.
    pub fn revoke_key_sha256(&mut self, hash: [u8; 32]) -> &mut Self {
        self.sha256.push(hash);
        self
    }

    /// Adds everything that another KRL revokes; version, time and comment stay.
    ///
    /// ```
    /// use ssh_krl::{CaScope, KrlBuilder};
    ///
    /// let mut old = KrlBuilder::new(40, 1_795_305_600);
    /// old.revoke_serial(&CaScope::ANY, 9)?;
    /// let old = old.build();
    ///
    /// let mut next = KrlBuilder::new(old.version() + 1, 1_795_305_900);
    /// next.merge(&old).revoke_serial(&CaScope::ANY, 10)?;
    /// assert_eq!(next.build().version(), 41);
    /// # Ok::<(), ssh_krl::RevokeError>(())
    /// ```
    pub fn merge(&mut self, krl: &Krl) -> &mut Self {
        for (ca, from) in &krl.certificates {
            let section = self.section(ca);
            section.serials.extend_from_slice(&from.serials);
            section.key_ids.extend_from_slice(&from.key_ids);
        }
        self.keys.extend_from_slice(&krl.keys);
        self.sha1.extend_from_slice(&krl.sha1);
        self.sha256.extend_from_slice(&krl.sha256);
        self
    }

    /// Sorts, drops duplicates and merges adjoining serials.
    pub fn build(mut self) -> Krl {
        for section in self.certificates.values_mut() {
            normalise(&mut section.serials);
            sort_and_dedup(&mut section.key_ids);
        }
        self.certificates
            .retain(|_, section| *section != CertificateSection::default());
        sort_and_dedup(&mut self.keys);
        sort_and_dedup(&mut self.sha1);
        sort_and_dedup(&mut self.sha256);
        Krl {
            version: self.version,
            generated_unix_secs: self.generated_unix_secs,
            comment: self.comment,
            certificates: self.certificates,
            keys: self.keys,
            sha1: self.sha1,
            sha256: self.sha256,
        }
    }

    pub(crate) fn section(&mut self, ca: &CaScope) -> &mut CertificateSection {
        // Not `entry`: it would copy the CA key's blob for every serial.
        if !self.certificates.contains_key(ca) {
            self.certificates
                .insert(ca.clone(), CertificateSection::default());
        }
        self.certificates
            .get_mut(ca)
            .expect("the section was inserted above if it was absent")
    }

    /// For the decoder: a key blob as it stands in the file, which OpenSSH does not look into.
    pub(crate) fn push_key_blob(&mut self, blob: &[u8]) {
        self.keys.push(blob.to_vec());
    }

    pub(crate) fn push_sha1(&mut self, hash: [u8; 20]) {
        self.sha1.push(hash);
    }
}

/// Why two serials are not a run.
pub(crate) enum RunError {
    SerialZero,
    Backward,
}

/// OpenSSH's `ssh_krl_revoke_cert_by_serial_range`: "if (lo > hi || lo == 0)" is refused.
pub(crate) fn checked_run(first: u64, last: u64) -> Result<SerialRun, RunError> {
    if first == 0 {
        Err(RunError::SerialZero)
    } else if first > last {
        Err(RunError::Backward)
    } else {
        Ok(SerialRun::new(first, last))
    }
}

fn revocable_run(first: u64, last: u64) -> Result<SerialRun, RevokeError> {
    checked_run(first, last).map_err(|error| match error {
        RunError::SerialZero => RevokeError::SerialZero,
        RunError::Backward => RevokeError::BackwardRange { first, last },
    })
}

fn sort_and_dedup<T: Ord>(items: &mut Vec<T>) {
    items.sort_unstable();
    items.dedup();
}
