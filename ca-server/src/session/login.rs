//! The first door: password and second factor open a day session.

use std::{net::IpAddr, sync::Arc};

use ca_api::{Issued, LoginRequest, Secret, SessionGrant, proof};
use policies::{Email, Status};
use time::OffsetDateTime;

use super::{
    SessionError, directory, key_blob, parse_key,
    plan::{Plan, Planned, key_is_revoked, narrow, plan, wire},
    possession::{ProvenKey, prove},
};
use crate::{
    auth::{
        attempts::{Counter, Reservation, Standing, buckets, network},
        flood::Entry,
        password::Verdict,
        totp,
    },
    ca::{Ca, random_text, sha256_hex, unix_ms},
    issue::{self, RecordError, Recorded, SignedBy},
    ledger::{Actor, CertificateKind, Event},
    records::{Credentials, DeviceRecord, SessionRecord},
    store::{Read, ReadError, Table, TableGroup, Txn, WriteError},
};

/// How often a decision is made again when policy changed under it.
const TRIES: usize = 4;

/// Somebody who proved who they are: only [`authenticate`] makes these.
pub struct Authenticated {
    /// Who.
    pub email: Email,
    /// Their epoch when it was checked.
    pub epoch: u64,
    /// The TOTP step to use up in the transaction that lets them in (A3).
    pub totp_step: u64,
    /// The counters to clear with it.
    buckets: Vec<String>,
    /// Their network, which is known from then on.
    network: String,
}

/// Why a transaction that lets somebody in left nothing.
#[derive(Debug, Clone)]
pub enum AdmitError {
    /// The TOTP step was used by somebody who was faster, or the employee changed.
    Refused(&'static str),
    /// Policy, or the CA's keys, changed since the decision.
    Stale,
    /// A serial was drawn twice.
    SerialTaken,
    /// The store.
    Read(ReadError),
}

impl From<ReadError> for AdmitError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<RecordError> for AdmitError {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Read(error) => Self::Read(error),
            RecordError::SerialTaken => Self::SerialTaken,
            RecordError::KeysChanged => Self::Stale,
        }
    }
}

impl Authenticated {
    /// In a transaction: is the employee still who they were, and is the TOTP step still unused? Uses it up and gives
    /// the reserved attempts back.
    ///
    /// # Errors
    /// When somebody was faster.
    pub fn redeem(
        &self,
        txn: &mut Txn<'_>,
        now: OffsetDateTime,
    ) -> Result<policies::Employee, AdmitError> {
        let key = self.email.as_str().as_bytes();
        let employee: policies::Employee = txn
            .get_json(Table::Employees, key)?
            .ok_or(AdmitError::Refused("removed meanwhile"))?;
        if employee.status != Status::Active || employee.epoch != self.epoch {
            return Err(AdmitError::Refused("suspended or revoked meanwhile"));
        }
        let mut credentials: Credentials =
            txn.get_json(Table::Credentials, key)?.unwrap_or_default();
        if self.totp_step <= credentials.last_totp_step {
            return Err(AdmitError::Refused("the code was used before"));
        }
        credentials.last_totp_step = self.totp_step;
        credentials.last_login_unix = Some(now.unix_timestamp());
        txn.put_json(Table::Credentials, key, &credentials);
        for bucket in &self.buckets {
            txn.delete(Table::Attempts, bucket.as_bytes());
        }
        if !txn.contains(Table::Devices, self.network.as_bytes())? {
            let record = DeviceRecord {
                email: self.email.clone(),
                since_unix: now.unix_timestamp(),
            };
            txn.put_json(Table::Devices, self.network.as_bytes(), &record);
        }
        Ok(employee)
    }
}

