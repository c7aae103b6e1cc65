//! Grants that disagree about sudo for one account, on a pool or where pools meet on a machine.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    AccountName, GrantAccount, GrantId, Index, Problem, Sudo, index::OwnAccount, machines,
};

/// A plan has no clock: grants that end by themselves are compared as long as they are written down.
const BEFORE_EVERY_END: u64 = 0;

/// Finds every (account, pool) and every (account, machine) whose grants disagree; one problem for each set of grants.
pub(super) fn sudo(index: &Index, problems: &mut Vec<Problem>) {
    let mut told: BTreeSet<(AccountName, Vec<GrantId>)> = BTreeSet::new();
    for pool in 0..crate::graph::number(index.pool_count()) {
        for (account, grants) in claims_on(index, pool) {
            let mut sudo = grants.iter().map(|(_, sudo)| sudo);
            let first = sudo.next();
            if sudo.all(|other| Some(other) == first) {
                continue;
            }
            let grants: Vec<GrantId> = grants.into_iter().map(|(id, _)| id).collect();
            told.insert((account.clone(), grants.clone()));
            problems.push(Problem::SudoConflict {
                account: account.clone(),
                pool: index.pool(pool).clone(),
                grants,
            });
        }
    }
    // Many machines are in the same pools: each combination is looked at once, and named by its first machine.
    let mut seen: BTreeSet<&[u32]> = BTreeSet::new();
    for (machine, pools) in index.machine_pools() {
        if pools.len() < 2 || !seen.insert(pools) {
            continue;
        }
        for (account, claim) in machines::claims_in(index, pools, BEFORE_EVERY_END) {
            let mut grants: Vec<GrantId> = claim.grants.iter().map(|grant| grant.id).collect();
            grants.sort_unstable();
            if !claim.agrees() && told.insert((account.clone(), grants.clone())) {
                problems.push(Problem::SudoOverlap {
                    account: account.clone(),
                    machine: machine.clone(),
                    grants,
                });
            }
        }
    }
}

/// For each account on `pool` itself the grants that give it, with their sudo.
fn claims_on(index: &Index, pool: u32) -> BTreeMap<&AccountName, Vec<(GrantId, &Sudo)>> {
    let mut claims: BTreeMap<&AccountName, Vec<(GrantId, &Sudo)>> = BTreeMap::new();
    for grant in index.grants_on(pool) {
        let entry = (grant.id, &grant.grant.sudo);
        match &grant.grant.account {
            GrantAccount::Shared(account) => claims.entry(account).or_default().push(entry),
            GrantAccount::Own => {
                for person in index.people_of(grant) {
                    if person.own_account == OwnAccount::Sound {
                        claims
                            .entry(&person.employee.account)
                            .or_default()
                            .push(entry);
                    }
                }
            }
        }
    }
    claims
}
