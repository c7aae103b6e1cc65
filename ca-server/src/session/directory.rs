//! What a client needs to use its certificates: which machines, where, as whom, with which certificate.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ca_api::{Directory, Issued, LoginEntry, MachineEntry};
use policies::{Email, MachineName};
use time::OffsetDateTime;

use super::plan::Plan;
use crate::{
    ca::{Ca, sha256_hex},
    keys::Life,
    records::{FleetRecord, MachineStatus, NameRecord, fleet, name_key},
    store::{KeyRange, Read, ReadError, Snapshot, Table, TableGroup},
};

/// An answer without certificates and session: the caller adds them. `known_tag` names the directory that the client
/// has; if it is still right, it is not sent again.
///
/// # Errors
/// If the store cannot be read.
pub fn answer(
    ca: &Ca,
    plan: &Plan,
    email: &Email,
    known_tag: Option<&str>,
    now: OffsetDateTime,
) -> Result<Issued, ReadError> {
    let view = ca.db.snapshot()?;
    let tag = tag(&view, plan, email)?;
    let directory = if known_tag == Some(tag.as_str()) {
        None
    } else {
        Some(directory(&view, plan, email, now)?)
    };
    Ok(Issued {
        session: None,
        certificates: Vec::new(),
        directory,
        directory_tag: tag,
        needs_security_key: 0,
        next_nonce: ca.nonces.issue(now.unix_timestamp()),
        tls_ca: ca.tls.announced(),
        now_unix: now.unix_timestamp(),
    })
}

/// Names the content without building it: the revisions of all it is made of (of the policy and the keys that decided, which
/// `view` may be newer than), and which certificate opens what.
fn tag(view: &Snapshot, plan: &Plan, email: &Email) -> Result<String, ReadError> {
    let mut text = format!(
        "{email}\n{}\n{}\n{}\n",
        plan.compiled.revision.0,
        view.revision(TableGroup::Fleet)?.0,
        plan.keys.revision().0
    );
    for order in &plan.orders {
        for principal in order.principals().iter() {
            text.push_str(&principal.to_string());
            text.push(' ');
        }
        text.push('\n');
    }
    Ok(sha256_hex(text.as_bytes())[..32].to_owned())
}

fn directory(
    view: &Snapshot,
    plan: &Plan,
    email: &Email,
    now: OffsetDateTime,
) -> Result<Directory, ReadError> {
    let (compiled, orders) = (&plan.compiled, &plan.orders);
    let employee = &compiled.policy.employees[email];
    let mut logins: BTreeMap<MachineName, Vec<LoginEntry>> = BTreeMap::new();
    for cell in policies::reach(&compiled.index, email, now) {
        // No order: its certificate was narrowed away.
        if let Some(certificate) = cell.order_in(orders) {
            logins.entry(cell.machine).or_default().push(LoginEntry {
                account: cell.account.to_string(),
                certificate,
            });
        }
    }
    let all = fleet(view)?;
    let mut revoked_hosts = removed_hosts(view, &all)?;
    // ssh refuses every host certificate by a key that is named like this, also where an old line still trusts it.
    let compromised = plan.keys.host_ca.ended().iter();
    revoked_hosts.extend(
        compromised
            .filter(|held| held.record().life == Life::Compromised)
            .map(|held| held.record().public_key.clone()),
    );
    let machines = all
        .into_iter()
        .filter(|(_, record)| record.status == MachineStatus::Managed)
        .filter_map(|(name, record)| {
            let mut logins = logins.remove(&name)?;
            let own = |login: &LoginEntry| login.account != employee.account.as_str();
            logins.sort_by(|a, b| (own(a), &a.account).cmp(&(own(b), &b.account)));
            let pools = compiled
                .index
                .pools_of(&name)
                .map(ToString::to_string)
                .collect();
            Some(MachineEntry {
                name: name.to_string(),
                address: record.address,
                port: record.port,
                pools,
                logins,
            })
        })
        .collect();
    Ok(Directory {
        email: email.to_string(),
        name: employee.name.clone(),
        account: employee.account.to_string(),
        machines,
        user_cas: plan.keys.user_ca.trusted_texts(),
        host_cas: plan.keys.host_ca.trusted_texts(),
        revoked_hosts,
    })
}

/// Host keys that were a machine's and are none's now: their certificates are valid for a while yet. A machine that came
/// back with its key, under whatever name, is not refused.
fn removed_hosts(
    view: &Snapshot,
    fleet: &[(MachineName, FleetRecord)],
) -> Result<Vec<String>, ReadError> {
    let in_use: BTreeSet<&str> = fleet
        .iter()
        .filter(|(_, record)| record.status != MachineStatus::Leaving)
        .map(|(_, record)| blob(&record.host_key))
        .collect();
    let range = KeyRange::prefix(name_key("removed-host", ""));
    let removed = view.scan_json::<NameRecord>(Table::Accounts, &range, usize::MAX)?;
    Ok(removed
        .into_iter()
        .map(|(_, record)| record.holder)
        .filter(|key| !in_use.contains(blob(key)))
        .collect())
}

/// The base64 part of a key's text: the comment is not part of the key.
fn blob(key: &str) -> &str {
    key.split(' ').nth(1).unwrap_or_default()
}

/// The names under which people may reach a machine: its own, and its address.
#[must_use]
pub fn host_names(name: &MachineName, address: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::from([name.to_string()]);
    match address.parse::<IpAddr>() {
        Ok(address) => {
            names.insert(address.to_string());
        }
        Err(_) => {
            if let Ok(host) = address.parse::<MachineName>() {
                names.insert(host.to_string());
            }
        }
    }
    names
}
