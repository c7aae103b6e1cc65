//! Somebody else has a key of the CA: it is revoked as a whole, and another one signs at once.

use std::{collections::BTreeSet, sync::Arc};

use super::{RotateError, Waiting, make, note, stage};
use crate::{
    ca::{Ca, unix_ms},
    fleet::succession::{self, Reason},
    keys::{Held, KeyRecord, Life, Purpose, Ring, record},
    ledger::{Actor, Event, RevokedWhat},
    records::Revoked,
    revoke::{self, Because},
    store::{ReadError, Txn},
};

/// Which keys are in somebody else's hands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lost {
    /// Every key of this purpose that anybody trusts: they lie in one folder under one passphrase, and in one process's memory, so whoever has
    /// one may have each.
    All(Purpose),
    /// This one alone, by its fingerprint (`SHA256:…`). A fleet key that signs takes those before it along: nothing leads on from them any more.
    One(Purpose, String),
}

impl Lost {
    /// What the keys sign.
    #[must_use]
    pub fn purpose(&self) -> Purpose {
        match self {
            Self::All(purpose) | Self::One(purpose, _) => *purpose,
        }
    }

    fn of<'a>(&self, ring: &'a Ring) -> Vec<&'a Held> {
        match self {
            Self::All(_) => ring.covered().collect(),
            Self::One(_, print) if ring.current_held().fingerprint() == print => {
                match ring.purpose() {
                    Purpose::Fleet => ring.covered().collect(),
                    Purpose::UserCa | Purpose::HostCa => vec![ring.current_held()],
                }
            }
            Self::One(_, print) => ring
                .find(print)
                .filter(|held| held.record().life != Life::Compromised)
                .into_iter()
                .collect(),
        }
    }
}

/// What an emergency came to in the store.
#[derive(Debug, Clone)]
pub struct Emergency {
    /// The keys that may be in somebody else's hands, the one that signed first. None where all that were named were given up before.
    pub old: Vec<KeyRecord>,
    /// The key that signs from now on.
    pub now: KeyRecord,
    /// Did another one sign until now?
    pub switched: bool,
    /// What of the old ones could not be deleted here, and why; the next start tries again.
    pub left: Vec<String>,
    /// Machines that may still believe a fleet key that was lost.
    pub exposed: Vec<Waiting>,
}

/// Takes keys out of everything and, where machines know of KRLs for them, puts each into the KRL itself, in one transaction. If the one that signs
/// is among them, another one signs from then on, whoever trusts it (the one exception to K3: what the old ones sign is worth nothing any more):
/// the next one, if only the one that signs was lost, else one that nobody has seen yet.
///
/// # Errors
/// When a new key cannot be made, or the store fails; nothing is changed then.
pub async fn compromise(
    ca: &Arc<Ca>,
    actor: &Actor,
    lost: &Lost,
    reason: &str,
) -> Result<Emergency, RotateError> {
    let _one_at_a_time = ca.key_room.changing.lock().await;
    let view = ca.db.snapshot()?;
    let keys = ca.key_room.at(&view)?;
    drop(view);
    let purpose = lost.purpose();
    let ring = keys.ring(purpose);
    let held = lost.of(ring);
    let is_lost = |one: &Held| {
        held.iter()
            .any(|lost| lost.fingerprint() == one.fingerprint())
    };
    let switched = is_lost(ring.current_held());
    if held.is_empty() {
        let exposed = match purpose {
            Purpose::Fleet => behind(ca)?,
            Purpose::UserCa | Purpose::HostCa => Vec::new(),
        };
        return Ok(Emergency {
            old: Vec::new(),
            now: ring.current_held().record().clone(),
            switched,
            left: Vec::new(),
            exposed,
        });
    }
    let now_unix = ca.clock.now().unix_timestamp();
    if switched && purpose == Purpose::Fleet {
        let old: Vec<KeyRecord> = held.iter().map(|one| one.record().clone()).collect();
        let now = succession::change(ca, actor, Reason::Compromise(reason)).await?;
        let left = forget(ca, &old);
        return Ok(Emergency {
            old,
            now,
            switched,
            left,
            exposed: behind(ca)?,
        });
    }
    let old: Vec<KeyRecord> = held
        .iter()
        .map(|one| given_up(one.record(), now_unix))
        .collect();
    let instead = match ring.next().filter(|next| !is_lost(next)) {
        _ if !switched => None,
        Some(next) => Some(next.record().clone()),
        None => Some(make(ca, purpose, None).await?),
    }
    .map(|next| KeyRecord {
        life: Life::Current,
        signs_since_unix: Some(now_unix),
        ..next
    });
    let now = instead
        .clone()
        .unwrap_or_else(|| ring.current_held().record().clone());
    let goes_on = ring.covered().any(|one| {
        let under_way = matches!(one.record().life, Life::Next | Life::Retiring);
        under_way && !is_lost(one) && one.record().number != now.number
    });
    let (lost, at) = (old.clone(), unix_ms(ca.clock.now()));
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
                end_key(txn, one, &because)?;
            }
            if let Some(next) = &instead {
                record::put(txn, next);
                note(txn, at, &actor, next, "signs from now on".to_owned());
            }
            if !goes_on {
                record::end_rotation(txn, purpose);
            }
            Ok::<_, ReadError>(())
        })
        .await?;
    ca.key_room.refresh(&ca.db)?;
    // First of all: what follows may fail, and no machine waits for it.
    ca.fleet_changed.notify_one();
    let left = forget(ca, &old);
    let exposed = match purpose {
        Purpose::Fleet => behind(ca)?,
        Purpose::UserCa | Purpose::HostCa => Vec::new(),
    };
    Ok(Emergency {
        old,
        now,
        switched,
        left,
        exposed,
    })
}

/// The record of a key that somebody else has.
fn given_up(record: &KeyRecord, now_unix: i64) -> KeyRecord {
    KeyRecord {
        life: Life::Compromised,
        signed_until_unix: record.signed_until_unix.or(Some(now_unix)),
        left_unix: record.left_unix.or(Some(now_unix)),
        // Only what machines are told to trust has to be confirmed by them.
        ended_unix: (record.purpose != Purpose::UserCa).then_some(now_unix),
        ..record.clone()
    }
}

/// The machines that are not known to go by the fleet key that signs: whoever has one before it may lead them astray.
fn behind(ca: &Ca) -> Result<Vec<Waiting>, RotateError> {
    let view = ca.db.snapshot()?;
    let keys = ca.key_room.at(&view)?;
    Ok(stage::machines(&view, &BTreeSet::new(), |seen| {
        stage::stays_behind(seen, &keys.fleet)
    })?)
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

fn end_key(txn: &mut Txn<'_>, key: &KeyRecord, because: &Because) -> Result<(), ReadError> {
    record::put(txn, key);
    if key.purpose == Purpose::Fleet {
        let change = match because.reason.as_str() {
            "" => {
                "compromised: whoever goes by a later key believes nothing that it signs".to_owned()
            }
            why => format!(
                "compromised ({why}): whoever goes by a later key believes nothing that it signs"
            ),
        };
        note(txn, because.at_unix_ms, &because.actor, key, change);
        return Ok(());
    }
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
