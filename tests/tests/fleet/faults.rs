//! Machines that are down, hang, fill up, or lose the time.

use anyhow::{Result, ensure};
use e2e::said;

use crate::scene::{Scene, krl_on, poll, progress};

#[test]
fn r1_a_machine_that_was_down_during_several_changes_catches_up_revocations_first() -> Result<()> {
    let fleet =
        fleet!("r1_a_machine_that_was_down_during_several_changes_catches_up_revocations_first");
    let scene = Scene::new(&fleet, 2)?;
    scene.converges()?;
    scene.machines[1].power_off()?;
    scene.hire("alice")?;
    let first = scene.revoke(1)?;
    ensure!(first.status.code() == Some(3), "{}", said(&first));
    scene.hire("bob")?;
    let second = scene.revoke(2)?;
    ensure!(second.status.code() == Some(3), "{}", said(&second));
    // What everybody can see meanwhile, and a watchdog by the exit code.
    let shown = scene.company.ca(&["krl", "show"])?;
    ensure!(shown.status.code() == Some(3), "{}", said(&shown));
    ensure!(said(&shown).contains("web-2"), "{}", said(&shown));
    scene.machines[1].power_on()?;
    scene.converges()?;
    let shown = scene.company.ca(&["krl", "show"])?;
    ensure!(shown.status.code() == Some(0), "{}", said(&shown));
    let home = scene.machines[1].run(&["id", "-u", "bob"])?;
    ensure!(!home.stdout.is_empty(), "the newest configuration is there");
    // The order stands in the ledger: after the machine was missed, its KRL was proven, and then its configuration.
    let lines = scene
        .company
        .ca_ok(&["audit", "list", "--about", "web-2", "--last", "1000"])?;
    let after = lines
        .rfind("machine_unreachable")
        .map_or(lines.as_str(), |at| &lines[at..]);
    let (krl, configuration) = (after.find("krl_proven"), after.find("machine_synced"));
    ensure!(
        krl.is_some() && krl < configuration,
        "the KRL did not come first:\n{lines}"
    );
    Ok(())
}

#[test]
fn r7_a_machine_that_hangs_delays_no_other() -> Result<()> {
    let fleet = fleet!("r7_a_machine_that_hangs_delays_no_other");
    let scene = Scene::new(&fleet, 3)?;
    scene.converges()?;
    scene.machines[0].freeze()?;
    for number in [1, 2] {
        let revoked = scene.revoke(number)?;
        ensure!(revoked.status.code() == Some(3), "{}", said(&revoked));
        let done = progress(&revoked);
        let words: Vec<&str> = done.iter().map(|(_, outcome)| outcome.as_str()).collect();
        ensure!(
            words == ["proven", "proven", "not_reached"] && done[2].0 == "web-1",
            "the others are proven while one hangs: {done:?}\n{}",
            said(&revoked)
        );
    }
    scene.machines[0].thaw()?;
    scene.converges()
}

#[test]
fn r7_a_full_machine_takes_its_krl_says_what_is_wrong_and_catches_up() -> Result<()> {
    let fleet = fleet!("r7_a_full_machine_takes_its_krl_says_what_is_wrong_and_catches_up");
    let scene = Scene::new(&fleet, 2)?;
    scene.converges()?;
    scene.machines[0].fill_disk()?;
    let revoked = scene.revoke(1)?;
    ensure!(
        revoked.status.success(),
        "room for a KRL is kept: {}",
        said(&revoked)
    );
    scene.hire("alice")?;
    poll("the full disk to be told", || {
        let trouble = scene.view("web-1")?["trouble"].to_string();
        Ok(trouble.contains("disk"))
    })?;
    poll("the other machine to be as wanted", || {
        Ok(crate::scene::is_current(&scene.view("web-2")?))
    })?;
    scene.machines[0].free_disk()?;
    scene.converges()
}

