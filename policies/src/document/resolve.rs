//! From a draft to a policy: names looked up, people and grants matched with what is stored, machines put into their pools.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Base, Orphans, Reading,
    draft::{Draft, DraftGrant, DraftPool, DraftSentence, DraftTeam, Spot},
    fault::{Caution, Collector, Kind, Wrong},
    numbers::{self, Unnumbered},
    position::At,
    suggest::nearest,
};
use crate::{
    Conditions, Email, Grant, GrantAccount, GrantId, Grantee, Machine, MachineName, Policy, Pool,
    PoolName, Problem, Recording, Severity, Sudo, Team, TeamName, check, expect::Expectation,
};

mod people;
mod places;

use places::Places;

/// So many names are looked for in vain before nobody guesses any more what was meant.
const GUESSES_MAX: usize = 50;

/// Compares a draft with what is stored; `None` where a policy cannot even be thought of.
pub(super) fn resolve(
    draft: &Draft,
    base: &Base<'_>,
    faults: &mut Collector<'_>,
) -> Option<Reading> {
    let mut cautions = Vec::new();
    let mut numbers = base.numbers;
    let mut places = Places::of(draft);
    let mut policy = Policy {
        employees: people::employees(draft, base, &mut numbers, faults),
        limits: draft.limits.clone(),
        ..Policy::default()
    };
    let known = Known::of(draft, base);
    for entry in &draft.teams {
        let (name, team) = team(entry, &known, faults);
        policy.teams.insert(name, team);
    }
    for entry in &draft.pools {
        let (name, pool) = pool(entry, &known, base, faults);
        policy.pools.insert(name, pool);
    }
    policy.machines = machines(draft, &known, base, &places, faults, &mut cautions);

    let mut written = Vec::with_capacity(draft.grants.len());
    for entry in &draft.grants {
        written.extend(grant(entry, &known, faults));
    }
    written.extend(shorthand(draft, &known, faults));
    for (id, (byte, grant)) in numbers::grants(written, base.store, &mut numbers, faults) {
        places.grants.insert(id, byte);
        policy.grants.insert(id, grant);
    }
    people::shared_accounts(&policy, base, &places, faults);
    empty_teams(&policy, &places, faults, &mut cautions);
    problems(&policy, base, &places, faults, &mut cautions);

    let mut expectations = Vec::with_capacity(draft.expect.len());
    for entry in &draft.expect {
        expectations.extend(sentence(entry, &policy, faults));
    }
    cautions.sort_by(|a, b| a.position.cmp(&b.position));
    Some(Reading {
        policy,
        expectations,
        cautions,
        numbers,
    })
}

/// The names that a document may use.
struct Known<'d> {
    employees: BTreeSet<&'d Email>,
    teams: BTreeSet<&'d TeamName>,
    pools: BTreeSet<&'d PoolName>,
    machines: BTreeSet<&'d MachineName>,
}

impl<'d> Known<'d> {
    fn of(draft: &'d Draft, base: &Base<'d>) -> Self {
        Self {
            employees: draft
                .employees
                .iter()
                .map(|entry| &entry.email.value)
                .collect(),
            teams: draft.teams.iter().map(|entry| &entry.name.value).collect(),
            pools: draft.pools.iter().map(|entry| &entry.name.value).collect(),
            machines: base.store.machines.keys().collect(),
        }
    }
}

/// Whether `name` is known; a fault if it is not.
fn is_known<N: Ord + ToString + AsText>(
    kind: Kind,
    name: &Spot<N>,
    known: &BTreeSet<&N>,
    faults: &mut Collector<'_>,
) -> bool {
    let is_known = known.contains(&name.value);
    if !is_known {
        let guess = faults.len() < GUESSES_MAX;
        let suggestion = guess
            .then(|| {
                nearest(
                    name.value.as_text(),
                    known.iter().map(|name| name.as_text()),
                )
            })
            .flatten();
        faults.add(
            name.byte,
            Wrong::Unknown {
                kind,
                name: name.value.to_string(),
                suggestion,
            },
        );
    }
    is_known
}

