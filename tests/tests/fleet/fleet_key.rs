//! The fleet key is replaced twice while a machine is off, and then stolen.

use anyhow::{Context, Result, ensure};
use e2e::{said, success};
use serde_json::Value;

use crate::scene::{Scene, poll};

/// The fleet keys of `ca list`, as `(name, life, trusted by so many machines)`.
fn keys(scene: &Scene) -> Result<Vec<(String, String, u64)>> {
    let listed = scene.company.ca_json(&["ca", "list"])?;
    let keys = listed["keys"].as_array().context("a list of keys")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(keys
        .iter()
        .map(|key| {
            let by = key["trusted_by"].as_u64().unwrap_or_default();
            (text(&key["name"]), text(&key["life"]), by)
        })
        .filter(|(name, ..)| name.starts_with("fleet"))
        .collect())
}

fn key(name: &str, life: &str, trusted_by: u64) -> (String, String, u64) {
    (name.to_owned(), life.to_owned(), trusted_by)
}

/// Runs a command that ends with this code; what it said.
fn ends(scene: &Scene, code: i32, words: &[&str]) -> Result<String> {
    let output = scene.company.ca(words)?;
    ensure!(
        output.status.code() == Some(code),
        "ca-server {}: {:?}\n{}\n{}",
        words.join(" "),
        output.status,
        said(&output),
        scene.company.log()
    );
    Ok(said(&output))
}

#[test]
fn k3_a_machine_that_missed_two_fleet_keys_is_led_on_and_after_a_theft_told_anew() -> Result<()> {
    let fleet =
        fleet!("k3_a_machine_that_missed_two_fleet_keys_is_led_on_and_after_a_theft_told_anew");
    let mut scene = Scene::new(&fleet, 2)?;
    scene.converges()?;
    ensure!(
        keys(&scene)? == [key("fleet", "current", 2)],
        "{:?}",
        keys(&scene)?
    );

    // One is off. The other takes the new key at once; the old one is kept until everybody has, or nobody is waited for.
    scene.machines[1].power_off()?;
    let text = ends(&scene, 3, &["ca", "rotate", "fleet"])?;
    ensure!(text.contains("web-2"), "{text}");
    ensure!(
        keys(&scene)? == [key("fleet", "retiring", 1), key("fleet.2", "current", 1)],
        "{:?}",
        keys(&scene)?
    );
    let left = ["ca", "rotate", "fleet", "--leave-behind", "web-2"];
    ends(&scene, 0, &left)?;
    ends(&scene, 0, &left)?;
    ensure!(
        keys(&scene)?
            == [
                key("fleet", "retired", 1),
                key("fleet.2", "retired", 0),
                key("fleet.3", "current", 1)
            ],
        "{:?}",
        keys(&scene)?
    );
    for gone in ["fleet", "fleet.2"] {
        let path = scene.company.data().join("keys").join(gone);
        ensure!(!path.exists(), "{} is there yet", path.display());
    }
    ensure!(scene.revoke(1)?.status.code() == Some(3), "web-2 is off");

    // It comes back knowing the first key alone, and nobody does anything. The server forgets what it knew of it, too.
    scene.company.kill()?;
    scene.company.start()?;
    scene.machines[1].power_on()?;
    scene.converges()?;
    poll("both machines to go by the newest key", || {
        Ok(keys(&scene)?.last() == Some(&key("fleet.3", "current", 2)))
    })?;
    let revoked = scene.revoke(2)?;
    success("krl revoke", &revoked)?;
    scene.converges()?;

    // Somebody has the key: what it says of a successor counts no more. Nothing reaches the machines until an admin has told each.
    let text = ends(
        &scene,
        3,
        &[
            "ca",
            "compromise",
            "fleet",
            "--reason",
            "a copy was found",
            "--yes",
        ],
    )?;
    ensure!(text.contains("--resync"), "{text}");
    let revoked = scene.revoke(3)?;
    ensure!(
        revoked.status.code() == Some(3) && said(&revoked).contains("--resync"),
        "{}",
        said(&revoked)
    );
    for machine in &scene.machines {
        let output = scene
            .company
            .bootstrap_command(&scene.admin)
            .args(["add-machine", machine.name(), "--resync", "--yes"])
            .args(["--host-key", &machine.host_key()?])
            .output()?;
        success("bootstrap add-machine --resync", &output)?;
    }
    scene.converges()?;
    success("krl revoke", &scene.revoke(4)?)?;
    poll("both machines to go by the new key", || {
        Ok(keys(&scene)?.last() == Some(&key("fleet.4", "current", 2)))
    })?;
    // And what it was told, it was told for good: told again, nothing changes.
    let again = scene
        .company
        .bootstrap_command(&scene.admin)
        .args(["add-machine", "web-1", "--resync", "--yes"])
        .args(["--host-key", &scene.machines[0].host_key()?])
        .output()?;
    success("bootstrap add-machine --resync", &again)?;
    scene.converges()?;
    scene.company.ca_ok(&["audit", "verify"])?;
    Ok(())
}
