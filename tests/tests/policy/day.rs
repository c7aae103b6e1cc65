//! The admin's day: each change gives exactly the machines concerned a new generation, and `explain` agrees with real ssh.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use e2e::{Company, Person, said, success};

use crate::scene::{Scene, gets_in};

const POOLS: [&str; 3] = ["web", "db", "lab"];

/// Runs a command of the admin's, and says which machines are wanted otherwise afterwards than before.
fn changed(scene: &Scene, words: &[&str]) -> Result<BTreeSet<String>> {
    let before = scene.generations()?;
    scene.company.ca_ok(words)?;
    scene.settle()?;
    let after = scene.generations()?;
    Ok(after
        .iter()
        .filter(|(name, generation)| before.get(*name) != Some(generation))
        .map(|(name, _)| name.clone())
        .chain(
            before
                .keys()
                .filter(|name| !after.contains_key(*name))
                .cloned(),
        )
        .collect())
}

fn assert_changed(scene: &Scene, words: &[&str], expected: &[&str]) -> Result<()> {
    let touched = changed(scene, words)?;
    let expected: BTreeSet<String> = expected.iter().map(|&name| name.to_owned()).collect();
    ensure!(
        touched == expected,
        "ca-server {}: {touched:?} have a new generation, expected {expected:?}",
        words.join(" ")
    );
    Ok(())
}

/// What `explain` says of somebody's own account, and that ssh does the same.
fn assert_explained(scene: &Scene, person: &Person, machine: &str, open: bool) -> Result<()> {
    let account = person.email.split('@').next().unwrap_or_default();
    let words = ["policy", "explain", &person.email, machine];
    let output = scene
        .company
        .ca(&[&words[..], &["--account", account, "--json"]].concat())?;
    let told: serde_json::Value =
        serde_json::from_slice(&output.stdout).with_context(|| said(&output))?;
    let said_open = told["allowed"]
        .as_bool()
        .with_context(|| told.to_string())?;
    ensure!(
        output.status.code() == Some(i32::from(!said_open)),
        "explain ended with {} and says {told}",
        output.status
    );
    let is_open = gets_in(person, scene.machine(machine)?, account)?;
    ensure!(
        (said_open, is_open) == (open, open),
        "{} on {machine}: expected {open}, explain says {said_open}, ssh {is_open}:\n{told}",
        person.email
    );
    Ok(())
}

fn hire(scene: &Scene, name: &str, words: &[&str]) -> Result<Person> {
    let mut person = scene.company.hire(&format!("{name}@corp.example"), words)?;
    person.home.agent()?;
    person.login()?;
    Ok(person)
}

/// Takes what policy gives now, as the `Match exec` line would when it is due.
fn renew(person: &Person) -> Result<()> {
    success("ca-client renew", &person.client().arg("renew").output()?)
}

fn office() -> Result<Option<Scene>> {
    let Some(fleet) = e2e::Fleet::for_test(
        "p7_each_change_of_the_admins_day_touches_the_machines_concerned_and_explain_agrees_with_ssh",
    ) else {
        return Ok(None);
    };
    let company = Company::new(&fleet)?;
    for pool in POOLS {
        company.ca_ok(&["pool", "add", pool])?;
    }
    let machines = [
        ("web-1", "web"),
        ("web-2", "web"),
        ("db-1", "db"),
        ("lab-1", "lab"),
    ];
    Scene::bootstrap(&fleet, company, &machines).map(Some)
}