trait AsText {
    fn as_text(&self) -> &str;
}

macro_rules! as_text {
    ($($name:ty),*) => {
        $(impl AsText for $name {
            fn as_text(&self) -> &str {
                self.as_str()
            }
        })*
    };
}

as_text!(Email, TeamName, PoolName, MachineName);

/// The known names of a list, each once.
fn known_of<N: Ord + Clone + ToString + AsText>(
    kind: Kind,
    list: &[Spot<N>],
    known: &BTreeSet<&N>,
    faults: &mut Collector<'_>,
) -> BTreeSet<N> {
    let mut names = BTreeSet::new();
    for name in list {
        if is_known(kind, name, known, faults) && !names.insert(name.value.clone()) {
            let what = name.value.to_string();
            faults.add(name.byte, Wrong::ListedTwice { what });
        }
    }
    names
}

fn team(entry: &DraftTeam, known: &Known<'_>, faults: &mut Collector<'_>) -> (TeamName, Team) {
    let team = Team {
        employees: known_of(Kind::Employee, &entry.employees, &known.employees, faults),
        teams: known_of(Kind::Team, &entry.teams, &known.teams, faults),
    };
    (entry.name.value.clone(), team)
}

fn pool(
    entry: &DraftPool,
    known: &Known<'_>,
    base: &Base<'_>,
    faults: &mut Collector<'_>,
) -> (PoolName, Pool) {
    let name = &entry.name.value;
    if base.spent.pools.contains(name) && !base.store.pools.contains_key(name) {
        let pool = name.clone();
        faults.add(entry.name.byte, Wrong::SpentPool { pool });
    }
    let pool = Pool {
        title: entry.title.clone(),
        include: known_of(Kind::Pool, &entry.include, &known.pools, faults),
    };
    (name.clone(), pool)
}

/// Every stored machine, in the pools that name it.
fn machines(
    draft: &Draft,
    known: &Known<'_>,
    base: &Base<'_>,
    places: &Places<'_>,
    faults: &mut Collector<'_>,
    cautions: &mut Vec<At<Caution>>,
) -> BTreeMap<MachineName, Machine> {
    let mut machines: BTreeMap<MachineName, Machine> = base
        .store
        .machines
        .keys()
        .map(|name| (name.clone(), Machine::default()))
        .collect();
    for entry in &draft.pools {
        for name in known_of(Kind::Machine, &entry.machines, &known.machines, faults) {
            if let Some(machine) = machines.get_mut(&name) {
                machine.pools.insert(entry.name.value.clone());
            }
        }
    }
    for (name, machine) in &machines {
        if !machine.pools.is_empty() {
            continue;
        }
        let before = &base.store.machines[name].pools;
        // Near to where it was, where that is still there.
        let byte = before.iter().find_map(|pool| places.pools.get(pool));
        let byte = byte.copied().unwrap_or(0);
        let machine = name.clone();
        if before.is_empty() || base.orphans == Orphans::Allow {
            cautions.push(faults.lines.at(byte, Caution::Orphan { machine }));
        } else {
            faults.add(byte, Wrong::Orphan { machine });
        }
    }
    machines
}

fn grant(entry: &DraftGrant, known: &Known<'_>, faults: &mut Collector<'_>) -> Option<Unnumbered> {
    let byte = entry.who.byte;
    let who_is_known = match &entry.who.value {
        Grantee::Employee(value) => {
            let value = value.clone();
            is_known(
                Kind::Employee,
                &Spot { byte, value },
                &known.employees,
                faults,
            )
        }
        Grantee::Team(value) => {
            let value = value.clone();
            is_known(Kind::Team, &Spot { byte, value }, &known.teams, faults)
        }
    };
    let pool_is_known = is_known(Kind::Pool, &entry.pool, &known.pools, faults);
    (who_is_known && pool_is_known).then(|| Unnumbered {
        byte: entry.byte,
        id: entry.id.clone(),
        grant: Grant {
            who: entry.who.value.clone(),
            account: entry.account.value.clone(),
            pool: entry.pool.value.clone(),
            conditions: entry.conditions.clone(),
            sudo: entry.sudo.clone(),
            until_unix_secs: entry.until_unix_secs,
            hours: entry.hours.clone(),
            recording: entry.recording,
            system_account: entry.system_account,
        },
    })
}

