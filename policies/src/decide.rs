//! The decision: which certificates a person may have now, and until when.

use std::collections::{BTreeMap, BTreeSet};

use time::OffsetDateTime;

use crate::{
    Conditions, Email, Index, KeyId, KeyKind, Limits, PoolName, Principal, Principals, Role,
    Status, index::IndexedGrant, machines::principal_of,
};

/// How far a certificate begins before now, in seconds, so that a machine whose clock is a little behind accepts it (I7).
pub const BACKDATE_SECS: u64 = 60;

/// What somebody who has proven who they are asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Who asks.
    pub email: Email,
    /// When their day session ends.
    pub session_ends: OffsetDateTime,
    /// What kind of key their session has.
    pub key: KeyKind,
    /// What they want less of.
    pub narrow: Narrow,
}

/// The only things about a certificate that its bearer may choose, and each only makes it smaller (I4).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Narrow {
    /// At most this long, in seconds.
    pub lifetime_secs: Option<u64>,
    /// Only grants that name one of these pools.
    pub pools: Option<BTreeSet<PoolName>>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// One certificate for each order; never empty.
    Grant(Vec<Order>),
    /// None at all.
    Deny(DenyReason),
}

/// Why nothing is granted; for the ledger and the admin, not for strangers (A4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DenyReason {
    /// No such employee.
    #[error("nobody with this email is known")]
    UnknownEmployee,
    /// Invited, suspended or removed.
    #[error("the employee is {}, not active", status_word(*.0))]
    NotActive(Status),
    /// The day session is over.
    #[error("the day session is over; log in again")]
    SessionOver,
    /// No grant names them or a team of theirs, or each has ended.
    #[error("no grant is in force for this employee")]
    NoGrant,
    /// There are grants, but none on the pools asked for.
    #[error("none of the pools asked for is granted to this employee")]
    NarrowedAway,
    /// There are grants, but each only in hours that are not now.
    #[error("what is granted to this employee is outside of its hours now")]
    OutsideHours,
    /// There are grants, but each for a security key only.
    #[error("what is granted to this employee needs a security key (an sk- key); log in with one")]
    SecurityKeyNeeded,
    /// The shortest of the limits leaves less than a second.
    #[error("the lifetime asked for or allowed is less than a second")]
    NoTimeLeft,
    /// The clock shows a time before 1970.
    #[error("the clock is wrong: it shows a time before 1970")]
    ClockOutOfRange,
}

/// One certificate that was decided: only [`decide`] makes these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    key_id: KeyId,
    principals: Principals,
    conditions: Conditions,
    valid_after_unix_secs: u64,
    valid_before_unix_secs: u64,
}

impl Order {
    /// `email/epoch` as it stood when this was decided.
    #[must_use]
    pub fn key_id(&self) -> &KeyId {
        &self.key_id
    }

    /// One `account@pool` per grant.
    #[must_use]
    pub fn principals(&self) -> &Principals {
        &self.principals
    }

    /// The conditions that all of its grants share.
    #[must_use]
    pub fn conditions(&self) -> &Conditions {
        &self.conditions
    }

    /// The first second in which the certificate is valid.
    #[must_use]
    pub fn valid_after_unix_secs(&self) -> u64 {
        self.valid_after_unix_secs
    }

    /// The first second in which it is valid no more: sshd reads "valid before" as exclusive (`now >= valid_before` is expired).
    #[must_use]
    pub fn valid_before_unix_secs(&self) -> u64 {
        self.valid_before_unix_secs
    }
}

