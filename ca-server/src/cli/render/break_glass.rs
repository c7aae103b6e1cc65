//! Break-glass credentials, for people.

use std::path::Path;

use ca_api::admin::BreakGlassView;

use super::table::{BAD, Cell, GOOD, Table, styled};
use crate::cli::{
    text::{count, line, shell_word},
    time::Clock,
};

const MAKE: &str = "Make some: ca-server break-glass make FOLDER\n";

/// Which credentials machines trust.
#[must_use]
pub fn view(view: &BreakGlassView, clock: Clock) -> String {
    if view.keys.is_empty() {
        return format!(
            "There are no break-glass credentials: with the CA and ssh-admin lost, nobody could come in.\n{MAKE}"
        );
    }
    let mut table = Table::new(["KEY", "OPENED BY", "MADE", "STATE"]);
    for key in &view.keys {
        let state = match key.ended_unix {
            None => Cell::text("trusted").style(GOOD),
            Some(at) => Cell::text(&format!("revoked {}", clock.distance(at))),
        };
        table.row([
            Cell::text(&key.fingerprint),
            Cell::text(&format!("{} of {}", key.needed, key.shares)),
            Cell::text(&clock.distance(key.made_unix)),
            state,
        ]);
    }
    let mut out = table.render();
    if view.keys.iter().all(|key| key.ended_unix.is_some()) {
        out.push_str(&format!(
            "None is trusted: with the CA and ssh-admin lost, nobody could come in.\n{MAKE}"
        ));
    }
    if !view.behind.is_empty() {
        out.push_str(&styled(
            BAD,
            &format!(
                "Not there yet on {} of {}: {}",
                view.behind.len(),
                count(view.machines, "machine"),
                line(&view.behind.join(", "))
            ),
        ));
        out.push('\n');
    }
    out
}

/// New credentials.
#[must_use]
pub fn made(folder: &Path, needed: u8, shares: u8) -> String {
    let shown = shell_word(&folder.display().to_string());
    format!(
        "Sealed credentials are in {}: `sealed`, and {shares} shares of which any {needed} open it.\n\
         Give each share to another person, on paper or on a stick of their own; keep copies of `sealed` where they find it. Then: rm -r {shown}\n\n\
         Try it while all of them are there:\n  \
         ca-server break-glass drill {shown}/sealed --share … MACHINE\n\
         On the day:\n  \
         ca-server break-glass open sealed --share … --out way-in && ssh -i way-in/breakglass breakglass@MACHINE\n",
        folder.display()
    )
}

/// A way in.
#[must_use]
pub fn opened(key: &Path, until_unix: i64, clock: Clock) -> String {
    let key_word = shell_word(&key.display().to_string());
    format!(
        "The key and its certificate are beside each other: {}. It opens every machine until {}:\n\n  \
         ssh -o IdentitiesOnly=yes -i {key_word} breakglass@MACHINE      # sudo needs no password\n\n\
         Every use is in the machine's log, and alarms at the next check-up. Delete the folder when you are done.\n",
        key.display(),
        clock.until(until_unix)
    )
}

/// Machine by machine: would it open?
#[must_use]
pub fn drilled(machines: &[(String, Option<String>)]) -> String {
    machines
        .iter()
        .map(|(machine, trouble)| match trouble {
            None => format!("{} {}\n", line(machine), styled(GOOD, "would open")),
            Some(why) => format!(
                "{} {}: {}\n",
                line(machine),
                styled(BAD, "would not open"),
                line(why)
            ),
        })
        .collect()
}
