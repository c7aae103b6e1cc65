//! The KRL that a machine holds is read back and taken over, before ours is brought to it.
//!
//! A machine may lie: only a parcel with the fleet key's signature counts, and what a machine says of itself moves its own numbers alone.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ca_machine::{
    Bundle, KrlParcel, Namespace, Report, Request, Signed, Target, report::Event as MachineEvent,
};
use policies::{Email, MachineName, Status};
use ssh_key::{Fingerprint, HashAlg, public::KeyData};
use ssh_krl::{CaScope, Entry, Krl};

use super::{GENERATION, RECORD, RecoveryRecord, record, unread_key};
use crate::{
    break_glass,
    ca::{Ca, unix_ms},
    fleet::{
        deliver::{Failure, limits},
        kept::Kept,
    },
    issue::store_error,
    ledger::{Actor, Event},
    records::{RevocationRecord, Revoked},
    revoke::{self, Because, KEEP_SECS},
    store::{KeyRange, Read, ReadError, Table, Txn},
};

/// How much of a KRL is asked for at once, in bytes: an answer has room for no more than a MiB.
const PIECE_BYTES: u64 = 512 * 1024;

/// The longest KRL that is read, in bytes: no applier takes a longer one.
const MAX_KRL_BYTES: u64 = 32 * 1024 * 1024;

/// The most notes that are kept.
const MAX_NOTES: usize = 100;

/// How far a version may be ahead of the clock, in seconds: a machine cannot use the numbers up.
const MAX_AHEAD_SECS: u64 = 10 * 365 * 24 * 3600;

/// Reads what `machine` holds and takes it over; from then on it may be spoken to as always.
///
/// # Errors
/// When it cannot be asked: it stays unread, and nothing is brought to it.
pub(crate) async fn read_back(
    ca: &Ca,
    kept: &Kept,
    machine: &MachineName,
    target: &Target,
) -> Result<(), Failure> {
    let (held, generation) = ask(ca, kept, machine, target).await?;
    let found = match held {
        Held::Nothing => Ok(None),
        Held::Unsigned => Err("it holds no signature with its KRL".to_owned()),
        Held::Unshown => Err(
            "its applier is of before KRLs could be read back: what it revokes was not taken over"
                .to_owned(),
        ),
        Held::Parcel { object, signature } => genuine(ca, object, signature).map(Some),
    };
    let found = Found {
        machine: machine.clone(),
        generation: generation.min(Bundle::MAX_NUMBER / 2),
        own_keys: own_keys(ca),
        parcel: found,
        at_unix_ms: unix_ms(ca.clock.now()),
    };
    ca.db
        .write_async(move |txn| take_over(txn, &found))
        .await
        .map_err(|error| Failure::new(store_error(error).to_string()))?;
    // Its bundle may need a higher number now, and others wait for the KRL.
    ca.fleet_changed.notify_one();
    Ok(())
}

enum Held {
    /// It never had one.
    Nothing,
    /// From an applier of before signatures were kept.
    Unsigned,
    /// The applier does not know the question.
    Unshown,
    Parcel {
        object: Vec<u8>,
        signature: String,
    },
}

/// Asks piece by piece: the answer, and the generation that the machine has seen.
async fn ask(
    ca: &Ca,
    kept: &Kept,
    machine: &MachineName,
    target: &Target,
) -> Result<(Held, u64), Failure> {
    let mut krl = Vec::new();
    loop {
        let request = Request::Krl {
            from: krl.len() as u64,
            most: PIECE_BYTES,
        };
        let report = kept
            .ask(machine, target, &request, &limits(ca))
            .await
            .map_err(|error| Failure::unanswered(&error))?;
        if is_older(&report) {
            // It is brought up to date by the bundle, which comes after this; that one has to be above what it has seen.
            let report = kept
                .ask(machine, target, &Request::Report, &limits(ca))
                .await
                .map_err(|error| Failure::unanswered(&error))?;
            return Ok((Held::Unshown, generation_of(&report)));
        }
        if let Some((code, detail)) = report.refusal() {
            return Err(Failure::new(format!(
                "it refused to show its KRL ({code}): {detail}"
            )));
        }
        let generation = generation_of(&report);
        let Some((size, manifest, signature, bytes)) = piece(&report) else {
            return Ok((Held::Nothing, generation));
        };
        if size > MAX_KRL_BYTES {
            return Err(Failure::new("its KRL is too long to be one"));
        }
        let nothing_new = bytes.is_empty();
        krl.extend(bytes);
        if krl.len() as u64 >= size || nothing_new {
            let object = [manifest.as_bytes(), &krl].concat();
            let held = if signature.is_empty() {
                Held::Unsigned
            } else {
                Held::Parcel { object, signature }
            };
            return Ok((held, generation));
        }
    }
}

/// Is the applier there older than the question? It would get no KRL ever again, nor the bundle that brings it up to date.
fn is_older(report: &Report) -> bool {
    matches!(report.refusal(), Some(("bad-request", _)))
}

