//! The second door: within a day session, the session's key and its secret renew without a password (A1).

use std::{net::IpAddr, sync::Arc};

use ca_api::{Issued, LoggedOut, LogoutRequest, RenewRequest, Secret, proof};
use policies::{KeyKind, Status};
use ssh_key::PublicKey;
use subtle::ConstantTimeEq;
use time::OffsetDateTime;

use super::{
    SessionError, directory, key_blob,
    login::employee,
    plan::{Plan, Planned, key_is_revoked, narrow, plan},
    possession::{ProvenKey, prove},
};
use crate::{
    auth::flood::Entry,
    ca::{Ca, sha256_hex, unix_ms},
    issue::{self, RecordError, Recorded, SignedBy},
    ledger::{Actor, CertificateKind, Event},
    records::SessionRecord,
    store::{Read, ReadError, Table, TableGroup, WriteError},
};

/// How often a decision is made again when policy changed under it.
const TRIES: usize = 4;

#[derive(Debug, Clone)]
enum RenewError {
    Over,
    Again,
    Read(ReadError),
}

impl From<ReadError> for RenewError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<RecordError> for RenewError {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Read(error) => Self::Read(error),
            RecordError::SerialTaken | RecordError::KeysChanged => Self::Again,
        }
    }
}

/// `POST /v1/renew`.
///
/// # Errors
/// See [`SessionError`]; nothing is handed out then.
pub async fn renew(
    ca: &Arc<Ca>,
    request: RenewRequest,
    from: IpAddr,
) -> Result<Issued, SessionError> {
    super::check_open(ca)?;
    let now = super::steady(ca)?.at();
    // The secret first: who does not have it uses up no nonce, and no room in the memory of used ones.
    let session = match find(ca, &request.session_id, &request.session_secret, now)? {
        Found::Open(session) => session,
        Found::Refused(reason) => {
            note_refusal(ca, &request.session_id, from, reason).await?;
            return Err(SessionError::Over);
        }
    };
    ca.nonces.redeem(&request.nonce, now.unix_timestamp())?;
    let key = PublicKey::from_openssh(&session.public_key).map_err(issue::IssueError::Encode)?;
    let message = proof::renew_message(
        &ca.keys().ca_id(),
        &request.nonce,
        &request.session_id,
        &key_blob(&key)?,
    );
    let proven = match prove(ca, key, &request.proof, proof::RENEW_NAMESPACE, &message)
        .and_then(|proven| as_opened(proven, session.key))
    {
        Ok(proven) => proven,
        Err(error) => {
            note_refusal(
                ca,
                &request.session_id,
                from,
                "the proof of possession does not verify",
            )
            .await?;
            return Err(error);
        }
    };
    // A session that was opened for less is never renewed into more (I9).
    let narrow = both(narrow(&session.narrow)?, narrow(&request.narrow)?);
    if key_is_revoked(ca, &proven.key)? {
        note_refusal(ca, &request.session_id, from, "the key is revoked").await?;
        return Err(SessionError::Over);
    }
    let session_ends =
        OffsetDateTime::from_unix_timestamp(session.ends_unix).map_err(|_| SessionError::Over)?;
    for _ in 0..TRIES {
        let moment = super::steady(ca)?;
        let now = moment.at();
        let plan = match plan(
            ca,
            &session.email,
            Some(session_ends),
            &narrow,
            &proven,
            moment,
        )? {
            Planned::Orders(plan) => plan,
            Planned::Denied(reason) => {
                note_refusal(ca, &request.session_id, from, "nothing is granted").await?;
                return Err(match reason {
                    policies::DenyReason::SessionOver
                    | policies::DenyReason::NotActive(_)
                    | policies::DenyReason::UnknownEmployee => SessionError::Over,
                    reason => SessionError::NothingGranted(reason),
                });
            }
        };
        let recorded = match admit(ca, &request.session_id, &session, &plan, now, from).await {
            Ok(recorded) => recorded,
            Err(WriteError::Refused(RenewError::Again)) => continue,
            Err(WriteError::Refused(RenewError::Over)) => {
                note_refusal(ca, &request.session_id, from, "the session ended meanwhile").await?;
                return Err(SessionError::Over);
            }
            Err(WriteError::Refused(RenewError::Read(error))) => return Err(error.into()),
            Err(WriteError::Store(error)) => return Err(error.into()),
        };
        let actor = employee(&session.email, from);
        let issued = issue::sign_and_conclude(ca, recorded, actor).await?;
        let tag = request.directory_tag.as_deref();
        let mut answer = directory::answer(ca, &plan, &session.email, tag, now)?;
        answer.certificates = issued.into_texts();
        answer.needs_security_key = plan.needs_security_key;
        return Ok(answer);
    }
    Err(SessionError::Unsteady)
}

/// A session stays what it was opened as: one of a security key is not renewed by a touch alone, and one that was opened
/// by a touch alone does not become more (I9).
fn as_opened(proven: ProvenKey, opened: KeyKind) -> Result<ProvenKey, SessionError> {
    match (opened, proven.kind) {
        (KeyKind::SecurityKey, KeyKind::Plain) => Err(SessionError::Invalid(
            "the security key did not check its owner's PIN, as it did at the login".to_owned(),
        )),
        (KeyKind::SecurityKey, KeyKind::SecurityKey) | (KeyKind::Plain, _) => Ok(ProvenKey {
            kind: opened,
            ..proven
        }),
    }
}

