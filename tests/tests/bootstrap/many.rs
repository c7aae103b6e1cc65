//! Several machines at once, check-up and removal.

use std::fs;

use anyhow::{Result, ensure};

use crate::scene::{Scene, differences, ended, has, state};

#[test]
fn several_machines_from_a_file_and_one_that_is_off() -> Result<()> {
    let Some(scene) = Scene::new("several_machines_from_a_file_and_one_that_is_off")? else {
        return Ok(());
    };
    let names = ["web-1", "web-2", "db-1"];
    let machines = scene.fleet.machines(&names, &[&scene.key])?;
    let off = scene.machine("web-3")?;
    let mut hosts = String::from("# name address pools\n");
    for machine in machines.iter().chain([&off]) {
        let pools = if machine.name() == "db-1" {
            "database,web-server"
        } else {
            "-"
        };
        let key = scene.fingerprint(machine)?;
        hosts.push_str(&format!(
            "{} {}:22 {pools} host-key={key} # {}\n",
            machine.name(),
            machine.addr(),
            machine.name()
        ));
    }
    off.power_off()?;
    fs::write(scene.admin.path().join("hosts"), &hosts)?;
    let output = scene
        .bootstrap()
        .args([
            "add-machine",
            "--file",
            "/root/hosts",
            "--pool",
            "web-server",
        ])
        .output()?;
    let words = ended(&output, 3)?;
    let table: Vec<String> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .take(5)
        .map(str::to_owned)
        .collect();
    ensure!(table[0].starts_with("machine  result"), "{table:#?}");
    for (row, start) in table[1..].iter().zip([
        "web-1    added",
        "web-2    added",
        "db-1     added",
        "web-3    failed",
    ]) {
        ensure!(
            row.starts_with(start),
            "{row:?} should begin with {start:?}"
        );
    }
    // Every line of the narration has its machine before it.
    let narration = String::from_utf8_lossy(&output.stderr).into_owned();
    for line in narration.lines() {
        let named = names.iter().chain(&["web-3"]).any(|name| {
            line.trim_start_matches(['✓', '✗', '!', ' '])
                .starts_with(name)
        });
        ensure!(named, "whose line is {line:?}?\n{words}");
    }
    has(
        &scene.status("db-1")?,
        &["database", "web-server", "managed"],
    )?;

    // As JSON, the second time: nothing to change but for the one that came back.
    off.power_on()?;
    let output = scene
        .bootstrap()
        .args([
            "--json",
            "add-machine",
            "--file",
            "/root/hosts",
            "--pool",
            "web-server",
        ])
        .output()?;
    ended(&output, 0)?;
    let value: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let results: Vec<&str> = (0..4)
        .filter_map(|at| value["machines"][at]["result"].as_str())
        .collect();
    assert_eq!(results, ["unchanged", "unchanged", "unchanged", "added"]);
    assert_eq!(
        value["machines"][0]["who"][0],
        "alice@corp.example as alice"
    );
    Ok(())
}

#[test]
fn checked_and_removed_and_ssh_admin_stays() -> Result<()> {
    let Some(mut scene) = Scene::new("checked_and_removed_and_ssh_admin_stays")? else {
        return Ok(());
    };
    let web = scene.machine("web-1")?;
    let untouched = state(&web)?;
    ended(&scene.add(&web)?.output()?, 0)?;
    scene.alice_gets_in(&web)?;
    let words = ended(&scene.bootstrap().args(["check", "web-1"]).output()?, 0)?;
    has(&words, &["as the CA wants it"])?;
    web.run(&["sh", "-c", "echo '# mine' >>/etc/sudoers.d/ssh-ca"])?;
    let output = scene
        .bootstrap()
        .args(["--json", "check", "web-1"])
        .output()?;
    let words = ended(&output, 1)?;
    has(&words, &["/etc/sudoers.d/ssh-ca"])?;
    let value: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(value["machines"][0]["reached_from_here"], true, "{words}");
    // Adding it again mends it.
    ended(&scene.add(&web)?.output()?, 0)?;
    ended(&scene.bootstrap().args(["check", "web-1"]).output()?, 0)?;

    let words = ended(
        &scene
            .bootstrap()
            .args(["remove-machine", "web-1", "--yes"])
            .output()?,
        0,
    )?;
    has(
        &words,
        &[
            "files of the CA taken off",
            "alice",
            "a new login as ssh-admin comes through",
            "the CA has forgotten it",
        ],
    )?;
    let gone = scene.alice.ssh(&[
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "BatchMode=yes",
        "-l",
        "alice",
        &web.addr().to_string(),
        "true",
    ])?;
    ensure!(!gone.status.success(), "alice still gets in");
    let left: Vec<String> = differences(&untouched, &state(&web)?)
        .into_iter()
        .filter(|path| path.contains("ssh/"))
        .collect();
    assert_eq!(left, Vec::<String>::new(), "left behind");
    // And back again: what the CA made once it may open again.
    let words = ended(&scene.add(&web)?.output()?, 0)?;
    has(&words, &["keeps it now"])?;
    scene.alice_gets_in(&web)
}
