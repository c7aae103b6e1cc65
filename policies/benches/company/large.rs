//! A large company, the same every time: 10,000 employees, 1,000 pools, 10,000 machines, 5,000 grants.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use policies::{
    Conditions, Email, Employee, Grant, GrantAccount, Grantee, Machine, Policy, Pool, Recording,
    Status, Sudo, Team,
};
use time::{Duration, OffsetDateTime};

pub const EMPLOYEES: u32 = 10_000;
const TEAMS: u32 = 500;
pub const POOLS: u32 = 1_000;
pub const MACHINES: u32 = 10_000;
pub const GRANTS: u32 = 5_000;

pub fn email(n: u32) -> Email {
    format!("e{n}@corp.example").parse().unwrap()
}

pub fn name<N: std::str::FromStr<Err: std::fmt::Debug>>(letter: char, n: u32) -> N {
    format!("{letter}{n}").parse().unwrap()
}

/// Nobody's random numbers: the same company every time.
fn spread(n: u32, below: u32) -> u32 {
    n.wrapping_mul(2_654_435_761).rotate_left(13) % below
}

/// Teams of 40 within departments, pools in a tree three levels deep, a person in two teams, a machine in two pools.
pub static COMPANY: LazyLock<Policy> = LazyLock::new(|| {
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

pub fn now() -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + Duration::days(20_000)
}
