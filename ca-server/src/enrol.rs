//! An invitation becomes an employee who can log in: password set, authenticator proven (A11).

use std::{net::IpAddr, sync::Arc};

use ca_api::{EnrolFinish, EnrolStart, EnrolStarted, Enrolled, Secret};
use policies::{Email, Employee, Status};

use crate::{
    auth::{flood::Entry, password::check_new, totp},
    ca::{Ca, random_text, sha256_hex, unix_ms},
    issue,
    ledger::{Actor, Event},
    records::{Credentials, InvitationRecord},
    session::{
        SessionError,
        login::{employee, totp_purpose},
    },
    store::{KeyRange, Read, ReadError, Table, Txn, WriteError},
};

/// An invitation dies after this many wrong TOTP codes.
pub const MAX_WRONG_CODES: u32 = 10;

/// Bytes of randomness in a code: 100 bits are far beyond guessing, and 20 characters can still be typed.
const CODE_BYTES: usize = 13;

/// A fresh code, in groups of five for reading aloud.
#[must_use]
pub fn new_code() -> Secret {
    let text = random_text(CODE_BYTES);
    let groups: Vec<&str> = text
        .as_bytes()
        .chunks(5)
        .map(|group| std::str::from_utf8(group).expect("base32 is ASCII"))
        .collect();
    Secret::new(groups.join("-"))
}

/// What a code is stored under: the SHA-256 of its letters and digits. It has 104 random bits: a slow hash adds nothing.
#[must_use]
pub fn code_key(code: &Secret) -> String {
    let plain: String = code
        .expose()
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    sha256_hex(plain.as_bytes())
}

/// Puts an invitation into the store, in place of any other of the same person.
///
/// # Errors
/// If the store cannot be read.
pub fn invite(
    txn: &mut Txn<'_>,
    email: &Email,
    code_key: &str,
    expires_unix: i64,
    actor: &Actor,
    at_unix_ms: i64,
) -> Result<(), ReadError> {
    withdraw(txn, email)?;
    let record = InvitationRecord {
        email: email.clone(),
        expires_unix,
        totp: None,
        wrong_codes: 0,
    };
    txn.put_json(Table::Invitations, code_key.as_bytes(), &record);
    txn.record(
        at_unix_ms,
        actor,
        &Event::InvitationMade {
            email: email.clone(),
            expires_unix_secs: expires_unix,
        },
    );
    Ok(())
}

/// Takes back every invitation of a person; the caller records why.
///
/// # Errors
/// If the store cannot be read.
pub fn withdraw(txn: &mut Txn<'_>, email: &Email) -> Result<(), ReadError> {
    let all =
        txn.scan_json::<InvitationRecord>(Table::Invitations, &KeyRange::all(), usize::MAX)?;
    for (key, record) in all {
        if record.email == *email {
            txn.delete(Table::Invitations, key);
        }
    }
    Ok(())
}

