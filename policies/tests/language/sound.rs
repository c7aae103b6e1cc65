//! Random small policies without an error, in which every field of the language is used.

use std::collections::BTreeSet;

use policies::{
    Conditions, Email, Employee, Extension, Grant, GrantAccount, Grantee, KeyDemand, Limits,
    Machine, Policy, Pool, PoolName, Recording, Role, Severity, Status, Sudo, Team, TeamName,
    check,
};
use proptest::prelude::*;

use crate::world::{NOW, email};

pub const PEOPLE: [&str; 6] = [
    "ann@corp.example",
    "bob@corp.example",
    "cyd+x@corp.example",
    "dan.dee@a.corp.example",
    "eve@corp.example",
    "fay@corp.example",
];
const ACCOUNTS: [&str; 6] = ["ann", "bob", "cyd", "dan", "eve", "fay"];
const TEAMS: [&str; 4] = ["ops", "web.devs", "contractors", "empty-team"];
const POOLS: [&str; 5] = ["all", "web", "db.eu", "edge-1", "spare"];
const MACHINES: [&str; 6] = [
    "web-1",
    "web-2.corp.example",
    "db-1",
    "db-2",
    "edge",
    "spare-1",
];
const SHARED: [&str; 4] = ["deploy", "backup-run", "root", "postgres"];
const NAMES: [&str; 5] = ["", "Ann A.", "\"Bob\" \\ B", "Zoë 'Z' # {x}", "[x] = 1"];
const HOURS: [&str; 4] = [
    "Mon-Fri 08:00-18:00 Europe/Berlin",
    "Mon,Wed 22:00-06:00",
    "Sat 10:00-12:00 America/New_York; Sun 00:00-24:00",
    "Mon-Sun 06:00-22:00",
];
const COMMANDS: [&str; 3] = [
    "/usr/bin/rsync --server \"x\" \\ 'y'",
    "/bin/true",
    "echo # = [é]",
];
const SUDO: [&str; 3] = ["/usr/bin/systemctl restart nginx", "/bin/a", "/bin/b -x"];
const SOURCES: [&str; 4] = ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "0.0.0.0/0"];

/// Bytes from which one case is made; when they run out it is all zeros.
pub struct Dice<'b>(std::slice::Iter<'b, u8>);

pub fn bytes() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 60..400)
}

impl<'b> Dice<'b> {
    pub fn new(bytes: &'b [u8]) -> Self {
        Self(bytes.iter())
    }

    pub fn below(&mut self, sides: usize) -> usize {
        self.0.next().map_or(0, |byte| *byte as usize % sides)
    }

