//! `MachineProbe`: certificates with which bootstrap proves what a machine lets in, and what not.

use std::sync::Arc;

use ca_api::{
    ApiError, ErrorCode,
    admin::{AdminReply, ProbeCertificates},
};
use policies::MachineName;
use ssh_key::PublicKey;

use super::{record, unavailable};
use crate::{
    admin::{parse, unknown},
    ca::Ca,
    issue::probe::{
        NOWHERE_POOL, Own, OwnError, PROBE_ACCOUNT, PROBE_POOL, REVOKED_KEY_ID, issue_own,
    },
    ledger::Actor,
};

/// `MachineProbe`.
///
/// # Errors
/// When the machine is not known, or the key not certifiable.
pub async fn probe(
    ca: &Arc<Ca>,
    actor: Actor,
    machine: &str,
    public_key: &str,
) -> Result<AdminReply, ApiError> {
    let machine: MachineName = parse(machine)?;
    record(ca, &machine)?.ok_or_else(|| unknown("machine", &machine, "machine"))?;
    let subject = PublicKey::from_openssh(public_key)
        .map_err(|_| ApiError::new(ErrorCode::Invalid, "the probe's public key cannot be read"))?;
    let label = format!("probe/{machine}");
    let mut issued = Vec::with_capacity(3);
    for (pool, key_id) in [
        (PROBE_POOL, label.as_str()),
        (NOWHERE_POOL, label.as_str()),
        (PROBE_POOL, REVOKED_KEY_ID),
    ] {
        let own = Own::Probe {
            subject: &subject,
            pool,
            key_id,
        };
        let certificate = issue_own(ca, own, actor.clone())
            .await
            .map_err(|error| match error {
                OwnError::Issue(error) => unavailable(error),
                error => ApiError::new(ErrorCode::Invalid, error.to_string()),
            })?;
        issued.push(certificate);
    }
    let mut issued = issued.into_iter();
    let mut next = || issued.next().expect("three were issued");
    Ok(AdminReply::ProbeCertificates(ProbeCertificates {
        account: PROBE_ACCOUNT.to_owned(),
        good: next(),
        other_pool: next(),
        revoked: next(),
    }))
}
