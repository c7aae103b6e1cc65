//! Small policies and keys, written down in one line each.

use std::collections::BTreeSet;

use policies::{
    Conditions, Decision, Email, Employee, Grant, GrantAccount, GrantId, Grantee, Index, KeyKind,
    Machine, Narrow, Order, Policy, Pool, Recording, Request, Status, Sudo, Team, decide,
};
use ssh_key::{
    PrivateKey, PublicKey,
    private::{Ed25519Keypair, KeypairData},
};
use time::{Duration, OffsetDateTime};

/// 2026-11-22 01:00:00 UTC
pub const NOW_SECS: u64 = 1_795_309_200;

pub fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(NOW_SECS as i64).unwrap()
}

pub fn email(name: &str) -> Email {
    format!("{name}@corp.example").parse().unwrap()
}

pub fn set<T: std::str::FromStr<Err: std::fmt::Debug> + Ord>(names: &[&str]) -> BTreeSet<T> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

/// A policy with words to write it.
#[derive(Debug, Clone, Default)]
pub struct Draft(pub Policy);

impl Draft {
    pub fn employee(mut self, name: &str) -> Self {
        let uid = 20_000 + self.0.employees.len() as u32;
        self.0.employees.insert(
            email(name),
            Employee {
                email: email(name),
                name: String::new(),
                account: name.parse().unwrap(),
                uid,
                status: Status::Active,
                roles: BTreeSet::new(),
                epoch: 7,
            },
        );
        self
    }

    pub fn pool(mut self, name: &str, include: &[&str]) -> Self {
        let pool = Pool {
            title: String::new(),
            include: set(include),
        };
        self.0.pools.insert(name.parse().unwrap(), pool);
        self
    }

    pub fn team(mut self, name: &str, people: &[&str], teams: &[&str]) -> Self {
        let team = Team {
            employees: people.iter().map(|name| email(name)).collect(),
            teams: set(teams),
        };
        self.0.teams.insert(name.parse().unwrap(), team);
        self
    }

    pub fn machine(mut self, name: &str, pools: &[&str]) -> Self {
        let machine = Machine { pools: set(pools) };
        self.0.machines.insert(name.parse().unwrap(), machine);
        self
    }

    pub fn grant(mut self, grant: Grant) -> Self {
        let id = 1 + self.0.grants.len() as GrantId;
        self.0.grants.insert(id, grant);
        self
    }

    pub fn with(mut self, change: impl FnOnce(&mut Policy)) -> Self {
        change(&mut self.0);
        self
    }

    pub fn index(&self) -> Index {
        Index::new(&self.0)
    }

    pub fn person(&mut self, name: &str) -> &mut Employee {
        self.0.employees.get_mut(&email(name)).unwrap()
    }
}

/// `who` is an employee's name or `%team`; `account` is `self` or a shared account.
pub fn grant(who: &str, account: &str, pool: &str) -> Grant {
    Grant {
        who: match who.strip_prefix('%') {
            Some(team) => Grantee::Team(team.parse().unwrap()),
            None => Grantee::Employee(email(who)),
        },
        account: match account {
            "self" => GrantAccount::Own,
            shared => GrantAccount::Shared(shared.parse().unwrap()),
        },
        pool: pool.parse().unwrap(),
        conditions: Conditions::default(),
        sudo: Sudo::None,
        until_unix_secs: None,
        hours: None,
        recording: Recording::None,
        system_account: false,
    }
}

pub fn changed(mut grant: Grant, change: impl FnOnce(&mut Grant)) -> Grant {
    change(&mut grant);
    grant
}

/// A request within a session that ends in twelve hours.
pub fn request(name: &str) -> Request {
    Request {
        email: email(name),
        session_ends: now() + Duration::hours(12),
        key: KeyKind::Plain,
        narrow: Narrow::default(),
    }
}

/// The orders of a request that must be granted.
pub fn orders(index: &Index, request: &Request) -> Vec<Order> {
    match decide(index, request, now()) {
        Decision::Grant(orders) => orders,
        Decision::Deny(reason) => panic!("denied: {reason}"),
    }
}

/// All principals of all orders, as text.
pub fn principals(orders: &[Order]) -> Vec<String> {
    let mut all: Vec<String> = orders
        .iter()
        .flat_map(|order| order.principals().iter())
        .map(ToString::to_string)
        .collect();
    all.sort();
    all
}

/// The Ed25519 key of `seed`.
pub fn key(seed: u8) -> PrivateKey {
    let pair = Ed25519Keypair::from_seed(&[seed; 32]);
    PrivateKey::new(KeypairData::Ed25519(pair), "").unwrap()
}

pub fn public(seed: u8) -> PublicKey {
    key(seed).public_key().clone()
}
