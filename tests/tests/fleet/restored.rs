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
/// Takes a backup with its keys into a folder beside the data; gives the path.
fn back_up(scene: &Scene, name: &str, key: &[&str]) -> Result<String> {
    let folder = scene.company.data().with_file_name("kept");
    fs::create_dir_all(&folder)?;
    let file = folder.join(name);
    let file = file.to_str().context("a path of text")?.to_owned();
    scene
        .company
        .ca_ok(&[&["backup", &file, "--with-keys"], key].concat())?;
    Ok(file)
}

/// The CA's host is lost, and this backup is put back and served.
fn put_back(scene: &mut Scene, file: &str, key: &[&str]) -> Result<()> {
    scene.company.kill()?;
    fs::remove_dir_all(scene.company.data())?;
    scene.company.ca_ok(&[&["restore", file], key].concat())?;
    scene.company.start()
}

#[test]
fn s7_r4_a_backup_of_before_a_rotation_lets_nobody_in_again_and_nobody_out() -> Result<()> {
    let fleet = fleet!("s7_r4_a_backup_of_before_a_rotation_lets_nobody_in_again_and_nobody_out");
    let mut scene = Scene::new(&fleet, 1)?;
    let mut alice = scene
        .company
        .hire("alice@corp.example", &["--pool", "web"])?;
    let mut bob = scene.company.hire("bob@corp.example", &["--pool", "web"])?;
    scene.converges()?;
    let passphrase = scene.company.data().with_file_name("passphrase");
    let passphrase = passphrase.to_str().context("a path of text")?.to_owned();
    let key = ["--passphrase-file", &passphrase];

    // The user CA's key is replaced after the backup: what bob has is signed by the new one, and revoked under it.
    let file = back_up(&scene, "user.age", &key)?;
    scene.company.ca(&["ca", "rotate", "user"])?;
    poll("the next user CA key to sign", || {
        let listed = scene.company.ca_json(&["ca", "list"])?;
        let keys = listed["keys"].as_array().context("a list of keys")?;
        Ok(keys
            .iter()
            .any(|one| one["name"] == "user_ca.2" && one["life"] == "current"))
    })
    .with_context(|| scene.company.log())?;
    for person in [&mut alice, &mut bob] {
        person.login()?;
        ensure!(person.ssh(&["web-1", "true"])?.status.success());
    }
    let revoked = scene.company.ca(&["krl", "revoke", "bob@corp.example"])?;
    ensure!(revoked.status.success(), "{revoked:?}");
    ensure!(!bob.ssh(&["web-1", "true"])?.status.success());
    let before = krl_on(&scene.machines[0])?;
    put_back(&mut scene, &file, &key)?;
    poll("web-1 to be read back", || {
        let view = scene.company.ca_json(&["recovery", "show"])?;
        Ok(view["unread"].as_array().is_some_and(Vec::is_empty))
    })
    .with_context(|| scene.company.log())?;
    poll("web-1 to have the new KRL", || {
        Ok(krl_on(&scene.machines[0])? > before)
    })?;
    let view = scene.company.ca_json(&["recovery", "show"])?;
    ensure!(
        view["later_keys"]
            .as_array()
            .is_some_and(|all| all.len() == 1),
        "the key of after the backup: {view}"
    );
    // The machine may trust that key until its next bundle, and the KRL of this CA has no section for it.
    for person in [&bob, &alice] {
        ensure!(
            !person.ssh(&["web-1", "true"])?.status.success(),
            "{}",
            person.email
        );
    }
    scene.company.ca_ok(&["recovery", "finish", "--yes"])?;
    scene.converges()?;
    poll("alice to log in anew", || {
        Ok(alice.try_login(&[])?.status.success())
    })?;
    ensure!(alice.ssh(&["web-1", "true"])?.status.success());
    ensure!(!bob.try_login(&[])?.status.success(), "bob was suspended");

    // The fleet key is replaced after the backup: the machine believes the restored CA nothing, and it is said what to do.
    let file = back_up(&scene, "fleet.age", &key)?;
    scene.company.ca(&["ca", "rotate", "fleet"])?;
    poll("web-1 to go by the next fleet key", || {
        let listed = scene.company.ca_json(&["ca", "list"])?;
        let keys = listed["keys"].as_array().context("a list of keys")?;
        Ok(keys
            .iter()
            .any(|one| one["name"] == "fleet.2" && one["trusted_by"] == 1))
    })
    .with_context(|| scene.company.log())?;
    scene.converges()?;
    let before = krl_on(&scene.machines[0])?;
    put_back(&mut scene, &file, &key)?;
    poll("the check-up to name web-1", || {
        let found = scene.company.ca(&["check", "web-1"])?;
        Ok(String::from_utf8_lossy(&found.stdout).contains("--resync"))
    })
    .with_context(|| scene.company.log())?;
    scene.company.ca_ok(&["recovery", "finish", "--yes"])?;
    let refused = scene.revoke(1)?;
    ensure!(
        refused.status.code() == Some(3) && format!("{refused:?}").contains("--resync"),
        "{refused:?}"
    );
    ensure!(
        krl_on(&scene.machines[0])? == before,
        "it took an older key's word"
    );
    ensure!(
        scene.admin_enters(&scene.machines[0])?,
        "an admin is locked out"
    );
    let told = scene
        .company
        .bootstrap_command(&scene.admin)
        .args(["add-machine", "web-1", "--resync", "--yes"])
        .args(["--host-key", &scene.machines[0].host_key()?])
        .output()?;
    ensure!(told.status.success(), "{told:?}");
    scene.converges()?;
    ensure!(krl_on(&scene.machines[0])? > before);
    poll("alice to log in with a code of after the restore", || {
        Ok(alice.try_login(&[])?.status.success())
    })?;
    ensure!(alice.ssh(&["web-1", "true"])?.status.success());
    ensure!(scene.admin_enters(&scene.machines[0])?);
    scene.company.ca_ok(&["audit", "verify"])?;
    Ok(())
}
