//! From the command line and the hosts file to what is wanted of each machine, checked before anything is touched.

use std::{fs, path::PathBuf};

use ca_machine::{pull::PullUrl, spec::SYNC_ACCOUNT};
use policies::{AccountName, MachineName, PoolName};
use ssh_key::PublicKey;

use crate::{
    address::{Address, Fingerprint},
    cli::{AddArgs, LoginArgs},
    hosts::{self, Host},
};

/// The admins' own account, unless a machine has another.
pub const SSH_ADMIN: &str = "ssh-admin";

/// What is wanted of one machine.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its name in the CA.
    pub name: MachineName,
    /// The pools it goes into; empty keeps those it has.
    pub pools: Vec<PoolName>,
    /// How to get there.
    pub way: Way,
    /// The admins' own account on it, which the user CA never opens.
    pub admin: AccountName,
    /// The key for that account, where it is to be made.
    pub admin_key: Option<PublicKey>,
    /// Accounts that may be taken over.
    pub adopt: Vec<AccountName>,
    /// Whether it fetches for itself from now on; otherwise it goes on as it did.
    pub pull: Option<Fetch>,
}

/// Where a machine fetches from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetch {
    /// From the CA.
    FromCa,
    /// From a published tree.
    FromTree(PullUrl),
}

/// How to get to a machine.
#[derive(Debug, Clone)]
pub struct Way {
    /// Where; `None` asks the CA, and failing that takes the name.
    pub address: Option<Address>,
    /// The account to log in to.
    pub user: AccountName,
    /// A host to jump over.
    pub jump: Option<String>,
    /// The key to log in with.
    pub identity: Option<PathBuf>,
    /// Its host key, by fingerprint.
    pub host_key: Option<Fingerprint>,
}

/// A command line that means nothing (exit status 2).
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// A word is not what it should be.
    #[error("{0}")]
    Word(String),
    /// Machines are named twice.
    #[error("{0} is named twice")]
    Twice(MachineName),
    /// A word that is for one machine, given for several.
    #[error("{option} is for one machine: name one, or write `{instead}` into the file of --file")]
    ForOne {
        /// The option.
        option: &'static str,
        /// What says the same in the hosts file.
        instead: &'static str,
    },
    /// The hosts file cannot be read.
    #[error("{path} cannot be read: {source}")]
    File {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Lines of the hosts file are wrong.
    #[error("{path} cannot be used:\n{}", .lines.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n"))]
    Hosts {
        /// Which.
        path: String,
        /// All of them.
        lines: Vec<hosts::LineError>,
    },
    /// The key for ssh-admin is no public key.
    #[error("{path} is not a public key: {reason}; give the .pub file")]
    AdminKey {
        /// Which.
        path: String,
        /// Why.
        reason: String,
    },
    /// `--admin-key` with ssh-admin itself.
    #[error(
        "--admin-key makes ssh-admin where the login is another account; with ssh-admin itself there is nothing to make (add --as root?)"
    )]
    AdminKeyForItself,
    /// An account that cannot be taken over.
    #[error("{0} cannot be adopted: it is the admins' own way in, or a system account")]
    Adopt(AccountName),
}

impl From<policies::NameError> for UsageError {
    fn from(error: policies::NameError) -> Self {
        Self::Word(error.to_string())
    }
}

/// What `add-machine` is asked for, machine by machine, in the order of the command line or the file.
///
/// # Errors
/// [`UsageError`] for the first thing that makes no sense.
pub fn machines(args: &AddArgs) -> Result<Vec<Wanted>, UsageError> {
    let hosts = match &args.file {
        Some(path) => {
            let shown = path.display().to_string();
            let text = fs::read_to_string(path).map_err(|source| UsageError::File {
                path: shown.clone(),
                source,
            })?;
            hosts::parse(&text).map_err(|lines| UsageError::Hosts { path: shown, lines })?
        }
        None => named(&args.names)?,
    };
    if hosts.len() > 1 {
        for (given, option, instead) in [
            (args.address.is_some(), "--address", "NAME ADDRESS"),
            (
                args.login.host_key.is_some(),
                "--host-key",
                "host-key=SHA256:…",
            ),
        ] {
            if given {
                return Err(UsageError::ForOne { option, instead });
            }
        }
    }
    let pools: Vec<PoolName> = args
        .pools
        .iter()
        .map(|pool| pool.parse())
        .collect::<Result<_, _>>()?;
    let adopt: Vec<AccountName> = args
        .adopt
        .iter()
        .map(|account| account.parse())
        .collect::<Result<_, _>>()?;
    let admin_key = args.admin_key.as_ref().map(public_key).transpose()?;
    let address = parsed(args.address.as_deref())?;
    let mut wanted = Vec::with_capacity(hosts.len());
    for host in hosts {
        let mut way = way(&args.login)?;
        way.address = host.address.or_else(|| address.clone());
        if let Some(user) = &host.user {
            way.user = user.parse()?;
        }
        way.jump = host.jump.or(way.jump);
        way.identity = host.identity.or(way.identity);
        way.host_key = host.host_key.or(way.host_key);
        let (admin, admin_key) = admin(&way.user, admin_key.clone())?;
        let reserved = [
            SSH_ADMIN,
            SYNC_ACCOUNT,
            "root",
            admin.as_str(),
            way.user.as_str(),
        ];
        if let Some(account) = adopt
            .iter()
            .find(|account| reserved.contains(&account.as_str()))
        {
            return Err(UsageError::Adopt(account.clone()));
        }
        let pools = if host.pools.is_empty() {
            pools.clone()
        } else {
            host.pools
        };
        wanted.push(Wanted {
            name: host.name,
            pools,
            way,
            admin,
            admin_key,
            adopt: adopt.clone(),
            pull: args.pull.clone().map(|tree| match tree {
                None => Fetch::FromCa,
                Some(url) => Fetch::FromTree(url),
            }),
        });
    }
    Ok(wanted)
}

