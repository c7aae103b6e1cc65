//! Answers what sshd would answer: is this key or this certificate revoked?

use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::key::{CaScope, PlainKey};
use crate::model::{CertificateSection, Krl};
use crate::serials::contain;

/// What of a certificate OpenSSH holds against a KRL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertificateFacts<'a> {
    /// The certificate's "signature key": the CA that signed it.
    pub ca_key: PlainKey<'a>,
    /// The key that was certified.
    pub subject_key: PlainKey<'a>,
    /// The serial; 0 is what CAs write that do not number their certificates.
    pub serial: u64,
    /// The key ID as it stands in the certificate.
    pub key_id: &'a [u8],
}

/// What a KRL says of a key or certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Not revoked by this KRL.
    Good,
    /// Revoked; the first entry that matched, in OpenSSH's order.
    Revoked(Reason),
}

impl Verdict {
    /// Whether it is [`Verdict::Revoked`].
    pub fn is_revoked(&self) -> bool {
        matches!(self, Self::Revoked(_))
    }
}

/// Which entry revoked it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The key itself: the plain key, or the one inside the certificate.
    Key(KeyMatch),
    /// The certificate's key ID.
    KeyId(ScopeKind),
    /// The certificate's serial.
    Serial(ScopeKind),
    /// The key of the CA that signed the certificate.
    CaKey(KeyMatch),
}

/// How a key was named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyMatch {
    /// By the SHA-1 of its wire blob.
    Sha1,
    /// By the SHA-256 of its wire blob.
    Sha256,
    /// In full.
    Explicit,
}

/// Under which section a certificate entry stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScopeKind {
    /// That of the CA which signed the certificate.
    ThisCa,
    /// That for every CA.
    AnyCa,
}

impl Krl {
    /// Judges a plain key, as sshd does for `authorized_keys`, hosts' keys and CA keys.
    pub fn judge_key(&self, key: PlainKey<'_>) -> Verdict {
        match self.match_key(key) {
            Some(how) => Verdict::Revoked(Reason::Key(how)),
            None => Verdict::Good,
        }
    }

    /// Judges a certificate: its key, then key ID and serial under its own CA and under every CA, then its
    /// CA's key; the order of OpenSSH's `ssh_krl_check_key`.
    ///
    /// It takes a binary search for each kind of entry, also among millions of serials.
    pub fn judge_certificate(&self, facts: &CertificateFacts<'_>) -> Verdict {
        match self.match_certificate(facts) {
            Some(reason) => Verdict::Revoked(reason),
            None => Verdict::Good,
        }
    }

    fn match_certificate(&self, facts: &CertificateFacts<'_>) -> Option<Reason> {
        if let Some(how) = self.match_key(facts.subject_key) {
            return Some(Reason::Key(how));
        }
        let ca_section = self.section_of(facts.ca_key.blob());
        let any_section = self.certificates.get(&CaScope::ANY);
        ca_section
            .and_then(|section| match_section(section, facts, ScopeKind::ThisCa))
            .or_else(|| {
                any_section.and_then(|section| match_section(section, facts, ScopeKind::AnyCa))
            })
            .or_else(|| self.match_key(facts.ca_key).map(Reason::CaKey))
    }

    /// OpenSSH's order in `is_key_revoked`: "Check explicitly revoked hashes first", "Next, explicit keys".
    fn match_key(&self, key: PlainKey<'_>) -> Option<KeyMatch> {
        // Hashing costs more than the searches: only where there is something to find.
        let sha1 = || <[u8; 20]>::from(Sha1::digest(key.blob()));
        let sha256 = || <[u8; 32]>::from(Sha256::digest(key.blob()));
        if !self.sha1.is_empty() && self.sha1.binary_search(&sha1()).is_ok() {
            return Some(KeyMatch::Sha1);
        }
        if !self.sha256.is_empty() && self.sha256.binary_search(&sha256()).is_ok() {
            return Some(KeyMatch::Sha256);
        }
        let explicit = self
            .keys
            .binary_search_by(|blob| blob.as_slice().cmp(key.blob()));
        explicit.is_ok().then_some(KeyMatch::Explicit)
    }

    fn section_of(&self, ca_key_blob: &[u8]) -> Option<&CertificateSection> {
        // A handful of CA keys: a search beats making an owned key for the map.
        let mut sections = self.certificates.iter();
        let (_, section) = sections.find(|(ca, _)| ca.wire() == ca_key_blob)?;
        Some(section)
    }
}

fn match_section(
    section: &CertificateSection,
    facts: &CertificateFacts<'_>,
    scope: ScopeKind,
) -> Option<Reason> {
    // OpenSSH reads key IDs as C strings, and lets one NUL at the end pass.
    let key_id = facts.key_id.strip_suffix(b"\0").unwrap_or(facts.key_id);
    let by_key_id = section
        .key_ids
        .binary_search_by(|revoked| revoked.as_slice().cmp(key_id));
    if by_key_id.is_ok() {
        return Some(Reason::KeyId(scope));
    }
    // OpenSSH: "Zero serials numbers are ignored (it's the default when the CA doesn't specify one)." No run
    // holds 0, so this needs no question here.
    contain(&section.serials, facts.serial).then_some(Reason::Serial(scope))
}
