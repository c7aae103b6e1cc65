//! What can happen to a person inside one transaction: the commands, and a document that is applied, take these same steps.

use std::collections::BTreeSet;

use ca_api::{ApiError, ErrorCode, Secret};
use policies::{
    AccountName, Conditions, Email, Employee, Grant, GrantAccount, Grantee, Policy, PoolName,
    Recording, Role, Status, Sudo,
};

use crate::{
    admin::{
        change::{ChangeError, Editing},
        unknown,
    },
    ca::Ca,
    enrol,
    ledger::Event,
    records::{CA, CaRecord, Credentials, NameRecord, name_key},
    recovery, revoke,
    store::{Read, Table},
};

/// Somebody who comes, or comes back.
#[derive(Debug, Clone)]
pub struct Newcomer {
    pub email: Email,
    pub account: AccountName,
    pub name: String,
    pub roles: BTreeSet<Role>,
}

/// An enrolment code that is not stored yet: made before the transaction, which may run more than once.
pub struct Code {
    pub(super) code: Secret,
    /// What it is stored under.
    pub key: String,
    /// When it ends.
    pub expires_unix: i64,
}

impl Code {
    /// A fresh one.
    pub fn new(ca: &Ca) -> Self {
        let code = enrol::new_code();
        let secs = i64::try_from(ca.config.invitation_secs).unwrap_or(i64::MAX);
        Self {
            key: enrol::code_key(&code),
            expires_unix: ca.clock.now().unix_timestamp().saturating_add(secs),
            code,
        }
    }
}

/// Which uid somebody new gets. Who comes back has theirs.
#[derive(Debug, Clone, Copy)]
pub enum Uid {
    /// The next of this range.
    Next([u32; 2]),
    /// This one, which nobody ever had.
    Given(u32),
}

/// Puts somebody into the policy, with the ledger entry; [`invite`] is the other half.
pub fn welcome(
    policy: &mut Policy,
    editing: &mut Editing<'_, '_>,
    newcomer: &Newcomer,
    uid: Uid,
) -> Result<(), ChangeError> {
    let employee = admit(policy, editing, newcomer, uid)?;
    editing.record(&Event::EmployeeAdded {
        email: newcomer.email.clone(),
        account: newcomer.account.clone(),
        uid: employee.uid,
        roles: newcomer.roles.clone(),
    });
    Ok(())
}

/// Stores the code under `key` as the one invitation of this person.
pub fn invite(
    editing: &mut Editing<'_, '_>,
    email: &Email,
    key: &str,
    expires_unix: i64,
) -> Result<(), ChangeError> {
    let (actor, at) = (editing.actor.clone(), editing.at_unix_ms);
    enrol::invite(editing.txn, email, key, expires_unix, &actor, at)?;
    Ok(())
}