/// Checks password and second factor, after counting the attempt durably (A5). Every failure costs the same work and
/// gives the same answer (A4, A7).
///
/// # Errors
/// [`SessionError::Refused`] for whoever is not let in.
pub async fn authenticate(
    ca: &Ca,
    email: &str,
    password: &Secret,
    code: &Secret,
    from: IpAddr,
    device: Option<&Secret>,
) -> Result<Authenticated, SessionError> {
    super::check_open(ca)?;
    let parsed: Option<Email> = email.parse().ok();
    // A text that is no email is counted too, under a name that no email has.
    let name = parsed.as_ref().map_or_else(
        || format!("#{}", &sha256_hex(email.as_bytes())[..16]),
        ToString::to_string,
    );
    let standing = match &parsed {
        Some(email) => standing(ca, email, from, device)?,
        None => Standing::Stranger,
    };
    let now_ms = unix_ms(ca.clock.now());
    if matches!(standing, Standing::Stranger) && ca.floods.is_flooding(from, now_ms) {
        // Not even looked at, so nothing is guessed; a person who is known here still gets in.
        ca.refusal_entry(from);
        return Err(SessionError::Refused("too many attempts from this network"));
    }
    let counters = buckets(&name, from, &standing);
    if is_blocked(ca, &counters, now_ms)? && ca.refusal_entry(from) == Entry::Summed {
        return Err(SessionError::Refused("too many attempts"));
    }
    // The place comes first: a right password that finds no room is not counted as a wrong one.
    let place = ca.hasher.enter(from)?;
    if reserve(ca, &name, from, counters.clone()).await? == Reservation::Blocked {
        return Err(SessionError::Refused("too many attempts"));
    }
    let (known, employee, credentials) = load(ca, parsed.as_ref())?;
    let stored = credentials
        .password
        .as_deref()
        .filter(|_| known == Known::Somebody);
    let verdict = ca.hasher.verify_at(place, password, stored).await?;
    let step = second_factor(ca, &employee, &credentials, code);
    let reason = match (known, verdict, step) {
        (Known::Somebody, Verdict::Right, Some(totp_step)) if employee.status == Status::Active => {
            return Ok(Authenticated {
                email: employee.email.clone(),
                epoch: employee.epoch,
                totp_step,
                buckets: counters.into_iter().map(|(key, _)| key).collect(),
                network: network_key(&employee.email, from),
            });
        }
        (Known::Nobody, _, _) => "unknown email",
        (_, Verdict::Wrong, _) => "wrong password",
        (_, _, None) => "wrong code",
        _ => "not active",
    };
    note_refusal(ca, name, from, reason).await?;
    Err(SessionError::Refused(reason))
}

/// Whether an email is an employee's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Somebody,
    /// Their rows are the decoy's.
    Nobody,
}

/// Somebody's rows, or nobody's: both are looked up twice and read (A7).
fn load(
    ca: &Ca,
    email: Option<&Email>,
) -> Result<(Known, policies::Employee, Credentials), ReadError> {
    ca.db.read(|view| {
        let key = email.map_or(&b"?"[..], |email| email.as_str().as_bytes());
        let employee = view.get_json::<policies::Employee>(Table::Employees, key)?;
        let credentials = view.get_json(Table::Credentials, key)?;
        Ok(match employee {
            Some(employee) => (Known::Somebody, employee, credentials.unwrap_or_default()),
            None => {
                let (employee, credentials) = ca.decoy.rows();
                (Known::Nobody, employee, credentials)
            }
        })
    })
}

fn known_device(ca: &Ca, token: &Secret, email: &Email) -> Result<Option<String>, ReadError> {
    let id = sha256_hex(token.expose().as_bytes());
    let record: Option<DeviceRecord> = ca
        .db
        .read(|view| view.get_json(Table::Devices, id.as_bytes()))?;
    Ok(record.filter(|record| record.email == *email).map(|_| id))
}

/// Where a known network of somebody stands in table `devices`.
fn network_key(email: &Email, from: IpAddr) -> String {
    sha256_hex(format!("network {email} {}", network(from)).as_bytes())
}

fn standing(
    ca: &Ca,
    email: &Email,
    from: IpAddr,
    device: Option<&Secret>,
) -> Result<Standing, ReadError> {
    if let Some(token) = device
        && let Some(id) = known_device(ca, token, email)?
    {
        return Ok(Standing::Device(id));
    }
    let key = network_key(email, from);
    let known = ca
        .db
        .read(|view| view.contains(Table::Devices, key.as_bytes()))?;
    Ok(if known {
        Standing::Network
    } else {
        Standing::Stranger
    })
}

/// Is one of the counters blocked now? [`reserve`] decides; this only spares the store a flood.
fn is_blocked(ca: &Ca, counters: &[(String, u32)], now_ms: i64) -> Result<bool, ReadError> {
    ca.db.read(|view| {
        for (key, free) in counters {
            let counter: Counter = view
                .get_json(Table::Attempts, key.as_bytes())?
                .unwrap_or_default();
            if counter.reserve(now_ms, *free).1 == Reservation::Blocked {
                return Ok(true);
            }
        }
        Ok(false)
    })
}

