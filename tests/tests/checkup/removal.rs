//! The CA leaves a machine: its files are off, the admins are in, and nobody believes its host certificate any more.

use anyhow::{Result, ensure};
use e2e::{said, success};

use crate::scene::{Scene, poll};

/// Nothing of the CA's, and the ways in that were there before it.
fn given_back(scene: &Scene) -> Result<()> {
    scene.sh("test ! -e /etc/ssh/sshd_config.d/00-ssh-ca.conf && test ! -e /etc/ssh/ca && test ! -e /etc/sudoers.d/ssh-ca")?;
    scene.sh("! getent passwd ssh-ca-sync && ! grep -q ssh-ca /etc/pam.d/sshd && sshd -t && ! ls /etc/cron.d/ssh-ca-*")?;
    ensure!(scene.admin_enters(&scene.web)?, "the admins are shut out");
    ensure!(
        scene.ops_enters(&scene.web, "ubuntu")?,
        "the site's own key is shut out"
    );
    // Her account is closed for everything that asks PAM, her home is there.
    scene.sh("test -d /home/alice && [ \"$(getent shadow alice | cut -d: -f8)\" = 1 ]")?;
    let listed = scene.company.ca_ok(&["machine", "list"])?;
    ensure!(!listed.contains("web-1"), "{listed}");
    Ok(())
}

fn is_revoked_for_alice(scene: &Scene, host_key: &str) -> Result<bool> {
    let key = host_key.split_whitespace().nth(1).unwrap_or_default();
    success("renew", &scene.alice.client().arg("renew").output()?)?;
    let known = std::fs::read_to_string(scene.alice.home.ssh_path("ca/known_hosts"))?;
    Ok(known
        .lines()
        .any(|line| line.starts_with("@revoked ") && line.contains(key)))
}

#[test]
fn h2_a_machine_is_given_back_as_it_was_and_its_host_key_is_believed_no_more() -> Result<()> {
    let name = "h2_a_machine_is_given_back_as_it_was_and_its_host_key_is_believed_no_more";
    let Some(mut scene) = Scene::new(name)? else {
        return Ok(());
    };
    let host_key = scene.web.host_key()?;
    scene.alice.home.agent()?;
    scene.alice.login()?;
    success("alice", &scene.alice.ssh(&["web-1", "true"])?)?;
    success(
        "enforce",
        &scene.company.ca(&["machine", "enforce", "web-1"])?,
    )?;
    success("sync", &scene.company.ca(&["sync"])?)?;
    ensure!(!scene.ops_enters(&scene.web, "ubuntu")?, "it is enforced");
    ensure!(!is_revoked_for_alice(&scene, &host_key)?);

    // Off: nothing is forgotten, what to do is said, and nobody believes its host key from now on.
    scene.web.power_off()?;
    let off = scene.company.ca(&["machine", "remove", "web-1", "--yes"])?;
    ensure!(off.status.code() == Some(3), "{}", said(&off));
    ensure!(said(&off).contains("--leave-files"), "{}", said(&off));
    let listed = scene.company.ca_json(&["machine", "show", "web-1"])?;
    ensure!(listed["status"] == "leaving", "{listed}");
    ensure!(
        is_revoked_for_alice(&scene, &host_key)?,
        "her ssh still believes the machine's host certificate"
    );
    let machines = scene.alice.client().args(["machines"]).output()?;
    ensure!(!said(&machines).contains("web-1"), "{}", said(&machines));

    // It is back, and still trusts the CA: a revocation reaches it all the same.
    scene.web.power_on()?;
    let revoked = scene
        .company
        .ca(&["krl", "revoke", "--key", &nobodys_key(), "--json"])?;
    ensure!(said(&revoked).contains("\"proven\""), "{}", said(&revoked));

    // The server is killed in the middle. It had decided already, and the machine finishes what it began.
    let mut removing = scene
        .web
        .fleet()
        .command(&e2e::program("ca-server").to_string_lossy())
        .env("SSH_CA_DATA", scene.company.data())
        .args(["machine", "remove", "web-1", "--yes"])
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()?;
    std::thread::sleep(std::time::Duration::from_millis(900));
    scene.company.kill()?;
    removing.wait()?;
    scene.company.start()?;
    poll("the machine to be off", || {
        // Whoever is quicker, this command or the server by itself.
        scene.company.ca(&["machine", "remove", "web-1", "--yes"])?;
        Ok(!scene.company.ca_ok(&["machine", "list"])?.contains("web-1"))
    })?;
    poll("the machine to have finished", || {
        Ok(scene
            .sh("test ! -e /etc/ssh/ca && ! getent passwd ssh-ca-sync")
            .is_ok())
    })?;
    given_back(&scene)?;
    ensure!(is_revoked_for_alice(&scene, &host_key)?);
    let second = scene.company.ca(&["machine", "remove", "web-1", "--yes"])?;
    ensure!(second.status.code() == Some(1), "{}", said(&second));
    scene.company.ca_ok(&["audit", "verify"])?;
    Ok(())
}

fn nobodys_key() -> String {
    format!("SHA256:{}", "A".repeat(43))
}

#[test]
fn a_machine_that_is_gone_for_good_is_forgotten_with_a_plain_word() -> Result<()> {
    let name = "a_machine_that_is_gone_for_good_is_forgotten_with_a_plain_word";
    let Some(scene) = Scene::new(name)? else {
        return Ok(());
    };
    let asked = scene.company.ca(&["machine", "remove", "web-1"])?;
    ensure!(
        asked.status.code() == Some(1),
        "it asks first: {}",
        said(&asked)
    );
    scene.web.power_off()?;
    let removed = scene
        .company
        .ca(&["machine", "remove", "web-1", "--leave-files", "--yes"])?;
    success("machine remove", &removed)?;
    for expected in ["no more revocations", "still open it"] {
        ensure!(
            said(&removed).contains(expected),
            "{expected:?} is not in: {}",
            said(&removed)
        );
    }
    let listed = scene.company.ca_ok(&["machine", "list"])?;
    ensure!(!listed.contains("web-1"), "{listed}");
    // Nothing goes on asking for it.
    let check = scene.company.ca(&["check"])?;
    ensure!(
        said(&check).contains("No machine to check"),
        "{}",
        said(&check)
    );

    // It was not gone after all: it comes back as it is, and leaves as it should.
    scene.web.power_on()?;
    scene
        .company
        .bootstrap(&scene.admin, &scene.web, "web-server")?;
    let removed = scene.company.ca(&["machine", "remove", "web-1", "--yes"])?;
    success("machine remove", &removed)?;
    ensure!(
        said(&removed).contains("by its own report"),
        "{}",
        said(&removed)
    );
    given_back(&scene)
}
