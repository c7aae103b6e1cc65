//! `ca-server machine …`.

use ca_api::admin::AdminRequest;
use clap::Subcommand;
use policies::{MachineName, PoolName};

use super::{ValueError, name};
use crate::cli::order::{ConsentOption, Order, Sink};

/// What to do with machines.
#[derive(Debug, Clone, Subcommand)]
pub enum MachineVerb {
    /// List all machines: how current each is, and what troubles it.
    #[command(after_help = "Example:\n  ca-server machine list")]
    List,
    /// Show one machine.
    #[command(
        after_help = "Examples:\n  ca-server machine show web-1\n  ca-server machine show web-1 --who"
    )]
    Show {
        /// Which.
        #[arg(value_parser = name::<MachineName>)]
        name: String,
        /// Only who can log in there, as which account.
        #[arg(long)]
        who: bool,
    },
    /// Put a machine into exactly these pools.
    #[command(
        after_help = "Example:\n  ca-server machine move web-1 --pool web-server --pool canary"
    )]
    Move {
        /// Which.
        #[arg(value_parser = name::<MachineName>)]
        name: String,
        /// A pool that it is in from now on (may be repeated).
        #[arg(long = "pool", value_name = "POOL", required = true, value_parser = name::<PoolName>)]
        pools: Vec<String>,
    },
    /// Change where the CA reaches a machine.
    #[command(after_help = "Example:\n  ca-server machine set web-1 --address 10.0.0.7:2222")]
    Set {
        /// Which.
        #[arg(value_parser = name::<MachineName>)]
        name: String,
        /// Host name or IP address, perhaps with a port.
        #[arg(long, value_name = "HOST[:PORT]", value_parser = address)]
        address: String,
    },
    /// End the logins of accounts that the CA did not make (all but the admins' own).
    #[command(
        after_help = "See first which keys that ends: ca-server check --keys\n\n\
                            Examples:\n  ca-server machine enforce web-1\n  ca-server machine enforce --pool web-server"
    )]
    Enforce {
        /// Which.
        #[command(flatten)]
        which: Which,
    },
    /// Let accounts that the CA did not make log in as before.
    #[command(
        after_help = "Examples:\n  ca-server machine observe web-1\n  ca-server machine observe --pool web-server"
    )]
    Observe {
        /// Which.
        #[command(flatten)]
        which: Which,
    },
    /// Take the CA off a machine and forget it; its admins' own account stays as it is.
    #[command(
        after_help = "Exit 3: it was not reached; the CA goes on asking it.\n\n\
                            Examples:\n  ca-server machine remove web-1\n  ca-server machine remove web-1 --leave-files"
    )]
    Remove {
        /// Which.
        #[arg(value_parser = name::<MachineName>)]
        name: String,
        /// Forget it at once, whatever is left on it: for a machine that is gone for good.
        #[arg(long)]
        leave_files: bool,
        /// Whether to ask.
        #[command(flatten)]
        consent: ConsentOption,
    },
}

/// One machine, or all of a pool.
#[derive(Debug, Clone, clap::Args)]
#[group(required = true, multiple = false)]
pub struct Which {
    /// This machine.
    #[arg(value_parser = name::<MachineName>)]
    pub name: Option<String>,
    /// Every machine of this pool.
    #[arg(long, value_name = "POOL", value_parser = name::<PoolName>)]
    pub pool: Option<String>,
}

impl Which {
    fn request(self, enforce: bool) -> AdminRequest {
        match self.pool {
            Some(pool) => AdminRequest::PoolEnforce { pool, enforce },
            None => AdminRequest::MachineEnforce {
                machine: self.name.unwrap_or_default(),
                enforce,
            },
        }
    }
}

impl MachineVerb {
    /// The request that it means.
    #[must_use]
    pub fn order(self) -> Order {
        match self {
            Self::List => Order::new(AdminRequest::MachineList {}),
            Self::Show { name, who } => Order::new(AdminRequest::MachineShow { machine: name })
                .into_sink(if who { Sink::PrintWho } else { Sink::Print }),
            Self::Move { name, pools } => Order::new(AdminRequest::MachineMove {
                machine: name,
                pools,
            }),
            Self::Set { name, address } => Order::new(AdminRequest::MachineSet {
                machine: name,
                address: Some(address),
            }),
            Self::Enforce { which } => Order::new(which.request(true)),
            Self::Observe { which } => Order::new(which.request(false)),
            Self::Remove {
                name,
                leave_files,
                consent,
            } => {
                let question = if leave_files {
                    format!(
                        "Forget {name}, and leave what is on it? If it still runs it keeps trusting the CA but gets no revocation any more, \
                         so whoever is revoked later still gets in there. (Without --leave-files the CA is taken off it first.)"
                    )
                } else {
                    format!(
                        "Take the CA off {name}? Employees' ways in end there, and accounts that the CA made are expired; the admins' own \
                         account stays as it is."
                    )
                };
                let look = AdminRequest::MachineShow {
                    machine: name.clone(),
                };
                Order::new(AdminRequest::MachineRemove {
                    machine: name,
                    leave_files,
                })
                .asking_of(consent.consent(), look, question)
            }
        }
    }
}

/// `HOST`, `HOST:PORT`, `[IPv6]:PORT`.
fn address(text: &str) -> Result<String, ValueError> {
    const RULE: ValueError = ValueError {
        rule: "expected HOST, HOST:PORT or [IPv6]:PORT",
    };
    if super::host(text).is_ok()
        || text
            .parse::<std::net::SocketAddr>()
            .is_ok_and(|address| address.port() != 0)
    {
        return Ok(text.to_owned());
    }
    let (host, port) = text.rsplit_once(':').ok_or(RULE)?;
    super::host(host).map_err(|_| RULE)?;
    let port_fine = port.bytes().all(|byte| byte.is_ascii_digit())
        && port.parse::<u16>().is_ok_and(|port| port != 0);
    (port_fine && !host.contains(':'))
        .then(|| text.to_owned())
        .ok_or(RULE)
}
