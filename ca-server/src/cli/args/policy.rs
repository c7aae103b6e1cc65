//! `ca-server policy …`.

use std::path::{Path, PathBuf};

use ca_api::{MAX_ADMIN_BODY_BYTES, admin::AdminRequest};
use clap::{Subcommand, ValueEnum};
use policies::{AccountName, Email, MachineName, PoolName};

use super::{ValueError, name};
use crate::cli::order::{Apply, Base, ConsentOption, Order, OrderError, Sink, read_small};

/// Inside JSON a text grows by what is escaped in it: a document that is larger than this would not travel.
const DOCUMENT_MAX_BYTES: u64 = MAX_ADMIN_BODY_BYTES as u64 / 2;

const DOCUMENT: &str = "a policy document";

/// How an import's file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ImportFormat {
    /// keymgr's `keys.cfg`: hostgroup, usergroup, manage.
    Keymgr,
    /// SSH Handler's JSON of pools and employees.
    SshHandler,
    /// An `authorized_keys` file: lists the static keys in it.
    AuthorizedKeys,
}

impl ImportFormat {
    /// By the file's name: `keys.cfg`, `….json`, `authorized_keys`.
    fn guess(file: &Path) -> Option<Self> {
        let name = file.file_name()?.to_str()?;
        if name.starts_with("authorized_keys") {
            Some(Self::AuthorizedKeys)
        } else if name.ends_with(".json") {
            Some(Self::SshHandler)
        } else if name.ends_with(".cfg") {
            Some(Self::Keymgr)
        } else {
            None
        }
    }

    fn word(self) -> String {
        self.to_possible_value()
            .expect("no variant is hidden")
            .get_name()
            .to_owned()
    }
}

/// How a table is written as CSV.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CsvForm {
    /// A line for each employee, a column for each machine.
    Table,
    /// A line for each grant of each cell, with what it says.
    Lines,
}

/// What to do with the policy as a whole.
#[derive(Debug, Clone, Subcommand)]
pub enum PolicyVerb {
    /// Show what a document would change for people and machines; changes nothing.
    #[command(
        after_help = "Exit code 1: the document is wrong, or one of its expectations fails.\n\n\
                      Examples:\n  \
                      ca-server policy plan policy.toml\n  \
                      ca-server policy plan - < policy.toml\n  \
                      ca-server policy plan policy.toml --json | jq -r .base"
    )]
    Plan {
        /// The document; `-` for standard input.
        file: PathBuf,
        /// Also where machines would be in no pool any longer.
        #[arg(long)]
        force: bool,
    },
    /// Make the policy what a document says, as a whole or not at all; shows the plan first and asks.
    #[command(
        after_help = "Refused when somebody changed the policy since the plan. In a pipeline, pin the policy that a person looked at:\n\
                      --base takes the `base` of `policy plan --json`.\n\
                      Exit code 3: applied, and some machines were not reached yet.\n\n\
                      Examples:\n  \
                      ca-server policy apply policy.toml\n  \
                      ca-server policy apply policy.toml --yes --base 3f9ac2d1"
    )]
    Apply {
        /// The document; `-` for standard input.
        file: PathBuf,
        /// Only if the policy is the one with this digest still (at least 8 of its characters).
        #[arg(long, value_name = "DIGEST", value_parser = digest)]
        base: Option<String>,
        /// Also where machines would be in no pool any longer.
        #[arg(long)]
        force: bool,
        /// Whether to ask.
        #[command(flatten)]
        consent: ConsentOption,
    },
    /// Write the policy as a document; applied again, it changes nothing.
    #[command(
        after_help = "Examples:\n  ca-server policy export > policy.toml\n  ca-server policy export --out policy.toml"
    )]
    Export {
        /// Into this file, by rename; standard output if not written.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Show who reaches what: employees and machines, with the grants that give it.
    #[command(
        after_help = "Shows all grants that have not ended, whatever the hour; --now shows what a login gives now.\n\n\
                      Examples:\n  \
                      ca-server policy matrix\n  \
                      ca-server policy matrix --pool production --csv > production.csv\n  \
                      ca-server policy matrix --employee alice@corp.example --now\n  \
                      ca-server policy matrix --csv=lines"
    )]
    Matrix {
        /// Only this employee (may be repeated).
        #[arg(long = "employee", value_name = "EMAIL", value_parser = name::<Email>)]
        employees: Vec<String>,
        /// Only the machines of this pool (may be repeated).
        #[arg(long = "pool", value_name = "POOL", value_parser = name::<PoolName>)]
        pools: Vec<String>,
        /// Only this machine (may be repeated).
        #[arg(long = "machine", value_name = "MACHINE", value_parser = name::<MachineName>)]
        machines: Vec<String>,
        /// Only what a login gives now: active people, open hours, a key that is in no security key.
        #[arg(long)]
        now: bool,
        /// As CSV.
        #[arg(long, value_enum, value_name = "FORM", num_args = 0..=1, require_equals = true, default_missing_value = "table",
              conflicts_with = "json")]
        csv: Option<CsvForm>,
    },
    /// Say whether somebody can log in to a machine now, why or why not, and what would change it.
    #[command(
        after_help = "Looks at every rule, and at the machine: its account, its configuration, its KRL.\n\
                      Exit code 1: no.\n\n\
                      Examples:\n  \
                      ca-server policy explain alice@corp.example web-1\n  \
                      ca-server policy explain alice@corp.example web-1 --account deploy"
    )]
    Explain {
        /// Who.
        #[arg(value_parser = name::<Email>)]
        email: String,
        /// Where.
        #[arg(value_parser = name::<MachineName>)]
        machine: String,
        /// As which account; any that they may use if not written.
        #[arg(long, value_name = "NAME", value_parser = name::<AccountName>)]
        account: Option<String>,
        /// With a key in a security key.
        #[arg(long)]
        security_key: bool,
    },
    /// Add what another tool's file says to the policy; shows the plan first and asks. Removes nothing.
    #[command(
        after_help = "Formats: keymgr's keys.cfg, SSH Handler's JSON, and authorized_keys (lists the static keys in it).\n\n\
                      Examples:\n  \
                      ca-server policy import keys.cfg --domain corp.example\n  \
                      ca-server policy import handler.json\n  \
                      ca-server policy import authorized_keys-web-1 --format authorized-keys"
    )]
    Import {
        /// The file; `-` for standard input.
        file: PathBuf,
        /// How it is written; by the file's name if not given.
        #[arg(long, value_enum, value_name = "FORMAT")]
        format: Option<ImportFormat>,
        /// What is put behind the @ where the file has only names of people.
        #[arg(long, value_name = "DOMAIN")]
        domain: Option<String>,
        /// Only if the policy is the one with this digest still.
        #[arg(long, value_name = "DIGEST", value_parser = digest)]
        base: Option<String>,
        /// Whether to ask.
        #[command(flatten)]
        consent: ConsentOption,
    },
}

