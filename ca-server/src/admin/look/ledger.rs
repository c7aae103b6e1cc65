//! The ledger as the commands show it.

use ca_api::{
    ApiError, ErrorCode,
    admin::{AdminReply, LedgerHead, LedgerLine},
};

use super::{Reply, failed, view};
use crate::{
    ca::{Ca, unix_ms},
    ledger::{self, Entry, SignedHead},
    store::{Direction, KeyRange, Read, Snapshot, Table},
};

/// How many ledger entries are shown if nobody says how many.
const LEDGER_LINES: u64 = 50;

pub fn ledger(ca: &Ca, last: Option<u64>, about: Option<&str>) -> Reply {
    let (view, _) = view(ca)?;
    let limit = usize::try_from(last.unwrap_or(LEDGER_LINES)).unwrap_or(usize::MAX);
    let mut lines = Vec::new();
    let mut broken = None;
    view.visit(
        Table::Ledger,
        &KeyRange::all(),
        Direction::Backward,
        &mut |_, bytes| {
            use std::ops::ControlFlow;
            match Entry::from_bytes(bytes) {
                Ok(entry) => {
                    let line = line(&entry);
                    if about.is_none_or(|about| concerns(&entry, &line, about)) {
                        lines.push(line);
                    }
                }
                Err(error) => {
                    broken = Some(error);
                    return ControlFlow::Break(());
                }
            }
            if lines.len() < limit {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        },
    )
    .map_err(failed)?;
    if let Some(error) = broken {
        return Err(failed(error));
    }
    lines.reverse();
    Ok(AdminReply::Ledger(lines))
}

fn line(entry: &Entry) -> LedgerLine {
    LedgerLine {
        seq: entry.seq,
        at_unix: entry.at_unix_ms / 1000,
        actor: ledger::printable(&entry.actor.to_string()),
        event: entry.event.word(),
        about: entry.event.about(),
        detail: entry.event.detail(),
    }
}

fn concerns(entry: &Entry, line: &LedgerLine, about: &str) -> bool {
    line.about == about
        || entry.event.employee().as_deref() == Some(about)
        || line.actor.contains(about)
}

pub fn verify(ca: &Ca, head: Option<&str>) -> Reply {
    let (view, _) = view(ca)?;
    let refused = |what: String| {
        ApiError::new(ErrorCode::Conflict, what)
            .hint("the ledger was changed outside of this CA: keep the data folder as it is, and look who could write there")
    };
    let from = match head {
        None => ledger::Head::genesis(&ca.db.ca_id()),
        Some(text) => text
            .parse::<SignedHead>()
            .and_then(|signed| signed.check(&ca.db.ca_id(), ca.keys().ledger.public_key()))
            .map_err(|error| {
                ApiError::new(
                    ErrorCode::Invalid,
                    format!("the exported head cannot be used: {error}"),
                )
            })?,
    };
    // From the beginning always: an exported head proves that nothing before it was changed since.
    ledger::verify_all(&view, &ca.db.ca_id()).map_err(|error| refused(error.to_string()))?;
    ledger::verify(&view, &from).map_err(|error| refused(error.to_string()))?;
    Ok(AdminReply::Verified(signed_head(ca, &view)?))
}

pub fn head(ca: &Ca) -> Reply {
    let (view, _) = view(ca)?;
    Ok(AdminReply::LedgerHead(signed_head(ca, &view)?))
}

fn signed_head(ca: &Ca, view: &Snapshot) -> Result<LedgerHead, ApiError> {
    let head = view.head();
    let signed = SignedHead::sign(
        &ca.db.ca_id(),
        &head,
        unix_ms(ca.clock.now()),
        &ca.keys().ledger,
    )
    .map_err(|error| ApiError::new(ErrorCode::Unavailable, error.to_string()))?;
    Ok(LedgerHead {
        entries: head.entries,
        hash: data_encoding::HEXLOWER.encode(&head.hash),
        signature: signed.to_string(),
    })
}
