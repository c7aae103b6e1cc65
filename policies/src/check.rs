//! What is wrong with a policy, in words for the admin who wrote it.

mod overlap;
mod problem;

use std::collections::{BTreeMap, BTreeSet};

pub use problem::{Place, Problem, Severity};

use crate::{
    Conditions, Index, Limits, MAX_PRINCIPALS, Policy, PoolName, Principal, TeamName,
    graph::Graph,
    index::numbers,
    machines,
    rules::{self, Facts},
};

/// The longest ceiling that a policy may set: KRL entries outlive it by seven days, and nothing may be "forever" (I7, R3).
pub const MAX_CEILING_SECS: u64 = 31 * 24 * 3600;

/// Everything that is wrong with `policy`, in a fixed order; empty when it is sound.
///
/// A policy with a [`Severity::Error`] must not be stored; if it were, [`Index`] leaves out what is wrong.
#[must_use]
pub fn check(policy: &Policy) -> Vec<Problem> {
    let facts = Facts::of(policy);
    let mut problems = Vec::new();
    limits(&policy.limits, &mut problems);
    employees(policy, &facts, &mut problems);
    teams(policy, &mut problems);
    pools(policy, &mut problems);
    for (id, grant) in &policy.grants {
        problems.extend(rules::grant_problems(*id, grant, &facts));
    }
    let index = Index::new(policy);
    overlap::sudo(&index, &mut problems);
    overlap::recording(policy, &mut problems);
    crowded(&index, &mut problems);
    problems
}

fn limits(limits: &Limits, problems: &mut Vec<Problem>) {
    let ceiling = limits.ceiling_secs;
    let mut wrong = |what, rule| problems.push(Problem::BadLimit { what, rule });
    if limits.session_secs == 0 {
        wrong("session_secs", "must be at least 1");
    }
    if limits.lifetime_secs == 0 || limits.lifetime_secs > ceiling {
        wrong(
            "lifetime_secs",
            "must be at least 1 and at most the ceiling",
        );
    }
    if limits.admin_lifetime_secs == 0 || limits.admin_lifetime_secs > limits.lifetime_secs {
        wrong(
            "admin_lifetime_secs",
            "must be at least 1 and at most lifetime_secs",
        );
    }
    if ceiling > MAX_CEILING_SECS {
        wrong("ceiling_secs", "must be at most 31 days");
    }
}

fn employees(policy: &Policy, facts: &Facts, problems: &mut Vec<Problem>) {
    for (key, employee) in &policy.employees {
        if *key != employee.email {
            problems.push(Problem::EmployeeUnderOtherEmail {
                key: key.clone(),
                email: employee.email.clone(),
            });
        }
        if rules::is_system_account(&employee.account) {
            problems.push(Problem::OwnAccountIsSystem {
                email: key.clone(),
                account: employee.account.clone(),
            });
        }
        if !rules::is_person_uid(employee.uid) {
            problems.push(Problem::SystemUid {
                email: key.clone(),
                uid: employee.uid,
            });
        }
    }
    for (account, owners) in facts.owners_by_account() {
        if owners.len() > 1 {
            problems.push(Problem::AccountTwice {
                account: account.clone(),
                employees: owners.iter().copied().cloned().collect(),
            });
        }
    }
    for (uid, owners) in facts.owners_by_uid() {
        if owners.len() > 1 {
            problems.push(Problem::UidTwice {
                uid,
                employees: owners.iter().copied().cloned().collect(),
            });
        }
    }
}

fn teams(policy: &Policy, problems: &mut Vec<Problem>) {
    let names: Vec<TeamName> = policy.teams.keys().cloned().collect();
    for (name, team) in &policy.teams {
        let place = || Place::Team(name.clone());
        for email in &team.employees {
            if !policy.employees.contains_key(email) {
                problems.push(Problem::UnknownEmployee {
                    place: place(),
                    email: email.clone(),
                });
            }
        }
        for other in &team.teams {
            if !policy.teams.contains_key(other) {
                problems.push(Problem::UnknownTeam {
                    place: place(),
                    team: other.clone(),
                });
            }
        }
    }
    let graph = Graph::new(
        policy
            .teams
            .values()
            .map(|team| numbers(&names, &team.teams))
            .collect(),
    );
    for path in graph.cycles() {
        problems.push(Problem::TeamCycle {
            path: named(&names, &path),
        });
    }
}

fn pools(policy: &Policy, problems: &mut Vec<Problem>) {
    let names: Vec<PoolName> = policy.pools.keys().cloned().collect();
    let unknown = |place: Place, pool: &PoolName| Problem::UnknownPool {
        place,
        pool: pool.clone(),
    };
    for (name, pool) in &policy.pools {
        if rules::is_reserved_pool(name) {
            problems.push(Problem::ReservedPool { pool: name.clone() });
        }
        for other in &pool.include {
            if !policy.pools.contains_key(other) {
                problems.push(unknown(Place::Pool(name.clone()), other));
            }
        }
    }
    for (name, machine) in &policy.machines {
        for pool in &machine.pools {
            if !policy.pools.contains_key(pool) {
                problems.push(unknown(Place::Machine(name.clone()), pool));
            }
        }
    }
    let graph = Graph::new(
        policy
            .pools
            .values()
            .map(|pool| numbers(&names, &pool.include))
            .collect(),
    );
    for path in graph.cycles() {
        problems.push(Problem::PoolCycle {
            path: named(&names, &path),
        });
    }
}

/// People with more principals under one condition set than a certificate holds.
fn crowded(index: &Index, problems: &mut Vec<Problem>) {
    for person in index.people() {
        let mut sets: BTreeMap<&Conditions, BTreeSet<Principal>> = BTreeMap::new();
        let grants = index.grants_to(person);
        if grants.len() <= MAX_PRINCIPALS {
            continue;
        }
        for grant in grants {
            sets.entry(&grant.grant.conditions)
                .or_default()
                .insert(machines::principal_of(index, person, grant));
        }
        for set in sets.into_values().filter(|set| set.len() > MAX_PRINCIPALS) {
            problems.push(Problem::ManyPrincipals {
                email: person.employee.email.clone(),
                count: set.len(),
                certificates: set.len().div_ceil(MAX_PRINCIPALS),
            });
        }
    }
}

fn named<N: Clone>(names: &[N], path: &[u32]) -> Vec<N> {
    path.iter().map(|&at| names[at as usize].clone()).collect()
}
