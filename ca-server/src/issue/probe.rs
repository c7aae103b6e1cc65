//! Certificates of the CA's own: canaries for KRLs, probes for bootstrap, and machines' host certificates.
//!
//! They take the same way as employees' certificates: prepared, linted, recorded, signed, concluded (S8).

use std::collections::BTreeSet;

use policies::{
    Blueprint, BlueprintError, KeyId, KeyIdError, MachineName, Principal, Principals, Subject,
};
use ssh_key::{Algorithm, PrivateKey, PublicKey};
use time::OffsetDateTime;

use super::{IssueError, Linted, Prepared, RecordError, SignedBy, record, sign_and_conclude};
use crate::{
    ca::{Ca, random_serial, unix_ms},
    keys::Held,
    ledger::{Actor, CertificateKind},
    records::{CA, CaRecord},
    store::{Read, ReadError, StoreError, Table, WriteError},
};

/// A certificate of the CA's own cannot be issued.
#[derive(Debug, thiserror::Error)]
pub enum OwnError {
    /// It must not be made like this.
    #[error(transparent)]
    Blueprint(#[from] BlueprintError),
    /// Its key ID is malformed.
    #[error(transparent)]
    KeyId(#[from] KeyIdError),
    /// The key is not one that may be certified.
    #[error(transparent)]
    Key(#[from] policies::KeyRefusal),
    /// A canary cannot be signed.
    #[error("the private half of {key} cannot be used")]
    NoSigner {
        /// Which key.
        key: String,
    },
    /// Issuing it failed.
    #[error(transparent)]
    Issue(#[from] IssueError),
}

/// The account that proofs log in as; made on every machine, opens nothing.
pub const PROBE_ACCOUNT: &str = "ssh-ca-probe";
/// The reserved pool whose principal every machine lists for it.
pub const PROBE_POOL: &str = "_probe";
/// A reserved pool that no machine is in.
pub const NOWHERE_POOL: &str = "_nowhere";
/// The key ID of the canary that every KRL revokes.
pub const REVOKED_KEY_ID: &str = "canary/revoked";

/// How long a probe lives, in seconds.
const PROBE_SECS: u64 = 120;

/// What a certificate of the CA's own says.
pub enum Own<'a> {
    /// Refused by every good KRL, in the section of this key of the user CA.
    RevokedCanary(&'a Held),
    /// Passed by every good KRL, unless the key itself is revoked.
    GoodCanary(&'a Held),
    /// For a proof with `subject` on a machine whose pools include `pool`.
    Probe {
        /// Bootstrap's throw-away key.
        subject: &'a PublicKey,
        /// The pool of its principal.
        pool: &'a str,
        /// Its key ID: `probe/…`, or [`REVOKED_KEY_ID`].
        key_id: &'a str,
    },
    /// A machine's.
    Host {
        /// Its host key.
        subject: &'a PublicKey,
        /// Which.
        machine: &'a MachineName,
        /// Names and addresses that people may type.
        names: BTreeSet<String>,
        /// How long, in seconds.
        lifetime_secs: u64,
    },
}

/// Issues a certificate of the CA's own: OpenSSH text.
///
/// # Errors
/// When it may not be made, or issuing fails.
pub async fn issue_own(ca: &Ca, own: Own<'_>, actor: Actor) -> Result<String, OwnError> {
    let (kind, now) = match &own {
        Own::Host { .. } => (CertificateKind::Host, steady(ca)?),
        Own::Probe { .. } => (CertificateKind::Probe, steady(ca)?),
        // Without them there is no KRL. They open nothing, whatever the clock says.
        Own::RevokedCanary(_) | Own::GoodCanary(_) => (CertificateKind::Canary, ca.clock.now()),
    };
    let now = u64::try_from(now.unix_timestamp()).unwrap_or(0);
    let epoch = instance_epoch(ca)?;
    // A drawn serial that exists is drawn again, and so is everything when a key was replaced meanwhile; three in a row
    // mean that something else is wrong.
    for _ in 0..3 {
        let view = ca
            .db
            .snapshot()
            .map_err(|error| IssueError::Store(error.into()))?;
        let keys = ca.key_room.at(&view).map_err(IssueError::from)?;
        let by = match &own {
            Own::RevokedCanary(held) | Own::GoodCanary(held) => SignedBy::held(&keys, held)
                .ok_or_else(|| OwnError::NoSigner {
                    key: held.record().name(),
                })?,
            Own::Host { .. } | Own::Probe { .. } => SignedBy::current(&keys, kind),
        };
        let serial = random_serial(epoch).ok_or(IssueError::Epoch)?;
        let blueprint = match &own {
            Own::RevokedCanary(_) => canary(ca, serial, REVOKED_KEY_ID, now)?,
            Own::GoodCanary(_) => canary(ca, serial, "canary/good", now)?,
            Own::Probe {
                subject,
                pool,
                key_id,
            } => Blueprint::probe(
                serial,
                key_id.parse::<KeyId>()?,
                &subject_of(ca, subject)?,
                probe_principal(pool),
                now.saturating_sub(policies::BACKDATE_SECS),
                now + PROBE_SECS,
            )?,
            Own::Host {
                subject,
                machine,
                names,
                lifetime_secs,
            } => Blueprint::host(
                serial,
                machine,
                &subject_of(ca, subject)?,
                names.clone(),
                now.saturating_sub(policies::BACKDATE_SECS),
                now + lifetime_secs,
            )?,
        };
        let linted = ca.rehearsal.lint(Prepared {
            kind,
            blueprints: vec![blueprint],
        })?;
        match record_alone(ca, linted, by, actor.clone()).await {
            Ok(recorded) => {
                let mut texts = sign_and_conclude(ca, recorded, actor).await?.into_texts();
                return Ok(texts.pop().expect("one blueprint gives one certificate"));
            }
            Err(WriteError::Refused(RecordError::SerialTaken | RecordError::KeysChanged)) => {}
            Err(WriteError::Refused(RecordError::Read(error))) => {
                return Err(IssueError::from(StoreError::from(error)).into());
            }
            Err(WriteError::Store(error)) => return Err(IssueError::from(error).into()),
        }
    }
    Err(IssueError::Epoch.into())
}

/// Now, where it may stand in a certificate (Z5).
fn steady(ca: &Ca) -> Result<OffsetDateTime, IssueError> {
    Ok(ca.clock.steady()?.at())
}

async fn record_alone(
    ca: &Ca,
    linted: Linted,
    by: SignedBy,
    actor: Actor,
) -> Result<super::Recorded, WriteError<RecordError>> {
    let at = unix_ms(ca.clock.now());
    ca.db
        .write_async(move |txn| record(txn, &linted, &by, &actor, at))
        .await
}

/// The instance epoch in the store.
///
/// # Errors
/// When there is none.
pub fn instance_epoch(ca: &Ca) -> Result<u32, IssueError> {
    let record: Option<CaRecord> = ca
        .db
        .read(|view| view.get_json::<CaRecord>(Table::Meta, CA))
        .map_err(|error: ReadError| IssueError::Store(error.into()))?;
    record
        .map(|record| record.instance_epoch)
        .ok_or(IssueError::Epoch)
}

/// A canary ended before it was made, on a key whose private half is forgotten here: it opens nothing.
fn canary(
    ca: &Ca,
    serial: policies::Serial,
    key_id: &str,
    now: u64,
) -> Result<Blueprint, OwnError> {
    let key = PrivateKey::random(&mut rand_core::OsRng, Algorithm::Ed25519)
        .map_err(IssueError::Encode)?;
    Ok(Blueprint::probe(
        serial,
        key_id.parse()?,
        &subject_of(ca, key.public_key())?,
        probe_principal(NOWHERE_POOL),
        now.saturating_sub(120),
        now.saturating_sub(60),
    )?)
}

fn probe_principal(pool: &str) -> Principals {
    let principal = Principal::new(
        PROBE_ACCOUNT
            .parse()
            .expect("a constant that is an account name"),
        pool.parse().expect("a constant that is a pool name"),
    );
    Principals::new(BTreeSet::from([principal])).expect("one principal is between 1 and 256")
}

fn subject_of(ca: &Ca, key: &PublicKey) -> Result<Subject, OwnError> {
    Ok(policies::acceptable_subject(key, ca.keys().own())?)
}
