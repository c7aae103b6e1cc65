//! The model again, written to be obviously right and nothing else: no index, no sharing of code with the crate.

use std::collections::BTreeSet;

use policies::{
    AccountName, Conditions, Email, Employee, Grant, GrantAccount, GrantId, Grantee, KeyDemand,
    KeyKind, MachineName, Policy, PoolName, Principal, Request, Role, Status, TeamName,
};
use time::OffsetDateTime;

use crate::wall;

/// One thing that a certificate says: principal, conditions, end.
pub type Item = (Principal, Conditions, i128);

fn seconds(at: OffsetDateTime) -> i128 {
    at.unix_timestamp_nanos().div_euclid(1_000_000_000)
}

/// Everything reachable from `from` over `next` in one or more steps.
fn reaches<N: Ord + Clone>(from: &N, next: &dyn Fn(&N) -> BTreeSet<N>) -> BTreeSet<N> {
    let mut seen = next(from);
    loop {
        let more: BTreeSet<N> = seen.iter().flat_map(next).collect();
        if more.is_subset(&seen) {
            return seen;
        }
        seen.extend(more);
    }
}

fn pool_exists(policy: &Policy, pool: &PoolName) -> bool {
    policy.pools.contains_key(pool) && !pool.as_str().starts_with('_')
}

/// Whether the machines of `inner` belong to `outer`.
pub fn pool_holds(policy: &Policy, outer: &PoolName, inner: &PoolName) -> bool {
    let written = |pool: &PoolName| -> BTreeSet<PoolName> {
        let include = &policy.pools[pool].include;
        include
            .iter()
            .filter(|pool| pool_exists(policy, pool))
            .cloned()
            .collect()
    };
    let sound = |pool: &PoolName| -> BTreeSet<PoolName> {
        let keep = |to: &PoolName| to != pool && !reaches(to, &written).contains(pool);
        written(pool).into_iter().filter(keep).collect()
    };
    pool_exists(policy, outer)
        && pool_exists(policy, inner)
        && (outer == inner || reaches(outer, &sound).contains(inner))
}

/// Whether `email` belongs to `team`.
fn team_holds(policy: &Policy, team: &TeamName, email: &Email) -> bool {
    let written = |team: &TeamName| -> BTreeSet<TeamName> {
        let teams = &policy.teams[team].teams;
        teams
            .iter()
            .filter(|team| policy.teams.contains_key(team))
            .cloned()
            .collect()
    };
    let sound = |team: &TeamName| -> BTreeSet<TeamName> {
        let keep = |to: &TeamName| to != team && !reaches(to, &written).contains(team);
        written(team).into_iter().filter(keep).collect()
    };
    if !policy.teams.contains_key(team) {
        return false;
    }
    let mut teams = reaches(team, &sound);
    teams.insert(team.clone());
    teams
        .iter()
        .any(|team| policy.teams[team].employees.contains(email))
}

/// Whether grants of the own account count for `person`.
fn own_sound(policy: &Policy, person: &Employee) -> bool {
    let alone = policy.employees.values().all(|other| {
        other.email == person.email || (other.account != person.account && other.uid != person.uid)
    });
    alone && person.account.as_str() != "root" && person.uid >= 1000
}

/// Whether `grant` has no fault, for the faults that the generator makes.
fn grant_sound(policy: &Policy, grant: &Grant) -> bool {
    let account = match &grant.account {
        GrantAccount::Own => true,
        GrantAccount::Shared(account) => {
            let taken = policy
                .employees
                .values()
                .any(|person| person.account == *account);
            match account.as_str() {
                "root" => grant.system_account && !taken,
                "ssh-admin" => false,
                _ => !taken,
            }
        }
    };
    let conditions = &grant.conditions;
    let recorded = grant.recording == policies::Recording::Required;
    let rc = conditions.extensions.contains(&policies::Extension::UserRc);
    account
        && pool_exists(policy, &grant.pool)
        && conditions.max_lifetime_secs != Some(0)
        && !conditions.sources.contains("10.0.0.1/8")
        && conditions.forced_command.as_deref() != Some("bad\ncommand")
        && !(rc && conditions.forced_command.is_some())
        && !recorded
}

