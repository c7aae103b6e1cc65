//! Login, status, machines and logout at a terminal and in scripts; what is said where something is wrong.

use anyhow::{Context, Result, ensure};
use e2e::{Company, program, said, success};

use crate::scene::{assert_denied, assert_fails, assert_runs, client, handed_over, json, scene};

#[test]
fn a_login_at_a_terminal_lasts_until_the_logout_that_leaves_nothing() -> Result<()> {
    let fleet = fleet!("a_login_at_a_terminal_lasts_until_the_logout_that_leaves_nothing");
    let (scene, mut people) = scene(&fleet, &[("web-1", "web-server")], |company| {
        Ok(vec![company.hire(
            "alice@corp.example",
            &["--name", "Alice Liddell", "--pool", "web-server"],
        )?])
    })?;
    let alice = &mut people[0];
    alice.home.agent()?;
    // Her own settings survive.
    alice
        .home
        .write_ssh("config", "Host elsewhere\n    Port 2222\n")?;
    let program = program("ca-client").to_string_lossy().into_owned();

    let mut terminal = alice.home.terminal(&program, &["login"])?;
    terminal.converse("Email: ", "alice@corp.example")?;
    terminal.converse("Password: ", "not-the-password-of-alice")?;
    terminal.converse("Code: ", "000000")?;
    // A4: one reply, whatever was wrong; and what to do.
    let refusal = terminal.expect("Password: ")?;
    ensure!(
        refusal.contains("password or code is wrong") && refusal.contains("next try"),
        "the refusal does not help: {refusal}"
    );
    terminal.answer(&alice.password.clone())?;
    terminal.expect("Code: ")?;
    terminal.answer(&alice.code())?;
    let (status, screen) = terminal.finish()?;
    ensure!(status.success(), "{status}: {screen}");
    for word in ["Alice Liddell", "until", "web-1", "web-server"] {
        ensure!(
            screen.contains(word),
            "{word:?} is not on the screen: {screen}"
        );
    }
    ensure!(
        !screen.contains(&alice.password),
        "the password was echoed: {screen}"
    );
    assert_runs(alice, &["web-1", "id -un"], "alice")?;
    let elsewhere = alice.ssh(&["-G", "elsewhere"])?;
    ensure!(
        said(&elsewhere).contains("port 2222"),
        "her own settings are lost"
    );

    let status = client(&alice.home, &["status"])?;
    success("status", &status)?;
    for word in [
        "alice@corp.example",
        "open",
        "agent",
        "good",
        "alice@web-server",
    ] {
        ensure!(
            said(&status).contains(word),
            "no {word:?}: {}",
            said(&status)
        );
    }
    let facts = json(&client(&alice.home, &["status", "--json"])?)?;
    ensure!(facts["email"] == "alice@corp.example", "{facts}");
    let machines = client(&alice.home, &["machines"])?;
    ensure!(said(&machines).contains("ssh web-1"), "{}", said(&machines));
    let listed = json(&client(&alice.home, &["machines", "--json"])?)?;
    ensure!(
        listed[0]["name"] == "web-1" && listed[0]["accounts"][0] == "alice",
        "{listed}"
    );

    // The email is remembered: Enter takes it.
    let mut terminal = alice.home.terminal(&program, &["login"])?;
    terminal.converse("Email [alice@corp.example]: ", "")?;
    terminal.converse("Password: ", &alice.password.clone())?;
    terminal.expect("Code: ")?;
    terminal.answer(&alice.code())?;
    let (status, screen) = terminal.finish()?;
    ensure!(status.success(), "{status}: {screen}");

    let sessions = |company: &Company| -> Result<u64> {
        let shown = company.ca_json(&["employee", "show", "alice@corp.example"])?;
        shown["sessions"].as_u64().context(shown.to_string())
    };
    ensure!(sessions(&scene.company)? >= 1, "no session is told of");
    let keys = alice.home.command("ssh-add").arg("-l").output()?;
    ensure!(said(&keys).contains("ED25519"), "{}", said(&keys));
    success("logout", &client(&alice.home, &["logout"])?)?;
    let keys = alice.home.command("ssh-add").arg("-l").output()?;
    ensure!(
        said(&keys).contains("no identities"),
        "left in the agent: {}",
        said(&keys)
    );
    ensure!(
        sessions(&scene.company)? <= 1,
        "the session is still open at the CA"
    );
    let left = alice
        .home
        .command("find")
        .args(["/root/.ssh/ca", "-type", "f"])
        .output()?;
    for kind in ["cert", "session", "/id"] {
        ensure!(!said(&left).contains(kind), "left behind: {}", said(&left));
    }
    let after = alice.ssh(&["-o", "BatchMode=yes", "web-1", "true"])?;
    ensure!(
        after.status.code() == Some(255),
        "ssh still works: {}",
        said(&after)
    );
    let direct = alice.ssh(&[
        "-o",
        "BatchMode=yes",
        "-o",
        "StrictHostKeyChecking=no",
        "-l",
        "alice",
        &scene.machines[0].addr().to_string(),
        "true",
    ])?;
    assert_denied(&direct)?;
    assert_fails(&client(&alice.home, &["status"])?, 1, &["ca-client login"])?;
    // A second logout has nothing to do, and says no more.
    success("logout again", &client(&alice.home, &["logout"])?)?;
    Ok(())
}

