//! How long decisions take in a large company: 10,000 employees, 1,000 pools, 10,000 machines, 5,000 grants.
//!
//! `cargo bench -p policies`

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a bench that fails should stop, and it looks at the clock"
)]

use std::{collections::BTreeSet, hint::black_box, sync::LazyLock};

use divan::Bencher;
use policies::{
    Index, KeyKind, Narrow, Request, accounts_on, accounts_seen_on, check, decide, lost_principals,
    reach,
};
use time::Duration;

#[path = "company/large.rs"]
mod company;

use company::{COMPANY, EMPLOYEES, GRANTS, MACHINES, POOLS, email, now};

static INDEX: LazyLock<Index> = LazyLock::new(|| Index::new(&COMPANY));

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

/// What this process holds, as the kernel counts it (`VmRSS`, `VmHWM`).
fn memory(field: &str) -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(field));
    let kib = line.and_then(|line| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok());
    kib.map_or("unknown".to_owned(), |kib| format!("{} MiB", kib / 1024))
}

fn main() {
    let empty = memory("VmRSS");
    LazyLock::force(&COMPANY);
    let policy = memory("VmRSS");
    LazyLock::force(&INDEX);
    println!(
        "memory: {empty} at first, {policy} with the policy, {} with its index too",
        memory("VmRSS")
    );
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
    println!("at most {} until here", memory("VmHWM"));
    divan::main();
    println!("at most {} with all of this", memory("VmHWM"));
}
