//! Until when something that is revoked would still work on a machine that has not got the newest KRL.

use policies::Email;

use super::GRACE_SECS;
use crate::{
    records::{CertificateRecord, RevocationRecord, Revoked, live_certificates, number},
    store::{KeyRange, Read, ReadError, Table},
};

/// Revocations of certificates that would be valid still, by number.
#[derive(Debug, Default)]
pub struct Exposures(Vec<(u64, i64)>);

impl Exposures {
    /// Of all revocations from `covered` on: the lowest number that any KRL on any machine stops at.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn since<R: Read>(source: &R, covered: u64, now_unix: i64) -> Result<Self, ReadError> {
        let mut open = Vec::new();
        let range = KeyRange::since(covered.to_be_bytes());
        for (key, record) in
            source.scan_json::<RevocationRecord>(Table::Revocations, &range, usize::MAX)?
        {
            if let Some(until) = valid_until(source, &record, now_unix)? {
                open.push((number(Table::Revocations, &key)?, until));
            }
        }
        Ok(Self(open))
    }

    /// For a machine whose KRL has all revocations before number `covered`.
    #[must_use]
    pub fn until(&self, covered: u64) -> Option<i64> {
        self.0
            .iter()
            .filter(|(number, _)| *number >= covered)
            .map(|(_, until)| *until)
            .max()
    }
}

/// The end of the last certificate that the entry revokes and that is valid now. A key that was revoked by its hash names no certificate.
fn valid_until<R: Read>(
    source: &R,
    record: &RevocationRecord,
    now_unix: i64,
) -> Result<Option<i64>, ReadError> {
    let live = match &record.what {
        Revoked::KeyId(key_id) => {
            let email = key_id
                .rsplit_once('/')
                .map(|(email, _)| email.parse::<Email>());
            let Some(Ok(email)) = email else {
                return Ok(None);
            };
            live_certificates(source, &email, now_unix)?
                .into_iter()
                .map(|(_, record)| record)
                .filter(|record| record.key_id == *key_id)
                .collect()
        }
        Revoked::Serial { serial, .. } => source
            .get_json::<CertificateRecord>(Table::Certificates, &serial.to_be_bytes())?
            .into_iter()
            .filter(|record| record.is_live(now_unix))
            .collect::<Vec<_>>(),
        Revoked::Key(_) => Vec::new(),
        // Nobody remembers them all: the longest that any can live.
        Revoked::Earlier { .. } => {
            let grace = i64::try_from(GRACE_SECS).unwrap_or(i64::MAX);
            let end = record.until_unix.map(|until| until.saturating_sub(grace));
            return Ok(end.filter(|end| now_unix < *end));
        }
    };
    Ok(live
        .iter()
        .map(|record| i64::try_from(record.valid_before_unix).unwrap_or(i64::MAX))
        .max())
}