fn generation_of(report: &Report) -> u64 {
    report.state().map_or(0, |state| state.generation)
}

/// The piece of a KRL in an answer: its whole length, the parcel's manifest, its signature, the bytes.
fn piece(report: &Report) -> Option<(u64, String, String, Vec<u8>)> {
    report.events.iter().find_map(|event| match event {
        MachineEvent::Krl {
            size,
            manifest,
            signature,
            piece,
        } => {
            let text = |base64: &str| {
                let bytes = STANDARD.decode(base64).ok()?;
                String::from_utf8(bytes).ok()
            };
            Some((
                *size,
                text(manifest)?,
                text(signature)?,
                STANDARD.decode(piece).ok()?,
            ))
        }
        _ => None,
    })
}

/// The parcel, if the fleet key signed it.
fn genuine(ca: &Ca, object: Vec<u8>, signature: String) -> Result<(u64, Krl), String> {
    let keys = ca.keys();
    let fleet_keys: Vec<_> = keys
        .fleet
        .believed()
        .map(|held| held.key().clone())
        .collect();
    let signed = Signed::from_parts(Namespace::Krl, object, signature, &fleet_keys)
        .map_err(|_| {
            "its KRL was signed by no fleet key that this backup knows, and what it revokes was not taken over; if the fleet key was replaced \
             since, tell the machine anew whom to believe: `bootstrap add-machine NAME --resync`"
                .to_owned()
        })?;
    let parcel = KrlParcel::decode(signed.object()).map_err(|error| error.to_string())?;
    let krl = Krl::decode(&parcel.krl).map_err(|error| error.to_string())?;
    Ok((parcel.version, krl))
}

/// What came of one machine.
struct Found {
    machine: MachineName,
    generation: u64,
    own_keys: Vec<String>,
    parcel: Result<Option<(u64, Krl)>, String>,
    at_unix_ms: i64,
}

fn own_keys(ca: &Ca) -> Vec<String> {
    let print = |key: &KeyData| key.fingerprint(HashAlg::Sha256).to_string();
    ca.keys().own().map(print).collect()
}

fn take_over(txn: &mut Txn<'_>, found: &Found) -> Result<(), ReadError> {
    let Some(mut record) = record(txn)? else {
        return Ok(());
    };
    if !txn.contains(Table::Meta, &unread_key(&found.machine))? {
        return Ok(());
    }
    let before = record.clone();
    match &found.parcel {
        Ok(None) => {}
        Ok(Some((version, krl))) => {
            let now = u64::try_from(found.at_unix_ms / 1000).unwrap_or(0);
            if *version <= now.saturating_add(MAX_AHEAD_SECS) {
                record.krl_floor = record.krl_floor.max(*version);
            }
            let because = because(found);
            // Nobody has its private half any more, and machines trust it until their next bundle. No entry of this CA's KRLs is filed
            // under it, so without this what was revoked under it would be accepted again (R4).
            for key in later_keys(krl, &found.own_keys) {
                if record.later_keys.insert(key.clone()) {
                    revoke::add(txn, Revoked::Key(key), &because)?;
                }
            }
            for what in news(txn, krl, &record)? {
                add(txn, &mut record, what, found, &because)?;
            }
        }
        Err(why) if record.notes.len() < MAX_NOTES => {
            record.notes.push(format!("{}: {why}", found.machine));
        }
        Err(_) => {}
    }
    txn.delete(Table::Meta, unread_key(&found.machine));
    let key = format!("{GENERATION}{}", found.machine);
    txn.put_json(Table::Meta, key, &found.generation);
    txn.put_json(Table::Meta, RECORD, &record);
    txn.record(
        found.at_unix_ms,
        &Actor::Machine {
            name: found.machine.clone(),
        },
        &Event::KrlReadBack {
            machine: found.machine.clone(),
            version: found.parcel.as_ref().map_or(0, |parcel| {
                parcel.as_ref().map_or(0, |(version, _)| *version)
            }),
            merged: record.merged - before.merged,
            believed: found.parcel.is_ok(),
        },
    );
    Ok(())
}

fn because(found: &Found) -> Because {
    Because {
        actor: Actor::Machine {
            name: found.machine.clone(),
        },
        at_unix_ms: found.at_unix_ms,
        reason: format!("read back from {} after a restore", found.machine),
        keep_secs: KEEP_SECS,
    }
}

/// CA keys that the KRL has entries for and this CA does not know: they were made since the backup.
fn later_keys(krl: &Krl, own_keys: &[String]) -> BTreeSet<String> {
    krl.entries()
        .filter_map(|entry| match entry {
            Entry::KeyId(scope, _) | Entry::Serials(scope, _) => fingerprint(scope),
            _ => None,
        })
        .filter(|key| !own_keys.contains(key))
        .collect()
}

