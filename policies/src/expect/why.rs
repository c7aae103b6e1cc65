//! What is true instead, where a sentence is not: the grant that gives too much, or what is missing.

use std::collections::BTreeSet;

use super::{
    As, Expectation, Moment, Place, SudoDemand, Who,
    world::{Ask, Way, World},
};
use crate::{
    Email, Grant, GrantAccount, GrantId, Grantee, KeyKind, MachineName, Status, TeamName,
    document::time_text,
};

/// Real people of `team`, through nested teams too, who can log in.
pub(super) fn members<'w>(world: &'w World, team: &TeamName) -> Vec<&'w Email> {
    let mut teams = BTreeSet::from([team]);
    let mut open = vec![team];
    let mut members = BTreeSet::new();
    while let Some(team) = open.pop() {
        if let Some(team) = world.policy.teams.get(team) {
            members.extend(&team.employees);
            open.extend(team.teams.iter().filter(|inner| teams.insert(inner)));
        }
    }
    world
        .people()
        .filter(|email| members.contains(email))
        .collect()
}

/// A sentence can outlive a name that it uses.
pub(super) fn unknown(world: &World, sentence: &Expectation) -> Result<(), String> {
    let policy = &world.policy;
    match &sentence.who {
        Who::Employee(email) if !policy.employees.contains_key(email) => {
            return Err(format!("there is no employee {email} any longer"));
        }
        Who::Member(team) | Who::Every(team) if !policy.teams.contains_key(team) => {
            return Err(format!("there is no team {team} any longer"));
        }
        Who::Employee(_) | Who::Member(_) | Who::Every(_) | Who::Nobody | Who::Somebody => {}
    }
    match &sentence.place {
        Place::Machine(machine) if !policy.machines.contains_key(machine) => {
            Err(format!("there is no machine {machine} any longer"))
        }
        Place::Pool(pool) if !policy.pools.contains_key(pool) => {
            Err(format!("there is no pool {pool} any longer"))
        }
        Place::Machine(_) | Place::Pool(_) => Ok(()),
    }
}

pub(super) fn no_moment(moment: &Moment) -> String {
    format!("there is no {} in the next weeks", moment.text)
}

pub(super) fn empty_team(team: &TeamName) -> String {
    format!("nobody who can log in is in team {team}")
}

/// Somebody does what nobody should.
pub(super) fn does(
    world: &World,
    email: &Email,
    machine: &MachineName,
    way: &Way,
    place: &Place,
) -> String {
    format!(
        "{} reaches {} as {}, by {}",
        person(world, email),
        target(world, machine, place),
        account(world, email, way),
        grants(world, &way.grants)
    )
}

/// Somebody cannot do what they should: the first of what the sentence asks that is not given.
pub(super) fn does_not(
    world: &World,
    email: &Email,
    machine: &MachineName,
    sentence: &Expectation,
    ask: Ask<'_>,
) -> String {
    let who = person(world, email);
    let there = target(world, machine, &sentence.place);
    if let Some(status) = closed(world, email) {
        return format!("{who} is {status}");
    }
    let Some(mut way) = world.way(email, machine, Ask::OPEN) else {
        return nothing(world, email, machine, &who, &there);
    };
    let mut open = Ask::OPEN;
    if ask.account.is_some() {
        open.account = ask.account;
        match world.way(email, machine, open) {
            Some(found) => way = found,
            None => {
                let (reached, by) = (account(world, email, &way), grants(world, &way.grants));
                let wanted = match ask.account {
                    Some(As::Named(name)) => name.to_string(),
                    Some(As::Own) | None => "their own account".to_owned(),
                };
                return format!(
                    "{who} reaches {there} as {reached} ({by}), and no grant gives {wanted} there"
                );
            }
        }
    }
    // Each demand may be met by another way than the one before: what is said at the end is about the last.
    let by = |way: &Way| grants(world, &way.grants);
    if ask.sudo != SudoDemand::Open {
        open.sudo = ask.sudo;
        let Some(found) = world.way(email, machine, open) else {
            let reached = account(world, email, &way);
            return format!("{reached} has no sudo right on {there} ({})", by(&way));
        };
        way = found;
    }
    if ask.key == Some(KeyKind::Plain) {
        open.key = ask.key;
        let Some(found) = world.way(email, machine, open) else {
            return format!(
                "{who} reaches {there} with a security key only ({})",
                by(&way)
            );
        };
        way = found;
    }
    if let Some(from) = ask.from {
        open.from = ask.from;
        let Some(found) = world.way(email, machine, open) else {
            let from_where = sources(world, &way.grants);
            return format!(
                "{who} reaches {there} from {from_where} only, not from {from} ({})",
                by(&way)
            );
        };
        way = found;
    }
    let when = sentence
        .moment
        .as_ref()
        .map_or("now", |moment| &moment.text);
    let limits = times(world, &way.grants);
    format!("{who} does not reach {there} on {when}: {limits}")
}

