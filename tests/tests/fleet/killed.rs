//! The server is killed in the middle of its work.

use std::{process::Stdio, time::Duration};

use anyhow::{Result, ensure};

use crate::scene::{Scene, fingerprint, poll};

#[test]
fn r1_a_server_killed_at_any_moment_of_a_delivery_goes_on_where_it_was() -> Result<()> {
    let fleet = fleet!("r1_a_server_killed_at_any_moment_of_a_delivery_goes_on_where_it_was");
    let mut scene = Scene::new(&fleet, 2)?;
    // From before the first connection to after the last answer, however fast this host is: one of the machines hangs in half of them.
    for (number, pause_millis) in [(1, 0), (2, 60), (3, 250), (4, 700)] {
        let hangs = number % 2 == 0;
        if hangs {
            scene.machines[1].freeze()?;
        }
        scene.hire(&format!("employee-{number}"))?;
        let key = fingerprint(number);
        let mut revoking = fleet
            .command(&e2e::program("ca-server").to_string_lossy())
            .env("SSH_CA_DATA", scene.company.data())
            .args(["krl", "revoke", "--key", &key])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        std::thread::sleep(Duration::from_millis(pause_millis));
        scene.company.kill()?;
        revoking.wait()?;
        if hangs {
            scene.machines[1].thaw()?;
        }
        scene.company.start()?;
    }
    // What was asked for right before a kill may not have been heard: whoever asked was not told that it was done.
    let last = scene.revoke(9)?;
    ensure!(last.status.code().is_some(), "{last:?}");
    scene.converges()?;
    scene.company.ca_ok(&["audit", "verify"])?;
    Ok(())
}

#[test]
fn h1_a_server_killed_between_an_apply_and_its_confirmation_locks_nobody_out() -> Result<()> {
    let fleet = fleet!("h1_a_server_killed_between_an_apply_and_its_confirmation_locks_nobody_out");
    let mut scene = Scene::new(&fleet, 1)?;
    scene.converges()?;
    let before = scene.view("web-1")?["generation"].clone();
    // The step is held open: once the machine has its snapshot, its sshd answers no new login, so that no confirmation comes through.
    let web = &scene.machines[0];
    let mut watch = web
        .command("sh")
        .args([
            "-c",
            "while [ ! -d /var/lib/ssh-ca/pending ]; do :; done; kill -STOP $(cat /run/sshd.pid)",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    scene.hire("alice")?;
    poll("the apply to await its confirmation", || {
        Ok(web
            .exec(&["test", "-s", "/var/lib/ssh-ca/pending/applied-at"])?
            .status
            .success())
    })?;
    watch.wait()?;
    scene.company.kill()?;
    web.run(&["sh", "-c", "kill -CONT $(cat /run/sshd.pid)"])?;
    // Nobody knows of it any more but the machine; whoever comes first, its timer or the server, the way in stands.
    web.await_banner(Duration::from_secs(120))?;
    ensure!(scene.admin_enters(web)?, "the admin is shut out");
    scene.company.start()?;
    scene.converges()?;
    let after = scene.view("web-1")?["generation"].clone();
    ensure!(after.as_u64() > before.as_u64(), "{before} {after}");
    let left = scene.machines[0].exec(&["test", "-e", "/var/lib/ssh-ca/pending"])?;
    ensure!(
        !left.status.success(),
        "something still awaits a confirmation"
    );
    ensure!(scene.admin_enters(&scene.machines[0])?);
    Ok(())
}

#[test]
fn a_killed_server_leaves_no_connection_behind() -> Result<()> {
    let fleet = fleet!("a_killed_server_leaves_no_connection_behind");
    let mut scene = Scene::new(&fleet, 2)?;
    scene.converges()?;
    poll("connections to be kept", || Ok(clients(&scene)?.len() == 2))?;
    scene.company.kill()?;
    poll("the end of the kept connections", || {
        Ok(clients(&scene)?.is_empty())
    })?;
    Ok(())
}

/// Processes of `ssh` in the fleet's network that keep a connection.
fn clients(scene: &Scene) -> Result<Vec<String>> {
    let prefix = scene.fleet.command_prefix();
    let network = prefix
        .iter()
        .find_map(|word| word.strip_prefix("--net="))
        .unwrap_or_default();
    let network = std::fs::read_link(network)?;
    let mut found = Vec::new();
    for process in std::fs::read_dir("/proc")?.flatten() {
        let path = process.path();
        let Ok(words) = std::fs::read(path.join("cmdline")) else {
            continue;
        };
        let words = String::from_utf8_lossy(&words).replace('\0', " ");
        if words.starts_with("ssh ")
            && words.contains("ControlPath=")
            && std::fs::read_link(path.join("ns/net")).is_ok_and(|its| its == network)
        {
            found.push(words);
        }
    }
    Ok(found)
}