#[derive(Debug, Clone)]
enum EnrolError {
    Refused(Option<Email>, &'static str),
    Read(ReadError),
}

impl From<ReadError> for EnrolError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

/// The invitation of a code, if it is open and its employee still waits for it.
fn open_invitation<R: Read>(
    source: &R,
    key: &str,
    now_unix: i64,
) -> Result<(InvitationRecord, Employee), EnrolError> {
    let record: InvitationRecord = source
        .get_json(Table::Invitations, key.as_bytes())?
        .ok_or(EnrolError::Refused(None, "no such code"))?;
    let refused = |why| EnrolError::Refused(Some(record.email.clone()), why);
    if now_unix >= record.expires_unix {
        return Err(refused("the code is over"));
    }
    let employee: Employee = source
        .get_json(Table::Employees, record.email.as_str().as_bytes())?
        .ok_or_else(|| refused("removed"))?;
    if employee.status != Status::Invited {
        return Err(refused("not invited"));
    }
    Ok((record, employee))
}

/// `POST /v1/enrol/start`: shows the TOTP secret; the same one when it is called again, as with the password that the
/// person has chosen.
///
/// # Errors
/// When there is no such invitation, or the password is not good enough.
pub async fn start(
    ca: &Arc<Ca>,
    request: EnrolStart,
    from: IpAddr,
) -> Result<EnrolStarted, SessionError> {
    crate::session::check_open(ca)?;
    let (now, key) = (ca.clock.now(), code_key(&request.code));
    let at = unix_ms(now);
    let shared = Arc::clone(ca);
    let asks_of_password = request.password.is_some();
    // Drawn before the change: a change may run more than once.
    let fresh = totp::new_secret();
    let opened = ca
        .db
        .write_async(move |txn| {
            let (mut record, employee_record) = open_invitation(txn, &key, now.unix_timestamp())?;
            let purpose = totp_purpose(&record.email);
            let held = record
                .totp
                .as_deref()
                .and_then(|sealed| shared.keys().seal.open(&purpose, sealed));
            // With a password it is only a question about that: the invitation was opened before.
            let is_opening = held.is_none() || !asks_of_password;
            let secret = if let Some(secret) = held {
                secret
            } else {
                record.totp = Some(shared.keys().seal.seal(&purpose, &fresh));
                txn.put_json(Table::Invitations, key.as_bytes(), &record);
                fresh.clone()
            };
            if is_opening {
                txn.record(
                    at,
                    &employee(&record.email, from),
                    &Event::EnrolmentOpened {
                        email: record.email.clone(),
                    },
                );
            }
            Ok((record, employee_record, secret))
        })
        .await;
    let (record, employee, secret) = answer(ca, opened, from).await?;
    if let Some(password) = &request.password {
        check_password(ca, password, &record.email, &employee)?;
    }
    let (totp_url, totp_secret) = totp::describe(&secret, record.email.as_str())
        .map_err(|error| SessionError::Invalid(error.to_string()))?;
    Ok(EnrolStarted {
        email: record.email.to_string(),
        name: employee.name,
        account: employee.account.to_string(),
        totp_url: Secret::new(totp_url),
        totp_secret: Secret::new(totp_secret),
        expires_unix: record.expires_unix,
    })
}

/// `POST /v1/enrol/finish`: sets the password and proves the authenticator; the code is used up.
///
/// # Errors
/// When the code, the password or the TOTP code is not right; the invitation stays open for another try.
pub async fn finish(
    ca: &Arc<Ca>,
    request: EnrolFinish,
    from: IpAddr,
) -> Result<Enrolled, SessionError> {
    crate::session::check_open(ca)?;
    let (now, key) = (ca.clock.now(), code_key(&request.code));
    let at = unix_ms(now);
    let found = ca.db.read(|view| {
        let (record, person) = open_invitation(view, &key, now.unix_timestamp())?;
        let credentials: Option<Credentials> =
            view.get_json(Table::Credentials, record.email.as_str().as_bytes())?;
        Ok((record, person, credentials.unwrap_or_default()))
    });
    let (record, person, credentials) =
        answer(ca, found.map_err(WriteError::Refused), from).await?;
    let purpose = totp_purpose(&record.email);
    let secret = record
        .totp
        .as_deref()
        .and_then(|sealed| ca.keys().seal.open(&purpose, sealed))
        .ok_or_else(|| {
            SessionError::Invalid("open the invitation first: `ca-client enrol CODE`".to_owned())
        })?;
    check_password(ca, &request.password, &record.email, &person)?;
    let step = totp::matching_step(
        &secret,
        record.email.as_str(),
        request.totp.expose(),
        now.unix_timestamp(),
        // After a reset a login a moment ago may have used this step (A3): the next code is right, the invitation is not wrong.
        credentials.last_totp_step,
    )
    .map_err(|error| SessionError::Invalid(error.to_string()))?;
    let Some(step) = step else {
        count_wrong_code(ca, key, &record.email, from).await?;
        return Err(SessionError::WrongCode);
    };
    let hash = ca.hasher.hash(&request.password).await?;
    let seen = record.clone();
    let finished = ca
        .db
        .write_async(move |txn| {
            let (record, mut person) = open_invitation(txn, &key, now.unix_timestamp())?;
            let who = record.email.as_str().as_bytes().to_vec();
            let mut credentials: Credentials =
                txn.get_json(Table::Credentials, &who)?.unwrap_or_default();
            // A second request with the same code, or one made with an older secret, finds the record changed.
            if record != seen || step <= credentials.last_totp_step {
                return Err(EnrolError::Refused(
                    Some(record.email),
                    "the code was used before",
                ));
            }
            credentials.password = Some(hash.clone());
            credentials.totp.clone_from(&record.totp);
            credentials.last_totp_step = step;
            person.status = Status::Active;
            txn.put_json(Table::Credentials, who.clone(), &credentials);
            txn.put_json(Table::Employees, who, &person);
            txn.delete(Table::Invitations, key.as_bytes());
            txn.record(
                at,
                &employee(&record.email, from),
                &Event::EnrolmentFinished {
                    email: record.email.clone(),
                },
            );
            Ok(record.email)
        })
        .await;
    let email = answer(ca, finished, from).await?;
    ca.fleet_changed.notify_one();
    Ok(Enrolled {
        email: email.to_string(),
    })
}

fn check_password(
    ca: &Ca,
    password: &Secret,
    email: &Email,
    person: &Employee,
) -> Result<(), SessionError> {
    let about = [
        email.as_str(),
        person.name.as_str(),
        person.account.as_str(),
    ];
    Ok(check_new(password, &about, ca.breached.as_ref())?)
}

async fn count_wrong_code(
    ca: &Arc<Ca>,
    key: String,
    email: &Email,
    from: IpAddr,
) -> Result<(), SessionError> {
    let at = unix_ms(ca.clock.now());
    let email = email.clone();
    ca.db
        .write_async(move |txn| {
            if let Some(mut record) =
                txn.get_json::<InvitationRecord>(Table::Invitations, key.as_bytes())?
            {
                record.wrong_codes += 1;
                if record.wrong_codes >= MAX_WRONG_CODES {
                    txn.delete(Table::Invitations, key.as_bytes());
                } else {
                    txn.put_json(Table::Invitations, key.as_bytes(), &record);
                }
            }
            txn.record(
                at,
                &employee(&email, from),
                &Event::EnrolmentRefused {
                    email: Some(email.clone()),
                    reason: "wrong code".to_owned(),
                },
            );
            Ok::<_, ReadError>(())
        })
        .await
        .map_err(issue::store_error)?;
    Ok(())
}

/// Turns a refusal into its one answer, and records it.
async fn answer<T>(
    ca: &Arc<Ca>,
    outcome: Result<T, WriteError<EnrolError>>,
    from: IpAddr,
) -> Result<T, SessionError> {
    let (email, reason) = match outcome {
        Ok(value) => return Ok(value),
        Err(WriteError::Refused(EnrolError::Refused(email, reason))) => (email, reason),
        Err(WriteError::Refused(EnrolError::Read(error))) => return Err(error.into()),
        Err(WriteError::Store(error)) => return Err(error.into()),
    };
    if ca.refusal_entry(from) == Entry::Summed {
        return Err(SessionError::CodeRefused);
    }
    let at = unix_ms(ca.clock.now());
    ca.db
        .write_async(move |txn| {
            txn.record(
                at,
                &Actor::Stranger { address: from },
                &Event::EnrolmentRefused {
                    email: email.clone(),
                    reason: reason.to_owned(),
                },
            );
            Ok::<_, ReadError>(())
        })
        .await
        .map_err(issue::store_error)?;
    Err(SessionError::CodeRefused)
}
