//! What the CA wants on the machine: asked for, and checked before it is sent there.

use base64::{Engine, prelude::BASE64_STANDARD};
use ca_api::admin::{
    AdminReply, AdminRequest, MachinePrepare, MachinePrepared, MachinePull, MachineSeen,
};
use ca_client::api::{AdminError, CallError};
use ca_machine::{
    Bundle, Delivery, FirstContact, Namespace, Place, Request, RunError, Signed, Succession, Trust,
    bundle::{AccountState, DecodeBundleError, Origin},
    preflight::Facts,
    pull::PullSecret,
    sign::SignError,
};
use policies::AccountName;
use ssh_key::PublicKey;

use super::Run;
use crate::{
    contact::{Contact, Rebuilt},
    wanted::{Fetch, Wanted},
};

/// Whether the CA writes anything down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writes {
    /// It does not.
    Nothing,
    /// It reserves the machine's place and its generation.
    Reserve,
}

/// Why there is nothing to apply. Nothing was changed on the machine.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The CA could not be asked, or said no.
    #[error("the CA: {0}; nothing was changed on the machine")]
    Ask(#[from] AdminError),
    /// An answer to another question.
    #[error(
        "the CA answered another question than it was asked; are bootstrap and ca-server of the same version?"
    )]
    Answer,
    /// Not base64, or not a key.
    #[error(
        "the CA sent {0} that cannot be read; are bootstrap and ca-server of the same version?"
    )]
    Unreadable(&'static str),
    /// A signature that does not hold.
    #[error(
        "the CA sent {what} whose signature does not hold: {source}; nothing was sent to the machine"
    )]
    Signature {
        /// What.
        what: &'static str,
        /// Why.
        source: SignError,
    },
    /// The machine does not say where it stands.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The bundle is none.
    #[error("the CA sent a bundle that cannot be read: {0}; nothing was sent to the machine")]
    Bundle(#[from] DecodeBundleError),
    /// The bundle is for another machine or generation.
    #[error(
        "the CA sent the bundle of {machine}, generation {generation}: that is not the one that was asked for; nothing was sent"
    )]
    Foreign {
        /// Whose it is.
        machine: String,
        /// Its generation.
        generation: u64,
    },
}

impl PrepareError {
    pub(super) fn hint(&self) -> String {
        match self {
            Self::Ask(AdminError::Failed(error) | AdminError::Call(CallError::Refused(error))) => {
                error.hint.clone()
            }
            Self::Ask(AdminError::Call(_)) => {
                "Check that the CA runs and is reached from here, then run the command again."
                    .to_owned()
            }
            Self::Run(error) => crate::contact::run_hint(error).to_owned(),
            _ => String::new(),
        }
    }
}

/// What to apply, checked.
pub(super) struct Prepared {
    pub(super) reply: MachinePrepared,
    bundle: Bundle,
    signed_bundle: Signed,
    signed_krl: Signed,
    fleet_keys: Vec<PublicKey>,
    successions: Vec<Signed>,
    trust: Trust,
    pull_secret: Option<PullSecret>,
}

pub(super) async fn prepare(
    run: &Run,
    wanted: &Wanted,
    contact: &Contact,
    facts: &Facts,
    writes: Writes,
) -> Result<Prepared, PrepareError> {
    let seen = match run.rebuilt {
        Rebuilt::PersonSaysSo => Some(seen(contact).await?),
        Rebuilt::No => None,
    };
    let text = |key: &PublicKey| {
        key.to_openssh()
            .map_err(|_| PrepareError::Unreadable("a key"))
    };
    let request = MachinePrepare {
        machine: wanted.name.to_string(),
        address: contact.address.host.clone(),
        port: contact.target.port,
        pools: wanted.pools.iter().map(ToString::to_string).collect(),
        host_key: text(&contact.key_to_pin(facts))?,
        admin_account: wanted.admin.to_string(),
        admin_key: wanted.admin_key.as_ref().map(text).transpose()?,
        adopt: wanted.adopt.iter().map(ToString::to_string).collect(),
        sshd_version: format!("OpenSSH_{}", facts.openssh),
        facts: serde_json::to_string(facts).expect("facts are texts and numbers"),
        rebuilt: run.rebuilt == Rebuilt::PersonSaysSo,
        seen,
        dry_run: writes == Writes::Nothing,
        pull: wanted.pull.as_ref().map(|fetch| MachinePull {
            tree: match fetch {
                Fetch::FromCa => None,
                Fetch::FromTree(url) => Some(url.to_string()),
            },
        }),
    };
    let reply = run
        .door
        .ask(&AdminRequest::MachinePrepare(request), |_| {})
        .await?;
    let AdminReply::MachinePrepared(reply) = reply else {
        return Err(PrepareError::Answer);
    };
    let trust = match run.rebuilt {
        Rebuilt::No => Trust::IfNone,
        Rebuilt::PersonSaysSo => Trust::Replace {
            succession: reply.succession,
        },
    };
    Prepared::check(reply, wanted, trust)
}

