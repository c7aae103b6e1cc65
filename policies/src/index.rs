//! A policy made ready for decisions: memberships and nesting resolved once, what is unsound left out.

use std::collections::BTreeSet;

use crate::{
    AccountName, Email, Employee, Grant, GrantAccount, GrantId, Grantee, Limits, MachineName,
    Policy, PoolName, Status, TeamName,
    graph::{Graph, number},
    rules,
};

/// A compiled policy: one decision looks names up and never walks the whole.
///
/// What [`crate::check()`] reports as an error is left out here, so that it grants nothing: inclusions on a cycle, unknown and
/// reserved names, grants with a fault, and own accounts that two people claim. Building never fails and never loops.
#[derive(Debug, Clone)]
pub struct Index {
    limits: Limits,
    people: Vec<Person>,
    /// For each person: the account that machines have for them, if any.
    account_on_machines: Vec<Option<u32>>,
    /// Everybody's own accounts and the shared ones of sound grants.
    accounts: Vec<AccountName>,
    /// For each account: the person whose own it is, if it is sound.
    owners: Vec<Option<u32>>,
    pools: Vec<PoolName>,
    /// For each pool: itself and every pool that it includes.
    below: Vec<Vec<u32>>,
    /// For each pool: the machines put into it directly.
    machines_in: Vec<Vec<u32>>,
    machines: Vec<MachineName>,
    /// For each machine: the pools that it belongs to, including ones included, sorted.
    pools_of_machine: Vec<Vec<u32>>,
    /// For each team: its people, nested ones too, sorted.
    members: Vec<Vec<u32>>,
    /// For each team: the grants made to it.
    team_grants: Vec<Vec<u32>>,
    /// For each pool: the grants on it.
    pool_grants: Vec<Vec<u32>>,
    grants: Vec<IndexedGrant>,
}

/// An employee and what was resolved about them.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) employee: Employee,
    /// Their account and uid are sound and nobody else's.
    pub(crate) own_account: OwnAccount,
    /// Teams, nested ones too.
    teams: Vec<u32>,
    /// Grants made to them by name.
    grants: Vec<u32>,
}

impl Person {
    /// Invited people are, so that the account is there when they have enrolled.
    pub(crate) fn is_on_machines(&self) -> bool {
        match self.employee.status {
            Status::Invited | Status::Active => true,
            Status::Suspended | Status::Removed => false,
        }
    }
}

/// Whether grants of the own account count for somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OwnAccount {
    /// They count.
    Sound,
    /// The account or uid is unusable or also somebody else's: nothing is granted on it.
    Unsound,
}

/// A sound grant with its names resolved.
#[derive(Debug, Clone)]
pub(crate) struct IndexedGrant {
    pub(crate) id: GrantId,
    pub(crate) grant: Grant,
    pub(crate) pool: u32,
    /// The number of the shared account; `None` for each one's own.
    shared: Option<u32>,
    who: Who,
}

#[derive(Debug, Clone, Copy)]
enum Who {
    Person(u32),
    Team(u32),
}

