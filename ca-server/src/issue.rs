//! From a decision to a certificate, in an order that the types do not let anybody skip.
//!
//! | step | type | what is true then |
//! |---|---|---|
//! | decide (`policies`) | `Order` | each principal is granted by current policy (I3) |
//! | [`prepare`] | [`Prepared`] | every field but the signature is fixed |
//! | [`Rehearsal::lint`] | [`Linted`] | a certificate signed by a throw-away key was parsed again and is what was decided (I4) |
//! | [`record`] | [`Recorded`] | the intent with its serial is in the store, with its ledger entry, in the transaction that found the policy unchanged (I3, I6) |
//! | [`sign`] | [`Signed`] | the CA key signed, and what it returned was parsed again and is what was decided |
//! | [`conclude`] | [`Issued`] | the outcome is durable: it may leave |
//!
//! The order survives a power cut at any point: an intent without an outcome counts as issued, so whatever a CA key may
//! have signed can be listed and revoked. No ledger entry, no signature; no outcome, no answer.

pub mod probe;

use std::sync::Arc;

use policies::{
    Blueprint, BlueprintError, Email, KeyId, LintError, MachineName, Order, Subject, lint,
};
use rand_core::{OsRng, RngCore};
use ssh_key::{Algorithm, HashAlg, PrivateKey};

use crate::{
    ca::{Ca, random_serial, sha256_hex, unix_ms},
    clock::Doubt,
    keys::{Held, Keys, KeysError},
    ledger::{Actor, CertificateKind, Event},
    records::{CertificateRecord, CertificateState, by_employee_key},
    signer::{self, Attempt, FileSigner, Signer, SignerError},
    store::{Read, ReadError, Revision, StoreError, Table, TableGroup, Txn, WriteError},
};

