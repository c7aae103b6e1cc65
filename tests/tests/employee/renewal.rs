//! Renewal by plain ssh: silent, once, and out of the way of pipes; and the offer of a login when the session is over.

use std::process::{Child, Output, Stdio};

use anyhow::{Context, Result, ensure};
use e2e::{Company, Person, said, success};

use crate::scene::{assert_runs, client, json, make_due, now_unix, poll, scene};

/// Certificates this short end while somebody waits for it.
const LIFETIME: &str = "30s";

struct Held {
    serial: u64,
    until: i64,
}

fn held(person: &Person) -> Result<Held> {
    let facts = json(&client(&person.home, &["status", "--json"])?)?;
    let certificate = &facts["certificates"][0];
    Ok(Held {
        serial: certificate["serial"].as_u64().context(facts.to_string())?,
        until: certificate["valid_before_unix"]
            .as_i64()
            .context(facts.to_string())?,
    })
}

fn issued(company: &Company, email: &str) -> Result<usize> {
    let list = company.ca_json(&["cert", "list", "--employee", email])?;
    Ok(list.as_array().context(list.to_string())?.len())
}

fn begin(person: &Person, program: &str, words: &[&str]) -> Result<Child> {
    Ok(person
        .home
        .command(program)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?)
}

#[test]
fn renewal_is_silent_and_happens_once_and_a_session_that_is_over_offers_the_login() -> Result<()> {
    let fleet =
        fleet!("renewal_is_silent_and_happens_once_and_a_session_that_is_over_offers_the_login");
    let (scene, mut people) = scene(&fleet, &[("web-1", "web-server")], |company| {
        Ok(vec![
            company.hire("nia@corp.example", &["--pool", "web-server"])?,
        ])
    })?;
    let company = &scene.company;
    let mut nia = people.remove(0);
    nia.home.agent()?;
    std::fs::write(nia.home.path().join("report.txt"), "all is well\n")?;
    nia.login()?;
    assert_runs(&nia, &["web-1", "git init -q --bare repo.git"], "")?;

    // Plain ssh renews by itself, without a terminal and without a word.
    let first = held(&nia)?;
    make_due(&nia)?;
    assert_runs(&nia, &["web-1", "id -un"], "nia")?;
    let second = held(&nia)?;
    ensure!(second.serial != first.serial, "ssh did not renew");

    // Nothing due: nothing is renewed.
    assert_runs(&nia, &["web-1", "id -un"], "nia")?;
    ensure!(held(&nia)?.serial == second.serial, "renewed without need");

    // Six programs at once, where it is due: one renewal, and pipes as clean as ever.
    make_due(&nia)?;
    let before = issued(company, &nia.email)?;
    let mut running = Vec::new();
    for number in 0..3 {
        let words = format!("echo {number}");
        running.push((
            format!("{number}\n"),
            begin(&nia, "ssh", &["web-1", &words])?,
        ));
    }
    for (program, words) in [
        ("rsync", vec!["-a", "report.txt", "web-1:by-rsync.txt"]),
        ("scp", vec!["-q", "report.txt", "web-1:by-scp.txt"]),
        ("git", vec!["ls-remote", "web-1:repo.git"]),
    ] {
        running.push((String::new(), begin(&nia, program, &words)?));
    }
    for (expected, process) in running {
        let output = process.wait_with_output()?;
        success(&format!("one of six, saying {expected:?}"), &output)?;
        ensure!(
            output.stdout == expected.as_bytes() && output.stderr.is_empty(),
            "a pipe is disturbed: {}",
            said(&output)
        );
    }
    let after = issued(company, &nia.email)?;
    ensure!(
        after == before + 1,
        "{} renewals instead of one",
        after - before
    );
    assert_runs(
        &nia,
        &["web-1", "cat by-rsync.txt by-scp.txt"],
        "all is well\nall is well",
    )?;

    the_session_is_over(company, &mut nia)
}

fn the_session_is_over(company: &Company, nia: &mut Person) -> Result<()> {
    success("login", &nia.try_login(&["--lifetime", LIFETIME])?)?;
    company.ca_ok(&[
        "krl",
        "revoke",
        &nia.email,
        "--keep-login",
        "--reason",
        "test",
    ])?;
    let last = held(nia)?;
    poll("the end of the certificate", || Ok(now_unix() > last.until))?;
    for _ in 0..2 {
        let refused = nia.ssh(&["web-1", "true"])?;
        assert_one_line(&refused)?;
    }
    let refused =
        begin(nia, "rsync", &["-a", "report.txt", "web-1:late.txt"])?.wait_with_output()?;
    ensure!(
        !refused.status.success() && refused.stdout.is_empty(),
        "{}",
        said(&refused)
    );

    // On a terminal the same line offers the login, and goes on where it was.
    let mut terminal = nia
        .home
        .terminal("ssh", &["web-1", "echo on-$(hostname)"])?;
    terminal.converse("[Y/n] ", "")?;
    terminal.converse("Email [nia@corp.example]: ", "")?;
    terminal.converse("Password: ", &nia.password.clone())?;
    terminal.expect("Code: ")?;
    terminal.answer(&nia.code())?;
    terminal.expect("on-web-1")?;
    let (status, screen) = terminal.finish()?;
    ensure!(status.success(), "{status}: {screen}");
    ensure!(
        !screen.contains(&nia.password),
        "the password was echoed: {screen}"
    );
    assert_runs(nia, &["web-1", "id -un"], "nia")
}

/// One line of ours, beside what ssh itself says; no question.
fn assert_one_line(output: &Output) -> Result<()> {
    let words = said(output);
    ensure!(
        output.status.code() == Some(255),
        "{}: {words}",
        output.status
    );
    ensure!(
        output.stdout.is_empty(),
        "standard output is disturbed: {words}"
    );
    let ours: Vec<&str> = words
        .lines()
        .filter(|line| line.starts_with("ca-client: "))
        .collect();
    ensure!(
        ours.len() == 1 && ours[0].ends_with("ca-client login"),
        "expected one line of what to do:\n{words}"
    );
    ensure!(
        !words.contains("[Y/n]") && !words.contains("assword:"),
        "it prompts: {words}"
    );
    Ok(())
}