impl Index {
    /// Compiles `policy`.
    #[must_use]
    pub fn new(policy: &Policy) -> Self {
        let facts = rules::Facts::of(policy);
        let pools: Vec<PoolName> = policy
            .pools
            .keys()
            .filter(|name| !rules::is_reserved_pool(name))
            .cloned()
            .collect();
        let pool_graph = Graph::new(
            pools
                .iter()
                .map(|name| numbers(&pools, &policy.pools[name].include))
                .collect(),
        )
        .without_cycles();

        let mut people: Vec<Person> = policy
            .employees
            .iter()
            .map(|(email, employee)| Person {
                employee: Employee {
                    email: email.clone(),
                    ..employee.clone()
                },
                own_account: if facts.own_account_is_sound(email) {
                    OwnAccount::Sound
                } else {
                    OwnAccount::Unsound
                },
                teams: Vec::new(),
                grants: Vec::new(),
            })
            .collect();
        let emails: Vec<Email> = policy.employees.keys().cloned().collect();
        let teams: Vec<TeamName> = policy.teams.keys().cloned().collect();
        let members = team_members(policy, &teams, &emails);
        for (team, list) in members.iter().enumerate() {
            for &person in list {
                people[person as usize].teams.push(number(team));
            }
        }

        let above = pool_graph.reversed().closure();
        let machines: Vec<MachineName> = policy.machines.keys().cloned().collect();
        let mut machines_in = vec![Vec::new(); pools.len()];
        let mut pools_of_machine = Vec::with_capacity(machines.len());
        for (position, machine) in policy.machines.values().enumerate() {
            let mut all = BTreeSet::new();
            for pool in numbers(&pools, &machine.pools) {
                machines_in[pool as usize].push(number(position));
                all.extend(above[pool as usize].iter().copied());
            }
            pools_of_machine.push(all.into_iter().collect());
        }

        let mut team_grants = vec![Vec::new(); teams.len()];
        let mut pool_grants = vec![Vec::new(); pools.len()];
        let mut grants = Vec::with_capacity(policy.grants.len());
        for (&id, grant) in &policy.grants {
            if !rules::grant_is_sound(id, grant, &facts) {
                continue;
            }
            let who = match &grant.who {
                Grantee::Employee(email) => find(&emails, email).map(Who::Person),
                Grantee::Team(team) => find(&teams, team).map(Who::Team),
            };
            let (Some(who), Some(pool)) = (who, find(&pools, &grant.pool)) else {
                continue;
            };
            let at = number(grants.len());
            match who {
                Who::Person(person) => people[person as usize].grants.push(at),
                Who::Team(team) => team_grants[team as usize].push(at),
            }
            pool_grants[pool as usize].push(at);
            grants.push(IndexedGrant {
                id,
                grant: grant.clone(),
                pool,
                shared: None,
                who,
            });
        }

        let accounts = account_names(&people, &grants);
        for grant in &mut grants {
            if let GrantAccount::Shared(account) = &grant.grant.account {
                grant.shared = find(&accounts, account);
            }
        }
        let mut owners = vec![None; accounts.len()];
        let mut account_on_machines = vec![None; people.len()];
        for (at, person) in people.iter().enumerate() {
            if let Some(account) = find(&accounts, &person.employee.account)
                && person.own_account == OwnAccount::Sound
            {
                owners[account as usize] = Some(number(at));
                account_on_machines[at] = person.is_on_machines().then_some(account);
            }
        }

        Self {
            limits: policy.limits.clone(),
            people,
            account_on_machines,
            accounts,
            owners,
            below: pool_graph.closure(),
            pools,
            machines_in,
            machines,
            pools_of_machine,
            members,
            team_grants,
            pool_grants,
            grants,
        }
    }

    /// The company-wide limits.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The employee of that email, whatever their status.
    #[must_use]
    pub fn employee(&self, email: &Email) -> Option<&Employee> {
        self.person(email).map(|person| &person.employee)
    }

    /// The pools that `machine` belongs to, through inclusion too; empty for an unknown machine.
    pub fn pools_of(&self, machine: &MachineName) -> impl Iterator<Item = &PoolName> {
        self.pool_numbers_of(machine)
            .iter()
            .map(|&pool| &self.pools[pool as usize])
    }

    /// The machines in `pool`, through inclusion too; empty for an unknown pool.
    #[must_use]
    pub fn machines_of(&self, pool: &PoolName) -> BTreeSet<&MachineName> {
        find(&self.pools, pool)
            .into_iter()
            .flat_map(|pool| self.machine_numbers_in(pool))
            .map(|machine| self.machine(machine))
            .collect()
    }

    pub(crate) fn person(&self, email: &Email) -> Option<&Person> {
        self.people
            .binary_search_by(|person| person.employee.email.cmp(email))
            .ok()
            .map(|at| &self.people[at])
    }

    /// The sound grants that name `person` or one of their teams, by rising number; expired ones too.
    pub(crate) fn grants_to(&self, person: &Person) -> Vec<&IndexedGrant> {
        let mut all = person.grants.clone();
        for &team in &person.teams {
            all.extend(&self.team_grants[team as usize]);
        }
        // A grant names one person or one team: none comes twice.
        all.sort_unstable();
        all.into_iter()
            .map(|at| &self.grants[at as usize])
            .filter(|grant| {
                grant.grant.account != GrantAccount::Own || person.own_account == OwnAccount::Sound
            })
            .collect()
    }

    /// Those whom `grant` names.
    pub(crate) fn people_of(&self, grant: &IndexedGrant) -> impl Iterator<Item = &Person> {
        self.person_numbers_of(grant)
            .map(|person| &self.people[person as usize])
    }

    fn person_numbers_of(&self, grant: &IndexedGrant) -> impl Iterator<Item = u32> {
        let (one, many) = match grant.who {
            Who::Person(person) => (Some(person), [].as_slice()),
            Who::Team(team) => (None, self.members[team as usize].as_slice()),
        };
        one.into_iter().chain(many.iter().copied())
    }