/// Decides which certificates `request.email` may have at `now`; default deny (P1).
///
/// Orders come in a fixed order: by conditions, then by end, then by principals. A set of more than 256 principals is spread over
/// several orders with the same conditions.
#[must_use]
pub fn decide(index: &Index, request: &Request, now: OffsetDateTime) -> Decision {
    let Some(person) = index.person(&request.email) else {
        return Decision::Deny(DenyReason::UnknownEmployee);
    };
    if person.employee.status != Status::Active {
        return Decision::Deny(DenyReason::NotActive(person.employee.status));
    }
    let (Some(window), Some(session_ends)) =
        (Start::of(now), unix_secs_floor(request.session_ends))
    else {
        return Decision::Deny(DenyReason::ClockOutOfRange);
    };
    if session_ends <= window.now_unix_secs {
        return Decision::Deny(DenyReason::SessionOver);
    }

    let mut grants = index.grants_to(person);
    grants.retain(|grant| in_force(grant, window.now_unix_secs));
    if grants.is_empty() {
        return Decision::Deny(DenyReason::NoGrant);
    }
    if let Some(pools) = &request.narrow.pools {
        grants.retain(|grant| pools.contains(&grant.grant.pool));
    }
    if grants.is_empty() {
        return Decision::Deny(DenyReason::NarrowedAway);
    }

    let mut open: Vec<(&IndexedGrant, u64)> = grants
        .into_iter()
        .filter_map(|grant| Some((grant, open_until(grant, window.now_unix_secs)?)))
        .collect();
    if open.is_empty() {
        return Decision::Deny(DenyReason::OutsideHours);
    }
    open.retain(|(grant, _)| grant.grant.conditions.key.allows(request.key));
    if open.is_empty() {
        return Decision::Deny(DenyReason::SecurityKeyNeeded);
    }

    let asked = request.narrow.lifetime_secs.unwrap_or(u64::MAX);
    let mut sets: BTreeMap<(&Conditions, u64), BTreeSet<Principal>> = BTreeMap::new();
    for (grant, open_until) in open {
        let lifetime = lifetime_secs(
            &grant.grant.conditions,
            &person.employee.roles,
            index.limits(),
        );
        let end = window
            .now_unix_secs
            .saturating_add(lifetime.min(asked))
            .min(session_ends)
            .min(open_until);
        if end > window.now_unix_secs {
            sets.entry((&grant.grant.conditions, end))
                .or_default()
                .insert(principal_of(index, person, grant));
        }
    }
    if sets.is_empty() {
        return Decision::Deny(DenyReason::NoTimeLeft);
    }
    let orders = sets
        .into_iter()
        .flat_map(|((conditions, end), set)| {
            Principals::split(set)
                .into_iter()
                .map(move |principals| Order {
                    key_id: KeyId::Employee {
                        email: person.employee.email.clone(),
                        epoch: person.employee.epoch,
                    },
                    principals,
                    conditions: conditions.clone(),
                    valid_after_unix_secs: window.valid_after_unix_secs,
                    valid_before_unix_secs: end,
                })
        })
        .collect();
    Decision::Grant(orders)
}

/// Where a certificate's time begins.
#[derive(Debug, Clone, Copy)]
struct Start {
    now_unix_secs: u64,
    valid_after_unix_secs: u64,
}

impl Start {
    fn of(now: OffsetDateTime) -> Option<Self> {
        let now_unix_secs = unix_secs_floor(now)?;
        // Rounded up first: from 100.9 s, second 40 would be back-dated by 60.9 s.
        let begun = u64::from(now.nanosecond() > 0);
        Some(Self {
            now_unix_secs,
            valid_after_unix_secs: (now_unix_secs + begun).saturating_sub(BACKDATE_SECS),
        })
    }
}

/// Whole seconds since 1970, rounded down: an end rounded down is never too late.
pub(crate) fn unix_secs_floor(at: OffsetDateTime) -> Option<u64> {
    u64::try_from(at.unix_timestamp()).ok()
}

/// Whether `grant` has not ended by itself at this second.
pub(crate) fn in_force(grant: &IndexedGrant, now_unix_secs: u64) -> bool {
    until(grant) > now_unix_secs
}

/// The first second in which `grant` gives nothing more, by its `until` and its hours; `None` if it gives nothing now.
pub(crate) fn open_until(grant: &IndexedGrant, now_unix_secs: u64) -> Option<u64> {
    let until = until(grant);
    let end = match &grant.grant.hours {
        None => until,
        Some(hours) => {
            let now = i64::try_from(now_unix_secs).ok()?;
            u64::try_from(hours.open_until_unix_secs(now)?)
                .ok()?
                .min(until)
        }
    };
    (end > now_unix_secs).then_some(end)
}

/// The first second in which `grant` is in force no more.
pub(crate) fn until(grant: &IndexedGrant) -> u64 {
    match grant.grant.until_unix_secs {
        None => u64::MAX,
        Some(secs) => u64::try_from(secs).unwrap_or(0),
    }
}

/// The longest lifetime that policy gives a certificate under `conditions` to somebody with `roles`.
pub(crate) fn lifetime_secs(
    conditions: &Conditions,
    roles: &BTreeSet<Role>,
    limits: &Limits,
) -> u64 {
    let granted = conditions.max_lifetime_secs.unwrap_or(limits.lifetime_secs);
    let by_role = if roles.contains(&Role::Admin) {
        limits.admin_lifetime_secs
    } else {
        u64::MAX
    };
    granted.min(by_role).min(limits.ceiling_secs)
}

fn status_word(status: Status) -> &'static str {
    match status {
        Status::Invited => "invited",
        Status::Active => "active",
        Status::Suspended => "suspended",
        Status::Removed => "removed",
    }
}