/// What the KRL revokes and the store does not. Serials of before the restore are covered by the ranges.
fn news(txn: &Txn<'_>, krl: &Krl, record: &RecoveryRecord) -> Result<Vec<Revoked>, ReadError> {
    let known: BTreeSet<Revoked> = txn
        .scan_json::<RevocationRecord>(Table::Revocations, &KeyRange::all(), usize::MAX)?
        .into_iter()
        .map(|(_, record)| record.what)
        .collect();
    let earlier = u64::from(record.instance_epoch) << 32;
    let mut news = BTreeSet::new();
    for entry in krl.entries() {
        match entry {
            Entry::KeyId(_, id) => {
                // The canary's is in every KRL.
                if let Ok(id) = std::str::from_utf8(id)
                    && id != crate::issue::probe::REVOKED_KEY_ID
                {
                    news.insert(Revoked::KeyId(id.to_owned()));
                }
            }
            Entry::Serials(scope, run) if run.first() >= earlier && run.count() == 1 => {
                if let Some(ca) = fingerprint(scope) {
                    news.insert(Revoked::Serial {
                        ca,
                        serial: run.first(),
                    });
                }
            }
            Entry::Key(blob) => {
                news.insert(Revoked::Key(sha256(blob)));
            }
            Entry::KeySha256(hash) => {
                news.insert(Revoked::Key(Fingerprint::Sha256(*hash).to_string()));
            }
            _ => {}
        }
    }
    Ok(news
        .into_iter()
        .filter(|what| !known.contains(what))
        .collect())
}

fn fingerprint(scope: &CaScope) -> Option<String> {
    scope.key_blob().map(sha256)
}

fn sha256(blob: &[u8]) -> String {
    use sha2::Digest as _;
    Fingerprint::Sha256(sha2::Sha256::digest(blob).into()).to_string()
}

fn add(
    txn: &mut Txn<'_>,
    record: &mut RecoveryRecord,
    what: Revoked,
    found: &Found,
    because: &Because,
) -> Result<(), ReadError> {
    match &what {
        // It would make every KRL of this CA refuse its own good canary: an admin must know, and make new keys.
        Revoked::Key(key) if found.own_keys.contains(key) => {
            record.own_keys.insert(key.clone());
            return Ok(());
        }
        Revoked::KeyId(id) => {
            let email = id.rsplit_once('/').map(|(email, _)| email.parse::<Email>());
            if let Some(Ok(email)) = email {
                suspend(txn, record, &email, because)?;
            }
        }
        Revoked::Key(key) => break_glass::end(txn, key, because.at_unix_ms / 1000)?,
        Revoked::Serial { .. } | Revoked::Earlier { .. } => {}
    }
    revoke::add(txn, what, because)?;
    record.merged += 1;
    Ok(())
}

/// Somebody was revoked since the backup, and nobody remembers why: their old password and second factor are in force again, so their
/// login is closed.
fn suspend(
    txn: &mut Txn<'_>,
    record: &mut RecoveryRecord,
    email: &Email,
    because: &Because,
) -> Result<(), ReadError> {
    let key = email.as_str().as_bytes();
    let Some(mut employee) = txn.get_json::<policies::Employee>(Table::Employees, key)? else {
        return Ok(());
    };
    if record.suspended.contains(email) || employee.status != Status::Active {
        return Ok(());
    }
    employee.status = Status::Suspended;
    txn.put_json(Table::Employees, key, &employee);
    record.suspended.insert(email.clone());
    txn.record(
        because.at_unix_ms,
        &because.actor,
        &Event::EmployeeSuspended {
            email: email.clone(),
            epoch: employee.epoch,
            reason: because.reason.clone(),
        },
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s7_an_applier_that_does_not_know_the_question_is_told_from_one_that_refuses() {
        let refused = |code: &str| {
            let line =
                format!("{{\"step\":\"refused\",\"code\":\"{code}\",\"detail\":\"so it is\"}}\n");
            is_older(&Report::parse(line.as_bytes()).expect("an answer with its end"))
        };
        assert!(refused("bad-request"));
        assert!(!refused("busy"));
        assert!(!refused("failed"));
    }

    #[test]
    fn r4_s7_a_ca_key_that_the_backup_does_not_know_is_revoked_itself() {
        let blob = |byte: u8| {
            let key = ssh_key::public::Ed25519PublicKey([byte; 32]);
            ssh_key::PublicKey::from(KeyData::Ed25519(key))
                .to_bytes()
                .expect("a key has bytes")
        };
        let scope = |byte| CaScope::key(blob(byte)).expect("a key");
        let mut builder = ssh_krl::KrlBuilder::new(7, 7);
        builder
            .revoke_key_id(&scope(1), "canary/revoked")
            .expect("an entry");
        builder
            .revoke_key_id(&scope(2), "canary/revoked")
            .expect("an entry");
        builder.revoke_serial(&scope(3), 9).expect("an entry");
        let krl = Krl::decode(&builder.build().encode().expect("a KRL")).expect("a KRL");
        let own = vec![sha256(&blob(1))];
        let expected: BTreeSet<String> = [sha256(&blob(2)), sha256(&blob(3))].into();
        assert_eq!(later_keys(&krl, &own), expected);
    }
}
