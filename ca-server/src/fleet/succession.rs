//! The change of the fleet key, and what leads a machine on from the key that it goes by.
//!
//! The new key signs from the commit on that makes it the one: a machine never sees its signature without the succession that leads there,
//! so there is nothing to wait for (K3 holds machine by machine), and no moment at which a machine accepts neither key. If the server dies
//! before that commit, a key file lies there that nothing names; after it, everything that is sent is signed anew by the new key.

use std::sync::Arc;

use ca_machine::{Bundle, Namespace, Signed, Succession, succession};
use serde::{Deserialize, Serialize};
use ssh_key::PublicKey;

use crate::{
    ca::{Ca, unix_ms},
    keys::{
        KeyRecord, Keys, KeysError, Life, MoveError, Place, Purpose,
        record::{self, RotationRecord, fingerprint},
    },
    ledger::{Actor, Event},
    signer::SigningKey,
    store::{KeyRange, Read, ReadError, StoreError, Table, TableGroup, WriteError},
};

/// How the rows of successions begin (table `keys`); behind it the number, big endian.
const ROW: &[u8] = b"succession\0";

/// A signed succession as it is kept, for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SuccessionRecord {
    /// The text that is signed.
    object: String,
    /// Its SSHSIG, PEM.
    signature: String,
}

/// The fleet key could not be changed. Nothing was.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// A key cannot be made or opened.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The new key cannot be made or reached where it is to be.
    #[error(transparent)]
    Place(#[from] MoveError),
    /// The old key did not name the new one.
    #[error("the old fleet key did not sign for the new one: {0}; nothing was changed")]
    Sign(#[from] succession::SuccessionError),
    /// The keys were changed by somebody else at the same time.
    #[error(
        "the CA's keys were changed by somebody else just now; look at `ca list` and try again"
    )]
    Overtaken,
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ReadError> for ChangeError {
    fn from(error: ReadError) -> Self {
        Self::Store(error.into())
    }
}

/// Why the fleet key is changed.
#[derive(Debug, Clone, Copy)]
pub enum Reason<'a> {
    /// In its time: the old key names the new one, and machines are led on by that. How it is to go on is stored with it.
    Rotation(Option<&'a RotationRecord>),
    /// Somebody else may have the old key: its word is worth nothing, so every machine is to be told by an admin.
    Compromise(&'a str),
}

/// The successions that lead, without a gap, to the fleet key that signs now.
#[derive(Debug, Clone, Default)]
pub struct Chain {
    links: Vec<(Succession, Signed)>,
    highest: u64,
}

impl Chain {
    /// Those that `source` has, of the keys of the same moment.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn read<R: Read>(source: &R, keys: &Keys) -> Result<Self, ReadError> {
        let rows: Vec<(Vec<u8>, SuccessionRecord)> =
            source.scan_json(Table::Keys, &KeyRange::prefix(ROW.to_vec()), usize::MAX)?;
        let mut all = Vec::with_capacity(rows.len());
        for (_, row) in rows {
            match parse(row) {
                Some(link) => all.push(link),
                None => tracing::error!(
                    "a succession of the fleet key cannot be read: some machines may need --resync"
                ),
            }
        }
        let highest = all
            .last()
            .map_or(0, |(link, _): &(Succession, _)| link.number);
        // Backwards from the key that signs: what leads to a key that was compromised leads nobody on.
        let mut links = Vec::new();
        let mut key = keys.fleet.current_held().key().key_data().clone();
        for (link, signed) in all.into_iter().rev() {
            if link.new.key_data() == &key {
                key = link.old.key_data().clone();
                links.push((link, signed));
            }
        }
        links.reverse();
        Ok(Self { links, highest })
    }

    /// What leads on from a machine that goes by these fleet keys (`SHA256:…`); everything, where they are not known.
    #[must_use]
    pub fn onward(&self, goes_by: &[String]) -> Vec<Signed> {
        succession::onward(&self.links, |key| goes_by.contains(&fingerprint(key)))
    }

    /// Whether it leads on from one of these keys (`SHA256:…`).
    #[must_use]
    pub fn begins_at(&self, goes_by: &[String]) -> bool {
        let mut links = self.links.iter();
        links.any(|(link, _)| goes_by.contains(&fingerprint(&link.old)))
    }

    /// The highest number that was ever given.
    #[must_use]
    pub fn highest(&self) -> u64 {
        self.highest
    }
}

fn parse(row: SuccessionRecord) -> Option<(Succession, Signed)> {
    let link = Succession::decode(row.object.as_bytes()).ok()?;
    let old = [link.old.clone()];
    let signed = Signed::from_parts(
        Namespace::Succession,
        row.object.into_bytes(),
        row.signature,
        &old,
    );
    Some((link, signed.ok()?))
}

/// What leads to the fleet key of `keys`, taken before: the store is then at least as new.
///
/// # Errors
/// If the store cannot be read.
pub fn chain(ca: &Ca, keys: &Keys) -> Result<Chain, ReadError> {
    ca.db.read(|view| Chain::read(view, keys))
}

