//! What changes in the policy itself: limits, teams, pools, grants.

use std::collections::{BTreeMap, BTreeSet};

use super::{Changed, How, LimitChange, terms, terms::Terms};
use crate::{Grant, GrantAccount, GrantId, Grantee, Limits, Policy, PoolName, Team, TeamName};

pub(super) fn limits(before: &Limits, after: &Limits) -> Vec<LimitChange> {
    let all = [
        ("session", before.session_secs, after.session_secs),
        ("lifetime", before.lifetime_secs, after.lifetime_secs),
        (
            "admin_lifetime",
            before.admin_lifetime_secs,
            after.admin_lifetime_secs,
        ),
        ("ceiling", before.ceiling_secs, after.ceiling_secs),
    ];
    let differing = all.into_iter().filter(|(_, before, after)| before != after);
    differing
        .map(|(name, before_secs, after_secs)| LimitChange {
            name: name.to_owned(),
            before_secs,
            after_secs,
        })
        .collect()
}

pub(super) fn teams(before: &Policy, after: &Policy) -> Vec<Changed<TeamName>> {
    changed(
        &before.teams,
        &after.teams,
        |_| Vec::new(),
        |was: &Team, is: &Team| {
            let mut words = set("employees", &was.employees, &is.employees);
            words.extend(set("teams", &was.teams, &is.teams));
            words
        },
    )
}

pub(super) fn pools(before: &Policy, after: &Policy) -> Vec<Changed<PoolName>> {
    changed(
        &before.pools,
        &after.pools,
        |_| Vec::new(),
        |was, is| {
            let mut words = set("includes", &was.include, &is.include);
            if was.title != is.title {
                words.push(format!("title: {:?}, before {:?}", is.title, was.title));
            }
            words
        },
    )
}

pub(super) fn grants(before: &Policy, after: &Policy) -> Vec<Changed<GrantId>> {
    changed(&before.grants, &after.grants, described, |was, is| {
        let mut words = Vec::new();
        if who_where(was) != who_where(is) {
            words.push(format!("{}, before {}", who_where(is), who_where(was)));
        }
        words.extend(terms::changes(&[&Terms::of(was)], &[&Terms::of(is)]));
        if was.system_account != is.system_account {
            words.push(format!(
                "system_account: {}, before {}",
                is.system_account, was.system_account
            ));
        }
        words
    })
}

fn described(grant: &Grant) -> Vec<String> {
    let mut words = vec![who_where(grant)];
    words.extend(Terms::of(grant).words());
    words
}

/// `team ops: deploy on pool web`
fn who_where(grant: &Grant) -> String {
    let who = match &grant.who {
        Grantee::Employee(email) => email.to_string(),
        Grantee::Team(team) => format!("team {team}"),
    };
    let account = match &grant.account {
        GrantAccount::Own => "the own account",
        GrantAccount::Shared(account) => account.as_str(),
    };
    format!("{who}: {account} on pool {}", grant.pool)
}

/// What comes, goes, and becomes different.
fn changed<N: Ord + Clone, T: PartialEq>(
    before: &BTreeMap<N, T>,
    after: &BTreeMap<N, T>,
    described: impl Fn(&T) -> Vec<String>,
    differing: impl Fn(&T, &T) -> Vec<String>,
) -> Vec<Changed<N>> {
    let names: BTreeSet<&N> = before.keys().chain(after.keys()).collect();
    let mut all = Vec::new();
    for name in names {
        let (how, words) = match (before.get(name), after.get(name)) {
            (Some(was), None) => (How::Removed, described(was)),
            (None, Some(is)) => (How::Added, described(is)),
            (Some(was), Some(is)) if was != is => (How::Changed, differing(was, is)),
            (Some(_), Some(_)) | (None, None) => continue,
        };
        let name = name.clone();
        all.push(Changed { name, how, words });
    }
    all
}

/// `employees: + a@b, − c@d`
fn set<N: Ord + ToString>(what: &str, was: &BTreeSet<N>, is: &BTreeSet<N>) -> Vec<String> {
    let new = is
        .difference(was)
        .map(|name| format!("+{}", name.to_string()));
    let gone = was
        .difference(is)
        .map(|name| format!("-{}", name.to_string()));
    let names: Vec<String> = new.chain(gone).collect();
    if names.is_empty() {
        Vec::new()
    } else {
        vec![format!("{what}: {}", names.join(" "))]
    }
}
