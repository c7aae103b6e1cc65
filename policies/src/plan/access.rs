//! Who gains and loses which account on which machine.
//!
//! Only people whose grants differ are looked at; their machines are sets of bits, and people to whom the same happens are one entry.

use std::collections::{BTreeMap, BTreeSet};

use time::OffsetDateTime;

use super::{
    Access, Detail, Names, Plan, Step,
    bits::Bits,
    terms::{self, Terms},
};
use crate::{
    Email, GrantAccount, GrantId, Index, MachineName, Status, decide::unix_secs_floor,
    index::IndexedGrant,
};

/// Numbers for sets of machines and for terms, the same before and after.
#[derive(Default)]
struct Numbering {
    sets: BTreeMap<Bits, usize>,
    terms: BTreeMap<Terms, usize>,
}

/// What one grant gives, in numbers.
#[derive(Debug, Clone, Copy)]
struct Gift {
    set: usize,
    terms: usize,
}

/// One grant as it is for one person.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Right {
    account: GrantAccount,
    set: usize,
    terms: usize,
    grant: GrantId,
}

/// What happens alike to each of a group of people.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    step: Step,
    account: GrantAccount,
    machines: Bits,
    grants: Vec<GrantId>,
    before: Vec<usize>,
    after: Vec<usize>,
}

pub(super) fn fill(plan: &mut Plan, old: &Index, new: &Index, now: OffsetDateTime, detail: Detail) {
    let machines: Vec<&MachineName> = old
        .machine_pools()
        .chain(new.machine_pools())
        .map(|(name, _)| name)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let mut numbering = Numbering::default();
    let old = Side::of(old, &machines, now, &mut numbering);
    let new = Side::of(new, &machines, now, &mut numbering);
    let sets = in_order(&numbering.sets);
    let all_terms = in_order(&numbering.terms);

    let emails: BTreeSet<&Email> = [&old, &new]
        .into_iter()
        .flat_map(|side| side.index.people())
        .map(|person| &person.employee.email)
        .collect();
    let mut entries: BTreeMap<Entry, Vec<&Email>> = BTreeMap::new();
    for email in emails {
        let naming = naming(email, old.index, new.index);
        let (before, after) = (old.rights(email, naming), new.rights(email, naming));
        if same_rights(&before, &after) {
            continue;
        }
        let mut steps = BTreeSet::new();
        for entry in compare(&before, &after, &sets, machines.len()) {
            let cells = entry.machines.count() as u64;
            steps.insert(entry.step);
            match entry.step {
                Step::Lost => plan.counts.cells_lost += cells,
                Step::Changed => plan.counts.cells_changed += cells,
                Step::Gained => plan.counts.cells_gained += cells,
            }
            entries.entry(entry).or_default().push(email);
        }
        for step in steps {
            match step {
                Step::Lost => plan.counts.people_losing += 1,
                Step::Changed => plan.counts.people_changed += 1,
                Step::Gained => plan.counts.people_gaining += 1,
            }
        }
    }
    let mut entries: Vec<(Entry, Vec<&Email>)> = entries.into_iter().collect();
    entries.sort_by(|(a, some), (b, others)| {
        (a.step, some, &a.account, &a.grants).cmp(&(b.step, others, &b.account, &b.grants))
    });
    let shown = entries.into_iter().take(detail.entries);
    plan.access = shown
        .map(|(entry, people)| {
            let of = |numbers: &[usize]| -> Vec<&Terms> {
                numbers.iter().map(|number| all_terms[*number]).collect()
            };
            Access {
                step: entry.step,
                people: Names::cut(people.len(), people.into_iter().cloned(), detail),
                account: entry.account,
                machines: Names::cut(
                    entry.machines.count(),
                    entry.machines.iter().map(|number| machines[number].clone()),
                    detail,
                ),
                grants: entry.grants,
                words: match entry.step {
                    Step::Gained => terms::words(&of(&entry.after)),
                    Step::Lost => Vec::new(),
                    Step::Changed => terms::changes(&of(&entry.before), &of(&entry.after)),
                },
            }
        })
        .collect();
}

impl<N> Names<N> {
    pub(super) fn cut(count: usize, names: impl Iterator<Item = N>, detail: Detail) -> Self {
        Self {
            count,
            names: names.take(detail.names).collect(),
        }
    }
}

fn in_order<T>(numbers: &BTreeMap<T, usize>) -> Vec<&T> {
    let mut list: Vec<(&T, usize)> = numbers.iter().map(|(item, at)| (item, *at)).collect();
    list.sort_unstable_by_key(|(_, at)| *at);
    list.into_iter().map(|(item, _)| item).collect()
}

/// The policy before or after.
struct Side<'i> {
    index: &'i Index,
    gifts: BTreeMap<GrantId, Gift>,
}

/// How the own account is named: for everybody alike, unless somebody's account itself changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Naming {
    Own,
    ByName,
}

fn naming(email: &Email, old: &Index, new: &Index) -> Naming {
    match (old.employee(email), new.employee(email)) {
        (Some(before), Some(after)) if before.account != after.account => Naming::ByName,
        _ => Naming::Own,
    }
}

