//! The KRL: built from the store, judged by OpenSSH's own parser in both directions, then published (R5).

mod canaries;
mod check;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ca_machine::KrlParcel;
use ssh_krl::{CaScope, KrlBuilder};

pub use canaries::whole;
use canaries::{Canaries, canaries};
use check::check;
pub use check::openssh_says;

use crate::{
    ca::{Ca, sha256_hex, unix_ms},
    issue::{
        self,
        probe::{OwnError, REVOKED_KEY_ID},
    },
    keys::{Keys, KeysError, Life, Purpose},
    ledger::{Actor, Event},
    records::{CA, CaRecord, KRL_CURRENT, KrlRecord, RevocationRecord, Revoked, number},
    recovery,
    signer::SigningKey,
    store::{KeyRange, Read, ReadError, StoreError, Table},
};

/// A KRL cannot be published. The last one stays in force.
#[derive(Debug, thiserror::Error)]
pub enum KrlError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A canary cannot be issued.
    #[error("a canary for the KRL cannot be issued: {0}")]
    Canary(#[from] OwnError),
    /// The CA's own keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// An entry cannot stand in a KRL.
    #[error("the revocation of {what} cannot stand in a KRL: {why}")]
    Entry {
        /// Which.
        what: String,
        /// Why.
        why: String,
    },
    /// It cannot be encoded or signed.
    #[error("the KRL cannot be made: {0}")]
    Make(String),
    /// OpenSSH's parser does not see in it what was meant.
    #[error("the new KRL is not right and was not published: {0}; the last one stays in force")]
    Check(String),
}

impl From<ReadError> for KrlError {
    fn from(error: ReadError) -> Self {
        Self::Store(error.into())
    }
}

/// The KRL in force, rebuilt if a revocation came or an entry may leave. One build at a time.
///
/// # Errors
/// See [`KrlError`].
pub async fn current(ca: &Ca) -> Result<KrlRecord, KrlError> {
    newer_than(ca, None).await
}

/// The KRL in force, made anew if a machine has one that is newer, or another of the same version: as after a restore.
///
/// # Errors
/// See [`KrlError`].
pub async fn newer_than(ca: &Ca, seen: Option<(u64, &str)>) -> Result<KrlRecord, KrlError> {
    let _one_at_a_time = ca.publishing.lock().await;
    let now = ca.clock.now().unix_timestamp();
    let keys = ca.key_room.at(&ca.db.snapshot()?)?;
    let canaries = canaries(ca, &keys).await?;
    let view = ca.db.snapshot()?;
    let old: Option<KrlRecord> = view.get_json(Table::Krl, KRL_CURRENT)?;
    let meta: CaRecord = view
        .get_json(Table::Meta, CA)?
        .expect("`init` wrote the CA's record in the first transaction");
    let next = meta.next_revocation;
    let floor = recovery::record(&view)?.map_or(0, |restored| restored.krl_floor);
    let mut entries = Vec::new();
    for (key, record) in
        view.scan_json::<RevocationRecord>(Table::Revocations, &KeyRange::all(), usize::MAX)?
    {
        entries.push((number(Table::Revocations, &key)?, record));
    }
    drop(view);
    let left = |record: &RevocationRecord| {
        record.until_unix.is_some_and(|until| until <= now) || is_of_nobody(&keys, &record.what)
    };
    if let Some(old) = &old
        && old.covers == next
        && old.version > floor
        && old.ca_keys == canaries.ca_keys
        && !entries.iter().any(|(_, record)| left(record))
        && seen.is_none_or(|(version, sha256)| {
            version < old.version || version == old.version && sha256 == old.krl_sha256
        })
    {
        return Ok(old.clone());
    }
    let (gone, kept): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(_, record)| left(record));
    let kept: Vec<RevocationRecord> = kept.into_iter().map(|(_, record)| record).collect();
    let last_version = old
        .as_ref()
        .map_or(0, |old| old.version)
        .max(seen.map_or(0, |(version, _)| version))
        .max(floor);
    let stamp = Stamp {
        // The version follows the clock and never falls: after a restore it is still above what any machine has (R2, S7).
        version: u64::try_from(now).unwrap_or(0).max(last_version + 1),
        covers: next,
        now: u64::try_from(now).unwrap_or(0),
    };
    let record = build(&keys, &kept, &canaries, stamp)?;
    let (at, stored) = (unix_ms(ca.clock.now()), record.clone());
    let gone: Vec<u64> = gone.into_iter().map(|(key, _)| key).collect();
    let entries = kept.len() as u64;
    ca.db
        .write_async(move |txn| {
            txn.put_json(Table::Krl, KRL_CURRENT, &stored);
            for key in &gone {
                txn.delete(Table::Revocations, key.to_be_bytes());
            }
            txn.record(
                at,
                &Actor::Server,
                &Event::KrlBuilt {
                    version: stored.version,
                    sha256: stored.krl_sha256.clone(),
                    entries,
                },
            );
            Ok::<_, ReadError>(())
        })
        .await
        .map_err(|error| match issue::store_error(error) {
            issue::IssueError::Store(error) => KrlError::Store(error),
            other => KrlError::Make(other.to_string()),
        })?;
    Ok(record)
}