#[test]
fn z6_a_machine_whose_sshd_is_a_day_off_is_kept_all_the_same() -> Result<()> {
    let fleet = fleet!("z6_a_machine_whose_sshd_is_a_day_off_is_kept_all_the_same");
    let scene = Scene::new(&fleet, 2)?;
    scene.converges()?;
    for (machine, offset) in scene.machines.iter().zip(["+86400", "-86400"]) {
        let written = format!("echo {offset} > /etc/pool-clock && sync");
        machine.run(&["sh", "-c", &written])?;
        machine.power_cycle()?;
    }
    // Neither the login of the CA nor what it brings depends on the machine's clock.
    scene.hire("alice")?;
    let revoked = scene.revoke(1)?;
    ensure!(
        said(&revoked).matches("\"proven\"").count() >= 2,
        "{}",
        said(&revoked)
    );
    scene.converges()?;
    for machine in &scene.machines {
        ensure!(krl_on(machine)? > 0);
    }
    Ok(())
}

#[test]
fn r7_the_network_splits_and_what_was_missed_comes_with_it_again() -> Result<()> {
    let fleet = fleet!("r7_the_network_splits_and_what_was_missed_comes_with_it_again");
    let scene = Scene::new(&fleet, 3)?;
    scene.converges()?;
    // One cable is out, one network swallows everything, also over connections that are open.
    scene.machines[0].cut()?;
    scene.machines[1].drop_packets()?;
    let revoked = scene.revoke(1)?;
    ensure!(revoked.status.code() == Some(3), "{}", said(&revoked));
    let done = progress(&revoked);
    ensure!(
        done[0] == ("web-3".to_owned(), "proven".to_owned()),
        "the other side waits for nobody: {done:?}\n{}",
        said(&revoked)
    );
    let missed = done.iter().filter(|(_, word)| word == "not_reached");
    ensure!(missed.count() == 2, "{done:?}");
    // What both keep meanwhile is what they had: nothing is taken from them, and nobody is out.
    scene.hire("alice")?;
    for machine in &scene.machines[..2] {
        machine.run(&["sh", "-c", "sshd -t && test -s /etc/ssh/ca/revoked.krl"])?;
        machine.mend()?;
    }
    scene.converges()?;
    for machine in &scene.machines {
        ensure!(scene.admin_enters(machine)?, "{}", machine.name());
    }
    Ok(())
}

#[test]
fn r2_a_server_whose_clock_is_a_day_off_takes_no_version_back() -> Result<()> {
    let fleet = fleet!("r2_a_server_whose_clock_is_a_day_off_takes_no_version_back");
    let mut scene = Scene::new(&fleet, 1)?;
    scene.converges()?;
    let (mut krl, mut generation) = (0, 0);
    for (number, offset_secs) in [(1, 86_400), (2, -86_400), (3, 0)] {
        scene.company.kill()?;
        scene.company.start_with_clock(offset_secs)?;
        // Not noticed by a restart alone, and nothing is signed (Z5): an admin says that it is right.
        let clock = scene.company.ca_json(&["clock", "show"])?;
        ensure!(clock["steady"] == false, "{offset_secs}: {clock}");
        scene.company.ca_ok(&["clock", "accept", "--yes"])?;
        scene.hire(&format!("employee-{number}"))?;
        let revoked = scene.revoke(number)?;
        ensure!(
            revoked.status.success(),
            "{offset_secs}: {}",
            said(&revoked)
        );
        scene.converges()?;
        let view = scene.view("web-1")?;
        let number = |name: &str| view[name].as_u64().unwrap_or_default();
        ensure!(
            number("krl_version") > krl && number("generation") > generation,
            "{offset_secs}: {view} after {krl} and {generation}"
        );
        (krl, generation) = (number("krl_version"), number("generation"));
        ensure!(krl_on(&scene.machines[0])? == krl);
        ensure!(scene.admin_enters(&scene.machines[0])?);
    }
    scene.company.ca_ok(&["audit", "verify"])?;
    Ok(())
}
