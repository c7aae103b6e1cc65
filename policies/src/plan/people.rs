//! People who come, go, or change, and what an admin should know about it.

use time::OffsetDateTime;

use super::{EmployeeChange, EmployeeStep};
use crate::{Employee, Policy, Role, Status, document::time_text};

/// Each step of each person, by email.
pub(super) fn steps(before: &Policy, after: &Policy) -> Vec<EmployeeChange> {
    let mut steps = Vec::new();
    for (email, was) in &before.employees {
        // A row that is gone altogether is as gone as one that says so.
        let is = after.employees.get(email);
        if is.is_none() && was.status != Status::Removed {
            steps.push((email, EmployeeStep::Removed));
        }
        for step in is.map(|is| between(was, is)).unwrap_or_default() {
            steps.push((email, step));
        }
    }
    for (email, is) in &after.employees {
        if !before.employees.contains_key(email) && is.status != Status::Removed {
            steps.extend(arrival(is, EmployeeStep::Invited).map(|step| (email, step)));
        }
    }
    steps.sort();
    steps
        .into_iter()
        .map(|(email, step)| EmployeeChange {
            email: email.clone(),
            step,
        })
        .collect()
}

fn arrival(is: &Employee, step: EmployeeStep) -> impl Iterator<Item = EmployeeStep> {
    let suspended = (is.status == Status::Suspended).then_some(EmployeeStep::Suspended);
    let admin = is.roles.contains(&Role::Admin);
    let admin = admin.then_some(EmployeeStep::AdminGained);
    [Some(step), suspended, admin].into_iter().flatten()
}

fn between(was: &Employee, is: &Employee) -> Vec<EmployeeStep> {
    match (was.status, is.status) {
        (Status::Removed, Status::Removed) => return Vec::new(),
        (_, Status::Removed) => return vec![EmployeeStep::Removed],
        (Status::Removed, _) => return arrival(is, EmployeeStep::Returned).collect(),
        _ => {}
    }
    let mut steps = Vec::new();
    match (
        was.status == Status::Suspended,
        is.status == Status::Suspended,
    ) {
        (false, true) => steps.push(EmployeeStep::Suspended),
        (true, false) => steps.push(EmployeeStep::Resumed),
        (true, true) | (false, false) => {}
    }
    let admin = |person: &Employee| person.roles.contains(&Role::Admin);
    match (admin(was), admin(is)) {
        (false, true) => steps.push(EmployeeStep::AdminGained),
        (true, false) => steps.push(EmployeeStep::AdminLost),
        (true, true) | (false, false) => {}
    }
    if was.name != is.name {
        steps.push(EmployeeStep::Renamed);
    }
    if (&was.account, was.uid) != (&is.account, is.uid) {
        steps.push(EmployeeStep::AccountChanged);
    }
    steps
}

/// What works afterwards, and an admin should know, beside what `check` says.
pub(super) fn warnings(before: &Policy, after: &Policy, now: OffsetDateTime) -> Vec<String> {
    let mut warnings = Vec::new();
    if has_admin(before) && !has_admin(after) {
        warnings.push(
            "nobody who can log in would have the admin role: admin commands would work on the CA's own host only"
                .to_owned(),
        );
    }
    for (id, grant) in &after.grants {
        if let Some(until) = grant.until_unix_secs
            && until <= now.unix_timestamp()
            && before.grants.get(id) != Some(grant)
        {
            let ended = time_text(until);
            warnings.push(format!(
                "grant {id} ended {ended} already, and gives nothing"
            ));
        }
    }
    warnings
}

fn has_admin(policy: &Policy) -> bool {
    policy.employees.values().any(|person| {
        matches!(person.status, Status::Active | Status::Invited)
            && person.roles.contains(&Role::Admin)
    })
}