/// What tells one KRL from another.
struct Stamp {
    version: u64,
    covers: u64,
    now: u64,
}

/// Was it signed by a key that nobody trusts any longer? Then nobody needs to be told.
fn is_of_nobody(keys: &Keys, what: &Revoked) -> bool {
    let (Revoked::Serial { ca, .. } | Revoked::Earlier { ca, .. }) = what else {
        return false;
    };
    [&keys.user_ca, &keys.host_ca].into_iter().any(|ring| {
        let held = ring.find(ca);
        held.is_some_and(|held| held.record().life == Life::Retired)
    })
}

fn build(
    keys: &Keys,
    entries: &[RevocationRecord],
    canaries: &Canaries,
    stamp: Stamp,
) -> Result<KrlRecord, KrlError> {
    let make = |error: &dyn std::fmt::Display| KrlError::Make(error.to_string());
    let scopes = Scopes::of(keys)?;
    let mut builder = KrlBuilder::new(stamp.version, stamp.now);
    // Each section has an entry from the first day: what is revoked later is never the first.
    for scope in scopes.users() {
        builder
            .revoke_key_id(scope, REVOKED_KEY_ID)
            .map_err(|error| make(&error))?;
    }
    for entry in entries {
        let wrong = |why: String| KrlError::Entry {
            what: entry.what.describe(),
            why,
        };
        match &entry.what {
            // Nobody knows by which of them somebody's certificates were signed, also those that the ledger lost.
            Revoked::KeyId(key_id) => {
                for scope in scopes.users() {
                    builder
                        .revoke_key_id(scope, key_id)
                        .map_err(|error| wrong(error.to_string()))?;
                }
            }
            Revoked::Serial { ca, serial } => {
                for scope in scopes.of_key(ca) {
                    builder
                        .revoke_serial(scope, *serial)
                        .map_err(|error| wrong(error.to_string()))?;
                }
            }
            Revoked::Earlier { ca, last } => {
                for scope in scopes.of_key(ca) {
                    builder
                        .revoke_serials(scope, 1..=*last)
                        .map_err(|error| wrong(error.to_string()))?;
                }
            }
            Revoked::Key(fingerprint) => {
                let hash = fingerprint
                    .parse::<ssh_key::Fingerprint>()
                    .ok()
                    .and_then(ssh_key::Fingerprint::sha256)
                    .ok_or_else(|| wrong("its fingerprint is no SHA-256".to_owned()))?;
                builder.revoke_key_sha256(hash);
            }
        }
    }
    let bytes = builder.build().encode().map_err(|error| make(&error))?;
    check(&bytes, entries, &scopes, canaries)?;
    let parcel = KrlParcel {
        version: stamp.version,
        issued_unix: stamp.now,
        revoked_canaries: canaries.revoked.clone(),
        good_canaries: canaries.good.clone(),
        krl: bytes.clone(),
    };
    let signed = parcel
        .sign(&SigningKey(keys.fleet.current().as_ref()))
        .map_err(|error| make(&error))?;
    Ok(KrlRecord {
        version: stamp.version,
        built_unix: i64::try_from(stamp.now).unwrap_or(0),
        covers: stamp.covers,
        ca_keys: canaries.ca_keys.clone(),
        krl: STANDARD.encode(&bytes),
        krl_sha256: sha256_hex(&bytes),
        parcel: STANDARD.encode(signed.object()),
        signature: signed.signature().to_owned(),
    })
}

/// The CA keys under which entries are filed (R4).
struct Scopes(Vec<Scope>);

struct Scope {
    purpose: Purpose,
    fingerprint: String,
    scope: CaScope,
}

impl Scopes {
    fn of(keys: &Keys) -> Result<Self, KrlError> {
        [&keys.user_ca, &keys.host_ca]
            .into_iter()
            .flat_map(|ring| ring.covered().map(|held| (ring.purpose(), held)))
            .map(|(purpose, held)| {
                let scope = CaScope::key(blob(held.key().key_data())?)
                    .map_err(|error| KrlError::Make(error.to_string()))?;
                Ok(Scope {
                    purpose,
                    fingerprint: held.fingerprint().to_owned(),
                    scope,
                })
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The section of each user CA key.
    fn users(&self) -> impl Iterator<Item = &CaScope> {
        let users = self.0.iter().filter(|one| one.purpose == Purpose::UserCa);
        users.map(|one| &one.scope)
    }

    /// The section of the key that signed; of a key that has none, every section: better twice than not at all.
    fn of_key(&self, fingerprint: &str) -> Vec<&CaScope> {
        let found: Vec<_> = self
            .0
            .iter()
            .filter(|one| one.fingerprint == fingerprint)
            .map(|one| &one.scope)
            .collect();
        if found.is_empty() {
            self.users().collect()
        } else {
            found
        }
    }
}

fn blob(key: &ssh_key::public::KeyData) -> Result<Vec<u8>, KrlError> {
    ssh_key::PublicKey::from(key.clone())
        .to_bytes()
        .map_err(|error| KrlError::Make(error.to_string()))
}
