//! The short admin session over HTTPS: password, TOTP and the admin role open it; every request looks again (P3).

use std::{net::IpAddr, sync::Arc};

use ca_api::{AdminLogin, AdminSession, Secret};
use policies::{Email, Role, Status};

use crate::{
    ca::{Ca, random_text, sha256_hex, unix_ms},
    ledger::{Actor, Event},
    records::AdminSessionRecord,
    session::{
        SessionError,
        login::{AdmitError, authenticate},
    },
    store::{Read, ReadError, Table, WriteError},
};

/// An admin session's length, in seconds.
const SESSION_SECS: i64 = 15 * 60;

/// `POST /v1/admin/login`.
///
/// # Errors
/// When they are not let in; somebody without the admin role gets the same answer.
pub async fn login(
    ca: &Arc<Ca>,
    request: AdminLogin,
    from: IpAddr,
) -> Result<AdminSession, SessionError> {
    let person = authenticate(
        ca,
        &request.email,
        &request.password,
        &request.totp,
        from,
        None,
    )
    .await?;
    let now = ca.clock.now();
    let token = Secret::new(random_text(32));
    let key = sha256_hex(token.expose().as_bytes());
    let ends_unix = now.unix_timestamp() + SESSION_SECS;
    let at = unix_ms(now);
    let opened = ca
        .db
        .write_async(move |txn| {
            let employee = person.redeem(txn, now)?;
            let address = from;
            let email = person.email.clone();
            if !employee.roles.contains(&Role::Admin) {
                txn.record(
                    at,
                    &Actor::Employee {
                        email: email.clone(),
                        address,
                    },
                    &Event::LoginRefused {
                        email: email.to_string(),
                        reason: "not an admin".to_owned(),
                    },
                );
                return Ok(false);
            }
            let record = AdminSessionRecord {
                email: email.clone(),
                epoch: person.epoch,
                ends_unix,
            };
            txn.put_json(Table::AdminSessions, key.as_bytes(), &record);
            txn.record(
                at,
                &Actor::Admin {
                    email: email.clone(),
                    address,
                },
                &Event::AdminSessionOpened {
                    email,
                    session: key[..12].to_owned(),
                    until_unix_secs: ends_unix,
                },
            );
            Ok::<_, AdmitError>(true)
        })
        .await;
    match opened {
        Ok(true) => Ok(AdminSession { token, ends_unix }),
        Ok(false) => Err(SessionError::Refused("not an admin")),
        Err(WriteError::Refused(AdmitError::Read(error))) => Err(error.into()),
        Err(WriteError::Refused(_)) => Err(SessionError::Refused("the code was used before")),
        Err(WriteError::Store(error)) => Err(error.into()),
    }
}

/// Whose admin session this token is, if it is open and its owner is still an active admin of the same epoch.
///
/// # Errors
/// If the store cannot be read.
pub fn session(ca: &Ca, token: &str) -> Result<Option<Email>, ReadError> {
    let key = sha256_hex(token.as_bytes());
    let now = ca.clock.now().unix_timestamp();
    ca.db.read(|view| {
        let record: Option<AdminSessionRecord> =
            view.get_json(Table::AdminSessions, key.as_bytes())?;
        let Some(record) = record.filter(|record| now < record.ends_unix) else {
            return Ok(None);
        };
        let employee: Option<policies::Employee> =
            view.get_json(Table::Employees, record.email.as_str().as_bytes())?;
        let admin = employee.is_some_and(|employee| {
            employee.status == Status::Active
                && employee.epoch == record.epoch
                && employee.roles.contains(&Role::Admin)
        });
        Ok(admin.then_some(record.email))
    })
}