/// Makes the next fleet key in a file and has it sign from now on; returns its record.
///
/// # Errors
/// See [`ChangeError`]: nothing was changed then.
pub async fn change(
    ca: &Arc<Ca>,
    actor: &Actor,
    reason: Reason<'_>,
) -> Result<KeyRecord, ChangeError> {
    change_in(ca, actor, reason, Place::FILE).await
}

/// The same, with the next key in this place: made there, or found.
///
/// # Errors
/// As [`change`].
pub async fn change_in(
    ca: &Arc<Ca>,
    actor: &Actor,
    reason: Reason<'_>,
    place: Place,
) -> Result<KeyRecord, ChangeError> {
    let keys = ca.keys();
    let old = keys.fleet.current_held().clone();
    let now_unix = ca.clock.now().unix_timestamp();
    let number = 1 + keys
        .fleet
        .all()
        .map(|held| held.record().number)
        .max()
        .unwrap_or(0);
    let shared = Arc::clone(ca);
    let public =
        tokio::task::spawn_blocking(move || shared.key_room.make_in(Purpose::Fleet, number, place))
            .await
            .expect("making a key does not panic")?;
    let link = match reason {
        Reason::Compromise(_) => None,
        Reason::Rotation(_) => {
            let succession = Succession {
                // In step with the clock: after a restore still above every number that a machine has followed (R2).
                number: u64::try_from(now_unix)
                    .unwrap_or(0)
                    .max(chain(ca, &keys)?.highest() + 1)
                    .min(Bundle::MAX_NUMBER),
                old: old.key().clone(),
                new: public.clone(),
            };
            let signed = succession.sign(&SigningKey(keys.fleet.current().as_ref()))?;
            Some((succession.number, signed))
        }
    };
    let committed = commit(ca, actor, &keys, &public, number, link, reason).await;
    // Also where it is not known how the commit ended: what the store says counts.
    ca.key_room.refresh(&ca.db)?;
    let record = committed?;
    ca.fleet_changed.notify_one();
    Ok(record)
}

async fn commit(
    ca: &Arc<Ca>,
    actor: &Actor,
    keys: &Keys,
    public: &PublicKey,
    number: u32,
    link: Option<(u64, Signed)>,
    reason: Reason<'_>,
) -> Result<KeyRecord, ChangeError> {
    let at = unix_ms(ca.clock.now());
    let now_unix = at / 1000;
    let (revision, actor) = (keys.revision(), actor.clone());
    let old = KeyRecord {
        life: match link {
            Some(_) => Life::Retiring,
            None => Life::Compromised,
        },
        signed_until_unix: Some(now_unix),
        // No machine is told to trust it any more: what leads on from it is all that it is good for.
        left_unix: Some(now_unix),
        ..keys.fleet.current_held().record().clone()
    };
    // Nothing leads on from a key that a lost one came after; and they lay in one folder with it.
    let with_it: Vec<KeyRecord> = match link {
        Some(_) => Vec::new(),
        None => keys
            .fleet
            .retiring()
            .iter()
            .map(|held| KeyRecord {
                life: Life::Compromised,
                ended_unix: Some(now_unix),
                ..held.record().clone()
            })
            .collect(),
    };
    let new = KeyRecord {
        life: Life::Current,
        signs_since_unix: Some(now_unix),
        ..KeyRecord::next(Purpose::Fleet, number, public, now_unix)
    };
    let (old_print, new_print) = (
        keys.fleet.current_held().fingerprint().to_owned(),
        fingerprint(public),
    );
    let made = new.clone();
    let (plan, why) = match reason {
        Reason::Rotation(plan) => (plan.cloned(), String::new()),
        Reason::Compromise(why) => (None, why.to_owned()),
    };
    ca.db
        .write_async(move |txn| {
            if txn.revision(TableGroup::Keys)? != revision {
                return Err(ChangeError::Overtaken);
            }
            record::put(txn, &old);
            for one in &with_it {
                record::put(txn, one);
            }
            record::put(txn, &new);
            let change = match &link {
                Some((number, signed)) => {
                    let row = SuccessionRecord {
                        object: String::from_utf8_lossy(signed.object()).into_owned(),
                        signature: signed.signature().to_owned(),
                    };
                    let key = [ROW, &number.to_be_bytes()].concat();
                    txn.put_json(Table::Keys, key, &row);
                    format!("signs from now on; {old_print} named it, in succession {number}")
                }
                None => {
                    record::end_rotation(txn, Purpose::Fleet);
                    let theirs = "may be somebody else's, and names nobody";
                    let why = if why.is_empty() { "" } else { ": " }.to_owned() + &why;
                    format!("signs from now on; {old_print} {theirs}{why}")
                }
            };
            if let Some(plan) = &plan {
                record::put_rotation(txn, Purpose::Fleet, plan);
            }
            txn.record(
                at,
                &actor,
                &Event::CaKeyChanged {
                    key: new.name(),
                    fingerprint: new_print.clone(),
                    change,
                },
            );
            Ok(())
        })
        .await
        .map_err(|error| match error {
            WriteError::Refused(error) => error,
            WriteError::Store(error) => ChangeError::Store(error),
        })?;
    Ok(made)
}