/// How to get to a machine, from the options that all verbs share.
///
/// # Errors
/// [`UsageError`] for a word that makes no sense.
pub fn way(args: &LoginArgs) -> Result<Way, UsageError> {
    let user = args.user.as_deref().unwrap_or(SSH_ADMIN).parse()?;
    if let Some(jump) = args.jump.as_deref() {
        // ssh would take it for an option, or for more than one word.
        if jump.is_empty()
            || jump.starts_with('-')
            || jump.chars().any(|c| c.is_control() || c.is_whitespace())
        {
            return Err(UsageError::Word(format!(
                "{jump:?} is not a host to jump over: expected [USER@]HOST[:PORT]"
            )));
        }
    }
    Ok(Way {
        address: None,
        user,
        jump: args.jump.clone(),
        identity: args.identity.clone(),
        host_key: parsed(args.host_key.as_deref())?,
    })
}

/// The account that stays the admins' own, and its key where bootstrap makes it.
fn admin(
    user: &AccountName,
    key: Option<PublicKey>,
) -> Result<(AccountName, Option<PublicKey>), UsageError> {
    let ssh_admin = || SSH_ADMIN.parse().expect("ssh-admin is an account name");
    match (user.as_str(), key) {
        (SSH_ADMIN, Some(_)) => Err(UsageError::AdminKeyForItself),
        (SSH_ADMIN | "root", None) => Ok((ssh_admin(), None)),
        (_, Some(key)) => Ok((ssh_admin(), Some(key))),
        // Whoever can become root here is this machine's admin: that login stays as it is.
        (_, None) => Ok((user.clone(), None)),
    }
}

fn named(names: &[String]) -> Result<Vec<Host>, UsageError> {
    let mut hosts: Vec<Host> = Vec::with_capacity(names.len());
    for name in names {
        let name: MachineName = name.parse()?;
        if hosts.iter().any(|host| host.name == name) {
            return Err(UsageError::Twice(name));
        }
        hosts.push(Host {
            name,
            address: None,
            pools: Vec::new(),
            user: None,
            jump: None,
            identity: None,
            host_key: None,
        });
    }
    Ok(hosts)
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
    text: Option<&str>,
) -> Result<Option<T>, UsageError> {
    text.map(|text| {
        text.parse()
            .map_err(|error| UsageError::Word(format!("{error}")))
    })
    .transpose()
}

