//! The user CA's key, then the host CA's, are replaced under a load of logins, with a machine that is off.

use anyhow::{Context, Result, ensure};
use e2e::{Company, Person, said, success};
use serde_json::Value;

use crate::{
    load::Load,
    scene::{assert_runs, client, poll, scene},
};

fn keys(company: &Company) -> Result<Value> {
    company.ca_json(&["ca", "list"])
}

/// Where a key is in its life.
fn life(company: &Company, name: &str) -> Result<String> {
    let keys = keys(company)?;
    let all = keys["keys"].as_array().context("a list of keys")?;
    let one = all.iter().find(|one| one["name"] == name);
    Ok(one
        .and_then(|one| one["life"].as_str())
        .unwrap_or("none")
        .to_owned())
}

/// Certificates this short are renewed by plain ssh while it is used.
const LIFETIME: &str = "45s";

#[test]
fn k3_k4_keys_are_replaced_under_a_load_of_logins_and_none_fails() -> Result<()> {
    let fleet = fleet!("k3_k4_keys_are_replaced_under_a_load_of_logins_and_none_fails");
    let machines = [("web-1", "front"), ("web-2", "back"), ("web-3", "attic")];
    let (scene, mut people) = scene(&fleet, &machines, |company| {
        let pools = ["--pool", "front", "--pool", "back", "--pool", "attic"];
        Ok(vec![company.hire("nia@corp.example", &pools)?])
    })?;
    let company = &scene.company;
    let mut nia = people.remove(0);
    nia.home.agent()?;
    success("login", &nia.try_login(&["--lifetime", LIFETIME])?)?;
    let off = &scene.machines[2];
    off.power_off()?;

    let load = Load::default();
    std::thread::scope(|threads| {
        let at_work = load.begin(threads, &nia, &["web-1", "web-2"]);
        let done = the_user_ca(company, &load).and_then(|()| {
            off.power_on()?;
            // It was off while the key was announced, and while it began to sign.
            poll("web-3 to let people in again", || {
                let output = nia.ssh(&["web-3", "id -un"])?;
                Ok(output.status.success())
            })?;
            the_host_ca(company, &nia)
        });
        load.stop();
        let failed = at_work.join().expect("the load does not panic")?;
        done.with_context(|| company.log())?;
        ensure!(
            load.logins() > 10,
            "a load of {} logins is none",
            load.logins()
        );
        ensure!(
            failed.is_empty(),
            "{} of {} logins failed:\n{}",
            failed.len(),
            load.logins(),
            failed.join("\n")
        );
        eprintln!(
            "{} logins while two keys were replaced, 0 failed",
            load.logins()
        );
        anyhow::Ok(())
    })?;
    for machine in ["web-1", "web-2", "web-3"] {
        assert_runs(&nia, &[machine, "id -un"], "nia")?;
    }
    Ok(())
}

fn the_user_ca(company: &Company, load: &Load) -> Result<()> {
    poll("the first logins", || Ok(load.logins() > 3))?;
    let begun = company.ca(&["ca", "rotate", "user"])?;
    ensure!(begun.status.code() == Some(3), "{}", said(&begun));
    ensure!(said(&begun).contains("web-3"), "{}", said(&begun));
    ensure!(
        life(company, "user_ca.2")? == "next",
        "one machine has not confirmed"
    );
    // By itself it waits for ever, and says for whom.
    let waits = &keys(company)?["rotations"][0]["waits_for"];
    poll("the other two to confirm", || {
        let waits = keys(company)?["rotations"][0]["waits_for"].clone();
        Ok(waits.as_array().is_some_and(|all| all.len() == 1))
    })
    .with_context(|| waits.to_string())?;
    let left = company.ca(&["ca", "rotate", "user", "--leave-behind", "web-3"])?;
    ensure!(left.status.success(), "{}", said(&left));
    ensure!(life(company, "user_ca.2")? == "current", "{}", said(&left));
    let so_far = load.logins();
    poll("logins after the switch", || Ok(load.logins() > so_far + 3))
}

fn the_host_ca(company: &Company, nia: &Person) -> Result<()> {
    let begun = company.ca(&["ca", "rotate", "host"])?;
    if life(company, "host_ca.2")? == "next" {
        // Unless ssh has renewed by itself in this very moment.
        ensure!(said(&begun).contains(&nia.email), "{}", said(&begun));
        success("renew", &client(&nia.home, &["renew"])?)?;
        company.ca(&["ca", "rotate", "host"])?;
    }
    ensure!(life(company, "host_ca.2")? == "current", "she has its line");
    // Each machine shows a certificate by the new key, and the old one is trusted no more.
    poll("the old host CA key to be retired", || {
        Ok(life(company, "host_ca")? == "retired")
    })?;
    success("renew", &client(&nia.home, &["renew"])?)?;
    let known = std::fs::read_to_string(nia.home.path().join(".ssh/ca/known_hosts"))?;
    let lines = known
        .lines()
        .filter(|line| line.starts_with("@cert-authority"));
    let keys: std::collections::BTreeSet<_> = lines
        .filter_map(|line| line.split_whitespace().nth(3))
        .collect();
    ensure!(keys.len() == 1, "one host CA key is left:\n{known}");
    // What the old user CA key signed has ended by now, or does so soon.
    poll("the old user CA key to be retired", || {
        company.ca(&["ca", "retire", "user_ca"])?;
        Ok(life(company, "user_ca")? == "retired")
    })?;
    ensure!(
        !company.data().join("keys/user_ca").exists(),
        "its private half is deleted"
    );
    Ok(())
}
