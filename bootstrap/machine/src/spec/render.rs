//! From a machine's spec to its bundle: pure, and the same bytes for the same wish.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use policies::AccountName;
use ssh_key::PublicKey;

use super::{
    AccountSpec, BREAK_GLASS_ACCOUNT, BREAK_GLASS_DRILL_PRINCIPAL, BREAK_GLASS_DRILL_WORDS,
    BREAK_GLASS_PRINCIPAL, BreakGlass, MachineSpec, Mode, PROBE_ACCOUNT, PROBE_PRINCIPAL,
    SYNC_ACCOUNT, SudoRule,
};
use crate::{
    applier,
    bundle::{Account, AccountState, Bundle, Gecos, LOOPBACK_KEYS, Origin, Place},
    request::allowed_signers,
};

/// A spec that no bundle may be made of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// Nobody could log in, or nobody could bring the next bundle.
    #[error("{machine} would be left without any {what}; give it at least one")]
    NoKey {
        /// The machine.
        machine: String,
        /// Which keys.
        what: &'static str,
    },
    /// The user CA must never open this account (P6, R11).
    #[error(
        "the account {account} on {machine} is reserved: a certificate never opens it; choose another account for the grant"
    )]
    Reserved {
        /// The machine.
        machine: String,
        /// The account.
        account: AccountName,
    },
    /// One account, two wishes.
    #[error("the account {account} is described twice for {machine}")]
    Twice {
        /// The machine.
        machine: String,
        /// The account.
        account: AccountName,
    },
    /// An account that the CA makes has a uid of its own, the same on every machine.
    #[error("the account {account} on {machine} has no uid; one from the fleet's range is needed")]
    NoUid {
        /// The machine.
        machine: String,
        /// The account.
        account: AccountName,
    },
    /// A principal of another account would let people in under the wrong name.
    #[error("the principal {principal} does not open the account {account} on {machine}")]
    ForeignPrincipal {
        /// The machine.
        machine: String,
        /// The account.
        account: AccountName,
        /// The principal.
        principal: String,
    },
    /// Numbers of a manifest have at most 18 digits and a generation begins with 1.
    #[error("generation {generation} is not between 1 and 999999999999999999")]
    Generation {
        /// The number.
        generation: u64,
    },
}

/// The bundle that makes a machine as `spec` says.
///
/// # Errors
/// [`RenderError`] for a spec that would lock people out or let the wrong ones in.
pub fn render(
    spec: &MachineSpec,
    generation: u64,
    issued_unix: u64,
    fresh_until_unix: u64,
) -> Result<Bundle, RenderError> {
    check(spec, generation)?;
    let mut files = BTreeMap::new();
    let mut put = |place, text: String| files.insert(place, text.into_bytes());
    put(Place::UserCa, key_lines(&spec.user_ca_keys));
    put(Place::Fleet, allowed_signers(&spec.fleet_keys));
    put(Place::AdminRevoked, String::new());
    put(Place::AdminUserCa, String::new());
    put(Place::SyncKeys, sync_keys(spec));
    put(Place::SshdDropIn, drop_in(spec));
    put(Place::Sudoers, sudoers(spec));
    put(Place::Applier, applier::APPLIER.to_owned());
    put(Place::SessionRecord, applier::SESSION_RECORD.to_owned());
    if let Some(pull) = &spec.pull {
        put(Place::Puller, applier::PULLER.to_owned());
        put(Place::PullSettings, pull.settings(&spec.machine));
        if let Some(pem) = &pull.trusted {
            put(Place::PullTrust, pem.clone());
        }
    }
    put(
        Place::Principals(probe()),
        format!("restrict,command=\"echo {PROBE_ACCOUNT}\" {PROBE_PRINCIPAL}\n"),
    );
    match &spec.break_glass {
        BreakGlass::Never => {}
        // Empty, not absent: sshd would fall back to nothing else, and a missing file only fills its log.
        BreakGlass::Shut => {
            put(Place::BreakGlassCa, String::new());
        }
        BreakGlass::Open(keys) => {
            put(Place::BreakGlassCa, key_lines(keys));
            put(
                Place::Principals(break_glass()),
                format!(
                    "{BREAK_GLASS_PRINCIPAL}\nrestrict,command=\"echo {BREAK_GLASS_DRILL_WORDS}\" {BREAK_GLASS_DRILL_PRINCIPAL}\n"
                ),
            );
        }
    }
    if let Some(certificate) = &spec.host_certificate {
        let line = certificate
            .to_openssh()
            .expect("a certificate in memory encodes");
        put(Place::HostCertificate, format!("{}\n", line.trim_end()));
    }
    for account in active(spec).filter(|account| !account.principals.is_empty()) {
        let lines = account
            .principals
            .iter()
            .map(|principal| format!("{principal}\n"))
            .collect();
        put(Place::Principals(account.name.clone()), lines);
    }
    Ok(Bundle {
        machine: spec.machine.clone(),
        generation,
        issued_unix,
        fresh_until_unix,
        files,
        accounts: accounts(spec),
    })
}