    /// The accounts that a machine must have because of `grant`; those of suspended and removed people are not among them.
    pub(crate) fn accounts_of(&self, grant: &IndexedGrant) -> impl Iterator<Item = u32> {
        // Nobody to use it is no reason to have a shared account: an empty team makes none.
        let shared = grant.shared.filter(|_| {
            self.person_numbers_of(grant)
                .any(|person| self.people[person as usize].is_on_machines())
        });
        let own = grant.shared.is_none();
        let people = own.then(|| self.person_numbers_of(grant));
        shared.into_iter().chain(
            people
                .into_iter()
                .flatten()
                .filter_map(|person| self.account_on_machines[person as usize]),
        )
    }

    pub(crate) fn account_count(&self) -> usize {
        self.accounts.len()
    }

    pub(crate) fn account(&self, account: u32) -> &AccountName {
        &self.accounts[account as usize]
    }

    /// Whose own `account` is; `None` for a shared one.
    pub(crate) fn owner(&self, account: u32) -> Option<&Person> {
        self.owners[account as usize].map(|person| &self.people[person as usize])
    }

    /// The sound grant of that number, which is not its ID: numbers rise with IDs.
    pub(crate) fn grant(&self, at: u32) -> &IndexedGrant {
        &self.grants[at as usize]
    }

    pub(crate) fn grant_numbers_on(&self, pool: u32) -> &[u32] {
        &self.pool_grants[pool as usize]
    }

    pub(crate) fn grants_on(&self, pool: u32) -> impl Iterator<Item = &IndexedGrant> {
        self.pool_grants[pool as usize]
            .iter()
            .map(|&at| &self.grants[at as usize])
    }

    pub(crate) fn pool_numbers_of(&self, machine: &MachineName) -> &[u32] {
        find(&self.machines, machine)
            .map_or(&[], |at| self.pools_of_machine[at as usize].as_slice())
    }

    pub(crate) fn pool_count(&self) -> usize {
        self.pools.len()
    }

    pub(crate) fn pool_number(&self, pool: &PoolName) -> Option<u32> {
        find(&self.pools, pool)
    }

    pub(crate) fn pool(&self, pool: u32) -> &PoolName {
        &self.pools[pool as usize]
    }

    pub(crate) fn machine(&self, machine: u32) -> &MachineName {
        &self.machines[machine as usize]
    }

    /// Each machine's pools, by rising machine name.
    pub(crate) fn machine_pools(&self) -> impl Iterator<Item = (&MachineName, &[u32])> {
        self.machines
            .iter()
            .zip(self.pools_of_machine.iter().map(Vec::as_slice))
    }

    /// The machines in `pool` and below it; one that is in two of these pools comes twice.
    pub(crate) fn machine_numbers_in(&self, pool: u32) -> impl Iterator<Item = u32> {
        self.below[pool as usize]
            .iter()
            .flat_map(|&below| self.machines_in[below as usize].iter().copied())
    }

    pub(crate) fn people(&self) -> &[Person] {
        &self.people
    }
}

/// Every account that somebody may have or get, sorted.
fn account_names(people: &[Person], grants: &[IndexedGrant]) -> Vec<AccountName> {
    let own = people.iter().map(|person| &person.employee.account);
    let shared = grants
        .iter()
        .filter_map(|grant| match &grant.grant.account {
            GrantAccount::Shared(account) => Some(account),
            GrantAccount::Own => None,
        });
    let mut accounts: Vec<AccountName> = own.chain(shared).cloned().collect();
    accounts.sort_unstable();
    accounts.dedup();
    accounts
}

/// For each team its people, nested ones too, as sorted numbers.
fn team_members(policy: &Policy, teams: &[TeamName], emails: &[Email]) -> Vec<Vec<u32>> {
    let closure = Graph::new(
        teams
            .iter()
            .map(|name| numbers(teams, &policy.teams[name].teams))
            .collect(),
    )
    .without_cycles()
    .closure();
    let direct: Vec<Vec<u32>> = policy
        .teams
        .values()
        .map(|team| numbers(emails, &team.employees))
        .collect();
    closure
        .iter()
        .map(|below| {
            let mut all: Vec<u32> = below
                .iter()
                .flat_map(|&team| direct[team as usize].iter().copied())
                .collect();
            all.sort_unstable();
            all.dedup();
            all
        })
        .collect()
}

/// The position of `name` in a sorted list.
pub(crate) fn find<N: Ord>(names: &[N], name: &N) -> Option<u32> {
    names.binary_search(name).ok().map(number)
}

/// The positions of those of `wanted` that are in a sorted list; others are left out.
pub(crate) fn numbers<N: Ord>(names: &[N], wanted: &BTreeSet<N>) -> Vec<u32> {
    wanted.iter().filter_map(|name| find(names, name)).collect()
}
