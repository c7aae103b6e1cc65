//! What stands in the way is told with file, line and remedy, and nothing is changed.

use anyhow::Result;
use e2e::Machine;

use crate::scene::{Scene, differences, ended, has, state};

fn refused(scene: &Scene, machine: &Machine, words: &[&str]) -> Result<()> {
    let untouched = state(machine)?;
    let said = ended(&scene.add(machine)?.output()?, 1)?;
    has(&said, words)?;
    has(&said, &["nothing was changed", "    → "])?;
    assert_eq!(
        differences(&untouched, &state(machine)?),
        Vec::<String>::new(),
        "{}",
        machine.name()
    );
    assert!(
        !scene
            .company
            .ca_ok(&["machine", "list"])?
            .contains(machine.name()),
        "the CA was told of {}",
        machine.name()
    );
    Ok(())
}

#[test]
fn h3_obstacles_in_sshd_leave_nothing_changed() -> Result<()> {
    let Some(scene) = Scene::new("h3_obstacles_in_sshd_leave_nothing_changed")? else {
        return Ok(());
    };
    let machine = |name: &str, lines: &str| {
        scene
            .fleet
            .machine(name)
            .admin_key(&scene.key)
            .sshd_config(lines)
            .start()
    };
    let site = "/etc/ssh/sshd_config.d/50-site.conf, line 2";
    let shut = machine("shut", "# the site's own\nAllowUsers ssh-admin\n")?;
    refused(&scene, &shut, &["shut out", "ssh-ca-sync", "alice", site])?;
    let foreign = machine(
        "foreign",
        "# the site's own\nTrustedUserCAKeys /etc/ssh/other.pub\n",
    )?;
    refused(
        &scene,
        &foreign,
        &["trustedusercakeys", "/etc/ssh/other.pub", site],
    )?;
    let second = machine(
        "second",
        "# the site's own\nAuthenticationMethods publickey,password publickey\n",
    )?;
    refused(&scene, &second, &["publickey,password", site])?;
    Ok(())
}

#[test]
fn h5_an_account_that_the_ca_did_not_make_is_taken_over_only_when_told() -> Result<()> {
    let Some(mut scene) =
        Scene::new("h5_an_account_that_the_ca_did_not_make_is_taken_over_only_when_told")?
    else {
        return Ok(());
    };
    let web = scene.machine("web-1")?;
    web.run(&["useradd", "-m", "-s", "/bin/sh", "alice"])?;
    refused(&scene, &web, &["the account alice", "--adopt alice"])?;
    let words = ended(&scene.add(&web)?.args(["--adopt", "alice"]).output()?, 0)?;
    has(&words, &["account adopted: alice", "keeps it now"])?;
    scene.alice_gets_in(&web)
}

#[test]
fn wrong_words_change_nothing() -> Result<()> {
    let Some(scene) = Scene::new("wrong_words_change_nothing")? else {
        return Ok(());
    };
    let web = scene.machine("web-1")?;
    let untouched = state(&web)?;
    let address = web.addr().to_string();
    for (words, code, expected) in [
        (
            vec!["add-machine", "Web_1!", "--pool", "web-server"],
            2,
            "is not a machine name",
        ),
        (
            vec!["add-machine", "web-1", "--pool", "no such"],
            2,
            "is not a pool name",
        ),
        (
            vec!["add-machine", "web-1", "--address", &address],
            1,
            "Say which with --pool",
        ),
        (
            vec![
                "add-machine",
                "web-1",
                "--pool",
                "nowhere",
                "--address",
                &address,
                "--host-key",
                &web.host_key()?,
            ],
            1,
            "nowhere",
        ),
        (
            vec![
                "add-machine",
                "web-1",
                "--pool",
                "web-server",
                "--as",
                "nobody-here",
                "--address",
                &address,
                "--host-key",
                &web.host_key()?,
            ],
            1,
            "refused the login",
        ),
        (
            vec![
                "add-machine",
                "web-1",
                "--pool",
                "web-server",
                "--address",
                "10.77.0.99",
                "--host-key",
                &web.host_key()?,
            ],
            1,
            "cannot be reached",
        ),
        (
            vec!["add-machine", "--file", "/nowhere"],
            2,
            "cannot be read",
        ),
        (vec!["check", "web-9"], 1, "web-9"),
        (
            vec!["remove-machine", "web-1", "--yes"],
            1,
            "the CA knows no machine web-1",
        ),
        (vec!["remove-machine", "web-1"], 1, "Add --yes"),
    ] {
        let said = ended(&scene.bootstrap().args(&words).output()?, code)?;
        has(&said, &[expected])?;
    }
    assert_eq!(differences(&untouched, &state(&web)?), Vec::<String>::new());
    Ok(())
}
