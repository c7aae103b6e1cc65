//! `ca-server backup …`, `restore` and `recovery …`.

use std::path::PathBuf;

use ca_api::admin::AdminRequest;
use clap::{Args, Subcommand};

use super::{PassphraseOptions, PassphraseSource};
use crate::cli::order::{ConsentOption, Order};

/// What making a backup needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupArgs {
    /// The data folder of the running server.
    pub data: PathBuf,
    /// The file to make.
    pub file: PathBuf,
    /// Are the encrypted key files to be in it?
    pub with_keys: bool,
    /// How it is locked.
    pub lock: LockSource,
    /// May it draw on the terminal while it works?
    pub show_progress: bool,
}

/// How a backup is locked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockSource {
    /// With a passphrase from there.
    Passphrase(PassphraseSource),
    /// To these age recipients.
    Recipients(Vec<String>),
}

/// What opening a backup needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenArgs {
    /// The file.
    pub file: PathBuf,
    /// What opens it.
    pub key: KeySource,
}

/// What opens a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// The passphrase, from there.
    Passphrase(PassphraseSource),
    /// A file of age identities.
    Identity(PathBuf),
}

/// `backup` as it is written.
#[derive(Debug, Clone, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "The server goes on meanwhile: what is in the backup is one state of it. The file is locked with a passphrase of its own (age, \
                  scrypt), or to age recipients; it is written beside its name and appears under it when it is whole, mode 0600.\n\
                  Without --with-keys whoever restores needs the folders `keys` and `tls` of the data folder from elsewhere.\n\n\
                  Examples:\n  \
                  ca-server backup /mnt/usb/ca-2026-11-22.age --with-keys\n  \
                  ca-server backup ca.age --recipient age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p\n  \
                  ca-server backup verify ca.age --identity recovery.key"
)]
pub struct BackupOptions {
    /// What else to do with a backup.
    #[command(subcommand)]
    pub verb: Option<BackupVerb>,
    /// The file to make; it must not exist.
    #[arg(required = true)]
    pub file: Option<PathBuf>,
    /// Put the encrypted files of the CA's private keys into it too.
    #[arg(long)]
    pub with_keys: bool,
    /// Lock it to this age recipient instead of a passphrase; may be given several times.
    #[arg(long = "recipient", value_name = "AGE1…", conflicts_with_all = ["passphrase_file", "passphrase_stdin"])]
    pub recipients: Vec<String>,
    /// Where the passphrase comes from.
    #[command(flatten)]
    pub passphrase: PassphraseOptions,
}

/// What else to do with a backup.
#[derive(Debug, Clone, Subcommand)]
pub enum BackupVerb {
    /// Open a backup and check everything in it: hashes, signature, the whole ledger. Changes nothing, and needs no server.
    #[command(after_help = "Example:\n  ca-server backup verify /mnt/usb/ca-2026-11-22.age")]
    Verify(OpenOptions),
}

/// A backup and what opens it, as it is written.
#[derive(Debug, Clone, Args)]
pub struct OpenOptions {
    /// The backup.
    pub file: PathBuf,
    /// A file of age identities, for a backup that was made with --recipient.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["passphrase_file", "passphrase_stdin"])]
    pub identity: Option<PathBuf>,
    /// Where the passphrase comes from.
    #[command(flatten)]
    pub passphrase: PassphraseOptions,
}

impl OpenOptions {
    /// As plain data.
    #[must_use]
    pub fn args(self) -> OpenArgs {
        OpenArgs {
            file: self.file,
            key: match self.identity {
                Some(path) => KeySource::Identity(path),
                // A backup's passphrase is its own: the systemd credential of the CA's keys does not stand in for it.
                None => KeySource::Passphrase(self.passphrase.source(None)),
            },
        }
    }
}

/// `restore` as it is written.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Into a new or empty data folder only. Nothing of what only rises can go back: every earlier serial is revoked, everybody's \
                  epoch rises, codes of authenticators up to now are used up, sessions end. The restored CA logs nobody in until an admin has \
                  looked (`ca-server recovery show`, `recovery finish`). The lost server must never run again beside it.\n\n\
                  Example:\n  ca-server restore /mnt/usb/ca-2026-11-22.age --data /var/lib/ssh-ca-server"
)]
pub struct RestoreOptions {
    /// The backup, and what opens it.
    #[command(flatten)]
    pub open: OpenOptions,
}

/// What to do after a restore.
#[derive(Debug, Clone, Subcommand)]
pub enum RecoveryVerb {
    /// Show what machines told of the time since the backup, and which have not been read yet.
    #[command(after_help = "Example:\n  ca-server recovery show")]
    Show,
    /// Say that an admin has looked: people can log in again.
    #[command(after_help = "Example:\n  ca-server recovery finish")]
    Finish {
        /// Also while machines were not read; they are when they are back.
        #[arg(long)]
        without_unread: bool,
        /// Whether to ask.
        #[command(flatten)]
        consent: ConsentOption,
    },
}

impl RecoveryVerb {
    /// The request that it means.
    #[must_use]
    pub fn order(self) -> Order {
        match self {
            Self::Show => Order::new(AdminRequest::RecoveryShow {}),
            Self::Finish {
                without_unread,
                consent,
            } => Order::new(AdminRequest::RecoveryFinish {
                unread: without_unread,
            })
            .asking_of(
                consent.consent(),
                AdminRequest::RecoveryShow {},
                "People can log in again with the password, the authenticator and the rights that they had when the backup was made.",
            ),
        }
    }
}
