//! A machine's host certificate: how long it lives, and how it is made anew.

use std::{collections::BTreeMap, sync::Arc};

use ca_api::ApiError;
use policies::MachineName;
use ssh_key::PublicKey;

use super::{edit, record, unavailable};
use crate::{
    admin::unknown,
    ca::Ca,
    issue::probe::{Own, issue_own},
    ledger::{Actor, Event},
    session::directory::host_names,
};

/// How long a host certificate lives, in seconds; the keeper renews it at half of that.
pub const HOST_CERTIFICATE_SECS: u64 = 90 * 24 * 3600;

/// A new host certificate, and when it ends.
///
/// # Errors
/// When it cannot be issued.
pub async fn new_host_certificate(
    ca: &Arc<Ca>,
    actor: Actor,
    machine: &MachineName,
    address: &str,
    host_key: &PublicKey,
) -> Result<(String, i64), ApiError> {
    let own = Own::Host {
        subject: host_key,
        machine,
        names: host_names(machine, address),
        lifetime_secs: HOST_CERTIFICATE_SECS,
    };
    let until = ca.clock.now().unix_timestamp() + i64::try_from(HOST_CERTIFICATE_SECS).unwrap_or(0);
    let certificate = issue_own(ca, own, actor).await.map_err(unavailable)?;
    Ok((certificate, until))
}

/// Makes a machine's host certificate anew; sync brings it.
///
/// # Errors
/// When it cannot be issued or stored.
pub async fn renew_host_certificate(ca: &Arc<Ca>, machine: &MachineName) -> Result<(), ApiError> {
    let old = record(ca, machine)?.ok_or_else(|| unknown("machine", machine, "machine"))?;
    let key = PublicKey::from_openssh(&old.host_key).map_err(unavailable)?;
    let (certificate, until) =
        new_host_certificate(ca, Actor::Server, machine, &old.address, &key).await?;
    let name = machine.clone();
    edit(ca, Actor::Server, machine.as_str(), move |_, record| {
        record.host_certificate.clone_from(&certificate);
        record.host_certificate_until_unix = until;
        Ok(Event::MachineChanged {
            machine: name.clone(),
            changes: BTreeMap::from([("host_certificate".to_owned(), "renewed".to_owned())]),
        })
    })
    .await?;
    Ok(())
}
