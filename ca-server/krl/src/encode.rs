//! Writes a KRL: measured first, then written once into a buffer of exactly that size.

use crate::model::{CertificateSection, Krl};
use crate::serials::SerialRun;
use crate::wire::{
    CERT_KEY_ID, CERT_SERIAL_LIST, CERT_SERIAL_RANGE, FORMAT_VERSION, MAGIC, SECTION_CERTIFICATES,
    SECTION_EXPLICIT_KEY, SECTION_FINGERPRINT_SHA1, SECTION_FINGERPRINT_SHA256, put_length,
    put_string, string_len,
};

/// The largest file that OpenSSH reads: `SSHBUF_SIZE_MAX` of OpenSSH 8.2 to 9.x, 128 MiB.
pub const MAX_KRL_BYTES: u64 = 0x800_0000;

/// A section's type and the length of its data.
const SECTION_HEADER_BYTES: u64 = 1 + 4;
const SERIAL_BYTES: u64 = 8;
const RANGE_SECTION_BYTES: u64 = SECTION_HEADER_BYTES + 2 * SERIAL_BYTES;

/// Why a KRL cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// sshd would refuse the file, and everybody with it.
    #[error(
        "the KRL would have {bytes} bytes and sshd reads at most {MAX_KRL_BYTES}: revoke by key ID or by range instead of by single serials, or drop entries of certificates that have expired"
    )]
    TooLarge {
        /// The size that it would have.
        bytes: u64,
    },
}

impl Krl {
    /// The bytes of the file. Equal KRLs give equal bytes.
    ///
    /// # Errors
    /// [`EncodeError::TooLarge`] above [`MAX_KRL_BYTES`].
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let bytes = self.encoded_len();
        if bytes > MAX_KRL_BYTES {
            return Err(EncodeError::TooLarge { bytes });
        }
        let mut out = Vec::with_capacity(usize::try_from(bytes).expect("at most MAX_KRL_BYTES"));
        self.put_header(&mut out);
        for (ca, section) in &self.certificates {
            // PROTOCOL.krl §2: "string ca_key, string reserved", "Followed by one or more sections".
            out.push(SECTION_CERTIFICATES);
            put_length(&mut out, string_len(ca.wire()) + 4 + body_len(section));
            put_string(&mut out, ca.wire());
            put_string(&mut out, b"");
            put_serials(&mut out, &section.serials);
            put_strings(&mut out, CERT_KEY_ID, &section.key_ids);
        }
        // PROTOCOL.krl §3: "string public_key_blob[0] ....", "The blob must be a raw key".
        put_strings(&mut out, SECTION_EXPLICIT_KEY, &self.keys);
        // PROTOCOL.krl §4: "Hashes in this section must appear in numeric order, treating each hash as a
        // big-endian integer": the order in which arrays of bytes sort.
        put_strings(&mut out, SECTION_FINGERPRINT_SHA1, &self.sha1);
        put_strings(&mut out, SECTION_FINGERPRINT_SHA256, &self.sha256);
        debug_assert_eq!(out.len() as u64, bytes, "measured and written sizes agree");
        Ok(out)
    }

    /// The size of the file in bytes, without writing it.
    pub fn encoded_len(&self) -> u64 {
        let header = MAGIC.len() as u64 + 4 + 3 * 8 + 4 + string_len(self.comment.as_bytes());
        let certificates: u64 = self
            .certificates
            .iter()
            .map(|(ca, section)| {
                SECTION_HEADER_BYTES + string_len(ca.wire()) + 4 + body_len(section)
            })
            .sum();
        header
            + certificates
            + strings_len(&self.keys)
            + strings_len(&self.sha1)
            + strings_len(&self.sha256)
    }

    // PROTOCOL.krl §1: "uint64 KRL_MAGIC, uint32 KRL_FORMAT_VERSION, uint64 krl_version, uint64
    // generated_date, uint64 flags, string reserved, string comment"; "No "flags" are currently defined."
    fn put_header(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT_VERSION.to_be_bytes());
        out.extend_from_slice(&self.version.to_be_bytes());
        out.extend_from_slice(&self.generated_unix_secs.to_be_bytes());
        out.extend_from_slice(&0_u64.to_be_bytes());
        put_string(out, b"");
        put_string(out, self.comment.as_bytes());
    }
}

/// Whether a run is shorter as a range section (21 bytes) than in the list (8 bytes a serial).
///
/// Bitmaps would be shorter still for dense sets with holes, and are never written: sshd refuses a
/// KRL with a bitmap over 16,384 bits, and locks everybody out.
fn as_range(run: &SerialRun) -> bool {
    run.count() > RANGE_SECTION_BYTES / SERIAL_BYTES
}

fn listed_len(runs: &[SerialRun]) -> u64 {
    let listed = runs.iter().filter(|run| !as_range(run));
    listed.map(|run| run.count() * SERIAL_BYTES).sum()
}

fn serials_len(runs: &[SerialRun]) -> u64 {
    let ranges = runs.iter().filter(|run| as_range(run)).count() as u64;
    let list = match listed_len(runs) {
        0 => 0,
        bytes => SECTION_HEADER_BYTES + bytes,
    };
    list + ranges * RANGE_SECTION_BYTES
}

fn strings_len<T: AsRef<[u8]>>(strings: &[T]) -> u64 {
    if strings.is_empty() {
        return 0;
    }
    let data: u64 = strings.iter().map(|item| string_len(item.as_ref())).sum();
    SECTION_HEADER_BYTES + data
}

fn body_len(section: &CertificateSection) -> u64 {
    serials_len(&section.serials) + strings_len(&section.key_ids)
}

fn put_serials(out: &mut Vec<u8>, runs: &[SerialRun]) {
    // PROTOCOL.krl §2.1: "uint64 revoked_cert_serial, uint64 ...".
    let listed_bytes = listed_len(runs);
    if listed_bytes > 0 {
        out.push(CERT_SERIAL_LIST);
        put_length(out, listed_bytes);
        for run in runs.iter().filter(|run| !as_range(run)) {
            for serial in run.range() {
                out.extend_from_slice(&serial.to_be_bytes());
            }
        }
    }
    // PROTOCOL.krl §2.2: "uint64 serial_min, uint64 serial_max"; "serial_min <= serial <= serial_max".
    for run in runs.iter().filter(|run| as_range(run)) {
        out.push(CERT_SERIAL_RANGE);
        put_length(out, 2 * SERIAL_BYTES);
        out.extend_from_slice(&run.first().to_be_bytes());
        out.extend_from_slice(&run.last().to_be_bytes());
    }
}

/// A section of strings; "This section must contain at least one" of them, so none gives no section.
fn put_strings<T: AsRef<[u8]>>(out: &mut Vec<u8>, section_type: u8, strings: &[T]) {
    if strings.is_empty() {
        return;
    }
    out.push(section_type);
    put_length(out, strings_len(strings) - SECTION_HEADER_BYTES);
    for item in strings {
        put_string(out, item.as_ref());
    }
}
