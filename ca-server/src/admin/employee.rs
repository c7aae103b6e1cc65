//! Employees: invited, changed, suspended, resumed, reset, removed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ca_api::{
    ApiError, ErrorCode,
    admin::{AdminReply, Invitation},
};
use policies::{
    AccountName, Conditions, Email, Employee, Grant, GrantAccount, Grantee, Policy, PoolName,
    Recording, Role, Status, Sudo, TeamName,
};

use super::{
    change::{ChangeError, Editing, policy_change},
    look, parse, parse_all, unknown,
};
use crate::{
    ca::Ca,
    enrol,
    ledger::{Actor, Event},
    records::{CA, CaRecord, Credentials, NameRecord, name_key},
    revoke,
    store::{Read, Table},
};

/// A new employee, as the admin wrote it.
pub struct New {
    pub email: String,
    pub account: Option<String>,
    pub name: String,
    pub pools: Vec<String>,
    pub teams: Vec<String>,
    pub admin: bool,
}

/// What to change.
pub struct Set {
    pub name: Option<String>,
    pub admin: Option<bool>,
    pub add_pools: Vec<String>,
    pub remove_pools: Vec<String>,
}

/// How an employee's access ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Suspend,
    Remove { purge: bool },
}

/// The longest full name.
const MAX_NAME: usize = 100;

fn check_name(name: &str) -> Result<(), ApiError> {
    if name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(ApiError::new(
            ErrorCode::Invalid,
            format!("a name has at most {MAX_NAME} characters and no control characters"),
        ));
    }
    Ok(())
}

pub async fn add(ca: &Arc<Ca>, actor: Actor, new: New) -> Result<AdminReply, ApiError> {
    let email: Email = parse(&new.email)?;
    let account: AccountName = match &new.account {
        Some(account) => parse(account)?,
        None => {
            let local = email.as_str().split('@').next().unwrap_or_default();
            local.parse().map_err(|_| {
                ApiError::new(
                    ErrorCode::Invalid,
                    format!("{local:?} cannot be an account name"),
                )
                .hint("give one with --account")
            })?
        }
    };
    check_name(&new.name)?;
    let pools: Vec<PoolName> = parse_all(&new.pools)?;
    let teams: Vec<TeamName> = parse_all(&new.teams)?;
    let roles: BTreeSet<Role> = new.admin.then_some(Role::Admin).into_iter().collect();
    let code = enrol::new_code();
    let key = enrol::code_key(&code);
    let expires = expiry(ca);
    let uids = ca.config.sync.uids;
    let (who, name) = (email.clone(), new.name);
    policy_change(ca, actor, move |policy, editing| {
        let employee = admit(policy, editing, &who, &account, &name, &roles, uids)?;
        for pool in &pools {
            grant_own(policy, editing, &who, pool)?;
        }
        for team in &teams {
            let entry = policy
                .teams
                .get_mut(team)
                .ok_or_else(|| unknown("team", team, "team"))?;
            entry.employees.insert(who.clone());
            editing.record(&Event::TeamJoined {
                team: team.clone(),
                employees: BTreeSet::from([who.clone()]),
            });
        }
        editing.record(&Event::EmployeeAdded {
            email: who.clone(),
            account: account.clone(),
            uid: employee.uid,
            roles: roles.clone(),
        });
        let (actor, at) = (editing.actor.clone(), editing.at_unix_ms);
        enrol::invite(editing.txn, &who, &key, expires, &actor, at)?;
        Ok(())
    })
    .await?;
    invitation(ca, &email, code, expires)
}

fn expiry(ca: &Ca) -> i64 {
    let secs = i64::try_from(ca.config.invitation_secs).unwrap_or(i64::MAX);
    ca.clock.now().unix_timestamp().saturating_add(secs)
}

fn invitation(
    ca: &Ca,
    email: &Email,
    code: ca_api::Secret,
    expires_unix: i64,
) -> Result<AdminReply, ApiError> {
    Ok(AdminReply::Invited(Invitation {
        employee: look::employee_view(ca, email)?,
        code,
        expires_unix,
        url: ca.config.url(),
        fingerprint: ca.tls_fingerprint.clone(),
    }))
}

/// Puts a new person into the policy, or somebody who was removed back; names and uid are theirs for ever (P9).
fn admit(
    policy: &mut Policy,
    editing: &mut Editing<'_, '_>,
    email: &Email,
    account: &AccountName,
    name: &str,
    roles: &BTreeSet<Role>,
    uids: [u32; 2],
) -> Result<Employee, ChangeError> {
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
        None => (next_uid(editing, uids)?, 1),
    };
    let employee = Employee {
        email: email.clone(),
        name: name.to_owned(),
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

fn is_shorthand(grant: &Grant, email: &Email, pool: &PoolName) -> bool {
    grant.who == Grantee::Employee(email.clone())
        && grant.account == GrantAccount::Own
        && grant.pool == *pool
        && grant.conditions == Conditions::default()
        && grant.sudo == Sudo::None
        && grant.until_unix_secs.is_none()
        && grant.hours.is_none()
        && grant.recording == Recording::None
}

fn current<'p>(policy: &'p mut Policy, email: &Email) -> Result<&'p mut Employee, ChangeError> {
    policy
        .employees
        .get_mut(email)
        .filter(|employee| employee.status != Status::Removed)
        .ok_or_else(|| unknown("employee", email, "employee").into())
}

