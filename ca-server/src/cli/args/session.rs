//! `ca-server session …`.

use ca_api::admin::AdminRequest;
use clap::Subcommand;
use policies::Email;

use super::{ValueError, fleet::Selection, name};
use crate::cli::order::{ConsentOption, Order};

/// What to do with live ssh sessions on machines.
#[derive(Debug, Clone, Subcommand)]
pub enum SessionVerb {
    /// List live sessions, with the certificate behind each.
    #[command(
        after_help = "Who is behind a session comes from a record that root made at its start. Without one (the session is older than the CA \
                      there, or the disk was full) it is listed as unknown.\n\
                      Exit code 3: some machines were not reached.\n\n\
                      Examples:\n  ca-server session list\n  ca-server session list web-1\n  ca-server session list --employee alice@corp.example"
    )]
    List {
        /// On which machines.
        #[command(flatten)]
        selection: Selection,
        /// On these machines too (the same as naming them).
        #[arg(long = "machine", value_name = "MACHINE", value_parser = name::<policies::MachineName>)]
        machine: Vec<String>,
        /// Only those of this employee's certificates, and those that nobody can attribute.
        #[arg(long, value_name = "EMAIL", value_parser = name::<Email>)]
        employee: Option<String>,
    },
    /// End sessions, with all that runs in them.
    #[command(
        after_help = "The certificate behind a session still works afterwards: to end that, ca-server krl revoke.\n\n\
                      Example:\n  ca-server session end web-1:4711-889"
    )]
    End {
        /// Which, as `session list` shows them.
        #[arg(value_name = "ID", required = true, value_parser = session_id)]
        ids: Vec<String>,
        /// Whether to ask.
        #[command(flatten)]
        consent: ConsentOption,
    },
}

/// `MACHINE:PID-STARTED`.
fn session_id(text: &str) -> Result<String, ValueError> {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let fine = text.split_once(':').is_some_and(|(machine, rest)| {
        name::<policies::MachineName>(machine).is_ok()
            && rest
                .split_once('-')
                .is_some_and(|(pid, started)| number(pid) && number(started))
    });
    fine.then(|| text.to_owned()).ok_or(ValueError {
        rule: "expected MACHINE:PID-STARTED, as `ca-server session list` shows it",
    })
}

impl SessionVerb {
    /// The request that it means.
    #[must_use]
    pub fn order(self) -> Order {
        match self {
            Self::List {
                selection,
                machine,
                employee,
            } => Order::new(AdminRequest::SessionList {
                machines: [selection.machines, machine].concat(),
                pool: selection.pool,
                employee,
            }),
            Self::End { ids, consent } => {
                let question = match ids.as_slice() {
                    [one] => format!("End the session {one}, with all that runs in it?"),
                    many => format!("End {} sessions, with all that runs in them?", many.len()),
                };
                Order::new(AdminRequest::SessionEnd { ids }).asking(consent.consent(), question)
            }
        }
    }
}
