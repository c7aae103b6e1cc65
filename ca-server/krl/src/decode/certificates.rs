//! Reads certificate sections (PROTOCOL.krl §2): serial lists, ranges and bitmaps, and key IDs.

use super::error::{CertificatesError, DecodeError};
use super::{Draft, c_string, extension, no_trailing_bytes};
use crate::builder::{RunError, checked_run};
use crate::key::CaScope;
use crate::serials::SerialRun;
use crate::wire::{
    CERT_EXTENSION, CERT_KEY_ID, CERT_SERIAL_BITMAP, CERT_SERIAL_LIST, CERT_SERIAL_RANGE, Reader,
};

// sshbuf.h: "#define SSHBUF_MAX_BIGNUM (16384 / 8)".
const MAX_BITMAP_BYTES: usize = 16_384 / 8;

// PROTOCOL.krl §2: "string ca_key, string reserved", the latter "currently ignored".
pub(super) fn certificates_section(
    data: &mut Reader<'_>,
    draft: &mut Draft,
) -> Result<(), DecodeError> {
    let offset = data.offset();
    let ca = match data.string()?.rest() {
        [] => CaScope::ANY,
        blob => CaScope::key(blob).map_err(|error| CertificatesError::CaKey(error).at(offset))?,
    };
    let _reserved = data.string()?;
    while !data.is_empty() {
        let offset = data.offset();
        let section_type = data.u8()?;
        let mut body = data.string()?;
        match section_type {
            CERT_SERIAL_LIST => list(&mut body, &ca, draft)?,
            CERT_SERIAL_RANGE => range(&mut body, &ca, draft)?,
            CERT_SERIAL_BITMAP => bitmap(&mut body, &ca, draft)?,
            CERT_KEY_ID => key_ids(&mut body, &ca, draft)?,
            CERT_EXTENSION => extension(&mut body)?,
            _ => return Err(CertificatesError::UnknownSubsection { section_type }.at(offset)),
        }
        no_trailing_bytes(&body)?;
    }
    Ok(())
}

// PROTOCOL.krl §2.1: "uint64 revoked_cert_serial, uint64 ...".
fn list(body: &mut Reader<'_>, ca: &CaScope, draft: &mut Draft) -> Result<(), DecodeError> {
    let mut serials = Vec::new();
    while !body.is_empty() {
        let offset = body.offset();
        draft.count_entry(offset)?;
        let serial = body.u64()?;
        serials.push(run(serial, serial, offset)?);
    }
    keep(serials, ca, draft);
    Ok(())
}

// PROTOCOL.krl §2.2: "uint64 serial_min, uint64 serial_max".
fn range(body: &mut Reader<'_>, ca: &CaScope, draft: &mut Draft) -> Result<(), DecodeError> {
    let offset = body.offset();
    draft.count_entry(offset)?;
    let (first, last) = (body.u64()?, body.u64()?);
    keep(vec![run(first, last, offset)?], ca, draft);
    Ok(())
}

// PROTOCOL.krl §2.3: "uint64 serial_offset, mpint revoked_keys_bitmap"; "A bit set at index N in the bitmap
// corresponds to revocation of a keys with serial number (serial_offset + N)."
fn bitmap(body: &mut Reader<'_>, ca: &CaScope, draft: &mut Draft) -> Result<(), DecodeError> {
    let serial_offset = body.u64()?;
    let offset = body.offset();
    let bytes = body.string()?.rest();
    if bytes.first().is_some_and(|high| *high >= 0x80) {
        return Err(CertificatesError::NegativeBitmap.at(offset));
    }
    // OpenSSH: "Refuse overlong bignums, allow prepended \0 to avoid MSB set". More zeros do not help.
    if bytes.strip_prefix(&[0]).unwrap_or(bytes).len() > MAX_BITMAP_BYTES {
        let bytes = bytes.len();
        return Err(CertificatesError::BitmapTooLarge { bytes }.at(offset));
    }

    let mut runs: Vec<SerialRun> = Vec::new();
    // Bit 0 is the lowest bit of the last byte.
    for (index, byte) in (0_u64..).zip(bytes.iter().rev()) {
        for bit in (0..8_u64).filter(|bit| byte >> bit & 1 == 1) {
            let serial = serial_offset
                .checked_add(index * 8 + bit)
                .ok_or_else(|| CertificatesError::BitmapPastEnd.at(offset))?;
            match runs.last_mut() {
                Some(open) if open.last() == serial - 1 => {
                    *open = SerialRun::new(open.first(), serial);
                }
                _ => {
                    draft.count_entry(offset)?;
                    runs.push(run(serial, serial, offset)?);
                }
            }
        }
    }
    keep(runs, ca, draft);
    Ok(())
}

// PROTOCOL.krl §2.4: "string key_id[0]"; OpenSSH takes a section without any, too.
fn key_ids(body: &mut Reader<'_>, ca: &CaScope, draft: &mut Draft) -> Result<(), DecodeError> {
    while !body.is_empty() {
        draft.count_entry(body.offset())?;
        let (_, key_id) = c_string(body)?;
        draft.builder.section(ca).key_ids.push(key_id.to_vec());
    }
    Ok(())
}

fn keep(mut runs: Vec<SerialRun>, ca: &CaScope, draft: &mut Draft) {
    draft.builder.section(ca).serials.append(&mut runs);
}

fn run(first: u64, last: u64, offset: usize) -> Result<SerialRun, DecodeError> {
    checked_run(first, last).map_err(|error| match error {
        RunError::SerialZero => CertificatesError::SerialZero.at(offset),
        RunError::Backward => CertificatesError::BackwardRange { first, last }.at(offset),
    })
}
