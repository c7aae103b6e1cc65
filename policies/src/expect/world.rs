//! The policy as sentences see it: everybody has enrolled, and there are somebody who is only in a team, and a machine only in a pool.

use std::{
    cell::{OnceCell, RefCell},
    collections::BTreeMap,
    net::IpAddr,
    rc::Rc,
};

use time::{Duration, OffsetDateTime};

use super::{As, Expectation, Place, SudoDemand, Who};
use crate::{
    AccountName, Decision, Email, Employee, GrantAccount, GrantId, Index, KeyKind, Machine,
    MachineName, Narrow, Policy, PoolName, Reach, Request, Status, Sudo, TeamName, accounts_on,
    decide, reach,
};

/// What a sentence asks beside who and where; what is `None` is left open.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask<'e> {
    pub(super) account: Option<&'e As>,
    pub(super) sudo: SudoDemand,
    pub(super) from: Option<IpAddr>,
    pub(super) key: Option<KeyKind>,
    /// The moment, or any hour of the week.
    pub(super) at: Option<OffsetDateTime>,
}

impl Ask<'_> {
    /// By whatever way.
    pub(super) const OPEN: Self = Self {
        account: None,
        sudo: SudoDemand::Open,
        from: None,
        key: None,
        at: None,
    };
}

/// A way in: one account, and the grants that give it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) account: AccountName,
    pub(super) grants: Vec<GrantId>,
}

pub(super) struct World {
    /// With everybody enrolled, and the somebodies.
    pub(super) policy: Policy,
    pub(super) now: OffsetDateTime,
    members: BTreeMap<TeamName, Email>,
    machines: BTreeMap<PoolName, MachineName>,
    at_any_hour: OnceCell<Index>,
    by_the_hour: OnceCell<Index>,
    /// What was looked at last: a sentence goes over all machines of one person before the next.
    last: RefCell<Option<Rc<Reached>>>,
}

/// Everything that one person reaches at one time.
struct Reached {
    email: Email,
    at: Option<OffsetDateTime>,
    /// By machine and account.
    cells: Vec<Reach>,
}

impl World {
    pub(super) fn of(policy: &Policy, sentences: &[&Expectation], now: OffsetDateTime) -> Self {
        let mut world = Self {
            policy: policy.clone(),
            now,
            members: BTreeMap::new(),
            machines: BTreeMap::new(),
            at_any_hour: OnceCell::new(),
            by_the_hour: OnceCell::new(),
            last: RefCell::new(None),
        };
        for person in world.policy.employees.values_mut() {
            if person.status == Status::Invited {
                person.status = Status::Active;
            }
        }
        for sentence in sentences {
            if let Who::Member(team) | Who::Every(team) = &sentence.who {
                world.add_member(team);
            }
            if let Place::Pool(pool) = &sentence.place {
                world.add_machine(pool);
            }
        }
        world
    }

    fn add_member(&mut self, team: &TeamName) {
        if self.members.contains_key(team) || !self.policy.teams.contains_key(team) {
            return;
        }
        let policy = &mut self.policy;
        let shared = |account: &AccountName| {
            policy
                .grants
                .values()
                .any(|grant| grant.account == GrantAccount::Shared(account.clone()))
        };
        let (email, account) = (0u32..)
            .map(|n| {
                let email: Email = format!("somebody-{n}@expect.invalid")
                    .parse()
                    .expect("it is an email");
                let account: AccountName =
                    format!("somebody-{n}").parse().expect("it is an account");
                (email, account)
            })
            .find(|(email, account)| {
                let free = |person: &Employee| person.account != *account;
                !policy.employees.contains_key(email)
                    && policy.employees.values().all(free)
                    && !shared(account)
            })
            .expect("a policy has fewer people than there are numbers");
        let uid = (66_000..u32::MAX >> 1)
            .rev()
            .find(|uid| policy.employees.values().all(|person| person.uid != *uid))
            .expect("a policy has fewer people than there are uids");
        let person = Employee {
            email: email.clone(),
            name: String::new(),
            account,
            uid,
            status: Status::Active,
            roles: Default::default(),
            epoch: 1,
        };
        policy.employees.insert(email.clone(), person);
        if let Some(members) = policy.teams.get_mut(team) {
            members.employees.insert(email.clone());
        }
        self.members.insert(team.clone(), email);
    }

    fn add_machine(&mut self, pool: &PoolName) {
        if self.machines.contains_key(pool) {
            return;
        }
        let name = (0u32..)
            .map(|n| -> MachineName {
                format!("some-machine-{n}.invalid")
                    .parse()
                    .expect("it is a machine's name")
            })
            .find(|name| !self.policy.machines.contains_key(name))
            .expect("a policy has fewer machines than there are numbers");
        let machine = Machine {
            pools: [pool.clone()].into(),
        };
        self.policy.machines.insert(name.clone(), machine);
        self.machines.insert(pool.clone(), name);
    }

    /// Somebody who is in `team` and has nothing else.
    pub(super) fn member(&self, team: &TeamName) -> Option<&Email> {
        self.members.get(team)
    }

    /// A machine that is in `pool` and in no other.
    pub(super) fn machine(&self, pool: &PoolName) -> Option<&MachineName> {
        self.machines.get(pool)
    }

    /// Whether that machine is there.
    pub(super) fn is_real(&self, machine: &MachineName) -> bool {
        self.machines.values().all(|made_up| made_up != machine)
    }

