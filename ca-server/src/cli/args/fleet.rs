//! `ca-server sync …` and `ca-server check …`.

use ca_api::admin::AdminRequest;
use clap::Args;
use policies::{MachineName, PoolName};

use super::name;
use crate::cli::order::{Order, Sink};

/// Which machines.
#[derive(Debug, Clone, Args)]
pub struct Selection {
    /// These machines; all if none is named.
    #[arg(value_name = "MACHINE", value_parser = name::<MachineName>, conflicts_with = "pool")]
    pub machines: Vec<String>,
    /// The machines of this pool.
    #[arg(long, value_parser = name::<PoolName>)]
    pub pool: Option<String>,
}

/// `sync` as it is written.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Exit code 3: some machines were not reached.\n\n\
                        Examples:\n  ca-server sync\n  ca-server sync web-1 web-2\n  ca-server sync --pool web-server")]
pub struct SyncOptions {
    /// Which machines.
    #[command(flatten)]
    pub selection: Selection,
}

/// `publish` as it is written.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Any web server may serve the folder, and any mirror copy it: nothing in it is believed without the fleet key's signature.\n\
                  Each file is encrypted for its machine. A reader sees how large they are and when they change, but no names.\n\
                  Run it after each change, as from a timer: what has not changed is not written again.\n\n\
                  Examples:\n  ca-server publish /srv/www/ssh-ca\n  ca-server publish /srv/www/ssh-ca --json"
)]
pub struct PublishOptions {
    /// The folder; files of machines that no longer fetch from a tree are removed from it.
    #[arg(value_name = "DIR")]
    pub folder: std::path::PathBuf,
    /// Do not encrypt, for machines without openssl: whoever reads the folder sees the names of people, accounts and sudo rules.
    #[arg(long)]
    pub plain: bool,
}

impl PublishOptions {
    /// The request that it means.
    #[must_use]
    pub fn order(self) -> Order {
        let Self { folder, plain } = self;
        Order::new(AdminRequest::PublishIndex { plain }).into_sink(Sink::Tree(folder))
    }
}

/// `check` as it is written.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Each finding says what it means and how to mend it. Notices are worth knowing and change no exit code.\n\
                  Exit code 1: something is not as wanted; 3: some machines were not reached.\n\
                  With --keys: a local user can write into a log, so take \"last used\" for what it is.\n\n\
                  Examples:\n  ca-server check\n  ca-server check web-1 --repair\n  ca-server check --pool web-server --keys"
)]
pub struct CheckOptions {
    /// Which machines.
    #[command(flatten)]
    pub selection: Selection,
    /// Mend what the CA can mend, and look again.
    #[arg(long)]
    pub repair: bool,
    /// List the static keys that machines still heed: whose, and when last used.
    #[arg(long, conflicts_with = "repair")]
    pub keys: bool,
}

impl SyncOptions {
    /// The request that it means.
    #[must_use]
    pub fn order(self) -> Order {
        Order::new(AdminRequest::Sync {
            machines: self.selection.machines,
            pool: self.selection.pool,
        })
    }
}

impl CheckOptions {
    /// The request that it means.
    #[must_use]
    pub fn order(self) -> Order {
        let Selection { machines, pool } = self.selection;
        if self.keys {
            return Order::new(AdminRequest::Keys { machines, pool });
        }
        Order::new(AdminRequest::Check {
            machines,
            pool,
            repair: self.repair,
        })
        .into_sink(Sink::Findings)
    }
}
