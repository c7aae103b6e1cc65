//! What a check-up found, for people: what is the case, what it means, what to do.

use anstyle::Style;
use ca_api::admin::{CheckFinding, Gravity, MachineCheck};

use super::{
    delivery::are,
    table::{BAD, Cell, FAINT, GOOD, WARN, styled},
};
use crate::cli::{
    text::{count, line},
    time::Clock,
};

/// A check-up, machine by machine: all is well first, the worst last.
#[must_use]
pub fn checked(machines: &[MachineCheck]) -> String {
    if machines.is_empty() {
        return "No machine to check.\n".to_owned();
    }
    let mut out = String::new();
    let mut rows: Vec<_> = machines.iter().collect();
    rows.sort_by_key(|one| (!one.reached, one.worst()));
    for one in rows {
        let (word, style) = verdict(one);
        out.push_str(&format!(
            "{}: {}\n",
            line(&one.machine),
            styled(style, &word)
        ));
        for finding in &one.repaired {
            let text = format!("repaired: {}", line(&finding.what));
            out.push_str(&format!("  {}\n", styled(GOOD, &text)));
        }
        for finding in &one.findings {
            out.push_str(&told(finding));
        }
    }
    let wrong = machines
        .iter()
        .filter(|one| one.reached && one.is_wrong())
        .count();
    let missed = machines.iter().filter(|one| !one.reached).count();
    out.push('\n');
    if (wrong, missed) == (0, 0) {
        out.push_str(&format!("{} as wanted.\n", are(machines.len())));
    } else {
        out.push_str(&format!(
            "{}: {wrong} not as wanted, {missed} not reached.\n",
            count(machines.len(), "machine")
        ));
    }
    let repairable = |one: &&MachineCheck| one.findings.iter().any(|finding| finding.repairable);
    if machines
        .iter()
        .filter(repairable)
        .any(|one| one.repaired.is_empty())
    {
        out.push_str("What is marked [repair] the CA mends itself: ca-server check --repair\n");
    }
    out
}

fn told(finding: &CheckFinding) -> String {
    let (word, style) = match finding.gravity {
        Gravity::Danger => ("DANGER", BAD),
        Gravity::Warning => ("warning", WARN),
        Gravity::Notice => ("notice", FAINT),
    };
    let mend = if finding.repairable { " [repair]" } else { "" };
    format!(
        "  {}: {}{mend}\n      means: {}\n      do:    {}\n",
        styled(style, word),
        line(&finding.what),
        line(&finding.meaning),
        line(&finding.remedy)
    )
}

fn verdict(one: &MachineCheck) -> (String, Style) {
    if !one.reached {
        return ("NOT REACHED".to_owned(), BAD);
    }
    match one.worst() {
        Some(Gravity::Danger) => (counts(one), BAD),
        Some(Gravity::Warning) => (counts(one), WARN),
        Some(Gravity::Notice) => (format!("as wanted ({})", counts(one)), GOOD),
        None => ("as wanted".to_owned(), GOOD),
    }
}

/// `2 dangers, 1 warning`; what there is none of is left out.
fn counts(one: &MachineCheck) -> String {
    let parts = [
        (Gravity::Danger, "danger"),
        (Gravity::Warning, "warning"),
        (Gravity::Notice, "notice"),
    ];
    let parts = parts.iter().filter_map(|(gravity, word)| {
        let number = one.count(*gravity);
        (number > 0).then(|| count(number, word))
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// The last check-up in a row of machines.
#[must_use]
pub fn cell(check: Option<&MachineCheck>, clock: Clock) -> Cell {
    let Some(one) = check else {
        return Cell::text("never").style(FAINT);
    };
    let (word, style) = match (one.reached, one.worst()) {
        (false, _) => ("not reached".to_owned(), BAD),
        (true, Some(Gravity::Notice) | None) => ("as wanted".to_owned(), Style::new()),
        _ => verdict(one),
    };
    Cell::text(&format!("{word}, {}", clock.distance(one.at_unix))).style(style)
}

/// The last check-up in full, a line each.
#[must_use]
pub fn lines(check: Option<&MachineCheck>, clock: Clock) -> Vec<String> {
    let Some(one) = check else {
        return Vec::new();
    };
    let mut lines = vec![format!(
        "{}, {}",
        verdict(one).0,
        clock.distance(one.at_unix)
    )];
    for finding in &one.findings {
        let word = match finding.gravity {
            Gravity::Danger => "DANGER",
            Gravity::Warning => "warning",
            Gravity::Notice => "notice",
        };
        lines.push(format!("{word}: {}; {}", finding.what, finding.remedy));
    }
    lines
}