/// Puts a new person into the policy, or somebody who was removed back; names and uid are theirs for ever (P9).
fn admit(
    policy: &mut Policy,
    editing: &mut Editing<'_, '_>,
    newcomer: &Newcomer,
    uid: Uid,
) -> Result<Employee, ChangeError> {
    let Newcomer {
        email,
        account,
        name,
        roles,
    } = newcomer;
    let conflict = |what: String| ChangeError::Refused(ApiError::new(ErrorCode::Conflict, what));
    let returning = match policy.employees.get(email) {
        Some(old) if old.status != Status::Removed => {
            return Err(ApiError::new(
                ErrorCode::Conflict,
                format!("{email} is an employee already"),
            )
            .hint(format!(
                "a new enrolment code: `ca-server employee reset {email}`"
            ))
            .into());
        }
        other => other.cloned(),
    };
    let account_key = name_key("account", account.as_str());
    let holder: Option<NameRecord> = editing.txn.get_json(Table::Accounts, &account_key)?;
    if let Some(holder) = holder
        && holder.holder != email.as_str()
    {
        return Err(conflict(format!(
            "the account {account} belongs to {} and is never given to somebody else; choose another with --account",
            holder.holder
        )));
    }
    if let Some(old) = &returning
        && old.account != *account
    {
        return Err(conflict(format!(
            "{email} was here before as {}: the account stays theirs; use --account {}",
            old.account, old.account
        )));
    }
    let (uid, epoch) = match returning {
        Some(old) => (old.uid, old.epoch),
        None => match uid {
            Uid::Next(range) => (
                next_uid(editing, range)?,
                recovery::first_epoch(editing.txn)?,
            ),
            Uid::Given(uid) => (uid, recovery::first_epoch(editing.txn)?),
        },
    };
    let employee = Employee {
        email: email.clone(),
        name: name.clone(),
        account: account.clone(),
        uid,
        status: Status::Invited,
        roles: roles.clone(),
        epoch,
    };
    editing.txn.put_json(
        Table::Accounts,
        account_key,
        &NameRecord {
            holder: email.to_string(),
            uid: None,
            purge: false,
        },
    );
    policy.employees.insert(email.clone(), employee.clone());
    Ok(employee)
}

/// The next uid of the fleet's range; never given twice.
pub fn next_uid(editing: &mut Editing<'_, '_>, uids: [u32; 2]) -> Result<u32, ChangeError> {
    let mut record: CaRecord = editing
        .txn
        .get_json(Table::Meta, CA)?
        .expect("`init` wrote the CA's record in the first transaction");
    let mut uid = record.next_uid.max(uids[0]);
    // `nobody` here and elsewhere: a range that holds them goes on behind them.
    if matches!(uid, 65_534 | 65_535) {
        uid = 65_536;
    }
    if uid > uids[1] {
        return Err(
            ApiError::new(ErrorCode::Conflict, "the range of uids is used up")
                .hint("widen `sync.uids` in config.toml and restart the server")
                .into(),
        );
    }
    record.next_uid = uid + 1;
    editing.txn.put_json(Table::Meta, CA, &record);
    Ok(uid)
}

/// The number of a new grant.
pub fn next_grant(editing: &mut Editing<'_, '_>) -> Result<u64, ChangeError> {
    let mut record: CaRecord = editing
        .txn
        .get_json(Table::Meta, CA)?
        .expect("`init` wrote the CA's record in the first transaction");
    let id = record.next_grant;
    record.next_grant += 1;
    editing.txn.put_json(Table::Meta, CA, &record);
    Ok(id)
}

/// The shorthand: a grant of the own account on a pool, without sudo. One that is there already is kept.
pub fn grant_own(
    policy: &mut Policy,
    editing: &mut Editing<'_, '_>,
    email: &Email,
    pool: &PoolName,
) -> Result<(), ChangeError> {
    if !policy.pools.contains_key(pool) {
        return Err(unknown("pool", pool, "pool").into());
    }
    if !policy.employees.contains_key(email) {
        return Err(unknown("employee", email, "employee").into());
    }
    if policy
        .grants
        .values()
        .any(|grant| is_shorthand(grant, email, pool))
    {
        return Ok(());
    }
    let rule = Grant {
        who: Grantee::Employee(email.clone()),
        account: GrantAccount::Own,
        pool: pool.clone(),
        conditions: Conditions::default(),
        sudo: Sudo::None,
        until_unix_secs: None,
        hours: None,
        recording: Recording::None,
        system_account: false,
    };
    let id = next_grant(editing)?;
    policy.grants.insert(id, rule.clone());
    editing.record(&Event::GrantAdded { grant: id, rule });
    Ok(())
}

pub(super) fn is_shorthand(grant: &Grant, email: &Email, pool: &PoolName) -> bool {
    grant.who == Grantee::Employee(email.clone())
        && grant.account == GrantAccount::Own
        && grant.pool == *pool
        && grant.conditions == Conditions::default()
        && grant.sudo == Sudo::None
        && grant.until_unix_secs.is_none()
        && grant.hours.is_none()
        && grant.recording == Recording::None
}