impl PolicyVerb {
    /// The request that it means.
    ///
    /// # Errors
    /// A file that it names cannot be read.
    pub fn order(self) -> Result<Order, OrderError> {
        Ok(match self {
            Self::Plan { file, force } => {
                let (name, text) = document(&file)?;
                Order::new(AdminRequest::PolicyPlan { name, text, force })
            }
            Self::Apply {
                file,
                base,
                force,
                consent,
            } => {
                let (name, text) = document(&file)?;
                Order::new(AdminRequest::PolicyPlan { name, text, force }).then_apply(Apply {
                    base: base.map_or(Base::AsPlanned, Base::Pinned),
                    consent: consent.consent(),
                })
            }
            Self::Export { out } => {
                Order::new(AdminRequest::PolicyExport {}).into_sink(Sink::Document(out))
            }
            Self::Matrix {
                employees,
                pools,
                machines,
                now,
                csv,
            } => Order::new(AdminRequest::PolicyMatrix {
                employees,
                pools,
                machines,
                now,
                csv: csv.map(|form| {
                    match form {
                        CsvForm::Table => "table",
                        CsvForm::Lines => "lines",
                    }
                    .to_owned()
                }),
            }),
            Self::Explain {
                email,
                machine,
                account,
                security_key,
            } => Order::new(AdminRequest::PolicyExplain {
                email,
                machine,
                account,
                security_key,
            }),
            Self::Import {
                file,
                format,
                domain,
                base,
                consent,
            } => {
                let format = format
                    .or_else(|| ImportFormat::guess(&file))
                    .ok_or_else(|| OrderError::Unclear {
                        path: file.clone(),
                        what: "which format it has",
                        remedy: "say it with --format keymgr, ssh-handler or authorized-keys",
                    })?;
                let (name, text) = document(&file)?;
                Order::new(AdminRequest::PolicyImport {
                    name,
                    text,
                    format: format.word(),
                    domain,
                })
                .then_apply(Apply {
                    base: base.map_or(Base::AsPlanned, Base::Pinned),
                    consent: consent.consent(),
                })
            }
        })
    }
}

/// A file's name for messages, and its text.
fn document(file: &Path) -> Result<(String, String), OrderError> {
    let name = if file == Path::new("-") {
        "(standard input)".to_owned()
    } else {
        crate::cli::text::line(&file.display().to_string())
    };
    Ok((name, read_small(file, DOCUMENT, DOCUMENT_MAX_BYTES)?))
}

/// A digest of a policy, or its beginning.
fn digest(text: &str) -> Result<String, ValueError> {
    let fine = (8..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    fine.then(|| text.to_owned()).ok_or(ValueError {
        rule: "expected 8 to 64 hex digits, as `policy plan` prints them",
    })
}