async fn reserve(
    ca: &Ca,
    name: &str,
    from: IpAddr,
    counters: Vec<(String, u32)>,
) -> Result<Reservation, SessionError> {
    let at = unix_ms(ca.clock.now());
    let name = name.to_owned();
    let reserved = ca
        .db
        .write_async(move |txn| {
            let mut next = Vec::with_capacity(counters.len());
            for (key, free) in &counters {
                let counter: Counter = txn
                    .get_json(Table::Attempts, key.as_bytes())?
                    .unwrap_or_default();
                match counter.reserve(at, *free) {
                    (counter, Reservation::Reserved) => next.push((key.clone(), counter)),
                    (_, Reservation::Blocked) => {
                        txn.record(
                            at,
                            &Actor::Stranger { address: from },
                            &Event::LoginRefused {
                                email: name.clone(),
                                reason: "too many attempts".to_owned(),
                            },
                        );
                        return Ok(Reservation::Blocked);
                    }
                }
            }
            for (key, counter) in next {
                txn.put_json(Table::Attempts, key, &counter);
            }
            txn.record(
                at,
                &Actor::Stranger { address: from },
                &Event::LoginAttempt {
                    email: name.clone(),
                },
            );
            Ok::<_, ReadError>(Reservation::Reserved)
        })
        .await
        .map_err(issue::store_error)?;
    Ok(reserved)
}

/// The step of a right code; the same work is done for nobody's.
fn second_factor(
    ca: &Ca,
    employee: &policies::Employee,
    credentials: &Credentials,
    code: &Secret,
) -> Option<u64> {
    let now = ca.clock.now().unix_timestamp();
    let secret = credentials
        .totp
        .as_deref()
        .and_then(|sealed| ca.keys().seal.open(&totp_purpose(&employee.email), sealed));
    let has_one = secret.is_some();
    let secret = secret.unwrap_or_else(|| vec![0; 20].into());
    let step = totp::matching_step(
        &secret,
        employee.email.as_str(),
        code.expose(),
        now,
        credentials.last_totp_step,
    )
    .inspect_err(|error| tracing::error!(%error, "a TOTP secret is not usable"))
    .ok()
    .flatten();
    step.filter(|_| has_one)
}

/// What a TOTP secret is sealed for.
#[must_use]
pub fn totp_purpose(email: &Email) -> String {
    format!("totp {email}")
}

async fn note_refusal(
    ca: &Ca,
    email: String,
    from: IpAddr,
    reason: &'static str,
) -> Result<(), SessionError> {
    if ca.refusal_entry(from) == Entry::Summed {
        return Ok(());
    }
    let at = unix_ms(ca.clock.now());
    ca.db
        .write_async(move |txn| {
            txn.record(
                at,
                &Actor::Stranger { address: from },
                &Event::LoginRefused {
                    email: email.clone(),
                    reason: reason.to_owned(),
                },
            );
            Ok::<_, ReadError>(())
        })
        .await
        .map_err(issue::store_error)?;
    Ok(())
}

/// The employee as the one who acts.
#[must_use]
pub fn employee(email: &Email, address: IpAddr) -> Actor {
    Actor::Employee {
        email: email.clone(),
        address,
    }
}

/// `POST /v1/login`.
///
/// # Errors
/// See [`SessionError`]; nothing is handed out then.
pub async fn login(
    ca: &Arc<Ca>,
    request: LoginRequest,
    from: IpAddr,
) -> Result<Issued, SessionError> {
    // What does not depend on who asks is looked at first: it costs no attempt and tells nothing.
    let now = super::steady(ca)?.at();
    ca.nonces.redeem(&request.nonce, now.unix_timestamp())?;
    let key = parse_key(&request.public_key)?;
    let message = proof::login_message(
        &ca.keys().ca_id(),
        &request.nonce,
        &request.email,
        &key_blob(&key)?,
    );
    let proven = prove(ca, key, &request.proof, proof::LOGIN_NAMESPACE, &message)?;
    let narrow = narrow(&request.narrow)?;

    let person = authenticate(
        ca,
        &request.email,
        &request.password,
        &request.totp,
        from,
        request.device.as_ref(),
    )
    .await?;
    if key_is_revoked(ca, &proven.key)? {
        note_refusal(ca, person.email.to_string(), from, "the key is revoked").await?;
        return Err(SessionError::Invalid(
            "this key was revoked: log in with a new one (`ca-client logout`, then `ca-client login`)".to_owned(),
        ));
    }
    // A token that is not this person's is not taken over: whoever could choose theirs could choose one that others know.
    let device = match request.device {
        Some(token) if known_device(ca, &token, &person.email)?.is_some() => Some(token),
        _ => None,
    };
    open(ca, person, &proven, &narrow, device, from).await
}

