//! H7: a host key is told, known, or asked for; never taken silently.

use anyhow::{Result, ensure};
use e2e::Machine;

use crate::scene::{Scene, differences, ended, has, state};

/// A host key that is nobody's here.
const OTHER: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIJ59HSVLYQwZ3EiKMcAWcsNbM0Ow8wtFJjQOh8oDGfb";

/// Nobody logged in since `count` logins.
fn logins(machine: &Machine) -> usize {
    machine.sshd_log().matches("Accepted ").count()
}

#[test]
fn h7_an_unknown_or_wrong_host_key_ends_before_the_login() -> Result<()> {
    let Some(scene) = Scene::new("h7_an_unknown_or_wrong_host_key_ends_before_the_login")? else {
        return Ok(());
    };
    let web = scene.machine("web-1")?;
    let untouched = state(&web)?;
    let add = || {
        let mut command = scene.bootstrap();
        command.args(Scene::words(&web));
        command
    };
    // `--yes` is no answer to this question.
    let words = ended(&add().arg("--yes").output()?, 1)?;
    has(
        &words,
        &[
            "the host key of",
            "is not known",
            "then give --host-key SHA256:",
        ],
    )?;
    let words = ended(&add().args(["--host-key", OTHER]).output()?, 1)?;
    has(&words, &["but --host-key says", "nobody logged in"])?;
    scene
        .admin
        .write_ssh("known_hosts", &format!("{} {OTHER}\n", web.addr()))?;
    let words = ended(&add().output()?, 1)?;
    has(
        &words,
        &[
            "shows another host key",
            "Compare its host key on its console",
        ],
    )?;
    scene.admin.write_ssh(
        "known_hosts",
        &format!("@revoked {} {}\n", web.addr(), web.host_key()?),
    )?;
    let words = ended(&add().output()?, 1)?;
    has(&words, &["@revoked"])?;
    assert_eq!(logins(&web), 0, "{}", web.sshd_log());
    assert_eq!(differences(&untouched, &state(&web)?), Vec::<String>::new());

    // Asked at the terminal: no means no, also by an empty line.
    scene.admin.write_ssh("known_hosts", "")?;
    let words = Scene::words(&web);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut terminal = scene.at_terminal(&words)?;
    terminal.converse("Is it the same? [y/N]", "")?;
    let (status, screen) = terminal.finish()?;
    ensure!(
        status.code() == Some(1) && screen.contains("was not accepted"),
        "{screen}"
    );
    assert_eq!(logins(&web), 0);

    let mut terminal = scene.at_terminal(&words)?;
    terminal.converse("Is it the same? [y/N]", "yes")?;
    let (status, screen) = terminal.finish()?;
    ensure!(status.success(), "{screen}");
    has(&screen, &["accepted by you", "keeps it now"])
}

#[test]
fn h7_known_hosts_is_believed_and_then_the_ca() -> Result<()> {
    let Some(scene) = Scene::new("h7_known_hosts_is_believed_and_then_the_ca")? else {
        return Ok(());
    };
    let web = scene.machine("web-1")?;
    scene.admin.write_ssh(
        "known_hosts",
        &format!("{} {}\n", web.addr(), web.host_key()?),
    )?;
    let hashed = scene
        .admin
        .command("ssh-keygen")
        .args(["-H", "-f", "/root/.ssh/known_hosts"])
        .output()?;
    ended(&hashed, 0)?;
    let words = ended(&scene.bootstrap().args(Scene::words(&web)).output()?, 0)?;
    has(&words, &["known_hosts says", "keeps it now"])?;

    // From now on the CA knows it, and its address too.
    scene.admin.write_ssh("known_hosts", "")?;
    let words = ended(
        &scene.bootstrap().args(["add-machine", "web-1"]).output()?,
        0,
    )?;
    has(&words, &["as the CA says", "nothing to change"])?;

    // Made anew under its name: refused until a person says so, and gives the new key.
    web.run(&["sh", "-c", "rm /etc/ssh/ssh_host_*key*; ssh-keygen -q -A; rm -rf /etc/ssh/ca /var/lib/ssh-ca /etc/ssh/sshd_config.d/00-ssh-ca.conf"])?;
    web.run(&["sh", "-c", "sed -i /ssh-ca/d /etc/pam.d/sshd /etc/ssh/sshd_config; userdel ssh-ca-sync; userdel ssh-ca-probe; userdel -r alice"])?;
    web.reload_sshd()?;
    web.await_banner(std::time::Duration::from_secs(60))?;
    let words = ended(
        &scene.bootstrap().args(["add-machine", "web-1"]).output()?,
        1,
    )?;
    has(&words, &["but the CA says", "--host-key and --resync"])?;
    let words = ended(&scene.add(&web)?.output()?, 1)?;
    has(&words, &["the CA has pinned", "--resync"])?;
    let words = ended(&scene.add(&web)?.arg("--resync").output()?, 0)?;
    has(&words, &["as --host-key says", "keeps it now"])
}
