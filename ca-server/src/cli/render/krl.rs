//! What is revoked, for people.

use ca_api::admin::KrlView;

use super::table::{BAD, Cell, GOOD, Table, styled};
use crate::cli::{text::count, time::Clock};

/// The KRL: how far it got, and what stands in it.
#[must_use]
pub fn view(view: &KrlView, clock: Clock) -> String {
    let proven = format!(
        "proven on {} of {}",
        view.machines_current,
        count(view.machines, "machine")
    );
    let style = if view.machines_current < view.machines {
        BAD
    } else {
        GOOD
    };
    let mut out = format!(
        "KRL {}, built {}, {} bytes, {}.\n",
        view.version,
        clock.until(view.built_unix),
        view.bytes,
        styled(style, &proven)
    );
    if view.machines_current < view.machines {
        out.push_str(
            "Which are behind: ca-server machine list. Try again now: ca-server krl push\n",
        );
    }
    if view.entries.is_empty() {
        out.push_str("Nothing is revoked.\n");
        return out;
    }
    let mut table = Table::new(["REVOKED", "WHAT", "KEPT UNTIL", "REASON"]);
    for entry in &view.entries {
        table.row([
            Cell::text(&clock.when(entry.at_unix)),
            Cell::text(&entry.what),
            Cell::text(
                &entry
                    .until_unix
                    .map_or("for ever".to_owned(), |unix| clock.when(unix)),
            ),
            Cell::text(&entry.reason),
        ]);
    }
    out.push('\n');
    out.push_str(&table.render());
    out
}
