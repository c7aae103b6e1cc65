//! How long documents, plans and sentences take in a large company: 10,000 employees, 1,000 pools, 10,000 machines, 5,000 grants.
//!
//! `cargo bench -p policies --bench language`

#![allow(clippy::unwrap_used, reason = "a bench that fails should stop")]

use std::{collections::BTreeSet, sync::LazyLock};

use policies::{
    Conditions, Grant, GrantAccount, Grantee, Policy, Pool, Recording, Status, Sudo,
    document::{Base, Numbers, Orphans, Reading, Spent, canonical, export, read},
    expect::{Expectation, judge},
    plan::{Detail, Plan, plan},
};

#[path = "company/large.rs"]
mod company;

use company::{COMPANY, EMPLOYEES, GRANTS, MACHINES, POOLS, email, name, now};

fn main() {
    let sums = |what: &str, plan: &Plan| {
        let counts = plan.counts;
        println!(
            "{what}: {} cells gained, {} lost, {} changed; {} entries of access, {} of machines; JSON {} kB",
            counts.cells_gained,
            counts.cells_lost,
            counts.cells_changed,
            plan.access.len(),
            plan.machines.len(),
            serde_json::to_vec(plan).unwrap().len() / 1000
        );
    };
    println!(
        "{EMPLOYEES} employees, {POOLS} pools, {MACHINES} machines, {GRANTS} grants; the document has {} kB",
        TEXT.len() / 1000
    );
    sums("one team gets one pool", &one_grant());
    sums("a document that sets every lifetime", &every_lifetime());
    sums("from nothing", &from_nothing());
    sums("everybody gets everything", &everything());
    divan::main();
}

static TEXT: LazyLock<String> = LazyLock::new(|| export(&COMPANY, &[]));

fn changed(change: impl FnOnce(&mut Policy)) -> Policy {
    let mut policy = COMPANY.clone();
    change(&mut policy);
    policy
}

fn plain(who: Grantee, pool: &str) -> Grant {
    Grant {
        who,
        account: GrantAccount::Own,
        pool: pool.parse().unwrap(),
        conditions: Conditions::default(),
        sudo: Sudo::None,
        until_unix_secs: None,
        hours: None,
        recording: Recording::None,
        system_account: false,
    }
}

static ONE_GRANT: LazyLock<Policy> = LazyLock::new(|| {
    changed(|policy| {
        let grant = plain(Grantee::Team(name('t', 20)), "p1");
        policy.grants.insert(9_999, grant);
    })
});

static EVERY_LIFETIME: LazyLock<Policy> = LazyLock::new(|| {
    changed(|policy| {
        for grant in policy.grants.values_mut() {
            grant.conditions.max_lifetime_secs = Some(900);
        }
    })
});

static NOTHING: LazyLock<Policy> = LazyLock::new(|| {
    let mut policy = Policy {
        machines: COMPANY.machines.clone(),
        ..Policy::default()
    };
    for machine in policy.machines.values_mut() {
        machine.pools.clear();
    }
    policy
});

/// The most that one line can do.
static EVERYTHING: LazyLock<Policy> = LazyLock::new(|| {
    changed(|policy| {
        let everywhere = Pool {
            title: String::new(),
            include: policy.pools.keys().cloned().collect(),
        };
        policy
            .pools
            .insert("everywhere".parse().unwrap(), everywhere);
        let employees = policy.employees.keys().cloned().collect();
        let everybody = policies::Team {
            employees,
            teams: BTreeSet::new(),
        };
        policy.teams.insert("everybody".parse().unwrap(), everybody);
        let grant = plain(Grantee::Team("everybody".parse().unwrap()), "everywhere");
        policy.grants.insert(9_999, grant);
    })
});

#[divan::bench(sample_count = 5, sample_size = 1)]
fn nothing_changes() -> Plan {
    plan(&COMPANY, &COMPANY, now(), Detail::SUMMARY)
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn one_grant() -> Plan {
    plan(&COMPANY, &ONE_GRANT, now(), Detail::SUMMARY)
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn every_lifetime() -> Plan {
    plan(&COMPANY, &EVERY_LIFETIME, now(), Detail::SUMMARY)
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn from_nothing() -> Plan {
    plan(&NOTHING, &COMPANY, now(), Detail::SUMMARY)
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn everything() -> Plan {
    plan(&COMPANY, &EVERYTHING, now(), Detail::SUMMARY)
}

/// The company's document against its store.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn read_the_document() -> Reading {
    let base = Base {
        file: "policy.toml",
        store: &COMPANY,
        numbers: Numbers {
            next_grant: 10_000,
            first_uid: 20_000,
            next_uid: 90_000,
            last_uid: 99_999,
        },
        enrolled: &BTreeSet::new(),
        spent: &Spent::default(),
        orphans: Orphans::Refuse,
    };
    let reading = read(&TEXT, &base).unwrap();
    assert_eq!(reading.policy, *COMPANY);
    reading
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn write_the_document() -> String {
    export(&COMPANY, &[])
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn canonical_bytes() -> Vec<u8> {
    canonical(&COMPANY)
}

/// Sentences about everybody on a pool that holds others, and about teams and people.
#[divan::bench(sample_count = 3, sample_size = 1)]
fn judge_forty_sentences() -> usize {
    let sentences: Vec<Expectation> = (0..10)
        .flat_map(|n| {
            [
                format!("nobody reaches m{n} as root"),
                format!("a member of t{n} never reaches m{n} as root on Monday at 10:00"),
                format!("every member of t{n} reaches m{n}"),
                format!("{} never reaches pool p{n} with sudo", email(n)),
            ]
        })
        .map(|text| Expectation::parse(&text, &COMPANY).unwrap())
        .collect();
    assert_eq!(COMPANY.employees[&email(1)].status, Status::Active);
    judge(&COMPANY, &sentences, now()).len()
}
