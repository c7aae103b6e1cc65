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
