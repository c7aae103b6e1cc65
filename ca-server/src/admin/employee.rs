//! Employees: invited, changed, suspended, resumed, reset, removed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ca_api::{
    ApiError, ErrorCode,
    admin::{AdminReply, Invitation},
};
use policies::{AccountName, Email, PoolName, Role, Status, TeamName};

use super::{change::policy_change, look, parse, parse_all, unknown};
use crate::{
    ca::Ca,
    ledger::{Actor, Event},
    records::Credentials,
    revoke,
    store::{Read, Table},
};

mod steps;

pub use steps::{
    Code, Newcomer, Uid, grant_own, invite, leave, next_grant, next_uid, reopen, suspend, welcome,
};
use steps::{current, forgotten, is_shorthand};

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
    let newcomer = Newcomer {
        email: email.clone(),
        account,
        name: new.name,
        roles: new.admin.then_some(Role::Admin).into_iter().collect(),
    };
    let code = Code::new(ca);
    let (key, expires) = (code.key.clone(), code.expires_unix);
    let uid = Uid::Next(ca.config.sync.uids);
    policy_change(ca, actor, move |policy, editing| {
        let who = &newcomer.email;
        welcome(policy, editing, &newcomer, uid)?;
        for pool in &pools {
            grant_own(policy, editing, who, pool)?;
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
        invite(editing, who, &key, expires)
    })
    .await?;
    Ok(AdminReply::Invited(invitation(ca, &email, code)?))
}

/// What the admin hands to somebody who is invited now.
pub fn invitation(ca: &Ca, email: &Email, code: Code) -> Result<Invitation, ApiError> {
    Ok(Invitation {
        employee: look::employee_view(ca, email)?,
        code: code.code,
        expires_unix: code.expires_unix,
        url: ca.config.url(),
        fingerprint: ca.tls.fingerprint(),
    })
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
    policy_change(ca, actor, move |policy, editing| match end {
        End::Suspend => suspend(policy, editing, &who, &reason),
        End::Remove { purge } => leave(policy, editing, &who, purge, &reason),
    })
    .await
}

pub async fn resume(ca: &Arc<Ca>, actor: Actor, email: &str) -> Result<AdminReply, ApiError> {
    let email: Email = parse(email)?;
    let who = email.clone();
    policy_change(ca, actor, move |policy, editing| {
        reopen(policy, editing, &who)
    })
    .await?;
    look::employee(ca, email.as_str())
}

pub async fn reset(ca: &Arc<Ca>, actor: Actor, email: &str) -> Result<AdminReply, ApiError> {
    let email: Email = parse(email)?;
    let code = Code::new(ca);
    let (key, expires) = (code.key.clone(), code.expires_unix);
    let who = email.clone();
    policy_change(ca, actor, move |policy, editing| {
        let because = editing.because("reset");
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
        invite(editing, &who, &key, expires)
    })
    .await?;
    Ok(AdminReply::Invited(invitation(ca, &email, code)?))
}
