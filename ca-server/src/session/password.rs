//! A person changes their password: with the old one and a code, like a login.

use std::{net::IpAddr, sync::Arc};

use ca_api::{PasswordChanged, PasswordRequest};
use policies::Email;

use super::{
    SessionError,
    login::{AdmitError, authenticate, employee},
};
use crate::{
    auth::password::check_new,
    ca::{Ca, unix_ms},
    ledger::Event,
    records::{AdminSessionRecord, Credentials, open_sessions},
    store::{KeyRange, Read, ReadError, Table, Txn, WriteError},
};

/// `POST /v1/password`. Ends every session of the person, an admin's short ones too.
///
/// # Errors
/// When they are not let in, or the new password is not taken.
pub async fn change(
    ca: &Arc<Ca>,
    request: PasswordRequest,
    from: IpAddr,
) -> Result<PasswordChanged, SessionError> {
    let person = authenticate(
        ca,
        &request.email,
        &request.password,
        &request.totp,
        from,
        None,
    )
    .await?;
    let account = person.email.as_str().split('@').next().unwrap_or_default();
    check_new(
        &request.new_password,
        &[person.email.as_str(), account],
        ca.breached.as_ref(),
    )?;
    let hash = ca.hasher.hash(&request.new_password).await?;
    let now = ca.clock.now();
    let at = unix_ms(now);
    let outcome = ca
        .db
        .write_async(move |txn| {
            person.redeem(txn, now)?;
            let key = person.email.as_str().as_bytes();
            let mut credentials: Credentials =
                txn.get_json(Table::Credentials, key)?.unwrap_or_default();
            credentials.password = Some(hash.clone());
            txn.put_json(Table::Credentials, key, &credentials);
            for (id, _) in open_sessions(txn, &person.email, now.unix_timestamp())? {
                txn.delete(Table::Sessions, id);
            }
            end_admin_sessions(txn, &person.email)?;
            txn.record(
                at,
                &employee(&person.email, from),
                &Event::PasswordChanged {
                    email: person.email.clone(),
                },
            );
            Ok::<_, AdmitError>(())
        })
        .await;
    match outcome {
        Ok(()) => Ok(PasswordChanged {}),
        Err(WriteError::Refused(AdmitError::Read(error))) => Err(error.into()),
        Err(WriteError::Refused(_)) => Err(SessionError::Refused("the code was used before")),
        Err(WriteError::Store(error)) => Err(error.into()),
    }
}

/// Whoever learned the old password may hold one of these.
fn end_admin_sessions(txn: &mut Txn<'_>, email: &Email) -> Result<(), ReadError> {
    let all =
        txn.scan_json::<AdminSessionRecord>(Table::AdminSessions, &KeyRange::all(), usize::MAX)?;
    for (key, _) in all.into_iter().filter(|(_, held)| held.email == *email) {
        txn.delete(Table::AdminSessions, key);
    }
    Ok(())
}
