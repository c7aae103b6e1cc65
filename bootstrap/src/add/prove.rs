//! The proofs at the end, with real logins: who must get in does, who must not does not, and the CA reaches the machine itself.

use std::{fs, io::Write, os::unix::fs::OpenOptionsExt, path::Path};

use ca_api::admin::{AdminReply, AdminRequest};
use ca_client::api::{AdminError, CallError};
use ca_machine::{
    Connection, Login, OpenError, Request, RunError, Target,
    report::{Event, Proof},
};
use policies::AccountName;
use rand_core::OsRng;
use ssh_key::{Algorithm, Certificate, LineEnding, PrivateKey};

use super::{
    Run,
    apply::{Confirmed, Entered},
    back::Back,
    prepare::Prepared,
};
use crate::{
    contact::{Contact, limits, run_hint},
    narrate::Narration,
    wanted::Wanted,
};

/// What is not as it must be.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// The CA did not give certificates for the proof.
    #[error("the CA did not give certificates for the proof: {0}")]
    Certificates(#[source] AdminError),
    /// What it gave cannot be used.
    #[error(
        "the CA's certificates for the proof cannot be used ({0}); are bootstrap and ca-server of the same version?"
    )]
    Unusable(&'static str),
    /// The key for the proof could not be kept for a moment.
    #[error("a file for the proof could not be written: {0}")]
    Folder(#[from] std::io::Error),
    /// The machine has no answer.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A good certificate does not get in.
    #[error("a certificate that must get in does not: {0}")]
    GoodRefused(#[source] OpenError),
    /// It got in, but something else answered.
    #[error("a certificate got in, but its forced command said {0:?}")]
    WrongAnswer(String),
    /// Somebody gets in who must not.
    #[error("a certificate {0} was let in, and must not be")]
    LetIn(&'static str),
    /// The machine's own sshd did not answer over loopback.
    #[error("the machine's sshd did not answer over loopback, so nothing is proven: {0}")]
    NoAnswer(String),
    /// The applier refused to try.
    #[error("the machine refused to try the proof ({0})")]
    Refused(String),
    /// A password could open an account of the CA.
    #[error(
        "sshd offers {methods:?} for {account}: only publickey may be offered for an account of the CA"
    )]
    Password {
        /// Which account.
        account: String,
        /// What sshd offers.
        methods: String,
    },
    /// The CA's own login failed, or what it read back is not right.
    #[error("the CA could not take the machine over: {0}")]
    HandOver(#[source] AdminError),
    /// The CA has no answer: whether it took the machine over is not known.
    #[error("the machine is ready, but it is not known whether the CA took it over: {0}")]
    HandOverUnknown(#[source] CallError),
    /// One of the above, and what became of the change.
    #[error("{error}; {back}")]
    PutBack {
        /// What was wrong.
        error: Box<ProveError>,
        /// Where the machine is now.
        back: Back,
    },
}

impl ProveError {
    /// With what became of the change.
    pub(super) fn put_back(error: Self, back: Back) -> Self {
        Self::PutBack {
            error: Box::new(error),
            back,
        }
    }

    pub(super) fn hint(&self) -> String {
        match self {
            Self::PutBack { error, .. } => error.hint(),
            Self::Run(error) => run_hint(error).to_owned(),
            Self::HandOver(AdminError::Failed(error) | AdminError::Call(CallError::Refused(error))) if !error.hint.is_empty() => error.hint.clone(),
            Self::HandOver(_) => "The CA's host must reach the machine's address and port itself; then run the command again.".to_owned(),
            Self::HandOverUnknown(_) => "Run the command again: it finishes what is missing and changes nothing else.".to_owned(),
            Self::Certificates(_) | Self::Unusable(_) | Self::Folder(_) => "Run the command again.".to_owned(),
            Self::GoodRefused(_) | Self::WrongAnswer(_) | Self::LetIn(_) | Self::NoAnswer(_) | Self::Refused(_) | Self::Password { .. } => {
                "Look into sshd's log on the machine (journalctl -u ssh) and its sshd_config, then run the command again.".to_owned()
            }
        }
    }
}

/// The real logins.
pub(super) async fn prove(
    run: &Run,
    wanted: &Wanted,
    contact: &Contact,
    prepared: &Prepared,
    entered: &Entered,
    told: &mut Narration,
) -> Result<(), ProveError> {
    let key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519)
        .map_err(|_| ProveError::Unusable("no key could be made"))?;
    let public_key = key
        .public_key()
        .to_openssh()
        .map_err(|_| ProveError::Unusable("no key could be made"))?;
    let request = AdminRequest::MachineProbe {
        machine: wanted.name.to_string(),
        public_key,
    };
    let reply = run
        .door
        .ask(&request, |_| {})
        .await
        .map_err(ProveError::Certificates)?;
    let AdminReply::ProbeCertificates(certificates) = reply else {
        return Err(ProveError::Unusable("another answer"));
    };
    let account: AccountName = certificates
        .account
        .parse()
        .map_err(|_| ProveError::Unusable("the account"))?;

    told.doing("a good certificate");
    good_gets_in(contact, &account, &key, &certificates.good).await?;
    told.did("a good certificate gets in");

    // Over loopback, since sshd may punish the address that refused logins come from (PerSourcePenalties). The good one shows first
    // that this way accepts at all.
    let loopback = Loopback {
        contact,
        entered,
        key: &key,
    };
    if !loopback
        .tries(&account, Some(&certificates.good))
        .await?
        .accepted
    {
        return Err(ProveError::NoAnswer(
            "it refuses the good certificate there".to_owned(),
        ));
    }
    told.doing("certificates that must be refused");
    for (certificate, what) in [
        (&certificates.other_pool, "for another pool"),
        (&certificates.revoked, "that is revoked"),
    ] {
        if loopback.tries(&account, Some(certificate)).await?.accepted {
            return Err(ProveError::LetIn(what));
        }
    }
    told.did("a certificate for another pool is refused, and a revoked one too");

    let sample = prepared
        .reply
        .sample_account
        .as_deref()
        .map(str::parse)
        .transpose();
    let sample: AccountName = sample
        .map_err(|_| ProveError::Unusable("the sample account"))?
        .unwrap_or(account);
    let proof = loopback.tries(&sample, None).await?;
    if proof.accepted {
        return Err(ProveError::LetIn("that does not exist (a bare key)"));
    }
    if proof.methods != "publickey" {
        return Err(ProveError::Password {
            account: sample.to_string(),
            methods: proof.methods,
        });
    }
    told.did(&format!("no password opens {sample}"));
    if let Some(key) = &wanted.admin_key {
        admin_gets_in(contact, wanted, key, told).await;
    }
    Ok(())
}

/// A new connection from here, as an employee's would be.
async fn good_gets_in(
    contact: &Contact,
    account: &AccountName,
    key: &PrivateKey,
    certificate: &str,
) -> Result<(), ProveError> {
    let folder = tempfile::Builder::new().prefix("ssh-ca-proof-").tempdir()?;
    let pem = key
        .to_openssh(LineEnding::LF)
        .map_err(|_| ProveError::Unusable("no key could be made"))?;
    let (key_path, certificate_path) = (
        folder.path().join("key"),
        folder.path().join("key-cert.pub"),
    );
    write_private(&key_path, pem.as_bytes())?;
    write_private(
        &certificate_path,
        format!("{}\n", certificate.trim_end()).as_bytes(),
    )?;
    let target = Target {
        user: account.to_string(),
        login: Login::Certificate {
            key: key_path,
            certificate: certificate_path,
        },
        ..contact.target.clone()
    };
    let connection = Connection::open(&target, limits())
        .await
        .map_err(ProveError::GoodRefused)?;
    let said = connection.forced_output().await?;
    if said.trim() == account.as_str() {
        Ok(())
    } else {
        Err(ProveError::WrongAnswer(
            said.trim().chars().take(80).collect(),
        ))
    }
}

fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)
}

