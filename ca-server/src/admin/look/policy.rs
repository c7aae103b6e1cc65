//! Employees, pools, teams and grants as the commands show them.

use std::collections::BTreeSet;

use ca_api::{
    ApiError,
    admin::{AdminReply, EmployeeView, GrantView, PoolView, TeamView},
};
use policies::{Email, Employee, Grant, GrantAccount, Grantee, PoolName, Status, TeamName};
use time::OffsetDateTime;

use super::{Reply, compiled, failed, view};
use crate::{
    admin::{parse, pool::known, unknown},
    ca::Ca,
    ledger::words,
    records::{Compiled, Credentials, live_certificates, open_sessions},
    store::{Read, ReadError, Snapshot, Table},
};

pub fn employees(ca: &Ca) -> Reply {
    let (view, compiled) = view(ca)?;
    let now = ca.clock.now();
    let all = compiled
        .policy
        .employees
        .values()
        .map(|employee| one_employee(&view, &compiled, employee, now))
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    Ok(AdminReply::Employees(all))
}

pub fn employee(ca: &Ca, email: &str) -> Reply {
    Ok(AdminReply::Employee(employee_view(ca, &parse(email)?)?))
}

pub fn employee_view(ca: &Ca, email: &Email) -> Result<EmployeeView, ApiError> {
    let (view, compiled) = view(ca)?;
    let employee = compiled
        .policy
        .employees
        .get(email)
        .ok_or_else(|| unknown("employee", email, "employee"))?;
    one_employee(&view, &compiled, employee, ca.clock.now()).map_err(failed)
}

fn one_employee(
    view: &Snapshot,
    compiled: &Compiled,
    employee: &Employee,
    now: OffsetDateTime,
) -> Result<EmployeeView, ReadError> {
    let at = now.unix_timestamp();
    let credentials: Credentials = view
        .get_json(Table::Credentials, employee.email.as_str().as_bytes())?
        .unwrap_or_default();
    let teams = teams_of(compiled, &employee.email);
    let in_force = |grant: &&Grant| grant.until_unix_secs.is_none_or(|until| until > at);
    let theirs = |grant: &&Grant| match &grant.who {
        Grantee::Employee(email) => *email == employee.email,
        Grantee::Team(team) => teams.contains(team),
    };
    let principals: BTreeSet<String> = compiled
        .policy
        .grants
        .values()
        .filter(theirs)
        .filter(in_force)
        .map(|grant| match &grant.account {
            GrantAccount::Own => format!("{}@{}", employee.account, grant.pool),
            GrantAccount::Shared(account) => format!("{account}@{}", grant.pool),
        })
        .collect();
    Ok(EmployeeView {
        email: employee.email.to_string(),
        name: employee.name.clone(),
        account: employee.account.to_string(),
        uid: employee.uid,
        status: status_word(employee.status).to_owned(),
        admin: employee.roles.contains(&policies::Role::Admin),
        epoch: employee.epoch,
        teams: teams.iter().map(ToString::to_string).collect(),
        principals: principals.into_iter().collect(),
        live_certificates: live_certificates(view, &employee.email, at)?.len(),
        sessions: open_sessions(view, &employee.email, at)?.len(),
        last_login_unix: credentials.last_login_unix,
    })
}

/// Teams that somebody is in, through nested ones too.
fn teams_of(compiled: &Compiled, email: &Email) -> BTreeSet<TeamName> {
    let teams = &compiled.policy.teams;
    let mut mine: BTreeSet<TeamName> = teams
        .iter()
        .filter(|(_, team)| team.employees.contains(email))
        .map(|(name, _)| name.clone())
        .collect();
    loop {
        let outer: Vec<TeamName> = teams
            .iter()
            .filter(|(name, team)| !mine.contains(*name) && !team.teams.is_disjoint(&mine))
            .map(|(name, _)| name.clone())
            .collect();
        if outer.is_empty() {
            return mine;
        }
        mine.extend(outer);
    }
}

