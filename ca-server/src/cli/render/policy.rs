//! Plans, for people: who gains and loses what where, then machines, accounts, rules, warnings, expectations, and the next command.

mod changes;

use anstyle::Style;
use ca_api::admin::{DocumentLine, ImportView, PlanView, PolicyApplied, PolicyPlanned};

use self::changes::{changes, section};
use super::{
    delivery::synced,
    table::{BAD, Cell, FAINT, GOOD, Table, WARN, styled},
};
use crate::cli::{
    text::{count, line, shell_word},
    time::Clock,
};

/// What comes after a plan that was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The command that applies it is named.
    SayNext,
    /// It is about to be applied.
    Apply,
}

/// How many characters of a digest are shown: `--base` takes them.
const DIGEST: usize = 12;

/// A plan.
#[must_use]
pub fn planned(planned: &PolicyPlanned, then: Then, _clock: Clock) -> String {
    let mut out = String::new();
    if let Some(import) = &planned.import {
        out.push_str(&imported(import));
    }
    if !planned.faults.is_empty() {
        out.push_str(&faults(planned));
        return out;
    }
    if let Some(plan) = &planned.plan {
        let changes = changes(plan);
        if !(out.is_empty() || changes.is_empty()) {
            out.push('\n');
        }
        out.push_str(&changes);
        section(&mut out, "Warnings", &warnings(planned, plan));
    }
    section(&mut out, "Expectations", &expectations(planned));
    if !out.is_empty() {
        out.push('\n');
    }
    out.push_str(&verdict(planned));
    if then == Then::SayNext {
        out.push_str(&next(planned));
    }
    out
}

/// What was applied.
#[must_use]
pub fn applied(applied: &PolicyApplied, clock: Clock) -> String {
    let planned = &applied.planned;
    let name = line(&planned.document);
    let mut out = String::new();
    if !planned.changes() {
        return format!("Nothing changes: the policy is what {name} says already.\n");
    }
    if !applied.machines.is_empty() {
        out.push_str(&synced(&applied.machines, clock));
        out.push('\n');
    }
    let after = planned.after.as_deref().unwrap_or_default();
    let text = format!(
        "Applied: the policy is what {name} says ({}).",
        short(after)
    );
    out.push_str(&format!("{}\n", styled(GOOD, &text)));
    if let Some(plan) = &planned.plan {
        out.push_str(&format!("{}.\n", summary(plan)));
    }
    if applied.revoked_certificates > 0 {
        out.push_str(&format!(
            "{} revoked, since they carried what was taken away (KRL {}).\n",
            count(applied.revoked_certificates, "live certificate"),
            applied.krl_version
        ));
    }
    out
}

fn faults(planned: &PolicyPlanned) -> String {
    let mut out = String::new();
    for fault in &planned.faults {
        out.push_str(&format!("{} {}\n", place(fault), line(&fault.message)));
    }
    let text = format!(
        "{} in {}: it cannot be applied, and nothing was changed.",
        count(planned.faults.len(), "fault"),
        line(&planned.document)
    );
    out.push_str(&format!("\n{}\n", styled(BAD, &text)));
    out
}

fn place(at: &DocumentLine) -> String {
    if at.file.is_empty() {
        return styled(FAINT, "-");
    }
    styled(
        FAINT,
        &format!("{}:{}:{}:", line(&at.file), at.line, at.column),
    )
}

fn warnings(planned: &PolicyPlanned, plan: &PlanView) -> String {
    let mut out = String::new();
    for one in &planned.cautions {
        out.push_str(&format!("{} {}\n", place(one), line(&one.message)));
    }
    for one in &plan.warnings {
        out.push_str(&format!("{}\n", line(one)));
    }
    for one in &plan.errors {
        out.push_str(&format!("{}\n", styled(BAD, &line(one))));
    }
    out
}

fn expectations(planned: &PolicyPlanned) -> String {
    if planned.expectations == 0 {
        return String::new();
    }
    let mut out = String::new();
    for one in &planned.broken {
        out.push_str(&format!(
            "{} {} {}\n",
            styled(BAD, "fails"),
            place(one),
            line(&one.message)
        ));
    }
    let hold = planned.expectations - planned.broken.len().min(planned.expectations);
    let (words, style) = if planned.broken.is_empty() {
        (format!("all {hold} hold"), GOOD)
    } else {
        (
            format!("{hold} of {} hold", planned.expectations),
            Style::new(),
        )
    };
    out.push_str(&format!("{}\n", styled(style, &words)));
    out
}

