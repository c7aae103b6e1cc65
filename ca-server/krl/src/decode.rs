//! Reads a KRL strictly: whatever sshd would refuse is an error here, with the place where it stands.

mod certificates;
mod error;

use crate::builder::KrlBuilder;
use crate::encode::MAX_KRL_BYTES;
use crate::model::Krl;
use crate::wire::{
    FORMAT_VERSION, MAGIC, Reader, SECTION_CERTIFICATES, SECTION_EXPLICIT_KEY, SECTION_EXTENSION,
    SECTION_FINGERPRINT_SHA1, SECTION_FINGERPRINT_SHA256, SECTION_SIGNATURE,
};
use certificates::certificates_section;
pub use error::{CertificatesError, DecodeError, DecodeErrorKind};

/// How much a KRL may hold before the decoder gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The size of the file in bytes.
    pub max_bytes: u64,
    /// Runs of serials, key IDs, keys and hashes together. A bitmap of 2 kB can hold 8,192 runs, so the size
    /// alone does not bound the memory; an entry takes 16 to 64 bytes.
    pub max_entries: usize,
}

impl Limits {
    /// The size that sshd reads, and as many entries as serials fit into a list of that size.
    pub const OPENSSH: Self = Self {
        max_bytes: MAX_KRL_BYTES,
        max_entries: 0x100_0000,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::OPENSSH
    }
}

impl Krl {
    /// Reads a KRL file.
    ///
    /// As in OpenSSH, flags, reserved fields and the order of entries do not matter, several sections of a
    /// kind add up, bitmap sections count up to 16,384 bits, and extensions that are not
    /// critical are passed over (OpenSSH before 9.4 refuses those too). Stricter than OpenSSH: signature
    /// sections, and CA keys that are certificates, DSA keys or not canonical.
    ///
    /// # Errors
    /// [`DecodeError`], with the byte at which the file stops making sense.
    ///
    /// ```
    /// use ssh_krl::{DecodeErrorKind, Krl};
    ///
    /// let error = Krl::decode(b"<html>").expect_err("a web page is no KRL");
    /// assert_eq!(error.kind, DecodeErrorKind::NotAKrl);
    /// ```
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::decode_within(bytes, Limits::OPENSSH)
    }

    /// Reads a KRL file of a source that is not trusted with much memory.
    ///
    /// # Errors
    /// [`DecodeError`]; [`DecodeErrorKind::TooLarge`] and [`DecodeErrorKind::TooManyEntries`] for the limits.
    pub fn decode_within(bytes: &[u8], limits: Limits) -> Result<Self, DecodeError> {
        if bytes.len() as u64 > limits.max_bytes {
            let limit = limits.max_bytes;
            return Err(DecodeErrorKind::TooLarge { limit }.at(0));
        }
        let mut reader = Reader::new(bytes);
        let builder = header(&mut reader)?;
        let mut draft = Draft {
            builder,
            entries_left: limits.max_entries,
        };
        // PROTOCOL.krl §1: "Following the header are zero or more sections".
        while !reader.is_empty() {
            section(&mut reader, &mut draft)?;
        }
        Ok(draft.builder.build())
    }
}

/// The KRL so far, and how much more it may hold.
struct Draft {
    builder: KrlBuilder,
    entries_left: usize,
}

impl Draft {
    /// Called before each entry is kept, so that a hostile file cannot make it allocate past the limit.
    fn count_entry(&mut self, offset: usize) -> Result<(), DecodeError> {
        match self.entries_left.checked_sub(1) {
            Some(left) => {
                self.entries_left = left;
                Ok(())
            }
            None => Err(DecodeErrorKind::TooManyEntries.at(offset)),
        }
    }
}

