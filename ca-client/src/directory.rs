//! What the CA says of machines, parsed once: nothing in here can break out of a line of ssh_config or known_hosts (C5).

use std::{collections::BTreeSet, fmt, net::IpAddr, str::FromStr};

use ca_api::Directory;
use policies::{AccountName, Email, MachineName, NameError, PoolName};
use ssh_key::{Algorithm, PublicKey};

use crate::text;

/// Who the employee is and which machines they reach, in names that are proven well formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// Their email.
    pub email: Email,
    /// Their full name on one line, or empty.
    pub name: String,
    /// Their own account.
    pub account: AccountName,
    /// The machines, by name.
    pub machines: Vec<Machine>,
    /// User CA keys.
    pub user_cas: Vec<PublicKey>,
    /// Host CA keys.
    pub host_cas: Vec<PublicKey>,
    /// Host keys that are revoked.
    pub revoked_hosts: Vec<PublicKey>,
    /// How many machines, logins and keys were left out because they were not well formed.
    pub left_out: usize,
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its name.
    pub name: MachineName,
    /// Where it is.
    pub address: Address,
    /// Its sshd's port.
    pub port: u16,
    /// Its pools.
    pub pools: Vec<PoolName>,
    /// As whom; at least one, the default first.
    pub logins: Vec<Login>,
}

/// An account on a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The account.
    pub account: AccountName,
    /// Which certificate opens it.
    pub certificate: usize,
}

/// A host name or an IP address, in characters that mean nothing to ssh_config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address(String);

/// A text that is neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a host name or an IP address")]
pub struct AddressError;

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let label_ok = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        };
        let name = text.strip_suffix('.').unwrap_or(text);
        let ok =
            text.parse::<IpAddr>().is_ok() || (name.len() <= 253 && name.split('.').all(label_ok));
        ok.then(|| Self(text.to_owned())).ok_or(AddressError)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Parses OpenSSH public keys of the kinds that OpenSSH knows.
#[must_use]
pub fn public_keys(texts: &[String]) -> Vec<PublicKey> {
    let known = |key: &PublicKey| !matches!(key.algorithm(), Algorithm::Other(_) | Algorithm::Dsa);
    texts
        .iter()
        .filter_map(|text| PublicKey::from_openssh(text).ok().filter(known))
        .collect()
}

impl Reach {
    /// Parses a directory that refers to `certificates` certificates. Entries that are not well formed are left out and
    /// counted: one bad name must not take every machine away.
    ///
    /// # Errors
    /// When it does not say who the employee is.
    pub fn parse(wire: &Directory, certificates: usize) -> Result<Self, NameError> {
        let mut seen = BTreeSet::new();
        let mut logins_left_out = 0;
        let mut machines = Vec::new();
        for entry in &wire.machines {
            let logins: Vec<_> = entry
                .logins
                .iter()
                .filter(|login| login.certificate < certificates)
                .filter_map(|login| {
                    Some(Login {
                        account: login.account.parse().ok()?,
                        certificate: login.certificate,
                    })
                })
                .collect();
            logins_left_out += entry.logins.len() - logins.len();
            let (Ok(name), Ok(address)) =
                (entry.name.parse::<MachineName>(), entry.address.parse())
            else {
                continue;
            };
            if logins.is_empty() || entry.port == 0 || !seen.insert(name.clone()) {
                continue;
            }
            let pools = entry
                .pools
                .iter()
                .filter_map(|pool| pool.parse().ok())
                .collect();
            machines.push(Machine {
                name,
                address,
                port: entry.port,
                pools,
                logins,
            });
        }
        machines.sort_by(|a: &Machine, b| a.name.cmp(&b.name));
        let reach = Self {
            email: wire.email.parse()?,
            name: text::line(&wire.name),
            account: wire.account.parse()?,
            user_cas: public_keys(&wire.user_cas),
            host_cas: public_keys(&wire.host_cas),
            revoked_hosts: public_keys(&wire.revoked_hosts),
            left_out: 0,
            machines,
        };
        let keys = wire.user_cas.len() + wire.host_cas.len() + wire.revoked_hosts.len();
        let keys_kept = reach.user_cas.len() + reach.host_cas.len() + reach.revoked_hosts.len();
        let left_out =
            wire.machines.len() - reach.machines.len() + (keys - keys_kept) + logins_left_out;
        Ok(Self { left_out, ..reach })
    }
}
