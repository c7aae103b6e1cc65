//! Host keys are never asked about and never taken on trust; hosts of other people are none of our business.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::{program, said, success};

use crate::scene::{assert_runs, scene};

#[test]
fn h7_host_keys_are_never_asked_about_and_a_rebuilt_machine_is_refused() -> Result<()> {
    let fleet = fleet!("h7_host_keys_are_never_asked_about_and_a_rebuilt_machine_is_refused");
    let (scene, mut people) = scene(&fleet, &[("web-1", "web-server")], |company| {
        Ok(vec![
            company.hire("lee@corp.example", &["--pool", "web-server"])?,
        ])
    })?;
    let lee = &mut people[0];
    let web = &scene.machines[0];
    lee.home.agent()?;
    lee.login()?;

    // The first connection ever, on a terminal where ssh could ask.
    let mut terminal = lee
        .home
        .terminal("ssh", &["-t", "web-1", "echo on-$(hostname)"])?;
    let screen = terminal.expect("on-web-1")?;
    ensure!(
        !screen.contains("authenticity") && !screen.contains("(yes/no"),
        "ssh asks about the host key: {screen}"
    );
    terminal.finish()?;
    ensure!(
        !lee.home.ssh_path("known_hosts").exists(),
        "her own known_hosts was written to"
    );

    // The machine is rebuilt by somebody: a new host key, without a certificate of ours.
    web.run(&[
        "sh",
        "-c",
        "cd /etc/ssh && rm -f ssh_host_ed25519_key* && ssh-keygen -q -t ed25519 -N '' -f ssh_host_ed25519_key && \
         grep -rl HostCertificate sshd_config sshd_config.d | xargs sed -i '/HostCertificate/d'",
    ])?;
    web.reload_sshd()?;
    web.await_banner(Duration::from_secs(60))?;
    let mut terminal = lee.home.terminal("ssh", &["web-1", "true"])?;
    terminal.expect("Host key verification failed")?;
    let (status, screen) = terminal.finish()?;
    ensure!(status.code() == Some(255), "{status}: {screen}");
    ensure!(
        !screen.contains("(yes/no"),
        "ssh asks instead of refusing: {screen}"
    );
    Ok(())
}

#[test]
fn a_host_that_is_none_of_ours_is_untouched_and_costs_nothing() -> Result<()> {
    let fleet = fleet!("a_host_that_is_none_of_ours_is_untouched_and_costs_nothing");
    let (mut scene, mut people) = scene(&fleet, &[("web-1", "web-server")], |company| {
        Ok(vec![
            company.hire("max@corp.example", &["--pool", "web-server"])?,
        ])
    })?;
    let max = &mut people[0];
    let key = max.home.public_key()?;
    let other = fleet.machine("other").admin_key(&key).start()?;
    max.home.agent()?;

    let effective = |words: &[&str]| -> Result<String> {
        let output = max.ssh(&[words, &["-G", "other"]].concat())?;
        success("ssh -G", &output)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let before = effective(&[])?;
    max.home.write_ssh(
        "known_hosts",
        &format!("{} {}\n", other.addr(), other.host_key()?),
    )?;
    let mut max = people.remove(0);
    max.login()?;
    let effective = |words: &[&str]| -> Result<String> {
        let output = max.ssh(&[words, &["-G", "other"]].concat())?;
        success("ssh -G", &output)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    ensure!(
        before == effective(&[])?,
        "what ssh does with another host changed"
    );

    // Nothing of ours runs for it, not even with everything due and the CA gone; for ours something does.
    scene.company.kill()?;
    std::fs::remove_file(max.home.ssh_path("ca/due"))?;
    let login = format!("ssh-admin@{}", other.addr());
    let output = max.ssh(&["-vvv", &login, "hostname"])?;
    success("ssh to another host", &output)?;
    let words = said(&output);
    let called = format!("Executing command: '{}", program("ca-client").display());
    ensure!(
        !words.contains(&called),
        "ca-client runs for a host of others:\n{words}"
    );
    let ours = max.ssh(&["-vvv", "-o", "BatchMode=yes", "web-1", "true"])?;
    ensure!(
        said(&ours).contains(&called),
        "the control failed:\n{}",
        said(&ours)
    );
    // And the certificate that is still good opens ours, with the CA down.
    scene.company.start()?;
    success("renew", &max.client().arg("renew").output()?)?;
    scene.company.kill()?;
    assert_runs(&max, &["web-1", "id -un"], "max")?;
    Ok(())
}