fn check(spec: &MachineSpec, generation: u64) -> Result<(), RenderError> {
    let machine = spec.machine.to_string();
    if !(1..=Bundle::MAX_NUMBER).contains(&generation) {
        return Err(RenderError::Generation { generation });
    }
    for (what, keys) in [
        ("user CA key", &spec.user_ca_keys),
        ("fleet key", &spec.fleet_keys),
        ("key of ssh-ca-sync", &spec.sync_keys),
    ] {
        if keys.is_empty() {
            return Err(RenderError::NoKey { machine, what });
        }
    }
    let mut seen = BTreeSet::new();
    for account in &spec.accounts {
        let name = account.name.clone();
        let reserved = [
            SYNC_ACCOUNT,
            PROBE_ACCOUNT,
            BREAK_GLASS_ACCOUNT,
            spec.admin.as_str(),
            "ssh-admin",
        ];
        if reserved.contains(&name.as_str()) || account.origin == Origin::System {
            return Err(RenderError::Reserved {
                machine,
                account: name,
            });
        }
        if !seen.insert(name.clone()) {
            return Err(RenderError::Twice {
                machine,
                account: name,
            });
        }
        if account.origin == Origin::Made && account.uid.is_none() {
            return Err(RenderError::NoUid {
                machine,
                account: name,
            });
        }
        if let Some(other) = account
            .principals
            .iter()
            .find(|principal| principal.account != name)
        {
            let principal = other.to_string();
            return Err(RenderError::ForeignPrincipal {
                machine,
                account: name,
                principal,
            });
        }
    }
    Ok(())
}

fn active(spec: &MachineSpec) -> impl Iterator<Item = &AccountSpec> {
    spec.accounts
        .iter()
        .filter(|account| account.state == AccountState::Active)
}

fn probe() -> AccountName {
    PROBE_ACCOUNT
        .parse()
        .expect("the probe account's name is an account name")
}

fn break_glass() -> AccountName {
    BREAK_GLASS_ACCOUNT
        .parse()
        .expect("the break-glass account's name is an account name")
}

fn sync() -> AccountName {
    SYNC_ACCOUNT
        .parse()
        .expect("the sync account's name is an account name")
}

fn key_lines(keys: &[PublicKey]) -> String {
    keys.iter()
        .map(|key| format!("{}\n", key_text(key)))
        .collect()
}

/// A public key without its comment, which is somebody's free text.
fn key_text(key: &PublicKey) -> String {
    let key = PublicKey::from(key.key_data().clone());
    key.to_openssh()
        .expect("a public key in memory encodes")
        .trim_end()
        .to_owned()
}

fn from_list(spec: &MachineSpec) -> String {
    let addresses: Vec<String> = spec.sync_from.iter().map(ToString::to_string).collect();
    addresses.join(",")
}

fn sync_keys(spec: &MachineSpec) -> String {
    let mut options = format!("restrict,command=\"sudo -n {}\"", Place::Applier.path());
    if !spec.sync_from.is_empty() {
        options.push_str(&format!(",from=\"{}\"", from_list(spec)));
    }
    let lines = spec
        .sync_keys
        .iter()
        .map(|key| format!("{options} {}\n", key_text(key)));
    lines.collect()
}

/// Certificates only, and nothing that its owner could plant beside them.
const CERTIFICATES_ONLY: &str = "    AuthorizedKeysFile none
    AuthorizedKeysCommand none
    AuthenticationMethods publickey
    PubkeyAuthentication yes
    PasswordAuthentication no
    KbdInteractiveAuthentication no
    HostbasedAuthentication no
";

