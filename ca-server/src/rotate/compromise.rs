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
    store::{ReadError, Txn},
};

/// What an emergency came to in the store.
#[derive(Debug, Clone)]
pub struct Emergency {
    /// The keys that may be in somebody else's hands, the one that signed first.
    pub old: Vec<KeyRecord>,
    /// The key that signs instead.
    pub now: KeyRecord,
    /// What of the old ones could not be deleted here, and why; the next start tries again.
    pub left: Vec<String>,
}

/// Takes every key of this purpose that anybody trusts out of everything and puts it into the KRL itself, in one transaction; a
/// key that nobody has seen yet signs from then on, whoever trusts it (the one exception to K3: what the old ones sign is worth
/// nothing any more).
///
/// All of them, also the next one and those that retire: they lie in one folder under one passphrase, and in one process's
/// memory, so whoever has one may have each.
///
/// # Errors
/// When a new key cannot be made, or the store fails; nothing is changed then.
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
        let old = vec![keys.fleet.current_held().record().clone()];
        let left = forget(ca, &old);
        return Ok(Emergency { old, now, left });
    }
    let ring = keys.ring(purpose);
    let next = make(ca, purpose, None).await?;
    let now_unix = ca.clock.now().unix_timestamp();
    let lost = |record: &KeyRecord| KeyRecord {
        life: Life::Compromised,
        signed_until_unix: record.signed_until_unix.or(Some(now_unix)),
        left_unix: record.left_unix.or(Some(now_unix)),
        // No machine trusts a host CA key: nobody has to confirm.
        ended_unix: (purpose == Purpose::HostCa).then_some(now_unix),
        ..record.clone()
    };
    let old: Vec<KeyRecord> = ring.covered().map(|held| lost(held.record())).collect();
    let next = KeyRecord {
        life: Life::Current,
        signs_since_unix: Some(now_unix),
        ..next
    };
    let (lost, now, at) = (old.clone(), next.clone(), unix_ms(ca.clock.now()));
    let (actor, reason) = (actor.clone(), reason.to_owned());
    ca.db
        .write_async(move |txn| {
            let because = Because {
                actor: actor.clone(),
                at_unix_ms: at,
                reason: reason.clone(),
                keep_secs: 0,
            };
            for one in &lost {
                revoke_key(txn, one, &because)?;
            }
            record::put(txn, &next);
            note(txn, at, &actor, &next, "signs from now on".to_owned());
            record::end_rotation(txn, purpose);
            Ok::<_, ReadError>(())
        })
        .await?;
    ca.key_room.refresh(&ca.db)?;
    // First of all: what follows may fail, and no machine waits for it.
    ca.fleet_changed.notify_one();
    let left = forget(ca, &old);
    Ok(Emergency { old, now, left })
}

/// The thief has a copy; ours is of no use to anybody else. What cannot be deleted keeps no machine from being told.
fn forget(ca: &Ca, old: &[KeyRecord]) -> Vec<String> {
    let each = old
        .iter()
        .filter_map(|one| ca.key_room.forget(one).err().map(|error| (one, error)));
    each.map(|(one, error)| {
        tracing::error!(%error, key = one.name(), "the private half of a compromised key stays");
        format!("{}: {error}", one.name())
    })
    .collect()
}

fn revoke_key(txn: &mut Txn<'_>, key: &KeyRecord, because: &Because) -> Result<(), ReadError> {
    let what = Revoked::Key(key.fingerprint());
    let entries = vec![what.describe()];
    revoke::add(txn, what, because)?;
    let event = Event::Revoked {
        what: RevokedWhat::Ca {
            fingerprint: key.fingerprint(),
        },
        entries,
        reason: because.reason.clone(),
        keep_login: true,
    };
    txn.record(because.at_unix_ms, &because.actor, &event);
    record::put(txn, key);
    let change = "compromised: nothing that it signed counts".to_owned();
    note(txn, because.at_unix_ms, &because.actor, key, change);
    Ok(())
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