pub fn status_word(status: Status) -> &'static str {
    match status {
        Status::Invited => "invited",
        Status::Active => "active",
        Status::Suspended => "suspended",
        Status::Removed => "removed",
    }
}

pub fn pools(ca: &Ca) -> Reply {
    let compiled = compiled(ca)?;
    let all = compiled
        .policy
        .pools
        .keys()
        .map(|name| one_pool(&compiled, name, ca.clock.now()))
        .collect();
    Ok(AdminReply::Pools(all))
}

pub fn pool(ca: &Ca, pool: &str) -> Reply {
    let name: PoolName = parse(pool)?;
    let compiled = compiled(ca)?;
    known(&compiled.policy, &name)?;
    Ok(AdminReply::Pool(one_pool(&compiled, &name, ca.clock.now())))
}

fn one_pool(compiled: &Compiled, name: &PoolName, now: OffsetDateTime) -> PoolView {
    let pool = &compiled.policy.pools[name];
    let who = compiled
        .policy
        .grants
        .values()
        .filter(|grant| grant.pool == *name)
        .filter(|grant| {
            grant
                .until_unix_secs
                .is_none_or(|until| until > now.unix_timestamp())
        })
        .map(|grant| match (&grant.who, &grant.account) {
            (Grantee::Employee(email), GrantAccount::Own) => {
                let person = compiled.policy.employees.get(email);
                format!(
                    "{email} as {}",
                    person.map_or("self", |person| person.account.as_str())
                )
            }
            (Grantee::Team(team), GrantAccount::Own) => format!("team {team}, each as themselves"),
            _ => format!(
                "{} as {}",
                words::grantee(&grant.who),
                words::account(&grant.account)
            ),
        })
        .collect::<BTreeSet<_>>();
    PoolView {
        name: name.to_string(),
        title: pool.title.clone(),
        include: pool.include.iter().map(ToString::to_string).collect(),
        machines: compiled
            .index
            .machines_of(name)
            .into_iter()
            .map(ToString::to_string)
            .collect(),
        who: who.into_iter().collect(),
    }
}

pub fn teams(ca: &Ca) -> Reply {
    let compiled = compiled(ca)?;
    let all = compiled
        .policy
        .teams
        .keys()
        .map(|name| one_team(&compiled, name))
        .collect();
    Ok(AdminReply::Teams(all))
}

pub fn team(ca: &Ca, team: &str) -> Reply {
    let name: TeamName = parse(team)?;
    let compiled = compiled(ca)?;
    if !compiled.policy.teams.contains_key(&name) {
        return Err(unknown("team", &name, "team"));
    }
    Ok(AdminReply::Team(one_team(&compiled, &name)))
}

fn one_team(compiled: &Compiled, name: &TeamName) -> TeamView {
    let team = &compiled.policy.teams[name];
    TeamView {
        name: name.to_string(),
        employees: team.employees.iter().map(ToString::to_string).collect(),
        teams: team.teams.iter().map(ToString::to_string).collect(),
    }
}

pub fn grants(ca: &Ca) -> Reply {
    let compiled = compiled(ca)?;
    let all = compiled
        .policy
        .grants
        .iter()
        .map(|(id, grant)| one_grant(*id, grant))
        .collect();
    Ok(AdminReply::Grants(all))
}

pub fn grant(ca: &Ca, id: u64) -> Reply {
    let compiled = compiled(ca)?;
    let grant = compiled
        .policy
        .grants
        .get(&id)
        .ok_or_else(|| unknown("grant", id, "grant"))?;
    Ok(AdminReply::Grant(one_grant(id, grant)))
}

pub fn one_grant(id: u64, grant: &Grant) -> GrantView {
    GrantView {
        id,
        who: words::grantee(&grant.who),
        account: words::account(&grant.account),
        pool: grant.pool.to_string(),
        sudo: words::sudo(&grant.sudo),
        conditions: words::conditions(grant).join("; "),
        until_unix: grant.until_unix_secs,
    }
}
