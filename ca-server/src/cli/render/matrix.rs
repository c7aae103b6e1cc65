//! Who reaches what, for people: a table where it fits, and otherwise a list; nothing is ever left out.

use std::collections::{BTreeMap, BTreeSet};

use ca_api::admin::{MatrixCell, MatrixRow, PolicyMatrix};
use unicode_width::UnicodeWidthStr as _;

use super::table::{FAINT, styled};
use crate::cli::text::{count, line};

/// How wide a table may be where no terminal says so.
const WIDTH: usize = 160;

/// Columns between two cells.
const GAP: usize = 2;

/// The table, or the list.
#[must_use]
pub fn table(matrix: &PolicyMatrix, width: Option<usize>) -> String {
    if matrix.rows.is_empty() || matrix.machines.is_empty() {
        let what = if matrix.rows.is_empty() {
            "employee"
        } else {
            "machine"
        };
        return format!("No {what} to show.\n");
    }
    let cells: usize = matrix.rows.iter().map(|row| row.cells.len()).sum();
    if cells == 0 {
        return format!(
            "Nobody of {} reaches any of {}.\n",
            count(matrix.rows.len(), "employee"),
            count(matrix.machines.len(), "machine")
        );
    }
    let mut out = wide(matrix, width.unwrap_or(WIDTH)).unwrap_or_else(|| list(matrix));
    out.push_str(&format!(
        "\n{}\n",
        styled(
            FAINT,
            "A number is the grant that gives it (`ca-server grant list`); a name before it is the account, their own where there is none."
        )
    ));
    out
}

/// `17`, `deploy:4`, `17,18 deploy:4`
fn cell(cells: &[&MatrixCell], own: &str) -> String {
    let words: Vec<String> = cells
        .iter()
        .map(|cell| {
            let grants: Vec<String> = cell.grants.iter().map(ToString::to_string).collect();
            if cell.account == own {
                grants.join(",")
            } else {
                format!("{}:{}", line(&cell.account), grants.join(","))
            }
        })
        .collect();
    words.join(" ")
}

/// Columns with the same cells in every line are one: `web-1, web-2`, or `web: 12 machines` where a pool's name says it.
struct Column<'m> {
    machines: Vec<&'m str>,
    cells: Vec<String>,
}

fn columns(matrix: &PolicyMatrix) -> Vec<Column<'_>> {
    let mut by_row: Vec<BTreeMap<&str, Vec<&MatrixCell>>> = Vec::new();
    for row in &matrix.rows {
        let mut cells: BTreeMap<&str, Vec<&MatrixCell>> = BTreeMap::new();
        for one in &row.cells {
            cells.entry(&one.machine).or_default().push(one);
        }
        by_row.push(cells);
    }
    let mut columns: Vec<Column> = Vec::new();
    let mut known: BTreeMap<Vec<String>, usize> = BTreeMap::new();
    for machine in &matrix.machines {
        let cells: Vec<String> = matrix
            .rows
            .iter()
            .zip(&by_row)
            .map(|(row, cells)| {
                let here = cells.get(machine.name.as_str());
                here.map_or_else(String::new, |here| cell(here, &row.account))
            })
            .collect();
        match known.get(&cells) {
            Some(&at) => columns[at].machines.push(&machine.name),
            None => {
                known.insert(cells.clone(), columns.len());
                columns.push(Column {
                    machines: vec![&machine.name],
                    cells,
                });
            }
        }
    }
    columns
}

/// The table with a column for each machine, or, if that is too wide, for machines that nobody can tell apart.
fn wide(matrix: &PolicyMatrix, width: usize) -> Option<String> {
    let grouped = columns(matrix);
    let single: Vec<Column> = matrix
        .machines
        .iter()
        .map(|machine| {
            let column = grouped
                .iter()
                .find(|column| column.machines.contains(&machine.name.as_str()))
                .expect("each machine is in a group");
            Column {
                machines: vec![&machine.name],
                cells: column.cells.clone(),
            }
        })
        .collect();
    draw(matrix, &single, width).or_else(|| {
        let fits = draw(matrix, &grouped, width)?;
        Some(format!("{fits}{}", legend(&grouped)))
    })
}

/// The head of a column, in one word.
fn head(column: &Column<'_>, number: usize) -> String {
    match column.machines.as_slice() {
        [one] => line(one),
        _ => format!("[{number}]"),
    }
}

/// Which machines a number stands for.
fn legend(columns: &[Column<'_>]) -> String {
    let mut out = String::from("\n");
    for (at, column) in columns.iter().enumerate() {
        if column.machines.len() > 1 {
            out.push_str(&format!(
                "{}  {}\n",
                head(column, at + 1),
                line(&column.machines.join(", "))
            ));
        }
    }
    out
}

fn draw(matrix: &PolicyMatrix, columns: &[Column<'_>], width: usize) -> Option<String> {
    let heads: Vec<String> = columns
        .iter()
        .enumerate()
        .map(|(at, column)| head(column, at + 1))
        .collect();
    let widths: Vec<usize> = columns
        .iter()
        .zip(&heads)
        .map(|(column, head)| {
            let cells = column.cells.iter().map(|cell| cell.width());
            cells.chain([head.width()]).max().unwrap_or(0)
        })
        .collect();
    let names: Vec<String> = matrix.rows.iter().map(name).collect();
    let first = names.iter().map(|name| name.width()).max().unwrap_or(0);
    let all: usize = widths.iter().map(|width| width + GAP).sum::<usize>() + first;
    if all > width {
        return None;
    }
    let mut out = String::new();
    let mut push = |name: &str, cells: Vec<&str>, bold: bool| {
        let mut text = format!("{name}{}", " ".repeat(first - name.width()));
        for (cell, width) in cells.iter().zip(&widths) {
            text.push_str(&" ".repeat(GAP));
            text.push_str(cell);
            text.push_str(&" ".repeat(width - cell.width()));
        }
        let text = text.trim_end();
        if bold {
            out.push_str(&styled(anstyle::Style::new().bold(), text));
        } else {
            out.push_str(text);
        }
        out.push('\n');
    };
    push("", heads.iter().map(String::as_str).collect(), true);
    for (at, name) in names.iter().enumerate() {
        let cells = columns
            .iter()
            .map(|column| column.cells[at].as_str())
            .collect();
        push(name, cells, false);
    }
    Some(out)
}

/// `alice@corp.example`, and their status where they cannot log in now.
fn name(row: &MatrixRow) -> String {
    match row.status.as_str() {
        "active" => line(&row.email),
        status => format!("{} ({})", line(&row.email), line(status)),
    }
}

/// Who, then each way with all of its machines.
fn list(matrix: &PolicyMatrix) -> String {
    let mut out = String::new();
    for row in &matrix.rows {
        out.push_str(&format!("{}\n", name(row)));
        let mut ways: BTreeMap<(&str, &[u64]), BTreeSet<&str>> = BTreeMap::new();
        for one in &row.cells {
            ways.entry((&one.account, &one.grants))
                .or_default()
                .insert(&one.machine);
        }
        if ways.is_empty() {
            out.push_str("  reaches nothing\n");
        }
        for ((account, grants), machines) in ways {
            let ids: Vec<String> = grants.iter().map(ToString::to_string).collect();
            let account = if account == row.account {
                String::new()
            } else {
                format!("{}:", line(account))
            };
            let machines: Vec<String> = machines.iter().map(|machine| line(machine)).collect();
            out.push_str(&format!(
                "  {account}{}  {}\n",
                ids.join(","),
                machines.join(", ")
            ));
        }
    }
    out
}
