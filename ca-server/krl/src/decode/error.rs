//! Where and why a file is not a KRL that sshd would read.

use crate::key::KeyBlobError;
use crate::wire::Truncated;

/// Why a file cannot be read as a KRL, and at which byte.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset} of the KRL: {kind}")]
pub struct DecodeError {
    /// Distance from the start of the file in bytes.
    pub offset: usize,
    /// What is wrong there.
    pub kind: DecodeErrorKind,
}

/// What is wrong with a KRL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// The first eight bytes are not a KRL's. sshd takes such a file for a plain list of public keys.
    #[error("not a KRL: it does not start with SSHKRL")]
    NotAKrl,
    /// Another version of the format.
    #[error("format version {format} is unknown, only version 1 is")]
    UnsupportedFormat {
        /// The version that it claims.
        format: u32,
    },
    /// The file, or a section, ends too early.
    #[error("{needed} bytes expected, {left} left: the file is cut off or damaged")]
    Truncated {
        /// Bytes that the format asks for here.
        needed: usize,
        /// Bytes that are left in the file or section.
        left: usize,
    },
    /// Bytes are left over at the end of a section.
    #[error("{count} bytes left over at the end of the section")]
    TrailingBytes {
        /// How many.
        count: usize,
    },
    /// A comment, key ID or extension name with a NUL byte inside.
    #[error("a NUL byte inside of a text")]
    NulInString,
    /// A hash of the wrong length.
    #[error("a hash of {found} bytes where it must have {expected}")]
    HashLength {
        /// Its length in bytes.
        found: usize,
        /// The length that this section has.
        expected: usize,
    },
    /// A signature section.
    #[error(
        "the KRL carries a signature of its own, which OpenSSH does not check against any trusted key: distribute it unsigned, with an SSHSIG signature beside it"
    )]
    Signed,
    /// A section type that OpenSSH refuses.
    #[error("section type {section_type} is unknown")]
    UnknownSection {
        /// The type.
        section_type: u8,
    },
    /// An extension that a reader must understand or else refuse the file.
    #[error("the critical extension {name:?} is not supported")]
    CriticalExtension {
        /// Its name, escaped.
        name: String,
    },
    /// Something inside a certificate section.
    #[error("in a certificate section: {0}")]
    Certificates(CertificatesError),
    /// The file is larger than the limit.
    #[error("the file is larger than the limit of {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The file has more entries than the limit.
    #[error("more entries than the limit allows")]
    TooManyEntries,
}

/// What is wrong inside a certificate section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificatesError {
    /// The key of the CA that the section is about.
    #[error(transparent)]
    CaKey(#[from] KeyBlobError),
    /// Serial 0, in a list, a range or a bitmap.
    #[error("serial 0 is named, which cannot be revoked")]
    SerialZero,
    /// A range that ends before it starts.
    #[error("the serial range {first}-{last} ends before it starts")]
    BackwardRange {
        /// Its first serial.
        first: u64,
        /// Its last serial.
        last: u64,
    },
    /// A bitmap whose number is negative.
    #[error("the serial bitmap is a negative number")]
    NegativeBitmap,
    /// A bitmap that sshd refuses as "bignum is too large".
    #[error("the serial bitmap has {bytes} bytes, and sshd refuses bitmaps over 16,384 bits")]
    BitmapTooLarge {
        /// Its length in bytes.
        bytes: usize,
    },
    /// A bitmap that counts past the highest serial.
    #[error("the serial bitmap counts past the highest possible serial")]
    BitmapPastEnd,
    /// A subsection type that OpenSSH refuses.
    #[error("subsection type {section_type} is unknown")]
    UnknownSubsection {
        /// The type.
        section_type: u8,
    },
}

impl DecodeErrorKind {
    pub(super) fn at(self, offset: usize) -> DecodeError {
        DecodeError { offset, kind: self }
    }
}

impl CertificatesError {
    pub(super) fn at(self, offset: usize) -> DecodeError {
        DecodeErrorKind::Certificates(self).at(offset)
    }
}

impl From<Truncated> for DecodeError {
    fn from(cut: Truncated) -> Self {
        let Truncated {
            offset,
            needed,
            left,
        } = cut;
        DecodeErrorKind::Truncated { needed, left }.at(offset)
    }
}
