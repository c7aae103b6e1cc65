//! Grants that disagree about sudo or recording for one account, on a pool or where pools meet on a machine.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    AccountName, GrantAccount, GrantId, Index, MachineName, Policy, PoolName, Problem, Recording,
    index::{IndexedGrant, OwnAccount},
    machines::{Claim, Claims},
};

/// A plan has no clock: grants that end by themselves are compared as long as they are written down.
const BEFORE_EVERY_END: u64 = 0;

/// Finds every (account, pool) and every (account, machine) whose grants disagree about sudo; one problem for each set of grants.
pub(super) fn sudo(index: &Index, problems: &mut Vec<Problem>) {
    disagreements(
        index,
        |grants: &[&IndexedGrant]| all_equal(grants.iter().map(|grant| &grant.grant.sudo)),
        |claim: &Claim| claim.agrees(),
        |disagreement| match disagreement {
            Disagreement::OnPool(account, pool, grants) => problems.push(Problem::SudoConflict {
                account,
                pool,
                grants,
            }),
            Disagreement::OnMachine(account, machine, grants) => {
                problems.push(Problem::SudoOverlap {
                    account,
                    machine,
                    grants,
                });
            }
        },
    );
}

/// The same for recording, which belongs to the account too.
pub(super) fn recording(policy: &Policy, problems: &mut Vec<Problem>) {
    let required = |id: GrantId| policy.grants[&id].recording == Recording::Required;
    if !policy.grants.keys().any(|&id| required(id)) {
        return;
    }
    // The index leaves out what cannot be recorded. Here these grants are looked at as if they could be.
    let mut recordable = policy.clone();
    for grant in recordable.grants.values_mut() {
        grant.recording = Recording::None;
    }
    disagreements(
        &Index::new(&recordable),
        |grants: &[&IndexedGrant]| all_equal(grants.iter().map(|grant| required(grant.id))),
        |claim: &Claim| all_equal(claim.grants().map(|grant| required(grant.id))),
        |disagreement| match disagreement {
            Disagreement::OnPool(account, pool, grants) => {
                problems.push(Problem::RecordingConflict {
                    account,
                    pool,
                    grants,
                });
            }
            Disagreement::OnMachine(account, machine, grants) => {
                problems.push(Problem::RecordingOverlap {
                    account,
                    machine,
                    grants,
                });
            }
        },
    );
}

/// Where grants on one account disagree.
enum Disagreement {
    OnPool(AccountName, PoolName, Vec<GrantId>),
    OnMachine(AccountName, MachineName, Vec<GrantId>),
}

fn disagreements(
    index: &Index,
    agree_on_pool: impl Fn(&[&IndexedGrant]) -> bool,
    agree_on_machine: impl Fn(&Claim) -> bool,
    mut tell: impl FnMut(Disagreement),
) {
    let mut told: BTreeSet<(AccountName, Vec<GrantId>)> = BTreeSet::new();
    for pool in 0..crate::graph::number(index.pool_count()) {
        for (account, grants) in claims_on(index, pool) {
            if agree_on_pool(&grants) {
                continue;
            }
            let grants: Vec<GrantId> = grants.iter().map(|grant| grant.id).collect();
            told.insert((account.clone(), grants.clone()));
            let pool = index.pool(pool).clone();
            tell(Disagreement::OnPool(account.clone(), pool, grants));
        }
    }
    // Many machines are in the same pools: each combination is looked at once, and named by its first machine.
    let mut seen: BTreeSet<&[u32]> = BTreeSet::new();
    for (machine, pools) in index.machine_pools() {
        if pools.len() < 2 || !seen.insert(pools) {
            continue;
        }
        for claim in Claims::of(index, pools, BEFORE_EVERY_END).iter() {
            if agree_on_machine(&claim) {
                continue;
            }
            let account = claim.account();
            let grants: Vec<GrantId> = claim.grants().map(|grant| grant.id).collect();
            if told.insert((account.clone(), grants.clone())) {
                let machine = machine.clone();
                tell(Disagreement::OnMachine(account.clone(), machine, grants));
            }
        }
    }
}

fn all_equal<T: PartialEq>(mut values: impl Iterator<Item = T>) -> bool {
    let first = values.next();
    values.all(|value| Some(value) == first)
}

/// For each account on `pool` itself the grants that give it.
fn claims_on(index: &Index, pool: u32) -> BTreeMap<&AccountName, Vec<&IndexedGrant>> {
    let mut claims: BTreeMap<&AccountName, Vec<&IndexedGrant>> = BTreeMap::new();
    for grant in index.grants_on(pool) {
        match &grant.grant.account {
            GrantAccount::Shared(account) => claims.entry(account).or_default().push(grant),
            GrantAccount::Own => {
                for person in index.people_of(grant) {
                    if person.own_account == OwnAccount::Sound {
                        claims
                            .entry(&person.employee.account)
                            .or_default()
                            .push(grant);
                    }
                }
            }
        }
    }
    claims
}
