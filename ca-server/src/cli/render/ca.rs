//! The CA's own keys, for people: what a command did, what each key is in its life, and who is waited for.

use ca_api::admin::{CaKey, CaKeyView, CaKeys, DeliveryOutcome, RotationView};

use super::{
    delivery::worst_last,
    table::{BAD, Cell, GOOD, Table, WARN, styled},
};
use crate::cli::{
    text::{count, line},
    time::Clock,
};

/// Names of those who are waited for, at most so many: the rest is counted.
const SHOWN: usize = 20;

/// The keys, and how their replacements stand.
#[must_use]
pub fn keys(keys: &CaKeys, clock: Clock) -> String {
    let mut out = String::new();
    for one in &keys.did {
        out.push_str(&format!("{}\n", line(one)));
    }
    for one in worst_last(&keys.machines) {
        if let DeliveryOutcome::NotReached { reason, .. } = &one.outcome {
            let text = format!("{}: NOT REACHED — {}", line(&one.machine), line(reason));
            out.push_str(&format!("{}\n", styled(BAD, &text)));
        }
    }
    if !out.is_empty() {
        out.push('\n');
    }
    let mut table = Table::new(["KEY", "LIFE", "SINCE", "TRUSTED BY", "FINGERPRINT"]);
    for one in &keys.keys {
        table.row(row(one, clock));
    }
    out.push_str(&table.render());
    for one in &keys.keys {
        if !matches!(one.signer.as_str(), "" | "file") {
            out.push_str(&format!(
                "{} signs in {}\n",
                line(&one.name),
                line(&one.signer)
            ));
        }
    }
    for one in &keys.rotations {
        out.push('\n');
        out.push_str(&rotation(one, clock));
    }
    out
}

fn row(one: &CaKeyView, clock: Clock) -> [Cell; 5] {
    let (style, since) = match one.life.as_str() {
        "current" => (GOOD, one.signs_since_unix),
        "compromised" => (BAD, one.signed_until_unix),
        "retiring" => (WARN, one.signed_until_unix),
        "retired" => (anstyle::Style::new(), one.ended_unix),
        _ => (WARN, Some(one.made_unix)),
    };
    // Machines trust user CA keys, and show certificates of host CA keys; nothing is counted of the others.
    let trusted = match one.name.split('.').next() {
        Some("user_ca" | "fleet") => {
            format!("{} of {}", one.trusted_by, count(one.machines, "machine"))
        }
        Some("host_ca") => format!("shown by {} of {}", one.trusted_by, one.machines),
        _ => String::new(),
    };
    [
        Cell::text(&one.name),
        Cell::text(&one.life).style(style),
        Cell::text(&since.map_or(String::new(), |at| clock.when(at))),
        Cell::text(&trusted),
        Cell::text(&one.fingerprint),
    ]
}

fn rotation(one: &RotationView, clock: Clock) -> String {
    let mut out = format!("{}: {}", one.key.word(), line(&one.stage));
    if let Some(until) = one.until_unix {
        out.push_str(&format!(": {}", clock.until(until)));
    }
    out.push_str(".\n");
    if !one.waits_for.is_empty() {
        let text = format!("waiting for {}:", one.waits_for.len());
        out.push_str(&format!("  {}\n", styled(WARN, &text)));
    }
    for waits in one.waits_for.iter().take(SHOWN) {
        out.push_str(&format!("    {}: {}\n", line(&waits.who), line(&waits.why)));
    }
    if one.waits_for.len() > SHOWN {
        out.push_str("    … (--json shows all)\n");
    }
    if !one.leave_behind.is_empty() {
        let names = line(&one.leave_behind.join(", "));
        out.push_str(&format!("  left behind, not waited for: {names}\n"));
    }
    let word = one.key.word();
    if one.key == CaKey::Tls {
        out.push_str("  Next, when everybody has logged in since: ca-server ca retire tls (without machines that are waited for: --leave-behind MACHINE)\n");
        return out;
    }
    out.push_str(&match (one.pace, one.waits_for.is_empty()) {
        (ca_api::admin::Pace::Auto, _) => "  It goes on by itself.\n".to_owned(),
        (ca_api::admin::Pace::Step, true) => {
            format!("  Next: ca-server ca rotate {word} --step\n")
        }
        (ca_api::admin::Pace::Step, false) => format!(
            "  Next, when they have: ca-server ca rotate {word} --step (or now, without them: --leave-behind MACHINE)\n"
        ),
    });
    out
}
