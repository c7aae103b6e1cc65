//! Live sessions on machines, for people.

use ca_api::admin::{NotReached, SessionView, SessionsEnded, SessionsView};

use super::table::{BAD, Cell, GOOD, Table, WARN, styled};
use crate::cli::{
    text::{count, line},
    time::Clock,
};

/// All of them, one a row.
#[must_use]
pub fn all(view: &SessionsView, clock: Clock) -> String {
    let mut out = String::new();
    if view.sessions.is_empty() {
        out.push_str("No live session.\n");
    } else {
        let mut table = Table::new(["ID", "ACCOUNT", "WHO", "SERIAL", "FROM", "SINCE", "STATE"]);
        for one in &view.sessions {
            table.row(row(one, clock));
        }
        out.push_str(&table.render());
    }
    let unknown = view
        .sessions
        .iter()
        .filter(|one| one.state == "unknown")
        .count();
    if unknown > 0 {
        let text = format!(
            "{} cannot be attributed to anybody: there is no record of the start.",
            count(unknown, "session")
        );
        out.push_str(&format!("{}\n", styled(WARN, &text)));
    }
    missed(&mut out, &view.not_reached);
    out
}

fn row(one: &SessionView, clock: Clock) -> [Cell; 7] {
    let who = match (one.state.as_str(), &one.employee, one.key_id.as_str()) {
        ("unknown", _, _) => "nobody can say".to_owned(),
        (_, _, "") => "no certificate (a key or a password)".to_owned(),
        (_, _, key_id) => key_id.to_owned(),
    };
    let style = match one.state.as_str() {
        "revoked" => BAD,
        "unknown" => WARN,
        _ => anstyle::Style::new(),
    };
    [
        Cell::text(&one.id),
        Cell::text(&one.account),
        Cell::text(&who),
        Cell::text(
            &one.serial
                .map_or(String::new(), |serial| serial.to_string()),
        ),
        Cell::text(&one.from),
        Cell::text(&one.since_unix.map_or(String::new(), |at| clock.when(at))),
        Cell::text(&one.state).style(style),
    ]
}

/// What came of ending sessions.
#[must_use]
pub fn ended(outcome: &SessionsEnded) -> String {
    let mut out = String::new();
    for one in &outcome.ended {
        let who = if one.key_id.is_empty() {
            String::new()
        } else {
            format!(" of {}", line(&one.key_id))
        };
        let text = format!("ended: {} ({}{who})", line(&one.id), line(&one.account));
        out.push_str(&format!("{}\n", styled(GOOD, &text)));
    }
    for id in &outcome.gone {
        out.push_str(&format!("not there any more: {}\n", line(id)));
    }
    for one in &outcome.open {
        let text = format!("STILL OPEN: {} ({})", line(&one.id), line(&one.account));
        out.push_str(&format!("{}\n", styled(BAD, &text)));
    }
    missed(&mut out, &outcome.not_reached);
    if outcome.ended.iter().any(|one| !one.key_id.is_empty()) {
        out.push_str(
            "The certificates behind them still work; to end those: ca-server krl revoke EMAIL\n",
        );
    }
    out
}

fn missed(out: &mut String, machines: &[NotReached]) {
    for one in machines {
        let text = format!(
            "{}: NOT REACHED, what is open there is not known — {}",
            line(&one.machine),
            line(&one.reason)
        );
        out.push_str(&format!("{}\n", styled(BAD, &text)));
    }
}
