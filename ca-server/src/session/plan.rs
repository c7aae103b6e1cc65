//! What a login or renewal may have: the decision, its rehearsal, and the policy that both stand on.

use std::{collections::BTreeSet, sync::Arc};

use policies::{Decision, Email, KeyKind, Subject};
use ssh_key::{HashAlg, PublicKey};
use time::OffsetDateTime;

use super::{SessionError, possession::ProvenKey};
use crate::{
    ca::Ca,
    clock::Steady,
    issue::{self, Linted},
    keys::Keys,
    records::Compiled,
    store::{Read, ReadError, Revision, TableGroup},
};

/// A decision with its rehearsal, and the policy that it stands on.
pub struct Plan {
    /// The policy.
    pub compiled: Arc<Compiled>,
    /// The CA's own keys.
    pub keys: Arc<Keys>,
    /// Its revision: the transaction that records the intent finds the same one, or this plan is void (I3).
    pub revision: Revision,
    /// When the session ends.
    pub session_ends: OffsetDateTime,
    /// What was decided.
    pub orders: Vec<policies::Order>,
    /// What passed the rehearsal.
    pub linted: Linted,
    /// How many grants are left out because the session's key is not a security key that verified its owner.
    pub needs_security_key: usize,
}

/// What a decision came to.
pub enum Planned {
    /// These certificates.
    Orders(Plan),
    /// None.
    Denied(policies::DenyReason),
}

/// Decides, prepares and rehearses. `session_ends` is given for a renewal; a login's session is as long as policy says.
///
/// # Errors
/// When the store cannot be read or the rehearsal fails.
pub fn plan(
    ca: &Ca,
    email: &Email,
    session_ends: Option<OffsetDateTime>,
    narrow: &policies::Narrow,
    proven: &ProvenKey,
    moment: Steady,
) -> Result<Planned, SessionError> {
    let now = moment.at();
    let view = ca.db.snapshot()?;
    let compiled = ca.policy.load(&view)?;
    let keys = ca.key_room.at(&view).map_err(issue::IssueError::from)?;
    let revision = view.revision(TableGroup::Policy)?;
    let session_ends = session_ends.unwrap_or_else(|| {
        let secs = i64::try_from(compiled.index.limits().session_secs).unwrap_or(i64::MAX);
        now.saturating_add(time::Duration::seconds(secs))
    });
    let request = policies::Request {
        email: email.clone(),
        session_ends,
        key: proven.kind,
        narrow: narrow.clone(),
    };
    let orders = match policies::decide(&compiled.index, &request, now) {
        Decision::Grant(orders) => orders,
        Decision::Deny(reason) => return Ok(Planned::Denied(reason)),
    };
    let prepared = issue::prepare(&orders, &proven.subject, issue::probe::instance_epoch(ca)?)?;
    let linted = ca.rehearsal.lint(prepared)?;
    let needs_security_key = left_out(&compiled.index, request, &orders, now);
    Ok(Planned::Orders(Plan {
        compiled,
        keys,
        revision,
        session_ends,
        orders,
        linted,
        needs_security_key,
    }))
}

/// How many principals the same person would have with a security key and has by nothing else.
fn left_out(
    index: &policies::Index,
    request: policies::Request,
    orders: &[policies::Order],
    now: OffsetDateTime,
) -> usize {
    if request.key == KeyKind::SecurityKey {
        return 0;
    }
    let request = policies::Request {
        key: KeyKind::SecurityKey,
        ..request
    };
    let Decision::Grant(with_one) = policies::decide(index, &request, now) else {
        return 0;
    };
    let held: BTreeSet<_> = orders
        .iter()
        .flat_map(|order| order.principals().iter())
        .collect();
    with_one
        .iter()
        .flat_map(|order| order.principals().iter())
        .filter(|principal| !held.contains(principal))
        .count()
}

/// May this key be certified at all (I8)?
///
/// # Errors
/// Why not, for its owner.
pub fn acceptable(ca: &Ca, key: &PublicKey) -> Result<Subject, SessionError> {
    policies::acceptable_subject(key, ca.keys().own())
        .map_err(|why| SessionError::Invalid(format!("this key cannot be certified: {why}")))
}

/// Is the key revoked by its hash?
///
/// # Errors
/// If the store cannot be read.
pub fn key_is_revoked(ca: &Ca, key: &PublicKey) -> Result<bool, ReadError> {
    let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
    let view = ca.db.snapshot()?;
    Ok(ca.revoked_keys.load(&view)?.contains(&fingerprint))
}

/// [`narrow`] the other way.
pub(super) fn wire(narrow: &policies::Narrow) -> ca_api::Narrow {
    ca_api::Narrow {
        lifetime_secs: narrow.lifetime_secs,
        pools: narrow
            .pools
            .as_ref()
            .map(|pools| pools.iter().map(ToString::to_string).collect()),
    }
}

/// What the client wants less of, parsed.
///
/// # Errors
/// When a pool's name is not one.
pub fn narrow(wire: &ca_api::Narrow) -> Result<policies::Narrow, SessionError> {
    let pools = wire
        .pools
        .as_ref()
        .map(|pools| {
            pools
                .iter()
                .map(|pool| pool.parse())
                .collect::<Result<_, policies::NameError>>()
        })
        .transpose()
        .map_err(|error| SessionError::Invalid(error.to_string()))?;
    Ok(policies::Narrow {
        lifetime_secs: wire.lifetime_secs,
        pools,
    })
}
