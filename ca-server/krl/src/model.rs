//! What a KRL holds, always normalised: sorted, without duplicates, adjoining serials merged.

use std::collections::BTreeMap;

use crate::builder::KrlBuilder;
use crate::key::CaScope;
use crate::serials::SerialRun;

/// An OpenSSH key revocation list.
///
/// Made by [`KrlBuilder::build`] or [`Krl::decode`]. Two KRLs are equal when they say the same: the order
/// and the kind of section in which a file said it does not matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Krl {
    pub(crate) version: u64,
    pub(crate) generated_unix_secs: u64,
    pub(crate) comment: String,
    pub(crate) certificates: BTreeMap<CaScope, CertificateSection>,
    pub(crate) keys: Vec<Vec<u8>>,
    pub(crate) sha1: Vec<[u8; 20]>,
    pub(crate) sha256: Vec<[u8; 32]>,
}

/// The revoked certificates of one CA key, or of every CA.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificateSection {
    pub(crate) serials: Vec<SerialRun>,
    pub(crate) key_ids: Vec<Vec<u8>>,
}

/// One line of a KRL for people to read, in the order of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Entry<'a> {
    /// Certificates of this CA with a serial in this run.
    Serials(&'a CaScope, SerialRun),
    /// Certificates of this CA with this key ID. OpenSSH writes UTF-8 there but reads any byte but NUL.
    KeyId(&'a CaScope, &'a [u8]),
    /// This key (wire blob), as subject, as CA, or plain.
    Key(&'a [u8]),
    /// The key with this SHA-1 hash of its wire blob. Read and kept, never begun: SHA-1 is broken.
    KeySha1(&'a [u8; 20]),
    /// The key with this SHA-256 hash of its wire blob: the bytes of the `SHA256:…` fingerprint.
    KeySha256(&'a [u8; 32]),
}

impl Krl {
    /// "a version number that increases each time the KRL is modified" (PROTOCOL.krl §1).
    pub fn version(&self) -> u64 {
        self.version
    }

    /// "the time in seconds since 1970-01-01 00:00:00 UTC that the KRL was generated" (PROTOCOL.krl §1).
    pub fn generated_unix_secs(&self) -> u64 {
        self.generated_unix_secs
    }

    /// The comment; bytes of a decoded file that are not UTF-8 show as U+FFFD.
    pub fn comment(&self) -> &str {
        &self.comment
    }

    /// The certificate entries, CA by CA; the section for every CA, if there is one, comes first.
    pub fn certificates(&self) -> impl Iterator<Item = (&CaScope, &CertificateSection)> {
        self.certificates.iter()
    }

    /// Keys revoked in full, as wire blobs, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.keys.iter().map(Vec::as_slice)
    }

    /// Keys revoked by the SHA-1 of their wire blob, sorted.
    pub fn keys_sha1(&self) -> &[[u8; 20]] {
        &self.sha1
    }

    /// Keys revoked by the SHA-256 of their wire blob, sorted.
    pub fn keys_sha256(&self) -> &[[u8; 32]] {
        &self.sha256
    }

    /// Whether it revokes nothing.
    pub fn is_empty(&self) -> bool {
        self.entries().next().is_none()
    }

    /// Every entry, in the order in which [`Krl::encode`] writes them.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        let certificates = self.certificates.iter().flat_map(|(ca, section)| {
            let serials = section.serials.iter().map(|run| Entry::Serials(ca, *run));
            serials.chain(section.key_ids.iter().map(|id| Entry::KeyId(ca, id)))
        });
        certificates
            .chain(self.keys.iter().map(|blob| Entry::Key(blob)))
            .chain(self.sha1.iter().map(Entry::KeySha1))
            .chain(self.sha256.iter().map(Entry::KeySha256))
    }

    /// A KRL that revokes what either of the two revokes, and nothing else.
    ///
    /// Version and time are the higher ones, the comment is this one's. A new file must have a version
    /// above both: use [`KrlBuilder::merge`] for that.
    ///
    /// ```
    /// use ssh_krl::{CaScope, KrlBuilder};
    ///
    /// let mut backup = KrlBuilder::new(40, 1_795_305_600);
    /// backup.revoke_serials(&CaScope::ANY, 1..=5)?;
    /// let mut on_a_machine = KrlBuilder::new(41, 1_795_305_900);
    /// on_a_machine.revoke_serial(&CaScope::ANY, 6)?;
    ///
    /// let union = backup.build().union(&on_a_machine.build());
    /// assert_eq!(union.version(), 41);
    /// let (_, section) = union.certificates().next().expect("one section");
    /// assert_eq!(section.serials()[0].range(), 1..=6);
    /// # Ok::<(), ssh_krl::RevokeError>(())
    /// ```
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let version = self.version.max(other.version);
        let generated_unix_secs = self.generated_unix_secs.max(other.generated_unix_secs);
        let mut union = KrlBuilder::new(version, generated_unix_secs);
        union.merge(self).merge(other);
        let mut union = union.build();
        union.comment.clone_from(&self.comment);
        union
    }
}

impl CertificateSection {
    /// The revoked serials: runs in rising order with a gap after each.
    pub fn serials(&self) -> &[SerialRun] {
        &self.serials
    }

    /// The revoked key IDs as bytes, sorted.
    pub fn key_ids(&self) -> impl Iterator<Item = &[u8]> {
        self.key_ids.iter().map(Vec::as_slice)
    }
}
