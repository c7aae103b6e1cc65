//! What a plan changes, table by table.

use anstyle::Style;
use ca_api::admin::{AccessView, AccountOf, ChangedView, NamesView, PlanView};

use super::super::table::{BAD, Cell, GOOD, Table, WARN, styled};
use crate::cli::{text::count, time::span};

/// Who, then where.
pub(super) fn changes(plan: &PlanView) -> String {
    let mut out = String::new();
    section(&mut out, "People", &access(plan));
    section(&mut out, "At the CA", &employees(plan));
    section(&mut out, "Machines", &machines(plan));
    section(&mut out, "Accounts", &accounts(plan));
    section(&mut out, "Rules", &rules(plan));
    out
}

pub(super) fn section(out: &mut String, title: &str, body: &str) {
    if body.is_empty() {
        return;
    }
    if !out.is_empty() {
        out.push('\n');
    }
    out.push_str(&format!("{}\n", styled(Style::new().bold(), title)));
    for text in body.lines() {
        out.push_str(&format!("  {text}\n"));
    }
}

fn access(plan: &PlanView) -> String {
    let mut table = Table::bare();
    for one in &plan.access {
        let (verb, style) = match one.step.as_str() {
            "lost" => ("loses", BAD),
            "gained" => ("gains", GOOD),
            _ => ("keeps", WARN),
        };
        let verb = match one.people.count {
            1 => verb,
            _ => verb.trim_end_matches('s'),
        };
        table.row([
            Cell::text(&names(&one.people)),
            Cell::text(verb).style(style),
            Cell::text(&account(one)),
            Cell::text(&format!("on {}", names(&one.machines))),
            Cell::text(&terms(one)),
        ]);
    }
    let mut out = table.render();
    let shown: u64 = plan.access.iter().map(cells).sum();
    let all = plan.counts.cells_lost + plan.counts.cells_changed + plan.counts.cells_gained;
    if all > shown {
        out.push_str(&format!(
            "and {} of people and machines not shown here ({} in all)\n",
            all - shown,
            all
        ));
    }
    out
}

fn cells(one: &AccessView) -> u64 {
    (one.people.count as u64).saturating_mul(one.machines.count as u64)
}

fn account(one: &AccessView) -> String {
    match (&one.account, one.people.count) {
        (AccountOf::Own, 1) => "their own account".to_owned(),
        (AccountOf::Own, _) => "each their own account".to_owned(),
        (AccountOf::Shared(account), _) => account.clone(),
    }
}

/// `(grant 4: until 2026-12-24)`
fn terms(one: &AccessView) -> String {
    let ids: Vec<String> = one.grants.iter().map(ToString::to_string).collect();
    let mut words = match ids.len() {
        0 => String::new(),
        1 => format!("grant {}", ids[0]),
        _ => format!("grants {}", ids.join(", ")),
    };
    if !one.words.is_empty() {
        if !words.is_empty() {
            words.push_str(": ");
        }
        words.push_str(&one.words.join("; "));
    }
    words
}

/// How many names of one list are shown; how many more there are is always said.
const NAMES: usize = 8;

/// `a, b and 3 more`
fn names(list: &NamesView) -> String {
    let shown: Vec<&str> = list.names.iter().take(NAMES).map(String::as_str).collect();
    let more = list.count.saturating_sub(shown.len());
    match (shown.len(), more) {
        (0, more) => format!("{more}"),
        (_, 0) => shown.join(", "),
        (_, more) => format!("{} and {more} more", shown.join(", ")),
    }
}

fn employees(plan: &PlanView) -> String {
    let mut table = Table::bare();
    for one in &plan.employees {
        let (what, style) = match one.step.as_str() {
            "removed" => (
                "is removed: certificates revoked, sessions ended, account closed",
                BAD,
            ),
            "suspended" => (
                "is suspended: certificates revoked, sessions ended, login closed",
                BAD,
            ),
            "resumed" => ("may log in again", GOOD),
            "returned" => (
                "comes back under the same account: gets a new enrolment code",
                GOOD,
            ),
            "invited" => ("is invited: gets an enrolment code", GOOD),
            "admin_gained" => ("becomes an admin of the CA", WARN),
            "admin_lost" => ("is no admin of the CA any longer", WARN),
            "renamed" => ("has another full name", Style::new()),
            other => (other, WARN),
        };
        table.row([Cell::text(&one.email), Cell::text(what).style(style)]);
    }
    table.render()
}

fn machines(plan: &PlanView) -> String {
    let mut table = Table::bare();
    for one in &plan.machines {
        let mut what = Vec::new();
        if !one.joins.is_empty() {
            what.push(format!("joins {}", one.joins.join(", ")));
        }
        if !one.leaves.is_empty() {
            what.push(format!("leaves {}", one.leaves.join(", ")));
        }
        if one.principals {
            what.push("other principals".to_owned());
        }
        if !what.is_empty() {
            table.row([
                Cell::text(&names(&one.machines)),
                Cell::text(&what.join("; ")),
            ]);
        }
    }
    table.render()
}

fn accounts(plan: &PlanView) -> String {
    let mut table = Table::bare();
    for one in &plan.machines {
        let place = names(&one.machines);
        let mut row = |what: String, style| {
            table.row([Cell::text(&place), Cell::text(&what).style(style)]);
        };
        if one.disappear.count > 0 {
            row(format!("close {}", names(&one.disappear)), BAD);
        }
        if one.appear.count > 0 {
            row(format!("make {}", names(&one.appear)), GOOD);
        }
        for sudo in &one.sudo.names {
            row(format!("sudo of {sudo}"), WARN);
        }
        let more = one.sudo.count.saturating_sub(one.sudo.names.len());
        if more > 0 {
            row(format!("sudo of {}", count(more, "more account")), WARN);
        }
    }
    table.render()
}

fn rules(plan: &PlanView) -> String {
    let mut table = Table::bare();
    for one in &plan.limits {
        table.row([
            Cell::text("~").style(WARN),
            Cell::text(&format!("limit {}", one.name)),
            Cell::text(&format!(
                "{}, before {}",
                span(one.after_secs),
                span(one.before_secs)
            )),
        ]);
    }
    changed(&mut table, "pool", &plan.pools);
    changed(&mut table, "team", &plan.teams);
    changed(&mut table, "grant", &plan.grants);
    table.render()
}

fn changed<N: ToString>(table: &mut Table<3>, kind: &str, all: &[ChangedView<N>]) {
    for one in all {
        let (sign, style) = match one.how.as_str() {
            "removed" => ("-", BAD),
            "added" => ("+", GOOD),
            _ => ("~", WARN),
        };
        table.row([
            Cell::text(sign).style(style),
            Cell::text(&format!("{kind} {}", one.name.to_string())),
            Cell::text(&match (one.words.as_slice(), one.how.as_str()) {
                ([], "added") => "is new".to_owned(),
                ([], "removed") => "goes".to_owned(),
                (words, _) => words.join("; "),
            }),
        ]);
    }
}
