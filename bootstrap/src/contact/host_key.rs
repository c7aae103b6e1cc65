//! Which host key a machine must show (H7): told by the person, known to the CA or to the person's known_hosts, or asked for.

use std::path::PathBuf;

use ca_machine::{Connection, OpenError, Target};
use policies::MachineName;
use ssh_key::PublicKey;

use super::{Rebuilt, limits};
use crate::{
    address::{Address, Fingerprint},
    known_hosts::{self, Verdict},
    narrate::Narration,
    terminal::{AskError, Person},
    wanted::Way,
};

/// Why no host key is trusted.
#[derive(Debug, thiserror::Error)]
pub enum HostKeyError {
    /// Not reached.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The machine shows another key than it must.
    #[error(
        "{address} shows the host key {shown}, but {source_of_it} says {expected}; nobody logged in"
    )]
    Another {
        /// Where.
        address: String,
        /// What it shows.
        shown: String,
        /// What it must show.
        expected: String,
        /// Who says so.
        source_of_it: Said,
    },
    /// `--host-key` contradicts what the CA has pinned.
    #[error(
        "the CA has pinned {pinned} for {machine}, and --host-key says {given}; nobody logged in"
    )]
    Contradiction {
        /// The machine.
        machine: MachineName,
        /// The CA's.
        pinned: String,
        /// The person's.
        given: String,
    },
    /// The person's known_hosts marks it `@revoked`.
    #[error("{file} marks the host keys of {address} as @revoked; nobody logged in")]
    Revoked {
        /// Where.
        address: String,
        /// The file.
        file: PathBuf,
    },
    /// Nobody can say.
    #[error("the host key of {address} is not known: it shows {shown}")]
    Unknown {
        /// Where.
        address: String,
        /// What it shows.
        shown: String,
    },
    /// The person says that it is not the right one.
    #[error("the host key {shown} of {address} was not accepted; nobody logged in")]
    NotAccepted {
        /// Where.
        address: String,
        /// What it shows.
        shown: String,
    },
    /// The answer did not come.
    #[error(transparent)]
    Ask(#[from] AskError),
}

/// Who says what a host key must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// `--host-key`.
    Person,
    /// The CA, since the machine's first bootstrap.
    Ca,
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Person => "--host-key",
            Self::Ca => "the CA",
        })
    }
}

const ON_CONSOLE: &str =
    "`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the machine's console";

impl HostKeyError {
    /// What to do next.
    pub(super) fn hint(&self) -> String {
        match self {
            Self::Another {
                source_of_it: Said::Ca,
                ..
            }
            | Self::Contradiction { .. } => format!(
                "Either somebody is in between, or the machine was made anew. Compare with {ON_CONSOLE}; if it was made anew, give --host-key and --resync."
            ),
            Self::Another { .. } => format!(
                "Compare with {ON_CONSOLE}: if --host-key was right, somebody is in between."
            ),
            Self::Unknown { .. } => {
                format!("Compare with {ON_CONSOLE}, then give --host-key SHA256:….")
            }
            Self::NotAccepted { .. } => {
                format!("Compare with {ON_CONSOLE} and run the command again.")
            }
            Self::Revoked { .. } => {
                "Somebody marked this machine's key as stolen: give it a new one first.".to_owned()
            }
            Self::Open(_) => {
                "Check address, port and network: --address HOST:PORT, --jump HOST.".to_owned()
            }
            Self::Ask(_) => String::new(),
        }
    }
}

/// The key that this machine must show, decided before anybody logs in.
#[allow(
    clippy::too_many_arguments,
    reason = "each is a different source of the decision"
)]
pub(super) async fn decide(
    person: Person,
    name: &MachineName,
    way: &Way,
    address: &Address,
    target: &Target,
    pinned: Option<Fingerprint>,
    rebuilt: Rebuilt,
    told: &mut Narration,
) -> Result<PublicKey, HostKeyError> {
    let pinned = pinned.filter(|_| rebuilt == Rebuilt::No);
    if let (Some(pinned), Some(given)) = (pinned, way.host_key)
        && pinned != given
    {
        return Err(HostKeyError::Contradiction {
            machine: name.clone(),
            pinned: pinned.to_string(),
            given: given.to_string(),
        });
    }
    let by_person = way.host_key.map(|key| (key, Said::Person));
    let expected = by_person.or(pinned.map(|key| (key, Said::Ca)));
    let from_files = known_hosts::look_up(address, name.as_str()).await;
    if let Verdict::Revoked(file) = from_files {
        return Err(HostKeyError::Revoked {
            address: address.to_string(),
            file,
        });
    }
    match (expected, from_files) {
        (Some((expected, said)), from_files) => {
            // The files may hold the very key that is expected: then nothing need be fetched, and a key of another kind works too.
            if let Verdict::Known(known) = from_files
                && Fingerprint::of(&known.key) == expected
            {
                told.did(&format!("host key {expected}, as {said} says"));
                return Ok(known.key);
            }
            let key = shown(target).await?;
            if Fingerprint::of(&key) != expected {
                return Err(HostKeyError::Another {
                    address: address.to_string(),
                    shown: Fingerprint::of(&key).to_string(),
                    expected: expected.to_string(),
                    source_of_it: said,
                });
            }
            told.did(&format!("host key {expected}, as {said} says"));
            Ok(key)
        }
        (None, Verdict::Known(known)) => {
            told.did(&format!(
                "host key {}, as {} says",
                Fingerprint::of(&known.key),
                known.file.display()
            ));
            Ok(known.key)
        }
        (None, _) => asked(person, address, shown(target).await?, told).await,
    }
}

/// The key that the machine shows to somebody who does not log in.
async fn shown(target: &Target) -> Result<PublicKey, HostKeyError> {
    match Connection::open(target, limits()).await {
        Err(OpenError::UnknownHostKey { key, .. }) => Ok(*key),
        Err(error) => Err(error.into()),
        Ok(_) => unreachable!("an open without a pinned key ends at the key"),
    }
}

async fn asked(
    person: Person,
    address: &Address,
    key: PublicKey,
    told: &mut Narration,
) -> Result<PublicKey, HostKeyError> {
    let shown = Fingerprint::of(&key).to_string();
    let address = address.to_string();
    if person == Person::Nobody {
        return Err(HostKeyError::Unknown { address, shown });
    }
    told.rest();
    let (narrator, algorithm) = (told.narrator().clone(), key.algorithm());
    let question = format!(
        "{address} is new here and shows the host key\n    {algorithm} {shown}\nCompare it with {ON_CONSOLE}. Is it the same?"
    );
    let agreed =
        tokio::task::spawn_blocking(move || narrator.quiet(|| person.agrees(&question))).await;
    if agreed.expect("asking does not panic")? {
        told.did(&format!("host key {shown}, accepted by you"));
        Ok(key)
    } else {
        Err(HostKeyError::NotAccepted { address, shown })
    }
}