pub async fn set(
    ca: &Arc<Ca>,
    actor: Actor,
    email: &str,
    set: Set,
) -> Result<AdminReply, ApiError> {
    let email: Email = parse(email)?;
    if let Some(name) = &set.name {
        check_name(name)?;
    }
    let add: Vec<PoolName> = parse_all(&set.add_pools)?;
    let remove: Vec<PoolName> = parse_all(&set.remove_pools)?;
    let who = email.clone();
    policy_change(ca, actor, move |policy, editing| {
        let employee = current(policy, &who)?;
        let mut changes = BTreeMap::new();
        if let Some(name) = &set.name {
            employee.name.clone_from(name);
            changes.insert("name".to_owned(), name.clone());
        }
        if let Some(admin) = set.admin {
            let was = if admin {
                employee.roles.insert(Role::Admin)
            } else {
                employee.roles.remove(&Role::Admin)
            };
            if was {
                changes.insert("admin".to_owned(), admin.to_string());
            }
        }
        for pool in &add {
            grant_own(policy, editing, &who, pool)?;
        }
        for pool in &remove {
            let ids: Vec<u64> = policy
                .grants
                .iter()
                .filter(|(_, grant)| is_shorthand(grant, &who, pool))
                .map(|(id, _)| *id)
                .collect();
            if ids.is_empty() {
                return Err(ApiError::new(
                    ErrorCode::NotFound,
                    format!("{who} has no plain grant of the own account on {pool}"),
                )
                .hint(
                    "see `ca-server grant list`; `ca-server grant remove ID` takes any grant away",
                )
                .into());
            }
            for id in ids {
                if let Some(rule) = policy.grants.remove(&id) {
                    editing.record(&Event::GrantRemoved { grant: id, rule });
                }
            }
        }
        editing.record(&Event::EmployeeChanged {
            email: who.clone(),
            changes,
        });
        Ok(())
    })
    .await?;
    look::employee(ca, email.as_str())
}

/// Closes login, raises the epoch, revokes; durable when it returns.
pub async fn end(
    ca: &Arc<Ca>,
    actor: Actor,
    email: &Email,
    end: End,
    reason: String,
) -> Result<revoke::Ended, ApiError> {
    let who = email.clone();
    policy_change(ca, actor, move |policy, editing| {
        let because = editing.because(policy, &reason);
        let employee = current(policy, &who)?;
        if end == End::Suspend && employee.status == Status::Suspended {
            return Err(
                ApiError::new(ErrorCode::Conflict, format!("{who} is suspended already"))
                    .hint(format!(
                        "`ca-server employee resume {who}` opens login again"
                    ))
                    .into(),
            );
        }
        let ended = revoke::employee(editing.txn, employee, &because, false)?;
        let (epoch, account) = (employee.epoch, employee.account.clone());
        match end {
            End::Suspend => {
                employee.status = Status::Suspended;
                editing.record(&Event::EmployeeSuspended {
                    email: who.clone(),
                    epoch,
                    reason: reason.clone(),
                });
            }
            End::Remove { purge } => {
                employee.status = Status::Removed;
                employee.roles.clear();
                for team in policy.teams.values_mut() {
                    team.employees.remove(&who);
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
            }
        }
        Ok(ended)
    })
    .await
}

/// Password and TOTP secret are forgotten; the last used step is not, so that no code is ever accepted twice (A3).
fn forgotten(credentials: &Credentials) -> Credentials {
    Credentials {
        password: None,
        totp: None,
        ..credentials.clone()
    }
}

pub async fn resume(ca: &Arc<Ca>, actor: Actor, email: &str) -> Result<AdminReply, ApiError> {
    let email: Email = parse(email)?;
    let who = email.clone();
    policy_change(ca, actor, move |policy, editing| {
        let employee = current(policy, &who)?;
        if employee.status != Status::Suspended {
            return Err(
                ApiError::new(ErrorCode::Conflict, format!("{who} is not suspended")).into(),
            );
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
    })
    .await?;
    look::employee(ca, email.as_str())
}

pub async fn reset(ca: &Arc<Ca>, actor: Actor, email: &str) -> Result<AdminReply, ApiError> {
    let email: Email = parse(email)?;
    let code = enrol::new_code();
    let key = enrol::code_key(&code);
    let expires = expiry(ca);
    let who = email.clone();
    policy_change(ca, actor, move |policy, editing| {
        let because = editing.because(policy, "reset");
        let employee = current(policy, &who)?;
        revoke::employee(editing.txn, employee, &because, false)?;
        employee.status = Status::Invited;
        let epoch = employee.epoch;
        let name = who.as_str().as_bytes().to_vec();
        let credentials: Credentials = editing
            .txn
            .get_json(Table::Credentials, &name)?
            .unwrap_or_default();
        editing
            .txn
            .put_json(Table::Credentials, name, &forgotten(&credentials));
        editing.record(&Event::EmployeeReset {
            email: who.clone(),
            epoch,
        });
        let (actor, at) = (editing.actor.clone(), editing.at_unix_ms);
        enrol::invite(editing.txn, &who, &key, expires, &actor, at)?;
        Ok(())
    })
    .await?;
    invitation(ca, &email, code, expires)
}