fn public_key(path: &PathBuf) -> Result<PublicKey, UsageError> {
    let shown = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|source| UsageError::File {
        path: shown.clone(),
        source,
    })?;
    PublicKey::from_openssh(text.trim()).map_err(|error| UsageError::AdminKey {
        path: shown,
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Verb};

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIJ59HSVLYQwZ3EiKMcAWcsNbM0Ow8wtFJjQOh8oDGfb ops@corp.example\n";

    fn wanted(words: &[&str]) -> Result<Vec<Wanted>, String> {
        let cli = Cli::try_parse_from(["bootstrap", "add-machine"].iter().chain(words))
            .expect("clap takes it");
        let Verb::AddMachine(args) = cli.verb else {
            unreachable!("it is add-machine")
        };
        machines(&args).map_err(|error| error.to_string())
    }

    #[test]
    fn the_login_is_ssh_admin_and_the_pools_are_those_of_the_command_line() {
        let machines = wanted(&["web-1", "web-2", "--pool", "web-server", "--pool", "eu"]).unwrap();
        assert_eq!(machines.len(), 2);
        assert_eq!(
            (machines[1].way.user.as_str(), machines[1].admin.as_str()),
            ("ssh-admin", "ssh-admin")
        );
        assert_eq!(machines[1].pools.len(), 2);
    }

    #[test]
    fn a_machine_fetches_from_the_ca_or_from_an_address() {
        let url = "https://mirror.corp.example/ssh-ca";
        for (words, fetch) in [
            (vec!["web-1"], None),
            (vec!["web-1", "--pull"], Some(Fetch::FromCa)),
            (vec!["--pull", "--yes", "web-1"], Some(Fetch::FromCa)),
            (
                vec!["--pull", url, "web-1"],
                Some(Fetch::FromTree(url.parse().unwrap())),
            ),
        ] {
            assert_eq!(wanted(&words).unwrap()[0].pull, fetch, "{words:?}");
        }
    }

    #[test]
    fn a_hosts_file_wins_over_the_command_line_line_by_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts");
        fs::write(&path, "web-1 10.0.0.1 db user=root\nweb-2\n").unwrap();
        let machines = wanted(&[
            "--file",
            path.to_str().unwrap(),
            "--pool",
            "web",
            "--as",
            "ubuntu",
            "--jump",
            "gate",
        ])
        .unwrap();
        assert_eq!(
            (machines[0].pools[0].as_str(), machines[0].way.user.as_str()),
            ("db", "root")
        );
        assert_eq!(
            (machines[1].pools[0].as_str(), machines[1].admin.as_str()),
            ("web", "ubuntu")
        );
        assert_eq!(machines[0].way.jump.as_deref(), Some("gate"));
        fs::write(&path, "web-1 10.0.0.1 db user=root\nweb!2\n").unwrap();
        let error = wanted(&["--file", path.to_str().unwrap()]).unwrap_err();
        assert!(
            error.contains("hosts cannot be used:\n  line 2: "),
            "{error}"
        );
    }

    #[test]
    fn h5_ssh_admin_is_made_only_from_another_login_and_never_adopted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ops.pub");
        fs::write(&path, KEY).unwrap();
        let path = path.to_str().unwrap();
        let machine = wanted(&["web-1", "--as", "root", "--admin-key", path])
            .unwrap()
            .remove(0);
        assert_eq!(machine.admin.as_str(), "ssh-admin");
        assert!(machine.admin_key.is_some());
        assert!(
            wanted(&["web-1", "--admin-key", path])
                .unwrap_err()
                .starts_with("--admin-key makes ssh-admin")
        );
        for account in ["ssh-admin", "root", "ssh-ca-sync", "ubuntu"] {
            let error = wanted(&["web-1", "--as", "ubuntu", "--adopt", account]).unwrap_err();
            assert!(error.contains("cannot be adopted"), "{account}: {error}");
        }
        fs::write(
            folder.path().join("private"),
            "-----BEGIN OPENSSH PRIVATE KEY-----\n",
        )
        .unwrap();
        let private = folder.path().join("private");
        let error = wanted(&[
            "web-1",
            "--as",
            "root",
            "--admin-key",
            private.to_str().unwrap(),
        ])
        .unwrap_err();
        assert!(error.contains("give the .pub file"), "{error}");
    }

    #[test]
    fn h6_no_word_becomes_an_option_of_ssh() {
        for words in [
            ["web-1", "--address=-oProxyCommand=touch"],
            ["web-1", "--jump=-oProxyCommand=touch"],
            ["web-1", "--jump=a b"],
            ["web-1", "--as=-l"],
            ["web-1", "--as=a b"],
            ["-web-1", "--yes"],
        ] {
            let cli = Cli::try_parse_from(["bootstrap", "add-machine"].iter().chain(&words));
            let Ok(Cli {
                verb: Verb::AddMachine(args),
                ..
            }) = cli
            else {
                continue;
            };
            assert!(machines(&args).is_err(), "{words:?}");
        }
    }

    #[test]
    fn words_for_one_machine_are_refused_for_several() {
        let error = wanted(&["a", "b", "--address", "10.0.0.1"]).unwrap_err();
        assert_eq!(
            error,
            "--address is for one machine: name one, or write `NAME ADDRESS` into the file of --file"
        );
        assert_eq!(wanted(&["a", "a"]).unwrap_err(), "a is named twice");
        assert!(wanted(&["Web!"]).is_err());
        assert!(wanted(&["a", "--pool", "x y"]).is_err());
        assert!(
            wanted(&["a", "--host-key", "nonsense"])
                .unwrap_err()
                .starts_with("a host key is given as SHA256:")
        );
    }
}
