//! One change of policy: read it, edit it, check the whole, store what differs, revoke what was lost (P7).

use std::{collections::BTreeSet, sync::Arc};

use ca_api::{ApiError, ErrorCode};
use policies::{Email, Held, Index, Policy, Principal, Role, Severity, Status};
use time::OffsetDateTime;

use crate::{
    ca::{Ca, unix_ms},
    ledger::{Actor, Event},
    records::{CertificateRecord, LIMITS, Revoked, live_certificates, policy},
    revoke::{self, Because, KEEP_SECS},
    store::{ReadError, StoreError, Table, Txn, WriteError},
};

/// Why a change was not made; nothing of it is in the store.
#[derive(Debug, Clone)]
pub enum ChangeError {
    /// It may not be, for a person.
    Refused(ApiError),
    /// The store.
    Read(ReadError),
}

impl From<ReadError> for ChangeError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<ApiError> for ChangeError {
    fn from(error: ApiError) -> Self {
        Self::Refused(error)
    }
}

/// What an edit sees beside the policy.
pub struct Editing<'t, 's> {
    /// The transaction.
    pub txn: &'t mut Txn<'s>,
    /// Who edits.
    pub actor: Actor,
    /// When, Unix milliseconds.
    pub at_unix_ms: i64,
    /// The clock.
    pub now: OffsetDateTime,
}

impl Editing<'_, '_> {
    /// Adds a ledger entry.
    pub fn record(&mut self, event: &Event) {
        self.txn.record(self.at_unix_ms, &self.actor, event);
    }

    /// Why and by whom something is revoked.
    #[must_use]
    pub fn because(&self, reason: &str) -> Because {
        Because {
            actor: self.actor.clone(),
            at_unix_ms: self.at_unix_ms,
            reason: reason.to_owned(),
            keep_secs: KEEP_SECS,
        }
    }
}

/// Edits the policy in one transaction: `edit` changes a copy and records what it did; the whole is checked; rows that
/// differ are stored; live certificates that say more than their holder could be given now are revoked (P7).
///
/// # Errors
/// What `edit` or the check refuses, or the store.
pub async fn policy_change<T, F>(ca: &Arc<Ca>, actor: Actor, edit: F) -> Result<T, ApiError>
where
    F: Fn(&mut Policy, &mut Editing<'_, '_>) -> Result<T, ChangeError> + Send + 'static,
    T: Send + 'static,
{
    let now = ca.clock.now();
    let outcome = ca
        .db
        .write_async(move |txn| {
            let before = policy(txn)?;
            still_admin(&before, &actor)?;
            let mut after = before.clone();
            let mut editing = Editing {
                txn,
                actor: actor.clone(),
                at_unix_ms: unix_ms(now),
                now,
            };
            let value = edit(&mut after, &mut editing)?;
            check(&before, &after)?;
            store(editing.txn, &before, &after);
            revoke_what_was_lost(&mut editing, &before, &after)?;
            Ok(value)
        })
        .await;
    let value = outcome.map_err(api_error)?;
    ca.fleet_changed.notify_one();
    Ok(value)
}

/// The door looked at the role when the command came in; a change that waited behind its own suspension is refused (P3).
fn still_admin(policy: &Policy, actor: &Actor) -> Result<(), ApiError> {
    let Actor::Admin { email, .. } = actor else {
        return Ok(());
    };
    policy
        .employees
        .get(email)
        .is_some_and(|person| {
            person.status == Status::Active && person.roles.contains(&Role::Admin)
        })
        .then_some(())
        .ok_or_else(|| ApiError::new(ErrorCode::Refused, "this needs an admin session"))
}

/// An error of a change, for the admin.
pub fn api_error(error: WriteError<ChangeError>) -> ApiError {
    match error {
        WriteError::Refused(ChangeError::Refused(error)) => error,
        WriteError::Refused(ChangeError::Read(error)) => store_error(&error.into()),
        WriteError::Store(error) => store_error(&error),
    }
}

/// An error of the store, for the admin.
pub fn store_error(error: &StoreError) -> ApiError {
    tracing::error!(%error, "the store failed");
    let code = match error {
        StoreError::Busy => ErrorCode::Busy,
        StoreError::Stopped(_)
        | StoreError::NotPersisted(_)
        | StoreError::Unknown(_)
        | StoreError::Read(_)
        | StoreError::Unrecorded(_)
        | StoreError::Forbidden(_)
        | StoreError::Panicked => ErrorCode::Unavailable,
    };
    ApiError::new(code, error.to_string())
}