async fn open(
    ca: &Arc<Ca>,
    person: Authenticated,
    proven: &ProvenKey,
    narrow: &policies::Narrow,
    device: Option<Secret>,
    from: IpAddr,
) -> Result<Issued, SessionError> {
    let person = Arc::new(person);
    for _ in 0..TRIES {
        let moment = super::steady(ca)?;
        let now = moment.at();
        let plan = match plan(ca, &person.email, None, narrow, proven, moment)? {
            Planned::Orders(plan) => plan,
            Planned::Denied(reason) => return deny(ca, &person, reason, from).await,
        };
        let grant = SessionGrant {
            id: random_text(16),
            secret: Secret::new(random_text(32)),
            ends_unix: plan.session_ends.unix_timestamp(),
            device: device
                .clone()
                .unwrap_or_else(|| Secret::new(random_text(20))),
        };
        let session = SessionRecord {
            email: person.email.clone(),
            epoch: person.epoch,
            public_key: proven.key.to_openssh().map_err(issue::IssueError::Encode)?,
            key: proven.kind,
            secret_sha256: sha256_hex(grant.secret.expose().as_bytes()),
            opened_unix: now.unix_timestamp(),
            ends_unix: grant.ends_unix,
            told_host_ca: plan.keys.host_ca.newest(),
            narrow: wire(narrow),
        };
        let admitted = admit(ca, &person, &plan, &grant, session, now, from).await;
        let recorded = match admitted {
            Ok(recorded) => recorded,
            Err(WriteError::Refused(AdmitError::Stale | AdmitError::SerialTaken)) => continue,
            Err(WriteError::Refused(AdmitError::Refused(reason))) => {
                note_refusal(ca, person.email.to_string(), from, reason).await?;
                return Err(SessionError::Refused(reason));
            }
            Err(WriteError::Refused(AdmitError::Read(error))) => return Err(error.into()),
            Err(WriteError::Store(error)) => return Err(error.into()),
        };
        let actor = employee(&person.email, from);
        let issued = issue::sign_and_conclude(ca, recorded, actor).await?;
        let mut answer = directory::answer(ca, &plan, &person.email, None, now)?;
        answer.certificates = issued.into_texts();
        answer.session = Some(grant);
        answer.needs_security_key = plan.needs_security_key;
        return Ok(answer);
    }
    Err(SessionError::Unsteady)
}

async fn admit(
    ca: &Arc<Ca>,
    person: &Arc<Authenticated>,
    plan: &Plan,
    grant: &SessionGrant,
    session: SessionRecord,
    now: OffsetDateTime,
    from: IpAddr,
) -> Result<Recorded, WriteError<AdmitError>> {
    let at = unix_ms(now);
    let (person, linted, revision) = (Arc::clone(person), plan.linted.clone(), plan.revision);
    let (session_id, device) = (
        grant.id.clone(),
        sha256_hex(grant.device.expose().as_bytes()),
    );
    let by = SignedBy::current(&plan.keys, CertificateKind::User);
    ca.db
        .write_async(move |txn| {
            if txn.revision(TableGroup::Policy)? != revision {
                return Err(AdmitError::Stale);
            }
            person.redeem(txn, now)?;
            let actor = employee(&person.email, from);
            txn.put_json(Table::Sessions, session_id.as_bytes(), &session);
            txn.put_json(
                Table::Devices,
                device.as_bytes(),
                &DeviceRecord {
                    email: person.email.clone(),
                    since_unix: session.opened_unix,
                },
            );
            txn.record(
                at,
                &actor,
                &Event::SessionOpened {
                    email: person.email.clone(),
                    session: session_id.clone(),
                    until_unix_secs: session.ends_unix,
                },
            );
            Ok(issue::record(txn, &linted, &by, &actor, at)?)
        })
        .await
}

/// Right password, right code, and nothing to certify: the code is used up, no session opens.
async fn deny(
    ca: &Arc<Ca>,
    person: &Arc<Authenticated>,
    reason: policies::DenyReason,
    from: IpAddr,
) -> Result<Issued, SessionError> {
    let (now, person) = (ca.clock.now(), Arc::clone(person));
    let at = unix_ms(now);
    let outcome = ca
        .db
        .write_async(move |txn| {
            person.redeem(txn, now)?;
            txn.record(
                at,
                &Actor::Stranger { address: from },
                &Event::LoginRefused {
                    email: person.email.to_string(),
                    reason: reason.to_string(),
                },
            );
            Ok::<_, AdmitError>(())
        })
        .await;
    match outcome {
        Ok(()) => Err(SessionError::NothingGranted(reason)),
        Err(WriteError::Refused(AdmitError::Read(error))) => Err(error.into()),
        Err(WriteError::Refused(_)) => Err(SessionError::Refused("the code was used before")),
        Err(WriteError::Store(error)) => Err(error.into()),
    }
}