fn names(policy: &Policy, grant: &Grant, email: &Email) -> bool {
    match &grant.who {
        Grantee::Employee(who) => who == email,
        Grantee::Team(team) => team_holds(policy, team, email),
    }
}

/// What `grant` gives to `person` at `now`, if anything.
pub fn gives(
    policy: &Policy,
    grant: &Grant,
    person: &Employee,
    now: OffsetDateTime,
) -> Option<Principal> {
    let ended = grant
        .until_unix_secs
        .is_some_and(|until| i128::from(until) <= seconds(now));
    if ended || !grant_sound(policy, grant) || !names(policy, grant, &person.email) {
        return None;
    }
    let account = match &grant.account {
        GrantAccount::Shared(account) => account.clone(),
        GrantAccount::Own if own_sound(policy, person) => person.account.clone(),
        GrantAccount::Own => return None,
    };
    Some(Principal::new(account, grant.pool.clone()))
}

/// Whether the hours of `grant`, if it has any, are open at `now`.
pub fn is_open(grant: &Grant, now: OffsetDateTime) -> bool {
    let now = now.unix_timestamp();
    grant
        .hours
        .as_ref()
        .is_none_or(|hours| wall::open_until(hours, now, now + 1).is_some())
}

/// Everything that the certificates for `request` must say; empty means denied.
pub fn decide(policy: &Policy, request: &Request, now: OffsetDateTime) -> BTreeSet<Item> {
    let Some(person) = policy.employees.get(&request.email) else {
        return BTreeSet::new();
    };
    if person.status != Status::Active {
        return BTreeSet::new();
    }
    let mut items = BTreeSet::new();
    for grant in policy.grants.values() {
        let Some(principal) = gives(policy, grant, person, now) else {
            continue;
        };
        if request
            .narrow
            .pools
            .as_ref()
            .is_some_and(|pools| !pools.contains(&grant.pool))
        {
            continue;
        }
        let limits = &policy.limits;
        let mut lifetime = i128::from(
            grant
                .conditions
                .max_lifetime_secs
                .unwrap_or(limits.lifetime_secs),
        );
        if person.roles.contains(&Role::Admin) {
            lifetime = lifetime.min(limits.admin_lifetime_secs.into());
        }
        lifetime = lifetime.min(limits.ceiling_secs.into());
        if let Some(asked) = request.narrow.lifetime_secs {
            lifetime = lifetime.min(asked.into());
        }
        let mut end = (seconds(now) + lifetime).min(seconds(request.session_ends));
        if let Some(until) = grant.until_unix_secs {
            end = end.min(until.into());
        }
        if let Some(hours) = &grant.hours {
            let Some(closed) = wall::open_until(
                hours,
                now.unix_timestamp(),
                i64::try_from(end).unwrap().max(now.unix_timestamp()),
            ) else {
                continue;
            };
            end = end.min(closed.into());
        }
        if grant.conditions.key == KeyDemand::SecurityKey && request.key == KeyKind::Plain {
            continue;
        }
        if end > seconds(now) {
            items.insert((principal, grant.conditions.clone(), end));
        }
    }
    items
}

/// The pools that `machine` belongs to.
pub fn pools_of(policy: &Policy, machine: &MachineName) -> BTreeSet<PoolName> {
    let direct = &policy.machines[machine].pools;
    let holds = |outer: &&PoolName| direct.iter().any(|inner| pool_holds(policy, outer, inner));
    policy.pools.keys().filter(holds).cloned().collect()
}

/// Which grants put `account` on `machine`, and for whom.
pub fn claims<'p>(
    policy: &'p Policy,
    machine: &MachineName,
    now: OffsetDateTime,
) -> Vec<(AccountName, GrantId, &'p Employee)> {
    let pools = pools_of(policy, machine);
    let mut claims = Vec::new();
    for (id, grant) in policy
        .grants
        .iter()
        .filter(|(_, grant)| pools.contains(&grant.pool))
    {
        for person in policy.employees.values() {
            if let Some(principal) = gives(policy, grant, person, now) {
                claims.push((principal.account, *id, person));
            }
        }
    }
    claims
}