#[test]
fn c2_a_wrong_pin_stores_nothing_and_each_failure_says_what_to_do() -> Result<()> {
    let fleet = fleet!("c2_a_wrong_pin_stores_nothing_and_each_failure_says_what_to_do");
    let mut company = Company::new(&fleet)?;
    let line = company.ca_ok(&["employee", "add", "hal@corp.example"])?;
    let home = fleet.home("hal")?;
    let url = handed_over(&line, "setup", 1)?;

    assert_fails(&client(&home, &["login"])?, 1, &["ca-client setup"])?;
    assert_fails(&client(&home, &["status"])?, 1, &["ca-client"])?;
    assert_fails(&client(&home, &["machines"])?, 1, &["ca-client"])?;
    assert_fails(&client(&home, &["renew"])?, 1, &["ca-client setup"])?;
    assert_fails(&client(&home, &["enrol", "abc"])?, 1, &["ca-client setup"])?;
    success("logout before anything", &client(&home, &["logout"])?)?;

    let wrong = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let refused = client(&home, &["setup", url, "--fingerprint", wrong])?;
    assert_fails(&refused, 1, &["fingerprint"])?;
    let stored = home
        .command("find")
        .args(["/root/.config", "-type", "f"])
        .output()?;
    ensure!(
        stored.stdout.is_empty(),
        "stored after a wrong pin: {}",
        said(&stored)
    );
    let plain = url.replace("https", "http");
    let insecure = client(&home, &["setup", &plain, "--fingerprint", wrong])?;
    ensure!(
        matches!(insecure.status.code(), Some(1 | 2)) && said(&insecure).contains("https"),
        "no TLS is accepted, or not explained: {}",
        said(&insecure)
    );

    assert_fails(&client(&home, &["setup", url])?, 2, &["--fingerprint"])?;
    assert_fails(&client(&home, &["logn"])?, 2, &["login"])?;
    assert_fails(
        &client(&home, &["login", "--lifetime", "soon"])?,
        2,
        &["30m"],
    )?;

    let mut hal = company.enrol(home, "hal@corp.example", &line)?;
    // Without a terminal it never prompts; it ends and says how else.
    let silent = client(&hal.home, &["login", "--email", "hal@corp.example"])?;
    assert_fails(&silent, 1, &["terminal", "--secrets-stdin"])?;
    let right = std::mem::replace(&mut hal.password, "something-else-entirely-7".to_owned());
    assert_fails(&hal.try_login(&[])?, 1, &["password", "code"])?;
    hal.password = right;
    company.kill()?;
    let down = hal.try_login(&[])?;
    assert_fails(&down, 1, &["network"])?;
    ensure!(
        said(&down).lines().count() <= 4,
        "too many words for a CA that is down: {}",
        said(&down)
    );
    Ok(())
}
