//! The CA's host is lost, and a backup is put back: machines tell what the backup does not know.

use std::fs;

use crate::scene::{Scene, krl_on, poll};
use anyhow::{Context, Result, ensure};

#[test]
fn s7_after_a_restore_machines_tell_what_was_revoked_and_take_nothing_back() -> Result<()> {
    let fleet = fleet!("s7_after_a_restore_machines_tell_what_was_revoked_and_take_nothing_back");
    let mut scene = Scene::new(&fleet, 2)?;
    let mut alice = scene
        .company
        .hire("alice@corp.example", &["--pool", "web"])?;
    let mut bob = scene.company.hire("bob@corp.example", &["--pool", "web"])?;
    scene.converges()?;
    let folder = scene.company.data().with_file_name("kept");
    fs::create_dir(&folder)?;
    let file = folder.join("ca.age");
    let file = file.to_str().context("a path of text")?.to_owned();
    let passphrase = scene.company.data().with_file_name("passphrase");
    let passphrase = passphrase.to_str().context("a path of text")?.to_owned();
    let key = ["--passphrase-file", &passphrase];
    scene
        .company
        .ca_ok(&[&["backup", &file, "--with-keys"], &key[..]].concat())?;

    // What nobody will remember: logins, and a revocation that reached one machine.
    for person in [&mut alice, &mut bob] {
        person.login()?;
    }
    ensure!(alice.ssh(&["web-1", "true"])?.status.success());
    scene.machines[1].power_off()?;
    let revoked = scene.company.ca(&["krl", "revoke", "bob@corp.example"])?;
    ensure!(revoked.status.code() == Some(3), "{revoked:?}");
    let before = krl_on(&scene.machines[0])?;
    let generation = scene.view("web-1")?["generation"].as_u64();
    scene.company.kill()?;
    fs::remove_dir_all(scene.company.data())?;
    let verified = scene
        .company
        .ca_ok(&[&["backup", "verify", &file], &key[..]].concat())?;
    ensure!(verified.contains("is whole"), "{verified}");
    let restored = scene
        .company
        .ca_ok(&[&["restore", &file], &key[..]].concat())?;
    ensure!(restored.contains("recovery finish"), "{restored}");
    scene.company.start()?;

    // The machine that is up is read first, and keeps what it knew: bob stays out, on both sides.
    poll("web-1 to be read back", || {
        let view = scene.company.ca_json(&["recovery", "show"])?;
        Ok(view["unread"]
            .as_array()
            .is_some_and(|left| left.len() == 1))
    })
    .with_context(|| scene.company.log())?;
    let view = scene.company.ca_json(&["recovery", "show"])?;
    ensure!(
        view["suspended"] == serde_json::json!(["bob@corp.example"]),
        "{view}"
    );
    ensure!(view["merged"] == 1 && view["open"] == false, "{view}");
    poll("web-1 to have the new KRL", || {
        Ok(krl_on(&scene.machines[0])? > before)
    })?;
    ensure!(
        !bob.ssh(&["web-1", "true"])?.status.success(),
        "bob is back"
    );
    ensure!(
        !alice.ssh(&["web-1", "true"])?.status.success(),
        "an earlier certificate"
    );
    let shut = alice.try_login(&[])?;
    ensure!(!shut.status.success(), "a login before anybody looked");
    let refused = scene.company.ca(&["recovery", "finish", "--yes"])?;
    ensure!(
        refused.status.code() == Some(1),
        "opened with a machine unread: {refused:?}"
    );

    // The other one comes back with the KRL of before: it is read too, and gets the union.
    scene.machines[1].power_on()?;
    poll("web-2 to be read back", || {
        let view = scene.company.ca_json(&["recovery", "show"])?;
        Ok(view["unread"].as_array().is_some_and(Vec::is_empty))
    })
    .with_context(|| scene.company.log())?;
    scene.company.ca_ok(&["recovery", "finish", "--yes"])?;
    scene.converges()?;
    ensure!(
        scene.view("web-1")?["generation"].as_u64() > generation,
        "a generation went back"
    );
    poll(
        "alice to log in with a code that is later than the restore",
        || Ok(alice.try_login(&[])?.status.success()),
    )?;
    for machine in &scene.machines {
        let done = alice.ssh(&[machine.name(), "true"])?;
        ensure!(done.status.success(), "{}: {done:?}", machine.name());
    }
    ensure!(!bob.try_login(&[])?.status.success(), "bob was suspended");
    scene.company.ca_ok(&["audit", "verify"])?;
    // The backup itself is for its owner only, and is not written over.
    let again = scene.company.ca(&[&["backup", &file], &key[..]].concat())?;
    ensure!(again.status.code() == Some(1), "{again:?}");
    Ok(())
}
