//! After a restore: what is raised, what stays shut until an admin has looked, and what machines tell of the time in between (S7).
//!
//! A restored CA does not know what it did between the backup and its end. So, in one commit with its ledger entries: the instance epoch
//! rises, and with it every serial; every earlier serial is revoked, by one range for each CA key; every employee's epoch rises above
//! any that the lost CA can have given out; no TOTP step up to now counts any more; day sessions and invitations end. Then machines are
//! asked for the KRL that they hold, signed as it is, before ours is brought: what it revokes and ours does not is taken over.

pub mod merge;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use policies::{Email, MachineName};
use serde::{Deserialize, Serialize};
use ssh_key::{HashAlg, PublicKey};
use time::OffsetDateTime;

use crate::{
    admin::machine::HOST_CERTIFICATE_SECS,
    auth::totp,
    backup::{BackupError, NAMESPACE},
    ca::unix_ms,
    folder::Folder,
    init,
    keys::{Life, Purpose, record as lives},
    ledger::{Actor, Event},
    records::{CA, CANARY, CaRecord, Credentials, FleetRecord, Revoked, name},
    revoke::{self, Because, GRACE_SECS, KEEP_SECS},
    store::{KeyRange, Read, ReadError, Table, Txn},
};

/// The key of [`RecoveryRecord`] in table `meta`.
const RECORD: &[u8] = b"recovery";
/// The manifest of the backup that the store came from, with its signature.
const ORIGIN: &[u8] = b"recovery/origin";
/// Machines whose KRL was not read back yet: `recovery/unread/NAME`.
const UNREAD: &str = "recovery/unread/";
/// The highest generation that a machine was heard to have seen: `recovery/generation/NAME`.
const GENERATION: &str = "recovery/generation/";

/// How many uids are passed over: those that the lost CA may have given to people whom nobody remembers (P9).
const UID_MARGIN: u32 = 1000;

/// What is known of the last restore (table `meta`, key `recovery`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryRecord {
    /// When the backup was made.
    pub made_unix: i64,
    /// When it was put back.
    pub restored_unix: i64,
    /// How many entries its ledger had.
    pub entries: u64,
    /// The instance epoch since then.
    pub instance_epoch: u32,
    /// Has an admin looked? Until then nobody logs in, renews or enrols.
    pub open: bool,
    /// No KRL may have this version or a lower one.
    pub krl_floor: u64,
    /// How many revocations machines knew that the backup did not.
    pub merged: u64,
    /// People who were revoked in between, by what machines hold: suspended until an admin resumes them.
    pub suspended: BTreeSet<Email>,
    /// Keys of this CA that machines hold as revoked (`SHA256:…`).
    pub own_keys: BTreeSet<String>,
    /// CA keys that the lost CA had made since (`SHA256:…`): what they signed is refused.
    #[serde(default)]
    pub later_keys: BTreeSet<String>,
    /// Machines whose KRL could not be believed, and why.
    pub notes: Vec<String>,
}

/// Where the store came from (table `meta`, key `recovery/origin`).
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Origin {
    manifest: String,
    signature: String,
}

/// What a restore begins with.
#[derive(Debug, Clone)]
pub struct Beginning {
    /// The clock.
    pub now: OffsetDateTime,
    /// When the backup was made.
    pub made_unix: i64,
    /// How many ledger entries it has.
    pub entries: u64,
    /// Every CA key that may have signed, with how long its certificates live.
    pub ca_keys: Vec<CaKey>,
    /// The last uid that may be given.
    pub last_uid: u32,
    /// The backup's manifest.
    pub manifest: String,
    /// Its signature.
    pub signature: String,
}

/// A CA key by its public half.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaKey {
    /// `SHA256:…`.
    pub fingerprint: String,
    /// Whose certificates it signs.
    pub signs: Signs,
}

/// Whose certificates a CA key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signs {
    /// Employees'.
    Users,
    /// Machines'.
    Hosts,
}

/// What was begun.
#[derive(Debug, Clone, Copy)]
pub struct Started {
    /// The instance epoch from now on.
    pub instance_epoch: u32,
    /// How many machines are to be read.
    pub machines: usize,
}

/// The CA keys whose public halves lie in the folder.
///
/// # Errors
/// When the folder cannot be read, or there is none.
pub fn ca_keys(folder: &Folder) -> Result<Vec<CaKey>, BackupError> {
    let mut found = Vec::new();
    for name in folder.list("keys")? {
        let signs = match name.strip_suffix(".pub") {
            Some(name) if name.starts_with("user_ca") => Signs::Users,
            Some(name) if name.starts_with("host_ca") => Signs::Hosts,
            _ => continue,
        };
        let text = folder.read(&format!("keys/{name}"))?;
        let key = std::str::from_utf8(&text)
            .ok()
            .and_then(|text| PublicKey::from_openssh(text).ok())
            .ok_or_else(|| BackupError::Damaged(format!("keys/{name} is no public key")))?;
        found.push(CaKey {
            fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
            signs,
        });
    }
    if !found.iter().any(|key| key.signs == Signs::Users) {
        return Err(BackupError::Damaged(
            "the user CA's public key is missing".to_owned(),
        ));
    }
    Ok(found)
}

