//! Static keys on machines, for people: whose each is, when it was last used, and what to do next.

use ca_api::admin::{MachineKeyView, MachineKeys};

use super::table::{BAD, Cell, FAINT, Table, WARN, styled};
use crate::cli::{text::line, time::Clock};

/// All of them, machine by machine.
#[must_use]
pub fn all(machines: &[MachineKeys], clock: Clock) -> String {
    if machines.is_empty() {
        return "No machine to look at.\n".to_owned();
    }
    let mut table = Table::new([
        "MACHINE",
        "ACCOUNT",
        "WHOSE",
        "LAST USED",
        "STATE",
        "KEY",
        "PLACE",
    ]);
    let mut rows = 0;
    for one in machines {
        for key in &one.keys {
            rows += 1;
            table.row(row(one, key, clock));
        }
    }
    let mut out = if rows > 0 {
        table.render()
    } else {
        "No static key.\n".to_owned()
    };
    for one in machines {
        notes(&mut out, one, clock);
    }
    let open = machines.iter().flat_map(|one| &one.keys);
    let open = open
        .filter(|key| key.door == "other" && key.state == "opens")
        .count();
    out.push('\n');
    if open == 0 {
        out.push_str("No static key opens any account but the admins' own and the CA's.\n");
    } else {
        let open = if open == 1 {
            "1 static key opens".to_owned()
        } else {
            format!("{open} static keys open")
        };
        out.push_str(&format!(
            "{open} accounts beside the admins' own. To end that: ca-server machine enforce NAME, or --pool POOL; to go back: ca-server \
             machine observe NAME\n"
        ));
    }
    out
}

fn row(one: &MachineKeys, key: &MachineKeyView, clock: Clock) -> [Cell; 7] {
    let whose = match (&key.employee, key.comment.as_str()) {
        (Some(email), _) => format!("{email} (certified)"),
        (None, "") => "nobody says".to_owned(),
        (None, comment) => format!("\"{comment}\""),
    };
    let used = match (key.last_used_unix, one.logs.is_empty()) {
        (Some(at), _) => clock.distance(at),
        (None, true) => "no log".to_owned(),
        (None, false) => "not in the log".to_owned(),
    };
    let (state, style) = match (key.state.as_str(), key.door.as_str()) {
        ("opens", "admin") => ("opens (admin)".to_owned(), anstyle::Style::new()),
        ("opens", "ca") => ("opens (the CA's)".to_owned(), anstyle::Style::new()),
        ("opens", _) => ("opens".to_owned(), WARN),
        (other, _) => (other.to_owned(), FAINT),
    };
    let options = if key.options.contains("cert-authority") {
        " CERT-AUTHORITY"
    } else {
        ""
    };
    [
        Cell::text(&one.machine),
        Cell::text(&key.account),
        Cell::text(&whose),
        Cell::text(&used),
        Cell::text(&state).style(style),
        Cell::text(&format!("{} {}{options}", key.algorithm, key.fingerprint)),
        Cell::text(&format!("{}:{}", key.file, key.line)),
    ]
}

fn notes(out: &mut String, one: &MachineKeys, clock: Clock) {
    let name = line(&one.machine);
    if !one.trouble.is_empty() {
        let text = format!("{name}: NOT REACHED — {}", line(&one.trouble));
        out.push_str(&format!("{}\n", styled(BAD, &text)));
        return;
    }
    for command in &one.commands {
        let text = format!(
            "{name}: sshd also asks a program for keys ({}); they are not in this list",
            line(command)
        );
        out.push_str(&format!("{}\n", styled(WARN, &text)));
    }
    if one.keys.is_empty() {
        return;
    }
    let since = one.logs.iter().filter_map(|log| log.since_unix).min();
    let sources: Vec<&str> = one.logs.iter().map(|log| log.source.as_str()).collect();
    let text = match since {
        _ if one.logs.is_empty() => {
            "no log of sshd's was found, so nobody can say when a key was last used".to_owned()
        }
        Some(since) => format!(
            "its log ({}) goes back to {}",
            line(&sources.join(", ")),
            clock.when(since)
        ),
        None => format!("its log is {}", line(&sources.join(", "))),
    };
    out.push_str(&format!("{name}: {text}\n"));
}