pub(super) fn nobody_does(
    world: &World,
    sentence: &Expectation,
    machines: &[&MachineName],
    ask: Ask<'_>,
) -> String {
    // The nearest: somebody who gets in at all, and what that person lacks.
    let near = machines.iter().find_map(|machine| {
        let mut people = world.people();
        let near = people.find(|email| world.way(email, machine, Ask::OPEN).is_some())?;
        world
            .way(near, machine, ask)
            .is_none()
            .then(|| does_not(world, near, machine, sentence, ask))
    });
    match (near, machines.first()) {
        (Some(near), _) => format!("nobody does; the nearest: {near}"),
        (None, Some(machine)) => {
            format!("nobody reaches {}", target(world, machine, &sentence.place))
        }
        (None, None) => "nobody does".to_owned(),
    }
}

/// No grant in force gives anything there; perhaps one did.
fn nothing(world: &World, email: &Email, machine: &MachineName, who: &str, there: &str) -> String {
    let index = world.index(None);
    let pools: Vec<String> = index.pools_of(machine).map(ToString::to_string).collect();
    let ended: Vec<GrantId> = index
        .person(email)
        .map(|person| index.grants_to(person))
        .unwrap_or_default()
        .into_iter()
        .filter(|grant| pools.iter().any(|pool| pool == grant.grant.pool.as_str()))
        .map(|grant| grant.id)
        .collect();
    if !ended.is_empty() {
        return format!(
            "{who} does not reach {there} any longer: {}",
            times(world, &ended)
        );
    }
    match pools.as_slice() {
        [] => format!("{there} is in no pool, so that nobody reaches it"),
        pools => format!(
            "no grant gives {who} anything on {there} (in {} {})",
            if pools.len() == 1 { "pool" } else { "pools" },
            pools.join(", ")
        ),
    }
}

fn closed(world: &World, email: &Email) -> Option<&'static str> {
    match world.policy.employees.get(email)?.status {
        Status::Suspended => Some("suspended"),
        Status::Removed => Some("removed"),
        Status::Active | Status::Invited => None,
    }
}

fn person(world: &World, email: &Email) -> String {
    world.team_of_somebody(email).map_or_else(
        || email.to_string(),
        |team| format!("somebody who is only in team {team}"),
    )
}

fn target(world: &World, machine: &MachineName, place: &Place) -> String {
    match place {
        Place::Pool(pool) if !world.is_real(machine) => format!("a machine put into pool {pool}"),
        Place::Pool(_) | Place::Machine(_) => machine.to_string(),
    }
}

fn account(world: &World, email: &Email, way: &Way) -> String {
    let own = world
        .policy
        .employees
        .get(email)
        .is_some_and(|person| person.account == way.account);
    if own && world.team_of_somebody(email).is_some() {
        "their own account".to_owned()
    } else {
        way.account.to_string()
    }
}

/// `grant 7 (team ops, pool web)`
fn grants(world: &World, ids: &[GrantId]) -> String {
    let described = ids.iter().filter_map(|id| {
        let grant = world.policy.grants.get(id)?;
        Some(format!("grant {id} ({})", describe(grant)))
    });
    described.collect::<Vec<_>>().join(" and ")
}

fn describe(grant: &Grant) -> String {
    let who = match &grant.who {
        Grantee::Employee(email) => email.to_string(),
        Grantee::Team(team) => format!("team {team}"),
    };
    let account = match &grant.account {
        GrantAccount::Own => "the own account".to_owned(),
        GrantAccount::Shared(account) => account.to_string(),
    };
    format!("{who}: {account} on pool {}", grant.pool)
}

fn sources(world: &World, ids: &[GrantId]) -> String {
    let grants = ids.iter().filter_map(|id| world.policy.grants.get(id));
    let sources: BTreeSet<&str> = grants
        .flat_map(|grant| &grant.conditions.sources)
        .map(String::as_str)
        .collect();
    sources.into_iter().collect::<Vec<_>>().join(" and ")
}

fn times(world: &World, ids: &[GrantId]) -> String {
    let limits = ids.iter().filter_map(|id| {
        let grant = world.policy.grants.get(id)?;
        let hours = grant.hours.as_ref().map(|hours| format!("is for {hours}"));
        let until = grant.until_unix_secs.map(|until| {
            let ended = until <= world.now.unix_timestamp();
            format!(
                "{} {}",
                if ended { "ended" } else { "ends" },
                time_text(until)
            )
        });
        let limits: Vec<String> = hours.into_iter().chain(until).collect();
        (!limits.is_empty()).then(|| format!("grant {id} {}", limits.join(" and ")))
    });
    limits.collect::<Vec<_>>().join("; ")
}
