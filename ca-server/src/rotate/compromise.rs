//! Somebody else has a key of the CA: it is revoked as a whole, and another one signs at once.

use std::{collections::BTreeSet, sync::Arc};

use super::{RotateError, make, note, stage};
use crate::{
    ca::{Ca, unix_ms},
    fleet::succession::{self, Reason},
    keys::{KeyRecord, Life, Purpose, record},
    ledger::{Actor, Event, RevokedWhat},
    records::Revoked,
    revoke::{self, Because},
    store::ReadError,
};

/// What an emergency came to in the store.
#[derive(Debug, Clone)]
pub struct Emergency {
    /// The key that is in somebody else's hands.
    pub old: KeyRecord,
    /// The key that signs instead.
    pub now: KeyRecord,
}

/// Takes the key that signs out of everything and puts it into the KRL itself, in one transaction; the next key signs from
/// then on, whoever trusts it already (the one exception to K3: what the old one signs is worth nothing any more).
///
/// # Errors
/// When the next key cannot be made, or the store fails; nothing is changed then.
pub async fn compromise(
    ca: &Arc<Ca>,
    actor: &Actor,
    purpose: Purpose,
    reason: &str,
) -> Result<Emergency, RotateError> {
    let _one_at_a_time = ca.key_room.changing.lock().await;
    let keys = ca.key_room.at(&ca.db.snapshot()?)?;
    if purpose == Purpose::Fleet {
        let now = succession::change(ca, actor, Reason::Compromise(reason)).await?;
        let old = keys.fleet.current_held().record().clone();
        ca.key_room.forget(&old)?;
        return Ok(Emergency { old, now });
    }
    let ring = keys.ring(purpose);
    let next = match ring.next() {
        // One that cannot sign is of no use now.
        Some(held) if held.signer().is_some() => held.record().clone(),
        _ => make(ca, purpose, None).await?,
    };
    let now_unix = ca.clock.now().unix_timestamp();
    let old = KeyRecord {
        life: Life::Compromised,
        signed_until_unix: Some(now_unix),
        left_unix: Some(now_unix),
        // No machine trusts a host CA key: nobody has to confirm.
        ended_unix: (purpose == Purpose::HostCa).then_some(now_unix),
        ..ring.current_held().record().clone()
    };
    let next = KeyRecord {
        life: Life::Current,
        signs_since_unix: Some(now_unix),
        ..next
    };
    let retiring = !ring.retiring().is_empty();
    let (outcome, at) = (
        Emergency {
            old: old.clone(),
            now: next.clone(),
        },
        unix_ms(ca.clock.now()),
    );
    let (actor, reason) = (actor.clone(), reason.to_owned());
    ca.db
        .write_async(move |txn| {
            let because = Because {
                actor: actor.clone(),
                at_unix_ms: at,
                reason: reason.clone(),
                keep_secs: 0,
            };
            let what = Revoked::Key(old.fingerprint());
            let entries = vec![what.describe()];
            revoke::add(txn, what, &because)?;
            txn.record(
                at,
                &actor,
                &Event::Revoked {
                    what: RevokedWhat::Ca {
                        fingerprint: old.fingerprint(),
                    },
                    entries,
                    reason: reason.clone(),
                    keep_login: true,
                },
            );
            record::put(txn, &old);
            note(
                txn,
                at,
                &actor,
                &old,
                "compromised: nothing that it signed counts".to_owned(),
            );
            record::put(txn, &next);
            note(txn, at, &actor, &next, "signs from now on".to_owned());
            if !retiring {
                record::end_rotation(txn, purpose);
            }
            Ok::<_, ReadError>(())
        })
        .await?;
    ca.key_room.refresh(&ca.db)?;
    // The thief has a copy; ours is of no use to anybody else.
    ca.key_room.forget(&outcome.old)?;
    ca.fleet_changed.notify_one();
    Ok(outcome)
}

/// Ends what is done for compromised keys when every machine has confirmed: the entry in the KRL stays for ever, its canaries
/// need not.
pub(super) async fn conclude(ca: &Arc<Ca>) -> Result<(), RotateError> {
    let _one_at_a_time = ca.key_room.changing.lock().await;
    let view = ca.db.snapshot()?;
    let keys = ca.key_room.at(&view)?;
    let mut over = Vec::new();
    for held in keys.user_ca.ended() {
        let record = held.record();
        if record.life == Life::Compromised
            && record.ended_unix.is_none()
            && stage::machines(&view, &BTreeSet::new(), |seen| {
                stage::still_trusts(seen, held)
            })?
            .is_empty()
        {
            over.push(KeyRecord {
                ended_unix: Some(ca.clock.now().unix_timestamp()),
                ..record.clone()
            });
        }
    }
    drop(view);
    if over.is_empty() {
        return Ok(());
    }
    let at = unix_ms(ca.clock.now());
    ca.db
        .write_async(move |txn| {
            for one in &over {
                record::put(txn, one);
                let change = "compromised; no machine trusts it any more".to_owned();
                note(txn, at, &Actor::Server, one, change);
            }
            Ok::<_, ReadError>(())
        })
        .await?;
    ca.key_room.refresh(&ca.db)?;
    Ok(())
}
