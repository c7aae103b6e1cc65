//! The table as CSV (RFC 4180), safe to open in a spreadsheet.

use std::collections::BTreeMap;

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{Given, Row};
use crate::{KeyDemand, MachineName, Recording, Status, Sudo};

/// One line for each grant of each cell, after a header; each ends with CR LF.
///
/// Columns: employee, status, machine, account, grant, pool, sudo, until, hours, key, recording.
pub fn csv_lines<'r>(rows: impl Iterator<Item = Row> + 'r) -> impl Iterator<Item = String> + 'r {
    let header = line([
        "employee",
        "status",
        "machine",
        "account",
        "grant",
        "pool",
        "sudo",
        "until",
        "hours",
        "key",
        "recording",
    ]);
    let lines = rows.flat_map(|row| {
        let mut lines = Vec::new();
        for cell in &row.cells {
            for given in &cell.grants {
                lines.push(line([
                    row.email.as_str(),
                    status(row.status),
                    cell.machine.as_str(),
                    cell.account.as_str(),
                    &given.grant.to_string(),
                    given.pool.as_str(),
                    &sudo(&given.sudo),
                    &until(given),
                    &given
                        .hours
                        .as_ref()
                        .map(ToString::to_string)
                        .unwrap_or_default(),
                    key(given.key),
                    recording(given.recording),
                ]));
            }
        }
        lines
    });
    std::iter::once(header).chain(lines)
}

/// One line for each employee and one column for each of `machines`, after a header; each ends with CR LF.
///
/// A field lists the accounts with their grants: `alice (3 17), deploy (4)`.
pub fn csv_table_lines<'r>(
    machines: &'r [&'r MachineName],
    rows: impl Iterator<Item = Row> + 'r,
) -> impl Iterator<Item = String> + 'r {
    let header =
        line(std::iter::once("employee").chain(machines.iter().map(|machine| machine.as_str())));
    let lines = rows.map(|row| {
        let mut by_machine: BTreeMap<&MachineName, Vec<String>> = BTreeMap::new();
        for cell in &row.cells {
            let grants: Vec<String> = cell
                .grants
                .iter()
                .map(|given| given.grant.to_string())
                .collect();
            by_machine.entry(&cell.machine).or_default().push(format!(
                "{} ({})",
                cell.account,
                grants.join(" ")
            ));
        }
        let fields = machines
            .iter()
            .map(|machine| by_machine.get(machine).map(|accounts| accounts.join(", ")))
            .map(Option::unwrap_or_default);
        line(std::iter::once(row.email.to_string()).chain(fields))
    });
    std::iter::once(header).chain(lines)
}

/// `text` as one field of a CSV line.
///
/// Quoted where RFC 4180 wants it. A text that a spreadsheet would run as a formula (it begins with `=`, `+`, `-`, `@`, tab or CR)
/// gets an apostrophe in front, which spreadsheets show as text.
#[must_use]
pub fn csv_field(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    let guarded = if formula {
        format!("'{text}")
    } else {
        text.to_owned()
    };
    if formula || guarded.contains([',', '"', '\r', '\n', ';', '\'', ' ']) {
        format!("\"{}\"", guarded.replace('"', "\"\""))
    } else {
        guarded
    }
}

fn line(fields: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let fields: Vec<String> = fields
        .into_iter()
        .map(|field| csv_field(field.as_ref()))
        .collect();
    fields.join(",") + "\r\n"
}

fn status(status: Status) -> &'static str {
    match status {
        Status::Invited => "invited",
        Status::Active => "active",
        Status::Suspended => "suspended",
        Status::Removed => "removed",
    }
}

fn sudo(sudo: &Sudo) -> String {
    match sudo {
        Sudo::None => "none".to_owned(),
        Sudo::All => "all".to_owned(),
        Sudo::Commands(commands) => commands.iter().cloned().collect::<Vec<_>>().join(", "),
    }
}

fn until(given: &Given) -> String {
    let Some(secs) = given.until_unix_secs else {
        return String::new();
    };
    OffsetDateTime::from_unix_timestamp(secs)
        .ok()
        .and_then(|at| at.format(&Rfc3339).ok())
        // A time outside of the calendar is still a number that a person can read.
        .unwrap_or_else(|| secs.to_string())
}

fn key(key: KeyDemand) -> &'static str {
    match key {
        KeyDemand::Any => "any",
        KeyDemand::SecurityKey => "security-key",
    }
}

fn recording(recording: Recording) -> &'static str {
    match recording {
        Recording::None => "none",
        Recording::Required => "required",
    }
}
