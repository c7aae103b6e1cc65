//! The one-way doors between the crates: this list is the architecture, and cargo's own metadata is compared with it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Who may know whom. `e2e` may know everybody: it is only a test.
const EDGES: &[(&str, &[&str])] = &[
    ("policies", &[]),
    ("ssh-krl", &[]),
    ("ca-api", &[]),
    ("ca-machine", &["policies", "ssh-krl"]),
    ("ca-client", &["ca-api", "policies"]),
    (
        "bootstrap",
        &["ca-api", "ca-client", "ca-machine", "policies"],
    ),
    (
        "ca-server",
        &["ca-api", "ca-machine", "policies", "ssh-krl"],
    ),
];

#[test]
fn the_crates_know_each_other_only_through_the_one_way_doors() {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let ours: BTreeSet<&str> = packages
        .iter()
        .map(|package| package["name"].as_str().unwrap())
        .collect();
    let mut found: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in packages {
        let knows = package["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|dependency| dependency["kind"].is_null())
            .filter_map(|dependency| dependency["name"].as_str())
            .filter(|name| ours.contains(name));
        found.insert(package["name"].as_str().unwrap(), knows.collect());
    }
    found.remove("e2e");
    let allowed: BTreeMap<&str, BTreeSet<&str>> = EDGES
        .iter()
        .map(|(name, knows)| (*name, knows.iter().copied().collect()))
        .collect();
    assert_eq!(
        found.keys().collect::<Vec<_>>(),
        allowed.keys().collect::<Vec<_>>(),
        "a crate came or went: say so here"
    );
    for (name, knows) in found {
        let extra: Vec<_> = knows.difference(&allowed[name]).collect();
        assert!(extra.is_empty(), "{name} must not know {extra:?}");
    }
}

/// Every Rust file of the project.
fn sources(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of the project can be read") {
        let path = entry.expect("a folder of the project can be read").path();
        if path.is_dir() && !path.ends_with("target") && !path.ends_with(".git") {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_promise_of_the_readme_has_a_test_where_it_says() {
    let root = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let mut files = Vec::new();
    sources(root, &mut files);
    let tests: Vec<(String, String)> = files
        .iter()
        .map(|path| {
            (
                path.strip_prefix(root).unwrap().display().to_string(),
                std::fs::read_to_string(path).unwrap(),
            )
        })
        .collect();
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let rows: Vec<Vec<&str>> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .map(|line| line.split(" | ").collect::<Vec<_>>())
        .filter(|row| row.len() == 3 && row[0].starts_with(|c: char| c.is_ascii_uppercase()))
        .filter(|row| row[0].len() <= 3 && row[0].ends_with(|c: char| c.is_ascii_digit()))
        .collect();
    assert!(rows.len() > 50, "the table of promises is not where it was");
    for row in rows {
        let name = format!("fn {}_", row[0].to_ascii_lowercase());
        for place in row[2].split(", ") {
            let place = place.trim_matches('`');
            let there = tests
                .iter()
                .any(|(path, text)| path.starts_with(place) && text.contains(&name));
            assert!(there, "{}: no test `{name}…` in {place}", row[0]);
        }
    }
}

#[test]
fn every_line_of_what_happens_when_names_tests_that_exist() {
    let root = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let (_, page) = readme
        .split_once("\n## What happens when …\n")
        .expect("the page is there");
    let page = page.split("\n## ").next().unwrap_or_default();
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .map(|line| line.split(" | ").collect())
        .skip(1)
        .collect();
    assert!(rows.len() > 15, "the page is not where it was");
    for row in rows {
        assert_eq!(row.len(), 3, "{row:?}");
        for shown in row[2].split(", ") {
            let (file, name) = shown
                .trim_matches('`')
                .split_once("::")
                .unwrap_or_else(|| panic!("{}: {shown} is no FILE::TEST", row[0]));
            let text = std::fs::read_to_string(root.join(file))
                .unwrap_or_else(|error| panic!("{}: {file}: {error}", row[0]));
            let there = text
                .split("#[test]")
                .skip(1)
                .chain(text.split("#[tokio::test").skip(1))
                .any(|test| {
                    test.lines().take(3).any(|line| {
                        line.trim_start_matches("async ")
                            .trim_start()
                            .trim_start_matches("async ")
                            .strip_prefix("fn ")
                            .and_then(|rest| rest.strip_prefix(name))
                            .is_some_and(|rest| rest.starts_with('('))
                    })
                });
            assert!(there, "{}: no test {name} in {file}", row[0]);
        }
    }
}
