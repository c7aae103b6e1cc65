//! The command line: what may be said, with one struct or enum per noun, and the plain structs that come out of it.
//!
//! Names are parsed here (by `policies`), so that wrong input is refused before it travels, with the rule that it breaks.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
};

use clap::{Args, Parser, Subcommand};
use policies::NameError;

use crate::signer::{SignerSpec, SpecError};

pub mod audit;
pub mod backup;
pub mod break_glass;
pub mod ca;
pub mod cert;
pub mod clock;
pub mod employee;
pub mod fleet;
pub mod grant;
pub mod krl;
pub mod machine;
pub mod policy;
pub mod pool;
pub mod session;
pub mod team;

pub use backup::{BackupArgs, KeySource, LockSource, OpenArgs};

/// Where the data lies if nobody says otherwise.
pub const DEFAULT_DATA: &str = "/var/lib/ssh-ca-server";

/// The file that systemd's `LoadCredential=` puts into `$CREDENTIALS_DIRECTORY` for us.
pub const CREDENTIAL_NAME: &str = "ssh-ca-passphrase";

/// What `init` needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitArgs {
    /// The data folder to make.
    pub data: PathBuf,
    /// Host names and IP addresses under which clients reach the server, the first one in URLs; may be empty.
    pub names: Vec<String>,
    /// Where the new passphrase comes from.
    pub passphrase: PassphraseSource,
    /// Where keys are that are not in files of the data folder.
    pub signers: Vec<SignerChoice>,
}

/// What `serve` needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServeArgs {
    /// The data folder that `init` made.
    pub data: PathBuf,
    /// Where to listen for HTTPS; `None` leaves it to the configuration file, and then to the default.
    pub listen: Option<SocketAddr>,
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// Where the passphrase comes from.
    pub passphrase: PassphraseSource,
}

/// Which key of the CA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum CaKey {
    /// Signs employees' certificates.
    User,
    /// Signs machines' certificates.
    Host,
    /// Signs what machines apply.
    Fleet,
}

impl CaKey {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Host => "host",
            Self::Fleet => "fleet",
        }
    }
}

/// Where one key, or each, is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignerChoice {
    /// Which; `None` for each that has none of its own.
    pub key: Option<CaKey>,
    /// Where.
    pub spec: SignerSpec,
}

/// `[KEY=]SIGNER`.
fn signer_choice(text: &str) -> Result<SignerChoice, SpecError> {
    let (key, spec) = match text.split_once('=') {
        Some(("user", spec)) => (Some(CaKey::User), spec),
        Some(("host", spec)) => (Some(CaKey::Host), spec),
        Some(("fleet", spec)) => (Some(CaKey::Fleet), spec),
        _ => (None, text),
    };
    spec.parse().map(|spec| SignerChoice { key, spec })
}

/// Where a passphrase comes from: never from an argument or the environment (C3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PassphraseSource {
    /// Asked for on the terminal; refused where there is none.
    Terminal,
    /// The content of a file.
    File(PathBuf),
    /// The whole of standard input.
    Stdin,
    /// A systemd credential, at this path.
    Credential(PathBuf),
}

/// ca-server: a self-hosted SSH certificate authority.
#[derive(Debug, Parser)]
#[command(
    name = "ca-server",
    version,
    about = "A self-hosted SSH certificate authority",
    long_about = "A self-hosted SSH certificate authority: signs employees' keys into certificates that expire today, \
                  and proves on every machine that a revoked one is refused.",
    after_help = "Admin commands talk to the running server: over its Unix socket on the CA's host, or anywhere with --url.\n\n\
                  Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 partly done (some machines not reached).\n\n\
                  The first steps:\n  \
                  ca-server init --name ca.corp.example\n  \
                  ca-server serve\n  \
                  ca-server pool add web-server\n  \
                  ca-server employee add alice@corp.example --pool web-server\n\n\
                  When a laptop is stolen:\n  \
                  ca-server krl revoke alice@corp.example --reason \"laptop stolen\"",
    disable_help_subcommand = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How and where.
    #[command(flatten)]
    pub global: GlobalArgs,
}

