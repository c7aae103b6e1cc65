//! H1, H8: killed or cut off at any step, the machine ends as it was or as it shall be, and a second run finishes the work.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use e2e::Machine;

use crate::{
    running::Running,
    scene::{Scene, differences, ended, has, state},
};

/// What a roll-back leaves: the KRL is a lane of its own, and no roll-back takes it away, nor the file that keeps every KRL from
/// shutting the admins out (R10, R11).
const KRL_LANE: [&str; 2] = ["etc/ssh/ca/admin_revoked.krl", "etc/ssh/ca/revoked.krl"];

fn pending(machine: &Machine) -> Result<bool> {
    let looked = machine.exec(&["test", "-d", "/var/lib/ssh-ca/pending"])?;
    Ok(looked.status.success())
}

fn settled(machine: &Machine, limit: Duration) -> Result<()> {
    let start = Instant::now();
    while pending(machine)? {
        ensure!(
            start.elapsed() < limit,
            "{} still waits for a confirmation",
            machine.name()
        );
        std::thread::sleep(Duration::from_millis(300));
    }
    Ok(())
}

/// What differs in the ways in: sshd's and PAM's configuration, sudo's rules.
fn left(untouched: &BTreeMap<String, String>, machine: &Machine) -> Result<Vec<String>> {
    let way_in = |path: &String| {
        ["etc/ssh", "etc/pam", "etc/sudo"]
            .iter()
            .any(|start| path.starts_with(start))
    };
    let differ = differences(untouched, &state(machine)?);
    Ok(differ.into_iter().filter(way_in).collect())
}