#[test]
fn p7_each_change_of_the_admins_day_touches_the_machines_concerned_and_explain_agrees_with_ssh()
-> Result<()> {
    let Some(scene) = office()? else {
        return Ok(());
    };
    let company = &scene.company;

    // An employee with many pools: their machines, and no other.
    let before = scene.generations()?;
    let eve = hire(&scene, "eve", &["--pool", "web", "--pool", "db"])?;
    scene.settle()?;
    let after = scene.generations()?;
    for (name, generation) in &after {
        let concerned = name != "lab-1";
        ensure!(
            (before[name] != *generation) == concerned,
            "{name}: {} before eve, {generation} after",
            before[name]
        );
    }
    assert_explained(&scene, &eve, "web-1", true)?;
    assert_explained(&scene, &eve, "db-1", true)?;
    assert_explained(&scene, &eve, "lab-1", false)?;

    // A pool with an employee, and no machine in it yet: nobody is concerned.
    assert_changed(
        &scene,
        &["pool", "add", "stage", "--employee", &eve.email],
        &[],
    )?;
    // A machine moves into it, and she reaches it there.
    assert_changed(
        &scene,
        &["machine", "move", "lab-1", "--pool", "stage"],
        &["lab-1"],
    )?;
    renew(&eve)?;
    assert_explained(&scene, &eve, "lab-1", true)?;

    // A pool that machines would be orphaned by stays; by force it goes, and it is said what happens.
    let refused = company.ca(&["pool", "remove", "stage"])?;
    ensure!(
        refused.status.code() == Some(1) && said(&refused).contains("lab-1"),
        "{}",
        said(&refused)
    );
    assert_explained(&scene, &eve, "lab-1", true)?;
    assert_changed(
        &scene,
        &["pool", "remove", "stage", "--force", "--yes"],
        &["lab-1"],
    )?;
    assert_explained(&scene, &eve, "lab-1", false)?;
    // Nobody has anything in that pool: nothing on the machine is to be otherwise.
    assert_changed(&scene, &["machine", "move", "lab-1", "--pool", "lab"], &[])?;

    // What was lost with the pool was revoked: she takes what is left.
    renew(&eve)?;

    // A pool inside another: its machines are concerned, and she reaches them by the outer one.
    assert_changed(&scene, &["pool", "include", "db", "lab"], &["lab-1"])?;
    assert_explained(&scene, &eve, "lab-1", true)?;
    assert_changed(&scene, &["pool", "exclude", "db", "lab"], &["lab-1"])?;
    assert_explained(&scene, &eve, "lab-1", false)?;

    // A machine is taken out of the CA's hands: nobody else is concerned, and nobody gets in there any more.
    let before = scene.generations()?;
    let removed = company
        .bootstrap_command(&scene.admin)
        .args(["remove-machine", "web-2", "--yes"])
        .output()?;
    success("bootstrap remove-machine", &removed)?;
    scene.settle()?;
    let mut left = before.clone();
    left.remove("web-2");
    ensure!(
        scene.generations()? == left,
        "{before:?} became {:?}",
        scene.generations()?
    );
    ensure!(
        !gets_in(&eve, scene.machine("web-2")?, "eve")?,
        "eve gets into a machine that was removed"
    );
    assert_explained(&scene, &eve, "web-1", true)?;
    // And it comes back.
    let before = scene.generations()?;
    company.bootstrap(&scene.admin, scene.machine("web-2")?, "web")?;
    let after = scene.generations()?;
    for (name, generation) in &before {
        ensure!(
            after[name] == *generation,
            "{name} has a new generation because of web-2"
        );
    }
    assert_explained(&scene, &eve, "web-2", true)?;

    // Suspended: where she had an account. Resumed: she logs in again.
    assert_changed(
        &scene,
        &["employee", "suspend", &eve.email],
        &["web-1", "web-2", "db-1"],
    )?;
    assert_explained(&scene, &eve, "web-1", false)?;
    assert_changed(
        &scene,
        &["employee", "resume", &eve.email],
        &["web-1", "web-2", "db-1"],
    )?;
    let mut eve = eve;
    eve.login()?;
    assert_explained(&scene, &eve, "web-1", true)?;

    // Removed: the same machines, and never again.
    assert_changed(
        &scene,
        &["employee", "remove", &eve.email, "--yes"],
        &["web-1", "web-2", "db-1"],
    )?;
    assert_explained(&scene, &eve, "web-1", false)?;
    Ok(())
}