/// Logins from the machine to itself.
struct Loopback<'a> {
    contact: &'a Contact,
    entered: &'a Entered,
    key: &'a PrivateKey,
}

impl Loopback<'_> {
    async fn tries(
        &self,
        account: &AccountName,
        certificate: Option<&str>,
    ) -> Result<Proof, ProveError> {
        let certificate =
            certificate.map(|text| Certificate::from_openssh(text.trim()).map(Box::new));
        let certificate = certificate
            .transpose()
            .map_err(|_| ProveError::Unusable("a certificate"))?;
        let request = Request::Prove {
            account: account.clone(),
            key: Box::new(self.key.clone()),
            certificate,
        };
        let report = self
            .entered
            .connection
            .first_contact(&request, &self.contact.privilege)
            .await?;
        if let Some((code, detail)) = report.refusal() {
            return Err(ProveError::Refused(format!("{code}: {detail}")));
        }
        match report.proof() {
            Some(proof) if proof.answered => Ok(proof.clone()),
            Some(proof) => Err(ProveError::NoAnswer(proof.detail.clone())),
            None => Err(ProveError::NoAnswer("no answer came".to_owned())),
        }
    }
}

/// The account that was made for the admins: tried where its key is at hand.
async fn admin_gets_in(
    contact: &Contact,
    wanted: &Wanted,
    key: &ssh_key::PublicKey,
    told: &mut Narration,
) {
    let login = Login::Agent {
        socket: None,
        key: Some(Box::new(key.clone())),
    };
    let target = Target {
        user: wanted.admin.to_string(),
        login,
        ..contact.target.clone()
    };
    match Connection::open(&target, limits()).await {
        Ok(_) => told.did(&format!("{} was made, and its key gets in", wanted.admin)),
        Err(error) => told.warn(&format!(
            "{} was made, but its login could not be tried from here: {error}",
            wanted.admin
        )),
    }
}

