//! What somebody loses by a change of policy, so that live certificates which carry it are revoked (P7).

use std::collections::BTreeSet;

use time::OffsetDateTime;

use crate::{
    Conditions, Email, Index, Principal, Status,
    decide::{in_force, lifetime_secs, unix_secs_floor, until},
    index::Person,
    machines::principal_of,
};

/// Those of `principals` that a live certificate of `email` must not carry any longer once `new` replaces `old`.
///
/// A principal is lost when no grant of `new` gives it, and also when a grant of `old` gave it under conditions that no grant of
/// `new` gives as widely: a network or an extension taken away, a forced command added, a lifetime or an end made shorter. So a
/// certificate that was issued before a narrowing never outlives it. Everything is lost with the active status.
#[must_use]
pub fn lost_principals(
    old: &Index,
    new: &Index,
    email: &Email,
    principals: &BTreeSet<Principal>,
    now: OffsetDateTime,
) -> BTreeSet<Principal> {
    let now_unix_secs = unix_secs_floor(now).unwrap_or(0);
    let granted = terms(new, email, now_unix_secs);
    let before = terms(old, email, now_unix_secs);
    principals
        .iter()
        .filter(|principal| {
            let now_given = || {
                granted
                    .iter()
                    .filter(|terms| terms.principal == **principal)
            };
            let mut was_given = before.iter().filter(|terms| terms.principal == **principal);
            now_given().next().is_none()
                || was_given.any(|was| !now_given().any(|is| is.covers(was)))
        })
        .cloned()
        .collect()
}

/// What one grant gives to one person.
struct Terms<'i> {
    principal: Principal,
    conditions: &'i Conditions,
    lifetime_secs: u64,
    until_unix_secs: u64,
}

impl Terms<'_> {
    /// Whether everything that `other` allows is allowed by these terms too.
    fn covers(&self, other: &Self) -> bool {
        let (wide, narrow) = (self.conditions, other.conditions);
        let from = wide.sources.is_empty()
            || (!narrow.sources.is_empty() && narrow.sources.is_subset(&wide.sources));
        let command = wide.forced_command.is_none() || wide.forced_command == narrow.forced_command;
        from && command
            && narrow.extensions.is_subset(&wide.extensions)
            && self.lifetime_secs >= other.lifetime_secs
            && self.until_unix_secs >= other.until_unix_secs
    }
}

fn terms<'i>(index: &'i Index, email: &Email, now_unix_secs: u64) -> Vec<Terms<'i>> {
    let active = |person: &&Person| person.employee.status == Status::Active;
    let Some(person) = index.person(email).filter(active) else {
        return Vec::new();
    };
    index
        .grants_to(person)
        .into_iter()
        .filter(|grant| in_force(grant, now_unix_secs))
        .map(|grant| Terms {
            principal: principal_of(index, person, grant),
            conditions: &grant.grant.conditions,
            lifetime_secs: lifetime_secs(
                &grant.grant.conditions,
                &person.employee.roles,
                index.limits(),
            ),
            until_unix_secs: until(grant),
        })
        .collect()
}
