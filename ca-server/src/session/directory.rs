//! What a client needs to use its certificates: which machines, where, as whom, with which certificate.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use ca_api::{Directory, Issued, LoginEntry, MachineEntry};
use policies::{Email, MachineName, Order};
use time::OffsetDateTime;

use crate::{
    ca::{Ca, sha256_hex},
    records::{Compiled, FleetRecord, MachineStatus, NameRecord, fleet, name_key},
    store::{KeyRange, Read, ReadError, Snapshot, Table, TableGroup},
};

/// An answer without certificates and session: the caller adds them. `known_tag` names the directory that the client
/// has; if it is still right, it is not sent again.
///
/// # Errors
/// If the store cannot be read.
pub fn answer(
    ca: &Ca,
    compiled: &Arc<Compiled>,
    email: &Email,
    orders: &[Order],
    known_tag: Option<&str>,
    now: OffsetDateTime,
) -> Result<Issued, ReadError> {
    let view = ca.db.snapshot()?;
    let tag = tag(&view, compiled, email, orders)?;
    let directory = if known_tag == Some(tag.as_str()) {
        None
    } else {
        Some(directory(ca, &view, compiled, email, orders, now)?)
    };
    Ok(Issued {
        session: None,
        certificates: Vec::new(),
        directory,
        directory_tag: tag,
        needs_security_key: 0,
        next_nonce: ca.nonces.issue(now.unix_timestamp()),
        now_unix: now.unix_timestamp(),
    })
}

/// Names the content without building it: the revisions of all it is made of (of the policy that decided, which `view` may be
/// newer than), and which certificate opens what.
fn tag(
    view: &Snapshot,
    compiled: &Compiled,
    email: &Email,
    orders: &[Order],
) -> Result<String, ReadError> {
    let mut text = format!(
        "{email}\n{}\n{}\n",
        compiled.revision.0,
        view.revision(TableGroup::Fleet)?.0
    );
    for order in orders {
        for principal in order.principals().iter() {
            text.push_str(&principal.to_string());
            text.push(' ');
        }
        text.push('\n');
    }
    Ok(sha256_hex(text.as_bytes())[..32].to_owned())
}

fn directory(
    ca: &Ca,
    view: &Snapshot,
    compiled: &Compiled,
    email: &Email,
    orders: &[Order],
    now: OffsetDateTime,
) -> Result<Directory, ReadError> {
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
    let revoked_hosts = removed_hosts(view, &all)?;
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
        user_cas: vec![ca.keys.user_ca_text()],
        host_cas: vec![ca.keys.host_ca_text()],
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
