//! `ca-server ca …`.

use std::ffi::OsStr;

use ca_api::admin::{AdminRequest, CaKey, Pace};
use clap::{
    Subcommand, ValueEnum,
    builder::{PossibleValue, StringValueParser, TypedValueParser},
    error::{ContextKind, ContextValue, ErrorKind},
};
use policies::MachineName;

use super::name;
use crate::{
    cli::{
        args,
        order::{ConsentOption, Order},
        passphrase::{PassphraseError, token_pin},
    },
    signer::SignerSpec,
};

/// A key that can be replaced, as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Key {
    /// Signs employees' certificates.
    User,
    /// Signs machines' certificates.
    Host,
    /// Signs what the CA sends to machines: configuration, revocations, orders.
    Fleet,
    /// The server's own TLS CA, which employees' clients have pinned.
    Tls,
}

impl From<Key> for CaKey {
    fn from(key: Key) -> Self {
        match key {
            Key::User => Self::User,
            Key::Host => Self::Host,
            Key::Fleet => Self::Fleet,
            Key::Tls => Self::Tls,
        }
    }
}

/// Parses what `ca compromise` takes: completions offer the words, and names and fingerprints are as good.
#[derive(Debug, Clone, Copy)]
pub struct Lost;

impl TypedValueParser for Lost {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        let text = StringValueParser::new().parse_ref(command, arg, value)?;
        if is_key(&text) {
            return Ok(text);
        }
        let mut error = clap::Error::new(ErrorKind::ValueValidation).with_cmd(command);
        if let Some(arg) = arg {
            error.insert(
                ContextKind::InvalidArg,
                ContextValue::String(arg.to_string()),
            );
        }
        error.insert(ContextKind::InvalidValue, ContextValue::String(text));
        Err(error)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let words = Key::value_variants().iter();
        Some(Box::new(words.filter_map(Key::to_possible_value)))
    }
}

/// Is it a word for all keys of a purpose, the name of one, or a fingerprint?
fn is_key(text: &str) -> bool {
    let (name, number) = text.split_once('.').unwrap_or((text, "1"));
    let numbered = number.parse::<u32>().is_ok();
    let named = ["user_ca", "host_ca", "fleet", "tls"].contains(&name) && numbered;
    let print = text.strip_prefix("SHA256:");
    named || ["user", "host"].contains(&text) || print.is_some_and(|print| print.len() == 43)
}

