//! Random small policies, dense with what goes wrong: cycles, unknown names, system accounts, ends in the past, clocks that are turned.

use std::collections::{BTreeMap, BTreeSet};

use policies::{
    Conditions, Employee, Extension, Grant, GrantAccount, Grantee, Hours, KeyDemand, KeyKind,
    Limits, Machine, Narrow, Policy, Pool, Recording, Request, Role, Status, Sudo, Team,
};
use proptest::prelude::*;
use time::{Duration, OffsetDateTime};

use crate::wall::{TURNS, ZONES};

pub const PEOPLE: [&str; 5] = ["ann", "bob", "cyd", "dan", "eve"];
const TEAMS: [&str; 5] = ["t0", "t1", "t2", "t3", "no-team"];
const POOLS: [&str; 7] = ["p0", "p1", "p2", "p3", "p4", "_own", "no-pool"];
pub const MACHINES: [&str; 4] = ["m0", "m1", "m2", "m3"];
/// Shared accounts in grants: two plain ones, a system one, one that is never granted, and one that may be somebody's own.
const SHARED: [&str; 8] = [
    "deploy",
    "deploy",
    "deploy",
    "backup-run",
    "backup-run",
    "root",
    "ssh-admin",
    "ann",
];
const SOURCES: [&str; 3] = ["10.0.0.0/8", "192.0.2.0/24", "10.0.0.1/8"];
const COMMANDS: [&str; 3] = ["/bin/true", "/bin/date", "bad\ncommand"];

/// Bytes from which one case is made; when they run out it is all zeros.
#[derive(Debug)]
pub struct Dice<'b> {
    bytes: std::slice::Iter<'b, u8>,
    /// Around what time everything happens.
    base_secs: i64,
}

pub fn bytes() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 200..700)
}

impl<'b> Dice<'b> {
    pub fn new(bytes: &'b [u8]) -> Self {
        let mut dice = Self {
            bytes: bytes.iter(),
            base_secs: 0,
        };
        // Within twelve hours of a turn of clocks, and close to a quarter of an hour: hours begin and end there.
        let quarters = dice.below(97) as i64 - 48;
        let seconds = [0, 0, -1, 1, -70, -300, -899][dice.below(7)];
        dice.base_secs = TURNS[dice.below(TURNS.len())] + quarters * 900 + seconds;
        dice
    }

    fn base(&self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(self.base_secs).unwrap()
    }

    pub fn below(&mut self, sides: usize) -> usize {
        self.bytes.next().map_or(0, |byte| *byte as usize % sides)
    }