/// What `employees` of a pool stands for: the own account, without sudo, under the default conditions.
pub(super) fn own_account_on(email: &Email, pool: &PoolName) -> Grant {
    Grant {
        who: Grantee::Employee(email.clone()),
        account: GrantAccount::Own,
        pool: pool.clone(),
        conditions: Conditions::default(),
        sudo: Sudo::None,
        until_unix_secs: None,
        hours: None,
        recording: Recording::None,
        system_account: false,
    }
}

fn shorthand(draft: &Draft, known: &Known<'_>, faults: &mut Collector<'_>) -> Vec<Unnumbered> {
    let mut written = Vec::new();
    for pool in &draft.pools {
        let mut listed = BTreeSet::new();
        for email in &pool.employees {
            if !is_known(Kind::Employee, email, &known.employees, faults) {
                continue;
            }
            if listed.insert(&email.value) {
                written.push(Unnumbered {
                    byte: email.byte,
                    id: None,
                    grant: own_account_on(&email.value, &pool.name.value),
                });
            } else {
                let what = email.value.to_string();
                faults.add(email.byte, Wrong::ListedTwice { what });
            }
        }
    }
    written
}

fn empty_teams(
    policy: &Policy,
    places: &Places<'_>,
    faults: &Collector<'_>,
    cautions: &mut Vec<At<Caution>>,
) {
    let mut told: BTreeMap<&TeamName, GrantId> = BTreeMap::new();
    for (id, grant) in &policy.grants {
        if let Grantee::Team(team) = &grant.who {
            told.entry(team).or_insert(*id);
        }
    }
    for (team, id) in told {
        if is_empty(policy, team) {
            let byte = places.grants.get(&id).copied().unwrap_or(0);
            let team = team.clone();
            cautions.push(faults.lines.at(byte, Caution::EmptyTeam { team }));
        }
    }
}

fn is_empty(policy: &Policy, team: &TeamName) -> bool {
    let mut seen = BTreeSet::from([team]);
    let mut open = vec![team];
    while let Some(team) = open.pop() {
        let Some(team) = policy.teams.get(team) else {
            continue;
        };
        if !team.employees.is_empty() {
            return false;
        }
        open.extend(team.teams.iter().filter(|inner| seen.insert(inner)));
    }
    true
}

/// What [`check`] has against the policy, where the document says it.
fn problems(
    policy: &Policy,
    base: &Base<'_>,
    places: &Places<'_>,
    faults: &mut Collector<'_>,
    cautions: &mut Vec<At<Caution>>,
) {
    let problems = check(policy);
    let is_error = |problem: &Problem| problem.severity() == Severity::Error;
    // What stood in the store before is no reason to refuse a document that mends something else.
    let stored = if problems.iter().any(is_error) {
        check(base.store)
    } else {
        Vec::new()
    };
    // Unknown names were told where they stand, and people who could not be made are known by name all the same.
    let told = |problem: &Problem| {
        matches!(
            problem,
            Problem::UnknownEmployee { .. }
                | Problem::UnknownTeam { .. }
                | Problem::UnknownPool { .. }
        )
    };
    for problem in problems.into_iter().filter(|problem| !told(problem)) {
        let byte = places.of_problem(&problem);
        if is_error(&problem) && !stored.contains(&problem) {
            faults.add(byte, problem);
        } else {
            cautions.push(faults.lines.at(byte, Caution::Problem(problem)));
        }
    }
}

fn sentence(
    entry: &DraftSentence,
    policy: &Policy,
    faults: &mut Collector<'_>,
) -> Option<At<Expectation>> {
    match Expectation::parse(&entry.text, policy) {
        Ok(expectation) => Some(faults.lines.at(entry.byte, expectation)),
        Err(error) => {
            let within = entry.verbatim.map_or(0, |mark| mark + error.at);
            faults.add(entry.byte + within, error);
            None
        }
    }
}
