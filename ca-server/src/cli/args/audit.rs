//! `ca-server audit …`.

use std::path::PathBuf;

use ca_api::admin::{AdminRequest, LedgerHead};
use clap::Subcommand;

use crate::cli::order::{Order, OrderError, Sink, read_small};

/// A head is a few hundred bytes; a file beyond this is something else.
const HEAD_MAX_BYTES: u64 = 64 * 1024;

/// What to do with the ledger.
#[derive(Debug, Clone, Subcommand)]
pub enum AuditVerb {
    /// List what happened, oldest first.
    #[command(after_help = "Examples:\n  \
                            ca-server audit list --last 20\n  \
                            ca-server audit list --about alice@corp.example\n  \
                            ca-server audit list --json | jq 'map(select(.event == \"login_refused\"))'")]
    List {
        /// Only the newest N entries.
        #[arg(long, value_name = "N")]
        last: Option<u64>,
        /// Only entries about this person or machine.
        #[arg(long, value_name = "NAME")]
        about: Option<String>,
    },
    /// Check the whole chain: an edit, a gap or a truncation is found.
    #[command(
        after_help = "A head that was exported earlier and kept elsewhere also shows a ledger that was replaced as a whole.\n\n\
                            Examples:\n  ca-server audit verify\n  ca-server audit verify --head head-2026-11-01"
    )]
    Verify {
        /// A head that `audit export` wrote: the ledger must still contain it.
        #[arg(long, value_name = "FILE")]
        head: Option<PathBuf>,
    },
    /// Write the ledger's signed head, to keep elsewhere.
    #[command(
        after_help = "The file is a line of JSON and an SSH signature over it (namespace ledger@ssh-ca).\n\n\
                            Example:\n  ca-server audit export head-2026-11-22"
    )]
    Export {
        /// The file; standard output if none is named.
        file: Option<PathBuf>,
    },
}

impl AuditVerb {
    /// The request that it means.
    ///
    /// # Errors
    /// The head's file cannot be read, or is something else.
    pub fn order(self) -> Result<Order, OrderError> {
        Ok(match self {
            Self::List { last, about } => Order::new(AdminRequest::AuditList { last, about }),
            Self::Verify { head: None } => Order::new(AdminRequest::AuditVerify { head: None }),
            Self::Verify { head: Some(path) } => {
                const WHAT: &str = "a head that `audit export` wrote";
                let text = read_small(&path, WHAT, HEAD_MAX_BYTES)?;
                // `audit export --json` wraps the same text.
                let head = match serde_json::from_str::<LedgerHead>(&text) {
                    Ok(head) => head.signature,
                    Err(_) => text,
                };
                if !head.contains("\n-----BEGIN SSH SIGNATURE-----\n") {
                    return Err(OrderError::NotThat { path, what: WHAT });
                }
                Order::new(AdminRequest::AuditVerify { head: Some(head) })
            }
            Self::Export { file } => {
                Order::new(AdminRequest::AuditExport {}).into_sink(Sink::Head(file))
            }
        })
    }
}