/// What to do with the CA's own keys.
#[derive(Debug, Clone, Subcommand)]
pub enum CaVerb {
    /// Show every key of the CA: which signs, which is next, which is on its way out, and who is waited for.
    #[command(after_help = "Example:\n  ca-server ca list")]
    List,
    /// Replace a key without one failed login: begins, or goes on.
    #[command(
        after_help = "The next key is made and brought to every machine (for `host`: to every employee, with login and renewal). \
                      When all have confirmed that they trust it, it signs; the old one stays trusted until the last certificate \
                      that it signed has ended, and is then taken out everywhere and deleted. The server goes on by itself; with \
                      --step, each command takes one step, and it waits in between.\n\
                      `fleet`: the new key signs at once, since the old one names it and each machine is led from one to the \
                      other, also one that is off now. `tls`: likewise, and clients learn it with login or renewal; \
                      `ca retire tls` ends it.\n\
                      Exit code 3: somebody has not confirmed yet. Give the command again to see how it stands.\n\n\
                      Examples:\n  \
                      ca-server ca rotate user\n  \
                      ca-server ca rotate user --leave-behind old-1   # it is off, and gets the key when it is back\n  \
                      ca-server ca rotate host --step"
    )]
    Rotate {
        /// Which key.
        key: Key,
        /// Do not wait for this machine: it refuses the new key until it is reached.
        #[arg(long, value_name = "MACHINE", value_parser = name::<MachineName>)]
        leave_behind: Vec<String>,
        /// Take one step; the next one waits for the next command.
        #[arg(long, conflicts_with = "auto")]
        step: bool,
        /// Go on by itself (this is what happens without --step; it ends step by step where that was begun).
        #[arg(long)]
        auto: bool,
        /// Where the next key is to be, if not in a file: agent:/path/to/socket, or
        /// pkcs11:token=LABEL?module-path=/path/to/module.so (it is made there). On the CA's own host only.
        #[arg(long, value_name = "SIGNER")]
        signer: Option<SignerSpec>,
    },
    /// Bring a key into another back end: the same key, so that nothing changes for anybody. On the CA's own host only.
    #[command(
        after_help = "The key must sign in its new place before anything is changed. A token takes a key from its file, if it \
                      takes keys at all; an agent must have it already (`ssh-add keys/user_ca`). The old file is kept, \
                      encrypted, as keys/user_ca.moved: it is the way back (--signer file), until you delete it. A key that was \
                      made in a token cannot leave it: `ca rotate` makes another one elsewhere.\n\n\
                      Examples:\n  \
                      ca-server ca move user --signer \"pkcs11:token=ca?module-path=/usr/lib/softhsm/libsofthsm2.so\"\n  \
                      ca-server ca move host --signer agent:/run/ca/agent.sock\n  \
                      ca-server ca move user --signer file"
    )]
    Move {
        /// Which key.
        key: args::CaKey,
        /// Where to.
        #[arg(long, value_name = "SIGNER")]
        signer: SignerSpec,
    },
    /// Emergency: somebody else has this key. It is revoked as a whole, and a new one signs at once.
    #[command(
        after_help = "With a word, every such key that anybody trusts (the one that signs, the next one, those that retire) goes into \
                      the KRL, so that machines refuse all that it ever signed, also what this CA knows nothing of. Another key \
                      signs at once. With the name of one key, that one alone: if it does not sign, the one that does goes on. The \
                      first fleet and TLS keys are fleet.1 and tls.1 here. Machines that are not reached accept the old key until \
                      they are: they are named, and the exit code is 3. Employees get new certificates with `ca-client renew`.\n\n\
                      Examples:\n  \
                      ca-server ca compromise user --reason \"key file copied\"\n  \
                      ca-server ca compromise host_ca.2"
    )]
    Compromise {
        /// Which: all keys of a purpose (user, host, fleet, tls), or one by its name in `ca list`, or its fingerprint.
        #[arg(value_parser = Lost)]
        key: String,
        /// Why, for the ledger.
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
        /// Whether to ask.
        #[command(flatten)]
        consent: ConsentOption,
    },
    /// Take an old key out, as far as that may be: what it signed must have ended, and machines must have confirmed.
    #[command(after_help = "Example:\n  ca-server ca retire user_ca --leave-behind old-1")]
    Retire {
        /// Its name, as `ca list` shows it, or its fingerprint.
        key: String,
        /// Do not wait for this machine.
        #[arg(long, value_name = "MACHINE", value_parser = name::<MachineName>)]
        leave_behind: Vec<String>,
    },
}

impl CaVerb {
    /// The request that it means.
    ///
    /// # Errors
    /// When a token's PIN is needed, and nobody is there to be asked.
    pub fn order(self) -> Result<Order, PassphraseError> {
        Ok(match self {
            Self::List => Order::new(AdminRequest::CaList {}),
            Self::Move { key, signer } => Order::new(AdminRequest::CaMove {
                key: match key {
                    args::CaKey::User => CaKey::User,
                    args::CaKey::Host => CaKey::Host,
                    args::CaKey::Fleet => CaKey::Fleet,
                },
                pin: token_pin(&signer)?,
                signer: signer.to_string(),
            }),
            Self::Rotate {
                key,
                leave_behind,
                step,
                auto: _,
                signer,
            } => Order::new(AdminRequest::CaRotate {
                key: key.into(),
                leave_behind,
                pace: if step { Pace::Step } else { Pace::Auto },
                pin: match &signer {
                    Some(signer) => token_pin(signer)?,
                    None => None,
                },
                signer: signer.map(|signer| signer.to_string()),
            }),
            Self::Compromise {
                key,
                reason,
                consent,
            } => {
                let question = match key.as_str() {
                    "fleet" => {
                        "Give up the fleet key? No machine takes a revocation until you have run `bootstrap add-machine NAME --resync` for it."
                            .to_owned()
                    }
                    "tls" => {
                        "Give up the TLS CA? Nobody can log in or renew until they have run `ca-client setup` again.".to_owned()
                    }
                    "host" => {
                        "Revoke the host CA key? Employees' ssh refuses every machine until they have renewed.".to_owned()
                    }
                    "user" => {
                        "Revoke the user CA key? Every certificate of every employee is refused from now on, until they renew.".to_owned()
                    }
                    one => format!("Give up {one} alone? Nothing that it signed counts from now on; `ca-server ca list` shows what it is."),
                };
                Order::new(AdminRequest::CaCompromise { key, reason })
                    .asking(consent.consent(), question)
            }
            Self::Retire { key, leave_behind } => {
                Order::new(AdminRequest::CaRetire { key, leave_behind })
            }
        })
    }
}
