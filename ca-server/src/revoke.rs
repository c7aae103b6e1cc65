//! Revocation: what is decided is durable first, then built into a KRL, checked by OpenSSH itself, and published.

pub mod exposure;
pub mod krl;

use policies::Email;

use crate::{
    enrol,
    ledger::{Actor, Event, RevokedWhat},
    records::{CA, CaRecord, RevocationRecord, Revoked, open_sessions},
    store::{Read, ReadError, Table, Txn},
};

/// Why and by whom.
#[derive(Clone)]
pub struct Because {
    /// Who decided.
    pub actor: Actor,
    /// When, Unix milliseconds.
    pub at_unix_ms: i64,
    /// Why; may be empty.
    pub reason: String,
    /// Entries stay for this long, in seconds: [`KEEP_SECS`] for what people hold (R3).
    pub keep_secs: u64,
}

impl Because {
    /// When an entry may leave the KRL.
    fn until(&self) -> i64 {
        let keep = i64::try_from(self.keep_secs).unwrap_or(i64::MAX);
        (self.at_unix_ms / 1000).saturating_add(keep)
    }
}

/// Days that an entry stays beyond the longest lifetime (R3).
pub const GRACE_SECS: u64 = 7 * 24 * 3600;

/// How long an entry about somebody's certificates stays, in seconds: longer than any that could ever be issued. Not the company's ceiling of today:
/// that may have been higher when the certificate was made, and by a restored store's word nobody knows what it was (R3).
pub const KEEP_SECS: u64 = policies::check::MAX_CEILING_SECS + GRACE_SECS;

/// What revoking a person ended.
pub struct Ended {
    /// The epoch that no machine accepts any longer.
    pub old_epoch: u64,
    /// Day sessions at the CA.
    pub sessions: usize,
}

/// Adds an entry to what the next KRL says. The caller records why, in the same transaction.
///
/// # Errors
/// If the store cannot be read.
pub fn add(txn: &mut Txn<'_>, what: Revoked, because: &Because) -> Result<(), ReadError> {
    let mut ca: CaRecord = txn
        .get_json(Table::Meta, CA)?
        .expect("`init` wrote the CA's record in the first transaction");
    let until_unix = match what {
        Revoked::Key(_) => None,
        Revoked::KeyId(_) | Revoked::Serial { .. } | Revoked::Earlier { .. } => {
            Some(because.until())
        }
    };
    let record = RevocationRecord {
        what,
        at_unix: because.at_unix_ms / 1000,
        until_unix,
        reason: because.reason.clone(),
    };
    txn.put_json(
        Table::Revocations,
        ca.next_revocation.to_be_bytes(),
        &record,
    );
    ca.next_revocation += 1;
    txn.put_json(Table::Meta, CA, &ca);
    Ok(())
}

/// Revokes everything that a person holds: the epoch rises, their sessions at the CA end, and one key-ID entry covers
/// every certificate of the old epoch, also one that the ledger lost. The caller stores the changed employee.
///
/// # Errors
/// If the store cannot be read.
pub fn employee(
    txn: &mut Txn<'_>,
    employee: &mut policies::Employee,
    because: &Because,
    keep_login: bool,
) -> Result<Ended, ReadError> {
    let old_epoch = employee.epoch;
    employee.epoch += 1;
    let key_id = format!("{}/{old_epoch}", employee.email);
    let entries = vec![format!("id: {key_id}")];
    add(txn, Revoked::KeyId(key_id), because)?;
    let sessions = end_sessions(txn, &employee.email, because)?;
    enrol::withdraw(txn, &employee.email)?;
    txn.record(
        because.at_unix_ms,
        &because.actor,
        &Event::Revoked {
            what: RevokedWhat::Employee {
                email: employee.email.clone(),
                epoch: old_epoch,
            },
            entries,
            reason: because.reason.clone(),
            keep_login,
        },
    );
    Ok(Ended {
        old_epoch,
        sessions,
    })
}

/// Ends every session of a person at the CA.
fn end_sessions(txn: &mut Txn<'_>, email: &Email, because: &Because) -> Result<usize, ReadError> {
    let open = open_sessions(txn, email, because.at_unix_ms / 1000)?;
    for (id, _) in &open {
        txn.delete(Table::Sessions, id.clone());
        txn.record(
            because.at_unix_ms,
            &because.actor,
            &Event::SessionEnded {
                email: email.clone(),
                session: String::from_utf8_lossy(id).into_owned(),
                reason: "revoked".to_owned(),
            },
        );
    }
    Ok(open.len())
}