/// A certificate cannot be issued. Nothing was handed out.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The rehearsal found that the certificate would not be what was decided.
    #[error("the certificate was refused before signing: {0}")]
    Rehearsal(#[source] LintError),
    /// What the CA key signed is not what was decided.
    #[error("the certificate was refused after signing: {0}")]
    Signed(#[source] LintError),
    /// The signer.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// `ssh-key` cannot put the certificate together.
    #[error("the certificate cannot be encoded: {0}")]
    Encode(#[source] ssh_key::Error),
    /// The decision is not for this kind of key.
    #[error("the certificate was refused: {0}")]
    Blueprint(#[from] BlueprintError),
    /// The CA's own keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The clock cannot be believed (Z5).
    #[error(transparent)]
    Clock(#[from] Doubt),
    /// The instance epoch in the store is not one.
    #[error("the CA's instance epoch is not usable: restore from a backup")]
    Epoch,
}

/// Why an intent was not recorded; the transaction left nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RecordError {
    /// The store.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A serial was drawn that exists: prepare again.
    #[error("the serial exists already")]
    SerialTaken,
    /// A key of the CA was replaced since this was prepared: prepare again, for the key that signs now (K3).
    #[error("the CA's keys changed meanwhile")]
    KeysChanged,
}

/// Certificates whose every field is fixed.
pub struct Prepared {
    kind: CertificateKind,
    blueprints: Vec<Blueprint>,
}

/// Certificates that passed the rehearsal.
#[derive(Clone)]
pub struct Linted {
    kind: CertificateKind,
    blueprints: Arc<[Blueprint]>,
}

/// Certificates whose intent is durable, once the transaction that made this is.
pub struct Recorded {
    blueprints: Arc<[Blueprint]>,
    signer: Arc<dyn Signer>,
}

/// The key that is to sign, and how the CA's keys stood when it was chosen.
#[derive(Clone)]
pub struct SignedBy {
    signer: Arc<dyn Signer>,
    fingerprint: String,
    revision: Revision,
}

impl SignedBy {
    /// The key that signs certificates of this kind.
    #[must_use]
    pub fn current(keys: &Keys, kind: CertificateKind) -> Self {
        let ring = match kind {
            CertificateKind::Host => &keys.host_ca,
            CertificateKind::User | CertificateKind::Probe | CertificateKind::Canary => {
                &keys.user_ca
            }
        };
        Self {
            signer: Arc::clone(ring.current()),
            fingerprint: ring.current_held().fingerprint().to_owned(),
            revision: keys.revision(),
        }
    }

    /// This key of the ring, whether or not it signs yet: for canaries, which open nothing. `None` if it cannot be opened.
    #[must_use]
    pub fn held(keys: &Keys, held: &Held) -> Option<Self> {
        Some(Self {
            signer: Arc::clone(held.signer()?),
            fingerprint: held.fingerprint().to_owned(),
            revision: keys.revision(),
        })
    }
}

/// Certificates that are signed and checked, and may not leave yet.
pub struct Signed {
    certificates: Vec<(u64, String)>,
}

/// Certificates that may leave: OpenSSH text.
pub struct Issued {
    certificates: Vec<String>,
}

impl Issued {
    /// The certificates, in the order of their orders.
    #[must_use]
    pub fn into_texts(self) -> Vec<String> {
        self.certificates
    }
}

/// The dress rehearsal: a key that nobody trusts signs first.
pub struct Rehearsal {
    stand_in: FileSigner,
}

impl Default for Rehearsal {
    fn default() -> Self {
        Self::new()
    }
}

impl Rehearsal {
    /// With a fresh throw-away key.
    #[must_use]
    pub fn new() -> Self {
        let key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519)
            .expect("an Ed25519 key needs only randomness");
        Self {
            stand_in: FileSigner::new(key),
        }
    }

    /// Signs with the throw-away key, parses the result again, and compares it with what was decided.
    ///
    /// # Errors
    /// The first difference.
    pub fn lint(&self, prepared: Prepared) -> Result<Linted, IssueError> {
        for blueprint in &prepared.blueprints {
            let text = sign_one(&self.stand_in, blueprint)?;
            lint(&text, blueprint, self.stand_in.public_key()).map_err(IssueError::Rehearsal)?;
        }
        Ok(Linted {
            kind: prepared.kind,
            blueprints: prepared.blueprints.into(),
        })
    }
}

/// Fixes every field of the certificates for `orders`, for one key.
///
/// # Errors
/// When the instance epoch is not usable, or the key is not of the kind that the orders demand.
pub fn prepare(
    orders: &[Order],
    subject: &Subject,
    instance_epoch: u32,
) -> Result<Prepared, IssueError> {
    let blueprints = orders
        .iter()
        .map(|order| {
            let serial = random_serial(instance_epoch).ok_or(IssueError::Epoch)?;
            Ok(Blueprint::of(order, serial, subject)?)
        })
        .collect::<Result<_, IssueError>>()?;
    Ok(Prepared {
        kind: CertificateKind::User,
        blueprints,
    })
}

/// Records the intent inside a transaction. Call it only where the same transaction has found the decision current (I3).
/// The key that signs is the one of this very transaction: when a key has stopped signing, every intent under it is known (K4).
///
/// # Errors
/// When a serial exists already, or the CA's keys changed since they were looked at.
pub fn record(
    txn: &mut Txn<'_>,
    linted: &Linted,
    by: &SignedBy,
    actor: &Actor,
    at_unix_ms: i64,
) -> Result<Recorded, RecordError> {
    if txn.revision(TableGroup::Keys)? != by.revision {
        return Err(RecordError::KeysChanged);
    }
    for blueprint in linted.blueprints.iter() {
        let serial = blueprint.serial().number();
        if txn.contains(Table::Certificates, &serial.to_be_bytes())? {
            return Err(RecordError::SerialTaken);
        }
        let record = CertificateRecord {
            kind: linted.kind,
            key_id: blueprint.key_id().to_string(),
            ca: by.fingerprint.clone(),
            subject: blueprint.subject().fingerprint(HashAlg::Sha256).to_string(),
            principals: blueprint.principals(),
            conditions: blueprint.conditions().cloned(),
            valid_after_unix: blueprint.valid_after_unix_secs(),
            valid_before_unix: blueprint.valid_before_unix_secs(),
            state: CertificateState::Intent,
        };
        txn.put_json(Table::Certificates, serial.to_be_bytes(), &record);
        if let Some(email) = holder(blueprint) {
            let key = by_employee_key(email, record.valid_before_unix, serial);
            txn.put(Table::CertificatesByEmployee, key, serial.to_be_bytes());
        }
        txn.record(
            at_unix_ms,
            actor,
            &Event::CertificateIntent {
                serial,
                kind: record.kind,
                email: holder(blueprint).cloned(),
                session: None,
                machine: machine(blueprint).cloned(),
                options: blueprint
                    .critical_options()
                    .iter()
                    .chain(blueprint.extensions())
                    .map(|(name, value)| (name.clone(), value.clone()))
                    .collect(),
                key_id: record.key_id,
                ca: record.ca,
                subject: record.subject,
                principals: record.principals,
                valid_after: record.valid_after_unix,
                valid_before: record.valid_before_unix,
            },
        );
    }
    Ok(Recorded {
        blueprints: Arc::clone(&linted.blueprints),
        signer: Arc::clone(&by.signer),
    })
}

fn holder(blueprint: &Blueprint) -> Option<&Email> {
    match blueprint.key_id() {
        KeyId::Employee { email, .. } => Some(email),
        KeyId::Probe(_) | KeyId::Canary(_) | KeyId::Host(_) => None,
    }
}

fn machine(blueprint: &Blueprint) -> Option<&MachineName> {
    match blueprint.key_id() {
        KeyId::Host(machine) => Some(machine),
        KeyId::Probe(_) | KeyId::Canary(_) | KeyId::Employee { .. } => None,
    }
}

/// Signs what is recorded, with the key that it is recorded under, and checks what the signer returned.
///
/// # Errors
/// When the signer fails or returns something else. The intents stand: they count as issued.
pub fn sign(recorded: Recorded) -> Result<Signed, IssueError> {
    let signer = recorded.signer.as_ref();
    let certificates = recorded
        .blueprints
        .iter()
        .map(|blueprint| {
            let text = sign_one(signer, blueprint)?;
            lint(&text, blueprint, signer.public_key()).map_err(IssueError::Signed)?;
            Ok((blueprint.serial().number(), text))
        })
        .collect::<Result<_, IssueError>>()?;
    Ok(Signed { certificates })
}

fn sign_one(signer: &dyn Signer, blueprint: &Blueprint) -> Result<String, IssueError> {
    let mut nonce = [0; policies::NONCE_BYTES];
    OsRng.fill_bytes(&mut nonce);
    let attempt = Attempt::new(signer);
    match blueprint.build(nonce).sign(&attempt) {
        Ok(certificate) => certificate.to_openssh().map_err(IssueError::Encode),
        Err(error) => Err(match (attempt.failure(), error) {
            (Some(why), _) => IssueError::Signer(why),
            // It signed, and debug builds of ssh-key look at what it returned.
            (None, ssh_key::Error::Crypto | ssh_key::Error::CertificateValidation) => {
                IssueError::Signer(SignerError::WrongSignature)
            }
            (None, other) => IssueError::Encode(other),
        }),
    }
}

/// Makes the outcome durable; only then may the certificates leave (I6).
///
/// # Errors
/// When the store does not say that it is: then nothing leaves, and the intents count as issued.
pub async fn conclude(ca: &Ca, signed: Signed, actor: Actor) -> Result<Issued, IssueError> {
    let at = unix_ms(ca.clock.now());
    let outcomes: Vec<(u64, String)> = signed
        .certificates
        .iter()
        .map(|(serial, text)| (*serial, sha256_hex(text.as_bytes())))
        .collect();
    ca.db
        .write_async(move |txn| {
            for (serial, sha256) in &outcomes {
                mark(txn, *serial, CertificateState::Issued)?;
                txn.record(
                    at,
                    &actor,
                    &Event::CertificateIssued {
                        serial: *serial,
                        sha256: sha256.clone(),
                    },
                );
            }
            Ok::<(), ReadError>(())
        })
        .await
        .map_err(store_error)?;
    Ok(Issued {
        certificates: signed
            .certificates
            .into_iter()
            .map(|(_, text)| text)
            .collect(),
    })
}

/// Signs what is recorded, and concludes. A failure is recorded too, where that is possible.
///
/// # Errors
/// As [`sign`] and [`conclude`].
pub async fn sign_and_conclude(
    ca: &Ca,
    recorded: Recorded,
    actor: Actor,
) -> Result<Issued, IssueError> {
    let serials: Vec<u64> = recorded
        .blueprints
        .iter()
        .map(|blueprint| blueprint.serial().number())
        .collect();
    // A signer in hardware takes its time, on a thread where nobody else waits.
    let signer = Arc::clone(&recorded.signer);
    let signed = signer::with(&signer, |_| sign(recorded)).await;
    match signed {
        Ok(signed) => conclude(ca, signed, actor).await,
        Err(error) => {
            let at = unix_ms(ca.clock.now());
            let why = error.to_string();
            let noted = ca
                .db
                .write_async(move |txn| {
                    for serial in &serials {
                        mark(txn, *serial, CertificateState::Failed)?;
                        txn.record(
                            at,
                            &actor,
                            &Event::CertificateFailed {
                                serial: *serial,
                                reason: why.clone(),
                            },
                        );
                    }
                    Ok::<(), ReadError>(())
                })
                .await;
            if let Err(noting) = noted {
                tracing::error!(%noting, "a failed signature could not be recorded; its intent counts as issued");
            }
            Err(error)
        }
    }
}

fn mark(txn: &mut Txn<'_>, serial: u64, state: CertificateState) -> Result<(), ReadError> {
    let key = serial.to_be_bytes();
    if let Some(mut record) = txn.get_json::<CertificateRecord>(Table::Certificates, &key)? {
        record.state = state;
        txn.put_json(Table::Certificates, key, &record);
    }
    Ok(())
}

/// A refusal inside a change that only reads is a failure of the store.
pub(crate) fn store_error(error: WriteError<ReadError>) -> IssueError {
    match error {
        WriteError::Refused(read) => IssueError::Store(StoreError::Read(read)),
        WriteError::Store(store) => IssueError::Store(store),
    }
}