/// Problems that the change brought; those that were there before are no reason to refuse a change that mends others.
fn check(before: &Policy, after: &Policy) -> Result<(), ApiError> {
    let known: BTreeSet<String> = errors(before).collect();
    let new: Vec<String> = errors(after)
        .filter(|problem| !known.contains(problem))
        .collect();
    if new.is_empty() {
        return Ok(());
    }
    Err(ApiError::new(ErrorCode::Conflict, new.join("; ")).hint("nothing was changed"))
}

fn errors(policy: &Policy) -> impl Iterator<Item = String> {
    policies::check(policy)
        .into_iter()
        .filter(|problem| problem.severity() == Severity::Error)
        .map(|problem| problem.to_string())
}

/// Stores the rows that differ.
fn store(txn: &mut Txn<'_>, before: &Policy, after: &Policy) {
    macro_rules! rows {
        ($field:ident, $table:expr, $key:expr) => {
            for (name, row) in &after.$field {
                if before.$field.get(name) != Some(row) {
                    txn.put_json($table, $key(name), row);
                }
            }
            for name in before
                .$field
                .keys()
                .filter(|name| !after.$field.contains_key(*name))
            {
                txn.delete($table, $key(name));
            }
        };
    }
    rows!(employees, Table::Employees, |name: &Email| name
        .as_str()
        .as_bytes()
        .to_vec());
    rows!(pools, Table::Pools, |name: &policies::PoolName| name
        .as_str()
        .as_bytes()
        .to_vec());
    rows!(teams, Table::Teams, |name: &policies::TeamName| name
        .as_str()
        .as_bytes()
        .to_vec());
    rows!(machines, Table::Machines, |name: &policies::MachineName| {
        name.as_str().as_bytes().to_vec()
    });
    rows!(grants, Table::Grants, |id: &u64| id.to_be_bytes().to_vec());
    if before.limits != after.limits {
        txn.put_json(Table::Limits, LIMITS, &after.limits);
    }
}

fn revoke_what_was_lost(
    editing: &mut Editing<'_, '_>,
    before: &Policy,
    after: &Policy,
) -> Result<(), ChangeError> {
    let (old, new) = (Index::new(before), Index::new(after));
    for (email, person) in &before.employees {
        // A raised epoch has revoked everything already.
        if after
            .employees
            .get(email)
            .is_none_or(|now| now.epoch != person.epoch)
        {
            continue;
        }
        let mut serials = Vec::new();
        let mut lost = BTreeSet::new();
        for (serial, certificate) in
            live_certificates(editing.txn, email, editing.now.unix_timestamp())?
        {
            let carried: BTreeSet<Principal> = certificate
                .principals
                .iter()
                .filter_map(|principal| principal.parse().ok())
                .collect();
            let gone = beyond_policy(&old, &new, email, &certificate, &carried, editing.now);
            if gone.is_empty() {
                continue;
            }
            let because = editing.because("narrowed");
            let what = Revoked::Serial {
                ca: certificate.ca,
                serial,
            };
            revoke::add(editing.txn, what, &because)?;
            serials.push(serial);
            lost.extend(gone);
        }
        if !serials.is_empty() {
            editing.record(&Event::Narrowed {
                email: email.clone(),
                serials,
                principals: lost.iter().map(ToString::to_string).collect(),
            });
        }
    }
    Ok(())
}

/// What of a live certificate its holder could not be given again.
fn beyond_policy(
    old: &Index,
    new: &Index,
    email: &Email,
    certificate: &CertificateRecord,
    carried: &BTreeSet<Principal>,
    now: OffsetDateTime,
) -> BTreeSet<Principal> {
    match &certificate.conditions {
        Some(conditions) => {
            let held = Held {
                principals: carried,
                conditions,
                valid_after_unix_secs: certificate.valid_after_unix,
                valid_before_unix_secs: certificate.valid_before_unix,
            };
            policies::beyond_policy(new, email, &held, now)
        }
        // Its record is from before conditions were kept: it may carry all that its holder had.
        None => policies::lost_principals(old, new, email, carried, now),
    }
}
