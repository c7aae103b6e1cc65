//! What came out, machine by machine: for a person, as JSON, and as the exit status.

use std::{fmt::Write, process::ExitCode};

use ca_client::text;
use policies::MachineName;
use serde::Serialize;

/// All was done.
pub const DONE: u8 = 0;
/// Refused or failed.
pub const FAILED: u8 = 1;
/// Wrong usage.
pub const USAGE: u8 = 2;
/// Some machines done, some not.
pub const PARTLY: u8 = 3;

/// How it ended for one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Result {
    /// Changed, confirmed, proven, and kept by the CA.
    Added,
    /// It was so before.
    Unchanged,
    /// A dry run: it would change.
    WouldChange,
    /// A dry run: nothing would.
    NothingToChange,
    /// See the error.
    Failed,
}

/// What came out for one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Its name.
    pub name: String,
    /// How it ended.
    pub result: Result,
    /// The configuration's generation; 0 where it failed.
    pub generation: u64,
    /// The KRL's version; 0 where it failed.
    pub krl_version: u64,
    /// What changed, or would.
    pub changes: Vec<String>,
    /// Who gets in as whom: `alice@corp.example as alice`.
    pub who: Vec<String>,
    /// Why it failed; else empty.
    pub error: String,
    /// What to do next; may be empty.
    pub hint: String,
}

impl Outcome {
    /// A failure.
    #[must_use]
    pub fn failed(name: &MachineName, error: String, hint: String) -> Self {
        Self {
            name: name.to_string(),
            result: Result::Failed,
            generation: 0,
            krl_version: 0,
            changes: Vec::new(),
            who: Vec::new(),
            error,
            hint,
        }
    }
}

/// The exit status: 3 where some failed and some did not.
#[must_use]
pub fn exit_code(outcomes: &[Outcome]) -> ExitCode {
    let failed = outcomes
        .iter()
        .filter(|outcome| outcome.result == Result::Failed)
        .count();
    ExitCode::from(match failed {
        0 => DONE,
        failed if failed == outcomes.len() => FAILED,
        _ => PARTLY,
    })
}

/// The result as JSON.
#[must_use]
pub fn json(outcomes: &[Outcome]) -> String {
    let value = serde_json::json!({ "machines": outcomes });
    serde_json::to_string_pretty(&value).expect("texts and numbers are JSON")
}

/// The result for a person: a table where there are several machines, and what employees can do now.
#[must_use]
pub fn summary(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    if outcomes.len() > 1 {
        text.push_str(&table(outcomes));
    }
    let standing = outcomes
        .iter()
        .filter(|outcome| matches!(outcome.result, Result::Added | Result::Unchanged));
    for outcome in standing {
        let _ = match outcome.who.as_slice() {
            [] => writeln!(
                text,
                "Nobody can log in to {name} yet: people of its pools enrol with `ca-client` first; add some with `ca-server employee add EMAIL --pool POOL`.",
                name = outcome.name
            ),
            who => {
                let _ = writeln!(
                    text,
                    "On {} from now on, after `ca-client login`:",
                    outcome.name
                );
                who.iter()
                    .try_for_each(|line| writeln!(text, "  {}", invitation(line, &outcome.name)))
            }
        };
    }
    text::clean(&text).into_owned()
}

/// `alice@corp.example as alice` becomes `alice@corp.example: ssh web-1`.
fn invitation(who: &str, machine: &str) -> String {
    match who.split_once(" as ") {
        // ca-client's ssh_config knows a person's own account.
        Some((email, account)) if email.split('@').next() == Some(account) => {
            format!("{email}: ssh {machine}")
        }
        Some((email, account)) => format!("{email}: ssh {account}@{machine}"),
        None => format!("{who}: ssh {machine}"),
    }
}

fn table(outcomes: &[Outcome]) -> String {
    let head = [
        "machine",
        "result",
        "generation",
        "KRL",
        "changes",
        "accounts",
    ]
    .map(str::to_owned);
    let row = |outcome: &Outcome| {
        let number = |number: u64| {
            if number == 0 {
                "-".to_owned()
            } else {
                number.to_string()
            }
        };
        let result = match outcome.result {
            Result::Added => "added",
            Result::Unchanged => "unchanged",
            Result::WouldChange => "would change",
            Result::NothingToChange => "nothing to change",
            Result::Failed => "failed",
        };
        let failed = outcome.result == Result::Failed;
        let counted = |count: usize| {
            if failed {
                "-".to_owned()
            } else {
                count.to_string()
            }
        };
        [
            outcome.name.clone(),
            result.to_owned(),
            number(outcome.generation),
            number(outcome.krl_version),
            counted(outcome.changes.len()),
            counted(outcome.who.len()),
        ]
    };
    let rows: Vec<[String; 6]> = std::iter::once(head)
        .chain(outcomes.iter().map(row))
        .collect();
    let widths: Vec<usize> = (0..6)
        .map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(name: &str, result: Result) -> Outcome {
        let who = ["alice@corp.example as alice", "bob@corp.example as deploy"]
            .map(str::to_owned)
            .to_vec();
        Outcome {
            result,
            generation: 3,
            krl_version: 12,
            who,
            ..Outcome::failed(&name.parse().unwrap(), String::new(), String::new())
        }
    }

    #[test]
    fn one_machine_ends_with_what_an_employee_can_do() {
        assert_eq!(
            summary(&[outcome("web-1", Result::Added)]),
            "On web-1 from now on, after `ca-client login`:\n  alice@corp.example: ssh web-1\n  bob@corp.example: ssh deploy@web-1\n"
        );
        let nobody = Outcome {
            who: Vec::new(),
            ..outcome("web-1", Result::Added)
        };
        assert!(summary(&[nobody]).starts_with("Nobody can log in to web-1 yet"));
        assert_eq!(summary(&[outcome("web-1", Result::Failed)]), "");
    }

    #[test]
    fn several_machines_have_a_table() {
        let failed = Outcome::failed(&"db-1".parse().unwrap(), "x".to_owned(), String::new());
        let text = summary(&[outcome("web-1", Result::Unchanged), failed]);
        let table: Vec<&str> = text.lines().take(3).collect();
        assert_eq!(
            table,
            [
                "machine  result     generation  KRL  changes  accounts",
                "web-1    unchanged  3           12   0        2",
                "db-1     failed     -           -    -        -",
            ]
        );
    }

    #[test]
    fn the_exit_status_tells_all_none_and_some_apart() {
        let (good, bad) = (outcome("a", Result::Added), outcome("b", Result::Failed));
        let code = |outcomes: &[&Outcome]| {
            let outcomes: Vec<Outcome> = outcomes.iter().copied().cloned().collect();
            format!("{:?}", exit_code(&outcomes))
        };
        assert_eq!(code(&[&good, &good]), format!("{:?}", ExitCode::from(0)));
        assert_eq!(code(&[&bad]), format!("{:?}", ExitCode::from(1)));
        assert_eq!(code(&[&good, &bad]), format!("{:?}", ExitCode::from(3)));
    }

    #[test]
    fn c5_names_from_the_server_cannot_move_the_cursor() {
        let hostile = Outcome {
            who: vec!["a\u{1b}[2J as b".to_owned()],
            ..outcome("web-1", Result::Added)
        };
        assert!(!summary(&[hostile]).contains('\u{1b}'));
    }
}
