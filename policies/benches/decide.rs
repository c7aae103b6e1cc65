//! How long decisions take in a large company: 10,000 employees, 1,000 pools, 10,000 machines, 5,000 grants.
//!
//! `cargo bench -p policies`

#![allow(missing_docs, clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    hint::black_box,
    sync::LazyLock,
};

use divan::Bencher;
use policies::{
    Conditions, Email, Employee, Grant, GrantAccount, Grantee, Index, KeyKind, Machine, Narrow,
    Policy, Pool, Recording, Request, Status, Sudo, Team, accounts_on, accounts_seen_on, check, decide,
    lost_principals, reach,
};
use time::{Duration, OffsetDateTime};

const EMPLOYEES: u32 = 10_000;
const TEAMS: u32 = 500;
const POOLS: u32 = 1_000;
const MACHINES: u32 = 10_000;
const GRANTS: u32 = 5_000;

fn email(n: u32) -> Email {
    format!("e{n}@corp.example").parse().unwrap()
}

fn name<N: std::str::FromStr<Err: std::fmt::Debug>>(letter: char, n: u32) -> N {
    format!("{letter}{n}").parse().unwrap()
}

/// Nobody's random numbers: the same company every time.
fn spread(n: u32, below: u32) -> u32 {
    n.wrapping_mul(2_654_435_761).rotate_left(13) % below
}

/// Teams of 40 within departments, pools in a tree three levels deep, a person in two teams, a machine in two pools.
static COMPANY: LazyLock<Policy> = LazyLock::new(|| {
    let mut policy = Policy::default();
    for n in 0..EMPLOYEES {
        let employee = Employee {
            email: email(n),
            name: String::new(),
            account: name('e', n),
            uid: 20_000 + n + if 20_000 + n >= 65_534 { 2 } else { 0 },
            status: Status::Active,
            roles: BTreeSet::new(),
            epoch: 1,
        };
        policy.employees.insert(email(n), employee);
    }
    for n in 0..TEAMS {
        let employees = (0..40).map(|at| email((n * 20 + at) % EMPLOYEES)).collect();
        // The first ten are departments of ten teams each.
        let teams = (0..10)
            .filter(|_| n < 10)
            .map(|at| name('t', 10 + n * 10 + at))
            .collect();
        policy.teams.insert(name('t', n), Team { employees, teams });
    }
    for n in 0..POOLS {
        let include = (1..=10).map(|at| n * 10 + at).filter(|at| *at < POOLS);
        let include = if n < 100 {
            include.map(|at| name('p', at)).collect()
        } else {
            BTreeSet::new()
        };
        policy.pools.insert(
            name('p', n),
            Pool {
                title: String::new(),
                include,
            },
        );
    }
    for n in 0..MACHINES {
        let pools = [100 + n % 900, 100 + spread(n, 900)].map(|pool| name('p', pool));
        policy.machines.insert(
            name('m', n),
            Machine {
                pools: pools.into(),
            },
        );
    }
    policy.grants = (0..GRANTS)
        .map(|n| (n.into(), grant(n)))
        .collect::<BTreeMap<_, _>>();
    policy
});

fn grant(n: u32) -> Grant {
    Grant {
        who: if n.is_multiple_of(5) {
            Grantee::Employee(email(spread(n, EMPLOYEES)))
        } else {
            Grantee::Team(name('t', spread(n, TEAMS)))
        },
        account: if n.is_multiple_of(4) {
            GrantAccount::Shared(name('s', n % 20))
        } else {
            GrantAccount::Own
        },
        // One grant in a hundred is on a pool that includes others.
        pool: if n.is_multiple_of(100) {
            name('p', n / 100)
        } else {
            name('p', 100 + spread(n, 900))
        },
        conditions: Conditions {
            max_lifetime_secs: n.is_multiple_of(7).then_some(1800),
            ..Conditions::default()
        },
        sudo: Sudo::None,
        until_unix_secs: None,
        hours: None,
        recording: Recording::None,
        system_account: false,
    }
}

static INDEX: LazyLock<Index> = LazyLock::new(|| Index::new(&COMPANY));

fn now() -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + Duration::days(20_000)
}

fn request(n: u32) -> Request {
    Request {
        email: email(n % EMPLOYEES),
        session_ends: now() + Duration::hours(12),
        key: KeyKind::Plain,
        narrow: Narrow::default(),
    }
}

/// One login's decision, over all employees in turn.
#[divan::bench]
fn one_decision(bencher: Bencher) {
    LazyLock::force(&INDEX);
    let mut n = 0;
    bencher
        .with_inputs(|| {
            n += 1;
            request(n)
        })
        .bench_local_values(|request| decide(&INDEX, &request, now()));
}

/// The decision for the person with the most grants.
#[divan::bench]
fn one_decision_for_the_busiest(bencher: Bencher) {
    let granted = |n: &u32| reach_count(*n);
    let busiest = (0..EMPLOYEES).max_by_key(granted).unwrap();
    let request = request(busiest);
    bencher.bench_local(|| decide(&INDEX, black_box(&request), now()));
}

fn reach_count(n: u32) -> usize {
    match decide(&INDEX, &request(n), now()) {
        policies::Decision::Grant(orders) => {
            orders.iter().map(|order| order.principals().len()).sum()
        }
        policies::Decision::Deny(_) => 0,
    }
}

/// The accounts and principals of every machine.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn accounts_on_all_10_000_machines() -> usize {
    COMPANY
        .machines
        .keys()
        .map(|machine| accounts_on(&INDEX, machine, now()).len())
        .sum()
}

/// The same without copies: every machine's principals files as text, one after the other in one buffer.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn principals_files_of_all_10_000_machines() -> usize {
    let mut text = String::new();
    let mut bytes = 0;
    for machine in COMPANY.machines.keys() {
        for account in accounts_seen_on(&INDEX, machine, now()) {
            text.clear();
            account.write_principals(&mut text);
            bytes += black_box(&text).len();
        }
    }
    bytes
}

/// One person's machines, for the client.
#[divan::bench]
fn one_reach(bencher: Bencher) {
    LazyLock::force(&INDEX);
    let mut n = 0;
    bencher
        .with_inputs(|| {
            n += 1;
            email(n % EMPLOYEES)
        })
        .bench_local_values(|email| reach(&INDEX, &email, now()));
}

/// What everybody loses by a change.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn losses_of_all_10_000_employees() -> usize {
    let carried = BTreeSet::from(["e1@p100".parse().unwrap()]);
    COMPANY
        .employees
        .keys()
        .map(|email| lost_principals(&INDEX, &INDEX, email, &carried, now()).len())
        .sum()
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn compile_the_policy() -> Index {
    Index::new(&COMPANY)
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn check_the_policy() -> usize {
    check(&COMPANY).len()
}

fn main() {
    let index = &*INDEX;
    let grants: usize = (0..EMPLOYEES).map(reach_count).sum();
    let cells: usize = (0..100).map(|n| reach(index, &email(n), now()).len()).sum();
    let accounts: usize = COMPANY
        .machines
        .keys()
        .map(|machine| accounts_on(index, machine, now()).len())
        .sum();
    println!(
        "{EMPLOYEES} employees, {POOLS} pools, {MACHINES} machines, {GRANTS} grants: on average {} principals and {} accounts on machines a person, {} accounts a machine; {} problems",
        grants / EMPLOYEES as usize,
        cells / 100,
        accounts / MACHINES as usize,
        check(&COMPANY).len(),
    );
    divan::main();
}