fn drop_in(spec: &MachineSpec) -> String {
    let mut text = String::from(
        "# Written by the SSH certificate authority. A change made here is found by its check-up and put back.\n",
    );
    let mut line = |args: std::fmt::Arguments<'_>| {
        text.write_fmt(args)
            .expect("writing to a String does not fail")
    };
    line(format_args!("TrustedUserCAKeys {}\n", Place::UserCa.path()));
    line(format_args!("RevokedKeys {}\n", applier::KRL_PATH));
    line(format_args!(
        "AuthorizedPrincipalsFile /etc/ssh/ca/principals/%u\n"
    ));
    if spec.host_certificate.is_some() {
        line(format_args!(
            "HostCertificate {}\n",
            Place::HostCertificate.path()
        ));
    }
    // A refusal by the KRL names key ID and serial only at this level.
    line(format_args!("LogLevel VERBOSE\n"));
    if spec.openssh.knows_penalties() {
        let from = from_list(spec);
        let comma = if from.is_empty() { "" } else { "," };
        line(format_args!(
            "PerSourcePenaltyExemptList 127.0.0.1,::1{comma}{from}\n"
        ));
    }
    line(format_args!(
        "\nMatch User {},{SYNC_ACCOUNT}\n",
        admins(spec)
    ));
    // An empty file, never `none`: `RevokedKeys none` inside a Match passes `sshd -T` and locks the account out.
    line(format_args!(
        "    RevokedKeys {}\n",
        Place::AdminRevoked.path()
    ));
    line(format_args!(
        "    TrustedUserCAKeys {}\n",
        Place::AdminUserCa.path()
    ));
    line(format_args!("\nMatch User {SYNC_ACCOUNT}\n"));
    let loopback = match spec.pull {
        Some(_) => format!(" {LOOPBACK_KEYS}"),
        None => String::new(),
    };
    let own_keys = format!(
        "    AuthorizedKeysFile {}{loopback}\n",
        Place::SyncKeys.path()
    );
    line(format_args!(
        "{}",
        CERTIFICATES_ONLY.replace("    AuthorizedKeysFile none\n", &own_keys)
    ));
    line(format_args!(
        "    PermitTTY no\n    AllowTcpForwarding no\n    AllowStreamLocalForwarding no\n"
    ));
    line(format_args!(
        "    AllowAgentForwarding no\n    X11Forwarding no\n    PermitTunnel no\n"
    ));
    let break_glass = match &spec.break_glass {
        BreakGlass::Never => None,
        BreakGlass::Shut | BreakGlass::Open(_) => {
            // Its own CA and no other: neither does the user CA open this account, nor that CA any other.
            line(format_args!(
                "\nMatch User {BREAK_GLASS_ACCOUNT}\n    TrustedUserCAKeys {}\n",
                Place::BreakGlassCa.path()
            ));
            Some(BREAK_GLASS_ACCOUNT)
        }
    };
    // Sorted: somebody who is suspended keeps the place in this line, and sshd need not be reloaded.
    let ours: BTreeSet<&str> = spec
        .accounts
        .iter()
        .map(|account| account.name.as_str())
        .chain([PROBE_ACCOUNT])
        .chain(break_glass)
        .collect();
    let ours: Vec<&str> = ours.into_iter().collect();
    line(format_args!(
        "\nMatch User {}\n{CERTIFICATES_ONLY}",
        ours.join(",")
    ));
    if spec.mode == Mode::Enforce {
        let kept = admins(spec).replace(',', ",!");
        line(format_args!(
            "\nMatch User *,!{kept},!{SYNC_ACCOUNT}\n{CERTIFICATES_ONLY}"
        ));
    }
    line(format_args!("\nMatch all\n"));
    text
}

/// The accounts that the user CA never opens: `ssh-admin`, and the admin account where it has another name.
fn admins(spec: &MachineSpec) -> String {
    match spec.admin.as_str() {
        "ssh-admin" => "ssh-admin".to_owned(),
        other => format!("ssh-admin,{other}"),
    }
}

fn sudoers(spec: &MachineSpec) -> String {
    let applier = Place::Applier.path();
    let mut text = String::from(
        "# Written by the SSH certificate authority. A change made here is put back.\n",
    );
    // The request comes and the report goes through pipes: no terminal, no I/O log of somebody's KRL.
    text.push_str(&format!(
        "Defaults:{SYNC_ACCOUNT} !requiretty, !use_pty, !log_input, !log_output\n"
    ));
    text.push_str(&format!(
        "{SYNC_ACCOUNT} ALL=(root) NOPASSWD: {applier} \"\"\n"
    ));
    if let BreakGlass::Open(_) = spec.break_glass {
        text.push_str(&format!(
            "{BREAK_GLASS_ACCOUNT} ALL=(ALL:ALL) NOPASSWD: ALL\n"
        ));
    }
    for account in active(spec) {
        match &account.sudo {
            SudoRule::None => {}
            SudoRule::All => {
                text.push_str(&format!("{} ALL=(ALL:ALL) NOPASSWD: ALL\n", account.name))
            }
            SudoRule::Commands(commands) => {
                for command in commands {
                    let command = command.in_sudoers();
                    text.push_str(&format!(
                        "{} ALL=(root) NOPASSWD: {command}\n",
                        account.name
                    ));
                }
            }
        }
    }
    text
}

fn accounts(spec: &MachineSpec) -> BTreeMap<AccountName, Account> {
    let system = || Account {
        uid: None,
        origin: Origin::System,
        state: AccountState::Active,
        shell: "/bin/sh".parse().expect("/bin/sh is a path"),
        groups: Vec::new(),
        gecos: Gecos::nearest("SSH certificate authority"),
    };
    let employees = spec.accounts.iter().map(|account| {
        let wanted = Account {
            uid: account.uid,
            origin: account.origin,
            state: account.state,
            shell: account.shell.clone(),
            groups: account.groups.clone(),
            gecos: account.gecos.clone(),
        };
        (account.name.clone(), wanted)
    });
    let break_glass = match spec.break_glass {
        BreakGlass::Never => None,
        BreakGlass::Shut | BreakGlass::Open(_) => Some((break_glass(), system())),
    };
    employees
        .chain([(sync(), system()), (probe(), system())])
        .chain(break_glass)
        .collect()
}

#[cfg(test)]
#[path = "render_tests.rs"]
mod tests;
