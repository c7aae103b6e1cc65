//! First contact with a machine: its host key, the login, the way to root, and the preflight. Nothing is changed here.

mod host_key;
mod login;

use std::time::SystemTime;

use ca_api::admin::MachineView;
use ca_machine::{
    Connection, Limits, OpenError, Preflight, PreflightRequest, Privilege, RunError, Target,
    preflight::{Facts, Fetching, Obstacle},
    transport::HostKey,
};
pub use host_key::HostKeyError;
pub use login::{LoginError, Passwords};
use policies::{AccountName, MachineName};
use ssh_key::{Algorithm, PublicKey};

use crate::{
    address::{Address, Fingerprint},
    narrate::Narration,
    terminal::{AskError, Person},
    wanted::{Fetch, Wanted, Way},
};

/// What all contacts of one run share.
#[derive(Debug)]
pub struct Contacts {
    /// Who can be asked.
    pub person: Person,
    /// The passwords given so far.
    pub passwords: Passwords,
}

/// Whether a machine may show another host key than the one that the CA has pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rebuilt {
    /// It may not.
    No,
    /// The person says that it was made anew (`--resync`).
    PersonSaysSo,
}

/// An open login that can become root, over a connection whose host key is pinned.
pub struct Contact {
    /// The kept connection.
    pub connection: Connection,
    /// How it was made; [`Connection::open`] with it makes a new one.
    pub target: Target,
    /// How it becomes root.
    pub privilege: Privilege,
    /// Where it is.
    pub address: Address,
    /// The host key of the connection.
    pub host_key: PublicKey,
}

/// Why there is no contact. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ContactError {
    /// The host key.
    #[error(transparent)]
    HostKey(#[from] HostKeyError),
    /// The login.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// The machine does not answer as it should.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Something could not be asked.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// Something must be put right on the machine first.
    #[error("{}; nothing was changed:\n{}", count(.0.len()), .0.iter().map(described).collect::<Vec<_>>().join("\n"))]
    Obstacles(Vec<Obstacle>),
    /// The person said no.
    #[error("stopped at your word; nothing was changed")]
    Declined,
}

impl ContactError {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::HostKey(error) => error.hint(),
            Self::Login(error) => error.hint(),
            Self::Run(error) => run_hint(error).to_owned(),
            Self::Ask(_) => String::new(),
            Self::Obstacles(_) => "Put this right and run the command again.".to_owned(),
            Self::Declined => String::new(),
        }
    }
}

/// What to do about a request without an answer.
#[must_use]
pub fn run_hint(error: &RunError) -> &'static str {
    match error {
        RunError::Open(OpenError::HostKeyChanged { .. }) => {
            "If the machine was made anew, compare its host key on its console and give it with --host-key and --resync."
        }
        RunError::Open(OpenError::Refused { .. }) => {
            "Check account and key: --as USER, --identity FILE."
        }
        RunError::Open(_)
        | RunError::Broken { .. }
        | RunError::Silent { .. }
        | RunError::TimedOut { .. } => {
            "Check the network and that sshd runs there, then run the command again."
        }
        RunError::NotRoot { .. } => "The login must be root, or become root through sudo or doas.",
        RunError::Answer { .. } => {
            "Log in by hand and look: a profile that writes or asks something may be in the way."
        }
    }
}

fn count(obstacles: usize) -> String {
    if obstacles == 1 {
        "there is one obstacle".to_owned()
    } else {
        format!("there are {obstacles} obstacles")
    }
}

/// An obstacle in three lines at most: what, where, and what to do.
fn described(obstacle: &Obstacle) -> String {
    let place = match (obstacle.file.as_str(), obstacle.line) {
        ("", _) => String::new(),
        (file, 0) => format!(" ({file})"),
        (file, line) => format!(" ({file}, line {line})"),
    };
    format!("  {}{place}\n    → {}", obstacle.what, obstacle.remedy)
}

impl Contact {
    /// Reaches the machine, asks for what is missing, logs in, and finds out how to become root.
    ///
    /// # Errors
    /// [`ContactError`]; nothing was changed.
    pub async fn make(
        contacts: &Contacts,
        name: &MachineName,
        way: &Way,
        known: Option<&MachineView>,
        rebuilt: Rebuilt,
        told: &mut Narration,
    ) -> Result<Self, ContactError> {
        let address = address(name, way, known);
        let port = address.port.unwrap_or(22);
        told.doing("looking at its host key");
        let pinned = known.and_then(|known| known.host_key.parse::<Fingerprint>().ok());
        let mut target = Target {
            address: address.host.clone(),
            port,
            user: way.user.to_string(),
            login: ca_machine::Login::Agent {
                socket: None,
                key: None,
            },
            jump: way.jump.clone(),
            host_key: HostKey::AskOnFirstContact,
        };
        let host_key = host_key::decide(
            contacts.person,
            name,
            way,
            &address,
            &target,
            pinned,
            rebuilt,
            told,
        )
        .await?;
        target.host_key = HostKey::Pinned(Box::new(host_key.clone()));
        told.doing("logging in");
        let (connection, login) = login::log_in(contacts, way, target, told).await?;
        told.doing("becoming root");
        let privilege = login::become_root(contacts, way, &connection, &login, told).await?;
        Ok(Self {
            connection,
            target: login.target,
            privilege,
            address,
            host_key,
        })
    }