/// Raises everything that must never go back; one commit.
///
/// # Errors
/// If the store cannot be read.
pub fn begin(txn: &mut Txn<'_>, beginning: &Beginning) -> Result<Started, ReadError> {
    let now = beginning.now.unix_timestamp();
    let mut ca: CaRecord = txn
        .get_json(Table::Meta, CA)?
        .expect("a backup is made of a store that `init` wrote");
    ca.instance_epoch =
        (ca.instance_epoch.saturating_add(1)).max(init::instance_epoch(beginning.now));
    ca.next_uid += UID_MARGIN.min(beginning.last_uid.saturating_sub(ca.next_uid) / 2);
    txn.put_json(Table::Meta, CA, &ca);
    let epoch = ca.instance_epoch;

    revoke_earlier(txn, beginning, epoch)?;
    // They would be revoked with all the others: new ones are made under the new epoch.
    clear(txn, Table::Krl, &KeyRange::prefix(CANARY))?;
    raise_people(txn, epoch, now)?;
    for table in [Table::Sessions, Table::AdminSessions, Table::Invitations] {
        clear(txn, table, &KeyRange::all())?;
    }
    let machines = forget_machines(txn)?;

    let record = RecoveryRecord {
        made_unix: beginning.made_unix,
        restored_unix: now,
        entries: beginning.entries,
        instance_epoch: epoch,
        open: false,
        krl_floor: 0,
        merged: 0,
        suspended: BTreeSet::new(),
        own_keys: BTreeSet::new(),
        later_keys: BTreeSet::new(),
        notes: Vec::new(),
    };
    txn.put_json(Table::Meta, RECORD, &record);
    let origin = Origin {
        manifest: beginning.manifest.clone(),
        signature: beginning.signature.clone(),
    };
    txn.put_json(Table::Meta, ORIGIN, &origin);
    let at = unix_ms(beginning.now);
    txn.record(
        at,
        &Actor::Server,
        &Event::Restored {
            made_unix_secs: beginning.made_unix,
            entries: beginning.entries,
            machines: machines as u64,
        },
    );
    txn.record(
        at,
        &Actor::Server,
        &Event::InstanceEpochRaised {
            instance_epoch: epoch,
            reason: "restored from a backup: every employee's epoch is at least this, and every earlier serial is revoked".to_owned(),
        },
    );
    Ok(Started {
        instance_epoch: epoch,
        machines,
    })
}

/// One range of serials for each CA key: also those that were issued after the backup, which nobody remembers.
fn revoke_earlier(txn: &mut Txn<'_>, beginning: &Beginning, epoch: u32) -> Result<(), ReadError> {
    let mut keys = beginning.ca_keys.clone();
    for life in lives::all(txn)? {
        let signs = match life.purpose {
            Purpose::UserCa => Signs::Users,
            Purpose::HostCa => Signs::Hosts,
            Purpose::Fleet => continue,
        };
        let Ok(key) = PublicKey::from_openssh(&life.public_key) else {
            continue;
        };
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        if life.life == Life::Retired {
            // Nobody trusts it any longer.
            keys.retain(|key| key.fingerprint != fingerprint);
        } else if !keys.iter().any(|key| key.fingerprint == fingerprint) {
            keys.push(CaKey { fingerprint, signs });
        }
    }
    for key in &keys {
        let keep_secs = match key.signs {
            // The lost CA may have raised the company's ceiling since.
            Signs::Users => KEEP_SECS,
            Signs::Hosts => HOST_CERTIFICATE_SECS + GRACE_SECS,
        };
        let because = Because {
            actor: Actor::Server,
            at_unix_ms: unix_ms(beginning.now),
            reason: "restored from a backup".to_owned(),
            keep_secs,
        };
        let what = Revoked::Earlier {
            ca: key.fingerprint.clone(),
            last: (u64::from(epoch) << 32) - 1,
        };
        revoke::add(txn, what, &because)?;
    }
    Ok(())
}

fn raise_people(txn: &mut Txn<'_>, epoch: u32, now_unix: i64) -> Result<(), ReadError> {
    // A code may be accepted one step ahead of the clock: that one counts as used too (A3).
    let step = totp::step_at(now_unix) + 1;
    for (key, mut employee) in
        txn.scan_json::<policies::Employee>(Table::Employees, &KeyRange::all(), usize::MAX)?
    {
        employee.epoch = (employee.epoch + 1).max(u64::from(epoch));
        txn.put_json(Table::Employees, key, &employee);
    }
    for (key, mut credentials) in
        txn.scan_json::<Credentials>(Table::Credentials, &KeyRange::all(), usize::MAX)?
    {
        credentials.last_totp_step = credentials.last_totp_step.max(step);
        txn.put_json(Table::Credentials, key, &credentials);
    }
    Ok(())
}

