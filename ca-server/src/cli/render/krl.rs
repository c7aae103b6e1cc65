//! What is revoked, for people.

use ca_api::admin::{KrlView, MachineBehind};

use super::table::{BAD, Cell, GOOD, Table, styled};
use crate::cli::{text::count, time::Clock};

/// Machines that have not proven it, and what that means.
fn behind(machines: &[MachineBehind], clock: Clock) -> String {
    let mut table = Table::new(["BEHIND", "KRL", "EXPOSED", "LAST SEEN", "WHY"]);
    for one in machines {
        let exposed = match one.exposed_until_unix {
            Some(until) => Cell::text(&format!("until {}", clock.until(until))).style(BAD),
            None => Cell::text("to nothing that is live"),
        };
        let why = if one.trouble.is_empty() {
            "it is on its way"
        } else {
            &one.trouble
        };
        table.row([
            Cell::text(&one.machine),
            Cell::number(one.krl_version),
            exposed,
            Cell::text(
                &one.last_seen_unix
                    .map_or("never".to_owned(), |unix| clock.distance(unix)),
            ),
            Cell::text(why),
        ]);
    }
    table.render()
}

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
        out.push('\n');
        out.push_str(&behind(&view.behind, clock));
        out.push_str("They get it when they are back. Try again now: ca-server krl push\n");
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
