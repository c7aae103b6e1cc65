//! Housekeeping: rows that ended are deleted, so that looking through what is open stays cheap.

use std::sync::Arc;

use serde::Deserialize;

use crate::{
    auth::attempts::Counter,
    ca::{Ca, unix_ms},
    ledger::{Actor, Event},
    records::{AdminSessionRecord, InvitationRecord, SessionRecord},
    store::{Direction, KeyRange, Read, ReadError, Table, WriteError},
};

/// Rows stay this long after their end, in seconds: a person who comes late is still told what ended.
const KEPT_SECS: i64 = 7 * 24 * 3600;

/// Rows deleted in one transaction at most: nobody waits behind a big clean-up.
const AT_ONCE: usize = 500;

/// When a row may go: the end of what it says, in Unix seconds.
fn end_of(table: Table, bytes: &[u8]) -> Option<i64> {
    fn read<'b, T: Deserialize<'b>>(bytes: &'b [u8]) -> Option<T> {
        serde_json::from_slice(bytes).ok()
    }
    match table {
        Table::Sessions => read::<SessionRecord>(bytes).map(|row| row.ends_unix),
        Table::AdminSessions => read::<AdminSessionRecord>(bytes).map(|row| row.ends_unix),
        Table::Invitations => read::<InvitationRecord>(bytes).map(|row| row.expires_unix),
        Table::Attempts => {
            read::<Counter>(bytes).map(|row| row.last_ms.max(row.blocked_until_ms) / 1000)
        }
        _ => None,
    }
}

/// Deletes rows that ended more than a week ago, a bounded number a table; the ledger says how many.
///
/// # Errors
/// If the store fails.
pub async fn prune(ca: &Arc<Ca>) -> Result<(), WriteError<ReadError>> {
    let now = ca.clock.now();
    let (at, before) = (unix_ms(now), now.unix_timestamp() - KEPT_SECS);
    for table in [
        Table::Sessions,
        Table::AdminSessions,
        Table::Invitations,
        Table::Attempts,
    ] {
        // Looked for outside the writer; judged again inside it.
        let old = ca
            .db
            .read(|view| ended(view, table, before))
            .map_err(WriteError::Refused)?;
        if old.is_empty() {
            continue;
        }
        ca.db
            .write_async(move |txn| {
                let mut rows = 0;
                for key in &old {
                    let value = txn.get(table, key)?;
                    if value
                        .is_some_and(|bytes| end_of(table, &bytes).is_some_and(|end| end < before))
                    {
                        txn.delete(table, key.clone());
                        rows += 1;
                    }
                }
                txn.record(
                    at,
                    &Actor::Server,
                    &Event::Pruned {
                        table: table.name().to_owned(),
                        rows,
                    },
                );
                Ok(())
            })
            .await?;
    }
    Ok(())
}

/// Writes down the refusals that were only counted.
///
/// # Errors
/// If the store fails.
pub async fn sum_refusals(ca: &Arc<Ca>) -> Result<(), WriteError<ReadError>> {
    let summed = ca.floods.drain();
    if summed.is_empty() {
        return Ok(());
    }
    let at = unix_ms(ca.clock.now());
    ca.db
        .write_async(move |txn| {
            for (network, count) in &summed {
                txn.record(
                    at,
                    &Actor::Server,
                    &Event::RefusalsSummed {
                        network: network.clone(),
                        count: *count,
                    },
                );
            }
            Ok(())
        })
        .await
}

fn ended<R: Read>(source: &R, table: Table, before: i64) -> Result<Vec<Vec<u8>>, ReadError> {
    use std::ops::ControlFlow;
    let mut old = Vec::new();
    source.visit(
        table,
        &KeyRange::all(),
        Direction::Forward,
        &mut |key, bytes| {
            if end_of(table, bytes).is_some_and(|end| end < before) {
                old.push(key.to_vec());
            }
            if old.len() < AT_ONCE {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        },
    )?;
    Ok(old)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_cannot_be_read_is_kept() {
        for table in Table::ALL {
            assert_eq!(end_of(*table, b"not JSON"), None);
        }
        let counter = Counter {
            failures: 1,
            blocked_until_ms: 5_000,
            last_ms: 3_000,
        };
        let bytes = serde_json::to_vec(&counter).unwrap();
        assert_eq!(end_of(Table::Attempts, &bytes), Some(5));
        assert_eq!(end_of(Table::Employees, &bytes), None);
    }
}
