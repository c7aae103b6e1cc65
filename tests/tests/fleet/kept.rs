//! Kept connections: used, and replaced when they die.

use anyhow::{Result, ensure};
use e2e::said;

use crate::scene::{Scene, poll};

/// Logins of `ssh-ca-sync` that a machine's sshd has seen.
fn logins(machine: &e2e::Machine) -> usize {
    machine
        .sshd_log()
        .matches("Accepted publickey for ssh-ca-sync")
        .count()
}

#[test]
fn revocations_go_over_the_connection_that_is_there() -> Result<()> {
    let fleet = fleet!("revocations_go_over_the_connection_that_is_there");
    let scene = Scene::new(&fleet, 1)?;
    scene.converges()?;
    let first = scene.revoke(1)?;
    ensure!(first.status.success(), "{}", said(&first));
    let before = logins(&scene.machines[0]);
    for number in 2..6 {
        let revoked = scene.revoke(number)?;
        ensure!(revoked.status.success(), "{}", said(&revoked));
    }
    ensure!(
        logins(&scene.machines[0]) == before,
        "nobody logs in for them"
    );
    Ok(())
}

#[test]
fn r7_a_kept_connection_that_died_is_replaced() -> Result<()> {
    let fleet = fleet!("r7_a_kept_connection_that_died_is_replaced");
    let scene = Scene::new(&fleet, 2)?;
    scene.converges()?;
    ensure!(scene.revoke(1)?.status.success());
    // No FIN and no RST: the client cannot know.
    scene.machines[0].power_cycle()?;
    let revoked = scene.revoke(2)?;
    ensure!(
        revoked.status.success(),
        "it is reached over a new connection: {}",
        said(&revoked)
    );
    // The machine closes it: that is noticed without anybody asking.
    let before = logins(&scene.machines[1]);
    scene.machines[1].run(&["pkill", "-KILL", "-u", "ssh-ca-sync"])?;
    poll("a new connection", || {
        Ok(logins(&scene.machines[1]) > before)
    })?;
    scene.converges()
}
