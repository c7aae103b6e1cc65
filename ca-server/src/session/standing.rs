//! Are a person's certificates still good? Asked by `ca-client` before ssh, so that a narrowing is noticed before a machine refuses.
//!
//! It costs a few reads, writes nothing, and says of a session to its owner alone what a renewal would say too; to anybody else it says "renew",
//! whatever they ask, and the renewal then refuses them.

use ca_api::{Standing, StandingRequest};
use policies::profile::KeyId;

use super::{
    SessionError,
    plan::key_is_revoked,
    renew::{Found, find, is_current},
};
use crate::{
    ca::Ca,
    records::{CertificateRecord, SessionRecord},
    store::{Read, ReadError, Table},
};

/// More certificates than anybody has: one for each condition set of a person's grants.
const MOST: usize = 256;

/// `POST /v1/standing`.
///
/// # Errors
/// When more is asked than anybody has, or the store cannot be read.
pub fn standing(ca: &Ca, request: &StandingRequest) -> Result<Standing, SessionError> {
    if request.serials.len() > MOST {
        return Err(SessionError::Invalid(format!(
            "at most {MOST} certificates are looked at"
        )));
    }
    let now = ca.clock.now();
    let good = match find(ca, &request.session_id, &request.session_secret, now)? {
        Found::Refused(_) => false,
        Found::Open(session) => still_good(ca, &session, &request.serials)?,
    };
    Ok(Standing { renew: !good })
}

fn still_good(ca: &Ca, session: &SessionRecord, serials: &[u64]) -> Result<bool, SessionError> {
    let key = ssh_key::PublicKey::from_openssh(&session.public_key)
        .map_err(crate::issue::IssueError::Encode)?;
    if key_is_revoked(ca, &key)? {
        return Ok(false);
    }
    let view = ca.db.snapshot()?;
    if !is_current(&view, session)? {
        return Ok(false);
    }
    let serials_revoked = ca.revoked_serials.load(&view)?;
    let keys_revoked = ca.revoked_keys.load(&view)?;
    let good = |serial: &u64| -> Result<bool, ReadError> {
        let record: Option<CertificateRecord> =
            view.get_json(Table::Certificates, &serial.to_be_bytes())?;
        Ok(record.is_some_and(|record| {
            let own = matches!(record.key_id.parse(), Ok(KeyId::Employee { email, epoch }) if email == session.email && epoch == session.epoch);
            own && !serials_revoked.contains(serial) && !keys_revoked.contains(&record.ca)
        }))
    };
    for serial in serials {
        if !good(serial)? {
            return Ok(false);
        }
    }
    Ok(true)
}