/// What the machine has seen so far, by its own word.
async fn seen(contact: &Contact) -> Result<MachineSeen, PrepareError> {
    let connection = &contact.connection;
    let report = connection
        .first_contact(&Request::Report, &contact.privilege)
        .await?;
    let state = report.state().cloned().unwrap_or_default();
    Ok(MachineSeen {
        generation: state.generation,
        bundle_sha256: if state.applied_generation == state.generation {
            state.bundle_sha256
        } else {
            String::new()
        },
        krl_version: state.krl_version,
        krl_sha256: state.krl_sha256,
    })
}

impl Prepared {
    fn check(reply: MachinePrepared, wanted: &Wanted, trust: Trust) -> Result<Self, PrepareError> {
        let bytes = |text: &str, what| {
            BASE64_STANDARD
                .decode(text)
                .map_err(|_| PrepareError::Unreadable(what))
        };
        let fleet_keys: Result<Vec<_>, _> = reply
            .fleet_keys
            .iter()
            .map(|key| PublicKey::from_openssh(key))
            .collect();
        let fleet_keys = fleet_keys.map_err(|_| PrepareError::Unreadable("a fleet key"))?;
        let signed = |what, namespace, object, signature: &str| {
            Signed::from_parts(namespace, object, signature.to_owned(), &fleet_keys)
                .map_err(|source| PrepareError::Signature { what, source })
        };
        let successions: Result<Vec<_>, _> = reply
            .successions
            .iter()
            .map(|link| {
                let object = link.object.as_bytes();
                let old = Succession::decode(object)
                    .map_err(|_| PrepareError::Unreadable("a succession"))?
                    .old;
                Signed::from_parts(
                    Namespace::Succession,
                    object.to_vec(),
                    link.signature.clone(),
                    &[old],
                )
                .map_err(|source| PrepareError::Signature {
                    what: "a succession",
                    source,
                })
            })
            .collect();
        let successions = successions?;
        let pull_secret = reply
            .pull_secret
            .as_ref()
            .map(|secret| secret.expose().parse())
            .transpose()
            .map_err(|_| PrepareError::Unreadable("a secret to fetch with"))?;
        let object = bytes(&reply.bundle, "a bundle")?;
        let bundle = Bundle::decode(&object)?;
        if bundle.machine != wanted.name || bundle.generation != reply.generation {
            return Err(PrepareError::Foreign {
                machine: bundle.machine.to_string(),
                generation: bundle.generation,
            });
        }
        let signed_bundle = signed(
            "a bundle",
            Namespace::Bundle,
            object,
            &reply.bundle_signature,
        )?;
        let signed_krl = signed(
            "a KRL",
            Namespace::Krl,
            bytes(&reply.krl, "a KRL")?,
            &reply.krl_signature,
        )?;
        Ok(Self {
            reply,
            bundle,
            signed_bundle,
            signed_krl,
            fleet_keys,
            successions,
            trust,
            pull_secret,
        })
    }

    /// The accounts that it makes or adopts, for the preflight.
    pub(super) fn accounts(&self) -> Vec<(AccountName, Option<u32>)> {
        let active = self
            .bundle
            .accounts
            .iter()
            .filter(|(_, account)| account.state == AccountState::Active);
        active
            .filter(|(_, account)| account.origin != Origin::System)
            .map(|(name, account)| {
                (
                    name.clone(),
                    account.uid.filter(|_| account.origin == Origin::Made),
                )
            })
            .collect()
    }

    /// Whether the machine fetches for itself from then on.
    pub(super) fn fetches(&self) -> bool {
        self.bundle.files.contains_key(&Place::Puller)
    }

    /// Both lanes, with what only the first contact brings.
    pub(super) fn delivery(&self, wanted: &Wanted) -> Delivery {
        Delivery {
            successions: self.successions.clone(),
            krl: Some(self.signed_krl.clone()),
            bundle: Some(self.signed_bundle.clone()),
            first: Some(FirstContact {
                fleet_keys: self.fleet_keys.clone(),
                trust: self.trust,
                admin: wanted
                    .admin_key
                    .clone()
                    .map(|key| (wanted.admin.clone(), key)),
                pull_secret: self.pull_secret.clone(),
            }),
        }
    }
}