#[test]
fn h8_killed_after_each_step_a_second_run_finishes() -> Result<()> {
    let Some(mut scene) = Scene::new("h8_killed_after_each_step_a_second_run_finishes")? else {
        return Ok(());
    };
    let steps = [
        "host key",
        "logged in",
        "becomes root",
        "no obstacles",
        "the CA wants generation",
        "changed 13 files",
        "snapshot kept",
        "a new login comes through",
        "a good certificate gets in",
        "is refused, and a revoked one too",
        "no password opens",
        "confirmed",
    ];
    let names: Vec<String> = (0..steps.len()).map(|at| format!("m-{at}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let machines = scene.fleet.machines(&names, &[&scene.key])?;
    for (machine, step) in machines.iter().zip(steps) {
        let mut running = Running::start(&scene, machine)?;
        running.stop_at(step)?;
        running.kill()?;
        let words = ended(&scene.add(machine)?.output()?, 0).with_context(|| step)?;
        has(&words, &["keeps it now"]).with_context(|| step)?;
        has(&scene.status(machine.name())?, &["managed"])?;
        let once = state(machine)?;
        let words = ended(&scene.add(machine)?.output()?, 0)?;
        has(&words, &["nothing to change"]).with_context(|| step)?;
        assert_eq!(
            differences(&once, &state(machine)?),
            Vec::<String>::new(),
            "after {step:?}"
        );
    }
    for machine in [&machines[4], &machines[6], &machines[11]] {
        scene.alice_gets_in(machine)?;
    }
    Ok(())
}

#[test]
fn h8_killed_while_the_applier_works() -> Result<()> {
    let Some(scene) = Scene::new("h8_killed_while_the_applier_works")? else {
        return Ok(());
    };
    let names: Vec<String> = (0..6).map(|at| format!("m-{at}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for (at, machine) in scene
        .fleet
        .machines(&names, &[&scene.key])?
        .iter()
        .enumerate()
    {
        let running = {
            let mut running = Running::start(&scene, machine)?;
            running.until("the CA wants generation")?;
            running
        };
        // The applier takes some hundred milliseconds: at each machine another moment of them.
        std::thread::sleep(Duration::from_millis(60 * at as u64));
        running.kill()?;
        let words = ended(&scene.add(machine)?.output()?, 0)?;
        has(&words, &["keeps it now"])?;
        let words = ended(&scene.add(machine)?.output()?, 0)?;
        has(&words, &["nothing to change"])?;
    }
    Ok(())
}

#[test]
fn h1_killed_before_the_confirmation_the_machine_puts_itself_back() -> Result<()> {
    let Some(scene) = Scene::new("h1_killed_before_the_confirmation_the_machine_puts_itself_back")?
    else {
        return Ok(());
    };
    let web = scene.machine("web-1")?;
    let untouched = state(&web)?;
    let mut running = Running::start_within(&scene, &web, 45)?;
    running.stop_at("snapshot kept")?;
    running.kill()?;
    ensure!(pending(&web)?, "nothing waits for a confirmation");
    settled(&web, Duration::from_secs(300))?;
    assert_eq!(left(&untouched, &web)?, KRL_LANE);
    let words = ended(&scene.add(&web)?.output()?, 0)?;
    has(&words, &["keeps it now"])
}

#[test]
fn r10_h2_a_revocation_meanwhile_is_proven_and_confirms_nobody_elses_change() -> Result<()> {
    let Some(scene) =
        Scene::new("r10_h2_a_revocation_meanwhile_is_proven_and_confirms_nobody_elses_change")?
    else {
        return Ok(());
    };
    let web = scene.machine("web-1")?;
    let mut running = Running::start(&scene, &web)?;
    running.stop_at("snapshot kept")?;
    let words = scene
        .company
        .ca_ok(&["krl", "revoke", "alice@corp.example", "--keep-login"])?;
    has(&words, &["refuses now (proven)"])?;
    ensure!(
        pending(&web)?,
        "the push of a KRL confirmed a change before bootstrap proved it"
    );
    running.signal("-CONT")?;
    let (status, seen) = running.end()?;
    ensure!(status == Some(0), "{status:?}: {seen}");
    has(&seen, &["confirmed", "keeps it now"])
}

#[test]
fn h1_a_cut_cable_after_the_change_is_survived() -> Result<()> {
    let Some(scene) = Scene::new("h1_a_cut_cable_after_the_change_is_survived")? else {
        return Ok(());
    };
    let web = scene.machine("web-1")?;
    let untouched = state(&web)?;
    let mut running = Running::start_within(&scene, &web, 45)?;
    running.stop_at("snapshot kept")?;
    web.drop_packets()?;
    running.signal("-CONT")?;
    settled(&web, Duration::from_secs(300))?;
    web.mend()?;
    let (status, seen) = running.end()?;
    ensure!(status == Some(1), "{status:?}: {seen}");
    has(
        &seen,
        &["the machine was put back as it was, and a new login comes through"],
    )?;
    assert_eq!(left(&untouched, &web)?, KRL_LANE);
    let words = ended(&scene.add(&web)?.output()?, 0)?;
    has(&words, &["keeps it now"])
}

#[test]
fn h2_no_new_login_and_the_machine_is_put_back_over_the_old_one() -> Result<()> {
    let Some(scene) = Scene::new("h2_no_new_login_and_the_machine_is_put_back_over_the_old_one")?
    else {
        return Ok(());
    };
    let web = scene.machine("web-1")?;
    let untouched = state(&web)?;
    let (keys, away) = (
        "/home/ssh-admin/.ssh/authorized_keys",
        "/home/ssh-admin/.ssh/away",
    );
    let mut running = Running::start(&scene, &web)?;
    running.stop_at("snapshot kept")?;
    web.run(&["mv", keys, away])?;
    running.signal("-CONT")?;
    running.until("asking it over the old login to do so now")?;
    // Well before the timer: the old connection did it.
    settled(&web, Duration::from_secs(120))?;
    web.run(&["mv", away, keys])?;
    let (status, seen) = running.end()?;
    ensure!(status == Some(1), "{status:?}: {seen}");
    has(
        &seen,
        &[
            "the change was not confirmed",
            "the machine was put back as it was, and a new login comes through",
        ],
    )?;
    assert_eq!(left(&untouched, &web)?, KRL_LANE);
    Ok(())
}

#[test]
fn h3_a_failed_proof_puts_the_machine_back() -> Result<()> {
    let Some(scene) = Scene::new("h3_a_failed_proof_puts_the_machine_back")? else {
        return Ok(());
    };
    let web = scene.machine("web-1")?;
    let untouched = state(&web)?;
    for (tamper, expected) in [
        // A KRL that revokes nothing: sshd lets the revoked certificate in.
        (
            "rm /etc/ssh/ca/revoked.krl; ssh-keygen -q -k -f /etc/ssh/ca/revoked.krl",
            "a certificate that is revoked was let in",
        ),
        // Somebody adds a principal: a certificate for nowhere gets in.
        (
            "echo 'ssh-ca-probe@_nowhere' >>/etc/ssh/ca/principals/ssh-ca-probe",
            "a certificate for another pool was let in",
        ),
        // Nobody gets in.
        (
            "rm /etc/ssh/ca/principals/ssh-ca-probe",
            "a certificate that must get in does not",
        ),
        // sshd would take a password for the CA's accounts.
        (
            "sed -i 's/PasswordAuthentication no/PasswordAuthentication yes/; s/AuthenticationMethods publickey$/AuthenticationMethods any/' \
             /etc/ssh/sshd_config.d/00-ssh-ca.conf; kill -HUP $(cat /run/sshd.pid)",
            "only publickey may be offered",
        ),
    ] {
        let mut running = Running::start(&scene, &web)?;
        running.stop_at("snapshot kept")?;
        web.run(&["sh", "-c", tamper])?;
        running.signal("-CONT")?;
        let (status, seen) = running.end()?;
        ensure!(status == Some(1), "{expected}: {status:?}: {seen}");
        has(
            &seen,
            &[
                expected,
                "the machine was put back as it was, and a new login comes through",
            ],
        )?;
        assert_eq!(left(&untouched, &web)?, KRL_LANE, "{expected}");
    }
    let words = ended(&scene.add(&web)?.output()?, 0)?;
    has(&words, &["keeps it now"])
}

#[test]
fn h8_what_the_ca_cannot_take_over_does_not_stay() -> Result<()> {
    let Some(scene) = Scene::new("h8_what_the_ca_cannot_take_over_does_not_stay")? else {
        return Ok(());
    };
    let web = scene.machine("web-1")?;
    let untouched = state(&web)?;
    let mut running = Running::start(&scene, &web)?;
    running.stop_at("confirmed: the change stays")?;
    web.run(&["usermod", "-e", "1", "ssh-ca-sync"])?;
    running.signal("-CONT")?;
    let (status, seen) = running.end()?;
    ensure!(status == Some(1), "{status:?}: {seen}");
    has(
        &seen,
        &[
            "the CA could not take the machine over",
            "the CA was taken off the machine again, and a new login comes through",
        ],
    )?;
    assert_eq!(left(&untouched, &web)?, Vec::<String>::new());
    let words = ended(&scene.add(&web)?.output()?, 0)?;
    has(&words, &["keeps it now"])
}

#[test]
fn h8_a_ca_that_dies_in_the_middle_is_finished_by_a_second_run() -> Result<()> {
    let Some(mut scene) =
        Scene::new("h8_a_ca_that_dies_in_the_middle_is_finished_by_a_second_run")?
    else {
        return Ok(());
    };
    for (name, step, expected) in [
        (
            "web-1",
            "snapshot kept",
            "the machine was put back as it was",
        ),
        (
            "web-2",
            "confirmed: the change stays",
            "it is not known whether the CA took it over",
        ),
    ] {
        let web = scene.machine(name)?;
        let mut running = Running::start(&scene, &web)?;
        running.stop_at(step)?;
        scene.company.kill()?;
        running.signal("-CONT")?;
        let (status, seen) = running.end()?;
        ensure!(status == Some(1), "{status:?}: {seen}");
        has(&seen, &[expected, "un the command again"])?;
        scene.company.start()?;
        let words = ended(&scene.add(&web)?.output()?, 0)?;
        has(&words, &["keeps it now"])?;
    }
    Ok(())
}