/// Options that every command takes.
#[derive(Debug, Clone, Args)]
pub struct GlobalArgs {
    /// The CA's data folder.
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "SSH_CA_DATA",
        default_value = DEFAULT_DATA,
        help_heading = "Where"
    )]
    pub data: PathBuf,
    /// Talk to a CA elsewhere, after an admin login that lasts 15 minutes.
    #[arg(long, global = true, value_name = "URL", value_parser = url, help_heading = "Where")]
    pub url: Option<Url>,
    /// The fingerprint of that CA's TLS certificate, as `init` printed it; needed the first time only.
    #[arg(long, global = true, value_name = "SHA256:…", value_parser = fingerprint, requires = "url", help_heading = "Where")]
    pub fingerprint: Option<String>,
    /// Print data as JSON (times also as ISO 8601); progress and errors as JSON lines on standard error.
    #[arg(long, global = true, help_heading = "Output")]
    pub json: bool,
    /// Print the result and errors only, no progress.
    #[arg(long, short, global = true, help_heading = "Output")]
    pub quiet: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a new CA: its keys, its TLS certificate and its store.
    Init(InitOptions),
    /// Run the CA.
    Serve(ServeOptions),
    /// People: invite, change, suspend, remove.
    #[command(subcommand)]
    Employee(employee::EmployeeVerb),
    /// Pools of machines.
    #[command(subcommand)]
    Pool(pool::PoolVerb),
    /// Teams of employees.
    #[command(subcommand)]
    Team(team::TeamVerb),
    /// Who may use which account on which pool.
    #[command(subcommand)]
    Grant(grant::GrantVerb),
    /// The policy as a whole: plan, apply, export, import, explain.
    #[command(subcommand)]
    Policy(policy::PolicyVerb),
    /// Machines that the CA looks after (`bootstrap add-machine` adds them).
    #[command(subcommand)]
    Machine(machine::MachineVerb),
    /// Revoke, and see what is revoked.
    #[command(subcommand)]
    Krl(krl::KrlVerb),
    /// Bring machines to what the CA wants.
    Sync(fleet::SyncOptions),
    /// Write what machines fetch for themselves into a folder, for a web server or mirror.
    Publish(fleet::PublishOptions),
    /// Look whether machines are as wanted, and repair what is not on request.
    Check(fleet::CheckOptions),
    /// Live ssh sessions on machines.
    #[command(subcommand)]
    Session(session::SessionVerb),
    /// The CA's own keys: show, replace, revoke.
    #[command(subcommand)]
    Ca(ca::CaVerb),
    /// Certificates that were issued.
    #[command(subcommand)]
    Cert(cert::CertVerb),
    /// The ledger: everything that happened, in a chain that shows any change.
    #[command(subcommand)]
    Audit(audit::AuditVerb),
    /// Take a backup while the CA runs, or check one.
    Backup(backup::BackupOptions),
    /// Put a backup back, into an empty data folder.
    Restore(backup::RestoreOptions),
    /// A way in for the day when everything is down: sealed, offline, opened by several people together.
    #[command(subcommand)]
    BreakGlass(break_glass::BreakGlassVerb),
    /// After a restore: look, and let people in again.
    #[command(subcommand)]
    Recovery(backup::RecoveryVerb),
    /// Whether the clock of the CA's host is believed: if not, nothing is signed.
    #[command(subcommand)]
    Clock(clock::ClockVerb),
    /// Print a completion script for a shell.
    #[command(
        after_help = "Example:\n  ca-server completions bash > /etc/bash_completion.d/ca-server"
    )]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// `init` as it is written.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "The passphrase encrypts the CA's keys. It is asked for twice, or read from a file, from standard input,\n\
                  or from the systemd credential `ssh-ca-passphrase`; at least 12 characters.\n\n\
                  Examples:\n  \
                  ca-server init --name ca.corp.example --name 10.0.0.5\n  \
                  ca-server init --data /srv/ca --passphrase-file /root/ca-passphrase\n  \
                  ca-server init --signer user=agent:/run/ca/agent.sock\n  \
                  ca-server init --signer \"pkcs11:token=ca?module-path=/usr/lib/softhsm/libsofthsm2.so\""
)]
pub struct InitOptions {
    /// A host name or IP address under which clients reach the server; the first goes into URLs.
    #[arg(long = "name", value_name = "HOST", value_parser = host)]
    pub names: Vec<String>,
    /// Where the passphrase comes from.
    #[command(flatten)]
    pub passphrase: PassphraseOptions,
    /// Where the CA's keys are: file (the default), agent:/path/to/socket, or
    /// pkcs11:token=LABEL?module-path=/path/to/module.so. With user=, host= or fleet= in front it is for that key alone.
    #[arg(long = "signer", value_name = "[KEY=]SIGNER", value_parser = signer_choice)]
    pub signers: Vec<SignerChoice>,
}

