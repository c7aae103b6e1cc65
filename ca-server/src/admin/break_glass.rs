//! `break-glass …`, as far as the server has to do with it: which key machines trust for the break-glass account.

use std::sync::Arc;

use ca_api::{
    ApiError, ErrorCode,
    admin::{AdminReply, BreakGlassKeyView, BreakGlassView},
};
use ssh_key::{Algorithm, HashAlg, PublicKey};

use super::change::{ChangeError, api_error, store_error};
use crate::{
    break_glass::{BreakGlassKey, put, record},
    ca::{Ca, unix_ms},
    fleet::keeper::managed,
    ledger::{Actor, Event, RevokedWhat},
    records::{LIMITS, Revoked, SeenRecord},
    revoke::{self, Because, GRACE_SECS},
    store::{Read, ReadError, Table, Txn},
};

/// A key that was just made.
#[derive(Debug, Clone)]
pub struct New {
    pub public_key: String,
    pub needed: u8,
    pub shares: u8,
}

/// `break-glass show`.
pub fn show(ca: &Ca) -> Result<AdminReply, ApiError> {
    let failed = |error: ReadError| store_error(&error.into());
    let record = ca.db.read(record).map_err(failed)?;
    let machines = managed(ca).map_err(failed)?;
    let mut behind = Vec::new();
    for (name, fleet) in &machines {
        let seen: Option<SeenRecord> = ca
            .db
            .read(|view| view.get_json(Table::Seen, name.as_str().as_bytes()))
            .map_err(failed)?;
        if seen.unwrap_or_default().generation != fleet.generation {
            behind.push(name.to_string());
        }
    }
    Ok(AdminReply::BreakGlass(BreakGlassView {
        keys: record
            .keys
            .into_iter()
            .map(|key| BreakGlassKeyView {
                fingerprint: key.fingerprint,
                needed: key.needed,
                shares: key.shares,
                made_unix: key.made_unix,
                ended_unix: key.ended_unix,
            })
            .collect(),
        machines: machines.len(),
        behind,
    }))
}

/// Machines trust `new` from now on, or nothing; the key of before is revoked for ever.
pub async fn replace(ca: &Arc<Ca>, actor: Actor, new: Option<New>) -> Result<AdminReply, ApiError> {
    if !matches!(actor, Actor::Console { .. }) {
        // Whoever can name this key is root on every machine.
        return Err(ApiError::new(
            ErrorCode::Forbidden,
            "break-glass credentials are made and revoked on the CA host only",
        ));
    }
    let now = ca.clock.now();
    let new = new
        .map(|new| parsed(ca, new, now.unix_timestamp()))
        .transpose()?;
    let at = unix_ms(now);
    ca.db
        .write_async(move |txn| change(txn, &actor, at, new.as_ref()))
        .await
        .map_err(api_error)?;
    ca.fleet_changed.notify_one();
    show(ca)
}

fn parsed(ca: &Ca, new: New, now_unix: i64) -> Result<BreakGlassKey, ApiError> {
    let invalid = |what: &str| ApiError::new(ErrorCode::Invalid, what.to_owned());
    let key =
        PublicKey::from_openssh(&new.public_key).map_err(|_| invalid("this is no public key"))?;
    if key.algorithm() != Algorithm::Ed25519 {
        return Err(invalid("a break-glass key is an Ed25519 key"));
    }
    if ca.keys().own().any(|own| own == key.key_data()) {
        return Err(invalid("this is another key of the CA"));
    }
    let key = PublicKey::from(key.key_data().clone());
    Ok(BreakGlassKey {
        fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
        public_key: key
            .to_openssh()
            .map_err(|_| invalid("this key has no text form"))?,
        needed: new.needed,
        shares: new.shares,
        made_unix: now_unix,
        ended_unix: None,
    })
}

fn change(
    txn: &mut Txn<'_>,
    actor: &Actor,
    at: i64,
    new: Option<&BreakGlassKey>,
) -> Result<(), ChangeError> {
    let mut record = record(txn)?;
    if let Some(new) = new
        && record
            .keys
            .iter()
            .any(|key| key.fingerprint == new.fingerprint)
    {
        return Err(ApiError::new(
            ErrorCode::Conflict,
            "this key was the break-glass key already; make new credentials",
        )
        .into());
    }
    let limits: policies::Limits = txn.get_json(Table::Limits, LIMITS)?.unwrap_or_default();
    let because = Because {
        actor: actor.clone(),
        at_unix_ms: at,
        reason: "break-glass credentials were replaced or revoked".to_owned(),
        keep_secs: limits.ceiling_secs + GRACE_SECS,
    };
    for key in record
        .keys
        .iter_mut()
        .filter(|key| key.ended_unix.is_none())
    {
        key.ended_unix = Some(at / 1000);
        let what = Revoked::Key(key.fingerprint.clone());
        let entries = vec![what.describe()];
        revoke::add(txn, what, &because)?;
        txn.record(
            at,
            actor,
            &Event::Revoked {
                what: RevokedWhat::Ca {
                    fingerprint: key.fingerprint.clone(),
                },
                entries,
                reason: because.reason.clone(),
                keep_login: true,
            },
        );
    }
    if let Some(new) = new {
        record.keys.push(new.clone());
        txn.record(
            at,
            actor,
            &Event::BreakGlassMade {
                fingerprint: new.fingerprint.clone(),
                needed: new.needed,
                shares: new.shares,
            },
        );
    }
    put(txn, &record);
    txn.record(
        at,
        actor,
        &Event::CaKeyChanged {
            key: "break_glass".to_owned(),
            fingerprint: new.map_or_else(String::new, |new| new.fingerprint.clone()),
            change: if new.is_some() {
                "machines trust it"
            } else {
                "machines trust none"
            }
            .to_owned(),
        },
    );
    Ok(())
}
