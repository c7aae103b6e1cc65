//! How it stands after a restore, for people.

use ca_api::admin::RecoveryView;

use super::table::{BAD, Fields, GOOD, styled};
use crate::cli::{
    text::{count, line},
    time::Clock,
};

/// What is known, and what to do next.
#[must_use]
pub fn view(view: &RecoveryView, clock: Clock) -> String {
    if !view.restored {
        return "This CA was never restored from a backup.\n".to_owned();
    }
    let made = view
        .made_unix
        .map_or_else(String::new, |unix| clock.distance(unix));
    let restored = view
        .restored_unix
        .map_or_else(String::new, |unix| clock.distance(unix));
    let read = view.machines.saturating_sub(view.unread.len());
    let mut out = Fields::new("Restored from a backup")
        .field("made", &made)
        .field("restored", &restored)
        .field("epoch", &view.instance_epoch.to_string())
        .field(
            "read back",
            &format!("{read} of {}", count(view.machines, "machine")),
        )
        .field(
            "taken over",
            &count(
                usize::try_from(view.merged).unwrap_or(usize::MAX),
                "revocation",
            ),
        )
        .list("suspended", &view.suspended)
        .render();
    for machine in &view.unread {
        let why = if machine.trouble.is_empty() {
            "not asked yet"
        } else {
            &machine.trouble
        };
        out.push_str(&format!(
            "Not read yet: {}: {}\n",
            line(&machine.machine),
            line(why)
        ));
    }
    for note in &view.notes {
        out.push_str(&format!("Not believed: {}\n", line(note)));
    }
    for key in &view.own_keys {
        out.push_str(&styled(BAD, &format!("This CA's own key {} was revoked since the backup: machines refuse it. Restore a newer backup, or make a new key.", line(key))));
        out.push('\n');
    }
    for key in &view.later_keys {
        out.push_str(&format!(
            "The CA key {} was made since the backup, and is lost with the CA: everything that it signed is refused. Machines go back to the \
             backup's key by themselves; it was replaced once already, so replace it again (`ca-server ca rotate`).\n",
            line(key)
        ));
    }
    if !view.suspended.is_empty() {
        out.push_str("\nThey were revoked since the backup, and their old password and authenticator are in force again. Who is to come back:\n");
        for email in &view.suspended {
            out.push_str(&format!(
                "  ca-server employee reset {0} && ca-server employee resume {0}\n",
                line(email)
            ));
        }
    }
    if view.open {
        out.push_str(&styled(
            GOOD,
            "Open: people log in, and each of them once more.",
        ));
        out.push('\n');
    } else {
        out.push_str(&format!(
            "\n{}\nLook at what was changed since the backup: people, grants (`ca-server policy export`), machines (`ca-server machine list`).\n\
             Then: ca-server recovery finish\n",
            styled(BAD, "Shut: nobody logs in, renews or enrols.")
        ));
    }
    out
}
