//! `ca-server cert …`.

use ca_api::admin::AdminRequest;
use clap::Subcommand;
use policies::Email;

use super::name;
use crate::cli::order::Order;

/// What to do with certificates.
#[derive(Debug, Clone, Subcommand)]
pub enum CertVerb {
    /// List certificates that were issued.
    #[command(
        after_help = "Examples:\n  ca-server cert list --live\n  ca-server cert list --employee alice@corp.example"
    )]
    List {
        /// Only this employee's.
        #[arg(long, value_name = "EMAIL", value_parser = name::<Email>)]
        employee: Option<String>,
        /// Only those that are valid now.
        #[arg(long)]
        live: bool,
    },
    /// Show one certificate.
    #[command(after_help = "Example:\n  ca-server cert show 3921843772")]
    Show {
        /// Its serial, as sshd's log has it.
        #[arg(value_parser = clap::value_parser!(u64).range(1..=i64::MAX as u64))]
        serial: u64,
    },
}

impl CertVerb {
    /// The request that it means.
    #[must_use]
    pub fn order(self) -> Order {
        Order::new(match self {
            Self::List { employee, live } => AdminRequest::CertList { employee, live },
            Self::Show { serial } => AdminRequest::CertShow { serial },
        })
    }
}