/// Closes somebody's login and revokes what they hold.
pub fn suspend(
    policy: &mut Policy,
    editing: &mut Editing<'_, '_>,
    who: &Email,
    reason: &str,
) -> Result<revoke::Ended, ChangeError> {
    let because = editing.because(reason);
    let employee = current(policy, who)?;
    if employee.status == Status::Suspended {
        return Err(
            ApiError::new(ErrorCode::Conflict, format!("{who} is suspended already"))
                .hint(format!(
                    "`ca-server employee resume {who}` opens login again"
                ))
                .into(),
        );
    }
    let ended = revoke::employee(editing.txn, employee, &because, false)?;
    employee.status = Status::Suspended;
    let epoch = employee.epoch;
    editing.record(&Event::EmployeeSuspended {
        email: who.clone(),
        epoch,
        reason: reason.to_owned(),
    });
    Ok(ended)
}

/// Revokes what somebody holds and takes them out of every team and grant; their names stay theirs (P9).
pub fn leave(
    policy: &mut Policy,
    editing: &mut Editing<'_, '_>,
    who: &Email,
    purge: bool,
    reason: &str,
) -> Result<revoke::Ended, ChangeError> {
    let because = editing.because(reason);
    let employee = current(policy, who)?;
    let ended = revoke::employee(editing.txn, employee, &because, false)?;
    let (epoch, account) = (employee.epoch, employee.account.clone());
    employee.status = Status::Removed;
    employee.roles.clear();
    for team in policy.teams.values_mut() {
        team.employees.remove(who);
    }
    policy
        .grants
        .retain(|_, grant| grant.who != Grantee::Employee(who.clone()));
    if purge {
        let holder = NameRecord {
            holder: who.to_string(),
            uid: None,
            purge,
        };
        let key = name_key("account", account.as_str());
        editing.txn.put_json(Table::Accounts, key, &holder);
    }
    let key = who.as_str().as_bytes().to_vec();
    let credentials: Credentials = editing
        .txn
        .get_json(Table::Credentials, &key)?
        .unwrap_or_default();
    editing
        .txn
        .put_json(Table::Credentials, key, &forgotten(&credentials));
    editing.record(&Event::EmployeeRemoved {
        email: who.clone(),
        epoch,
        purge,
    });
    Ok(ended)
}

/// Password and TOTP secret are forgotten; the last used step is not, so that no code is ever accepted twice (A3).
pub(super) fn forgotten(credentials: &Credentials) -> Credentials {
    Credentials {
        password: None,
        totp: None,
        ..credentials.clone()
    }
}

/// Opens somebody's login again; who never enrolled is invited still.
pub fn reopen(
    policy: &mut Policy,
    editing: &mut Editing<'_, '_>,
    who: &Email,
) -> Result<(), ChangeError> {
    let employee = current(policy, who)?;
    if employee.status != Status::Suspended {
        return Err(ApiError::new(ErrorCode::Conflict, format!("{who} is not suspended")).into());
    }
    let credentials: Option<Credentials> = editing
        .txn
        .get_json(Table::Credentials, who.as_str().as_bytes())?;
    let enrolled = credentials.is_some_and(|credentials| credentials.password.is_some());
    employee.status = if enrolled {
        Status::Active
    } else {
        Status::Invited
    };
    editing.record(&Event::EmployeeResumed { email: who.clone() });
    Ok(())
}

/// Somebody who is not removed.
pub(super) fn current<'p>(
    policy: &'p mut Policy,
    email: &Email,
) -> Result<&'p mut Employee, ChangeError> {
    policy
        .employees
        .get_mut(email)
        .filter(|employee| employee.status != Status::Removed)
        .ok_or_else(|| unknown("employee", email, "employee").into())
}