// PROTOCOL.krl §1: "uint64 KRL_MAGIC, uint32 KRL_FORMAT_VERSION, uint64 krl_version, uint64
// generated_date, uint64 flags, string reserved, string comment".
fn header(reader: &mut Reader<'_>) -> Result<KrlBuilder, DecodeError> {
    if !reader.rest().starts_with(&MAGIC) {
        return Err(DecodeErrorKind::NotAKrl.at(0));
    }
    reader.take(MAGIC.len())?;
    let offset = reader.offset();
    let format = reader.u32()?;
    if format != FORMAT_VERSION {
        return Err(DecodeErrorKind::UnsupportedFormat { format }.at(offset));
    }
    let version = reader.u64()?;
    let generated_unix_secs = reader.u64()?;
    // "No "flags" are currently defined", and "reserved" is "currently ignored": OpenSSH skips both.
    let _flags = reader.u64()?;
    let _reserved = reader.string()?;
    let mut builder = KrlBuilder::new(version, generated_unix_secs);
    let (offset, comment) = c_string(reader)?;
    builder
        .comment(String::from_utf8_lossy(comment))
        .map_err(|_| DecodeErrorKind::NulInString.at(offset))?;
    Ok(builder)
}

fn section(reader: &mut Reader<'_>, draft: &mut Draft) -> Result<(), DecodeError> {
    let offset = reader.offset();
    let section_type = reader.u8()?;
    if section_type == SECTION_SIGNATURE {
        // PROTOCOL.krl §6: "Implementations that retrieve KRLs over untrusted channels must verify
        // signatures." To pass over one would let a file look authentic that nobody has verified.
        return Err(DecodeErrorKind::Signed.at(offset));
    }
    let mut data = reader.string()?;
    match section_type {
        SECTION_CERTIFICATES => certificates_section(&mut data, draft),
        SECTION_EXPLICIT_KEY => {
            // OpenSSH keeps whatever bytes stand here and compares; they are kept here, too.
            while !data.is_empty() {
                draft.count_entry(data.offset())?;
                draft.builder.push_key_blob(data.string()?.rest());
            }
            Ok(())
        }
        SECTION_FINGERPRINT_SHA1 => {
            while !data.is_empty() {
                draft.count_entry(data.offset())?;
                draft.builder.push_sha1(hash(&mut data)?);
            }
            Ok(())
        }
        SECTION_FINGERPRINT_SHA256 => {
            while !data.is_empty() {
                draft.count_entry(data.offset())?;
                draft.builder.revoke_key_sha256(hash(&mut data)?);
            }
            Ok(())
        }
        SECTION_EXTENSION => extension(&mut data),
        _ => Err(DecodeErrorKind::UnknownSection { section_type }.at(offset)),
    }
}

fn hash<const N: usize>(data: &mut Reader<'_>) -> Result<[u8; N], DecodeError> {
    let offset = data.offset();
    let bytes = data.string()?.rest();
    bytes.try_into().map_err(|_| {
        let (found, expected) = (bytes.len(), N);
        DecodeErrorKind::HashLength { found, expected }.at(offset)
    })
}

/// PROTOCOL.krl §5 and §2.5: "string extension_name, boolean is_critical, string extension_contents."
/// "If true, then any unsupported extension encountered should result in KRL parsing failure. If false,
/// then it may be safely be ignored." No extension is supported, like in OpenSSH.
fn extension(data: &mut Reader<'_>) -> Result<(), DecodeError> {
    let start = data.offset();
    let (_, name) = c_string(data)?;
    let critical = data.u8()? != 0;
    let _contents = data.string()?;
    no_trailing_bytes(data)?;
    if critical {
        let name = String::from_utf8_lossy(name).escape_debug().collect();
        return Err(DecodeErrorKind::CriticalExtension { name }.at(start));
    }
    Ok(())
}

/// A `string` that OpenSSH reads with `sshbuf_get_cstring`: "Allow a \0 only at the end of the string".
fn c_string<'a>(reader: &mut Reader<'a>) -> Result<(usize, &'a [u8]), DecodeError> {
    let offset = reader.offset();
    let bytes = reader.string()?.rest();
    let text = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    if text.contains(&0) {
        return Err(DecodeErrorKind::NulInString.at(offset));
    }
    Ok((offset, text))
}

fn no_trailing_bytes(data: &Reader<'_>) -> Result<(), DecodeError> {
    match data.rest().len() {
        0 => Ok(()),
        count => Err(DecodeErrorKind::TrailingBytes { count }.at(data.offset())),
    }
}
