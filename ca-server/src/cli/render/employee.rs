//! Employees, for people.

use anstyle::Style;
use ca_api::admin::EmployeeView;

use super::table::{BAD, Cell, FAINT, Fields, Table, WARN};
use crate::cli::{text::count, time::Clock};

/// All of them, one a row.
#[must_use]
pub fn all(employees: &[EmployeeView], clock: Clock) -> String {
    if employees.is_empty() {
        return "No employees yet. Invite the first: ca-server employee add EMAIL --pool POOL\n"
            .to_owned();
    }
    let mut table = Table::new([
        "EMAIL",
        "ACCOUNT",
        "STATUS",
        "ROLE",
        "SESSIONS",
        "CERTS",
        "LAST LOGIN",
    ]);
    for one in employees {
        table.row([
            Cell::text(&one.email),
            Cell::text(&one.account),
            Cell::text(&one.status).style(status_style(&one.status)),
            Cell::text(role(one)),
            Cell::number(one.sessions),
            Cell::number(one.live_certificates),
            Cell::text(
                &one.last_login_unix
                    .map_or("never".to_owned(), |unix| clock.when(unix)),
            ),
        ]);
    }
    table.render()
}

/// One, in full.
#[must_use]
pub fn one(one: &EmployeeView, clock: Clock) -> String {
    let title = if one.name.is_empty() {
        one.email.clone()
    } else {
        format!("{} ({})", one.email, one.name)
    };
    let last_login = one
        .last_login_unix
        .map_or("never".to_owned(), |unix| clock.until(unix));
    Fields::new(&title)
        .field("account", &format!("{} (uid {})", one.account, one.uid))
        .styled("status", status_style(&one.status), &one.status)
        .field("role", role(one))
        .field("epoch", &one.epoch.to_string())
        .list("teams", &one.teams)
        .list("reaches", &one.principals)
        .field("holds", &holds(one))
        .field("last login", &last_login)
        .render()
}

fn holds(one: &EmployeeView) -> String {
    format!(
        "{} valid now, {} open at the CA",
        count(one.live_certificates, "certificate"),
        count(one.sessions, "session")
    )
}

fn role(one: &EmployeeView) -> &'static str {
    if one.admin { "admin" } else { "" }
}

fn status_style(status: &str) -> Style {
    match status {
        "suspended" => BAD,
        "invited" => WARN,
        "removed" => FAINT,
        _ => Style::new(),
    }
}
