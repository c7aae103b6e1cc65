//! `ca-server employee …`.

use ca_api::admin::AdminRequest;
use clap::{Subcommand, ValueEnum};
use policies::{AccountName, Email, PoolName, TeamName};

use super::name;
use crate::cli::order::{ConsentOption, Order};

/// The role at the CA itself, as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RoleWord {
    /// May use every admin command.
    Admin,
    /// An employee like any other.
    None,
}

/// What to do with employees.
#[derive(Debug, Clone, Subcommand)]
pub enum EmployeeVerb {
    /// Invite an employee; prints the one line that they paste.
    #[command(
        after_help = "The line goes to standard output alone, everything else to standard error.\n\n\
                            Examples:\n  \
                            ca-server employee add alice@corp.example --pool web-server\n  \
                            ca-server employee add bob@corp.example --account bob --name \"Bob Stone\" --role admin"
    )]
    Add {
        /// Their email.
        #[arg(value_parser = name::<Email>)]
        email: String,
        /// Their account on machines; the part of the email before the @ if not written.
        #[arg(long, value_name = "NAME", value_parser = name::<AccountName>)]
        account: Option<String>,
        /// Their full name.
        #[arg(long, default_value = "", hide_default_value = true)]
        name: String,
        /// Grant their own account on this pool (may be repeated).
        #[arg(long = "pool", value_name = "POOL", value_parser = name::<PoolName>)]
        pools: Vec<String>,
        /// A team to join (may be repeated).
        #[arg(long = "team", value_name = "TEAM", value_parser = name::<TeamName>)]
        teams: Vec<String>,
        /// Their role at the CA itself.
        #[arg(long, value_enum, default_value_t = RoleWord::None, hide_default_value = true)]
        role: RoleWord,
    },
    /// List everybody.
    #[command(
        after_help = "Examples:\n  ca-server employee list\n  ca-server employee list --json | jq -r '.[].email'"
    )]
    List,
    /// Show one employee: groups, grants, sessions.
    #[command(after_help = "Example:\n  ca-server employee show alice@corp.example")]
    Show {
        /// Whom.
        #[arg(value_parser = name::<Email>)]
        email: String,
    },
    /// Change an employee's name, role or pools.
    #[command(
        arg_required_else_help = true,
        group = clap::ArgGroup::new("change").required(true).multiple(true)
            .args(["name", "role", "add_pools", "remove_pools"]),
        after_help = "Taking a pool away revokes what it gave.\n\n\
                      Examples:\n  \
                      ca-server employee set alice@corp.example --pool db --remove-pool web-server\n  \
                      ca-server employee set alice@corp.example --role none"
    )]
    Set {
        /// Whom.
        #[arg(value_parser = name::<Email>)]
        email: String,
        /// Their new full name.
        #[arg(long)]
        name: Option<String>,
        /// Their role at the CA itself.
        #[arg(long, value_enum)]
        role: Option<RoleWord>,
        /// Grant their own account on this pool (may be repeated).
        #[arg(long = "pool", value_name = "POOL", value_parser = name::<PoolName>)]
        add_pools: Vec<String>,
        /// Take that grant away (may be repeated).
        #[arg(long = "remove-pool", value_name = "POOL", value_parser = name::<PoolName>)]
        remove_pools: Vec<String>,
    },
    /// Close an employee's login and revoke what they hold; `resume` opens it again.
    #[command(
        after_help = "Example:\n  ca-server employee suspend alice@corp.example --reason \"on leave\""
    )]
    Suspend {
        /// Whom.
        #[arg(value_parser = name::<Email>)]
        email: String,
        /// Why, for the ledger.
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Open an employee's login again after `suspend` or `krl revoke`.
    #[command(after_help = "Example:\n  ca-server employee resume alice@corp.example")]
    Resume {
        /// Whom.
        #[arg(value_parser = name::<Email>)]
        email: String,
    },
    /// Forget an employee's password and TOTP, revoke what they hold, and invite them again.
    #[command(
        after_help = "For a lost phone or a forgotten password. Prints the one line that they paste.\n\n\
                            Example:\n  ca-server employee reset alice@corp.example"
    )]
    Reset {
        /// Whom.
        #[arg(value_parser = name::<Email>)]
        email: String,
    },
    /// Revoke what an employee holds and remove them; nobody ever gets their names again.
    #[command(after_help = "Examples:\n  \
                            ca-server employee remove alice@corp.example\n  \
                            ca-server employee remove alice@corp.example --purge --yes")]
    Remove {
        /// Whom.
        #[arg(value_parser = name::<Email>)]
        email: String,
        /// Delete the account's home on the machines too.
        #[arg(long)]
        purge: bool,
        /// Whether to ask.
        #[command(flatten)]
        consent: ConsentOption,
    },
}

impl EmployeeVerb {
    /// The request that it means.
    #[must_use]
    pub fn order(self) -> Order {
        match self {
            Self::Add {
                email,
                account,
                name,
                pools,
                teams,
                role,
            } => Order::new(AdminRequest::EmployeeAdd {
                email,
                account,
                name,
                pools,
                teams,
                admin: role == RoleWord::Admin,
            }),
            Self::List => Order::new(AdminRequest::EmployeeList {}),
            Self::Show { email } => Order::new(AdminRequest::EmployeeShow { email }),
            Self::Set {
                email,
                name,
                role,
                add_pools,
                remove_pools,
            } => Order::new(AdminRequest::EmployeeSet {
                email,
                name,
                admin: role.map(|role| role == RoleWord::Admin),
                add_pools,
                remove_pools,
            }),
            Self::Suspend { email, reason } => {
                Order::new(AdminRequest::EmployeeSuspend { email, reason })
            }
            Self::Resume { email } => Order::new(AdminRequest::EmployeeResume { email }),
            Self::Reset { email } => Order::new(AdminRequest::EmployeeReset { email }),
            Self::Remove {
                email,
                purge,
                consent,
            } => {
                let homes = if purge {
                    " Their home on every machine is deleted."
                } else {
                    ""
                };
                let question = format!(
                    "Remove {email}? Everything that they hold is revoked, and nobody ever gets their email, account or uid \
                     again.{homes} This cannot be taken back (`employee suspend` can)."
                );
                let look = AdminRequest::EmployeeShow {
                    email: email.clone(),
                };
                Order::new(AdminRequest::EmployeeRemove { email, purge }).asking_of(
                    consent.consent(),
                    look,
                    question,
                )
            }
        }
    }
}