fn clear(txn: &mut Txn<'_>, table: Table, range: &KeyRange) -> Result<(), ReadError> {
    let all = txn.scan(table, range, crate::store::Direction::Forward, usize::MAX)?;
    for (key, _) in all {
        txn.delete(table, key);
    }
    Ok(())
}

/// What was heard of machines is of another time; each is read before anything is brought to it, and gets a new host certificate.
fn forget_machines(txn: &mut Txn<'_>) -> Result<usize, ReadError> {
    for table in [Table::Seen, Table::Checks] {
        clear(txn, table, &KeyRange::all())?;
    }
    let machines = txn.scan_json::<FleetRecord>(Table::Fleet, &KeyRange::all(), usize::MAX)?;
    let count = machines.len();
    for (key, mut record) in machines {
        let name: MachineName = name(Table::Fleet, &key)?;
        record.host_certificate_until_unix = 0;
        txn.put_json(Table::Fleet, key, &record);
        txn.put(Table::Meta, unread_key(&name), b"1");
    }
    Ok(count)
}

fn unread_key(machine: &MachineName) -> Vec<u8> {
    format!("{UNREAD}{machine}").into_bytes()
}

/// What is known of the last restore; `None` for a CA that was never restored.
///
/// # Errors
/// If the store cannot be read.
pub fn record<R: Read>(source: &R) -> Result<Option<RecoveryRecord>, ReadError> {
    source.get_json(Table::Meta, RECORD)
}

/// Is issuance shut until an admin has looked?
///
/// # Errors
/// If the store cannot be read.
pub fn is_shut<R: Read>(source: &R) -> Result<bool, ReadError> {
    Ok(record(source)?.is_some_and(|record| !record.open))
}

/// An admin has looked: issuance opens. The caller records it.
pub fn open(txn: &mut Txn<'_>, mut record: RecoveryRecord) {
    record.open = true;
    txn.put_json(Table::Meta, RECORD, &record);
}

/// The lowest epoch that may be given to somebody new: above any that the lost CA can have given to a person of that name.
///
/// # Errors
/// If the store cannot be read.
pub fn first_epoch<R: Read>(source: &R) -> Result<u64, ReadError> {
    Ok(record(source)?.map_or(1, |record| u64::from(record.instance_epoch)))
}

/// Machines whose KRL was not read back yet.
///
/// # Errors
/// If the store cannot be read.
pub fn unread<R: Read>(source: &R) -> Result<Vec<MachineName>, ReadError> {
    let all = source.scan(
        Table::Meta,
        &KeyRange::prefix(UNREAD),
        crate::store::Direction::Forward,
        usize::MAX,
    )?;
    let mut names = Vec::with_capacity(all.len());
    for (key, _) in all {
        let machine: MachineName = name(Table::Meta, &key[UNREAD.len()..])?;
        // One that was forgotten meanwhile is asked no more.
        if source.contains(Table::Fleet, machine.as_str().as_bytes())? {
            names.push(machine);
        }
    }
    Ok(names)
}

/// Must this machine be read before anything is brought to it?
///
/// # Errors
/// If the store cannot be read.
pub fn is_unread<R: Read>(source: &R, machine: &MachineName) -> Result<bool, ReadError> {
    source.contains(Table::Meta, &unread_key(machine))
}

/// The generation that a machine was heard to have seen; its next one must be higher (R2).
///
/// # Errors
/// If the store cannot be read.
pub fn generation_floor<R: Read>(source: &R, machine: &MachineName) -> Result<u64, ReadError> {
    let key = format!("{GENERATION}{machine}");
    Ok(source.get_json(Table::Meta, key.as_bytes())?.unwrap_or(0))
}

/// The store came from a backup that these keys' ledger key did not sign.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    /// The store.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Another CA's, or somebody made it up.
    #[error(
        "this data folder was restored from a backup that the ledger's key in {0} did not sign: the keys belong to another CA, or \
         somebody made the backup up; nothing is served"
    )]
    Foreign(PathBuf),
}

/// Does the store come from a backup of the CA whose keys these are? Whoever can write to a place where backups lie must not be able to hand
/// the CA another store.
///
/// # Errors
/// When it does not.
pub fn check_origin<R: Read>(
    source: &R,
    ledger_key: &PublicKey,
    keys: &Path,
) -> Result<(), OriginError> {
    let Some(origin) = source.get_json::<Origin>(Table::Meta, ORIGIN)? else {
        return Ok(());
    };
    let holds = ssh_key::SshSig::from_pem(&origin.signature).is_ok_and(|signature| {
        ledger_key
            .verify(NAMESPACE, origin.manifest.as_bytes(), &signature)
            .is_ok()
    });
    if holds {
        Ok(())
    } else {
        Err(OriginError::Foreign(keys.to_owned()))
    }
}
