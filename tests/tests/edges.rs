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
