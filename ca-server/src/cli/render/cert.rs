//! Certificates, for people.

use anstyle::Style;
use ca_api::admin::CertificateView;

use super::table::{BAD, Cell, FAINT, Fields, GOOD, Table, WARN};
use crate::cli::time::Clock;

/// All of them, one a row.
#[must_use]
pub fn all(certificates: &[CertificateView], clock: Clock) -> String {
    if certificates.is_empty() {
        return "No such certificates.\n".to_owned();
    }
    let mut table = Table::new(["SERIAL", "KEY ID", "STATE", "UNTIL", "PRINCIPALS"]);
    for one in certificates {
        let (state, style) = state(one, clock);
        table.row([
            Cell::number(one.serial),
            Cell::text(&one.key_id),
            Cell::text(state).style(style),
            Cell::text(&clock.when(one.valid_before_unix)),
            Cell::list(&one.principals),
        ]);
    }
    table.render()
}

/// One, in full.
#[must_use]
pub fn one(one: &CertificateView, clock: Clock) -> String {
    let (state, style) = state(one, clock);
    Fields::new(&format!("certificate {}", one.serial))
        .field("key ID", &one.key_id)
        .field("key", &one.key)
        .styled("state", style, state)
        .field("from", &clock.until(one.valid_after_unix))
        .field("until", &clock.until(one.valid_before_unix))
        .list("principals", &one.principals)
        .render()
}

fn state(one: &CertificateView, clock: Clock) -> (&'static str, Style) {
    let now = clock.now.unix_timestamp();
    match one.state.as_str() {
        _ if one.revoked => ("revoked", BAD),
        "failed" => ("failed, never left", FAINT),
        _ if one.valid_before_unix <= now => ("expired", FAINT),
        // The server stopped between the record and the signature's return: it may be in somebody's hands.
        "intent" => ("counts as issued", WARN),
        _ if one.valid_after_unix > now => ("not yet valid", WARN),
        _ => ("valid", GOOD),
    }
}
