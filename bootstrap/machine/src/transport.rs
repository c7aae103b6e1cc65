//! ssh to a machine by the system's own client: pinned host key, bounded output and time, no secret in argv or environment.

mod askpass;
mod client;
mod connection;
mod exchange;
mod knock;
mod patience;

use std::{fmt, path::PathBuf, time::Duration};

pub use connection::Connection;
pub use exchange::exchange;
pub use knock::knock;
use ssh_key::PublicKey;

use crate::report::ReportError;

/// A text that must not be seen: a password or a passphrase.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(zeroize::Zeroizing<String>);

impl Secret {
    /// Keeps `text`; it is wiped when dropped.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(zeroize::Zeroizing::new(text))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// How to log in.
#[derive(Debug, Clone)]
pub enum Login {
    /// With an ssh-agent: the one of the environment, or the one at `socket`; with `key` alone, or with what it has.
    Agent {
        /// The agent's socket.
        socket: Option<PathBuf>,
        /// The key to use.
        key: Option<Box<PublicKey>>,
    },
    /// With a private key file, whose passphrase may be asked for.
    IdentityFile {
        /// The file.
        path: PathBuf,
        /// Its passphrase.
        passphrase: Option<Secret>,
    },
    /// With a private key file and a certificate.
    Certificate {
        /// The private key file (0600).
        key: PathBuf,
        /// The certificate file.
        certificate: PathBuf,
    },
    /// With a password, which `ssh` asks for through SSH_ASKPASS and a private pipe.
    Password(Secret),
}

/// What is known of the machine's host key.
#[derive(Debug, Clone)]
pub enum HostKey {
    /// This one and no other.
    Pinned(Box<PublicKey>),
    /// Nothing yet: opening fetches the key and answers [`OpenError::UnknownHostKey`] before it logs in.
    AskOnFirstContact,
}

/// A machine and the way to it.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its address or host name.
    pub address: String,
    /// Its port.
    pub port: u16,
    /// The account to log in to.
    pub user: String,
    /// How.
    pub login: Login,
    /// A host to jump over, as `ssh -J` takes it; its key is looked up as the person's own ssh does.
    pub jump: Option<String>,
    /// What is known of its host key.
    pub host_key: HostKey,
}

/// How a login becomes root.
#[derive(Debug, Clone)]
pub enum Privilege {
    /// It is root.
    Root,
    /// `sudo -n`.
    Sudo,
    /// `sudo -S` with this password, on standard input.
    SudoPassword(Secret),
    /// `doas -n`.
    Doas,
}

/// How long to wait.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For the TCP connection and the login.
    pub connect: Duration,
    /// For one request, from its first byte to the answer's last.
    pub request: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            request: Duration::from_secs(120),
        }
    }
}

/// Why a connection did not come to be.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A word of the target would be read as an option, or holds a control character.
    #[error(
        "{what} {text:?} cannot be used for ssh: it begins with - or holds blanks or control characters"
    )]
    BadTarget {
        /// Which word.
        what: &'static str,
        /// The word.
        text: String,
    },
    /// First contact: ask a person, or compare, then open with [`HostKey::Pinned`].
    #[error("the host key of {address} is not known yet: {fingerprint}")]
    UnknownHostKey {
        /// Where.
        address: String,
        /// What it shows.
        key: Box<PublicKey>,
        /// `SHA256:…`.
        fingerprint: String,
    },
    /// It shows another key than the pinned one.
    #[error(
        "{address} shows another host key than the pinned one: somebody may be in between, or the machine was made anew; compare on its console before you trust it"
    )]
    HostKeyChanged {
        /// Where.
        address: String,
    },
    /// The login was refused.
    #[error("{user}@{address} refused the login: {detail}")]
    Refused {
        /// Where.
        address: String,
        /// As whom.
        user: String,
        /// The client's words.
        detail: String,
    },
    /// It cannot be reached.
    #[error("{address} cannot be reached: {detail}")]
    Unreachable {
        /// Where.
        address: String,
        /// The client's words.
        detail: String,
    },
    /// It took too long.
    #[error("{address} did not answer within {secs} s")]
    TimedOut {
        /// Where.
        address: String,
        /// How long it had.
        secs: u64,
    },
    /// The client could not be started, or its private folder not be made.
    #[error("the ssh client could not be started: {0}; is OpenSSH's `ssh` installed?")]
    Client(#[source] std::io::Error),
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No connection.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The login cannot become root.
    #[error("{user} cannot become root on {address}: {detail}; give it sudo, or log in as root")]
    NotRoot {
        /// Where.
        address: String,
        /// Who.
        user: String,
        /// sudo's words.
        detail: String,
    },
    /// It took too long and was cut off.
    #[error("{address} did not finish within {secs} s and was cut off")]
    TimedOut {
        /// Where.
        address: String,
        /// How long it had.
        secs: u64,
    },
    /// A connection that was open does not answer any more.
    #[error("{address} did not answer within {secs} s over a connection that was open")]
    Silent {
        /// Where.
        address: String,
        /// How long it had.
        secs: u64,
    },
    /// The connection broke.
    #[error("the connection to {address} broke: {detail}")]
    Broken {
        /// Where.
        address: String,
        /// What is known.
        detail: String,
    },
    /// The answer is none.
    #[error("{address}: {source}{}", .stderr.as_deref().map(|text| format!(" ({text})")).unwrap_or_default())]
    Answer {
        /// Where.
        address: String,
        /// What is wrong with it.
        source: ReportError,
        /// What it wrote on standard error, shortened.
        stderr: Option<String>,
    },
}