    /// Looks whether anything stands in the way, also of these accounts that the CA would make.
    ///
    /// # Errors
    /// [`RunError`] if there is no answer; obstacles are an answer.
    pub async fn preflight(
        &self,
        wanted: &Wanted,
        accounts: &[(AccountName, Option<u32>)],
    ) -> Result<Preflight, RunError> {
        // "To be adopted" makes the script ask that it exists, and that sshd lets it in: the admins' account as well.
        let others = wanted.adopt.iter().chain([&wanted.admin]);
        let others = others.filter(|account| accounts.iter().all(|(name, _)| name != *account));
        let request = PreflightRequest {
            admin: wanted.admin.clone(),
            accounts: accounts
                .iter()
                .cloned()
                .chain(others.map(|account| (account.clone(), None)))
                .collect(),
            now_unix: now_unix(),
            port: self.target.port,
            pull: wanted.pull.as_ref().map(|fetch| match fetch {
                Fetch::FromCa => Fetching::FromCa,
                Fetch::FromTree(_) => Fetching::FromPlace,
            }),
        };
        let mut found = self.connection.preflight(&request, &self.privilege).await?;
        let no_admin = |obstacle: &Obstacle| {
            obstacle.code == "no-account" && obstacle.what.contains(&format!(" {} ", wanted.admin))
        };
        match wanted.admin_key {
            // The account that is about to be made cannot be there yet.
            Some(_) => found.obstacles.retain(|obstacle| !no_admin(obstacle)),
            None => found
                .obstacles
                .iter_mut()
                .filter(|obstacle| no_admin(obstacle))
                .for_each(|obstacle| {
                    obstacle.what = format!(
                        "there is no account {}, by which the admins would get in",
                        wanted.admin
                    );
                    obstacle.remedy = format!(
                        "give --admin-key FILE.pub, and {} is made with that key",
                        wanted.admin
                    );
                }),
        }
        Ok(found)
    }

    /// A new connection by the same way.
    ///
    /// # Errors
    /// [`OpenError`] when the machine does not let us in again.
    pub async fn anew(&self) -> Result<Connection, OpenError> {
        Connection::open(&self.target, limits()).await
    }

    /// The key that the CA shall pin and certify: the machine's Ed25519 key where it has one. Root on this pinned connection told
    /// it, so it is as trustworthy as the key of the connection.
    #[must_use]
    pub fn key_to_pin(&self, facts: &Facts) -> PublicKey {
        let ed25519 = facts
            .host_keys()
            .find(|key| key.algorithm() == Algorithm::Ed25519);
        let key = ed25519.unwrap_or_else(|| self.host_key.clone());
        PublicKey::from(key.key_data().clone())
    }
}

/// Where a machine is: as the person says, else as the CA knows, else by its name.
fn address(name: &MachineName, way: &Way, known: Option<&MachineView>) -> Address {
    let by_ca = || {
        known.map(|known| Address {
            host: known.address.clone(),
            port: Some(known.port),
        })
    };
    let by_name = || Address {
        host: name.to_string(),
        port: None,
    };
    way.address.clone().or_else(by_ca).unwrap_or_else(by_name)
}

/// How long to wait for a machine.
#[must_use]
pub fn limits() -> Limits {
    Limits::default()
}

pub(crate) fn now_unix() -> i64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn obstacles_are_told_with_file_line_and_remedy() {
        let obstacle = |file: &str, line| Obstacle {
            code: "allow-users".to_owned(),
            what: "AllowUsers keeps ssh-ca-sync out".to_owned(),
            file: file.to_owned(),
            line,
            remedy: "add ssh-ca-sync to it".to_owned(),
        };
        let error =
            ContactError::Obstacles(vec![obstacle("/etc/ssh/sshd_config", 12), obstacle("", 0)]);
        assert_eq!(
            error.to_string(),
            "there are 2 obstacles; nothing was changed:\n  AllowUsers keeps ssh-ca-sync out (/etc/ssh/sshd_config, line 12)\n    → add \
             ssh-ca-sync to it\n  AllowUsers keeps ssh-ca-sync out\n    → add ssh-ca-sync to it"
        );
    }
}