fn verdict(planned: &PolicyPlanned) -> String {
    let name = line(&planned.document);
    if !planned.broken.is_empty() {
        let text = format!(
            "{} of {name} would not hold: it cannot be applied, and nothing was changed.",
            count(planned.broken.len(), "expectation")
        );
        return format!("{}\n", styled(BAD, &text));
    }
    if !planned.sound() {
        let text = format!("{name} cannot be applied, and nothing was changed.");
        return format!("{}\n", styled(BAD, &text));
    }
    if !planned.changes() {
        return match &planned.import {
            Some(_) => format!("Nothing changes: {name} adds nothing to the policy.\n"),
            None => format!("Nothing changes: the policy is what {name} says already.\n"),
        };
    }
    planned
        .plan
        .as_ref()
        .map_or_else(String::new, |plan| format!("{}.\n", summary(plan)))
}

/// `2 people lose, 1 person gains; 3 machines get a new generation`
fn summary(plan: &PlanView) -> String {
    let counts = &plan.counts;
    let mut people = Vec::new();
    for (number, one, many) in [
        (counts.people_losing, "loses", "lose"),
        (
            counts.people_changed,
            "keeps under other terms",
            "keep under other terms",
        ),
        (counts.people_gaining, "gains", "gain"),
    ] {
        match number {
            0 => {}
            1 => people.push(format!("1 person {one}")),
            number => people.push(format!("{number} people {many}")),
        }
    }
    let people = if people.is_empty() {
        "Nobody gains or loses an account".to_owned()
    } else {
        people.join(", ")
    };
    let machines = match counts.machines {
        0 => "no machine changes".to_owned(),
        1 => "1 machine gets a new generation".to_owned(),
        number => format!("{number} machines get a new generation"),
    };
    format!("{people}; {machines}")
}

fn next(planned: &PolicyPlanned) -> String {
    if planned.sound() && planned.changes() && planned.import.is_none() {
        return format!(
            "\nNext:\n  ca-server policy apply {} --base {}\n",
            shell_word(&planned.document),
            short(&planned.base)
        );
    }
    String::new()
}

fn short(digest: &str) -> &str {
    digest.get(..DIGEST).unwrap_or(digest)
}

fn imported(import: &ImportView) -> String {
    let mut out = String::new();
    let mut notes = Table::bare();
    for note in &import.notes {
        let style = match note.weight.as_str() {
            "alarm" => BAD,
            "warning" => WARN,
            _ => Style::new(),
        };
        notes.row([
            Cell::text(&note.weight).style(style),
            Cell::text(&note.at).style(FAINT),
            Cell::text(&note.sentence),
        ]);
    }
    section(&mut out, "The file", &notes.render());
    if !import.machines_to_bootstrap.is_empty() {
        let lines: String = import
            .machines_to_bootstrap
            .iter()
            .map(|machine| {
                let pools: String = machine
                    .pools
                    .iter()
                    .map(|pool| format!(" --pool {}", line(pool)))
                    .collect();
                format!("bootstrap add-machine {}{pools}\n", line(&machine.name))
            })
            .collect();
        section(&mut out, "Machines that the CA does not know yet", &lines);
    }
    let titles: String = import
        .titles
        .iter()
        .map(|one| format!("grant {} is {}\n", one.grant, line(&one.title)))
        .collect();
    section(&mut out, "What the file calls its rules", &titles);
    let mut keys = Table::new(["KEY", "TYPE", "WHOSE", "OPTIONS", "COMMENT", "WHERE"]);
    for key in &import.static_keys {
        keys.row([
            Cell::text(&key.fingerprint),
            Cell::text(&key.algorithm),
            Cell::text(key.owner.as_deref().unwrap_or("nobody's that is known")),
            Cell::list(&key.options),
            Cell::text(&key.comment),
            Cell::text(&match &key.fault {
                None => key.at.clone(),
                Some(fault) => format!("{}: {fault}", key.at),
            }),
        ]);
    }
    if !import.static_keys.is_empty() {
        section(
            &mut out,
            "Static keys: each lets somebody in without the CA",
            &keys.render(),
        );
    }
    out
}