    fn one<'t>(&mut self, of: &[&'t str]) -> &'t str {
        of[self.below(of.len())]
    }

    fn some<N: std::str::FromStr<Err: std::fmt::Debug> + Ord>(
        &mut self,
        of: &[&str],
        most: usize,
    ) -> BTreeSet<N> {
        (0..self.below(most + 1))
            .map(|_| self.one(of).parse().unwrap())
            .collect()
    }

    pub fn policy(&mut self) -> Policy {
        let mut policy = Policy {
            limits: Limits {
                session_secs: 600,
                lifetime_secs: [1, 100, 500, 20_000, 20_000][self.below(5)],
                admin_lifetime_secs: [1, 50, 20_000][self.below(3)],
                ceiling_secs: [500, 80, 20_000, 1_000_000, u64::MAX][self.below(5)],
            },
            ..Policy::default()
        };
        for (at, name) in PEOPLE.into_iter().enumerate() {
            if self.below(16) < 15 {
                let employee = self.employee(at, name);
                policy.employees.insert(employee.email.clone(), employee);
            }
        }
        for name in &TEAMS[..4] {
            let team = Team {
                employees: (0..self.below(4))
                    .map(|_| crate::build::email(self.one(&PEOPLE)))
                    .collect(),
                teams: self.some(&TEAMS, 2),
            };
            policy.teams.insert(name.parse().unwrap(), team);
        }
        for name in &POOLS[..6] {
            let pool = Pool {
                title: String::new(),
                include: self.some(&POOLS, 2),
            };
            policy.pools.insert(name.parse().unwrap(), pool);
        }
        for name in MACHINES {
            let machine = Machine {
                pools: self.some(&POOLS, 2),
            };
            policy.machines.insert(name.parse().unwrap(), machine);
        }
        policy.grants = (0..self.below(20) as u64)
            .map(|id| (id, self.grant()))
            .collect::<BTreeMap<_, _>>();
        policy
    }

    fn employee(&mut self, at: usize, name: &str) -> Employee {
        let odd = self.below(32);
        Employee {
            email: crate::build::email(name),
            name: String::new(),
            account: match odd {
                0 => "root",
                1 => "bob",
                2 => "deploy",
                _ => name,
            }
            .parse()
            .unwrap(),
            uid: match odd {
                3 => 999,
                4 => 20_000,
                _ => 20_000 + at as u32,
            },
            status: match self.below(16) {
                0 => Status::Invited,
                1 => Status::Suspended,
                2 => Status::Removed,
                _ => Status::Active,
            },
            roles: if self.below(4) == 0 {
                BTreeSet::from([Role::Admin])
            } else {
                BTreeSet::new()
            },
            epoch: self.below(3) as u64,
        }
    }

    fn grant(&mut self) -> Grant {
        Grant {
            who: if self.below(2) == 0 {
                Grantee::Employee(crate::build::email(self.one(&PEOPLE)))
            } else {
                Grantee::Team(self.one(&TEAMS).parse().unwrap())
            },
            account: if self.below(3) < 2 {
                GrantAccount::Own
            } else {
                GrantAccount::Shared(self.one(&SHARED).parse().unwrap())
            },
            pool: match self.below(8) {
                0 => self.one(&POOLS),
                _ => self.one(&POOLS[..5]),
            }
            .parse()
            .unwrap(),
            conditions: self.conditions(),
            sudo: match self.below(5) {
                0 => Sudo::All,
                1 => Sudo::Commands(BTreeSet::from(["/bin/a".to_owned(), "/bin/b".to_owned()])),
                2 => Sudo::Commands(BTreeSet::from(["/bin/b".to_owned()])),
                _ => Sudo::None,
            },
            until_unix_secs: match self.below(16) {
                0 => Some(self.base_secs + 1),
                1 => Some(self.base_secs),
                2 => Some(self.base_secs + 75),
                3 => Some(-1),
                4 => Some(i64::MAX),
                _ => None,
            },
            hours: (self.below(2) == 0).then(|| self.hours()),
            recording: match self.below(16) {
                0 => Recording::Required,
                _ => Recording::None,
            },
            system_account: self.below(3) == 0,
        }
    }

    fn conditions(&mut self) -> Conditions {
        let mut conditions = Conditions {
            max_lifetime_secs: [
                None,
                None,
                None,
                Some(30),
                Some(u64::MAX),
                Some(7000),
                Some(200),
                Some(0),
            ][self.below(8)],
            ..Conditions::default()
        };
        if self.below(6) == 0 {
            conditions.sources.insert(self.one(&SOURCES).to_owned());
        }
        if self.below(6) == 0 {
            conditions.forced_command = Some(self.one(&COMMANDS).to_owned());
        }
        if self.below(6) == 0 {
            conditions.extensions.insert(Extension::UserRc);
        }
        if self.below(6) == 0 {
            conditions.extensions.clear();
        }
        if self.below(4) == 0 {
            conditions.key = KeyDemand::SecurityKey;
        }
        conditions
    }

    /// One to three windows at quarters of an hour; often one begins where another ends.
    fn hours(&mut self) -> Hours {
        let mut windows = Vec::new();
        let mut begin = self.below(96);
        for _ in 0..=self.below(3) {
            let days = self.one(&["Mon-Sun", "Mon-Sun", "Sun", "Sat,Sun", "Mon-Fri", "Sat-Mon"]);
            let length = match self.below(2) {
                0 => 1 + self.below(12),
                _ => 1 + self.below(95),
            };
            let time = |quarter: usize| format!("{:02}:{:02}", quarter / 4, quarter % 4 * 15);
            let end = match begin + length {
                // Midnight is written in both ways.
                96 => "24:00".to_owned(),
                end => time(end % 96),
            };
            windows.push(format!("{days} {}-{end}{}", time(begin), self.one(&ZONES)));
            begin = match self.below(2) {
                0 => (begin + length) % 96,
                _ => self.below(96),
            };
        }
        windows.join("; ").parse().unwrap()
    }

    /// A clock between two seconds, at or just after the base.
    pub fn now(&mut self) -> OffsetDateTime {
        self.base() + Duration::milliseconds([0, 1, 500, 999][self.below(4)])
    }

    pub fn request(&mut self) -> Request {
        let session_ms = [
            43_200_000, 43_200_000, 43_200_000, 43_200_000, 43_200_000, 20_000_000, 600_000,
            90_500, 1_000, 999, 0, -5_000,
        ][self.below(12)];
        let lifetimes = [None, None, None, Some(0), Some(1), Some(40), Some(u64::MAX)];
        Request {
            email: crate::build::email(self.one(&[
                "ann", "ann", "bob", "bob", "cyd", "cyd", "dan", "eve", "nobody",
            ])),
            session_ends: self.base() + Duration::milliseconds(session_ms),
            key: [KeyKind::SecurityKey, KeyKind::Plain][self.below(2)],
            narrow: Narrow {
                lifetime_secs: lifetimes[self.below(7)],
                pools: (self.below(4) == 0).then(|| self.some(&POOLS, 3)),
            },
        }
    }

    /// One change that an admin might make; some narrow, some widen.
    pub fn edit(&mut self, policy: &mut Policy) {
        let person = crate::build::email(self.one(&PEOPLE));
        let team = self.one(&TEAMS).parse().unwrap();
        let grant = policy.grants.keys().nth(self.below(10)).copied();
        match self.below(8) {
            0 => drop(grant.and_then(|id| policy.grants.remove(&id))),
            1 => drop(
                policy
                    .teams
                    .get_mut(&team)
                    .map(|team| team.employees.remove(&person)),
            ),
            2 => drop(
                policy
                    .employees
                    .get_mut(&person)
                    .map(|person| person.status = Status::Suspended),
            ),
            3 => drop(
                policy
                    .employees
                    .get_mut(&person)
                    .map(|person| person.roles.insert(Role::Admin)),
            ),
            4 => drop(
                grant
                    .and_then(|id| policy.grants.get_mut(&id))
                    .map(|grant| {
                        grant.conditions = self.conditions();
                    }),
            ),
            5 => drop(
                grant
                    .and_then(|id| policy.grants.get_mut(&id))
                    .map(|grant| {
                        grant.until_unix_secs = [None, Some(self.base_secs + 5)][self.below(2)];
                    }),
            ),
            6 => drop(
                grant
                    .and_then(|id| policy.grants.get_mut(&id))
                    .map(|grant| {
                        grant.hours = (self.below(4) > 0).then(|| self.hours());
                    }),
            ),
            _ => drop(policy.grants.insert(99, self.grant())),
        }
    }
}
