//! Enrolment on a real terminal, and invitations that do not open.

use anyhow::{Context, Result, ensure};
use e2e::{Company, program, said, success};

use crate::scene::{Authenticator, assert_fails, client, handed_over, poll};

#[test]
fn c5_c3_a_person_enrols_on_a_terminal_and_no_mistake_costs_them_what_they_did() -> Result<()> {
    let fleet =
        fleet!("c5_c3_a_person_enrols_on_a_terminal_and_no_mistake_costs_them_what_they_did");
    let company = Company::new(&fleet)?;
    company.ca_ok(&["pool", "add", "web-server"])?;
    let invite = ["employee", "add", "erin@corp.example", "--name", "Erin Oh"];
    let line = company.ca_ok(&[&invite[..], &["--pool", "web-server"]].concat())?;
    let home = fleet.home("erin")?;
    let (url, pin, code) = (
        handed_over(&line, "setup", 1)?,
        handed_over(&line, "setup", 3)?,
        handed_over(&line, "enrol", 1)?,
    );
    let set_up = client(&home, &["setup", url, "--fingerprint", pin])?;
    success("setup", &set_up)?;
    ensure!(
        said(&set_up).contains(pin),
        "the pin is not shown: {}",
        said(&set_up)
    );

    let mut terminal = home.terminal(&program("ca-client").to_string_lossy(), &["enrol", code])?;
    let greeting = terminal.expect("New password: ")?;
    for word in ["Erin Oh", "erin@corp.example", "account erin"] {
        ensure!(
            greeting.contains(word),
            "{word:?} is not in the greeting: {greeting}"
        );
    }
    // Two entries that differ are asked again.
    terminal.answer("password1234")?;
    terminal.converse("The same again: ", "password1235")?;
    terminal.expect("not the same")?;
    // A weak one, twice the same, is refused with the reason before she sets up an authenticator for nothing.
    terminal.converse("New password: ", "password1234")?;
    terminal.converse("The same again: ", "password1234")?;
    let feedback = terminal.expect("Another new password: ")?;
    ensure!(
        feedback.to_lowercase().contains("password")
            && feedback.contains("guess")
            && !feedback.contains("or type: "),
        "the refusal does not say why, or says it late: {feedback}"
    );
    terminal.answer("short")?;
    terminal.converse("The same again: ", "short")?;
    let feedback = terminal.expect("Another new password: ")?;
    ensure!(
        feedback.contains("12"),
        "the length is not named: {feedback}"
    );
    let password = "wobbly-lantern-eats-41-figs";
    terminal.answer(password)?;
    terminal.converse("The same again: ", password)?;
    let mut shown = terminal.expect("or type: ")?;
    let secret = terminal.expect("\n")?;
    assert_fits_a_small_terminal(&shown)?;
    let app = Authenticator::new(&secret)?;
    terminal.converse("Code from the authenticator: ", "12 34")?;
    terminal.expect("six digits")?;
    // A wrong code, then the right one; the password is not asked for again.
    terminal.converse("Code from the authenticator: ", &app.code(40)?)?;
    let feedback = terminal.expect("Code from the authenticator: ")?;
    ensure!(
        feedback.contains("wrong") && feedback.contains("clock") && !feedback.contains("password"),
        "the wrong code is not named: {feedback}"
    );
    terminal.answer(&app.code(0)?)?;
    let (status, screen) = terminal.finish()?;
    ensure!(status.success(), "{status}: {screen}");
    ensure!(
        screen.contains("ca-client login"),
        "the next step is not named: {screen}"
    );
    for secret in [password, "password1234", "short\r"] {
        ensure!(!screen.contains(secret), "{secret:?} was echoed:\n{screen}");
    }
    shown.clear();

    // What she set is what opens the day: on a terminal too.
    let mut terminal = home.terminal(&program("ca-client").to_string_lossy(), &["login"])?;
    terminal.converse("Email: ", "erin@corp.example")?;
    terminal.converse("Password: ", password)?;
    terminal.converse("Code: ", &app.code(1)?)?;
    let (status, screen) = terminal.finish()?;
    ensure!(
        status.success() && screen.contains("Logged in as Erin Oh"),
        "{status}: {screen}"
    );
    Ok(())
}

/// 80 columns, 24 lines, of which one stays for the text below.
fn assert_fits_a_small_terminal(screen: &str) -> Result<()> {
    let lines: Vec<&str> = screen
        .lines()
        .filter(|line| line.contains("\x1b["))
        .collect();
    ensure!(!lines.is_empty(), "there is no QR code: {screen}");
    let width = lines
        .iter()
        .map(|line| {
            let text: String = line.chars().collect();
            text.split('\x1b')
                .map(|part| part.split_once('m').map_or(part, |(_, rest)| rest))
                .map(|part| part.trim_end_matches('\r').chars().count())
                .sum::<usize>()
        })
        .max()
        .context("there are lines")?;
    ensure!(
        width <= 80 && lines.len() <= 24,
        "the QR code takes {width} columns and {} lines",
        lines.len()
    );
    Ok(())
}

#[test]
fn a11_a_used_a_wrong_and_an_expired_invitation_say_what_to_do() -> Result<()> {
    let fleet = fleet!("a11_a_used_a_wrong_and_an_expired_invitation_say_what_to_do");
    let mut company = Company::new(&fleet)?;
    let line = company.ca_ok(&["employee", "add", "fay@corp.example"])?;
    let used = handed_over(&line, "enrol", 1)?;
    let fay = company.enrol(fleet.home("fay")?, "fay@corp.example", &line)?;
    let again = client(&fay.home, &["enrol", used])?;
    assert_fails(&again, 1, &["admin"])?;
    let wrong = client(&fay.home, &["enrol", "aaaaa-bbbbb-ccccc-ddddd-e"])?;
    assert_fails(&wrong, 1, &["admin"])?;
    ensure!(
        said(&again) == said(&wrong),
        "a used invitation can be told from one that never was:\n{}{}",
        said(&again),
        said(&wrong)
    );

    // Invitations that live for a second.
    company.kill()?;
    let config = company.data().join("config.toml");
    let text = std::fs::read_to_string(&config)?;
    let text: String = text
        .lines()
        .filter(|line| !line.starts_with("invitation_secs"))
        .map(|line| format!("{line}\n"))
        .collect();
    std::fs::write(&config, format!("invitation_secs = 1\n{text}"))?;
    company.start()?;
    let line = company.ca_ok(&["employee", "add", "gil@corp.example"])?;
    let late = handed_over(&line, "enrol", 1)?;
    poll("the end of the invitation", || {
        let refused = client(&fay.home, &["enrol", late])?;
        Ok(said(&refused) == said(&wrong))
    })?;
    let shown = company.ca_json(&["employee", "show", "gil@corp.example"])?;
    ensure!(shown["status"] == "invited", "{shown}");
    Ok(())
}
