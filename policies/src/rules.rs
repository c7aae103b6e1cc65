//! The rules that one grant, one name or one uid must keep, shared by `check` (which reports) and `Index` (which leaves out).

mod text;

pub(crate) use text::source_contains;

use std::collections::BTreeMap;

use crate::{
    AccountName, Email, Extension, Grant, GrantAccount, GrantId, Grantee, Place, Policy, PoolName,
    Problem, Recording, Severity, Sudo,
};

/// Accounts of the CA itself and of its admins: no grant reaches them, marked or not.
const NEVER: [&str; 4] = ["breakglass", "ssh-admin", "ssh-ca-probe", "ssh-ca-sync"];

/// Accounts and groups that stock systems have (uid below 1000), which a grant must be marked for (P6).
const SYSTEM: &[&str] = &[
    "adm",
    "apache",
    "at",
    "audio",
    "avahi",
    "backup",
    "bin",
    "bind",
    "cdrom",
    "chrony",
    "colord",
    "crontab",
    "cups",
    "cyrus",
    "daemon",
    "dbus",
    "dhcpcd",
    "dialout",
    "dip",
    "disk",
    "dnsmasq",
    "docker",
    "exim",
    "fax",
    "floppy",
    "ftp",
    "fwupd-refresh",
    "games",
    "gdm",
    "geoclue",
    "gnats",
    "guest",
    "halt",
    "http",
    "input",
    "irc",
    "kmem",
    "kvm",
    "landscape",
    "libvirt-qemu",
    "list",
    "lp",
    "lxd",
    "mail",
    "man",
    "messagebus",
    "mysql",
    "named",
    "netdev",
    "news",
    "nginx",
    "nobody",
    "nogroup",
    "nscd",
    "ntp",
    "openldap",
    "operator",
    "plugdev",
    "polkitd",
    "pollinate",
    "postdrop",
    "postfix",
    "postgres",
    "postmaster",
    "proxy",
    "pulse",
    "qemu",
    "redis",
    "render",
    "rkt",
    "root",
    "rpc",
    "rpcuser",
    "rtkit",
    "saned",
    "sasl",
    "sgx",
    "shadow",
    "shutdown",
    "smmsp",
    "snmp",
    "squid",
    "src",
    "ssh",
    "sshd",
    "ssl-cert",
    "sssd",
    "staff",
    "statd",
    "sudo",
    "sync",
    "sys",
    "syslog",
    "tape",
    "tcpdump",
    "tss",
    "tty",
    "unbound",
    "usbmux",
    "users",
    "utmp",
    "uucp",
    "uuidd",
    "vboxadd",
    "vcsa",
    "video",
    "voice",
    "wheel",
    "www-data",
    "xfs",
];

/// Whether `account` belongs to the system or to the CA, so that an unmarked grant must not give it (P6).
pub(crate) fn is_system_account(account: &AccountName) -> bool {
    let name = account.as_str();
    name.starts_with('_')
        || name.starts_with("systemd-")
        || is_ca_account(account)
        || NEVER.contains(&name)
        || SYSTEM.binary_search(&name).is_ok()
}

/// Whether no grant may give `account`, marked or not.
pub(crate) fn is_never_grantable(account: &AccountName) -> bool {
    NEVER.contains(&account.as_str()) || is_ca_account(account)
}

/// Whether `account` is one of the CA's own.
pub(crate) fn is_ca_account(account: &AccountName) -> bool {
    account.as_str().starts_with("ssh-ca-")
}

/// Whether a pool's name belongs to the CA (probe and canary certificates).
pub(crate) fn is_reserved_pool(pool: &PoolName) -> bool {
    pool.as_str().starts_with('_')
}

/// Whether a person may have `uid`: no system uid, not `nobody`, and not one that a tool reads as negative.
pub(crate) fn is_person_uid(uid: u32) -> bool {
    uid >= 1000 && uid != 65_534 && uid != 65_535 && i32::try_from(uid).is_ok()
}

/// What a grant's soundness depends on beside the grant.
pub(crate) struct Facts<'p> {
    policy: &'p Policy,
    by_account: BTreeMap<&'p AccountName, Vec<&'p Email>>,
    by_uid: BTreeMap<u32, Vec<&'p Email>>,
}

impl<'p> Facts<'p> {
    pub(crate) fn of(policy: &'p Policy) -> Self {
        let mut by_account: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let mut by_uid: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (email, employee) in &policy.employees {
            by_account.entry(&employee.account).or_default().push(email);
            by_uid.entry(employee.uid).or_default().push(email);
        }
        Self {
            policy,
            by_account,
            by_uid,
        }
    }

