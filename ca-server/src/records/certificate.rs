//! What is kept of certificates, and which of somebody's are live.

use policies::Email;
use serde::{Deserialize, Serialize};

use crate::{
    ledger::CertificateKind,
    store::{Direction, KeyRange, Read, ReadError, Table},
};

/// Where a certificate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateState {
    /// Decided and durable; without an outcome it counts as issued (I6).
    Intent,
    /// Signed, checked, and handed out.
    Issued,
    /// Signing failed: no certificate left the CA, and the serial is revoked all the same.
    Failed,
}

/// A certificate (table `certificates`, by serial, big endian).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateRecord {
    /// What for.
    pub kind: CertificateKind,
    /// `email/epoch`, or what kind of probe.
    pub key_id: String,
    /// `SHA256:…` of the CA key that signed.
    pub ca: String,
    /// `SHA256:…` of the certified key.
    pub subject: String,
    /// Principals, or host names.
    pub principals: Vec<String>,
    /// What was decided; `None` for probes and hosts, and in records from before this was kept.
    #[serde(default)]
    pub conditions: Option<policies::Conditions>,
    /// From.
    pub valid_after_unix: u64,
    /// Until (exclusive).
    pub valid_before_unix: u64,
    /// Where it stands.
    pub state: CertificateState,
}

impl CertificateRecord {
    /// Could a machine accept it now?
    #[must_use]
    pub fn is_live(&self, now_unix: i64) -> bool {
        i64::try_from(self.valid_before_unix).is_ok_and(|end| now_unix < end)
    }
}

/// Certificates of one employee that are live at `now_unix`, with their serials.
///
/// # Errors
/// If the store cannot be read.
pub fn live_certificates<R: Read>(
    source: &R,
    email: &Email,
    now_unix: i64,
) -> Result<Vec<(u64, CertificateRecord)>, ReadError> {
    let mut live = Vec::new();
    // The index is ordered by end: certificates that ended are not even looked at.
    let from = by_employee_key(email, u64::try_from(now_unix).unwrap_or(0), 0);
    let until = by_employee_key(email, u64::MAX, u64::MAX);
    let range = KeyRange::between(from, until);
    for (key, _) in source.scan(
        Table::CertificatesByEmployee,
        &range,
        Direction::Forward,
        usize::MAX,
    )? {
        let serial = &key[key.len() - 8..];
        if let Some(record) = source.get_json::<CertificateRecord>(Table::Certificates, serial)?
            && record.is_live(now_unix)
        {
            let serial = u64::from_be_bytes(serial.try_into().expect("eight bytes were cut off"));
            live.push((serial, record));
        }
    }
    Ok(live)
}

/// A key of table `certificates_by_employee`: email, end, serial.
#[must_use]
pub fn by_employee_key(email: &Email, valid_before_unix: u64, serial: u64) -> Vec<u8> {
    let (end, serial) = (valid_before_unix.to_be_bytes(), serial.to_be_bytes());
    [email.as_str().as_bytes(), b"\0", &end, &serial].concat()
}