    pub fn one<'t>(&mut self, of: &[&'t str]) -> &'t str {
        of[self.below(of.len())]
    }

    fn some(&mut self, of: &[&str], most: usize) -> BTreeSet<String> {
        (0..self.below(most + 1))
            .map(|_| self.one(of).to_owned())
            .collect()
    }

    /// A policy that `check` finds no error in.
    pub fn policy(&mut self) -> Policy {
        let mut policy = Policy {
            limits: Limits {
                session_secs: [12 * 3600, 600, 90_061][self.below(3)],
                lifetime_secs: [8 * 3600, 100][self.below(2)],
                admin_lifetime_secs: [60, 1][self.below(2)],
                ceiling_secs: [24 * 3600, 31 * 24 * 3600][self.below(2)],
            },
            ..Policy::default()
        };
        for at in 0..PEOPLE.len() {
            if self.below(8) < 7 {
                let person = self.person(at);
                policy.employees.insert(person.email.clone(), person);
            }
        }
        let here: Vec<Email> = here(&policy);
        for (at, name) in TEAMS.iter().enumerate() {
            if self.below(6) == 0 {
                continue;
            }
            let team = Team {
                employees: here
                    .iter()
                    .filter(|_| *name != "empty-team" && self.below(3) == 0)
                    .cloned()
                    .collect(),
                // Only those that come later, so that there is no circle.
                teams: parsed::<TeamName>(self.some(&TEAMS[at + 1..], usize::from(at < 3) * 2)),
            };
            policy.teams.insert(name.parse().unwrap(), team);
        }
        for (at, name) in POOLS.iter().enumerate() {
            if self.below(8) == 0 {
                continue;
            }
            let pool = Pool {
                title: self.one(&NAMES).to_owned(),
                include: parsed::<PoolName>(self.some(&POOLS[at + 1..], usize::from(at < 4) * 2)),
            };
            policy.pools.insert(name.parse().unwrap(), pool);
        }
        Self::tidy(&mut policy);
        for name in MACHINES {
            let mut pools = parsed::<PoolName>(self.some(&POOLS, 2));
            pools.retain(|pool| policy.pools.contains_key(pool));
            policy
                .machines
                .insert(name.parse().unwrap(), Machine { pools });
        }
        let mut id = 1 + self.below(3) as u64;
        for _ in 0..self.below(12) {
            self.add_grant(&mut policy, id);
            id += 1 + self.below(3) as u64;
        }
        policy
    }

    /// What names something that was left out by chance is left out too.
    fn tidy(policy: &mut Policy) {
        let teams: BTreeSet<TeamName> = policy.teams.keys().cloned().collect();
        for team in policy.teams.values_mut() {
            team.teams.retain(|name| teams.contains(name));
        }
        let pools: BTreeSet<PoolName> = policy.pools.keys().cloned().collect();
        for pool in policy.pools.values_mut() {
            pool.include.retain(|name| pools.contains(name));
        }
    }

    fn person(&mut self, at: usize) -> Employee {
        let status = match self.below(8) {
            0 => Status::Invited,
            1 => Status::Suspended,
            2 => Status::Removed,
            _ => Status::Active,
        };
        let admin = self.below(4) == 0 && status != Status::Removed;
        Employee {
            email: email(PEOPLE[at]),
            name: self.one(&NAMES).to_owned(),
            account: ACCOUNTS[at].parse().unwrap(),
            uid: [66_000, 5_000][usize::from(self.below(5) == 0)] + at as u32,
            status,
            roles: admin.then_some(Role::Admin).into_iter().collect(),
            epoch: 1 + self.below(3) as u64,
        }
    }

    /// Adds a grant, unless it would be an error beside the others.
    fn add_grant(&mut self, policy: &mut Policy, id: u64) {
        let Some(grant) = self.grant(policy) else {
            return;
        };
        policy.grants.insert(id, grant);
        let errors = |policy: &Policy| {
            let mut problems = check(policy).into_iter();
            problems.any(|problem| problem.severity() == Severity::Error)
        };
        if errors(policy) {
            policy.grants.remove(&id);
        }
    }

    fn grant(&mut self, policy: &Policy) -> Option<Grant> {
        let people = here(policy);
        let teams: Vec<&TeamName> = policy.teams.keys().collect();
        let pools: Vec<&PoolName> = policy.pools.keys().collect();
        if people.is_empty() || teams.is_empty() || pools.is_empty() {
            return None;
        }
        let who = match self.below(2) {
            0 => Grantee::Employee(people[self.below(people.len())].clone()),
            _ => Grantee::Team(teams[self.below(teams.len())].clone()),
        };
        let pool = pools[self.below(pools.len())].clone();
        let plain = self.below(4) == 0;
        let account = match self.below(2) {
            0 => GrantAccount::Own,
            _ if plain => GrantAccount::Own,
            _ => GrantAccount::Shared(self.one(&SHARED).parse().unwrap()),
        };
        if plain {
            return Some(Grant {
                who,
                account,
                pool,
                conditions: Conditions::default(),
                sudo: Sudo::None,
                until_unix_secs: None,
                hours: None,
                recording: Recording::None,
                system_account: false,
            });
        }
        Some(Grant {
            who,
            account,
            pool,
            conditions: self.conditions(),
            sudo: match self.below(6) {
                0 => Sudo::All,
                1 => Sudo::Commands(BTreeSet::from([self.one(&SUDO).to_owned()])),
                2 => Sudo::Commands(self.some(&SUDO, 3)),
                _ => Sudo::None,
            },
            until_unix_secs: self.until(),
            hours: match self.below(3) {
                0 => Some(self.one(&HOURS).parse().unwrap()),
                _ => None,
            },
            recording: Recording::None,
            system_account: self.below(2) == 0,
        })
    }

    fn until(&mut self) -> Option<i64> {
        let now = NOW.unix_timestamp();
        match self.below(10) {
            0 => Some(now + 3600),
            1 => Some(now),
            2 => Some(now - 1),
            3 => Some(now + 400 * 86_400),
            4 => Some([i64::MAX, -1, 0, -62_135_596_801, 253_402_300_800][self.below(5)]),
            _ => None,
        }
    }

    fn conditions(&mut self) -> Conditions {
        let command = (self.below(5) == 0).then(|| self.one(&COMMANDS).to_owned());
        let mut extensions = BTreeSet::new();
        for extension in [
            Extension::Pty,
            Extension::PortForwarding,
            Extension::AgentForwarding,
            Extension::X11Forwarding,
            Extension::UserRc,
        ] {
            if self.below(3) == 0 && !(command.is_some() && extension == Extension::UserRc) {
                extensions.insert(extension);
            }
        }
        if self.below(2) == 0 {
            extensions = Conditions::default().extensions;
        }
        let most = usize::from(self.below(3) == 0) * 5;
        Conditions {
            max_lifetime_secs: [None, Some(30), Some(u64::MAX), Some(5400)][self.below(4)],
            sources: self.some(&SOURCES, most),
            forced_command: command,
            extensions,
            key: match self.below(4) {
                0 => KeyDemand::SecurityKey,
                _ => KeyDemand::Any,
            },
        }
    }

    /// One change that a document can say; the policy stays without an error.
    pub fn edit(&mut self, policy: &mut Policy) {
        let before = policy.clone();
        let who = email(self.one(&PEOPLE));
        let grant = policy.grants.keys().nth(self.below(12)).copied();
        match self.below(9) {
            0 => drop(grant.and_then(|id| policy.grants.remove(&id))),
            1 => {
                let id = policy.grants.keys().next_back().map_or(0, |id| id + 1);
                self.add_grant(policy, id);
            }
            2 => {
                if let Some(grant) = grant.and_then(|id| policy.grants.get_mut(&id)) {
                    grant.conditions = self.conditions();
                }
            }
            3 => {
                if let Some(grant) = grant.and_then(|id| policy.grants.get_mut(&id)) {
                    grant.sudo = [Sudo::None, Sudo::All][self.below(2)].clone();
                    grant.until_unix_secs = self.until();
                }
            }
            4 => {
                let team: TeamName = self.one(&TEAMS).parse().unwrap();
                let people = here(policy);
                if let Some(team) = policy.teams.get_mut(&team)
                    && people.contains(&who)
                    && !team.employees.remove(&who)
                {
                    team.employees.insert(who);
                }
            }
            5 => {
                let machine = self.one(&MACHINES).parse().unwrap();
                let mut pools = parsed::<PoolName>(self.some(&POOLS, 3));
                pools.retain(|pool| policy.pools.contains_key(pool));
                policy.machines.insert(machine, Machine { pools });
            }
            6 => {
                if let Some(person) = policy.employees.get_mut(&who)
                    && person.status != Status::Removed
                {
                    person.status =
                        [Status::Active, Status::Suspended, Status::Invited][self.below(3)];
                }
            }
            7 => {
                let at = self.below(POOLS.len() - 1);
                let include = parsed::<PoolName>(self.some(&POOLS[at + 1..], 2));
                if let Some(pool) = policy
                    .pools
                    .get_mut(&POOLS[at].parse::<PoolName>().unwrap())
                {
                    pool.include = include;
                }
                Self::tidy(policy);
            }
            _ => {
                if let Some(person) = policy.employees.get_mut(&who) {
                    person.status = Status::Removed;
                    person.roles.clear();
                    let gone = Grantee::Employee(who.clone());
                    policy.grants.retain(|_, grant| grant.who != gone);
                    for team in policy.teams.values_mut() {
                        team.employees.remove(&who);
                    }
                }
            }
        }
        let mut problems = check(policy).into_iter();
        if problems.any(|problem| problem.severity() == Severity::Error) {
            *policy = before;
        }
    }
}

fn here(policy: &Policy) -> Vec<Email> {
    let people = policy.employees.values();
    people
        .filter(|person| person.status != Status::Removed)
        .map(|person| person.email.clone())
        .collect()
}

fn parsed<N: std::str::FromStr<Err: std::fmt::Debug> + Ord>(
    names: BTreeSet<String>,
) -> BTreeSet<N> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}
