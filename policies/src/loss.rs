//! What somebody loses by a change of policy, so that live certificates which carry it are revoked (P7).

use std::collections::BTreeSet;

use time::OffsetDateTime;

use crate::{
    BACKDATE_SECS, Conditions, Email, Index, KeyDemand, Principal, Status,
    decide::{lifetime_secs, open_until, unix_secs_floor},
    index::Person,
    machines::principal_of,
    rules::source_contains,
};

/// A certificate that somebody holds, as far as policy looks at it.
#[derive(Debug, Clone, Copy)]
pub struct Held<'c> {
    /// What it opens.
    pub principals: &'c BTreeSet<Principal>,
    /// The conditions that it carries.
    pub conditions: &'c Conditions,
    /// The first second in which it is valid.
    pub valid_after_unix_secs: u64,
    /// The first second in which it is valid no more.
    pub valid_before_unix_secs: u64,
}

/// Those of the principals of `held` that `email` could not be given again at `now`: so freely, and for so long.
///
/// A certificate that was issued under the policy of `index` loses nothing as long as the policy stays. Something is lost when no
/// grant gives it any more, and also when each grant that gives it gives less than the certificate carries: not all of its networks
/// or extensions, a forced command, a security key, or an earlier end by lifetime, hours or `until`. Everything is lost with the
/// active status. So whatever is left after these were revoked is within the policy (P7). A certificate that has ended has nothing to lose.
#[must_use]
pub fn beyond_policy(
    index: &Index,
    email: &Email,
    held: &Held<'_>,
    now: OffsetDateTime,
) -> BTreeSet<Principal> {
    // A clock that went back a little since it was issued is no reason to revoke.
    let issued_unix_secs = held.valid_after_unix_secs.saturating_add(BACKDATE_SECS);
    let at_unix_secs = unix_secs_floor(now).unwrap_or(0).max(issued_unix_secs);
    if held.valid_before_unix_secs <= at_unix_secs {
        return BTreeSet::new();
    }
    let granted = terms(index, email, at_unix_secs);
    held.principals
        .iter()
        .filter(|principal| {
            !granted.iter().any(|terms| {
                terms.principal == **principal
                    && terms.end_unix_secs >= held.valid_before_unix_secs
                    && is_as_free(terms.conditions, held.conditions)
            })
        })
        .cloned()
        .collect()
}

/// Those of `principals` that a live certificate of `email` must not carry any longer once `new` replaces `old`, where nobody knows
/// what else it carries: [`beyond_policy`] for every certificate that `old` may have given.
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

/// What one grant gives to one person, in a certificate that is issued now.
struct Terms<'i> {
    principal: Principal,
    conditions: &'i Conditions,
    end_unix_secs: u64,
}

impl Terms<'_> {
    /// Whether everything that `other` allows is allowed by these terms too.
    fn covers(&self, other: &Self) -> bool {
        self.end_unix_secs >= other.end_unix_secs && is_as_free(self.conditions, other.conditions)
    }
}

/// Whether a certificate under `wide` may do everything that one under `narrow` may; lifetimes are compared by the ends they give.
fn is_as_free(wide: &Conditions, narrow: &Conditions) -> bool {
    let within = |network: &String| {
        wide.sources
            .iter()
            .any(|wide| wide == network || source_contains(wide, network))
    };
    let from = wide.sources.is_empty()
        || (!narrow.sources.is_empty() && narrow.sources.iter().all(within));
    let command = wide.forced_command.is_none() || wide.forced_command == narrow.forced_command;
    let key = match wide.key {
        KeyDemand::Any => true,
        KeyDemand::SecurityKey => narrow.key == KeyDemand::SecurityKey,
    };
    from && command && key && narrow.extensions.is_subset(&wide.extensions)
}

fn terms<'i>(index: &'i Index, email: &Email, now_unix_secs: u64) -> Vec<Terms<'i>> {
    let active = |person: &&Person| person.employee.status == Status::Active;
    let Some(person) = index.person(email).filter(active) else {
        return Vec::new();
    };
    index
        .grants_to(person)
        .into_iter()
        .filter_map(|grant| {
            let conditions = &grant.grant.conditions;
            let lifetime = lifetime_secs(conditions, &person.employee.roles, index.limits());
            Some(Terms {
                principal: principal_of(index, person, grant),
                conditions,
                end_unix_secs: now_unix_secs
                    .saturating_add(lifetime)
                    .min(open_until(grant, now_unix_secs)?),
            })
        })
        .collect()
}
