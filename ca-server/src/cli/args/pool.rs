//! `ca-server pool …`.

use ca_api::admin::AdminRequest;
use clap::Subcommand;
use policies::{Email, PoolName};

use super::name;
use crate::cli::order::{ConsentOption, Order};

/// What to do with pools.
#[derive(Debug, Clone, Subcommand)]
pub enum PoolVerb {
    /// Make a pool.
    #[command(after_help = "Examples:\n  \
                            ca-server pool add web-server --title \"Web servers\"\n  \
                            ca-server pool add production --include web-server --include db --employee alice@corp.example")]
    Add {
        /// Its name.
        #[arg(value_parser = name::<PoolName>)]
        pool: String,
        /// Its title, for people.
        #[arg(long, default_value = "", hide_default_value = true)]
        title: String,
        /// A pool whose machines belong to it too (may be repeated).
        #[arg(long, value_name = "POOL", value_parser = name::<PoolName>)]
        include: Vec<String>,
        /// Grant this employee their own account there (may be repeated).
        #[arg(long = "employee", value_name = "EMAIL", value_parser = name::<Email>)]
        employees: Vec<String>,
    },
    /// List all pools.
    #[command(after_help = "Example:\n  ca-server pool list")]
    List,
    /// Show one pool: its machines, and who may use which account there.
    #[command(after_help = "Example:\n  ca-server pool show web-server")]
    Show {
        /// Which.
        #[arg(value_parser = name::<PoolName>)]
        pool: String,
    },
    /// Change a pool's title.
    #[command(after_help = "Example:\n  ca-server pool set web-server --title \"Web servers\"")]
    Set {
        /// Which.
        #[arg(value_parser = name::<PoolName>)]
        pool: String,
        /// Its new title.
        #[arg(long)]
        title: String,
    },
    /// Remove a pool; refused while machines or grants need it, unless forced.
    #[command(
        after_help = "Examples:\n  ca-server pool remove old\n  ca-server pool remove old --force --yes"
    )]
    Remove {
        /// Which.
        #[arg(value_parser = name::<PoolName>)]
        pool: String,
        /// Also where its machines lose their pool and its grants are lost.
        #[arg(long)]
        force: bool,
        /// Whether to ask.
        #[command(flatten)]
        consent: ConsentOption,
    },
    /// Make the machines of the second pool belong to the first too.
    #[command(after_help = "Example:\n  ca-server pool include production web-server")]
    Include {
        /// The outer pool.
        #[arg(value_parser = name::<PoolName>)]
        pool: String,
        /// The inner pool.
        #[arg(value_parser = name::<PoolName>)]
        inner: String,
    },
    /// Take that back.
    #[command(after_help = "Example:\n  ca-server pool exclude production web-server")]
    Exclude {
        /// The outer pool.
        #[arg(value_parser = name::<PoolName>)]
        pool: String,
        /// The inner pool.
        #[arg(value_parser = name::<PoolName>)]
        inner: String,
    },
}

impl PoolVerb {
    /// The request that it means.
    #[must_use]
    pub fn order(self) -> Order {
        match self {
            Self::Add {
                pool,
                title,
                include,
                employees,
            } => Order::new(AdminRequest::PoolAdd {
                pool,
                title,
                include,
                employees,
            }),
            Self::List => Order::new(AdminRequest::PoolList {}),
            Self::Show { pool } => Order::new(AdminRequest::PoolShow { pool }),
            Self::Set { pool, title } => Order::new(AdminRequest::PoolSet {
                pool,
                title: Some(title),
            }),
            Self::Remove {
                pool,
                force,
                consent,
            } => {
                let question = format!(
                    "Remove the pool {pool} by force? Every grant on it is lost, the certificates that carry one are revoked, \
                     and its machines leave it."
                );
                let look = AdminRequest::PoolShow { pool: pool.clone() };
                let order = Order::new(AdminRequest::PoolRemove { pool, force });
                if force {
                    order.asking_of(consent.consent(), look, question)
                } else {
                    order
                }
            }
            Self::Include { pool, inner } => Order::new(AdminRequest::PoolInclude { pool, inner }),
            Self::Exclude { pool, inner } => Order::new(AdminRequest::PoolExclude { pool, inner }),
        }
    }
}
