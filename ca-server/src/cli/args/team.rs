//! `ca-server team …`.

use ca_api::admin::AdminRequest;
use clap::Subcommand;
use policies::{Email, TeamName};

use super::name;
use crate::cli::order::Order;

/// What to do with teams.
#[derive(Debug, Clone, Subcommand)]
pub enum TeamVerb {
    /// Make a team.
    #[command(
        after_help = "Example:\n  ca-server team add ops --employee alice@corp.example --employee bob@corp.example"
    )]
    Add {
        /// Its name.
        #[arg(value_parser = name::<TeamName>)]
        team: String,
        /// A first member (may be repeated).
        #[arg(long = "employee", value_name = "EMAIL", value_parser = name::<Email>)]
        employees: Vec<String>,
    },
    /// Put employees into a team.
    #[command(after_help = "Example:\n  ca-server team join ops alice@corp.example")]
    Join {
        /// Which.
        #[arg(value_parser = name::<TeamName>)]
        team: String,
        /// Who.
        #[arg(required = true, value_name = "EMAIL", value_parser = name::<Email>)]
        employees: Vec<String>,
    },
    /// Take employees out of a team; what the team gave them is revoked.
    #[command(after_help = "Example:\n  ca-server team leave ops alice@corp.example")]
    Leave {
        /// Which.
        #[arg(value_parser = name::<TeamName>)]
        team: String,
        /// Who.
        #[arg(required = true, value_name = "EMAIL", value_parser = name::<Email>)]
        employees: Vec<String>,
    },
    /// List all teams.
    #[command(after_help = "Example:\n  ca-server team list")]
    List,
    /// Show one team.
    #[command(after_help = "Example:\n  ca-server team show ops")]
    Show {
        /// Which.
        #[arg(value_parser = name::<TeamName>)]
        team: String,
    },
    /// Remove a team.
    #[command(after_help = "Example:\n  ca-server team remove ops")]
    Remove {
        /// Which.
        #[arg(value_parser = name::<TeamName>)]
        team: String,
    },
}

impl TeamVerb {
    /// The request that it means.
    #[must_use]
    pub fn order(self) -> Order {
        Order::new(match self {
            Self::Add { team, employees } => AdminRequest::TeamAdd { team, employees },
            Self::Join { team, employees } => AdminRequest::TeamJoin { team, employees },
            Self::Leave { team, employees } => AdminRequest::TeamLeave { team, employees },
            Self::List => AdminRequest::TeamList {},
            Self::Show { team } => AdminRequest::TeamShow { team },
            Self::Remove { team } => AdminRequest::TeamRemove { team },
        })
    }
}
