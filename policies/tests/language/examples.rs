//! The shipped examples: read without a fault, planned from nothing, their sentences true, and exported and read again.

use std::collections::BTreeSet;

use policies::{
    Policy,
    document::export,
    expect::judge,
    plan::{Detail, EmployeeStep, plan},
};

use crate::world::{NOW, good, machines};

/// Each shipped document by its file's name.
pub const EXAMPLES: &[(&str, &str)] = &[
    (
        "small-company.toml",
        include_str!("../../examples/small-company.toml"),
    ),
    (
        "nested-pools.toml",
        include_str!("../../examples/nested-pools.toml"),
    ),
    (
        "contractors.toml",
        include_str!("../../examples/contractors.toml"),
    ),
    (
        "break-glass.toml",
        include_str!("../../examples/break-glass.toml"),
    ),
];

/// A fleet with the machines that a document's pools name.
pub fn store_of(text: &str) -> Policy {
    let mut names: BTreeSet<String> = BTreeSet::new();
    let table: toml::Table = text.parse().unwrap();
    for pool in table
        .get("pool")
        .and_then(|pools| pools.as_table())
        .into_iter()
        .flatten()
    {
        let list = pool.1.get("machines").and_then(|list| list.as_array());
        names.extend(
            list.into_iter()
                .flatten()
                .map(|name| name.as_str().unwrap().to_owned()),
        );
    }
    machines(&names.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn every_example_is_here() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let mut known: Vec<&str> = EXAMPLES.iter().map(|(name, _)| *name).collect();
    known.sort_unstable();
    assert_eq!(files, known);
}

#[test]
fn the_examples_do_what_they_say() {
    for (name, text) in EXAMPLES {
        let store = store_of(text);
        let reading = good(&store, text);
        assert!(
            reading.cautions.is_empty(),
            "{name}: {:?}",
            reading.cautions
        );
        let plan = plan(&store, &reading.policy, NOW, Detail::ALL);
        assert!(
            plan.errors.is_empty() && plan.warnings.is_empty(),
            "{name}: {plan}"
        );
        let invited = plan.employees.iter();
        let invited = invited.filter(|change| change.step == EmployeeStep::Invited);
        assert_eq!(invited.count(), reading.policy.employees.len(), "{name}");
        assert!(
            plan.counts.cells_gained > 0 && plan.counts.cells_lost == 0,
            "{name}: {plan}"
        );
        assert!(!reading.expectations.is_empty(), "{name}");
        let sentences = reading.expectations.iter().map(|at| &at.what);
        let broken = judge(&reading.policy, sentences, NOW);
        assert!(broken.is_empty(), "{name}: {broken:#?}");
        let again = good(&reading.policy, &export(&reading.policy, &[]));
        assert_eq!(again.policy, reading.policy, "{name}");
    }
}

#[test]
fn an_example_without_its_grants_breaks_its_promises() {
    for (name, text) in EXAMPLES {
        let store = store_of(text);
        let mut policy = good(&store, text).policy;
        let sentences = good(&store, text).expectations;
        policy.grants.clear();
        let broken = judge(&policy, sentences.iter().map(|at| &at.what), NOW);
        assert!(
            !broken.is_empty(),
            "{name} promises only what an empty policy keeps"
        );
    }
}