/// `serve` as it is written.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Under systemd, give the passphrase with LoadCredential=ssh-ca-passphrase:/etc/ssh-ca/passphrase.\n\n\
                        Examples:\n  \
                        ca-server serve\n  \
                        ca-server serve --listen 0.0.0.0:8443 --passphrase-file /root/ca-passphrase"
)]
pub struct ServeOptions {
    /// IP address and port for HTTPS.
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// A configuration file.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the passphrase comes from.
    #[command(flatten)]
    pub passphrase: PassphraseOptions,
}

/// Where a passphrase comes from, as it is written.
#[derive(Debug, Clone, Default, Args)]
pub struct PassphraseOptions {
    /// Read the passphrase from a file that only its owner can read.
    #[arg(long, value_name = "FILE", conflicts_with = "passphrase_stdin")]
    pub passphrase_file: Option<PathBuf>,
    /// Read the passphrase from standard input.
    #[arg(long)]
    pub passphrase_stdin: bool,
}

impl PassphraseOptions {
    /// Settles the source: what was written wins, then a systemd credential (in `credentials`, the folder that
    /// `$CREDENTIALS_DIRECTORY` names) if there is one, then the terminal.
    #[must_use]
    pub fn source(self, credentials: Option<PathBuf>) -> PassphraseSource {
        if let Some(file) = self.passphrase_file {
            return PassphraseSource::File(file);
        }
        if self.passphrase_stdin {
            return PassphraseSource::Stdin;
        }
        match credentials.map(|folder| folder.join(CREDENTIAL_NAME)) {
            Some(path) if path.exists() => PassphraseSource::Credential(path),
            _ => PassphraseSource::Terminal,
        }
    }
}

/// The address of a CA elsewhere: `https://HOST[:PORT]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// Host name or IP address, without brackets.
    pub host: String,
    /// The port; 443 if not written.
    pub port: u16,
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "https://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "https://{}:{}", self.host, self.port)
        }
    }
}

/// A text that is not what the command line wants at that place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{rule}")]
pub struct ValueError {
    /// The rule that it breaks.
    pub rule: &'static str,
}

/// A name in its one canonical form; the error names the rule without repeating the text, which clap does.
pub(crate) fn name<T: FromStr<Err = NameError> + Into<String>>(
    text: &str,
) -> Result<String, ValueError> {
    text.parse::<T>()
        .map(Into::into)
        .map_err(|error| ValueError { rule: error.rule })
}

/// A host name or an IP address.
pub(crate) fn host(text: &str) -> Result<String, ValueError> {
    if text.parse::<IpAddr>().is_ok() {
        return Ok(text.to_owned());
    }
    name::<policies::MachineName>(&text.to_ascii_lowercase()).map_err(|_| ValueError {
        rule: "expected a host name (labels of a-z, 0-9 and -, parted by dots) or an IP address",
    })
}

/// `https://HOST[:PORT]`.
pub(crate) fn url(text: &str) -> Result<Url, ValueError> {
    const RULE: ValueError = ValueError {
        rule: "expected https://HOST or https://HOST:PORT",
    };
    let rest = text.strip_prefix("https://").ok_or(RULE)?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host_text, port_text) = match rest.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest.split_once(']').ok_or(RULE)?;
            let port = match after {
                "" => None,
                after => Some(after.strip_prefix(':').ok_or(RULE)?),
            };
            (address, port)
        }
        None => match rest.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        },
    };
    let port = match port_text {
        None => 443,
        Some(text) => text.parse().ok().filter(|port| *port != 0).ok_or(RULE)?,
    };
    let host = host(host_text).map_err(|_| RULE)?;
    Ok(Url { host, port })
}

/// `SHA256:` and 43 characters of base64, as `ssh-keygen -l` and `ca-server init` print it.
pub(crate) fn fingerprint(text: &str) -> Result<String, ValueError> {
    const RULE: ValueError = ValueError {
        rule: "expected SHA256: and 43 characters of base64, as it was printed",
    };
    match text.parse::<ssh_key::Fingerprint>() {
        Ok(fingerprint @ ssh_key::Fingerprint::Sha256(_)) => Ok(fingerprint.to_string()),
        _ => Err(RULE),
    }
}
