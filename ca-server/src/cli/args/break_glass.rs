//! `ca-server break-glass …`.

use std::path::PathBuf;

use ca_api::admin::AdminRequest;
use clap::{Args, Subcommand};

use crate::cli::order::{ConsentOption, Order};

/// What to do with break-glass credentials.
#[derive(Debug, Clone, Subcommand)]
pub enum BreakGlassVerb {
    /// Make sealed credentials that open the account `breakglass` on every machine, with the CA gone; earlier ones are revoked.
    #[command(
        after_help = "The folder gets the file `sealed` and a file for each share. Give the shares to different people, keep \
                      `sealed` where any of them finds it, and delete all of it here. The server never sees the private key.\n\n\
                      Example:\n  ca-server break-glass make /root/break-glass --shares 5 --needed 3"
    )]
    Make {
        /// The folder to make; it must not exist.
        folder: PathBuf,
        /// How many shares there are.
        #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(2..=20))]
        shares: u8,
        /// How many of them open it.
        #[arg(long, value_name = "K", default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=20))]
        needed: u8,
        /// Whether to ask.
        #[command(flatten)]
        consent: ConsentOption,
    },
    /// Open the seal with enough shares: writes a key and a short certificate. Needs no server and no network.
    #[command(
        after_help = "Without --share the shares are asked for. Every use is found by the next check-up, and alarms.\n\n\
                      Examples:\n  \
                      ca-server break-glass open sealed --out way-in --who dana\n  \
                      ca-server break-glass open sealed --share share-1 --share share-2 --share share-5 --out way-in"
    )]
    Open {
        /// The sealed file and the shares.
        #[command(flatten)]
        seal: SealOptions,
        /// The folder to make for the key and its certificate.
        #[arg(long, value_name = "FOLDER")]
        out: PathBuf,
        /// How long the certificate lives, in minutes; a day at most.
        #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=1440))]
        minutes: u64,
    },
    /// Show that they would open these machines: a real login each, with a certificate that runs one fixed command and nothing else.
    #[command(
        after_help = "Exit code 3: some of the machines would not open; 1: none would. The next check-up tells of the drill.\n\n\
                      Example:\n  ca-server break-glass drill sealed --share share-1 --share share-2 --share share-5 web-1 web-2"
    )]
    Drill {
        /// The sealed file and the shares.
        #[command(flatten)]
        seal: SealOptions,
        /// The machines, as `ssh` knows them.
        #[arg(value_name = "MACHINE", required = true)]
        machines: Vec<String>,
    },
    /// Show which credentials machines trust.
    #[command(after_help = "Example:\n  ca-server break-glass show")]
    Show,
    /// Revoke them: nothing opens the account any longer.
    #[command(after_help = "Example:\n  ca-server break-glass revoke")]
    Revoke {
        /// Whether to ask.
        #[command(flatten)]
        consent: ConsentOption,
    },
}

/// A sealed file and what opens it.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct SealOptions {
    /// The sealed file.
    pub sealed: PathBuf,
    /// A file with a share; as often as shares are needed.
    #[arg(long = "share", value_name = "FILE")]
    pub shares: Vec<PathBuf>,
    /// Who does this: stands in the certificate's key ID, and so in the machines' logs.
    #[arg(long, value_name = "NAME", default_value = "unnamed")]
    pub who: String,
}

/// What works without a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Offline {
    /// Looks whether this folder can be made.
    Look {
        /// Which.
        folder: PathBuf,
    },
    /// Makes sealed credentials.
    Make {
        /// The folder.
        folder: PathBuf,
        /// How many shares.
        shares: u8,
        /// How many open it.
        needed: u8,
    },
    /// Opens them.
    Open {
        /// What.
        seal: SealOptions,
        /// Into which folder.
        out: PathBuf,
        /// For how long.
        minutes: u64,
    },
    /// Tries them.
    Drill {
        /// What.
        seal: SealOptions,
        /// Where.
        machines: Vec<String>,
    },
}

/// What a command comes to.
#[derive(Debug)]
pub enum Step {
    /// Done here.
    Offline(Offline),
    /// Asked of the server.
    Ask(Order),
    /// First the one; its public key then goes to the server, if the person agrees.
    MakeAndTrust {
        /// What has to hold before anybody is asked.
        look: Offline,
        /// What is made here.
        make: Offline,
        /// What the server is asked then.
        trust: Box<Order>,
    },
}

impl BreakGlassVerb {
    /// What it means.
    #[must_use]
    pub fn step(self) -> Step {
        match self {
            Self::Make {
                folder,
                shares,
                needed,
                consent,
            } => Step::MakeAndTrust {
                look: Offline::Look {
                    folder: folder.clone(),
                },
                make: Offline::Make {
                    folder,
                    shares,
                    needed,
                },
                trust: Box::new(Order::new(AdminRequest::BreakGlassTrust {
                    public_key: String::new(),
                    needed,
                    shares,
                })
                .asking(
                    consent.consent(),
                    "Every machine gets the account `breakglass` with sudo for all; earlier credentials are revoked.",
                )),
            },
            Self::Open { seal, out, minutes } => Step::Offline(Offline::Open { seal, out, minutes }),
            Self::Drill { seal, machines } => Step::Offline(Offline::Drill { seal, machines }),
            Self::Show => Step::Ask(Order::new(AdminRequest::BreakGlassShow {})),
            Self::Revoke { consent } => Step::Ask(Order::new(AdminRequest::BreakGlassRevoke {}).asking_of(
                consent.consent(),
                AdminRequest::BreakGlassShow {},
                "Nothing opens the break-glass account any longer, wherever the sealed file and the shares are.",
            )),
        }
    }
}
