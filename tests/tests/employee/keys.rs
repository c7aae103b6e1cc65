//! Where the private key lives: in the agent, beside strangers' keys, or in 0600 files; and that an agent alone is worth nothing.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use anyhow::{Result, ensure};
use e2e::{Home, Person, Terminal, program, said, success};

use crate::scene::{assert_denied, assert_fails, assert_runs, client, scene};

fn assert_key_file(person: &Person) -> Result<()> {
    for file in ["ca/id", "ca/session.json"] {
        let path = person.home.ssh_path(file);
        let mode = std::fs::metadata(&path)?.permissions().mode() & 0o7777;
        ensure!(mode == 0o600, "{file} has mode {mode:o}");
    }
    Ok(())
}

fn lock(home: &Home) -> Result<()> {
    let mut terminal = Terminal::open({
        let mut command = home.command_tty("ssh-add");
        command.arg("-x");
        command
    })?;
    terminal.converse("password: ", "locked")?;
    terminal.converse("gain: ", "locked")?;
    let (status, screen) = terminal.finish()?;
    ensure!(status.success(), "{screen}");
    Ok(())
}

#[test]
fn c1_without_an_agent_or_with_one_that_refuses_the_key_is_in_a_private_file() -> Result<()> {
    let fleet = fleet!("c1_without_an_agent_or_with_one_that_refuses_the_key_is_in_a_private_file");
    let (_scene, mut people) = scene(&fleet, &[("web-1", "web-server")], |company| {
        Ok(vec![
            company.hire("ivy@corp.example", &["--pool", "web-server"])?,
            company.hire("jo@corp.example", &["--pool", "web-server"])?,
        ])
    })?;
    let [ivy, jo] = &mut people[..] else {
        unreachable!("two were hired")
    };
    let words = ivy.login()?;
    ensure!(
        words.contains("no ssh-agent"),
        "it does not say where the key is: {words}"
    );
    assert_key_file(ivy)?;
    assert_runs(ivy, &["web-1", "id -un"], "ivy")?;
    success("renew", &client(&ivy.home, &["renew"])?)?;
    assert_runs(ivy, &["web-1", "id -un"], "ivy")?;
    success("logout", &client(&ivy.home, &["logout"])?)?;
    ensure!(
        !ivy.home.ssh_path("ca/id").exists(),
        "the key outlives the logout"
    );

    jo.home.agent()?;
    lock(&jo.home)?;
    let words = jo.login()?;
    ensure!(
        words.contains("~/.ssh/ca/id"),
        "it does not say where the key is: {words}"
    );
    assert_key_file(jo)?;
    assert_runs(jo, &["web-1", "id -un"], "jo")?;
    Ok(())
}

#[test]
fn c1_an_agent_full_of_other_keys_is_no_obstacle_and_alone_it_renews_nothing() -> Result<()> {
    let fleet = fleet!("c1_an_agent_full_of_other_keys_is_no_obstacle_and_alone_it_renews_nothing");
    let (_scene, mut people) = scene(&fleet, &[("web-1", "web-server")], |company| {
        Ok(vec![
            company.hire("kim@corp.example", &["--pool", "web-server"])?,
        ])
    })?;
    let kim = &mut people[0];
    let agent = kim.home.agent()?;
    for number in 0..8 {
        let file = format!("/root/.ssh/other-{number}");
        let made = kim
            .home
            .command("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f", &file])
            .output()?;
        success("ssh-keygen", &made)?;
        success(
            "ssh-add",
            &kim.home.command("ssh-add").args(["-q", &file]).output()?,
        )?;
    }
    kim.login()?;
    // sshd's MaxAuthTries is 6: the other eight keys must not be offered first.
    assert_runs(kim, &["web-1", "id -un"], "kim")?;
    // Where ours is refused, theirs are not offered either: they are nothing to this machine.
    let refused = kim.ssh(&["-v", "-o", "BatchMode=yes", "-l", "nobody", "web-1", "true"])?;
    assert_denied(&refused)?;
    let offered: Vec<String> = said(&refused)
        .lines()
        .filter(|line| line.contains("Offering public key"))
        .map(str::to_owned)
        .collect();
    ensure!(
        !offered.is_empty() && offered.iter().all(|line| line.contains("/.ssh/ca/")),
        "other keys are offered: {offered:#?}"
    );
    success("logout", &client(&kim.home, &["logout"])?)?;
    let keys = kim.home.command("ssh-add").arg("-l").output()?;
    ensure!(
        said(&keys).lines().count() == 8,
        "a logout touches the other keys: {}",
        said(&keys)
    );
    kim.login()?;

    // A forwarded agent, and everything in ~/.ssh/ca but the session: no renewal.
    let elsewhere = fleet.home("elsewhere")?;
    for folder in [".config", ".ssh/ca"] {
        let copied = std::process::Command::new("cp")
            .arg("-a")
            .arg(kim.home.path().join(folder))
            .arg(elsewhere.path().join(folder))
            .status()?;
        ensure!(copied.success(), "cp {folder}");
    }
    let renew = || -> Result<_> {
        Ok(elsewhere
            .command(&program("ca-client").to_string_lossy())
            .arg("renew")
            .env("SSH_AUTH_SOCK", agent.socket())
            .stdin(Stdio::null())
            .output()?)
    };
    // With the session it would: what is left out next is what decides.
    success("renew with everything", &renew()?)?;
    std::fs::remove_file(elsewhere.ssh_path("ca/session.json"))?;
    assert_fails(&renew()?, 1, &["ca-client login"])?;
    // A session with another secret does not help either.
    let session = std::fs::read_to_string(kim.home.ssh_path("ca/session.json"))?;
    let value: serde_json::Value = serde_json::from_str(&session)?;
    let secret = value["secret"].as_str().unwrap_or_default().to_owned();
    ensure!(
        secret.len() >= 32,
        "the session keeps no secret: {:?}",
        value.as_object().map(|o| o.keys().collect::<Vec<_>>())
    );
    let forged: String = secret.chars().rev().collect();
    elsewhere.write_ssh("ca/session.json", &session.replace(&secret, &forged))?;
    assert_fails(&renew()?, 1, &["ca-client login"])?;
    Ok(())
}
