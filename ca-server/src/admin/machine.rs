//! Machines: prepared for bootstrap, proven, moved, enforced, removed.

mod anew;
mod change;
mod host_certificate;
mod prepare;
mod probe;
pub mod remove;

use std::{collections::BTreeMap, sync::Arc};

use ca_api::{ApiError, ErrorCode};
use policies::{AccountName, MachineName, Policy};
use ssh_key::{HashAlg, PublicKey};

pub use self::{
    change::{edit, enforce, put, set},
    host_certificate::{HOST_CERTIFICATE_SECS, new_host_certificate, renew_host_certificate},
    prepare::prepare,
    probe::probe,
};
use super::{
    change::{ChangeError, Editing, policy_change, store_error},
    unknown,
};
use crate::{
    ca::{Ca, unix_ms},
    fleet::wanted::{self, Sources},
    ledger::{Actor, Event},
    records::{
        Compiled, FleetRecord, MachineStatus, NameRecord, Reach, SeenRecord, fleet, name_key,
    },
    store::{Read, ReadError, Revision, Table},
};

/// A machine's record.
///
/// # Errors
/// If the store cannot be read.
pub fn record(ca: &Ca, machine: &MachineName) -> Result<Option<FleetRecord>, ApiError> {
    ca.db
        .read(|view| view.get_json(Table::Fleet, machine.as_str().as_bytes()))
        .map_err(|error: ReadError| store_error(&error.into()))
}

/// Stores that a machine was proven.
///
/// # Errors
/// When the store fails.
pub async fn managed(
    ca: &Arc<Ca>,
    actor: Actor,
    machine: &MachineName,
    seen: SeenRecord,
    reach: Reach,
) -> Result<(), ApiError> {
    let (name, at) = (machine.clone(), unix_ms(ca.clock.now()));
    ca.db
        .write_async(move |txn| {
            let key = name.as_str().as_bytes();
            let mut record: FleetRecord = txn
                .get_json(Table::Fleet, key)?
                .ok_or_else(|| unknown("machine", &name, "machine"))?;
            record.status = MachineStatus::Managed;
            if let Some(pull) = &mut record.pull {
                pull.reach = reach;
            }
            txn.put_json(Table::Fleet, key, &record);
            txn.unrecorded().put_json(Table::Seen, key, &seen);
            txn.record(
                at,
                &actor,
                &Event::MachineConfirmed {
                    machine: name.clone(),
                    generation: record.generation,
                },
            );
            Ok::<_, ChangeError>(())
        })
        .await
        .map_err(super::change::api_error)
}

/// From now on the CA tries to log in to a machine that fetches for itself: bootstrap has just been there.
///
/// # Errors
/// When the store fails.
pub async fn try_push(ca: &Arc<Ca>, machine: &MachineName) -> Result<(), ApiError> {
    let (name, at) = (machine.clone(), unix_ms(ca.clock.now()));
    ca.db
        .write_async(move |txn| {
            let key = name.as_str().as_bytes();
            let record: Option<FleetRecord> = txn.get_json(Table::Fleet, key)?;
            if let Some(mut record) = record
                && !record.is_pushed_to()
            {
                if let Some(pull) = &mut record.pull {
                    pull.reach = Reach::PushToo;
                }
                txn.put_json(Table::Fleet, key, &record);
                let event = Event::MachineChanged {
                    machine: name.clone(),
                    changes: BTreeMap::from([("push".to_owned(), "tried again".to_owned())]),
                };
                txn.record(at, &Actor::Server, &event);
            }
            Ok::<_, ChangeError>(())
        })
        .await
        .map_err(super::change::api_error)
}

fn unavailable(error: impl std::fmt::Display) -> ApiError {
    tracing::error!(%error, "a machine could not be prepared");
    ApiError::new(ErrorCode::Unavailable, error.to_string())
}

/// Changes what is kept of a machine, and the policy, in one transaction.
async fn with_record<F>(
    ca: &Arc<Ca>,
    actor: Actor,
    machine: &MachineName,
    change: F,
) -> Result<(), ApiError>
where
    F: Fn(&mut Policy, FleetRecord, &mut Editing<'_, '_>) -> Result<(), ChangeError>
        + Send
        + 'static,
{
    let name = machine.clone();
    policy_change(ca, actor, move |policy, editing| {
        let record: FleetRecord = editing
            .txn
            .get_json(Table::Fleet, name.as_str().as_bytes())?
            .ok_or_else(|| unknown("machine", &name, "machine"))?;
        change(policy, record, editing)
    })
    .await
}

/// A machine's name in another machine's host certificate would let that one stand in for it.
fn check_names(ca: &Ca, name: &MachineName, address: &str) -> Result<(), ApiError> {
    let all = ca
        .db
        .read(fleet)
        .map_err(|error: ReadError| store_error(&error.into()))?;
    let clash = all
        .iter()
        .find(|(other, record)| {
            other != name && (other.as_str() == address || record.address == name.as_str())
        })
        .map(|(other, _)| other);
    match clash {
        None => Ok(()),
        Some(other) => Err(ApiError::new(
            ErrorCode::Conflict,
            format!(
                "{name} at {address} and {other} would each have a host certificate with the same name, so that one could stand in for the other"
            ),
        )
        .hint("reach one of them by its IP address or by another host name; nothing was changed")),
    }
}

fn put_removed_host(editing: &mut Editing<'_, '_>, key: &PublicKey, text: &str) {
    let removed = NameRecord {
        holder: text.to_owned(),
        uid: None,
        purge: false,
    };
    let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
    editing.txn.put_json(
        Table::Accounts,
        name_key("removed-host", &fingerprint),
        &removed,
    );
}

fn compile(policy: &Policy) -> Compiled {
    Compiled {
        policy: policy.clone(),
        index: policies::Index::new(policy),
        // Not stored yet: no revision is its.
        revision: Revision::default(),
    }
}

/// Renders what is wanted under this policy and stores it.
fn refresh(
    ca: &Ca,
    machine: &MachineName,
    record: &mut FleetRecord,
    compiled: &Compiled,
    editing: &mut Editing<'_, '_>,
) -> Result<(), ChangeError> {
    let changed = {
        let txn = &*editing.txn;
        let account = |name: &AccountName| wanted::account_name(txn, name).ok().flatten();
        let keys = ca.key_room.at(txn).map_err(unavailable)?;
        let sources = Sources {
            compiled,
            account: &account,
            keys: &keys,
            now: editing.now,
        };
        wanted::refresh(ca, machine, record, &sources).map_err(unavailable)?
    };
    editing
        .txn
        .put_json(Table::Fleet, machine.as_str().as_bytes(), record);
    if changed {
        editing.record(&Event::BundleBuilt {
            machine: machine.clone(),
            generation: record.generation,
            sha256: record.content_sha256.clone(),
        });
    }
    Ok(())
}
