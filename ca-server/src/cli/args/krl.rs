//! `ca-server krl …`.

use std::path::PathBuf;

use ca_api::admin::{AdminRequest, RevokeTarget};
use clap::Subcommand;
use policies::Email;

use super::{fingerprint, name};
use crate::cli::order::{Order, OrderError, Sink, read_small};

/// No certificate is larger: sshd's own limit of a packet.
const CERTIFICATE_MAX_BYTES: u64 = 256 * 1024;

/// What to do with revocations.
#[derive(Debug, Clone, Subcommand)]
pub enum KrlVerb {
    /// Revoke everything that an employee holds, or one certificate, or a key; shows it proven machine by machine.
    #[command(
        group = clap::ArgGroup::new("target").required(true).args(["email", "serial", "key"]),
        after_help = "Everything of a person: certificates, sessions at the CA, live sessions on machines; login is closed until \
                      `employee resume`. The first line says when it is durable; then each machine is proven to refuse.\n\
                      Exit code 3: some machines were not reached; the table says until when the certificate works there.\n\n\
                      Examples:\n  \
                      ca-server krl revoke alice@corp.example --reason \"laptop stolen\"\n  \
                      ca-server krl revoke alice@corp.example --keep-login   # password and TOTP are safe\n  \
                      ca-server krl revoke --serial 3921843772\n  \
                      ca-server krl revoke --key SHA256:4f0sQUl0j1yLkY1ecb0gcl2fWcY8dQHn1hyp7kM1iGE"
    )]
    Revoke {
        /// Everything that this employee holds.
        #[arg(value_parser = name::<Email>)]
        email: Option<String>,
        /// One certificate, by its serial.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=i64::MAX as u64))]
        serial: Option<u64>,
        /// A key: no certificate on it works, and none is issued again.
        #[arg(long, value_name = "SHA256:…", value_parser = fingerprint)]
        key: Option<String>,
        /// Do not close the employee's login.
        #[arg(long, conflicts_with_all = ["serial", "key"])]
        keep_login: bool,
        /// Why, for the ledger.
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Show what is revoked, and on how many machines that is proven.
    #[command(
        after_help = "Exit code 3: some machines have not proven it yet.\n\nExample:\n  ca-server krl show"
    )]
    Show,
    /// Write the KRL, in OpenSSH's format, to a file.
    #[command(
        after_help = "Examples:\n  ca-server krl export revoked.krl\n  ssh-keygen -Q -l -f revoked.krl"
    )]
    Export {
        /// The file; `-` for standard output.
        file: PathBuf,
    },
    /// Is this certificate revoked?
    #[command(after_help = "Example:\n  ca-server krl check ~/.ssh/id_ed25519-cert.pub")]
    Check {
        /// A file with an OpenSSH certificate; `-` for standard input.
        #[arg(value_name = "CERT")]
        certificate: PathBuf,
    },
    /// Push the KRL to every machine again, and prove it.
    #[command(after_help = "Example:\n  ca-server krl push")]
    Push,
}

impl KrlVerb {
    /// The request that it means.
    ///
    /// # Errors
    /// The certificate's file cannot be read, or is something else.
    pub fn order(self) -> Result<Order, OrderError> {
        Ok(match self {
            Self::Revoke {
                email,
                serial,
                key,
                keep_login,
                reason,
            } => {
                let target = match (email, serial, key) {
                    (Some(email), _, _) => RevokeTarget::Employee(email),
                    (_, Some(serial), _) => RevokeTarget::Serial(serial),
                    (_, _, Some(key)) => RevokeTarget::Key(key),
                    (None, None, None) => unreachable!("the group `target` is required"),
                };
                Order::new(AdminRequest::KrlRevoke {
                    target,
                    keep_login,
                    reason,
                })
            }
            Self::Show => Order::new(AdminRequest::KrlShow {}),
            Self::Export { file } => {
                Order::new(AdminRequest::KrlExport {}).into_sink(Sink::Krl(file))
            }
            Self::Check { certificate } => {
                const WHAT: &str = "an OpenSSH certificate";
                let text = read_small(&certificate, WHAT, CERTIFICATE_MAX_BYTES)?;
                if ssh_key::Certificate::from_openssh(text.trim()).is_err() {
                    return Err(OrderError::NotThat {
                        path: certificate,
                        what: WHAT,
                    });
                }
                Order::new(AdminRequest::KrlCheck {
                    certificate: text.trim().to_owned(),
                })
            }
            Self::Push => Order::new(AdminRequest::KrlPush {}),
        })
    }
}
