//! Who reaches what, as a table.

use std::collections::{BTreeMap, BTreeSet};

use ca_api::{
    ApiError, ErrorCode,
    admin::{AdminReply, MatrixCell, MatrixMachine, MatrixRow, PolicyMatrix},
};
use policies::{
    GrantId, KeyKind, Status,
    matrix::{Filter, View, csv_lines, csv_table_lines, machines_in_matrix},
};

use super::{Reply, compiled, policy::one_grant};
use crate::{
    admin::{parse_all, pool::known, unknown},
    ca::Ca,
    records::Compiled,
};

/// The largest table that is answered as one: beyond it nobody reads it, and the line that carries it would be refused.
const CELLS_MAX: usize = 250_000;

/// The largest CSV, in bytes.
const CSV_MAX_BYTES: usize = 32 * 1024 * 1024;

/// Which part of the table is wanted; empty lists mean all.
pub struct Part {
    pub employees: Vec<String>,
    pub pools: Vec<String>,
    pub machines: Vec<String>,
    pub now: bool,
}

pub fn matrix(ca: &Ca, part: &Part, csv: Option<&str>) -> Reply {
    let compiled = compiled(ca)?;
    let filter = filter(&compiled, part)?;
    let now = ca.clock.now();
    // Who was removed has no line, unless they are asked about by name.
    let rows = policies::matrix::matrix(&compiled.index, &filter, now)
        .filter(|row| row.status != Status::Removed || filter.employees.is_some());
    let machines = machines_in_matrix(&compiled.index, &filter);
    match csv {
        None => table(&compiled, &machines, rows).map(AdminReply::PolicyMatrix),
        Some("table") => joined(csv_table_lines(&machines, rows)),
        Some("lines") => joined(csv_lines(rows)),
        Some(other) => Err(ApiError::new(
            ErrorCode::Invalid,
            format!("{other:?} is no form of CSV"),
        )
        .hint("expected table or lines")),
    }
}

fn filter(compiled: &Compiled, part: &Part) -> Result<Filter, ApiError> {
    let mut filter = Filter::all(if part.now {
        View::Now(KeyKind::Plain)
    } else {
        View::Standing
    });
    let policy = &compiled.policy;
    if !part.employees.is_empty() {
        let wanted: BTreeSet<policies::Email> = parse_all(&part.employees)?;
        for email in &wanted {
            policy
                .employees
                .get(email)
                .ok_or_else(|| unknown("employee", email, "employee"))?;
        }
        filter.employees = Some(wanted);
    }
    if !part.pools.is_empty() {
        let wanted: BTreeSet<policies::PoolName> = parse_all(&part.pools)?;
        for pool in &wanted {
            known(policy, pool)?;
        }
        filter.pools = Some(wanted);
    }
    if !part.machines.is_empty() {
        let wanted: BTreeSet<policies::MachineName> = parse_all(&part.machines)?;
        for machine in &wanted {
            policy
                .machines
                .get(machine)
                .ok_or_else(|| unknown("machine", machine, "machine"))?;
        }
        filter.machines = Some(wanted);
    }
    Ok(filter)
}

fn table(
    compiled: &Compiled,
    machines: &[&policies::MachineName],
    rows: impl Iterator<Item = policies::matrix::Row>,
) -> Result<PolicyMatrix, ApiError> {
    let policy = &compiled.policy;
    let mut occur: BTreeSet<GrantId> = BTreeSet::new();
    let mut cells = 0;
    let mut lines = Vec::new();
    for row in rows {
        cells += row.cells.len();
        if cells > CELLS_MAX {
            return Err(too_large());
        }
        let account = policy.employees.get(&row.email);
        lines.push(MatrixRow {
            email: row.email.to_string(),
            status: super::policy::status_word(row.status).to_owned(),
            account: account.map_or_else(String::new, |person| person.account.to_string()),
            cells: row
                .cells
                .iter()
                .map(|cell| {
                    let grants: Vec<GrantId> =
                        cell.grants.iter().map(|given| given.grant).collect();
                    occur.extend(&grants);
                    MatrixCell {
                        machine: cell.machine.to_string(),
                        account: cell.account.to_string(),
                        grants,
                    }
                })
                .collect(),
        });
    }
    let grants: BTreeMap<_, _> = policy
        .grants
        .iter()
        .filter(|(id, _)| occur.contains(id))
        .collect();
    Ok(PolicyMatrix {
        machines: machines
            .iter()
            .map(|name| MatrixMachine {
                name: name.to_string(),
                pools: policy.machines.get(name).map_or_else(Vec::new, |machine| {
                    machine.pools.iter().map(ToString::to_string).collect()
                }),
            })
            .collect(),
        rows: lines,
        grants: grants
            .into_iter()
            .map(|(id, grant)| one_grant(*id, grant))
            .collect(),
    })
}

fn joined(lines: impl Iterator<Item = String>) -> Reply {
    let mut text = String::new();
    for line in lines {
        if text.len() + line.len() > CSV_MAX_BYTES {
            return Err(too_large());
        }
        text.push_str(&line);
    }
    Ok(AdminReply::Csv(text))
}

fn too_large() -> ApiError {
    ApiError::new(
        ErrorCode::Conflict,
        "the table is too large to be sent whole",
    )
    .hint("ask for a part of it with --employee, --pool or --machine, or for --csv=lines")
}
