//! Teams, for people.

use ca_api::admin::TeamView;

use super::table::{Cell, Fields, Table};

/// All of them, one a row.
#[must_use]
pub fn all(teams: &[TeamView]) -> String {
    if teams.is_empty() {
        return "No teams yet. Make the first: ca-server team add TEAM --employee EMAIL\n"
            .to_owned();
    }
    let mut table = Table::new(["TEAM", "MEMBERS", "TEAMS INSIDE", "WHO"]);
    for one in teams {
        table.row([
            Cell::text(&one.name),
            Cell::number(one.employees.len()),
            Cell::list(&one.teams),
            Cell::list(&one.employees),
        ]);
    }
    table.render()
}

/// One, in full.
#[must_use]
pub fn one(one: &TeamView) -> String {
    Fields::new(&format!("team {}", one.name))
        .list("members", &one.employees)
        .list("teams inside", &one.teams)
        .render()
}
