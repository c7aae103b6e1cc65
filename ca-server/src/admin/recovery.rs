//! `recovery …`: what is known after a restore, and the admin's word that issuance opens.

use std::sync::Arc;

use ca_api::{
    ApiError, ErrorCode,
    admin::{AdminReply, RecoveryView, UnreadMachine},
};

use super::change::{api_error, store_error};
use crate::{
    admin::change::ChangeError,
    ca::{Ca, unix_ms},
    ledger::{Actor, Event},
    records::{SeenRecord, fleet},
    recovery::{self, record, unread},
    store::{Read, ReadError, Table},
};

/// What to do where machines were not read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    /// Stay shut.
    Refuse,
    /// Open all the same: they are read when they are back.
    Leave,
}

/// `recovery show`.
pub fn show(ca: &Ca) -> Result<AdminReply, ApiError> {
    ca.db
        .read(view)
        .map(AdminReply::Recovery)
        .map_err(|error: ReadError| store_error(&error.into()))
}

fn view<R: Read>(source: &R) -> Result<RecoveryView, ReadError> {
    let Some(record) = record(source)? else {
        return Ok(RecoveryView {
            open: true,
            ..RecoveryView::default()
        });
    };
    let mut left = Vec::new();
    for machine in unread(source)? {
        let seen: Option<SeenRecord> = source.get_json(Table::Seen, machine.as_str().as_bytes())?;
        left.push(UnreadMachine {
            machine: machine.to_string(),
            trouble: seen.unwrap_or_default().trouble,
        });
    }
    Ok(RecoveryView {
        restored: true,
        open: record.open,
        made_unix: Some(record.made_unix),
        restored_unix: Some(record.restored_unix),
        instance_epoch: record.instance_epoch,
        machines: fleet(source)?.len(),
        unread: left,
        merged: record.merged,
        suspended: record.suspended.iter().map(ToString::to_string).collect(),
        own_keys: record.own_keys.iter().cloned().collect(),
        later_keys: record.later_keys.iter().cloned().collect(),
        notes: record.notes,
    })
}

/// `recovery finish`.
pub async fn finish(ca: &Arc<Ca>, actor: Actor, how: Unread) -> Result<AdminReply, ApiError> {
    let at = unix_ms(ca.clock.now());
    ca.db
        .write_async(move |txn| {
            let Some(record) = record(txn)? else {
                return Err(ChangeError::from(ApiError::new(
                    ErrorCode::Conflict,
                    "this CA was never restored from a backup; nothing is shut",
                )));
            };
            if record.open {
                return Ok(());
            }
            let unread = unread(txn)?;
            if !unread.is_empty() && how == Unread::Refuse {
                return Err(still_unread(unread.len()).into());
            }
            recovery::open(txn, record);
            txn.record(at, &actor, &Event::RecoveryFinished { unread });
            Ok(())
        })
        .await
        .map_err(api_error)?;
    show(ca)
}

fn still_unread(count: usize) -> ApiError {
    ApiError::new(
        ErrorCode::Conflict,
        format!("{count} machines were not read back yet: what they hold as revoked may be missing here; nothing was opened"),
    )
    .hint("see which with `ca-server recovery show`; `ca-server recovery finish --without-unread` opens all the same, and they are read when they are back")
}