impl<'i> Side<'i> {
    fn of(
        index: &'i Index,
        machines: &[&MachineName],
        now: OffsetDateTime,
        numbering: &mut Numbering,
    ) -> Self {
        let number_of: Vec<usize> = index
            .machine_pools()
            .map(|(name, _)| {
                machines
                    .binary_search(&name)
                    .expect("every machine of both sides is in the list")
            })
            .collect();
        let now_unix_secs = unix_secs_floor(now).unwrap_or(0);
        let mut set_of_pool: BTreeMap<u32, usize> = BTreeMap::new();
        let mut gifts = BTreeMap::new();
        for pool in 0..crate::graph::number(index.pool_count()) {
            for grant in index.grants_on(pool) {
                if !crate::decide::in_force(grant, now_unix_secs) {
                    continue;
                }
                let set = *set_of_pool.entry(pool).or_insert_with(|| {
                    let mut bits = Bits::none(machines.len());
                    for machine in index.machine_numbers_in(pool) {
                        bits.insert(number_of[machine as usize]);
                    }
                    let next = numbering.sets.len();
                    *numbering.sets.entry(bits).or_insert(next)
                });
                let next = numbering.terms.len();
                let terms = *numbering
                    .terms
                    .entry(Terms::of(&grant.grant))
                    .or_insert(next);
                gifts.insert(grant.id, Gift { set, terms });
            }
        }
        Self { index, gifts }
    }

    /// What is in force for somebody, sorted.
    fn rights(&self, email: &Email, naming: Naming) -> Vec<Right> {
        let person = self
            .index
            .person(email)
            .filter(|person| matches!(person.employee.status, Status::Active | Status::Invited));
        let Some(person) = person else {
            return Vec::new();
        };
        let right = |grant: &IndexedGrant| {
            let gift = self.gifts.get(&grant.id)?;
            Some(Right {
                account: match (&grant.grant.account, naming) {
                    (GrantAccount::Own, Naming::ByName) => {
                        GrantAccount::Shared(person.employee.account.clone())
                    }
                    (account, _) => account.clone(),
                },
                set: gift.set,
                terms: gift.terms,
                grant: grant.id,
            })
        };
        let grants = self.index.grants_to(person);
        let mut rights: Vec<Right> = grants.into_iter().filter_map(right).collect();
        rights.sort_unstable();
        rights
    }
}

/// Whether both give the same, whatever the numbers of the grants.
fn same_rights(before: &[Right], after: &[Right]) -> bool {
    let said = |right: &Right| (right.account.clone(), right.set, right.terms);
    before.len() == after.len() && before.iter().map(said).eq(after.iter().map(said))
        || before.iter().map(said).collect::<BTreeSet<_>>()
            == after.iter().map(said).collect::<BTreeSet<_>>()
}

/// What happens to somebody with these rights.
fn compare(before: &[Right], after: &[Right], sets: &[&Bits], length: usize) -> Vec<Entry> {
    let accounts: BTreeSet<&GrantAccount> = before
        .iter()
        .chain(after)
        .map(|right| &right.account)
        .collect();
    let mut entries = Vec::new();
    for account in accounts {
        let of_account = |rights: &[Right]| -> Vec<Right> {
            let rights = rights.iter().filter(|right| right.account == *account);
            rights.cloned().collect()
        };
        let (before, after) = (of_account(before), of_account(after));
        if same_rights(&before, &after) {
            continue;
        }
        let (was, is) = (union(&before, sets, length), union(&after, sets, length));
        let (was_under, is_under) = (
            by_terms(&before, sets, length),
            by_terms(&after, sets, length),
        );
        let mut entry = |step, machines: Bits, before_terms, after_terms| {
            let rights = if step == Step::Lost { &before } else { &after };
            let giving = rights
                .iter()
                .filter(|right| sets[right.set].touches(&machines));
            let mut grants: Vec<GrantId> = giving.map(|right| right.grant).collect();
            grants.sort_unstable();
            entries.push(Entry {
                step,
                account: account.clone(),
                grants,
                machines,
                before: before_terms,
                after: after_terms,
            });
        };
        for (terms, machines) in split(was.without(&is), &was_under) {
            entry(Step::Lost, machines, terms, Vec::new());
        }
        for (terms, machines) in split(is.without(&was), &is_under) {
            entry(Step::Gained, machines, Vec::new(), terms);
        }
        let mut differs = Bits::none(length);
        let none = Bits::none(length);
        for terms in was_under.keys().chain(is_under.keys()) {
            let was = was_under.get(terms).unwrap_or(&none);
            differs.add(&was.either_or(is_under.get(terms).unwrap_or(&none)));
        }
        for (before_terms, part) in split(was.and(&is).and(&differs), &was_under) {
            for (after_terms, machines) in split(part, &is_under) {
                entry(Step::Changed, machines, before_terms.clone(), after_terms);
            }
        }
    }
    entries
}

fn union(rights: &[Right], sets: &[&Bits], length: usize) -> Bits {
    let mut all = Bits::none(length);
    for right in rights {
        all.add(sets[right.set]);
    }
    all
}

fn by_terms(rights: &[Right], sets: &[&Bits], length: usize) -> BTreeMap<usize, Bits> {
    let mut by_terms: BTreeMap<usize, Bits> = BTreeMap::new();
    for right in rights {
        let bits = by_terms
            .entry(right.terms)
            .or_insert_with(|| Bits::none(length));
        bits.add(sets[right.set]);
    }
    by_terms
}

/// Cuts a set where different terms hold: each part with the terms that hold on all of it.
fn split(machines: Bits, by_terms: &BTreeMap<usize, Bits>) -> Vec<(Vec<usize>, Bits)> {
    if machines.is_empty() {
        return Vec::new();
    }
    let mut parts: Vec<(Vec<usize>, Bits)> = vec![(Vec::new(), machines)];
    for (terms, bits) in by_terms {
        let mut finer = Vec::with_capacity(parts.len());
        for (mut under, part) in parts {
            let (inside, outside) = (part.and(bits), part.without(bits));
            if !outside.is_empty() {
                finer.push((under.clone(), outside));
            }
            if !inside.is_empty() {
                under.push(*terms);
                finer.push((under, inside));
            }
        }
        parts = finer;
    }
    parts
}
