//! From the policy as it stands to the one that was read, inside the transaction.

use std::collections::{BTreeMap, BTreeSet};

use ca_api::{ApiError, ErrorCode, admin::PlanView};
use policies::{AccountName, Email, Employee, GrantAccount, Policy, Status, document::Reading};

use crate::{
    admin::{
        change::{ChangeError, Editing},
        employee::{Newcomer, Uid, invite, leave, reopen, suspend, welcome},
        grant,
        policy::{Held, against::EXPECTATIONS, digest, sentences},
        pool,
    },
    ledger::Event,
    records::{CA, CaRecord},
    store::{Read, Table},
};

/// Under which key the code of each newcomer is stored, and until when it works.
pub(super) type Keys = BTreeMap<Email, (String, i64)>;

/// Why somebody is suspended or removed, for the ledger and the KRL.
const REASON: &str = "the policy that was applied says so";

/// Can somebody of that status log in, or enrol so that they can?
pub(super) fn is_let_in(status: Status) -> bool {
    match status {
        Status::Invited | Status::Active => true,
        Status::Suspended | Status::Removed => false,
    }
}

/// Makes the policy what was read, takes the same steps as the commands for everybody whose life at the CA changes, and records it.
pub(super) fn make_so(
    policy: &mut Policy,
    editing: &mut Editing<'_, '_>,
    held: &Held,
    keys: &Keys,
    uids: [u32; 2],
) -> Result<(), ChangeError> {
    let reading = held
        .reading
        .as_ref()
        .expect("a document that fits was read without a fault");
    take_numbers(editing, reading)?;
    for (email, wanted) in &reading.policy.employees {
        person(policy, editing, email, wanted, keys)?;
    }
    for name in reading.policy.pools.keys() {
        if !policy.pools.contains_key(name) {
            pool::new_name(editing, policy, name)?;
        }
    }
    for account in shared(&reading.policy).difference(&shared(policy)) {
        grant::shared(editing, account, uids)?;
    }
    policy.teams.clone_from(&reading.policy.teams);
    policy.pools.clone_from(&reading.policy.pools);
    policy.machines.clone_from(&reading.policy.machines);
    policy.grants.clone_from(&reading.policy.grants);
    policy.limits.clone_from(&reading.policy.limits);
    let sentences = sentences(reading);
    editing.txn.put_json(Table::Meta, EXPECTATIONS, &sentences);
    let after = digest(policy, &sentences);
    if held.planned.after.as_ref() != Some(&after) {
        // What was shown is what is stored, or nothing is.
        tracing::error!("a document would be stored as something else than was planned");
        return Err(ApiError::new(
            ErrorCode::Unavailable,
            "the server would store something else than it planned; nothing was applied",
        )
        .hint("this is a fault of the server: the commands (`grant add` and others) still work")
        .into());
    }
    editing.record(&Event::PolicyApplied {
        document: held.planned.document.clone(),
        document_sha256: held.planned.document_sha256.clone(),
        before: held.planned.base.clone(),
        after,
        counts: held.planned.plan.as_ref().map(counts).unwrap_or_default(),
    });
    Ok(())
}

/// The numbers that the reading gave are given; shared accounts take theirs behind them.
fn take_numbers(editing: &mut Editing<'_, '_>, reading: &Reading) -> Result<(), ChangeError> {
    let mut record: CaRecord = editing
        .txn
        .get_json(Table::Meta, CA)?
        .expect("`init` wrote the CA's record in the first transaction");
    record.next_grant = reading.numbers.next_grant;
    record.next_uid = reading.numbers.next_uid;
    editing.txn.put_json(Table::Meta, CA, &record);
    Ok(())
}

/// What happens to one person.
fn person(
    policy: &mut Policy,
    editing: &mut Editing<'_, '_>,
    email: &Email,
    wanted: &Employee,
    keys: &Keys,
) -> Result<(), ChangeError> {
    let status = policy.employees.get(email).map(|person| person.status);
    let here = status.is_some_and(|status| status != Status::Removed);
    match (here, wanted.status) {
        (false, Status::Removed) => return Ok(()),
        (true, Status::Removed) => {
            leave(policy, editing, email, false, REASON)?;
            return Ok(());
        }
        (false, Status::Invited | Status::Active | Status::Suspended) => {
            let newcomer = Newcomer {
                email: email.clone(),
                account: wanted.account.clone(),
                name: wanted.name.clone(),
                roles: wanted.roles.clone(),
            };
            welcome(policy, editing, &newcomer, Uid::Given(wanted.uid))?;
            match keys.get(email) {
                Some((key, expires)) => invite(editing, email, key, *expires)?,
                None => {
                    suspend(policy, editing, email, REASON)?;
                }
            }
        }
        (true, Status::Invited | Status::Active) => {
            if status == Some(Status::Suspended) {
                reopen(policy, editing, email)?;
            }
        }
        (true, Status::Suspended) => {
            if status != Some(Status::Suspended) {
                suspend(policy, editing, email, REASON)?;
            }
        }
    }
    let person = policy
        .employees
        .get_mut(email)
        .expect("whoever is wanted is there by now");
    let mut changes = BTreeMap::new();
    if person.name != wanted.name {
        changes.insert("name".to_owned(), wanted.name.clone());
        person.name.clone_from(&wanted.name);
    }
    if person.roles != wanted.roles {
        let admin = wanted.roles.contains(&policies::Role::Admin);
        changes.insert("admin".to_owned(), admin.to_string());
        person.roles.clone_from(&wanted.roles);
    }
    if !changes.is_empty() {
        editing.record(&Event::EmployeeChanged {
            email: email.clone(),
            changes,
        });
    }
    Ok(())
}

/// Accounts that grants share.
fn shared(policy: &Policy) -> BTreeSet<AccountName> {
    policy
        .grants
        .values()
        .filter_map(|grant| match &grant.account {
            GrantAccount::Own => None,
            GrantAccount::Shared(account) => Some(account.clone()),
        })
        .collect()
}

/// `grants added: 2`, for the ledger.
fn counts(plan: &PlanView) -> BTreeMap<String, u64> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut add = |what: String| *counts.entry(what).or_default() += 1;
    for one in &plan.employees {
        add(format!("employees {}", one.step.replace('_', " ")));
    }
    for (kind, all) in [("pools", &plan.pools), ("teams", &plan.teams)] {
        for one in all {
            add(format!("{kind} {}", one.how));
        }
    }
    for one in &plan.grants {
        add(format!("grants {}", one.how));
    }
    for _ in &plan.limits {
        add("limits changed".to_owned());
    }
    counts.insert("logins gained".to_owned(), plan.counts.cells_gained);
    counts.insert("logins lost".to_owned(), plan.counts.cells_lost);
    counts.insert("logins changed".to_owned(), plan.counts.cells_changed);
    counts.insert("machines changed".to_owned(), plan.counts.machines as u64);
    counts
}