    /// The team of a somebody; `None` for a real person.
    pub(super) fn team_of_somebody(&self, email: &Email) -> Option<&TeamName> {
        let mut members = self.members.iter();
        members
            .find(|(_, member)| *member == email)
            .map(|(team, _)| team)
    }

    /// Real people who can log in.
    pub(super) fn people(&self) -> impl Iterator<Item = &Email> {
        self.policy
            .employees
            .values()
            .filter(|person| person.status == Status::Active)
            .map(|person| &person.email)
            .filter(|email| self.team_of_somebody(email).is_none())
    }

    /// As it is at an hour, or with every grant in force round the clock.
    pub(super) fn index(&self, at: Option<OffsetDateTime>) -> &Index {
        match at {
            Some(_) => self.by_the_hour.get_or_init(|| Index::new(&self.policy)),
            None => self.at_any_hour.get_or_init(|| {
                let mut policy = self.policy.clone();
                for grant in policy.grants.values_mut() {
                    grant.hours = None;
                }
                Index::new(&policy)
            }),
        }
    }

    /// How `email` gets into `machine`, if so: by what the CA would issue and the machine would accept.
    pub(super) fn way(&self, email: &Email, machine: &MachineName, ask: Ask<'_>) -> Option<Way> {
        let index = self.index(ask.at);
        let at = ask.at.unwrap_or(self.now);
        let person = index.person(email)?;
        // Most people have nothing there: seen without going over all that they reach.
        let pools = index.pool_numbers_of(machine);
        let grants = index.grants_to(person);
        if grants.iter().all(|grant| !pools.contains(&grant.pool)) {
            return None;
        }
        let own = &person.employee.account;
        let reached = self.reached(email, ask.at);
        let mut cells: Vec<&Reach> = reached.on(machine).iter().collect();
        cells.retain(|cell| match ask.account {
            None => true,
            Some(As::Own) => cell.account == *own,
            Some(As::Named(account)) => cell.account == *account,
        });
        if cells.is_empty() {
            return None;
        }
        let request = Request {
            email: email.clone(),
            session_ends: at + Duration::days(1),
            key: ask.key.unwrap_or(KeyKind::SecurityKey),
            narrow: Narrow::default(),
        };
        let Decision::Grant(orders) = decide(index, &request, at) else {
            return None;
        };
        let from_there = |cell: &Reach| {
            let mut serving = cell.orders_in(&orders).into_iter();
            serving.any(|order| {
                let sources = &orders[order].conditions().sources;
                sources.is_empty()
                    || ask
                        .from
                        .is_none_or(|from| sources.iter().any(|net| holds(net, from)))
            })
        };
        let accounts = match ask.sudo {
            SudoDemand::Open => BTreeMap::new(),
            SudoDemand::Some => accounts_on(index, machine, at),
        };
        let with_sudo = |cell: &Reach| match ask.sudo {
            SudoDemand::Open => true,
            SudoDemand::Some => accounts
                .get(&cell.account)
                .is_some_and(|account| account.sudo != Sudo::None),
        };
        cells
            .into_iter()
            .find(|cell| from_there(cell) && with_sudo(cell))
            .map(|cell| Way {
                account: cell.account.clone(),
                grants: cell.grants.iter().copied().collect(),
            })
    }

    fn reached(&self, email: &Email, at: Option<OffsetDateTime>) -> Rc<Reached> {
        let mut last = self.last.borrow_mut();
        if let Some(reached) = &*last
            && reached.email == *email
            && reached.at == at
        {
            return Rc::clone(reached);
        }
        let reached = Rc::new(Reached {
            email: email.clone(),
            at,
            cells: reach(self.index(at), email, at.unwrap_or(self.now)),
        });
        *last = Some(Rc::clone(&reached));
        reached
    }
}

impl Reached {
    fn on(&self, machine: &MachineName) -> &[Reach] {
        let begin = self.cells.partition_point(|cell| cell.machine < *machine);
        let rest = &self.cells[begin..];
        &rest[..rest.partition_point(|cell| cell.machine == *machine)]
    }
}

/// Whether `address` is in `network`, an address or a CIDR network as `check` lets it through.
fn holds(network: &str, address: IpAddr) -> bool {
    let (first, prefix) = match network.split_once('/') {
        Some((first, prefix)) => (first, prefix.parse().ok()),
        None => (network, Some(128)),
    };
    let (Ok(first), Some(prefix)) = (first.parse::<IpAddr>(), prefix) else {
        return false;
    };
    let (first, address, width) = match (first, address) {
        (IpAddr::V4(first), IpAddr::V4(address)) => (
            u128::from(first.to_bits()),
            u128::from(address.to_bits()),
            32,
        ),
        (IpAddr::V6(first), IpAddr::V6(address)) => (first.to_bits(), address.to_bits(), 128u32),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
    };
    let behind = width.saturating_sub(prefix);
    (first ^ address).checked_shr(behind).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_its_networks_only() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("192.0.2.7/32", "192.0.2.7", "192.0.2.6"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("::/0", "2001:db8::1", "10.0.0.1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
            ("::1", "::1", "::2"),
        ] {
            assert!(holds(network, inside.parse().unwrap()), "{network}");
            assert!(!holds(network, outside.parse().unwrap()), "{network}");
        }
    }
}
