//! `clock …`: whether the wall clock is believed, and the admin's word that it is right.

use ca_api::{
    ApiError, ErrorCode,
    admin::{AdminReply, ClockView},
};

use super::change::store_error;
use crate::{ca::Ca, clock::watch, issue, ledger::Actor};

/// `clock show`.
pub fn show(ca: &Ca) -> AdminReply {
    let (now, doubt) = ca.clock.look();
    let by_secs = doubt.map_or(0, |doubt| doubt.by_secs);
    AdminReply::Clock(ClockView {
        steady: doubt.is_none(),
        now_unix: now.unix_timestamp(),
        wall_unix: now.unix_timestamp().saturating_add(by_secs),
        doubt: doubt.map_or_else(String::new, |doubt| doubt.what()),
        by_secs,
    })
}

/// `clock accept`.
pub async fn accept(ca: &Ca, actor: Actor) -> Result<AdminReply, ApiError> {
    match watch::accept(ca, actor).await.map_err(issue::store_error) {
        Ok(Some(_)) => Ok(show(ca)),
        Ok(None) => Err(ApiError::new(
            ErrorCode::Conflict,
            "the clock is believed already; nothing was changed",
        )),
        Err(issue::IssueError::Store(error)) => Err(store_error(&error)),
        Err(other) => Err(ApiError::new(ErrorCode::Unavailable, other.to_string())),
    }
}