    /// Owners of each account, removed people too: names are never handed on (P9).
    pub(crate) fn owners_by_account(&self) -> impl Iterator<Item = (&AccountName, &[&'p Email])> {
        self.by_account
            .iter()
            .map(|(account, owners)| (*account, owners.as_slice()))
    }

    /// Owners of each uid, removed people too.
    pub(crate) fn owners_by_uid(&self) -> impl Iterator<Item = (u32, &[&'p Email])> {
        self.by_uid
            .iter()
            .map(|(uid, owners)| (*uid, owners.as_slice()))
    }

    /// Whether grants of the own account may count for `email`.
    pub(crate) fn own_account_is_sound(&self, email: &Email) -> bool {
        self.policy.employees.get(email).is_some_and(|employee| {
            employee.email == *email
                && !is_system_account(&employee.account)
                && is_person_uid(employee.uid)
                && self.by_account[&employee.account].len() == 1
                && self.by_uid[&employee.uid].len() == 1
        })
    }
}

/// Whether nothing worse than a warning stands against `grant`.
pub(crate) fn grant_is_sound(id: GrantId, grant: &Grant, facts: &Facts) -> bool {
    grant_problems(id, grant, facts)
        .iter()
        .all(|problem| problem.severity() < Severity::Error)
}

/// What is wrong with `grant` by itself.
pub(crate) fn grant_problems(id: GrantId, grant: &Grant, facts: &Facts) -> Vec<Problem> {
    let mut problems = Vec::new();
    let policy = facts.policy;
    match &grant.who {
        Grantee::Employee(email) if !policy.employees.contains_key(email) => {
            problems.push(Problem::UnknownEmployee {
                place: Place::Grant(id),
                email: email.clone(),
            });
        }
        Grantee::Team(team) if !policy.teams.contains_key(team) => {
            problems.push(Problem::UnknownTeam {
                place: Place::Grant(id),
                team: team.clone(),
            });
        }
        Grantee::Employee(_) | Grantee::Team(_) => {}
    }
    if is_reserved_pool(&grant.pool) {
        problems.push(Problem::ReservedPool {
            pool: grant.pool.clone(),
        });
    } else if !policy.pools.contains_key(&grant.pool) {
        problems.push(Problem::UnknownPool {
            place: Place::Grant(id),
            pool: grant.pool.clone(),
        });
    }
    if let GrantAccount::Shared(account) = &grant.account {
        shared_account(id, grant, account, facts, &mut problems);
    }
    conditions(id, grant, policy.limits.ceiling_secs, &mut problems);
    sudo(id, &grant.sudo, &mut problems);
    match grant.recording {
        Recording::None => {}
        // X1: what must be recorded and cannot be is refused.
        Recording::Required => problems.push(Problem::NoRecorder { grant: id }),
    }
    problems
}

fn shared_account(
    grant_id: GrantId,
    grant: &Grant,
    account: &AccountName,
    facts: &Facts,
    problems: &mut Vec<Problem>,
) {
    if is_never_grantable(account) {
        problems.push(Problem::NeverGrantable {
            grant: grant_id,
            account: account.clone(),
        });
    } else if is_system_account(account) && !grant.system_account {
        problems.push(Problem::SystemAccount {
            grant: grant_id,
            account: account.clone(),
        });
    }
    for &email in facts.by_account.get(account).into_iter().flatten() {
        problems.push(Problem::SharedIsOwn {
            grant: grant_id,
            account: account.clone(),
            email: email.clone(),
        });
    }
}

fn conditions(id: GrantId, grant: &Grant, ceiling_secs: u64, problems: &mut Vec<Problem>) {
    let conditions = &grant.conditions;
    match conditions.max_lifetime_secs {
        Some(0) => problems.push(Problem::ZeroLifetime { grant: id }),
        Some(lifetime_secs) if lifetime_secs > ceiling_secs => {
            problems.push(Problem::LifetimeAboveCeiling {
                grant: id,
                lifetime_secs,
                ceiling_secs,
            });
        }
        Some(_) | None => {}
    }
    for source in &conditions.sources {
        if let Err(rule) = text::source(source) {
            problems.push(Problem::BadSource {
                grant: id,
                source_network: source.clone(),
                rule,
            });
        }
    }
    if let Some(command) = &conditions.forced_command {
        if let Err(rule) = text::forced_command(command) {
            problems.push(Problem::BadForcedCommand { grant: id, rule });
        }
        if conditions.extensions.contains(&Extension::UserRc) {
            problems.push(Problem::ForcedCommandWithUserRc { grant: id });
        }
    }
}

fn sudo(id: GrantId, sudo: &Sudo, problems: &mut Vec<Problem>) {
    let Sudo::Commands(commands) = sudo else {
        return;
    };
    if commands.is_empty() {
        problems.push(Problem::EmptySudo { grant: id });
    }
    for command in commands {
        if let Err(rule) = text::sudo_command(command) {
            problems.push(Problem::BadSudoCommand {
                grant: id,
                command: command.clone(),
                rule,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p6_the_list_of_system_accounts_is_sorted_for_its_search() {
        assert!(SYSTEM.is_sorted());
        for name in SYSTEM.iter().chain(&NEVER) {
            assert!(is_system_account(&name.parse().unwrap()), "{name}");
        }
        for name in ["systemd-network", "_apt", "ssh-ca-anything"] {
            assert!(is_system_account(&name.parse().unwrap()), "{name}");
        }
        for name in ["alice", "deploy", "git", "ubuntu", "admin", "roots"] {
            assert!(!is_system_account(&name.parse().unwrap()), "{name}");
        }
    }

    #[test]
    fn p6_uids_of_people() {
        for uid in [1000, 20_000, 65_533, 65_536, 0x7fff_ffff] {
            assert!(is_person_uid(uid), "{uid}");
        }
        for uid in [0, 1, 999, 65_534, 65_535, 0x8000_0000, u32::MAX] {
            assert!(!is_person_uid(uid), "{uid}");
        }
    }
}