/// What either leaves out.
fn both(a: policies::Narrow, b: policies::Narrow) -> policies::Narrow {
    policies::Narrow {
        lifetime_secs: match (a.lifetime_secs, b.lifetime_secs) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        },
        pools: match (a.pools, b.pools) {
            (Some(a), Some(b)) => Some(a.intersection(&b).cloned().collect()),
            (a, b) => a.or(b),
        },
    }
}

async fn admit(
    ca: &Arc<Ca>,
    id: &str,
    seen: &SessionRecord,
    plan: &Plan,
    now: OffsetDateTime,
    from: IpAddr,
) -> Result<Recorded, WriteError<RenewError>> {
    let at = unix_ms(now);
    let (id, seen, linted, revision) = (
        id.to_owned(),
        seen.clone(),
        plan.linted.clone(),
        plan.revision,
    );
    let told_host_ca = plan.keys.host_ca.newest();
    let by = SignedBy::current(&plan.keys, CertificateKind::User);
    ca.db
        .write_async(move |txn| {
            // The session and the policy as they are now, in the transaction that records the intent (I3, P3).
            let stored: Option<SessionRecord> = txn.get_json(Table::Sessions, id.as_bytes())?;
            let Some(stored) = stored.filter(|stored| is_same(stored, &seen)) else {
                return Err(RenewError::Over);
            };
            if txn.revision(TableGroup::Policy)? != revision {
                return Err(RenewError::Again);
            }
            if !is_current(txn, &seen)? {
                return Err(RenewError::Over);
            }
            if stored.told_host_ca < told_host_ca {
                // The answer carries the newest host CA's line: when all have heard of it, it may sign.
                let told = SessionRecord {
                    told_host_ca,
                    ..stored
                };
                txn.put_json(Table::Sessions, id.as_bytes(), &told);
            }
            let actor = employee(&seen.email, from);
            Ok(issue::record(txn, &linted, &by, &actor, at)?)
        })
        .await
}

/// Is it still the same session? What its owner has heard of meanwhile is no difference.
fn is_same(stored: &SessionRecord, seen: &SessionRecord) -> bool {
    let told = SessionRecord {
        told_host_ca: stored.told_host_ca,
        ..seen.clone()
    };
    *stored == told
}

/// Is the session one of somebody who may still renew?
pub(super) fn is_current<R: Read>(source: &R, session: &SessionRecord) -> Result<bool, ReadError> {
    let employee: Option<policies::Employee> =
        source.get_json(Table::Employees, session.email.as_str().as_bytes())?;
    Ok(employee.is_some_and(|employee| {
        employee.status == Status::Active && employee.epoch == session.epoch
    }))
}

/// A session, if the secret is its own.
pub(super) enum Found {
    Open(SessionRecord),
    Refused(&'static str),
}

pub(super) fn find(
    ca: &Ca,
    id: &str,
    secret: &Secret,
    now: OffsetDateTime,
) -> Result<Found, ReadError> {
    let record: Option<SessionRecord> = ca
        .db
        .read(|view| view.get_json(Table::Sessions, id.as_bytes()))?;
    let offered = sha256_hex(secret.expose().as_bytes());
    let stored = record
        .as_ref()
        .map_or("", |record| record.secret_sha256.as_str());
    let same: bool = offered.as_bytes().ct_eq(stored.as_bytes()).into();
    Ok(match record {
        None => Found::Refused("no such session"),
        Some(_) if !same => Found::Refused("wrong session secret"),
        Some(record) if now.unix_timestamp() >= record.ends_unix => {
            Found::Refused("the session is over")
        }
        Some(record) => Found::Open(record),
    })
}

async fn note_refusal(
    ca: &Ca,
    session: &str,
    from: IpAddr,
    reason: &'static str,
) -> Result<(), SessionError> {
    if ca.refusal_entry(from) == Entry::Summed {
        return Ok(());
    }
    let at = unix_ms(ca.clock.now());
    // A session id is what the client sent: no more of it than one of ours has goes into the ledger.
    let session: String = session.chars().take(32).collect();
    ca.db
        .write_async(move |txn| {
            txn.record(
                at,
                &Actor::Stranger { address: from },
                &Event::RenewalRefused {
                    email: None,
                    session: session.clone(),
                    reason: reason.to_owned(),
                },
            );
            Ok::<_, ReadError>(())
        })
        .await
        .map_err(issue::store_error)?;
    Ok(())
}

/// `POST /v1/logout`. A session that is over already is no error.
///
/// # Errors
/// When the secret is wrong, or the store fails.
pub async fn logout(
    ca: &Arc<Ca>,
    request: LogoutRequest,
    from: IpAddr,
) -> Result<LoggedOut, SessionError> {
    let now = ca.clock.now();
    match find(ca, &request.session_id, &request.session_secret, now)? {
        Found::Open(session) => {
            let at = unix_ms(now);
            ca.db
                .write_async(move |txn| {
                    txn.delete(Table::Sessions, request.session_id.as_bytes());
                    txn.record(
                        at,
                        &employee(&session.email, from),
                        &Event::SessionEnded {
                            email: session.email.clone(),
                            session: request.session_id.clone(),
                            reason: "logout".to_owned(),
                        },
                    );
                    Ok::<_, ReadError>(())
                })
                .await
                .map_err(issue::store_error)?;
            Ok(LoggedOut {})
        }
        Found::Refused(reason) => {
            note_refusal(ca, &request.session_id, from, reason).await?;
            Err(SessionError::Over)
        }
    }
}