/// The machine fetches once while somebody looks on. Where it does not get through yet (the tree is published afterwards, a name does not
/// resolve there) its timer goes on trying.
pub(super) async fn fetches(contact: &Contact, confirmed: &Confirmed, told: &mut Narration) {
    let report = confirmed
        .connection
        .first_contact(&Request::Pull, &contact.privilege)
        .await;
    match report {
        Ok(report) => match report.refusal() {
            None if report.events.iter().any(
                |event| matches!(event, Event::Did { name, .. } if name == "reported"),
            ) =>
            {
                told.did("it fetches for itself, and has reported to the CA");
            }
            None => told.warn(
                "it fetches for itself, but could not report to the CA: until it can, nothing is proven by that",
            ),
            Some((code, detail)) => told.warn(&format!(
                "it does not get what it fetches yet ({code}): {detail}; its timer goes on trying"
            )),
        },
        Err(error) => told.warn(&format!("it could not be told to fetch: {error}")),
    }
}

/// The CA logs in as `ssh-ca-sync` itself and reads back: from then on it keeps the machine.
pub(super) async fn hand_over(
    run: &Run,
    wanted: &Wanted,
    prepared: &Prepared,
    confirmed: &Confirmed,
    told: &mut Narration,
) -> Result<(), ProveError> {
    let request = AdminRequest::MachineConfirm {
        machine: wanted.name.to_string(),
        generation: prepared.reply.generation,
        krl_version: confirmed.state.krl_version,
    };
    match run.door.ask(&request, |note| told.did(note)).await {
        Ok(AdminReply::Machine(machine))
            if machine
                .pull
                .as_ref()
                .is_some_and(|pull| pull.reach == "pull only") =>
        {
            told.warn("the CA does not log in there: what is revoked counts as proven on this machine only after it has reported it itself");
            Ok(())
        }
        Ok(AdminReply::Machine(machine)) => {
            told.did(&format!(
                "the CA logged in itself and keeps it now: generation {}, KRL version {}",
                machine.generation, machine.krl_version
            ));
            Ok(())
        }
        Ok(_) => Err(ProveError::Unusable("another answer")),
        Err(AdminError::Call(error)) if error.refusal().is_none() => {
            Err(ProveError::HandOverUnknown(error))
        }
        Err(error) => Err(ProveError::HandOver(error)),
    }
}
