//! The ledger, for people.

use ca_api::admin::{LedgerHead, LedgerLine};

use super::table::{Cell, GOOD, Table, styled};
use crate::cli::{
    text::{block, line},
    time::Clock,
};

/// Entries, oldest first.
#[must_use]
pub fn lines(lines: &[LedgerLine], clock: Clock) -> String {
    if lines.is_empty() {
        return "No such entries in the ledger.\n".to_owned();
    }
    let mut table = Table::new(["SEQ", "WHEN", "WHO", "EVENT", "ABOUT", "DETAIL"]);
    for one in lines {
        table.row([
            Cell::number(one.seq),
            Cell::text(&clock.exact(one.at_unix)),
            Cell::text(&one.actor),
            Cell::text(&one.event),
            Cell::text(&one.about),
            Cell::text(&one.detail),
        ]);
    }
    table.render()
}

/// The chain is whole.
#[must_use]
pub fn verified(head: &LedgerHead) -> String {
    format!(
        "{}: entries 1 to {}, no edit, no gap, no truncation.\n\
         Head: {}\n\
         A head that is kept elsewhere (`ca-server audit export FILE`) also shows a ledger that was replaced as a whole:\n\
         `ca-server audit verify --head FILE`.\n",
        styled(GOOD, "The ledger is whole"),
        head.entries,
        line(&head.hash)
    )
}

/// The signed head, as `audit verify --head` reads it: a line of JSON and an SSHSIG over it.
#[must_use]
pub fn signed_head(head: &LedgerHead) -> String {
    format!("{}\n", block(&head.signature).trim_end())
}
