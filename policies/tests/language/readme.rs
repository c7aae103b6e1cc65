//! Every block of the README is run: it reads and its promises hold, or it has the faults that it is marked with.

use policies::expect::judge;

use crate::world::{NOW, bad, good, machines};

const README: &str = include_str!("../../README.md");

/// The blocks of TOML, each with the line of the README at which it begins.
fn blocks() -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut block: Option<(usize, String)> = None;
    for (at, line) in README.lines().enumerate() {
        match (line, &mut block) {
            ("```toml", None) => block = Some((at + 1, String::new())),
            ("```", Some(_)) => blocks.extend(block.take()),
            (line, Some((_, text))) => {
                text.push_str(line);
                text.push('\n');
            }
            (_, None) => {}
        }
    }
    assert!(block.is_none(), "a block of the README has no end");
    blocks
}

fn marked<'t>(text: &'t str, mark: &str) -> Vec<&'t str> {
    text.lines()
        .filter_map(|line| line.strip_prefix(mark))
        .collect()
}

#[test]
fn every_block_of_the_readme_is_as_it_says() {
    let blocks = blocks();
    assert!(blocks.len() >= 10, "{} blocks", blocks.len());
    let store = machines(&["web-1", "web-2", "db-1", "db-2"]);
    for (line, text) in blocks {
        let faults = marked(&text, "# fault: ");
        if !faults.is_empty() {
            let found = bad(&store, &text);
            let found: Vec<&str> = found
                .iter()
                .map(|fault| fault.strip_prefix("policy.toml:").unwrap())
                .collect();
            assert_eq!(found, faults, "the block at line {line} of the README");
            continue;
        }
        let reading = good(&store, &text);
        let sentences = reading.expectations.iter().map(|at| &at.what);
        let broken: Vec<String> = judge(&reading.policy, sentences, NOW)
            .into_iter()
            .map(|broken| {
                let position = &reading.expectations[broken.at].position;
                format!("{}:{}: {broken}", position.line, position.column)
            })
            .collect();
        assert_eq!(
            broken,
            marked(&text, "# broken: "),
            "the block at line {line} of the README"
        );
    }
}

#[test]
fn the_readme_names_every_field() {
    let store = machines(&[]);
    let faults = bad(&store, "[[grant]]\nx = 1\n[employee.\"a@b.example\"]\nx = 1\n[pool.p]\nx = 1\n[limits]\nx = 1\n[team.t]\nx = 1\n").join("\n");
    for fields in faults.split("its fields are ").skip(1) {
        for field in fields.lines().next().unwrap().split(", ") {
            let named = [format!("{field} = "), format!("`{field}` ")];
            assert!(
                named.iter().any(|text| README.contains(text)),
                "{field} is not in the README"
            );
        }
    }
}
